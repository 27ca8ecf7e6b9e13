"""Every format to every format over masks that are hard to keep, and what is lost on the way, in figures.

Shared by `tests/formats/test_matrix.py` and `benchmarks/formats.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import DEFAULT_LIMITS, DecodedPhoto, ImageStore
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import write_header, write_shard
from dataset_tools.core.masks import RleMask, mask_to_rle, rle_to_mask, union
from dataset_tools.core.progress import silent
from dataset_tools.core.record import (
    Face,
    Instance,
    Provenance,
    Rejection,
    Sample,
    Split,
    sample_id,
    sorted_pairs,
)
from dataset_tools.crawl.keeping import Keeper
from dataset_tools.crawl.sources.dataset import DatasetSource
from dataset_tools.formats.job import About, ExportJob
from dataset_tools.formats.registry import FORMATS

SIZE_HW = (96, 120)
Mask = np.ndarray


def disc(y: float, x: float, radius: float) -> Mask:
    rows, columns = np.indices(SIZE_HW)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def box(top: int, left: int, bottom: int, right: int) -> Mask:
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def blob(seed: int) -> Mask:
    """A ragged blob with holes and islands."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SIZE_HW), 3.0)
    return noise > 0.05


def hard_masks() -> dict[str, list[tuple[Label, Mask, int]]]:
    """Case -> (label, mask, face) of its instances."""
    mask, face, strap, other = Label.FACE_MASK, Label.FACE, Label.STRAP, Label.OCCLUDER
    ring = disc(45, 50, 26) & ~disc(45, 50, 9)
    rows, columns = np.indices(SIZE_HW)
    lower, upper = disc(62, 60, 24), disc(44, 60, 32)
    return {
        "a hole and a part on the border": [(mask, ring | box(90, 108, 96, 120), 0)],
        "one pixel": [(mask, box(40, 41, 41, 42), 0), (face, disc(45, 60, 30) & ~box(40, 41, 41, 42), 0)],
        "the whole picture": [(mask, box(0, 0, 96, 120), -1)],
        "overlaps": [
            (face, upper, 0),
            (mask, lower, 0),
            (strap, box(58, 20, 61, 100), 0),
            (other, disc(60, 74, 12), -1),
        ],
        "two faces that overlap": [
            (mask, disc(50, 42, 20), 0),
            (mask, disc(52, 76, 20), 1),
            (face, disc(34, 42, 22), 0),
            (face, disc(36, 76, 22), 1),
        ],
        "two faces side by side": [(mask, box(30, 20, 60, 60), 0), (mask, box(30, 60, 60, 100), 1)],
        "no instance": [],
        "an island in a hole": [(mask, (disc(48, 60, 34) & ~disc(48, 60, 20)) | disc(48, 60, 8), 0)],
        "corners that touch and thin lines": [
            (mask, box(20, 20, 40, 40) | box(40, 40, 60, 60) | box(70, 5, 71, 110) | box(10, 100, 90, 101), 0)
        ],
        "a chessboard": [(mask, ((rows + columns) % 2 == 0) & box(20, 20, 52, 52), 0)],
        "split by a hand": [
            (mask, disc(50, 60, 30) & ~box(0, 56, 96, 64), 0),
            (other, disc(50, 60, 34) & box(0, 56, 96, 64), -1),
        ],
        "ragged": [(mask, blob(1), 0), (face, blob(2) & ~blob(1), 0)],
    }


def hard_samples(store: ImageStore) -> list[Sample]:
    """One sample per case, on pictures that differ, with names outside ASCII."""
    samples = []
    for number, (case, drawn) in enumerate(hard_masks().items()):
        noise = np.random.default_rng(number).normal(128, 60, (*SIZE_HW, 3))
        rgb = np.clip(ndimage.gaussian_filter(noise, (4, 4, 0)) * 2 - 128, 0, 255).astype(np.uint8)
        image = store.put_photo(DecodedPhoto(rgb, None))
        kinds = {"mask_type": "kn95", "wearing_state": "nose_out"}
        instances = tuple(
            Instance(
                id=f"i{index}",
                label=label,
                mask=mask_to_rle(pixels),
                drawn_by="human:Zoë",
                face=face,
                attributes=sorted_pairs(kinds if label is Label.FACE_MASK else {}),
            )
            for index, (label, pixels, face) in enumerate(drawn)
        )
        count = 1 + max((face for _, _, face in drawn), default=-1)
        boxes = [(10.0 + 50 * k, 8.0, 60.0 + 50 * k, 90.0) for k in range(count)]
        samples.append(
            Sample(
                id=sample_id(image),
                image=image,
                provenance=Provenance("Gesichter ☃", f"bücher/{case}.png", "CC-BY-4.0", author="Łukasz 山田"),
                group=f"Gruppe {number // 2}",
                faces=tuple(Face(corners, 0.9, Wearing.MASKED, "test@1") for corners in boxes),
                instances=instances,
                split=(Split.TRAIN, Split.VAL, Split.TEST)[number % 3],
                is_labelled=True,
            )
        )
    return samples


def write_samples(name: str, samples: Iterable[Sample], store: ImageStore, folder: Path) -> Path:
    """The dataset folder of those samples in that format."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest_dir = folder / "manifest"
    kept = list(samples)
    counts = write_shard(manifest_dir, 0, [item.provenance.item_key for item in kept], kept, [])
    header = {"stage": "split", "key": "k", "shards": 1, "counts": dataclasses.asdict(counts)}
    job = ExportJob(write_header(manifest_dir, header), store, About("hard masks", "1.0.0"))
    target = folder / "dataset"
    target.mkdir()
    with silent(name, None) as bar:
        FORMATS[name].write(job, target, bar)
    return target


def read_samples(name: str, path: Path, store: ImageStore) -> tuple[list[Sample], list[Rejection]]:
    """What the suite gets out of it again, in this process."""
    keeper = Keeper(store.root, DEFAULT_LIMITS)
    source = DatasetSource(name="again", path=path, format=name, licence="CC0-1.0", split=Split.TRAIN)
    samples: list[Sample] = []
    rejections: list[Rejection] = []
    for _, item in source.listed():
        if item.fault is not None:
            rejections.append(Rejection("crawl", item.key, item.fault.reason, item.fault.detail))
            continue
        try:
            results = keeper(item, None, ())
        except ItemFault as fault:
            rejections.append(Rejection("crawl", item.key, fault.reason, str(fault)))
            continue
        for result in results:
            if isinstance(result, Sample):
                samples.append(result)
            else:
                rejections.append(result)
    return samples, rejections


@dataclass(frozen=True, slots=True)
class Kept:
    """How much of some samples came back.

    Attributes:
        pictures, instances, identical, attributes: (came back, were there); identical masks, and masks whose
            attributes all came back.
        lowest_iou, mean_iou: over the original masks, each against its nearest of the same label; 0 for none.
        label_iou: lowest overlap of all pixels of one label in one picture.
        holes, parts: of the masks, (came back, were there).
    """

    pictures: tuple[int, int]
    instances: tuple[int, int]
    identical: tuple[int, int]
    attributes: tuple[int, int]
    lowest_iou: float
    mean_iou: float
    label_iou: float
    holes: tuple[int, int]
    parts: tuple[int, int]

    @property
    def is_exact(self) -> bool:
        """True when every picture and mask came back, none more, pixel by pixel."""
        pairs = (self.pictures, self.instances, self.identical, self.holes, self.parts)
        return all(came == were for came, were in pairs)


def compare(before: list[Sample], after: list[Sample], labels: Iterable[Label] = tuple(Label)) -> Kept:
    """Count what came back of the samples `before` (pictures are matched by their bytes)."""
    wanted = frozenset(labels)
    again = {sample.id: sample for sample in after}
    ious: list[float] = []
    label_ious: list[float] = [1.0]
    identical = attributes = 0
    shapes_before = shapes_after = np.zeros(2, dtype=int)
    for sample in before:
        there = [item for item in sample.instances if item.label in wanted]
        found = list(again[sample.id].instances) if sample.id in again else []
        for item in there:
            overlap, twin = max(
                ((iou(item.mask, other.mask), other) for other in found if other.label is item.label),
                key=lambda pair: pair[0],
                default=(0.0, None),
            )
            ious.append(overlap)
            identical += overlap == 1.0
            attributes += twin is not None and set(item.attributes) <= set(twin.attributes)
        shapes_before = shapes_before + sum((shape(item.mask) for item in there), np.zeros(2, dtype=int))
        shapes_after = shapes_after + sum((shape(item.mask) for item in found), np.zeros(2, dtype=int))
        for label in {item.label for item in there}:
            size_hw = sample.image.size_hw
            one, other = (
                union((item.mask for item in items if item.label is label), size_hw)
                for items in (there, found)
            )
            label_ious.append(float((one & other).sum() / (one | other).sum()))
    total = len(ious)
    return Kept(
        pictures=(sum(sample.id in again for sample in before), len(before)),
        instances=(sum(len(sample.instances) for sample in after), total),
        identical=(identical, total),
        attributes=(attributes, total),
        lowest_iou=min(ious),
        mean_iou=float(np.mean(ious)),
        label_iou=min(label_ious),
        holes=(int(shapes_after[0]), int(shapes_before[0])),
        parts=(int(shapes_after[1]), int(shapes_before[1])),
    )


def describe(kept: Kept) -> str:
    """The figures in one line."""
    if kept.is_exact:
        return f"exact: {kept.identical[0]} masks, {kept.holes[0]} holes, {kept.parts[0]} parts"
    return (
        f"identical {kept.identical[0]}/{kept.identical[1]}, "
        f"instances {kept.instances[0]}/{kept.instances[1]}, "
        f"IoU mean {kept.mean_iou:.3f} lowest {kept.lowest_iou:.3f}, by label lowest {kept.label_iou:.3f}, "
        f"holes {kept.holes[0]}/{kept.holes[1]}, parts {kept.parts[0]}/{kept.parts[1]}, "
        f"attributes {kept.attributes[0]}/{kept.attributes[1]}"
    )


def iou(one: RleMask, other: RleMask) -> float:
    """Overlap over union; masks of different sizes have none."""
    if one == other:
        return 1.0
    if one.size_hw != other.size_hw:
        return 0.0
    a, b = rle_to_mask(one), rle_to_mask(other)
    return float((a & b).sum() / (a | b).sum())


def shape(rle: RleMask) -> np.ndarray:
    """(holes, parts): parts join over corners, so holes do not."""
    mask = np.pad(rle_to_mask(rle), 1)
    return np.array([ndimage.label(~mask)[1] - 1, ndimage.label(mask, np.ones((3, 3)))[1]])
