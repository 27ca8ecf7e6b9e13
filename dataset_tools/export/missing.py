"""What keeps a dataset from being published openly, as a list that names all of it at once."""

from __future__ import annotations

from dataset_tools.export.datasheet import empty_sections
from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.licence_faults import licence_faults


def missing_for_publication(facts: DatasetFacts, *, with_images: bool = True) -> list[str]:
    """What an openly published dataset must say or be and this one does not yet, one phrase each.

    Args:
        facts: of the exported dataset.
        with_images: False when only labels, addresses and hashes go out: terms that forbid to pass on a
            picture, or a changed one, do not matter then.
    """
    settings = facts.settings
    wanted = (
        (settings.contact, "a contact for removal requests (export.contact)"),
        (settings.description, "a sentence that says what the dataset is (export.description)"),
        (settings.lawful_basis, "the legal ground for the pictures of people (export.lawful_basis)"),
        (settings.consent, "what the people in the pictures agreed to (export.consent)"),
    )
    missing = [phrase for value, phrase in wanted if not value.strip()]
    missing += [
        f"an answer in the datasheet's section {heading} (export.datasheet.{section})"
        for section, heading in empty_sections(facts).items()
    ]
    if facts.summary.origins["model"] or facts.summary.unlabelled:
        missing.append("confirmation of the model's proposals (export.include_proposals is on)")
    return missing + licence_faults(facts.summary, with_images=with_images)
