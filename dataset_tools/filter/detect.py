"""Detection: adds everything that may be a face, and what can be measured of it, to every sample.

This is the slow half of the filter and knows no threshold: what is too little stays in the record, so that
the filter behind it can be run again with other thresholds in seconds. Prints of the face crops are taken
while the pixels are at hand, and kept in the provenance (`core.face_prints`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dataset_tools.core.face_prints import with_face_prints
from dataset_tools.core.images import ImageStore
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.stage import each
from dataset_tools.filter.face_crops import face_prints
from dataset_tools.filter.gates import is_own_score, measure
from dataset_tools.filter.models import load_finder
from dataset_tools.filter.settings import FilterSettings

NAME = "detect"


class DetectStage:
    """The stage; build it with the settings that `models.choose_detector` returned."""

    name = NAME
    version = "2"
    parallel = True

    def __init__(self, settings: FilterSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    @property
    def config(self) -> dict[str, Any]:
        """As `Stage.config`; the seed decides nothing here."""
        return self.settings.detection_config()

    def plan(self, samples: Iterable[Sample]) -> frozenset[str]:
        """Item keys of exact copies: the filter drops them, so nobody need look at them."""
        first: dict[str, tuple[bool, str]] = {}
        copies = set()
        for sample in samples:
            own = (not sample.is_labelled, sample.provenance.item_key)
            best = first.setdefault(sample.image.sha256, own)
            if best != own:
                first[sample.image.sha256] = min(best, own)
                copies.add(max(best, own)[1])
        return frozenset(copies)

    def run(
        self, items: Sequence[Sample], *, plan: frozenset[str], images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """As `Stage.run`."""

        def handle(sample: Sample) -> Iterator[Sample | Rejection]:
            is_copy = sample.provenance.item_key in plan
            yield sample if is_copy else self._seen(sample, images)

        yield from each(items, NAME, handle, progress)

    def _seen(self, sample: Sample, images: ImageStore) -> Sample:
        image_rgb = images.read(sample.image)
        candidates = load_finder(self.settings).candidates(image_rgb)
        faces = tuple(candidate.face for candidate in candidates)
        others = tuple(score for score in sample.scores if not is_own_score(score.name))
        evidence = with_face_prints(sample.provenance.evidence, face_prints(image_rgb, faces))
        return dataclasses.replace(
            sample,
            provenance=dataclasses.replace(sample.provenance, evidence=evidence),
            faces=faces,
            scores=(*others, *measure(image_rgb, candidates)),
        )
