"""The models of a build: the one that pre-labels, its own or the shipped one, and the configured baseline."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotation.prelabel.settings import DEFAULT
from dataset_tools.config import BuildConfig
from dataset_tools.core.files import digest_json
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory
from dataset_tools.core.record import Sample, Split
from dataset_tools.core.workspace import Workspace

if TYPE_CHECKING:
    from annotation.prelabel.stage import PrelabelStage
    from baselines.data import FreshSamples
    from baselines.settings import TrainSettings
    from dataset_tools.stats.opinions import PredictionReader


@dataclass(frozen=True, slots=True)
class Training:
    """A baseline that was trained and scored.

    Attributes:
        baseline: its registered name.
        checkpoint: folder of the trained weights and their record.
        scored_split: "test", "val", or "" when no labelled sample was held out.
        seconds: wall time of training and scoring.
    """

    baseline: str
    checkpoint: Path
    scored_split: str
    seconds: float


class Models:
    """Trains into the `models` folder of a workspace, each under a digest of what decides it.

    Args:
        config: of the build.
        workspace: of the build; whoever trains holds its lock.
        progress: opens the progress display.
    """

    def __init__(self, config: BuildConfig, workspace: Workspace, progress: ProgressFactory) -> None:
        self._config = config
        self._workspace = workspace
        self._progress = progress

    def train_and_score(self, settings: TrainSettings, manifest: Manifest, board_dir: Path) -> Training:
        """Train a baseline on the train split and score it on test (or val).

        Raises:
            DataError: the train split has no labelled sample.
        """
        from baselines.evaluate import evaluate

        started = time.monotonic()
        checkpoint = self._folder(settings.baseline, settings, manifest.key)
        self._train(settings, manifest, checkpoint)
        labelled = Counter(item.split for item in manifest.samples() if item.is_labelled)
        split = next((name for name in (Split.TEST, Split.VAL) if labelled[name]), None)
        if split is not None:
            evaluate(checkpoint, manifest, self._workspace.images, split, board_dir, progress=self._progress)
        scored = split.value if split is not None else ""
        return Training(settings.baseline, checkpoint, scored, time.monotonic() - started)

    # -- the proposer ---------------------------------------------------------------------------------

    def has_proposer(self, synth_key: str) -> bool:
        """False when pre-labelling waits for a proposer that has not been trained on these samples."""
        return not self._needs_proposer or self._proposer_dir(synth_key).exists()

    def make_ready(self, synth: Manifest) -> None:
        """Train the proposer if one is configured and missing, and compare it with the labelled samples.

        It learns from rendered samples of every split: its proposals are no ground truth.
        """
        from annotation.prelabel.calibrate import write_calibration

        if self._needs_proposer:
            assert self._config.proposer is not None
            settings = self._config.proposer.model_copy(update={"split": Split.UNASSIGNED})
            self._train(settings, synth, self._proposer_dir(synth.key))
        stage = self._uncalibrated_stage(synth.key)
        path = self._calibration_path(stage, synth.key)
        if stage.needs_calibration and not path.exists():
            write_calibration(path, stage.calibrate(synth.samples(), self._workspace.images, self._progress))

    def calibrated_stage(self, synth_key: str) -> PrelabelStage | None:
        """The pre-labelling stage; None when `make_ready` has not run on these samples."""
        from annotation.prelabel.calibrate import read_calibration
        from annotation.prelabel.stage import PrelabelStage

        stage = self._uncalibrated_stage(synth_key)
        if not stage.needs_calibration:
            return stage
        path = self._calibration_path(stage, synth_key)
        if not path.exists():
            return None
        return PrelabelStage(stage.settings, stage.seed, calibration=read_calibration(path))

    @property
    def _needs_proposer(self) -> bool:
        return self._config.prelabel.checkpoint == DEFAULT and self._config.proposer is not None

    def _proposer_dir(self, synth_key: str) -> Path:
        assert self._config.proposer is not None
        return self._folder("proposer", self._config.proposer, synth_key)

    def _uncalibrated_stage(self, synth_key: str) -> PrelabelStage:
        from annotation.prelabel.stage import PrelabelStage

        settings = self._config.prelabel
        if self._needs_proposer:
            settings = settings.model_copy(update={"checkpoint": self._proposer_dir(synth_key)})
        return PrelabelStage(settings, self._config.seed)

    def _calibration_path(self, stage: PrelabelStage, synth_key: str) -> Path:
        values = {"prelabel": stage.config, "data": synth_key, "seed": self._config.seed}
        return self._workspace.root / "models" / f"calibration-{digest_json(values)[:12]}.json"

    # -- both -----------------------------------------------------------------------------------------

    def _folder(self, name: str, settings: TrainSettings, data_key: str) -> Path:
        values = {"train": _training_values(settings), "data": data_key}
        return self._workspace.root / "models" / f"{name}-{digest_json(values)[:12]}"

    def _train(self, settings: TrainSettings, manifest: Manifest, folder: Path) -> None:
        from baselines.train import train

        images, fresh = self._workspace.images, self._fresh_masks(settings, manifest)
        train(settings, manifest, images, folder, progress=self._progress, fresh=fresh)

    def _fresh_masks(self, settings: TrainSettings, manifest: Manifest) -> FreshSamples | None:
        if not settings.fresh_masks:
            return None
        from synth.fresh import FreshMasks
        from synth.stage import SynthStage

        stage = SynthStage(self._config.synth, self._config.seed)
        return FreshMasks(stage, manifest.samples(), self._workspace.images)


def saved_predictions(board_dir: Path) -> PredictionReader | None:
    """What trained models said of photos they were scored on, for the search for wrong labels.

    Rendered pictures are left out: their labels are exact, so a doubt there is about the model.

    Args:
        board_dir: folder of score cards.

    Returns:
        A reader; None when no card of face masks keeps its predictions.

    Raises:
        DataError: a score card cannot be read.
    """
    from baselines.cards import read_card
    from baselines.data import list_crops
    from baselines.stored import prediction_path, read_prediction
    from dataset_tools.stats.opinions import Prediction

    cards = [read_card(path) for path in sorted(board_dir.glob("*.json"))]
    cards = [card for card in cards if card.label == Label.FACE_MASK and card.predictions]
    if not cards:
        return None

    def read(sample: Sample) -> list[Prediction]:
        if sample.is_synthetic:
            return []
        for card in cards:
            folder = board_dir / card.predictions
            found = [
                Prediction(
                    crop.window.visible_xyxy(crop.image.size_hw),
                    read_prediction(folder, crop, Label.FACE_MASK),
                    f"{card.baseline}@{card.version}",
                )
                for crop in list_crops([sample], card.split, card.crop)
                if prediction_path(folder, crop, Label.FACE_MASK).is_file()
            ]
            if found:
                return found
        return []

    return read


def _training_values(settings: TrainSettings) -> dict[str, Any]:
    """What decides a training, as plain JSON values: the weights it starts from, not where they lie.

    Raises:
        DataError: there is no finished training to start from.
    """
    values = settings.model_dump(mode="json", exclude={"start_from", "start_sha256"})
    if settings.start_from is not None:
        from baselines.checkpoint import read_record

        values["start_sha256"] = read_record(settings.start_from).weights_sha256
    return values
