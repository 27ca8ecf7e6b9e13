"""Datumaro's side of `export.py`, run by the interpreter of an environment that has it.

    python benchmarks/datumaro_peer.py <COCO folder> <output folder>

Reads words from standard input and answers each with a line of JSON: "import" (all masks decoded), "export"
(with the pictures), "labels" (without them), "about".
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

warnings.simplefilter("ignore")

from datumaro.components.dataset import Dataset  # noqa: E402

FORMAT = "coco_instances"


def main() -> None:
    source, target = sys.argv[1:3]
    ready = Dataset.import_from(source, FORMAT)
    ready.init_cache()
    ways: dict[str, Callable[[], Any]] = {
        "import": lambda: read(source),
        "export": lambda: ready.export(target, FORMAT, save_media=True),
        "labels": lambda: ready.export(target, FORMAT, save_media=False),
    }
    for line in sys.stdin:
        word = line.strip()
        if word == "about":
            answer: dict[str, Any] = {"version": version("datumaro"), "items": len(ready)}
        else:
            shutil.rmtree(target, ignore_errors=True)
            start = time.process_time()
            result = ways[word]()
            answer = {"seconds": time.process_time() - start, "result": result}
        print(json.dumps(answer), flush=True)


def read(source: str) -> int:
    """Pixels of all masks of a dataset that is read anew."""
    return sum(
        int(found.image.sum())
        for item in Dataset.import_from(source, FORMAT)
        for found in item.annotations
        if hasattr(found, "image")
    )


if __name__ == "__main__":
    main()
