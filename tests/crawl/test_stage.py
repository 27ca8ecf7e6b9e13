"""Whole crawls through `run_stage`."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import ServiceError
from dataset_tools.core.images import ImageStore, original_path
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.record import Split
from dataset_tools.core.stage import run_stage, shards_of_items
from dataset_tools.crawl.items import SourceItem
from dataset_tools.crawl.listing import list_items
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.crawl.stage import CrawlStage

EXPECTED = {
    "/good.jpg": "",
    "/truncated.jpg": "truncated",
    "/bomb.png": "too_many_pixels",
    "/page.jpg": "not_an_image",
    "/missing.jpg": "http_4xx",
    "/recovers": "",
    "/always-503": "http_5xx",
    "/busy": "",
    "/silent": "transport",
    "/drip": "transport",
    "/endless": "too_many_bytes",
    "/loop": "redirect_limit",
    "/moved": "",
    "/to-secret": "unsafe_url",
    "/short": "transport",
    "/private/x.png": "robots",
    "/no-ai.png": "opt_out",
    "/b%C3%BCcher.png": "",
}


def test_a_hostile_site_ends_every_item_once_with_its_reason(
    site, second_site, make_settings, url_file, crawl, make_picture
):
    site.add("/robots.txt", b"User-agent: *\nDisallow: /private/\n")
    site.add("/to-secret", status=302, Location=second_site.origin + "/secret.png")
    source = url_file(*(site.url(path.replace("%C3%BC", "ü")) for path in EXPECTED))
    limits = {"idle_s": 0.3, "deadline_s": 1.0, "max_bytes": 300_000, "give_up_after": 50}
    settings = make_settings(source, fetch=limits)
    crawled = crawl(settings)
    found = {site.url(path): reason for path, reason in EXPECTED.items() if reason}
    assert crawled.reasons == found
    assert set(crawled.samples) == {site.url(path) for path, reason in EXPECTED.items() if not reason}
    counts = crawled.report.counts
    assert counts.inputs == counts.kept + counts.rejected == len(EXPECTED)
    assert (site.seen["/missing.jpg"], site.seen["/always-503"], site.seen["/loop"]) == (1, 3, 6)
    assert site.seen["/robots.txt"] == 1
    assert site.seen["/private/x.png"] == 0
    assert not second_site.seen
    sample = crawled.samples[site.url("/moved")]
    facts = dict(sample.provenance.evidence)
    assert facts["final_url"] == site.url("/good.jpg")
    assert (sample.provenance.url, sample.provenance.licence) == (site.url("/moved"), "CC0-1.0")
    assert (sample.group, len(sample.phash), sample.is_labelled) == (sample.id, 16, False)
    assert sample.provenance.retrieved_at.endswith("Z")
    for rejection in crawled.manifest.rejections():
        assert rejection.detail
        assert "Traceback" not in rejection.detail


def test_robots_txt_is_asked_once_over_several_shards(site, make_settings, url_file, crawl, make_picture):
    urls = [site.add(f"/{number}.png", make_picture(number)) for number in range(6)]
    crawled = crawl(make_settings(url_file(*urls)), shard_size=2)
    assert crawled.report.counts.kept == 6
    assert site.seen["/robots.txt"] == 1


def test_two_crawls_of_the_same_site_give_the_same_rows(site, make_settings, url_file, crawl, make_picture):
    urls = [site.add(f"/{number}.png", make_picture(number)) for number in range(8)]
    settings = make_settings(url_file(*urls, site.url("/gone"), urls[0]))
    first = crawl(settings).manifest.canonical_digest()
    assert first == crawl(settings, shard_size=3).manifest.canonical_digest()


def test_a_local_folder_needs_no_network(tmp_path, crawl, make_picture):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "good.png").write_bytes(make_picture(1))
    (folder / "notes.txt").write_text("hello")
    (folder / "empty.jpg").write_bytes(b"")
    os.mkfifo(folder / "pipe.png")
    (folder / "link.png").symlink_to("good.png")
    source = {"type": "folder", "name": "mine", "path": str(folder), "licence": "CC0-1.0"}
    crawled = crawl(CrawlSettings.model_validate({"sources": [source]}))
    assert crawled.reasons == {
        "mine/empty.jpg": "empty",
        "mine/link.png": "unsafe_path",
        "mine/notes.txt": "not_an_image",
        "mine/pipe.png": "not_a_file",
    }
    (sample,) = crawled.samples.values()
    assert sample.provenance.url == ""
    assert dict(sample.provenance.evidence) == {"name": "good.png"}


def test_pairs_arrive_as_ground_truth_bit_for_bit(tmp_path, crawl, make_picture):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    mask = np.random.default_rng(5).random((96, 96)) > 0.5
    (tmp_path / "images" / "a.jpg").write_bytes(make_picture(1, kind="JPEG"))
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    (tmp_path / "images" / "b.jpg").write_bytes(make_picture(2, kind="JPEG"))
    Image.fromarray(mask[:90]).save(tmp_path / "masks" / "b.png")
    (tmp_path / "images" / "c.jpg").write_bytes(make_picture(3, kind="JPEG"))
    Image.fromarray(np.zeros_like(mask)).save(tmp_path / "masks" / "c.png")
    source = {
        "type": "pairs",
        "name": "truth",
        "images": str(tmp_path / "images"),
        "masks": str(tmp_path / "masks"),
        "licence": "MIT",
        "split": "test",
    }
    crawled = crawl(CrawlSettings.model_validate({"sources": [source]}))
    assert crawled.reasons == {"truth/b.jpg": "size_mismatch"}
    sample = crawled.samples["truth/a.jpg"]
    assert sample.is_labelled
    assert sample.split is Split.TEST
    assert np.array_equal(rle_to_mask(sample.instances[0].mask), mask)
    empty = crawled.samples["truth/c.jpg"]
    assert empty.is_labelled
    assert empty.instances == ()


def test_a_picture_that_lost_an_annotation_is_kept_unlabelled(tmp_path, crawl, make_picture):
    (tmp_path / "a.png").write_bytes(make_picture(1))
    (tmp_path / "b.png").write_bytes(make_picture(2))
    square = [[10, 10, 20, 10, 20, 30, 10, 30]]
    bad = {"size": [96, 96], "counts": [1, 2, 3]}
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": square},
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": bad},
            {"id": 3, "image_id": 2, "category_id": 1, "segmentation": square},
            {"id": 4, "image_id": 9, "category_id": 1, "segmentation": square},
        ],
        "categories": [{"id": 1, "name": "face_mask"}],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    source = {
        "type": "coco",
        "name": "c",
        "annotations": str(tmp_path / "c.json"),
        "images": str(tmp_path),
        "licence": "MIT",
    }
    crawled = crawl(CrawlSettings.model_validate({"sources": [source]}))
    assert crawled.reasons == {"c#annotations[3]": "dangling_reference"}
    assert crawled.samples["c/b.png"].is_labelled
    spoilt = crawled.samples["c/a.png"]
    assert (len(spoilt.instances), spoilt.is_labelled) == (1, False)
    (lost,) = [item for item in crawled.manifest.rejections() if item.derived]
    assert (lost.item_key, lost.reason.value, lost.sample_id) == ("c/a.png#a2", "rle_sum", spoilt.id)
    assert "unlabelled" in lost.detail


def test_an_unexpected_error_costs_one_item_and_is_logged(tmp_path, make_picture, caplog):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(make_picture(number))
    items = [SourceItem(f"f/{n}", "f", str(tmp_path / f"{n}.png"), "CC0-1.0") for n in range(3)]
    items[0] = dataclasses.replace(items[0], annotation="our own bug")  # text has no `read`
    directory = tmp_path / "manifests" / "crawl"
    stage = CrawlStage(CrawlSettings(), 0)
    report = run_stage(
        stage, shards_of_items(items, 8), directory, key="k", parent_key="", images=ImageStore(tmp_path)
    )
    assert (report.counts.kept, report.reasons) == (2, {"internal": 1})
    assert "keeping.py" in caplog.text


def test_a_disk_that_takes_nothing_stops_the_run_instead_of_rejecting_pictures(tmp_path, make_picture):
    (tmp_path / "a.png").write_bytes(make_picture(1))
    (tmp_path / "objects").write_text("no folder can be made here")
    shards = shards_of_items([SourceItem("f/a", "f", str(tmp_path / "a.png"), "CC0-1.0")], 8)
    stage = CrawlStage(CrawlSettings(), 0)
    with pytest.raises(ServiceError, match="cannot write pictures"):
        run_stage(stage, shards, tmp_path / "m", key="k", parent_key="", images=ImageStore(tmp_path))


def test_the_stage_travels_and_its_config_is_plain_json(make_settings, url_file):
    stage = CrawlStage(make_settings(url_file("http://example.org/a"), contact="me@example.org"), 7, "abc")
    again = pickle.loads(pickle.dumps(stage))
    assert again.config == stage.config == json.loads(json.dumps(stage.config))
    assert "me@example.org" not in json.dumps(stage.config)
    assert (stage.config["seed"], stage.config["listing"]) == (7, "abc")


def test_importing_the_stage_brings_no_http_client_and_no_heavy_library():
    heavy = "('httpx', 'torch', 'cv2', 'pandas')"
    code = f"import sys, dataset_tools.crawl.stage; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


CHILD = """
    import json, sys
    from pathlib import Path
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.stage import run_stage, shards_of_items
    from dataset_tools.crawl.listing import list_items
    from dataset_tools.crawl.settings import CrawlSettings
    from dataset_tools.crawl.stage import CrawlStage

    settings = CrawlSettings.model_validate(json.loads(sys.argv[1]))
    root = Path(sys.argv[2])
    shards = shards_of_items(list_items(settings), 4)
    run_stage(CrawlStage(settings, 0), shards, root / "manifests" / "crawl",
              key="k", parent_key="", images=ImageStore(root))
"""


@pytest.mark.parametrize("deadly_request", [2, 7, 13])
def test_a_crawl_killed_midway_and_run_again_gives_the_undisturbed_rows(
    site, make_settings, url_file, crawl, make_picture, tmp_path, deadly_request
):
    urls = [site.add(f"/{number}.png", make_picture(number)) for number in range(14)]
    urls.insert(5, site.url("/gone.png"))
    settings = make_settings(url_file(*urls))
    undisturbed = crawl(settings, shard_size=4)
    site.seen.clear()

    child: list[subprocess.Popen] = []
    plain = site.routes[f"/{deadly_request}.png"]

    def kill(handler) -> None:
        os.kill(child[0].pid, signal.SIGKILL)

    site.routes[f"/{deadly_request}.png"] = [kill, plain]
    root = tmp_path / "killed"
    command = [sys.executable, "-c", textwrap.dedent(CHILD), settings.model_dump_json(), str(root)]
    with site.lock:  # no request is counted before the child's id is known
        child.append(subprocess.Popen(command))
    assert child[0].wait() == -signal.SIGKILL
    assert not (root / "manifests" / "crawl" / "header.json").exists()

    shards = shards_of_items(list_items(settings), 4)
    directory = root / "manifests" / "crawl"
    report = run_stage(
        CrawlStage(settings, 0), shards, directory, key="k", parent_key="", images=ImageStore(root)
    )
    # The rows of the shard before the deadly one may have been under way when the kill came.
    before = urls.index(site.url(f"/{deadly_request}.png")) // 4
    assert report.resumed_shards in (before, before - 1)
    assert report.counts == undisturbed.report.counts
    assert Manifest(directory).canonical_digest() == undisturbed.manifest.canonical_digest()
    objects = [path.name for path in (root / "objects").rglob("*.*") if not path.name.startswith(".tmp-")]
    assert len(objects) == 14


def test_real_pairs_of_the_development_set_come_through_whole(shared_data, crawl):
    folder = shared_data / "mfsd_dev"
    source = {
        "type": "pairs",
        "name": "mfsd",
        "images": str(folder / "image"),
        "masks": str(folder / "mask"),
        "licence": "MIT",
        "split": "test",
    }
    crawled = crawl(CrawlSettings.model_validate({"sources": [source]}))
    assert crawled.report.counts.kept == 100
    for sample in crawled.samples.values():
        stem = Path(dict(sample.provenance.evidence)["name"]).stem
        truth = np.asarray(Image.open(folder / "mask" / f"{stem}.png")) > 127
        assert np.array_equal(rle_to_mask(sample.instances[0].mask), truth)


def test_originals_are_kept_on_request_and_only_then(site, make_settings, url_file, crawl):
    source = url_file(site.url("/good.jpg"))
    plain, keeping = crawl(make_settings(source)), crawl(make_settings(source, keep_originals=True))
    assert not (plain.manifest.workspace / "originals").exists()
    (sample,) = keeping.samples.values()
    kept = keeping.manifest.workspace / original_path(sample.provenance.content_sha256)
    assert kept.read_bytes() == site.routes["/good.jpg"][2]
    assert plain.manifest.canonical_digest() == keeping.manifest.canonical_digest()


def test_equal_bytes_under_many_urls_are_one_object_and_as_many_rows(
    site, make_settings, url_file, crawl, make_picture
):
    contents = [make_picture(number) for number in range(10)]
    urls = [site.add(f"/{number}.png", contents[number % 10]) for number in range(1000)]
    limits = {"per_host": 8, "idle_s": 60, "deadline_s": 60}  # so many, and the machine may be busy
    crawled = crawl(make_settings(url_file(*urls), fetch=limits))
    assert crawled.report.counts.kept == 1000
    assert {sample.provenance.url for sample in crawled.samples.values()} == set(urls)
    assert {dict(sample.provenance.evidence)["final_url"] for sample in crawled.samples.values()} == set(urls)
    objects = [path for path in (crawled.manifest.workspace / "objects").rglob("*") if path.is_file()]
    assert len(objects) == len({sample.id for sample in crawled.samples.values()}) == 10


def test_a_picture_that_costs_too_much_is_rejected_and_the_next_ones_are_kept(
    tmp_path, crawl, make_picture, monkeypatch
):
    folder = tmp_path / "photos"
    folder.mkdir()
    scans = _many_scans(2000)
    (folder / "slow.jpg").write_bytes(scans)
    (folder / "good.png").write_bytes(make_picture(1))
    source = {"type": "folder", "name": "f", "path": str(folder), "licence": "CC0-1.0"}
    values = {"sources": [source], "decode": {"cpu_s": 0.5, "workers": 1}}
    crawled = crawl(CrawlSettings.model_validate(values))
    assert crawled.reasons == {"f/slow.jpg": "decode_budget"}
    assert set(crawled.samples) == {"f/good.png"}


def _many_scans(count: int) -> bytes:
    """A progressive JPEG of 2000x2000 pixels whose last scan comes again and again."""
    buffer = io.BytesIO()
    Image.new("RGB", (2000, 2000), (90, 120, 150)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]
