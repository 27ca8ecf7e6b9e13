"""Making our ML backend known to a Label Studio project."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annotation.label_studio.client import LabelStudioClient

# Label Studio takes a project's model version for a backend's title where the two are equal, so this must be
# none that proposals are sent with.
TITLE = "maskset assistant"
USER = "maskset"
KEY_VARIABLE = "MASKSET_BACKEND_KEY"


def key_from_environment() -> str:
    """The backend's key; it comes from the environment alone. "" when there is none."""
    return os.environ.get(KEY_VARIABLE, "").strip()


def connect_backend(client: LabelStudioClient, project_id: int, url: str, key: str | None = None) -> int:
    """Attach the backend to a project for proposals, clicks and boxes, unless it is attached already.

    What people are shown when they open a task stays what was sent: a project that shows nothing yet would
    otherwise be switched to whatever the backend says at that moment, which no verdict could be compared
    with, and which would give away which samples are gold.

    Args:
        client: of somebody who may change the project.
        project_id: Label Studio's number.
        url: of the running backend, as Label Studio reaches it.
        key: the backend's key, handed over as the password of HTTP basic authentication; None: from the
            environment, "": none.

    Returns:
        Label Studio's number of the backend.

    Raises:
        ReviewServiceError: Label Studio cannot reach the backend, or the key is not the backend's.
    """
    address = url.rstrip("/")
    key = key_from_environment() if key is None else key
    path = f"api/projects/{project_id}/"
    shown = client.request("read the project", "GET", path).get("model_version") or ""
    number = client.backends(project_id).get(address)
    if number is None:
        user = USER if key else ""
        number = client.add_backend(project_id, address, TITLE, user=user, password=key)
    elif shown != TITLE:
        return number
    shown = "" if shown == TITLE else shown  # an earlier call may have been cut off in between
    client.request("keep what is shown", "PATCH", path, json={"model_version": shown})
    return number
