"""The one training loop of the suite: any network, any batches, one folder; killed and resumed at will.

Every random number follows from the plan's seed and the step, so a run that was killed and resumed gives, on
a CPU, the same weights bit for bit as one that was not. Under `torchrun` the same call shares every batch out
among the processes (Accelerate); one process alone needs neither.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from baselines.checkpoint import BEST_FILE, WEIGHTS_FILE, read_state, read_tensors, write_state, write_tensors
from baselines.optimisers import ParameterGroup, make_optimiser, set_rate
from baselines.plan import Batch, Job, Plan, Position, Validation
from baselines.segmenter import initial_weights
from dataset_tools.core.errors import ConfigError, SuiteError
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.seeds import derive_seed

if TYPE_CHECKING:
    from accelerate import Accelerator

_log = logging.getLogger(__name__)

_MOST_ROLLBACKS = 2
_ROLLBACK_FACTOR = 0.1
_MOST_PARTS = 64
_WARM_UP_STEPS = 50


@dataclass(frozen=True, slots=True)
class Fitted:
    """A finished training.

    Attributes:
        network: with the chosen weights, on the plan's device.
        position: where it ended.
        items_per_second: of this call; 0 when nothing was left to do.
    """

    network: nn.Module
    position: Position
    items_per_second: float


def fit(
    build: Callable[[bool], nn.Module],
    job: Job,
    plan: Plan,
    folder: Path,
    *,
    fingerprint: str,
    groups: Callable[[nn.Module], Sequence[ParameterGroup]] | None = None,
    progress: ProgressFactory = silent,
) -> Fitted:
    """Train a network, or go on with a training that was interrupted in `folder`.

    Writes `weights.safetensors` when done: the weights of the best validation, or the last ones.

    Args:
        build: makes the network, on the CPU; its argument says whether published weights are wanted (a
            resumed training takes all values from its state).
        job: batches, loss and validation.
        plan: how to train.
        folder: of the checkpoint.
        fingerprint: of all that decides the result; a state with another one is refused.
        groups: parameters with their own pace; None: all alike.
        progress: opens the progress display.

    Raises:
        ConfigError: `folder` holds a training with another fingerprint.
        SuiteError: a loss or gradient was not finite three times, or memory does not hold one item.
        DataError: no state in the folder is whole.
    """
    cuda = [plan.device] if plan.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), _deterministic(plan.deterministic):
        run = _Run(build, job, plan, folder, fingerprint, groups)
        items_per_second = run.go_on(progress)
        return Fitted(run.finish(), run.position, items_per_second)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with it
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


class _NotFiniteError(Exception):
    """Loss or gradient is no number; `args[0]` says which."""


class _LossOf(nn.Module):
    """Network and loss as one module, so that several processes also share what a loss asks of a network."""

    def __init__(self, network: nn.Module, job: Job) -> None:
        super().__init__()
        self.network = network
        self.job = job

    def forward(self, batch: Batch) -> Tensor:
        """The job's loss."""
        return self.job.loss(self.network, batch)


class _Run:
    """A training between two calls of `fit`."""

    def __init__(
        self,
        build: Callable[[bool], nn.Module],
        job: Job,
        plan: Plan,
        folder: Path,
        fingerprint: str,
        groups: Callable[[nn.Module], Sequence[ParameterGroup]] | None,
    ) -> None:
        self.build = build
        self.job = job
        self.plan = plan
        self.folder = folder
        self.fingerprint = fingerprint
        self.groups = groups
        self.team = _team()
        self._start()

    @property
    def _is_main(self) -> bool:
        return self.team is None or self.team.is_main_process

    def _start(self) -> None:
        """Build network and optimiser, fresh or from the last state."""
        plan = self.plan
        state = read_state(self.folder)
        torch.manual_seed(derive_seed(plan.seed, plan.title, "start"))
        network = self.build(state is None)
        start = initial_weights(network)
        self.position = Position(start_name=start.name, start_sha256=start.sha256)
        # Channels last: 1.4 times as fast on a CPU for the small U-Net, and what tensor cores want.
        self.network = network.to(memory_format=torch.channels_last).to(plan.device)
        found = self.groups(network) if self.groups else [ParameterGroup(tuple(network.parameters()))]
        self.optimiser = make_optimiser(plan.optimiser, found, plan.learning_rate, plan.weight_decay)
        if state is not None:
            self._restore(*state)
        if plan.compiled:
            self.network.compile()
        asked = _LossOf(self.network, self.job)
        self.asked: nn.Module = asked if self.team is None else self.team.prepare_model(asked)

    def _restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        if values.pop("fingerprint") != self.fingerprint:
            raise ConfigError(
                f"{self.folder} holds a training with other settings or data; choose another folder"
            )
        self.position = Position(**{**values, "history": [tuple(one) for one in values["history"]]})
        network = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
        self.network.load_state_dict(network)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})

    def go_on(self, progress: ProgressFactory) -> float:
        """Train until the last step or until validation stops improving; returns items per second."""
        first_items, first_s = self.position.items, self.position.seconds
        with progress("train", self.plan.last_step - self.position.step) as bar:
            while not self._is_done():
                try:
                    self._train(bar)
                except _NotFiniteError as broken:
                    self._roll_back(str(broken))
        took = self.position.seconds - first_s
        return (self.position.items - first_items) / took if took > 0 else 0.0

    def _is_done(self) -> bool:
        return self.position.step >= self.plan.last_step or self.position.stale >= self.plan.patience

    def _train(self, bar: Any) -> None:
        position = self.position
        rank, world = (self.team.process_index, self.team.num_processes) if self.team else (0, 1)
        mark = time.monotonic()
        for batch in self.job.batches(range(position.step, self.plan.last_step), rank, world):
            waited = time.monotonic()
            value = self._step(batch)
            now = time.monotonic()
            position.waiting_s += waited - mark
            position.seconds += now - mark
            position.items += len(batch["index"]) * world
            bar.advance()
            bar.note(f"loss {value:.3f}")
            if self._is_validation():
                self._validate()
            if self._is_validation() or position.step % self.plan.checkpoint_every == 0:
                self._save()
            if self._is_done():
                break
            mark = time.monotonic()

    def _step(self, batch: Batch) -> float:
        position = self.position
        set_rate(self.optimiser, max(self._rate(), 0.0))
        self.network.train()
        while True:
            torch.manual_seed(derive_seed(self.plan.seed, str(position.step), "step"))
            try:
                value = self._gradients(batch)
                break
            except torch.OutOfMemoryError:
                self._halve(batch)
        parameters = [one for one in self.network.parameters() if one.grad is not None]
        norm = float(torch.nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None]))
        if not (math.isfinite(value) and math.isfinite(norm)):
            names = ", ".join(sorted(set(self.job.names([int(one) for one in batch["index"]]))))
            raise _NotFiniteError(f"step {position.step + 1}: loss {value}, gradient {norm}; items: {names}")
        if self.plan.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.plan.clip_value)
        if self.plan.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.plan.clip_norm)
        self.optimiser.step()
        position.step += 1
        position.loss_sum += value
        position.loss_count += 1
        return value

    def _rate(self) -> float:
        plan, rate = self.plan, self.plan.learning_rate * self.position.rate
        if plan.schedule == "steps":
            rate *= plan.rate_factor ** sum(self.position.step >= one for one in plan.milestones)
        if plan.schedule == "cosine":
            warm = min(_WARM_UP_STEPS, plan.last_step / 10)
            rise = min((self.position.step + 1) / warm, 1.0)
            rate *= rise * (1 + math.cos(math.pi * self.position.step / plan.last_step)) / 2
        return rate

    def _gradients(self, batch: Batch) -> float:
        """Fill the gradients from a batch, part by part where memory asks for it; returns the loss."""
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        count = len(batch["index"])
        for part in _parts(batch, self.position.parts):
            share = len(part["index"]) / count
            moved = {key: _moved(value, self.plan.device) for key, value in part.items()}
            with torch.autocast(self.plan.device.type, torch.bfloat16, enabled=self.plan.amp):
                loss = self.asked(moved) * share
            torch.autograd.backward(loss)
            total += float(loss.detach())
        return total

    def _halve(self, batch: Batch) -> None:
        parts = self.position.parts * 2
        if self.team is not None or parts > min(len(batch["index"]), _MOST_PARTS):
            raise SuiteError(
                f"{self.plan.title}: out of memory on {self.plan.device} with a batch of "
                f"{len(batch['index'])} in {self.position.parts} parts; take a smaller batch or input"
            )
        _log.warning("%s: out of memory; every batch now goes in %d parts", self.plan.title, parts)
        self.optimiser.zero_grad(set_to_none=True)
        if self.plan.device.type == "cuda":
            torch.cuda.empty_cache()
        self.position.parts = parts

    def _roll_back(self, what: str) -> None:
        rate, rollbacks = self.position.rate * _ROLLBACK_FACTOR, self.position.rollbacks + 1
        if rollbacks > _MOST_ROLLBACKS:
            raise SuiteError(
                f"training {self.plan.title} broke down at {what}; nothing of this step was kept, and "
                f"{_MOST_ROLLBACKS} returns to the last state with a lower rate did not help"
            )
        _log.warning(
            "%s broke down at %s; going back to the last state with learning rate %g",
            self.plan.title,
            what,
            self.plan.learning_rate * rate,
        )
        self._start()
        self.position.rate, self.position.rollbacks = rate, rollbacks

    def _is_validation(self) -> bool:
        step = self.position.step
        return step % self.plan.val_every == 0 or step == self.plan.last_step

    def _validate(self) -> None:
        position = self.position
        found = self._judgement()
        mean_loss = position.loss_sum / max(position.loss_count, 1)
        position.history.append((position.step, mean_loss, found.score if found else None))
        position.loss_sum, position.loss_count = 0.0, 0
        if found is None:
            position.best_step = position.step
            return
        if position.best_score is None or found.score > position.best_score:
            position.best_step, position.best_score, position.stale = position.step, found.score, 0
            if self._is_main:
                write_tensors(self.folder / BEST_FILE, self.network.state_dict())
        else:
            position.stale += 1
        if self.plan.schedule == "plateau":
            self._watch_plateau(-found.score if found.loss is None else found.loss)

    def _judgement(self) -> Validation | None:
        if self.team is None:
            return self.job.validate(self.network)
        from accelerate.utils import broadcast_object_list

        # One process judges and tells the others, so that all stop at the same step.
        told = [self.job.validate(self.network) if self._is_main else None]
        return broadcast_object_list(told)[0]  # type: ignore[no-any-return]

    def _watch_plateau(self, loss: float) -> None:
        position, plan = self.position, self.plan
        if position.least_loss is None or loss < position.least_loss:
            position.least_loss, position.dull = loss, 0
            return
        position.dull += 1
        if position.dull >= plan.plateau_patience:  # Keras' rule, which Zhakyp et al. used
            position.rate = max(position.rate * plan.rate_factor, plan.least_rate / plan.learning_rate)
            position.dull = 0

    def _save(self) -> None:
        self.position.peak_memory_mib = max(self.position.peak_memory_mib, peak_memory_mib(self.plan.device))
        if self._is_main:
            tensors = {f"model.{name}": tensor for name, tensor in self.network.state_dict().items()}
            for index, moments in self.optimiser.state_dict()["state"].items():
                kept = {key: value for key, value in moments.items() if isinstance(value, Tensor)}
                tensors |= {f"optimiser.{index}.{key}": tensor for key, tensor in kept.items()}
            write_state(self.folder, tensors, {**asdict(self.position), "fingerprint": self.fingerprint})
        if self.team is not None:
            self.team.wait_for_everyone()

    def finish(self) -> nn.Module:
        """Write the chosen weights and give the network with them."""
        if self.position.best_score is not None:
            self.network.load_state_dict(read_tensors(self.folder / BEST_FILE))
        if self._is_main:
            write_tensors(self.folder / WEIGHTS_FILE, self.network.state_dict())
        if self.team is not None:
            self.team.wait_for_everyone()
        return self.network


def _team() -> Accelerator | None:
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    # Ablations leave parts of a network unused, and a plain DDP would wait for their gradients for ever.
    return Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])


def peak_memory_mib(device: torch.device) -> float:
    """Highest memory of a GPU's tensors so far, MiB; 0 on a CPU, where it cannot be told from all else."""
    return float(torch.cuda.max_memory_allocated(device)) / 2**20 if device.type == "cuda" else 0.0


def _parts(batch: Batch, count: int) -> Iterator[Batch]:
    size = math.ceil(len(batch["index"]) / count)
    for start in range(0, len(batch["index"]), size):
        yield {key: value[start : start + size] for key, value in batch.items()}


def _moved(value: Any, device: torch.device) -> Any:
    if not isinstance(value, Tensor):
        return [_moved(one, device) for one in value] if isinstance(value, list) else value
    if value.ndim == 4:
        return value.to(device, non_blocking=True, memory_format=torch.channels_last)
    return value.to(device, non_blocking=True)
