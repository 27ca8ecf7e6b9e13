"""Label names, their ids, and the fixed vocabularies of mask types and wearing states.

Ids follow MISA with background 0, face mask 1, face 2 (`baselines.md` section 2.1); occluder and strap
come after, so that a three-class model simply ignores them.
"""

from __future__ import annotations

from enum import StrEnum

from dataset_tools.core.errors import UnknownName

BACKGROUND_ID = 0


class Label(StrEnum):
    """What an instance's pixels are. `FACE` is the visible skin of a face, not the whole head."""

    FACE_MASK = "face_mask"
    FACE = "face"
    OCCLUDER = "occluder"
    STRAP = "strap"


LABEL_IDS: dict[Label, int] = {
    Label.FACE_MASK: 1,
    Label.FACE: 2,
    Label.OCCLUDER: 3,
    Label.STRAP: 4,
}

# Where instances claim the same pixel, the later label of this list wins (nearer to the camera).
PAINT_ORDER: tuple[Label, ...] = (Label.FACE, Label.STRAP, Label.FACE_MASK, Label.OCCLUDER)

# Names of the label colours in pictures, RGB uint8.
LABEL_COLOURS: dict[Label, tuple[int, int, int]] = {
    Label.FACE_MASK: (0, 200, 83),
    Label.FACE: (41, 98, 255),
    Label.OCCLUDER: (255, 109, 0),
    Label.STRAP: (170, 0, 255),
}


class Wearing(StrEnum):
    """What a detector says of a face. `UNKNOWN` when the detector cannot tell."""

    MASKED = "masked"
    UNMASKED = "unmasked"
    INCORRECT = "incorrect"
    UNKNOWN = "unknown"


# Attribute keys of an Instance that several rooms read.
MASK_TYPE = "mask_type"
WEARING_STATE = "wearing_state"
SKIN_ITA = "skin_ita_deg"  # individual typology angle of the wearer, as the photo shows it

MASK_TYPES: tuple[str, ...] = (
    "surgical",
    "cloth",
    "kn95",
    "n95",
    "duckbill",
    "gaiter",
    "scarf",
    "transparent",
    "printed",
    "other",
)
WEARING_STATES: tuple[str, ...] = ("correct", "nose_out", "mouth_out", "under_chin", "hanging")


def parse_label(name: str) -> Label:
    """The label of that exact name.

    Raises:
        UnknownName: no such label; lists the nearest ones.
    """
    try:
        return Label(name)
    except ValueError:
        raise UnknownName("label", name, [label.value for label in Label]) from None
