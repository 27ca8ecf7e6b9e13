"""How sure the detector must be: precision and recall on labelled photos, by threshold.

Two questions are asked of a photo as a whole, "is there a masked face?" and "is there an unmasked face?":
that much is known of photos sorted into two folders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.images import decode_photo
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Sample
from dataset_tools.filter.aizoo import DetectedFace, FaceDetector
from dataset_tools.filter.faces import is_detection

FOLDERS = {"with_mask": Wearing.MASKED, "without_mask": Wearing.UNMASKED}
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(4, 20))  # 0.2 … 0.95


@dataclass(frozen=True, slots=True)
class Observation:
    """A photo: what is known of it, and the best score of a masked and of an unmasked face (0: none)."""

    wearing: Wearing
    masked_score: float
    unmasked_score: float


@dataclass(frozen=True, slots=True)
class Rates:
    """Answers to one question, counted."""

    true_positive: int
    false_positive: int
    false_negative: int

    @property
    def precision(self) -> float:
        """Share of the found ones that are right; 1 when nothing was found."""
        found = self.true_positive + self.false_positive
        return self.true_positive / found if found else 1.0

    @property
    def recall(self) -> float:
        """Share of the true ones that were found; 1 when there are none."""
        true = self.true_positive + self.false_negative
        return self.true_positive / true if true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        counted = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / counted if counted else 1.0


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """What a threshold gives.

    Attributes:
        threshold: a face counts from this score on.
        masked, unmasked: answers to the two questions.
        accuracy: share of the photos whose surest face wears what the photo is known for.
    """

    threshold: float
    masked: Rates
    unmasked: Rates
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The table, and the threshold with the best mean F1 (in the middle of equals)."""

    photos: int
    rows: tuple[ThresholdRow, ...]
    recommended: float


def calibrate(observations: Sequence[Observation], thresholds: Sequence[float] = THRESHOLDS) -> Calibration:
    """Precision and recall of both questions at every threshold.

    Args:
        observations: one per photo.
        thresholds: in [0, 1], rising.

    Raises:
        DataError: photos of one kind only.
    """
    kinds = {one.wearing for one in observations}
    if kinds != set(FOLDERS.values()):
        raise DataError("calibration needs photos with masks and photos without")
    rows = tuple(_row(observations, threshold) for threshold in thresholds)
    best = max(_mean_f1(row) for row in rows)
    equals = [row.threshold for row in rows if _mean_f1(row) == best]
    return Calibration(len(observations), rows, equals[len(equals) // 2])


def observe(faces: Iterable[DetectedFace], wearing: Wearing) -> Observation:
    """What a detector's faces say of a photo whose wearing state is known."""
    best = {Wearing.MASKED: 0.0, Wearing.UNMASKED: 0.0}
    for face in faces:
        best[face.wearing] = max(best.get(face.wearing, 0.0), face.score)
    return Observation(wearing, best[Wearing.MASKED], best[Wearing.UNMASKED])


def observe_folder(folder: Path, detector: FaceDetector, progress: Progress) -> Iterator[Observation]:
    """Observations of the photos in `with_mask/` and `without_mask/`; files that are no photos are left out.

    Raises:
        DataError: one of the two folders is not there.
    """
    for name, wearing in FOLDERS.items():
        if not (folder / name).is_dir():
            raise DataError(f"{folder} needs the folders {' and '.join(FOLDERS)}")
        for path in photos_in(folder / name):
            try:
                photo = decode_photo(path.read_bytes())
            except ItemFault:
                continue
            yield observe(detector.detect(photo.rgb, THRESHOLDS[0]), wearing)
            progress.advance()


def photos_in(folder: Path) -> list[Path]:
    """The files of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def observe_manifest(manifest: Manifest) -> Iterator[Observation]:
    """Observations of the labelled samples in a manifest of `detect`, from what is recorded there.

    A label of a face mask says that there is a masked face, a complete label without one that there is not.
    """
    return (_of_sample(sample) for sample in manifest.samples() if sample.is_labelled)


def _of_sample(sample: Sample) -> Observation:
    masked = any(instance.label is Label.FACE_MASK for instance in sample.instances)
    faces = (
        DetectedFace(face.box_xyxy, face.score, face.wearing) for face in sample.faces if is_detection(face)
    )
    return observe(faces, Wearing.MASKED if masked else Wearing.UNMASKED)


def _row(observations: Sequence[Observation], threshold: float) -> ThresholdRow:
    masked = _rates((one.wearing is Wearing.MASKED, one.masked_score >= threshold) for one in observations)
    unmasked = _rates(
        (one.wearing is Wearing.UNMASKED, one.unmasked_score >= threshold) for one in observations
    )
    right = sum(_surest(one, threshold) is one.wearing for one in observations)
    return ThresholdRow(threshold, masked, unmasked, right / len(observations))


def _rates(answers: Iterable[tuple[bool, bool]]) -> Rates:
    counted = {(True, True): 0, (False, True): 0, (True, False): 0, (False, False): 0}
    for answer in answers:
        counted[answer] += 1
    return Rates(counted[True, True], counted[False, True], counted[True, False])


def _surest(one: Observation, threshold: float) -> Wearing:
    if max(one.masked_score, one.unmasked_score) < threshold:
        return Wearing.UNKNOWN
    return Wearing.MASKED if one.masked_score >= one.unmasked_score else Wearing.UNMASKED


def _mean_f1(row: ThresholdRow) -> float:
    return (row.masked.f1 + row.unmasked.f1) / 2
