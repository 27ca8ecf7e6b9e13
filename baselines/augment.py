"""Random changes of a training crop; pure functions of arrays and a NumPy generator."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from baselines.crops import Window

AugmentKind = Literal["crop", "turn", "colour", "camera"]
"""Where the window lies; mirroring and turning; colours; resolution, blur, noise and JPEG."""

RgbImage = npt.NDArray[np.uint8]
LabelMap = npt.NDArray[np.uint8]

# Ranges are ours. Datasets cut faces very differently, from brow-to-chin to head-and-shoulders, and a network
# trained at one scale fails at another (IoU .53 to .30 on real pairs after adding 40 % border): hence wide.
SCALE_RANGE = (0.65, 1.4)  # of the window's side
SHIFT_SHARE = 0.12  # of the window's side, each way
ROTATION_DEG = 20.0
FLIP_CHANCE = 0.5
ROTATION_CHANCE = 0.5
COLOUR_CHANCE = 0.8
COARSE_CHANCE = 0.4
BLUR_CHANCE = 0.2
NOISE_CHANCE = 0.2
JPEG_CHANCE = 0.3
GAIN_RANGE = (0.6, 1.5)  # contrast around the mean
BIAS_RANGE = (-40.0, 40.0)  # brightness, grey levels
TINT_RANGE = (0.75, 1.3)  # per channel: white balance
# Published face crops are often small faces enlarged (MFSD: faces of 40 pixels and more, all stored at 250).
MOST_COARSE = 5.0
LEAST_SIDE_PX = 24
BLUR_SIGMA_PX = (0.3, 1.5)
NOISE_SIGMA = (1.0, 8.0)  # grey levels
# New cloth: a print is a part of the same picture, enlarged and turned, in the light of the old cloth.
PRINT_CHANCE = 0.6  # else one colour
PRINT_ZOOM = (0.6, 3.0)
PRINT_GAIN = (0.7, 1.2)
PRINT_STRENGTH = (0.5, 1.0)
DYE_STRENGTH = (0.5, 1.0)
SHADING_RANGE = (0.5, 1.6)  # of the cloth's mean brightness
CLOTH_RIM_PX = 0.7  # Gaussian over which new cloth ends
JPEG_QUALITY = (40, 95)


def jittered_window(window: Window, rng: np.random.Generator) -> Window:
    """The window grown or shrunk and moved a little, as a less lucky detector would give it."""
    side = max(round(window.side * rng.uniform(*SCALE_RANGE)), 1)
    shift_x, shift_y = rng.uniform(-SHIFT_SHARE, SHIFT_SHARE, 2) * window.side
    centre_x = window.x0 + window.side / 2 + shift_x
    centre_y = window.y0 + window.side / 2 + shift_y
    return Window(round(centre_x - side / 2), round(centre_y - side / 2), side)


def augmented(
    rgb: RgbImage, labels: LabelMap, rng: np.random.Generator, without: Collection[AugmentKind] = ()
) -> tuple[RgbImage, LabelMap]:
    """A crop and its labels, changed together where geometry changes.

    Args:
        rgb: (S, S, 3) uint8.
        labels: (S, S) uint8 class numbers; no new number appears.
        rng: decides everything.
        without: what is left out.
    """
    if "turn" not in without:
        rgb, labels = _moved(rgb, labels, rng)
    if "colour" not in without and rng.random() < COLOUR_CHANCE:
        rgb = _recoloured(rgb, rng)
    if "camera" not in without:
        rgb = _photographed(rgb, rng)
    return np.ascontiguousarray(rgb), np.ascontiguousarray(labels)


def reclothed(rgb: RgbImage, cloth: npt.NDArray[np.bool_], rng: np.random.Generator) -> RgbImage:
    """The crop with another print or dye on the cloth, whose shading and outline stay.

    Rendered designs have a few hundred looks; people wear anything.

    Args:
        rgb: (S, S, 3) uint8.
        cloth: (S, S) bool; nothing outside changes but a rim of about a pixel.
        rng: decides everything.
    """
    if not cloth.any():
        return rgb
    values = rgb.astype(np.float32)
    brightness = values.mean(axis=2)
    mean = max(float(brightness[cloth].mean()), 8.0)
    if rng.random() < PRINT_CHANCE:
        shading = np.clip(brightness / mean, *SHADING_RANGE)
        shading = cv2.GaussianBlur(shading, (0, 0), max(rgb.shape[0] / 40, 0.5))[..., None]
        share = rng.uniform(*PRINT_STRENGTH)
        look = _another_part(values, rng) * shading * rng.uniform(*PRINT_GAIN) * share + values * (1 - share)
    else:
        share = rng.uniform(*DYE_STRENGTH)
        look = values * (1 - share + share * rng.uniform(0.0, 255.0, 3) / mean)
    rim = cv2.GaussianBlur(cloth.astype(np.float32), (0, 0), CLOTH_RIM_PX)[..., None]
    changed: RgbImage = (values + (look - values) * rim).clip(0, 255).astype(np.uint8)
    return changed


def _another_part(values: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    side = values.shape[0]
    centre = (rng.uniform(0, side), rng.uniform(0, side))
    turn = cv2.getRotationMatrix2D(centre, rng.uniform(-180, 180), rng.uniform(*PRINT_ZOOM))
    turn[:, 2] += rng.uniform(-side / 2, side / 2, 2)
    mirror = cv2.BORDER_REFLECT_101
    moved = cv2.warpAffine(values, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=mirror)
    return np.asarray(moved, dtype=np.float32)


def _photographed(rgb: RgbImage, rng: np.random.Generator) -> RgbImage:
    if rng.random() < COARSE_CHANCE:
        rgb = _coarsened(rgb, rng)
    elif rng.random() < BLUR_CHANCE:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(*BLUR_SIGMA_PX)), dtype=np.uint8)
    if rng.random() < NOISE_CHANCE:
        noise = rng.normal(0.0, rng.uniform(*NOISE_SIGMA), rgb.shape)
        rgb = (rgb + noise).clip(0, 255).astype(np.uint8)
    if rng.random() < JPEG_CHANCE:
        rgb = _recompressed(rgb, int(rng.integers(*JPEG_QUALITY)))
    return rgb


def _moved(rgb: RgbImage, labels: LabelMap, rng: np.random.Generator) -> tuple[RgbImage, LabelMap]:
    if rng.random() < FLIP_CHANCE:
        rgb, labels = np.ascontiguousarray(rgb[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
    if rng.random() < ROTATION_CHANCE:
        side = rgb.shape[0]
        centre = ((side - 1) / 2, (side - 1) / 2)
        turn = cv2.getRotationMatrix2D(centre, rng.uniform(-ROTATION_DEG, ROTATION_DEG), 1.0)
        mirror = cv2.BORDER_REFLECT_101
        rgb = np.asarray(
            cv2.warpAffine(rgb, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=mirror), dtype=np.uint8
        )
        labels = np.asarray(
            cv2.warpAffine(labels, turn, (side, side), flags=cv2.INTER_NEAREST, borderMode=mirror),
            dtype=np.uint8,
        )
    return rgb, labels


def _recoloured(rgb: RgbImage, rng: np.random.Generator) -> RgbImage:
    values = rgb.astype(np.float32)
    mean = values.mean()
    gain, bias = rng.uniform(*GAIN_RANGE), rng.uniform(*BIAS_RANGE)
    tint = rng.uniform(*TINT_RANGE, size=3).astype(np.float32)
    changed: RgbImage = (((values - mean) * gain + mean + bias) * tint).clip(0, 255).astype(np.uint8)
    return changed


def _coarsened(rgb: RgbImage, rng: np.random.Generator) -> RgbImage:
    # A small picture of a face, half of the time a JPEG, enlarged again.
    side = rgb.shape[0]
    factor = np.exp(rng.uniform(0.0, np.log(MOST_COARSE)))
    small_side = max(round(side / factor), min(LEAST_SIDE_PX, side))
    small = np.asarray(
        cv2.resize(rgb, (small_side, small_side), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )
    if rng.random() < 0.5:
        small = _recompressed(small, int(rng.integers(*JPEG_QUALITY)))
    enlarge = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(small, (side, side), interpolation=enlarge), dtype=np.uint8)


def _recompressed(rgb: RgbImage, quality: int) -> RgbImage:
    _, encoded = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: RgbImage = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return decoded
