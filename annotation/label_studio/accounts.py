"""Accounts on a server of ours: its owner, and annotators who cannot see each other's work.

Each annotator has an organisation of their own. By itself the free edition would not keep organisations
apart; the walls in `inside/maskset_walls.py` do. Passwords and tokens stay in files of the server's data
folder that only its owner can read; they pass to Label Studio by environment and standard input alone.
"""

from __future__ import annotations

import fcntl
import json
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from dataset_tools.core.errors import ConfigError, ReviewServiceError
from dataset_tools.core.files import replacing

DOMAIN = "maskset.localhost"  # never a real address
OWNER = "owner"
INSIDE = Path(__file__).with_name("inside")
MAKE_TIMEOUT_S = 180.0

_NO_OWNER = 3  # as in inside/maskset_accounts.py
_NAME = re.compile(r"[a-z][a-z0-9_]{0,19}")


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody on a server of ours. `repr` hides the secrets."""

    email: str
    password: str
    token: str

    def __repr__(self) -> str:
        return f"Account(email={self.email!r})"


def owner_account(data: Path) -> Account:
    """The owner's account kept in the server's data folder; folder and account are made on first use.

    Raises:
        ConfigError: its file cannot be read.
    """
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    path = data / "account.json"
    with _alone(data):
        if not path.exists():
            _write(path, asdict(_drawn(OWNER)))
    return _account(_read(path), path)


def annotator_accounts(data: Path) -> dict[str, Account]:
    """The annotators made so far, by name.

    Raises:
        ConfigError: their file cannot be read.
    """
    path = data / "accounts.json"
    if not path.exists():
        return {}
    found = _read(path)
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no accounts of ours")
    return {str(name): _account(values, path) for name, values in found.items()}


class Server(Protocol):
    """What is needed of a `LabelStudioServer`."""

    @property
    def data(self) -> Path: ...  # noqa: D102

    @property
    def python(self) -> Path: ...  # noqa: D102

    def environment(self) -> dict[str, str]: ...  # noqa: D102

    def start(self) -> None: ...  # noqa: D102

    def stop(self) -> None: ...  # noqa: D102


def add_annotator(server: Server, name: str) -> Account:
    """As `add_annotators`, for one of them."""
    return add_annotators(server, [name])[name]


def add_annotators(server: Server, names: Sequence[str]) -> dict[str, Account]:
    """Make annotators, each blind to the others' and the owner's work; harmless when they are there.

    Works while the server runs, here or in another process, and before: one that was never started is
    started and stopped once. All at once is faster than one by one (5 s per call).

    Args:
        server: a server of ours.
        names: lower-case words of at most 20 characters; shown as the people's names.

    Returns:
        Their accounts, by name; the same ones each time.

    Raises:
        ConfigError: a name is none, or the server would have to be started and cannot.
        ReviewServiceError: Label Studio failed; carries its last line.
    """
    for name in names:
        if not _NAME.fullmatch(name) or name == OWNER:
            raise ConfigError(f"{name!r} cannot be an annotator: use a short lower-case word, not {OWNER!r}")
    with _alone(server.data):
        kept = annotator_accounts(server.data)
        fresh = {name: _drawn(name) for name in names if name not in kept}
        if fresh:
            if not _make(fresh, server):
                server.start()
                server.stop()
                if not _make(fresh, server):
                    raise ReviewServiceError(f"the Label Studio of {server.data} has no owner")
            # Written after they are made: cut off in between, the next call gives them new secrets.
            kept |= fresh
            _write(server.data / "accounts.json", {name: asdict(account) for name, account in kept.items()})
    return {name: kept[name] for name in names}


def _make(accounts: Mapping[str, Account], server: Server) -> bool:
    """Make them in Label Studio; False when it has no owner yet, that is, was never started."""
    people = [{"name": name, **asdict(account)} for name, account in accounts.items()]
    try:
        done = subprocess.run(
            [str(server.python), str(INSIDE / "maskset_accounts.py")],
            input=json.dumps(people),
            env=server.environment(),
            cwd=server.data,
            capture_output=True,
            text=True,
            timeout=MAKE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReviewServiceError(f"cannot make annotators: {type(error).__name__}") from error
    if done.returncode not in (0, _NO_OWNER):
        said = done.stderr.strip().splitlines() or ["no message"]
        raise ReviewServiceError(f"cannot make annotators (exit code {done.returncode}): {said[-1][:300]}")
    return done.returncode == 0


def _drawn(name: str) -> Account:
    return Account(f"{name}@{DOMAIN}", secrets.token_urlsafe(18), secrets.token_hex(20))


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {type(error).__name__}") from None


def _account(values: object, path: Path) -> Account:
    try:
        return Account(**values)  # type: ignore[arg-type]
    except TypeError:
        raise ConfigError(f"{path} is not an account of ours") from None


def _write(path: Path, values: object) -> None:
    with replacing(path) as part:
        part.chmod(0o600)
        part.write_text(json.dumps(values))


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    with (data / ".accounts.lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
