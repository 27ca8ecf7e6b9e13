"""What the filter looks for and what it drops."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from dataset_tools.core.settings import Settings

# Bits of a 64-bit perceptual hash; the index of `duplicates.py` is built for small distances.
HashDistance = Annotated[int, Field(ge=0, le=15)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

# Where files lie says nothing about rows: every model file is pinned by its hash.
_PATH_FIELDS = {"landmarker_path", "aizoo_caffemodel", "aizoo_prototxt"}


class FilterSettings(Settings):
    """Configuration of the filter.

    Attributes:
        detect: False for published face crops: the whole picture is the one face.
        detector: "aizoo" tells masked from unmasked; "mediapipe" leaves the wearing state unknown; "auto"
            takes AIZOO when its weights can be had. `choose_detector` decides once per build.
        landmarks: find the 478 landmarks and the pose of every face of at least `min_face_px`. Faces that
            the "mediapipe" detector finds always have them.
        landmarker: "tasks" runs the official bundle in MediaPipe, "wheel" the older networks that a
            MediaPipe wheel carries; "auto" takes the official one when it can be had.
        min_score: detections below are not faces.
        require_face: drop unlabelled pictures without a face of at least `min_face_px`.
        min_face_px: shorter side of a face box; ABANet drops faces below 100x100 pixels.
        min_sharpness: drop unlabelled pictures whose largest face is less sharp (`quality.sharpness`).
        drop_distance: pictures whose hashes differ in at most so many bits are the same picture; the
            larger one stays.
        group_distance: pictures that differ in at most so many bits join one group and so one split.
        landmarker_path, aizoo_caffemodel, aizoo_prototxt: use these files; they must be the pinned ones.
    """

    detect: bool = True
    detector: Literal["auto", "aizoo", "mediapipe"] = "auto"
    landmarks: bool = True
    landmarker: Literal["auto", "tasks", "wheel"] = "auto"
    min_score: Share = 0.5
    require_face: bool = True
    min_face_px: int = Field(default=100, ge=1)
    min_sharpness: Share = 0.02
    drop_distance: HashDistance = 4
    group_distance: HashDistance = 6
    landmarker_path: Path | None = None
    aizoo_caffemodel: Path | None = None
    aizoo_prototxt: Path | None = None

    def row_config(self) -> dict[str, Any]:
        """The values that decide rows, as plain JSON values."""
        return self.model_dump(mode="json", exclude=_PATH_FIELDS)
