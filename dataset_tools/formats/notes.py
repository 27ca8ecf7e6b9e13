"""`pictures.jsonl`: what a format of bare pictures and masks has no place for, one JSON line per picture.

Provenance, licence, split and group of the picture, and for every instance its label, id, origin and
attributes. Other tools pass the file over; without it a dataset is read like anyone else's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.files import canonical_json
from dataset_tools.core.labels import Label
from dataset_tools.core.local_files import read_local
from dataset_tools.core.published import Fault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Sample, Split
from dataset_tools.formats.coco import instance_entry
from dataset_tools.formats.coco_tables import instance_notes
from dataset_tools.formats.entries import picture_facts, read_facts, split_of, stated_size
from dataset_tools.formats.reading import MAX_LABEL_BYTES, Facts, Problem, ReadOptions, parse_json

NOTES_NAME = "pictures.jsonl"


class NotesFile:
    """Writes the notes of a dataset.

    Args:
        stack: closes the file.
        folder: of the dataset.
    """

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stream = stack.enter_context((folder / NOTES_NAME).open("w", encoding="utf-8"))

    def add(
        self, stem: str, sample: Sample, instances: Sequence[Instance], lines: Sequence[int] = ()
    ) -> None:
        """Note one picture.

        Args:
            stem: by which the format names the picture.
            sample: what is known of it.
            instances: in the order in which the format holds them.
            lines: how many of the format's entries each instance takes, where that is not one.
        """
        height, width = sample.image.size_hw
        rows = [{"label": item.label.value, **instance_entry(item)} for item in instances]
        for row, count in zip(rows, lines, strict=False):
            row["lines"] = count
        entry = {
            "stem": stem,
            "height": height,
            "width": width,
            "instances": rows,
            **picture_facts(sample),
        }
        self._stream.write(canonical_json(entry) + "\n")


@dataclass(frozen=True, slots=True)
class Notes:
    """What is noted of one picture; the defaults stand for a picture without notes.

    Attributes:
        facts: of the picture.
        split: of the picture.
        size_hw: of the picture, None when not noted.
        is_complete: False for labels that nobody confirmed.
        instances: label name and the fields of `instance_notes`, in the format's order.
        lines: how many of the format's entries each instance takes.
    """

    facts: Facts = field(default_factory=Facts)
    split: Split = Split.UNASSIGNED
    size_hw: tuple[int, int] | None = None
    is_complete: bool = True
    instances: tuple[Mapping[str, Any], ...] = ()
    lines: tuple[int, ...] = ()

    def fields(self, index: int, label: Label, drawn_by: str) -> dict[str, Any]:
        """Fields of the instance at that place besides label and mask; bare ones when the note is of another.

        Args:
            index: place in the format's order.
            label: of the instance.
            drawn_by: of an instance without a note.
        """
        if index < len(self.instances) and self.instances[index]["label"] == label.value:
            return {key: value for key, value in self.instances[index].items() if key != "label"}
        return {"id": f"{label.value}{index}", "drawn_by": drawn_by}


def read_notes(folder: Path, options: ReadOptions) -> tuple[dict[str, Notes], list[Problem]]:
    """Notes by stem, and what is wrong with the file; nothing at all where there is none.

    Args:
        folder: of the dataset.
        options: what the notes do not say.
    """
    path = folder / NOTES_NAME
    if not path.exists():
        return {}, []
    found: dict[str, Notes] = {}
    problems: list[Problem] = []
    for where, entry in _lines(path):
        try:
            if isinstance(entry, ItemFault):
                raise entry
            stem, notes = _parsed(entry, options)
            if stem in found:
                raise ItemFault(Reason.DUPLICATE_ID, f"{stem[:80]!r} is noted twice")
            found[stem] = notes
        except ItemFault as error:
            problems.append(Problem(where, Fault(error.reason, str(error))))
    return found, problems


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        lines = read_local(path, MAX_LABEL_BYTES).splitlines()
    except ItemFault as error:
        yield path.name, error
        return
    for number, line in enumerate(lines, 1):
        where = f"{path.name}:{number}"
        try:
            yield where, parse_json(line)
        except ItemFault as error:
            yield where, error


def _parsed(entry: Any, options: ReadOptions) -> tuple[str, Notes]:
    if not isinstance(entry, dict) or not isinstance(entry.get("stem"), str):
        raise ItemFault(Reason.SCHEMA, "no object with a stem")
    rows = entry.get("instances")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ItemFault(Reason.SCHEMA, "instances are no list of objects")
    lines = tuple(row.get("lines", 1) for row in rows)
    if not all(type(count) is int and count > 0 for count in lines):
        raise ItemFault(Reason.SCHEMA, "an instance of no line")
    return entry["stem"], Notes(
        facts=read_facts(entry, options),
        split=split_of(entry.get("split")),
        size_hw=stated_size(entry.get("height"), entry.get("width")),
        is_complete=entry.get("is_labelled") is not False,
        instances=tuple({"label": row.get("label"), **instance_notes(row, options)} for row in rows),
        lines=lines,
    )
