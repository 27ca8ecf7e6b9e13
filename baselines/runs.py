"""A suite's rows trained and scored one after the other; what fails becomes a row with its reason.

    <out>/<row>/trial-<k>/          checkpoint without its state (`baselines.checkpoint`), and cost.json
    <out>/board/                    score cards, their tables, predictions
    <out>/board/failed/             one JSON file per trial that failed

Every step of it is resumable: the same call goes on where a killed one stopped and ends in the same table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from baselines.cards import ScoreCard
from baselines.checkpoint import forget_state
from baselines.cost import Cost, measure_method, measure_network
from baselines.data import FreshSamples
from baselines.evaluate import RowName, evaluate, evaluate_classes
from baselines.models import find_spec
from baselines.predict import Predictor, load_network
from baselines.segmenter import choose_device
from baselines.settings import CropSettings, TrainSettings
from baselines.suites import Suite, SuiteRow, check_suite, find_suite, settings_of
from baselines.train import train
from dataset_tools.core.errors import DataError, SuiteError, UnknownName
from dataset_tools.core.files import write_text
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split
from dataset_tools.core.settings import parse_settings

BOARD = "board"
FAILED = "failed"
_COST_FILE = "cost.json"


class Failure(BaseModel):
    """A trial that gave no card, and why.

    Attributes:
        suite, row, title, baseline, trial: which one.
        reason: one sentence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    row: str
    title: str
    baseline: str
    trial: int
    reason: str


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for.

    Attributes:
        suite: whose rows.
        chosen: fields of `TrainSettings` for all rows; see `suites.settings_of`.
        trials: of every trained row; trial k has seed `seed` + k. A fixed method has one.
        seed: of the first trial.
        split: that is scored.
        crop: how scored crops are cut; None: as in training.
        rows: keys of the rows wanted; empty: all. The floors always come along.
        measure: whether to measure speed and memory of every row.
    """

    suite: Suite
    chosen: Mapping[str, Any]
    trials: int = 1
    seed: int = 0
    split: Split = Split.TEST
    crop: CropSettings | None = None
    rows: tuple[str, ...] = ()
    measure: bool = True


def rows_of(order: Order) -> tuple[SuiteRow, ...]:
    """The wanted rows, and after them the floors that are not among them.

    Raises:
        UnknownName: a row, baseline or option that does not exist.
        ConfigError: a chosen setting contradicts a row.
    """
    check_suite(order.suite)
    known = {row.key: row for row in order.suite.rows}
    for key in order.rows:
        if key not in known:
            raise UnknownName(f"row of {order.suite.name}", key, known)
    wanted = tuple(row for row in order.suite.rows if not order.rows or row.key in order.rows)
    for row in wanted:
        _settings(order, row, 0)
    floors = find_suite("floors").rows
    return (*wanted, *(row for row in floors if row.key not in known))


def run_suite(
    order: Order,
    manifest: Manifest,
    images: ImageStore,
    out_dir: Path,
    *,
    fresh: FreshSamples | None = None,
    progress: ProgressFactory = silent,
    report: Callable[[ScoreCard | Failure], None] = lambda one: None,
) -> tuple[int, int]:
    """Train and score every trial of every row; finished ones are only read again.

    Args:
        order: what is asked for.
        manifest: labelled samples with splits.
        images: picture store of the manifest's workspace.
        out_dir: see the module.
        fresh: draws rendered samples anew, for settings that ask for it.
        progress: opens progress displays.
        report: told of every card and failure as it comes.

    Returns:
        Number of cards and of failures.

    Raises:
        UnknownName, ConfigError: as `rows_of`, before anything runs.
    """
    done = failed = 0
    for row, trial in _trials(order):
        result = _try(order, row, trial, manifest, images, out_dir, fresh, progress)
        if result is None:
            continue  # another process of this training writes and reports
        done, failed = done + isinstance(result, ScoreCard), failed + isinstance(result, Failure)
        report(result)
    return done, failed


def _trials(order: Order) -> Iterator[tuple[SuiteRow, int]]:
    for row in rows_of(order):
        trials = order.trials if find_spec(row.baseline).is_trained else 1
        yield from ((row, trial) for trial in range(trials))


def _settings(order: Order, row: SuiteRow, trial: int) -> TrainSettings:
    values = settings_of(order.suite, row, order.chosen)
    return parse_settings(TrainSettings, {**values, "seed": order.seed + trial}, f"row {row.key}")


def _try(
    order: Order,
    row: SuiteRow,
    trial: int,
    manifest: Manifest,
    images: ImageStore,
    out_dir: Path,
    fresh: FreshSamples | None,
    progress: ProgressFactory,
) -> ScoreCard | Failure | None:
    is_main = int(os.environ.get("RANK", "0")) == 0
    failure_file = out_dir / BOARD / FAILED / f"{order.suite.name}-{row.key}-{trial}.json"
    try:
        folder = out_dir / row.key / f"trial-{trial}"
        settings = _settings(order, row, trial)
        train(settings, manifest, images, folder, progress, fresh=fresh)
        if not is_main:
            return None
        card = _score(order, row, folder, settings, manifest, images, out_dir / BOARD, progress)
    except SuiteError as error:
        return _failed(order, row, trial, str(error), failure_file) if is_main else None
    except RuntimeError as error:
        # A library's own complaint about one network (a kernel, a shape) must not end the other rows' run.
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        return _failed(order, row, trial, reason, failure_file) if is_main else None
    failure_file.unlink(missing_ok=True)
    return card


def _failed(order: Order, row: SuiteRow, trial: int, reason: str, path: Path) -> Failure:
    failure = Failure(
        suite=order.suite.name,
        row=row.key,
        title=row.title,
        baseline=row.baseline,
        trial=trial,
        reason=reason,
    )
    write_text(path, failure.model_dump_json(indent=2) + "\n")
    return failure


def _score(
    order: Order,
    row: SuiteRow,
    folder: Path,
    settings: TrainSettings,
    manifest: Manifest,
    images: ImageStore,
    board_dir: Path,
    progress: ProgressFactory,
) -> ScoreCard:
    name = RowName(order.suite.name, row.key, row.title)
    card = evaluate(
        folder,
        manifest,
        images,
        order.split,
        board_dir,
        crop=order.crop,
        label=settings.labels[0],
        device=settings.device,
        suite_row=name,
        cost=cost_of(folder, settings.device) if order.measure else None,
        progress=progress,
    )
    if len(settings.labels) > 1:
        evaluate_classes(card, manifest, board_dir)
    forget_state(folder)
    return card


def cost_of(checkpoint_dir: Path, device: str) -> Cost:
    """What a checkpoint's network costs; measured once per checkpoint and device.

    Raises:
        DataError: a damaged checkpoint.
        ConfigError: no such device.
    """
    path = checkpoint_dir / _COST_FILE
    chosen = choose_device(device)
    if path.exists():
        try:
            return Cost.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise DataError(f"{path}: {error.errors()[0]['msg']}; remove it to measure again") from None
    predictor = Predictor.load(checkpoint_dir, device)
    if find_spec(predictor.name).is_trained:
        cost = measure_network(load_network(checkpoint_dir).to(chosen), predictor.input_px, chosen)
    else:
        cost = measure_method(predictor)
    write_text(path, cost.model_dump_json(indent=2) + "\n")
    return cost


def read_failures(board_dir: Path) -> list[Failure]:
    """Trials of a board that gave no card, by file name.

    Raises:
        DataError: a file there is no failure.
    """
    found = []
    for path in sorted((board_dir / FAILED).glob("*.json")):
        try:
            found.append(Failure.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            raise DataError(f"{path}: {error.errors()[0]['msg']}") from None
    return found
