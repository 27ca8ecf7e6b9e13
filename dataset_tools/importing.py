"""Read a dataset of any known format, report everything wrong with it at once, and write it in another.

The way is the crawl's own: every picture is decoded in a disposable worker within the suite's limits, and
labels become masks only against the size that the picture really has.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_tools.core.errors import ConfigError
from dataset_tools.core.files import disk_faults
from dataset_tools.core.images import ImageStore
from dataset_tools.core.labels import Label
from dataset_tools.core.manifest import Manifest, write_header, write_shard
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.reasons import Reason
from dataset_tools.core.record import Provenance, Rejection, Sample, Split
from dataset_tools.core.stage import run_stage, shards_of_items
from dataset_tools.crawl.items import Listing, SourceItem
from dataset_tools.crawl.keeping import KEPT_UNLABELLED
from dataset_tools.crawl.listing import list_items
from dataset_tools.crawl.settings import CrawlSettings, DecodeSettings
from dataset_tools.crawl.sources.dataset import STATED_SOURCE, STATED_URL, DatasetSource
from dataset_tools.crawl.stage import CrawlStage
from dataset_tools.export.replace import replacing_folder
from dataset_tools.formats.detect import AUTO, detect_format
from dataset_tools.formats.job import About, ExportJob, check_samples
from dataset_tools.formats.registry import find_format
from dataset_tools.revoked import withdrawn_pictures

DEFAULT_ABOUT = About()

_SHARD_SIZE = 256
_NAME = "import"
_UNSTATED = "not stated"


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What to import, and what the user says that the files do not.

    Attributes:
        path: dataset folder, or the one file it consists of.
        format: its name; "auto" looks which one it is.
        licence: of pictures for which the dataset states none.
        categories: class name -> label; None leaves a class out on purpose.
        split: of pictures for which the dataset states none.
        revocations: file with a list of withdrawn versions and pictures, see `dataset_tools.revoked`.
        workers: pictures decoded at once.
    """

    path: Path
    format: str = AUTO
    licence: str = ""
    categories: Mapping[str, Label | None] = field(default_factory=dict)
    split: Split = Split.TRAIN
    revocations: Path | None = None
    workers: int = 2


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """One thing that cannot be used.

    Attributes:
        where: picture, annotation, or file and line or id.
        reason: fixed word.
        detail: one line for people.
    """

    where: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import found; `entries == whole + incomplete + unlabelled + refused`.

    Attributes:
        format: of the dataset.
        entries: pictures, and problems that belong to no picture.
        whole: pictures with all of their labels, also those with none to have.
        incomplete: pictures that lost a label.
        unlabelled: pictures for which the dataset has no labels, or none that anybody confirmed.
        refused: entries that are problems themselves.
        instances: labels kept on whole pictures.
        unlicensed: kept pictures without a licence.
        problems: everything that is wrong, in the order of the dataset's files.
    """

    format: str
    entries: int
    whole: int
    incomplete: int
    unlabelled: int
    refused: int
    instances: int
    unlicensed: int
    problems: tuple[ImportProblem, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return dataclasses.asdict(self)


class _WholeDataset(DatasetSource):
    """The source without the licence and the end that a fatal problem are in a build: all is reported."""

    def items(self, listing: Listing) -> Iterator[SourceItem]:
        for _, item in self.listed():
            yield item


def check_dataset(plan: ImportPlan, progress: ProgressFactory = silent) -> ImportReport:
    """Read all of a dataset and keep nothing.

    Raises:
        ConfigError: no such path, or its format cannot be told.
        DataError: this version of the dataset was withdrawn.
        ServiceError: the disk is full, or decoding workers cannot be started.
    """
    with _imported(plan, progress, None) as (report, _, _):
        return report


def convert_dataset(
    plan: ImportPlan,
    out_dir: Path,
    target: str,
    about: About = DEFAULT_ABOUT,
    progress: ProgressFactory = silent,
) -> ImportReport:
    """Read a dataset and write the pictures that are whole in another format, or in the same.

    Args:
        plan: what to read.
        out_dir: the folder to make; it must not exist, or be empty.
        target: name of the format to write.
        about: what the new dataset says of itself.
        progress: opens the progress displays.

    Raises:
        ConfigError: as `check_dataset`; `out_dir` holds something; a picture has no licence.
        ServiceError: as `check_dataset`.
    """
    found = find_format(target)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ConfigError(f"{out_dir} is not empty; name a folder that is not there yet")
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with disk_faults(out_dir), _imported(plan, progress, out_dir.parent) as (report, samples, root):
        if report.unlicensed:
            raise ConfigError(
                f"{report.unlicensed} pictures state no licence, and there is no default; say it (--licence)"
            )
        job = ExportJob(_restored(samples, root), ImageStore(root), about)
        with progress("check", report.whole) as bar:
            check_samples(job, bar)
        with replacing_folder(out_dir) as fresh, progress(target, report.whole) as bar:
            found.write(job, fresh, bar)
        return report


@contextmanager
def _imported(
    plan: ImportPlan, progress: ProgressFactory, beside: Path | None
) -> Iterator[tuple[ImportReport, list[Sample], Path]]:
    """Report, whole samples, and the workspace they lie in for now; without `beside` no picture is kept."""
    if not plan.path.exists():
        raise ConfigError(f"{plan.path} does not exist")
    withdrawn = {} if plan.revocations is None else withdrawn_pictures(plan.path, plan.revocations)
    name = detect_format(plan.path) if plan.format == AUTO else plan.format
    source = _WholeDataset(
        name=_NAME,
        path=plan.path,
        format=name,
        licence=plan.licence.strip() or _UNSTATED,
        categories=dict(plan.categories),
        split=plan.split,
    )
    settings = CrawlSettings(sources=(source,), decode=DecodeSettings(workers=plan.workers))
    stage = CrawlStage(settings, 0, stores=beside is not None)
    with tempfile.TemporaryDirectory(prefix=".tmp-import-", dir=beside) as folder:
        root = Path(folder)
        directory = root / "manifests" / _NAME
        shards = shards_of_items(list_items(settings), _SHARD_SIZE)
        run_stage(
            stage, shards, directory, key=_NAME, parent_key="", images=ImageStore(root), progress=progress
        )
        report, samples = _judged(name, Manifest(directory), withdrawn)
        yield report, samples, root


def _judged(name: str, manifest: Manifest, withdrawn: Mapping[str, str]) -> tuple[ImportReport, list[Sample]]:
    problems = [_problem(rejection) for rejection in manifest.rejections()]
    lost_a_label = {rejection.sample_id for rejection in manifest.rejections() if rejection.derived}
    whole: dict[str, Sample] = {}
    refused = manifest.counts.rejected
    incomplete = unlabelled = unlicensed = 0
    for sample in manifest.samples():
        place = _place(sample.provenance.item_key)
        if sample.id in withdrawn:
            refused += 1
            problems.append(ImportProblem(place, Reason.TOMBSTONE, f"withdrawn: {withdrawn[sample.id]}"))
        elif sample.id in lost_a_label:
            incomplete += 1
        elif not sample.is_labelled:
            unlabelled += 1
        elif sample.id in whole:
            refused += 1
            first = _place(whole[sample.id].provenance.item_key)
            detail = f"the same picture as {first}"
            problems.append(ImportProblem(place, Reason.DUPLICATE, detail))
        else:
            whole[sample.id] = sample
        unlicensed += sample.provenance.licence == _UNSTATED
    report = ImportReport(
        format=name,
        entries=manifest.counts.inputs,
        whole=len(whole),
        incomplete=incomplete,
        unlabelled=unlabelled,
        refused=refused,
        instances=sum(len(sample.instances) for sample in whole.values()),
        unlicensed=unlicensed,
        problems=tuple(sorted(problems, key=lambda problem: problem.where)),
    )
    return report, list(whole.values())


def _problem(rejection: Rejection) -> ImportProblem:
    # An import keeps no picture that lost a label.
    said = rejection.detail.removesuffix(KEPT_UNLABELLED)
    return ImportProblem(_place(rejection.item_key), rejection.reason, said)


def _place(key: str) -> str:
    return key[len(_NAME) + 1 :]


def _restored(samples: list[Sample], root: Path) -> Manifest:
    """A manifest of the samples, with the origin that the dataset stated."""
    restored = [dataclasses.replace(sample, provenance=_origin(sample.provenance)) for sample in samples]
    directory = root / "manifests" / f"{_NAME}-restored"
    counts = write_shard(directory, 0, [item.provenance.item_key for item in restored], restored, [])
    header = {"stage": _NAME, "key": _NAME, "shards": 1, "counts": dataclasses.asdict(counts)}
    return write_header(directory, header)


def _origin(imported: Provenance) -> Provenance:
    facts = dict(imported.evidence)
    source = facts.get(STATED_SOURCE, imported.source)
    return dataclasses.replace(imported, source=source, url=facts.get(STATED_URL, ""))
