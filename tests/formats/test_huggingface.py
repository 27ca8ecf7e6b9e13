"""Parquet export: opens offline, pictures and masks exact, the same bytes every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

from dataset_tools.core.files import sha256_file
from dataset_tools.core.labels import LABEL_IDS, PAINT_ORDER, Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.export.dataset import export_dataset
from dataset_tools.export.settings import ExportSettings
from dataset_tools.formats.coco import coco_to_rle
from dataset_tools.formats.job import paint_index

# Runs as its users would run it: a fresh process that may not ask the network.
READER = """
import io, json, sys
import numpy as np
from datasets import load_dataset
found = {}
for name, split in load_dataset(sys.argv[1]).items():
    for row in split:
        mask, image = np.array(row["mask"]), np.array(row["image"])
        np.savez(f"{sys.argv[2]}/{row['id']}.npz", mask=mask, image=image)
        del row["mask"], row["image"]
        found[row["id"]] = {**row, "split": name}
print(json.dumps(found))
"""


def test_load_dataset_opens_the_folder_offline_with_exact_masks(exported, chain, tmp_path):
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    (tmp_path / "arrays").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", READER, str(exported[0]), str(tmp_path / "arrays")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    assert set(rows) == set(exported[2])
    for name, sample in exported[2].items():
        row = rows[name]
        assert row["split"] == {"train": "train", "val": "validation", "test": "test"}[sample.split.value]
        arrays = np.load(tmp_path / "arrays" / f"{name}.npz")
        np.testing.assert_array_equal(arrays["image"], chain[0].images.read(sample.image))
        np.testing.assert_array_equal(arrays["mask"], paint_index(sample))
        assert row["licence"] == sample.provenance.licence
        assert row["url"] == sample.provenance.url
        assert row["group"] != sample.group and len(row["group"]) == 16
        assert row["is_synthetic"] == sample.is_synthetic
        assert row["parent_id"] == sample.provenance.parent_id
        for entry, item in zip(row["instances"], sample.instances, strict=True):
            assert coco_to_rle(entry["segmentation"]) == item.mask
            assert entry["label"] == item.label.value
            assert entry["mask_type"] == item.attribute("mask_type")
            assert entry["drawn_by"] == item.drawn_by


def test_where_labels_overlap_the_nearer_one_is_painted(exported):
    overlapping = next(s for s in exported[2].values() if s.is_synthetic)
    index = paint_index(overlapping)
    masks = {item.label: rle_to_mask(item.mask) for item in overlapping.instances}
    assert (masks[Label.FACE] & masks[Label.FACE_MASK]).any()
    assert (index[masks[Label.FACE_MASK]] == LABEL_IDS[Label.FACE_MASK]).all()
    assert set(PAINT_ORDER) == set(LABEL_IDS)


def test_the_same_manifest_gives_the_same_bytes(exported, chain, tmp_path):
    workspace, manifests = chain
    settings = ExportSettings(
        name="test faces", version="1.2.0", contact="removal@example.org", description="A test set."
    )
    export_dataset(manifests["split"], workspace.images, settings, tmp_path / "again")
    first, second = (
        {
            path.relative_to(root).as_posix(): sha256_file(path)
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
        for root in (exported[0], tmp_path / "again")
    )
    assert first == second
