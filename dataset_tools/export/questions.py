"""The questions of a datasheet, as typed sections of the configuration (`export.datasheet`).

A field's description is the question's main sentence, a field's value the makers' own answer. Most questions
have a computed answer too (`answers.py`); what neither computes nor states is marked missing.

Source: Gebru et al., Datasheets for Datasets, Communications of the ACM 64(12), 2021, section 3; 57 questions
of https://arxiv.org/abs/1803.09010v8
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from dataset_tools.core.settings import Settings


def _question(text: str) -> Any:
    return Field(default="", description=text)


class Motivation(Settings):
    """Why the dataset exists."""

    purpose: str = _question("For what purpose was the dataset created?")
    creators: str = _question("Who created the dataset and on behalf of which entity?")
    funding: str = _question("Who funded the creation of the dataset?")
    comments: str = _question("Any other comments?")


class Composition(Settings):
    """What is in it."""

    instances: str = _question("What do the instances that comprise the dataset represent?")
    counts: str = _question("How many instances are there in total (of each type, if appropriate)?")
    sampling: str = _question(
        "Does the dataset contain all possible instances or is it a sample of instances from a larger set?"
    )
    content: str = _question("What data does each instance consist of?")
    labels: str = _question("Is there a label or target associated with each instance?")
    missing_information: str = _question("Is any information missing from individual instances?")
    relationships: str = _question("Are relationships between individual instances made explicit?")
    splits: str = _question("Are there recommended data splits?")
    errors: str = _question("Are there any errors, sources of noise, or redundancies in the dataset?")
    self_contained: str = _question(
        "Is the dataset self-contained, or does it link to or otherwise rely on external resources?"
    )
    confidential: str = _question("Does the dataset contain data that might be considered confidential?")
    offensive: str = _question(
        "Does the dataset contain data that, if viewed directly, might be offensive, insulting, "
        "threatening, or might otherwise cause anxiety?"
    )
    subpopulations: str = _question("Does the dataset identify any subpopulations (e.g., by age, gender)?")
    identification: str = _question(
        "Is it possible to identify individuals, either directly or indirectly, from the dataset?"
    )
    sensitive: str = _question("Does the dataset contain data that might be considered sensitive in any way?")
    comments: str = _question("Any other comments?")


class Collection(Settings):
    """How the pictures came together."""

    acquisition: str = _question("How was the data associated with each instance acquired?")
    mechanisms: str = _question("What mechanisms or procedures were used to collect the data?")
    strategy: str = _question("If the dataset is a sample from a larger set, what was the sampling strategy?")
    people_involved: str = _question(
        "Who was involved in the data collection process and how were they compensated?"
    )
    timeframe: str = _question("Over what timeframe was the data collected?")
    ethical_review: str = _question("Were any ethical review processes conducted?")
    from_whom: str = _question(
        "Did you collect the data from the individuals in question directly, or obtain it via third "
        "parties or other sources?"
    )
    notice: str = _question("Were the individuals in question notified about the data collection?")
    consent: str = _question(
        "Did the individuals in question consent to the collection and use of their data?"
    )
    revoking: str = _question(
        "If consent was obtained, were the consenting individuals provided with a mechanism to revoke "
        "their consent in the future or for certain uses?"
    )
    impact: str = _question(
        "Has an analysis of the potential impact of the dataset and its use on data subjects been conducted?"
    )
    comments: str = _question("Any other comments?")


class Labelling(Settings):
    """Preprocessing, cleaning, labelling."""

    done: str = _question("Was any preprocessing/cleaning/labeling of the data done?")
    raw_data: str = _question(
        'Was the "raw" data saved in addition to the preprocessed/cleaned/labeled data?'
    )
    software: str = _question("Is the software that was used to preprocess/clean/label the data available?")
    comments: str = _question("Any other comments?")


class Uses(Settings):
    """What it is for, and what not."""

    so_far: str = _question("Has the dataset been used for any tasks already?")
    repository: str = _question(
        "Is there a repository that links to any or all papers or systems that use the dataset?"
    )
    other_tasks: str = _question("What (other) tasks could the dataset be used for?")
    impact: str = _question(
        "Is there anything about the composition of the dataset or the way it was collected and "
        "preprocessed/cleaned/labeled that might impact future uses?"
    )
    not_for: str = _question("Are there tasks for which the dataset should not be used?")
    comments: str = _question("Any other comments?")


class Distribution(Settings):
    """Who gets it, and under which terms."""

    third_parties: str = _question(
        "Will the dataset be distributed to third parties outside of the entity on behalf of which the "
        "dataset was created?"
    )
    how: str = _question("How will the dataset be distributed?")
    when: str = _question("When will the dataset be distributed?")
    licence: str = _question(
        "Will the dataset be distributed under a copyright or other intellectual property (IP) license, "
        "and/or under applicable terms of use (ToU)?"
    )
    third_party_terms: str = _question(
        "Have any third parties imposed IP-based or other restrictions on the data associated with the "
        "instances?"
    )
    export_controls: str = _question(
        "Do any export controls or other regulatory restrictions apply to the dataset or to individual "
        "instances?"
    )
    comments: str = _question("Any other comments?")


class Maintenance(Settings):
    """Who looks after it."""

    maintainer: str = _question("Who will be supporting/hosting/maintaining the dataset?")
    contact: str = _question("How can the owner/curator/manager of the dataset be contacted?")
    erratum: str = _question("Is there an erratum?")
    updates: str = _question("Will the dataset be updated?")
    retention: str = _question(
        "If the dataset relates to people, are there applicable limits on the retention of the data "
        "associated with the instances?"
    )
    old_versions: str = _question(
        "Will older versions of the dataset continue to be supported/hosted/maintained?"
    )
    contributions: str = _question(
        "If others want to extend/augment/build on/contribute to the dataset, is there a mechanism for them "
        "to do so?"
    )
    comments: str = _question("Any other comments?")


class DatasheetAnswers(Settings):
    """The makers' own answers; a field left out is computed where that is possible."""

    motivation: Motivation = Motivation()
    composition: Composition = Composition()
    collection: Collection = Collection()
    labelling: Labelling = Labelling()
    uses: Uses = Uses()
    distribution: Distribution = Distribution()
    maintenance: Maintenance = Maintenance()


# Headings of the published list, by field of `DatasheetAnswers`.
HEADINGS = {
    "motivation": "Motivation",
    "composition": "Composition",
    "collection": "Collection process",
    "labelling": "Preprocessing/cleaning/labeling",
    "uses": "Uses",
    "distribution": "Distribution",
    "maintenance": "Maintenance",
}
