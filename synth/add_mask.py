"""A user's own mask from one photo of it lying flat: cut out, flattened to the cloth, kept as a design.

A design is two files in a directory of the user's: `<name>.json` and `<name>.png`, the cloth's picture with
its outline pulled straight, so that it fills the picture. Its form is that of one of our designs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import ConfigError, DataError, UnknownName
from dataset_tools.core.files import canonical_json, sha256_hex, write_bytes, write_text
from dataset_tools.core.images import DEFAULT_LIMITS, RgbImage, decode_photo, encode_png
from synth.assets import DESIGNS
from synth.cloth.fabric import Fabric, Rgb
from synth.cloth.textures import read_texture, register_texture
from synth.designs.design import Design, Strap
from synth.geometry import MaskShape

Bytes = npt.NDArray[np.uint8]
BoolMask = npt.NDArray[np.bool_]

FORMAT = 1
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_MAX_JSON_BYTES = 65_536
_KEYS = {"format", "name", "type", "texture_sha256", "ground", "strap"}

_TEXTURE_HW = (448, 640)
_WORKING_PX = 480  # longer side at which the mask is searched
_LEAST_SHARE, _MOST_SHARE = 0.05, 0.97  # of the photo that a mask fills
_LOOP_SHARE = 0.035  # thinner than this part of the mask's width is a loop, not cloth
_OBLONG = 1.2
_LEVEL_DEG = 5.0  # a smaller tilt is the outline's own shape
_INSET = 0.012  # of the outline, so that no background comes along


@dataclass(frozen=True)
class FlatMask:
    """A mask found in a photo.

    Attributes:
        texture: (448, 640, 3) sRGB, the cloth from edge to edge.
        strap: colour of its loops, or of the cloth where there are none to be seen.
        outline: (H, W) bool of the photo: the cloth without loops.
    """

    texture: RgbImage
    strap: Rgb
    outline: BoolMask


def add_mask(photo: Path, name: str, directory: Path, base: str = "cloth") -> Design:
    """Make a design from a photo of a mask lying flat, and store it.

    Args:
        photo: a picture with a transparent background, or with a plain one in another colour than the mask.
        name: of the design: a–z, 0–9, "_" and "-", beginning with a letter, at most 40 characters.
        directory: of the user's designs; made when it is not there. A design of this name is replaced.
        base: the design of ours (`synth.assets.DESIGNS`) whose form and straps it takes.

    Returns:
        The design, as `load_user_designs` would.

    Raises:
        ConfigError: a name that is not allowed or belongs to one of our designs.
        UnknownName: no such base.
        DataError: the photo cannot be read, or no mask is found in it.
    """
    _check_name(name)
    if base not in DESIGNS:
        raise UnknownName("mask design", base, DESIGNS)
    try:
        data = photo.read_bytes()
    except OSError as error:
        raise DataError(f"{photo}: {error.strerror or error}") from error
    try:
        flat = flatten_mask(data)
    except DataError as error:
        raise DataError(f"{photo}: {error}") from error
    png = encode_png(flat.texture)
    ground = tuple(int(value) for value in np.median(flat.texture.reshape(-1, 3), axis=0))
    values = {
        "format": FORMAT,
        "name": name,
        "type": base,
        "texture_sha256": sha256_hex(png),
        "ground": ground,
        "strap": flat.strap,
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_bytes(directory / f"{name}.png", png)
        write_text(directory / f"{name}.json", canonical_json(values) + "\n")
    except OSError as error:
        raise DataError(f"{directory}: {error.strerror or error}") from error
    return _load(directory / f"{name}.json")


def load_user_designs(directory: Path) -> dict[str, Design]:
    """The designs in a user's directory by name, and their textures made known to this process.

    Every process that draws or replays such a mask has to call this once.

    Raises:
        DataError: no such directory, or a file in it that is not a design; the text names it.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory of mask designs")
    return {design.name: design for design in map(_load, sorted(directory.glob("*.json")))}


def all_designs(directory: Path | None) -> Mapping[str, Design]:
    """Our designs, and those in a user's directory where there is one.

    Raises:
        DataError: as `load_user_designs`.
    """
    return DESIGNS if directory is None else {**DESIGNS, **load_user_designs(directory)}


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"mask name {name!r}: a-z, 0-9, '_' and '-', beginning with a letter, at most 40 characters"
        )
    if name in DESIGNS:
        raise ConfigError(f"mask name {name!r} is one of the built-in designs; choose another")


def _load(path: Path) -> Design:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise DataError(f"{path}: too long for a mask design")
        values = json.loads(path.read_bytes())
        name, base, sha256, ground, strap = _checked(values, path.stem)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a mask design: {error}") from error
    picture = path.with_name(f"{name}.png")
    read_texture(picture, sha256)
    register_texture(sha256, picture)
    like = DESIGNS[base]
    draw = partial(_draw, base=base, texture=sha256, ground=ground, loops=strap)
    return Design(name, int(sha256[:6], 16), like.mask_type, draw, like.states)


def _checked(values: Any, stem: str) -> tuple[str, str, str, Rgb, Rgb]:
    if not isinstance(values, dict) or set(values) != _KEYS:
        raise ValueError(f"expected the keys {', '.join(sorted(_KEYS))}")
    if values["format"] != FORMAT:
        raise ValueError(f"format {values['format']!r}, this version reads {FORMAT}")
    name, base, sha256 = values["name"], values["type"], values["texture_sha256"]
    if name != stem:
        raise ValueError(f"it names {name!r}, its file {stem!r}")
    _check_name(name)
    if not isinstance(base, str) or base not in DESIGNS:
        raise ValueError(f"unknown type {base!r}; known: {', '.join(DESIGNS)}")
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError("texture_sha256 is not a SHA-256")
    return name, base, sha256, _rgb(values["ground"]), _rgb(values["strap"])


def _rgb(value: Any) -> Rgb:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("a colour is three numbers")
    if any(type(part) is not int or not 0 <= part <= 255 for part in value):
        raise ValueError("a colour is three whole numbers from 0 to 255")
    return value[0], value[1], value[2]


def _draw(
    rng: np.random.Generator, *, base: str, texture: str, ground: Rgb, loops: Rgb
) -> tuple[MaskShape, Fabric, Strap]:
    # The form as of the base; the cloth is the picture, whose pleats and hem are in it already.
    shape, fabric, strap = DESIGNS[base].draw(rng)
    cloth = replace(
        fabric,
        pattern="photo",
        texture=texture,
        ground=ground,
        ink=ground,
        accent=ground,
        trim=ground,
        weave=0.3 * fabric.weave,
        hem_mm=0.0,
        stitched=False,
        stamp="",
        window=None,
    )
    return replace(shape, pleats=0), cloth, replace(strap, colour=loops)


def flatten_mask(data: bytes) -> FlatMask:
    """Find the mask in a photo and pull its outline straight.

    Args:
        data: the photo's file.

    Raises:
        DataError: not a picture, or no single mask in it.
    """
    import cv2

    rgb = decode_photo(data).rgb
    alpha = _alpha(data, rgb)
    whole = _from_background(rgb) if alpha is None else alpha
    # Rough tears of a cut-out, thin loops: gone; the largest piece is the cloth.
    span = max(int(np.ptp(np.flatnonzero(whole.any(axis=0)))), 1) if whole.any() else 1
    radius = max(round(_LOOP_SHARE * span / 2), 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = cv2.copyMakeBorder(whole.astype(np.uint8), radius, radius, radius, radius, cv2.BORDER_CONSTANT)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc)[radius:-radius, radius:-radius]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened)
    if count < 2:
        raise DataError(_NOT_FOUND)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    cloth = (labels == largest).astype(np.uint8)
    # Prints in the ground's colour leave holes: filled.
    contours, _ = cv2.findContours(cloth, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = cv2.drawContours(cloth, contours, -1, 1, -1) > 0
    if not _LEAST_SHARE <= outline.mean() <= _MOST_SHARE:
        raise DataError(_NOT_FOUND)
    texture = _straightened(_spread(rgb, outline), outline)
    near = cv2.dilate(outline.astype(np.uint8), disc) > 0
    thin = whole & ~near
    loops = rgb[thin] if thin.sum() > 0.002 * outline.sum() else texture.reshape(-1, 3)
    red, green, blue = (int(value) for value in np.median(loops, axis=0))
    return FlatMask(texture, (red, green, blue), outline)


_NOT_FOUND = (
    "no mask found in it: lay one mask flat on a plain ground of another colour, filling most of the photo"
)


def _alpha(data: bytes, rgb: RgbImage) -> BoolMask | None:
    # The picture's own cut-out, when it has one. `decode_photo` has checked size and format before.
    import io

    from PIL import Image, ImageOps

    if len(data) > DEFAULT_LIMITS.max_bytes:
        return None
    with Image.open(io.BytesIO(data)) as opened:
        if "A" not in opened.getbands() and "transparency" not in opened.info:
            return None
        upright = ImageOps.exif_transpose(opened).convert("RGBA")
        solid: BoolMask = np.asarray(upright)[..., 3] > 127
    if solid.shape != rgb.shape[:2] or solid.mean() > _MOST_SHARE:
        return None
    return solid


def _from_background(rgb: RgbImage) -> BoolMask:
    # What differs from the border's colours, made exact by GrabCut.
    import cv2

    height, width = rgb.shape[:2]
    shrink = min(1.0, _WORKING_PX / max(height, width))
    size = (max(int(width * shrink), 8), max(int(height * shrink), 8))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    edge = max(round(0.03 * min(size)), 1)
    border = np.concatenate(
        [part.reshape(-1, 3) for part in (lab[:edge], lab[-edge:], lab[:, :edge], lab[:, -edge:])]
    )
    ground = np.median(border, axis=0)
    # Shadow changes lightness more than hue.
    difference = (lab - ground) * (0.6, 1.0, 1.0)
    away = np.linalg.norm(difference, axis=-1)
    usual = float(np.quantile(np.linalg.norm((border - ground) * (0.6, 1.0, 1.0), axis=-1), 0.8))
    likely = away > max(2.2 * usual, 6.0)
    if not _LEAST_SHARE / 2 <= likely.mean() <= _MOST_SHARE:
        raise DataError(_NOT_FOUND)
    marks = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    rim = np.zeros_like(likely)
    rim[:edge], rim[-edge:], rim[:, :edge], rim[:, -edge:] = True, True, True, True
    marks[rim & ~likely] = cv2.GC_BGD
    if not (marks == cv2.GC_BGD).any():
        raise DataError(_NOT_FOUND)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(small[..., ::-1])
    cv2.grabCut(bgr, marks, None, *models, 4, cv2.GC_INIT_WITH_MASK)
    found = ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)).astype(np.uint8)
    wide = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide > 0.5)


def _spread(rgb: RgbImage, outline: BoolMask) -> RgbImage:
    # Around the cloth the colour of its nearest pixel, so that no ground shows at the edges.
    import cv2

    core = cv2.erode(outline.astype(np.uint8), np.ones((5, 5), np.uint8))
    _, labels = cv2.distanceTransformWithLabels(1 - core, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.zeros((int(labels.max()) + 1, 3), dtype=np.uint8)
    inside = core > 0
    colours[labels[inside]] = rgb[inside]
    return colours[labels]


def _straightened(rgb: RgbImage, outline: BoolMask) -> RgbImage:
    # Turned level, then each column of the cloth from its top to its bottom edge.
    import cv2

    points = np.argwhere(outline)[:, ::-1].astype(np.float32)
    (x, y), (first, second), angle = cv2.minAreaRect(points)
    angle += 90.0 * (first < second)
    # A mask photographed upright stays upright; one that is nearly as high as wide turns the short way.
    turns = 90.0 if max(first, second) < _OBLONG * min(first, second) else 180.0
    angle = (angle + turns / 2) % turns - turns / 2
    angle *= abs(angle) > _LEVEL_DEG
    reach = int(np.ceil(np.hypot(first, second))) + 4
    turn = cv2.getRotationMatrix2D((float(x), float(y)), float(angle), 1.0)
    turn[:, 2] += reach / 2 - np.array([x, y])
    level = cv2.warpAffine(rgb, turn, (reach, reach), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    solid = cv2.warpAffine(outline.astype(np.uint8), turn, (reach, reach)) > 0
    heights = solid.sum(axis=0)
    wide = np.flatnonzero(heights > 0.12 * heights.max())
    left, right = int(wide[0]), int(wide[-1])
    columns = np.arange(left, right + 1)
    top = _smoothed(solid[:, columns].argmax(axis=0))
    bottom = _smoothed(reach - 1 - solid[::-1, columns].argmax(axis=0))
    rows_out, columns_out = _TEXTURE_HW
    u = np.linspace(_INSET, 1.0 - _INSET, columns_out) * (right - left)
    v = np.linspace(_INSET, 1.0 - _INSET, rows_out)[:, None]
    upper, lower = np.interp(u, columns - left, top), np.interp(u, columns - left, bottom)
    map_y = (upper + v * (lower - upper)).astype(np.float32)
    map_x = np.broadcast_to((u + left).astype(np.float32), map_y.shape).copy()
    flat = cv2.remap(level, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(flat, dtype=np.uint8)


def _smoothed(edge: npt.NDArray[np.signedinteger[Any]]) -> npt.NDArray[np.float64]:
    # Without the ends of loops and torn threads.
    import cv2

    line = edge.astype(np.float32)[None, :]
    width = max(2 * (len(edge) // 60) + 1, 3)
    smooth = cv2.blur(line, (width, 1), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth[0], dtype=np.float64)
