"""The prelabel stage: a model proposes masks for samples that nobody has labelled.

Proposals are marked "model:<name>@<version>" and never ground truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from annotation.prelabel.augment import Augmented
from annotation.prelabel.calibrate import NO_CALIBRATION, Calibration, calibrate
from annotation.prelabel.masks import expected_iou, proposal_masks
from annotation.prelabel.proposer import CONFIDENCE_FROM, DISAGREEMENT, Proposal, Proposer
from annotation.prelabel.settings import NONE, PrelabelSettings
from dataset_tools.core.images import ImageStore
from dataset_tools.core.masks import mask_to_rle
from dataset_tools.core.progress import Progress, ProgressFactory, silent
from dataset_tools.core.record import Instance, Rejection, Sample, sorted_pairs
from dataset_tools.core.stage import each


class PrelabelStage:
    """Adds proposals to unlabelled samples; labelled ones pass untouched.

    Args:
        settings: which model, and what is kept.
        seed: of the run; only the choice of pictures to calibrate on is random.
        proposer: the model; by default the baseline that `settings.checkpoint` names.
        calibration: of the proposer's confidence, from `calibrate`; None: not made. A label without a curve
            takes the one that the proposer brings along, if it does.

    Raises:
        DataError: the checkpoint is not one.
    """

    name = "prelabel"
    version = "2"
    parallel = True

    def __init__(
        self,
        settings: PrelabelSettings,
        seed: int,
        proposer: Proposer | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.calibration = calibration
        if proposer is None and settings.checkpoint != NONE:
            from annotation.prelabel.from_baseline import open_proposer

            proposer = open_proposer(settings)
        if proposer is not None and settings.test_time_augment:
            proposer = Augmented(proposer)
        self.proposer = proposer

    @property
    def config(self) -> dict[str, Any]:
        """The thresholds, the model by its weights and all of the calibration.

        Neither the checkpoint's folder nor the device decides the rows.
        """
        values = self.settings.model_dump(mode="json", exclude={"checkpoint", "device"})
        if self.proposer is None:
            return values | {"model": "", "weights_sha256": "", "calibration": None}
        return values | {
            "model": f"{self.proposer.name}@{self.proposer.version}",
            "weights_sha256": str(getattr(self.proposer, "weights_sha256", "")),
            "calibration": None if self.rating is None else self.rating.summary(),
        }

    @property
    def rating(self) -> Calibration | None:
        """All that is known of the proposer's confidence: the calibration, and what it brings along."""
        brought: Calibration = getattr(self.proposer, "calibration", NO_CALIBRATION)
        if not brought.curves:
            return self.calibration
        return (self.calibration or NO_CALIBRATION).backed_by(brought)

    @property
    def needs_calibration(self) -> bool:
        """True when the settings ask for a calibration and it has not been made."""
        return self.proposer is not None and self.settings.calibrate_on > 0 and self.calibration is None

    def calibrate(
        self, samples: Iterable[Sample], images: ImageStore, progress: ProgressFactory = silent
    ) -> Calibration:
        """Make the calibration of this stage's model; see `calibrate.calibrate`.

        Args:
            samples: the manifest before this stage.
            images: picture store of the workspace.
            progress: opens the progress display.
        """
        if self.proposer is None:
            return NO_CALIBRATION
        return calibrate(
            self.proposer,
            samples,
            images,
            limit=self.settings.calibrate_on,
            seed=self.seed,
            min_area_px=self.settings.min_area_px,
            progress=progress,
        )

    def plan(self, samples: Iterable[Sample]) -> None:
        """Nothing to look at beforehand."""

    def run(
        self, items: Sequence[Sample], *, plan: None, images: ImageStore, progress: Progress
    ) -> Iterator[Sample | Rejection]:
        """Propose for one shard."""
        yield from each(items, self.name, lambda sample: self._handle(sample, images), progress)

    def _handle(self, sample: Sample, images: ImageStore) -> Iterator[Sample]:
        if sample.is_labelled or self.proposer is None:
            yield sample
            return
        rgb = images.read(sample.image)
        (proposals,) = self.proposer.propose([rgb], [[face.box_xyxy for face in sample.faces]])
        drawn_by = f"model:{self.proposer.name}@{self.proposer.version}"
        kept = tuple(item for item in sample.instances if not item.is_proposal)
        added = proposal_instances(proposals, drawn_by, self.settings, self.rating or NO_CALIBRATION)
        yield replace(sample, instances=kept + added)


def proposal_instances(
    proposals: Sequence[Proposal],
    drawn_by: str,
    settings: PrelabelSettings,
    calibration: Calibration = NO_CALIBRATION,
) -> tuple[Instance, ...]:
    """Probability maps as instances; holes stay, and no pixel goes to two faces under one label.

    Args:
        proposals: of one picture.
        drawn_by: "model:<name>@<version>".
        settings: what is too small or too unsure.
        calibration: turns the IoU that the model expects into confidence.
    """
    instances = []
    for proposal, mask in zip(proposals, proposal_masks(proposals), strict=True):
        confidence, kind = calibration.rate(proposal.label, expected_iou(proposal.probability, mask))
        if int(mask.sum()) < settings.min_area_px or confidence < settings.min_confidence:
            continue
        notes = {CONFIDENCE_FROM: kind}
        if proposal.disagreement is not None:
            notes[DISAGREEMENT] = f"{proposal.disagreement:.4f}"
        where = "picture" if proposal.face < 0 else f"face{proposal.face}"
        instances.append(
            Instance(
                id=f"proposal-{where}-{proposal.label.value}",
                label=proposal.label,
                mask=mask_to_rle(mask),
                drawn_by=drawn_by,
                confidence=confidence,
                face=proposal.face,
                attributes=sorted_pairs(notes),
            )
        )
    return tuple(instances)
