"""How long the statistics page takes to write, how large it is, and how fast a real browser opens it.

    python benchmarks/report_page.py [--samples 10000] [--browser /usr/bin/chromium] [--write]

The chain is synth, prelabel, split over as many samples: two of three rendered, one of three a photo that
people have reviewed, with the proposal they started from. Pictures are 512 x 512 px, one of three a JPEG, the
others PNG. There are 200 of them, which the samples share: every thumbnail is decoded and made anew, only the
disk is spared.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import resource
import statistics
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
from PIL import Image, ImageEnhance

from dataset_tools.core.images import DecodedPhoto, ImageStore
from dataset_tools.core.labels import MASK_TYPES, WEARING_STATES, Label, Wearing
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.masks import RleMask, mask_to_rle
from dataset_tools.core.record import (
    LANDMARK_COUNT,
    Face,
    ImageRef,
    Instance,
    Provenance,
    Review,
    ReviewState,
    Sample,
    Split,
    sorted_pairs,
)
from dataset_tools.stats.page import MOST_PICTURES, write_report

PICTURES = 200
SHARD = 64
SIDE_PX = 512
OPENINGS = 5


def make_pictures(images: ImageStore) -> list[ImageRef]:
    """Every third a JPEG, the others PNG: one portrait, zoomed and lit in many ways."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png") as opened:
        portrait = opened.convert("RGB")
    random = np.random.default_rng(1)
    found = []
    for number in range(PICTURES):
        side = int(random.integers(300, SIDE_PX))
        left, top = random.integers(0, SIDE_PX - side + 1, 2).tolist()
        part = portrait.resize((SIDE_PX, SIDE_PX), box=(left, top, left + side, top + side))
        part = ImageEnhance.Brightness(part).enhance(random.uniform(0.6, 1.3))
        if number % 3 == 0:
            buffer = io.BytesIO()
            part.save(buffer, "JPEG", quality=90)
            found.append(images.put_photo(DecodedPhoto(np.asarray(part), buffer.getvalue())))
        else:
            found.append(images.put_array(np.asarray(part)))
    return found


def ellipse(centre_xy: tuple[float, float], radii: tuple[float, float]) -> RleMask:
    """A mask of a mask's size."""
    rows, columns = np.indices((SIDE_PX, SIDE_PX))
    return mask_to_rle(
        ((columns - centre_xy[0]) / radii[0]) ** 2 + ((rows - centre_xy[1]) / radii[1]) ** 2 <= 1
    )


class Maker:
    """Makes samples that look like those of a build.

    Args:
        pictures: to share among them.
    """

    def __init__(self, pictures: list[ImageRef]) -> None:
        self._pictures = pictures
        self._masks = [ellipse((226 + k, 250 + 3 * k), (110 + k, 80)) for k in range(12)]
        self._faces = [ellipse((226 + k, 130 + 3 * k), (120, 90)) for k in range(12)]
        landmarks = np.round(np.random.default_rng(2).uniform(100, 400, 3 * LANDMARK_COUNT) * 64) / 64
        self._landmarks = tuple(landmarks.tolist())

    def sample(self, number: int) -> tuple[Sample, Sample]:
        """The sample as it is in the end, and as prelabelling left it."""
        name = hashlib.sha256(str(number).encode()).hexdigest()[:32]
        is_photo = number % 3 == 0
        masks = [self._masks[number * step % 12] for step in (1, 5)]
        attributes = sorted_pairs(
            {
                "mask_type": MASK_TYPES[number % len(MASK_TYPES)],
                "wearing_state": WEARING_STATES[number % len(WEARING_STATES)],
            }
        )
        drawn_by = "human:somebody" if is_photo else "synth:surgical@1"
        final = Sample(
            id=name,
            image=self._pictures[number % PICTURES],
            provenance=Provenance(
                source=f"source {number % 4}" if is_photo else "synth",
                item_key=f"picture-{number:06d}.jpg",
                licence=("CC0-1.0", "CC-BY-4.0", "MIT")[number % 3],
                url=f"https://example.org/{number}",
                author=f"Author {number % 97}",
                parent_id="" if is_photo else "f" * 32,
            ),
            group=str(number),
            faces=(self._face(number),),
            instances=(
                Instance("m", Label.FACE_MASK, masks[0], drawn_by, face=0, attributes=attributes),
                Instance("f", Label.FACE, self._faces[number % 12], drawn_by, face=0),
            ),
            split=(Split.TRAIN, Split.TRAIN, Split.TRAIN, Split.VAL, Split.TEST)[number % 5],
            review=Review(ReviewState.CORRECTED, ("somebody",), method="single") if is_photo else Review(),
            is_labelled=True,
        )
        if not is_photo:
            return final, final
        proposal = Instance("p", Label.FACE_MASK, masks[1], "model:unet@1", 0.6 + number % 40 / 100, face=0)
        return final, replace(final, instances=(proposal,), review=Review(), is_labelled=False)

    def _face(self, number: int) -> Face:
        pose = (float(number % 120 - 60), 0.0, 0.0)
        return Face((110, 90, 340, 400), 0.9, Wearing.MASKED, "d@1", self._landmarks, pose)


def build(root: Path, count: int) -> dict[str, Manifest]:
    """Write the chain."""
    maker = Maker(make_pictures(ImageStore(root)))
    pairs = [maker.sample(number) for number in range(count)]
    chain = {}
    for stage in ("synth", "prelabel", "split"):
        directory = root / "manifests" / stage
        for start in range(0, count, SHARD):
            part = [pair[0] if stage == "split" else pair[1] for pair in pairs[start : start + SHARD]]
            keys = [item.provenance.item_key for item in part]
            counts = write_shard(directory, start // SHARD, keys, part, [])
        shards = -(-count // SHARD)
        chain[stage] = write_header(directory, {"counts": asdict(counts), "shards": shards})
    return chain


def open_in_browser(page: Path, browser: Path) -> dict[str, float]:
    """Median over fresh contexts: ms until the page is loaded, and until its cards are there."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    ready = "() => document.querySelectorAll('#cards img').length > 0"
    loaded, carded = [], []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(browser), args=flags)
        for _ in range(OPENINGS):
            context = launched.new_context(offline=True, viewport={"width": 1280, "height": 900})
            opened = context.new_page()
            start = time.perf_counter()
            opened.goto(page.as_uri())
            opened.wait_for_function(ready)
            carded.append(1000 * (time.perf_counter() - start))
            loaded.append(
                float(opened.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
            )
            context.close()
        launched.close()
    return {"load_event_ms": statistics.median(loaded), "first_cards_ms": statistics.median(carded)}


def measure(count: int, browser: Path) -> dict[str, Any]:
    """One size: seconds, bytes, memory and opening times."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        chain = build(root, count)
        wall, cpu = time.perf_counter(), time.process_time()
        page = write_report(chain, ImageStore(root), root / "report")
        figures: dict[str, Any] = {
            "samples": count,
            "pictures_in_page": min(count, MOST_PICTURES),
            "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
            "page_mb": round(page.stat().st_size / 1e6, 2),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
        if browser.exists():
            times = open_in_browser(page, browser)
            figures |= {name: round(value) for name, value in times.items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--browser", type=Path, default=Path("/usr/bin/chromium"))
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    options = parser.parse_args()
    rows = [measure(count, options.browser) for count in options.samples]
    lines = machine.table(list(rows[0]), [list(row.values()) for row in rows])
    if options.write:
        machine.write("report_page", {"machine": machine.describe(), "rows": rows}, lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
