"""A review session, whatever tool people work in: who sees what, what came back, what is contested.

    open     each annotator's lane gets what it lacks
    close    pull every lane, bring what is contested before an adjudicator, pull their word as well

Nothing is decided here for good: verdicts are kept as they come (`verdict`), and what they amount to is
worked out anew each time (`consensus`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from annotation.consensus import Outcome, decide, draft_of
from annotation.settings import ReviewSettings
from annotation.showing import Showing
from annotation.verdict import Role, Verdict, standing
from dataset_tools.core.record import Instance, Rejection, Sample


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening a lane did.

    Attributes:
        lane: the annotator, or "adjudication".
        place: where they go: an address or a folder.
        sent: tasks made by this call; 0 when all were there.
        rejections: samples that could not be shown, such as a picture that is gone.
        outdated: tasks made earlier that show another proposal than their sample has now.
    """

    lane: str
    place: str
    sent: int
    rejections: tuple[Rejection, ...] = ()
    outdated: int = 0


@dataclass(frozen=True, slots=True)
class Pulled:
    """What pulling a lane brought back.

    Attributes:
        lane, place: as in `Opened`.
        verdicts: one per finished annotation, by sample and time.
        unreadable: annotations whose content breaks a rule; their samples stay as they were.
        tasks: in all.
        open_tasks: tasks nobody has finished yet.
        strange_tasks: tasks that this session does not know.
        outdated_tasks: tasks that show another proposal than their sample has now.
    """

    lane: str
    place: str
    verdicts: tuple[Verdict, ...] = ()
    unreadable: tuple[Rejection, ...] = ()
    tasks: int = 0
    open_tasks: int = 0
    strange_tasks: int = 0
    outdated_tasks: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """What people disagree about, for the adjudicator.

    Attributes:
        sample: with the proposal, as it was shown to everybody.
        draft: what the opinions would be merged to; the adjudicator begins with it.
        opinions: the annotators' verdicts, by lane.
        reason: one line.
    """

    sample: Sample
    draft: tuple[Instance, ...]
    opinions: tuple[Verdict, ...]
    reason: str

    @property
    def compared(self) -> tuple[tuple[Instance, ...], tuple[Instance, ...]]:
        """The two labellings that pictures set side by side: A and B, or A and the proposal of a lone A."""
        first, *others = (verdict.instances for verdict in self.opinions)
        return first, others[0] if others else self.sample.instances


class Tool(Protocol):
    """A program people annotate in. One file knows each of them."""

    def open(self, showing: Showing, lane: str) -> Opened:
        """Give an annotator what their lane lacks, in the order of `showing`."""

    def pull(self, showing: Showing, lane: str, kept: Iterable[Verdict]) -> Pulled:
        """Read an annotator's lane; a verdict kept from before is not judged again."""

    def open_cases(self, cases: Sequence[Case]) -> Opened:
        """Bring cases before the adjudicator, those that are there already left alone."""

    def pull_cases(self, cases: Sequence[Case], kept: Iterable[Verdict]) -> Pulled:
        """Read the adjudicator's lane; empty when there is none yet."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What closing a session brought.

    Attributes:
        lanes: each annotator's, and the adjudicator's last.
        cases: contested samples that were brought before the adjudicator by this call.
        verdicts: every verdict known now, those kept from before included.
        outcomes: samples under review by outcome.
    """

    lanes: tuple[Pulled, ...]
    cases: Opened
    verdicts: tuple[Verdict, ...]
    outcomes: dict[Outcome, int]


def open_session(tool: Tool, showing: Showing, settings: ReviewSettings) -> list[Opened]:
    """Open every annotator's lane; what is there already stays.

    Raises:
        ConfigError, ReviewServiceError: as the tool says; what has arrived stays, run again.
    """
    return [tool.open(showing, lane) for lane in settings.annotators]


def close_session(
    tool: Tool, showing: Showing, settings: ReviewSettings, kept: Iterable[Verdict] = ()
) -> Closed:
    """Pull all lanes, and bring what is contested before the adjudicator.

    Args:
        tool: where people worked.
        showing: what was opened.
        settings: of the session.
        kept: verdicts pulled before.
    """
    before = tuple(kept)
    lanes = [tool.pull(showing, lane, before) for lane in settings.annotators]
    opinions = distinct([*before, *(verdict for lane in lanes for verdict in lane.verdicts)])
    cases = contested(showing, opinions, settings)
    opened = tool.open_cases(cases)
    settled = tool.pull_cases(cases, before)
    verdicts = distinct([*opinions, *settled.verdicts])
    return Closed((*lanes, settled), opened, verdicts, outcomes(showing, verdicts, settings))


def contested(showing: Showing, verdicts: Iterable[Verdict], settings: ReviewSettings) -> tuple[Case, ...]:
    """What annotators disagree about, whether or not it was settled since."""
    opinions = standing(verdict for verdict in verdicts if verdict.role is Role.ANNOTATOR)
    found = []
    for sample in showing.samples:
        own = opinions.get(sample.id, ())
        decision = decide(sample, own, settings.consensus, len(settings.annotators))
        if decision.outcome is Outcome.CONTESTED:
            found.append(Case(sample, draft_of(sample, own, settings.consensus), own, decision.reason))
    return tuple(found)


def outcomes(showing: Showing, verdicts: Iterable[Verdict], settings: ReviewSettings) -> dict[Outcome, int]:
    """How many samples under review, gold ones left out, have come how far."""
    counting = standing(verdicts)
    counts = Counter(
        decide(sample, counting.get(sample.id, ()), settings.consensus, len(settings.annotators)).outcome
        for sample in showing.samples
        if sample.id not in showing.truths
    )
    return {outcome: counts[outcome] for outcome in Outcome}


def distinct(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Each verdict once, by tool, sample, lane and time."""
    found = {(item.tool, item.sample_id, item.lane, item.order): item for item in verdicts}
    return tuple(found[key] for key in sorted(found))
