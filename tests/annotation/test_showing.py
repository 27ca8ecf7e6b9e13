from __future__ import annotations

import dataclasses

import pytest

from annotation.settings import ReviewSettings
from annotation.showing import choose
from annotation.verdict import Role
from dataset_tools.core.record import Review, ReviewState

NO_GOLD = ReviewSettings(gold_share=0)


def copies(sample, count, **changes):
    return [dataclasses.replace(sample, id=f"{number:032x}", **changes) for number in range(count)]


def rendered(sample, count):
    provenance = dataclasses.replace(sample.provenance, parent_id=sample.id)
    return copies(sample, count, is_labelled=True, provenance=provenance)


def ids(showing):
    return [sample.id for sample in showing.samples]


def test_labelled_and_already_reviewed_samples_are_not_shown(make_sample):
    reviewed = make_sample(1, review=Review(ReviewState.ACCEPTED))
    published = make_sample(2, is_labelled=True)
    plain = make_sample(3)
    assert choose([reviewed, published, plain], NO_GOLD, seed=0).samples == (plain,)


def test_the_share_of_rendered_samples_is_drawn_by_seed_and_sample_alone(make_sample):
    samples = rendered(make_sample(), 2000)
    settings = ReviewSettings(synthetic_share=0.1, gold_share=0)
    drawn = ids(choose(samples, settings, seed=7))
    assert 150 < len(drawn) < 250
    assert drawn == ids(choose(samples[::-1], settings, seed=7))
    assert set(drawn) != set(ids(choose(samples, settings, seed=8)))
    assert not choose(samples, ReviewSettings(synthetic_share=0, gold_share=0), seed=7).samples


def test_gold_samples_are_slipped_in_with_a_flawed_proposal_that_says_nothing_of_it(make_sample):
    plain = copies(make_sample(), 40)
    known = [
        dataclasses.replace(item, id=f"f{item.id[1:]}", is_labelled=True)
        for item in copies(make_sample(), 10)
    ]
    showing = choose([*plain, *known], ReviewSettings(gold_share=0.1), seed=3)
    assert len(showing.truths) == 4
    assert len(showing.samples) == 44
    for sample in showing.samples:
        if sample.id in showing.truths:
            truth = showing.truths[sample.id]
            assert showing.role_of(sample.id) is Role.GOLD
            assert sample.instances[0].mask != truth.instances[0].mask
            assert truth.instances[0].mask == make_sample().instances[0].mask
        else:
            assert showing.role_of(sample.id) is Role.ANNOTATOR
    models = {item.drawn_by for sample in showing.samples for item in sample.instances}
    assert models == {make_sample().instances[0].drawn_by}
    assert choose([*known[::-1], *plain], ReviewSettings(gold_share=0.1), seed=3) == showing


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_there_are_never_more_gold_samples_than_known_truths(make_sample, share):
    known = make_sample(1, is_labelled=True)
    showing = choose([make_sample(), known], ReviewSettings(gold_share=share), seed=0)
    assert len(showing.truths) == (1 if share else 0)


def test_no_name_or_label_tells_a_gold_sample_from_a_proposal(make_sample):
    sample = make_sample(1, is_labelled=True)
    told = [
        dataclasses.replace(item, id=f"face_mask-{number}", drawn_by="published:x", confidence=None)
        for number, item in enumerate(sample.instances)
    ]
    only_mask = make_sample()
    only_mask = dataclasses.replace(only_mask, instances=only_mask.instances[:1])
    known = dataclasses.replace(sample, instances=tuple(told))
    showing = choose([only_mask, known], ReviewSettings(gold_share=1), seed=0)
    (gold,) = [item for item in showing.samples if item.id in showing.truths]
    assert [(item.id, item.label, item.attributes) for item in gold.instances] == [
        ("proposal-face0-face_mask", only_mask.instances[0].label, ())
    ]
    assert gold.instances[0].confidence is not None
