"""Pictures from web pages on a real server: links, hosts, rights, loops, and going on after a stop."""

from __future__ import annotations

from typing import Any

import pytest

from dataset_tools.core.errors import ServiceError
from dataset_tools.crawl.listing import listing_digest


@pytest.fixture
def page(site):
    """Serve an HTML page; gives its URL."""

    def serve(path: str, body: str, **headers: str) -> str:
        return site.add(path, body.encode(), Content_Type="text/html; charset=utf-8", **headers)

    return serve


@pytest.fixture
def pages(site, list_with):
    """List pictures from start pages of the server."""

    def run(*start: str, **more: Any):
        values = {"type": "web_pages", "name": "w", "start": start, "licence": "CC0-1.0", **more}
        return list_with(values, site.origin)

    return run


def names(items) -> list[str]:
    return [item.uri.rpartition("/")[2] for item in items if item.fault is None]


def test_pictures_are_found_along_links_up_to_the_depth(site, page, pages):
    page("/a", "<img src=1.jpg alt='A nurse'><a href=b>b</a>")
    page("/b", "<img src=1.jpg><img src=2.jpg><a href=/c>c</a>")
    page("/c", "<img src=3.jpg>")
    assert names(pages(site.url("/a"), depth=0)) == ["1.jpg"]
    assert names(pages(site.url("/a"))) == ["1.jpg", "2.jpg"]
    items = pages(site.url("/a"), depth=5)
    assert names(items) == ["1.jpg", "2.jpg", "3.jpg"]
    assert dict(items[0].evidence) == {"page_url": site.url("/a"), "title": "A nurse"}
    assert (items[0].key, items[0].licence) == (site.url("/1.jpg"), "CC0-1.0")
    assert {path: count for path, count in site.seen.items() if len(path) == 2} == {"/a": 1, "/b": 1, "/c": 1}


def test_loops_and_traps_end(site, page, pages):
    page("/a", "<img src=1.jpg><a href=a>me</a><a href='/b#x'><a href=/b>")
    page("/b", "<a href=/a><a href=/r>")
    site.add("/r", status=302, Location="/a")
    assert names(pages(site.url("/a"), depth=50)) == ["1.jpg"]
    assert (site.seen["/a"], site.seen["/b"], site.seen["/r"]) == (2, 1, 1)  # once more by the redirect

    def trap(handler) -> None:
        number = int(handler.path.rpartition("=")[2])
        body = f"<img src={number}.jpg><a href='/trap?n={number + 1}'>".encode()
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n")
        handler.wfile.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    site.routes |= {f"/trap?n={number}": trap for number in range(100)}
    items = pages(site.url("/trap?n=0"), depth=50, max_pages=6)
    assert names(items) == [f"{number}.jpg" for number in range(6)]
    assert len(pages(site.url("/trap?n=0"), depth=50, max_items=3)) == 3


def test_only_pages_of_allowed_hosts_are_read_but_pictures_may_lie_elsewhere(
    site, page, pages, list_with, reason
):
    page("/a", "<img src='http://cdn.example.org/1.jpg'><a href='http://elsewhere.example.org/'>")
    assert names(pages(site.url("/a"))) == ["1.jpg"]
    source = {"type": "web_pages", "name": "w", "start": [site.url("/a")], "licence": "CC0-1.0"}
    (item,) = list_with({**source, "allowed_hosts": ["example.org"], "refresh": "b"}, site.origin)
    assert reason(item) == "unsafe_url"
    assert "not among allowed_hosts" in item.fault.detail


def test_robots_and_opt_outs_are_obeyed_on_the_way(site, page, pages, reason):
    site.add("/robots.txt", b"User-agent: *\nDisallow: /private\n")
    page("/a", "<a href=/private/b><a href=/header><a href=/meta><a href=/fine><a href=/missing>")
    page("/private/b", "<img src=secret.jpg>")
    page("/header", "<img src=2.jpg>", X_Robots_Tag="noai")
    page("/meta", "<meta name=robots content=noimageai><img src=3.jpg>")
    page("/fine", "<img src=4.jpg>")
    items = pages(site.url("/a"))
    assert [(item.key.removeprefix("w#" + site.origin), reason(item)) for item in items[:4]] == [
        ("/private/b", "robots"),
        ("/header", "opt_out"),
        ("/meta", "opt_out"),
        (site.url("/4.jpg"), ""),
    ]
    assert reason(items[4]) == "http_4xx"
    assert site.seen["/private/b"] == 0


def test_the_licence_on_the_page_counts_before_the_stated_one(site, page, pages, reason):
    cc = "https://creativecommons.org/licenses/by-sa/4.0/"
    page("/one", f"<meta name=author content=Anna><a rel=license href='{cc}'>cc</a><img src=1.jpg>")
    page("/two", f"<a rel=license href='{cc}'></a><a rel=license href=/terms></a><img src=2.jpg>")
    page("/none", "<img src=3.jpg>")
    start = [site.url(path) for path in ("/one", "/two", "/none")]
    items = pages(*start)
    assert [item.licence for item in items] == ["CC-BY-SA-4.0", "CC0-1.0", "CC0-1.0"]
    assert items[0].author == "Anna"
    assert dict(items[0].evidence)["licence_url"] == cc
    items = pages(*start, licence="")
    assert [reason(item) for item in items] == ["", "licence", "licence"]


def test_a_start_address_that_is_a_picture_is_one(site, pages):
    assert names(pages(site.url("/good.jpg"))) == ["good.jpg"]


def test_a_dead_host_stops_the_listing_and_it_goes_on_there(site, page, pages):
    page("/a", "<img src=1.jpg><a href=/b>")
    site.routes["/b"] = lambda handler: None  # hangs up without a word
    with pytest.raises(ServiceError, match=r"source w.*run again later"):
        pages(site.url("/a"))
    page("/b", "<img src=2.jpg>")
    assert names(pages(site.url("/a"))) == ["1.jpg", "2.jpg"]
    assert site.seen["/a"] == 1


def test_a_finished_listing_is_the_same_again_and_asks_nothing(site, page, pages):
    page("/a", "<img src=1.jpg><a href=/gone>")
    first = listing_digest(pages(site.url("/a")))
    site.seen.clear()
    assert listing_digest(pages(site.url("/a"))) == first
    assert not site.seen
    page("/a", "<img src=2.jpg>")
    assert names(pages(site.url("/a"), refresh="again")) == ["2.jpg"]


def test_odd_pages_are_no_trouble(site, page, pages, reason):
    page(
        "/a",
        "<a href=/empty><a href=/pdf><a href=/latin><a href=/odd><a href='http://[x'><img src='http://u:p@h/1.jpg'>",
    )
    page("/empty", "")
    site.add("/pdf", b"%PDF-1.7", Content_Type="application/pdf")
    site.add("/latin", "<img src=fa\xe7ade.jpg>".encode("latin-1"), Content_Type="text/html; charset=latin-1")
    site.add("/odd", b"<img src=1.jpg>", Content_Type="text/html; charset=klingon")
    items = pages(site.url("/a"))
    assert [reason(item) for item in items] == ["unsafe_url", "", ""]
    assert names(items) == ["fa%C3%A7ade.jpg", "1.jpg"]
    assert "u:p" not in (items[0].fault.detail)


def test_a_whole_crawl_from_a_page(site, page, make_settings, crawl, monkeypatch, tmp_path):
    monkeypatch.setenv("MASKSET_CACHE", str(tmp_path / "cache"))
    page("/a", "<img src=/good.jpg alt=face><img src=/missing.jpg>")
    source = {"type": "web_pages", "name": "w", "start": [site.url("/a")], "licence": "CC0-1.0"}
    crawled = crawl(make_settings(source))
    assert crawled.reasons == {site.url("/missing.jpg"): "http_4xx"}
    (sample,) = crawled.samples.values()
    facts = dict(sample.provenance.evidence)
    assert (facts["page_url"], facts["title"], facts["status"]) == (site.url("/a"), "face", "200")
    assert list((tmp_path / "cache" / "listings").iterdir())
