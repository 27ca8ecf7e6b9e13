"""A trained 18-part network as a function from photos to parts, and from a folder to mask files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from baselines import crops
from baselines.checkpoint import WEIGHTS_FILE, read_tensors
from baselines.parsing.data import CLASSES_FILE
from baselines.parsing.parts import BACKGROUND, NECKLACE, PARTS
from baselines.parsing.train import build_parser, read_parsing_record
from baselines.segmenter import choose_device, normalise_images
from dataset_tools.core.errors import DataError, ImageFault
from dataset_tools.core.files import write_bytes, write_text
from dataset_tools.core.images import decode_photo, encode_png
from dataset_tools.core.progress import ProgressFactory, silent

THRESHOLD = 0.5
# CelebAMask-HQ's numbers, which also are the order its parts are painted in; 16 is its necklace.
_PAINTED = (
    *("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip"),
    *("l_lip", "hair", "hat", "ear_r", NECKLACE, "neck", "cloth"),
)
CLASS_NUMBERS: Mapping[str, int] = MappingProxyType(
    {BACKGROUND: 0} | {name: number for number, name in enumerate(_PAINTED, start=1) if name != NECKLACE}
)
"""Part -> its number in written masks."""
_PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

FloatMaps = npt.NDArray[np.float32]


class PartsPredictor:
    """A finished training, ready to be asked.

    Attributes:
        parameters: number of the network's trainable values.
        device: where it runs.
    """

    def __init__(self, checkpoint_dir: Path, device: str = "auto") -> None:
        """Read a checkpoint.

        Raises:
            DataError: no finished training there, or a damaged file.
            ConfigError: no such device.
        """
        record = read_parsing_record(checkpoint_dir)
        self.device = choose_device(device)
        network = build_parser(record.settings, pretrained=False)
        network.load_state_dict(read_tensors(checkpoint_dir / WEIGHTS_FILE))
        self._network: nn.Module = network.to(memory_format=torch.channels_last).to(self.device).eval()
        self._input_px = record.settings.input_px
        self.parameters = sum(one.numel() for one in network.parameters())

    def predict_squares(self, squares: Sequence[npt.NDArray[np.uint8]]) -> FloatMaps:
        """Probabilities of the parts, (B, 18, S, S) float32, for (S, S, 3) uint8 of the network's size."""
        batch = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).to(self.device)
        with torch.inference_mode():
            chances = self._network(normalise_images(batch)).logits.float().sigmoid()
        found: FloatMaps = chances.cpu().numpy()
        return found

    def predict(self, rgb: npt.NDArray[np.uint8]) -> FloatMaps:
        """Probabilities of the parts, (18, H, W) float32, for a picture (H, W, 3) uint8 of any size."""
        size_hw = (rgb.shape[0], rgb.shape[1])
        window = crops.image_window(size_hw)
        square = crops.resize_rgb(crops.cut(rgb, window), self._input_px)
        maps = self.predict_squares([square])[0]
        grown = [crops.resize_map(np.ascontiguousarray(one), window.side) for one in maps]
        return np.stack([crops.visible_part(one, window, size_hw) for one in grown])


def class_numbers(chances: FloatMaps) -> npt.NDArray[np.uint8]:
    """One part for every pixel, of parts that may overlap: (H, W) `CLASS_NUMBERS`.

    The parts are painted one over the other, skin first, as CelebAMask-HQ makes one map of its masks. The
    likeliest part instead would often be the skin below an eye or a nose, for both are sure.

    Args:
        chances: (18, H, W) float in [0, 1], in the order of `PARTS`.
    """
    painted = np.zeros(chances.shape[1:], dtype=np.uint8)
    for name, number in CLASS_NUMBERS.items():
        painted[chances[PARTS.index(name)] >= THRESHOLD] = number
    return painted


def predict_folder(
    checkpoint_dir: Path,
    pictures: Path,
    out_dir: Path,
    *,
    device: str = "auto",
    progress: ProgressFactory = silent,
) -> int:
    """Write one PNG of class numbers per picture, named like it, and `classes.txt`; returns how many.

    Raises:
        DataError: no finished training, no picture, two pictures of one name, or one cannot be read.
        ConfigError: no such device.
    """
    predictor = PartsPredictor(checkpoint_dir, device)
    found = sorted(path for path in pictures.glob("*") if path.suffix.lower() in _PICTURE_ENDINGS)
    if not found:
        raise DataError(f"{pictures} holds no picture")
    if len({path.stem for path in found}) < len(found):
        raise DataError(f"{pictures} holds two pictures of one name; their masks would be one file")
    with progress("predict", len(found)) as bar:
        for path in found:
            try:
                rgb = decode_photo(path.read_bytes()).rgb
            except ImageFault as fault:
                raise DataError(f"{path}: {fault}") from fault
            write_bytes(out_dir / f"{path.stem}.png", encode_png(class_numbers(predictor.predict(rgb))))
            bar.advance()
    lines = [f"{number} {name}" for name, number in CLASS_NUMBERS.items()]
    write_text(out_dir / CLASSES_FILE, "\n".join(lines) + "\n")
    return len(found)
