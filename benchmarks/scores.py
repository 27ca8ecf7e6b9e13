"""Scored pairs per second: ABANet's five scores beside scikit-learn, the saliency scores beside pysodmetrics.

    uv run python benchmarks/scores.py

Drawn pairs of 250 px, as large as MFSD's crops: a label with a smooth outline, and a soft map whose outline
strays from it, with a little noise. Everything runs on one core and what is counted is processor time; in
each round the ways take turns, so all see the same state of the machine, and every way's answers are compared
before they are timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import machine  # isort: skip, it must come before what it tells to use one thread

import cv2
import numpy as np
from scipy import ndimage

from baselines.metrics import (
    boundary_iou,
    count_pixels,
    f_beta_adaptive,
    f_beta_curve,
    hd95,
    mask_scores,
    mean_absolute_error,
    s_measure,
    score_image,
    summarise,
)

SIDE = 250
Pair = tuple[np.ndarray, np.ndarray]  # (H, W) float64 map, (H, W) bool label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30, help="pairs to score in a round")
    parser.add_argument("--runs", type=int, default=7, help="rounds after the first, which warms up")
    options = parser.parse_args()
    core = machine.use_one_core()
    cv2.setNumThreads(1)
    pairs = [drawn_pair(seed) for seed in range(options.pairs)]
    check(pairs)
    rounds = [{name: rate(way, pairs) for name, way in WAYS.items()} for _ in range(options.runs + 1)][1:]
    speeds = {name: round(statistics.median(one[name] for one in rounds), 1) for name in WAYS}
    ratios = {
        f"{ours} / {theirs}": round(statistics.median(one[ours] / one[theirs] for one in rounds), 1)
        for ours, theirs, _ in COMPARED
    }
    figures = {
        "pairs_per_second": speeds,
        "pairs_per_second_each_round": {name: [round(one[name], 1) for one in rounds] for name in WAYS},
        "ratios": ratios,
        "pairs": options.pairs,
        "side_px": SIDE,
        "runs": options.runs,
        "machine": machine.describe(),
        "bound_to_one_core": core is not None,
    }
    machine.write("scores", figures, lines(figures))


def drawn_pair(seed: int) -> Pair:
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.random((SIDE, SIDE)), (0, 0), 25)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centre = ((rows - 150) / 75) ** 2 + ((columns - 125) / 90) ** 2
    bulge = (smooth - smooth.mean()) / smooth.std()
    truth = centre + 0.15 * bulge < 1
    strayed = (centre + 0.15 * np.roll(bulge, 9, axis=1) < 1).astype(np.float64)
    soft = cv2.GaussianBlur(strayed, (0, 0), 2) * 0.98 + rng.random((SIDE, SIDE)) * 0.02
    return soft.clip(0, 1), truth


def five_of_scikit_learn(probability: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    from sklearn import metrics

    label, found = truth.astype(np.int64).ravel(), (probability >= 0.5).astype(np.int64).ravel()
    return {
        "iou": metrics.jaccard_score(label, found),
        "f1": metrics.f1_score(label, found),
        "precision": metrics.precision_score(label, found),
        "recall": metrics.recall_score(label, found),
        "accuracy": metrics.accuracy_score(label, found),
    }


def five_of_a_histogram(probability: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    codes = truth.astype(np.int64) * 2 + (probability >= 0.5)
    tn, fp, fn, tp = np.bincount(codes.ravel(), minlength=4).tolist()
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return {
        "iou": tp / (tp + fp + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "precision": precision,
        "recall": recall,
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
    }


def five_of_ours(probability: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return mask_scores(count_pixels(probability >= 0.5, truth))


def saliency_of_pysodmetrics(pairs: list[Pair]) -> dict[str, float]:
    from py_sod_metrics import MAE, Fmeasure, Smeasure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fmeasure announces its successor
        metrics = Fmeasure(beta=0.3), Smeasure(alpha=0.5), MAE()
    for probability, truth in pairs:
        for metric in metrics:
            metric.step(probability, truth, normalize=False)
    f_results, s_results, mae_results = (metric.get_results() for metric in metrics)
    f_scores = f_results["fm"]
    return {
        "f_adp": float(f_scores["adp"]),
        "f_max": float(f_scores["curve"].max()),
        "s_measure": float(s_results["sm"]),
        "mae": float(mae_results["mae"]),
    }


def saliency_of_ours(pairs: list[Pair]) -> dict[str, float]:
    curves = [f_beta_curve(*pair) for pair in pairs]
    return {
        "f_adp": float(np.mean([f_beta_adaptive(*pair) for pair in pairs])),
        "f_max": float(np.mean(curves, axis=0).max()),
        "s_measure": float(np.mean([s_measure(*pair) for pair in pairs])),
        "mae": float(np.mean([mean_absolute_error(*pair) for pair in pairs])),
    }


def outlines_of_scipy(probability: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    # Distance maps of the whole picture, as MedPy and MONAI take them.
    predicted = probability >= 0.5
    width = round(0.02 * SIDE * 2**0.5)
    square, cross = np.ones((3, 3)), ndimage.generate_binary_structure(2, 1)
    bands = [one & ~ndimage.binary_erosion(one, square, width) for one in (predicted, truth)]
    first, second = (one & ~ndimage.binary_erosion(one, cross) for one in (predicted, truth))
    ways = [
        ndimage.distance_transform_edt(~goal)[start] for start, goal in ((first, second), (second, first))
    ]
    return {
        "boundary_iou": (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum(),
        "hd95": max(float(np.percentile(way, 95)) for way in ways),
    }


def outlines_of_ours(probability: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    predicted = probability >= 0.5
    return {"boundary_iou": boundary_iou(predicted, truth), "hd95": hd95(predicted, truth)}


def averaged(way: Callable[..., dict[str, float]]) -> Callable[[list[Pair]], dict[str, float]]:
    def score(pairs: list[Pair]) -> dict[str, float]:
        found = [way(*pair) for pair in pairs]
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

    return score


WAYS: dict[str, Callable[[list[Pair]], dict[str, float]]] = {
    "five scores, scikit-learn": averaged(five_of_scikit_learn),
    "five scores, joint histogram": averaged(five_of_a_histogram),
    "five scores, ours": averaged(five_of_ours),
    "saliency, pysodmetrics": saliency_of_pysodmetrics,
    "saliency, ours": saliency_of_ours,
    "outlines, scipy": averaged(outlines_of_scipy),
    "outlines, ours": averaged(outlines_of_ours),
    "everything, ours": lambda pairs: summarise([score_image(*pair) for pair in pairs]),
}
# ours, theirs, how many times as fast it must be
COMPARED = (
    ("five scores, ours", "five scores, scikit-learn", 10),
    ("five scores, ours", "five scores, joint histogram", None),
    ("saliency, ours", "saliency, pysodmetrics", 3),
    ("outlines, ours", "outlines, scipy", None),
)


def check(pairs: list[Pair]) -> None:
    for ours, theirs, _ in COMPARED:
        expected, found = WAYS[theirs](pairs), WAYS[ours](pairs)
        assert expected.keys() == found.keys()
        for name, value in found.items():
            assert abs(value - expected[name]) < 1e-6, (name, value, expected[name])


def rate(way: Callable[[list[Pair]], Any], pairs: list[Pair]) -> float:
    start = time.process_time()
    way(pairs)
    return len(pairs) / (time.process_time() - start)


def lines(figures: dict[str, Any]) -> list[str]:
    about, speeds, ratios = figures["machine"], figures["pairs_per_second"], figures["ratios"]
    return [
        "# Scores: pairs per second on one core",
        "",
        f"{about['processor']}, {about['cores']} cores (one used), load {about['load'][0]}; median of "
        f"{figures['runs']} rounds over {figures['pairs']} pairs of {SIDE}x{SIDE} pixels. Five scores: IoU, "
        "F1, precision, recall, accuracy. Saliency: F-beta (curve and adaptive), S-measure, MAE. Outlines: "
        "boundary IoU, HD95. Everything: all of these, as the leaderboard scores a crop.",
        "",
        *machine.table(("way", "pairs/s"), list(speeds.items())),
        "",
        *machine.table(
            ("", "times as fast", "asked for"),
            [
                (f"{ours} / {theirs}", ratios[f"{ours} / {theirs}"], f"at least {least}" if least else "–")
                for ours, theirs, least in COMPARED
            ],
        ),
    ]


if __name__ == "__main__":
    main()
