"""GET requests over connections that go only to addresses checked here.

A client library would look the host up again when it connects, and a hostile name server may answer
differently then. Here the lookup, the check and the connect are one step; Host header and TLS name stay the
URL's. What goes over a connection is `connections.py`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import TracebackType

from dataset_tools.core.errors import ConfigError, FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.addresses import is_public
from dataset_tools.crawl.connections import Connection, Headers, Stale
from dataset_tools.crawl.resolving import Resolver, TryAgain, resolve_host
from dataset_tools.crawl.urls import WebUrl, authority, checked_url, origin

_MAX_ADDRESSES_TRIED = 4
_KEEP_IDLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Response:
    """The head of an answer; the body comes block by block, once.

    Attributes:
        status: HTTP status.
        headers: as sent.
    """

    status: int
    headers: Headers
    _connection: Connection

    def blocks(self) -> AsyncIterator[bytes]:
        """The body as it comes, still content-encoded.

        Raises:
            TryAgain: cut short, broken framing, or silence.
        """
        return self._connection.blocks()


class _Exchange:
    """One request and its answer, as an async context manager: see `CheckedTransport.get`."""

    __slots__ = ("_connection", "_fields", "_site", "_transport", "_url")

    def __init__(self, transport: CheckedTransport, url: WebUrl, fields: bytes) -> None:
        self._transport, self._url, self._fields = transport, url, fields
        self._site = origin(url)

    async def __aenter__(self) -> Response:
        while True:
            connection = self._transport.take(self._site) or await self._transport.connect(self._url)
            try:
                status, headers = await connection.send(self._url.target, self._fields)
            except Stale:  # a kept one: the next is another, at last a new one
                connection.drop()
            except BaseException:
                connection.drop()
                raise
            else:
                self._connection = connection
                return Response(status, headers, connection)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._connection.drop()
        else:
            self._transport.keep(self._site, self._connection)


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
        self._free: defaultdict[str, list[Connection]] = defaultdict(list)

    def get(self, url: WebUrl, headers: Sequence[tuple[str, str]]) -> _Exchange:
        """One request; the connection is used again when the whole answer was read.

        Args:
            url: what to ask for.
            headers: besides Host.

        Returns:
            An async context manager that gives the `Response`.

        Raises:
            FetchFault: on entering: `unsafe_url` when any address of the host is not public or no request can
                be made of the URL; `transport` (mostly as `TryAgain`) when there is no address or no proper
                answer.
        """
        return _Exchange(self, url, _field_lines(url.netloc, tuple(headers)))

    def take(self, site: str) -> Connection | None:
        """A connection to that origin that was kept and is still good."""
        free = self._free[site]
        while free:
            connection = free.pop()
            if connection.is_fresh() and time.monotonic() - connection.free_since < _KEEP_IDLE_S:
                return connection
            connection.drop()
        return None

    def keep(self, site: str, connection: Connection) -> None:
        """Keep a connection whose answer was used up, if it is good for another one."""
        if not connection.finish() or len(self._free[site]) >= self._keep_per_origin:
            connection.drop()
            return
        connection.free_since = time.monotonic()
        self._free[site].append(connection)

    async def connect(self, url: WebUrl) -> Connection:
        """A new connection, to an address that was checked.

        Raises:
            FetchFault: as `get`.
        """
        addresses = await self._resolve(url.host, url.port)
        is_allowed = authority(url) in self._allowed
        for address in addresses:
            if not is_allowed and not is_public(address):
                detail = f"{url.host} is at {address}, not an address of the public internet"
                raise FetchFault(Reason.UNSAFE_URL, detail)
        problem = f"{url.host} has no address"
        for address in addresses[:_MAX_ADDRESSES_TRIED]:
            try:
                async with asyncio.timeout(self._idle_s):
                    connection = await open_connection(address, url, self._idle_s)
            except ssl.SSLCertVerificationError as error:
                raise FetchFault(Reason.TRANSPORT, f"certificate: {error.verify_message}") from error
            except TimeoutError:
                problem = f"no connection in time ({self._idle_s:g} s)"
            except OSError as error:
                problem = f"no connection: {error.strerror or error}"
            else:
                if not is_allowed and not is_public(connection.peer):
                    connection.drop()
                    raise FetchFault(Reason.UNSAFE_URL, "connected to an address that is not public")
                return connection
        raise TryAgain(Reason.TRANSPORT, problem)

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in (one for free in self._free.values() for one in free):
            connection.drop()
        self._free.clear()
        await asyncio.sleep(0)  # the loop closes the sockets in its next round


async def open_connection(address: str, url: WebUrl, idle_s: float) -> Connection:
    """Connect to exactly that address, for that URL.

    Raises:
        OSError: nobody answers there, or TLS fails.
    """
    is_tls = url.scheme == "https"
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(idle_s),
        address,
        url.port,
        ssl=_tls() if is_tls else None,
        server_hostname=url.host if is_tls else None,
    )
    return connection


@lru_cache(maxsize=256)
def _field_lines(host: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """Header lines with the empty line after them, checked by h11 once for all requests that send the same.

    Raises:
        FetchFault: `unsafe_url`, that is no header.
    """
    import h11

    try:
        request = h11.Request(method="GET", target="/", headers=[("Host", host), *headers])
    except h11.LocalProtocolError as error:
        raise FetchFault(Reason.UNSAFE_URL, f"no request can be made of this URL: {error}") from error
    lines = [b"%b: %b\r\n" % field for field in request.headers.raw_items()]
    return b"".join([*lines, b"\r\n"])


@cache
def _tls() -> ssl.SSLContext:
    # Imported here: plain HTTP needs none of it.
    import httpx

    return httpx.create_ssl_context(trust_env=False)


def _allowed_url(text: str) -> WebUrl:
    try:
        return checked_url(f"{text.rstrip('/')}/")
    except FetchFault as fault:
        raise ConfigError(f"crawl: allow_origins {text!r}: {fault}") from fault
