"""LabelMe as `session.Tool`: each annotator has a folder of files, and the adjudicator another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from annotation.label_studio.adjudication import views
from annotation.labelme.folder import open_lane, read_lane
from annotation.session import Case, Opened, Pulled
from annotation.settings import ADJUDICATION
from annotation.showing import Showing
from annotation.verdict import Role, Verdict
from dataset_tools.core.errors import ConfigError
from dataset_tools.core.images import ImageStore
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Sample


class LabelMeTool:
    """LabelMe as `session.Tool`.

    Args:
        folder: holds a folder for each lane.
        images: picture store of the workspace.
        progress: display.
    """

    def __init__(self, folder: Path, images: ImageStore, progress: ProgressFactory = silent) -> None:
        self._folder = folder
        self._images = images
        self._progress = progress

    def open(self, showing: Showing, lane: str) -> Opened:
        """As `Tool.open`."""
        return open_lane(showing.samples, self._images, self._folder / lane, lane, progress=self._progress)

    def pull(self, showing: Showing, lane: str, kept: Iterable[Verdict]) -> Pulled:
        """As `Tool.pull`.

        Raises:
            ConfigError: there is no such folder.
        """
        folder = self._folder / lane
        if not folder.is_dir():
            raise ConfigError(f"there is no folder {folder}; open the review first")
        shown = {sample.id: (sample, showing.role_of(sample.id)) for sample in showing.samples}
        return read_lane(folder, lane, shown, kept, progress=self._progress)

    def open_cases(self, cases: Sequence[Case]) -> Opened:
        """As `Tool.open_cases`; no folder is made for no cases."""
        if not cases:
            return Opened(ADJUDICATION, "", 0)
        by_sample = {case.sample.id: case for case in cases}

        def views_of(sample: Sample) -> Mapping[str, bytes]:
            return views(self._images.read(sample.image), *by_sample[sample.id].compared)

        return open_lane(
            [_drafted(case) for case in cases],
            self._images,
            self._folder / ADJUDICATION,
            ADJUDICATION,
            views=views_of,
            progress=self._progress,
        )

    def pull_cases(self, cases: Sequence[Case], kept: Iterable[Verdict]) -> Pulled:
        """As `Tool.pull_cases`."""
        folder = self._folder / ADJUDICATION
        if not folder.is_dir():
            return Pulled(ADJUDICATION, "")
        shown = {case.sample.id: (_drafted(case), Role.ADJUDICATOR) for case in cases}
        return read_lane(folder, ADJUDICATION, shown, kept, progress=self._progress)


def _drafted(case: Case) -> Sample:
    return replace(case.sample, instances=case.draft)
