"""Croissant metadata: complete by itself, accepted by the reference library, and its records are the data."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from dataset_tools.export.croissant import write_croissant
from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.parquet_files import ParquetPart
from dataset_tools.export.settings import ExportSettings
from dataset_tools.export.summary import Summary
from dataset_tools.formats.job import paint_index

# Reads a dataset with the reference library, in a process of its own, and prints what it got.
READ = """
import json, sys
import numpy as np
import mlcroissant
dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
for record in dataset.records("default"):
    image, mask = record["default/image"].convert("RGB"), record["default/mask"]
    print(json.dumps({
        "id": record["default/id"].decode(),
        "split": record["default/split"].decode(),
        "size": image.size,
        "mask": np.bincount(np.asarray(mask).ravel(), minlength=5).tolist(),
        "areas": [item["default/instances/area"] for item in record["default/instances"]],
    }))
print("issues", sorted(dataset.metadata.ctx.issues.errors), len(dataset.metadata.ctx.issues.warnings))
"""


@pytest.fixture
def python_with_mlcroissant() -> str:
    if importlib.util.find_spec("mlcroissant") is None:
        pytest.skip("mlcroissant is not installed; it comes with the extra `croissant`")
    return sys.executable


def run(python, *arguments):
    # Nothing may be fetched: a proxy that refuses every connection stands before the network.
    away = os.environ | {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    return subprocess.run([python, *arguments], capture_output=True, text=True, check=False, env=away)


def test_the_reference_library_reads_every_picture_and_mask_offline(exported, python_with_mlcroissant):
    folder, _, samples = exported
    done = run(python_with_mlcroissant, "-c", READ, str(folder / "croissant.json"))
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, issues = done.stdout.splitlines()
    assert issues.startswith("issues [] ")
    records = {record["id"]: record for record in map(json.loads, lines)}
    assert records.keys() == samples.keys()
    for name, record in records.items():
        sample = samples[name]
        height, width = sample.image.size_hw
        assert record["size"] == [width, height]
        assert record["mask"] == np.bincount(paint_index(sample).ravel(), minlength=5).tolist()
        assert record["areas"] == [item.mask.area_px for item in sample.instances]
        assert record["split"] == {"val": "validation"}.get(sample.split.value, sample.split.value)


def test_the_reference_validator_accepts_it(exported, python_with_mlcroissant):
    done = run(
        python_with_mlcroissant,
        "-m",
        "mlcroissant.scripts.validate",
        "--jsonld",
        str(exported[0] / "croissant.json"),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done." in done.stderr
    assert "error" not in done.stderr.lower()


def test_every_file_is_named_with_its_digest_and_every_column_with_its_type(exported):
    stated = json.loads((exported[0] / "croissant.json").read_text(encoding="utf-8"))
    assert stated["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    files = [part for part in stated["distribution"] if part["@type"] == "cr:FileObject"]
    assert [part["contentUrl"] for part in files] == [
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
        "data/test-00000-of-00001.parquet",
    ]
    (records,) = stated["recordSet"]
    fields = {field["name"]: field for field in records["field"]}
    assert fields["default/image"]["dataType"] == fields["default/mask"]["dataType"] == "sc:ImageObject"
    assert fields["default/image"]["source"]["transform"] == {"jsonPath": "bytes"}
    assert fields["default/width"]["dataType"] == "sc:Integer"
    assert fields["default/is_synthetic"]["dataType"] == "sc:Boolean"
    nested = {field["name"] for field in fields["default/instances"]["subField"]}
    assert {"default/instances/area", "default/instances/segmentation.counts"} <= nested
    assert stated["license"] == [
        "https://creativecommons.org/licenses/by/4.0/",
        "https://creativecommons.org/publicdomain/zero/1.0/",
    ]


def test_what_is_not_stated_is_not_in_it():
    part = ParquetPart("data/train-00000-of-00001.parquet", "train", 1, 9, "0" * 64, 9)
    schema = pa.schema([("tags", pa.list_(pa.string())), ("at", pa.struct([("x", pa.float32())]))])
    bare = json.loads(write_croissant(DatasetFacts(ExportSettings(), Summary(), parts=(part,)), schema))
    assert not {"citeAs", "datePublished", "url"} & bare.keys()
    fields = {field["name"]: field for field in bare["recordSet"][0]["field"]}
    assert fields["default/tags"]["repeated"] is True
    assert fields["default/at"]["subField"][0]["dataType"] == "sc:Float"
    full = ExportSettings(date="2026-01-31", citation="Us, 2026", homepage="https://example.org/set")
    stated = json.loads(write_croissant(DatasetFacts(full, Summary(), parts=(part,)), schema))
    assert (stated["citeAs"], stated["datePublished"]) == ("Us, 2026", "2026-01-31")
    assert stated["url"] == "https://example.org/set"
