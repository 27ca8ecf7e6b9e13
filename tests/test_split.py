"""Splits: whole groups, close to the shares, the same in every order."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.masks import RleMask
from dataset_tools.core.progress import silent
from dataset_tools.core.record import Face, ImageRef, Instance, Provenance, Sample, Split
from dataset_tools.core.settings import parse_settings
from dataset_tools.split import SplitSettings, SplitStage
from dataset_tools.split.deal import deal_groups
from dataset_tools.split.figures import split_figures
from dataset_tools.split.strata import STRATA, pose_bin

TYPES = ("surgical", "cloth", "n95", "gaiter")


def sample(
    number: int,
    group: str,
    *,
    mask_type: str = "",
    is_synthetic: bool = False,
    is_labelled: bool = True,
    split: Split = Split.UNASSIGNED,
    wearing: Wearing = Wearing.MASKED,
) -> Sample:
    name = f"{number:032x}"
    parent = "p" if is_synthetic else ""
    mask = Instance(
        "m", Label.FACE_MASK, RleMask((2, 2), (0, 4)), "human:a", attributes=(("mask_type", mask_type),)
    )
    return Sample(
        id=name,
        image=ImageRef(name * 2, (2, 2), "png"),
        provenance=Provenance("test", f"item{number}", "CC0-1.0", parent_id=parent),
        group=group,
        faces=(Face((0, 0, 1, 1), 1.0, wearing, "d@1"),),
        instances=(mask,) if mask_type else (),
        split=split,
        is_labelled=is_labelled,
    )  # fmt: skip


def random_samples(groups: int, seed: int, largest: int = 12) -> list[Sample]:
    draw = np.random.default_rng(seed)
    found: list[Sample] = []
    for group in range(groups):
        for _ in range(int(draw.integers(1, largest + 1))):
            found.append(
                sample(
                    len(found),
                    f"g{group}",
                    mask_type=str(draw.choice(TYPES, p=[0.6, 0.3, 0.08, 0.02])),
                    is_synthetic=bool(draw.random() < 0.5),
                    is_labelled=bool(draw.random() < 0.7),
                )
            )
    return found


def run(samples: list[Sample], settings: SplitSettings | None = None, seed: int = 3) -> dict[str, Split]:
    stage = SplitStage(settings or SplitSettings(), seed)
    plan = pickle.loads(pickle.dumps(stage.plan(iter(samples))))
    with silent("", None) as progress:
        results = list(stage.run(samples, plan=plan, images=ImageStore(None), progress=progress))
    assert len(results) == len(samples)
    return {result.id: result.split for result in results}


group_lists = st.lists(
    st.tuples(
        st.integers(0, 12), st.sampled_from(TYPES), st.booleans(), st.booleans(), st.sampled_from(list(Split))
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(group_lists, st.integers(0, 5))
def test_no_group_is_ever_split_and_every_sample_is_assigned(rows, seed):
    samples = [
        sample(i, f"g{group}", mask_type=kind, is_synthetic=synthetic, is_labelled=labelled, split=fixed)
        for i, (group, kind, synthetic, labelled, fixed) in enumerate(rows)
    ]
    splits = run(samples, seed=seed)
    assert Split.UNASSIGNED not in splits.values()
    for group in {item.group for item in samples}:
        assert len({splits[item.id] for item in samples if item.group == group}) == 1


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_order_of_the_samples_changes_nothing(random, seed):
    samples = random_samples(25, seed)
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert run(samples) == run(shuffled)


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        (SplitSettings(preset="misa"), (0.8, 0.1, 0.1)),
        (SplitSettings(preset="abanet"), (8500 / 12758, 2500 / 12758, 1758 / 12758)),
        (
            parse_settings(
                SplitSettings, {"preset": "custom", "shares": {"train": 2, "val": 1, "test": 1}}, "test"
            ),
            (0.5, 0.25, 0.25),
        ),
    ],
)
def test_a_thousand_groups_come_close_to_the_shares_in_every_attribute(settings, shares):
    samples = random_samples(1000, 1)
    splits = run(samples, settings)
    attributes = {
        "all": lambda item: True,
        "synthetic": lambda item: item.is_synthetic,
        "labelled": lambda item: item.is_labelled,
        **{kind: lambda item, kind=kind: item.instances[0].attribute("mask_type") == kind for kind in TYPES},
    }
    for name, holds in attributes.items():
        members = [item for item in samples if holds(item)]
        counts = Counter(splits[item.id] for item in members)
        for split, share in zip((Split.TRAIN, Split.VAL, Split.TEST), shares, strict=True):
            # One large group among the few of the rarest mask type may lie on either side.
            assert abs(counts[split] - share * len(members)) <= max(0.005 * len(members), 4), (name, split)


def test_presets_are_the_papers_proportions():
    assert SplitSettings(preset="misa").fractions() == pytest.approx(
        {Split.TRAIN: 840 / 1050, Split.VAL: 105 / 1050, Split.TEST: 105 / 1050}
    )
    fractions = SplitSettings(preset="abanet").fractions()
    assert [round(12758 * fractions[split]) for split in (Split.TRAIN, Split.VAL, Split.TEST)] == [
        8500, 2500, 1758,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (1, {Split.TRAIN: 1}),
        (2, {Split.TRAIN: 1, Split.TEST: 1}),
        (3, {Split.TRAIN: 1, Split.TEST: 1, Split.VAL: 1}),
    ],
)
def test_few_groups_fill_train_then_test_then_val(groups, expected):
    samples = [sample(10 * g + i, f"g{g}") for g in range(groups) for i in range(g + 2)]
    splits = run(samples)
    assert Counter({item.group: splits[item.id] for item in samples}.values()) == expected


def test_labelled_groups_are_what_counts_when_groups_are_few():
    unlabelled = [sample(i, f"u{i}", is_labelled=False) for i in range(6)]
    labelled = [sample(100, "a"), sample(101, "b")]
    splits = run(unlabelled + labelled)
    assert {splits[item.id] for item in labelled} == {Split.TRAIN, Split.TEST}


def test_a_fixed_split_holds_for_the_whole_group():
    samples = [sample(i, f"g{i // 2}") for i in range(40)]
    samples[0] = dataclasses.replace(samples[0], split=Split.TEST)
    samples[2] = dataclasses.replace(samples[2], split=Split.VAL)
    splits = run(samples)
    assert splits[samples[0].id] is splits[samples[1].id] is Split.TEST
    assert splits[samples[2].id] is splits[samples[3].id] is Split.VAL


def test_contradicting_fixed_splits_never_move_a_test_picture_into_training():
    samples = [sample(0, "g", split=Split.TRAIN), sample(1, "g", split=Split.TEST), sample(2, "h")]
    splits = run(samples)
    assert splits[samples[0].id] is splits[samples[1].id] is Split.TEST


def test_the_seed_decides_between_equal_groups():
    samples = [sample(i, f"g{i}") for i in range(40)]
    assert run(samples, seed=1) == run(samples, seed=1)
    assert run(samples, seed=1) != run(samples, seed=2)


@pytest.mark.parametrize(
    "values",
    [
        {"preset": "custom"},
        {"preset": "misa", "shares": {"train": 1, "val": 1, "test": 1}},
        {"preset": "custom", "shares": {"train": 0, "val": 1, "test": 1}},
        {"preset": "msia"},
        {"pre": "misa"},
        {"stratify": ["mask_typ"]},
        {"fold": 1},
        {"folds": 3, "fold": 3},
        {"trial": 5},
        {"absolute": True},
        {"absolute": True, "preset": "abanet", "folds": 3},
        {"absolute": True, "preset": "custom", "shares": {"train": 1.5, "val": 1, "test": 1}},
        {"frozen": "split.jsonl", "trial": 1},
        {"frozen": "split.jsonl", "folds": 3},
    ],
)
def test_wrong_settings_are_one_line(values):
    with pytest.raises(ConfigError) as caught:
        parse_settings(SplitSettings, values, "config.yaml: split")
    assert "\n" not in str(caught.value)


def test_a_share_of_zero_leaves_a_split_empty():
    settings = parse_settings(
        SplitSettings, {"preset": "custom", "shares": {"train": 3, "val": 0, "test": 1}}, "test"
    )
    splits = run([sample(i, f"g{i}") for i in range(40)], settings)
    assert Counter(splits.values()) == {Split.TRAIN: 30, Split.TEST: 10}


def rich_samples(count: int, seed: int) -> list[Sample]:
    """Single pictures and small groups that differ in every attribute there is."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        one = sample(
            number,
            f"g{draw.integers(count // 2)}",
            mask_type=str(draw.choice(TYPES, p=[0.5, 0.3, 0.15, 0.05])),
            is_synthetic=bool(draw.random() < 0.3),
            is_labelled=bool(draw.random() < 0.7),
            wearing=Wearing.MASKED if draw.random() < 0.8 else Wearing.UNMASKED,
        )
        face = dataclasses.replace(one.faces[0], pose_deg=(float(draw.normal(0, 30)), 0.0, 0.0))
        states = (("mask_type", one.instances[0].attribute("mask_type")), ("wearing_state", "correct"))
        mask = dataclasses.replace(one.instances[0], attributes=states[: 1 + int(draw.random() < 0.6)])
        source = dataclasses.replace(one.provenance, source=str(draw.choice(["web", "lab", "flickr"])))
        found.append(dataclasses.replace(one, faces=(face,), instances=(mask,), provenance=source))
    return found


def strata(samples: list[Sample]) -> dict[str, list[Sample]]:
    """Samples by value of every attribute, spelled out here a second time."""
    found: dict[str, list[Sample]] = {}
    for one in samples:
        mask = dict(one.instances[0].attributes)
        yaw = one.faces[0].pose_deg[0]
        side = "right" if yaw > 0 else "left"
        pose = "front" if abs(yaw) < 15 else f"half-{side}" if abs(yaw) < 45 else side
        for name in (
            f"mask_type:{mask['mask_type']}",
            f"state:{mask.get('wearing_state', 'unknown')}",
            f"wearing:{one.faces[0].wearing.value}",
            f"pose:{pose}",
            f"source:{one.provenance.source}",
            f"synthetic:{'yes' if one.provenance.parent_id else 'no'}",
            f"labelled:{'yes' if one.is_labelled else 'no'}",
            "all",
        ):
            found.setdefault(name, []).append(one)
    return found


def deviations(samples: list[Sample], splits: dict[str, Split], shares: list[float]) -> dict[str, float]:
    """Largest |share held - share wanted| of each attribute value."""
    order = (Split.TRAIN, Split.VAL, Split.TEST)
    return {
        name: max(
            abs(sum(splits[one.id] is split for one in members) / len(members) - share)
            for split, share in zip(order, shares, strict=True)
        )
        for name, members in strata(samples).items()
        if len(members) * min(shares) >= 1
    }


@pytest.mark.parametrize("name", sorted(STRATA))
def test_every_attribute_is_shared_out_evenly_and_would_not_be_by_chance(name):
    samples = rich_samples(500, 5)
    splits = run(samples)
    found = deviations(samples, splits, [0.8, 0.1, 0.1])
    mine = [key for key in found if key.startswith(f"{name}:")]
    assert len(mine) >= 2
    for key in mine:
        assert found[key] <= 0.01 + 1 / len(strata(samples)[key]), key
    others = SplitSettings(stratify=tuple(sorted(STRATA.keys() - {name})))
    blind = [deviations(samples, run(samples, others, seed), [0.8, 0.1, 0.1]) for seed in range(3)]
    if name != "labelled":  # which is counted whoever asks
        assert max(chance[key] for chance in blind for key in mine) > max(found[key] for key in mine)


def test_the_figures_say_how_far_a_split_is_from_its_shares():
    samples = rich_samples(600, 2)
    splits = run(samples)
    placed = [dataclasses.replace(one, split=splits[one.id]) for one in samples]
    figures = split_figures(placed, SplitSettings())
    by_hand = deviations(samples, splits, [0.8, 0.1, 0.1])
    assert figures.deviation == pytest.approx(max(by_hand.values()))
    assert by_hand[figures.worst[0]] == pytest.approx(figures.deviation)
    assert figures.counts["all"] == Counter(splits.values())
    assert sum(figures.groups.values()) == len({one.group for one in samples})
    assert len({len(line) for line in figures.table()}) == 1
    swapped = [
        dataclasses.replace(one, split=Split.TEST if one.split is Split.VAL else one.split) for one in placed
    ]
    assert split_figures(swapped, SplitSettings()).deviation >= 0.1


def test_whole_groups_are_dealt_as_evenly_as_by_scikit_learn_and_far_more_than_by_chance():
    from sklearn.model_selection import StratifiedGroupKFold

    draw = np.random.default_rng(11)
    names = [f"g{group}" for group in range(150) for _ in range(int(draw.integers(1, 9)))]
    kinds = draw.choice(len(TYPES), len(names), p=[0.5, 0.3, 0.15, 0.05])
    lights = draw.random(len(names)) < 0.3
    groups: dict[str, Counter[str]] = {}
    for name, kind, light in zip(names, kinds, lights, strict=True):
        groups.setdefault(name, Counter()).update(("all", f"type:{kind}", f"light:{light}"))
    counts = {name: tuple(sorted(found.items())) for name, found in groups.items()}

    def worst(fold_of: dict[str, int]) -> float:
        """Largest |share of a value in a fold - 1/5|."""
        folds = np.array([fold_of[name] for name in names])
        columns = [np.ones(len(names), bool), lights, ~lights, *(kinds == k for k in range(len(TYPES)))]
        return max(abs(np.mean(folds[column] == fold) - 0.2) for column in columns for fold in range(5))

    ours = worst(deal_groups(counts, [0.2] * 5, 3))
    peer: dict[str, int] = {}
    both = [f"{kind}{light}" for kind, light in zip(kinds, lights, strict=True)]
    folding = StratifiedGroupKFold(5, shuffle=True, random_state=3)
    for fold, (_, test) in enumerate(folding.split(names, both, names)):
        peer |= {names[row]: fold for row in test}
    chance = {name: int(fold) for name, fold in zip(groups, draw.integers(0, 5, len(groups)), strict=True)}
    assert ours <= worst(peer)
    assert ours * 3 < worst(chance)


@pytest.mark.parametrize("seed", range(4))
def test_no_group_could_be_moved_to_bring_the_parts_nearer_to_their_shares(seed):
    draw = np.random.default_rng(seed)
    shares = np.array([0.7, 0.2, 0.1])
    table = draw.poisson(1.5, (90, 6)) * draw.integers(0, 2, (90, 6))
    table[:, 0] = 1 + table[:, 1:].sum(axis=1)
    groups = {
        f"g{row}": tuple((key, int(n)) for key, n in zip(["all", *"vwxyz"], counts, strict=True) if n)
        for row, counts in enumerate(table)
    }

    def distance(parts: np.ndarray) -> float:
        held = np.stack([table[parts == part].sum(axis=0) for part in range(3)]) / table.sum(axis=0)
        return float((((held - shares[:, None]) ** 2) / shares[:, None]).sum())

    dealt = deal_groups(groups, list(shares), seed)
    parts = np.array([dealt[f"g{row}"] for row in range(90)])
    reached = distance(parts)
    for row in range(90):
        for part in range(3):
            moved = parts.copy()
            moved[row] = part
            assert distance(moved) >= reached - 1e-9


@pytest.mark.parametrize(
    ("yaw", "name"),
    [
        (0.0, "front"),
        (14.9, "front"),
        (-15.0, "half-left"),
        (15.0, "half-right"),
        (44.9, "half-right"),
        (-45.0, "left"),
        (80.0, "right"),
    ],
)
def test_a_pose_falls_into_a_bin_by_its_yaw(yaw, name):
    assert pose_bin(Face((0, 0, 1, 1), 1.0, Wearing.MASKED, "d@1", pose_deg=(yaw, 70.0, 70.0))) == name
    assert pose_bin(Face((0, 0, 1, 1), 1.0, Wearing.MASKED, "d@1")) == "unknown"


def test_trials_are_other_draws_of_the_same_shares():
    samples = rich_samples(600, 3)
    draws = [run(samples, SplitSettings(trial=trial)) for trial in range(5)]
    assert draws[0] == run(samples)
    for one, other in itertools.pairwise(draws):
        assert sum(one[key] is not other[key] for key in one) > 100
    tests = [{key for key, split in draw.items() if split is Split.TEST} for draw in draws]
    for draw, test in zip(draws, tests, strict=True):
        assert len(test) == 60
        assert max(deviations(samples, draw, [0.8, 0.1, 0.1]).values()) < 0.05
    assert len(set.union(*tests)) > 200


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 7), st.integers(8, 40), st.integers(0, 4), st.sampled_from(["misa", "abanet"]))
def test_every_sample_is_in_the_test_split_of_exactly_one_fold(folds, groups, trial, preset):
    samples = random_samples(groups, seed=groups)
    samples[0] = dataclasses.replace(samples[0], split=Split.VAL)
    seen: Counter[str] = Counter()
    for fold in range(folds):
        asked = SplitSettings(preset=preset, folds=folds, fold=fold, trial=trial)
        splits = run(samples, asked)
        assert Split.UNASSIGNED not in splits.values()
        for group in {item.group for item in samples}:
            assert len({splits[item.id] for item in samples if item.group == group}) == 1
        seen.update(key for key, split in splits.items() if split is Split.TEST)
        assert {Split.TRAIN, Split.TEST} <= set(splits.values())
    assert seen == Counter(item.id for item in samples)


def test_folds_are_even_and_the_rest_is_train_and_val_by_their_shares():
    samples = rich_samples(1000, 4)
    for fold in range(5):
        splits = run(samples, SplitSettings(folds=5, fold=fold))
        # 8:1 of the four fifths that are left.
        assert max(deviations(samples, splits, [32 / 45, 4 / 45, 1 / 5]).values()) < 0.03


def test_more_folds_than_groups_are_refused():
    with pytest.raises(DataError, match="3 groups cannot be dealt to 4 folds"):
        run([sample(i, f"g{i % 3}") for i in range(9)], SplitSettings(folds=4))


def test_absolute_numbers_of_labelled_faces_are_met_exactly_and_train_takes_the_rest():
    samples = rich_samples(900, 6)
    face = samples[0].faces[0]
    samples = [
        dataclasses.replace(one, faces=(face,) * (1 + number % 3)) for number, one in enumerate(samples)
    ]
    total = sum(len(one.faces) for one in samples if one.is_labelled)
    values = {"preset": "custom", "absolute": True, "shares": {"train": 400, "val": 211, "test": 97}}
    splits = run(samples, parse_settings(SplitSettings, values, "test"))
    faces = Counter()
    for one in samples:
        faces[splits[one.id]] += len(one.faces) * one.is_labelled
    assert faces == {Split.VAL: 211, Split.TEST: 97, Split.TRAIN: total - 308}
    placed = [dataclasses.replace(one, split=splits[one.id]) for one in samples]
    figures = split_figures(placed, parse_settings(SplitSettings, values, "test"))
    assert figures.deviation < 0.03

    few = parse_settings(SplitSettings, {**values, "shares": {"train": 8000, "val": 1000, "test": 1000}}, "t")
    assert run(samples, few) == run(samples)
