"""One connection: plain answers read like h11 reads them, odd ones by h11, hostile ones in no time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

import h11
import pytest

from dataset_tools.core.errors import FetchFault
from dataset_tools.crawl.connections import Connection, Headers, _plain_head
from dataset_tools.crawl.resolving import TryAgain

FIELDS = b"Host: a\r\n\r\n"


def by_h11(head: bytes) -> tuple[int, list[tuple[bytes, bytes]]] | None:
    """Status and headers; None for what is no answer with a body of one stated length."""
    state = h11.Connection(h11.CLIENT)
    state.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    state.send(h11.EndOfMessage())
    try:
        state.receive_data(head + b"\r\n")
        event = state.next_event()
    except h11.RemoteProtocolError:
        return None
    return (event.status_code, list(event.headers)) if isinstance(event, h11.Response) else None


LINES = (
    b"Content-Length: 5",
    b"content-length:5",
    b"Content-Length: 5, 5",
    b"Content-Length: -1",
    b"Content-Length: +5",
    b"Content-Length: 00000000000000000000005",
    b"Transfer-Encoding: chunked",
    b"Connection: close",
    b"Connection: Keep-Alive",
    b"X-Robots-Tag:\t noai \t",
    b"Empty:",
    b"Blank:  ",
    "Ünï: x".encode(),
    "X: ü".encode(),
    b"X: \xff",
    b"X : y",
    b" folded",
    b"no colon",
    b"X: a\x00b",
    b"X: a\x0bb",
    b"X: a\x01b",
    b"X: a\rb",
    b"X: " + b"a \t" * 50 + b"a",
)
STATUS_LINES = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 200",
    b"HTTP/1.1 200 ",
    b"HTTP/1.1 404 \xff\t ",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 200OK",
    b"HTTP/1.1 200 a\x00",
    b"HTTP/1.1 199 OK",
    b"HTTP/1.0 200 OK",
    b"http/1.1 200 OK",
)


def test_a_head_taken_for_plain_reads_as_by_h11() -> None:
    dice = random.Random(0)
    plain = 0
    for _ in range(20_000):
        lines = [dice.choice(STATUS_LINES[:4] if dice.random() < 0.8 else STATUS_LINES)]
        lines += dice.choices(LINES, k=dice.randrange(5))
        head = b"".join(line + dice.choice([b"\r\n"] * 9 + [b"\n"]) for line in lines)
        found = _plain_head(head)
        if found is not None:
            plain += 1
            assert found[:2] == by_h11(head), head
            assert (found[2], found[3]) == (5, b"lose" not in head)
    assert plain > 500


def exchange(
    answers: Callable[[asyncio.StreamWriter], Awaitable[None]], targets: tuple[str, ...] = ("/",)
) -> list[tuple[int, Headers, bytes, bool]]:
    """Status, headers, body, and whether the connection may be used again, for each target in turn."""

    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                await answers(writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def run() -> list[tuple[int, Headers, bytes, bool]]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(idle_s=5.0), host, port)
        found = []
        try:
            for target in targets:
                status, headers = await connection.send(target, FIELDS)
                body = b"".join([block async for block in connection.blocks()])
                found.append((status, headers, body, connection.finish()))
        finally:
            connection.drop()
            server.close()
            await asyncio.gather(*filter(None, serving))
        return found

    return asyncio.run(run())


def whole(data: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return answer


@pytest.mark.parametrize(
    ("data", "body", "is_kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", True),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Close\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x", True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
            b"hello",
            True,
        ),
        # More than was stated: the next answer on this connection would be the server's invention.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n", b"hello", False),
    ],
)
def test_an_answer_comes_whole_and_its_connection_is_kept_only_when_clean(
    data: bytes, body: bytes, is_kept: bool
) -> None:
    ((_, _, found, kept),) = exchange(whole(data))
    assert (found, kept) == (body, is_kept)


def test_an_answer_in_crumbs_is_read_like_one_in_one_piece() -> None:
    data = b"HTTP/1.1 200 OK\r\nX: a\r\nContent-Length: 5\r\n\r\nhello"

    async def answer(writer: asyncio.StreamWriter) -> None:
        for place in range(len(data)):
            writer.write(data[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0)

    found = exchange(answer, ("/1", "/2", "/3"))
    assert [(status, headers.get("x"), body, kept) for status, headers, body, kept in found] == [
        (200, "a", b"hello", True)
    ] * 3


def test_a_large_body_waits_for_its_reader() -> None:
    body = bytes(3_000_000)
    ((_, _, found, kept),) = exchange(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + body))
    assert (found == body, kept) == (True, True)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX: " + b" " * 60_000 + b"\x00\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX:" + b" \t" * 30_000 + b"\x00\r\n\r\nx",
        b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nX: " + b" " * 60_000 + b"\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b" " * 60_000 + b"\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a " * 30_000 + b"\x00\r\n\r\n",
        b"HTTP/1.1 200 " + b" " * 60_000 + b"\x00\r\n\r\n",
    ],
    ids=["blanks", "tabs", "after hints", "in trailers", "words", "status line"],
)
def test_a_head_made_to_cost_time_is_refused_in_no_time(data: bytes) -> None:
    started = time.process_time()
    with pytest.raises(TryAgain):
        exchange(whole(data))
    assert time.process_time() - started < 2.0  # by h11 alone: 12 s


@pytest.mark.parametrize("target", ["/a b", "/a\r\nHost: b", "/ü", ""])
def test_a_target_that_is_none_is_never_sent(target: str) -> None:
    with pytest.raises(FetchFault):
        exchange(whole(b""), (target,))


def test_headers_are_ascii_else_utf_8_else_latin_1() -> None:
    assert Headers.decoded([(b"X", b"a"), (b"x", b"b")]).get("x") == "a, b"
    assert Headers.decoded([(b"X", "ü".encode())]).get_list("x") == ["ü"]
    assert Headers.decoded([(b"X", "ü".encode()), (b"Y", b"\xff")]).get("x") == "Ã¼"
    assert Headers.decoded([]).get("x", "none") == "none"
