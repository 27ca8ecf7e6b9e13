"""Photos with known faces, held small in memory: parents, their masked children, and covered bare faces."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from baselines.ssd.covers import cover_face, dress_face
from baselines.ssd.loss import IGNORED
from baselines.ssd.settings import CLASSES, DetectorTraining
from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.images import ImageStore, RgbImage
from dataset_tools.core.labels import WEARING_STATE, Label, Wearing
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory
from dataset_tools.core.record import LANDMARK_COUNT, Face, Sample
from dataset_tools.core.seeds import derive_seed, generator

# From the hull of the landmarks to the box that AIZOO's detector draws (and WIDER FACE's annotators drew), in
# widths and heights of the hull: medians over 419 faces of the training photos, left, top, right, bottom.
BOX_MARGINS = (-0.01, 0.145, -0.01, 0.022)

# Landmarks that say where to put a hand or a beard: outer eye corners, tip of the nose, lips, chin.
_POINTS = (33, 263, 1, 13, 152)
_STATES = {Wearing.UNKNOWN: Wearing.UNMASKED}

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FacePhoto:
    """A photo and its faces.

    Attributes:
        rgb: (H, W, 3) uint8.
        boxes: (N, 4) float32 x0, y0, x1, y1 in its pixels.
        classes: (N,) int64, indices of `CLASSES`; `IGNORED` where there are no landmarks: that need not be a
            face. At least one is not.
        points: (N, 5, 2) float32 right eye, left eye, nose, lips, chin; NaN where not known.
        kind: "bare", "covered", "masked" or "incorrect": what it is drawn for.
        group: photos of one group are on one side of the split.
    """

    rgb: RgbImage
    boxes: Floats
    classes: npt.NDArray[np.int64]
    points: Floats
    kind: str
    group: str


def load_photos(
    manifest: Manifest, images: ImageStore, settings: DetectorTraining, progress: ProgressFactory
) -> tuple[list[FacePhoto], list[FacePhoto]]:
    """What is learned from, and what is kept apart: photos of the rows of a manifest that have faces.

    Raises:
        DataError: a picture cannot be read, or there are no bare or no masked faces.
    """
    learned: list[FacePhoto] = []
    apart: list[FacePhoto] = []
    with progress("read", manifest.counts.kept + manifest.counts.derived) as bar:
        for sample in manifest.samples():
            photo = _photo(sample, images, settings.cache_px)
            if photo is not None:
                is_apart = _share(settings.seed, sample.group) < settings.val_share
                (apart if is_apart else learned).append(photo)
                if not is_apart:
                    learned += _covered(photo, sample.id, settings)
            bar.advance()
    kinds = Counter(photo.kind for photo in learned)
    if not kinds["bare"] or not kinds["masked"]:
        raise DataError(
            f"{manifest.title}: training needs photos with bare faces and rendered children with masks; "
            f"there are {kinds['bare']} and {kinds['masked']}"
        )
    return learned, apart


def sources(samples: Iterable[Sample]) -> dict[str, int]:
    """Stated licence → number of photos, of the photos that are no rendered children."""
    return dict(sorted(Counter(one.provenance.licence for one in samples if not one.is_synthetic).items()))


def face_box(face: Face) -> tuple[float, float, float, float]:
    """A face's box as this detector shall draw it: around the landmarks, else as it was found."""
    if not face.landmarks_xyz:
        return face.box_xyxy
    points = np.asarray(face.landmarks_xyz).reshape(LANDMARK_COUNT, 3)[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    (width, height), (left, top, right, bottom) = high - low, BOX_MARGINS
    return (
        float(low[0] - left * width),
        float(low[1] - top * height),
        float(high[0] + right * width),
        float(high[1] + bottom * height),
    )


def wearing_of(sample: Sample, index: int) -> Wearing | None:
    """What face `index` wears by the labels of a rendered child; of a photo, what was found.

    None where nobody knows: a collected photo is not labelled, and what a detector takes for a mask there may
    be a hand.
    """
    for instance in sample.instances:
        if instance.label is Label.FACE_MASK and instance.face == index:
            is_right = instance.attribute(WEARING_STATE, "correct") == "correct"
            return Wearing.MASKED if is_right else Wearing.INCORRECT
    found = sample.faces[index].wearing
    found = _STATES.get(found, found)
    return found if found is Wearing.UNMASKED else None


def _photo(sample: Sample, images: ImageStore, longest_px: int) -> FacePhoto | None:
    states = [wearing_of(sample, index) for index in range(len(sample.faces))]
    classes = [
        CLASSES.index(state) if state and face.landmarks_xyz else IGNORED
        for face, state in zip(sample.faces, states, strict=True)
    ]
    if set(classes) <= {IGNORED} or None in states:
        return None
    try:
        rgb = images.read(sample.image)
    except ItemFault as fault:
        raise DataError(f"sample {sample.id}: {fault}") from fault
    small, scale = _shrunk(rgb, longest_px)
    points = np.full((len(states), len(_POINTS), 2), np.nan, dtype=np.float32)
    for index, face in enumerate(sample.faces):
        if face.landmarks_xyz:
            mesh = np.asarray(face.landmarks_xyz, dtype=np.float32).reshape(LANDMARK_COUNT, 3)
            points[index] = mesh[list(_POINTS), :2] * scale
    kind = "bare"
    if sample.is_synthetic:
        kind = "incorrect" if Wearing.INCORRECT in states else "masked"
    return FacePhoto(
        rgb=small,
        boxes=np.array([face_box(face) for face in sample.faces], dtype=np.float32) * np.float32(scale),
        classes=np.array(classes, dtype=np.int64),
        points=points,
        kind=kind,
        group=sample.group,
    )


def _covered(photo: FacePhoto, name: str, settings: DetectorTraining) -> Sequence[FacePhoto]:
    """Copies with something drawn over: of bare faces several, of every other masked one."""
    is_bare = photo.kind == "bare"
    copies = []
    for number in range(settings.hidden_per_photo if is_bare else min(settings.hidden_per_photo, 1)):
        random = generator(settings.seed, name, "cover", str(number))
        if not is_bare and random.random() < 0.5:
            continue
        rgb = photo.rgb.copy()
        for box, points, name_of in zip(photo.boxes, photo.points, photo.classes, strict=True):
            if name_of != IGNORED:
                draw = cover_face if CLASSES[name_of] is Wearing.UNMASKED else dress_face
                rgb = draw(rgb, box, points, random)
        copies.append(dataclasses.replace(photo, rgb=rgb, kind="covered" if is_bare else photo.kind))
    return copies


def _shrunk(rgb: RgbImage, longest_px: int) -> tuple[RgbImage, float]:
    import cv2

    height, width = rgb.shape[:2]
    scale = min(longest_px / max(height, width), 1.0)
    if scale == 1.0:
        return np.ascontiguousarray(rgb), 1.0
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), scale


def _share(seed: int, group: str) -> float:
    return derive_seed(seed, group, "detector split") / 2**63
