"""ArcFace-18, the face recognition branch of MSML(A18); its block also builds the occlusion branch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

ARCFACE_PX = 112
ARCFACE_WIDTHS = (64, 128, 256, 512)  # channels after layers 1 to 4: where masking operators sit
_BLOCKS = (2, 2, 2, 2)
_SHORTEST_PX = ARCFACE_PX // 16
_INIT_SD = 0.1  # of convolution weights, normal around 0


class ImprovedResidual(nn.Module):
    """BN, 3x3, BN, PReLU, 3x3 with the stride, BN, plus the input; nothing after the sum.

    The input goes through a 1x1 convolution and BN where its shape changes. No convolution has a bias.

    Source: ArcFace, CVPR 2019, section 3.1; `baselines.md` 5.2.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, ceil(h / stride), ceil(w / stride))."""
        changed: Tensor = self.body(features) + self.shortcut(features)
        return changed


def residual_stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """`blocks` residual blocks, the first of stride 2."""
    first = ImprovedResidual(inputs, outputs, 2)
    return nn.Sequential(first, *(ImprovedResidual(outputs, outputs, 1) for _ in range(blocks - 1)))


def start_small(network: nn.Module) -> None:
    """Draw all convolution weights from N(0, 0.1), as ArcFace's networks start (`baselines.md` 5.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, _INIT_SD)


class ArcFace18(nn.Module):
    """ArcFace-18: (B, 3, 112, 112) RGB in [0, 1] to (B, 512) embeddings, not normalised.

    24,025,600 parameters. `stem`, the four `stages` and `embed` are apart so that masking operators fit
    between them; `forward` runs them without any.

    Source: MSML, AAAI 2022, "Models"; `baselines.md` 5.2.
    """

    input_px = ARCFACE_PX
    widths: Sequence[int] = ARCFACE_WIDTHS

    def __init__(self, embed_dim: int = 512, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        channels = (64, *ARCFACE_WIDTHS)
        self.stages = nn.ModuleList(
            residual_stage(channels[index], channels[index + 1], blocks)
            for index, blocks in enumerate(_BLOCKS)
        )
        flat = ARCFACE_WIDTHS[-1] * _SHORTEST_PX**2
        last = nn.BatchNorm1d(embed_dim)
        # The embedding's length is thrown away afterwards, so a gain would only fight the weight decay.
        nn.init.ones_(last.weight)
        last.weight.requires_grad_(False)
        self.embed = nn.Sequential(
            nn.BatchNorm2d(ARCFACE_WIDTHS[-1]),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(flat, embed_dim),
            last,
        )
        start_small(self)

    def prepare(self, faces: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] to [-1, 1]."""
        return faces * 2 - 1

    def forward(self, faces: Tensor) -> Tensor:
        """Embeddings without masking."""
        features = self.stem(self.prepare(faces))
        for stage in self.stages:
            features = stage(features)
        embeddings: Tensor = self.embed(features)
        return embeddings
