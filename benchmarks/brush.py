"""Label Studio's brush code: our encoder and decoder beside those of Label Studio's own SDK.

    uv run python benchmarks/brush.py

Drawn masks like those of a face mask with a hole, and noise, which is the worst there can be. Both sides
start and end where the review does: a bool mask in, a list of bytes between, a bool mask out. In each round
the four take turns, so all see the same state of the machine; what is counted is processor time on one core,
the ratio is taken within a round, and every answer is compared before it is timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import machine  # isort: skip, it must come before what it tells to use one thread

import numpy as np
from label_studio_sdk.converter.brush import decode_rle, mask2rle

from annotation.label_studio.brush import DRAWN_ALPHA, decode_brush, encode_brush

ASKED = {"face mask 1024": 10}  # how many times as fast encode and decode together must be


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="rounds after the first, which warms up")
    options = parser.parse_args()
    core = machine.use_one_core()
    figures: dict[str, Any] = {
        "masks": {name: measure(mask, options.runs) for name, mask in masks().items()},
        "runs": options.runs,
        "machine": machine.describe(),
        "bound_to_one_core": core is not None,
    }
    machine.write("brush", figures, lines(figures))


def masks() -> dict[str, np.ndarray]:
    drawn = {f"face mask {side}": face_mask(side) for side in (250, 1024, 2048)}
    return drawn | {"noise 1024": np.random.default_rng(0).random((1024, 1024)) < 0.5}


def face_mask(side: int) -> np.ndarray:
    # An ellipse over the lower half of the face with a hole in it, as where a hand or a valve is.
    rows, columns = np.mgrid[:side, :side] / side
    outline = ((rows - 0.62) / 0.25) ** 2 + ((columns - 0.5) / 0.3) ** 2
    hole = ((rows - 0.62) / 0.05) ** 2 + ((columns - 0.5) / 0.07) ** 2
    return (outline < 1) & (hole > 1)


def stock_encode(mask: np.ndarray) -> list[int]:
    code: list[int] = mask2rle(mask.astype(np.uint8) * 255)
    return code


def stock_decode(code: list[int], size_hw: tuple[int, int]) -> np.ndarray:
    return decode_rle(code).reshape(*size_hw, 4)[..., 3] >= DRAWN_ALPHA


def measure(mask: np.ndarray, runs: int) -> dict[str, Any]:
    size_hw = (mask.shape[0], mask.shape[1])
    code = encode_brush(mask)
    assert code == stock_encode(mask)
    assert np.array_equal(decode_brush(code, size_hw), mask)
    assert np.array_equal(stock_decode(code, size_hw), mask)
    ways: dict[str, Callable[[], Any]] = {
        "encode_ours": lambda: encode_brush(mask),
        "encode_sdk": lambda: stock_encode(mask),
        "decode_ours": lambda: decode_brush(code, size_hw),
        "decode_sdk": lambda: stock_decode(code, size_hw),
    }
    rounds = [{name: milliseconds(way) for name, way in ways.items()} for _ in range(runs + 1)][1:]
    return {
        "bytes": len(code),
        "milliseconds": {name: round(statistics.median(one[name] for one in rounds), 3) for name in ways},
        "times_as_fast": {
            name: round(statistics.median(ratio(one, kinds) for one in rounds), 1)
            for name, kinds in {
                "encode": ("encode",),
                "decode": ("decode",),
                "both": ("encode", "decode"),
            }.items()
        },
    }


def ratio(one: dict[str, float], kinds: tuple[str, ...]) -> float:
    return sum(one[f"{kind}_sdk"] for kind in kinds) / sum(one[f"{kind}_ours"] for kind in kinds)


def milliseconds(way: Callable[[], Any]) -> float:
    start = time.process_time()
    way()
    return (time.process_time() - start) * 1e3


def lines(figures: dict[str, Any]) -> list[str]:
    about = figures["machine"]
    rows = []
    for name, found in figures["masks"].items():
        taken, times = found["milliseconds"], found["times_as_fast"]
        asked = f"at least {ASKED[name]}" if name in ASKED else "–"
        rows.append([name, found["bytes"], *taken.values(), *times.values(), asked])
    return [
        "# Brush code: encode and decode beside Label Studio's SDK",
        "",
        f"{about['processor']}, {about['cores']} cores (one used), load {about['load'][0]}; median of "
        f"{figures['runs']} rounds, milliseconds of processor time. The bytes of both encoders are equal.",
        "",
        *machine.table(
            (
                *("mask", "bytes", "encode", "encode, SDK", "decode", "decode, SDK"),
                *("times as fast: encode", "decode", "both", "asked for"),
            ),
            rows,
        ),
    ]


if __name__ == "__main__":
    main()
