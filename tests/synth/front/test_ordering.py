"""What lies in front of a face, against drawn heads whose occluders are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset_tools.core.errors import UnknownName, WeightsUnavailable
from dataset_tools.weights import status
from synth.front import hands, ordering
from synth.front.facegrid import FaceGrid, face_grid
from synth.front.hands import hand_pixels
from synth.front.ordering import (
    HANDS,
    METHODS,
    NOTHING,
    PARTS,
    SKIN_EDGES,
    Matte,
    choose_method,
    find_in_front,
)
from synth.front.segmenter import before_face
from synth.geometry import FaceMesh, build_face
from synth.heads.draw import draw_head
from synth.heads.head import Head
from synth.placement import fit_head_frame


def mesh_of(landmarks: np.ndarray) -> FaceMesh:
    return build_face(landmarks, fit_head_frame(landmarks))


def lower_face(face: FaceMesh, size_hw: tuple[int, int]) -> np.ndarray:
    """What a mask can cover, roughly: the face oval from the middle of the nose down."""
    grid = face_grid(np.zeros((*size_hw, 3), np.uint8), face)
    return from_grid(grid.inside & (grid.height_mm > 10), grid, size_hw)


def from_grid(mask: np.ndarray, grid: FaceGrid, size_hw: tuple[int, int]) -> np.ndarray:
    x, y, width, height = grid.box
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    whole = np.zeros(size_hw, dtype=bool)
    whole[y : y + height, x : x + width] = mask[rows][:, columns]
    return whole


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def paint_lock(picture: np.ndarray, face: FaceMesh, colour: tuple[int, int, int]) -> np.ndarray:
    """Hang a lock of hair over the viewer's right cheek, down from the temple; its pixels."""
    grid = face_grid(picture, face)
    lock = (grid.across_mm > 58) & grid.inside & (grid.height_mm < 85)
    lock |= ~grid.inside & (grid.beside_mm < 20) & (grid.drop_mm > -40) & (grid.drop_mm < 85) & right_of(grid)
    lock = from_grid(lock, grid, picture.shape[:2])
    streaks = np.random.default_rng(3).normal(0, 7, (1, picture.shape[1], 1))
    picture[lock] = np.clip(np.broadcast_to(colour + streaks, picture.shape)[lock], 0, 255)
    return lock


def right_of(grid: FaceGrid) -> np.ndarray:
    return np.arange(grid.inside.shape[1])[None, :] > grid.eyes_xy[0]


@pytest.mark.parametrize("yaw_deg", [0.0, 25.0])
@pytest.mark.parametrize("glasses", ["round", "square", "dark"])
def test_rims_and_dark_lenses_stay_in_front(glasses: str, yaw_deg: float) -> None:
    drawn = draw_head(Head(glasses=glasses, yaw_deg=yaw_deg, px_per_mm=2.0))
    face = mesh_of(drawn.landmarks)
    area = lower_face(face, drawn.image.shape[:2])
    truth = (drawn.layers["glasses"] >= 0.5) & area
    assert truth.sum() > 300
    found = find_in_front(drawn.image, face).over(area.shape) >= 0.5
    assert iou(found & area, truth) > 0.85


@pytest.mark.parametrize("ita_deg", [50.0, 10.0, -25.0])
def test_a_lock_over_the_cheek_stays_in_front(ita_deg: float) -> None:
    drawn = draw_head(Head(hair="long", ita_deg=ita_deg, px_per_mm=2.0, hair_rgb=(30, 26, 24)))
    face = mesh_of(drawn.landmarks)
    picture = drawn.image.copy()
    lock = paint_lock(picture, face, (30, 26, 24))
    area = lower_face(face, picture.shape[:2])
    found = find_in_front(picture, face).over(area.shape) >= 0.5
    assert iou(found & area, lock & area) > 0.8
    assert (found & area & ~lock).sum() < 0.005 * area.sum()


@pytest.mark.parametrize("ita_deg", [55.0, 30.0, 0.0, -40.0])
@pytest.mark.parametrize("yaw_deg", [-45.0, 0.0, 20.0])
def test_nothing_is_found_on_a_bare_face(ita_deg: float, yaw_deg: float) -> None:
    for hair in ("none", "cap", "long"):
        head = Head(hair=hair, ita_deg=ita_deg, yaw_deg=yaw_deg, mouth_open=0.8, lip_red=1.0)
        drawn = draw_head(head)
        face = mesh_of(drawn.landmarks)
        area = lower_face(face, drawn.image.shape[:2]) & (drawn.occluder < 0.5)
        found = find_in_front(drawn.image, face).over(area.shape) >= 0.5
        assert (found & area).sum() <= 0.002 * area.sum(), hair


def test_a_beard_is_not_in_front() -> None:
    drawn = draw_head(Head(hair="cap", hair_rgb=(40, 30, 24), px_per_mm=2.0))
    face = mesh_of(drawn.landmarks)
    grid = face_grid(drawn.image, face)
    cheeks = 20 + 65 * np.clip((grid.side_mm - 30) / 45, 0, 1)
    beard = grid.inside & (grid.height_mm > 105 - cheeks)
    beard |= grid.inside & (grid.side_mm < 28) & (grid.height_mm > 46) & (grid.height_mm < 58)
    beard = from_grid(beard, grid, drawn.image.shape[:2])
    grain = np.random.default_rng(5).normal(0, 8, drawn.image.shape)
    picture = drawn.image.copy()
    picture[beard] = np.clip((np.array([40, 30, 24]) + grain)[beard], 0, 255)
    found = find_in_front(picture, face).over(beard.shape) >= 0.5
    assert (found & lower_face(face, beard.shape)).sum() <= 0.002 * beard.sum()


def test_real_bare_faces_keep_their_skin(hopper, astronaut) -> None:
    for portrait in (hopper, astronaut):
        face = mesh_of(portrait.points)
        area = lower_face(face, portrait.rgb.shape[:2])
        found = find_in_front(portrait.rgb, face).over(area.shape) >= 0.5
        assert (found & area).sum() <= 0.01 * area.sum()


def test_the_same_photo_gives_the_same_matte_and_is_left_alone() -> None:
    drawn = draw_head(Head(glasses="round"))
    face = mesh_of(drawn.landmarks)
    before = drawn.image.copy()
    one, other = find_in_front(drawn.image, face), find_in_front(drawn.image, face)
    assert one.box == other.box
    assert one.alpha.tobytes() == other.alpha.tobytes()
    assert np.array_equal(before, drawn.image)
    assert one.alpha.dtype == np.float32
    assert np.array_equal(one.alpha * 255, np.rint(one.alpha * 255))
    assert one.method == SKIN_EDGES


def test_a_matte_is_soft_at_its_edge_only() -> None:
    drawn = draw_head(Head(glasses="dark", px_per_mm=2.5))
    matte = find_in_front(drawn.image, mesh_of(drawn.landmarks))
    soft = (matte.alpha > 0) & (matte.alpha < 1)
    assert 0 < soft.sum() < 0.35 * (matte.alpha > 0).sum()


@pytest.mark.parametrize("shift", [(-4000, 0), (0, 4000), (-330, -280)])
def test_a_face_outside_the_picture_has_nothing_in_front(shift: tuple[int, int]) -> None:
    drawn = draw_head(Head(glasses="round"))
    matte = find_in_front(drawn.image, mesh_of(drawn.landmarks + np.array([*shift, 0.0])))
    assert matte.over((512, 512)).shape == (512, 512)


def test_tiny_and_huge_faces_pass() -> None:
    for px_per_mm, size_px in ((0.08, 24), (6.0, 1400)):
        drawn = draw_head(Head(glasses="square", px_per_mm=px_per_mm, size_px=size_px), samples=1)
        matte = find_in_front(drawn.image, mesh_of(drawn.landmarks))
        assert matte.over(drawn.image.shape[:2]).max() <= 1.0


def test_method_names_are_versioned_and_say_what_they_see() -> None:
    assert list(METHODS) == [PARTS, HANDS, SKIN_EDGES, NOTHING]
    for name, method in METHODS.items():
        assert method.name == name
        assert name.split("@")[1].isdigit()
        assert method.finds
    assert choose_method() in METHODS


def test_without_model_files_the_colours_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKSET_CACHE", str(tmp_path))
    monkeypatch.delenv("MASKSET_WEIGHTS_DIR", raising=False)
    assert choose_method() == SKIN_EDGES


def test_a_replay_without_its_model_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(name: str) -> Path:
        raise WeightsUnavailable(f"{name} cannot be had")

    monkeypatch.setattr(hands, "resolve", refuse)
    hands.networks.cache_clear()
    drawn = draw_head(Head(size_px=256, px_per_mm=0.8), samples=1)
    with pytest.raises(WeightsUnavailable) as caught:
        find_in_front(drawn.image, mesh_of(drawn.landmarks), HANDS)
    assert len(str(caught.value).splitlines()) == 1


def test_an_unknown_method_names_the_nearest() -> None:
    drawn = draw_head(Head(size_px=128, px_per_mm=0.5), samples=1)
    with pytest.raises(UnknownName, match="skin-edges@1"):
        find_in_front(drawn.image, mesh_of(drawn.landmarks), "skin-edge@1")


def test_nothing_means_nothing() -> None:
    drawn = draw_head(Head(glasses="dark"))
    matte = find_in_front(drawn.image, mesh_of(drawn.landmarks), NOTHING)
    assert matte == Matte((0, 0, 0, 0), matte.alpha, NOTHING)
    assert matte.is_empty


def spread_hand(grid: FaceGrid) -> np.ndarray:
    """Joints of a hand with spread fingers, wrist below the chin, fingers over the mouth."""
    base, joints = np.array([0.0, 205.0]), [(0.0, 205.0)]
    for angle, length in ((-50, 110), (-20, 165), (-7, 178), (6, 168), (19, 142)):
        along = np.array([np.sin(np.radians(angle)), -np.cos(np.radians(angle))])
        joints += [tuple(base + along * length * share) for share in (0.5, 0.7, 0.86, 1.0)]
    return np.array(joints) * grid.px_per_mm + grid.eyes_xy


def test_gaps_between_spread_fingers_stay_open() -> None:
    drawn = draw_head(Head(px_per_mm=1.6))
    face = mesh_of(drawn.landmarks)
    grid = face_grid(drawn.image, face)
    joints = spread_hand(grid)
    truth = hands.flesh(grid, joints, 15.0 * grid.px_per_mm)
    painted = grid.rgb.copy()
    painted[truth] = (96, 62, 48)
    found = hand_pixels(FaceGrid(**{**vars_of(grid), "rgb": painted}), joints)
    assert iou(found, truth) > 0.95
    # Outwards from the bases of two neighbouring fingers lies face, then the fingers' tips close nothing.
    gap = (joints[8] + joints[20]) / 2
    gap = (joints[8] + joints[12]) / 2 if truth[int(gap[1]), int(gap[0])] else gap
    column, row = (int(value) for value in gap)
    assert not truth[row, column]
    assert not found[row, column]


def vars_of(grid: FaceGrid) -> dict[str, object]:
    return {name: getattr(grid, name) for name in FaceGrid.__dataclass_fields__}


@pytest.mark.parametrize("ita_deg", [45.0, -10.0])
def test_a_hand_is_found_by_the_hand_networks(ita_deg: float) -> None:
    here = {item.name for item in status() if item.path is not None}
    if not here.issuperset(hands.HAND_FILES):
        pytest.skip("the hand networks are not on this machine")
    drawn = draw_head(Head(hand="eye", ita_deg=ita_deg, px_per_mm=2.0))
    face = mesh_of(drawn.landmarks)
    area = lower_face(face, drawn.image.shape[:2])
    found = find_in_front(drawn.image, face, HANDS).over(area.shape) >= 0.5
    truth = drawn.layers["hand"] >= 0.5
    assert iou(found & area, truth & area) > 0.5
    assert (found & area & ~truth).sum() < 0.15 * (truth & area).sum()
    bare = draw_head(Head(ita_deg=ita_deg, px_per_mm=2.0))
    assert not (find_in_front(bare.image, face, HANDS).over(area.shape)[area] >= 0.5).any()


def test_parts_of_a_segmenter_become_what_is_in_front() -> None:
    drawn = draw_head(Head(px_per_mm=1.6))
    face = mesh_of(drawn.landmarks)
    picture = drawn.image.copy()
    lock = paint_lock(picture, face, (30, 26, 24))
    grid = face_grid(picture, face)
    parts = np.zeros((*grid.inside.shape, 6), np.float32)
    parts[..., 0], parts[..., 3] = ~grid.inside, grid.inside
    x, y, width, height = grid.box
    rows = ((np.arange(grid.inside.shape[0]) + 0.5) * height / grid.inside.shape[0]).astype(int)
    columns = ((np.arange(grid.inside.shape[1]) + 0.5) * width / grid.inside.shape[1]).astype(int)
    hair = lock[y : y + height, x : x + width][rows][:, columns]
    parts[hair] = (0, 1, 0, 0, 0, 0)
    beard = grid.inside & (grid.height_mm > 92) & (grid.side_mm < 30)
    parts[beard] = (0, 1, 0, 0, 0, 0)
    found = before_face(grid, parts)
    assert iou(found & grid.inside, hair & grid.inside) > 0.85
    assert not (found & beard).any()


def test_the_best_method_is_taken_where_all_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class Here:
        path = Path()

        def __init__(self, name: str) -> None:
            self.name = name

    for files, best in ((METHODS[PARTS].files, PARTS), (hands.HAND_FILES, HANDS), ((), SKIN_EDGES)):
        monkeypatch.setattr(ordering, "status", lambda files=files: tuple(Here(name) for name in files))
        assert choose_method() == best
