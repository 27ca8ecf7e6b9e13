"""Pascal VOC segmentation, out and in.

    JPEGImages/<id>.jpg|png              the stored bytes
    SegmentationClass/<id>.png           palette PNG of class numbers
    SegmentationObject/<id>.png          palette PNG of object numbers, in the order of the XML's objects
    Annotations/<id>.xml                 size and boxes, which count from 1 with both ends inside
    ImageSets/Segmentation/<split>.txt   stems
    labelmap.txt                         class numbers in their order: name and colour
    pictures.jsonl                       what these have no place for, see `notes`

Where instances overlap, the nearer label wins, and an instance without a pixel left is not written; from the
255th object of a picture on, an object is 255, which means void.
Read are also class pictures alone (one instance per class) and colour PNGs. Boxes alone are no masks: each
is reported.
"""

from __future__ import annotations

import contextlib
import html
import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataset_tools.core.errors import FetchFault, ItemFault
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import LABEL_COLOURS, LABEL_IDS
from dataset_tools.core.local_files import read_local
from dataset_tools.core.masks import index_to_rles
from dataset_tools.core.progress import Progress
from dataset_tools.core.published import Fault, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Sample, Split
from dataset_tools.core.text import printable, storable
from dataset_tools.formats.entries import read_label
from dataset_tools.formats.index_masks import decode_ids, decode_index, paint_objects
from dataset_tools.formats.job import SPLITS, ExportJob, file_name, index_to_png, paint_index, place_picture
from dataset_tools.formats.notes import Notes, NotesFile, read_notes
from dataset_tools.formats.places import PictureFolder, split_from_word
from dataset_tools.formats.reading import FileContent, FoundPicture, Problem, ReadOptions, check_size
from dataset_tools.formats.safe_xml import Element, parse_xml

VOID = 255
_COLOUR = 1 << 24  # numbers from here on are colours
_VOID_COLOUR = _COLOUR + 224 + 256 * 224 + 65536 * 192
_MAX_XML_BYTES = 4 << 20
_MAX_LIST_BYTES = 1 << 30
_PICTURE_FOLDERS = ("JPEGImages", "images", "")
_ENDINGS = (".jpg", ".jpeg", ".png")


def write_voc(job: ExportJob, folder: Path, progress: Progress) -> None:
    """Write all samples."""
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "Annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sets = folder / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        notes = NotesFile(stack, folder)
        lists = {split: stack.enter_context((sets / f"{split.value}.txt").open("w")) for split in SPLITS}
        for sample in job.samples():
            place_picture(job.images, sample.image, folder / "JPEGImages" / file_name(sample))
            painted, seen = paint_objects(sample)
            objects = np.minimum(painted, VOID).astype(np.uint8)
            (folder / "SegmentationClass" / f"{sample.id}.png").write_bytes(index_to_png(paint_index(sample)))
            (folder / "SegmentationObject" / f"{sample.id}.png").write_bytes(_objects_png(objects))
            xml = _xml(sample, objects, seen)
            (folder / "Annotations" / f"{sample.id}.xml").write_text(xml, encoding="utf-8")
            lists[sample.split].write(f"{sample.id}\n")
            notes.add(sample.id, sample, seen[: VOID - 1])
            progress.advance()
    colours = {
        label.value: LABEL_COLOURS[label] for label in sorted(LABEL_IDS, key=lambda key: LABEL_IDS[key])
    }
    lines = [
        f"{name}:{','.join(map(str, rgb))}::" for name, rgb in {"background": (0, 0, 0), **colours}.items()
    ]
    (folder / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines, ""]))


def _objects_png(objects: npt.NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(objects)
    picture.putpalette([channel for number in range(256) for channel in voc_colour(number)])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def voc_colour(number: int) -> tuple[int, int, int]:
    """RGB of a class or object number in the standard's palette: its bits, spread over the channels."""
    red = green = blue = 0
    for place in range(8):
        red |= (number >> 3 * place & 1) << (7 - place)
        green |= (number >> 3 * place + 1 & 1) << (7 - place)
        blue |= (number >> 3 * place + 2 & 1) << (7 - place)
    return red, green, blue


def _xml(sample: Sample, objects: npt.NDArray[np.uint8], seen: list[Instance]) -> str:
    height, width = sample.image.size_hw
    masks = index_to_rles(objects)
    found = []
    for number, item in enumerate(seen[: VOID - 1], 1):
        left, top, right, bottom = masks[number].box_xyxy
        is_cut = left == 0 or top == 0 or right == width or bottom == height
        found.append(
            f"  <object>\n    <name>{item.label.value}</name>\n    <pose>Unspecified</pose>\n"
            f"    <truncated>{int(is_cut)}</truncated>\n    <difficult>0</difficult>\n"
            f"    <bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
            f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>\n  </object>\n"
        )
    source = html.escape(printable(storable(sample.provenance.source)))
    return (
        f"<annotation>\n  <folder>JPEGImages</folder>\n  <filename>{file_name(sample)}</filename>\n"
        f"  <source><database>{source}</database></source>\n"
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        f"  <segmented>1</segmented>\n{''.join(found)}</annotation>\n"
    )


@dataclass(frozen=True, slots=True)
class VocLabels:
    """The label files of one picture.

    Attributes:
        classes, objects: PNGs of numbers; None where there is none.
        names: class names by number, of the dataset's label map.
        colours: class names by `_COLOUR` plus colour number, for colour PNGs.
        boxes: names of the XML's objects, in order.
        stated_hw: size that the XML states, or None.
        split: of the picture.
        notes: of the picture.
        options: what the user says.
    """

    classes: Path | None
    objects: Path | None
    names: tuple[str, ...]
    colours: tuple[tuple[int, str], ...]
    boxes: tuple[str, ...]
    stated_hw: tuple[int, int] | None
    split: Split
    notes: Notes
    options: ReadOptions

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """One instance per object, or per class where objects are not told apart; boxes alone are faults.

        Raises:
            ItemFault: a PNG holds no numbers, or a size differs.
        """
        check_size(self.stated_hw or self.notes.size_hw, size_hw)
        if self.classes is None and self.objects is None:
            fault = Fault(Reason.SCHEMA, "a box alone is no mask")
            return Labels((), tuple((f"object {at} {name}", fault) for at, name in enumerate(self.boxes, 1)))
        classes = None if self.classes is None else _numbers(self.classes, size_hw, limits)
        numbers = classes if self.objects is None else _numbers(self.objects, size_hw, limits)
        assert numbers is not None
        class_of = {} if classes is None else _most(numbers, classes)
        instances: list[Instance] = []
        faults: list[tuple[str, Fault]] = []
        for number, mask in index_to_rles(numbers).items():
            try:
                label = read_label(self._name(number, class_of.get(number)), self.options)
            except ItemFault as error:
                faults.append((f"object {number}", Fault(error.reason, str(error))))
                continue
            if label is not None:
                fields = self.notes.fields(number - 1, label, self.options.drawn_by)
                instances.append(Instance(label=label, mask=mask, **fields))
        lost = len(self.notes.instances) - len(instances) - len(faults)
        if lost > 0:
            faults.append(("objects", Fault(Reason.NO_AREA, f"{lost} of the noted instances have no pixel")))
        return Labels(tuple(instances), tuple(faults), self.notes.is_complete)

    def _name(self, number: int, class_number: int | None) -> str:
        if class_number is None or not (self.names or self.colours):
            if self.objects is not None and number <= len(self.boxes):
                return self.boxes[number - 1]
            return str(number if class_number is None else class_number)
        if class_number < len(self.names):
            return self.names[class_number]
        return dict(self.colours).get(class_number, f"class {class_number}")


def _numbers(path: Path, size_hw: tuple[int, int], limits: ImageLimits) -> npt.NDArray[np.int64]:
    """Class or object numbers, void as 0; of a colour PNG `_COLOUR` plus what `decode_ids` counts."""
    try:
        data = read_local(path, limits.max_bytes)
        if data[25:26] == b"\x02":  # the header's colour type
            numbers = decode_ids(data, limits)
            numbers[numbers > 0] += _COLOUR
            void = _VOID_COLOUR
        else:
            numbers, void = decode_index(data, limits).astype(np.int64), VOID
    except ItemFault as fault:
        raise ItemFault(fault.reason, f"{path.parent.name}: {fault}") from fault
    if numbers.shape != size_hw:
        raise ItemFault(Reason.MASK_SIZE, f"{path.parent.name} is {numbers.shape}, the picture {size_hw}")
    numbers[numbers == void] = 0
    return numbers


def _most(objects: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> dict[int, int]:
    """The class that most pixels of each object have; background does not count."""
    kept = (objects > 0) & (classes > 0)
    pairs, counts = np.unique(objects[kept] << 32 | classes[kept], return_counts=True)
    return {int(pairs[at] >> 32): int(pairs[at] & 0xFFFFFFFF) for at in np.argsort(counts, kind="stable")}


def read_voc(folder: Path, options: ReadOptions) -> Iterator[FoundPicture | Problem]:
    """Every picture with an annotation or in `JPEGImages`, and everything that is wrong.

    Args:
        folder: the dataset.
        options: what the user says of it.
    """
    notes, problems = read_notes(folder, options)
    yield from problems
    files = {
        kind: {path.stem: path for name in names for path in sorted(folder.glob(name))}
        for kind, names in {
            "xml": ("Annotations/*.xml", "annotations/*.xml"),
            "classes": ("SegmentationClass/*.png",),
            "objects": ("SegmentationObject/*.png",),
            "pictures": tuple(f"JPEGImages/*{ending}" for ending in _ENDINGS),
        }.items()
    }
    splits: dict[str, Split] = {}
    for listed in _read_sets(folder):
        if isinstance(listed, Problem):
            yield listed
            continue
        stem, split, where = listed
        if splits.setdefault(stem, split) is not split:
            detail = f"{stem[:80]!r} is in {splits[stem].value} already"
            yield Problem(where, Fault(Reason.DUPLICATE_ID, detail))
    stems = sorted(set().union(*files.values(), splits))
    if not stems:
        fault = Fault(Reason.SCHEMA, "no Annotations/*.xml, SegmentationClass or JPEGImages")
        yield Problem(folder.name, fault, is_fatal=True)
    try:
        names, colours = _read_label_map(folder / "labelmap.txt")
    except ItemFault as error:
        names, colours = (), ()
        yield Problem("labelmap.txt", Fault(error.reason, str(error)))
    pictures = PictureFolder(folder, _PICTURE_FOLDERS, folder / "Annotations")
    for stem in stems:
        paths = {kind: found.get(stem) for kind, found in files.items()}
        noted = notes.get(stem, Notes())
        split = splits.get(stem, noted.split)
        try:
            xml = None if paths["xml"] is None else parse_xml(read_local(paths["xml"], _MAX_XML_BYTES))
            path = _named_picture(pictures, stem, xml)
            boxes = tuple(storable(one.said("name"))[:80] for one in xml.all("object")) if xml else ()
            labels = VocLabels(
                paths["classes"], paths["objects"], names, colours, boxes,
                _stated_size(xml), split, noted, options,
            )  # fmt: skip
        except ItemFault as error:
            at_fault = paths["xml"] or paths["classes"] or Path(stem)
            yield Problem(storable(at_fault.name), Fault(error.reason, str(error)))
            continue
        is_annotated = xml is not None or paths["classes"] is not None or paths["objects"] is not None
        key = storable(path.relative_to(pictures.root).as_posix())
        yield FoundPicture(key, FileContent(path), labels if is_annotated else None, path, noted.facts)


def _read_sets(folder: Path) -> Iterator[tuple[str, Split, str] | Problem]:
    """Stem, split and place of every line of the split lists."""
    kinds = ("Segmentation", "Main")
    lists = next((found for kind in kinds if (found := sorted(folder.glob(f"ImageSets/{kind}/*.txt")))), [])
    for path in lists:
        split = split_from_word(path.stem)
        if split is Split.UNASSIGNED:  # "trainval" and lists of a class name what the others have
            continue
        try:
            lines = read_local(path, _MAX_LIST_BYTES).decode("utf-8", "replace").splitlines()
        except ItemFault as error:
            yield Problem(path.name, Fault(error.reason, str(error)))
            continue
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield line.split()[0], split, f"{path.name}:{number}"


def _read_label_map(path: Path) -> tuple[tuple[str, ...], tuple[tuple[int, str], ...]]:
    """Class names by number and by colour; both empty where the dataset has no label map."""
    if not path.exists():
        return (), ()
    names: list[str] = []
    colours: dict[int, str] = {}
    lines = read_local(path, _MAX_XML_BYTES).decode("utf-8", "replace").splitlines()
    for line in (line.strip() for line in lines):
        if line and not line.startswith("#"):
            name, _, rest = line.partition(":")
            names.append(name)
            channels = rest.partition(":")[0].split(",")
            if len(channels) == 3 and all(part.strip().isdecimal() and len(part) < 6 for part in channels):
                red, green, blue = (int(part) for part in channels)
                colours[_COLOUR + red + 256 * green + 65536 * blue] = name
    return tuple(names), tuple(colours.items())


def _named_picture(pictures: PictureFolder, stem: str, xml: Element | None) -> Path:
    stated = xml.said("filename") if xml is not None else ""
    if stated:
        return pictures.find(stated)
    for ending in _ENDINGS:
        with contextlib.suppress(FetchFault):
            return pictures.find(f"{stem}{ending}")
    raise ItemFault(Reason.MISSING_IMAGE, f"no picture {stem[:80]!r} in {', '.join(_PICTURE_FOLDERS[:2])}")


def _stated_size(xml: Element | None) -> tuple[int, int] | None:
    if xml is None or not next(xml.all("size"), None):
        return None
    height, width = xml.said("size", "height"), xml.said("size", "width")
    if not (height.isdecimal() and width.isdecimal() and len(height + width) < 12):
        raise ItemFault(Reason.SCHEMA, f"size {width[:20]!r}x{height[:20]!r} is none")
    return int(height), int(width)
