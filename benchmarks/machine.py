"""What ran a benchmark, and how its figures are written: JSON and a short Markdown table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read when the libraries load, so this module is imported first


def describe() -> dict[str, Any]:
    """The machine, without its name: processor, cores, load, and the libraries that do the work."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "opencv-python-headless", "torch", "mediapipe")},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def use_one_core() -> int | None:
    """Bind this process, and those it starts, to one core; None where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def write(name: str, figures: dict[str, Any], lines: Sequence[str]) -> None:
    """Write `results/<name>.json` and `.md`, and print the latter."""
    RESULTS.mkdir(exist_ok=True)
    text = "\n".join([*lines, ""])
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table."""
    cells = [[str(cell) for cell in row] for row in (header, ["---"] * len(header), *rows)]
    return ["| " + " | ".join(row) + " |" for row in cells]
