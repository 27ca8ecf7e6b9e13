"""The whole chain, crawl to export, in images per second and core, the share of each step, and its growth.

    uv run python benchmarks/chain.py [--sizes 1000 20000]

Pictures are crops of scikit-image's astronaut (NASA, public domain), each cut, mirrored, shaded and disturbed
at random, read from a local folder: what the network costs stands in another benchmark. Pre-labelling runs
without a model, review without verdicts. Every size is built in a process of its own with one worker on one
core; seconds are processor time of it and what it started, and memory is the largest of its lifetime.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
import psutil
import skimage.data
import yaml
from PIL import Image, ImageEnhance

PICTURE_PX = 320
# The face lies here in the 512x512 portrait.
FACE_CENTRE_XY = (224, 118)
SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 20_000])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(build(options.child)))
        return
    machine.use_one_core()
    runs = {size: measure(size) for size in options.sizes}
    first, last = runs[options.sizes[0]], runs[options.sizes[-1]]
    growth = last["images_per_second"] / first["images_per_second"]
    lines = [
        "# The whole chain",
        "",
        "Processor time, one worker on one core; images are those that were crawled.",
        "",
        *machine.table(
            ("step", *(f"{size} images: s" for size in runs), *(f"{size} images: share" for size in runs)),
            [
                (step, *(f"{run['seconds'][step]:.1f}" for run in runs.values()),
                 *(f"{run['seconds'][step] / run['total_seconds']:.1%}" for run in runs.values()))
                for step in first["seconds"]
            ],
        ),
        "",
        *(
            f"{size} images: {run['images_per_second']:.2f} images/s and core, {run['samples']} samples in "
            f"the split, {run['peak_mb']:.0f} MB at most, {run['wall_seconds']:.0f} s on the clock.  "
            for size, run in runs.items()
        ),
        f"Rate at the last size / at the first: {growth:.2f}.",
    ]  # fmt: skip
    figures = {"machine": machine.describe(), "runs": runs, "rate_growth": round(growth, 3)}
    machine.write("chain", figures, lines)


def measure(size: int) -> dict[str, Any]:
    """Figures of a build over so many pictures."""
    with tempfile.TemporaryDirectory() as folder:
        draw_pictures(Path(folder) / "photos", size)
        command = [sys.executable, __file__, "--child", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def draw_pictures(folder: Path, count: int) -> None:
    portrait = Image.fromarray(skimage.data.astronaut())
    for number in range(count):
        rng = np.random.default_rng([SEED, number])
        side = rng.uniform(190, 235)
        x, y = np.array(FACE_CENTRE_XY) + rng.uniform(-25, 25, 2)
        left, top = np.clip([x - side / 2, y - side / 2], 0, 512 - side)
        picture = portrait.resize(
            (PICTURE_PX, PICTURE_PX), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
        )
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.4, 1.6))
        values = np.asarray(picture) * light_and_shade(rng) + rng.normal(0, 4, (PICTURE_PX, PICTURE_PX, 3))
        target = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(target, quality=92)


def light_and_shade(rng: np.random.Generator) -> np.ndarray:
    """Soft brightness over the picture, (px, px, 1): crops of one portrait must not be near duplicates."""
    coarse = rng.uniform(55, 145, (6, 6)).astype(np.uint8)
    soft = Image.fromarray(coarse).resize((PICTURE_PX, PICTURE_PX), Image.Resampling.BICUBIC)
    return np.asarray(soft, np.float64)[..., None] / 100


def build(folder: Path) -> dict[str, Any]:
    """Run every step in this process."""
    from dataset_tools.config import read_config
    from dataset_tools.pipeline import STAGES, Pipeline

    values = {
        "name": "chain",
        "seed": SEED,
        "crawl": {"sources": [{"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}]},
        "filter": {"drop_distance": 0, "group_distance": 0},
        "synth": {"per_face": 1},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    pipeline = Pipeline(read_config(folder / "config.yaml"))
    seconds: dict[str, float] = {}
    started = time.monotonic()
    for step in (*STAGES, "export"):
        before = processor_seconds()
        report = pipeline.export() if step == "export" else pipeline.run(step)
        seconds[step] = round(processor_seconds() - before, 2)
        print(step, report, file=sys.stderr)
    total = sum(seconds.values())
    images = pipeline.manifest(STAGES[0]).counts.inputs
    counts = pipeline.manifest("split").counts
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return {
        "images": images,
        "samples": counts.kept + counts.derived,
        "seconds": seconds,
        "total_seconds": round(total, 2),
        "wall_seconds": round(time.monotonic() - started, 1),
        "images_per_second": round(images / total, 3),
        "peak_mb": round(max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024, 1),
    }


def processor_seconds() -> float:
    """User and system time of this process and of all it has started, ended or still running."""
    ended = [resource.getrusage(kind) for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    running = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(one.ru_utime + one.ru_stime for one in ended) + sum(one.user + one.system for one in running)


if __name__ == "__main__":
    main()
