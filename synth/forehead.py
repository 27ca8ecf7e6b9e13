"""Visible skin up to the hairline: the landmarks' oval ends in the middle of the forehead, faces do not."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.geometry import FaceMesh
from synth.raster import BoolMask, Floats

# MediaPipe's face oval, clockwise from the top of the forehead.
# fmt: off
_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
# fmt: on
_TOP, _CHIN, _BROWS = 10, 152, (105, 334)
# Shares of the oval's height.
_REACH = 0.22  # how far above the oval skin is looked for; hair found on nine of ten portraits begins below
_SURE = 0.02  # below this height over the brows the oval is skin
_WORK_PX = 96  # side of the picture in which the two colours are told apart
_LEAST_PX = 24  # of a face's box; less has no colours to tell apart
_ROUNDS = 2
_LEAST_SAMPLES = 16  # pixels; GrabCut fits five colours to each side
_SPREAD_LAB = 4.0  # least spread of skin in each channel of 8-bit CIELAB
_SAME_COLOUR = 3.0  # squared distance in spreads, lightness counted half


def skin_to_hairline(photo: RgbImage, face: FaceMesh, oval: BoolMask) -> BoolMask:
    """The oval, grown over the forehead and cut back where hair, a hat or a brim hangs over the brows.

    GrabCut (Rother et al. 2004) tells the colours of the lower face from those around the head's upper part;
    between both lies what it decides: the oval above the brows and a band above the oval.

    Args:
        photo: (H, W, 3) sRGB, only read.
        face: its mesh.
        oval: (H, W) bool, what the mesh covers.

    Returns:
        (H, W) bool; below the brows it is the oval. Where there is too little to see, it is all the oval.
    """
    points = face.skin_px[:, :2]
    outer, up, brows = _outer_oval(points)
    x0, y0, x1, y1 = _box(outer, (photo.shape[0], photo.shape[1]))
    if min(x1 - x0, y1 - y0) < _LEAST_PX:
        return oval
    shrink = min(_WORK_PX / max(x1 - x0, y1 - y0), 1.0)
    small = np.asarray(
        cv2.resize(photo[y0:y1, x0:x1], None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA),
        dtype=np.uint8,
    )
    size_hw = (small.shape[0], small.shape[1])
    inside = _resized(oval[y0:y1, x0:x1], size_hw)
    region = _filled((outer - (x0, y0)) * shrink, size_hw) | inside
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    is_low = ((columns / shrink + x0 - brows[0]) * up[0] + (rows / shrink + y0 - brows[1]) * up[1]) < 0
    sure = inside & is_low
    # On a bald head skin goes on beyond the band; what has its colour is no example of anything else.
    around = ~region & ~is_low & ~_like(small, sure)
    if min(sure.sum(), around.sum()) < _LEAST_SAMPLES:
        return oval
    marks = np.full(size_hw, cv2.GC_PR_FGD, dtype=np.uint8)
    marks[around] = cv2.GC_BGD
    marks[is_low] = cv2.GC_FGD
    # Ears, neck and collar say nothing about either side.
    small[is_low & ~inside] = small[sure].mean(axis=0)
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), 0.8), dtype=np.uint8)
    cv2.setRNGSeed(0)  # its clusters begin at random
    cv2.grabCut(small, marks, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    skin = ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)) & region & (inside | ~is_low)
    found = oval.copy()
    found[y0:y1, x0:x1] = np.where(
        _resized(is_low, (y1 - y0, x1 - x0)), oval[y0:y1, x0:x1], _resized(_smooth(skin), (y1 - y0, x1 - x0))
    )
    return found


def _outer_oval(points: Floats) -> tuple[Floats, Floats, Floats]:
    # The oval with its upper part pushed up, the unit vector from chin to forehead, a point above the brows.
    axis = points[_TOP] - points[_CHIN]
    height = max(float(np.linalg.norm(axis)), 1e-6)
    up = axis / height
    brows = points[list(_BROWS)].mean(axis=0) + _SURE * height * up
    oval = points[list(_OVAL)]
    above = (oval - brows) @ up
    pushed = np.clip(above / max(float(above[0]), 1e-6), 0.0, 1.0) * _REACH * height
    return oval + pushed[:, None] * up, up, brows


def _like(rgb: RgbImage, sample: BoolMask) -> BoolMask:
    # Pixels of about the colour of the sample.
    if not sample.any():
        return np.zeros_like(sample)
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab).astype(np.float32)
    middle = np.median(lab[sample], axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(lab[sample] - middle), axis=0), _SPREAD_LAB)
    like: BoolMask = (((lab - middle) / spread) ** 2 @ np.array([0.5, 1.0, 1.0])) <= _SAME_COLOUR
    return like


def _box(points: Floats, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    spread = 0.05 * float(np.ptp(points, axis=0).max())
    x0, y0 = np.floor(points.min(axis=0) - spread).astype(int)
    x1, y1 = np.ceil(points.max(axis=0) + spread).astype(int)
    return max(x0, 0), max(y0, 0), min(x1, size_hw[1]), min(y1, size_hw[0])


def _filled(points: Floats, size_hw: tuple[int, int]) -> BoolMask:
    area = np.zeros(size_hw, dtype=np.uint8)
    cv2.fillPoly(area, [np.rint(points).astype(np.int32)], 1)
    return area > 0


def _resized(area: BoolMask, size_hw: tuple[int, int]) -> BoolMask:
    method = cv2.INTER_AREA if size_hw[0] < area.shape[0] else cv2.INTER_LINEAR
    share: npt.NDArray[np.float32] = np.asarray(
        cv2.resize(area.astype(np.float32), size_hw[::-1], interpolation=method), dtype=np.float32
    )
    return share >= 0.5


def _smooth(area: BoolMask) -> BoolMask:
    # No single hairs and no holes of single pixels.
    cleaned = cv2.morphologyEx(area.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    whole: BoolMask = cv2.morphologyEx(cleaned, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    return whole
