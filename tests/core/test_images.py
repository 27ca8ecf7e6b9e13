from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import DataError, ImageFault
from dataset_tools.core.images import (
    FLATTEN_RGB,
    FileSyncs,
    ImageStore,
    decode_photo,
    normal_photo,
    original_path,
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


def png_of(rows: bytes, size: int = 64, *, colour: int = 2, interlace: int = 0) -> bytes:
    """A PNG with these filtered rows, whole or not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, colour, 0, 0, interlace)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("rows", [0, 1, 20, 63])
def test_a_png_with_rows_missing_is_refused_although_pillow_would_paint_them_black(rows: int) -> None:
    row = b"\0" + b"\x7f" * 192
    data = png_of(row * rows)
    if rows:
        with Image.open(io.BytesIO(data)) as opened:  # the premise
            assert np.asarray(opened)[63].max() == 0
    assert fault_of(data).reason is Reason.TRUNCATED
    assert decode_photo(png_of(row * 64)).rgb.min() == 0x7F


def test_an_interlaced_png_is_counted_by_its_passes(astronaut_path: Path) -> None:
    # Adam7 of 64x64 RGB: seven passes of 8x8, 8x8, 16x8, 16x16, 32x16, 32x32 and 64x32 pixels.
    passes = ((8, 8), (8, 8), (16, 8), (16, 16), (32, 16), (32, 32), (64, 32))
    whole = b"".join((b"\0" + b"\x50" * 3 * width) * height for width, height in passes)
    assert decode_photo(png_of(whole, interlace=1)).rgb.min() == 0x50
    assert fault_of(png_of(whole[:-193], interlace=1)).reason is Reason.TRUNCATED


def test_what_follows_a_jpeg_is_neither_a_frame_nor_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "PLANTED-IN-THE-SECOND"
    hidden = encoded(corners_image(), "JPEG", exif=exif)
    data = encoded(corners_image(), "JPEG", quality=90)
    for tail in (hidden, b"PK\x03\x04 archive \xff\xd9"):
        photo = decode_photo(data + tail)
        assert photo.jpeg_as_is is not None
        assert b"PLANTED" not in photo.jpeg_as_is and b"PK\x03\x04" not in photo.jpeg_as_is
        assert np.array_equal(photo.rgb, decode_photo(data).rgb)
    several = encoded(corners_image(), "MPO", save_all=True, append_images=[corners_image().rotate(180)])
    assert np.abs(decode_photo(several).rgb[8, 8].astype(int) - CORNERS[0]).max() <= 12


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 2}, {"optimize": True}])
def test_every_kind_of_jpeg_is_stripped_to_the_same_pixels(options: dict[str, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (80, 96, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", quality=95, comment=b"PLANTED", **options)
    stripped = strip_jpeg_metadata(data + b"tail")
    assert b"PLANTED" not in stripped and not stripped.endswith(b"tail")
    assert np.array_equal(decode_photo(stripped).rgb, decode_photo(data).rgb)


def test_bytes_that_fill_up_to_a_marker_go_and_stuffed_ones_in_the_scan_stay() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (80, 96, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", quality=95)
    assert b"\xff\x00" in data
    for fill in (b"", b"\xff", b"\xff" * 5):
        assert strip_jpeg_metadata(data[:-2] + fill + data[-2:]) == data


def heic(image: Image.Image, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_comes_out_upright_and_without_its_metadata(tmp_path: Path, orientation: int) -> None:
    turn_back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    stored = corners_image()
    if orientation in turn_back:
        stored = stored.transpose(turn_back[orientation])
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "PLANTED"
    data = heic(stored, exif=exif.tobytes())
    assert b"PLANTED" in data
    photo = normal_photo(data)
    assert (photo.format, photo.size_hw) == ("png", (64, 96))
    rgb = decode_photo(data).rgb
    seen = [rgb[y, x].astype(int) for y, x in ((8, 8), (8, 88), (56, 8), (56, 88))]
    assert np.abs(np.array(seen) - np.array(CORNERS)).max() <= 16
    assert b"PLANTED" not in photo.data


def test_heic_without_its_library_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(corners_image())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    fault = fault_of(data)
    assert fault.reason is Reason.FORMAT_NOT_ALLOWED
    assert "maskset[heic]" in str(fault)


def test_a_photo_keeps_no_planted_word_in_any_format() -> None:
    exif = Image.Exif()
    exif[0x010E] = "PLANTED-DESCRIPTION"
    exif.get_ifd(0x8769)[0xA431] = "PLANTED-SERIAL"
    exif.get_ifd(0x8825)[0x1D] = "PLANTED-GPS"
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
        data = encoded(corners_image(), kind, exif=exif)
        assert b"PLANTED-DESCRIPTION" in data  # the premise
        assert b"PLANTED" not in normal_photo(data).data


def test_the_stored_form_is_that_of_the_whole_decode(astronaut_path: Path) -> None:
    with Image.open(astronaut_path) as opened:
        photo = opened.convert("RGB")
    for data in (encoded(photo, "JPEG"), encoded(photo, "PNG"), encoded(photo.convert("L"), "JPEG")):
        normal, whole = normal_photo(data), decode_photo(data)
        assert normal.size_hw == whole.rgb.shape[:2]
        assert normal.data == (whole.jpeg_as_is or normal.data)
        distance = (int(normal.phash, 16) ^ int(perceptual_hash(whole.rgb), 16)).bit_count()
        assert distance <= 2
    for cut in (0.3, 0.6, 0.9):
        jpeg = encoded(photo, "JPEG")
        with pytest.raises(ImageFault):
            normal_photo(jpeg[: int(len(jpeg) * cut)])


def test_originals_are_kept_byte_for_byte_under_their_hash(tmp_path: Path) -> None:
    data = encoded(corners_image(), "JPEG", comment=b"as it came") + b"tail"
    store = ImageStore(tmp_path)
    path = store.put_original(data)
    assert (tmp_path / path).read_bytes() == data
    assert path == original_path(hashlib.sha256(data).hexdigest())


def test_a_file_that_lost_its_bytes_is_written_again(tmp_path: Path) -> None:
    store = ImageStore(tmp_path, syncs=False)
    layer = np.arange(400, dtype=np.uint8).reshape(20, 20)
    ref = store.put_array(layer)
    size = store.path(ref).stat().st_size
    for wrong in (b"", b"\0" * size):
        store.path(ref).write_bytes(wrong)
        assert store.put_array(layer) == ref
        assert np.array_equal(store.read_layer(ref), layer)
    assert [path.name for path in store.path(ref).parent.iterdir()] == [store.path(ref).name]


@pytest.mark.parametrize("count", [1, 8, 19])
def test_every_added_file_is_synced_before_its_folder(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    store = ImageStore(tmp_path, syncs=False)
    paths = [store.path(store.put_array(np.full((9, 9), number, np.uint8))) for number in range(count)]
    with FileSyncs() as syncs:
        for path in paths:
            syncs.add(path)
        syncs.finish()
    files = {path.stat().st_ino for path in paths}
    folders = {path.parent.stat().st_ino for path in paths}
    assert set(synced[:count]) == files
    assert set(synced[count:]) == folders


def test_a_file_that_cannot_be_synced_is_told_at_the_end(tmp_path: Path) -> None:
    with FileSyncs() as syncs, pytest.raises(FileNotFoundError):
        syncs.add(tmp_path / "gone")
        syncs.finish()


def test_equal_damage_gives_equal_words_and_no_memory_address() -> None:
    said = set()
    for _ in range(2):
        with pytest.raises(ImageFault) as caught:
            decode_photo(b"\x89PNG\r\n\x1a\n and then nothing")
        said.add(str(caught.value))
    assert len(said) == 1
    assert "0x" not in said.pop()
