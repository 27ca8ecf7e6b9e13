"""LabelMe itself, as the reference: what it draws, reads and writes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image
import pytest


@pytest.fixture(scope="session")
def labelme() -> SimpleNamespace:
    """LabelMe's own functions."""
    limit = PIL.Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("labelme")
        from labelme._label_file import read_label_file, write_label_file
        from labelme.app import _shape_to_dict, _shapes_from_dicts
        from labelme.config import load_config
        from labelme.utils import shape_to_mask
        from labelme.utils.shape import shapes_to_label
    PIL.Image.MAX_IMAGE_PIXELS = limit  # LabelMe switches Pillow's guard off for the whole process

    def read(path: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # LabelMe leaves the picture open
            return read_label_file(str(path))

    def save_as_labelme_does(path: Path) -> None:
        """Open a file and save it, as LabelMe does without a window."""
        content = read(path)
        shapes = _shapes_from_dicts(shape_dicts=content.shapes, label_flags=None)
        with PIL.Image.open(path.parent / content.image_path) as picture:
            width, height = picture.size
        write_label_file(
            str(path),
            shapes=[_shape_to_dict(shape) for shape in shapes],
            image_path=content.image_path,
            image_height=height,
            image_width=width,
            flags=content.flags,
            other_data=content.other_data,
        )

    return SimpleNamespace(
        read=read,
        save=save_as_labelme_does,
        load_config=load_config,
        shape_to_mask=shape_to_mask,
        shapes_to_label=shapes_to_label,
    )


_IN_THE_WINDOW = """
import sys
from pathlib import Path
from PyQt5 import QtCore, QtWidgets
from labelme.app import MainWindow

app = QtWidgets.QApplication(sys.argv[:1])
window = MainWindow(config_file=Path("labelme.yaml"), config_overrides={}, file_or_dir=".")
window.resize(1280, 800)
window.show()
app.processEvents()
docks = window._docks

def tick(flag):
    item, = docks.flag_list.findItems(flag, QtCore.Qt.MatchExactly)
    item.setCheckState(QtCore.Qt.Checked)
    app.processEvents()

def open_picture(number):
    docks.file_list.setCurrentRow(number)
    app.processEvents()

open_picture(0)
"""


@pytest.fixture
def in_labelme(labelme: SimpleNamespace, tmp_path: Path) -> Callable[[Path, str], str]:
    """Runs lines of Python in the real window, opened on a lane's folder with its configuration.

    They see `window`, `docks`, `app`, `tick(flag)` and `open_picture(number)`; what they print comes back.
    """

    def run(folder: Path, lines: str) -> str:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", _IN_THE_WINDOW + lines],
            cwd=folder,
            env=os.environ
            | {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "QT_QPA_PLATFORM": "offscreen"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
