from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import DataError, UnknownName
from synth.geometry import build_face
from synth.heads.draw import draw_head
from synth.heads.files import write_heads
from synth.heads.head import (
    INTER_OCULAR_MM,
    Head,
    HeadPicture,
    head_from_json,
    head_to_json,
    landmarks_of,
    random_head,
)
from synth.heads.paint import skin_reflectance
from synth.placement import eye_centres, fit_head_frame
from synth.render import face_coverage
from synth.shading import Light

SMALL = Head(size_px=200, px_per_mm=0.55)


@pytest.fixture(scope="module")
def plain() -> HeadPicture:
    return draw_head(SMALL)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("pose", [(0, 0, 0), (75, 0, 0), (-40, 30, 0), (20, -40, 150)])
def test_the_head_frame_of_the_landmarks_is_the_heads_own_pose(pose):
    head = replace(SMALL, yaw_deg=pose[0], pitch_deg=pose[1], roll_deg=pose[2])
    frame = fit_head_frame(landmarks_of(head))
    assert np.abs((np.array(frame.pose_deg) - pose + 180) % 360 - 180).max() < 0.5
    assert frame.px_per_mm == pytest.approx(head.px_per_mm, rel=0.005)


def test_the_mean_head_has_the_inter_ocular_distance_its_scale_says():
    left, right = eye_centres(landmarks_of(SMALL))
    assert np.hypot(*(right - left)) == pytest.approx(INTER_OCULAR_MM * SMALL.px_per_mm, rel=0.03)


def test_landmarks_are_those_of_the_picture(plain):
    assert np.array_equal(plain.landmarks, landmarks_of(SMALL))
    assert np.allclose(plain.eyes, np.stack(eye_centres(plain.landmarks)))
    x, y = np.floor(plain.landmarks[[468, 473], :2]).astype(int).T
    pupils = plain.image[y, x].astype(int).sum(axis=1)
    cheeks = plain.image[tuple(np.floor(plain.landmarks[[50, 280], 1::-1]).astype(int).T)].astype(int)
    assert (pupils < 0.6 * cheeks.sum(axis=1)).all()


@pytest.mark.parametrize("yaw", [0, 50])
def test_face_is_what_the_landmark_mesh_covers(yaw):
    head = replace(SMALL, yaw_deg=yaw, hair="none")
    picture = draw_head(head)
    mesh = build_face(picture.landmarks, fit_head_frame(picture.landmarks))
    assert iou(picture.face >= 0.5, face_coverage(mesh, (200, 200))) > 0.97
    assert np.array_equal(picture.skin, picture.face >= 0.5)


@pytest.mark.parametrize(
    ("change", "layer", "share"),
    [
        ({"hand": "mouth"}, "hand", 0.15),
        ({"strands": 40}, "hair", 0.01),
        ({"glasses": "square"}, "glasses", 0.02),
    ],
)
def test_what_is_in_front_hides_skin_exactly_where_it_is(change, layer, share):
    bare = draw_head(replace(SMALL, hair="none"))
    covered = draw_head(replace(SMALL, hair="none", **change))
    alpha = covered.layers[layer]
    assert np.array_equal(bare.face, covered.face)
    assert (covered.occluder <= alpha + 1e-6).all()
    assert np.abs(covered.occluder - alpha)[bare.face == 1].max() < 1e-6
    assert (alpha * covered.face).sum() / covered.face.sum() > share
    assert not (covered.skin & (alpha > 0.5)).any()
    assert not (bare.skin & ~covered.skin & (alpha == 0)).any()
    assert np.array_equal(bare.image[alpha == 0], covered.image[alpha == 0])
    assert (bare.image[alpha > 0.5] != covered.image[alpha > 0.5]).any(axis=-1).mean() > 0.95


def test_shade_is_that_of_the_known_light_on_the_known_normals():
    light = Light((0.5, -0.2, -0.3), 0.7, 0.9, (1.0, 1.0, 1.0))
    picture = draw_head(replace(SMALL, light=light))
    seen = picture.shade > 0
    assert np.allclose(np.linalg.norm(picture.normals[seen], axis=1), 1, atol=1e-5)
    assert np.allclose(picture.shade[seen], 0.7 * (1 + picture.normals[seen] @ (0.5, -0.2, -0.3)), atol=1e-5)
    skin = picture.image[picture.skin].astype(float).mean(axis=1)
    x = np.nonzero(picture.skin)[1]
    assert skin[x > 110].mean() > 1.25 * skin[x < 90].mean()


def test_a_head_from_a_near_camera_shows_a_bigger_nose():
    far, near = landmarks_of(SMALL), landmarks_of(replace(SMALL, distance_mm=400))
    width = [points[278, 0] - points[48, 0] for points in (far, near)]
    between_ears = [points[454, 0] - points[234, 0] for points in (far, near)]
    assert width[1] / between_ears[1] > 1.1 * width[0] / between_ears[0]


def test_open_mouths_part_the_lips_and_leave_the_eyes():
    closed, opened = landmarks_of(SMALL), landmarks_of(replace(SMALL, mouth_open=1.0))
    gap = [(points[14, 1] - points[13, 1]) / SMALL.px_per_mm for points in (closed, opened)]
    assert gap[0] < 2
    assert 5 < gap[1] < 7
    assert np.array_equal(closed[[33, 133, 362, 263]], opened[[33, 133, 362, 263]])


def test_skin_gets_darker_as_its_typology_angle_falls():
    levels = [skin_reflectance(ita).mean() for ita in (60, 45, 35, 15, -10, -45)]
    assert levels == sorted(levels, reverse=True)
    assert 0.02 < levels[-1] < levels[0] < 0.75


def test_heads_survive_json_and_draw_the_same_again():
    head = random_head(np.random.default_rng(4), size_px=96)
    again = head_from_json(json.loads(json.dumps(head_to_json(head))))
    assert again == head
    assert np.array_equal(draw_head(head).image, draw_head(again).image)


def test_a_head_that_cannot_be_is_refused():
    with pytest.raises(UnknownName, match="mohawk"):
        Head(hair="mohawk")
    with pytest.raises(DataError, match="identity"):
        Head(identity=(1.0,))
    with pytest.raises(DataError, match="not a head"):
        head_from_json({"yaw_deg": 1.0})


def test_people_differ():
    rng = np.random.default_rng(0)
    shapes = [landmarks_of(replace(SMALL, identity=random_head(rng).identity))[:468] for _ in range(4)]
    for i in range(4):
        for k in range(i):
            assert 0.5 < np.linalg.norm(shapes[i] - shapes[k], axis=1).mean() / SMALL.px_per_mm < 8


def test_written_heads_come_with_their_truth(tmp_path: Path):
    summary = write_heads(tmp_path / "a", 2, 7, size_px=96, fixed={"hand": "cheek", "yaw_deg": 12.0})
    write_heads(tmp_path / "b", 2, 7, size_px=96, fixed={"hand": "cheek", "yaw_deg": 12.0})
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 2 * 4 + 2
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    assert (summary.count, summary.with_occluder) == (2, 2)
    truth = json.loads((tmp_path / "a" / "heads.json").read_text())
    with (tmp_path / "a" / "heads.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    for entry, row in zip(truth["heads"], rows, strict=True):
        head = head_from_json(entry["head"])
        image = np.asarray(Image.open(tmp_path / "a" / "images" / f"{entry['name']}.png"))
        skin = np.asarray(Image.open(tmp_path / "a" / "skin" / f"{entry['name']}.png"))
        assert np.array_equal(image, draw_head(head).image)
        assert np.abs(np.reshape(entry["landmarks_xyz"], (478, 3)) - landmarks_of(head)).max() <= 1 / 128
        assert (row["yaw_deg"], row["hand"], int(row["skin_px"])) == ("12.0", "cheek", (skin == 255).sum())


def test_a_wish_for_what_no_head_has_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no such property"):
        write_heads(tmp_path, 1, 0, size_px=32, fixed={"moustache": True})
    with pytest.raises(DataError, match="at least 1"):
        write_heads(tmp_path, 0, 0)
