"""The training loop by itself: schedules, groups, and several processes that act as one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from baselines.checkpoint import read_record, read_tensors
from baselines.loop import fit
from baselines.optimisers import ParameterGroup, make_optimiser, set_rate
from baselines.plan import Batch, Plan, Validation
from dataset_tools.core.record import Split


class Line(nn.Module):
    """y = a x + b."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x + self.b


class FitALine:
    """Learns y = 3 x + 1; validation gives the scores it is told to give."""

    def __init__(self, scores: Sequence[float] = ()) -> None:
        self.scores = list(scores)
        self.rates: list[float] = []

    def batches(self, steps: range, rank: int, world: int) -> Iterable[Batch]:
        for step in steps:
            x = torch.linspace(-1, 1, 8) + step % 3
            yield {"index": torch.arange(8)[rank::world], "x": x[rank::world]}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return ((network(batch["x"]) - 3 * batch["x"] - 1) ** 2).mean()

    def names(self, indices: Sequence[int]) -> list[str]:
        return [str(one) for one in indices]

    def validate(self, network: nn.Module) -> Validation | None:
        return Validation(self.scores.pop(0)) if self.scores else None


def plan(**changes: object) -> Plan:
    values = {"title": "line", "last_step": 300, "device": torch.device("cpu"), "seed": 0, "val_every": 1000}
    return Plan(**{**values, "learning_rate": 0.05, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "adamax", "rmsprop", "sgd"])
def test_every_optimiser_finds_the_line(optimiser: str, tmp_path: Path) -> None:
    rate = 0.2 if optimiser == "adamax" else 0.05
    choices = plan(optimiser=optimiser, learning_rate=rate)
    fitted = fit(lambda fresh: Line(), FitALine(), choices, tmp_path, fingerprint="x")
    found = fitted.network.state_dict()
    assert float(found["a"]) == pytest.approx(3, abs=0.15)
    assert float(found["b"]) == pytest.approx(1, abs=0.15)
    assert fitted.position.step == 300 and fitted.position.items == 2400


def test_a_plateau_of_the_score_divides_the_rate_by_ten(tmp_path: Path) -> None:
    job = FitALine([0.5, 0.4, 0.4, 0.4, 0.6, 0.6])
    choices = {"schedule": "plateau", "plateau_patience": 2, "val_every": 1, "last_step": 6}
    fitted = fit(lambda fresh: Line(), job, plan(**choices), tmp_path, fingerprint="x")
    assert fitted.position.rate == pytest.approx(0.1)  # after the second dull validation, once
    assert (fitted.position.best_step, fitted.position.best_score) == (5, 0.6)


def test_the_rate_of_a_plateau_never_falls_below_its_floor(tmp_path: Path) -> None:
    job = FitALine([0.5] + [0.1] * 9)
    choices = {
        "schedule": "plateau",
        "plateau_patience": 0,
        "val_every": 1,
        "last_step": 10,
        "least_rate": 0.004,
    }
    fitted = fit(lambda fresh: Line(), job, plan(**choices), tmp_path, fingerprint="x")
    assert fitted.position.rate * 0.05 == pytest.approx(0.004)


def rates_of(folder: Path, **choices: object) -> list[float]:
    """Learning rate of every step of a training with SGD at 0.05."""
    rates: list[float] = []
    honest = torch.optim.SGD.step

    def step(self: torch.optim.SGD, *args: object, **kwargs: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return honest(self, *args, **kwargs)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", step)
        fit(lambda fresh: Line(), FitALine(), plan(optimiser="sgd", **choices), folder, fingerprint="x")
    return rates


def test_milestones_lower_the_rate(tmp_path: Path) -> None:
    rates = rates_of(tmp_path, schedule="steps", milestones=(2, 4), last_step=5)
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005])


def test_a_cosine_rises_for_a_tenth_and_falls_as_the_library_s_does(tmp_path: Path) -> None:
    steps = 30
    rates = rates_of(tmp_path, schedule="cosine", last_step=steps)
    dummy = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.05)
    library = torch.optim.lr_scheduler.CosineAnnealingLR(dummy, T_max=steps)
    expected = []
    for _ in range(steps):
        expected.append(library.get_last_lr()[0])
        dummy.step()
        library.step()
    assert rates[3:] == pytest.approx(expected[3:])
    assert rates[:3] == pytest.approx([expected[0] / 3, expected[1] * 2 / 3, expected[2]])


def test_groups_learn_at_their_own_pace() -> None:
    line = Line()
    optimiser = make_optimiser("sgd", [ParameterGroup([line.a]), ParameterGroup([line.b], 0.1)], 1.0, 0.0)
    set_rate(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == [0.5, 0.05]


def test_gradients_are_clipped_by_value_and_by_norm(tmp_path: Path) -> None:
    for index, clip in enumerate(({"clip_value": 1e-3}, {"clip_norm": 1e-3})):
        choices = {"optimiser": "sgd", "last_step": 1, **clip}
        fitted = fit(
            lambda fresh: Line(), FitALine(), plan(**choices), tmp_path / str(index), fingerprint="x"
        )
        values = torch.stack([one.detach() for one in fitted.network.parameters()])
        size = float(values.norm() if "clip_norm" in clip else values.abs().max())
        assert size == pytest.approx(0.05 * 1e-3, rel=1e-3)


def test_two_processes_train_as_one(make_manifest, tmp_path: Path) -> None:
    manifest = make_manifest([Split.TRAIN] * 4 + [Split.VAL])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = [
        *("train", "geng_unet", "--data", str(manifest.directory), "--steps", "2", "--batch", "2"),
        *("--input-px", "32", "--device", "cpu", "--random-init", "--no-augment", "--val-every-steps", "2"),
    ]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    team = [*launch, "-m", "baselines.cli", *arguments, "--out", str(tmp_path / "two")]
    done = subprocess.run(team, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    record = read_record(tmp_path / "two")
    assert record.processes == 2 and record.steps == 2 and record.best_val_iou is not None
    alone = [sys.executable, "-m", "baselines.cli", *arguments, "--out", str(tmp_path / "one")]
    subprocess.run(alone, env=environment, capture_output=True, check=True, timeout=300)
    one, two = (read_tensors(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    # Batch statistics are per process, so values differ a little; the first layer hardly feels them.
    name = next(iter(one))
    assert torch.allclose(one[name], two[name], atol=5e-3)
