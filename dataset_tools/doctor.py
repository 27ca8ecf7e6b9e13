"""What is installed and cached, what hardware is there, and what to do about what is missing."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "note", "problem"]

_PACKAGES = (
    "torch", "torchvision", "segmentation-models-pytorch", "timm", "mediapipe", "opencv-python-headless",
    "numpy", "pandas", "pillow", "pyarrow", "pycocotools", "datasets", "huggingface-hub",
    "label-studio-sdk",
)  # fmt: skip

_OPENCV = "opencv-python-headless"
_FREE_SPACE_FLOOR_GB = 1.0  # reliability.md section 4


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `advice` says what to do, "" when nothing is wrong."""

    topic: str
    state: State
    found: str
    advice: str = ""


def examine(folder: Path) -> list[Finding]:
    """Look at this machine and this environment; starts nothing and downloads nothing.

    Args:
        folder: where a workspace would be; its free disk space is looked at.
    """
    return [
        _python(),
        *_packages(),
        _one_opencv(),
        _gpu(),
        *_weights(),
        *_shipped(),
        _disk(folder),
        _installer(),
        Finding("sqlite", "ok", sqlite3.sqlite_version),
    ]


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} on {platform.system()}")


def _packages() -> list[Finding]:
    findings = []
    for name in _PACKAGES:
        try:
            findings.append(Finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(
                Finding(name, "problem", "not installed", "install maskset with its dependencies: uv sync")
            )
    return findings


def opencv_providers() -> list[str]:
    """Installed distributions that bring a `cv2` module, as "name version", sorted."""
    found = set()
    for distribution in importlib.metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name.startswith("opencv"):
            found.add(f"{name} {distribution.version}")
    return sorted(found)


def _one_opencv() -> Finding:
    providers = opencv_providers()
    if len(providers) == 1:
        return Finding("cv2 providers", "ok", providers[0])
    version = next((item.split()[1] for item in providers if item.startswith(f"{_OPENCV} ")), "4.12.0.88")
    return Finding(
        "cv2 providers",
        "problem",
        ", ".join(providers) or "none",
        "several packages write the same cv2 folder; keep one: pip uninstall -y opencv-contrib-python "
        f"opencv-python {_OPENCV} && pip install {_OPENCV}=={version}",
    )


def _gpu() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("gpu", "problem", "torch is not installed", "uv sync")
    if torch.cuda.is_available():
        return Finding("gpu", "ok", torch.cuda.get_device_name(0))
    return Finding("gpu", "note", "none; training runs on the CPU, slowly")


def _weights() -> list[Finding]:
    from dataset_tools.weights import status

    findings = []
    for file in status():
        if file.path is not None:
            findings.append(Finding(file.name, "ok", f"cached: {file.path} ({file.licence})"))
        else:
            findings.append(Finding(file.name, "note", f"not cached yet ({file.licence})", file.advice))
    return findings


def _shipped() -> list[Finding]:
    """The models in the package itself, each checked against its digest."""
    from baselines.checkpoint import read_record
    from dataset_tools.core.errors import DataError
    from dataset_tools.filter.default_detector import read_facts
    from dataset_tools.weights.shipped import shipped_detector, shipped_proposer

    def proposer() -> str:
        record = read_record(shipped_proposer())
        return f"{record.baseline}@{record.version}"

    def detector() -> str:
        facts = read_facts(shipped_detector() / "detector.safetensors")
        return f"{facts.name}@{facts.version}"

    findings = []
    for topic, name in (("default proposer", proposer), ("default detector", detector)):
        try:
            findings.append(Finding(topic, "ok", f"{name()}; see: build-dataset defaults show"))
        except DataError as error:
            findings.append(Finding(topic, "problem", str(error), "install maskset again"))
    return findings


def _disk(folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb < _FREE_SPACE_FLOOR_GB:
        return Finding("disk", "problem", f"{free_gb:.1f} GB free", "free some space before a build")
    return Finding("disk", "ok", f"{free_gb:.0f} GB free")


def _installer() -> Finding:
    for tool in ("uv", "pip"):
        path = shutil.which(tool)
        if path:
            return Finding("installer", "ok", f"{tool} ({path})")
    return Finding(
        "installer", "problem", "neither uv nor pip", "some models come out of PyPI wheels: install uv"
    )
