"""The search: a pyramid of pictures through P-Net, what passes through R-Net and then O-Net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from baselines.mtcnn.boxes import (
    boxes_from_offsets,
    clipped,
    nms,
    pyramid_scales,
    smaller_box_nms,
    squared,
    window_grid,
)
from baselines.mtcnn.networks import POINTS, STAGE_SIDE_PX, face_probability, scaled_pixels
from baselines.mtcnn.pictures import cut_windows, picture_tensor, resized
from baselines.mtcnn.settings import CascadeSettings, StageName

_WINDOWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """Faces of one picture, best first.

    Attributes:
        boxes: (N, 4) float32 x0, y0, x1, y1 in pixels, inside the picture.
        scores: (N,) float32 probability.
        landmarks: (N, 5, 2) float32 x, y in pixels, or None without the third network.
    """

    boxes: Tensor
    scores: Tensor
    landmarks: Tensor | None = None


class Cascade:
    """Three trained networks as a function from a picture to faces; the last ones may still be missing.

    Attributes:
        settings: of the search.
        device: where the networks lie.
    """

    def __init__(
        self, networks: Mapping[StageName, nn.Module], settings: CascadeSettings, device: torch.device
    ) -> None:
        self.settings = settings
        self.device = device
        self._networks = dict(networks)
        for network in self._networks.values():
            network.eval()

    def detect(self, rgb: npt.NDArray[np.uint8]) -> FoundFaces:
        """Faces of an (H, W, 3) uint8 picture, after all the networks there are."""
        size_hw = (rgb.shape[0], rgb.shape[1])
        with torch.inference_mode():
            picture = picture_tensor(rgb).to(self.device)
            boxes, scores = self._propose(picture)
            points: Tensor | None = None
            if "r" in self._networks:
                boxes, scores = self._refine(picture, boxes)
            if "o" in self._networks:
                boxes, scores, points = self._conclude(picture, boxes)
            boxes = clipped(boxes, size_hw)
        return FoundFaces(boxes.cpu(), scores.cpu(), points.cpu() if points is not None else None)

    def windows(self, rgb: npt.NDArray[np.uint8]) -> Tensor:
        """The (N, 4) squares that the next network would be asked about, best first."""
        with torch.inference_mode():
            picture = picture_tensor(rgb).to(self.device)
            boxes, _ = self._propose(picture)
            if "r" in self._networks:
                boxes, _ = self._refine(picture, boxes)
            # A plain copy: tensors of inference mode cannot go into training data.
            return squared(boxes).cpu().clone()

    def _propose(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        settings = self.settings
        height, width = picture.shape[-2:]
        found = [
            self._level(picture, scale)
            for scale in pyramid_scales((height, width), settings.min_face_px, settings.pyramid_factor)
        ]
        if not found:
            return picture.new_zeros(0, 4), picture.new_zeros(0)
        windows, scores, offsets = (torch.cat(parts) for parts in zip(*found, strict=True))
        kept = nms(windows, scores, settings.stage_nms[0])[: settings.max_windows]
        return boxes_from_offsets(windows[kept], offsets[kept]), scores[kept]

    def _level(self, picture: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        height, width = picture.shape[-2:]
        side = STAGE_SIDE_PX["p"]
        size_hw = (max(round(height * scale), side), max(round(width * scale), side))
        answer = self._networks["p"](scaled_pixels(resized(picture, size_hw))[None])
        chance = face_probability(answer.face)[0]
        cells = torch.nonzero(chance >= self.settings.thresholds[0])
        scores = chance[cells[:, 0], cells[:, 1]]
        windows = window_grid(cells, (size_hw[1] / width, size_hw[0] / height))
        offsets = answer.box[0].float()[:, cells[:, 0], cells[:, 1]].T
        kept = nms(windows, scores, self.settings.scale_nms)[: self.settings.max_windows]
        return windows[kept], scores[kept], offsets[kept]

    def _refine(self, picture: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        windows, scores, offsets, _ = self._asked("r", picture, boxes, self.settings.thresholds[1])
        kept = nms(windows, scores, self.settings.stage_nms[1])
        return boxes_from_offsets(windows[kept], offsets[kept]), scores[kept]

    def _conclude(self, picture: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        windows, scores, offsets, points = self._asked("o", picture, boxes, self.settings.thresholds[2])
        found = boxes_from_offsets(windows, offsets)
        kept = smaller_box_nms(found, scores, self.settings.stage_nms[2])
        sides = (windows[:, 2:] - windows[:, :2])[:, None]
        placed = windows[:, None, :2] + points.view(-1, POINTS, 2) * sides
        return found[kept], scores[kept], placed[kept]

    def _asked(
        self, stage: StageName, picture: Tensor, boxes: Tensor, threshold: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Squares around boxes that pass a network, with score, offsets and points (0 without that head)."""
        windows = squared(boxes)
        scores, offsets = windows.new_zeros(len(windows)), windows.new_zeros(len(windows), 4)
        points = windows.new_zeros(len(windows), 2 * POINTS)
        for start in range(0, len(windows), _WINDOWS_AT_ONCE):
            part = slice(start, start + _WINDOWS_AT_ONCE)
            crops = cut_windows(picture, windows[part], STAGE_SIDE_PX[stage])
            answer = self._networks[stage](scaled_pixels(crops))
            scores[part], offsets[part] = face_probability(answer.face), answer.box.float()
            if answer.landmarks is not None:
                points[part] = answer.landmarks.float()
        passed = scores >= threshold
        return windows[passed], scores[passed], offsets[passed], points[passed]
