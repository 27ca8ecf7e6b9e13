"""A mask's cloth as a lit picture: the fabric's colours and relief under the photo's light.

Form and light vary slowly, so light is worked out on a coarse grid, together with how it changes when the
surface tilts; at the texels only the relief's slopes are added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synth.assets import Garment
from synth.cloth.dye import dye
from synth.cloth.fabric import cloth_axes
from synth.cloth.relief import relief_mm, window_inside
from synth.geometry import GRID_COLUMNS, GRID_ROWS, MaskMesh
from synth.shading import Light

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

_MAX_TEXELS = 1024
# At the middle, by the mask's width in pixels; to the sides a pixel sees more cloth. A large mask's pixels
# are finer than what is to be seen of a fabric.
_TEXELS_PER_PX = ((200.0, 1.0), (500.0, 0.75))
_SEEN_MM = 220.0
_FINE = 3  # cells of the light's grid per cell of the mesh
_TILT = 0.3  # slope at which light's change is measured
_STEEPEST = 1.2
_DEPTH = np.float32(1.7)  # folds of real masks (MFSD) are this much stronger than soft light shows them
_SKY_MM = 2.0
_SHOULDER = 0.72  # linear light from which highlights are compressed
_HALF = np.array([[-0.5, 0.0, 0.5]], dtype=np.float32)


@dataclass(frozen=True)
class LitCloth:
    """A cloth under a photo's light.

    Attributes:
        colour: (h, w, 3) linear light.
        opacity: (h, w) in [0, 1], below 1 where one sees through it; None = nowhere.
    """

    colour: Floats32
    opacity: Floats32 | None


@dataclass(frozen=True)
class _LitForm:
    # The smooth surface at the texels: its brightness, what one unit of slope across or down takes from it,
    # and the gloss.
    shade: Floats32
    across: Floats32
    down: Floats32
    gloss: Floats32


def grid_uv() -> Floats:
    """(rows * columns, 2) place of each grid point on the cloth, 0–1 across and down."""
    v, u = np.meshgrid(np.linspace(0, 1, GRID_ROWS), np.linspace(0, 1, GRID_COLUMNS), indexing="ij")
    return np.stack([u.ravel(), v.ravel()], axis=1)


def texel_count(mesh: MaskMesh, px_per_mm: float) -> tuple[int, int]:
    """Rows and columns of texels for a mask at a scale."""
    sizes, rates = zip(*_TEXELS_PER_PX, strict=True)
    rate = float(np.interp(mesh.size_mm[0] * px_per_mm, sizes, rates))
    # Most of a cloth that goes around the neck is out of sight.
    wide = min(mesh.size_mm[0], _SEEN_MM) + 0.4 * max(mesh.size_mm[0] - _SEEN_MM, 0.0)
    width, height = wide * px_per_mm * rate, mesh.size_mm[1] * px_per_mm * rate
    return int(np.clip(height, 40, _MAX_TEXELS)), int(np.clip(width, 48, _MAX_TEXELS))


def shaded_cloth(mesh: MaskMesh, garment: Garment, light: Light, px_per_mm: float) -> LitCloth:
    """The cloth of a mask as it looks on the face, texel by texel.

    Args:
        mesh: the mask on the face.
        garment: what it is made of.
        light: on the face.
        px_per_mm: scale of the face.

    Raises:
        DataError: a user's texture that is not loaded.
    """
    texels = texel_count(mesh, px_per_mm)
    form = _light_form(mesh, light, texels)
    relief = _DEPTH * relief_mm(garment.fabric, garment.shape, mesh.size_mm, texels)
    shade = _bumped(form, relief, mesh.size_mm)
    colour = _coloured(garment, light, form, shade, mesh.size_mm)
    if garment.fabric.window is None:
        return LitCloth(colour, None)
    return _with_window(colour, garment, light, form, mesh.size_mm)


def _light_form(mesh: MaskMesh, light: Light, texels: tuple[int, int]) -> _LitForm:
    import cv2

    rows, columns = _FINE * GRID_ROWS, _FINE * GRID_COLUMNS
    at_x, at_y = np.meshgrid(
        (np.arange(columns, dtype=np.float32) + np.float32(0.5)) * np.float32((GRID_COLUMNS - 1) / columns),
        (np.arange(rows, dtype=np.float32) + np.float32(0.5)) * np.float32((GRID_ROWS - 1) / rows),
    )
    grid = mesh.grid_px.astype(np.float32)
    points = cv2.remap(grid, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    right = _unit(cv2.filter2D(points, -1, _HALF, borderType=cv2.BORDER_REPLICATE))
    down = cv2.filter2D(points, -1, _HALF.T, borderType=cv2.BORDER_REPLICATE)
    # Columns run right and rows down, so down x right points towards the camera (z < 0).
    normals = _unit(_cross(down, right))
    down = _cross(right, normals)
    # The inside of a cloth that shows it is lit from there.
    normals[normals[..., 2] > 0.15] *= -1
    plain = light.shade(normals)
    tilted = [light.shade(_unit(normals - np.float32(_TILT) * along)) - plain for along in (right, down)]
    facing = np.clip(-normals[..., 2], 0.0, 1.0)
    gloss = (0.35 + 1.3 * (1.0 - facing) ** 3).astype(np.float32)
    fields = (plain, tilted[0] / np.float32(_TILT), tilted[1] / np.float32(_TILT), gloss)
    size = (texels[1], texels[0])
    return _LitForm(*(cv2.resize(field, size, interpolation=cv2.INTER_LINEAR) for field in fields))


def _cross(one: Floats32, other: Floats32) -> Floats32:
    # What `np.cross` gives, in a third of its time.
    product = np.empty_like(one)
    for k in range(3):
        after, last = (k + 1) % 3, (k + 2) % 3
        product[..., k] = one[..., after] * other[..., last] - one[..., last] * other[..., after]
    return product


def _unit(vectors: npt.NDArray[np.floating]) -> Floats32:
    length = np.sqrt(np.einsum("...k,...k->...", vectors, vectors))
    return np.asarray(vectors / np.maximum(length, 1e-9)[..., None], dtype=np.float32)


def _bumped(form: _LitForm, relief: Floats32, size_mm: tuple[float, float]) -> Floats32:
    import cv2

    height, width = relief.shape
    texel_mm = size_mm[0] / width
    border = cv2.BORDER_REPLICATE
    across = cv2.filter2D(relief, -1, _HALF * np.float32(width / size_mm[0]), borderType=border)
    down = cv2.filter2D(relief, -1, _HALF.T * np.float32(height / size_mm[1]), borderType=border)
    np.clip(across, -_STEEPEST, _STEEPEST, out=across)
    np.clip(down, -_STEEPEST, _STEEPEST, out=down)
    shade = form.shade + across * form.across
    shade += down * form.down
    # Folds lie in their own shadow: compare the height with its surroundings, which are smooth.
    quarter = (max(width // 4, 1), max(height // 4, 1))
    around = cv2.resize(relief, quarter, interpolation=cv2.INTER_AREA)
    around = cv2.GaussianBlur(around, (0, 0), max(_SKY_MM / (4 * texel_mm), 0.6))
    around = cv2.resize(around, (width, height), interpolation=cv2.INTER_LINEAR)
    sky = relief - around
    sky *= np.float32(0.16)
    sky += np.float32(1.0)
    shade *= np.clip(sky, 0.7, 1.1)
    lit: Floats32 = np.maximum(shade, np.float32(0.25))
    return lit


def _coloured(
    garment: Garment, light: Light, form: _LitForm, shade: Floats32, size_mm: tuple[float, float]
) -> Floats32:
    import cv2

    height, width = shade.shape
    found = dye(garment.fabric, size_mm, (height, width))
    ground = light.colour(found.ground)
    layers = [(amount, light.colour(colour)) for amount, colour in found.layers]
    white = light.colour(np.ones(3, dtype=np.float32))
    # Gloss follows the shade twice: it is brightest where the light comes from.
    gloss = form.gloss * shade
    gloss *= np.float32(garment.fabric.sheen)
    planes = []
    for k in range(3):
        plane = found.threads * ground[..., k]
        for amount, colour in layers:
            plane += amount * (colour[k] * found.threads - plane)
        plane = cv2.scaleAdd(gloss, float(white[k]), plane)
        planes.append(_rolled_off(cv2.multiply(plane, shade, dst=plane)))
    return np.asarray(cv2.merge(planes), dtype=np.float32)


def _rolled_off(plane: Floats32) -> Floats32:
    # As cameras do, the brightest cloth nears white without reaching it, so that its folds stay to be seen.
    if plane.max() <= _SHOULDER:
        return plane
    over = plane - np.float32(_SHOULDER)
    np.maximum(over, 0.0, out=over)
    plane -= over
    plane += over / (1.0 + over / np.float32(1.0 - _SHOULDER))
    return plane


def _with_window(
    colour: Floats32, garment: Garment, light: Light, form: _LitForm, size_mm: tuple[float, float]
) -> LitCloth:
    # The pane: see-through, with a glare that follows the light and is stronger at grazing angles.
    import cv2

    pane = garment.fabric.window
    assert pane is not None
    height, width = colour.shape[:2]
    x, y = cloth_axes(size_mm, (height, width))
    inside, scale = window_inside(garment.fabric, x, y, size_mm)
    clear = np.clip(inside * np.float32(scale * width / size_mm[0]) + 0.5, 0.0, 1.0)
    bright = np.clip((form.shade - np.float32(1.02)) * 2.2, 0.0, 1.0) ** 2
    bands = np.clip(np.sin((x + 0.6 * y) / 9.0) + 0.2, 0.0, 1.0) * bright
    pane_opacity = np.clip(pane.opacity * form.gloss / 0.5 + 0.35 * bands, 0.0, 0.9)
    opacity = (1.0 - clear * (1.0 - pane_opacity)).astype(np.float32)
    glare = light.colour(np.full(3, 0.75, dtype=np.float32))
    mixed = [part + clear * (glare[k] * form.shade - part) for k, part in enumerate(cv2.split(colour))]
    return LitCloth(np.asarray(cv2.merge(mixed), dtype=np.float32), opacity)


def sample(texture: Floats32, uv: Floats32) -> Floats32:
    """A texture, (h, w) or (h, w, 3), at places (..., 2) of the cloth, 0–1 across and down."""
    import cv2

    height, width = texture.shape[:2]
    x = np.ascontiguousarray(uv[..., 0]) * np.float32(width - 1)
    y = np.ascontiguousarray(uv[..., 1]) * np.float32(height - 1)
    found = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.float32)
