"""R-PDSN: does a patch of a face differ from the bare face because a mask lies on it? And MISA with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from baselines.networks.rcnn import InstanceSegmenter
from baselines.rpdsn.blocks import FACE, MASK, Blocks, refine
from baselines.rpdsn.settings import EdgeSettings
from baselines.segmenter import SegOutput, initial_weights

PATCH_PX = 64  # what the body sees of a patch
EMBEDDING = 128
FEATURES = 1024  # of the body at stride 16
_KERNELS = 8
_LAST_LAYER = "layer3"  # stride 16
_PATCHES_AT_ONCE = 256


class OcclusionHead(nn.Module):
    """What R-PDSN learns; the body below it is the detector's own and stays as it is.

    Pair of patch features -> one linear layer for both -> |L1 - L2| -> convolution -> one logit
    (`baselines.md` 2.4; equation 14 prints a difference of lengths, D-10).
    """

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        self.embed = nn.Linear(features, EMBEDDING)
        self.convolve = nn.Conv1d(1, _KERNELS, 3, padding=1)
        self.decide = nn.Linear(_KERNELS * EMBEDDING, 1)

    def forward(self, embedded: Tensor, bare: Tensor) -> Tensor:
        """(N,) logits that the patches are mask.

        Args:
            embedded: (N, 128), `embed` of the patches' features.
            bare: (N, 128), of the same places of bare faces.
        """
        change = (embedded - bare).abs().unsqueeze(1)
        logits: Tensor = self.decide(F.relu(self.convolve(change)).flatten(1))
        return logits.squeeze(1)


def energy(embedded: Tensor, bare: Tensor) -> Tensor:
    """(N,) Euclidean distances of (N, 128) embeddings: how much a mask changed each patch."""
    distances: Tensor = (embedded - bare).norm(dim=1)
    return distances


def patch_features(body: nn.ModuleDict, patches: Tensor) -> Tensor:
    """Mean features at stride 16.

    Args:
        body: of a detector: named layers in order.
        patches: (N, 3, 64, 64) normalised.

    Returns:
        (N, 1024) float32.
    """
    maps: Tensor = patches
    for name, layer in body.items():
        maps = layer(maps)
        if name == _LAST_LAYER:
            break
    pooled: Tensor = maps.float().mean(dim=(2, 3))
    return pooled


def patches_around(image: Tensor, centres_xy: Tensor, context_px: float) -> Tensor:
    """Square pieces of a picture, moved inside where they would stick out.

    Args:
        image: (3, H, W) normalised.
        centres_xy: (N, 2) float, pixels.
        context_px: side of the pieces, cut to the picture's shorter side.

    Returns:
        (N, 3, 64, 64), bilinear.
    """
    height, width = image.shape[-2:]
    half = min(context_px, height, width) / 2
    x = centres_xy[:, 0].clamp(half, width - half)
    y = centres_xy[:, 1].clamp(half, height - half)
    boxes = torch.stack((x - half, y - half, x + half, y + half), dim=1)
    return roi_align(image[None].float(), [boxes.float()], PATCH_PX, aligned=True)  # type: ignore[no-any-return]


class EdgeSegmenter(nn.Module):
    """MISA: the coarse stage, and edge segmentation on its answer.

    The classifier's head and dictionary are filled by `baselines.rpdsn.training`, after the coarse stage.

    Attributes:
        coarse: Mask R-CNN of classes background, mask, face.
        head: of the classifier.
        dictionary: (grid, grid, 128) mean embeddings of bare faces by place, the classifier's second half.
    """

    dictionary: Tensor

    def __init__(self, coarse: InstanceSegmenter, edge: EdgeSettings) -> None:
        super().__init__()
        self.coarse = coarse
        self.edge = edge
        self.head = OcclusionHead()
        self.register_buffer("dictionary", torch.zeros(edge.grid, edge.grid, EMBEDDING))
        self.initial_weights = initial_weights(coarse)

    @property
    def body(self) -> nn.ModuleDict:
        """The detector's body, which the classifier shares."""
        body: Any = self.coarse.detector.backbone.body
        assert isinstance(body, nn.ModuleDict)
        return body

    def training_loss(self, images: Tensor, classes: Tensor) -> Tensor:
        """Of the coarse stage; the classifier learns afterwards, from pairs."""
        return self.coarse.training_loss(images, classes)

    def forward(self, images: Tensor) -> SegOutput:
        """Refined logits; a pixel that changes sides swaps its mask and face logits.

        `extras` holds the coarse logits beside what the coarse stage gives; errors as `InstanceSegmenter`.
        """
        coarse: SegOutput = self.coarse(images)
        refined = torch.stack(
            [self._refined(one, logits) for one, logits in zip(images, coarse.logits, strict=True)]
        )
        return SegOutput(refined, extras={**coarse.extras, "coarse": coarse.logits})

    def _refined(self, image: Tensor, logits: Tensor) -> Tensor:
        before = logits.argmax(dim=0).cpu().numpy()
        after = refine(before, self.judge(image), self.edge)
        turned = torch.from_numpy(before != after).to(logits.device)
        order = list(range(len(logits)))
        order[MASK], order[FACE] = FACE, MASK
        return torch.where(turned, logits[order], logits)

    def judge(self, image: Tensor) -> Callable[[Blocks], npt.NDArray[np.bool_]]:
        """Who judges blocks of a (3, H, W) normalised picture, see `blocks.Judge`."""

        def judged(blocks: Blocks) -> npt.NDArray[np.bool_]:
            chances = self.mask_chances(image, torch.from_numpy(blocks).to(image.device))
            return np.asarray((chances > self.edge.threshold).cpu().numpy(), dtype=np.bool_)

        return judged

    def mask_chances(self, image: Tensor, blocks: Tensor) -> Tensor:
        """(N,) chances in [0, 1] that (N, 4) blocks of a (3, H, W) normalised picture are mask."""
        centres = (blocks[:, :2] + blocks[:, 2:]).float() / 2
        grid = self.edge.grid
        sizes = centres.new_tensor((image.shape[-1], image.shape[-2]))
        cells = (centres * grid / sizes).long().clamp(0, grid - 1)
        bare = self.dictionary[cells[:, 1], cells[:, 0]]
        found = []
        for start in range(0, len(centres), _PATCHES_AT_ONCE):
            part = slice(start, start + _PATCHES_AT_ONCE)
            patches = patches_around(image, centres[part], self.edge.context_px)
            embedded = self.head.embed(patch_features(self.body, patches))
            found.append(self.head(embedded, bare[part]).sigmoid())
        return torch.cat(found) if found else centres.new_zeros(0)


def cell_centres(size_px: int, grid: int) -> Tensor:
    """(grid * grid, 2) x and y of the middles of a square picture's cells, row by row, pixels."""
    middles = (torch.arange(grid) + 0.5) * (size_px / grid)
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack((x.flatten(), y.flatten()), dim=1)
