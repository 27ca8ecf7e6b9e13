"""Faces and pairs from a user's folder: who is where, and which pairs to compare."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from baselines.verification.alignment import Points, RgbImage
from dataset_tools.core.errors import DataError, ImageFault
from dataset_tools.core.files import digest_json, sha256_file
from dataset_tools.core.images import ImageLimits, decode_photo

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_POINT_COLUMNS = tuple(
    f"{point}_{axis}"
    for point in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    for axis in ("x", "y")
)
_FOLDS = 10
_LIMITS = ImageLimits(min_side_px=16)  # published face crops may be tiny


@dataclass(frozen=True, slots=True)
class IdentityFace:
    """One picture of one person.

    Attributes:
        name: its path as the source names it.
        path: where it lies.
        identity: whose face it is.
        points: (5, 2) landmarks in pixels, or None.
    """

    name: str
    path: Path
    identity: str
    points: Points | None = None


@dataclass(frozen=True)
class IdentitySet:
    """Faces to learn from.

    Attributes:
        title: what a card calls them.
        faces: sorted by name.
    """

    title: str
    faces: tuple[IdentityFace, ...]

    @cached_property
    def identities(self) -> tuple[str, ...]:
        """Everybody, sorted; a person's class number is the position here."""
        return tuple(sorted({face.identity for face in self.faces}))

    @cached_property
    def digest(self) -> str:
        """Of every picture's bytes, landmarks and identity."""
        return digest_json([[one.name, one.identity, *_content(one.path, one.points)] for one in self.faces])


@dataclass(frozen=True, slots=True)
class FacePair:
    """Two pictures to compare.

    Attributes:
        names: of both, as in the pair list.
        paths: where they lie.
        is_same: whether they show one person.
        fold: which tenth it belongs to, from 0.
        points: landmarks of both, or None.
    """

    names: tuple[str, str]
    paths: tuple[Path, Path]
    is_same: bool
    fold: int
    points: tuple[Points | None, Points | None] = (None, None)


@dataclass(frozen=True)
class PairSet:
    """Pairs to score.

    Attributes:
        title: what a card calls them.
        pairs: in the list's order.
    """

    title: str
    pairs: tuple[FacePair, ...]

    @cached_property
    def digest(self) -> str:
        """Of every pair's pictures, landmarks, truth and fold."""
        content: dict[Path, list[object]] = {}
        for pair in self.pairs:
            for path, points in zip(pair.paths, pair.points, strict=True):
                if path not in content:
                    content[path] = _content(path, points)
        return digest_json(
            [[*(content[one] for one in pair.paths), pair.is_same, pair.fold] for pair in self.pairs]
        )


def _content(path: Path, points: Points | None) -> list[object]:
    return [sha256_file(path), None if points is None else points.round(3).tolist()]


def read_face(path: Path) -> RgbImage:
    """(H, W, 3) uint8 RGB.

    Raises:
        DataError: the file is missing or no picture.
    """
    try:
        return decode_photo(path.read_bytes(), _LIMITS).rgb
    except (OSError, ImageFault) as error:
        raise DataError(f"{path}: {error}") from None


def read_identities(source: Path, landmarks: Path | None = None) -> IdentitySet:
    """Faces of a folder with one subfolder per person, or of a CSV list.

    Args:
        source: the folder; or a CSV with the columns `path` (or `file`), relative to it, and `identity`.
        landmarks: a CSV with the column `path` and ten columns `left_eye_x`, `left_eye_y`, `right_eye_…`,
            `nose_…`, `left_mouth_…`, `right_mouth_…`, pixels, left as the viewer sees it.

    Raises:
        DataError: nothing there, a column is missing, or fewer than two people.
    """
    points = _read_points(landmarks)
    if source.is_dir():
        found = [
            IdentityFace(f"{folder.name}/{path.name}", path, folder.name)
            for folder in sorted(source.iterdir())
            if folder.is_dir()
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in _SUFFIXES
        ]
    else:
        found = []
        for row in _read_csv(source, ("identity",)):
            name = _path_of(row, source)
            found.append(IdentityFace(name, source.parent / name, row["identity"]))
    faces = sorted(
        (IdentityFace(one.name, one.path, one.identity, points.get(one.name)) for one in found),
        key=lambda one: one.name,
    )
    people = len({one.identity for one in faces})
    if people < 2:
        raise DataError(f"{source} shows {people} people; at least 2 are needed to tell them apart")
    return IdentitySet(source.stem, tuple(faces))


def read_pairs(source: Path, images: Path | None = None, landmarks: Path | None = None) -> PairSet:
    """A list of pairs.

    Args:
        source: a CSV with the columns `file_a`, `file_b`, `same` (1 or 0) and perhaps `fold` (from 0); or
            LFW's own `pairs.txt`, whose folds are kept.
        images: the folder that the paths start from; None: the list's own.
        landmarks: as `read_identities`.

    Raises:
        DataError: not such a list, or without both kinds of pairs in at least two folds.
    """
    root = images or source.parent
    points = _read_points(landmarks)
    rows = _lfw_rows(source) if source.suffix == ".txt" else _csv_rows(source)
    pairs = tuple(
        FacePair(
            names,
            (root / names[0], root / names[1]),
            is_same,
            fold,
            (points.get(names[0]), points.get(names[1])),
        )
        for names, is_same, fold in rows
    )
    if len({pair.is_same for pair in pairs}) < 2 or len({pair.fold for pair in pairs}) < 2:
        raise DataError(f"{source} must hold pairs of one person and of two people, in at least two folds")
    return PairSet(source.parent.name or source.stem, pairs)


_Row = tuple[tuple[str, str], bool, int]


def _csv_rows(source: Path) -> list[_Row]:
    rows = _read_csv(source, ("file_a", "file_b", "same"))
    for number, row in enumerate(rows, start=2):
        if row["same"] not in ("0", "1"):
            raise DataError(f"{source.name}, line {number}: same is {row['same']!r}, expected 0 or 1")
    same = [row["same"] == "1" for row in rows]
    if rows and "fold" in rows[0]:
        folds = [_whole_number(row["fold"], source, "fold") for row in rows]
    else:
        folds = contiguous_folds(same)
    return [
        ((row["file_a"], row["file_b"]), is_same, fold)
        for row, is_same, fold in zip(rows, same, folds, strict=True)
    ]


def contiguous_folds(same: Iterable[bool], folds: int = _FOLDS) -> list[int]:
    """Fold of each pair: the pairs of either kind, in their order, cut into equal runs, as LFW's list is."""
    kinds = np.array(list(same), dtype=bool)
    found = np.zeros(len(kinds), dtype=int)
    for kind in (False, True):
        where = np.flatnonzero(kinds == kind)
        for fold, part in enumerate(np.array_split(where, folds)):
            found[part] = fold
    return [int(one) for one in found]


def _lfw_rows(source: Path) -> list[_Row]:
    """LFW's layout: a line `folds per_kind`, then per fold that many same and that many different pairs."""
    lines = _text(source).splitlines()
    head = lines[0].split() if lines else []
    if len(head) != 2:
        raise DataError(f"{source.name}: the first line must say folds and pairs per kind")
    per_fold = 2 * _whole_number(head[1], source, "pairs per kind")
    rows: list[_Row] = []
    for index, line in enumerate(line for line in lines[1:] if line.strip()):
        parts = line.split()
        if len(parts) not in (3, 4):
            raise DataError(f"{source.name}, pair {index + 1}: {line!r} is no pair")
        other = parts[0] if len(parts) == 3 else parts[2]
        numbers = (_whole_number(parts[1], source, "number"), _whole_number(parts[-1], source, "number"))
        names = (_lfw_name(parts[0], numbers[0]), _lfw_name(other, numbers[1]))
        rows.append((names, len(parts) == 3, index // max(per_fold, 1)))
    return rows


def _lfw_name(person: str, number: int) -> str:
    return f"{person}/{person}_{number:04d}.jpg"


def _read_points(source: Path | None) -> Mapping[str, Points]:
    if source is None:
        return {}
    rows = _read_csv(source, _POINT_COLUMNS)
    try:
        return {
            _path_of(row, source): np.array([float(row[name]) for name in _POINT_COLUMNS]).reshape(5, 2)
            for row in rows
        }
    except ValueError as error:
        raise DataError(f"{source.name}: {error}") from None


def _path_of(row: Mapping[str, str], source: Path) -> str:
    name = row.get("path") or row.get("file")
    if not name:
        raise DataError(f"{source.name} has no column 'path'")
    return name


def _read_csv(source: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(_text(source)))
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{source.name} has no column {', '.join(missing)}")
    return list(reader)


def _text(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {source}: {error}") from None


def _whole_number(text: str, source: Path, what: str) -> int:
    if not text.isdecimal():
        raise DataError(f"{source.name}: {what} is {text!r}, expected a whole number")
    return int(text)
