"""Pictures with true boxes: from a manifest or from COCO annotations, and as a network sees them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from baselines.checkpoint import SeenSample
from baselines.detection.boxes import BoxArray, Detections, true_boxes
from baselines.detection.settings import Truth
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import ImageStore, decode_photo
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.record import ImageRef, Sample, Split, sample_id

RgbImage = npt.NDArray[np.uint8]

CLASSES: MappingProxyType[Truth, tuple[str, ...]] = MappingProxyType(
    {
        "objects": (Label.FACE_MASK.value, Label.FACE.value),
        "wearing": (Wearing.MASKED.value, Wearing.UNMASKED.value, Wearing.INCORRECT.value),
        "faces": ("face",),
    }
)
"""Names of the classes, in the order of the networks' labels 1, 2, …"""


@dataclass(frozen=True, slots=True)
class BoxPicture:
    """A picture and what is to be found in it."""

    sample_id: str
    group: str
    split: Split
    parent_id: str
    image: ImageRef
    truth: Detections

    @property
    def seen(self) -> SeenSample:
        """How `trained_on.csv` remembers it."""
        return SeenSample(self.sample_id, self.split.value, self.group, self.image.sha256, self.parent_id)


def list_pictures(samples: Iterable[Sample], split: Split, truth: Truth) -> list[BoxPicture]:
    """The pictures of a split whose true boxes are known, in manifest order.

    For "objects" these are the labelled samples, also those without any object. For "wearing" and "faces"
    they are the samples with faces, which a detector or the source has found; a picture with a face of
    unknown wearing is left out of "wearing".
    """
    found = []
    for sample in samples:
        boxes = _true_boxes(sample, truth) if sample.split is split else None
        if boxes is not None:
            found.append(
                BoxPicture(
                    sample_id=sample.id,
                    group=sample.group,
                    split=sample.split,
                    parent_id=sample.provenance.parent_id,
                    image=sample.image,
                    truth=boxes,
                )
            )
    return found


def _true_boxes(sample: Sample, truth: Truth) -> Detections | None:
    if truth == "objects":
        if not sample.is_labelled:
            return None
        objects = [
            item
            for item in sample.instances
            if item.label in CLASSES[truth] and not item.is_proposal and not item.mask.is_empty
        ]
        return true_boxes([item.mask.box_xyxy for item in objects], tuple(item.label for item in objects))
    if not sample.faces:
        return None
    boxes = [face.box_xyxy for face in sample.faces]
    if truth == "faces":
        return true_boxes(boxes, ("face",) * len(boxes))
    if any(face.wearing is Wearing.UNKNOWN for face in sample.faces):
        return None
    return true_boxes(boxes, tuple(face.wearing.value for face in sample.faces))


def read_coco_boxes(
    annotations: Path, folder: Path, store: ImageStore, names: Mapping[str, str], split: Split
) -> list[BoxPicture]:
    """Pictures of a COCO annotation file, taken into a picture store.

    Args:
        annotations: JSON with "images", "annotations" ("bbox" x, y, width, height) and "categories".
        folder: where the pictures lie, by "file_name".
        store: gets the pictures.
        names: category name -> class name; other categories are left out.
        split: what the pictures are for.

    Raises:
        DataError: not such a file, or a picture is missing.
        ItemFault: a picture cannot be used.
    """
    try:
        held = json.loads(annotations.read_bytes())
        classes = {one["id"]: names.get(one["name"]) for one in held["categories"]}
        boxes: dict[int, list[tuple[list[float], str]]] = {one["id"]: [] for one in held["images"]}
        for one in held["annotations"]:
            name = classes[one["category_id"]]
            if name is not None:
                x, y, width, height = one["bbox"]
                boxes[one["image_id"]].append(([x, y, x + width, y + height], name))
        files = {one["id"]: (folder / one["file_name"]).read_bytes() for one in held["images"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{annotations}: no COCO boxes ({type(error).__name__}: {error})") from error
    found = []
    for number, data in files.items():
        image = store.put_photo(decode_photo(data))
        truth = true_boxes([box for box, _ in boxes[number]], tuple(name for _, name in boxes[number]))
        found.append(BoxPicture(sample_id(image), sample_id(image), split, "", image, truth))
    return found


def fitted(rgb: RgbImage, side_px: int) -> tuple[RgbImage, float]:
    """A picture scaled to a longer side of `side_px` and padded with black on the right or bottom.

    Returns:
        (side, side, 3) uint8, and what coordinates were multiplied by.
    """
    height, width = rgb.shape[:2]
    scale = side_px / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
    square = np.zeros((side_px, side_px, 3), dtype=np.uint8)
    square[: size[1], : size[0]] = small
    return square, scale


def mirrored(square: RgbImage, boxes: BoxArray) -> tuple[RgbImage, BoxArray]:
    """A square picture and its boxes, left and right exchanged."""
    side = square.shape[1]
    turned = np.stack((side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]), axis=1)
    return np.ascontiguousarray(square[:, ::-1]), turned.astype(np.float32)
