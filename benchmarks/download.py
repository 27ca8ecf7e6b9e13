"""Downloaded pictures per second: the crawl stage beside img2dataset, from a server on this machine.

    uv venv i2d && uv pip install --python i2d/bin/python img2dataset "setuptools<80"
    uv run python benchmarks/download.py --peer i2d/bin/python

The server is a process of its own that answers from memory, at once or after a latency. Both sides fetch the
same JPEGs of about 50 kB with equally many requests at once, decode them, keep their pixels as they are (no
resize, no re-encoding), write one file per picture, and record a SHA-256 and the X-Robots-Tag verdict. Ours
also checks every address, robots.txt and TDM reservation, decodes in disposable workers, hashes for near
duplicates, and syncs each file. In each round the two take turns; what is timed is the call, its worker
processes included. A first round that does not count warms the files of both sides, their bytecode above all.

Nothing is deleted before all rounds are done: ext4 passes over the inode of every file deleted in the last
minutes, one by one, and a file made after 10,000 were deleted takes up to 0.8 ms instead of 0.02.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import machine  # isort: skip, it must come before what it tells to use one thread

import numpy as np
from PIL import Image

DISTINCT = 16
WARMING = 100


class Case(NamedTuple):
    """A server and a number of requests at once; 32 every 50 ms are 640 a second for anyone."""

    name: str
    latency_s: float
    at_once: int
    goal: float


CASES = (
    Case("no latency", 0.0, 32, 3.0),
    Case("50 ms latency", 0.05, 32, 1.7),
    Case("50 ms latency", 0.05, 128, 1.7),
)

PEER = """
import json, resource, sys, time
from pathlib import Path
from img2dataset import download

if __name__ == "__main__":
    port, at_once, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    (folder / "urls.txt").write_text("".join(f"http://127.0.0.1:{port}/{n}.jpg\\n" for n in range(count)))
    started = time.perf_counter()
    download(
        url_list=str(folder / "urls.txt"), output_folder=str(folder / "out"), output_format="files",
        resize_mode="no", skip_reencode=True, processes_count=2, thread_count=at_once // 2,
        compute_hash="sha256", number_sample_per_shard=1000, retries=2, enable_wandb=False,
    )
    seconds = time.perf_counter() - started
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    files = sum(1 for _ in (folder / "out").rglob("*.jpg"))
    print(json.dumps({"files": files, "images_per_s": files / seconds, "peak_rss_mb": peak // 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path, help="Python of an environment with img2dataset")
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 10_000], help="pictures in a round")
    parser.add_argument("--more", type=int, default=50_000, help="pictures for the growth of memory, 0: none")
    parser.add_argument("--runs", type=int, default=3, help="rounds of each size")
    parser.add_argument("--as", nargs="+", dest="part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        run_part(*options.part)
        return
    figures: dict[str, Any] = {"runs": options.runs, "cases": [], "steps_ms": steps()}
    with tempfile.TemporaryDirectory(prefix="download-") as root:
        for case in CASES:
            with server(case.latency_s) as port:
                compared(options.peer, port, case.at_once, WARMING, 1, root)
                for count in options.images:
                    found = compared(options.peer, port, case.at_once, count, options.runs, root)
                    figures["cases"].append({**case._asdict(), "images": count, **found})
        peaks = {one["images"]: one["ours"]["peak_rss_mb"] for one in figures["cases"][: len(options.images)]}
        if options.more:
            with server(0.0) as port:
                command = ours(port, CASES[0].at_once, options.more)
                peaks[options.more] = one_run(command, port, root)["peak_rss_mb"]
        figures["peak_rss_mb"] = peaks
        figures["machine"] = machine.describe()
        machine.write("download", figures, lines(figures))  # now: deleting takes minutes


def run_part(role: str, *arguments: str) -> None:
    if role == "server":
        asyncio.run(serve(float(arguments[0])))
    else:
        port, at_once, count, folder = arguments
        crawl(int(port), int(at_once), int(count), Path(folder))


def compared(peer: Path | None, port: int, at_once: int, count: int, runs: int, root: str) -> dict[str, Any]:
    sides = {"ours": ours(port, at_once, count)}
    if peer is not None:
        sides["img2dataset"] = [str(peer), "-c", PEER, str(port), str(at_once), str(count)]
    rounds = [{name: one_run(command, port, root) for name, command in sides.items()} for _ in range(runs)]
    found: dict[str, Any] = {}
    for name in sides:
        mine = [one[name] for one in rounds]
        found[name] = {
            "images_per_s": round(statistics.median(one["images_per_s"] for one in mine), 1),
            "each_round": [round(one["images_per_s"], 1) for one in mine],
            "peak_rss_mb": max(one["peak_rss_mb"] for one in mine),
        }
        for part in ("cpu", "server_cpu", *(("fetching_cpu",) if name == "ours" else ())):
            spent_s = statistics.median(one[f"{part}_s"] for one in mine)
            found[name][f"{part}_ms_per_image"] = round(spent_s * 1e3 / count, 2)
    if peer is not None:
        ratios = [one["ours"]["images_per_s"] / one["img2dataset"]["images_per_s"] for one in rounds]
        found["ratio"] = round(statistics.median(ratios), 2)
    return found


def ours(port: int, at_once: int, count: int) -> list[str]:
    return [sys.executable, __file__, "--as", "crawl", str(port), str(at_once), str(count)]


def one_run(command: list[str], port: int, root: str) -> dict[str, Any]:
    """Run one side in a folder of its own and check that it has every picture."""
    folder = tempfile.mkdtemp(dir=root)
    warm = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, served = resource.getrusage(resource.RUSAGE_CHILDREN), server_cpu_s(port)
    done = subprocess.run([*command, folder], capture_output=True, text=True, env=warm)
    after, served_then = resource.getrusage(resource.RUSAGE_CHILDREN), server_cpu_s(port)
    if done.returncode:
        raise SystemExit(f"{command[:2]} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["files"] == int(command[-1]), found
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found | {"cpu_s": spent_s, "server_cpu_s": served_then - served}


def server_cpu_s(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/cpu") as answer:
        return float(answer.read())


def crawl(port: int, at_once: int, count: int, folder: Path) -> None:
    """Our side: a whole crawl stage, rows written and counted."""
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.stage import run_stage, shards_of_items
    from dataset_tools.crawl.listing import list_items
    from dataset_tools.crawl.settings import CrawlSettings
    from dataset_tools.crawl.stage import CrawlStage

    origin = f"http://127.0.0.1:{port}"
    (folder / "urls.txt").write_text("".join(f"{origin}/{number}.jpg\n" for number in range(count)))
    source = {"type": "url_list", "name": "web", "path": str(folder / "urls.txt"), "licence": "CC0-1.0"}
    fetch = {"per_host": at_once, "concurrency": at_once, "host_pause_s": 0}
    values = {"allow_origins": [origin], "sources": [source], "fetch": fetch}
    started = time.perf_counter()
    settings = CrawlSettings.model_validate(values)
    report = run_stage(
        CrawlStage(settings, 0),
        shards_of_items(list_items(settings), 1000),
        folder / "manifest",
        key="k",
        parent_key="",
        images=ImageStore(folder),
    )
    seconds = time.perf_counter() - started
    files = sum(1 for _ in (folder / "objects").rglob("*.jpg"))
    assert report.counts.kept == files, report
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    spent_s = time.process_time()
    print(
        json.dumps(
            {
                "files": files,
                "images_per_s": files / seconds,
                "peak_rss_mb": peak // 1024,
                "fetching_cpu_s": spent_s,
            }
        )
    )


def steps() -> dict[str, float]:
    """Milliseconds of processor that one picture takes a decoding worker, by step; alone on the machine."""
    import cv2

    from dataset_tools.core.files import sha256_hex
    from dataset_tools.core.formats import strip_jpeg_metadata
    from dataset_tools.core.images import ImageStore, normal_photo
    from dataset_tools.core.record import ImageRef

    pictures = [drawn_jpeg(seed) for seed in range(DISTINCT)]

    def decode(data: bytes) -> None:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as opened:
            opened.draft("L", (64, 64))  # as the crawl does
            opened.load()

    with tempfile.TemporaryDirectory() as folder:
        store = ImageStore(Path(folder), syncs=False)

        def write(data: bytes) -> None:
            store.put_named(data, ImageRef(os.urandom(32).hex(), (1, 1), "jpeg"))

        whole: dict[str, Callable[[bytes], object]] = {
            "all of the JPEG's data read, a quarter of its side decoded": decode,
            "that, its perceptual hash and its data without metadata": normal_photo,
            "the metadata alone": strip_jpeg_metadata,
            "SHA-256": sha256_hex,
            "the file": write,
            "all of its pixels by OpenCV, as img2dataset does": lambda data: cv2.imdecode(
                np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED
            ),
        }
        return {name: round(processor_ms(step, pictures), 3) for name, step in whole.items()}


def processor_ms(step: Callable[[bytes], object], pictures: list[bytes]) -> float:
    def once() -> float:
        started = time.process_time()
        for picture in pictures * 20:
            step(picture)
        return (time.process_time() - started) / (20 * len(pictures)) * 1e3

    return min(once() for _ in range(5))


@contextmanager
def server(latency_s: float) -> Iterator[int]:
    """A server in a process of its own; gives its port."""
    command = [sys.executable, __file__, "--as", "server", str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def serve(latency_s: float) -> None:
    pictures = [drawn_jpeg(seed) for seed in range(DISTINCT)]
    loop = asyncio.get_running_loop()

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.pending = transport, b""

        def data_received(self, data: bytes) -> None:
            self.pending += data
            while b"\r\n\r\n" in self.pending:
                head, _, self.pending = self.pending.partition(b"\r\n\r\n")
                loop.call_later(latency_s, self.answer, head) if latency_s else self.answer(head)

        def answer(self, head: bytes) -> None:
            name, _, kind = head.split(b" ", 2)[1].strip(b"/").partition(b".")
            if kind == b"jpg":
                picture = pictures[int(name) % DISTINCT]
                # A table segment (DQT) of a number that no picture uses makes every file another one; no
                # name starts with the digit that fills it up.
                body = picture[:-2] + b"\xff\xdb\x00\x43\x03" + name.rjust(64, b"0") + picture[-2:]
                start = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
                self.transport.write(start % len(body) + body)
            elif name == b"cpu":
                spent = b"%f" % time.process_time()
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(spent), spent))
            else:
                self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            if b"connection: close" in head.lower():
                self.transport.close()

    listening = await loop.create_server(Answering, "127.0.0.1", 0, backlog=512)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


def drawn_jpeg(seed: int) -> bytes:
    """Soft colours under grain, as a photograph compresses: 448x336 pixels, about 50 kB."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 255, (21, 28, 3), dtype=np.uint8)).resize((448, 336))
    grainy = np.asarray(soft, dtype=np.float64) + rng.normal(0, 9, (336, 448, 1))
    buffer = io.BytesIO()
    Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


HEADER = ("server", "at once", "pictures", "ours, images/s", "img2dataset, images/s", "ratio", "asked for")
SHARES = (
    "server",
    "at once",
    "pictures",
    "ours: fetching process",
    "ours: workers",
    "the server, for ours",
    "img2dataset",
    "the server, for img2dataset",
)
MISSING = "not measured"


def lines(figures: dict[str, Any]) -> list[str]:
    about = figures["machine"]
    rates, shares = [], []
    for one in figures["cases"]:
        ours, peer = one["ours"], one.get("img2dataset", {})
        case = (one["name"], one["at_once"], one["images"])
        rate = (ours["images_per_s"], peer.get("images_per_s", MISSING), one.get("ratio", MISSING))
        rates.append((*case, *rate, f"at least {one['goal']}"))
        fetching = ours["fetching_cpu_ms_per_image"]
        shares.append(
            (
                *case,
                fetching,
                round(ours["cpu_ms_per_image"] - fetching, 2),
                ours["server_cpu_ms_per_image"],
                peer.get("cpu_ms_per_image", MISSING),
                peer.get("server_cpu_ms_per_image", MISSING),
            )
        )
    growth = ", ".join(f"{count}: {peak} MB" for count, peak in figures["peak_rss_mb"].items())
    return [
        "# Download: pictures per second",
        "",
        f"{about['processor']}, {about['cores']} cores, load {about['load'][0]}; median of {figures['runs']} "
        "rounds over JPEGs of about 50 kB, the server on the same cores, starting included, no file deleted "
        "before the end. Ours: 2 decoding workers; img2dataset: 2 processes with half of the requests each "
        "as threads, no resize, no re-encoding.",
        "",
        *machine.table(HEADER, rates),
        "",
        f"Peak memory of our largest process by pictures: {growth}.",
        "",
        "## Milliseconds of processor per picture",
        "",
        "Of whole runs, starting included:",
        "",
        *machine.table(SHARES, shares),
        "",
        "Of the work on one picture, alone on the machine:",
        "",
        *machine.table(("step", "ms"), list(figures["steps_ms"].items())),
    ]


if __name__ == "__main__":
    main()
