"""What a user may choose about detectors; importing this loads no model library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_tools.core.record import Split
from dataset_tools.core.settings import Settings

Truth = Literal["objects", "wearing", "faces"]
"""What is a true box: "objects" are those of the labelled mask and face instances (MISA); "wearing" are the
faces, by whether they wear a mask; "faces" are the faces, one class."""


class DetectorSettings(Settings):
    """One training of a Faster R-CNN; defaults are MISA's (`baselines.md` 2.1, 2.6).

    Attributes:
        truth: what is to be found.
        body: resnet50, resnet101, resnext101_32x4d or resnest101e.
        smallest_anchor_px: side of the finest level's anchors.
        frozen_norm: keep the batch norm of the body as it starts, for batches below 8.
        split: the split to learn from.
        input_px: pictures are scaled to this longer side and padded to a square.
        mirror: half of the pictures are shown mirrored.
        steps: optimiser steps; None: `epochs` passes over the pictures.
        epochs: passes, used when `steps` is None.
        batch: pictures per step, at least 2 for ResNeSt without `frozen_norm`.
        learning_rate, weight_decay: of Adam.
        pretrained: start the body from published weights.
        seed: of everything random in the run.
        val_every_steps: None: once per pass.
        patience: stop after that many validations without a better AP at IoU 0.5.
        checkpoint_every_steps: how much work a kill may cost.
        device: "auto" takes the GPU when there is one.
        amp: bfloat16 autocast in the body; None: on a GPU only.
    """

    truth: Truth = "objects"
    body: str = "resnest101e"
    smallest_anchor_px: int = Field(default=32, ge=4)
    frozen_norm: bool = False
    split: Split = Split.TRAIN
    input_px: int = Field(default=256, ge=64, le=4096)
    mirror: bool = True
    steps: int | None = Field(default=None, ge=1)
    epochs: int = Field(default=500, ge=1)
    batch: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    pretrained: bool = True
    seed: int = 0
    val_every_steps: int | None = Field(default=None, ge=1)
    patience: int = Field(default=20, ge=1)
    checkpoint_every_steps: int = Field(default=200, ge=1)
    device: str = "auto"
    amp: bool | None = None
