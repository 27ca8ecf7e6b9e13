"""The cascade's training on drawn faces: found again, resumed, stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from baselines.mtcnn.cascade import Cascade
from baselines.mtcnn.pictures import list_face_pictures
from baselines.mtcnn.score import score_mtcnn
from baselines.mtcnn.settings import ExampleSettings, MtcnnSettings
from baselines.mtcnn.train import load_cascade, read_mtcnn_record, train_mtcnn
from baselines.tasks import read_card
from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Wearing
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.record import Face, Provenance, Sample, Split, sample_id

Box = tuple[float, float, float, float]


def draw_scene(seed: int, size: int = 96) -> tuple[np.ndarray, Box]:
    """A face with eyes and a mask among coloured squares, and its box."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(40, 120, (size, size, 3)).astype(np.uint8)
    for _ in range(4):
        y, x = rng.integers(0, size - 20, 2)
        rgb[y : y + 18, x : x + 18] = rng.integers(0, 255, 3)
    rows, columns = np.mgrid[:size, :size]
    radius = rng.uniform(14, 24)
    y, x = rng.uniform(radius, size - radius, 2)
    face = ((rows - y) / radius) ** 2 + ((columns - x) / (radius * 0.85)) ** 2 < 1
    rgb[face] = (220, 180, 150)
    for side in (-0.35, 0.35):
        eye = (rows - y + 0.25 * radius) ** 2 + (columns - x - side * radius) ** 2
        rgb[eye < (radius * 0.15) ** 2] = (20, 20, 20)
    rgb[face & (rows > y + 0.1 * radius)] = (70, 140, 220)
    return rgb, (x - radius * 0.85, y - radius, x + radius * 0.85, y + radius)


def write_scenes(root: Path, learned: int, tested: int) -> tuple[Manifest, ImageStore]:
    images = ImageStore(root)
    samples = []
    for seed in range(learned + tested):
        rgb, box = draw_scene(seed)
        ref = images.put_array(rgb)
        samples.append(
            Sample(
                id=sample_id(ref),
                image=ref,
                provenance=Provenance("drawn", f"drawn-{seed}", "CC0-1.0"),
                group=sample_id(ref),
                faces=(Face(box, 0.9, Wearing.MASKED, "drawn@1"),),
                split=Split.TRAIN if seed < learned else Split.TEST,
            )
        )
    directory = root / "manifests" / "split-scenes"
    counts = write_shard(directory, 0, [one.provenance.item_key for one in samples], samples, [])
    header = {
        "stage": "split",
        "stage_version": "1",
        "config": {},
        "key": "scenes-key",
        "parent": "",
        "shards": 1,
        "counts": dataclasses.asdict(counts),
    }
    return write_header(directory, header), images


@pytest.fixture
def scenes(tmp_path: Path) -> tuple[Manifest, ImageStore]:
    return write_scenes(tmp_path / "work", 4, 0)


FEW = MtcnnSettings(
    steps=3,
    batch=8,
    device="cpu",
    examples=ExampleSettings(positives=3, parts=2, tries=20),
    checkpoint_every_steps=1,
)


class Killed(Exception):
    """Stands for a kill."""


def killed_after(label: str, count: int) -> Any:
    """A progress factory that ends the run after so many steps of the display of that name."""
    done = {"steps": 0}

    class Bar:
        def advance(self, many: int = 1) -> None:
            done["steps"] += many

        def note(self, text: str) -> None:
            if done["steps"] >= count:
                raise Killed

    @contextmanager
    def opened(name: str, total: int | None) -> Iterator[Bar]:
        bar = Bar()
        if name != label:
            bar.advance = lambda many=1: None  # type: ignore[method-assign]
        yield bar

    return opened


def test_a_killed_training_ends_with_the_same_weights(
    scenes: tuple[Manifest, ImageStore], tmp_path: Path
) -> None:
    undisturbed = train_mtcnn(FEW, *scenes, tmp_path / "whole")
    kills = 0
    while not (tmp_path / "killed" / "training.json").exists():
        try:
            resumed = train_mtcnn(FEW, *scenes, tmp_path / "killed", killed_after("train", 2))
        except Killed:
            kills += 1
    assert kills >= 4  # some in every network
    assert resumed.version == undisturbed.version
    assert resumed.facts.steps == 9 and resumed.facts.items == 4
    # Nothing is left to do, and nothing changes.
    assert train_mtcnn(FEW, *scenes, tmp_path / "killed") == resumed
    assert not list((tmp_path / "killed").rglob("windows-*.bin"))


def test_a_stored_cascade_comes_back_as_it_was(scenes: tuple[Manifest, ImageStore], tmp_path: Path) -> None:
    manifest, images = scenes
    record = train_mtcnn(FEW, manifest, images, tmp_path / "model")
    assert read_mtcnn_record(tmp_path / "model") == record
    first, again = load_cascade(tmp_path / "model", "cpu"), load_cascade(tmp_path / "model", "cpu")
    rgb = images.read(next(manifest.samples()).image)
    left, right = first.detect(rgb), again.detect(rgb)
    assert torch.equal(left.boxes, right.boxes) and torch.equal(left.scores, right.scores)


def test_other_settings_do_not_continue_a_training(
    scenes: tuple[Manifest, ImageStore], tmp_path: Path
) -> None:
    train_mtcnn(FEW, *scenes, tmp_path / "model")
    with pytest.raises(ConfigError, match="other settings or data"):
        train_mtcnn(FEW.model_copy(update={"learning_rate": 0.1}), *scenes, tmp_path / "model")


def test_a_damaged_network_is_refused(scenes: tuple[Manifest, ImageStore], tmp_path: Path) -> None:
    train_mtcnn(FEW, *scenes, tmp_path / "model")
    weights = tmp_path / "model" / "r" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(DataError, match="missing or damaged"):
        load_cascade(tmp_path / "model")


def test_training_without_a_face_says_so(scenes: tuple[Manifest, ImageStore], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sample with a face in split val"):
        train_mtcnn(FEW.model_copy(update={"split": Split.VAL}), *scenes, tmp_path / "model")
    blind = FEW.model_copy(update={"examples": ExampleSettings(smallest_face_px=500, tries=1)})
    with pytest.raises(DataError, match="no window shows a whole face"):
        train_mtcnn(blind, *scenes, tmp_path / "blind")


def test_a_second_process_is_refused(
    scenes: tuple[Manifest, ImageStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        train_mtcnn(FEW, *scenes, tmp_path / "model")


def test_a_card_holds_boxes_and_figures(scenes: tuple[Manifest, ImageStore], tmp_path: Path) -> None:
    manifest, images = scenes
    train_mtcnn(FEW, manifest, images, tmp_path / "model")
    with pytest.raises(DataError, match="training saw 4 of the samples"):
        score_mtcnn(tmp_path / "model", manifest, images, Split.TRAIN, tmp_path / "board", device="cpu")
    card = score_mtcnn(
        tmp_path / "model", manifest, images, Split.TRAIN, tmp_path / "board", allow_leaks=True, device="cpu"
    )
    assert read_card(tmp_path / "board" / f"{card.stem}.json") == card
    assert (card.items, card.parameters, card.baseline) == (4, 398_838, "dsc_mtcnn")
    assert 0 <= (card.metrics["ap50_face"] or 0) <= 1
    with pytest.raises(DataError, match="no picture with known boxes in split test"):
        score_mtcnn(tmp_path / "model", manifest, images, Split.TEST, tmp_path / "board", device="cpu")


@pytest.mark.slow
def test_a_short_training_finds_every_drawn_face(tmp_path: Path) -> None:
    manifest, images = write_scenes(tmp_path / "work", 16, 8)
    settings = MtcnnSettings(steps=150, batch=64, device="cpu")
    train_mtcnn(settings, manifest, images, tmp_path / "model")
    cascade: Cascade = load_cascade(tmp_path / "model", "cpu")
    card = score_mtcnn(tmp_path / "model", manifest, images, Split.TEST, tmp_path / "board", device="cpu")
    assert card.metrics["ap50"] == 1.0
    for picture in list_face_pictures(manifest.samples(), Split.TEST):
        found = cascade.detect(images.read(picture.image))
        assert len(found.boxes) == 1
        assert torchvision.ops.box_iou(torch.tensor(picture.boxes), found.boxes).item() > 0.7
