"""One YAML file describes a whole build; this module reads it into the stages' own settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from annotation.prelabel.settings import PrelabelSettings
from annotation.settings import ReviewSettings
from baselines.settings import TrainSettings
from dataset_tools.core.errors import ConfigError
from dataset_tools.core.settings import Settings, parse_settings
from dataset_tools.crawl.settings import CrawlSettings, resolve_paths
from dataset_tools.export.settings import ExportSettings
from dataset_tools.filter.settings import FilterSettings
from dataset_tools.split import SplitSettings
from synth.settings import SynthSettings

# A configuration is written by hand; anything larger is a mistake or an attack on the parser.
MAX_CONFIG_BYTES = 1 << 20


class BuildConfig(Settings):
    """Everything a build needs to know.

    Attributes:
        name: of the dataset; also its folder name in exports.
        workspace: where everything is kept, relative to the configuration file.
        seed: the run seed; all randomness follows from it and the sample ids.
        workers: processes for stages that can use them.
        engine: where those stages run: "local" processes, or "ray". The rows are the same.
        shard_size: samples per shard: the unit of work, of resuming and of a worker's memory.
        max_reject_rate: a stage that rejects a larger share of its input makes the command end with
            exit code 3 (the stages still finish).
        proposer: train this baseline on the build's own synthetic samples and let it pre-label instead of the
            model that comes with the suite; `prelabel.checkpoint`, a folder or "none", is stronger.
        train: train and score this baseline on the finished splits; null: no training.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")
    workspace: Path = Path("work")
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=1)
    engine: Literal["local", "ray"] = "local"
    shard_size: int = Field(default=64, ge=1)
    max_reject_rate: float = Field(default=1.0, ge=0, le=1)
    crawl: CrawlSettings
    filter: FilterSettings = FilterSettings()
    synth: SynthSettings = SynthSettings()
    prelabel: PrelabelSettings = PrelabelSettings()
    review: ReviewSettings = ReviewSettings()
    split: SplitSettings = SplitSettings()
    export: ExportSettings = ExportSettings()
    proposer: TrainSettings | None = None
    train: TrainSettings | None = None


def read_config(path: Path) -> BuildConfig:
    """Read and check a configuration file; relative paths are meant from its folder.

    Raises:
        ConfigError: one line: no such file, not YAML, an unknown key (with near matches) or a bad value.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "; `build-dataset init` writes one" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"cannot read {path}: {error.strerror}{hint}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} has {len(data)} bytes, at most {MAX_CONFIG_BYTES} allowed")
    try:
        values: Any = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    return resolve_config(parse_settings(BuildConfig, values, str(path)), path.resolve().parent)


def _with_start(settings: TrainSettings | None, base_dir: Path) -> TrainSettings | None:
    if settings is None or settings.start_from is None:
        return settings
    return settings.model_copy(update={"start_from": base_dir / settings.start_from})


def resolve_config(config: BuildConfig, base_dir: Path) -> BuildConfig:
    """The same configuration with every relative path made absolute from `base_dir`."""
    return config.model_copy(
        update={
            "workspace": base_dir / config.workspace,
            "crawl": resolve_paths(config.crawl, base_dir),
            "synth": config.synth.resolved(base_dir),
            "prelabel": config.prelabel.resolved(base_dir),
            "split": config.split.resolved(base_dir),
            "proposer": _with_start(config.proposer, base_dir),
            "train": _with_start(config.train, base_dir),
        }
    )
