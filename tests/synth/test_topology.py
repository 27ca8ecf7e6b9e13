from __future__ import annotations

from collections import Counter

import numpy as np

from synth.topology import (
    BELOW_JAW_MM,
    JAW,
    NECK_MM,
    behind_skull,
    canonical_face,
    extend_below_jaw,
    on_surface,
)


def test_the_surface_is_a_disk_bounded_by_the_face_oval():
    triangles = canonical_face().triangles
    edges = Counter(tuple(sorted((t[k], t[(k + 1) % 3]))) for t in triangles.tolist() for k in range(3))
    assert set(edges.values()) == {1, 2}
    assert sum(1 for count in edges.values() if count == 1) == 36  # MediaPipe's oval has 36 points
    assert 468 - len(edges) + len(triangles) == 1  # Euler: a disk without holes


def test_the_layout_does_not_fold_over():
    mean = canonical_face()
    a, b, c = np.moveaxis(mean.layout_mm[mean.skin_triangles], 1, 0)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert area.min() > 0


def test_the_canonical_face_mirrors_onto_itself():
    mean = canonical_face()
    assert np.array_equal(mean.vertices_mm[mean.mirror] * (-1, 1, 1), mean.vertices_mm)
    mirrored = {tuple(sorted(row)) for row in mean.mirror[mean.triangles].tolist()}
    assert mirrored == {tuple(sorted(row)) for row in mean.triangles.tolist()}


def test_on_surface_gives_vertices_back_at_their_layout_position():
    mean = canonical_face()
    skin = extend_below_jaw(mean.vertices_mm)
    found = on_surface(mean.layout_mm, skin)
    assert np.abs(found - skin[: len(mean.layout_mm)]).max() < 1e-6


def test_skin_below_the_jaw_lies_below_and_behind_it():
    skin = extend_below_jaw(canonical_face().vertices_mm)
    assert len(skin) == 468 + len(JAW) * (len(BELOW_JAW_MM) + len(NECK_MM))
    chin = skin[152]
    first_ring = skin[468 : 468 + len(JAW)]
    below_chin = first_ring[len(JAW) // 2]
    assert below_chin[1] > chin[1]
    assert below_chin[2] > chin[2]
    assert np.isclose(np.linalg.norm(below_chin - chin), BELOW_JAW_MM[0])


def test_the_skull_hides_the_far_side_of_the_head_and_nothing_on_the_near_side():
    face = canonical_face().vertices_mm
    ears = np.array([[-79.0, 5.0, 75.0], [79.0, 5.0, 75.0]])
    straight = np.eye(3)
    assert not behind_skull(face, face, straight).any()
    assert not behind_skull(ears, face, straight).any()
    yaw = np.radians(45.0)  # looks to the right: the viewer's left ear is near
    turned = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    assert behind_skull(ears, face, turned).tolist() == [False, True]
    assert behind_skull(np.array([0.0, -20.0, 200.0]), face, straight)
