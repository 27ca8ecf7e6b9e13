"""Manners towards a host beyond the plain ones of test_fetch: pauses, deferral, reservations, versions."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl import transport
from dataset_tools.crawl.fetch import Fetched, Fetcher, Version
from dataset_tools.crawl.hosts import Backlog, CrawlMemory, HostGates, HostState, Turn, _learn
from dataset_tools.crawl.settings import CrawlSettings, FetchSettings


def fetch(
    settings: CrawlSettings, *urls: str, memory: CrawlMemory | None = None, known: Version | None = None
) -> list[Fetched | FetchFault]:
    """Download one after the other."""

    async def run() -> list[Fetched | FetchFault]:
        results: list[Fetched | FetchFault] = []
        async with Fetcher(settings, 0, memory or CrawlMemory()) as fetcher:
            for url in urls:
                try:
                    results.append(await fetcher.fetch(url, known or Version()))
                except FetchFault as fault:
                    results.append(fault)
        return results

    return asyncio.run(run())


def test_a_host_that_asks_for_a_day_is_not_asked_again_in_this_run(site, second_site, make_settings):
    settings = make_settings(allow_origins=[site.origin, second_site.origin])
    memory = CrawlMemory()
    urls = (site.url("/busy-all-day"), site.url("/good.jpg"), second_site.url("/secret.png"))
    first, second, other = fetch(settings, *urls, memory=memory)
    for fault in (first, second):
        assert isinstance(fault, FetchFault)
        assert (fault.reason, fault.retryable) == (Reason.HTTP_4XX, True)
        assert fault.due.endswith("Z")
    assert site.seen["/good.jpg"] == 0
    assert isinstance(other, Fetched)
    (later,) = fetch(settings, site.url("/moved"), memory=memory)  # the next shard
    assert isinstance(later, FetchFault) and later.due
    assert site.seen["/moved"] == 0


def test_a_body_slower_than_the_least_rate_is_given_up_before_its_deadline(site, make_settings):
    settings = make_settings(fetch={"deadline_s": 60, "min_rate_over_s": 0.3, "tries": 1})
    started = time.monotonic()
    (fault,) = fetch(settings, site.url("/drip"))
    assert isinstance(fault, FetchFault)
    assert (fault.reason, fault.retryable) == (Reason.TRANSPORT, True)
    assert "1024 bytes/s" in str(fault)
    assert time.monotonic() - started < 20


def test_a_crawl_delay_is_kept_between_requests(site, make_settings):
    site.add("/robots.txt", b"User-agent: *\nCrawl-delay: 0.4\n")
    started = time.monotonic()
    results = fetch(make_settings(respect_opt_out=False), site.url("/good.jpg"), site.url("/moved"))
    assert all(isinstance(result, Fetched) for result in results)
    assert time.monotonic() - started >= 0.8  # three pictures' requests after robots.txt


def test_the_pause_doubles_with_trouble_halves_with_success_and_follows_latency():
    settings = FetchSettings(host_pause_s=0.5, per_host=2, retry_after_cap_s=60)
    gates = HostGates(settings, CrawlMemory(), Backlog())
    state = HostState()
    pauses = []
    for is_trouble in (True, True, True, False, False, False, False):
        _learn(state, Turn(latency_s=0.1, is_trouble=is_trouble), 0.1)
        pauses.append(gates._pause_s(state))
    assert pauses == [1.0, 2.0, 4.0, 2.0, 1.0, 0.5, 0.5]
    for _ in range(100):
        _learn(state, Turn(latency_s=3.0), 3.0)
    assert gates._pause_s(state) == pytest.approx(1.5)
    for _ in range(20):
        _learn(state, Turn(latency_s=0.001, is_trouble=True), 0.001)
    assert gates._pause_s(state) == 32.0  # a quick error makes nothing faster


def test_a_reservation_by_header_is_obeyed_and_its_terms_are_named(site, make_settings):
    url = site.add("/mine.jpg", b"x", TDM_Reservation="1", TDM_Policy="https://example.org/terms")
    (fault,) = fetch(make_settings(), url)
    assert isinstance(fault, FetchFault)
    assert fault.reason is Reason.OPT_OUT
    assert "https://example.org/terms" in str(fault)
    (result,) = fetch(make_settings(respect_opt_out=False), url)
    assert isinstance(result, Fetched)
    assert dict(result.evidence)["tdm_reservation"] == "1"
    (free,) = fetch(make_settings(), site.add("/free.jpg", b"x", TDM_Reservation="0"))
    assert isinstance(free, Fetched)


def test_a_reservation_by_well_known_file_is_obeyed_before_any_request(site, make_settings):
    entries = b'[{"location": "/good*", "tdm-reservation": 1}, {"location": "/b", "tdm-reservation": 0}]'
    site.add("/.well-known/tdmrep.json", entries)
    results = fetch(make_settings(), site.url("/good.jpg"), site.url("/moved"), site.url("/b%C3%BCcher.png"))
    assert [isinstance(result, Fetched) for result in results] == [False, False, True]
    assert {fault.reason for fault in results[:2] if isinstance(fault, FetchFault)} == {Reason.OPT_OUT}
    assert site.seen["/good.jpg"] == 0
    assert site.seen["/.well-known/tdmrep.json"] == 1


def test_an_unchanged_file_is_not_sent_again(site, make_settings):
    def conditional(handler) -> None:
        is_same = handler.headers.get("If-None-Match") == '"v1"'
        handler.wfile.write(b"HTTP/1.1 304 Not Modified\r\n\r\n" if is_same else b"HTTP/1.1 500 No\r\n\r\n")

    site.routes["/versioned.jpg"] = conditional
    (same,) = fetch(make_settings(), site.url("/versioned.jpg"), known=Version(etag='"v1"'))
    assert isinstance(same, Fetched)
    assert (same.is_unchanged, same.body) == (True, b"")
    site.routes["/lies.jpg"] = lambda handler: handler.wfile.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    (lie,) = fetch(make_settings(), site.url("/lies.jpg"))
    assert isinstance(lie, FetchFault) and lie.reason is Reason.TRANSPORT


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"a" * 1_100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n" + b"X: y\r\n" * 201 + b"\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot-hex\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"220 smtp.example.org ready\r\n",
        b"",
    ],
)
def test_an_answer_that_is_no_proper_http_ends_as_transport(site, make_settings, head):
    site.routes["/odd"] = lambda handler: handler.wfile.write(head)
    (fault,) = fetch(make_settings(fetch={"tries": 1}), site.url("/odd"))
    assert isinstance(fault, FetchFault)
    assert fault.reason is Reason.TRANSPORT
    assert len(str(fault)) < 500


def test_a_connection_the_server_closed_in_between_is_replaced(site, make_settings):
    def last_answer(handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")  # and closes without saying so

    for number in range(4):
        site.routes[f"/last{number}"] = last_answer
    results = fetch(make_settings(fetch={"tries": 1}), *(site.url(f"/last{n}") for n in range(4)))
    assert [result.body for result in results if isinstance(result, Fetched)] == [b"x"] * 4


def test_as_many_connections_are_kept_as_a_host_may_have(make_settings):
    at_once = 20
    connections: list[asyncio.Task[None] | None] = []

    async def run() -> None:
        all_asked = asyncio.Barrier(at_once)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(asyncio.current_task())
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await reader.readuntil(b"\r\n\r\n"):
                    await all_asked.wait()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=at_once)
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = make_settings(
            allow_origins=[origin],
            respect_robots=False,
            respect_opt_out=False,
            fetch={"per_host": at_once, "deadline_s": 30, "idle_s": 30},
        )
        async with server:
            async with Fetcher(settings, 0, CrawlMemory()) as fetcher:
                for wave in range(2):
                    await asyncio.gather(*(fetcher.fetch(f"{origin}/{wave}/{n}.png") for n in range(at_once)))
            await asyncio.gather(*filter(None, connections))

    asyncio.run(run())
    assert len(connections) == at_once


def test_a_full_backlog_holds_downloads_back(site, make_settings):
    async def run() -> bytes:
        backlog = Backlog(most_bytes=10)
        async with Fetcher(make_settings(), 0, CrawlMemory(), backlog=backlog) as fetcher:
            with backlog.holding(10):
                task = asyncio.create_task(fetcher.fetch(site.url("/good.jpg")))
                for _ in range(50):
                    await asyncio.sleep(0)
                assert not site.seen
            return (await task).body

    assert asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "days", "is_trusted"),
    [
        ("127.0.0.1", (-1, 9), True),
        ("127.0.0.1", (-9, -1), True),
        ("192.0.2.7", (-1, 9), True),
        ("127.0.0.1", (-1, 9), False),
    ],
    ids=["good", "expired", "wrong host", "self-signed"],
)
def test_certificates_are_verified(tmp_path, make_settings, monkeypatch, request, name, days, is_trusted):
    certificate, key = _certificate(tmp_path, name, days)
    context = ssl.create_default_context(cafile=str(certificate) if is_trusted else None)
    monkeypatch.setattr(transport, "_tls", lambda: context)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
        await writer.drain()
        writer.close()

    async def run() -> Fetched | FetchFault:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=served)
        origin = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = make_settings(
            allow_origins=[origin], respect_robots=False, respect_opt_out=False, fetch={"deadline_s": 20}
        )
        async with server, Fetcher(settings, 0, CrawlMemory()) as fetcher:
            try:
                return await fetcher.fetch(f"{origin}/x.png")
            except FetchFault as fault:
                return fault

    result = asyncio.run(run())
    if request.node.callspec.id == "good":
        assert isinstance(result, Fetched)
    else:
        assert isinstance(result, FetchFault)
        assert (result.reason, result.retryable) == (Reason.TRANSPORT, False)
        assert "certificate" in str(result)


def _certificate(folder: Path, name: str, days: tuple[int, int]) -> tuple[Path, Path]:
    """A certificate for an address, valid from and until so many days from now, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    title = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    start, end = (datetime.now(UTC) + timedelta(days=number) for number in days)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
    made = x509.CertificateBuilder(title, title, key.public_key(), x509.random_serial_number(), start, end)
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "c.pem").write_bytes(signed.public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8
    (folder / "k.pem").write_bytes(key.private_bytes(pem, form, plain))
    return folder / "c.pem", folder / "k.pem"
