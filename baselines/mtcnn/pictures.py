"""Faces of a manifest, and square windows cut from pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.mtcnn.networks import POINTS
from dataset_tools.core.record import LANDMARK_COUNT, Face, ImageRef, Sample, Split

RgbImage = npt.NDArray[np.uint8]

# Numbers of the 478 MediaPipe points, left and right as the viewer sees them. The middle of an eye's corners
# does not follow the gaze as the iris would.
_LEFT_EYE_CORNERS = (33, 133)
_RIGHT_EYE_CORNERS = (362, 263)
_NOSE_TIP = 1
_MOUTH_CORNERS = (61, 291)


@dataclass(frozen=True, slots=True)
class FacePicture:
    """A picture and its faces.

    Attributes:
        sample_id, group, split, parent_id, image: of the sample.
        boxes: x0, y0, x1, y1 in pixels of each face.
        landmarks: (5, 2) x and y in pixels of each face, or None where they are not known: left eye, right
            eye, nose tip, left and right corner of the mouth. On a masked face the lower three are the
            landmark model's guess.
    """

    sample_id: str
    group: str
    split: Split
    parent_id: str
    image: ImageRef
    boxes: tuple[tuple[float, float, float, float], ...]
    landmarks: tuple[npt.NDArray[np.float32] | None, ...]


def list_face_pictures(samples: Iterable[Sample], split: Split) -> list[FacePicture]:
    """Samples of one split that have a face, in manifest order.

    A sample without a face is left out: the manifest's detector may have overlooked one, so it teaches
    nothing about background.
    """
    return [
        FacePicture(
            sample_id=sample.id,
            group=sample.group,
            split=sample.split,
            parent_id=sample.provenance.parent_id,
            image=sample.image,
            boxes=tuple(face.box_xyxy for face in sample.faces),
            landmarks=tuple(five_points(face) for face in sample.faces),
        )
        for sample in samples
        if sample.split is split and sample.faces
    ]


def five_points(face: Face) -> npt.NDArray[np.float32] | None:
    """Eyes, nose tip and mouth corners of a face as (5, 2) float32 x, y; None without landmarks."""
    if len(face.landmarks_xyz) != LANDMARK_COUNT * 3:
        return None
    points = np.asarray(face.landmarks_xyz, dtype=np.float64).reshape(LANDMARK_COUNT, 3)[:, :2]
    eyes = [points[list(corners)].mean(axis=0) for corners in (_LEFT_EYE_CORNERS, _RIGHT_EYE_CORNERS)]
    found = np.stack([*eyes, points[_NOSE_TIP], *(points[corner] for corner in _MOUTH_CORNERS)])
    assert found.shape == (POINTS, 2)
    return found.astype(np.float32)


def picture_tensor(rgb: RgbImage) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in 0..255."""
    return torch.tensor(rgb).permute(2, 0, 1).float()


def resized(picture: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(3, H, W) float at another size, bilinear; smoothed first when it shrinks."""
    found: Tensor = F.interpolate(
        picture[None], size=size_hw, mode="bilinear", align_corners=False, antialias=True
    )
    return found[0]


def cut_windows(picture: Tensor, windows: Tensor, side_px: int) -> Tensor:
    """Square windows of a picture, all resized to one side.

    Args:
        picture: (3, H, W) float in 0..255.
        windows: (N, 4) pixels; rounded to whole ones. What lies beyond the picture is mid grey.
        side_px: of the result.

    Returns:
        (N, 3, side_px, side_px) float32 in 0..255.
    """
    height, width = picture.shape[-2:]
    found = picture.new_full((len(windows), 3, side_px, side_px), 127.5)
    for index, (x0, y0, x1, y1) in enumerate(windows.round().long().tolist()):
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
        inside = picture[:, max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        if inside.numel() == 0:
            continue
        edges = (max(-x0, 0), max(x1 - width, 0), max(-y0, 0), max(y1 - height, 0))
        if any(edges):
            inside = F.pad(inside, edges, value=127.5)
        found[index] = resized(inside, (side_px, side_px)).clamp(0, 255)
    return found
