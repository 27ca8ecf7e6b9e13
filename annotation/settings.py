"""How review sessions are configured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from dataset_tools.core.labels import Label
from dataset_tools.core.settings import Settings

LaneName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,19}$")]

ADJUDICATION = "adjudication"

_AGREE_IOU = {Label.FACE_MASK: 0.9, Label.FACE: 0.85, Label.OCCLUDER: 0.8, Label.STRAP: 0.5}


class ConsensusSettings(Settings):
    """When people agree, and how their masks become one.

    Attributes:
        agree_iou: least overlap (IoU) per label at which people agree, .9 for face masks, .85 for faces, .8
            for occluders, .5 for straps unless another is given; a strap is a few pixels wide, so a
            careful hand still misses a third of it.
        method: "majority": a pixel stays when more than half claim it, ties follow the mean signed distance
            to the outlines; "staple": expectation maximisation over how reliable each person is.
    """

    agree_iou: dict[Label, Annotated[float, Field(ge=0.0, le=1.0)]] = Field(
        default_factory=lambda: dict(_AGREE_IOU)
    )
    method: Literal["majority", "staple"] = "majority"

    @field_validator("agree_iou")
    @classmethod
    def _every_label(cls, given: dict[Label, float]) -> dict[Label, float]:
        return {label: given.get(label, _AGREE_IOU[label]) for label in Label}


class ReviewSettings(Settings):
    """How a review session is opened. Tokens are not here: they come from the environment or a keyring.

    Attributes:
        url: of the Label Studio server.
        project: title there; each annotator's project has the annotator's name after it.
        annotators: one lane per person; all of them see every sample, and none sees another's lane.
        gold_share: samples of known truth that are slipped in, shown with a flawed proposal, as a share of
            the samples under review.
        synthetic_share: share of the rendered, already labelled samples that people see as well.
        easy_from: proposals from this confidence on count as easy: they come last, in batches to look
            through and accept together.
        consensus: see there.
    """

    url: str = "http://127.0.0.1:8080"
    project: str = Field(default="maskset review", min_length=3, max_length=28)
    annotators: tuple[LaneName, ...] = Field(default=("a", "b"), min_length=1)
    gold_share: float = Field(default=0.05, ge=0.0, le=1.0)
    synthetic_share: float = Field(default=0.05, ge=0.0, le=1.0)
    easy_from: float = Field(default=0.9, ge=0.0, le=1.0)
    consensus: ConsensusSettings = ConsensusSettings()

    @field_validator("annotators")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names) or ADJUDICATION in names:
            raise ValueError(f"annotators need different names, and none is called {ADJUDICATION!r}")
        return names
