"""What a review costs and what comes out of it, for different numbers of labels bought beforehand.

One set of pictures is reviewed in every row and never bought, so rows differ by the proposals alone. The
people are simulated; proposals, comparison of what came back with what was shown, agreement and merging are
the code that real reviews run through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from annotation.agreement import PictureAgreement, cohens_kappa, compare, label_boundary_iou, label_iou
from annotation.consensus import Outcome, decide
from annotation.judging import judge
from annotation.prelabel.proposer import Proposer
from annotation.prelabel.stage import PrelabelStage
from annotation.settings import ADJUDICATION
from annotation.simulate.annotator import Act, act
from annotation.simulate.settings import SimulationSettings
from annotation.verdict import Role, Verdict
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import NOT_SEEN, Instance, Rejection, Sample
from dataset_tools.core.seeds import derive_seed, generator

# The model after it has learned from the pictures bought; for none, as it was.
ProposerAfter = Callable[[Sequence[Sample]], Proposer]


@dataclass(frozen=True, slots=True)
class Row:
    """One review of the fixed pictures. Times and strokes are of all people together unless said otherwise.

    Attributes:
        bought: labels bought before; None for the control, which paints every picture from nothing.
        pictures: reviewed.
        proposal_iou: mean overlap of the proposals with the truth; NaN for the control.
        unchanged: share of annotations submitted exactly as shown, in [0, 1].
        strokes: per picture and person, adjudicator left out.
        strokes_saved: against the control, as a share of it.
        minutes: model minutes per 100 pictures, adjudication included.
        minutes_saved: against the control, as a share of it; labels bought are not counted.
        job_saved: the same for a job of `SimulationSettings.job_pictures` pictures of which those bought
            cost as much as in the control.
        contested: share of the pictures on which people disagreed.
        adjudicated: how many pictures were settled by the adjudicator.
        final_iou, final_boundary_iou: mean over pictures of the final labels against the truth.
        kappa_verdict: Cohen's kappa of the first two people's accepted or corrected; NaN when chance alone
            explains it.
        kappa_choices: the same of their choices for the instances both have; NaN without choices.
    """

    bought: int | None
    pictures: int
    proposal_iou: float
    unchanged: float
    strokes: float
    strokes_saved: float
    minutes: float
    minutes_saved: float
    job_saved: float
    contested: float
    adjudicated: int
    final_iou: float
    final_boundary_iou: float
    kappa_verdict: float
    kappa_choices: float


@dataclass(frozen=True, slots=True)
class Simulation:
    """The rows, and what could not be had.

    Attributes:
        control: the same pictures painted from nothing by the same people.
        rows: one per number of labels bought, as asked.
        too_many: numbers asked for that exceed `to_buy`.
        to_buy: pictures that are not under review.
        unreadable: pictures under review that could not be shown; they are in no row.
    """

    control: Row
    rows: tuple[Row, ...]
    too_many: tuple[int, ...]
    to_buy: int
    unreadable: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one picture."""

    acts: tuple[Act, ...]
    compared: PictureAgreement
    adjudication_s: float
    is_contested: bool
    proposal_iou: float
    final: tuple[float, float]


def simulate(
    samples: Iterable[Sample],
    images: ImageStore,
    proposer_after: ProposerAfter,
    settings: SimulationSettings,
    seed: int = 0,
    progress: ProgressFactory = silent,
) -> Simulation:
    """Review a part of a labelled dataset with simulated people, once per number of labels bought.

    People are asked for the labels that the dataset has; proposals of others are not shown to them.

    Args:
        samples: of the dataset; those without complete labels are left out.
        images: their picture store.
        proposer_after: trains on pictures bought; it is asked once per row.
        settings: of the simulation.
        seed: decides which pictures are reviewed, in which order they are bought, and what people do.
        progress: opens the progress display.

    Raises:
        DataError: no labelled picture to review.
    """
    review, stock = divide(samples, settings.review_share, seed)
    possible = [number for number in settings.bought if number <= len(stock)]
    shown = [replace(one, instances=(), is_labelled=False, review=NOT_SEEN) for one in review]
    truths = {sample.id: sample.instances for sample in review}
    asked = {item.label for sample in (*review, *stock) for item in sample.instances}
    proposed: list[tuple[int, dict[str, Sample]]] = []
    unreadable: dict[str, Rejection] = {}
    for number in possible:
        with progress(f"propose after {number}", len(shown)) as bar:
            stage = PrelabelStage(settings.prelabel, seed, proposer_after(stock[:number]))
            answers = list(stage.run(shown, plan=None, images=images, progress=bar))
        unreadable |= {item.sample_id: item for item in answers if isinstance(item, Rejection)}
        proposed.append((number, {one.id: _only(one, asked) for one in answers if isinstance(one, Sample)}))
    readable = [sample for sample in shown if sample.id not in unreadable]
    if not readable:
        raise DataError("no picture under review could be read")
    control = _row(None, [_review(one, truths[one.id], settings, seed) for one in readable], settings, None)
    rows = []
    for number, found in proposed:
        outcomes = [_review(found[one.id], truths[one.id], settings, seed) for one in readable]
        rows.append(_row(number, outcomes, settings, control))
    too_many = tuple(number for number in settings.bought if number > len(stock))
    return Simulation(control, tuple(rows), too_many, len(stock), tuple(unreadable.values()))


def _only(sample: Sample, labels: Collection[Label]) -> Sample:
    return replace(sample, instances=tuple(item for item in sample.instances if item.label in labels))


def divide(
    samples: Iterable[Sample], review_share: float, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Labelled samples to review, and those to buy in the order they are bought.

    Groups are drawn at random until the reviewed ones have their share, so that no person or album is on
    both sides.

    Raises:
        DataError: no labelled sample.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda item: item.id):
        if sample.is_labelled:
            groups.setdefault(sample.group, []).append(sample)
    total = sum(map(len, groups.values()))
    if not total:
        raise DataError("no labelled picture to review: a simulation needs the truth")
    order = generator(seed, "simulate", "divide").permutation(len(groups))
    names = sorted(groups)
    review: list[Sample] = []
    stock: list[Sample] = []
    for index in order:
        enough = len(review) >= max(round(review_share * total), 1)
        (stock if enough else review).extend(groups[names[index]])
    return tuple(sorted(review, key=lambda item: item.id)), tuple(stock)


def _review(shown: Sample, truth: Sequence[Instance], settings: SimulationSettings, seed: int) -> _Outcome:
    """Everything that happens to one picture: people look at it, and an adjudicator where they disagree."""
    acts, verdicts = [], []
    for index, model in enumerate(settings.annotators):
        lane = f"annotator{index + 1}"
        made = act(shown, truth, model, derive_seed(seed, "simulate", lane), settings.time)
        acts.append(made)
        verdicts.append(_verdict(shown, made, lane, Role.ANNOTATOR))
    decision = decide(shown, verdicts, settings.consensus, len(verdicts))
    is_contested = decision.outcome is Outcome.CONTESTED
    adjudication_s = 0.0
    if is_contested:
        last = _adjudicate(shown, truth, verdicts, settings, derive_seed(seed, "simulate", ADJUDICATION))
        # Everybody's drawing is looked over; `act` counts the look at the one that is taken up.
        adjudication_s = last.seconds + settings.time.look_s * (len(verdicts) - 1)
        final = _verdict(shown, last, ADJUDICATION, Role.ADJUDICATOR)
        decision = decide(shown, [*verdicts, final], settings.consensus, len(verdicts))
    return _Outcome(
        acts=tuple(acts),
        compared=compare(shown.image.size_hw, verdicts[0], verdicts[1]),
        adjudication_s=adjudication_s,
        is_contested=is_contested,
        proposal_iou=quality(shown.instances, truth, shown.image.size_hw)[0],
        final=quality(decision.instances, truth, shown.image.size_hw),
    )


def _verdict(shown: Sample, made: Act, lane: str, role: Role) -> Verdict:
    state, instances = judge(shown, made.drawing, f"simulated {lane}")
    return Verdict(
        sample_id=shown.id,
        item_key=shown.provenance.item_key,
        state=state,
        reviewer=f"simulated {lane}",
        reviewer_email="",
        reviewed_at="",
        updated_at="",
        note=made.drawing.note,
        instances=instances,
        boxes=made.drawing.boxes,
        annotation_id=0,
        project_id=0,
        seconds=made.seconds,
        lane=lane,
        role=role,
        tool="simulated",
    )


def _adjudicate(
    shown: Sample,
    truth: Sequence[Instance],
    verdicts: Sequence[Verdict],
    settings: SimulationSettings,
    seed: int,
) -> Act:
    """Take up whichever drawing is nearest to the truth, and mend it where it is off."""
    best = max(verdicts, key=lambda one: quality(one.instances, truth, shown.image.size_hw)[0])
    return act(replace(shown, instances=best.instances), truth, settings.adjudicator, seed, settings.time)


def quality(
    instances: Sequence[Instance], truth: Sequence[Instance], size_hw: tuple[int, int]
) -> tuple[float, float]:
    """IoU and boundary IoU of a labelling, each the mean over the labels that it or the truth uses.

    Both are 1 when neither uses any label.
    """
    overlap = label_iou(instances, truth, size_hw)
    if not overlap:
        return 1.0, 1.0
    return _mean([*overlap.values()]), _mean([*label_boundary_iou(instances, truth, size_hw).values()])


def _row(
    bought: int | None, outcomes: Sequence[_Outcome], settings: SimulationSettings, control: Row | None
) -> Row:
    acts = [made for outcome in outcomes for made in outcome.acts]
    seconds = sum(made.seconds for made in acts) + sum(outcome.adjudication_s for outcome in outcomes)
    minutes = seconds / 60.0 / len(outcomes) * 100.0
    strokes = _mean([made.strokes for made in acts])
    full = control.minutes if control is not None else minutes
    at_full_price = min(bought or 0, settings.job_pictures) / settings.job_pictures
    saved = _saved(minutes, full)
    contested = sum(outcome.is_contested for outcome in outcomes)
    compared = [outcome.compared for outcome in outcomes]
    choices = [answer for one in compared for answer in one.choices]
    return Row(
        bought=bought,
        pictures=len(outcomes),
        proposal_iou=math.nan if control is None else _mean([one.proposal_iou for one in outcomes]),
        unchanged=_mean([made.is_unchanged for made in acts]),
        strokes=strokes,
        strokes_saved=_saved(strokes, control.strokes if control is not None else strokes),
        minutes=minutes,
        minutes_saved=saved,
        job_saved=(1.0 - at_full_price) * saved,
        contested=contested / len(outcomes),
        adjudicated=contested,
        final_iou=_mean([one.final[0] for one in outcomes]),
        final_boundary_iou=_mean([one.final[1] for one in outcomes]),
        kappa_verdict=_kappa([(one.states[0].value, one.states[1].value) for one in compared]),
        kappa_choices=_kappa([(f"{name} {mine}", f"{name} {other}") for name, mine, other in choices]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _saved(spent: float, full: float) -> float:
    return 1.0 - spent / full if full else 0.0


def _kappa(answers: Sequence[tuple[str, str]]) -> float:
    return cohens_kappa([mine for mine, _ in answers], [other for _, other in answers])
