"""A Label Studio server of our own: installed from PyPI into its own environment, bound to loopback.

It pins its own Django, OpenCV and many more, so it never shares our environment; it sends no telemetry, and
its owner is made on first start. Annotators get an organisation of their own, with walls in between
(`accounts`, `inside/maskset_walls.py`).
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import httpx

from annotation.label_studio.accounts import INSIDE, owner_account
from dataset_tools.core.errors import ConfigError, ReviewServiceError

_log = logging.getLogger(__name__)

LABEL_STUDIO_VERSION = "1.23.2"
HOST = "127.0.0.1"
DEFAULT_PORT = 8080

START_TIMEOUT_S = 180.0  # the first start makes the database: 30 s on two idle cores
STOP_TIMEOUT_S = 20.0
INSTALL_TIMEOUT_S = 1800.0
_POLL_S = 0.25

_QUIET = {
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LATEST_VERSION_CHECK": "false",
    "FEATURE_FLAGS_OFFLINE": "true",
    "LOG_LEVEL": "WARNING",
    # One call to the outside has no switch (the start page's tips); a proxy that is not there ends it.
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
# Our ML backend listens on 127.0.0.1, which Label Studio takes for an attempt to reach into the network it
# runs in, and refuses. It may reach there because nobody can reach it but this machine's own people: these
# two belong to HOST being loopback, and have to go when it is not.
_LOOPBACK = {"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "false"}
_FOREIGN_PREFIXES = ("LABEL_STUDIO_", "HEARTEX_", "DJANGO_", "PYTHON", "VIRTUAL_ENV")


def cache_folder() -> Path:
    """For installed things: `$MASKSET_CACHE`, else `$XDG_CACHE_HOME/maskset` or `~/.cache/maskset`."""
    if own := os.environ.get("MASKSET_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskset"


def data_folder() -> Path:
    """Where `review serve` keeps its database, by default `~/.local/share/maskset/label-studio`."""
    root = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return root / "maskset" / "label-studio"


def install_server(cache: Path | None = None) -> Path:
    """Install Label Studio into its own environment, once (about 800 MB, some 30 s to minutes).

    Uses the user's uv, or else venv and pip, so that their index settings hold.

    Args:
        cache: parent folder; `cache_folder()` by default.

    Returns:
        The `label-studio` program.

    Raises:
        ReviewServiceError: the installation failed; carries the installer's last line.
    """
    name = f"label-studio-{LABEL_STUDIO_VERSION}-py{sys.version_info[0]}{sys.version_info[1]}"
    root = (cache or cache_folder()) / name
    program, complete = root / "bin" / "label-studio", root / ".complete"
    root.parent.mkdir(parents=True, exist_ok=True)
    with _locked(root.parent / f".{name}.lock"):
        if complete.exists() and program.exists():
            return program
        shutil.rmtree(root, ignore_errors=True)
        for command in _install_commands(root):
            _run_installer(command)
        complete.touch()
    return program


def _install_commands(root: Path) -> list[list[str]]:
    requirement = f"label-studio=={LABEL_STUDIO_VERSION}"
    uv = shutil.which("uv")
    if uv is not None:
        return [
            [uv, "venv", "--quiet", "--python", sys.executable, str(root)],
            [uv, "pip", "install", "--quiet", "--python", str(root / "bin" / "python"), requirement],
        ]
    return [
        [sys.executable, "-m", "venv", str(root)],
        [str(root / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement],
    ]


def _run_installer(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReviewServiceError(f"cannot install Label Studio: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise ReviewServiceError(
            f"cannot install Label Studio {LABEL_STUDIO_VERSION} (exit code {done.returncode}): {said[-1]}"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """A loopback port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class LabelStudioServer:
    """A running server; use as a context manager, or `start` and `stop`.

    Args:
        program: from `install_server`.
        data: its database, uploads, log and accounts (mode 0700); made on first start.
        port: on 127.0.0.1; None takes a free one.
    """

    def __init__(self, program: Path, data: Path, port: int | None = None) -> None:
        self._program = program
        self._data = data.resolve()
        self._port = port if port is not None else free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.account = owner_account(self._data)

    @property
    def url(self) -> str:
        """Base URL without a slash at its end."""
        return f"http://{HOST}:{self._port}"

    @property
    def data(self) -> Path:
        """Folder of its database, uploads, log and accounts."""
        return self._data

    @property
    def python(self) -> Path:
        """Of Label Studio's environment."""
        return self._program.parent / "python"

    @property
    def log_path(self) -> Path:
        """What the server printed."""
        return self._data / "server.log"

    @property
    def is_running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process, and process group, of the running server; 0 when not running."""
        return self._process.pid if self._process is not None and self.is_running else 0

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start and wait until the server is healthy and knows our token.

        Raises:
            ConfigError: the port is in use, or the data folder by another server.
            ReviewServiceError: the server ended, or was not ready in time; names its log.
        """
        # Label Studio would quietly take the next port.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self._port))
            except OSError as error:
                raise ConfigError(f"port {self._port} of {HOST} is in use: {error.strerror}") from None
        command = [
            *(str(self._program), "start", "--no-browser"),
            *("--internal-host", HOST, "--port", str(self._port)),
        ]
        with self.log_path.open("ab") as log, (self._data / ".lock").open("a") as lock:
            # The server inherits the lock: it is held as long as the server lives, even when we are killed.
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(
                    f"{self._data} is in use by another Label Studio; stop it, or name another folder"
                ) from None
            # Its own session: Ctrl-C reaches us first, and we stop it in order.
            self._process = subprocess.Popen(
                command,
                pass_fds=(lock.fileno(),),
                env=self.environment(),
                cwd=self._data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready(timeout_s)
        except BaseException:
            self.stop()
            raise

    def environment(self) -> dict[str, str]:
        """Variables of the server's process; secrets among them."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN_PREFIXES)}
        own = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(self._data),
            "LABEL_STUDIO_USERNAME": self.account.email,
            "LABEL_STUDIO_PASSWORD": self.account.password,
            "LABEL_STUDIO_USER_TOKEN": self.account.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            "DJANGO_SETTINGS_MODULE": "maskset_settings",
            "PYTHONPATH": str(INSIDE),
        }
        return kept | _QUIET | _LOOPBACK | own

    def _wait_until_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        headers = {"Authorization": f"Token {self.account.token}"}
        with httpx.Client(base_url=self.url, timeout=5.0, trust_env=False) as client:
            while time.monotonic() < deadline:
                if not self.is_running:
                    raise ReviewServiceError(f"Label Studio ended while starting; see {self.log_path}")
                with suppress(httpx.HTTPError):
                    if client.get("/health").status_code == 200:
                        who = client.get("/api/current-user/whoami", headers=headers)
                        if who.status_code == 200 and who.json().get("email") == self.account.email:
                            return
                        raise ReviewServiceError(
                            f"the server at {self.url} does not know our token (HTTP {who.status_code}); "
                            f"is another one running there, or is {self._data} of another account?"
                        )
                time.sleep(_POLL_S)
        raise ReviewServiceError(f"Label Studio was not ready in {timeout_s:g} s; see {self.log_path}")

    def wait(self) -> int:
        """Wait until the process ends; its exit status."""
        return self._process.wait() if self._process is not None else 0

    def stop(self) -> None:
        """End the server: SIGTERM, and SIGKILL when it does not listen. Harmless when not running."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _log.warning("Label Studio did not end on SIGTERM; killing it")
            process.kill()
            process.wait()

    def __enter__(self) -> LabelStudioServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
