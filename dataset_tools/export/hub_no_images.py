"""Take the pictures out of a prepared dataset: labels, addresses and hashes of what may not be redistributed.

Every row keeps its masks, boxes, `url`, `licence` and `author`; `image_sha256` (of the picture as it was
stored, after orientation and metadata were dealt with) replaces `image`, so who has the picture can match it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from dataset_tools.core.errors import DataError
from dataset_tools.core.files import write_text

_ROWS_PER_GROUP = 50
_NOTE = (
    "## No pictures in this copy\n\n"
    "The pictures may not be redistributed, so this copy holds labels only: the column `image` is absent. "
    "Each row has the `url` and the `image_sha256` of its picture; whether you may fetch it from there is "
    "yours to check. A row without `url` cannot be completed from the outside.\n"
)

_SHEET_NOTE = "The answers below are those of the version with pictures.\n"


def strip_pictures(folder: Path) -> None:
    """Rewrite a prepared folder without pictures.

    Raises:
        DataError: the card cannot be read.
    """
    for path in sorted(folder.glob("data/*.parquet")):
        _strip_file(path)
    (folder / "croissant.json").unlink(missing_ok=True)  # it describes the files with pictures
    card = folder / "README.md"
    write_text(card, _strip_card(card.read_text(encoding="utf-8")))
    sheet = folder / "DATASHEET.md"
    if sheet.is_file():
        title, _, answers = sheet.read_text(encoding="utf-8").partition("\n")
        write_text(sheet, f"{title}\n\n{_NOTE}\n{_SHEET_NOTE}\n{answers}")
    facts_path = folder / "dataset.json"
    facts = json.loads(facts_path.read_text(encoding="utf-8"))
    # Terms that forbid to pass a picture on do not matter for this copy.
    facts |= {"with_images": False, "missing": facts.get("missing_without_images", facts["missing"])}
    write_text(facts_path, json.dumps(facts, indent=2, sort_keys=True) + "\n")


def _strip_file(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pq.ParquetFile(path)
    fresh = path.with_name(f".tmp-{path.name}")
    schema = _without_picture(source.schema_arrow)
    with pq.ParquetWriter(fresh, schema, compression="zstd") as writer:
        for batch in source.iter_batches(batch_size=_ROWS_PER_GROUP):
            pictures = batch.column("image").to_pylist()
            hashes = [hashlib.sha256(item["bytes"]).hexdigest() if item else None for item in pictures]
            columns = [
                pa.array(hashes, pa.string()) if field.name == "image_sha256" else batch.column(field.name)
                for field in schema
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    source.close()
    fresh.replace(path)  # never written in place: the file may be a hard link to the exported one


def _without_picture(schema: Any) -> Any:
    import pyarrow as pa

    position = schema.get_field_index("image")
    if position < 0:
        raise DataError("the exported Parquet has no column image")
    # A column of that name that is there already holds the same hash.
    position_sha = schema.get_field_index("image_sha256")
    changed = schema.remove(position)
    if position_sha < 0:
        changed = changed.insert(0, pa.field("image_sha256", pa.string()))
    metadata = dict(changed.metadata or {})
    if b"huggingface" in metadata:
        about = json.loads(metadata[b"huggingface"])
        features = about.get("info", {}).get("features", {})
        features.pop("image", None)
        features.setdefault("image_sha256", {"dtype": "string", "_type": "Value"})
        metadata[b"huggingface"] = json.dumps(about).encode()
    return changed.with_metadata(metadata)


def _strip_card(text: str) -> str:
    """The card with a note, and without figures of the files with pictures in its head."""
    try:
        _, head, body = text.split("---\n", 2)
        metadata = yaml.safe_load(head)
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(f"the card has no readable YAML head: {error}") from error
    info = metadata.get("dataset_info")
    for entry in info if isinstance(info, list) else [info] if isinstance(info, dict) else []:
        _strip_info(entry)
    title, _, rest = body.lstrip("\n").partition("\n")
    fresh = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return f"---\n{fresh}---\n\n{title}\n\n{_NOTE}\n{rest.lstrip(chr(10))}"


def _strip_info(info: dict[str, Any]) -> None:
    features = [item for item in info.get("features", []) if item.get("name") != "image"]
    if all(item.get("name") != "image_sha256" for item in features):
        features.insert(0, {"name": "image_sha256", "dtype": "string"})
    if "features" in info:
        info["features"] = features
    for split in info.get("splits", []):
        split.pop("num_bytes", None)
    info.pop("download_size", None)
    info.pop("dataset_size", None)
