"""A finished dataset as a source: its labels, licences, groups and splits come along."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import ConfigError, DataError, WeightsUnavailable
from dataset_tools.core.images import ImageStore, decode_photo
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import RleMask
from dataset_tools.core.record import Split
from dataset_tools.crawl.items import SourceItem
from dataset_tools.crawl.listing import list_items
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.formats.reading import FileContent, FoundPicture
from dataset_tools.formats.registry import FORMATS


def listed(**source: object) -> list[SourceItem]:
    settings = CrawlSettings.model_validate({"sources": [{"type": "dataset", "name": "theirs", **source}]})
    return list_items(settings)


@pytest.fixture(scope="module")
def hostile(load_fake):
    return load_fake("hostile_datasets")


@pytest.fixture(scope="module")
def matrix(load_fake):
    return load_fake("matrix")


@pytest.fixture
def plain(hostile, tmp_path):
    """A COCO dataset of two good pictures that states no licence."""
    hostile._coco(lambda document: None)(tmp_path)
    return tmp_path


def test_pictures_carry_what_the_dataset_and_the_configuration_state(matrix, tmp_path):
    store = ImageStore(tmp_path / "store", syncs=False)
    samples = matrix.hard_samples(store)
    samples[1] = dataclasses.replace(
        samples[1], provenance=dataclasses.replace(samples[1].provenance, parent_id=samples[0].id)
    )
    folder = matrix.write_samples("coco", samples, store, tmp_path)
    items = {Path(item.uri).stem: item for item in listed(path=folder, licence="MIT", split="val")}
    assert set(items) == {sample.id for sample in samples}
    for sample in samples:
        item = items[sample.id]
        assert (item.licence, item.author, item.fault) == ("CC-BY-4.0", "Łukasz 山田", None)
        assert item.annotation is not None and item.annotation.split is sample.split
        assert dict(item.evidence)["stated_source"] == "Gesichter ☃"
        assert item.group.startswith("theirs/")
    assert dict(items[samples[1].id].evidence)["parent_id"] == samples[0].id
    assert items[samples[0].id].group == items[samples[1].id].group != items[samples[2].id].group


def test_the_configuration_speaks_where_the_dataset_is_silent(plain):
    items = listed(path=plain, licence="CC0-1.0", author="Anna", split="test")
    assert [(item.key, item.licence, item.author) for item in items] == [
        ("theirs/a.png", "CC0-1.0", "Anna"),
        ("theirs/b.png", "CC0-1.0", "Anna"),
    ]
    assert [item.annotation.split for item in items if item.annotation] == [Split.TEST, Split.TEST]
    unlicensed = listed(path=plain)
    assert [item.fault.reason.value for item in unlicensed if item.fault] == ["licence", "licence"]


def test_problems_of_the_dataset_become_rejections(hostile, crawl, tmp_path):
    def spoil(document):
        document["annotations"][1]["segmentation"] = [[1, 1, 2, 2]]
        document["annotations"].append({"id": 3, "image_id": 9, "category_id": 1})

    hostile._coco(spoil)(tmp_path)
    source = {"type": "dataset", "name": "theirs", "path": str(tmp_path), "licence": "MIT"}
    found = crawl(CrawlSettings.model_validate({"sources": [source]}))
    assert found.reasons == {"theirs#labels.json: annotations[2]": "dangling_reference"}
    lost = [(item.item_key, item.reason.value) for item in found.manifest.rejections() if item.derived]
    assert lost == [("theirs/b.png#a2", "degenerate")]
    assert {key: sample.is_labelled for key, sample in found.samples.items()} == {
        "theirs/a.png": True,
        "theirs/b.png": False,
    }


def test_a_name_that_a_reader_gives_twice_is_taken_once(plain, monkeypatch):
    found = FoundPicture("a.png", FileContent(plain / "a.png"), None, plain / "a.png")
    twice = dataclasses.replace(FORMATS["coco"], read=lambda path, options: iter([found, found]))
    monkeypatch.setitem(FORMATS, "coco", twice)
    items = listed(path=plain, licence="MIT")
    assert [(item.key, item.fault and item.fault.reason.value) for item in items] == [
        ("theirs/a.png", None),
        ("theirs/a.png#2", "duplicate_id"),
    ]


def test_proposals_stay_proposals_and_faces_are_found_anew(hostile, crawl, tmp_path):
    def propose(document):
        document["annotations"][0].update(drawn_by="model:unet@1", confidence=0.5, face=3)
        document["annotations"][1].update(drawn_by="human:Anna", face=3)

    hostile._coco(propose)(tmp_path)
    source = {"type": "dataset", "name": "theirs", "path": str(tmp_path), "licence": "MIT"}
    samples = crawl(CrawlSettings.model_validate({"sources": [source]})).samples
    assert not samples["theirs/a.png"].is_labelled and samples["theirs/a.png"].instances[0].is_proposal
    assert samples["theirs/b.png"].is_labelled
    assert [item.face for sample in samples.values() for item in sample.instances] == [-1, -1]


def test_a_dataset_that_cannot_be_read_at_all_stops_the_crawl(tmp_path):
    (tmp_path / "labels.json").write_text('{"images": [')
    with pytest.raises(DataError, match=r"labels\.json"):
        listed(path=tmp_path, licence="MIT")
    with pytest.raises(ConfigError, match="does not exist"):
        listed(path=tmp_path / "gone", licence="MIT")
    with pytest.raises(ValueError, match="unknown format 'coca'; did you mean coco"):
        listed(path=tmp_path, format="coca")


def test_an_imported_dataset_goes_through_a_whole_build_with_exact_labels(
    astronaut_path, hopper_path, matrix, tmp_path
):
    from dataset_tools.config import read_config
    from dataset_tools.pipeline import STAGES, Pipeline

    store = ImageStore(tmp_path / "store", syncs=False)
    drawn = {}
    samples = []
    for path, name in ((astronaut_path, "astronaut"), (hopper_path, "hopper")):
        image = store.put_photo(decode_photo(path.read_bytes()))
        template = matrix.hard_samples(store)[0]
        masks = []
        for label, seed in ((Label.FACE_MASK, 1), (Label.FACE, 2)):
            picture = np.random.default_rng(seed).random(image.size_hw) > 0.5
            masks.append((label, matrix.mask_to_rle(picture)))
        drawn[image.sha256[:32]] = dict(masks)
        instances = tuple(
            dataclasses.replace(template.instances[0], id=label.value, label=label, mask=mask, face=-1)
            for label, mask in masks
        )
        samples.append(
            dataclasses.replace(
                template,
                id=image.sha256[:32],
                image=image,
                provenance=dataclasses.replace(template.provenance, item_key=name),
                instances=instances,
                faces=(),
                group=name,
                split=Split.TEST if name == "hopper" else Split.TRAIN,
            )
        )
    folder = matrix.write_samples("coco", samples, store, tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "name": "imported",
                "workspace": str(tmp_path / "work"),
                "crawl": {"sources": [{"type": "dataset", "name": "theirs", "path": str(folder)}]},
                "synth": {"per_face": 0},
                "export": {"formats": ["coco"], "contact": "me@example.org"},
                "proposer": None,
            }
        )
    )
    build = Pipeline(read_config(config))
    try:
        for name in STAGES:
            build.run(name)
    except WeightsUnavailable as error:
        pytest.skip(f"no face landmarker can be had here: {error}")
    build.export()
    again, rejections = matrix.read_samples("coco", tmp_path / "work" / "dataset" / "coco", store)
    assert rejections == []
    found: dict[str, dict[Label, RleMask]] = {
        sample.id: {item.label: item.mask for item in sample.instances} for sample in again
    }
    assert found == drawn
    assert {sample.id: sample.split for sample in again} == {sample.id: sample.split for sample in samples}
    with Image.open(tmp_path / "work" / "dataset" / "coco" / "images" / f"{samples[0].id}.png") as opened:
        assert np.array_equal(np.asarray(opened.convert("RGB")), store.read(samples[0].image))
