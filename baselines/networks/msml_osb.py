"""The occlusion segmentation branch of MSML: where in a picture of a face something hides it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.networks.msml_arcface import residual_stage, start_small
from baselines.segmenter import SegOutput, renormalised

FacePx = Literal[112, 128]
OsbDepth = Literal[18, 34]

SUBPIXELS = 3 * 3  # every class is predicted on a grid three times as fine, then averaged
_BLOCKS: dict[int, tuple[int, int, int, int]] = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_WIDTHS = (64, 128, 256, 512)
_DEEPEST = 8  # channels the deepest map is squeezed to
_KERNEL = 7  # of the large-kernel convolutions
_STRIDE = 32


class OcclusionMaps(NamedTuple):
    """What the branch says about a batch of pictures.

    Attributes:
        representations: Ys1 to Ys4, (B, 9 n, h, w) each, coarse to fine; they drive the masking operators.
        logits: (B, n, H, W), class 0 is "clean", class 1 "occluded".
    """

    representations: tuple[Tensor, ...]
    logits: Tensor


class LargeKernel(nn.Module):
    """A 7x7 view at the price of four strips: (7x1 then 1x7) + (1x7 then 7x1), biased, no activation.

    Source: Peng et al., Large Kernel Matters, CVPR 2017 ("global convolution"); `baselines.md` 5.4.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down_first = _strips(inputs, outputs, (_KERNEL, 1))
        self.across_first = _strips(inputs, outputs, (1, _KERNEL))

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h, w)."""
        seen: Tensor = self.down_first(features) + self.across_first(features)
        return seen


def _strips(inputs: int, outputs: int, first: tuple[int, int]) -> nn.Sequential:
    second = (first[1], first[0])
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, first, padding=(first[0] // 2, first[1] // 2)),
        nn.Conv2d(outputs, outputs, second, padding=(second[0] // 2, second[1] // 2)),
    )


class OcclusionBranch(nn.Module):
    """(B, 3, H, W) RGB in [-1, 1] to `OcclusionMaps`.

    Source: MSML, AAAI 2022, "Occlusion Segmentation Branch"; `baselines.md` 5.4.

    Args:
        num_classes: n, classes including the clean one.
        depth: 18 or 34 layers of encoder; 11,427,504 and 21,541,232 parameters at 112 pixels.
        face_px: which of the paper's two picture sizes the first transposed convolution is made for. With
            112 it maps h to 2h - 1, so sides must be 16 more than a multiple of 32; with 128 it doubles,
            so sides must be multiples of 32.
    """

    def __init__(self, num_classes: int = 2, *, depth: OsbDepth = 18, face_px: FacePx = 112) -> None:
        super().__init__()
        self.num_classes = num_classes
        fine = num_classes * SUBPIXELS
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        channels = (64, *_WIDTHS)
        self.stages = nn.ModuleList(
            residual_stage(channels[index], channels[index + 1], blocks)
            for index, blocks in enumerate(_BLOCKS[depth])
        )
        self.deepest = nn.Sequential(nn.BatchNorm2d(_WIDTHS[-1]), LargeKernel(_WIDTHS[-1], _DEEPEST))
        # One skip per encoder map below the deepest, coarse to fine: x3, x2, x1, x0.
        self.skips = nn.ModuleList(LargeKernel(width, fine) for width in (256, 128, 64, 64))
        first_kernel = 3 if face_px == 112 else 4
        self.decoders = nn.ModuleList(
            nn.ConvTranspose2d(inputs, fine, kernel, stride=2, padding=1, bias=False)
            for inputs, kernel in ((_DEEPEST, first_kernel), *((2 * fine, 4),) * 4)
        )
        # Only where batch norm follows: without one, N(0, 0.1) gives logits in the thousands.
        start_small(self.stem)
        start_small(self.stages)

    def forward(self, faces: Tensor) -> OcclusionMaps:
        """Sides as `face_px` asks (see the class)."""
        features = [self.stem(faces)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        maps = [self.decoders[0](self.deepest(features[-1]))]
        for skip, decoder, seen in zip(self.skips, list(self.decoders)[1:], features[-2::-1], strict=True):
            maps.append(decoder(torch.cat((maps[-1], skip(seen)), dim=1)))
        return OcclusionMaps(tuple(maps[:-1]), average_subpixels(maps[-1], self.num_classes))


def average_subpixels(fine: Tensor, num_classes: int) -> Tensor:
    """Mean of each class's nine subpixel channels: (B, 9 n, H, W) to (B, n, H, W).

    The same as spreading them over a grid three times as fine (PixelShuffle 3) and averaging 3x3 blocks,
    without making that grid.
    """
    batch, _, height, width = fine.shape
    return fine.view(batch, num_classes, SUBPIXELS, height, width).mean(dim=2)


class OcclusionSegmenter(nn.Module):
    """The branch alone as a segmenter: any picture size, ImageNet-normalised in, `SegOutput` out.

    Pictures are reflected on the right and bottom up to the next size the branch takes: 16 more than a
    multiple of 32 at `face_px` 112 (112 itself stays 112), a multiple of 32 at 128. One output channel is
    the difference of the two classes' logits, so that its sigmoid equals their softmax.
    """

    def __init__(self, num_classes: int, *, depth: OsbDepth, face_px: FacePx) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.offset = face_px % _STRIDE
        self.branch = OcclusionBranch(max(num_classes, 2), depth=depth, face_px=face_px)

    def forward(self, images: Tensor) -> SegOutput:
        """(B, 3, H, W) to logits (B, num_classes, H, W); H and W at least 32 pixels.

        `extras["representations"]` holds Ys1 to Ys4 of the padded picture.
        """
        height, width = images.shape[-2:]
        faces = renormalised(images, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        right, bottom = (self.offset - width) % _STRIDE, (self.offset - height) % _STRIDE
        if right or bottom:
            faces = F.pad(faces, (0, right, 0, bottom), mode="reflect")
        found = self.branch(faces)
        logits = found.logits[..., :height, :width]
        if self.num_classes == 1:
            logits = logits[:, 1:] - logits[:, :1]
        return SegOutput(logits, extras={"representations": found.representations})
