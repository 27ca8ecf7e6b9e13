"""The suite's own face-mask detector: AIZOO's network with weights that were learned from rendered masks.

The weights come with the package: half-precision convolutions as safetensors and a JSON record beside them
(`baselines.ssd` writes both). OpenCV runs them as it runs AIZOO's: the Caffe network is put together in
memory. Besides masked and unmasked it knows masks that are worn wrongly.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_tools.core.anchors import ANCHORS_PER_CELL, BOX_NUMBERS, GRID_SIDES, INPUT_SIDE_PX
from dataset_tools.core.errors import DataError
from dataset_tools.core.images import RgbImage
from dataset_tools.core.labels import Wearing
from dataset_tools.filter.aizoo import OUTPUTS, DetectedFace, run_network
from dataset_tools.filter.slim_caffe import caffemodel

SHIPPED_WEIGHTS = (
    Path(__file__).resolve().parents[1] / "weights" / "shipped" / "detector" / "detector.safetensors"
)
NAME = "maskset-ssd260"

_WIDTHS = (32, 64, 64, 64, 128, 128, 64, 64)  # of the eight convolutions of the backbone
_POOLED_AFTER = 6  # the first so many
_HEAD_WIDTH = 64
_VERSION_DIGITS = 12

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DetectorFacts:
    """What the record says of the weights: `name@version`, and wearing states in the order of the scores."""

    name: str
    sha256: str
    classes: tuple[Wearing, ...]

    @property
    def version(self) -> str:
        """The first digits of the weights' SHA-256."""
        return self.sha256[:_VERSION_DIGITS]


class DefaultDetector:
    """The network, run by OpenCV on the CPU.

    Args:
        weights: `*.safetensors` with its record `*.json` beside it; the shipped ones when left out.

    Raises:
        DataError: a file is missing or damaged.
    """

    def __init__(self, weights: Path = SHIPPED_WEIGHTS) -> None:
        import cv2

        facts = read_facts(weights)
        layers = _read_layers(weights, facts)
        text = prototxt(len(facts.classes)).encode()
        try:
            self._network: Any = cv2.dnn.readNetFromCaffe(
                np.frombuffer(text, np.uint8), np.frombuffer(caffemodel(layers), np.uint8)
            )
        except cv2.error as error:
            raise DataError(f"{weights}: OpenCV cannot build the network: {error.err}") from None
        self._classes = facts.classes
        self.name = f"{facts.name}@{facts.version}"

    def detect(self, image_rgb: RgbImage, min_score: float = 0.5) -> tuple[DetectedFace, ...]:
        """Faces of a (H, W, 3) uint8 RGB picture, best score first."""
        return run_network(self._network, image_rgb, min_score, self._classes)


def read_facts(weights: Path) -> DetectorFacts:
    """The record beside a file of weights, after the file was checked against it.

    Raises:
        DataError: a file is missing or damaged.
    """
    record = weights.with_suffix(".json")
    try:
        held = json.loads(record.read_bytes())
        facts = DetectorFacts(
            str(held["name"]), str(held["sha256"]), tuple(Wearing(one) for one in held["classes"])
        )
        found = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"the detector's file {error.filename} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{record} is no record of a detector ({type(error).__name__}: {error})") from None
    if found != facts.sha256:
        raise DataError(
            f"{weights} is damaged: its SHA-256 begins with {found[:_VERSION_DIGITS]}, its record says "
            f"{facts.version}; install maskset again, or train the detector again"
        )
    return facts


def _read_layers(weights: Path, facts: DetectorFacts) -> dict[str, tuple[_Floats, _Floats]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(weights)
        found = {
            name: (tensors[f"{name}.weight"].astype(np.float32), tensors[f"{name}.bias"].astype(np.float32))
            for name in _shapes(len(facts.classes))
        }
    except (SafetensorError, OSError, KeyError) as error:
        raise DataError(f"{weights} holds no weights of this detector: {error}") from None
    for name, shape in _shapes(len(facts.classes)).items():
        if found[name][0].shape != shape or found[name][1].shape != shape[:1]:
            raise DataError(f"{weights}: layer {name} is {found[name][0].shape}, not {shape}")
    return found


@functools.cache
def _shapes(classes: int) -> dict[str, tuple[int, int, int, int]]:
    inputs = (3, *_WIDTHS[:-1])
    shapes = {
        f"conv2d_{index}": (width, before, 3, 3)
        for index, (width, before) in enumerate(zip(_WIDTHS, inputs, strict=True))
    }
    for level, width in enumerate(_WIDTHS[-len(GRID_SIDES) :]):
        for branch, numbers in (("cls", classes), ("loc", BOX_NUMBERS)):
            shapes[f"{branch}_{level}_insert_conv2d"] = (_HEAD_WIDTH, width, 3, 3)
            shapes[f"{branch}_{level}_conv"] = (ANCHORS_PER_CELL * numbers, _HEAD_WIDTH, 3, 3)
    return shapes


def prototxt(classes: int) -> str:
    """The network in Caffe's words, layers named as in AIZOO's published file."""
    last = len(_WIDTHS) - 1
    lines = [f'input: "data" input_dim: 1 input_dim: 3 input_dim: {INPUT_SIDE_PX} input_dim: {INPUT_SIDE_PX}']
    below = "data"
    for index, width in enumerate(_WIDTHS):
        name = f"conv2d_{index}"
        lines += _convolution(name, below, width, pad=0 if index == last else 1, is_rectified=True)
        below = name
        if index < _POOLED_AFTER:
            below = f"maxpool2d_{index}"
            rule = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
            lines.append(_layer(below, "Pooling", [name], below, rule))
    ends: dict[str, list[str]] = {"cls": [], "loc": []}
    for level in range(len(GRID_SIDES)):
        features = f"conv2d_{len(_WIDTHS) - len(GRID_SIDES) + level}"
        for branch, numbers in (("cls", classes), ("loc", BOX_NUMBERS)):
            stem, insert = f"{branch}_{level}", f"{branch}_{level}_insert_conv2d"
            lines += _convolution(insert, features, _HEAD_WIDTH, pad=1, is_rectified=True)
            lines += _convolution(
                f"{stem}_conv", insert, ANCHORS_PER_CELL * numbers, pad=1, is_rectified=False
            )
            order = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
            lines.append(_layer(f"{stem}_permute", "Permute", [f"{stem}_conv"], f"{stem}_permute", order))
            shape = f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {numbers} }} }}"
            lines.append(_layer(f"{stem}_reshape", "Reshape", [f"{stem}_permute"], f"{stem}_reshape", shape))
            ends[branch].append(f"{stem}_reshape")
        lines.append(_layer(f"cls_{level}_activation", "Sigmoid", [ends["cls"][-1]], ends["cls"][-1]))
    for branch, output in zip(("loc", "cls"), OUTPUTS, strict=True):
        lines.append(_layer(output, "Concat", ends[branch], output, "concat_param { axis: 1 }"))
    return "\n".join(lines) + "\n"


def _convolution(name: str, below: str, width: int, *, pad: int, is_rectified: bool) -> list[str]:
    rule = f"convolution_param {{ num_output: {width} bias_term: true pad: {pad} kernel_size: 3 stride: 1 }}"
    layers = [_layer(name, "Convolution", [below], name, rule)]
    return [*layers, _layer(f"{name}_activation", "ReLU", [name], name)] if is_rectified else layers


def _layer(name: str, kind: str, bottoms: list[str], top: str, rule: str = "") -> str:
    below = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{name}" type: "{kind}" {below} top: "{top}" {rule} }}'
