"""The page of duplicates shows every cluster, says why its pictures belong together, and runs no script."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.core.face_prints import FacePrint, with_face_prints
from dataset_tools.core.images import decode_photo, encode_png, perceptual_hash
from dataset_tools.core.manifest import Manifest, ShardCounts, write_header, write_shard
from dataset_tools.core.record import Provenance, Sample, sample_id
from dataset_tools.core.workspace import Workspace
from dataset_tools.pairs_page import MOST_PICTURES, Cluster, duplicate_clusters, render_clusters

DISTANCES = {"drop_distance": 4, "group_distance": 6, "face_distance": 4}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def sample(workspace: Workspace, key: str, rgb: np.ndarray, *faces: FacePrint) -> Sample:
    photo = decode_photo(encode_png(np.ascontiguousarray(rgb)))
    image = workspace.images.put_photo(photo)
    origin = Provenance("test", key, "CC0-1.0", evidence=with_face_prints((), faces))
    return Sample(sample_id(image), image, origin, sample_id(image), perceptual_hash(photo.rgb))


def written(workspace: Workspace, samples: list[Sample]) -> Manifest:
    folder = workspace.manifest_dir("detect", "0" * 12)
    write_shard(folder, 0, [one.provenance.item_key for one in samples], samples, [])
    counts = dataclasses.asdict(ShardCounts(inputs=len(samples), kept=len(samples)))
    return write_header(folder, {"key": "k", "stage": "detect", "shards": 1, "counts": counts})


def captions(clusters: list[Cluster]) -> list[list[str]]:
    return [[shown.caption[-1] for shown in cluster.pictures] for cluster in clusters]


def test_every_cluster_says_why(workspace: Workspace, astronaut_rgb: np.ndarray) -> None:
    small = np.asarray(Image.fromarray(astronaut_rgb).resize((300, 300)))
    face, stranger = FacePrint(0x0F0F0F0F0F0F0F0F, 0x3333333333333333), FacePrint(2**63, 1)
    turned = FacePrint(face.mirrored ^ 1, face.seen ^ 0b11)
    samples = [
        sample(workspace, "a.png", astronaut_rgb[:, :200], stranger),
        sample(workspace, "<b>.png", astronaut_rgb),
        sample(workspace, "copy.png", astronaut_rgb),
        sample(workspace, "small.png", small),
        sample(workspace, "x.png", astronaut_rgb[:150, 250:450], face),
        sample(workspace, "y.png", astronaut_rgb[300:, 300:], turned),
    ]
    plan, clusters = duplicate_clusters(written(workspace, samples), workspace.images, **DISTANCES)
    assert set(plan.dropped) == {"copy.png", "small.png"}
    first, second = captions(clusters)
    assert first[0] == "kept; picture 0 of 64 bits from copy.png"
    assert first[1] == "dropped: the same picture as <b>.png"
    assert first[2].startswith("dropped: ") and first[2].endswith(" of 64 bits from <b>.png")
    assert second == [
        "kept; face, mirrored, 2 of 64 bits from y.png",
        "kept; face, mirrored, 1 of 64 bits from x.png",
    ]
    assert clusters[1].heading.startswith("2 pictures, 2 of them kept, in group ")
    page = render_clusters("t", "lead", clusters)
    assert page.count("<img ") == 5
    assert "&lt;b&gt;.png" in page and "<b>" not in page and "<script" not in page
    _, without = duplicate_clusters(
        written(workspace, samples), workspace.images, drop_distance=4, group_distance=6
    )
    assert len(without) == 1


def test_what_is_too_much_is_counted_and_a_lost_picture_is_named(
    workspace: Workspace, astronaut_rgb: np.ndarray
) -> None:
    samples = [sample(workspace, f"{n:02d}.png", astronaut_rgb[:200, :200]) for n in range(MOST_PICTURES + 3)]
    manifest = written(workspace, samples)
    _, clusters = duplicate_clusters(manifest, workspace.images, **DISTANCES)
    workspace.images.path(samples[0].image).unlink()
    page = render_clusters("t", "lead", clusters * 201)
    assert "and 3 more" in page and "1 more are not shown" in page
    assert "is not in the workspace" in page and "<img " not in page
