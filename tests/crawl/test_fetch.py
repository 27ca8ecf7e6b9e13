"""Behaviour on the wire, against a real server on this machine."""

from __future__ import annotations

import asyncio
import gzip
import time
from datetime import UTC, datetime

import pytest

from dataset_tools.core.errors import ConfigError, FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.fetch import Fetched, Fetcher, retry_after_s
from dataset_tools.crawl.hosts import CrawlMemory
from dataset_tools.crawl.settings import CrawlSettings


def fetch(settings: CrawlSettings, *urls: str, **more) -> list[Fetched | FetchFault]:
    """Download all URLs together."""

    async def run() -> list[Fetched | FetchFault]:
        async with Fetcher(settings, 0, CrawlMemory(), **more) as fetcher:
            work = [fetcher.fetch(url) for url in urls]
            return await asyncio.gather(*work, return_exceptions=True)

    return asyncio.run(run())


def fault_of(settings: CrawlSettings, url: str, **more) -> FetchFault:
    """The fault one URL must end in."""
    (result,) = fetch(settings, url, **more)
    assert isinstance(result, FetchFault), result
    return result


def test_a_picture_comes_whole_with_its_evidence(site, make_settings):
    (result,) = fetch(make_settings(), site.url("/good.jpg"))
    assert result.body == site.routes["/good.jpg"][2]
    assert dict(result.evidence) == {
        "content_type": "image/jpeg",
        "etag": '"v1"',
        "final_url": site.url("/good.jpg"),
        "robots": "none",
        "status": "200",
    }


def test_we_say_who_we_are_and_ask_for_plain_bytes(site, make_settings):
    fetch(make_settings(contact="me@example.org"), site.url("/good.jpg"))
    for headers in site.headers:
        assert headers["User-Agent"] == "maskset (dataset crawler; contact: me@example.org)"
        assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_final_answer_is_asked_for_once(site, make_settings, status):
    site.add("/final", status=status)
    fault = fault_of(make_settings(), site.url("/final"))
    assert (fault.reason, fault.retryable, fault.tries) == (Reason.HTTP_4XX, False, 1)
    assert site.seen["/final"] == 1


def test_a_503_is_tried_again_and_then_kept(site, make_settings):
    (result,) = fetch(make_settings(), site.url("/recovers"))
    assert isinstance(result, Fetched)
    assert site.seen["/recovers"] == 2


def test_a_lasting_503_is_given_up_after_three_tries_as_retryable(site, make_settings):
    fault = fault_of(make_settings(), site.url("/always-503"))
    assert (fault.reason, fault.retryable, fault.tries) == (Reason.HTTP_5XX, True, 3)
    assert site.seen["/always-503"] == 3


def test_retry_after_is_waited_for_before_the_next_try(site, make_settings):
    site.routes["/busy"][0] = (429, {"Retry-After": "1"}, b"")
    started = time.monotonic()
    (result,) = fetch(make_settings(), site.url("/busy"))
    assert isinstance(result, Fetched)
    assert time.monotonic() - started >= 1.0
    assert site.seen["/busy"] == 2


def test_a_day_of_retry_after_is_not_waited_for(site, make_settings):
    fault = fault_of(make_settings(fetch={"retry_after_cap_s": 5}), site.url("/busy-all-day"))
    assert (fault.reason, fault.retryable) == (Reason.HTTP_4XX, True)
    assert site.seen["/busy-all-day"] == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Wed, 01 Jan 2025 00:02:00 GMT", 120.0),
        ("Tue, 31 Dec 2024 00:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value, seconds):
    assert retry_after_s(value, datetime(2025, 1, 1, tzinfo=UTC)) == seconds


def test_a_silent_path_ends_as_transport(site, make_settings):
    fault = fault_of(make_settings(fetch={"idle_s": 0.2}), site.url("/silent"))
    assert (fault.reason, fault.retryable, fault.tries) == (Reason.TRANSPORT, True, 3)


def test_a_slow_drip_ends_at_the_deadline_although_it_is_never_idle(site, make_settings):
    started = time.monotonic()
    fault = fault_of(make_settings(fetch={"deadline_s": 0.7}), site.url("/drip"))
    assert (fault.reason, fault.retryable) == (Reason.TRANSPORT, True)
    assert "0.7 s" in str(fault)
    assert time.monotonic() - started < 5


def test_a_deaf_host_does_not_delay_other_hosts(site, make_settings, deaf_origin):
    settings = make_settings(allow_origins=[site.origin, deaf_origin], fetch={"deadline_s": 30, "idle_s": 30})

    async def run() -> int:
        async with Fetcher(settings, 0, CrawlMemory()) as fetcher:
            stuck = [asyncio.create_task(fetcher.fetch(f"{deaf_origin}/{n}.jpg")) for n in range(64)]
            good = await asyncio.gather(*(fetcher.fetch(site.url("/good.jpg")) for _ in range(8)))
            still_stuck = sum(not task.done() for task in stuck)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            assert len(good) == 8
            return still_stuck

    assert asyncio.run(run()) == 64


def test_a_deaf_host_costs_one_deadline_for_all_its_items(make_settings, deaf_origin):
    settings = make_settings(allow_origins=[deaf_origin], fetch={"idle_s": 0.3, "deadline_s": 0.5})
    started = time.monotonic()
    faults = fetch(settings, *(f"{deaf_origin}/{number}.jpg" for number in range(50)))
    assert {fault.reason for fault in faults} == {Reason.TRANSPORT}
    assert all(fault.retryable for fault in faults)
    assert time.monotonic() - started < 5


def test_a_host_that_falls_silent_is_given_up_for_the_rest_of_the_run(site, make_settings):
    paths = [f"/mute{number}" for number in range(40)]
    for path in paths:
        site.routes[path] = site.routes["/silent"]
    settings = make_settings(fetch={"idle_s": 0.2, "tries": 1, "give_up_after": 4})
    started = time.monotonic()
    faults = fetch(settings, *map(site.url, paths))
    assert {(fault.reason, fault.retryable) for fault in faults} == {(Reason.TRANSPORT, True)}
    assert sum(site.seen[path] for path in paths) <= 5
    assert "in a row" in str(faults[-1])
    assert time.monotonic() - started < 4


def test_an_answer_in_between_keeps_a_host_alive(site, make_settings):
    site.add("/robots.txt", b"")
    urls = [site.url("/silent"), site.url("/good.jpg")] * 3
    settings = make_settings(fetch={"idle_s": 0.2, "tries": 1, "give_up_after": 2, "per_host": 1})
    results = fetch(settings, *urls)
    assert [isinstance(result, Fetched) for result in results] == [False, True] * 3


def test_a_refused_connection_ends_as_transport(make_settings, deaf_origin):
    origin = "http://127.0.0.1:1"
    fault = fault_of(make_settings(allow_origins=[origin]), f"{origin}/x.jpg")
    assert (fault.reason, fault.retryable) == (Reason.TRANSPORT, True)


def test_an_endless_body_is_cut_at_the_cap(site, make_settings):
    fault = fault_of(make_settings(fetch={"max_bytes": 1_000_000}), site.url("/endless"))
    assert (fault.reason, fault.retryable) == (Reason.TOO_MANY_BYTES, False)
    assert site.seen["/endless"] == 1


def test_a_stated_length_over_the_cap_is_refused(site, make_settings):
    site.add("/big", b"x" * 1001)
    settings = make_settings(fetch={"max_bytes": 1000})
    assert fault_of(settings, site.url("/big")).reason is Reason.TOO_MANY_BYTES
    site.add("/full", b"x" * 1000)
    (result,) = fetch(settings, site.url("/full"))
    assert len(result.body) == 1000


def test_compression_we_did_not_ask_for_counts_inflated(site, make_settings):
    site.add("/packed", gzip.compress(b"\0" * 1_000_000), Content_Encoding="gzip")
    fault = fault_of(make_settings(fetch={"max_bytes": 10_000}), site.url("/packed"))
    assert fault.reason is Reason.TOO_MANY_BYTES
    site.add("/small", gzip.compress(b"hello"), Content_Encoding="gzip")
    (result,) = fetch(make_settings(), site.url("/small"))
    assert result.body == b"hello"
    site.add("/brotli", b"abc", Content_Encoding="br")
    assert fault_of(make_settings(), site.url("/brotli")).reason is Reason.TRANSPORT


def test_a_body_shorter_than_stated_is_never_taken(site, make_settings):
    fault = fault_of(make_settings(), site.url("/short"))
    assert (fault.reason, fault.tries) == (Reason.TRANSPORT, 3)
    assert site.seen["/short"] == 3


def test_a_redirect_is_followed_and_recorded(site, make_settings):
    (result,) = fetch(make_settings(), site.url("/moved"))
    assert dict(result.evidence)["final_url"] == site.url("/good.jpg")


def test_a_redirect_loop_costs_six_requests(site, make_settings):
    assert fault_of(make_settings(), site.url("/loop")).reason is Reason.REDIRECT_LIMIT
    assert site.seen["/loop"] == 6


@pytest.mark.parametrize(
    "location",
    [
        "{second}/secret.png",
        "http://localhost:{port}/secret.png",
        "http://0x7f.1:{port}/secret.png",
        "http://2130706433:{port}/secret.png",
        "http://[::ffff:127.0.0.1]:{port}/secret.png",
        "http://[::1]:{port}/secret.png",
        "file:///etc/hostname",
        "ftp://example.org/x.png",
        "http://user:hunter2@127.0.0.1:{port}/secret.png",
    ],
)
def test_a_redirect_to_a_place_that_is_not_allowed_is_refused(site, second_site, make_settings, location):
    port = second_site.origin.rpartition(":")[2]
    target = location.format(second=second_site.origin, port=port)
    site.add("/elsewhere", status=302, Location=target)
    fault = fault_of(make_settings(), site.url("/elsewhere"))
    assert fault.reason is Reason.UNSAFE_URL
    assert "hunter2" not in str(fault)
    assert not second_site.seen


def test_a_name_server_that_changes_its_mind_is_never_followed(second_site, make_settings):
    port = second_site.origin.rpartition(":")[2]
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["192.0.2.1"] if len(asked) % 2 == 0 else ["127.0.0.1"]

    settings = make_settings(allow_origins=[])
    faults = fetch(
        settings, *(f"http://rebind{n}.example:{port}/secret.png" for n in range(20)), resolve=resolve
    )
    assert {fault.reason for fault in faults} == {Reason.UNSAFE_URL}
    assert not second_site.seen


def test_one_private_address_among_public_ones_refuses_the_host(make_settings):
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "10.0.0.1"]

    fault = fault_of(make_settings(), "http://mixed.example/x.png", resolve=resolve)
    assert fault.reason is Reason.UNSAFE_URL


def test_robots_txt_is_asked_once_and_obeyed(site, make_settings):
    site.add("/robots.txt", b"User-agent: *\nDisallow: /private/\n")
    site.add("/private/a.png", b"never")
    urls = [site.url("/private/a.png"), site.url("/good.jpg"), site.url("/private/b.png")]
    first, second, third = fetch(make_settings(), *urls)
    assert first.reason is third.reason is Reason.ROBOTS
    assert dict(second.evidence)["robots"] == "rules"
    assert site.seen["/robots.txt"] == 1
    assert not any(path.startswith("/private") for path in site.seen)


def test_a_redirect_into_a_forbidden_path_is_not_followed(site, make_settings):
    site.add("/robots.txt", b"User-agent: maskset\nDisallow: /good\n")
    assert fault_of(make_settings(), site.url("/moved")).reason is Reason.ROBOTS
    assert site.seen["/good.jpg"] == 0


def test_a_broken_robots_txt_forbids_everything_for_now(site, make_settings):
    site.add("/robots.txt", status=500)
    fault = fault_of(make_settings(), site.url("/good.jpg"))
    assert (fault.reason, fault.retryable) == (Reason.ROBOTS, True)
    assert site.seen["/good.jpg"] == 0


@pytest.mark.parametrize(("status", "is_allowed"), [(204, True), (403, True), (404, True), (429, False)])
def test_a_robots_txt_that_is_not_there_allows_but_one_refused_for_now_forbids(
    site, make_settings, status, is_allowed
):
    site.add("/robots.txt", status=status)
    (result,) = fetch(make_settings(), site.url("/good.jpg"))
    assert isinstance(result, Fetched) is is_allowed
    if not is_allowed:
        assert (result.reason, result.retryable) == (Reason.ROBOTS, True)


def test_robots_txt_can_be_switched_off_and_the_record_says_so(site, make_settings):
    site.add("/robots.txt", b"User-agent: *\nDisallow: /\n")
    (result,) = fetch(make_settings(respect_robots=False), site.url("/good.jpg"))
    assert dict(result.evidence)["robots"] == "not asked"
    assert site.seen["/robots.txt"] == 0


def test_an_opt_out_header_is_obeyed_unless_switched_off(site, make_settings):
    url = site.url("/no-ai.png")
    assert fault_of(make_settings(), url).reason is Reason.OPT_OUT
    (result,) = fetch(make_settings(respect_opt_out=False), url)
    assert dict(result.evidence)["x_robots_tag"] == "noai, max-snippet: 5"


def test_requests_to_one_host_start_with_pauses(site, make_settings):
    urls = [site.add(f"/{number}.png", b"x") for number in range(6)]
    started = time.monotonic()
    fetch(make_settings(fetch={"host_pause_s": 0.1}), *urls)
    # Seven requests with robots.txt: six pauses between their starts.
    assert time.monotonic() - started >= 0.6


def test_one_host_sees_two_requests_at_once_and_never_more(site, make_settings):
    inside: list[int] = []
    peak: list[int] = []

    def held(handler) -> None:
        with site.lock:
            inside.append(1)
            peak.append(len(inside))
        site.closing.wait(0.05)
        with site.lock:
            inside.pop()
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")

    for number in range(8):
        site.routes[f"/held{number}"] = held
    results = fetch(make_settings(), *(site.url(f"/held{number}") for number in range(8)))
    assert [result.body for result in results] == [b"x"] * 8
    assert max(peak) == 2


def test_cookies_are_not_sent_back(site, make_settings):
    url = site.add("/cookie.png", b"x", Set_Cookie="a=b; Path=/")
    fetch(make_settings(), url)
    fetch(make_settings(fetch={"per_host": 1}), url, url)
    assert not any("Cookie" in headers for headers in site.headers)


def test_an_allowed_origin_that_is_no_url_is_a_config_error(make_settings):
    with pytest.raises(ConfigError, match="allow_origins"):
        fetch(make_settings(allow_origins=["http://127.0.0.1:99999"]), "http://example.org/a.png")


def test_a_proxy_in_the_environment_is_ignored(site, make_settings, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    (result,) = fetch(make_settings(), site.url("/good.jpg"))
    assert isinstance(result, Fetched)
