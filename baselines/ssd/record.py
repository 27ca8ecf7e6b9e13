"""A trained detector on disk: folded weights in half precision, and how they came about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from pydantic import Field

from baselines.ssd.network import SsdNetwork, folded, named_layers
from baselines.ssd.settings import DetectorTraining
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import sha256_hex, write_bytes, write_text
from dataset_tools.core.labels import Wearing
from dataset_tools.core.settings import Settings

NAME = "maskset-ssd260"
VERSION_DIGITS = 12


class DetectorRecord(Settings):
    """How a set of weights came about; stands beside them as JSON.

    Attributes:
        name: what faces record, before "@" and the version.
        version: first 12 hex digits of `sha256`.
        sha256: of the weights' file.
        classes: wearing states in the order of the network's scores.
        settings: of the run, seed and steps among them.
        seconds: the run took, photos read and figures made.
        device: it ran on.
        data: the manifest, for people.
        data_digest: of all its rows (`Manifest.canonical_digest`).
        photos: collected photos in it.
        pictures: learned from, children and covered copies included.
        licences: stated licence → how many of the photos.
        figures: on photos of the manifest that were kept apart, see `finding.figures_of`.
    """

    name: str = Field(min_length=1)
    version: str = Field(pattern=r"^[0-9a-f]{12}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    classes: tuple[Wearing, ...]
    settings: DetectorTraining
    seconds: float
    device: str
    data: str
    data_digest: str
    photos: int
    pictures: int
    licences: Mapping[str, int]
    figures: Mapping[str, float]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")


def save_detector(network: SsdNetwork, path: Path) -> str:
    """Write a folded network as `dataset_tools.filter.default_detector` reads it; return the SHA-256."""
    from safetensors.torch import save

    tensors = {}
    for name, layer in named_layers(network).items():
        assert layer.bias is not None
        tensors[f"{name}.weight"] = layer.weight.detach().to(torch.float16).contiguous()
        tensors[f"{name}.bias"] = layer.bias.detach().to(torch.float16).contiguous()
    data = save(tensors)
    write_bytes(path, data)
    return sha256_hex(data)


def load_network(path: Path, classes: int) -> SsdNetwork:
    """The folded network of a file that `save_detector` wrote, in evaluation mode.

    Raises:
        DataError: the file is missing or holds other weights.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = folded(SsdNetwork(classes))
    try:
        tensors = load_file(path)
        with torch.no_grad():
            for name, layer in named_layers(network).items():
                layer.weight.copy_(tensors[f"{name}.weight"])
                cast(torch.Tensor, layer.bias).copy_(tensors[f"{name}.bias"])
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise DataError(f"{path} holds no weights of this detector: {error}") from None
    return network
