"""Windows to learn from: which squares of a picture, what is true of them, and a file of them.

The windows of one network are cut once and kept in one file of equal records, so that training reads them
in any order without holding them in memory, and a resumed training meets the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from baselines.mtcnn.boxes import box_areas, offsets_from_boxes, overlaps
from baselines.mtcnn.losses import NEGATIVE, PART, POSITIVE, Targets
from baselines.mtcnn.networks import POINTS
from baselines.mtcnn.pictures import FacePicture, cut_windows, picture_tensor
from baselines.mtcnn.settings import ExampleSettings
from dataset_tools.core.errors import DataError, ItemFault
from dataset_tools.core.files import replacing
from dataset_tools.core.images import ImageStore
from dataset_tools.core.progress import Progress
from dataset_tools.core.seeds import generator

# Overlap (IoU) with the nearest face, `baselines.md` section 3.2. Between 0.3 and 0.4 nothing is taught.
NEGATIVE_BELOW = 0.3
PART_FROM = 0.4
POSITIVE_ABOVE = 0.65
UNUSED = -1

_SMALLEST_WINDOW_PX = 12
_MIRRORED_POINTS = (1, 0, 2, 4, 3)  # left becomes right

Proposer = Callable[[npt.NDArray[np.uint8]], Tensor]
"""From an (H, W, 3) uint8 picture to the (N, 4) windows an earlier network lets pass, best first."""

Records = npt.NDArray[np.void]


def record_type(side_px: int) -> np.dtype[np.void]:
    """One window with its truth, as it lies in the file."""
    return np.dtype(
        [
            ("kind", np.int8),
            ("has_landmarks", np.bool_),
            ("box", np.float32, (4,)),
            ("landmarks", np.float32, (2 * POINTS,)),
            ("rgb", np.uint8, (3, side_px, side_px)),
        ]
    )


def kinds_of(windows: Tensor, faces: Tensor, smallest_face_px: float) -> tuple[Tensor, Tensor]:
    """What each window shows, by its overlap with the nearest face.

    Args:
        windows: (N, 4).
        faces: (F, 4), F >= 1.
        smallest_face_px: a face with a smaller longer side makes a window near it UNUSED.

    Returns:
        (N,) int64 NEGATIVE, POSITIVE, PART or UNUSED; and (N,) index of the nearest face.
    """
    shared = overlaps(windows, faces)
    union = box_areas(windows)[:, None] + box_areas(faces)[None] - shared
    best, nearest = (shared / union.clamp(min=1e-9)).max(dim=1)
    kinds = torch.full((len(windows),), UNUSED)
    kinds[best < NEGATIVE_BELOW] = NEGATIVE
    kinds[best >= PART_FROM] = PART
    kinds[best > POSITIVE_ABOVE] = POSITIVE
    is_small = (faces[:, 2:] - faces[:, :2]).amax(dim=1) < smallest_face_px
    # A small face fills little of a window: a window that holds one whole is not background either.
    holds_small = ((shared / box_areas(faces).clamp(min=1e-9)[None] > 0.5) & is_small[None]).any(dim=1)
    kinds[is_small[nearest] & (best >= NEGATIVE_BELOW)] = UNUSED
    kinds[holds_small & (kinds == NEGATIVE)] = UNUSED
    return kinds, nearest


def random_windows(faces: Tensor, size_hw: tuple[int, int], tries: int, rng: np.random.Generator) -> Tensor:
    """Squares around every face, near it and anywhere in the picture, all inside the picture.

    Args:
        faces: (F, 4).
        size_hw: of the picture.
        tries: squares around each face; half as many lie near it, and as many anywhere.
        rng: where randomness comes from.

    Returns:
        (N, 4) float32.
    """
    height, width = size_hw
    short = min(height, width)
    found = []
    for x0, y0, x1, y1 in faces.tolist():
        least, most = min(x1 - x0, y1 - y0), max(x1 - x0, y1 - y0)
        side = rng.uniform(0.8 * least, 1.25 * most, tries)
        centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + rng.uniform(-0.25, 0.25, (tries, 2)) * most
        found.append(np.concatenate((centre - side[:, None] / 2, centre + side[:, None] / 2), axis=1))
        count = max(tries // 2, 1)
        side = rng.uniform(_SMALLEST_WINDOW_PX, max(short / 2, _SMALLEST_WINDOW_PX + 1), count)
        corner = np.array([x0, y0]) + rng.uniform(-1, 1, (count, 2)) * np.array([x1 - x0, y1 - y0])
        found.append(np.concatenate((corner, corner + side[:, None]), axis=1))
    count = tries * max(len(faces), 1)
    # Small windows are what P-Net meets most of, so sides are spread evenly over octaves.
    sides = np.exp(
        rng.uniform(np.log(_SMALLEST_WINDOW_PX), np.log(max(short, _SMALLEST_WINDOW_PX + 1)), count)
    )
    corners = rng.uniform(0, 1, (count, 2)) * np.maximum(np.array([width, height]) - sides[:, None], 0)
    found.append(np.concatenate((corners, corners + sides[:, None]), axis=1))
    windows = np.concatenate(found)
    inside = (windows[:, :2] >= 0).all(axis=1) & (windows[:, 2] <= width) & (windows[:, 3] <= height)
    return torch.tensor(windows[inside], dtype=torch.float32)


def choose_windows(
    kinds: Tensor, nearest: Tensor, settings: ExampleSettings, rng: np.random.Generator
) -> list[int]:
    """Indices of the windows to keep: positives and parts of each face, then negatives to match.

    Negatives are taken from the front half the time: an earlier network proposes its worst errors first.
    """
    chosen: list[int] = []
    positives = 0
    for face in range(int(nearest.max()) + 1 if len(nearest) else 0):
        for kind, most in ((POSITIVE, settings.positives), (PART, settings.parts)):
            places = torch.nonzero((kinds == kind) & (nearest == face)).flatten().numpy()
            taken = rng.permutation(places)[:most]
            chosen.extend(int(place) for place in taken)
            positives += len(taken) if kind == POSITIVE else 0
    places = torch.nonzero(kinds == NEGATIVE).flatten().numpy()
    wanted = settings.negatives_per_positive * max(positives, 1)
    front, back = places[: wanted // 2], rng.permutation(places[wanted // 2 :])
    chosen.extend(int(place) for place in [*front, *back][:wanted])
    return chosen


def cut_examples(
    picture: FacePicture,
    rgb: npt.NDArray[np.uint8],
    side_px: int,
    settings: ExampleSettings,
    rng: np.random.Generator,
    proposals: Tensor | None = None,
) -> Records:
    """The records of one picture.

    Args:
        picture: its faces.
        rgb: (H, W, 3) uint8.
        side_px: of the records' windows.
        settings: how many windows.
        rng: where randomness comes from.
        proposals: windows an earlier network let pass; they come before the random ones.
    """
    faces = torch.tensor(picture.boxes, dtype=torch.float32)
    windows = random_windows(faces, (rgb.shape[0], rgb.shape[1]), settings.tries, rng)
    if proposals is not None:
        # Random windows teach faces where none is proposed, and background where all proposals are right.
        windows = torch.cat((proposals, windows))
    kinds, nearest = kinds_of(windows, faces, settings.smallest_face_px)
    chosen = choose_windows(kinds, nearest, settings, rng)
    windows, kinds, nearest = windows[chosen], kinds[chosen], nearest[chosen]
    records = np.zeros(len(chosen), dtype=record_type(side_px))
    records["kind"] = kinds.numpy()
    records["box"] = offsets_from_boxes(windows, faces[nearest]).numpy()
    crops = cut_windows(picture_tensor(rgb), windows, side_px)
    records["rgb"] = crops.round().to(torch.uint8).numpy()
    for row, (kind, face) in enumerate(zip(kinds.tolist(), nearest.tolist(), strict=True)):
        points = picture.landmarks[face]
        if kind == POSITIVE and points is not None:
            x0, y0, x1, _ = windows[row].tolist()
            records["has_landmarks"][row] = True
            records["landmarks"][row] = ((points - [x0, y0]) / (x1 - x0)).ravel()
    return records


def write_examples(
    target: Path,
    pictures: Iterable[FacePicture],
    images: ImageStore,
    side_px: int,
    settings: ExampleSettings,
    seed: int,
    bar: Progress,
    proposer: Proposer | None = None,
) -> None:
    """Write the records of all pictures; what is written depends on seed, pictures and proposer alone.

    Raises:
        DataError: a picture cannot be read; names the sample.
    """
    with replacing(target) as temporary, temporary.open("wb") as stream:
        for picture in pictures:
            try:
                rgb = images.read(picture.image)
            except ItemFault as fault:
                raise DataError(f"sample {picture.sample_id}: {fault}") from fault
            rng = generator(seed, picture.sample_id, str(side_px), "windows")
            proposals = proposer(rgb) if proposer is not None else None
            stream.write(cut_examples(picture, rgb, side_px, settings, rng, proposals).tobytes())
            bar.advance()


def read_examples(path: Path, side_px: int) -> Records:
    """The records of a file, read from disk as they are asked for.

    Raises:
        DataError: none of them shows a face.
    """
    kind = record_type(side_px)
    records = np.memmap(path, dtype=kind, mode="r") if path.stat().st_size >= kind.itemsize else None
    if records is None or not (records["kind"] == POSITIVE).any():
        raise DataError("no window shows a whole face; the pictures' faces are smaller than smallest_face_px")
    return records


def batch_of(records: Records, mirrored: npt.NDArray[np.bool_]) -> tuple[Tensor, Targets]:
    """Records as (B, 3, side, side) uint8 windows and their targets.

    Args:
        records: (B,) of `record_type`.
        mirrored: (B,) which windows are shown mirrored, with their boxes and points.
    """
    rgb, box = records["rgb"].copy(), records["box"].copy()
    points = records["landmarks"].reshape(-1, POINTS, 2).copy()
    rgb[mirrored] = rgb[mirrored][..., ::-1]
    box[mirrored] = box[mirrored][:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], dtype=np.float32)
    points[mirrored] = points[mirrored][:, _MIRRORED_POINTS]
    points[mirrored, :, 0] = 1 - points[mirrored, :, 0]
    targets = Targets(
        kind=torch.tensor(records["kind"].astype(np.int64)),
        box=torch.tensor(box),
        landmarks=torch.tensor(points.reshape(-1, 2 * POINTS)),
        has_landmarks=torch.tensor(records["has_landmarks"]),
    )
    return torch.tensor(rgb), targets
