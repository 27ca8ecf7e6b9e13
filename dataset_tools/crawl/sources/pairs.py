"""Source `pairs`: a folder of pictures and a folder of mask pictures with the same names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import field_validator

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageLimits, decode_photo, sniff_format
from dataset_tools.core.labels import MASK_TYPE, MASK_TYPES, WEARING_STATE, WEARING_STATES, Label
from dataset_tools.core.local_files import LocalEntry, read_local, require_folder, walk
from dataset_tools.core.masks import BoolMask, mask_to_rle
from dataset_tools.core.published import Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Pairs, Split, sorted_pairs
from dataset_tools.crawl.items import Listing, SourceItem
from dataset_tools.crawl.source_settings import Licence, SourceSettings

LOSSLESS_FORMATS = ("PNG", "BMP", "GIF", "TIFF")
THRESHOLD = 127  # a grey value above it is foreground


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A published mask picture of one photo.

    Attributes:
        path: the mask's file.
        source: name of the source.
        label: what its foreground is.
        split: fixed part of the published dataset.
        is_grey: True to cut a grey or lossy mask at 127; False to insist on exact 0 and 255.
        attributes: of the instance.
    """

    path: str
    source: str
    label: Label
    split: Split
    is_grey: bool
    attributes: Pairs

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """One instance, or none for an all-black mask, which is a complete label too.

        Raises:
            ItemFault: the mask is no picture, of another size, or not black and white.
        """
        data = read_local(Path(self.path), limits.max_bytes)
        return mask_labels(
            data,
            size_hw,
            limits,
            self.label,
            self.source,
            is_grey=self.is_grey,
            attributes=self.attributes,
        )


def mask_labels(
    data: bytes,
    size_hw: tuple[int, int],
    limits: ImageLimits,
    label: Label,
    source: str,
    *,
    is_grey: bool,
    attributes: Pairs = (),
) -> Labels:
    """What one published mask file says of a picture: one instance, or none when it is all black.

    Args:
        data: the mask's file.
        size_hw: of the picture.
        limits: what a picture may be.
        label: what the foreground is.
        source: name of the source.
        is_grey: as in `decode_mask`.
        attributes: of the instance.

    Raises:
        ItemFault: the mask is no picture, of another size, or not black and white.
    """
    try:
        mask = decode_mask(data, limits, is_grey=is_grey)
    except ItemFault as fault:
        raise ItemFault(fault.reason, f"mask: {fault}") from fault
    if mask.shape != size_hw:
        raise ItemFault(
            Reason.SIZE_MISMATCH,
            f"mask is {mask.shape[1]}x{mask.shape[0]} pixels, picture is {size_hw[1]}x{size_hw[0]}",
        )
    if not mask.any():
        return Labels()
    drawn_by = f"published:{source}"
    return Labels((Instance("mask", label, mask_to_rle(mask), drawn_by, attributes=attributes),))


def decode_mask(data: bytes, limits: ImageLimits, *, is_grey: bool) -> BoolMask:
    """(H, W) bool mask of a black and white picture.

    Args:
        data: the whole file.
        limits: what a picture may be.
        is_grey: accept lossy formats and grey values and cut at 127.

    Raises:
        ItemFault: no acceptable picture (as `decode_photo`); `format_not_allowed` for a lossy format and
            `schema` for colours or other values than 0 and 255, unless `is_grey`; `schema` also for a mask
            that is not empty but nowhere brighter than 127, such as one holding class numbers.
    """
    kind = sniff_format(data)
    if not is_grey and kind is not None and kind not in LOSSLESS_FORMATS:
        raise ItemFault(
            Reason.FORMAT_NOT_ALLOWED,
            f"a {kind} blurs mask borders; `binarise: true` accepts it cut at {THRESHOLD}",
        )
    rgb = decode_photo(data, limits).rgb
    grey = rgb.max(axis=2)
    if not is_grey:
        has_colour = bool((rgb != grey[:, :, None]).any())
        values = np.flatnonzero(np.bincount(grey.ravel(), minlength=256))
        if has_colour or not set(values.tolist()) <= {0, 255}:
            found = "colours" if has_colour else f"{len(values)} grey values {values[:6].tolist()}"
            raise ItemFault(
                Reason.SCHEMA, f"{found}, expected 0 and 255; `binarise: true` cuts at {THRESHOLD}"
            )
    brightest = int(grey.max())
    if 0 < brightest <= THRESHOLD:
        raise ItemFault(Reason.SCHEMA, f"brightest value is {brightest}: class numbers, not a 0..255 mask")
    return np.asarray(grey > THRESHOLD, dtype=np.bool_)


class PairsSource(SourceSettings):
    """Published ground truth as two folders, matched by relative path without extension.

    Attributes:
        images, masks: the two folders.
        licence: of all pictures and masks; there is no default.
        label: what the masks' foreground is.
        binarise: cut grey or JPEG masks at 127; otherwise masks must be lossless and hold only 0 and 255.
        split: keeps a published test set a test set.
        wearing_state, mask_type: of all pictures, when the publisher says so.
    """

    type: Literal["pairs"] = "pairs"
    images: Path
    masks: Path
    licence: Licence
    label: Label = Label.FACE_MASK
    binarise: bool = False
    split: Split = Split.UNASSIGNED
    wearing_state: str | None = None
    mask_type: str | None = None

    @field_validator("wearing_state")
    @classmethod
    def _known_state(cls, value: str | None) -> str | None:
        return _one_of(value, WEARING_STATES)

    @field_validator("mask_type")
    @classmethod
    def _known_type(cls, value: str | None) -> str | None:
        return _one_of(value, MASK_TYPES)

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        """One item per picture, then one faulty item per mask without a picture."""
        masks = _by_stem(self.masks, self.name)
        pictures = _by_stem(self.images, self.name)
        for stem, entries in pictures.items():
            for number, entry in enumerate(entries):
                fault = entry.fault or _pairing_fault(number, masks.get(stem, []))
                annotation = None if fault else self._mask_file(masks[stem][0].path)
                yield self._item(entry, annotation, fault)
        for stem, entries in masks.items():
            if stem not in pictures:
                for entry in entries:
                    missing = Fault(Reason.MISSING_IMAGE, f"no picture named {stem}.* for this mask")
                    yield self._item(entry, None, missing, folder="masks/")

    def _item(
        self, entry: LocalEntry, annotation: MaskFile | None, fault: Fault | None, folder: str = ""
    ) -> SourceItem:
        return SourceItem(
            key=f"{self.name}/{folder}{entry.name}",
            source=self.name,
            uri=str(entry.path),
            licence=self.licence,
            author=self.author,
            name=entry.name,
            annotation=annotation,
            fault=fault,
        )

    def _mask_file(self, path: Path) -> MaskFile:
        stated = {WEARING_STATE: self.wearing_state, MASK_TYPE: self.mask_type}
        return MaskFile(
            path=str(path),
            source=self.name,
            label=self.label,
            split=self.split,
            is_grey=self.binarise,
            attributes=sorted_pairs({key: value for key, value in stated.items() if value}),
        )


def _by_stem(folder: Path, source: str) -> dict[str, list[LocalEntry]]:
    found: defaultdict[str, list[LocalEntry]] = defaultdict(list)
    for entry in walk(require_folder(folder, source)):
        parent, slash, file_name = entry.name.rpartition("/")
        found[parent + slash + Path(file_name).stem].append(entry)
    return dict(found)


def _pairing_fault(number: int, masks: list[LocalEntry]) -> Fault | None:
    if number:
        return Fault(Reason.DUPLICATE_ID, "another picture has the same name without extension")
    if not masks:
        return Fault(Reason.DANGLING_REFERENCE, "no mask with this name")
    if len(masks) > 1:
        return Fault(Reason.DUPLICATE_ID, f"{len(masks)} masks have this name without extension")
    return masks[0].fault


def _one_of(value: str | None, known: tuple[str, ...]) -> str | None:
    if value is not None and value not in known:
        raise ValueError(f"must be one of {', '.join(known)}")
    return value
