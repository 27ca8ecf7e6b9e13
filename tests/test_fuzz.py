"""Mutated pictures, manifests and configurations: never a traceback, never a lost item, never `internal`."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from dataset_tools.cli import main
from dataset_tools.config import BuildConfig, read_config
from dataset_tools.core.errors import ConfigError, ManifestError
from dataset_tools.core.images import ImageStore, perceptual_hash
from dataset_tools.core.manifest import Manifest, ShardCounts, write_header, write_shard
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Provenance, Rejection, Sample, sample_id
from dataset_tools.starter import STARTER_CONFIG

# Cases of each kind: 3 x 100 always, 10,000 in all with `-m slow`.
SMALL = 100
CASES = [
    pytest.param(1, SMALL),
    pytest.param(2, 3_334, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
]


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One to eight changes of the kinds that find faults in parsers: flips, cuts, copies, extreme numbers."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(found) + 1)
        kind = chance.randrange(6)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            found[at : at + chance.randint(1, 16)] = chance.randbytes(chance.randint(0, 16))
        elif kind == 2:
            word = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
            found[at : at + len(word)] = word
        elif kind == 3:
            start = chance.randrange(len(found) + 1)
            found[at:at] = found[start : start + chance.randint(1, 64)]
        elif kind == 4 and chance.random() < 0.3:
            del found[at:]
        elif kind == 5:
            # Most faults lie in headers, so the first bytes get more than their share.
            near = chance.randrange(min(64, len(found)) or 1)
            found[near : near + 1] = bytes([chance.randrange(256)])
    return bytes(found)


# -- pictures ---------------------------------------------------------------------------------------------


def seeds_of_pictures() -> list[bytes]:
    """One picture of each format and mode the suite reads."""
    rgb = np.random.default_rng(0).integers(0, 255, (9, 9, 3)).astype(np.uint8)
    photo = Image.fromarray(rgb).resize((80, 72), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    made: list[tuple[Image.Image, str, dict[str, object]]] = [
        (photo, "JPEG", {"quality": 85, "exif": exif}),
        (photo, "JPEG", {"progressive": True}),
        (photo.convert("CMYK"), "JPEG", {}),
        (photo.convert("L"), "JPEG", {}),
        (photo, "PNG", {}),
        (photo.convert("P"), "PNG", {}),
        (photo.convert("RGBA"), "PNG", {"exif": exif}),
        (Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257), "PNG", {}),
        (photo, "WEBP", {}),
        (photo, "AVIF", {}),
        (photo.convert("P"), "GIF", {}),
        (photo, "BMP", {}),
        (photo, "TIFF", {"compression": "tiff_lzw"}),
    ]
    found = []
    for picture, kind, options in made:
        target = io.BytesIO()
        picture.save(target, kind, **options)
        found.append(target.getvalue())
    return found


@pytest.mark.parametrize(("seed", "count"), CASES)
def test_mutated_pictures_are_kept_or_rejected_with_a_reason(tmp_path: Path, seed: int, count: int) -> None:
    chance = random.Random(seed)
    pictures = seeds_of_pictures()
    (tmp_path / "photos").mkdir()
    for number in range(count):
        data = mutate(pictures[number % len(pictures)], chance)
        (tmp_path / "photos" / f"{number:05d}.jpg").write_bytes(data)
    source = {"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}
    filtering = {"detect": False, "landmarks": False, "min_face_px": 1, "min_sharpness": 0.0}
    values = {"name": "x", "shard_size": 500, "crawl": {"sources": [source]}, "filter": filtering}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    for stage in ("crawl", "filter"):
        result = CliRunner().invoke(main, [stage, str(tmp_path / "c.yaml")], catch_exceptions=False)
        assert (result.exit_code, result.stderr) == (0, "")
    manifests = {path.name.partition("-")[0]: Manifest(path) for path in tmp_path.glob("work/manifests/*")}
    crawl = manifests["crawl"].counts
    assert crawl.inputs == crawl.kept + crawl.rejected == count
    for manifest in manifests.values():
        assert manifest.counts.inputs == manifest.counts.kept + manifest.counts.rejected
        wrong = [item for item in manifest.rejections() if item.reason is Reason.INTERNAL]
        assert wrong == []
    assert 0 < crawl.kept < count  # both roads were taken


# -- manifests --------------------------------------------------------------------------------------------


def write_manifest(root: Path) -> Path:
    """A manifest of two shards, five samples and two rejections."""
    store = ImageStore(root)
    directory = root / "manifests" / "crawl-000000000000"
    counts = ShardCounts()
    for index, numbers in enumerate((range(4), range(4, 7))):
        samples, rejections = [], []
        for number in numbers:
            if number % 3 == 2:
                rejections.append(Rejection("crawl", f"k{number}", Reason.EMPTY, "nothing"))
                continue
            rgb = np.random.default_rng(number).integers(0, 255, (20, 30, 3)).astype(np.uint8)
            image = store.put_array(rgb)
            origin = Provenance(source="s", item_key=f"k{number}", licence="CC0-1.0")
            samples.append(Sample(sample_id(image), image, origin, f"g{number}", perceptual_hash(rgb)))
        keys = [f"k{number}" for number in numbers]
        counts += write_shard(directory, index, keys, samples, rejections)
    header = {"stage": "crawl", "key": "0" * 64, "parent": "", "shards": 2, "config": {}}
    write_header(directory, {**header, "counts": {**{name: getattr(counts, name) for name in (
        "inputs", "kept", "derived", "rejected", "derived_rejected")}}})  # fmt: skip
    return directory


def mutate_header(text: bytes, chance: random.Random) -> bytes:
    """Change bytes, or one value for one of another kind."""
    if chance.random() < 0.5:
        return mutate(text, chance)
    header = json.loads(text)
    odd = (None, -1, 10**30, "", "x", [], {}, {"inputs": "x"}, True, 1.5, "\ud800", float("nan"))
    name = chance.choice([*header, "strange"])
    if name == "counts" and chance.random() < 0.7:
        header["counts"][chance.choice([*header["counts"], "strange"])] = chance.choice(odd)
    else:
        header[name] = chance.choice(odd)
    return json.dumps(header).encode()


def read_everything(directory: Path) -> int:
    """All that is read of a manifest; the number of rows."""
    manifest = Manifest(directory)
    assert isinstance(manifest.title + manifest.stage + manifest.key, str)
    rows = sum(len(kept) + len(dropped) for kept, dropped in manifest.shards())
    assert len(manifest.canonical_digest()) == 64
    return rows


@pytest.mark.parametrize(("seed", "count"), CASES)
def test_mutated_manifests_are_read_or_refused_in_one_line(tmp_path: Path, seed: int, count: int) -> None:
    chance = random.Random(seed)
    directory = write_manifest(tmp_path)
    assert read_everything(directory) == 7
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    whole = {path: path.read_bytes() for path in files}
    refused = 0
    for _ in range(count):
        victim = chance.choice(files)
        change: Callable[[bytes, random.Random], bytes] = (
            mutate_header if victim.suffix == ".json" else mutate
        )
        victim.write_bytes(change(whole[victim], chance))
        try:
            read_everything(directory)
        except ManifestError as error:
            refused += 1
            assert "\n" not in str(error).strip()
        victim.write_bytes(whole[victim])
    assert 0 < refused < count


# -- configurations ---------------------------------------------------------------------------------------


ODD_YAML = """- a
{
[[
&a *a
!!python/object/apply:os.system ['true']
null
1e999
.nan
-1
2026-01-31
yes
'
? x
<<: *x
%
@
|
0x7fffffffffffffffffff""".splitlines()


def mutate_config(text: str, chance: random.Random) -> bytes:
    """Change bytes, or turn one line into what people mistype."""
    if chance.random() < 0.5:
        return mutate(text.encode(), chance)
    lines = text.splitlines()
    at = chance.randrange(len(lines))
    odd = chance.choice(ODD_YAML)
    kind = chance.randrange(4)
    if kind == 0:
        lines[at] = lines[at].partition(":")[0] + ": " + odd
    elif kind == 1:
        lines.insert(at, odd)
    elif kind == 2:
        lines[at] = " " * chance.randint(0, 6) + lines[at].strip()
    else:
        lines[at] = lines[at].replace("e", "a", 1)
    return "\n".join(lines).encode()


@pytest.mark.parametrize(("seed", "count"), CASES)
def test_mutated_configurations_are_read_or_refused_in_one_line(
    tmp_path: Path, seed: int, count: int
) -> None:
    chance = random.Random(seed)
    path = tmp_path / "c.yaml"
    path.write_text(STARTER_CONFIG)
    whole = yaml.safe_dump(read_config(path).model_dump(mode="json"))
    refused = 0
    for number in range(count):
        path.write_bytes(mutate_config((STARTER_CONFIG, whole)[number % 2], chance))
        try:
            assert isinstance(read_config(path), BuildConfig)
        except ConfigError as error:
            refused += 1
            assert str(error).strip() and "Traceback" not in str(error)
        if number % 50 == 0:  # the command line says the same in one line
            shutil.rmtree(tmp_path / "work", ignore_errors=True)
            result = CliRunner().invoke(main, ["rejects", str(path)])
            assert result.exit_code in (0, 1, 2)
            assert len(result.stderr.strip().splitlines()) <= 1
            assert "unexpected" not in result.stderr
    assert 0 < refused < count
