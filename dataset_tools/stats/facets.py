"""What pictures are told apart by: the filters of the gallery and the rows of the tables by split."""

from __future__ import annotations

from dataset_tools.core.labels import MASK_TYPE, WEARING_STATE, WEARING_STATES, Label
from dataset_tools.core.record import Face, Instance, Sample

# Yaw at which a face no longer counts as frontal, and at which it counts as a profile, in degrees.
FRONT_YAW_DEG = 15.0
PROFILE_YAW_DEG = 45.0

UNKNOWN = "not known"
NO_MASK = "no face mask"
NOT_LABELLED = "not labelled"
NO_FACE = "no face found"
NOBODY = "nobody"

# Words for who drew an instance.
ORIGINS = {"human": "people", "synth": "renderer", "published": "published", "model": "model, not confirmed"}

POSES = ("left", "left-front", "front", "right-front", "right", UNKNOWN)

# Key and title of each.
FACETS = {
    "split": "Split",
    "kind": "Kind",
    "mask_type": "Mask type",
    "wearing_state": "Wearing state",
    "pose": "Face orientation",
    "source": "Source",
    "licence": "Licence",
    "origin": "Label origin",
    "review": "Review",
}


def facets_of(sample: Sample) -> dict[str, tuple[str, ...]]:
    """The values of a picture for every key of `FACETS`, each value once, sorted.

    Mask types and wearing states are those of its ground truth; a picture has several when it shows several
    face masks.
    """
    masks = true_masks(sample)
    return {
        "split": (sample.split.value,),
        "kind": ("synthetic" if sample.is_synthetic else "real",),
        "mask_type": _attribute(sample, masks, MASK_TYPE),
        "wearing_state": _attribute(sample, masks, WEARING_STATE),
        "pose": tuple(sorted({pose_name(face) for face in sample.faces})) or (NO_FACE,),
        "source": (sample.provenance.source,),
        "licence": (sample.provenance.licence,),
        "origin": tuple(sorted({origin_of(item) for item in sample.instances})) or (NOBODY,),
        "review": (sample.review.state.value.replace("_", " "),),
    }


def true_masks(sample: Sample) -> list[Instance]:
    """Its face masks that are ground truth."""
    return [item for item in sample.instances if item.label is Label.FACE_MASK and not item.is_proposal]


def origin_of(item: Instance) -> str:
    """Who drew an instance, in a word of `ORIGINS`."""
    kind = item.drawn_by.partition(":")[0]
    return ORIGINS.get(kind, kind)


def pose_name(face: Face) -> str:
    """Where a face looks, by yaw, as seen in the picture (left: towards its left edge)."""
    if not face.pose_deg:
        return UNKNOWN
    yaw = face.pose_deg[0]
    if abs(yaw) < FRONT_YAW_DEG:
        return "front"
    side = "right" if yaw > 0 else "left"
    return side if abs(yaw) >= PROFILE_YAW_DEG else f"{side}-front"


def _word(value: str) -> str:
    # Our own identifiers as words; whatever else a dataset says is left as it is.
    return value.replace("_", " ") if value in WEARING_STATES else value or UNKNOWN


def _attribute(sample: Sample, masks: list[Instance], key: str) -> tuple[str, ...]:
    if masks:
        return tuple(sorted({_word(item.attribute(key)) for item in masks}))
    return (NO_MASK if sample.is_labelled else NOT_LABELLED,)
