"""Everything about one mask on one face that is known before a pixel is drawn.

Both renderers start here: `render` draws one scene with NumPy and OpenCV, `batch` many at once with torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.assets import Garment
from synth.camera import blur_to_add, draw_noise, drawn_every
from synth.cloth.lit import LitCloth, grid_uv, shaded_cloth
from synth.colour import srgb_to_linear
from synth.cover import Sheet, sampling, window_of
from synth.geometry import (
    GRID_COLUMNS,
    GRID_ROWS,
    FaceMesh,
    bare_triangles,
    build_mask,
    grid_triangles,
)
from synth.photo_state import UNTOUCHED, PhotoState, read_state
from synth.raster import Box
from synth.shading import EVEN_LIGHT, Light, estimate_light, read_skin
from synth.straps import build_loops, loop_curves, visible_lengths

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# How far a shadow can reach, from the constants in `shadow`.
_SHADOW_UP_MM = 10.0
_SHADOW_SIDE_MM = 14.0
_SHADOW_DOWN_MM = 15.0


@dataclass(frozen=True)
class Effects:
    """What a mask takes from the photo it is drawn into.

    Attributes:
        light: shade, tint and exposure; without it the cloth keeps its own colours.
        shadow: the mask darkens the skin around it.
        camera: blur, noise and compression of the photo.
    """

    light: bool = True
    shadow: bool = True
    camera: bool = True


@dataclass(frozen=True)
class Scene:
    """One mask on one face, ready to be drawn.

    Attributes:
        box: window of the photo that everything lies in.
        samples: per pixel side, where an outline crosses the pixel.
        face: the wearer.
        skin: (T, 3) triangles of the wearer's skin that may lie in front of the mask.
        cloth: the mask; its values are places on the texture (0–1 across, down).
        ribbon: the straps; their value is -1 and 1 on the two edges.
        texture: the lit cloth.
        strap_colour: (3,) linear light of the straps' middle line, lit.
        light: on the face.
        state: of the photo.
        noise: (h, w) of the window, sRGB grey levels, or None.
        casts_shadow: whether skin around the mask gets darker.
    """

    box: Box
    samples: int
    face: FaceMesh
    skin: Ints
    cloth: Sheet
    ribbon: Sheet
    texture: LitCloth
    strap_colour: Floats32
    light: Light
    state: PhotoState
    noise: Floats32 | None
    casts_shadow: bool


def set_scene(photo: RgbImage, face: FaceMesh, garment: Garment, effects: Effects) -> Scene:
    """Hang a mask on a face and read from the photo what it needs.

    Args:
        photo: (H, W, 3) sRGB, undressed: light, blur and noise are read off it.
        face: the wearer.
        garment: the mask to wear.
        effects: what to take from the photo.
    """
    scale_px = face.frame.px_per_mm
    mesh = build_mask(garment.shape, face)
    skin = read_skin(photo, face.skin_px, scale_px)
    curves = loop_curves(mesh, face, garment.shape, garment.strap)
    shown = visible_lengths(curves, photo, skin)
    loops = build_loops(curves.points_px, shown, garment.strap.width_mm * scale_px)
    size_hw = (photo.shape[0], photo.shape[1])
    points = np.concatenate([mesh.grid_px.reshape(-1, 3), loops.vertices_px])
    is_drawn = np.arange(len(points)) < mesh.grid_px.size // 3
    is_drawn[loops.triangles + mesh.grid_px.size // 3] = True
    box = _window_around(points[is_drawn], scale_px, size_hw)
    light = estimate_light(photo, skin) if effects.light else EVEN_LIGHT
    state = read_state(photo, face) if effects.camera else UNTOUCHED
    rng = np.random.default_rng(garment.fabric.seed + 4)
    strap = light.colour(srgb_to_linear(np.array(garment.strap.colour) / 255))
    return Scene(
        box=box,
        samples=sampling(mesh),
        face=face,
        skin=bare_triangles(garment.shape),
        cloth=Sheet(mesh.grid_px.reshape(-1, 3), grid_triangles(GRID_ROWS, GRID_COLUMNS), grid_uv()),
        ribbon=Sheet(loops.vertices_px, loops.triangles, loops.across[:, None]),
        texture=shaded_cloth(mesh, garment, light, scale_px / drawn_every(state)),
        strap_colour=strap * np.float32(min(light.ambient, 1.0)),
        light=light,
        state=state,
        noise=_noise_around(points, box, size_hw, state, rng),
        casts_shadow=effects.shadow,
    )


def _window_around(points: Floats, px_per_mm: float, size_hw: tuple[int, int]) -> Box:
    # With room for the shadow, which falls down and to one side, seldom up.
    low = points[:, :2].min(axis=0) - px_per_mm * np.array([_SHADOW_SIDE_MM, _SHADOW_UP_MM])
    high = points[:, :2].max(axis=0) + px_per_mm * np.array([_SHADOW_SIDE_MM, _SHADOW_DOWN_MM])
    return window_of(np.stack([low, high]), 6.0, size_hw)


def _noise_around(
    points: Floats, box: Box, size_hw: tuple[int, int], state: PhotoState, rng: np.random.Generator
) -> Floats32 | None:
    # The window is larger than what is drawn, for the shadow's sake; noise takes long to draw.
    x, y, width, height = box
    left, top, columns, rows = window_of(points, 4 * blur_to_add(state) + 2, size_hw)
    drawn = draw_noise((rows, columns), state, rng)
    if drawn is None:
        return None
    noise = np.zeros((height, width), dtype=np.float32)
    # Of what would be noise on hidden straps some lies outside the window.
    above, before = max(y - top, 0), max(x - left, 0)
    part = drawn[above : y + height - top, before : x + width - left]
    row, column = max(top - y, 0), max(left - x, 0)
    noise[row : row + part.shape[0], column : column + part.shape[1]] = part
    return noise
