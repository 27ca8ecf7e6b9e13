from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import ConfigError, DataError, UnknownName
from synth.add_mask import add_mask, all_designs, flatten_mask, load_user_designs
from synth.assets import DESIGNS, allowed_states, draw_garment, garment_from_json, garment_to_json
from synth.cloth.dye import albedo
from synth.colour import srgb_to_linear

BLUE, RED, TABLE = (40, 90, 190), (200, 40, 50), (176, 164, 148)


def drawn_mask(size_hw=(360, 520), turn_deg=0.0):
    """A mask, left half blue and right half red, with white loops; and its cloth as bool."""
    height, width = size_hw
    cloth = np.zeros(size_hw, np.uint8)
    middle = np.array([width / 2, height / 2])
    corners = np.array([(-150, -60), (0, -90), (150, -60), (150, 60), (0, 100), (-150, 60)], float)
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.rint(corners @ turn.T + middle).astype(np.int32)
    cv2.fillPoly(cloth, [points], 1)
    loops = np.zeros(size_hw, np.uint8)
    for side in (-1, 1):
        at = np.rint(np.array([side * 160, 0]) @ turn.T + middle).astype(int)
        cv2.ellipse(loops, at.tolist(), (45, 50), 0, 0, 360, 1, 5)
    y, x = np.mgrid[:height, :width]
    across = (np.stack([x, y], -1) - middle) @ turn
    colour = np.where((across[..., :1] < 0), BLUE, RED)
    return colour, cloth > 0, (loops > 0) & (cloth == 0)


def photo_of(turn_deg=0.0, transparent=False) -> bytes:
    colour, cloth, loops = drawn_mask(turn_deg=turn_deg)
    picture = np.where(cloth[..., None], colour, np.where(loops[..., None], (245, 245, 245), TABLE))
    noise = np.random.default_rng(0).normal(0, 3, picture.shape)
    fade = np.linspace(-8, 8, picture.shape[1])[None, :, None]  # a table is never evenly lit
    picture = np.clip(picture + noise + fade, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    if transparent:
        alpha = ((cloth | loops) * 255).astype(np.uint8)
        Image.fromarray(np.dstack([picture, alpha])).save(buffer, "PNG")
    else:
        Image.fromarray(picture).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "mine.jpg"
    path.write_bytes(photo_of())
    return path


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("turn_deg", [0.0, 25.0, -30.0])
def test_the_cloth_is_found_without_its_loops_and_pulled_straight(transparent, turn_deg):
    found = flatten_mask(photo_of(turn_deg, transparent))
    _, cloth, _ = drawn_mask(turn_deg=turn_deg)
    assert (found.outline & cloth).sum() / (found.outline | cloth).sum() > 0.96
    left, right = found.texture[40:-40, 30:290], found.texture[40:-40, 350:-30]
    assert np.abs(np.median(left, axis=(0, 1)) - BLUE).max() < 14
    assert np.abs(np.median(right, axis=(0, 1)) - RED).max() < 14
    # No table anywhere, not even in the corners.
    away = np.abs(found.texture.astype(int) - TABLE).max(axis=-1)
    assert (away < 25).mean() < 0.002
    assert min(found.strap) > 200


def test_a_stored_design_is_drawn_and_replayed_from_its_recipe(tmp_path, photo):
    folder = tmp_path / "masks"
    made = add_mask(photo, "two_tone", folder, "surgical")
    assert load_user_designs(folder)["two_tone"].full_name == made.full_name
    designs = all_designs(folder)
    assert set(designs) == {*DESIGNS, "two_tone"}
    assert allowed_states("two_tone", designs) == DESIGNS["surgical"].states
    garment = draw_garment("two_tone", "nose_out", np.random.default_rng(3), designs)
    assert garment.mask_type == "surgical"
    again = garment_from_json(json.loads(json.dumps(garment_to_json(garment))))
    assert again == garment
    colour = albedo(again.fabric, (170.0, 130.0), (120, 160))
    left, right = (np.median(colour[30:-30, part], axis=(0, 1)) for part in (np.s_[15:70], np.s_[90:-15]))
    assert np.abs(left - srgb_to_linear(np.array(BLUE) / 255)).max() < 0.08
    assert np.abs(right - srgb_to_linear(np.array(RED) / 255)).max() < 0.08


def test_adding_it_twice_gives_the_same_bytes(tmp_path, photo):
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        add_mask(photo, "mine", folder)
        files.append([(path.name, path.read_bytes()) for path in sorted(folder.iterdir())])
    assert files[0] == files[1]
    assert [name for name, _ in files[0]] == ["mine.json", "mine.png"]


def test_a_texture_that_no_directory_holds_is_a_clear_error(tmp_path, photo):
    designs = {"mine": add_mask(photo, "mine", tmp_path / "masks")}
    garment = draw_garment("mine", "correct", np.random.default_rng(0), designs)
    stored = garment_to_json(garment)
    stored["fabric"]["texture"] = "0" * 64
    with pytest.raises(DataError, match="give the directory of your own mask designs"):
        albedo(garment_from_json(stored).fabric, (170.0, 130.0), (40, 50))


@pytest.mark.parametrize("name", ["", "../evil", "A", "a b", "a/b", "x" * 41, "1st", "surgical", "né"])
def test_a_name_that_is_no_file_name_or_one_of_ours_is_refused(tmp_path, photo, name):
    with pytest.raises(ConfigError, match="mask name"):
        add_mask(photo, name, tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def test_an_unknown_base_lists_near_names(tmp_path, photo):
    with pytest.raises(UnknownName, match="surgical"):
        add_mask(photo, "mine", tmp_path, "surgicl")


def test_photos_without_a_mask_are_refused(tmp_path):
    nothing = np.full((200, 300, 3), 120, np.uint8)
    speck = nothing.copy()
    speck[90:110, 140:160] = 250
    everything = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    for picture in (nothing, speck, everything):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        with pytest.raises(DataError, match=r"no mask found|mask"):
            flatten_mask(buffer.getvalue())
    path = tmp_path / "text.jpg"
    path.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"text\.jpg"):
        add_mask(path, "mine", tmp_path / "masks")
    with pytest.raises(DataError, match=r"gone\.jpg"):
        add_mask(tmp_path / "gone.jpg", "mine", tmp_path / "masks")


HOSTILE = {
    "not json": b"{",
    "a list": b"[]",
    "deep": b"[" * 40_000 + b"]" * 20_000,
    "not text": b"\xff\xfe\x00",
    "huge": b" " * 70_000,
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_a_file_that_is_no_design_is_named_in_the_error(tmp_path, kind):
    (tmp_path / "odd.json").write_bytes(HOSTILE[kind])
    with pytest.raises(DataError, match=r"odd\.json"):
        load_user_designs(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("name", "../../etc/passwd"),
        ("name", ["mine"]),
        ("type", "toga"),
        ("type", {}),
        ("texture_sha256", "00"),
        ("texture_sha256", "0" * 64),
        ("ground", [1, 2]),
        ("ground", [1, 2, 300]),
        ("strap", [True, 2, 3]),
        ("strap", "red"),
        ("extra", 1),
    ],
)
def test_a_tampered_design_is_refused(tmp_path, photo, field, value):
    add_mask(photo, "mine", tmp_path / "masks")
    path = tmp_path / "masks" / "mine.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(DataError, match=r"mine\.(json|png)"):
        load_user_designs(tmp_path / "masks")


def test_a_changed_or_missing_texture_and_a_missing_directory_are_refused(tmp_path, photo):
    folder = tmp_path / "masks"
    add_mask(photo, "mine", folder)
    (folder / "mine.png").write_bytes((folder / "mine.png").read_bytes() + b"x")
    with pytest.raises(DataError, match="SHA-256 differs"):
        load_user_designs(folder)
    (folder / "mine.png").unlink()
    with pytest.raises(DataError, match=r"mine\.png"):
        load_user_designs(folder)
    with pytest.raises(DataError, match="no such directory"):
        load_user_designs(tmp_path / "nowhere")


def test_real_cut_outs_become_masks(tmp_path, shared_data):
    for number in (1, 2, 3, 4):
        source = shared_data / "occluders" / "mask_cutout" / f"mask_cutout_{number:03d}.png"
        add_mask(source, f"real{number}", tmp_path, "surgical")
    for design in load_user_designs(tmp_path).values():
        garment = draw_garment(design.name, "correct", np.random.default_rng(0), all_designs(tmp_path))
        colour = albedo(garment.fabric, (170.0, 130.0), (120, 160))
        assert colour.mean() > 0.2
        assert colour.reshape(-1, 3).std(axis=0).max() < 0.25  # cloth from edge to edge, nothing else
