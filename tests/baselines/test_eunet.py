"""EU-Net: five scales, attention that may be sliced, patches that are patches, and its loss by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.losses import find_loss
from baselines.losses.eunet import eunet_loss, region_loss
from baselines.models import build_network
from baselines.networks.attention import CrossNonLocal, NonLocal, spread_attention
from baselines.networks.eunet import SemanticModule, in_patches
from baselines.segmenter import SegOutput


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_norms(network: nn.Module, seed: int = 0) -> None:
    """Give every batch norm a scale, as training would: fresh branches are silent."""
    torch.manual_seed(seed)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)


# -- the network -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "coarse"),
    [(256, 256, [128, 64, 32, 16]), (70, 256, [35, 18, 9, 5])],
)
def test_five_scales_come_out(height: int, width: int, coarse: list[int]) -> None:
    with torch.device("meta"):
        output = build_network("eunet_r34", 2, pretrained=False)(torch.zeros(2, 3, height, width))
    assert output.logits.shape == (2, 2, height, width)
    expected = [(2, 2, rows, width // 2**k) for k, rows in enumerate(coarse, start=1)]
    assert [tuple(one.shape) for one in output.aux] == expected


def test_every_parameter_learns_once_the_silent_branches_speak() -> None:
    torch.manual_seed(0)
    network = build_network("eunet_r34", 1, pretrained=False)
    random_norms(network)
    classes = torch.zeros(1, 64, 64, dtype=torch.uint8)
    classes[:, 30:60, 10:50] = 1
    eunet_loss(network(random_maps(1, 3, 64, 64)), classes).backward()
    for name, one in network.named_parameters():
        assert one.grad is not None and torch.isfinite(one.grad).all(), name


def test_any_pixel_loss_takes_the_coarse_maps() -> None:
    logits = random_maps(1, 1, 32, 32)
    output = SegOutput(logits, (random_maps(1, 1, 16, 16),))
    classes = torch.ones(1, 32, 32, dtype=torch.uint8)
    expected = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)) + (
        F.binary_cross_entropy_with_logits(
            F.interpolate(output.aux[0], size=(32, 32), mode="bilinear"), torch.ones_like(logits)
        )
    )
    assert float(find_loss("bce")(output, classes)) == pytest.approx(float(expected), rel=1e-6)


# -- attention ---------------------------------------------------------------------------------------


def test_a_fresh_attention_module_changes_nothing() -> None:
    maps, decoder = random_maps(2, 8, 6, 5), random_maps(2, 4, 3, 3, seed=1)
    assert torch.equal(NonLocal(8, 4)(maps), maps)
    assert torch.equal(CrossNonLocal(4, 8, 4)(decoder, maps), maps)


def test_spread_attention_is_the_sum_over_senders() -> None:
    queries, keys, values = (random_maps(1, 3, n, seed=n).numpy() for n in (4, 6, 4))
    values = values[..., :4]
    expected = np.zeros((1, 3, 6))
    for sender in range(4):
        scores = np.exp([queries[0, :, sender] @ keys[0, :, receiver] for receiver in range(6)])
        for receiver in range(6):
            expected[0, :, receiver] += scores[receiver] / scores.sum() * values[0, :, sender]
    got = spread_attention(*(torch.tensor(one) for one in (queries, keys, values)))
    assert np.allclose(got.numpy(), expected, atol=1e-5)


def test_what_is_sent_arrives_whole() -> None:
    queries, keys, values = random_maps(2, 3, 10), random_maps(2, 3, 7, seed=1), random_maps(2, 3, 10, seed=2)
    assert torch.allclose(spread_attention(queries, keys, values).sum(2), values.sum(2), atol=1e-5)


@pytest.mark.parametrize("slice_weights", [1, 7 * 3, 7 * 4])
def test_slices_of_the_matrix_give_the_same_values_and_gradients(slice_weights: int) -> None:
    inputs = [random_maps(2, 3, n, seed=seed).requires_grad_() for seed, n in enumerate((10, 7, 10))]
    whole = spread_attention(*inputs)
    direction = random_maps(*whole.shape, seed=9)
    wanted = torch.autograd.grad(whole, inputs, direction)
    sliced = spread_attention(*inputs, slice_weights=slice_weights)
    assert torch.allclose(sliced, whole, atol=1e-5)
    for got, want in zip(torch.autograd.grad(sliced, inputs, direction), wanted, strict=True):
        assert torch.allclose(got, want, atol=1e-5)


def test_non_local_attention_is_the_plain_formula_over_pooled_keys() -> None:
    block = NonLocal(4, 3).eval()
    random_norms(block)
    maps = random_maps(1, 4, 6, 8)
    with torch.no_grad():
        keys, values = (F.max_pool2d(one(maps), 2)[0].flatten(1).numpy() for one in (block.key, block.value))
        queries = block.query(maps)[0].flatten(1).numpy()
        gathered = np.zeros((3, 48), dtype=np.float32)
        for asker in range(48):
            scores = np.exp(queries[:, asker] @ keys)
            gathered[:, asker] = values @ (scores / scores.sum())
        expected = maps + block.restore(torch.tensor(gathered).reshape(1, 3, 6, 8))
        assert torch.allclose(block(maps), expected, atol=1e-5)


def test_patches_are_cut_in_place_and_put_back() -> None:
    maps = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8)
    seen: list[torch.Tensor] = []

    class Watch(nn.Module):
        def forward(self, patches: torch.Tensor) -> torch.Tensor:
            seen.append(patches)
            return patches * 1

    assert torch.equal(in_patches(Watch(), maps, patch_px=4), maps)
    assert torch.equal(seen[0][1], maps[0, :, :4, 4:])  # second patch: first rows, next columns
    assert torch.equal(seen[0][-1], maps[1, :, 4:, 4:])


def test_a_patch_knows_nothing_of_its_neighbours() -> None:
    module = SemanticModule(8).eval()
    random_norms(module)
    maps = random_maps(1, 256, 8, 8)
    touched = maps.clone()
    touched[:, :, 0, 0] += 5
    before, after = (in_patches(module.quarters, one, patch_px=4) for one in (maps, touched))
    changed = (before != after).any(dim=1)[0]
    assert changed[:4, :4].any() and not changed[4:].any() and not changed[:, 4:].any()


# -- the loss ----------------------------------------------------------------------------------------


def test_region_loss_by_hand() -> None:
    # Chance 1/2 everywhere, 2 of 4 pixels are label: entropy ln 2, overlap 1, total 4.
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    expected = 0.5**4 * np.log(2) + (1 - 3 / 5) + (1 - 2 / 4)
    assert float(region_loss(torch.zeros_like(target), target)) == pytest.approx(expected, abs=1e-6)


def test_the_label_is_halved_from_scale_to_scale() -> None:
    classes = torch.zeros(1, 4, 4, dtype=torch.uint8)
    classes[0, :2, :1] = 1
    label = classes[None].float()
    half = torch.tensor([[[[0.5, 0.0], [0.0, 0.0]]]])
    quarter = torch.tensor([[[[0.125]]]])
    maps = [random_maps(1, 1, n, n, seed=n) for n in (4, 2, 1)]
    pairs = zip(maps, (label, half, quarter), strict=True)
    expected = sum(float(region_loss(logits, target)) for logits, target in pairs)
    assert float(eunet_loss(SegOutput(maps[0], maps[1:]), classes)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["mixed", "empty", "full"])
def test_a_perfect_guess_costs_nothing_and_gradients_stay_finite(kind: str) -> None:
    classes = {
        "mixed": (random_maps(2, 8, 8) > 0).to(torch.uint8),
        "empty": torch.zeros(2, 8, 8, dtype=torch.uint8),
        "full": torch.ones(2, 8, 8, dtype=torch.uint8),
    }[kind]
    perfect = (2 * classes[:, None].float() - 1) * 30
    assert float(eunet_loss(SegOutput(perfect), classes)) == pytest.approx(0, abs=1e-4)
    wrong = (-perfect).requires_grad_()
    eunet_loss(SegOutput(wrong), classes).backward()
    assert wrong.grad is not None and torch.isfinite(wrong.grad).all()


def test_three_classes_are_three_questions() -> None:
    classes = torch.tensor([[[0, 1], [2, 1]]], dtype=torch.uint8)
    perfect = F.one_hot(classes.long(), 3).permute(0, 3, 1, 2).float() * 60
    assert float(eunet_loss(SegOutput(perfect), classes)) == pytest.approx(0, abs=1e-4)
