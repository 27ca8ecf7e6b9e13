"""U-Net with an EfficientNet-Lite0 encoder: the suite's small baseline, pretrained without a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from baselines.models._smp import smp_network
from baselines.registry import BaselineSpec, Fidelity, Recipe, register_baseline
from dataset_tools.core.errors import DataError
from dataset_tools.core.files import sha256_file

if TYPE_CHECKING:
    from torch import nn

_TIMM_NAME = "tf_efficientnet_lite0"
_WEIGHTS_NAME = "efficientnet_lite0"


@register_baseline(
    BaselineSpec(
        name="unet_effnet_lite0",
        title="U-Net, EfficientNet-Lite0",
        paper="Ronneberger et al., U-Net (MICCAI 2015); not a row of the face-mask papers",
        paper_url="https://arxiv.org/abs/1505.04597",
        fidelity=Fidelity.FROM_TEXT,
        code_licence="MIT",
        weights_licence="Apache-2.0",
        recipe=Recipe(loss="bce_dice", learning_rate=3e-4),
    )
)
def unet_effnet_lite0(num_classes: int, *, pretrained: bool) -> nn.Module:
    """Library defaults; the encoder's ImageNet weights come through `dataset_tools.weights`."""
    from baselines.segmenter import InitialWeights

    network = smp_network("unet", f"tu-{_TIMM_NAME}", num_classes, pretrained=False)
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
