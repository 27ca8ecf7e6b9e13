"""A folder of hostile pictures, made here, through the real crawl: each is kept or has its one reason.

What single functions do with such bytes is tested in `test_images.py`, `test_decoding.py` and
`tests/core/test_local_files.py`; here the whole way from directory entry to stored picture and row.
"""

from __future__ import annotations

import asyncio
import io
import operator
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dataset_tools.core.decoding import WorkerPool, WorkLimits
from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import FLATTEN_RGB, ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.stage import run_stage, shards_of_items
from dataset_tools.crawl.listing import list_items
from dataset_tools.crawl.settings import CrawlSettings
from dataset_tools.crawl.stage import CrawlStage

KEPT = ""
ZIP_START = b"PK\x03\x04"
SECRET = b"PLANTED-SECRET"
CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

Corpus = dict[str, tuple[bytes, str]]  # file name → its bytes, and the reason or KEPT


def corners() -> Image.Image:
    """96x64 with a colour in each corner: top-left, top-right, bottom-left, bottom-right."""
    array = np.zeros((64, 96, 3), np.uint8)
    array[:32, :48], array[:32, 48:], array[32:, :48], array[32:, 48:] = CORNERS
    return Image.fromarray(array)


def noise(height: int = 90, width: int = 120) -> Image.Image:
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_png_chunk(kind: bytes, data: bytes, times: int = 1) -> bytes:
    """A good PNG with chunks behind its header."""
    png = encoded(corners(), "PNG")
    return png[:33] + png_chunk(kind, data) * times + png[33:]


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("payload.txt", SECRET)
    return buffer.getvalue()


def planted_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, SECRET.decode()
    exif.get_ifd(0x8825)[0x1D] = SECRET.decode()
    return exif


# -- the corpus ---------------------------------------------------------------------------------------------


def header_bombs() -> Corpus:
    """Few bytes that promise 268 to 4,295 million pixels."""
    small = noise()
    jpeg = bytearray(encoded(small, "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, frame + 5, 65_500, 65_500)
    bmp = bytearray(encoded(small, "BMP"))
    struct.pack_into("<ii", bmp, 18, 30_000, 30_000)
    gif = bytearray(encoded(small, "GIF"))
    struct.pack_into("<HH", gif, 6, 65_535, 65_535)
    tiff = encoded(small, "TIFF")
    for tag, size in ((256, 120), (257, 90)):  # ImageWidth and ImageLength, one LONG or SHORT each
        for kind in (3, 4):
            tiff = tiff.replace(
                struct.pack("<HHII", tag, kind, 1, size), struct.pack("<HHII", tag, 4, 1, 50_000)
            )
    png = bytearray(encoded(small, "PNG"))
    struct.pack_into(">II", png, 16, 30_000, 30_000)
    struct.pack_into(">I", png, 29, zlib.crc32(png[12:29]))
    webp = bytearray(encoded(small, "WEBP", exif=planted_exif()))
    struct.pack_into("<I", webp, 24, 16_383 | webp[27] << 24)  # VP8X: canvas, three bytes each, less one
    webp[27:30] = (16_383).to_bytes(3, "little")
    lossless = bytearray(encoded(small, "WEBP", lossless=True))
    # VP8L: 14 bits of width less one, 14 of height less one.
    struct.pack_into("<I", lossless, 21, 16_383 | 16_383 << 14)
    made = {"png": png, "jpg": jpeg, "bmp": bmp, "gif": gif, "tif": tiff}
    made |= {"vp8x.webp": webp, "vp8l.webp": lossless}
    return {f"bomb/{name}": (bytes(data), Reason.TOO_MANY_PIXELS) for name, data in made.items()}


def scan_bomb(scans: int = 20_000, side: int = 4096) -> bytes:
    """A progressive grey JPEG whose every scan says in 30 bytes that no block changes.

    ITU T.81 G.1.2.2: symbol 0xE0 is a run of 2^14 blocks and more, whose 14 further bits tell how many.
    """

    def segment(marker: int, body: bytes) -> bytes:
        return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body

    head = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64)
    head += segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    one_code = b"\1" + b"\0" * 15
    head += segment(0xC4, b"\x00" + one_code + b"\x00")  # DC: code 0 is "no difference"
    head += segment(0xC4, b"\x10" + one_code + b"\xe0")  # AC: code 0 is a long run of nothing
    blocks = (side // 8) ** 2
    dc = segment(0xDA, b"\1\1\0\0\0\0") + b"\0" * (blocks // 8)
    bits = ""
    while blocks > 0:
        run = min(blocks, (1 << 15) - 1)
        bits += "0" + format(run - (1 << 14) if run >= 1 << 14 else 0, "014b")
        blocks -= max(run, 1 << 14)
    body = int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8), "big")
    scan = segment(0xDA, b"\1\1\0\1\x3f\0") + body.replace(b"\xff", b"\xff\0")
    return head + dc + scan * scans + b"\xff\xd9"


def metadata_bombs() -> Corpus:
    megabytes = zlib.compress(b"x" * (8 << 20), 9)
    return {
        "meta/ztxt.png": (with_png_chunk(b"zTXt", b"key\0\0" + megabytes), Reason.BOMB_METADATA),
        "meta/itxt.png": (with_png_chunk(b"iTXt", b"key\0\1\0\0\0" + megabytes), Reason.BOMB_METADATA),
        "meta/iccp.png": (with_png_chunk(b"iCCP", b"key\0\0" + megabytes), Reason.BOMB_METADATA),
        "meta/many.png": (
            with_png_chunk(b"zTXt", b"key\0\0" + zlib.compress(b"x" * 1_000_000, 9), 80),
            Reason.BOMB_METADATA,
        ),
        "meta/comments.jpg": (
            encoded(corners(), "JPEG").replace(
                b"\xff\xdb", (b"\xff\xfe\xff\xff" + SECRET * 4681 + b"...")[: 2 + 65535] * 20 + b"\xff\xdb", 1
            ),
            KEPT,
        ),
        "meta/xmp.webp": (encoded(corners(), "WEBP", xmp=SECRET * 200_000), KEPT),
        "scans.jpg": (scan_bomb(), Reason.DECODE_BUDGET),
    }


def damaged() -> Corpus:
    """Cut at a third, a half and nine tenths; and a header with nothing behind it."""
    corpus: Corpus = {}
    for kind in ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"):
        data = encoded(noise(), kind)
        for share in (0.33, 0.5, 0.9):
            corpus[f"cut/{share}.{kind.lower()}"] = (data[: int(len(data) * share)], "truncated or corrupt")
    return corpus | {"cut/empty.jpg": (b"", Reason.EMPTY)}


def flipped(seed: int = 11, each: int = 12) -> Corpus:
    """One bit of each turned round, at random places."""
    chance = random.Random(seed)
    corpus: Corpus = {}
    for kind in ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"):
        data = encoded(noise(), kind)
        for number in range(each):
            changed = bytearray(data)
            at = chance.randrange(len(changed))
            changed[at] ^= 1 << chance.randrange(8)
            corpus[f"flip/{kind.lower()}-{number:02d}-{at}"] = (bytes(changed), "anything promised")
    return corpus


def polyglots() -> Corpus:
    tail = archive()
    jpeg, png = encoded(noise(), "JPEG", quality=90), encoded(noise(), "PNG")
    size = struct.pack(">H", len(tail) + 2)
    corpus: Corpus = {
        f"poly/{name}": (data, KEPT)
        for name, data in {
            "zip.png": png + tail,
            "zip.jpg": jpeg + tail,
            "zip.gif": encoded(noise(), "GIF") + tail,
            "zip.webp": encoded(noise(), "WEBP") + tail,
            "zip.bmp": encoded(noise(), "BMP") + tail,
            "chunk.png": with_png_chunk(b"zzZz", tail),
            "comment.jpg": jpeg[:2] + b"\xff\xfe" + size + tail + jpeg[2:],
            **{f"app{n}.jpg": jpeg[:2] + bytes((0xFF, 0xE0 + n)) + size + tail + jpeg[2:] for n in range(16)},
            # A JFIF extension may carry a thumbnail: what was cropped away would still be seen in it.
            "jfxx.jpg": jpeg[:20] + b"\xff\xe0" + struct.pack(">H", 8 + len(SECRET)) + b"JFXX\0\x10" + SECRET
            + jpeg[20:],
            "adobe.jpg": encoded(noise().convert("CMYK"), "JPEG") + tail,
        }.items()
    }  # fmt: skip
    misnamed = {"png.jpg": png, "jpeg.png": jpeg, "gif.jpeg": encoded(noise(), "GIF"), "none": jpeg}
    return corpus | {f"name/{name}": (data, KEPT) for name, data in misnamed.items()}


def other_formats() -> Corpus:
    """Formats off the list, each under its own name and as a JPEG."""
    small = noise()
    pages = {
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(canary) (w) file closefile\nshowpage\n",
        "psd": b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 90, 120, 8, 3) + b"\0" * 40_000,
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///x"/></svg>',
        "html": b"<!DOCTYPE html><html><body><img src=x></body></html>",
        "json": b'{"error": "no such picture"}',
        "fits": b"SIMPLE  =                    T".ljust(2880),
    }
    pages |= {kind: encoded(small, kind) for kind in ("ico", "pdf", "ppm", "tga", "dds", "jpeg2000")}
    return {
        f"other/{kind}{suffix}": (data, Reason.NOT_AN_IMAGE)
        for kind, data in pages.items()
        for suffix in (f".{kind}", "-as.jpg")
    }


def orientations() -> Corpus:
    corpus: Corpus = {}
    for kind in ("JPEG", "PNG", "WEBP"):
        for orientation in range(1, 9):
            turn = TURNED.get(orientation)
            stored = corners().transpose(turn) if turn is not None else corners()
            data = encoded(stored, kind, exif=planted_exif(orientation), quality=95)
            corpus[f"upright/{orientation}.{kind.lower()}"] = (data, KEPT)
    return corpus


def modes() -> Corpus:
    """Colour modes; all show the corners, those in `grey` as grey."""
    whole = corners()
    clear = whole.convert("RGBA")
    clear.putpixel((2, 2), (255, 0, 255, 0))  # hidden magenta
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide = (np.asarray(whole.convert("L")).astype(np.uint16)) * 257
    pictures = {
        "cmyk.jpg": encoded(whole.convert("CMYK"), "JPEG", quality=95),
        "palette.png": encoded(whole.quantize(), "PNG"),
        "palette-alpha.png": encoded(clear.quantize(), "PNG"),
        "alpha.png": encoded(clear, "PNG"),
        "alpha.webp": encoded(clear, "WEBP", lossless=True, exact=True),
        "broken-icc.jpg": encoded(whole, "JPEG", quality=95, icc_profile=b"no profile at all"),
        "cut-icc.png": encoded(whole, "PNG", icc_profile=srgb[:200]),
        "grey/la.png": encoded(whole.convert("LA"), "PNG"),
        "grey/l.jpg": encoded(whole.convert("L"), "JPEG", quality=95),
        "grey/16bit.png": encoded(Image.fromarray(wide), "PNG"),
        "grey/16bit.tif": encoded(Image.fromarray(wide), "TIFF"),
        "black/1bit.png": encoded(whole.convert("1", dither=Image.Dither.NONE), "PNG"),
    }
    return {f"mode/{name}": (data, KEPT) for name, data in pictures.items()}


def several_frames() -> Corpus:
    more = {"save_all": True, "append_images": [corners().rotate(180), noise(64, 96)]}
    corpus: Corpus = {
        f"frames/{name}": (encoded(corners(), kind, **more), Reason.ANIMATED)
        for name, kind in (("a.gif", "GIF"), ("a.webp", "WEBP"), ("a.png", "PNG"), ("a.tif", "TIFF"))
    }
    return corpus | {"frames/first.jpg": (encoded(corners(), "MPO", quality=95, **more), KEPT)}


def whole_corpus() -> Corpus:
    parts = (header_bombs, metadata_bombs, damaged, flipped, polyglots, other_formats)
    return {
        name: value
        for part in (*parts, orientations, modes, several_frames)
        for name, value in part().items()
    }


# -- the crawl ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of the corpus; keys are file names as the rows tell them."""

    expected: dict[str, str]
    samples: dict[str, Sample]
    rejected: dict[str, Rejection]
    inputs: int
    images: ImageStore
    canaries: list[Path]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    root = tmp_path_factory.mktemp("hostile")
    photos, expected = root / "photos", {}
    for name, (data, reason) in whole_corpus().items():
        path = photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        expected[name] = reason
    (root / "bin").mkdir()
    for program in ("gs", "rsvg-convert", "inkscape", "magick"):
        (root / "bin" / program).write_text(f"#!/bin/sh\ntouch {root}/canary-{program}\n")
        (root / "bin" / program).chmod(0o755)
    settings = CrawlSettings.model_validate(
        {
            "sources": [{"type": "folder", "name": "h", "path": photos, "licence": "CC0-1.0"}],
            "decode": {"cpu_s": 2.0, "wall_s": 120.0},
        }
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}")
        directory, images = root / "work" / "manifests" / "crawl", ImageStore(root / "work")
        shards = shards_of_items(list_items(settings), 64)
        report = run_stage(CrawlStage(settings, 0), shards, directory, key="k", parent_key="", images=images)
    manifest = Manifest(directory)
    yield Outcome(
        expected,
        {one.provenance.item_key.removeprefix("h/"): one for one in manifest.samples()},
        {one.item_key.removeprefix("h/"): one for one in manifest.rejections()},
        report.counts.inputs,
        images,
        list(root.rglob("canary*")),
    )


def test_every_entry_ends_once_and_as_promised(outcome: Outcome) -> None:
    assert outcome.inputs == len(outcome.expected) == len(outcome.samples) + len(outcome.rejected)
    assert set(outcome.samples).isdisjoint(outcome.rejected)
    wrong = {}
    for name, expected in outcome.expected.items():
        rejection = outcome.rejected.get(name)
        found = rejection.reason.value if rejection else KEPT
        if not is_promised(found, expected):
            wrong[name] = f"{found or 'kept'} instead of {expected or 'kept'}"
    assert wrong == {}


def is_promised(found: str, expected: str) -> bool:
    if expected == "truncated or corrupt":
        return found in (Reason.TRUNCATED, Reason.CORRUPT)
    if expected == "anything promised":
        return found not in (Reason.INTERNAL, Reason.WORKER_LOST, Reason.DECODER_CRASH)
    return found == expected


def test_a_rejection_is_one_plain_line(outcome: Outcome) -> None:
    for name, rejection in outcome.rejected.items():
        assert rejection.detail and len(rejection.detail) <= 500, name
        assert rejection.detail.isprintable(), name
        assert "Traceback" not in rejection.detail and " at 0x" not in rejection.detail, name


def test_stored_pictures_hold_nothing_but_a_picture(outcome: Outcome) -> None:
    assert len(outcome.samples) > 50
    for name, sample in outcome.samples.items():
        data = outcome.images.read_bytes(sample.image)
        assert SECRET not in data and ZIP_START not in data, name
        assert_ends_with_its_picture(data, name)
        with Image.open(io.BytesIO(data)) as opened:
            assert opened.format == sample.image.format.upper(), name
            assert not opened.getexif(), name
            assert not {"exif", "xmp", "icc_profile", "comment"} & set(opened.info), name
            assert (opened.height, opened.width) == sample.image.size_hw, name
            opened.load()
    files = [path for path in (outcome.images.root / "objects").rglob("*") if path.is_file()]
    assert {path.stem for path in files} == {one.image.sha256 for one in outcome.samples.values()}


def assert_ends_with_its_picture(data: bytes, name: str) -> None:
    if data.startswith(b"\x89PNG"):
        position, kinds = 8, set()
        while position < len(data):
            (length,) = struct.unpack_from(">I", data, position)
            kinds.add(data[position + 4 : position + 8])
            position += 12 + length
        assert (position, data[-8:-4]) == (len(data), b"IEND"), name
        assert kinds <= {b"IHDR", b"IDAT", b"IEND"}, name
    else:
        assert data.count(b"\xff\xd9") == 1 and data.endswith(b"\xff\xd9"), name
        assert b"\xff\xd8" not in data[2:], name


def test_no_other_program_is_asked_and_no_path_is_left(outcome: Outcome) -> None:
    assert outcome.canaries == []


def corner_colours(outcome: Outcome, name: str) -> np.ndarray:
    rgb = outcome.images.read(outcome.samples[name].image)
    assert rgb.shape == (64, 96, 3), name
    return np.array([rgb[y, x] for y, x in ((8, 8), (8, 88), (56, 8), (56, 88))], dtype=float)


def test_every_orientation_is_stored_upright(outcome: Outcome) -> None:
    names = [name for name in outcome.samples if name.startswith("upright/")]
    assert len(names) == 24
    for name in names:
        assert np.abs(corner_colours(outcome, name) - CORNERS).max() <= 12, name
        assert outcome.samples[name].image.size_hw == (64, 96)


def test_every_colour_mode_shows_what_it_is(outcome: Outcome) -> None:
    grey = np.asarray(corners().convert("L").convert("RGB"))[[8, 8, 56, 56], [8, 88, 8, 88]]
    expected = {"mode": np.array(CORNERS), "grey": grey, "black": np.where(grey > 127, 255, 0)}
    names = [name for name in outcome.samples if name.startswith(("mode/", "frames/"))]
    assert len(names) == 13
    for name in names:
        kind = next((part for part in name.split("/") if part in ("grey", "black")), "mode")
        assert np.abs(corner_colours(outcome, name) - expected[kind]).max() <= 12, name


def test_what_is_transparent_shows_the_ground_and_not_what_it_hides(outcome: Outcome) -> None:
    for name in ("mode/alpha.png", "mode/alpha.webp"):
        rgb = outcome.images.read(outcome.samples[name].image)
        assert tuple(rgb[2, 2]) == FLATTEN_RGB, name


def test_of_a_thousand_a_hundred_crash_the_decoder_and_nine_hundred_are_done() -> None:
    pool = WorkerPool(operator.call, 2, WorkLimits())
    calls = [(os.abort,) if number % 10 == 3 else (abs, -number) for number in range(1000)]

    async def together() -> list[object]:
        return await asyncio.gather(*(pool.run(*call) for call in calls), return_exceptions=True)

    results = asyncio.run(together())
    pool.close()
    lost = {number: one for number, one in enumerate(results) if isinstance(one, ItemFault)}
    assert {one.reason for one in lost.values()} == {Reason.DECODER_CRASH}
    assert sorted(lost) == [number for number in range(1000) if number % 10 == 3]
    assert [one for one in results if isinstance(one, int)] == [n for n in range(1000) if n % 10 != 3]
