"""The three losses of MTCNN and how they are weighed.

Source: Zhang et al., 2016, section II.C: cross entropy for the face, squared distance for box and points,
each only over the windows that can say something about it, and the easiest 30 % of a batch's faces and
non-faces left out (online hard sample mining).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from baselines.mtcnn.networks import StageOutput
from baselines.mtcnn.settings import StageName

NEGATIVE, POSITIVE, PART = 0, 1, 2  # a window on no face, on a face, and on a piece of one

# (face, box, landmarks): `baselines.md` section 3.2.
TASK_WEIGHTS: dict[StageName, tuple[float, float, float]] = {
    "p": (1.0, 0.5, 0.5),
    "r": (1.0, 0.5, 0.5),
    "o": (1.0, 0.5, 1.0),
}
MINED_SHARE = 0.7


class Targets(NamedTuple):
    """What is true of each window.

    Attributes:
        kind: (B,) integer: NEGATIVE, POSITIVE or PART.
        box: (B, 4) float as `StageOutput.box`; only read where the kind is POSITIVE or PART.
        landmarks: (B, 10) float as `StageOutput.landmarks`.
        has_landmarks: (B,) bool, where they are known.
    """

    kind: Tensor
    box: Tensor
    landmarks: Tensor
    has_landmarks: Tensor


def mined(losses: Tensor, share: float = MINED_SHARE) -> Tensor:
    """The largest values of (B,) losses: that share of them, at least one of a batch that has any."""
    if losses.numel() == 0:
        return losses
    return losses.topk(max(int(losses.numel() * share), 1)).values


def face_loss(logits: Tensor, kind: Tensor, mined_share: float = MINED_SHARE) -> Tensor:
    """Mean cross entropy of the hardest positives and negatives; 0 for a batch of parts alone.

    Args:
        logits: (B, 2).
        kind: (B,) of `Targets`.
        mined_share: share of the hardest to keep.
    """
    decided = kind != PART
    return _mean(
        mined(F.cross_entropy(logits[decided].float(), kind[decided], reduction="none"), mined_share)
    )


def box_loss(offsets: Tensor, truth: Tensor, kind: Tensor) -> Tensor:
    """Squared distance of (B, 4) offsets, mean over positives and parts; 0 without any."""
    return _mean(_squared_distance(offsets, truth, kind != NEGATIVE))


def landmark_loss(points: Tensor, truth: Tensor, has_landmarks: Tensor) -> Tensor:
    """Squared distance of (B, 10) coordinates, mean over the windows that have them; 0 without any."""
    return _mean(_squared_distance(points, truth, has_landmarks))


def stage_loss(
    output: StageOutput, targets: Targets, stage: StageName, mined_share: float = MINED_SHARE
) -> Tensor:
    """The weighted sum of a stage's losses.

    Args:
        output: of B windows of exactly the stage's size (P-Net's 1x1 maps are taken as vectors).
        targets: of the same windows.
        stage: decides the weights.
        mined_share: as in `face_loss`.

    Returns:
        Scalar float32.
    """
    for_face, for_box, for_points = TASK_WEIGHTS[stage]
    total = for_face * face_loss(output.face.flatten(1), targets.kind, mined_share)
    total = total + for_box * box_loss(output.box.flatten(1), targets.box, targets.kind)
    if output.landmarks is not None:
        points = output.landmarks.flatten(1)
        total = total + for_points * landmark_loss(points, targets.landmarks, targets.has_landmarks)
    return total


def _squared_distance(found: Tensor, truth: Tensor, chosen: Tensor) -> Tensor:
    return (found[chosen].float() - truth[chosen].float()).square().sum(dim=1)


def _mean(values: Tensor) -> Tensor:
    # The mean of nothing is NaN; its sum is a 0 that gradients can flow through.
    return values.sum() / max(values.numel(), 1)
