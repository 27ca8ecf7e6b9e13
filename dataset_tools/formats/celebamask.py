"""The folders of CelebAMask-HQ, out and in.

    CelebA-HQ-img/<n>.jpg|png                        the stored bytes
    CelebAMask-HQ-mask-anno/<k>/<nnnnn>_<part>.png   0 or 255, for every part that is there; k = n // 2000
    CelebA-HQ-to-CelebA-mapping.txt                  idx, orig_idx, orig_file: number and name of the sample
    pictures.jsonl                                   what these have no place for, see `notes`

Out, `face` becomes the part `skin`, and three names are added to the 18: `mask`, `occluder` and `strap`.
All instances of a label share one part file; parts may overlap, so nothing is hidden.

In, parts that stand for one label become one instance. Unless the user maps them otherwise, skin, nose, eyes,
brows, lips and mouth are `face` (together the visible skin of the face with all that is in it), eye_g is an
`occluder`, and hair, hat, cloth, ears, ear rings, neck and necklace are left out. Masks half as large as the
picture, as in the original dataset (512 of 1024), are doubled pixel by pixel.

Source: Lee et al., MaskGAN, CVPR 2020; layout of https://github.com/switchablenorms/CelebAMask-HQ
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.formats import sniff_format
from dataset_tools.core.images import ImageLimits, decode_photo, encode_png
from dataset_tools.core.labels import LABEL_IDS, Label
from dataset_tools.core.local_files import read_local, walk
from dataset_tools.core.masks import BoolMask, mask_to_rle, union
from dataset_tools.core.progress import Progress
from dataset_tools.core.published import Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Sample, Split
from dataset_tools.core.text import storable
from dataset_tools.formats.entries import read_label
from dataset_tools.formats.job import ExportJob, file_name, place_picture
from dataset_tools.formats.notes import Notes, NotesFile, read_notes
from dataset_tools.formats.reading import FileContent, FoundPicture, Problem, ReadOptions, check_size

PICTURES = "CelebA-HQ-img"
MASKS = "CelebAMask-HQ-mask-anno"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"

_PER_FOLDER = 2000
_THRESHOLD = 127  # a grey value above it is foreground

PART_OF_LABEL: dict[Label, str] = {
    Label.FACE: "skin",
    Label.FACE_MASK: "mask",
    Label.OCCLUDER: "occluder",
    Label.STRAP: "strap",
}

_FACE_PARTS = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "mouth")
_OTHER_PARTS = ("hair", "hat", "cloth", "l_ear", "r_ear", "ear_r", "neck", "neck_l")
LABEL_OF_PART: dict[str, Label | None] = {
    **dict.fromkeys(_FACE_PARTS, Label.FACE),
    **dict.fromkeys(_OTHER_PARTS, None),
    "eye_g": Label.OCCLUDER,
    **{part: label for label, part in PART_OF_LABEL.items()},
}


def write_celebamask(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write all samples, numbered from 0 in manifest order."""
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    (folder / MASKS).mkdir(exist_ok=True)
    with ExitStack() as stack:
        notes = NotesFile(stack, folder)
        mapping = stack.enter_context((folder / MAPPING).open("w", encoding="utf-8"))
        mapping.write("idx orig_idx orig_file\n")
        for number, sample in enumerate(job.samples()):
            ending = file_name(sample).rpartition(".")[2]
            place_picture(job.images, sample.image, folder / PICTURES / f"{number}.{ending}")
            seen = _write_parts(sample, number, folder / MASKS / str(number // _PER_FOLDER))
            mapping.write(f"{number} {number} {file_name(sample)}\n")
            notes.add(str(number), sample, seen)
            progress.advance()


def _write_parts(sample: Sample, number: int, folder: Path) -> list[Instance]:
    """Write one file per label; gives the instance of each that its note is taken from."""
    folder.mkdir(exist_ok=True)
    first: list[Instance] = []
    for label in LABEL_IDS:
        items = [item for item in sample.instances if item.label is label and not item.mask.is_empty]
        if items:
            mask = union((item.mask for item in items), sample.image.size_hw)
            path = folder / f"{number:05d}_{PART_OF_LABEL[label]}.png"
            path.write_bytes(encode_png(mask.astype(np.uint8) * 255))
            first.append(items[0])
    return first


@dataclass(frozen=True, slots=True)
class CelebAMaskLabels:
    """The part files of one picture.

    Attributes:
        parts: name and file of each.
        notes: of the picture.
        options: what the user says.
    """

    parts: tuple[tuple[str, Path], ...]
    notes: Notes
    options: ReadOptions

    @property
    def split(self) -> Split:
        """As noted; the layout has none."""
        return self.notes.split

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """One instance per label; a part that cannot be used is a fault.

        Raises:
            ItemFault: `size_mismatch`, the notes are of a picture of another size.
        """
        check_size(self.notes.size_hw, size_hw)
        found: dict[Label, BoolMask] = {}
        faults: list[tuple[str, Fault]] = []
        for part, path in self.parts:
            try:
                label = self._label(part)
                if label is not None:
                    mask = read_part(path, size_hw, limits)
                    found[label] = found[label] | mask if label in found else mask
            except ItemFault as error:
                faults.append((part, Fault(error.reason, str(error))))
        instances: list[Instance] = []
        noted = [str(row["label"]) for row in self.notes.instances]
        for label in (label for label in LABEL_IDS if label in found and found[label].any()):
            place = noted.index(label.value) if label.value in noted else len(noted)
            fields = self.notes.fields(place, label, self.options.drawn_by)
            instances.append(Instance(label=label, mask=mask_to_rle(found[label]), **fields))
        lost = set(noted) - {item.label.value for item in instances}
        if lost and not faults:
            faults.append(("parts", Fault(Reason.NO_AREA, f"noted but not there: {', '.join(sorted(lost))}")))
        return Labels(tuple(instances), tuple(faults), self.notes.is_complete)

    def _label(self, part: str) -> Label | None:
        if part in LABEL_OF_PART and part not in self.options.categories:
            return LABEL_OF_PART[part]
        return read_label(part, self.options)


def read_part(path: Path, size_hw: tuple[int, int], limits: ImageLimits) -> BoolMask:
    """The (H, W) bool mask of a part file of the picture's size or half of it.

    Raises:
        ItemFault: no PNG, another size, or values that are no mask.
    """
    data = read_local(path, limits.max_bytes)
    if sniff_format(data) != "PNG":
        raise ItemFault(Reason.FORMAT_NOT_ALLOWED, "a mask must be a PNG; others blur its border")
    values = decode_photo(data, limits).rgb.max(axis=2)  # the original masks are grey in three channels
    if 0 < values.max() <= _THRESHOLD:
        raise ItemFault(Reason.SCHEMA, f"brightest value is {values.max()}: no mask of 0 and 255")
    mask: BoolMask = values > _THRESHOLD
    if (2 * mask.shape[0], 2 * mask.shape[1]) == size_hw:
        mask = mask.repeat(2, axis=0).repeat(2, axis=1)
    if mask.shape != size_hw:
        raise ItemFault(Reason.MASK_SIZE, f"the part is {mask.shape}, the picture {size_hw}")
    return mask


def read_celebamask(folder: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    """Every picture of `CelebA-HQ-img` in the order of numbers, and everything that is wrong.

    Args:
        folder: the dataset.
        options: what the user says of it.
    """
    notes, problems = read_notes(folder, options)
    yield from problems
    if not (folder / PICTURES).is_dir():
        yield Problem(folder.name, Fault(Reason.SCHEMA, f"no folder {PICTURES}"), is_fatal=True)
        return
    parts: dict[int, dict[str, Path]] = {}
    for entry in walk(folder / MASKS) if (folder / MASKS).is_dir() else ():
        digits, _, part = entry.path.stem.partition("_")
        where = f"{MASKS}/{entry.name}"
        if entry.fault is not None:
            yield Problem(where, entry.fault)
        elif entry.path.suffix.lower() != ".png" or not _is_number(digits) or not part:
            yield Problem(where, Fault(Reason.SCHEMA, "no mask of the form <number>_<part>.png"))
        elif part in parts.setdefault(int(digits), {}):
            yield Problem(where, Fault(Reason.DUPLICATE_ID, "another folder has this part too"))
        else:
            parts[int(digits)][part] = entry.path
    pictures: dict[int, Path] = {}
    for entry in walk(folder / PICTURES):
        stem = entry.path.stem
        if entry.fault is not None:
            yield Problem(f"{PICTURES}/{entry.name}", entry.fault)
        elif "/" in entry.name or not _is_number(stem):
            yield Problem(f"{PICTURES}/{entry.name}", Fault(Reason.SCHEMA, "its name is no number"))
        elif int(stem) in pictures:
            yield Problem(f"{PICTURES}/{entry.name}", Fault(Reason.DUPLICATE_ID, "this number is taken"))
        else:
            pictures[int(stem)] = entry.path
    for number, path in sorted(pictures.items()):
        noted = notes.get(path.stem, Notes())
        own = tuple(sorted((storable(part), file) for part, file in parts.pop(number, {}).items()))
        labels = CelebAMaskLabels(own, noted, options) if own or path.stem in notes else None
        yield FoundPicture(f"{PICTURES}/{path.name}", FileContent(path), labels, path, noted.facts)
    for number in sorted(parts):
        fault = Fault(Reason.MISSING_IMAGE, f"{len(parts[number])} masks of a picture that is not there")
        yield Problem(f"{MASKS}: {number:05d}", fault)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
