"""Tasks pushed to a real Label Studio and pulled back: per second, in memory, and how both grow.

    uv run python benchmarks/review.py [--sizes 1000 10000]

Each size has a fresh server on a temporary folder and a client in a process of its own. The pictures are 64
pixels wide and distinct, each with one proposed brush region. Times are those of what the review commands
call; annotations for the pull come with the tasks of a second lane, since submitting them one by one would
measure something else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine
import numpy as np

from annotation.label_studio.client import LabelStudioClient
from annotation.label_studio.server import LabelStudioServer, install_server
from annotation.label_studio.tool import LabelStudioTool
from annotation.settings import ReviewSettings
from annotation.showing import Showing
from annotation.tokens import TOKEN_VARIABLE
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.record import Instance, Provenance, Sample, sample_id

SIDE = 64
# Nothing counts as easy: previews are another matter.
SETTINGS = ReviewSettings(project="benchmark", annotators=("a", "b"), easy_from=1.0)
STEPS = {
    "push": "push",
    "push_again": "push again, nothing to send",
    "push_annotated": "push with annotations",
    "read": "read tasks and annotations",
    "pull": "pull: read, decode, judge",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=2, default=[1000, 10000], metavar="N")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measure(options.measure)))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty"
        with LabelStudioServer(install_server(), empty):
            pass  # makes the database, which takes half a minute
        for size in options.sizes:
            data = Path(folder) / str(size)
            shutil.copytree(empty, data)
            with LabelStudioServer(install_server(), data) as server:
                found[size] = _of_a_client(server, size)
            shutil.rmtree(data)
    _publish(found, *options.sizes)


def _of_a_client(server: LabelStudioServer, size: int) -> dict[str, Any]:
    environment = os.environ | {
        TOKEN_VARIABLE: server.account.token,
        "BENCHMARK_URL": server.url,
        "BENCHMARK_PID": str(server.pid),
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", str(size)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(size: int) -> dict[str, Any]:
    server = int(os.environ["BENCHMARK_PID"])
    figures: dict[str, Any] = {"server_mb_at_start": _memory_mb(server, "VmRSS")}
    with (
        tempfile.TemporaryDirectory() as folder,
        LabelStudioClient(os.environ["BENCHMARK_URL"], os.environ[TOKEN_VARIABLE]) as client,
    ):
        client.whoami()
        store = ImageStore(Path(folder))
        showing = Showing(tuple(_samples(store, size)), {})
        tool = LabelStudioTool(lambda _: client, SETTINGS, store)
        annotated = LabelStudioTool(lambda _: _Annotating(client), SETTINGS, store)
        with _step(figures, "push", server):
            assert tool.open(showing, "a").sent == size
        with _step(figures, "push_again", server):
            assert tool.open(showing, "a").sent == 0
        with _step(figures, "push_annotated", server):
            assert annotated.open(showing, "b").sent == size
        (project,) = client.find_projects(tool.title("b"))
        with _step(figures, "read", server):
            assert (
                sum(len(task.annotations) for task in client.tasks(project.id, with_annotations=True)) == size
            )
        with _step(figures, "pull", server):
            assert len(tool.pull(showing, "b", ()).verdicts) == size
    return figures


class _Annotating:
    """The client, but the tasks it sends have been accepted by somebody already."""

    def __init__(self, client: LabelStudioClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]]) -> None:
        done = [
            {**task, "annotations": [{"result": task["predictions"][0]["result"], "ground_truth": False}]}
            for task in tasks
        ]
        self._client.import_tasks(project, done)


def _samples(store: ImageStore, count: int) -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(count):
        cells = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = store.put_array(np.ascontiguousarray(cells.repeat(SIDE // 8, 0).repeat(SIDE // 8, 1)))
        centre = rng.uniform(24, 40, 2)
        mask = ((x - centre[0]) / 18) ** 2 + ((y - centre[1]) / 12) ** 2 < 1
        proposal = Instance("face0", Label.FACE_MASK, mask_to_rle(mask), "model:any@0", 0.5, 0)
        key = sample_id(image)
        yield Sample(
            id=key,
            image=image,
            provenance=Provenance("benchmark", f"{number}.png", "CC0-1.0"),
            group=key,
            instances=(proposal,),
        )


@contextmanager
def _step(figures: dict[str, Any], name: str, server: int) -> Iterator[None]:
    # Writing 5 sets the peak back to what is in use now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory_mb(os.getpid(), "VmRSS")
    start, own, theirs = time.perf_counter(), time.process_time(), _processor_s(server)
    yield
    figures[name] = {
        "seconds": round(time.perf_counter() - start, 2),
        "client_cpu_s": round(time.process_time() - own, 2),
        "server_cpu_s": round(_processor_s(server) - theirs, 2),
        "client_mb_more": round(_memory_mb(os.getpid(), "VmHWM") - before, 1),
        "server_mb": _memory_mb(server, "VmHWM"),
    }
    print(f"{name}: {figures[name]}", file=sys.stderr)


def _processor_s(pid: int) -> float:
    # The fields after the program's name, which may itself have blanks: user and system time in ticks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"no {field} of process {pid}")


def _publish(found: dict[int, dict[str, Any]], small: int, large: int) -> None:
    speed, memory = [], []
    for name, title in STEPS.items():
        few, many = found[small][name], found[large][name]
        cpu = [values["client_cpu_s"] + values["server_cpu_s"] for values in (few, many)]
        speed.append(
            (
                title,
                round(small / few["seconds"]),
                round(large / many["seconds"]),
                round(cpu[0] / small * 1000, 1),
                round(cpu[1] / large * 1000, 1),
                round(many["client_cpu_s"] / large * 1000, 2),
                round(cpu[1] / cpu[0], 1),
            )
        )
        memory.append(
            (title, *(values[key] for key in ("client_mb_more", "server_mb") for values in (few, many)))
        )
    lines = [
        "# Review sessions: tasks pushed and pulled",
        "",
        f"Label Studio and client on the same {os.cpu_count()} cores, SQLite; pictures of {SIDE}x{SIDE} "
        "pixels with one brush region. Processor time is that of client and server together, which other "
        "work on the machine does not lengthen.",
        "",
        *machine.table(
            (
                f"step: {small} and {large} tasks",
                f"tasks/s, {small}",
                f"tasks/s, {large}",
                f"CPU ms per task, {small}",
                f"CPU ms per task, {large}",
                "of these the client's",
                f"CPU time, times, for {large // small} times the tasks",
            ),
            speed,
        ),
        "",
        f"Peaks of memory. The server begins with {found[large]['server_mb_at_start']} MB, and its peak does "
        "not go back between steps.",
        "",
        *machine.table(
            (
                "step",
                f"client, MB more, {small}",
                f"client, MB more, {large}",
                f"server, MB, {small}",
                f"server, MB, {large}",
            ),
            memory,
        ),
    ]
    figures = {"machine": machine.describe(), **{str(size): values for size, values in found.items()}}
    machine.write("review", figures, lines)


if __name__ == "__main__":
    main()
