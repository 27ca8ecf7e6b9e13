"""The stage runs of a workspace and which stored pictures their rows refer to, read without whole rows."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_tools.core.errors import ManifestError
from dataset_tools.core.record import ImageRef, Pairs

STORES = ("objects", "originals")

Keys = npt.NDArray[np.uint64]

_OBJECTS = ["id", "image", "instances.list.element.soft", "layers.list.element.image"]
_NAMES = ("source", "item_key", "url", "author", "content_sha256", "parent_id", "evidence")
_ORIGINS = ["id", "image", "group", "phash", *(f"provenance.{name}" for name in _NAMES)]


@dataclass(frozen=True, slots=True)
class Origin:
    """What says which picture a sample is and where it comes from.

    Attributes:
        path: of the stored picture, relative to the workspace.
        sample_id, sha256, group, phash: of the sample and its picture.
        source, item_key, url, author, content_sha256, parent_id: of its provenance.
        evidence: the same, as pairs.
    """

    path: str
    sample_id: str
    sha256: str
    group: str
    phash: str
    source: str
    item_key: str
    url: str
    author: str
    content_sha256: str
    parent_id: str
    evidence: Pairs

    @property
    def addresses(self) -> frozenset[str]:
        """Every address of the picture: where it was asked for, and what that led to."""
        facts = dict(self.evidence)
        led = (facts.get("final_url", ""), *facts.get("redirects", "").split())
        return frozenset({self.url, *led} - {""})

    @property
    def page_url(self) -> str:
        """The page that shows the picture; "" when none is known."""
        return dict(self.evidence).get("page_url", "")


def normal_url(text: str) -> str:
    """The address in the form in which the crawl keeps it; what is no address stays as it is."""
    import httpx

    try:
        return str(httpx.URL(text.strip()).copy_with(fragment=None))
    except (httpx.InvalidURL, ValueError):
        return text


def stored_files(root: Path) -> Iterator[str]:
    """Paths of all stored files relative to the workspace, ordered; one folder's names in memory."""
    for store in STORES:
        base = root / store
        for folder in sorted(path.name for path in base.glob("*") if path.is_dir()):
            with os.scandir(base / folder) as entries:
                names = sorted(entry.name for entry in entries if not entry.name.startswith(".tmp-"))
            yield from (f"{store}/{folder}/{name}" for name in names)


def short_key(path: str) -> int:
    """64 of the 256 bits of a stored file's name: enough to tell files apart."""
    try:
        return int(Path(path).stem[:16], 16)
    except ValueError:
        return 0  # not one of ours: nothing refers to it


def shard_keys(path: Path) -> Iterator[int]:
    """`short_key` of every stored file that a shard's rows refer to, originals too; some more than once.

    Raises:
        ManifestError: the shard cannot be read.
    """
    yield from (short_key(one) for one, _ in object_references(path))
    yield from (short_key(origin.content_sha256) for origin in sample_origins(path))


def compare_stored(root: Path, wanted: Keys) -> tuple[Keys, list[str]]:
    """Keys of the stored files that are there, sorted, and the paths of those whose key is not wanted."""
    there = array("Q")
    orphans: list[str] = []
    batch: list[str] = []

    def file_batch() -> None:
        keys = np.array([short_key(path) for path in batch], dtype=np.uint64)
        there.frombytes(keys.tobytes())
        orphans.extend(path for path, known in zip(batch, np.isin(keys, wanted), strict=True) if not known)
        batch.clear()

    for path in stored_files(root):
        batch.append(path)
        if len(batch) == 1 << 14:
            file_batch()
    file_batch()
    return np.unique(np.frombuffer(there, dtype=np.uint64)), orphans


def manifest_folders(root: Path) -> list[Path]:
    """Folders of all stage runs of a workspace, finished or not."""
    return sorted(path for path in (root / "manifests").glob("*") if path.is_dir())


def shard_files(folder: Path) -> list[Path]:
    """Written shards of a stage run, in order."""
    return sorted((folder / "samples").glob("part-*.parquet"))


def sample_origins(path: Path) -> Iterator[Origin]:
    """The origin of every sample of a shard, in stored order.

    Raises:
        ManifestError: the shard cannot be read.
    """
    for row in _rows(path, _ORIGINS):
        origin = {name: row["provenance"][name] for name in _NAMES}
        origin["evidence"] = tuple((pair["key"], pair["value"]) for pair in origin["evidence"])
        image = row["image"]
        yield Origin(_path(image), row["id"], image["sha256"], row["group"], row["phash"], **origin)


def object_references(path: Path) -> Iterator[tuple[str, str]]:
    """Paths of the objects that a shard's samples refer to, with the sample's id; some more than once.

    Raises:
        ManifestError: the shard cannot be read.
    """
    for row in _rows(path, _OBJECTS):
        yield from ((_path(image), row["id"]) for image in _images(row))


def _rows(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as parquet:
            for batch in parquet.iter_batches(columns=columns):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"cannot read {path}: {error}") from error


def _images(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield row["image"]
    yield from (item["soft"] for item in row["instances"] if item["soft"] is not None)
    yield from (item["image"] for item in row["layers"])


def _path(image: dict[str, Any]) -> str:
    return ImageRef(image["sha256"], (image["height"], image["width"]), image["format"]).path
