"""The 18 parts of a face that Zhakyp et al. tell apart, their mirror images, and the paper's table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# In the paper's order. l_ and r_ of eyes, brows and ears are the person's own left and right, as in
# CelebAMask-HQ; but l_lip is the lower lip and ear_r an earring. Eye_g are eyeglasses.
PARTS: tuple[str, ...] = (
    "skin",
    "nose",
    "l_eye",
    "r_eye",
    "l_brow",
    "r_brow",
    "l_ear",
    "r_ear",
    "eye_g",
    "u_lip",
    "l_lip",
    "hair",
    "hat",
    "ear_r",
    "mouth",
    "neck",
    "cloth",
    "background",
)
BACKGROUND = "background"
# A part of CelebAMask-HQ the paper does not have; its pixels belong to no part, nor to the background.
NECKLACE = "neck_l"

_SIDES = MappingProxyType({"l_eye": "r_eye", "l_brow": "r_brow", "l_ear": "r_ear"})
_MIRRORED = {**_SIDES, **{right: left for left, right in _SIDES.items()}}
SIDE_PAIRS: tuple[tuple[int, int], ...] = tuple(
    (PARTS.index(left), PARTS.index(right)) for left, right in _SIDES.items()
)
MIRROR_ORDER: tuple[int, ...] = tuple(PARTS.index(_MIRRORED.get(part, part)) for part in PARTS)
"""Channel of the mirrored picture -> channel of the picture it is taken from: sides change places."""

MEASURES = ("iou", "precision", "recall", "f1")
PAPER_BATCH = 4
SMOOTH = 1e-5  # of the Keras library the paper took loss and scores from
PRINTED_TABLE = "Zhakyp et al., table 1"
# Part -> IoU, precision, recall, F1. The hat is printed as "≈ 0".
_PRINTED: Mapping[str, tuple[float, float, float, float]] = {
    "skin": (0.9304, 0.9667, 0.9612, 0.9639),
    "nose": (0.8578, 0.9128, 0.9344, 0.9234),
    "background": (0.7455, 0.9080, 0.8063, 0.8541),
    "l_eye": (0.7530, 0.8636, 0.8547, 0.8591),
    "r_eye": (0.7482, 0.8640, 0.8481, 0.8559),
    "l_brow": (0.6814, 0.7955, 0.8262, 0.8105),
    "r_brow": (0.6739, 0.7841, 0.8273, 0.8051),
    "l_ear": (0.6803, 0.8315, 0.7890, 0.8097),
    "r_ear": (0.6646, 0.8109, 0.7865, 0.7985),
    "eye_g": (0.7456, 0.8673, 0.8415, 0.8542),
    "u_lip": (0.6937, 0.8129, 0.8254, 0.8191),
    "l_lip": (0.7585, 0.8597, 0.8656, 0.8626),
    "hair": (0.8665, 0.9274, 0.9295, 0.9284),
    "hat": (0.0, 0.0, 0.0, 0.0),
    "ear_r": (0.3522, 0.6528, 0.4333, 0.5209),
    "mouth": (0.0327, 0.4979, 0.0338, 0.0633),
    "neck": (0.7785, 0.8849, 0.8661, 0.8754),
    "cloth": (0.6780, 0.8667, 0.7569, 0.8081),
}
_PRINTED_MEANS = (0.7255, 0.8654, 0.8134, 0.8386)
PRINTED_REMARK = (
    "on 800 of 4000 pictures that are not published; the printed mean IoU .7255 averages batches of 4 in "
    "which an absent part counts 1, the mean of the 18 printed IoUs is .6467 (precision .7837, recall .7325)"
)


def measure_name(part: str, measure: str) -> str:
    """Name of a part's figure, e.g. "skin/iou"."""
    return f"{part}/{measure}"


def printed_figures() -> dict[str, float]:
    """The paper's table by the names of our figures, in [0, 1]; its means stand at the figures they mimic."""
    found = {
        measure_name(part, measure): value
        for part, values in _PRINTED.items()
        for measure, value in zip(MEASURES, values, strict=True)
    }
    means = {
        f"{measure}_batch_smooth": value for measure, value in zip(MEASURES, _PRINTED_MEANS, strict=True)
    }
    return found | means
