"""What a user may choose about crops and training; importing this loads no model library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from baselines.augment import AugmentKind
from baselines.registry import Optimiser, Schedule
from dataset_tools.core.labels import Label
from dataset_tools.core.record import Split
from dataset_tools.core.settings import Settings


class CropSettings(Settings):
    """How a sample becomes the square pictures a network sees.

    Attributes:
        kind: "face" cuts one square around every detected face and takes the whole picture when there is
            none; "image" always takes the whole picture.
        margin: added on each side of the face box, as a share of the box's longer side.
    """

    kind: Literal["face", "image"] = "face"
    margin: float = Field(default=0.25, ge=0.0, le=2.0)


class TrainSettings(Settings):
    """One training run. Fields left at None take the baseline's own recipe.

    Attributes:
        baseline: registered name.
        labels: foreground labels to learn, in channel order. One label gives one sigmoid channel, more
            give a softmax over background and the labels.
        split: the split to learn from; "unassigned" takes a manifest that was not split yet.
        samples: all labelled samples of that split, or only rendered or only collected ones.
        proposals_from: self-training: learn from a model's proposals, too, for faces without labels whose
            proposals all have at least this confidence; None: proposals are never labels.
        steps: optimiser steps; None: `epochs` passes over the training crops.
        epochs: passes, used when `steps` is None.
        batch: crops per step.
        options: the baseline's own switches, by name; an ablation is a baseline with other options.
        optimiser, learning_rate, weight_decay, clip_value, clip_norm, schedule: as in `registry.Recipe`.
        loss: a name of `baselines.losses`; "" for a network that computes its own.
        input_px: side of the network's square input, pixels.
        crop: what is cut out.
        fresh_masks: draw rendered pictures anew for every pass; validation keeps the stored ones.
        augment: random changes of the training crops (`baselines.augment`).
        augment_without: kinds of them to leave out.
        new_cloth: share of training crops on which the face mask gets another print or dye.
        pretrained: start the encoder from published weights.
        start_from: finished checkpoint of the same baseline, labels and options whose weights are the start
            instead; a record keeps no folder but their sha256.
        start_sha256: of those weights; filled in by training, and checked where it is given.
        seed: of everything random in the run.
        val_every_steps: None: once per pass.
        patience: stop after that many validations without a better IoU.
        checkpoint_every_steps: how much work a kill may cost.
        device: "auto" takes the GPU when there is one.
        amp: bfloat16 autocast; None: on a GPU only.
        num_workers: processes that prepare crops; None: 0 on CPU, up to 8 on a GPU.
        kept_mib: memory for pictures that were read once, shared out among those processes.
        compiled: run the network through `torch.compile`; None: on a GPU, where the baseline allows it and
            the run is long enough to pay for it.
        deterministic: refuse GPU kernels whose result varies from run to run.
    """

    baseline: str = "unet_effnet_lite0"
    options: Mapping[str, JsonValue] = {}
    labels: tuple[Label, ...] = (Label.FACE_MASK,)
    split: Split = Split.TRAIN
    samples: Literal["all", "synthetic", "real"] = "all"
    proposals_from: float | None = Field(default=None, ge=0.0, le=1.0)
    steps: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    batch: int | None = Field(default=None, ge=1)
    optimiser: Optimiser | None = None
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    clip_value: float | None = Field(default=None, gt=0)
    clip_norm: float | None = Field(default=None, gt=0)
    schedule: Schedule | None = None
    loss: str | None = None
    input_px: int = Field(default=256, ge=32, le=4096)
    crop: CropSettings = CropSettings()
    fresh_masks: bool = False
    augment: bool = True
    augment_without: tuple[AugmentKind, ...] = ()
    new_cloth: float = Field(default=0.0, ge=0.0, le=1.0)
    pretrained: bool = True
    start_from: Path | None = None
    start_sha256: str = ""
    seed: int = 0
    val_every_steps: int | None = Field(default=None, ge=1)
    patience: int = Field(default=15, ge=1)
    checkpoint_every_steps: int = Field(default=200, ge=1)
    device: str = "auto"
    amp: bool | None = None
    num_workers: int | None = Field(default=None, ge=0)
    kept_mib: int = Field(default=1024, ge=0)
    compiled: bool | None = None
    deterministic: bool = False

    @field_validator("labels")
    @classmethod
    def _labels_are_distinct(cls, labels: tuple[Label, ...]) -> tuple[Label, ...]:
        if not labels or len(set(labels)) != len(labels):
            raise ValueError("labels must name at least one label, each once")
        return labels

    @model_validator(mode="after")
    def _fresh_masks_need_rendered_samples(self) -> TrainSettings:
        if self.fresh_masks and self.samples == "real":
            raise ValueError("fresh_masks draws rendered samples anew, but samples is 'real'")
        return self

    @property
    def num_classes(self) -> int:
        """Output channels: 1 for one label, background plus labels for more."""
        return 1 if len(self.labels) == 1 else 1 + len(self.labels)
