"""HTTP/1.1 over connections that go only to addresses checked here.

A client library would look the host up again when it connects, and a hostile name server may answer
differently then. Here the lookup, the check and the connect are one step; Host header and TLS name stay the
URL's. Requests are built and answers parsed by h11, straight on asyncio's streams: the layers of a general
client cost some twenty times the processor time of the exchange itself.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache

import h11
import httpx

from dataset_tools.core.errors import ConfigError, FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.addresses import is_public
from dataset_tools.crawl.resolving import Resolver, TryAgain, resolve_host
from dataset_tools.crawl.urls import authority, checked_url, origin

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 200
_MAX_ADDRESSES_TRIED = 4
_KEEP_IDLE_S = 5.0
_BLOCK_BYTES = 128 * 1024


class _Stale(Exception):
    """A kept connection was closed by the server before it took our request."""


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_s: float
    state: h11.Connection = field(
        default_factory=lambda: h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
    )
    free_since: float = 0.0
    answers: int = 0

    async def next_event(self) -> object:
        """The next parsed piece of the answer.

        Raises:
            TryAgain: the server broke the protocol, hung up, or said nothing for `idle_s`.
        """
        try:
            while (event := self.state.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout(self.idle_s):
                    block = await self.reader.read(_BLOCK_BYTES)
                if not block and self.answers and self.state.their_state is h11.SEND_RESPONSE:
                    raise _Stale
                self.state.receive_data(block)
        except TimeoutError as error:
            raise TryAgain(Reason.TRANSPORT, f"no answer in time ({self.idle_s:g} s)") from error
        except (h11.RemoteProtocolError, OSError) as error:
            raise TryAgain(Reason.TRANSPORT, f"{type(error).__name__}: {error}") from error
        if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            raise TryAgain(Reason.TRANSPORT, "the server changed the protocol or hung up")
        return event

    def is_fresh(self) -> bool:
        """True when it may carry another request."""
        is_young = time.monotonic() - self.free_since < _KEEP_IDLE_S
        return is_young and not self.reader.at_eof() and not self.writer.is_closing()

    def drop(self) -> None:
        self.writer.transport.abort()


@dataclass(slots=True)
class Response:
    """The head of an answer; the body comes block by block, once.

    Attributes:
        status: HTTP status.
        headers: as sent.
    """

    status: int
    headers: httpx.Headers
    _connection: _Connection

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it comes, still content-encoded.

        Raises:
            TryAgain: cut short, broken framing, or silence.
        """
        while not isinstance(event := await self._connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                yield bytes(event.data)


class CheckedTransport:
    """Sends GET requests to public addresses, or to origins that were allowed by name.

    Connections are kept by scheme, host name and port, never by address, so that a TLS connection made for
    one name cannot serve another.

    Args:
        allow_origins: exact origins, e.g. "http://127.0.0.1:8000".
        resolve: looks a host up.
        idle_s: longest silence of a server, connecting included.
        keep_per_origin: connections kept open for further requests.

    Raises:
        ConfigError: an allowed origin is no URL.
    """

    def __init__(
        self,
        allow_origins: Iterable[str] = (),
        resolve: Resolver = resolve_host,
        idle_s: float = 10.0,
        keep_per_origin: int = 16,
    ) -> None:
        self._allowed = {authority(_allowed_url(text)) for text in allow_origins}
        self._resolve = resolve
        self._idle_s = idle_s
        self._keep_per_origin = keep_per_origin
        self._free: defaultdict[str, list[_Connection]] = defaultdict(list)

    @asynccontextmanager
    async def get(self, url: httpx.URL, headers: Sequence[tuple[str, str]]) -> AsyncIterator[Response]:
        """One request; the connection is used again when the whole answer was read.

        Raises:
            FetchFault: `unsafe_url` when any address of the host is not public; `transport` (mostly as
                `TryAgain`) when there is no address or no proper answer.
        """
        site = origin(url)
        connection, response = await self._exchange(url, site, headers)
        try:
            yield response
        except BaseException:
            connection.drop()
            raise
        self._keep(site, connection)

    async def _exchange(
        self, url: httpx.URL, site: str, headers: Sequence[tuple[str, str]]
    ) -> tuple[_Connection, Response]:
        while True:
            connection = self._take(site) or await self._connect(url)
            try:
                return connection, await _send(connection, url, headers)
            except _Stale:  # a kept one: the next is another, at last a new one
                connection.drop()
            except BaseException:
                connection.drop()
                raise

    def _take(self, site: str) -> _Connection | None:
        free = self._free[site]
        while free:
            connection = free.pop()
            if connection.is_fresh():
                return connection
            connection.drop()
        return None

    def _keep(self, site: str, connection: _Connection) -> None:
        state = connection.state
        is_clean = state.our_state is h11.DONE and state.their_state is h11.DONE
        if not is_clean or state.trailing_data[0] or len(self._free[site]) >= self._keep_per_origin:
            connection.drop()
            return
        state.start_next_cycle()
        connection.answers += 1
        connection.free_since = time.monotonic()
        self._free[site].append(connection)

    async def _connect(self, url: httpx.URL) -> _Connection:
        name = url.raw_host.decode("ascii")
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = await self._resolve(name, port)
        is_allowed = authority(url) in self._allowed
        for address in addresses:
            if not is_allowed and not is_public(address):
                detail = f"{name} is at {address}, not an address of the public internet"
                raise FetchFault(Reason.UNSAFE_URL, detail)
        problem = f"{name} has no address"
        for address in addresses[:_MAX_ADDRESSES_TRIED]:
            try:
                async with asyncio.timeout(self._idle_s):
                    reader, writer = await asyncio.open_connection(
                        address,
                        port,
                        ssl=_tls() if url.scheme == "https" else None,
                        server_hostname=name if url.scheme == "https" else None,
                        limit=2 * _BLOCK_BYTES,
                    )
            except ssl.SSLCertVerificationError as error:
                raise FetchFault(Reason.TRANSPORT, f"certificate: {error.verify_message}") from error
            except TimeoutError:
                problem = f"no connection in time ({self._idle_s:g} s)"
            except OSError as error:
                problem = f"no connection: {error.strerror or error}"
            else:
                return self._checked(_Connection(reader, writer, self._idle_s), is_allowed)
        raise TryAgain(Reason.TRANSPORT, problem)

    def _checked(self, connection: _Connection, is_allowed: bool) -> _Connection:
        peer = connection.writer.get_extra_info("peername")
        if not is_allowed and not (peer and is_public(str(peer[0]))):
            connection.drop()
            raise FetchFault(Reason.UNSAFE_URL, "connected to an address that is not public")
        return connection

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in (one for free in self._free.values() for one in free):
            connection.drop()
        self._free.clear()
        await asyncio.sleep(0)  # the loop closes the sockets in its next round


async def _send(connection: _Connection, url: httpx.URL, headers: Sequence[tuple[str, str]]) -> Response:
    target = url.raw_path.decode("ascii") or "/"
    host = url.netloc.decode("ascii")
    try:
        request = h11.Request(method="GET", target=target, headers=_model(host, tuple(headers)).headers)
        sent = (connection.state.send(request) or b"") + (connection.state.send(h11.EndOfMessage()) or b"")
        connection.writer.write(sent)
        event = await connection.next_event()
        while isinstance(event, h11.InformationalResponse):
            event = await connection.next_event()
    except h11.LocalProtocolError as error:
        raise FetchFault(Reason.UNSAFE_URL, f"no request can be made of this URL: {error}") from error
    except TryAgain as fault:
        if connection.answers and isinstance(fault.__cause__, ConnectionError):
            raise _Stale from fault
        raise
    assert isinstance(event, h11.Response)
    if len(event.headers) > MAX_HEADERS:
        raise FetchFault(Reason.TRANSPORT, f"{len(event.headers)} headers, at most {MAX_HEADERS} allowed")
    return Response(event.status_code, httpx.Headers(list(event.headers)), connection)


@lru_cache(maxsize=256)
def _model(host: str, headers: tuple[tuple[str, str], ...]) -> h11.Request:
    """A request with those headers: what h11 has checked once it takes again without a look."""
    return h11.Request(method="GET", target="/", headers=[("Host", host), *headers])


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _allowed_url(text: str) -> httpx.URL:
    try:
        return checked_url(text)
    except FetchFault as fault:
        raise ConfigError(f"crawl: allow_origins {text!r}: {fault}") from fault
