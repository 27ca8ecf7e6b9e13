"""`build-dataset review simulate`: what a review would cost, with simulated people on labelled pictures."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import choose_progress, reports_errors
from dataset_tools.options import print_result, with_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annotation.prelabel.proposer import Proposer
    from dataset_tools.core.images import ImageStore
    from dataset_tools.core.manifest import Manifest
    from dataset_tools.core.progress import ProgressFactory
    from dataset_tools.core.record import Sample

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("simulate")
@click.argument("data", type=_FOLDER)
@click.option(
    "--checkpoint",
    "checkpoints",
    type=_FOLDER,
    multiple=True,
    help="A trained baseline that proposes; repeat for one table each [default: the suite's own].",
)
@click.option("--bought", default="0,50,100,200", show_default=True, help="Numbers of labels bought before.")
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True, help="Of each fine-tuning.")
@click.option("--learning-rate", type=float, help="Of the fine-tuning [default: the checkpoint's own].")
@click.option("--set", "given", multiple=True, help="A setting, NAME=VALUE; repeat for several.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@click.option("--work", type=_FOLDER, help="Folder that keeps fine-tuned checkpoints for the next call.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the table here, too.")
@with_output
@reports_errors
def simulate_command(
    data: Path,
    checkpoints: tuple[Path, ...],
    bought: str,
    steps: int,
    learning_rate: float | None,
    given: tuple[str, ...],
    seed: int,
    device: str,
    work: Path | None,
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Review a part of the labelled pictures of DATA with simulated people.

    DATA is a workspace, a manifest, an exported dataset, or a folder with image/ and mask/. For each number
    of labels bought, the checkpoint learns from so many pictures and proposes on the others; two people with
    known faults review the proposals, an adjudicator settles what they disagree about, and the result is
    held against the truth. People and their minutes are models.
    """
    from annotation.prelabel.from_baseline import BaselineProposer
    from annotation.simulate.economics import simulate
    from annotation.simulate.settings import SimulationSettings
    from annotation.simulate.table import to_markdown, to_values
    from baselines.task_cli import parse_given
    from dataset_tools.core.files import write_text
    from dataset_tools.core.images import ImageStore
    from dataset_tools.opening import open_labelled
    from dataset_tools.weights.shipped import shipped_proposer

    settings = parse_given(SimulationSettings, given, bought=_numbers(bought))
    progress = choose_progress(quiet=quiet, as_json=as_json)
    bases = {one: BaselineProposer(one, device) for one in checkpoints or (shipped_proposer(),)}
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="maskset-simulate-")))
        manifest = open_labelled(data, folder / "imported", progress)
        images = ImageStore(manifest.workspace)
        found = {}
        for checkpoint, base in bases.items():
            learner = _Learner(checkpoint, folder, images, steps, learning_rate, seed, device, progress)
            name = f"{base.name}@{base.version}"
            found[name] = simulate(manifest.samples(), images, learner, settings, seed, progress)
    table = to_markdown(found, settings)
    if out is not None:
        write_text(out, table)
    print_result(to_values(found, settings), [table], as_json)


def _numbers(text: str) -> list[int]:
    from dataset_tools.core.errors import ConfigError

    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise ConfigError(f"--bought {text}: write whole numbers with commas, such as 0,50,100")
    return sorted({int(word) for word in words})


class _Learner:
    """A checkpoint that learns from the pictures bought; see `economics.ProposerAfter`."""

    def __init__(
        self,
        checkpoint: Path,
        folder: Path,
        images: ImageStore,
        steps: int,
        learning_rate: float | None,
        seed: int,
        device: str,
        progress: ProgressFactory,
    ) -> None:
        self._checkpoint = checkpoint
        self._folder = folder
        self._images = images
        self._steps = steps
        self._learning_rate = learning_rate
        self._seed = seed
        self._device = device
        self._progress = progress

    def __call__(self, bought: Sequence[Sample]) -> Proposer:
        """The checkpoint itself for nothing bought, else fine-tuned on the truth of these pictures."""
        from annotation.prelabel.from_baseline import BaselineProposer
        from baselines.checkpoint import read_record
        from baselines.train import train
        from dataset_tools.core.files import digest_json
        from dataset_tools.core.record import Split

        if not bought:
            return BaselineProposer(self._checkpoint, self._device)
        record = read_record(self._checkpoint)
        changes: dict[str, Any] = {
            "split": Split.TRAIN,
            "samples": "all",
            "fresh_masks": False,
            "steps": self._steps,
            "epochs": None,
            "learning_rate": self._learning_rate or record.settings.learning_rate,
            # Nothing is held out, so a validation would only write the state to disk once more.
            "val_every_steps": self._steps,
            "num_workers": None,
            "seed": self._seed,
            "device": self._device,
            "start_from": self._checkpoint.resolve(),
            "start_sha256": "",
        }
        settings = record.settings.model_copy(update=changes)
        manifest = _manifest_of(bought, self._folder)
        asked = digest_json({"settings": settings.model_dump(mode="json"), "bought": manifest.key})
        out = self._folder / "models" / f"bought{len(bought)}-{asked[:12]}"
        train(settings, manifest, self._images, out, self._progress)
        return BaselineProposer(out, self._device)


def _manifest_of(bought: Sequence[Sample], folder: Path) -> Manifest:
    """The pictures bought as a manifest of their own, all of split train."""
    from dataclasses import asdict, replace

    from dataset_tools.core.files import digest_json
    from dataset_tools.core.manifest import write_header, write_shard
    from dataset_tools.core.record import Split

    samples = [replace(sample, split=Split.TRAIN) for sample in bought]
    key = digest_json(sorted(sample.id for sample in samples))
    directory = folder / "manifests" / f"bought-{key[:12]}"
    keys = [sample.provenance.item_key for sample in samples]
    counts = write_shard(directory, 0, keys, samples, ())
    header = {"stage": "bought", "key": key, "parent": "", "shards": 1, "counts": asdict(counts)}
    return write_header(directory, header)
