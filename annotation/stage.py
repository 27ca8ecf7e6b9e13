"""The review stage: what people agreed on turns samples into ground truth, or out of the dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from annotation.consensus import decide
from annotation.judging import apply_decision
from annotation.settings import ReviewSettings
from annotation.verdict import Role, Verdict, verdicts_digest
from dataset_tools.core.images import ImageStore
from dataset_tools.core.progress import Progress
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.stage import each

_log = logging.getLogger(__name__)


class ReviewStage:
    """Merges verdicts into samples; samples without one pass untouched.

    Args:
        settings: the session's; how many people must have spoken, and when they agree.
        verdicts: by sample id, those that count, from `read_verdicts`.
    """

    name = "review"
    version = "2"
    parallel = True

    def __init__(self, settings: ReviewSettings, verdicts: Mapping[str, tuple[Verdict, ...]]) -> None:
        self.settings = settings
        self.verdicts = dict(verdicts)

    @property
    def config(self) -> dict[str, Any]:
        """Number and digest of the verdicts, and how they become one: no other setting decides the rows."""
        every = [verdict for own in self.verdicts.values() for verdict in own]
        values = {"verdicts": len(every), "verdicts_sha256": verdicts_digest(every)}
        if every:
            values |= {
                "annotators": len(self.settings.annotators),
                "consensus": self.settings.consensus.model_dump(mode="json"),
            }
        return values

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
        verdicts = [item for item in self.verdicts.get(sample.id, ()) if item.role is not Role.GOLD]
        if not verdicts:
            yield sample
            return
        decision = decide(sample, verdicts, self.settings.consensus, len(self.settings.annotators))
        yield apply_decision(sample, decision)
