"""How people and proposals go wrong: a known error model, pure and seeded.

Lengths are percent of the diameter of the disc that has the instance's area ("px per 100 px of mask"), so
one model fits small and large faces. Everything follows from the seed and the instance's id, never from the
order of the instances.

The outline's displacement is a smooth Gaussian random field added to the signed distance of the mask, with
holes' outlines included: where the field is +2 px the outline lies 2 px further out, and a hole is 2 px
narrower. The field's blur is a share `SMOOTHNESS` of the diameter: a hand leaves the line in long waves, not
pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from pydantic import Field

from annotation.drawing import REGION_CHOICES
from annotation.simulate.shapes import diameter_px, holes, mask_iou, signed_distance, smooth_noise
from dataset_tools.core.errors import MaskShapeError
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask, mask_to_rle, rle_to_mask
from dataset_tools.core.record import Instance, Pairs, sorted_pairs
from dataset_tools.core.seeds import generator
from dataset_tools.core.settings import Settings

# Blur of the displacement field, as a share of the diameter.
SMOOTHNESS = 0.1

# What a label is taken for when it is mistaken.
_MISTAKEN_FOR = {
    Label.FACE_MASK: Label.OCCLUDER,
    Label.OCCLUDER: Label.FACE_MASK,
    Label.STRAP: Label.FACE_MASK,
    Label.FACE: Label.OCCLUDER,
}


class ErrorModel(Settings):
    """What one simulated person does wrong. All figures are assumptions, to be varied.

    Attributes:
        boundary_px: standard deviation of the outline's displacement, px per 100 px of mask diameter.
        bias_px: mean displacement in the same unit; positive: paints over the edge.
        miss_hole: chance that a hole is painted over.
        miss_instance: chance that an instance is not drawn at all.
        wrong_choice: chance per choice (mask type, wearing state) that another one is taken.
        wrong_class: chance that an instance gets the label it is easily mistaken for.
        laziness: chance that a proposal is accepted without looking.
        eye: overlap (IoU) of a proposal with the truth from which on this person sees no difference.
    """

    boundary_px: float = Field(default=1.0, ge=0.0, le=50.0)
    bias_px: float = Field(default=0.0, ge=-20.0, le=20.0)
    miss_hole: float = Field(default=0.1, ge=0.0, le=1.0)
    miss_instance: float = Field(default=0.01, ge=0.0, le=1.0)
    wrong_choice: float = Field(default=0.03, ge=0.0, le=1.0)
    wrong_class: float = Field(default=0.01, ge=0.0, le=1.0)
    laziness: float = Field(default=0.02, ge=0.0, le=1.0)
    eye: float = Field(default=0.95, gt=0.0, le=1.0)


def drawn(
    truth: Iterable[Instance], size_hw: tuple[int, int], model: ErrorModel, seed: int
) -> tuple[Instance, ...]:
    """What this person would draw on an empty picture.

    Args:
        truth: what is really there.
        size_hw: of the picture.
        model: the person's faults.
        seed: of this person and picture.

    Returns:
        Instances of the same ids, without those missed or too thin to be hit; soft labels are dropped. They
        may overlap by a few pixels, as strokes do.

    Raises:
        MaskShapeError: a mask of another size.
    """
    return redrawn(seen(truth, model, seed), size_hw, model, seed)


def seen(
    truth: Iterable[Instance],
    model: ErrorModel,
    seed: int,
    shown: Mapping[str, Instance] | None = None,
) -> tuple[Instance, ...]:
    """What this person takes for the truth: `drawn` with a perfect hand.

    Args:
        truth, model, seed: as in `drawn`.
        shown: by the truth's instance id what a proposal shows there. Nobody overlooks what is shown: an
            instance, hole, class or choice that the proposal has right is never missed.
    """
    found = []
    for instance in truth:
        hint = (shown or {}).get(instance.id)
        rng = generator(seed, instance.id, "seen")
        is_missed, is_mistaken = rng.random(2) < (model.miss_instance, model.wrong_class)
        if is_missed and hint is None:
            continue
        is_mistaken &= hint is None or hint.label is not instance.label
        found.append(
            replace(
                instance,
                label=_MISTAKEN_FOR[instance.label] if is_mistaken else instance.label,
                mask=mask_to_rle(_with_holes_missed(instance, hint, model.miss_hole, rng)),
                confidence=None,
                soft=None,
                attributes=_choices(instance, hint, model.wrong_choice, rng),
            )
        )
    return tuple(found)


def _with_holes_missed(
    instance: Instance, hint: Instance | None, miss: float, rng: np.random.Generator
) -> BoolMask:
    mask = rle_to_mask(instance.mask)
    shown = rle_to_mask(hint.mask) if hint is not None else None
    gaps = holes(mask)
    for gap, is_missed in zip(gaps, rng.random(len(gaps)) < miss, strict=True):
        if is_missed and (shown is None or not is_open(gap, shown)):
            mask = mask | gap
    return mask


def is_open(gap: BoolMask, mask: BoolMask) -> bool:
    """True when a mask leaves at least half of a hole free. Both (H, W) bool; the hole is not empty."""
    return 2 * int(np.count_nonzero(gap & mask)) <= int(np.count_nonzero(gap))


def _choices(instance: Instance, hint: Instance | None, wrong: float, rng: np.random.Generator) -> Pairs:
    values = dict(instance.attributes)
    for name, allowed in REGION_CHOICES.items():
        true = values.get(name)
        if true not in allowed:
            continue
        others = [value for value in allowed if value != true]
        is_wrong, taken = rng.random() < wrong, others[int(rng.integers(len(others)))]
        if is_wrong and (hint is None or hint.attribute(name) != true):
            values[name] = taken
    return sorted_pairs(values)


def redrawn(
    instances: Iterable[Instance], size_hw: tuple[int, int], model: ErrorModel, seed: int
) -> tuple[Instance, ...]:
    """The same instances with outlines as this person's hand leaves them; arguments as in `drawn`."""
    found = []
    for instance in instances:
        if instance.mask.size_hw != size_hw:
            raise MaskShapeError(f"mask is {instance.mask.size_hw}, picture is {size_hw}")
        rng = generator(seed, instance.id, "hand")
        mask = displaced(rle_to_mask(instance.mask), model.boundary_px, model.bias_px, rng)
        if mask.any():
            found.append(replace(instance, mask=mask_to_rle(mask)))
    return tuple(found)


def displaced(mask: BoolMask, boundary_px: float, bias_px: float, rng: np.random.Generator) -> BoolMask:
    """A mask whose outlines have moved; see the module's docstring.

    Args:
        mask: (H, W) bool.
        boundary_px: standard deviation of the displacement, px per 100 px of the mask's diameter.
        bias_px: mean displacement, same unit, positive outwards.
        rng: draws the field.

    Returns:
        (H, W) bool; the mask itself when it has no outline or nothing moves.
    """
    if mask.all() or not mask.any():
        return mask
    diameter = diameter_px(mask)
    noise = smooth_noise((mask.shape[0], mask.shape[1]), SMOOTHNESS * diameter, rng)
    shift = (bias_px + boundary_px * noise) * (diameter / 100.0)
    return np.asarray(signed_distance(mask) + shift > 0)


# A flawed proposal: how far its outline is off (px per 100 px), how often it lacks a hole or the nose.
_FLAW_BOUNDARY_PX = (2.0, 6.0)
_FLAW_BIAS_PX = (-3.0, 3.0)
_FLAW_HOLE = 0.5
_FLAW_NOSE = 0.35
_NOSE_SHARE = (0.08, 0.25)  # of the mask's height, cut off at its top
_CONFIDENCE_NOISE = 0.04
_CONFIDENCE_RANGE = (0.5, 0.98)


def flawed(
    instances: Iterable[Instance], size_hw: tuple[int, int], seed: int, drawn_by: str
) -> tuple[Instance, ...]:
    """A proposal such as a mediocre model makes, from known truth: what a gold item shows.

    The outline is off by some percent, a hole may be filled, and a face mask may end below the nose. An
    instance is never missing, so that whoever accepts has seen something wrong.

    Args:
        instances: the truth.
        size_hw: of the picture.
        seed: of this picture; the same seed gives the same flaws.
        drawn_by: "model:<name>@<version>" as the other proposals of the session have it, so that nothing
            gives the item away.

    Returns:
        Instances of the same ids, labels, attributes and faces, with a confidence and without soft label.

    Raises:
        MaskShapeError: a mask of another size.
    """
    found = []
    for instance in instances:
        if instance.mask.size_hw != size_hw:
            raise MaskShapeError(f"mask is {instance.mask.size_hw}, picture is {size_hw}")
        rng = generator(seed, instance.id, "flawed")
        truth = rle_to_mask(instance.mask)
        mask = _with_flaws(truth, instance.label, rng)
        guess = mask_iou(mask, truth) + _CONFIDENCE_NOISE * float(rng.standard_normal())
        found.append(
            replace(
                instance,
                mask=mask_to_rle(mask),
                drawn_by=drawn_by,
                confidence=round(float(np.clip(guess, *_CONFIDENCE_RANGE)), 6),
                soft=None,
            )
        )
    return tuple(found)


def _with_flaws(truth: BoolMask, label: Label, rng: np.random.Generator) -> BoolMask:
    boundary_px = rng.uniform(*_FLAW_BOUNDARY_PX)
    bias_px = rng.uniform(*_FLAW_BIAS_PX)
    mask = truth
    for gap in holes(truth):
        if rng.random() < _FLAW_HOLE:
            mask = mask | gap
    is_cut, share = rng.random() < _FLAW_NOSE, rng.uniform(*_NOSE_SHARE)
    if label is Label.FACE_MASK and is_cut and truth.any():
        rows = np.flatnonzero(truth.any(axis=1))
        mask = mask.copy()
        mask[: rows[0] + round(share * (rows[-1] + 1 - rows[0]))] = False
    moved = displaced(mask, boundary_px, bias_px, rng)
    return moved if moved.any() else truth
