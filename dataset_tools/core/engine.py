"""Where the shards of a stage run: in this process, on many processes of this machine, or elsewhere.

An engine is one object with `map_shards`. It may run the shards anywhere and in any order: a shard's
result lies on disk under a fixed name, so that every engine leaves the same bytes. A shard in which a worker
dies or hangs is done again item by item, in a process of its own, until the item is known that does it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from ctypes import c_double
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from dataset_tools.core.errors import ServiceError

# No item takes so long, not even the first one, before which a worker may have to fetch its models.
STALL_S = 900.0
_PATIENCE_PARTS = 8
# Items of one shard that may be lost to dead workers; beyond, the fault is the machine's and not theirs.
MOST_LOST = 8
RESUME = "run the same command again to resume, perhaps with fewer workers"

_log = logging.getLogger(__name__)

_Shard = TypeVar("_Shard")
_Result = TypeVar("_Result")


class Executor(Protocol):
    """Runs a picklable function over shards, in any order, on any number of machines."""

    def map_shards(
        self, function: Callable[[_Shard], _Result], shards: Sequence[_Shard]
    ) -> Iterator[_Result]:
        """Results in order of completion."""


@runtime_checkable
class ShardWork(Protocol):
    """Work on shards that leaves a note on disk of what it is at, for whoever finds its process dead."""

    def __call__(self, shard: Any) -> Any:
        """Do the shard."""

    def is_under_way(self, shard: Any) -> bool:
        """True from the shard's beginning to its end, also when the process that did it is gone."""
        ...

    def item_under_way(self, shard: Any) -> int | None:
        """Number of the item that was begun last; None when the items are not done one by one."""
        ...

    def one_by_one(self, lost: Mapping[int, str]) -> Self:
        """The same work item by item, without those that are `lost` (number: what happened)."""
        ...


def do_without_the_deadly(
    work: ShardWork, shard: Any, attempt: Callable[[ShardWork, Any], _Result]
) -> _Result:
    """Do a shard in which a worker died or hung, rejecting the items that do it again.

    Args:
        work: what to do.
        shard: the shard.
        attempt: does work on a shard in a process of its own.

    Raises:
        ServiceError: the process dies outside of any item, or with too many of them.
    """
    lost: dict[int, str] = {}
    while True:
        try:
            return attempt(work.one_by_one(lost), shard)
        except WorkerLost as error:
            item = work.item_under_way(shard)
            if item is None or item in lost or len(lost) == MOST_LOST:
                raise ServiceError(f"{error}, again and again; {RESUME}") from error
            lost[item] = str(error)


_worker_function: Callable[[Any], Any] | None = None
# Of any worker, in memory shared without a lock: one killed while it held a lock would stop all others.
_last_beat: c_double | None = None


def _install(function: Callable[[Any], Any], last_beat: c_double) -> None:
    global _worker_function, _last_beat
    _worker_function, _last_beat = function, last_beat
    beat()
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    # A pool's process whose parent was killed would wait for work for ever and keep its memory.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(shard: Any) -> Any:
    assert _worker_function is not None
    beat()
    return _worker_function(shard)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """SIGINT waits until the block ends, and for good in processes that are started inside it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def beat() -> None:
    """Say that work goes on; in a process that is no worker of a `LocalExecutor` it does nothing."""
    if _last_beat is not None:
        _last_beat.value = time.monotonic()


class WorkerLost(Exception):
    """A worker died or hangs; the text says which."""


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Processes of this machine.

    A worker that was killed, or that hangs when nothing else is left to do, costs the shards under way: they
    are done again one after the other, item by item, and an item with which the process is lost again is
    rejected as `worker_lost`. The others go on with half as many workers. Nobody looks after work in the
    calling process: when an earlier run was stopped in the middle of a shard, there is a process for it.

    Attributes:
        workers: processes at once; one worker, or one shard, runs in the calling process.
        stall_s: when no worker has finished an item for so long, those left are taken to hang.
    """

    workers: int = 1
    stall_s: float = STALL_S

    def is_inline(self, function: Callable[[Any], Any], shards: Sequence[Any]) -> bool:
        """True when these shards run in the calling process."""
        return (self.workers <= 1 or len(shards) <= 1) and not any(
            isinstance(function, ShardWork) and function.is_under_way(shard) for shard in shards
        )

    def map_shards(
        self, function: Callable[[_Shard], _Result], shards: Sequence[_Shard]
    ) -> Iterator[_Result]:
        """As `Executor.map_shards`.

        Raises:
            ServiceError: worker processes are lost again and again, and no item is to blame; finished
                shards stay, a rerun does the rest.
        """
        if self.is_inline(function, shards):
            yield from map(function, shards)
            return
        left = dict(enumerate(shards))
        workers = self.workers
        was_lost = False
        while left:
            try:
                for number, result in self._pass(function, dict(left), workers):
                    del left[number]
                    yield result
            except WorkerLost as lost:
                work = function if isinstance(function, ShardWork) else None
                suspects = [number for number in left if work is not None and work.is_under_way(left[number])]
                if was_lost and not suspects:
                    raise ServiceError(f"{lost}, for the second time; {RESUME}") from lost
                was_lost = True
                workers = max(1, self.workers // 2)
                _log.warning("%s; going on with %d worker(s)", lost, workers)
                for number in suspects:
                    assert work is not None
                    result = do_without_the_deadly(work, left[number], self._alone)
                    del left[number]
                    yield result

    def _alone(self, work: ShardWork, shard: Any) -> Any:
        [(_, result)] = self._pass(work, {0: shard}, 1)
        return result

    def _pass(
        self, function: Callable[[_Shard], _Result], shards: Mapping[int, _Shard], workers: int
    ) -> Iterator[tuple[int, _Result]]:
        """Each shard's number and result as it comes, until all are done or a worker is lost."""
        context = multiprocessing.get_context("spawn")
        last_beat = context.RawValue(c_double)
        others = set(multiprocessing.active_children())
        # The function travels once per process, so a model it holds is loaded once per process.
        with ProcessPoolExecutor(
            min(workers, len(shards)), context, initializer=_install, initargs=(function, last_beat)
        ) as pool:
            waiting: dict[Future[_Result], int] = {}
            try:
                with _deaf_to_interrupts():  # Ctrl-C goes to the whole group; we end the workers, born here
                    waiting.update((pool.submit(_call, shard), number) for number, shard in shards.items())
                while waiting:
                    for future in self._next_done(waiting, last_beat):
                        yield waiting.pop(future), future.result()
            except BrokenProcessPool as error:
                raise WorkerLost("a worker process was killed (out of memory?)") from error
            except (WorkerLost, KeyboardInterrupt, GeneratorExit):
                # A shard appears whole or not at all, so half-done ones need no farewell. None is cancelled:
                # the pool ends what waits for dead processes by itself, and stumbles over what is cancelled.
                for process in set(multiprocessing.active_children()) - others:
                    process.kill()
                raise
            except BaseException:
                for future in waiting:
                    future.cancel()
                raise

    def _next_done(self, waiting: Mapping[Future[_Result], int], last_beat: c_double) -> set[Future[_Result]]:
        # Patience is counted in parts, so that a build that was stopped (Ctrl-Z) and goes on loses only one.
        seen, patience = last_beat.value, _PATIENCE_PARTS
        while patience:
            done, _ = wait(waiting, self.stall_s / _PATIENCE_PARTS, FIRST_COMPLETED)
            if done:
                return done
            patience = patience - 1 if last_beat.value == seen else _PATIENCE_PARTS
            seen = last_beat.value
        raise WorkerLost(f"no worker process finished an item in {self.stall_s:g} s")
