"""The records that flow through every stage. All are frozen; a stage makes new ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.masks import RleMask
from dataset_tools.core.reasons import Reason

Pairs = tuple[tuple[str, str], ...]  # ordered key/value notes, sorted by key

LANDMARK_COUNT = 478


class Split(StrEnum):
    """Which part of the dataset a sample belongs to."""

    UNASSIGNED = "unassigned"
    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class ReviewState(StrEnum):
    """What people have said about a sample so far."""

    NOT_SEEN = "not_seen"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture in the workspace, found by its content.

    Attributes:
        sha256: of the stored bytes, 64 hex digits.
        size_hw: height and width in pixels after orientation is applied.
        format: "jpeg" or "png"; also the file's extension.
    """

    sha256: str
    size_hw: tuple[int, int]
    format: str

    @property
    def path(self) -> str:
        """Path relative to the workspace, e.g. `objects/ab/abcd….png`."""
        extension = "jpg" if self.format == "jpeg" else self.format
        return f"objects/{self.sha256[:2]}/{self.sha256}.{extension}"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a sample comes from and what may be done with it.

    Attributes:
        source: name of the configured source, or "synth" for a rendered child.
        item_key: unique within the run: URL, relative path, or parent key plus "#synth<k>".
        url: where the bytes were fetched; "" for local files.
        licence: SPDX id or the source's own words. There is no default; never empty.
        author: as stated by the source; "" when not stated.
        retrieved_at: UTC, ISO 8601, e.g. "2026-01-31T12:00:00Z"; "" for rendered children. The one
            field that may differ between two runs, so canonical comparison leaves it out.
        content_sha256: of the bytes as fetched, before normalisation; "" for rendered children.
        parent_id: sample this one was rendered from; "" for collected photos.
        recipe: JSON that replays a rendered child exactly; "" for collected photos.
        seed: seed of the recipe; 0 for collected photos.
        evidence: further facts (status, etag, robots verdict, original name …), sorted by key.
    """

    source: str
    item_key: str
    licence: str
    url: str = ""
    author: str = ""
    retrieved_at: str = ""
    content_sha256: str = ""
    parent_id: str = ""
    recipe: str = ""
    seed: int = 0
    evidence: Pairs = ()


@dataclass(frozen=True, slots=True)
class Face:
    """A detected face.

    Attributes:
        box_xyxy: pixels, x right, y down, x1 and y1 exclusive, clipped to the picture.
        score: detector confidence in [0, 1].
        wearing: whether a face mask is worn, as far as the detector can tell.
        detector: "name@version" that found the face.
        landmarks_xyz: () or 478 * 3 floats x, y, z of the MediaPipe face landmarks: x and y in pixels of
            this picture, z in the same scale (smaller is nearer), rounded to 1/64 px, flattened.
        pose_deg: () or (yaw, pitch, roll) in degrees. Yaw > 0: the face looks towards the right edge of
            the picture; pitch > 0: it looks down; roll > 0: it is turned clockwise as seen by the viewer.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    wearing: Wearing
    detector: str
    landmarks_xyz: tuple[float, ...] = ()
    pose_deg: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """One labelled object.

    Attributes:
        id: unique within the sample.
        label: what it is.
        mask: its pixels, of the sample's size.
        drawn_by: "human:<name>", "model:<name>@<version>", "synth:<recipe>" or "published:<dataset>".
            A "model:" instance is a proposal and never ground truth.
        confidence: of a proposal, in [0, 1]; None for humans, renderers and published labels.
        face: index into `Sample.faces`, or -1.
        soft: the exact soft label (alpha) as a 16-bit grey PNG, where the renderer knows it.
        attributes: e.g. (("mask_type", "cloth"), ("wearing_state", "correct")), sorted by key.
    """

    id: str
    label: Label
    mask: RleMask
    drawn_by: str
    confidence: float | None = None
    face: int = -1
    soft: ImageRef | None = None
    attributes: Pairs = ()

    @property
    def is_proposal(self) -> bool:
        """True when a model drew it and nobody has confirmed it."""
        return self.drawn_by.startswith("model:")

    def attribute(self, key: str, default: str = "") -> str:
        """Value of an attribute, or `default`."""
        return dict(self.attributes).get(key, default)


@dataclass(frozen=True, slots=True)
class Score:
    """A filter's opinion: `value` in [0, 1], lower is worse."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Layer:
    """A further picture of the sample, such as "shadow", "amodal" or "clean"."""

    name: str
    image: ImageRef


@dataclass(frozen=True, slots=True)
class Review:
    """What people said about the sample.

    Attributes:
        state: the verdict so far.
        reviewers: names of those who looked, sorted.
        reviewed_at: UTC, ISO 8601; "" when not seen.
        note: free text of the reviewers.
        method: how several opinions became one: "single", "majority", "staple", "adjudicated"; "" when not
            seen.
        agreement: least overlap (IoU) over labels and pairs of reviewers, in [0, 1]; None for fewer than two.
    """

    state: ReviewState = ReviewState.NOT_SEEN
    reviewers: tuple[str, ...] = ()
    reviewed_at: str = ""
    note: str = ""
    method: str = ""
    agreement: float | None = None


NOT_SEEN = Review()


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture and all that is known about it.

    Attributes:
        id: first 32 hex digits of the stored picture's sha256.
        image: the picture.
        provenance: origin and licence.
        group: samples of one group never lie on both sides of a split; rendered children inherit it.
        phash: 64-bit perceptual hash, 16 hex digits.
        faces: detected faces, largest first.
        instances: labelled objects.
        layers: further pictures.
        scores: filter scores.
        split, review: see their types.
        is_labelled: True when `instances` is a complete ground truth (also when it is empty: a face
            without a mask). False: only proposals, or nothing yet.
    """

    id: str
    image: ImageRef
    provenance: Provenance
    group: str
    phash: str = ""
    faces: tuple[Face, ...] = ()
    instances: tuple[Instance, ...] = ()
    layers: tuple[Layer, ...] = ()
    scores: tuple[Score, ...] = ()
    split: Split = Split.UNASSIGNED
    review: Review = field(default=NOT_SEEN)
    is_labelled: bool = False

    @property
    def is_synthetic(self) -> bool:
        """True for a picture made by the renderer."""
        return bool(self.provenance.parent_id)


def sample_id(image: ImageRef) -> str:
    """The sample id that belongs to a stored picture."""
    return image.sha256[:32]


def sorted_pairs(values: dict[str, str]) -> Pairs:
    """A dict as the sorted key/value pairs that records hold."""
    return tuple(sorted(values.items()))


@dataclass(frozen=True, slots=True)
class Rejection:
    """An item that is not in the dataset, and why.

    Attributes:
        stage: where it was dropped.
        item_key: `Provenance.item_key` of the item; unique per input.
        reason: fixed word.
        detail: one line for people, at most 500 characters.
        sample_id: the sample, when there was one already; for a derived item its parent.
        source: configured source name.
        derived: True when a child could not be made; the parent itself is kept.
        retryable: the same item may succeed later.
        tries: attempts made.
        due: UTC, ISO 8601, before which the host does not want to be asked again; "" when it named no time.
            A clock time, so canonical comparison leaves it out.
    """

    stage: str
    item_key: str
    reason: Reason
    detail: str
    sample_id: str = ""
    source: str = ""
    derived: bool = False
    retryable: bool = False
    tries: int = 1
    due: str = ""
