"""The card says what is counted, in YAML the Hub reads, and foreign text stays text."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml

from dataset_tools.core.labels import Label
from dataset_tools.export.card import licence_fields, missing_for_publication, write_card
from dataset_tools.export.settings import ExportSettings
from dataset_tools.export.summary import Summary


def split_card(text):
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_every_figure_of_the_card_is_counted_from_the_samples(exported):
    folder, _, samples = exported
    head, body = split_card((folder / "README.md").read_text(encoding="utf-8"))
    masks = [i for s in samples.values() for i in s.instances if i.label is Label.FACE_MASK]
    assert f"Labelled face masks: {len(masks)}." in body
    rendered = sum(sample.is_synthetic for sample in samples.values())
    assert f"Pictures: {len(samples)} ({len(samples) - rendered} collected, {rendered} rendered)" in body
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        inside = [sample for sample in samples.values() if sample.split.value == split]
        groups = len({sample.group for sample in inside})
        synthetic = sum(sample.is_synthetic for sample in inside)
        assert f"| {name} | {len(inside)} | {len(inside) - synthetic} | {synthetic} | {groups} |" in body
    for kind, count in Counter(i.attribute("mask_type") or "unknown" for i in masks).items():
        assert f"| {kind} | {count} |" in body
    assert "| crawl | truncated | 1 |" in body
    assert "removal@example.org" in body
    assert head["license"] == "other"
    assert head["size_categories"] == ["n<1K"]
    assert [entry["split"] for entry in head["configs"][0]["data_files"]] == ["train", "validation", "test"]


def test_the_hub_client_can_parse_the_card(exported):
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(exported[0] / "README.md")
    assert card.data.pretty_name == "test faces"
    assert card.data.task_categories == ["image-segmentation"]


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        ({"CC0-1.0": 3}, {"license": "cc0-1.0"}),
        ({"Ask the author": 3}, {"license": "other", "license_name": "ask-the-author"}),
        ({"MIT": 1, "CC0-1.0": 2}, {"license": "other", "license_name": "mixed-see-licence-column"}),
    ],
)
def test_one_shared_licence_is_named_and_a_mix_is_not_guessed(licences, expected):
    assert licence_fields(Counter(licences)) == expected


def test_foreign_text_cannot_become_markup_or_a_table_cell():
    summary = Summary()
    summary.sources[("a|b\n# big", "<script>x</script>")] = 1
    body = split_card(write_card(summary, ExportSettings(name="x\n# y", description="[a](javascript:b)")))[1]
    assert "<script" not in body and "\n# big" not in body and "\n# y" not in body
    assert "| a\\|b # big | &lt;script&gt;x&lt;/script&gt; | 1 |" in body
    assert "\\[a](javascript:b)" in body


def test_what_is_missing_for_publication_is_listed_at_once():
    missing = missing_for_publication(Summary(origins=Counter(model=1)), ExportSettings())
    assert len(missing) == 3
    assert missing_for_publication(Summary(), ExportSettings(contact="a", description="b")) == []


def test_gaps_name_what_the_counts_lack(exported):
    body = (exported[0] / "README.md").read_text(encoding="utf-8")
    assert "Wearing states that do not occur: nose_out, mouth_out, under_chin, hanging." in body
