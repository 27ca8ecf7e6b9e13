"""A trained Faster or Mask R-CNN on the pictures of a manifest, as a card (MISA, figure 9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from baselines.checkpoint import RECORD_FILE, read_record, read_seen
from baselines.detection.faster_rcnn import BoxDetector, load_detector, read_detector_record
from baselines.detection.pictures import list_pictures
from baselines.detection.scoring import Find, ScoredDetector, score_detector
from baselines.detection.settings import Truth
from baselines.evaluate import leaked_samples
from baselines.models import find_spec
from baselines.networks.rcnn import InstanceSegmenter
from baselines.predict import load_network
from baselines.registry import Fidelity
from baselines.segmenter import choose_device, device_name
from baselines.tasks import RunFacts, TaskCard
from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Split

_OWN_FIELD = "best_val_ap50"  # only records of Faster R-CNN have it
_PRINTED_REMARK = (
    "figure 9 prints no number; its text has Faster R-CNN (also called Fast R-CNN there) more than .02 below "
    "'close to' .95, the abstract says above .98"
)


def score_checkpoint(
    checkpoint_dir: Path,
    manifest: Manifest,
    images: ImageStore,
    split: Split,
    board_dir: Path,
    *,
    allow_leaks: bool = False,
    device: str = "auto",
    progress: ProgressFactory = silent,
) -> TaskCard:
    """Score the boxes of a trained Faster R-CNN, or of a Mask R-CNN row, on whole pictures.

    Args:
        checkpoint_dir: of `faster_rcnn.train_detector`, or of `train` with a row of the Mask R-CNN family.
        manifest: pictures with true boxes.
        images: picture store of the manifest's workspace.
        split: which samples.
        board_dir: gets the card and its table.
        allow_leaks: score although training saw some of these samples.
        device: "auto" takes the GPU when there is one.
        progress: opens the progress display.

    Raises:
        DataError: no such checkpoint, no picture with known boxes, or (unless `allow_leaks`) training saw a
            scored picture or its kin.
        ConfigError: the checkpoint finds no boxes, or no such device.
    """
    find, who, truth = _faster_rcnn(checkpoint_dir, device) or _mask_rcnn(checkpoint_dir, device)
    pictures = list_pictures(manifest.samples(), split, truth)
    leaked = leaked_samples(pictures, read_seen(checkpoint_dir))
    if leaked and not allow_leaks:
        raise DataError(
            f"training saw {len(leaked)} of the samples to score, or their relatives (first {leaked[0]}); "
            "score another split, or allow leaks"
        )
    return score_detector(
        find,
        who,
        pictures,
        images,
        board_dir,
        dataset=manifest.title,
        dataset_digest=manifest.canonical_digest(),
        split=split.value,
        progress=progress,
    )


def _faster_rcnn(folder: Path, device: str) -> tuple[Find, ScoredDetector, Truth] | None:
    path = folder / RECORD_FILE
    if not path.exists() or _OWN_FIELD not in path.read_text():
        return None
    record = read_detector_record(folder)
    detector = load_detector(folder, device)
    is_paper = record.settings.body == "resnest101e"
    who = ScoredDetector(
        baseline="fasterrcnn_rs101" if is_paper else f"fasterrcnn_{record.settings.body}",
        title="Faster R-CNN, ResNeSt-101" if is_paper else f"Faster R-CNN, {record.settings.body}",
        fidelity=Fidelity.FROM_TEXT.value,
        version=record.version,
        parameters=record.parameters,
        device=device_name(detector.device),
        training=record.facts,
        printed_table="MISA, figure 9",
        printed_remark=_PRINTED_REMARK,
    )
    return detector.find, who, record.settings.truth


def _mask_rcnn(folder: Path, device: str) -> tuple[Find, ScoredDetector, Truth]:
    record = read_record(folder)
    network: Any = load_network(folder)
    network = getattr(network, "coarse", network)
    if not isinstance(network, InstanceSegmenter):
        raise ConfigError(f"{folder}: {record.baseline} finds no boxes")
    chosen = choose_device(device)
    labels = tuple(label.value for label in record.settings.labels)
    body = network.detector.to(memory_format=torch.channels_last).to(chosen)
    detector = BoxDetector(body, labels, record.settings.input_px, chosen)
    spec = find_spec(record.baseline)
    facts = RunFacts(
        data=record.dataset_name,
        data_digest=record.dataset_digest,
        items=record.crops,
        steps=record.steps,
        seconds=record.seconds,
        device=record.device,
        initial_weights=record.initial_weights,
        seed=record.settings.seed,
        settings=record.settings.model_dump(mode="json"),
    )
    who = ScoredDetector(
        baseline=record.baseline,
        title=spec.title,
        fidelity=spec.fidelity.value,
        version=record.version,
        parameters=sum(one.numel() for one in network.parameters()),
        device=device_name(chosen),
        training=facts,
        printed_table="MISA, figure 9",
        printed_remark=_PRINTED_REMARK,
    )
    return detector.find, who, "objects"
