"""The synth stage: every unlabelled photo with a bare face gets rendered children that wear face masks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ItemFault, SuiteError
from dataset_tools.core.files import canonical_json
from dataset_tools.core.images import ImageStore, RgbImage, perceptual_hash
from dataset_tools.core.labels import MASK_TYPE, SKIN_ITA, WEARING_STATE, Label, Wearing
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
from dataset_tools.core.stage import each, reject
from synth.add_mask import all_designs
from synth.assets import Garment, draw_garment
from synth.dress import METHODS, DressedFace, DressedPhoto, dress_photo, hard
from synth.front.ordering import choose_method
from synth.geometry import FaceMesh
from synth.layers import draw_surfaces
from synth.occluders.occluder import Occluder, draw_occluder
from synth.recipe import RENDERER, Recipe, recipe_to_json
from synth.render import Effects
from synth.settings import AUTO, SynthSettings, open_resources, states_for
from synth.tone import skin_ita_deg
from synth.wearers import Limits, Refusal, check_fit, find_wearers, mesh_of

_log = logging.getLogger(__name__)

_GEOMETRY = {"depth", "normals", "uv"}


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
        self.front = choose_method() if settings.front == AUTO else settings.front
        self.resources = open_resources(settings)

    @property
    def config(self) -> dict[str, Any]:
        """Settings, seed, the versions of the designs, and the content of the user's folders."""
        designs = sorted(design.full_name for design in self.resources.designs.values())
        cutouts = self.resources.cutouts.digest if self.resources.cutouts else ""
        return {
            **self.settings.model_dump(mode="json", exclude={"masks_dir": True, "occluders": {"folder"}}),
            "front": self.front,
            "seed": self.seed,
            "designs": designs,
            "cutouts": cutouts,
            "own_masks": self.resources.own_masks,
        }

    def plan(self, samples: Iterable[Sample]) -> None:
        """Nothing: every photo stands alone."""

    def run(
        self, items: Sequence[Sample], *, plan: None, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """Each photo, its children, and rejections for children and faces that could not be made."""
        all_designs(self.settings.masks_dir)  # a worker process does not know the user's textures yet
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
            child_seed = derive_seed(self.seed, sample.id, "synth", str(number))
            recipe, unfit = self.draw_recipe(sample, wearers, child_seed)
            key = child_key(sample, number)
            refused = [*refusals, *unfit]
            if photo is None or not recipe.draws_anything:
                detail = "; ".join(refusal.detail for refusal in refused)
                yield self._refused(sample, key, refused[0].reason, detail)
                continue
            dressed = dress_photo(photo, sample.faces, recipe, self.resources)
            hidden = [
                Refusal(item.face, Reason.MASK_OFF_IMAGE, f"face {item.face}: nothing of its mask is visible")
                for item in dressed.faces
                if item.garment is not None and not hard(item.mask_alpha).any()
            ]
            for refusal in (*refused, *hidden):
                yield self._refused(sample, _refusal_key(key, refusal), refusal.reason, refusal.detail)
            yield self._child(sample, key, recipe, dressed, photo, images)

    def draw_recipe(
        self, sample: Sample, wearers: Sequence[int], child_seed: int
    ) -> tuple[Recipe, list[Refusal]]:
        """A recipe drawn from the settings' shares, and the faces or occluders that did not fit.

        Args:
            sample: the photo; only faces and size are looked at.
            wearers: indices of the faces to dress.
            child_seed: decides everything.
        """
        garments: list[tuple[int, Garment]] = []
        occluders: list[tuple[int, Occluder]] = []
        unfit: list[Refusal] = []
        in_front = self.settings.occluders
        stays_bare = generator(child_seed, "bare").random() < self.settings.bare
        if stays_bare:
            in_front = in_front.model_copy(update={"probability": 1.0})
        for index in wearers:
            mesh = mesh_of(sample.faces[index])
            try:
                if not stays_bare:
                    rng = generator(child_seed, f"face{index}")
                    garments.append((index, self._draw_garment(rng, mesh, sample.image.size_hw)))
            except ItemFault as fault:
                unfit.append(Refusal(index, fault.reason, f"face {index}: {fault}"))
                continue
            try:
                rng = generator(child_seed, f"occluder{index}")
                occluder = draw_occluder(rng, mesh, in_front, self.resources.cutouts)
            except ItemFault as fault:
                unfit.append(Refusal(index, fault.reason, f"face {index}: {fault}", part="occluder"))
                continue
            if occluder is not None:
                occluders.append((index, occluder))
        options = self.settings
        effects = Effects(options.light, options.shadow, options.camera)
        recipe = Recipe(options.method, self.front, tuple(garments), tuple(occluders), effects, child_seed)
        return recipe, unfit

    def _draw_garment(self, rng: np.random.Generator, mesh: FaceMesh, size_hw: tuple[int, int]) -> Garment:
        # On a tight crop a mask under the chin hangs outside: then the likeliest way that fits is worn.
        design = _draw_name(rng, self.settings.mask_types)
        shares = states_for(self.settings, design, self.resources.designs)
        first = _draw_name(rng, shares)
        others = sorted((state for state in shares if state != first), key=lambda state: -shares[state])
        refusal: ItemFault | None = None
        for state in (first, *others):
            garment = draw_garment(design, state, rng, self.resources.designs)
            try:
                check_fit(METHODS[self.settings.method].place(mesh, garment), size_hw)
            except ItemFault as fault:
                refusal = refusal or fault
            else:
                return garment
        raise refusal or ItemFault(Reason.MASK_OFF_IMAGE, "no way to wear it fits")

    def _child(
        self,
        parent: Sample,
        key: str,
        recipe: Recipe,
        dressed: DressedPhoto,
        photo: RgbImage,
        images: ImageStore,
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
            evidence=sorted_pairs({"parent_source": origin.source, **_found_light(dressed)}),
        )
        tones = {index: skin_ita_deg(photo, mesh_of(parent.faces[index])) for index, _ in recipe.garments}
        instances = [
            part for face in dressed.faces for part in _instances(face, images, tones.get(face.face))
        ]
        worn = {item.face: item.garment for item in dressed.faces}
        return Sample(
            id=sample_id(image),
            image=image,
            provenance=provenance,
            group=parent.group,
            phash=perceptual_hash(dressed.image),
            faces=tuple(_dressed_face(face, worn.get(i)) for i, face in enumerate(parent.faces)),
            instances=tuple(instances),
            layers=self._layers(parent, recipe, dressed, images),
            scores=parent.scores,
            split=parent.split,
            review=NOT_SEEN,
            is_labelled=True,
        )

    def _layers(
        self, parent: Sample, recipe: Recipe, dressed: DressedPhoto, images: ImageStore
    ) -> tuple[Layer, ...]:
        wanted = sorted(set(self.settings.layers))
        pictures = _label_layers(dressed)
        if _GEOMETRY & set(wanted):
            worn = dict(recipe.garments)
            heads = [(mesh_of(parent.faces[face.face]), worn.get(face.face)) for face in dressed.faces]
            surfaces = draw_surfaces(heads, parent.image.size_hw)
            pictures |= {name: getattr(surfaces, name) for name in _GEOMETRY}
        return tuple(
            Layer(name, parent.image if name == "clean" else images.put_array(pictures[name]))
            for name in wanted
        )

    def _refused(self, sample: Sample, key: str, reason: Reason, detail: str) -> Rejection:
        row = reject(sample, self.name, reason, detail, derived=True)
        return replace(row, item_key=key)


_WEARS_MASK = (Wearing.MASKED, Wearing.INCORRECT)


def child_key(sample: Sample, number: int) -> str:
    """Item key of a photo's rendered child."""
    return f"{sample.provenance.item_key}#synth{number}"


def _refusal_key(child: str, refusal: Refusal) -> str:
    """Item key of what a child, named by its own key, had to leave out."""
    key = f"{child}/face{refusal.face}"
    return key if refusal.part == "face" else f"{key}/{refusal.part}"


def _draw_name(rng: np.random.Generator, shares: dict[str, float]) -> str:
    names = sorted(shares)
    weights = np.array([shares[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def _dressed_face(face: Face, garment: Garment | None) -> Face:
    if garment is None:
        return face
    wearing = Wearing.MASKED if garment.state == "correct" else Wearing.INCORRECT
    return replace(face, wearing=wearing)


def _label_layers(dressed: DressedPhoto) -> dict[str, npt.NDArray[np.uint8] | npt.NDArray[np.uint16]]:
    def most(name: str) -> Any:
        return np.maximum.reduce([getattr(face, name) for face in dressed.faces])

    alpha = most("mask_alpha")
    return {
        "alpha": alpha,
        "hard": hard(alpha).astype(np.uint8) * 255,
        "strap": most("strap_alpha"),
        "amodal": most("amodal_alpha"),
        "occluder": most("occluder_alpha"),
        "skin": most("skin").astype(np.uint8) * 255,
        "shadow": dressed.shadow,
    }


def _found_light(dressed: DressedPhoto) -> dict[str, str]:
    # The light of every dressed face, as estimated; rounded, because it is for people and tables.
    return {
        f"light_{face.face}": canonical_json(
            {name: np.round(value, 4).tolist() for name, value in asdict(face.light).items()}
        )
        for face in dressed.faces
        if face.light is not None
    }


def _instances(face: DressedFace, images: ImageStore, ita_deg: float | None) -> Iterator[Instance]:
    # The face oval minus everything nearer, then what is worn and held, each only where something is visible.
    garment = face.garment
    drawn_by = f"synth:{garment.design}" if garment else f"synth:{RENDERER}"
    if face.skin.any():
        yield Instance(f"face-{face.face}", Label.FACE, mask_to_rle(face.skin), drawn_by, face=face.face)
    about: dict[str, str] = {}
    if garment is not None:
        about = {MASK_TYPE: garment.mask_type, WEARING_STATE: garment.state}
        if ita_deg is not None:
            about[SKIN_ITA] = f"{ita_deg:.1f}"
    parts = (
        ("mask", Label.FACE_MASK, face.mask_alpha, drawn_by, sorted_pairs(about)),
        ("strap", Label.STRAP, face.strap_alpha, drawn_by, ()),
        ("occluder", Label.OCCLUDER, face.occluder_alpha, f"synth:{RENDERER}", ()),
    )
    for word, label, alpha, by, attributes in parts:
        solid = hard(alpha)
        if solid.any():
            yield Instance(
                id=f"{word}-{face.face}",
                label=label,
                mask=mask_to_rle(solid),
                drawn_by=by,
                face=face.face,
                soft=images.put_array(alpha),
                attributes=attributes,
            )
