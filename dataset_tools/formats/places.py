"""Where datasets keep their pictures, and the split that a file or folder is named after."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dataset_tools.core.errors import FetchFault
from dataset_tools.core.local_files import inside
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Split
from dataset_tools.formats.entries import split_of


def split_from_word(word: str) -> Split:
    """The split that a folder or file is named after, also with a year as in "train2017"."""
    return split_of(word.rstrip("0123456789-_"))


def split_from_name(path: Path) -> Split:
    """The split of a label file: from "instances_<split>.json" or from the folder it lies in."""
    own = split_from_word(path.stem.rpartition("_")[2])
    return split_from_word(path.parent.name) if own is Split.UNASSIGNED else own


class PictureFolder:
    """Finds the pictures that label files name; nothing outside the dataset is looked at.

    Args:
        root: of the dataset.
        places: folders below the root to try, in this order; "" is the root itself.
        beside: folder of the label file, tried last.
    """

    def __init__(self, root: Path, places: Iterable[str], beside: Path) -> None:
        self.root = root.resolve()
        self._starts: list[Path] = []
        for place in (*places, beside.resolve().as_posix()):
            try:
                start = inside(self.root, place)
            except FetchFault:
                continue  # a label file that was named from elsewhere
            if start.is_dir() and start not in self._starts:
                self._starts.append(start)

    def find(self, name: str) -> Path:
        """Where the picture of that name lies; its last part may be a link, which no reader follows.

        Args:
            name: as the label file states it.

        Raises:
            FetchFault: `unsafe_path` when it leads outside wherever it starts, `missing_image`.
        """
        if "/" not in name and "\\" not in name and "\0" not in name and name not in ("", ".", ".."):
            for start in self._starts:
                path = start / name
                if _is_file(path):
                    return path
            raise FetchFault(Reason.MISSING_IMAGE, f"{name[:200]!r} is not in the dataset's folder")
        refused: FetchFault | None = None
        for start in self._starts:
            try:
                path = inside(self.root, (start / name).as_posix())
            except FetchFault as fault:
                refused = fault
                continue
            if _is_file(path):
                return path
        raise refused or FetchFault(Reason.MISSING_IMAGE, f"{name[:200]!r} is not in the dataset's folder")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any file's
        return False


def find_picture(root: Path, name: str, places: Iterable[str], beside: Path) -> Path:
    """Where one picture lies; arguments and errors as `PictureFolder` and its `find`."""
    return PictureFolder(root, places, beside).find(name)
