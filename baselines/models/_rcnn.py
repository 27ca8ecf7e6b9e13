"""Region-based detectors on torchvision and timm bodies; what the rows of this family share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from baselines.models._timm import timm_encoder
from baselines.models._torchvision import torchvision_network
from dataset_tools.core.errors import UnknownName

if TYPE_CHECKING:
    from torch import nn

    from baselines.networks.rcnn import InstanceSegmenter
    from baselines.segmenter import InitialWeights

BoxLossName = Literal["smooth_l1", "giou", "diou", "ciou", "eiou"]

_TORCHVISION = {"resnet50": "ResNet50_Weights", "resnet101": "ResNet101_Weights"}
_TIMM = ("resnest101e", "resnext101_32x4d")
_LEVELS = 5
_RATIOS = (0.5, 1.0, 2.0)
SMALLEST_ANCHOR_PX = 32  # the library's own


def mask_rcnn(
    num_classes: int,
    *,
    pretrained: bool,
    body: str,
    box_loss: str = "smooth_l1",
    box_weight: float = 1.0,
    min_score: float = 0.5,
    smallest_anchor_px: int = SMALLEST_ANCHOR_PX,
    frozen_norm: bool = False,
) -> InstanceSegmenter:
    """A Mask R-CNN with a feature pyramid; boxes and masks as the library builds them.

    Args:
        num_classes: as for every builder.
        pretrained: start the body from ImageNet.
        body: resnet50, resnet101, resnext101_32x4d or resnest101e.
        box_loss: smooth_l1, giou, diou, ciou or eiou, of the second stage.
        box_weight: of the box loss, where it is not smooth_l1.
        min_score: objects below it are not painted.
        smallest_anchor_px: side of the finest level's anchors; every coarser level has twice the side.
        frozen_norm: keep the batch norm of the body as it starts, for batches below 8.

    Raises:
        UnknownName: no such body or box loss.
        WeightsUnavailable: the body's values cannot be had.
    """
    from torchvision.models.detection import MaskRCNN

    from baselines.networks.box_losses import SMOOTH_L1, BoxLossHeads
    from baselines.networks.rcnn import InstanceSegmenter

    pyramid, start = _pyramid(body, pretrained=pretrained, frozen_norm=frozen_norm)
    detector = MaskRCNN(pyramid, max(num_classes, 2), rpn_anchor_generator=_anchors(smallest_anchor_px))
    if box_loss != SMOOTH_L1:
        detector.roi_heads = BoxLossHeads.replacing(detector.roi_heads, box_loss, box_weight)
    return InstanceSegmenter(detector, num_classes, min_score=min_score, weights=start)


def faster_rcnn(
    num_classes: int,
    *,
    pretrained: bool,
    body: str,
    smallest_anchor_px: int = SMALLEST_ANCHOR_PX,
    frozen_norm: bool = False,
) -> tuple[nn.Module, InitialWeights]:
    """A Faster R-CNN with a feature pyramid; arguments and errors as `mask_rcnn`, classes with background."""
    from torchvision.models.detection import FasterRCNN

    pyramid, start = _pyramid(body, pretrained=pretrained, frozen_norm=frozen_norm)
    anchors = _anchors(smallest_anchor_px)
    return FasterRCNN(pyramid, num_classes, rpn_anchor_generator=anchors), start


def _anchors(smallest_px: int) -> Any:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes = tuple((smallest_px * 2**level,) for level in range(_LEVELS))
    return AnchorGenerator(sizes, (_RATIOS,) * _LEVELS)


def _pyramid(body: str, *, pretrained: bool, frozen_norm: bool) -> tuple[nn.Module, InitialWeights]:
    if body in _TORCHVISION:
        return _torchvision_pyramid(body, pretrained=pretrained, frozen_norm=frozen_norm)
    if body not in _TIMM:
        raise UnknownName("body", body, (*_TORCHVISION, *_TIMM))
    from timm.layers import freeze_batch_norm_2d

    from baselines.networks.rcnn import PyramidBody

    network: Any
    network, start = timm_encoder(body, pretrained=pretrained, features_only=True, out_indices=(1, 2, 3, 4))
    channels = list(network.feature_info.channels())
    return PyramidBody(freeze_batch_norm_2d(network) if frozen_norm else network, channels), start


def _torchvision_pyramid(
    body: str, *, pretrained: bool, frozen_norm: bool
) -> tuple[nn.Module, InitialWeights]:
    from torch import nn
    from torchvision import models
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    def build(start: Any) -> nn.Module:
        norm = FrozenBatchNorm2d if frozen_norm else nn.BatchNorm2d
        made: nn.Module = resnet_fpn_backbone(
            backbone_name=body, weights=start, trainable_layers=5, norm_layer=norm
        )
        return made

    weights = getattr(models, _TORCHVISION[body]).IMAGENET1K_V1
    return torchvision_network(build, weights, pretrained=pretrained)
