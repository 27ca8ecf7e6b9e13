"""What the network should have said of a batch of pictures, and how wrong it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from baselines.ssd.anchors import match
from dataset_tools.core.anchors import AnyFloats, anchors_cxcywh, encode_boxes

BACKGROUND = -1
IGNORED = -2
_GAMMA = 2.0  # Lin et al. 2017, section 5.1
_BOX_WEIGHT = 1.0


@dataclass(frozen=True, slots=True)
class Targets:
    """Of a batch: (B, 5972) int64 class, `BACKGROUND` or `IGNORED`, and (B, 5972, 4) float32 offsets."""

    classes: torch.Tensor
    offsets: torch.Tensor


def targets_of(scenes: Sequence[tuple[AnyFloats, npt.NDArray[np.int64]]]) -> Targets:
    """Targets of a batch.

    Args:
        scenes: of each picture (N, 4) boxes as fractions of it, and (N,) their classes; `IGNORED` marks a
            face that is neither to be found nor to be missed, such as one cut by the border.
    """
    anchors = anchors_cxcywh()
    classes = np.full((len(scenes), len(anchors)), BACKGROUND, dtype=np.int64)
    offsets = np.zeros((len(scenes), len(anchors), 4), dtype=np.float32)
    for row, (boxes, names) in enumerate(scenes):
        owner = match(boxes)
        owned = owner >= 0
        if owned.any():
            classes[row, owned] = names[owner[owned]]
            offsets[row, owned] = encode_boxes(boxes[owner[owned]], anchors[owned])
    return Targets(torch.from_numpy(classes), torch.from_numpy(offsets))


def detection_loss(
    offsets: torch.Tensor, logits: torch.Tensor, targets: Targets
) -> tuple[torch.Tensor, torch.Tensor]:
    """Errors of the classes and of the boxes, each per anchor that has a face.

    Classes by the focal loss (Lin et al. 2017, equation 4, both sides alike): thousands of easy anchors say
    little. Boxes by smooth L1 on the offsets (Liu et al. 2016, equation 2).

    Args:
        offsets: (B, 5972, 4).
        logits: (B, 5972, classes).
        targets: of the same batch.
    """
    is_face = targets.classes >= 0
    wanted = torch.zeros_like(logits)
    wanted[is_face] = torch.nn.functional.one_hot(targets.classes[is_face], logits.shape[-1]).to(logits)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    missed = torch.abs(wanted - torch.sigmoid(logits)) ** _GAMMA
    counts = (targets.classes != IGNORED).unsqueeze(-1)
    faces = is_face.sum().clamp(min=1)
    class_error = (missed * plain * counts).sum() / faces
    box_error = torch.nn.functional.smooth_l1_loss(
        offsets[is_face], targets.offsets[is_face], reduction="sum"
    )
    return class_error, _BOX_WEIGHT * box_error / (4 * faces)
