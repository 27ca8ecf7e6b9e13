"""The same rows on Ray as at home, also when a Ray worker is killed in the middle of a shard."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from dataset_tools.config import read_config
from dataset_tools.core.engine import Executor, LocalExecutor
from dataset_tools.core.errors import ConfigError, DataError, UnknownName
from dataset_tools.core.images import ImageStore, perceptual_hash
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import Progress
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Provenance, Rejection, Sample, sample_id
from dataset_tools.core.stage import run_stage, shards_of_items
from dataset_tools.engines.choose import ENGINES, choose_engine
from dataset_tools.engines.ray_engine import RayExecutor

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the package ray is not installed"),
    pytest.mark.timeout(300),  # a Ray that finds no room for its work waits for ever
]

COUNT = 23


@dataclass(frozen=True)
class Number:
    value: int

    @property
    def key(self) -> str:
        return f"number{self.value}"


@dataclass(frozen=True)
class PaintStage:
    """Paints a picture of every number; kills its own process at one, for ever or until `scar` is there."""

    die_at: int = -1
    scar: Path | None = None
    name: str = "paint"
    version: str = "1"
    parallel: bool = True

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def plan(self, samples: Iterable[Sample]) -> int:
        return 40

    def run(
        self, items: Sequence[Number], *, plan: int, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        for item in items:
            if item.value == self.die_at and not (self.scar and self.scar.exists()):
                if self.scar:
                    self.scar.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            if item.value % 7 == 3:
                yield Rejection(self.name, item.key, Reason.EMPTY, "not painted")
                continue
            rgb = np.random.default_rng(item.value).integers(0, 255, (plan, 50, 3)).astype(np.uint8)
            image = images.put_array(rgb)
            origin = Provenance(source="paint", item_key=item.key, licence="CC0-1.0")
            yield Sample(sample_id(image), image, origin, group=item.key, phash=perceptual_hash(rgb))


def paint(root: Path, executor: Executor, **options: Any) -> Manifest:
    run_stage(
        PaintStage(**options),
        shards_of_items([Number(value) for value in range(COUNT)], 3),
        root / "manifests" / "paint",
        key="k",
        parent_key="",
        images=ImageStore(root),
        executor=executor,
    )
    return Manifest(root / "manifests" / "paint")


def apart(function: Callable[..., Any], *given: Any) -> Any:
    """Call in a process of its own: what Ray leaves behind in one, such as unclosed pipes, is not ours."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def paint_on_ray(root: Path, die_at: int, scar: Path | None) -> None:
    paint(root, RayExecutor(2), die_at=die_at, scar=scar)


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_ray_worker_killed_in_the_middle_of_a_shard_changes_no_byte(tmp_path: Path) -> None:
    scar = tmp_path / "scar"
    apart(paint_on_ray, tmp_path / "ray", 10, scar)
    assert scar.exists()  # somebody died, and it was not the calling process
    on_ray = Manifest(tmp_path / "ray" / "manifests" / "paint")
    at_home = paint(tmp_path / "home", LocalExecutor())
    assert on_ray.canonical_digest() == at_home.canonical_digest()
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "home")


def test_an_item_that_kills_every_worker_of_ray_is_rejected_and_nothing_else_is_touched(
    tmp_path: Path,
) -> None:
    apart(paint_on_ray, tmp_path / "ray", COUNT - 1, None)
    on_ray, at_home = (
        Manifest(tmp_path / "ray" / "manifests" / "paint"),
        paint(tmp_path / "home", LocalExecutor()),
    )
    lost = [one for one in on_ray.rejections() if one.reason is Reason.WORKER_LOST]
    assert [(one.item_key, one.detail) for one in lost] == [
        (f"number{COUNT - 1}", "a worker of Ray was killed (out of memory?)")
    ]
    left = {one.id for one in at_home.samples() if one.provenance.item_key != f"number{COUNT - 1}"}
    assert {one.id for one in on_ray.samples()} == left


def refuse(number: int) -> int:
    if number == 2:
        raise DataError("two is no number")
    return number


def map_refusing() -> list[int]:
    return list(RayExecutor(1).map_shards(refuse, [1, 2, 3]))


def test_an_error_of_the_stage_comes_out_as_itself() -> None:
    with pytest.raises(DataError, match="two is no number"):
        apart(map_refusing)


def test_no_shards_start_no_ray() -> None:
    started = time.monotonic()
    assert list(RayExecutor(2).map_shards(refuse, [])) == []
    assert time.monotonic() - started < 1


def test_the_command_line_gives_the_same_rows_and_the_same_keys(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for seed in range(12):
        pixels = np.random.default_rng(seed).integers(0, 255, (120, 130, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{seed}.png")
    source = {"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}
    values = {"name": "x", "shard_size": 3, "crawl": {"sources": [source]},
              "filter": {"detect": False, "landmarks": False}}  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    digests = {}
    for engine in ENGINES:
        for command in ("crawl", "filter"):
            workspace = tmp_path / engine
            done = subprocess.run(
                [sys.executable, "-m", "dataset_tools.cli", command, tmp_path / "c.yaml",
                 "--engine", engine, "--workers", "2", "--workspace", workspace],
                capture_output=True, text=True, timeout=240,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")
        digests[engine] = {
            path.name: Manifest(path).canonical_digest() for path in (workspace / "manifests").iterdir()
        }
    assert digests["ray"] == digests["local"]
    assert {name.partition("-")[0] for name in digests["ray"]} >= {"crawl", "filter"}


def test_what_a_killed_driver_started_ends_by_itself() -> None:
    # Ray's processes inherit standard output, so that it only ends when the last of them is gone.
    code = (
        "import os, signal\n"
        "from dataset_tools.engines.ray_engine import RayExecutor\n"
        "for _ in RayExecutor(2).map_shards(str, [1, 2, 3, 4]):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=240)
    assert done.returncode == -signal.SIGKILL


def test_a_missing_package_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="maskset\\[ray\\]"):
        choose_engine("ray", 2)


def test_an_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="did you mean ray"):
        choose_engine("rai", 1)


def test_the_settings_know_the_same_engines(tmp_path: Path) -> None:
    for engine in (*ENGINES, "spark"):
        (tmp_path / "c.yaml").write_text(f"name: x\nengine: {engine}\ncrawl: {{}}\n")
        if engine in ENGINES:
            assert read_config(tmp_path / "c.yaml").engine == engine
        else:
            with pytest.raises(ConfigError, match="engine"):
                read_config(tmp_path / "c.yaml")
