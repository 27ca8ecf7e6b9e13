"""MISA's edge segmentation: blocks where mask meets face are cut and judged anew. Pure arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from baselines.rpdsn.settings import EdgeSettings

BACKGROUND, MASK, FACE = 0, 1, 2

ClassMap = npt.NDArray[np.integer]
Blocks = npt.NDArray[np.int64]
"""(N, 4) x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""

Judge = Callable[[Blocks], npt.NDArray[np.bool_]]
"""Says of each block whether it is mask (True) or face."""


def refine(classes: ClassMap, judge: Judge, settings: EdgeSettings) -> ClassMap:
    """Decide the smallest blocks that hold both mask and face anew.

    Background never changes, nor does a block of the grid without both classes. Within a pass the smallest
    blocks do not overlap; after it each holds one class, so a further pass moves its grid by half a
    smallest block, else it would find nothing (the paper repeats without saying how).

    Args:
        classes: (H, W) of 0 background, 1 mask, 2 face, and others, which never change.
        judge: asked once a pass, with all blocks of it.
        settings: sizes and limits.

    Returns:
        (H, W) of the same type.

    Source: MISA, algorithm 1, repaired (`baselines.md` 2.5).
    """
    refined = classes.copy()
    open_to_change = np.zeros(classes.shape, dtype=np.bool_)
    for x0, y0, x1, y1 in _grid(classes.shape, settings.grid, 0):
        open_to_change[y0:y1, x0:x1] = _has_both(classes[y0:y1, x0:x1])
    for number in range(settings.passes):
        shift = (number % 2) * (settings.min_block_px // 2)
        if number and not shift:
            break
        leaves = smallest_mixed_blocks(refined, settings, shift)
        changed = _apply(refined, open_to_change, leaves, judge) if len(leaves) else 0
        if changed < settings.least_change * classes.size:
            break
    return refined


def _apply(refined: ClassMap, open_to_change: npt.NDArray[np.bool_], leaves: Blocks, judge: Judge) -> int:
    changed = 0
    for (x0, y0, x1, y1), is_mask in zip(leaves.tolist(), judge(leaves).tolist(), strict=True):
        part = refined[y0:y1, x0:x1]
        new = MASK if is_mask else FACE
        turned = open_to_change[y0:y1, x0:x1] & ((part == MASK) | (part == FACE)) & (part != new)
        part[turned] = new
        changed += int(turned.sum())
    return changed


def smallest_mixed_blocks(classes: ClassMap, settings: EdgeSettings, shift: int = 0) -> Blocks:
    """The blocks that are to be judged: those with mask and face that are not cut any further.

    Args:
        classes: (H, W) class numbers.
        settings: sizes and limits.
        shift: moves all inner lines of the grid right and down, pixels.
    """
    found: list[tuple[int, int, int, int]] = []
    for block in _grid(classes.shape, settings.grid, shift):
        found.extend(_leaves(classes, block, 0, settings))
    return np.array(found, dtype=np.int64).reshape(-1, 4)


def _leaves(
    classes: ClassMap, block: tuple[int, int, int, int], depth: int, settings: EdgeSettings
) -> Iterator[tuple[int, int, int, int]]:
    x0, y0, x1, y1 = block
    if not _has_both(classes[y0:y1, x0:x1]):
        return
    if max(x1 - x0, y1 - y0) <= settings.min_block_px or depth >= settings.depth:
        yield block
        return
    xs, ys = _lines(x0, x1, settings.split), _lines(y0, y1, settings.split)
    for part in _cells(xs, ys):
        yield from _leaves(classes, part, depth + 1, settings)


def _grid(shape: tuple[int, ...], count: int, shift: int) -> Iterator[tuple[int, int, int, int]]:
    xs, ys = _lines(0, shape[1], count), _lines(0, shape[0], count)
    if shift:
        # The first strip is narrower than a block, the last one as wide as what is left.
        xs = [0, *(min(one + shift, shape[1]) for one in xs[:-1]), shape[1]]
        ys = [0, *(min(one + shift, shape[0]) for one in ys[:-1]), shape[0]]
    yield from _cells(xs, ys)


def _lines(start: int, stop: int, count: int) -> list[int]:
    return [start + round(index * (stop - start) / count) for index in range(count + 1)]


def _cells(xs: list[int], ys: list[int]) -> Iterator[tuple[int, int, int, int]]:
    for y0, y1 in pairwise(ys):
        for x0, x1 in pairwise(xs):
            if x1 > x0 and y1 > y0:
                yield x0, y0, x1, y1


def _has_both(part: ClassMap) -> bool:
    return bool((part == MASK).any() and (part == FACE).any())
