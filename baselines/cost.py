"""What a baseline costs: parameters, multiply-adds, pictures per second, memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from baselines.loop import peak_memory_mib
from baselines.predict import Predictor, network_asker
from baselines.segmenter import device_name

WARM_UPS = 20
FORWARDS = 200  # `baselines.md` 1.9
_LARGE_BATCH = 32
_SEED = 0


class Cost(BaseModel):
    """Measured at one input size, in float32, without reading or cutting pictures.

    Attributes:
        input_px: side of the square input.
        parameters: trainable values.
        macs: multiply-adds of convolutions and matrix products for one picture; None for a method.
        fps_1, fps_32: pictures per second at batch 1 and 32, warm and synchronised, of the median forward;
            fps_32 is None where a batch of 32 was not tried.
        forwards: timed forwards behind `fps_1`; fewer than 200 where the time limit came first.
        peak_memory_mib: highest memory of the GPU's tensors while at it; 0 on a CPU.
        device: where.
        threads: CPU threads torch used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_px: int
    parameters: int
    macs: int | None
    fps_1: float
    fps_32: float | None
    forwards: int
    peak_memory_mib: float
    device: str
    threads: int


def count_macs(network: nn.Module, input_px: int) -> int:
    """Multiply-adds of one (1, 3, S, S) picture, as the library's counter sees them (half its operations)."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(network.parameters()).device
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network.eval()(torch.zeros(1, 3, input_px, input_px, device=device))
    return int(counter.get_total_flops()) // 2


def measure_network(
    network: nn.Module, input_px: int, device: torch.device, *, limit_s: float = 10.0
) -> Cost:
    """Cost of a network on a device.

    Args:
        network: already there.
        input_px: side of its input.
        device: where.
        limit_s: about how long each of the two timings may take; a GPU is done long before.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    ask = network_asker(network, device)
    fps_1, forwards = _rate(ask, input_px, 1, device, limit_s)
    # A CPU that needs a second for one picture would need half a minute for 32 and say nothing new.
    worth = device.type == "cuda" or _LARGE_BATCH / fps_1 < limit_s
    fps_32 = _rate(ask, input_px, _LARGE_BATCH, device, limit_s)[0] if worth else None
    return Cost(
        input_px=input_px,
        parameters=sum(one.numel() for one in network.parameters()),
        macs=count_macs(network, input_px),
        fps_1=fps_1,
        fps_32=fps_32,
        forwards=forwards,
        peak_memory_mib=round(peak_memory_mib(device), 1),
        device=device_name(device),
        threads=torch.get_num_threads(),
    )


def measure_method(predictor: Predictor, *, limit_s: float = 10.0) -> Cost:
    """Cost of a method without a network."""
    cpu = torch.device("cpu")
    fps, forwards = _rate(predictor.ask, predictor.input_px, 1, cpu, limit_s)
    return Cost(
        input_px=predictor.input_px,
        parameters=0,
        macs=None,
        fps_1=fps,
        fps_32=None,
        forwards=forwards,
        peak_memory_mib=0.0,
        device="cpu",
        threads=torch.get_num_threads(),
    )


def _rate(
    ask: Callable[[npt.NDArray[np.uint8]], object],
    side: int,
    batch: int,
    device: torch.device,
    limit_s: float,
) -> tuple[float, int]:
    """(pictures per second of the median forward, number of timed forwards)."""
    pictures = np.random.default_rng(_SEED).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    times: list[float] = []
    begun = time.perf_counter()
    for turn in range(WARM_UPS + FORWARDS):
        _synchronise(device)
        start = time.perf_counter()
        ask(pictures)
        _synchronise(device)
        took = time.perf_counter() - start
        late = time.perf_counter() - begun > limit_s
        if turn >= WARM_UPS or (late and turn > 0) or took > limit_s:
            times.append(took)
        if late and times:
            break
    return batch / float(np.median(times)), len(times)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
