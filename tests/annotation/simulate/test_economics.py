"""The whole loop on a few small pictures, with a model that gets better with every label bought."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from annotation.prelabel.proposer import BoxXyxy, Proposal, Proposer
from annotation.simulate.economics import Simulation, divide, quality, simulate
from annotation.simulate.errors import ErrorModel, displaced
from annotation.simulate.settings import SimulationSettings
from annotation.simulate.table import to_markdown, to_values
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import canonical_json
from dataset_tools.core.images import ImageStore, RgbImage
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.record import Instance, Provenance, Sample, sample_id

COUNT = 20
STEADY = ErrorModel(boundary_px=0, miss_hole=0, miss_instance=0, wrong_choice=0, wrong_class=0, laziness=0)


@pytest.fixture
def dataset(store: ImageStore) -> tuple[Sample, ...]:
    """Grey pictures with a bright ellipse, its truth beside it; two pictures a group."""
    found = []
    y, x = np.mgrid[:80, :90]
    for number in range(COUNT):
        mask = ((x - 40 - number % 7) / 26) ** 2 + ((y - 40 + number % 5) / (18 + number % 3)) ** 2 < 1
        rgb = np.full((80, 90, 3), 40 + number, dtype=np.uint8)
        rgb[mask] = 200
        image = store.put_array(rgb)
        chosen = (("mask_type", ("cloth", "surgical")[number % 2]),)
        attributes = chosen if number % 3 == 0 else ()
        truth = Instance("t", Label.FACE_MASK, mask_to_rle(mask), "published:x", attributes=attributes)
        found.append(
            Sample(
                id=sample_id(image),
                image=image,
                provenance=Provenance("folder", f"{number:02}.png", "CC0-1.0"),
                group=f"g{number // 2}",
                instances=(truth,),
                is_labelled=True,
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class Bright:
    """Finds what is bright; its outlines are off by less the more it has learned from."""

    learned: int
    name: str = "bright"

    @property
    def version(self) -> str:
        return str(self.learned)

    def propose(self, images: Sequence[RgbImage], boxes: Sequence[Sequence[BoxXyxy]]) -> list[list[Proposal]]:
        answers = []
        for rgb in images:
            rng = np.random.default_rng(int(rgb[0, 0, 0]))
            mask = displaced(rgb[..., 0] > 150, 8.0 / (1 + self.learned), 0.0, rng)
            answers.append([Proposal(Label.FACE_MASK, mask.astype(np.float32))])
        return answers


def after(bought: Sequence[Sample]) -> Proposer:
    return Bright(len(bought))


def run(samples: Sequence[Sample], store: ImageStore, seed: int = 0, **changes: object) -> Simulation:
    settings = SimulationSettings.model_validate({"bought": (0, 2, 8, 200), **changes})
    return simulate(samples, store, after, settings, seed)


def with_choices(dataset: Sequence[Sample]) -> int:
    """Pictures under review whose mask has a type."""
    review, _ = divide(dataset, 0.45, 0)
    return sum(bool(sample.instances[0].attributes) for sample in review)


def test_the_loop_shows_what_labels_bought_are_worth(dataset: tuple[Sample, ...], store: ImageStore) -> None:
    found = run(dataset, store)
    assert found.to_buy == COUNT - 10  # 9 of 20 asked, and groups of two stay together
    assert found.too_many == (200,)
    assert [row.bought for row in found.rows] == [0, 2, 8]
    assert {row.pictures for row in (found.control, *found.rows)} == {10}
    none, some, many = found.rows
    assert none.proposal_iou < some.proposal_iou < many.proposal_iou
    assert none.unchanged <= some.unchanged < many.unchanged
    assert none.strokes > some.strokes > many.strokes
    assert none.minutes > some.minutes > many.minutes
    assert math.isnan(found.control.proposal_iou)
    assert (found.control.strokes_saved, found.control.minutes_saved) == (0.0, 0.0)
    for row in found.rows:
        assert row.minutes_saved == pytest.approx(1 - row.minutes / found.control.minutes)
        assert row.job_saved == pytest.approx(row.minutes_saved * (1 - (row.bought or 0) / 1000))
        assert row.final_iou > 0.9


def test_perfect_people_paint_the_truth_and_nothing_is_contested(
    dataset: tuple[Sample, ...], store: ImageStore
) -> None:
    perfect = STEADY.model_copy(update={"eye": 1.0})
    found = run(dataset, store, annotators=(perfect, perfect), bought=(0,))
    control, row = found.control, found.rows[0]
    assert (control.final_iou, control.final_boundary_iou) == (1.0, 1.0)
    assert (control.contested, control.adjudicated, control.strokes) == (0.0, 0, 8.0)
    # Two people, each 79 s and a click where there is a mask type to say.
    clicks = with_choices(dataset)
    assert clicks > 0
    assert control.minutes == pytest.approx(2 * (79 * 10 + 1.4 * clicks) / 60 * 10)
    assert control.kappa_choices == 1.0
    assert row.final_iou > row.proposal_iou
    assert row.contested == 0.0


def test_what_people_disagree_about_goes_to_the_adjudicator(
    dataset: tuple[Sample, ...], store: ImageStore
) -> None:
    wrong = STEADY.model_copy(update={"wrong_choice": 1.0})
    found = run(dataset, store, annotators=(STEADY, wrong), adjudicator=STEADY, bought=(0,))
    count = with_choices(dataset)
    assert found.control.adjudicated == count > 0
    assert found.control.contested == count / 10
    # The adjudicator looks at both drawings, takes up the right one, and submits.
    people, adjudicator = 2 * (79 * 10 + 1.4 * count), (2 * 5.0 + 1.4) * count
    assert found.control.minutes == pytest.approx((people + adjudicator) / 60 * 10)
    assert found.control.kappa_choices <= 0
    assert found.control.final_iou == 1.0


def test_the_lazy_keep_the_proposals_faults(dataset: tuple[Sample, ...], store: ImageStore) -> None:
    lazy = STEADY.model_copy(update={"laziness": 1.0})
    found = run(dataset, store, annotators=(lazy, lazy), bought=(0,))
    (row,) = found.rows
    assert (row.unchanged, row.strokes, row.contested) == (1.0, 0.0, 0.0)
    assert row.final_iou == pytest.approx(row.proposal_iou)
    assert found.control.final_iou == 1.0


def test_the_same_seed_gives_the_same_table_whatever_the_order(
    dataset: tuple[Sample, ...], store: ImageStore
) -> None:
    settings = SimulationSettings(bought=(0, 2, 8, 200))
    first, again, other = run(dataset, store), run(dataset[::-1], store), run(dataset, store, seed=1)
    values = [canonical_json(to_values({"m": found}, settings)) for found in (first, again, other)]
    assert values[0] == values[1] != values[2]


def test_the_table_says_what_was_left_out_and_that_people_are_models(
    dataset: tuple[Sample, ...], store: ImageStore
) -> None:
    found = run(dataset, store)
    text = to_markdown({"bright@0": found}, SimulationSettings())
    assert "| 200 | left out: only 10 to buy |" in text
    assert "| from nothing | 10 | – | – |" in text
    assert "no person was timed" in text
    assert "dataset of 1,000 pictures" in text
    assert "- annotator 2: boundary_px 1.4, bias_px -0.3," in text
    assert "- time: look_s 5, stroke_s 8.9, click_s 1.4" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {16}


def test_a_picture_that_is_gone_is_in_no_row_and_is_named(
    dataset: tuple[Sample, ...], store: ImageStore
) -> None:
    review, _ = divide(dataset, 0.45, 0)
    (store.root / review[0].image.path).unlink()
    found = run(dataset, store)
    assert {row.pictures for row in (found.control, *found.rows)} == {9}
    assert [item.sample_id for item in found.unreadable] == [review[0].id]
    assert review[0].provenance.item_key in to_markdown({"m": found}, SimulationSettings())


def test_review_and_stock_share_no_group_and_lose_nothing(dataset: tuple[Sample, ...]) -> None:
    unlabelled = replace(dataset[0], id="f" * 32, group="new", is_labelled=False)
    review, stock = divide([*dataset, unlabelled], 0.3, 5)
    assert {one.group for one in review}.isdisjoint(one.group for one in stock)
    assert sorted(one.id for one in (*review, *stock)) == sorted(one.id for one in dataset)
    assert len(review) == 6
    with pytest.raises(DataError, match="a simulation needs the truth"):
        divide([unlabelled], 0.5, 0)


def test_quality_is_the_mean_over_labels_in_use(dataset: tuple[Sample, ...]) -> None:
    (mask,) = dataset[0].instances
    face = replace(mask, id="f", label=Label.FACE)
    size_hw = mask.mask.size_hw
    assert quality((mask,), (mask, face), size_hw) == (0.5, 0.5)
    assert quality((), (), size_hw) == (1.0, 1.0)
    half = rle_to_mask(mask.mask)
    half[: size_hw[0] // 2] = False
    overlap, boundary = quality((replace(mask, mask=mask_to_rle(half)),), (mask,), size_hw)
    assert overlap == pytest.approx(half.sum() / mask.mask.area_px)
    assert 0 < boundary < 1


@dataclass(frozen=True)
class Talkative(Bright):
    """Proposes a label, too, that nobody asked about."""

    def propose(self, images: Sequence[RgbImage], boxes: Sequence[Sequence[BoxXyxy]]) -> list[list[Proposal]]:
        whole = Proposal(Label.FACE, np.ones(images[0].shape[:2], dtype=np.float32))
        return [[*found, whole] for found in Bright(self.learned).propose(images, boxes)]


def test_proposals_of_labels_that_nobody_asked_about_are_not_shown(dataset, store: ImageStore) -> None:
    settings = SimulationSettings(bought=(0, 2))
    found = simulate(dataset, store, lambda bought: Talkative(len(bought)), settings)
    silent_about_it = run(dataset, store, bought=(0, 2))
    assert repr(found.rows) == repr(silent_about_it.rows)  # not a number is not itself
