"""Trying failed items again: exactly these, with the rows of an undisturbed crawl, at any kill."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dataset_tools.config import BuildConfig
from dataset_tools.core.errors import ManifestError, UnknownName
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest, write_header
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Sample, Score
from dataset_tools.core.stage import run_stage, shards_of_items
from dataset_tools.crawl import retry
from dataset_tools.crawl.listing import list_items
from dataset_tools.crawl.retry import RetryReport, finish_retries, retry_failed
from dataset_tools.crawl.retry_cli import describe_retry, parse_reasons
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.crawl.stage import CrawlStage
from dataset_tools.pipeline import STAGES, Pipeline


class Build:
    """One workspace with one crawl in it."""

    def __init__(self, root: Path, settings: CrawlSettings) -> None:
        self.settings = settings
        self.images = ImageStore(root)
        self.directory = root / "manifests" / "crawl-abc"
        self.shards = shards_of_items(list_items(settings), 4)

    def crawl(self) -> None:
        stage = CrawlStage(self.settings, 0)
        run_stage(stage, self.shards, self.directory, key="crawl-key", parent_key="", images=self.images)

    def retry(self, *reasons: Reason) -> RetryReport:
        stage = CrawlStage(self.settings, 0)
        return retry_failed(stage, self.shards, self.directory, images=self.images, reasons=reasons)

    @property
    def reasons(self) -> dict[str, str]:
        return {item.item_key: item.reason.value for item in Manifest(self.directory).rejections()}


@pytest.fixture
def build(site, make_settings, url_file, make_picture, tmp_path) -> Build:
    """Ten pictures of which two are away for now and one for good, among other failures."""
    urls = [site.add(f"/{number}.png", make_picture(number)) for number in range(10)]
    site.add("/2.png", status=503)
    site.add("/7.png", status=500)
    site.add("/4.png", status=404)
    site.add("/page.png", b"<html>")
    settings = make_settings(url_file(*urls, site.url("/page.png")), fetch={"tries": 1})
    made = Build(tmp_path / "w", settings)
    made.crawl()
    site.seen.clear()
    return made


def mend(site: Any, make_picture: Callable[..., bytes]) -> None:
    for number in (2, 4, 7):
        site.add(f"/{number}.png", make_picture(number))


def undisturbed(build: Build, tmp_path: Path) -> str:
    """Digest of a crawl in which nothing was away but the picture that is gone for good."""
    other = Build(tmp_path / "undisturbed", build.settings)
    other.crawl()
    return Manifest(other.directory).canonical_digest()


def test_exactly_the_retryable_items_are_asked_for_again(build, site, make_picture, tmp_path):
    mend(site, make_picture)
    report = build.retry()
    pictures = {path for path in site.seen if path.endswith(".png")}
    assert pictures == {"/2.png", "/7.png"}
    assert (report.tried, report.kept, report.shards, report.reasons) == (2, 2, 2, {})
    assert set(build.reasons.values()) == {"http_4xx", "not_an_image"}
    site.add("/4.png", status=404)
    assert Manifest(build.directory).canonical_digest() == undisturbed(build, tmp_path)
    counts = Manifest(build.directory).counts
    assert (counts.inputs, counts.kept, counts.rejected) == (11, 9, 2)


def test_named_reasons_are_tried_and_no_others(build, site, make_picture):
    mend(site, make_picture)
    report = build.retry(Reason.HTTP_4XX)
    assert {path for path in site.seen if path.endswith(".png")} == {"/4.png"}
    assert (report.tried, report.kept) == (1, 1)
    assert sorted(build.reasons.values()) == ["http_5xx", "http_5xx", "not_an_image"]


def test_what_fails_again_stays_rejected_with_its_new_reason(build, site):
    site.add("/2.png", status=404)
    report = build.retry()
    assert (report.tried, report.kept, report.reasons) == (2, 0, {"http_4xx": 1, "http_5xx": 1})
    assert build.reasons[site.url("/2.png")] == "http_4xx"
    assert Manifest(build.directory).counts.rejected == 4


def test_nothing_to_try_leaves_the_manifest_alone(build, site):
    before = {path: path.stat().st_mtime_ns for path in build.directory.rglob("*.parquet")}
    report = build.retry(Reason.ROBOTS)
    assert report == RetryReport()
    assert {path: path.stat().st_mtime_ns for path in build.directory.rglob("*.parquet")} == before
    assert not site.seen


def follow(build, *names: tuple[str, str, str]) -> None:
    for name, key, parent in names:
        (build.directory.parent / name / "samples").mkdir(parents=True)
        write_header(build.directory.parent / name, {"key": key, "parent": parent, "counts": {}, "shards": 0})


def test_what_followed_from_the_old_rows_is_put_away(build, site, make_picture):
    manifests, models = build.directory.parent, build.directory.parents[1] / "models"
    follow(build, ("filter-1", "f", "crawl-key"), ("synth-1", "s", "f"), ("other", "o", "x"))
    (manifests / "split-unfinished" / "samples").mkdir(parents=True)
    for name, key in (("unet-0123456789ab", "s"), ("unet-ba9876543210", "o"), ("mine", "s")):
        (models / name).mkdir(parents=True)
        (models / name / "training.json").write_text(json.dumps({"dataset_key": key}))
    (models / "calibration-0123456789ab.json").write_text("{}")
    mend(site, make_picture)
    report = build.retry()
    assert report.stale == (
        "filter-1",
        "models/calibration-0123456789ab.json",
        "models/unet-0123456789ab",
        "split-unfinished",
        "synth-1",
    )
    assert {path.name for path in manifests.iterdir()} == {"crawl-abc", "other"}
    assert {path.name for path in models.iterdir()} == {"unet-ba9876543210", "mine", "before-retry"}
    assert (models / "before-retry" / "unet-0123456789ab" / "training.json").exists()
    assert "filter-1, models/calibration" in describe_retry(report)


def test_a_retry_that_gains_nothing_leaves_later_stages_alone(build, site):
    follow(build, ("filter-1", "f", "crawl-key"))
    site.add("/2.png", status=404)
    assert build.retry().stale == ()
    assert (build.directory.parent / "filter-1" / "header.json").exists()


class Passing:
    """A stage that lets every sample through, and notes on each how many there were in all."""

    version = "1"
    parallel = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.config: dict[str, Any] = {}

    def plan(self, samples: Iterable[Sample]) -> int:
        return sum(1 for _ in samples)

    def run(self, items: Sequence[Sample], *, plan: int, images: Any, progress: Any) -> Iterator[Sample]:
        for item in items:
            yield dataclasses.replace(item, scores=(Score(f"{self.name}_of", plan / 100),))


def test_later_stages_of_a_build_are_done_again_for_what_was_gained(
    site, make_settings, url_file, make_picture, tmp_path
):
    urls = [site.add(f"/{number}.png", make_picture(number)) for number in range(14)]
    for number in range(4, 14):
        site.add(f"/{number}.png", status=503)
    config = BuildConfig(
        name="toy",
        workspace=tmp_path / "work",
        shard_size=4,
        crawl=make_settings(url_file(*urls), fetch={"tries": 1}),
    )

    def opened() -> Pipeline:
        build = Pipeline(config)
        build._stages |= {name: Passing(name) for name in ("detect", "filter", "synth", "prelabel", "review")}
        return build

    def run(build: Pipeline) -> list[Sample]:
        for name in STAGES:
            build.run(name)
        return list(build.manifest("split").samples())

    before = run(opened())
    assert (len(before), before[0].scores) == (4, (Score("review_of", 0.04),))
    for number in range(4, 14):
        site.add(f"/{number}.png", make_picture(number))
    assert opened().retry_failed().kept == 10
    assert list(opened().chain()) == ["crawl"]
    after = run(opened())
    assert {sample.provenance.url for sample in after} == set(urls)
    assert {sample.scores for sample in after} == {(Score("review_of", 0.14),)}


@pytest.mark.parametrize(
    "moment", ["before the rename", "after it", "between the two files", "before the header"]
)
def test_a_retry_killed_at_any_step_and_run_again_loses_nothing(
    build, site, make_picture, tmp_path, monkeypatch, moment
):
    mend(site, make_picture)
    site.add("/4.png", status=404)

    class Killed(BaseException):
        pass

    def die(*arguments: Any) -> None:
        raise Killed

    def half(folder: Path, directory: Path) -> None:
        name = f"{folder.name}.parquet"
        (folder / "rejections" / name).replace(directory / "rejections" / name)
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "before the rename":
            patch.setattr(Path, "rename", die)
        elif moment == "after it":
            patch.setattr(retry, "_put_in_place", die)
        elif moment == "between the two files":
            patch.setattr(retry, "_put_in_place", half)
        else:
            patch.setattr(retry, "write_header", die)
        with pytest.raises(Killed):
            build.retry()
    if moment == "between the two files":
        # A crawl heals it as well as a retry does.
        finish_retries(build.directory)
        assert Manifest(build.directory).counts.kept == 8
    build.retry()
    assert Manifest(build.directory).canonical_digest() == undisturbed(build, tmp_path)
    assert Manifest(build.directory).counts.kept == 9
    assert not (build.directory / "retried").exists()


def test_an_item_put_off_by_its_host_waits_for_its_time(build, site, make_picture, url_file, tmp_path):
    site.add("/2.png", status=429, Retry_After="86400")
    site.add("/7.png", status=503)
    waiting = Build(tmp_path / "waiting", build.settings)
    waiting.crawl()
    (deferred,) = [
        item for item in Manifest(waiting.directory).rejections() if item.item_key == site.url("/2.png")
    ]
    assert deferred.retryable and deferred.due > "2026"
    site.seen.clear()
    mend(site, make_picture)
    report = waiting.retry()
    assert site.seen["/2.png"] == 0
    assert report.put_off >= 1
    assert site.url("/2.png") in waiting.reasons


def test_changed_sources_and_unfinished_crawls_are_refused(build, site, make_picture):
    shards = build.shards
    build.shards = [dataclasses.replace(shards[0], items=shards[0].items[:2]), *shards[1:]]
    with pytest.raises(ManifestError, match="no longer list"):
        build.retry()
    build.shards = shards[:1]
    with pytest.raises(ManifestError, match="shard_size"):
        build.retry()
    (build.directory / "header.json").unlink()
    with pytest.raises(ManifestError, match="no complete manifest"):
        build.retry()


def test_reason_words_are_read_and_wrong_ones_named():
    assert parse_reasons("transport, http_5xx") == (Reason.TRANSPORT, Reason.HTTP_5XX)
    assert parse_reasons("") == ()
    with pytest.raises(UnknownName, match="http_5xx"):
        parse_reasons("http_5x")


def test_a_report_is_plain_json():
    report = RetryReport(tried=3, kept=1, reasons={"http_5xx": 2}, put_off=1, shards=1)
    assert json.loads(json.dumps(dataclasses.asdict(report)))["tried"] == 3
    assert describe_retry(report) == (
        "retry     3 tried, 1 kept, 2 rejected again (http_5xx 2), 1 put off by their hosts to a later time; "
        "1 shard(s) rewritten"
    )
