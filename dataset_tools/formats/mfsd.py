"""The folder layout of MFSD, as its authors publish it: `1/` photos with masked faces, `2/` without.

    1/img/<id>.jpg                           the photo, bytes as stored
    1/face_crop/<id>_<k>_<n>.jpg             masked face k of the photo's n, 250 x 250 pixels
    1/face_crop_segmentation/<id>_<k>_<n>.png   the mask region of that crop, 250 x 250, 0 or 255
    1/dataset.csv                            one row per face: filename, x1, y1, x2, y2, with_mask, …
    2/img/<id>.jpg                           photos without a mask
    photo_masks/<id>_<k>_<n>.png             ours: that face's mask on the whole photo, exact
    photos.csv                               ours: every photo with split, group, licence, author, url, source

Crop and mask have one stem, and 250 pixels a side, as ABANet's loader expects them. That size is not the
photo's, so a crop's mask is only as good as `crop_iou` in its row says; the exact masks lie beside. Their
masks are JPEG, which smears the border; ours are PNG. The regions of two faces that overlap are one region in
both crops, as in theirs.

Source: directory tree at https://github.com/sadjadrz/MFSD; loader and crop names in
https://github.com/sadjadrz/ABANet-Attention-boundary-aware-network-for-image-segmentation; columns as public
readers of the dataset's table use them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset_tools.core.files import canonical_json
from dataset_tools.core.images import RgbImage, encode_png
from dataset_tools.core.labels import MASK_TYPE, WEARING_STATE, Label
from dataset_tools.core.masks import BoolMask, rle_to_mask, union
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Instance, Sample
from dataset_tools.formats.job import ExportJob, file_name, place_picture, public_group

CROP_PX = 250  # side of the published crops
PHOTO_MASKS = "photo_masks"  # folder of the exact masks

FACE_COLUMNS = (
    "filename",
    "x1",
    "y1",
    "x2",
    "y2",
    "with_mask",
    "face_crop",
    "photo_mask",
    "crop_iou",
    "instance_id",
    "mask_type",
    "wearing_state",
    "attributes",
    "face",
    "drawn_by",
    "confidence",
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
    "is_labelled",
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
_QUOTE = "'"

Box = tuple[int, int, int, int]


def write_mfsd(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write both folders and both tables."""
    for part in ("1/img", "1/face_crop", "1/face_crop_segmentation", "2/img", PHOTO_MASKS):
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


def quoted_cell(text: str) -> str:
    """Text as a cell that no spreadsheet runs; `unquoted_cell` gives the text back."""
    return _QUOTE + text if text.startswith((*_FORMULA_STARTS, _QUOTE)) else text


def unquoted_cell(cell: str) -> str:
    """The text of a cell of `quoted_cell`."""
    return cell.removeprefix(_QUOTE)


def _origin(sample: Sample) -> dict[str, Any]:
    provenance = sample.provenance
    return {
        "split": sample.split.value,
        "licence": quoted_cell(provenance.licence),
        "author": quoted_cell(provenance.author),
        "url": quoted_cell(provenance.url),
        "source": quoted_cell(provenance.source),
    }


def _photo_row(sample: Sample, path: str) -> dict[str, Any]:
    return {
        "path": path,
        "sample_id": sample.id,
        "group": public_group(sample),
        "is_synthetic": sample.is_synthetic,
        "is_labelled": sample.is_labelled,
        "parent_id": sample.provenance.parent_id,
        **_origin(sample),
    }


def _mask_instances(sample: Sample) -> Iterator[Instance]:
    return (item for item in sample.instances if item.label is Label.FACE_MASK and not item.mask.is_empty)


def _write_faces(sample: Sample, job: ExportJob, folder: Path) -> Iterator[dict[str, Any]]:
    rgb = job.images.read(sample.image)
    region = union((item.mask for item in _mask_instances(sample)), sample.image.size_hw)
    faces = face_boxes(sample)
    count = sum(item is not None for _, item in faces)
    number = 0
    for box, item in faces:
        row: dict[str, Any] = {
            "filename": file_name(sample),
            **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
            "with_mask": item is not None,
            **_origin(sample),
        }
        if item is not None:
            stem = f"{sample.id}_{number}_{count}"
            number += 1
            left, top, right, bottom = box
            inside = region[top:bottom, left:right]
            crop = resized_mask(inside, (CROP_PX, CROP_PX))
            (folder / "face_crop" / f"{stem}.jpg").write_bytes(_jpeg(rgb[top:bottom, left:right]))
            (folder / "face_crop_segmentation" / f"{stem}.png").write_bytes(_mask_png(crop))
            (folder.parent / PHOTO_MASKS / f"{stem}.png").write_bytes(_mask_png(rle_to_mask(item.mask)))
            row |= {**_described(item, stem), "crop_iou": f"{_put_back_iou(crop, inside):.4f}"}
        yield row


def _described(item: Instance, stem: str) -> dict[str, Any]:
    return {
        "face_crop": f"{stem}.jpg",
        "photo_mask": f"{stem}.png",
        "instance_id": quoted_cell(item.id),
        "mask_type": quoted_cell(item.attribute(MASK_TYPE)),
        "wearing_state": quoted_cell(item.attribute(WEARING_STATE)),
        "attributes": canonical_json(dict(item.attributes)),
        "face": item.face,
        "drawn_by": quoted_cell(item.drawn_by),
        "confidence": "" if item.confidence is None else repr(item.confidence),
    }


def _mask_png(mask: BoolMask) -> bytes:
    return encode_png(mask.astype(np.uint8) * 255)


def resized_mask(mask: BoolMask, size_hw: tuple[int, int]) -> BoolMask:
    """A mask of another size: a pixel belongs to it when at least half of its area does."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize((size_hw[1], size_hw[0]), Image.Resampling.BOX)) > 127


def _put_back_iou(crop: BoolMask, inside: BoolMask) -> float:
    """Overlap of a crop's mask, put back into its place, with the exact one."""
    height, width = inside.shape
    again = resized_mask(crop, (height, width))
    either = np.count_nonzero(again | inside)
    return float(np.count_nonzero(again & inside) / either) if either else 1.0


def _jpeg(rgb: RgbImage) -> bytes:
    buffer = io.BytesIO()
    crop = Image.fromarray(np.ascontiguousarray(rgb)).resize((CROP_PX, CROP_PX), Image.Resampling.BICUBIC)
    crop.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def face_boxes(sample: Sample) -> list[tuple[Box, Instance | None]]:
    """Crop box of every face, with its face mask or None; masks whose face is not known come last.

    A box is the face's box widened by a tenth, grown until it holds the whole mask and then to a square as
    far as the picture goes: x right, y down, x1 and y1 exclusive.
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
    return _squared((left, top, right, bottom), size_hw)


def _squared(box: tuple[float, float, float, float], size_hw: tuple[int, int]) -> Box:
    height, width = size_hw
    left, top = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    right, bottom = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    side = max(right - left, bottom - top)
    across, down = min(side, width), min(side, height)
    left = min(max(0, left - (across - (right - left)) // 2), width - across)
    top = min(max(0, top - (down - (bottom - top)) // 2), height - down)
    return left, top, left + across, top + down
