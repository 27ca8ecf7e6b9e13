"""Each API on answers of its recorded shape, written by hand: what is asked, what is read, how it ends."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from dataset_tools.core.errors import ConfigError, DataError, ServiceError
from dataset_tools.core.settings import parse_settings
from dataset_tools.crawl.items import Listing
from dataset_tools.crawl.listing import listing_digest
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.crawl.sources.wikimedia import plain_text

SECRET = "planted-key-4711"

COMMONS_FILE = {
    "pageid": 1,
    "ns": 6,
    "title": "File:Nurse with mask.jpg",
    "index": 1,
    "imagerepository": "local",
    "imageinfo": [
        {
            "thumburl": "http://example.org/thumb/Nurse.jpg",
            "thumbwidth": 1280,
            "url": "http://example.org/Nurse.jpg",
            "descriptionurl": "https://commons.wikimedia.org/wiki/File:Nurse_with_mask.jpg",
            "extmetadata": {
                "LicenseShortName": {"value": "CC BY-SA 4.0", "source": "commons-desc-page"},
                "LicenseUrl": {"value": "https://creativecommons.org/licenses/by-sa/4.0"},
                "Artist": {"value": '<a href="//x" title="User:A">Anna &amp;\n <b>Ben</b></a>'},
            },
        }
    ],
}
FLICKR_PHOTO = {
    "id": "5001",
    "owner": "77@N00",
    "secret": "ab",
    "server": "65535",
    "farm": 66,
    "title": "On the train",
    "ispublic": 1,
    "license": "4",
    "ownername": "Anna",
    "url_l": "http://example.org/5001_b.jpg",
    "height_l": 683,
    "width_l": "1024",
}
GOOGLE_ITEM = {
    "kind": "customsearch#result",
    "title": "A mask",
    "link": "http://example.org/mask.jpg",
    "displayLink": "example.org",
    "mime": "image/jpeg",
    "image": {"contextLink": "http://example.org/article", "height": 800, "width": 600},
}


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name in ("FLICKR_API_KEY", "GOOGLE_API_KEY", "OPENVERSE_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("GOOGLE_CSE_ID", "engine-1")


@pytest.fixture
def source(api):
    def make(kind: str, **more: Any) -> dict[str, Any]:
        return {"type": kind, "name": "s", "queries": ["face mask"], "endpoint": api.endpoint, **more}

    return make


# openverse


def test_openverse_sends_its_token_only_when_there_is_one(api, source, list_with, monkeypatch):
    api.reply = lambda params: {"result_count": 0, "page_count": 0, "results": []}
    assert list_with(source("openverse"), api.origin) == []
    monkeypatch.delenv("OPENVERSE_TOKEN")
    list_with(source("openverse", refresh="b"), api.origin)
    assert [headers.get("Authorization") for headers in api.headers] == [f"Bearer {SECRET}", None]
    assert api.asked[0] == {
        "q": "face mask",
        "page": "1",
        "page_size": "20",
        "license_type": "modification",
    }


# wikimedia


def test_wikimedia_reads_licence_and_artist_and_follows_continue(api, source, list_with, reason):
    other = {
        **COMMONS_FILE,
        "title": "File:Other.png",
        "imageinfo": [{"url": "http://example.org/Other.png"}],
    }
    changed = {**COMMONS_FILE, "title": "File:Odd.jpg", "imageinfo": "none"}
    answers = [
        {
            "continue": {"gsroffset": 50, "continue": "gsroffset||"},
            "batchcomplete": True,
            "query": {"pages": [COMMONS_FILE, other]},
        },
        {"batchcomplete": True, "query": {"pages": [changed]}},
    ]
    api.reply = lambda params: answers[len(api.asked) - 1]
    items = list_with(source("wikimedia"), api.origin)
    assert [reason(item) for item in items] == ["", "licence", "schema"]
    assert (items[0].uri, items[0].licence, items[0].author) == (
        "http://example.org/thumb/Nurse.jpg",
        "CC BY-SA 4.0",
        "Anna & Ben",
    )
    assert dict(items[0].evidence) == {
        "api": api.endpoint,
        "query": "face mask",
        "title": "Nurse with mask.jpg",
        "licence_url": "https://creativecommons.org/licenses/by-sa/4.0",
        "page_url": "https://commons.wikimedia.org/wiki/File:Nurse_with_mask.jpg",
    }
    assert api.asked[0]["gsrsearch"] == "filetype:bitmap face mask"
    assert api.asked[0]["iiurlwidth"] == "1280"
    assert api.asked[1] == {**api.asked[0], "gsroffset": "50", "continue": "gsroffset||"}


def test_wikimedia_waits_for_data_that_comes_in_a_later_part(api, source, list_with, reason):
    bare = {key: value for key, value in COMMONS_FILE.items() if key != "imageinfo"}
    answers = [
        {"continue": {"iicontinue": "x|1", "continue": "||"}, "query": {"pages": [bare]}},
        {"batchcomplete": True, "query": {"pages": [COMMONS_FILE]}},
    ]
    api.reply = lambda params: answers[len(api.asked) - 1]
    assert [reason(item) for item in list_with(source("wikimedia"), api.origin)] == [""]
    assert api.asked[1]["iicontinue"] == "x|1"


def test_wikimedia_empty_page_error_and_changed_answer(api, source, list_with):
    api.reply = lambda params: {"batchcomplete": True}
    assert list_with(source("wikimedia"), api.origin) == []
    api.reply = lambda params: {"error": {"code": "maxlag", "info": "Waiting for a database"}}
    with pytest.raises(ServiceError, match="source s: Commons refuses: maxlag"):
        list_with(source("wikimedia", refresh="b"), api.origin)
    for answer in ({}, {"batchcomplete": True, "query": {"pages": {"1": {}}}}):
        api.reply = lambda params, answer=answer: answer
        with pytest.raises(DataError, match="source s: the answer has"):
            list_with(source("wikimedia", refresh="c"), api.origin)


def test_wikimedia_does_not_follow_a_cursor_in_a_circle(api, source, list_with):
    api.reply = lambda params: {
        "batchcomplete": True,
        "continue": {"gsroffset": 50, "continue": "gsroffset||"},
        "query": {"pages": [{**COMMONS_FILE, "title": f"File:{len(api.asked)}.jpg"}]},
    }
    assert len(list_with(source("wikimedia"), api.origin)) == 2


def test_markup_of_artists_becomes_plain_words_whatever_it_is():
    assert plain_text("<span>A&#x42;</span> <br>c") == "AB c"
    assert plain_text("<![<![<!") == ""
    assert len(plain_text("<a " * 1_000_000)) <= 4000


# flickr


def flickr(page: int, pages: int, *photos: Any) -> dict[str, Any]:
    body = {"page": page, "pages": pages, "perpage": 500, "total": 9, "photo": list(photos)}
    return {"photos": body, "stat": "ok"}


def test_flickr_reads_licence_and_owner_and_ends_at_the_last_page(api, source, list_with, reason):
    small = {**FLICKR_PHOTO, "id": "2", "url_z": "http://example.org/2_z.jpg", "license": "0"}
    del small["url_l"]
    bare = {"id": "3", "license": "4"}
    answers = [flickr(1, 2, FLICKR_PHOTO, small), flickr(2, 2, bare)]
    api.reply = lambda params: answers[int(params["page"]) - 1]
    items = list_with(source("flickr"), api.origin)
    assert [reason(item) for item in items] == ["", "licence", "schema"]
    assert (items[0].licence, items[0].author) == ("CC-BY-2.0", "Anna")
    assert dict(items[0].evidence)["page_url"] == "https://www.flickr.com/photos/77@N00/5001"
    assert len(api.asked) == 2
    assert api.asked[0]["license"] == "1,2,4,5,7,8,9,10,11,12,14,15"
    assert api.asked[0]["api_key"] == SECRET
    with pytest.raises(ConfigError, match="unknown All Rights Reserved"):
        list_with(source("flickr", licences=["All Rights Reserved"]), api.origin)


def test_flickr_empty_page_failure_and_changed_answer(api, source, list_with):
    api.reply = lambda params: flickr(1, 0)
    assert list_with(source("flickr"), api.origin) == []
    api.reply = lambda params: {"stat": "fail", "code": 100, "message": f"Invalid key {params['api_key']}"}
    with pytest.raises(ServiceError, match="Flickr refuses: 100, Invalid key …"):
        list_with(source("flickr", refresh="b"), api.origin)
    api.reply = lambda params: {"stat": "ok", "photos": {"photos": []}}
    with pytest.raises(DataError, match=r"no list 'photos\.photo'"):
        list_with(source("flickr", refresh="c"), api.origin)


# google_pse


def test_google_records_the_rights_filter_and_follows_next_page(api, source, list_with, reason):
    def reply(params: dict[str, str]) -> dict[str, Any]:
        start = int(params["start"])
        item = {**GOOGLE_ITEM, "link": f"http://example.org/{start}.jpg"}
        following = {"nextPage": [{"startIndex": start + 10}]}
        return {"queries": {"request": [{}], **following}, "items": [item, {"title": "no link"}]}

    api.reply = reply
    items = list_with(source("google_pse", rights=["cc_attribute", "cc_sharealike"]), api.origin)
    # The same faulty entry again and again is one; the API's last page starts at 91.
    assert [reason(item) for item in items] == ["", "schema"] + [""] * 9
    assert [params["start"] for params in api.asked] == [str(start) for start in range(1, 100, 10)]
    assert items[0].licence == "Google rights filter: cc_attribute or cc_sharealike"
    assert items[0].author == ""
    assert dict(items[0].evidence)["page_url"] == "http://example.org/article"
    assert api.asked[0]["rights"] == "cc_attribute|cc_sharealike"
    assert api.headers[0]["X-Goog-Api-Key"] == SECRET


def test_google_empty_page_quota_and_changed_answer(api, source, list_with):
    api.reply = lambda params: {"queries": {"request": [{}]}, "searchInformation": {"totalResults": "0"}}
    assert list_with(source("google_pse"), api.origin) == []
    quota = {"error": {"code": 429, "message": "Quota exceeded for 'Queries per day'", "status": "X"}}
    api.reply = lambda params: (429, {}, json.dumps(quota).encode())
    with pytest.raises(ServiceError, match=r"Quota exceeded.*quota used up"):
        list_with(source("google_pse", refresh="b"), api.origin)
    for answer in ({"items": [GOOGLE_ITEM]}, {"queries": {}, "items": {}}):
        api.reply = lambda params, answer=answer: answer
        with pytest.raises(DataError, match="source s: the answer has no"):
            list_with(source("google_pse", refresh="c"), api.origin)


# keys


@pytest.mark.parametrize(
    ("kind", "variable"),
    [("flickr", "FLICKR_API_KEY"), ("google_pse", "GOOGLE_API_KEY"), ("google_pse", "GOOGLE_CSE_ID")],
)
def test_a_missing_key_is_named_and_nothing_is_asked(api, source, list_with, monkeypatch, kind, variable):
    monkeypatch.delenv(variable)
    with pytest.raises(ConfigError, match=f"{variable} is not set"):
        list_with(source(kind), api.origin)
    assert api.asked == []


@pytest.mark.parametrize("kind", ["openverse", "flickr", "google_pse"])
def test_keys_never_come_to_rest(api, source, list_with, tmp_path: Path, caplog, kind):
    caplog.set_level("DEBUG")
    good = {
        "openverse": {"results": [{"id": "1", "url": "http://example.org/1.jpg", "license": "cc0"}]},
        "flickr": flickr(1, 2, FLICKR_PHOTO),
        "google_pse": {"queries": {"nextPage": [{"startIndex": 11}]}, "items": [GOOGLE_ITEM]},
    }[kind]
    echo = b"you sent " + SECRET.encode()
    api.reply = lambda params: good if len(api.asked) == 1 else (403, {}, echo)
    with pytest.raises(ServiceError) as caught:
        list_with(source(kind), api.origin)
    said = [str(caught.value), repr(caught.value.__cause__), caplog.text]
    kept = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not any(SECRET in text for text in said + kept)


# anything at all


class OneAnswer:
    """A network that gives one answer to everything."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def ask(self, url: str, params: Any, headers: Any) -> Any:
        return self.answer

    def page(self, url: str) -> Any:
        raise AssertionError("an API source reads no pages")


def mutated(value: Any, dice: random.Random) -> Any:
    """A copy with some parts replaced or left out."""
    if dice.random() < 0.12:
        return dice.choice(
            [None, 0, -1, 2**70, 1.5, True, "", "\ud800", "http://[", "x" * 9000, [], {}, [[]]]
        )
    if isinstance(value, dict):
        return {key: mutated(item, dice) for key, item in value.items() if dice.random() > 0.05}
    if isinstance(value, list):
        return [mutated(item, dice) for item in value]
    return value


@pytest.mark.parametrize("kind", ["openverse", "wikimedia", "flickr", "google_pse"])
def test_a_mutated_answer_gives_items_or_one_line_and_never_a_traceback(source, tmp_path, kind):
    openverse = {"id": "1", "url": "http://example.org/1.jpg", "license": "by", "license_version": "4.0"}
    good = {
        "openverse": {"page_count": 2, "results": [openverse, {**openverse, "id": "2"}]},
        "wikimedia": {
            "batchcomplete": True,
            "continue": {"gsroffset": 50},
            "query": {"pages": [COMMONS_FILE, {**COMMONS_FILE, "title": "File:2"}]},
        },
        "flickr": flickr(1, 2, FLICKR_PHOTO, {**FLICKR_PHOTO, "id": "2"}),
        "google_pse": {"queries": {"nextPage": [{"startIndex": 11}]}, "items": [GOOGLE_ITEM, GOOGLE_ITEM]},
    }[kind]
    (parsed,) = parse_settings(CrawlSettings, {"sources": [source(kind)]}, "t").sources
    dice = random.Random(11)
    kept = 0
    for number in range(250):
        answer = mutated(good, dice)
        if not isinstance(answer, dict):
            continue
        listing = Listing(OneAnswer(answer), tmp_path / str(number))
        try:
            items = list(parsed.items(listing))
        except (DataError, ServiceError) as error:
            assert "\n" not in str(error)
            continue
        for item in items:
            item.key.encode()
            assert (item.fault is None) == bool(item.uri and item.licence)
        kept += len(items)
        assert listing_digest(parsed.items(listing)) == listing_digest(items)
    assert kept > 100
