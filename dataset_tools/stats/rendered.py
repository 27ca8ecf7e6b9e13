"""What the overlay made of the photos: yield by pose, variety, skin tones, and one example of each kind."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataset_tools.core.labels import MASK_TYPE, SKIN_ITA, WEARING_STATE, WEARING_STATES, Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.record import Face, Instance, Rejection, Sample
from dataset_tools.stats.skin import ITA_CLASSES, noted_class

YAW_STEP_DEG = 10
DRESSED = "dressed"

# Poses of the example sheet; by yaw either way.
SHEET_POSES = ("front", "turned", "profile")
_TURNED_DEG = 20.0
_PROFILE_DEG = 45.0

Cell = tuple[str, str, str]  # mask type, wearing state, pose


@dataclass(slots=True)
class RenderedFacts:
    """Counts over the rendered pictures.

    Attributes:
        yields: by yaw bin (its lower edge in degrees; None: pose not known), how many faces were dressed
            and how many refused for which reason. Every face counts once per rendered picture.
        kinds: rendered masks by (type, state, pose).
        skin_tones: rendered masks by ITA class of the wearer's skin as the photo shows it.
        examples: one rendered picture and instance for each kind, the one with the smallest sample id.
    """

    yields: dict[int | None, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    kinds: Counter[Cell] = field(default_factory=Counter)
    skin_tones: Counter[str] = field(default_factory=Counter)
    examples: dict[Cell, tuple[Sample, Instance]] = field(default_factory=dict)

    @property
    def overall(self) -> Counter[str]:
        """Outcomes of all faces."""
        return sum(self.yields.values(), Counter())

    def as_json(self) -> dict[str, Any]:
        """The same facts as plain values."""
        return {
            "yield_by_yaw": {yaw_name(low): dict(self.yields[low]) for low in yaw_bins(self.yields)},
            "yield": dict(self.overall),
            "kinds": [
                {"mask_type": kind, "wearing_state": state, "pose": pose, "count": count}
                for (kind, state, pose), count in sorted(self.kinds.items())
            ],
            "skin_tones": {name: self.skin_tones[name] for _, name in ITA_CLASSES},
        }


def collect_rendered(synth: Manifest) -> RenderedFacts:
    """Count one pass over the overlay's manifest, shard by shard: a photo and its children share a shard."""
    facts = RenderedFacts()
    for samples, rejections in synth.shards():
        _count_yields(facts, samples, rejections)
        for sample in samples:
            _count_kinds(facts, sample)
    return facts


def _count_yields(facts: RenderedFacts, samples: Sequence[Sample], rejections: Iterable[Rejection]) -> None:
    photos = {item.provenance.item_key: item for item in samples if not item.is_synthetic}
    refused: dict[str, dict[int | None, str]] = defaultdict(dict)
    for row in rejections:
        found = _CHILD_KEY.fullmatch(row.item_key)
        if found is not None:
            refused[found[1]][None if found[2] is None else int(found[2])] = row.reason.value
    children = {item.provenance.item_key: item for item in samples if item.is_synthetic}
    for key in sorted({*children, *refused}):
        photo = photos.get(key.rpartition("#synth")[0])
        if photo is None:
            continue
        child = children.get(key)
        worn = {item.face for item in child.instances if item.label is Label.FACE_MASK} if child else set()
        reasons = refused.get(key, {})
        for number, face in enumerate(photo.faces):
            outcome = DRESSED if number in worn else reasons.get(number, reasons.get(None))
            if outcome is not None:
                facts.yields[_yaw_bin(face)][outcome] += 1


# Item keys of a child that could not be made, and of a face that stayed bare in one that was.
_CHILD_KEY = re.compile(r"(?s)(.*#synth\d+)(?:/face(\d+))?")


def _yaw_bin(face: Face) -> int | None:
    return int(face.pose_deg[0] // YAW_STEP_DEG) * YAW_STEP_DEG if face.pose_deg else None


def yaw_bins(yields: Iterable[int | None]) -> Iterator[int | None]:
    """Bins in order, the unknown one last."""
    found = set(yields)
    yield from sorted(low for low in found if low is not None)
    if None in found:
        yield None


def yaw_name(low: int | None) -> str:
    """A bin's name, e.g. "-20…-10°"."""
    return "not known" if low is None else f"{low}…{low + YAW_STEP_DEG}°"


def _count_kinds(facts: RenderedFacts, sample: Sample) -> None:
    if not sample.is_synthetic:
        return
    for item in sample.instances:
        if item.label is not Label.FACE_MASK or not 0 <= item.face < len(sample.faces):
            continue
        cell = (item.attribute(MASK_TYPE), item.attribute(WEARING_STATE), sheet_pose(sample.faces[item.face]))
        facts.kinds[cell] += 1
        if tone := noted_class(item.attribute(SKIN_ITA)):
            facts.skin_tones[tone] += 1
        known = facts.examples.get(cell)
        if known is None or sample.id < known[0].id:
            facts.examples[cell] = (sample, item)


def sheet_pose(face: Face) -> str:
    """ "front", "turned" or "profile", by yaw either way; faces without a pose count as front."""
    yaw = abs(face.pose_deg[0]) if face.pose_deg else 0.0
    return "front" if yaw < _TURNED_DEG else "turned" if yaw < _PROFILE_DEG else "profile"


def sheet_cells(facts: RenderedFacts) -> list[Cell]:
    """The kinds that occur, by type, then pose, then wearing state: the tiles of the example sheet."""

    def place(cell: Cell) -> tuple[str, int, int, str]:
        kind, state, pose = cell
        at = WEARING_STATES.index(state) if state in WEARING_STATES else len(WEARING_STATES)
        return kind, SHEET_POSES.index(pose), at, state

    return sorted(facts.kinds, key=place)
