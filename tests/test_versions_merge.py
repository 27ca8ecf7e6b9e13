"""Two versions become one; who is right where they disagree is said, never guessed."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dataset_tools.core.errors import DataError, LicenceMissing
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.record import Layer, Review, ReviewState, Sample, Split
from dataset_tools.export.dataset import export_dataset
from dataset_tools.export.settings import ExportSettings
from dataset_tools.split.frozen import group_digest
from dataset_tools.versions import Change, Moved, diff_versions, open_version, write_index
from dataset_tools.versions.merge import Conflict, MergeReport, merge_versions
from dataset_tools.versions_cli import merge as merge_command

TRAIN, VAL, TEST = Split.TRAIN, Split.VAL, Split.TEST


@pytest.fixture(scope="session")
def versioned(load_fake) -> Any:
    return load_fake("versioned")


class Pair:
    """Two workspaces and what they become."""

    def __init__(self, versioned: Any, root: Path) -> None:
        self.versioned, self.root = versioned, root
        self.mask = versioned.drawn(versioned.rectangle(4, 4, 14, 14))
        self.shifted = versioned.drawn(versioned.rectangle(9, 4, 19, 14), by="published:x")

    def photo(self, side: str, number: int, *instances: Any, **more: Any) -> Sample:
        store = ImageStore(self.root / side)
        return self.versioned.photo(store, number, *(instances or (self.mask,)), **more)

    def write(self, side: str, *samples: Sample) -> None:
        self.versioned.write_version(self.root / side, samples)

    def merge(self, prefer: Any = None) -> MergeReport:
        one, other = (open_version(self.root / side) for side in "ab")
        return merge_versions(one, other, self.root / "out", prefer=prefer)


@pytest.fixture
def pair(versioned, tmp_path) -> Pair:
    return Pair(versioned, tmp_path)


def by_id(report: MergeReport) -> dict[str, Sample]:
    return {one.id: one for one in report.manifest.samples()}


def test_pictures_of_both_are_there_once_with_everything_they_had(pair):
    soft = ImageStore(pair.root / "a").put_array(pair.versioned.rectangle(4, 4, 14, 14).astype("uint16"))
    rich = pair.photo("a", 0, dataclasses.replace(pair.mask, soft=soft), group="Ann", url="https://e.org/0")
    rich = dataclasses.replace(rich, layers=(Layer("clean", rich.image),))
    pair.write("a", rich, *(pair.photo("a", number) for number in (1, 2)))
    pair.write("b", *(pair.photo("b", number) for number in (2, 3)))
    report = pair.merge()
    assert (report.only_a, report.only_b, report.both) == (2, 1, 1)
    assert (report.conflicts, report.moved) == ((), ())
    merged = by_id(report)
    assert merged[rich.id] == rich
    assert len(merged) == 4
    store = ImageStore(pair.root / "out")
    for one in merged.values():
        store.read_bytes(one.image)
    store.read_bytes(soft)
    out = open_version(pair.root / "out")
    assert diff_versions(open_version(pair.root / "a"), out).change is Change.ADDITIVE


def test_a_disagreement_needs_a_rule_and_every_one_is_told(pair):
    ours = [pair.photo("a", number) for number in range(3)]
    theirs = [
        pair.photo("b", 0, pair.shifted),
        pair.photo("b", 1, licence="CC-BY-4.0"),
        pair.photo("b", 2, pair.shifted, licence="CC-BY-4.0"),
    ]
    pair.write("a", *ours)
    pair.write("b", *theirs)
    with pytest.raises(DataError, match=r"disagree about 3 pictures \(labels, licence\).*--prefer"):
        pair.merge()
    assert not (pair.root / "out").exists()
    report = pair.merge("b")
    overlap = {"face_mask": 1 / 3}
    assert report.conflicts == tuple(
        sorted(
            (
                Conflict(ours[0].id, ("labels",), overlap, "b"),
                Conflict(ours[1].id, ("licence",), {}, "b"),
                Conflict(ours[2].id, ("labels", "licence"), overlap, "b"),
            ),
            key=lambda one: one.id,
        )
    )
    assert by_id(report) == {one.id: one for one in theirs}


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ("human:a", "published:x", "a"),
        ("published:x", "human:b", "b"),
        ("human:a", "human:b", "a"),
        ("synth:x", "published:x", "a"),
    ],
)
def test_human_takes_the_side_that_a_person_drew(pair, first, second, winner):
    pair.write("a", pair.photo("a", 0, dataclasses.replace(pair.mask, drawn_by=first)))
    pair.write("b", pair.photo("b", 0, dataclasses.replace(pair.shifted, drawn_by=second)))
    report = pair.merge("human")
    assert [one.chosen for one in report.conflicts] == [winner]
    (merged,) = by_id(report).values()
    assert merged.instances[0].drawn_by == {"a": first, "b": second}[winner]


def test_human_counts_labels_that_a_person_accepted(pair):
    drawn = dataclasses.replace(pair.mask, drawn_by="synth:x")
    accepted = dataclasses.replace(
        pair.photo("b", 0, pair.shifted), review=Review(ReviewState.ACCEPTED, ("b",))
    )
    pair.write("a", pair.photo("a", 0, drawn))
    pair.write("b", accepted)
    assert [one.chosen for one in pair.merge("human").conflicts] == ["b"]


@pytest.mark.parametrize("prefer", [None, "a"])
def test_labels_win_over_none_without_a_rule(pair, prefer):
    pair.write("a", pair.photo("a", 0, labelled=False))
    pair.write("b", pair.photo("b", 0, pair.shifted))
    report = pair.merge(prefer)
    assert report.conflicts == ()
    assert [one.instances for one in report.manifest.samples()] == [(pair.shifted,)]


def test_groups_that_meet_end_on_the_most_cautious_side_and_it_is_told(pair):
    # 1 joins x and y, 3 joins y and z: all of them are one group then.
    ours = [
        pair.photo("a", 0, group="x", split=TRAIN),
        pair.photo("a", 1, group="x", split=TRAIN),
        pair.photo("a", 2, group="z", split=VAL),
        pair.photo("a", 3, group="z", split=VAL),
        pair.photo("a", 4, group="w", split=TRAIN),
    ]
    theirs = [pair.photo("b", number, group="y", split=TEST) for number in (1, 3, 5)]
    pair.write("a", *ours)
    pair.write("b", *theirs)
    report = pair.merge()
    merged = by_id(report)
    joined = [merged[one.id] for one in (*ours[:4], theirs[2])]
    assert len({one.group for one in joined}) == 1
    assert {one.split for one in joined} == {TEST}
    assert (merged[ours[4].id].split, merged[ours[4].id].group) == (TRAIN, "w")
    expected = [Moved(one.id, one.split, TEST) for one in ours[:4]]
    assert report.moved == tuple(sorted(expected, key=lambda one: one.id))


def test_groups_of_one_name_are_one_also_where_an_export_gives_their_digest(pair):
    pair.write("a", pair.photo("a", 0, group="Ann", split=TRAIN))
    other = pair.photo("b", 1, group="Ann", split=VAL)
    pair.write("b", other)
    settings = ExportSettings(name="b", formats=("coco",))
    manifest = open_version(pair.root / "b").manifest
    export_dataset(manifest, ImageStore(pair.root / "b"), settings, pair.root / "exported")
    one, two = open_version(pair.root / "a"), open_version(pair.root / "exported")
    assert [row.group for row in two.rows(None)] == [group_digest("Ann")]
    report = merge_versions(one, two, pair.root / "out")
    assert {(item.group, item.split) for item in report.manifest.samples()} == {("Ann", VAL)}


@pytest.mark.parametrize("name", ["huggingface", "coco"])
def test_an_export_merges_with_its_workspace_into_the_same(pair, name, exported, tmp_path):

    folder, _, samples = exported
    workspace = open_version(folder.parent / "work")
    manifest = workspace.manifest
    settings = ExportSettings(name="again", formats=(name,))
    export_dataset(manifest, ImageStore(manifest.workspace), settings, tmp_path / "exported")
    alone = open_version(tmp_path / "exported")
    report = merge_versions(alone, workspace, tmp_path / "out")
    assert (report.only_a, report.both, report.conflicts, report.moved) == (0, len(samples), (), ())
    merged = open_version(tmp_path / "out")
    assert diff_versions(merged, alone).change is Change.NONE
    found = by_id(report)
    for key, one in samples.items():
        drawn = Counter((item.label, item.mask) for item in one.instances)
        assert Counter((item.label, item.mask) for item in found[key].instances) == drawn
        assert found[key].provenance.licence == one.provenance.licence
        assert found[key].is_synthetic == one.is_synthetic


def test_two_pictures_with_one_item_key_stay_two(pair):
    pair.write("a", pair.photo("a", 0, item_key="0.jpg"))
    pair.write("b", pair.photo("b", 1, item_key="0.jpg"))
    keys = [one.provenance.item_key for one in pair.merge().manifest.samples()]
    assert sorted(keys) == ["0.jpg", "0.jpg#merged"]


def test_nothing_is_merged_into_what_is_there_already(pair):
    pair.write("a", pair.photo("a", 0))
    pair.write("b", pair.photo("b", 1))
    (pair.root / "out").mkdir()
    (pair.root / "out" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="holds something else"):
        pair.merge()
    (pair.root / "out" / "thesis.txt").unlink()
    # An interrupted merge leaves pictures and shards, but no header.
    half = ImageStore(pair.root / "out")
    half.put_array(pair.versioned.rectangle(0, 0, 3, 3).astype("uint16"))
    assert pair.merge().only_b == 1
    with pytest.raises(DataError, match="holds something else"):
        pair.merge()


def test_damaged_pictures_missing_licences_and_indexes_are_refused(pair, tmp_path):
    one = pair.photo("a", 0)
    pair.write("a", one)
    pair.write("b", pair.photo("b", 1))
    write_index(open_version(pair.root / "b"), tmp_path / "index.jsonl")
    with pytest.raises(DataError, match="index without pictures"):
        merge_versions(open_version(pair.root / "a"), open_version(tmp_path / "index.jsonl"), tmp_path / "o")
    (pair.root / "a" / one.image.path).write_bytes(b"damaged")
    with pytest.raises(DataError, match="no longer has the bytes"):
        pair.merge()
    labelme = tmp_path / "labelme"
    labelme.mkdir()
    (labelme / "0.png").write_bytes((pair.root / "b" / pair.photo("b", 1).image.path).read_bytes())
    (labelme / "0.json").write_text(
        json.dumps(
            {
                "version": "5.0.0",
                "flags": {},
                "shapes": [
                    {"label": "face_mask", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
                ],
                "imagePath": "0.png",
                "imageData": None,
                "imageHeight": 64,
                "imageWidth": 64,
            }
        )
    )
    with pytest.raises(LicenceMissing, match="states no licence"):
        merge_versions(open_version(labelme), open_version(pair.root / "b"), tmp_path / "o2", prefer="a")


def test_the_command_merges_exports_and_numbers_the_result(pair):
    face = pair.versioned.drawn(pair.versioned.rectangle(0, 0, 2, 2), Label.FACE)
    pair.write("a", *(pair.photo("a", number) for number in range(3)))
    # Another picture with the looks of one in train.
    twin = dataclasses.replace(pair.photo("b", 3, split=TEST), phash=pair.photo("a", 0).phash)
    pair.write("b", pair.photo("b", 2, pair.shifted, face), twin)
    words = [str(pair.root / name) for name in ("a", "b", "out")]
    done = CliRunner().invoke(merge_command, words)
    assert (done.exit_code, "--prefer a, b or human" in done.output) == (1, True)
    done = CliRunner().invoke(merge_command, [*words, "--prefer", "b", "--name", "toy", "--json"])
    assert done.exit_code == 0, done.output
    value = json.loads(done.output)
    assert value["pictures"] == {"first": 2, "second": 1, "both": 1}
    assert (value["change"], value["version"]) == ("additive", "0.2.0")
    assert value["conflicts"][0]["iou"] == {"face_mask": pytest.approx(1 / 3), "face": 0.0}
    assert {kind: count for kind, count in value["crossings"].items() if count} == {"near": 1}
    exported = open_version(Path(value["dataset"]))
    assert (exported.number, exported.title) == ("0.2.0", "toy")
    assert diff_versions(exported, open_version(pair.root / "out")).change is Change.NONE
