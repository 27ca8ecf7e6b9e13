"""The page's section on label noise: what was estimated, from what, and the most suspicious pictures."""

from __future__ import annotations

from dataset_tools.stats.html import Row, cards, name, table, text
from dataset_tools.stats.noise import Suspect
from dataset_tools.stats.survey import Survey

MOST_SUSPECTS = 30
_SHOWN_UNREADABLE = 5
_SHOWN_MODELS = 5
_ID_DIGITS = 12  # of 32: enough to find a picture by

# Pictures at or above count as suspicious, in the gallery's filter.
HIGH_SUSPICION = 0.3
SOME_SUSPICION = 0.1
SUSPICION = "suspicion"
NO_OPINION = "no prediction"
SUSPICION_VALUES = (
    f"{HIGH_SUSPICION:.0%} and more",
    f"{SOME_SUSPICION:.0%} to {HIGH_SUSPICION:.0%}",
    f"less than {SOME_SUSPICION:.0%}",
    NO_OPINION,
)


def suspicion_value(suspect: Suspect | None) -> str:
    """The gallery's word for how suspicious a picture's face masks are."""
    if suspect is None:
        return NO_OPINION
    edges = (HIGH_SUSPICION, SOME_SUSPICION)
    return SUSPICION_VALUES[sum(suspect.suspicion < edge for edge in edges)]


def noise_section(survey: Survey) -> str:
    """The section as HTML; where nothing is known it says so."""
    evidence = survey.evidence
    unreadable = "".join(
        f'<p class="note">The prediction for <code>{text(key)}</code> could not be used: {text(why)}</p>'
        for key, why in list(evidence.unreadable.items())[:_SHOWN_UNREADABLE]
    )
    if len(evidence.unreadable) > _SHOWN_UNREADABLE:
        unreadable += f'<p class="note">{len(evidence.unreadable):,} could not be used in all.</p>'
    if not survey.noise.suspects:
        return (
            '<p class="note">Not estimated: no picture has both a ground truth and a model\'s opinion. It '
            "needs proposals that people have reviewed, or saved predictions of a trained baseline.</p>"
            + unreadable
        )
    return "".join(
        (
            cards(
                ("What was compared", _compared(survey)),
                ("Estimated share of wrong pixels", _estimate(survey)),
                kind="two",
            ),
            unreadable,
            _suspects(survey),
        )
    )


def _compared(survey: Survey) -> str:
    evidence = survey.evidence
    names = sorted(evidence.models)
    more = f" and {len(names) - _SHOWN_MODELS:,} others" if len(names) > _SHOWN_MODELS else ""
    models = ", ".join(map(name, names[:_SHOWN_MODELS])) + more
    return (
        f"<p>{evidence.from_predictions:,} pictures by saved predictions, {evidence.from_proposals:,} by the "
        f"proposal that people then reviewed. Models: {models}.</p>"
        '<p class="note">Confident learning (Northcutt et al., JAIR 2021), pixel by pixel: a label is '
        "doubted where the model gives the other class at least the probability that it gives, on average, "
        "to pixels labelled with it. It shows where to look; the model may be the one that is wrong. "
        "Of a proposal only its outline and one confidence are kept.</p>"
    )


def _estimate(survey: Survey) -> str:
    background, mask = survey.noise.wrong_shares
    thresholds = survey.noise.thresholds
    rows: list[Row] = [
        ("face mask", f"{mask:.2%}", f"{thresholds[1]:.3f}", int(survey.noise.labelled[1])),
        ("background", f"{background:.2%}", f"{thresholds[0]:.3f}", int(survey.noise.labelled[0])),
    ]
    titles = ("Labelled as", "Probably wrong", "Threshold", "Pixels")
    return f'<div class="scroll">{table(titles, rows)}</div>'


def _suspects(survey: Survey) -> str:
    found = [(key, item) for key, item in survey.noise.suspects.items() if item.suspicion > 0]
    if not found:
        return '<p class="note">No label is doubted.</p>'
    rows: list[Row] = [
        (rank, key[:_ID_DIGITS], f"{item.suspicion:.1%}", item.extra_px, item.missing_px, item.label_px)
        for rank, (key, item) in enumerate(found[:MOST_SUSPECTS], 1)
    ]
    titles = ("Rank", "Picture", "Suspicion", "Probably too much, px", "Probably missing, px", "Labelled, px")
    return (
        '<div class="card scroll"><h3>Most suspicious pictures</h3>'
        f"{table(titles, rows)}</div>"
        f'<p class="note">{len(found):,} of {len(survey.noise.suspects):,} judged pictures have doubted '
        "pixels. Suspicion is their share of all labelled or doubted ones. The gallery shows these pictures "
        "with the model's opinion in yellow; sort it by suspicion.</p>"
    )
