"""One contract for every registered baseline; exact parameter counts; a pretrained start without a hub."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.losses import find_loss
from baselines.models import all_specs, build_network, find_spec
from baselines.models.unet_effnet_lite0 import load_ordered_encoder
from baselines.registry import BaselineSpec, Fidelity, register_baseline
from baselines.segmenter import SegOutput, foreground_probabilities, initial_weights, normalise_images
from dataset_tools.core.errors import DataError, UnknownName, WeightsUnavailable

NAMES = [spec.name for spec in all_specs()]
HEAVY = {"unet_effb7", "unet_vgg19", "unet_r50"}  # their forward pass is checked on shapes alone


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_keeps_size_and_channels(name: str) -> None:
    with torch.device("meta"):
        network = build_network(name, 3, pretrained=False).eval()
        output = network(torch.zeros(2, 3, 70, 96))
    assert isinstance(output, SegOutput)
    assert output.logits.shape == (2, 3, 70, 96)
    assert all(aux.shape == output.logits.shape for aux in output.aux)


@pytest.mark.parametrize(
    ("name", "stated"), [(one.name, one.parameters) for one in all_specs() if one.parameters]
)
def test_parameter_counts_are_those_of_the_specification(name: str, stated: int) -> None:
    with torch.device("meta"):
        network = build_network(name, 1, pretrained=False)
    assert sum(one.numel() for one in network.parameters()) == stated


@pytest.mark.parametrize("name", [name for name in NAMES if name not in HEAVY])
def test_a_step_lowers_the_loss_with_finite_gradients(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 1, pretrained=False).train()
    pictures = normalise_images(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    classes = torch.zeros(2, 64, 64, dtype=torch.uint8)
    classes[:, 20:50, 10:40] = 1
    loss = find_loss("bce")
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2)
    before = loss(network(pictures), classes)
    before.backward()
    assert all(torch.isfinite(one.grad).all() for one in network.parameters() if one.grad is not None)
    optimiser.step()
    after = loss(network(pictures), classes)
    assert float(after.detach()) < float(before.detach())


@pytest.mark.parametrize("name", NAMES)
def test_specs_say_what_a_table_needs(name: str) -> None:
    spec = find_spec(name)
    assert spec.title and spec.paper and spec.paper_url.startswith("https://")
    assert spec.code_licence and spec.weights_licence
    find_loss(spec.recipe.loss)
    if spec.printed is not None:
        assert all(0 < value < 1 for _, value in spec.printed.values)


def test_printed_figures_are_those_of_abanet_table_2() -> None:
    printed = find_spec("unet_r50").printed
    assert printed is not None
    assert printed.value("iou") == 0.89188
    assert printed.value("f1_of_means") == 0.94299
    assert printed.value("mae") is None
    assert "table 2" in printed.table


def test_a_second_baseline_of_the_same_name_is_an_error_at_import() -> None:
    spec = find_spec("unet_r50")
    with pytest.raises(ValueError, match="registered twice"):
        register_baseline(spec)(build_network)  # type: ignore[arg-type]
    assert find_spec("unet_r50") is spec


def test_an_unknown_baseline_names_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="did you mean unet_vgg19"):
        find_spec("unet_vgg")


def test_listing_baselines_loads_no_model_library() -> None:
    heavy = ("torch", "cv2", "pandas", "timm", "pyarrow", "numpy", "pydantic")
    code = f"import baselines.cli, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_spec_is_a_frozen_value() -> None:
    spec = BaselineSpec("x", "X", "p", "https://x", Fidelity.STAND_IN, "MIT", "none")
    with pytest.raises(AttributeError):
        spec.name = "y"  # type: ignore[misc]


@pytest.mark.parametrize("channels", [1, 3])
def test_probabilities_lie_in_bounds_and_leave_background_out(channels: int) -> None:
    logits = torch.randn(2, channels, 4, 4) * 10
    chances = foreground_probabilities(logits)
    assert chances.shape[1] == max(channels - 1, 1)
    assert float(chances.min()) >= 0 and float(chances.sum(dim=1).max()) <= 1 + 1e-6


def test_images_are_divided_by_255_not_by_their_own_peak() -> None:
    dark = torch.full((1, 3, 1, 1), 51, dtype=torch.uint8)
    expected = (torch.tensor([0.2, 0.2, 0.2]) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    assert torch.allclose(normalise_images(dark).flatten(), expected)


# -- the pretrained start -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0_tensors() -> OrderedDict[str, torch.Tensor]:
    """A full classifier's values in timm's order under foreign names, as the PyPI package stores them."""
    import timm

    torch.manual_seed(3)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    return OrderedDict(
        (f"_foreign_{index}", tensor) for index, tensor in enumerate(network.state_dict().values())
    )


def lite0_encoder() -> torch.nn.Module:
    network = build_network("unet_effnet_lite0", 1, pretrained=False)
    return network.get_submodule("network.encoder.model")


def test_ordered_weights_reach_the_encoder(
    lite0_tensors: OrderedDict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(lite0_tensors, tmp_path / "w.pth")
    encoder = lite0_encoder()
    load_ordered_encoder(encoder, tmp_path / "w.pth")
    loaded = list(encoder.state_dict().values())
    assert len(loaded) == 288
    for tensor, given in zip(loaded, lite0_tensors.values(), strict=False):
        assert torch.equal(tensor, given)


def test_weights_of_another_network_are_refused(
    lite0_tensors: OrderedDict[str, torch.Tensor], tmp_path: Path
) -> None:
    swapped = OrderedDict(lite0_tensors)
    swapped["_foreign_0"] = torch.zeros(32, 3, 5, 5)
    torch.save(swapped, tmp_path / "swapped.pth")
    with pytest.raises(DataError, match=r"_foreign_0 does not have the shape of conv_stem.weight"):
        load_ordered_encoder(lite0_encoder(), tmp_path / "swapped.pth")
    torch.save(OrderedDict(list(lite0_tensors.items())[:-1]), tmp_path / "short.pth")
    with pytest.raises(DataError, match="295 tensors"):
        load_ordered_encoder(lite0_encoder(), tmp_path / "short.pth")


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (Path.touch, (canary,))

    torch.save({"weight": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(DataError, match="not a plain state dict"):
        load_ordered_encoder(lite0_encoder(), tmp_path / "evil.pth")
    assert not canary.exists()


def test_the_real_imagenet_weights_know_a_cat() -> None:
    import skimage
    import timm
    from PIL import Image

    from dataset_tools import weights

    if not any(one.name == "efficientnet_lite0" and one.path for one in weights.status()):
        pytest.skip("efficientnet_lite0 is not in this machine's cache")
    network = build_network("unet_effnet_lite0", 1, pretrained=True)
    assert initial_weights(network).sha256 == weights.weight_file("efficientnet_lite0").sha256
    classifier = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    random_values = classifier.state_dict()
    stored = torch.load(weights.resolve("efficientnet_lite0"), weights_only=True)
    classifier.load_state_dict(dict(zip(random_values, stored.values(), strict=True)))
    with Image.open(Path(skimage.__file__).parent / "data" / "chelsea.png") as opened:
        cat = torch.tensor(np.asarray(opened.convert("RGB").resize((224, 224))))
    with torch.inference_mode():
        answer = classifier(normalise_images(cat.permute(2, 0, 1)[None])).softmax(dim=1)
    assert int(answer.argmax()) in {281, 282, 285}  # ImageNet's tabby, tiger cat, Egyptian cat


def test_a_hub_that_cannot_be_reached_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsUnavailable, match="--random-init"):
        build_network("unet_r50", 1, pretrained=True)
