"""A small labelled dataset from public-domain and free pictures of installed packages, for tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_tools.core.images import DecodedPhoto, ImageStore, perceptual_hash
from dataset_tools.core.labels import Label, Wearing
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import (
    Face,
    Instance,
    Provenance,
    Rejection,
    Review,
    ReviewState,
    Sample,
    sample_id,
    sorted_pairs,
)
from dataset_tools.core.stage import run_stage, shards_of_manifest
from dataset_tools.core.workspace import Workspace, stage_key
from dataset_tools.split import SplitSettings, SplitStage


def picture(name: str) -> np.ndarray:
    """(H, W, 3) uint8 of a picture in scikit-image's own data folder."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / name) as opened:
        return np.asarray(opened.convert("RGB"))


def disc(size_hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.indices(size_hw)
    return (columns - centre_xy[0]) ** 2 + (rows - centre_xy[1]) ** 2 <= radius**2


def mask_with_hole_and_two_parts(size_hw: tuple[int, int]) -> np.ndarray:
    """A ring, and a bar that touches two borders of the picture: hole, two parts, edges."""
    height, width = size_hw
    mask = disc(size_hw, (width * 0.45, height * 0.4), height * 0.2)
    mask &= ~disc(size_hw, (width * 0.45, height * 0.4), height * 0.07)
    mask[-5:, -9:] = True
    return mask


def instance(
    name: str,
    label: Label,
    mask: np.ndarray,
    *,
    drawn_by: str = "human:test",
    face: int = 0,
    **attributes: str,
) -> Instance:
    return Instance(
        id=name,
        label=label,
        mask=mask_to_rle(mask),
        drawn_by=drawn_by,
        confidence=0.75 if drawn_by.startswith("model:") else None,
        face=face,
        attributes=sorted_pairs(attributes),
    )


def make_samples(store: ImageStore) -> list[Sample]:
    """Seven samples in four groups: labelled photos, a rendered child, a negative, one unlabelled."""
    astronaut = picture("astronaut.png")[20:180, 140:300]
    size = astronaut.shape[:2]
    face = Face((50.0, 30.0, 120.0, 110.0), 0.98, Wearing.MASKED, "test@1", pose_deg=(20.0, 2.0, 1.0))
    lower = disc(size, (85, 90), 28)
    upper = disc(size, (85, 60), 30) & ~lower
    strap = np.zeros(size, dtype=bool)
    strap[80:83, 112:130] = True
    photo = _sample(
        store, astronaut, "astronaut", "nasa", "CC0-1.0", faces=(face,), is_labelled=True,
        review=Review(ReviewState.CORRECTED, ("test",)),
        instances=(
            instance("mask", Label.FACE_MASK, lower, mask_type="cloth", wearing_state="correct"),
            instance("face", Label.FACE, upper),
        ),
    )  # fmt: skip
    child_rgb = astronaut.copy()
    child_rgb[lower] = (90, 140, 200)
    child = _sample(
        store, child_rgb, "astronaut#synth0", "synth", "CC0-1.0", faces=(face,), is_labelled=True,
        group="astronaut", parent_id=photo.id, recipe="{}", seed=7,
        instances=(
            instance("m", Label.FACE_MASK, lower, drawn_by="synth:surgical", mask_type="surgical"),
            instance("f", Label.FACE, upper | lower, drawn_by="synth:surgical"),
            instance("s", Label.STRAP, strap, drawn_by="synth:surgical"),
        ),
    )  # fmt: skip
    cat = picture("chelsea.png")[:140, 100:300]
    holes = mask_with_hole_and_two_parts(cat.shape[:2])
    two = _sample(
        store, cat, "=cat <b>&", "cats & more", "CC-BY-4.0", author='@evil,"quoted"', is_labelled=True,
        url="https://example.org/cat?a=1&b=<2>",
        instances=(
            instance("ring", Label.FACE_MASK, holes, drawn_by="published:cats", face=-1, mask_type="n95"),
            instance("other", Label.FACE_MASK, disc(cat.shape[:2], (160, 30), 17), face=-1),
        ),
    )  # fmt: skip
    coffee = picture("coffee.png")[:150, :170]
    negative = _sample(store, coffee, "coffee", "cups", "CC0-1.0", is_labelled=True)
    proposal = _sample(
        store, coffee[:, ::-1], "coffee-mirrored", "cups", "CC0-1.0", group="coffee",
        instances=(instance("p", Label.FACE_MASK, disc((150, 170), (60, 60), 25), drawn_by="model:unet@1"),),
    )  # fmt: skip
    grey = picture("coins.png")[:128, :128]
    coins = _sample(
        store, grey, "coins", "coins", "CC0-1.0", is_labelled=True,
        instances=(instance("all", Label.FACE_MASK, np.ones((128, 128), bool), face=-1),),
    )  # fmt: skip
    return [photo, child, two, negative, proposal, coins]


def _sample(
    store: ImageStore, rgb: np.ndarray, key: str, source: str, licence: str, **more: object
) -> Sample:
    image = store.put_photo(DecodedPhoto(np.ascontiguousarray(rgb), None))
    names = {field.name for field in dataclasses.fields(Provenance)}
    origin = {name: more.pop(name) for name in list(more) if name in names}
    values: dict[str, object] = {"group": key, "phash": perceptual_hash(rgb), **more}
    return Sample(
        id=sample_id(image),
        image=image,
        provenance=Provenance(source=source, item_key=key, licence=licence, **origin),  # type: ignore[arg-type]
        **values,  # type: ignore[arg-type]
    )


REJECTIONS = [
    Rejection("crawl", "https://example.org/<script>alert(1)</script>", Reason.HTTP_4XX, "answered 404"),
    Rejection("crawl", "broken.jpg", Reason.TRUNCATED, "JPEG: ends\x1b[31m early", source="nasa"),
]


def write_crawl(workspace: Workspace, samples: list[Sample]) -> Manifest:
    """A complete crawl manifest with these samples and two rejections."""
    key = stage_key("crawl", "1", {"samples": [sample.id for sample in samples]}, "")
    directory = workspace.manifest_dir("crawl", key)
    keys = [sample.provenance.item_key for sample in samples] + [item.item_key for item in REJECTIONS]
    counts = write_shard(directory, 0, keys, samples, REJECTIONS)
    return write_header(
        directory,
        {
            "stage": "crawl",
            "stage_version": "1",
            "config": {},
            "key": key,
            "parent": "",
            "shards": 1,
            "counts": dataclasses.asdict(counts),
        },
    )


def write_split(workspace: Workspace, parent: Manifest, seed: int = 0) -> Manifest:
    """The manifest of the split stage over another one."""
    stage = SplitStage(SplitSettings(), seed)
    key = stage_key(stage.name, stage.version, stage.config, parent.key)
    run_stage(
        stage,
        shards_of_manifest(parent),
        workspace.manifest_dir(stage.name, key),
        key=key,
        parent_key=parent.key,
        images=workspace.images,
        parent=parent,
    )
    return workspace.manifest(stage.name, key)


def build_chain(root: Path) -> tuple[Workspace, dict[str, Manifest]]:
    """A workspace with the manifests "crawl" and "split" over `make_samples`."""
    workspace = Workspace(root)
    crawl = write_crawl(workspace, make_samples(workspace.images))
    return workspace, {"crawl": crawl, "split": write_split(workspace, crawl)}
