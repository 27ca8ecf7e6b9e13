"""Which format a dataset on disk is in, told by its file names and by the first keys of its JSON files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dataset_tools.core.errors import ConfigError

AUTO = "auto"

_END_BYTES = 1 << 16  # of either end of a JSON file
_MOST_FILES = 20  # of one kind that are looked into
_KEY = re.compile(rb'"((?:[^"\\]|\\.){1,60})"\s*:')


@dataclass(frozen=True, slots=True)
class _Sign:
    format: str
    looked_for: str
    is_there: Callable[[Path], bool]


def detect_format(path: Path) -> str:
    """Name of the format of a dataset folder, or of the one file a dataset consists of.

    Raises:
        ConfigError: it looks like none or like several; says what was looked for.
    """
    found = [sign for sign in _SIGNS if sign.is_there(path)]
    if len(found) == 1:
        return found[0].format
    if found:
        seen = "; ".join(f"{sign.format} ({sign.looked_for})" for sign in found)
        raise ConfigError(f"{path} looks like several formats: {seen}; say which with the format's name")
    inner = [
        f"{folder.name} ({sign.format})"
        for folder in _folders(path)
        for sign in _SIGNS
        if sign.is_there(folder)
    ]
    hint = f"; inside it are {', '.join(inner)}: name one of these folders" if inner else ""
    looked = "; ".join(f"{sign.format}: {sign.looked_for}" for sign in _SIGNS)
    raise ConfigError(f"{path} looks like no dataset format. Looked for {looked}{hint}")


def _folders(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (child for child in sorted(path.iterdir()) if child.is_dir() and not child.is_symlink())


def _files(path: Path, *patterns: str) -> Iterator[Path]:
    """Files that match, the path itself when it is a file whose name does."""
    if path.is_file():
        if any(path.match(pattern) for pattern in patterns if "/" not in pattern):
            yield path
        return
    for pattern in patterns:
        yield from islice(path.glob(pattern), _MOST_FILES)


def _has(*patterns: str) -> Callable[[Path], bool]:
    return lambda path: any(True for _ in _files(path, *patterns))


def _json_of(kind: str, *patterns: str) -> Callable[[Path], bool]:
    return lambda path: any(_kind_of_json(file) == kind for file in _files(path, *patterns))


def _kind_of_json(path: Path) -> str:
    """The format whose keys stand in the first and last part of a JSON file, "" for none."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as stream:
        ends = stream.read(_END_BYTES)
        stream.seek(max(_END_BYTES, path.stat().st_size - _END_BYTES))
        ends += stream.read(_END_BYTES)
    keys = set(_KEY.findall(ends))
    if ends.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
        return "label_studio" if b"data" in keys else ""
    if b"shapes" in keys:
        return "labelme"
    if b"segments_info" in keys:
        return "panoptic"
    return "coco" if keys & {b"images", b"annotations", b"categories"} else ""


def _is_yolo(path: Path) -> bool:
    # A folder of lines of numbers alone may be anything; the class names are what makes it YOLO's.
    return path.is_dir() and any(path.glob("*.yaml")) and any(path.glob("labels/**/*.txt"))


_SIGNS = (
    _Sign(
        "coco",
        'JSON with "images" and "annotations"',
        _json_of("coco", "*.json", "annotations/*.json", "*/_annotations.coco.json"),
    ),
    _Sign(
        "panoptic",
        'JSON with "segments_info"',
        _json_of("panoptic", "*.json", "annotations/*.json"),
    ),
    _Sign("yolo", "data.yaml and labels/", _is_yolo),
    _Sign(
        "voc", "SegmentationClass/ or Annotations/*.xml", _has("SegmentationClass/*.png", "Annotations/*.xml")
    ),
    _Sign("celebamask", "CelebAMask-HQ-mask-anno/", _has("CelebAMask-HQ-mask-anno/*")),
    _Sign("label_studio", 'JSON list of tasks with "data"', _json_of("label_studio", "*.json")),
    _Sign("mfsd", "1/dataset.csv", _has("1/dataset.csv")),
    _Sign("huggingface", "Parquet files", _has("*.parquet", "data/*.parquet")),
    _Sign("webdataset", "tar shards", _has("*.tar")),
    _Sign("labelme", 'JSON with "shapes"', _json_of("labelme", "*.json", "*/*.json")),
)
