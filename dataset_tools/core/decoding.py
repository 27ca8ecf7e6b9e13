"""Disposable worker processes: whatever a hostile file does to a decoder, it ends there.

A pool keeps a few long-lived processes, each with limits on processor time, memory and wall time. One that
overruns or dies is replaced, and what it worked on becomes a fault of that item: `decode_budget`,
`decoder_crash`, or `worker_lost` when it went away twice for no reason that lies in the item.

Workers are forked by a nursery, `python -m dataset_tools.core.decoding <socket>`: a process without threads
that has imported little, however large this one is. Work goes to a worker as pickle; its replies are
read by an unpickler that knows only this suite's records, since a decoder that was taken over may write
anything.
"""

from __future__ import annotations

import asyncio
import atexit
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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dataset_tools.core.errors import ItemFault, ServiceError
from dataset_tools.core.reasons import Reason
from dataset_tools.core.working import nurse

_LENGTH = struct.Struct(">Q")
_START_S = 120.0
_PATIENCE_S = 0.2
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
        command = [sys.executable, "-m", "dataset_tools.core.decoding", str(theirs.fileno())]
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
        data = pickle.dumps(message)
        with self._lock:
            handles = [] if handle is None else [handle]
            head = _LENGTH.pack(len(data))
            socket.send_fds(self._socket, [head], handles)
            self._socket.sendall(data)
            size = self._receive(_LENGTH.size)
            return int(pickle.loads(self._receive(_LENGTH.unpack(size)[0])))  # noqa: S301 - decodes nothing

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
    """One process and the socket to it."""

    def __init__(self, function: bytes, limits: WorkLimits) -> None:
        self._limits = limits
        self._function = function
        self._is_ready = False
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

    async def ask(self, work: bytes) -> Any:
        """The reply to one piece of work.

        Raises:
            _Lost: it died or did not answer in time.
            ServiceError: it never started.
        """
        if not self._is_ready:
            try:
                await self._exchange(self._function, _START_S)
            except _Lost as lost:
                raise ServiceError(f"a decoding worker does not start: {lost}") from lost
            self._is_ready = True
        return await self._exchange(work, self._limits.wall_s)

    async def _exchange(self, data: bytes, within_s: float) -> Any:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within_s):
                await loop.sock_sendall(self._socket, _LENGTH.pack(len(data)) + data)
                (size,) = _LENGTH.unpack(await self._receive(_LENGTH.size))
                if size > _MAX_REPLY_BYTES:
                    raise _Lost(f"it sent {size} bytes")
                reply = await self._receive(size)
        except TimeoutError as error:
            raise _Lost(f"no answer in {within_s:g} s") from error
        except OSError as error:
            raise _Lost(f"it hung up: {error.strerror}") from error
        try:
            return _RecordUnpickler(io.BytesIO(reply)).load()
        except Exception as error:  # a broken pickle raises anything
            raise _Lost(f"unreadable reply: {error}") from error

    async def _receive(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        parts = bytearray()
        while len(parts) < size:
            part = await loop.sock_recv(self._socket, min(size - len(parts), 1 << 20))
            if not part:
                raise _Lost("it ended")
            parts += part
        return bytes(parts)

    def end(self) -> int:
        """Close and, if need be, kill it; gives its exit status, negative for a signal."""
        self._socket.close()
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
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(size)
        self.close = weakref.finalize(self, _end_all, self._workers)

    async def run(self, *arguments: Any) -> Any:
        """What the function returns for these arguments.

        Raises:
            ItemFault: the function's own; or `decode_budget`, `decoder_crash`, `worker_lost`.
            ServiceError: the function's own; or workers cannot be started.
            RuntimeError: the function raised something else, a bug; its text names the place.
        """
        lost: _Lost | None = None
        for _ in range(2):
            async with self._turn():
                work = pickle.dumps(arguments, protocol=5)  # only now: what waits is not in memory twice
                worker = await self._take()
                try:
                    reply = await worker.ask(work)
                except _Lost as error:
                    lost = error
                    _raise_for(await asyncio.to_thread(self._end, worker), self._limits)
                except BaseException:
                    self._end(worker)
                    raise
                else:
                    self._idle.append(worker)
                    return _result(reply)
        raise ItemFault(Reason.WORKER_LOST, f"the decoding worker was lost: {lost}", retryable=True, tries=2)

    def _turn(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a semaphore serves one loop; every shard has its own
            self._loop, self._turns = loop, asyncio.Semaphore(self._size)
        return self._turns

    async def _take(self) -> _Worker:
        if self._idle:
            return self._idle.pop()
        # In a thread: the first one waits for the nursery to start, and downloads must go on meanwhile.
        worker = await asyncio.to_thread(_Worker, self._function, self._limits)
        self._workers.add(worker)
        return worker

    def _end(self, worker: _Worker) -> int:
        self._workers.discard(worker)
        return worker.end()


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


if __name__ == "__main__":
    nurse(socket.socket(fileno=int(sys.argv[1])))
