"""Masks as closed lines through pixel centres: exact for programs that fill the line's own pixels too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_tools.core.masks import BoolMask


@dataclass(frozen=True, slots=True)
class Outline:
    """One closed line.

    Attributes:
        points_xy: whole pixels, x right, y down; one or two points for what is no wider than a line.
        is_hole: what it encloses is cut out.
    """

    points_xy: tuple[tuple[int, int], ...]
    is_hole: bool


def outlines(mask: BoolMask) -> list[Outline]:
    """Outlines of parts (8-connected) and holes (4-connected), each after what encloses it.

    The lines run through the centres of the outermost pixels of part or hole and bend only where they must.
    Filled with their own pixels one after the other, holes erasing, they give the mask back.

    Args:
        mask: (H, W) bool.
    """
    import cv2

    found: list[tuple[float, Outline]] = []
    parts, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for part, (_, _, _, parent) in zip(parts, tree[0] if parts else (), strict=True):
        if parent < 0:
            found.append((cv2.contourArea(part), _outline(part, is_hole=False)))
    # With a frame, so that all background that reaches the border is one piece.
    empty = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    count, numbers, boxes, _ = cv2.connectedComponentsWithStats(empty, connectivity=4)
    for number in range(1, count):
        if number == numbers[0, 0]:
            continue
        x, y, width, height = (int(value) for value in boxes[number, :4])
        hole = (numbers[y : y + height, x : x + width] == number).astype(np.uint8)
        lines, _ = cv2.findContours(hole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x - 1, y - 1))
        found += [(cv2.contourArea(line), _outline(line, is_hole=True)) for line in lines]
    # What lies inside another piece has the smaller line.
    return [outline for _, outline in sorted(found, key=lambda piece: -piece[0])]


def _outline(contour: Any, *, is_hole: bool) -> Outline:
    return Outline(tuple((int(x), int(y)) for x, y in contour.reshape(-1, 2)), is_hole)
