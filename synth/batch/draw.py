"""Many masks at once in torch, on the CPU or a GPU: the same scenes as `render` draws one by one.

The CPU hangs the masks, reads the photos and lights the cloth (`scene.set_scene`); the device rasterises,
samples, blurs, adds noise, casts shadows, compresses and composites whole batches. Windows of different size
are padded to the largest, so a batch should hold faces of about one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from dataset_tools.core.images import RgbImage
from synth.batch.jpeg import MCU_PX, compressed
from synth.batch.raster import (
    Mesh,
    Windows,
    make_windows,
    nearest_depth,
    pack_triangles,
    rasterise_batch,
)
from synth.batch.steps import (
    blur_matrix,
    enlarge_matrix,
    gaussian_kernel,
    reduce_matrix,
    shift_matrix,
)
from synth.camera import FAINT, blur_kernel, blur_to_add
from synth.colour import byte_of_linear, linear_of_byte
from synth.cover import BEHIND_MM, Sheet, outline, takes_two_passes
from synth.raster import Box
from synth.scene import Scene
from synth.shadow import CAST_STRENGTH, CONTACT_STRENGTH, plan_shadow
from synth.topology import canonical_face

Floats32 = npt.NDArray[np.float32]
Steps = npt.NDArray[np.uint16]

_ALPHA_STEPS = 65535
_VALUE_STEPS = 2**24  # sums of whole numbers do not depend on their order, as a GPU's sums of floats do
_TEXEL_STEPS = 32  # OpenCV samples a texture at 1/32 of a texel


@dataclass(frozen=True)
class Job:
    """One mask to draw.

    Attributes:
        scene: what, where and in which light.
        photo: (H, W, 3) sRGB it is drawn into: the undressed photo, or one whose farther faces are dressed.
        in_front: (H, W) in [0, 1], what hides the mask; None = nothing.
    """

    scene: Scene
    photo: RgbImage
    in_front: Floats32 | None = None


@dataclass(frozen=True)
class Drawn:
    """One mask, drawn.

    Attributes:
        box: window of the photo.
        picture: (h, w, 3) sRGB of the window with the mask on it.
        mask, strap, amodal: (h, w) uint16, 65535 = covered, as in `dress.DressedFace`.
        shadow: (h, w) uint8, 255 = all light taken.
    """

    box: Box
    picture: RgbImage
    mask: Steps
    strap: Steps
    amodal: Steps
    shadow: npt.NDArray[np.uint8]


def draw_batch(jobs: Sequence[Job], device: torch.device | str = "cpu") -> list[Drawn]:
    """Draw masks together; those whose window is empty come back empty.

    Args:
        jobs: of about one size, so that little is padded; they do not see each other.
        device: where to work.
    """
    target = torch.device(device)
    shown = [job.scene.box[2] > 0 and job.scene.box[3] > 0 for job in jobs]
    visible = [job for job, is_shown in zip(jobs, shown, strict=True) if is_shown]
    with torch.inference_mode():
        found = iter(_Batch(visible, target).draw() if visible else [])
    return [next(found) if shown[k] else _empty(job.scene.box) for k, job in enumerate(jobs)]


def _empty(box: Box) -> Drawn:
    shape = (box[3], box[2])
    nothing = np.zeros(shape, dtype=np.uint16)
    return Drawn(box, np.zeros((*shape, 3), np.uint8), nothing, nothing, nothing, np.zeros(shape, np.uint8))


@dataclass(frozen=True)
class _Layer:
    # (B, H, W) coverage, (B, 3, H, W) colour, (B, H, W) opacity.
    alpha: Tensor
    colour: Tensor
    opacity: Tensor


class _Batch:
    def __init__(self, jobs: Sequence[Job], device: torch.device) -> None:
        self.scenes = [job.scene for job in jobs]
        self.jobs = jobs
        self.device = device
        self.boxes = [scene.box for scene in self.scenes]
        self.scales = [scene.samples for scene in self.scenes]
        self.windows = make_windows(self.boxes, self.scales, device)
        self.size_hw = self.windows.size_hw
        self.count = len(jobs)
        self.sizes = torch.as_tensor([[box[3], box[2]] for box in self.boxes], device=device)

    def draw(self) -> list[Drawn]:
        behind = self._face_depth(self.windows, self.scales)
        alpha, amodal, places = self._cover([scene.cloth for scene in self.scenes], behind)
        strap_alpha, _, across = self._cover([scene.ribbon for scene in self.scenes], behind)
        photo = self._put([job.photo[_slices(job.scene.box)] for job in self.jobs])
        nothing: list[Floats32 | None] = [
            None if job.in_front is None else job.in_front[_slices(job.scene.box)] for job in self.jobs
        ]
        visible = 1.0 - self._maps(nothing)
        noise = self._maps([scene.noise for scene in self.scenes])
        sampled = self._textured(places)
        mask = self._finished(alpha, sampled[:, :3], noise, visible)
        mask = _Layer(mask.alpha, mask.colour, mask.alpha * sampled[:, 3])
        cord = torch.stack([self._of(scene.strap_colour) for scene in self.scenes])
        cord = cord[:, :, None, None] * (1.0 - 0.45 * across[:, 0] ** 2)[:, None]
        strap = self._finished(strap_alpha, cord, noise, visible)
        shadow = torch.round(self._shadow(alpha * sampled[:, 3]) * visible * 255) / 255
        picture = _composite(photo, shadow, strap, mask)
        if any(scene.state.jpeg for scene in self.scenes):
            change = self._recompression(picture)
            strap, mask = (
                _Layer(one.alpha, (one.colour + change).clamp(0, 1), one.opacity) for one in (strap, mask)
            )
            picture = _composite(photo, shadow, strap, mask)
        return self._take(picture, mask.alpha, strap.alpha, amodal, shadow)

    def _of(self, values: npt.NDArray[np.floating]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values, dtype=np.float32), device=self.device)

    def _put(self, pictures: list[npt.NDArray[np.uint8]]) -> Tensor:
        # (B, 3, H, W) uint8, windows in the upper left corner.
        wide = np.zeros((self.count, *self.size_hw, 3), dtype=np.uint8)
        for canvas, picture in zip(wide, pictures, strict=True):
            canvas[: picture.shape[0], : picture.shape[1]] = picture
        return torch.as_tensor(wide, device=self.device).permute(0, 3, 1, 2)

    def _maps(self, maps: Sequence[Floats32 | None]) -> Tensor:
        # (B, H, W) float32; None is 0 everywhere.
        wide = np.zeros((self.count, *self.size_hw), dtype=np.float32)
        for canvas, one in zip(wide, maps, strict=True):
            if one is not None:
                canvas[: one.shape[0], : one.shape[1]] = one
        return torch.as_tensor(wide, device=self.device)

    def _face_depth(self, windows: Windows, scales: list[int]) -> Tensor:
        # Depth at every sample beyond which a sheet is hidden by the wearer's face.
        meshes = [
            (scene.face.skin_px, scene.skin, np.zeros((len(scene.face.skin_px), 0))) for scene in self.scenes
        ]
        hits = rasterise_batch(pack_triangles(meshes, self.boxes, scales, self.device), windows)
        depth = nearest_depth(hits.sample, hits.depth, windows)
        slack = self._of(np.array([BEHIND_MM * scene.face.frame.px_per_mm for scene in self.scenes]))
        return depth + torch.repeat_interleave(slack, windows.rows * windows.columns)

    def _cover(self, sheets: list[Sheet], behind: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # alpha (B, H, W), amodal (B, H, W), mean values (B, K, H, W): `cover.cover` with all samples.
        meshes = [(sheet.vertices_px, sheet.triangles, sheet.values) for sheet in sheets]
        hits = rasterise_batch(pack_triangles(meshes, self.boxes, self.scales, self.device), self.windows)
        share = (1.0 / self.windows.scale.float() ** 2)[:, None, None]
        shape = (self.count, *self.size_hw)
        whole = torch.bincount(hits.pixel, minlength=self.windows.pixels)
        seen = torch.nonzero(hits.depth <= behind[hits.sample])[:, 0]
        pixel = hits.pixel[seen]
        count = torch.bincount(pixel, minlength=self.windows.pixels)
        kinds = hits.values.shape[1]
        total = torch.zeros((kinds, self.windows.pixels), dtype=torch.int64, device=self.device)
        steps = (hits.values[seen].T.double() * _VALUE_STEPS).round().long()
        total.index_add_(1, pixel, steps)
        mean = (total.double() / (count.clamp(min=1) * _VALUE_STEPS)).float()
        values = mean.reshape(kinds, *shape).transpose(0, 1)
        alpha, amodal = ((one.reshape(shape) * share).clamp(max=1) for one in (count, whole))
        twice = [takes_two_passes(sheet, scale) for sheet, scale in zip(sheets, self.scales, strict=True)]
        if not any(twice):
            return alpha, amodal, values
        lines = self._maps(
            [
                outline(sheet, box).astype(np.float32) if often else None
                for sheet, box, often in zip(sheets, self.boxes, twice, strict=True)
            ]
        )
        shown, covered, centre = self._at_centres(meshes)
        changes = F.max_pool2d(shown, 3, 1, 1) != -F.max_pool2d(-shown, 3, 1, 1)
        inner = torch.as_tensor(twice, device=self.device)[:, None, None] & ~changes & (lines == 0)
        alpha, amodal = torch.where(inner, shown, alpha), torch.where(inner, covered, amodal)
        return alpha, amodal, torch.where(inner[:, None], centre, values)

    def _at_centres(self, meshes: list[Mesh]) -> tuple[Tensor, Tensor, Tensor]:
        # The same with one sample per pixel.
        ones = [1] * self.count
        windows = make_windows(self.boxes, ones, self.device)
        behind = self._face_depth(windows, ones)
        hits = rasterise_batch(pack_triangles(meshes, self.boxes, ones, self.device), windows)
        seen = torch.nonzero(hits.depth <= behind[hits.sample])[:, 0]
        kinds = hits.values.shape[1]
        values = torch.zeros((windows.pixels, kinds + 2), dtype=torch.float32, device=self.device)
        values[hits.pixel, kinds] = 1.0
        values[hits.pixel[seen], kinds + 1] = 1.0
        values[hits.pixel[seen], :kinds] = hits.values[seen]
        values = values.reshape(self.count, *self.size_hw, kinds + 2).permute(0, 3, 1, 2)
        return values[:, kinds + 1], values[:, kinds], values[:, :kinds]

    def _textured(self, places: Tensor) -> Tensor:
        # (B, 4, H, W) colour and opacity of the cloth at places (B, 2, H, W), bilinear.
        texels, start = [], 0
        layout = []
        for scene in self.scenes:
            colour, opacity = scene.texture.colour, scene.texture.opacity
            height, width = colour.shape[:2]
            full = np.ones((height, width, 4), dtype=np.float32)
            full[..., :3] = colour
            if opacity is not None:
                full[..., 3] = opacity
            texels.append(full.reshape(-1, 4))
            layout.append((start, height, width))
            start += height * width
        flat = self._of(np.concatenate(texels))
        base, height, width = (one[:, None, None] for one in torch.as_tensor(layout, device=self.device).T)
        at = [places[:, k] * (side - 1) for k, side in ((0, width), (1, height))]
        fine = [torch.round(one * _TEXEL_STEPS).long() for one in at]
        column, row = (one // _TEXEL_STEPS for one in fine)
        part_x, part_y = ((one % _TEXEL_STEPS).float()[..., None] / _TEXEL_STEPS for one in fine)
        right, below = torch.minimum(column + 1, width - 1), torch.minimum(row + 1, height - 1)
        found = flat[base + row * width + column] * (1 - part_x) * (1 - part_y)
        found += flat[base + row * width + right] * part_x * (1 - part_y)
        found += flat[base + below * width + column] * (1 - part_x) * part_y
        found += flat[base + below * width + right] * part_x * part_y
        return found.permute(0, 3, 1, 2)

    def _finished(self, alpha: Tensor, colour: Tensor, noise: Tensor, visible: Tensor) -> _Layer:
        # `camera.finish`.
        sigmas = [blur_to_add(scene.state) for scene in self.scenes]
        if any(sigmas):
            sheet = torch.cat([colour * alpha[:, None], alpha[:, None]], dim=1)
            sheet = self._blurred(sheet, [blur_kernel(sigma) for sigma in sigmas])
            soft = self._of(np.array(sigmas))[:, None, None, None] > 0
            colour = torch.where(soft, sheet[:, :3] / sheet[:, 3:].clamp(min=1e-6), colour)
            alpha = sheet[:, 3]
        colour = colour.clamp(min=0)
        colour = colour + (noise * (2.2 / 255))[:, None] * colour.sqrt()
        shown = torch.where(alpha < FAINT, 0.0, alpha) * visible
        steps = torch.round(shown.clamp(0, 1) * _ALPHA_STEPS) / _ALPHA_STEPS
        return _Layer(steps, colour.clamp(0, 1), steps)

    def _blurred(self, maps: Tensor, kernels: Sequence[Floats32]) -> Tensor:
        # (B, C, H, W), each window with its own kernel; mirrored at the borders of its own window.
        reach = max(len(kernel) for kernel in kernels) // 2
        wide = np.zeros((self.count, 2 * reach + 1), dtype=np.float32)
        for row, kernel in zip(wide, kernels, strict=True):
            spare = reach - len(kernel) // 2
            row[spare : spare + len(kernel)] = kernel
        channels = maps.shape[1]
        weights = self._of(wide).repeat_interleave(channels, dim=0)
        for dim in (2, 3):
            mirrored = self._mirrored(maps, dim, reach)
            flat = mirrored.reshape(1, self.count * channels, *mirrored.shape[2:])
            taps = weights[:, None, :, None] if dim == 2 else weights[:, None, None, :]
            maps = F.conv2d(flat, taps, groups=len(weights)).reshape(maps.shape)
        return maps

    def _mirrored(self, maps: Tensor, dim: int, reach: int) -> Tensor:
        # Rows or columns -reach .. size + reach - 1, reflected without repeating the border's own.
        side = self.sizes[:, dim - 2, None]
        at = torch.arange(-reach, maps.shape[dim] + reach, device=self.device)[None, :]
        period = (2 * (side - 1)).clamp(min=1)
        folded = at % period
        index = torch.where(folded < side, folded, period - folded)
        shape = [self.count, 1, 1, 1]
        shape[dim] = index.shape[1]
        size = list(maps.shape)
        size[dim] = index.shape[1]
        return torch.gather(maps, dim, index.reshape(shape).expand(size))

    def _shadow(self, alpha: Tensor) -> Tensor:
        # `shadow.cast_shadow`; its steps are linear and separable: one matrix for rows, one for columns.
        plans = [
            plan_shadow(scene.light, scene.face.frame.px_per_mm, (scene.box[3], scene.box[2]))
            for scene in self.scenes
        ]
        wanted = self._of(np.array([float(scene.casts_shadow) for scene in self.scenes]))[:, None, None]
        small_hw = [max(plan.size_hw[k] for plan in plans) for k in (0, 1)]
        down, contact, cast, up = ([], [], [], [])
        for k in (0, 1):
            sides = [box[3 - k] for box in self.boxes]
            smalls = [plan.size_hw[k] for plan in plans]
            big = self.size_hw[k]
            pairs = list(zip(sides, smalls, strict=True))
            down.append(self._stack([reduce_matrix(n, m) for n, m in pairs], small_hw[k], big))
            up.append(self._stack([enlarge_matrix(n, m) for n, m in pairs], big, small_hw[k]))
            close = [blur_matrix(plan.size_hw[k], plan.contact_px) for plan in plans]
            away = [
                blur_matrix(plan.size_hw[k], plan.cast_px)
                @ shift_matrix(plan.size_hw[k], plan.shift_xy[1 - k])
                for plan in plans
            ]
            contact.append(self._stack(close, small_hw[k], small_hw[k]))
            cast.append(self._stack(away, small_hw[k], small_hw[k]))
        small = down[0] @ alpha @ down[1].mT
        near, far = (rows @ small @ columns.mT for rows, columns in (contact, cast))
        dark = up[0] @ (1 - (1 - CONTACT_STRENGTH * near) * (1 - CAST_STRENGTH * far)) @ up[1].mT
        return torch.floor(dark * self._receiver() * 255) / 255 * wanted

    def _stack(self, matrices: list[Floats32], rows: int, columns: int) -> Tensor:
        wide = np.zeros((self.count, rows, columns), dtype=np.float32)
        for canvas, matrix in zip(wide, matrices, strict=True):
            canvas[: matrix.shape[0], : matrix.shape[1]] = matrix
        return self._of(wide)

    def _receiver(self) -> Tensor:
        # `render.receiver`: skin that can be in shadow, softened inwards.
        mean = canonical_face()
        triangles = np.concatenate([mean.skin_triangles, mean.neck_triangles])
        meshes = [
            (scene.face.skin_px, triangles, np.zeros((len(scene.face.skin_px), 0))) for scene in self.scenes
        ]
        ones = [1] * self.count
        windows: Windows = make_windows(self.boxes, ones, self.device)
        hits = rasterise_batch(pack_triangles(meshes, self.boxes, ones, self.device), windows)
        covered = torch.zeros(windows.pixels, dtype=torch.float32, device=self.device)
        covered[hits.pixel] = 1.0
        covered = covered.reshape(self.count, 1, *self.size_hw)
        sigmas = [max(1.0 * scene.face.frame.px_per_mm, 0.5) for scene in self.scenes]
        soft = self._blurred(covered, [gaussian_kernel(sigma) for sigma in sigmas])
        return ((2 * soft - 1).clamp(0, 1) * covered)[:, 0]

    def _recompression(self, picture: Tensor) -> Tensor:
        # (B, 3, H, W) what compressing changes, in linear light; 0 for photos that were not compressed.
        jpegs = [scene.state.jpeg for scene in self.scenes]
        pads, index = [], []
        sides = [-(-(side + MCU_PX - 1) // MCU_PX) * MCU_PX for side in self.size_hw]
        for box, jpeg in zip(self.boxes, jpegs, strict=True):
            phase = jpeg.phase_xy if jpeg else (0, 0)
            pads.append([(box[1 - k] - phase[1 - k]) % MCU_PX for k in (0, 1)])
        pad = torch.as_tensor(pads, device=self.device)
        for k in (0, 1):
            at = torch.arange(sides[k], device=self.device)[None, :] - pad[:, k, None]
            index.append(torch.minimum(at.clamp(min=0), self.sizes[:, k, None] - 1))
        each = torch.arange(self.count, device=self.device)[:, None, None]
        padded = picture.permute(0, 2, 3, 1)[each, index[0][:, :, None], index[1][:, None, :]]
        quality = torch.as_tensor([jpeg.quality if jpeg else 100 for jpeg in jpegs], device=self.device)
        again = compressed(padded.permute(0, 3, 1, 2), quality).permute(0, 2, 3, 1)
        rows, columns = (
            (torch.arange(self.size_hw[k], device=self.device)[None, :] + pad[:, k, None]) for k in (0, 1)
        )
        again = again[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        linear = self._of(linear_of_byte())
        change = linear[again.int()] - linear[picture.int()]
        stored = self._of(np.array([float(jpeg is not None) for jpeg in jpegs]))
        return change * stored[:, None, None, None]

    def _take(
        self, picture: Tensor, mask: Tensor, strap: Tensor, amodal: Tensor, shadow: Tensor
    ) -> list[Drawn]:
        pictures = picture.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        alphas = [
            torch.round(one * _ALPHA_STEPS).int().cpu().numpy().astype(np.uint16)
            for one in (mask, strap, amodal)
        ]
        dark = torch.round(shadow * 255).to(torch.uint8).cpu().numpy()
        drawn = []
        for k, box in enumerate(self.boxes):
            cut = (k, slice(0, box[3]), slice(0, box[2]))
            drawn.append(Drawn(box, pictures[cut], alphas[0][cut], alphas[1][cut], alphas[2][cut], dark[cut]))
        return drawn


def _slices(box: Box) -> tuple[slice, slice]:
    x, y, width, height = box
    return slice(y, y + height), slice(x, x + width)


def _composite(photo: Tensor, shadow: Tensor, strap: _Layer, mask: _Layer) -> Tensor:
    # `render.composite`.
    device = photo.device
    linear = torch.as_tensor(linear_of_byte(), device=device)[photo.int()] * (1.0 - shadow)[:, None]
    for layer in (strap, mask):
        linear = linear + layer.opacity[:, None] * (layer.colour - linear)
    codes = torch.as_tensor(byte_of_linear(), device=device)
    drawn = codes[(linear.clamp(0, 1) * 65535 + 0.5).int()]
    touched = (mask.alpha > 0) | (strap.alpha > 0) | (shadow > 0)
    return torch.where(touched[:, None], drawn, photo)
