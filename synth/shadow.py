"""The shadow of a mask on the skin around it: contact along the rim, and a cast one away from the light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synth.shading import Light

Floats32 = npt.NDArray[np.float32]

CONTACT_STRENGTH = 0.30
CAST_STRENGTH = 0.42
_CONTACT_MM = 2.2
_CAST_MM = 6.0
_CAST_SHIFT_MM = 5.0


@dataclass(frozen=True)
class ShadowPlan:
    """How a mask's shadow is made from its coverage; lengths in pixels of the reduced size.

    Attributes:
        size_hw: what the coverage is reduced to: shadows are smooth.
        contact_px, cast_px: sigma of the blur of the contact shadow, and of the cast one after its shift.
        shift_xy: where the cast shadow falls.
    """

    size_hw: tuple[int, int]
    contact_px: float
    cast_px: float
    shift_xy: tuple[float, float]


def plan_shadow(light: Light, px_per_mm: float, size_hw: tuple[int, int]) -> ShadowPlan:
    """The shadow in a window of that size, both sides > 0."""
    # Half of the contact blur's width is fine enough to work at.
    shrink = max(int(_CONTACT_MM * px_per_mm / 2), 1)
    height, width = (-(-side // shrink) for side in size_hw)
    scale = px_per_mm * width / size_hw[1]
    x, y, _ = light.direction
    # Without a directed part light still comes mostly from above.
    shift = _CAST_SHIFT_MM * scale * np.array([np.clip(-2 * x, -1, 1), np.clip(0.7 - 2 * y, -0.2, 1.2)])
    return ShadowPlan(
        size_hw=(height, width),
        contact_px=max(_CONTACT_MM * scale, 0.5),
        cast_px=max(0.5 * _CAST_MM * scale, 0.5),
        shift_xy=(float(shift[0]), float(shift[1])),
    )


def cast_shadow(alpha: Floats32, receiver: Floats32, light: Light, px_per_mm: float) -> Floats32:
    """How much light the mask takes from the skin around it.

    Args:
        alpha: (H, W) coverage of the mask in [0, 1].
        receiver: (H, W) coverage of skin that can receive shadow.
        light: light on the face.
        px_per_mm: scale.

    Returns:
        (H, W) in [0, 1], steps of 1/255: the photo is multiplied by one minus this. Not part of any label.
    """
    import cv2

    height, width = alpha.shape
    if alpha.size == 0:
        return alpha
    plan = plan_shadow(light, px_per_mm, (height, width))
    size = plan.size_hw[::-1]
    small = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    contact = cv2.GaussianBlur(small, (0, 0), plan.contact_px)
    move = np.array([[1.0, 0.0, plan.shift_xy[0]], [0.0, 1.0, plan.shift_xy[1]]])
    cast = cv2.GaussianBlur(cv2.warpAffine(small, move, size, flags=cv2.INTER_LINEAR), (0, 0), plan.cast_px)
    shadow = 1 - (1 - CONTACT_STRENGTH * contact) * (1 - CAST_STRENGTH * cast)
    shadow = cv2.resize(shadow, (width, height), interpolation=cv2.INTER_LINEAR)
    shadow *= receiver
    shadow *= 255
    np.floor(shadow, out=shadow)  # less than one step is no shadow
    shadow /= 255
    return np.asarray(shadow, dtype=np.float32)


def soften(covered: Floats32, sigma_px: float) -> Floats32:
    """A (H, W) coverage blurred, about: at a size where that costs little.

    Args:
        covered: coverage.
        sigma_px: standard deviation of the Gaussian.
    """
    import cv2

    shrink = max(int(sigma_px / 1.2), 1)
    if shrink == 1 or covered.size == 0:
        return np.asarray(cv2.GaussianBlur(covered, (0, 0), sigma_px), dtype=np.float32)
    height, width = covered.shape
    size = (-(-width // shrink), -(-height // shrink))
    small = cv2.resize(covered, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma_px * size[0] / width)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
