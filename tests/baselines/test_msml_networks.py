"""MSML's networks: the paper's counts and shapes, whose gradient goes where, the operators' options."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from baselines.losses.consensus import consensus_loss
from baselines.networks.msml import Msml
from baselines.networks.msml_arcface import ArcFace18
from baselines.networks.msml_lightcnn import LightCnn29, MaxFeatureMap
from baselines.networks.msml_masking import FeatureMasking
from baselines.networks.msml_osb import (
    LargeKernel,
    OcclusionBranch,
    OcclusionSegmenter,
    average_subpixels,
)
from baselines.segmenter import normalise_images


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def count(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


def on_meta(**options: object) -> Msml:
    with torch.device("meta"):
        return Msml(**options)  # type: ignore[arg-type]


def test_branches_have_the_papers_parameters() -> None:
    with torch.device("meta"):
        assert count(ArcFace18()) == 24_025_600
        assert count(LightCnn29()) == 10_475_872
        assert count(OcclusionBranch(depth=18, face_px=112)) == 11_427_504
        assert round(count(OcclusionBranch(depth=34, face_px=112)) / 1e6, 2) == 21.54
    assert round(count(on_meta(branch="a18")) / 1e6, 2) == 39.87
    assert round(count(on_meta(branch="l29")) / 1e6, 2) == 23.14


@pytest.mark.parametrize(
    ("branch", "kernel", "blocks", "expected"),
    [
        ("a18", 1, 0, [5_248, 18_688, 70_144, 271_360]),
        ("a18", 3, 0, [47_232, 168_192, 631_296, 2_442_240]),
        ("a18", 3, 1, [60_928, 222_208, 845_824, 2_723_072]),
        ("a18", 3, 2, [74_624, 276_224, 1_060_352, 3_003_904]),
        ("l29", 3, 2, [44_064, 159_552, 758_784, 276_224]),
    ],
)
def test_masking_operators_have_the_papers_parameters(
    branch: str, kernel: int, blocks: int, expected: list[int]
) -> None:
    network = on_meta(branch=branch, kernel=kernel, blocks=blocks)
    assert [count(one) for one in network.masking.values()] == expected


def test_work_is_what_table_6_prints() -> None:
    network = on_meta(branch="a18").eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros((1, 3, 112, 112), device="meta"))
    # The counter calls a multiply-add two operations and leaves norms and activations out; the paper, one.
    giga = {name: sum(one.values()) / 2e9 for name, one in counter.get_flop_counts().items()}
    printed = {"1": 0.23, "2": 0.22, "3": 0.21, "4": 0.15}
    for layer, expected in printed.items():
        assert giga[f"Msml.masking.{layer}"] == pytest.approx(expected, abs=0.01)
    masking = sum(giga[f"Msml.masking.{layer}"] for layer in printed)
    assert giga["Msml"] - giga["Msml.osb"] - masking == pytest.approx(2.60, abs=0.03)
    # The printed 0.94 counts a transposed convolution as if all its output pixels had a full kernel: 4 times
    # too much at stride 2.
    doubled = sum(giga[f"Msml.osb.decoders.{index}"] for index in range(5))
    assert giga["Msml.osb"] + 3 * doubled == pytest.approx(0.94, abs=0.01)


@pytest.mark.parametrize(("face_px", "coarsest"), [(112, 7), (128, 8)])
def test_occlusion_maps_have_the_specified_sizes(face_px: int, coarsest: int) -> None:
    with torch.device("meta"):
        branch = OcclusionBranch(face_px=face_px)  # type: ignore[arg-type]
        found = branch.eval()(torch.zeros((2, 3, face_px, face_px)))
    sides = [coarsest * 2**step for step in range(4)]
    assert [tuple(one.shape) for one in found.representations] == [(2, 18, side, side) for side in sides]
    assert tuple(found.logits.shape) == (2, 2, face_px, face_px)


@pytest.mark.parametrize(("branch", "embed_dim"), [("a18", 512), ("l29", 256)])
def test_an_embedding_and_a_map_per_face(branch: str, embed_dim: int) -> None:
    network = on_meta(branch=branch)
    side = network.input_px
    output = network(torch.zeros((2, 3, side, side), device="meta"))
    assert tuple(output.embeddings.shape) == (2, embed_dim)
    assert output.occlusion is not None
    assert tuple(output.occlusion.shape) == (2, 2, side, side)


def test_without_operators_it_is_the_plain_branch() -> None:
    torch.manual_seed(0)
    network = Msml("l29", layers=()).eval()
    faces = torch.rand((1, 3, 128, 128))
    output = network(faces)
    assert output.occlusion is None
    assert torch.equal(output.embeddings, network.frb(faces))
    assert count(network) == 10_475_872


def _gradient(module: nn.Module | None) -> float:
    assert module is not None
    return sum(float(one.grad.abs().sum()) for one in module.parameters() if one.grad is not None)


@pytest.fixture(scope="module")
def attached_and_detached() -> list[tuple[Msml, torch.Tensor]]:
    found = []
    for detach in (False, True):
        torch.manual_seed(0)
        network = Msml("l29", kernel=1, blocks=0, detach=detach)
        found.append((network, torch.rand((2, 3, 128, 128))))
    return found


def test_recognition_loss_reaches_the_occlusion_branch_only_when_attached(
    attached_and_detached: list[tuple[Msml, torch.Tensor]],
) -> None:
    for network, faces in attached_and_detached:
        network.zero_grad()
        network(faces).embeddings.square().sum().backward()
        assert _gradient(network.frb) > 0
        assert _gradient(network.masking) > 0
        assert (_gradient(network.osb) > 0) is not network.detach


def test_segmentation_loss_never_reaches_the_recognition_branch(
    attached_and_detached: list[tuple[Msml, torch.Tensor]],
) -> None:
    for network, faces in attached_and_detached:
        network.zero_grad()
        truth = torch.zeros((2, 128, 128), dtype=torch.long)
        truth[:, 40:80, 40:80] = 1
        occlusion = network(faces).occlusion
        assert occlusion is not None
        consensus_loss(occlusion, truth).backward()
        assert _gradient(network.osb) > 0
        assert _gradient(network.frb) == _gradient(network.masking) == 0


def _operator(**options: object) -> FeatureMasking:
    torch.manual_seed(1)
    chosen = {"sight": "cat", "kernel": 3, "blocks": 1, "activation": "sig", "residual": False} | options
    return FeatureMasking(6, 4, **chosen).eval()  # type: ignore[arg-type]


def test_operators_multiply_features_by_their_mask() -> None:
    face, maps = torch.randn((2, 6, 5, 5)), torch.randn((2, 4, 5, 5))
    plain, residual = _operator(), _operator(residual=True)
    mask = plain.mask(face, maps).detach()
    assert torch.equal(plain(face, maps), mask * face)
    assert torch.allclose(residual(face, maps), mask * face + face)
    assert float(mask.min()) >= 0
    assert float(_operator(activation="tan").mask(face, maps).detach().min()) < 0


def test_operators_that_see_only_maps_do_not_care_about_the_face() -> None:
    maps = torch.randn((1, 4, 5, 5))
    one, other = torch.randn((1, 6, 5, 5)), torch.randn((1, 6, 5, 5))
    blind, sighted = _operator(sight="seg"), _operator()
    assert torch.equal(blind.mask(one, maps), blind.mask(other, maps))
    assert not torch.equal(sighted.mask(one, maps), sighted.mask(other, maps))


def test_a_binary_mask_is_the_rounded_sigmoid_with_the_sigmoids_gradient() -> None:
    face, maps = torch.randn((1, 6, 5, 5)), torch.randn((1, 4, 5, 5))
    soft, hard = _operator(), _operator(activation="bin")
    mask = hard.mask(face, maps)
    assert torch.allclose(mask, (soft.mask(face, maps) >= 0.5).float())
    mask.sum().backward()
    soft.mask(face, maps).sum().backward()
    assert soft.filter.weight.grad is not None
    assert torch.allclose(hard.filter.weight.grad, soft.filter.weight.grad)  # type: ignore[arg-type]


def test_averaged_subpixels_equal_shuffling_and_pooling() -> None:
    fine = torch.randn((2, 18, 4, 5))
    expected = nn.AvgPool2d(3)(nn.PixelShuffle(3)(fine))
    assert torch.allclose(average_subpixels(fine, 2), expected, atol=1e-6)


def test_a_large_kernel_sees_seven_pixels_each_way() -> None:
    layer = LargeKernel(1, 1)
    picture = torch.zeros((1, 1, 15, 15), requires_grad=True)
    layer(picture)[0, 0, 7, 7].backward()
    assert picture.grad is not None
    rows, columns = picture.grad[0, 0].nonzero(as_tuple=True)
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (4, 10, 4, 10)


def test_max_feature_map_takes_the_larger_half() -> None:
    layer = MaxFeatureMap(1, 1, 1)
    with torch.no_grad():
        layer.convolution.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        layer.convolution.bias.zero_()  # type: ignore[union-attr]
    picture = torch.randn((1, 1, 3, 3))
    assert torch.equal(layer(picture), picture.abs())


def test_the_segmenter_at_112_pixels_is_the_branch_itself() -> None:
    torch.manual_seed(0)
    segmenter = OcclusionSegmenter(1, depth=18, face_px=112)
    pixels = torch.randint(0, 256, (2, 3, 112, 112), dtype=torch.uint8)
    logits = segmenter.branch(pixels.float() / 127.5 - 1).logits
    found = segmenter(normalise_images(pixels)).logits
    assert torch.allclose(found.sigmoid(), logits.softmax(dim=1)[:, 1:], atol=1e-4)
