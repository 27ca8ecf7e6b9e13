"""Real worker processes, given real trouble: the functions are the standard library's own."""

from __future__ import annotations

import asyncio
import operator
import os
import pickle
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dataset_tools.core.decoding import WorkerPool, WorkLimits
from dataset_tools.core.errors import ItemFault, ServiceError
from dataset_tools.core.images import decode_photo
from dataset_tools.core.masks import RleMask
from dataset_tools.core.reasons import Reason

MIB = 1 << 20


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Two workers that call what they are given."""
    made = WorkerPool(operator.call, 2, WorkLimits(cpu_s=1.0, wall_s=60.0, memory_bytes=256 * MIB))
    yield made
    made.close()


@pytest.fixture
def brief_pool() -> Iterator[WorkerPool]:
    """Two workers that are given up after a second."""
    made = WorkerPool(operator.call, 2, WorkLimits(wall_s=1.0))
    yield made
    made.close()


def run(pool: WorkerPool, *calls: tuple[Any, ...]) -> list[Any]:
    """All calls together; what each returned or raised."""

    async def together() -> list[Any]:
        return await asyncio.gather(*(pool.run(*call) for call in calls), return_exceptions=True)

    return asyncio.run(together())


def reason_of(pool: WorkerPool, *call: Any) -> Reason:
    (fault,) = run(pool, call)
    assert isinstance(fault, ItemFault), fault
    return fault.reason


def test_results_come_back_in_the_order_of_the_calls(pool: WorkerPool) -> None:
    assert run(pool, *((pow, number, 2) for number in range(50))) == [number**2 for number in range(50)]


def test_workers_outlive_an_event_loop(pool: WorkerPool) -> None:
    first = {*run(pool, *[(os.getpid,)] * 20)}
    assert os.getpid() not in first
    assert {*run(pool, *[(os.getpid,)] * 20)} <= first


def test_a_worker_that_spins_ends_in_its_processor_time(pool: WorkerPool) -> None:
    endless = partial(max, iter(int, 1))  # int() is 0, never 1
    assert reason_of(pool, endless) is Reason.DECODE_BUDGET


def test_a_greedy_call_is_refused_memory_and_the_worker_lives_on(pool: WorkerPool) -> None:
    (before,) = run(pool, (os.getpid,))
    assert reason_of(pool, bytearray, 512 * MIB) is Reason.DECODE_BUDGET
    assert run(pool, (os.getpid,)) == [before]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_decoder_that_crashes_costs_its_item_alone(pool: WorkerPool, number: int) -> None:
    crash = (signal.raise_signal, number)
    results = run(pool, *[(abs, -1), crash, (abs, -2)] * 3)
    assert [result.reason if isinstance(result, ItemFault) else result for result in results] == [
        1,
        Reason.DECODER_CRASH,
        2,
    ] * 3


def test_a_worker_killed_from_outside_is_given_one_more_try(pool: WorkerPool) -> None:
    killed = (signal.raise_signal, signal.SIGKILL)  # as the kernel does when memory runs out
    fault, other = run(pool, killed, (abs, -4))
    assert isinstance(fault, ItemFault)
    assert (fault.reason, fault.retryable, fault.tries) == (Reason.WORKER_LOST, True, 2)
    assert other == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_tells_the_whole_group_to_stop_takes_no_worker_from_the_parent(
    pool: WorkerPool, number: int
) -> None:
    assert run(pool, (signal.raise_signal, number), (abs, -4)) == [None, 4]


def test_the_second_try_may_succeed(pool: WorkerPool, tmp_path: Path) -> None:
    # The first try takes the file away and dies; the second finds nothing to take and is done.
    mark = tmp_path / "mark"
    mark.touch()
    steps = f"import os, sys\nif os.path.exists({str(mark)!r}):\n os.remove({str(mark)!r}); os._exit(9)"
    assert run(pool, (exec, steps)) == [None]


def test_a_worker_that_sleeps_for_ever_does_not_hold_the_others(brief_pool: WorkerPool) -> None:
    fault, *others = run(brief_pool, (time.sleep, 3600), *[(abs, -3)] * 20)
    assert isinstance(fault, ItemFault)
    assert (fault.reason, fault.retryable) == (Reason.WORKER_LOST, True)
    assert others == [3] * 20


def test_faults_of_the_function_arrive_as_they_are_and_bugs_with_their_place(pool: WorkerPool) -> None:
    fault, bug = run(pool, (decode_photo, b"%PDF-1.7"), (decode_photo, 5))
    assert isinstance(fault, ItemFault)
    assert (fault.reason, str(fault)) == (Reason.NOT_AN_IMAGE, "a PDF, not a picture")
    assert isinstance(bug, RuntimeError)
    assert "TypeError" in str(bug) and "images.py" in str(bug)


def test_records_come_back_and_nothing_else_is_unpickled(pool: WorkerPool) -> None:
    mask = RleMask((2, 2), (1, 3))
    (back,) = run(pool, (operator.itemgetter(0), [mask]))
    assert back == mask
    # A reply that names any other class ends the worker instead of running code here.
    (fault,) = run(pool, (operator.itemgetter(0), [partial(print, "taken over")]))
    assert isinstance(fault, ItemFault) and fault.reason is Reason.WORKER_LOST


def test_what_waits_behind_a_lost_piece_of_work_is_not_blamed() -> None:
    pool = WorkerPool(operator.call, 1, WorkLimits(wall_s=1.0))
    killed, endless = (signal.raise_signal, signal.SIGKILL), (time.sleep, 3600)
    results = run(pool, killed, (abs, -1), endless, (abs, -2))
    assert [getattr(result, "reason", result) for result in results] == [
        Reason.WORKER_LOST,
        1,
        Reason.WORKER_LOST,
        2,
    ]
    pool.close()


def test_the_wait_behind_other_work_does_not_count_as_its_time() -> None:
    pool = WorkerPool(operator.call, 1, WorkLimits(wall_s=1.0))
    assert run(pool, *[(time.sleep, 0.4)] * 5) == [None] * 5
    pool.close()


def test_warm_workers_are_those_that_work(pool: WorkerPool) -> None:
    async def warm() -> None:
        await asyncio.gather(pool.warm(), pool.warm())

    pool.prepare()
    asyncio.run(warm())
    assert len(pool._workers) == 2
    assert {*run(pool, *[(os.getpid,)] * 20)} == {worker.process for worker in pool._workers}


def test_a_large_piece_and_a_large_reply_pass_each_other(pool: WorkerPool) -> None:
    blocks = [bytes([number]) * 3_000_000 for number in range(6)]
    assert run(pool, *[(operator.itemgetter(0), [block]) for block in blocks]) == blocks


def test_a_function_that_cannot_be_loaded_is_a_service_error() -> None:
    pool = WorkerPool(abs, 1, WorkLimits())
    pool._function = pickle.dumps(abs).replace(b"abs", b"sba")
    (error,) = run(pool, (1,))
    assert isinstance(error, ServiceError)
    pool.close()


def test_closing_leaves_no_process(pool: WorkerPool) -> None:
    pids = {*run(pool, *[(os.getpid,)] * 20)}
    pool.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
