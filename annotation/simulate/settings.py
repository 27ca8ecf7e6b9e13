"""How a review is simulated: who looks, how much is bought, what counts as agreement."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from annotation.prelabel.settings import PrelabelSettings
from annotation.settings import ConsensusSettings
from annotation.simulate.errors import ErrorModel
from annotation.simulate.work import TimeModel
from dataset_tools.core.settings import Settings

_CAREFUL = ErrorModel(boundary_px=0.8, bias_px=0.3, laziness=0.0)
_HASTY = ErrorModel(boundary_px=1.4, bias_px=-0.3, miss_hole=0.2, laziness=0.05, eye=0.93)
_ADJUDICATOR = ErrorModel(
    boundary_px=0.6,
    miss_hole=0.02,
    miss_instance=0.0,
    wrong_choice=0.01,
    wrong_class=0.0,
    laziness=0.0,
    eye=0.97,
)


class SimulationSettings(Settings):
    """One simulated review. What people do wrong is assumed, never measured.

    Attributes:
        bought: numbers of pictures labelled from nothing before, each giving a row of the table.
        review_share: share of the pictures that is reviewed in every row and never bought.
        job_pictures: size of the dataset for which the cost of the whole job is reckoned.
        annotators: two people or more; the default is a careful and a hasty one.
        adjudicator: who settles what they disagree about.
        time: what work costs.
        consensus: when people agree.
        prelabel: which proposals are shown.
    """

    bought: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 50, 100, 200), min_length=1)
    review_share: float = Field(default=0.45, gt=0.0, le=1.0)
    job_pictures: int = Field(default=1000, ge=1)
    annotators: tuple[ErrorModel, ...] = Field(default=(_CAREFUL, _HASTY), min_length=2, max_length=9)
    adjudicator: ErrorModel = _ADJUDICATOR
    time: TimeModel = TimeModel()
    consensus: ConsensusSettings = ConsensusSettings()
    prelabel: PrelabelSettings = PrelabelSettings()
