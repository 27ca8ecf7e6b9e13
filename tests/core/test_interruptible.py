"""An interruption of a coroutine: one KeyboardInterrupt, cleaned up, nothing on the screen."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from dataset_tools.core.interruptible import run_interruptible


def test_a_result_is_handed_on_and_ctrl_c_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)

    async def work() -> int:
        await asyncio.sleep(0)
        return 3

    assert run_interruptible(work()) == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_inside_a_callback_that_fills_a_future_leaves_the_callback_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cleaned_up: list[bool] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()

        def fill() -> None:
            if not answer.done():
                signal.raise_signal(signal.SIGINT)  # arrives between the question and the deed
                answer.set_result(1)

        loop.call_soon(fill)
        try:
            await answer
            await asyncio.sleep(60)
        finally:
            cleaned_up.append(True)

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(work())
    assert cleaned_up == [True]
    assert not caplog.records  # asyncio logs what a callback raises


def test_a_second_signal_interrupts_the_cleaning_up() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(work())


def test_a_cancellation_from_within_is_no_interruption() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_interruptible(work())


def test_a_thread_that_gets_no_signals_runs_it_too() -> None:
    found: list[int] = []

    async def work() -> int:
        return 5

    thread = threading.Thread(target=lambda: found.append(run_interruptible(work())))
    thread.start()
    thread.join()
    assert found == [5]
