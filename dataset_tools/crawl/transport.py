"""An httpx transport that connects only to addresses it has checked itself.

httpx would look the host up again when it connects, and a hostile name server may answer differently then.
Here the lookup, the check and the connect are one step; Host header and TLS name stay the URL's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

import httpcore
import httpx

from dataset_tools.core.errors import ConfigError, FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.addresses import is_public
from dataset_tools.crawl.urls import authority, checked_url

Resolver = Callable[[str, int], Awaitable[list[str]]]

_MAX_ADDRESSES_TRIED = 4


class TryAgain(FetchFault):
    """A fault that another try right now may cure.

    Attributes:
        wait_s: what the server asked for, None when it asked for nothing.
    """

    def __init__(self, reason: Reason, detail: str, *, wait_s: float | None = None) -> None:
        super().__init__(reason, detail, retryable=True)
        self.wait_s = wait_s


async def resolve_host(host: str, port: int) -> list[str]:
    """All addresses of a host, in the resolver's order.

    Raises:
        FetchFault: `transport`, no such host; or a name that cannot be one.
    """
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        detail = f"cannot look up {host}: {error.strerror}"
        if error.errno == socket.EAI_AGAIN:
            raise TryAgain(Reason.TRANSPORT, detail) from error
        raise FetchFault(Reason.TRANSPORT, detail) from error
    except (UnicodeError, OSError) as error:
        raise FetchFault(Reason.UNSAFE_URL, f"{host[:100]!r} is no host name: {error}") from error
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections to public addresses, or to origins that were allowed by name.

    Raises:
        ConfigError: an allowed origin is no URL.

    Args:
        allow_origins: exact origins, e.g. "http://127.0.0.1:8000".
        resolve: looks a host up.
    """

    def __init__(self, allow_origins: Iterable[str] = (), resolve: Resolver = resolve_host) -> None:
        self._allowed = {authority(_allowed_url(text)) for text in allow_origins}
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Look up, check every answer, connect to one of the checked addresses.

        Raises:
            FetchFault: `unsafe_url` when any address is not public; `transport` when there is none.
        """
        addresses = await self._resolve(host, port)
        if f"{host}:{port}" not in self._allowed:
            for address in addresses:
                if not is_public(address):
                    raise FetchFault(
                        Reason.UNSAFE_URL, f"{host} is at {address}, not an address of the public internet"
                    )
        problem: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses[:_MAX_ADDRESSES_TRIED]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem

    async def sleep(self, seconds: float) -> None:
        """Required by httpcore."""
        await asyncio.sleep(seconds)


def _allowed_url(text: str) -> httpx.URL:
    try:
        return checked_url(text)
    except FetchFault as fault:
        raise ConfigError(f"crawl: allow_origins {text!r}: {fault}") from fault


@contextmanager
def _our_faults() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise TryAgain(Reason.TRANSPORT, f"no answer in time ({type(error).__name__})") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        detail = f"{type(error).__name__}: {error or 'connection failed'}"
        if "CERTIFICATE_VERIFY_FAILED" in detail:
            raise FetchFault(Reason.TRANSPORT, detail) from error
        raise TryAgain(Reason.TRANSPORT, detail) from error


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _our_faults():
            async for block in self._response.aiter_stream():
                yield block

    async def aclose(self) -> None:
        await self._response.aclose()


class CheckedTransport(httpx.AsyncBaseTransport):
    """Carries httpx requests over connections of a `CheckedBackend`.

    Connections are pooled by host name, never by address, so that a TLS connection made for one name
    cannot serve another.
    """

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,
            max_keepalive_connections=16,
            keepalive_expiry=5.0,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            FetchFault: `transport` (mostly as `TryAgain`) or `unsafe_url`.
        """
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        raw = httpcore.Request(
            request.method,
            url,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _our_faults():
            response = await self._pool.handle_async_request(raw)
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()
