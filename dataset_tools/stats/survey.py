"""One pass over a finished chain of manifests: counts, evidence about labels, and the gallery's draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dataset_tools.core.errors import DataError
from dataset_tools.core.manifest import Manifest, read_shard_samples
from dataset_tools.core.record import Instance, Rejection, Sample
from dataset_tools.stats.choosing import Chooser, Entry
from dataset_tools.stats.facts import Facts
from dataset_tools.stats.noise import NoiseEstimate, PixelCounts, find_noise
from dataset_tools.stats.opinions import (
    Opinion,
    PredictionReader,
    is_judged,
    mask_proposals,
    opinion_of_predictions,
    opinion_of_proposals,
)

PRELABEL = "prelabel"


@dataclass(slots=True)
class Evidence:
    """What the label-noise estimate rests on.

    Attributes:
        from_predictions, from_proposals: pictures with each kind of opinion.
        models: that had them.
        unreadable: pictures whose opinion could not be used, and why.
    """

    from_predictions: int = 0
    from_proposals: int = 0
    models: set[str] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything the page is made from.

    Attributes:
        facts: counts.
        noise: label noise; its suspects go by sample id. Empty where no model's opinion is kept.
        evidence: of the noise.
        entries: pictures of the gallery, in order.
    """

    facts: Facts
    noise: NoiseEstimate
    evidence: Evidence
    entries: list[Entry]


def make_survey(
    chain: Mapping[str, Manifest], most_pictures: int, predictions: PredictionReader | None = None
) -> Survey:
    """Read the last manifest once, the proposals beside it where people have judged some, and all rejections.

    Args:
        chain: manifests by stage name, in order; not empty.
        most_pictures: of the gallery.
        predictions: gives what a trained model has saved of a sample, see `opinions`.
    """
    facts = Facts(flow={stage: manifest.counts for stage, manifest in chain.items()})
    chooser, evidence = Chooser(most_pictures), Evidence()
    counts: dict[str, PixelCounts] = {}
    for sample, proposals in _samples(chain):
        facts.add_sample(sample)
        opinion = _opinion(sample, proposals, predictions, evidence)
        if opinion is not None:
            counts[sample.id] = opinion.counts
        chooser.add(sample, opinion)
    for rejection in _rejections(chain):
        facts.add_rejection(rejection)
    return Survey(facts, find_noise(counts), evidence, chooser.chosen())


def _samples(chain: Mapping[str, Manifest]) -> Iterator[tuple[Sample, tuple[Instance, ...]]]:
    # A stage keeps its parent's shards, so a sample's proposal lies in the shard of the same number.
    last = list(chain.values())[-1]
    before = chain[PRELABEL].shard_paths() if PRELABEL in chain and chain[PRELABEL] is not last else []
    for number, path in enumerate(last.shard_paths()):
        samples = read_shard_samples(path)
        judged = {sample.id for sample in samples if is_judged(sample)}
        proposals: dict[str, tuple[Instance, ...]] = {}
        if judged and number < len(before):
            proposals = {
                item.id: mask_proposals(item)
                for item in read_shard_samples(before[number])
                if item.id in judged
            }
        for sample in samples:
            yield sample, proposals.get(sample.id, ())


def _opinion(
    sample: Sample,
    proposals: tuple[Instance, ...],
    predictions: PredictionReader | None,
    evidence: Evidence,
) -> Opinion | None:
    if not sample.is_labelled:
        return None
    try:
        saved = predictions(sample) if predictions is not None else ()
        if saved:
            opinion = opinion_of_predictions(sample, saved)
            evidence.from_predictions += 1
        elif proposals:
            opinion = opinion_of_proposals(sample, proposals)
            evidence.from_proposals += 1
        else:
            return None
    except DataError as fault:
        evidence.unreadable[sample.id] = str(fault)
        return None
    evidence.models.update(opinion.made_by)
    return opinion


def _rejections(chain: Mapping[str, Manifest]) -> Iterator[Rejection]:
    for manifest in chain.values():
        yield from manifest.rejections()
