"""A board as one self-contained page: sortable tables, loss curves, slices, worst and best pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from baselines import crops
from baselines.board_forms import HEADINGS, cells, headings, interval_text, task_cells, task_headings
from baselines.cards import ScoredCrop
from baselines.data import Crop, list_crops
from baselines.leaderboard import Board, Line, remarks
from baselines.scoring import truth_of
from baselines.stored import read_prediction
from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest

_WORST, _BEST = 4, 2
_PICTURE_PX = 144
_JPEG_QUALITY = 80
_CURVE_W, _CURVE_H = 220, 60

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """One crop with what was predicted on it.

    Attributes:
        source: a data URI.
        caption: its score, and "worst" or "best".
    """

    source: str
    caption: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of an SVG polyline in a box of `_CURVE_W` x `_CURVE_H`, and what it is of."""

    points: str
    title: str
    kind: str


@dataclass(frozen=True, slots=True)
class Detail:
    """What lies folded below the table for a line."""

    title: str
    slices: tuple[tuple[str, ...], ...]
    curves: tuple[Curve, ...]
    pictures: tuple[Picture, ...]


def as_html(board: Board, board_dir: Path, manifest: Manifest | None = None) -> str:
    """One page, light or dark as the reader's system is; it loads nothing from elsewhere.

    Args:
        board: what to show.
        board_dir: where its predictions lie.
        manifest: of the scored samples, for the worst and best pictures; None: a page without pictures,
            which may be published where the photos may not.

    Raises:
        DataError: a picture or prediction cannot be read.
    """
    import jinja2

    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    numbers = len(HEADINGS) + 5
    return environment.get_template("leaderboard.html").render(
        headings=headings(),
        numeric=range(2, numbers + 8),
        sections=[
            {
                "title": section.title,
                "rows": [cells(line) for line in section.lines],
                "details": [_detail(line, board_dir, manifest) for line in section.lines],
            }
            for section in board.sections
        ],
        tasks=[
            {
                "title": section.title,
                "headings": task_headings(section),
                "numeric": range(2, 2 + 2 * len(section.task.columns)),
                "rows": [task_cells(section, card) for card in section.cards],
            }
            for section in board.task_sections
        ],
        failures=board.failures,
        notes=remarks(board),
        curve_w=_CURVE_W,
        curve_h=_CURVE_H,
    )


def _detail(line: Line, board_dir: Path, manifest: Manifest | None) -> Detail:
    slices = tuple(
        (
            one.fact.replace("_", " "),
            one.value.replace("_", " "),
            str(one.crops),
            f"{one.figures['iou'].value * 100:.2f}",
            interval_text(one.figures["iou"]),
            f"{one.figures['boundary_iou'].value * 100:.2f}",
        )
        for one in line.slices()
    )
    pictures = _pictures(line, board_dir, manifest) if manifest is not None else ()
    return Detail(line.title, slices, tuple(_curves(line)), tuple(pictures))


def _curves(line: Line) -> list[Curve]:
    training = line.card.training
    if training is None or len(training.history) < 2:
        return []
    steps = [float(step) for step, _, _ in training.history]
    losses = [loss for _, loss, _ in training.history]
    found = [Curve(_polyline(steps, losses), f"training loss, {losses[0]:.3g} to {losses[-1]:.3g}", "loss")]
    judged = [(float(step), iou) for step, _, iou in training.history if iou is not None]
    if len(judged) > 1:
        values = [iou for _, iou in judged]
        title = f"validation IoU, {values[0]:.3f} to {values[-1]:.3f}, best {max(values):.3f}"
        found.append(Curve(_polyline([step for step, _ in judged], values), title, "iou"))
    return found


def _polyline(xs: Sequence[float], ys: Sequence[float]) -> str:
    across, up = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0
    points = (
        (
            2 + (x - min(xs)) / across * (_CURVE_W - 4),
            _CURVE_H - 2 - (y - min(ys)) / up * (_CURVE_H - 4),
        )
        for x, y in zip(xs, ys, strict=True)
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _pictures(line: Line, board_dir: Path, manifest: Manifest) -> list[Picture]:
    if not line.card.predictions or manifest.canonical_digest() != line.card.dataset_digest:
        return []
    images = ImageStore(manifest.workspace)
    found = _crops(manifest.directory, line.card.split.value, line.card.crop.model_dump_json())
    ranked = sorted(line.crops[0], key=lambda one: one.scores.iou)
    best = [one for one in ranked[-_BEST:][::-1] if one not in ranked[:_WORST]]
    chosen = [*((one, "worst") for one in ranked[:_WORST]), *((one, "best") for one in best)]
    return [_picture(one, kind, found[one.key], line, board_dir, images) for one, kind in chosen]


@lru_cache(maxsize=4)
def _crops(directory: Path, split: str, crop: str) -> dict[tuple[str, int], Crop]:
    from baselines.settings import CropSettings
    from dataset_tools.core.record import Split

    settings = CropSettings.model_validate_json(crop)
    listed = list_crops(Manifest(directory).samples(), Split(split), settings)
    return {(one.sample_id, one.face): one for one in listed}


def _picture(
    one: ScoredCrop, kind: str, crop: Crop, line: Line, board_dir: Path, images: ImageStore
) -> Picture:
    try:
        rgb = crops.cut_visible(images.read(crop.image), crop.window)
    except ItemFault as fault:
        raise DataError(f"sample {crop.sample_id}: {fault}") from fault
    truth = truth_of(crop, line.card.label)
    predicted = read_prediction(board_dir / line.card.predictions, crop, line.card.label) >= 0.5
    return Picture(_data_uri(overlaid(rgb, truth, predicted)), f"{kind}, IoU {one.scores.iou * 100:.1f}")


def overlaid(rgb: Rgb, truth: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]) -> Rgb:
    """A picture with hits in green, misses in red and false alarms in blue, each half transparent.

    Args:
        rgb: (H, W, 3) uint8.
        truth, predicted: (H, W) bool.
    """
    colours = np.zeros((*truth.shape, 3), dtype=np.float32)
    colours[truth & predicted] = (0, 200, 83)
    colours[truth & ~predicted] = (213, 0, 0)
    colours[predicted & ~truth] = (41, 98, 255)
    some = (truth | predicted)[..., None]
    mixed = np.where(some, 0.5 * rgb + 0.5 * colours, rgb.astype(np.float32))
    return mixed.round().astype(np.uint8)


def _data_uri(rgb: Rgb) -> str:
    import io

    from PIL import Image

    picture = Image.fromarray(rgb)
    picture.thumbnail((_PICTURE_PX * 2, _PICTURE_PX * 2))
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
