"""Where the shards of a stage run: in this process, on many processes of this machine, or elsewhere.

An engine is one object with `map_shards`. It may run the shards anywhere and in any order: a shard's
result lies on disk under a fixed name, so that every engine leaves the same bytes.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from dataset_tools.core.errors import ServiceError

_Shard = TypeVar("_Shard")
_Result = TypeVar("_Result")


class Executor(Protocol):
    """Runs a picklable function over shards, in any order, on any number of machines."""

    def map_shards(
        self, function: Callable[[_Shard], _Result], shards: Sequence[_Shard]
    ) -> Iterator[_Result]:
        """Results in order of completion."""


_worker_function: Callable[[Any], Any] | None = None


def _install(function: Callable[[Any], Any]) -> None:
    global _worker_function
    _worker_function = function
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    # A pool's process whose parent was killed would wait for work for ever and keep its memory.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(shard: Any) -> Any:
    assert _worker_function is not None
    return _worker_function(shard)


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Processes of this machine; one worker, or one shard, runs in the calling process."""

    workers: int = 1

    def is_inline(self, shards: Sequence[Any]) -> bool:
        """True when these shards run in the calling process."""
        return self.workers <= 1 or len(shards) <= 1

    def map_shards(
        self, function: Callable[[_Shard], _Result], shards: Sequence[_Shard]
    ) -> Iterator[_Result]:
        """As `Executor.map_shards`.

        Raises:
            ServiceError: a worker process was killed; finished shards stay, a rerun does the rest.
        """
        if self.is_inline(shards):
            yield from map(function, shards)
            return
        # The function travels once per process, so a model it holds is loaded once per process.
        context = multiprocessing.get_context("spawn")
        count = min(self.workers, len(shards))
        with ProcessPoolExecutor(count, context, initializer=_install, initargs=(function,)) as pool:
            futures = [pool.submit(_call, shard) for shard in shards]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BrokenProcessPool as error:
                raise ServiceError(
                    "a worker process was killed (out of memory?); run the same command again to "
                    "resume, perhaps with fewer workers"
                ) from error
            finally:
                for future in futures:
                    future.cancel()
