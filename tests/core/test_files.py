"""Files are written whole or not at all, and others may read them as the umask says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dataset_tools.core.files import replacing, write_text


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_written_file_has_the_rights_the_umask_gives(tmp_path: Path, umask: int, expected: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "report.html", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == expected


def test_a_crash_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "board.json"
    write_text(target, "old")

    def crashes() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crashes()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
