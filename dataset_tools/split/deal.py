"""Deal groups out to parts so that every part holds its share of every stratum.

Groups with the rarest strata come first, large ones before small ones, each to the part it brings nearest to
its share; then single groups are moved while that still helps. This is done from several starts, and the best
end counts. The same groups give the same deal in any order.

Source of the idea: Sechidis, Tsoumakas, Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD
2011, here over groups instead of samples, with a chi-square distance and a local search.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dataset_tools.core.seeds import derive_seed
from dataset_tools.split.strata import ALL, LABELLED_FACES, Counts

_REFINE_PASSES = 8
# With few groups a start costs nothing and matters much; with very many, all ends are equally good.
_MOST_STARTS = 4
_GROUPS_PER_RUN = 2_000


def deal_groups(
    groups: Mapping[str, Counts],
    shares: Sequence[float],
    seed: int,
    *,
    fixed: Mapping[str, int] | None = None,
    fill_order: Sequence[int] = (),
    exact: tuple[str, Sequence[int]] | None = None,
) -> dict[str, int]:
    """Give every group one part.

    Args:
        groups: strata by group name.
        shares: wanted share of each part, summing to 1; a share of 0 leaves the part empty.
        seed: decides between equally good choices.
        fixed: parts of groups that have one already; they keep it.
        fill_order: parts that shall get at least one group while there are enough, the first first. Groups
            with labelled samples count before all, since only those can train or score anything.
        exact: a stratum, and how much of it each part but the first shall hold exactly.

    Returns:
        Part by group name.
    """
    names = sorted(groups)
    kept = {name: part for name, part in (fixed or {}).items() if name in groups}
    totals = _sum_counts(groups[name] for name in names)
    free = [name for name in names if name not in kept]
    starts = max(1, min(_MOST_STARTS, _GROUPS_PER_RUN // max(len(free), 1)))
    best: _Deal | None = None
    for start in range(starts):
        deal = _Deal(shares, totals)
        for name, part in kept.items():
            deal.give(name, groups[name], part)
        _deal_from(deal, groups, free, derive_seed(seed, "start", str(start)))
        if best is None or round(deal.distance() - best.distance(), 12) < 0:
            best = deal
    assert best is not None
    if exact is not None:
        _meet_exactly(best, groups, free, *exact)
    _fill_empty(best, groups, free, fill_order)
    return {name: best.part_of[name] for name in names}


def largest_deviation(
    groups: Mapping[str, Counts], part_of: Mapping[str, int], shares: Sequence[float]
) -> tuple[float, str, int]:
    """How far a deal is from perfect.

    Args:
        groups, shares: as in `deal_groups`.
        part_of: part by group name.

    Returns:
        The largest |held / total - share| over strata and parts, in [0, 1], the stratum and the part where
        it is. Strata so small that a part wants less than one whole sample of them are left out.
    """
    totals = _sum_counts(groups.values())
    least = min(share for share in shares if share > 0)
    held = [
        _sum_counts(counts for name, counts in groups.items() if part_of[name] == part)
        for part in range(len(shares))
    ]
    found = [
        (abs(held[part][key] / total - share), key, part)
        for key, total in sorted(totals.items())
        for part, share in enumerate(shares)
        if total * least >= 1
    ]
    return max(found, default=(0.0, ALL, 0))


def _sum_counts(many: Iterable[Counts]) -> Counter[str]:
    totals: Counter[str] = Counter()
    # Equal groups share one object: most are counted once and multiplied.
    for counts, times in Counter(many).items():
        for key, count in counts:
            totals[key] += times * count
    return totals


class _Deal:
    """Groups given out so far, and how far each part is from its share."""

    def __init__(self, shares: Sequence[float], totals: Mapping[str, int]) -> None:
        self.open = [part for part, share in enumerate(shares) if share > 0]
        self.shares = shares
        self.totals = totals
        self.wanted = [{key: share * total for key, total in totals.items()} for share in shares]
        self.held: list[Counter[str]] = [Counter() for _ in shares]
        self.part_of: dict[str, int] = {}

    def give(self, name: str, counts: Counts, part: int) -> None:
        held = self.held[part]
        for key, count in counts:
            held[key] += count
        self.part_of[name] = part

    def take(self, name: str, counts: Counts) -> int:
        part = self.part_of.pop(name)
        held = self.held[part]
        for key, count in counts:
            held[key] -= count
        return part

    def cost(self, counts: Counts, part: int) -> float:
        """Growth of sum((held - wanted)^2 / (wanted * total)) if `part` got these counts."""
        held, wanted = self.held[part], self.wanted[part]
        return sum(
            count * (2 * (held[key] - wanted[key]) + count) / (wanted[key] * self.totals[key])
            for key, count in counts
        )

    def best(self, counts: Counts) -> int:
        return min(self.open, key=lambda part: (round(self.cost(counts, part), 12), part))

    def distance(self) -> float:
        """Sum over strata and parts of (held / total - share)^2 / share."""
        return sum(
            (self.held[part][key] / total - self.shares[part]) ** 2 / self.shares[part]
            for part in self.open
            for key, total in sorted(self.totals.items())
        )


def _deal_from(deal: _Deal, groups: Mapping[str, Counts], free: Sequence[str], seed: int) -> None:
    def place(name: str) -> tuple[int, int, int, str]:
        counts = groups[name]
        rarity = min(deal.totals[key] for key, _ in counts)
        # Only the order of magnitude: within it chance decides, or all seeds would deal alike.
        return rarity.bit_length(), -dict(counts)[ALL].bit_length(), derive_seed(seed, name), name

    for name in sorted(free, key=place):
        deal.give(name, groups[name], deal.best(groups[name]))
    for _ in range(_REFINE_PASSES):
        if not _refine(deal, groups, free):
            break


def _refine(deal: _Deal, groups: Mapping[str, Counts], free: Sequence[str]) -> bool:
    moved = False
    for name in free:
        counts = groups[name]
        before = deal.take(name, counts)
        after = deal.best(counts)
        # A tie stays where it was, or two passes could move it to and fro.
        if round(deal.cost(counts, before) - deal.cost(counts, after), 12) <= 0:
            after = before
        deal.give(name, counts, after)
        moved = moved or after != before
    return moved


def _meet_exactly(
    deal: _Deal, groups: Mapping[str, Counts], free: Sequence[str], key: str, wanted: Sequence[int]
) -> None:
    """Move the cheapest groups between the first part and another until that one holds what it shall."""
    sizes = {name: dict(groups[name]).get(key, 0) for name in free}
    for part in range(1, len(wanted)):
        while missing := wanted[part] - deal.held[part][key]:
            source, target = (0, part) if missing > 0 else (part, 0)
            fitting = [
                (_price(deal, groups[name], sizes[name], source, target), name)
                for name in free
                if deal.part_of[name] == source and 0 < sizes[name] <= abs(missing)
            ]
            if not fitting:
                break
            left = abs(missing)
            # Each move changes the prices of the next; a few at a time is near enough, and ends soon.
            for _, name in sorted(fitting)[: 1 + left // 8]:
                if sizes[name] <= left:
                    left -= sizes[name]
                    deal.take(name, groups[name])
                    deal.give(name, groups[name], target)


def _price(deal: _Deal, counts: Counts, size: int, source: int, target: int) -> float:
    """What a move between two parts adds to the distance, for each unit that it moves."""
    back = tuple((key, -count) for key, count in counts)
    return round((deal.cost(back, source) + deal.cost(counts, target)) / size, 12)


def _fill_empty(
    deal: _Deal, groups: Mapping[str, Counts], free: Sequence[str], fill_order: Sequence[int]
) -> None:
    labelled = {name for name, counts in groups.items() if dict(counts).get(LABELLED_FACES)}
    countable = labelled or set(groups)
    holds = Counter(deal.part_of[name] for name in countable)
    for rank, part in enumerate(fill_order):
        if part not in deal.open or holds[part]:
            continue
        # A part later in the order may give its only group away, an earlier one never.
        donors = {other for other in deal.open if holds[other] > (0 if other in fill_order[rank:] else 1)}
        movable = [name for name in free if name in countable and deal.part_of[name] in donors]
        if movable:
            costs = [round(deal.cost(groups[name], part), 12) for name in movable]
            chosen = movable[costs.index(min(costs))]
            holds[deal.take(chosen, groups[chosen])] -= 1
            deal.give(chosen, groups[chosen], part)
            holds[part] += 1
