"""The hand-written U-Nets of ABANet's table 4 and Xu & Zheng's."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from baselines.models import build_network, find_spec
from baselines.networks.din_unet import DinUNet, opened
from baselines.networks.plain_unet import PlainUNet
from baselines.registry import Fidelity


def test_table_4_rows_are_stand_ins_with_the_papers_frames_per_second() -> None:
    for name, iou, fps in (("din_unet", 0.903, 105), ("geng_unet", 0.889, 115)):
        spec = find_spec(name)
        assert spec.fidelity is Fidelity.STAND_IN and "stand-in" in spec.title
        assert spec.printed is not None
        assert (spec.printed.value("iou"), spec.printed.value("fps")) == (iou, fps)


def test_xu_and_geng_are_one_network_with_other_losses() -> None:
    geng, xu = find_spec("geng_unet"), find_spec("xu_unet")
    assert geng.parameters == xu.parameters == 31_037_633
    assert (geng.recipe.loss, xu.recipe.loss) == ("bce", "bce_dice")


def test_din_narrows_to_1024_channels_on_an_eighth_of_32_pixels() -> None:
    seen = {}
    with torch.device("meta"):
        network = DinUNet(1, opening=False)
        for index, block in enumerate(network.down):
            block.register_forward_hook(lambda _m, _i, out, index=index: seen.update({index: out.shape}))
        network(torch.zeros(1, 3, 256, 256))
    # Before the pool that ends each level: 1024 x 16², which the pool makes 1024 x 8².
    assert tuple(seen[4]) == (1, 1024, 16, 16)
    norms = [one for one in network.modules() if isinstance(one, torch.nn.InstanceNorm2d)]
    assert len(norms) == 9
    assert not any(isinstance(one, torch.nn.InstanceNorm2d) for one in network.down[0])


def test_the_opening_of_logits_is_the_opening_of_the_mask_at_any_threshold() -> None:
    logits = torch.randn((2, 1, 40, 33), generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.avg_pool2d(logits, 3, stride=1, padding=1) * 3
    for threshold in (-0.5, 0.0, 0.7):
        for one, after in zip(logits[:, 0], opened(logits)[:, 0], strict=True):
            mask = np.pad((one > threshold).numpy(), 1, constant_values=True)  # beyond the border: bright
            eroded = ndimage.binary_erosion(mask, np.ones((3, 3)))[1:-1, 1:-1]
            expected = ndimage.binary_dilation(eroded, np.ones((3, 3)))
            assert np.array_equal((after > threshold).numpy(), expected)


def test_specks_go_in_evaluation_alone() -> None:
    torch.manual_seed(0)
    network = build_network("din_unet", 1, pretrained=False, opening=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        raw, cleaned = network.train()(images).logits, network.eval()(images).logits
    assert torch.equal(opened(raw), cleaned)
    assert not torch.equal(raw, cleaned)


def test_plain_unet_joins_each_level_with_its_own_size() -> None:
    with torch.device("meta"):
        assert PlainUNet(3)(torch.zeros(1, 3, 48, 80)).shape == (1, 3, 48, 80)
