"""Reads a user's own labels: a CSV file of pictures, feature values and, if wanted, genders.

    image,feature,gender,group
    anna/01.jpg,3,female,anna
    ben/07.png,9,,ben

`image` is a path below the picture folder. `gender` and `group` may be left out; `group` names the person or
album, so that training and scoring can be kept apart. The file is untrusted: it is checked as a whole, and
every problem is reported at once.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from baselines.attributes.coding import GENDERS, UNKNOWN_GENDER
from dataset_tools.core.errors import DataError, ImageFault
from dataset_tools.core.files import digest_json, sha256_hex
from dataset_tools.core.images import ImageLimits, RgbImage, decode_photo

_REQUIRED = ("image", "feature")
_OPTIONAL = ("gender", "group")
_MAX_CSV_BYTES = 64 * 1024 * 1024
_MOST_REPORTED = 20
_SHOWN_CHARACTERS = 80
_LIMITS = ImageLimits(min_side_px=32)


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One row.

    Attributes:
        path: of the picture file.
        sha256: of its bytes when the table was read.
        feature: value, 0 to the top value.
        gender: place in `GENDERS`, or `UNKNOWN_GENDER`.
        group: person or album; "" when not said.
    """

    path: Path
    sha256: str
    feature: int
    gender: int
    group: str

    def read(self) -> RgbImage:
        """The picture, (H, W, 3) uint8.

        Raises:
            DataError: it is gone or changed since the table was read.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.path.name}: {error.strerror}") from error
        if sha256_hex(data) != self.sha256:
            raise DataError(f"{self.path.name} was changed since training began")
        return decode_photo(data, _LIMITS).rgb


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A checked table.

    Attributes:
        name: file name.
        pictures: in file order.
        has_gender: whether there is a `gender` column with at least one entry.
    """

    name: str
    pictures: tuple[LabelledPicture, ...]
    has_gender: bool

    def digest(self) -> str:
        """Of all pictures and labels, whatever the paths."""
        rows = sorted([one.sha256, one.feature, one.gender, one.group] for one in self.pictures)
        return digest_json(rows)


def read_labels(csv_path: Path, images_dir: Path, *, top_value: int, with_gender: bool) -> LabelTable:
    """Read and check a table and all its pictures.

    Args:
        csv_path: UTF-8, comma separated, with a header.
        images_dir: the folder that paths are relative to; nothing outside it is read.
        top_value: largest feature value.
        with_gender: read the `gender` column; otherwise it is not even looked at.

    Raises:
        DataError: one line that names every problem with its row (the header is row 1), at most 20 of them.
    """
    rows = _read_rows(csv_path)
    problems: list[str] = []
    pictures: list[LabelledPicture] = []
    first_row: dict[str, int] = {}
    for number, row in rows:
        picture = _read_row(row, images_dir, top_value, with_gender)
        if isinstance(picture, str):
            problems.append(f"row {number}: {picture}")
        elif picture.sha256 in first_row:
            problems.append(f"row {number}: the same picture as row {first_row[picture.sha256]}")
        else:
            first_row[picture.sha256] = number
            pictures.append(picture)
    if problems:
        more = f"; and {len(problems) - _MOST_REPORTED} more" if len(problems) > _MOST_REPORTED else ""
        said = "; ".join(problems[:_MOST_REPORTED])
        raise DataError(f"{csv_path.name}: {len(problems)} bad row(s): {said}{more}")
    if not pictures:
        raise DataError(f"{csv_path.name} has a header but no row")
    has_gender = any(one.gender != UNKNOWN_GENDER for one in pictures)
    return LabelTable(csv_path.name, tuple(pictures), has_gender)


def _read_rows(path: Path) -> list[tuple[int, dict[str, str] | str]]:
    """(row number, fields or a complaint) of every row that is not blank."""
    try:
        if path.stat().st_size > _MAX_CSV_BYTES:
            raise DataError(f"{path.name} is larger than {_MAX_CSV_BYTES >> 20} MiB")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        row = 1 + path.read_bytes()[: error.start].count(b"\n")
        raise DataError(f"{path.name}: row {row}: not UTF-8 text") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader)]
    except StopIteration:
        raise DataError(f"{path.name} is empty") from None
    except csv.Error as error:
        raise DataError(f"{path.name}: row 1: {error}") from error
    _check_header(path.name, header)
    return list(_fields(path.name, reader, header))


def _fields(
    name: str, reader: Iterator[list[str]], header: list[str]
) -> Iterator[tuple[int, dict[str, str] | str]]:
    number = 1
    while True:
        number += 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # What follows a broken quote cannot be told apart any more.
            raise DataError(f"{name}: row {number}: {error}") from error
        if not values:
            continue
        if len(values) != len(header):
            yield number, f"{len(values)} fields, the header has {len(header)}"
        else:
            yield number, {key: value.strip() for key, value in zip(header, values, strict=True)}


def _check_header(name: str, header: list[str]) -> None:
    known = (*_REQUIRED, *_OPTIONAL)
    problems = [f"column {one!r} is missing" for one in _REQUIRED if one not in header]
    for column in header:
        if column not in known:
            close = difflib.get_close_matches(column, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"only {', '.join(known)} belong here"
            problems.append(f"unknown column {_shown(column)}; {hint}")
    problems.extend(f"column {one!r} stands twice" for one in known if header.count(one) > 1)
    if problems:
        raise DataError(f"{name}: row 1: {'; '.join(problems)}")


def _read_row(
    row: Mapping[str, str] | str, images_dir: Path, top_value: int, with_gender: bool
) -> LabelledPicture | str:
    """The picture, or all that is wrong with the row."""
    if isinstance(row, str):
        return row
    problems: list[str] = []
    feature = -1
    said = row["feature"]
    if said.isascii() and said.isdigit() and len(said) <= 3 and int(said) <= top_value:
        feature = int(said)
    else:
        problems.append(f"feature {_shown(said)} is not a whole number from 0 to {top_value}")
    gender, word = UNKNOWN_GENDER, row.get("gender", "") if with_gender else ""
    if word in GENDERS:
        gender = GENDERS.index(word)
    elif word:
        problems.append(f"gender {_shown(word)} is neither {' nor '.join(GENDERS)}, nor left empty")
    path, sha256 = images_dir, ""
    try:
        path = _inside(images_dir, row["image"])
        data = _ordinary_file(path)
        decode_photo(data, _LIMITS)
        sha256 = sha256_hex(data)
    except (ImageFault, _BadPathError) as error:
        problems.append(f"image {_shown(row['image'])}: {error}")
    if problems:
        return ", ".join(problems)
    return LabelledPicture(path, sha256, feature, gender, row.get("group", ""))


class _BadPathError(Exception):
    """Text says what is wrong with a path."""


def _inside(root: Path, name: str) -> Path:
    if not name or "\x00" in name or "\\" in name:
        raise _BadPathError("not a path" if name else "no path")
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise _BadPathError("leads outside the picture folder")
    try:
        target = (root / relative).resolve()
        is_inside = target.is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise _BadPathError("not a path") from error
    if not is_inside:
        raise _BadPathError("a link that leads outside the picture folder")
    return target


def _ordinary_file(path: Path) -> bytes:
    # Without O_NONBLOCK the open of a pipe waits for a writer, possibly for ever.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _BadPathError(error.strerror or "cannot be opened") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _BadPathError("not an ordinary file")
        if status.st_size > _LIMITS.max_bytes:
            raise _BadPathError(f"{status.st_size} bytes, at most {_LIMITS.max_bytes} allowed")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read(_LIMITS.max_bytes)
    finally:
        os.close(handle)


def _shown(text: str) -> str:
    """A value from the file in one printable line."""
    return repr(text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else ""))
