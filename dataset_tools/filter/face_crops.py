"""Prints of the faces of a photo, by which another crop of the same shot is known.

A detector's box moves when the photo is cut or scaled, and with it every bit of the hash of what lies in it;
the mean of 478 landmarks hardly moves. So the crop is a square around that mean, sized by their spread. Of
cuts by a fifth, mirrored halves and the like, the hash of the whole picture finds next to none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

from dataset_tools.core.face_prints import FacePrint
from dataset_tools.core.images import RgbImage, perceptual_hash
from dataset_tools.core.record import LANDMARK_COUNT, Face

# Half the side of the square in root mean square distances of the landmarks from their mean. Tried from 0.8
# to 2: less takes strangers for one another, more reaches out of a tight crop.
_REACH = 1.3
# Smaller faces have too few details to tell two of them apart.
_SMALLEST_SIDE_PX = 48.0
_MOST_FACES = 16
_READ_PX = 64


def face_prints(image_rgb: RgbImage, faces: Iterable[Face]) -> tuple[FacePrint, ...]:
    """Prints of the first 16 faces that have landmarks and are large enough, in their order.

    Args:
        image_rgb: (H, W, 3) uint8.
        faces: of that picture, largest first.
    """
    found = (_face_print(image_rgb, face) for face in faces if face.landmarks_xyz)
    return tuple(one for one in found if one is not None)[:_MOST_FACES]


def _face_print(image_rgb: RgbImage, face: Face) -> FacePrint | None:
    points = np.asarray(face.landmarks_xyz).reshape(LANDMARK_COUNT, 3)[:, :2]
    centre = points.mean(axis=0)
    reach = _REACH * float(np.sqrt(np.square(points - centre).sum(axis=1).mean()))
    height, width = image_rgb.shape[:2]
    x0, y0 = np.maximum(centre - reach, 0.0).tolist()
    x1, y1 = np.minimum(centre + reach, (width, height)).tolist()
    if min(x1 - x0, y1 - y0) < _SMALLEST_SIDE_PX:
        return None
    left, top = int(x0), int(y0)
    crop = Image.fromarray(np.ascontiguousarray(image_rgb[top : int(np.ceil(y1)), left : int(np.ceil(x1))]))
    box = (x0 - left, y0 - top, x1 - left, y1 - top)
    small = np.asarray(crop.resize((_READ_PX, _READ_PX), Image.Resampling.BOX, box=box))
    turned = np.ascontiguousarray(small[:, ::-1])
    return FacePrint(int(perceptual_hash(small), 16), int(perceptual_hash(turned), 16))
