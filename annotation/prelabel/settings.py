"""How pre-labelling is configured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dataset_tools.core.settings import Settings

DEFAULT: Literal["default"] = "default"
NONE: Literal["none"] = "none"


def _named(value: Any) -> Any:
    return NONE if value is None else value


class PrelabelSettings(Settings):
    """Which model proposes, and which of its proposals are kept.

    Attributes:
        checkpoint: "default": the model that comes with the suite; "none", or null: no model, samples pass
            as they are; else the folder of a trained baseline ("./default" for one of that name).
        device: "auto" takes the GPU when there is one; "cpu", "cuda:0", ….
        test_time_augment: look at each picture mirrored and at two other sizes as well and take the mean:
            four times the work, and each proposal says how much the looks disagreed.
        calibrate_on: labelled pictures, at most, on which the model's confidence is compared with how well
            its proposals really fit; 0, or too few of them: the confidence is what the model was calibrated
            to elsewhere, or what it expects of itself.
        min_confidence: proposals of which less overlap (IoU) is to be expected are dropped.
        min_area_px: smaller proposals are dropped.
    """

    checkpoint: Annotated[Literal["default", "none"] | Path, BeforeValidator(_named)] = DEFAULT
    device: str = "auto"
    test_time_augment: bool = False
    calibrate_on: int = Field(default=200, ge=0)
    min_confidence: float = Field(default=0.3, ge=0.0, le=1.0)
    min_area_px: int = Field(default=64, ge=1)

    def resolved(self, base_dir: Path) -> PrelabelSettings:
        """The same settings with a relative checkpoint meant from `base_dir`."""
        if not isinstance(self.checkpoint, Path):
            return self
        return self.model_copy(update={"checkpoint": base_dir / self.checkpoint})
