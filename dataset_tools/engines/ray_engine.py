"""Shards on Ray: worker processes of this machine, or a cluster that is already there.

Without `RAY_ADDRESS` a private Ray of `workers` processes is started for one stage and ended after it. With
`RAY_ADDRESS` (Ray's own variable) the shards go to that cluster; its machines must see the workspace under
the same path, e.g. on a network file system, and must have this suite installed.

A private Ray demands a random token of everybody who talks to it, because its ports are open on every
network interface whatever address it is told, and its workers run what they are sent.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from dataset_tools.core.engine import RESUME, ShardWork, WorkerLost, do_without_the_deadly
from dataset_tools.core.errors import ConfigError, ServiceError

_Shard = TypeVar("_Shard")
_Result = TypeVar("_Result")

# How often Ray starts a shard again whose worker was killed, before the run gives up.
RETRIES_OF_A_SHARD = 3
# Shards handed to Ray ahead of time for each worker: enough to keep it busy, few enough to hold in memory.
SHARDS_AHEAD = 2
# Room for the function, the stage's plan and the shards, in shared memory; Ray spills to disk beyond it.
OBJECT_STORE_BYTES = 300 * 2**20
# When no shard has ended for so long, one hangs, or the cluster has no worker to offer.
PATIENCE_S = 3600.0

_PRIVATE_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    # A private Ray shares the machine with others: their use of memory is no reason to kill its workers.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run` Ray would pack the working directory and build an environment for every worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@dataclass(frozen=True, slots=True)
class RayExecutor:
    """As `core.engine.Executor`, on Ray.

    Attributes:
        workers: processes of a private Ray; a cluster is handed up to twice as many shards at once.

    Raises:
        ConfigError: the package `ray` is not installed.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("engine ray needs the package ray; install it with: pip install 'maskset[ray]'")

    def map_shards(
        self, function: Callable[[_Shard], _Result], shards: Sequence[_Shard]
    ) -> Iterator[_Result]:
        """As `core.engine.Executor.map_shards`; a shard whose worker is killed is done again by another.

        When that one is killed, too, the shard is done item by item, as by `core.engine.LocalExecutor`.

        Raises:
            ServiceError: Ray does not start or is not reached, or a shard's workers were killed again and
                again and no item is to blame; finished shards stay, a rerun does the rest.
        """
        if not shards:
            return
        with _connected(self.workers):
            yield from _map(function, shards, self.workers * SHARDS_AHEAD)


def _map(function: Callable[[_Shard], _Result], shards: Sequence[_Shard], at_once: int) -> Iterator[_Result]:
    import ray
    from ray.exceptions import RayError, RayTaskError, WorkerCrashedError

    def alone(work: Any, shard: Any) -> Any:
        try:
            return ray.get(remote.options(max_retries=0).remote([ray.put(work)], shard))
        except WorkerCrashedError as error:
            raise WorkerLost("a worker of Ray was killed (out of memory?)") from error

    remote = ray.remote(num_cpus=1, max_retries=RETRIES_OF_A_SHARD)(_call)
    waiting = iter(shards)
    running: dict[Any, Any] = {}
    try:
        # In a list, so that a worker gets the reference: it fetches the function once, not once per shard.
        sent = [ray.put(function)]
        while True:
            for shard in waiting:
                running[remote.remote(sent, shard)] = shard
                if len(running) >= at_once:
                    break
            if not running:
                return
            done, _ = ray.wait(list(running), timeout=PATIENCE_S)
            if not done:
                raise ServiceError(f"no shard has ended on Ray for {PATIENCE_S:.0f} s; run again to resume")
            shard = running.pop(done[0])
            try:
                result = ray.get(done[0])
            except WorkerCrashedError:
                if not isinstance(function, ShardWork):
                    raise
                result = do_without_the_deadly(function, shard, alone)
            yield result
    except RayTaskError as error:
        # The stage's own error, as it would have come out of a local run.
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except RayError as error:
        said = " ".join(str(error).split())[:200]
        raise ServiceError(
            f"Ray lost the workers of a shard ({type(error).__name__}: {said}); {RESUME}"
        ) from error
    finally:
        for left in running:
            ray.cancel(left, force=True)


def _call(sent: list[Any], shard: Any) -> Any:
    return _fetch(sent[0])(shard)


@cache
def _fetch(reference: Any) -> Any:
    import ray

    return ray.get(reference)


@contextmanager
def _connected(workers: int) -> Iterator[None]:
    """A private Ray, or a connection to the cluster of `RAY_ADDRESS`; both are left at the end."""
    is_private = not os.environ.get("RAY_ADDRESS")
    os.environ.update(_ENVIRONMENT)
    folder = ""
    options: dict[str, Any] = {}
    if is_private:
        os.environ.update(_PRIVATE_ENVIRONMENT)
        # One token for the life of this process: Ray reads it once, and each stage starts a Ray of its own.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # A path of its own, and a short one: the names of Ray's sockets lie below it.
        folder = tempfile.mkdtemp(prefix="ray-")
        options = {
            "address": "local",
            "num_cpus": workers,
            "num_gpus": 0,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": folder,
            "_node_ip_address": "127.0.0.1",
        }
    import ray

    try:
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:  # Ray has no one error for this
            said = " ".join(str(error).split())[:300]
            raise ServiceError(f"Ray cannot be started or reached: {said}") from error
        yield
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
