"""Small datasets with one thing wrong in each, and what an import must say of it."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 80, 64
Document = dict[str, Any]


@dataclass(frozen=True)
class Hostile:
    """One dataset.

    Attributes:
        name: of the case.
        format: of the dataset.
        write: makes it in a folder (its parent holds the canary).
        reasons: of the problems, sorted.
        whole: pictures that must be kept with all of their labels.
    """

    name: str
    format: str
    write: Callable[[Path], None]
    reasons: tuple[str, ...]
    whole: int


def png(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """A distinct picture for each number."""
    noise = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize(size).save(buffer, "PNG")
    return buffer.getvalue()


def png_bomb(side: int = 30_000) -> bytes:
    """A PNG of a few bytes whose header promises side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def coco_document() -> Document:
    """Two pictures, a.png with annotation 1 and b.png with annotation 2; all of it fine."""
    area = WIDTH * HEIGHT
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
            {"id": 2, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]},
            {
                "id": 2,
                "image_id": 2,
                "category_id": 1,
                "segmentation": {"size": [HEIGHT, WIDTH], "counts": [100, 50, area - 150]},
            },
        ],
        "categories": [{"id": 1, "name": "face_mask"}],
    }


def _coco(change: Callable[[Document], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        document = coco_document()
        change(document)
        _pictures(folder)
        (folder / "labels.json").write_text(json.dumps(document))

    return write


def _pictures(folder: Path) -> None:
    for number, name in enumerate(("a.png", "b.png")):
        (folder / name).write_bytes(png(number))


def _coco_bytes(data: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        _pictures(folder)
        (folder / "labels.json").write_bytes(data(json.dumps(coco_document()).encode()))

    return write


def _segmentation(value: Any) -> Callable[[Path], None]:
    return _coco(lambda document: document["annotations"][1].update(segmentation=value))


def _annotation(**values: Any) -> Callable[[Path], None]:
    return _coco(lambda document: document["annotations"][1].update(values))


def _image(**values: Any) -> Callable[[Path], None]:
    return _coco(lambda document: document["images"][1].update(values))


def _second_picture(data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        _coco(lambda document: None)(folder)
        (folder / "b.png").write_bytes(data)

    return write


def _rle(counts: Any, size: Any = (HEIGHT, WIDTH)) -> Callable[[Path], None]:
    return _segmentation({"size": list(size) if isinstance(size, tuple) else size, "counts": counts})


def _with_link(folder: Path) -> None:
    _image(file_name="link.png")(folder)
    (folder / "link.png").symlink_to(folder.parent / "canary.png")


def _with_folder_for_a_picture(folder: Path) -> None:
    _image(file_name="c.png")(folder)
    (folder / "c.png").mkdir()


def _mapped_to_outside(folder: Path) -> None:
    (folder / "deeper").mkdir()
    _image(file_name="deeper/../b.png")(folder)


_COCO: tuple[tuple[str, Callable[[Path], None], tuple[str, ...], int], ...] = (
    ("nothing wrong", _coco(lambda document: None), (), 2),
    ("RLE too short", _rle([100, 50]), ("rle_sum",), 1),
    ("RLE too long", _rle([100, 50, 5000]), ("rle_sum",), 1),
    ("RLE run of 10^30", _rle([0, 10**30]), ("rle_sum",), 1),
    ("RLE negative run", _rle([-5, 5, WIDTH * HEIGHT]), ("rle_value",), 1),
    ("RLE fraction", _rle([0.5, 1.5, WIDTH * HEIGHT - 2]), ("rle_value",), 1),
    ("RLE of text", _rle(["1", "2"]), ("rle_value",), 1),
    ("RLE of True", _rle([True, WIDTH * HEIGHT - 1]), ("rle_value",), 1),
    ("RLE without counts", _rle(None), ("schema",), 1),
    ("RLE of a giant picture", _rle([0, 65535 * 65535], (65535, 65535)), ("rle_size",), 1),
    ("RLE of the turned picture", _rle([0, WIDTH * HEIGHT], (WIDTH, HEIGHT)), ("rle_size",), 1),
    ("RLE size of text", _rle([0, 5120], "64x80"), ("rle_size",), 1),
    ("compressed RLE with other characters", _rle("Zé~"), ("rle_value",), 1),
    ("compressed RLE that ends inside", _rle("ooo"), ("rle_value",), 1),
    ("compressed RLE too short", _rle("12"), ("rle_sum",), 1),
    ("RLE of nothing", _rle([WIDTH * HEIGHT]), ("no_area",), 1),
    ("polygon with NaN", _segmentation([[float("nan"), 1, 20, 1, 20, 20]]), ("not_finite",), 1),
    ("polygon with infinity", _segmentation([[float("inf"), 1, 20, 1, 20, 20]]), ("not_finite",), 1),
    ("polygon at 2e9", _segmentation([[2e9, 1, 20, 1, 20, 20]]), ("out_of_bounds",), 1),
    ("polygon at 10^400", _segmentation([[10**400, 1, 20, 1, 20, 20]]), ("out_of_bounds",), 1),
    ("polygon of two points", _segmentation([[1, 1, 20, 20]]), ("degenerate",), 1),
    ("polygon of one point thrice", _segmentation([[5, 5, 5, 5, 5, 5]]), ("degenerate",), 1),
    ("polygon with an odd number", _segmentation([[1, 1, 20, 1, 20]]), ("schema",), 1),
    ("polygon of text", _segmentation([["1", "1", "20", "1", "20", "20"]]), ("schema",), 1),
    ("polygon of 10,001 points", _segmentation([[1.0, 2.0] * 10_001]), ("schema",), 1),
    ("polygon without area", _segmentation([[1, 1, 20, 1, 40, 1]]), ("no_area",), 1),
    ("a box alone", _annotation(segmentation=[], bbox=[1, 1, 20, 20]), ("schema",), 1),
    ("segmentation of text", _segmentation("1 2 3"), ("schema",), 1),
    ("negative area", _annotation(area=-5), ("out_of_bounds",), 2),
    ("negative box", _annotation(bbox=[1, 1, -20, 20]), ("out_of_bounds",), 2),
    ("annotation id twice", _annotation(id=1), ("duplicate_id",), 1),
    ("annotation without id", _annotation(id=None), ("schema",), 1),
    ("annotation of no picture", _annotation(image_id=77), ("dangling_reference",), 2),
    ("annotation that is text", _coco(lambda d: d["annotations"].append("x")), ("schema",), 2),
    ("category that is not there", _annotation(category_id=9), ("unknown_label",), 1),
    (
        "category 0 is a category",
        _coco_bytes(lambda d: d.replace(b'"category_id": 1', b'"category_id": 0').replace(
            b'[{"id": 1, "name": "face_mask"}]', b'[{"id": 0, "name": "face_mask"}]')),
        (),
        2,
    ),
    (
        "category with two names",
        _coco(lambda d: d["categories"].append({"id": 1, "name": "face"})),
        ("unknown_label", "unknown_label"),
        0,
    ),
    (
        "category named in markup",
        _coco(lambda d: d["categories"][0].update(name="<script>alert(1)</script>")),
        ("unknown_label", "unknown_label"),
        0,
    ),
    ("picture id twice", _image(id=1), ("dangling_reference", "duplicate_id"), 1),
    ("picture without id", _image(id=[2]), ("dangling_reference", "schema"), 1),
    ("picture name twice", _image(file_name="a.png"), ("duplicate_id",), 1),
    ("size of text", _image(width="80"), ("schema",), 1),
    ("another size", _image(width=81), ("size_mismatch",), 1),
    ("parent folder", _image(file_name="../canary.png"), ("unsafe_path",), 1),
    ("absolute path", _image(file_name="/etc/hostname"), ("unsafe_path",), 1),
    ("a link to the outside", _with_link, ("unsafe_path",), 1),
    ("up and down inside", _mapped_to_outside, (), 2),
    ("a URL for a name", _image(file_name="http://127.0.0.1:9/b.png"), ("missing_image",), 1),
    ("a name with a zero byte", _image(file_name="b\0.png"), ("unsafe_path",), 1),
    ("a name of 5,000 letters", _image(file_name="b" * 5000), ("missing_image",), 1),
    ("a folder for a picture", _with_folder_for_a_picture, ("missing_image",), 1),
    ("picture cut off", _second_picture(png(1)[:200]), ("truncated",), 1),
    ("picture of 900 megapixels", _second_picture(png_bomb()), ("too_many_pixels",), 1),
    ("no picture at all", _second_picture(b"<html></html>"), ("not_an_image",), 1),
    ("picture of 0 bytes", _second_picture(b""), ("empty",), 1),
    ("JSON cut off", _coco_bytes(lambda data: data[:-20]), ("json",), 0),
    ("JSON nested deep", _coco_bytes(lambda data: b'{"images":' + b"[" * 100_000), ("json",), 0),
    ("JSON with a key twice", _coco_bytes(lambda data: b'{"images": [],' + data[1:]), ("json",), 0),
    ("JSON in Latin-1", _coco_bytes(lambda data: data.replace(b"a.png", b"\xe4.png")), ("json",), 0),
    ("JSON with a byte order mark", _coco_bytes(lambda data: b"\xef\xbb\xbf" + data), (), 2),
    ("JSON list", _coco_bytes(lambda data: b'[{"images": 1}]'), ("schema",), 0),
    ("JSON tables that are none", _coco(lambda d: d.update(annotations={})), ("schema",), 0),
    (
        "JSON integer of 5,000 digits",
        _coco_bytes(lambda data: data.replace(b'"width": 80', b'"width": ' + b"8" * 5000)),
        ("json",),
        0,
    ),
)  # fmt: skip


def _labelme(**changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for number, stem in enumerate("ab"):
            (folder / f"{stem}.png").write_bytes(png(number))
            square = [[10, 10], [30, 10], [30, 30], [10, 30]]
            shape = {"label": "face_mask", "shape_type": "polygon", "group_id": None, "flags": {}}
            content: Document = {
                "version": "5.5.0",
                "flags": {},
                "shapes": [{**shape, "points": square}],
                "imagePath": f"{stem}.png",
                "imageData": None,
                "imageHeight": HEIGHT,
                "imageWidth": WIDTH,
            }
            if stem == "b":
                content["shapes"][0].update(changes.pop("shape", {}))
                content.update(changes)
            (folder / f"{stem}.json").write_text(json.dumps(content))

    return write


def _yolo(line: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for part in ("images", "labels"):
            (folder / part / "train").mkdir(parents=True)
        for number, stem in enumerate("ab"):
            (folder / "images" / "train" / f"{stem}.png").write_bytes(png(number))
            good = "0 0.2 0.2 0.6 0.2 0.6 0.6 0.2 0.6\n"
            (folder / "labels" / "train" / f"{stem}.txt").write_text(line if stem == "b" else good)
        (folder / "data.yaml").write_text("train: images/train\nnames:\n  0: face_mask\n")

    return write


def _voc(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (folder / part).mkdir(parents=True)
        (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\n")
        (folder / "labelmap.txt").write_text("background:0,0,0::\nface_mask:128,0,0::\n")
        index = np.zeros((HEIGHT, WIDTH), np.uint8)
        index[10:30, 10:30] = 1
        for number, stem in enumerate("ab"):
            (folder / "JPEGImages" / f"{stem}.png").write_bytes(png(number))
            write_index(folder / "SegmentationClass" / f"{stem}.png", index)
        change(folder)

    return write


def write_index(path: Path, index: np.ndarray) -> None:
    """A palette PNG of class numbers."""
    picture = Image.fromarray(index)
    picture.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
    picture.save(path)


def _celebamask(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        pictures, parts = folder / "CelebA-HQ-img", folder / "CelebAMask-HQ-mask-anno" / "0"
        pictures.mkdir()
        parts.mkdir(parents=True)
        part = np.zeros((HEIGHT, WIDTH), np.uint8)
        part[10:30, 10:30] = 255
        for number in (0, 1):
            (pictures / f"{number}.png").write_bytes(png(number))
            Image.fromarray(part).save(parts / f"{number:05d}_skin.png")
        change(folder)

    return write


def _doctype(folder: Path) -> None:
    (folder / "Annotations").mkdir()
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 1000}">' for n in range(10))
    bomb = f"<!DOCTYPE annotation [{entities}]><annotation>&e9;</annotation>"
    (folder / "Annotations" / "b.xml").write_text(bomb)


def _index(value: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_index(folder / "SegmentationClass" / "b.png", np.full(size, value, np.uint8))

    return write


def _list_a_picture_outside(folder: Path) -> None:
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n../../canary\n")


def _without_a_picture(folder: Path) -> None:
    (folder / "CelebA-HQ-img" / "1.png").unlink()


_BOMB = base64.b64encode(png_bomb()).decode()
_INFINITE = {"points": [[1e999, 1], [5, 5], [9, 1]]}
_OTHERS: tuple[tuple[str, str, Callable[[Path], None], tuple[str, ...], int], ...] = (
    ("labelme", "nothing wrong", _labelme(), (), 2),
    ("labelme", "a path outside", _labelme(imagePath="../canary.png"), ("unsafe_path",), 1),
    ("labelme", "a system path", _labelme(imagePath="/etc/hostname"), ("unsafe_path",), 1),
    ("labelme", "imageData that is a bomb", _labelme(imageData=_BOMB), ("too_many_pixels",), 1),
    ("labelme", "a size that lies", _labelme(imageHeight=HEIGHT + 1), ("size_mismatch",), 1),
    ("labelme", "a point at infinity", _labelme(shape=_INFINITE), ("not_finite",), 1),
    ("labelme", "an unknown label", _labelme(shape={"label": "<b>hat</b>"}), ("unknown_label",), 1),
    ("yolo", "nothing wrong", _yolo(""), (), 2),
    ("yolo", "a class that is not there", _yolo("7 0.2 0.2 0.6 0.2 0.6 0.6\n"), ("unknown_label",), 1),
    ("yolo", "a coordinate that is none", _yolo("0 nan 0.2 0.6 0.2 0.6 0.6\n"), ("not_finite",), 1),
    ("yolo", "a box alone", _yolo("0 0.5 0.5 0.2 0.2\n"), ("schema",), 1),
    ("voc", "nothing wrong", _voc(lambda folder: None), (), 2),
    ("voc", "a class that is not there", _voc(_index(9)), ("unknown_label",), 1),
    ("voc", "a mask of another size", _voc(_index(1, (HEIGHT, WIDTH + 1))), ("mask_size",), 1),
    ("voc", "a picture outside", _voc(_list_a_picture_outside), ("missing_image",), 2),
    ("voc", "an XML bomb", _voc(_doctype), ("schema",), 1),
    ("celebamask", "nothing wrong", _celebamask(lambda folder: None), (), 2),
    ("celebamask", "a part of no picture", _celebamask(_without_a_picture), ("missing_image",), 1),
)


def all_cases() -> list[Hostile]:
    """Every case, COCO first."""
    coco = [("coco", *case) for case in _COCO]
    return [
        Hostile(name, kind, write, tuple(sorted(reasons)), whole)
        for kind, name, write, reasons, whole in (*coco, *_OTHERS)
    ]
