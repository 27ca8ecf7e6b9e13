"""Run-length codes: our encoder and decoder beside pycocotools, the answers compared first.

    uv run python benchmarks/rle.py

Both sides start from a (H, W) bool mask as every model and drawing tool gives it and end with one. "mask" is
the form the suite keeps, plain run lengths; "text" is COCO's compressed text, which is the only form of
pycocotools. In each round all take turns, so all see the same state of the machine; what is counted is
processor time on one core, the ratio is taken within a round.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import machine  # isort: skip, it must come before what it tells to use one thread

import numpy as np
from pycocotools import mask as coco_mask

from dataset_tools.core.masks import encode_counts, mask_to_rle, rle_to_mask, text_to_rle

ASKED = {"encode": 1.5, "decode": 4.0}  # times as fast as pycocotools at 1024x1024
REPEATS = 5  # of each in a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="rounds after the first, which warms up")
    options = parser.parse_args()
    # pycocotools still asks numpy in the way of before version 2.
    warnings.filterwarnings("ignore", message="__array__ implementation", category=DeprecationWarning)
    core = machine.use_one_core()
    figures: dict[str, Any] = {
        "masks": {name: measure(mask, options.runs) for name, mask in masks().items()},
        "runs": options.runs,
        "machine": machine.describe(),
        "bound_to_one_core": core is not None,
    }
    machine.write("rle", figures, lines(figures))


def masks() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    spots = np.kron(rng.random((32, 32)) < 0.5, np.ones((32, 32))).astype(bool)
    return {
        **{f"face mask {side}": face_mask(side) for side in (250, 1024, 2048)},
        "squares of 32 px 1024": spots,
        "noise 1024": rng.random((1024, 1024)) < 0.5,
    }


def face_mask(side: int) -> np.ndarray:
    # An ellipse over the lower half of the face with a hole in it, as where a hand or a valve is.
    rows, columns = np.mgrid[:side, :side] / side
    outline = ((rows - 0.62) / 0.25) ** 2 + ((columns - 0.5) / 0.3) ** 2
    hole = ((rows - 0.62) / 0.05) ** 2 + ((columns - 0.5) / 0.07) ** 2
    return (outline < 1) & (hole > 1)


def their_encode(mask: np.ndarray) -> dict[str, Any]:
    code: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return code


def measure(mask: np.ndarray, runs: int) -> dict[str, Any]:
    size_hw = (mask.shape[0], mask.shape[1])
    rle, code = mask_to_rle(mask), their_encode(mask)
    text = encode_counts(rle.counts)
    assert text == code["counts"].decode()
    assert np.array_equal(rle_to_mask(text_to_rle(text, size_hw)), mask)
    assert np.array_equal(coco_mask.decode(code).astype(bool), mask)
    ways: dict[str, Callable[[], Any]] = {
        "encode": lambda: mask_to_rle(mask),
        "encode_text": lambda: encode_counts(mask_to_rle(mask).counts),
        "encode_theirs": lambda: their_encode(mask),
        "decode": lambda: rle_to_mask(rle),
        "decode_text": lambda: rle_to_mask(text_to_rle(text, size_hw)),
        "decode_theirs": lambda: coco_mask.decode(code).astype(bool),
    }
    rounds = [{name: milliseconds(way) for name, way in ways.items()} for _ in range(runs + 1)][1:]
    return {
        "run_lengths": len(rle.counts),
        "milliseconds": {name: round(statistics.median(one[name] for one in rounds), 3) for name in ways},
        "times_as_fast": {
            name: round(statistics.median(one[f"{name[:6]}_theirs"] / one[name] for one in rounds), 2)
            for name in ways
            if not name.endswith("theirs")
        },
    }


def milliseconds(way: Callable[[], Any]) -> float:
    start = time.process_time()
    for _ in range(REPEATS):
        way()
    return (time.process_time() - start) / REPEATS * 1e3


def lines(figures: dict[str, Any]) -> list[str]:
    about = figures["machine"]
    rows = [
        [name, found["run_lengths"], *found["milliseconds"].values(), *found["times_as_fast"].values()]
        for name, found in figures["masks"].items()
    ]
    return [
        "# Run-length codes beside pycocotools",
        "",
        f"{about['processor']}, {about['cores']} cores (one used), load {about['load'][0]}; median of "
        f"{figures['runs']} rounds, milliseconds of processor time. All answers are equal to the last bit. "
        f"Asked for at 1024x1024: encode at least {ASKED['encode']} times as fast, decode {ASKED['decode']}. "
        "Noise, one run for every two pixels, is what a face mask never is; there pycocotools is faster.",
        "",
        *machine.table(
            (
                *("mask", "run lengths", "encode", "encode to text", "pycocotools"),
                *("decode", "decode text", "pycocotools"),
                *("times as fast: encode", "to text", "decode", "from text"),
            ),
            rows,
        ),
    ]


if __name__ == "__main__":
    main()
