"""YOLO segmentation in the layout of ultralytics, out and in.

    data.yaml                       class names, and where the splits lie
    images/<split>/<id>.jpg|png
    labels/<split>/<id>.txt         a line per polygon: class, then x y in parts of the picture
    pictures.jsonl                  what a text line has no place for, see `notes`

Every part of an instance is a line of its own, holes hang on cut lines inside the part (see `contours`), so
every tool that fills polygons has the exact pixels. Which parts are one instance only our notes say: without
them each part is an instance. A polygon is filled as the tools do: vertices cut to whole pixels, outline
included; cut lines between the parts that others join are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import LABEL_IDS, Label
from dataset_tools.core.local_files import LocalEntry, read_local, walk
from dataset_tools.core.masks import BoolMask, mask_to_rle, rle_to_mask
from dataset_tools.core.progress import Progress
from dataset_tools.core.published import Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Split
from dataset_tools.formats.contours import Points, mask_to_polygons, polygon_to_mask
from dataset_tools.formats.entries import read_label
from dataset_tools.formats.job import SPLITS, ExportJob, file_name, place_picture
from dataset_tools.formats.notes import Notes, NotesFile, read_notes
from dataset_tools.formats.places import split_from_word
from dataset_tools.formats.reading import FileContent, FoundPicture, Problem, ReadOptions, check_size

_DECIMALS = 6  # a hundredth of a pixel in the largest picture
_SLACK = 0.01  # by which other tools' coordinates overshoot the picture
_MAX_POINTS = 1_000_000
_MAX_YAML_BYTES = 1 << 20
_MAX_LABEL_BYTES = 64 << 20
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic")

# Classes count from 0 and have no background.
_CLASSES = [label for label, _ in sorted(LABEL_IDS.items(), key=lambda pair: pair[1])]


def write_yolo(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write all samples; folders of all splits are there, since the tools want train and val."""
    for split in SPLITS:
        for kind in ("images", "labels"):
            (folder / kind / split.value).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        notes = NotesFile(stack, folder)
        for sample in job.samples():
            part = sample.split.value
            place_picture(job.images, sample.image, folder / "images" / part / file_name(sample))
            seen = [item for item in sample.instances if not item.mask.is_empty]
            lines = [_lines(item) for item in seen]
            text = "".join(f"{line}\n" for own in lines for line in own)
            (folder / "labels" / part / f"{sample.id}.txt").write_text(text)
            notes.add(sample.id, sample, seen, [len(own) for own in lines])
            progress.advance()
    places = [f"{split.value}: images/{split.value}" for split in SPLITS]
    names = [f"  {number}: {label.value}" for number, label in enumerate(_CLASSES)]
    (folder / "data.yaml").write_text("\n".join([*places, "names:", *names, ""]))


def _lines(item: Instance) -> list[str]:
    mask = rle_to_mask(item.mask)
    size_wh = np.array([mask.shape[1], mask.shape[0]])
    lines = []
    for points in mask_to_polygons(mask):
        # A quarter of a pixel inwards: tools cut or round to whole pixels, and both give the pixel itself.
        relative = ((points + 0.25) / size_wh).ravel().tolist()
        numbers = " ".join(f"{value:.{_DECIMALS}f}" for value in relative)
        lines.append(f"{_CLASSES.index(item.label)} {numbers}")
    return lines


@dataclass(frozen=True, slots=True)
class YoloLabels:
    """The label file of one picture.

    Attributes:
        path: of the file; None for a picture without one, which shows no object.
        names: class names by number.
        notes: of the picture.
        folder_split: that the folder is named after.
        options: what the user says.
    """

    path: Path | None
    names: tuple[str, ...]
    notes: Notes
    folder_split: Split
    options: ReadOptions

    @property
    def split(self) -> Split:
        """As noted, otherwise after the folder."""
        noted = self.notes.split
        return self.folder_split if noted is Split.UNASSIGNED else noted

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """One instance per good line, or per the noted number of lines; every bad line is a fault.

        Raises:
            ItemFault: the file cannot be read, or is noted for a picture of another size.
        """
        check_size(self.notes.size_hw, size_hw)
        data = b"" if self.path is None else read_local(self.path, _MAX_LABEL_BYTES)
        lines = [line for line in enumerate(data.split(b"\n"), 1) if line[1].strip()]
        # Without notes, or when lines came or went, each line stands for itself.
        is_noted = sum(self.notes.lines) == len(lines)
        owners = [at for at, count in enumerate(self.notes.lines) for _ in range(count)] if is_noted else ()
        found: dict[int, tuple[Label, BoolMask]] = {}
        faults: list[tuple[str, Fault]] = []
        for place, (number, line) in enumerate(lines):
            try:
                label, points = self._parsed(line.split(), size_hw)
                if label is not None:
                    mask = polygon_to_mask(points, size_hw)
                    owner = owners[place] if is_noted else place
                    found[owner] = (label, found[owner][1] | mask if owner in found else mask)
            except ItemFault as error:
                faults.append((f"line {number}", Fault(error.reason, str(error))))
        if self.notes.lines and not is_noted:
            noted = f"{sum(self.notes.lines)} lines were noted, {len(lines)} are there"
            faults.append(("lines", Fault(Reason.SCHEMA, noted)))
        notes = self.notes if is_noted else Notes()
        instances = tuple(
            Instance(label=label, mask=mask_to_rle(mask), **notes.fields(at, label, self.options.drawn_by))
            for at, (label, mask) in found.items()
        )
        return Labels(instances, tuple(faults), self.notes.is_complete)

    def _parsed(self, words: list[bytes], size_hw: tuple[int, int]) -> tuple[Label | None, Points]:
        if not words[0].isdigit() or len(words[0]) > 9 or int(words[0]) >= len(self.names):
            said = words[0][:40].decode("ascii", "replace")
            raise ItemFault(Reason.UNKNOWN_LABEL, f"class {said!r} is none of the {len(self.names)} names")
        label = read_label(self.names[int(words[0])], self.options)
        if len(words) == 5:
            raise ItemFault(Reason.SCHEMA, "a box; a box alone is no mask")
        if len(words) < 7 or len(words) % 2 == 0 or len(words) > 2 * _MAX_POINTS:
            raise ItemFault(Reason.SCHEMA, f"{len(words) - 1} numbers are no polygon")
        try:
            relative = np.array(words[1:], dtype=np.float64).reshape(-1, 2)
        except ValueError:
            raise ItemFault(Reason.SCHEMA, "not all are numbers") from None
        if not np.isfinite(relative).all():
            raise ItemFault(Reason.NOT_FINITE, "a coordinate is not finite")
        if relative.min() < -_SLACK or relative.max() > 1 + _SLACK:
            raise ItemFault(Reason.OUT_OF_BOUNDS, "a coordinate is not a part of the picture, from 0 to 1")
        size_wh = np.array([size_hw[1], size_hw[0]])
        points = np.clip(np.floor(relative * size_wh), 0, size_wh - 1).astype(np.int32)
        return label, points


def read_yolo(folder: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    """Every picture below a folder `images`, and everything that is wrong.

    Args:
        folder: the dataset, or its data.yaml.
        options: what the user says of it.
    """
    root = folder.parent if folder.is_file() else folder
    description = folder if folder.is_file() else root / "data.yaml"
    try:
        names = _read_names(description)
    except ItemFault as error:
        yield Problem(description.name, Fault(error.reason, str(error)), is_fatal=True)
        return
    notes, problems = read_notes(root, options)
    yield from problems
    labels: dict[str, Path] = {}
    pictures: list[LocalEntry] = []
    for entry in walk(root):
        parts = entry.name.split("/")
        if entry.fault is not None:
            yield Problem(entry.name, entry.fault)
        elif "labels" in parts[:-1] and entry.name.endswith(".txt"):
            labels[entry.name.removesuffix(".txt")] = entry.path
        elif "images" in parts[:-1] and entry.path.suffix.lower() in _PICTURES:
            pictures.append(entry)
    for entry in pictures:
        stem = entry.path.stem
        noted = notes.get(stem, Notes())
        label_file = labels.pop(_label_name(entry.name), None)
        if label_file is None and noted.instances:
            yield Problem(entry.name, Fault(Reason.SCHEMA, "its label file is not there"))
            continue
        stated = [split_from_word(part) for part in Path(entry.name).parent.parts]
        split = next((one for one in stated if one is not Split.UNASSIGNED), Split.UNASSIGNED)
        found = YoloLabels(label_file, names, noted, split, options)
        yield FoundPicture(entry.name, FileContent(entry.path), found, entry.path, noted.facts)
    for name in sorted(labels):
        yield Problem(f"{name}.txt", Fault(Reason.MISSING_IMAGE, "labels without a picture"))


def _label_name(picture: str) -> str:
    """Where the tools look for a picture's labels: the last "images" becomes "labels"."""
    head, _, tail = picture.rpartition("images/")
    return f"{head}labels/{tail.rpartition('.')[0]}"


def _read_names(path: Path) -> tuple[str, ...]:
    import yaml

    try:
        content: Any = yaml.safe_load(read_local(path, _MAX_YAML_BYTES).decode("utf-8-sig"))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        if isinstance(error, ItemFault):
            raise
        detail = " ".join(str(error).split())[:200]
        raise ItemFault(Reason.SCHEMA, f"no YAML: {detail}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        names = [names[key] for key in sorted(names, key=int)]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ItemFault(Reason.SCHEMA, "no `names`, a list of class names")
    return tuple(names)
