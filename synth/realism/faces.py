"""Bare faces dressed for the rim classifier: brought to the sharpness of the real ones, then drawn on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import ImageStore, RgbImage
from dataset_tools.core.labels import Wearing
from dataset_tools.core.record import ImageRef, Sample
from dataset_tools.core.seeds import derive_seed, generator
from synth.dress import dress_photo, hard
from synth.realism.rims import MaskedFace, shrink_factor, softness_above
from synth.settings import SynthSettings
from synth.stage import SynthStage
from synth.wearers import Limits, find_wearers, mesh_of

_MASK_WIDTH_MM = 155.0


def drawn_faces(
    photos: Iterable[Sample],
    images: ImageStore,
    settings: SynthSettings,
    real: Sequence[MaskedFace],
    count: int,
    seed: int,
) -> list[MaskedFace]:
    """Dress the largest face of bare photos, one mask each, worn correctly as most real ones are.

    Args:
        photos: with faces and landmarks; those with a masked face are passed over.
        images: where they lie.
        settings: what is drawn.
        real: the faces to compare with; each photo is first shrunk to the sharpness of a random one of them,
            so that resolution tells nothing.
        count: stop after that many.
        seed: of everything random.
    """
    stage = SynthStage(settings.model_copy(update={"wearing_states": {"correct": 1.0}}), seed)
    softness = [softness_above(face) for face in real]
    limits = Limits(settings.max_yaw_deg, settings.min_face_px)
    found: list[MaskedFace] = []
    for sample in photos:
        if len(found) == count:
            break
        if sample.is_labelled or any(face.wearing in _MASKED for face in sample.faces):
            continue
        bare = replace(sample, faces=sample.faces[:1])
        wearers, _ = find_wearers(bare.faces, bare.image.size_hw, limits)
        if not wearers:
            continue
        rng = generator(seed, sample.id, "softness")
        try:
            rgb, bare = _softened(images.read(sample.image), bare, softness[int(rng.integers(len(softness)))])
            recipe, _ = stage.draw_recipe(bare, wearers, derive_seed(seed, sample.id, "realism"))
        except ItemFault:
            continue
        if recipe.garments:
            dressed = dress_photo(rgb, bare.faces, recipe, stage.resources)
            mask = hard(dressed.faces[0].mask_alpha)
            found.append(MaskedFace(sample.id, sample.group, dressed.image, mask))
    return found


_MASKED = (Wearing.MASKED, Wearing.INCORRECT)


def _softened(rgb: RgbImage, sample: Sample, softness: float) -> tuple[RgbImage, Sample]:
    import cv2

    scale = mesh_of(sample.faces[0]).frame.px_per_mm
    factor = shrink_factor(rgb, _MASK_WIDTH_MM * scale, softness)
    if factor == 1.0:
        return rgb, sample
    height, width = round(rgb.shape[0] * factor), round(rgb.shape[1] * factor)
    small = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    stretch = np.array([width / rgb.shape[1], height / rgb.shape[0], factor])
    points = np.array(sample.faces[0].landmarks_xyz).reshape(-1, 3) * stretch
    face = replace(sample.faces[0], landmarks_xyz=tuple(points.ravel().tolist()))
    image = ImageRef(sample.image.sha256, (height, width), sample.image.format)
    return small, replace(sample, faces=(face,), image=image)
