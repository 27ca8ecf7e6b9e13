"""R-PDSN: upright faces, pairs from the manifest, what it learns, and MISA as one checkpoint."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from baselines.networks.rpdsn import OcclusionHead, cell_centres, energy, patches_around
from baselines.rpdsn.pairs import judged_places, list_pairs, read_pair, roll_deg, upright_matrix
from baselines.rpdsn.settings import ClassifierSettings, EdgeSettings
from baselines.settings import CropSettings, TrainSettings
from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.images import ImageStore, perceptual_hash
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Face, Instance, Provenance, Sample, Split, sample_id

SIZE = 72


def landmarks(left: tuple[float, float], right: tuple[float, float]) -> tuple[float, ...]:
    points = np.zeros((478, 3))
    points[468, :2], points[473, :2] = left, right
    return tuple(points.ravel().tolist())


def paired_samples(images: ImageStore, seed: int, split: Split) -> tuple[Sample, Sample]:
    """A drawn bare face and the same face with a mask, as the renderer would leave them."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    bare = rng.integers(60, 110, (SIZE, SIZE, 3)).astype(np.uint8)
    y, x = SIZE / 2 + rng.uniform(-4, 4, 2)
    face = ((rows - y) / (SIZE * 0.4)) ** 2 + ((columns - x) / (SIZE * 0.32)) ** 2 < 1
    bare[face] = (220, 180, 150)
    mask = face & (rows > y + rng.uniform(0, 4))
    masked = bare.copy()
    masked[mask] = (70, 140, 220)
    photo, child = images.put_array(bare), images.put_array(masked)
    found = Face(
        (SIZE * 0.18, SIZE * 0.1, SIZE * 0.82, SIZE * 0.9),
        0.9,
        Wearing.UNMASKED,
        "drawn@1",
        landmarks((x - 10, y - 8), (x + 10, y - 8)),
    )
    original = Sample(
        id=sample_id(photo),
        image=photo,
        provenance=Provenance("drawn", f"drawn-{seed}", "CC0-1.0"),
        group=f"g{seed}",
        phash=perceptual_hash(bare),
        faces=(found,),
        instances=(Instance("f0", Label.FACE, mask_to_rle(face), "published:drawn", face=0),),
        split=split,
        is_labelled=True,
    )
    rendered = dataclasses.replace(
        original,
        id=sample_id(child),
        image=child,
        provenance=Provenance("synth", f"drawn-{seed}#synth0", "CC0-1.0", parent_id=original.id),
        instances=(
            Instance("m0", Label.FACE_MASK, mask_to_rle(mask), "synth:drawn", face=0),
            Instance("f0", Label.FACE, mask_to_rle(face & ~mask), "synth:drawn", face=0),
        ),
    )
    return original, rendered


def paired_manifest(
    root: Path, splits: list[Split], *, with_photos: bool = True
) -> tuple[Manifest, ImageStore]:
    images = ImageStore(root)
    samples = []
    for seed, split in enumerate(splits):
        original, rendered = paired_samples(images, seed, split)
        samples += [original, rendered] if with_photos else [rendered]
    directory = root / "manifests" / "pairs"
    counts = write_shard(directory, 0, [one.provenance.item_key for one in samples], samples, [])
    header = {
        "stage": "split",
        "stage_version": "1",
        "config": {},
        "key": "pairs",
        "parent": "",
        "shards": 1,
        "counts": dataclasses.asdict(counts),
    }
    return write_header(directory, header), images


# -- turning faces upright ----------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [-35.0, 0.0, 10.0, 80.0])
def test_the_roll_of_eyes_turned_clockwise_is_found(degrees: float) -> None:
    turn = math.radians(degrees)  # y points down: a positive turn is clockwise
    left = (100 - 30 * math.cos(turn), 80 - 30 * math.sin(turn))
    right = (100 + 30 * math.cos(turn), 80 + 30 * math.sin(turn))
    assert roll_deg(left, right) == pytest.approx(degrees, abs=0.01)
    matrix = upright_matrix(left, right)
    (_, y1), (_, y2) = (matrix @ (*point, 1.0) for point in (left, right))
    assert abs(y1 - y2) < 0.5


def test_turning_a_picture_puts_drawn_eyes_level() -> None:
    rgb = np.zeros((200, 200, 3), dtype=np.uint8)
    left, right = (70.0, 90.0), (130.0, 105.0)
    for x, y in (left, right):
        cv2.circle(rgb, (round(x), round(y)), 4, (255, 255, 255), -1)
    turned = cv2.warpAffine(rgb, upright_matrix(left, right), (200, 200))
    rows, columns = np.nonzero(turned[..., 0] > 128)
    heights = [rows[columns < 100].mean(), rows[columns >= 100].mean()]
    assert abs(heights[0] - heights[1]) < 0.5


# -- pairs ----------------------------------------------------------------------------------------------


def test_pairs_are_rendered_samples_beside_their_photos(tmp_path: Path) -> None:
    manifest, images = paired_manifest(tmp_path, [Split.TRAIN, Split.TRAIN, Split.VAL])
    pairs = list_pairs(manifest.samples(), Split.TRAIN, CropSettings())
    assert len(pairs) == 2
    for pair in pairs:
        masked, bare, classes = read_pair(pair, images, 64, upright=True)
        differs = (masked.astype(int) != bare).any(axis=2)
        inner = cv2.erode((classes == 1).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        outer = cv2.dilate((classes == 1).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert differs[inner].all() and not differs[~outer].any()
        assert set(np.unique(classes)) == {0, 1, 2}


def test_rendered_samples_without_their_photos_make_no_pair(tmp_path: Path) -> None:
    manifest, _ = paired_manifest(tmp_path, [Split.TRAIN], with_photos=False)
    assert list_pairs(manifest.samples(), Split.TRAIN, CropSettings()) == []


def test_blocks_to_learn_from_lie_near_the_border_and_hold_mostly_one_class() -> None:
    classes = np.zeros((64, 64), dtype=np.uint8)
    classes[8:30, 10:50], classes[30:60, 10:50] = 2, 1
    on_mask, on_face = judged_places(classes, 4, 8)
    # Rows 28-31 are half face, half mask: neither. Within 8 px of the other kind: two rows of blocks.
    assert set(on_mask[:, 1].tolist()) <= {8, 9} and set(on_face[:, 1].tolist()) <= {5, 6}
    for (x, y), label in [(on_mask[0], 1), (on_face[0], 2)]:
        assert (classes[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] == label).mean() > 0.5


# -- the network ----------------------------------------------------------------------------------------


def test_patches_are_the_pixels_around_their_centres() -> None:
    image = torch.arange(64 * 64, dtype=torch.float32).reshape(1, 64, 64).repeat(3, 1, 1)
    same = patches_around(image, torch.tensor([[32.0, 32.0]]), 64)
    assert torch.allclose(same[0], image, atol=1e-2)
    corner = patches_around(image, torch.tensor([[1.0, 1.0]]), 32)
    assert torch.equal(corner, patches_around(image, torch.tensor([[16.0, 16.0]]), 32))
    assert cell_centres(256, 8)[:2].tolist() == [[16.0, 16.0], [48.0, 16.0]]


def test_the_classifier_sees_element_wise_change_and_the_energy_is_its_length() -> None:
    torch.manual_seed(0)
    head = OcclusionHead(16)
    one, other = torch.randn(3, 128), torch.randn(3, 128)
    assert torch.allclose(head(one, other), head(other, one))
    assert torch.allclose(head(one, one), head(other, other))
    assert energy(one, other).tolist() == pytest.approx(
        np.linalg.norm(one - other, axis=1).tolist(), rel=1e-5
    )
    # Equation 14's difference of lengths would not tell opposite embeddings apart.
    assert float(energy(one, -one)[0]) > 0


QUICK = ClassifierSettings(steps=12, val_every_steps=6, pairs=2, learning_rate=3e-3)
OPTIONS = {"body": "resnet50", "min_block_px": 2, "context_px": 16, "min_score": 0.3}


def edge_settings(**changes: object) -> TrainSettings:
    return TrainSettings(
        baseline="misa_edge",
        labels=(Label.FACE_MASK, Label.FACE),
        steps=1,
        batch=2,
        input_px=64,
        pretrained=False,
        device="cpu",
        options=OPTIONS,
    ).model_copy(update=changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest, ImageStore]:
    from baselines.rpdsn.training import train_misa_edge

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("misa")
    manifest, images = paired_manifest(root, [Split.TRAIN] * 3 + [Split.VAL])
    train_misa_edge(edge_settings(), manifest, images, root / "model", classifier=QUICK)
    return root / "model", manifest, images


@pytest.mark.slow
def test_misa_is_one_checkpoint_that_any_predictor_reads(whole: tuple[Path, Manifest, ImageStore]) -> None:
    from baselines.checkpoint import read_record, read_seen
    from baselines.predict import Predictor, load_network

    folder, manifest, images = whole
    assert read_record(folder).baseline == "misa_edge"
    predictor = Predictor.load(folder, "cpu")
    sample = next(iter(manifest.samples()))
    chances = predictor.predict(images.read(sample.image))
    assert chances.shape == (SIZE, SIZE, 2) and np.isfinite(chances).all()
    network = load_network(folder)
    assert network.edge == EdgeSettings(min_block_px=2, context_px=16)
    assert float(network.dictionary.abs().sum()) > 0
    assert {one.sample_id for one in read_seen(folder)} == {one.id for one in manifest.samples()}


@pytest.mark.slow
def test_the_same_command_again_gives_the_same_weights(whole: tuple[Path, Manifest, ImageStore]) -> None:
    from baselines.checkpoint import read_record
    from baselines.rpdsn.training import train_misa_edge

    folder, manifest, images = whole
    before = read_record(folder).weights_sha256
    again = train_misa_edge(edge_settings(), manifest, images, folder, classifier=QUICK)
    assert again.record.weights_sha256 == before


@pytest.mark.slow
def test_a_finished_coarse_stage_is_taken_as_it_is(
    whole: tuple[Path, Manifest, ImageStore], tmp_path: Path
) -> None:
    from baselines.rpdsn.training import train_misa_edge

    folder, manifest, images = whole
    built = train_misa_edge(
        edge_settings(), manifest, images, tmp_path / "m", classifier=QUICK, coarse_dir=folder / "coarse"
    )
    assert not (tmp_path / "m" / "coarse").exists()
    assert built.record.baseline == "misa_edge"


def test_without_pairs_it_says_what_is_missing(tmp_path: Path) -> None:
    from baselines.models import build_network
    from baselines.rpdsn.training import train_occlusion_classifier

    with torch.device("meta"):
        network = build_network("misa_edge", 3, pretrained=False)
    with pytest.raises(DataError, match="photos are in the same manifest"):
        train_occlusion_classifier(
            network,
            [],
            [],
            ImageStore(tmp_path),
            QUICK,
            tmp_path / "classifier",
            input_px=64,
            device=torch.device("cpu"),
            seed=0,
            body_sha256="",
        )


def test_it_refuses_other_labels(tmp_path: Path) -> None:
    from baselines.rpdsn.training import train_misa_edge

    manifest, images = paired_manifest(tmp_path, [Split.TRAIN])
    with pytest.raises(ConfigError, match="face_mask and face"):
        train_misa_edge(edge_settings(labels=(Label.FACE_MASK,)), manifest, images, tmp_path / "model")


def test_a_short_training_fills_head_and_dictionary_and_leaves_the_body_alone(tmp_path: Path) -> None:
    from baselines.models import build_network
    from baselines.rpdsn.training import train_occlusion_classifier

    manifest, images = paired_manifest(tmp_path, [Split.TRAIN] * 2)
    torch.manual_seed(0)
    network = build_network("misa_edge", 3, pretrained=False, **OPTIONS)
    body = {name: one.clone() for name, one in network.body.state_dict().items()}
    head = network.head.embed.weight.detach().clone()
    position = train_occlusion_classifier(
        network,
        list_pairs(manifest.samples(), Split.TRAIN, CropSettings()),
        [],
        images,
        ClassifierSettings(edge=network.edge, steps=2, pairs=1, blocks=4),
        tmp_path / "classifier",
        input_px=64,
        device=torch.device("cpu"),
        seed=0,
        body_sha256="random",
    )
    assert position.step == 2
    assert not torch.equal(network.head.embed.weight, head)
    assert bool((network.dictionary.abs().sum(dim=2) > 0).all())
    assert all(torch.equal(one, body[name]) for name, one in network.body.state_dict().items())
    blocks = torch.tensor([[20, 30, 22, 32], [0, 0, 2, 2]])
    chances = network.mask_chances(torch.zeros(3, 64, 64), blocks)
    assert chances.shape == (2,) and bool(((chances > 0) & (chances < 1)).all())


@pytest.mark.slow
def test_the_classifier_learns_to_tell_masked_from_bare_blocks(tmp_path: Path) -> None:
    from baselines.models import build_network
    from baselines.rpdsn.training import train_occlusion_classifier

    torch.manual_seed(0)
    manifest, images = paired_manifest(tmp_path, [Split.TRAIN] * 8 + [Split.VAL] * 4)
    network = build_network("misa_edge", 3, pretrained=False, **OPTIONS)
    crop = CropSettings()
    chosen = ClassifierSettings(
        edge=network.edge, steps=150, val_every_steps=50, pairs=4, learning_rate=3e-3, patience=3
    )
    position = train_occlusion_classifier(
        network,
        list_pairs(manifest.samples(), Split.TRAIN, crop),
        list_pairs(manifest.samples(), Split.VAL, crop),
        images,
        chosen,
        tmp_path / "classifier",
        input_px=64,
        device=torch.device("cpu"),
        seed=0,
        body_sha256="random",
    )
    assert position.best_score is not None and position.best_score > 0.85
