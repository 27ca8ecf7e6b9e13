"""Label Studio as the tool of a review session: show samples and their proposals, pull verdicts back.

Every annotator has a project of their own (a lane) and sees nobody else's work there; what they disagree
about goes to a further project. Both directions can be cut off anywhere and run again: pictures and tasks
carry our keys, what is there already is not sent again, and reading changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from annotation.gain import batch_names
from annotation.judging import judge
from annotation.label_studio.adjudication import adjudication_config, adjudication_task, views
from annotation.label_studio.client import Annotation, Person, Project
from annotation.label_studio.codec import decode_results
from annotation.label_studio.labelling import SAMPLE_ID, labelling_config
from annotation.label_studio.previews import BATCH, PREVIEW, all_view, easy_view, preview_png
from annotation.label_studio.sending import (
    ReviewClient,
    check_sent_once,
    image_name,
    is_outdated,
    send_missing,
    task_of,
    upload_missing,
)
from annotation.session import Case, Opened, Pulled
from annotation.settings import ADJUDICATION, ReviewSettings
from annotation.showing import Showing
from annotation.verdict import Role, Verdict
from dataset_tools.core.errors import ConfigError, ItemFault
from dataset_tools.core.images import ImageStore
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Rejection, Sample
from dataset_tools.core.stage import reject

# Marks our projects; another one of the same title is never touched.
MARKER = "Made by maskset review; change the labels and nothing can be read back."


@dataclass(frozen=True, slots=True)
class _Page:
    """A sample as one project shows it.

    Attributes:
        sample: as shown.
        pictures: everything to upload for it: names on the server, and how the bytes are made.
        task: from the addresses of its pictures, by name.
    """

    sample: Sample
    pictures: Mapping[str, Callable[[], bytes]]
    task: Callable[[Mapping[str, str]], dict[str, Any]]


class LabelStudioTool:
    """Label Studio as `session.Tool`.

    Args:
        client_of: the client that reaches a lane's project; each annotator may have a token of their own.
        settings: of the session.
        images: picture store of the workspace.
        assist: attaches a model to a project, given its client and number; None: no model helps.
        progress: display.
    """

    def __init__(
        self,
        client_of: Callable[[str], ReviewClient],
        settings: ReviewSettings,
        images: ImageStore,
        assist: Callable[[ReviewClient, int], None] | None = None,
        progress: ProgressFactory = silent,
    ) -> None:
        self._client_of = client_of
        self._settings = settings
        self._images = images
        self._assist = assist
        self._progress = progress

    def title(self, lane: str) -> str:
        """Title of a lane's project."""
        return f"{self._settings.project} {lane}"

    def open(self, showing: Showing, lane: str) -> Opened:
        """As `Tool.open`.

        Raises:
            ConfigError: a project of that title exists that is not ours, or there are several.
            ReviewServiceError: the server failed; what has arrived stays, run again.
        """
        client = self._client_of(lane)
        batches = batch_names(showing.samples, self._settings.easy_from)
        project = find_project(client, self.title(lane))
        if project is None:
            config = labelling_config(assisted=self._assist is not None)
            project = client.create_project(self.title(lane), config, MARKER, 1)
        if batches:
            there = client.views(project.id)
            for view in (all_view(), easy_view()):
                if view["title"] not in there:
                    client.create_view(project.id, view)
        pages = [self._page(sample, batches.get(sample.id, "")) for sample in showing.samples]
        opened = self._send(client, project, lane, pages)
        if self._assist is not None:
            # A project that shows nothing yet would be switched to what the model says at that moment.
            self._assist(client, project.id)
        return opened

    def _page(self, sample: Sample, batch: str) -> _Page:
        picture, preview = image_name(sample), f"{sample.id}-preview.png"
        pictures: dict[str, Callable[[], bytes]] = {picture: partial(self._images.read_bytes, sample.image)}
        if not batch:
            return _Page(sample, pictures, lambda found: task_of(sample, found[picture]))
        pictures[preview] = lambda: preview_png(
            self._images.read(sample.image), sample.instances, sample.faces
        )
        return _Page(
            sample,
            pictures,
            lambda found: task_of(sample, found[picture], **{PREVIEW: found[preview], BATCH: batch}),
        )

    def pull(self, showing: Showing, lane: str, kept: Iterable[Verdict]) -> Pulled:
        """As `Tool.pull`.

        Raises:
            ConfigError: there is no such project.
            ReviewServiceError: the server failed, or its counts do not agree with what came.
        """
        client = self._client_of(lane)
        project = find_project(client, self.title(lane))
        if project is None:
            raise ConfigError(
                f"no Label Studio project is called {self.title(lane)!r}; open the review first"
            )
        shown = {sample.id: (sample, showing.role_of(sample.id)) for sample in showing.samples}
        return self._read(client, project, lane, shown, kept)

    def open_cases(self, cases: Sequence[Case]) -> Opened:
        """As `Tool.open_cases`; no project is made for no cases."""
        if not cases:
            return Opened(ADJUDICATION, "", 0)
        client = self._client_of(ADJUDICATION)
        title = self.title(ADJUDICATION)
        project = find_project(client, title) or client.create_project(
            title, adjudication_config(), MARKER, 1
        )
        return self._send(client, project, ADJUDICATION, [self._case_page(case) for case in cases])

    def _case_page(self, case: Case) -> _Page:
        sample, picture = _drafted(case), image_name(case.sample)
        made: dict[str, bytes] = {}

        def view(name: str) -> bytes:
            if not made:
                made.update(views(self._images.read(sample.image), *case.compared))
            return made[name]

        names = {name: f"{sample.id}-{name}.png" for name in ("a", "b", "difference")}
        pictures: dict[str, Callable[[], bytes]] = {picture: partial(self._images.read_bytes, sample.image)}
        pictures |= {file: partial(view, name) for name, file in names.items()}
        return _Page(
            sample,
            pictures,
            lambda found: adjudication_task(
                sample,
                case.opinions,
                case.sample.instances,
                {"image": found[picture], **{name: found[file] for name, file in names.items()}},
                case.reason,
            ),
        )

    def pull_cases(self, cases: Sequence[Case], kept: Iterable[Verdict]) -> Pulled:
        """As `Tool.pull_cases`."""
        if not cases:
            return Pulled(ADJUDICATION, "")
        client = self._client_of(ADJUDICATION)
        project = find_project(client, self.title(ADJUDICATION))
        if project is None:
            return Pulled(ADJUDICATION, "")
        shown = {case.sample.id: (_drafted(case), Role.ADJUDICATOR) for case in cases}
        return self._read(client, project, ADJUDICATION, shown, kept)

    def _send(self, client: ReviewClient, project: Project, lane: str, pages: Sequence[_Page]) -> Opened:
        known = {
            str(task.data.get(SAMPLE_ID, "")): task
            for task in client.tasks(project.id, with_annotations=False)
        }
        outdated = sum(
            page.sample.id in known and is_outdated(known[page.sample.id], page.sample) for page in pages
        )
        missing = {page.sample.id: page for page in pages if page.sample.id not in known}
        with self._progress(f"review {lane}", len(missing)) as bar:
            pictures = {name: make for page in missing.values() for name, make in page.pictures.items()}
            found, broken = upload_missing(client, project.id, pictures, bar)
            faults = {
                key: broken[name] for key, page in missing.items() for name in page.pictures if name in broken
            }
            ready = [key for key in missing if key not in faults]
            send_missing(client, project.id, ready, lambda key: missing[key].task(found), bar)
        if missing:
            check_sent_once(client, project.id, [*known, *ready])
        rejections = tuple(
            reject(missing[key].sample, "review", fault.reason, str(fault)) for key, fault in faults.items()
        )
        return Opened(lane, project.url, len(ready), rejections, outdated)

    def _read(
        self,
        client: ReviewClient,
        project: Project,
        lane: str,
        shown: Mapping[str, tuple[Sample, Role]],
        kept: Iterable[Verdict],
    ) -> Pulled:
        """Every submitted annotation of a project, which is left as it is.

        A verdict is judged once, when it is first pulled. One on a proposal that the manifest no longer has
        keeps its pixels and counts as corrected, with no claim about which model proposed them.
        """
        known = {_origin(verdict): verdict for verdict in kept}
        people = client.people()
        verdicts: list[Verdict] = []
        unreadable: list[Rejection] = []
        tasks = open_tasks = strange = outdated = 0
        with self._progress(f"review {lane}", project.tasks) as bar:
            for task in client.tasks(project.id, with_annotations=True):
                bar.advance()
                tasks += 1
                if str(task.data.get(SAMPLE_ID, "")) not in shown:
                    strange += 1
                    continue
                sample, role = shown[str(task.data[SAMPLE_ID])]
                open_tasks += not task.annotations
                if is_outdated(task, sample):
                    outdated += 1
                    sample = replace(sample, instances=())
                for annotation in task.annotations:
                    found = (sample.id, lane, project.id, annotation.id, annotation.updated_at)
                    person = people.get(annotation.user_id)
                    try:
                        verdict = known.get(found)
                        if verdict is None:
                            verdict = _verdict(sample, annotation, person, project.id, lane, role)
                    except ItemFault as fault:
                        detail = f"{lane}: annotation {annotation.id}: {fault}"
                        unreadable.append(reject(sample, "review", fault.reason, detail))
                    else:
                        verdicts.append(verdict)
        verdicts.sort(key=lambda item: (item.sample_id, item.order))
        return Pulled(
            lane,
            project.url,
            tuple(verdicts),
            tuple(unreadable),
            tasks,
            open_tasks,
            strange,
            outdated,
        )


def _drafted(case: Case) -> Sample:
    return replace(case.sample, instances=case.draft)


def find_project(client: ReviewClient, title: str) -> Project | None:
    """Our project of that title, None when there is none yet.

    Raises:
        ConfigError: projects of that title exist, but not exactly one of ours.
    """
    found = client.find_projects(title)
    if not found:
        return None
    ours = [project for project in found if project.description == MARKER]
    if len(ours) != 1 or len(found) != 1:
        raise ConfigError(
            f"{len(found)} Label Studio project(s) are called {title!r}, {len(ours)} of them made by "
            "maskset; choose another review.project or rename them"
        )
    return ours[0]


def _origin(verdict: Verdict) -> tuple[str, str, int, int, str]:
    return verdict.sample_id, verdict.lane, verdict.project_id, verdict.annotation_id, verdict.updated_at


def _verdict(
    sample: Sample, annotation: Annotation, person: Person | None, project: int, lane: str, role: Role
) -> Verdict:
    name = person.name if person is not None else f"user{annotation.user_id}"
    drawing = decode_results(annotation.results, sample.image.size_hw)
    state, instances = judge(sample, drawing, name)
    return Verdict(
        sample_id=sample.id,
        item_key=sample.provenance.item_key,
        state=state,
        reviewer=name,
        reviewer_email=person.email if person is not None else "",
        reviewed_at=annotation.created_at,
        updated_at=annotation.updated_at,
        note=drawing.note,
        instances=instances,
        boxes=drawing.boxes,
        annotation_id=annotation.id,
        project_id=project,
        seconds=annotation.seconds,
        lane=lane,
        role=role,
    )
