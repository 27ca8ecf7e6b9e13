"""The walls of the house: who may import whom, no circles, and a light command line."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("dataset_tools", "synth", "annotation", "baselines")
GROUND = ("dataset_tools.core",)
ROOF = tuple(
    f"dataset_tools.{name}"
    for name in (
        "config",
        "pipeline",
        "training",
        "options",
        "opening",
        "cli",
        "demo",
        "demo_card",
        "starter",
        "doctor",
    )
)

# room → what it may import of the suite, besides itself and the ground floor
ALLOWED = {
    "dataset_tools.core": (),
    "dataset_tools.weights": (),
    "dataset_tools.formats.labelme": (
        "dataset_tools.formats",
        "annotation.labelme.codec",
        "annotation.labelme.shapes",
    ),
    "dataset_tools.formats.label_studio": (
        "dataset_tools.formats",
        "annotation.label_studio.brush",
        "annotation.label_studio.codec",
        "annotation.label_studio.labelling",
    ),
    "dataset_tools.formats": (),
    "dataset_tools.crawl": ("dataset_tools.formats",),
    "dataset_tools.filter": ("dataset_tools.weights",),
    "dataset_tools.split": (),
    "dataset_tools.split_leaks": ("dataset_tools.leaks", "dataset_tools.references"),
    "dataset_tools.versions": ("dataset_tools.formats", "dataset_tools.split"),
    "dataset_tools.export": ("dataset_tools.formats",),
    "dataset_tools.revoked": ("dataset_tools.formats",),
    "dataset_tools.importing": (
        "dataset_tools.crawl",
        "dataset_tools.export",
        "dataset_tools.formats",
        "dataset_tools.revoked",
    ),
    "dataset_tools.engines": (),
    "dataset_tools.stats": (),
    "dataset_tools.references": (),
    "dataset_tools.erasing": ("dataset_tools.references",),
    "dataset_tools.takedown": ("dataset_tools.references", "dataset_tools.erasing"),
    "dataset_tools.verify": ("dataset_tools.references",),
    "dataset_tools.leaks": ("dataset_tools.references",),
    # Makes the models that come with the suite, with the whole pipeline: it stands on the roof.
    "dataset_tools.defaults": (
        "dataset_tools.config",
        "dataset_tools.pipeline",
        "dataset_tools.opening",
        "dataset_tools.filter",
        "dataset_tools.split",
        "dataset_tools.export",
        "dataset_tools.weights",
        "annotation.prelabel",
        "baselines",
        "synth",
    ),
    "dataset_tools.pairs_page": ("dataset_tools.filter", "dataset_tools.leaks", "dataset_tools.stats"),
    "synth": ("dataset_tools.weights",),
    "annotation.prelabel.from_baseline": (
        "baselines.predict",
        "baselines.checkpoint",
        "dataset_tools.weights.shipped",
        "annotation",
    ),
    "annotation.agreement": ("baselines.metrics", "annotation"),
    "annotation.simulate": ("baselines.metrics", "annotation"),
    "annotation": (),
    "baselines": ("dataset_tools.weights",),
}


def modules() -> dict[str, set[str]]:
    """Module → suite modules it imports anywhere, also inside functions."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
            found[name] = set()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found[name] |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    assert node.level == 0, f"{name}: imports are written out"
                    found[name].add(node.module or "")
                    found[name] |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name: {item for item in items if item in found and item != name} for name, items in found.items()}


def belongs(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def test_rooms_import_only_what_lies_below_them() -> None:
    wrong = []
    for module, imports in modules().items():
        if module in ROOF or module in PACKAGES or module.endswith((".cli", "_cli")):
            continue
        room = next(room for room in ALLOWED if belongs(module, room))
        for imported in imports - set(PACKAGES):
            if not any(belongs(imported, fine) for fine in (room, *GROUND, *ALLOWED[room])):
                wrong.append(f"{module} imports {imported}")
    assert wrong == []


def test_no_import_goes_in_a_circle() -> None:
    graph = modules()
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module in done:
            return
        for imported in sorted(graph[module]):
            # A package's __init__ that imports its own modules is how registries fill: a door, no circle.
            if not belongs(module, imported):
                visit(imported, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("command", ["dataset_tools.cli", "baselines.cli", "synth.cli"])
def test_help_loads_no_heavy_library(command: str) -> None:
    heavy = ("torch", "mediapipe", "cv2", "pandas", "datasets", "pyarrow", "label_studio_sdk", "timm")
    code = (
        f"import sys, {command} as cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        f"print('HEAVY', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stdout.strip().endswith("HEAVY []")
