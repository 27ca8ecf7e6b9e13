"""The other side of `decoding`: the nursery that forks workers, and the worker that takes work.

Both live until the socket to their parent closes, as it does however the parent ends.
"""

from __future__ import annotations

import gc
import math
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ItemFault, ServiceError
from dataset_tools.core.reasons import Reason

_LENGTH = struct.Struct(">Q")


def nurse(channel: socket.socket) -> None:
    """Fork workers on demand; a fork has everything imported and costs milliseconds.

    A request is `("fork", function)` together with the worker's socket, answered with a process id;
    `("reap", process id, seconds)`, answered with the exit status, negative for a signal: a worker that lives
    on after so many seconds is killed; or `("load", function)`, not answered, for forks that will come.
    """
    # Both go to the whole group; the parent still needs the syncs under way, and ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel.setblocking(True)
    while True:
        head, handles, _, _ = socket.recv_fds(channel, _LENGTH.size, 1)
        if len(head) < _LENGTH.size:
            return
        message = _receive_exactly(channel, _LENGTH.unpack(head)[0])
        if message is None:
            return
        match pickle.loads(message):  # noqa: S301 - from our own parent
            case ("fork", bytes(function)):
                with socket.socket(fileno=handles[0]) as worker:
                    _send(channel, _fork(function, worker, channel))
            case ("load", bytes(function)):
                _imported(function)
            case ("reap", int(process), patience_s):
                _send(channel, _reap(process, patience_s))


def _fork(function: bytes, worker: socket.socket, channel: socket.socket) -> int:
    _imported(function)  # here and not in the child, so that the next fork has it too
    process = os.fork()
    if process:
        return process
    try:
        channel.close()
        serve(worker)
    finally:
        os._exit(0)


def _imported(function: bytes) -> bool:
    try:
        pickle.loads(function)  # noqa: S301
    except Exception:  # the worker says what is wrong
        return False
    gc.freeze()  # what was imported stays: no worker need look through it for garbage
    return True


def _reap(process: int, patience_s: float) -> int:
    until = time.monotonic() + patience_s
    while True:
        try:
            found, status = os.waitpid(process, os.WNOHANG)
        except ChildProcessError:
            return 0
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(process, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        time.sleep(0.002)


def serve(channel: socket.socket) -> None:
    """Answer until the other side hangs up, as it does when its process dies.

    The first message is the pickled (function, seconds of processor time, bytes of memory) and is answered
    with None; each further one is a pickled tuple of arguments.
    """
    channel.setblocking(True)
    first = _receive(channel)
    if first is None:
        return
    function, cpu_s, memory_bytes = pickle.loads(first)  # noqa: S301 - from our own parent
    _limit_memory(memory_bytes)
    _send(channel, None)
    while (message := _receive(channel)) is not None:
        _limit_cpu(cpu_s)
        _send(channel, _reply(function, pickle.loads(message)))  # noqa: S301


def _reply(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    try:
        return ("done", function(*arguments))
    except ItemFault as fault:
        return ("fault", fault.reason, str(fault), bool(fault.retryable), int(fault.tries))
    except MemoryError:
        return ("fault", Reason.DECODE_BUDGET, "needs more memory than one picture may take", False, 1)
    except ServiceError as error:
        return ("service", str(error))
    except Exception as error:  # one bad item must not end a worker
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return ("bug", f"{type(error).__name__}: {error} (in {where})")


def _limit_memory(more_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # elsewhere the address space says little about memory
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_cpu(seconds: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _send(channel: socket.socket, value: Any) -> None:
    data = pickle.dumps(value, protocol=5)
    channel.sendall(_LENGTH.pack(len(data)) + data)


def _receive(channel: socket.socket) -> bytes | None:
    head = _receive_exactly(channel, _LENGTH.size)
    return None if head is None else _receive_exactly(channel, _LENGTH.unpack(head)[0])


def _receive_exactly(channel: socket.socket, size: int) -> bytes | None:
    parts = bytearray(size)
    view, got = memoryview(parts), 0
    while got < size:
        try:
            count = channel.recv_into(view[got:])
        except OSError:
            return None
        if count == 0:
            return None
        got += count
    return bytes(parts)


if __name__ == "__main__":
    nurse(socket.socket(fileno=int(sys.argv[1])))
