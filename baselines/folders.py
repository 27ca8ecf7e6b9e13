"""A folder of pictures through a predictor to a folder of masks."""

from __future__ import annotations

from pathlib import Path

from baselines.predict import Predictor
from baselines.saved_predictions import Form, PredictionFolder, mask_names
from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.images import decode_photo
from dataset_tools.core.labels import Label
from dataset_tools.core.progress import ProgressFactory

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".gif")


def predict_pictures(
    predictor: Predictor, folder: Path, out_dir: Path, label: Label, form: Form, progress: ProgressFactory
) -> tuple[int, list[tuple[str, str]]]:
    """Write the mask of every picture in a folder and the folders below it, each looked at as a whole.

    Args:
        predictor: what to ask.
        folder: of pictures.
        out_dir: gets one PNG a picture, named like it, and an index.
        label: whose mask is written.
        form: "soft" for probabilities, "hard" for 0 and 255.
        progress: opens the progress display.

    Returns:
        Number of masks, and (name, reason) of the pictures that could not be read.

    Raises:
        DataError: the folder holds no picture, or `out_dir` lies inside it.
        ConfigError: the predictor does not know the label.
    """
    channel = predictor.channel(label)
    if out_dir.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{out_dir} lies inside {folder}: the masks would be taken for pictures")
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in PICTURES and path.is_file()
    }
    if not files:
        raise DataError(f"{folder} holds no picture ({', '.join(PICTURES)})")
    names = mask_names(files)
    written = PredictionFolder(out_dir, f"{predictor.name}@{predictor.version}", form)
    unread = []
    with progress("predict", len(files)) as bar:
        for name, path in files.items():
            try:
                rgb = decode_photo(path.read_bytes()).rgb
            except (ItemFault, OSError) as error:
                unread.append((name, str(error)))
            else:
                maps = predictor.predict(rgb)
                written.add(names[name], maps if maps.ndim == 2 else maps[..., channel])
            bar.advance()
    written.finish()
    return len(files) - len(unread), unread
