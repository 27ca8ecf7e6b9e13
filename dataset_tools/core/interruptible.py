"""Run a coroutine so that Ctrl-C reaches it between callbacks of the event loop, never inside of one."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run_interruptible(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """`asyncio.run`, but an interruption is a callback of the loop like any other.

    The handler of `asyncio.run` itself cancels the task wherever the signal arrives, also inside a callback
    that has just seen that a future is open and is about to fill it: an `InvalidStateError` on the screen.

    Raises:
        KeyboardInterrupt: SIGINT arrived; the coroutine was cancelled and has cleaned up. A second one
            interrupts the cleaning up.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(coroutine)  # signals do not arrive here
    was_interrupted = False

    async def guarded() -> _Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def interrupt() -> None:
            nonlocal was_interrupted
            was_interrupted = True
            loop.remove_signal_handler(signal.SIGINT)
            task.cancel()

        loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            return await coroutine
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if was_interrupted:
            raise KeyboardInterrupt from None
        raise
