"""Masks as polygons, one for each part, the way polygon-only tools draw them, and back.

A polygon's vertices are the centres of the outermost pixels, and a fill includes its outline, as
`cv2.fillPoly` has it and the YOLO tools use it. Holes hang on cut lines that are gone along twice, there and
back, inside the part: whoever fills the polygon gets the same pixels. Other tools also hang the parts of an
object on each other; `polygon_to_mask` takes such cut lines out again, instead of drawing them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.masks import BoolMask
from dataset_tools.core.reasons import Reason

Points = npt.NDArray[np.int32]  # (N, 2) x, y of pixels

# Vertices compared to find the shortest cut lines of one mask: a second's work.
_MAX_PAIRS = 30_000_000

_LONGEST = 64  # steps of an outline for each pixel of the picture; filling takes time for each of them


def mask_to_polygons(mask: BoolMask) -> list[Points]:
    """One closed polygon of at least 3 points for every part of a mask, its holes hung on it.

    Args:
        mask: (H, W) bool; pixels that touch at a corner belong to one part.
    """
    import cv2

    image = np.ascontiguousarray(mask, dtype=np.uint8)
    size_hw = (mask.shape[0], mask.shape[1])
    polygons: list[Points] = []
    for walk in (cv2.CHAIN_APPROX_SIMPLE, cv2.CHAIN_APPROX_NONE):
        outlines, hierarchy = cv2.findContours(image, cv2.RETR_CCOMP, walk)
        rings: dict[int, list[Points]] = {}
        for place, outline in enumerate(outlines):
            parent = int(hierarchy[0, place, 3])
            rings.setdefault(place if parent < 0 else parent, []).append(outline.reshape(-1, 2))
        polygons = [_joined(own, len(outlines)) for own in rings.values()]
        # Shortened outlines may go along a wall of one pixel on both sides, which then looks like a cut.
        if np.array_equal(_fill_all(polygons, size_hw), mask):
            break
    return polygons


def _joined(rings: list[Points], count: int) -> Points:
    """All rings hung on the longest, each by the shortest cut line of those compared.

    Args:
        rings: of one part.
        count: rings of the whole mask.
    """
    rings = sorted(rings, key=len, reverse=True)
    main = rings[0]
    hung: list[tuple[int, Points]] = []
    for ring in rings[1:]:
        step = max(1, len(main) * len(ring) * count // _MAX_PAIRS)
        candidates = ring[::step]
        distances = np.abs(main[:, None, :] - candidates[None, :, :]).max(axis=2)
        place, nearest = (int(value) for value in np.unravel_index(distances.argmin(), distances.shape))
        turned = np.roll(ring, -nearest * step, axis=0)
        hung.append((place, np.concatenate((turned, turned[:1], main[place : place + 1]))))
    parts: list[Points] = []
    first = 0
    for place, loop in sorted(hung, key=lambda pair: pair[0]):
        parts += [main[first : place + 1], loop]
        first = place + 1
    polygon = np.concatenate((*parts, main[first:]))
    return np.concatenate((polygon, polygon[:1].repeat(max(0, 3 - len(polygon)), axis=0)))


def _cuts(ring: Points) -> set[int]:
    """Places in a closed ring of edges longer than one pixel whose opposite is there as often."""
    following = np.roll(ring, -1, axis=0)
    long = np.flatnonzero(np.abs(following - ring).max(axis=1) > 1)
    places: dict[tuple[int, int, int, int], list[int]] = {}
    for place, edge in zip(long.tolist(), np.hstack((ring, following))[long].tolist(), strict=True):
        places.setdefault(tuple(edge), []).append(place)
    return {
        place
        for edge, own in places.items()
        if len(own) == len(places.get((*edge[2:], *edge[:2]), ()))
        for place in own
    }


def polygon_to_mask(points: Points, size_hw: tuple[int, int]) -> BoolMask:
    """Fill a polygon, outline included, without its cut lines.

    Args:
        points: inside the picture.
        size_hw: of the picture.

    Raises:
        ItemFault: `out_of_bounds`, an outline far longer than that of any mask of the picture.
    """
    steps = np.abs(np.roll(points, -1, axis=0) - points).max(axis=1)
    if int(steps.sum()) > _LONGEST * (size_hw[0] * size_hw[1] + 1):
        raise ItemFault(Reason.OUT_OF_BOUNDS, "the outline is far longer than the picture has pixel edges")
    return _fill_all([points], size_hw)


def _fill_all(polygons: list[Points], size_hw: tuple[int, int]) -> BoolMask:
    import cv2

    mask = np.zeros(size_hw, dtype=np.uint8)
    for points in polygons:
        cv2.fillPoly(mask, _rings(points), 1)
    return mask.astype(np.bool_)


def _rings(points: Points) -> list[Points]:
    """The rings that cut lines hang on each other; the polygon as it is when the cuts do not nest."""
    cuts = _cuts(points)
    if not cuts:
        return [points]
    done: list[Points] = []
    open_rings: list[list[npt.NDArray[np.int32]]] = []
    pending: list[tuple[int, ...]] = []
    current: list[npt.NDArray[np.int32]] = []
    first = 0
    for place in sorted(cuts):
        current.append(points[first : place + 1])
        start, end = points[place], points[(place + 1) % len(points)]
        if pending and pending[-1] == (*end.tolist(), *start.tolist()):
            done.append(np.concatenate(current))
            current = open_rings.pop()
            pending.pop()
        else:
            open_rings.append(current)
            pending.append((*start.tolist(), *end.tolist()))
            current = []
        first = place + 1
    if pending:
        return [points]
    current.append(points[first:])
    return [*done, np.concatenate(current)]
