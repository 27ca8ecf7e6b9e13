"""Review sessions: show samples and their proposals on a Label Studio server, pull verdicts back.

Both directions can be cut off anywhere and run again: pictures and tasks carry our keys, what is there
already is not sent again, and reading changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pydantic import Field

from annotation.codec import decode_results
from annotation.judging import judge
from annotation.label_studio import Annotation, Person, Project
from annotation.labelling import SAMPLE_ID, labelling_config
from annotation.sending import (
    ReviewClient,
    check_sent_once,
    is_outdated,
    send_missing,
    upload_missing,
)
from annotation.verdict import Verdict
from dataset_tools.core.errors import ConfigError, ItemFault
from dataset_tools.core.images import ImageStore
from dataset_tools.core.progress import ProgressFactory, silent
from dataset_tools.core.record import Rejection, ReviewState, Sample
from dataset_tools.core.seeds import generator
from dataset_tools.core.settings import Settings
from dataset_tools.core.stage import reject

# Marks our projects; another one of the same title is never touched.
MARKER = "Made by maskset review; change the labels and nothing can be read back."


class ReviewSettings(Settings):
    """How a review session is opened. The token is not here: it comes from LABEL_STUDIO_API_KEY alone.

    Attributes:
        url: of the Label Studio server.
        project: its title there; one project per dataset.
        synthetic_share: share of the rendered, already labelled samples that people see as well.
        annotators: annotations wanted per sample.
    """

    url: str = "http://127.0.0.1:8080"
    project: str = Field(default="maskset review", min_length=3, max_length=50)
    synthetic_share: float = Field(default=0.05, ge=0.0, le=1.0)
    annotators: int = Field(default=1, ge=1)


@dataclass(frozen=True, slots=True)
class OpenedReview:
    """What `open_review` did.

    Attributes:
        project: where people go.
        selected: samples chosen for review.
        sent: tasks sent by this call; 0 when all were there.
        rejections: samples that could not be shown, such as a picture that is gone.
        outdated: tasks sent earlier that show another proposal than their sample has now.
    """

    project: Project
    selected: int
    sent: int
    rejections: tuple[Rejection, ...] = ()
    outdated: int = 0


@dataclass(frozen=True, slots=True)
class ClosedReview:
    """What `close_review` brought back.

    Attributes:
        project: where it came from.
        verdicts: one per submitted annotation, by sample and time.
        unreadable: annotations whose content breaks a rule; their samples stay as they were.
        open_tasks: tasks nobody has submitted yet.
        strange_tasks: tasks whose key no sample of the manifest has.
        outdated_tasks: tasks that show another proposal than their sample has now.
    """

    project: Project
    verdicts: tuple[Verdict, ...]
    unreadable: tuple[Rejection, ...]
    open_tasks: int
    strange_tasks: int
    outdated_tasks: int = 0

    def counts(self) -> dict[str, int]:
        """Verdicts by state."""
        return dict(sorted(Counter(verdict.state.value for verdict in self.verdicts).items()))

    @property
    def contested(self) -> int:
        """Samples with verdicts of different states; the one changed last counts."""
        states: dict[str, set[ReviewState]] = {}
        for verdict in self.verdicts:
            states.setdefault(verdict.sample_id, set()).add(verdict.state)
        return sum(len(found) > 1 for found in states.values())


@dataclass(frozen=True, slots=True)
class ReviewStatus:
    """How far a session is: tasks in all, with at least one annotation, and annotations per person."""

    project: Project
    tasks: int
    annotated: int
    by_person: dict[str, int]


def select_for_review(samples: Iterable[Sample], settings: ReviewSettings, seed: int) -> Iterator[Sample]:
    """Samples that people should see: all that are not labelled, and a drawn share of the rendered ones.

    The draw depends on seed and sample alone. Published labels and samples with a verdict are left out.
    """
    for sample in samples:
        if sample.review.state is not ReviewState.NOT_SEEN:
            continue
        if not sample.is_labelled or (
            sample.is_synthetic and generator(seed, sample.id, "review").random() < settings.synthetic_share
        ):
            yield sample


def open_review(
    samples: Iterable[Sample],
    images: ImageStore,
    client: ReviewClient,
    settings: ReviewSettings,
    *,
    seed: int = 0,
    progress: ProgressFactory = silent,
) -> OpenedReview:
    """Create or find the project and send what it lacks.

    Args:
        samples: the whole manifest; `select_for_review` chooses.
        images: picture store of the workspace.
        client: of the server.
        settings: of the session.
        seed: of the run, for the drawn share.
        progress: display.

    Raises:
        ConfigError: a project of that title exists that is not ours, or there are several.
        ReviewServiceError: the server failed; what has arrived stays, run again.
    """
    project = find_project(client, settings.project) or client.create_project(
        settings.project, labelling_config(), MARKER, settings.annotators
    )
    chosen = {sample.id: sample for sample in select_for_review(samples, settings, seed)}
    known = {
        str(task.data.get(SAMPLE_ID, "")): task for task in client.tasks(project.id, with_annotations=False)
    }
    outdated = sum(key in chosen and is_outdated(task, chosen[key]) for key, task in known.items())
    missing = [sample for key, sample in sorted(chosen.items()) if key not in known]
    with progress("review", len(missing)) as bar:
        ready, broken = upload_missing(client, project.id, missing, images, bar)
        send_missing(client, project.id, ready, bar)
    if missing:
        check_sent_once(client, project.id, chosen.keys() - {item.sample_id for item in broken})
    return OpenedReview(project, len(chosen), len(ready), tuple(broken), outdated)


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


def close_review(
    client: ReviewClient,
    samples: Iterable[Sample],
    settings: ReviewSettings,
    *,
    kept: Iterable[Verdict] = (),
    progress: ProgressFactory = silent,
) -> ClosedReview:
    """Pull every submitted annotation; the project itself is left as it is.

    A verdict is judged once, when it is first pulled. One on a proposal that the manifest no longer has
    keeps its pixels and counts as corrected, with no claim about which model proposed them.

    Args:
        client: of the server.
        samples: the manifest that was opened for review.
        settings: of the session.
        kept: verdicts pulled before.
        progress: display.

    Raises:
        ConfigError: there is no such project.
        ReviewServiceError: the server failed, or its counts do not agree with what came.
    """
    project = _existing(client, settings.project)
    shown = {sample.id: sample for sample in samples}
    known = {_origin(verdict): verdict for verdict in kept}
    people = client.people()
    verdicts: list[Verdict] = []
    unreadable: list[Rejection] = []
    open_tasks = strange = outdated = 0
    with progress("review", project.tasks) as bar:
        for task in client.tasks(project.id, with_annotations=True):
            bar.advance()
            sample = shown.get(str(task.data.get(SAMPLE_ID, "")))
            if sample is None:
                strange += 1
                continue
            open_tasks += not task.annotations
            if is_outdated(task, sample):
                outdated += 1
                sample = replace(sample, instances=())
            for annotation in task.annotations:
                found = (sample.id, project.id, annotation.id, annotation.updated_at)
                try:
                    person = people.get(annotation.user_id)
                    verdicts.append(known.get(found) or _verdict(sample, annotation, person, project.id))
                except ItemFault as fault:
                    detail = f"annotation {annotation.id}: {fault}"
                    unreadable.append(reject(sample, "review", fault.reason, detail))
    verdicts.sort(key=lambda item: (item.sample_id, item.order))
    return ClosedReview(project, tuple(verdicts), tuple(unreadable), open_tasks, strange, outdated)


def _origin(verdict: Verdict) -> tuple[str, int, int, str]:
    return verdict.sample_id, verdict.project_id, verdict.annotation_id, verdict.updated_at


def _verdict(sample: Sample, annotation: Annotation, person: Person | None, project: int) -> Verdict:
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
    )


def review_status(client: ReviewClient, settings: ReviewSettings) -> ReviewStatus:
    """Count what has been done so far.

    Raises:
        ConfigError: there is no such project.
        ReviewServiceError: the server failed.
    """
    project = _existing(client, settings.project)
    people = client.people()
    tasks = annotated = 0
    by_person: dict[str, int] = {}
    for task in client.tasks(project.id, with_annotations=True):
        tasks += 1
        annotated += bool(task.annotations)
        for annotation in task.annotations:
            person = people.get(annotation.user_id)
            name = person.name if person is not None else f"user{annotation.user_id}"
            by_person[name] = by_person.get(name, 0) + 1
    return ReviewStatus(project, tasks, annotated, dict(sorted(by_person.items())))


def _existing(client: ReviewClient, title: str) -> Project:
    project = find_project(client, title)
    if project is None:
        raise ConfigError(f"no Label Studio project is called {title!r}; open the review first")
    return project
