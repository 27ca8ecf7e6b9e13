"""Mask R-CNN as a segmenter: objects found one by one, then painted into one map of classes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import paste_masks_in_image
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from baselines.segmenter import InitialWeights, SegOutput

STRIDE_PX = 32  # of the coarsest map that pictures are padded for
_LEAST_INSTANCE_PX = 9  # smaller specks come from resizing labels, and the coarsest boxes cannot find them
_LEAST_CHANCE = 1e-6  # keeps logits finite

Detection = dict[str, Tensor]
"""Objects of one picture, best first: "boxes" (N, 4) x0, y0, x1, y1 in pixels, "scores" (N,) in [0, 1],
"labels" (N,) int from 1, and for networks with a mask head "masks" (N, H, W) in [0, 1]."""


class PyramidBody(nn.Module):
    """A network that gives four maps, and the feature pyramid on them.

    Attributes:
        out_channels: of every level.
    """

    def __init__(self, body: nn.Module, channels: list[int], out_channels: int = 256) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(channels, out_channels, LastLevelMaxPool())
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Five levels at strides 4, 8, 16, 32 and 64, finest first."""
        maps = OrderedDict((str(index), one) for index, one in enumerate(self.body(images)))
        levels: dict[str, Tensor] = self.fpn(maps)
        return levels


def detect(
    detector: FasterRCNN, images: Tensor, targets: list[Detection] | None = None
) -> tuple[list[Detection], dict[str, Tensor]]:
    """Run a torchvision detector without its own resizing and normalising.

    Args:
        detector: Faster or Mask R-CNN.
        images: (B, 3, H, W) float, normalised already; any size, padded with zeros to `STRIDE_PX`.
        targets: what is to be found; only in training.

    Returns:
        In eval mode the objects of each picture, in training the losses by name.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, -width % STRIDE_PX, 0, -height % STRIDE_PX))
    listed = ImageList(padded, [(height, width)] * len(images))
    features = OrderedDict((name, one.float()) for name, one in detector.backbone(padded).items())
    # Boxes in bfloat16 would be a pixel off, so only the body runs in mixed precision.
    with torch.autocast(images.device.type, enabled=False):
        proposals, rpn_losses = detector.rpn(listed, features, targets)
        found, losses = detector.roi_heads(features, proposals, listed.image_sizes, targets)
        for one in found:
            if "masks" in one:
                one["masks"] = paste_masks_in_image(one["masks"], one["boxes"], (height, width))[:, 0]
    return found, {**rpn_losses, **losses}


class InstanceSegmenter(nn.Module):
    """A Mask R-CNN in the suite's interface.

    Attributes:
        detector: the library's network.
        min_score: objects below it are not painted.
    """

    def __init__(
        self, detector: nn.Module, num_classes: int, *, min_score: float, weights: InitialWeights
    ) -> None:
        super().__init__()
        self.detector: Any = detector
        self.num_classes = num_classes
        self.min_score = min_score
        self.initial_weights = weights

    def forward(self, images: Tensor) -> SegOutput:
        """Painted objects as logits (see `paint`); `extras["detections"]` are the objects themselves.

        Shapes inside depend on what is found, so this runs on real tensors in eval mode only.

        Raises:
            RuntimeError: in training mode, where the network learns through `training_loss`.
        """
        if self.training:
            raise RuntimeError("a Mask R-CNN answers in eval mode; it learns through training_loss")
        found = self.detections(images, self.min_score)
        size_hw = (images.shape[-2], images.shape[-1])
        logits = torch.stack([paint(one, self.num_classes, size_hw) for one in found])
        return SegOutput(logits, extras={"detections": found})

    def detections(self, images: Tensor, min_score: float) -> list[Detection]:
        """The objects of each of (B, 3, H, W) normalised pictures that score at least `min_score`."""
        self.detector.roi_heads.score_thresh = min_score
        return detect(self.detector, images)[0]

    def training_loss(self, images: Tensor, classes: Tensor) -> Tensor:
        """Sum of the losses of proposals, classes, boxes and masks; every connected part is an object."""
        targets = [instances_of(one) for one in classes]
        losses = detect(self.detector, images, targets)[1]
        return torch.stack(list(losses.values())).sum()


def instances_of(classes: Tensor) -> Detection:
    """Connected parts of each class as objects.

    Args:
        classes: (H, W) integer class numbers, 0 is background.

    Returns:
        "boxes" (N, 4) float32, "labels" (N,) int64 and "masks" (N, H, W) uint8, on the same device. Parts
        of fewer than 9 pixels are left out.
    """
    numbers = classes.cpu().numpy()
    boxes, labels, masks = [], [], []
    for label in np.unique(numbers[numbers > 0]).tolist():
        count, parts, stats, _ = cv2.connectedComponentsWithStats((numbers == label).astype(np.uint8))
        for part in range(1, count):
            x, y, width, height, area = stats[part].tolist()
            if area >= _LEAST_INSTANCE_PX:
                boxes.append((x, y, x + width, y + height))
                labels.append(label)
                masks.append(parts == part)
    held = np.stack(masks) if masks else np.zeros((0, *numbers.shape))
    device = classes.device
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32, device=device).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64, device=device),
        "masks": torch.tensor(held.astype(np.uint8), device=device),
    }


def paint(found: Detection, num_classes: int, size_hw: tuple[int, int]) -> Tensor:
    """One map of a picture's objects.

    A pixel belongs to a class when an object of it claims the pixel with at least 0.5; the lower class
    number wins, so a face mask lies over a face. The class keeps the highest chance that its objects give
    the pixel, and the other classes share the rest in proportion to theirs (`baselines.md` 1.9, 2.6).

    Args:
        found: "labels" and "masks" of the objects.
        num_classes: 1, or background plus labels.
        size_hw: of the picture.

    Returns:
        (num_classes, H, W) float32 logits whose sigmoid or softmax is that chance.
    """
    masks, labels = found["masks"].float(), found["labels"]
    chances = masks.new_zeros((max(num_classes, 2) - 1, *size_hw))
    for index in range(len(chances)):
        if bool((labels == index + 1).any()):
            chances[index] = masks[labels == index + 1].amax(dim=0)
    if num_classes == 1:
        return chances.logit(_LEAST_CHANCE)
    claims = chances >= 0.5
    winner = torch.where(claims.any(dim=0), claims.int().argmax(dim=0) + 1, 0)
    weights = torch.cat((1 - chances.amax(dim=0, keepdim=True), chances))
    own = weights.gather(0, winner[None])
    rest = weights.scatter(0, winner[None], 0.0)
    shared = rest * (1 - own) / rest.sum(dim=0, keepdim=True).clamp(min=_LEAST_CHANCE)
    return shared.scatter(0, winner[None], own).clamp(min=_LEAST_CHANCE).log()
