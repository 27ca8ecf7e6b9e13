"""A trained baseline as a function from a photo to probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from baselines import crops
from baselines.checkpoint import WEIGHTS_FILE, read_record, read_tensors
from baselines.crops import FloatMap
from baselines.folding import folded
from baselines.models import build_network, find_spec
from baselines.registry import Method, find_method
from baselines.segmenter import choose_device, device_name, foreground_probabilities, normalise_images
from baselines.settings import CropSettings
from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.labels import Label

RgbImage = npt.NDArray[np.uint8]

_LEAST_WATCHED_PX = 64

Ask = Callable[[npt.NDArray[np.uint8]], FloatMap]
"""From (B, S, S, 3) uint8 RGB to (B, S, S, L) float32 in [0, 1]: the probability of each foreground label."""


def network_asker(network: nn.Module, device: torch.device, *, amp: bool = False) -> Ask:
    """What a network says of squares, in evaluation mode."""

    def ask(squares: npt.NDArray[np.uint8]) -> FloatMap:
        network.eval()
        batch = torch.from_numpy(squares).permute(0, 3, 1, 2).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=amp):
            logits = network(normalise_images(batch)).logits
            found: FloatMap = foreground_probabilities(logits).permute(0, 2, 3, 1).cpu().numpy()
        return found

    return ask


def method_asker(method: Method, fitted: Mapping[str, npt.NDArray[np.float32]]) -> Ask:
    """What a method without a network says of squares, one after another."""

    def ask(squares: npt.NDArray[np.uint8]) -> FloatMap:
        return np.stack([method(square, fitted)[..., None] for square in squares])

    return ask


class Predictor:
    """A trained network or a fitted method with all that is needed to ask it.

    Attributes:
        name: of the baseline.
        version: first 12 hex digits of the weights' sha256; "" for a network still in training.
        labels: foreground labels, in channel order.
        crop: how the training crops were cut.
        input_px: side of the squares it is asked about.
        parameters: number of the network's trainable values; 0 for a method.
        device: where it runs.
        ask: answers for squares of that side.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        name: str,
        version: str,
        labels: tuple[Label, ...],
        input_px: int,
        crop: CropSettings,
        parameters: int = 0,
        device: str = "cpu",
    ) -> None:
        self.name = name
        self.version = version
        self.labels = labels
        self.crop = crop
        self.input_px = input_px
        self.parameters = parameters
        self.device = device
        self.ask = ask

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
        if find_spec(record.baseline).is_trained:
            network = load_network(checkpoint_dir)
            parameters = sum(one.numel() for one in network.parameters())
            if chosen.type == "cpu":
                network = folded(network, max(find_spec(record.baseline).min_px, _LEAST_WATCHED_PX))
            ask = network_asker(network.to(memory_format=torch.channels_last).to(chosen), chosen)
        else:
            method, _ = find_method(record.baseline, **dict(settings.options))
            fitted = {key: one.numpy() for key, one in read_tensors(checkpoint_dir / WEIGHTS_FILE).items()}
            ask, parameters, chosen = method_asker(method, fitted), 0, torch.device("cpu")
        return cls(
            ask,
            name=record.baseline,
            version=record.version,
            labels=settings.labels,
            input_px=settings.input_px,
            crop=settings.crop,
            parameters=parameters,
            device=device_name(chosen),
        )

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
        maps = self.ask(np.stack([crops.resize_rgb(square, self.input_px) for square in squares]))
        return [_resize_channels(one, square.shape[0]) for one, square in zip(maps, squares, strict=True)]


def load_network(checkpoint_dir: Path) -> nn.Module:
    """The network of a finished training with its weights, on the CPU; 16-bit weights become 32-bit.

    Raises:
        DataError: no finished training there, a damaged file, or weights of another network.
        UnknownName: the baseline is not registered here.
        ConfigError: the checkpoint is of a method without a network.
    """
    record = read_record(checkpoint_dir)
    network = build_network(
        record.baseline, record.settings.num_classes, pretrained=False, **dict(record.settings.options)
    )
    try:
        network.load_state_dict(read_tensors(checkpoint_dir / WEIGHTS_FILE))
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{checkpoint_dir}: weights do not fit {record.baseline}: {first}") from None
    return network


def _resize_channels(maps: FloatMap, side: int) -> FloatMap:
    channels = [
        crops.resize_map(np.ascontiguousarray(maps[..., index]), side) for index in range(maps.shape[2])
    ]
    return np.stack(channels, axis=2)
