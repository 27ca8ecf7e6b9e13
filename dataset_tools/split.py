"""Assign every sample to train, val or test, whole groups at a time and evenly over their attributes.

A group (a photo, its near duplicates and its rendered children) never lies on two sides. Groups are
dealt out one by one, those with the rarest attributes first, each to the split it brings nearest to its
share; then single groups are moved while that still helps. The same samples give the same splits in any
order.

Source of the idea: Sechidis, Tsoumakas, Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD
2011, here over groups instead of samples and with a chi-square distance.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, model_validator

from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import MASK_TYPE, WEARING_STATE, Label
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Rejection, Sample, Split
from dataset_tools.core.seeds import derive_seed
from dataset_tools.core.settings import Settings
from dataset_tools.core.stage import each

_log = logging.getLogger(__name__)

Shares = tuple[float, float, float]  # train, val, test

PRESETS: dict[str, Shares] = {
    # MISA (2022), section 4: 840 training, 105 validation and 105 test pictures.
    "misa": (8.0, 1.0, 1.0),
    # ABANet (2024), section 5: 8,500 / 2,500 / 1,758 of 12,758 labelled faces.
    "abanet": (8500.0, 2500.0, 1758.0),
}

SPLITS: tuple[Split, Split, Split] = (Split.TRAIN, Split.VAL, Split.TEST)

# With too few groups for three splits, these get their first group in this order.
_FILL_ORDER = (Split.TRAIN, Split.TEST, Split.VAL)

# A group with contradicting fixed splits goes where it can do least harm: never from test into training.
_CAUTION_ORDER = (Split.TEST, Split.VAL, Split.TRAIN)

_ALL = "all"
_LABELLED = "labelled"
_REFINE_PASSES = 3


class CustomShares(Settings):
    """Parts of the whole, in any unit: 8, 1, 1 and 0.8, 0.1, 0.1 mean the same."""

    train: float = Field(gt=0)
    val: float = Field(ge=0)
    test: float = Field(ge=0)


class SplitSettings(Settings):
    """How large the three splits are.

    Attributes:
        preset: "misa" (8:1:1), "abanet" (8500:2500:1758) or "custom".
        shares: the parts when `preset` is "custom", otherwise absent.
    """

    preset: Literal["misa", "abanet", "custom"] = "misa"
    shares: CustomShares | None = None

    @model_validator(mode="after")
    def _check_shares(self) -> SplitSettings:
        if (self.preset == "custom") != (self.shares is not None):
            raise ValueError('shares {train, val, test} go with preset "custom", and only with it')
        return self

    def fractions(self) -> dict[Split, float]:
        """Share of each split; they sum to 1."""
        custom = self.shares
        parts = (custom.train, custom.val, custom.test) if custom else PRESETS[self.preset]
        return {split: part / sum(parts) for split, part in zip(SPLITS, parts, strict=True)}


@dataclass(slots=True)
class GroupFacts:
    """What the split needs to know of one group.

    Attributes:
        counts: number of samples by attribute, `all` and `labelled` among them.
        fixed: splits that samples of the group already had.
    """

    counts: Counter[str] = field(default_factory=Counter)
    fixed: set[Split] = field(default_factory=set)


def attributes_of(sample: Sample) -> set[str]:
    """Attributes that every split shall hold in equal proportion.

    Whether it is labelled, real or synthetic, which mask types it shows, and how they are worn: the
    instances' wearing state where known, the detector's opinion of the faces otherwise.
    """
    found = {_ALL, "synthetic" if sample.is_synthetic else "real"}
    if sample.is_labelled:
        found.add(_LABELLED)
    for item in sample.instances:
        if item.label is Label.FACE_MASK and not item.is_proposal:
            found.add(f"type:{item.attribute(MASK_TYPE, 'unknown')}")
            found.add(f"state:{item.attribute(WEARING_STATE, 'unknown')}")
    found.update(f"face:{face.wearing.value}" for face in sample.faces)
    return found


def gather_groups(samples: Iterable[Sample]) -> dict[str, GroupFacts]:
    """Facts of every group, from one pass over the samples in any order."""
    groups: dict[str, GroupFacts] = {}
    for sample in samples:
        facts = groups.setdefault(sample.group, GroupFacts())
        facts.counts.update(attributes_of(sample))
        if sample.split is not Split.UNASSIGNED:
            facts.fixed.add(sample.split)
    return groups


def assign_groups(
    groups: Mapping[str, GroupFacts], fractions: Mapping[Split, float], seed: int
) -> dict[str, Split]:
    """Give every group one split.

    Args:
        groups: facts by group name.
        fractions: wanted share of each split, summing to 1; a share of 0 leaves the split empty.
        seed: decides between equally good choices.

    Returns:
        Split by group name. Groups with a fixed split keep it. A split with a share gets at least one
        group while there are enough: train first, then test, then val; groups with labelled samples
        count first, since only those can train or score anything.
    """
    # Sorted, because the rounding of a sum depends on the order of its terms.
    counts_of = {name: dict(sorted(groups[name].counts.items())) for name in sorted(groups)}
    totals: Counter[str] = Counter()
    for counts in counts_of.values():
        totals.update(counts)
    deal = _Deal(fractions, totals)
    free: list[str] = []
    for name, counts in counts_of.items():
        if groups[name].fixed:
            deal.give(name, counts, _one_fixed_split(name, groups[name].fixed))
        else:
            free.append(name)
    rarity = {name: min(totals[key] for key in counts_of[name]) for name in free}
    ties = {name: derive_seed(seed, name, "split") for name in free}
    free.sort(key=lambda name: (rarity[name], -counts_of[name][_ALL], ties[name], name))
    for name in free:
        deal.give(name, counts_of[name], deal.best(counts_of[name]))
    for _ in range(_REFINE_PASSES):
        if not _refine(deal, counts_of, free):
            break
    _fill_empty_splits(deal, counts_of, free, fractions)
    return deal.split_of


class _Deal:
    """Groups given out so far, and how far each split is from its share."""

    def __init__(self, fractions: Mapping[Split, float], totals: Mapping[str, int]) -> None:
        self.open = [split for split in SPLITS if fractions[split] > 0]
        self.totals = totals
        self.wanted = {
            split: {key: fractions[split] * total for key, total in totals.items()} for split in self.open
        }
        self.held: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
        self.split_of: dict[str, Split] = {}

    def give(self, name: str, counts: Mapping[str, int], split: Split) -> None:
        self.held[split].update(counts)
        self.split_of[name] = split

    def take(self, name: str, counts: Mapping[str, int]) -> Split:
        split = self.split_of.pop(name)
        self.held[split].subtract(counts)
        return split

    def cost(self, counts: Mapping[str, int], split: Split) -> float:
        """Growth of sum((held - wanted)^2 / (wanted * total)) if `split` got these counts."""
        held, wanted = self.held[split], self.wanted[split]
        return sum(
            count * (2 * (held[key] - wanted[key]) + count) / (wanted[key] * self.totals[key])
            for key, count in counts.items()
        )

    def best(self, counts: Mapping[str, int]) -> Split:
        return min(self.open, key=lambda split: (round(self.cost(counts, split), 12), SPLITS.index(split)))


def _one_fixed_split(name: str, fixed: set[Split]) -> Split:
    if len(fixed) > 1:
        _log.warning("group %s has fixed splits %s; the most cautious wins", name, sorted(fixed))
    return next(split for split in _CAUTION_ORDER if split in fixed)


def _refine(deal: _Deal, counts_of: Mapping[str, Mapping[str, int]], free: Sequence[str]) -> bool:
    moved = False
    for name in free:
        counts = counts_of[name]
        before = deal.take(name, counts)
        after = deal.best(counts)
        # A tie stays where it was, or two passes could move it to and fro.
        if round(deal.cost(counts, before) - deal.cost(counts, after), 12) <= 0:
            after = before
        deal.give(name, counts, after)
        moved = moved or after is not before
    return moved


def _fill_empty_splits(
    deal: _Deal,
    counts_of: Mapping[str, Mapping[str, int]],
    free: Sequence[str],
    fractions: Mapping[Split, float],
) -> None:
    countable = {name for name, counts in counts_of.items() if counts.get(_LABELLED)} or set(counts_of)
    holds = Counter(deal.split_of[name] for name in countable)
    for rank, split in enumerate(_FILL_ORDER):
        if fractions[split] == 0 or holds[split]:
            continue
        # A split later in the order may give its only group away, an earlier one never.
        donors = {other for other in SPLITS if holds[other] > (0 if other in _FILL_ORDER[rank:] else 1)}
        movable = [name for name in free if name in countable and deal.split_of[name] in donors]
        if movable:
            costs = [round(deal.cost(counts_of[name], split), 12) for name in movable]
            chosen = movable[costs.index(min(costs))]
            holds[deal.take(chosen, counts_of[chosen])] -= 1
            deal.give(chosen, counts_of[chosen], split)
            holds[split] += 1


class SplitStage:
    """The stage "split": every sample leaves with the split of its group."""

    name = "split"
    version = "1"
    parallel = True

    def __init__(self, settings: SplitSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the rows."""
        return {**self.settings.model_dump(mode="json"), "seed": self.seed}

    def plan(self, samples: Iterable[Sample]) -> dict[str, Split]:
        """Split of every group, decided over the whole input."""
        return assign_groups(gather_groups(samples), self.settings.fractions(), self.seed)

    def run(
        self, items: Sequence[Any], *, plan: Any, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """Every sample with its group's split; nothing is rejected."""

        def assign(sample: Sample) -> Iterator[Sample]:
            yield dataclasses.replace(sample, split=plan[sample.group])

        return each(items, self.name, assign, progress)
