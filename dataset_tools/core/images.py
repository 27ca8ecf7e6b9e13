"""The only place that decodes and stores pictures.

`decode_photo` turns untrusted bytes into RGB or one `ImageFault`. `ImageStore` keeps pictures under the
sha256 of their bytes; what it stores is already upright, RGB (or grey layers), and free of metadata, so a
browser, OpenCV and this suite all see the same pixels.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin

from dataset_tools.core.errors import DataError, ImageFault
from dataset_tools.core.files import sha256_hex, write_bytes
from dataset_tools.core.formats import check_png_data, what_it_looks_like
from dataset_tools.core.formats import sniff_format as sniff_format
from dataset_tools.core.formats import strip_jpeg_metadata as strip_jpeg_metadata
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import ImageRef

RgbImage = npt.NDArray[np.uint8]  # (H, W, 3)

ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF")
EXIF_ORIENTATION = 0x0112

_SYNCS_ONE_BY_ONE = 4

# Transparent pixels are shown on this grey: neither white fabric nor black hair melts into it.
FLATTEN_RGB = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may be. Sizes are read from the header, before any pixel is decoded.

    Attributes:
        max_bytes: encoded size.
        max_pixels: width * height.
        min_side_px, max_side_px: of either side.
        max_aspect: longer side / shorter side.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 64_000_000
    min_side_px: int = 64
    max_side_px: int = 16_384
    max_aspect: float = 20.0


DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True)
class DecodedPhoto:
    """A decoded photo.

    Attributes:
        rgb: (H, W, 3) uint8, upright.
        jpeg_as_is: the JPEG's own compressed pixels without metadata, when they already are upright RGB or
            grey in sRGB; None when the pixels had to be converted.
    """

    rgb: RgbImage
    jpeg_as_is: bytes | None


@dataclass(frozen=True, slots=True)
class NormalPhoto:
    """A photo in the form in which it is stored.

    Attributes:
        data: encoded bytes: upright, RGB or grey, without metadata.
        size_hw: height and width in pixels.
        format: "jpeg" or "png".
        phash: see `perceptual_hash`.
    """

    data: bytes
    size_hw: tuple[int, int]
    format: str
    phash: str


_Loaded = TypeVar("_Loaded", "DecodedPhoto", "NormalPhoto")


def decode_photo(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> DecodedPhoto:
    """Decode untrusted bytes to an upright RGB photo.

    Of a JPEG that carries further pictures (MPO, a gain map) the first is taken; any other file of several
    frames is refused.

    Args:
        data: the whole file. Its content decides; names and HTTP headers are not asked.
        limits: what is acceptable.

    Raises:
        ImageFault: with one of the reasons empty, too_many_bytes, not_an_image, format_not_allowed,
            too_many_pixels, too_small, dimensions, aspect_ratio, animated, bomb_metadata, truncated, corrupt.
    """
    return _opened(data, limits, lambda opened, kind: _load(opened, data, kind))


def normal_photo(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> NormalPhoto:
    """A photo as it is stored, with its perceptual hash; arguments and errors as `decode_photo`.

    A JPEG that is stored as it is, is decoded at a part of its size: that reads all of its data, so what is
    cut or broken shows, for a third of the work.
    """
    return _opened(data, limits, lambda opened, kind: _normal(opened, data, kind))


def _opened(data: bytes, limits: ImageLimits, load: Callable[[Image.Image, str], _Loaded]) -> _Loaded:
    if not data:
        raise ImageFault(Reason.EMPTY, "0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageFault(Reason.TOO_MANY_BYTES, f"{len(data)} bytes, at most {limits.max_bytes} allowed")
    kind = sniff_format(data)
    if kind is None:
        raise ImageFault(Reason.NOT_AN_IMAGE, what_it_looks_like(data))
    if kind == "HEIF":
        _need_heif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _open(data, kind) as opened:
                _check_header(opened, limits)
                if kind == "PNG":
                    # Pillow fills the missing rows of a cut PNG with black and says nothing.
                    check_png_data(data)
                return load(opened, kind)
        except (ImageFault, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise ImageFault(Reason.TOO_MANY_PIXELS, str(error)) from error
        except (OSError, SyntaxError) as error:
            reason = Reason.TRUNCATED if "truncated" in str(error).lower() else Reason.CORRUPT
            raise ImageFault(reason, f"{kind}: {_without_address(error)}") from error
        except Exception as error:  # format plugins raise anything on hostile bytes: AVIF RuntimeError, …
            reason = Reason.BOMB_METADATA if "text" in str(error).lower() else Reason.CORRUPT
            raise ImageFault(reason, f"{kind}: {_without_address(error)}") from error


def _open(data: bytes, kind: str) -> Image.Image:
    if kind == "JPEG":
        # Not through Image.open: that makes an MPO of it when further pictures follow the first.
        return JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    return Image.open(io.BytesIO(data), formats=[kind])


def _need_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        detail = "HEIC is read with the extra `heic`; install maskset[heic]"
        raise ImageFault(Reason.FORMAT_NOT_ALLOWED, detail) from None
    register_heif_opener()


def _check_header(opened: Image.Image, limits: ImageLimits) -> None:
    width, height = opened.size
    said = f"{width}x{height} pixels"
    if width * height > limits.max_pixels:
        raise ImageFault(Reason.TOO_MANY_PIXELS, f"{said}, at most {limits.max_pixels} allowed")
    if max(width, height) > limits.max_side_px:
        raise ImageFault(Reason.DIMENSIONS, f"{said}, side at most {limits.max_side_px}")
    if min(width, height) < limits.min_side_px:
        raise ImageFault(Reason.TOO_SMALL, f"{said}, side at least {limits.min_side_px}")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise ImageFault(Reason.ASPECT_RATIO, f"{said}, aspect at most {limits.max_aspect:g}:1")
    if getattr(opened, "n_frames", 1) > 1:
        raise ImageFault(Reason.ANIMATED, f"{getattr(opened, 'n_frames', 0)} frames")


def _load(opened: Image.Image, data: bytes, kind: str) -> DecodedPhoto:
    keeps_pixels = _keeps_pixels(opened, kind)
    profile = opened.info.get("icc_profile")
    opened.load()
    image = ImageOps.exif_transpose(opened) or opened
    if profile and b"sRGB" not in profile:
        image = _to_srgb(image, profile)
    rgb = np.asarray(_to_rgb(image), dtype=np.uint8)
    return DecodedPhoto(rgb, strip_jpeg_metadata(data) if keeps_pixels else None)


def _normal(opened: Image.Image, data: bytes, kind: str) -> NormalPhoto:
    if not _keeps_pixels(opened, kind):
        rgb = _load(opened, data, kind).rgb
        return NormalPhoto(encode_png(rgb), (rgb.shape[0], rgb.shape[1]), "png", perceptual_hash(rgb))
    width, height = opened.size
    opened.draft("L", (2 * _DCT_SIDE, 2 * _DCT_SIDE))
    opened.load()
    return NormalPhoto(strip_jpeg_metadata(data), (height, width), "jpeg", _grey_hash(opened.convert("L")))


def _keeps_pixels(opened: Image.Image, kind: str) -> bool:
    profile = opened.info.get("icc_profile")
    is_plain = opened.mode in ("RGB", "L") and (not profile or b"sRGB" in profile)
    return kind == "JPEG" and is_plain and opened.getexif().get(EXIF_ORIENTATION, 1) in (0, 1)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    if image.mode not in ("RGB", "L", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a broken profile says nothing: the plain pixels stand
    return converted if converted is not None else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        # Pillow clips on conversion, which turns 16-bit grey all white; scale instead.
        if image.mode == "F":
            values = np.asarray(image, dtype=np.float32)
            scaled = values * (255 / max(float(values.max(initial=0.0)), 1e-9))
        else:
            scaled = np.asarray(image) // 257  # 65535 / 255
        return Image.fromarray(scaled.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*FLATTEN_RGB, 255))
        return Image.alpha_composite(ground, rgba).convert("RGB")
    return image.convert("RGB")


def encode_png(array: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> bytes:
    """Lossless PNG of (H, W, 3) uint8 RGB, (H, W) uint8 grey or (H, W) uint16 grey.

    Raises:
        DataError: another shape or dtype.
    """
    is_rgb = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    is_grey = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    if not (is_rgb or is_grey):
        raise DataError(f"cannot store an array of shape {array.shape}, dtype {array.dtype}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


_DCT_SIDE = 32
_HASH_SIDE = 8
_DCT_BASIS = np.cos(  # (8, 32): frequency, place
    np.pi / _DCT_SIDE * (np.arange(_DCT_SIDE)[None, :] + 0.5) * np.arange(_HASH_SIDE)[:, None]
)


def perceptual_hash(rgb: RgbImage) -> str:
    """64-bit DCT hash of a photo as 16 hex digits; near duplicates differ in few bits.

    Args:
        rgb: (H, W, 3) uint8.

    Source: the common "pHash": 32x32 grey, DCT-II, the 8x8 lowest frequencies against their median.
    """
    return _grey_hash(Image.fromarray(rgb).convert("L"))


def _grey_hash(picture: Image.Image) -> str:
    grey = picture.resize((_DCT_SIDE, _DCT_SIDE), Image.Resampling.BOX)
    low = _DCT_BASIS @ np.asarray(grey, dtype=np.float64) @ _DCT_BASIS.T
    middle = np.sort(low, axis=None)[_HASH_SIDE**2 // 2 - 1 :][:2].mean()  # the median
    bits = (low > middle).ravel()
    return np.packbits(bits).tobytes().hex()


def original_path(content_sha256: str) -> str:
    """Where `ImageStore.put_original` keeps fetched bytes, by their `Provenance.content_sha256`."""
    return f"originals/{content_sha256[:2]}/{content_sha256}"


class FileSyncs:
    """Makes written files and their directory entries durable; use as a context manager.

    Where the system can, it is first asked to write out all that its disk waits for, in one go; after that
    the sync of each file, which is what counts, finds little to do: a fifth of the processor time.
    """

    def __init__(self) -> None:
        self._paths: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._paths.clear()

    def add(self, path: Path) -> None:
        """Sync that file in `finish`; it is whole and has its last name."""
        self._paths.append(path)

    def finish(self) -> None:
        """Return when all files that were added, and then their folders, are durable.

        Raises:
            OSError: the disk refused.
        """
        folders = sorted({path.parent for path in self._paths})
        if len(self._paths) > _SYNCS_ONE_BY_ONE:
            _write_out(folders[0])
        for path in (*self._paths, *folders):
            _sync(path)
        self._paths.clear()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_out(folder: Path) -> None:
    """Have the file system of `folder` write out everything; where that is not to be had, do nothing."""
    import ctypes

    if (syncfs := getattr(ctypes.CDLL(None), "syncfs", None)) is not None:  # no part of Python's `os`
        handle = os.open(folder, os.O_RDONLY)
        try:
            syncfs(handle)
        finally:
            os.close(handle)


class ImageStore:
    """Pictures of one workspace, named by the sha256 of their bytes; writing twice is harmless.

    Args:
        root: of the workspace.
        syncs: make every picture durable at once. Without it whoever writes has `FileSyncs` do it before
            any row names the pictures.
    """

    def __init__(self, root: Path, *, syncs: bool = True) -> None:
        self.root = root
        self._syncs = syncs

    def path(self, ref: ImageRef) -> Path:
        """Absolute path of a stored picture."""
        return self.root / ref.path

    def put_photo(self, photo: DecodedPhoto) -> ImageRef:
        """Store a decoded photo: its own JPEG pixels where possible, a PNG otherwise."""
        if photo.jpeg_as_is is None:
            return self.put_array(photo.rgb)
        height, width = photo.rgb.shape[:2]
        return self._put(photo.jpeg_as_is, (height, width), "jpeg")

    def put_normal(self, photo: NormalPhoto) -> ImageRef:
        """Store a photo that already has its stored form."""
        return self._put(photo.data, photo.size_hw, photo.format)

    def put_named(self, data: bytes, ref: ImageRef) -> None:
        """Store encoded bytes whose name is known; they are what `ref` says."""
        self._write(self.path(ref), data)

    def put_original(self, data: bytes) -> str:
        """Keep fetched bytes as they came; gives the path relative to the workspace.

        They may hold personal metadata and anything else: nothing but a takedown or the owner may touch them,
        and no export.
        """
        path = original_path(sha256_hex(data))
        self._write(self.root / path, data)
        return path

    def put_array(self, array: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> ImageRef:
        """Store an RGB picture or a grey layer losslessly; shapes and errors as `encode_png`."""
        return self._put(encode_png(array), (array.shape[0], array.shape[1]), "png")

    def _put(self, data: bytes, size_hw: tuple[int, int], kind: str) -> ImageRef:
        ref = ImageRef(sha256_hex(data), size_hw, kind)
        self._write(self.path(ref), data)
        return ref

    def _write(self, target: Path, data: bytes) -> None:
        # A file that is there may have lost its bytes with the power, before it was synced.
        with contextlib.suppress(FileNotFoundError):
            if target.stat().st_size == len(data) and target.read_bytes() == data:
                return
        if self._syncs:
            write_bytes(target, data)
            return
        temporary = target.parent / f".tmp-{secrets.token_hex(8)}"
        try:
            try:
                _write_new(temporary, data)
            except FileNotFoundError:  # 256 folders hold all pictures: mostly it is there
                target.parent.mkdir(parents=True, exist_ok=True)
                _write_new(temporary, data)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def read_bytes(self, ref: ImageRef) -> bytes:
        """The stored bytes, checked against their name.

        Raises:
            ImageFault: `missing_image` when the file is gone, `corrupt` when its bytes changed.
        """
        try:
            data = self.path(ref).read_bytes()
        except FileNotFoundError:
            raise ImageFault(Reason.MISSING_IMAGE, f"{ref.path} is not in the workspace") from None
        if sha256_hex(data) != ref.sha256:
            raise ImageFault(Reason.CORRUPT, f"{ref.path} no longer has the bytes it is named after")
        return data

    def read(self, ref: ImageRef) -> RgbImage:
        """The picture as (H, W, 3) uint8 RGB; errors as `read_bytes`."""
        with Image.open(io.BytesIO(self.read_bytes(ref))) as opened:
            return np.asarray(opened.convert("RGB"), dtype=np.uint8)

    def read_layer(self, ref: ImageRef) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """A grey layer as (H, W) uint8 or uint16, exactly as stored; errors as `read_bytes`."""
        with Image.open(io.BytesIO(self.read_bytes(ref))) as opened:
            if opened.mode.startswith("I"):
                return np.asarray(opened).astype(np.uint16)
            return np.asarray(opened).astype(np.uint8)


def _write_new(path: Path, data: bytes) -> None:
    with path.open("xb", buffering=0) as stream:
        left = memoryview(data)
        while left:
            left = left[stream.write(left) :]


def _without_address(error: Exception) -> str:
    """What Pillow says, without the memory address it puts in: equal runs have equal rows."""
    return re.sub(r" ?<[^<>]* at 0x[0-9a-f]+>", "", str(error))
