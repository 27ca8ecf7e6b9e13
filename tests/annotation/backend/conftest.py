"""A proposer that is no network, and the backend on a real port."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn

from annotation.prelabel.proposer import Proposal
from dataset_tools.core.labels import Label


class DrawnProposer:
    """Says "mask" in the lower and "face" in the upper half of every box, or of the whole picture.

    Attributes:
        asked: boxes of every look it took.
    """

    name = "drawn"

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.asked: list[tuple[tuple[float, ...], ...]] = []

    def propose(self, images, boxes) -> list[list[Proposal]]:
        answers = []
        for rgb, own in zip(images, boxes, strict=True):
            self.asked.append(tuple(own))
            height, width = rgb.shape[:2]
            places = list(enumerate(own)) or [(-1, (0, 0, width, height))]
            answers.append([one for face, box in places for one in self._of(rgb, face, box)])
        return answers

    def _of(self, rgb, face: int, box: Sequence[float]) -> Iterator[Proposal]:
        x0, y0, x1, y1 = (round(end) for end in box)
        middle = (y0 + y1) // 2
        for label, rows in ((Label.FACE_MASK, slice(middle, y1)), (Label.FACE, slice(y0, middle))):
            probability = np.zeros(rgb.shape[:2], dtype=np.float32)
            probability[y0:y1, x0:x1] = 0.01
            probability[rows, x0:x1] = 0.9
            yield Proposal(label, probability, face)


@pytest.fixture
def drawn() -> DrawnProposer:
    return DrawnProposer()


@pytest.fixture(scope="session")
def make_drawn() -> type[DrawnProposer]:
    return DrawnProposer


@contextmanager
def _serving(app) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def serving() -> Callable[..., object]:
    """A context manager: from an application to its address."""
    return _serving
