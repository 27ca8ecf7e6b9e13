"""What a person asks a model for: clicks and a box on a picture, read from Label Studio's `context`. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from annotation.prelabel.proposer import BoxXyxy
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import RgbImage
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask
from dataset_tools.core.reasons import Reason

MOST_PROMPTS = 200

_CLICK = "keypointlabels"
_BOX = "rectanglelabels"


@dataclass(frozen=True, slots=True)
class Click:
    """A point of the picture.

    Attributes:
        row, column: of its pixel.
        is_positive: True: it belongs to what is wanted; False: it does not.
    """

    row: int
    column: int
    is_positive: bool = True


@dataclass(frozen=True, slots=True)
class Prompts:
    """All that was said so far about one wanted region.

    Attributes:
        label: what it shall show.
        clicks: in the order they were made.
        box_xyxy: pixels, inside the picture; the region lies inside of it. None: no box was drawn.
    """

    label: Label
    clicks: tuple[Click, ...] = ()
    box_xyxy: BoxXyxy | None = None

    @property
    def positives(self) -> tuple[Click, ...]:
        """Clicks on what is wanted."""
        return tuple(click for click in self.clicks if click.is_positive)

    @property
    def negatives(self) -> tuple[Click, ...]:
        """Clicks on what is not."""
        return tuple(click for click in self.clicks if not click.is_positive)


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """A model's answer to prompts.

    Attributes:
        mask: (H, W) bool, of the whole picture; empty when it found nothing there.
        score: how well it expects the mask to fit (IoU), in [0, 1].
    """

    mask: BoolMask
    score: float


class Encoding(Protocol):
    """A picture as a model knows it after its one long look; every prompt on it is answered fast."""

    @property
    def nbytes(self) -> int:
        """Memory it takes."""

    def segment(self, prompts: Prompts) -> Segmentation:
        """The region that the prompts, all together, ask for."""


class Prompter(Protocol):
    """A model that answers clicks and boxes.

    Attributes:
        name: of the model, without "@".
        version: changes whenever its answers may change.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def version(self) -> str: ...  # noqa: D102

    def encode(self, rgb: RgbImage, boxes: Sequence[BoxXyxy]) -> Encoding:
        """Look at a picture.

        Args:
            rgb: (H, W, 3) uint8.
            boxes: face boxes in pixels, as for `Proposer.propose`.
        """


def pixels_in(box_xyxy: BoxXyxy) -> tuple[slice, slice]:
    """The pixels of a box: rows and columns whose centres lie in it."""
    x0, y0, x1, y1 = (math.floor(end + 0.5) for end in box_xyxy)
    return slice(y0, y1), slice(x0, x1)


def read_prompts(context: Any, size_hw: tuple[int, int]) -> Prompts | None:
    """The prompts of an interactive request.

    The page sends every open click of one label, or one box. Should labels be mixed all the same, the label
    drawn last is what is wanted, and prompts of others are left out; of several boxes the last one counts.

    Args:
        context: `params.context` of the request; not trusted.
        size_hw: of the picture; the page speaks in percent of it.

    Returns:
        None when nothing was drawn that a model can answer.

    Raises:
        ItemFault: `json`, `schema`, `unknown_label`, `not_finite` or `out_of_bounds`.
    """
    if context is None:
        return None
    drawn = context.get("result", []) if isinstance(context, Mapping) else None
    if not isinstance(drawn, list) or not all(isinstance(one, Mapping) for one in drawn):
        raise ItemFault(Reason.JSON, "context.result is no list of objects")
    found = [one for one in drawn if one.get("type") in (_CLICK, _BOX)]
    if not found:
        return None
    if len(found) > MOST_PROMPTS:
        raise ItemFault(Reason.SCHEMA, f"{len(found)} prompts at once, at most {MOST_PROMPTS} are answered")
    label = _label(found[-1])
    clicks: list[Click] = []
    box: BoxXyxy | None = None
    for one in found:
        if _label(one) is not label:
            continue
        if one["type"] == _CLICK:
            clicks.append(_click(one, size_hw))
        else:
            box = _box(one, size_hw)
    return Prompts(label, tuple(clicks), box)


def _value(drawn: Mapping[str, Any]) -> Mapping[str, Any]:
    value = drawn.get("value")
    if not isinstance(value, Mapping):
        raise ItemFault(Reason.JSON, "a prompt's value is no object")
    return value


def _label(drawn: Mapping[str, Any]) -> Label:
    names = _value(drawn).get(drawn["type"])
    if not isinstance(names, list) or len(names) != 1:
        raise ItemFault(Reason.SCHEMA, "a prompt needs one label")
    try:
        return Label(names[0])
    except ValueError:
        raise ItemFault(Reason.UNKNOWN_LABEL, f"prompt for the label {str(names[0])[:80]!r}") from None


def _numbers(drawn: Mapping[str, Any], *keys: str) -> list[float]:
    value = _value(drawn)
    try:
        numbers = [float(value[key]) / 100 for key in keys]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ItemFault(Reason.SCHEMA, f"prompt without numbers: {error!r}"[:200]) from None
    if not all(math.isfinite(number) for number in numbers):
        raise ItemFault(Reason.NOT_FINITE, "prompt with a number that is not finite")
    return numbers


def _click(drawn: Mapping[str, Any], size_hw: tuple[int, int]) -> Click:
    x, y = _numbers(drawn, "x", "y")
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ItemFault(Reason.OUT_OF_BOUNDS, "click outside of the picture")
    height, width = size_hw
    # The page leaves `is_positive` out of points that cannot be negative.
    is_positive = bool(drawn.get("is_positive", True))
    return Click(min(int(y * height), height - 1), min(int(x * width), width - 1), is_positive)


def _box(drawn: Mapping[str, Any], size_hw: tuple[int, int]) -> BoxXyxy:
    x, y, wide, high = _numbers(drawn, "x", "y", "width", "height")
    height, width = size_hw
    x0, x1 = sorted(min(max(end, 0.0), 1.0) * width for end in (x, x + wide))
    y0, y1 = sorted(min(max(end, 0.0), 1.0) * height for end in (y, y + high))
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise ItemFault(Reason.OUT_OF_BOUNDS, "a box needs at least one pixel of the picture")
    return (x0, y0, x1, y1)
