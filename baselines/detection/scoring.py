"""Any detector on any pictures with true boxes, as a card of the task "detection"."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from baselines.detection.boxes import Detections, to_row
from baselines.detection.pictures import BoxPicture, RgbImage
from baselines.tasks import RunFacts, TaskCard, write_card
from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.images import ImageStore
from dataset_tools.core.progress import ProgressFactory, silent

_BATCH = 4

Find = Callable[[Sequence[RgbImage]], list[Detections]]
"""From (H, W, 3) uint8 pictures to the objects of each, in pixels of the picture."""


@dataclass(frozen=True, slots=True)
class ScoredDetector:
    """Who is scored, for the card; fields as `TaskCard`."""

    baseline: str
    title: str
    fidelity: str
    version: str
    parameters: int
    device: str
    training: RunFacts
    printed: Mapping[str, float] = field(default_factory=dict)
    printed_table: str = ""
    printed_remark: str = ""


def score_detector(
    find: Find,
    who: ScoredDetector,
    pictures: Sequence[BoxPicture],
    images: ImageStore,
    board_dir: Path,
    *,
    dataset: str,
    dataset_digest: str,
    split: str,
    progress: ProgressFactory = silent,
) -> TaskCard:
    """Score a detector and write its card.

    Args:
        find: the detector.
        who: what the card says of it.
        pictures: with their true boxes; none may have been learned from.
        images: their store.
        board_dir: gets the card and its table.
        dataset, dataset_digest, split: as `TaskCard`.
        progress: opens the progress display.

    Raises:
        DataError: no picture, or one cannot be read.
    """
    if not pictures:
        raise DataError(f"{dataset} has no picture with known boxes in split {split}")
    rows = []
    seconds = 0.0
    with progress("score", len(pictures)) as bar:
        for start in range(0, len(pictures), _BATCH):
            batch = pictures[start : start + _BATCH]
            try:
                read = [images.read(one.image) for one in batch]
            except ItemFault as fault:
                names = ", ".join(one.sample_id for one in batch)
                raise DataError(f"one of the samples {names}: {fault}") from fault
            begun = time.perf_counter()
            found = find(read)
            seconds += time.perf_counter() - begun
            rows += [to_row(one.sample_id, boxes, one.truth) for one, boxes in zip(batch, found, strict=True)]
            bar.advance(len(batch))
    card = TaskCard(
        task="detection",
        baseline=who.baseline,
        title=who.title,
        fidelity=who.fidelity,
        version=who.version,
        dataset=dataset,
        dataset_digest=dataset_digest,
        split=split,
        items=len(rows),
        metrics={},
        parameters=who.parameters,
        seconds_per_item=seconds / len(rows),
        device=who.device,
        training=who.training,
        printed=who.printed,
        printed_table=who.printed_table,
        printed_remark=who.printed_remark,
    )
    return write_card(board_dir, card, rows)
