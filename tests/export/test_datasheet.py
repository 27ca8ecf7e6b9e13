"""Every question of the published list is there, and nothing is answered that nobody knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from dataset_tools.export.datasheet import answer_all, empty_sections, write_datasheet
from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.history import History
from dataset_tools.export.settings import ExportSettings

# Questions of each section of arXiv 1803.09010v8, further comments counted: 57 in all.
PUBLISHED = {
    "Motivation": 4,
    "Composition": 16,
    "Collection process": 12,
    "Preprocessing/cleaning/labeling": 4,
    "Uses": 6,
    "Distribution": 7,
    "Maintenance": 8,
}


def questions_of(text):
    """Questions by section heading, each with its answer."""
    found = {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        heading, _, body = section.partition("\n")
        parts = re.split(r"^### ", body, flags=re.M)[1:]
        found[heading] = {q.partition("\n")[0]: q.partition("\n")[2].strip() for q in parts}
    return found


def test_the_published_list_is_complete_and_in_its_order(exported):
    found = questions_of((exported[0] / "DATASHEET.md").read_text(encoding="utf-8"))
    assert {heading: len(questions) for heading, questions in found.items()} == PUBLISHED
    assert list(found) == list(PUBLISHED)
    assert sum(PUBLISHED.values()) == 57
    for questions in found.values():
        assert all(question.endswith("?") for question in questions)
        assert all(questions.values()), "an answer is empty"


def test_the_counts_of_answers_are_those_of_the_text(exported):
    text = (exported[0] / "DATASHEET.md").read_text(encoding="utf-8")
    answers = [answer for section in questions_of(text).values() for answer in section.values()]
    missing = sum(answer.startswith("**missing**") for answer in answers)
    assert f"| all | {len(answers)} |" in text
    assert f"| missing | {missing} |" in text
    assert "| answered by the makers | 1 |" in text
    assert 0 < missing < 25


def test_a_missing_answer_names_the_setting_that_gives_it():
    facts = DatasetFacts()
    text = write_datasheet(facts)
    for named in re.findall(r"\*\*missing\*\* \(`export\.datasheet\.(\w+)\.(\w+)`\)", text):
        section, key = named
        settings = ExportSettings.model_validate({"datasheet": {section: {key: "Because <b>so</b>."}}})
        answered = write_datasheet(DatasetFacts(settings))
        assert f"`export.datasheet.{section}.{key}`" not in answered
        assert "Because &lt;b&gt;so&lt;/b&gt;." in answered


def test_the_makers_words_come_before_what_is_counted():
    own = {"datasheet": {"composition": {"splits": "As in the paper."}}}
    text = write_datasheet(DatasetFacts(ExportSettings.model_validate(own)))
    answer = questions_of(text)["Composition"]["Are there recommended data splits?"]
    assert answer.startswith("As in the paper.\n\n| Split |")


def test_an_unknown_question_is_an_error():
    with pytest.raises(ValidationError, match="purpos"):
        ExportSettings.model_validate({"datasheet": {"motivation": {"purpos": "x"}}})


def test_sections_without_any_answer_are_named(complete_settings):
    assert empty_sections(DatasetFacts()) == {"motivation": "Motivation", "maintenance": "Maintenance"}
    assert empty_sections(DatasetFacts(complete_settings)) == {}
    comments_only = ExportSettings.model_validate({"datasheet": {"motivation": {"comments": "none"}}})
    assert "motivation" in empty_sections(DatasetFacts(comments_only))


def test_only_sources_that_are_not_the_makers_own_files_answer_from_whom():
    def answered(**sources):
        answers = answer_all(DatasetFacts(history=History(sources=sources)))
        return next(item.computed for item in answers if item.key == "from_whom")

    assert answered(photos="folder", scans="archive") == ""
    assert answered(photos="folder", web="openverse") == "Via other sources: web (openverse)."


def test_the_ground_and_the_consent_are_said_in_the_makers_words(exported, complete_settings):
    card = (exported[0] / "README.md").read_text(encoding="utf-8")
    assert f"**Lawful basis.** {complete_settings.lawful_basis}" in card
    assert f"**Consent.** {complete_settings.consent}" in card
    assert "Write to: removal@example.org." in card
    sheet = questions_of((exported[0] / "DATASHEET.md").read_text(encoding="utf-8"))
    asked = "Did the individuals in question consent to the collection and use of their data?"
    assert sheet["Collection process"][asked] == complete_settings.consent


def test_the_template_asks_every_question_and_is_a_valid_configuration():
    import yaml

    text = (Path(__file__).parents[2] / "data_cards" / "templates" / "export.yaml").read_text(
        encoding="utf-8"
    )
    section = yaml.safe_load(text)["export"]
    settings = ExportSettings.model_validate(section)
    asked = set(section) | {"formats", "include_proposals"}
    assert asked == set(ExportSettings.model_fields)
    for item in answer_all(DatasetFacts(settings)):
        assert section["datasheet"][item.section][item.key] == ""
        assert f"      # {item.question}\n      {item.key}: " in text
