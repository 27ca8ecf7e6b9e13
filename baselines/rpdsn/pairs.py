"""Pairs of one face with and without a mask: rendered samples beside the photos they were rendered from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from baselines import crops
from baselines.checkpoint import SeenSample
from baselines.crops import Window
from baselines.data import paint_classes
from baselines.settings import CropSettings
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import RleMask, rle_to_mask
from dataset_tools.core.record import LANDMARK_COUNT, Face, ImageRef, Sample, Split

RgbImage = npt.NDArray[np.uint8]
ClassMap = npt.NDArray[np.uint8]
Point = tuple[float, float]

_LABELS = (Label.FACE_MASK, Label.FACE)
# Middles of the irises among the 478 landmarks; left and right as the viewer sees them.
_LEFT_EYE, _RIGHT_EYE = 468, 473


@dataclass(frozen=True, slots=True)
class FacePair:
    """One face, masked and bare, in pictures of one size.

    Attributes:
        sample_id, bare_id: of the rendered sample and of its photo.
        group, split: of both.
        masked, bare: the pictures.
        window: square around the face.
        eyes_xy: middles of the left and right eye as the viewer sees them, pixels; None when not known.
        instances: labelled objects of the masked picture.
    """

    sample_id: str
    bare_id: str
    group: str
    split: Split
    masked: ImageRef
    bare: ImageRef
    window: Window
    eyes_xy: tuple[Point, Point] | None
    instances: tuple[tuple[Label, RleMask], ...]

    @property
    def seen(self) -> tuple[SeenSample, SeenSample]:
        """How `trained_on.csv` remembers both pictures."""
        split = self.split.value
        return (
            SeenSample(self.sample_id, split, self.group, self.masked.sha256, self.bare_id),
            SeenSample(self.bare_id, split, self.group, self.bare.sha256, ""),
        )


def list_pairs(samples: Iterable[Sample], split: Split, crop: CropSettings) -> list[FacePair]:
    """Faces of the labelled rendered samples of a split whose photos are in the manifest too.

    Args:
        samples: of one manifest; gone through once.
        split: of the rendered samples.
        crop: how squares are cut.

    Returns:
        One pair per face whose picture holds a mask, in the order of the rendered samples.
    """
    photos: dict[str, ImageRef] = {}
    rendered: list[Sample] = []
    for sample in samples:
        if not sample.is_synthetic:
            photos[sample.id] = sample.image
        elif sample.is_labelled and sample.split is split:
            rendered.append(sample)
    found: list[FacePair] = []
    for sample in rendered:
        bare = photos.get(sample.provenance.parent_id)
        if bare is not None and bare.size_hw == sample.image.size_hw:
            found.extend(_pairs(sample, bare, crop))
    return found


def _pairs(sample: Sample, bare: ImageRef, crop: CropSettings) -> Iterable[FacePair]:
    instances = tuple((item.label, item.mask) for item in sample.instances if not item.is_proposal)
    worn_by = {item.face for item in sample.instances if item.label is Label.FACE_MASK}
    for index, face in enumerate(sample.faces):
        if index not in worn_by:
            continue
        if crop.kind == "face":
            window = crops.face_window(face.box_xyxy, crop.margin, bare.size_hw)
        else:
            window = crops.image_window(bare.size_hw)
        yield FacePair(
            sample_id=sample.id,
            bare_id=sample.provenance.parent_id,
            group=sample.group,
            split=sample.split,
            masked=sample.image,
            bare=bare,
            window=window,
            eyes_xy=_eyes(face),
            instances=instances,
        )


def _eyes(face: Face) -> tuple[Point, Point] | None:
    values = face.landmarks_xyz
    if len(values) != LANDMARK_COUNT * 3:
        return None
    left, right = (values[3 * index : 3 * index + 2] for index in (_LEFT_EYE, _RIGHT_EYE))
    return (left[0], left[1]), (right[0], right[1])


def roll_deg(left_xy: Point, right_xy: Point) -> float:
    """How far a face is turned clockwise, as the viewer sees it, from the line between its eyes.

    Args:
        left_xy, right_xy: middles of the eyes, left and right as the viewer sees them; x right, y down.

    Returns:
        Degrees in (-180, 180].

    Source: replaces MISA's equation 20, which mixes two angles (`baselines.md` 2.3, D-09).
    """
    return math.degrees(math.atan2(right_xy[1] - left_xy[1], right_xy[0] - left_xy[0]))


def upright_matrix(left_xy: Point, right_xy: Point) -> npt.NDArray[np.float64]:
    """(2, 3) matrix for column vectors (x, y, 1): a turn about the eyes' middle that puts them level."""
    middle = ((left_xy[0] + right_xy[0]) / 2, (left_xy[1] + right_xy[1]) / 2)
    return np.asarray(cv2.getRotationMatrix2D(middle, roll_deg(left_xy, right_xy), 1.0), dtype=np.float64)


def read_pair(
    pair: FacePair, images: ImageStore, side_px: int, *, upright: bool
) -> tuple[RgbImage, RgbImage, ClassMap]:
    """The squares of a pair.

    Args:
        pair: which.
        images: the picture store.
        side_px: of the squares.
        upright: turn the face upright, where its eyes are known.

    Returns:
        Masked and bare (side, side, 3) uint8, and class numbers (side, side) uint8 of the masked one: 0
        background, 1 mask, 2 face.

    Raises:
        ItemFault: a picture or mask cannot be read.
    """
    masked, bare = images.read(pair.masked), images.read(pair.bare)
    painted = ((name, rle_to_mask(mask)) for name, mask in pair.instances)
    classes = paint_classes(painted, pair.masked.size_hw, _LABELS)
    window = pair.window
    if upright and pair.eyes_xy is not None:
        matrix = upright_matrix(*pair.eyes_xy)
        masked, bare = _turned(masked, matrix), _turned(bare, matrix)
        size = (classes.shape[1], classes.shape[0])
        classes = np.asarray(cv2.warpAffine(classes, matrix, size, flags=cv2.INTER_NEAREST), dtype=np.uint8)
        window = _moved(window, matrix)
    return (
        crops.resize_rgb(crops.cut(masked, window), side_px),
        crops.resize_rgb(crops.cut(bare, window), side_px),
        crops.resize_labels(crops.cut(classes, window), side_px),
    )


def _turned(rgb: RgbImage, matrix: npt.NDArray[np.float64]) -> RgbImage:
    size = (rgb.shape[1], rgb.shape[0])
    return np.asarray(
        cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
        dtype=np.uint8,
    )


def _moved(window: Window, matrix: npt.NDArray[np.float64]) -> Window:
    half = window.side / 2
    x, y = matrix @ (window.x0 + half, window.y0 + half, 1.0)
    return Window(round(x - half), round(y - half), window.side)


def judged_places(
    classes: ClassMap, block_px: int, reach_px: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where a classifier of blocks may learn: places like those it will be asked about.

    Args:
        classes: (S, S) of 0 background, 1 mask, 2 face.
        block_px: side of the blocks.
        reach_px: blocks up to this far from one of the other kind are taken; all, when none is so near.

    Returns:
        Columns and rows, (N, 2) and (M, 2), of blocks more than half mask and more than half face.
    """
    count = classes.shape[0] // block_px
    cut = classes[: count * block_px, : count * block_px].reshape(count, block_px, count, block_px)
    mask = (cut == 1).mean(axis=(1, 3)) > 0.5
    face = (cut == 2).mean(axis=(1, 3)) > 0.5
    kernel = np.ones((2 * (reach_px // block_px) + 1,) * 2, dtype=np.uint8)
    return _near(mask, face, kernel), _near(face, mask, kernel)


def _near(
    wanted: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_], kernel: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int64]:
    near = wanted & (cv2.dilate(others.astype(np.uint8), kernel) > 0)
    return np.argwhere(near if near.any() else wanted)[:, ::-1]
