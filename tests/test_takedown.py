"""What is taken down is gone from everywhere, and does not come back."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.files import sha256_hex
from dataset_tools.core.images import perceptual_hash
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.progress import silent
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.stage import run_stage, shards_of_items
from dataset_tools.core.tombstones import FILE_NAME, Tombstone, Tombstones
from dataset_tools.core.workspace import Workspace
from dataset_tools.erasing import JOURNAL
from dataset_tools.export.dataset import export_dataset
from dataset_tools.export.settings import ExportSettings
from dataset_tools.references import manifest_folders
from dataset_tools.stats.page import write_report
from dataset_tools.takedown import Takedown, Wanted, finish, read_hashes, select, take_down

Erasable = Any
Build = Callable[..., Erasable]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the suite catches it."""


def down(workspace: Workspace, wanted: Wanted, step: Callable[[str], None] = lambda name: None) -> Takedown:
    return take_down(workspace, wanted, reason="asked by <me>", date="2026-01-31", step=step)


def everything_held(root: Path) -> tuple[str, set[bytes]]:
    """All text and all pictures in any file under the workspace, tables unpacked; without the tombstones."""
    said: list[str] = []
    pictures: set[bytes] = set()

    def unpack(value: object) -> str:
        assert isinstance(value, bytes)
        pictures.add(value)
        return ""

    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.name == FILE_NAME:
            continue
        said.append(path.relative_to(root).as_posix())
        if path.suffix == ".parquet":
            rows = pq.ParquetFile(path).read().to_pylist()
            said.append(json.dumps(rows, default=unpack, ensure_ascii=False))
        elif path.suffix in (".png", ".jpg"):
            pictures.add(path.read_bytes())
        else:
            said.append(path.read_text())
    return "\n".join(said), pictures


def traces(made: Erasable, gone: list[Sample]) -> list[str]:
    """Names and bytes of samples that are still somewhere in the workspace."""
    said, pictures = everything_held(made.workspace.root)
    said = html.unescape(said)
    origins = [sample.provenance for sample in gone]
    digests = {sample.id for sample in gone} | {origin.content_sha256[:32] for origin in origins}
    digests |= {i.soft.sha256[:32] for sample in gone for i in sample.instances if i.soft is not None}
    left = [digest for digest in sorted(digests - {""}) if digest in said]
    urls = {origin.url for origin in origins if origin.url}
    left += sorted(urls & set(re.findall(r"https://[^\s\"#<>,]+", said)))
    return left + [sample.id for sample in gone if made.pictures[sample.id] in pictures]


def rows_fit(root: Path) -> None:
    for folder in manifest_folders(root):
        manifest = Manifest(folder)
        samples, rejections = list(manifest.samples()), list(manifest.rejections())
        counts = manifest.counts
        assert counts.inputs == counts.kept + counts.rejected
        assert counts.kept + counts.derived == len(samples)
        assert counts.rejected + counts.derived_rejected == len(rejections)


def test_a_hundred_of_three_hundred_leave_no_trace(tmp_path: Path, build_erasable: Build) -> None:
    made = build_erasable(tmp_path / "work", photos=300)
    workspace, chain = made.workspace, made.chain
    export_dataset(
        chain["split"],
        workspace.images,
        ExportSettings(name="toy", formats=("coco", "huggingface")),
        workspace.root / "dataset",
    )
    write_report(chain, workspace.images, workspace.root / "report")
    made.add_files()
    every_third = [sample for sample in made.photos if sample.provenance.seed % 3 == 0]
    assert len(every_third) == 100
    gone = every_third + [
        child for child in made.children if child.provenance.parent_id in {s.id for s in every_third}
    ]
    stay = [sample for sample in made.photos + made.children if sample not in gone]
    assert len(traces(made, gone)) > 400, "the test would find them"

    done = down(workspace, Wanted(urls=frozenset(sample.provenance.url for sample in every_third)))
    assert done.sample_ids == sorted(sample.id for sample in gone)
    assert done.remake == ("dataset", "report")
    chain = {name: Manifest(manifest.directory) for name, manifest in chain.items()}
    report = export_dataset(
        chain["split"],
        workspace.images,
        ExportSettings(name="toy", formats=("coco", "huggingface")),
        workspace.root / "dataset",
    )
    write_report(chain, workspace.images, workspace.root / "report")
    finish(workspace)

    assert traces(made, gone) == []
    rows_fit(workspace.root)
    assert {sample.id for sample in chain["split"].samples()} == {sample.id for sample in stay}
    assert sum(report.samples.values()) == len(stay)
    for sample in chain["split"].samples():
        workspace.images.read(sample.image)
    for page in ("dataset/README.md", "report/report.html"):
        assert str(len(stay)) in (workspace.root / page).read_text(), page
    crawl = chain["crawl"]
    assert crawl.counts.inputs == 300
    assert sum(1 for item in crawl.rejections() if item.reason is Reason.TOMBSTONE) == 100
    stones = Tombstones.read(workspace.root)
    assert len(stones.stones) == 200
    assert all(stones.blocks_url(sample.provenance.url) for sample in every_third)
    assert not any(stones.blocks_url(sample.provenance.url) for sample in stay if sample.provenance.url)
    assert down(workspace, Wanted(urls=frozenset({every_third[0].provenance.url}))).found == ()
    assert len(Tombstones.read(workspace.root).stones) == 200


def test_other_files_lose_only_what_names_them(tmp_path: Path, build_erasable: Build) -> None:
    made = build_erasable(tmp_path / "work", photos=12)
    made.add_files()
    root, first, second = made.workspace.root, made.photos[0], made.photos[1]
    done = down(made.workspace, Wanted(sha256s=frozenset({first.provenance.content_sha256})))
    (kept,) = (root / "reviews").glob("verdicts-*.jsonl")
    verdicts = [json.loads(line) for line in kept.read_text().splitlines()]
    assert kept.stem == f"verdicts-{sha256_hex(kept.read_bytes())[:16]}"
    assert {row["sample_id"] for row in verdicts} == {sample.id for sample in made.photos[1:]}
    assert not list((root / "reviews/labelme/ann").glob(f"*{first.id}*"))
    assert len(list((root / "reviews/labelme/ann").glob(f"*{second.id}*"))) == 2
    assert not (root / "models/saw-all").exists()
    assert (root / "models/saw-second/weights.safetensors").exists()
    with (root / "predictions/index.csv").open(newline="") as stream:
        assert [row["sample"] for row in csv.DictReader(stream)] == [sample.id for sample in made.photos[1:]]
    assert "models/saw-all" in done.erased


def test_copies_go_too_and_their_group_gets_another_name(tmp_path: Path, build_erasable: Build) -> None:
    made = build_erasable(tmp_path / "work", photos=6, copies_of_first=2)
    wanted = Wanted(urls=frozenset({made.photos[0].provenance.url}))
    why = {item.item_key: item.why for item in select(made.workspace, wanted)}
    assert sorted(why.values()).count("copy") == 2
    assert sorted(why.values()).count("asked for") == 1
    strict = select(made.workspace, dataclasses.replace(wanted, with_copies=False))
    assert {item.why for item in strict} == {"asked for", "rendered from it"}

    other = made.photos[1]
    assert other.group == made.photos[0].id, "a stranger in the group of the one that goes"
    down(made.workspace, wanted)
    groups = {
        name: [s.group for s in Manifest(made.chain[name].directory).samples() if s.id == other.id]
        for name in ("crawl", "split")
    }
    assert groups["crawl"] == groups["split"] != [made.photos[0].id]
    assert traces(made, [made.photos[0]]) == []


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(authors=frozenset({"author 2"})),
        Wanted(sources=frozenset({"source-2"})),
    ],
)
def test_all_of_an_author_or_a_source(tmp_path: Path, wanted: Wanted, build_erasable: Build) -> None:
    made = build_erasable(tmp_path / "work", photos=9)
    down(made.workspace, wanted)
    left = {s.provenance.item_key for s in Manifest(made.chain["crawl"].directory).samples()}
    assert left == {s.provenance.item_key for s in made.photos if s.provenance.seed % 5 != 2}


def test_a_rendered_child_can_go_alone(tmp_path: Path, build_erasable: Build) -> None:
    made = build_erasable(tmp_path / "work", photos=4)
    child = made.children[0]
    down(made.workspace, Wanted(sha256s=frozenset({child.image.sha256})))
    left = {sample.id for sample in Manifest(made.chain["split"].directory).samples()}
    assert child.id not in left and child.provenance.parent_id in left
    rows_fit(made.workspace.root)


def test_what_a_stranger_shares_stays(tmp_path: Path, build_erasable: Build) -> None:
    made = build_erasable(tmp_path / "work", photos=4, shared_soft=True)
    soft = made.children[0].instances[0].soft
    assert soft is not None and soft == made.children[1].instances[0].soft
    down(made.workspace, Wanted(urls=frozenset({made.photos[0].provenance.url})))
    assert made.workspace.images.path(soft).exists()
    assert {
        s.instances[0].soft for s in Manifest(made.chain["split"].directory).samples() if s.is_synthetic
    } == {soft}


def test_killed_at_every_step_and_run_again_it_is_complete(tmp_path: Path, build_erasable: Build) -> None:
    def prepared(name: str) -> tuple[Erasable, Wanted]:
        made = build_erasable(tmp_path / name, photos=3)
        (made.workspace.root / "dataset").mkdir()
        made.add_files()
        return made, Wanted(urls=frozenset({made.photos[0].provenance.url}))

    def rows(made: Erasable) -> dict[str, str]:
        return {name: Manifest(m.directory).canonical_digest() for name, m in made.chain.items()}

    steps: list[str] = []
    undisturbed, wanted = prepared("undisturbed")
    down(undisturbed.workspace, wanted, steps.append)
    assert len(steps) > 12
    for number in range(len(steps)):
        made, wanted = prepared(f"killed-{number}")
        left = iter(range(number))

        def kill(name: str, left=left) -> None:
            if next(left, None) is None:
                raise Killed(name)

        with pytest.raises(Killed):
            down(made.workspace, wanted, kill)
        again = down(made.workspace, wanted)
        gone = [s for s in made.photos + made.children if made.photos[0].id in (s.id, s.provenance.parent_id)]
        assert traces(made, gone) == [], steps[number]
        rows_fit(made.workspace.root)
        assert rows(made) == rows(undisturbed), steps[number]
        assert again.remake == ("dataset",), steps[number]
        assert (
            Tombstones.read(made.workspace.root).stones == Tombstones.read(undisturbed.workspace.root).stones
        )
        finish(made.workspace)
        assert not (made.workspace.root / JOURNAL).exists()


def crawl(workspace: Workspace, folder: Path, run: str) -> Manifest:
    from dataset_tools.core.settings import parse_settings
    from dataset_tools.crawl.listing import list_items
    from dataset_tools.crawl.settings import CrawlSettings
    from dataset_tools.crawl.stage import CrawlStage

    source = {"type": "folder", "name": "mine", "path": folder, "licence": "CC0-1.0"}
    settings = parse_settings(CrawlSettings, {"sources": [source]}, "test")
    stage = CrawlStage(settings, 0, run)
    run_stage(
        stage,
        shards_of_items(list_items(settings), 64),
        workspace.manifest_dir("crawl", run),
        key=run,
        parent_key="",
        images=workspace.images,
        progress=silent,
    )
    return workspace.manifest("crawl", run)


def test_a_later_crawl_brings_nothing_back_not_even_recompressed(
    tmp_path: Path, astronaut_rgb: np.ndarray
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(astronaut_rgb).save(folder / "a.png")
    Image.fromarray(np.ascontiguousarray(astronaut_rgb[:, ::-1])).save(folder / "b.png")
    workspace = Workspace(tmp_path / "work")
    before = {s.provenance.item_key: s for s in crawl(workspace, folder, "before" * 3).samples()}
    down(workspace, Wanted(sha256s=frozenset({before["mine/a.png"].image.sha256})))
    Image.fromarray(astronaut_rgb).resize((300, 300)).save(folder / "c.jpg", quality=60)
    after = crawl(workspace, folder, "after" * 3)
    assert [s.provenance.item_key for s in after.samples()] == ["mine/b.png"]
    assert {item.item_key: item.reason for item in after.rejections()} == {
        "mine/a.png": Reason.TOMBSTONE,
        "mine/c.jpg": Reason.TOMBSTONE,
    }
    assert len(list((workspace.root / "objects").rglob("*.png"))) == 1


def test_a_block_list_keeps_out_what_was_never_here(tmp_path: Path, astronaut_rgb: np.ndarray) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    hashes = []
    for shift in range(10):
        rgb = np.roll(astronaut_rgb, 40 * shift, axis=1)
        Image.fromarray(rgb).save(folder / f"{shift}.png", compress_level=1)
        hashes.append(perceptual_hash(rgb))
    listing = tmp_path / "hashes.txt"
    listing.write_text("# from a partner\n" + "\n".join(hashes) + "\n" + "ab" * 32 + "  # a file\n\n")
    workspace = Workspace(tmp_path / "work")
    done = down(workspace, Wanted(blocked=read_hashes(listing)))
    assert (done.found, done.tombstones) == ((), 11)
    manifest = crawl(workspace, folder, "first" * 3)
    assert [item.reason for item in manifest.rejections()] == [Reason.HASH_BLOCKLIST] * 10
    assert not (workspace.root / "objects").exists()


def test_an_address_is_refused_before_it_is_fetched() -> None:
    stones = Tombstones([Tombstone("2026-01-31", url="https://example.org/a.jpg")])
    assert stones.blocks_url("https://example.org/a.jpg2") is None
    assert stones.blocks_url("https://example.org/a.jpg") is not None
    assert stones.blocks_content("ab" * 32, phash="00" * 8) is None


def test_a_list_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    listing = tmp_path / "hashes.txt"
    listing.write_text("ab" * 32 + "\nhttps://example.org\n")
    with pytest.raises(ConfigError, match="line 2: expected 64 or 16 hex digits"):
        read_hashes(listing)


def test_an_address_that_is_the_beginning_of_another_takes_only_itself(
    tmp_path: Path, build_erasable: Build
) -> None:
    made = build_erasable(tmp_path / "work", photos=12)
    urls = [s.provenance.url for s in made.photos]
    assert urls[1] + "0" == urls[10]
    down(made.workspace, Wanted(urls=frozenset({urls[1]})))
    left = {s.provenance.url for s in Manifest(made.chain["crawl"].directory).samples()}
    assert left == set(urls) - {urls[1]}


def test_a_duplicate_that_was_dropped_no_longer_says_of_what(tmp_path: Path, build_erasable: Build) -> None:
    made = build_erasable(tmp_path / "work", photos=4)
    url = made.photos[0].provenance.url
    (before,) = (item for item in made.chain["filter"].rejections() if url in item.detail)
    down(made.workspace, Wanted(urls=frozenset({url})))
    after: list[Rejection] = list(Manifest(made.chain["filter"].directory).rejections())
    assert [item.detail for item in after if item.item_key == before.item_key] == [
        before.detail.replace(url, "[taken down]")
    ]


def write_crawl(workspace: Workspace, samples: list[Sample], rejections: list[Rejection]) -> Manifest:
    folder = workspace.manifest_dir("crawl", "ab" * 8)
    keys = [sample.provenance.item_key for sample in samples] + [item.item_key for item in rejections]
    counts = write_shard(folder, 0, keys, samples, rejections)
    header = {"stage": "crawl", "key": "ab" * 8, "parent": "", "shards": 1}
    return write_header(folder, {**header, "counts": dataclasses.asdict(counts)})


def test_a_picture_goes_by_any_of_its_addresses_and_so_does_its_second_listing(
    tmp_path: Path, build_erasable: Build
) -> None:
    made = build_erasable(tmp_path / "other", photos=2)
    first, second = made.photos
    url = first.provenance.url
    facts = {"final_url": "https://cdn.example.org/1", "page_url": "https://example.org/page"}
    facts |= {"redirects": f"{url} https://hop.example.org/1", "licence_url": "https://licence.org/by"}
    origin = dataclasses.replace(first.provenance, evidence=tuple(sorted(facts.items())))
    twice = Rejection("crawl", f"{url}#2", Reason.DUPLICATE, f"already listed as {url}")
    failed = Rejection("crawl", "https://cdn.example.org/1", Reason.HTTP_4XX, "HTTP status 403")
    rows = [dataclasses.replace(first, provenance=origin), second], [twice, failed]

    def chosen(number: int, **wanted: frozenset[str]) -> set[str]:
        workspace = Workspace(tmp_path / str(number))
        write_crawl(workspace, *rows)
        return {item.url for item in select(workspace, Wanted(**wanted))}

    addresses = [url, "https://cdn.example.org/1", "https://hop.example.org/1", "https://example.org/page"]
    patterns = ["https://cdn.*", "*hop*", "*page"]
    for number, address in enumerate(addresses):
        assert chosen(number, urls=frozenset({address})) == {url}
    for number, pattern in enumerate(patterns):
        assert chosen(number, url_patterns=frozenset({pattern})) == {url}
    assert chosen(9, urls=frozenset({"https://licence.org/by"})) == set()
    assert chosen(9, url_patterns=frozenset({"https://example.org"})) == set()

    workspace = Workspace(tmp_path / "work")
    manifest = write_crawl(workspace, *rows)
    down(workspace, Wanted(url_patterns=frozenset({"https://hop.*"})))
    after = Manifest(manifest.directory)
    assert [sample.id for sample in after.samples()] == [second.id]
    assert {item.reason for item in after.rejections()} == {Reason.TOMBSTONE}
    said, _ = everything_held(workspace.root)
    assert not any(f'"{one}"' in said or f"{one}#" in said for one in addresses)
    assert after.counts.inputs == 4


def test_a_file_of_a_folder_is_known_by_its_name(tmp_path: Path, astronaut_rgb: np.ndarray) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("a b.png", "a b.png.png", "c.png")):
        Image.fromarray(np.roll(astronaut_rgb, 120 * number, axis=1)).save(folder / name)
    workspace = Workspace(tmp_path / "work")
    before = {s.provenance.item_key: s for s in crawl(workspace, folder, "before" * 3).samples()}
    notes = workspace.root / "notes.txt"
    notes.write_text("mine/a b.png, odd\nmine/a b.png.png\nsee mine/a b.png.\nnot mine/c.png\n")
    (workspace.root / "page.html").write_text("a picture of it, without its name")
    down(workspace, Wanted(sha256s=frozenset({before["mine/a b.png"].image.sha256})))
    assert notes.read_text() == "mine/a b.png.png\nnot mine/c.png\n"
    assert not (workspace.root / "page.html").exists()


def test_what_was_rendered_in_a_run_that_is_no_longer_there_goes_too(
    tmp_path: Path, build_erasable: Build
) -> None:
    made = build_erasable(tmp_path / "work", photos=3)
    for name in ("synth", "split"):
        shutil.rmtree(made.chain[name].directory)
    done = down(made.workspace, Wanted(urls=frozenset({made.photos[0].provenance.url})))
    left = {path.read_bytes() for path in (made.workspace.root / "objects").rglob("*.png")}
    assert left == {made.pictures[sample.id] for sample in made.photos[1:]}
    assert done.objects == 1 + 3 * 2


def test_originals_go_and_are_never_exported(tmp_path: Path, build_erasable: Build) -> None:
    made = build_erasable(tmp_path / "work", photos=4)
    made.add_files()
    originals = made.workspace.root / "originals"
    assert len(list(originals.rglob("*/*"))) == 4
    settings = ExportSettings(name="toy")
    export_dataset(made.chain["split"], made.workspace.images, settings, made.workspace.root / "dataset")
    fetched = {path.read_bytes() for path in originals.glob("*/*")}
    held = {path.read_bytes() for path in (made.workspace.root / "dataset").rglob("*") if path.is_file()}
    assert not fetched & held
    url = made.photos[0].provenance.url
    down(made.workspace, Wanted(urls=frozenset({url})))
    assert {path.read_bytes() for path in originals.glob("*/*")} == fetched - {url.encode()}
