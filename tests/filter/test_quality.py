from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dataset_tools.core.errors import DataError
from dataset_tools.filter.quality import crop_box, exposure, face_size, sharpness, shorter_side_px


def test_sharpness_is_the_variance_of_the_laplacian_by_scipy() -> None:
    from scipy.ndimage import convolve

    grey = np.random.default_rng(3).integers(0, 256, (128, 128), dtype=np.uint8)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    variance = convolve(grey.astype(float), kernel)[1:-1, 1:-1].var()
    found = sharpness(np.repeat(grey[:, :, None], 3, axis=2))
    assert found == pytest.approx(variance / (variance + 100.0))


def test_sharpness_falls_with_blur_and_is_zero_on_a_flat_picture(astronaut_rgb: np.ndarray) -> None:
    face = Image.fromarray(astronaut_rgb[60:190, 160:290])
    values = [
        sharpness(np.asarray(face.filter(ImageFilter.GaussianBlur(radius)))) for radius in (0, 1, 2, 4, 8)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.5 > values[-1]
    assert sharpness(np.full((50, 40, 3), 77, np.uint8)) == 0.0


def test_exposure_is_the_share_of_pixels_with_detail_whatever_the_skin() -> None:
    picture = np.full((10, 10, 3), 40, np.uint8)
    assert exposure(picture) == 1.0
    picture[:3] = 255
    picture[3:4] = 0
    assert exposure(picture) == pytest.approx(0.6)


def test_size_scores_a_half_at_100_pixels() -> None:
    assert face_size((10.0, 20.0, 110.0, 420.0)) == 0.5
    assert face_size((5.0, 5.0, 5.0, 9.0)) == 0.0
    assert shorter_side_px((0.0, 0.0, 7.5, 3.5)) == 3.5


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        ((1.2, 2.0, 4.1, 5.0), (3, 4, 3)),
        ((-5.0, -5.0, 99.0, 99.0), (20, 30, 3)),
        ((30.0, 20.0, 30.0, 20.0), (1, 1, 3)),
    ],
)
def test_a_crop_has_at_least_one_pixel_inside_the_picture(
    box: tuple[float, float, float, float], shape: tuple[int, int, int]
) -> None:
    assert crop_box(np.zeros((20, 30, 3), np.uint8), box).shape == shape


def test_an_empty_crop_is_an_error() -> None:
    with pytest.raises(DataError, match="needs pixels"):
        sharpness(np.zeros((0, 4, 3), np.uint8))
