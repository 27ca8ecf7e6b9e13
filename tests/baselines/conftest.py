"""A tiny drawn dataset: coloured faces with a plain mask, in a real manifest and picture store."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dataset_tools.core.images import ImageStore, perceptual_hash
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Face, Instance, Provenance, Sample, Split, sample_id

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_face(seed: int, size: int = 72) -> Drawn:
    """A picture, its face mask's pixels and its visible skin's pixels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    rgb = rng.integers(60, 110, (size, size, 3)).astype(np.uint8)
    y, x = size / 2 + rng.uniform(-4, 4, 2)
    face = ((rows - y) / (size * 0.4)) ** 2 + ((columns - x) / (size * 0.32)) ** 2 < 1
    mask = face & (rows > y + rng.uniform(0, 4))
    rgb[face] = (220, 180, 150)
    rgb[mask] = (70, 140, 220)
    return rgb, mask, face & ~mask


def write_manifest(
    root: Path,
    splits: Sequence[Split],
    *,
    name: str = "split-test",
    first_seed: int = 0,
    unlabelled: Sequence[int] = (),
    synthetic: Sequence[int] = (),
    faceless: Sequence[int] = (),
    groups: Sequence[str] = (),
    size: int = 72,
) -> Manifest:
    """Write drawn samples to a workspace: one entry of `splits` each; other numbers are positions in it."""
    images = ImageStore(root)
    samples = []
    for index, split in enumerate(splits):
        rgb, mask, skin = draw_face(first_seed + index, size)
        ref = images.put_array(rgb)
        box = (size * 0.18, size * 0.1, size * 0.82, size * 0.9)
        instances = (
            Instance("m0", Label.FACE_MASK, mask_to_rle(mask), "published:drawn", face=0),
            Instance("f0", Label.FACE, mask_to_rle(skin), "published:drawn", face=0),
        )
        samples.append(
            Sample(
                id=sample_id(ref),
                image=ref,
                provenance=Provenance(
                    source="drawn",
                    item_key=f"drawn-{first_seed + index}",
                    licence="CC0-1.0",
                    parent_id="parent" if index in synthetic else "",
                ),
                group=groups[index] if groups else sample_id(ref),
                phash=perceptual_hash(rgb),
                faces=() if index in faceless else (Face(box, 0.9, Wearing.MASKED, "drawn@1"),),
                instances=instances,
                split=split,
                is_labelled=index not in unlabelled,
            )
        )
    directory = root / "manifests" / name
    counts = write_shard(directory, 0, [one.provenance.item_key for one in samples], samples, [])
    header = {
        "stage": "split",
        "stage_version": "1",
        "config": {},
        "key": f"{name}-key",
        "parent": "",
        "shards": 1,
        "counts": dataclasses.asdict(counts),
    }
    return write_header(directory, header)


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., Manifest]:
    """`write_manifest` into this test's own workspace."""
    return partial(write_manifest, tmp_path / "work")


@pytest.fixture
def images(tmp_path: Path) -> ImageStore:
    """The picture store `make_manifest` writes to."""
    return ImageStore(tmp_path / "work")


@dataclass(frozen=True)
class Trained:
    """A checkpoint of two steps on two drawn faces; three others are in split test, one without a face."""

    checkpoint: Path
    manifest: Manifest
    images: ImageStore

    def copy_to(self, folder: Path) -> Path:
        """The checkpoint without its training state, for a test that changes it."""
        ignored = shutil.ignore_patterns("*state*")
        return Path(shutil.copytree(self.checkpoint, folder, ignore=ignored))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from baselines.settings import TrainSettings
    from baselines.train import train

    root = tmp_path_factory.mktemp("trained")
    manifest = write_manifest(root / "work", [Split.TRAIN] * 2 + [Split.TEST] * 3, faceless=[3])
    images = ImageStore(root / "work")
    settings = TrainSettings(steps=2, batch=2, input_px=64, pretrained=False, device="cpu")
    train(settings, manifest, images, root / "model")
    return Trained(root / "model", manifest, images)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Small tensors are slower on many threads, and the last bit of a result depends on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
