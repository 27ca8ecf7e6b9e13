"""Non-local attention: every position of one map gathers from every position of another."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

# One slice of the attention matrix holds at most this many weights per picture: 32 MiB in float32.
_SLICE_WEIGHTS = 2**23


class NonLocal(nn.Module):
    """x + BN(1x1(attention of x to itself)); the norm's scale starts at 0, so the block starts as x.

    Keys and values are max-pooled 2x2 (odd sides round up).

    Source: Wang et al., Non-local Neural Networks, CVPR 2018, embedded Gaussian without scaling.
    """

    def __init__(self, channels: int, inner: int) -> None:
        """Set up the projections.

        Args:
            channels: of the map.
            inner: channels of queries, keys and values.
        """
        super().__init__()
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, inner, 1)
        self.restore = zero_start_projection(inner, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, h, w) to the same shape."""
        keys, values = (F.max_pool2d(one(maps), 2, ceil_mode=True) for one in (self.key, self.value))
        # The kernels that never hold the whole matrix (16384 x 4096 a picture in EU-Net at 256 px) want
        # four axes, the last of them dense.
        queries, keys, values = (
            one.flatten(2).transpose(1, 2).unsqueeze(1).contiguous()
            for one in (self.query(maps), keys, values)
        )
        gathered = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        gathered = gathered.squeeze(1).transpose(1, 2)
        answer: Tensor = maps + self.restore(gathered.reshape(*gathered.shape[:2], *maps.shape[-2:]))
        return answer


class CrossNonLocal(nn.Module):
    """EU-Net's adaptive global context module: an encoder map takes in what the decoder knows.

    Each decoder position spreads its value over the encoder positions, with weights that sum to 1 over the
    encoder; an encoder position receives what all decoder positions send (`baselines.md` section 1.6).
    So the weights of one receiver do not sum to 1, and scaled-dot-product kernels do not apply.
    """

    def __init__(self, decoder: int, encoder: int, inner: int) -> None:
        """Set up the projections; all three numbers are channels."""
        super().__init__()
        self.query = nn.Conv2d(decoder, inner, 1)
        self.value = nn.Conv2d(decoder, inner, 1)
        self.key = nn.Conv2d(encoder, inner, 1)
        self.restore = zero_start_projection(inner, encoder)

    def forward(self, decoder: Tensor, encoder: Tensor) -> Tensor:
        """(B, decoder, h, w) and (B, encoder, H, W), of any sides, to the encoder map's shape."""
        gathered = spread_attention(
            self.query(decoder).flatten(2), self.key(encoder).flatten(2), self.value(decoder).flatten(2)
        )
        answer: Tensor = encoder + self.restore(gathered.reshape(*gathered.shape[:2], *encoder.shape[-2:]))
        return answer


def spread_attention(
    queries: Tensor, keys: Tensor, values: Tensor, slice_weights: int = _SLICE_WEIGHTS
) -> Tensor:
    """values @ softmax(queries^T keys), the softmax over keys, without ever holding the whole matrix.

    Queries are taken some rows at a time; while learning, a slice's weights are computed again on the way
    back. At 256 px the last of EU-Net's four matrices is 4096 x 16384: 256 MiB a picture, and about three
    copies of it in training.

    Args:
        queries: (B, inner, N).
        keys: (B, inner, M).
        values: (B, inner, N).
        slice_weights: most weights of one slice, per picture.

    Returns:
        (B, inner, M).
    """
    rows = max(1, slice_weights // keys.shape[2])
    if rows >= queries.shape[2]:
        return _spread(queries, keys, values)
    total = keys.new_zeros(())
    for start in range(0, queries.shape[2], rows):
        part = (queries[..., start : start + rows], keys, values[..., start : start + rows])
        if torch.is_grad_enabled():
            total = total + checkpoint(_spread, *part, use_reentrant=False, preserve_rng_state=False)
        else:
            total = total + _spread(*part)
    return total


def _spread(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return values @ (queries.transpose(1, 2) @ keys).softmax(dim=-1)


def zero_start_projection(inputs: int, outputs: int) -> nn.Sequential:
    """1x1 convolution and batch norm whose scale starts at 0: a residual branch that starts silent."""
    norm = nn.BatchNorm2d(outputs)
    nn.init.zeros_(norm.weight)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), norm)
