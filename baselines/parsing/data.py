"""Pictures of faces with 18 part masks each, from the two forms such data comes in.

One map per picture (class numbers, e.g. CelebAMask as face parsers repack it):

    FOLDER/classes.txt                     "<number> <part>" per line; all of `PARTS`, others are no part
    FOLDER/image/<name>.jpg, .png
    FOLDER/mask/<name>.png                 one channel or a palette

One file per picture and part (CelebAMask-HQ as its authors publish it):

    FOLDER/CelebA-HQ-img/<number>.jpg
    FOLDER/CelebAMask-HQ-mask-anno/*/<number, 5 digits>_<part>.png     0 and 255

A part without a file is not in the picture. The background is where no part is, unless it has its own file.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from baselines.crops import resize_labels, resize_rgb
from baselines.parsing.parts import BACKGROUND, NECKLACE, PARTS, SIDE_PAIRS
from dataset_tools.core.errors import DataError, ImageFault
from dataset_tools.core.files import digest_json, sha256_hex
from dataset_tools.core.images import decode_photo, sniff_format
from dataset_tools.core.progress import ProgressFactory, silent

CLASSES_FILE = "classes.txt"
HQ_PICTURES = "CelebA-HQ-img"
HQ_MASKS = "CelebAMask-HQ-mask-anno"
_log = logging.getLogger(__name__)
_PICTURE_ENDINGS = (".jpg", ".jpeg", ".png")
_ON = 127  # a stored mask pixel above it is set

RgbImage = npt.NDArray[np.uint8]
PartMasks = npt.NDArray[np.bool_]
_Masks = Callable[[], tuple[PartMasks, str]]


@dataclass(frozen=True, slots=True)
class ParsedFace:
    """One picture, brought to the network's size.

    Attributes:
        name: file name without ending.
        sha256: of the picture's file.
        masks_sha256: of its mask file, or a digest over them.
        rgb: (S, S, 3) uint8.
        bits: its masks, 8 pixels a byte: 4,000 pictures of 128 pixels take 340 MB, not 1.4 GB.
    """

    name: str
    sha256: str
    masks_sha256: str
    rgb: RgbImage
    bits: npt.NDArray[np.uint8]

    def masks(self) -> PartMasks:
        """(18, S, S) bool in the order of `PARTS`; several parts may claim a pixel, or none."""
        side = self.rgb.shape[0]
        flat = np.unpackbits(self.bits, axis=1, count=side * side)
        return flat.reshape(len(PARTS), side, side).astype(np.bool_)


@dataclass(frozen=True, slots=True)
class FaceSet:
    """All pictures of a folder, by name.

    Attributes:
        title: the folder's name.
        digest: of names, pictures and masks.
        faces: see there.
        crossed: names of the pictures with crossed sides (`has_crossed_sides`).
    """

    title: str
    digest: str
    faces: tuple[ParsedFace, ...]
    crossed: tuple[str, ...]


def read_faces(folder: Path, side: int, progress: ProgressFactory = silent) -> FaceSet:
    """Read a folder of one of the two forms.

    Args:
        folder: see the module docstring.
        side: pictures are brought to (side, side) smoothly, masks by nearest pixel.
        progress: opens the progress display.

    Raises:
        DataError: neither form, no picture, or a file that is missing, damaged, not square, of another
            shape than its picture or with unknown classes; names the file.
    """
    if (folder / CLASSES_FILE).is_file():
        found = _numbered(folder, side)
    elif (folder / HQ_MASKS).is_dir():
        found = _separate(folder, side)
    else:
        raise DataError(f"{folder} has neither {CLASSES_FILE} nor a folder {HQ_MASKS}")
    if not found:
        raise DataError(f"{folder} holds no picture with masks")
    faces = []
    with progress("read", len(found)) as bar:
        for picture, masks in found:
            faces.append(_face(picture, masks, side))
            bar.advance()
    digest = digest_json([(one.name, one.sha256, one.masks_sha256) for one in faces])
    crossed = tuple(one.name for one in faces if has_crossed_sides(one.masks()))
    if crossed:
        _log.warning(
            "%s: on %d of %d pictures, such as %s, left eye, brow or ear lie where the right ones should; "
            "they look mirrored without their names changed over",
            folder,
            len(crossed),
            len(faces),
            crossed[0],
        )
    return FaceSet(folder.resolve().name, digest, tuple(faces), crossed)


def has_crossed_sides(masks: PartMasks) -> bool:
    """Whether a person's left parts lie left of the right ones, as only in a mirror.

    Args:
        masks: (18, S, S) bool. Every pair of eyes, brows and ears of which both are seen has a vote.
    """
    votes = [
        float(np.nonzero(masks[left])[1].mean()) < float(np.nonzero(masks[right])[1].mean())
        for left, right in SIDE_PAIRS
        if masks[left].any() and masks[right].any()
    ]
    return sum(votes) * 2 > len(votes)


def split_names(faces: FaceSet, val_share: float, seed: int) -> tuple[list[ParsedFace], list[ParsedFace]]:
    """Training and held-out pictures, each by name.

    Raises:
        DataError: too few pictures for both.
    """
    from dataset_tools.core.seeds import generator

    count = len(faces.faces)
    held_out = round(count * val_share)
    if held_out < 1 or count - held_out < 2:
        raise DataError(f"{faces.title} has {count} pictures, too few to hold {val_share:.0%} of them out")
    order = generator(seed, "parsing", "split").permutation(count)
    chosen = set(order[:held_out].tolist())
    learned = [one for index, one in enumerate(faces.faces) if index not in chosen]
    return learned, [one for index, one in enumerate(faces.faces) if index in chosen]


def _face(picture: Path, masks: _Masks, side: int) -> ParsedFace:
    data = _bytes(picture)
    rgb = _rgb(picture, data)
    channels, digest = masks()
    return ParsedFace(
        name=picture.stem,
        sha256=sha256_hex(data),
        masks_sha256=digest,
        rgb=resize_rgb(rgb, side),
        bits=np.packbits(channels.reshape(len(PARTS), -1), axis=1),
    )


def _numbered(folder: Path, side: int) -> list[tuple[Path, _Masks]]:
    classes = read_classes(folder / CLASSES_FILE)
    return [
        (picture, partial(_numbered_masks, folder / "mask" / f"{picture.stem}.png", classes, side))
        for picture in _pictures(folder / "image")
    ]


def read_classes(path: Path) -> dict[int, str]:
    """Class number -> name, from lines "<number> <name>".

    Raises:
        DataError: a line of another form, a number or name twice, or a part that is missing.
    """
    classes: dict[int, str] = {}
    for line in _bytes(path).decode("utf-8", "replace").split("\n"):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not words[0].isascii() or not words[0].isdigit():
            raise DataError(f"{path}: expected '<number> <name>', found {line.strip()[:60]!r}")
        if int(words[0]) in classes or words[1] in classes.values():
            raise DataError(f"{path}: {line.strip()!r} repeats a number or a name")
        classes[int(words[0])] = words[1]
    missing = [part for part in PARTS if part not in classes.values()]
    if missing:
        raise DataError(f"{path}: no class for {', '.join(missing)}")
    return classes


def _numbered_masks(path: Path, classes: dict[int, str], side: int) -> tuple[PartMasks, str]:
    data = _bytes(path)
    _rgb(path, data)  # refuses what is damaged
    if sniff_format(data) != "PNG":
        raise DataError(f"{path} is no PNG; lossy masks invent classes")
    with Image.open(io.BytesIO(data)) as opened:
        if opened.mode not in ("L", "P"):
            raise DataError(f"{path} has pixels of kind {opened.mode}; class numbers need one 8-bit channel")
        numbers = np.asarray(opened, dtype=np.uint8)
    unknown = sorted(set(np.unique(numbers).tolist()) - classes.keys())
    if unknown:
        raise DataError(f"{path}: class {unknown[0]} is not in {CLASSES_FILE}")
    small = resize_labels(numbers, side)
    by_name = {name: number for number, name in classes.items()}
    return np.stack([small == by_name[part] for part in PARTS]), sha256_hex(data)


def _separate(folder: Path, side: int) -> list[tuple[Path, _Masks]]:
    files: dict[int, dict[str, Path]] = {}
    for path in sorted((folder / HQ_MASKS).rglob("*.png")):
        number, _, part = path.stem.partition("_")
        if not (number.isascii() and number.isdigit()) or part not in (*PARTS, NECKLACE):
            raise DataError(f"{path} is not called <number>_<part>.png with a known part")
        files.setdefault(int(number), {})[part] = path
    found: list[tuple[Path, _Masks]] = []
    for picture in _pictures(folder / HQ_PICTURES):
        if not picture.stem.isdigit():
            raise DataError(f"{picture} is not called <number>{picture.suffix}")
        masks = files.get(int(picture.stem))
        if masks is None:
            raise DataError(f"{picture} has no masks in {HQ_MASKS}")
        found.append((picture, partial(_separate_masks, masks, side)))
    return found


def _separate_masks(files: dict[str, Path], side: int) -> tuple[PartMasks, str]:
    found: dict[str, PartMasks] = {}
    digests = {}
    for part, path in sorted(files.items()):
        data = _bytes(path)
        found[part] = resize_labels(_rgb(path, data)[..., 0], side) > _ON
        digests[part] = sha256_hex(data)
    if BACKGROUND not in found:
        found[BACKGROUND] = ~np.any(list(found.values()), axis=0)
    empty = np.zeros((side, side), dtype=np.bool_)
    return np.stack([found.get(part, empty) for part in PARTS]), digest_json(digests)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is missing")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURE_ENDINGS)
    stems: dict[str, Path] = {}
    for path in found:
        if path.stem in stems:
            raise DataError(f"{path} and {stems[path.stem].name} would share their masks")
        stems[path.stem] = path
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _rgb(path: Path, data: bytes) -> RgbImage:
    try:
        rgb = decode_photo(data).rgb
    except ImageFault as fault:
        raise DataError(f"{path}: {fault}") from fault
    height, width = rgb.shape[:2]
    if height != width:
        raise DataError(f"{path} is {width}x{height}; faces are parsed in square pictures")
    return rgb
