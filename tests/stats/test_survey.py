"""One pass finds the proposals that belong to what people judged, and says what it could not use."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dataset_tools.core.images import ImageStore
from dataset_tools.stats.gallery import gallery_section
from dataset_tools.stats.opinions import Prediction
from dataset_tools.stats.survey import make_survey

SIDE = 48


@pytest.fixture(scope="module")
def stored(large):
    """(chain, images, samples) of the larger dataset."""
    from dataset_tools.core.manifest import Manifest

    root = large[0].parent.parent
    chain = {name: Manifest(root / "manifests" / name) for name in ("prelabel", "split")}
    return chain, ImageStore(root), large[2]


def test_every_reviewed_photo_meets_its_own_proposal(stored):
    survey = make_survey(stored[0], 1000)
    reviewed = {item.id for item in stored[2] if not item.is_synthetic}
    assert survey.noise.suspects.keys() == reviewed
    assert (survey.evidence.from_proposals, survey.evidence.from_predictions) == (60, 0)
    assert sum(item.label_px for item in survey.noise.suspects.values()) == sum(
        item.instances[0].mask.area_px for item in stored[2] if item.id in reviewed
    )


def test_without_the_prelabel_stage_there_is_no_evidence(stored):
    survey = make_survey({"split": stored[0]["split"]}, 1000)
    assert survey.noise.suspects == {}
    assert survey.evidence.from_proposals == 0


def test_saved_predictions_come_before_proposals_and_count_for_rendered_pictures_too(stored):
    rendered = next(item for item in stored[2] if item.is_synthetic)
    photo = next(item for item in stored[2] if not item.is_synthetic)

    def read(sample):
        if sample.id not in (rendered.id, photo.id):
            return []
        return [Prediction((0, 0, SIDE, SIDE), np.zeros((SIDE, SIDE)), "unet@2")]

    survey = make_survey(stored[0], 1000, read)
    assert (survey.evidence.from_predictions, survey.evidence.from_proposals) == (2, 59)
    assert "unet@2" in survey.evidence.models
    assert survey.noise.suspects[rendered.id].extra_px == rendered.instances[0].mask.area_px


def test_a_prediction_that_does_not_fit_is_told_and_the_rest_goes_on(stored):
    spoilt = stored[2][0].id

    def read(sample):
        return [Prediction((0, 0, 5, 5), np.zeros((3, 3)), "unet@2")] if sample.id == spoilt else []

    survey = make_survey(stored[0], 1000, read)
    assert list(survey.evidence.unreadable) == [spoilt]
    assert len(survey.noise.suspects) == 59


def test_a_page_of_too_many_pictures_says_how_many_it_shows(stored):
    survey = make_survey(stored[0], 50)
    assert len(survey.entries) == 50
    section = gallery_section(survey.entries, survey.facts.pictures, survey.noise, stored[1])
    assert "50 of 90 pictures: those on which label and model differ most" in section
    (pictures,) = re.findall(r'<script type="text/plain" class="pictures">([^<]*)</script>', section)
    assert len(pictures.split("\n")) == 50
    assert {stored[2][number].id for number in (3, 31)} <= {entry.sample_id for entry in survey.entries}
