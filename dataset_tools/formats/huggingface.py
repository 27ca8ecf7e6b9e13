"""Parquet files with embedded pictures that `datasets.load_dataset(folder)` opens, offline too.

`image` holds the stored bytes; `mask` is a palette PNG whose pixel values are label ids; `instances` holds
every instance's own exact mask as a COCO run-length code, so overlaps are not lost. The class numbers of
`instances` are the label ids too.

Foreign datasets are read as well: a column of pictures and, when there is one, a column of mask pictures that
hold class numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import LABEL_IDS, MASK_TYPE, WEARING_STATE
from dataset_tools.core.local_files import LocalEntry, walk
from dataset_tools.core.progress import Progress
from dataset_tools.core.published import Annotation, Fault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Sample, Split
from dataset_tools.formats.entries import (
    fact_text,
    instance_entry,
    listed_instances,
    picture_facts,
    read_facts,
    split_of,
)
from dataset_tools.formats.index_labels import IndexLabels
from dataset_tools.formats.job import SPLITS, ExportJob, file_name, index_to_png, paint_index
from dataset_tools.formats.parquet_cells import ParquetCell
from dataset_tools.formats.reading import FoundPicture, Problem, ReadOptions

# The Hub's word for the validation split.
SPLIT_NAMES = {Split.TRAIN: "train", Split.VAL: "validation", Split.TEST: "test"}

# Few large files travel well; a row group is what a viewer loads at once.
ROWS_PER_FILE = 2_000
ROWS_PER_GROUP = 50

# Class names of instances; their numbers are the label ids, 0 is the background.
CLASS_NAMES = ("background", *(label.value for label in sorted(LABEL_IDS, key=LABEL_IDS.__getitem__)))

_PICTURE_COLUMNS = ("image", "img", "picture", "photo", "jpg", "png")
_MASK_COLUMNS = ("mask", "label", "labels", "annotation", "segmentation", "seg", "gt", "mask.png", "seg.png")
_ROWS_AT_ONCE = 64


def features() -> Any:
    """The columns as `datasets.Features`."""
    from datasets import ClassLabel, Features, Image, List, Value

    text, whole = Value("string"), Value("int32")
    instance = {
        "id": text,
        "label": ClassLabel(names=list(CLASS_NAMES)),
        "bbox_xywh": List(whole),
        "area": whole,
        "segmentation": {"size": List(whole), "counts": text},
        "mask_type": text,
        "wearing_state": text,
        "attributes": List({"key": text, "value": text}),
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
            "licence_url": text,
            "author": text,
            "retrieved_at": text,
        }
    )


def write_huggingface(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write `data/<split>-<k>-of-<n>.parquet` for every split that has samples."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = features().arrow_schema
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
    facts = picture_facts(sample)
    del facts["split"]  # the file's name says it
    return {
        "image": {"bytes": picture, "path": file_name(sample)},
        "mask": {"bytes": index_to_png(paint_index(sample)), "path": f"{sample.id}.mask.png"},
        "id": facts.pop("sample_id"),
        "width": width,
        "height": height,
        "instances": [_instance(item) for item in sample.instances],
        "faces": [
            {"bbox_xyxy": list(face.box_xyxy), "score": face.score, "wearing": face.wearing.value}
            for face in sample.faces
        ],
        **facts,
    }


def _instance(item: Instance) -> dict[str, Any]:
    return {
        **instance_entry(item),
        "label": LABEL_IDS[item.label],
        # As columns of their own, too, so that they can be filtered by.
        "mask_type": item.attribute(MASK_TYPE),
        "wearing_state": item.attribute(WEARING_STATE),
    }


@dataclass(frozen=True, slots=True)
class _Shard:
    """One Parquet file of a dataset.

    Attributes:
        name: relative to the root.
        path, root: of the file and of the dataset.
        picture: column of pictures.
        mask: column of mask pictures, "" for none.
        stated: every other column.
        class_names: of the labels of `instances`.
    """

    name: str
    path: Path
    root: Path
    picture: str
    mask: str
    stated: tuple[str, ...]
    class_names: tuple[str, ...]


def read_huggingface(folder: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    """Rows of all Parquet files below a folder, or of one file, in the order of names and rows.

    Rows are listed without their pictures, a few at a time. Labels come from `instances`, else from a column
    of mask pictures. The split is the first word of a file's name, or the name of its folder.
    """
    if folder.is_file():
        files = [LocalEntry(folder.name, folder)]
    else:
        files = [entry for entry in walk(folder) if entry.name.endswith(".parquet")]
    if not files:
        yield Problem(folder.name, Fault(Reason.SCHEMA, "no .parquet file in it"), is_fatal=True)
    keys: set[str] = set()
    for entry in files:
        if entry.fault is not None:
            yield Problem(entry.name, entry.fault)
            continue
        root = folder.parent if folder.is_file() else folder
        yield from _read_file(entry.name, entry.path, root, keys, options)


def _read_file(
    name: str, path: Path, root: Path, keys: set[str], options: ReadOptions
) -> Iterator[FoundPicture | Problem]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            shard = _look_at(file, name, path, root)
            for group in range(file.metadata.num_row_groups):
                for at, stated in enumerate(_stated_rows(file, group, shard)):
                    yield from _found(shard, group, at, row, stated, keys, options)
                    row += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, ItemFault):
            yield Problem(name, Fault(error.reason, str(error)))
        else:
            detail = f"cannot be read from row {row} on: {' '.join(str(error).split())[:200]}"
            yield Problem(name, Fault(Reason.CORRUPT, detail))


def _look_at(file: Any, name: str, path: Path, root: Path) -> _Shard:
    schema = file.schema_arrow
    pictures = [column.name for column in schema if _holds_pictures(column.type)]
    picture = next((column for column in _PICTURE_COLUMNS if column in pictures), "")
    mask = next((column for column in _MASK_COLUMNS if column in pictures and column != picture), "")
    others = [column for column in pictures if column != mask]
    if not picture and len(others) != 1:
        raise ItemFault(
            Reason.SCHEMA, f"no column of pictures, or several: {', '.join(pictures) or schema.names}"
        )
    stated = tuple(column for column in schema.names if column not in pictures)
    names = _class_names((schema.metadata or {}).get(b"huggingface", b""))
    return _Shard(name, path, root, picture or others[0], mask, stated, names)


def _holds_pictures(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return {kind.field(index).name for index in range(kind.num_fields)} == {"bytes", "path"}
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _class_names(metadata: bytes) -> tuple[str, ...]:
    """Names of the classes of `instances`, from what `datasets` writes into the file; else ours."""
    try:
        names = json.loads(metadata)["info"]["features"]["instances"]["feature"]["label"]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return CLASS_NAMES
    return tuple(str(name) for name in names) if isinstance(names, list) else CLASS_NAMES


def _stated_rows(file: Any, group: int, shard: _Shard) -> Iterator[dict[str, Any]]:
    if not shard.stated:
        yield from ({} for _ in range(file.metadata.row_group(group).num_rows))
        return
    columns = list(shard.stated)
    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=columns):
        yield from batch.to_pylist()


def _found(
    shard: _Shard,
    group: int,
    at: int,
    row: int,
    stated: dict[str, Any],
    keys: set[str],
    options: ReadOptions,
) -> Iterator[FoundPicture | Problem]:
    where = f"{shard.name}: row {row}"
    is_ours = "instances" in stated
    key = fact_text(stated.get("id")) if is_ours else where
    if not key or key in keys:
        reason = Reason.DUPLICATE_ID if key else Reason.SCHEMA
        yield Problem(where, Fault(reason, f"id {key!r} came before" if key else "a row without an id"))
        return
    keys.add(key)
    if is_ours:
        stated["sample_id"] = stated.get("id")
    content = ParquetCell(str(shard.path), str(shard.root), group, at, shard.picture)
    try:
        annotation = _annotation(shard, group, at, stated, options)
    except ItemFault as fault:
        yield Problem(where, Fault(fault.reason, str(fault)))
        return
    yield FoundPicture(key, content, annotation, facts=read_facts(stated, options))


def _annotation(
    shard: _Shard, group: int, at: int, stated: Mapping[str, Any], options: ReadOptions
) -> Annotation | None:
    folders = (Path(shard.name).stem.partition("-")[0], *Path(shard.name).parts[-2::-1])
    splits = (split_of(stated.get("split")), *map(split_of, folders))
    split = next((split for split in splits if split is not Split.UNASSIGNED), Split.UNASSIGNED)
    entries = stated.get("instances")
    if entries is not None:
        if isinstance(entries, list):
            entries = [_named(entry, shard.class_names) for entry in entries]
        return listed_instances(entries, stated, options, split)
    if shard.mask:
        mask = ParquetCell(str(shard.path), str(shard.root), group, at, shard.mask)
        return IndexLabels(mask, options, split)
    return None


def _named(entry: Any, names: tuple[str, ...]) -> Any:
    """An entry with the name of its class instead of the number; as it is when that has none."""
    if not isinstance(entry, dict):
        return entry
    number = entry.get("label")
    if type(number) is int and 0 <= number < len(names):
        entry = {**entry, "label": names[number]}
    if "attributes" not in entry:  # files of before attributes were a column
        known = {key: entry.get(key) for key in (MASK_TYPE, WEARING_STATE)}
        entry = {**entry, "attributes": {key: value for key, value in known.items() if value}}
    return entry
