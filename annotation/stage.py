"""The review stage: people's verdicts turn samples into ground truth, or out of the dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from annotation.judging import apply_verdict
from annotation.review import ReviewSettings
from annotation.verdict import Verdict, verdicts_digest
from dataset_tools.core.images import ImageStore
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.stage import each

_log = logging.getLogger(__name__)


class ReviewStage:
    """Merges verdicts into samples; samples without one pass untouched.

    Args:
        settings: the session's settings; none of them changes the rows, the verdicts do.
        verdicts: by sample id, from `read_verdicts`.
    """

    name = "review"
    version = "1"
    parallel = True

    def __init__(self, settings: ReviewSettings, verdicts: Mapping[str, Verdict]) -> None:
        self.settings = settings
        self.verdicts = dict(verdicts)

    @property
    def config(self) -> dict[str, Any]:
        """Number and digest of the verdicts: new verdicts mean a new manifest."""
        return {"verdicts": len(self.verdicts), "verdicts_sha256": verdicts_digest(self.verdicts.values())}

    def plan(self, samples: Iterable[Sample]) -> None:
        """Say how many verdicts no sample asks for, so that a changed setting never hides people's work."""
        lost = len(self.verdicts.keys() - {sample.id for sample in samples}) if self.verdicts else 0
        if lost:
            _log.warning(
                "%d of %d reviewed samples are not in this manifest (settings changed, or dropped before); "
                "their verdicts are kept",
                lost,
                len(self.verdicts),
            )

    def run(
        self, items: Sequence[Sample], *, plan: None, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """Apply the verdicts of one shard."""
        yield from each(items, self.name, self._handle, progress)

    def _handle(self, sample: Sample) -> Iterator[Sample]:
        verdict = self.verdicts.get(sample.id)
        yield sample if verdict is None else apply_verdict(sample, verdict)
