"""What a person said about one sample, and the immutable files that keep it.

    <workspace>/reviews/verdicts-<digest>.jsonl    one verdict a line, sorted; named by its content

A file is never edited or overwritten: the same verdicts give the same name, new ones a new file. Which
verdict of a sample counts is decided on reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from annotation.drawing import FaceBox
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import canonical_json, digest_json, sha256_hex, write_text
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import counts_to_rle
from dataset_tools.core.record import ImageRef, Instance, ReviewState


class Role(StrEnum):
    """What a verdict is for: one of several opinions, a test with known truth, or the last word."""

    ANNOTATOR = "annotator"
    GOLD = "gold"
    ADJUDICATOR = "adjudicator"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One person's word on one sample.

    Attributes:
        sample_id, item_key: the sample.
        state: accepted, corrected or rejected; `not_seen` when the reviewer asks for somebody else's
            correction ("fix" with nothing changed), which leaves the sample a proposal.
        reviewer: name shown in the dataset: "human:<reviewer>".
        reviewer_email: tells two people of one name apart; stays in the reviews folder.
        reviewed_at, updated_at: UTC, ISO 8601: when the annotation was made, and last changed.
        note: free text.
        instances: the complete labelling; empty when rejected or not seen. `Instance.face` counts the
            faces as they were shown, -1 for regions the reviewer started.
        boxes: the face boxes as the reviewer left them.
        annotation_id, project_id: where it stands in Label Studio; 0 for other tools.
        seconds: time the reviewer spent, 0 when not known.
        lane: the annotator's name in the configuration, or "adjudication".
        role: see `Role`.
        tool: "label_studio" or "labelme".
    """

    sample_id: str
    item_key: str
    state: ReviewState
    reviewer: str
    reviewer_email: str
    reviewed_at: str
    updated_at: str
    note: str
    instances: tuple[Instance, ...]
    boxes: tuple[FaceBox, ...]
    annotation_id: int
    project_id: int
    seconds: float = 0.0
    lane: str = ""
    role: Role = Role.ANNOTATOR
    tool: str = "label_studio"

    @property
    def order(self) -> tuple[str, int, int]:
        """The greatest of a sample's verdicts is the one that counts: the last change, then the last made."""
        return (self.updated_at, self.project_id, self.annotation_id)


def verdict_to_row(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON values; masks as their exact run lengths."""
    row = asdict(verdict)
    row["state"] = verdict.state.value
    row["role"] = verdict.role.value
    row["instances"] = [asdict(instance) | {"label": instance.label.value} for instance in verdict.instances]
    return row


def verdict_from_row(row: dict[str, Any]) -> Verdict:
    """The inverse of `verdict_to_row`.

    Raises:
        KeyError, TypeError, ValueError: not such a row.
    """
    return Verdict(
        **{
            **row,
            "state": ReviewState(row["state"]),
            "role": Role(row.get("role", Role.ANNOTATOR)),
            "instances": tuple(_instance_from_row(item) for item in row["instances"]),
            "boxes": tuple(FaceBox(item["face"], tuple(item["box_xyxy"])) for item in row["boxes"]),
        }
    )


def _instance_from_row(row: dict[str, Any]) -> Instance:
    height, width = row["mask"]["size_hw"]
    soft = row["soft"]
    return Instance(
        **{
            **row,
            "label": Label(row["label"]),
            "mask": counts_to_rle(row["mask"]["counts"], (height, width)),
            "soft": ImageRef(soft["sha256"], tuple(soft["size_hw"]), soft["format"]) if soft else None,
            "attributes": tuple((key, value) for key, value in row["attributes"]),
        }
    )


def write_verdicts(folder: Path, verdicts: Iterable[Verdict]) -> Path | None:
    """Keep verdicts for good.

    Returns:
        The file, also when it was there already; None for no verdicts.
    """
    rows = sorted(verdicts, key=lambda item: (item.sample_id, item.order))
    if not rows:
        return None
    text = "".join(canonical_json(verdict_to_row(row)) + "\n" for row in rows)
    path = folder / f"verdicts-{sha256_hex(text.encode())[:16]}.jsonl"
    if not path.exists():
        write_text(path, text)
    return path


def read_all_verdicts(folder: Path) -> list[Verdict]:
    """Every distinct verdict ever kept, ordered by sample and then from first to last.

    Raises:
        DataError: a file that cannot be read; names file and line.
    """
    found: dict[bytes, Verdict] = {}
    for path in sorted(folder.glob("verdicts-*.jsonl")):
        # Not str.splitlines: a note may hold characters that it takes for line ends.
        for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), start=1):
            try:
                found[line] = verdict_from_row(json.loads(line))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"{path} line {number} is not a verdict: {error}") from error
    return sorted(found.values(), key=lambda item: (item.sample_id, item.order))


def read_verdicts(folder: Path) -> dict[str, tuple[Verdict, ...]]:
    """Every sample's verdicts that count: of each lane the one changed last. Empty for no folder.

    Raises:
        DataError: as `read_all_verdicts`.
    """
    return standing(read_all_verdicts(folder))


def standing(verdicts: Iterable[Verdict]) -> dict[str, tuple[Verdict, ...]]:
    """By sample id, of each lane the verdict changed last, by lane."""
    last: dict[tuple[str, str], Verdict] = {}
    for verdict in sorted(verdicts, key=lambda item: item.order):
        last[verdict.sample_id, verdict.lane] = verdict
    found: dict[str, list[Verdict]] = {}
    for key in sorted(last):
        found.setdefault(key[0], []).append(last[key])
    return {sample: tuple(own) for sample, own in found.items()}


def verdicts_digest(verdicts: Iterable[Verdict]) -> str:
    """SHA-256 over the verdicts, whatever their order."""
    return digest_json(sorted(canonical_json(verdict_to_row(verdict)) for verdict in verdicts))
