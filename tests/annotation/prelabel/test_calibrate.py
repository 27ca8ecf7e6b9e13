"""Curves against scikit-learn, and which pictures and truths they are fitted to."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from annotation.prelabel.calibrate import (
    MIN_PROPOSALS,
    Calibration,
    Curve,
    Rated,
    calibrate,
    calibration_error,
    held_out_errors,
    isotonic_knots,
    rank_correlation,
    rate_proposals,
    read_calibration,
    write_calibration,
)
from annotation.prelabel.proposer import Proposal, Seen
from dataset_tools.core.errors import DataError
from dataset_tools.core.labels import Label
from dataset_tools.core.record import ReviewState

shares = st.floats(0, 1, allow_subnormal=False).map(lambda value: round(value, 6))


@given(st.lists(st.tuples(shares, shares), min_size=1, max_size=60))
def test_the_curve_is_that_of_scikit_learn(points):
    expected, real = (np.array(values) for values in zip(*points, strict=True))
    reference = IsotonicRegression(out_of_bounds="clip").fit(expected, real)
    knots = isotonic_knots(expected.tolist(), real.tolist())
    assert (np.diff(knots[0]) > 0).all() and (np.diff(knots[1]) >= 0).all()
    asked = np.concatenate([np.linspace(-0.1, 1.1, 101), expected])
    np.testing.assert_allclose(np.interp(asked, *knots), reference.predict(asked), atol=1e-9, rtol=0)


def test_the_curve_of_many_noisy_points_is_that_of_scikit_learn():
    rng = np.random.default_rng(5)
    expected = rng.random(2000).round(2)
    real = np.clip(expected**2 + rng.normal(0, 0.2, 2000), 0, 1)
    reference = IsotonicRegression(out_of_bounds="clip").fit(expected, real)
    asked = np.linspace(0, 1, 997)
    found = np.interp(asked, *isotonic_knots(expected.tolist(), real.tolist()))
    np.testing.assert_allclose(found, reference.predict(asked), atol=1e-9, rtol=0)


def test_calibration_error_by_hand():
    # Bin 0.8-0.9 holds two: mean gap |0.8+0.84-0.5-0.7|/2 = 0.22; bin 0.2-0.3 one: 0.25.
    confidence, real = [0.8, 0.84, 0.25], [0.5, 0.7, 0.5]
    assert calibration_error(confidence, real) == pytest.approx((0.44 + 0.25) / 3)
    assert calibration_error([1.0, 0.0], [1.0, 0.0]) == 0.0
    assert math.isnan(calibration_error([], []))


def rated(expected: float, real: float, group: str) -> Rated:
    return Rated(Label.FACE_MASK, expected, real, group, False)


def test_errors_are_measured_on_groups_that_the_curve_has_not_seen():
    rng = np.random.default_rng(1)
    points = [rated(value, 0.5 * value, f"person{index}") for index, value in enumerate(rng.random(400))]
    before, after = held_out_errors(points, 0)
    assert before == pytest.approx(0.25, abs=0.02)
    assert after < 0.01
    assert held_out_errors([rated(0.5, 0.5, "one"), rated(0.6, 0.5, "one")], 0) is None


def test_on_pure_noise_calibration_finds_the_mean_and_nothing_else():
    rng = np.random.default_rng(2)
    points = [rated(*rng.random(2), f"person{index}") for index in range(400)]
    before, after = held_out_errors(points, 0)
    assert before > 0.2 > 0.1 > after


class BoxProposer:
    """Proposes the box in the picture's middle, sure of what it is told."""

    name = "box"
    version = "1"

    def __init__(self, seen=None, labels=(Label.FACE_MASK,)):
        if seen is not None:
            self.seen = seen
        self.labels = labels
        self.asked = 0

    def propose(self, images, boxes):
        self.asked += len(images)
        return [
            [
                Proposal(label, self._map(rgb), face)
                for face in (range(len(own)) if own else (-1,))
                for label in self.labels
            ]
            for rgb, own in zip(images, boxes, strict=True)
        ]

    def _map(self, rgb):
        found = np.zeros(rgb.shape[:2], np.float32)
        found[120:170, 70:130] = 0.9
        return found


@pytest.fixture
def labelled(make_sample):
    """Labelled samples, each of a group of its own; rendered ones have a parent."""

    def make(count, *, start=0, is_rendered=False, **changes):
        found = []
        for sample in map(make_sample, range(start, start + count)):
            truth = dataclasses.replace(
                sample.instances[0], drawn_by="human:a", confidence=None, attributes=()
            )
            source = "synth" if is_rendered else "folder"
            parent = f"parent{sample.id}" if is_rendered else ""
            provenance = dataclasses.replace(sample.provenance, source=source, parent_id=parent)
            values = {
                "instances": (truth,),
                "is_labelled": True,
                "group": f"group-{sample.id}",
                "provenance": provenance,
            }
            found.append(dataclasses.replace(sample, **values | changes))
        return found

    return make


def test_photos_that_suffice_are_preferred_to_rendered_pictures(labelled, store):
    photos, rendered = labelled(20), labelled(12, start=20, is_rendered=True)
    proposer = BoxProposer()
    (curve,) = calibrate(proposer, [*rendered, *photos], store, limit=100, seed=0).curves
    assert (curve.on_collected, curve.on_rendered, proposer.asked) == (20, 0, 20)
    (mixed,) = calibrate(BoxProposer(), [*rendered, *photos[:10]], store, limit=100, seed=0).curves
    assert (mixed.on_collected, mixed.on_rendered) == (10, 12)


def test_the_curve_says_the_real_overlap(labelled, store):
    (curve,) = calibrate(BoxProposer(), labelled(20), store, limit=100, seed=0).curves
    # The box of 50x60 against an ellipse with a hole: some 0.7 overlap, of 0.9 that the model expects.
    assert curve.expected == (0.9,)
    assert 0.4 < curve.at(0.9) == curve.at(0.1) < 0.8
    assert curve.error_after < curve.error_before


def test_too_few_proposals_give_no_curve_and_one_line(labelled, store, caplog):
    caplog.set_level("INFO")
    found = calibrate(BoxProposer(), labelled(MIN_PROPOSALS - 1), store, limit=100, seed=0)
    assert found == Calibration()
    assert found.rate(Label.FACE_MASK, 0.7) == (0.7, "expected_iou")
    assert [record.message for record in caplog.records] == [
        "no calibration of face_mask: 19 proposals to compare, 20 needed"
    ]


def test_what_the_model_learned_from_its_groups_and_relatives_are_left_out(labelled, store):
    samples = labelled(26)
    learned = {
        samples[0].id,
        samples[1].group,
        samples[2].image.sha256,
        samples[3].id,
        "parent-of-four",
        samples[5].group,
    }
    child = dataclasses.replace(samples[4].provenance, parent_id="parent-of-four")
    samples[4] = dataclasses.replace(samples[4], provenance=child)
    proposer = BoxProposer(Seen(frozenset(learned)))
    (curve,) = calibrate(proposer, samples, store, limit=100, seed=0).curves
    assert proposer.asked == curve.on_collected + curve.on_rendered == 20


def test_pictures_of_validation_come_last_and_only_the_limit_is_looked_at(labelled, store):
    samples = labelled(30)
    looked_at: list[int] = []

    class Noting(BoxProposer):
        def propose(self, images, boxes):
            looked_at.extend(rgb.shape[1] for rgb in images)  # make_sample's pictures differ in width
            return super().propose(images, boxes)

    chosen_on = frozenset(sample.id for sample in samples[:15])
    (curve,) = calibrate(Noting(Seen(chosen_on=chosen_on)), samples, store, limit=22, seed=0).curves
    assert curve.on_collected == 22
    widths = {sample.image.size_hw[1] for sample in samples[15:]}
    assert set(looked_at[:15]) == widths and not set(looked_at[15:]) & widths


def test_the_draw_and_the_curve_depend_on_the_seed_and_not_on_the_order(labelled, store):
    samples = labelled(40)
    one = calibrate(BoxProposer(), samples, store, limit=25, seed=3)
    assert calibrate(BoxProposer(), samples[::-1], store, limit=25, seed=3).summary() == one.summary()
    assert calibrate(BoxProposer(), samples, store, limit=25, seed=4).summary() != one.summary()


def test_unlabelled_samples_and_proposals_are_no_truth(labelled, make_sample, store):
    unlabelled = [make_sample(number) for number in range(25)]
    assert calibrate(BoxProposer(), unlabelled, store, limit=100, seed=0) == Calibration()
    mixed = labelled(20)
    proposal = make_sample().instances[0]
    mixed[0] = dataclasses.replace(mixed[0], instances=(*mixed[0].instances, proposal))
    plain = calibrate(BoxProposer(), labelled(20), store, limit=100, seed=0)
    assert calibrate(BoxProposer(), mixed, store, limit=100, seed=0) == plain


def test_an_empty_truth_counts_as_missed_and_an_undrawn_label_does_not_count(labelled, store):
    samples = labelled(30)
    bare = [dataclasses.replace(sample, instances=()) for sample in samples[:10]]
    proposer = BoxProposer(labels=(Label.FACE_MASK, Label.FACE))
    (curve,) = calibrate(proposer, [*bare, *samples[10:]], store, limit=100, seed=0).curves
    (full,) = calibrate(BoxProposer(), samples[10:], store, limit=100, seed=0).curves
    assert curve.label is Label.FACE_MASK and curve.on_collected == 30
    assert curve.at(0.9) == pytest.approx(full.at(0.9) * 20 / 30, abs=1e-2)


def test_a_truth_that_could_belong_to_either_face_is_not_used(labelled, store):
    samples = labelled(25)
    face = samples[0].faces[0]
    homeless = dataclasses.replace(samples[0].instances[0], face=-1)
    two = [dataclasses.replace(sample, faces=(face, face), instances=(homeless,)) for sample in samples[:3]]
    (curve,) = calibrate(BoxProposer(), [*two, *samples[3:]], store, limit=100, seed=0).curves
    assert curve.on_collected == 22


def test_a_picture_that_is_gone_is_left_out_and_said(labelled, store, caplog):
    samples = labelled(21)
    store.path(samples[7].image).unlink()
    (curve,) = calibrate(BoxProposer(), samples, store, limit=100, seed=0).curves
    assert curve.on_collected == 20
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_calibration_survives_the_disk_exactly(labelled, store, tmp_path):
    made = calibrate(BoxProposer(), labelled(20), store, limit=100, seed=0)
    write_calibration(tmp_path / "c.json", made)
    assert read_calibration(tmp_path / "c.json") == made
    assert made.summary()["curves"][0]["label"] == "face_mask"
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(DataError, match="not a calibration"):
        read_calibration(tmp_path / "c.json")


def test_reviewed_samples_count_as_photos(labelled, store):
    samples = labelled(20)
    review = dataclasses.replace(samples[0].review, state=ReviewState.CORRECTED)
    reviewed = [dataclasses.replace(sample, review=review) for sample in samples]
    (curve,) = calibrate(BoxProposer(), reviewed, store, limit=100, seed=0).curves
    assert curve.on_collected == 20


def test_rank_correlation_is_spearmans_with_ties():
    rng = np.random.default_rng(4)
    first = np.round(rng.random(60), 1)
    second = first + np.round(rng.normal(0, 0.3, 60), 1)
    assert rank_correlation(first, second) == pytest.approx(scipy.stats.spearmanr(first, second).statistic)
    assert rank_correlation([0.1, 0.2, 0.9], [1, 5, 6]) == pytest.approx(1.0)
    assert rank_correlation([0.1, 0.2, 0.9], [3, 2, 1]) == pytest.approx(-1.0)


@pytest.mark.parametrize(("first", "second"), [([], []), ([1], [2]), ([1, 1, 1], [1, 2, 3])])
def test_series_that_do_not_vary_have_no_rank_correlation(first, second):
    assert np.isnan(rank_correlation(first, second))


def test_proposals_are_rated_on_all_labelled_pictures_that_were_not_learned_from(labelled, store):
    samples = labelled(5)
    seen = Seen(learned=frozenset({samples[0].group}))
    found = rate_proposals(BoxProposer(seen), samples, store)
    assert len(found) == 4
    assert all(one.expected == 0.9 and 0.4 < one.real < 0.8 for one in found)


def brought(label, real):
    return Curve(
        label=label,
        expected=(0.5,),
        real=(real,),
        on_collected=30,
        on_rendered=0,
        error_before=None,
        error_after=None,
    )


def test_a_curve_from_elsewhere_serves_labels_that_have_none_at_hand():
    own = Calibration(curves=(brought(Label.FACE_MASK, 0.8),))
    other = Calibration(curves=(brought(Label.FACE_MASK, 0.1), brought(Label.FACE, 0.2)))
    both = own.backed_by(other)
    assert both.rate(Label.FACE_MASK, 0.5) == (0.8, "calibrated")
    assert both.rate(Label.FACE, 0.5) == (0.2, "calibrated_elsewhere")
    assert both.rate(Label.STRAP, 0.5) == (0.5, "expected_iou")
    assert both.summary()["sha256"] != own.summary()["sha256"]
    assert "elsewhere" not in own.summary()
