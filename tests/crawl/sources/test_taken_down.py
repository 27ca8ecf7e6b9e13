"""Pictures that were taken down leave kept answers, and the rest of the crawl need not be done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataset_tools.core.errors import WorkspaceBusy
from dataset_tools.core.reasons import Reason
from dataset_tools.core.settings import parse_settings
from dataset_tools.core.tombstones import Tombstones, stand_in
from dataset_tools.core.workspace import Workspace
from dataset_tools.crawl.listing import list_items, listing_digest
from dataset_tools.crawl.paging import Memory
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.takedown import Wanted, take_down


def down(root: Path, **wanted: Any) -> None:
    values = {name: frozenset(names) for name, names in wanted.items()}
    take_down(Workspace(root), Wanted(**values), reason="", date="2026-01-31")


def kept_answers(root: Path) -> str:
    return "".join(path.read_text() for path in sorted((root / "listings").glob("*.jsonl")))


def reply(params: dict[str, str]) -> dict[str, Any]:
    """Three pages of two pictures; the first picture comes on every page and for every query."""
    page = int(params["page"])
    rows = [
        {
            "id": f"id-{number}",
            "title": f"Portrait number {number}",
            "url": f"http://EXAMPLE.org/{number}-ü.jpg#here",
            "foreign_landing_url": f"http://example.org/page/{number}",
            "creator": f"Creator {number % 2}",
            "license": "by-sa",
            "license_version": "4.0",
            "license_url": "",
        }
        for number in (0, 2 * page - 1, 2 * page)
    ]
    return {"page": page, "page_count": 3, "results": rows}


def url_of(number: int) -> str:
    return f"http://example.org/{number}-%C3%BC.jpg"


@pytest.fixture
def list_api(api, tmp_path: Path) -> Callable[[], list[Any]]:
    """An API with two queries, and a list of addresses that names some of its pictures again."""
    api.reply = reply
    lists = tmp_path.parent / f"{tmp_path.name}-urls.txt"
    lists.write_text(f"{url_of(0)}\n{url_of(3)}\nhttp://example.org/own.jpg\n")
    again = {"type": "url_list", "name": "web", "path": str(lists), "licence": "CC0-1.0"}
    queries = ["face mask", "masque"]
    source = {"type": "openverse", "name": "ov", "queries": queries, "endpoint": api.endpoint}
    values = {"sources": [source, again], "allow_origins": [api.origin], "fetch": {"host_pause_s": 0}}

    def run() -> list[Any]:
        return list_items(parse_settings(CrawlSettings, values, "test"), tmp_path / "listings")

    return run


@pytest.mark.parametrize(
    ("wanted", "gone"),
    [
        ({"urls": [url_of(0)]}, {0}),
        ({"urls": ["http://example.org/0-ü.jpg"]}, {0}),
        ({"urls": ["http://example.org/page/3"]}, {3}),
        ({"url_patterns": ["http://example.org/*3-*"]}, {3}),
        ({"authors": ["Creator 0"]}, {0, 2, 4, 6}),
        ({"sources": ["ov"]}, {0, 1, 2, 3, 4, 5, 6}),
    ],
)
def test_a_listing_forgets_them_and_is_the_same_work(
    api, list_api, tmp_path: Path, wanted: dict[str, list[str]], gone: set[int]
) -> None:
    before = list_api()
    digest, asked = listing_digest(before), len(api.asked)
    assert all(f"Portrait number {number}" in kept_answers(tmp_path) for number in gone)
    down(tmp_path, **wanted)
    said = kept_answers(tmp_path)
    for number in gone:
        for name in (f"/{number}-", f'Portrait number {number}"', f'id-{number}"', f'page/{number}"'):
            assert name not in said
    assert ("Creator 0" in said) == (not gone >= {0, 2, 4, 6})
    after = list_api()
    assert listing_digest(after) == digest
    assert len(after) == len(before)
    assert len(api.asked) == asked, "nothing is asked for again"
    stood = {item.key: item.fault for item in after if item.digest and item.key.startswith("taken-down/")}
    assert set(stood) == {stand_in(url_of(number)) for number in gone}
    assert {fault.reason for fault in stood.values() if fault is not None} == {Reason.TOMBSTONE}
    stones = Tombstones.read(tmp_path)
    assert all(stones.blocks_url(url_of(number)) for number in gone)
    # Once more changes nothing.
    down(tmp_path, **wanted)
    assert kept_answers(tmp_path) == said


def test_a_picture_changed_at_the_source_is_another_listing(api, list_api, tmp_path: Path) -> None:
    digest = listing_digest(list_api())
    for path in (tmp_path / "listings").iterdir():
        path.write_text(path.read_text().replace("Portrait number 4", "Another title"))
    assert listing_digest(list_api()) != digest


def test_web_pages_forget_pictures_and_links_to_them(site, list_with, tmp_path: Path, make_picture) -> None:
    body = b"<img src=/1.png alt='A nurse'><img src=/2.png alt='A cook'><a href=/b><a href=/raw>large</a>"
    site.add("/a", body, Content_Type="text/html")
    site.add("/b", b"<img src=/1.png alt='The nurse again'><img src=/3.png>", Content_Type="text/html")
    site.add("/raw", make_picture(1))  # a link that turns out to be a picture
    source = {"type": "web_pages", "name": "w", "start": [site.url("/a")], "licence": "CC0-1.0"}
    before = list_with(source, site.origin)
    seen = dict(site.seen)
    assert kept_answers(tmp_path).count(site.url("/1.png")) == 2
    down(tmp_path, urls=[site.url("/1.png"), site.url("/raw")])
    said = kept_answers(tmp_path)
    assert "/1.png" not in said and "/raw" not in said and "nurse" not in said and "cook" in said
    after = list_with(source, site.origin)
    assert listing_digest(after) == listing_digest(before)
    assert {item.uri for item in after if item.fault is None} == {site.url("/2.png"), site.url("/3.png")}
    assert sum(item.key.startswith("taken-down/") for item in after) == 2
    assert dict(site.seen) == seen


def test_a_listing_that_is_being_written_is_not_changed_under_the_writer(list_api, tmp_path: Path) -> None:
    list_api()
    (path,) = (tmp_path / "listings").glob("*.jsonl")
    before = path.read_bytes()
    with Memory(tmp_path / "listings", "ov", {}) as other:
        other.path = path
        other.put({"page": "99"}, {"hits": []})
        with pytest.raises(WorkspaceBusy):
            down(tmp_path, urls=[url_of(0)])
    assert path.read_bytes().startswith(before)
