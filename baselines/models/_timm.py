"""Encoders of timm with an honest pretrained start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.core.files import sha256_hex

if TYPE_CHECKING:
    from torch import nn

    from baselines.segmenter import InitialWeights


def timm_encoder(name: str, *, pretrained: bool, **options: Any) -> tuple[nn.Module, InitialWeights]:
    """A library network; `pretrained` fetches the library's own weights from its model hub.

    Args:
        name: the library's name, e.g. "resnest101e".
        pretrained: whether to fetch weights.
        **options: passed on to the library, e.g. `features_only=True, out_indices=(1, 2, 3, 4)`.

    Returns:
        The network, and what its values start from.

    Raises:
        WeightsUnavailable: the hub cannot be reached or refuses.
    """
    import httpx
    import timm
    from safetensors.torch import save

    from baselines.segmenter import RANDOM_WEIGHTS, InitialWeights

    try:
        network = timm.create_model(name, pretrained=pretrained, **options)
    except (OSError, httpx.HTTPError) as error:
        raise WeightsUnavailable(
            f"the ImageNet weights of {name} cannot be had from the model hub ({type(error).__name__}); "
            "train with --random-init, or take a baseline whose start comes from a package, such as "
            "unet_effnet_lite0"
        ) from error
    if not pretrained:
        return network, RANDOM_WEIGHTS
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    return network, InitialWeights(f"{name} imagenet (timm)", sha256_hex(save(tensors)))
