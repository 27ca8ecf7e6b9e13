"""What a training is to the loop: a plan, a job that differs between trainings, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from baselines.registry import Optimiser, Schedule

Batch = Mapping[str, Any]
"""Tensors and lists by name, all as long as the batch; "index" holds the items' numbers, (B,) int."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation found: `score`, higher is better, and the loss where the job measures one."""

    score: float
    loss: float | None = None


class Job(Protocol):
    """What differs between trainings."""

    def batches(self, steps: range, rank: int, world: int) -> Iterable[Batch]:
        """The batches of those steps; with several processes the share of process `rank` of `world`.

        Step k has the same batch whether training started at 0 or was resumed just before it.
        """
        ...

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Scalar float32 loss, a mean over the batch's items; tensors lie on the network's device."""
        ...

    def names(self, indices: Sequence[int]) -> list[str]:
        """What a person calls these items."""
        ...

    def validate(self, network: nn.Module) -> Validation | None:
        """Judge the network as it is, or None when there is nothing to judge on."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    Attributes:
        title: for messages and the progress display.
        last_step: optimiser steps in all.
        optimiser, learning_rate, weight_decay, clip_value, clip_norm: as `baselines.registry.Recipe`.
        schedule: "plateau" multiplies the rate by `rate_factor` after `plateau_patience` validations without
            a lower loss (or a higher score where no loss is measured); "steps" does so at each milestone;
            "cosine" rises to the learning rate in up to 50 steps and falls to nothing at `last_step`.
        rate_factor, plateau_patience, least_rate, milestones: of the schedule.
        val_every: steps from one validation to the next; the last step is always one.
        patience: stop after that many validations without a better score.
        checkpoint_every: how many steps a kill may cost.
        device: where to train.
        amp: bfloat16 autocast.
        compiled: run the network through `torch.compile`.
        deterministic: refuse kernels whose result varies from run to run.
        seed: of everything random.
    """

    title: str
    last_step: int
    device: torch.device
    seed: int
    optimiser: Optimiser = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
    schedule: Schedule = "constant"
    rate_factor: float = 0.1
    plateau_patience: int = 5
    least_rate: float = 1e-7
    milestones: tuple[int, ...] = ()
    val_every: int = 100
    patience: int = 15
    checkpoint_every: int = 200
    amp: bool = False
    compiled: bool = False
    deterministic: bool = False


@dataclass(slots=True)
class Position:
    """How far a training is; everything in its state besides tensors.

    Attributes:
        step: optimiser steps taken.
        items: items learned from, over all steps.
        seconds: wall time of the steps, without validation; of them `waiting_s` for batches.
        best_step, best_score: of the best validation so far.
        stale: validations since the best.
        loss_sum, loss_count: since the last entry of `history`.
        history: (step, mean training loss, validation score or None) at each validation.
        start_name, start_sha256: of the initial weights.
        rate: multiplies the plan's learning rate.
        least_loss, dull: of the plateau schedule: the lowest validation loss, and validations since.
        parts: micro-batches a batch is cut into, more than 1 after the memory ran out.
        rollbacks: times the run went back to its last state because a number was not finite.
        peak_memory_mib: highest memory of the GPU's tensors; 0 on a CPU.
    """

    step: int = 0
    items: int = 0
    seconds: float = 0.0
    waiting_s: float = 0.0
    best_step: int = 0
    best_score: float | None = None
    stale: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    history: list[tuple[int, float, float | None]] = field(default_factory=list)
    start_name: str = ""
    start_sha256: str = ""
    rate: float = 1.0
    least_loss: float | None = None
    dull: int = 0
    parts: int = 1
    rollbacks: int = 0
    peak_memory_mib: float = 0.0
