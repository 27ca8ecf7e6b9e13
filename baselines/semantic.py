"""Scores of a picture in which every pixel has one of several classes: background, face mask, face (MISA).

What is kept of a crop is its confusion matrix, and all figures come from the sum of the crops' matrices
("dataset" level), as MISA's section 4 has them. A class that neither labels nor predictions hold has no
figure, and the means leave it out and say how many classes they are of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from baselines.tasks import Column, Row, Task, register_task
from dataset_tools.core.errors import DataError, MaskShapeError
from dataset_tools.core.labels import Label

if TYPE_CHECKING:
    import pyarrow as pa

FloatArray = npt.NDArray[np.float64]
Confusion = npt.NDArray[np.int64]

BACKGROUND = "background"
CLASSES: tuple[str, ...] = (BACKGROUND, Label.FACE_MASK.value, Label.FACE.value)


def confusion(predicted: npt.ArrayLike, truth: npt.ArrayLike, classes: int = len(CLASSES)) -> Confusion:
    """How many pixels of each class were taken for which.

    Args:
        predicted, truth: (H, W) integers in [0, classes), such as `data.class_map` paints.
        classes: how many there are.

    Returns:
        (classes, classes) int64: rows are the truth, columns what was predicted.

    Raises:
        MaskShapeError: not two-dimensional, empty, or of different sizes.
        DataError: not integers, or a class number that is none.
    """
    found, label = np.asarray(predicted), np.asarray(truth)
    if found.ndim != 2 or found.shape != label.shape or found.size == 0:
        raise MaskShapeError(f"prediction is {found.shape}, label is {label.shape}")
    for name, numbers in (("prediction", found), ("label", label)):
        if not np.issubdtype(numbers.dtype, np.integer):
            raise DataError(f"class numbers are integers, the {name} is {numbers.dtype}")
        low, high = int(numbers.min()), int(numbers.max())
        if low < 0 or high >= classes:
            raise DataError(f"the {name} holds classes {low} to {high}, known are 0 to {classes - 1}")
    codes = label.astype(np.intp) * classes + found.astype(np.intp)
    return np.bincount(codes.ravel(), minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def class_figures(matrix: npt.ArrayLike, classes: Sequence[str] = CLASSES) -> dict[str, float]:
    """Figures of one summed confusion matrix (C, C); see `figures_of_sums` for the names."""
    sums = np.asarray(matrix, dtype=np.float64).reshape(-1)
    return {name: float(value) for name, value in figures_of_sums(sums, classes).items()}


def figures_of_sums(sums: FloatArray, classes: Sequence[str] = CLASSES) -> dict[str, FloatArray]:
    """Figures by name from summed confusion matrices.

    Names: `pa`, `mpa`, `miou`, `mdice`, `fwiou` (IoU weighted by frequency), `classes` (how many the means
    are of); `miou_foreground` and `mdice_foreground` without the background, as MISA's figure 10; per class
    `pa_<class>` (TP / (TP + FN), its recall), `precision_<class>`, `iou_<class>`, `dice_<class>` and
    `frequency_<class>` (its share of the labels' pixels).

    Args:
        sums: (…, C * C) float64, rows of `crop_row` added up.
        classes: their names.

    Returns:
        (…) float64 each, NaN where undefined.

    Source: MISA, equations 24 to 26; equation 25 prints AP for PA, and sums k + 1 terms over k.
    """
    count = len(classes)
    matrix = sums.reshape(*sums.shape[:-1], count, count)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    labelled, predicted, total = matrix.sum(axis=-1), matrix.sum(axis=-2), matrix.sum(axis=(-2, -1))
    pa, found = _shares(hits, labelled), _shares(hits, labelled + predicted - hits)
    dice, frequency = _shares(2 * hits, labelled + predicted), labelled / total[..., None]
    figures = {
        "pa": hits.sum(axis=-1) / total,
        "mpa": _mean(pa),
        "miou": _mean(found),
        "mdice": _mean(dice),
        "miou_foreground": _mean(found[..., 1:]),
        "mdice_foreground": _mean(dice[..., 1:]),
        "fwiou": np.nansum(frequency * np.nan_to_num(found), axis=-1),
        "classes": (~np.isnan(found)).sum(axis=-1).astype(np.float64),
    }
    per_class = {
        "pa": pa,
        "precision": _shares(hits, predicted),
        "iou": found,
        "dice": dice,
        "frequency": frequency,
    }
    for index, name in enumerate(classes):
        figures |= {f"{metric}_{name}": values[..., index] for metric, values in per_class.items()}
    return figures


def _shares(part: FloatArray, whole: FloatArray) -> FloatArray:
    some = whole > 0
    return np.asarray(np.where(some, part / np.where(some, whole, 1.0), np.nan), dtype=np.float64)


def _mean(values: FloatArray) -> FloatArray:
    known = (~np.isnan(values)).sum(axis=-1)
    return _shares(np.nansum(values, axis=-1), known.astype(np.float64))


def pixel_columns(classes: Sequence[str] = CLASSES) -> tuple[str, ...]:
    """Names of a row's counts, truth by truth: `background_as_background`, `background_as_face_mask`, …"""
    return tuple(f"{truth}_as_{found}" for truth in classes for found in classes)


def crop_row(sample_id: str, face: int, matrix: Confusion) -> dict[str, Any]:
    """The raw result of one crop, for `tasks.write_card`."""
    counts = (int(value) for value in matrix.ravel())
    return {"sample_id": sample_id, "face": face, **dict(zip(pixel_columns(), counts, strict=True))}


def crop_table(rows: Sequence[Row]) -> FloatArray:
    """(n, C * C) float64 of raw rows, for `statistics.bootstrap(table, figures_of_sums, groups)`."""
    return np.array([[row[name] for name in pixel_columns()] for row in rows], dtype=np.float64)


def summarise(rows: Sequence[Row]) -> Mapping[str, float]:
    """Figures of raw rows.

    Raises:
        DataError: a count below 0.
    """
    table = crop_table(rows)
    if (table < 0).any():
        raise DataError("a confusion matrix holds a count below 0")
    return class_figures(table.sum(axis=0))


def row_schema() -> pa.Schema:
    """Columns of the raw table: sample id, face index, and nine counts of pixels."""
    import pyarrow as pa

    counts = ((name, pa.int64()) for name in pixel_columns())
    return pa.schema([("sample_id", pa.string()), ("face", pa.int32()), *counts])


register_task(
    Task(
        name="classes",
        title="Background, face mask and face",
        columns=(
            Column("mpa", "mPA"),
            Column("pa", "PA"),
            Column("pa_background", "PA background"),
            Column("pa_face_mask", "PA mask"),
            Column("pa_face", "PA face"),
            Column("miou", "mIoU"),
            Column("iou_face_mask", "IoU mask"),
            Column("iou_face", "IoU face"),
            Column("mdice_foreground", "Dice of mask and face"),
        ),
        summarise=summarise,
        schema=row_schema,
        remark="Pixels of all crops are pooled before anything is divided: large crops weigh more",
    )
)
