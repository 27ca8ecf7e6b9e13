"""A picture of class numbers as labels: the fall-back for datasets that publish nothing better."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dataset_tools.core.errors import FetchFault, ItemFault
from dataset_tools.core.images import ImageLimits
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.published import Content, Fault, Held, Labels
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Split
from dataset_tools.formats.entries import read_label
from dataset_tools.formats.index_masks import decode_index
from dataset_tools.formats.reading import ReadOptions


@dataclass(frozen=True, slots=True)
class IndexLabels:
    """One picture of class numbers.

    Every number but 0 is a class of that name; a picture of 0 and 255 alone is a face mask, as the pairs
    that are published for this task are. One instance comes of each class: what overlapped or was two
    objects of a class is lost.

    Attributes:
        content: the PNG.
        options: maps class numbers ("1", "2", …) to labels.
        split: fixed part of the dataset.
    """

    content: Content
    options: ReadOptions
    split: Split = Split.UNASSIGNED

    def read(self, size_hw: tuple[int, int], limits: ImageLimits) -> Labels:
        """One instance per class found; a class without a label is a fault.

        Raises:
            ItemFault: no PNG of class numbers, or of another size.
        """
        try:
            index = decode_index(self.content.read(limits.max_bytes), limits)
            if index.shape != size_hw:
                found = f"{index.shape[1]}x{index.shape[0]} pixels, the picture {size_hw[1]}x{size_hw[0]}"
                raise ItemFault(Reason.SIZE_MISMATCH, found)
        except ItemFault as fault:
            raise ItemFault(fault.reason, f"mask: {fault}") from fault
        numbers = [int(number) for number in np.unique(index) if number]
        is_binary = numbers == [255] and "255" not in self.options.categories
        good: list[Instance] = []
        faults: list[tuple[str, Fault]] = []
        for number in numbers:
            try:
                label = Label.FACE_MASK if is_binary else read_label(str(number), self.options)
            except ItemFault as fault:
                faults.append((f"class {number}", Fault(fault.reason, str(fault))))
                continue
            if label is not None:
                mask = mask_to_rle(index == number)
                good.append(Instance(f"class-{number}", label, mask, self.options.drawn_by))
        return Labels(tuple(good), tuple(faults))

    def held(self, max_bytes: int) -> IndexLabels:
        """The same with the mask in memory.

        Raises:
            FetchFault: the mask cannot be had.
        """
        try:
            return replace(self, content=Held(self.content.read(max_bytes)))
        except FetchFault as fault:
            raise FetchFault(fault.reason, f"mask: {fault}", retryable=fault.retryable) from fault
