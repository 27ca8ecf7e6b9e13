"""Small workspaces with pictures and masks, for tests of splits that leak and of versions that differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dataset_tools.core.images import ImageStore, perceptual_hash
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest, ShardCounts, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Instance, Provenance, Sample, Split, sample_id, sorted_pairs

SIDE = 64


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """(64, 64) bool; right and bottom exclusive."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def drawn(mask: np.ndarray, label: Label = Label.FACE_MASK, by: str = "human:a", **words: str) -> Instance:
    """One labelled object; `words` are its attributes."""
    return Instance(label.value, label, mask_to_rle(mask), by, attributes=sorted_pairs(words))


def photo(
    store: ImageStore,
    number: int,
    *instances: Instance,
    split: Split = Split.TRAIN,
    group: str = "",
    labelled: bool = True,
    **origin: str,
) -> Sample:
    """A sample whose picture is noise of its own, stored in the workspace."""
    rgb = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    image = store.put_array(rgb)
    values = {"source": "test", "item_key": f"item{number}", "licence": "CC0-1.0", **origin}
    return Sample(
        id=sample_id(image),
        image=image,
        provenance=Provenance(**values),
        group=group or f"g{number}",
        phash=perceptual_hash(rgb),
        instances=instances,
        split=split,
        is_labelled=labelled,
    )


def write_version(
    root: Path, samples: Iterable[Sample], *, stage: str = "split", key: str = "0" * 12, per_shard: int = 3
) -> Manifest:
    """A finished manifest of these samples; the pictures are in the workspace already."""
    directory = root / "manifests" / f"{stage}-{key[:12]}"
    rows = list(samples)
    counts, shards = ShardCounts(), 0
    for start in range(0, max(len(rows), 1), per_shard):
        batch = rows[start : start + per_shard]
        counts += write_shard(directory, shards, [one.provenance.item_key for one in batch], batch, [])
        shards += 1
    header = {"stage": stage, "key": key, "parent": "", "shards": shards, "dataset": root.name}
    return write_header(directory, {**header, "counts": dataclasses.asdict(counts)})
