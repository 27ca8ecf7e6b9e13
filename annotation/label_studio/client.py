"""The Label Studio client: the one file that knows its SDK.

Our types on our side; `ReviewServiceError` for what goes wrong on theirs, `ConfigError` for a token that is
not good enough. Calls that only read are repeated by the SDK after 5xx, 408 and 429; calls that write never
are: after a lost answer the caller looks first what has arrived (`AnswerLost`). Nothing that comes back is
used as a path or URL on our side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from annotation.label_studio.records import Annotation, Person, Project, Task, read_task, readable
from annotation.tokens import TOKEN_VARIABLE
from dataset_tools.core.errors import ConfigError, ReviewServiceError

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

__all__ = ["Annotation", "AnswerLost", "LabelStudioClient", "Person", "Project", "Task"]

DEFAULT_TIMEOUT_S = 60.0
WRITE_TIMEOUT_S = 300.0
READ_TRIES = 3
PAGE_SIZE = 200
MAX_FILES_PER_REQUEST = 100  # the server refuses more
SEQUENTIAL = "Sequential sampling"  # tasks come in the order they were sent

# Of tasks and, after these, of their annotations; without this a page has also proposals, drafts and much
# that is counted for people's eyes, and takes three times as long.
_WITH_ANNOTATIONS = (
    "id,data,annotations,total_annotations,result,completed_by,created_at,updated_at,lead_time,was_cancelled"
)
_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg"}

_Result = TypeVar("_Result")


class AnswerLost(ReviewServiceError):
    """A call that writes timed out or failed on the server's side; it may have been carried out."""


class LabelStudioClient(AbstractContextManager["LabelStudioClient"]):
    """A thin client; close it, or use it as a context manager.

    Args:
        url: base URL of the server.
        token: legacy token or personal access token, both work.
        timeout_s: per call that reads.

    Raises:
        ConfigError: `url` is no http(s) URL, or carries a password; or the token is no longer valid (personal
            tokens say so themselves).
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
            ConfigError: the server does not know the token.
            ReviewServiceError: the server is away.
        """
        return str(self._call("ask who we are", lambda: self._sdk.users.whoami()).email)

    def find_projects(self, title: str) -> list[Project]:
        """Projects of exactly that title, oldest first.

        Raises:
            ConfigError: as every method here, when the token may not do this.
            ReviewServiceError: as every method here, when the server is away or refuses.
        """
        found = self._call(
            "list projects", lambda: list(self._sdk.projects.list(title=title, page_size=PAGE_SIZE))
        )
        return sorted(
            (self._project(item) for item in found if item.title == title), key=lambda item: item.id
        )

    def create_project(
        self, title: str, config: str, description: str, annotators: int, sampling: str = SEQUENTIAL
    ) -> Project:
        """A new project that shows predictions as editable regions.

        Args:
            title: at least 3 characters.
            config: labelling XML.
            description: for people and to recognise it again.
            annotators: annotations wanted per task.
            sampling: order in which people get tasks, in Label Studio's words.
        """
        made = self._call(
            "create the project",
            lambda: self._sdk.projects.create(
                title=title,
                label_config=config,
                description=description,
                maximum_annotations=annotators,
                sampling=sampling,
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

    def views(self, project: int) -> set[str]:
        """Titles of the tabs that people see in a project's data manager."""
        rows = self.request("list tabs", "GET", "api/dm/views/", params={"project": project})
        with readable():
            return {str(row["data"].get("title", "")) for row in rows}

    def create_view(self, project: int, data: Mapping[str, Any]) -> int:
        """Add a tab to the project's data manager.

        Args:
            project: its number.
            data: title, filters, ordering and columns, as the data manager writes them.

        Returns:
            Number of the tab.
        """
        body = {"project": project, "data": dict(data)}
        return int(self.request("add a tab", "POST", "api/dm/views/", json=body)["id"])

    def backends(self, project: int) -> dict[str, int]:
        """Models attached to a project: their URL -> Label Studio's number."""
        rows = self.request("list models", "GET", "api/ml/", params={"project": project})
        with readable():
            return {str(row["url"]).rstrip("/"): int(row["id"]) for row in rows}

    def add_backend(
        self,
        project: int,
        url: str,
        title: str,
        *,
        interactive: bool = True,
        user: str = "",
        password: str = "",
    ) -> int:
        """Attach a model; the server asks it for its health and sets it up at once.

        Args:
            project: its number.
            url: of an ML backend that the server can reach.
            title: shown to people.
            interactive: also ask it while people draw.
            user, password: what the backend wants to hear (HTTP basic), "" for nothing.

        Returns:
            Label Studio's number of it.

        Raises:
            ReviewServiceError: the model does not answer, or the server may not reach it.
        """
        body = {"project": project, "url": url, "title": title, "is_interactive": interactive}
        if user or password:
            body |= {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
        return int(self.request("attach the model", "POST", "api/ml/", json=body)["id"])

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
        self.request(
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
        """All tasks by number, one page in memory at a time.

        Each page begins after the last task seen, so that nothing is missed or comes twice when people work
        meanwhile.

        Raises:
            ReviewServiceError: a page's counts did not agree and changed each time it was read.
        """
        last = 0
        while True:
            page, is_last = self._steady_page(project, last, with_annotations)
            yield from page
            if is_last:
                return
            last = page[-1].id

    def _steady_page(self, project: int, last: int, with_annotations: bool) -> tuple[list[Task], bool]:
        before: list[Task] | None = None
        for _ in range(READ_TRIES):
            page, is_last, agrees = self._page(project, last, with_annotations)
            # Counts are kept apart from what they count, and a server that was killed can leave them wrong;
            # what comes twice the same is true.
            if agrees or page == before:
                return page, is_last
            before = page
        raise ReviewServiceError(
            f"project {project}: the tasks after number {last} changed each time they were read; run again"
        )

    def _page(self, project: int, last: int, with_annotations: bool) -> tuple[list[Task], bool, bool]:
        """Tasks after `last`, whether they are the last ones, and whether the server's counts agree."""
        after = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last}
        query = {"filters": {"conjunction": "and", "items": [after]}, "ordering": ["tasks:id"]}
        fields, include = ("all", _WITH_ANNOTATIONS) if with_annotations else ("task_only", "id,data")
        params = {"project": project, "page_size": PAGE_SIZE, "query": json.dumps(query)}
        params |= {"fields": fields, "include": include}
        answer = self.request("read tasks", "GET", "api/tasks/", params=params)
        with readable():
            rows, total = list(answer["tasks"]), int(answer["total"])
            page = [read_task(row) for row in rows]
            numbers = [task.id for task in page]
            if numbers != sorted(set(numbers)) or (numbers and numbers[0] <= last):
                raise ValueError("tasks out of order")
            agrees = len(page) == min(total, PAGE_SIZE) and (
                not with_annotations
                or all(
                    len(task.annotations) == row["total_annotations"]
                    for task, row in zip(page, rows, strict=True)
                )
            )
        return page, len(page) >= total or not page, agrees

    def request(self, what: str, method: str, path: str, **more: Any) -> Any:
        """A call that the SDK has no method for, or reads less from than we need.

        Args:
            what: for the error's text: "cannot <what>".
            method: GET reads; all others write, and are never repeated.
            path: without a slash at its beginning.
            more: `params`, `json`, `files`.

        Returns:
            The JSON that came back, None when the answer was empty.

        Raises:
            AnswerLost: a writing call that may have been carried out all the same.
        """
        from label_studio_sdk.core.api_error import ApiError

        writes = method != "GET"
        options = {"max_retries": 0, "timeout": WRITE_TIMEOUT_S} if writes else None
        # The SDK's own transport: it adds the token, and renews it when it is a personal one.
        transport = self._sdk._client_wrapper.httpx_client

        def call() -> Any:
            response = transport.request(path, method=method, request_options=options, **more)
            if response.status_code >= 400:
                raise ApiError(status_code=response.status_code, body=response.text)
            return response.json() if response.content else None

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
            if status in (401, 403):
                raise ConfigError(f"{self.url}: cannot {what}: {_denied(status, error.body)}") from error
            kind = lost if status >= 500 or status == 408 else ReviewServiceError
            raise kind(f"{self.url}: cannot {what}: {_said(status, error.body)}") from error
        except httpx.ConnectError as error:
            raise ReviewServiceError(f"{self.url}: cannot {what}: no server answers there") from error
        except httpx.HTTPError as error:
            raise lost(f"{self.url}: cannot {what}: {type(error).__name__}") from error
        except (jwt.PyJWTError, pydantic.ValidationError, ValueError) as error:
            raise lost(f"{self.url}: cannot {what}: unreadable answer ({type(error).__name__})") from error


def _said(status: int, body: Any) -> str:
    detail = body
    if isinstance(body, dict):
        detail = body.get("validation_errors") or body.get("detail") or ""
    return f"HTTP {status} {' '.join(str(detail).split())[:200]}"


def _denied(status: int, body: Any) -> str:
    if status == 401:
        return f"HTTP 401, the token is unknown or expired; see {TOKEN_VARIABLE}"
    return f"{_said(status, body)}: the token may not do this; see {TOKEN_VARIABLE}"
