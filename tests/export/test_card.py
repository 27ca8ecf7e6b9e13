"""The card says what is counted, in YAML the Hub reads, and foreign text stays text."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dataset_tools.core.manifest import Manifest
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection, Review, ReviewState
from dataset_tools.export.card import card_metadata, licence_fields, size_category, write_card
from dataset_tools.export.dataset import export_dataset
from dataset_tools.export.datasheet import write_datasheet
from dataset_tools.export.facts import DatasetFacts
from dataset_tools.export.history import History, opt_out_kind, read_history
from dataset_tools.export.missing import missing_for_publication
from dataset_tools.export.parquet_files import read_parts
from dataset_tools.export.settings import ExportSettings
from dataset_tools.export.summary import Summary


def split_card(text):
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


@pytest.fixture
def rich(labelled, tmp_path, complete_settings):
    """(dataset, workspace) with reviewers, a skin tone, an unknown licence and two photos of one group."""
    workspace, _ = labelled.build_chain(tmp_path / "other")
    samples = labelled.make_samples(workspace.images)
    for index, (agreement, method) in enumerate(((0.91, "staple"), (0.62, "majority"), (None, "single"))):
        review = Review(ReviewState.ACCEPTED, ("ann", f"bo{index}"), method=method, agreement=agreement)
        samples[index] = dataclasses.replace(samples[index], review=review)
    mask = samples[0].instances[0]
    toned = dataclasses.replace(mask, attributes=(*mask.attributes, ("skin_ita_deg", "12.5")))
    samples[0] = dataclasses.replace(samples[0], instances=(toned, *samples[0].instances[1:]))
    unknown = dataclasses.replace(samples[-1].provenance, licence="unknown")
    samples[-1] = dataclasses.replace(samples[-1], provenance=unknown, group=samples[3].group)
    root = tmp_path / "work"
    place = type(workspace)(root)
    labelled.make_samples(place.images)
    manifest = labelled.write_split(place, labelled.write_crawl(place, samples))
    export_dataset(manifest, place.images, complete_settings, tmp_path / "dataset")
    return tmp_path / "dataset", root


@pytest.fixture
def proposed(chain, tmp_path, complete_settings):
    """(dataset,) with what nobody has confirmed in it."""
    workspace, manifests = chain
    settings = complete_settings.model_copy(update={"include_proposals": True})
    export_dataset(manifests["split"], workspace.images, settings, tmp_path / "dataset")
    return (tmp_path / "dataset",)


def run_offline(home, *arguments):
    """Python in a process of its own, with a Hub cache of its own and no Hub."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HOME": str(home)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=os.environ | offline, check=False
    )


def drop_one_row(folder: Path) -> None:
    """Rewrite one Parquet file without its last row, by another name so that no linked file changes."""
    path = sorted(folder.glob("data/*.parquet"))[-1]
    table = pq.read_table(path)
    path.unlink()
    pq.write_table(table.slice(0, table.num_rows - 1), path)


@pytest.mark.parametrize("which", ["exported", "rich", "proposed"])
def test_every_number_of_every_document_is_what_the_data_hold(which, request, load_fake):
    folder, *_ = request.getfixturevalue(which)
    workspace = folder.parent / "work"
    assert load_fake("recount").differences(folder, workspace) == []


def test_a_row_less_in_the_data_is_found_in_every_document(rich, load_fake):
    folder, workspace = rich
    drop_one_row(folder)
    found = load_fake("recount").differences(folder, workspace)
    for name in ("README.md", "DATASHEET.md", "dataset.json", "croissant.json"):
        assert any(line.startswith(f"{name}: ") for line in found), name


@pytest.mark.parametrize(
    ("document", "said", "other"),
    [
        ("README.md", "| Pictures | 5 |", "| Pictures | 6 |"),
        ("README.md", "| crawl | truncated | 1 |", "| crawl | truncated | 2 |"),
        ("README.md", "for 1 face mask only", "for 2 face masks only"),
        ("DATASHEET.md", "| mean | 0.765 |", "| mean | 0.766 |"),
        ("DATASHEET.md", "| reviewers of masks | 4 |", "| reviewers of masks | 3 |"),
    ],
)
def test_a_number_altered_in_a_document_is_found(rich, load_fake, document, said, other):
    folder, workspace = rich
    text = (folder / document).read_text(encoding="utf-8")
    assert said in text
    (folder / document).write_text(text.replace(said, other), encoding="utf-8")
    found = load_fake("recount").differences(folder, workspace)
    assert found and all(line.startswith(f"{document}: ") for line in found)


def test_the_parquet_and_the_coco_of_one_export_count_the_same(exported, load_fake):
    rows = load_fake("recount").rows_of(exported[0])
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        content = json.loads((exported[0] / f"coco/annotations/instances_{name}.json").read_text())
        held = [row for row in rows if row["split"] == split]
        assert len(content["images"]) == len(held)
        assert len(content["annotations"]) == sum(len(row["instances"]) for row in held)


def test_the_head_is_what_the_datasets_library_itself_would_write(exported, tmp_path):
    code = (
        "import sys, yaml\nfrom datasets import load_dataset\nfrom datasets.info import DatasetInfo\n"
        "loaded = load_dataset(sys.argv[1], cache_dir=sys.argv[2])\n"
        "text = open(sys.argv[1] + '/README.md', encoding='utf-8').read()\n"
        "head = yaml.safe_load(text.split('---\\n')[1])\n"
        "card = DatasetInfo._from_yaml_dict(head['dataset_info'])\n"
        "for name, part in loaded.items():\n"
        "    own = part.info.splits[name]\n"
        "    said = card.splits[name]\n"
        "    assert (own.num_bytes, own.num_examples) == (said.num_bytes, said.num_examples), (own, said)\n"
        "    assert part.features == card.features\n"
        "info = part.info\n"
        "assert info.dataset_size == card.dataset_size, (info.dataset_size, card.dataset_size)\n"
        "assert info.download_size == card.download_size, (info.download_size, card.download_size)\n"
        "print('same', sorted(loaded))\n"
    )
    plain = tmp_path / "plain"
    (plain / "data").mkdir(parents=True)
    for path in exported[0].glob("data/*.parquet"):
        (plain / "data" / path.name).write_bytes(path.read_bytes())
    (plain / "README.md").write_bytes((exported[0] / "README.md").read_bytes())
    done = run_offline(tmp_path, "-c", code, str(plain), str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "same ['test', 'train', 'validation']"


def test_bytes_in_memory_are_counted_block_by_block_as_the_datasets_library_does(tmp_path):
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    table = pa.table({"id": [f"row {number}" * number for number in range(11)], "width": list(range(11))})
    for split, cuts in (("train", (3, 3, 3, 2)), ("validation", (3, 8)), ("test", (11,))):
        with pq.ParquetWriter(folder / f"data/{split}-00000-of-00001.parquet", table.schema) as writer:
            for number, length in enumerate(cuts):
                writer.write_table(table.slice(sum(cuts[:number]), length))
    code = (
        "import sys\nfrom datasets import load_dataset\n"
        "loaded = load_dataset(sys.argv[1], cache_dir=sys.argv[2])\n"
        "print(*(loaded[name].info.splits[name].num_bytes for name in ('train', 'validation', 'test')))\n"
    )
    done = run_offline(tmp_path, "-c", code, str(folder), str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr[-2000:]
    ours = [str(part.arrow_bytes) for part in read_parts(folder)]
    assert done.stdout.split() == ours and ours[0] != ours[2]


def test_the_hub_client_reads_the_head_and_finds_only_words_it_knows(exported):
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(exported[0] / "README.md")
    data = card.data.to_dict()
    assert data["pretty_name"] == "test faces"
    assert data["license"] == ["cc-by-4.0", "cc0-1.0"]
    assert data["task_categories"] == ["image-segmentation"]
    assert data["size_categories"] == ["n<1K"]
    assert data["annotations_creators"] == ["expert-generated", "machine-generated", "found"]
    assert "language" not in data
    assert [entry["split"] for entry in data["configs"][0]["data_files"]] == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        ({"CC0-1.0": 3}, {"license": "cc0-1.0"}),
        ({"CC BY-SA 4.0": 3}, {"license": "cc-by-sa-4.0"}),
        ({"Ask the author": 3}, {"license": "other", "license_name": "ask-the-author"}),
        ({"MIT": 1, "CC0-1.0": 2}, {"license": ["cc0-1.0", "mit"]}),
        ({"MIT": 1, "Mine": 2}, {"license": ["mit", "other"], "license_name": "mine"}),
        ({"Yours": 1, "Mine": 2}, {"license": "other", "license_name": "see-licence-column"}),
    ],
)
def test_all_licences_found_are_named_and_none_is_guessed(licences, expected):
    assert licence_fields(Counter(licences)) == expected


@pytest.mark.parametrize(
    ("total", "word"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (10**6, "1M<n<10M"),
        (10**8, "100M<n<1B"),
    ],
)
def test_a_size_category_is_the_hubs_word(total, word):
    assert size_category(total) == word


def test_foreign_text_cannot_become_markup_or_a_table_cell():
    summary = Summary()
    summary.sources[("a|b\n# big", "<script>x</script>")] = 1
    settings = ExportSettings(name="x\n# y", description="[a](javascript:b)", consent="<b>\n## no\n")
    body = split_card(write_card(DatasetFacts(settings, summary)))[1]
    assert "<script" not in body and "\n# big" not in body and "\n# y" not in body and "\n## no" not in body
    assert "| a\\|b # big | not on record | &lt;script&gt;x&lt;/script&gt; | 1 |" in body
    assert "\\[a](javascript:b)" in body


def test_gaps_name_what_the_counts_lack(exported):
    body = (exported[0] / "README.md").read_text(encoding="utf-8")
    assert "Wearing states that do not occur: nose_out, mouth_out, under_chin, hanging." in body


def test_a_crawl_that_did_not_ask_is_written_into_the_card():
    impolite = DatasetFacts(history=History(obeys_robots=False, obeys_opt_outs=False))
    assert "**robots.txt was not obeyed**" in write_card(impolite)
    assert "reservations were not obeyed**" in write_card(impolite)
    polite = DatasetFacts(history=History(obeys_robots=True, obeys_opt_outs=True))
    assert "not obeyed" not in write_card(polite)
    assert "No site refused." in write_card(polite)


def test_taken_over_datasets_are_named_and_no_folder_of_this_machine_is(chain):
    _, manifests = chain
    header = json.loads((manifests["crawl"].directory / "header.json").read_text())
    header["config"]["sources"] = [
        {"name": "web", "type": "openverse"},
        {"name": "hub", "type": "hf_dataset", "dataset": "user/faces"},
        {"name": "local", "type": "hf_dataset", "dataset": "/home/someone/faces"},
        {"name": "my pairs", "type": "pairs", "images": "/home/someone"},
        "not a source",
    ]
    (manifests["crawl"].directory / "header.json").write_text(json.dumps(header))
    facts = DatasetFacts(history=read_history(manifests["split"]))
    assert card_metadata(facts)["source_datasets"] == [
        "original", "extended|other-local", "extended|other-my-pairs", "user/faces",
    ]  # fmt: skip
    assert "someone" not in write_card(facts) + write_datasheet(facts)


def test_the_demos_card_has_the_sections_of_an_export_of_today(exported):
    shown = Path(__file__).parents[2] / "data_cards" / "demo"
    for name in ("README.md", "DATASHEET.md"):
        ours = re.findall(r"^##+ .*", (exported[0] / name).read_text(encoding="utf-8"), re.M)
        assert re.findall(r"^##+ .*", (shown / name).read_text(encoding="utf-8"), re.M) == ours


@pytest.mark.parametrize(
    ("reason", "detail", "retryable", "kind"),
    [
        (Reason.ROBOTS, "robots.txt of https://a forbids /b", False, "robots.txt"),
        (Reason.ROBOTS, "HTTP status 503", True, "robots.txt not readable"),
        (Reason.OPT_OUT, "X-Robots-Tag says noai", False, "X-Robots-Tag"),
        (Reason.OPT_OUT, "<meta> says noimageai", False, "robots meta tag"),
        (Reason.OPT_OUT, "text and data mining is reserved by a header", False, "TDM reservation"),
    ],
)
def test_opt_outs_are_counted_by_the_means_the_site_used(reason, detail, retryable, kind):
    assert opt_out_kind(Rejection("crawl", "a", reason, detail, retryable=retryable)) == kind


def test_what_is_missing_for_publication_is_listed_at_once():
    missing = missing_for_publication(DatasetFacts(summary=Summary(origins=Counter(model=1))))
    named = ("contact", "description", "lawful_basis", "consent", "datasheet.motivation", "include_proposals")
    for word in named:
        assert any(f"export.{word}" in phrase for phrase in missing), word
    assert len(missing) == len(named) + 1  # and the section on maintenance, which nobody answers


@pytest.mark.parametrize("left_out", ["contact", "description", "lawful_basis", "consent"])
def test_each_statement_that_is_left_out_is_missed_by_its_own_name(complete_settings, left_out):
    settings = complete_settings.model_copy(update={left_out: " "})
    (phrase,) = missing_for_publication(DatasetFacts(settings))
    assert f"(export.{left_out})" in phrase


def test_the_meaning_of_a_skin_tone_is_told_only_where_there_is_one(exported, rich):
    assert "ethnicity" in (rich[0] / "README.md").read_text(encoding="utf-8")
    assert "ethnicity" not in (exported[0] / "README.md").read_text(encoding="utf-8")


def test_masks_rendered_onto_pictures_that_allow_no_derivatives_keep_a_dataset_from_being_public(
    complete_settings,
):
    licences = Counter({"CC-BY-ND-4.0": 3, "CC-BY-4.0": 2})
    plain = DatasetFacts(complete_settings, Summary(licences=licences))
    assert missing_for_publication(plain) == []
    rendered = Summary(licences=licences, rendered_licences=Counter({"CC-BY-ND-4.0": 2, "CC-BY-4.0": 1}))
    facts = DatasetFacts(complete_settings, rendered)
    (phrase,) = missing_for_publication(facts)
    assert phrase.startswith("leave to change 2 pictures") and "CC-BY-ND-4.0" in phrase
    assert missing_for_publication(facts, with_images=False) == []
    assert "It lacks leave to change 2 pictures" in write_card(facts)


@pytest.mark.parametrize(
    ("words", "without_images"),
    [
        ("unknown", 1),
        ("Google rights filter: cc_publicdomain", 1),
        ("All rights reserved", 0),
        ("Research only", 0),
    ],
)
def test_unknown_and_closed_licences_keep_a_dataset_from_being_public(
    complete_settings, words, without_images
):
    facts = DatasetFacts(complete_settings, Summary(licences=Counter({words: 4})))
    (phrase,) = missing_for_publication(facts)
    assert "4 pictures" in phrase and words in phrase
    assert len(missing_for_publication(facts, with_images=False)) == without_images


def test_a_chain_whose_beginning_is_gone_says_so(chain, tmp_path):
    import shutil

    workspace, manifests = chain
    shutil.rmtree(manifests["crawl"].directory)
    settings = ExportSettings(formats=("coco",))
    export_dataset(Manifest(manifests["split"].directory), workspace.images, settings, tmp_path / "out")
    assert "they may have dropped more" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_what_the_export_itself_could_not_write_is_among_the_dropped(chain, tmp_path):
    workspace, manifests = chain
    lost = next(sample for sample in manifests["split"].samples() if sample.is_labelled)
    workspace.images.path(lost.image).unlink()
    export_dataset(manifests["split"], workspace.images, ExportSettings(), tmp_path / "out")
    for name in ("README.md", "DATASHEET.md"):
        assert "| export | missing_image | 1 |" in (tmp_path / "out" / name).read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert facts["counts"]["rejections"]["export/missing_image"] == 1
    assert facts["counts"]["left_out"] == 1
