"""EU-Net: a ResNet-34 U-Net whose skips are chosen by attention and joined by pooled semantics.

Source: Patel et al., Enhanced U-Net, CRV 2021, wired as `baselines.md` section 1.6 states it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.networks.attention import CrossNonLocal, NonLocal
from baselines.networks.layers import ResNetEncoder, conv_bn_relu, resized
from baselines.segmenter import RANDOM_WEIGHTS, InitialWeights, SegOutput, padded_to

_STRIDE = 32
_ENCODER = (64, 64, 128, 256)  # channels of e1 to e4
_DECODER = (64, 128, 256, 512)  # channels of d2 to d5, the finest first
_SEMANTIC_SIDE = 8  # pooled semantics are 8 x 8, whatever the picture
_SEMANTIC = 256


class EUNet(nn.Module):
    """(B, 3, H, W) normalised RGB to logits at five scales.

    `logits` has the picture's size; `aux` holds four coarser answers from 1/2 down to 1/16 of the size
    (rounded up), as the paper supervises them; loss `eunet` takes them as they are.
    """

    def __init__(
        self, resnet34: nn.Module, num_classes: int, weights: InitialWeights = RANDOM_WEIGHTS
    ) -> None:
        super().__init__()
        self.initial_weights = weights
        self.encoder = ResNetEncoder(resnet34)
        self.reduce = conv_bn_relu(512, _SEMANTIC, 1, bias=True)
        self.deepest = DecoderBlock(512, 512)
        joined = [64 + 64 + 64, 64 + 128 + 64, 128 + 256 + 128, 256 + 512 + 256]
        above = [*joined[1:], 512]  # what the attention of levels 1 to 4 asks with
        self.context = nn.ModuleList(
            CrossNonLocal(asker, skip, inner)
            for asker, skip, inner in zip(above, _ENCODER, (64, 64, 128, 256), strict=True)
        )
        self.semantics = nn.ModuleList(SemanticModule(width) for width in _ENCODER)
        self.itself = nn.ModuleList(NonLocal(width, width // 2) for width in _DECODER)
        self.decoders = nn.ModuleList(
            DecoderBlock(width, outputs) for width, outputs in zip(joined, (64, *_DECODER[:3]), strict=True)
        )
        self.head = SideHead(64, 32, num_classes)
        self.side_heads = nn.ModuleList(SideHead(width, width // 4, num_classes) for width in _DECODER)

    def forward(self, images: Tensor) -> SegOutput:
        """Logits; H and W larger than 16."""
        height, width = images.shape[-2:]
        levels = self.encoder(padded_to(images, _STRIDE))
        encoder = (levels.stem, levels.c2, levels.c3, levels.c4)
        semantic = F.adaptive_avg_pool2d(self.reduce(levels.c5), _SEMANTIC_SIDE)
        decoded: Tensor = self.deepest(levels.c5)
        asker = decoded
        coarse: list[Tensor] = []
        for level in (3, 2, 1, 0):
            coarse.insert(0, self.side_heads[level](decoded))
            asker = torch.cat(
                (
                    self.context[level](asker, encoder[level]),
                    self.itself[level](decoded),
                    resized(self.semantics[level](semantic), encoder[level]),
                ),
                dim=1,
            )
            decoded = self.decoders[level](asker)
        aux = [one[..., : -(-height >> k), : -(-width >> k)] for k, one in enumerate(coarse, start=1)]
        return SegOutput(self.head(decoded)[..., :height, :width], aux)


class DecoderBlock(nn.Sequential):
    """Two convolutions through a quarter of the channels, then twice the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            conv_bn_relu(inputs, inputs // 4, bias=True),
            conv_bn_relu(inputs // 4, outputs, bias=True),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        )


class SideHead(nn.Sequential):
    """Logits of one scale."""

    def __init__(self, inputs: int, inner: int, num_classes: int) -> None:
        super().__init__(
            conv_bn_relu(inputs, inner, bias=True), nn.Dropout2d(0.1), nn.Conv2d(inner, num_classes, 1)
        )


class SemanticModule(nn.Module):
    """Selective feature enhancement: attention inside quarters, sixteenths and the whole of an 8 x 8 map.

    The release folds patches by a plain reshape, which mixes channels with positions; here a patch is a
    patch (`baselines.md` section 1.6). In 2 x 2 patches one pooled key is left, so attention hands every
    position of a patch the same value: the text's choice, kept.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.quarters = NonLocal(_SEMANTIC, 128)
        self.sixteenths = NonLocal(_SEMANTIC, 128)
        self.whole = NonLocal(_SEMANTIC, 64)
        self.squeeze = nn.Sequential(
            nn.Linear(3 * _SEMANTIC, 3 * _SEMANTIC // 16, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(3 * _SEMANTIC // 16, 3 * _SEMANTIC, bias=False),
            nn.Sigmoid(),
        )
        self.project = nn.Sequential(nn.Conv2d(3 * _SEMANTIC, outputs, 1), nn.ReLU(inplace=True))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, 256, 8, 8) to (B, outputs, 8, 8)."""
        joined = torch.cat(
            (
                in_patches(self.quarters, maps, patch_px=4),
                in_patches(self.sixteenths, maps, patch_px=2),
                self.whole(maps),
            ),
            dim=1,
        )
        scale = self.squeeze(joined.mean(dim=(2, 3)))
        answer: Tensor = self.project(joined * scale[:, :, None, None])
        return answer


def in_patches(module: nn.Module, maps: Tensor, *, patch_px: int) -> Tensor:
    """Apply a module to every patch of (B, C, H, W) maps as if it were a picture of its own.

    Args:
        module: keeps the shape of (N, C, patch_px, patch_px) maps.
        maps: sides are multiples of `patch_px`.
        patch_px: side of the square patches.
    """
    batch, channels, height, width = maps.shape
    rows, columns = height // patch_px, width // patch_px
    grid = maps.reshape(batch, channels, rows, patch_px, columns, patch_px)
    patches = grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, patch_px, patch_px)
    worked: Tensor = module(patches)
    back = worked.reshape(batch, rows, columns, channels, patch_px, patch_px)
    return back.permute(0, 3, 1, 4, 2, 5).reshape(maps.shape)
