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
_PATH_FIELDS = frozenset({"landmarker_path", "aizoo_caffemodel", "aizoo_prototxt", "detector_weights"})
# What decides what is found; everything else decides what of it is kept.
_DETECTION_FIELDS = frozenset(
    {"detect", "detector", "landmarks", "landmarker", "landmarker_score"} | {"candidate_score", "landmark_px"}
)


class FilterSettings(Settings):
    """Configuration of detection and of the filter.

    Changing a threshold (from `min_score` on) does not run a detector again, as long as it stays above the
    floor of what was recorded: `candidate_score` for `min_score`, `landmark_px` for `min_face_px`.

    Attributes:
        detect: False for published face crops: the whole picture is the one face.
        detector: "aizoo" tells masked from unmasked; "default" is the suite's own network of the same shape,
            whose weights come with it, and knows masks worn wrongly, too; "mediapipe" leaves the wearing
            state unknown; "auto" takes AIZOO when its weights can be had, else the suite's own.
            `choose_detector` decides once per build.
        detector_version: of the weights of "default"; filled in by `choose_detector`, checked where given.
        landmarks: find the 478 landmarks and the pose of faces. Faces that the "mediapipe" detector finds
            always have them.
        landmarker: "tasks" runs the official bundle in MediaPipe, "wheel" the older networks that a
            MediaPipe wheel carries; "auto" takes the official one when it can be had.
        landmarker_score: confidence that the landmarker itself asks for; it tells none, so this is the
            score of a face that only the landmarker found.
        candidate_score: detections of a face-mask detector from here on are recorded.
        landmark_px: landmarks are searched on a crop around every face of at least this shorter side that
            has none from the whole photo.
        min_score: detections of a face-mask detector below are not faces.
        require_face: drop unlabelled pictures without a face of at least `min_face_px`.
        min_face_px: shorter side of a face box; ABANet drops faces below 100x100 pixels. Together with the
            following it decides which faces are usable: the others lose their landmarks, so nothing is
            rendered onto them, and an unlabelled picture without a usable face is dropped.
        min_sharpness, min_exposure: of the pixels in the box, see `quality`.
        min_inside: share of the face inside the picture.
        min_frontal: cosine of the angle between the face's direction and the camera's; 0.5 is 60 degrees.
            A face without landmarks has 0.
        drop_distance: pictures whose hashes differ in at most so many bits are the same picture; the
            larger one stays.
        group_distance: pictures that differ in at most so many bits join one group and so one split.
        face_distance: pictures join one group, too, when the crops of two faces in them differ in at most so
            many bits, as they are or mirrored; none is dropped for that. null compares no faces. Only faces
            with landmarks are compared. Of 1.71 million pairs of faces in 1,916 photos that had passed for
            all different, 1 lies within 4 bits, and it is two cuts of one shot; within 6 bits lie 18, of
            which 4 are. Of photos cut by a tenth, by a fifth, and mirrored, 4 bits find 68, 59 and 73 %;
            6 bits 75, 64 and 83 %; the hash of the whole picture 1 % and less.
        landmarker_path, aizoo_caffemodel, aizoo_prototxt: use these files; they must be the pinned ones.
        detector_weights: of "default": a detector that was trained here, its record beside it.
    """

    detect: bool = True
    detector: Literal["auto", "aizoo", "default", "mediapipe"] = "auto"
    detector_version: str = Field(default="", pattern=r"^([0-9a-f]{12})?$")
    landmarks: bool = True
    landmarker: Literal["auto", "tasks", "wheel"] = "auto"
    landmarker_score: Share = 0.5
    candidate_score: Share = 0.3
    landmark_px: int = Field(default=48, ge=1)
    min_score: Share = 0.5
    require_face: bool = True
    min_face_px: int = Field(default=100, ge=1)
    min_sharpness: Share = 0.02
    min_exposure: Share = 0.0
    min_inside: Share = 0.0
    min_frontal: Share = 0.0
    drop_distance: HashDistance = 4
    group_distance: HashDistance = 6
    face_distance: HashDistance | None = 4
    landmarker_path: Path | None = None
    aizoo_caffemodel: Path | None = None
    aizoo_prototxt: Path | None = None
    detector_weights: Path | None = None

    @property
    def recorded_score(self) -> float:
        """Lowest score of a recorded detection."""
        return min(self.candidate_score, self.min_score)

    @property
    def landmarked_px(self) -> int:
        """Shorter side of the smallest face that gets a closer look for landmarks."""
        return min(self.landmark_px, self.min_face_px)

    def detection_config(self) -> dict[str, Any]:
        """The values that decide what is found, as plain JSON values."""
        values = self.model_dump(mode="json", include=set(_DETECTION_FIELDS))
        if self.detector == "default":
            values["detector_version"] = self.detector_version
        return values | {"candidate_score": self.recorded_score, "landmark_px": self.landmarked_px}

    def gate_config(self) -> dict[str, Any]:
        """The values that decide what is kept of it, as plain JSON values."""
        return self.model_dump(
            mode="json", exclude=set(_PATH_FIELDS | _DETECTION_FIELDS | {"detector_version"})
        )
