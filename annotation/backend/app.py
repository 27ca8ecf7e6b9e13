"""Label Studio's ML backend protocol over HTTP.

    GET  /, /health   is it there; which model, and how the last training went
    POST /setup       a project introduces itself; hears the model version
    POST /predict     proposals for tasks, or a region for the clicks and boxes in `params.context`
    POST /webhook     START_TRAINING, and news that nobody waits for
    POST /train       as START_TRAINING
    GET  /versions    model versions that were at work

Nothing a request says is used as an address or a path: a task names a sample of our own manifest, and its
picture comes from our own store. Access tokens that Label Studio hands over are not looked at.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from annotation.backend.assistant import Assistant
from annotation.backend.retraining import Retrainer
from annotation.label_studio.labelling import SAMPLE_ID
from dataset_tools.core.errors import ItemFault, SuiteError

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 << 20  # tasks travel with the masks of their annotations

# Label Studio gives up on an answer after 100 s and then keeps nothing of it. What is not done by then is
# left out, and asked for again with the next call.
PREDICT_BUDGET_S = 80.0

_OPEN_TO_ALL = "/webhook"


class Refusal(Exception):
    """A request that is not answered; becomes an HTTP status and one line."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def create_app(
    assistant: Assistant,
    key: str | None = None,
    retrainer: Retrainer | None = None,
    *,
    predict_budget_s: float = PREDICT_BUDGET_S,
) -> FastAPI:
    """The application.

    Args:
        assistant: answers.
        key: password of HTTP basic authentication, whatever the user's name; None: whoever speaks to this
            machine by one of its local names is answered.
        retrainer: what START_TRAINING starts; None: training is not offered.
        predict_budget_s: tasks of a request that are not begun by then are left for the next one.
    """
    app = FastAPI(title="maskset", openapi_url=None, docs_url=None, redoc_url=None)
    served = _Served(assistant, key, retrainer, predict_budget_s)

    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            served.check(request)
            return await call(request)
        except Refusal as refusal:
            return _refused(refusal)
        except Exception:
            _log.exception("%s %s", request.method, request.url.path)
            return JSONResponse({"detail": "the backend broke down; its log says where"}, 500)

    for path in ("/", "/health"):
        app.get(path)(served.health)
    app.get("/versions")(served.versions)
    app.post("/setup")(served.setup)
    app.post("/predict")(served.predict)
    app.post("/webhook")(served.webhook)
    app.post("/train")(served.train)
    app.add_exception_handler(Refusal, lambda _, error: _refused(error))
    return app


def _refused(error: Exception) -> Response:
    status = error.status if isinstance(error, Refusal) else 500
    headers = {"WWW-Authenticate": 'Basic realm="maskset"'} if status == 401 else {}
    return JSONResponse({"detail": " ".join(str(error).split())[:500]}, status, headers)


class _Served:
    """The endpoints."""

    def __init__(
        self, assistant: Assistant, key: str | None, retrainer: Retrainer | None, budget_s: float
    ) -> None:
        self._assistant = assistant
        self._key = key
        self._retrainer = retrainer
        self._budget_s = budget_s

    def check(self, request: Request) -> None:
        """Refuse who has not got the key, and pages of other sites that a browser here has open."""
        if self._key is None:
            if not _is_local(request.url.hostname or ""):
                raise Refusal(403, "without a key, only local names of this machine are answered")
        elif request.url.path != _OPEN_TO_ALL and not self._knows_key(request):
            raise Refusal(401, "the key is missing or wrong")
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            raise Refusal(415, "the body must be application/json")

    def _knows_key(self, request: Request) -> bool:
        scheme, _, coded = request.headers.get("authorization", "").partition(" ")
        try:
            said = base64.b64decode(coded, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
        if scheme.lower() != "basic":
            return False
        # Label Studio sends latin-1, most others UTF-8; a key beyond latin-1 it cannot send at all.
        return any(secrets.compare_digest(said, known) for known in _codings(self._key or ""))

    async def health(self) -> dict[str, Any]:
        """That we are there; Label Studio waits for one second."""
        models = self._assistant.models
        values: dict[str, Any] = {"status": "UP", "model_class": models.proposer.name}
        if self._retrainer is not None:
            values["training"] = self._retrainer.progress.values()
        return values | {"model_version": models.version}

    async def versions(self) -> dict[str, Any]:
        """All model versions since the start."""
        return {"versions": list(self._assistant.versions)}

    async def setup(self, request: Request) -> dict[str, Any]:
        """A project is connected, or asks which model is at work now."""
        await _read_object(request)
        return {"model_version": self._assistant.models.version}

    async def predict(self, request: Request) -> dict[str, Any]:
        """One prediction per task, in their order."""
        body = await _read_object(request)
        tasks, params = body.get("tasks"), body.get("params") or {}
        if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
            raise Refusal(400, "tasks must be a list of objects")
        if not isinstance(params, Mapping):
            raise Refusal(400, "params must be an object")
        context = params.get("context")
        if context and len(tasks) != 1:
            raise Refusal(400, "prompts are for one task")
        # In a thread, so that health is answered meanwhile.
        return await anyio.to_thread.run_sync(
            self._predictions, [_sample_id(task) for task in tasks], context
        )

    def _predictions(self, sample_ids: list[str], context: Any) -> dict[str, Any]:
        end = time.monotonic() + self._budget_s
        results: list[dict[str, Any]] = []
        try:
            for sample_id in sample_ids:
                if results and time.monotonic() > end:
                    # Without a `result` Label Studio stores nothing, and asks again next time.
                    results.append({"error": "no time left for this task; ask again"})
                    continue
                answer = self._assistant.segment(sample_id, context) if context else None
                results.append((answer or self._assistant.propose(sample_id)).values())
        except ItemFault as fault:
            raise Refusal(400, f"context: {fault}") from None
        except SuiteError as error:
            raise Refusal(503, str(error)) from error
        return {"results": results}

    async def webhook(self, request: Request) -> Response:
        """START_TRAINING, with the key; all other news is a hint, which Label Studio sends without it."""
        body = await _read_object(request)
        if body.get("action") != "START_TRAINING":
            return JSONResponse({"status": "noted"})
        if self._key is not None and not self._knows_key(request):
            raise Refusal(401, "the key is missing or wrong")
        return self._start_training()

    async def train(self, request: Request) -> Response:
        """As START_TRAINING."""
        await _read_object(request)
        return self._start_training()

    def _start_training(self) -> Response:
        if self._retrainer is None:
            raise Refusal(409, "this backend does not train")
        job = self._retrainer.start()
        if job is None:
            return JSONResponse({"status": "already running"})
        return JSONResponse({"status": "started", "job": job})


def _codings(key: str) -> list[bytes]:
    known = [key.encode()]
    with suppress(UnicodeEncodeError):
        known.append(key.encode("latin-1"))
    return known


def _is_local(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _sample_id(task: Mapping[str, Any]) -> str:
    data = task.get("data")
    return str(data.get(SAMPLE_ID, "")) if isinstance(data, Mapping) else ""


async def _read_object(request: Request) -> Mapping[str, Any]:
    """The body as a JSON object; never more than `MAX_BODY_BYTES` of it are taken in."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise Refusal(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        body = await anyio.to_thread.run_sync(json.loads, bytes(data))
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(body, Mapping):
        raise Refusal(400, "the body must be a JSON object")
    return body
