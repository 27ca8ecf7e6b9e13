"""Search in Hamming space finds what comparing all with all finds."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.core import hamming
from dataset_tools.core.hamming import close_pairs, near_components, nearest

WORDS = st.integers(0, 2**64 - 1)
REACHES = st.integers(0, 15)


@st.composite
def clustered(draw: st.DrawFn) -> np.ndarray:
    centres = draw(st.lists(WORDS, max_size=4))
    if not centres:
        return np.zeros(0, dtype=np.uint64)
    bits = st.sets(st.integers(0, 63), max_size=16)
    flips = draw(st.lists(st.tuples(st.sampled_from(centres), bits), max_size=40))
    values = [*centres, *(centre ^ sum(1 << bit for bit in bits) for centre, bits in flips)]
    return np.array(values, dtype=np.uint64)


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.array([[(int(a) ^ int(b)).bit_count() for b in other] for a in one], dtype=int).reshape(
        len(one), len(other)
    )


def components(hashes: np.ndarray, reach: int) -> list[int]:
    near = distances(hashes, hashes) <= reach
    names = np.arange(len(hashes))
    for _ in hashes:
        names = np.array([names[row].min() for row in near], dtype=int)
    return names.tolist()


@pytest.fixture(params=["chosen", "many tables", "long runs"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tables that the number of hashes asks for, those of a large set, and the way of giant clusters."""
    if request.param != "chosen":
        monkeypatch.setattr(hamming, "_SORT_COST", -1e3)
        monkeypatch.setattr(hamming, "_MOST_TABLES", 60)
    if request.param == "long runs":
        monkeypatch.setattr(hamming, "_LONG_RUN", 2)
    return str(request.param)


@pytest.mark.parametrize("reach", [0, 4, 6, 15])
def test_the_index_finds_what_brute_force_finds(way: str, reach: int) -> None:
    # Many tables for few hashes are slow, and the machine may be busy.
    @settings(deadline=None, max_examples=25)
    @given(clustered(), clustered())
    def check(hashes: np.ndarray, others: np.ndarray) -> None:
        apart = distances(hashes, hashes)
        expected = [
            (one, other, apart[one, other])
            for one, other in combinations(range(len(hashes)), 2)
            if apart[one, other] <= reach
        ]
        assert list(zip(*(part.tolist() for part in close_pairs(hashes, reach)), strict=True)) == expected
        assert near_components(hashes, reach).tolist() == components(hashes, reach)
        across = distances(others, hashes)
        index, distance = nearest(others, hashes, reach)
        for row, found, far in zip(across, index.tolist(), distance.tolist(), strict=True):
            least = min(row, default=99)
            wanted = (row.tolist().index(least), least) if least <= reach else (-1, 255)
            assert (found, far) == wanted

    check()


@settings(deadline=None)
@given(st.integers(2, 10**7), REACHES)
def test_every_choice_of_tables_brings_close_hashes_together(count: int, reach: int) -> None:
    masks = hamming._key_masks(count, reach)
    flips = np.random.default_rng(count)
    for _ in range(20):
        changed = sum(1 << int(bit) for bit in flips.choice(64, reach, replace=False))
        assert any(int(mask) & changed == 0 for mask in masks)


def test_planted_pairs_among_many_are_all_found_with_little_work() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 20_000, dtype=np.uint64)
    chosen = rng.permutation(len(hashes))[:400].reshape(200, 2)
    for one, other in chosen:
        bits = rng.choice(64, rng.integers(1, 7), replace=False)
        hashes[other] = hashes[one] ^ np.uint64(sum(1 << int(bit) for bit in bits))
    first, second, _ = close_pairs(hashes, 6)
    assert {frozenset(pair) for pair in chosen.tolist()} == {
        frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)
    }
    parts = near_components(hashes, 6)
    assert np.array_equal(parts[chosen[:, 0]], parts[chosen[:, 1]])
    met = sum(
        len(one)
        for mask in hamming._key_masks(len(hashes), 6)
        for one, _ in hamming._meetings(*hamming._sorted_by(hashes, mask))
    )
    assert met < len(hashes) ** 2 / 2 / 30


@pytest.mark.parametrize("reach", [-1, 16])
def test_a_distance_out_of_range_is_refused(reach: int) -> None:
    with pytest.raises(ValueError, match="expected 0"):
        close_pairs(np.zeros(2, np.uint64), reach)
