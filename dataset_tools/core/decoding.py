"""Disposable worker processes: whatever a hostile file does to a decoder, it ends there.

A pool keeps a few long-lived processes, each with limits on processor time, memory and wall time. One that
overruns or dies is replaced, and what it worked on becomes a fault of that item: `decode_budget`,
`decoder_crash`, or `worker_lost` when it went away twice for no reason that lies in the item.

Workers are forked by a nursery, `python -m dataset_tools.core.working <socket>`: a process without threads
that has imported little, however large this one is. Work goes to a worker as pickle; its replies are
read by an unpickler that knows only this suite's records, since a decoder that was taken over may write
anything.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import io
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dataset_tools.core.errors import ItemFault, ServiceError
from dataset_tools.core.reasons import Reason

_LENGTH = struct.Struct(">Q")
_START_S = 120.0
_PATIENCE_S = 0.2
_AHEAD = 2  # pieces of work a worker is given: one under way, and the next
_MAX_REPLY_BYTES = 1 << 30
_CRASHES = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGSYS", "SIGTRAP")
    if hasattr(signal, name)
)
# What a reply may be made of, besides plain values: frozen records and the words in them.
_RECORD_MODULES = frozenset(f"dataset_tools.core.{name}" for name in ("record", "masks", "labels", "reasons"))


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """What one piece of work may cost.

    Attributes:
        cpu_s: processor time.
        wall_s: time in all, for work that waits for ever.
        memory_bytes: address space above what the worker takes itself.
    """

    cpu_s: float = 10.0
    wall_s: float = 30.0
    memory_bytes: int = 1 << 30


class _Lost(Exception):
    """The worker is gone or silent; the text says how."""


class _NotBegun(Exception):
    """The worker is gone, for a reason that does not lie in this piece of work."""


class _RecordUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name in _RECORD_MODULES and global_name.isidentifier():
            found = getattr(sys.modules[module_name], global_name, None)
            if isinstance(found, type) and found.__module__ == module_name:
                return found
        raise pickle.UnpicklingError(f"a worker's reply names {module_name}.{global_name}")


class _Nursery:
    """The process that forks workers for this one."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_START_S)
        command = [sys.executable, "-m", "dataset_tools.core.working", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libtiff and others complain there, malloc says its last words
                env=_environment(),
            )

    def request(self, message: tuple[Any, ...], handle: int | None = None) -> int:
        """Ask, and wait for the answer.

        Raises:
            OSError: the nursery is gone.
        """
        with self._lock:
            self._send(message, handle)
            size = self._receive(_LENGTH.size)
            return int(pickle.loads(self._receive(_LENGTH.unpack(size)[0])))  # noqa: S301 - decodes nothing

    def tell(self, message: tuple[Any, ...]) -> None:
        """Say something that is not answered.

        Raises:
            OSError: the nursery is gone.
        """
        with self._lock:
            self._send(message)

    def _send(self, message: tuple[Any, ...], handle: int | None = None) -> None:
        data = pickle.dumps(message)
        handles = [] if handle is None else [handle]
        socket.send_fds(self._socket, [_LENGTH.pack(len(data))], handles)
        self._socket.sendall(data)

    def _receive(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                raise ConnectionError("the nursery of the decoding workers ended")
            parts += part
        return parts

    def close(self) -> None:
        """End it, and with it the workers, once they have answered."""
        if self.owner == os.getpid():
            self._socket.close()
            self._process.wait()


_nursery: _Nursery | None = None
_nursery_lock = threading.Lock()


def _the_nursery() -> _Nursery:
    """The nursery of this process, made when first needed."""
    global _nursery
    with _nursery_lock:
        if _nursery is None or _nursery.owner != os.getpid():
            _nursery = _Nursery()
            atexit.register(_nursery.close)
        return _nursery


def _forget_nursery() -> None:
    global _nursery
    with _nursery_lock:
        if _nursery is not None:
            atexit.unregister(_nursery.close)
            _nursery.close()
            _nursery = None


class _Worker:
    """One process, the socket to it, and the work it has not answered yet.

    It is sent the next piece of work before it has answered the last, so that it never waits for us. Only
    the first piece is under way, and only its time is counted.
    """

    def __init__(self, function: bytes, limits: WorkLimits) -> None:
        self._limits = limits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._clock: asyncio.TimerHandle | None = None
        self._unsent = bytearray()
        self._received = bytearray()
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            try:
                self._nursery = _the_nursery()
                self.process = self._nursery.request(("fork", function), theirs.fileno())
            except OSError as error:
                self._socket.close()
                _forget_nursery()  # the next worker gets a new one
                raise ServiceError(f"decoding workers cannot be started: {error}") from error

    @property
    def load(self) -> int:
        """Pieces of work it has not answered."""
        return len(self._asked)

    async def start(self, function: bytes) -> None:
        """Let it load the function.

        Raises:
            ServiceError: it does not.
        """
        try:
            await self.ask(function, _START_S)
        except _Lost as lost:
            raise ServiceError(f"a decoding worker does not start: {lost}") from lost

    async def ask(self, work: bytes, within_s: float) -> Any:
        """The reply to one piece of work.

        Args:
            work: pickled.
            within_s: time it may take, from when the worker begins with it.

        Raises:
            _Lost: the worker died or did not answer in time while this was under way.
            _NotBegun: that happened while another piece was.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # every shard has its own
            self._loop = loop
            loop.add_reader(self._socket, self._receive)
        answer: asyncio.Future[Any] = loop.create_future()
        self._asked.append(answer)
        if len(self._asked) == 1:
            self._clock = loop.call_later(within_s, self._lose, f"no answer in {within_s:g} s")
        self._unsent += _LENGTH.pack(len(work))
        self._unsent += work
        self._send()
        return await answer

    def _send(self) -> None:
        assert self._loop is not None
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(f"it hung up: {error.strerror}")
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._socket, self._send)
        else:
            self._loop.remove_writer(self._socket)

    def _receive(self) -> None:
        try:
            part = self._socket.recv(1 << 20)
        except BlockingIOError:
            return None
        except OSError as error:
            return self._lose(f"it hung up: {error.strerror}")
        if not part:
            return self._lose("it ended")
        self._received += part
        while len(self._received) >= _LENGTH.size and self._asked:
            (size,) = _LENGTH.unpack_from(self._received)
            if size > _MAX_REPLY_BYTES:
                return self._lose(f"it sent {size} bytes")
            if len(self._received) < _LENGTH.size + size:
                return None
            reply = bytes(self._received[_LENGTH.size : _LENGTH.size + size])
            del self._received[: _LENGTH.size + size]
            try:
                self._answer(_RecordUnpickler(io.BytesIO(reply)).load())
            except Exception as error:  # a broken pickle raises anything
                return self._lose(f"unreadable reply: {error}")
        return None

    def _answer(self, reply: Any) -> None:
        assert self._loop is not None and self._clock is not None
        self._clock.cancel()
        answer = self._asked.popleft()
        if not answer.done():
            answer.set_result(reply)
        if self._asked:
            within_s = self._limits.wall_s
            self._clock = self._loop.call_later(within_s, self._lose, f"no answer in {within_s:g} s")

    def _lose(self, how: str) -> None:
        """It is of no more use: what was under way is told how, the rest that it was not begun."""
        for place, answer in enumerate(self._asked):
            if not answer.done():
                answer.set_exception(_NotBegun() if place else _Lost(how))
        self._let_go()

    def _let_go(self) -> None:
        self._asked.clear()
        if self._clock is not None:
            self._clock.cancel()
        if self._loop is not None and not self._loop.is_closed() and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket.close()

    def is_usable(self) -> bool:
        """True until it was lost or ended."""
        return self._socket.fileno() >= 0

    def end(self) -> int:
        """Close and, if need be, kill it; gives its exit status, negative for a signal."""
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(_NotBegun())
        self._let_go()
        return self.reap()

    def reap(self) -> int:
        """The exit status of one that was let go, killed if need be; callable from any thread."""
        try:
            # One that died by itself is reaped with its own status; a hung one is killed.
            return self._nursery.request(("reap", self.process, _PATIENCE_S))
        except OSError:
            return 0  # its nursery is gone, and it goes the same way


class WorkerPool:
    """Runs a function in disposable processes, at most `size` at once; they start when first needed.

    Args:
        function: picklable; called with the arguments of `run`. It returns records of this suite or plain
            values; an `ItemFault` or `ServiceError` it raises is raised by `run`.
        size: number of processes.
        limits: for one call.
    """

    def __init__(self, function: Callable[..., Any], size: int, limits: WorkLimits) -> None:
        self._function = pickle.dumps((function, limits.cpu_s, limits.memory_bytes))
        self._size = size
        self._limits = limits
        self._workers: set[_Worker] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(size * _AHEAD)
        self._starting = asyncio.Lock()
        self.close = weakref.finalize(self, _end_all, self._workers)

    def prepare(self) -> None:
        """Have the nursery start and load what the function needs, without waiting for it."""
        if not self._workers:
            with contextlib.suppress(OSError):  # whoever needs a worker is told
                _the_nursery().tell(("load", self._function))

    async def warm(self) -> None:
        """Start all processes now, while there is nothing yet for them to do.

        Raises:
            ServiceError: they cannot be started.
        """
        self._enter_loop()
        async with self._starting:
            while len(self._workers) < self._size:
                await self._start()

    async def run(self, *arguments: Any) -> Any:
        """What the function returns for these arguments.

        Raises:
            ItemFault: the function's own; or `decode_budget`, `decoder_crash`, `worker_lost`.
            ServiceError: the function's own; or workers cannot be started.
            RuntimeError: the function raised something else, a bug; its text names the place.
        """
        self._enter_loop()
        lost: list[_Lost] = []
        while len(lost) < 2:
            async with self._turns:
                work = pickle.dumps(arguments, protocol=5)  # only now: what waits is not in memory twice
                worker = await self._take()
                try:
                    return _result(await worker.ask(work, self._limits.wall_s))
                except _NotBegun:
                    continue
                except _Lost as error:
                    lost.append(error)
                    self._workers.discard(worker)
                    _raise_for(await asyncio.to_thread(worker.reap), self._limits)
                except asyncio.CancelledError:
                    self._workers.discard(worker)
                    if worker.is_usable():
                        worker.end()
                    raise
        detail = f"the decoding worker was lost: {lost[-1]}"
        raise ItemFault(Reason.WORKER_LOST, detail, retryable=True, tries=len(lost))

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # locks serve one loop; every shard has its own
            self._loop = loop
            self._turns, self._starting = asyncio.Semaphore(self._size * _AHEAD), asyncio.Lock()

    async def _take(self) -> _Worker:
        """The worker with the least to do; a new one when all are busy and there may be more."""
        if (worker := self._chosen()) is not None:
            return worker
        async with self._starting:
            return self._chosen() or await self._start()

    def _chosen(self) -> _Worker | None:
        usable = [worker for worker in self._workers if worker.is_usable()]
        least = min(usable, key=lambda worker: worker.load, default=None)
        is_full = len(usable) >= self._size
        return least if least is not None and (is_full or not least.load) else None

    async def _start(self) -> _Worker:
        # In a thread: the first one waits for the nursery to start, and downloads must go on meanwhile.
        worker = await asyncio.to_thread(_Worker, self._function, self._limits)
        try:
            await worker.start(self._function)
        except BaseException:
            worker.end()
            raise
        self._workers.add(worker)
        return worker


def _end_all(workers: set[_Worker]) -> None:
    for worker in workers:
        worker.end()
    workers.clear()


def _raise_for(status: int, limits: WorkLimits) -> None:
    """Raise when the way a worker ended lies in what it worked on."""
    if status == -signal.SIGXCPU:
        raise ItemFault(Reason.DECODE_BUDGET, f"not decoded in {limits.cpu_s:g} s of processor time")
    if -status in _CRASHES:
        raise ItemFault(Reason.DECODER_CRASH, f"the decoder died of {signal.Signals(-status).name}")


def _result(reply: Any) -> Any:
    """What a worker's reply says, as `serve` wrote it."""
    match reply:
        case ("done", value):
            return value
        case ("fault", Reason() as reason, str(detail), bool(retryable), int(tries)):
            raise ItemFault(reason, detail, retryable=retryable, tries=tries)
        case ("service", str(detail)):
            raise ServiceError(detail)
        case ("bug", str(detail)):
            raise RuntimeError(detail)
    raise RuntimeError("a decoding worker sent a reply of no known form")


def _environment() -> dict[str, str]:
    """One thread per library and two heaps: both would count against the memory limit of a worker."""
    few = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, **few, "MALLOC_ARENA_MAX": "2", "PYTHONPATH": path}
