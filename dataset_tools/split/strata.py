"""What every split shall hold in equal proportion, counted for whole groups in one pass over the samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from dataset_tools.core.labels import MASK_TYPE, WEARING_STATE, Label
from dataset_tools.core.record import Face, Sample

# Sorted (stratum, number of samples) of a group. Groups that hold the same share one object.
Counts = tuple[tuple[str, int], ...]

ALL = "all"
LABELLED_FACES = "labelled faces"

UNKNOWN = "unknown"
_FRONT_YAW_DEG = 15.0  # as in the figures of the report page
_PROFILE_YAW_DEG = 45.0
_MOST_SUMS = 1 << 16


def _mask_attribute(sample: Sample, key: str) -> set[str]:
    return {
        item.attribute(key) or UNKNOWN
        for item in sample.instances
        if item.label is Label.FACE_MASK and not item.is_proposal
    }


def pose_bin(face: Face) -> str:
    """Where a face looks, by yaw: "front" (less than 15 degrees), "half-left" (less than 45), "left", …."""
    if not face.pose_deg:
        return UNKNOWN
    yaw = face.pose_deg[0]
    if abs(yaw) < _FRONT_YAW_DEG:
        return "front"
    side = "right" if yaw > 0 else "left"
    return side if abs(yaw) >= _PROFILE_YAW_DEG else f"half-{side}"


# Attribute → the values that a sample shows of it; it may show several or none.
STRATA: dict[str, Callable[[Sample], Iterable[str]]] = {
    "mask_type": lambda sample: _mask_attribute(sample, MASK_TYPE),
    "state": lambda sample: _mask_attribute(sample, WEARING_STATE),
    "wearing": lambda sample: {face.wearing.value for face in sample.faces},
    "pose": lambda sample: {pose_bin(face) for face in sample.faces},
    "source": lambda sample: (sample.provenance.source,),
    "synthetic": lambda sample: ("yes" if sample.is_synthetic else "no",),
    "labelled": lambda sample: ("yes" if sample.is_labelled else "no",),
}


def labelled_faces(sample: Sample) -> int:
    """How many labelled faces a sample counts for: those detected, at least one; 0 without labels."""
    return max(1, len(sample.faces)) if sample.is_labelled else 0


def strata_of(sample: Sample, stratify: Iterable[str]) -> Counts:
    """The strata a sample counts in, e.g. ("mask_type:cloth", 1), sorted.

    `all` and `labelled faces` are always counted: sizes, and who can train or score anything.
    """
    found = {f"{name}:{value}": 1 for name in stratify for value in STRATA[name](sample)}
    found[ALL] = 1
    if faces := labelled_faces(sample):
        found[LABELLED_FACES] = faces
    return tuple(sorted(found.items()))


class Tally:
    """Strata of groups, summed sample by sample in any order; memory is one reference per group.

    Args:
        stratify: names of attributes, see `STRATA`.
    """

    def __init__(self, stratify: Iterable[str]) -> None:
        self.groups: dict[str, Counts] = {}
        self._stratify = tuple(stratify)
        self._sums: dict[tuple[Counts, Counts], Counts] = {}

    def add(self, sample: Sample) -> None:
        """Count one more sample for its group."""
        key = (self.groups.get(sample.group, ()), strata_of(sample, self._stratify))
        total = self._sums.get(key)
        if total is None:
            if len(self._sums) >= _MOST_SUMS:
                self._sums.clear()
            sums = Counter(dict(key[0]))
            sums.update(dict(key[1]))
            total = self._sums[key] = tuple(sorted(sums.items()))
        self.groups[sample.group] = total
