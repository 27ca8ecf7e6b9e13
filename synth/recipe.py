"""What a rendered picture was made from: every number the renderer needs beside photo and landmarks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from dataset_tools.core.errors import DataError
from dataset_tools.core.files import canonical_json
from synth.assets import Garment, garment_from_json, garment_to_json
from synth.occluders.occluder import Occluder, occluder_from_json, occluder_to_json
from synth.render import Effects

RENDERER = "maskset-overlay@4"  # changes whenever a recipe would draw other pixels


@dataclass(frozen=True)
class Recipe:
    """What a child of a photo wears and how it is drawn; nothing random happens after this is written.

    Attributes:
        method: name in `dress.METHODS`.
        front: name in `synth.front.ordering.METHODS`, how things in front of a face are found.
        garments: index of the face in the sample, and what it wears.
        occluders: index of the face, and what is held in front of it.
        effects: what the masks take from the photo.
        seed: what the rest was drawn from; for people who search.
    """

    method: str
    front: str
    garments: tuple[tuple[int, Garment], ...]
    occluders: tuple[tuple[int, Occluder], ...]
    effects: Effects
    seed: int

    @property
    def draws_anything(self) -> bool:
        """False for a recipe that would give the photo back."""
        return bool(self.garments or self.occluders)


def recipe_to_json(recipe: Recipe) -> str:
    """A recipe as one line of JSON; equal recipes give equal text."""
    return canonical_json(
        {
            "renderer": RENDERER,
            "method": recipe.method,
            "front": recipe.front,
            "seed": recipe.seed,
            "effects": asdict(recipe.effects),
            "faces": [
                {"face": face, "garment": garment_to_json(garment)} for face, garment in recipe.garments
            ],
            "occluders": [
                {"face": face, "occluder": occluder_to_json(occluder)} for face, occluder in recipe.occluders
            ],
        }
    )


def recipe_from_json(text: str) -> Recipe:
    """The inverse of `recipe_to_json`.

    Raises:
        DataError: not a recipe, or of a renderer this version does not have.
    """
    try:
        values = json.loads(text)
        renderer = values["renderer"]
        if renderer != RENDERER:
            raise DataError(f"recipe is for renderer {renderer}, this is {RENDERER}")
        return Recipe(
            method=str(values["method"]),
            front=str(values["front"]),
            garments=tuple((int(row["face"]), garment_from_json(row["garment"])) for row in values["faces"]),
            occluders=tuple(
                (int(row["face"]), occluder_from_json(row["occluder"])) for row in values["occluders"]
            ),
            effects=Effects(**values["effects"]),
            seed=int(values["seed"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"not a recipe: {error}") from error
