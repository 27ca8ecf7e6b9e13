"""WebDataset shards: `<split>-000000.tar`, each sample as three members with one key.

    <id>.jpg         the picture, bytes as stored
    <id>.mask.png    palette PNG whose pixel values are label ids
    <id>.json        what is known of the picture, and every instance with its own exact run lengths

`datasets` takes the columns of a dataset, and their types, from its first five samples. So all pictures
have one extension, "png" only when none is a JPEG (every reader decodes by content), and `instances` and
`faces` are JSON text inside the JSON: the first five may have none. Equal samples give equal bytes: members
carry no clock, no user and no permissions of the machine.

Source: https://github.com/webdataset/webdataset ("The WebDataset Format").
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_tools.core.archives import Member, read_members
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.files import canonical_json
from dataset_tools.core.local_files import walk
from dataset_tools.core.progress import Progress
from dataset_tools.core.published import Annotation, Content, Fault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Sample, Split
from dataset_tools.formats.entries import (
    entries_of,
    listed_instances,
    picture_facts,
    read_facts,
    split_of,
)
from dataset_tools.formats.index_labels import IndexLabels
from dataset_tools.formats.job import SPLITS, ExportJob, index_to_png, paint_index
from dataset_tools.formats.reading import Facts, FoundPicture, Problem, ReadOptions, parse_json

MAX_SHARD_BYTES = 512 * 2**20
MAX_JSON_BYTES = 16 * 2**20

_MOST_BYTES_OF_ALL = 2**50  # shards are read where they lie: the cap against inflating has no work here
_BLOCK = tarfile.BLOCKSIZE
_PICTURES = ("jpg", "jpeg", "png", "webp", "avif", "gif", "bmp", "tif", "tiff")
_MASKS = ("mask.png", "seg.png", "segmentation.png", "label.png")


class _Shards:
    """Tars of one split, a new one begun when the next sample would make it too large."""

    def __init__(self, folder: Path, split: Split, most_bytes: int) -> None:
        self.folder = folder
        self.split = split
        self.most_bytes = most_bytes
        self._number = 0
        self._size = 0
        self._tar: tarfile.TarFile | None = None

    def add(self, members: list[tuple[str, bytes]]) -> None:
        """One sample; a sample is never torn apart."""
        size = sum(2 * _BLOCK + len(data) for _, data in members)
        if self._tar is not None and self._size + size > self.most_bytes:
            self.close()
        if self._tar is None:
            name = f"{self.split.value}-{self._number:06d}.tar"
            self._tar = tarfile.open(self.folder / name, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self._number += 1
            self._size = 0
        for name, data in members:
            info = tarfile.TarInfo(name)  # its defaults: no time, no user
            info.size = len(data)
            info.mode = 0o644
            self._tar.addfile(info, io.BytesIO(data))
        self._size += size

    def close(self) -> None:
        """Finish the open tar, if there is one."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None


def write_webdataset(
    job: ExportJob, folder: Path, progress: Progress, *, shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Write the shards of every split that has samples.

    Args:
        job: the samples.
        folder: to write into.
        progress: one step per sample.
        shard_bytes: a shard is no larger, unless a single sample is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    has_jpeg = any(sample.image.format == "jpeg" for sample in job.samples())
    extension = "jpg" if has_jpeg else "png"
    for split in SPLITS:
        shards = _Shards(folder, split, shard_bytes)
        try:
            for sample in job.samples(split):
                shards.add(_members(sample, job.images.read_bytes(sample.image), extension))
                progress.advance()
        finally:
            shards.close()


def _members(sample: Sample, picture: bytes, extension: str) -> list[tuple[str, bytes]]:
    return [
        (f"{sample.id}.{extension}", picture),
        (f"{sample.id}.mask.png", index_to_png(paint_index(sample))),
        (f"{sample.id}.json", canonical_json(_description(sample)).encode()),
    ]


def _description(sample: Sample) -> dict[str, Any]:
    height, width = sample.image.size_hw
    faces = [
        {"bbox_xyxy": list(face.box_xyxy), "score": face.score, "wearing": face.wearing.value}
        for face in sample.faces
    ]
    return {
        **picture_facts(sample),
        "format": sample.image.format,
        "width": width,
        "height": height,
        "instances": canonical_json(entries_of(sample.instances)),
        "faces": canonical_json(faces),
    }


@dataclass(slots=True)
class _Group:
    """The members of one key."""

    pictures: list[tuple[str, Content]] = field(default_factory=list)
    masks: list[Content] = field(default_factory=list)
    jsons: list[Content] = field(default_factory=list)


def read_webdataset(folder: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    """Samples of all shards below a folder, or of one shard, in the order of their first members.

    A sample has its labels from `instances` in its JSON, else from a picture of class numbers beside it. Its
    split is what the JSON states, else the word that the shard's name begins with.
    """
    keys: set[str] = set()
    shards = False
    for name, path in _shards(folder):
        if isinstance(path, Fault):
            yield Problem(name, path)
            continue
        shards = True
        groups: dict[str, _Group] = {}
        for member in read_members(path, _MOST_BYTES_OF_ALL):
            yield from _sort_in(member, groups, name)
        for key, group in groups.items():
            where = f"{name}: {key}"
            if key in keys:
                yield Problem(where, Fault(Reason.DUPLICATE_ID, "a sample of this key came before"))
                continue
            keys.add(key)
            yield from _found(key, group, where, split_of(name.rpartition("/")[2].partition("-")[0]), options)
    if not shards:
        fault = Fault(Reason.SCHEMA, "no .tar or .tar.gz shard in it")
        yield Problem(folder.name, fault, is_fatal=True)


def _shards(folder: Path) -> Iterator[tuple[str, Path | Fault]]:
    if folder.is_file():
        yield folder.name, folder
        return
    for entry in walk(folder):
        if entry.name.endswith((".tar", ".tar.gz", ".tgz")):
            yield entry.name, entry.fault or entry.path


def _sort_in(member: Member, groups: dict[str, _Group], shard: str) -> Iterator[Problem]:
    if member.content is None:
        fault = member.fault or Fault(Reason.CORRUPT, "cannot be read")
        yield Problem(f"{shard}: {member.name}" if member.name else shard, fault)
        return
    parent, slash, last = member.name.rpartition("/")
    stem, _, extension = last.partition(".")
    extension = extension.lower()
    if not stem or not extension:
        return
    group = groups.setdefault(parent + slash + stem, _Group())
    if extension in _MASKS:
        group.masks.append(member.content)
    elif extension == "json":
        group.jsons.append(member.content)
    elif extension in _PICTURES:
        group.pictures.append((member.name, member.content))


def _found(
    key: str, group: _Group, where: str, split: Split, options: ReadOptions
) -> Iterator[FoundPicture | Problem]:
    if not group.pictures:
        if group.masks:
            yield Problem(where, Fault(Reason.MISSING_IMAGE, "a mask without a picture"))
        elif group.jsons:
            yield Problem(where, Fault(Reason.MISSING_IMAGE, "a description without a picture"))
        return
    if len(group.pictures) > 1:
        names = ", ".join(name for name, _ in group.pictures[:5])
        yield Problem(where, Fault(Reason.DUPLICATE_ID, f"several pictures of one key: {names}"))
        return
    content = group.pictures[0][1]
    try:
        facts, annotation = _stated(group, split, options)
    except ItemFault as fault:
        yield Problem(where, Fault(fault.reason, str(fault)))
        return
    yield FoundPicture(key, content, annotation, facts=facts)


def _stated(group: _Group, split: Split, options: ReadOptions) -> tuple[Facts, Annotation | None]:
    """What JSON and mask of a sample state; faults as of their reading."""
    stated: Any = parse_json(group.jsons[0].read(MAX_JSON_BYTES)) if group.jsons else {}
    if not isinstance(stated, dict):
        raise ItemFault(Reason.SCHEMA, "its JSON is no object")
    split = split_of(stated["split"]) if "split" in stated else split
    facts = read_facts(stated, options)
    if "instances" in stated:
        entries = stated["instances"]
        if isinstance(entries, str):
            entries = parse_json(entries.encode("utf-8", "replace"))
        return facts, listed_instances(entries, stated, options, split)
    if group.masks:
        return facts, IndexLabels(group.masks[0], options, split)
    return facts, None
