from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_tools.core.reasons import Reason
from dataset_tools.filter.duplicates import Fingerprint, close_pairs, plan_duplicates

WORDS = st.integers(0, 2**64 - 1)


def item(
    key: str,
    phash: int | None = 0,
    *,
    sha: str = "",
    group: str = "",
    area: int = 100,
    labelled: bool = False,
) -> Fingerprint:
    return Fingerprint(key, group or f"g-{key}", sha or f"sha-{key}", phash, area, labelled)


@st.composite
def clustered_hashes(draw: st.DrawFn) -> list[int]:
    centres = draw(st.lists(WORDS, min_size=1, max_size=4))
    flips = draw(
        st.lists(st.tuples(st.sampled_from(centres), st.sets(st.integers(0, 63), max_size=16)), max_size=30)
    )
    return [*centres, *(centre ^ sum(1 << bit for bit in bits) for centre, bits in flips)]


@given(clustered_hashes(), st.integers(0, 15))
def test_the_index_finds_the_pairs_that_brute_force_finds(hashes: list[int], reach: int) -> None:
    distinct = list(dict.fromkeys(hashes))
    found = [(frozenset(pair[:2]), pair[2]) for pair in close_pairs(distinct, reach)]
    expected = {
        (frozenset((one, other)), (one ^ other).bit_count())
        for place, one in enumerate(distinct)
        for other in distinct[:place]
        if (one ^ other).bit_count() <= reach
    }
    assert len(found) == len(set(found))
    assert set(found) == expected


def brute_force(items: Sequence[Fingerprint], drop: int, group: int) -> tuple[set[str], dict[str, str]]:
    ranked = sorted(items, key=lambda each: (not each.is_labelled, -each.area_px, each.item_key))
    kept: list[Fingerprint] = []
    for each in ranked:
        assert each.phash is not None
        near = [other for other in kept if (each.phash ^ (other.phash or 0)).bit_count() <= drop]
        if each.is_labelled or not near:
            kept.append(each)
    names = {each.group: each.group for each in items}
    for _ in items:  # plain relaxation: as many rounds as there could be links in a chain
        for one in items:
            for other in items:
                if ((one.phash or 0) ^ (other.phash or 0)).bit_count() <= group:
                    lowest = min(names[one.group], names[other.group])
                    names[one.group] = names[other.group] = lowest
    dropped = {each.item_key for each in items} - {each.item_key for each in kept}
    return dropped, {old: new for old, new in names.items() if old != new}


@given(
    clustered_hashes().map(lambda hashes: hashes[:9]),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 3), st.booleans()), min_size=9, max_size=9),
    st.integers(0, 8),
    st.integers(0, 8),
    st.randoms(use_true_random=False),
)
def test_the_plan_equals_brute_force_in_any_order(
    hashes: list[int], traits: list[tuple[str, int, bool]], one: int, other: int, random: object
) -> None:
    drop, group = sorted((one, other))
    items = [
        item(f"k{place}", value, group=traits[place][0], area=traits[place][1], labelled=traits[place][2])
        for place, value in enumerate(hashes)
    ]
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    plan = plan_duplicates(shuffled, drop_distance=drop, group_distance=group)
    assert (set(plan.dropped), plan.groups) == brute_force(items, drop, group)


def test_of_one_picture_the_first_item_key_stays() -> None:
    plan = plan_duplicates([item("b", sha="same"), item("a", sha="same")], drop_distance=0, group_distance=0)
    assert {key: (why.reason, why.kept_key) for key, why in plan.dropped.items()} == {
        "b": (Reason.DUPLICATE, "a")
    }
    assert plan.groups == {"g-b": "g-a"}


def test_ground_truth_is_kept_before_a_photo_and_not_dropped_for_a_near_one() -> None:
    items = [
        item("a", 0b0, sha="same"),
        item("b", 0b0, sha="same", labelled=True),
        item("c", 0b1, labelled=True, area=999),
    ]
    plan = plan_duplicates(items, drop_distance=2, group_distance=2)
    assert set(plan.dropped) == {"a"}
    assert plan.groups == {"g-b": "g-a", "g-c": "g-a"}


def test_the_larger_of_two_near_duplicates_stays() -> None:
    plan = plan_duplicates(
        [item("a", 0b0, area=10), item("b", 0b111, area=20)], drop_distance=3, group_distance=6
    )
    assert plan.dropped["a"].reason is Reason.NEAR_DUPLICATE
    assert (plan.dropped["a"].kept_key, plan.dropped["a"].distance) == ("b", 3)


@pytest.mark.parametrize("phash", [None, 0])
def test_a_sample_without_a_hash_or_alone_is_left_in_peace(phash: int | None) -> None:
    plan = plan_duplicates([item("a", phash)], drop_distance=4, group_distance=6)
    assert (plan.dropped, plan.groups) == ({}, {})
