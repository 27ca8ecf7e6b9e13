"""One look at a picture answers many prompts; what the answers are is known from the drawn proposer."""

from __future__ import annotations

import numpy as np
import pytest

from annotation.backend.prompter import EncodingCache, MapPrompter
from annotation.backend.prompts import Click, Prompts
from dataset_tools.core.labels import Label

FACES = ((10.0, 10.0, 50.0, 50.0), (60.0, 10.0, 100.0, 50.0))


@pytest.fixture
def rgb():
    return np.zeros((80, 120, 3), dtype=np.uint8)


def lower(box, size_hw=(80, 120)):
    x0, y0, x1, y1 = (int(end) for end in box)
    mask = np.zeros(size_hw, dtype=bool)
    mask[(y0 + y1) // 2 : y1, x0:x1] = True
    return mask


def test_clicks_after_the_first_look_ask_the_network_nothing(drawn, rgb):
    encoding = MapPrompter(drawn).encode(rgb, FACES)
    first = encoding.segment(Prompts(Label.FACE_MASK, (Click(40, 20),)))
    both = encoding.segment(Prompts(Label.FACE_MASK, (Click(40, 20), Click(40, 70))))
    face = encoding.segment(Prompts(Label.FACE, (Click(15, 20),)))
    assert drawn.asked == [FACES]
    assert np.array_equal(first.mask, lower(FACES[0]))
    assert np.array_equal(both.mask, lower(FACES[0]) | lower(FACES[1]))
    assert np.array_equal(face.mask[10:30, 10:50], np.ones((20, 40), dtype=bool))
    assert face.mask.sum() == 800


def test_the_score_is_the_overlap_that_the_probabilities_promise(drawn, rgb):
    encoding = MapPrompter(drawn).encode(rgb, FACES)
    found = encoding.segment(Prompts(Label.FACE_MASK, (Click(40, 20),)))
    # 800 px at 0.9 inside, 800 px at 0.01 beside them; the other face's mask is nobody's business.
    assert found.score == pytest.approx(720 / 808, abs=1e-6)


def test_a_box_is_looked_at_once_and_nothing_outside_of_it_is_taken(drawn, rgb):
    encoding = MapPrompter(drawn).encode(rgb, FACES)
    box = (0.0, 40.0, 30.0, 70.0)
    first = encoding.segment(Prompts(Label.FACE_MASK, (), box))
    assert np.array_equal(first.mask, lower(box))
    again = encoding.segment(Prompts(Label.FACE_MASK, (Click(60, 10),), box))
    assert np.array_equal(again.mask, lower(box))
    assert drawn.asked == [FACES, (box,)]
    encoding.segment(Prompts(Label.FACE_MASK, (), (0.0, 40.0, 31.0, 70.0)))
    assert len(drawn.asked) == 3


def test_a_label_the_model_does_not_know_gives_nothing_whatever_is_clicked(drawn, rgb):
    encoding = MapPrompter(drawn).encode(rgb, FACES)
    for prompts in (
        Prompts(Label.STRAP, (Click(40, 20),)),
        Prompts(Label.STRAP, (), FACES[0]),
        Prompts(Label.FACE_MASK),
    ):
        found = encoding.segment(prompts)
        assert not found.mask.any()
        assert found.score == 0


def test_without_face_boxes_the_whole_picture_is_looked_at(drawn, rgb):
    encoding = MapPrompter(drawn).encode(rgb, ())
    found = encoding.segment(Prompts(Label.FACE_MASK, (Click(79, 119),)))
    assert np.array_equal(found.mask, lower((0, 0, 120, 80)))


def test_an_encoding_keeps_only_where_the_model_looked(drawn, rgb):
    encoding = MapPrompter(drawn).encode(rgb, FACES)
    assert encoding.nbytes == rgb.nbytes + 4 * 40 * 40 * 4  # two faces, two labels, float32
    encoding.segment(Prompts(Label.FACE_MASK, (), (0.0, 0.0, 10.0, 10.0)))
    assert encoding.nbytes == rgb.nbytes + 4 * 40 * 40 * 4 + 2 * 10 * 10 * 4


class Sized:
    def __init__(self, nbytes):
        self.nbytes = nbytes


def test_the_cache_forgets_what_was_used_longest_ago_and_never_the_newest():
    cache, made = EncodingCache(100), []

    def get(key, nbytes=40, version="m@1"):
        return cache.get(key, version, lambda: made.append(key) or Sized(nbytes))

    first = get("a")
    get("b")
    assert get("a") is first
    get("c")  # 120 bytes: b goes
    assert cache.nbytes == 80
    assert get("a") is first
    get("b")
    assert made == ["a", "b", "c", "b"]
    get("a", version="m@2")  # another model's eyes
    assert made[-1] == "a"
    get("huge", 1000)
    assert cache.nbytes == 1000
    assert get("huge").nbytes == 1000
    assert made.count("huge") == 1
