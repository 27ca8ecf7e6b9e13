"""SSIM against two libraries; the hybrid losses against their parts and the printed remainders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.losses import find_loss, loss_names
from baselines.losses.hybrid import released_focal_loss
from baselines.losses.pixel import focal_loss, iou_loss
from baselines.losses.ssim import WINDOW_PX, ssim_loss, ssim_map
from baselines.segmenter import SegOutput

PERFECT = 30.0
HALF = WINDOW_PX // 2


def case(seed: int, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn((2, channels, 33, 29), generator=source) * 3
    target = torch.zeros_like(logits)
    target[:, :, 8:24, 6:21] = 1
    return logits, target


@pytest.mark.parametrize("seed", range(3))
def test_ssim_equals_torchmetrics_away_from_the_border(seed: int) -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    logits, target = case(seed)
    chance = logits.sigmoid()
    # The library mirrors its input at the border, where ours has zeros.
    _, theirs = structural_similarity_index_measure(
        chance, target, data_range=1.0, sigma=1.5, k1=0.01, k2=0.03, return_full_image=True
    )
    inside = np.s_[..., HALF:-HALF, HALF:-HALF]
    assert torch.allclose(ssim_map(chance, target)[inside], theirs[inside], atol=1e-5)


def test_ssim_equals_scikit_image_when_the_border_is_black() -> None:
    from skimage.metrics import structural_similarity

    source = np.random.default_rng(7)
    left, right = np.zeros((2, 60, 64)), np.zeros((2, 60, 64))
    left[:, 15:45, 15:49] = source.random((2, 30, 34))
    right[:, 15:45, 15:49] = source.random((2, 30, 34)) < 0.5
    ours = ssim_map(torch.from_numpy(left).float().unsqueeze(1), torch.from_numpy(right).float().unsqueeze(1))
    for index in range(2):
        _, theirs = structural_similarity(
            left[index],
            right[index],
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            win_size=WINDOW_PX,
            use_sample_covariance=False,
            full=True,
        )
        assert np.allclose(ours[index, 0].numpy(), theirs, atol=1e-4)


def test_ssim_of_two_flat_pictures_by_hand() -> None:
    # No variance: (2 ab + C1) / (a^2 + b^2 + C1), times C2 / C2.
    left, right = torch.full((1, 1, 21, 21), 0.6), torch.full((1, 1, 21, 21), 0.2)
    centre = float(ssim_map(left, right)[0, 0, 10, 10])
    assert centre == pytest.approx((2 * 0.6 * 0.2 + 1e-4) / (0.36 + 0.04 + 1e-4), abs=1e-5)


def test_ssim_of_a_picture_with_itself_is_one_everywhere() -> None:
    chance = case(0)[0].sigmoid()
    assert torch.allclose(ssim_map(chance, chance), torch.ones_like(chance), atol=1e-5)
    assert torch.allclose(ssim_map(chance, 1 - chance), ssim_map(1 - chance, chance), atol=1e-6)


def test_ssim_stays_in_float32_under_autocast() -> None:
    logits, target = case(1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ssim_loss(logits, target)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, ssim_loss(logits, target))


def test_the_released_focal_loss_keeps_the_printed_remainders_on_a_perfect_map() -> None:
    sure = torch.full((1, 1, 4, 4), PERFECT)
    assert float(released_focal_loss(sure, torch.ones_like(sure))) == pytest.approx(0.0227, abs=5e-5)
    assert float(released_focal_loss(-sure, torch.zeros_like(sure))) == pytest.approx(0.0433, abs=5e-5)


def test_the_released_focal_loss_lets_no_gradient_through_its_modulating_factor() -> None:
    logits = torch.zeros((1, 1, 1, 1), requires_grad=True)
    released_focal_loss(logits, torch.ones_like(logits)).backward()
    # q = s(s(0)) = s(1/2); d/dx of -(1-q)^2 log q with the square held: -(1-q)^2 (1-q) s'(0) = -(1-q)^3 / 4.
    q = 1 / (1 + np.exp(-0.5))
    assert logits.grad is not None
    assert float(logits.grad) == pytest.approx(-((1 - q) ** 3) / 4, abs=1e-6)


def parts(name: str, logits: torch.Tensor, target: torch.Tensor) -> float:
    bce = float(torch.nn.functional.binary_cross_entropy_with_logits(logits, target))
    pixels = {
        "abanet": focal_loss(logits, target),
        "abanet_alpha50": focal_loss(logits, target, alpha=0.5),
        "abanet_alpha75": focal_loss(logits, target, alpha=0.75),
        "abanet_alpha90": focal_loss(logits, target, alpha=0.9),
        "abanet_release": released_focal_loss(logits, target),
        "focal_iou": focal_loss(logits, target),
    }
    patches = 0.0 if name == "focal_iou" else float(ssim_loss(logits, target))
    return float(pixels.get(name, bce)) + patches + float(iou_loss(logits, target))


HYBRIDS = ["abanet", "abanet_alpha50", "abanet_alpha75", "abanet_alpha90", "basnet", "focal_iou"]


@pytest.mark.parametrize("name", [*HYBRIDS, "abanet_release"])
def test_a_hybrid_loss_is_the_plain_sum_of_its_parts_over_all_outputs(name: str) -> None:
    first, target = case(3)
    second = case(4)[0]
    classes = target[:, 0].to(torch.uint8)
    found = float(find_loss(name)(SegOutput(first, aux=(second,)), classes))
    assert found == pytest.approx(parts(name, first, target) + parts(name, second, target), rel=1e-5)


@pytest.mark.parametrize("name", [*HYBRIDS, "ssim"])
@pytest.mark.parametrize("kind", ["mixed", "empty", "full"])
def test_a_perfect_guess_costs_nothing_and_a_bad_one_has_finite_gradients(name: str, kind: str) -> None:
    _, target = case(5)
    if kind != "mixed":
        target = torch.full_like(target, float(kind == "full"))
    classes = target[:, 0].to(torch.uint8)
    perfect = (2 * target - 1) * PERFECT
    bad = (-perfect).requires_grad_()
    loss = find_loss(name)
    assert float(loss(SegOutput(perfect), classes)) == pytest.approx(0.0, abs=1e-3)
    wrong = loss(SegOutput(bad), classes)
    wrong.backward()
    assert float(wrong.detach()) > 0.9
    assert bad.grad is not None and bool(torch.isfinite(bad.grad).all())


def test_the_losses_of_figure_7_and_table_9_have_names() -> None:
    assert {"abanet", "abanet_alpha50", "abanet_alpha75", "abanet_alpha90"} <= set(loss_names())
    assert {"focal", "iou", "focal_iou", "abanet", "basnet", "ssim"} <= set(loss_names())
