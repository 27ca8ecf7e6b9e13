"""The cascade's parts against closed forms, torch's own counters and torchvision."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from baselines.mtcnn import boxes as box_maths
from baselines.mtcnn.cascade import Cascade
from baselines.mtcnn.cost import pointwise_cost, separable_cost, separable_share, standard_cost
from baselines.mtcnn.examples import (
    UNUSED,
    batch_of,
    choose_windows,
    cut_examples,
    kinds_of,
    random_windows,
    record_type,
)
from baselines.mtcnn.losses import (
    NEGATIVE,
    PART,
    POSITIVE,
    Targets,
    box_loss,
    face_loss,
    landmark_loss,
    mined,
    stage_loss,
)
from baselines.mtcnn.networks import STAGE_SIDE_PX, StageOutput, build_stage, convolution, scaled_pixels
from baselines.mtcnn.pictures import FacePicture, cut_windows, five_points, picture_tensor
from baselines.mtcnn.settings import STAGES, CascadeSettings, Convolutions, ExampleSettings, MtcnnSettings
from baselines.mtcnn.train import count_parameters
from dataset_tools.core.labels import Wearing
from dataset_tools.core.record import Face, ImageRef, Split

# The specification's counts, P, R and O.
COUNTS: dict[Convolutions, tuple[int, ...]] = {
    "standard": (6_632, 100_178, 389_040),
    "separable": (1_516, 80_730, 316_592),
}


def parameters(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


@pytest.mark.parametrize("convolutions", ["standard", "separable"])
def test_every_network_has_the_parameters_the_specification_counts(convolutions: Convolutions) -> None:
    with torch.device("meta"):
        found = [build_stage(stage, convolutions, with_landmarks=stage == "o") for stage in STAGES]
    assert tuple(parameters(one) for one in found) == COUNTS[convolutions]


@pytest.mark.parametrize(
    ("convolutions", "total"), [("standard", 495_850), ("separable", 398_838), ("separable_all", 397_248)]
)
def test_the_three_networks_together_have_the_counted_parameters(
    convolutions: Convolutions, total: int
) -> None:
    assert count_parameters(MtcnnSettings(convolutions=convolutions)) == total


def test_separable_convolutions_save_a_fifth_of_the_cascade() -> None:
    saved = 1 - 398_838 / 495_850
    assert saved == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize(
    ("kernel", "inputs", "outputs", "side"), [(3, 10, 16, 5), (2, 48, 64, 4), (3, 1, 1, 3)]
)
def test_cost_formulas_equal_what_torch_counts(kernel: int, inputs: int, outputs: int, side: int) -> None:
    out_hw = (side - kernel + 1, side - kernel + 1)
    for separable, formula in ((False, standard_cost), (True, separable_cost)):
        layer = convolution(inputs, outputs, kernel, separable=separable)
        said = formula(kernel, inputs, outputs, out_hw)
        weights = sum(one.weight.numel() for one in layer.modules() if isinstance(one, nn.Conv2d))
        assert said.weights == weights
        with FlopCounterMode(display=False) as counter:
            layer(torch.zeros(1, inputs, side, side))
        assert 2 * said.multiply_adds == counter.get_total_flops()


def test_the_separable_share_is_the_ratio_of_both_costs() -> None:
    standard, separable = standard_cost(3, 32, 64, (7, 9)), separable_cost(3, 32, 64, (7, 9))
    share = 1 / 64 + 1 / 9
    assert separable_share(3, 64) == pytest.approx(share)
    assert separable.weights / standard.weights == pytest.approx(share)
    assert separable.multiply_adds / standard.multiply_adds == pytest.approx(share)
    assert pointwise_cost(32, 64, (7, 9)).multiply_adds == 32 * 64 * 63


@pytest.mark.parametrize("stage", STAGES)
def test_a_window_gives_two_four_and_ten_numbers(stage: str) -> None:
    network = build_stage(stage, "separable", with_landmarks=True)
    output = network(torch.zeros(2, 3, STAGE_SIDE_PX[stage], STAGE_SIDE_PX[stage]))
    assert [one.flatten(1).shape for one in output] == [(2, 2), (2, 4), (2, 10)]


def test_the_first_network_sees_a_picture_as_it_sees_each_window() -> None:
    torch.manual_seed(0)
    network = build_stage("p", "separable", with_landmarks=False).eval()
    picture = torch.randn(1, 3, 20, 26)
    whole = network(picture).face[0]
    cells = torch.cartesian_prod(torch.arange(whole.shape[1]), torch.arange(whole.shape[2]))
    windows = box_maths.window_grid(cells, (1.0, 1.0))
    assert whole.shape == (2, 5, 8)
    for (row, column), (x0, y0, x1, y1) in zip(cells.tolist(), windows.int().tolist(), strict=True):
        alone = network(picture[..., y0:y1, x0:x1]).face[0, :, 0, 0]
        torch.testing.assert_close(whole[:, row, column], alone, atol=1e-5, rtol=1e-4)


def test_mining_keeps_the_hardest_seventy_percent() -> None:
    losses = torch.arange(10.0)
    assert sorted(mined(losses).tolist()) == [3, 4, 5, 6, 7, 8, 9]
    assert mined(torch.tensor([2.0])).tolist() == [2.0]
    assert mined(torch.empty(0)).numel() == 0


def test_the_face_loss_leaves_parts_and_the_easiest_out() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 3.0], [9.0, 0.0], [0.0, 9.0]])
    kind = torch.tensor([NEGATIVE, POSITIVE, POSITIVE, PART])
    # Of three decided windows two are kept: log(1 + e^9) and log 2.
    expected = (math.log1p(math.exp(9)) + math.log(2)) / 2
    assert face_loss(logits, kind).item() == pytest.approx(expected, rel=1e-6)
    everything = F.cross_entropy(logits[:3], kind[:3]).item()
    assert face_loss(logits, kind, 1.0).item() == pytest.approx(everything, rel=1e-6)


def test_the_box_loss_is_the_squared_distance_on_faces_and_parts() -> None:
    found, truth = torch.zeros(3, 4), torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0], [9, 9, 9, 9]])
    assert box_loss(found, truth, torch.tensor([POSITIVE, PART, NEGATIVE])).item() == pytest.approx(2.5)


def test_the_landmark_loss_looks_only_where_points_are_known() -> None:
    truth = torch.ones(2, 10)
    assert landmark_loss(torch.zeros(2, 10), truth, torch.tensor([True, False])).item() == pytest.approx(10)


@pytest.mark.parametrize(("stage", "points_weigh"), [("r", 0.5), ("o", 1.0)])
def test_tasks_weigh_as_the_specification_says(stage: str, points_weigh: float) -> None:
    output = StageOutput(torch.zeros(2, 2), torch.zeros(2, 4), torch.zeros(2, 10))
    known = torch.tensor([True, True])
    targets = Targets(torch.tensor([POSITIVE, POSITIVE]), torch.ones(2, 4), torch.ones(2, 10), known)
    expected = math.log(2) + 0.5 * 4 + points_weigh * 10
    assert stage_loss(output, targets, stage).item() == pytest.approx(expected, rel=1e-6)


def test_a_batch_without_faces_or_points_has_finite_gradients() -> None:
    network = build_stage("o", "separable", with_landmarks=True)
    nothing = torch.zeros(2, dtype=torch.bool)
    targets = Targets(torch.tensor([PART, PART]), torch.zeros(2, 4), torch.zeros(2, 10), nothing)
    stage_loss(network(torch.randn(2, 3, 48, 48)), targets, "o").backward()
    assert all(one.grad is None or one.grad.isfinite().all() for one in network.parameters())


def test_overlap_decides_what_a_window_shows() -> None:
    face = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    # Moved by d of 10 pixels, two squares overlap by (10 - d) / (10 + d).
    moves = torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 10])
    windows = face + torch.stack((moves, 0 * moves, moves, 0 * moves), dim=1)
    kinds, nearest = kinds_of(windows, face, 1)
    # 1, .82, .67 | .54, .43 | .33 | .25, 0
    assert kinds.tolist() == [POSITIVE] * 3 + [PART] * 2 + [UNUSED] + [NEGATIVE] * 2
    assert nearest.tolist() == [0] * 8


def test_windows_near_a_face_that_is_too_small_teach_nothing() -> None:
    small = torch.tensor([[40.0, 40.0, 50.0, 50.0]])
    windows = torch.tensor([[40.0, 40, 50, 50], [30, 30, 60, 60], [0, 0, 30, 30]])
    assert kinds_of(windows, small, 20)[0].tolist() == [UNUSED, UNUSED, NEGATIVE]


def test_chosen_windows_keep_the_quota() -> None:
    kinds = torch.tensor([POSITIVE] * 20 + [PART] * 20 + [NEGATIVE] * 100 + [UNUSED] * 5)
    settings = ExampleSettings(positives=4, parts=3, negatives_per_positive=3)
    chosen = choose_windows(kinds, torch.zeros(145, dtype=torch.int64), settings, np.random.default_rng(0))
    found = kinds[chosen].tolist()
    assert (found.count(POSITIVE), found.count(PART), found.count(NEGATIVE)) == (4, 3, 12)
    assert len(set(chosen)) == len(chosen)


def test_random_windows_are_squares_inside_the_picture_and_find_every_kind() -> None:
    faces = torch.tensor([[20.0, 10.0, 50.0, 45.0]])
    windows = random_windows(faces, (70, 100), 60, np.random.default_rng(1))
    sides = windows[:, 2:] - windows[:, :2]
    torch.testing.assert_close(sides[:, 0], sides[:, 1], atol=1e-3, rtol=0)
    assert windows.min() >= 0 and windows[:, 2].max() <= 100 and windows[:, 3].max() <= 70
    kinds = kinds_of(windows, faces, 20)[0].tolist()
    assert min(kinds.count(one) for one in (NEGATIVE, PART, POSITIVE)) >= 8


def test_offsets_lead_back_to_the_boxes() -> None:
    rng = torch.Generator().manual_seed(0)
    corner, boxes = 50 * torch.rand(30, 2, generator=rng), 80 * torch.rand(30, 4, generator=rng)
    windows = torch.cat((corner, corner + 5 + 40 * torch.rand(30, 1, generator=rng)), dim=1)
    found = box_maths.boxes_from_offsets(windows, box_maths.offsets_from_boxes(windows, boxes))
    torch.testing.assert_close(found, boxes, atol=1e-4, rtol=1e-5)


def test_overlaps_agree_with_torchvision() -> None:
    rng = torch.Generator().manual_seed(0)
    low = 50 * torch.rand(2, 20, 2, generator=rng)
    ours, others = torch.cat((low, low + 30 * torch.rand(2, 20, 2, generator=rng)), dim=2)
    shared = box_maths.overlaps(ours, others)
    union = box_maths.box_areas(ours)[:, None] + box_maths.box_areas(others)[None] - shared
    torch.testing.assert_close(shared / union, torchvision.ops.box_iou(ours, others))


def test_squares_keep_the_centre_and_the_longer_side() -> None:
    found = box_maths.squared(torch.tensor([[10.0, 10.0, 30.0, 20.0]]))
    assert found.tolist() == [[10.0, 5.0, 30.0, 25.0]]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms_by_the_smaller_box_equals_torchvision_where_all_boxes_have_one_size(threshold: float) -> None:
    rng = torch.Generator().manual_seed(3)
    corner = 40 * torch.rand(80, 2, generator=rng)
    boxes, scores = torch.cat((corner, corner + 16), dim=1), torch.rand(80, generator=rng)
    # A share s of one of two equal boxes is an IoU of s / (2 - s).
    expected = torchvision.ops.nms(boxes, scores, threshold / (2 - threshold))
    assert box_maths.smaller_box_nms(boxes, scores, threshold).tolist() == expected.tolist()
    assert box_maths.nms(boxes, scores, threshold).tolist() == (
        torchvision.ops.nms(boxes, scores, threshold).tolist()
    )


def test_nms_by_the_smaller_box_drops_a_box_inside_another() -> None:
    boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0], [10.0, 10.0, 30.0, 30.0], [200.0, 0.0, 220.0, 20.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert box_maths.nms(boxes, scores, 0.7).tolist() == [0, 1, 2]
    assert box_maths.smaller_box_nms(boxes, scores, 0.7).tolist() == [0, 2]
    assert box_maths.smaller_box_nms(boxes[:0], scores[:0], 0.7).tolist() == []


def test_the_pyramid_ends_where_the_first_network_no_longer_fits() -> None:
    scales = box_maths.pyramid_scales((100, 200), 20, 0.709)
    assert scales[0] == pytest.approx(12 / 20)
    assert all(right / left == pytest.approx(0.709) for left, right in pairwise(scales))
    assert 100 * scales[-1] >= 12 > 100 * scales[-1] * 0.709
    assert box_maths.pyramid_scales((15, 300), 20, 0.709) == []


def test_what_lies_beyond_the_picture_is_grey() -> None:
    picture = torch.full((3, 10, 10), 200.0)
    (window,) = cut_windows(picture, torch.tensor([[-10.0, 0.0, 10.0, 20.0]]), 20)
    assert torch.equal(window[:, :10, 10:], torch.full((3, 10, 10), 200.0))
    assert (window[:, 10:] == 127.5).all() and (window[:, :, :10] == 127.5).all()
    outside = cut_windows(picture, torch.tensor([[50.0, 50.0, 60.0, 60.0]]), 12)
    assert (outside == 127.5).all() and (scaled_pixels(outside) == 0).all()


def test_a_mirrored_window_mirrors_its_box_and_points() -> None:
    records = np.zeros(2, dtype=record_type(4))
    records["box"] = (0.1, 0.2, -0.3, -0.4)
    records["landmarks"] = np.arange(10) / 10
    records["rgb"] = np.arange(4, dtype=np.uint8)
    windows, targets = batch_of(records, np.array([False, True]))
    assert torch.equal(windows[1], windows[0].flip(-1))
    assert targets.box[1].tolist() == pytest.approx([0.3, 0.2, -0.1, -0.4])
    # Left eye (0, .1) and right eye (.2, .3) change places, and x becomes 1 - x; so do the mouth's corners.
    expected = [0.8, 0.3, 1.0, 0.1, 0.6, 0.5, 0.2, 0.9, 0.4, 0.7]
    assert targets.landmarks[1].tolist() == pytest.approx(expected)
    assert targets.landmarks[0].tolist() == pytest.approx((np.arange(10) / 10).tolist())


def test_five_points_come_from_the_landmarks() -> None:
    landmarks = np.zeros((478, 3))
    landmarks[[33, 133]] = [[10, 20, 1], [20, 22, 1]]
    landmarks[[362, 263]] = [[40, 22, 1], [50, 20, 1]]
    landmarks[1], landmarks[61], landmarks[291] = (30, 35, -5), (18, 50, 0), (42, 51, 0)
    face = Face((0, 0, 60, 60), 0.9, Wearing.MASKED, "x@1", tuple(landmarks.ravel().tolist()))
    found = five_points(face)
    assert found is not None
    assert found.tolist() == [[15, 21], [45, 21], [30, 35], [18, 50], [42, 51]]
    assert five_points(Face((0, 0, 60, 60), 0.9, Wearing.MASKED, "x@1")) is None


def test_cut_examples_know_where_face_and_points_lie() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (80, 80, 3)).astype(np.uint8)
    points = np.array([[30, 30], [50, 30], [40, 40], [32, 52], [48, 52]], dtype=np.float32)
    ref = ImageRef("0" * 64, (80, 80), "png")
    picture = FacePicture("s", "g", Split.TRAIN, "", ref, ((20.0, 20.0, 60.0, 60.0),), (points,))
    given = torch.tensor([[20.0, 20.0, 60.0, 60.0], [0.0, 0.0, 12.0, 12.0]])
    records = cut_examples(picture, rgb, 24, ExampleSettings(tries=1), np.random.default_rng(0), given)
    whole = records[(records["kind"] == POSITIVE) & (np.abs(records["box"]).sum(axis=1) == 0)]
    assert len(whole) == 1 and whole["has_landmarks"].all()
    np.testing.assert_allclose(whole["landmarks"].reshape(5, 2) * 40 + 20, points, atol=1e-4)
    expected = cut_windows(picture_tensor(rgb), given[:1], 24)[0].round()
    np.testing.assert_array_equal(whole["rgb"][0], expected.numpy())
    assert not records["has_landmarks"][records["kind"] == NEGATIVE].any()


class Blob(nn.Module):
    """Says "face" where a window is bright in its middle and dark around; for all three networks."""

    def __init__(self, side: int, *, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        edge = round(side * 0.2)
        kernel = torch.zeros(1, 1, side, side)
        kernel[..., edge : side - edge, edge : side - edge] = 1
        self.kernel = kernel / kernel.sum() - (1 - kernel) / (1 - kernel).sum()

    def forward(self, windows: Tensor) -> StageOutput:
        contrast = F.conv2d(windows.mean(dim=1, keepdim=True), self.kernel, stride=2)
        face = torch.cat((0 * contrast, 20 * (contrast - 1.2)), dim=1)  # full contrast is 2
        box = torch.zeros_like(face).repeat(1, 2, 1, 1)
        points = torch.full_like(face, 0.5).repeat(1, 5, 1, 1)
        if self.is_first:
            return StageOutput(face, box, None)
        return StageOutput(face.flatten(1), box.flatten(1), points.flatten(1))


def blob_cascade() -> Cascade:
    networks = {stage: Blob(STAGE_SIDE_PX[stage], is_first=stage == "p") for stage in STAGES}
    return Cascade(networks, CascadeSettings(), torch.device("cpu"))


def test_the_cascade_finds_what_its_networks_call_a_face() -> None:
    rgb = np.zeros((120, 160, 3), dtype=np.uint8)
    planted = torch.tensor([[30.0, 40.0, 70.0, 80.0], [110.0, 20.0, 138.0, 48.0]])
    for x0, y0, x1, y1 in planted.int().tolist():
        edge = round((x1 - x0) * 0.2)
        rgb[y0 + edge : y1 - edge, x0 + edge : x1 - edge] = 255
    found = blob_cascade().detect(rgb)
    iou = torchvision.ops.box_iou(planted, found.boxes)
    assert (iou.max(dim=1).values > 0.6).all()
    assert (iou.max(dim=0).values > 0.3).all()  # nothing is found elsewhere
    assert found.landmarks is not None
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    torch.testing.assert_close(found.landmarks, centres[:, None].expand(-1, 5, 2), atol=1e-3, rtol=0)
    assert (found.scores.diff() <= 0).all() and (found.scores >= 0.7).all()


@pytest.mark.parametrize("size_hw", [(120, 160), (15, 200)])
def test_the_cascade_finds_nothing_in_a_black_or_tiny_picture(size_hw: tuple[int, int]) -> None:
    found = blob_cascade().detect(np.zeros((*size_hw, 3), np.uint8))
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)
    assert found.landmarks is not None and found.landmarks.shape == (0, 5, 2)
