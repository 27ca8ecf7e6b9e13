from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.images import DecodedPhoto, encode_png
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Face, Provenance, Sample, sample_id
from dataset_tools.core.settings import parse_settings
from dataset_tools.core.stage import LocalExecutor, run_stage, shards_of_items
from dataset_tools.core.workspace import Workspace
from synth.assets import DESIGNS
from synth.dress import replay
from synth.replays import replay_child, replays
from synth.resources import NOTHING
from synth.settings import SynthSettings
from synth.stage import SynthStage


def store(workspace: Workspace, rgb: np.ndarray, key: str, *faces: Face, labelled: bool = False) -> Sample:
    image = workspace.images.put_photo(DecodedPhoto(rgb, None))
    origin = Provenance("photos", key, "CC-BY-4.0", url=f"https://example.org/{key}", author="A. Author")
    return Sample(sample_id(image), image, origin, f"group-{key}", faces=faces, is_labelled=labelled)


def build(
    workspace: Workspace,
    samples: list[Sample],
    name: str = "a",
    *,
    workers: int = 1,
    size: int = 64,
    **values,
) -> Manifest:
    # Not "auto": what the cache of this machine holds must not decide what is drawn here.
    stage = SynthStage(SynthSettings(**{"front": "skin-edges@1", **values}), seed=11)
    directory = workspace.root / "manifests" / name
    run_stage(
        stage,
        shards_of_items(samples, size),
        directory,
        key="k",
        parent_key="p",
        images=workspace.images,
        executor=LocalExecutor(workers),
    )
    return Manifest(directory)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture(scope="module")
def small(hopper, astronaut):
    return {"hopper": hopper.shrunk(0.5), "astronaut": astronaut}


@pytest.fixture
def spectacles_folder(tmp_path: Path) -> Path:
    picture = Image.new("RGBA", (140, 70), (255, 255, 255, 0))
    for x in (38, 92):
        ImageDraw.Draw(picture).ellipse((x - 24, 12, x + 24, 48), outline=(20, 20, 25, 255), width=4)
    (tmp_path / "cutouts" / "eyeglasses").mkdir(parents=True)
    picture.save(tmp_path / "cutouts" / "eyeglasses" / "a.png")
    return tmp_path / "cutouts"


def children(manifest: Manifest) -> list[Sample]:
    return [sample for sample in manifest.samples() if sample.is_synthetic]


def test_every_photo_stays_and_every_face_gets_its_children(workspace, small):
    samples = [store(workspace, item.rgb, name, item.face) for name, item in small.items()]
    manifest = build(workspace, samples, per_face=2)
    counts = manifest.counts
    assert (counts.inputs, counts.kept, counts.derived, counts.rejected) == (2, 2, 4, 0)
    assert counts.derived_rejected == 0
    kept = [sample for sample in manifest.samples() if not sample.is_synthetic]
    assert sorted(sample.id for sample in kept) == sorted(sample.id for sample in samples)
    made = children(manifest)
    assert len({sample.id for sample in made} | {sample.id for sample in kept}) == 6
    keys = {sample.provenance.item_key for sample in made}
    assert keys == {f"{name}#synth{k}" for name in small for k in (0, 1)}


def test_a_child_carries_labels_lineage_and_licence(workspace, small):
    item = small["hopper"]
    parent = store(workspace, item.rgb, "hopper", item.face)
    surgical = {"mask_types": {"surgical": 1.0}, "wearing_states": {"correct": 1.0}}
    child = children(build(workspace, [parent], **surgical))[0]
    origin = child.provenance
    assert (origin.source, origin.parent_id, origin.licence) == ("synth", parent.id, "CC-BY-4.0")
    assert (origin.author, origin.url) == ("A. Author", parent.provenance.url)
    assert child.group == parent.group
    assert child.is_labelled
    assert child.image.format == "png"
    by_label = {instance.label: instance for instance in child.instances}
    assert {Label.FACE_MASK, Label.FACE} <= set(by_label)
    mask = by_label[Label.FACE_MASK]
    assert mask.drawn_by.startswith("synth:")
    assert mask.attribute("wearing_state") == "correct"
    assert mask.attribute("mask_type") == "surgical"
    assert 0 < float(mask.attribute("skin_ita_deg")) < 60
    assert set(json.loads(dict(origin.evidence)["light_0"])) >= {"direction", "ambient", "exposure", "tint"}
    assert not any(instance.is_proposal for instance in child.instances)
    soft = workspace.images.read_layer(mask.soft)
    assert soft.dtype == np.uint16
    assert np.array_equal(soft >= 32768, rle_to_mask(mask.mask))
    assert child.faces[0].wearing is Wearing.MASKED
    assert child.faces[0].landmarks_xyz == parent.faces[0].landmarks_xyz


def test_a_stored_recipe_replays_to_the_stored_bytes(workspace, small):
    item = small["astronaut"]
    parent = store(workspace, item.rgb, "astronaut", item.face)
    manifest = build(workspace, [parent])
    child = children(manifest)[0]
    bare = next(sample for sample in manifest.samples() if not sample.is_synthetic)
    again = replay(child.provenance.recipe, workspace.images.read(bare.image), bare.faces)
    assert encode_png(again.image) == workspace.images.read_bytes(child.image)
    recipe = json.loads(child.provenance.recipe)
    assert recipe["seed"] == child.provenance.seed
    assert recipe["faces"][0]["garment"]["design"].partition("@")[0] in DESIGNS


def test_order_shards_and_workers_change_nothing(workspace, small):
    samples = [store(workspace, item.rgb, name, item.face) for name, item in small.items()]
    digests = {
        build(workspace, samples, "one").canonical_digest(),
        build(workspace, samples[::-1], "two", size=1).canonical_digest(),
        build(workspace, samples, "three", size=1, workers=2).canonical_digest(),
    }
    assert len(digests) == 1


def test_another_seed_draws_other_masks(workspace, small):
    item = small["hopper"]
    sample = store(workspace, item.rgb, "x", item.face)
    first, second = (SynthStage(SynthSettings(), seed) for seed in (1, 2))
    assert first.config != second.config
    from dataset_tools.core.progress import silent

    with silent("", None) as quiet:
        ids = {
            list(stage.run([sample], plan=None, images=workspace.images, progress=quiet))[1].id
            for stage in (first, first, second)
        }
    assert len(ids) == 2


def test_labelled_photos_and_photos_with_real_masks_get_no_children(workspace, small):
    item = small["hopper"]
    masked = replace(item.face, wearing=Wearing.MASKED)
    samples = [
        store(workspace, item.rgb, "done", item.face, labelled=True),
        store(workspace, item.rgb[:-1], "masked", masked),
        store(workspace, item.rgb[:-2], "nobody"),
    ]
    manifest = build(workspace, samples)
    assert children(manifest) == []
    assert manifest.counts.kept == 3
    rows = {row.item_key: row for row in manifest.rejections()}
    assert {key: row.reason for key, row in rows.items()} == {
        "masked#synth0": Reason.ALREADY_MASKED,
        "nobody#synth0": Reason.NO_LANDMARKS,
    }
    assert all(row.derived for row in rows.values())


def test_undressable_faces_leave_rows_and_never_a_silent_copy(workspace, small, make_face):
    item = small["hopper"]
    height = item.rgb.shape[0]
    no_landmarks = Face((0, 0, 50, 50), 0.9, Wearing.UNMASKED, "x@1")
    below = make_face(np.add(item.points, (0.0, 0.68 * height, 0.0)))
    tiny = make_face((item.points - item.points[4]) * 0.2 + (40, 40, 0))
    samples = [
        store(workspace, item.rgb, "blind", no_landmarks),
        store(workspace, item.rgb[:-1], "low", below),
        store(workspace, item.rgb[:-2], "mixed", item.face, tiny, no_landmarks),
    ]
    manifest = build(workspace, samples, per_face=2)
    rows = {row.item_key: row.reason for row in manifest.rejections()}
    assert rows == {
        **{f"blind#synth{k}": Reason.NO_LANDMARKS for k in (0, 1)},
        **{f"low#synth{k}": Reason.MASK_OFF_IMAGE for k in (0, 1)},
        **{f"mixed#synth{k}/face1": Reason.FACE_TOO_SMALL for k in (0, 1)},
        **{f"mixed#synth{k}/face2": Reason.NO_LANDMARKS for k in (0, 1)},
    }
    counts = manifest.counts
    assert (counts.inputs, counts.kept, counts.derived, counts.derived_rejected) == (3, 3, 2, 8)
    originals = {sample.id for sample in samples}
    assert not originals & {child.id for child in children(manifest)}


def test_layers_are_stored_on_request(workspace, small):
    item = small["hopper"]
    parent = store(workspace, item.rgb, "x", item.face)
    layers = ("alpha", "shadow", "clean", "amodal")
    options = {"layers": layers, "wearing_states": {"correct": 1.0}, "mask_types": {"surgical": 1.0}}
    child = children(build(workspace, [parent], **options))[0]
    layers = {layer.name: layer.image for layer in child.layers}
    assert set(layers) == {"alpha", "shadow", "clean", "amodal"}
    assert layers["clean"] == parent.image
    assert workspace.images.read_layer(layers["shadow"]).max() > 0
    composite, clean = workspace.images.read(child.image), workspace.images.read(layers["clean"])
    mask = next(part for part in child.instances if part.label is Label.FACE_MASK)
    strap = [part for part in child.instances if part.label is Label.STRAP]
    touched = workspace.images.read_layer(layers["alpha"]) > 0
    touched |= workspace.images.read_layer(layers["shadow"]) > 0
    for part in strap:
        touched |= workspace.images.read_layer(part.soft) > 0
    assert np.array_equal(
        workspace.images.read_layer(layers["alpha"]), workspace.images.read_layer(mask.soft)
    )
    if strap:
        assert np.array_equal(composite[~touched], clean[~touched])


def test_geometry_layers_show_the_nearest_surface(workspace, small):
    item = small["hopper"]
    parent = store(workspace, item.rgb, "x", item.face)
    names = ("depth", "normals", "uv", "hard", "skin", "strap", "occluder")
    child = children(
        build(workspace, [parent], layers=names, mask_types={"n95": 1.0}, wearing_states={"correct": 1.0})
    )[0]
    layer = {entry.name: workspace.images.read_layer(entry.image) for entry in child.layers}
    assert set(layer) == set(names)
    solid = rle_to_mask(next(part for part in child.instances if part.label is Label.FACE_MASK).mask)
    assert np.array_equal(layer["hard"] == 255, solid)
    on_cloth = layer["uv"][..., 2] == 255
    assert (on_cloth & solid).sum() / solid.sum() > 0.97
    # Cloth lies before the chin; a normal of the lit side has length 1 and looks at the camera.
    nose, cheek = item.points[4, :2].astype(int), item.points[234, :2].astype(int)
    assert 0 < layer["depth"][nose[1], nose[0]] < layer["depth"][cheek[1], cheek[0] + 4]
    length = np.linalg.norm(layer["normals"][solid].astype(float) / 127.5 - 1, axis=1)
    assert np.abs(length - 1).max() < 0.03
    assert (layer["normals"][solid][:, 2] < 128).mean() > 0.95
    across = layer["uv"][..., 0].astype(int)
    row = np.flatnonzero(on_cloth[int(item.points[13, 1])])
    assert (np.diff(across[int(item.points[13, 1]), row]) >= 0).all()


def test_an_occluder_is_labelled_and_takes_from_the_mask_what_it_covers(workspace, small):
    item = small["hopper"]
    parent = store(workspace, item.rgb, "x", item.face)
    plain, held = (
        children(build(workspace, [parent], name, occluders=options))[0]
        for name, options in (
            ("plain", {}),
            ("held", {"probability": 1.0, "kinds": {"ellipse": 1.0}, "shape_share": [0.1, 0.3]}),
        )
    )
    before, after = (
        {part.label: rle_to_mask(part.mask) for part in child.instances} for child in (plain, held)
    )
    occluder = after[Label.OCCLUDER]
    assert Label.OCCLUDER not in before
    soft = workspace.images.read_layer(
        next(part.soft for part in held.instances if part.label is Label.OCCLUDER)
    )
    sure = (soft == 0) | (soft == 65535)  # where both edges are soft, neither may reach one half
    for label in (Label.FACE_MASK, Label.FACE):
        assert np.array_equal(after[label][sure], (before[label] & ~occluder)[sure])
    pictures = [workspace.images.read(child.image) for child in (plain, held)]
    far = np.ones_like(occluder)
    rows, columns = np.flatnonzero(occluder.any(axis=1)), np.flatnonzero(occluder.any(axis=0))
    far[max(rows[0] - 8, 0) : rows[-1] + 8, max(columns[0] - 8, 0) : columns[-1] + 8] = False
    assert np.array_equal(pictures[0][far], pictures[1][far])


def test_an_occluder_that_does_not_fit_costs_only_itself(
    workspace, mean_points, make_face, spectacles_folder
):
    yaw = np.radians(55)  # spectacles are worn up to 40 degrees, masks up to 75
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    middle = np.array([200.0, 160.0, 0.0])
    face = make_face((mean_points - middle) @ turn.T + middle)
    parent = store(workspace, np.full((420, 400, 3), 150, np.uint8), "x", face)
    options = {"probability": 1.0, "kinds": {"eyeglasses": 1.0}, "folder": spectacles_folder}
    manifest = build(workspace, [parent], occluders=options)
    (child,) = children(manifest)
    assert {part.label for part in child.instances} >= {Label.FACE_MASK}
    assert [row.item_key for row in manifest.rejections()] == ["x#synth0/face0/occluder"]
    assert (manifest.counts.derived, manifest.counts.derived_rejected) == (1, 1)


def test_the_flat_method_is_replayed_as_such(workspace, small):
    item = small["astronaut"]
    parent = store(workspace, item.rgb, "x", item.face)
    manifest = build(workspace, [parent], method="halves")
    child = children(manifest)[0]
    assert json.loads(child.provenance.recipe)["method"] == "halves"
    assert [found.problem for found in replays(manifest, workspace.images, NOTHING)] == [""]


def test_a_changed_child_or_a_lost_photo_is_told_by_replaying(workspace, small):
    item = small["hopper"]
    parent = store(workspace, item.rgb, "x", item.face)
    child = children(build(workspace, [parent]))[0]
    other = replace(child, image=parent.image)
    assert replay_child(other, parent, workspace.images, NOTHING).problem == "the picture differs"
    assert "not in the manifest" in replay_child(child, None, workspace.images, NOTHING).problem
    text = child.provenance.recipe.replace("maskset-overlay@", "maskset-overlay@0")
    foreign = replace(child, provenance=replace(child.provenance, recipe=text))
    assert "recipe is for renderer" in replay_child(foreign, parent, workspace.images, NOTHING).problem


def test_nose_out_is_labelled_as_worn_wrongly(workspace, small):
    item = small["hopper"]
    parent = store(workspace, item.rgb, "x", item.face)
    manifest = build(workspace, [parent], wearing_states={"nose_out": 1.0}, mask_types={"surgical": 1.0})
    child = children(manifest)[0]
    mask = next(part for part in child.instances if part.label is Label.FACE_MASK)
    assert (mask.attribute("wearing_state"), mask.attribute("mask_type")) == ("nose_out", "surgical")
    assert child.faces[0].wearing is Wearing.INCORRECT
    solid = rle_to_mask(mask.mask)
    tip, lip = item.points[4].astype(int), item.points[17].astype(int)
    assert not solid[tip[1], tip[0]]
    assert solid[lip[1], lip[0]]


def test_a_missing_picture_costs_the_children_not_the_photo(workspace, small):
    item = small["hopper"]
    parent = store(workspace, item.rgb, "x", item.face)
    workspace.images.path(parent.image).unlink()
    manifest = build(workspace, [parent])
    assert manifest.counts.kept == 1
    assert [row.reason for row in manifest.rejections()] == [Reason.MISSING_IMAGE]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mask_types": {"surgicel": 1.0}}, "unknown surgicel; known: surgical, cloth"),
        ({"mask_types": {"cloth": 0.0}}, "not all 0"),
        ({"wearing_states": {"backwards": 1.0}}, "unknown backwards"),
        ({"per_faces": 2}, "per_face"),
        ({"layers": ["dept"]}, "layers"),
        ({"front": "guess"}, "unknown guess; known: auto, "),
        (
            {"mask_types": {"n95": 1.0}, "wearing_states": {"hanging": 1.0}},
            "n95 cannot be worn in any of the wearing_states",
        ),
        ({"method": "halves", "wearing_states": {"hanging": 1.0}}, "with method halves"),
        ({"occluders": {"kinds": {"scarf": 1.0}}}, "need a folder of cut-outs"),
    ],
)
def test_wrong_settings_are_named_in_one_line(values, words):
    with pytest.raises(ConfigError) as caught:
        parse_settings(SynthSettings, values, "config.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_real_photos_are_dressed_without_a_fault(shared_data, workspace, landmark_sets):
    # Landmarks of another head on a real photo: odd, but nothing may fail.
    from dataset_tools.core.images import decode_photo
    from synth.dress import dress_photo
    from synth.recipe import recipe_from_json

    photos = sorted((shared_data / "faces" / "without_mask").glob("*.jpg"))[:3]
    for path in photos:
        rgb = decode_photo(path.read_bytes()).rgb
        points = landmark_sets["astronaut"] * (min(rgb.shape[:2]) / 512)
        face = Face((0, 0, 1, 1), 0.9, Wearing.UNKNOWN, "x@1", tuple((np.rint(points * 64) / 64).ravel()))
        parent = store(workspace, rgb, path.name, face)
        child = children(build(workspace, [parent], path.name, min_face_px=20))[0]
        drawn = dress_photo(rgb, [face], recipe_from_json(child.provenance.recipe))
        assert np.array_equal(drawn.image, workspace.images.read(child.image))


def test_a_bare_child_wears_no_mask_behind_something_and_its_labels_are_exact(workspace, small):
    samples = [store(workspace, item.rgb, name, item.face) for name, item in small.items()]
    made = children(build(workspace, samples, per_face=2, bare=1.0))
    assert len(made) == 4
    for child in made:
        labels = {item.label for item in child.instances}
        assert labels == {Label.FACE, Label.OCCLUDER}
        parent = next(one for one in samples if one.id == child.provenance.parent_id)
        assert [face.wearing for face in child.faces] == [face.wearing for face in parent.faces]
        parts = {item.label: rle_to_mask(item.mask) for item in child.instances}
        assert not (parts[Label.FACE] & parts[Label.OCCLUDER]).any()
        changed = (workspace.images.read(child.image) != workspace.images.read(parent.image)).any(axis=2)
        assert (changed & parts[Label.OCCLUDER]).sum() > 0.9 * parts[Label.OCCLUDER].sum()
        drawn = replay(child.provenance.recipe, workspace.images.read(parent.image), parent.faces)
        assert drawn.image.tobytes() == workspace.images.read(child.image).tobytes()


def test_the_share_of_bare_children_is_that_of_the_settings(workspace, small):
    samples = [store(workspace, small["hopper"].rgb, "hopper", small["hopper"].face)]
    made = children(build(workspace, samples, per_face=24, bare=0.5))
    bare = sum(Label.FACE_MASK not in {item.label for item in child.instances} for child in made)
    assert 6 <= bare <= 18  # 24 draws at one half: outside with a chance of 0.7 %
