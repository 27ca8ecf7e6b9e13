"""The network of AIZOO's face-mask detector, with batch norm to train and without it to ship.

Eight 3x3 convolutions, a 2x2 maximum between the first seven, and two small heads on each of the last five
feature maps (`face_mask_detection.prototxt` of AIZOOTech/FaceMaskDetection). Names of the layers are those of
that file, so that the folded weights are a Caffe network's.
"""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
from torch import nn

from dataset_tools.core.anchors import ANCHORS_PER_CELL, BOX_NUMBERS, GRID_SIDES

WIDTHS = (32, 64, 64, 64, 128, 128, 64, 64)
HEAD_WIDTH = 64
_FIRST_LEVEL = len(WIDTHS) - len(GRID_SIDES)
_OUTPUT_STD = 0.01
_LEAST_FACTOR = 1e-3
_RARE = 0.01  # probability of a face that an untrained anchor states, after Lin et al. 2017, section 3.3


class ConvNormRelu(nn.Module):
    """A 3x3 convolution, its batch norm, a ReLU and, where asked for, the maximum of 2x2 cells.

    The maximum comes before norm and ReLU, which then have a quarter of the work: a third of a training step.
    Both are rising functions as long as the norm's factors are positive (`keep_rising`), so the published
    order gives the same numbers.
    """

    def __init__(self, inputs: int, outputs: int, *, padding: int = 1, is_pooled: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=padding, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.is_pooled = is_pooled

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, outputs, H, W), or half of H and W, rounded up."""
        features = self.convolution(features)
        if self.is_pooled:
            features = nn.functional.max_pool2d(features, 2, ceil_mode=True)
        return nn.functional.relu(self.norm(features))


class SsdNetwork(nn.Module):
    """The detector.

    Args:
        classes: how many wearing states an anchor scores; no background class.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        inputs = (3, *WIDTHS[:-1])
        last = len(WIDTHS) - 1
        self.conv2d = nn.ModuleList(
            ConvNormRelu(
                inputs[index],
                WIDTHS[index],
                padding=0 if index == last else 1,
                is_pooled=index < _FIRST_LEVEL,
            )
            for index in range(len(WIDTHS))
        )
        levels = WIDTHS[_FIRST_LEVEL:]
        self.cls_insert = nn.ModuleList(ConvNormRelu(width, HEAD_WIDTH) for width in levels)
        self.loc_insert = nn.ModuleList(ConvNormRelu(width, HEAD_WIDTH) for width in levels)
        self.cls_conv = nn.ModuleList(_output(classes) for _ in levels)
        self.loc_conv = nn.ModuleList(_output(BOX_NUMBERS) for _ in levels)
        for layer in self.cls_conv:
            nn.init.normal_(cast(torch.Tensor, layer.weight), std=_OUTPUT_STD)
            nn.init.constant_(cast(torch.Tensor, layer.bias), math.log(_RARE / (1 - _RARE)))

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Offsets and class logits of every anchor.

        Args:
            pictures: (B, 3, 260, 260) RGB in [0, 1].

        Returns:
            (B, 5972, 4) as `anchors.decode_boxes` takes them, and (B, 5972, classes) before the sigmoid.
        """
        offsets, logits = [], []
        features = pictures
        for index, layer in enumerate(self.conv2d):
            level = index - _FIRST_LEVEL
            if 0 < level < len(GRID_SIDES) - 1:
                features = nn.functional.max_pool2d(features, 2, ceil_mode=True)
            features = layer(features)
            if level >= 0:
                offsets.append(_rows(self.loc_conv[level](self.loc_insert[level](features)), BOX_NUMBERS))
                logits.append(_rows(self.cls_conv[level](self.cls_insert[level](features)), self.classes))
        return torch.cat(offsets, dim=1), torch.cat(logits, dim=1)

    @torch.no_grad()
    def keep_rising(self) -> None:
        """Hold the factors of the norms above zero; call it after every step. See `ConvNormRelu`."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.clamp_(min=_LEAST_FACTOR)


def _output(numbers: int) -> nn.Conv2d:
    return nn.Conv2d(HEAD_WIDTH, ANCHORS_PER_CELL * numbers, 3, padding=1)


def _rows(maps: torch.Tensor, numbers: int) -> torch.Tensor:
    """(B, A * numbers, H, W) as (B, H * W * A, numbers): cell by cell, in a cell anchor by anchor."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, numbers)


def folded(network: SsdNetwork) -> SsdNetwork:
    """A copy whose batch norms are part of the convolutions: in evaluation mode it says the same."""
    plain = copy.deepcopy(network).eval()
    for module in plain.modules():
        if isinstance(module, ConvNormRelu) and isinstance(module.norm, nn.BatchNorm2d):
            module.convolution = nn.utils.fuse_conv_bn_eval(module.convolution, module.norm)
            module.norm = nn.Identity()
    return plain


def named_layers(network: SsdNetwork) -> dict[str, nn.Conv2d]:
    """The convolutions of a network by the names that the published prototxt gives them."""
    named: dict[str, nn.Conv2d] = {}
    for index, layer in enumerate(network.conv2d):
        named[f"conv2d_{index}"] = cast(ConvNormRelu, layer).convolution
    for level in range(len(GRID_SIDES)):
        for branch, inserts, outputs in (
            ("cls", network.cls_insert, network.cls_conv),
            ("loc", network.loc_insert, network.loc_conv),
        ):
            named[f"{branch}_{level}_insert_conv2d"] = cast(ConvNormRelu, inserts[level]).convolution
            named[f"{branch}_{level}_conv"] = cast(nn.Conv2d, outputs[level])
    return named
