"""One contract for every registered baseline; exact parameter counts; a pretrained start without a hub."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import RoIHeads

from baselines.checkpoint import read_tensors, write_tensors
from baselines.losses import find_loss
from baselines.models import all_specs, build_network, find_spec
from baselines.models._lite0 import load_ordered_encoder
from baselines.registry import BaselineSpec, Fidelity, find_method, register_baseline
from baselines.segmenter import (
    SegOutput,
    TrainsItself,
    foreground_probabilities,
    initial_weights,
    normalise_images,
)
from dataset_tools.core.errors import ConfigError, DataError, UnknownName, WeightsUnavailable

NAMES = [spec.name for spec in all_specs()]
TRAINED = [spec.name for spec in all_specs() if spec.is_trained]
METHODS = [spec.name for spec in all_specs() if not spec.is_trained]
# Detectors make boxes, whose number depends on the values: nothing to compute without values.
DETECTORS = [spec.name for spec in all_specs() if spec.is_trained and not spec.recipe.loss]
SMALL = ("unet_effnet_lite0", "msml_osb_r18", "din_unet", "dlv3p_se18")


def classes_of(name: str) -> int:
    labels = find_spec(name).least_labels
    return 1 if labels == 1 else 1 + labels


def px(name: str) -> int:
    return max(64, find_spec(name).min_px)


def drawn_batch(side: int, count: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised pictures with a bright square each, and its class map."""
    source = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 120, (count, 3, side, side), dtype=torch.uint8, generator=source)
    classes = torch.zeros(count, side, side, dtype=torch.uint8)
    for index in range(count):
        top, left = (int(one) for one in torch.randint(0, side // 4, (2,), generator=source))
        part = slice(top, top + side // 2), slice(left, left + side // 2)
        pictures[index, :, part[0], part[1]] += 120
        classes[index, part[0], part[1]] = 1
    return normalise_images(pictures), classes


def loss_of(
    name: str, network: torch.nn.Module, pictures: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    loss = find_spec(name).recipe.loss
    if loss:
        return find_loss(loss)(network(pictures), classes)
    assert isinstance(network, TrainsItself)
    return network.training_loss(pictures, classes)


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in DETECTORS])
def test_every_baseline_keeps_size_and_channels(name: str) -> None:
    with torch.device("meta"):
        network = build_network(name, 3, pretrained=False).eval()
        side = max(150, find_spec(name).min_px + 14)
        output = network(torch.zeros(2, 3, side, side - 14))
    assert isinstance(output, SegOutput)
    assert output.logits.shape == (2, 3, side, side - 14)


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_keep_size_and_channels_too(name: str) -> None:
    labels = find_spec(name).labels
    channels = 1 if len(labels) == 1 else 1 + len(labels)
    network = build_network(name, channels, pretrained=False).eval()
    with torch.inference_mode():
        output = network(torch.zeros(1, 3, 70, 96))
    assert output.logits.shape == (1, channels, 70, 96)


@pytest.mark.parametrize(
    ("name", "stated"), [(one.name, one.parameters) for one in all_specs() if one.parameters]
)
def test_parameter_counts_are_those_of_the_specification(name: str, stated: int) -> None:
    with torch.device("meta"):
        network = build_network(name, 1, pretrained=False)
    assert sum(one.numel() for one in network.parameters()) == stated


def step_lowers_the_loss(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, classes_of(name), pretrained=False).train()
    pictures, classes = drawn_batch(px(name))
    rates = torch.optim.SGD(network.parameters(), lr=1e-4)
    torch.manual_seed(1)
    before = loss_of(name, network, pictures, classes)
    before.backward()
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    assert gradients and all(torch.isfinite(one).all() for one in gradients)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    rates.step()
    torch.manual_seed(1)  # the same dropout and proposals, so that only the step makes the difference
    after = loss_of(name, network, pictures, classes)
    assert float(after.detach()) < float(before.detach())


@pytest.mark.parametrize("name", SMALL)
def test_a_step_lowers_the_loss_with_finite_gradients(name: str) -> None:
    step_lowers_the_loss(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINED if name not in SMALL])
def test_a_step_of_a_large_network_lowers_the_loss_too(name: str) -> None:
    step_lowers_the_loss(name)


@pytest.mark.parametrize("name", SMALL)
def test_saved_values_give_the_same_answers(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(name, classes_of(name), pretrained=False).eval()
    write_tensors(tmp_path / "w.safetensors", network.state_dict())
    torch.manual_seed(1)
    other = build_network(name, classes_of(name), pretrained=False).eval()
    other.load_state_dict(read_tensors(tmp_path / "w.safetensors"))
    pictures, _ = drawn_batch(px(name), count=1)
    with torch.inference_mode():
        assert torch.equal(network(pictures).logits, other(pictures).logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINED if name not in SMALL])
def test_saved_values_of_a_large_network_give_the_same_answers(name: str, tmp_path: Path) -> None:
    test_saved_values_give_the_same_answers(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINED if not find_spec(name).uncompiled])
def test_what_may_be_compiled_is_traced_without_a_break(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, classes_of(name), pretrained=False).eval()
    pictures, _ = drawn_batch(px(name), count=1)
    torch.compiler.reset()
    with torch.inference_mode():
        expected = network(pictures).logits
        traced = torch.compile(network, backend="eager", fullgraph=True)(pictures).logits
    assert torch.allclose(expected, traced, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(7200)  # detectors take four seconds a step on one core
@pytest.mark.parametrize("name", TRAINED)
def test_eight_pictures_are_learned_by_heart(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, classes_of(name), pretrained=False).train()
    for part in network.modules():
        if isinstance(part, RoIHeads):  # 512 proposals of each picture take ten seconds a step on one core
            part.fg_bg_sampler.batch_size_per_image = 16
    side = max(px(name), 128 if name in DETECTORS else 64)
    pictures, classes = drawn_batch(side, count=8)
    # RefineNet's cascades have no normalisation: at ten times this rate all its units are dead.
    slow = {"refinenet_r101": 1e-4, "refinenet_rs101": 1e-4, **dict.fromkeys(DETECTORS, 2e-4)}
    learner = torch.optim.Adam(network.parameters(), lr=slow.get(name, 1e-3))
    # The last tenths of a pixel of a box are found at lower rates only.
    rates = torch.optim.lr_scheduler.ReduceLROnPlateau(learner, "max", factor=0.3, patience=1)
    reached = 0.0
    for step in range(300):
        learner.zero_grad()
        loss_of(name, network, pictures, classes).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        learner.step()
        if step % 20 == 19:
            reached = iou_of(network, pictures, classes)
            if reached > 0.95:
                return
            if name in DETECTORS:
                rates.step(reached)
    raise AssertionError(f"{name} reached IoU {reached:.3f} in 300 steps")


def iou_of(network: torch.nn.Module, pictures: torch.Tensor, classes: torch.Tensor) -> float:
    # With batch statistics: running ones of a few steps at this rate say little.
    is_detector = isinstance(network, TrainsItself)
    network.train(not is_detector)
    with torch.no_grad():
        logits = network(pictures).logits
        found = logits[:, 0] >= 0 if logits.shape[1] == 1 else logits.argmax(dim=1) == 1
    network.train()
    truth = classes == 1
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers_with_a_map_of_shares_and_always_the_same(name: str) -> None:
    method, fit = find_method(name)
    rng = np.random.default_rng(0)
    square = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    square[50:90, 20:76] = (90, 150, 220)
    truth = np.zeros((96, 96), dtype=bool)
    truth[50:90, 20:76] = True
    fitted = fit([(square, truth)] * 2) if fit is not None else {}
    assert all(one.dtype == np.float32 for one in fitted.values())
    answer = method(square, fitted)
    assert answer.shape == (96, 96) and answer.dtype == np.float32
    assert answer.min() >= 0 and answer.max() <= 1
    assert np.array_equal(answer, method(square, fitted))


def test_a_method_is_no_network_and_a_network_no_method() -> None:
    with pytest.raises(ConfigError, match="a method without a network"):
        build_network("floor_otsu", 1, pretrained=False)
    with pytest.raises(ConfigError, match="not a fixed method"):
        find_method("unet_r50")


def test_an_option_that_no_builder_knows_is_named() -> None:
    with pytest.raises(UnknownName, match="unknown option of abanet 'refined'"):
        build_network("abanet", 1, pretrained=False, refined=True)


@pytest.mark.parametrize("name", NAMES)
def test_specs_say_what_a_table_needs(name: str) -> None:
    spec = find_spec(name)
    assert spec.title and spec.paper and spec.paper_url.startswith("https://")
    assert spec.code_licence and spec.weights_licence
    if spec.recipe.loss:
        find_loss(spec.recipe.loss)
    if spec.printed is not None:
        shares = [
            value for metric, value in spec.printed.values if not metric.startswith(("fps", "ms", "hd95"))
        ]
        assert all(0 <= value < 1 for value in shares)


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
