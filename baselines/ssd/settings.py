"""What a user may choose about training the detector; importing this loads no model library."""

from __future__ import annotations

from pydantic import Field

from dataset_tools.core.labels import Wearing
from dataset_tools.core.settings import Settings

CLASSES: tuple[Wearing, ...] = (Wearing.MASKED, Wearing.UNMASKED, Wearing.INCORRECT)
"""Wearing states in the order of the network's scores."""


class DetectorTraining(Settings):
    """One training run.

    Attributes:
        steps: optimiser steps of the main part; the learning rate falls to zero over them.
        refine_steps, refine_rate: further steps without norms and on scenes with fewer covered faces, see
            `train.refine`, and their learning rate.
        batch: pictures per step.
        learning_rate, weight_decay: of AdamW.
        average: share that the averaged weights, which are kept, retain per step.
        cache_px: longer side at which photos are held in memory.
        hidden_per_photo: copies of every photo of bare faces with hands, scarves, beards and the like drawn
            over them: what is no mask.
        val_share: groups of photos that are not learned from but scored at the end.
        amp: bfloat16 where the processor is faster with it.
        seed: of everything random in the run.
    """

    steps: int = Field(default=2750, ge=1)
    refine_steps: int = Field(default=450, ge=0)
    refine_rate: float = Field(default=5e-4, gt=0)
    batch: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    average: float = Field(default=0.998, ge=0, lt=1)
    cache_px: int = Field(default=360, ge=64, le=2048)
    hidden_per_photo: int = Field(default=3, ge=0, le=16)
    val_share: float = Field(default=0.06, ge=0, lt=0.5)
    amp: bool = True
    seed: int = 7
