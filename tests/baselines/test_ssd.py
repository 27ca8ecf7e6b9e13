"""The small detector: its shape against the published file, targets, scenes, and a run of two steps."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from baselines.detection.boxes import Detections, true_boxes
from baselines.ssd.anchors import match
from baselines.ssd.finding import finder
from baselines.ssd.loss import BACKGROUND, IGNORED, detection_loss, targets_of
from baselines.ssd.network import SsdNetwork, folded, named_layers
from baselines.ssd.photos import BOX_MARGINS, FacePhoto, face_box, wearing_of
from baselines.ssd.record import DetectorRecord, load_network, save_detector
from baselines.ssd.scenes import SceneMaker
from baselines.ssd.scoring import Answer, box_figures, photo_figures, wrong_answers
from baselines.ssd.settings import DetectorTraining
from baselines.ssd.train import fit, pictures_of, train_detector
from dataset_tools.core.anchors import anchors_cxcywh, decode_boxes, encode_boxes
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.progress import silent
from dataset_tools.core.record import Face, Instance, Provenance, Sample, sample_id

# num_output of every convolution of the published prototxt with the channels it reads, all 3x3 with bias.
PUBLISHED_BACKBONE = [(3, 32), (32, 64), (64, 64), (64, 64), (64, 128), (128, 128), (128, 64), (64, 64)]
PUBLISHED_HEADS = [
    ((width, 64), (64, 8), (width, 64), (64, 16)) for width in (64, 128, 128, 64, 64)
]  # cls insert, cls, loc insert, loc


def test_with_two_classes_it_has_the_published_layers_and_1011384_parameters() -> None:
    published = [*PUBLISHED_BACKBONE, *(pair for level in PUBLISHED_HEADS for pair in level)]
    layers = named_layers(folded(SsdNetwork(2)))
    found = [(layer.in_channels, layer.out_channels) for layer in layers.values()]
    assert sorted(found) == sorted(published)
    assert all(layer.kernel_size == (3, 3) for layer in layers.values())
    count = sum(layer.weight.numel() + layer.out_channels for layer in layers.values())
    assert count == sum(9 * inputs * outputs + outputs for inputs, outputs in published) == 1_011_384
    # One class more: 4 more outputs of 9 * 64 weights and an offset on each of five levels.
    assert sum(p.numel() for p in folded(SsdNetwork(3)).parameters()) == count + 5 * 4 * (9 * 64 + 1)


def test_each_map_of_the_network_answers_for_its_own_anchors() -> None:
    network = folded(SsdNetwork(3))
    with torch.no_grad():
        for level, layer in enumerate(network.cls_conv):
            layer.weight.zero_()
            layer.bias.copy_(torch.arange(12.0) + 100 * level)  # 100 level + 3 anchor + class
        logits = network(torch.rand(1, 3, 260, 260))[1][0].numpy()
    levels = np.repeat(np.arange(5), [4 * side**2 for side in (33, 17, 9, 5, 3)])
    np.testing.assert_array_equal(logits[:, 0] // 100, levels)
    np.testing.assert_array_equal(logits[:, 2] - logits[:, 0], 2)
    np.testing.assert_array_equal((logits[:, 0] % 100) / 3, np.tile(np.arange(4), 1493))


def random_network(classes: int = 3) -> SsdNetwork:
    """As after some training: norms have factors, offsets and statistics of their own."""
    torch.manual_seed(3)
    network = SsdNetwork(classes).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.05, 0.2)
    return network


@torch.no_grad()
def test_folding_and_the_order_of_pooling_change_no_number() -> None:
    network, picture = random_network(), torch.rand(1, 3, 260, 260)
    before, after = network(picture), folded(network)(picture)
    for mine, other in zip(before, after, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)
    # The published order: maximum after norm and ReLU.
    first = network.conv2d[0]
    plain = nn.functional.relu(first.norm(first.convolution(picture)))
    pooled = nn.functional.max_pool2d(plain, 2, ceil_mode=True)
    torch.testing.assert_close(first(picture), pooled)


def test_decoding_undoes_encoding() -> None:
    random = np.random.default_rng(1)
    low = random.uniform(0, 0.7, (5972, 2))
    boxes = np.concatenate([low, low + random.uniform(0.02, 0.3, (5972, 2))], axis=1).astype(np.float32)
    offsets = encode_boxes(boxes, anchors_cxcywh())
    np.testing.assert_allclose(decode_boxes(offsets, anchors_cxcywh()), boxes, atol=1e-5)


def test_every_face_has_an_anchor_even_the_smallest() -> None:
    boxes = np.array([[0.5, 0.5, 0.51, 0.512], [0.1, 0.1, 0.9, 0.95], [0.3, 0.3, 0.34, 0.34]], np.float32)
    owner = match(boxes)
    assert set(owner.tolist()) == {-1, 0, 1, 2}
    assert (owner == 0).sum() == 1  # smaller than the smallest anchor: its best one alone
    assert match(np.zeros((0, 4), np.float32)).max() == -1


def test_two_faces_that_want_one_anchor_share_out() -> None:
    tiny = [0.5, 0.5, 0.508, 0.508]
    owner = match(np.array([tiny, [0.5, 0.5, 0.509, 0.509]], np.float32))
    assert (owner == 0).sum() == 1


def test_an_ignored_face_costs_nothing_and_a_missed_one_does() -> None:
    box = np.array([[0.2, 0.2, 0.5, 0.6]], np.float32)
    ignored, wanted = (targets_of([(box, np.array([name]))]) for name in (IGNORED, 0))
    offsets, logits = torch.zeros(1, 5972, 4), torch.full((1, 5972, 3), -9.0)
    assert float(sum(detection_loss(offsets, logits, ignored))) < 1e-6
    assert float(detection_loss(offsets, logits, wanted)[0]) > 5
    assert int((ignored.classes == IGNORED).sum()) == int((wanted.classes == 0).sum()) > 0
    assert int((wanted.classes == BACKGROUND).sum()) > 5900


def drawn(seed: int, kind: str, size: int = 120) -> FacePhoto:
    """An oval face with eyes; masked ones are blue below the middle."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    rgb = random.integers(0, 90, (size, size, 3)).astype(np.uint8)
    x, y = random.uniform(0.4, 0.6, 2) * size
    wide, tall = 0.22 * size, 0.3 * size
    face = ((columns - x) / wide) ** 2 + ((rows - y) / tall) ** 2 < 1
    rgb[face] = (225, 180, 150)
    if kind != "bare":
        rgb[face & (rows > y)] = (60, 120, 230)
    eyes = np.array([[x - wide / 2, y - tall / 3], [x + wide / 2, y - tall / 3]])
    points = np.concatenate([eyes, [[x, y], [x, y + tall / 2], [x, y + tall]]])
    box = np.array([[x - wide, y - tall, x + wide, y + tall]], np.float32)
    return FacePhoto(
        rgb, box, np.array([1 if kind == "bare" else 0]), points[None].astype(np.float32), kind, ""
    )


def test_it_learns_four_pictures_by_heart() -> None:
    maker = SceneMaker([drawn(0, "bare"), drawn(1, "masked"), drawn(2, "bare"), drawn(3, "masked")])
    random = np.random.default_rng(0)
    scenes = [scene for scene in (maker.scene(random) for _ in range(60)) if len(scene.boxes) == 1][:4]
    pictures, targets = pictures_of(scenes), targets_of([(one.boxes, one.classes) for one in scenes])
    torch.manual_seed(0)
    network = SsdNetwork(3).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = sum(detection_loss(*network(pictures), targets))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        network.keep_rising()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_scenes_are_the_same_for_the_same_seed_and_boxes_lie_within() -> None:
    maker = SceneMaker([drawn(0, "bare"), drawn(1, "masked")])
    for seed in range(40):
        one, two = (maker.scene(np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one.rgb, two.rgb)
        np.testing.assert_array_equal(one.boxes, two.boxes)
        assert one.rgb.shape == (260, 260, 3)
        assert one.boxes.shape == (len(one.classes), 4)
        assert len(one.boxes) == 0 or (one.boxes.min() >= 0 and one.boxes.max() <= 1.001)
        assert set(one.classes.tolist()) <= {0, 1, IGNORED}


def test_a_box_in_a_scene_holds_the_face() -> None:
    """In plain pictures of one drawn face its colours fill the box's middle, and few lie beside the box."""
    maker = SceneMaker([drawn(1, "masked")])
    checked = 0
    for seed in range(60):
        scene = maker.scene(np.random.default_rng(seed))
        sure = scene.classes != IGNORED
        if sure.sum() != 1 or len(sure) != 1:
            continue
        x0, y0, x1, y1 = (scene.boxes[0] * 260).round().astype(int)
        if min(x1 - x0, y1 - y0) < 60:
            continue
        tall = y1 - y0
        mask = scene.rgb[
            y0 + int(0.6 * tall) : y0 + int(0.75 * tall), (2 * x0 + x1) // 3 : (x0 + 2 * x1) // 3
        ]
        skin = scene.rgb[
            y0 + int(0.2 * tall) : y0 + int(0.35 * tall), (2 * x0 + x1) // 3 : (x0 + 2 * x1) // 3
        ]
        blueness = [part[..., 2].astype(float).mean() - part[..., 0].mean() for part in (mask, skin)]
        assert blueness[0] > blueness[1] - 3
        checked += 1
    assert checked >= 10


def test_the_box_goes_around_the_landmarks_with_the_measured_margins() -> None:
    points = np.zeros((478, 3))
    points[0], points[1] = (100, 50, 0), (200, 250, 0)
    points[2:] = (150, 150, 0)
    face = Face((0.0, 0.0, 9.0, 9.0), 0.9, Wearing.UNMASKED, "x@1", tuple(points.ravel().tolist()))
    left, top, right, bottom = BOX_MARGINS
    assert face_box(face) == pytest.approx(
        (100 - 100 * left, 50 - 200 * top, 200 + 100 * right, 250 + 200 * bottom)
    )
    assert face_box(dataclasses.replace(face, landmarks_xyz=())) == (0.0, 0.0, 9.0, 9.0)


def sample_of(
    images: ImageStore, photo: FacePhoto, number: int, *, parent: str = "", state: str = ""
) -> Sample:
    ref = images.put_array(photo.rgb)
    points = np.zeros((478, 3))
    x0, y0, x1, y1 = photo.boxes[0]
    points[:, 0], points[:, 1] = np.linspace(x0, x1, 478), np.linspace(y0, y1, 478)
    wearing = Wearing.UNMASKED if not state else Wearing.MASKED
    face = Face(tuple(map(float, photo.boxes[0])), 0.9, wearing, "drawn@1", tuple(points.ravel().tolist()))
    mask = np.zeros(photo.rgb.shape[:2], dtype=np.bool_)
    mask[60:80, 50:70] = True
    worn = Instance(
        "m", Label.FACE_MASK, mask_to_rle(mask), "synth:x", face=0, attributes=(("wearing_state", state),)
    )
    return Sample(
        id=sample_id(ref),
        image=ref,
        provenance=Provenance("drawn", f"item-{number}", "CC0-1.0", parent_id=parent),
        group=f"group-{number % 12}",
        faces=(face,),
        instances=(worn,) if state else (),
        is_labelled=bool(state),
    )


@pytest.fixture
def drawn_manifest(tmp_path: Path) -> Callable[..., tuple[Manifest, ImageStore]]:
    """Writes twelve drawn bare faces and, unless left out, children of them with masks."""

    def write(*, masked: bool = True) -> tuple[Manifest, ImageStore]:
        images = ImageStore(tmp_path / "work")
        samples = [sample_of(images, drawn(number, "bare"), number) for number in range(12)]
        states = ("correct", "nose_out", "correct") if masked else ()
        for child, state in enumerate(states):
            samples += [
                sample_of(
                    images,
                    drawn(100 + 12 * child + n, "masked"),
                    12 * (child + 1) + n,
                    parent="p",
                    state=state,
                )
                for n in range(12)
            ]
        directory = tmp_path / "work" / "manifests" / "synth-test"
        counts = write_shard(directory, 0, [one.provenance.item_key for one in samples], samples, [])
        header = {"stage": "synth", "key": "k", "shards": 1, "counts": dataclasses.asdict(counts)}
        return write_header(directory, header), images

    return write


SHORT = DetectorTraining(steps=2, refine_steps=1, batch=2, hidden_per_photo=1, val_share=0.2, amp=False)


def test_a_run_writes_weights_and_a_record_that_belongs_to_them(drawn_manifest, tmp_path: Path) -> None:
    manifest, images = drawn_manifest()
    shown: list[str] = []

    @contextmanager
    def progress(label: str, total: int | None):
        shown.append(label)
        with silent(label, total) as bar:
            yield bar

    record = train_detector(SHORT, manifest, images, tmp_path / "a", progress)
    assert shown == ["read", "train", "refine"]
    held = json.loads((tmp_path / "a" / "detector.json").read_text())
    assert DetectorRecord.model_validate(held) == record
    assert (record.photos, record.licences) == (12, {"CC0-1.0": 12})
    assert record.figures["pictures"] > 0
    again = train_detector(SHORT, manifest, images, tmp_path / "b")
    assert again.sha256 == record.sha256
    assert (tmp_path / "a" / "detector.safetensors").stat().st_size < 4 * 2**20
    other = train_detector(SHORT.model_copy(update={"seed": 8}), manifest, images, tmp_path / "c")
    assert other.sha256 != record.sha256


def test_what_cannot_be_learned_from_is_said_in_one_line(drawn_manifest, tmp_path: Path) -> None:
    manifest, images = drawn_manifest(masked=False)
    with pytest.raises(DataError, match="rendered children with masks") as caught:
        train_detector(SHORT, manifest, images, tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_a_rate_that_runs_away_is_said_in_one_line() -> None:
    wild = DetectorTraining(steps=4, batch=2, learning_rate=1e30, amp=False)
    with pytest.raises(DataError, match="ran away at step"), silent("", None) as bar:
        fit([drawn(0, "bare"), drawn(1, "masked")], wild, bar)


def test_children_are_labelled_by_their_masks_and_a_found_mask_is_nobodys_truth(tmp_path: Path) -> None:
    images = ImageStore(tmp_path)
    states = {
        state: wearing_of(sample_of(images, drawn(0, "masked"), 0, parent="p", state=state), 0)
        for state in ("correct", "nose_out", "mouth_out", "under_chin", "hanging")
    }
    assert states.pop("correct") is Wearing.MASKED
    assert set(states.values()) == {Wearing.INCORRECT}
    bare = sample_of(images, drawn(0, "bare"), 0)
    assert wearing_of(bare, 0) is Wearing.UNMASKED
    for wearing, wanted in ((Wearing.UNKNOWN, Wearing.UNMASKED), (Wearing.MASKED, None)):
        faces = (dataclasses.replace(bare.faces[0], wearing=wearing),)
        assert wearing_of(dataclasses.replace(bare, faces=faces), 0) is wanted


def test_stored_weights_come_back_and_others_are_refused(tmp_path: Path) -> None:
    network = folded(random_network())
    save_detector(network, tmp_path / "d.safetensors")
    picture = torch.rand(1, 3, 260, 260)
    with torch.no_grad():
        mine, other = network(picture)[1], load_network(tmp_path / "d.safetensors", 3)(picture)[1]
    torch.testing.assert_close(mine, other, rtol=0.02, atol=0.02)  # stored in half precision
    with pytest.raises(DataError, match="no weights of this detector"):
        load_network(tmp_path / "d.safetensors", 2)


def test_a_finder_clips_boxes_and_sorts_by_score(astronaut_rgb: np.ndarray) -> None:
    network = folded(random_network())
    with torch.no_grad():
        for layer in network.cls_conv:
            layer.bias.zero_()
    found = finder(network, 0.3)(astronaut_rgb[:300])
    assert len(found.labels) > 0
    assert (np.diff(found.scores) <= 0).all()
    assert found.boxes.min() >= 0
    assert (found.boxes.max(axis=0) <= (512, 300, 512, 300)).all()


def found_faces(*rows: tuple[float, str]) -> Detections:
    boxes = np.array([[0, 0, 10, 10]] * len(rows), np.float32).reshape(-1, 4)
    return Detections(
        boxes, np.array([score for score, _ in rows], np.float32), tuple(name for _, name in rows)
    )


def test_figures_of_whole_photos_are_counted_as_written() -> None:
    masked, bare = frozenset({"masked"}), frozenset({"unmasked"})
    answers = [
        Answer("a", masked, found_faces((0.9, "masked"), (0.4, "unmasked"))),
        Answer("b", masked, found_faces((0.9, "incorrect"))),
        Answer("c", bare, found_faces((0.9, "unmasked"), (0.6, "masked"))),
        Answer("d", bare, found_faces((0.5, "unmasked"))),  # not above one half
    ]
    assert photo_figures(answers) == {
        "photos": 4.0,
        "has_masked": 0.5,
        "has_unmasked": 0.75,
        "worn_somehow": 0.75,
        "false_masks": 0.5,
        "false_worn": 0.5,
        "nothing": 0.25,
    }
    assert set(wrong_answers(answers)) == {"b", "c", "d"}


def test_box_figures_count_faces_of_any_state_and_of_each() -> None:
    truth = true_boxes([[0, 0, 10, 10]], ("masked",))
    figures = box_figures([Answer("a", frozenset({"masked"}), found_faces((0.9, "unmasked")), truth)])
    assert (figures["ap50"], figures["ap50_masked"]) == (1.0, 0.0)
    assert math.isnan(figures["ap50_unmasked"])
