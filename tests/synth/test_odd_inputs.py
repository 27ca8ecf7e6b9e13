"""R28 and R29: two hundred odd photos; each gets a child or a row with a reason, never a silent copy."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.errors import ItemFault
from dataset_tools.core.images import decode_photo
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.masks import rle_to_mask
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Provenance, Sample, sample_id
from dataset_tools.core.stage import run_stage, shards_of_items
from dataset_tools.core.workspace import Workspace
from synth.settings import SynthSettings
from synth.stage import SynthStage

COUNT = 200
MODES = ("RGB", "L", "LA", "RGBA", "P", "1", "CMYK", "I;16", "rgb16")
# EXIF orientation → what a viewer must do; the file holds the picture with that undone.
UNDO = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def odd_photo(rng: np.random.Generator, portraits: list) -> tuple[Image.Image, list[np.ndarray], str]:
    """A portrait resized, placed on a canvas that may cut or repeat it; its landmarks; the file's mode."""
    portrait = portraits[rng.integers(len(portraits))]
    # Large ones are slow to draw, so there are few.
    side = float(rng.choice([24, 64, 90, 160, 320, 640, 1300], p=[0.06, 0.1, 0.28, 0.34, 0.16, 0.04, 0.02]))
    factor = side / max(portrait.rgb.shape[:2])
    stretched = factor * rng.uniform(0.75, 1.35)
    size = (max(round(portrait.rgb.shape[1] * factor), 2), max(round(portrait.rgb.shape[0] * stretched), 2))
    face = Image.fromarray(portrait.rgb).resize(size, Image.Resampling.BOX)
    scale = (size[0] / portrait.rgb.shape[1], size[1] / portrait.rgb.shape[0], factor)
    canvas_wh = tuple(max(int(length * rng.choice([0.5, 0.8, 1.0, 1.6, 2.5])), 2) for length in size)
    canvas = Image.new("RGB", canvas_wh, tuple(int(v) for v in rng.integers(0, 256, 3)))
    points = []
    for _ in range(int(rng.choice([0, 1, 1, 1, 2, 3]))):
        left, top = (int(rng.integers(-length // 2, length)) for length in size)
        if rng.random() < 0.6:
            left, top = 0, 0
        canvas.paste(face, (left, top))
        points.append(portrait.points * scale + (left, top, 0.0))
    return canvas, points, MODES[rng.integers(len(MODES))]


def encoded(canvas: Image.Image, mode: str, rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    orientation = int(rng.integers(1, 9))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = canvas.transpose(UNDO[orientation]) if UNDO[orientation] is not None else canvas
    if mode == "CMYK":
        turned.convert("CMYK").save(buffer, "JPEG", quality=int(rng.integers(5, 96)), exif=exif)
    elif mode == "I;16":
        deep = np.asarray(turned.convert("L"), dtype=np.uint16) * 257
        Image.fromarray(deep).save(buffer, "PNG", exif=exif)
    elif mode == "rgb16":
        import cv2

        deep = np.asarray(canvas, dtype=np.uint16)[..., ::-1] * 257
        buffer.write(cv2.imencode(".png", deep)[1].tobytes())
    elif mode in ("RGB", "L") and rng.random() < 0.5:
        turned.convert(mode).save(buffer, "JPEG", quality=int(rng.integers(5, 96)), exif=exif)
    else:
        turned.convert(mode).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def odd_build(tmp_path_factory, hopper, astronaut, make_face):
    rng = np.random.default_rng(2026)
    workspace = Workspace(tmp_path_factory.mktemp("odd"))
    samples: list[Sample] = []
    refused: Counter[Reason] = Counter()
    for number in range(COUNT):
        canvas, points, mode = odd_photo(rng, [hopper, astronaut])
        try:
            photo = decode_photo(encoded(canvas, mode, rng))
        except ItemFault as fault:
            refused[fault.reason] += 1
            continue
        assert photo.rgb.shape == (canvas.height, canvas.width, 3)  # upright, three channels
        image = workspace.images.put_photo(photo)
        origin = Provenance("odd", f"odd{number}", "CC0-1.0")
        faces = tuple(make_face(item) for item in points)
        samples.append(Sample(sample_id(image), image, origin, f"odd{number}", faces=faces))
    stage = SynthStage(SynthSettings(min_face_px=24, front="skin-edges@1"), seed=3)
    directory = Path(workspace.root) / "manifests" / "odd"
    run_stage(
        stage, shards_of_items(samples, 50), directory, key="k", parent_key="p", images=workspace.images
    )
    return workspace, samples, refused, Manifest(directory)


def test_every_odd_photo_ends_as_a_child_or_as_rows_with_reasons(odd_build):
    _, samples, refused, manifest = odd_build
    assert len(samples) + sum(refused.values()) == COUNT
    assert set(refused) <= {Reason.TOO_SMALL, Reason.DIMENSIONS}
    assert len(samples) > 120
    rows = list(manifest.rejections())
    assert all(row.derived for row in rows)
    assert Reason.INTERNAL not in {row.reason for row in rows}
    dressed = {row.provenance.item_key for row in manifest.samples() if row.is_synthetic}
    whole = {row.item_key for row in rows if "/face" not in row.item_key}
    assert dressed | whole == {f"{sample.provenance.item_key}#synth0" for sample in samples}
    assert not dressed & whole
    assert len(dressed) > 60


def test_no_odd_child_is_a_silent_copy(odd_build):
    workspace, samples, _, manifest = odd_build
    parents = {sample.id: sample for sample in samples}
    for child in (row for row in manifest.samples() if row.is_synthetic):
        parent = parents[child.provenance.parent_id]
        assert child.image.size_hw == parent.image.size_hw
        before, after = workspace.images.read(parent.image), workspace.images.read(child.image)
        masks = [rle_to_mask(part.mask) for part in child.instances if part.label == "face_mask"]
        assert masks
        changed = (before != after).any(axis=-1)
        assert changed[np.logical_or.reduce(masks)].mean() > 0.5
