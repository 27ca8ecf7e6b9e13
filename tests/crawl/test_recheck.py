"""Asking the sources of kept pictures again, on a real server."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from dataset_tools.config import read_config
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.tombstones import Tombstones
from dataset_tools.crawl.recheck import Fate, Rechecked, recheck, urls_to_remove
from dataset_tools.pipeline import Pipeline
from dataset_tools.recheck_cli import recheck as command

NAMES = ("same", "dated", "tagged", "changed", "gone", "410", "forbidden", "away", "noai", "robots")


def conditional(body: bytes, header: str, value: str, asked: str):
    """Answers 304 to whoever names the version."""

    def answer(handler) -> None:
        is_known = handler.headers.get(asked) == value
        status, sent = ("304 Not Modified", b"") if is_known else ("200 OK", body)
        head = f"HTTP/1.1 {status}\r\n{header}: {value}\r\nContent-Length: {len(sent)}\r\n\r\n"
        handler.wfile.write(head.encode() + sent)

    return answer


@pytest.fixture
def urls(site, make_picture) -> dict[str, str]:
    """Ten pictures, all there."""
    made = {name: site.add(f"/{name}.png", make_picture(number)) for number, name in enumerate(NAMES)}
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    site.routes["/tagged.png"] = conditional(make_picture(2), "ETag", '"v1"', "If-None-Match")
    site.routes["/dated.png"] = conditional(make_picture(1), "Last-Modified", date, "If-Modified-Since")
    return made


@pytest.fixture
def things_happen(site, make_picture):
    """What the ten names say comes true."""

    def happen() -> None:
        site.seen.clear()
        site.add("/changed.png", make_picture(99))
        site.add("/gone.png", status=404)
        site.add("/410.png", status=410)
        site.add("/forbidden.png", status=403)
        site.add("/away.png", status=503)
        site.add("/noai.png", make_picture(8), X_Robots_Tag="noai")
        site.add("/robots.txt", b"User-agent: *\nDisallow: /robots.png\n")

    return happen


EXPECTED = {
    "same": Fate.UNCHANGED,
    "dated": Fate.UNCHANGED,
    "tagged": Fate.UNCHANGED,
    "changed": Fate.CHANGED,
    "gone": Fate.GONE,
    "410": Fate.GONE,
    "forbidden": Fate.NOT_KNOWN,
    "away": Fate.NOT_KNOWN,
    "noai": Fate.OPTED_OUT,
    "robots": Fate.DISALLOWED,
}


def test_every_kept_picture_gets_one_answer(
    site, urls, things_happen, make_settings, url_file, crawl
) -> None:
    settings = make_settings(url_file(*urls.values()), fetch={"tries": 1})
    manifest: Manifest = crawl(settings).manifest
    assert manifest.counts.kept == 10
    things_happen()
    found = {one.url: one for one in recheck(manifest.samples(), settings, 0)}
    assert {name: found[url].fate for name, url in urls.items()} == EXPECTED
    assert site.seen["/robots.png"] == 0
    asked = [headers for headers in site.headers if "If-None-Match" in headers]
    assert [headers["If-None-Match"] for headers in asked] == ['"v1"']
    assert found[urls["gone"]].detail == "HTTP status 404"


def test_pictures_without_a_url_and_rendered_ones_are_not_asked_for(tmp_path, build_erasable, make_settings):
    made = build_erasable(tmp_path / "work", photos=2)
    local = [
        dataclasses.replace(one, provenance=dataclasses.replace(one.provenance, url=""))
        for one in made.photos
    ]
    assert list(recheck([*local, *made.children], make_settings(), 0)) == []


def test_what_is_gone_at_one_address_and_there_at_another_stays() -> None:
    def row(sample: str, url: str, fate: Fate) -> Rechecked:
        return Rechecked(sample, url, url, fate)

    found = [
        row("a", "a1", Fate.GONE),
        row("a", "a2", Fate.UNCHANGED),
        row("b", "b1", Fate.GONE),
        row("c", "c1", Fate.OPTED_OUT),
        row("c", "c2", Fate.UNCHANGED),
        row("d", "d1", Fate.CHANGED),
        row("e", "e1", Fate.NOT_KNOWN),
        row("f", "f1", Fate.DISALLOWED),
    ]
    assert urls_to_remove(found, with_changed=False) == {"b1", "c1", "f1"}
    assert urls_to_remove(found, with_changed=True) == {"b1", "c1", "d1", "f1"}


def test_the_command_reports_then_removes(
    site, urls, things_happen, make_settings, url_file, tmp_path: Path
) -> None:
    settings = make_settings(url_file(*urls.values()), fetch={"tries": 1})
    config = tmp_path / "config.yaml"
    values = {"name": "toy", "workspace": "work", "crawl": settings.model_dump(mode="json")}
    config.write_text(yaml.safe_dump(values))
    build = Pipeline(read_config(config))
    build.run("crawl")
    things_happen()
    told = CliRunner().invoke(command, [str(config), "--json"])
    assert told.exit_code == 3, told.output
    said = json.loads(told.output)
    assert {row["url"]: row["fate"] for row in said["found"]} == {
        urls[name]: fate.value for name, fate in EXPECTED.items() if fate is not Fate.UNCHANGED
    }
    assert build.manifest("crawl").counts.kept == 10

    done = CliRunner().invoke(command, [str(config), "--remove-gone", "--remove-changed"])
    assert done.exit_code == 0, done.output
    left = {sample.provenance.url for sample in build.manifest("crawl").samples()}
    stay = {urls[name] for name in ("same", "dated", "tagged", "forbidden", "away")}
    assert left == stay
    stones = Tombstones.read(build.workspace.root)
    assert all(stones.blocks_url(urls[name]) for name in ("changed", "gone", "410", "noai", "robots"))
    assert not any(stones.blocks_url(url) for url in stay)
