from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from dataset_tools.core.errors import ConfigError, DataError, ImageFault, ItemFault
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


def png(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def spectacles() -> Image.Image:
    # Two clear lenses in a frame 120 px wide, centres at (38, 30) and (92, 30) of a 140 x 70 picture.
    picture = Image.new("RGBA", (140, 70), (255, 255, 255, 0))
    pen = ImageDraw.Draw(picture)
    for x in (38, 92):
        pen.ellipse((x - 24, 30 - 18, x + 24, 30 + 18), outline=(20, 20, 25, 255), width=4)
    pen.line((60, 28, 70, 28), fill=(20, 20, 25, 255), width=4)
    return picture


def cup() -> Image.Image:
    picture = Image.new("RGBA", (90, 110), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rounded_rectangle((10, 10, 75, 100), 15, fill=(200, 40, 30, 255))
    return picture


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cutouts")
    for name, data in (
        ("eyeglasses/a", spectacles()),
        ("hand/h", cup()),
        ("cup", cup().rotate(90, expand=True)),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.png").write_bytes(png(data))
    scarf = Image.new("RGBA", (120, 100), (0, 0, 0, 0))
    ImageDraw.Draw(scarf).ellipse((2, 2, 117, 97), fill=(30, 60, 160, 255))
    (folder / "scarf").mkdir()
    (folder / "scarf" / "s.png").write_bytes(png(scarf))
    return OccluderLibrary(folder)


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


def test_lens_centres_are_found_in_the_cut_out():
    glasses = decode_cutout(png(spectacles()), "eyeglasses")
    # Cropped to the frame, which begins at x = 14, y = 12.
    assert glasses.lenses_xy[0] == pytest.approx((24.5, 18.5), abs=1.5)
    assert glasses.lenses_xy[1] == pytest.approx((78.5, 18.5), abs=1.5)


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


def test_a_black_frame_leaves_no_light_rim_on_a_white_background(astronaut):
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


def huge_png() -> bytes:
    # A header that claims 60000 x 60000 RGBA pixels.
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


HOSTILE = {
    "text": (b"this is no picture", Reason.NOT_AN_IMAGE),
    "empty": (b"", Reason.NOT_AN_IMAGE),
    "cut": (png(cup())[:-30], Reason.TRUNCATED),
    "torn": (png(cup())[:200] + b"\x00" * 200 + png(cup())[-12:], Reason.CORRUPT),
    "rgb": (png(cup().convert("RGB")), Reason.FORMAT_NOT_ALLOWED),
    "grey16": (png(Image.new("I;16", (40, 40))), Reason.FORMAT_NOT_ALLOWED),
    "palette": (png(cup().convert("RGB").convert("P")), Reason.FORMAT_NOT_ALLOWED),
    "clear": (png(Image.new("RGBA", (50, 50), (255, 0, 0, 0))), Reason.NO_AREA),
    "opaque": (png(Image.new("RGBA", (50, 50), (255, 0, 0, 255))), Reason.FORMAT_NOT_ALLOWED),
    "speck": (png(Image.new("RGBA", (5, 5), (255, 0, 0, 99))), Reason.TOO_SMALL),
    "huge": (huge_png(), Reason.TOO_MANY_PIXELS),
    "fat": (png(cup()) + b"\x00" * (17 << 20), Reason.TOO_MANY_BYTES),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_file_is_refused_in_one_line(name):
    data, reason = HOSTILE[name]
    with pytest.raises(ImageFault) as caught:
        decode_cutout(data, "object")
    assert caught.value.reason is reason
    assert "\n" not in str(caught.value)


def test_a_folder_of_hostile_files_lists_each_with_its_reason(tmp_path):
    for name, (data, _) in HOSTILE.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    (tmp_path / "good.png").write_bytes(png(cup()))
    (tmp_path / "notes.txt").write_text("not looked at")
    (tmp_path / "face_masks").mkdir()
    (tmp_path / "face_masks" / "m.png").write_bytes(png(cup()))
    library = OccluderLibrary(tmp_path)
    assert len(library) == 1 and library.of_kind("object")
    said = {row.path: row.reason for row in library.skipped}
    expected = {f"{name}.png": reason for name, (_, reason) in HOSTILE.items()}
    assert said == {**expected, "face_masks/m.png": Reason.UNKNOWN_LABEL}


def rgba16_png() -> bytes:
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    pixels = np.zeros((30, 20, 4), ">u2")
    pixels[5:25, 4:16] = (0x8000, 0x4000, 0xFFFF, 0xFFFF)
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 20, 30, 16, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_16_bit_and_transparent_palette_pictures_are_read():
    deep = decode_cutout(rgba16_png(), "object")
    assert deep.size_hw == (20, 12)
    assert deep.rgba[0, 0].tolist() == [0x80, 0x40, 0xFF, 0xFF]
    flat = Image.new("P", (40, 40), 0)
    flat.putpalette([255, 255, 255, 200, 30, 20] + [0] * 762)
    flat.paste(1, (10, 8, 30, 36))
    keyed = decode_cutout(png(flat, transparency=0), "object")
    assert keyed.size_hw == (28, 20)
    assert (keyed.rgba == (200, 30, 20, 255)).all()


def test_a_large_cut_out_is_kept_small():
    big = Image.new("RGBA", (3000, 2000), (0, 0, 0, 0))
    ImageDraw.Draw(big).rectangle((100, 100, 2800, 1900), fill=(1, 200, 3, 255))
    assert max(decode_cutout(png(big), "object").size_hw) <= 1024


def test_spectacles_seen_from_the_side_are_refused():
    sideways = spectacles()
    ImageDraw.Draw(sideways).rectangle((100, 0, 139, 69), fill=(0, 0, 0, 255))
    with pytest.raises(ImageFault, match="not seen from the front"):
        decode_cutout(png(sideways), "sunglasses")


def test_a_cut_out_that_is_gone_or_changed_is_named(tmp_path, astronaut):
    (tmp_path / "a.png").write_bytes(png(cup()))
    library = OccluderLibrary(tmp_path)
    name = library.of_kind("object")[0]
    hand = Occluder("object", (100.0, 100.0), (50.0, 60.0), cutout=name)
    with pytest.raises(DataError, match="needs the folder"):
        occlude(astronaut.rgb, None, hand, Effects())
    with pytest.raises(DataError, match="is not in"):
        library.read("0" * 64)
    (tmp_path / "a.png").write_bytes(png(cup().rotate(5)))
    with pytest.raises(DataError, match="no longer has the bytes"):
        library.read(name)
    with pytest.raises(ConfigError, match="does not exist"):
        OccluderLibrary(tmp_path / "nowhere")


def test_the_digest_follows_content_and_kind_not_names(tmp_path):
    for place in ("one/hand/x.png", "two/hand/y.png", "three/scarf/x.png"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes(png(cup()))
    one, two, three = (OccluderLibrary(tmp_path / name).digest for name in ("one", "two", "three"))
    assert one == two != three


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
