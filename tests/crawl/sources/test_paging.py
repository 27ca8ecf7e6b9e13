"""Searches page by page against a service that misbehaves; each API in turn is in `test_apis.py`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dataset_tools.core.errors import ConfigError, DataError, ServiceError, WorkspaceBusy
from dataset_tools.core.settings import parse_settings
from dataset_tools.crawl.listing import listing_digest
from dataset_tools.crawl.paging import Memory, cc_licence, licence_of_url
from dataset_tools.crawl.settings import CrawlSettings


def entry(number: int, **more: Any) -> dict[str, Any]:
    """One picture as Openverse states it."""
    return {
        "id": f"id-{number}",
        "title": f"Picture {number}",
        "url": f"http://example.org/{number}.jpg",
        "foreign_landing_url": f"http://example.org/page/{number}",
        "creator": "Anna",
        "license": "by-sa",
        "license_version": "4.0",
        "license_url": "https://creativecommons.org/licenses/by-sa/4.0/",
        **more,
    }


def pages(count: int, size: int = 2) -> Callable[[dict[str, str]], dict[str, Any]]:
    """A search of `count` pages."""

    def reply(params: dict[str, str]) -> dict[str, Any]:
        number = int(params["page"])
        rows = [entry(number * 10 + place) for place in range(size)]
        return {"page": number, "page_count": count, "results": rows if number <= count else []}

    return reply


@pytest.fixture
def source(api) -> dict[str, Any]:
    return {"type": "openverse", "name": "ov", "queries": ["face mask"], "endpoint": api.endpoint}


def test_a_finished_listing_is_the_same_again_and_asks_nothing(api, source, list_with):
    api.reply = pages(3)
    first = list_with(source, api.origin)
    assert [item.uri for item in first] == [
        f"http://example.org/{number}.jpg" for number in (10, 11, 20, 21, 30, 31)
    ]
    assert len(api.asked) == 3
    api.reply = lambda params: (500, {}, b"")
    assert listing_digest(list_with(source, api.origin)) == listing_digest(first)
    assert len(api.asked) == 3


def test_an_interrupted_listing_goes_on_at_the_page_that_failed(api, source, list_with):
    whole, broken = pages(4), {"3"}
    api.reply = lambda params: (429, {}, b"slow down") if params["page"] in broken else whole(params)
    with pytest.raises(ServiceError, match=r"source ov: 127\.0\.0\.1: HTTP status 429.*run again later"):
        list_with(source, api.origin)
    assert [params["page"] for params in api.asked] == ["1", "2", "3", "3"]
    broken.clear()
    api.asked.clear()
    assert len(list_with(source, api.origin)) == 8
    assert [params["page"] for params in api.asked] == ["3", "4"]


CHILD = """
import json, sys
from pathlib import Path
from dataset_tools.crawl.listing import list_items
from dataset_tools.crawl.settings import CrawlSettings

list_items(CrawlSettings.model_validate(json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("deadly_page", ["1", "3", "5"])
def test_a_listing_killed_at_any_page_gives_the_undisturbed_items(
    api, source, list_with, tmp_path, deadly_page
):
    whole = pages(5)
    values = {"sources": [source], "allow_origins": [api.origin]}
    command = [sys.executable, "-c", CHILD, json.dumps(values), str(tmp_path / "listings")]
    started = threading.Event()
    child: list[subprocess.Popen[bytes]] = []

    def deadly(params: dict[str, str]) -> Any:
        started.wait()
        if params["page"] == deadly_page:
            os.kill(child[0].pid, signal.SIGKILL)
        return whole(params)

    api.reply = deadly
    child.append(subprocess.Popen(command))
    started.set()
    assert child[0].wait() == -signal.SIGKILL
    api.reply = whole
    api.asked.clear()
    items = list_with(source, api.origin)
    assert [params["page"] for params in api.asked] == [str(n) for n in range(int(deadly_page), 6)]
    undisturbed = list_with({**source, "refresh": "b"}, api.origin)
    assert listing_digest(items) == listing_digest(undisturbed)


def test_a_query_added_later_asks_for_its_own_pages_only(api, source, list_with):
    api.reply = pages(2)
    list_with(source, api.origin)
    api.asked.clear()
    items = list_with({**source, "queries": ["face mask", "respirator"]}, api.origin)
    assert {params["q"] for params in api.asked} == {"respirator"}
    # Both searches find the same pictures: each is listed once, under the first.
    assert [dict(item.evidence)["query"] for item in items] == ["face mask"] * 4


def test_refresh_asks_again(api, source, list_with):
    api.reply = pages(1)
    list_with(source, api.origin)
    list_with({**source, "refresh": "2026-11"}, api.origin)
    assert len(api.asked) == 2


def test_an_endless_search_ends_at_the_page_cap(api, source, list_with):
    api.reply = lambda params: {"results": [entry(int(params["page"]))]}
    assert len(list_with({**source, "max_pages": 7}, api.origin)) == 7
    assert len(api.asked) == 7


def test_a_search_that_repeats_itself_ends_when_a_page_adds_nothing(api, source, list_with):
    api.reply = lambda params: {"results": [entry(min(int(params["page"]), 3))]}
    assert len(list_with(source, api.origin)) == 3
    assert len(api.asked) == 4


def test_the_item_cap_stops_asking(api, source, list_with):
    api.reply = pages(100)
    assert len(list_with({**source, "max_items": 3}, api.origin)) == 3
    assert len(api.asked) == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {}, b'{"results": [{"id": "x"'), "cut or no JSON"),
        ((200, {}, b"<!doctype html><p>are you a robot?"), "captcha"),
        ((200, {}, b"[" * 100_000), "cut or no JSON"),
        ((503, {}, b""), "HTTP status 503"),
        ((429, {"Retry-After": "86400"}, b"quota"), "quota used up"),
        ((403, {}, b'{"detail": "not you"}'), "key is missing, wrong or not allowed"),
        ((401, {}, b""), "key is missing"),
    ],
)
def test_a_service_that_cannot_answer_is_a_reason_to_run_again(api, source, list_with, answer, said):
    api.reply = lambda params: answer
    with pytest.raises(ServiceError) as caught:
        list_with(source, api.origin)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(api.asked) <= 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"items": []}, "no list 'results'"),
        ({"results": {"0": {}}}, "no list 'results'"),
        ([1, 2], "a JSON list"),
        ((400, {}, b'{"detail": "bad page"}'), "HTTP status 400"),
        ((302, {"Location": "/elsewhere"}, b""), "HTTP status 302"),
    ],
)
def test_an_api_that_has_changed_is_an_error_and_nothing_is_kept(api, source, list_with, answer, said):
    api.reply = lambda params: answer
    with pytest.raises(DataError) as caught:
        list_with(source, api.origin)
    assert said in str(caught.value)
    api.reply = pages(1)
    assert len(list_with(source, api.origin)) == 2


def test_a_short_cut_and_a_short_retry_after_are_waited_out(api, source, list_with):
    answers = [(200, {}, b"{cut"), pages(1)({"page": "1"})]
    api.reply = lambda params: answers.pop(0)
    assert len(list_with(source, api.origin)) == 2
    answers = [(429, {"Retry-After": "0"}, b""), pages(1)({"page": "1"})]
    api.reply = lambda params: answers.pop(0)
    assert len(list_with({**source, "refresh": "again"}, api.origin)) == 2


def test_a_faulty_entry_is_an_item_with_a_reason_and_the_rest_stays(api, source, list_with, reason):
    rows = [
        entry(1),
        entry(2, license=None),
        entry(3, url=7),
        entry(4, url="ftp://example.org/4.jpg"),
        {"url": "http://example.org/5.jpg"},
        {"url": "http://example.org/6.jpg"},
        "text",
        entry(8, url="http://example.org/1.jpg"),
        entry(9, title="\ud800", creator=None),
    ]
    api.reply = lambda params: {"results": rows, "page_count": 1}
    items = list_with(source, api.origin)
    found = ["", "licence", "unsafe_url", "unsafe_url", "schema", "schema", "schema", "duplicate", ""]
    assert [reason(item) for item in items] == found
    assert len({item.key for item in items}) == len(rows)
    assert dict(items[8].evidence)["title"] == "?"
    assert listing_digest(items) == listing_digest(list_with(source, api.origin))


def test_private_addresses_are_refused_for_an_api_too(api, source, list_with):
    with pytest.raises(DataError, match="not an address of the public internet"):
        list_with(source)
    assert api.asked == []


def test_authors_can_keep_together(api, source, list_with):
    api.reply = pages(1)
    items = list_with({**source, "group_by": "author"}, api.origin)
    assert {item.group for item in items} == {"ov/Anna"}


def test_queries_are_the_list_and_the_product_of_subjects_and_terms():
    source = {
        "type": "openverse",
        "name": "ov",
        "queries": ["N95 respirator", " "],
        "combine": [
            {"subjects": ["nurse", "Ada Lovelace"], "terms": ["face mask", "KN95"]},
            {"subjects": ["护士"], "terms": ["口罩"]},
            {"subjects": ["nurse"], "terms": ["face mask"]},
        ],
    }
    (parsed,) = parse_settings(CrawlSettings, {"sources": [source]}, "t").sources
    assert parsed.all_queries() == [
        "N95 respirator",
        "nurse face mask",
        "nurse KN95",
        "Ada Lovelace face mask",
        "Ada Lovelace KN95",
        "护士 口罩",
    ]
    for bad in ({"queries": [" "]}, {}, {"combine": [{"subjects": ["a"], "terms": []}]}):
        with pytest.raises(ConfigError):
            parse_settings(CrawlSettings, {"sources": [{"type": "openverse", "name": "ov", **bad}]}, "t")


# the memory


def test_a_half_written_line_is_cut_off_by_the_next_writer(tmp_path):
    with Memory(tmp_path, "x", {}) as memory:
        memory.put({"page": "1"}, [1])
        memory.put({"page": "2"}, [2])
    torn = memory.path.read_bytes()[:-5]
    memory.path.write_bytes(torn)
    with Memory(tmp_path, "x", {}) as memory:
        assert (memory.get({"page": "1"}), memory.get({"page": "2"})) == ([1], None)
        memory.put({"page": "3"}, [3])
    lines = memory.path.read_text().splitlines()
    assert [json.loads(line)["answer"] for line in lines] == [[1], [3]]


def test_the_first_answer_counts_and_a_second_writer_is_refused(tmp_path):
    with Memory(tmp_path, "x", {}) as one, Memory(tmp_path, "x", {}) as two:
        one.put({"page": "1"}, "first")
        with pytest.raises(WorkspaceBusy, match="another process"):
            two.put({"page": "1"}, "second")
    with two:
        two.put({"page": "1"}, "second")
        assert two.get({"page": "1"}) == "first"


def test_memories_of_other_services_are_apart(tmp_path):
    assert Memory(tmp_path, "x", {"endpoint": "a"}).path != Memory(tmp_path, "x", {"endpoint": "b"}).path


@pytest.mark.parametrize(
    ("code", "version", "expected"),
    [
        ("by", "2.0", "CC-BY-2.0"),
        ("by-nc-nd", "4.0", "CC-BY-NC-ND-4.0"),
        ("cc0", "1.0", "CC0-1.0"),
        ("pdm", "1.0", "CC-PDM-1.0"),
        ("by", "", "by"),
        ("nc-sampling+", "1.0", "nc-sampling+ 1.0"),
        ("", "4.0", ""),
    ],
)
def test_creative_commons_codes_become_spdx_ids(code, version, expected):
    assert cc_licence(code, version) == expected


def test_licence_addresses_become_spdx_ids_or_stand_for_themselves():
    assert licence_of_url("http://creativecommons.org/licenses/by/3.0/de/") == "CC-BY-3.0"
    assert licence_of_url("https://creativecommons.org/publicdomain/zero/1.0/") == "CC0-1.0"
    assert licence_of_url("https://creativecommons.org/publicdomain/mark/1.0/deed.de") == "CC-PDM-1.0"
    assert licence_of_url("https://example.org/terms") == "https://example.org/terms"


def test_a_list_of_local_files_needs_no_http_client():
    code = "import sys, dataset_tools.crawl.listing; print('httpx' in sys.modules, 'datasets' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["False", "False"]
