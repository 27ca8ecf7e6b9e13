"""Making the shipped models anew: photos to masks to weights to a folder that may lie in the wheel."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dataset_tools.core.errors import ConfigError, DataError
from dataset_tools.core.files import digest_json, sha256_file, write_text
from dataset_tools.core.images import ImageStore
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.settings import Settings
from dataset_tools.core.stage import describe_report
from dataset_tools.defaults.about import ABOUT_FILE, About, Measure, PictureSource, read_about, write_about
from dataset_tools.defaults.card import CARD_FILE, model_card
from dataset_tools.defaults.photos import Photos, build_config, cutout_source, picture_sources
from dataset_tools.defaults.recipe import CUTOUT_SHARES, Finish
from dataset_tools.export.replace import replacing_folder
from dataset_tools.pipeline import STAGES, Pipeline
from synth.occluders.occluder import OccluderSettings
from synth.settings import SynthSettings

if TYPE_CHECKING:
    from annotation.prelabel.calibrate import Calibration
    from baselines.checkpoint import TrainingRecord
    from baselines.ssd.record import DetectorRecord
    from dataset_tools.defaults.recipe import DetectorRecipe, ProposerRecipe

Say = Callable[[str], None]

PROPOSER_WEIGHTS = "weights.safetensors"
DETECTOR_WEIGHTS = "detector.safetensors"
DETECTOR_RECORD = "detector.json"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made.

    Attributes:
        photos: of bare faces.
        out: folder of the finished model; replaced.
        workspace: of the build; kept, so that a second call goes on from there.
        occluders: cut-outs of things to draw in front of faces, RGBA; None: drawn shapes alone.
        trained: what trainings with these photos and this recipe wrote elsewhere, e.g. on a machine with a
            GPU, in their order; none: train here.
        steps: of the training; None: the recipe's.
        seed: of everything random.
        workers: processes.
        device: where the proposer is trained.
        calibrate_on: labelled pictures to calibrate on; None: rendered ones kept from training.
        score_on: labelled pictures to score on.
        progress: opens progress displays.
        say: told a line about every finished step.
    """

    photos: Sequence[Photos]
    out: Path
    workspace: Path
    occluders: Photos | None = None
    trained: tuple[Path, ...] = ()
    steps: int | None = None
    seed: int = 7
    workers: int = 1
    device: str = "auto"
    calibrate_on: Path | None = None
    score_on: Sequence[Path] = ()
    progress: ProgressFactory = silent
    say: Say = lambda line: None


def make_proposer(order: Order, recipe: ProposerRecipe) -> About:
    """Make the model that pre-labels; what is finished is not made again.

    Raises:
        ConfigError: no photos, or a setting that cannot be met.
        DataError: the photos leave nothing to learn from, or training saw some of the pictures to score.
        WeightsUnavailable: models that find faces cannot be had.
    """
    from baselines.checkpoint import RECORD_FILE, read_record
    from dataset_tools.defaults.measuring import measure_proposer
    from dataset_tools.defaults.pack import pack_checkpoint

    train = recipe.train.model_copy(update={"seed": order.seed, "device": order.device, **_steps(order)})
    recipe = recipe.model_copy(update={"train": train, "synth": _with_cutouts(order, recipe.synth)})
    sections = {"filter": recipe.filter, "synth": recipe.synth, "split": recipe.split, "train": train}
    build = _run(order, sections, STAGES)
    manifest = build.manifest("split")
    checkpoints = order.trained or _trained(order, build, recipe)
    records = [read_record(one) for one in checkpoints]
    for folder, trained in zip(checkpoints, records, strict=True):
        _check_data(folder, trained.dataset_digest, manifest)
    for before, after in pairwise(records):
        if after.settings.start_sha256 != before.weights_sha256:
            raise DataError(f"{checkpoints[-1]} did not begin where {checkpoints[0]} ended")
    checkpoint = checkpoints[-1]
    calibrated = manifest if order.calibrate_on is None else _opened(order, order.calibrate_on)
    scored = [(path.resolve().name, _opened(order, path)) for path in order.score_on]
    values = {
        "checkpoint": sha256_file(checkpoint / RECORD_FILE),
        "calibrated": [calibrated.canonical_digest(), recipe.calibrate_on],
        "scored": [(name, one.canonical_digest()) for name, one in scored],
    }
    made_of = _made_of(order, values)
    if (known := _finished(order, made_of)) is not None:
        return known
    calibration = _calibration(order, checkpoint, calibrated, recipe.calibrate_on)
    record = pack_checkpoint(checkpoint, order.out, calibration)
    measures: list[Measure] = []
    for name, one in scored:
        measures += measure_proposer(
            order.out, one, name, build.board_dir, device=order.device, progress=order.progress
        )
    about = About(
        kind="proposer",
        name=f"{record.baseline}@{record.version}",
        tells=tuple(label.value for label in record.settings.labels),
        weights_file=PROPOSER_WEIGHTS,
        weights_sha256=record.weights_sha256,
        weights_bytes=(order.out / PROPOSER_WEIGHTS).stat().st_size,
        start=records[0].initial_weights,
        start_licence=_start_licence(record.baseline) if records[0].initial_weights_sha256 else "",
        sources=_sources(order, manifest),
        recipe=_as_trained(recipe, records),
        seed=record.settings.seed,
        steps=sum(one.steps for one in records),
        data=record.dataset_name,
        data_digest=record.dataset_digest,
        samples=record.samples,
        seconds=sum(one.seconds for one in records),
        device=record.device,
        measures=tuple(measures),
        command=_command("proposer", order),
        versions=_versions("torch", "timm"),
        made_of=made_of,
    )
    return _completed(order, about)


def make_detector(order: Order, recipe: DetectorRecipe) -> About:
    """Make the face-mask detector; what is finished is not made again.

    Raises:
        ConfigError: no photos, a setting that cannot be met, or pictures to calibrate or score on.
        DataError: the photos leave nothing to learn from.
        WeightsUnavailable: models that find faces cannot be had.
    """
    from baselines.ssd.train import train_detector

    if order.calibrate_on is not None or order.score_on:
        raise ConfigError(
            "the detector is scored on faces kept from training; --calibrate-on and --score-on "
            "go with the proposer"
        )
    train = recipe.train.model_copy(update={"seed": order.seed, **_steps(order)})
    recipe = recipe.model_copy(update={"train": train, "synth": _with_cutouts(order, recipe.synth)})
    build = _run(order, {"filter": recipe.filter, "synth": recipe.synth}, STAGES[: STAGES.index("synth") + 1])
    manifest = build.manifest("synth")
    values = {"train": train.model_dump(mode="json"), "data": manifest.canonical_digest()}
    given = order.trained[-1] if order.trained else None
    if given is not None:
        values["train"] = _detector_record(given / DETECTOR_RECORD).model_dump(mode="json")
    made_of = _made_of(order, values)
    if (known := _finished(order, made_of)) is not None:
        return known
    made = given or build.workspace.root / "models" / f"detector-{made_of[:12]}"
    if given is None and not (made / DETECTOR_RECORD).exists():
        with build.workspace.lock():
            train_detector(train, manifest, build.workspace.images, made, order.progress)
    record = _detector_record(made / DETECTOR_RECORD)
    _check_data(made, record.data_digest, manifest)
    order.say(f"train     {record.name}; {record.seconds:.1f} s")
    with replacing_folder(order.out) as fresh:
        for name in (DETECTOR_WEIGHTS, DETECTOR_RECORD):
            shutil.copyfile(made / name, fresh / name)
    about = About(
        kind="detector",
        name=f"{record.name}@{record.version}",
        tells=tuple(one.value for one in record.classes),
        weights_file=DETECTOR_WEIGHTS,
        weights_sha256=record.sha256,
        weights_bytes=(order.out / DETECTOR_WEIGHTS).stat().st_size,
        start="random",
        start_licence="",
        sources=_sources(order, manifest),
        recipe=_departures(recipe, {"train": record.settings}),
        seed=record.settings.seed,
        steps=record.settings.steps,
        data=record.data,
        data_digest=record.data_digest,
        samples=record.pictures,
        seconds=record.seconds,
        device=record.device,
        measures=_figures(record),
        command=_command("detector", order),
        versions=_versions("torch"),
        made_of=made_of,
    )
    return _completed(order, about)


# -- what both share ----------------------------------------------------------------------------------


def _steps(order: Order) -> dict[str, int]:
    return {} if order.steps is None else {"steps": order.steps}


def _run(order: Order, sections: Mapping[str, Settings], stages: Sequence[str]) -> Pipeline:
    build = Pipeline(
        build_config(order.photos, order.workspace, sections, order.seed, order.workers), order.progress
    )
    for name in stages:
        order.say(describe_report(build.run(name)))
    return build


def _trained(order: Order, build: Pipeline, recipe: ProposerRecipe) -> tuple[Path, ...]:
    """Folders of the trainings, the last one with the weights."""
    from baselines.train import train

    training = build.train()
    order.say(f"train     {training.baseline}, {recipe.train.input_px} px; {training.seconds:.1f} s")
    if recipe.finish is None:
        return (training.checkpoint,)
    changes = recipe.finish.model_dump() | {
        "start_from": training.checkpoint,
        "val_every_steps": recipe.finish.steps,
    }
    settings = recipe.train.model_copy(update=changes)
    values = settings.model_dump(mode="json", exclude={"start_from"})
    name = f"{training.checkpoint.name}-finished-{digest_json(values)[:12]}"
    with build.workspace.lock():
        found = train(
            settings,
            build.manifest("split"),
            build.workspace.images,
            training.checkpoint.with_name(name),
            order.progress,
        )
    order.say(f"finish    {settings.input_px} px; {found.record.seconds:.1f} s")
    return training.checkpoint, found.checkpoint_dir


def _as_trained(recipe: ProposerRecipe, records: Sequence[TrainingRecord]) -> dict[str, Any]:
    """The recipe with its settings as they were resolved, where it departs from the suite's defaults."""
    finish = None
    if len(records) > 1:
        values = records[-1].settings.model_dump()
        finish = Finish.model_validate({name: values[name] for name in Finish.model_fields})
    return _departures(recipe, {"train": records[0].settings, "finish": finish})


def _departures(recipe: ProposerRecipe | DetectorRecipe, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with settings as they were resolved, where it departs from the suite's defaults."""
    changes = {**resolved, "synth": _without_paths(recipe.synth)}
    return recipe.model_copy(update=changes).model_dump(mode="json", exclude_defaults=True)


def _without_paths(synth: SynthSettings) -> SynthSettings:
    """The folder of cut-outs by its name alone: the card is for others."""
    folder = synth.occluders.folder
    named = synth.occluders.model_copy(update={"folder": folder and Path(folder.name)})
    return synth.model_copy(update={"occluders": named})


def _with_cutouts(order: Order, synth: SynthSettings) -> SynthSettings:
    if order.occluders is None:
        return synth
    occluders = OccluderSettings(
        probability=synth.occluders.probability,
        kinds=dict(CUTOUT_SHARES),
        folder=order.occluders.folder,
    )
    return synth.model_copy(update={"occluders": occluders})


def _sources(order: Order, manifest: Manifest) -> tuple[PictureSource, ...]:
    found = picture_sources(order.photos, manifest)
    return found if order.occluders is None else (*found, cutout_source(order.occluders, manifest))


def _check_data(folder: Path, digest: str, manifest: Manifest) -> None:
    if digest != manifest.canonical_digest():
        raise DataError(f"{folder} was trained on other samples than these photos and this recipe give")


def _detector_record(path: Path) -> DetectorRecord:
    from baselines.ssd.record import DetectorRecord

    try:
        return DetectorRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        raise DataError(f"{path}: {error.errors()[0]['msg']}") from None


def _opened(order: Order, path: Path) -> Manifest:
    from dataset_tools.defaults.measuring import open_any

    place = digest_json(str(path.resolve()))[:12]
    return open_any(path, order.workspace.resolve() / "opened" / place, order.progress)


def _calibration(order: Order, checkpoint: Path, manifest: Manifest, limit: int) -> Calibration:
    from annotation.prelabel.calibrate import calibrate
    from annotation.prelabel.from_baseline import BaselineProposer

    proposer = BaselineProposer(checkpoint, order.device)
    images = ImageStore(manifest.workspace)
    return calibrate(
        proposer, manifest.samples(), images, limit=limit, seed=order.seed, progress=order.progress
    )


def _made_of(order: Order, values: Mapping[str, Any]) -> str:
    stated = [(one.name, one.licence, one.origin) for one in order.photos]
    return digest_json({**values, "photos": stated, "suite": version("maskset")})


def _finished(order: Order, made_of: str) -> About | None:
    """What lies in the folder, when it is whole and made of the same."""
    if not (order.out / ABOUT_FILE).exists():
        return None
    try:
        about = read_about(order.out)
        is_whole = sha256_file(order.out / about.weights_file) == about.weights_sha256
    except (DataError, OSError):
        return None
    if about.made_of != made_of or not is_whole:
        return None
    order.say(f"{order.out} holds exactly this already")
    return about


def _completed(order: Order, about: About) -> About:
    write_text(order.out / CARD_FILE, model_card(about))
    write_about(order.out, about)  # last: it says that all else is there
    return about


def _figures(record: DetectorRecord) -> tuple[Measure, ...]:
    kept_apart = int(record.figures.get("pictures", 0))
    return tuple(
        Measure(
            what=what.replace("_", " "),
            data="pictures of photos kept from training",
            items=kept_apart,
            value=value,
        )
        for what, value in record.figures.items()
        if what != "pictures"
    )


def _start_licence(baseline: str) -> str:
    from baselines.models import find_spec

    return find_spec(baseline).weights_licence


def _command(kind: str, order: Order) -> str:
    """The command that makes it again; folders by their names alone."""
    words = [f"build-dataset defaults train {kind}"]
    words += [shlex.join(["--photos", f"{one.folder.name}={one.licence}"]) for one in order.photos]
    words += [shlex.join(["--origin", f"{one.name}={one.origin}"]) for one in order.photos if one.origin]
    if order.occluders is not None:
        words.append(shlex.join(["--occluders", f"{order.occluders.folder.name}={order.occluders.licence}"]))
    if order.calibrate_on is not None:
        words.append(shlex.join(["--calibrate-on", order.calibrate_on.resolve().name]))
    words += [shlex.join(["--score-on", path.resolve().name]) for path in order.score_on]
    if order.steps is not None:
        words.append(f"--steps {order.steps}")
    return " \\\n  ".join([*words, f"--seed {order.seed}", f"--out {shlex.quote(order.out.name)}"])


def _versions(*names: str) -> dict[str, str]:
    return {name: version(name) for name in ("maskset", *names)}
