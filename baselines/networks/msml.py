"""MSML: a face recognition branch whose features are masked by what an occlusion branch sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

from baselines.networks.msml_arcface import ArcFace18
from baselines.networks.msml_lightcnn import LightCnn29
from baselines.networks.msml_masking import Activation, FeatureMasking, Sight
from baselines.networks.msml_osb import SUBPIXELS, OcclusionBranch, OsbDepth

Branch = Literal["a18", "l29"]

ALL_LAYERS = (1, 2, 3, 4)


class FaceOutput(NamedTuple):
    """What `Msml.forward` says about a batch of faces.

    Attributes:
        embeddings: (B, D), not normalised.
        occlusion: (B, 2, P, P) logits, channel 1 is "occluded"; None without masking operators.
    """

    embeddings: Tensor
    occlusion: Tensor | None


class Msml(nn.Module):
    """The whole network; with `layers` empty the plain recognition branch, without an occlusion branch.

    The deepest occlusion representation masks the deepest face features: operator i takes Ys(5 - i).
    The occlusion branch sees the same face in colour, also beside the grey LightCNN (our choice).

    Args:
        branch: "a18" (ArcFace-18, 112 pixels) or "l29" (LightCNN-29, 128 pixels).
        layers: after which of the four stages a masking operator sits.
        sight, kernel, blocks, activation, residual: of every operator, see `FeatureMasking`.
        osb_depth: encoder of the occlusion branch.
        detach: keep the recognition loss's gradient out of the occlusion branch (the paper's rule).
        embed_dim: D; None: 512 for a18, 256 for l29.
        dropout: before (a18) or after (l29) the embedding layer.

    Source: MSML, AAAI 2022, figure 2; `baselines.md` 5.1.
    """

    def __init__(
        self,
        branch: Branch = "a18",
        *,
        layers: Sequence[int] = ALL_LAYERS,
        sight: Sight = "cat",
        kernel: Literal[1, 3] = 3,
        blocks: int = 2,
        activation: Activation = "sig",
        residual: bool = False,
        osb_depth: OsbDepth = 18,
        detach: bool = True,
        embed_dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if branch == "a18":
            self.frb: ArcFace18 | LightCnn29 = ArcFace18(embed_dim or 512, dropout)
        else:
            self.frb = LightCnn29(embed_dim or 256, dropout)
        self.embed_dim = embed_dim or (512 if branch == "a18" else 256)
        self.input_px = self.frb.input_px
        self.detach = detach
        self.masking = nn.ModuleDict(
            {
                str(layer): FeatureMasking(
                    self.frb.widths[layer - 1],
                    2 * SUBPIXELS,
                    sight=sight,
                    kernel=kernel,
                    blocks=blocks,
                    activation=activation,
                    residual=residual,
                )
                for layer in layers
            }
        )
        self.osb: OcclusionBranch | None = None
        if layers:
            self.osb = OcclusionBranch(2, depth=osb_depth, face_px=112 if branch == "a18" else 128)

    def forward(self, faces: Tensor) -> FaceOutput:
        """Embed (B, 3, P, P) float RGB in [0, 1], P = `input_px`."""
        if self.osb is None:
            return FaceOutput(self.frb(faces), None)
        seen = self.osb(faces * 2 - 1)
        features = self.frb.stem(self.frb.prepare(faces))
        for index, stage in enumerate(self.frb.stages):
            features = stage(features)
            if (layer := str(index + 1)) in self.masking:
                maps = seen.representations[len(ALL_LAYERS) - 1 - index]
                features = self.masking[layer](features, maps.detach() if self.detach else maps)
        return FaceOutput(self.frb.embed(features), seen.logits)
