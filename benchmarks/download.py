"""Downloaded pictures per second: the crawl stage beside img2dataset, from a server on this machine.

    uv venv i2d && uv pip install --python i2d/bin/python img2dataset "setuptools<80"
    uv run python benchmarks/download.py --peer i2d/bin/python

The server is a process of its own that answers from memory, at once or after a latency. Both sides fetch the
same JPEGs of about 50 kB with 32 requests at once, decode them, keep their pixels as they are (no resize, no
re-encoding), write one file per picture, and record a SHA-256 and the X-Robots-Tag verdict. Ours also checks
every address, robots.txt and TDM reservation, decodes in disposable workers, hashes for near duplicates, and
syncs each file. In each round the two take turns; what is timed is the call, its worker processes included.
A first round that does not count warms the files of both sides, their bytecode above all.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine  # isort: skip, it must come before what it tells to use one thread

import numpy as np
from PIL import Image

CONCURRENCY = 32
DISTINCT = 16
WARMING = 100
GOALS = {"no latency": (0.0, 3.0), "50 ms latency": (0.05, 1.7)}

PEER = """
import json, resource, sys, time
from pathlib import Path
from img2dataset import download

if __name__ == "__main__":
    port, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    (folder / "urls.txt").write_text("".join(f"http://127.0.0.1:{port}/{n}.jpg\\n" for n in range(count)))
    started = time.perf_counter()
    download(
        url_list=str(folder / "urls.txt"), output_folder=str(folder / "out"), output_format="files",
        resize_mode="no", skip_reencode=True, processes_count=2, thread_count=16, compute_hash="sha256",
        number_sample_per_shard=1000, retries=2, enable_wandb=False,
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
    parser.add_argument("--as", nargs=4, dest="part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is not None:
        run_part(*options.part)
        return
    figures: dict[str, Any] = {"runs": options.runs, "concurrency": CONCURRENCY}
    for name, (latency_s, _) in GOALS.items():
        with server(latency_s) as port:
            compared(options.peer, port, WARMING, runs=1)
            figures[name] = {
                str(count): compared(options.peer, port, count, options.runs) for count in options.images
            }
    peaks = {count: found["ours"]["peak_rss_mb"] for count, found in figures["no latency"].items()}
    if options.more:
        with server(0.0) as port:
            peaks[str(options.more)] = one_run(ours(port, options.more))["peak_rss_mb"]
    figures["peak_rss_mb"] = peaks
    figures["machine"] = machine.describe()
    machine.write("download", figures, lines(figures))


def run_part(role: str, port: str, argument: str, folder: str) -> None:
    if role == "server":
        asyncio.run(serve(float(argument)))
    else:
        crawl(int(port), int(argument), Path(folder))


def compared(peer: Path | None, port: int, count: int, runs: int) -> dict[str, Any]:
    sides = {"ours": ours(port, count)}
    if peer is not None:
        sides["img2dataset"] = [str(peer), "-c", PEER, str(port), str(count)]
    rounds = [{name: one_run(command) for name, command in sides.items()} for _ in range(runs)]
    found: dict[str, Any] = {
        name: {
            "images_per_s": round(statistics.median(one[name]["images_per_s"] for one in rounds), 1),
            "each_round": [round(one[name]["images_per_s"], 1) for one in rounds],
            "cpu_ms_per_image": round(
                statistics.median(one[name]["cpu_s"] for one in rounds) * 1e3 / count, 2
            ),
            "peak_rss_mb": max(one[name]["peak_rss_mb"] for one in rounds),
        }
        for name in sides
    }
    if peer is not None:
        ratios = [one["ours"]["images_per_s"] / one["img2dataset"]["images_per_s"] for one in rounds]
        found["ratio"] = round(statistics.median(ratios), 2)
    return found


def ours(port: int, count: int) -> list[str]:
    return [sys.executable, __file__, "--as", "crawl", str(port), str(count)]


def one_run(command: list[str]) -> dict[str, Any]:
    """Run one side in a folder of its own and check that it has every picture."""
    folder = tempfile.mkdtemp(prefix="download-")
    warm = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run([*command, folder], capture_output=True, text=True, env=warm)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command[:2]} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["files"] == int(command[-1]), found
    return found | {"cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def crawl(port: int, count: int, folder: Path) -> None:
    """Our side: a whole crawl stage, rows written and counted."""
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.stage import run_stage, shards_of_items
    from dataset_tools.crawl.listing import list_items
    from dataset_tools.crawl.settings import CrawlSettings
    from dataset_tools.crawl.stage import CrawlStage

    origin = f"http://127.0.0.1:{port}"
    (folder / "urls.txt").write_text("".join(f"{origin}/{number}.jpg\n" for number in range(count)))
    source = {"type": "url_list", "name": "web", "path": str(folder / "urls.txt"), "licence": "CC0-1.0"}
    fetch = {"per_host": CONCURRENCY, "concurrency": CONCURRENCY, "host_pause_s": 0}
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
    print(json.dumps({"files": files, "images_per_s": files / seconds, "peak_rss_mb": peak // 1024}))


@contextmanager
def server(latency_s: float) -> Iterator[int]:
    """A server in a process of its own; gives its port."""
    command = [sys.executable, __file__, "--as", "server", "0", str(latency_s), ""]
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


HEADER = (
    "server",
    "pictures",
    "ours, images/s",
    "img2dataset, images/s",
    "ratio",
    "asked for",
    "ours, ms of processor per image",
    "img2dataset, ms of processor per image",
)


def lines(figures: dict[str, Any]) -> list[str]:
    about = figures["machine"]
    rows = []
    missing = "not measured"
    for name, (_, goal) in GOALS.items():
        for count, found in figures[name].items():
            peer = found.get("img2dataset", {})
            rows.append(
                (
                    name,
                    count,
                    found["ours"]["images_per_s"],
                    peer.get("images_per_s", missing),
                    found.get("ratio", missing),
                    f"at least {goal}",
                    found["ours"]["cpu_ms_per_image"],
                    peer.get("cpu_ms_per_image", missing),
                )
            )
    growth = ", ".join(f"{count}: {peak} MB" for count, peak in figures["peak_rss_mb"].items())
    return [
        "# Download: pictures per second",
        "",
        f"{about['processor']}, {about['cores']} cores, load {about['load'][0]}; median of {figures['runs']} "
        f"rounds over JPEGs of about 50 kB, {figures['concurrency']} requests at once, the server on the "
        f"same cores, starting included. Ours: 2 decoding workers; img2dataset: 2 processes "
        "of 16 threads, no resize, no re-encoding.",
        "",
        *machine.table(HEADER, rows),
        "",
        f"Peak memory of our largest process by pictures: {growth}.",
    ]


if __name__ == "__main__":
    main()
