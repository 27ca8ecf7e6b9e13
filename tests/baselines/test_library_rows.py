"""Rows of the segmentation library: what tables print of them, their pretrained start, odd sizes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from baselines.models import all_specs, build_network, find_spec
from baselines.registry import Fidelity
from dataset_tools.core.errors import WeightsUnavailable

PRINTED = {
    one.name: one.printed
    for one in all_specs()
    if one.printed and "a perfect prediction scores .906" in one.printed.remark
}


def test_table_2_has_sixteen_library_rows() -> None:
    kinds = Counter(name.split("_")[0] for name in PRINTED)
    assert kinds == {"unet": 3, "unetpp": 3, "manet": 3, "linknet": 3, "dlv3p": 2, "pan": 2}
    assert len({printed.table for printed in PRINTED.values()}) == 16


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_printed_f1_is_the_harmonic_mean_of_precision_and_recall_but_for_pan(name: str) -> None:
    figures = dict(PRINTED[name].values)
    p, r = figures["precision"], figures["recall"]
    follows = abs(figures["f1_of_means"] - 2 * p * r / (p + r)) < 1e-3
    assert follows != (name == "pan_r50")
    assert ("F1 is misprinted" in PRINTED[name].remark) == (name == "pan_r50")


def test_misprints_and_repeated_score_files_are_remarked() -> None:
    remarked = {name for name, printed in PRINTED.items() if ";" in printed.remark.partition("there")[2]}
    assert remarked == {"manet_effb7", "manet_r50", "manet_vgg19", "dlv3p_effb7", "pan_r50", "pan_vgg19"}


def test_pan_on_vgg_says_that_it_is_not_what_the_paper_built() -> None:
    spec = find_spec("pan_vgg19")
    assert spec.fidelity is Fidelity.FROM_TEXT
    assert "stride 32" in spec.title
    assert find_spec("pan_r50").fidelity is Fidelity.CONFIRMED


@pytest.mark.parametrize("name", ["pan_r50", "pan_vgg19", "dpt_vit_s", "pspnet_r50"])
def test_any_size_from_the_least_one_keeps_its_height_and_width(name: str) -> None:
    least = find_spec(name).min_px
    with torch.device("meta"):
        network = build_network(name, 1, pretrained=False).eval()
        for size in ((least, least), (least + 35, least + 2)):
            assert network(torch.zeros(1, 3, *size)).logits.shape == (1, 1, *size)


@pytest.mark.parametrize(
    "name", ["dlv3p_r50", "pan_r50", "pan_vgg19", "dlv3_r50", "upernet_convnext_t", "fpn_r50"]
)
def test_the_least_batch_is_the_least_that_trains(name: str) -> None:
    spec = find_spec(name)
    side = max(spec.min_px, 64)
    with torch.device("meta"):
        network = build_network(name, 1, pretrained=False).train()
        network(torch.zeros(spec.least_batch, 3, side, side))
        if spec.least_batch > 1:
            with pytest.raises(ValueError, match="more than 1 value per channel"):
                network(torch.zeros(1, 3, side, side))


def test_an_encoder_that_reads_tensors_still_builds_without_memory() -> None:
    with torch.device("meta"):
        network = build_network("segformer_mit_b2", 1, pretrained=False)
    assert {one.device.type for one in network.parameters()} == {"meta"}
    assert {one.device.type for one in network.buffers()} <= {"meta"}


@pytest.mark.parametrize("name", ["segformer_mit_b2", "upernet_convnext_t", "dpt_vit_s"])
def test_an_unreachable_hub_is_one_line_that_says_what_to_do(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsUnavailable, match="--random-init") as caught:
        build_network(name, 1, pretrained=True)
    assert "\n" not in str(caught.value)
