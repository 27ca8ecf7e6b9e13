"""A picture search on this machine, answering as told, and archives with all kinds of trouble."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from dataset_tools.core.settings import parse_settings
from dataset_tools.crawl.items import SourceItem
from dataset_tools.crawl.listing import list_items
from dataset_tools.crawl.settings import CrawlSettings

QUICK = {"deadline_s": 5.0, "idle_s": 2.0, "retry_pause_s": 0.01, "host_pause_s": 0.0, "tries": 2}


@dataclass
class Api:
    """The service: `reply` gets a request's parameters and gives a JSON value, or (status, headers, body)."""

    reply: Callable[[dict[str, str]], Any] = lambda params: {}
    origin: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return self.origin + "/api"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api

    def log_message(self, format: str, *args: Any) -> None:
        return None

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        params = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.path != "/api":
            status, headers, body = 404, {}, b"not here"
        else:
            self.api.asked.append(params)
            self.api.headers.append(dict(self.headers))
            answer = self.api.reply(params)
            if isinstance(answer, tuple):
                status, headers, body = answer
            else:
                status, headers, body = 200, {}, json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        return None  # clients that hang up are no news


@pytest.fixture
def api() -> Iterator[Api]:
    """A fresh service."""
    api = Api()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    api.origin = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield api
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def list_with(tmp_path: Path) -> Callable[..., list[SourceItem]]:
    """List one source; keeps answers in one folder over all calls of a test."""

    def run(source: dict[str, Any], *origins: str, **fetch: Any) -> list[SourceItem]:
        values = {"sources": [source], "allow_origins": origins, "fetch": {**QUICK, **fetch}}
        return list_items(parse_settings(CrawlSettings, values, "test.yaml"), tmp_path / "listings")

    return run


@pytest.fixture
def reason() -> Callable[[SourceItem], str]:
    """The word of an item's fault, "" when it is good."""
    return lambda item: item.fault.reason.value if item.fault else ""


@pytest.fixture
def make_tar() -> Callable[..., bytes]:
    """A tar of (name or TarInfo, content) members."""

    def make(*members: tuple[Any, bytes], mode: str = "w") -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
            for named, data in members:
                info = named if isinstance(named, tarfile.TarInfo) else tarfile.TarInfo(named)
                info.size = len(data) if info.isreg() else 0
                archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
        return buffer.getvalue()

    return make


@pytest.fixture
def make_zip() -> Callable[..., bytes]:
    """A zip of (name or ZipInfo, content) members."""

    def make(*members: tuple[Any, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for named, data in members:
                archive.writestr(named, data, compress_type=method)
        return buffer.getvalue()

    return make
