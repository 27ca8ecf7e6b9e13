"""DATASHEET.md: every question of Datasheets for Datasets, answered by count, by the makers, or not at all.

Source: Gebru et al., Datasheets for Datasets, Communications of the ACM 64(12), 2021,
https://arxiv.org/abs/1803.09010
"""

from __future__ import annotations

from dataclasses import dataclass

from dataset_tools.export.answers import computed_answers
from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.markdown import plain, table
from dataset_tools.export.people import MISSING
from dataset_tools.export.questions import HEADINGS

_COMMENTS = "comments"


@dataclass(frozen=True, slots=True)
class Answer:
    """One question with what is known.

    Attributes:
        section, key: where the configuration keeps the makers' answer: `export.datasheet.<section>.<key>`.
        question: its main sentence.
        computed: Markdown from the manifests, "" for none.
        stated: the makers' words, "" for none.
    """

    section: str
    key: str
    question: str
    computed: str
    stated: str

    @property
    def is_missing(self) -> bool:
        """True when nobody answers; having no further comments is an answer."""
        return not (self.computed or self.stated or self.key == _COMMENTS)


def answer_all(facts: DatasetFacts) -> list[Answer]:
    """All questions in the order of the published list."""
    computed = computed_answers(facts)
    found = []
    for section in HEADINGS:
        answers = getattr(facts.settings.datasheet, section)
        for key, field in type(answers).model_fields.items():
            stated = getattr(answers, key).strip()
            question = str(field.description)
            found.append(Answer(section, key, question, computed[section].get(key, ""), stated))
    return found


def empty_sections(facts: DatasetFacts) -> dict[str, str]:
    """Sections in which no question is answered, with their headings."""
    answered = {item.section for item in answer_all(facts) if item.key != _COMMENTS and not item.is_missing}
    return {section: heading for section, heading in HEADINGS.items() if section not in answered}


def write_datasheet(facts: DatasetFacts) -> str:
    """The whole DATASHEET.md; same facts, same text."""
    answers = answer_all(facts)
    lines = [
        f"# Datasheet of {plain(facts.settings.name)}",
        f"Version {plain(facts.settings.version)}. The questions are those of Gebru et al., Datasheets for "
        "Datasets (Communications of the ACM, 2021). What a count can answer is computed from the records of "
        f"the build; what nobody has answered says {MISSING} and where to answer it.",
        table(("Questions", "Count"), _counts(answers)),
    ]
    for section, heading in HEADINGS.items():
        lines.append(f"## {heading}")
        for item in answers:
            if item.section == section:
                lines += [f"### {plain(item.question)}", _text(item)]
    return "\n\n".join(lines) + "\n"


def _counts(answers: list[Answer]) -> list[tuple[str, int]]:
    return [
        ("all", len(answers)),
        ("answered by count", sum(bool(item.computed) for item in answers)),
        ("answered by the makers", sum(bool(item.stated) for item in answers)),
        ("missing", sum(item.is_missing for item in answers)),
    ]


def _text(item: Answer) -> str:
    if item.is_missing:
        return f"{MISSING} (`export.datasheet.{item.section}.{item.key}`)"
    stated = "\n\n".join(plain(paragraph) for paragraph in item.stated.split("\n\n") if paragraph.strip())
    return "\n\n".join(filter(None, (stated, item.computed))) or "None."
