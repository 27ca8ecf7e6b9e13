"""`build-dataset import`: what people see, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dataset_tools.import_cli import import_command


@pytest.fixture(scope="module")
def hostile(load_fake):
    return load_fake("hostile_datasets")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(import_command, [str(argument) for argument in arguments])


def test_a_good_dataset_is_exit_code_0_and_converts(hostile, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    hostile._coco(lambda document: None)(source)
    done = run(source, "--licence", "MIT", "--out", tmp_path / "out", "--to", "coco", "--split", "val")
    assert done.exit_code == 0, done.output
    assert "coco: 2 entries = 2 whole with 2 labels" in done.output
    written = json.loads((tmp_path / "out" / "annotations" / "instances_val.json").read_text())
    assert [entry["licence"] for entry in written["images"]] == ["MIT", "MIT"]
    assert len(written["annotations"]) == 2


def test_problems_are_a_table_and_exit_code_3(hostile, tmp_path):
    def spoil(document):
        document["annotations"][1]["segmentation"] = {"size": [64, 80], "counts": [7]}
        document["images"].append({"id": 3, "file_name": "../\x1b[31mx\n.png"})

    hostile._coco(spoil)(tmp_path)
    done = run(tmp_path, "--licence", "MIT")
    assert done.exit_code == 3
    lines = done.output.splitlines()
    assert lines[0].split()[:2] == ["b.png#a2", "rle_sum"] and lines[0].endswith(
        "RLE counts sum to 7, expected 64x80=5120"
    )
    assert lines[1].split()[:3] == ["labels.json:", "images[2]", "unsafe_path"]
    assert lines[2].startswith("coco: 3 entries = 1 whole with 1 labels + 1 that lost a label + 0 without")
    assert "\x1b" not in done.output
    values = json.loads(run(tmp_path, "--licence", "MIT", "--json").output)
    assert [problem["reason"] for problem in values["problems"]] == ["rle_sum", "unsafe_path"]
    assert (values["entries"], values["whole"], values["incomplete"], values["refused"]) == (3, 1, 1, 1)


def test_pictures_without_a_licence_are_said_and_not_passed_over(hostile, tmp_path):
    hostile._coco(lambda document: None)(tmp_path)
    done = run(tmp_path)
    assert done.exit_code == 3
    assert "2 pictures state no licence; say it with --licence" in done.output


def test_wrong_usage_is_one_line_and_exit_code_2(hostile, tmp_path):
    hostile._coco(lambda document: None)(tmp_path)
    for arguments, said in (
        (("--out", tmp_path / "out"), "--out and --to go together"),
        (("--format", "coca"), "did you mean coco"),
        (("--to", "coca", "--out", tmp_path / "out"), "did you mean coco"),
        (("--category", "mask"), "expected NAME=LABEL"),
        (("--category", "mask=face_maks"), "did you mean face_mask"),
        (("--out", tmp_path, "--to", "coco", "--licence", "MIT"), "is not empty"),
    ):
        done = run(tmp_path, *arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert said in done.output and len(done.output.splitlines()) == 1


def test_a_folder_of_no_format_says_what_was_looked_for(tmp_path):
    (tmp_path / "photo.txt").write_text("x")
    done = run(tmp_path)
    assert done.exit_code == 2
    assert "looks like no dataset format" in done.output and "1/dataset.csv" in done.output


def test_categories_are_given_by_name_even_with_an_equals_sign_in_it(hostile, tmp_path):
    def rename(document):
        document["categories"] = [{"id": 1, "name": "a=b"}]

    hostile._coco(rename)(tmp_path)
    assert run(tmp_path, "--licence", "MIT", "--category", "a=b=face_mask").exit_code == 0
    left_out = run(tmp_path, "--licence", "MIT", "--category", "a=b=none")
    assert left_out.exit_code == 0 and "2 whole with 0 labels" in left_out.output


def test_the_place_of_a_dataset_within_a_dataset_is_named(hostile, tmp_path):
    inner = Path(tmp_path / "coco" / "annotations")
    inner.mkdir(parents=True)
    (inner / "instances_train.json").write_text(json.dumps(hostile.coco_document()))
    assert "inside it are coco (coco)" in run(tmp_path).output


def test_two_formats_in_one_folder_are_both_named(hostile, tmp_path):
    hostile._coco(lambda document: None)(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    said = run(tmp_path).output
    assert "looks like several formats" in said and "coco (" in said and "huggingface (" in said
    assert run(tmp_path, "--format", "coco", "--licence", "MIT").exit_code == 0


def test_where_withdrawn_versions_are_listed_is_said(hostile, tmp_path):
    hostile._coco(lambda document: None)(tmp_path)
    facts = {"id": "urn:maskset:1", "version": "1.0.0", "revocations": "https://example.org/list.json"}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    done = run(tmp_path, "--licence", "MIT", "--format", "coco")
    assert "withdrawn versions are listed at https://example.org/list.json" in done.output
    withdrawn = tmp_path.parent / "list.json"
    withdrawn.write_text(json.dumps({"revocations": [{"id": "urn:maskset:1"}]}))
    refused = run(tmp_path, "--licence", "MIT", "--revocations", withdrawn)
    assert refused.exit_code == 1 and "was withdrawn" in refused.output
