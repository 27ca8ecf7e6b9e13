"""SAM 2 (Ravi et al., 2024, arXiv:2408.00714) as a proposer and for clicks and boxes, through `transformers`.

SAM 2 separates things but does not know what they are: it is told where to look and takes what lies there.
Weights are safetensors only; nothing of a model folder is run.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from annotation.backend.prompts import Encoding, Prompts, Segmentation
from annotation.prelabel.proposer import BoxXyxy, ProbabilityMap, Proposal
from dataset_tools.core.errors import ConfigError, DataError, WeightsUnavailable
from dataset_tools.core.files import sha256_file
from dataset_tools.core.images import RgbImage
from dataset_tools.core.labels import Label

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "model.safetensors"
_HUB_FILES = ["*.json", WEIGHTS_FILE]

# Where things lie in a face box, as shares of its width and height. A detector's box goes from the brow or
# hairline to the chin, so that the mouth is about four fifths down and the eyes two fifths.
_MOUTH = (0.5, 0.8)
_BETWEEN_EYES = (0.5, 0.38)
_LOWER_FACE_FROM = 0.45  # the bridge of the nose


class Sam2Proposer:
    """A SAM 2 model; weights load on first use, once per process.

    As a proposer it looks at each face box: for the label `face_mask` at the lower face with a point on the
    mouth and one, of what is not wanted, between the eyes; for `face` at the whole box with a point between
    the eyes. On a face without a mask it will propose skin as a mask, so give it photos of people who wear
    one. Without face boxes it proposes nothing.

    Args:
        source: a folder with config.json, processor files and model.safetensors, or a model's name on the
            Hugging Face Hub such as "facebook/sam2.1-hiera-tiny" (fetched once, kept in the hub's cache).
        labels: what to propose, of `face_mask` and `face`.
        device: "auto" takes the GPU when there is one; "cpu", "cuda:0", ….

    Attributes:
        name: last part of `source`.
        version: first 12 hex digits of the weights' sha256.
        weights_sha256: of the weights.

    Raises:
        ConfigError: `transformers` is not installed, or SAM 2 is asked for another label.
        DataError: the folder holds no such model.
        WeightsUnavailable: the hub is away, or has no such model.
    """

    def __init__(
        self, source: str | Path, labels: Sequence[Label] = (Label.FACE_MASK,), device: str = "auto"
    ) -> None:
        for label in labels:
            if label not in (Label.FACE_MASK, Label.FACE):
                raise ConfigError(f"SAM 2 is told where to look for face_mask and face, not for {label}")
        _need_transformers()
        self._folder = _folder(source)
        self._labels = tuple(labels)
        self._device = device
        self.name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(source).rstrip("/").rsplit("/", 1)[-1])
        self.weights_sha256 = sha256_file(self._folder / WEIGHTS_FILE)
        self.version = self.weights_sha256[:12]

    def propose(self, images: Sequence[RgbImage], boxes: Sequence[Sequence[BoxXyxy]]) -> list[list[Proposal]]:
        """As `Proposer.propose`; one look at each picture that has faces."""
        return [
            self._look(rgb).proposals(own, self._labels) if own else []
            for rgb, own in zip(images, boxes, strict=True)
        ]

    def encode(self, rgb: RgbImage, boxes: Sequence[BoxXyxy]) -> Encoding:
        """As `Prompter.encode`; the image embeddings, whatever face boxes there are."""
        return self._look(rgb)

    def _look(self, rgb: RgbImage) -> _Embedded:
        return _load(self._folder, self.version, self._device).embed(rgb)


def _need_transformers() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise ConfigError(
            "SAM 2 needs transformers, which is not installed: pip install 'maskset[sam]'"
        ) from None


def _folder(source: str | Path) -> Path:
    """The model's folder on this machine."""
    folder = Path(source)
    if not folder.exists() and isinstance(source, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        folder = _fetched(source)
    if not (folder / WEIGHTS_FILE).is_file():
        raise DataError(
            f"{folder} holds no SAM 2 model: {WEIGHTS_FILE} is missing (pickled weights are not read)"
        )
    return folder.resolve()


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:  # the hub's client raises a dozen unrelated types
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsUnavailable(
            f"cannot get {name} from the Hugging Face Hub ({first}); name a folder that holds the model"
        ) from error


@functools.lru_cache(maxsize=1)
def _load(folder: Path, version: str, device: str) -> _Loaded:
    """Loaded once per process; the version is asked so that a replaced model is loaded anew."""
    import torch
    from safetensors import SafetensorError
    from transformers import Sam2Model, Sam2Processor
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    load: Callable[..., Any] = Sam2Model.from_pretrained
    try:
        processor = Sam2Processor.from_pretrained(folder, local_files_only=True)
        model, found = load(folder, local_files_only=True, use_safetensors=True, output_loading_info=True)
        model = model.to(torch.device(wanted)).eval()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{folder} holds no SAM 2 model: {(str(error).splitlines() or ['?'])[0]}") from error
    # What the file lacks would quietly be left at random values.
    lacking = sorted(str(one) for key in ("missing_keys", "mismatched_keys") for one in found[key])
    if lacking:
        raise DataError(
            f"{folder} is no whole SAM 2 model: {len(lacking)} tensors are missing, {lacking[0]} first"
        )
    return _Loaded(model, processor)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Model and processor."""

    model: Any
    processor: Any

    def embed(self, rgb: RgbImage) -> _Embedded:
        """The long look: everything that does not depend on prompts."""
        import torch

        prepared = self.processor(images=rgb, return_tensors="pt")
        with torch.inference_mode():
            embeddings = self.model.get_image_embeddings(prepared["pixel_values"].to(self.model.device))
        return _Embedded(self, tuple(embeddings), (int(rgb.shape[0]), int(rgb.shape[1])))


@dataclass(frozen=True, slots=True, eq=False)
class _Embedded:
    """A picture as SAM 2 knows it.

    Attributes:
        loaded: who looked.
        embeddings: feature maps, finest first, (1, C, h, w) float32 each.
        size_hw: of the picture.
    """

    loaded: _Loaded
    embeddings: tuple[torch.Tensor, ...]
    size_hw: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Memory of the embeddings."""
        return sum(one.nbytes for one in self.embeddings)

    def segment(self, prompts: Prompts) -> Segmentation:
        """As `Encoding.segment`; the label is not asked for: SAM 2 takes what is pointed at."""
        points = [(click.column + 0.5, click.row + 0.5, int(click.is_positive)) for click in prompts.clicks]
        if prompts.box_xyxy is None and not prompts.positives:
            return Segmentation(np.zeros(self.size_hw, dtype=np.bool_), 0.0)
        logits, score = self.ask(points, prompts.box_xyxy)
        return Segmentation(logits > 0, score)

    def proposals(self, boxes: Sequence[BoxXyxy], labels: Sequence[Label]) -> list[Proposal]:
        """One proposal per face and label."""
        return [
            Proposal(label, _probability(self.ask(*_where(label, box))[0]), face)
            for face, box in enumerate(boxes)
            for label in labels
        ]

    def ask(
        self, points: Sequence[tuple[float, float, int]], box_xyxy: BoxXyxy | None
    ) -> tuple[npt.NDArray[np.float32], float]:
        """What prompts select.

        Args:
            points: x and y in pixels, and 1 for wanted, 0 for not.
            box_xyxy: pixels.

        Returns:
            (H, W) float32, above 0 for what is selected (the log odds of it), and the IoU that the model
            expects. A single point may mean a thing or its part: of the three answers to it the one with
            the highest expected IoU is taken.
        """
        import torch

        loaded = self.loaded
        prepared = loaded.processor(
            input_points=[[[[x, y] for x, y, _ in points]]] if points else None,
            input_labels=[[[kind for _, _, kind in points]]] if points else None,
            input_boxes=[[list(box_xyxy)]] if box_xyxy is not None else None,
            original_sizes=[list(self.size_hw)],
            return_tensors="pt",
        )
        prompts = {
            name: prepared[name].to(loaded.model.device)
            for name in ("input_points", "input_labels", "input_boxes")
            if name in prepared
        }
        is_ambiguous = box_xyxy is None and len(points) == 1
        with torch.inference_mode():
            found = loaded.model(
                image_embeddings=list(self.embeddings), multimask_output=is_ambiguous, **prompts
            )
            scores = found.iou_scores[0, 0]
            best = int(scores.argmax())
            (logits,) = loaded.processor.post_process_masks(
                found.pred_masks[:, :, best : best + 1].float().cpu(), [list(self.size_hw)], binarize=False
            )
            odds = np.ascontiguousarray(logits[0, 0].numpy(), dtype=np.float32)
        return odds, min(max(float(scores[best]), 0.0), 1.0)


def _probability(log_odds: npt.NDArray[np.float32]) -> ProbabilityMap:
    # By tanh, because exp overflows far from 0.
    return (np.float32(0.5) * (np.float32(1) + np.tanh(log_odds / 2))).astype(np.float32)


def _where(label: Label, box_xyxy: BoxXyxy) -> tuple[list[tuple[float, float, int]], BoxXyxy]:
    """Points and box that mean this label of a face."""
    x0, y0, x1, y1 = box_xyxy

    def point(place: tuple[float, float], kind: int) -> tuple[float, float, int]:
        return (x0 + place[0] * (x1 - x0), y0 + place[1] * (y1 - y0), kind)

    if label is Label.FACE_MASK:
        lower = (x0, y0 + _LOWER_FACE_FROM * (y1 - y0), x1, y1)
        return [point(_MOUTH, 1), point(_BETWEEN_EYES, 0)], lower
    return [point(_BETWEEN_EYES, 1)], box_xyxy
