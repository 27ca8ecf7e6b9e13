"""What a user may choose about MSML; importing this loads no model library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from dataset_tools.core.settings import Settings

Branch = Literal["a18", "l29"]
Head = Literal["margin", "linear"]
Layer = Literal[1, 2, 3, 4]

INPUT_PX: dict[Branch, int] = {"a18": 112, "l29": 128}


class NetworkSettings(Settings):
    """Which MSML network; the paper's tuple (T, S, R, F) is `sight`, `kernel`, `blocks`, `activation`.

    Attributes:
        branch: face recognition branch: ArcFace-18 or LightCNN-29.
        layers: after which stages a masking operator sits; none: the plain recognition branch.
        sight: whether an operator sees face features and occlusion maps ("cat") or the maps alone ("seg").
        kernel: side of its filter.
        blocks: its residual blocks.
        activation: sigmoid, tanh, or a step at 0.5 with the sigmoid's gradient.
        residual: add the unmasked features again, as the released code does and the paper does not (D-17).
        osb_depth: encoder of the occlusion branch.
        detach: keep the recognition loss out of the occlusion branch, as the paper does.
        embed_dim: values of an embedding; None: 512 for a18, 256 for l29 (D-16).
        dropout: at the embedding layer, while training.
    """

    branch: Branch = "a18"
    layers: tuple[Layer, ...] = (1, 2, 3, 4)
    sight: Literal["cat", "seg"] = "cat"
    kernel: Literal[1, 3] = 3
    blocks: Literal[0, 1, 2] = 2
    activation: Literal["sig", "tan", "bin"] = "sig"
    residual: bool = False
    osb_depth: Literal[18, 34] = 18
    detach: bool = True
    embed_dim: int | None = Field(default=None, ge=2)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @field_validator("layers")
    @classmethod
    def _layers_are_distinct(cls, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        if list(layers) != sorted(set(layers)):
            raise ValueError("layers must be in rising order, each once")
        return layers

    @property
    def input_px(self) -> int:
        """Side of the square faces the network takes, pixels."""
        return INPUT_PX[self.branch]


class OcclusionSettings(Settings):
    """What is drawn over training faces (`baselines.md` 5.8).

    Attributes:
        enabled: False trains on the faces as they are.
        mask_share: share of faces that get a rendered face mask, where a renderer is handed in.
        light: multiply every face by a smooth light map.
    """

    enabled: bool = True
    mask_share: float = Field(default=0.2, ge=0.0, le=1.0)
    light: bool = True


class VerificationSettings(Settings):
    """One training of MSML. Fields left at None take the branch's recipe (`baselines.md` 5.7).

    Attributes:
        network: see there.
        occlusion: see there.
        centre_share: share of each side that is cut from the middle of a face that has no landmarks.
        head: additive angular margin, or a linear classifier.
        margin: of the margin head, radians.
        scale: of the margin head.
        occlusion_weight: lambda, of the segmentation loss.
        steps: optimiser steps; None: `epochs` passes.
        epochs: passes over the faces.
        batch: faces per step.
        frb_rate, osb_rate: learning rates of the recognition and the occlusion branch.
        head_rate, masking_rate: of the classifier and of the masking operators.
        weight_decay: of SGD with momentum 0.9; the released code takes 5e-4 for a18 (D-18).
        milestones: epochs at which all rates are multiplied by `rate_factor`.
        rate_factor: see there.
        clip_norm: longest gradient.
        flip: mirror faces with that probability.
        seed: of everything random.
        checkpoint_every_steps: how much work a kill may cost.
        device: "auto" takes the GPU when there is one.
        amp: bfloat16 autocast; None: on a GPU only.
        num_workers: processes that prepare faces; None: 0 on CPU, 8 on a GPU.
    """

    network: NetworkSettings = NetworkSettings()
    occlusion: OcclusionSettings = OcclusionSettings()
    centre_share: float = Field(default=1.0, gt=0.0, le=1.0)
    head: Head | None = None
    margin: float = Field(default=0.5, ge=0.0, le=1.5)
    scale: float = Field(default=64.0, gt=0.0)
    occlusion_weight: float = Field(default=1.0, ge=0.0)
    steps: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    batch: int | None = Field(default=None, ge=2)
    frb_rate: float | None = Field(default=None, gt=0.0)
    osb_rate: float | None = Field(default=None, gt=0.0)
    head_rate: float | None = Field(default=None, gt=0.0)
    masking_rate: float | None = Field(default=None, gt=0.0)
    weight_decay: float = Field(default=1e-5, ge=0.0)
    milestones: tuple[int, ...] | None = None
    rate_factor: float | None = Field(default=None, gt=0.0, le=1.0)
    clip_norm: float = Field(default=5.0, gt=0.0)
    flip: float = Field(default=0.5, ge=0.0, le=1.0)
    seed: int = 0
    checkpoint_every_steps: int = Field(default=500, ge=1)
    device: str = "auto"
    amp: bool | None = None
    num_workers: int | None = Field(default=None, ge=0)

    def resolved(self, *, on_gpu: bool) -> VerificationSettings:
        """The same with nothing None that decides the result, but `steps`."""
        recipe = _RECIPES[self.network.branch] | {"amp": on_gpu, "num_workers": 8 if on_gpu else 0}
        return self.model_copy(
            update={name: value for name, value in recipe.items() if getattr(self, name) is None}
        )


# The classifier's and the operators' own rates stand in the released code alone, for l29.
_RECIPES: dict[Branch, dict[str, object]] = {
    "a18": {
        "head": "margin",
        "batch": 512,
        "epochs": 25,
        "frb_rate": 0.1,
        "osb_rate": 0.01,
        "head_rate": 0.1,
        "masking_rate": 0.1,
        "milestones": (11, 16, 21),
        "rate_factor": 0.1,
    },
    "l29": {
        "head": "linear",
        "batch": 64,
        "epochs": 35,
        "frb_rate": 0.001,
        "osb_rate": 0.01,
        "head_rate": 0.01,
        "masking_rate": 0.1,
        "milestones": (15, 30),
        "rate_factor": 1 / 3,
    },
}


class ScoreSettings(Settings):
    """How pairs are scored (`baselines.md` 5.9).

    Attributes:
        block_percents: LFW_block: area of the black square on both pictures of a pair, percent; 0 is clean.
        mixed: table 4's protocol: squares of 1 to 40 % drawn for each picture.
        polygons: table 5's protocol LFW_poly: drawn polygons.
        repeats: times each occluded protocol is repeated with other positions.
        seed: of positions and sizes.
        batch: faces at once.
        device: "auto" takes the GPU when there is one.
    """

    block_percents: tuple[int, ...] = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    mixed: bool = True
    polygons: bool = True
    repeats: int = Field(default=10, ge=1)
    seed: int = 0
    batch: int = Field(default=64, ge=1)
    device: str = "auto"

    @field_validator("block_percents")
    @classmethod
    def _percents_are_percents(cls, percents: tuple[int, ...]) -> tuple[int, ...]:
        if list(percents) != sorted(set(percents)) or any(not 0 <= one <= 100 for one in percents):
            raise ValueError("block_percents must be whole percents from 0 to 100, rising, each once")
        return percents
