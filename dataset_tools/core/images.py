"""The only place that decodes and stores pictures.

`decode_photo` turns untrusted bytes into RGB or one `ImageFault`. `ImageStore` keeps pictures under the
sha256 of their bytes; what it stores is already upright, RGB (or grey layers), and free of metadata, so a
browser, OpenCV and this suite all see the same pixels.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

from dataset_tools.core.errors import DataError, ImageFault
from dataset_tools.core.files import sha256_hex, write_bytes
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import ImageRef

RgbImage = npt.NDArray[np.uint8]  # (H, W, 3)

ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
EXIF_ORIENTATION = 0x0112

# Transparent pixels are shown on this grey: neither white fabric nor black hair melts into it.
FLATTEN_RGB = (128, 128, 128)

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)


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


def sniff_format(data: bytes) -> str | None:
    """Format named by the first bytes ("JPEG", "PNG", …), None when it is no allowed picture."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "AVIF"
    return None


def decode_photo(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> DecodedPhoto:
    """Decode untrusted bytes to an upright RGB photo.

    Args:
        data: the whole file. Its content decides; names and HTTP headers are not asked.
        limits: what is acceptable.

    Raises:
        ImageFault: with one of the reasons empty, too_many_bytes, not_an_image, too_many_pixels, too_small,
            dimensions, aspect_ratio, animated, bomb_metadata, truncated, corrupt.
    """
    if not data:
        raise ImageFault(Reason.EMPTY, "0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageFault(Reason.TOO_MANY_BYTES, f"{len(data)} bytes, at most {limits.max_bytes} allowed")
    kind = sniff_format(data)
    if kind is None:
        raise ImageFault(Reason.NOT_AN_IMAGE, _what_it_looks_like(data))
    if kind == "PNG":
        # Pillow fills the missing rows of a cut PNG with black and says nothing.
        _check_png_end(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=[kind]) as opened:
                _check_header(opened, limits)
                upright, jpeg_as_is = _load(opened, data, kind)
        except ImageFault:
            raise
        except Image.DecompressionBombError as error:
            raise ImageFault(Reason.TOO_MANY_PIXELS, str(error)) from error
        except (OSError, SyntaxError) as error:
            reason = Reason.TRUNCATED if "truncated" in str(error).lower() else Reason.CORRUPT
            raise ImageFault(reason, f"{kind}: {error}") from error
        except Exception as error:  # format plugins raise anything on hostile bytes: AVIF RuntimeError, …
            reason = Reason.BOMB_METADATA if "text" in str(error).lower() else Reason.CORRUPT
            raise ImageFault(reason, f"{kind}: {error}") from error
    return DecodedPhoto(np.asarray(upright, dtype=np.uint8), jpeg_as_is)


def _what_it_looks_like(data: bytes) -> str:
    head = data[:256].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "an HTML, XML or SVG page, not a picture"
    if head.startswith(b"%pdf"):
        return "a PDF, not a picture"
    if head[:1] in (b"{", b"["):
        return "JSON, not a picture"
    return f"no known picture format (first bytes {data[:8].hex()})"


def _check_png_end(data: bytes) -> None:
    if b"IEND" not in data[-64:]:
        raise ImageFault(Reason.TRUNCATED, "PNG ends before its IEND chunk")


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


def _load(opened: Image.Image, data: bytes, kind: str) -> tuple[Image.Image, bytes | None]:
    orientation = opened.getexif().get(EXIF_ORIENTATION, 1)
    profile = opened.info.get("icc_profile")
    opened.load()
    is_srgb = not profile or b"sRGB" in profile
    keeps_pixels = kind == "JPEG" and opened.mode in ("RGB", "L") and orientation in (0, 1) and is_srgb
    image = ImageOps.exif_transpose(opened) or opened
    if profile and not is_srgb:
        image = _to_srgb(image, profile)
    rgb = _to_rgb(image)
    return rgb, strip_jpeg_metadata(data) if keeps_pixels else None


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
        values = np.asarray(image, dtype=np.float64)
        peak = 65535.0 if image.mode != "F" else max(float(values.max(initial=0.0)), 1e-9)
        return Image.fromarray((values / peak * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*FLATTEN_RGB, 255))
        return Image.alpha_composite(ground, rgba).convert("RGB")
    return image.convert("RGB")


def strip_jpeg_metadata(data: bytes) -> bytes:
    """The same JPEG without APP1–APP13, APP15 and comment segments and without trailing bytes.

    APP0 (JFIF) and APP14 (Adobe) stay: they say how to read the colours. Pixels are untouched.

    Raises:
        ImageFault: `corrupt`, when the segments cannot be followed.
    """
    kept = [b"\xff\xd8"]
    position = 2
    while True:
        while data[position : position + 2] == b"\xff\xff":
            position += 1
        marker = data[position : position + 2]
        if len(marker) < 2 or marker[0] != 0xFF:
            raise ImageFault(Reason.CORRUPT, "JPEG: no marker where one must stand")
        if marker[1] == 0xDA:
            end = data.rfind(b"\xff\xd9")
            if end < position:
                raise ImageFault(Reason.TRUNCATED, "JPEG: no end marker")
            kept.append(data[position : end + 2])
            return b"".join(kept)
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position : position + 2 + length]
        if length < 2 or len(segment) < 2 + length:
            raise ImageFault(Reason.TRUNCATED, "JPEG: a segment is cut")
        is_metadata = marker[1] == 0xFE or (0xE1 <= marker[1] <= 0xEF and marker[1] != 0xEE)
        if not is_metadata:
            kept.append(segment)
        position += 2 + length


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


def perceptual_hash(rgb: RgbImage) -> str:
    """64-bit DCT hash of a photo as 16 hex digits; near duplicates differ in few bits.

    Args:
        rgb: (H, W, 3) uint8.

    Source: the common "pHash": 32x32 grey, DCT-II, the 8x8 lowest frequencies against their median.
    """
    grey = Image.fromarray(rgb).convert("L").resize((_DCT_SIDE, _DCT_SIDE), Image.Resampling.BOX)
    steps = np.arange(_DCT_SIDE)
    basis = np.cos(np.pi / _DCT_SIDE * (steps[None, :] + 0.5) * steps[:_HASH_SIDE, None])
    low = basis @ np.asarray(grey, dtype=np.float64) @ basis.T
    bits = (low > np.median(low)).ravel()
    return np.packbits(bits).tobytes().hex()


class ImageStore:
    """Pictures of one workspace, named by the sha256 of their bytes; writing twice is harmless."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, ref: ImageRef) -> Path:
        """Absolute path of a stored picture."""
        return self.root / ref.path

    def put_photo(self, photo: DecodedPhoto) -> ImageRef:
        """Store a decoded photo: its own JPEG pixels where possible, a PNG otherwise."""
        if photo.jpeg_as_is is None:
            return self.put_array(photo.rgb)
        height, width = photo.rgb.shape[:2]
        return self._put(photo.jpeg_as_is, (height, width), "jpeg")

    def put_array(self, array: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> ImageRef:
        """Store an RGB picture or a grey layer losslessly; shapes and errors as `encode_png`."""
        return self._put(encode_png(array), (array.shape[0], array.shape[1]), "png")

    def _put(self, data: bytes, size_hw: tuple[int, int], kind: str) -> ImageRef:
        ref = ImageRef(sha256_hex(data), size_hw, kind)
        target = self.path(ref)
        if not target.exists():
            write_bytes(target, data)
        return ref

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
