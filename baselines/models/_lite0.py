"""Networks with an EfficientNet-Lite0 encoder, whose ImageNet weights come from a package, without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.models._smp import smp_network
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import sha256_file

if TYPE_CHECKING:
    from torch import nn

_TIMM_NAME = "tf_efficientnet_lite0"
_WEIGHTS_NAME = "efficientnet_lite0"


def lite0_network(architecture: str, num_classes: int, *, pretrained: bool, **options: Any) -> nn.Module:
    """A library network on this encoder.

    Args:
        architecture: the library's word, e.g. "unet".
        num_classes: output channels.
        pretrained: whether the encoder starts from ImageNet weights, through `dataset_tools.weights`.
        **options: passed on to the library.

    Raises:
        WeightsUnavailable: neither cached nor to be had from the package.
        DataError: see `load_ordered_encoder`.
    """
    from baselines.segmenter import InitialWeights

    network = smp_network(architecture, f"tu-{_TIMM_NAME}", num_classes, pretrained=False, **options)
    if pretrained:
        from dataset_tools import weights

        path = weights.resolve(_WEIGHTS_NAME)
        load_ordered_encoder(network.get_submodule("network.encoder.model"), path)
        network.initial_weights = InitialWeights(f"{_WEIGHTS_NAME} (ImageNet)", sha256_file(path))
    return network


def load_ordered_encoder(encoder: nn.Module, path: Path) -> None:
    """Fill the encoder from a file whose tensors have other names but timm's order.

    Args:
        encoder: timm's `tf_efficientnet_lite0` without its head, as the library holds it.
        path: a state dict of the whole classifier; read with `weights_only=True`.

    Raises:
        DataError: not a state dict, or its tensors do not fit timm's one to one, in order, by shape.
    """
    import pickle

    import timm
    import torch

    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise DataError(f"{path}: not a plain state dict ({type(error).__name__})") from error
    if not isinstance(stored, dict):
        raise DataError(f"{path}: holds a {type(stored).__name__}, not a state dict")
    with torch.device("meta"):
        expected = timm.create_model(_TIMM_NAME, pretrained=False).state_dict()
    if len(stored) != len(expected):
        raise DataError(f"{path}: {len(stored)} tensors, {_TIMM_NAME} has {len(expected)}")
    aligned = {}
    for (name, like), (stored_name, tensor) in zip(expected.items(), stored.items(), strict=True):
        if not isinstance(tensor, torch.Tensor) or tensor.shape != like.shape:
            raise DataError(f"{path}: {stored_name} does not have the shape of {name}, {tuple(like.shape)}")
        aligned[name] = tensor
    encoder.load_state_dict({name: aligned[name] for name in encoder.state_dict()})
