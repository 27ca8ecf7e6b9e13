"""What every writer is given: the samples that may leave the suite, and what the dataset says of itself."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataset_tools.core.errors import ItemFault, LicenceMissing, ManifestError
from dataset_tools.core.files import sha256_hex, write_bytes
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import BACKGROUND_ID, LABEL_COLOURS, LABEL_IDS, PAINT_ORDER
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.masks import check_rle, rle_to_mask
from dataset_tools.core.progress import Progress
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import ImageRef, Rejection, Sample, Split
from dataset_tools.core.stage import reject

# Order in which splits are written.
SPLITS = (Split.TRAIN, Split.VAL, Split.TEST)


@dataclass(frozen=True, slots=True)
class About:
    """What a dataset says of itself in every format that has a place for it.

    Attributes:
        name: title of the dataset.
        version: as its users will cite it.
        date: e.g. "2026-01-31"; "" when not said (no clock is read).
        description: a sentence.
        contact: where people ask for removal of a picture.
    """

    name: str = "masked faces"
    version: str = "0.1.0"
    date: str = ""
    description: str = ""
    contact: str = ""


@dataclass(frozen=True, slots=True)
class ExportJob:
    """The samples of one export, read as often as a format needs.

    Attributes:
        manifest: where they come from; it must have gone through the split stage.
        images: the workspace's pictures.
        about: what the dataset says of itself.
        include_proposals: also write what nobody has confirmed, marked as proposals.
        left_out: item keys of samples that turned out to be unusable.
    """

    manifest: Manifest
    images: ImageStore
    about: About = About()
    include_proposals: bool = False
    left_out: frozenset[str] = frozenset()

    def samples(self, split: Split | None = None) -> Iterator[Sample]:
        """Samples to write, in manifest order; proposals are gone unless they were asked for."""
        for sample in self.manifest.samples():
            if sample.provenance.item_key in self.left_out or (
                split is not None and sample.split is not split
            ):
                continue
            if self.include_proposals:
                yield sample
            elif sample.is_labelled:
                truth = tuple(item for item in sample.instances if not item.is_proposal)
                yield dataclasses.replace(sample, instances=truth)


Exporter = Callable[[ExportJob, Path, Progress], None]


def check_samples(job: ExportJob, progress: Progress) -> tuple[dict[Split, int], list[Rejection]]:
    """Look at every sample once before anything is written.

    Returns:
        Number of good samples by split, and a rejection for each whose picture is gone, altered or in the
        manifest twice, or whose masks do not fit it.

    Raises:
        LicenceMissing: a sample has no licence.
        ManifestError: a sample has no split.
    """
    counts = dict.fromkeys(SPLITS, 0)
    rejections: list[Rejection] = []
    seen: set[str] = set()
    for sample in job.samples():
        if not sample.provenance.licence.strip():
            raise LicenceMissing(
                f"sample {sample.id} from {sample.provenance.source!r} has no licence; "
                "state one for its source, or drop the source"
            )
        if sample.split is Split.UNASSIGNED:
            raise ManifestError(f"sample {sample.id} has no split; run the split stage before export")
        try:
            if sample.id in seen:
                raise ItemFault(Reason.DUPLICATE_ID, f"the picture {sample.id} is in the manifest already")
            _check_sample(sample, job.images)
            seen.add(sample.id)
            counts[sample.split] += 1
        except ItemFault as fault:
            rejections.append(reject(sample, "export", fault.reason, str(fault)))
        progress.advance()
    return counts, rejections


def _check_sample(sample: Sample, images: ImageStore) -> None:
    images.read_bytes(sample.image)
    for item in sample.instances:
        check_rle(item.mask)
        if item.mask.size_hw != sample.image.size_hw:
            raise ItemFault(
                Reason.MASK_SIZE,
                f"instance {item.id}: mask {item.mask.size_hw}, picture {sample.image.size_hw}",
            )


def file_name(sample: Sample) -> str:
    """File name of a sample's picture: its id, so that no two sources can collide."""
    return f"{sample.id}.{'jpg' if sample.image.format == 'jpeg' else sample.image.format}"


def public_group(sample: Sample) -> str:
    """Group of a sample as 16 hex digits: a source's own group words may name a person."""
    return sha256_hex(sample.group.encode())[:16]


def place_picture(images: ImageStore, ref: ImageRef, target: Path) -> None:
    """Put the stored bytes at `target`: a hard link where the file system allows it, a copy otherwise.

    A link costs no space; the store notices by its checksums if somebody edits the file later.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(images.path(ref))
    except OSError:
        write_bytes(target, images.read_bytes(ref))


def paint_index(sample: Sample) -> npt.NDArray[np.uint8]:
    """All instances on one (H, W) uint8 picture of label ids, 0 where there is none.

    Where instances overlap, the label later in `PAINT_ORDER` wins; the instances' own masks keep what
    this one picture cannot hold.
    """
    index = np.full(sample.image.size_hw, BACKGROUND_ID, dtype=np.uint8)
    for label in PAINT_ORDER:
        for item in sample.instances:
            if item.label is label:
                index[rle_to_mask(item.mask)] = LABEL_IDS[label]
    return index


def index_to_png(index: npt.NDArray[np.uint8]) -> bytes:
    """Palette PNG of label ids: programs read the ids, viewers show the label colours."""
    picture = Image.fromarray(index)
    palette = [0] * 768
    for label, colour in LABEL_COLOURS.items():
        start = 3 * LABEL_IDS[label]
        palette[start : start + 3] = colour
    picture.putpalette(palette)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
