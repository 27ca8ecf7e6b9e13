"""What a convolution costs, as formulas: weights and multiply-adds, without biases.

Source: Xu & Zheng, equations 4 to 10, corrected as `baselines.md` section 3.2 says: equation 6 drops the
output channels of the 1x1 half, and equation 10 prints "=" where "+" is meant.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one layer.

    Attributes:
        weights: learned values without biases.
        multiply_adds: for one picture.
    """

    weights: int
    multiply_adds: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.weights + other.weights, self.multiply_adds + other.multiply_adds)


def standard_cost(kernel: int, inputs: int, outputs: int, out_hw: tuple[int, int]) -> Cost:
    """K^2 Ci Co weights, each used once per output pixel."""
    weights = kernel * kernel * inputs * outputs
    return Cost(weights, weights * out_hw[0] * out_hw[1])


def depthwise_cost(kernel: int, inputs: int, out_hw: tuple[int, int]) -> Cost:
    """K^2 Ci weights: one kernel per input channel."""
    weights = kernel * kernel * inputs
    return Cost(weights, weights * out_hw[0] * out_hw[1])


def pointwise_cost(inputs: int, outputs: int, out_hw: tuple[int, int]) -> Cost:
    """Ci Co weights: a 1x1 convolution."""
    return standard_cost(1, inputs, outputs, out_hw)


def separable_cost(kernel: int, inputs: int, outputs: int, out_hw: tuple[int, int]) -> Cost:
    """The depthwise and the pointwise half together."""
    return depthwise_cost(kernel, inputs, out_hw) + pointwise_cost(inputs, outputs, out_hw)


def separable_share(kernel: int, outputs: int) -> float:
    """What a separable convolution costs of a standard one, weights and work alike: 1/Co + 1/K^2."""
    return 1 / outputs + 1 / kernel**2
