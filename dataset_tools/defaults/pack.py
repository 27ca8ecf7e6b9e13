"""A trained checkpoint made small and anonymous, so that it can lie in the wheel.

weights.safetensors   matrices and kernels in 16 bit; what is one number a channel keeps its 32
training.json         the record, with the digests of these files
trained_on.csv        what was seen, as digests only
calibration.json      of its confidence
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from annotation.prelabel.calibrate import Calibration, write_calibration
from annotation.prelabel.from_baseline import CALIBRATION_FILE
from baselines.checkpoint import (
    WEIGHTS_FILE,
    SeenSample,
    TrainingRecord,
    read_record,
    read_seen,
    read_tensors,
    write_record,
    write_seen,
    write_tensors,
)
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import sha256_file, sha256_hex
from dataset_tools.export.replace import replacing_folder

if TYPE_CHECKING:
    from torch import Tensor

# What is rounded early grows on its way through the network: with all weights in 16 bit a trained FPN
# differed by up to 0.04 at the rim of a mask; with those of this size alone by 0.002, for 1 MB more.
_LEAST_HALVED = 1 << 15

_GROUP_DIGITS = 16  # as in published datasets (`formats.job.public_group`)


def pack_checkpoint(checkpoint: Path, out: Path, calibration: Calibration) -> TrainingRecord:
    """Write the small form of a checkpoint; it loads wherever the large one does.

    Args:
        checkpoint: a finished training.
        out: folder to make or replace.
        calibration: of the checkpoint's confidence.

    Returns:
        The record of the small form.

    Raises:
        DataError: not a finished training, a damaged file, or a weight too large for 16 bit.
    """
    record = read_record(checkpoint)
    tensors = read_tensors(checkpoint / WEIGHTS_FILE)
    with replacing_folder(out) as fresh:
        write_tensors(fresh / WEIGHTS_FILE, {name: _halved(name, one) for name, one in tensors.items()})
        (fresh / WEIGHTS_FILE).chmod(
            0o644
        )  # the library makes it for its owner alone; a wheel is for others too
        packed = record.model_copy(
            update={
                "weights_sha256": sha256_file(fresh / WEIGHTS_FILE),
                "trained_on_sha256": write_seen(fresh, map(_anonymous, read_seen(checkpoint))),
            }
        )
        write_calibration(fresh / CALIBRATION_FILE, calibration)
        write_record(fresh, packed)
    return packed


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.numel() < _LEAST_HALVED:
        return tensor
    small = tensor.half()
    if not small.isfinite().all():
        raise DataError(f"{name} has a weight beyond 65504 or none at all, which 16 bit cannot hold")
    return small


def _anonymous(row: SeenSample) -> SeenSample:
    """Ids and pictures are digests already; a group may be a person's name or a folder's."""
    return replace(row, group=sha256_hex(row.group.encode())[:_GROUP_DIGITS])
