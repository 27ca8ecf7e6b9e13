"""Can a small classifier tell the rim of a drawn mask from that of a real one?

Protocol, the same for real and drawn faces:

1. The part of the picture around the mask (its box and as much again above) is cut out, stretched to a
   square of 128 pixels and compressed at JPEG quality 92: same size of faces, same resampling, same codec.
2. Crops of 64 x 64 pixels are cut around points of the rim, and around points of the face well away from the
   mask (40 x 40, since there is no more room above a mask). The second kind holds nothing that was drawn:
   what tells those apart is the difference between the two collections of photos (cameras, light, people).
   Their AUC is the control the first is read against.
3. Two classifiers learn real from drawn on the crops of some faces and score those of the others, k-fold, all
   pictures with the same group in one fold: a small network on the pixels' detail, and logistic regression on
   `rim_statistics`, which knows where the rim is. With a hundred faces the network is the weaker of the two;
   the statistics also say what gives a drawing away.

Before anything is drawn, the bare photos should be brought to the sharpness of the real ones
(`softness_above` of a random real face, `shrink_factor` for the photo): otherwise resolution is what gets
classified.

0.5 means that the drawn rims cannot be told, 1 that each can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.errors import DataError
from dataset_tools.core.images import RgbImage, decode_photo
from dataset_tools.core.seeds import derive_seed, generator
from synth.photo_state import estimate_blur_px
from synth.realism.statistics import STATISTICS, rim_statistics

if TYPE_CHECKING:
    import torch
    from torch import nn

Floats = npt.NDArray[np.float64]
BoolMask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.int64]
Crops = npt.NDArray[np.uint8]

FACE_PX = 128
CROP_PX = 64
BARE_PX = 40
JPEG_QUALITY = 92

_BESIDE = 0.04  # room beside and below the mask, in widths and heights of its box
_ABOVE = 0.85
_BORDER_PX = 6  # rim nearer to the border is where the picture cuts the mask
_AWAY_PX = 4  # above the mask: beyond its shadow
_LEAST_AREA = 0.04
SHARP_PX = 0.8  # what `estimate_blur_px` finds in photos that are as sharp as their pixels
_LEAST_ABOVE_PX = 40
_SOFT_ENOUGH = 0.9
_EPOCHS = 12
_BATCH = 32
_FOLDS = 4
_RIDGE = 0.01


@dataclass(frozen=True)
class MaskedFace:
    """A picture of one masked face.

    Attributes:
        name: for reports.
        group: pictures that share it (one photo, one person) are never on both sides of a fold.
        image: (H, W, 3) sRGB.
        mask: (H, W) bool, the mask.
    """

    name: str
    group: str
    image: RgbImage
    mask: BoolMask


@dataclass(frozen=True)
class _Cut:
    # Crops of one face, where the mask is in them, and the fold it is tested in.
    name: str
    fold: int
    crops: Crops
    masks: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RimReport:
    """How well real and drawn faces can be told apart.

    Attributes:
        auc, auc_sd: of rim crops of faces the network has not seen; mean and standard deviation over folds.
        statistics_auc, statistics_sd: the same of logistic regression on the crops' statistics.
        control_auc, control_sd: the same of crops away from the mask.
        n_real, n_drawn: faces that gave crops.
        telling: of each statistic by itself the AUC over all crops, the most telling first; below 0.5 when
            drawn rims have less of it.
        scores: per drawn face its name and the network's mean score in [0, 1], the most conspicuous first.
    """

    auc: float
    auc_sd: float
    statistics_auc: float
    statistics_sd: float
    control_auc: float
    control_sd: float
    n_real: int
    n_drawn: int
    telling: tuple[tuple[str, float], ...]
    scores: tuple[tuple[str, float], ...]

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values; an unknown control is null."""
        values = asdict(self)
        unknown = [key for key in ("control_auc", "control_sd") if math.isnan(values[key])]
        return {**values, **dict.fromkeys(unknown)}

    def line(self, name: str) -> str:
        """The report in a line for people."""
        control = "unknown" if math.isnan(self.control_auc) else f"{self.control_auc:.2f}"
        return (
            f"{name}: AUC {self.auc:.3f} ± {self.auc_sd:.3f} by the network, {self.statistics_auc:.3f} ± "
            f"{self.statistics_sd:.3f} by statistics (away from the mask {control}); {self.n_real} real, "
            f"{self.n_drawn} drawn; most telling: {self.telling[0][0]} ({self.telling[0][1]:.2f})"
        )


def read_pairs(folder: Path) -> list[MaskedFace]:
    """Masked faces from `folder`/image and `folder`/mask, files of equal stems; the mask is white.

    A group is what a name says before its last two parts: `person_0_1` and `person_2_1` are one person's.

    Raises:
        DataError: there are no pairs, or sizes differ.
        ItemFault: a file that is no readable picture.
    """
    masks = {path.stem: path for path in sorted((folder / "mask").glob("*")) if path.is_file()}
    found = []
    for path in sorted((folder / "image").glob("*")):
        if path.stem not in masks:
            continue
        image = decode_photo(path.read_bytes()).rgb
        mask = decode_photo(masks[path.stem].read_bytes()).rgb[..., 0] > 127
        if mask.shape != image.shape[:2]:
            raise DataError(f"{path.name}: the mask is {mask.shape}, the picture {image.shape[:2]}")
        parts = path.stem.split("_")
        found.append(MaskedFace(path.stem, "_".join(parts[:-2]) or path.stem, image, mask))
    if not found:
        raise DataError(f"no pairs in {folder}: image/NAME and mask/NAME are wanted")
    return found


def rim_auc(
    real: Sequence[MaskedFace], drawn: Sequence[MaskedFace], seed: int, crops_per_face: int = 10
) -> RimReport:
    """Train and test the classifier by the protocol above; same input and seed, same figures.

    Raises:
        DataError: fewer than two faces a fold on either side have a rim to show, or all are of one group.
    """
    sides = [[square for face in faces if (square := to_square(face))] for faces in (real, drawn)]
    rims = [_cut(side, seed, crops_per_face, CROP_PX, rim_points) for side in sides]
    bare = [_cut(side, seed, crops_per_face, BARE_PX, bare_points) for side in sides]
    counts = [len(side) for side in rims]
    if min(counts) < 2 * _FOLDS:
        raise DataError(f"{counts[0]} real and {counts[1]} drawn faces show a rim, {2 * _FOLDS} each needed")
    aucs, scores = _cross_validate(rims[0], rims[1], _by_network, seed)
    by_statistics, _ = _cross_validate(rims[0], rims[1], _by_statistics, seed)
    control: Floats = np.full(_FOLDS, np.nan)
    if min(len(side) for side in bare) >= 2 * _FOLDS:
        control, _ = _cross_validate(bare[0], bare[1], _by_network, seed)
    ranked = tuple(sorted(scores.items(), key=lambda row: (-row[1], row[0])))
    return RimReport(
        auc=float(aucs.mean()),
        auc_sd=float(aucs.std()),
        statistics_auc=float(by_statistics.mean()),
        statistics_sd=float(by_statistics.std()),
        control_auc=float(control.mean()),
        control_sd=float(control.std()),
        n_real=counts[0],
        n_drawn=counts[1],
        telling=_telling(rims[0], rims[1]),
        scores=ranked,
    )


def to_square(face: MaskedFace) -> MaskedFace | None:
    """The surroundings of a face's mask as a compressed square; None when it is too small."""
    import cv2

    if face.mask.sum() < _LEAST_AREA * FACE_PX**2:
        return None
    rows, columns = np.flatnonzero(face.mask.any(axis=1)), np.flatnonzero(face.mask.any(axis=0))
    width, height = columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
    x0, x1 = columns[0] - _BESIDE * width, columns[-1] + 1 + _BESIDE * width
    y0, y1 = rows[0] - _ABOVE * height, rows[-1] + 1 + _BESIDE * height
    part = (slice(max(round(y0), 0), round(y1)), slice(max(round(x0), 0), round(x1)))
    image, mask = np.ascontiguousarray(face.image[part]), face.mask[part].astype(np.float32)
    size = (FACE_PX, FACE_PX)
    shrinks = min(image.shape[:2]) >= FACE_PX
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    square = np.asarray(cv2.resize(image, size, interpolation=how))
    worn = cv2.resize(mask, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    _, stored = cv2.imencode(".jpg", square[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    again = np.ascontiguousarray(np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR))[..., ::-1])
    return MaskedFace(face.name, face.group, again, worn >= 0.5)


def softness_above(face: MaskedFace) -> float:
    """Blur (sigma) above a face's mask as a share of the mask's width: the same however enlarged."""
    import cv2

    rows, columns = np.flatnonzero(face.mask.any(axis=1)), np.flatnonzero(face.mask.any(axis=0))
    above = face.image[: max(int(rows[0]) - _AWAY_PX, _LEAST_ABOVE_PX)]
    sigma = estimate_blur_px(cv2.cvtColor(np.ascontiguousarray(above), cv2.COLOR_RGB2GRAY))
    return max(sigma, SHARP_PX) / (int(columns[-1]) + 1 - int(columns[0]))


def shrink_factor(photo: RgbImage, mask_width_px: float, softness: float) -> float:
    """What to scale a bare photo by, 0.25-1, so that a mask of that width in it will be as soft as asked."""
    import cv2

    own = max(estimate_blur_px(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)), SHARP_PX) / mask_width_px
    if own > _SOFT_ENOUGH * softness:
        return 1.0
    return float(np.clip(SHARP_PX / (softness * mask_width_px), 0.25, 1.0))


def rim_points(mask: BoolMask) -> Points:
    """(N, 2) rows and columns of a mask's rim, without what the picture's border cuts."""
    import cv2

    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    return _away_from_border(mask & (inner == 0))


def bare_points(mask: BoolMask) -> Points:
    """(N, 2) points above a mask whose crops of `BARE_PX` hold nothing of it, nor of its shadow."""
    last = int(np.flatnonzero(mask.any(axis=1))[0]) - _AWAY_PX - BARE_PX // 2
    free = np.zeros_like(mask)
    free[BARE_PX // 2 : last + 1, BARE_PX // 2 : FACE_PX - BARE_PX // 2 + 1] = True
    return np.argwhere(free)


def _away_from_border(points: BoolMask) -> Points:
    inside = points.copy()
    inside[:_BORDER_PX] = inside[-_BORDER_PX:] = False
    inside[:, :_BORDER_PX] = inside[:, -_BORDER_PX:] = False
    return np.argwhere(inside)


def _cut(
    faces: Sequence[MaskedFace], seed: int, count: int, side: int, where: Callable[[BoolMask], Points]
) -> list[_Cut]:
    found = []
    for face in faces:
        points = where(face.mask)
        if len(points) < count:
            continue
        # A generator for each face: one face more does not move the crops of the others.
        rng = generator(seed, "crops", face.name)
        chosen = points[np.sort(rng.choice(len(points), count, replace=False))]
        # Near the border the crop is moved inwards: padding would give its place away.
        low = np.clip(chosen - side // 2, 0, FACE_PX - side)
        places = [(slice(row, row + side), slice(column, column + side)) for row, column in low]
        crops = np.stack([face.image[place] for place in places])
        masks = np.stack([face.mask[place] for place in places])
        fold = derive_seed(seed, "fold", face.group) % _FOLDS
        found.append(_Cut(face.name, fold, crops, masks))
    return found


Scorer = Callable[[list[_Cut]], list[Floats]]


def _cross_validate(
    real: list[_Cut], drawn: list[_Cut], learn: Callable[[list[_Cut], list[_Cut], int], Scorer], seed: int
) -> tuple[Floats, dict[str, float]]:
    # AUC of every fold; mean score of every drawn face while it was held out.
    aucs: list[float] = []
    scores: dict[str, float] = {}
    for fold in range(_FOLDS):
        train = [[cut for cut in side if cut.fold != fold] for side in (real, drawn)]
        test = [[cut for cut in side if cut.fold == fold] for side in (real, drawn)]
        if not (all(train) and all(test)):
            continue
        scorer = learn(train[0], train[1], seed + fold)
        held = [scorer(side) for side in test]
        aucs.append(auc_of(np.concatenate(held[0]), np.concatenate(held[1])))
        scores.update((cut.name, float(score.mean())) for cut, score in zip(test[1], held[1], strict=True))
    if not aucs:
        raise DataError("every fold lacks real or drawn faces: too few groups")
    return np.array(aucs), scores


def _by_network(real: list[_Cut], drawn: list[_Cut], seed: int) -> Scorer:
    crops = [np.concatenate([cut.crops for cut in side]) for side in (real, drawn)]
    network = _learn(crops[0], crops[1], seed)
    return lambda side: [_score(network, cut.crops) for cut in side]


def _by_statistics(real: list[_Cut], drawn: list[_Cut], seed: int) -> Scorer:
    rows = [np.concatenate([_statistics_of(cut) for cut in side]) for side in (real, drawn)]
    both = np.concatenate(rows)
    middle, spread = np.median(both, axis=0), both.std(axis=0) + 1e-6

    def scaled(values: Floats) -> Floats:
        even = np.clip((values - middle) / spread, -4, 4)
        # Squares too: a drawing may be given away by being too average.
        return np.concatenate([np.ones((len(even), 1)), even, even**2], axis=1)

    truth = np.concatenate([np.zeros(len(rows[0])), np.ones(len(rows[1]))])
    share = np.concatenate([np.full(len(side), 0.5 / len(side)) for side in rows]) * len(truth)
    weights = _logistic(scaled(both), truth, share)
    return lambda side: [1 / (1 + np.exp(-scaled(_statistics_of(cut)) @ weights)) for cut in side]


def _logistic(rows: Floats, truth: Floats, share: Floats) -> Floats:
    # Newton's method with a ridge.
    weights: Floats = np.zeros(rows.shape[1])
    ridge = _RIDGE * len(rows) * np.eye(rows.shape[1])
    ridge[0, 0] = 0.0
    for _ in range(12):
        chance = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (share * (truth - chance)) - ridge @ weights
        bend = (rows * (share * chance * (1 - chance))[:, None]).T @ rows + ridge
        weights = weights + np.linalg.solve(bend + 1e-9 * np.eye(len(bend)), slope)
    return weights


def _telling(real: list[_Cut], drawn: list[_Cut]) -> tuple[tuple[str, float], ...]:
    rows = [np.concatenate([_statistics_of(cut) for cut in side]) for side in (real, drawn)]
    each = [(name, auc_of(rows[0][:, k], rows[1][:, k])) for k, name in enumerate(STATISTICS)]
    return tuple(sorted(each, key=lambda row: -abs(row[1] - 0.5)))


def _statistics_of(cut: _Cut) -> Floats:
    return np.stack([rim_statistics(crop, mask) for crop, mask in zip(cut.crops, cut.masks, strict=True)])


def auc_of(lower: Floats, higher: Floats) -> float:
    """Probability that a value of `higher` exceeds one of `lower`, ties counted half."""
    both = np.concatenate([lower, higher])
    _, place, count = np.unique(both, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    total = rank[len(lower) :].sum() - len(higher) * (len(higher) + 1) / 2
    return float(total / (len(lower) * len(higher)))


def _learn(real: Crops, drawn: Crops, seed: int) -> nn.Module:
    import torch

    # One thread and a generator of its own: the same network on every machine, whoever else draws numbers.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _train(real, drawn)
    finally:
        torch.set_num_threads(threads)


def _train(real: Crops, drawn: Crops) -> nn.Module:
    import torch
    from torch import nn

    network = _network()
    pictures = torch.cat([_as_input(real), _as_input(drawn)])
    truth = torch.cat([torch.zeros(len(real)), torch.ones(len(drawn))])
    # Each side weighs the same, however many crops it has.
    weight = torch.cat([torch.full((len(side),), 0.5 / len(side)) for side in (real, drawn)]) * len(pictures)
    steps = _EPOCHS * -(-len(pictures) // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    network.train()
    for _ in range(_EPOCHS):
        for chosen in torch.split(torch.randperm(len(pictures)), _BATCH):
            batch = pictures[chosen]
            if torch.rand(()) < 0.5:
                batch = batch.flip(-1)
            batch = batch * (0.7 + 0.7 * torch.rand(len(batch), 1, 1, 1))
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(batch)[:, 0], truth[chosen], weight=weight[chosen]
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return network.eval()


def _network() -> nn.Module:
    from torch import nn

    layers: list[nn.Module] = []
    for before, after, side in ((1, 16, 5), (16, 32, 3), (32, 64, 3)):
        layers += [nn.Conv2d(before, after, side, stride=2, padding=side // 2)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 1))


def _as_input(crops: Crops) -> torch.Tensor:
    # Detail alone: given colours, a network that sees a hundred faces learns those by heart.
    import cv2
    import torch

    grey = np.stack([cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY) for crop in crops])
    detail = np.stack([plane - cv2.GaussianBlur(plane, (0, 0), 4.0) for plane in grey.astype(np.float32)])
    return torch.from_numpy(np.clip(detail / 16, -3, 3))[:, None]


def _score(network: nn.Module, crops: Crops) -> Floats:
    import torch

    with torch.inference_mode():
        found: Floats = torch.sigmoid(network(_as_input(crops))[:, 0]).double().numpy()
    return found
