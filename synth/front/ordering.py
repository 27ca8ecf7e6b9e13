"""What lies in front of a face: hands, hair, glasses and microphones that a mask must go behind.

A method looks at the photo and the face's landmarks and gives a matte; its name goes into the recipe, and
a replay calls the same method by that name. Methods with a model are only chosen where its files are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from dataset_tools.core.errors import UnknownName, WeightsUnavailable
from dataset_tools.core.images import RgbImage
from dataset_tools.weights import resolve, status
from synth.front.facegrid import BoolMask, FaceGrid, Floats32, face_grid
from synth.front.hands import HAND_FILES, hand_in_front
from synth.front.segmenter import SEGMENTER_FILES, parts_in_front
from synth.front.skin_edges import in_front_of_skin
from synth.front.spectacles import glasses_in_front
from synth.geometry import FaceMesh
from synth.raster import Box

NOTHING = "none@1"
SKIN_EDGES = "skin-edges@1"
HANDS = "hands+skin-edges@1"
PARTS = "parts+hands@1"

_EDGE_MM = 1.5  # how far the soft edge may move from the found one
_SMOOTH_MM = 1.0
_FLAT = 6.0  # grey levels of texture that the soft edge does not follow


@dataclass(frozen=True)
class Matte:
    """What lies in front of one face.

    Attributes:
        box: window of the photo that it lies in; (0, 0, 0, 0) when there is nothing.
        alpha: (h, w) float32 coverage in [0, 1], multiples of 1/255.
        method: name in `METHODS`.
    """

    box: Box
    alpha: Floats32
    method: str

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in front."""
        return not self.alpha.any()

    def over(self, size_hw: tuple[int, int]) -> Floats32:
        """The matte on the whole photo, (H, W) float32."""
        whole = np.zeros(size_hw, dtype=np.float32)
        x, y, width, height = self.box
        whole[y : y + height, x : x + width] = self.alpha
        return whole


@dataclass(frozen=True)
class Method:
    """A way to find what is in front.

    Attributes:
        name: "name@version"; the version changes whenever the same photo would give another matte.
        find: photo and grid to (h, w) bool on the grid.
        files: model files it needs, names in `dataset_tools.weights.WEIGHTS`.
        finds: what it can see, for the record and the report.
    """

    name: str
    find: Callable[[RgbImage, FaceGrid], BoolMask]
    files: tuple[str, ...]
    finds: str


def _nothing(photo: RgbImage, grid: FaceGrid) -> BoolMask:
    return np.zeros(grid.inside.shape, dtype=np.bool_)


def _hair_or_glasses(photo: RgbImage, grid: FaceGrid) -> BoolMask:
    return in_front_of_skin(grid) | glasses_in_front(grid)


def _with_hands(photo: RgbImage, grid: FaceGrid) -> BoolMask:
    return hand_in_front(photo, grid) | _hair_or_glasses(photo, grid)


def _parts_or_hands(photo: RgbImage, grid: FaceGrid) -> BoolMask:
    return parts_in_front(grid) | hand_in_front(photo, grid)


_FROM_BEST = (
    Method(
        PARTS,
        _parts_or_hands,
        (*SEGMENTER_FILES, *HAND_FILES),
        "hair, glasses, hands, clothes and things held before the face",
    ),
    Method(HANDS, _with_hands, HAND_FILES, "hands; hair over cheek and jaw; dark rims and lenses"),
    Method(SKIN_EDGES, _hair_or_glasses, (), "hair over cheek and jaw; dark rims and lenses; no hands"),
    Method(NOTHING, _nothing, (), "nothing"),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _FROM_BEST})


def choose_method(*, fetch: bool = False) -> str:
    """The best method that can run here.

    Args:
        fetch: get missing model files first, where that is possible.

    Returns:
        A name in `METHODS`; `SKIN_EDGES` where no model file is.
    """
    if fetch:
        for name in (*SEGMENTER_FILES, *HAND_FILES):
            with suppress(WeightsUnavailable):
                resolve(name)
    here = {item.name for item in status() if item.path is not None}
    return next(method.name for method in _FROM_BEST if here.issuperset(method.files))


def find_in_front(photo: RgbImage, face: FaceMesh, method: str = SKIN_EDGES) -> Matte:
    """What of the photo lies in front of a face, so that a mask on it must go behind.

    Only meant for the part of the face that a mask can cover; above the eyes nothing is reported.

    Args:
        photo: (H, W, 3) sRGB, undressed.
        face: the wearer.
        method: name in `METHODS`.

    Returns:
        The matte; the same for the same photo, face and method.

    Raises:
        UnknownName: no such method.
        WeightsUnavailable: the method's model files cannot be had.
    """
    try:
        chosen = METHODS[method]
    except KeyError:
        raise UnknownName("ordering method", method, METHODS) from None
    grid = face_grid(photo, face)
    found = None if grid.is_empty else chosen.find(photo, grid)
    if found is None or not found.any():
        return Matte((0, 0, 0, 0), np.zeros((0, 0), dtype=np.float32), method)
    box, alpha = soften(photo, grid, found)
    return Matte(box, alpha, method)


def soften(photo: RgbImage, grid: FaceGrid, found: BoolMask) -> tuple[Box, Floats32]:
    """A mask on the grid as soft coverage at the photo's own resolution, its edge on the photo's edge.

    Args:
        photo: (H, W, 3) sRGB.
        grid: the face.
        found: (h, w) bool on the grid, not empty.

    Returns:
        Window of the photo and (h, w) float32 in [0, 1], multiples of 1/255. It is 0 and 1 where `found` is
        farther than 1.5 mm from its edge.

    Source: He and Sun, Fast Guided Filter, arXiv:1505.00996, with grey as the guide.
    """
    import cv2

    box, part = _window(grid, found)
    x, y, width, height = box
    edge, smooth = (max(mm * grid.px_per_mm, 1.0) for mm in (_EDGE_MM, _SMOOTH_MM))
    mask = found[part].astype(np.float32)
    guide = cv2.cvtColor(grid.rgb[part], cv2.COLOR_RGB2GRAY).astype(np.float32)

    def mean(values: Floats32) -> Floats32:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), smooth), dtype=np.float32)

    mean_guide, mean_mask = mean(guide), mean(mask)
    slope = (mean(guide * mask) - mean_guide * mean_mask) / (mean(guide**2) - mean_guide**2 + _FLAT**2)
    offset = mean_mask - slope * mean_guide
    reach = int(np.ceil(edge))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    # Outside the window it goes on as at its border.
    sure, possible = cv2.erode(mask, disc), cv2.dilate(mask, disc)
    layers = np.dstack([mean(slope), mean(offset), sure, possible])
    large = cv2.resize(layers, (width, height), interpolation=cv2.INTER_LINEAR)
    fine = cv2.cvtColor(photo[y : y + height, x : x + width], cv2.COLOR_RGB2GRAY).astype(np.float32)
    alpha = np.clip(large[..., 0] * fine + large[..., 1], large[..., 2], large[..., 3])
    # The filter leaves a veil on either side; a face's mask must not shine through a lock of hair.
    alpha = np.clip((alpha - 0.1) / 0.8, 0, 1)
    return box, (np.rint(alpha * 255) / np.float32(255)).astype(np.float32)


def _window(grid: FaceGrid, found: BoolMask) -> tuple[Box, tuple[slice, slice]]:
    # Around what was found: the same window in the photo and, in whole pixels, on the grid.
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    pad = int(np.ceil(4 * grid.px_per_mm)) + 2
    top, left = max(int(rows[0]) - pad, 0), max(int(columns[0]) - pad, 0)
    bottom = min(int(rows[-1]) + 1 + pad, found.shape[0])
    right = min(int(columns[-1]) + 1 + pad, found.shape[1])
    x, y, width, height = grid.box
    across, down = width / found.shape[1], height / found.shape[0]
    x0, x1 = round(left * across), round(right * across)
    y0, y1 = round(top * down), round(bottom * down)
    return (x + x0, y + y0, x1 - x0, y1 - y0), (slice(top, bottom), slice(left, right))
