"""Several looks at one picture, by a proposer whose answer is a known function of the picture."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from annotation.prelabel.augment import LOOKS, Augmented, Look, disagreement
from annotation.prelabel.proposer import Proposal, Seen
from dataset_tools.core.labels import Label


class RedProposer:
    """As sure as the picture is red, inside the box or everywhere: every look sees the same."""

    name = "red"
    version = "1"
    weights_sha256 = "cd" * 32
    seen = Seen(frozenset({"learned"}))

    def __init__(self):
        self.asked = []

    def propose(self, images, boxes):
        self.asked = [(rgb, list(own)) for rgb, own in zip(images, boxes, strict=True)]
        return [
            [
                Proposal(Label.FACE_MASK, self._map(rgb, box), face)
                for face, box in list(enumerate(own)) or [(-1, (0, 0, rgb.shape[1], rgb.shape[0]))]
            ]
            for rgb, own in self.asked
        ]

    def _map(self, rgb, box):
        x0, y0, x1, y1 = (round(value) for value in box)
        found = np.zeros(rgb.shape[:2], np.float32)
        found[y0:y1, x0:x1] = rgb[y0:y1, x0:x1, 0] / np.float32(255)
        return found


class LeftProposer(RedProposer):
    """Sure of the left half of whatever it is shown: a mirror shows it the other half."""

    def _map(self, rgb, box):
        found = np.zeros(rgb.shape[:2], np.float32)
        found[:, : rgb.shape[1] // 2] = 1
        return found


@pytest.fixture
def picture(astronaut_rgb):
    return np.ascontiguousarray(astronaut_rgb[20:221, 150:311])


def test_mirroring_twice_is_nothing_bit_for_bit(picture):
    mirror = Look(is_mirrored=True)
    values = picture[..., 0] / np.float32(255)
    assert (mirror.show(mirror.show(picture)) == picture).all()
    assert (mirror.move_back(mirror.move_back(values, values.shape), values.shape) == values).all()
    box = (10.25, 20.0, 60.5, 90.0)
    assert mirror.move(mirror.move(box, (201, 161)), (201, 161)) == box


def test_one_plain_look_is_the_proposer_itself(picture):
    ((plain,),) = RedProposer().propose([picture], [[]])
    ((found,),) = Augmented(RedProposer(), [Look()]).propose([picture], [[]])
    assert (found.probability == plain.probability).all()
    assert found.probability.dtype == np.float32
    assert (found.label, found.face, found.disagreement) == (plain.label, plain.face, 0.0)


def test_a_mirrored_look_at_what_has_no_sides_changes_nothing(picture):
    box = (20.0, 30.0, 120.0, 150.0)
    ((plain,),) = RedProposer().propose([picture], [[box]])
    ((found,),) = Augmented(RedProposer(), [Look(), Look(is_mirrored=True)]).propose([picture], [[box]])
    assert (found.probability == plain.probability).all()
    assert (found.face, found.disagreement) == (0, 0.0)


@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_a_look_at_another_size_comes_back_to_its_place(scale):
    y, x = np.mgrid[:201, :161]
    disc = 255 / (1 + np.exp((np.hypot(y - 90, x - 60) - 40) / 3))
    rgb = np.stack([disc] * 3, axis=2).astype(np.uint8)
    ((plain,),) = RedProposer().propose([rgb], [[]])
    ((found,),) = Augmented(RedProposer(), [Look(scale)]).propose([rgb], [[]])
    assert found.probability.shape == (201, 161)
    assert np.abs(found.probability - plain.probability).max() < 0.03


def test_boxes_move_with_the_picture(picture):
    proposer = RedProposer()
    Augmented(proposer).propose([picture], [[(16.0, 20.0, 80.0, 100.0)]])
    shapes = [rgb.shape for rgb, _ in proposer.asked]
    assert shapes == [(201, 161, 3), (201, 161, 3), (161, 129, 3), (251, 201, 3)]
    boxes = [own[0] for _, own in proposer.asked]
    assert boxes[:2] == [(16.0, 20.0, 80.0, 100.0), (81.0, 20.0, 145.0, 100.0)]
    # Sides are rounded to whole pixels, and the box moves with what they really became.
    assert boxes[2] == pytest.approx((16 * 129 / 161, 20 * 161 / 201, 80 * 129 / 161, 100 * 161 / 201))
    assert boxes[3] == pytest.approx((16 * 201 / 161, 20 * 251 / 201, 80 * 201 / 161, 100 * 251 / 201))


def test_looks_that_see_different_things_are_averaged_and_disagree(picture):
    even = np.ascontiguousarray(picture[:, :160])
    ((found,),) = Augmented(LeftProposer(), [Look(), Look(is_mirrored=True)]).propose([even], [[]])
    assert (found.probability == 0.5).all()
    assert found.disagreement == 1.0


def test_what_a_look_does_not_find_it_denies(picture):
    class OnlyLarge(RedProposer):
        def propose(self, images, boxes):
            return [
                found if rgb.shape[0] > 201 else found[:1]
                for rgb, found in zip(images, super().propose(images, boxes), strict=True)
            ]

    bright = np.full_like(picture, 255)
    looks = (Look(scale=1.25), Look())
    boxes = [(0.0, 0.0, 161.0, 100.0), (0.0, 110.0, 161.0, 201.0)]
    ((first, second),) = Augmented(OnlyLarge(), looks).propose([bright], [boxes])
    assert first.probability[50, 80] == 1.0
    assert (second.probability[150, 80], second.disagreement) == (0.5, 1.0)


def test_it_is_named_by_its_proposer_and_survives_pickling():
    augmented = pickle.loads(pickle.dumps(Augmented(RedProposer())))
    assert (augmented.name, augmented.version) == ("red", "1+tta")
    assert augmented.weights_sha256 == "cd" * 32
    assert augmented.seen == RedProposer.seen
    assert augmented.looks == LOOKS


def test_disagreement_by_hand():
    one = np.array([[True, True, False, False]])
    two = np.array([[True, False, False, False]])
    empty = np.zeros((1, 4), bool)
    assert disagreement([one, one]) == 0.0
    assert disagreement([one]) == disagreement([empty, empty, empty]) == 0.0
    # pairs: one-two 1/2, one-empty 0, two-empty 0
    assert disagreement([one, two, empty]) == pytest.approx(1 - 0.5 / 3)
