"""What a user may choose about the attribute network; importing this loads no model library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dataset_tools.core.settings import Settings

Head = Literal["linear", "conv", "gap"]
CodingKind = Literal["feature", "joint", "separate"]


class VggSettings(Settings):
    """The trunk and head; the defaults are the paper's final network, the others steps of its table 1.

    Attributes:
        keep_conv8: keep the eighth convolution of VGG-11.
        keep_fc: keep the two wide layers FC1 and FC2; the head is then "linear".
        head: FC3 as a linear layer on 7x7 places, as a 7x7 convolution, or as a 1x1 convolution on the
            trunk's mean.
        bn: batch normalisation after every convolution of the trunk.
    """

    keep_conv8: bool = False
    keep_fc: bool = False
    head: Head = "conv"
    bn: bool = False

    @model_validator(mode="after")
    def _wide_layers_need_a_linear_head(self) -> VggSettings:
        if self.keep_fc and self.head != "linear":
            raise ValueError("keep_fc needs head: linear")
        return self


class LossSettings(Settings):
    """Weights of the terms; a weight of 0 switches a term off (`baselines.md` section 3.3, D-13).

    Attributes:
        l1: distance between the expected and the true feature value.
        kl: divergence from a bell curve around the true value.
        ce: cross entropy of the gender; the paper calls this weight "x" and does not give it.
        classes: cross entropy of the outputs as plain classes; what the paper's VGG-11 starts from.
        sigma: width of the bell curve, feature steps.
    """

    l1: float = Field(default=0.4, ge=0)
    kl: float = Field(default=0.6, ge=0)
    ce: float = Field(default=1.0, ge=0)
    classes: float = Field(default=0.0, ge=0)
    sigma: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _something_teaches_the_feature(self) -> LossSettings:
        if not (self.l1 or self.kl or self.classes):
            raise ValueError("one of l1, kl and classes must be above 0: nothing else teaches the feature")
        return self


class AttributeSettings(Settings):
    """One training of the attribute network.

    Attributes:
        top_value: features are whole numbers 0..top_value.
        gender: also learn the column `gender`. Off unless asked for; see `statement.ABOUT_LABELS`.
        combined: one softmax over feature and gender together (the paper's final network) instead of one
            each; without gender there is only the feature.
        network: trunk and head.
        loss: weights of the terms.
        input_px: side of the square input, pixels.
        batch: pictures per step.
        epochs: passes over the pictures, used when `steps` is None.
        steps: optimiser steps.
        learning_rate: of Adam.
        augment: mirror half of the pictures and change brightness, contrast and colour balance.
        pretrained: start the trunk from published ImageNet weights.
        patience: stop after that many validations without a better feature accuracy.
        seed: of everything random in the run.
        checkpoint_every_steps: how much work a kill may cost.
        device: "auto" takes the GPU when there is one.
        amp: bfloat16 autocast; None: on a GPU only.
        num_workers: processes that prepare pictures.
    """

    top_value: int = Field(default=10, ge=1, le=100)
    gender: bool = False
    combined: bool = True
    network: VggSettings = VggSettings()
    loss: LossSettings = LossSettings()
    input_px: int = Field(default=224, ge=32, le=1024)
    batch: int = Field(default=64, ge=1)
    epochs: int = Field(default=60, ge=1)
    steps: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    augment: bool = True
    pretrained: bool = True
    patience: int = Field(default=15, ge=1)
    seed: int = 0
    checkpoint_every_steps: int = Field(default=200, ge=1)
    device: str = "auto"
    amp: bool | None = None
    num_workers: int = Field(default=0, ge=0)

    @property
    def coding(self) -> CodingKind:
        """How the outputs stand for attributes (`coding.OutputCoding`)."""
        if not self.gender:
            return "feature"
        return "joint" if self.combined else "separate"
