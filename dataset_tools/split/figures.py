"""How good a finished split is, counted from its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dataset_tools.core.record import Sample, Split
from dataset_tools.split.deal import largest_deviation
from dataset_tools.split.settings import SPLITS, SplitSettings
from dataset_tools.split.strata import ALL, LABELLED_FACES, Counts, Tally


@dataclass(frozen=True, slots=True)
class SplitFigures:
    """Counts of a finished split.

    Attributes:
        counts: stratum → number of samples by split, `all` and `labelled faces` among them.
        groups: groups by split; one that lies on several sides counts on each.
        deviation: largest |share of a stratum in a split - share wanted|, in [0, 1], over strata of which
            every split wants at least one sample.
        worst: the stratum and the split where it is.
    """

    counts: dict[str, dict[Split, int]]
    groups: dict[Split, int]
    deviation: float
    worst: tuple[str, Split]

    def as_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return {
            "counts": {key: {s.value: n for s, n in row.items()} for key, row in self.counts.items()},
            "groups": {split.value: count for split, count in self.groups.items()},
            "largest_deviation": round(self.deviation, 6),
            "where": {"stratum": self.worst[0], "split": self.worst[1].value},
        }

    def table(self) -> list[str]:
        """The counts as lines of a table for people."""
        width = max(map(len, self.counts))
        heads = "".join(f"{split.value:>9}" for split in SPLITS)
        first = [key for key in (ALL, LABELLED_FACES) if key in self.counts]
        order = [*first, *sorted(self.counts.keys() - set(first))]
        rows = [
            f"{key:<{width}}" + "".join(f"{self.counts[key][split]:>9}" for split in SPLITS) for key in order
        ]
        groups = f"{'groups':<{width}}" + "".join(f"{self.groups[split]:>9}" for split in SPLITS)
        return [" " * width + heads, *rows, groups]


def split_figures(samples: Iterable[Sample], settings: SplitSettings) -> SplitFigures:
    """Count a finished split, made with these settings; samples without a side are left out."""
    tallies = {split: Tally(settings.stratify) for split in SPLITS}
    for sample in samples:
        if sample.split in tallies:
            tallies[sample.split].add(sample)
    # A group on two sides is two groups here: it is the samples that are compared with the shares.
    groups: dict[str, Counts] = {}
    part_of: dict[str, int] = {}
    totals: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
    for part, (split, tally) in enumerate(tallies.items()):
        for name, counts in tally.groups.items():
            groups[f"{part}/{name}"] = counts
            part_of[f"{part}/{name}"] = part
            totals[split].update(dict(counts))
    faces = sum(counts[LABELLED_FACES] for counts in totals.values())
    wanted = list(settings.targets(faces).values())
    deviation, stratum, part = largest_deviation(groups, part_of, wanted)
    keys = sorted({key for counts in totals.values() for key in counts})
    return SplitFigures(
        counts={key: {split: totals[split][key] for split in SPLITS} for key in keys},
        groups={split: len(tally.groups) for split, tally in tallies.items()},
        deviation=deviation,
        worst=(stratum, SPLITS[part]),
    )
