"""The lower rims of glasses and the lenses of sunglasses, found by their shape around the eyes.

Rims are dark curves a few millimetres wide that hang together over the bridge of the nose: without a bridge
nothing is reported, so wrinkles and the shadows under eyes are left alone. Thin metal and clear frames are
missed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synth.front.facegrid import BoolMask, FaceGrid, Floats32

# All heights and distances in the layout's millimetres: eyes at 0, nose tip at 35.
_BRIDGE_SIDE_MM, _BRIDGE_HEIGHT_MM = 7.0, (-14.0, 12.0)
_RIM_WIDTH_MM = 7.0
_MIN_BRIDGE = 22.0  # grey levels darker than the skin on both sides
_RIM_OF_BRIDGE = 0.5
_MUST_SPAN_MM = 2.0
_NOSE_SIDE_MM, _NOSE_HEIGHT_MM = 8.0, 20.0
_MUST_REACH_MM = 16.0  # on both sides; at large yaw the far rim is hidden early
_LOWEST_MM = 42.0
_WIDEST_MM = 75.0
_EYE_SIDE_MM, _EYE_HEIGHT_MM = (14.0, 46.0), (-8.0, 10.0)
_LENS_DARKNESS = 0.5  # of the skin's lightness
_LENS_SHARE = 0.85
_MIN_AREA_MM2 = 20.0
# A rim runs below the eye; the shadow at the side of the nose does not.
_BELOW_EYE_SIDE_MM, _BELOW_EYE_HEIGHT_MM = (22.0, 46.0), 7.0
_MIN_BELOW_EYE_MM = 12.0


def glasses_in_front(grid: FaceGrid) -> BoolMask:
    """Pixels of rims and dark lenses below the eye line, (h, w) bool on the grid."""
    import cv2

    lightness = grid.lab[..., 0]
    zone = grid.inside & (grid.height_mm > -30) & (grid.height_mm < _LOWEST_MM) & (grid.side_mm < _WIDEST_MM)
    worn = _rims(grid, zone) | _dark_lenses(grid, zone, lightness)
    found = worn & (grid.height_mm > 0)
    if not found.any():
        return found
    below_eye = (grid.side_mm > _BELOW_EYE_SIDE_MM[0]) & (grid.side_mm < _BELOW_EYE_SIDE_MM[1])
    below_eye &= grid.height_mm > _BELOW_EYE_HEIGHT_MM
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= _MIN_AREA_MM2 * grid.px_per_mm**2
    for index in range(1, count):
        keep[index] &= _extent((labels == index) & below_eye) >= _MIN_BELOW_EYE_MM * grid.px_per_mm
    return np.asarray(found & keep[labels], dtype=np.bool_)


def _extent(mask: BoolMask) -> float:
    rows, columns = np.nonzero(mask)
    return float(np.hypot(np.ptp(rows), np.ptp(columns))) if len(rows) else 0.0


def _rims(grid: FaceGrid, zone: BoolMask) -> BoolMask:
    import cv2

    # Rims do not run down the sides of the nose; its shadows do.
    zone = zone & ~((grid.side_mm < _NOSE_SIDE_MM) & (grid.height_mm > _NOSE_HEIGHT_MM))
    dark = _dark_lines(grid)
    bridge = zone & (grid.side_mm < _BRIDGE_SIDE_MM)
    bridge &= (grid.height_mm > _BRIDGE_HEIGHT_MM[0]) & (grid.height_mm < _BRIDGE_HEIGHT_MM[1])
    # A frame is about as dark below the eyes as over the nose; wrinkles beside a frame are fainter.
    boldest = float(np.percentile(dark[bridge], 98)) if bridge.any() else 0.0
    if boldest < _MIN_BRIDGE:
        return np.zeros(zone.shape, dtype=np.bool_)
    least = max(_MIN_BRIDGE, _RIM_OF_BRIDGE * boldest)
    labels = cv2.connectedComponents(((dark > least) & zone).astype(np.uint8), connectivity=8)[1]
    # One piece must span the bridge from side to side and go on around both eyes.
    for label in np.unique(labels[bridge & (labels > 0)]):
        frame = labels == label
        over_nose = grid.across_mm[frame & bridge]
        if min(-over_nose.min(), over_nose.max()) < _MUST_SPAN_MM:
            continue
        if min(-grid.across_mm[frame].min(), grid.across_mm[frame].max()) > _MUST_REACH_MM:
            return grid.near(frame, 1.5) & (dark > 0.7 * least) & zone
    return np.zeros(zone.shape, dtype=np.bool_)


def _dark_lines(grid: FaceGrid) -> Floats32:
    # How much darker than the brighter of its surroundings; things wider than a rim do not count.
    import cv2

    side = 2 * round(_RIM_WIDTH_MM / 2 * grid.px_per_mm) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(grid.lab[..., 0], cv2.MORPH_BLACKHAT, disc)
    return np.asarray(closed, dtype=np.float32)


def _dark_lenses(grid: FaceGrid, zone: BoolMask, lightness: npt.NDArray[np.uint8]) -> BoolMask:
    import cv2

    nothing = np.zeros(zone.shape, dtype=np.bool_)
    cheek = grid.inside & (grid.side_mm > 12) & (grid.side_mm < 50)
    cheek &= (grid.height_mm > 44) & (grid.height_mm < 58)
    eyes = zone & (grid.side_mm > _EYE_SIDE_MM[0]) & (grid.side_mm < _EYE_SIDE_MM[1])
    eyes &= (grid.height_mm > _EYE_HEIGHT_MM[0]) & (grid.height_mm < _EYE_HEIGHT_MM[1])
    if min(int(cheek.sum()), int(eyes.sum())) < 20:
        return nothing
    dark = lightness < _LENS_DARKNESS * float(np.median(lightness[cheek]))
    if dark[eyes].mean() < _LENS_SHARE:
        return nothing
    labels = cv2.connectedComponents((dark & zone).astype(np.uint8), connectivity=4)[1]
    main = np.bincount(labels[eyes & dark]).argmax()
    return np.asarray(labels == main, dtype=np.bool_)
