"""The section on the people in the pictures: ground, consent, what attributes mean, how to be removed."""

from __future__ import annotations

from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.markdown import plain, table
from dataset_tools.export.settings import ExportSettings
from dataset_tools.export.summary import Summary

MISSING = "**missing**"

_ATTRIBUTES = (
    (
        "`mask_type`",
        "the kind of thing worn, by its look",
        "how well it protects, whether it is certified, or why it is worn; a scarf is no sign of belief",
    ),
    (
        "`wearing_state`",
        "what the thing worn covers in this one picture",
        "whether a person follows a rule, is careful, or is ill",
    ),
    ("`faces.wearing`", "a detector's opinion of a face", "the truth; it is wrong at times"),
    (
        "`group`",
        "pictures that must stay on one side of a split",
        "an identity: it carries no name, and two groups may show one person",
    ),
)
_SKIN = (
    "`skin_ita_deg`",
    "colour of the skin in this photo, under its light, as an angle",
    "ethnicity or origin; another light gives another angle",
)


def people_section(facts: DatasetFacts) -> str:
    """The whole section, without its heading."""
    settings, summary = facts.settings, facts.summary
    return "\n\n".join(
        [
            "The pictures show human faces, which are personal data. The purpose is segmentation of face "
            "masks: no face embedding is stored, groups carry no names, and camera metadata is removed. "
            "**Do not use this dataset to recognise people or to build a database for that.** A licence of "
            "a photo does not speak for the person in it, and whether a use is lawful where you are is "
            "yours to check.",
            f"**Lawful basis.** {stated(settings.lawful_basis)}",
            f"**Consent.** {stated(settings.consent)}",
            "**What the attributes mean, and what they cannot mean.**",
            attribute_table(summary),
            f"**Removal of a picture.** {removal(settings)}",
        ]
    )


def attribute_table(summary: Summary) -> str:
    """Meaning of every attribute that says something of a person or of what a person wears."""
    rows = [*_ATTRIBUTES, *((_SKIN,) if summary.measured_skin else ())]
    return table(("Attribute", "It means", "It cannot mean"), rows)


def removal(settings: ExportSettings) -> str:
    """How a person has a picture removed."""
    where = plain(settings.contact) if settings.contact else MISSING
    text = f"Write to: {where}. Give the `id` or the `url` of the row."
    if settings.revocations:
        text += f" Withdrawn versions and pictures are listed at {plain(settings.revocations)}."
    return text


def stated(text: str) -> str:
    """The makers' words as plain text, or the mark that there are none."""
    return plain(text) if text.strip() else MISSING
