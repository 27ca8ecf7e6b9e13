"""COCO instance segmentation: `images/<id>.jpg|png` and `annotations/instances_<split>.json`.

Every instance is one annotation with an exact compressed RLE and `iscrowd` 0, also when it has holes or
several parts. Area and box are computed from the mask. Provenance stands in each image's entry.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.files import canonical_json
from dataset_tools.core.labels import LABEL_IDS, Label
from dataset_tools.core.masks import RleMask, counts_to_rle, decode_counts
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Instance, Sample, sorted_pairs
from dataset_tools.formats.job import SPLITS, ExportJob, file_name, place_picture, public_group

_LABEL_OF_ID: dict[int, Label] = {number: label for label, number in LABEL_IDS.items()}


def rle_to_coco(rle: RleMask) -> dict[str, Any]:
    """`{"size": [H, W], "counts": text}` with COCO's compressed run lengths; exact."""
    from pycocotools import mask as coco_mask

    height, width = rle.size_hw
    packed = coco_mask.frPyObjects({"size": [height, width], "counts": list(rle.counts)}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def coco_to_rle(segmentation: dict[str, Any]) -> RleMask:
    """The mask of a compressed or plain COCO run-length code.

    Raises:
        ItemFault: text that is no such code (`rle_value`), or counts that do not fill the size.
    """
    height, width = (int(side) for side in segmentation["size"])
    counts = segmentation["counts"]
    runs = decode_counts(counts) if isinstance(counts, str) else counts
    return counts_to_rle(runs, (height, width))


class _Rows:
    """A JSON list written entry by entry, so that a large dataset never stands in memory."""

    def __init__(self, stream: IO[str], first_number: int) -> None:
        self.stream = stream
        self.number = first_number - 1
        self.is_empty = True

    def add(self, entry: dict[str, Any]) -> int:
        """Write the entry with the next number as its id; returns that number."""
        self.number += 1
        separator = "" if self.is_empty else ",\n"
        self.stream.write(separator + canonical_json({"id": self.number, **entry}))
        self.is_empty = False
        return self.number


def write_coco(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write every split that has samples; ids of images and annotations count through all splits."""
    licences = sorted({sample.provenance.licence for sample in job.samples()})
    last_image = last_annotation = 0
    for split in SPLITS:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as aside:
            images = _Rows(aside, last_image + 1)
            target = folder / "annotations" / f"instances_{split.value}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("w", encoding="utf-8") as stream:
                _write_head(stream, job, licences)
                stream.write('"annotations":[\n')
                annotations = _Rows(stream, last_annotation + 1)
                for sample in job.samples(split):
                    place_picture(job.images, sample.image, folder / "images" / file_name(sample))
                    _add_sample(sample, images, annotations, licences)
                    progress.advance()
                stream.write('],\n"images":[\n')
                aside.seek(0)
                shutil.copyfileobj(aside, stream)
                stream.write("]}\n")
            if images.is_empty:
                target.unlink()
        last_image, last_annotation = images.number, annotations.number


def _write_head(stream: IO[str], job: ExportJob, licences: list[str]) -> None:
    about = job.about
    info = {"description": about.name, "version": about.version, "contributor": about.contact}
    if about.date:
        info["date_created"] = about.date
    head = {
        "info": info,
        "licenses": [{"id": number, "name": name, "url": ""} for number, name in enumerate(licences, 1)],
        "categories": [
            {"id": number, "name": label.value, "supercategory": "person"}
            for label, number in LABEL_IDS.items()
        ],
    }
    stream.write(canonical_json(head)[:-1] + ",\n")


def _add_sample(sample: Sample, images: _Rows, annotations: _Rows, licences: list[str]) -> None:
    image_id = images.add(_image_entry(sample, licences))
    for item in sample.instances:
        if not item.mask.is_empty:  # COCO has no object without pixels; the picture stays as a negative
            annotations.add(_annotation(item, image_id))


def _image_entry(sample: Sample, licences: list[str]) -> dict[str, Any]:
    height, width = sample.image.size_hw
    provenance = sample.provenance
    return {
        "file_name": file_name(sample),
        "width": width,
        "height": height,
        "license": licences.index(provenance.licence) + 1,
        "licence": provenance.licence,
        "author": provenance.author,
        "source": provenance.source,
        "url": provenance.url,
        "sample_id": sample.id,
        "group": public_group(sample),
        "split": sample.split.value,
        "parent_id": provenance.parent_id,
        "is_synthetic": sample.is_synthetic,
        "is_labelled": sample.is_labelled,
    }


def _annotation(item: Instance, image_id: int) -> dict[str, Any]:
    left, top, right, bottom = item.mask.box_xyxy
    entry: dict[str, Any] = {
        "image_id": image_id,
        "category_id": LABEL_IDS[item.label],
        "segmentation": rle_to_coco(item.mask),
        "area": item.mask.area_px,
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        "instance_id": item.id,
        "face": item.face,
        "drawn_by": item.drawn_by,
        "is_proposal": item.is_proposal,
        "attributes": dict(item.attributes),
    }
    if item.confidence is not None:
        entry["confidence"] = item.confidence
    return entry


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One image of a COCO file with its instances.

    Attributes:
        file_name: relative to the images folder.
        size_hw: as the file states it.
        instances: in the order of their ids.
        sample_id: of the sample it was written from, "" in foreign files.
    """

    file_name: str
    size_hw: tuple[int, int]
    instances: tuple[Instance, ...]
    sample_id: str = ""


def read_coco(annotations: Path) -> list[CocoImage]:
    """Read back a file of `write_coco`, images in the order of their ids.

    Raises:
        DataError: not readable as such a file.
        ItemFault: a mask that is none.
    """
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        instances: dict[int, list[Instance]] = {entry["id"]: [] for entry in content["images"]}
        for entry in sorted(content["annotations"], key=lambda found: found["id"]):
            instances[entry["image_id"]].append(_instance_from(entry))
        return [
            CocoImage(
                file_name=entry["file_name"],
                size_hw=(entry["height"], entry["width"]),
                instances=tuple(instances[entry["id"]]),
                sample_id=entry.get("sample_id", ""),
            )
            for entry in sorted(content["images"], key=lambda found: found["id"])
        ]
    except ItemFault:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{annotations} is not a COCO file of this suite: {error!r}") from error


def _instance_from(entry: dict[str, Any]) -> Instance:
    return Instance(
        id=entry.get("instance_id", str(entry["id"])),
        label=_LABEL_OF_ID[entry["category_id"]],
        mask=coco_to_rle(entry["segmentation"]),
        drawn_by=entry.get("drawn_by", "published:coco"),
        confidence=entry.get("confidence"),
        face=entry.get("face", -1),
        attributes=sorted_pairs(entry.get("attributes", {})),
    )
