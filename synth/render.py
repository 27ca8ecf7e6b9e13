"""Dress faces of a photo: rasterise masks and ear loops, shade them, and composite with exact labels.

Compositing is `out = a * M + (1 - a) * I * (1 - shadow)` in linear light; the loops lie under the mask. A
pixel that no layer touches keeps its bytes. Alpha is rounded to 16 bit and shadow to 8 bit *before*
compositing, so the stored layers are exactly what was drawn with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_tools.core.images import RgbImage
from synth.assets import Garment
from synth.fabric import albedo, relief_mm, srgb_to_linear
from synth.geometry import (
    GRID_COLUMNS,
    GRID_ROWS,
    FaceMesh,
    MaskMesh,
    bare_triangles,
    build_loops,
    build_mask,
    grid_triangles,
    loop_curves,
)
from synth.raster import Box, rasterise
from synth.shading import (
    Light,
    cast_shadow,
    estimate_blur_px,
    estimate_light,
    estimate_noise,
    linear_of_byte,
    linear_to_srgb,
    points_on_skin,
    read_skin,
)
from synth.topology import canonical_face

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BoolMask = npt.NDArray[np.bool_]

_ALPHA_STEPS = 65535
_FAINT = 1 / 512  # coverage below this cannot change an 8-bit picture
_BAND_SAMPLES = 1_500_000  # bounds memory on huge faces
_SHADOW_MARGIN_MM = 18.0
_BEHIND_MM = 1.5  # cloth this little behind the skin is still in front: both surfaces are approximations
_OPTICS_PX = 0.3  # blur that pixel-sized samples have of themselves
_MAX_TEXELS = 1024
_DIFFERENCE = np.array([[-0.5, 0.0, 0.5]], dtype=np.float32)


@dataclass(frozen=True)
class Layer:
    """A coloured sheet over a window of the photo.

    Attributes:
        alpha: (h, w) float32 multiples of 1/65535.
        colour: (h, w, 3) float32 linear light, not multiplied by alpha.
    """

    alpha: Floats32
    colour: Floats32


@dataclass(frozen=True)
class Dressing:
    """One face's mask, ready to composite.

    Attributes:
        box: window of the photo that everything lies in.
        mask, loops: the sheets, mask on top.
        shadow: (h, w) float32 multiples of 1/255.
        amodal: (h, w) float32 coverage of the whole mask, as if nothing were in front of it.
        light: the light it was shaded with.
    """

    box: Box
    mask: Layer
    loops: Layer
    shadow: Floats32
    amodal: Floats32
    light: Light


def inside_share(mesh: MaskMesh, size_hw: tuple[int, int]) -> float:
    """Share of a mask's grid points that lie within the picture, 0–1."""
    x, y = mesh.grid_px[..., 0], mesh.grid_px[..., 1]
    return float(((x >= 0) & (x < size_hw[1]) & (y >= 0) & (y < size_hw[0])).mean())


def face_coverage(face: FaceMesh, size_hw: tuple[int, int]) -> BoolMask:
    """Pixels whose centre the face oval covers, (H, W) bool."""
    covered = np.zeros(size_hw, dtype=np.bool_)
    surface = face.skin_px[: len(canonical_face().vertices_mm)]
    box = _window(surface, 1.0, size_hw)
    x, y, width, height = box
    if width > 0 and height > 0:
        hits = rasterise(surface, canonical_face().triangles, box)
        covered[y : y + height, x : x + width].flat[hits.sample] = True
    return covered


def dress_face(
    photo: RgbImage, face: FaceMesh, garment: Garment, in_front: BoolMask, *, shadow: bool = True
) -> Dressing:
    """Draw one mask for one face; the photo is only read.

    Args:
        photo: (H, W, 3) sRGB, undressed: light, blur and noise are read off it.
        face: the wearer.
        garment: the mask to wear.
        in_front: (H, W) pixels of faces nearer to the camera, which hide this mask.
        shadow: whether the mask darkens the skin around it.
    """
    size_hw = (photo.shape[0], photo.shape[1])
    scale_px = face.frame.px_per_mm
    mesh = build_mask(garment.shape, face)
    skin = read_skin(photo, face.skin_px, scale_px)
    curves = loop_curves(mesh, face)
    shown = points_on_skin(photo, skin, curves)
    loops = build_loops(curves, shown, garment.strap.width_mm * scale_px)
    points = np.concatenate([mesh.grid_px.reshape(-1, 3), loops.vertices_px])
    box = _window(points, _SHADOW_MARGIN_MM * scale_px + 6.0, size_hw)
    x, y, width, height = box
    window = (slice(y, y + height), slice(x, x + width))
    light = estimate_light(photo, skin)
    triangles = grid_triangles(GRID_ROWS, GRID_COLUMNS)
    cloth = _Sheet(mesh.grid_px.reshape(-1, 3), triangles, _grid_uv())
    ribbon = _Sheet(loops.vertices_px, loops.triangles, loops.across[:, None])
    skin_in_front = bare_triangles(garment.shape)
    covered, strapped = _cover([cloth, ribbon], face, skin_in_front, box, _sampling(mesh))
    texture = _shaded_cloth(mesh, garment, light, scale_px)
    blur_px, noise = _photo_state(photo, face)
    rng = np.random.default_rng(garment.fabric.seed + 4)
    visible = 1.0 - in_front[window].astype(np.float32)
    mask = _finish(covered.alpha, _sample(texture, covered.values), blur_px, noise, rng, visible)
    strap_colour = _strap_colour(garment, light, strapped.values[..., 0])
    strap = _finish(strapped.alpha, strap_colour, blur_px, noise, rng, visible)
    dark: Floats32 = np.zeros((height, width), dtype=np.float32)
    if shadow:
        dark = cast_shadow(covered.alpha, _receiver(face, box), light, scale_px)
        dark = dark * (visible > 0)
    return Dressing(box, mask, strap, dark, covered.amodal, light)


def composite(photo: RgbImage, dressing: Dressing) -> RgbImage:
    """The photo with one dressing on it; untouched pixels keep their bytes. The input is not changed."""
    x, y, width, height = dressing.box
    out = photo.copy()
    window = out[y : y + height, x : x + width]
    touched = (dressing.mask.alpha > 0) | (dressing.loops.alpha > 0) | (dressing.shadow > 0)
    linear = linear_of_byte()[window[touched]] * (1.0 - dressing.shadow[touched])[:, None]
    for layer in (dressing.loops, dressing.mask):
        alpha = layer.alpha[touched][:, None]
        linear = alpha * layer.colour[touched] + (1.0 - alpha) * linear
    window[touched] = linear_to_srgb(linear)
    return out


def _window(points: Floats, margin: float, size_hw: tuple[int, int]) -> Box:
    height, width = size_hw
    low = np.floor(points[:, :2].min(axis=0) - margin)
    high = np.ceil(points[:, :2].max(axis=0) + margin)
    x0, y0 = int(np.clip(low[0], 0, width)), int(np.clip(low[1], 0, height))
    x1, y1 = int(np.clip(high[0], 0, width)), int(np.clip(high[1], 0, height))
    return x0, y0, max(x1 - x0, 0), max(y1 - y0, 0)


def _sampling(mesh: MaskMesh) -> int:
    # The fewer pixels, the more each of them matters.
    size = float(np.ptp(mesh.grid_px[..., :2].reshape(-1, 2), axis=0).max())
    return 4 if size < 90 else 3 if size < 240 else 2


def _grid_uv() -> Floats:
    v, u = np.meshgrid(np.linspace(0, 1, GRID_ROWS), np.linspace(0, 1, GRID_COLUMNS), indexing="ij")
    return np.stack([u.ravel(), v.ravel()], axis=1)


@dataclass(frozen=True)
class _Sheet:
    vertices_px: Floats
    triangles: Ints
    values: Floats  # (N, K) to interpolate


@dataclass(frozen=True)
class _Covered:
    alpha: Floats32  # (h, w) visible coverage
    amodal: Floats32  # (h, w) coverage without the wearer's own face in front
    values: Floats32  # (h, w, K) mean of the visible samples


def _cover(sheets: list[_Sheet], face: FaceMesh, skin: Ints, box: Box, scale: int) -> list[_Covered]:
    # In bands of rows: a face of 4000 px would otherwise need gigabytes.
    x, y, width, height = box
    rows = max(1, _BAND_SAMPLES // max(width * scale * scale, 1))
    bands: list[list[_Covered]] = []
    for top in range(0, max(height, 1), rows):
        band = (x, y + top, width, min(rows, height - top))
        hits = rasterise(face.skin_px, skin, band, scale=scale)
        behind = hits.depth_map().ravel() + np.float32(_BEHIND_MM * face.frame.px_per_mm)
        bands.append([_cover_band(sheet, behind, band, scale) for sheet in sheets])
    return [
        _Covered(
            np.concatenate([part.alpha for part in parts]),
            np.concatenate([part.amodal for part in parts]),
            np.concatenate([part.values for part in parts]),
        )
        for parts in zip(*bands, strict=True)
    ]


def _cover_band(sheet: _Sheet, behind: Floats32, box: Box, scale: int) -> _Covered:
    _, _, width, height = box
    hits = rasterise(sheet.vertices_px, sheet.triangles, box, scale=scale, values=sheet.values)
    row, column = np.divmod(hits.sample, width * scale)
    pixel = (row // scale) * width + column // scale
    whole = np.bincount(pixel, minlength=height * width)
    seen = hits.depth <= behind[hits.sample]
    values = hits.values
    count = whole
    if not seen.all():
        pixel, values = pixel[seen], values[seen]
        count = np.bincount(pixel, minlength=height * width)
    mean = np.empty((height * width, values.shape[1]), dtype=np.float32)
    for k in range(values.shape[1]):
        mean[:, k] = np.bincount(pixel, values[:, k], minlength=height * width)
    mean /= np.maximum(count, 1)[:, None]
    share = np.float32(1 / scale**2)
    return _Covered(
        np.minimum(count * share, 1).astype(np.float32).reshape(height, width),
        np.minimum(whole * share, 1).astype(np.float32).reshape(height, width),
        mean.reshape(height, width, -1),
    )


def _shaded_cloth(mesh: MaskMesh, garment: Garment, light: Light, px_per_mm: float) -> Floats32:
    # Colour of the cloth at texels of about one pixel: albedo times light on the relief's own normals.
    import cv2

    width = int(np.clip(mesh.size_mm[0] * px_per_mm, 48, _MAX_TEXELS))
    height = int(np.clip(mesh.size_mm[1] * px_per_mm, 40, _MAX_TEXELS))
    columns = np.linspace(0, GRID_COLUMNS - 1, width, dtype=np.float32)
    rows = np.linspace(0, GRID_ROWS - 1, height, dtype=np.float32)
    at_x, at_y = np.meshgrid(columns, rows)
    grid = mesh.grid_px.astype(np.float32)
    smooth = cv2.remap(grid, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    normals = _normals(smooth)
    relief = relief_mm(garment.fabric, garment.shape, mesh.size_mm, (height, width))
    bumped = _normals(smooth + normals * (relief * np.float32(px_per_mm))[..., None])
    # Folds lie in their own shadow: compare the height with its surroundings.
    texel_mm = mesh.size_mm[0] / width
    around = cv2.GaussianBlur(relief, (0, 0), max(2.0 / texel_mm, 0.6))
    open_sky = np.clip(1.0 + 0.16 * (relief - around), 0.7, 1.1)
    colour = albedo(garment.fabric, mesh.size_mm, (height, width))
    shaded: Floats32 = light.colour(colour) * (light.shade(bumped) * open_sky)[..., None]
    return shaded


def _normals(points: Floats32) -> Floats32:
    import cv2

    # Columns run right and rows down, so down x across points towards the camera (z < 0).
    ax, ay, az = cv2.split(cv2.filter2D(points, -1, _DIFFERENCE, borderType=cv2.BORDER_REPLICATE))
    dx, dy, dz = cv2.split(cv2.filter2D(points, -1, _DIFFERENCE.T, borderType=cv2.BORDER_REPLICATE))
    x, y, z = dy * az - dz * ay, dz * ax - dx * az, dx * ay - dy * ax
    length = np.maximum(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))
    return np.asarray(cv2.merge([x / length, y / length, z / length]), dtype=np.float32)


def _sample(texture: Floats32, uv: Floats32) -> Floats32:
    import cv2

    height, width = texture.shape[:2]
    x = np.ascontiguousarray(uv[..., 0]) * np.float32(width - 1)
    y = np.ascontiguousarray(uv[..., 1]) * np.float32(height - 1)
    found = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.float32)


def _strap_colour(garment: Garment, light: Light, across: Floats32) -> Floats32:
    # A round cord: bright in the middle, darker to both sides.
    colour = light.colour(srgb_to_linear(np.array(garment.strap.colour) / 255))
    round_off = np.float32(min(light.ambient, 1.0)) * (1.0 - 0.45 * across**2)
    return (round_off[..., None] * colour).astype(np.float32)


def _photo_state(photo: RgbImage, face: FaceMesh) -> tuple[float, float]:
    # Blur and noise around the eyes, where every face has edges; at most 256 px a side.
    import cv2

    middle = face.frame.origin_px[:2]
    reach = int(np.clip(48 * face.frame.px_per_mm, 16, 128))
    height, width = photo.shape[:2]
    x0, y0 = np.clip((middle - reach).astype(int), 0, (max(width - 16, 0), max(height - 16, 0)))
    crop = photo[y0 : y0 + 2 * reach, x0 : x0 + 2 * reach]
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return estimate_blur_px(grey), estimate_noise(grey)


def _finish(
    alpha: Floats32,
    colour: Floats32,
    blur_px: float,
    noise: float,
    rng: np.random.Generator,
    visible: Floats32,
) -> Layer:
    # The sheet gets the photo's blur (its alpha too: the label is what was drawn) and its noise.
    import cv2

    sigma = float(np.sqrt(max(blur_px**2 - _OPTICS_PX**2, 0.0)))
    if sigma > 0.25 and alpha.size:
        sheet = cv2.GaussianBlur(np.dstack([colour * alpha[..., None], alpha]), (0, 0), sigma)
        alpha = sheet[..., 3]
        colour = sheet[..., :3] / np.maximum(alpha, 1e-6)[..., None]
    if noise > 0:
        # One grey level of sRGB is about 2.2 * sqrt(x) in linear light.
        drawn = np.flatnonzero(alpha.ravel() >= _FAINT)
        grain = rng.standard_normal((len(drawn), 1), dtype=np.float32) * np.float32(2.2 * noise / 255)
        flat = np.maximum(colour.reshape(-1, 3), 0)
        flat[drawn] += grain * np.sqrt(flat[drawn])
        colour = flat.reshape(colour.shape)
    shown = np.where(alpha < _FAINT, 0, alpha) * visible
    steps = np.rint(np.clip(shown, 0, 1) * _ALPHA_STEPS) / _ALPHA_STEPS
    return Layer(steps.astype(np.float32), np.clip(colour, 0, 1).astype(np.float32))


def _receiver(face: FaceMesh, box: Box) -> Floats32:
    # Skin that can be in shadow: face, underside of the jaw, neck.
    import cv2

    triangles = np.concatenate([canonical_face().skin_triangles, canonical_face().neck_triangles])
    hits = rasterise(face.skin_px, triangles, box)
    covered = np.zeros((box[3], box[2]), dtype=np.float32)
    covered.flat[hits.sample] = 1.0
    soft = cv2.GaussianBlur(covered, (0, 0), max(1.0 * face.frame.px_per_mm, 0.5))
    # Blurred inwards only: nothing beside the face gets dark.
    return np.asarray(np.clip(2 * soft - 1, 0, 1) * covered, dtype=np.float32)
