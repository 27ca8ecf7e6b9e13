"""The ordered stages of a build: which manifest follows which, what is done and what is missing.

A stage's directory is named after a digest of its settings and of its parent's digest. A changed setting
therefore starts a new directory and leaves the old one alone, and a rerun finds what is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dataset_tools.config import BuildConfig
from dataset_tools.core.errors import ConfigError, DataError, ManifestError
from dataset_tools.core.files import write_text
from dataset_tools.core.manifest import Manifest
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Rejection
from dataset_tools.core.stage import (
    Shard,
    Stage,
    StageReport,
    run_stage,
    shards_of_items,
    shards_of_manifest,
)
from dataset_tools.core.workspace import Workspace, stage_key
from dataset_tools.engines.choose import choose_engine
from dataset_tools.training import Models, Training, saved_predictions

if TYPE_CHECKING:
    from annotation.verdict import Verdict
    from dataset_tools.core.reasons import Reason
    from dataset_tools.crawl.retry import RetryReport
    from dataset_tools.export.dataset import ExportReport

STAGES = ("crawl", "detect", "filter", "synth", "prelabel", "review", "split")


class Pipeline:
    """One build: its configuration, its workspace, and the chain of its manifests."""

    def __init__(self, config: BuildConfig, progress: ProgressFactory = silent) -> None:
        self.config = config
        self.progress = progress
        self.workspace = Workspace(config.workspace)
        self._models = Models(config, self.workspace, progress)
        self._stages: dict[str, Stage] = {}

    # -- the chain ------------------------------------------------------------------------------------

    @cached_property
    def _items(self) -> list[Any]:
        from dataset_tools.crawl.listing import list_items

        return list_items(self.config.crawl, self.workspace.root / "listings")

    def stage(self, name: str) -> Stage:
        """The stage of that name, built from its settings on first use.

        Raises:
            ConfigError: a setting cannot be met, e.g. a named weights file is not there.
        """
        if name not in self._stages:
            builders: dict[str, Callable[[], Stage]] = {
                "crawl": self._crawl_stage,
                "detect": self._detect_stage,
                "filter": self._filter_stage,
                "synth": self._synth_stage,
                "prelabel": self._prelabel_stage,
                "review": self._review_stage,
                "split": self._split_stage,
            }
            self._stages[name] = builders[name]()
        return self._stages[name]

    def key(self, name: str) -> str:
        """Digest of a stage's settings and of everything before it."""
        stage = self.stage(name)
        parent = "" if name == STAGES[0] else self.key(_before(name))
        return stage_key(name, stage.version, stage.config, parent)

    def manifest(self, name: str) -> Manifest:
        """The finished manifest of a stage under the present settings.

        Raises:
            ManifestError: the stage has not finished; says which command runs it.
        """
        if name == "prelabel" and not self._models.has_proposer(self.key("synth")):
            raise _not_run(name)
        directory = self.workspace.manifest_dir(name, self.key(name))
        if not (directory / "header.json").exists():
            raise _not_run(name)
        return Manifest(directory)

    def chain(self) -> dict[str, Manifest]:
        """Finished manifests in flow order, up to the first missing one."""
        found: dict[str, Manifest] = {}
        for name in STAGES:
            try:
                found[name] = self.manifest(name)
            except ManifestError:
                break
        return found

    def rejections(self) -> Iterator[Rejection]:
        """Rejections of all finished stages, in flow order."""
        for manifest in self.chain().values():
            yield from manifest.rejections()

    # -- running --------------------------------------------------------------------------------------

    def run(self, name: str) -> StageReport:
        """Run one stage, or what is missing of it; the stage before it must be finished.

        `filter` does what is missing of `detect` first; `rethreshold` does not.

        Raises:
            ManifestError: the stage before has not finished, or an item vanished.
            DataError: the stage before left nothing.
            WorkspaceBusy: another process writes to this workspace.
        """
        if name == "filter" and "detect" not in self.chain():
            self.run("detect")
        with self.workspace.lock():
            parent = None if name == STAGES[0] else self.manifest(_before(name))
            if parent is not None and parent.counts.kept + parent.counts.derived == 0:
                raise DataError(
                    f"{_before(name)} left no samples to go on with; `build-dataset rejects` says why"
                )
            self._save_config()
            if name == "crawl":
                from dataset_tools.crawl.retry import finish_retries

                finish_retries(self.workspace.manifest_dir(name, self.key(name)))
            if name == "prelabel":
                self._models.make_ready(self.manifest("synth"))
            stage = self.stage(name)
            return run_stage(
                stage,
                self._shards(parent),
                self.workspace.manifest_dir(name, self.key(name)),
                key=self.key(name),
                parent_key=parent.key if parent is not None else "",
                images=self.workspace.images,
                parent=parent,
                executor=choose_engine(self.config.engine, self.config.workers),
                progress=self.progress,
                dataset=self.config.name,
            )

    def retry_failed(self, reasons: Collection[Reason] = ()) -> RetryReport:
        """Fetch again what the finished crawl could not; errors as `crawl.retry.retry_failed`."""
        from dataset_tools.crawl.retry import retry_failed
        from dataset_tools.crawl.stage import CrawlStage

        with self.workspace.lock():
            stage = self.stage("crawl")
            assert isinstance(stage, CrawlStage)
            directory = self.manifest("crawl").directory
            return retry_failed(
                stage,
                self._shards(None),
                directory,
                images=self.workspace.images,
                reasons=reasons,
                progress=self.progress,
            )

    def rethreshold(self) -> StageReport:
        """Filter again what was detected before, with the present thresholds; runs no detector.

        Raises:
            ManifestError: detection has not finished, or a changed setting asks for a new one.
        """
        self.manifest("detect")
        return self.run("filter")

    def is_over_limit(self, report: StageReport) -> bool:
        """True when the stage rejected a larger share of its input than the configuration allows."""
        counts = report.counts
        return counts.rejected > self.config.max_reject_rate * counts.inputs or (
            counts.inputs > 0 and counts.kept == 0
        )

    def _shards(self, parent: Manifest | None) -> list[Shard]:
        if parent is None:
            return shards_of_items(self._items, self.config.shard_size)
        return shards_of_manifest(parent)

    def _save_config(self) -> None:
        values = self.config.model_dump(mode="json")
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        write_text(self.workspace.root / "config.resolved.yaml", text)

    # -- after the last manifest ----------------------------------------------------------------------

    @property
    def dataset_dir(self) -> Path:
        """Where `export` puts the dataset."""
        return self.workspace.root / "dataset"

    @property
    def report_dir(self) -> Path:
        """Where `stats` puts the report page."""
        return self.workspace.root / "report"

    @property
    def reviews_dir(self) -> Path:
        """Where verdicts pulled from review sessions lie."""
        return self.workspace.root / "reviews"

    @property
    def board_dir(self) -> Path:
        """Where score cards lie."""
        return self.workspace.root / "leaderboard"

    def verdicts(self) -> dict[str, tuple[Verdict, ...]]:
        """Verdicts that count, by sample id, one per annotator; empty when nobody has looked yet."""
        from annotation.verdict import read_verdicts

        return read_verdicts(self.reviews_dir)

    def export(self) -> ExportReport:
        """Write the dataset folder from the split manifest.

        Raises:
            ManifestError: split has not run.
            LicenceMissing: a sample has no licence.
        """
        from dataset_tools.export.dataset import export_dataset

        settings = self.config.export
        if "name" not in settings.model_fields_set:
            settings = settings.model_copy(update={"name": self.config.name})
        with self.workspace.lock():
            return export_dataset(
                self.manifest("split"), self.workspace.images, settings, self.dataset_dir, self.progress
            )

    def report(self) -> Path:
        """Write the report page over all finished stages; gives its path.

        Raises:
            ManifestError: not even crawl has run.
        """
        from dataset_tools.stats.page import write_report

        chain = self.chain() or {STAGES[0]: self.manifest(STAGES[0])}
        predictions = saved_predictions(self.board_dir)
        return write_report(chain, self.workspace.images, self.report_dir, self.config.name, predictions)

    def train(self) -> Training:
        """Train the configured baseline on the train split and score it on test (or val).

        Raises:
            ConfigError: the configuration has no `train` section.
            DataError: the train split has no labelled sample.
        """
        settings = self.config.train
        if settings is None:
            raise ConfigError("the configuration has no train section")
        with self.workspace.lock():
            return self._models.train_and_score(settings, self.manifest("split"), self.board_dir)

    def leaderboard_page(self) -> Path:
        """Write the leaderboard of this workspace as a page; gives its path."""
        from baselines.board_page import as_html
        from baselines.leaderboard import read_board

        path = self.board_dir / "leaderboard.html"
        page = as_html(read_board(self.board_dir), self.board_dir, self.manifest("split"))
        write_text(path, page)
        return path

    # -- how each stage is built ----------------------------------------------------------------------

    def _crawl_stage(self) -> Stage:
        from dataset_tools.crawl.listing import listing_digest
        from dataset_tools.crawl.stage import CrawlStage

        return CrawlStage(self.config.crawl, self.config.seed, listing=listing_digest(self._items))

    def _detect_stage(self) -> Stage:
        from dataset_tools.filter.detect import DetectStage
        from dataset_tools.filter.models import choose_detector

        return DetectStage(choose_detector(self.config.filter), self.config.seed)

    def _filter_stage(self) -> Stage:
        from dataset_tools.filter.stage import FilterStage

        return FilterStage(self.config.filter, self.config.seed)

    def _synth_stage(self) -> Stage:
        from synth.stage import SynthStage

        return SynthStage(self.config.synth, self.config.seed)

    def _prelabel_stage(self) -> Stage:
        stage = self._models.calibrated_stage(self.key("synth"))
        if stage is None:
            raise _not_run("prelabel")
        return stage

    def _review_stage(self) -> Stage:
        from annotation.stage import ReviewStage

        return ReviewStage(self.config.review, self.verdicts())

    def _split_stage(self) -> Stage:
        from dataset_tools.split import SplitStage

        return SplitStage(self.config.split, self.config.seed)


def _not_run(name: str) -> ManifestError:
    command = "review merge" if name == "review" else name
    return ManifestError(
        f"{name} has not run with these settings and the models at hand; run: build-dataset {command}"
    )


def _before(name: str) -> str:
    return STAGES[STAGES.index(name) - 1]
