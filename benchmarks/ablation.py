"""What each part of the default proposer's recipe is worth: trained without it, scored on real faces.

    uv run python benchmarks/ablation.py --photos DIR --images DIR --masks DIR --work DIR
        [--unlabelled DIR] [--steps N] [--px N] [--seeds N] [--only NAME …]

`--photos` holds photos of bare faces, `--images` and `--masks` real masked faces and their masks of the same
names (255 = mask, threshold 127), `--unlabelled` further photos of masked faces, for self-training. Every
line changes one thing of the first; it is trained from the same seeds, for the same number of steps, on
rendered samples alone. The score is the mean IoU of the mask over the labelled faces; its interval is the
bootstrap's over the faces, each averaged over the seeds, and so is that of the difference from the first
line, face by face. Runs that are in `--work` are not made again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
import numpy as np

from annotation.prelabel.settings import PrelabelSettings
from baselines import crops
from baselines.checkpoint import read_record
from baselines.data import Crop, label_mask, list_crops
from baselines.predict import Predictor
from baselines.settings import CropSettings, TrainSettings
from baselines.statistics import Interval, mean_interval
from baselines.train import train
from dataset_tools.config import BuildConfig, resolve_config
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.record import Split
from dataset_tools.core.settings import parse_settings
from dataset_tools.defaults.recipe import PROPOSER_RECIPE
from dataset_tools.pipeline import Pipeline
from synth.designs import DEFAULT_SHARES
from synth.fresh import FreshMasks
from synth.front.ordering import NOTHING
from synth.settings import SynthSettings
from synth.stage import SynthStage

LICENCE = "LicenseRef-benchmark"
PHOTOS = 150  # of the first line
CHILDREN = 2


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        name: what is changed.
        about: the question that it answers.
        synth, train: what is set otherwise than in the recipe.
        photos: bare photos to render on.
        self_training: learn from what the trained first line is sure of on unlabelled masked faces, too.
        flipped: ask about each face mirrored, too, and take the mean.
        of: name of the line whose trained weights are used; "" for its own.
    """

    name: str
    about: str
    synth: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    photos: int = PHOTOS
    self_training: bool = False
    flipped: bool = False
    of: str = ""


FIRST = "recipe"
MORE_OCCLUDERS = {"occluders": {"probability": 0.3}, "bare": 0.3}
SURE = 0.9  # least confidence of a proposal that is learned from
LINES = (
    Line(FIRST, "the recipe, at the size of this table"),
    Line("flat overlay", "MISA's flat halves in place of the mesh", {"method": "halves"}),
    Line("no light", "masks as bright as their cloth", {"light": False}),
    Line("no shadow", "no shadow on the face", {"shadow": False}),
    Line("no camera match", "masks sharper and cleaner than the photo", {"camera": False}),
    Line("nothing in front", "masks over hands, hair and spectacles", {"front": NOTHING}),
    Line("no occluders", "no rendered things in front", {"occluders": {"probability": 0.0}, "bare": 0.0}),
    Line("more occluders", "three tenths bare, as many with something in front", MORE_OCCLUDERS),
    Line("usual designs", "designs as often as a crowd wears them", {"mask_types": dict(DEFAULT_SHARES)}),
    Line("surgical only", "one design", {"mask_types": {"surgical": 1.0}}),
    Line("worn correctly only", "one way to wear it", {"wearing_states": {"correct": 1.0}}),
    Line("no crop jitter", "one window per face", train={"augment_without": ("crop",)}),
    Line("no turning", "neither mirrored nor turned", train={"augment_without": ("turn",)}),
    Line("no colour jitter", "colours as rendered", train={"augment_without": ("colour",)}),
    Line("no camera jitter", "no coarse, blurred, noisy, JPEG crops", train={"augment_without": ("camera",)}),
    Line("no new cloth", "prints and dyes as rendered", train={"new_cloth": 0.0}),
    Line("no augmentation", "none of the five", train={"augment": False, "new_cloth": 0.0}),
    Line("mask alone", "one label in place of two", train={"labels": ("face_mask",)}),
    Line("random start", "no ImageNet weights", train={"pretrained": False}),
    Line("U-Net", "a larger decoder", train={"baseline": "unet_effnet_lite0"}),
    Line("fresh masks", "another mask at every look", train={"fresh_masks": True}),
    Line("50 photos", "a third of the photos", photos=50),
    Line("450 photos", "three times the photos", photos=450),
    Line("self-training", "sure proposals on unlabelled masked faces, too", self_training=True),
    Line("flips", "mirrored look, too, when asked", flipped=True, of=FIRST),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("photos", "images", "masks", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--px", type=int, default=96)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of lines; the first is always run")
    parser.add_argument("--unlabelled", type=Path, help="without it, no self-training")
    asked = parser.parse_args()
    bench = Bench(asked)
    lines = [line for line in LINES if not asked.only or line.name in (FIRST, *asked.only)]
    lines = [line for line in lines if asked.unlabelled or not line.self_training]
    # Seeds in the outer loop, so that a table that was cut short still holds every line.
    for seed in range(asked.seeds):
        for line in lines:
            begun = time.monotonic()
            found = bench.ious(line, seed)
            print(
                f"{line.name}, seed {seed}: {found.mean():.4f} ({time.monotonic() - begun:.0f} s)", flush=True
            )
    report(bench, lines, asked.seeds)


class Bench:
    """The pictures, and the runs made so far."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.work: Path = asked.work
        self.steps: int = asked.steps
        self.px: int = asked.px
        photos: Path = asked.photos
        self._unlabelled: Path | None = asked.unlabelled
        self._photos = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
        source = {"type": "pairs", "name": "test", "images": str(asked.images)}
        pairs = {**source, "masks": str(asked.masks), "licence": LICENCE}
        build = self._build("pairs", [pairs], SynthSettings(per_face=0))
        build.run("crawl")
        self._images = build.workspace.images
        self._faces = list_crops(
            build.manifest("crawl").samples(), Split.UNASSIGNED, CropSettings(kind="image")
        )

    def ious(self, line: Line, seed: int) -> np.ndarray:
        """IoU of every labelled face, trained if need be."""
        path = self.path(line, seed)
        if path.exists():
            return np.load(path)
        trained = next((one for one in LINES if one.name == line.of), line)
        predictor = Predictor.load(self._train(trained, seed), "cpu")
        found = np.array([self._iou(predictor, face, line.flipped) for face in self._faces])
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, found)
        return found

    def path(self, line: Line, seed: int) -> Path:
        """Where what was found is kept."""
        return self.work / "ious" / f"{line.name.replace(' ', '-')}-{self.px}-{self.steps}-{seed}.npy"

    def record(self, line: Line, seed: int) -> Any:
        """What training noted."""
        trained = next((one for one in LINES if one.name == line.of), line)
        return read_record(self._folder(trained, seed))

    def _iou(self, predictor: Predictor, face: Crop, flipped: bool) -> float:
        rgb, channel = self._images.read(face.image), predictor.channel(Label.FACE_MASK)
        square = crops.cut(rgb, face.window)
        squares = [square, np.ascontiguousarray(square[:, ::-1])] if flipped else [square]
        maps = [one[..., channel] for one in predictor.predict_windows(squares)]
        mean = np.mean([maps[0], *(one[:, ::-1] for one in maps[1:])], axis=0)
        guess = crops.visible_part(mean, face.window, face.image.size_hw) >= 0.5
        truth = crops.cut_visible(label_mask(face, Label.FACE_MASK), face.window)
        return float((guess & truth).sum() / max((guess | truth).sum(), 1))

    def _folder(self, line: Line, seed: int) -> Path:
        return self.work / "models" / f"{line.name.replace(' ', '-')}-{self.px}-{self.steps}-{seed}"

    def _train(self, line: Line, seed: int) -> Path:
        synth = SynthSettings.model_validate(
            {**PROPOSER_RECIPE.synth.model_dump(), "per_face": CHILDREN, **line.synth}
        )
        settings = TrainSettings.model_validate(
            {
                **PROPOSER_RECIPE.train.model_dump(),
                "steps": self.steps,
                "epochs": None,
                "input_px": self.px,
                "seed": seed,
                "split": Split.UNASSIGNED,
                "val_every_steps": self.steps,
                "checkpoint_every_steps": self.steps,
                **line.train,
            }
        )
        bare = self._source(line.photos)
        build = self._build(f"photos-{line.photos}", [bare], synth)
        if line.self_training:
            masked = {"type": "folder", "name": "masked", "path": str(self._unlabelled), "licence": LICENCE}
            build = self._build(f"self-{self.px}-{self.steps}-{seed}", [bare, masked], synth)
            # The shipped detector keeps masks off faces that wear one; the recipe's asks for bare photos.
            finding = PROPOSER_RECIPE.filter.model_copy(update={"detector": "default"})
            proposing = PrelabelSettings(checkpoint=self._folder(LINES[0], seed), calibrate_on=0)
            build = Pipeline(build.config.model_copy(update={"filter": finding, "prelabel": proposing}))
            settings = settings.model_copy(update={"samples": "all", "proposals_from": SURE})
        manifest = self._rendered(build)
        fresh = None
        if settings.fresh_masks:
            stage = SynthStage(synth, build.config.seed)
            fresh = FreshMasks(stage, manifest.samples(), build.workspace.images)
        folder = self._folder(line, seed)
        train(settings, manifest, build.workspace.images, folder, fresh=fresh)
        return folder

    @staticmethod
    def _rendered(build: Pipeline) -> Manifest:
        for name in ("crawl", "filter", "synth", "prelabel"):
            build.run(name)
        return build.manifest("prelabel")

    def _source(self, count: int) -> dict[str, Any]:
        """A folder with the first photos of a seeded order."""
        folder = self.work / "sources" / str(count)
        folder.mkdir(parents=True, exist_ok=True)
        order = np.random.default_rng(0).permutation(len(self._photos))
        for index in order[:count]:
            path = self._photos[index]
            link = folder / f"{index}{path.suffix}"
            if not link.exists():
                link.write_bytes(path.read_bytes())
        return {"type": "folder", "name": "bare", "path": str(folder), "licence": LICENCE}

    def _build(self, name: str, sources: list[dict[str, Any]], synth: SynthSettings) -> Pipeline:
        values = {
            "name": "ablation",
            "workspace": str((self.work / name).resolve()),
            "seed": 0,
            "prelabel": {"checkpoint": "none"},
            "crawl": {"contact": "benchmark@example.org", "sources": sources},
        }
        config = resolve_config(parse_settings(BuildConfig, values, "ablation"), Path.cwd())
        return Pipeline(config.model_copy(update={"synth": synth, "filter": PROPOSER_RECIPE.filter}))


def report(bench: Bench, lines: list[Line], seeds: int) -> None:
    """Write the table."""
    made = {line.name: [one for one in range(seeds) if bench.path(line, one).exists()] for line in lines}
    first = np.stack([bench.ious(lines[0], seed) for seed in made[lines[0].name]])
    rows, figures = [], []
    for line in lines:
        own = made[line.name]
        if not own:
            continue
        found = np.stack([bench.ious(line, seed) for seed in own])
        faces = list(range(found.shape[1]))
        whole = mean_interval(found.mean(axis=0).tolist(), faces)
        change = mean_interval((found - first[: len(own)]).mean(axis=0).tolist(), faces)
        by_seed = [round(float(one), 4) for one in found.mean(axis=1)]
        record = bench.record(line, 0)
        figures.append(
            {
                "line": line.name,
                "about": line.about,
                "iou": whole.value,
                "interval": [whole.low, whole.high],
                "change": change.value,
                "change_interval": [change.low, change.high],
                "by_seed": by_seed,
                "photos": line.photos,
                "crops": record.crops,
                "train_seconds": record.seconds,
            }
        )
        told = "" if line is lines[0] else _signed(change)
        rows.append([line.name, line.about, _shown(whole), told, " ".join(f"{one:.3f}" for one in by_seed)])
    about = machine.describe()
    batch = PROPOSER_RECIPE.train.batch
    text = [
        "# What each part of the default proposer's recipe is worth",
        "",
        f"{PHOTOS} photos, {CHILDREN} children each, {bench.steps} steps of {batch} crops at {bench.px} "
        f"pixels, {'one seed' if seeds == 1 else f'up to {seeds} seeds'}, on {about['processor']} (CPU). "
        f"Mean IoU of the mask on {first.shape[1]} real faces, 95 % bootstrap interval over the faces; the "
        "change is against the first line, face by face.",
        "",
        *machine.table(["line", "what it asks", "IoU", "change", "each seed"], rows),
    ]
    size = {"steps": bench.steps, "px": bench.px, "seeds": seeds}
    machine.write("ablation", {"machine": about, **size, "lines": figures}, text)


def _shown(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _signed(found: Interval) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


if __name__ == "__main__":
    main()
