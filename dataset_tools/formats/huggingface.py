"""Parquet files with embedded pictures that `datasets.load_dataset(folder)` opens, offline too.

`image` holds the stored bytes; `mask` is a palette PNG whose pixel values are label ids; `instances` holds
every instance's own exact mask as a COCO run-length code, so overlaps are not lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataset_tools.core.labels import MASK_TYPE, WEARING_STATE
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Instance, Sample, Split
from dataset_tools.formats.coco import rle_to_coco
from dataset_tools.formats.job import SPLITS, ExportJob, file_name, index_to_png, paint_index, public_group

# The Hub's word for the validation split.
SPLIT_NAMES = {Split.TRAIN: "train", Split.VAL: "validation", Split.TEST: "test"}

# Few large files travel well; a row group is what a viewer loads at once.
ROWS_PER_FILE = 2_000
ROWS_PER_GROUP = 50


def _features() -> Any:
    from datasets import Features, Image, List, Value

    text, whole = Value("string"), Value("int32")
    instance = {
        "id": text,
        "label": text,
        "bbox_xywh": List(whole),
        "area": whole,
        "segmentation": {"size": List(whole), "counts": text},
        "mask_type": text,
        "wearing_state": text,
        "drawn_by": text,
        "confidence": Value("float64"),
        "face": whole,
    }
    face = {"bbox_xyxy": List(Value("float64")), "score": Value("float64"), "wearing": text}
    return Features(
        {
            "image": Image(),
            "mask": Image(),
            "id": text,
            "width": whole,
            "height": whole,
            "instances": List(instance),
            "faces": List(face),
            "group": text,
            "is_synthetic": Value("bool"),
            "parent_id": text,
            "is_labelled": Value("bool"),
            "review": text,
            "source": text,
            "url": text,
            "licence": text,
            "author": text,
        }
    )


def write_huggingface(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write `data/<split>-<k>-of-<n>.parquet` for every split that has samples."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _features().arrow_schema
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        count = sum(1 for _ in job.samples(split))
        files = math.ceil(count / ROWS_PER_FILE)
        rows = _rows(job, split, progress)
        for number in range(files):
            name = f"{SPLIT_NAMES[split]}-{number:05d}-of-{files:05d}.parquet"
            left = min(ROWS_PER_FILE, count - number * ROWS_PER_FILE)
            with pq.ParquetWriter(folder / "data" / name, schema, compression="zstd") as writer:
                while left > 0:
                    batch = [next(rows) for _ in range(min(left, ROWS_PER_GROUP))]
                    writer.write_table(pa.Table.from_pylist(batch, schema))
                    left -= len(batch)


def _rows(job: ExportJob, split: Split, progress: Progress) -> Iterator[dict[str, Any]]:
    for sample in job.samples(split):
        yield _row(sample, job.images.read_bytes(sample.image))
        progress.advance()


def _row(sample: Sample, picture: bytes) -> dict[str, Any]:
    height, width = sample.image.size_hw
    provenance = sample.provenance
    return {
        "image": {"bytes": picture, "path": file_name(sample)},
        "mask": {"bytes": index_to_png(paint_index(sample)), "path": f"{sample.id}.mask.png"},
        "id": sample.id,
        "width": width,
        "height": height,
        "instances": [_instance(item) for item in sample.instances],
        "faces": [
            {"bbox_xyxy": list(face.box_xyxy), "score": face.score, "wearing": face.wearing.value}
            for face in sample.faces
        ],
        "group": public_group(sample),
        "is_synthetic": sample.is_synthetic,
        "parent_id": provenance.parent_id,
        "is_labelled": sample.is_labelled,
        "review": sample.review.state.value,
        "source": provenance.source,
        "url": provenance.url,
        "licence": provenance.licence,
        "author": provenance.author,
    }


def _instance(item: Instance) -> dict[str, Any]:
    left, top, right, bottom = item.mask.box_xyxy
    return {
        "id": item.id,
        "label": item.label.value,
        "bbox_xywh": [left, top, right - left, bottom - top],
        "area": item.mask.area_px,
        "segmentation": rle_to_coco(item.mask),
        "mask_type": item.attribute(MASK_TYPE),
        "wearing_state": item.attribute(WEARING_STATE),
        "drawn_by": item.drawn_by,
        "confidence": item.confidence,
        "face": item.face,
    }
