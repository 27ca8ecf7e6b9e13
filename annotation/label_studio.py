"""The Label Studio client: the one file that knows its SDK.

Our types on our side, `ReviewServiceError` for all that goes wrong on theirs. Calls that only read are
repeated by the SDK after 5xx, 408 and 429; calls that write never are: after a lost answer the caller
looks first what has arrived (`AnswerLost`). Nothing that comes back is used as a path or URL on our side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from dataset_tools.core.errors import ConfigError, ReviewServiceError

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"  # noqa: S105 - the name of a variable, not a secret

DEFAULT_TIMEOUT_S = 60.0
WRITE_TIMEOUT_S = 300.0
READ_TRIES = 3
PAGE_SIZE = 200
MAX_FILES_PER_REQUEST = 100  # the server refuses more

_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg"}

_Result = TypeVar("_Result")


class AnswerLost(ReviewServiceError):
    """A call that writes timed out or failed on the server's side; it may have been carried out."""


@dataclass(frozen=True, slots=True)
class Project:
    """A review project.

    Attributes:
        id: Label Studio's number.
        title: as shown in its list.
        description: our marker stands here.
        tasks: number of tasks.
        url: page for people.
    """

    id: int
    title: str
    description: str
    tasks: int
    url: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """One submitted annotation of a task, results unread.

    Attributes:
        id: Label Studio's number.
        user_id: who made it.
        created_at, updated_at: UTC, ISO 8601, as the server says them.
        seconds: time spent, 0 when not known.
        results: untrusted.
    """

    id: int
    user_id: int
    created_at: str
    updated_at: str
    seconds: float
    results: list[Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One task as the server holds it.

    Attributes:
        id: Label Studio's number.
        data: untrusted; holds our keys.
        annotations: submitted ones; skipped ones and drafts are left out.
    """

    id: int
    data: Mapping[str, Any]
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """An account on the server; `name` is what the dataset will show."""

    id: int
    email: str
    name: str


def token_from_environment() -> str:
    """The API token; it comes from the environment alone and is never stored or logged.

    Raises:
        ConfigError: not set.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise ConfigError(
            f"set {TOKEN_VARIABLE} to an access token of your Label Studio account "
            "(Account & Settings > Access Token); `review serve` prints one"
        )
    return token


class LabelStudioClient(AbstractContextManager["LabelStudioClient"]):
    """A thin client; close it, or use it as a context manager.

    Args:
        url: base URL of the server.
        token: legacy token or personal access token, both work.
        timeout_s: per call that reads.

    Raises:
        ConfigError: `url` is no http(s) URL, or carries a password.
        ReviewServiceError: the token is no longer valid (personal tokens say so themselves).
    """

    def __init__(self, url: str, token: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.password or parts.username:
            raise ConfigError("the review URL must look like http://host:port, without user or password")
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        import httpx
        from label_studio_sdk import LabelStudio

        self._http = httpx.Client(timeout=timeout_s, follow_redirects=True)
        self._sdk: LabelStudio = self._call(
            "read the token",
            lambda: LabelStudio(
                base_url=self.url,
                api_key=token,
                httpx_client=self._http,
                timeout=timeout_s,
                max_retries=READ_TRIES - 1,
            ),
        )

    def __repr__(self) -> str:
        return f"LabelStudioClient({self.url!r})"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def whoami(self) -> str:
        """E-mail of the token's owner.

        Raises:
            ReviewServiceError: the server is away or does not know the token.
        """
        return str(self._call("ask who we are", lambda: self._sdk.users.whoami()).email)

    def find_projects(self, title: str) -> list[Project]:
        """Projects of exactly that title, oldest first.

        Raises:
            ReviewServiceError: as every method here.
        """
        found = self._call(
            "list projects", lambda: list(self._sdk.projects.list(title=title, page_size=PAGE_SIZE))
        )
        return sorted(
            (self._project(item) for item in found if item.title == title), key=lambda item: item.id
        )

    def create_project(self, title: str, config: str, description: str, annotators: int) -> Project:
        """A new project that shows predictions as editable regions.

        Args:
            title: at least 3 characters.
            config: labelling XML.
            description: for people and to recognise it again.
            annotators: annotations wanted per task.
        """
        made = self._call(
            "create the project",
            lambda: self._sdk.projects.create(
                title=title,
                label_config=config,
                description=description,
                maximum_annotations=annotators,
                show_collab_predictions=True,
                request_options={"max_retries": 0, "timeout": WRITE_TIMEOUT_S},
            ),
            writes=True,
        )
        return self._project(made)

    def _project(self, item: Any) -> Project:
        return Project(
            id=int(item.id),
            title=str(item.title),
            description=str(item.description or ""),
            tasks=int(getattr(item, "task_number", None) or 0),
            url=f"{self.url}/projects/{int(item.id)}/data",
        )

    def people(self) -> dict[int, Person]:
        """All accounts by number; the name is the full name, or else the e-mail's part before the @."""
        users = self._call("list users", lambda: list(self._sdk.users.list()))
        return {
            int(user.id): Person(
                int(user.id),
                str(user.email),
                f"{user.first_name or ''} {user.last_name or ''}".strip() or str(user.email).split("@")[0],
            )
            for user in users
        }

    def uploaded_images(self, project: int) -> dict[str, str]:
        """Pictures the project already has: the name we gave -> the address to put into tasks."""
        files = self._call("list uploads", lambda: self._sdk.files.list(project, all_=True))
        found = {}
        for file in files:
            stored = str(file.file).rsplit("/", 1)[-1]
            # The server puts 8 random hex digits and a dash before our name.
            found[stored.partition("-")[2]] = f"/data/upload/{project}/{stored}"
        return found

    def upload_images(self, project: int, images: Sequence[tuple[str, bytes]]) -> None:
        """Upload pictures.

        Args:
            project: its number.
            images: at most `MAX_FILES_PER_REQUEST` pairs of name (ends in .png or .jpg) and bytes.

        Raises:
            AnswerLost: they may have arrived all the same; look with `uploaded_images`.
        """
        files = {
            f"file{index}": (name, data, _MEDIA_TYPES[name.rsplit(".", 1)[-1]])
            for index, (name, data) in enumerate(images)
        }
        self._request(
            "upload pictures",
            "POST",
            f"api/projects/{project}/import",
            params={"commit_to_project": "false"},
            files=files,
        )

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]]) -> None:
        """Add tasks with their predictions.

        Raises:
            AnswerLost: they may have arrived all the same; look with `tasks`.
            ReviewServiceError: refused, or fewer were taken than sent.
        """
        answer = self._call(
            "send tasks",
            lambda: self._sdk.projects.import_tasks(
                id=project,
                request=list(tasks),
                request_options={"max_retries": 0, "timeout": WRITE_TIMEOUT_S},
            ),
            writes=True,
        )
        if answer.task_count != len(tasks):
            raise AnswerLost(f"Label Studio took {answer.task_count} of {len(tasks)} tasks")

    def tasks(self, project: int, *, with_annotations: bool) -> Iterator[Task]:
        """All tasks page by page, by number.

        Raises:
            ReviewServiceError: fewer or more tasks or annotations came than the server counts: somebody
                changed the project meanwhile; run again.
        """
        fields = {"fields": "all"} if with_annotations else {"fields": "task_only", "include": "id,data"}
        seen, annotations, page = 0, 0, 1
        while True:
            query = {"project": project, "page": page, "page_size": PAGE_SIZE, **fields}
            answer = self._request("read tasks", "GET", "api/tasks/", params=query)
            with _readable():
                rows, total = list(answer["tasks"]), int(answer["total"])
                expected = int(answer["total_annotations"])
                tasks = [_task(row) for row in rows]
                annotations += sum(int(row.get("total_annotations", 0)) for row in rows)
            yield from tasks
            seen += len(tasks)
            page += 1
            if seen >= total or not tasks:
                break
        if seen != total or (with_annotations and annotations != expected):
            raise ReviewServiceError(
                f"project {project} has {total} tasks and {expected} annotations, {seen} and {annotations} "
                "came; somebody is changing it: run again"
            )

    def _request(self, what: str, method: str, path: str, **more: Any) -> Any:
        """A call that the SDK has no method for, or reads less from than we need; JSON back."""
        from label_studio_sdk.core.api_error import ApiError

        writes = method != "GET"
        options = {"max_retries": 0, "timeout": WRITE_TIMEOUT_S} if writes else None
        # The SDK's own transport: it adds the token, and renews it when it is a personal one.
        transport = self._sdk._client_wrapper.httpx_client

        def call() -> Any:
            response = transport.request(path, method=method, request_options=options, **more)
            if response.status_code >= 400:
                raise ApiError(status_code=response.status_code, body=response.text)
            return response.json()

        return self._call(what, call, writes=writes)

    def _call(self, what: str, call: Callable[[], _Result], *, writes: bool = False) -> _Result:
        import httpx
        import jwt
        import pydantic
        from label_studio_sdk.core.api_error import ApiError

        lost = AnswerLost if writes else ReviewServiceError
        try:
            return call()
        except ApiError as error:
            status = error.status_code or 0
            kind = lost if status >= 500 or status == 408 else ReviewServiceError
            raise kind(f"{self.url}: cannot {what}: {_said(status, error.body)}") from error
        except httpx.ConnectError as error:
            raise ReviewServiceError(f"{self.url}: cannot {what}: no server answers there") from error
        except httpx.HTTPError as error:
            raise lost(f"{self.url}: cannot {what}: {type(error).__name__}") from error
        except (jwt.PyJWTError, pydantic.ValidationError, ValueError) as error:
            raise lost(f"{self.url}: cannot {what}: unreadable answer ({type(error).__name__})") from error


def _said(status: int, body: Any) -> str:
    if status in (401, 403):
        return f"HTTP {status}, the token in {TOKEN_VARIABLE} is unknown, expired, or may not do this"
    detail = body
    if isinstance(body, dict):
        detail = body.get("validation_errors") or body.get("detail") or ""
    return f"HTTP {status} {' '.join(str(detail).split())[:200]}"


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReviewServiceError(f"Label Studio sent a task that cannot be read: {error!r}") from error


def _task(row: dict[str, Any]) -> Task:
    return Task(
        id=int(row["id"]),
        data=dict(row["data"]),
        annotations=tuple(
            Annotation(
                id=int(item["id"]),
                user_id=_user_id(item.get("completed_by")),
                created_at=str(item["created_at"]),
                updated_at=str(item["updated_at"]),
                seconds=float(item.get("lead_time") or 0.0),
                results=list(item["result"]),
            )
            for item in row.get("annotations", [])
            if not item.get("was_cancelled")
        ),
    )


def _user_id(completed_by: Any) -> int:
    return int(completed_by["id"] if isinstance(completed_by, dict) else completed_by or 0)
