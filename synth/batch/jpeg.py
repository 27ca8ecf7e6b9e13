"""JPEG compression of many windows at once, in torch: what an encoder and a decoder would make of a picture.

Baseline JPEG with 4:2:0 chroma and libjpeg's integer colour conversion, chroma averages and smooth chroma
enlargement; the cosine transform is in floating point, so a coefficient in thousands rounds the other way.

Source: ITU-T T.81, tables K.1 and K.2, section A.3.3; the Independent JPEG Group's libjpeg for the rest.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MCU_PX = 16  # a block of the halved chroma covers this many pixels

_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
_CHROMA_REST = 99


def compressed(pictures: Tensor, quality: Tensor) -> Tensor:
    """Pictures after being stored as JPEG and read again.

    Args:
        pictures: (B, 3, H, W) uint8 sRGB; H and W are multiples of 16.
        quality: (B,) int, 1–100 as libjpeg counts.

    Returns:
        (B, 3, H, W) uint8.
    """
    red, green, blue = pictures.int().unbind(1)
    luma = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    half = (128 << 16) + 32767
    chroma_blue = (-11059 * red - 21709 * green + 32768 * blue + half) >> 16
    chroma_red = (32768 * red - 27439 * green - 5329 * blue + half) >> 16
    light, colour = _tables(quality)
    luma = _through_blocks(luma, light)
    chroma_blue, chroma_red = (
        _enlarged(_through_blocks(_halved(plane), colour)) - 128 for plane in (chroma_blue, chroma_red)
    )
    red = luma + ((91881 * chroma_red + 32768) >> 16)
    green = luma + ((-22554 * chroma_blue - 46802 * chroma_red + 32768) >> 16)
    blue = luma + ((116130 * chroma_blue + 32768) >> 16)
    return torch.stack([red, green, blue], dim=1).clamp(0, 255).to(torch.uint8)


def _tables(quality: Tensor) -> tuple[Tensor, Tensor]:
    # (B, 8, 8) quantisation steps of luminance and chroma.
    chroma = np.full((8, 8), _CHROMA_REST)
    chroma[:4, :4] = _CHROMA_CORNER
    quality = quality.clamp(1, 100).long()
    scale = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality)[:, None, None]
    base = (torch.as_tensor(np.array(one), device=quality.device) for one in (_LUMINANCE, chroma))
    light, colour = (((table * scale + 50) // 100).clamp(1, 255).float() for table in base)
    return light, colour


def _cosines(device: torch.device) -> Tensor:
    # (8, 8): row k is the k-th cosine, sqrt(8) times as long as a unit vector; rows 0 and 4 are exactly ±1.
    k, x = np.arange(8)[:, None], np.arange(8)[None, :]
    size = np.where(k == 0, 1.0, np.sqrt(2.0))
    rows = np.round(np.cos((2 * x + 1) * k * np.pi / 16) * size, 12)
    return torch.as_tensor(rows.astype(np.float32), device=device)


def _rounded(values: Tensor) -> Tensor:
    return torch.floor(values + 0.5)


def _through_blocks(plane: Tensor, table: Tensor) -> Tensor:
    # (B, H, W) int in 0..255 after quantisation of its 8 x 8 blocks. Rounds where libjpeg's accurate integer
    # transform does, to 1/4 after the first pass and to 1/8 after the second: ties are common.
    count, height, width = plane.shape
    cosines = _cosines(plane.device)
    tiles = (plane - 128).float().reshape(count, height // 8, 8, width // 8, 8).transpose(2, 3)
    steps = table[:, None, None]
    rows = _rounded(4 * (tiles @ cosines.T))
    eighths = _rounded(cosines @ rows / 4)
    kept = torch.sign(eighths) * torch.floor(eighths.abs() / (8 * steps) + 0.5) * steps
    columns = _rounded(4 * (cosines.T @ kept))
    found = _rounded(columns @ cosines / 32) + 128
    return found.transpose(2, 3).reshape(count, height, width).clamp(0, 255).int()


def _halved(plane: Tensor) -> Tensor:
    total = plane[:, ::2, ::2] + plane[:, 1::2, ::2] + plane[:, ::2, 1::2] + plane[:, 1::2, 1::2]
    # Alternately rounded down and up, so that the mean stays.
    bias = 1 + torch.arange(total.shape[2], device=plane.device, dtype=torch.int32) % 2
    return (total + bias) >> 2


def _enlarged(plane: Tensor) -> Tensor:
    # Each new value: 3/4 of the near and 1/4 of the far neighbour, down and across.
    def with_neighbours(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        pad = (1, 1, 0, 0) if dim == 2 else (0, 0, 1, 1)
        wide = F.pad(values.float()[:, None], pad, mode="replicate")[:, 0].int()
        size = values.shape[dim]
        return wide.narrow(dim, 0, size), wide.narrow(dim, 2, size)

    above, below = with_neighbours(plane, 1)
    tall = torch.stack([3 * plane + above, 3 * plane + below], dim=2).flatten(1, 2)
    before, after = with_neighbours(tall, 2)
    wide = torch.stack([(3 * tall + before + 8) >> 4, (3 * tall + after + 7) >> 4], dim=3)
    return wide.flatten(2, 3)
