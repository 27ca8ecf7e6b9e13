"""The stage itself: one look at all samples decides where every group goes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataset_tools.core.errors import DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Rejection, Sample, Split
from dataset_tools.core.seeds import derive_seed
from dataset_tools.core.stage import each
from dataset_tools.split.deal import deal_groups
from dataset_tools.split.frozen import Frozen, frozen_digest, group_digest, read_frozen
from dataset_tools.split.settings import SPLITS, SplitSettings
from dataset_tools.split.strata import LABELLED_FACES, Counts, Tally

_log = logging.getLogger(__name__)

# With too few groups for three splits, these get their first group in this order.
_FILL_ORDER = tuple(SPLITS.index(split) for split in (Split.TRAIN, Split.TEST, Split.VAL))

# A group that is wanted on several sides goes where it can do least harm: never from test into training.
_CAUTION_ORDER = (Split.TEST, Split.VAL, Split.TRAIN)


def most_cautious(splits: Iterable[Split]) -> Split:
    """Of several splits the one in which a picture spoils least: test before val before train."""
    return min(splits, key=_CAUTION_ORDER.index)


@dataclass(slots=True)
class Gathered:
    """What dealing needs to know of all groups.

    Attributes:
        strata: counts by group.
        placed: splits in which a frozen split has samples of the group.
        published: splits that sources state for samples of the group.
    """

    strata: Mapping[str, Counts]
    placed: dict[str, set[Split]] = field(default_factory=dict)
    published: dict[str, set[Split]] = field(default_factory=dict)


def gather(samples: Iterable[Sample], stratify: Iterable[str], frozen: Frozen) -> Gathered:
    """Everything about every group, from one pass over the samples in any order."""
    tally = Tally(stratify)
    found = Gathered(tally.groups)
    for sample in samples:
        tally.add(sample)
        if sample.id in frozen.samples:
            found.placed.setdefault(sample.group, set()).add(frozen.samples[sample.id])
        if sample.split is not Split.UNASSIGNED:
            found.published.setdefault(sample.group, set()).add(sample.split)
    return found


def decide_splits(found: Gathered, settings: SplitSettings, seed: int, frozen: Frozen) -> dict[str, Split]:
    """Split of every group.

    Where a group is bound to go, the first of these decides: where a frozen split has samples of it; where
    it has a group of that name; what its source states. If these name several sides, the most cautious wins.

    Raises:
        DataError: there are fewer groups than folds.
    """
    draw = derive_seed(seed, "trial", str(settings.trial)) if settings.trial else seed
    if settings.folds is not None:
        if found.published:
            _log.warning("folds deal everything anew: splits that sources state do not count")
        return _decide_fold(found.strata, settings, settings.folds, draw)
    fixed: dict[str, int] = {}
    for name in found.strata:
        splits = found.placed.get(name) or frozen.groups.get(group_digest(name)) or found.published.get(name)
        if splits:
            fixed[name] = SPLITS.index(most_cautious(splits))
            if len(splits) > 1:
                _log.warning("group %s is bound to %s; the most cautious wins", name, sorted(splits))
    faces = sum(dict(counts).get(LABELLED_FACES, 0) for counts in found.strata.values())
    exact = None
    if settings.counts_faces(faces):
        exact = (LABELLED_FACES, [int(part) for part in settings.parts])
    elif settings.absolute:
        _log.warning(
            "%d labelled faces are fewer than %s ask for, which count as shares", faces, settings.parts
        )
    shares = list(settings.targets(faces).values())
    parts = deal_groups(found.strata, shares, draw, fixed=fixed, fill_order=_FILL_ORDER, exact=exact)
    return {name: SPLITS[part] for name, part in parts.items()}


def _decide_fold(
    strata: Mapping[str, Counts], settings: SplitSettings, folds: int, seed: int
) -> dict[str, Split]:
    if len(strata) < folds:
        raise DataError(f"{len(strata)} groups cannot be dealt to {folds} folds; choose fewer folds")
    # The fold that is asked for must not decide who is in which: only then each sample is in test once.
    parts = deal_groups(strata, [1 / folds] * folds, seed, fill_order=range(folds))
    rest = {name: strata[name] for name, part in parts.items() if part != settings.fold}
    train, val, _ = settings.parts
    shares = [train / (train + val), val / (train + val)]
    inner = deal_groups(rest, shares, derive_seed(seed, "fold", str(settings.fold)), fill_order=(0, 1))
    return {name: SPLITS[inner[name]] if name in inner else Split.TEST for name in strata}


class SplitStage:
    """The stage "split": every sample leaves with the split of its group."""

    name = "split"
    version = "2"
    parallel = True

    def __init__(self, settings: SplitSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the rows; a frozen split by its content.

        Raises:
            ConfigError: the frozen split is not there.
        """
        values = self.settings.model_dump(mode="json")
        return {**values, "frozen": frozen_digest(self.settings.frozen), "seed": self.seed}

    def plan(self, samples: Iterable[Sample]) -> dict[str, Split]:
        """Split of every group, decided over the whole input."""
        path = self.settings.frozen
        frozen = read_frozen(path) if path is not None else Frozen()
        found = gather(samples, self.settings.stratify, frozen)
        return decide_splits(found, self.settings, self.seed, frozen)

    def run(
        self, items: Sequence[Any], *, plan: Any, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """Every sample with its group's split; nothing is rejected."""

        def assign(sample: Sample) -> Iterator[Sample]:
            yield dataclasses.replace(sample, split=plan[sample.group])

        return each(items, self.name, assign, progress)
