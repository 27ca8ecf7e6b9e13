"""The filter: drops what detection found unusable and what is there twice.

Labelled samples (published pairs, COCO) keep their instances untouched and are dropped only as exact
duplicates: throwing ground truth away because a detector missed a face would cost more than it saves. What
the filter thinks of them stands in their scores.

It runs no model and reads no picture, so another threshold costs seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dataset_tools.core.images import ImageStore
from dataset_tools.core.progress import Progress
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.stage import each, reject
from dataset_tools.filter.duplicates import DuplicatePlan, fingerprint, plan_duplicates
from dataset_tools.filter.gates import gated
from dataset_tools.filter.settings import FilterSettings

NAME = "filter"


class FilterStage:
    """The stage; its input is what `detect.DetectStage` wrote."""

    name = NAME
    version = "3"
    parallel = True

    def __init__(self, settings: FilterSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    @property
    def config(self) -> dict[str, Any]:
        """As `Stage.config`; the seed decides nothing here."""
        return self.settings.gate_config()

    def plan(self, samples: Iterable[Sample]) -> DuplicatePlan:
        """Find duplicates over the whole input; holds about 300 bytes a sample and 32 a face in memory."""
        return plan_duplicates(
            map(fingerprint, samples),
            drop_distance=self.settings.drop_distance,
            group_distance=self.settings.group_distance,
            face_distance=self.settings.face_distance,
        )

    def run(
        self, items: Sequence[Sample], *, plan: DuplicatePlan, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """As `Stage.run`."""

        def handle(sample: Sample) -> Iterator[Sample | Rejection]:
            yield self._handle(sample, plan)

        yield from each(items, NAME, handle, progress)

    def _handle(self, sample: Sample, plan: DuplicatePlan) -> Sample | Rejection:
        twin = plan.dropped.get(sample.provenance.item_key)
        if twin is not None:
            detail = f"differs in {twin.distance} of 64 bits from {twin.kept_key}, which is kept"
            if twin.reason is Reason.DUPLICATE:
                detail = f"the same picture as {twin.kept_key}, which is kept"
            return reject(sample, NAME, twin.reason, detail)
        kept = gated(sample, self.settings)
        return dataclasses.replace(kept, group=plan.groups.get(sample.group, sample.group))
