from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from dataset_tools.core.errors import ConfigError, DataError, ItemFault
from dataset_tools.core.reasons import Reason
from dataset_tools.core.settings import parse_settings
from synth.occluders.cutouts import OccluderLibrary, decode_cutout
from synth.occluders.occluder import (
    KINDS,
    Occluder,
    OccluderSettings,
    black_block,
    draw_occluder,
    occlude,
    occluder_from_json,
    occluder_to_json,
)
from synth.occluders.shapes import OUTLINES, polygon_area, polygon_coverage, shape_outline
from synth.placement import eye_centres
from synth.render import Effects, composite
from synth.wearers import mesh_of

PLAIN = Effects(light=False, shadow=False, camera=False)


def whole(dressing, size_hw):
    x, y, width, height = dressing.box
    out = np.zeros(size_hw, np.float32)
    out[y : y + height, x : x + width] = dressing.mask.alpha
    return out


def pieces_and_holes(mask):
    background = ndimage.label(np.pad(~mask, 1, constant_values=True), structure=np.ones((3, 3)))[1]
    return ndimage.label(mask)[1], background - 1


@pytest.mark.parametrize("kind", sorted(OUTLINES))
def test_shapes_are_in_one_piece_without_holes_whatever_their_size_and_turn(kind):
    photo = np.full((400, 400, 3), 90, np.uint8)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        size = tuple(float(s) for s in rng.uniform(6, 260, 2))
        shape = Occluder(kind, (200.0, 200.0), size, float(rng.uniform(-180, 180)), (9, 200, 30), seed=seed)
        alpha = whole(occlude(photo, None, shape, Effects()), (400, 400))
        assert pieces_and_holes(alpha >= 0.5) == (1, 0), (kind, seed)


@pytest.mark.parametrize("kind", sorted(OUTLINES))
def test_outlines_never_cross_themselves_and_fill_their_square(kind):
    for seed in range(25):
        points = shape_outline(kind, seed)
        assert np.allclose(points.min(axis=0), -0.5) and np.allclose(points.max(axis=0), 0.5)
        # Even-odd and non-zero area agree only for a curve that does not cross itself.
        covered = polygon_coverage((points + 0.6) * 200, (240, 240)).sum() / 200**2
        assert covered == pytest.approx(polygon_area(points), rel=0.01)


def test_coverage_is_that_of_a_fine_supersampling(mean_points):
    rng = np.random.default_rng(3)
    points = np.array([(3.3, 2.1), (27.7, 6.4), (18.2, 30.9), (9.6, 14.2)])
    fine = Image.new("1", (40 * 32, 40 * 32))
    ImageDraw.Draw(fine).polygon([tuple(p * 32) for p in points], fill=1)
    expected = np.asarray(fine, float).reshape(40, 32, 40, 32).mean(axis=(1, 3))
    assert np.abs(polygon_coverage(points, (40, 40)) - expected).max() < 0.08
    shifted = polygon_coverage(points + rng.integers(-9, 9, 2), (40, 40))
    assert shifted.max() == 1.0


def test_a_polygon_half_outside_the_window_is_cut_at_its_border():
    square = np.array([(-10.0, -10.0), (5.5, -10.0), (5.5, 50.0), (-10.0, 50.0)])
    covered = polygon_coverage(square, (20, 20))
    assert np.array_equal(covered[:, :5], np.ones((20, 5))) and np.allclose(covered[:, 5], 0.5)
    assert not covered[:, 6:].any()


@pytest.mark.parametrize("kind", sorted(OUTLINES))
def test_shapes_cover_the_share_that_was_drawn(astronaut, kind):
    settings = OccluderSettings(probability=1, kinds={kind: 1}, shape_share=(0.1, 0.1))
    face = mesh_of(astronaut.face)
    shape = draw_occluder(np.random.default_rng(1), face, settings)
    inside = [whole(occlude(astronaut.rgb, face, shape, PLAIN), astronaut.rgb.shape[:2]).sum()]
    points = astronaut.points[:468, :2]
    # The face is turned by 3 degrees: its own box is nearly that of the picture.
    box = np.ptp(points, axis=0).prod()
    assert inside[0] / box == pytest.approx(0.1, rel=0.12)


@pytest.mark.parametrize("percent", range(0, 101, 10))
@pytest.mark.parametrize("size", [(112, 112), (128, 128), (97, 141)])
def test_a_block_covers_the_asked_share_to_within_half_a_row(percent, size):
    width, height = size
    photo = np.full((height + 20, width + 20, 3), 200, np.uint8)
    box = (10, 10, 10 + width, 10 + height)
    for seed in range(5):
        block = black_block(np.random.default_rng(seed), box, percent / 100)
        dressing = occlude(photo, None, block, Effects())
        alpha = whole(dressing, photo.shape[:2])
        assert set(np.unique(alpha)) <= {0.0, 1.0}
        assert abs(alpha.sum() - percent / 100 * width * height) <= max(size) / 2
        outside = alpha.copy()
        outside[10 : 10 + height, 10 : 10 + width] = 0
        assert not outside.any()
        out = composite(photo, dressing)
        assert (out[alpha == 1] == 0).all() and (out[alpha == 0] == 200).all()


def test_blocks_lie_all_over_the_box():
    blocks = [black_block(np.random.default_rng(s), (0, 0, 112, 112), 0.1) for s in range(200)]
    x = [block.centre_px[0] for block in blocks]
    assert min(x) < 25 and max(x) > 87 and abs(np.mean(x) - 56) < 5


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ConfigError, match="share in"):
        black_block(np.random.default_rng(0), (0, 0, 10, 10), share)


def test_a_box_without_area_is_refused():
    with pytest.raises(ConfigError, match="0x10"):
        black_block(np.random.default_rng(0), (5, 0, 5, 10), 0.5)


@pytest.mark.parametrize("angle", [-60, 0, 35, 90])
def test_spectacles_sit_on_the_eyes_at_every_roll(astronaut, library, angle):
    turned = astronaut.turned(angle)
    face = mesh_of(turned.face)
    settings = OccluderSettings(probability=1, kinds={"eyeglasses": 1}, folder=library.folder)
    glasses = draw_occluder(np.random.default_rng(0), face, settings, library)
    alpha = whole(occlude(turned.rgb, face, glasses, PLAIN, library), turned.rgb.shape[:2]) >= 0.5
    lenses = ndimage.binary_fill_holes(alpha) & ~alpha
    named, count = ndimage.label(lenses)
    sizes = np.bincount(named.ravel())[1:]
    two = 1 + np.argsort(sizes)[-2:]
    assert count >= 2
    centres = sorted((ndimage.center_of_mass(named == k)[::-1] for k in two), key=tuple)
    eyes = sorted((tuple(eye) for eye in eye_centres(turned.points)), key=tuple)
    apart = np.hypot(*(np.array(eyes[1]) - eyes[0]))
    for lens, eye in zip(centres, eyes, strict=True):
        assert np.hypot(lens[0] - eye[0], lens[1] - eye[1]) < 0.12 * apart


def test_spectacles_are_left_out_for_a_head_turned_far(mean_points, library, make_face):
    yaw = np.radians(60)
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    middle = np.array([200.0, 160.0, 0.0])
    face = mesh_of(make_face((mean_points - middle) @ turn.T + middle))
    only = OccluderSettings(probability=1, kinds={"eyeglasses": 1}, folder=library.folder)
    with pytest.raises(ItemFault, match="no kind of occluder fits"):
        draw_occluder(np.random.default_rng(0), face, only, library)
    both = OccluderSettings(probability=1, kinds={"eyeglasses": 1, "hand": 1}, folder=library.folder)
    drawn = {draw_occluder(np.random.default_rng(s), face, both, library).kind for s in range(12)}
    assert drawn == {"hand"}


def test_a_scarf_covers_the_chin_and_leaves_the_eyes(astronaut, library):
    settings = OccluderSettings(probability=1, kinds={"scarf": 1}, folder=library.folder)
    face = mesh_of(astronaut.face)
    for seed in range(10):
        scarf = draw_occluder(np.random.default_rng(seed), face, settings, library)
        alpha = whole(occlude(astronaut.rgb, face, scarf, PLAIN, library), astronaut.rgb.shape[:2])
        chin, *eyes = (astronaut.points[i, :2].astype(int) for i in (152, 159, 386))
        assert alpha[chin[1], chin[0]] == 1.0
        assert all(alpha[eye[1], eye[0]] == 0.0 for eye in eyes)


@pytest.mark.parametrize(
    "kind", ["blob", "walk", "polygon", "block", "hand", "scarf", "object", "eyeglasses"]
)
def test_same_seed_same_bytes_also_after_a_round_trip_through_json(astronaut, library, kind):
    settings = OccluderSettings(probability=1, kinds={kind: 1}, folder=library.folder)
    face = mesh_of(astronaut.face)
    one, other = (draw_occluder(np.random.default_rng(5), face, settings, library) for _ in range(2))
    back = occluder_from_json(json.loads(json.dumps(occluder_to_json(one))))
    assert one == other == back
    fresh = OccluderLibrary(library.folder)
    first = composite(astronaut.rgb, occlude(astronaut.rgb, face, one, Effects(), library))
    again = composite(astronaut.rgb, occlude(astronaut.rgb, face, back, Effects(), fresh))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("kind", ["blob", "block", "hand", "eyeglasses"])
def test_pixels_outside_label_and_shadow_keep_their_bytes_and_the_photo_is_not_changed(
    astronaut, library, kind
):
    settings = OccluderSettings(probability=1, kinds={kind: 1}, folder=library.folder)
    face, before = mesh_of(astronaut.face), astronaut.rgb.copy()
    occluder = draw_occluder(np.random.default_rng(2), face, settings, library)
    dressing = occlude(astronaut.rgb, face, occluder, Effects(), library)
    out = composite(astronaut.rgb, dressing)
    x, y, width, height = dressing.box
    touched = np.zeros(before.shape[:2], bool)
    touched[y : y + height, x : x + width] = (dressing.mask.alpha > 0) | (dressing.shadow > 0)
    assert np.array_equal(astronaut.rgb, before)
    assert np.array_equal(out[~touched], before[~touched])
    assert (out[touched] != before[touched]).any()
    assert bool(dressing.shadow.any()) == (kind in ("hand", "eyeglasses"))
    alpha = dressing.mask.alpha.astype(np.float64)
    assert np.abs(alpha * 65535 - np.rint(alpha * 65535)).max() < 0.01


def test_a_black_frame_leaves_no_light_rim_on_a_white_background(astronaut, png):
    # The picture was cut from white; its soft rim must not bring that white along.
    fine = Image.new("RGBA", (400, 400), (255, 255, 255, 0))
    ImageDraw.Draw(fine).ellipse((40, 40, 360, 360), fill=(10, 10, 10, 255))
    alpha = np.asarray(fine.resize((100, 100), Image.Resampling.BOX))[..., 3:]
    white = 255 - (245 * (alpha / 255.0))
    data = png(Image.fromarray(np.concatenate([white.repeat(3, 2), alpha], axis=2).astype(np.uint8), "RGBA"))
    cutout = decode_cutout(data, "object")
    from synth.occluders.cutouts import paste_cutout

    drawn, colour = paste_cutout(cutout, (60.0, 60.0), (90.0, 90.0), 10.0, (0, 0, 120, 120))
    assert colour[(drawn > 0.1)].max() < 0.02


def test_an_occluder_partly_or_wholly_outside_the_picture_is_no_error(astronaut):
    for x in (-300.0, -5.0, 510.0, 5000.0):
        shape = Occluder("walk", (x, 100.0), (80.0, 90.0), seed=3)
        dressing = occlude(astronaut.rgb, mesh_of(astronaut.face), shape, Effects())
        out = composite(astronaut.rgb, dressing)
        assert np.array_equal(out, astronaut.rgb) == (abs(x - 256) > 400), x


def test_the_share_of_faces_that_get_one_is_the_probability(astronaut):
    settings = OccluderSettings(probability=0.3, kinds={"ellipse": 1})
    face = mesh_of(astronaut.face)
    drawn = [draw_occluder(np.random.default_rng(s), face, settings) for s in range(400)]
    assert 0.23 < np.mean([occluder is not None for occluder in drawn]) < 0.37


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kinds": {"polygn": 1}}, "unknown polygn"),
        ({"kinds": {"polygon": 0}}, "not all 0"),
        ({"kinds": {"polygon": -1}}, "not all 0"),
        ({"kinds": {"hand": 1}}, "hand need a folder"),
        ({"shape_share": [0.5, 0.1]}, "smaller first"),
        ({"block_share": [0, 2]}, "smaller first"),
        ({"probability": 1.5}, "probability"),
        ({"propability": 0.5}, "did you mean probability"),
    ],
)
def test_wrong_settings_are_named(values, said):
    with pytest.raises(ConfigError, match=said):
        parse_settings(OccluderSettings, values, "build.yaml")


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"kind": "blob"},
        {**occluder_to_json(Occluder("blob", (1, 2), (3, 4))), "kind": "spoon"},
        {**occluder_to_json(Occluder("blob", (1, 2), (3, 4))), "size_px": ["a", 1]},
        {**occluder_to_json(Occluder("blob", (1, 2), (3, 4))), "extra": 1},
    ],
)
def test_a_stored_occluder_that_is_none_is_refused(broken):
    with pytest.raises(DataError, match="occluder"):
        occluder_from_json(broken)


def test_every_kind_draws_on_real_photos_cut_outs(shared_data, astronaut):
    library = OccluderLibrary(shared_data / "occluders")
    assert len(library) > 120
    assert {row.reason for row in library.skipped} <= {Reason.POSE, Reason.UNKNOWN_LABEL}
    face = mesh_of(astronaut.face)
    for kind in KINDS:
        settings = OccluderSettings(
            probability=1, kinds={kind: 1}, folder=library.folder, block_share=(0.2, 0.5)
        )
        occluder = draw_occluder(np.random.default_rng(8), face, settings, library)
        dressing = occlude(astronaut.rgb, face, occluder, Effects(), library)
        assert occluder.kind == kind
        assert (dressing.mask.alpha > 0.5).sum() > 100


def test_importing_the_settings_loads_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys, synth.occluders.occluder; print({'cv2', 'torch', 'scipy', 'skimage'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
