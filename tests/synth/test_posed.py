"""What the renderer must do on heads whose pose, light and surface are known (R1, R2, R3, R5b, R11, R12)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from synth.assets import draw_garment
from synth.colour import LUMINANCE
from synth.geometry import FaceMesh, MaskShape, build_face, build_mask
from synth.heads.draw import draw_head
from synth.heads.head import INTER_OCULAR_MM, PIVOT_MM, Head, HeadPicture, landmarks_of, random_head
from synth.heads.shape import MODES
from synth.placement import eye_centres, eye_roll_by_centre_deg, eye_roll_deg, fit_head_frame
from synth.render import Effects, dress_face
from synth.shading import Light, estimate_light, read_skin, vertex_normals
from synth.topology import canonical_face

SURGICAL = MaskShape(
    nose_y=9.0, corner_s=88.0, lower_corner_s=86.0, corner_y=33.0, lower_corner_y=82.0, chin_wrap=15.0
)
SMALL = Head(size_px=256, px_per_mm=0.7)
YAWS = (-75, -60, -45, -20, 0, 20, 45, 60, 75)


def face_of(landmarks: np.ndarray) -> FaceMesh:
    return build_face(landmarks, fit_head_frame(landmarks))


def anchors(landmarks: np.ndarray) -> np.ndarray:
    """Image positions of the mask's bridge, chin, and its upper and lower corners, (6, 3)."""
    grid = build_mask(SURGICAL, face_of(landmarks)).grid_px
    middle = grid.shape[1] // 2
    return np.stack([grid[0, middle], grid[-1, middle], grid[0, 0], grid[0, -1], grid[-1, 0], grid[-1, -1]])


def true_anchors(head: Head) -> np.ndarray:
    """The same on the head looking straight ahead in parallel rays, taken through the head's pose."""
    straight = replace(head, yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0, distance_mm=0.0)
    centre = (head.size_px / 2, head.size_px / 2, 0.0)
    return head.to_image((anchors(landmarks_of(straight)) - centre) / head.px_per_mm + PIVOT_MM)


def anchor_errors(head: Head, landmarks: np.ndarray) -> np.ndarray:
    """(6,) share of the inter-ocular distance."""
    off = (anchors(landmarks) - true_anchors(head))[:, :2]
    return np.hypot(*off.T) / (INTER_OCULAR_MM * head.px_per_mm)


def someone(rng: np.random.Generator) -> tuple[float, ...]:
    return tuple(float(value) for value in np.clip(rng.normal(0, 0.8, len(MODES)), -2, 2))


@pytest.mark.parametrize("distance_mm", [0.0, 900.0])
def test_r1_anchors_follow_a_known_pose(distance_mm):
    rng = np.random.default_rng(1)
    near, far = [], []
    for yaw in YAWS:
        for pitch in (-40, 0, 40):
            roll = float(rng.uniform(-180, 180))
            head = Head(yaw, pitch, roll, someone(rng), distance_mm=distance_mm)
            (near if abs(yaw) <= 45 else far).extend(anchor_errors(head, landmarks_of(head)))
    assert np.median(near) <= 0.005  # R1 wants 0.03
    assert np.median(far) <= 0.005  # R1 wants 0.06
    assert max(near + far) < 0.06


@pytest.fixture(scope="module")
def landmarker(shared_data: Path):
    from dataset_tools.filter.landmarker import TasksLandmarker

    bundle = shared_data / "models" / "face_landmarker.task"
    if not bundle.is_file():
        pytest.skip("face_landmarker.task is not on this machine")
    return TasksLandmarker(bundle)


@dataclass(frozen=True)
class Found:
    head: Head
    truth: np.ndarray
    landmarks: np.ndarray | None


@pytest.fixture(scope="module")
def found(landmarker) -> list[Found]:
    from dataset_tools.filter.landmarker import find_with_border

    rng = np.random.default_rng(2)
    results = []
    for yaw in YAWS:
        for pitch in (-20, 0, 20):
            roll = float(rng.uniform(-60, 60))
            head = Head(yaw, pitch, roll, someone(rng), size_px=320, px_per_mm=0.9, distance_mm=900.0)
            picture = draw_head(head)
            faces = find_with_border(landmarker, picture.image)
            best = min(faces, key=lambda f, t=picture.landmarks: np.abs(f - t).mean()) if faces else None
            results.append(Found(head, picture.landmarks, best))
    return results


def test_r1_a_real_landmarker_finds_drawn_heads_and_masks_land_on_them(found):
    by_yaw: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        by_yaw[
            "frontal" if abs(one.head.yaw_deg) <= 20 else "half" if abs(one.head.yaw_deg) <= 45 else "far"
        ].append(one)
    yields = {name: np.mean([one.landmarks is not None for one in some]) for name, some in by_yaw.items()}
    errors = {
        name: np.median([anchor_errors(one.head, one.landmarks) for one in some if one.landmarks is not None])
        for name, some in by_yaw.items()
    }
    # The landmarker's own error on drawn people; R1 asks this of the renderer, which adds nothing to it.
    assert yields["frontal"] >= 0.95
    assert yields["half"] >= 0.8
    assert errors["frontal"] <= 0.07
    assert errors["half"] <= 0.12


def test_r5b_eye_angle_by_misas_equations_is_within_a_degree(found):
    rng = np.random.default_rng(3)
    wrong, by_centre = [], []
    for roll in np.linspace(-60, 60, 13):
        for _ in range(4):
            pose = (float(rng.uniform(-45, 45)), float(rng.uniform(-25, 25)), float(roll))
            head = Head(*pose, someone(rng), distance_mm=900.0)
            points = landmarks_of(head)
            left, right = eye_centres(points)
            centre = (points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2
            wrong.append(abs(eye_roll_deg(left, right) - roll))
            by_centre.append(abs(eye_roll_by_centre_deg(left, right, centre) - roll))
    assert np.mean(wrong) <= 1.0
    assert np.mean(by_centre) <= 1.0
    seen = [one for one in found if one.landmarks is not None and abs(one.head.yaw_deg) <= 45]
    off = [eye_roll_deg(*eye_centres(one.landmarks)) - one.head.roll_deg for one in seen]
    assert np.mean(np.abs(off)) <= 2.0


def dressed_label(picture: HeadPicture, garment) -> np.ndarray:
    nobody = np.zeros(picture.image.shape[:2], dtype=np.float32)
    dressing = dress_face(picture.image, face_of(picture.landmarks), garment, nobody, Effects())
    x, y, width, height = dressing.box
    label = np.zeros(picture.image.shape[:2], dtype=np.float32)
    label[y : y + height, x : x + width] = dressing.mask.alpha
    return label


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one >= 0.5, other >= 0.5
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture(scope="module")
def garment():
    return draw_garment("surgical", "correct", np.random.default_rng(4))


def turned(layer: np.ndarray, angle_deg: float) -> np.ndarray:
    middle = (layer.shape[1] / 2 - 0.5, layer.shape[0] / 2 - 0.5)
    matrix = cv2.getRotationMatrix2D(middle, -angle_deg, 1.0)
    return cv2.warpAffine(layer, matrix, layer.shape[::-1], flags=cv2.INTER_LINEAR)


@pytest.mark.parametrize("yaw", [0, 40])
@pytest.mark.parametrize("angle", [15, -15, 45, -45, 90, -90])
def test_r2_the_label_turns_with_the_head(angle, yaw, garment):
    upright = draw_head(replace(SMALL, yaw_deg=yaw), 1)
    tilted = draw_head(replace(SMALL, yaw_deg=yaw, roll_deg=angle), 1)
    expected = turned(dressed_label(upright, garment), angle)
    assert overlap(dressed_label(tilted, garment), expected) >= 0.98


@pytest.mark.parametrize("pose", [(0, 0, 0), (35, 10, 0), (60, 0, 20)])
def test_r3_the_label_mirrors_with_the_head(pose, garment):
    yaw, pitch, roll = pose
    one = draw_head(replace(SMALL, yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll), 1)
    other = draw_head(replace(SMALL, yaw_deg=-yaw, pitch_deg=pitch, roll_deg=-roll), 1)
    assert overlap(dressed_label(one, garment), dressed_label(other, garment)[:, ::-1]) >= 0.99


@pytest.mark.parametrize("yaw", [-75, 75])
@pytest.mark.parametrize("design", ["surgical", "bandana"])
def test_no_nose_tip_looks_out_of_the_cloth_in_profile(yaw, design):
    rng = np.random.default_rng(6)
    head = replace(SMALL, yaw_deg=yaw, identity=someone(rng), hair="none")
    picture = draw_head(head)
    label = dressed_label(picture, draw_garment(design, "correct", np.random.default_rng(1)))
    tip_x, tip_y = picture.landmarks[4, :2]
    y, x = np.nonzero(picture.skin & (label < 0.25))
    ahead = (x + 0.5 - tip_x) * np.sign(yaw) > -3 * head.px_per_mm
    beside = np.abs(y + 0.5 - tip_y) < 5 * head.px_per_mm
    assert not (ahead & beside).any()


def relit(rng: np.random.Generator) -> Head:
    """A head with nothing in front of it and light from a known side."""
    drawn = random_head(rng, size_px=256)
    side = rng.uniform(0.25, 0.7) * rng.choice([-1, 1])
    towards = (float(side), float(rng.uniform(-0.35, 0.1)), float(rng.uniform(-0.3, 0.0)))
    light = replace(drawn.light, direction=towards)
    pose = {"yaw_deg": float(rng.uniform(-40, 40)), "pitch_deg": float(rng.uniform(-15, 15))}
    return replace(drawn, light=light, strands=0, hand="", glasses="", px_per_mm=0.7, **pose)


@pytest.fixture(scope="module")
def relit_heads() -> list[tuple[Head, Light, np.ndarray]]:
    """Head, estimated light, and normals of the mask that it would wear."""

    def each() -> Iterator[tuple[Head, Light, np.ndarray]]:
        rng = np.random.default_rng(8)
        for _ in range(24):
            head = relit(rng)
            picture = draw_head(head, 1)
            face = face_of(picture.landmarks)
            light = estimate_light(picture.image, read_skin(picture.image, face.skin_px, head.px_per_mm))
            normals = vertex_normals(face.skin_px[:468], canonical_face().triangles)
            covered = canonical_face().layout_mm[:468, 1] > 15
            yield head, light, normals[covered & (normals[:, 2] < -0.1)].astype(np.float32)

    return list(each())


def shade_of(light: Light, normals: np.ndarray) -> np.ndarray:
    return light.ambient * (1 + normals @ np.array(light.direction))


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def test_r11_shading_follows_the_known_light(relit_heads):
    estimated = [agreement(shade_of(light, n), shade_of(head.light, n)) for head, light, n in relit_heads]
    assert np.median(estimated) >= 0.9
    assert np.mean(np.array(estimated) >= 0.8) >= 0.95  # R11
    # What the cloth gets is darker below and harder than the light on skin, on purpose.
    on_cloth = [agreement(light.shade(n), shade_of(head.light, n)) for head, light, n in relit_heads]
    assert np.median(on_cloth) >= 0.8


def test_r11_the_brighter_side_is_the_right_one(relit_heads):
    right = []
    for head, light, normals in relit_heads:
        side = normals[:, 0] > 0
        ratio = [
            np.log(shade[side].mean() / shade[~side].mean())
            for shade in (light.shade(normals), shade_of(head.light, normals))
        ]
        if abs(ratio[1]) > 0.03:
            right.append(ratio[0] * ratio[1] > 0)
    assert len(right) > 15
    assert np.mean(right) >= 0.95


def test_r12_white_follows_exposure(relit_heads):
    head = replace(SMALL, hair="cap")
    found = []
    for exposure in (0.25, 0.5, 1.0):
        picture = draw_head(replace(head, light=replace(head.light, exposure=exposure)), 1)
        face = face_of(picture.landmarks)
        light = estimate_light(picture.image, read_skin(picture.image, face.skin_px, head.px_per_mm))
        found.append(light.exposure * light.ambient)
    assert found[0] < found[1] < found[2]
    off = [np.log2(light.exposure / head.light.exposure) for head, light, _ in relit_heads]
    assert abs(np.median(off)) < 1.0  # stops
    tints = [(np.array(head.light.tint), np.array(light.tint)) for head, light, _ in relit_heads]
    warmer = np.corrcoef([t[0] / t[2] for t, _ in tints], [f[0] / f[2] for _, f in tints])[0, 1]
    assert warmer > 0
    assert max(abs(float(found @ LUMINANCE) - 1) for _, found in tints) < 1e-3
