from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.core.face_prints import FacePrint
from dataset_tools.core.reasons import Reason
from dataset_tools.filter.duplicates import Fingerprint, plan_duplicates

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


def brute_force(
    items: Sequence[Fingerprint], drop: int, group: int
) -> tuple[dict[str, tuple[str, int]], dict[str, str]]:
    ranked = sorted(items, key=lambda each: (not each.is_labelled, -each.area_px, each.item_key))
    kept: dict[int, str] = {}
    dropped: dict[str, tuple[str, int]] = {}
    for each in ranked:
        assert each.phash is not None
        near = [((each.phash ^ other).bit_count(), key) for other, key in kept.items()]
        distance, key = min(near, default=(65, ""))
        if each.is_labelled or distance > drop:
            kept.setdefault(each.phash, each.item_key)
        else:
            dropped[each.item_key] = (key, distance)
    names = {each.group: each.group for each in items}
    for _ in items:  # plain relaxation: as many rounds as there could be links in a chain
        for one in items:
            for other in items:
                if ((one.phash or 0) ^ (other.phash or 0)).bit_count() <= group:
                    lowest = min(names[one.group], names[other.group])
                    names[one.group] = names[other.group] = lowest
    return dropped, {old: new for old, new in names.items() if old != new}


@settings(deadline=None)
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
    expected, groups = brute_force(items, drop, group)
    assert ({key: (why.kept_key, why.distance) for key, why in plan.dropped.items()}, plan.groups) == (
        expected,
        groups,
    )


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


def test_names_come_back_as_they_were() -> None:
    odd = "a\udcff \u2028é"
    plan = plan_duplicates([item("z", sha="one"), item(odd, sha="one")], drop_distance=0, group_distance=0)
    assert plan.dropped["z"].kept_key == odd


def test_a_giant_cluster_keeps_the_few_that_cover_it() -> None:
    # All 43,745 hashes within 3 bits of one: 10^9 pairs are within 6 bits, none of which is looked at twice.
    ball = [
        0,
        *(sum(1 << bit for bit in bits) for size in (1, 2, 3) for bits in combinations(range(64), size)),
    ]
    items = [item(f"k{place:05d}", value, group="all" if place else "a") for place, value in enumerate(ball)]
    plan = plan_duplicates(items, drop_distance=6, group_distance=6)
    assert len(plan.dropped) == len(ball) - 1
    assert {why.kept_key for why in plan.dropped.values()} == {"k00000"}
    assert plan.groups == {"all": "a"}
    same = plan_duplicates(
        (item(f"k{place:05d}", 7, group="g") for place in range(50_000)), drop_distance=4, group_distance=6
    )
    assert len(same.dropped) == 49_999


def test_photos_of_one_face_share_a_group_and_none_is_dropped() -> None:
    def photo(key: str, *faces: tuple[int, int]) -> Fingerprint:
        # The pictures as wholes lie far apart.
        whole = {"a": 0x0F, "b": 0xFF << 20, "c": 0xFFFF << 40, "d": 0xFFFFFF, "e": 0x3F << 58}[key]
        prints = tuple(FacePrint(*face) for face in faces)
        return dataclasses.replace(item(key, whole), faces=prints)

    far = [0x9E3779B97F4A7C15 * odd % 2**64 for odd in range(1, 15, 2)]  # unrelated to each other
    photos = [
        photo("b", (far[0], far[1]), (far[2], far[3])),
        photo("a", (far[0] ^ 0b1111, far[4])),  # b's first
        photo("c", (far[5], far[2] ^ 0b111)),  # b's second, mirrored
        photo("d", (far[6], ~far[6] % 2**64)),
        photo("e"),
    ]
    distances = {"drop_distance": 4, "group_distance": 4}
    assert plan_duplicates(photos, **distances).groups == {}
    assert plan_duplicates(photos, **distances, face_distance=3).groups == {"g-c": "g-b"}
    for order in (photos, photos[::-1]):
        plan = plan_duplicates(order, **distances, face_distance=4)
        assert (plan.dropped, plan.groups) == ({}, {"g-b": "g-a", "g-c": "g-a"})


@pytest.mark.parametrize(("photos", "groups"), [(90, 1), (150, 150)])
def test_chance_meetings_of_many_faces_do_not_chain_into_one_group(photos: int, groups: int) -> None:
    chance = random.Random(4)
    value, items = chance.getrandbits(64), []
    for place in range(photos):  # each face lies 4 bits from the one before
        value ^= sum(1 << bit for bit in chance.sample(range(64), 4))
        face = FacePrint(value, chance.getrandbits(64))
        items.append(dataclasses.replace(item(f"{place:03d}", None), faces=(face,)))
    plan = plan_duplicates(items, drop_distance=4, group_distance=4, face_distance=4)
    assert len({plan.groups.get(one.group, one.group) for one in items}) == groups
