"""Easy tasks at a glance: small pictures with the proposal drawn in, and the tab that shows them in a grid.

People look through the tab, select what is right, and take Label Studio's own action "Create Annotations
From Predictions": each proposal becomes their annotation, unchanged. What is wrong they open as usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from annotation.drawing import REGION_CHOICES
from annotation.label_studio.labelling import IMAGE, ITEM_KEY, SAMPLE_ID, SHOWN
from dataset_tools.core.images import RgbImage, encode_png
from dataset_tools.core.labels import LABEL_COLOURS, PAINT_ORDER, Label
from dataset_tools.core.masks import BoolMask, rle_to_mask
from dataset_tools.core.record import Face, Instance

# Names of the values in a task's `data`.
PREVIEW = "preview"
BATCH = "batch"

EASY = "easy"  # every easy batch's name holds it
EASY_TITLE = "easy: look and accept"
_COLUMN = "tasks:data."
_DULL_COLUMNS = (
    "inner_id",
    "annotations_results",
    "annotations_ids",
    "predictions_results",
    "predictions_score",
    "predictions_model_versions",
    "file_upload",
    "storage_filename",
    "created_at",
    "updated_at",
    "updated_by",
    "avg_lead_time",
    "draft_exists",
)

BoxXyxy = tuple[int, int, int, int]

_PREVIEW_SIDE_PX = 320
_CAPTION_PX = 16
_GRID_COLUMNS = 4
_FILL = 0.25  # weight of the label colour inside its outline; little, so that the photo stays judgeable
_BOX_COLOUR = (255, 171, 0)
_MARGIN = 0.25  # around what is labelled, as a share of its longer side
_CROP_BELOW = 0.6  # when that is smaller than this share of the photo's longer side, it is shown enlarged
_WHOLE_SHARE = 0.25  # of the preview's width, for the whole photo beside an enlarged part


def preview_png(rgb: RgbImage, instances: Sequence[Instance], faces: Sequence[Face]) -> bytes:
    """A small picture to accept a proposal from: the photo with outlines in the labels' colours.

    A face that is small in its photo is enlarged, with its surroundings, and the whole photo stands beside
    it: what the model overlooked shows there. Below stand mask type and wearing state of each face mask,
    from left to right; they are accepted as well.

    Args:
        rgb: (H, W, 3) uint8.
        instances: with masks of the photo's size.
        faces: their boxes are drawn as thin amber frames.

    Returns:
        A PNG of at most 320 x 320 px, one side 320 (a caption of 16 px is part of it).

    Raises:
        ItemFault: a mask that does not fill its picture.
    """
    height, width = rgb.shape[:2]
    boxes = [_rounded(face.box_xyxy) for face in faces]
    room_wh = (_PREVIEW_SIDE_PX, _PREVIEW_SIDE_PX - _CAPTION_PX)
    whole, part = (
        (0, 0, width, height),
        interesting_part([*(item.mask.box_xyxy for item in instances), *boxes], (height, width)),
    )
    if max(part[2] - part[0], part[3] - part[1]) > _CROP_BELOW * max(height, width):
        panels = [_drawn(rgb, whole, room_wh, instances, boxes)]
    else:
        aside = round(room_wh[0] * _WHOLE_SHARE)
        panels = [
            _drawn(rgb, part, (room_wh[0] - aside, room_wh[1]), instances, boxes),
            _drawn(rgb, whole, (aside, room_wh[1]), instances, boxes),
        ]
    return encode_png(_with_caption(panels, _caption(instances)))


def _caption(instances: Sequence[Instance]) -> str:
    masks = [item for item in instances if item.label is Label.FACE_MASK]
    masks.sort(key=lambda item: item.mask.box_xyxy)
    # Only words of our own vocabulary, as on the page.
    return "  |  ".join(
        ", ".join(
            item.attribute(name).replace("_", " ")
            if item.attribute(name) in words
            else f"no {name.replace('_', ' ')}"
            for name, words in REGION_CHOICES.items()
        )
        for item in masks
    )


def _with_caption(panels: Sequence[RgbImage], caption: str) -> RgbImage:
    width = sum(panel.shape[1] for panel in panels)
    height = max(panel.shape[0] for panel in panels)
    sheet = Image.new("RGB", (width, height + _CAPTION_PX), "white")
    left = 0
    for panel in panels:
        sheet.paste(Image.fromarray(panel), (left, 0))
        left += panel.shape[1]
    font = ImageFont.load_default(_CAPTION_PX - 4)
    ImageDraw.Draw(sheet).text((2, height), caption, fill="black", font=font)
    return np.asarray(sheet)


def interesting_part(boxes: Sequence[BoxXyxy], size_hw: tuple[int, int]) -> BoxXyxy:
    """Box around all boxes with a margin, inside the picture; the whole picture for no boxes.

    Boxes without area do not count.
    """
    height, width = size_hw
    real = np.array([box for box in boxes if box[0] < box[2] and box[1] < box[3]])
    if not len(real):
        return (0, 0, width, height)
    x0, y0 = real[:, :2].min(axis=0)
    x1, y1 = real[:, 2:].max(axis=0)
    margin = round(_MARGIN * float(max(x1 - x0, y1 - y0)))
    return (
        max(int(x0) - margin, 0),
        max(int(y0) - margin, 0),
        min(int(x1) + margin, width),
        min(int(y1) + margin, height),
    )


def _drawn(
    rgb: RgbImage,
    part: BoxXyxy,
    room_wh: tuple[int, int],
    instances: Sequence[Instance],
    boxes: Sequence[BoxXyxy],
) -> RgbImage:
    """That part of the photo, as large as fits, with all that is drawn on it."""
    x0, y0, x1, y1 = part
    scale = min(room_wh[0] / (x1 - x0), room_wh[1] / (y1 - y0))
    size_wh = (max(round((x1 - x0) * scale), 1), max(round((y1 - y0) * scale), 1))
    picture = Image.fromarray(painted(resized(rgb, part, size_wh), instances, part, _FILL))
    pen = ImageDraw.Draw(picture)
    for box in boxes:
        shifted = [(value - offset) * scale for value, offset in zip(box, (x0, y0, x0, y0), strict=True)]
        if shifted[0] < shifted[2] and shifted[1] < shifted[3]:
            pen.rectangle(shifted, outline=_BOX_COLOUR)
    return np.asarray(picture)


def resized(rgb: RgbImage, part: BoxXyxy, size_wh: tuple[int, int]) -> RgbImage:
    """That part of a picture in another size."""
    return np.asarray(Image.fromarray(rgb).crop(part).resize(size_wh, Image.Resampling.LANCZOS))


def resized_mask(mask: BoolMask, part: BoxXyxy, size_wh: tuple[int, int]) -> BoolMask:
    """That part of a mask in another size: True where at least half of the pixel is covered."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255).crop(part)
    how = Image.Resampling.BOX if grey.width > size_wh[0] else Image.Resampling.BILINEAR
    return np.asarray(grey.resize(size_wh, how)) >= 128


def painted(canvas: RgbImage, instances: Sequence[Instance], part: BoxXyxy, fill: float) -> RgbImage:
    """A copy of a picture with instances on it: tinted, and outlined in the full colour of their label.

    Args:
        canvas: (H, W, 3) uint8.
        instances: of the photo.
        part: what the canvas shows of the photo.
        fill: weight of the tint, 0 to 1.
    """
    size_wh = (canvas.shape[1], canvas.shape[0])
    result = canvas.astype(np.float32)
    for item in sorted(instances, key=lambda item: PAINT_ORDER.index(item.label)):
        mask = resized_mask(rle_to_mask(item.mask), part, size_wh)
        colour = np.array(LABEL_COLOURS[item.label], dtype=np.float32)
        result[mask] += fill * (colour - result[mask])
        result[outline(mask)] = colour
    return result.round().astype(np.uint8)


def outline(mask: BoolMask, width_px: int = 2) -> BoolMask:
    """The mask's pixels nearer than `width_px` to one outside it; the picture's edge is no outside."""
    inner = mask
    for _ in range(width_px):
        around = np.pad(inner, 1, mode="edge")
        inner = inner & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    found: npt.NDArray[np.bool_] = mask & ~inner
    return found


def _rounded(box_xyxy: tuple[float, float, float, float]) -> BoxXyxy:
    x0, y0, x1, y1 = (round(value) for value in box_xyxy)
    return (x0, y0, x1, y1)


def all_view() -> dict[str, Any]:
    """The first tab: all tasks, with few columns. A project that has any tab has only those it was given."""
    names = (ITEM_KEY, SHOWN, PREVIEW, BATCH)
    return {"title": "all", "type": "list", "hiddenColumns": _hidden(*names, others=_DULL_COLUMNS)}


def easy_view() -> dict[str, Any]:
    """The tab "easy: look and accept": previews of the easy batches, and nothing else.

    Returns:
        The `data` of a view. It holds only tasks without an annotation: what is accepted disappears.
    """
    return {
        "title": EASY_TITLE,
        "type": "grid",
        "gridWidth": _GRID_COLUMNS,
        "columnsDisplayType": {f"{_COLUMN}{PREVIEW}": "Image"},
        "hiddenColumns": _hidden(IMAGE, SAMPLE_ID, ITEM_KEY, SHOWN, BATCH),
        "filters": {
            "conjunction": "and",
            "items": [
                _filter(f"{_COLUMN}{BATCH}", "contains", "String", EASY),
                _filter("tasks:total_annotations", "equal", "Number", 0),
            ],
        },
    }


def _hidden(*names: str, others: tuple[str, ...] = ()) -> dict[str, list[str]]:
    columns = [*(f"{_COLUMN}{name}" for name in names), *(f"tasks:{name}" for name in others)]
    return {"explore": columns, "labeling": columns}


def _filter(column: str, operator: str, kind: str, value: str | int) -> dict[str, str | int]:
    return {"filter": f"filter:{column}", "operator": operator, "type": kind, "value": value}
