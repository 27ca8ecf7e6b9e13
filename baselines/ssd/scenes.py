"""Training pictures put together from photos: faces of every size, on every ground, made on the fly.

The network sees whole pictures squeezed to a square, with faces from a few pixels to all of the height. A
photo of one face shows neither, so scenes are cut, squeezed, tiled and scattered from several photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from baselines.ssd.loss import IGNORED
from baselines.ssd.photos import FacePhoto
from baselines.ssd.tones import toned
from dataset_tools.core.anchors import INPUT_SIDE_PX
from dataset_tools.core.images import RgbImage

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mixture:
    """What scenes are made of.

    Attributes:
        kinds: how often a photo of each kind is drawn; bare and covered faces share one class.
        widest: largest share of the picture's width that a single face takes up; above 1 it is cut.
        least_shown: share of a face's area inside the picture from which on it is asked for.
    """

    kinds: Mapping[str, float]
    widest: float
    least_shown: float


LEARNING = Mixture({"bare": 0.25, "covered": 0.2, "masked": 0.38, "incorrect": 0.17}, 1.15, 0.5)
REFINING = Mixture({"bare": 0.3, "covered": 0.06, "masked": 0.5, "incorrect": 0.14}, 1.5, 0.4)
_CLOSE, _WHOLE, _TILES, _CROWD = range(4)
_SCENE_SHARES = (0.32, 0.2, 0.2, 0.28)
_LEAST_FACE_PX = 7.0  # below, a face is neither wanted nor a mistake
_LEAST_GROUND_PX = 40.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A training picture: (260, 260, 3) uint8, (N, 4) boxes as fractions of it, (N,) classes or `IGNORED`."""

    rgb: RgbImage
    boxes: Floats
    classes: Classes


class SceneMaker:
    """Draws scenes from photos in memory.

    Args:
        photos: at least one.
        mixture: how often which.
    """

    def __init__(self, photos: Sequence[FacePhoto], mixture: Mixture = LEARNING) -> None:
        self._mixture = mixture
        self._by_kind = {kind: [one for one in photos if one.kind == kind] for kind in mixture.kinds}
        self._kinds = [kind for kind, found in self._by_kind.items() if found]
        shares = np.array([mixture.kinds[kind] for kind in self._kinds])
        self._shares = shares / shares.sum()

    def scene(self, random: np.random.Generator) -> Scene:
        """One training picture."""
        canvas = _Canvas(random, self._mixture.least_shown)
        kind = random.choice(len(_SCENE_SHARES), p=_SCENE_SHARES)
        if kind == _CLOSE:
            self._close(canvas, random)
        elif kind == _WHOLE:
            photo = self._photo(random)
            height, width = photo.rgb.shape[:2]
            slack = random.uniform(-0.08, 0.08, 4) * (width, height, width, height)
            canvas.paste(photo, (slack[0], slack[1], width + slack[2], height + slack[3]), canvas.whole)
        elif kind == _TILES:
            self._tiles(canvas, random)
        else:
            self._crowd(canvas, random)
        return canvas.finished()

    def _photo(self, random: np.random.Generator) -> FacePhoto:
        found = self._by_kind[self._kinds[random.choice(len(self._kinds), p=self._shares)]]
        return found[int(random.integers(len(found)))]

    def _close(self, canvas: _Canvas, random: np.random.Generator) -> None:
        """One photo, its face anywhere and of any size; what lies outside of the photo is other ground."""
        self._ground(canvas, random)
        photo = self._photo(random)
        share = float(np.exp(random.uniform(np.log(0.12), np.log(self._mixture.widest))))
        at = random.uniform(-0.1, 1.1, 2)
        canvas.paste(photo, _window(photo, share, at, 1.0, random), canvas.whole)

    def _tiles(self, canvas: _Canvas, random: np.random.Generator) -> None:
        """A grid of photos, each cut about its face."""
        columns, rows = random.integers(1, 5, 2)
        xs, ys = (_cuts(int(count), random) for count in (columns, rows))
        for top, bottom in pairwise(ys):
            for left, right in pairwise(xs):
                photo = self._photo(random)
                at = random.uniform(0.2, 0.8, 2)
                aspect = (right - left) / (bottom - top)
                window = _window(photo, random.uniform(0.25, 0.9), at, aspect, random)
                canvas.paste(photo, window, (left, top, right, bottom))

    def _crowd(self, canvas: _Canvas, random: np.random.Generator) -> None:
        """Heads cut out softly and scattered over other ground or a whole photo, the far ones first."""
        if random.random() < 0.5:
            photo = self._photo(random)
            canvas.paste(photo, (0, 0, *photo.rgb.shape[1::-1]), canvas.whole)
        else:
            self._ground(canvas, random)
        # Photos are mostly wider than tall: squeezed to a square, their faces are narrow.
        squeeze = float(np.exp(random.normal(0.2, 0.22)))
        largest = np.exp(random.uniform(np.log(14), np.log(80)))
        sizes = np.sort(np.exp(random.uniform(np.log(7), np.log(largest), int(random.integers(4, 18)))))
        for size in sizes:
            photo = self._photo(random)
            x0, y0, x1, y1 = photo.boxes[_subject(photo, random)]
            width, height = x1 - x0, y1 - y0
            around = random.uniform(0.25, 0.8, 4) * (width, height * 0.6, width, height)
            window = (x0 - around[0], y0 - around[1], x1 + around[2], y1 + around[3])
            scale = size / width
            wide = (window[2] - window[0]) * scale
            tall = (window[3] - window[1]) * scale * squeeze * random.uniform(0.9, 1.1)
            left, top = random.uniform(-0.1, 1.0, 2) * INPUT_SIDE_PX - (0.3 * wide, 0.3 * tall)
            canvas.paste(photo, window, (left, top, left + wide, top + tall), is_soft=True)

    def _ground(self, canvas: _Canvas, random: np.random.Generator) -> None:
        """Something without a face: a flat colour, blotches, or a piece of a photo beside its faces."""
        kind = random.random()
        if kind < 0.75:
            for _ in range(4):
                photo = self._photo(random)
                window = _beside(photo, random)
                if window is not None:
                    canvas.paste(photo, window, canvas.whole)
                    break
        elif kind < 0.9:
            canvas.blotches()
        if random.random() < 0.5:
            canvas.scribbles()


class _Canvas:
    """A picture in the making, and the faces on it."""

    whole = (0.0, 0.0, float(INPUT_SIDE_PX), float(INPUT_SIDE_PX))

    def __init__(self, random: np.random.Generator, least_shown: float) -> None:
        self._random = random
        self._least_shown = least_shown
        self._rgb = np.empty((INPUT_SIDE_PX, INPUT_SIDE_PX, 3), dtype=np.uint8)
        self._rgb[:] = random.integers(0, 256, 3)
        self._boxes: list[npt.NDArray[np.float64]] = []
        self._classes: list[int] = []

    def blotches(self) -> None:
        """Noise of any grain, coloured or grey."""
        import cv2

        random = self._random
        side = int(random.integers(2, 40))
        small = random.integers(0, 256, (side, side, 3)).astype(np.uint8)
        if random.random() < 0.5:
            small[:] = small[:, :, :1]
        method = cv2.INTER_CUBIC if random.random() < 0.6 else cv2.INTER_NEAREST
        self._rgb = np.asarray(cv2.resize(small, (INPUT_SIDE_PX, INPUT_SIDE_PX), interpolation=method))

    def scribbles(self) -> None:
        """Letters, lines and patches: posters, shelves and masks that nobody wears are no faces."""
        import cv2

        random = self._random
        for _ in range(int(random.integers(1, 9))):
            colour = [int(value) for value in random.integers(0, 256, 3)]
            x, y = (int(value) for value in random.integers(-20, INPUT_SIDE_PX, 2))
            size = float(np.exp(random.uniform(np.log(4), np.log(60))))
            kind = random.integers(4)
            if kind == 0:
                text = "".join(chr(code) for code in random.integers(33, 127, int(random.integers(2, 14))))
                thick = int(random.integers(1, 5))
                cv2.putText(
                    self._rgb, text, (x, y), int(random.integers(8)), size / 25, colour, thick, cv2.LINE_AA
                )
            elif kind == 1:
                end = int(x + random.normal(0, 2) * size), int(y + random.normal(0, 2) * size)
                cv2.line(self._rgb, (x, y), end, colour, int(random.integers(1, 9)), cv2.LINE_AA)
            elif kind == 2:
                axes = int(size * random.uniform(0.3, 1)), int(size * random.uniform(0.3, 1))
                thick = -1 if random.random() < 0.6 else int(random.integers(1, 5))
                turn = float(random.uniform(0, 180))
                cv2.ellipse(self._rgb, (x, y), axes, turn, 0, 360, colour, thick, cv2.LINE_AA)
            else:
                corners = np.array([x, y]) + random.uniform(-size, size, (int(random.integers(3, 7)), 2))
                cv2.fillPoly(self._rgb, [cv2.convexHull(corners.astype(np.int32))], colour, cv2.LINE_AA)

    def paste(
        self,
        photo: FacePhoto,
        window: Sequence[float],
        place: Sequence[float],
        *,
        is_soft: bool = False,
    ) -> None:
        """Show a window of a photo at a place; both x0, y0, x1, y1, of which any part may lie outside."""
        import cv2

        scale = np.array([place[2] - place[0], place[3] - place[1]]) / (
            max(window[2] - window[0], 1e-3),
            max(window[3] - window[1], 1e-3),
        )
        rgb, corner = _cut(photo.rgb, window)
        if not rgb.size:
            return
        # Halved until the rest of the way is short: OpenCV's warp reads single pixels.
        uncut = rgb.shape
        factor = 1.0
        while float(scale.max()) * factor < 0.5 and min(rgb.shape[:2]) > 8:
            rgb = cv2.resize(rgb, (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)
            factor *= 2
        grow = uncut[1] / rgb.shape[1], uncut[0] / rgb.shape[0]
        shift = np.array(place[:2]) - np.array(window[:2]) * scale
        turn = self._turn(window)
        to_canvas = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]], [0, 0, 1.0]]) @ turn
        from_small = to_canvas @ np.array([[grow[0], 0, corner[0]], [0, grow[1], corner[1]], [0, 0, 1.0]])
        left, top = (max(int(np.floor(value)), 0) for value in place[:2])
        right, bottom = (min(int(np.ceil(value)), INPUT_SIDE_PX) for value in place[2:])
        if right <= left or bottom <= top:
            return
        local = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ from_small
        size = (right - left, bottom - top)
        part = self._rgb[top:bottom, left:right]
        # What the photo does not reach keeps the ground.
        warped = cv2.warpAffine(
            rgb,
            local[:2],
            size,
            dst=part.copy(),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_TRANSPARENT,
        )
        if is_soft:
            share = _soft_oval(size)[..., None]
            warped = (warped * share + part * (1 - share)).astype(np.uint8)
        part[:] = warped
        self._hide((left, top, right, bottom), is_soft)
        self._add(photo, to_canvas, (left, top, right, bottom))

    def _turn(self, window: Sequence[float]) -> npt.NDArray[np.float64]:
        if self._random.random() < 0.6:
            return np.eye(3)
        angle = np.radians(self._random.normal(0, 10))
        x, y = (window[0] + window[2]) / 2, (window[1] + window[3]) / 2
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        return np.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y], [0, 0, 1.0]])

    def _hide(self, place: Sequence[int], is_soft: bool) -> None:
        """Faces that a later paste covers are gone, or can no longer be asked for."""
        for index, box in enumerate(self._boxes):
            hidden = _inside(box, np.array(place, dtype=np.float64)) * (0.8 if is_soft else 1.0)
            if hidden > 0.75:
                self._classes[index] = -1
            elif hidden > 0.25:
                self._classes[index] = IGNORED
        kept = [index for index, name in enumerate(self._classes) if name != -1]
        self._boxes = [self._boxes[index] for index in kept]
        self._classes = [self._classes[index] for index in kept]

    def _add(self, photo: FacePhoto, to_canvas: npt.NDArray[np.float64], place: Sequence[int]) -> None:
        bounds = np.array(place, dtype=np.float64)
        for box, name in zip(photo.boxes.astype(np.float64), photo.classes, strict=True):
            centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.0])
            # A face is an oval: a turned one is as wide as the oval, not as the turned box.
            halves = np.abs(to_canvas[:2, :2]) ** 2 @ (((box[2:] - box[:2]) / 2) ** 2)
            x, y = to_canvas[:2] @ centre
            wide, tall = np.sqrt(halves)
            moved = np.array([x - wide, y - tall, x + wide, y + tall])
            shown = _inside(moved, bounds)
            if shown < 0.1:
                continue
            clipped = np.concatenate([np.maximum(moved[:2], bounds[:2]), np.minimum(moved[2:], bounds[2:])])
            is_small = float((clipped[2:] - clipped[:2]).min()) < _LEAST_FACE_PX
            self._boxes.append(clipped)
            self._classes.append(IGNORED if is_small or shown < self._least_shown else int(name))

    def finished(self) -> Scene:
        random = self._random
        boxes = np.array(self._boxes, dtype=np.float32).reshape(-1, 4) / np.float32(INPUT_SIDE_PX)
        rgb: RgbImage = self._rgb
        if random.random() < 0.5:
            rgb = rgb[:, ::-1]
            boxes = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
        sizes_ok = ((boxes[:, 2:] - boxes[:, :2]) > 1 / INPUT_SIDE_PX).all(axis=1)
        classes = np.array(self._classes, dtype=np.int64)
        return Scene(toned(np.ascontiguousarray(rgb), random), boxes[sizes_ok], classes[sizes_ok])


def _subject(photo: FacePhoto, random: np.random.Generator) -> int:
    known = np.flatnonzero(photo.classes != IGNORED)
    return int(known[int(random.integers(len(known)))])


def _cut(rgb: RgbImage, window: Sequence[float]) -> tuple[RgbImage, tuple[int, int]]:
    """What a window, turned a little, can show of a photo, and where its upper left corner lies (x, y)."""
    slack = 0.25 * max(window[2] - window[0], window[3] - window[1])
    left, top = max(int(window[0] - slack), 0), max(int(window[1] - slack), 0)
    right, bottom = max(int(window[2] + slack) + 1, 0), max(int(window[3] + slack) + 1, 0)
    return rgb[top:bottom, left:right], (left, top)


def _window(
    photo: FacePhoto,
    share: float,
    at: npt.NDArray[np.float64],
    aspect: float,
    random: np.random.Generator,
) -> tuple[float, float, float, float]:
    """A part of a photo about one of its faces.

    Args:
        photo: has a face.
        share: of the part's width that the face takes up, unless it is too tall for that.
        at: where in what is free the face lies, across and down, in [0, 1].
        aspect: width over height of the place it is shown in; a part is squeezed a little against it.
        random: decides the rest.
    """
    x0, y0, x1, y1 = photo.boxes[_subject(photo, random)]
    width, height = float(x1 - x0), float(y1 - y0)
    wide = width / share
    tall = wide / aspect * float(np.exp(random.normal(-0.1, 0.26)))
    growth = max(height * random.uniform(0.8, 1.2) / tall, 1.0)
    wide, tall = wide * growth, tall * growth
    left = float(x0) - at[0] * (wide - width) + random.normal(0, 0.06) * width
    top = float(y0) - at[1] * (tall - height) + random.normal(0, 0.06) * height
    return left, top, left + wide, top + tall


def _beside(photo: FacePhoto, random: np.random.Generator) -> tuple[float, float, float, float] | None:
    """A piece of a photo left or right of all faces, above or below them; None where all are narrow."""
    height, width = photo.rgb.shape[:2]
    low, high = photo.boxes[:, :2].min(axis=0), photo.boxes[:, 2:].max(axis=0)
    slack = 0.1 * (high - low)  # hair and chin do not end with the box
    strips = [
        (0.0, 0.0, float(low[0] - slack[0]), float(height)),
        (float(high[0] + slack[0]), 0.0, float(width), float(height)),
        (0.0, 0.0, float(width), float(low[1] - 2 * slack[1])),
        (0.0, float(high[1] + slack[1]), float(width), float(height)),
    ]
    wide = [one for one in strips if min(one[2] - one[0], one[3] - one[1]) >= _LEAST_GROUND_PX]
    if not wide:
        return None
    left, top, right, bottom = wide[int(random.integers(len(wide)))]
    across = random.uniform(_LEAST_GROUND_PX, right - left)
    down = random.uniform(_LEAST_GROUND_PX, bottom - top)
    x, y = random.uniform(left, right - across), random.uniform(top, bottom - down)
    return x, y, x + across, y + down


def _cuts(count: int, random: np.random.Generator) -> list[float]:
    widths = random.uniform(0.7, 1.3, count)
    inner = np.cumsum(widths / widths.sum())[:-1] * INPUT_SIDE_PX
    return [0.0, *(float(round(value)) for value in inner), float(INPUT_SIDE_PX)]


def _inside(box: npt.NDArray[np.float64], bounds: npt.NDArray[np.float64]) -> float:
    """Share of a box's area within bounds."""
    sides = np.minimum(box[2:], bounds[2:]) - np.maximum(box[:2], bounds[:2])
    area = max(float((box[2:] - box[:2]).prod()), 1e-9)
    return float(sides.clip(min=0).prod()) / area


def _soft_oval(size: tuple[int, int]) -> Floats:
    """(height, width) in [0, 1]: opaque in the middle, clear in the corners."""
    x = np.linspace(-1, 1, size[0], dtype=np.float32)
    y = np.linspace(-1, 1, size[1], dtype=np.float32)
    far = (x[None, :] ** 2) ** 2 + (y[:, None] ** 2) ** 2
    return np.asarray(np.clip((1.0 - far) * 4, 0, 1), dtype=np.float32)
