"""A trained baseline on disk, and the state an interrupted training goes on from.

    weights.safetensors          the weights to use; written when training ends
    training.json                what they are and what they were trained on; written last
    trained_on.csv               every sample that training or validation saw
    best.safetensors             best weights so far, while training
    state.safetensors            weights, optimiser and position, while training (and the state before it,
    state.previous.safetensors   should the newest be damaged)

Everything is safetensors, JSON or CSV: loading a checkpoint runs no code from it.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from baselines.settings import TrainSettings
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import replacing, sha256_file, sha256_hex, write_text

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)

_Record = TypeVar("_Record", bound=BaseModel)

WEIGHTS_FILE = "weights.safetensors"
RECORD_FILE = "training.json"
TRAINED_ON_FILE = "trained_on.csv"
BEST_FILE = "best.safetensors"
STATE_FILE = "state.safetensors"
PREVIOUS_STATE_FILE = "state.previous.safetensors"

_STATE_KEY = "maskset.state"  # the only metadata key, so that equal states give equal bytes


class TrainingRecord(BaseModel):
    """What a checkpoint is and how it came about; the content of `training.json`.

    Attributes:
        baseline: registered name.
        settings: as resolved: nothing is None that decided the result.
        dataset_name, dataset_key, dataset_digest: title, key and canonical digest of the manifest.
        samples, crops: labelled samples and crops of split train.
        synthetic_crops: those of rendered pictures.
        proposed_crops: those whose labels are proposals of a model, which nobody has confirmed.
        fresh_masks: what drew rendered pictures anew for every pass; "" for stored ones.
        val_crops: crops the best weights were chosen on; 0 when there was no val split.
        steps, seconds: optimiser steps taken and their wall time without validation, over all resumed runs.
        device, torch_version: where and with what.
        initial_weights, initial_weights_sha256: the start; "random" and "" without published weights.
        best_step: the step whose weights these are.
        best_val_iou: their per-image mean IoU on split val, or None.
        history: (step, mean training loss since the last entry, val IoU or None) at each validation.
        processes: that shared the batches.
        micro_batches: parts a batch was cut into; more than 1 after the memory ran out.
        rollbacks: times the run went back to its last state because a number was not finite.
        waiting_share: of `seconds`, spent waiting for pictures.
        peak_memory_mib: highest memory of the GPU's tensors; 0 on a CPU.
        weights_sha256, trained_on_sha256: of the files beside this record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline: str
    settings: TrainSettings
    dataset_name: str
    dataset_key: str
    dataset_digest: str
    samples: int
    crops: int
    synthetic_crops: int
    proposed_crops: int = 0
    fresh_masks: str = ""
    val_crops: int
    steps: int
    seconds: float
    device: str
    torch_version: str
    initial_weights: str
    initial_weights_sha256: str
    best_step: int
    best_val_iou: float | None
    history: tuple[tuple[int, float, float | None], ...] = ()
    processes: int = 1
    micro_batches: int = 1
    rollbacks: int = 0
    waiting_share: float = 0.0
    peak_memory_mib: float = 0.0
    weights_sha256: str
    trained_on_sha256: str

    @property
    def version(self) -> str:
        """First 12 hex digits of the weights' sha256."""
        return self.weights_sha256[:12]


@dataclass(frozen=True, slots=True)
class SeenSample:
    """A sample that training or validation saw: one row of `trained_on.csv`."""

    sample_id: str
    split: str
    group: str
    image_sha256: str
    parent_id: str


def write_record(folder: Path, record: TrainingRecord) -> None:
    """Complete a checkpoint; its weights and sample list must already be there."""
    write_text(folder / RECORD_FILE, record.model_dump_json(indent=2) + "\n")


def read_record(folder: Path) -> TrainingRecord:
    """The record of a finished checkpoint; errors as `read_vouched`."""
    return read_vouched(
        folder / RECORD_FILE,
        TrainingRecord,
        "training",
        lambda record: {WEIGHTS_FILE: record.weights_sha256, TRAINED_ON_FILE: record.trained_on_sha256},
    )


def read_vouched(
    path: Path, model: type[_Record], what: str, files: Callable[[_Record], Mapping[str, str]]
) -> _Record:
    """A record that was written last, after checking the files beside it that it vouches for.

    Args:
        path: of the record, JSON.
        model: what it must be.
        what: the thing that is missing when the record is, e.g. "training".
        files: from the record to the sha256 of each file, by file name.

    Raises:
        DataError: nothing finished there, no such record, or a file is missing or damaged.
    """
    try:
        record = model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path.parent} holds no finished {what} ({path.name} is missing)") from None
    except ValidationError as error:
        raise DataError(f"{path}: {error.errors()[0]['msg']}") from None
    for name, expected in files(record).items():
        file = path.parent / name
        if not file.exists() or sha256_file(file) != expected:
            raise DataError(f"{file} is missing or damaged; train again or restore the file")
    return record


def write_seen(folder: Path, seen: Iterable[SeenSample]) -> str:
    """Write `trained_on.csv`, sorted; returns its sha256."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("sample_id", "split", "group", "image_sha256", "parent_id"))
    rows = {(item.sample_id, item.split, item.group, item.image_sha256, item.parent_id) for item in seen}
    writer.writerows(sorted(rows))
    text = stream.getvalue()
    write_text(folder / TRAINED_ON_FILE, text)
    return sha256_hex(text.encode())


def read_seen(folder: Path) -> list[SeenSample]:
    """The rows of `trained_on.csv`."""
    with (folder / TRAINED_ON_FILE).open(newline="") as stream:
        return [SeenSample(**row) for row in csv.DictReader(stream)]


def write_tensors(target: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors atomically as safetensors."""
    from safetensors.torch import save_file

    with replacing(target) as temporary:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU.

    Raises:
        DataError: cut short or otherwise not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def write_state(folder: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Keep the newest state and the one before it; a kill at any moment leaves at least one whole."""
    from safetensors.torch import save

    content = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    digest = sha256_hex(save(content))
    note = json.dumps({"digest": digest, "values": dict(values)}, sort_keys=True)
    newest = folder / STATE_FILE
    with replacing(newest) as temporary:
        temporary.write_bytes(save(content, metadata={_STATE_KEY: note}))
        if newest.exists():
            newest.replace(folder / PREVIOUS_STATE_FILE)


def forget_state(folder: Path) -> None:
    """Remove what only an interrupted training needs; it is four times as large as the weights."""
    for name in (STATE_FILE, PREVIOUS_STATE_FILE, BEST_FILE):
        (folder / name).unlink(missing_ok=True)


def read_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest whole state, or None when training never got that far.

    Raises:
        DataError: states are there, but none is whole.
    """
    found = [path for name in (STATE_FILE, PREVIOUS_STATE_FILE) if (path := folder / name).exists()]
    for path in found:
        try:
            return _read_whole_state(path)
        except DataError as error:
            _log.warning("%s; trying the state before it", error)
    if found:
        raise DataError(f"no state in {folder} is whole; remove the folder to train from the start")
    return None


def _read_whole_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save

    tensors = read_tensors(path)
    try:
        with safe_open(path, framework="pt") as opened:
            note = json.loads((opened.metadata() or {})[_STATE_KEY])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path} is not a training state") from error
    if sha256_hex(save(tensors)) != note["digest"]:
        raise DataError(f"{path} is damaged")
    return tensors, note["values"]
