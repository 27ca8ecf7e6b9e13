"""The detector that comes with the package: its files, OpenCV beside torch, and what it says of a face."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.ssd.finding import finder
from baselines.ssd.record import DetectorRecord, load_network
from dataset_tools import weights
from dataset_tools.core.anchors import INPUT_SIDE_PX
from dataset_tools.core.errors import DataError, WeightsUnavailable
from dataset_tools.core.labels import Wearing
from dataset_tools.core.record import Face
from dataset_tools.filter.aizoo import DETECTOR_NAME, OUTPUTS
from dataset_tools.filter.calibrate import observe
from dataset_tools.filter.default_detector import NAME, SHIPPED_WEIGHTS, DefaultDetector, read_facts
from dataset_tools.filter.detect import DetectStage
from dataset_tools.filter.faces import FaceFinder, pair_up
from dataset_tools.filter.models import choose_detector, load_detector
from dataset_tools.filter.settings import FilterSettings
from dataset_tools.filter.stage import FilterStage

STATES = (Wearing.MASKED, Wearing.UNMASKED, Wearing.INCORRECT)
ASTRONAUT_XYXY = (180.0, 58.0, 279.0, 173.0)  # by eye, hair line to chin
LANDMARKS = Path(__file__).parents[1] / "synth" / "landmarks.json"


@pytest.fixture(scope="module")
def shipped() -> DefaultDetector:
    return DefaultDetector()


@pytest.fixture(scope="module")
def masked_astronaut(astronaut_rgb: np.ndarray) -> np.ndarray:
    """The astronaut with a rendered surgical mask."""
    from synth.assets import draw_garment
    from synth.dress import dress_photo
    from synth.recipe import Recipe
    from synth.render import Effects

    points = tuple(json.loads(LANDMARKS.read_text())["astronaut"]["landmarks_xyz"])
    face = Face(ASTRONAUT_XYXY, 0.9, Wearing.UNMASKED, "fixture@1", tuple(np.ravel(points).tolist()))
    garment = draw_garment("surgical", "correct", np.random.default_rng(1))
    recipe = Recipe("mesh3d", "skin-edges@1", ((0, garment),), (), Effects(), 1)
    return dress_photo(astronaut_rgb, [face], recipe).image


def test_the_record_belongs_to_the_shipped_weights() -> None:
    record = DetectorRecord.model_validate_json(SHIPPED_WEIGHTS.with_suffix(".json").read_bytes())
    facts = read_facts(SHIPPED_WEIGHTS)
    assert facts.sha256 == hashlib.sha256(SHIPPED_WEIGHTS.read_bytes()).hexdigest() == record.sha256
    assert (facts.name, facts.version, facts.classes) == (NAME, record.version, STATES)
    assert record.sha256.startswith(record.version)
    assert sum(record.licences.values()) == record.photos
    assert SHIPPED_WEIGHTS.stat().st_size <= 4 * 2**20


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "masked"])
def test_it_says_what_the_astronaut_wears(
    bare: bool, shipped: DefaultDetector, astronaut_rgb: np.ndarray, masked_astronaut: np.ndarray
) -> None:
    faces = shipped.detect(astronaut_rgb if bare else masked_astronaut)
    assert [face.wearing for face in faces] == [Wearing.UNMASKED if bare else Wearing.MASKED]
    found, true = np.array(faces[0].box_xyxy), np.array(ASTRONAUT_XYXY)
    shared = np.prod(np.minimum(found, true)[2:] - np.maximum(found, true)[:2])
    areas = [np.prod(one[2:] - one[:2]) for one in (found, true)]
    assert shared / (sum(areas) - shared) > 0.6


def test_opencv_gives_what_torch_gives(shipped: DefaultDetector, astronaut_rgb: np.ndarray) -> None:
    import cv2

    blob = cv2.dnn.blobFromImage(astronaut_rgb, 1 / 255, (INPUT_SIDE_PX, INPUT_SIDE_PX))
    shipped._network.setInput(blob)
    offsets, scores = shipped._network.forward(list(OUTPUTS))
    network = load_network(SHIPPED_WEIGHTS, len(STATES))
    with torch.inference_mode():
        mine, logits = network(torch.from_numpy(blob))
    np.testing.assert_allclose(offsets.reshape(-1, 4), mine[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(scores.reshape(-1, 3), torch.sigmoid(logits[0]).numpy(), atol=1e-3)
    theirs, ours = finder(network, 0.3)(astronaut_rgb), shipped.detect(astronaut_rgb, 0.3)
    assert [face.wearing.value for face in ours] == list(theirs.labels)
    np.testing.assert_allclose([face.box_xyxy for face in ours], theirs.boxes, atol=0.1)


def copied(folder: Path) -> Path:
    for suffix in (".safetensors", ".json"):
        shutil.copy(SHIPPED_WEIGHTS.with_suffix(suffix), folder / f"own{suffix}")
    return folder / "own.safetensors"


def record_of(path: Path, **changes: object) -> None:
    held = json.loads(path.with_suffix(".json").read_text()) | changes
    path.with_suffix(".json").write_text(json.dumps(held))


def test_damage_is_said_in_one_line(tmp_path: Path) -> None:
    def message(*, says: str) -> None:
        with pytest.raises(DataError, match=says) as caught:
            DefaultDetector(own)
        assert "\n" not in str(caught.value)

    own = copied(tmp_path)
    data = own.read_bytes()
    own.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    message(says="is damaged")
    own.write_bytes(data[:1000])
    record_of(own, sha256=hashlib.sha256(data[:1000]).hexdigest())
    message(says="holds no weights")
    own.write_bytes(data)
    record_of(own, sha256=hashlib.sha256(data).hexdigest(), classes=["masked", "unmasked"])
    message(says="layer cls_0_conv is")
    record_of(own, classes=["masked", "purple"])
    message(says="is no record")
    own.with_suffix(".json").write_text("{")
    message(says="is no record")
    own.with_suffix(".json").unlink()
    message(says="cannot be read")


@pytest.fixture
def no_aizoo(monkeypatch: pytest.MonkeyPatch) -> None:
    real = weights.resolve

    def resolve(name: str, **options: object) -> Path:
        if name.startswith("aizoo"):
            raise WeightsUnavailable(f"{name}: not here")
        return real(name, **options)

    monkeypatch.setattr(weights, "resolve", resolve)


def test_without_aizoo_auto_takes_what_comes_with_the_package(no_aizoo: None) -> None:
    settled = choose_detector(FilterSettings(landmarks=False))
    assert settled.detector == "default"
    assert settled.detector_version == read_facts(SHIPPED_WEIGHTS).version
    assert choose_detector(settled) == settled
    assert load_detector(settled).name == f"{NAME}@{settled.detector_version}"
    with pytest.raises(WeightsUnavailable):
        choose_detector(FilterSettings(landmarks=False, detector="aizoo"))


def test_the_version_of_the_weights_is_part_of_the_key_of_detection_alone(tmp_path: Path) -> None:
    settled = choose_detector(FilterSettings(detector="default", landmarks=False))
    config = DetectStage(settled, 7).config
    assert config["detector_version"] == settled.detector_version
    assert "detector_version" not in FilterStage(settled, 7).config
    assert "detector_version" not in FilterSettings(detector="aizoo").detection_config()
    moved = FilterSettings(detector="default", landmarks=False, detector_weights=copied(tmp_path))
    assert DetectStage(choose_detector(moved), 7).config == config
    with pytest.raises(DataError, match="not 0123456789ab as asked for"):
        choose_detector(settled.model_copy(update={"detector_version": "0123456789ab"}))


def test_faces_record_who_found_them_and_are_detections(
    shipped: DefaultDetector, astronaut_rgb: np.ndarray
) -> None:
    (candidate,) = FaceFinder(shipped, None).candidates(astronaut_rgb)
    assert candidate.face.detector == shipped.name
    assert shipped.name.startswith(f"{NAME}@")
    unsure = (candidate.face.box_xyxy, 0.4, Wearing.MASKED)
    faces = [Face(*unsure, name) for name in (shipped.name, DETECTOR_NAME, "mediapipe-tasks@1")]
    assert pair_up(faces, 0.5) == [(2, None)]  # a landmarker states no score of its own


def test_calibration_takes_a_mask_worn_wrongly_for_neither(shipped: DefaultDetector) -> None:
    from dataset_tools.filter.aizoo import DetectedFace

    seen = observe([DetectedFace((0, 0, 9, 9), 0.9, Wearing.INCORRECT)], Wearing.MASKED)
    assert (seen.masked_score, seen.unmasked_score) == (0.0, 0.0)


def test_a_face_that_the_landmarker_does_not_see_must_be_surer(
    shipped: DefaultDetector, astronaut_rgb: np.ndarray
) -> None:
    class Blind:
        name = "blind@1"

        def find(self, image_rgb: np.ndarray) -> list[np.ndarray]:
            return []

    plain, doubted = (
        max(
            one.face.score
            for one in FaceFinder(shipped, Blind(), unconfirmed=factor).candidates(astronaut_rgb)
        )
        for factor in (1.0, 0.65)
    )
    assert doubted == pytest.approx(0.65 * plain, abs=1e-4)


def test_a_box_too_small_for_a_closer_look_is_not_confirmed_either(
    shipped: DefaultDetector, astronaut_rgb: np.ndarray
) -> None:
    class Blind:
        name = "blind@1"

        def find(self, image_rgb: np.ndarray) -> list[np.ndarray]:
            return []

    def scores(factor: float) -> list[float]:
        finder = FaceFinder(shipped, Blind(), landmark_px=10_000, unconfirmed=factor)
        return [one.face.score for one in finder.candidates(astronaut_rgb)]

    assert scores(0.65) == pytest.approx([0.65 * one for one in scores(1.0)], abs=1e-4)
