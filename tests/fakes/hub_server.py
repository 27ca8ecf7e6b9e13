"""A small server that speaks the Hugging Face Hub's real HTTP protocol for dataset and model repositories.

It checks what the Hub checks: the token and its rights, the SHA-256 of uploaded bytes, that a committed LFS
file was uploaded to this very repository, the parent commit, 409 on creating what exists.

Faults make it misbehave on purpose:

    "500"        any status: answered instead of doing anything
    "done:500"   done, and then that status answered
    "cut"        half the request is read, then the connection is closed
    "done:cut"   done, and the connection closed without an answer
    "half"       done, and half the answer sent
    "moved"      somebody else commits first
    "kill", "done:kill"   the client process `victim` is killed before it is done, or right after

`script` names the request a fault belongs to by its number, `faults` by its route.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def _load_repos() -> Any:
    # Test folders are no packages; this one is loaded by its path, too.
    spec = importlib.util.spec_from_file_location("fake_hub_repos", Path(__file__).with_name("hub_repos.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


repos = _load_repos()
Entry, Repo, Request, Answer = repos.Entry, repos.Repo, repos.Request, repos.Answer
refuse, reply = repos.refuse, repos.reply


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.token = token
        self.reader_token = f"{token}_reader"
        self.all_repos: dict[tuple[str, str], Any] = {}
        self.faults: dict[str, list[str]] = {}  # last part of the route: faults of its next calls
        self.script: dict[int, str] = {}  # number of the request: fault
        self.calls: list[str] = []
        self.complaints: list[str] = []
        self.retry_after: str | None = None
        self.part_bytes = 1 << 40
        self.keeps_squashed = False
        self.victim = 0
        self.on_each: Callable[[], None] = lambda: None
        self.lock = threading.RLock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def repos(self) -> dict[str, Any]:
        """Dataset repositories by name."""
        return {name: repo for (kind, name), repo in self.all_repos.items() if kind == "datasets"}

    @property
    def models(self) -> dict[str, Any]:
        return {name: repo for (kind, name), repo in self.all_repos.items() if kind == "models"}

    def handle_error(self, request: object, client_address: object) -> None:
        return None  # a client that was killed or cut off

    def fault_of(self, number: int, route: str) -> str:
        queue = self.faults.get(route, [])
        return self.script.get(number) or (queue.pop(0) if queue else "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer is one packet
    server: HubServer

    def log_message(self, *_: object) -> None:
        return None

    def _serve(self) -> None:
        split = urlsplit(self.path)
        parts = [unquote(part) for part in split.path.strip("/").split("/")]
        length = int(self.headers.get("Content-Length") or 0)
        with self.server.lock:
            number = len(self.server.calls)
            self.server.calls.append(f"{self.command} {unquote(split.path)}")
            fault = self.server.fault_of(number, _route_name(parts))
        if fault == "cut":
            self.rfile.read(length // 2)
            return self._close()
        request = Request(self.command, parts, parse_qs(split.query), self.rfile.read(length), self.headers)
        if fault == "kill":
            return self._kill()
        if fault.isdigit():
            return self._send(refuse(int(fault), self._blame()))
        with self.server.lock:
            if fault == "moved":
                _somebody_else_commits(self.server, parts)
            answer = self._answer(request)
            self.server.on_each()
        if fault == "done:kill":
            return self._kill()
        if fault == "done:cut":
            return self._close()
        if fault.startswith("done:"):
            answer = refuse(int(fault[5:]), self._blame())
        return self._send(answer, half=fault == "half")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _blame(self) -> str:
        # A careless proxy shows what it was sent; the token in it must not reach anybody's screen.
        return f"on purpose, after {self.headers.get('Authorization')}"

    def _kill(self) -> None:
        os.kill(self.server.victim, signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _send(self, answer: Any, *, half: bool = False) -> None:
        self.send_response(answer.status)
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        if self.server.retry_after is not None and answer.status in (429, 503):
            headers["Retry-After"] = self.server.retry_after
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: len(answer.body) // 2] if half else answer.body)
        if half:
            self.wfile.flush()
            self._close()

    def _answer(self, request: Any) -> Any:
        parts = request.parts
        sent = self.headers.get("Authorization")
        if parts[0] in ("lfs-put", "lfs-complete"):  # signed addresses of the storage: no token there
            if sent:
                self.server.complaints.append("the token went to the storage server")
            return repos.store(self.server, request)
        if sent is not None and sent not in (
            f"Bearer {self.server.token}",
            f"Bearer {self.server.reader_token}",
        ):
            return refuse(401, "Invalid user token.")
        if request.method not in ("GET", "HEAD") and parts[-2:-1] != ["paths-info"]:
            if sent is None:
                return refuse(401, "Invalid username or password.")
            if sent != f"Bearer {self.server.token}":
                return refuse(403, "The token has not the right to write")
        if parts == ["api", "repos", "create"]:
            return repos.create(self.server, request.json)
        if parts == ["api", "validate-yaml"]:
            return reply({"errors": [], "warnings": []})
        if parts == ["api", "whoami-v2"]:
            return reply(
                {"type": "user", "name": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}}
            )
        kind, name, rest = _address(parts)
        repo = self.server.all_repos.get((kind, name))
        if repo is None or (repo.private and sent is None):
            return refuse(404 if sent else 401, "Repository not found", "RepoNotFound")
        return repos.of_repo(self.server, repo, rest, request)


def _route_name(parts: list[str]) -> str:
    named = ("commit", "tag", "preupload", "tree", "refs", "resolve", "super-squash", "revision", "settings")
    return next((part for part in parts if part in named), parts[-1])


def _address(parts: list[str]) -> tuple[str, str, list[str]]:
    """Kind, name, and what follows; the web addresses of models lack the kind."""
    if parts[0] == "api":
        return parts[1], "/".join(parts[2:4]), parts[4:]
    if parts[0] == "lfs-verify":
        return parts[1], "/".join(parts[2:4]), [parts[0], *parts[4:]]
    kind, found = ("datasets", parts[1:]) if parts[0] == "datasets" else ("models", parts)
    return kind, "/".join(found[:2]).removesuffix(".git"), found[2:]


def _somebody_else_commits(server: HubServer, parts: list[str]) -> None:
    kind, name, _ = _address(parts)
    repo = server.all_repos[(kind, name)]
    repo.branches["main"] = repo.add(
        {**repo.trees[repo.head], "other.txt": Entry(b"someone else")}, repo.head
    )


@contextmanager
def serve(token: str) -> Iterator[HubServer]:
    server = HubServer(token)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
