"""Does one dataset hold pictures of another? By content, looks (also mirrored), faces, group, descent.

A dataset is a manifest, a workspace, an exported folder, or any folder of pictures; masks beside them are not
looked at. What lies in a manifest is compared by what its rows say, pictures of a folder are read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.core.errors import DataError, ImageFault, ItemFault
from dataset_tools.core.face_prints import FACE_PHASH, FacePrint, read_face_prints
from dataset_tools.core.files import sha256_hex
from dataset_tools.core.hamming import Hashes, nearest
from dataset_tools.core.images import ALLOWED_FORMATS, RgbImage, decode_photo, normal_photo, perceptual_hash
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.reasons import Reason
from dataset_tools.references import Origin, sample_origins

# Stage runs from the last to the first: what a dataset is, is its last manifest.
_STAGES = ("split", "review", "prelabel", "synth", "filter", "detect", "crawl")
_SUFFIXES = {f".{name.lower()}" for name in ALLOWED_FORMATS} | {".jpg", ".tif"}
_NOT_PICTURES = {"mask", "masks", "annotations", "labels"}

# Mirroring a picture turns the sign of every other column of its cosine transform, and so their bits but for
# those near the median: of 300 face photos, 299 lie within 8 bits of this, the true hash decides.
_MIRRORED_BITS = int("55" * 8, 16)
_MIRROR_REACH = 10

KINDS = ("content", "near", "mirrored", "face", "parent", "group")
FACE_DISTANCE = 4  # as `filter.settings.FilterSettings.face_distance`, where the figures stand


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a dataset, as far as it is known.

    Attributes:
        name: item key, or path within the folder.
        path: file.
        digests: sha256 of the stored bytes and of the bytes as fetched.
        phash: 64-bit perceptual hash, None when unknown.
        id, parent_id: of the sample; "" when unknown.
        groups: names of its group, in the forms that datasets give them.
        faces: prints of its faces, which detection leaves in a manifest; pictures of a folder have none.
    """

    name: str
    path: Path
    digests: tuple[str, ...]
    phash: int | None
    id: str = ""
    parent_id: str = ""
    groups: tuple[str, ...] = ()
    faces: tuple[FacePrint, ...] = ()


@dataclass(frozen=True, slots=True)
class Leak:
    """A picture of one dataset that the other one has too, or knows.

    Attributes:
        kind: one of `KINDS`: "content" the same bytes; "near" looks the same; "mirrored" likewise, left and
            right changed; "face" another cut of one shot of a face, perhaps mirrored; "parent" one was
            rendered from the other, or both from one photo; "group" both datasets put it into a group of
            one name.
        first, second: names in the first and in the second dataset.
        distance: bits of 64 in which the hashes, of a "face" those of its crop, differ; -1 where hashes
            were not asked.
    """

    kind: str
    first: str
    second: str
    distance: int = -1


@dataclass(frozen=True)
class Opened:
    """A dataset opened for comparison; `unreadable` are names of files that are no pictures."""

    title: str
    pictures: tuple[Picture, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def with_faces(self) -> int:
        """How many pictures can be compared by their faces."""
        return sum(bool(one.faces) for one in self.pictures)


def open_pictures(path: Path, progress: ProgressFactory = silent) -> Opened:
    """The pictures of a dataset.

    Args:
        path: a manifest's folder; a workspace (its last stage counts); a folder `build-dataset export` wrote;
            a folder with `image/` and `mask/`; or any folder of pictures, folders named mask, masks, labels
            or annotations left out.
        progress: opens the progress display.

    Raises:
        DataError: none of these, no pictures in it, or a workspace with several runs of its last stage.
    """
    if (path / "header.json").is_file():
        return _of_manifest(Manifest(path.resolve()))
    for stage in _STAGES:
        runs = sorted((path / "manifests").glob(f"{stage}-*/header.json"))
        if len(runs) > 1:
            names = ", ".join(one.parent.name for one in runs)
            raise DataError(f"{path} holds several runs of {stage}; name one: {names}")
        if runs:
            return _of_manifest(Manifest(runs[0].parent.resolve()))
    return _of_folder(path, progress)


def _of_manifest(manifest: Manifest) -> Opened:
    def picture(origin: Origin) -> Picture:
        return Picture(
            name=origin.item_key,
            path=manifest.workspace / origin.path,
            digests=tuple(value for value in (origin.sha256, origin.content_sha256) if value),
            phash=int(origin.phash, 16) if origin.phash else None,
            id=origin.sample_id,
            parent_id=origin.parent_id,
            # An export says the group in this form only.
            groups=(origin.group, sha256_hex(origin.group.encode())[:16]),
            faces=read_face_prints(dict(origin.evidence).get(FACE_PHASH, "")),
        )

    found = [picture(origin) for shard in manifest.shard_paths() for origin in sample_origins(shard)]
    return Opened(manifest.title, tuple(found))


def _of_folder(path: Path, progress: ProgressFactory) -> Opened:
    inside = next(
        (path / name for name in ("coco/images", "images", "image") if (path / name).is_dir()), path
    )
    files = sorted(
        file
        for file in inside.rglob("*")
        if file.suffix.lower() in _SUFFIXES
        and file.is_file()
        and _NOT_PICTURES.isdisjoint(part.lower() for part in file.relative_to(path).parts[:-1])
    )
    if not files:
        raise DataError(f"{path} holds neither a manifest nor pictures")
    known = _coco_facts(inside.parent / "annotations")
    pictures, unreadable = [], []
    with progress("read", len(files)) as bar:
        for file in files:
            name = file.relative_to(path).as_posix()
            try:
                pictures.append(_read(file, name, known.get(file.name, {})))
            except ItemFault as fault:
                unreadable.append(f"{name}: {fault}")
            bar.advance()
    return Opened(str(path), tuple(pictures), tuple(unreadable))


def _read(file: Path, name: str, facts: dict[str, Any]) -> Picture:
    data = file.read_bytes()
    return Picture(
        name=name,
        path=file,
        digests=(sha256_hex(data),),
        phash=int(normal_photo(data).phash, 16),
        # An exported picture is named by its sample's id.
        id=file.stem,
        parent_id=str(facts.get("parent_id") or ""),
        groups=(str(facts["group"]),) if facts.get("group") else (),
    )


def _coco_facts(folder: Path) -> dict[str, dict[str, Any]]:
    """What an exported dataset says of each picture, by file name; nothing for a file of another kind."""
    facts: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("instances_*.json")):
        try:
            rows = json.loads(file.read_bytes())["images"]
            facts |= {str(row["file_name"]): row for row in rows}
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{file} is not a COCO file: {error!r}") from None
    return facts


# -- comparing ----------------------------------------------------------------------------------------------


def find_leaks(
    first: Opened, second: Opened, *, max_distance: int = 6, face_distance: int | None = FACE_DISTANCE
) -> list[Leak]:
    """Pictures of `first` that `second` has or knows, one row each for the strongest kind.

    Args:
        first, second: the datasets.
        max_distance: hashes that differ in at most so many bits (0..15) look the same.
        face_distance: likewise of face crops; None compares no faces.

    Returns:
        Leaks by kind, then name. A picture is named once: content before near before mirrored, and so on.
    """
    found: dict[str, Leak] = {}
    for leak in _all_leaks(first.pictures, second.pictures, max_distance, face_distance):
        found.setdefault(leak.first, leak)
    return sorted(found.values(), key=lambda leak: (KINDS.index(leak.kind), leak.first))


def _all_leaks(
    first: Sequence[Picture], second: Sequence[Picture], max_distance: int, face_distance: int | None
) -> Iterator[Leak]:
    yield from _shared("content", first, second, lambda one: one.digests)
    yield from _looking_alike(first, second, max_distance)
    if face_distance is not None:
        yield from _same_faces(first, second, face_distance)
    yield from _related(first, second)
    yield from _shared("group", first, second, lambda one: one.groups)


def _shared(
    kind: str,
    first: Iterable[Picture],
    second: Iterable[Picture],
    values: Callable[[Picture], tuple[str, ...]],
) -> Iterator[Leak]:
    held = {value: other for other in second for value in values(other)}
    for one in first:
        for value in values(one):
            if value in held:
                yield Leak(kind, one.name, held[value].name)


def _related(first: Sequence[Picture], second: Sequence[Picture]) -> Iterator[Leak]:
    ids = {other.id: other for other in second if other.id}
    children = {other.parent_id: other for other in second if other.parent_id}
    for one in first:
        met = ids.get(one.parent_id) or children.get(one.id) or children.get(one.parent_id)
        if met is not None and (one.parent_id or met.parent_id):
            yield Leak("parent", one.name, met.name)


def _looking_alike(first: Sequence[Picture], second: Sequence[Picture], max_distance: int) -> Iterator[Leak]:
    ours = [one for one in first if one.phash is not None]
    theirs = [other for other in second if other.phash is not None]
    hashes, others = _hashes(ours), _hashes(theirs)
    index, distance = nearest(hashes, others, max_distance)
    for one, place, bits in zip(ours, index.tolist(), distance.tolist(), strict=True):
        if place >= 0:
            yield Leak("near", one.name, theirs[place].name, bits)
    turned = hashes ^ np.uint64(_MIRRORED_BITS)
    index, _ = nearest(turned, others, max(max_distance, _MIRROR_REACH))
    for one, place in zip(ours, index.tolist(), strict=True):
        if place >= 0 and (bits := _mirrored_distance(one, theirs[place])) <= max_distance:
            yield Leak("mirrored", one.name, theirs[place].name, bits)


def _same_faces(first: Sequence[Picture], second: Sequence[Picture], max_distance: int) -> Iterator[Leak]:
    ours = [(one, face.seen) for one in first for face in one.faces]
    theirs = [(other, value) for other in second for face in other.faces for value in face]
    queries, hashes = (np.array([value for _, value in each], dtype=np.uint64) for each in (ours, theirs))
    index, distance = nearest(queries, hashes, max_distance)
    found = zip(ours, index.tolist(), distance.tolist(), strict=True)
    pairs = [(bits, one.name, theirs[place][0].name) for (one, _), place, bits in found if place >= 0]
    yield from (Leak("face", name, other, bits) for bits, name, other in sorted(pairs))


def _hashes(pictures: Sequence[Picture]) -> Hashes:
    return np.array([one.phash for one in pictures], dtype=np.uint64)


def _mirrored_distance(one: Picture, other: Picture) -> int:
    """Bits between a picture turned round and another one; 64 when it cannot be read."""
    assert other.phash is not None
    try:
        rgb = read_picture(one)
    except ItemFault:
        return 64
    turned = perceptual_hash(np.ascontiguousarray(rgb[:, ::-1]))
    return (int(turned, 16) ^ other.phash).bit_count()


def read_picture(one: Picture) -> RgbImage:
    """Its pixels, (H, W, 3) uint8 RGB.

    Raises:
        ImageFault: it is gone or no picture.
    """
    try:
        data = one.path.read_bytes()
    except OSError as error:
        raise ImageFault(Reason.MISSING_IMAGE, f"{one.path}: {error.strerror}") from error
    return decode_photo(data).rgb


def leak_values(leaks: Sequence[Leak], first: Opened, second: Opened) -> dict[str, Any]:
    """A comparison's findings as plain JSON values."""
    return {
        "first": first.title,
        "second": second.title,
        "pictures": [len(first.pictures), len(second.pictures)],
        "with_faces": [first.with_faces, second.with_faces],
        "unreadable": [*first.unreadable, *second.unreadable],
        "leaks": [dataclasses.asdict(leak) for leak in leaks],
        "counts": {kind: sum(leak.kind == kind for leak in leaks) for kind in KINDS},
    }
