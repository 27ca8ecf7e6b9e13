"""Cut-outs of real things from a user's folder, pasted where such things are worn (`baselines.md` 5.8)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from dataset_tools.core.errors import DataError
from dataset_tools.core.files import digest_json, sha256_file

RgbImage = npt.NDArray[np.uint8]
BoolMask = npt.NDArray[np.bool_]

_PAPER_PX = 112


@dataclass(frozen=True, slots=True)
class Placement:
    """How large a thing is on a 112-pixel face, and where its top left corner lies.

    Attributes:
        size_wh_px: width and height before scaling.
        scale: range of the factor on both.
        left, top: ranges of the corner, shares of the side.
    """

    size_wh_px: tuple[float, float]
    scale: tuple[float, float]
    left: tuple[float, float]
    top: tuple[float, float]


_PLACEMENTS: Mapping[str, Placement] = MappingProxyType(
    {
        "glasses": Placement((80, 40), (0.9, 1.1), (0.02, 0.22), (0.25, 0.35)),
        "scarf": Placement((90, 90), (0.9, 1.0), (0.05, 0.15), (0.55, 0.65)),
        "object": Placement((55, 55), (1.0, 2.0), (0.15, 0.50), (0.15, 0.50)),
    }
)
KIND_OF_FOLDER: Mapping[str, str] = MappingProxyType(
    {
        "glasses": "glasses",
        "eyeglasses": "glasses",
        "sunglasses": "glasses",
        "scarf": "scarf",
        "object": "object",
        "hand": "object",
    }
)


class Cutouts:
    """RGBA pictures by kind: "glasses", "scarf" or "object"; whatever other folders there are is left alone.

    Attributes:
        kinds: those with at least one picture, sorted.
    """

    def __init__(self, folder: Path) -> None:
        """Find the pictures of `folder`'s subfolders named in `KIND_OF_FOLDER`.

        Raises:
            DataError: there is none.
        """
        self._paths: dict[str, list[Path]] = {}
        for path in sorted(folder.glob("*/*")):
            kind = KIND_OF_FOLDER.get(path.parent.name)
            if kind is not None and path.suffix.lower() in (".png", ".webp"):
                self._paths.setdefault(kind, []).append(path)
        if not self._paths:
            raise DataError(f"{folder} has no cut-out: expected PNGs in {', '.join(sorted(KIND_OF_FOLDER))}/")
        self.kinds = tuple(sorted(self._paths))

    @cached_property
    def digest(self) -> str:
        """Of every picture's bytes and kind."""
        return digest_json({kind: [sha256_file(one) for one in found] for kind, found in self._paths.items()})

    def pasted(self, rgb: RgbImage, kind: str, rng: np.random.Generator) -> tuple[RgbImage, BoolMask]:
        """A face with a random cut-out of that kind, and the pixels that are not fully transparent.

        Args:
            rgb: (S, S, 3) uint8.
            kind: one of `kinds`.
            rng: decides which, how large and where.

        Raises:
            DataError: the cut-out cannot be read or has no transparency.
        """
        paths, place = self._paths[kind], _PLACEMENTS[kind]
        rgba = read_cutout(paths[int(rng.integers(len(paths)))])
        side = rgb.shape[0]
        factor = rng.uniform(*place.scale) * side / _PAPER_PX
        width, height = (max(round(one * factor), 1) for one in place.size_wh_px)
        left, top = round(rng.uniform(*place.left) * side), round(rng.uniform(*place.top) * side)
        scaled = _resized(rgba, width, height)[: side - top, : side - left]
        layer = np.zeros((side, side, 4), dtype=np.float32)
        layer[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
        alpha = layer[..., 3:]
        blended = rgb * (1 - alpha) + layer[..., :3]
        return np.rint(blended).clip(0, 255).astype(np.uint8), alpha[..., 0] > 0


def read_cutout(path: Path) -> npt.NDArray[np.float32]:
    """(H, W, 4) float32: colour already times alpha in 0 to 255, alpha in [0, 1].

    Raises:
        DataError: no picture, or without transparency.
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as opened:
            if "A" not in opened.getbands() and "transparency" not in opened.info:
                raise DataError(f"{path} has no transparency")
            rgba = np.asarray(opened.convert("RGBA"), dtype=np.float32)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from None
    alpha = rgba[..., 3:] / 255
    return np.concatenate((rgba[..., :3] * alpha, alpha), axis=2)


def _resized(rgba: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    # Colour times alpha is what may be averaged; plain colour would bleed from transparent pixels.
    shrinks = width < rgba.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(rgba, (width, height), interpolation=method), dtype=np.float32)
    scaled[scaled[..., 3] < 1 / 255] = 0.0  # less than one grey level of cover is no cover
    return scaled
