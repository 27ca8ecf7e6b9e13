"""A trained network as a detector: faces of a picture, and how many of known pictures it gets right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from baselines.detection.boxes import Detections, true_boxes
from baselines.detection.scores import average_precision
from baselines.ssd.loss import IGNORED
from baselines.ssd.network import SsdNetwork
from baselines.ssd.photos import FacePhoto
from baselines.ssd.settings import CLASSES
from dataset_tools.core.anchors import INPUT_SIDE_PX, NMS_IOU, anchors_cxcywh, decode_boxes
from dataset_tools.core.images import RgbImage

LEAST_SCORE = 0.05
SURE_SCORE = 0.5

Figures = Mapping[str, float]
Find = Callable[[RgbImage], Detections]
"""From an (H, W, 3) uint8 picture to faces in its pixels, labels the wearing states."""


def finder(network: SsdNetwork, least_score: float = LEAST_SCORE) -> Find:
    """The network as a function of one picture; boxes are clipped to it, best first."""

    def find(rgb: RgbImage) -> Detections:
        import cv2
        from torchvision.ops import nms

        side = (INPUT_SIDE_PX, INPUT_SIDE_PX)
        squeezed = np.asarray(cv2.resize(rgb, side, interpolation=cv2.INTER_LINEAR))
        picture = torch.from_numpy(squeezed).permute(2, 0, 1)[None].float() / 255.0
        with torch.inference_mode():
            offsets, logits = network(picture)
        scores, classes = torch.sigmoid(logits[0]).max(dim=1)
        likely = scores > least_score
        boxes = decode_boxes(offsets[0][likely].numpy(), anchors_cxcywh()[likely.numpy()])
        height, width = rgb.shape[:2]
        scale = np.array([width, height, width, height], dtype=np.float32)
        pixels = (np.clip(boxes, 0, 1) * scale).astype(np.float32)
        kept = nms(torch.from_numpy(pixels), scores[likely], NMS_IOU).numpy()
        names = tuple(CLASSES[int(index)].value for index in classes[likely].numpy()[kept])
        return Detections(pixels[kept], scores[likely].numpy()[kept], names)

    return find


def figures_of(network: SsdNetwork, photos: Sequence[FacePhoto]) -> dict[str, float]:
    """How well the network does on photos with known faces.

    Returns:
        `pictures`; `ap50` of faces of any state; `found`, the share of photos of which the surest face from
        `SURE_SCORE` on wears what the largest true face wears; `found_<state>`, the same of one state.
        Empty without photos.
    """
    if not photos:
        return {}
    find = finder(network)
    pairs = []
    right: dict[str, list[bool]] = {}
    for photo in photos:
        found = find(photo.rgb)
        known = photo.classes != IGNORED
        boxes = photo.boxes[known]
        names = tuple(CLASSES[int(index)].value for index in photo.classes[known])
        sizes = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        state = names[int(sizes.argmax())]
        is_right = len(found.labels) > 0 and found.scores[0] >= SURE_SCORE and found.labels[0] == state
        right.setdefault(state, []).append(bool(is_right))
        faces = Detections(found.boxes, found.scores, ("face",) * len(found.labels))
        pairs.append((faces, true_boxes(boxes, ("face",) * len(names))))
    figures = {"pictures": float(len(photos)), "ap50": average_precision(pairs, "face")}
    figures["found"] = float(np.mean([one for ones in right.values() for one in ones]))
    figures |= {f"found_{state}": float(np.mean(ones)) for state, ones in sorted(right.items())}
    return {name: round(value, 4) for name, value in figures.items()}
