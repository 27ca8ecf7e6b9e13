"""The whole export: what goes in, what stays out, and that the old folder survives a failure."""

from __future__ import annotations

import dataclasses
import json

import pytest
from pydantic import ValidationError

from dataset_tools.core.errors import LicenceMissing, ManifestError
from dataset_tools.core.reasons import Reason
from dataset_tools.export.dataset import export_dataset
from dataset_tools.export.replace import replacing_folder
from dataset_tools.export.settings import ExportSettings
from dataset_tools.formats.registry import FORMATS

COCO = ExportSettings(formats=("coco",))


def coco_ids(folder):
    files = sorted((folder / "coco/annotations").iterdir())
    return {
        image["sample_id"]: [row for row in content["annotations"] if row["image_id"] == image["id"]]
        for content in (json.loads(path.read_text()) for path in files)
        for image in content["images"]
    }


def test_an_unknown_format_is_refused_with_the_nearest_names():
    with pytest.raises(ValidationError, match=r"unknown format .koko..*coco"):
        ExportSettings(formats=("koko",))


def test_only_labelled_samples_leave_and_the_report_counts_them(exported):
    folder, report, samples = exported
    assert sum(report.samples.values()) == len(samples) == 5
    assert report.left_out == 1
    assert report.instances == sum(len(sample.instances) for sample in samples.values())
    assert report.rejections == () and report.missing == ()
    facts = json.loads((folder / "dataset.json").read_text())
    assert facts["counts"]["samples"] == report.samples
    assert facts["counts"]["rejections"] == {"crawl/http_4xx": 1, "crawl/truncated": 1}


def test_proposals_leave_only_on_request_and_say_so(chain, tmp_path):
    workspace, manifests = chain
    settings = ExportSettings(formats=("coco",), include_proposals=True)
    report = export_dataset(manifests["split"], workspace.images, settings, tmp_path / "out")
    assert sum(report.samples.values()) == 6
    assert any("proposals" in sentence for sentence in report.missing)
    marked = [
        entry
        for path in (tmp_path / "out/coco/annotations").iterdir()
        for entry in json.loads(path.read_text())["annotations"]
        if entry["is_proposal"]
    ]
    assert [entry["drawn_by"] for entry in marked] == ["model:unet@1"]
    assert marked[0]["confidence"] == 0.75


def test_a_sample_without_a_licence_stops_the_export_and_keeps_the_old_folder(labelled, chain, tmp_path):
    workspace, manifests = chain
    export_dataset(manifests["split"], workspace.images, COCO, tmp_path / "out")
    before = (tmp_path / "out" / "README.md").read_bytes()
    samples = labelled.make_samples(workspace.images)
    bare = dataclasses.replace(samples[0].provenance, licence=" ")
    samples[0] = dataclasses.replace(samples[0], provenance=bare)
    manifest = labelled.write_split(workspace, labelled.write_crawl(workspace, samples), seed=99)
    with pytest.raises(LicenceMissing, match="nasa"):
        export_dataset(manifest, workspace.images, COCO, tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_bytes() == before


def test_a_manifest_before_the_split_is_refused(chain, tmp_path):
    workspace, manifests = chain
    with pytest.raises(ManifestError, match="split stage"):
        export_dataset(manifests["crawl"], workspace.images, COCO, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_lost_and_an_altered_picture_are_rejections_and_the_rest_is_written(chain, tmp_path):
    workspace, manifests = chain
    labelled = [sample for sample in manifests["split"].samples() if sample.is_labelled]
    workspace.images.path(labelled[0].image).unlink()
    workspace.images.path(labelled[1].image).write_bytes(b"other bytes")
    report = export_dataset(manifests["split"], workspace.images, ExportSettings(), tmp_path / "out")
    assert {item.sample_id: item.reason for item in report.rejections} == {
        labelled[0].id: Reason.MISSING_IMAGE,
        labelled[1].id: Reason.CORRUPT,
    }
    assert set(coco_ids(tmp_path / "out")) == {sample.id for sample in labelled[2:]}
    assert report.left_out == 1


def test_a_picture_that_is_there_twice_is_written_once_and_reported(labelled, chain, tmp_path):
    workspace, _ = chain
    samples = labelled.make_samples(workspace.images)
    again = dataclasses.replace(samples[0].provenance, item_key="astronaut-again")
    samples.append(dataclasses.replace(samples[0], provenance=again, instances=()))
    manifest = labelled.write_split(workspace, labelled.write_crawl(workspace, samples), seed=98)
    report = export_dataset(manifest, workspace.images, ExportSettings(), tmp_path / "out")
    assert [(item.item_key, item.reason) for item in report.rejections] == [
        ("astronaut-again", Reason.DUPLICATE_ID)
    ]
    assert len(coco_ids(tmp_path / "out")[samples[0].id]) == 2


def test_an_export_that_fails_half_way_leaves_the_old_one_whole(chain, tmp_path, monkeypatch):
    workspace, manifests = chain
    export_dataset(manifests["split"], workspace.images, COCO, tmp_path / "out")
    before = coco_ids(tmp_path / "out")

    def full_disk(job, folder, progress):
        (folder / "half").mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "coco", dataclasses.replace(FORMATS["coco"], write=full_disk))
    with pytest.raises(OSError, match="No space"):
        export_dataset(manifests["split"], workspace.images, COCO, tmp_path / "out")
    assert coco_ids(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp-")] == []


def test_a_folder_is_replaced_with_everything_in_it(tmp_path):
    target = tmp_path / "set"
    for name in ("a", "b"):
        with replacing_folder(target) as fresh:
            (fresh / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_second_export_can_hold_other_formats(chain, tmp_path):
    workspace, manifests = chain
    export_dataset(manifests["split"], workspace.images, COCO, tmp_path / "out")
    settings = ExportSettings(formats=("mfsd",))
    export_dataset(manifests["split"], workspace.images, settings, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "DATASHEET.md",
        "dataset.json",
        "mfsd",
    }


def test_the_id_stays_through_all_versions_and_the_revocation_list_is_named(exported, complete_settings):
    facts = json.loads((exported[0] / "dataset.json").read_text())
    assert facts["revocations"] == "https://example.org/faces/revocations.json"
    assert facts["id"] == complete_settings.identity
    assert facts["id"] == complete_settings.model_copy(update={"version": "2.0.0", "contact": "x"}).identity
    assert facts["id"] != complete_settings.model_copy(update={"name": "other faces"}).identity
    assert ExportSettings(dataset_id="doi:10.1/x").identity == "doi:10.1/x"
    for text in ((exported[0] / "README.md").read_text(), (exported[0] / "croissant.json").read_text()):
        assert facts["id"] in text


def test_one_manifest_gives_the_same_documents_twice(chain, complete_settings, tmp_path):
    workspace, manifests = chain
    for name in ("one", "two"):
        export_dataset(manifests["split"], workspace.images, complete_settings, tmp_path / name)
    for name in ("README.md", "DATASHEET.md", "dataset.json", "croissant.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("revocations", ["ftp://example.org/x", "javascript:alert(1)", "not an address"])
def test_a_revocation_list_is_a_web_address(revocations):
    with pytest.raises(ValidationError, match="revocations"):
        ExportSettings(revocations=revocations)


def test_what_is_missing_without_pictures_is_listed_apart(labelled, chain, complete_settings, tmp_path):
    workspace, _ = chain
    samples = labelled.make_samples(workspace.images)
    closed = dataclasses.replace(samples[2].provenance, licence="All rights reserved")
    samples[2] = dataclasses.replace(samples[2], provenance=closed)
    manifest = labelled.write_split(workspace, labelled.write_crawl(workspace, samples), seed=97)
    report = export_dataset(manifest, workspace.images, complete_settings, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert report.missing == ("leave to pass on 1 picture whose terms forbid it: All rights reserved",)
    assert facts["missing"] == list(report.missing)
    assert facts["missing_without_images"] == []
