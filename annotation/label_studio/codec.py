"""Label Studio results <-> instances and face boxes of a sample. Pure; results from outside are checked.

A region's id says which instance or face it shows, so an edited region keeps its history. Several brush
regions of one label stay several instances.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from annotation.drawing import REGION_CHOICES, BoxXyxy, Drawing, FaceBox, Region
from annotation.label_studio.brush import decode_brush, encode_brush
from annotation.label_studio.labelling import BOX, BRUSH, FACE_BOX, IMAGE, NOTE, PROMPTS, VERDICT
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import RleMask, mask_to_rle, rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Instance, sorted_pairs

_INSTANCE_PREFIX = "instance-"
_FACE_PREFIX = "face-"


def encode_results(
    instances: Iterable[Instance], faces: Sequence[Face], size_hw: tuple[int, int]
) -> list[dict[str, Any]]:
    """Instances and face boxes as the results of a prediction: editable regions, choices filled in.

    Args:
        instances: with masks of the picture's size.
        faces: their boxes are shown as rectangles.
        size_hw: of the picture.
    """
    results: list[dict[str, Any]] = []
    for instance in instances:
        results += _instance_results(instance, size_hw)
    for index, face in enumerate(faces):
        region_id = f"{_FACE_PREFIX}{index}"
        value = _rectangle(face.box_xyxy, size_hw)
        results.append(_result(region_id, "rectanglelabels", BOX, value, size_hw))
    return results


def _instance_results(instance: Instance, size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    region_id = _INSTANCE_PREFIX + quote(instance.id, safe="")
    value = {
        "format": "rle",
        "rle": encode_brush(rle_to_mask(instance.mask)),
        "brushlabels": [instance.label.value],
    }
    score = {} if instance.confidence is None else {"score": instance.confidence}
    # The brush comes first: it says where the region is, and the choices with its id follow it there.
    results = [_result(region_id, "brushlabels", BRUSH, value, size_hw) | score]
    for name, allowed in REGION_CHOICES.items():
        chosen = instance.attribute(name)
        if chosen in allowed:
            results.append(_result(region_id, "choices", name, {"choices": [chosen]}, size_hw))
    return results


def _rectangle(box_xyxy: BoxXyxy, size_hw: tuple[int, int]) -> dict[str, Any]:
    height, width = size_hw
    x0, y0, x1, y1 = box_xyxy
    return {
        "x": x0 / width * 100,
        "y": y0 / height * 100,
        "width": (x1 - x0) / width * 100,
        "height": (y1 - y0) / height * 100,
        "rotation": 0,
        "rectanglelabels": [FACE_BOX],
    }


def _result(
    region_id: str, kind: str, control: str, value: dict[str, Any], size_hw: tuple[int, int]
) -> dict[str, Any]:
    return {
        "id": region_id,
        "type": kind,
        "from_name": control,
        "to_name": IMAGE,
        "original_width": size_hw[1],
        "original_height": size_hw[0],
        "image_rotation": 0,
        "value": value,
    }


def decode_results(results: Sequence[Any], size_hw: tuple[int, int]) -> Drawing:
    """Read the results of an annotation.

    Args:
        results: as Label Studio gives them; not trusted.
        size_hw: the picture's size as the manifest knows it.

    Raises:
        ItemFault: with `schema`, `json`, `size_mismatch`, `unknown_label`, `duplicate_id`, `not_finite`,
            `degenerate` or one of the `rle_` reasons.
    """
    regions: dict[str, tuple[Label, RleMask]] = {}
    choices: dict[str, dict[str, str]] = {}
    boxes: list[FaceBox] = []
    single = {VERDICT: "", NOTE: ""}
    for result in results:
        kind, control, region_id, value = _fields(result)
        if control in PROMPTS:  # a click or box that asked the model; its answer is a region of its own
            continue
        if kind == "brushlabels":
            if region_id in regions:
                raise ItemFault(Reason.DUPLICATE_ID, f"two brush regions have the id {region_id!r}")
            regions[region_id] = _brush_region(result, value, size_hw)
        elif kind == "rectanglelabels":
            boxes.append(_face_box(region_id, value, size_hw))
        elif kind == "choices" and control in REGION_CHOICES:
            choices.setdefault(region_id, {})[control] = _one_of(value, "choices", control)
        elif kind == "choices" and control == VERDICT:
            single[VERDICT] = _one_of(value, "choices", control)
        elif kind == "textarea" and control == NOTE:
            single[NOTE] = " ".join(str(line) for line in _list(value, "text"))
        elif kind != "relation":
            raise ItemFault(Reason.SCHEMA, f"unexpected result of type {kind!r} from control {control!r}")
    return Drawing(
        regions=tuple(
            Region(_instance_id(key), key, label, mask, sorted_pairs(choices.get(key, {})))
            for key, (label, mask) in regions.items()
            if not mask.is_empty
        ),
        boxes=tuple(boxes),
        verdict=single[VERDICT],
        note=single[NOTE],
    )


def _fields(result: Any) -> tuple[str, str, str, Mapping[str, Any]]:
    if not isinstance(result, Mapping):
        raise ItemFault(Reason.JSON, f"a result is no object but {type(result).__name__}")
    value = result.get("value", {})
    if not isinstance(value, Mapping):
        raise ItemFault(Reason.JSON, "a result's value is no object")
    return (
        str(result.get("type", "")).lower(),
        str(result.get("from_name", "")),
        str(result.get("id", "")),
        value,
    )


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key, [])
    return found if isinstance(found, list) else [found]


def _one_of(value: Mapping[str, Any], key: str, control: str) -> str:
    found = _list(value, key)
    if len(found) != 1 or not isinstance(found[0], str):
        raise ItemFault(Reason.SCHEMA, f"control {control!r} needs one answer, found {str(found)[:80]}")
    return found[0]


def _instance_id(region_id: str) -> str:
    if not region_id.startswith(_INSTANCE_PREFIX):
        return ""
    return unquote(region_id.removeprefix(_INSTANCE_PREFIX))


def _brush_region(
    result: Mapping[str, Any], value: Mapping[str, Any], size_hw: tuple[int, int]
) -> tuple[Label, RleMask]:
    said = (result.get("original_height"), result.get("original_width"))
    if said != size_hw or result.get("image_rotation") not in (0, None):
        raise ItemFault(
            Reason.SIZE_MISMATCH,
            f"region drawn on {said[0]}x{said[1]}, turned {result.get('image_rotation')}; picture is "
            f"{size_hw[0]}x{size_hw[1]}",
        )
    name = _one_of(value, "brushlabels", BRUSH)
    if name not in {label.value for label in Label}:
        raise ItemFault(Reason.UNKNOWN_LABEL, f"brush label {name[:80]!r}")
    if value.get("format") != "rle":
        raise ItemFault(Reason.SCHEMA, f"brush region of format {str(value.get('format'))[:80]!r}")
    return Label(name), mask_to_rle(decode_brush(_list(value, "rle"), size_hw))


def _face_box(region_id: str, value: Mapping[str, Any], size_hw: tuple[int, int]) -> FaceBox:
    try:
        x, y, wide, high = (float(value[key]) / 100 for key in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError) as error:
        raise ItemFault(Reason.SCHEMA, f"face box without numbers: {error!r}") from None
    if not all(math.isfinite(number) for number in (x, y, wide, high)):
        raise ItemFault(Reason.NOT_FINITE, "face box with a number that is not finite")
    if wide <= 0 or high <= 0:
        raise ItemFault(Reason.DEGENERATE, "face box without area")
    height, width = size_hw
    box = (
        max(x, 0.0) * width,
        max(y, 0.0) * height,
        min(x + wide, 1.0) * width,
        min(y + high, 1.0) * height,
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ItemFault(Reason.OUT_OF_BOUNDS, "face box outside of the picture")
    index = region_id.removeprefix(_FACE_PREFIX)
    is_ours = region_id.startswith(_FACE_PREFIX) and index.isascii() and index.isdigit() and len(index) < 6
    return FaceBox(int(index) if is_ours else -1, box)
