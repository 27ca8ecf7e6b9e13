from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from synth.camera import draw_noise
from synth.geometry import build_face
from synth.photo_state import Jpeg, PhotoState, estimate_blur_px, estimate_jpeg, estimate_noise, read_state
from synth.placement import fit_head_frame


def through_jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    stored = BytesIO()
    Image.fromarray(rgb).save(stored, "JPEG", quality=quality)
    return np.asarray(Image.open(stored))


@pytest.mark.parametrize("sigma", [0.8, 1.5, 2.5])
def test_blur_of_a_blurred_edge_is_recovered(sigma):
    image = np.zeros((96, 96), np.float32)
    cv2.fillPoly(image, [np.array([[10, 20], [80, 8], [70, 88]])], 200.0)
    image += 20
    blurred = np.rint(cv2.GaussianBlur(image, (0, 0), sigma)).astype(np.uint8)
    assert estimate_blur_px(blurred) == pytest.approx(sigma, abs=0.35)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 3.0])
def test_blur_added_to_a_photo_is_found_on_top_of_its_own(astronaut, sigma):
    face = build_face(astronaut.points, fit_head_frame(astronaut.points))
    own = read_state(astronaut.rgb, face).blur_px
    blurred = cv2.GaussianBlur(astronaut.rgb, (0, 0), sigma)
    assert read_state(blurred, face).blur_px == pytest.approx(np.hypot(own, sigma), rel=0.2)


def test_an_enlarged_photo_is_as_much_softer_as_it_was_enlarged(astronaut):
    factor = 2
    size = (astronaut.rgb.shape[1] * factor, astronaut.rgb.shape[0] * factor)
    enlarged = cv2.resize(astronaut.rgb, size, interpolation=cv2.INTER_CUBIC)
    faces = [
        build_face(points, fit_head_frame(points)) for points in (astronaut.points, astronaut.points * factor)
    ]
    own, softer = read_state(astronaut.rgb, faces[0]).blur_px, read_state(enlarged, faces[1]).blur_px
    assert softer == pytest.approx(factor * own, rel=0.25)


@pytest.mark.parametrize("level", [2.0, 5.0])
def test_noise_and_grain_of_known_levels_are_told_apart_over_a_smooth_ramp(level):
    ramp = np.tile(np.linspace(60, 190, 200, dtype=np.float32), (200, 1))
    for noise, grain in ((level, 0.0), (0.0, level), (level, level)):
        drawn = draw_noise((200, 200), PhotoState(0.0, noise, grain), np.random.default_rng(0))
        found = estimate_noise(np.rint(ramp + drawn).astype(np.uint8))
        assert found == pytest.approx((noise, grain), rel=0.1, abs=0.25 * level)


def test_flat_and_clipped_pictures_have_no_noise():
    for level in (0, 128, 255):
        assert estimate_noise(np.full((64, 64), level, np.uint8)) == pytest.approx((0, 0), abs=0.01)
    assert draw_noise((8, 8), PhotoState(1.0, 0.0), np.random.default_rng(0)) is None


@pytest.mark.parametrize("quality", [30, 50, 70, 80, 90])
def test_quality_of_a_compressed_photo_is_recovered_to_within_two(astronaut, quality):
    found = estimate_jpeg(through_jpeg(astronaut.rgb, quality)[:256, :256])
    assert found is not None
    assert abs(found.quality - quality) <= 2
    assert found.phase_xy == (0, 0)


@pytest.mark.parametrize("cut", [(3, 5), (0, 7), (6, 1)])
def test_the_grid_of_a_cropped_jpeg_is_found(astronaut, cut):
    x, y = cut
    found = estimate_jpeg(through_jpeg(astronaut.rgb, 60)[y : y + 240, x : x + 240])
    assert found == Jpeg(found.quality, ((8 - x) % 8, (8 - y) % 8))
    assert abs(found.quality - 60) <= 2


def test_photos_without_traces_of_compression_are_left_alone(astronaut):
    assert estimate_jpeg(astronaut.rgb[:256, :256]) is None
    assert estimate_jpeg(through_jpeg(astronaut.rgb, 98)[:256, :256]) is None
    enlarged = cv2.resize(
        through_jpeg(astronaut.rgb, 60), None, fx=1.3, fy=1.3, interpolation=cv2.INTER_CUBIC
    )
    assert estimate_jpeg(enlarged[:256, :256]) is None
    assert estimate_jpeg(np.full((200, 200, 3), 90, np.uint8)) is None
    assert estimate_jpeg(np.zeros((12, 9, 3), np.uint8)) is None


def test_the_grid_is_given_in_coordinates_of_the_whole_photo(astronaut):
    face = build_face(astronaut.points, fit_head_frame(astronaut.points))
    found = read_state(through_jpeg(astronaut.rgb, 60), face).jpeg
    assert found is not None
    assert found.phase_xy == (0, 0)
    assert abs(found.quality - 60) <= 2
