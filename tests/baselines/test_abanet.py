"""ABANet and BASNet: the specification's counts and shapes, the gate by hand, the pretrained start."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet, resnet34
from torchvision.models._api import Weights, WeightsEnum

from baselines.losses import find_loss
from baselines.models._torchvision import torchvision_network
from baselines.models.abanet import abanet
from baselines.models.basnet import basnet
from baselines.networks.attention_gate import AttentionGate
from baselines.networks.decoder_stage import StageMaps
from baselines.networks.predict_refine import PredictRefineNet
from baselines.networks.refinement import RefinementModule
from baselines.registry import build_network
from baselines.segmenter import RANDOM_WEIGHTS, SegOutput
from dataset_tools.core.errors import ConfigError, UnknownName, WeightsUnavailable


def on_meta(name: str, channels: int = 1, **options: object) -> torch.nn.Module:
    with torch.device("meta"):
        return build_network(name, channels, pretrained=False, **options)


def count(network: torch.nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


@pytest.mark.parametrize(
    ("name", "options", "stated"),
    [
        ("abanet", {}, 84_488_401),
        ("abanet", {"shared_head": True}, 84_483_792),
        ("abanet", {"ag_mode": "concat"}, 87_582_737),
        ("abanet", {"refine": False}, 84_488_401 - 482_177),
        ("abanet", {"ag_stages": ()}, 87_060_360),
        ("basnet", {}, 87_060_360),
        ("basnet", {"refine": False}, 86_578_183),
    ],
)
def test_parameter_counts_of_the_specification(name: str, options: dict[str, object], stated: int) -> None:
    assert count(on_meta(name, **options)) == stated


def test_the_refinement_module_has_the_count_of_the_specification() -> None:
    assert count(RefinementModule(1)) == 482_177


@pytest.mark.parametrize("options", [{}, {"ag_mode": "concat"}, {"ag_stages": (5, 6)}, {"shared_head": True}])
def test_every_parameter_takes_part(options: dict[str, object]) -> None:
    """The release holds 3.1 million parameters that never get a gradient; here there is none."""
    network = on_meta("abanet", **options)
    output = network(torch.zeros(1, 3, 64, 64, device="meta"))
    torch.stack([one.square().mean() for one in (output.logits, *output.aux)]).sum().backward()
    dead = [name for name, one in network.named_parameters() if one.grad is None]
    assert dead == []


@pytest.mark.parametrize(
    ("name", "options", "maps"),
    [
        ("abanet", {}, 8),
        ("abanet", {"refine": False}, 7),
        ("abanet", {"ag_stages": (3, 4, 5, 6)}, 8),
        ("abanet", {"ag_stages": (4, 6), "ag_mode": "concat"}, 8),
        ("abanet", {"ag_stages": (4, 6)}, 8),
        ("basnet", {}, 8),
        ("basnet", {"refine": False}, 7),
    ],
)
def test_supervised_outputs_have_the_size_of_the_picture(
    name: str, options: dict[str, object], maps: int
) -> None:
    network = on_meta(name, 3, **options)
    output = network(torch.zeros(2, 3, 70, 96, device="meta"))
    assert isinstance(output, SegOutput)
    shapes = [tuple(one.shape) for one in (output.logits, *output.aux)]
    assert shapes == [(2, 3, 70, 96)] * maps


def test_stages_have_the_sizes_and_channels_of_the_specification() -> None:
    network = on_meta("abanet")
    seen: dict[str, tuple[int, ...]] = {}
    for name in ("bridge", *(f"stages.{index}" for index in range(6)), "stages.3.gate"):
        network.get_submodule(name).register_forward_hook(
            lambda _module, _given, answer, name=name: seen.update(
                {name: tuple((answer if isinstance(answer, torch.Tensor) else answer.last).shape[1:])}
            )
        )
    network(torch.zeros(1, 3, 256, 256, device="meta"))
    assert seen == {
        "bridge": (512, 8, 8),
        "stages.0": (512, 8, 8),
        "stages.1": (512, 16, 16),
        "stages.2": (512, 32, 32),
        "stages.3": (256, 64, 64),
        "stages.3.gate": (256, 64, 64),
        "stages.4": (128, 128, 128),
        "stages.5": (64, 256, 256),
    }


def test_abanet_without_gates_is_basnet() -> None:
    without = on_meta("abanet", ag_stages=[]).state_dict()
    plain = on_meta("basnet").state_dict()
    assert {key: value.shape for key, value in without.items()} == {k: v.shape for k, v in plain.items()}


def test_the_gate_weighs_all_channels_of_a_pixel_alike_and_lies_between_0_and_1() -> None:
    torch.manual_seed(1)
    gate = AttentionGate(5, 3, inner_channels=4).eval()
    skip = torch.rand(2, 3, 8, 6) + 0.5
    weight = gate(torch.randn(2, 5, 4, 3), skip) / skip
    assert torch.allclose(weight, weight[:, :1].expand_as(weight), atol=1e-6)
    assert float(weight.min().detach()) > 0
    assert float(weight.max().detach()) < 1


def test_a_gate_without_evidence_passes_half_of_the_skip() -> None:
    gate = AttentionGate(2, 2, inner_channels=2).eval()
    for parameter in gate.weight[0].parameters():  # sigmoid(0) = 1/2
        torch.nn.init.zeros_(parameter)
    skip = torch.ones(1, 2, 4, 4)
    assert torch.equal(gate(torch.randn(1, 2, 2, 2), skip), torch.full((1, 2, 4, 4), 0.5))


def test_a_refiner_that_says_nothing_leaves_the_map_as_it_is() -> None:
    refiner = RefinementModule(1).eval()
    for parameter in refiner.leave.parameters():
        torch.nn.init.zeros_(parameter)
    coarse = torch.randn(1, 1, 32, 48)
    assert torch.equal(refiner(coarse), coarse)


def test_with_gates_alone_decoder_values_reach_later_stages_only_as_weights() -> None:
    """D-02: a gate's weight is at most 1, so no decoder map can make a stage's input larger than its skip."""
    torch.manual_seed(2)
    stage = build_network("abanet", 1, pretrained=False).eval().get_submodule("stages.3")
    skip = torch.rand(1, 256, 8, 8)
    seen: list[torch.Tensor] = []
    stage.get_submodule("first").register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    for scale in (1.0, 1e6):
        guide = torch.randn(1, 512, 4, 4) * scale
        stage(StageMaps(guide, guide), skip)
    assert all(bool((one <= skip).all()) for one in seen)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ag_stages": [2, 4]}, r"decoder stages \[2\] have no gate"),
        ({"ag_mode": "add"}, "unknown gate mode 'add'"),
        ({"ag_mode": "concat", "shared_head": True}, "share a head only when"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        on_meta("abanet", **options)
    with pytest.raises(UnknownName, match="did you mean refine"):
        on_meta("basnet", refined=True)


def test_the_hybrid_loss_of_eight_outputs_reaches_every_stage_in_training() -> None:
    torch.manual_seed(0)
    network = build_network("abanet", 1, pretrained=False).train()
    classes = torch.zeros(1, 64, 64, dtype=torch.uint8)
    classes[:, 20:50, 10:40] = 1
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2)
    images = torch.randn(1, 3, 64, 64)
    loss = find_loss("abanet")
    before = loss(network(images), classes)
    before.backward()
    assert all(bool(torch.isfinite(one.grad).all()) for one in network.parameters() if one.grad is not None)
    optimiser.step()
    with torch.no_grad():
        assert float(loss(network(images), classes)) < float(before.detach())


# -- the pretrained start -----------------------------------------------------------------------------


def weights_at(url: str) -> WeightsEnum:
    class Drawn_Weights(WeightsEnum):
        V1 = Weights(url=url, transforms=torch.nn.Identity, meta={})

    return Drawn_Weights.V1


def built(start: WeightsEnum | None) -> ResNet:
    network = resnet34()
    if start is not None:
        network.load_state_dict(start.get_state_dict(progress=False, check_hash=True))
    return network


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as torchvision's host serves it, its name ending in the first digits of its hash."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    torch.manual_seed(5)
    torch.save(resnet34().state_dict(), tmp_path / "values.pth")
    digest = hashlib.sha256((tmp_path / "values.pth").read_bytes()).hexdigest()
    return (tmp_path / "values.pth").rename(tmp_path / f"resnet34-{digest[:8]}.pth")


def test_published_values_reach_the_encoder_and_are_noted(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trunk, noted = torchvision_network(built, weights_at(published.as_uri()), pretrained=True)
    network = PredictRefineNet(trunk, 1, weights=noted)
    stored = torch.load(published, weights_only=True)
    for ours, theirs in (("e1", "layer1"), ("e2", "layer2"), ("e3", "layer3"), ("e4", "layer4")):
        for key, value in network.encoder.get_submodule(ours).state_dict().items():
            assert torch.equal(value, stored[f"{theirs}.{key}"])
    assert noted.name == "Drawn_Weights.V1 (torchvision)"
    assert noted.sha256 == hashlib.sha256(published.read_bytes()).hexdigest()
    assert network.initial_weights == noted
    assert capsys.readouterr().out == ""  # standard output is for results


def test_a_file_with_another_hash_is_refused(published: Path) -> None:
    wrong = published.rename(published.with_name("resnet34-00000000.pth"))
    with pytest.raises(WeightsUnavailable, match="cannot be had"):
        torchvision_network(built, weights_at(wrong.as_uri()), pretrained=True)


@pytest.mark.parametrize("build", [abanet, basnet])
def test_a_host_that_cannot_be_reached_says_what_to_do(
    build: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import urllib.error

    def refuse(*_given: object, **_options: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(WeightsUnavailable, match=r"ResNet34_Weights.*--random-init"):
        build(1, pretrained=True)  # type: ignore[operator]


def test_random_values_need_no_file() -> None:
    _, noted = torchvision_network(
        built, weights_at("https://nowhere.invalid/x-00000000.pth"), pretrained=False
    )
    assert noted == RANDOM_WEIGHTS
