"""Draw labels onto pictures and lay many pictures out on one sheet; arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from dataset_tools.core.images import RgbImage
from dataset_tools.core.labels import LABEL_COLOURS, PAINT_ORDER
from dataset_tools.core.masks import BoolMask, rle_to_mask
from dataset_tools.core.record import Instance

_FILL_OPACITY = 0.35
_GAP_PX = 8
_CAPTION_PX = 18
_PAPER_RGB = (250, 250, 250)
_INK_RGB = (40, 40, 40)


def thumbnail(rgb: RgbImage, instances: Sequence[Instance], longest_px: int) -> RgbImage:
    """A small copy of a picture with its labels drawn in.

    Args:
        rgb: (H, W, 3) uint8.
        instances: labelled objects of that picture; none gives the plain small copy.
        longest_px: longer side of the result; a smaller picture is not enlarged.

    Returns:
        (h, w, 3) uint8: every label as a translucent fill with a contour in its colour.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, longest_px / max(height, width))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(rgb).resize(size_wh, Image.Resampling.LANCZOS)
    drawn = np.asarray(small, dtype=np.uint8)
    for label in PAINT_ORDER:
        for item in instances:
            if item.label is label:
                mask = shrink_mask(rle_to_mask(item.mask), size_wh)
                drawn = draw_mask(drawn, mask, LABEL_COLOURS[label])
    return drawn


def draw_mask(rgb: RgbImage, mask: BoolMask, colour_rgb: tuple[int, int, int]) -> RgbImage:
    """A copy of (H, W, 3) `rgb` with a (H, W) mask filled translucently and its inner edge drawn."""
    colour = np.asarray(colour_rgb, dtype=np.float64)
    drawn = rgb.astype(np.float64)
    drawn[mask] = (1 - _FILL_OPACITY) * drawn[mask] + _FILL_OPACITY * colour
    drawn[inner_edge(mask)] = colour
    return np.rint(drawn).astype(np.uint8)


def inner_edge(mask: BoolMask) -> BoolMask:
    """Pixels of a (H, W) mask with a neighbour outside it; the border of the picture is no edge."""
    padded = np.pad(mask, 1, mode="edge")
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~surrounded


def shrink_mask(mask: BoolMask, size_wh: tuple[int, int]) -> BoolMask:
    """A (H, W) mask at another size: a pixel is set where at least a third of it was."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255).resize(size_wh, Image.Resampling.BOX)
    # A third of a pixel is enough: thin straps must not vanish.
    return np.asarray(grey) >= 85


def contact_sheet(
    tiles: Sequence[RgbImage], *, columns: int = 6, captions: Sequence[str] = (), tile_px: int = 192
) -> npt.NDArray[np.uint8]:
    """Lay pictures out in rows.

    Args:
        tiles: (h, w, 3) uint8 pictures of any size; larger ones are shrunk to `tile_px`.
        columns: per row, >= 1.
        captions: one short line under each tile, or none at all.
        tile_px: side of the square each tile is centred in.

    Returns:
        (H, W, 3) uint8; a blank strip for no tiles.
    """
    rows = max(1, -(-len(tiles) // columns))
    cell_height = tile_px + _GAP_PX + (_CAPTION_PX if captions else 0)
    size_wh = (columns * (tile_px + _GAP_PX) + _GAP_PX, rows * cell_height + _GAP_PX)
    sheet = Image.new("RGB", size_wh, _PAPER_RGB)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for index, tile in enumerate(tiles):
        picture = Image.fromarray(tile)
        picture.thumbnail((tile_px, tile_px), Image.Resampling.LANCZOS)
        left = _GAP_PX + index % columns * (tile_px + _GAP_PX)
        top = _GAP_PX + index // columns * cell_height
        sheet.paste(picture, (left + (tile_px - picture.width) // 2, top + (tile_px - picture.height) // 2))
        if captions:
            draw.text((left, top + tile_px + 2), captions[index][:32], fill=_INK_RGB, font=font)
    return np.asarray(sheet, dtype=np.uint8)
