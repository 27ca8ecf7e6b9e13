"""How the shipped models are made: every choice that decides their weights, beside photos and seed."""

from __future__ import annotations

from types import MappingProxyType

from baselines.settings import CropSettings, TrainSettings
from baselines.ssd.settings import DetectorTraining
from dataset_tools.core.labels import Label
from dataset_tools.core.settings import Settings
from dataset_tools.filter.settings import FilterSettings
from dataset_tools.split.settings import CustomShares, SplitSettings
from synth.designs import DEFAULT_SHARES
from synth.occluders.occluder import OccluderSettings
from synth.settings import SynthSettings

# Photos of validation choose the weights and, without real labelled pictures, calibrate the confidence.
_MOSTLY_TRAINING = SplitSettings(preset="custom", shares=CustomShares(train=0.94, val=0.06, test=0.0))


# Cut-outs of real things, where the command is given a folder of them, and one drawn shape.
CUTOUT_SHARES = MappingProxyType(
    {"hand": 2.0, "object": 2.0, "scarf": 1.5, "sunglasses": 1.0, "eyeglasses": 1.0, "blob": 1.0}
)


# More foam, whose wide loops and holes are hard, and more prints than a crowd wears.
_MASK_TYPES = {**DEFAULT_SHARES, "foam": 0.2, "printed": 0.12, "transparent": 0.03}


class Finish(Settings):
    """How a training goes on with larger pictures, which cost more: most is learned on small ones.

    Attributes:
        steps, input_px, learning_rate: in place of the training's own.
    """

    steps: int
    input_px: int
    learning_rate: float


class ProposerRecipe(Settings):
    """How the model that pre-labels is made of photos of bare faces.

    Attributes:
        filter: which photos and faces are good enough.
        synth: the masks that are rendered onto them.
        split: what is learned from and what the weights are chosen on.
        train: the training; `build-dataset defaults train` puts its own steps, seed and device here.
        finish: what follows it; None: nothing.
        calibrate_on: pictures, at most, that its confidence is compared with.
    """

    filter: FilterSettings
    synth: SynthSettings
    split: SplitSettings
    train: TrainSettings
    finish: Finish | None
    calibrate_on: int


class DetectorRecipe(Settings):
    """How the face-mask detector is made of photos of bare faces.

    Attributes:
        filter: which photos and faces are good enough; the boxes are those it finds.
        synth: the masks that are rendered onto them.
        train: the training; `build-dataset defaults train` puts its own steps and seed here.
    """

    filter: FilterSettings
    synth: SynthSettings
    train: DetectorTraining


# The photos are said to be of bare faces: a detector that takes a badge for a small masked face would only
# keep their photos from being used.
PROPOSER_RECIPE = ProposerRecipe(
    filter=FilterSettings(min_face_px=64, detector="mediapipe"),
    synth=SynthSettings(
        per_face=4, bare=0.2, mask_types=_MASK_TYPES, occluders=OccluderSettings(probability=0.25)
    ),
    split=_MOSTLY_TRAINING,
    train=TrainSettings(
        baseline="fpn_effnet_lite0",
        labels=(Label.FACE_MASK, Label.FACE),
        samples="synthetic",
        steps=3200,
        batch=16,
        input_px=160,
        crop=CropSettings(margin=0.05),
        new_cloth=0.35,
        schedule="cosine",
        val_every_steps=400,
    ),
    finish=Finish(steps=800, input_px=208, learning_rate=4e-4),
    calibrate_on=1000,
)

DETECTOR_RECIPE = DetectorRecipe(
    filter=FilterSettings(min_face_px=64, detector="mediapipe"),
    synth=SynthSettings(per_face=3),
    train=DetectorTraining(),
)
