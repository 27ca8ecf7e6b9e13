"""A workspace with photos, rendered children, verdicts and other files, for tests of taking down."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_tools.core.files import canonical_json, sha256_hex
from dataset_tools.core.images import ImageStore, perceptual_hash
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Instance, Provenance, Rejection, Sample, sample_id
from dataset_tools.core.stage import run_stage, shards_of_manifest
from dataset_tools.core.workspace import Workspace, stage_key
from dataset_tools.split import SplitSettings, SplitStage

SIDE = 64
PER_SHARD = 64


@dataclass
class Erasable:
    """The workspace and what is in it; `pictures` are stored bytes by sample id."""

    workspace: Workspace
    photos: list[Sample]
    children: list[Sample]
    pictures: dict[str, bytes]
    chain: dict[str, Manifest] = field(default_factory=dict)

    def add_files(self) -> None:
        """Originals, a kept answer, verdicts, a LabelMe lane, models, scores, predictions and pages."""
        root = self.workspace.root
        self._add_fetched(root)
        self._add_scores(root)
        lane = root / "reviews" / "labelme" / "ann"
        lane.mkdir(parents=True)
        lines = [json.dumps({"sample_id": item.id, "note": "fine"}) + "\n" for item in self.photos]
        name = f"verdicts-{sha256_hex(''.join(lines).encode())[:16]}.jsonl"
        (root / "reviews" / name).write_text("".join(lines))
        for number, item in enumerate(self.photos):
            (lane / f"{number:05d}-{item.id}.json").write_text(json.dumps({"shapes": []}))
            (lane / f"{number:05d}-{item.id}.jpg").write_bytes(self.pictures[item.id])
        for model, seen in (("saw-all", self.photos), ("saw-second", self.photos[1:2])):
            (root / "models" / model).mkdir(parents=True)
            (root / "models" / model / "weights.safetensors").write_bytes(b"w")
            rows = [f"{item.id},train,{item.image.sha256}\n" for item in seen]
            (root / "models" / model / "trained_on.csv").write_text("sample_id,split,sha\n" + "".join(rows))
        (root / "predictions").mkdir()
        rows = [f"{item.id},{item.provenance.url}\n" for item in self.photos]
        (root / "predictions" / "index.csv").write_text("sample,url\n" + "".join(rows))
        (root / "predictions" / f"{self.photos[0].id}.png").write_bytes(b"mask")
        page = f'<img src="{self.photos[0].provenance.url}">'.replace("&", "&amp;")
        (root / "pairs.html").write_text(page)

    def _add_fetched(self, root: Path) -> None:
        for item in self.photos:
            self.workspace.images.put_original(item.provenance.url.encode())
        (root / "listings").mkdir()
        answer = {"hits": [_hit(item) for item in self.photos], "cursor": {}, "is_partial": False}
        (root / "listings" / "source-0-0123456789ab.jsonl").write_text(
            canonical_json({"asked": {"page": "1"}, "answer": answer}) + "\n"
        )
        (root / "quarantine" / "objects").mkdir(parents=True)
        (root / "quarantine" / "objects" / f"{self.photos[0].image.sha256}.png").write_bytes(b"damaged")

    def _add_scores(self, root: Path) -> None:
        board = root / "leaderboard"
        (board / "predictions" / "net").mkdir(parents=True)
        rows = [{"sample_id": item.id, "iou": 0.5} for item in self.photos]
        pq.write_table(pa.Table.from_pylist(rows), board / "net.parquet")
        (board / "net.json").write_text('{"table": "net.parquet"}')
        for item in self.photos:
            (board / "predictions" / "net" / f"{item.id}_0.png").write_bytes(b"mask")
        (board / "leaderboard.html").write_text("<img src='data:image/jpeg;base64,/9j/'>")


def build_erasable(root: Path, photos: int, copies_of_first: int = 0, shared_soft: bool = False) -> Erasable:
    """Photos with one rendered child each, through crawl, filter, synth and split.

    Args:
        root: of the workspace.
        photos: how many; the seed of each is its number, and every fifth has the same author and source.
        copies_of_first: further crawled photos that look like the first.
        shared_soft: all children refer to one soft label.
    """
    workspace = Workspace(root)
    store = workspace.images
    made = [_photo(store, number) for number in range(photos)]
    if copies_of_first:
        # Somebody else's picture has joined the group that is named after the first.
        made[1] = dataclasses.replace(made[1], group=made[0].id)
        made += [_copy(store, made[0], number) for number in range(copies_of_first)]
    children = [_child(store, parent, 0 if shared_soft else number) for number, parent in enumerate(made)]
    twin = "https://example.org/twin"
    detail = f"the same picture as {made[0].provenance.item_key}, which is kept"
    dropped = [Rejection("filter", twin, Reason.DUPLICATE, detail)]
    pictures = {item.id: store.read_bytes(item.image) for item in made + children}
    erasable = Erasable(workspace, made, children, pictures)
    crawl = _write(workspace, "crawl", "", [*made], [], [])
    erasable.chain["crawl"] = crawl
    erasable.chain["filter"] = _write(workspace, "filter", crawl.key, made, dropped, [twin])
    synth = _write(workspace, "synth", erasable.chain["filter"].key, made + children, [], [])
    erasable.chain["synth"] = synth
    erasable.chain["split"] = _write_split(workspace, synth)
    return erasable


def _hit(item: Sample) -> dict[str, str]:
    origin = item.provenance
    texts = {"title": f"A title {origin.seed}", "author": origin.author, "page_url": "", "fault": ""}
    return {"id": f"id-{origin.seed}", "url": origin.url, "licence": "CC0-1.0", "licence_url": "", **texts}


def _photo(store: ImageStore, number: int) -> Sample:
    rgb = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    return _sample(store, rgb, number, f"https://example.org/photo?a=1&n={number}")


def _copy(store: ImageStore, first: Sample, number: int) -> Sample:
    rgb = store.read(first.image).copy()
    rgb[0, 0] = number
    sample = _sample(store, rgb, 1000 + number, f"https://mirror.example.org/{number}")
    return dataclasses.replace(sample, phash=first.phash)


def _sample(store: ImageStore, rgb: np.ndarray, number: int, url: str) -> Sample:
    image = store.put_array(rgb)
    identity = sample_id(image)
    return Sample(
        id=identity,
        image=image,
        provenance=Provenance(
            source=f"source-{number % 5}",
            item_key=url,
            url=url,
            licence="CC0-1.0",
            author=f"author {number % 5}",
            content_sha256=sha256_hex(url.encode()),
            seed=number,
            evidence=(("final_url", url),),
        ),
        group=identity,
        phash=perceptual_hash(rgb),
        is_labelled=True,
    )


def _child(store: ImageStore, parent: Sample, soft_seed: int) -> Sample:
    rgb = store.read(parent.image).copy()
    rgb[SIDE // 2 :] = 200
    image = store.put_array(rgb)
    soft = store.put_array(np.full((SIDE, SIDE), soft_seed, dtype=np.uint16))
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[SIDE // 2 :] = True
    return dataclasses.replace(
        parent,
        id=sample_id(image),
        image=image,
        phash=perceptual_hash(rgb),
        provenance=dataclasses.replace(
            parent.provenance,
            source="synth",
            item_key=f"{parent.provenance.item_key}#synth0",
            url="",
            content_sha256="",
            parent_id=parent.id,
            recipe="{}",
            evidence=(),
        ),
        instances=(Instance("m", Label.FACE_MASK, mask_to_rle(mask), "synth:plain", soft=soft),),
    )


def _write_split(workspace: Workspace, parent: Manifest) -> Manifest:
    stage = SplitStage(SplitSettings(), 0)
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


def _write(
    workspace: Workspace,
    stage: str,
    parent: str,
    samples: list[Sample],
    dropped: list[Rejection],
    extra: list[str],
) -> Manifest:
    key = stage_key(stage, "1", {"ids": [item.id for item in samples]}, parent)
    directory = workspace.manifest_dir(stage, key)
    photos = [item for item in samples if not item.is_synthetic]
    starts = range(0, len(photos), PER_SHARD)
    counts = []
    for index, start in enumerate(starts):
        here = photos[start : start + PER_SHARD]
        ids = {item.id for item in here}
        rows = here + [item for item in samples if item.provenance.parent_id in ids]
        lost = dropped if index == 0 else []
        keys = [item.provenance.item_key for item in here] + (extra if index == 0 else [])
        counts.append(write_shard(directory, index, keys, rows, lost))
    total = counts[0]
    for one in counts[1:]:
        total = total + one
    header = {
        "dataset": "toy",
        "stage": stage,
        "stage_version": "1",
        "config": {},
        "key": key,
        "parent": parent,
    }
    return write_header(directory, {**header, "shards": len(counts), "counts": dataclasses.asdict(total)})
