"""What crosses the splits of a manifest, and the command that splits, freezes and reports."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from dataset_tools.config import read_config
from dataset_tools.core.face_prints import FacePrint, with_face_prints
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Wearing
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.record import Face, Sample, Split, sorted_pairs
from dataset_tools.pipeline import Pipeline
from dataset_tools.split_cli import split_command
from dataset_tools.split_leaks import Crossing, crossing_counts, find_crossings, is_clean

TRAIN, VAL, TEST = Split.TRAIN, Split.VAL, Split.TEST


@pytest.fixture(scope="session")
def versioned(load_fake) -> Any:
    return load_fake("versioned")


@pytest.fixture
def clean(versioned, tmp_path) -> tuple[Path, list[Sample]]:
    """A workspace's folder and nine strangers, three on every side."""
    store = ImageStore(tmp_path / "work")
    sides = [TRAIN] * 3 + [VAL] * 3 + [TEST] * 3
    return tmp_path / "work", [versioned.photo(store, n, split=side) for n, side in enumerate(sides)]


def origin(one: Sample, **facts: Any) -> Sample:
    return dataclasses.replace(one, provenance=dataclasses.replace(one.provenance, **facts))


def found(versioned, root: Path, samples: list[Sample]) -> list[tuple[str, tuple[Split, Split], str, str]]:
    manifest = versioned.write_version(root, samples)
    return [(one.kind, one.splits, one.first, one.second) for one in find_crossings(manifest)]


def test_strangers_raise_no_alarm(versioned, clean):
    assert found(versioned, *clean) == []
    assert is_clean([])


def test_a_group_on_two_sides_is_found_and_must_not_be(versioned, clean):
    root, samples = clean
    samples[1] = dataclasses.replace(samples[1], group="album")
    samples[8] = dataclasses.replace(samples[8], group="album")
    samples[7] = dataclasses.replace(samples[7], group="album")
    crossings = find_crossings(versioned.write_version(root, samples))
    assert crossings == [Crossing("group", (TRAIN, TEST), "item1", "item7", count=3)]
    assert not is_clean(crossings)


def test_the_same_bytes_on_two_sides_are_found_however_they_were_fetched(versioned, clean):
    root, samples = clean
    twin = origin(samples[0], item_key="twin")
    samples[4] = dataclasses.replace(twin, split=VAL, group="of its own")
    samples[2] = origin(samples[2], content_sha256="f" * 64)
    samples[6] = origin(samples[6], content_sha256="f" * 64)
    assert found(versioned, root, samples) == [
        ("content", (TRAIN, VAL), "item0", "twin"),
        ("content", (TRAIN, TEST), "item2", "item6"),
    ]


def test_what_looks_alike_or_shows_one_shot_is_told_but_allowed(versioned, clean):
    root, samples = clean
    near = f"{int(samples[0].phash, 16) ^ 0b101:016x}"
    samples[8] = dataclasses.replace(samples[8], phash=near)
    for number, bits in ((1, 0), (5, 1)):
        evidence = with_face_prints((), [FacePrint(5 ^ bits, 2**63)])
        samples[number] = origin(samples[number], evidence=evidence)
    samples[3] = origin(samples[3], parent_id=samples[7].id)
    crossings = find_crossings(versioned.write_version(root, samples))
    assert [(one.kind, one.first, one.second, one.distance) for one in crossings] == [
        ("parent", "item3", "item7", -1),
        ("near", "item0", "item8", 2),
        ("face", "item1", "item5", 1),
    ]
    assert is_clean(crossings)


def test_one_author_or_page_on_two_sides_is_told_with_the_number_of_pictures(versioned, clean):
    root, samples = clean
    for number, name in ((0, "Ann"), (1, "ann "), (3, "ANN"), (6, "Bob"), (7, "Bob")):
        samples[number] = origin(samples[number], author=name)
    page = sorted_pairs({"page_url": "https://example.org/album"})
    samples[2] = origin(samples[2], evidence=page, url="https://example.org/1.jpg")
    samples[8] = origin(samples[8], evidence=page, url="https://example.org/2.jpg")
    crossings = find_crossings(versioned.write_version(root, samples))
    assert crossings == [
        Crossing("author", (TRAIN, VAL), "item0", "item3", count=3),
        Crossing("page", (TRAIN, TEST), "item2", "item8", count=2),
    ]
    assert is_clean(crossings)
    counts = crossing_counts(crossings)
    assert counts["author"] == {"train-val": 1, "train-test": 0, "val-test": 0}
    assert counts["group"] == {"train-val": 0, "train-test": 0, "val-test": 0}


def test_pictures_without_a_side_cross_nothing(versioned, clean):
    root, samples = clean
    samples[0] = dataclasses.replace(samples[0], group="album", split=Split.UNASSIGNED)
    samples[8] = dataclasses.replace(samples[8], group="album")
    assert found(versioned, root, samples) == []


# -- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def build(versioned, tmp_path) -> Any:
    """Writes a build whose review is done: 24 pictures in 20 groups; gives its configuration file."""

    def written(count: int = 24, **split: Any) -> Path:
        folder = tmp_path / "photos"
        folder.mkdir(exist_ok=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        source = {"type": "folder", "name": "photos", "path": "photos", "licence": "CC0-1.0"}
        config = {"name": "toy", "crawl": {"sources": [source]}, "split": split}
        config["prelabel"] = {"checkpoint": "none"}  # nobody proposes, so nothing waits for a calibration
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        pipeline = Pipeline(read_config(tmp_path / "config.yaml"))
        pipeline.run("crawl")
        face = Face((0, 0, 64, 64), 1.0, Wearing.MASKED, "d@1", pose_deg=(20.0, 0.0, 0.0))
        reviewed = [
            dataclasses.replace(
                one, is_labelled=True, faces=(face,), group="album" if number < 4 else one.group
            )
            for number, one in enumerate(
                sorted(pipeline.manifest("crawl").samples(), key=lambda one: one.provenance.item_key)
            )
        ]
        versioned.write_version(pipeline.workspace.root, reviewed, stage="review", key=pipeline.key("review"))
        return tmp_path / "config.yaml"

    return written


def invoke(*words: object, code: int = 0) -> Any:
    done = CliRunner().invoke(split_command, [*map(str, words), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.output)


def sides(folder: str) -> dict[str, Split]:
    return {one.id: one.split for one in Manifest(Path(folder)).samples()}


def test_the_command_splits_and_reports(build):
    config = build()
    value = invoke(config, "--report")
    splits = sides(value["manifest"])
    assert value["counts"]["all"] == {"train": 20, "val": 2, "test": 2} == dict(Counter(splits.values()))
    assert value["counts"]["pose:half-right"]["train"] == 20
    assert value["groups"] == {"train": 17, "val": 2, "test": 2}
    assert value["crossings"]["found"] == []
    text = CliRunner().invoke(split_command, [str(config), "--quiet", "--report"]).output
    assert "group                0           0           0  must be 0" in text
    assert "train 20, val 2, test 2; largest deviation" in text


def test_a_crossing_that_must_not_be_ends_with_exit_code_three(build, versioned):
    config = build()
    folder = Path(invoke(config)["manifest"])
    samples = list(Manifest(folder).samples())
    by_side = {side: next(one for one in samples if one.split is side) for side in (TRAIN, TEST)}
    names = {one.id for one in by_side.values()}
    header = json.loads((folder / "header.json").read_text())
    broken = [dataclasses.replace(one, group="x") if one.id in names else one for one in samples]
    versioned.write_version(folder.parent.parent, broken, key=header["key"], per_shard=64)
    assert folder == Path(invoke(config, "--report", code=3)["manifest"])
    assert invoke(config, "--report", code=3)["crossings"]["counts"]["group"]["train-test"] == 1


def test_all_trials_and_all_folds_are_one_command(build):
    trials = invoke(build(), "--all")
    assert [one["draw"] for one in trials] == [f"trial {number}" for number in range(5)]
    assert len({one["manifest"] for one in trials}) == 5
    config = build(folds=4)
    folds = invoke(config, "--all")
    assert [one["draw"] for one in folds] == [f"fold {number} of 4" for number in range(4)]
    tests = Counter(
        key for one in folds for key, split in sides(one["manifest"]).items() if split is Split.TEST
    )
    assert set(tests.values()) == {1}
    assert len(tests) == 24
    assert invoke(config, "--fold", 2)["manifest"] == folds[2]["manifest"]
    assert sides(invoke(config, "--fold", 2, "--trial", 3)["manifest"]) != sides(folds[2]["manifest"])


def test_a_frozen_dataset_grows_and_can_be_frozen_again(build, tmp_path):
    file = tmp_path / "frozen.jsonl"
    first = invoke(build(), "--freeze", file)
    assert first["frozen"] == {"path": str(file), "samples": 24, "new": 24, "moved": []}
    before = sides(first["manifest"])
    config = build(count=48, frozen="frozen.jsonl")
    grown = invoke(config, "--freeze", file)
    after = sides(grown["manifest"])
    assert grown["frozen"] == {"path": str(file), "samples": 48, "new": 24, "moved": []}
    assert {key: after[key] for key in before} == before
    assert grown["counts"]["all"] == {"train": 38, "val": 5, "test": 5}
    # The split that rests on the new file is finished, too: what follows finds it.
    assert sides(str(Pipeline(read_config(config)).manifest("split").directory)) == after


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--all", "--trial", "1"], "--all makes every draw"),
        (["--fold", "1"], "fold 1 needs folds"),
        (["--trial", "7"], "trial"),
    ],
)
def test_options_that_do_not_fit_are_one_line(build, words, said):
    done = CliRunner().invoke(split_command, [str(build()), *words])
    assert done.exit_code == 2
    assert said in done.output
    assert len(done.output.splitlines()) == 1


def test_a_frozen_split_has_one_draw(build, tmp_path):
    config = build()
    invoke(config, "--freeze", tmp_path / "frozen.jsonl")
    done = CliRunner().invoke(split_command, [str(build(frozen="frozen.jsonl")), "--all"])
    assert (done.exit_code, "frozen keeps everybody in place" in done.output) == (2, True)
