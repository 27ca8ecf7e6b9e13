"""Predictions on disk, one lossless picture a crop and label: what a score card is computed from.

    <folder>/<label>/<sample id>.png            whole pictures
    <folder>/<label>/<sample id>_<k>.png         crops around face k: the part of the crop inside the picture

16-bit grey, 65535 is certainty; a value of 32768 or more is foreground, as a probability of 0.5 or more is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from baselines import crops
from baselines.data import Crop
from baselines.saved_predictions import crop_name
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import replacing
from dataset_tools.core.labels import Label

FloatMap = npt.NDArray[np.float32]

_CERTAIN = 65535


def prediction_path(folder: Path, crop: Crop, label: Label) -> Path:
    """Where the prediction of a crop lies."""
    return folder / label.value / f"{crop_name(crop.sample_id, crop.face)}.png"


def write_prediction(folder: Path, crop: Crop, labels: Sequence[Label], maps: FloatMap) -> None:
    """Keep what a predictor says of a crop.

    Args:
        folder: of the predictions.
        crop: which one.
        labels: of the channels.
        maps: (side, side, L) float32 in [0, 1] over the crop's window.
    """
    visible = crops.visible_part(maps, crop.window, crop.image.size_hw)
    for channel, label in enumerate(labels):
        # Half a step is added, so that 0.5 becomes 32768 and a certain answer 65535.
        grey = (visible[..., channel].astype(np.float64) * _CERTAIN + 0.5).astype(np.uint16)
        with replacing(prediction_path(folder, crop, label)) as temporary:
            Image.fromarray(grey).save(temporary, format="PNG")


def has_prediction(folder: Path, crop: Crop, labels: Sequence[Label]) -> bool:
    """Whether the crop's prediction is there for all labels; files are written whole or not at all."""
    return all(prediction_path(folder, crop, label).is_file() for label in labels)


def read_prediction(folder: Path, crop: Crop, label: Label) -> FloatMap:
    """(h, w) float32 in [0, 1] over the part of the crop's window that lies inside the picture.

    Raises:
        DataError: no such file, no 16-bit picture, or of another size.
    """
    path = prediction_path(folder, crop, label)
    try:
        with Image.open(path) as opened:
            grey = np.asarray(opened)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the prediction {path}: {error}") from None
    x0, y0, x1, y1 = crop.window.visible_xyxy(crop.image.size_hw)
    if grey.shape != (y1 - y0, x1 - x0) or grey.dtype.kind not in "iu" or grey.max(initial=0) > _CERTAIN:
        raise DataError(f"{path} is no 16-bit grey picture of {x1 - x0} x {y1 - y0} pixels")
    return (grey.astype(np.float64) / _CERTAIN).astype(np.float32)
