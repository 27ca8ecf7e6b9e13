"""Pictures per second of the shipped proposer on one core: as it is loaded, beside the network as trained.

    uv run python benchmarks/proposer.py [--checkpoint FOLDER] [--side 256] [--json FILE]

"As trained" is the network in evaluation mode, channels last; "as loaded" is what `Predictor.load` makes of
it: the same with batch normalisation folded into the convolutions. Both answer for squares of one size,
probabilities included, one picture at a time; in each round the ways take turns. What is counted is processor
time. bfloat16 is measured to say why it is not taken: it answers something else, and is fast on some machines
only. A whole call resizes a photo of twice the side to the size that the model was trained at, and the maps
back.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine  # isort: skip, it must come before what it tells to use one thread

import cv2
import numpy as np
import report
import skimage.data
import torch

from baselines.predict import Ask, Predictor, load_network, network_asker
from dataset_tools.weights.shipped import shipped_proposer

ASKED = 15.0  # pictures per second at 256 px
LOADED, TRAINED = "as loaded (folded)", "as trained"
CPU = torch.device("cpu")


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, default=shipped_proposer())
    parser.add_argument("--side", type=int, default=256, help="of the squares, pixels")
    parser.add_argument("--count", type=int, default=8, help="pictures in a round")
    parser.add_argument("--runs", type=int, default=9, help="rounds after the first, which warms up")
    options = parser.parse_args()
    core = machine.use_one_core()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    predictor = Predictor.load(options.checkpoint, "cpu")
    asks = {
        LOADED: predictor.ask,
        TRAINED: network_asker(channels_last(options.checkpoint), CPU),
        "as trained, bfloat16": network_asker(channels_last(options.checkpoint), CPU, amp=True),
    }
    squares, photos = pictures(options.count, options.side), pictures(options.count, 2 * options.side)
    ways: dict[str, Callable[[], Any]] = {name: each(ask, squares) for name, ask in asks.items()}
    ways["a whole call"] = lambda: [predictor.predict(photo) for photo in photos]
    truth = answers(asks[TRAINED], squares)
    differences = {name: float(np.abs(answers(ask, squares) - truth).max()) for name, ask in asks.items()}
    rounds = [
        {name: options.count / seconds(way) for name, way in ways.items()} for _ in range(options.runs + 1)
    ][1:]
    rates = {name: round(statistics.median(one[name] for one in rounds), 1) for name in ways}
    ratio = round(statistics.median(one[LOADED] / one[TRAINED] for one in rounds), 2)
    figures: dict[str, Any] = {
        "model": f"{predictor.name}@{predictor.version}",
        "parameters": predictor.parameters,
        "side_px": options.side,
        "trained_px": predictor.input_px,
        "pictures_per_second": rates,
        f"{LOADED} / {TRAINED}": ratio,
        "largest_difference_of_probability": differences,
        "pictures_per_second_each_round": {name: [round(one[name], 1) for one in rounds] for name in ways},
        "pictures": options.count,
        "runs": options.runs,
        "bound_to_one_core": core is not None,
    }
    report.publish(figures, lines(figures), options.json)


def lines(figures: dict[str, Any]) -> list[str]:
    about, side = machine.describe(), figures["side_px"]
    rates, differences = figures["pictures_per_second"], figures["largest_difference_of_probability"]
    rows = [
        (name, rate, f"{differences[name]:.0e}" if name in differences else "")
        for name, rate in rates.items()
    ]
    asked = [
        (f"{LOADED}, pictures/s", rates[LOADED], f"at least {ASKED:.0f} at 256 px"),
        (f"{LOADED} / {TRAINED}", figures[f"{LOADED} / {TRAINED}"], ""),
    ]
    return [
        "# Proposer: pictures per second on one core",
        "",
        f"{about['processor']}, {about['cores']} cores (one used), load {about['load'][0]}; "
        f"{figures['model']}, {figures['parameters'] / 1e6:.2f} M parameters. Squares of {side} px, one at a "
        f"time; median of {figures['runs']} rounds of {figures['pictures']}. A whole call: photos of "
        f"{2 * side} px, looked at in {figures['trained_px']} px.",
        "",
        *machine.table(("way", "pictures/s", "probability differs by at most"), rows),
        "",
        *machine.table(("", "measured", "asked for"), asked),
    ]


def channels_last(checkpoint: Path) -> torch.nn.Module:
    return load_network(checkpoint).to(memory_format=torch.channels_last)


def pictures(count: int, side: int) -> list[np.ndarray]:
    """Cuts of the astronaut's portrait (NASA, public domain), each a little further to the right."""
    rgb = skimage.data.astronaut()
    return [
        cv2.resize(rgb[:300, 60 + 12 * index : 360 + 12 * index], (side, side), interpolation=cv2.INTER_AREA)
        for index in range(count)
    ]


def each(ask: Ask, squares: list[np.ndarray]) -> Callable[[], Any]:
    return lambda: [ask(square[None]) for square in squares]


def answers(ask: Ask, squares: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([ask(square[None]) for square in squares])


def seconds(way: Callable[[], Any]) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


if __name__ == "__main__":
    main()
