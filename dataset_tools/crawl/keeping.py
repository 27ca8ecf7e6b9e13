"""From fetched bytes to a stored picture with its record; runs in a decoding worker.

Imports little: every worker process pays for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dataset_tools.core.errors import ServiceError
from dataset_tools.core.files import sha256_hex
from dataset_tools.core.images import FileSyncs, ImageLimits, ImageStore, NormalPhoto, normal_photo
from dataset_tools.core.local_files import read_local
from dataset_tools.core.published import Labels
from dataset_tools.core.record import (
    ImageRef,
    Pairs,
    Provenance,
    Rejection,
    Sample,
    sample_id,
    sorted_pairs,
)
from dataset_tools.core.tombstones import current_tombstones
from dataset_tools.crawl.items import PARENT_ID, SourceItem

STAGE = "crawl"
KEPT_UNLABELLED = "; the picture is kept as unlabelled"  # ends what is said of a lost annotation

Result = Sample | Rejection
# A stored picture: sha256 of its bytes, height and width, format, sha256 as fetched, perceptual hash.
Stored = tuple[str, tuple[int, int], str, str, str]


@dataclass(frozen=True, slots=True)
class Keeper:
    """Decodes, stores and describes pictures; picklable.

    Attributes:
        root: of the picture store.
        limits: what a picture may be.
        keeps_originals: keep the bytes as they came, too.
        stores: False to look at pictures only; the samples then name pictures that are nowhere.
    """

    root: Path
    limits: ImageLimits
    keeps_originals: bool = False
    stores: bool = True

    def __call__(
        self, item: SourceItem | None, fetched: bytes | None, evidence: Pairs
    ) -> list[Result] | Stored:
        """The sample, and a rejection for each published annotation that was lost.

        Args:
            item: what the source says; None to store the picture and say nothing more than how.
            fetched: its bytes, None when it lies on this machine.
            evidence: facts of the download.

        Raises:
            ItemFault: no acceptable picture.
            ServiceError: it cannot be stored.
        """
        if item is None:
            assert fetched is not None
            return self._store(fetched, *self._admitted(fetched))
        body = fetched
        if body is None and item.content is not None:
            body = item.content.read(self.limits.max_bytes)
        elif body is None:
            body = read_local(Path(item.uri), self.limits.max_bytes)
        photo, content = self._admitted(body)
        annotation = item.annotation
        labels = annotation.read(photo.size_hw, self.limits) if annotation is not None else Labels()
        sample = sample_of(item, fetched is not None, evidence, self._store(body, photo, content))
        if annotation is not None:
            sample = replace(
                sample,
                instances=labels.instances,
                split=annotation.split,
                is_labelled=labels.is_complete and not labels.faults,
            )
        return [sample, *_lost_annotations(item, sample.id, labels)]

    def _admitted(self, body: bytes) -> tuple[NormalPhoto, str]:
        """A picture that may be stored, and the sha256 of its bytes as fetched."""
        photo = normal_photo(body, self.limits)
        content = sha256_hex(body)
        current_tombstones(self.root).refuse_content(content, phash=photo.phash)
        return photo, content

    def _store(self, body: bytes, photo: NormalPhoto, content: str) -> Stored:
        digest = content if photo.data == body else sha256_hex(photo.data)
        image = ImageRef(digest, photo.size_hw, photo.format)
        if self.stores:
            self._write(body, photo, image)
        return image.sha256, image.size_hw, image.format, content, photo.phash

    def _write(self, body: bytes, photo: NormalPhoto, image: ImageRef) -> None:
        images = ImageStore(self.root, syncs=False)  # the stage syncs a shard before its rows are written
        try:
            if self.keeps_originals:
                images.put_original(body)
            images.put_named(photo.data, image)
        except OSError as error:
            # A full disk is not the picture's fault: stop here, a rerun goes on.
            raise cannot_write(self.root, error) from error


def sample_of(item: SourceItem, is_fetched: bool, evidence: Pairs, stored: Stored) -> Sample:
    """The record of a stored picture, without labels."""
    digest, size_hw, kind, content, phash = stored
    image = ImageRef(digest, size_hw, kind)
    identity = sample_id(image)
    return Sample(
        id=identity,
        image=image,
        provenance=_provenance(item, is_fetched, evidence, content),
        group=item.group or identity,
        phash=phash,
    )


@dataclass(frozen=True, slots=True)
class Syncer:
    """Makes stored pictures durable; picklable, for a process that has nothing else to do.

    In a thread of the fetching process every call of the system would wait for its turn at the interpreter.

    Attributes:
        root: of the picture store.
    """

    root: Path

    def __call__(self, names: Sequence[str]) -> None:
        """Return when those files, relative to the root, and their folders are durable.

        Raises:
            ServiceError: the disk refused.
        """
        try:
            with FileSyncs() as syncs:
                for name in names:
                    syncs.add(self.root / name)
                syncs.finish()
        except OSError as error:
            raise cannot_write(self.root, error) from error


def cannot_write(root: Path, error: OSError) -> ServiceError:
    """The error that stops a crawl when pictures cannot be stored."""
    return ServiceError(f"cannot write pictures to {root}: {error.strerror}; then run again to resume")


def _provenance(item: SourceItem, is_fetched: bool, evidence: Pairs, content_sha256: str) -> Provenance:
    facts = {**dict(item.evidence), **dict(evidence)}
    if item.name:
        facts["name"] = item.name
    parent_id = facts.pop(PARENT_ID, "")
    return Provenance(
        source=item.source,
        item_key=item.key,
        licence=item.licence,
        url=item.uri if is_fetched else "",
        author=item.author,
        retrieved_at=utc_now(),
        content_sha256=content_sha256,
        parent_id=parent_id,
        evidence=sorted_pairs(facts),
    )


def utc_now() -> str:
    """This second, e.g. "2026-01-31T12:00:00Z"."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _lost_annotations(item: SourceItem, identity: str, labels: Labels) -> Iterator[Rejection]:
    used: set[str] = set()
    for name, fault in labels.faults:
        key = f"{item.key}#{name}"
        while key in used:
            key += "+"
        used.add(key)
        yield Rejection(
            stage=STAGE,
            item_key=key,
            reason=fault.reason,
            detail=fault.detail + KEPT_UNLABELLED,
            sample_id=identity,
            source=item.source,
            derived=True,
        )
