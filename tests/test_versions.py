"""Two versions of a dataset are compared picture by picture, and the version number follows from that."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.core.errors import ConfigError, DataError, MaskShapeError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Sample, Split
from dataset_tools.export.dataset import export_dataset
from dataset_tools.export.settings import ExportSettings
from dataset_tools.versions import (
    Change,
    DatasetDiff,
    FactChange,
    Moved,
    Relabelled,
    diff_versions,
    next_version,
    open_version,
    write_index,
)
from dataset_tools.versions.changelog import list_releases, render_changelog
from dataset_tools.versions.diff import overlap
from dataset_tools.versions_cli import changelog as changelog_command
from dataset_tools.versions_cli import diff as diff_command


@pytest.fixture(scope="session")
def versioned(load_fake) -> Any:
    return load_fake("versioned")


@pytest.fixture
def base(versioned, tmp_path) -> list[Sample]:
    """Eight labelled pictures stored in <tmp>/old."""
    mask = versioned.drawn(versioned.rectangle(4, 4, 14, 14), mask_type="cloth")
    store = ImageStore(tmp_path / "old")
    return [versioned.photo(store, number, mask) for number in range(8)]


def compare(versioned, tmp_path: Path, before: list[Sample], after: list[Sample]) -> DatasetDiff:
    versioned.write_version(tmp_path / "old", before)
    versioned.write_version(tmp_path / "new", after)
    return diff_versions(open_version(tmp_path / "old"), open_version(tmp_path / "new"))


# -- numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "change", "new"),
    [
        ("1.4.2", Change.NONE, "1.4.2"),
        ("1.4.2", Change.RELABELLED, "1.4.3"),
        ("1.4.2", Change.ADDITIVE, "1.5.0"),
        ("1.4.2", Change.BREAKING, "2.0.0"),
        ("0.1.0", Change.BREAKING, "1.0.0"),
        ("v0.9.9", Change.RELABELLED, "v0.9.10"),
        ("v9.99.1", Change.BREAKING, "v10.0.0"),
    ],
)
def test_the_next_number_follows_from_the_change(old, change, new):
    assert next_version(old, change) == new


@pytest.mark.parametrize(
    "old", ["", "1", "1.2", "1.2.3.4", "1.02.3", "1.2.3-rc1", "x1.2.3", "1.2.3\n", "١.2.3"]
)
def test_what_is_no_version_is_refused(old):
    with pytest.raises(ConfigError, match=r"MAJOR\.MINOR\.PATCH"):
        next_version(old, Change.ADDITIVE)


@pytest.mark.parametrize(
    ("values", "change"),
    [
        ({}, Change.NONE),
        ({"relabelled": (Relabelled("a", {}),)}, Change.RELABELLED),
        ({"facts": (FactChange("a", "author", "x", "y"),)}, Change.RELABELLED),
        ({"facts": (FactChange("a", "licence", "x", "y"),)}, Change.BREAKING),
        ({"added": ("a",), "relabelled": (Relabelled("b", {}),)}, Change.ADDITIVE),
        ({"labelled": ("a",)}, Change.ADDITIVE),
        ({"schema_added": ("column x: string",)}, Change.ADDITIVE),
        ({"schema_removed": ("column x: string",), "added": ("a",)}, Change.BREAKING),
        ({"unlabelled": ("a",)}, Change.BREAKING),
        ({"removed": ("a",), "added": ("b",)}, Change.BREAKING),
        ({"moved": (Moved("a", Split.VAL, Split.TEST),)}, Change.BREAKING),
    ],
)
def test_the_gravest_difference_decides(values, change):
    assert DatasetDiff("old", "new", (1, 1), **values).change is change


# -- comparing ----------------------------------------------------------------------------------------------


def test_every_kind_of_difference_is_found_with_its_figures(versioned, tmp_path, base):
    rectangle, drawn = versioned.rectangle, versioned.drawn
    after = list(base)
    removed = after.pop(7)
    # 10 x 10 pixels moved by 5: 50 in common, 150 in either.
    shifted = drawn(rectangle(9, 4, 19, 14), mask_type="cloth")
    after[0] = dataclasses.replace(after[0], instances=(shifted,))
    after[1] = dataclasses.replace(
        after[1], instances=(drawn(rectangle(4, 4, 14, 14), mask_type="n95", wearing_state="nose_out"),)
    )
    face = drawn(rectangle(0, 0, 2, 2), Label.FACE)
    after[2] = dataclasses.replace(after[2], instances=(*after[2].instances, face))
    after[3] = dataclasses.replace(after[3], split=Split.TEST)
    provenance = dataclasses.replace(after[4].provenance, licence="CC-BY-4.0", author="Ann")
    after[4] = dataclasses.replace(after[4], provenance=provenance)
    after[5] = dataclasses.replace(after[5], is_labelled=False)
    before = [*base[:6], dataclasses.replace(base[6], is_labelled=False), base[7]]
    fresh = versioned.photo(ImageStore(tmp_path / "new"), 100)
    found = compare(versioned, tmp_path, before, [*after, fresh])
    ids = [one.id for one in base]
    assert found == DatasetDiff(
        before="old, split-000000000000",
        after="new, split-000000000000",
        counts=(8, 8),
        added=(fresh.id,),
        removed=(removed.id,),
        labelled=(ids[6],),
        unlabelled=(ids[5],),
        relabelled=tuple(
            sorted(
                (
                    Relabelled(ids[0], {"face_mask": 1 / 3}),
                    Relabelled(
                        ids[1],
                        {"face_mask": 1.0},
                        (
                            "face_mask mask_type cloth -> n95",
                            "face_mask wearing_state not stated -> nose_out",
                        ),
                    ),
                    Relabelled(ids[2], {"face_mask": 1.0, "face": 0.0}, ("face objects 0 -> 1",)),
                ),
                key=lambda one: one.id,
            )
        ),
        moved=(Moved(ids[3], Split.TRAIN, Split.TEST),),
        facts=(
            FactChange(ids[4], "author", "", "Ann"),
            FactChange(ids[4], "licence", "CC0-1.0", "CC-BY-4.0"),
        ),
    )
    assert found.change is Change.BREAKING
    assert json.loads(json.dumps(found.as_json()))["change"] == "breaking"


def test_order_of_objects_names_and_proposals_make_no_difference(versioned, tmp_path, base):
    one = versioned.drawn(versioned.rectangle(0, 0, 3, 3), Label.FACE)
    before = [dataclasses.replace(item, instances=(*item.instances, one)) for item in base]
    renamed = dataclasses.replace(one, id="other", drawn_by="published:x", face=3)
    proposal = versioned.drawn(versioned.rectangle(1, 1, 9, 9), by="model:net@1")
    after = [dataclasses.replace(item, instances=(renamed, proposal, *item.instances)) for item in base]
    assert compare(versioned, tmp_path, before, after[::-1]).change is Change.NONE


def test_a_first_split_moves_nobody(versioned, tmp_path, base):
    before = [dataclasses.replace(one, split=Split.UNASSIGNED) for one in base]
    assert compare(versioned, tmp_path, before, base).moved == ()


@settings(max_examples=60, deadline=None)
@given(*[st.lists(st.tuples(*[st.integers(0, 12)] * 4), max_size=3)] * 2)
def test_overlap_over_run_lengths_is_overlap_of_pixels(before, after):
    def masks(found: list[tuple[int, int, int, int]]) -> list[np.ndarray]:
        planes = [np.zeros((12, 12), bool) for _ in found]
        for plane, (x0, y0, x1, y1) in zip(planes, found, strict=True):
            plane[min(y0, y1) : max(y0, y1), min(x0, x1) : max(x0, x1)] = True
        return planes

    old, new = masks(before), masks(after)
    empty = np.zeros((12, 12), bool)
    one, other = (np.logical_or.reduce([empty, *found]) for found in (old, new))
    either = (one | other).sum()
    wanted = (one & other).sum() / either if either else 1.0
    assert overlap([mask_to_rle(mask) for mask in old], [mask_to_rle(mask) for mask in new]) == wanted


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(MaskShapeError, match=r"\(2, 3\), \(3, 2\)"):
        overlap([mask_to_rle(np.ones((2, 3)))], [mask_to_rle(np.ones((3, 2)))])


def test_a_workspace_its_exports_and_their_index_are_one_version(exported, tmp_path):
    folder, _, samples = exported
    count = len(samples)
    workspace = folder.parent / "work"
    index = tmp_path / "index.jsonl"
    write_index(open_version(folder), index)
    forms = [workspace, folder, folder / "coco", index]
    for one in forms:
        for other in forms:
            found = diff_versions(open_version(one), open_version(other))
            # Two workspaces are compared with what nobody has labelled yet, too.
            more = int(one == other == workspace)
            assert (found.change, found.counts) == (Change.NONE, (count + more, count + more))
    assert [open_version(path).number for path in (folder, index)] == ["1.2.0", "1.2.0"]
    assert str(tmp_path) not in index.read_text()


def test_exports_are_compared_with_masks_and_tables(versioned, tmp_path, base):
    after = [dataclasses.replace(base[0], instances=()), *base[1:]]
    folders = []
    for name, samples in (("old", base), ("new", after)):
        manifest = versioned.write_version(tmp_path / "old", samples, key=name * 4)
        settings = ExportSettings(name="toy", version="0.3.0", formats=("huggingface",))
        export_dataset(manifest, ImageStore(tmp_path / "old"), settings, tmp_path / f"{name}-out")
        folders.append(tmp_path / f"{name}-out")
    found = diff_versions(*map(open_version, folders))
    assert found.relabelled == (Relabelled(base[0].id, {"face_mask": 0.0}, ("face_mask objects 1 -> 0",)),)
    assert (found.schema_added, found.schema_removed, found.change) == ((), (), Change.RELABELLED)
    table = next((folders[1] / "data").glob("*.parquet"))
    columns = pq.read_table(table)
    columns = columns.drop_columns(["parent_id"]).append_column("extra", pa.nulls(len(columns), pa.int8()))
    pq.write_table(columns, table)
    found = diff_versions(*map(open_version, folders))
    assert (found.schema_added, found.schema_removed) == (
        ("column extra: int8",),
        ("column parent_id: string",),
    )
    assert found.change is Change.BREAKING
    for folder in folders:
        write_index(open_version(folder), folder / "index.jsonl")
    again = diff_versions(*(open_version(folder / "index.jsonl") for folder in folders))
    assert (again.schema_added, again.schema_removed) == (found.schema_added, found.schema_removed)
    crossed = diff_versions(open_version(folders[0] / "index.jsonl"), open_version(folders[1]))
    assert (crossed.schema_added, crossed.schema_removed) == ((), ())


def test_an_index_tells_that_labels_differ_but_not_by_how_much(versioned, tmp_path, base):
    versioned.write_version(tmp_path / "old", base)
    write_index(open_version(tmp_path / "old"), tmp_path / "index.jsonl")
    changed = dataclasses.replace(base[2], instances=())
    versioned.write_version(tmp_path / "new", [changed, *base[:2], *base[3:]])
    found = diff_versions(open_version(tmp_path / "index.jsonl"), open_version(tmp_path / "new"))
    assert found.relabelled == (Relabelled(base[2].id, {}),)
    assert found.change is Change.RELABELLED


def test_only_masks_that_differ_are_read_again(versioned, tmp_path, base):
    """What makes 10^5 pictures fit: the second look asks for the changed ones alone."""
    changed = dataclasses.replace(base[5], instances=())
    versioned.write_version(tmp_path / "old", base)
    versioned.write_version(tmp_path / "new", [*base[:5], changed, *base[6:]])
    asked: list[Any] = []

    def watched(path: Path) -> Any:
        version = open_version(path)

        def rows(only: Any) -> Any:
            asked.append(only)
            return version.rows(only)

        return dataclasses.replace(version, rows=rows)

    found = diff_versions(watched(tmp_path / "old"), watched(tmp_path / "new"))
    assert asked == [None, None, {changed.id}, {changed.id}]
    assert [one.id for one in found.relabelled] == [changed.id]
    assert [row.id for row in open_version(tmp_path / "new").rows({changed.id})] == [changed.id]


def test_what_is_no_version_or_holds_a_picture_twice_is_refused(versioned, tmp_path, base):
    for name, text in (("empty", ""), ("json", "[1]\n"), ("other", '{"a":1}\n'), ("binary", "\x00\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="is no index of a dataset"):
            open_version(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="is no version of a dataset"):
        open_version(tmp_path / "folder")
    twin = dataclasses.replace(base[0], provenance=dataclasses.replace(base[0].provenance, item_key="twin"))
    with pytest.raises(DataError, match=f"holds the picture {twin.id} twice"):
        compare(versioned, tmp_path, base, [*base, twin])
    versioned.write_version(tmp_path / "old", base, key="f" * 12)
    with pytest.raises(DataError, match="several runs of split; name one"):
        open_version(tmp_path / "old")


# -- changelog ----------------------------------------------------------------------------------------------


def test_a_changelog_tells_of_every_version_and_numbers_what_has_none(versioned, tmp_path, base):
    shifted = versioned.drawn(versioned.rectangle(9, 4, 19, 14), mask_type="cloth")
    relabelled = [dataclasses.replace(base[0], instances=(shifted,)), *base[1:6]]
    relicensed = dataclasses.replace(base[1].provenance, licence="CC [x](http://e.org) *2*")
    broken = [dataclasses.replace(base[1], provenance=relicensed), *relabelled[2:], *base[6:]]
    for name, samples in (("a", base[:6]), ("b", relabelled), ("c", broken)):
        versioned.write_version(tmp_path / name, samples)
    releases = list_releases([open_version(tmp_path / name) for name in "abc"])
    text = render_changelog("toy <b>set</b>", releases)
    worst, gone = base[0].id, base[0].id
    assert text == (
        "# Changelog of toy \\<b\\>set\\</b\\>\n\n"
        "## 1.0.0\n\n"
        "Breaking (results with the version before cannot be compared without care; the number follows from "
        "the changes). 7 pictures.\n\n"
        f"- removed: 1 picture: {gone}\n"
        f"- facts that read differently: licence 1; e.g. {base[1].id}: licence CC0-1.0 -> "
        "CC \\[x\\](http://e.org) \\*2\\*\n"
        "- added: 2 pictures\n\n"
        "## 0.1.1\n\n"
        "Relabelled (only labels or facts were corrected; the number follows from the changes). "
        "6 pictures.\n\n"
        f"- relabelled: 1 picture (face_mask mean IoU 0.333, least 0.333): most changed {worst}\n\n"
        "## 0.1.0\n\nFirst version: 6 pictures.\n"
    )


def test_a_changelog_takes_the_numbers_and_dates_that_are_stated(versioned, tmp_path, base):
    folders = []
    for number, count in (("1.2.0", 6), ("1.3.0", 7), ("1.3.0", 8)):
        manifest = versioned.write_version(tmp_path / "old", base[:count], key=f"{count}" * 12)
        settings = ExportSettings(
            name="toy", version=number, date=f"2026-01-0{count}", formats=("huggingface",)
        )
        folder = tmp_path / f"v{count}"
        export_dataset(manifest, ImageStore(tmp_path / "old"), settings, folder)
        folders.append(folder)
    releases = list_releases([open_version(folder) for folder in folders])
    # The last one forgot to raise its number.
    assert [(one.number, one.is_stated) for one in releases] == [
        ("1.2.0", True),
        ("1.3.0", True),
        ("1.4.0", False),
    ]
    assert "## 1.3.0 (2026-01-07)\n" in render_changelog("toy", releases)
    with pytest.raises(ConfigError, match="at least two versions"):
        list_releases([open_version(folders[0])])


# -- commands -----------------------------------------------------------------------------------------------


def test_the_commands_print_the_difference_and_write_index_and_changelog(versioned, tmp_path, base):
    versioned.write_version(tmp_path / "old", base[:7])
    shifted = versioned.drawn(versioned.rectangle(9, 4, 19, 14), mask_type="cloth")
    versioned.write_version(tmp_path / "new", [dataclasses.replace(base[0], instances=(shifted,)), *base[1:]])
    index, page = tmp_path / "index.jsonl", tmp_path / "CHANGELOG.md"
    words = [str(tmp_path / "old"), str(tmp_path / "new")]
    done = CliRunner().invoke(diff_command, [*words, "--index", str(index)])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        f"relabelled: 1 picture (face_mask mean IoU 0.333, least 0.333): most changed {base[0].id}",
        "added: 1 picture",
        f"  {base[0].id}  face_mask IoU 0.333",
        "7 pictures before, 8 after; additive: 0.1.0 -> 0.2.0",
    ]
    done = CliRunner().invoke(diff_command, [str(index), words[1], "--json"])
    assert json.loads(done.output)["change"] == "none"
    done = CliRunner().invoke(changelog_command, [*words, "--title", "toy", "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert page.read_text().startswith("# Changelog of toy\n\n## 0.2.0\n")
    done = CliRunner().invoke(changelog_command, words[:1])
    assert (done.exit_code, "at least two versions" in done.output) == (2, True)
