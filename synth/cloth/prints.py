"""Single prints on cloth: lettering, logos, a maker's stamp, and pictures over the whole mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synth.cloth.fabric import Fabric, Rgb
from synth.cloth.patterns import TILE, clouds, fill_everywhere, ring
from synth.colour import srgb_to_linear

Floats32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_PIECE = 512  # texels across a printed picture
_WORDS = (
    "SMILE",
    "LOVE",
    "STAY SAFE",
    "VOTE",
    "HELLO",
    "NOPE",
    "BE KIND",
    "2020",
    "PEACE",
    "CITY",
    "TEAM",
    "WORK",
)


def print_layers(
    fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]
) -> list[tuple[Floats32, Rgb]]:
    """Coverage and colour of single prints: lettering, a logo, a maker's stamp."""
    rng = np.random.default_rng(fabric.seed + 11)
    layers: list[tuple[Floats32, Rgb]] = []
    if fabric.pattern == "lettering":
        word = _WORDS[int(rng.integers(len(_WORDS)))]
        wide = rng.uniform(70.0, 105.0)
        layers.append(
            (
                _printed(_letters(word, rng), wide, (0.0, rng.uniform(0.42, 0.6)), size_mm, texels_hw),
                fabric.ink,
            )
        )
    if fabric.pattern == "logo":
        across = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.0, 42.0))
        wide, high = rng.uniform(16.0, 34.0), rng.uniform(0.45, 0.68)
        badge, mark = _logo(rng)
        layers.append((_printed(badge, wide, (across, high), size_mm, texels_hw), fabric.ink))
        layers.append((_printed(mark, wide, (across, high), size_mm, texels_hw), fabric.accent))
    if fabric.stamp:
        amount = _printed(_letters(fabric.stamp, rng, small=True), 15.0, (34.0, 0.62), size_mm, texels_hw)
        layers.append((amount * np.float32(0.7), fabric.ink))
    return layers


def _printed(
    piece: Bytes,
    wide_mm: float,
    place: tuple[float, float],
    size_mm: tuple[float, float],
    texels_hw: tuple[int, int],
) -> Floats32:
    """A print (coverage bytes) of a width, its middle at x (mm from the middle) and v (0 top – 1 bottom)."""
    import cv2

    total = np.zeros(texels_hw, dtype=np.float32)
    texel_mm = size_mm[0] / texels_hw[1]
    wide = round(wide_mm / texel_mm)
    high = round(wide_mm / texel_mm * piece.shape[0] / piece.shape[1])
    if wide < 2 or high < 2:
        return total
    small = cv2.resize(piece, (wide, high), interpolation=cv2.INTER_AREA)
    left = round((place[0] + size_mm[0] / 2) / texel_mm - wide / 2)
    top = round(place[1] * size_mm[1] / texel_mm - high / 2)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + wide, texels_hw[1]), min(top + high, texels_hw[0])
    if x0 < x1 and y0 < y1:
        part = small[y0 - top : y1 - top, x0 - left : x1 - left]
        total[y0:y1, x0:x1] = part.astype(np.float32) / np.float32(255)
    return total


def _letters(word: str, rng: np.random.Generator, small: bool = False) -> Bytes:
    import cv2

    fonts = (cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)
    font = fonts[0] if small else fonts[int(rng.integers(len(fonts)))]
    thick = 4 if small else int(rng.integers(6, 14))
    (width, height), below = cv2.getTextSize(word, font, 3.0, thick)
    canvas = np.zeros((height + below + 2 * thick, width + 2 * thick), dtype=np.uint8)
    cv2.putText(canvas, word, (thick, height + thick), font, 3.0, 255, thick, cv2.LINE_AA)
    return canvas


def _logo(rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    # A badge (disc, shield or ring) and a mark on it (star, bolt, bars or letter).
    import cv2

    badge, mark = (np.zeros((TILE, TILE), dtype=np.uint8) for _ in range(2))
    middle = TILE / 2
    kind, sign = int(rng.integers(3)), int(rng.integers(4))
    if kind == 0:
        fill_everywhere(badge, ring((middle, middle), 118, 118, 0.0))
    elif kind == 1:
        fill_everywhere(
            badge, np.array([(20, 20), (236, 20), (228, 150), (128, 246), (28, 150)], dtype=float)
        )
    else:
        cv2.circle(badge, (128, 128), 108, 255, 20, cv2.LINE_AA)
    if sign == 0:
        angle = np.pi * np.arange(10) / 5 - np.pi / 2
        radius = np.where(np.arange(10) % 2, 34.0, 84.0)
        fill_everywhere(mark, middle + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))
    elif sign == 1:
        fill_everywhere(
            mark, np.array([(150, 40), (84, 140), (122, 140), (100, 216), (176, 108), (134, 108)], float)
        )
    elif sign == 2:
        for k in range(3):
            low = 84 + 36 * k
            fill_everywhere(
                mark,
                np.array([(62 + 14 * k, low), (200, low), (190, low + 22), (52 + 14 * k, low + 22)], float),
            )
    else:
        letter = "ABEGKMNRSZ"[int(rng.integers(10))]
        cv2.putText(mark, letter, (70, 188), cv2.FONT_HERSHEY_TRIPLEX, 5.4, 255, 16, cv2.LINE_AA)
    return badge, mark


def picture_of(fabric: Fabric, size_mm: tuple[float, float], texels_hw: tuple[int, int]) -> Floats32 | None:
    """Reflectance (H, W, 3) of a cloth that is a picture; None for any other.

    Raises:
        DataError: a user's texture that is not loaded.
    """
    import cv2

    if fabric.pattern == "photo":
        from synth.cloth.textures import texture_rgb

        picture = texture_rgb(fabric.texture)
    elif fabric.pattern == "picture":
        picture = _picture(fabric, size_mm[1] / size_mm[0])
    else:
        return None
    shrinks = texels_hw[1] < picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    fitted = cv2.resize(picture, (texels_hw[1], texels_hw[0]), interpolation=how)
    linear: Floats32 = srgb_to_linear(np.arange(256) / 255)[fitted]
    return linear


def _picture(fabric: Fabric, aspect: float) -> Bytes:
    # A picture from one of five kinds, over the whole cloth.
    rng = np.random.default_rng(fabric.seed + 13)
    high = int(np.clip(_PIECE * aspect, 64, 2 * _PIECE))
    draw = (_grin, _muzzle, _landscape, _galaxy, _comic)[int(rng.integers(5))]
    canvas: Bytes = np.empty((high, _PIECE, 3), dtype=np.uint8)
    canvas[:] = fabric.ground
    draw(canvas, fabric, rng)
    return canvas


def _grin(canvas: Bytes, fabric: Fabric, rng: np.random.Generator) -> None:
    # A wide mouth with teeth.
    import cv2

    high, wide = canvas.shape[:2]
    middle, half, open_to = (
        (wide // 2, int(0.55 * high)),
        int(0.25 * wide),
        int(rng.uniform(0.14, 0.24) * high),
    )
    bend = int(0.5 * open_to)
    for grown, colour in ((1.16, fabric.accent), (1.0, (40, 12, 16))):
        cv2.ellipse(
            canvas, middle, (int(half * grown), int(open_to * grown)), 0, 0, 360, colour, -1, cv2.LINE_AA
        )
    step = max(half // 5, 4)
    for k in range(-4, 5):
        edge = open_to * np.sqrt(max(1 - (k * step / half) ** 2, 0.0))
        for sign in (-1, 1):
            corner = (middle[0] + k * step - step // 2 + 2, int(middle[1] + sign * 0.08 * bend))
            other = (middle[0] + k * step + step // 2 - 2, int(middle[1] + sign * 0.82 * edge))
            cv2.rectangle(canvas, corner, other, (242, 240, 228), -1)


def _muzzle(canvas: Bytes, fabric: Fabric, rng: np.random.Generator) -> None:
    # An animal's nose, mouth and whiskers.
    import cv2

    high, wide = canvas.shape[:2]
    x, y = wide // 2, int(0.36 * high)
    for side in (-1, 1):
        cv2.ellipse(canvas, (x + side * 58, y + 92), (74, 62), 0, 0, 360, (238, 230, 218), -1, cv2.LINE_AA)
    cv2.ellipse(canvas, (x, y), (int(rng.integers(34, 50)), 28), 0, 0, 360, (36, 28, 30), -1, cv2.LINE_AA)
    cv2.line(canvas, (x, y + 20), (x, y + 84), (36, 28, 30), 6, cv2.LINE_AA)
    for side in (-1, 1):
        cv2.ellipse(canvas, (x + side * 40, y + 84), (40, 26), 0, 0, 180, (36, 28, 30), 6, cv2.LINE_AA)
        for k in range(3):
            start = (x + side * 70, y + 70 + 16 * k)
            cv2.line(canvas, start, (x + side * 200, y + 44 + 34 * k), (36, 28, 30), 3, cv2.LINE_AA)


def _landscape(canvas: Bytes, fabric: Fabric, rng: np.random.Generator) -> None:
    # A sky that fades, a sun, and ranges of hills.
    import cv2

    high, wide = canvas.shape[:2]
    fade = np.linspace(0, 1, high)[:, None, None]
    canvas[:] = np.array(fabric.ink) * (1 - fade) + np.array(fabric.accent) * fade
    sun = (int(rng.uniform(0.25, 0.75) * wide), int(rng.uniform(0.3, 0.5) * high))
    cv2.circle(canvas, sun, int(rng.uniform(24, 60)), (248, 226, 150), -1, cv2.LINE_AA)
    x = np.arange(0, wide + 16, 16)
    for k in range(3):
        waves = sum(np.sin(x / rng.uniform(25, 90) + rng.uniform(0, 6.3)) for _ in range(3))
        line = (0.5 + 0.16 * k + 0.05 * waves) * high
        points = np.concatenate([np.stack([x, line], 1), [(wide, high), (0, high)]]).astype(np.int32)
        shade = tuple(int(c * (0.75 - 0.2 * k)) for c in fabric.ground)
        cv2.fillPoly(canvas, [points], shade, cv2.LINE_AA)


def _galaxy(canvas: Bytes, fabric: Fabric, rng: np.random.Generator) -> None:
    # Coloured clouds on black, with stars.
    import cv2

    high, wide = canvas.shape[:2]
    glow = np.zeros((high, wide, 3))
    for colour in (fabric.ink, fabric.accent, fabric.ground):
        cloud = cv2.resize(clouds(rng, 2.0, 20.0), (wide, high), interpolation=cv2.INTER_LINEAR)
        glow += 0.55 * np.clip(cloud, 0, 1.6)[..., None] * np.array(colour)
    canvas[:] = np.clip(glow + 12, 0, 255)
    for _ in range(140):
        star = (int(rng.integers(wide)), int(rng.integers(high)))
        cv2.circle(canvas, star, int(rng.integers(1, 3)), (250, 250, 250), -1, cv2.LINE_AA)


def _comic(canvas: Bytes, fabric: Fabric, rng: np.random.Generator) -> None:
    # Panels of flat colour with black outlines.
    import cv2

    high, wide = canvas.shape[:2]
    seeds = np.stack([rng.uniform(0, wide, 14), rng.uniform(0, high, 14)], axis=1).astype(np.float32)
    plane = cv2.Subdiv2D((-10, -10, wide + 20, high + 20))
    for x, y in seeds:
        plane.insert((float(x), float(y)))
    facets, _ = plane.getVoronoiFacetList([])
    inks: list[Rgb] = [
        fabric.ground,
        fabric.ink,
        fabric.accent,
        (236, 220, 60),
        (214, 44, 48),
        (244, 244, 240),
    ]
    for facet in facets:
        points = np.rint(np.clip(facet, -2000, 4000)).astype(np.int32)
        cv2.fillPoly(canvas, [points], inks[int(rng.integers(len(inks)))], cv2.LINE_AA)
        cv2.polylines(canvas, [points], True, (18, 18, 20), 7, cv2.LINE_AA)
