"""Networks of segmentation-models-pytorch in the suite's interface, with an honest pretrained start.

Most of them are one row per encoder and differ in a few values only: `register_smp_row`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from baselines.registry import BaselineSpec, Fidelity, Printed, Recipe, register_baseline
from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.core.files import sha256_hex

if TYPE_CHECKING:
    from torch import nn

    from baselines.segmenter import InitialWeights, PaddedSegmenter

ABANET = "ABANet (Expert Systems)"
ABANET_URL = "https://doi.org/10.1111/exsy.13625"
ARTEFACT = "scored on JPEG labels by another rule; a perfect prediction scores .906 there"

# Library name of an encoder: how tables call it, and the licence its ImageNet weights came with.
_ENCODERS = {
    "efficientnet-b7": ("EfficientNet-B7", "Apache-2.0"),
    "mit_b2": ("MiT-B2", "NVIDIA Source Code License (non-commercial)"),
    "resnet50": ("ResNet-50", "BSD-3-Clause (torchvision)"),
    "tu-convnext_tiny.in12k_ft_in1k": ("ConvNeXt-Tiny", "Apache-2.0 (timm)"),
    "tu-vit_small_patch16_224.augreg_in21k": ("ViT-S/16", "Apache-2.0 (timm)"),
    "vgg19": ("VGG-19", "BSD-3-Clause (torchvision)"),
}
# These builders read values of tensors, which a tensor on the meta device does not have.
_READS_TENSORS = ("mit_",)


def register_smp_row(
    name: str,
    architecture: str,
    encoder: str,
    *,
    title: str,
    parameters: int,
    paper: str = ABANET,
    paper_url: str = ABANET_URL,
    fidelity: Fidelity = Fidelity.CONFIRMED,
    code_licence: str = "MIT",
    printed: Printed | None = None,
    least_batch: int = 1,
    min_px: int = 32,
    **options: Any,
) -> None:
    """Register a network of the library as it comes, trained by recipe R2 with Dice loss.

    Args:
        name: of the row.
        architecture: the library's word, e.g. "unet".
        encoder: the library's encoder name, one of `_ENCODERS`.
        title: of the architecture, for tables; the encoder's is added.
        parameters: exact count with one output channel.
        paper, paper_url, fidelity, code_licence, printed, least_batch, min_px: as in `BaselineSpec`.
        **options: passed on to the library.
    """
    encoder_title, weights_licence = _ENCODERS[encoder]
    spec = BaselineSpec(
        name=name,
        title=f"{title}, {encoder_title}",
        paper=paper,
        paper_url=paper_url,
        fidelity=fidelity,
        code_licence=code_licence,
        weights_licence=weights_licence,
        recipe=Recipe(loss="dice", epochs=40),
        parameters=parameters,
        printed=printed,
        least_batch=least_batch,
        min_px=min_px,
    )

    @register_baseline(spec)
    def build(num_classes: int, *, pretrained: bool) -> nn.Module:
        return smp_network(architecture, encoder, num_classes, pretrained=pretrained, **options)


def table_2(row: str, percent: tuple[float, float, float, float, float], remark: str = "") -> Printed:
    """A row of ABANet's table 2 (`baselines.md` section 1.1).

    Args:
        row: its name there.
        percent: IoU, F1, precision, recall and accuracy as printed, in percent.
        remark: what is wrong with this row, beside what is wrong with all library rows.
    """
    names = ("iou", "f1_of_means", "precision", "recall", "accuracy")
    return Printed(
        table=f"ABANet, table 2, row {row}",
        values=tuple((name, round(value / 100, 5)) for name, value in zip(names, percent, strict=True)),
        remark=f"{ARTEFACT}; {remark}" if remark else ARTEFACT,
    )


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
    import torch

    from baselines.segmenter import RANDOM_WEIGHTS, PaddedSegmenter

    is_timm = encoder.startswith("tu-")  # these carry the name of their weights in their own
    wanted = torch.get_default_device()
    home = torch.device("cpu") if encoder.startswith(_READS_TENSORS) else wanted
    try:
        with home:
            network = smp.create_model(
                architecture,
                encoder_name=encoder,
                encoder_weights=(True if is_timm else "imagenet") if pretrained else None,
                in_channels=3,
                classes=num_classes,
                **options,
            )
    except (OSError, httpx.HTTPError) as error:
        raise WeightsUnavailable(
            f"the published weights of encoder {encoder} cannot be had from the model hub "
            f"({type(error).__name__}); train with --random-init, or take a baseline whose start comes "
            "from a package, such as unet_effnet_lite0"
        ) from error
    source = f"{encoder.removeprefix('tu-')} (timm)" if is_timm else f"{encoder} imagenet (smp-hub)"
    noted = _note(network.encoder, source) if pretrained else RANDOM_WEIGHTS
    return PaddedSegmenter(network.to(wanted), weights=noted)


def _note(encoder: nn.Module, name: str) -> InitialWeights:
    # The hub file's path is the library's business; the values it gave are what counts.
    from safetensors.torch import save

    from baselines.segmenter import InitialWeights

    tensors = {key: value.contiguous() for key, value in encoder.state_dict().items()}
    return InitialWeights(name, sha256_hex(save(tensors)))
