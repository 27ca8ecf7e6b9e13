from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from dataset_tools.core.errors import ConfigError, DataError, UnknownName
from dataset_tools.core.labels import MASK_TYPES, WEARING_STATES
from synth.assets import (
    DEFAULT_SHARES,
    DESIGNS,
    WEARING,
    allowed_states,
    draw_garment,
    garment_from_json,
    garment_to_json,
)

WORN = [(design, state) for design in DESIGNS for state in allowed_states(design)]


@pytest.mark.parametrize(("design", "state"), WORN)
def test_a_garment_survives_json_exactly(design, state):
    for seed in range(20):
        garment = draw_garment(design, state, np.random.default_rng(seed))
        assert garment_from_json(json.loads(json.dumps(garment_to_json(garment)))) == garment


def test_designs_and_states_use_the_fixed_words():
    assert {design.mask_type for design in DESIGNS.values()} <= set(MASK_TYPES)
    assert set(WEARING) == set(WEARING_STATES)
    assert all(set(design.states) <= set(WEARING) for design in DESIGNS.values())
    assert all("correct" in design.states for design in DESIGNS.values())
    assert all(name == design.name for name, design in DESIGNS.items())


def test_the_same_generator_draws_the_same_garment_and_another_does_not():
    one, same, other = (draw_garment("cloth", "correct", np.random.default_rng(s)) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_an_unknown_design_lists_near_names():
    with pytest.raises(UnknownName, match="surgical"):
        draw_garment("surgicel", "correct", np.random.default_rng(0))


def test_every_type_of_the_vocabulary_has_a_design_and_cloth_is_worn_most():
    assert {design.mask_type for design in DESIGNS.values()} == set(MASK_TYPES) - {"other"}
    assert set(DEFAULT_SHARES) == set(DESIGNS)
    assert sum(DEFAULT_SHARES.values()) == pytest.approx(1.0)
    assert max(DEFAULT_SHARES, key=DEFAULT_SHARES.__getitem__) == "cloth"


def test_a_design_is_only_worn_as_it_can_be():
    with pytest.raises(ConfigError, match="cannot be worn as 'hanging'"):
        draw_garment("n95", "hanging", np.random.default_rng(0))
    with pytest.raises(UnknownName, match="under_chin"):
        draw_garment("cloth", "underchin", np.random.default_rng(0))
    with pytest.raises(UnknownName, match="n95"):
        allowed_states("n59")


def test_designs_travel_to_worker_processes():
    for design in DESIGNS.values():
        copy = pickle.loads(pickle.dumps(design))
        one, two = (kind.draw(np.random.default_rng(5)) for kind in (design, copy))
        assert one == two


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("fabric", "pattern", "tweed"),
        ("strap", "kind", "glue"),
        ("shape", "frame", 3),
        ("fabric", "window", 1),
    ],
)
def test_a_garment_with_a_strange_word_is_a_data_error(part, field, value):
    stored = garment_to_json(draw_garment("cloth", "correct", np.random.default_rng(0)))
    stored[part][field] = value
    with pytest.raises(DataError, match="not a garment of this version"):
        garment_from_json(stored)


def test_a_foreign_garment_is_a_data_error():
    with pytest.raises(DataError, match="not a garment"):
        garment_from_json({"design": "surgical@1"})
