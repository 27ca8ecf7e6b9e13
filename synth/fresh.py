"""Masks drawn while a network trains: each time a rendered sample is shown, its photo wears another mask."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.files import digest_json
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Sample
from dataset_tools.core.seeds import derive_seed
from synth.add_mask import all_designs
from synth.dress import DressedFace, dress_photo, hard
from synth.recipe import Recipe
from synth.stage import SynthStage
from synth.wearers import Limits, find_wearers

BoolMask = npt.NDArray[np.bool_]

_ATTEMPTS = 16  # now and then a mask does not fit its face; another one does


@dataclass(frozen=True, slots=True)
class FreshRendering:
    """A photo with other masks on.

    Attributes:
        rgb: (H, W, 3) uint8.
        instances: labelled objects, (H, W) bool each, as the stage labels them.
        recipe: what was drawn.
    """

    rgb: npt.NDArray[np.uint8]
    instances: tuple[tuple[Label, BoolMask], ...]
    recipe: Recipe


class FreshMasks:
    """Draws rendered samples anew from their photos and landmarks.

    What is drawn follows from the sample and the seed it is asked for, never from what was drawn before.
    """

    def __init__(self, stage: SynthStage, samples: Iterable[Sample], images: ImageStore) -> None:
        """Look for rendered samples and their photos.

        Args:
            stage: as rendered the stored ones, or with other settings.
            samples: of one manifest: rendered children and the photos they were made from.
            images: where the photos lie.
        """
        self._stage = stage
        self._images = images
        photos: dict[str, Sample] = {}
        children: dict[str, str] = {}
        for sample in samples:
            if sample.is_synthetic:
                children[sample.id] = sample.provenance.parent_id
            else:
                # All that drawing needs; a manifest's other columns would only go to every worker process.
                photos[sample.id] = replace(sample, instances=(), layers=(), scores=())
        wanted = set(children.values())
        self._photos = {key: photo for key, photo in photos.items() if key in wanted and photo.faces}
        self._children = {child: photo for child, photo in children.items() if photo in self._photos}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        all_designs(self._stage.settings.masks_dir)  # a new process does not know the user's textures yet

    @property
    def drawn_by(self) -> str:
        """Renderer, and a digest of everything that decides what is drawn."""
        config = {key: value for key, value in self._stage.config.items() if key != "seed"}
        return f"synth:{self._stage.version}:{digest_json(config)[:12]}"

    @property
    def sample_ids(self) -> Collection[str]:
        """Rendered samples whose photos and landmarks are at hand."""
        return self._children.keys()

    def draw(self, sample_id: str, seed: int) -> FreshRendering:
        """Another rendering of a sample's photo.

        Args:
            sample_id: of the rendered sample, one of `sample_ids`.
            seed: decides what is drawn.

        Raises:
            ItemFault: the photo cannot be read, or no mask fits.
        """
        photo = self._photos[self._children[sample_id]]
        limits = Limits(self._stage.settings.max_yaw_deg, self._stage.settings.min_face_px)
        wearers, _ = find_wearers(photo.faces, photo.image.size_hw, limits)
        rgb = self._images.read(photo.image)
        for attempt in range(_ATTEMPTS):
            attempt_seed = derive_seed(seed, photo.id, "fresh", str(attempt))
            recipe, _ = self._stage.draw_recipe(photo, wearers, attempt_seed)
            if recipe.draws_anything:
                dressed = dress_photo(rgb, photo.faces, recipe, self._stage.resources)
                instances = tuple(part for face in dressed.faces for part in _instances(face))
                return FreshRendering(dressed.image, instances, recipe)
        raise ItemFault(Reason.MASK_OFF_IMAGE, f"no mask fits photo {photo.id} in {_ATTEMPTS} attempts")


def _instances(face: DressedFace) -> list[tuple[Label, BoolMask]]:
    parts = [
        (Label.FACE, face.skin),
        (Label.FACE_MASK, hard(face.mask_alpha)),
        (Label.STRAP, hard(face.strap_alpha)),
        (Label.OCCLUDER, hard(face.occluder_alpha)),
    ]
    return [(label, mask) for label, mask in parts if mask.any()]
