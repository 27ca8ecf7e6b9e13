"""One HTTP/1.1 connection: bytes in, parsed answers out.

The plain answer (HTTP/1.1, one Content-Length, nothing folded) is read here by the grammar h11 has for it;
whatever else a server sends goes to h11, from its first byte on, which also says what is wrong with it. The
layers of a general client cost some twenty times the processor time of the exchange itself.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, cast

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.reasons import Reason
from dataset_tools.crawl.resolving import TryAgain

if TYPE_CHECKING:
    import h11

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 200
_HIGH_BYTES = 256 * 1024

_END_OF_HEAD = re.compile(rb"\n\r?\n")
# Nothing is given back once it was taken ("++", "*+"): linear, whatever a server sends.
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2})(?: [^\x00\r\n\v\f]*+)?\r\n")
_FIELD = re.compile(
    rb"([-!#$%&'*+.^_`|~0-9a-zA-Z]++):[ \t]*+([^\x00\s]++(?:[ \t]++[^\x00\s]++)*+)?[ \t]*+\r\n"
)
# What h11 may have to look at in one go.
_PIECE_BYTES = 4096
_MOST_BLANKS = 1024
_BLANKS = re.compile(rb"[ \t]{%d}" % _MOST_BLANKS)
_TARGET = re.compile(r"[\x21-\x7e]+")
_WITHOUT_BODY = frozenset({204, 304})


class Stale(Exception):
    """A kept connection was closed by the server before it took our request."""


class Headers:
    """The headers of an answer, as sent; names are found in any case."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = fields

    @classmethod
    def decoded(cls, fields: Sequence[tuple[bytes, bytes]]) -> Headers:
        """Of bytes: ASCII, else UTF-8, else Latin-1, all of them in the same way."""
        whole = b"".join(part for field in fields for part in field)
        encoding = next(filter(lambda name: _is_encoded(whole, name), ("ascii", "utf-8")), "latin-1")
        return cls([(name.decode(encoding).lower(), value.decode(encoding)) for name, value in fields])

    def get_list(self, name: str) -> list[str]:
        """The value of every header of that name, which is in lower case."""
        return [value for key, value in self._fields if key == name]

    def get(self, name: str, default: str = "") -> str:
        """All values of that name as one, or `default`."""
        values = self.get_list(name)
        return ", ".join(values) if values else default


def _is_encoded(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


class Connection(asyncio.Protocol):
    """An open connection that carries one request at a time.

    Args:
        idle_s: longest silence of the server.

    Attributes:
        free_since: monotonic time at which its last answer was read to the end.
        answers: that were read.
    """

    def __init__(self, idle_s: float) -> None:
        self.free_since = 0.0
        self.answers = 0
        self._idle_s = idle_s
        self._transport: asyncio.Transport | None = None
        self._blocks: deque[bytes] = deque()
        self._held_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False
        self._error: Exception | None = None
        self._state: h11.Connection | None = None
        self._left = -1  # bytes of the body to come, when its length was stated plainly
        self._is_kept = False

    # -- what the event loop calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._blocks.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _HIGH_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """No more will come."""
        self._is_over = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed."""
        self._is_over, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _give_up(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    # -- bytes ------------------------------------------------------------------------------------------

    async def _more(self) -> bytes:
        """The next bytes, b"" at the end.

        Raises:
            TryAgain: silence for `idle_s`, or a broken connection.
        """
        if not self._blocks and not self._is_over:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(self._idle_s, self._give_up)
            try:
                await self._waiter
            except TimeoutError as error:
                raise TryAgain(Reason.TRANSPORT, f"no answer in time ({self._idle_s:g} s)") from error
            finally:
                timer.cancel()
                self._waiter = None
        if self._blocks:
            block = self._blocks.popleft()
            if self._held_bytes > _HIGH_BYTES >= self._held_bytes - len(block) and not self._is_over:
                assert self._transport is not None
                self._transport.resume_reading()
            self._held_bytes -= len(block)
            return block
        if self._error is not None:
            raise TryAgain(Reason.TRANSPORT, f"{type(self._error).__name__}: {self._error}") from self._error
        return b""

    @property
    def peer(self) -> str:
        """Address of the other end; "" when it is not known."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if name else ""

    def is_fresh(self) -> bool:
        """True when the server has neither closed it nor said anything that nobody asked for."""
        return not (self._is_over or self._blocks or self._transport is None or self._transport.is_closing())

    def drop(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- requests and answers ---------------------------------------------------------------------------

    async def send(self, target: str, fields: bytes) -> tuple[int, Headers]:
        """Send a GET request; gives the status and headers of its answer.

        Args:
            target: path and query.
            fields: all header lines with the empty line at their end.

        Raises:
            FetchFault: `unsafe_url`, no request can be made of this target; `transport`, too many headers.
            TryAgain: the server broke the protocol, hung up, or said nothing for `idle_s`.
            Stale: it had been closed before.
        """
        if not _TARGET.fullmatch(target):
            raise FetchFault(
                Reason.UNSAFE_URL, "no request can be made of this URL: illegal target characters"
            )
        assert self._transport is not None
        self._state, self._left, self._is_kept = None, -1, False
        self._transport.write(b"GET %b HTTP/1.1\r\n%b" % (target.encode("ascii"), fields))
        try:
            return await self._head()
        except TryAgain as fault:
            if self.answers and isinstance(fault.__cause__, ConnectionError):
                raise Stale from fault
            raise

    async def _head(self) -> tuple[int, Headers]:
        pending, searched = b"", 0
        while (end := _END_OF_HEAD.search(pending, searched)) is None and len(pending) <= MAX_HEADER_BYTES:
            searched = max(len(pending) - 2, 0)
            block = await self._more()
            if not block:
                if self.answers and not pending:
                    raise Stale
                break
            pending = pending + block if pending else block
        if end is not None and (plain := _plain_head(pending[: end.start() + 1])) is not None:
            status, headers, self._left, self._is_kept = plain
            self._unread(pending[end.end() :])
        else:
            status, headers = await self._other_head(pending)
        if len(headers) > MAX_HEADERS:
            raise FetchFault(Reason.TRANSPORT, f"{len(headers)} headers, at most {MAX_HEADERS} allowed")
        return status, Headers.decoded(headers)

    def _unread(self, data: bytes) -> None:
        if data:
            self._blocks.appendleft(data)
            self._held_bytes += len(data)

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body of the answer as it comes, still content-encoded; once.

        Raises:
            TryAgain: cut short, broken framing, or silence.
        """
        if self._left < 0:
            import h11

            while not isinstance(event := await self._next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Data):
                    yield bytes(event.data)
            return
        while self._left:
            block = await self._more()
            if not block:
                detail = f"RemoteProtocolError: the answer ended {self._left} bytes before its stated length"
                raise TryAgain(Reason.TRANSPORT, detail)
            if len(block) > self._left:
                self._unread(block[self._left :])
                block = block[: self._left]
            self._left -= len(block)
            yield block

    def finish(self) -> bool:
        """True when the answer was read to its end and the connection may carry another request."""
        is_read = self._is_kept and self._left == 0
        is_done = is_read if self._state is None else _is_done(self._state)
        self._state = None
        self.answers += 1
        return is_done and self.is_fresh()

    # -- answers that are not plain ---------------------------------------------------------------------

    async def _other_head(self, pending: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
        import h11

        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._state.send(h11.Request(method="GET", target="/", headers=[("Host", "sent")]))
        self._state.send(h11.EndOfMessage())
        self._unread(pending)
        event = await self._next_event()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next_event()
        assert isinstance(event, h11.Response)
        return event.status_code, list(event.headers)

    async def _next_event(self) -> object:
        """The next parsed piece of the answer.

        Raises:
            TryAgain: the server broke the protocol, hung up, or said nothing for `idle_s`.
        """
        import h11

        assert self._state is not None
        try:
            while (event := self._state.next_event()) is h11.NEED_DATA:
                self._state.receive_data(await self._piece(self._state))
        except h11.RemoteProtocolError as error:
            raise TryAgain(Reason.TRANSPORT, f"{type(error).__name__}: {error}") from error
        if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            raise TryAgain(Reason.TRANSPORT, "the server changed the protocol or hung up")
        return event

    async def _piece(self, state: h11.Connection) -> bytes:
        """The next bytes for h11, which takes time by the square of a run of blanks: never a long one.

        Raises:
            TryAgain: such a run, or trailers as long; what `_more` raises.
        """
        import h11

        block = await self._more()
        self._unread(block[_PIECE_BYTES:])
        block, held = block[:_PIECE_BYTES], state.trailing_data[0]
        is_head = state.their_state is h11.SEND_RESPONSE
        if _BLANKS.search(held[-_MOST_BLANKS:] + block) if is_head else len(held) > _PIECE_BYTES:
            raise TryAgain(Reason.TRANSPORT, "headers of nothing but blanks, or trailers too long")
        return block


def _is_done(state: h11.Connection) -> bool:
    import h11

    is_clean = state.our_state is h11.DONE and state.their_state is h11.DONE
    return is_clean and not state.trailing_data[0]


def _plain_head(head: bytes) -> tuple[int, list[tuple[bytes, bytes]], int, bool] | None:
    """Status, headers, length of the body, and whether the connection stays; None for an answer not plain.

    Args:
        head: up to the empty line, without it.
    """
    found = _STATUS_LINE.match(head)
    if found is None or (status := int(found[1])) in _WITHOUT_BODY or len(head) > MAX_HEADER_BYTES:
        return None
    fields: list[tuple[bytes, bytes]] = []
    length, is_kept, position = b"", True, found.end()
    while position < len(head):
        field = _FIELD.match(head, position)
        if field is None:
            return None
        name, value = field[1].lower(), field[2] or b""
        if name == b"content-length":
            if length or not value.isdigit() or len(value) > 20:
                return None
            length = value
        elif name == b"transfer-encoding":
            return None
        elif name == b"connection":
            is_kept = is_kept and b"close" not in value.lower()
        fields.append((name, value))
        position = field.end()
    return (status, fields, int(length), is_kept) if length else None
