"""Pictures of cloth that users added: found by their SHA-256 in the directories this process has loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import DataError

_paths: dict[str, Path] = {}
_pictures: dict[str, npt.NDArray[np.uint8]] = {}


def register_texture(sha256: str, path: Path) -> None:
    """Make a texture known to this process; the file is read and checked when it is first drawn."""
    _paths[sha256] = path


def texture_rgb(sha256: str) -> npt.NDArray[np.uint8]:
    """A texture's picture, (H, W, 3) sRGB.

    Raises:
        DataError: no loaded directory holds it, or the file has changed or cannot be read.
    """
    if sha256 not in _pictures:
        if sha256 not in _paths:
            raise DataError(
                f"mask texture {sha256[:12]} is not loaded: give the directory of your own mask designs"
            )
        _pictures[sha256] = read_texture(_paths[sha256], sha256)
    return _pictures[sha256]


def read_texture(path: Path, sha256: str) -> npt.NDArray[np.uint8]:
    """A texture file, checked, (H, W, 3) sRGB.

    Raises:
        DataError: unreadable, not the file it was, or not a picture of 8-bit colours up to 4096 px a side.
    """
    import hashlib

    from dataset_tools.core.images import decode_photo

    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{path}: not the picture that was added (its SHA-256 differs); add the mask again")
    try:
        return decode_photo(data).rgb
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
