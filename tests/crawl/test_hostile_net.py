"""Places a crawler must not reach, and sites whose robots.txt misbehaves: counted at the listeners."""

from __future__ import annotations

import asyncio
import gzip
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl import transport
from dataset_tools.crawl.addresses import is_public
from dataset_tools.crawl.connections import Connection
from dataset_tools.crawl.fetch import Fetched, Fetcher
from dataset_tools.crawl.hosts import CrawlMemory
from dataset_tools.crawl.resolving import Resolver, resolve_host
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.crawl.urls import WebUrl

# fmt: off
HOSTS = (
    "127.0.0.1", "127.0.0.2", "127.1", "127.0.1", "127.255.255.254", "0x7f.1", "0x7f.0.0.1", "0x7f000001",
    "0X7F000001", "2130706433", "017700000001", "0177.0.0.1", "0177.1", "localhost", "LOCALHOST", "0.0.0.0",
    "0", "0x0", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[2002:7f00:1::1]",
    "[2001:0:7f00:1::1]", "[fe80::1]", "[fec0::1]", "[fd00:ec2::254]", "[ff02::1]", "10.0.0.1",
    "172.16.0.1", "192.168.0.1", "0xc0a80001", "169.254.169.254", "2852039166", "0xa9fea9fe", "100.64.0.1",
    "192.0.0.8", "198.18.0.1", "224.0.0.1", "255.255.255.255", "１２７.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1",
    "user@127.0.0.1", "user:hunter2@127.0.0.1", "93.184.216.34@127.0.0.1",
)
# fmt: on
ODD_URLS = (
    "file:///etc/hostname",
    "ftp://127.0.0.1/x.png",
    "gopher://127.0.0.1:{port}/x",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "http://:{port}/x.png",
    "http://127.0.0.1:0/x.png",
    "http://127.0.0.1:99999/x.png",
    "http://[::1/x.png",
    "http://127.0.0.1:{port}/" + "a" * 9000,
)


class Canary:
    """Listens on every kind of loopback address at one port; who has come waits in the listeners' queues."""

    def __init__(self) -> None:
        self._listeners = [socket.create_server(("127.0.0.1", 0), backlog=500)]
        self.port = self._listeners[0].getsockname()[1]
        for address, family in (
            ("127.0.0.2", socket.AF_INET),
            ("127.255.255.254", socket.AF_INET),
            ("::1", socket.AF_INET6),
        ):
            with suppress(OSError):  # not every machine has it, and then nobody can come to it
                listener = socket.create_server((address, self.port), family=family, backlog=500)
                self._listeners.append(listener)

    def visits(self) -> int:
        """How many came since it was asked last."""
        count = 0
        for listener in self._listeners:
            listener.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()
                    count += 1
        return count

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    with closing(Canary()) as found:
        socket.create_connection(("127.0.0.1", found.port)).close()
        assert found.visits() == 1  # it does sing
        yield found


def fetch(
    settings: CrawlSettings, *urls: str, resolve: Resolver = resolve_host
) -> list[Fetched | FetchFault]:
    async def run() -> list[Fetched | FetchFault]:
        async with Fetcher(settings, 0, CrawlMemory(), resolve) as fetcher:
            return await asyncio.gather(*map(fetcher.fetch, urls), return_exceptions=True)

    results = asyncio.run(run())
    assert all(isinstance(result, (Fetched, FetchFault)) for result in results), results
    return results


def hostile(port: int) -> list[str]:
    return [f"http://{host}:{port}/x.png" for host in HOSTS] + [
        url.replace("{port}", str(port)) for url in ODD_URLS
    ]


def test_no_notation_of_a_private_address_is_ever_connected_to(canary, make_settings):
    urls = hostile(canary.port)
    faults = fetch(make_settings(allow_origins=[]), *urls)
    assert {url: fault.reason for url, fault in zip(urls, faults, strict=True)} == dict.fromkeys(
        urls, Reason.UNSAFE_URL
    )
    assert "hunter2" not in " ".join(map(str, faults))
    assert canary.visits() == 0


def test_no_redirect_leads_there_either(canary, site, make_settings):
    targets = [target for target in hostile(canary.port) if target.isascii()]
    urls = [site.add(f"/to/{n}", status=302, Location=target) for n, target in enumerate(targets)]
    faults = fetch(make_settings(), *urls)
    found = {target: fault.reason for target, fault in zip(targets, faults, strict=True)}
    assert found == dict.fromkeys(targets, Reason.UNSAFE_URL)
    assert canary.visits() == 0


def test_a_name_is_looked_up_once_per_connection_and_that_very_address_is_used(monkeypatch, make_settings):
    lookups: list[str] = []
    connected: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        lookups.append(host)
        return ["93.184.216.34" if lookups.count(host) % 2 else "127.0.0.2"]

    async def connect(address: str, url: WebUrl, idle_s: float) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(transport, "open_connection", connect)
    settings = make_settings(
        allow_origins=[], respect_robots=False, respect_opt_out=False, fetch={"tries": 2}
    )
    names = [f"rebind{number}.example" for number in range(100)]
    faults = fetch(settings, *(f"http://{name}/x.png" for name in names), resolve=rebinding)
    # The first try goes to the public address, the second finds the private one and ends there.
    assert {fault.reason for fault in faults} == {Reason.UNSAFE_URL}
    assert sorted(lookups) == sorted(names * 2)
    assert connected == ["93.184.216.34"] * 100


def test_a_connection_that_ends_at_a_private_address_all_the_same_is_not_spoken_to(
    monkeypatch, make_settings, site
):
    async def public(host: str, port: int) -> list[str]:
        return ["93.184.216.34"]

    connect = transport.open_connection
    port = int(site.origin.rpartition(":")[2])

    async def diverted(address: str, url: WebUrl, idle_s: float) -> Connection:
        assert is_public(address)
        return await connect("127.0.0.1", url, idle_s)

    monkeypatch.setattr(transport, "open_connection", diverted)
    (fault,) = fetch(make_settings(allow_origins=[]), f"http://a.example:{port}/good.jpg", resolve=public)
    assert fault.reason is Reason.UNSAFE_URL
    assert not site.seen


FORBID = b"User-agent: *\nDisallow: /\n"
GRANT = b"User-agent: *\nAllow: /\n"


def cut_short(handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + GRANT)


# RFC 9309 section 2.3.1; what the picture behind each robots.txt must end in, None when it may be had.
ROBOTS = {
    "forbids": ((200, {}, FORBID), Reason.ROBOTS),
    "forbids in old encoding": ((200, {}, b"\xef\xbb\xbf" + FORBID.replace(b"\n", b"\r\n")), Reason.ROBOTS),
    "forbids packed": ((200, {"Content-Encoding": "gzip"}, gzip.compress(FORBID)), Reason.ROBOTS),
    "forbids before too much": ((200, {}, FORBID + b"# so much\n" * 200_000), Reason.ROBOTS),
    "forbids us alone": ((200, {}, GRANT + b"User-agent: maskset\nDisallow: /\n"), Reason.ROBOTS),
    "forbids elsewhere": ((301, {"Location": "/other-robots.txt"}, b""), Reason.ROBOTS),
    "grants": ((200, {}, GRANT), None),
    "is empty": ((200, {}, b""), None),
    "is a page": ((200, {"Content-Type": "text/html"}, b"<!doctype html><p>Disallow: /</p>"), None),
    "is not there": ((404, {}, FORBID), None),
    "is gone": ((410, {}, FORBID), None),
    "is locked": ((401, {}, FORBID), None),
    "goes in circles": ((302, {"Location": "/robots.txt"}, b""), None),
    "fails with a grant": ((500, {}, GRANT), Reason.ROBOTS),
    "is busy": ((503, {}, b""), Reason.ROBOTS),
    "is limited": ((429, {}, b""), Reason.ROBOTS),
    "is limited for a day": ((429, {"Retry-After": "86400"}, b""), Reason.ROBOTS),
    "moved to a private place": ((302, {"Location": "http://10.0.0.1/robots.txt"}, b""), Reason.UNSAFE_URL),
    "is cut short": (cut_short, Reason.TRANSPORT),
    "says nothing": (lambda handler: handler.site.closing.wait(), Reason.TRANSPORT),
    "hangs up": (lambda handler: None, Reason.TRANSPORT),
}


@pytest.mark.parametrize("mode", ROBOTS)
def test_robots_txt_decides_in_whatever_way_it_behaves(site, make_settings, mode):
    route, reason = ROBOTS[mode]
    site.routes["/robots.txt"] = route
    site.add("/other-robots.txt", FORBID)
    paths = [site.add(f"/{number}.png", b"x") for number in range(5)]
    settings = make_settings(fetch={"idle_s": 0.3, "tries": 1})
    results = fetch(settings, *paths)
    assert {getattr(result, "reason", None) for result in results} == {reason}
    assert site.seen["/robots.txt"] == (6 if mode == "goes in circles" else 1)
    assert sum(site.seen[f"/{number}.png"] for number in range(5)) == (0 if reason else 5)


@pytest.mark.parametrize(
    ("lines", "is_refused"),
    [
        (["noai"], True),
        (["noimageai"], True),
        (["max-snippet: 5, noai"], True),
        (["noai, unavailable_after: Wednesday, 25 Jun 2035 15:00:00 GMT"], True),
        (["nofollow", "noimageindex"], True),
        (["otherbot: noai", "maskset: noml"], True),
        (["otherbot: noai"], False),
        (["all, max-image-preview: large"], False),
    ],
)
def test_an_opt_out_in_any_form_is_refused_and_its_picture_never_read(site, make_settings, lines, is_refused):
    sent = "".join(f"X-Robots-Tag: {line}\r\n" for line in lines)

    def answer(handler) -> None:
        handler.wfile.write(f"HTTP/1.1 200 OK\r\n{sent}Content-Length: 1\r\n\r\nx".encode())

    site.routes["/a.png"] = answer
    (result,) = fetch(make_settings(), site.url("/a.png"))
    if is_refused:
        assert result.reason is Reason.OPT_OUT
    else:
        assert dict(result.evidence)["x_robots_tag"] == ", ".join(lines)


def test_a_compression_bomb_costs_no_more_memory_than_its_cap(site, make_settings):
    body = gzip.compress(b"\0" * 300_000_000, compresslevel=1)
    body = gzip.compress(body)  # and it is packed twice: only one layer is ever undone
    site.add("/twice", body, Content_Encoding="gzip")
    site.add("/once", gzip.decompress(body), Content_Encoding="gzip")
    settings = make_settings(fetch={"max_bytes": 4_000_000})
    tracemalloc.start()
    try:
        once, twice = fetch(settings, site.url("/once"), site.url("/twice"))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert once.reason is Reason.TOO_MANY_BYTES
    assert isinstance(twice, Fetched) and twice.body == gzip.decompress(body)
    assert peak_bytes < 4 * 4_000_000
