"""What breaks a run from outside: SIGKILL at random moments, full and read-only disks, a second process.

After each the same command is given again, and the result must be that of an undisturbed run.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from dataset_tools.cli import main
from dataset_tools.core.errors import WorkspaceBusy
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.workspace import Workspace

CRAWL_AND_FILTER = (
    "import sys\n"
    "from dataset_tools.cli import main\n"
    "config, workspace, workers = sys.argv[1:]\n"
    "for stage in ('crawl', 'filter'):\n"
    "    main([stage, config, '--workspace', workspace, '--workers', workers], standalone_mode=False)\n"
)


def draw(seed: int, quality: int = 90) -> bytes:
    """A JPEG of soft coloured blobs; another seed is another picture, another quality a near duplicate."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype(np.uint8)
    target = io.BytesIO()
    Image.fromarray(coarse).resize((144, 132), Image.Resampling.BICUBIC).save(target, "JPEG", quality=quality)
    return target.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves /<n>.jpg: every 10th twice the same, every 11th nearly the same, every 13th not there."""

    def do_GET(self) -> None:
        name = self.path.strip("/").removesuffix(".jpg")
        is_there = name.isdigit() and int(name) % 13
        body = b"no"
        if is_there:
            number = int(name)
            body = draw(abs(number - (number % 10 == 1) - (number % 11 == 1)), 70 + number % 11)
        self.send_response(200 if is_there else 404)
        self.send_header("Content-Type", "image/jpeg" if is_there else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        return None


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: Any) -> None:
        return None  # clients that die in the middle are the point of these tests


@contextmanager
def serving(handler: type[Handler] = Handler, port: int = 0) -> Iterator[str]:
    server = QuietServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with serving() as found:
        yield found


def write_config(folder: Path, crawl: dict[str, Any], **more: Any) -> Path:
    filtering = {"detect": False, "landmarks": False, "min_sharpness": 0.0, "min_face_px": 1}
    values = {"name": "x", "seed": 3, "shard_size": 16, "crawl": crawl, "filter": filtering, **more}
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder / "config.yaml"


def crawl_config(folder: Path, origin: str, pictures: int, **more: Any) -> Path:
    rows = [f"{origin}/{number}.jpg,CC0-1.0" for number in range(pictures)]
    (folder / "urls.csv").write_text("\n".join(["url,licence", *rows]))
    fetch = {"host_pause_s": 0.0, "per_host": 8, "tries": 1}
    source = {"type": "url_list", "name": "u", "path": "urls.csv"}
    return write_config(folder, {"sources": [source], "allow_origins": [origin], "fetch": fetch}, **more)


def start(config: Path, workspace: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CRAWL_AND_FILTER, str(config), str(workspace), str(workers)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(config: Path, workspace: Path, workers: int) -> None:
    with start(config, workspace, workers) as process:
        _, said = process.communicate(timeout=300)
    assert (process.returncode, said) == (0, b"")


def kill_after(seconds: float, config: Path, workspace: Path, workers: int) -> bool:
    """Start the build and kill its whole process group; False when it was done before."""
    with start(config, workspace, workers) as process:
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode == -signal.SIGKILL


def state(workspace: Path) -> dict[str, Any]:
    """All that two runs must agree on, after checking what one must keep by itself."""
    manifests = sorted((workspace / "manifests").iterdir())
    crawl = Manifest(next(path for path in manifests if path.name.startswith("crawl-")))
    keys = Counter(sample.provenance.item_key for sample in crawl.samples())
    keys.update(item.item_key for item in crawl.rejections())
    assert set(keys.values()) == {1}
    objects = sorted(path for path in (workspace / "objects").rglob("*") if path.is_file())
    for path in objects:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    assert not list(workspace.rglob(".tmp-*"))
    return {
        "rows": {path.name: Manifest(path).canonical_digest() for path in manifests},
        "counts": {path.name: Manifest(path).counts for path in manifests},
        "objects": [path.name for path in objects],
        "keys": sorted(keys),
    }


@pytest.mark.parametrize(
    ("kills", "pictures", "workers"),
    [(6, 80, 1), pytest.param(30, 300, 2, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_killed_at_random_moments_and_run_again_the_result_is_the_same(
    tmp_path: Path, origin: str, kills: int, pictures: int, workers: int
) -> None:
    config = crawl_config(tmp_path, origin, pictures)
    started = time.monotonic()
    finish(config, tmp_path / "undisturbed", workers)
    seconds = time.monotonic() - started
    expected = state(tmp_path / "undisturbed")
    assert len(expected["keys"]) == pictures
    assert len(expected["rows"]) >= 2
    moments = random.Random(kills)
    killed = half_made = builds = 0
    while killed < kills:
        workspace = tmp_path / f"work{builds}"
        for _ in range(min(moments.randint(1, 5), kills - killed)):
            if not kill_after(moments.uniform(0.2, 1.0) * seconds, config, workspace, workers):
                break
            killed += 1
            half_made += any(workspace.glob("manifests/*/samples/*"))
        finish(config, workspace, workers)
        assert state(workspace) == expected
        shutil.rmtree(workspace)
        builds += 1
    assert half_made, "every kill came before the first shard: the moments prove nothing"


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_crawl_told_to_stop_ends_at_once_with_its_own_code_and_a_rerun_completes_it(
    tmp_path: Path, told: signal.Signals
) -> None:
    running: list[subprocess.Popen[bytes]] = []
    served: list[str] = []

    class Stopping(Handler):
        def do_GET(self) -> None:
            served.append(self.path)
            if len(served) == 30:  # two shards are done by then
                os.killpg(running[0].pid, told)  # as Ctrl-C and systemd do
                running[0].wait()
            else:
                super().do_GET()

    with serving(Stopping) as origin:
        config = crawl_config(tmp_path, origin, 60)
        running.append(start(config, tmp_path / "work", 2))
        with running[0] as process:
            _, said = process.communicate(timeout=60)
        # A shell counts a death by signal n as 128 + n.
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        assert code == 128 + told
        assert said.count(b"\n") <= 1 and b"Traceback" not in said
        assert any((tmp_path / "work").glob("manifests/crawl-*/samples/*"))
        assert not any((tmp_path / "work").glob("manifests/crawl-*/header.json"))
        assert run_small(config, tmp_path / "work") == (0, "")
        assert run_small(config, tmp_path / "undisturbed") == (0, "")
    assert state(tmp_path / "work") == state(tmp_path / "undisturbed")


def test_a_half_written_file_of_a_killed_run_is_swept_away(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    left = [tmp_path / "objects/ab/.tmp-1.png", tmp_path / "manifests/crawl-1/samples/.tmp-2.parquet"]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    with workspace.lock():
        assert all(path.exists() for path in left)  # nobody was killed here: not worth a search
    (tmp_path / ".lock").write_text('{"pid": 1}')  # what a killed holder leaves
    with workspace.lock():
        assert not any(path.exists() for path in left)
    assert (tmp_path / ".lock").read_text() == ""


# -- disks ------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        (tmp_path / "photos" / f"{seed}.jpg").write_bytes(draw(seed))
    source = {"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}
    return write_config(tmp_path, {"sources": [source]}, shard_size=2)


def run_small(config: Path, workspace: Path) -> tuple[int, str]:
    """Crawl, then filter; exit code and what was said about it."""
    for stage in ("crawl", "filter"):
        result = CliRunner().invoke(main, [stage, str(config), "--workspace", str(workspace)])
        if result.exit_code:
            break
    return result.exit_code, result.stderr


class FailingDisk:
    """Counts what the suite does to the disk below a folder; the n-th deed fails with `code`."""

    DEEDS = ((os, "fsync"), (os, "open"), (Path, "mkdir"), (Path, "replace"), (Path, "write_bytes"))

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int, code: int) -> None:
        self.calls = 0
        self.fails_at = fails_at
        self.code = code
        self.lock = threading.Lock()
        for owner, name in self.DEEDS:
            monkeypatch.setattr(owner, name, self.wrap(getattr(owner, name)))

    def wrap(self, deed: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            with self.lock:
                self.calls += 1
                fails = self.calls == self.fails_at
            if fails:
                raise OSError(self.code, os.strerror(self.code))
            return deed(*args, **options)

        return counted


@pytest.mark.parametrize(
    ("code", "step"),
    [
        (errno.ENOSPC, 7),
        *(pytest.param(code, 1, marks=pytest.mark.slow) for code in (errno.ENOSPC, errno.EROFS)),
    ],
)
def test_a_disk_that_fails_at_any_deed_stops_the_run_cleanly_and_a_rerun_completes_it(
    tmp_path: Path, small: Path, code: int, step: int
) -> None:
    assert run_small(small, tmp_path / "whole") == (0, "")
    expected = state(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patched:
        disk = FailingDisk(patched, 0, code)
        assert run_small(small, tmp_path / "counted") == (0, "")
    assert disk.calls > 40
    for fails_at in range(1, disk.calls + 1, step):
        workspace = tmp_path / f"work{fails_at}"
        with pytest.MonkeyPatch.context() as patched:
            FailingDisk(patched, fails_at, code)
            status, said = run_small(small, workspace)
        assert status == 75, (fails_at, said)
        assert os.strerror(code) in said and said.count("\n") == 1
        assert not [path for path in workspace.rglob(".tmp-*") if "objects" in path.parts]
        assert run_small(small, workspace) == (0, "")
        assert state(workspace) == expected
        shutil.rmtree(workspace)


REAL_DISK = """
set -e
mount -t tmpfs -o size=200k none "$1"
set +e
python="$0"
build() { "$python" -m dataset_tools.cli crawl "$2" --workspace "$1/work"; echo "exit $?"; }
build "$1" "$2"
mount -o remount,ro "$1"
build "$1" "$2"
mount -o remount,rw,size=64m "$1"
build "$1" "$2"
find "$1" -name '.tmp-*'
"""


def test_a_really_full_and_a_really_read_only_disk(tmp_path: Path) -> None:
    may = subprocess.run(["unshare", "-rm", "true"], capture_output=True) if shutil.which("unshare") else None
    if may is None or may.returncode:
        pytest.skip("this machine does not let a user mount a small disk")
    (tmp_path / "photos").mkdir()
    (tmp_path / "disk").mkdir()
    for seed in range(40):
        noise = np.random.default_rng(seed).integers(0, 255, (96, 96, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{seed}.png")
    source = {"type": "folder", "name": "p", "path": "photos", "licence": "CC0-1.0"}
    config = write_config(tmp_path, {"sources": [source]}, shard_size=4)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", REAL_DISK, sys.executable, tmp_path / "disk", config],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    errors = done.stderr.splitlines()
    assert len(errors) == 2, done.stderr
    assert "No space left on device" in errors[0] and "Read-only file system" in errors[1]
    said = done.stdout.splitlines()
    assert (said[0], said[1]) == ("exit 75", "exit 75")
    assert said[2].startswith("crawl     40 in, 40 kept")
    assert said[3:] == ["exit 0"]


# -- others -----------------------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path, small: Path) -> None:
    command = [sys.executable, "-m", "dataset_tools.cli", "crawl", str(small), "--workspace"]
    with Workspace(tmp_path / "work").lock():
        done = subprocess.run([*command, str(tmp_path / "work")], capture_output=True, text=True)
        for _ in range(1000):  # whoever has the folder, another opening of it is another holder
            with pytest.raises(WorkspaceBusy, match=str(os.getpid())), Workspace(tmp_path / "work").lock():
                raise AssertionError("there are two")
    assert done.returncode == 75
    assert f'"pid": {os.getpid()}' in done.stderr and done.stderr.count("\n") == 1
    assert run_small(small, tmp_path / "work") == (0, "")


def test_a_server_that_goes_down_in_the_middle_and_comes_back_costs_nothing(tmp_path: Path) -> None:
    served: list[str] = []

    class Dying(Handler):
        def do_GET(self) -> None:
            served.append(self.path)
            if len(served) > 30:
                self.close_connection = True  # without a word
            else:
                super().do_GET()

    options = ["--workspace", str(tmp_path / "work"), "--json"]
    with serving(Dying) as origin:
        config = crawl_config(tmp_path, origin, 60, max_reject_rate=0.3)
        port = int(origin.rpartition(":")[2])
        status, said = run_small(config, tmp_path / "work")
    assert status == 3 and said.count("\n") == 1
    rows = json.loads(CliRunner().invoke(main, ["rejects", str(config), *options]).stdout)
    lost = [row for row in rows if row["retryable"]]
    assert len(lost) > 25 and {row["reason"] for row in lost} == {"transport"}
    assert len(served) < 60  # a host that has fallen silent is left alone
    with serving(port=port) as origin:
        again = CliRunner().invoke(main, ["crawl", str(config), "--retry-failed", *options])
        assert (again.exit_code, again.stderr) == (0, "")
        assert run_small(config, tmp_path / "work") == (0, "")
        assert run_small(config, tmp_path / "undisturbed") == (0, "")
    assert state(tmp_path / "work") == state(tmp_path / "undisturbed")


def test_a_server_that_is_down_gives_rows_that_may_be_tried_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        down = f"http://127.0.0.1:{taken.getsockname()[1]}"
    (tmp_path / "urls.csv").write_text(
        "url,licence\n" + "".join(f"{down}/{number}.jpg,CC0-1.0\n" for number in range(5))
    )
    source = {"type": "url_list", "name": "u", "path": "urls.csv"}
    fetch = {"host_pause_s": 0.0, "tries": 1}
    config = write_config(tmp_path, {"sources": [source], "allow_origins": [down], "fetch": fetch})
    status, said = run_small(config, tmp_path / "work")
    assert status == 3 and said.count("\n") == 1
    options = ["--workspace", str(tmp_path / "work"), "--json"]
    rows = json.loads(CliRunner().invoke(main, ["rejects", str(config), *options]).stdout)
    assert [(row["reason"], row["retryable"]) for row in rows] == [("transport", True)] * 5
