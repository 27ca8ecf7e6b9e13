"""What a test head wears and what is in front of its face: hair, a hand, loose strands, glasses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from synth.geometry import grid_triangles
from synth.heads.shape import AROUND_MM, HeadShape, Surface, grid_normals, joined

Floats = npt.NDArray[np.float64]

# Lowest hair, v at |s|, in millimetres of the layout. The ear lies at |s| 118-150, v -14 to 50.
HAIRLINES: dict[str, tuple[tuple[float, float], ...]] = {
    "cap": (
        *((0, -64), (26, -68), (50, -62), (68, -50), (84, -38), (97, -23), (107, -6), (113, 8), (119, 8)),
        *((123, -16), (138, -18), (150, 30), (170, 52), (AROUND_MM, 62)),
    ),
    "fringe": (
        *((0, -31), (40, -28), (66, -31), (86, -31), (99, -19), (107, -2), (113, 14), (119, 12)),
        *((123, -14), (138, -16), (150, 30), (170, 52), (AROUND_MM, 62)),
    ),
    "long": (
        *((0, -74), (20, -67), (50, -58), (72, -45), (88, -30), (98, -8), (106, 24), (112, 60), (130, 70)),
        *((170, 72), (AROUND_MM, 74)),
    ),
}
_HAIR_MM = {"cap": 9.0, "fringe": 12.0, "long": 12.0}
_FADE_MM = 26.0
# How far hairs reach over or stay behind that line.
RAGGED_MM = {"cap": 1.6, "fringe": 4.0, "long": 1.8}

# Fingers over the face in millimetres on the skin: root to tip of each, in a frame whose second axis
# points along the fingers; lengths and widths of a mean adult hand (Garrett, Human Factors 1971).
_FINGERS: tuple[tuple[tuple[float, float], tuple[float, float], float], ...] = (
    ((-27.0, -8.0), (-33.0, 62.0), 8.2),
    ((-9.0, -4.0), (-10.0, 74.0), 8.6),
    ((9.0, -6.0), (12.0, 68.0), 8.2),
    ((26.0, -12.0), (33.0, 48.0), 7.2),
)
_PALM: tuple[tuple[tuple[float, float], tuple[float, float], float], ...] = (
    ((-20.0, -78.0), (-27.0, 2.0), 11.0),
    ((-7.0, -82.0), (-9.0, 4.0), 12.0),
    ((7.0, -82.0), (9.0, 2.0), 12.0),
    ((20.0, -78.0), (26.0, -6.0), 11.0),
)
_THUMB: tuple[tuple[float, float], tuple[float, float], float] = ((-22.0, -62.0), (-60.0, 4.0), 9.6)
# Where the middle of the hand lies (s, v) and where its fingers point, degrees clockwise from up.
HAND_PLACES: dict[str, tuple[float, float, float]] = {
    "mouth": (6.0, 88.0, -62.0),
    "cheek": (-62.0, 82.0, 8.0),
    "chin": (22.0, 118.0, -24.0),
    "eye": (-58.0, 34.0, 24.0),
}


def hair_margin(style: str, layout: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """How far inside the hair each (N, 2) layout position lies, mm; negative outside."""
    line = np.array(HAIRLINES[style], dtype=np.float64)
    edge = np.interp(np.abs(layout[:, 0]), line[:, 0], line[:, 1])
    return np.asarray(edge - layout[:, 1])


def hair_shell(shape: HeadShape, style: str) -> Surface:
    """Hair that lies on the head: its surface moved outwards, thin at the hairline."""
    margin = hair_margin(style, shape.skin.layout)
    thick = 0.5 + _HAIR_MM[style] * np.clip(margin / _FADE_MM, 0.0, 1.0) ** 0.8
    moved = shape.skin.vertices + shape.skin.normals * thick[:, None]
    rows, columns = shape.grid_hw
    normals = grid_normals(moved.reshape(rows, columns, 3)).reshape(-1, 3)
    normals[np.linalg.norm(normals, axis=1) < 0.5] = (0.0, -1.0, 0.0)
    near = margin > -14.0
    used = shape.skin.triangles[near[shape.skin.triangles].all(axis=1)]
    return Surface(moved, used, normals, shape.skin.layout)


def hair_curtain() -> Surface:
    """Long hair that falls beside and behind the neck; layout s is distance from its front edges."""
    angle = np.linspace(np.radians(76.0), np.radians(284.0), 161)[None, :]
    down = np.linspace(0.0, 1.0, 30)[:, None]
    y = -40.0 + 255.0 * down
    locks = 2.2 * np.sin(angle * 17 + 5 * down) + 1.4 * np.sin(angle * 41 - 7 * down)
    swing = 4.0 * np.sin(2.6 * down * np.pi + angle)
    wide = 70.0 + 19.0 * np.clip(down / 0.3, 0, 1) ** 0.6 + np.clip(down * 4, 0, 1) * (locks + swing)
    x, z = wide * np.sin(angle), 88.0 - (wide + 12.0) * np.cos(angle)
    grid = np.stack(np.broadcast_arrays(x, y, z), axis=-1)[:, ::-1]
    edge = np.minimum(angle - angle[0, 0], angle[0, -1] - angle) * 85.0
    layout = np.stack(np.broadcast_arrays(edge, y), axis=-1)[:, ::-1]
    normals = grid_normals(grid).reshape(-1, 3)
    return Surface(grid.reshape(-1, 3), grid_triangles(*grid.shape[:2]), normals, layout.reshape(-1, 2))


def tube(path: Floats, radius: npt.NDArray[np.floating[Any]], sides: int = 10) -> Surface:
    """A round tube with rounded ends along a path.

    Args:
        path: (N, 3) millimetres, N >= 2.
        radius: (N,) millimetres.
        sides: facets around.
    """
    start, end = path[0] - path[1], path[-1] - path[-2]
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    ends = np.radians(np.array([85.0, 60.0, 30.0]))
    head = path[0] + np.sin(ends)[:, None] * start * radius[0]
    tail = path[-1] + np.sin(ends[::-1])[:, None] * end * radius[-1]
    middle = np.concatenate([head, path, tail])
    wide = np.concatenate([np.cos(ends) * radius[0], radius, np.cos(ends[::-1]) * radius[-1]])
    along = np.gradient(middle, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    least = np.eye(3)[np.argmin(np.abs(along).mean(axis=0))]
    first = np.cross(along, least)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(along, first)
    turn = np.linspace(0.0, 2 * np.pi, sides + 1)
    around = np.cos(turn)[None, :, None] * first[:, None] + np.sin(turn)[None, :, None] * second[:, None]
    grid = middle[:, None] + wide[:, None, None] * around
    tilt = np.gradient(wide) / np.maximum(np.linalg.norm(np.gradient(middle, axis=0), axis=1), 1e-6)
    normals = around - np.clip(tilt, -8, 8)[:, None, None] * along[:, None]
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(middle, axis=0), axis=1))])
    layout = np.stack(np.broadcast_arrays(turn[None, :] * wide[:, None], length[:, None]), axis=-1)
    return Surface(
        grid.reshape(-1, 3), grid_triangles(*grid.shape[:2]), normals.reshape(-1, 3), layout.reshape(-1, 2)
    )


def hand(shape: HeadShape, place: str) -> Surface:
    """A hand laid on the face at one of `HAND_PLACES`."""
    s, v, angle = HAND_PLACES[place]
    middle, across, along, out = _tangent_frame(shape, (s, v), np.radians(angle))
    skin = shape.skin.vertices[::5] - middle
    height, at = skin @ out, np.stack([skin @ across, skin @ along], axis=1)
    near = height > -70.0
    pieces, wrist = [], 0.0
    for (start, end, radius), tip in (
        [(f, 0.8) for f in _FINGERS] + [(p, 1.0) for p in _PALM] + [(_THUMB, 0.85)]
    ):
        t = np.linspace(0.0, 1.0, 12)[:, None]
        flat = np.array(start) + t * (np.array(end) - start)
        wide = radius * (1.0 + (tip - 1.0) * t[:, 0] ** 2)
        # Each point rests on whatever of the face lies under it; a finger bends little.
        gap = np.linalg.norm(flat[:, None] - at[near][None], axis=2)
        under = np.where(gap < radius + 4.0, height[near][None], -60.0).max(axis=1)
        rest = _taut(under) + wide + 0.6
        pieces.append(
            tube(middle + flat[:, :1] * across + flat[:, 1:] * along + rest[:, None] * out, wide, 14)
        )
        wrist = max(wrist, float(rest[0]))
    # The arm leaves the face.
    reach = np.linspace(0.0, 1.0, 8)[:, None]
    arm = middle - (72.0 + 230.0 * reach) * along + (wrist - 8.0 + 150.0 * reach) * out
    pieces.append(tube(arm, 21.0 + 14.0 * reach[:, 0], 20))
    return joined(pieces)


def _taut(height: Floats) -> Floats:
    # Upper convex hull of the heights along a finger: it spans hollows.
    k = np.arange(len(height), dtype=np.float64)
    spans = [
        np.where((k >= a) & (k <= b), height[a] + (height[b] - height[a]) * (k - a) / (b - a), -np.inf)
        for a in range(len(height))
        for b in range(a + 1, len(height))
    ]
    return np.asarray(np.max(spans, axis=0))


def _tangent_frame(
    shape: HeadShape, at: tuple[float, float], angle: float
) -> tuple[Floats, Floats, Floats, Floats]:
    index = int(np.argmin(((shape.skin.layout - at) ** 2).sum(axis=1)))
    reach = ((shape.skin.layout - at) ** 2).sum(axis=1) < 40.0**2
    out = shape.skin.normals[reach].mean(axis=0)
    out /= np.linalg.norm(out)
    up = np.array([0.0, -1.0, 0.0])
    up = up - (up @ out) * out
    up /= np.linalg.norm(up)
    right = np.cross(out, up)
    right *= np.sign(right[0]) if abs(right[0]) > 0.2 else 1.0
    along = np.cos(angle) * up + np.sin(angle) * right
    across = np.cos(angle) * right - np.sin(angle) * up
    return shape.skin.vertices[index], across, along, out


def strands(shape: HeadShape, count: int, rng: np.random.Generator) -> Surface:
    """Loose strands of hair that hang over the face from the hairline."""
    rows, columns = shape.grid_hw
    layout = shape.skin.layout.reshape(rows, columns, 2)
    pieces = []
    locks = rng.uniform(-78.0, 78.0, max(count // 6, 1))
    for k in range(count):
        start = locks[k % len(locks)] + rng.normal(0, 3.0)
        length = rng.uniform(55.0, 135.0)
        t = np.linspace(0.0, 1.0, 28)
        drift = rng.normal(0, 12.0) + 10.0 * np.sign(start)
        s = start + drift * t + rng.normal(0, 2.5) * np.sin(2.5 * np.pi * t + rng.uniform(0, 6))
        v = -70.0 + length * t
        column = np.interp(s, layout[0, :, 0], np.arange(columns))
        row = np.interp(v, layout[:, 0, 1], np.arange(rows))
        index = np.rint(row).astype(int) * columns + np.rint(column).astype(int)
        off = 4.0 + 5.0 * np.sin(np.pi * np.clip(t, 0, 1)) + rng.uniform(0, 2)
        path = shape.skin.vertices[index] + shape.skin.normals[index] * off[:, None]
        kernel = np.ones(5) / 5
        path = np.stack(
            [np.convolve(np.pad(path[:, a], 2, mode="edge"), kernel, "valid") for a in range(3)], 1
        )
        pieces.append(tube(path, rng.uniform(0.25, 0.75) * (1.0 - 0.7 * t), 6))
    return joined(pieces)


def glasses(shape: HeadShape, *, round_lenses: bool) -> tuple[Surface, Surface]:
    """Spectacles on the nose: (frame, lenses)."""
    face = shape.face_mm
    bridge = face[6]
    half_w, half_h, thick = 25.0, 21.0 if round_lenses else 17.5, 1.5
    power = 2.0 if round_lenses else 4.0
    turn = np.linspace(0.0, 2 * np.pi, 49)
    frame, lenses = [], []
    for side in (-1.0, 1.0):
        x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / power) * half_w
        y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2 / power) * half_h
        depth = bridge[2] + 3.5 + 0.0032 * (x * side + 33.0) ** 2  # bent around the face
        rim = np.stack([side * 33.0 + x, bridge[1] + 4.0 + y, depth - 4.0], axis=1)
        frame.append(tube(rim, np.full(len(rim), thick), 8))
        lenses.append(_disc(rim))
        outer = rim[np.argmax(rim[:, 0] * side)] + np.array([0.0, -5.0, 0.0])
        ear = face[234 if side < 0 else 454] + np.array([side * 5.0, -16.0, 22.0])
        bend, hook = np.array([side * 4.0, 0.0, 8.0]), np.array([0.0, 10.0, 14.0])
        temple = np.stack([outer, outer + bend, ear, ear + hook])
        frame.append(tube(temple, np.full(4, 1.6), 8))
    arch = np.linspace(-1.0, 1.0, 9)
    over = np.stack(
        [9.0 * arch, bridge[1] - 1.0 - 2.0 * (1 - arch**2), bridge[2] - 1.5 - 1.0 * (1 - arch**2)], 1
    )
    frame.append(tube(over, np.full(9, 1.4), 8))
    return joined(frame), joined(lenses)


def _disc(rim: Floats) -> Surface:
    rings = np.linspace(0.0, 1.0, 6)[:, None, None]
    grid = rim.mean(axis=0) + rings * (rim - rim.mean(axis=0))[None]
    normals = np.tile((0.0, 0.0, -1.0), (grid.shape[0] * grid.shape[1], 1))
    return Surface(grid.reshape(-1, 3), grid_triangles(*grid.shape[:2]), normals, grid.reshape(-1, 3)[:, :2])
