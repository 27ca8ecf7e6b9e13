"""Dress faces of a photo: rasterise masks and ear loops, shade them, and composite with exact labels.

Compositing is `out = a * M + (1 - a) * I * (1 - shadow)` in linear light; the loops lie under the mask. A
pixel that no layer touches keeps its bytes. Alpha is rounded to 16 bit and shadow to 8 bit *before*
compositing, so the stored layers are exactly what was drawn with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.assets import Garment
from synth.camera import Layer, finish, places_of, recompress
from synth.cloth.lit import sample
from synth.colour import linear_of_byte, linear_to_srgb
from synth.cover import cover, window_of
from synth.geometry import FaceMesh, MaskMesh
from synth.photo_state import Jpeg
from synth.raster import Box, coverage
from synth.scene import Effects as Effects
from synth.scene import Scene, set_scene
from synth.shading import Light
from synth.shadow import cast_shadow, soften
from synth.topology import canonical_face

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BoolMask = npt.NDArray[np.bool_]


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
        covered[y : y + height, x : x + width] = coverage(surface, canonical_face().triangles, box)
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
    return draw_scene(set_scene(photo, face, garment, effects), photo, in_front)


def draw_scene(scene: Scene, photo: RgbImage, in_front: Floats32) -> Dressing:
    """Draw what `set_scene` has laid out; arguments as in `dress_face`."""
    _keep_freed_memory()
    x, y, width, height = scene.box
    covered, strapped = cover([scene.cloth, scene.ribbon], scene.face, scene.skin, scene.box, scene.samples)
    visible = np.float32(1.0) - in_front[y : y + height, x : x + width]
    texture = scene.texture
    mask = finish(
        covered.alpha,
        lambda place: sample(texture.colour, covered.values[place]),
        scene.state,
        scene.noise,
        visible,
    )
    blocks_light = covered.alpha
    if texture.opacity is not None:
        solid = sample(texture.opacity, covered.values)
        mask = replace(mask, opacity=mask.alpha * solid)
        blocks_light = blocks_light * solid
    strap = finish(
        strapped.alpha,
        lambda place: _strap_colour(scene, strapped.values[place][..., 0]),
        scene.state,
        scene.noise,
        visible,
    )
    dark: Floats32 = np.zeros((height, width), dtype=np.float32)
    if scene.casts_shadow:
        receiver = _receiver(scene.face, scene.box)
        dark = cast_shadow(blocks_light, receiver, scene.light, scene.face.frame.px_per_mm)
        dark = np.rint(dark * visible * 255) / np.float32(255)
    dressing = Dressing(scene.box, mask, strap, dark, covered.amodal, scene.light)
    return _compressed(photo, dressing, scene.state.jpeg) if scene.state.jpeg else dressing


@cache
def _keep_freed_memory() -> None:
    # glibc gives a freed picture back to the system and gets the next one page by page, a third of all time
    # spent drawing; after it has freed one block of just under 32 MB, it keeps up to 64. Harmless elsewhere.
    np.empty((32 << 20) - 8192, dtype=np.uint8)


def _compressed(photo: RgbImage, dressing: Dressing, jpeg: Jpeg) -> Dressing:
    # As if the photo had been dressed before it was compressed.
    x, y, width, height = dressing.box
    drawn = composite(photo[y : y + height, x : x + width], replace(dressing, box=(0, 0, width, height)))
    strap, mask = recompress([dressing.loops, dressing.mask], drawn, jpeg, (x, y))
    return replace(dressing, mask=mask, loops=strap)


def composite(photo: RgbImage, dressing: Dressing) -> RgbImage:
    """The photo with one dressing on it; untouched pixels keep their bytes. The input is not changed."""
    import cv2

    x, y, width, height = dressing.box
    out = photo.copy()
    if width == 0 or height == 0:
        return out
    touched = (dressing.mask.alpha > 0) | (dressing.loops.alpha > 0) | (dressing.shadow > 0)
    left, top, columns, rows = cv2.boundingRect(touched.view(np.uint8))
    if columns == 0:
        return out
    inner = (slice(top, top + rows), slice(left, left + columns))
    window = out[y : y + height, x : x + width][inner]
    # OpenCV multiplies whole pictures ten times as fast as NumPy spreads one map over three channels.
    light_left = cv2.merge([1.0 - dressing.shadow[inner]] * 3)
    linear = cv2.multiply(cv2.LUT(window, linear_of_byte()), light_left)
    for layer in (dressing.loops, dressing.mask):
        colour, opacity = layer.colour[inner], layer.opacity[inner]
        for place in places_of(opacity, 0):
            below = linear[place]
            below += cv2.multiply(colour[place] - below, cv2.merge([opacity[place]] * 3))
    drawn, where = linear_to_srgb(linear), np.ascontiguousarray(touched[inner])
    window[...] = cv2.copyTo(drawn, where.view(np.uint8), np.ascontiguousarray(window))
    return out


def _strap_colour(scene: Scene, across: Floats32) -> Floats32:
    # A round cord: bright in the middle, darker to both sides.
    import cv2

    round_off = 1.0 - np.float32(0.45) * across**2
    return np.asarray(cv2.merge([round_off * part for part in scene.strap_colour]), dtype=np.float32)


def _receiver(face: FaceMesh, box: Box) -> Floats32:
    # Skin that can be in shadow: face, underside of the jaw, neck.
    triangles = np.concatenate([canonical_face().skin_triangles, canonical_face().neck_triangles])
    covered = coverage(face.skin_px, triangles, box).astype(np.float32)
    inner = 2 * soften(covered, max(1.0 * face.frame.px_per_mm, 0.5))
    inner -= 1
    # Blurred inwards only: nothing beside the face gets dark.
    np.maximum(inner, 0, out=inner)
    inner *= covered
    return inner
