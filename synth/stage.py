"""The synth stage: every unlabelled photo with a bare face gets rendered children that wear face masks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from dataset_tools.core.errors import ItemFault, SuiteError
from dataset_tools.core.images import ImageStore, perceptual_hash
from dataset_tools.core.labels import MASK_TYPE, WEARING_STATE, Label, Wearing
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.progress import Progress
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import (
    NOT_SEEN,
    Face,
    Instance,
    Layer,
    Provenance,
    Rejection,
    Sample,
    sample_id,
    sorted_pairs,
)
from dataset_tools.core.seeds import derive_seed, generator
from dataset_tools.core.settings import Settings
from dataset_tools.core.stage import each, reject
from synth.assets import DESIGNS, WEARING, Garment, draw_garment
from synth.dress import (
    RENDERER,
    DressedFace,
    DressedPhoto,
    Limits,
    Recipe,
    Refusal,
    check_fit,
    dress_photo,
    find_wearers,
    hard,
    mesh_of,
    recipe_to_json,
)
from synth.render import Effects

_log = logging.getLogger(__name__)

LayerName = Literal["alpha", "shadow", "clean", "amodal"]


class SynthSettings(Settings):
    """What is rendered.

    Attributes:
        per_face: children per photo; each dresses all its faces anew. 0 switches the stage off.
        mask_types: share of each design; names of `synth.assets.DESIGNS`.
        wearing_states: share of each way to wear it; names of `synth.assets.WEARING`.
        max_yaw_deg: faces turned further stay bare.
        min_face_px: faces whose landmarks span less stay bare.
        shadow: whether masks cast shadow.
        layers: further pictures stored with each child: "alpha" (all masks, 16 bit), "amodal" (masks as if
            nothing were in front), "shadow" (8 bit), "clean" (the undressed photo).
    """

    per_face: int = Field(default=1, ge=0, le=64)
    mask_types: dict[str, float] = Field(default_factory=lambda: {"surgical": 0.45, "cloth": 0.55})
    wearing_states: dict[str, float] = Field(default_factory=lambda: {"correct": 1.0})
    max_yaw_deg: float = Field(default=70.0, gt=0, le=90)
    min_face_px: float = Field(default=60.0, gt=0)
    shadow: bool = True
    layers: tuple[LayerName, ...] = ()

    @field_validator("mask_types")
    @classmethod
    def _known_designs(cls, shares: dict[str, float]) -> dict[str, float]:
        return _checked_shares(shares, list(DESIGNS))

    @field_validator("wearing_states")
    @classmethod
    def _known_states(cls, shares: dict[str, float]) -> dict[str, float]:
        return _checked_shares(shares, list(WEARING))


def _checked_shares(shares: dict[str, float], known: list[str]) -> dict[str, float]:
    strange = sorted(set(shares) - set(known))
    if strange:
        raise ValueError(f"unknown {', '.join(strange)}; known: {', '.join(known)}")
    if any(not 0 <= share < float("inf") for share in shares.values()) or sum(shares.values()) <= 0:
        raise ValueError("shares must be >= 0 and not all 0")
    return shares


class SynthStage:
    """Adds rendered children; the photos themselves pass untouched.

    A photo with a face that already wears a mask gets no children: that mask has no label, and a child
    claims complete ones. Faces that cannot be dressed leave a derived rejection each.
    """

    name = "synth"
    version = RENDERER
    parallel = True

    def __init__(self, settings: SynthSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    @property
    def config(self) -> dict[str, Any]:
        """Settings, seed, and the versions of the designs."""
        designs = sorted(design.full_name for design in DESIGNS.values())
        return {**self.settings.model_dump(mode="json"), "seed": self.seed, "designs": designs}

    def plan(self, samples: Iterable[Sample]) -> None:
        """Nothing: every photo stands alone."""

    def run(
        self, items: Sequence[Sample], *, plan: None, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """Each photo, its children, and rejections for children and faces that could not be made."""
        return each(items, self.name, lambda sample: self._handle(sample, images), progress)

    def _handle(self, sample: Sample, images: ImageStore) -> Iterator[Sample | Rejection]:
        yield sample
        if sample.is_labelled or sample.is_synthetic or self.settings.per_face == 0:
            return
        # Whatever goes wrong here, the photo is fine as it is; only what would have come from it is lost.
        try:
            yield from list(self._children(sample, images))
        except ItemFault as fault:
            yield from self._all_refused(sample, fault.reason, str(fault))
        except SuiteError:
            raise
        except Exception as error:
            _log.exception("synth failed on %s", sample.id)
            yield from self._all_refused(sample, Reason.INTERNAL, f"{type(error).__name__}: {error}")

    def _all_refused(self, sample: Sample, reason: Reason, detail: str) -> Iterator[Rejection]:
        for number in range(self.settings.per_face):
            yield self._refused(sample, child_key(sample, number), reason, detail)

    def _children(self, sample: Sample, images: ImageStore) -> Iterator[Sample | Rejection]:
        masked = [i for i, face in enumerate(sample.faces) if face.wearing in _WEARS_MASK]
        if masked:
            raise ItemFault(Reason.ALREADY_MASKED, f"face {masked[0]} already wears a mask, without a label")
        if not sample.faces:
            raise ItemFault(Reason.NO_LANDMARKS, "no faces")
        limits = Limits(self.settings.max_yaw_deg, self.settings.min_face_px)
        wearers, refusals = find_wearers(sample.faces, sample.image.size_hw, limits)
        photo = images.read(sample.image) if wearers else None
        for number in range(self.settings.per_face):
            recipe, unfit = self._draw_recipe(sample, wearers, number)
            key = child_key(sample, number)
            refused = [*refusals, *unfit]
            if photo is None or not recipe.garments:
                detail = "; ".join(refusal.detail for refusal in refused)
                yield self._refused(sample, key, refused[0].reason, detail)
                continue
            dressed = dress_photo(photo, sample.faces, recipe)
            hidden = [
                Refusal(item.face, Reason.MASK_OFF_IMAGE, f"face {item.face}: nothing of its mask is visible")
                for item in dressed.faces
                if item.garment is not None and not hard(item.mask_alpha).any()
            ]
            for refusal in (*refused, *hidden):
                face_key = f"{key}/face{refusal.face}"
                yield self._refused(sample, face_key, refusal.reason, refusal.detail)
            yield self._child(sample, key, recipe, dressed, images)

    def _draw_recipe(self, sample: Sample, wearers: list[int], number: int) -> tuple[Recipe, list[Refusal]]:
        child_seed = derive_seed(self.seed, sample.id, "synth", str(number))
        garments: list[tuple[int, Garment]] = []
        unfit: list[Refusal] = []
        for index in wearers:
            rng = generator(child_seed, f"face{index}")
            design = _draw_name(rng, self.settings.mask_types)
            state = _draw_name(rng, self.settings.wearing_states)
            garment = draw_garment(design, state, rng)
            try:
                check_fit(mesh_of(sample.faces[index]), garment, sample.image.size_hw)
                garments.append((index, garment))
            except ItemFault as fault:
                unfit.append(Refusal(index, fault.reason, f"face {index}: {fault}"))
        effects = Effects(shadow=self.settings.shadow)
        return Recipe(tuple(garments), effects, child_seed), unfit

    def _child(
        self, parent: Sample, key: str, recipe: Recipe, dressed: DressedPhoto, images: ImageStore
    ) -> Sample:
        image = images.put_array(dressed.image)
        origin = parent.provenance
        provenance = Provenance(
            source=self.name,
            item_key=key,
            licence=origin.licence,
            url=origin.url,
            author=origin.author,
            parent_id=parent.id,
            recipe=recipe_to_json(recipe),
            seed=recipe.seed,
            evidence=sorted_pairs({"parent_source": origin.source}),
        )
        instances = [part for face in dressed.faces for part in _instances(face, images)]
        worn = {item.face: item.garment for item in dressed.faces}
        return Sample(
            id=sample_id(image),
            image=image,
            provenance=provenance,
            group=parent.group,
            phash=perceptual_hash(dressed.image),
            faces=tuple(_dressed_face(face, worn.get(i)) for i, face in enumerate(parent.faces)),
            instances=tuple(instances),
            layers=self._layers(parent, dressed, images),
            scores=parent.scores,
            split=parent.split,
            review=NOT_SEEN,
            is_labelled=True,
        )

    def _layers(self, parent: Sample, dressed: DressedPhoto, images: ImageStore) -> tuple[Layer, ...]:
        def total(alphas: list[Any]) -> Any:
            return np.maximum.reduce(alphas)

        layers: list[Layer] = []
        for name in sorted(set(self.settings.layers)):
            if name == "clean":
                layers.append(Layer(name, parent.image))
                continue
            if name == "shadow":
                picture = dressed.shadow
            elif name == "alpha":
                picture = total([face.mask_alpha for face in dressed.faces])
            else:
                picture = total([face.amodal_alpha for face in dressed.faces])
            layers.append(Layer(name, images.put_array(picture)))
        return tuple(layers)

    def _refused(self, sample: Sample, key: str, reason: Reason, detail: str) -> Rejection:
        row = reject(sample, self.name, reason, detail, derived=True)
        return replace(row, item_key=key)


_WEARS_MASK = (Wearing.MASKED, Wearing.INCORRECT)


def child_key(sample: Sample, number: int) -> str:
    """Item key of a photo's rendered child."""
    return f"{sample.provenance.item_key}#synth{number}"


def _draw_name(rng: np.random.Generator, shares: dict[str, float]) -> str:
    names = sorted(shares)
    weights = np.array([shares[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def _dressed_face(face: Face, garment: Garment | None) -> Face:
    if garment is None:
        return face
    wearing = Wearing.MASKED if garment.state == "correct" else Wearing.INCORRECT
    return replace(face, wearing=wearing)


def _instances(face: DressedFace, images: ImageStore) -> Iterator[Instance]:
    # The face oval minus mask and loops, then mask and loops, each only where something is visible.
    garment = face.garment
    drawn_by = f"synth:{garment.design}" if garment else f"synth:{RENDERER}"
    if face.skin.any():
        yield Instance(f"face-{face.face}", Label.FACE, mask_to_rle(face.skin), drawn_by, face=face.face)
    if garment is None:
        return
    about = sorted_pairs({MASK_TYPE: garment.mask_type, WEARING_STATE: garment.state})
    parts = (
        ("mask", Label.FACE_MASK, face.mask_alpha),
        ("strap", Label.STRAP, face.strap_alpha),
    )
    for word, label, alpha in parts:
        solid = hard(alpha)
        if solid.any():
            yield Instance(
                id=f"{word}-{face.face}",
                label=label,
                mask=mask_to_rle(solid),
                drawn_by=drawn_by,
                face=face.face,
                soft=images.put_array(alpha),
                attributes=about if label is Label.FACE_MASK else (),
            )
