"""Geometry of masks against hand-worked figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from annotation.simulate.shapes import diameter_px, grown, holes, mask_iou, outline_px, pieces, thickness_px


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((20, 30), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_pieces_touch_by_corners_and_holes_by_sides() -> None:
    mask = box(2, 2, 10, 10)
    mask[4, 4] = mask[5, 5] = False  # two holes: they meet at a corner only
    mask[10, 10] = True  # hangs on by its corner
    assert len(pieces(mask)) == 1
    assert [int(hole.sum()) for hole in holes(mask)] == [1, 1]
    mask[4, 2:4] = False  # the first hole now reaches the outside
    assert [int(hole.sum()) for hole in holes(mask)] == [1]
    assert holes(box(0, 0, 30, 19)) == []  # background at the frame is no hole


def test_measures_of_a_rectangle() -> None:
    mask = box(3, 2, 13, 7)
    assert outline_px(mask) == 2 * (9 + 4)
    assert thickness_px(mask) == 5.5
    assert thickness_px(box(3, 2, 13, 3)) == thickness_px(box(3, 2, 13, 4)) == 1.5
    assert thickness_px(box(0, 0, 30, 20)) == 19.5
    assert diameter_px(mask) == pytest.approx(math.sqrt(200 / math.pi))
    nothing = box(0, 0, 0, 0)
    assert (outline_px(nothing), thickness_px(nothing), diameter_px(nothing)) == (0, 0, 0)


def test_overlap_of_masks() -> None:
    assert mask_iou(box(0, 0, 10, 10), box(5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert mask_iou(box(0, 0, 0, 0), box(0, 0, 0, 0)) == 1


@pytest.mark.parametrize(("radius", "pixels"), [(0, 1), (1, 5), (1.5, 9), (2, 13)])
def test_growing_one_pixel_gives_a_digital_disc(radius: float, pixels: int) -> None:
    assert grown(box(10, 10, 11, 11), radius).sum() == pixels
    assert not grown(box(0, 0, 0, 0), radius).any()
    assert grown(box(0, 0, 30, 20), radius).all()
