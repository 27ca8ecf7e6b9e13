"""Take pictures out of everything a workspace holds; every step can be cut off and repeated.

Manifests keep their counts true: in the crawl a removed picture becomes a `tombstone` rejection under a name
that tells nothing, in every later stage its rows go and it no longer counts as input.
"""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from dataset_tools.core.files import sha256_hex, write_bytes
from dataset_tools.core.manifest import (
    Manifest,
    ShardCounts,
    read_shard_counts,
    read_shard_samples,
    write_header,
    write_shard,
)
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.rows import rejection_from_row
from dataset_tools.core.tombstones import FILE_NAME
from dataset_tools.references import shard_files

Step = Callable[[str], None]

JOURNAL = "takedown.json"
GONE = "[taken down]"
ID_DIGITS = 32  # hex digits of a sample id: the beginning of its picture's sha256

# Folders of a workspace that are made anew from the manifests; whole, since they name pictures in ways of
# their own (Parquet, HTML, archives).
REMADE = ("dataset", "publish", "report")
_KEPT_APART = ("manifests", "objects", "models", FILE_NAME, JOURNAL, *REMADE)

_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{32,}")
_URL = re.compile(r"https?://[^\s\"'<>\\]+")
_KEPT_KEY = re.compile(r"\b(?:from|as) (.+), which is kept$")
_AFTER_A_URL = ".,;:)]}"
_TEXT_SUFFIXES = {".csv", ".html", ".json", ".jsonl", ".log", ".md", ".svg", ".txt", ".tsv", ".xml", ".yaml"}
_BY_LINE = {".csv", ".jsonl", ".txt", ".tsv", ".log"}


@dataclass(frozen=True)
class Names:
    """By what a removed picture is known.

    Attributes:
        digests: first 32 hex digits of sample ids and of sha256 sums (stored, fetched, soft labels, layers).
        urls: where they came from.
        keys: item keys.
    """

    digests: frozenset[str]
    urls: frozenset[str]
    keys: frozenset[str]

    def mentioned(self, text: str) -> bool:
        """True when a digest or an address stands in the text."""
        if any(found[:ID_DIGITS] in self.digests for found in _HEX.findall(text)):
            return True
        return any(_bare(found) in self.urls for found in _URL.findall(text))

    def without(self, text: str) -> str:
        """The text with every mention taken out."""

        def digest(match: re.Match[str]) -> str:
            return GONE if match[0][:ID_DIGITS] in self.digests else match[0]

        def address(match: re.Match[str]) -> str:
            bare = _bare(match[0])
            return GONE + match[0][len(bare) :] if bare in self.urls else match[0]

        kept = _KEPT_KEY.search(text)
        if kept is not None and kept[1] in self.keys:
            text = text.replace(kept[1], GONE)
        return _URL.sub(address, _HEX.sub(digest, text))

    def group(self, name: str) -> str:
        """The group's name; another one, the same everywhere, when it is that of a removed picture."""
        if name in self.keys or name in self.urls or self.mentioned(name):
            return f"g-{sha256_hex(name.encode())[:24]}"
        return name


def _bare(url: str) -> str:
    return url.rstrip(_AFTER_A_URL)


# -- manifests ------------------------------------------------------------


def clean_manifest(folder: Path, ids: frozenset[str], names: Names, step: Step) -> int:
    """Take samples out of one stage run; returns how many shards changed.

    Args:
        folder: of the run.
        ids: sample ids that go.
        names: by what else they are known.
        step: told after every durable change.
    """
    changed = sum(_clean_shard(folder, path, ids, names, step) for path in shard_files(folder))
    for left in sorted((folder / "rejections").glob("part-*.parquet")):
        if not (folder / "samples" / left.name).exists():
            left.unlink()  # half of a shard that was never finished: it is made again
    header = folder / "header.json"
    if header.exists():
        manifest = Manifest(folder)
        indices = range(len(manifest.shard_paths()))
        counts = sum((read_shard_counts(folder, index) for index in indices), start=ShardCounts())
        if counts != manifest.counts:
            write_header(folder, {**manifest.header, "counts": dataclasses.asdict(counts)})
            step(f"header {folder.name}")
    return changed


def _clean_shard(folder: Path, path: Path, ids: frozenset[str], names: Names, step: Step) -> bool:
    index = int(path.stem.removeprefix("part-"))
    rejections = _read_rejections(folder / "rejections" / path.name)
    kept_rejections = list(_cleaned_rejections(rejections, ids, names))
    if not _names_any(path, names) and kept_rejections == rejections:
        return False
    samples = read_shard_samples(path)
    made_here = read_shard_counts(folder, index).derived > 0
    is_crawl = folder.name.startswith("crawl-")
    kept = [_cleaned(sample, names) for sample in samples if sample.id not in ids]
    gone = [sample for sample in samples if sample.id in ids]
    if is_crawl:
        stones = {item.item_key: item for item in kept_rejections}
        stones |= {(stone := tombstone_row(item)).item_key: stone for item in gone}
        kept_rejections = list(stones.values())
    else:
        kept_rejections = [item for item in kept_rejections if item.reason is not Reason.TOMBSTONE]
    inputs = [
        sample.provenance.item_key for sample in kept if not (made_here and sample.provenance.parent_id)
    ]
    inputs += [item.item_key for item in kept_rejections if not item.derived]
    write_shard(folder, index, inputs, kept, kept_rejections)
    step(f"shard {folder.name}/{path.name}")
    return True


def _read_rejections(path: Path) -> list[Rejection]:
    with pq.ParquetFile(path) as parquet:
        return [rejection_from_row(row) for row in parquet.read().to_pylist()]


def _names_any(path: Path, names: Names) -> bool:
    """True when a row's light columns name a removed picture; the heavy ones name nothing else."""
    columns = ["id", "group", "image.sha256", "review.note"]
    columns += [
        f"provenance.{name}" for name in ("url", "content_sha256", "parent_id", "evidence", "item_key")
    ]
    with pq.ParquetFile(path) as parquet:
        for batch in parquet.iter_batches(columns=columns):
            for row in batch.to_pylist():
                if row["group"] in names.keys or row["provenance"]["item_key"] in names.keys:
                    return True
                if names.mentioned(json.dumps(row, ensure_ascii=False)):
                    return True
    return False


def tombstone_row(item: Sample | Rejection) -> Rejection:
    """What stays of a removed item in the crawl's table: that there was one."""
    key = item.provenance.item_key if isinstance(item, Sample) else item.item_key
    source = item.provenance.source if isinstance(item, Sample) else item.source
    return Rejection(
        stage="crawl",
        item_key=f"taken-down/{sha256_hex(key.encode())[:24]}",
        reason=Reason.TOMBSTONE,
        detail="taken down on request",
        source=source,
    )


def _cleaned_rejections(items: Iterable[Rejection], ids: frozenset[str], names: Names) -> Iterator[Rejection]:
    for item in items:
        is_named = item.sample_id in ids or item.item_key in names.keys or item.item_key in names.urls
        if is_named and item.derived:
            continue
        if is_named:
            yield tombstone_row(item)
        else:
            yield dataclasses.replace(item, detail=names.without(item.detail))


def _cleaned(sample: Sample, names: Names) -> Sample:
    evidence = tuple((key, names.without(value)) for key, value in sample.provenance.evidence)
    return dataclasses.replace(
        sample,
        group=names.group(sample.group),
        provenance=dataclasses.replace(sample.provenance, evidence=evidence),
        review=dataclasses.replace(sample.review, note=names.without(sample.review.note)),
    )


# -- other files ------------------------------------------------------------


def clean_files(root: Path, names: Names, remake: Iterable[str], step: Step) -> list[str]:
    """Take removed pictures out of everything that is neither a manifest nor an object.

    Folders that are made from the manifests go whole, and so does a model that was trained on one of them; a
    table loses its lines; any other file that names one goes.

    Args:
        root: of the workspace.
        names: by what the pictures are known.
        remake: folders that go whole.
        step: told after every durable change.

    Returns:
        What went, relative to the root: "reviews/verdicts-….jsonl (3 lines)", "models/proposer-…", ….
    """
    gone = []
    for name in remake:
        if (root / name).exists():
            shutil.rmtree(root / name)
            gone.append(name)
            step(f"folder {name}")
    for folder in sorted(path for path in (root / "models").glob("*") if path.is_dir()):
        if any(_file_names(path, names) for path in sorted(folder.rglob("*")) if path.is_file()):
            shutil.rmtree(folder)
            gone.append(f"models/{folder.name}")
            step(f"model {folder.name}")
    for path in _other_files(root):
        relative = path.relative_to(root).as_posix()
        if names.mentioned(path.name):
            path.unlink()
            gone.append(relative)
        elif path.suffix in _TEXT_SUFFIXES and names.mentioned(_text(path)):
            gone.append(relative + _drop_mentions(path, names))
        else:
            continue
        step(f"file {relative}")
    return gone


def _other_files(root: Path) -> Iterator[Path]:
    for top in sorted(root.iterdir()):
        if top.name in _KEPT_APART:
            if top.name == "models":
                yield from sorted(path for path in top.iterdir() if path.is_file())
        elif top.is_dir():
            yield from sorted(path for path in top.rglob("*") if path.is_file() and not path.is_symlink())
        elif top.is_file() and not top.name.startswith("."):
            yield top


def _file_names(path: Path, names: Names) -> bool:
    return names.mentioned(path.name) or (path.suffix in _TEXT_SUFFIXES and names.mentioned(_text(path)))


def _text(path: Path) -> str:
    text = path.read_bytes().decode("utf-8", "replace")
    return html.unescape(text) if path.suffix == ".html" else text


def _drop_mentions(path: Path, names: Names) -> str:
    """Take the lines out of a table and remove any other file; says which."""
    if path.suffix not in _BY_LINE:
        path.unlink()
        return ""
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not names.mentioned(line.decode("utf-8", "replace"))]
    content = b"".join(kept)
    target = path
    if path.name.startswith("verdicts-"):
        # Named by its content, and never edited but here.
        target = path.with_name(f"verdicts-{sha256_hex(content)[:16]}.jsonl")
    if kept:
        write_bytes(target, content)
    if not kept or target != path:
        path.unlink()
    return f" ({len(lines) - len(kept)} lines)"
