"""Manifest to training crops: which squares of which samples, and their class numbers.

Rendered samples can be drawn anew each time training comes by (`FreshSamples`): who draws them is handed in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from baselines import crops
from baselines.augment import AugmentKind, augmented, jittered_window, reclothed
from baselines.checkpoint import SeenSample
from baselines.crops import Window
from baselines.settings import CropSettings
from baselines.slices import crop_facts
from dataset_tools.core.errors import ConfigError, DataError, ItemFault
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import PAINT_ORDER, Label
from dataset_tools.core.masks import BoolMask, RleMask, rle_to_mask, union
from dataset_tools.core.record import ImageRef, Sample, Split
from dataset_tools.core.seeds import derive_seed, generator

LabelMap = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Crop:
    """One square of one labelled sample; holds no more of the sample than training needs.

    Attributes:
        sample_id, group, split, parent_id, image: of the sample.
        face: index of the face it was cut around, or -1 for the whole picture.
        window: where it lies.
        instances: all labelled objects of the picture, whatever face they belong to.
        facts: what is known of it, by name (`baselines.slices.crop_facts`).
        is_proposed: the labels are a model's proposals, which nobody has confirmed.
    """

    sample_id: str
    group: str
    split: Split
    parent_id: str
    image: ImageRef
    face: int
    window: Window
    instances: tuple[tuple[Label, RleMask], ...]
    facts: tuple[tuple[str, str], ...]
    is_proposed: bool = False

    @property
    def seen(self) -> SeenSample:
        """How `trained_on.csv` remembers it."""
        return SeenSample(self.sample_id, self.split.value, self.group, self.image.sha256, self.parent_id)


class FreshPicture(Protocol):
    """A rendered sample, drawn anew."""

    @property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """(H, W, 3), as large as the stored picture."""
        ...

    @property
    def instances(self) -> tuple[tuple[Label, BoolMask], ...]:
        """Labelled objects, (H, W) bool each."""
        ...


class FreshSamples(Protocol):
    """Draws rendered samples anew. It goes to worker processes, so it must survive pickling."""

    @property
    def drawn_by(self) -> str:
        """Name, version and settings digest of what draws; another one would draw other pictures."""
        ...

    @property
    def sample_ids(self) -> Collection[str]:
        """The samples that it can draw."""
        ...

    def draw(self, sample_id: str, seed: int) -> FreshPicture:
        """Another rendering of a sample's photo; equal arguments give equal bytes.

        Raises:
            ItemFault: the photo cannot be read or drawn on.
        """
        ...


def list_crops(
    samples: Iterable[Sample], split: Split, settings: CropSettings, *, proposals_from: float | None = None
) -> list[Crop]:
    """Crops of the labelled samples of one split, in manifest order.

    Args:
        samples: of a manifest.
        split: whose crops.
        settings: what is cut out.
        proposals_from: take a model's proposals of at least this confidence for the labels of faces that
            nobody has labelled; None: proposals are never labels.
    """
    found = []
    for sample in samples:
        if sample.split is not split:
            continue
        places = _windows(sample, settings)
        if sample.is_labelled:
            instances = tuple((item.label, item.mask) for item in sample.instances if not item.is_proposal)
        elif proposals_from is not None:
            trusted = [item for item in sample.instances if item.is_proposal]
            doubted = {item.face for item in trusted if (item.confidence or 0.0) < proposals_from}
            instances = tuple((item.label, item.mask) for item in trusted)
            seen = {item.face for item in trusted} - doubted
            places = [(face, window) for face, window in places if face in seen]
        else:
            continue
        for face, window in places:
            found.append(
                Crop(
                    sample_id=sample.id,
                    group=sample.group,
                    split=sample.split,
                    parent_id=sample.provenance.parent_id,
                    image=sample.image,
                    face=face,
                    window=window,
                    instances=instances,
                    facts=tuple(crop_facts(sample, face).items()),
                    is_proposed=not sample.is_labelled,
                )
            )
    return found


def _windows(sample: Sample, settings: CropSettings) -> list[tuple[int, Window]]:
    if settings.kind == "image" or not sample.faces:
        return [(-1, crops.image_window(sample.image.size_hw))]
    return [
        (index, crops.face_window(face.box_xyxy, settings.margin, sample.image.size_hw))
        for index, face in enumerate(sample.faces)
    ]


def label_mask(crop: Crop, label: Label) -> BoolMask:
    """All pixels of the whole picture that an instance of that label claims, (H, W) bool."""
    masks = (mask for name, mask in crop.instances if name is label)
    return union(masks, crop.image.size_hw)


def class_map(crop: Crop, labels: tuple[Label, ...]) -> LabelMap:
    """Class numbers of the whole picture of a crop, see `paint_classes`."""
    wanted = labels if len(labels) == 1 else PAINT_ORDER
    instances = ((name, rle_to_mask(mask)) for name, mask in crop.instances if name in wanted)
    return paint_classes(instances, crop.image.size_hw, labels)


def paint_classes(
    instances: Iterable[tuple[Label, BoolMask]], size_hw: tuple[int, int], labels: tuple[Label, ...]
) -> LabelMap:
    """Class numbers of a picture: 0 background, k + 1 for `labels[k]`.

    One label takes every pixel its instances claim. With more, a pixel several instances claim goes to the
    one nearest to the camera (`PAINT_ORDER`); if that one's label is not learned, it is background.

    Returns:
        (H, W) uint8.
    """
    painted = np.zeros(size_hw, dtype=np.uint8)
    if len(labels) == 1:
        for name, mask in instances:
            if name is labels[0]:
                painted[mask] = 1
        return painted
    found = list(instances)
    for label in PAINT_ORDER:
        number = labels.index(label) + 1 if label in labels else 0
        for name, mask in found:
            if name is label:
                painted[mask] = number
    return painted


class CropDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """Training crops by (epoch, index): RGB (3, S, S) uint8, class numbers (S, S) uint8, and the index.

    What comes out depends on the run seed, the sample and the epoch only, never on order or workers. With
    `fresh`, crops of rendered samples show another rendering in every epoch. The first stored pictures, up to
    `kept_mib` of them, stay in memory once they were read.
    """

    def __init__(
        self,
        found: list[Crop],
        images: ImageStore,
        *,
        labels: tuple[Label, ...],
        input_px: int,
        augment: bool,
        augment_without: Collection[AugmentKind] = (),
        new_cloth: float = 0.0,
        seed: int,
        fresh: FreshSamples | None = None,
        kept_mib: int = 0,
    ) -> None:
        self._fresh = fresh
        self._kept: dict[str, tuple[npt.NDArray[np.uint8], LabelMap]] = {}
        self._room_bytes = kept_mib * 2**20
        self._crops = found
        self._images = images
        self._labels = labels
        self._input_px = input_px
        self._augment = augment
        self._without = frozenset(augment_without)
        self._new_cloth = new_cloth if Label.FACE_MASK in labels else 0.0
        self._seed = seed

    def __len__(self) -> int:
        return len(self._crops)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, int]:
        epoch, index = key
        crop = self._crops[index]
        try:
            rgb, classes = self._picture(crop, epoch)
        except ItemFault as fault:
            raise DataError(f"sample {crop.sample_id}: {fault}") from fault
        rng = generator(self._seed, crop.sample_id, str(crop.face), str(epoch), "augment")
        is_moved = self._augment and "crop" not in self._without
        window = jittered_window(crop.window, rng) if is_moved else crop.window
        square = crops.resize_rgb(crops.cut(rgb, window), self._input_px)
        target = crops.resize_labels(crops.cut(classes, window), self._input_px)
        if self._new_cloth and rng.random() < self._new_cloth:
            square = reclothed(square, target == 1 + self._labels.index(Label.FACE_MASK), rng)
        if self._augment:
            square, target = augmented(square, target, rng, self._without)
        return torch.tensor(square).permute(2, 0, 1), torch.tensor(target), index

    def _picture(self, crop: Crop, epoch: int) -> tuple[npt.NDArray[np.uint8], LabelMap]:
        if self._fresh is None or not crop.parent_id:
            return self._stored(crop)
        # The seed leaves the face out: all crops of a sample show the same picture.
        drawn = self._fresh.draw(crop.sample_id, derive_seed(self._seed, crop.sample_id, str(epoch), "fresh"))
        return drawn.rgb, paint_classes(drawn.instances, crop.image.size_hw, self._labels)

    def _stored(self, crop: Crop) -> tuple[npt.NDArray[np.uint8], LabelMap]:
        if crop.sample_id in self._kept:
            return self._kept[crop.sample_id]
        pair = self._images.read(crop.image), class_map(crop, self._labels)
        size = pair[0].nbytes + pair[1].nbytes
        if size <= self._room_bytes:
            self._room_bytes -= size
            self._kept[crop.sample_id] = pair
        return pair


class StepBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) from one optimiser step to another.

    The crops form one endless stream of shuffled passes; a batch may reach into the next pass. Step k has
    the same batch whether training started at 0 or was resumed just before it. Of several processes each
    takes its share of every batch.

    Raises:
        ConfigError: the batch cannot be shared out evenly.
    """

    def __init__(
        self, count: int, batch_size: int, *, steps: range, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        if batch_size % world:
            raise ConfigError(f"a batch of {batch_size} cannot be shared among {world} processes")
        self._count = count
        self._batch_size = batch_size
        self._steps = steps
        self._seed = seed
        self._rank = rank
        self._world = world

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order_epoch = -1
        order: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        for step in self._steps:
            batch = []
            for position in range(step * self._batch_size, (step + 1) * self._batch_size):
                epoch, place = divmod(position, self._count)
                if epoch != order_epoch:
                    order = generator(self._seed, str(epoch), "order").permutation(self._count)
                    order_epoch = epoch
                batch.append((epoch, int(order[place])))
            yield batch[self._rank :: self._world]
