"""Confidence that means what it says: what a model expects of its proposals, corrected by what came true.

A model's probabilities come out too sure on pictures unlike those it learned from. A calibration compares the
IoU it expects (`masks.expected_iou`) with the IoU its proposals really have on labelled pictures that it did
not learn from, and keeps one rising curve per label.
"""

from __future__ import annotations

import heapq
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from annotation.prelabel.masks import expected_iou, overlap, proposal_masks
from annotation.prelabel.proposer import (
    CALIBRATED,
    CALIBRATED_ELSEWHERE,
    EXPECTED_IOU,
    NOTHING_SEEN,
    Proposal,
    Proposer,
    Seen,
)
from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.files import digest_json, write_text
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import BoolMask, union
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Instance, Sample
from dataset_tools.core.seeds import derive_seed

_log = logging.getLogger(__name__)

# Fewer proposals of a label say too little about it.
MIN_PROPOSALS = 20

# Bins of the calibration error; Naeini et al. use ten.
ERROR_BINS = 10

_Floats = npt.NDArray[np.float64]


class Curve(BaseModel):
    """From expected to real IoU for one label: straight lines between knots, level beyond them.

    Attributes:
        label: whose proposals.
        expected: knots, rising.
        real: IoU at each knot, never falling.
        on_collected: proposals on photos that it was fitted to.
        on_rendered: proposals on rendered pictures that it was fitted to.
        error_before: `calibration_error` of the expected IoU.
        error_after: of calibrated values on people that the curve was not fitted to (`held_out_errors`); both
            None when all proposals are of one group.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: Label
    expected: tuple[float, ...]
    real: tuple[float, ...]
    on_collected: int
    on_rendered: int
    error_before: float | None
    error_after: float | None

    def at(self, expected: float) -> float:
        """The IoU to be expected in truth, rounded to 6 digits."""
        return round(float(np.interp(expected, self.expected, self.real)), 6)


class Calibration(BaseModel):
    """The curves of one proposer; a label without one keeps what the model expects.

    Attributes:
        curves: made on the pictures at hand.
        elsewhere: made on other pictures and brought along by the model; for labels that have no other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    curves: tuple[Curve, ...] = ()
    elsewhere: tuple[Curve, ...] = ()

    def rate(self, label: Label, expected: float) -> tuple[float, str]:
        """Confidence of a proposal, and what kind of number it is.

        Returns:
            A value in [0, 1], and `CALIBRATED`, `CALIBRATED_ELSEWHERE` or `EXPECTED_IOU`.
        """
        for curves, kind in ((self.curves, CALIBRATED), (self.elsewhere, CALIBRATED_ELSEWHERE)):
            for curve in curves:
                if curve.label is label:
                    return curve.at(expected), kind
        return expected, EXPECTED_IOU

    def backed_by(self, other: Calibration) -> Calibration:
        """The same with the curves of `other` for labels that have none here."""
        return self.model_copy(update={"elsewhere": other.curves})

    def summary(self) -> dict[str, Any]:
        """All of it as plain JSON values, with a digest of the curves."""
        values = self.model_dump(mode="json")
        if not self.elsewhere:  # so that manifests made before there was such a thing are found again
            del values["elsewhere"]
        return values | {"sha256": digest_json(values)}


NO_CALIBRATION = Calibration()


def read_calibration(path: Path) -> Calibration:
    """A calibration as `write_calibration` left it.

    Raises:
        DataError: unreadable, or not one.
    """
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} is not a calibration; remove it to have it made again") from error


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write it whole or not at all."""
    write_text(path, calibration.model_dump_json(indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class Rated:
    """One proposal on a labelled picture.

    Attributes:
        label: what was proposed.
        expected: IoU that the model expects.
        real: IoU with the truth.
        group: of the sample.
        is_synthetic: the picture is rendered.
    """

    label: Label
    expected: float
    real: float
    group: str
    is_synthetic: bool


def calibrate(
    proposer: Proposer,
    samples: Iterable[Sample],
    images: ImageStore,
    *,
    limit: int,
    seed: int,
    min_area_px: int = 1,
    progress: ProgressFactory = silent,
) -> Calibration:
    """Let a proposer propose on labelled pictures and fit its curves.

    Pictures that it learned from, their relatives and groups are left out. Photos come before rendered
    pictures, and pictures it never saw before those it was validated on. A label that has enough proposals
    on photos is fitted to those alone: rendered pictures resemble what the model learned from.

    Args:
        proposer: the model, with all that changes its answers.
        samples: the manifest; read once.
        images: picture store of the workspace.
        limit: pictures to look at, at most.
        seed: of the draw among equals.
        min_area_px: smaller proposals are not kept anyway.
        progress: opens the progress display.

    Returns:
        A curve for every label with at least `MIN_PROPOSALS` proposals.
    """
    seen: Seen = getattr(proposer, "seen", NOTHING_SEEN)
    chosen, drawn = _choose(samples, seen, limit, seed)
    rated: dict[Label, list[Rated]] = defaultdict(list)
    with progress("calibrate", len(chosen)) as bar:
        for is_synthetic in (False, True):
            if rated and all(len(found) >= MIN_PROPOSALS for found in rated.values()):
                break
            for sample in chosen:
                if sample.is_synthetic is not is_synthetic:
                    continue
                for one in _rate_sample(proposer, sample, images, drawn[_source(sample)], min_area_px):
                    rated[one.label].append(one)
                bar.advance()
    if not rated:
        _log.info(
            "no calibration: %s knows all labelled pictures, or proposes nothing on them", proposer.name
        )
    curves = (_curve(label, rated[label], seed) for label in Label if label in rated)
    return Calibration(curves=tuple(curve for curve in curves if curve is not None))


def rate_proposals(
    proposer: Proposer,
    samples: Iterable[Sample],
    images: ImageStore,
    *,
    min_area_px: int = 1,
    progress: ProgressFactory = silent,
) -> list[Rated]:
    """What a proposer expects of its proposals on labelled pictures it did not learn from, and what they are.

    Args:
        proposer: the model, with all that changes its answers.
        samples: of a manifest; read once.
        images: picture store of the workspace.
        min_area_px: smaller proposals are not kept anyway.
        progress: opens the progress display.
    """
    seen: Seen = getattr(proposer, "seen", NOTHING_SEEN)
    chosen, drawn = _choose(samples, seen, None, 0)
    result = []
    with progress("rate", len(chosen)) as bar:
        for sample in chosen:
            result += _rate_sample(proposer, sample, images, drawn[_source(sample)], min_area_px)
            bar.advance()
    return result


# -- which pictures -----------------------------------------------------------------------------------


def _choose(
    samples: Iterable[Sample], seen: Seen, limit: int | None, seed: int
) -> tuple[list[Sample], dict[str, set[Label]]]:
    """The pictures to look at, best first (None: all), and the labels that each source draws."""
    drawn: dict[str, set[Label]] = defaultdict(set)

    def usable() -> Iterator[Sample]:
        for sample in samples:
            if not sample.is_labelled:
                continue
            drawn[_source(sample)] |= {item.label for item in sample.instances if not item.is_proposal}
            if not _keys(sample) & seen.learned:
                yield sample

    def rank(sample: Sample) -> tuple[bool, bool, int]:
        is_known = bool(_keys(sample) & seen.chosen_on)
        return sample.is_synthetic, is_known, derive_seed(seed, sample.id, "calibrate")

    chosen = sorted(usable(), key=rank) if limit is None else heapq.nsmallest(limit, usable(), key=rank)
    return chosen, drawn


def _keys(sample: Sample) -> set[str]:
    return {sample.id, sample.image.sha256, sample.group, sample.provenance.parent_id} - {""}


def _source(sample: Sample) -> str:
    return sample.provenance.source


# -- what proposals are worth -------------------------------------------------------------------------


def _rate_sample(
    proposer: Proposer, sample: Sample, images: ImageStore, drawn: set[Label], min_area_px: int
) -> list[Rated]:
    try:
        rgb = images.read(sample.image)
    except ItemFault as fault:
        _log.warning("left out of the calibration: %s: %s", sample.provenance.item_key, fault)
        return []
    (proposals,) = proposer.propose([rgb], [[face.box_xyxy for face in sample.faces]])
    result = []
    for proposal, mask in zip(proposals, proposal_masks(proposals), strict=True):
        # A source that never draws a label says nothing about it.
        if proposal.label not in drawn or int(mask.sum()) < min_area_px:
            continue
        truth = _truth(sample, proposal, proposals)
        if truth is not None:
            expected = expected_iou(proposal.probability, mask)
            real = overlap(mask, truth)
            result.append(Rated(proposal.label, expected, real, sample.group, sample.is_synthetic))
    return result


def _truth(sample: Sample, proposal: Proposal, proposals: Sequence[Proposal]) -> BoolMask | None:
    """What the proposal should be; None when a label without a face could belong to several proposals."""
    same: list[Instance] = [
        item for item in sample.instances if item.label is proposal.label and not item.is_proposal
    ]
    if proposal.face >= 0:
        rivals = sum(other.label is proposal.label for other in proposals)
        if rivals > 1 and any(item.face < 0 for item in same):
            return None
        same = [item for item in same if item.face in (proposal.face, -1)]
    return union((item.mask for item in same), sample.image.size_hw)


# -- curves -------------------------------------------------------------------------------------------


def _curve(label: Label, rated: Sequence[Rated], seed: int) -> Curve | None:
    if len(rated) < MIN_PROPOSALS:
        _log.info(
            "no calibration of %s: %d proposals to compare, %d needed", label.value, len(rated), MIN_PROPOSALS
        )
        return None
    photos = [one for one in rated if not one.is_synthetic]
    if len(photos) >= MIN_PROPOSALS:
        rated = photos
    knots = isotonic_knots([one.expected for one in rated], [one.real for one in rated])
    errors = held_out_errors(rated, seed)
    curve = Curve(
        label=label,
        expected=tuple(knots[0].tolist()),
        real=tuple(knots[1].tolist()),
        on_collected=sum(not one.is_synthetic for one in rated),
        on_rendered=sum(one.is_synthetic for one in rated),
        error_before=errors[0] if errors else None,
        error_after=errors[1] if errors else None,
    )
    _log.info(
        "calibrated %s on %d proposals on photos, %d on rendered pictures; calibration error %s",
        label.value,
        curve.on_collected,
        curve.on_rendered,
        f"{errors[0]:.3f}, then {errors[1]:.3f}" if errors else "not measured (one group)",
    )
    return curve


def isotonic_knots(expected: Sequence[float], real: Sequence[float]) -> tuple[_Floats, _Floats]:
    """The never falling function nearest to the points, by least squares.

    Pool adjacent violators: equal `expected` become one point of their mean; then neighbours that fall are
    pooled to their mean until none does.

    Args:
        expected, real: the points; at least one.

    Returns:
        Knots: `expected` strictly rising, `real` never falling. Between them the function is straight, beyond
        them level.

    Source: Barlow et al., Statistical Inference under Order Restrictions, 1972; for probabilities Zadrozny
        and Elkan, KDD 2002, doi:10.1145/775047.775151
    """
    places, which, counts = np.unique(
        np.asarray(expected, dtype=np.float64), return_inverse=True, return_counts=True
    )
    means = np.bincount(which, weights=np.asarray(real, dtype=np.float64)) / counts
    blocks: list[tuple[float, float, int, int]] = []  # mean, weight, first and last place
    for index, (mean, weight) in enumerate(zip(means.tolist(), counts.tolist(), strict=True)):
        block = (mean, float(weight), index, index)
        while blocks and blocks[-1][0] >= block[0]:
            before = blocks.pop()
            total = before[1] + block[1]
            pooled = (before[0] * before[1] + block[0] * block[1]) / total
            block = (pooled, total, before[2], block[3])
        blocks.append(block)
    knots = [(at, mean) for mean, _, first, last in blocks for at in sorted({first, last})]
    return places[[at for at, _ in knots]], np.array([mean for _, mean in knots])


def calibration_error(confidence: Sequence[float], real: Sequence[float]) -> float:
    """How far confidence is from the truth, on average over ten equal bins of confidence.

    Args:
        confidence, real: of each proposal, in [0, 1].

    Returns:
        Mean over the proposals of |mean confidence - mean real| of their bin, in [0, 1]; NaN for none.

    Source: expected calibration error, Naeini et al., AAAI 2015, with a real IoU in place of right or wrong.
    """
    if not len(confidence):
        return float("nan")
    bins = np.minimum((np.asarray(confidence, dtype=np.float64) * ERROR_BINS).astype(int), ERROR_BINS - 1)
    gaps = np.asarray(confidence, dtype=np.float64) - np.asarray(real, dtype=np.float64)
    return float(np.abs(np.bincount(bins, weights=gaps)).sum() / len(gaps))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """How far two series rise and fall together: Spearman's coefficient; equal values share their mean rank.

    Args:
        first, second: of the same things, e.g. confidence and real IoU of each proposal.

    Returns:
        Value in [-1, 1]; NaN for fewer than two things, or when all values of a series are equal.

    Source: Spearman, The proof and measurement of association between two things, 1904, doi:10.2307/1412159
    """
    ranks = [_mean_ranks(np.asarray(one, dtype=np.float64)) for one in (first, second)]
    if len(first) < 2 or any(np.ptp(one) == 0 for one in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _mean_ranks(values: _Floats) -> _Floats:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: _Floats = (last - (counts - 1) / 2)[which]
    return means


def held_out_errors(rated: Sequence[Rated], seed: int) -> tuple[float, float] | None:
    """Calibration error before and after, each half judged by a curve fitted to the other.

    Args:
        rated: proposals; no group is in both halves.
        seed: of the halves.

    Returns:
        Mean over both halves before and after; None when there is only one group.
    """
    groups = sorted({one.group for one in rated}, key=lambda group: derive_seed(seed, group, "half"))
    if len(groups) < 2:
        return None
    first = set(groups[::2])
    halves = [[one for one in rated if (one.group in first) is side] for side in (True, False)]
    before, after = [], []
    for held_out, learned in (halves, halves[::-1]):
        knots = isotonic_knots([one.expected for one in learned], [one.real for one in learned])
        expected, real = [one.expected for one in held_out], [one.real for one in held_out]
        before.append(calibration_error(expected, real))
        after.append(calibration_error(np.interp(expected, *knots).tolist(), real))
    return sum(before) / 2, sum(after) / 2
