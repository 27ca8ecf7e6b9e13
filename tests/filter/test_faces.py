from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.labels import Wearing
from dataset_tools.core.record import Face
from dataset_tools.filter.faces import FaceFinder
from dataset_tools.filter.landmarker import box_iou, find_in_box, quiet_stderr


def only(faces: tuple[Face, ...]) -> Face:
    assert len(faces) == 1
    return faces[0]


def points(face: Face) -> np.ndarray:
    return np.asarray(face.landmarks_xyz).reshape(478, 3)


def test_the_astronaut_has_one_face_where_it_is(finder: FaceFinder, astronaut_rgb: np.ndarray) -> None:
    face = only(finder.find(astronaut_rgb))
    # Read off the enlarged picture by eye: irises, tip of the nose, upper lip, mouth corners, chin.
    by_eye = {468: (203, 101), 473: (246, 103), 1: (224, 129), 13: (223, 143)}
    by_eye |= {61: (203, 140), 291: (244, 141), 152: (223, 178)}
    for index, place in by_eye.items():
        assert np.hypot(*(points(face)[index, :2] - place)) < 4
    assert points(face)[1, 2] < points(face)[33, 2]  # the nose is nearer than an eye
    assert face.wearing is Wearing.UNKNOWN
    assert box_iou(face.box_xyxy, (178, 68, 268, 178)) > 0.7


def test_landmarks_are_rounded_to_a_64th_of_a_pixel(finder: FaceFinder, astronaut_rgb: np.ndarray) -> None:
    values = np.asarray(only(finder.find(astronaut_rgb)).landmarks_xyz) * 64
    assert np.array_equal(values, np.round(values))


def test_roll_follows_the_picture_when_it_is_turned(finder: FaceFinder, astronaut_rgb: np.ndarray) -> None:
    upright = only(finder.find(astronaut_rgb)).pose_deg[2]
    for angle in (-20, 20):
        # Pillow turns counter-clockwise for positive angles.
        turned = np.asarray(Image.fromarray(astronaut_rgb).rotate(-angle, Image.Resampling.BILINEAR))
        assert only(finder.find(turned)).pose_deg[2] - upright == pytest.approx(angle, abs=3)


def test_a_mirror_flips_yaw_and_roll_and_keeps_pitch(finder: FaceFinder, hopper_path: object) -> None:
    with Image.open(hopper_path) as opened:  # type: ignore[arg-type]
        photo = np.asarray(opened.convert("RGB"))
    yaw, pitch, roll = only(finder.find(photo)).pose_deg
    mirrored = only(finder.find(np.ascontiguousarray(photo[:, ::-1]))).pose_deg
    assert mirrored == pytest.approx((-yaw, pitch, -roll), abs=4)


def test_a_box_finds_its_face_in_a_larger_picture(finder: FaceFinder, astronaut_rgb: np.ndarray) -> None:
    face = only(finder.find(astronaut_rgb))
    wide = np.full((700, 1400, 3), 90, np.uint8)
    wide[100:612, 800:1312] = astronaut_rgb
    moved = tuple(value + shift for value, shift in zip(face.box_xyxy, (800, 100, 800, 100), strict=True))
    assert finder.landmarker is not None
    found = find_in_box(finder.landmarker, wide, moved)  # type: ignore[arg-type]
    assert found is not None
    distance = np.hypot(*(found[:, :2] - points(face)[:, :2] - (800, 100)).T)
    assert np.median(distance) < 3


def test_no_face_in_the_coffee_or_in_nothing(finder: FaceFinder) -> None:
    from skimage import data

    assert finder.find(data.coffee()) == ()
    assert finder.find(np.zeros((64, 64, 3), np.uint8)) == ()


def test_a_published_crop_is_one_face_as_a_whole(finder: FaceFinder, astronaut_rgb: np.ndarray) -> None:
    whole = FaceFinder(None, finder.landmarker, detect=False)
    face = only(whole.find(np.ascontiguousarray(astronaut_rgb[60:190, 160:290])))
    assert face.box_xyxy == (0.0, 0.0, 130.0, 130.0)
    assert len(face.landmarks_xyz) == 478 * 3
    bare = FaceFinder(None, None, detect=False)
    assert only(bare.find(np.zeros((90, 80, 3), np.uint8))).landmarks_xyz == ()


def test_native_logging_is_silenced_and_our_own_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr():
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'native noise')"], check=True)
    print("ours", file=sys.stderr)
    assert capfd.readouterr().err == "ours\n"
