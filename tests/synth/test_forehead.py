"""The face label reaches the hairline: measured on drawn heads, whose skin and hair are known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from synth.forehead import skin_to_hairline
from synth.geometry import FaceMesh, build_face
from synth.heads.draw import draw_head
from synth.heads.head import Head, HeadPicture, random_head
from synth.placement import fit_head_frame
from synth.render import face_coverage

HEAD = Head(size_px=256, px_per_mm=0.75)


def drawn(head: Head) -> tuple[HeadPicture, FaceMesh, np.ndarray]:
    picture = draw_head(head)
    face = build_face(picture.landmarks, fit_head_frame(picture.landmarks))
    return picture, face, face_coverage(face, (head.size_px, head.size_px))


def forehead_iou(picture: HeadPicture, found: np.ndarray, top_share: float = 0.18) -> float:
    """IoU above the brows, up to a share of the oval's height above the oval, with the visible skin there."""
    points = picture.landmarks[:, :2]
    axis = points[10] - points[152]
    brows = points[[105, 334]].mean(axis=0) + 0.03 * axis
    rows, columns = np.mgrid[: found.shape[0], : found.shape[1]]
    height = ((columns - brows[0]) * axis[0] + (rows - brows[1]) * axis[1]) / (axis @ axis)
    reach = float((points[10] - brows) @ axis / (axis @ axis)) + top_share
    sides = np.abs((columns - brows[0]) * axis[1] - (rows - brows[1]) * axis[0]) / (axis @ axis)
    there = (height > 0) & (height < reach) & (sides < 0.28)
    skin = (np.abs(picture.normals).sum(axis=2) > 0) & (picture.occluder < 0.5) & there
    return float((found & skin).sum() / ((found & there) | skin).sum())


@pytest.mark.parametrize("ita_deg", [-40.0, 0.0, 40.0])
@pytest.mark.parametrize("yaw_deg", [-40.0, 0.0, 40.0])
def test_skin_reaches_the_hairline(yaw_deg: float, ita_deg: float) -> None:
    hair = (25, 20, 18) if ita_deg < 0 else (58, 42, 32)
    picture, face, oval = drawn(replace(HEAD, yaw_deg=yaw_deg, ita_deg=ita_deg, hair_rgb=hair))
    found = skin_to_hairline(picture.image, face, oval)
    assert forehead_iou(picture, found) > 0.9
    assert forehead_iou(picture, oval) < 0.8


def test_hair_over_the_forehead_is_no_skin() -> None:
    picture, face, oval = drawn(replace(HEAD, hair="fringe"))
    found = skin_to_hairline(picture.image, face, oval)
    hair = oval & (picture.layers["hair"] > 0.9)
    assert hair.sum() > 300
    assert (found & hair).sum() < 0.1 * hair.sum()


@pytest.mark.parametrize("ita_deg", [-40.0, 10.0, 50.0])
def test_a_bald_head_keeps_its_forehead(ita_deg: float) -> None:
    picture, face, oval = drawn(replace(HEAD, hair="none", ita_deg=ita_deg))
    found = skin_to_hairline(picture.image, face, oval)
    assert (found & oval).sum() > 0.97 * oval.sum()
    assert found.sum() > 1.05 * oval.sum()


def test_random_heads_come_closer_to_their_true_foreheads_than_the_oval() -> None:
    better = []
    for seed in range(16):
        picture, face, oval = drawn(random_head(np.random.default_rng(seed), size_px=256))
        found = skin_to_hairline(picture.image, face, oval)
        better.append(forehead_iou(picture, found) - forehead_iou(picture, oval))
    assert np.mean(better) > 0.15
    assert np.mean(np.array(better) > 0) >= 0.85


def test_it_is_repeatable_and_leaves_the_photo_and_the_lower_face_alone() -> None:
    picture, face, oval = drawn(HEAD)
    photo = picture.image.copy()
    cv2.setRNGSeed(5)
    first = skin_to_hairline(picture.image, face, oval)
    cv2.setRNGSeed(9)
    assert np.array_equal(first, skin_to_hairline(picture.image, face, oval))
    assert np.array_equal(photo, picture.image)
    low = int(picture.landmarks[[105, 334], 1].min())
    assert np.array_equal(first[low + 3 :], oval[low + 3 :])


def test_a_face_too_small_for_its_colours_keeps_its_oval() -> None:
    picture, face, oval = drawn(replace(HEAD, size_px=32, px_per_mm=0.08))
    assert np.array_equal(skin_to_hairline(picture.image, face, oval), oval)
