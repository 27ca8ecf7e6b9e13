"""The picture of a test head: one pass per surface over a z-buffer, shaded per sample, then averaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synth.cloth.fabric import Rgb
from synth.colour import linear_to_srgb, srgb_to_linear
from synth.heads import front
from synth.heads.head import PIVOT_MM, Head, HeadPicture
from synth.heads.paint import Maps, look_up, maps, noise_tile, skin_reflectance, tile_at
from synth.heads.shape import (
    EYEBALL_MM,
    IRIS_MM,
    HeadShape,
    Surface,
    build_shape,
    gaze_direction,
    iris_points,
    joined,
)
from synth.placement import eye_centres
from synth.raster import Hits, rasterise

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BoolMask = npt.NDArray[np.bool_]

_NOTHING, _FACE, _SKIN, _CLOTH, _HAIR, _HAND, _GLASSES = range(7)
_PUPIL_MM = 1.9
_DARKEST = 0.04  # of what the light does to a surface turned away from it
_SCLERA = np.array([0.66, 0.62, 0.60], dtype=np.float32)
_BAND_ROWS = 512  # samples; bounds memory


@dataclass(frozen=True)
class _Paint:
    """Looks of the samples of one pass."""

    keep: BoolMask  # (N,) whether there is anything
    albedo: Floats32  # (N, 3)
    normals: Floats32  # (N, 3) towards the camera
    open: Floats32  # (N,) share of the light that gets there
    gloss: Floats32  # (N,) strength of the highlight
    kind: npt.NDArray[np.uint8]  # (N,)


@dataclass
class _Canvas:
    """Samples of the whole picture; the nearest surface so far."""

    depth: Floats32
    colour: Floats32  # (S, 3) linear
    normal: Floats32  # (S, 3)
    kind: npt.NDArray[np.uint8]
    under: npt.NDArray[np.uint8]  # kind of the head's own surface, whatever is in front


def draw_head(head: Head, samples: int = 2) -> HeadPicture:
    """Draw a head.

    Args:
        head: what to draw.
        samples: per pixel side, >= 1; more gives smoother edges.
    """
    shape = build_shape(head.identity, head.mouth_open)
    side = head.size_px * samples
    canvas = _Canvas(
        np.full(side * side, np.inf, dtype=np.float32),
        _background(head, side),
        np.zeros((side * side, 3), dtype=np.float32),
        np.zeros(side * side, dtype=np.uint8),
        np.zeros(side * side, dtype=np.uint8),
    )
    parts = [shape.skin, shape.ears, shape.neck, shape.body]
    starts = np.cumsum([len(part.triangles) for part in parts])
    hits = _hits(head, joined(parts), samples)
    _put(
        canvas, hits, _paint_person(head, shape, hits, np.searchsorted(starts, hits.triangle, "right")), head
    )
    canvas.under[:] = canvas.kind
    for surface, kind, colour in _things_in_front(head, shape):
        hits = _hits(head, surface, samples)
        _put(canvas, hits, _paint_thing(head, hits, kind, colour), head)
    points = np.concatenate([shape.face_mm, iris_points(shape, head.gaze_deg)])
    return _finish(head, canvas, samples, head.to_image(points))


def _background(head: Head, side: int) -> Floats32:
    # Brighter above than below, as most walls are.
    fall = np.linspace(1.12, 0.82, side, dtype=np.float32)[:, None, None]
    colour = head.light.colour(_linear(head.background_rgb))
    return np.asarray((fall * np.ones((1, side, 1), np.float32) * colour).reshape(-1, 3), dtype=np.float32)


def _linear(colour: Rgb) -> Floats32:
    return srgb_to_linear(np.array(colour, dtype=np.float64) / 255)


def _hits(head: Head, surface: Surface, samples: int) -> Hits:
    values = np.concatenate([surface.normals @ head.rotation.T, surface.layout], axis=1)
    box = (0, 0, head.size_px, head.size_px)
    return rasterise(head.to_image(surface.vertices), surface.triangles, box, scale=samples, values=values)


def _put(canvas: _Canvas, hits: Hits, paint: _Paint, head: Head) -> None:
    seen = paint.keep & (hits.depth < canvas.depth[hits.sample])
    at = hits.sample[seen]
    normals = paint.normals[seen]
    shade = np.maximum(_shade(head, normals), _DARKEST) * paint.open[seen]
    colour = head.light.colour(paint.albedo[seen]) * shade[:, None]
    colour += (_highlight(head, normals) * paint.gloss[seen])[:, None] * head.light.colour(
        np.ones(3, dtype=np.float32)
    )
    canvas.colour[at] = colour
    canvas.depth[at] = hits.depth[seen]
    canvas.normal[at] = normals
    canvas.kind[at] = paint.kind[seen]


def _shade(head: Head, normals: Floats32) -> Floats32:
    towards = np.asarray(head.light.direction, dtype=np.float32)
    shade: Floats32 = np.float32(head.light.ambient) * (1.0 + normals @ towards)
    return shade


def _highlight(head: Head, normals: Floats32) -> Floats32:
    # Blinn's model with a broad lobe; a light that comes from nowhere comes from above.
    towards = np.asarray(head.light.direction, dtype=np.float32)
    strength = float(np.linalg.norm(towards))
    towards = towards / strength if strength > 0.05 else np.array([0.2, -0.6, -0.77], dtype=np.float32)
    half = towards + np.array([0, 0, -1], dtype=np.float32)
    half /= max(float(np.linalg.norm(half)), 1e-6)
    lit = np.maximum(normals @ half, 0.0) ** 22
    return np.asarray(head.light.ambient * (0.35 + strength) * lit, dtype=np.float32)


def _camera_side(values: Floats32) -> tuple[Floats32, BoolMask]:
    normals = values[:, :3] / np.maximum(np.linalg.norm(values[:, :3], axis=1, keepdims=True), 1e-6)
    inner = normals[:, 2] > 0.25
    normals[inner] *= -1
    return normals.astype(np.float32), inner


def _paint_person(head: Head, shape: HeadShape, hits: Hits, part: Ints) -> _Paint:
    normals, _ = _camera_side(hits.values)
    layout = np.ascontiguousarray(hits.values[:, 3:5])
    count = len(layout)
    skin = skin_reflectance(head.ita_deg)
    blotch = tile_at(noise_tile("skin", head.seed % 7), layout, 2.2)
    albedo = skin * (1.0 + 0.045 * blotch)[:, None]
    light_left = np.ones(count, dtype=np.float32)
    gloss = np.full(count, 0.035, dtype=np.float32)
    kind = np.full(count, _SKIN, dtype=np.uint8)
    in_head = (normals @ head.rotation.astype(np.float32))[:, 1]
    light_left -= 0.28 * np.clip(in_head, 0, 1) * (part != 3)
    _paint_ear(albedo, light_left, layout, part == 1)
    neck = part == 2
    # The chin keeps light from the throat.
    under_chin = np.clip((167.0 - layout[neck, 1]) / 55.0, 0, 1) * np.clip(
        np.cos(layout[neck, 0] / 56.0) + 0.25, 0, 1
    )
    light_left[neck] *= 1.0 - 0.42 * under_chin
    body = part == 3
    albedo[body] = _linear(head.cloth_rgb) * (1.0 + 0.05 * blotch[body])[:, None]
    gloss[body], kind[body] = 0.0, _CLOTH
    face = np.flatnonzero(part == 0)
    _paint_face(head, albedo, light_left, gloss, kind, layout, face)
    _paint_scalp(head, albedo, layout, face)
    _paint_eyes(head, shape, hits, albedo, light_left, gloss, normals, layout, face)
    return _Paint(np.ones(count, dtype=np.bool_), albedo, normals, light_left, gloss, kind)


def _paint_ear(albedo: Floats32, light_left: Floats32, layout: Floats32, ear: BoolMask) -> None:
    radius = layout[ear, 0]
    albedo[ear] *= np.array([1.04, 0.90, 0.88], dtype=np.float32)
    light_left[ear] *= (
        1.0 - 0.55 * np.exp(-((radius / 0.34) ** 2)) - 0.22 * np.exp(-(((radius - 0.7) / 0.09) ** 2))
    )


def _paint_face(
    head: Head,
    albedo: Floats32,
    light_left: Floats32,
    gloss: Floats32,
    kind: npt.NDArray[np.uint8],
    layout: Floats32,
    face: Ints,
) -> None:
    drawn: Maps = maps()
    at = layout[face]
    flush = look_up(drawn.flush, at)[:, None]
    colour = albedo[face] * (1.0 - flush * np.array([-0.02, 0.13, 0.13], dtype=np.float32))
    skin = skin_reflectance(head.ita_deg)
    lip = skin * (1.0 - head.lip_red * np.array([0.16, 0.60, 0.52], dtype=np.float32))
    lips = look_up(drawn.lips, at)
    creased = tile_at(noise_tile("strands", 3), at, 5.0)
    colour = _mix(colour, lip * (1.0 + 0.05 * creased)[:, None], 0.9 * lips)
    mouth = look_up(drawn.mouth, at)
    if head.mouth_open > 0.15:
        upper = np.clip((69.0 - at[:, 1]) / 1.2, 0, 1)
        inside = np.array([0.045, 0.012, 0.012], np.float32) + upper[:, None] * np.array(
            [0.42, 0.40, 0.36], np.float32
        )
    else:
        inside = np.tile(lip * np.float32(0.22), (len(at), 1))
    colour = _mix(colour, inside, mouth)
    colour = _mix(colour, np.tile(_linear(head.brow_rgb), (len(at), 1)), 0.92 * look_up(drawn.brow, at))
    lash = np.minimum(_linear(head.brow_rgb) * 0.5, 0.02)
    colour = _mix(colour, np.tile(lash, (len(at), 1)), 0.85 * look_up(drawn.lash, at))
    albedo[face] = colour
    light_left[face] *= 1.0 - look_up(drawn.crease, at)
    gloss[face] += 0.03 * lips - 0.03 * mouth
    kind[face[look_up(drawn.oval, at) > 0.5]] = _FACE


def _paint_scalp(head: Head, albedo: Floats32, layout: Floats32, face: Ints) -> None:
    # Under the hair, and on a shaved head, the skin is darker.
    style = "cap" if head.hair == "none" else head.hair
    fade, strength = (30.0, 0.22) if head.hair == "none" else (10.0, 0.8)
    shown = np.clip(front.hair_margin(style, layout[face]) / fade, 0, 1).astype(np.float32)
    albedo[face] = _mix(albedo[face], np.tile(_linear(head.hair_rgb), (len(face), 1)), strength * shown)


def _mix(below: Floats32, above: Floats32, share: Floats32) -> Floats32:
    return (below + share[:, None] * (above - below)).astype(np.float32)


def _paint_eyes(
    head: Head,
    shape: HeadShape,
    hits: Hits,
    albedo: Floats32,
    light_left: Floats32,
    gloss: Floats32,
    normals: Floats32,
    layout: Floats32,
    face: Ints,
) -> None:
    # Behind the opening between the lids lies a ball: where the view ray meets it.
    drawn = maps()
    look = np.flatnonzero(look_up(drawn.eye, layout[face]) > 0.5)
    for side, ball in zip((-1.0, 1.0), shape.eyeballs_mm, strict=True):
        at = face[look[np.sign(layout[face[look], 0]) == side]]
        row, column = np.divmod(hits.sample[at], hits.samples_hw[1])
        scale = hits.samples_hw[1] / head.size_px
        centre = (ball - PIVOT_MM) @ head.rotation.T
        near = head.distance_mm / (head.distance_mm + centre[2]) if head.distance_mm > 0 else 1.0
        per_mm = head.px_per_mm * near
        x = ((column + 0.5) / scale - head.size_px / 2) / per_mm - centre[0]
        y = ((row + 0.5) / scale - head.size_px / 2) / per_mm - centre[1]
        height = np.sqrt(np.maximum(EYEBALL_MM**2 - x**2 - y**2, 0.0))
        ball_normal = np.stack([x, y, -height], axis=1) / EYEBALL_MM
        gaze = head.rotation @ gaze_direction(head.gaze_deg)
        facing = ball_normal @ gaze
        off_axis = EYEBALL_MM * np.sqrt(np.maximum(1.0 - facing**2, 0.0)) + 99.0 * (facing < 0)
        albedo[at] = _eye_colour(head, off_axis, np.abs(layout[at, 0]), ball_normal @ head.rotation)
        soft = 0.5 * normals[at] + 0.5 * ball_normal.astype(np.float32)
        normals[at] = soft / np.maximum(np.linalg.norm(soft, axis=1, keepdims=True), 1e-6)
        light_left[at] = 1.0 - 0.5 * look_up(drawn.lid_shade, layout[at])
        glint = np.array([0.22, -0.38, -0.9])
        glint = ball_normal @ (glint / np.linalg.norm(glint))
        gloss[at] = np.where((glint > 0.985) & (off_axis < IRIS_MM + 1.5), 4.0, 0.02)


def _eye_colour(head: Head, off_axis: Floats, aside: Floats32, in_head: Floats) -> Floats32:
    turn = np.arctan2(in_head[:, 1], in_head[:, 0])
    fibres = 0.5 + 0.5 * np.sin(turn * 31 + 2.0 * np.sin(turn * 7)) * np.cos(turn * 13 + 1.0)
    iris = _linear(head.eye_rgb)[None, :] * (0.65 + 0.5 * fibres[:, None])
    iris *= (1.25 - 0.4 * off_axis / IRIS_MM)[:, None]
    rim = np.clip((off_axis - 0.78 * IRIS_MM) / (0.22 * IRIS_MM), 0, 1)[:, None]
    iris = iris * (1.0 - 0.72 * rim)
    pupil = np.clip((off_axis - _PUPIL_MM) / 0.35, 0, 1)[:, None]
    iris = 0.006 + (iris - 0.006) * pupil
    pink = np.clip((25.0 - aside) / 4.0, 0, 1)[:, None] * np.array([0.0, 0.22, 0.2])
    white = _SCLERA * (1.0 - pink) * (1.0 - 0.012 * np.clip(off_axis, 0, 14) ** 1.2)[:, None]
    edge = np.clip((off_axis - IRIS_MM) / 0.5, 0, 1)[:, None]
    colour = np.where(off_axis[:, None] < IRIS_MM + 0.5, iris + (white - iris) * edge, white)
    return np.asarray(colour, dtype=np.float32)


def _things_in_front(head: Head, shape: HeadShape) -> list[tuple[Surface, int, Rgb]]:
    things: list[tuple[Surface, int, Rgb]] = []
    if head.hair != "none":
        things.append((front.hair_shell(shape, head.hair), _HAIR, head.hair_rgb))
    if head.hair == "long":
        things.append((front.hair_curtain(), _HAIR + 100, head.hair_rgb))
    if head.glasses:
        frame, lenses = front.glasses(shape, round_lenses=head.glasses == "round")
        things.append((frame, _GLASSES, (26, 24, 24)))
        if head.glasses == "dark":
            things.append((lenses, _GLASSES, (20, 20, 24)))
    if head.strands:
        rng = np.random.default_rng(head.seed + 1)
        things.append((front.strands(shape, head.strands, rng), _HAIR + 200, head.hair_rgb))
    if head.hand:
        things.append((front.hand(shape, head.hand), _HAND, (0, 0, 0)))
    return things


def _paint_thing(head: Head, hits: Hits, what: int, colour: Rgb) -> _Paint:
    normals, inner = _camera_side(hits.values)
    layout = np.ascontiguousarray(hits.values[:, 3:5])
    count = len(layout)
    keep: BoolMask = np.ones(count, dtype=np.bool_)
    light_left = np.where(inner, 0.35, 1.0).astype(np.float32)
    gloss = np.full(count, 0.12 if what == _GLASSES else 0.03, dtype=np.float32)
    kind = np.full(count, what % 100, dtype=np.uint8)
    if what == _HAND:
        skin = skin_reflectance(head.ita_deg) * np.array([1.0, 0.93, 0.92], dtype=np.float32)
        blotch = tile_at(noise_tile("skin", 5), layout, 2.2)
        return _Paint(keep, skin * (1 + 0.05 * blotch)[:, None], normals, light_left, gloss, kind)
    albedo = np.tile(_linear(colour), (count, 1))
    if what % 100 == _HAIR:
        kind[:] = _HAIR
        streaks = tile_at(noise_tile("strands", 1 + head.seed % 5), layout, 3.0)
        albedo *= np.exp(0.3 * streaks)[:, None]
        if what == _HAIR:
            margin = front.hair_margin(head.hair, layout)
            keep = margin + front.RAGGED_MM[head.hair] * streaks > 0
            light_left *= np.clip(0.72 + margin / 60.0, 0.6, 1.0).astype(np.float32)
        elif what == _HAIR + 100:
            keep = (layout[:, 0] + 4.0 * streaks > 3.0) & (layout[:, 1] + 9.0 * streaks < 192.0)
        gloss = (0.06 * np.exp(0.5 * streaks)).astype(np.float32)
        bumpy = normals + 0.16 * streaks[:, None] * np.array([1.0, 0.0, 0.0], dtype=np.float32)
        normals = (bumpy / np.linalg.norm(bumpy, axis=1, keepdims=True)).astype(np.float32)
    return _Paint(keep, albedo.astype(np.float32), normals, light_left, gloss, kind)


def _finish(head: Head, canvas: _Canvas, samples: int, landmarks: Floats) -> HeadPicture:
    size = head.size_px

    def averaged(values: Floats32) -> Floats32:
        cells = values.reshape(size, samples, size, samples, -1)
        return np.asarray(cells.mean(axis=(1, 3)), dtype=np.float32)

    def share(where: BoolMask) -> Floats32:
        return averaged(where.astype(np.float32))[..., 0]

    of_head = (canvas.kind == _FACE) | (canvas.kind == _SKIN)
    hides = (canvas.kind >= _HAIR) & ((canvas.under == _FACE) | (canvas.under == _SKIN))
    layers = {
        name: share(canvas.kind == kind)
        for name, kind in (("hair", _HAIR), ("hand", _HAND), ("glasses", _GLASSES))
    }
    in_front = hides | (canvas.kind == _HAND) | (canvas.kind == _GLASSES)
    normals = averaged(canvas.normal * of_head[:, None])
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.where(length > 0.25, normals / np.maximum(length, 1e-6), 0).astype(np.float32)
    shade = np.where(length[..., 0] > 0.25, _shade(head, normals), 0).astype(np.float32)
    return HeadPicture(
        linear_to_srgb(averaged(canvas.colour)),
        landmarks,
        np.stack(eye_centres(landmarks)),
        share(canvas.under == _FACE),
        share(canvas.kind == _FACE) >= 0.5,
        share(in_front),
        layers,
        normals,
        shade,
        (head.yaw_deg, head.pitch_deg, head.roll_deg),
    )
