"""How far the default proposer gets on real faces: the goals it was made for, measured.

    uv run python benchmarks/proposer_goals.py --images DIR --masks DIR [--parsing DIR] [--bare DIR]
        [--checkpoint DIR] [--steps N] [--work DIR]

`--images` and `--masks` hold real masked faces and their masks of the same names (255 = mask, threshold 127);
`--parsing` holds image/ and mask/ with class numbers of CelebAMask-HQ; `--bare` photos of faces without masks
that the model has not learned from. Fine-tuning takes half of the labelled faces, scores the others, and the
other way round. A false mask is a proposal that pre-labelling would keep.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import machine
import numpy as np
from PIL import Image

from annotation.prelabel.calibrate import rank_correlation
from annotation.prelabel.from_baseline import BaselineProposer
from annotation.prelabel.masks import expected_iou, proposal_masks
from annotation.prelabel.settings import PrelabelSettings
from annotation.prelabel.stage import proposal_instances
from baselines.checkpoint import read_record
from baselines.statistics import Interval, mean_interval
from baselines.train import train
from dataset_tools.config import BuildConfig, resolve_config
from dataset_tools.core.files import digest_json
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.masks import union
from dataset_tools.core.record import Sample, Split
from dataset_tools.core.seeds import derive_seed
from dataset_tools.core.settings import parse_settings
from dataset_tools.filter.faces import by_size, joined, pair_up
from dataset_tools.filter.models import load_finder
from dataset_tools.filter.settings import FilterSettings
from dataset_tools.pipeline import Pipeline
from dataset_tools.weights.shipped import shipped_proposer

# Skin and what lies within the oval of a face; no ears, neck, hair, hat, spectacles.
FACE_PARTS = (1, 2, 4, 5, 6, 7, 10, 11, 12)
WELL = 0.95  # a proposal of this IoU is left as it is
LEARNING_RATE = 3e-4
KEPT = PrelabelSettings()
FINDING = FilterSettings(min_face_px=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, needed in (("images", True), ("masks", True), ("parsing", False), ("bare", False)):
        parser.add_argument(f"--{name}", type=Path, required=needed)
    parser.add_argument("--checkpoint", type=Path, default=shipped_proposer())
    parser.add_argument("--steps", type=int, default=200, help="of each fine-tuning; 0 for none (200)")
    parser.add_argument("--work", type=Path, default=Path("goals"))
    asked = parser.parse_args()
    proposer = BaselineProposer(asked.checkpoint, "cpu")
    manifest, build = opened(asked.images, asked.masks, asked.work / "pairs")
    faces = list(manifest.samples())
    found = [rated(proposer, face, build.workspace.images.read(face.image)) for face in faces]
    ious = [one.iou for one in found]
    rows = [("mask, synthetic labels only", shown(interval(ious)), len(ious), "≥ 0.90")]
    rank = rank_correlation([one.confidence for one in found], ious)
    rows.append(("confidence against IoU, Spearman", f"{rank:.3f}", len(ious), "≥ 0.6"))
    well = float(np.mean([one >= WELL for one in ious]))
    rows.append((f"proposals of IoU ≥ {WELL}", f"{well:.1%}", len(ious), "≥ 80 %"))
    if asked.steps:
        tuned = fine_tuned(asked.checkpoint, build, manifest, asked.steps, asked.work)
        rows.append(("mask, half of them for fine-tuning", shown(interval(tuned)), len(tuned), "≥ 0.95"))
    if asked.parsing:
        parts = face_ious(proposer, asked.parsing)
        rows.append(("face on CelebAMask-HQ", shown(interval(parts)), len(parts), "≥ 0.90"))
    if asked.bare:
        false, count = false_masks(proposer, asked.bare)
        rows.append(("bare faces with a mask proposed", f"{false / count:.1%}", count, "≤ 2 %"))
    record = read_record(asked.checkpoint)
    about = machine.describe()
    text = [
        "# The default proposer on real faces",
        "",
        f"{proposer.name}@{proposer.version}, {record.crops} rendered crops; last training "
        f"{record.steps} steps, {record.seconds / 60:.0f} min on {record.device}. Means "
        "over pictures with 95 % intervals; "
        f"fine-tuning {asked.steps} steps at {LEARNING_RATE:g}.",
        "",
        *machine.table(["measure", "found", "pictures", "goal"], rows),
    ]
    figures = [dict(zip(("measure", "found", "pictures", "goal"), row, strict=True)) for row in rows]
    machine.write("proposer_goals", {"machine": about, "rows": figures, "ious": ious}, text)


@dataclass(frozen=True)
class Found:
    """IoU of the proposed mask with the true one, and the confidence the proposal had (0 for none)."""

    iou: float
    confidence: float


def rated(proposer: BaselineProposer, face: Sample, rgb: np.ndarray) -> Found:
    """What pre-labelling proposes for a face crop, unfiltered, against its label."""
    (proposals,) = proposer.propose([rgb], [()])
    masks = proposal_masks(proposals)
    truth = union((one.mask for one in face.instances if one.label is Label.FACE_MASK), face.image.size_hw)
    for proposal, mask in zip(proposals, masks, strict=True):
        if proposal.label is Label.FACE_MASK:
            sure, _ = proposer.calibration.rate(proposal.label, expected_iou(proposal.probability, mask))
            return Found(iou(mask, truth), sure)
    return Found(0.0, 0.0)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def opened(images: Path, masks: Path, work: Path) -> tuple[Manifest, Pipeline]:
    source = {"type": "pairs", "name": "test", "images": str(images.resolve()), "masks": str(masks.resolve())}
    values = {
        "name": "goals",
        "workspace": str(work.resolve()),
        "crawl": {
            "contact": "benchmark@example.org",
            "sources": [{**source, "licence": "LicenseRef-benchmark"}],
        },
    }
    build = Pipeline(resolve_config(parse_settings(BuildConfig, values, "goals"), Path.cwd()))
    build.run("crawl")
    return build.manifest("crawl"), build


def fine_tuned(
    checkpoint: Path, build: Pipeline, manifest: Manifest, steps: int, work: Path
) -> Sequence[float]:
    """IoU of every face by the model that learned from the other half."""
    samples = list(manifest.samples())
    order = sorted(samples, key=lambda one: derive_seed(0, one.group, "half"))
    halves = [{one.id for one in order[::2]}, {one.id for one in order[1::2]}]
    settings = read_record(checkpoint).settings
    tuning = settings.model_copy(
        update={
            "start_from": checkpoint.resolve(),
            "start_sha256": "",
            "samples": "real",
            "crop": settings.crop.model_copy(update={"kind": "image"}),
            "split": Split.TRAIN,
            "steps": steps,
            "epochs": None,
            "learning_rate": LEARNING_RATE,
            "val_every_steps": steps,
        }
    )
    found = []
    for number, half in enumerate(halves):
        learned = [replace(one, split=Split.TRAIN) for one in samples if one.id in half]
        out = work / f"tuned-{number}"
        train(tuning, listed(learned, work / f"half-{number}"), build.workspace.images, out)
        tuned = BaselineProposer(out, "cpu")
        others = [one for one in samples if one.id not in half]
        found += [rated(tuned, one, build.workspace.images.read(one.image)).iou for one in others]
    return found


def listed(samples: Sequence[Sample], folder: Path) -> Manifest:
    """Samples as a manifest of their own."""
    key = digest_json(sorted(sample.id for sample in samples))
    keys = [sample.provenance.item_key for sample in samples]
    counts = write_shard(folder, 0, keys, samples, ())
    header = {"stage": "half", "key": key, "parent": "", "shards": 1, "counts": asdict(counts)}
    return write_header(folder, header)


def face_ious(proposer: BaselineProposer, folder: Path) -> list[float]:
    """IoU of the face on portraits with parts, around the box that the detector finds."""
    found = []
    for path in sorted((folder / "image").iterdir()):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        parts = np.asarray(Image.open(folder / "mask" / f"{path.stem}.png"))
        (proposals,) = proposer.propose([rgb], [boxes_of(rgb)[:1]])
        masks = proposal_masks(proposals)
        guesses = [mask for one, mask in zip(proposals, masks, strict=True) if one.label is Label.FACE]
        found.append(iou(guesses[0], np.isin(parts, FACE_PARTS)) if guesses else 0.0)
    return found


def false_masks(proposer: BaselineProposer, folder: Path) -> tuple[int, int]:
    """Faces for which pre-labelling would propose a mask, and all faces that were found."""
    false = count = 0
    for path in sorted(one for one in folder.rglob("*") if one.suffix.lower() in (".jpg", ".png")):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        boxes = boxes_of(rgb)
        if not boxes:
            continue
        (proposals,) = proposer.propose([rgb], [boxes])
        kept = proposal_instances(proposals, "model:benchmark", KEPT, proposer.calibration)
        masked = {one.face for one in kept if one.label is Label.FACE_MASK}
        false, count = false + len(masked), count + len(boxes)
    return false, count


def boxes_of(rgb: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Faces as the filter leaves them, the largest first."""
    faces = [one.face for one in load_finder(FINDING).candidates(rgb)]
    found = [joined(faces, pair) for pair in pair_up(faces, FINDING.min_score)]
    return [face.box_xyxy for face in sorted(found, key=by_size)]


def interval(values: Sequence[float]) -> Interval:
    return mean_interval(values, range(len(values)))


def shown(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    main()
