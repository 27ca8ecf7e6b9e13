from __future__ import annotations

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from dataset_tools.core.errors import DataError
from synth.realism import rims
from synth.realism.rims import (
    BARE_PX,
    CROP_PX,
    FACE_PX,
    MaskedFace,
    auc_of,
    bare_points,
    read_pairs,
    rim_auc,
    rim_points,
    shrink_factor,
    softness_above,
    to_square,
)
from synth.realism.statistics import STATISTICS, rim_statistics


def made_face(seed: int, pasted: bool = False) -> MaskedFace:
    """A smooth picture with a rough patch on its lower half; a pasted patch is flat and cut with scissors."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 200, (6, 6, 3)).astype(np.float32)
    field = cv2.resize(coarse, (160, 200), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((200, 160), np.float32)
    cv2.ellipse(mask, (80, 132), (int(rng.integers(52, 64)), 48), 0, 0, 360, 1.0, -1)
    soft = mask if pasted else cv2.GaussianBlur(mask, (0, 0), 2.5)
    rough = 0.0 if pasted else 0.15 * rng.standard_normal((200, 160, 1), np.float32)
    cloth = rng.uniform(30, 230, 3).astype(np.float32) * (1 + rough)
    image = soft[..., None] * cloth + (1 - soft[..., None]) * field
    name = f"face{seed}"
    return MaskedFace(name, name, np.clip(image, 0, 255).astype(np.uint8), mask > 0.5)


def test_auc_is_that_of_scikit_learn_ties_included():
    rng = np.random.default_rng(1)
    lower, higher = rng.integers(0, 9, 40).astype(float), rng.integers(3, 12, 70).astype(float)
    truth = np.r_[np.zeros(40), np.ones(70)]
    assert auc_of(lower, higher) == pytest.approx(roc_auc_score(truth, np.r_[lower, higher]), abs=1e-12)
    assert auc_of(higher, higher) == 0.5


@pytest.fixture(scope="module")
def reports():
    real, alike = ([made_face(seed) for seed in range(start, start + 20)] for start in (0, 100))
    pasted = [made_face(seed, pasted=True) for seed in range(200, 220)]
    with pytest.MonkeyPatch.context() as fewer:
        fewer.setattr(rims, "_FOLDS", 2)
        return rim_auc(real, alike, 3, 8), rim_auc(real, pasted, 3, 8)


def test_drawings_like_the_real_thing_cannot_be_told_and_pasted_ones_can(reports):
    alike, pasted = reports
    assert (alike.n_real, alike.n_drawn) == (20, 20)
    assert 0.3 < alike.auc < 0.7
    assert 0.3 < alike.statistics_auc < 0.7
    assert pasted.auc > 0.9
    assert pasted.statistics_auc > 0.97
    assert pasted.telling[0][1] < 0.05
    assert dict(pasted.telling)["noise in the mask"] < 0.05


def test_what_lies_away_from_the_mask_does_not_give_a_paste_away(reports):
    _, pasted = reports
    assert 0.25 < pasted.control_auc < 0.75


def test_each_drawn_face_is_scored_while_held_out_and_the_worst_come_first(reports):
    _, pasted = reports
    assert sorted(name for name, _ in pasted.scores) == sorted(f"face{seed}" for seed in range(200, 220))
    values = [score for _, score in pasted.scores]
    assert values == sorted(values, reverse=True)
    assert np.median(values) > 0.6


def test_the_same_seed_gives_the_same_report_whatever_else_draws_numbers(monkeypatch):
    import torch

    monkeypatch.setattr(rims, "_FOLDS", 2)
    monkeypatch.setattr(rims, "_EPOCHS", 1)
    faces = [made_face(seed) for seed in range(8)], [made_face(seed, pasted=True) for seed in range(8)]
    before = torch.get_rng_state()
    once = rim_auc(*faces, 3, 4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert rim_auc(*faces, 3, 4) == once


def test_too_few_faces_are_refused():
    few = [made_face(seed) for seed in range(5)]
    with pytest.raises(DataError, match=r"5 real and 5 drawn faces show a rim, 8 each needed"):
        rim_auc(few, few, 0)


def test_faces_of_any_size_and_place_come_to_the_same_square():
    face = made_face(1)
    enlarged = MaskedFace(
        "big",
        "big",
        cv2.resize(face.image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC),
        cv2.resize(face.mask.astype(np.uint8), None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST) > 0,
    )
    one, other = to_square(face), to_square(enlarged)
    assert one is not None
    assert other is not None
    assert one.image.shape == other.image.shape == (FACE_PX, FACE_PX, 3)
    assert (one.mask & other.mask).sum() / (one.mask | other.mask).sum() > 0.97
    assert np.abs(one.image.astype(int) - other.image).mean() < 6
    assert to_square(MaskedFace("none", "none", face.image, np.zeros_like(face.mask))) is None


def test_rim_points_lie_on_the_rim_and_not_where_the_picture_cuts_the_mask():
    mask = np.zeros((FACE_PX, FACE_PX), bool)
    mask[60:, 20:] = True
    points = rim_points(mask)
    assert ((points[:, 0] == 60) | (points[:, 1] == 20)).all()
    assert points.max() < FACE_PX - 5


def test_crops_for_the_control_hold_nothing_of_the_mask():
    mask = np.zeros((FACE_PX, FACE_PX), bool)
    mask[60:, 10:110] = True
    points = bare_points(mask)
    assert len(points) > 20
    assert points[:, 0].max() + BARE_PX // 2 <= 60 - 4
    assert points.min() >= BARE_PX // 2
    mask[30:] = True
    assert len(bare_points(mask)) == 0


def test_statistics_name_what_differs():
    face = made_face(2)
    crop, mask = face.image[60:124, 48:112], face.mask[60:124, 48:112]
    softened = cv2.GaussianBlur(crop, (0, 0), 2.0)
    assert crop.shape == (CROP_PX, CROP_PX, 3)
    sharp, soft = (dict(zip(STATISTICS, rim_statistics(c, mask), strict=True)) for c in (crop, softened))
    assert sharp["noise in the mask"] > 3 * soft["noise in the mask"]
    assert sharp["level of the mask"] == pytest.approx(soft["level of the mask"], rel=0.1)


def test_a_report_becomes_a_line_and_json(reports):
    _, pasted = reports
    assert json.loads(json.dumps(pasted.as_json(), allow_nan=False))["auc"] == pasted.auc
    unknown = replace(pasted, control_auc=math.nan, control_sd=math.nan)
    assert unknown.as_json()["control_auc"] is None
    assert unknown.line("ours").startswith("ours: AUC ")
    assert "away from the mask unknown" in unknown.line("ours")


def test_pairs_are_read_by_equal_names_and_grouped_by_person(tmp_path):
    for part in ("image", "mask"):
        (tmp_path / part).mkdir()
    for name in ("ann_0_1", "ann_2_1", "bob_0_1"):
        face = made_face(len(name))
        Image.fromarray(face.image).save(tmp_path / "image" / f"{name}.png")
        Image.fromarray(face.mask.astype(np.uint8) * 255).save(tmp_path / "mask" / f"{name}.png")
    Image.fromarray(face.image).save(tmp_path / "image" / "without.png")
    found = read_pairs(tmp_path)
    assert [(pair.name, pair.group) for pair in found] == [
        ("ann_0_1", "ann"),
        ("ann_2_1", "ann"),
        ("bob_0_1", "bob"),
    ]
    assert np.array_equal(found[0].mask, face.mask)
    Image.fromarray(np.zeros((70, 80), np.uint8)).save(tmp_path / "mask" / "bob_0_1.png")
    with pytest.raises(DataError, match=r"bob_0_1.png: the mask is \(70, 80\)"):
        read_pairs(tmp_path)
    with pytest.raises(DataError, match="no pairs"):
        read_pairs(tmp_path / "image")


def test_a_photo_is_shrunk_until_it_is_as_soft_as_a_real_picture(astronaut_rgb):
    face = cv2.GaussianBlur(astronaut_rgb[60:200, 150:290], (0, 0), 1.2)
    mask = np.zeros(face.shape[:2], bool)
    mask[90:, 20:120] = True
    size = (face.shape[1] * 3, face.shape[0] * 3)
    enlarged = MaskedFace(
        "big",
        "big",
        cv2.resize(face, size, interpolation=cv2.INTER_LINEAR),
        np.kron(mask, np.ones((3, 3), bool)),
    )
    # Enlarging a picture does not make it sharper.
    own = softness_above(MaskedFace("small", "small", face, mask))
    assert softness_above(enlarged) == pytest.approx(own, rel=0.35)
    assert shrink_factor(face, 100, 0.5 * own) == 1.0
    assert shrink_factor(face, 100, 2 * own) == pytest.approx(rims.SHARP_PX / (200 * own), rel=1e-6)
