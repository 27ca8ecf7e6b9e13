"""Search for duplicates: ours beside imagededup, and how ours grows.

    uv venv imagededup && uv pip install --python imagededup/bin/python imagededup
    uv run python benchmarks/duplicates.py --peer imagededup/bin/python

The pictures are crops of scikit-image's own, every tenth once more at another size and quality. Both sides
read the same folder, hash every file with their DCT hash and look for what differs in few bits; on one
core, in turns, processor time of their own work, that of processes they start included, without imports.
Ours also makes all checks of a crawl and the bytes that would be stored. The growth is that of the whole
plan, on random hashes with planted near pairs.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import machine  # isort: skip, it must come before what it tells to use one thread

import numpy as np
from PIL import Image

from dataset_tools.core.files import sha256_hex
from dataset_tools.core.images import normal_photo, perceptual_hash
from dataset_tools.filter.duplicates import DuplicatePlan, Fingerprint, plan_duplicates

ASKED = 3.0  # times imagededup's pictures a second
DISTANCE = 6
COUNT = 4000
SIDE_PX = 512
SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg")
GROWTH = (10_000, 100_000, 1_000_000)

_PEER = """
import json, logging, os, sys
logging.disable(logging.CRITICAL)
from imagededup.methods import PHash
hasher = PHash(verbose=False)
start = sum(os.times()[:4])
codes = hasher.encode_images(image_dir=sys.argv[1], num_enc_workers=0)
hashed = sum(os.times()[:4])
distance = int(sys.argv[2])
found = hasher.find_duplicates(encoding_map=codes, max_distance_threshold=distance, num_dist_workers=0)
end = sum(os.times()[:4])
pairs = sum(map(len, found.values())) // 2
print(json.dumps({"hash": hashed - start, "search": end - hashed, "pairs": pairs, "files": len(codes)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", type=Path, help="Python of an environment with imagededup")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    core = machine.use_one_core()
    growth = [grown(count) for count in GROWTH]
    with tempfile.TemporaryDirectory() as folder:
        planted = draw_pictures(Path(folder), COUNT)
        rounds = [one_round(Path(folder), planted, options.peer) for _ in range(options.runs)]
        apart = hash_drift(Path(folder))
    figures: dict[str, Any] = {
        "pictures": COUNT,
        "side_px": SIDE_PX,
        "planted": len(planted),
        "runs": options.runs,
        **medians(rounds),
        "reduced_decoding_bits_apart": apart,
        "growth": growth,
        "machine": machine.describe(),
        "bound_to_one_core": core is not None,
    }
    machine.write("duplicates", figures, lines(figures))


def draw_pictures(folder: Path, count: int) -> list[tuple[str, str]]:
    """Write the JPEGs; gives the planted pairs."""
    import skimage

    data = Path(skimage.__file__).parent / "data"
    photos = [Image.open(data / name).convert("RGB") for name in SOURCES if (data / name).exists()]
    rng = np.random.default_rng(0)
    planted = []
    for number in range(count * 10 // 11):
        photo = photos[number % len(photos)]
        size = int(rng.integers(120, min(photo.size)))
        left, top = (int(rng.integers(0, side - size + 1)) for side in photo.size)
        crop = photo.crop((left, top, left + size, top + size)).rotate(90 * int(rng.integers(4)))
        name = f"{number:05d}.jpg"
        crop.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(folder / name, quality=90)
        if number % 10 == 0:
            copy = f"{number:05d}-copy.jpg"
            small = crop.resize((SIDE_PX * 3 // 4,) * 2, Image.Resampling.BICUBIC)
            small.save(folder / copy, quality=70)
            planted.append((name, copy))
    return planted


def one_round(folder: Path, planted: list[tuple[str, str]], peer: Path | None) -> dict[str, Any]:
    start = time.process_time()
    prints = [fingerprint_of(path) for path in sorted(folder.iterdir())]
    hashed = time.process_time()
    plan = plan_duplicates(prints, drop_distance=DISTANCE, group_distance=DISTANCE)
    end = time.process_time()
    found = sum(joined(plan, one) == joined(plan, other) for one, other in planted)
    ours = {"hash": hashed - start, "search": end - hashed, "planted_found": found, "files": len(prints)}
    if peer is None:
        return {"ours": ours}
    command = [str(peer), "-c", _PEER, str(folder), str(DISTANCE)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {"ours": ours, "imagededup": json.loads(said.splitlines()[-1])}


def fingerprint_of(path: Path) -> Fingerprint:
    photo = normal_photo(path.read_bytes())
    height, width = photo.size_hw
    return Fingerprint(
        path.name, path.name, sha256_hex(photo.data), int(photo.phash, 16), height * width, False
    )


def joined(plan: DuplicatePlan, name: str) -> str:
    return plan.groups.get(name, name)


def hash_drift(folder: Path) -> dict[str, float]:
    """Bits between the hash of a JPEG decoded at a part of its size and of the whole picture."""
    apart = []
    for path in sorted(folder.iterdir())[:200]:
        with Image.open(path) as opened:
            whole = perceptual_hash(np.asarray(opened.convert("RGB")))
        apart.append((int(whole, 16) ^ int(normal_photo(path.read_bytes()).phash, 16)).bit_count())
    return {"median": statistics.median(apart), "most": max(apart)}


def medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    def rate(one: dict[str, float]) -> float:
        return one["files"] / (one["hash"] + one["search"])

    figures: dict[str, Any] = {}
    for name in rounds[0]:
        figures[name] = {
            key: round(statistics.median(one[name][key] for one in rounds), 3) for key in rounds[0][name]
        }
        figures[name]["pictures_per_second"] = round(statistics.median(rate(one[name]) for one in rounds), 1)
    if "imagededup" in rounds[0]:
        ratios = [rate(one["ours"]) / rate(one["imagededup"]) for one in rounds]
        figures["times_as_fast"] = round(statistics.median(ratios), 2)
    return figures


def grown(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(count)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    chosen = rng.permutation(count)[: count // 50].reshape(-1, 2)
    for one, other in chosen:
        bits = rng.choice(64, rng.integers(1, DISTANCE + 1), replace=False)
        hashes[other] = hashes[one] ^ np.uint64(sum(1 << int(bit) for bit in bits))

    def prints() -> Iterator[Fingerprint]:
        for place, value in enumerate(hashes.tolist()):
            name = f"https://example.org/{place:08d}.jpg"
            yield Fingerprint(name, f"{place:032x}", f"{place:064x}", value, 1, False)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    plan = plan_duplicates(prints(), drop_distance=4, group_distance=DISTANCE)
    seconds = time.process_time() - start
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    names = [[joined(plan, f"{place:032x}") for place in pair] for pair in chosen]
    return {
        "hashes": count,
        "seconds": round(seconds, 2),
        "peak_mib": round(grown_kib / (1024 if sys.platform != "darwin" else 1024**2), 1),
        "planted": len(names),
        "found": sum(one == other for one, other in names),
    }


def lines(figures: dict[str, Any]) -> list[str]:
    about = figures["machine"]
    rows = [
        [name, one["pictures_per_second"], one["hash"], one["search"]]
        for name in ("ours", "imagededup")
        if (one := figures.get(name))
    ]
    steps = figures["growth"]
    ratios = ["–", *(round(b["seconds"] / a["seconds"], 1) for a, b in pairwise(steps))]
    drift = figures["reduced_decoding_bits_apart"]
    return [
        "# Search for duplicates",
        "",
        f"{about['processor']}, {about['cores']} cores (one used), load {about['load'][0]}; median of "
        f"{figures['runs']} rounds over {figures['pictures']} JPEGs of {SIDE_PX} px, processor time.",
        "",
        *machine.table(("", "pictures/s", "hashing, s", "search, s"), rows),
        "",
        f"Times as fast as imagededup: {figures.get('times_as_fast', 'not measured')} (asked: {ASKED:g}). "
        f"Of {figures['planted']} planted copies {figures['ours']['planted_found']:g} were found. A JPEG is "
        f"decoded at a part of its size: the hash is {drift['median']:g} bits (at most {drift['most']}) from "
        "that of the whole picture.",
        "",
        "The whole plan on random hashes, 2 % of them in planted near pairs; processor time:",
        "",
        *machine.table(
            ("hashes", "seconds", "times the row above", "memory, MiB", "planted pairs found"),
            [
                [one["hashes"], one["seconds"], ratio, one["peak_mib"], f"{one['found']} of {one['planted']}"]
                for one, ratio in zip(steps, ratios, strict=True)
            ],
        ),
    ]


if __name__ == "__main__":
    main()
