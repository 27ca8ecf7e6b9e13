"""COCO export and import beside datumaro, and how both grow with the dataset.

    uv run python benchmarks/export.py --datumaro <python of an environment with datumaro>
    uv run python benchmarks/export.py --growth 1000,20000

The first compares in one process each, in turns: both write the same synthetic dataset from what they keep
(we a manifest on disk, datumaro its items in memory) and read the same COCO folder with every mask decoded to
pixels. We link pictures and datumaro copies them, so its time without pictures is measured too. The second
makes datasets of growing size and measures time and peak memory of a fresh process for each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine  # isort: skip, it must come before what it tells to use one thread

import numpy as np

from dataset_tools.core.images import DEFAULT_LIMITS, ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest, ShardCounts, write_header, write_shard
from dataset_tools.core.masks import mask_to_rle, rle_to_mask
from dataset_tools.core.progress import silent
from dataset_tools.core.record import Instance, Provenance, Sample, Split, sample_id
from dataset_tools.formats.coco import read_coco, write_coco
from dataset_tools.formats.job import ExportJob
from dataset_tools.formats.reading import FoundPicture, ReadOptions

ASKED = 1.8  # times as fast as datumaro
PER_SHARD = 64
OPTIONS = ReadOptions("published:benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--datumaro", help="interpreter that can import datumaro")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--side", type=int, default=512, help="of the pictures, in pixels")
    parser.add_argument("--runs", type=int, default=5, help="rounds after the first, which warms up")
    parser.add_argument("--growth", default="", help="numbers of samples, e.g. 1000,5000,20000")
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(one_way(options.once[0], Path(options.once[1]))))
    elif options.growth:
        sizes = [int(word) for word in options.growth.split(",")]
        figures = {"growth": growth(sizes, options.side), "side": options.side}
        write("export-growth", figures, growth_lines)
    elif options.datumaro:
        figures = beside(options.datumaro, options.samples, options.side, options.runs)
        write("export", figures, lines)
    else:
        parser.error("--datumaro or --growth")


def write(name: str, figures: dict[str, Any], text: Any) -> None:
    figures["machine"] = machine.describe()
    machine.write(name, figures, text(figures))


def build(root: Path, count: int, side: int) -> None:
    """A manifest of photos with two masks each: a face mask with a hole, and the skin around it."""
    store = ImageStore(root, syncs=False)
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side
    total = ShardCounts()
    for first in range(0, count, PER_SHARD):
        numbers = range(first, min(count, first + PER_SHARD))
        batch = [sample(store, number, rng, rows, columns) for number in numbers]
        keys = [one.provenance.item_key for one in batch]
        total += write_shard(root / "manifests/split", first // PER_SHARD, keys, batch, [])
    header = {"stage": "split", "stage_version": "1", "config": {}, "key": "benchmark", "parent": ""}
    counts = {"shards": -(-count // PER_SHARD), "counts": dataclasses.asdict(total)}
    write_header(root / "manifests/split", header | counts)


def sample(
    store: ImageStore, number: int, rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray
) -> Sample:
    side = rows.shape[0]
    cells = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    image = store.put_array(cells.repeat(side // 16, axis=0).repeat(side // 16, axis=1))
    middle_y, middle_x = 0.55 + 0.1 * rng.random(2)
    tall, wide = 0.15 + 0.1 * rng.random(2)
    down, right = (rows - middle_y) / tall, (columns - middle_x) / wide
    edge = 1 + 0.1 * np.sin(8 * np.arctan2(down, right) + number)
    mask = (down**2 + right**2 < edge) & (down**2 + right**2 > 0.02)
    face = ((down + 0.5) / 1.6) ** 2 + (right / 1.2) ** 2 < 1
    instances = (
        Instance("m", Label.FACE_MASK, mask_to_rle(mask), "human:a", attributes=(("mask_type", "cloth"),)),
        Instance("f", Label.FACE, mask_to_rle(face & ~mask), "human:a"),
    )
    return Sample(
        id=sample_id(image),
        image=image,
        provenance=Provenance("benchmark", f"item{number}", "CC0-1.0"),
        group=f"group{number}",
        instances=instances,
        split=(Split.VAL, Split.TEST)[number % 10 - 8] if number % 10 > 7 else Split.TRAIN,
        is_labelled=True,
    )


def export(root: Path) -> None:
    shutil.rmtree(root / "coco", ignore_errors=True)
    job = ExportJob(Manifest(root / "manifests/split"), ImageStore(root))
    with silent("", None) as bar:
        write_coco(job, root / "coco", bar)


def read(folder: Path, size_hw: tuple[int, int]) -> int:
    """Pixels of all masks of a COCO folder."""
    total = 0
    for found in read_coco(folder, OPTIONS):
        assert isinstance(found, FoundPicture) and found.annotation is not None
        labels = found.annotation.read(size_hw, DEFAULT_LIMITS)
        assert not labels.faults
        total += sum(int(rle_to_mask(item.mask).sum()) for item in labels.instances)
    return total


def beside(python: str, count: int, side: int, runs: int) -> dict[str, Any]:
    core = machine.use_one_core()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build(root, count, side)
        export(root)
        command = [python, str(Path(__file__).with_name("datumaro_peer.py"))]
        shutil.copytree(root / "coco", root / "source")
        with subprocess.Popen(
            [*command, str(root / "source"), str(root / "theirs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as peer:
            about = ask(peer, "about")
            assert about["items"] == count
            pixels = read(root / "coco", (side, side))
            rounds = [one_round(peer, root, side, pixels) for _ in range(runs + 1)][1:]
            assert peer.stdin is not None
            peer.stdin.close()
    names = rounds[0]
    return {
        "samples": count,
        "side": side,
        "runs": runs,
        "datumaro": about["version"],
        "bound_to_one_core": core is not None,
        "seconds": {name: round(statistics.median(one[name] for one in rounds), 3) for name in names},
        "times_as_fast": {
            name: round(statistics.median(one[theirs] / one[ours] for one in rounds), 2)
            for name, (ours, theirs) in {
                "export": ("export", "export_theirs"),
                "export, theirs without pictures": ("export", "labels_theirs"),
                "import": ("import", "import_theirs"),
            }.items()
        },
    }


def one_round(peer: subprocess.Popen[str], root: Path, side: int, pixels: int) -> dict[str, float]:
    seconds = {"export": timed(lambda: export(root))}
    for word in ("export", "labels", "import"):
        answer = ask(peer, word)
        assert word != "import" or answer["result"] == pixels
        seconds[f"{word}_theirs"] = answer["seconds"]
    seconds["import"] = timed(lambda: read(root / "coco", (side, side)))
    return seconds


def ask(peer: subprocess.Popen[str], word: str) -> dict[str, Any]:
    assert peer.stdin is not None and peer.stdout is not None
    peer.stdin.write(f"{word}\n")
    peer.stdin.flush()
    answer: dict[str, Any] = json.loads(peer.stdout.readline())
    return answer


def timed(way: Any) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


def growth(sizes: list[int], side: int) -> list[dict[str, Any]]:
    found = []
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder), count, side)
            row: dict[str, Any] = {"samples": count}
            for word in ("nothing", "export", "import"):
                command = [sys.executable, __file__, "--once", word, folder, "--side", str(side)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                row[word] = json.loads(done.stdout.splitlines()[-1])
            found.append(row)
    return found


def one_way(word: str, root: Path) -> dict[str, float]:
    """Processor time and peak memory of this process for one piece of work."""
    start = time.process_time()
    if word == "export":
        export(root)
    elif word == "import":
        sizes = {one.image.size_hw for one in Manifest(root / "manifests/split").samples()}
        read(root / "coco", sizes.pop())
    seconds = time.process_time() - start
    return {"seconds": round(seconds, 2), "peak_mib": round(peak_kib() / 1024, 1)}


def peak_kib() -> int:
    """Peak memory of this process; `ru_maxrss` begins with that of the process which started it."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def head(figures: dict[str, Any]) -> str:
    about = figures["machine"]
    return f"{about['processor']}, {about['cores']} cores (one used), load {about['load'][0]}"


def lines(figures: dict[str, Any]) -> list[str]:
    seconds, times = figures["seconds"], figures["times_as_fast"]
    return [
        "# COCO export and import beside datumaro",
        "",
        f"{head(figures)}; {figures['samples']} pictures of {figures['side']}x{figures['side']} with two "
        f"masks each, datumaro {figures['datumaro']}; median of {figures['runs']} rounds, seconds of "
        "processor time. "
        f"Asked for: at least {ASKED} times as fast. We link the pictures, datumaro copies them.",
        "",
        *machine.table(
            ("", "ours", "datumaro", "times as fast"),
            [
                ["export", seconds["export"], seconds["export_theirs"], times["export"]],
                [
                    "export, datumaro without pictures",
                    seconds["export"],
                    seconds["labels_theirs"],
                    times["export, theirs without pictures"],
                ],
                ["import, masks decoded", seconds["import"], seconds["import_theirs"], times["import"]],
            ],
        ),
    ]


def growth_lines(figures: dict[str, Any]) -> list[str]:
    rows = []
    for row in figures["growth"]:
        cells: list[object] = [row["samples"], row["nothing"]["peak_mib"]]
        for word in ("export", "import"):
            cells += [row[word]["seconds"], round(1000 * row[word]["seconds"] / row["samples"], 2)]
            cells.append(row[word]["peak_mib"])
        rows.append(cells)
    return [
        "# COCO export and import of growing datasets",
        "",
        f"{head(figures)}; pictures of {figures['side']}x{figures['side']} with two masks each; a fresh "
        "process for every number. Peak memory in MiB; the first is that of the imports alone.",
        "",
        *machine.table(
            (
                *("samples", "peak, idle", "export, s", "ms each", "peak"),
                *("import, s", "ms each", "peak"),
            ),
            rows,
        ),
    ]


if __name__ == "__main__":
    main()
