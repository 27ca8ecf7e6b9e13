"""MFSD folders read back: ours with exact masks on whole photos, others' as crops and their mask pictures.

Without our `photos.csv` a folder is read by what all of its kind have in common: pictures in one folder,
masks of the same stems in another. Theirs are JPEG, so a mask is what is brighter than 127. Photos in `2/img`
are negatives; those in `1/img` have no labels of their own, and are of one group with their crops.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.core.errors import FetchFault, ItemFault
from dataset_tools.core.images import ImageLimits, decode_photo
from dataset_tools.core.labels import Label
from dataset_tools.core.local_files import LocalEntry, inside, read_local, walk
from dataset_tools.core.masks import BoolMask, mask_to_rle
from dataset_tools.core.published import Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Split
from dataset_tools.formats.entries import (
    fact_text,
    read_attributes,
    read_confidence,
    read_face,
    read_facts,
    read_origin,
    split_of,
)
from dataset_tools.formats.index_masks import decode_index
from dataset_tools.formats.mfsd import FACE_COLUMNS, PHOTO_COLUMNS, PHOTO_MASKS, unquoted_cell
from dataset_tools.formats.reading import (
    MAX_LABEL_BYTES,
    FileContent,
    FoundPicture,
    KnownLabels,
    Problem,
    ReadOptions,
    parse_json,
)

THRESHOLD = 127  # a grey value above it is mask

# Folders of pictures and of their masks: the authors', those of ABANet's scores, and readers' own.
_PAIRS = (
    ("1/face_crop", "1/face_crop_segmentation"),
    ("face_crop", "face_crop_segmentation"),
    ("image", "mask"),
    ("images", "masks"),
)
_PICTURE_ENDS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_CROP_NAME = re.compile(r"(.+)_(\d{1,4})_(\d{1,4})")  # photo, number of the face, faces of the photo

Row = dict[str, str]
_Place = tuple[str, tuple[tuple[str, str], ...]]  # a row's place in its table, and its cells


def read_mfsd(folder: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    """Photos of a folder that `write_mfsd` wrote, or crops and photos of anyone else's, sorted by name."""
    if (folder / "photos.csv").exists():
        yield from _read_ours(folder, options)
    else:
        yield from _read_theirs(folder, options)


@dataclass(frozen=True, slots=True)
class FaceMasks:
    """Face masks as rows of `1/dataset.csv`, each with a mask picture of the whole photo.

    Attributes:
        root: of the dataset; nothing outside is read.
        rows: place in the table and cells of each.
        options: what the table does not say.
        split: of the photo.
        is_complete: False when the dataset says that nobody confirmed these labels.
    """

    root: Path
    rows: tuple[_Place, ...]
    options: ReadOptions
    split: Split
    is_complete: bool

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """Instances of the good rows; bad ones as faults named "1/dataset.csv:<line>"."""
        good: dict[str, Instance] = {}
        faults: list[tuple[str, Fault]] = []
        for where, cells in self.rows:
            row = dict(cells)
            try:
                path = inside(self.root, f"{PHOTO_MASKS}/{row['photo_mask']}")
                item = _instance(row, _exact_mask(path, size_hw, limits), self.options)
                if item.id in good:
                    raise ItemFault(Reason.DUPLICATE_ID, "another face of this photo has this id")
            except ItemFault as fault:
                faults.append((where, Fault(fault.reason, str(fault))))
                continue
            good[item.id] = item
        return Labels(tuple(good.values()), tuple(faults), self.is_complete)


def _exact_mask(path: Path, size_hw: tuple[int, int], limits: ImageLimits) -> BoolMask:
    index = decode_index(read_local(path, limits.max_bytes), limits)
    if index.shape != size_hw:
        raise ItemFault(Reason.SIZE_MISMATCH, f"mask is {index.shape}, picture is {size_hw}")
    if not np.isin(index, (0, 255)).all():
        raise ItemFault(Reason.SCHEMA, "a mask with other values than 0 and 255")
    if not index.any():
        raise ItemFault(Reason.NO_AREA, "the mask covers no pixel")
    return np.asarray(index == 255, dtype=np.bool_)


def _instance(row: Mapping[str, str], mask: BoolMask, options: ReadOptions) -> Instance:
    try:
        face = int(row["face"] or -1)
        confidence = float(row["confidence"]) if row["confidence"] else None
    except ValueError as error:
        raise ItemFault(Reason.SCHEMA, f"face or confidence: {str(error)[:100]}") from error
    stated = parse_json(row["attributes"].encode("utf-8", "replace")) if row["attributes"] else {}
    return Instance(
        id=fact_text(unquoted_cell(row["instance_id"])) or Path(row["photo_mask"]).stem[:200],
        label=Label.FACE_MASK,
        mask=mask_to_rle(mask),
        drawn_by=read_origin(unquoted_cell(row["drawn_by"]), options),
        confidence=read_confidence(confidence),
        face=read_face(face),
        attributes=read_attributes(stated),
    )


def _read_ours(root: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    faces: defaultdict[str, list[_Place]] = defaultdict(list)
    for where, row in _rows(root, "1/dataset.csv", FACE_COLUMNS):
        if isinstance(row, Problem):
            yield row
        elif row["photo_mask"]:
            faces[f"1/img/{row['filename']}"].append((where, tuple(row.items())))
    keys: set[str] = set()
    for where, row in _rows(root, "photos.csv", PHOTO_COLUMNS):
        if isinstance(row, Problem):
            yield row
            continue
        try:
            yield _photo(root, row, keys, faces, options)
        except ItemFault as fault:
            yield Problem(where, Fault(fault.reason, str(fault)))
    for name, rows in faces.items():
        if name not in keys:
            lost = Fault(Reason.DANGLING_REFERENCE, f"a face of {fact_text(name)[:200]}, which is no photo")
            yield from (Problem(where, lost) for where, _ in rows)


def _photo(
    root: Path,
    row: Row,
    keys: set[str],
    faces: Mapping[str, list[_Place]],
    options: ReadOptions,
) -> FoundPicture:
    name = row["path"]
    path = inside(root, name)
    if name in keys:
        raise ItemFault(Reason.DUPLICATE_ID, f"{fact_text(name)[:200]} came before")
    keys.add(name)
    if path.is_symlink() or not path.is_file():
        raise ItemFault(Reason.MISSING_IMAGE, f"no file {fact_text(name)[:200]!r}")
    stated: dict[str, Any] = {key: unquoted_cell(value) for key, value in row.items()}
    masks = tuple(faces.get(name, ()))
    is_complete = row["is_labelled"] != "False"
    labels = FaceMasks(root, masks, options, split_of(row["split"]), is_complete)
    annotation = labels if masks or is_complete else None
    return FoundPicture(fact_text(name), FileContent(path), annotation, path, read_facts(stated, options))


def _rows(root: Path, name: str, columns: tuple[str, ...]) -> Iterator[tuple[str, Row | Problem]]:
    """(place, row) of a table; what is wrong with it as a problem in place of a row."""
    try:
        text = read_local(inside(root, name), MAX_LABEL_BYTES).decode("utf-8-sig")
        table = csv.DictReader(io.StringIO(text, newline=""))
        missing = [column for column in columns if column not in (table.fieldnames or ())]
        if missing:
            detail = f"columns missing: {', '.join(missing)}"
            yield name, Problem(name, Fault(Reason.SCHEMA, detail), is_fatal=True)
            return
        for row in table:
            where = f"{name}:{table.line_num}"
            if None in row or None in row.values():
                detail = "a row with more or fewer cells than the table has columns"
                yield where, Problem(where, Fault(Reason.SCHEMA, detail))
            else:
                yield where, row
    except FetchFault as fault:
        yield name, Problem(name, Fault(fault.reason, str(fault)), is_fatal=True)
    except (csv.Error, UnicodeDecodeError) as error:
        yield name, Problem(name, Fault(Reason.SCHEMA, f"no table: {str(error)[:200]}"), is_fatal=True)


@dataclass(frozen=True, slots=True)
class GreyMask:
    """A published mask picture, cut at 127, so that the smear of JPEG does no harm.

    Attributes:
        path: of the file.
        drawn_by: origin of the label.
        split: fixed part of the dataset.
    """

    path: Path
    drawn_by: str
    split: Split = Split.UNASSIGNED

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """One face mask, or none for a black picture, which is a complete label too.

        Raises:
            ItemFault: no picture, another size, or one of class numbers.
        """
        try:
            grey = decode_photo(read_local(self.path, limits.max_bytes), limits).rgb.max(axis=2)
        except ItemFault as fault:
            raise ItemFault(fault.reason, f"mask: {fault}") from fault
        if grey.shape != size_hw:
            raise ItemFault(Reason.SIZE_MISMATCH, f"mask is {grey.shape}, picture is {size_hw}")
        mask = grey > THRESHOLD
        if not mask.any():
            # Black, smeared or not, is a negative; class numbers are something else.
            if int(grey.max()) > 0 and self.path.suffix.lower() == ".png":
                detail = f"brightest value is {grey.max()}: class numbers, not a 0..255 mask"
                raise ItemFault(Reason.SCHEMA, detail)
            return Labels()
        return Labels((Instance("mask", Label.FACE_MASK, mask_to_rle(mask), self.drawn_by),))


def _read_theirs(root: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    entries = list(walk(root))
    yield from (Problem(entry.name, entry.fault) for entry in entries if entry.fault is not None)
    by_folder: defaultdict[str, list[LocalEntry]] = defaultdict(list)
    for entry in entries:
        if entry.fault is None and entry.name.lower().endswith(_PICTURE_ENDS):
            by_folder[entry.name.rpartition("/")[0]].append(entry)
    pairs = [(pictures, masks) for pictures, masks in _PAIRS if masks in by_folder]
    if not pairs:
        looked = " or ".join(f"{pictures} with {masks}" for pictures, masks in _PAIRS)
        yield Problem(root.name, Fault(Reason.SCHEMA, f"no masks; looked for {looked}"), is_fatal=True)
    for pictures, masks in pairs:
        yield from _pairs(by_folder[pictures], by_folder[masks], options)
    for part, annotation in (("1/img", None), ("2/img", KnownLabels(()))):
        for entry in by_folder[part]:
            facts = read_facts({"group": Path(entry.name).stem} if part == "1/img" else {}, options)
            yield FoundPicture(entry.name, FileContent(entry.path), annotation, entry.path, facts)


def _pairs(
    pictures: list[LocalEntry], masks: list[LocalEntry], options: ReadOptions
) -> Iterator[FoundPicture | Problem]:
    of_stem: defaultdict[str, list[LocalEntry]] = defaultdict(list)
    for entry in masks:
        of_stem[Path(entry.name).stem].append(entry)
    seen: set[str] = set()
    for entry in pictures:
        stem = Path(entry.name).stem
        found = of_stem.get(stem, [])
        if stem in seen:
            yield Problem(entry.name, Fault(Reason.DUPLICATE_ID, "another picture has the same stem"))
        elif not found:
            yield Problem(entry.name, Fault(Reason.DANGLING_REFERENCE, "no mask of this stem"))
        elif len(found) > 1:
            yield Problem(entry.name, Fault(Reason.DUPLICATE_ID, f"{len(found)} masks of this stem"))
        else:
            labels = GreyMask(found[0].path, options.drawn_by)
            facts = read_facts({"group": _photo_of(stem)}, options)
            yield FoundPicture(entry.name, FileContent(entry.path), labels, entry.path, facts)
        seen.add(stem)
    for stem, found in of_stem.items():
        if stem not in seen:
            missing = Fault(Reason.MISSING_IMAGE, "a mask without a picture")
            yield from (Problem(entry.name, missing) for entry in found)


def _photo_of(stem: str) -> str:
    """The photo that a crop was cut from, by its name; the crop itself when the name does not say."""
    match = _CROP_NAME.fullmatch(stem)
    return match[1] if match and int(match[2]) < int(match[3]) else stem
