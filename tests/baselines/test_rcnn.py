"""The Mask R-CNN family: counts of the specification, objects from class maps, and painting them back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.models import build_network, find_spec
from baselines.models._rcnn import faster_rcnn, mask_rcnn
from baselines.models._timm import timm_encoder
from baselines.networks.rcnn import InstanceSegmenter, instances_of, paint
from baselines.segmenter import SegOutput, TrainsItself, foreground_probabilities
from dataset_tools.core.errors import UnknownName, WeightsUnavailable


def count(network: torch.nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [
        ("sola_maskrcnn", 1, 43_975_515),
        ("sola_maskrcnn", 3, 43_980_897),
        ("maskrcnn_r101", 3, 62_973_025),
        ("maskrcnn_rs101", 3, 66_698_881),
        ("misa", 3, 66_698_881),
        ("dlv3p_rs101", 3, 49_396_083),
        # The classifier adds 1024*128+128 (embedding), 3*8+8 (convolution) and 1024+1.
        ("misa_edge", 3, 66_698_881 + 131_200 + 32 + 1_025),
    ],
)
def test_parameter_counts_are_those_of_the_specification(name: str, channels: int, parameters: int) -> None:
    with torch.device("meta"):
        assert count(build_network(name, channels, pretrained=False)) == parameters


@pytest.mark.parametrize(("body", "parameters"), [("resnest101e", 64_075_390), ("resnet101", 60_349_534)])
def test_faster_rcnn_has_the_specifications_count(body: str, parameters: int) -> None:
    with torch.device("meta"):
        assert count(faster_rcnn(3, pretrained=False, body=body)[0]) == parameters


def test_frozen_batch_norm_leaves_fewer_parameters_to_learn() -> None:
    with torch.device("meta"):
        free = mask_rcnn(1, pretrained=False, body="resnet50")
        frozen = mask_rcnn(1, pretrained=False, body="resnet50", frozen_norm=True)
    assert count(free) - count(frozen) == 53_120


def test_frozen_batch_norm_reaches_every_layer_of_a_split_attention_body() -> None:
    with torch.device("meta"):
        network = mask_rcnn(1, pretrained=False, body="resnest101e", frozen_norm=True)
    norms = {
        type(one).__name__ for one in network.detector.backbone.body.modules() if "Norm" in type(one).__name__
    }
    assert norms and all("Frozen" in name for name in norms)


def test_an_unknown_body_names_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="did you mean resnest101e"):
        mask_rcnn(1, pretrained=False, body="resnest101")


def test_a_published_start_that_cannot_be_fetched_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError("no hub")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(WeightsUnavailable, match="resnest101e"):
        timm_encoder("resnest101e", pretrained=True)


def test_the_printed_figures_are_marked_as_not_adding_up() -> None:
    printed = find_spec("misa").printed
    assert printed is not None and "gains" in printed.remark
    coarse = [printed.value(f"pa_{name}") for name in ("background", "face_mask", "face")]
    assert np.mean([one for one in coarse if one is not None]) == pytest.approx(0.9140, abs=1e-4)


# -- objects and maps ---------------------------------------------------------------------------------


def test_every_connected_part_of_a_class_is_an_object() -> None:
    classes = torch.zeros(20, 30, dtype=torch.uint8)
    classes[2:6, 3:9] = 1
    classes[10:15, 3:9] = 1
    classes[2:15, 12:20] = 2
    classes[19, 29] = 2  # a speck
    found = instances_of(classes)
    assert found["labels"].tolist() == [1, 1, 2]
    assert found["boxes"].tolist() == [[3, 2, 9, 6], [3, 10, 9, 15], [12, 2, 20, 15]]
    assert found["masks"].sum(dim=(1, 2)).tolist() == [24, 30, 104]
    assert torch.equal(found["masks"][2].bool(), (classes == 2) & (found["masks"][2] > 0))


def test_a_picture_without_objects_gives_empty_targets() -> None:
    found = instances_of(torch.zeros(8, 8, dtype=torch.int64))
    assert found["boxes"].shape == (0, 4) and found["masks"].shape == (0, 8, 8)


def test_one_label_takes_the_highest_chance_of_its_objects() -> None:
    masks = torch.tensor([[[0.9, 0.2, 0.0]], [[0.6, 0.7, 0.0]]])
    found = {"labels": torch.tensor([1, 1]), "masks": masks}
    logits = paint(found, 1, (1, 3))
    assert logits.sigmoid().flatten().tolist() == pytest.approx([0.9, 0.7, 0.0], abs=1e-5)


def test_a_mask_lies_over_a_face_and_the_rest_is_background() -> None:
    masks = torch.tensor([[[0.95, 0.95, 0.4, 0.0]], [[0.6, 0.45, 0.3, 0.0]]])
    found = {"labels": torch.tensor([2, 1]), "masks": masks}
    logits = paint(found, 3, (1, 4))
    assert logits.argmax(dim=0).flatten().tolist() == [1, 2, 0, 0]
    chances = foreground_probabilities(logits[None])[0]
    # Every label reaches 0.5 exactly where it is painted, so thresholding agrees with the map.
    assert (chances >= 0.5).int().argmax(dim=0).flatten().tolist()[:2] == [0, 1]
    assert chances[0, 0, 0].item() == pytest.approx(0.6, abs=1e-4)
    assert chances[1, 0, 1].item() == pytest.approx(0.95, abs=1e-4)
    assert torch.allclose(logits.softmax(dim=0).sum(dim=0), torch.ones(1, 4))


def test_painting_random_objects_agrees_with_the_rule_pixel_by_pixel() -> None:
    generator = torch.Generator().manual_seed(4)
    masks = torch.rand(6, 9, 9, generator=generator)
    labels = torch.tensor([1, 2, 3, 1, 2, 3])
    logits = paint({"labels": labels, "masks": masks}, 4, (9, 9))
    for y in range(9):
        for x in range(9):
            claims = sorted(
                {int(label) for label, mask in zip(labels, masks, strict=True) if mask[y, x] >= 0.5}
            )
            assert int(logits[:, y, x].argmax()) == (claims[0] if claims else 0)


def test_nothing_found_is_background_everywhere() -> None:
    nothing = {"labels": torch.zeros(0, dtype=torch.int64), "masks": torch.zeros(0, 5, 6)}
    assert paint(nothing, 3, (5, 6)).argmax(dim=0).sum() == 0
    assert float(paint(nothing, 1, (5, 6)).sigmoid().max()) < 1e-5


# -- the network --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> InstanceSegmenter:
    torch.manual_seed(0)
    network = mask_rcnn(3, pretrained=False, body="resnet50", box_loss="eiou", smallest_anchor_px=16)
    assert isinstance(network, TrainsItself)
    return network


def test_a_step_lowers_the_loss_and_an_empty_picture_is_no_obstacle(small: InstanceSegmenter) -> None:
    classes = torch.zeros(2, 64, 64, dtype=torch.uint8)
    classes[0, 20:40, 10:50], classes[0, 40:60, 10:50] = 2, 1
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.SGD(small.parameters(), lr=1e-3)
    small.train()
    losses = []
    for _ in range(2):
        torch.manual_seed(5)  # the same proposals are sampled
        loss = small.training_loss(images, classes)
        optimiser.zero_grad()
        loss.backward()
        assert all(torch.isfinite(one.grad).all() for one in small.parameters() if one.grad is not None)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]


def test_the_answer_has_the_pictures_own_size_and_shows_its_objects(small: InstanceSegmenter) -> None:
    small.eval()
    small.min_score = 0.2  # an untrained network is not sure of anything
    with torch.inference_mode():
        output = small(torch.randn(2, 3, 50, 70, generator=torch.Generator().manual_seed(1)))
    assert isinstance(output, SegOutput)
    assert output.logits.shape == (2, 3, 50, 70) and torch.isfinite(output.logits).all()
    for one in output.extras["detections"]:
        assert one["masks"].shape[1:] == (50, 70)
        assert (one["scores"] >= 0.2).all()
        assert (one["boxes"][:, 2] <= 70).all() and (one["boxes"][:, 3] <= 50).all()


def test_it_answers_in_eval_mode_only(small: InstanceSegmenter) -> None:
    small.train()
    with pytest.raises(RuntimeError, match="training_loss"):
        small(torch.zeros(2, 3, 64, 64))


@pytest.mark.slow
def test_it_overfits_three_classes_on_two_pictures() -> None:
    torch.manual_seed(0)
    network = mask_rcnn(
        3, pretrained=False, body="resnet50", box_loss="eiou", smallest_anchor_px=16, min_score=0.5
    )
    network.detector.roi_heads.fg_bg_sampler.batch_size_per_image = 32  # for speed
    classes = torch.zeros(2, 64, 64, dtype=torch.int64)
    classes[0, 10:34, 14:50], classes[0, 34:58, 14:50] = 2, 1
    classes[1, 6:30, 8:40], classes[1, 30:50, 8:40] = 2, 1
    images = torch.stack([(classes == k).float() for k in range(3)], dim=1) * 2 - 1
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-4)
    network.train()
    for step in range(90):
        torch.manual_seed(step)
        loss = network.training_loss(images, classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    # The running statistics of a batch norm lag behind so few steps.
    for one in network.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.track_running_stats, one.running_mean, one.running_var = False, None, None
    with torch.inference_mode():
        found = network(images).logits.argmax(dim=1)
    for label in (1, 2):
        inter = ((found == label) & (classes == label)).sum()
        union = ((found == label) | (classes == label)).sum()
        assert float(inter / union) > 0.8
