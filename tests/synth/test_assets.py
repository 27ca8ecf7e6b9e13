from __future__ import annotations

import json

import numpy as np
import pytest

from dataset_tools.core.errors import DataError, UnknownName
from dataset_tools.core.labels import MASK_TYPES, WEARING_STATES
from synth.assets import DESIGNS, WEARING, draw_garment, garment_from_json, garment_to_json


@pytest.mark.parametrize("design", sorted(DESIGNS))
@pytest.mark.parametrize("state", sorted(WEARING))
def test_a_garment_survives_json_exactly(design, state):
    for seed in range(20):
        garment = draw_garment(design, state, np.random.default_rng(seed))
        assert garment_from_json(json.loads(json.dumps(garment_to_json(garment)))) == garment


def test_designs_and_states_use_the_fixed_words():
    assert {design.mask_type for design in DESIGNS.values()} <= set(MASK_TYPES)
    assert set(WEARING) <= set(WEARING_STATES)
    assert all(name == design.name for name, design in DESIGNS.items())


def test_the_same_generator_draws_the_same_garment_and_another_does_not():
    one, same, other = (draw_garment("cloth", "correct", np.random.default_rng(s)) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_an_unknown_design_lists_near_names():
    with pytest.raises(UnknownName, match="surgical"):
        draw_garment("surgicel", "correct", np.random.default_rng(0))


def test_a_foreign_garment_is_a_data_error():
    with pytest.raises(DataError, match="not a garment"):
        garment_from_json({"design": "surgical@1"})
