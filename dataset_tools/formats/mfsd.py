"""The folder layout of MFSD, as its authors publish it: `1/` photos with masked faces, `2/` without.

    1/img/<id>.jpg                        the photo, bytes as stored
    1/face_crop/<id>_<k>.jpg              one crop per masked face
    1/face_crop_segmentation/<id>_<k>.png its mask region, 0 or 255
    1/dataset.csv                         one row per face: filename, x1, y1, x2, y2, with_mask, …
    2/img/<id>.jpg                        photos without a mask
    photos.csv                            every photo: split, group, licence, author, url, source

Their masks are JPEG, which smears the border; ours are PNG, so that every pixel survives. A crop holds the
whole mask of its face, and the box in the table puts it back in its place. The mask regions of two faces
that overlap are one region in both crops, as in theirs.

Source: directory tree at https://github.com/sadjadrz/MFSD; columns as public readers of its dataset.csv use
them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset_tools.core.errors import DataError
from dataset_tools.core.images import RgbImage, encode_png
from dataset_tools.core.labels import MASK_TYPE, WEARING_STATE, Label
from dataset_tools.core.masks import BoolMask, union
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Instance, Sample
from dataset_tools.formats.job import ExportJob, file_name, place_picture, public_group

FACE_COLUMNS = (
    "filename",
    "x1",
    "y1",
    "x2",
    "y2",
    "with_mask",
    "face_crop",
    "mask_type",
    "wearing_state",
    "drawn_by",
    "split",
    "licence",
    "author",
    "url",
    "source",
)
PHOTO_COLUMNS = (
    "path",
    "sample_id",
    "split",
    "group",
    "is_synthetic",
    "parent_id",
    "licence",
    "author",
    "url",
    "source",
)

# A face box is widened by this part of its side, so that straps and chin are in the crop.
_MARGIN = 0.1
_JPEG_QUALITY = 95

# Spreadsheets run cells that begin like this as formulas.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class MfsdCrop:
    """One masked face read back.

    Attributes:
        photo: file name of the photo in `1/img`.
        box_xyxy: pixels of the crop in the photo, x1 and y1 exclusive.
        mask: (y1 - y0, x1 - x0) bool, the mask region inside the box.
        rgb: (y1 - y0, x1 - x0, 3) uint8 crop.
    """

    photo: str
    box_xyxy: Box
    mask: BoolMask
    rgb: RgbImage


def write_mfsd(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write both folders and both tables."""
    for part in ("1/img", "1/face_crop", "1/face_crop_segmentation", "2/img"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        faces = _open_table(stack, folder / "1" / "dataset.csv", FACE_COLUMNS)
        photos = _open_table(stack, folder / "photos.csv", PHOTO_COLUMNS)
        for sample in job.samples():
            part = "1" if any(_mask_instances(sample)) else "2"
            place_picture(job.images, sample.image, folder / part / "img" / file_name(sample))
            photos.writerow(_photo_row(sample, f"{part}/img/{file_name(sample)}"))
            if part == "1":
                faces.writerows(_write_faces(sample, job, folder / "1"))
            progress.advance()


def _open_table(stack: ExitStack, path: Path, columns: tuple[str, ...]) -> csv.DictWriter[str]:
    stream = stack.enter_context(path.open("w", newline="", encoding="utf-8"))
    table = csv.DictWriter(stream, columns, lineterminator="\n")
    table.writeheader()
    return table


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _origin(sample: Sample) -> dict[str, Any]:
    provenance = sample.provenance
    return {
        "split": sample.split.value,
        "licence": _cell(provenance.licence),
        "author": _cell(provenance.author),
        "url": _cell(provenance.url),
        "source": _cell(provenance.source),
    }


def _photo_row(sample: Sample, path: str) -> dict[str, Any]:
    return {
        "path": path,
        "sample_id": sample.id,
        "group": public_group(sample),
        "is_synthetic": sample.is_synthetic,
        "parent_id": sample.provenance.parent_id,
        **_origin(sample),
    }


def _mask_instances(sample: Sample) -> Iterator[Instance]:
    return (item for item in sample.instances if item.label is Label.FACE_MASK and not item.mask.is_empty)


def _write_faces(sample: Sample, job: ExportJob, folder: Path) -> Iterator[dict[str, Any]]:
    rgb = job.images.read(sample.image)
    region = union((item.mask for item in _mask_instances(sample)), sample.image.size_hw)
    for number, (box, item) in enumerate(face_boxes(sample)):
        row: dict[str, Any] = {
            "filename": file_name(sample),
            **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
            "with_mask": item is not None,
            **_origin(sample),
        }
        if item is not None:
            left, top, right, bottom = box
            stem = f"{sample.id}_{number}"
            (folder / "face_crop" / f"{stem}.jpg").write_bytes(_jpeg(rgb[top:bottom, left:right]))
            crop = region[top:bottom, left:right].astype(np.uint8) * 255
            (folder / "face_crop_segmentation" / f"{stem}.png").write_bytes(encode_png(crop))
            row |= {
                "face_crop": f"{stem}.jpg",
                "mask_type": item.attribute(MASK_TYPE),
                "wearing_state": item.attribute(WEARING_STATE),
                "drawn_by": _cell(item.drawn_by),
            }
        yield row


def _jpeg(rgb: RgbImage) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def face_boxes(sample: Sample) -> list[tuple[Box, Instance | None]]:
    """Crop box of every face, with its face mask or None; masks whose face is not known come last.

    A box is the face's box widened by a tenth and grown until it holds the whole mask, clipped to the
    picture: x right, y down, x1 and y1 exclusive.
    """
    masks = list(_mask_instances(sample))
    by_face = {item.face: item for item in masks if 0 <= item.face < len(sample.faces)}
    found: list[tuple[Box, Instance | None]] = []
    for index, face in enumerate(sample.faces):
        item = by_face.get(index)
        found.append((_grown(face.box_xyxy, item, sample.image.size_hw), item))
    paired = {id(item) for item in by_face.values()}
    for item in masks:
        if id(item) not in paired:
            found.append((_grown(item.mask.box_xyxy, item, sample.image.size_hw), item))
    return found


def _grown(box: tuple[float, ...], item: Instance | None, size_hw: tuple[int, int]) -> Box:
    left, top, right, bottom = box
    across, down = _MARGIN * (right - left), _MARGIN * (bottom - top)
    left, top, right, bottom = left - across, top - down, right + across, bottom + down
    if item is not None:
        mask_left, mask_top, mask_right, mask_bottom = item.mask.box_xyxy
        left, top = min(left, mask_left), min(top, mask_top)
        right, bottom = max(right, mask_right), max(bottom, mask_bottom)
    height, width = size_hw
    return (
        max(0, int(np.floor(left))),
        max(0, int(np.floor(top))),
        min(width, int(np.ceil(right))),
        min(height, int(np.ceil(bottom))),
    )


def read_mfsd(folder: Path) -> Iterator[MfsdCrop]:
    """Masked faces of a folder written by `write_mfsd`, in the table's order.

    Raises:
        DataError: a file is missing or the table has other columns.
    """
    try:
        with (folder / "1" / "dataset.csv").open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if row["with_mask"] == "True":
                    yield _read_crop(folder / "1", row)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{folder} is not in the MFSD layout: {error!r}") from error


def _read_crop(folder: Path, row: dict[str, str]) -> MfsdCrop:
    stem = Path(row["face_crop"]).stem
    with Image.open(folder / "face_crop_segmentation" / f"{stem}.png") as opened:
        mask = np.asarray(opened) == 255
    with Image.open(folder / "face_crop" / f"{stem}.jpg") as opened:
        rgb = np.asarray(opened.convert("RGB"))
    box = (int(row["x1"]), int(row["y1"]), int(row["x2"]), int(row["y2"]))
    return MfsdCrop(row["filename"], box, mask, rgb)
