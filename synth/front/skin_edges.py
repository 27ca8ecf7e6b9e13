"""What lies in front of a face, found without any model: colours of the surroundings that reach over it.

Two colour histograms are made from the one photo: of the middle of the face (skin, lips, moustache, chin
beard, the nose's shadow) and of what is beside and above it (hair, background). A lock of hair over the
cheek has colours of the second kind, comes in over the side of the face, and ends at a sharp edge. Shading
has no sharp edge; a beard has the colours of the chin. All three are asked for, because a wrong hole in a
mask's label over plain skin is worse than a strand missed.

It sees hair over cheek and jaw. It does not see skin-coloured things (hands), thin strands, or what
lies over the middle of the face.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synth.front.facegrid import BoolMask, Bytes, FaceGrid, Floats32

_SHIFT = 3  # 32 colours an axis
_BINS = 256 >> _SHIFT
_RARE = 2e-5  # share of a histogram below which a colour says nothing

# The face: its middle. Hair does not hang there without hanging further out too.
_MIDDLE_SIDE_MM = 42.0
_MIDDLE_HEIGHT_MM = (2.0, 112.0)
_CORE_SIDE_MM = 32.0
_EYE_SIDE_MM, _EYE_HEIGHT_MM = 55.0, 12.0
# The surroundings: beside the face, not below the jaw, where collars and shadow are.
_BESIDE_MM = 2.0
_JAW_MM = 95.0  # below the eye line

# Chosen on 90 portraits with labelled hair, and checked by eye on 213 photos of mostly bare faces.
_FACE_LIKE = 0.25
_STRANGE = 0.7
_VERY_STRANGE = 0.93
_MIN_AREA_MM2 = 30.0
_MIN_DEPTH_MM = 3.0
_MIN_MEAN = 0.6
_MIN_STEP = 9.0  # Lab units within 2 mm of the edge
_MIN_CONTRAST = 18.0  # Lab units, 2–6 mm from the edge
_MIN_SHARPNESS = 0.32  # step / contrast
_MUST_START_ABOVE_MM = 45.0  # hair comes from above; a shadow under the jaw does not
_MAX_SHARE = 0.4  # of the face: beyond that the colours have been mistaken
_CONTINUES_MM = 6.0


def in_front_of_skin(grid: FaceGrid) -> BoolMask:
    """Pixels of things in front of the face that do not look like it, (h, w) bool on the grid."""
    nothing = np.zeros(grid.inside.shape, dtype=np.bool_)
    strange = strangeness(grid)
    if strange is None:
        return nothing
    reached = grid.opened(_reached_from_outside(grid, strange), 1.2)
    found = _trusted(grid, reached, strange)
    if not found.any() or found.sum() > _MAX_SHARE * grid.inside.sum():
        return nothing
    # A lock that hangs over the cheek also hides the mask's edge that stands out beside the cheek.
    return found | (grid.near(found, _CONTINUES_MM) & ~grid.inside & (strange > 0.5))


def strangeness(grid: FaceGrid) -> Floats32 | None:
    """How little a pixel's colour belongs to the middle of the face, (h, w) in [0, 1].

    About 1: usual beside the face, unknown on it. None when too little of either is in the picture.
    """
    import cv2

    face = grid.inside & (grid.side_mm < _MIDDLE_SIDE_MM)
    face &= (grid.height_mm > _MIDDLE_HEIGHT_MM[0]) & (grid.height_mm < _MIDDLE_HEIGHT_MM[1])
    around = ~grid.inside & (grid.beside_mm > _BESIDE_MM) & (grid.drop_mm < _JAW_MM)
    if min(int(face.sum()), int(around.sum())) < 100:
        return None
    lightness, a, b = (part.astype(np.int32) for part in cv2.split(grid.lab >> _SHIFT))
    code = (lightness * _BINS + a) * _BINS + b
    of_face, of_around = _histogram(code[face]), _histogram(code[around])
    ratio = (of_around + _RARE / 4) / (of_around + 2 * of_face + _RARE)
    return np.asarray(cv2.GaussianBlur(ratio.take(code), (0, 0), 0.8), dtype=np.float32)


def _histogram(codes: npt.NDArray[np.int32]) -> Floats32:
    # Shares of each colour, with its neighbours' lent to it: (bins³,) float32.
    import cv2

    counts = np.bincount(codes, minlength=_BINS**3).astype(np.float32)
    kernel = np.array([1, 4, 6, 4, 1], dtype=np.float32) / 16
    alone, border = np.ones(1, np.float32), cv2.BORDER_CONSTANT
    by_lightness = counts.reshape(_BINS, _BINS * _BINS)
    smooth = cv2.sepFilter2D(by_lightness, -1, alone, kernel, borderType=border)
    # Rows (lightness, a) in one: the ends of the a axis, which touch here, are colours no photo has.
    smooth = cv2.sepFilter2D(smooth.reshape(_BINS * _BINS, _BINS), -1, kernel, kernel, borderType=border)
    return np.asarray(smooth.ravel() / max(len(codes), 1), dtype=np.float32)


def _reached_from_outside(grid: FaceGrid, strange: Floats32) -> BoolMask:
    # A watershed between the face and its surroundings: the seam lies on the strongest edge between them,
    # so shading, which has none, stays with the face.
    import cv2

    eye = (grid.side_mm < _EYE_SIDE_MM) & (grid.height_mm < _EYE_HEIGHT_MM)
    core = grid.inside & (grid.side_mm < _CORE_SIDE_MM)
    brow = (grid.height_mm < -5) & (grid.side_mm > _CORE_SIDE_MM) & (strange > 0.1)
    face = grid.inside & ((strange < _FACE_LIKE) | core) & ~brow
    rim = grid.inside & (grid.depth_mm < 12) & (grid.side_mm > 40) & (strange > _VERY_STRANGE)
    beyond = ~grid.inside & (grid.beside_mm > 3)
    seeds = np.zeros(grid.inside.shape, dtype=np.int32)
    seeds[face] = 1
    seeds[(beyond & (strange > _STRANGE)) | rim] = 2
    seeds[beyond & (strange < 0.5)] = 3
    found = cv2.watershed(cv2.medianBlur(grid.lab, 3), seeds)
    taken = (found == 2) & grid.inside
    seam = (found == -1) & grid.inside & (strange > 0.5)
    taken |= seam & np.asarray(cv2.dilate(taken.astype(np.uint8), np.ones((3, 3), np.uint8)), dtype=np.bool_)
    return np.asarray(taken & ~eye & ~core, dtype=np.bool_)


def _trusted(grid: FaceGrid, reached: BoolMask, strange: Floats32) -> BoolMask:
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(reached.astype(np.uint8), connectivity=4)
    found = np.zeros(reached.shape, dtype=np.bool_)
    for index in range(1, count):
        if stats[index, cv2.CC_STAT_AREA] < _MIN_AREA_MM2 * grid.px_per_mm**2:
            continue
        part = labels == index
        if grid.depth_mm[part].max() < _MIN_DEPTH_MM or strange[part].mean() < _MIN_MEAN:
            continue
        if np.percentile(grid.height_mm[part], 5) > _MUST_START_ABOVE_MM:
            continue
        left, top, width, height = stats[index, : cv2.CC_STAT_AREA]
        pad = int(np.ceil(7 * grid.px_per_mm))
        around = (slice(max(top - pad, 0), top + height + pad), slice(max(left - pad, 0), left + width + pad))
        if _ends_sharply(grid, part, around):
            found |= part
    return found


def _ends_sharply(grid: FaceGrid, part: BoolMask, around: tuple[slice, slice]) -> bool:
    # Mean colours in bands on both sides of the edge that lies on the face: a step, not a slope.
    part, lab = part[around], grid.lab[around]
    skin = (grid.depth_mm[around] > 1.0) & ~part
    from_part, from_skin = grid.distance_mm(part), grid.distance_mm(skin)
    near_part, near_skin = part & (from_skin <= 1.8), skin & (from_part <= 1.8)
    far_part = part & (from_skin > 2) & (from_skin < 6)
    far_skin = skin & (from_part > 2) & (from_part < 6)
    if min(int(near_part.sum()), int(near_skin.sum())) < 8:
        return False
    far_part = far_part if far_part.sum() >= 8 else near_part
    far_skin = far_skin if far_skin.sum() >= 8 else near_skin
    apart = _mean(lab, far_part) - _mean(lab, far_skin)
    contrast = float(np.linalg.norm(apart))
    step = float((_mean(lab, near_part) - _mean(lab, near_skin)) @ apart) / max(contrast, 1e-3)
    return contrast >= _MIN_CONTRAST and step >= _MIN_STEP and step >= _MIN_SHARPNESS * contrast


def _mean(lab: Bytes, mask: BoolMask) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = lab[mask].mean(axis=0, dtype=np.float64)
    return mean
