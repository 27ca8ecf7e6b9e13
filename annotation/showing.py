"""What people are shown: which samples, in which order, and with which proposal. Pure.

Gold samples, whose truth is known, are slipped in with a flawed proposal; nothing in what people see tells
them apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from annotation.gain import order_for_review
from annotation.settings import ReviewSettings
from annotation.simulate.errors import flawed
from annotation.verdict import Role
from dataset_tools.core.labels import Label
from dataset_tools.core.record import ReviewState, Sample
from dataset_tools.core.seeds import derive_seed, generator

_UNKNOWN_MODEL = "model:unknown@0"


@dataclass(frozen=True, slots=True)
class Showing:
    """A session's samples.

    Attributes:
        samples: as people see them, in the order they shall see them.
        truths: the gold samples as they are in the manifest, by id.
    """

    samples: tuple[Sample, ...]
    truths: dict[str, Sample]

    def role_of(self, sample_id: str) -> Role:
        """What an annotator's verdict on that sample is for."""
        return Role.GOLD if sample_id in self.truths else Role.ANNOTATOR


def choose(samples: Iterable[Sample], settings: ReviewSettings, seed: int) -> Showing:
    """Choose and order what people see: all that are not labelled, some rendered ones, and gold ones.

    Every draw depends on seed and sample alone, so the same manifest gives the same session.

    Args:
        samples: the whole manifest.
        settings: shares of rendered and gold samples, and what counts as easy.
        seed: of the run.
    """
    chosen: list[Sample] = []
    candidates: list[tuple[float, Sample]] = []
    for sample in samples:
        if sample.review.state is not ReviewState.NOT_SEEN:
            continue
        if _is_for_review(sample, settings, seed):
            chosen.append(sample)
        elif any(item.label is Label.FACE_MASK for item in sample.instances):
            candidates.append((float(generator(seed, sample.id, "gold").random()), sample))
    candidates.sort(key=lambda entry: (entry[0], entry[1].id))
    truths = [sample for _, sample in candidates[: math.ceil(settings.gold_share * len(chosen))]]
    manner = _manner_of(chosen)
    shown = [*chosen, *(_in_disguise(sample, manner, seed) for sample in truths)]
    ordered = order_for_review(shown, settings.easy_from, frozenset(sample.id for sample in truths), seed)
    return Showing(tuple(ordered), {sample.id: sample for sample in truths})


def _is_for_review(sample: Sample, settings: ReviewSettings, seed: int) -> bool:
    return not sample.is_labelled or (
        sample.is_synthetic and generator(seed, sample.id, "review").random() < settings.synthetic_share
    )


@dataclass(frozen=True, slots=True)
class _Manner:
    """How the session's proposals look: who made them, and which labels they show."""

    drawn_by: str
    labels: frozenset[Label]


def _manner_of(chosen: Iterable[Sample]) -> _Manner:
    proposals = [item for sample in chosen for item in sample.instances if item.is_proposal]
    return _Manner(
        min((item.drawn_by for item in proposals), default=_UNKNOWN_MODEL),
        frozenset(item.label for item in proposals) or frozenset({Label.FACE_MASK}),
    )


def _in_disguise(sample: Sample, manner: _Manner, seed: int) -> Sample:
    """A gold sample with flaws, in all that people could see like a proposal: ids, labels, no choices."""
    kept = [item for item in sample.instances if item.label in manner.labels]
    own = derive_seed(seed, sample.id, "flawed")
    found = flawed(kept, sample.image.size_hw, own, drawn_by=manner.drawn_by)
    return replace(
        sample,
        instances=tuple(
            replace(item, id=f"proposal-face{index}-{item.label.value}", attributes=())
            for index, item in enumerate(found)
        ),
    )
