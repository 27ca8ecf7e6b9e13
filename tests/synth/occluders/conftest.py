"""Drawn cut-outs in a folder, as a user would keep them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from synth.occluders.cutouts import OccluderLibrary


def encode_png(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def draw_spectacles() -> Image.Image:
    # Two clear lenses in a frame 120 px wide, centres at (38, 30) and (92, 30) of a 140 x 70 picture.
    picture = Image.new("RGBA", (140, 70), (255, 255, 255, 0))
    pen = ImageDraw.Draw(picture)
    for x in (38, 92):
        pen.ellipse((x - 24, 30 - 18, x + 24, 30 + 18), outline=(20, 20, 25, 255), width=4)
    pen.line((60, 28, 70, 28), fill=(20, 20, 25, 255), width=4)
    return picture


def draw_cup() -> Image.Image:
    picture = Image.new("RGBA", (90, 110), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rounded_rectangle((10, 10, 75, 100), 15, fill=(200, 40, 30, 255))
    return picture


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Bytes of a picture; keywords are those of Pillow's PNG writer."""
    return encode_png


@pytest.fixture
def spectacles() -> Image.Image:
    """See `draw_spectacles`."""
    return draw_spectacles()


@pytest.fixture
def cup() -> Image.Image:
    """A red rectangle with round corners and nothing around it."""
    return draw_cup()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> OccluderLibrary:
    """Spectacles, a "hand", an object and a scarf."""
    folder = Path(tmp_path_factory.mktemp("cutouts"))
    scarf = Image.new("RGBA", (120, 100), (0, 0, 0, 0))
    ImageDraw.Draw(scarf).ellipse((2, 2, 117, 97), fill=(30, 60, 160, 255))
    for name, picture in (
        ("eyeglasses/a", draw_spectacles()),
        ("hand/h", draw_cup()),
        ("cup", draw_cup().rotate(90, expand=True)),
        ("scarf/s", scarf),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.png").write_bytes(encode_png(picture))
    return OccluderLibrary(folder)
