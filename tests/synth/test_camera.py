from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from synth.assets import draw_garment
from synth.camera import Layer, blur_to_add, draw_noise, finish, places_of, recompress
from synth.colour import linear_of_byte, linear_to_srgb
from synth.geometry import build_face
from synth.photo_state import Jpeg, PhotoState
from synth.placement import fit_head_frame
from synth.render import Effects, composite, dress_face


def through_jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    stored = BytesIO()
    Image.fromarray(rgb).save(stored, "JPEG", quality=quality)
    return np.asarray(Image.open(stored))


def test_noise_that_rounding_to_bytes_would_hide_is_not_drawn():
    assert draw_noise((64, 64), PhotoState(0.0, 0.2, 0.2), np.random.default_rng(0)) is None
    drawn = draw_noise((64, 64), PhotoState(0.0, 0.3, 0.2), np.random.default_rng(0))
    assert drawn is not None and drawn.std() > 0.25


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_drawn_noise_is_normal(noise):
    drawn = draw_noise((300, 300), PhotoState(0.0, 2.0, noise), np.random.default_rng(3))
    assert drawn is not None
    z = drawn.ravel() / np.hypot(2.0, noise * 0.99)
    # Shares of a normal distribution beyond one, two and three standard deviations.
    for limit, share in ((1, 0.3173), (2, 0.0455), (3, 0.0027)):
        assert (np.abs(z) > limit).mean() == pytest.approx(share, rel=0.15)


@pytest.mark.parametrize(
    ("blur", "size"), [(1.0, (90, 120)), (1.8, (90, 120)), (2.6, (91, 119)), (4.0, (91, 119))]
)
def test_colours_of_a_soft_photo_are_those_of_a_blur_at_full_size(blur, size):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(1)
    alpha = np.zeros(size, np.float32)
    alpha[20:, 13:101] = 1.0
    alpha[40:60, 30:31] = 0.0
    texture = gaussian_filter(rng.uniform(0, 1, (*size, 3)), (1.5, 1.5, 0))
    colour = np.clip(0.5 + 4 * (texture - 0.5), 0.02, 0.98).astype(np.float32)
    state = PhotoState(blur, 0.0)
    layer = finish(alpha, lambda place: colour[place], state, None, np.ones(size, np.float32))
    sigma = blur_to_add(state)
    soft = gaussian_filter(alpha.astype(float), sigma, mode="mirror")
    wanted = np.stack(
        [gaussian_filter(alpha * colour[..., k], sigma, mode="mirror") for k in range(3)], axis=-1
    )
    assert np.abs(layer.alpha - soft).max() < 0.004
    drawn = layer.colour * soft[..., None]
    # In grey levels over black, as they would be seen.
    off = np.abs(
        linear_to_srgb(drawn.astype(np.float32)).astype(int) - linear_to_srgb(wanted.astype(np.float32))
    )
    shown = soft > 0.02
    assert np.quantile(off[shown], 0.99) <= 3
    assert off[soft > 0.5].mean() < 1


def test_a_mask_on_a_compressed_photo_leaves_every_other_byte_and_has_no_halo(astronaut):
    photo = through_jpeg(astronaut.rgb, 50)
    face = build_face(astronaut.points, fit_head_frame(astronaut.points))
    garment = draw_garment("surgical", "correct", np.random.default_rng(4))
    nobody = np.zeros(photo.shape[:2], np.float32)
    dressing = dress_face(photo, face, garment, nobody, Effects())
    plain = dress_face(photo, face, garment, nobody, Effects(camera=False))
    out = composite(photo, dressing)
    x, y, width, height = dressing.box
    window = (slice(y, y + height), slice(x, x + width))
    drawn = (dressing.mask.alpha > 0) | (dressing.loops.alpha > 0) | (dressing.shadow > 0)
    touched = np.zeros(photo.shape[:2], bool)
    touched[window] = drawn
    assert np.array_equal(out[~touched], photo[~touched])
    # The sheet differs from an uncompressed one by more than its noise does: JPEG 50 leaves its blocks.
    solid = (dressing.mask.alpha == 1) & (plain.mask.alpha == 1)
    assert np.abs(dressing.mask.colour - plain.mask.colour)[solid].mean() > 0.002
    # R8: rim pixels lie between the two sides they join.
    rim = (dressing.mask.alpha > 0.02) & (dressing.mask.alpha < 0.98) & (dressing.loops.alpha == 0)
    sheet = linear_to_srgb(dressing.mask.colour).astype(int)
    under = linear_to_srgb(linear_of_byte()[photo[window]] * (1 - dressing.shadow[..., None])).astype(int)
    made = out[window].astype(int)
    inside = (made >= np.minimum(sheet, under) - 2) & (made <= np.maximum(sheet, under) + 2)
    assert inside.all(axis=-1)[rim].mean() >= 0.995


def test_recompressing_a_compressed_photo_changes_almost_nothing_and_a_sharp_sheet_much(astronaut):
    photo = through_jpeg(astronaut.rgb, 60)
    window, at_xy = photo[37:197, 91:251], (91, 37)
    alpha = np.ones(window.shape[:2], np.float32)
    sheet = Layer(alpha, linear_of_byte()[window], alpha)
    again = recompress([sheet], window, Jpeg(60, (0, 0)), at_xy)[0]
    inner = (slice(16, -16), slice(16, -16))
    assert np.abs(again.colour - sheet.colour)[inner].mean() < 0.004
    assert again.alpha is alpha
    noisy = np.random.default_rng(0).integers(0, 255, window.shape).astype(np.uint8)
    changed = recompress([Layer(alpha, linear_of_byte()[noisy], alpha)], noisy, Jpeg(60, (0, 0)), at_xy)[0]
    assert np.abs(changed.colour - linear_of_byte()[noisy]).mean() > 0.02


@pytest.mark.parametrize("blur", [0.0, 1.8])
def test_parts_of_a_sheet_that_are_finished_alone_come_out_as_in_one_piece(blur, monkeypatch):
    rng = np.random.default_rng(2)
    alpha = np.zeros((60, 150), np.float32)
    alpha[20:40, 5:30] = rng.uniform(0, 1, (20, 25))
    alpha[5:30, 90:150] = 1.0
    colour = rng.uniform(0.1, 0.9, (60, 150, 3)).astype(np.float32)
    state, noise = PhotoState(blur, 2.0), rng.standard_normal((60, 150), dtype=np.float32)
    visible = rng.uniform(0, 1, (60, 150)).astype(np.float32)

    def finished() -> Layer:
        return finish(alpha, lambda place: colour[place], state, noise, visible)

    parts = finished()
    assert len(list(places_of(alpha, 8))) == 2
    monkeypatch.setattr("synth.camera._WORTH_PARTING_PX", 1000)
    whole = finished()
    assert len(list(places_of(alpha, 8))) == 1
    assert np.array_equal(parts.alpha, whole.alpha)
    shown = parts.alpha > 0
    assert parts.colour[shown] == pytest.approx(whole.colour[shown], abs=1e-6)
    assert list(places_of(np.zeros((4, 0), np.float32), 3)) == []
