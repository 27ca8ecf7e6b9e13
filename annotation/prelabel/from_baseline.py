"""A trained baseline as a proposer: the one door from annotation to the baselines."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from annotation.prelabel.calibrate import NO_CALIBRATION, Calibration, read_calibration
from annotation.prelabel.proposer import BoxXyxy, Proposal, Seen
from annotation.prelabel.settings import DEFAULT, NONE, PrelabelSettings
from baselines.checkpoint import SeenSample, read_record, read_seen
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import RgbImage
from dataset_tools.weights.shipped import shipped_proposer

if TYPE_CHECKING:
    from baselines.predict import Predictor


# Beside a checkpoint that was calibrated where it was made; training itself writes none.
CALIBRATION_FILE = "calibration.json"


def checkpoint_folder(settings: PrelabelSettings) -> Path | None:
    """The folder of the model that the settings name, None for no model."""
    if isinstance(settings.checkpoint, Path):
        return settings.checkpoint
    return {DEFAULT: shipped_proposer(), NONE: None}[settings.checkpoint]


def open_proposer(settings: PrelabelSettings) -> BaselineProposer | None:
    """The model that the settings name, None for no model.

    Raises:
        DataError: no finished training there, or a file is damaged.
    """
    folder = checkpoint_folder(settings)
    if folder is None:
        return None
    try:
        return BaselineProposer(folder, settings.device)
    except DataError as error:
        if settings.checkpoint != DEFAULT:
            raise
        raise DataError(f"the model that comes with maskset is damaged, install it again: {error}") from None


class BaselineProposer:
    """Proposes with a trained baseline.

    Args:
        checkpoint: folder that training wrote.
        device: "auto", "cpu", "cuda:0", ….

    Attributes:
        name: of the baseline.
        version: first 12 hex digits of the weights' sha256.
        weights_sha256: of the weights.
        labels: that it proposes.
        calibration: that lies beside the weights; without curves when there is none.
        seen: what training and its validation looked at.

    Raises:
        DataError: no finished training there, or a file is damaged.
    """

    def __init__(self, checkpoint: Path, device: str = "auto") -> None:
        record = read_record(checkpoint)
        self.name = record.baseline
        self.version = record.version
        self.weights_sha256 = record.weights_sha256
        self.labels = record.settings.labels
        self.calibration = _calibration(checkpoint)
        self._checkpoint = checkpoint.resolve()
        self._learned_split = record.settings.split.value
        self._device = device

    @property
    def seen(self) -> Seen:
        """From the checkpoint's own list; rows of another split than the one learned from validated."""
        rows = read_seen(self._checkpoint)
        return Seen(
            learned=_keys(row for row in rows if row.split == self._learned_split),
            chosen_on=_keys(row for row in rows if row.split != self._learned_split),
        )

    def propose(self, images: Sequence[RgbImage], boxes: Sequence[Sequence[BoxXyxy]]) -> list[list[Proposal]]:
        """As `Proposer.propose`; a baseline trained on whole pictures looks at whole pictures."""
        predictor = _load(self._checkpoint, self.version, self._device)
        return [
            [
                proposal
                for face, box in _places(own if predictor.crop.kind == "face" else ())
                for proposal in _look(predictor, rgb, face, box)
            ]
            for rgb, own in zip(images, boxes, strict=True)
        ]


def _calibration(checkpoint: Path) -> Calibration:
    path = checkpoint / CALIBRATION_FILE
    return read_calibration(path) if path.exists() else NO_CALIBRATION


def _keys(rows: Iterable[SeenSample]) -> frozenset[str]:
    named = (key for row in rows for key in (row.sample_id, row.image_sha256, row.group, row.parent_id))
    return frozenset(key for key in named if key)


def _places(boxes: Sequence[BoxXyxy]) -> list[tuple[int, BoxXyxy | None]]:
    return [*enumerate(boxes)] if boxes else [(-1, None)]


def _look(predictor: Predictor, rgb: RgbImage, face: int, box: BoxXyxy | None) -> list[Proposal]:
    maps = np.atleast_3d(predictor.predict(rgb, box))
    return [
        Proposal(label, np.ascontiguousarray(maps[..., channel]), face)
        for channel, label in enumerate(predictor.labels)
    ]


@functools.lru_cache(maxsize=1)
def _load(checkpoint: Path, version: str, device: str) -> Predictor:
    """Loaded once per process; the version is asked so that a replaced checkpoint is loaded anew."""
    from baselines.predict import Predictor

    return Predictor.load(checkpoint, device)
