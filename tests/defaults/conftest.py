"""A proposer made of the demo's two public-domain portraits in two steps: far too little, but all of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.defaults.about import About
from dataset_tools.defaults.making import Order, make_proposer
from dataset_tools.defaults.photos import Photos
from dataset_tools.defaults.recipe import PROPOSER_RECIPE, Finish, ProposerRecipe


@dataclass
class Made:
    order: Order
    recipe: ProposerRecipe
    about: About
    said: list[str] = field(default_factory=list)


def small(recipe: ProposerRecipe) -> ProposerRecipe:
    changes = {"batch": 2, "input_px": 64, "pretrained": False, "device": "cpu", "val_every_steps": 2}
    train = recipe.train.model_copy(update=changes)
    synth = recipe.synth.model_copy(update={"per_face": 2})
    finish = Finish(steps=1, input_px=96, learning_rate=1e-4)
    return recipe.model_copy(update={"train": train, "synth": synth, "finish": finish})


def write_pairs(folder: Path, count: int) -> Path:
    """Drawn pictures and their masks, as a benchmark on disk."""
    for kind in ("image", "mask"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(5)
    for index in range(count):
        rgb = rng.integers(0, 120, (96, 96, 3)).astype(np.uint8)
        mask = np.zeros((96, 96), np.uint8)
        mask[40 + index : 80, 20:76] = 255
        rgb[mask > 0] += 120
        Image.fromarray(rgb).save(folder / "image" / f"{index}.png")
        Image.fromarray(mask).save(folder / "mask" / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory, astronaut_path, hopper_path) -> Made:
    root = tmp_path_factory.mktemp("defaults")
    for name, path in (("nasa", astronaut_path), ("navy", hopper_path)):
        (root / name).mkdir()
        shutil.copy(path, root / name / f"Eileen-or-Grace{path.suffix}")
    photos = (
        Photos("nasa", root / "nasa", "LicenseRef-public-domain", "scikit-image's astronaut"),
        Photos("navy", root / "navy", "CC-BY-NC-4.0"),
    )
    said: list[str] = []
    order = Order(
        photos=photos,
        out=root / "out",
        workspace=root / "work",
        steps=2,
        device="cpu",
        score_on=(write_pairs(root / "scored", 5),),
        say=said.append,
    )
    recipe = small(PROPOSER_RECIPE)
    try:
        about = make_proposer(order, recipe)
    except WeightsUnavailable as error:
        pytest.skip(f"no face landmarker can be had here: {error}")
    return Made(order, recipe, about, said)
