"""Real servers with a data folder of their own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from annotation.label_studio.server import LABEL_STUDIO_VERSION, LabelStudioServer, cache_folder

ServerMaker = Callable[..., LabelStudioServer]


@pytest.fixture
def make_server(
    label_studio_program: Path, label_studio: LabelStudioServer, tmp_path: Path
) -> Iterator[ServerMaker]:
    """A server, not started, on a copy of the empty database; with a port given, on the same folder again."""
    made: list[LabelStudioServer] = []
    data = tmp_path / "label-studio"

    def make(port: int | None = None) -> LabelStudioServer:
        if not data.exists():
            # The session's server has seen to it that there is one.
            empty = f"label-studio-{LABEL_STUDIO_VERSION}-empty-{sys.version_info[1]}"
            shutil.copytree(cache_folder() / empty, data)
        made.append(LabelStudioServer(label_studio_program, data, port))
        return made[-1]

    yield make
    for server in made:
        with suppress(OSError):
            server.stop()
