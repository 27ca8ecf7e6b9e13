"""What hides a face and is no mask, drawn by rule: hands, scarves below the chin, beards, glasses, things.

Hard negatives. A detector that has only seen faces bare or masked takes everything over a mouth for a mask.
Shapes and colours are drawn at random, the colour of hands is that of the face; no picture is taken from
anywhere, so there is no licence to keep.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage

Floats = npt.NDArray[np.floating]
_Alpha = npt.NDArray[np.float32]

_FINE = 4  # bits of a pixel's fraction in OpenCV's drawing


def cover_face(rgb: RgbImage, box: Floats, points: Floats, random: np.random.Generator) -> RgbImage:
    """A picture with something over or under one bare face, which stays bare.

    Args:
        rgb: (H, W, 3) uint8.
        box: (4,) x0, y0, x1, y1 of the face.
        points: (5, 2) right eye, left eye, nose, lips, chin, in pixels.
        random: decides what and where.
    """
    draws = [_hand, _hand, _collar, _collar, _beard, _thing, _glasses, _hood, _cap]
    picked = random.choice(len(draws), size=1 if random.random() < 0.7 else 2, replace=False)
    for index in sorted(picked):
        rgb = draws[index](rgb, box, points, random)
    return rgb


def dress_face(rgb: RgbImage, box: Floats, points: Floats, random: np.random.Generator) -> RgbImage:
    """A picture with glasses, a cap or a hood on one masked face; arguments as `cover_face`.

    What people wear besides a mask says nothing about the mask.
    """
    for draw in random.permutation(np.array([_glasses, _cap, _hood]))[: 1 + int(random.random() < 0.3)]:
        rgb = draw(rgb, box, points, random)
    return rgb


def _axes(points: Floats) -> tuple[Floats, Floats, float]:
    """Unit vectors along the face's width and height, and the distance from eyes to chin in pixels."""
    middle = (points[0] + points[1]) / 2
    down = points[4] - middle
    height = max(float(np.hypot(*down)), 4.0)
    down = down / height
    return np.array([down[1], -down[0]]), down, height


def _hand(rgb: RgbImage, box: Floats, points: Floats, random: np.random.Generator) -> RgbImage:
    import cv2

    across, down, height = _axes(points)
    skin = _skin(rgb, points) * random.uniform(0.7, 1.15) + random.normal(0, 6, 3)
    target = points[3] + across * random.normal(0, 0.15) * height + down * random.uniform(-0.25, 0.2) * height
    side = random.choice([-1.0, 1.0])
    angle = random.uniform(-0.4, 1.4)  # fingers lie across the mouth or point up
    along = side * across * np.cos(angle) - down * np.sin(angle)
    beside = np.array([-along[1], along[0]])
    thick = height * random.uniform(0.13, 0.19)
    count = int(random.integers(2, 6))
    palm = target - along * height * random.uniform(0.45, 0.8)
    alpha, shade = _blank(rgb), np.ones(rgb.shape[:2], np.float32)
    wrist = palm - along * height * 1.2 + down * height * random.uniform(0.2, 1.0)
    _line(alpha, palm, wrist, thick * count * 0.55)
    size = (height * 0.38, thick * count * 0.55)
    _ellipse(alpha, palm, size, float(np.degrees(np.arctan2(along[1], along[0]))))
    for finger in range(count):
        offset = beside * (finger - (count - 1) / 2) * thick * random.uniform(0.95, 1.15)
        tip = target + offset + along * height * random.uniform(-0.05, 0.25)
        _line(alpha, palm + offset * 0.9, tip, thick)
        _line(shade, palm + offset + beside * thick * 0.5, tip + beside * thick * 0.45, thick * 0.14, 0.6)
    shade = cv2.GaussianBlur(shade, (0, 0), max(thick * 0.18, 0.5))
    return _mixed(rgb, alpha, skin * shade[..., None] * _light(rgb, random), max(thick * 0.06, 0.6))


def _collar(rgb: RgbImage, box: Floats, points: Floats, random: np.random.Generator) -> RgbImage:
    """A scarf, a collar or the jaw of a helmet: its upper edge lies between lips and collar bone."""
    across, down, height = _axes(points)
    top = points[4] + down * height * random.uniform(-0.16, 0.35)
    dip = height * random.uniform(-0.05, 0.3)
    half = height * random.uniform(0.75, 1.2)
    steps = np.linspace(-1, 1, 15)[:, None]
    edge = top + across * steps * half + down * (1 - steps**2) * dip
    low = edge[::-1] + down * height * random.uniform(0.5, 2.0)
    alpha = _blank(rgb)
    _polygon(alpha, np.concatenate([edge, low]))
    return _mixed(rgb, alpha, _cloth(rgb, random, height), 0.8)


def _cap(rgb: RgbImage, box: Floats, points: Floats, random: np.random.Generator) -> RgbImage:
    """A cap, a fringe or a helmet: all above a line over the brows."""
    across, down, height = _axes(points)
    eyes = (points[0] + points[1]) / 2
    brim = eyes - down * height * random.uniform(0.18, 0.42)
    half = height * random.uniform(0.6, 0.85)
    steps = np.linspace(-1, 1, 13)[:, None]
    low = brim + across * steps * half + down * (1 - steps**2) * height * random.uniform(-0.12, 0.12)
    top = brim - down * height * random.uniform(0.3, 0.6)
    high = top + across * steps[::-1] * half * 0.9 - down * (1 - steps**2) * height * 0.3
    alpha = _blank(rgb)
    _polygon(alpha, np.concatenate([low, high]))
    return _mixed(rgb, alpha, _cloth(rgb, random, height), 0.8)


def _hood(rgb: RgbImage, box: Floats, points: Floats, random: np.random.Generator) -> RgbImage:
    """A hood, a head scarf or long hair: a ring around the face."""
    across, down, height = _axes(points)
    eyes = (points[0] + points[1]) / 2
    middle = eyes + down * height * 0.35
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    alpha = _blank(rgb)
    outer = height * random.uniform(0.85, 1.05), height * random.uniform(1.05, 1.3)
    _ellipse(alpha, middle, outer, angle)
    _line(alpha, middle + down * height * 0.6, middle + down * height * 2.5, height * 1.7)
    inner = height * random.uniform(0.56, 0.68), height * random.uniform(0.72, 0.88)
    _ellipse(alpha, middle, inner, angle, 0.0)
    return _mixed(rgb, alpha, _cloth(rgb, random, height), 0.8)


def _beard(rgb: RgbImage, box: Floats, points: Floats, random: np.random.Generator) -> RgbImage:
    import cv2

    across, down, height = _axes(points)
    width = height * random.uniform(0.5, 0.72)
    steps = np.linspace(0, np.pi, 19)[:, None]
    jaw_y = random.uniform(0.9, 1.25)
    eyes = (points[0] + points[1]) / 2
    start = eyes + down * height * random.uniform(0.35, 0.55)
    outer = start + across * np.cos(steps) * width + down * np.sin(steps) * height * (jaw_y - 0.4)
    alpha = _blank(rgb)
    inner = points[3] - down * height * random.uniform(0.05, 0.16)
    corners = np.stack([inner - across * height * 0.2, inner + across * height * 0.2])
    _polygon(alpha, np.concatenate([outer, corners]))
    _ellipse(
        alpha, points[3], (height * 0.17, height * 0.05), float(np.degrees(np.arctan2(*across[::-1]))), 0
    )
    hair = np.array([[22, 16, 12], [60, 42, 28], [110, 80, 50], [150, 145, 140], [90, 50, 25]])
    colour = hair[random.integers(len(hair))] * random.uniform(0.7, 1.3)
    noise = random.normal(0, 1, rgb.shape[:2]).astype(np.float32)
    strands = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.7, sigmaY=max(height * 0.03, 0.8))
    strands /= max(float(strands.std()), 1e-6)
    alpha *= np.clip(random.uniform(0.6, 0.95) + 0.2 * strands, 0, 1)
    paint = colour * np.clip(1 + 0.35 * strands[..., None], 0.2, 2)
    return _mixed(rgb, alpha, paint, max(height * 0.025, 0.6))


def _thing(rgb: RgbImage, box: Floats, points: Floats, random: np.random.Generator) -> RgbImage:
    """A cup, a telephone, a microphone, food: in front of the lips or beside them."""
    across, down, height = _axes(points)
    place = points[3] + across * random.normal(0, 0.3) * height + down * random.uniform(-0.1, 0.4) * height
    size = height * random.uniform(0.1, 0.35), height * random.uniform(0.1, 0.4)
    alpha = _blank(rgb)
    if random.random() < 0.5:
        _ellipse(alpha, place, size, random.uniform(0, 180))
    else:
        turn = random.uniform(-0.5, 0.5)
        right = np.array([np.cos(turn), np.sin(turn)]) * size[0]
        below = np.array([-np.sin(turn), np.cos(turn)]) * size[1]
        corners = [place - right - below, place + right - below, place + right + below, place - right + below]
        _polygon(alpha, np.array(corners))
    if random.random() < 0.5:
        _line(
            alpha, place, place + down * height * 2 + across * random.normal(0, 0.5) * height, size[0] * 0.6
        )
    return _mixed(rgb, alpha, _cloth(rgb, random, height), 0.8)


def _glasses(rgb: RgbImage, box: Floats, points: Floats, random: np.random.Generator) -> RgbImage:
    across, down, height = _axes(points)
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    alpha = _blank(rgb)
    apart = np.abs((points[1] - points[0]) @ across)
    middle = (points[0] + points[1]) / 2 + down * height * 0.03
    size = (apart * random.uniform(0.22, 0.3), height * random.uniform(0.1, 0.17))
    for side in (-1.0, 1.0):
        _ellipse(alpha, middle + across * side * apart * 0.28, size, angle)
    _line(alpha, middle - across * apart * 0.6, middle + across * apart * 0.6, height * 0.03)
    colour = random.uniform(0, 70, 3)
    alpha *= random.uniform(0.7, 1.0)
    return _mixed(rgb, alpha, np.broadcast_to(colour, rgb.shape), 0.6)


def _skin(rgb: RgbImage, points: Floats) -> Floats:
    """Colour between eye and nose, where few faces are hidden."""
    height, width = rgb.shape[:2]
    colours = []
    for eye in points[:2]:
        x, y = (0.45 * eye + 0.55 * points[2]).round().astype(int)
        patch = (
            rgb[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] if 0 <= x < width and 0 <= y < height else None
        )
        if patch is not None and patch.size:
            colours.append(patch.reshape(-1, 3).mean(axis=0))
    return np.mean(colours, axis=0) if colours else np.array([170.0, 130.0, 110.0])


def _cloth(rgb: RgbImage, random: np.random.Generator, height: float) -> Floats:
    """(H, W, 3) paint: plain, striped or blotched, lit from one side."""
    import cv2

    rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]].astype(np.float32)
    first, second = random.uniform(0, 255, 3), random.uniform(0, 255, 3)
    if random.random() < 0.4:
        first = np.full(3, random.uniform(0, 255)) + random.normal(0, 8, 3)
    kind = random.integers(3)
    if kind == 0:
        share = np.zeros(rgb.shape[:2], np.float32)
    elif kind == 1:
        turn, period = random.uniform(0, np.pi), height * random.uniform(0.05, 0.4)
        share = 0.5 + 0.5 * np.sign(
            np.sin((columns * np.cos(turn) + rows * np.sin(turn)) * 2 * np.pi / period)
        )
    else:
        noise = random.normal(0, 1, rgb.shape[:2]).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), max(height * 0.06, 1.0))
        share = np.clip(0.5 + 0.5 * noise / max(float(noise.std()), 1e-6), 0, 1)
    paint = first + share[..., None] * (second - first)
    return np.asarray(paint * _light(rgb, random))


def _light(rgb: RgbImage, random: np.random.Generator) -> Floats:
    """(H, W, 1) brightness that falls over the picture, with a little grain."""
    rows, columns = np.mgrid[-1 : 1 : rgb.shape[0] * 1j, -1 : 1 : rgb.shape[1] * 1j]
    turn = random.uniform(0, 2 * np.pi)
    fall = 1 + random.uniform(0.05, 0.4) * (columns * np.cos(turn) + rows * np.sin(turn))
    grain = random.normal(0, random.uniform(0.01, 0.06), rgb.shape[:2])
    return np.asarray((fall + grain)[..., None])


def _blank(rgb: RgbImage) -> _Alpha:
    return np.zeros(rgb.shape[:2], dtype=np.float32)


def _fixed(point: Floats) -> tuple[int, int]:
    x, y = (np.clip(point, -4000, 4000) * 2**_FINE).round().astype(int)
    return int(x), int(y)


def _line(alpha: _Alpha, start: Floats, end: Floats, thick: float, value: float = 1.0) -> None:
    import cv2

    width = max(round(thick), 1)
    cv2.line(alpha, _fixed(start), _fixed(end), value, width, cv2.LINE_8, _FINE)


def _ellipse(
    alpha: _Alpha, centre: Floats, size: tuple[float, float], angle_deg: float, value: float = 1.0
) -> None:
    import cv2

    axes = (max(int(size[0] * 2**_FINE), 1), max(int(size[1] * 2**_FINE), 1))
    cv2.ellipse(alpha, _fixed(centre), axes, angle_deg, 0, 360, value, -1, cv2.LINE_8, _FINE)


def _polygon(alpha: _Alpha, corners: Floats) -> None:
    import cv2

    fixed = (np.clip(corners, -4000, 4000) * 2**_FINE).round().astype(np.int32)
    cv2.fillPoly(alpha, [fixed], 1.0, cv2.LINE_8, _FINE)


def _mixed(rgb: RgbImage, alpha: _Alpha, paint: Floats, soft_px: float) -> RgbImage:
    import cv2

    share = cv2.GaussianBlur(alpha, (0, 0), soft_px)[..., None]
    mixed = rgb * (1 - share) + np.clip(paint, 0, 255) * share
    return np.asarray(np.clip(mixed, 0, 255), dtype=np.uint8)
