"""LabelMe files <-> instances and face boxes of a sample. Pure; files from outside are checked.

    an instance           one shape of type "mask", its choices as the shape's flags
    several shapes        of one group and one label are one instance
    shape "hole"          is cut out of the shapes of its group (LabelMe's polygons have no holes)
    face box              rectangle "face_box"
    verdict               the file's flags

A shape's description begins with the number of the instance or face that it shows, so an edited one keeps
its history; any further words are the reviewer's note. Not with its id, which would tell people what a model
proposed and what is slipped in with known truth.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from annotation.drawing import ACCEPT, FIX, REGION_CHOICES, REJECT, Drawing, FaceBox, Region
from annotation.labelme.shapes import MASK, RECTANGLE, corners, encode_mask_png, shape_pixels, shape_points
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.files import digest_json
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask, mask_to_rle, rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Instance, Pairs, Sample, sorted_pairs
from dataset_tools.core.text import printable, storable

LABELME_VERSION = "6.3.1"  # whose files these are

HOLE = "hole"
FACE_BOX = "face_box"

# Flags of a file, as LabelMe lists them; and what they mean, the strongest word first.
FLAGS = ("done", "fix", "reject")
_VERDICTS = {"reject": REJECT, "fix": FIX, "done": ACCEPT}

# Ours, among LabelMe's keys, which it keeps on saving: what the file showed when it was written.
SHOWN = "maskset_shown"

MAX_FILE_BYTES = 64 * 1024 * 1024
_MAX_SHAPES = 1_000
_MAX_DEPTH = 64

_INSTANCE_PREFIX = "instance-"
_FACE_PREFIX = "face-"


@dataclass(frozen=True, slots=True)
class LabelMeFile:
    """What stands in one file.

    Attributes:
        drawing: regions, boxes, verdict and note; None while the reviewer has set none of the file's flags,
            when its shapes are nobody's business yet. In an outdated file the instance ids name nothing.
        is_outdated: the file was written for another proposal than the sample has now.
    """

    drawing: Drawing | None
    is_outdated: bool


def choice_flag(name: str, value: str) -> str:
    """A choice as one of LabelMe's shape flags."""
    return f"{name}: {value}"


def all_choice_flags() -> list[str]:
    """Every flag that a face mask may have, in the order of the vocabularies."""
    return [choice_flag(name, value) for name, values in REGION_CHOICES.items() for value in values]


def encode_file(sample: Sample, picture: str) -> dict[str, Any]:
    """A sample as the content of a LabelMe file; instances without pixels are left out.

    Args:
        sample: its instances and faces are shown.
        picture: file name of the picture, which lies beside the file.
    """
    height, width = sample.image.size_hw
    shapes = [
        _mask_shape(instance, index)
        for index, instance in enumerate(sample.instances)
        if not instance.mask.is_empty
    ]
    shapes += [_box_shape(face, index) for index, face in enumerate(sample.faces)]
    return {
        "version": LABELME_VERSION,
        "flags": dict.fromkeys(FLAGS, False),
        "shapes": shapes,
        "imagePath": picture,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
        SHOWN: shown_digest(sample),
    }


def shown_digest(sample: Sample) -> str:
    """Digest of what a file shows of a sample: masks, labels, choices and face boxes."""
    shown = [
        [item.id, item.label.value, item.mask.size_hw, item.mask.counts, sorted(_choices(item).items())]
        for item in sample.instances
    ]
    return digest_json([shown, [face.box_xyxy for face in sample.faces]])[:16]


def _choices(instance: Instance) -> dict[str, str]:
    chosen = {name: instance.attribute(name) for name in REGION_CHOICES}
    return {name: value for name, value in chosen.items() if value in REGION_CHOICES[name]}


def _mask_shape(instance: Instance, index: int) -> dict[str, Any]:
    x0, y0, x1, y1 = instance.mask.box_xyxy
    # All that may be chosen stands there, so it is offered whatever LabelMe was started with.
    flags = dict.fromkeys(all_choice_flags() if instance.label is Label.FACE_MASK else [], False)
    flags |= {choice_flag(name, value): True for name, value in _choices(instance).items()}
    return {
        "label": instance.label.value,
        "points": [[float(x0), float(y0)], [float(x1 - 1), float(y1 - 1)]],
        "group_id": index,
        "description": f"{_INSTANCE_PREFIX}{index}",
        "shape_type": MASK,
        "flags": flags,
        "mask": encode_mask_png(rle_to_mask(instance.mask)[y0:y1, x0:x1]),
    }


def _box_shape(face: Face, index: int) -> dict[str, Any]:
    x0, y0, x1, y1 = face.box_xyxy
    return {
        "label": FACE_BOX,
        "points": [[x0, y0], [x1, y1]],
        "group_id": None,
        "description": f"{_FACE_PREFIX}{index}",
        "shape_type": RECTANGLE,
        "flags": {},
        "mask": None,
    }


def decode_file(data: bytes, sample: Sample) -> LabelMeFile:
    """Read a LabelMe file.

    Args:
        data: the file; not trusted. The picture it names is never opened.
        sample: as it is shown now.

    Raises:
        ItemFault: with `too_many_bytes`, `json`, `schema`, `size_mismatch`, `unknown_label`,
            `dangling_reference` (a hole in nothing), `out_of_bounds`, `degenerate`, or as `shape_pixels`.
    """
    content = _parsed(data)
    flags = _flags(content)
    is_old = content.get(SHOWN) != shown_digest(sample)
    verdict = next((word for flag, word in _VERDICTS.items() if flags.get(flag)), "")
    if not verdict:
        return LabelMeFile(None, is_old)
    size_hw = sample.image.size_hw
    said = (content.get("imageHeight"), content.get("imageWidth"))
    if said != size_hw:
        raise ItemFault(
            Reason.SIZE_MISMATCH,
            f"file of a {str(said[0])[:20]}x{str(said[1])[:20]} picture; it is {size_hw[0]}x{size_hw[1]}",
        )
    shapes = content.get("shapes")
    if not isinstance(shapes, list) or len(shapes) > _MAX_SHAPES:
        raise ItemFault(Reason.SCHEMA, f"a file needs a list of at most {_MAX_SHAPES} shapes")
    groups, boxes, notes = _sorted_out(shapes, size_hw)
    # What an older proposal showed is no stroke that the reviewer began, so it keeps an id of some kind.
    ids = dict(enumerate(instance.id for instance in sample.instances))
    if is_old:
        ids = {group.instance: f"{_INSTANCE_PREFIX}{group.instance}" for group in groups}
    regions = tuple(_regions(groups, ids, size_hw))
    return LabelMeFile(Drawing(regions, tuple(boxes), verdict, "; ".join(dict.fromkeys(notes))), is_old)


def is_outdated(data: bytes, sample: Sample) -> bool:
    """`LabelMeFile.is_outdated` alone, without reading any shape.

    Raises:
        ItemFault: `too_many_bytes` or `json`.
    """
    return _parsed(data).get(SHOWN) != shown_digest(sample)


def _parsed(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_FILE_BYTES:
        raise ItemFault(Reason.TOO_MANY_BYTES, f"{len(data)} bytes, at most {MAX_FILE_BYTES} allowed")
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ItemFault(Reason.JSON, f"no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ItemFault(Reason.JSON, f"no JSON object but {type(content).__name__}")
    if _is_deeper(content, _MAX_DEPTH):
        raise ItemFault(Reason.JSON, f"JSON nested deeper than {_MAX_DEPTH}")
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return content


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(
        _is_deeper(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value)
    )


def _flags(holder: Mapping[str, Any]) -> dict[str, bool]:
    flags = holder.get("flags")
    if flags is None:
        return {}
    if not isinstance(flags, dict) or not all(isinstance(value, bool) for value in flags.values()):
        raise ItemFault(Reason.SCHEMA, "flags are not an object of true and false")
    return flags


@dataclass(slots=True)
class _Group:
    """The shapes of one instance, and the holes in them."""

    label: Label
    instance: int = -1
    shapes: list[Mapping[str, Any]] = field(default_factory=list)
    holes: Sequence[Mapping[str, Any]] = ()
    choices: dict[str, str] = field(default_factory=dict)


def _sorted_out(
    shapes: Iterable[Any], size_hw: tuple[int, int]
) -> tuple[list[_Group], list[FaceBox], list[str]]:
    groups: dict[object, _Group] = {}
    holes: dict[int | None, list[Mapping[str, Any]]] = {}
    boxes: list[FaceBox] = []
    notes: list[str] = []
    for index, shape in enumerate(shapes):
        label, group, reference = _fields(shape, notes)
        if label == FACE_BOX:
            boxes.append(_face_box(shape, reference, {box.face for box in boxes}, size_hw))
        elif label == HOLE:
            holes.setdefault(group, []).append(shape)
        else:
            key = (label, group) if group is not None else index
            own = groups.setdefault(key, _Group(_label(label)))
            own.shapes.append(shape)
            # A copy of a shape has its description too, but only one instance can be what it was made from.
            number = _number(reference, _INSTANCE_PREFIX)
            if own.instance < 0 and number not in {one.instance for one in groups.values()}:
                own.instance = number
            _add_choices(own.choices, _flags(shape))
    for group, cuts in holes.items():
        cut_from = [own for key, own in groups.items() if isinstance(key, tuple) and key[1] == group]
        if not cut_from:
            where = (
                "without a group id" if group is None else f"in group {str(group)[:20]}, which has no shape"
            )
            raise ItemFault(Reason.DANGLING_REFERENCE, f"a hole {where}")
        for own in cut_from:
            own.holes = cuts
    return list(groups.values()), boxes, notes


def _fields(shape: Any, notes: list[str]) -> tuple[str, int | None, str]:
    """Label, group and reference of a shape; what else its description says is added to the notes."""
    if not isinstance(shape, dict):
        raise ItemFault(Reason.SCHEMA, f"a shape is no object but {type(shape).__name__}")
    label, group, description = (shape.get(key) for key in ("label", "group_id", "description"))
    if not isinstance(label, str):
        raise ItemFault(Reason.SCHEMA, f"label {str(label)[:80]} is no text")
    if group is not None and type(group) is not int:
        raise ItemFault(Reason.SCHEMA, f"group {str(group)[:80]} is no whole number")
    if description is not None and not isinstance(description, str):
        raise ItemFault(Reason.SCHEMA, "a description is no text")
    words = printable(storable(description or "")).split()
    is_reference = bool(words) and words[0].startswith((_INSTANCE_PREFIX, _FACE_PREFIX))
    note = " ".join(words[int(is_reference) :])
    if note:
        notes.append(note)
    return label, group, words[0] if is_reference else ""


def _label(name: str) -> Label:
    if name not in {label.value for label in Label}:
        raise ItemFault(Reason.UNKNOWN_LABEL, f"label {name[:80]!r}")
    return Label(name)


def _number(reference: str, prefix: str) -> int:
    digits = reference.removeprefix(prefix)
    is_ours = reference.startswith(prefix) and digits.isascii() and digits.isdigit() and len(digits) < 6
    return int(digits) if is_ours else -1


def _add_choices(choices: dict[str, str], flags: Mapping[str, bool]) -> None:
    for flag in (flag for flag, is_set in flags.items() if is_set):
        name, _, value = flag.partition(": ")
        if name not in REGION_CHOICES:
            continue
        if value not in REGION_CHOICES[name]:
            raise ItemFault(Reason.UNKNOWN_LABEL, f"choice {flag[:80]!r}")
        if choices.setdefault(name, value) != value:
            raise ItemFault(Reason.SCHEMA, f"{name} is both {choices[name]} and {value}; leave one")


def _face_box(shape: Mapping[str, Any], reference: str, taken: set[int], size_hw: tuple[int, int]) -> FaceBox:
    if shape.get("shape_type") != RECTANGLE:
        raise ItemFault(
            Reason.SCHEMA, f"a face box is a rectangle, not {str(shape.get('shape_type'))[:80]!r}"
        )
    x0, y0, x1, y1 = corners(shape_points(shape, size_hw))
    if x0 == x1 or y0 == y1:
        raise ItemFault(Reason.DEGENERATE, "face box without area")
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(size_hw[1])), min(y1, float(size_hw[0])))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ItemFault(Reason.OUT_OF_BOUNDS, "face box outside of the picture")
    face = _number(reference, _FACE_PREFIX)
    return FaceBox(-1 if face in taken else face, box)


def _regions(groups: Iterable[_Group], ids: Mapping[int, str], size_hw: tuple[int, int]) -> Iterator[Region]:
    for number, group in enumerate(groups):
        mask = _filled(group.shapes, size_hw) & ~_filled(group.holes, size_hw)
        if mask.any():
            choices: Pairs = sorted_pairs(group.choices)
            instance_id = ids.get(group.instance, "") if group.instance >= 0 else ""
            yield Region(instance_id, f"labelme-{number}", group.label, mask_to_rle(mask), choices)


def _filled(shapes: Iterable[Mapping[str, Any]], size_hw: tuple[int, int]) -> BoolMask:
    total = np.zeros(size_hw, dtype=np.bool_)
    for shape in shapes:
        total |= shape_pixels(shape, size_hw)
    return total
