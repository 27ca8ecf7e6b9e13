"""Boxes: average precision against COCO's own, presence against scikit-learn, and a detector's whole way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.detection import detection_figures
from baselines.detection.boxes import Detections, box_iou, from_row, to_row, true_boxes
from baselines.detection.pictures import fitted, list_pictures, mirrored, read_coco_boxes
from baselines.detection.scores import (
    average_precision,
    coco_average_precision,
    presence,
    roc_area,
    roc_curve,
)
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import ImageStore, encode_png
from dataset_tools.core.record import Split

CLASSES = ("face", "face_mask")


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    low = rng.uniform(0, 80, (count, 2))
    return np.concatenate((low, low + rng.uniform(5, 40, (count, 2))), axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Detections, Detections]]:
    """Sixty pictures: some true boxes missed, some found a little off, some found where nothing is."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(60):
        truth = random_boxes(rng, rng.integers(0, 4))
        names = tuple(rng.choice(CLASSES, len(truth)).tolist())
        kept = rng.random(len(truth)) < 0.8
        off = (truth + rng.normal(0, 2, truth.shape).astype(np.float32))[kept]
        extra = random_boxes(rng, rng.integers(0, 3))
        found = np.concatenate((off, extra))
        found_names = (*np.array(names)[kept].tolist(), *rng.choice(CLASSES, len(extra)).tolist())
        scores = rng.random(len(found)).round(2).astype(np.float32)
        scores[: kept.sum()] = scores[: kept.sum()].clip(0.3)
        made.append((Detections(found, scores, found_names), true_boxes(truth, names)))
    return made


def as_tensors(one: Detections, *, with_scores: bool) -> dict[str, torch.Tensor]:
    tensors = {
        "boxes": torch.from_numpy(one.boxes),
        "labels": torch.tensor([CLASSES.index(name) for name in one.labels], dtype=torch.int64),
    }
    return tensors | ({"scores": torch.from_numpy(one.scores)} if with_scores else {})


def test_coco_average_precision_equals_pycocotools(pairs: list[tuple[Detections, Detections]]) -> None:
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(class_metrics=True, backend="pycocotools")
    metric.update(
        [as_tensors(found, with_scores=True) for found, _ in pairs],
        [as_tensors(truth, with_scores=False) for _, truth in pairs],
    )
    theirs = metric.compute()
    ours = [coco_average_precision(pairs, name) for name in CLASSES]
    assert ours == pytest.approx(theirs["map_per_class"].tolist(), abs=1e-6)
    at_half = [coco_average_precision(pairs, name, (0.5,)) for name in CLASSES]
    assert np.mean(at_half) == pytest.approx(float(theirs["map_50"]), abs=1e-6)


def test_all_point_average_precision_is_what_ever_finer_recall_points_tend_to(
    pairs: list[tuple[Detections, Detections]],
) -> None:
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(
        iou_thresholds=[0.5], rec_thresholds=np.linspace(0, 1, 20_001).tolist(), class_metrics=True
    )
    metric.update(
        [as_tensors(found, with_scores=True) for found, _ in pairs],
        [as_tensors(truth, with_scores=False) for _, truth in pairs],
    )
    ours = [average_precision(pairs, name) for name in CLASSES]
    assert ours == pytest.approx(metric.compute()["map_per_class"].tolist(), abs=2e-4)


def test_average_precision_of_a_hand_worked_case() -> None:
    truth = true_boxes([[0, 0, 10, 10], [20, 20, 30, 30]], ("face", "face"))
    found = Detections(
        np.array([[0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 30, 30], [0, 0, 10, 9]], dtype=np.float32),
        np.array([0.9, 0.8, 0.7, 0.6], dtype=np.float32),
        ("face",) * 4,
    )
    # Hit, miss, hit, second hit of a taken box: precision 1, 1/2, 2/3, 1/2 at recall 1/2, 1/2, 1, 1.
    assert average_precision([(found, truth)], "face") == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert np.isnan(average_precision([(found, truth)], "face_mask"))
    nothing = true_boxes([], ())
    assert average_precision([(nothing, truth)], "face") == 0.0


def test_boxes_overlap_as_torchvision_has_it() -> None:
    from torchvision.ops import box_iou as theirs

    rng = np.random.default_rng(1)
    one, other = random_boxes(rng, 20), random_boxes(rng, 30)
    expected = theirs(torch.from_numpy(one), torch.from_numpy(other)).numpy()
    assert box_iou(one, other) == pytest.approx(expected, abs=1e-5)
    assert box_iou(np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32)).tolist() == [[0.0]]


@pytest.mark.parametrize("label", CLASSES)
def test_presence_is_scored_as_scikit_learn_has_it(
    pairs: list[tuple[Detections, Detections]], label: str
) -> None:
    from sklearn.metrics import roc_auc_score
    from sklearn.metrics import roc_curve as their_curve

    is_there, scores = presence(pairs, label)
    assert roc_area(is_there, scores) == pytest.approx(roc_auc_score(is_there, scores), abs=1e-12)
    false_rate, true_rate, thresholds = their_curve(is_there, scores, drop_intermediate=False)
    ours = roc_curve(is_there, scores)
    assert ours[0] == pytest.approx(false_rate) and ours[1] == pytest.approx(true_rate)
    assert ours[2][1:] == pytest.approx(thresholds[1:])


def test_presence_asks_the_best_box_to_lie_on_the_object() -> None:
    truth = true_boxes([[0, 0, 10, 10]], ("face",))
    on = Detections(np.array([[1, 1, 10, 10]], np.float32), np.array([0.7], np.float32), ("face",))
    off = Detections(np.array([[40, 40, 50, 50]], np.float32), np.array([0.9], np.float32), ("face",))
    nothing = true_boxes([], ())
    is_there, scores = presence([(on, truth), (off, truth), (off, nothing), (nothing, nothing)], "face")
    assert is_there.tolist() == [True, True, False, False]
    assert scores.tolist() == pytest.approx([0.7, 0.0, 0.9, 0.0])


def test_without_pictures_of_both_kinds_there_is_no_curve() -> None:
    assert np.isnan(roc_area(np.array([True, True]), np.array([0.1, 0.9])))


def test_rows_bring_back_what_was_found(pairs: list[tuple[Detections, Detections]]) -> None:
    for found, truth in pairs[:5]:
        again, true_again = from_row(to_row("x", found, truth))
        assert np.array_equal(again.boxes, found.boxes) and again.labels == found.labels
        assert np.array_equal(true_again.boxes, truth.boxes) and true_again.labels == truth.labels


def test_a_perfect_detector_has_perfect_figures(pairs: list[tuple[Detections, Detections]]) -> None:
    figures = detection_figures([to_row(str(n), truth, truth) for n, (_, truth) in enumerate(pairs)])
    assert figures == pytest.approx(dict.fromkeys(figures, 1.0))
    assert {"ap50", "ap_coco_face", "auc_face_mask"} <= set(figures)


# -- pictures -------------------------------------------------------------------------------------------


def test_true_objects_are_the_boxes_of_labelled_masks(make_manifest) -> None:
    manifest = make_manifest([Split.TEST] * 3, unlabelled=[2])
    objects = list_pictures(manifest.samples(), Split.TEST, "objects")
    assert len(objects) == 2
    samples = {one.id: one for one in manifest.samples()}
    for picture in objects:
        assert set(picture.truth.labels) == {"face_mask", "face"}
        boxes = [list(item.mask.box_xyxy) for item in samples[picture.sample_id].instances]
        assert picture.truth.boxes.tolist() == boxes
    wearing = list_pictures(manifest.samples(), Split.TEST, "wearing")
    assert len(wearing) == 3 and {one.truth.labels for one in wearing} == {("masked",)}
    faces = list_pictures(manifest.samples(), Split.TEST, "faces")
    assert {one.truth.labels for one in faces} == {("face",)}


def test_coco_boxes_come_with_their_pictures(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (70, 80, 3)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(rgb))
    held = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [5, 6, 20, 30]},
            {"image_id": 7, "category_id": 2, "bbox": [1, 1, 3, 3]},
        ],
        "categories": [{"id": 1, "name": "with_mask"}, {"id": 2, "name": "dog"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(held))
    store = ImageStore(tmp_path / "store")
    (picture,) = read_coco_boxes(
        tmp_path / "boxes.json", tmp_path, store, {"with_mask": "masked"}, Split.TEST
    )
    assert picture.truth.boxes.tolist() == [[5, 6, 25, 36]] and picture.truth.labels == ("masked",)
    assert np.array_equal(store.read(picture.image), rgb)
    (tmp_path / "boxes.json").write_text("[]")
    with pytest.raises(DataError, match="no COCO boxes"):
        read_coco_boxes(tmp_path / "boxes.json", tmp_path, store, {}, Split.TEST)


def test_the_development_boxes_are_all_read(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "mask_boxes_voc"
    held = json.loads((folder / "instances.json").read_text())
    names = {"with_mask": "masked", "without_mask": "unmasked", "mask_weared_incorrect": "incorrect"}
    root = next(
        one
        for one in (folder, folder / "images", folder / "image")
        if (one / held["images"][0]["file_name"]).is_file()
    )
    pictures = read_coco_boxes(folder / "instances.json", root, ImageStore(tmp_path), names, Split.TEST)
    counts = [sum(one.truth.labels.count(name) for one in pictures) for name in names.values()]
    assert (len(pictures), counts) == (75, [258, 41, 16])


def test_pictures_keep_their_shape_and_boxes_follow() -> None:
    rgb = np.zeros((50, 100, 3), dtype=np.uint8)
    rgb[10:30, 20:60] = 255
    square, scale = fitted(rgb, 64)
    assert square.shape == (64, 64, 3) and scale == 0.64
    box = np.array([[20, 10, 60, 30]], dtype=np.float32) * np.float32(scale)
    for shown, boxes in ((square, box), mirrored(square, box)):
        rows, columns = np.nonzero(shown[..., 0] > 128)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert boxes[0].tolist() == pytest.approx(seen, abs=1)


# -- Faster R-CNN ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_detector_is_trained_scored_and_refused_what_it_has_seen(make_manifest, images, tmp_path) -> None:
    from baselines.detection.checkpoints import score_checkpoint
    from baselines.detection.faster_rcnn import read_detector_record, train_detector
    from baselines.detection.settings import DetectorSettings
    from baselines.tasks import read_card

    manifest = make_manifest([Split.TRAIN] * 3 + [Split.VAL] + [Split.TEST] * 2)
    chosen = DetectorSettings(
        body="resnet50", pretrained=False, steps=2, batch=2, input_px=64, smallest_anchor_px=8, device="cpu"
    )
    record = train_detector(chosen, manifest, images, tmp_path / "model")
    assert record.parameters == 41_357_406 and record.facts.steps == 2
    assert read_detector_record(tmp_path / "model") == record
    assert train_detector(chosen, manifest, images, tmp_path / "model") == record
    card = score_checkpoint(
        tmp_path / "model", manifest, images, Split.TEST, tmp_path / "board", device="cpu"
    )
    assert card.items == 2 and card.metrics["ap50"] is not None
    (written,) = (tmp_path / "board").glob("*.json")
    assert read_card(written) == card
    with pytest.raises(DataError, match="training saw 3"):
        score_checkpoint(tmp_path / "model", manifest, images, Split.TRAIN, tmp_path / "board", device="cpu")


@pytest.mark.slow
def test_a_detector_learns_drawn_faces_by_heart(make_manifest, images, tmp_path) -> None:
    from baselines.detection.faster_rcnn import train_detector
    from baselines.detection.settings import DetectorSettings

    manifest = make_manifest([Split.VAL] * 2)
    chosen = DetectorSettings(
        body="resnet50",
        pretrained=False,
        split=Split.VAL,
        steps=60,
        val_every_steps=20,
        batch=2,
        input_px=64,
        smallest_anchor_px=16,
        learning_rate=3e-4,
        mirror=False,
        device="cpu",
    )
    record = train_detector(chosen, manifest, images, tmp_path / "model")
    assert record.best_val_ap50 is not None and record.best_val_ap50 > 0.6
