"""The page where a third person settles what two disagree about.

The merged draft is there to be edited; the two opinions and the proposal stand as further predictions in
tabs above it, to look at or to take over; and beside the photo three small pictures show where the opinions
differ. People are A and B here, in the order of their lanes; nobody's name is on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from annotation.drawing import FaceBox
from annotation.label_studio.codec import encode_results
from annotation.label_studio.labelling import (
    IMAGE,
    ITEM_KEY,
    SAMPLE_ID,
    SHOWN,
    label_controls,
    page,
    picture,
    region_controls,
    text,
    verdict_controls,
)
from annotation.label_studio.previews import (
    BoxXyxy,
    interesting_part,
    painted,
    resized,
    resized_mask,
)
from annotation.label_studio.sending import shown_digest
from annotation.verdict import Verdict
from dataset_tools.core.images import RgbImage, encode_png
from dataset_tools.core.labels import LABEL_IDS, PAINT_ORDER, Wearing
from dataset_tools.core.masks import BoolMask, rle_to_mask
from dataset_tools.core.record import Face, Instance, Sample

# Names of the values in a task's `data`: three pictures, and a line of text.
VIEWS = ("a", "b", "difference")
REASON = "reason"

# Versions of the predictions. A new annotation is filled from the draft, because the project keeps the
# version that the first import ends with.
DRAFT, PROPOSAL = "draft", "proposal"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

VIEW_SIDE_PX = 480
_SIDE_PX = 270  # of the page's column; the difference fills it, A and B share it
_PICTURE_HEIGHT = "calc(100vh - 320px)"  # below it stand the choices for the selected region
_REASON_STYLE = "font-weight:600;max-height:72px;overflow-y:auto;overflow-wrap:anywhere;"
_VIEWS_CLASS = "maskset-views"
_STYLE = f".{_VIEWS_CLASS} img {{width: 100%;}} .{_VIEWS_CLASS} p {{margin: 0 0 8px 0;}}"
_HOW_TO = (
    "Mend the draft until it is right, then submit: your word is final. The tabs above hold A, B and the "
    "proposal, to look at or to copy."
)

_DARKER = 0.55
_VIEW_FILL = 0.45
_PAPER = 32  # grey around a picture that is not square

# Any two stay well apart for every common kind of colour vision; the test has the figures.
_AGREED = (90, 200, 120)
_ONLY_A = (0, 60, 190)
_ONLY_B = (255, 170, 0)
_OTHER_LABEL = (190, 60, 150)
_LEGEND = (("agreed", _AGREED), ("only A", _ONLY_A), ("only B", _ONLY_B), ("labels differ", _OTHER_LABEL))
_LEGEND_COLUMNS = 2
_ROW_SHARE = 0.06  # height of a row of the legend, as a share of its width
_WEIGHTS = {_AGREED: 0.45, _ONLY_A: 0.7, _ONLY_B: 0.7, _OTHER_LABEL: 0.7}


def adjudication_config() -> str:
    """The labelling configuration of the adjudication project; constant, nothing from outside enters it."""
    first, second, difference = (f'<Markdown value="${name}"/>' for name in VIEWS)
    pair = (
        '<View style="display:flex;gap:8px">'
        f'<View style="flex:1 1 0;min-width:0">{first}</View>'
        f'<View style="flex:1 1 0;min-width:0">{second}</View></View>'
    )
    shown = f'<View className="{_VIEWS_CLASS}">{pair}{difference}</View>'
    main = f"<Style>{_STYLE}</Style>{label_controls()}{picture(_PICTURE_HEIGHT)}"
    about_region = f'<View style="display:flex;gap:16px">{region_controls()}</View>'
    asked = text(_HOW_TO) + text(f"${REASON}", _REASON_STYLE) + verdict_controls()
    return page(main + about_region, asked + shown, _SIDE_PX)


def views(
    rgb: RgbImage, first: Sequence[Instance], second: Sequence[Instance], size: int = VIEW_SIDE_PX
) -> dict[str, bytes]:
    """The three pictures of the page, all of the same part of the photo, on squares.

    That part is what either of the two has labelled, with its surroundings. "a" and "b" are the darkened
    photo with the labels in their colours. In "difference" the photo is grey: a pixel is green where both
    say the same label, blue where only A says any, orange where only B does, and purple where they
    say different ones. Of labels that overlap, the one nearest to the camera counts. A legend stands below.

    Args:
        rgb: (H, W, 3) uint8.
        first, second: the labels of A and B, with masks of the photo's size.
        size: side of the square, px.

    Returns:
        PNG bytes by name, as in `VIEWS`.

    Raises:
        ItemFault: a mask that does not fill its picture.
    """
    height, width = rgb.shape[:2]
    part = interesting_part([item.mask.box_xyxy for item in (*first, *second)], (height, width))
    scale = size / max(part[2] - part[0], part[3] - part[1])
    size_wh = (max(round((part[2] - part[0]) * scale), 1), max(round((part[3] - part[1]) * scale), 1))
    photo = resized(rgb, part, size_wh)
    dark = (photo * _DARKER).astype(np.uint8)
    one, two = (_label_map(labels, part, size_wh) for labels in (first, second))
    shown = {
        "a": _titled(_on_square(painted(dark, first, part, _VIEW_FILL), size), "A"),
        "b": _titled(_on_square(painted(dark, second, part, _VIEW_FILL), size), "B"),
        "difference": _with_legend(_on_square(_difference(photo, one, two), size)),
    }
    return {name: encode_png(view) for name, view in shown.items()}


def _label_map(
    instances: Sequence[Instance], part: BoxXyxy, size_wh: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    ids = np.zeros(size_wh[::-1], dtype=np.uint8)
    for item in sorted(instances, key=lambda item: PAINT_ORDER.index(item.label)):
        ids[resized_mask(rle_to_mask(item.mask), part, size_wh)] = LABEL_IDS[item.label]
    return ids


def _difference(photo: RgbImage, one: npt.NDArray[np.uint8], two: npt.NDArray[np.uint8]) -> RgbImage:
    grey = np.asarray(Image.fromarray(photo).convert("L").convert("RGB"), dtype=np.float32)
    where: dict[tuple[int, int, int], BoolMask] = {
        _AGREED: (one == two) & (one > 0),
        _ONLY_A: (one > 0) & (two == 0),
        _ONLY_B: (one == 0) & (two > 0),
        _OTHER_LABEL: (one != two) & (one > 0) & (two > 0),
    }
    for colour, mask in where.items():
        grey[mask] += _WEIGHTS[colour] * (np.array(colour, dtype=np.float32) - grey[mask])
    return grey.round().astype(np.uint8)


def _on_square(shown: RgbImage, size: int) -> RgbImage:
    square = np.full((size, size, 3), _PAPER, dtype=np.uint8)
    top, left = (size - shown.shape[0]) // 2, (size - shown.shape[1]) // 2
    square[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    return square


def _titled(square: RgbImage, letter: str) -> RgbImage:
    sheet = Image.fromarray(square)
    side = sheet.width // 8
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, 0, side, side), fill="white")
    font = ImageFont.load_default(round(side * 0.8))
    pen.text((side / 2, side / 2), letter, fill="black", font=font, anchor="mm")
    return np.asarray(sheet)


def _with_legend(square: RgbImage) -> RgbImage:
    side = square.shape[1]
    row = round(side * _ROW_SHARE)
    gap = row // 6
    sheet = Image.new("RGB", (side, side + row * (len(_LEGEND) // _LEGEND_COLUMNS)), "white")
    sheet.paste(Image.fromarray(square), (0, 0))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(round(row * 0.75))
    for index, (words, colour) in enumerate(_LEGEND):
        left = side * (index % _LEGEND_COLUMNS) // _LEGEND_COLUMNS + 4
        top = side + row * (index // _LEGEND_COLUMNS)
        pen.rectangle((left, top + gap, left + row, top + row - gap), fill=colour, outline="black")
        pen.text((left + row + 8, top + row / 2), words, fill="black", font=font, anchor="lm")
    return np.asarray(sheet)


def adjudication_task(
    sample: Sample,
    opinions: Sequence[Verdict],
    proposal: Sequence[Instance],
    addresses: Mapping[str, str],
    reason: str,
) -> dict[str, Any]:
    """A contested sample as a task.

    Args:
        sample: with the merged draft as its instances.
        opinions: the verdicts that disagree, by lane; they become A, B, and so on.
        proposal: what the annotators were shown.
        addresses: on the server, of the photo ("image") and of the pictures in `VIEWS`.
        reason: why it is contested; shown as text.

    Returns:
        The task; its data holds the addresses, our keys, the digest of the draft and the reason.
    """
    size_hw = sample.image.size_hw
    data: dict[str, Any] = {
        IMAGE: addresses[IMAGE],
        # As text: beside a second picture with a name the server would refuse uploads ("more than one key").
        **{name: f"![{name}]({addresses[name]})" for name in VIEWS},
        SAMPLE_ID: sample.id,
        ITEM_KEY: sample.provenance.item_key,
        SHOWN: shown_digest(sample),
        REASON: reason,
    }
    versions = {DRAFT: encode_results(sample.instances, sample.faces, size_hw)}
    for letter, opinion in zip(_LETTERS, opinions, strict=False):
        boxes = _box_results(opinion.boxes, size_hw)
        versions[letter] = encode_results(opinion.instances, (), size_hw) + boxes
    versions[PROPOSAL] = encode_results(proposal, sample.faces, size_hw)
    # The page's tabs stand in the opposite order, and the server keeps the last version as the project's.
    predictions = [
        {"model_version": version, "result": results} for version, results in reversed(versions.items())
    ]
    return {"data": data, "predictions": predictions}


def _box_results(boxes: Sequence[FaceBox], size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    faces = [Face(box.box_xyxy, 1.0, Wearing.UNKNOWN, "") for box in boxes]
    results = encode_results((), faces, size_hw)
    # A box keeps the face it was made from; one that was drawn has none.
    names = [str(box.face) if box.face >= 0 else f"drawn{index}" for index, box in enumerate(boxes)]
    return [result | {"id": f"face-{name}"} for result, name in zip(results, names, strict=True)]
