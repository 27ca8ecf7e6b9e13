"""Cut-outs come from users' folders: what is read, what is refused and why, and what becomes stale."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dataset_tools.core.errors import ConfigError, DataError, ImageFault
from dataset_tools.core.reasons import Reason
from synth.occluders.cutouts import OccluderLibrary, decode_cutout
from synth.occluders.occluder import Occluder, occlude
from synth.render import Effects

HOSTILE = {
    "text": Reason.NOT_AN_IMAGE,
    "empty": Reason.NOT_AN_IMAGE,
    "cut": Reason.TRUNCATED,
    "torn": Reason.CORRUPT,
    "rgb": Reason.FORMAT_NOT_ALLOWED,
    "grey16": Reason.FORMAT_NOT_ALLOWED,
    "palette": Reason.FORMAT_NOT_ALLOWED,
    "clear": Reason.NO_AREA,
    "opaque": Reason.FORMAT_NOT_ALLOWED,
    "speck": Reason.TOO_SMALL,
    "huge": Reason.TOO_MANY_PIXELS,
    "fat": Reason.TOO_MANY_BYTES,
}


def raw_rgba_png(width: int, height: int, bits: int, rows: bytes) -> bytes:
    """A PNG as its header claims it, whatever the rows hold."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def hostile(png, cup):
    """Bytes of each kind of file that `HOSTILE` names."""
    good = png(cup)
    made = {
        "text": b"this is no picture",
        "empty": b"",
        "cut": good[:-30],
        "torn": good[:200] + b"\x00" * 200 + good[-12:],
        "rgb": png(cup.convert("RGB")),
        "grey16": png(Image.new("I;16", (40, 40))),
        "palette": png(cup.convert("RGB").convert("P")),
        "clear": png(Image.new("RGBA", (50, 50), (255, 0, 0, 0))),
        "opaque": png(Image.new("RGBA", (50, 50), (255, 0, 0, 255))),
        "speck": png(Image.new("RGBA", (5, 5), (255, 0, 0, 99))),
        "huge": raw_rgba_png(60000, 60000, 8, b""),
        "fat": good + b"\x00" * (17 << 20),
    }
    assert made.keys() == HOSTILE.keys()
    return made


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_file_is_refused_in_one_line(name, hostile):
    with pytest.raises(ImageFault) as caught:
        decode_cutout(hostile[name], "object")
    assert caught.value.reason is HOSTILE[name]
    assert "\n" not in str(caught.value)


def test_a_folder_of_hostile_files_lists_each_with_its_reason(tmp_path, hostile, png, cup):
    for name, data in hostile.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    (tmp_path / "good.png").write_bytes(png(cup))
    (tmp_path / "notes.txt").write_text("not looked at")
    (tmp_path / "face_masks").mkdir()
    (tmp_path / "face_masks" / "m.png").write_bytes(png(cup))
    library = OccluderLibrary(tmp_path)
    assert len(library) == 1 and library.of_kind("object")
    said = {row.path: row.reason for row in library.skipped}
    expected = {f"{name}.png": reason for name, reason in HOSTILE.items()}
    assert said == {**expected, "face_masks/m.png": Reason.UNKNOWN_LABEL}


def test_16_bit_and_transparent_palette_pictures_are_read(png):
    pixels = np.zeros((30, 20, 4), ">u2")
    pixels[5:25, 4:16] = (0x8000, 0x4000, 0xFFFF, 0xFFFF)
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    deep = decode_cutout(raw_rgba_png(20, 30, 16, rows), "object")
    assert deep.size_hw == (20, 12)
    assert deep.rgba[0, 0].tolist() == [0x80, 0x40, 0xFF, 0xFF]
    flat = Image.new("P", (40, 40), 0)
    flat.putpalette([255, 255, 255, 200, 30, 20] + [0] * 762)
    flat.paste(1, (10, 8, 30, 36))
    keyed = decode_cutout(png(flat, transparency=0), "object")
    assert keyed.size_hw == (28, 20)
    assert (keyed.rgba == (200, 30, 20, 255)).all()


def test_a_large_cut_out_is_kept_small(png):
    big = Image.new("RGBA", (3000, 2000), (0, 0, 0, 0))
    ImageDraw.Draw(big).rectangle((100, 100, 2800, 1900), fill=(1, 200, 3, 255))
    assert max(decode_cutout(png(big), "object").size_hw) <= 1024


def test_lens_centres_are_found_in_the_cut_out(png, spectacles):
    glasses = decode_cutout(png(spectacles), "eyeglasses")
    # Cropped to the frame, which begins at x = 14, y = 12.
    assert glasses.lenses_xy[0] == pytest.approx((24.5, 18.5), abs=1.5)
    assert glasses.lenses_xy[1] == pytest.approx((78.5, 18.5), abs=1.5)


def test_spectacles_seen_from_the_side_are_refused(png, spectacles):
    ImageDraw.Draw(spectacles).rectangle((100, 0, 139, 69), fill=(0, 0, 0, 255))
    with pytest.raises(ImageFault, match="not seen from the front"):
        decode_cutout(png(spectacles), "sunglasses")


def test_a_cut_out_that_is_gone_or_changed_is_named(tmp_path, astronaut, png, cup):
    (tmp_path / "a.png").write_bytes(png(cup))
    library = OccluderLibrary(tmp_path)
    name = library.of_kind("object")[0]
    hand = Occluder("object", (100.0, 100.0), (50.0, 60.0), cutout=name)
    with pytest.raises(DataError, match="needs the folder"):
        occlude(astronaut.rgb, None, hand, Effects())
    with pytest.raises(DataError, match="is not in"):
        library.read("0" * 64)
    (tmp_path / "a.png").write_bytes(png(cup.rotate(5)))
    with pytest.raises(DataError, match="no longer has the bytes"):
        library.read(name)
    with pytest.raises(ConfigError, match="does not exist"):
        OccluderLibrary(tmp_path / "nowhere")


def test_the_digest_follows_content_and_kind_not_names(tmp_path, png, cup):
    for place in ("one/hand/x.png", "two/hand/y.png", "three/scarf/x.png"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes(png(cup))
    one, two, three = (OccluderLibrary(tmp_path / name).digest for name in ("one", "two", "three"))
    assert one == two != three
