from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import DataError, ImageFault
from dataset_tools.core.images import (
    FLATTEN_RGB,
    ImageStore,
    decode_photo,
    perceptual_hash,
    strip_jpeg_metadata,
)
from dataset_tools.core.reasons import Reason

CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def corners_image() -> Image.Image:
    """96x64 picture with a colour in each corner: top-left, top-right, bottom-left, bottom-right."""
    array = np.zeros((64, 96, 3), np.uint8)
    array[:32, :48], array[:32, 48:], array[32:, :48], array[32:, 48:] = CORNERS
    return Image.fromarray(array)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    data = zlib.compress(b"\0" * 1000)
    idat = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    return b"\x89PNG\r\n\x1a\n" + chunk + idat + b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def fault_of(data: bytes) -> ImageFault:
    with pytest.raises(ImageFault) as fault:
        decode_photo(data)
    assert "\n" not in str(fault.value)
    return fault.value


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_exif_orientation_comes_out_upright(orientation: int, kind: str) -> None:
    turn_back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = corners_image()
    if orientation in turn_back:
        stored = stored.transpose(turn_back[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind != "PNG" else {}
    photo = decode_photo(encoded(stored, kind, exif=exif, **options))
    assert photo.rgb.shape == (64, 96, 3)
    seen = [photo.rgb[y, x].astype(int) for y, x in ((8, 8), (8, 88), (56, 8), (56, 88))]
    assert np.abs(np.array(seen) - np.array(CORNERS)).max() <= 12


def test_stored_jpeg_keeps_its_pixels_but_no_exif_gps(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "PLANTED-DESCRIPTION"
    exif.get_ifd(0x8825)[1] = "N"
    data = encoded(corners_image(), "JPEG", exif=exif, quality=90, comment=b"PLANTED-COMMENT")
    store = ImageStore(tmp_path)
    ref = store.put_photo(decode_photo(data + b"PK\x03\x04 trailing"))
    stored = store.read_bytes(ref)
    assert ref.format == "jpeg"
    assert b"PLANTED" not in stored and b"PK\x03\x04" not in stored
    with Image.open(io.BytesIO(data)) as original:
        assert np.array_equal(store.read(ref), np.asarray(original.convert("RGB")))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"<!DOCTYPE html><html>not found</html>", Reason.NOT_AN_IMAGE),
        (b"%PDF-1.7", Reason.NOT_AN_IMAGE),
        (b"\x00" * 100, Reason.NOT_AN_IMAGE),
        (png_header(30_000, 30_000), Reason.TOO_MANY_PIXELS),
        (png_header(20_000, 100), Reason.DIMENSIONS),
        (png_header(63, 200), Reason.TOO_SMALL),
        (png_header(100, 2_100), Reason.ASPECT_RATIO),
        (png_header(512, 512), Reason.TRUNCATED),
        (encoded(corners_image(), "PNG")[:-200], Reason.TRUNCATED),
        (encoded(corners_image(), "JPEG")[:400], Reason.TRUNCATED),
        (b"\xff\xd8\xff\xe0 nothing that follows", Reason.TRUNCATED),
    ],
)
def test_hostile_bytes_get_one_reason(data: bytes, reason: Reason) -> None:
    assert fault_of(data).reason is reason


def test_whatever_a_format_plugin_raises_becomes_a_fault() -> None:
    data = encoded(corners_image(), "AVIF")
    broken = data.replace(b"iloc", b"xloc")  # libavif reports a missing item as RuntimeError
    assert broken != data
    assert fault_of(broken).reason is Reason.CORRUPT


def test_an_animation_is_refused() -> None:
    frames = [Image.fromarray(np.full((64, 64, 3), value, np.uint8)) for value in (0, 90, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert fault_of(data).reason is Reason.ANIMATED


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.tile(np.linspace(0, 65535, 128).astype(np.uint16), (64, 1))
    photo = decode_photo(encoded(Image.fromarray(ramp), "PNG"))
    assert np.abs(photo.rgb[0, :, 0].astype(float) - ramp[0] / 257).max() <= 1


def test_transparent_pixels_hide_their_colour() -> None:
    array = np.zeros((64, 64, 4), np.uint8)
    array[..., 0] = 255  # a hidden red
    photo = decode_photo(encoded(Image.fromarray(array), "PNG"))
    assert tuple(photo.rgb[0, 0]) == FLATTEN_RGB


def test_cmyk_and_palette_become_rgb() -> None:
    for image, kind in ((corners_image().convert("CMYK"), "JPEG"), (corners_image().quantize(), "PNG")):
        photo = decode_photo(encoded(image, kind))
        assert photo.jpeg_as_is is None
        assert np.abs(photo.rgb[8, 8].astype(int) - CORNERS[0]).max() <= 12


def test_grey_layers_come_back_exactly(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    for dtype in (np.uint8, np.uint16):
        layer = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (20, 31)).astype(dtype)
        back = store.read_layer(store.put_array(layer))
        assert back.dtype == dtype and np.array_equal(back, layer)
    with pytest.raises(DataError, match="shape"):
        store.put_array(np.zeros((4, 4, 4), np.uint8))


def test_a_changed_or_missing_object_is_found(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    ref = store.put_array(np.zeros((4, 4), np.uint8))
    path = store.path(ref)
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageFault) as changed:
        store.read(ref)
    assert changed.value.reason is Reason.CORRUPT
    path.unlink()
    with pytest.raises(ImageFault) as gone:
        store.read(ref)
    assert gone.value.reason is Reason.MISSING_IMAGE


def test_metadata_stripping_refuses_a_cut_jpeg() -> None:
    data = encoded(corners_image(), "JPEG")
    for end in (3, 12, 200):
        with pytest.raises(ImageFault):
            strip_jpeg_metadata(data[:end])


def test_perceptual_hash_is_near_for_copies_and_far_for_others(astronaut_path: Path) -> None:
    with Image.open(astronaut_path) as opened:
        photo = opened.convert("RGB")
    small = photo.resize((200, 200))
    recoded = Image.open(io.BytesIO(encoded(small, "JPEG", quality=60)))
    other = Image.fromarray(np.asarray(photo)[::-1])

    def distance(left: Image.Image, right: Image.Image) -> int:
        hashes = [int(perceptual_hash(np.asarray(image)), 16) for image in (left, right)]
        return (hashes[0] ^ hashes[1]).bit_count()

    assert distance(photo, photo) == 0
    assert distance(photo, recoded) <= 4
    assert distance(photo, other) >= 16
