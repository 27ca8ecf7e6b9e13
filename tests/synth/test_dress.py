from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.images import encode_png
from dataset_tools.core.reasons import Reason
from synth.assets import draw_garment
from synth.dress import dress_photo, hard, replay
from synth.recipe import Recipe, recipe_from_json, recipe_to_json
from synth.render import Effects
from synth.wearers import Limits, find_wearers

LIMITS = Limits(max_yaw_deg=70, min_face_px=60)


def recipe_of(*faces: int, design: str = "surgical", seed: int = 1, shadow: bool = True) -> Recipe:
    garments = tuple((i, draw_garment(design, "correct", np.random.default_rng(seed + i))) for i in faces)
    return Recipe("mesh3d", "skin-edges@1", garments, (), Effects(shadow=shadow), seed)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture(scope="module")
def upright(hopper):
    return dress_photo(hopper.rgb, [hopper.face], recipe_of(0))


@pytest.mark.parametrize("angle", [15, -15, 45, -45, 90, -90])
def test_label_turns_with_the_face(hopper, upright, angle):
    turned = hopper.turned(angle)
    label = hard(dress_photo(turned.rgb, [turned.face], recipe_of(0)).faces[0].mask_alpha)
    expected = hopper.turn_layer(upright.faces[0].mask_alpha / 65535, angle) >= 0.5
    assert overlap(label, expected) >= 0.98


def test_label_mirrors_with_the_face(hopper, upright):
    mirrored = hopper.mirrored()
    label = hard(dress_photo(mirrored.rgb, [mirrored.face], recipe_of(0)).faces[0].mask_alpha)
    assert overlap(label[:, ::-1], hard(upright.faces[0].mask_alpha)) >= 0.99


def test_label_keeps_its_shape_at_half_size(hopper, upright):
    small = hopper.shrunk(0.5)
    label = hard(dress_photo(small.rgb, [small.face], recipe_of(0)).faces[0].mask_alpha)
    height, width = label.shape
    halved = hard(upright.faces[0].mask_alpha)[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    assert overlap(label, halved.mean(axis=(1, 3)) >= 0.5) >= 0.96


def test_replay_gives_the_same_bytes(hopper, upright):
    text = recipe_to_json(recipe_of(0))
    again = replay(text, hopper.rgb, [hopper.face])
    assert encode_png(again.image) == encode_png(upright.image)
    assert np.array_equal(again.faces[0].mask_alpha, upright.faces[0].mask_alpha)
    assert np.array_equal(again.faces[0].strap_alpha, upright.faces[0].strap_alpha)
    assert recipe_to_json(recipe_from_json(text)) == text


def test_the_photo_is_not_changed(hopper):
    before = hopper.rgb.copy()
    dress_photo(hopper.rgb, [hopper.face], recipe_of(0))
    assert np.array_equal(before, hopper.rgb)


def test_labels_do_not_claim_the_same_pixel_twice(upright):
    face = upright.faces[0]
    total = face.mask_alpha.astype(int) + face.strap_alpha.astype(int)
    assert total.max() <= 65535 + 1
    assert not (face.skin & hard(face.mask_alpha)).any()
    assert not (face.skin & hard(face.strap_alpha)).any()
    assert face.skin.any()


def test_without_shadow_only_the_sheets_change_pixels(hopper):
    plain = dress_photo(hopper.rgb, [hopper.face], recipe_of(0, shadow=False))
    face = plain.faces[0]
    untouched = (face.mask_alpha == 0) & (face.strap_alpha == 0)
    assert np.array_equal(plain.image[untouched], hopper.rgb[untouched])
    assert plain.shadow.max() == 0


def test_two_faces_are_both_dressed_and_the_near_one_hides_the_far_one(hopper, make_face):
    near = hopper.points
    far = (near - near[4]) * 0.55 + near[4] + (hopper.rgb.shape[1] * 0.22, 0, 0)
    faces = [make_face(near), make_face(far)]
    both = dress_photo(hopper.rgb, faces, recipe_of(0, 1))
    alone = dress_photo(hopper.rgb, faces[1:], recipe_of(0))
    labels = {face.face: face for face in both.faces}
    assert [face.face for face in both.faces] == [1, 0]  # far to near
    assert hard(labels[0].mask_alpha).any()
    assert 0 < hard(labels[1].mask_alpha).sum() < hard(alone.faces[0].mask_alpha).sum()
    claims = sum(
        layer.astype(int)
        for face in both.faces
        for layer in (hard(face.mask_alpha), hard(face.strap_alpha), face.skin)
    )
    assert claims.max() == 1


def test_two_detections_of_one_head_wear_one_mask(hopper, make_face):
    faces = [hopper.face, make_face(np.add(hopper.points, (2.0, -1.0, 0.0)))]
    wearers, refusals = find_wearers(faces, hopper.rgb.shape[:2], LIMITS)
    assert wearers == [0]
    assert [refusal.reason for refusal in refusals] == [Reason.DUPLICATE]


def test_faces_that_cannot_be_dressed_say_why(hopper, make_face):
    points = hopper.points
    sideways = points.copy()
    centre = points[168]
    angle = np.radians(80)
    x, z = points[:, 0] - centre[0], points[:, 2] - centre[2]
    sideways[:, 0] = centre[0] + np.cos(angle) * x - np.sin(angle) * z
    sideways[:, 2] = centre[2] + np.sin(angle) * x + np.cos(angle) * z
    tiny = (points - points[4]) * 0.1 + (60, 60, 0)
    bare = make_face(points)
    faces = [make_face(sideways), make_face(tiny), type(bare)(bare.box_xyxy, 0.9, bare.wearing, "x@1")]
    wearers, refusals = find_wearers(faces, hopper.rgb.shape[:2], LIMITS)
    assert wearers == []
    reasons = {refusal.face: refusal.reason for refusal in refusals}
    assert reasons == {0: Reason.POSE, 1: Reason.FACE_TOO_SMALL, 2: Reason.NO_LANDMARKS}


def test_a_recipe_of_another_renderer_is_refused(hopper):
    text = json.dumps({**json.loads(recipe_to_json(recipe_of(0))), "renderer": "mesh3d@0"})
    with pytest.raises(DataError, match="mesh3d@0"):
        replay(text, hopper.rgb, [hopper.face])
    with pytest.raises(DataError, match="not a recipe"):
        replay("[]", hopper.rgb, [hopper.face])
    with pytest.raises(ItemFault, match="the sample has 0"):
        replay(recipe_to_json(recipe_of(0)), hopper.rgb, [])


@pytest.mark.parametrize("shift", [(-150, 0), (0, 250), (200, -100)])
def test_a_mask_cut_by_the_border_still_has_matching_labels(hopper, make_face, shift):
    moved = np.add(hopper.points, (*shift, 0))
    done = dress_photo(hopper.rgb, [make_face(moved)], recipe_of(0))
    changed = (done.image != hopper.rgb).any(axis=-1)
    face = done.faces[0]
    touched = (face.mask_alpha > 0) | (face.strap_alpha > 0) | (done.shadow > 0)
    assert not (changed & ~touched).any()


def test_loops_cut_from_the_cloth_are_labelled_as_mask(hopper):
    garment = draw_garment("foam", "correct", np.random.default_rng(2))
    sewn = replace(garment, strap=replace(garment.strap, of_cloth=False))
    one, two = (
        dress_photo(hopper.rgb, [hopper.face], replace(recipe_of(0), garments=((0, item),)))
        for item in (garment, sewn)
    )
    assert np.array_equal(one.image, two.image)
    cut, loose = one.faces[0], two.faces[0]
    assert hard(loose.strap_alpha).sum() > 50
    assert not cut.strap_alpha.any()
    both = loose.mask_alpha.astype(int) + loose.strap_alpha
    assert np.abs(cut.mask_alpha.astype(int) - both).max() <= 1
    assert not (cut.skin & hard(cut.mask_alpha)).any()
