"""How well a model does on labelled pictures that it never saw."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from annotation.prelabel.calibrate import (
    Calibration,
    Rated,
    calibration_error,
    rank_correlation,
    rate_proposals,
)
from annotation.prelabel.from_baseline import BaselineProposer
from baselines.cards import read_scored_card
from baselines.evaluate import evaluate
from baselines.statistics import mean_interval
from dataset_tools.config import BuildConfig
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split
from dataset_tools.core.settings import parse_settings
from dataset_tools.defaults.about import Measure
from dataset_tools.opening import open_labelled
from dataset_tools.pipeline import Pipeline


def open_any(path: Path, scratch: Path, progress: ProgressFactory = silent) -> Manifest:
    """The labelled samples of a manifest, a workspace, or a dataset in any format the suite reads.

    Args:
        path: where it lies.
        scratch: folder for a workspace of what has to be imported; importing it again costs little.
        progress: opens the progress display.

    Raises:
        DataError: nothing that can be read.
        ConfigError: no such folder, or its format cannot be told.
    """
    try:
        return open_labelled(path, scratch, progress)
    except DataError:
        if (path / "header.json").exists() or (path / "manifests").is_dir():
            raise
    source = {
        "type": "dataset",
        "name": "scored",
        "path": path.resolve(),
        "licence": "not stated",
        "split": Split.TEST.value,
    }
    values = {"name": "scored", "workspace": scratch, "crawl": {"sources": [source]}}
    build = Pipeline(parse_settings(BuildConfig, values, str(path)), progress)
    build.run("crawl")
    return build.manifest("crawl")


def measure_proposer(
    folder: Path,
    manifest: Manifest,
    name: str,
    board_dir: Path,
    *,
    device: str = "auto",
    progress: ProgressFactory = silent,
) -> tuple[Measure, ...]:
    """Fit of a packed model's masks, and how well its confidence tells good ones from bad ones.

    For each of its labels that is drawn: the mean IoU over pictures with an interval; and over its proposals
    Spearman's coefficient of confidence and real IoU, and the calibration error.

    Args:
        folder: the packed model, calibrated.
        manifest: labelled pictures; the split with most of them is scored.
        name: of the pictures, for the card.
        board_dir: where score cards and predictions go.
        device: where the network runs.
        progress: opens the progress displays.

    Raises:
        DataError: no labelled picture, or training saw some of them or their relatives.
    """
    drawn: set[Label] = set()
    splits: Counter[Split] = Counter()
    for sample in manifest.samples():
        if sample.is_labelled:
            splits[sample.split] += 1
            drawn |= {item.label for item in sample.instances if not item.is_proposal}
    if not splits:
        raise DataError(f"{name} has no labelled picture to score on")
    (split, _), *_ = splits.most_common(1)
    images = ImageStore(manifest.workspace)
    proposer = BaselineProposer(folder, device)
    rated = rate_proposals(proposer, manifest.samples(), images, progress=progress)
    found: list[Measure] = []
    for label in proposer.labels:
        if label not in drawn:
            continue
        card = evaluate(
            folder, manifest, images, split, board_dir, label=label, device=device, progress=progress
        )
        found.append(_fit(board_dir / f"{card.stem}.json", name))
        found += _confidence(label, [one for one in rated if one.label is label], proposer.calibration, name)
    digest = manifest.canonical_digest()
    return tuple(one.model_copy(update={"digest": digest}) for one in found)


def _fit(card_path: Path, name: str) -> Measure:
    card, lines = read_scored_card(card_path)
    interval = mean_interval([one.scores.iou for one in lines], [one.group for one in lines])
    return Measure(
        what=f"{card.label.value}: IoU, mean over pictures",
        data=name,
        items=len(lines),
        value=interval.value,
        low=interval.low,
        high=interval.high,
    )


def _confidence(
    label: Label, rated: Sequence[Rated], calibration: Calibration, name: str
) -> Iterator[Measure]:
    confidence = [calibration.rate(label, one.expected)[0] for one in rated]
    real = [one.real for one in rated]
    figures = {
        "rank correlation of confidence and IoU": rank_correlation(confidence, real),
        "calibration error of confidence": calibration_error(confidence, real),
    }
    for what, value in figures.items():
        if not math.isnan(value):  # too few to say anything of
            yield Measure(what=f"{label.value}: {what}", data=name, items=len(rated), value=value)
