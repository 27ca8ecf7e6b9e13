"""Losses between boxes, and the detection heads that learn by them instead of by edge offsets."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_loss
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from dataset_tools.core.errors import UnknownName

_EPSILON = 1e-7

BoxLoss = Callable[[Tensor, Tensor], Tensor]
"""From (N, 4) found boxes and (N, 4) true ones, x0, y0, x1, y1, to (N,) losses."""


def eiou_loss(found: Tensor, truth: Tensor) -> Tensor:
    """1 - IoU, plus how far centres, widths and heights are apart, in sizes of the enclosing box.

    Args:
        found, truth: (N, 4) float, x0, y0, x1, y1 with x0 <= x1 and y0 <= y1; any unit.

    Returns:
        (N,) float32, 0 for equal boxes, below 4.

    Source: MISA, equations 4-11, corrected (`baselines.md` 2.2.1); Zhang et al., arXiv 2101.08158.
    """
    found, truth = found.float(), truth.float()
    shared = torch.minimum(found[:, 2:], truth[:, 2:]) - torch.maximum(found[:, :2], truth[:, :2])
    inter = shared.clamp(min=0).prod(dim=1)
    size, true_size = found[:, 2:] - found[:, :2], truth[:, 2:] - truth[:, :2]
    union = size.prod(dim=1) + true_size.prod(dim=1) - inter
    around = torch.maximum(found[:, 2:], truth[:, 2:]) - torch.minimum(found[:, :2], truth[:, :2])
    squares = around.square()
    apart = (found[:, :2] + found[:, 2:] - truth[:, :2] - truth[:, 2:]).square().sum(dim=1) / 4
    distance = apart / (squares.sum(dim=1) + _EPSILON)
    aspect = ((size - true_size).square() / (squares + _EPSILON)).sum(dim=1)
    return 1 - inter / (union + _EPSILON) + distance + aspect


# The library's own losses take "reduction", which is "none" by default.
BOX_LOSSES: MappingProxyType[str, BoxLoss] = MappingProxyType(
    {
        "giou": generalized_box_iou_loss,
        "diou": distance_box_iou_loss,
        "ciou": complete_box_iou_loss,
        "eiou": eiou_loss,
    }
)
SMOOTH_L1 = "smooth_l1"


class BoxLossHeads(RoIHeads):  # type: ignore[misc]
    """Box and mask heads whose boxes learn by an overlap loss of whole boxes.

    The library's loss sees edge offsets only; here the sampled proposals are kept, offsets of the labelled
    class are turned back into boxes, and the losses of all positive proposals are summed and divided by the
    number of sampled ones, as the library does (`baselines.md` 2.2.1).
    """

    box_loss: BoxLoss
    box_weight: float

    @classmethod
    def replacing(cls, heads: RoIHeads, box_loss: str, weight: float) -> BoxLossHeads:
        """The same heads, layers and thresholds with another box loss.

        Args:
            heads: of the library.
            box_loss: a name of `BOX_LOSSES`.
            weight: multiplies the box loss.

        Raises:
            UnknownName: no such loss.
        """
        if box_loss not in BOX_LOSSES:
            raise UnknownName("box loss", box_loss, (*BOX_LOSSES, SMOOTH_L1))
        matcher, sampler = heads.proposal_matcher, heads.fg_bg_sampler
        made = cls(
            heads.box_roi_pool,
            heads.box_head,
            heads.box_predictor,
            matcher.high_threshold,
            matcher.low_threshold,
            sampler.batch_size_per_image,
            sampler.positive_fraction,
            heads.box_coder.weights,
            heads.score_thresh,
            heads.nms_thresh,
            heads.detections_per_img,
            heads.mask_roi_pool,
            heads.mask_head,
            heads.mask_predictor,
        )
        made.box_loss, made.box_weight = BOX_LOSSES[box_loss], weight
        return made

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """As the library's heads: detections in eval mode, losses by name in training."""
        if not self.training:
            answer: tuple[list[dict[str, Tensor]], dict[str, Tensor]] = super().forward(
                features, proposals, image_shapes
            )
            return answer
        sampled, matched, labels, offsets = self.select_training_samples(proposals, targets)
        pooled = self.box_head(self.box_roi_pool(features, sampled, image_shapes))
        class_logits, found_offsets = self.box_predictor(pooled)
        names = torch.cat(labels)
        losses = {
            "loss_classifier": F.cross_entropy(class_logits, names),
            "loss_box_reg": self._box_loss(
                found_offsets, names, torch.cat(sampled).detach(), torch.cat(offsets)
            ),
        }
        if self.has_mask():
            losses["loss_mask"] = self._mask_loss(features, sampled, matched, labels, image_shapes, targets)
        return [], losses

    def _box_loss(self, found: Tensor, names: Tensor, proposals: Tensor, offsets: Tensor) -> Tensor:
        positive = torch.where(names > 0)[0]
        of_class = found.reshape(len(names), -1, 4)[positive, names[positive]].float()
        anchors = proposals[positive].float()
        boxes = self.box_coder.decode_single(of_class, anchors)
        truth = self.box_coder.decode_single(offsets[positive].float(), anchors)
        return self.box_weight * self.box_loss(boxes, truth).sum() / max(len(names), 1)

    def _mask_loss(
        self,
        features: dict[str, Tensor],
        sampled: list[Tensor],
        matched: list[Tensor],
        labels: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Any,
    ) -> Tensor:
        positive = [torch.where(names > 0)[0] for names in labels]
        boxes = [one[index] for one, index in zip(sampled, positive, strict=True)]
        indices = [one[index] for one, index in zip(matched, positive, strict=True)]
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, image_shapes)))
        masks, names = [one["masks"] for one in targets], [one["labels"] for one in targets]
        loss: Tensor = maskrcnn_loss(logits, boxes, masks, names, indices)
        return loss
