"""Drawn occlusions lie where their masks say and have the sizes the paper gives."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from baselines.verification.cutouts import Cutouts
from baselines.verification.occlusions import (
    Drawer,
    OccludedFace,
    Occluder,
    untouched,
    with_ellipse,
    with_light,
    with_polygon,
    with_rectangle,
    with_square,
)
from baselines.verification.settings import OcclusionSettings
from dataset_tools.core.errors import DataError

SIDE = 112
GREY = np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)


def drawn(draw: Drawer, times: int = 60) -> list[OccludedFace]:
    return [draw(GREY, np.random.default_rng(seed)) for seed in range(times)]


@pytest.mark.parametrize("draw", [untouched, with_rectangle, with_ellipse, with_polygon])
def test_only_occluded_pixels_change_and_in_one_colour(draw: Drawer) -> None:
    for found in drawn(draw):
        assert np.array_equal(found.rgb[~found.occluded], GREY[~found.occluded])
        assert len(np.unique(found.rgb[found.occluded], axis=0)) <= 1
        assert ndimage.label(found.occluded)[1] <= 1


def test_rectangles_cover_up_to_35_percent() -> None:
    shares = [found.occluded.mean() for found in drawn(with_rectangle, 300)]
    assert min(shares) < 0.02
    assert 0.30 < max(shares) <= 0.35
    for found in drawn(with_rectangle):
        rows, columns = np.nonzero(found.occluded)
        if len(rows):
            assert np.ptp(rows) + 1 == found.occluded.sum() / (np.ptp(columns) + 1)


def test_whole_ellipses_cover_20_to_40_percent() -> None:
    inside = []
    for found in drawn(with_ellipse, 300):
        edge = found.occluded[[0, -1]].any() or found.occluded[:, [0, -1]].any()
        assert found.occluded.mean() < 0.41
        if not edge:
            inside.append(found.occluded.mean())
    assert len(inside) > 20
    assert 0.19 < min(inside) < 0.25
    assert 0.3 < max(inside) < 0.41


def test_polygons_stay_within_their_radius() -> None:
    for found in drawn(with_polygon, 100):
        rows, columns = np.nonzero(found.occluded)
        reach = 2 * 1.3 / 5 * SIDE + 2
        assert np.ptp(rows) <= reach
        assert np.ptp(columns) <= reach


@pytest.mark.parametrize(("percent", "cut"), [(0, 0), (10, 35), (25, 56), (40, 70), (100, 112)])
def test_black_squares_have_the_protocols_side(percent: int, cut: int) -> None:
    found = with_square(GREY, percent / 100, np.random.default_rng(0))
    assert int(found.occluded.sum()) == cut * cut == int((found.rgb == 0).all(axis=2).sum())


def test_black_squares_reach_every_position() -> None:
    tops = {
        int(np.nonzero(with_square(GREY, 0.9, np.random.default_rng(seed)).occluded)[0][0])
        for seed in range(200)
    }
    assert tops == set(range(SIDE - 106 + 1))  # int(sqrt(0.9 * 112 * 112)) = 106


def test_light_keeps_within_range_and_falls_off_smoothly() -> None:
    for seed in range(20):
        lit = with_light(GREY, np.random.default_rng(seed))
        peak = lit.max()
        assert 128 * 0.7 * 0.9 <= peak <= 128 * 1.4 + 1
        assert np.abs(np.diff(lit.astype(int), axis=0)).max() <= 2
    white = with_light(np.full_like(GREY, 255), np.random.default_rng(3))
    assert white.max() <= 255
    assert (white == 255).mean() < 0.2


@pytest.fixture
def cutouts(tmp_path: Path) -> Cutouts:
    for kind, colour in (("sunglasses", (255, 0, 0)), ("scarf", (0, 255, 0)), ("hand", (0, 0, 255))):
        rgba = np.zeros((40, 60, 4), dtype=np.uint8)
        rgba[10:30, 10:50] = (*colour, 255)
        (tmp_path / kind).mkdir()
        Image.fromarray(rgba).save(tmp_path / kind / "one.png")
    (tmp_path / "mask_cutout").mkdir()
    return Cutouts(tmp_path)


def test_cutouts_are_pasted_where_they_are_worn(cutouts: Cutouts) -> None:
    assert cutouts.kinds == ("glasses", "object", "scarf")
    for seed in range(30):
        for kind, channel in (("glasses", 0), ("scarf", 1), ("object", 2)):
            rgb, occluded = cutouts.pasted(GREY, kind, np.random.default_rng(seed))
            assert np.array_equal(rgb[~occluded], GREY[~occluded])
            middle = ndimage.binary_erosion(occluded, iterations=4)
            assert (rgb[middle][:, channel] == 255).all()
        rows, columns = np.nonzero(cutouts.pasted(GREY, "glasses", np.random.default_rng(seed))[1])
        # 80x40 +-10 %, of which the opaque part is two thirds by one half, from .02W and .25H on.
        assert 46 <= np.ptp(columns) + 1 <= 64
        assert 17 <= np.ptp(rows) + 1 <= 26
        assert 30 < rows.min() < 60


def test_an_occluder_draws_every_kind_and_survives_pickling(cutouts: Cutouts) -> None:
    occluder = Occluder(OcclusionSettings(light=False), cutouts)
    copy = pickle.loads(pickle.dumps(occluder))
    colours = set()
    for seed in range(60):
        found = occluder.draw(GREY, np.random.default_rng(seed))
        assert np.array_equal(found.rgb, copy.draw(GREY, np.random.default_rng(seed)).rgb)
        colours.add(tuple(int(one) for one in found.rgb[found.occluded].max(axis=0, initial=0)))
    assert len(colours) > 10
    plain = Occluder(OcclusionSettings(enabled=False), cutouts).draw(GREY, np.random.default_rng(0))
    assert np.array_equal(plain.rgb, GREY)
    assert not plain.occluded.any()


class _HalfMask:
    drawn_by = "half@1"

    def draw(self, rgb: np.ndarray, seed: int) -> OccludedFace:
        occluded = np.zeros(rgb.shape[:2], dtype=bool)
        occluded[SIDE // 2 :] = True
        return OccludedFace(np.where(occluded[..., None], np.uint8(7), rgb), occluded)


def test_a_fifth_of_the_faces_gets_a_rendered_mask_when_there_is_a_renderer() -> None:
    occluder = Occluder(OcclusionSettings(light=False), masks=_HalfMask())
    found = [occluder.draw(GREY, np.random.default_rng(seed)).occluded for seed in range(1000)]
    lower_half = _HalfMask().draw(GREY, 0).occluded
    share = sum(np.array_equal(one, lower_half) for one in found) / 1000
    assert share == pytest.approx(0.2, abs=0.04)


def test_a_folder_without_cutouts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no cut-out"):
        Cutouts(tmp_path)
