"""LabelMe: `<split>/<id>.json` beside `<split>/<id>.jpg|png`, one shape of type "mask" for each instance.

Masks are exact, also with holes and several parts. The variant with polygons has the outline of every part,
and shapes "hole" in the same group for what is cut out of the shapes before them; filled one after the other
as LabelMe itself fills them, they give the mask back, but other programs know no such holes and fill polygons
by other rules. What LabelMe has no word for stands under keys of ours, which it keeps on saving: `maskset` in
the file (origin of the picture) and in each shape (origin of the instance).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from annotation.labelme.codec import FACE_BOX, HOLE, LABELME_VERSION, all_choice_flags, choice_flag
from annotation.labelme.shapes import MASK, RECTANGLE, encode_mask_png, shape_pixels
from dataset_tools.core.errors import FetchFault, ItemFault
from dataset_tools.core.files import canonical_json
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import MASK_TYPE, MASK_TYPES, WEARING_STATE, WEARING_STATES, Label
from dataset_tools.core.local_files import LocalEntry, inside, walk
from dataset_tools.core.masks import BoolMask, mask_to_rle, rle_to_mask
from dataset_tools.core.progress import Progress
from dataset_tools.core.published import Content, Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Instance, Pairs, Sample, Split, sorted_pairs
from dataset_tools.formats.entries import (
    fact_text,
    keep_json,
    parse_kept,
    picture_facts,
    read_attributes,
    read_confidence,
    read_face,
    read_facts,
    read_label,
    read_origin,
    split_of,
    stated_size,
)
from dataset_tools.formats.job import SPLITS, ExportJob, file_name, place_picture
from dataset_tools.formats.outlines import outlines
from dataset_tools.formats.reading import (
    FileContent,
    FoundPicture,
    Problem,
    ReadOptions,
    check_size,
    read_json,
)

OURS = "maskset"  # our key in a file and in a shape
MAX_FILE_BYTES = 64 * 2**20

_MAX_SHAPES = 10_000
_MAX_ROUNDS = 4
_CHOICES = {MASK_TYPE: MASK_TYPES, WEARING_STATE: WEARING_STATES}
_PICTURE_ENDS = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff")

Shape = dict[str, Any]


def write_labelme(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write one file per sample, with exact mask shapes."""
    _write(job, folder, progress, _mask_shapes)


def write_labelme_polygons(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write one file per sample, with polygons and holes."""
    _write(job, folder, progress, _polygon_shapes)


def _write(
    job: ExportJob, folder: Path, progress: Progress, shapes_of: Callable[[BoolMask], Iterable[Shape]]
) -> None:
    for split in SPLITS:
        for sample in job.samples(split):
            place_picture(job.images, sample.image, folder / split.value / file_name(sample))
            content = canonical_json(_file(sample, shapes_of)) + "\n"
            (folder / split.value / f"{sample.id}.json").write_text(content, encoding="utf-8")
            progress.advance()


def _file(sample: Sample, shapes_of: Callable[[BoolMask], Iterable[Shape]]) -> dict[str, Any]:
    height, width = sample.image.size_hw
    shapes: list[Shape] = []
    for number, item in enumerate(sample.instances):
        common = {"group_id": number, "description": "", OURS: _origin(item)}
        for shape in shapes_of(rle_to_mask(item.mask)):
            is_hole = shape.get("label") == HOLE
            flags = {} if is_hole else _flags(item)
            shapes.append({"label": item.label.value, "flags": flags, **common, **shape})
    shapes += [_face_shape(face) for face in sample.faces]
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": file_name(sample),
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
        OURS: picture_facts(sample),
    }


def _origin(item: Instance) -> dict[str, Any]:
    return {
        "id": item.id,
        "drawn_by": item.drawn_by,
        "confidence": item.confidence,
        "face": item.face,
        "attributes": dict(item.attributes),
    }


def _flags(item: Instance) -> dict[str, bool]:
    """All that may be chosen for a face mask, so that LabelMe offers it; what is chosen is true."""
    flags = dict.fromkeys(all_choice_flags() if item.label is Label.FACE_MASK else [], False)
    chosen = {name: item.attribute(name) for name in _CHOICES}
    return flags | {
        choice_flag(name, value): True for name, value in chosen.items() if value in _CHOICES[name]
    }


def _face_shape(face: Face) -> Shape:
    x0, y0, x1, y1 = face.box_xyxy
    return {
        "label": FACE_BOX,
        "points": [[x0, y0], [x1, y1]],
        "group_id": None,
        "description": "",
        "shape_type": RECTANGLE,
        "flags": {},
        "mask": None,
    }


def _mask_shapes(mask: BoolMask) -> Iterator[Shape]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size:
        top, bottom, left, right = (int(value) for value in (rows[0], rows[-1], columns[0], columns[-1]))
        points = [[float(left), float(top)], [float(right), float(bottom)]]
        png = encode_mask_png(mask[top : bottom + 1, left : right + 1])
        yield {"points": points, "shape_type": MASK, "mask": png}


def _polygon_shapes(mask: BoolMask) -> Iterator[Shape]:
    height, width = mask.shape
    drawn = np.zeros_like(mask)
    # A hole whose line turns a corner diagonally takes pixels of the part along: they are drawn once more.
    for _ in range(_MAX_ROUNDS):
        for outline in outlines(mask & ~drawn):
            points = [[float(x), float(y)] for x, y in outline.points_xy]
            points += [points[-1]] * (3 - len(points))  # LabelMe has no polygon of fewer than three points
            shape: Shape = {"points": points, "shape_type": "polygon", "mask": None}
            pixels = shape_pixels(shape, (height, width))
            drawn = drawn & ~pixels if outline.is_hole else drawn | pixels
            yield {**shape, "label": HOLE} if outline.is_hole else shape


@dataclass(frozen=True, slots=True)
class LabelMeLabels:
    """The shapes of one file, decoded only once the size of the picture is known.

    Attributes:
        shapes: JSON text of the list; not trusted.
        options: what the file does not say.
        split: of the picture.
        stated_hw: picture size that the file states, or None.
        is_complete: False when the file says that nobody confirmed these labels.
    """

    shapes: str
    options: ReadOptions
    split: Split
    stated_hw: tuple[int, int] | None
    is_complete: bool = True

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """Instances of the good shapes; bad ones as faults named "shapes[<index>] <label>".

        Shapes of one group and one label are one instance; shapes "hole" are cut out of those of their
        group. An instance that lost a shape or a hole is lost as a whole.

        Raises:
            ItemFault: `size_mismatch`; `schema`, when it is no list of at most 10,000 shapes.
        """
        check_size(self.stated_hw, size_hw)
        shapes = parse_kept(self.shapes)
        if not isinstance(shapes, list) or len(shapes) > _MAX_SHAPES:
            raise ItemFault(Reason.SCHEMA, f"a file needs a list of at most {_MAX_SHAPES} shapes")
        groups, faults = _piled(shapes, size_hw, self.options)
        good: dict[str, Instance] = {}
        for number, group in enumerate(groups):
            try:
                item = _instance(group, f"shape-{number}", self.options)
                if item.id in good:
                    raise ItemFault(Reason.DUPLICATE_ID, "another instance has this id")
            except ItemFault as fault:
                faults.append((group.where, Fault(fault.reason, str(fault))))
                continue
            good[item.id] = item
        return Labels(tuple(good.values()), tuple(faults), self.is_complete)


@dataclass(slots=True)
class _Group:
    """The shapes of one label and group, which are one instance."""

    label: Label
    where: str
    mask: BoolMask
    first: Mapping[str, Any]
    flags: dict[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class _Pile:
    """Shapes as they come: a later one lies on, or is cut out of, those before it."""

    size_hw: tuple[int, int]
    options: ReadOptions
    groups: dict[tuple[str, object], _Group] = field(default_factory=dict)
    broken: set[tuple[str, object]] = field(default_factory=set)
    early_holes: dict[object, list[tuple[str, BoolMask]]] = field(default_factory=dict)
    left_out: set[object] = field(default_factory=set)

    def add(self, shape: Any, index: int, where: str) -> None:
        """One shape.

        Raises:
            ItemFault: it is none, or its class has no label; the instance that it belongs to is lost.
        """
        if not isinstance(shape, dict):
            raise ItemFault(Reason.SCHEMA, f"a shape is no object but {type(shape).__name__}")
        name, number = shape.get("label"), shape.get("group_id")
        if number is not None and type(number) is not int:
            raise ItemFault(Reason.SCHEMA, f"group {str(number)[:80]!r} is no whole number")
        key: object = f"shape {index}" if number is None else number
        label = None if name in (HOLE, FACE_BOX) else read_label(name, self.options)
        if name == HOLE:
            self._cut(shape, key, where)
        elif label is None:
            self.left_out.add(key)
        else:
            self._fill(shape, (str(name), key), label, where)

    def _fill(self, shape: Mapping[str, Any], key: tuple[str, object], label: Label, where: str) -> None:
        try:
            mask = shape_pixels(shape, self.size_hw)
        except ItemFault:
            self.broken.add(key)
            raise
        group = self.groups.setdefault(key, _Group(label, where, np.zeros_like(mask), shape))
        group.mask |= mask
        flags = shape.get("flags")
        if isinstance(flags, dict):
            group.flags |= {
                str(flag): group.flags.get(flag, False) or on is True for flag, on in flags.items()
            }

    def _cut(self, shape: Mapping[str, Any], key: object, where: str) -> None:
        try:
            mask = shape_pixels(shape, self.size_hw)
        except ItemFault:
            self.broken |= {(name, key) for name in {at[0] for at in self.groups}}
            raise
        cut_from = [group for at, group in self.groups.items() if at[1] == key]
        for group in cut_from:
            group.mask &= ~mask
        if not cut_from:
            self.early_holes.setdefault(key, []).append((where, mask))

    def finish(self) -> list[tuple[str, Fault]]:
        """Cut what was drawn before its shapes; gives the holes that are in nothing at all."""
        faults: list[tuple[str, Fault]] = []
        for key, holes in self.early_holes.items():
            groups = [group for at, group in self.groups.items() if at[1] == key]
            for where, mask in holes:
                for group in groups:
                    group.mask &= ~mask
                if not groups and key not in self.left_out:
                    detail = "a hole in nothing: no shape has its group"
                    faults.append((where, Fault(Reason.DANGLING_REFERENCE, detail)))
        return faults


def _piled(
    shapes: list[Any], size_hw: tuple[int, int], options: ReadOptions
) -> tuple[list[_Group], list[tuple[str, Fault]]]:
    pile = _Pile(size_hw, options)
    faults: list[tuple[str, Fault]] = []
    for index, shape in enumerate(shapes):
        name = fact_text(shape.get("label")) if isinstance(shape, dict) else ""
        where = f"shapes[{index}] {name[:80]}".strip()
        try:
            pile.add(shape, index, where)
        except ItemFault as fault:
            faults.append((where, Fault(fault.reason, str(fault))))
    faults += pile.finish()
    return [group for key, group in pile.groups.items() if key not in pile.broken], faults


def _instance(group: _Group, name: str, options: ReadOptions) -> Instance:
    stated = group.first.get(OURS)
    if stated is not None and not isinstance(stated, dict):
        raise ItemFault(Reason.SCHEMA, f"its key {OURS!r} is no object")
    stated = stated or {}
    if not group.mask.any():
        raise ItemFault(Reason.NO_AREA, "the mask covers no pixel")
    return Instance(
        id=fact_text(stated.get("id")) or name,
        label=group.label,
        mask=mask_to_rle(group.mask),
        drawn_by=read_origin(stated.get("drawn_by"), options),
        confidence=read_confidence(stated.get("confidence")),
        face=read_face(stated.get("face")),
        attributes=_attributes(read_attributes(stated.get("attributes")), group.flags),
    )


def _attributes(stated: Pairs, flags: Mapping[str, bool]) -> Pairs:
    """Flags say more than what was written with them: somebody may have changed them in LabelMe."""
    kept = dict(stated)
    for name, values in _CHOICES.items():
        offered = {value: flags[flag] for value in values if (flag := choice_flag(name, value)) in flags}
        chosen = [value for value, is_set in offered.items() if is_set]
        if len(chosen) > 1:
            raise ItemFault(Reason.SCHEMA, f"{name} is both {chosen[0]} and {chosen[1]}")
        if offered and kept.get(name) in values:
            del kept[name]
        if chosen:
            kept[name] = chosen[0]
    return sorted_pairs(kept)


def read_labelme(folder: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    """Pictures of all LabelMe files below a folder, in the order of the files, then those without a file.

    A picture is what `imageData` holds, as for LabelMe, else the file `imagePath` names, from the file's own
    folder, if that lies inside the dataset. The split is what the file states, else the name of a folder.
    """
    root = folder.parent if folder.is_file() else folder
    pictures: dict[str, LocalEntry] = {}
    keys: set[str] = set()
    count = 0
    for entry in [LocalEntry(folder.name, folder)] if folder.is_file() else walk(folder):
        is_json = entry.name.lower().endswith(".json")
        if entry.fault is not None:
            yield Problem(entry.name, entry.fault)
        elif is_json:
            count += 1
            yield from _found(root, entry, keys, options)
        elif entry.name.lower().endswith(_PICTURE_ENDS):
            pictures[entry.name] = entry
    if not count:
        yield Problem(folder.name, Fault(Reason.SCHEMA, "no LabelMe .json file in it"), is_fatal=True)
    for name, entry in pictures.items():
        if name not in keys:
            yield FoundPicture(name, FileContent(entry.path), path=entry.path, facts=read_facts({}, options))


def _found(
    root: Path, entry: LocalEntry, keys: set[str], options: ReadOptions
) -> Iterator[FoundPicture | Problem]:
    try:
        content = read_json(entry.path, MAX_FILE_BYTES)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            raise ItemFault(Reason.SCHEMA, "no LabelMe file: it has no list of shapes")
        key, picture, path = _picture(root, entry, content)
        if key in keys:
            raise ItemFault(Reason.DUPLICATE_ID, f"another file has the labels of {key}")
        stated = content.get(OURS) or {}
        if not isinstance(stated, dict):
            raise ItemFault(Reason.SCHEMA, f"its key {OURS!r} is no object")
        size_hw = stated_size(content.get("imageHeight"), content.get("imageWidth"))
        shapes = keep_json(content["shapes"])
    except ItemFault as fault:
        yield Problem(entry.name, Fault(fault.reason, str(fault)))
        return
    keys.add(key)
    folders = PurePosixPath(entry.name).parts[:-1]
    splits = (split_of(stated.get("split")), *map(split_of, folders))
    split = next((split for split in splits if split is not Split.UNASSIGNED), Split.UNASSIGNED)
    is_complete = stated.get("is_labelled") is not False
    labels = LabelMeLabels(shapes, options, split, size_hw, is_complete)
    annotation = labels if content["shapes"] or is_complete else None
    yield FoundPicture(key, picture, annotation, path, read_facts(stated, options))


def _picture(root: Path, entry: LocalEntry, content: Mapping[str, Any]) -> tuple[str, Content, Path | None]:
    """Key, content and path of the picture that a file is about."""
    if content.get("imageData"):
        return entry.name, EmbeddedPicture(entry.path), None
    name = content.get("imagePath")
    if not isinstance(name, str) or not name:
        raise ItemFault(Reason.SCHEMA, "neither imageData nor imagePath")
    # LabelMe writes the separators of the system it runs on.
    relative = PurePosixPath(entry.name).parent / name.replace("\\", "/")
    path = inside(root, str(relative))
    if path.is_symlink() or not path.is_file():
        raise ItemFault(Reason.MISSING_IMAGE, f"no file {fact_text(name)[:200]!r}")
    return path.relative_to(root.resolve()).as_posix(), FileContent(path), path


@dataclass(frozen=True, slots=True)
class EmbeddedPicture:
    """A picture inside a LabelMe file.

    Attributes:
        path: of the file.
    """

    path: Path

    def read(self, max_bytes: int) -> bytes:
        """The picture file.

        Raises:
            FetchFault: it is not there any more, no base64, or too large.
        """
        try:
            content = read_json(self.path, MAX_FILE_BYTES)
        except FetchFault:
            raise
        except ItemFault as fault:
            raise FetchFault(fault.reason, str(fault)) from fault
        text = content.get("imageData") if isinstance(content, dict) else None
        if not isinstance(text, str):
            raise FetchFault(Reason.SCHEMA, "imageData is no text")
        if len(text) * 3 // 4 > max_bytes + 2:
            raise FetchFault(Reason.TOO_MANY_BYTES, f"more than {max_bytes} bytes")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise FetchFault(Reason.CORRUPT, f"imageData is not in base64: {error}") from error
