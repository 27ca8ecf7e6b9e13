"""Masks drawn while training: new ones for new seeds, the same for the same, with exact labels."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import DecodedPhoto
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.progress import silent
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Provenance, Sample, sample_id
from dataset_tools.core.workspace import Workspace
from synth.dress import dress_photo, hard
from synth.fresh import FreshMasks
from synth.resources import NOTHING
from synth.settings import SynthSettings
from synth.stage import SynthStage

SETTINGS = SynthSettings(mask_types={"surgical": 0.5, "cloth": 0.5}, wearing_states={"correct": 1.0})


@pytest.fixture(scope="module")
def rendered(hopper, astronaut, tmp_path_factory):
    """Two photos, their rendered children, and the store."""
    images = Workspace(tmp_path_factory.mktemp("fresh")).images
    photos = []
    for name, portrait in (("hopper", hopper.shrunk(0.5)), ("astronaut", astronaut.shrunk(0.7))):
        image = images.put_photo(DecodedPhoto(portrait.rgb, None))
        origin = Provenance("photos", name, "CC0-1.0")
        photos.append(Sample(sample_id(image), image, origin, name, faces=(portrait.face,)))
    stage = SynthStage(SETTINGS, seed=3)
    with silent("", None) as bar:
        samples = list(stage.run(photos, plan=None, images=images, progress=bar))
    assert [item for item in samples if not isinstance(item, Sample)] == []
    assert len(samples) == 4
    return stage, samples, images


def children(samples) -> list[Sample]:
    return [sample for sample in samples if sample.is_synthetic]


def test_every_rendered_sample_can_be_drawn_and_photos_cannot(rendered):
    stage, samples, images = rendered
    fresh = FreshMasks(stage, samples, images)
    assert set(fresh.sample_ids) == {child.id for child in children(samples)}


def test_another_seed_gives_another_mask_and_the_same_seed_the_same_bytes(rendered):
    stage, samples, images = rendered
    fresh = FreshMasks(stage, samples, images)
    for child in children(samples):
        one, again, other = fresh.draw(child.id, 1), fresh.draw(child.id, 1), fresh.draw(child.id, 2)
        assert one.rgb.tobytes() == again.rgb.tobytes() and one.recipe == again.recipe
        assert one.rgb.shape == (*child.image.size_hw, 3)
        assert one.recipe.garments != other.recipe.garments
        assert not np.array_equal(one.rgb, other.rgb)
        assert not np.array_equal(one.rgb, images.read(child.image))


def test_labels_are_those_of_the_picture_that_was_drawn(rendered):
    stage, samples, images = rendered
    fresh = FreshMasks(stage, samples, images)
    photos = {sample.id: sample for sample in samples if not sample.is_synthetic}
    for child in children(samples):
        found = fresh.draw(child.id, 5)
        photo = photos[child.provenance.parent_id]
        (expected,) = dress_photo(images.read(photo.image), photo.faces, found.recipe, NOTHING).faces
        labels = dict(found.instances)
        assert np.array_equal(labels[Label.FACE_MASK], hard(expected.mask_alpha))
        assert np.array_equal(labels[Label.FACE], expected.skin)
        changed = (found.rgb != images.read(photo.image)).any(axis=-1)
        assert changed[labels[Label.FACE_MASK]].mean() > 0.95
        stored = {item.label: rle_to_mask(item.mask) for item in child.instances}
        assert set(stored) >= {Label.FACE_MASK, Label.FACE} and set(labels) >= {Label.FACE_MASK, Label.FACE}


def test_it_survives_the_way_to_a_worker_process(rendered):
    stage, samples, images = rendered
    fresh = FreshMasks(stage, samples, images)
    there = pickle.loads(pickle.dumps(fresh))
    child = children(samples)[0]
    assert np.array_equal(there.draw(child.id, 9).rgb, fresh.draw(child.id, 9).rgb)
    assert there.drawn_by == fresh.drawn_by


def test_its_name_changes_with_what_it_draws_and_not_with_the_stages_seed(rendered):
    stage, samples, images = rendered
    named = FreshMasks(stage, samples, images).drawn_by
    assert named.startswith(f"synth:{stage.version}:")
    assert FreshMasks(SynthStage(SETTINGS, seed=99), samples, images).drawn_by == named
    plain = SynthSettings(mask_types={"surgical": 1.0}, wearing_states={"correct": 1.0})
    assert FreshMasks(SynthStage(plain, seed=3), samples, images).drawn_by != named


def test_children_without_their_photo_are_not_offered(rendered):
    stage, samples, images = rendered
    assert list(FreshMasks(stage, children(samples), images).sample_ids) == []


def test_a_photo_that_no_mask_fits_is_a_fault_with_a_reason(rendered, tmp_path: Path):
    _, samples, images = rendered
    none_fit = SynthStage(SETTINGS.model_copy(update={"min_face_px": 5000.0}), seed=3)
    fresh = FreshMasks(none_fit, samples, images)
    with pytest.raises(ItemFault) as fault:
        fresh.draw(children(samples)[0].id, 0)
    assert fault.value.reason is Reason.MASK_OFF_IMAGE
