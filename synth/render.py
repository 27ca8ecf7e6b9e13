"""Dress faces of a photo: rasterise masks and ear loops, shade them, and composite with exact labels.

Compositing is `out = a * M + (1 - a) * I * (1 - shadow)` in linear light; the loops lie under the mask. A
pixel that no layer touches keeps its bytes. Alpha is rounded to 16 bit and shadow to 8 bit *before*
compositing, so the stored layers are exactly what was drawn with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.assets import Garment
from synth.camera import UNTOUCHED, Layer, finish, read_state
from synth.cloth import grid_uv, sample, shaded_cloth
from synth.cover import Sheet, cover, sampling, window_of
from synth.fabric import srgb_to_linear
from synth.geometry import (
    GRID_COLUMNS,
    GRID_ROWS,
    FaceMesh,
    MaskMesh,
    bare_triangles,
    build_mask,
    grid_triangles,
)
from synth.raster import Box, rasterise
from synth.shading import (
    EVEN_LIGHT,
    Light,
    cast_shadow,
    estimate_light,
    linear_of_byte,
    linear_to_srgb,
    points_on_skin,
    read_skin,
)
from synth.straps import build_loops, loop_curves
from synth.topology import canonical_face

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BoolMask = npt.NDArray[np.bool_]

_SHADOW_MARGIN_MM = 18.0


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
class Dressing:
    """One face's mask, ready to composite.

    Attributes:
        box: window of the photo that everything lies in.
        mask, loops: the sheets, mask on top.
        shadow: (h, w) float32 multiples of 1/255.
        amodal: (h, w) float32 coverage of the whole mask, as if nothing were in front of it.
        light: the light it was shaded with.
    """

    box: Box
    mask: Layer
    loops: Layer
    shadow: Floats32
    amodal: Floats32
    light: Light


def inside_share(mesh: MaskMesh, size_hw: tuple[int, int]) -> float:
    """Share of a mask's grid points that lie within the picture, 0–1."""
    x, y = mesh.grid_px[..., 0], mesh.grid_px[..., 1]
    return float(((x >= 0) & (x < size_hw[1]) & (y >= 0) & (y < size_hw[0])).mean())


def face_coverage(face: FaceMesh, size_hw: tuple[int, int]) -> BoolMask:
    """Pixels whose centre the face oval covers, (H, W) bool."""
    covered = np.zeros(size_hw, dtype=np.bool_)
    surface = face.skin_px[: len(canonical_face().vertices_mm)]
    box = window_of(surface, 1.0, size_hw)
    x, y, width, height = box
    if width > 0 and height > 0:
        hits = rasterise(surface, canonical_face().triangles, box)
        covered[y : y + height, x : x + width].flat[hits.sample] = True
    return covered


def dress_face(
    photo: RgbImage, face: FaceMesh, garment: Garment, in_front: Floats32, effects: Effects
) -> Dressing:
    """Draw one mask for one face; the photo is only read.

    Args:
        photo: (H, W, 3) sRGB, undressed: light, blur and noise are read off it.
        face: the wearer.
        garment: the mask to wear.
        in_front: (H, W) in [0, 1], coverage of what is nearer to the camera and hides this mask.
        effects: what to take from the photo.
    """
    size_hw = (photo.shape[0], photo.shape[1])
    scale_px = face.frame.px_per_mm
    mesh = build_mask(garment.shape, face)
    skin = read_skin(photo, face.skin_px, scale_px)
    curves = loop_curves(mesh, face)
    shown = points_on_skin(photo, skin, curves)
    loops = build_loops(curves, shown, garment.strap.width_mm * scale_px)
    points = np.concatenate([mesh.grid_px.reshape(-1, 3), loops.vertices_px])
    box = window_of(points, _SHADOW_MARGIN_MM * scale_px + 6.0, size_hw)
    x, y, width, height = box
    window = (slice(y, y + height), slice(x, x + width))
    light = estimate_light(photo, skin) if effects.light else EVEN_LIGHT
    triangles = grid_triangles(GRID_ROWS, GRID_COLUMNS)
    cloth = Sheet(mesh.grid_px.reshape(-1, 3), triangles, grid_uv())
    ribbon = Sheet(loops.vertices_px, loops.triangles, loops.across[:, None])
    skin_in_front = bare_triangles(garment.shape)
    covered, strapped = cover([cloth, ribbon], face, skin_in_front, box, sampling(mesh))
    texture = shaded_cloth(mesh, garment, light, scale_px)
    state = read_state(photo, face) if effects.camera else UNTOUCHED
    rng = np.random.default_rng(garment.fabric.seed + 4)
    visible = 1.0 - in_front[window]
    mask = finish(covered.alpha, sample(texture, covered.values), state, rng, visible)
    strap_colour = _strap_colour(garment, light, strapped.values[..., 0])
    strap = finish(strapped.alpha, strap_colour, state, rng, visible)
    dark: Floats32 = np.zeros((height, width), dtype=np.float32)
    if effects.shadow:
        dark = cast_shadow(covered.alpha, _receiver(face, box), light, scale_px)
        dark = np.rint(dark * visible * 255) / np.float32(255)
    return Dressing(box, mask, strap, dark, covered.amodal, light)


def composite(photo: RgbImage, dressing: Dressing) -> RgbImage:
    """The photo with one dressing on it; untouched pixels keep their bytes. The input is not changed."""
    x, y, width, height = dressing.box
    out = photo.copy()
    window = out[y : y + height, x : x + width]
    touched = (dressing.mask.alpha > 0) | (dressing.loops.alpha > 0) | (dressing.shadow > 0)
    linear = linear_of_byte()[window[touched]] * (1.0 - dressing.shadow[touched])[:, None]
    for layer in (dressing.loops, dressing.mask):
        opacity = layer.opacity[touched][:, None]
        linear = opacity * layer.colour[touched] + (1.0 - opacity) * linear
    window[touched] = linear_to_srgb(linear)
    return out


def _strap_colour(garment: Garment, light: Light, across: Floats32) -> Floats32:
    # A round cord: bright in the middle, darker to both sides.
    colour = light.colour(srgb_to_linear(np.array(garment.strap.colour) / 255))
    round_off = np.float32(min(light.ambient, 1.0)) * (1.0 - 0.45 * across**2)
    return (round_off[..., None] * colour).astype(np.float32)


def _receiver(face: FaceMesh, box: Box) -> Floats32:
    # Skin that can be in shadow: face, underside of the jaw, neck.
    import cv2

    triangles = np.concatenate([canonical_face().skin_triangles, canonical_face().neck_triangles])
    hits = rasterise(face.skin_px, triangles, box)
    covered = np.zeros((box[3], box[2]), dtype=np.float32)
    covered.flat[hits.sample] = 1.0
    soft = cv2.GaussianBlur(covered, (0, 0), max(1.0 * face.frame.px_per_mm, 0.5))
    # Blurred inwards only: nothing beside the face gets dark.
    return np.asarray(np.clip(2 * soft - 1, 0, 1) * covered, dtype=np.float32)
