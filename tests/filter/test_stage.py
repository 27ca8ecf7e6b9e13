from __future__ import annotations

import dataclasses
import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.core.face_prints import FACE_PHASH
from dataset_tools.core.images import decode_photo, encode_png, perceptual_hash
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest, ShardCounts, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Provenance, Rejection, Sample, sample_id
from dataset_tools.core.stage import Stage, StageReport, run_stage, shards_of_manifest
from dataset_tools.core.workspace import Workspace, stage_key
from dataset_tools.filter import detect
from dataset_tools.filter.detect import DetectStage
from dataset_tools.filter.models import choose_detector
from dataset_tools.filter.settings import FilterSettings
from dataset_tools.filter.stage import FilterStage


def put(workspace: Workspace, key: str, data: bytes, **more: object) -> Sample:
    photo = decode_photo(data)
    ref = workspace.images.put_photo(photo)
    provenance = Provenance(source="test", item_key=key, licence="CC0-1.0")
    sample = Sample(sample_id(ref), ref, provenance, f"group-{key}", perceptual_hash(photo.rgb))
    return dataclasses.replace(sample, **more)  # type: ignore[arg-type]


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def filtered(
    workspace: Workspace, samples: list[Sample], settings: FilterSettings
) -> tuple[dict[str, Sample], dict[str, Rejection], StageReport]:
    """Detect and filter; rejections of both."""
    parent_dir = workspace.manifest_dir("crawl", "0" * 12)
    keys = [sample.provenance.item_key for sample in samples]
    write_shard(parent_dir, 0, keys, samples, [])
    counts = dataclasses.asdict(ShardCounts(inputs=len(samples), kept=len(samples)))
    crawled = write_header(parent_dir, {"key": "crawl", "stage": "crawl", "shards": 1, "counts": counts})
    detected, _ = done(workspace, DetectStage(settings, 7), crawled)
    manifest, report = done(workspace, FilterStage(settings, 7), detected)
    kept = {sample.provenance.item_key: sample for sample in manifest.samples()}
    dropped = [*detected.rejections(), *manifest.rejections()]
    return kept, {item.item_key: item for item in dropped}, report


def done(workspace: Workspace, stage: Stage, parent: Manifest) -> tuple[Manifest, StageReport]:
    stage = pickle.loads(pickle.dumps(stage))
    key = stage_key(stage.name, stage.version, stage.config, parent.key)
    directory = workspace.manifest_dir(stage.name, key)
    report = run_stage(
        stage,
        shards_of_manifest(parent),
        directory,
        key=key,
        parent_key=parent.key,
        images=workspace.images,
        parent=parent,
    )
    return Manifest(directory), report


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def small(settled: FilterSettings) -> FilterSettings:
    """The astronaut's face is 90 pixels wide."""
    return settled.model_copy(update={"min_face_px": 60})


@pytest.fixture
def careful(small: FilterSettings) -> FilterSettings:
    """Faces by the landmarker alone: both face-mask detectors take scikit-image's cup for a masked face."""
    return choose_detector(small.model_copy(update={"detector": "mediapipe"}))


def test_a_face_stays_and_its_copies_and_a_coffee_go(
    workspace: Workspace, careful: FilterSettings, astronaut_path: Path, astronaut_rgb: np.ndarray
) -> None:
    from skimage import data

    resized = Image.fromarray(astronaut_rgb).resize((400, 400), Image.Resampling.BICUBIC)
    samples = [
        put(workspace, "a.png", astronaut_path.read_bytes()),
        put(workspace, "b.png", astronaut_path.read_bytes()),
        put(workspace, "c.jpg", jpeg(resized)),
        put(workspace, "d.png", encode_png(data.coffee())),
    ]
    kept, dropped, report = filtered(workspace, samples, careful)
    assert {key: item.reason for key, item in dropped.items()} == {
        "b.png": Reason.DUPLICATE,
        "c.jpg": Reason.NEAR_DUPLICATE,
        "d.png": Reason.NO_FACE,
    }
    assert "a.png" in dropped["b.png"].detail
    assert (report.counts.inputs, report.counts.kept, report.counts.rejected) == (4, 1, 3)
    sample = kept["a.png"]
    assert len(sample.faces) == 1
    assert len(sample.faces[0].landmarks_xyz) == 478 * 3
    assert sample.group == "group-a.png"
    scores = {score.name: score.value for score in sample.scores}
    assert set(scores) == {"face", "face_size", "sharpness", "exposure", "inside", "frontal"}
    assert scores["inside"] == 1.0
    assert all(0.0 <= value <= 1.0 for value in scores.values())


def test_small_and_blurred_faces_go(
    workspace: Workspace, settled: FilterSettings, astronaut_path: Path, astronaut_rgb: np.ndarray
) -> None:
    sharp = put(workspace, "a.png", astronaut_path.read_bytes())
    _, dropped, _ = filtered(workspace, [sharp], settled.model_copy(update={"min_face_px": 150}))
    assert dropped["a.png"].reason is Reason.FACE_TOO_SMALL
    blurred = Image.fromarray(astronaut_rgb).filter(ImageFilter.GaussianBlur(2.5))
    sample = put(workspace, "b.png", encode_png(np.asarray(blurred)))
    strict = settled.model_copy(update={"min_face_px": 60, "min_sharpness": 0.3})
    _, dropped, _ = filtered(Workspace(workspace.root / "other"), [sample], strict)
    assert dropped["b.png"].reason is Reason.MISSING_IMAGE  # that workspace does not hold the picture
    other = Workspace(workspace.root / "third")
    sample = put(other, "b.png", encode_png(np.asarray(blurred)))
    _, dropped, _ = filtered(other, [sample], strict)
    assert dropped["b.png"].reason is Reason.BLURRED


def test_ground_truth_is_kept_without_a_face_and_its_instances_untouched(
    workspace: Workspace, careful: FilterSettings
) -> None:
    from skimage import data

    coffee = data.coffee()
    mask = np.zeros(coffee.shape[:2], bool)
    mask[10:20, 30:50] = True
    truth = Instance("1", Label.FACE_MASK, mask_to_rle(mask), "published:test")
    sample = put(workspace, "a.png", encode_png(coffee), instances=(truth,), is_labelled=True)
    kept, dropped, _ = filtered(workspace, [sample], careful)
    assert dropped == {}
    assert kept["a.png"].instances == (truth,)
    assert {score.name: score.value for score in kept["a.png"].scores} == {"face": 0.0}


def test_near_duplicates_that_both_stay_share_a_group(
    workspace: Workspace, settled: FilterSettings, astronaut_path: Path, astronaut_rgb: np.ndarray
) -> None:
    resized = jpeg(Image.fromarray(astronaut_rgb).resize((400, 400), Image.Resampling.BICUBIC))
    samples = [
        put(workspace, "a.png", astronaut_path.read_bytes(), is_labelled=True),
        put(workspace, "b.jpg", resized, is_labelled=True),
    ]
    kept, _, _ = filtered(workspace, samples, settled)
    assert {sample.group for sample in kept.values()} == {"group-a.png"}


def test_cuts_of_one_shot_share_a_group_by_the_face(
    workspace: Workspace, small: FilterSettings, astronaut_rgb: np.ndarray, hopper_path: Path
) -> None:
    cut = np.ascontiguousarray(astronaut_rgb[:300, 100:350])
    samples = [
        put(workspace, "a.png", encode_png(astronaut_rgb)),
        put(workspace, "b.png", encode_png(cut)),
        put(workspace, "c.png", encode_png(np.ascontiguousarray(cut[:, ::-1]))),
        put(workspace, "hopper.jpg", hopper_path.read_bytes()),
    ]
    wide = small.model_copy(update={"face_distance": 8})
    kept, dropped, _ = filtered(workspace, samples, wide)
    groups = {key: one.group for key, one in kept.items()}
    together = dict.fromkeys(("a.png", "b.png", "c.png"), "group-a.png")
    assert (groups, dropped) == ({**together, "hopper.jpg": "group-hopper.jpg"}, {})
    assert all(FACE_PHASH in dict(one.provenance.evidence) for one in kept.values())
    alone, _, _ = filtered(workspace, samples, small.model_copy(update={"face_distance": None}))
    assert {one.group for one in alone.values()} == {f"group-{key}" for key in kept}


def test_a_threshold_is_changed_without_a_detector(
    workspace: Workspace, small: FilterSettings, astronaut_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [put(workspace, "a.png", astronaut_path.read_bytes())]
    kept, _, _ = filtered(workspace, samples, small)
    monkeypatch.setattr(detect, "load_finder", None)  # whoever loads a model now fails
    strict = {
        Reason.FACE_TOO_SMALL: {"min_face_px": 150},
        Reason.BLURRED: {"min_sharpness": 0.99},
        Reason.EXPOSURE: {"min_exposure": 1.0},
        Reason.POSE: {"min_frontal": 0.999},
    }
    for reason, change in strict.items():
        _, dropped, report = filtered(workspace, samples, small.model_copy(update=change))
        assert dropped["a.png"].reason is reason
        assert report.counts.rejected == 1
    again, _, _ = filtered(workspace, samples, small.model_copy(update={"min_frontal": 0.1}))
    assert again == kept


def test_a_cut_face_is_told_and_a_gate_can_drop_it(
    workspace: Workspace, small: FilterSettings, astronaut_rgb: np.ndarray
) -> None:
    cut = encode_png(np.ascontiguousarray(astronaut_rgb[:, 215:]))  # through the middle of the face
    sample = put(workspace, "a.png", cut)
    kept, dropped, _ = filtered(workspace, [sample], small.model_copy(update={"min_face_px": 20}))
    if not kept:
        pytest.skip(f"this machine's detector sees no half face: {dropped['a.png'].detail}")
    scores = {score.name: score.value for score in kept["a.png"].scores}
    assert 0.2 < scores["inside"] < 0.9
    gate = small.model_copy(update={"min_face_px": 20, "min_inside": 0.95})
    _, dropped, _ = filtered(workspace, [sample], gate)
    assert dropped["a.png"].reason is Reason.FACE_TRUNCATED


def test_exact_copies_are_looked_at_once_and_the_same_one_stays(
    workspace: Workspace, small: FilterSettings, astronaut_path: Path
) -> None:
    data = astronaut_path.read_bytes()
    samples = [put(workspace, "a.png", data), put(workspace, "b.png", data, is_labelled=True)]
    assert DetectStage(small, 7).plan(samples) == {"a.png"}
    assert DetectStage(small, 7).plan(samples[::-1]) == {"a.png"}
    kept, dropped, _ = filtered(workspace, samples, small)
    assert len(kept["b.png"].faces) == 1
    assert dropped["a.png"].reason is Reason.DUPLICATE


def test_detection_knows_models_and_floors_and_no_thresholds(settled: FilterSettings) -> None:
    assert settled.landmarker in ("tasks", "wheel")
    assert settled.detector in ("aizoo", "default")
    assert choose_detector(settled) == settled
    config = DetectStage(settled, 7).config
    assert config["detector"] == settled.detector
    moved = settled.model_copy(update={"aizoo_prototxt": Path("/elsewhere")})
    assert DetectStage(moved, 8).config == config
    gates = {"min_score": 0.8, "min_face_px": 70, "min_sharpness": 0.5, "min_inside": 0.9, "drop_distance": 0}
    changed = settled.model_copy(update=gates)
    assert DetectStage(changed, 7).config == config
    assert FilterStage(changed, 7).config == FilterStage(settled, 7).config | gates
    assert not set(FilterStage(settled, 7).config) & set(config)
    for below in ({"min_score": 0.1}, {"min_face_px": 20}):  # less than was recorded
        assert DetectStage(settled.model_copy(update=below), 7).config != config


def test_a_model_asked_for_by_name_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="absent"):
        choose_detector(FilterSettings(detector="aizoo", aizoo_caffemodel=tmp_path / "absent"))
    with pytest.raises(WeightsUnavailable, match="absent"):
        choose_detector(FilterSettings(detector="mediapipe", landmarker_path=tmp_path / "absent"))


def test_importing_the_stage_loads_no_heavy_library() -> None:
    program = (
        "import sys, dataset_tools.filter.stage, dataset_tools.filter.detect\n"
        "print(sorted({'torch', 'cv2', 'mediapipe', 'pandas', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_filter_leaves_standard_error_clean(settled: FilterSettings) -> None:
    program = (
        "import sys, numpy as np\n"
        "from dataset_tools.filter.settings import FilterSettings\n"
        "from dataset_tools.filter.models import load_finder\n"
        "settings = FilterSettings.model_validate_json(sys.argv[1])\n"
        "load_finder(settings).find(np.full((300, 300, 3), 99, np.uint8))\n"
    )
    command = [sys.executable, "-c", program, settled.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
