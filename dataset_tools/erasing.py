"""Take pictures out of everything a workspace holds; every step can be cut off and repeated.

Manifests keep their counts true: in the crawl a removed picture becomes a `tombstone` rejection under a name
that tells nothing, in every later stage its rows go and it no longer counts as input.
"""

from __future__ import annotations

import dataclasses
import fcntl
import html
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_tools.core.errors import WorkspaceBusy
from dataset_tools.core.files import canonical_json, digest_json, replacing, sha256_hex, write_bytes
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
from dataset_tools.core.tombstones import FILE_NAME, STAND_IN, stand_in
from dataset_tools.references import STORES, normal_url, shard_files

Step = Callable[[str], None]

JOURNAL = "takedown.json"
GONE = "[taken down]"
ID_DIGITS = 32  # hex digits of a sample id: the beginning of its picture's sha256

# Folders of a workspace that are made anew from the manifests; whole, since they name pictures in ways of
# their own (Parquet, HTML, archives).
REMADE = ("dataset", "publish", "report")
LISTINGS = "listings"
_KEPT_APART = ("manifests", "models", LISTINGS, FILE_NAME, JOURNAL, *STORES, *REMADE)

_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{32,}")
_URL = re.compile(r"https?://[^\s\"'<>\\]+")
_KEPT_KEY = re.compile(r"\b(?:from|as) (.+), which is kept$")
_AFTER_A_URL = ".,;:)]}"
# What the crawl and the renderer add to a key: "…#2" for one listed again, "…#synth0" for a child.
_ADDED = re.compile(r"#(?:synth)?[0-9]+$")
_GOES_ON = re.compile(r"[\w/-]|\.\w")
_READ_SUFFIXES = {".csv", ".json", ".jsonl", ".log", ".md", ".parquet", ".svg", ".txt", ".tsv", ".yaml"}
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

    def is_key(self, key: str) -> bool:
        """True for the key of a removed picture, also where it was listed again or rendered from."""
        own = _ADDED.sub("", key)
        return not {key, own}.isdisjoint(self.keys) or not {key, own}.isdisjoint(self.urls)

    def mentioned(self, text: str) -> bool:
        """True when a digest, an address or the key of a local file stands in the text."""
        if any(found[:ID_DIGITS] in self.digests for found in _HEX.findall(text)):
            return True
        if any(_bare(found) in self.urls for found in _URL.findall(text)):
            return True
        return next(self._local_keys(text), None) is not None

    def _local_keys(self, text: str) -> Iterator[tuple[int, int]]:
        """Where keys "<source>/<path>" stand in the text, as (start, end)."""
        if self._starts is None:
            return
        for match in self._starts.finditer(text):
            start = match.start()
            for length in self._lengths:
                end = start + length
                if text[start:end] in self._local and not _GOES_ON.match(text, end):
                    yield start, end
                    break

    @cached_property
    def _local(self) -> frozenset[str]:
        own = {key for key in self.keys if "://" not in key and "/" in key}
        return frozenset(own | {json.dumps(key)[1:-1] for key in own})

    @cached_property
    def _lengths(self) -> list[int]:
        return sorted({len(key) for key in self._local}, reverse=True)

    @cached_property
    def _starts(self) -> re.Pattern[str] | None:
        sources = sorted({key.partition("/")[0] for key in self._local}, key=len, reverse=True)
        return re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, sources))})/") if sources else None

    def without(self, text: str) -> str:
        """The text with every mention taken out."""

        def digest(match: re.Match[str]) -> str:
            return GONE if match[0][:ID_DIGITS] in self.digests else match[0]

        def address(match: re.Match[str]) -> str:
            bare = _bare(match[0])
            return GONE + match[0][len(bare) :] if bare in self.urls else match[0]

        kept = _KEPT_KEY.search(text)
        if kept is not None and self.is_key(kept[1]):
            text = text.replace(kept[1], GONE)
        for start, end in reversed(list(self._local_keys(text))):
            text = text[:start] + GONE + text[end:]
        return _URL.sub(address, _HEX.sub(digest, text))

    def group(self, name: str) -> str:
        """The group's name; another one, the same everywhere, when it is that of a removed picture."""
        if self.is_key(name) or self.mentioned(name):
            return f"g-{sha256_hex(name.encode())[:24]}"
        return name


def _bare(url: str) -> str:
    return _ADDED.sub("", url.rstrip(_AFTER_A_URL))


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
                if names.is_key(row["group"]) or names.is_key(row["provenance"]["item_key"]):
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
        item_key=stand_in(key),
        reason=Reason.TOMBSTONE,
        detail="taken down on request",
        source=source,
    )


def _cleaned_rejections(items: Iterable[Rejection], ids: frozenset[str], names: Names) -> Iterator[Rejection]:
    for item in items:
        is_named = item.sample_id in ids or names.is_key(item.item_key)
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


# -- kept answers of APIs and pages -----------------------------------------


def listed_urls(root: Path, wants: Callable[[str, str, str, str], bool]) -> set[str]:
    """Addresses of listed pictures, kept or not, that `wants`, given (url, page_url, author, source)."""
    found: set[str] = set()
    for path in _listings(root):
        source = path.name.rpartition("-")[0]
        with path.open("rb") as stream:
            for answer in (entry["answer"] for line in stream if (entry := _entry(line)) is not None):
                shown = answer.get("url", "")
                facts = [(hit["url"], hit["page_url"], hit["author"]) for hit in answer.get("hits", ())]
                facts += [(url, shown, answer["author"]) for url, _ in answer.get("pictures", ())]
                listed = ((normal_url(url), page, author) for url, page, author in facts)
                found |= {url for url, page, author in listed if wants(url, page, author, source)}
    return {url for url in found if not url.startswith(STAND_IN)}


def clean_listings(root: Path, urls: frozenset[str], step: Step) -> list[str]:
    """Take pictures out of the answers that were kept; something that tells nothing holds their place.

    With the place stays the digest of what was there, so `crawl.listing.listing_digest` does not change.

    Returns:
        Files that changed, relative to the root.
    """
    changed = []
    for path in _listings(root):
        with _alone(path) as stream:
            if not any(_without_listed(line, urls) != line for line in stream):
                continue
            stream.seek(0)
            with replacing(path) as temporary, temporary.open("wb") as target:
                target.writelines(_without_listed(line, urls) for line in stream)
        changed.append(path.relative_to(root).as_posix())
        step(f"listing {path.name}")
    return changed


def _listings(root: Path) -> list[Path]:
    return sorted((root / LISTINGS).glob("*.jsonl"))


@contextmanager
def _alone(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceBusy(f"{path} is being written by another process") from None
        yield stream


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
        return entry if isinstance(entry["answer"], dict) else None  # type: ignore[index]
    except (ValueError, TypeError, KeyError):
        return None  # half a line of a killed run, which the next listing cuts off


def _without_listed(line: bytes, urls: frozenset[str]) -> bytes:
    entry = _entry(line)
    if entry is None:
        return line
    asked, answer = entry["asked"], entry["answer"]
    if "hits" in answer:
        answer["hits"] = [_hit_without(hit, urls) for hit in answer["hits"]]
    elif "pictures" in answer:
        facts = [answer["url"], answer["licences"], answer["author"]]
        answer["pictures"] = [
            [stand_in(normal_url(url)), digest_json([*facts, url, text])] if normal_url(url) in urls else pair
            for pair in answer["pictures"]
            for url, text in [pair]
        ]
        answer["links"] = [_link_without(link, urls) for link in answer["links"]]
        answer["url"] = _link_without(answer["url"], urls)
        asked["page"] = _link_without(asked["page"], urls)
    return canonical_json({"asked": asked, "answer": answer}).encode("utf-8", "replace") + b"\n"


def _hit_without(hit: dict[str, Any], urls: frozenset[str]) -> dict[str, Any]:
    url = normal_url(hit["url"])
    if url not in urls or hit.get("digest"):
        return hit
    nothing = dict.fromkeys(hit, "")
    # As `crawl.paging` computes it: of all fields, with none for itself.
    digest = digest_json({**hit, "digest": ""})
    return {**nothing, "id": stand_in(hit["id"]), "url": stand_in(url), "digest": digest}


def _link_without(link: str, urls: frozenset[str]) -> str:
    """A link to the picture keeps its host, by which the crawl of pages decides whether it goes there."""
    return f"//{urlsplit(link).netloc}/{stand_in(link)}" if normal_url(link) in urls else link


# -- other files ------------------------------------------------------------


def clean_files(root: Path, names: Names, remake: Iterable[str], step: Step) -> list[str]:
    """Take removed pictures out of everything that is neither a manifest nor an object.

    Folders that are made from the manifests go whole, and so do pages, which hold pictures in ways of their
    own, and a model that was trained on one of them; a table loses its lines; any other file that names one
    goes, a Parquet table with the files that go by its name.

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
    for path in list(_other_files(root)):
        relative = path.relative_to(root).as_posix()
        if not path.exists():
            continue  # went with a table of its name
        if path.suffix == ".html" or names.mentioned(relative):
            path.unlink()
            gone.append(relative)
        elif path.suffix in _READ_SUFFIXES and names.mentioned(_text(path)):
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
    return names.mentioned(path.name) or (path.suffix in _READ_SUFFIXES and names.mentioned(_text(path)))


def _text(path: Path) -> str:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        texts = [field.name for field in table.schema if not pa.types.is_binary(field.type)]
        return json.dumps(table.select(texts).to_pylist(), default=str, ensure_ascii=False)
    text = path.read_bytes().decode("utf-8", "replace")
    return html.unescape(text) if path.suffix == ".svg" else text


def _drop_mentions(path: Path, names: Names) -> str:
    """Take the lines out of a table and remove any other file; says which."""
    if path.suffix not in _BY_LINE:
        for one in list(path.parent.glob("*")) if path.suffix == ".parquet" else [path]:
            if one.stem == path.stem and one.is_file():
                one.unlink()
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
