"""Scoring a trained MSML on pairs of faces, clean and occluded, into a card of the task "verification"."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.networks.msml import Msml
from baselines.segmenter import choose_device
from baselines.tasks import TaskCard, write_card
from baselines.verification.ablations import ablation_of, network_title
from baselines.verification.alignment import RgbImage, face_square
from baselines.verification.identities import PairSet, read_face
from baselines.verification.occlusions import OccludedFace, untouched, with_polygon, with_square
from baselines.verification.settings import ScoreSettings
from baselines.verification.task import BLOCK, MIXED, POLYGONS, VERIFICATION
from baselines.verification.training import VerificationRecord, load_verification
from dataset_tools.core.files import sha256_file
from dataset_tools.core.progress import Progress, ProgressFactory, silent
from dataset_tools.core.seeds import generator

_MIXED_PERCENTS = (1, 40)

Draw = Callable[[RgbImage, np.random.Generator], OccludedFace]


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to occlude both pictures of every pair.

    Attributes:
        protocol: "block", "mixed" or "polygons".
        percent: area of the square, or None where every picture has its own.
        repeats: times it is done.
        draw: does it to one face.
    """

    protocol: str
    percent: int | None
    repeats: int
    draw: Draw


def conditions(settings: ScoreSettings) -> list[Condition]:
    """What these settings ask for; clean pairs are scored once, since nothing about them is random."""

    def square(percent: int) -> Draw:
        return lambda rgb, rng: with_square(rgb, percent / 100, rng)

    def mixed(rgb: RgbImage, rng: np.random.Generator) -> OccludedFace:
        return with_square(rgb, rng.uniform(*_MIXED_PERCENTS) / 100, rng)

    found = [
        Condition(
            BLOCK, percent, settings.repeats if percent else 1, square(percent) if percent else untouched
        )
        for percent in settings.block_percents
    ]
    if settings.mixed:
        found.append(Condition(MIXED, None, settings.repeats, mixed))
    if settings.polygons:
        found.append(Condition(POLYGONS, None, settings.repeats, with_polygon))
    return found


@dataclass(slots=True)
class _Pixels:
    """Occluded and clean pixels, found or not, over many faces."""

    true_occluded: int = 0
    false_occluded: int = 0
    missed_occluded: int = 0
    true_clean: int = 0

    def count(self, found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> None:
        hits = int(np.count_nonzero(found & truth))
        self.true_occluded += hits
        self.false_occluded += int(np.count_nonzero(found)) - hits
        self.missed_occluded += int(np.count_nonzero(truth)) - hits
        self.true_clean += int(np.count_nonzero(~(found | truth)))


@dataclass(slots=True)
class Embedder:
    """Faces to embeddings of length 1; keeps count of its time.

    Attributes:
        network: in evaluation mode, on `device`.
        device: where it runs.
        batch: faces at once.
        seconds: spent in the network so far.
        faces: embedded so far.
    """

    network: Msml
    device: torch.device
    batch: int = 64
    seconds: float = field(default=0.0)
    faces: int = field(default=0)

    def __call__(self, squares: npt.NDArray[np.uint8]) -> tuple[Tensor, npt.NDArray[np.bool_] | None]:
        """Embed faces: f(x) + f(mirrored x), then length 1.

        Args:
            squares: (N, S, S, 3) uint8, aligned.

        Returns:
            (N, D) float32 on the CPU, and (N, S, S) bool: where the occlusion branch sees an occlusion; None
            without such a branch.
        """
        start = time.perf_counter()
        with torch.inference_mode():
            shown = torch.from_numpy(squares).to(self.device).permute(0, 3, 1, 2).float() / 255
            output, mirrored = self.network(shown), self.network(shown.flip(3))
            embeddings = F.normalize(output.embeddings + mirrored.embeddings).float().cpu()
            hidden = None if output.occlusion is None else output.occlusion.argmax(dim=1).bool().cpu().numpy()
        self.seconds += time.perf_counter() - start
        self.faces += len(squares)
        return embeddings, hidden


def score_verification(
    folder: Path,
    pairs: PairSet,
    out_dir: Path,
    settings: ScoreSettings | None = None,
    *,
    progress: ProgressFactory = silent,
) -> TaskCard:
    """Score a trained network and write its card and raw table.

    Args:
        folder: of a finished training.
        pairs: what to compare; pictures without landmarks are cut as the training cut them.
        out_dir: for the card.
        settings: which occlusions, how often; None: all of the paper's.
        progress: opens the progress display.

    Raises:
        DataError: the folder is no finished training, or a picture cannot be read.
    """
    settings = settings or ScoreSettings()
    network, record = load_verification(folder)
    device = choose_device(settings.device)
    embedder = Embedder(network.to(device).eval(), device, settings.batch)
    rows = score_pairs(embedder, pairs, record, settings, progress)
    variant = ablation_of(record.settings)
    card = TaskCard(
        task=VERIFICATION.name,
        baseline=variant.name if variant else f"msml_{record.settings.network.branch}",
        title=variant.title if variant else network_title(record.settings.network),
        fidelity="A",
        version=record.weights_sha256[:12],
        dataset=pairs.title,
        dataset_digest=pairs.digest,
        split="pairs",
        items=len(rows),
        metrics={},
        parameters=sum(one.numel() for one in network.parameters()),
        seconds_per_item=embedder.seconds / max(embedder.faces, 1),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        training=record.facts,
        printed=dict(variant.printed) if variant else {},
        printed_table=variant.printed_table if variant else "",
        printed_remark=variant.remark if variant else "",
    )
    return write_card(out_dir, card, rows)


def score_pairs(
    embedder: Embedder,
    pairs: PairSet,
    record: VerificationRecord,
    settings: ScoreSettings,
    progress: ProgressFactory = silent,
) -> list[dict[str, object]]:
    """Raw rows of `task.schema`, one per repeat of a condition."""
    squares = _read_squares(pairs, record)
    wanted = [(one, repeat) for one in conditions(settings) for repeat in range(one.repeats)]
    known = set(record.pictures_sha256)
    truth = {
        "same": [pair.is_same for pair in pairs.pairs],
        "folds": [pair.fold for pair in pairs.pairs],
        "seen": [any(sha256_file(one) in known for one in pair.paths) for pair in pairs.pairs],
    }
    rows: list[dict[str, object]] = []
    faces = [len(squares) if one.draw is untouched else 2 * len(pairs.pairs) for one, _ in wanted]
    with progress("compare", sum(faces)) as bar:
        for condition, repeat in wanted:
            distances, pixels = _compare(embedder, pairs, squares, condition, (settings.seed, repeat), bar)
            counted = {name: getattr(pixels, name) if pixels else None for name in _Pixels.__slots__}
            rows.append(
                {
                    "protocol": condition.protocol,
                    "percent": condition.percent,
                    "repeat": repeat,
                    "distances": distances.tolist(),
                    **truth,
                    **counted,
                }
            )
    return rows


def _read_squares(pairs: PairSet, record: VerificationRecord) -> dict[str, RgbImage]:
    settings = record.settings
    found: dict[str, RgbImage] = {}
    for pair in pairs.pairs:
        for name, path, points in zip(pair.names, pair.paths, pair.points, strict=True):
            if name not in found:
                branch, share = settings.network.branch, settings.centre_share
                found[name] = face_square(read_face(path), points, branch, share)
    return found


def _compare(
    embedder: Embedder,
    pairs: PairSet,
    squares: dict[str, RgbImage],
    condition: Condition,
    seeds: tuple[int, int],
    bar: Progress,
) -> tuple[npt.NDArray[np.float32], _Pixels | None]:
    """Squared distance of every pair, and what the occlusion branch found."""
    names = [name for pair in pairs.pairs for name in pair.names]
    # A picture in several pairs is occluded elsewhere in each; untouched it is always the same one.
    slots = sorted(squares) if condition.draw is untouched else names
    pixels: _Pixels | None = None
    parts = []
    for batch in _chunks(list(enumerate(slots)), embedder.batch):
        shown = []
        for slot, name in batch:
            where = (condition.protocol, str(condition.percent), str(seeds[1]), str(slot))
            rng = generator(seeds[0], *where, "occlude pair")
            shown.append(condition.draw(squares[name], rng))
        embeddings, hidden = embedder(np.stack([one.rgb for one in shown]))
        parts.append(embeddings)
        if hidden is not None:
            pixels = pixels or _Pixels()
            pixels.count(hidden, np.stack([one.occluded for one in shown]))
        bar.advance(len(batch))
    embedded = torch.cat(parts)
    if slots is not names:
        number = {name: slot for slot, name in enumerate(slots)}
        embedded = embedded[[number[name] for name in names]]
    apart = (embedded[0::2] - embedded[1::2]).square().sum(dim=1)
    return apart.numpy().astype(np.float32), pixels


def _chunks(items: list[tuple[int, str]], size: int) -> Iterator[list[tuple[int, str]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
