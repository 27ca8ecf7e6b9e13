from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dataset_tools.core.face_prints import FACE_PHASH, FacePrint, read_face_prints, with_face_prints
from dataset_tools.core.images import perceptual_hash
from dataset_tools.core.labels import Wearing
from dataset_tools.core.record import LANDMARK_COUNT, Face
from dataset_tools.filter.face_crops import face_prints
from dataset_tools.filter.faces import FaceFinder


def apart(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def face_at(x: float, y: float, radius: float) -> Face:
    """A face whose landmarks lie on a circle."""
    angles = np.linspace(0, 2 * np.pi, LANDMARK_COUNT, endpoint=False)
    points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles), 0 * angles], axis=1)
    box = (x - radius, y - radius, x + radius, y + radius)
    return Face(box, 0.9, Wearing.UNKNOWN, "test", tuple(points.ravel().tolist()), (0.0, 0.0, 0.0))


def test_the_crop_goes_with_the_landmarks(astronaut_rgb: np.ndarray) -> None:
    (whole,) = face_prints(astronaut_rgb, [face_at(225, 130, 60)])
    (cut,) = face_prints(astronaut_rgb[30:300, 100:400], [face_at(125, 100, 60)])
    (twice,) = face_prints(astronaut_rgb.repeat(2, axis=0).repeat(2, axis=1), [face_at(450, 260, 120)])
    mirrored = np.ascontiguousarray(astronaut_rgb[:, ::-1])
    (turned,) = face_prints(mirrored, [face_at(512 - 225, 130, 60)])
    (other,) = face_prints(astronaut_rgb, [face_at(300, 330, 60)])
    assert max(apart(whole.seen, cut.seen), apart(whole.seen, twice.seen)) <= 2
    assert max(apart(whole.mirrored, turned.seen), apart(whole.seen, turned.mirrored)) <= 2
    assert min(apart(whole.seen, other.seen), apart(whole.seen, whole.mirrored)) >= 10


def test_faces_that_tell_nothing_have_no_print(astronaut_rgb: np.ndarray) -> None:
    bare = dataclasses.replace(face_at(225, 130, 60), landmarks_xyz=(), pose_deg=())
    outside = face_at(540, 130, 30)
    assert face_prints(astronaut_rgb, [bare, face_at(225, 130, 15), outside]) == ()
    assert len(face_prints(astronaut_rgb, [face_at(225 + n, 130, 60) for n in range(30)])) == 16


def test_the_same_person_is_recognised_only_in_the_same_shot(
    finder: FaceFinder, astronaut_rgb: np.ndarray, hopper_path: Path
) -> None:
    def seen(rgb: np.ndarray) -> FacePrint:
        rgb = np.ascontiguousarray(rgb)
        return face_prints(rgb, [one.face for one in finder.candidates(rgb)])[0]

    whole, cut = seen(astronaut_rgb), seen(astronaut_rgb[:300, 100:350])
    turned = seen(astronaut_rgb[:300, 100:350][:, ::-1])
    assert apart(whole.seen, cut.seen) <= 6
    assert apart(whole.mirrored, turned.seen) <= 6
    # The pictures as wholes have nothing in common.
    wholes = [
        perceptual_hash(np.ascontiguousarray(rgb)) for rgb in (astronaut_rgb, astronaut_rgb[:300, 100:350])
    ]
    assert apart(*(int(one, 16) for one in wholes)) > 15


PRINTS = (FacePrint(1, 2**64 - 1), FacePrint(0, 5))


def test_prints_are_kept_among_the_evidence_and_come_back() -> None:
    kept = with_face_prints((("name", "a.png"), ("status", "200")), (*PRINTS, PRINTS[0]))
    assert [key for key, _ in kept] == [FACE_PHASH, "name", "status"]
    assert read_face_prints(dict(kept)[FACE_PHASH]) == PRINTS
    assert dict(kept)[FACE_PHASH].split()[0] == "0000000000000001/ffffffffffffffff"
    assert with_face_prints(kept, ()) == (("name", "a.png"), ("status", "200"))
    assert read_face_prints("") == ()
    with pytest.raises(ValueError, match="invalid literal"):
        read_face_prints("0000/what")
