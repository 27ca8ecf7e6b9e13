"""The colour of a mask on a regular grid of texels: ground, pattern, print, hem, stains, threads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synth.cloth.fabric import MIN_REFLECTANCE, Fabric, Rgb, cloth_axes, noise_field, reflectance_of
from synth.cloth.patterns import pattern_layers
from synth.cloth.prints import picture_of, print_layers

Floats32 = npt.NDArray[np.float32]

_DIRT: Rgb = (104, 84, 62)


@dataclass(frozen=True)
class Dye:
    """Colour of every texel as layers over a ground, so that light is applied to a few colours only.

    Attributes:
        ground: (3,) linear reflectance, or (H, W, 3) for a picture.
        layers: coverage (H, W) in [0, 1] and (3,) linear reflectance of each, from below.
        threads: (H, W) factor of the uneven weave.
    """

    ground: Floats32
    layers: tuple[tuple[Floats32, Floats32], ...]
    threads: Floats32


def dye(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Dye:
    """The colours of a cloth.

    Raises:
        DataError: a user's texture that is not loaded (`synth.cloth.textures`).
    """
    layers: list[tuple[Floats32, Floats32]] = []
    ground = reflectance_of(fabric.ground)
    picture = picture_of(fabric, size_mm, texels_hw)
    if picture is not None:
        ground = np.maximum(picture, np.float32(MIN_REFLECTANCE))
    for amount, colour in pattern_layers(fabric, size_mm, texels_hw):
        layers.append((amount, reflectance_of(colour)))
    for amount, colour in print_layers(fabric, size_mm, texels_hw):
        layers.append((amount, reflectance_of(colour)))
    if fabric.trim != fabric.ground and fabric.hem_mm > 0:
        layers.append((_hem_band(fabric, size_mm, texels_hw), reflectance_of(fabric.trim)))
    if fabric.dirt > 0:
        blotch = noise_field("blotch", fabric.seed + 7, size_mm, texels_hw)
        stain = np.clip(0.5 * blotch - 0.25, 0.0, 0.8) * np.float32(fabric.dirt)
        layers.append((stain, reflectance_of(_DIRT)))
    return Dye(ground, tuple(layers), _threads(fabric, size_mm, texels_hw))


def albedo(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    """Reflectance of every texel, (H, W, 3) linear light in [0, 1].

    Raises:
        DataError: a user's texture that is not loaded.
    """
    found = dye(fabric, size_mm, texels_hw)
    colour = np.broadcast_to(found.ground, (*texels_hw, 3))
    for amount, layer in found.layers:
        colour = colour + amount[..., None] * (layer - colour)
    return np.clip(colour * found.threads[..., None], 0.0, 1.0).astype(np.float32)


def _hem_band(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    x, y = cloth_axes(size_mm, texels_hw)
    soft = max(size_mm[0] / texels_hw[1], 0.3)
    beside = np.clip((fabric.hem_mm - (size_mm[0] / 2 - np.abs(x))) / soft + 0.5, 0.0, 1.0)
    above = np.clip((fabric.hem_mm - np.minimum(y, size_mm[1] - y)) / soft + 0.5, 0.0, 1.0)
    band: Floats32 = np.maximum(beside, above)
    return band


def _threads(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32:
    # Threads of uneven thickness; averaging to the texel size removes what cannot be seen.
    fine = noise_field("weave", fabric.seed, size_mm, texels_hw)
    blotch = noise_field("blotch", fabric.seed + 1, size_mm, texels_hw)
    strength = fabric.weave * (1.6 if fabric.pattern == "denim" else 1.0)
    fine *= np.float32(0.07 * strength)
    fine += np.float32(0.02 * fabric.weave) * blotch
    fine += np.float32(1.0)
    return fine
