"""What a user may choose about the cascaded face detector; importing this loads no model library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dataset_tools.core.record import Split
from dataset_tools.core.settings import Settings

Convolutions = Literal["standard", "separable", "separable_all"]
StageName = Literal["p", "r", "o"]
STAGES: tuple[StageName, ...] = ("p", "r", "o")


class CascadeSettings(Settings):
    """How the three networks search a picture (`baselines.md` section 3.2).

    Attributes:
        min_face_px: faces with a smaller longer side are not looked for.
        pyramid_factor: each picture of the pyramid is this much smaller than the one before.
        thresholds: least face probability that passes the first, second and third network.
        scale_nms: overlap (IoU) above which the weaker of two windows of one pyramid level goes.
        stage_nms: the same between levels, after the second network, and after the third; the last one
            compares with the smaller box instead of the union.
        max_windows: at most so many windows go from one network to the next, best first.
    """

    min_face_px: int = Field(default=20, ge=12)
    pyramid_factor: float = Field(default=0.709, gt=0.1, lt=1.0)
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    scale_nms: float = Field(default=0.5, ge=0.0, le=1.0)
    stage_nms: tuple[float, float, float] = (0.7, 0.7, 0.7)
    max_windows: int = Field(default=2000, ge=1)

    @model_validator(mode="after")
    def _shares_are_shares(self) -> CascadeSettings:
        if not all(0 <= value <= 1 for value in (*self.thresholds, *self.stage_nms)):
            raise ValueError("thresholds and stage_nms must lie in [0, 1]")
        return self


class ExampleSettings(Settings):
    """Which windows of a training picture the networks learn from, per face or per picture.

    The bands of overlap with a face are fixed (`examples.NEGATIVE_BELOW` and its neighbours).

    Attributes:
        positives, parts: at most so many windows on each face.
        negatives_per_positive: windows on no face, for each positive of the picture.
        tries: random windows drawn around each face to choose from.
        smallest_face_px: faces with a smaller longer side are neither taught nor used as background.
    """

    positives: int = Field(default=8, ge=1)
    parts: int = Field(default=8, ge=0)
    negatives_per_positive: int = Field(default=3, ge=1)
    tries: int = Field(default=60, ge=1)
    smallest_face_px: int = Field(default=20, ge=4)


class MtcnnSettings(Settings):
    """One training of the three networks, one after the other.

    Attributes:
        convolutions: "separable" replaces every convolution wider than 1x1 except each network's first,
            "separable_all" those too, "standard" none.
        landmarks_in: which networks learn the five points; the paper's counts have them in "o" alone.
        split: whose faces are learned.
        examples: windows to learn from.
        cascade: the search that finds the second and third network's windows, and that is stored with the
            checkpoint.
        epochs: passes over the windows of each network, used when `steps` is None.
        steps: optimiser steps of each network.
        batch: windows per step.
        learning_rate: of Adam.
        mined_share: share of the hardest windows that the face loss is taken over.
        mirror: half of the windows are shown mirrored.
        seed: of everything random in the run.
        checkpoint_every_steps: how much work a kill may cost.
        device: "auto" takes the GPU when there is one.
        amp: bfloat16 autocast; None: on a GPU only.
    """

    convolutions: Convolutions = "separable"
    landmarks_in: Literal["o", "all"] = "o"
    split: Split = Split.TRAIN
    examples: ExampleSettings = ExampleSettings()
    cascade: CascadeSettings = CascadeSettings()
    epochs: int = Field(default=30, ge=1)
    steps: int | None = Field(default=None, ge=1)
    batch: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    mined_share: float = Field(default=0.7, gt=0.0, le=1.0)
    mirror: bool = True
    seed: int = 0
    checkpoint_every_steps: int = Field(default=500, ge=1)
    device: str = "auto"
    amp: bool | None = None
