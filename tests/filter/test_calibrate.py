from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dataset_tools.core.errors import DataError
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Face, ImageRef, Instance, Provenance, Sample
from dataset_tools.filter.aizoo import DETECTOR_NAME
from dataset_tools.filter.calibrate import Observation, calibrate, observe_manifest
from dataset_tools.filter.calibrate_cli import calibrate_command
from dataset_tools.filter.landmarker import TASKS_NAME

MASKED, BARE = Wearing.MASKED, Wearing.UNMASKED


def drawn_observations() -> list[Observation]:
    rng = np.random.default_rng(2)
    right, wrong = rng.beta(8, 2, 300), rng.beta(1, 6, 300)
    return [
        Observation(MASKED, good, bad) if index % 3 else Observation(BARE, bad, good)
        for index, (good, bad) in enumerate(zip(right.tolist(), wrong.tolist(), strict=True))
    ]


def test_the_table_is_scikit_learns() -> None:
    from sklearn.metrics import precision_score, recall_score

    observations = drawn_observations()
    found = calibrate(observations, (0.3, 0.6))
    assert found.photos == 300
    for row in found.rows:
        for kind, rates, scores in (
            (MASKED, row.masked, [one.masked_score for one in observations]),
            (BARE, row.unmasked, [one.unmasked_score for one in observations]),
        ):
            truth = [one.wearing is kind for one in observations]
            said = [score >= row.threshold for score in scores]
            assert rates.precision == pytest.approx(precision_score(truth, said))
            assert rates.recall == pytest.approx(recall_score(truth, said))


def test_the_best_threshold_lies_in_the_middle_of_equals() -> None:
    observations = [Observation(MASKED, 0.9, 0.2), Observation(BARE, 0.3, 0.8)]
    found = calibrate(observations, (0.1, 0.25, 0.4, 0.5, 0.6, 0.85))
    assert found.recommended == 0.5
    assert [row.accuracy for row in found.rows] == [1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
    assert found.rows[-1].unmasked.precision == 1.0 and found.rows[-1].unmasked.recall == 0.0


def test_one_kind_of_photos_is_not_enough() -> None:
    with pytest.raises(DataError, match="with masks and photos without"):
        calibrate([Observation(MASKED, 0.9, 0.0)])


def manifest_with(folder: Path, samples: list[Sample]) -> Manifest:
    write_shard(folder, 0, [sample.provenance.item_key for sample in samples], samples, [])
    counts = {"inputs": len(samples), "kept": len(samples), "rejected": 0}
    counts |= {"derived": 0, "derived_rejected": 0}
    return write_header(folder, {"key": "k", "stage": "detect", "shards": 1, "counts": counts})


def test_labelled_samples_of_a_manifest_are_photos_too(tmp_path: Path) -> None:
    mask = Instance("1", Label.FACE_MASK, mask_to_rle(np.ones((4, 4), bool)), "published:test")
    box = (0.0, 0.0, 4.0, 4.0)
    faces = (
        Face(box, 0.75, BARE, DETECTOR_NAME),
        Face(box, 0.5, MASKED, DETECTOR_NAME),
        Face(box, 0.9, Wearing.UNKNOWN, TASKS_NAME),
    )

    def sample(key: str, *instances: Instance, labelled: bool = True) -> Sample:
        image = ImageRef("0" * 64, (4, 4), "png")
        origin = Provenance("test", key, "CC0-1.0")
        return Sample(key, image, origin, key, faces=faces, instances=instances, is_labelled=labelled)

    manifest = manifest_with(tmp_path, [sample("a", mask), sample("b"), sample("c", labelled=False)])
    assert list(observe_manifest(manifest)) == [Observation(MASKED, 0.5, 0.75), Observation(BARE, 0.5, 0.75)]
    done = CliRunner().invoke(calibrate_command, [str(tmp_path)])
    assert done.exit_code == 0
    assert "2 photos" in done.output and "recommended" in done.output


def test_sorted_photos_give_a_table(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (shared_data / "models" / "aizoo").is_dir():
        pytest.skip("the AIZOO weights are not on this machine")
    monkeypatch.setenv("MASKSET_WEIGHTS_DIR", str(shared_data / "models"))
    for name in ("with_mask", "without_mask"):
        (tmp_path / name).mkdir()
        for path in sorted((shared_data / "faces" / name).glob("*.jpg"))[::60]:
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
        (tmp_path / name / "notes.txt").write_text("no photo")
    done = CliRunner().invoke(calibrate_command, [str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    values = json.loads(done.output)
    at_half = next(row for row in values["rows"] if row["threshold"] == 0.5)
    assert at_half["accuracy"] >= 0.9
    assert values["photos"] == len(list(tmp_path.rglob("*.jpg")))


def test_a_folder_of_another_kind_says_what_is_missing(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKSET_WEIGHTS_DIR", str(shared_data / "models"))
    done = CliRunner().invoke(calibrate_command, [str(tmp_path)])
    assert done.exit_code == 1
    assert "with_mask and without_mask" in done.output
