"""Cut-outs of real things: RGBA pictures from a user's folder, checked, named by their bytes."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataset_tools.core.errors import ConfigError, DataError, ImageFault
from dataset_tools.core.files import sha256_hex
from dataset_tools.core.images import sniff_format
from dataset_tools.core.reasons import Reason
from synth.colour import srgb_to_linear
from synth.occluders.shapes import turn_xy
from synth.raster import Box

Floats32 = npt.NDArray[np.float32]
BoolMask = npt.NDArray[np.bool_]

# A sub-folder of one of these names holds that kind; every other one holds objects.
CUTOUT_KINDS: tuple[str, ...] = ("sunglasses", "eyeglasses", "scarf", "hand", "object")
WORN_ON_EYES: tuple[str, ...] = ("sunglasses", "eyeglasses")

_ENDINGS = (".png", ".webp")
_MAX_BYTES = 16 * 1024 * 1024
_MAX_PIXELS = 16_000_000
_MIN_SIDE_PX = 8
_MAX_SIDE_PX = 1024
_SEEN = 13  # alpha out of 255 below which nobody would trace an edge
_SOLID = 230
_FRONT_VIEW_IOU = 0.72  # of the filled outline with its mirror image
_CACHED = 64


@dataclass(frozen=True)
class Cutout:
    """One decoded cut-out, cropped to what is visible.

    Attributes:
        kind: one of `CUTOUT_KINDS`.
        sha256: of its file.
        rgba: (h, w, 4) uint8 sRGB and alpha, colours not multiplied by alpha.
        lenses_xy: centres of the two lenses in pixels of `rgba`, the viewer's left one first; only spectacles
            have meaningful ones.
    """

    kind: str
    sha256: str
    rgba: npt.NDArray[np.uint8]
    lenses_xy: tuple[tuple[float, float], tuple[float, float]]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgba.shape[0], self.rgba.shape[1]


def decode_cutout(data: bytes, kind: str) -> Cutout:
    """Decode untrusted bytes to a cut-out.

    Args:
        data: a whole PNG or WebP file with an alpha channel (or a transparent palette colour).
        kind: one of `CUTOUT_KINDS`.

    Raises:
        ImageFault: not such a picture, no alpha, nothing or everything visible, too large, too small, or, for
            spectacles, not seen from the front.
    """
    rgba = _decode_rgba(data)
    seen = rgba[..., 3] >= _SEEN
    if not seen.any():
        raise ImageFault(Reason.NO_AREA, "wholly transparent")
    if (rgba[..., 3] >= _SOLID).all():
        raise ImageFault(Reason.FORMAT_NOT_ALLOWED, "opaque everywhere: nothing is cut out")
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    rgba = np.ascontiguousarray(rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    height, width = rgba.shape[:2]
    if min(height, width) < _MIN_SIDE_PX:
        raise ImageFault(Reason.TOO_SMALL, f"{width}x{height} visible pixels, side at least {_MIN_SIDE_PX}")
    lenses = _lenses(rgba[..., 3] >= 64, strict=kind in WORN_ON_EYES)
    return Cutout(kind, sha256_hex(data), rgba, lenses)


def _decode_rgba(data: bytes) -> npt.NDArray[np.uint8]:
    if len(data) > _MAX_BYTES:
        raise ImageFault(Reason.TOO_MANY_BYTES, f"{len(data)} bytes, at most {_MAX_BYTES} allowed")
    kind = sniff_format(data)
    if kind not in ("PNG", "WEBP"):
        raise ImageFault(Reason.NOT_AN_IMAGE, "not a PNG or WebP picture")
    if kind == "PNG" and b"IEND" not in data[-64:]:
        raise ImageFault(Reason.TRUNCATED, "PNG ends before its IEND chunk")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=[kind]) as probe:
                probe.verify()  # checksums: Pillow reads torn rows as clear ones and says nothing
            with Image.open(io.BytesIO(data), formats=[kind]) as opened:
                width, height = opened.size
                if width * height > _MAX_PIXELS:
                    text = f"{width}x{height} pixels, at most {_MAX_PIXELS} allowed"
                    raise ImageFault(Reason.TOO_MANY_PIXELS, text)
                if "A" not in opened.getbands() and "transparency" not in opened.info:
                    raise ImageFault(Reason.FORMAT_NOT_ALLOWED, f"no alpha channel (mode {opened.mode})")
                return _at_most(opened.convert("RGBA"), _MAX_SIDE_PX)
        except ImageFault:
            raise
        except Image.DecompressionBombError as error:
            raise ImageFault(Reason.TOO_MANY_PIXELS, str(error)) from error
        except Exception as error:  # decoders raise anything on hostile bytes
            raise ImageFault(Reason.CORRUPT, f"{kind}: {error}".splitlines()[0]) from error


def _at_most(picture: Image.Image, side_px: int) -> npt.NDArray[np.uint8]:
    # Larger than any face is wide only costs memory. Shrunk with colours multiplied by alpha ("RGBa").
    shrink = side_px / max(picture.size)
    if shrink < 1:
        size = (max(round(picture.width * shrink), 1), max(round(picture.height * shrink), 1))
        picture = picture.convert("RGBa").resize(size, resample=Image.Resampling.BOX).convert("RGBA")
    return np.asarray(picture, dtype=np.uint8)


def _lenses(solid: BoolMask, *, strict: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    # Middle of what the left and the right half enclose: frame and lens, clear or not.
    from scipy import ndimage

    # Thin wire is broken here and there; a lens it nearly encloses counts.
    closed = ndimage.binary_closing(np.pad(solid, 3), structure=np.ones((3, 3)), iterations=2)[3:-3, 3:-3]
    filled = ndimage.binary_fill_holes(closed | solid)
    if strict:
        mirrored = filled[:, ::-1]
        iou = float((filled & mirrored).sum() / max(int((filled | mirrored).sum()), 1))
        if iou < _FRONT_VIEW_IOU:
            text = (
                f"spectacles not seen from the front: the halves match by {iou:.2f}, {_FRONT_VIEW_IOU} needed"
            )
            raise ImageFault(Reason.POSE, text)
    width = solid.shape[1]
    centres: list[tuple[float, float]] = []
    for first, last in ((0, width // 2), (width - width // 2, width)):
        rows, columns = np.nonzero(filled[:, first:last])
        if rows.size == 0:
            rows, columns = np.array([solid.shape[0] // 2]), np.array([(last - first) // 2])
        centres.append((float(columns.mean()) + first + 0.5, float(rows.mean()) + 0.5))
    return centres[0], centres[1]


def paste_cutout(
    cutout: Cutout,
    centre_px: tuple[float, float],
    size_px: tuple[float, float],
    angle_deg: float,
    box: Box,
) -> tuple[Floats32, Floats32]:
    """A cut-out resized, turned and moved into a window: alpha (h, w), linear colour (h, w, 3).

    Args:
        cutout: what to draw.
        centre_px: where its middle goes, x right, y down.
        size_px: width and height before it is turned.
        angle_deg: > 0 clockwise as the viewer sees it.
        box: window of the picture.
    """
    import cv2

    x0, y0, width, height = box
    if width == 0 or height == 0:
        return np.zeros((height, width), dtype=np.float32), np.zeros((height, width, 3), dtype=np.float32)
    source = _premultiplied(cutout)
    rows, columns = source.shape[:2]
    small = (min(columns, max(round(size_px[0]), 1)), min(rows, max(round(size_px[1]), 1)))
    if small != (columns, rows):
        source = cv2.resize(source, small, interpolation=cv2.INTER_AREA)
    # A clear frame around it, or its cut edges would smear.
    framed = cv2.copyMakeBorder(source, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    matrix = turn_xy(angle_deg) * (np.array(size_px) / small)
    # OpenCV's pixel centres lie at integers, ours at half-integers.
    middle = np.array(small) / 2 + 1.5
    shift = np.array(centre_px) - (x0 + 0.5, y0 + 0.5) - matrix @ middle
    move = np.column_stack([matrix, shift])
    drawn = cv2.warpAffine(framed, move, (width, height), flags=cv2.INTER_CUBIC)
    alpha = np.clip(drawn[..., 3], 0.0, 1.0).astype(np.float32)
    colour = np.clip(drawn[..., :3] / np.maximum(alpha, 1e-3)[..., None], 0.0, 1.0)
    return alpha, colour.astype(np.float32)


def _premultiplied(cutout: Cutout) -> Floats32:
    # Linear colour times alpha, then alpha. Half-transparent rim pixels take the colour of the solid ones
    # beside them: what shone through them in the picture they were cut from is not to shine here.
    import cv2

    alpha = (cutout.rgba[..., 3] / 255).astype(np.float32)
    colour = srgb_to_linear(cutout.rgba[..., :3] / 255)
    solid = (cutout.rgba[..., 3] >= _SOLID).astype(np.float32)
    spread = cv2.GaussianBlur(np.dstack([colour * solid[..., None], solid]), (0, 0), 1.5)
    near = np.clip(spread[..., 3:] * 20, 0, 1) * (1 - solid[..., None])
    bled = spread[..., :3] / np.maximum(spread[..., 3:], 1e-4)
    colour = colour + near * (bled - colour)
    return np.dstack([colour * alpha[..., None], alpha]).astype(np.float32)


@dataclass(frozen=True)
class Skipped:
    """A file of the folder that cannot be used, and why in one line."""

    path: str
    reason: Reason
    detail: str


class OccluderLibrary:
    """The cut-outs of one folder, by kind and by the sha256 of their files.

    Attributes:
        folder: where they lie; sub-folders name the kind, files directly in it are objects.
        skipped: PNG and WebP files that are no usable cut-outs, and all in folders named after masks: a mask
            is no occluder here.

    Raises:
        ConfigError: the folder does not exist.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(f"folder of cut-outs {folder} does not exist")
        self.folder = folder
        found: dict[str, tuple[str, Path]] = {}
        skipped: list[Skipped] = []
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in _ENDINGS or not path.is_file():
                continue
            inside = path.relative_to(folder)
            kind = _kind_of(inside)
            if kind is None:
                text = "lies in a folder of masks; masks are drawn, not pasted"
                skipped.append(Skipped(inside.as_posix(), Reason.UNKNOWN_LABEL, text))
                continue
            try:
                cutout = _read(path, kind)
            except ImageFault as fault:
                skipped.append(Skipped(inside.as_posix(), fault.reason, str(fault)))
                continue
            found.setdefault(cutout.sha256, (kind, path))
        self._found = found
        self.skipped = tuple(skipped)

    @cached_property
    def _by_kind(self) -> dict[str, tuple[str, ...]]:
        return {
            kind: tuple(sorted(sha for sha, (own, _) in self._found.items() if own == kind))
            for kind in CUTOUT_KINDS
        }

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Names (sha256) of all cut-outs of a kind, in an order that depends on their bytes alone."""
        return self._by_kind.get(kind, ())

    def __len__(self) -> int:
        return len(self._found)

    @property
    def digest(self) -> str:
        """Changes whenever a usable file or its kind does; goes into the stage's configuration."""
        rows = sorted(f"{kind}:{sha}" for sha, (kind, _) in self._found.items())
        return sha256_hex("\n".join(rows).encode())

    def read(self, sha256: str) -> Cutout:
        """A cut-out by name.

        Raises:
            DataError: the folder has no such file, or its bytes have changed.
        """
        if sha256 not in self._found:
            raise DataError(f"cut-out {sha256[:12]} is not in {self.folder}")
        kind, path = self._found[sha256]
        try:
            cutout = _read_cached(path, kind)
        except ImageFault as fault:
            raise DataError(f"cut-out {path.name} can no longer be read: {fault}") from fault
        if cutout.sha256 != sha256:
            raise DataError(f"cut-out {path.name} no longer has the bytes it was found with")
        return cutout


def _kind_of(inside: Path) -> str | None:
    names = [part.lower() for part in inside.parts[:-1]]
    if any("mask" in name for name in names):
        return None
    return next((name for name in names if name in CUTOUT_KINDS), "object")


def _read(path: Path, kind: str) -> Cutout:
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ImageFault(Reason.TOO_MANY_BYTES, f"{size} bytes, at most {_MAX_BYTES} allowed")
        return decode_cutout(path.read_bytes(), kind)
    except OSError as error:
        raise ImageFault(Reason.PERMISSION, f"cannot be read: {error.strerror}") from error


_read_cached = lru_cache(maxsize=_CACHED)(_read)
