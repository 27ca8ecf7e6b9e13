"""Looking host names up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason

Resolver = Callable[[str, int], Awaitable[list[str]]]


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
