"""Networks of segmentation-models-pytorch in the suite's interface, with an honest pretrained start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.core.files import sha256_hex

if TYPE_CHECKING:
    from torch import nn

    from baselines.segmenter import InitialWeights, PaddedSegmenter


def smp_network(
    architecture: str, encoder: str, num_classes: int, *, pretrained: bool, **options: Any
) -> PaddedSegmenter:
    """A library network; `pretrained` fetches the library's own ImageNet encoder from its model hub.

    Args:
        architecture: the library's word, e.g. "unet".
        encoder: the library's encoder name.
        num_classes: output channels.
        pretrained: whether to fetch encoder weights.
        **options: passed on to the library.

    Raises:
        WeightsUnavailable: the hub cannot be reached or refuses.
    """
    import httpx
    import segmentation_models_pytorch as smp

    from baselines.segmenter import RANDOM_WEIGHTS, PaddedSegmenter

    weights = "imagenet" if pretrained else None
    try:
        network = smp.create_model(
            architecture,
            encoder_name=encoder,
            encoder_weights=weights,
            in_channels=3,
            classes=num_classes,
            **options,
        )
    except (OSError, httpx.HTTPError) as error:
        raise WeightsUnavailable(
            f"the ImageNet weights of encoder {encoder} cannot be had from the model hub "
            f"({type(error).__name__}); train with --random-init, or take a baseline whose start comes "
            "from a package, such as unet_effnet_lite0"
        ) from error
    noted = _note(network.encoder, f"{encoder} imagenet (smp-hub)") if pretrained else RANDOM_WEIGHTS
    return PaddedSegmenter(network, weights=noted)


def _note(encoder: nn.Module, name: str) -> InitialWeights:
    # The hub file's path is the library's business; the values it gave are what counts.
    from safetensors.torch import save

    from baselines.segmenter import InitialWeights

    tensors = {key: value.contiguous() for key, value in encoder.state_dict().items()}
    return InitialWeights(name, sha256_hex(save(tensors)))
