"""Networks of torchvision with an honest pretrained start."""

from __future__ import annotations

import contextlib
import http.client
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlparse

from dataset_tools.core.errors import WeightsUnavailable
from dataset_tools.core.files import sha256_file

if TYPE_CHECKING:
    from torch import nn

    from baselines.segmenter import InitialWeights

_Network = TypeVar("_Network", bound="nn.Module")


def torchvision_network(
    build: Callable[[Any], _Network], weights: Any, *, pretrained: bool
) -> tuple[_Network, InitialWeights]:
    """A torchvision network, from random values or from the library's published ones.

    Args:
        build: makes the network from one argument: `weights`, or None for random values. For example
            `lambda start: torchvision.models.resnet34(weights=start)`.
        weights: a member of one of torchvision's `WeightsEnum` classes.
        pretrained: whether to fetch them; the file is kept in torch's own cache (`TORCH_HOME`).

    Returns:
        The network and where its start came from: name of the weights and sha256 of their file.

    Raises:
        WeightsUnavailable: the host cannot be reached or refuses, or the file is not the published one.
    """
    from baselines.segmenter import RANDOM_WEIGHTS, InitialWeights

    if not pretrained:
        return build(None), RANDOM_WEIGHTS
    path = _fetched(weights)
    return build(weights), InitialWeights(f"{weights} (torchvision)", sha256_file(path))


def _fetched(weights: Any) -> Path:
    """The weights' file in torch's cache, downloaded when it is not there."""
    import torch.hub

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    try:
        # torch announces a download on standard output, where commands print their JSON.
        with contextlib.redirect_stdout(sys.stderr):
            weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, EOFError, RuntimeError, http.client.HTTPException) as error:
        raise WeightsUnavailable(
            f"the published values {weights} cannot be had from {urlparse(weights.url).hostname} "
            f"({type(error).__name__}); train with --random-init, put the file at {path}, or take a "
            "baseline whose start comes from a package, such as unet_effnet_lite0"
        ) from error
    return path
