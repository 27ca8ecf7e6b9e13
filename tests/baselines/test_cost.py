"""Multiply-adds equal the closed form; speed and memory are positive figures of this machine."""

from __future__ import annotations

import torch
from torch import nn

from baselines.cost import count_macs, measure_network
from baselines.segmenter import SegOutput


class OneConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 3, padding=1, stride=2, bias=False)

    def forward(self, images: torch.Tensor) -> SegOutput:
        small = self.convolution(images)
        return SegOutput(nn.functional.interpolate(small[:, :1], images.shape[-2:]))


def test_a_convolution_costs_kernel_times_channels_times_outputs() -> None:
    assert count_macs(OneConvolution(), 32) == 3 * 3 * 3 * 5 * 16 * 16


def test_speed_is_of_the_device_it_names() -> None:
    cost = measure_network(OneConvolution(), 32, torch.device("cpu"), limit_s=0.5)
    assert cost.device == "cpu" and cost.threads == torch.get_num_threads()
    assert cost.fps_1 > 0 and cost.fps_32 is not None and cost.fps_32 > 0
    assert 1 <= cost.forwards <= 200
    assert cost.peak_memory_mib == 0  # a CPU's cannot be told from the process's
