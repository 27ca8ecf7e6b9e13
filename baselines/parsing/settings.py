"""What a user may choose about face parsing; importing this loads no model library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_tools.core.settings import Settings

# Validations without a lower loss after which training stops, as the paper has it with and without flips.
_PATIENCE = {"none": 10, "swapped": 20, "as_is": 20}


class ParsingSettings(Settings):
    """One training of the 18-part network; the defaults are the paper's better run (`baselines.md` 4).

    Attributes:
        flips: "none"; "swapped" adds the mirror image of every picture, with left and right parts changed
            over; "as_is" does not change them over, so a mirrored left eye is still called left. The paper
            does not say which of both it did, only that flips harmed.
        dice_reduce: Dice per part over the batch, then the mean ("channel"), or of all parts at once
            ("flatten").
        norm: "imagenet", as the pretrained trunk wants it, or "unit" for RGB in [0, 1], as the text says.
        se_at: where the first squeeze-and-excitation stands, see `models.dlv3p_se`.
        input_px: side the pictures are brought to, pixels; scored at that size too.
        val_share: of the pictures, held out to choose weights and to score on.
        steps: optimiser steps; None: `epochs` passes.
        epochs: passes over the training pictures.
        batch: pictures per step.
        learning_rate: of Adam; divided by 10 after 5 validations without a lower loss, down to 1e-7.
        patience: stop after that many validations without a lower loss; None: 10, with flips 20.
        pretrained: start the trunk from ImageNet.
        seed: of the split and everything else random.
        checkpoint_every_steps: how much work a kill may cost.
        device: "auto" takes the GPU when there is one.
        amp: bfloat16 autocast; None: on a GPU only.
    """

    flips: Literal["none", "swapped", "as_is"] = "none"
    dice_reduce: Literal["channel", "flatten"] = "channel"
    norm: Literal["imagenet", "unit"] = "imagenet"
    se_at: Literal["aspp", "concat"] = "aspp"
    input_px: int = Field(default=128, ge=32, le=1024)
    val_share: float = Field(default=0.2, gt=0.0, lt=1.0)
    steps: int | None = Field(default=None, ge=1)
    epochs: int = Field(default=80, ge=1)
    batch: int = Field(default=4, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    patience: int | None = Field(default=None, ge=1)
    pretrained: bool = True
    seed: int = 42
    checkpoint_every_steps: int = Field(default=500, ge=1)
    device: str = "auto"
    amp: bool | None = None

    def resolved(self, *, on_gpu: bool) -> ParsingSettings:
        """The same with nothing None but `steps`."""
        amp = on_gpu if self.amp is None else self.amp
        patience = self.patience or _PATIENCE[self.flips]
        return self.model_copy(update={"amp": amp, "patience": patience})
