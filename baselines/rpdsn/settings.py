"""Choices of MISA's edge stage and of the training of its occlusion classifier; importing this is light."""

from __future__ import annotations

from pydantic import Field

from dataset_tools.core.settings import Settings


class EdgeSettings(Settings):
    """How blocks at the border between mask and face are split and judged anew (`baselines.md` 2.5).

    Attributes:
        grid: blocks per side of the picture.
        split: parts per side a block with both classes is cut into.
        min_block_px: blocks of that side are judged, not cut.
        depth: cuts at most.
        context_px: side of the patch the classifier sees around a block.
        threshold: a block is mask when its chance is above it.
        passes: at most; each further one moves the grid by half a smallest block.
        least_change: share of the picture's pixels; a pass that changes less is the last.
    """

    grid: int = Field(default=8, ge=1, le=64)
    split: int = Field(default=2, ge=2, le=8)
    min_block_px: int = Field(default=4, ge=1)
    depth: int = Field(default=4, ge=0, le=12)
    context_px: int = Field(default=32, ge=4)
    threshold: float = Field(default=0.5, gt=0, lt=1)
    passes: int = Field(default=3, ge=1, le=10)
    least_change: float = Field(default=1e-3, ge=0, le=1)


class ClassifierSettings(Settings):
    """How the occlusion classifier is trained; Adam, binary cross entropy (`baselines.md` 2.4).

    Attributes:
        edge: where it will be used; decides block and context sizes.
        steps: optimiser steps.
        pairs: pairs of pictures per step.
        blocks: blocks per pair: half of them mask, a quarter skin of the masked picture, a quarter of the
            bare picture beside itself in other light.
        learning_rate: of Adam.
        val_every_steps: from one validation to the next.
        patience: stop after that many validations without a better accuracy.
        dictionary_pairs: bare pictures the dictionary is averaged over, at most.
        upright: turn faces upright by their eyes, where landmarks are known.
    """

    edge: EdgeSettings = EdgeSettings()
    steps: int = Field(default=2000, ge=1)
    pairs: int = Field(default=8, ge=1)
    blocks: int = Field(default=8, ge=4, multiple_of=4)
    learning_rate: float = Field(default=1e-4, gt=0)
    val_every_steps: int = Field(default=100, ge=1)
    patience: int = Field(default=10, ge=1)
    dictionary_pairs: int = Field(default=200, ge=1)
    upright: bool = True
