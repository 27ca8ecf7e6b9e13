"""Labels are drawn where they are, and pictures lie where they should."""

from __future__ import annotations

import numpy as np

from dataset_tools.core.labels import LABEL_COLOURS, Label
from dataset_tools.stats.contact_sheet import contact_sheet, draw_mask, inner_edge, thumbnail


def test_the_edge_of_a_square_is_its_frame_and_a_picture_border_is_no_edge():
    mask = np.zeros((6, 6), bool)
    mask[1:5, 1:5] = True
    frame = mask.copy()
    frame[2:4, 2:4] = False
    np.testing.assert_array_equal(inner_edge(mask), frame)
    assert not inner_edge(np.ones((4, 4), bool)).any()


def test_drawing_a_mask_changes_only_its_pixels():
    rgb = np.full((8, 8, 3), 100, np.uint8)
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    drawn = draw_mask(rgb, mask, (0, 200, 100))
    np.testing.assert_array_equal(drawn[~mask], rgb[~mask])
    assert (drawn[2, 2] == (0, 200, 100)).all()
    assert (drawn[3, 3] == (65, 135, 100)).all()
    assert (rgb == 100).all()


def test_a_thumbnail_keeps_the_aspect_and_shows_the_label_colour(labelled):
    rgb = np.zeros((100, 200, 3), np.uint8)
    mask = np.zeros((100, 200), bool)
    mask[40:60, 80:120] = True
    instance = labelled.instance("m", Label.FACE_MASK, mask)
    small = thumbnail(rgb, [instance], 50)
    assert small.shape == (25, 50, 3)
    assert (small == LABEL_COLOURS[Label.FACE_MASK]).all(axis=2).any()
    assert thumbnail(rgb, [], 1000).shape == rgb.shape


def test_a_strap_one_pixel_wide_does_not_vanish(labelled):
    mask = np.zeros((90, 90), bool)
    mask[:, 45] = True
    small = thumbnail(np.zeros((90, 90, 3), np.uint8), [labelled.instance("s", Label.STRAP, mask)], 30)
    assert small.any(axis=2).sum() >= 30


def test_tiles_lie_in_rows_centred_in_their_cells():
    tiles = [np.full((20, 40, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(tiles, columns=2, captions=["one", "two", "three"], tile_px=40)
    assert sheet.shape == (2 * (40 + 8 + 18) + 8, 2 * 48 + 8, 3)
    for value, (x, y) in zip((10, 20, 30), ((8, 8), (56, 8), (8, 74)), strict=True):
        assert (sheet[y + 10 : y + 30, x : x + 40] == value).all()
    assert contact_sheet([]).ndim == 3
