"""A trained baseline as a function from a photo to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from baselines import crops
from baselines.checkpoint import WEIGHTS_FILE, read_record, read_tensors
from baselines.crops import FloatMap
from baselines.models import build_network
from baselines.segmenter import choose_device, foreground_probabilities, normalise_images
from baselines.settings import CropSettings
from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.labels import Label

RgbImage = npt.NDArray[np.uint8]


class Predictor:
    """A network with all that is needed to ask it.

    Attributes:
        name: of the baseline.
        version: first 12 hex digits of the weights' sha256; "" for a network still in training.
        labels: foreground labels, in channel order.
        crop: how the training crops were cut.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        version: str,
        labels: tuple[Label, ...],
        input_px: int,
        crop: CropSettings,
        device: torch.device,
    ) -> None:
        self.name = name
        self.version = version
        self.labels = labels
        self.crop = crop
        self.device = device
        self._input_px = input_px
        self._network = network

    @classmethod
    def load(cls, checkpoint_dir: Path, device: str = "auto") -> Predictor:
        """The predictor of a finished training.

        Args:
            checkpoint_dir: the folder `train` wrote.
            device: "auto" takes the GPU when there is one.

        Raises:
            DataError: no finished training there, a damaged file, or weights of another network.
            UnknownName: the baseline is not registered here.
            ConfigError: no such device.
        """
        record = read_record(checkpoint_dir)
        settings = record.settings
        chosen = choose_device(device)
        network = build_network(record.baseline, settings.num_classes, pretrained=False)
        try:
            network.load_state_dict(read_tensors(checkpoint_dir / WEIGHTS_FILE))
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            raise DataError(f"{checkpoint_dir}: weights do not fit {record.baseline}: {first}") from None
        return cls(
            network.to(memory_format=torch.channels_last).to(chosen),
            name=record.baseline,
            version=record.version,
            labels=settings.labels,
            input_px=settings.input_px,
            crop=settings.crop,
            device=chosen,
        )

    @property
    def parameters(self) -> int:
        """Number of the network's trainable values."""
        return sum(one.numel() for one in self._network.parameters())

    def channel(self, label: Label) -> int:
        """Index of a label in the answers.

        Raises:
            ConfigError: this network was not trained on it.
        """
        if label not in self.labels:
            raise ConfigError(f"{self.name} was trained on {', '.join(self.labels)}, not on {label.value}")
        return self.labels.index(label)

    def predict(self, rgb: RgbImage, box_xyxy: tuple[float, float, float, float] | None = None) -> FloatMap:
        """Probability of each foreground label at each pixel of a picture.

        Args:
            rgb: (H, W, 3) uint8.
            box_xyxy: a face box in pixels: only the square around it, with the margin used in training, is
                looked at and all else is 0. None: the whole picture is looked at.

        Returns:
            (H, W) float32 in [0, 1] for one label, (H, W, L) in the order of `labels` for more.
        """
        size_hw = (rgb.shape[0], rgb.shape[1])
        if box_xyxy is None:
            window = crops.image_window(size_hw)
        else:
            window = crops.face_window(box_xyxy, self.crop.margin, size_hw)
        (inside,) = self.predict_windows([crops.cut(rgb, window)])
        full = np.zeros((*size_hw, len(self.labels)), dtype=np.float32)
        crops.cut_visible(full, window)[:] = crops.visible_part(inside, window, size_hw)
        return full[..., 0] if len(self.labels) == 1 else full

    def predict_windows(self, squares: Sequence[RgbImage]) -> list[FloatMap]:
        """Probabilities for square pictures of any sizes, in one batch.

        Args:
            squares: (S, S, 3) uint8 each.

        Returns:
            One (S, S, L) float32 in [0, 1] per square, at its own size.
        """
        small = np.stack([crops.resize_rgb(square, self._input_px) for square in squares])
        batch = torch.from_numpy(small).permute(0, 3, 1, 2).to(self.device)
        self._network.eval()
        with torch.inference_mode():
            logits = self._network(normalise_images(batch)).logits
            maps = foreground_probabilities(logits).permute(0, 2, 3, 1).cpu().numpy()
        return [_resize_channels(one, square.shape[0]) for one, square in zip(maps, squares, strict=True)]


def _resize_channels(maps: FloatMap, side: int) -> FloatMap:
    channels = [
        crops.resize_map(np.ascontiguousarray(maps[..., index]), side) for index in range(maps.shape[2])
    ]
    return np.stack(channels, axis=2)
