"""A trained 18-part network and a folder of pictures with part masks to a score card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from baselines.checkpoint import read_seen
from baselines.models import find_spec
from baselines.parsing.data import FaceSet, ParsedFace, PartMasks, read_faces, split_names
from baselines.parsing.parts import PAPER_BATCH, PARTS, PRINTED_REMARK, PRINTED_TABLE, printed_figures
from baselines.parsing.predict import THRESHOLD, PartsPredictor
from baselines.parsing.task import PARSING, PartCounts, row_of
from baselines.parsing.train import BASELINE, read_parsing_record
from baselines.tasks import TaskCard, write_card
from dataset_tools.core.errors import DataError
from dataset_tools.core.progress import Progress, ProgressFactory, silent
from dataset_tools.core.record import Split


def score_parsing(
    checkpoint_dir: Path,
    data: Path,
    out_dir: Path,
    *,
    pictures: Literal["val", "all"] = "val",
    device: str = "auto",
    progress: ProgressFactory = silent,
) -> TaskCard:
    """Score a training on the pictures it held out, or on all pictures of another folder.

    Args:
        checkpoint_dir: what `train_parsing` wrote.
        data: folder of pictures and masks (`parsing.data`); for "val" the one it was trained on.
        out_dir: folder of the card and its table.
        pictures: "val" for the held-out share, on which the weights were chosen, as in the paper; "all"
            for everything in a folder that training never saw.
        device: "auto" takes the GPU when there is one.
        progress: opens the progress displays.

    Raises:
        DataError: no finished training, a bad file, or a picture that was learned from.
        ConfigError: no such device.
    """
    record = read_parsing_record(checkpoint_dir)
    settings = record.settings
    predictor = PartsPredictor(checkpoint_dir, device)
    faces = read_faces(data, settings.input_px, progress)
    chosen = _chosen(faces, record.facts.data_digest, settings.val_share, settings.seed, pictures)
    learned = {one.image_sha256 for one in read_seen(checkpoint_dir) if one.split == Split.TRAIN.value}
    for face in chosen:
        if face.sha256 in learned:
            raise DataError(f"picture {face.name} of {data} was learned from; score other pictures")
    with progress("score", len(chosen)) as bar:
        rows, seconds = _rows(predictor, chosen, bar)
    spec = find_spec(BASELINE)
    on_gpu = predictor.device.type == "cuda"
    card = TaskCard(
        task=PARSING.name,
        baseline=BASELINE,
        title=spec.title,
        fidelity=spec.fidelity.value,
        version=record.version,
        dataset=faces.title,
        dataset_digest=faces.digest,
        split=pictures,
        items=len(rows),
        metrics={},
        parameters=predictor.parameters,
        seconds_per_item=seconds / len(chosen),
        device=torch.cuda.get_device_name(predictor.device) if on_gpu else predictor.device.type,
        training=record.facts,
        printed=printed_figures(),
        printed_table=PRINTED_TABLE,
        printed_remark=PRINTED_REMARK,
    )
    return write_card(out_dir, card, rows)


def _chosen(
    faces: FaceSet, trained_digest: str, val_share: float, seed: int, pictures: Literal["val", "all"]
) -> Sequence[ParsedFace]:
    if pictures == "all":
        return faces.faces
    if faces.digest != trained_digest:
        raise DataError(
            f"{faces.title} is not what was trained on, so nothing of it is held out; score all of it"
        )
    return split_names(faces, val_share, seed)[1]


def _rows(
    predictor: PartsPredictor, faces: Sequence[ParsedFace], bar: Progress
) -> tuple[list[dict[str, object]], float]:
    rows: list[dict[str, object]] = []
    seconds = 0.0
    for start in range(0, len(faces), PAPER_BATCH):
        group = faces[start : start + PAPER_BATCH]
        begun = time.perf_counter()
        chances = predictor.predict_squares([one.rgb for one in group])
        seconds += time.perf_counter() - begun
        for offset, (face, maps) in enumerate(zip(group, chances, strict=True)):
            counted = count_parts(maps >= THRESHOLD, face.masks())
            rows += [
                row_of(face.name, start + offset, part, counts)
                for part, counts in zip(PARTS, counted, strict=True)
            ]
        bar.advance(len(group))
    return rows, seconds


def count_parts(predicted: PartMasks, truth: PartMasks) -> list[PartCounts]:
    """Decided pixels of every part of a picture, from two (18, H, W) bool arrays."""
    over = (1, 2)
    tp = np.count_nonzero(predicted & truth, axis=over).tolist()
    fp = np.count_nonzero(predicted & ~truth, axis=over).tolist()
    fn = np.count_nonzero(~predicted & truth, axis=over).tolist()
    return [PartCounts(*one) for one in zip(tp, fp, fn, strict=True)]
