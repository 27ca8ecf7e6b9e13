"""Search in Hamming space: which 64-bit perceptual hashes differ in few bits, without comparing all with all.

The 64 bits are dealt to m blocks. Two hashes that differ in at most d bits agree in at least m - d of the
blocks, so sorting by every choice of m - d blocks brings every close pair together in some table. m is chosen
by the number of hashes: more bits in a key mean fewer chance meetings but more tables.

Source: the pigeonhole argument of Norouzi et al., Fast search in Hamming space with multi-index hashing,
CVPR 2012, with combinations of blocks as in Manku et al., Detecting near-duplicates for web crawling,
WWW 2007.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb, log2

import numpy as np
import numpy.typing as npt

BITS = 64
MAX_DISTANCE = 15

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

# Costs of one element in one table, in units of one compared pair; measured, only their size matters.
_SORT_COST = 0.6
_TABLE_COST = 8.0
_MOST_TABLES = 20_000
_PAIRS_AT_ONCE = 1 << 21
# Runs of one key that are longer are not compared pair by pair where only connection is asked for.
_LONG_RUN = 256


def close_pairs(hashes: Hashes, max_distance: int) -> tuple[Indices, Indices, npt.NDArray[np.uint8]]:
    """All pairs within a Hamming distance.

    Args:
        hashes: (N,) uint64.
        max_distance: 0..15 bits.

    Returns:
        Indices i < j and distance of each pair, ordered by i and then j. There may be N * N / 2 of them: use
        `near_components` where only connection matters.
    """
    count = len(hashes)
    found: Indices = np.empty(0, dtype=np.int64)
    fresh: list[Indices] = []
    for mask in _key_masks(count, max_distance):
        for one, other in _meetings(*_sorted_by(hashes, mask)):
            is_close = np.bitwise_count(hashes[one] ^ hashes[other]) <= max_distance
            low = np.minimum(one[is_close], other[is_close])
            fresh.append(low * count + np.maximum(one[is_close], other[is_close]))
        if sum(map(len, fresh)) > _PAIRS_AT_ONCE:
            found, fresh = np.unique(np.concatenate((found, *fresh))), []
    found = np.unique(np.concatenate((found, *fresh)))
    first, second = np.divmod(found, max(count, 1))
    return first, second, np.bitwise_count(hashes[first] ^ hashes[second])


def near_components(hashes: Hashes, max_distance: int) -> Indices:
    """Connected parts of the graph whose edges are the close pairs.

    The work does not grow with the number of close pairs: what is known to hang together is not compared.

    Args:
        hashes: (N,) uint64.
        max_distance: 0..15 bits.

    Returns:
        (N,) for each hash the smallest index of its part; its own where nothing is near.
    """
    parent = np.arange(len(hashes), dtype=np.int64)
    if len(hashes) < 2:
        return parent
    for mask in _key_masks(len(hashes), max_distance):
        order, keys = _sorted_by(hashes, mask)
        edges = np.flatnonzero(np.diff(keys, prepend=keys[:1] ^ np.uint64(1)))
        lengths = np.diff(edges, append=len(keys))
        is_long = lengths > _LONG_RUN
        if is_long.any():
            found: list[tuple[Indices, Indices]] = []
            for start, length in zip(edges[is_long], lengths[is_long], strict=True):
                run = order[start : start + length]
                found.extend(_run_edges(hashes, run, parent[run], max_distance))
            if found:
                _unite(parent, *_joined(found))
            short = ~np.repeat(is_long, lengths)
            order, keys = order[short], keys[short]
        for one, other in _meetings(order, keys):
            apart = parent[one] != parent[other]
            one, other = one[apart], other[apart]
            is_close = np.bitwise_count(hashes[one] ^ hashes[other]) <= max_distance
            _unite(parent, one[is_close], other[is_close])
    return parent


def nearest(queries: Hashes, hashes: Hashes, max_distance: int) -> tuple[Indices, npt.NDArray[np.uint8]]:
    """For each query the nearest hash within a distance.

    Args:
        queries: (Q,) uint64.
        hashes: (N,) uint64.
        max_distance: 0..15 bits.

    Returns:
        (Q,) index into `hashes`, of equally near ones the first, -1 where none is within reach; and
        (Q,) the distance, 255 where there is none.
    """
    nothing = np.int64(255) << 40
    best = np.full(len(queries), nothing, dtype=np.int64)
    if len(queries) and len(hashes):
        for mask in _key_masks(max(len(queries), len(hashes)), max_distance):
            order, keys = _sorted_by(hashes, mask)
            wanted = queries & mask
            first = np.searchsorted(keys, wanted, "left")
            counts = np.searchsorted(keys, wanted, "right") - first
            for rows, places in _expanded(first, counts):
                found = order[places]
                distance = np.bitwise_count(queries[rows] ^ hashes[found]).astype(np.int64)
                is_close = distance <= max_distance
                code = (distance[is_close] << 40) | found[is_close]
                np.minimum.at(best, rows[is_close], code)
    distances = (best >> 40).astype(np.uint8)
    return np.where(best == nothing, -1, best & ((1 << 40) - 1)), distances


def _key_masks(count: int, max_distance: int) -> list[np.uint64]:
    """Bits that make up each table's key; one table without any bits compares all with all."""
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise ValueError(f"max_distance is {max_distance}, expected 0..{MAX_DISTANCE}")
    pairs = count * count / 2
    per_table = count * (_SORT_COST * log2(max(count, 2)) + _TABLE_COST)
    best_cost, best = pairs, 0
    for blocks in range(max_distance + 1, BITS + 1):
        tables = comb(blocks, max_distance)
        if tables > _MOST_TABLES:
            break
        # The fewest bits that any choice of m - d blocks has.
        key_bits = BITS * (blocks - max_distance) // blocks
        cost = tables * (per_table + pairs / 2.0**key_bits)
        if cost < best_cost:
            best_cost, best = cost, blocks
    if not best:
        return [np.uint64(0)]
    # Neighbouring bits of a hash tell much the same, so a block takes every m-th bit.
    block_masks = [sum(1 << bit for bit in range(block, BITS, best)) for block in range(best)]
    kept = combinations(block_masks, best - max_distance)
    return [np.uint64(sum(chosen)) for chosen in kept]


def _sorted_by(hashes: Hashes, mask: np.uint64) -> tuple[Indices, Hashes]:
    keys = hashes & mask
    order = np.argsort(keys, kind="stable").astype(np.int64, copy=False)
    return order, keys[order]


def _meetings(order: Indices, keys: Hashes) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of one key, in pieces: first all that stand side by side, then all two apart, and so on."""
    places = np.arange(len(keys) - 1, dtype=np.int64)
    step = 1
    waiting: list[tuple[Indices, Indices]] = []
    held = 0
    while len(places):
        places = places[keys[places] == keys[places + step]]
        waiting.append((order[places], order[places + step]))
        held += len(places)
        if held >= _PAIRS_AT_ONCE:
            yield _joined(waiting)
            waiting, held = [], 0
        step += 1
        places = places[places + step < len(keys)]
    if waiting:
        yield _joined(waiting)


def _joined(pieces: list[tuple[Indices, Indices]]) -> tuple[Indices, Indices]:
    return np.concatenate([one for one, _ in pieces]), np.concatenate([other for _, other in pieces])


def _expanded(first: Indices, counts: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Row numbers and places of all ranges first[i] .. first[i] + counts[i], in pieces."""
    rows = np.flatnonzero(counts)
    while len(rows):
        ends = np.cumsum(counts[rows])
        taken = max(int(np.searchsorted(ends, _PAIRS_AT_ONCE)), 1)
        chosen, sizes = rows[:taken], counts[rows[:taken]]
        starts = np.repeat(first[chosen] - np.concatenate(([0], ends[: taken - 1])), sizes)
        yield np.repeat(chosen, sizes), starts + np.arange(ends[taken - 1])
        rows = rows[taken:]


def _run_edges(
    hashes: Hashes, members: Indices, parts: Indices, max_distance: int
) -> Iterator[tuple[Indices, Indices]]:
    """Edges that connect what is close among many hashes of one key, comparing one with all at a time.

    Members of the largest part are never the one: every other part is compared with all of them, so a
    giant cluster costs a few rows and not its square.

    Args:
        hashes: all hashes.
        members: indices of the run.
        parts: known part of each member; changed.
        max_distance: 0..15 bits.
    """
    is_done = np.zeros(len(members), dtype=bool)
    while True:
        names, sizes = np.unique(parts, return_counts=True)
        left = np.flatnonzero((parts != names[sizes.argmax()]) & ~is_done)
        if not len(left):
            return
        pivot = int(left[len(left) // 2])
        is_done[pivot] = True
        row = np.flatnonzero(np.bitwise_count(hashes[members] ^ hashes[members[pivot]]) <= max_distance)
        joined, places = np.unique(parts[row], return_index=True)
        if len(joined) > 1:
            yield np.full(len(places), members[pivot]), members[row[places]]
            parts[np.isin(parts, joined)] = joined[0]


def _unite(parent: Indices, one: Indices, other: Indices) -> None:
    """Join parts along edges; afterwards `parent` again names every part's smallest index directly."""
    if not len(one):
        return
    while True:
        first, second = parent[one], parent[other]
        apart = first != second
        if not apart.any():
            return
        one, other = one[apart], other[apart]
        low, high = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
        np.minimum.at(parent, high, low)
        while True:
            above = parent[parent]
            if np.array_equal(above, parent):
                break
            parent[:] = above
