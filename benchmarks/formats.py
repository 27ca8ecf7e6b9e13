"""Every dataset format to every other and back, and what other programs read of our exports.

    uv run python benchmarks/formats.py [--workspace demo-dataset/work] [--peer datumaro=/path/to/python ...]

The first tables are over twelve pictures whose masks are hard to keep (`tests/fakes/matrix.py`): holes, many
parts, one pixel, the border, overlaps, two faces, no instance. With a workspace its labelled samples are
exported too. A peer is an environment of its own with that package; see `format_peers.py`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
from format_peers import READERS

from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.masks import RleMask
from dataset_tools.core.record import Instance, Sample
from dataset_tools.formats.registry import FORMATS

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "fakes"))

import matrix  # noqa: E402 - shared with the tests

LABELS = {label.value: label for label in Label}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workspace", type=Path, help="of a build that has reached split")
    parser.add_argument("--peer", action="append", default=[], metavar="PACKAGE=PYTHON")
    options = parser.parse_args()
    peers = dict(item.split("=", 1) for item in options.peer)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = ImageStore(root / "store", syncs=False)
        hard = matrix.hard_samples(store)
        found = {
            "machine": machine.describe(),
            "once": {name: _facts(kept) for name, kept in _once(hard, store, root).items()},
            "twice": _twice(hard, store, root / "twice"),
            "readers": _readers("hard masks", hard, store, root / "hard", peers),
        }
        if options.workspace is not None:
            samples = _labelled(options.workspace)
            images = ImageStore(options.workspace)
            found["readers"] += _readers("demo", samples, images, root / "demo", peers)
    results = HERE / "results"
    (results / "formats.json").write_text(json.dumps(found, indent=2) + "\n")
    (results / "formats.md").write_text(_page(found))
    print(_page(found))


def _labelled(workspace: Path) -> list[Sample]:
    (directory,) = (workspace / "manifests").glob("split-*")
    samples = [sample for sample in Manifest(directory).samples() if sample.is_labelled]
    return [
        replace(sample, instances=tuple(item for item in sample.instances if not item.is_proposal))
        for sample in samples
    ]


def _once(samples: list[Sample], store: ImageStore, root: Path) -> dict[str, Any]:
    found = {}
    for name in FORMATS:
        folder = matrix.write_samples(name, samples, store, root / "once" / name)
        found[name] = matrix.compare(samples, matrix.read_samples(name, folder, store)[0])
    return found


def _twice(samples: list[Sample], store: ImageStore, root: Path) -> dict[str, dict[str, float]]:
    """First format -> second format -> mean overlap of the masks after both with those before both."""
    found: dict[str, dict[str, float]] = {}
    for first in FORMATS:
        folder = matrix.write_samples(first, samples, store, root / first)
        between = matrix.read_samples(first, folder, store)[0]
        found[first] = {}
        for second in FORMATS:
            folder = matrix.write_samples(second, between, store, root / f"{first}-{second}")
            again = matrix.read_samples(second, folder, store)[0]
            found[first][second] = round(matrix.compare(samples, again).mean_iou, 4)
    return found


def _readers(
    dataset: str, samples: list[Sample], store: ImageStore, root: Path, peers: dict[str, str]
) -> list[dict[str, Any]]:
    rows = []
    for name, (package, _) in READERS.items():
        if package not in peers:
            continue
        kind = name.partition(":")[0]
        folder = root / kind
        if not folder.exists():
            matrix.write_samples(kind, samples, store, folder)
        answer = root / f"{name.replace(':', '-')}.json"
        command = [peers[package], str(HERE / "format_peers.py"), name, str(folder / "dataset"), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        row = {"dataset": dataset, "format": kind, "reader": package}
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1].replace(str(folder), "<folder>")
            rows.append({**row, "version": "", "error": said.rpartition("errors.")[2][:200]})
            continue
        said = json.loads(answer.read_text())
        kept = matrix.compare(samples, _as_samples(samples, said["found"]))
        names = sorted({item["label"] for item in said["found"]} - set(LABELS))
        rows.append({**row, "version": said["version"], "other_names": names, **_facts(kept)})
    return rows


def _as_samples(truth: list[Sample], found: list[dict[str, Any]]) -> list[Sample]:
    instances: dict[str, list[Instance]] = {sample.id: [] for sample in truth}
    for number, item in enumerate(found):
        if item["label"] in LABELS and item["picture"] in instances:
            mask = RleMask(tuple(item["size"]), tuple(item["counts"]))
            instances[item["picture"]].append(
                Instance(f"{number}", LABELS[item["label"]], mask, "human:peer")
            )
    return [replace(sample, instances=tuple(instances[sample.id])) for sample in truth]


def _facts(kept: Any) -> dict[str, Any]:
    names = ("instances", "identical", "holes", "parts", "lowest_iou", "mean_iou", "label_iou")
    return {"is_exact": kept.is_exact, **{name: getattr(kept, name) for name in names}}


def _page(found: dict[str, Any]) -> str:
    once = [
        f"| {name} | {_cells(facts)} | {FORMATS[name].loses or '-'} |"
        for name, facts in found["once"].items()
    ]
    names = list(found["twice"])
    twice = [
        f"| {first} | " + " | ".join(f"{found['twice'][first][second]:.3f}" for second in names) + " |"
        for first in names
    ]
    readers = [
        f"| {row['dataset']} | {row['format']} | {row['reader']} {row['version']} | "
        + (f"fails: {row['error']} | | | | | |" if "error" in row else f"{_cells(row)} |")
        for row in found["readers"]
    ]
    figures = "identical masks | instances | IoU mean | IoU lowest | holes | parts"
    rule = "---|" * 6
    return "\n".join(
        [
            "# Formats",
            "",
            f"`uv run python benchmarks/formats.py`, Python {found['machine']['python']}",
            "",
            "## Once out and in",
            "",
            f"| format | {figures} | what it loses |",
            f"|---|{rule}---|",
            *once,
            "",
            "## From the row's format into the column's: mean IoU with the first masks",
            "",
            "| | " + " | ".join(names) + " |",
            "|---|" + "---|" * len(names),
            *twice,
            "",
            "## Our exports read by other programs",
            "",
            f"| dataset | format | reader | {figures} |",
            f"|---|---|---|{rule}",
            *readers,
            "",
        ]
    )


def _cells(facts: dict[str, Any]) -> str:
    def share(name: str) -> str:
        return "{} of {}".format(*facts[name])

    overlaps = f"{facts['mean_iou']:.3f} | {facts['lowest_iou']:.3f}"
    return f"{share('identical')} | {share('instances')} | {overlaps} | {share('holes')} | {share('parts')}"


if __name__ == "__main__":
    main()
