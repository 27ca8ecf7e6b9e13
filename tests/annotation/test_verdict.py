from __future__ import annotations

import dataclasses
import json

import pytest

from annotation.drawing import FaceBox
from annotation.verdict import (
    Role,
    Verdict,
    read_all_verdicts,
    read_verdicts,
    verdicts_digest,
    write_verdicts,
)
from dataset_tools.core.errors import DataError
from dataset_tools.core.record import ImageRef, ReviewState


@pytest.fixture
def verdict(make_sample) -> Verdict:
    sample = make_sample()
    soft = ImageRef("ab" * 32, sample.image.size_hw, "png")
    first, second = sample.instances
    return Verdict(
        sample_id=sample.id,
        item_key=sample.provenance.item_key,
        state=ReviewState.CORRECTED,
        reviewer="Ann Otator",
        reviewer_email="ann@example.com",
        reviewed_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-01T00:05:00Z",
        note="line one\u2028and “two”",
        instances=(dataclasses.replace(first, soft=soft, confidence=None), second),
        boxes=(FaceBox(0, (1.1, 2.2, 3.3, 4.4)), FaceBox(-1, (0.1 + 0.2, 0.0, 5.0, 6.0))),
        annotation_id=7,
        project_id=3,
        seconds=12.25,
    )


def test_verdicts_come_back_exactly(verdict, tmp_path):
    write_verdicts(tmp_path, [verdict])
    assert read_verdicts(tmp_path) == {verdict.sample_id: (verdict,)}


def test_writing_the_same_verdicts_again_changes_nothing(verdict, tmp_path):
    other = dataclasses.replace(verdict, sample_id="f" * 32)
    folder = tmp_path / "reviews"
    path = write_verdicts(folder, [verdict, other])
    before = path.stat().st_mtime_ns
    assert write_verdicts(folder, [other, verdict]) == path
    assert [item.name for item in folder.iterdir()] == [path.name]
    assert path.stat().st_mtime_ns == before


def test_the_last_change_wins_and_earlier_verdicts_stay_on_disk(verdict, tmp_path):
    later = dataclasses.replace(
        verdict, updated_at="2026-01-01T00:06:00Z", note="second thoughts", annotation_id=6
    )
    write_verdicts(tmp_path, [later])
    write_verdicts(tmp_path, [verdict])
    assert read_verdicts(tmp_path)[verdict.sample_id] == (later,)
    assert read_all_verdicts(tmp_path) == [verdict, later]


def test_of_each_lane_the_last_change_counts_and_verdicts_of_before_lanes_are_read(verdict, tmp_path):
    first = dataclasses.replace(verdict, lane="ann")
    second = dataclasses.replace(verdict, lane="bob", annotation_id=8, role=Role.GOLD, tool="labelme")
    path = write_verdicts(tmp_path, [first, second])
    assert read_verdicts(tmp_path) == {verdict.sample_id: (first, second)}
    old = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    for row in old:
        del row["lane"], row["role"], row["tool"]
    (tmp_path / "verdicts-0000.jsonl").write_text(json.dumps(old[0]) + "\n")
    assert read_verdicts(tmp_path)[verdict.sample_id][0] == verdict


def test_no_verdicts_write_no_file_and_no_folder_holds_none(tmp_path):
    assert write_verdicts(tmp_path / "reviews", []) is None
    assert read_verdicts(tmp_path / "reviews") == {}


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"state": "loved"}'])
def test_a_damaged_file_is_named_with_its_line(verdict, tmp_path, damage):
    path = write_verdicts(tmp_path, [verdict])
    path.write_text(path.read_text() + damage + "\n")
    with pytest.raises(DataError, match=f"{path.name} line 2"):
        read_verdicts(tmp_path)


def test_the_digest_depends_on_content_alone(verdict):
    other = dataclasses.replace(verdict, sample_id="f" * 32)
    assert verdicts_digest([verdict, other]) == verdicts_digest([other, verdict])
    assert verdicts_digest([verdict]) != verdicts_digest([dataclasses.replace(verdict, note="")])
