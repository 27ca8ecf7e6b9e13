"""What models said is counted against what people left, pixel by pixel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dataset_tools.core.errors import MaskShapeError
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.record import ImageRef, Instance, Provenance, Review, ReviewState, Sample
from dataset_tools.stats.opinions import (
    Prediction,
    is_judged,
    mask_proposals,
    opinion_of_predictions,
    opinion_of_proposals,
)


def block(columns: slice) -> np.ndarray:
    mask = np.zeros((4, 10), dtype=bool)
    mask[:, columns] = True
    return mask


def instance(columns: slice, drawn_by: str = "human:a", confidence: float | None = None) -> Instance:
    return Instance(drawn_by, Label.FACE_MASK, mask_to_rle(block(columns)), drawn_by, confidence)


def sample(*instances: Instance) -> Sample:
    return Sample(
        "a" * 32,
        ImageRef("a" * 64, (4, 10), "png"),
        Provenance("s", "k", "CC0-1.0"),
        "g",
        instances=instances,
        review=Review(ReviewState.CORRECTED),
        is_labelled=True,
    )


def table(opinion) -> dict[float, tuple[int, int]]:
    counts = opinion.counts
    return {
        round(float(value), 4): tuple(column)
        for value, column in zip(counts.probability, counts.pixels.T.tolist(), strict=True)
    }


def test_a_proposal_is_as_probable_as_the_dice_that_its_confidence_stands_for():
    # IoU 0.6 is Dice 0.75: of 20 proposed pixels 5 are expected to be wrong, so 5 of the others are missing.
    opinion = opinion_of_proposals(sample(instance(slice(2, 6))), [instance(slice(0, 5), "model:m@1", 0.6)])
    assert table(opinion) == {0.75: (8, 12), 0.25: (16, 4)}
    assert (rle_to_mask(opinion.seen_as_mask) == block(slice(0, 5))).all()
    assert opinion.made_by == ("model:m@1",)


def test_where_proposals_overlap_the_more_probable_counts():
    opinion = opinion_of_proposals(
        sample(instance(slice(0, 10))),
        [instance(slice(0, 4), "model:m@1", 0.6), instance(slice(2, 6), "model:n@1", 1.0)],
    )
    assert table(opinion) == {1.0: (0, 16), 0.75: (0, 8), 0.25: (0, 16)}
    assert opinion.disagreement == pytest.approx(1 - 24 / 40)


def test_a_sure_proposal_that_people_left_alone_agrees():
    opinion = opinion_of_proposals(sample(instance(slice(0, 5))), [instance(slice(0, 5), "model:m@1", 1.0)])
    assert table(opinion) == {1.0: (0, 20), 0.0: (20, 0)}
    assert opinion.disagreement == 0


@pytest.mark.parametrize("turn", [1, -1])
def test_predictions_are_counted_where_they_lie_and_nowhere_else(turn):
    left = Prediction((0, 0, 4, 4), np.full((4, 4), 0.2), "unet@1")
    right = Prediction((3, 0, 6, 4), np.full((4, 3), 0.8), "unet@1")
    opinion = opinion_of_predictions(sample(instance(slice(2, 5))), [left, right][::turn])
    assert table(opinion) == {0.2: (8, 4), 0.8: (4, 8)}
    assert (rle_to_mask(opinion.seen_as_mask) == block(slice(3, 6))).all()


def test_a_prediction_that_does_not_fill_its_box_is_refused():
    with pytest.raises(MaskShapeError):
        opinion_of_predictions(sample(), [Prediction((0, 0, 4, 4), np.zeros((3, 4)), "unet@1")])


def test_only_photos_that_people_decided_on_are_judged():
    photo = sample()
    assert is_judged(photo)
    assert not is_judged(dataclasses.replace(photo, review=Review()))
    assert not is_judged(dataclasses.replace(photo, is_labelled=False))
    rendered = dataclasses.replace(photo.provenance, parent_id="b" * 32)
    assert not is_judged(dataclasses.replace(photo, provenance=rendered))


def test_only_proposed_face_masks_are_opinions_on_face_masks():
    face = dataclasses.replace(instance(slice(0, 2), "model:m@1", 0.5), label=Label.FACE)
    mask = instance(slice(0, 2), "model:m@1", 0.5)
    assert mask_proposals(sample(face, mask, instance(slice(0, 2)))) == (mask,)
