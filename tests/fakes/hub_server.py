"""A small server that speaks the Hugging Face Hub's real HTTP protocol for dataset repositories.

It checks what the Hub checks: the token, the SHA-256 of uploaded bytes, that a committed LFS file was
uploaded, the parent commit, and 409 on creating what exists. `faults` makes it misbehave on purpose.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repo:
    private: bool
    commits: list[tuple[str, dict[str, tuple[bytes, bool]]]] = field(default_factory=list)  # path: bytes, lfs

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, tuple[bytes, bool]]:
        return self.commits[-1][1]

    def commit(self, files: dict[str, tuple[bytes, bool]]) -> str:
        listing = json.dumps([len(self.commits), *((p, git_oid(d)) for p, (d, _) in sorted(files.items()))])
        self.commits.append((hashlib.sha1(listing.encode()).hexdigest(), files))
        return self.head


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.token = token
        self.repos: dict[str, Repo] = {}
        self.uploads: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}  # "commit": ["500-but-done", ...]
        self.calls: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_: object) -> None:
        return None

    def do_GET(self) -> None:
        self._serve("GET")

    def do_HEAD(self) -> None:
        self._serve("HEAD")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.calls.append(f"{method} {path}")
        if path.startswith("/lfs-put/"):
            return self._put(path.rsplit("/", 1)[1], body)
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self._answer(401, {"error": "Invalid user token."})
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if path == "/lfs-verify":
            return self._answer(200, {})
        if parts[0] == "datasets" and parts[-1] == "batch":
            return self._batch(json.loads(body))
        if parts[:2] == ["api", "datasets"]:
            return self._api("/".join(parts[2:4]), parts[4:], body)
        if parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            return self._resolve("/".join(parts[1:3]), "/".join(parts[5:]), method)
        return self._answer(404, {"error": f"no route {path}"}, code="EntryNotFound")

    def _create(self, request: dict) -> None:
        name = "/".join(filter(None, (request.get("organization") or "user", request["name"])))
        answer = {"url": f"{self.server.url}/datasets/{name}", "name": name, "id": name}
        if name in self.server.repos:
            return self._answer(409, {**answer, "error": "You already created this dataset repo"})
        repo = Repo(private=request.get("visibility") == "private" or request.get("private") is True)
        repo.commit({".gitattributes": (b"*.parquet filter=lfs\n", False)})
        self.server.repos[name] = repo
        return self._answer(200, answer)

    def _api(self, name: str, rest: list[str], body: bytes) -> None:
        repo = self.server.repos.get(name)
        if repo is None:
            return self._answer(404, {"error": "Repository not found"}, code="RepoNotFound")
        if not rest or rest[0] == "revision":
            siblings = [{"rfilename": path} for path in repo.files]
            return self._answer(
                200, {"id": name, "sha": repo.head, "private": repo.private, "siblings": siblings, "tags": []}
            )
        if rest[0] == "tree":
            return self._answer(200, [_entry(path, *content) for path, content in sorted(repo.files.items())])
        if rest[0] == "preupload":
            files = [
                {"path": f["path"], "uploadMode": _mode(f["path"]), "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": files})
        if rest[0] == "commit":
            return self._commit(repo, name, [json.loads(line) for line in body.splitlines() if line.strip()])
        return self._answer(404, {"error": "no such call"}, code="EntryNotFound")

    def _batch(self, request: dict) -> None:
        objects = []
        for item in request["objects"]:
            entry = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.server.uploads:
                entry["actions"] = {
                    "upload": {"href": f"{self.server.url}/lfs-put/{item['oid']}", "header": {}},
                    "verify": {"href": f"{self.server.url}/lfs-verify", "header": {}},
                }
            objects.append(entry)
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _put(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._answer(422, {"error": "sha256 does not match"})
        self.server.uploads[oid] = body
        return self._answer(200, {})

    def _commit(self, repo: Repo, name: str, lines: list[dict]) -> None:
        fault = self.server.faults.get("commit", [])
        kind = fault.pop(0) if fault else ""
        if kind == "moved":
            repo.commit({**repo.files, "other.txt": (b"someone else", False)})
        files = dict(repo.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit") not in (None, repo.head):
                return self._answer(412, {"error": "A commit has happened since. Please refresh."})
            if line["key"] == "file":
                files[value["path"]] = (base64.b64decode(value["content"]), False)
            if line["key"] == "lfsFile":
                if value["oid"] not in self.server.uploads:
                    return self._answer(400, {"error": f"LFS object {value['oid']} was not uploaded"})
                files[value["path"]] = (self.server.uploads[value["oid"]], True)
            if line["key"] == "deletedFile":
                del files[value["path"]]
        if kind == "500":
            return self._answer(500, {"error": "Internal"})
        oid = repo.commit(files)
        if kind == "500-but-done":
            return self._answer(500, {"error": "Internal"})
        url = f"{self.server.url}/datasets/{name}/commit/{oid}"
        return self._answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def _resolve(self, name: str, path: str, method: str) -> None:
        repo = self.server.repos.get(name)
        if repo is None:
            return self._answer(404, {"error": "Repository not found"}, code="RepoNotFound")
        if path not in repo.files:
            return self._answer(404, {"error": "Entry not found"}, code="EntryNotFound")
        data, is_lfs = repo.files[path]
        etag = hashlib.sha256(data).hexdigest() if is_lfs else git_oid(data)
        self.send_response(200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", repo.head)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if method == "GET":
            self.wfile.write(data)
        return None

    def _answer(self, status: int, value: object, code: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".parquet") else "regular"


def _entry(path: str, data: bytes, is_lfs: bool) -> dict:
    entry: dict = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
    if is_lfs:
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


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
