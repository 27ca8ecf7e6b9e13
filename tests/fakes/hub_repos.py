"""What the fake Hub keeps: repositories with commits, refs, pull requests and large files, and what calls do.

`hub_server` is the door to it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs

DATE = "2026-01-31T12:00:00.000Z"
_LFS_ENDINGS = (".parquet", ".tar", ".safetensors")


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its bytes, or the SHA-256 of a large one."""

    data: bytes
    lfs: str = ""
    size: int = 0


@dataclass
class Pull:
    title: str
    head: str
    status: str = "open"


class Repo:
    def __init__(self, kind: str, name: str, private: bool) -> None:
        self.kind, self.name, self.private = kind, name, private
        self.gated: str | bool = False
        self.blobs: dict[str, bytes] = {}
        self.pushed_as: dict[str, str] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.trees: dict[str, dict[str, Entry]] = {}
        self.parents: dict[str, str] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.pulls: dict[int, Pull] = {}
        self.branches["main"] = self.add({".gitattributes": Entry(b"*.parquet filter=lfs\n")}, "")

    def add(self, files: dict[str, Entry], parent: str) -> str:
        listing = [(path, entry.lfs or git_oid(entry.data)) for path, entry in sorted(files.items())]
        oid = hashlib.sha1(json.dumps([self.name, len(self.trees), parent, listing]).encode()).hexdigest()
        self.trees[oid], self.parents[oid] = files, parent
        return oid

    @property
    def head(self) -> str:
        return self.branches["main"]

    @property
    def commits(self) -> list[str]:
        found, commit = [], self.head
        while commit:
            found.append(commit)
            commit = self.parents[commit]
        return found

    @property
    def files(self) -> dict[str, bytes]:
        """Content of main; KeyError when it names a large file that is not there."""
        return {path: self.content(entry) for path, entry in self.trees[self.head].items()}

    def content(self, entry: Entry) -> bytes:
        return self.blobs[entry.lfs] if entry.lfs else entry.data

    def find(self, revision: str) -> str | None:
        pull = self.pulls.get(int(revision.rsplit("/", 1)[1])) if revision.startswith("refs/pr/") else None
        known = {**{oid: oid for oid in self.trees}, **self.tags, **self.branches}
        return pull.head if pull else known.get(revision)

    def forget_unreachable(self) -> None:
        keep: set[str] = set()
        for commit in (*self.branches.values(), *self.tags.values(), *(p.head for p in self.pulls.values())):
            while commit:
                keep.add(commit)
                commit = self.parents[commit]
        for commit in set(self.trees) - keep:
            del self.trees[commit], self.parents[commit]


@dataclass
class Request:
    method: str
    parts: list[str]
    query: dict[str, list[str]]
    body: bytes
    headers: object

    @property
    def json(self) -> dict:
        return json.loads(self.body or b"{}")


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def reply(value: object, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **named})


def refuse(status: int, text: str, code: str = "") -> Answer:
    answer = reply({"error": text}, status)
    return Answer(status, answer.body, {**answer.headers, **({"X-Error-Code": code} if code else {})})


def create(server: Any, request: dict) -> Answer:
    name = "/".join(filter(None, (request.get("organization") or "user", request["name"])))
    kind = f"{request.get('type') or 'model'}s"
    folder = "datasets/" if kind == "datasets" else ""
    answer = {"url": f"{server.url}/{folder}{name}", "name": name, "id": name}
    if (kind, name) in server.all_repos:
        return reply({**answer, "error": "You already created this repo"}, 409)
    private = request.get("visibility") == "private" or request.get("private") is True
    server.all_repos[(kind, name)] = Repo(kind, name, private)
    return reply(answer)


def of_repo(server: Any, repo: Repo, rest: list[str], request: Request) -> Answer:
    call, method = rest[0] if rest else "", request.method
    if call == "info":  # the LFS batch: …git/info/lfs/objects/batch
        return _batch(server, repo, request.json)
    if call == "lfs-verify":
        known = request.json["oid"] in repo.blobs
        return reply({}) if known else refuse(404, "no such object")
    if call == "preupload":
        files = [{"path": f["path"], "uploadMode": _mode(f["path"]), "shouldIgnore": False}
                 for f in request.json["files"]]  # fmt: skip
        return reply({"files": files})
    if call == "refs":
        return _refs(repo)
    if call == "settings":
        repo.private = request.json.get("visibility", "private" if repo.private else "public") == "private"
        repo.gated = request.json.get("gated", repo.gated)
        return reply({})
    if call == "discussions":
        return _discussions(repo, rest[1:], request)
    if call == "lfs-files":
        return _lfs_files(repo, rest[1:], request)
    if call in ("tag", "branch") and method == "DELETE":
        names = repo.tags if call == "tag" else repo.branches
        return reply({}) if names.pop(rest[1], None) else refuse(404, "no such ref", "RevisionNotFound")
    revision = rest[1] if len(rest) > 1 else "main"
    commit = repo.find(revision)
    if commit is None:
        return refuse(404, f"Revision not found: {revision}", "RevisionNotFound")
    return _at_commit(server, repo, rest, commit, request)


def _at_commit(server: Any, repo: Repo, rest: list[str], commit: str, request: Request) -> Answer:
    tree, call = repo.trees[commit], rest[0] if rest else "revision"
    if call == "revision":
        siblings = [{"rfilename": path} for path in tree]
        about = {"id": repo.name, "sha": commit, "private": repo.private, "gated": repo.gated, "tags": []}
        return reply({**about, "siblings": siblings, "lastModified": DATE})
    if call == "tree":
        is_deep = request.query.get("recursive", [""])[0].lower() in ("true", "1")
        found = _below(tree, "/".join(rest[2:]), is_deep)
        return reply(found) if found else refuse(404, "no such folder", "EntryNotFound")
    if call == "paths-info":
        wanted = parse_qs(request.body.decode())["paths"]
        return reply([item for item in _below(tree, "", True) if item["path"] in wanted])
    if call == "commits":
        known = repo.commits
        about = {"authors": [{"user": "user"}], "date": DATE, "title": "t", "message": ""}
        return reply([{"id": oid, **about} for oid in known[known.index(commit) :]])
    if call == "commit":
        return _commit(server, repo, commit, request)
    if call == "tag":
        if request.json["tag"] in repo.tags:
            return refuse(409, "Tag exists already")
        repo.tags[request.json["tag"]] = commit
        return reply({})
    if call == "branch":
        repo.branches[rest[1]] = repo.find(request.json.get("startingPoint", "main")) or repo.head
        return reply({})
    if call == "super-squash":
        repo.branches[rest[1]] = repo.add(tree, "")
        if not server.keeps_squashed:
            repo.forget_unreachable()
        return reply({})
    if call == "resolve":
        return _resolve(repo, commit, tree.get("/".join(rest[2:])), request)
    return refuse(404, f"no such call: {call}", "EntryNotFound")


def _batch(server: Any, repo: Repo, request: dict) -> Answer:
    objects = []
    place = f"{repo.kind}/{repo.name}"
    for item in request["objects"]:
        oid, size = item["oid"], item["size"]
        entry = {"oid": oid, "size": size}
        if oid not in repo.blobs:
            href, header = f"{server.url}/lfs-put/{place}/{oid}", {}
            if size > server.part_bytes:
                count = -(-size // server.part_bytes)
                header = {str(n): f"{href}?part={n}" for n in range(1, count + 1)}
                header["chunk_size"] = str(server.part_bytes)
                href = f"{server.url}/lfs-complete/{place}/{oid}"
            entry["actions"] = {
                "upload": {"href": href, "header": header},
                "verify": {"href": f"{server.url}/lfs-verify/{place}", "header": {}},
            }
        objects.append(entry)
    return reply({"transfer": "basic", "objects": objects})


def store(server: Any, request: Request) -> Answer:
    kind, name, oid = request.parts[1], "/".join(request.parts[2:4]), request.parts[4]
    repo = server.all_repos[(kind, name)]
    if request.parts[0] == "lfs-complete":
        return _complete(repo, oid, request.json)
    if "part" in request.query:
        repo.parts.setdefault(oid, {})[int(request.query["part"][0])] = request.body
        return reply({}, ETag=f'"{hashlib.md5(request.body).hexdigest()}"')
    if hashlib.sha256(request.body).hexdigest() != oid:
        return refuse(422, "sha256 does not match")
    repo.blobs[oid] = request.body
    return reply({})


def _complete(repo: Repo, oid: str, request: dict) -> Answer:
    data = b"".join(repo.parts.get(oid, {})[part["partNumber"]] for part in request["parts"])
    if hashlib.sha256(data).hexdigest() != oid:
        return refuse(422, "sha256 does not match")
    repo.blobs[oid] = data
    return reply({})


def _commit(server: Any, repo: Repo, head: str, request: Request) -> Answer:
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    as_pull = "create_pr" in request.query
    header = next(line["value"] for line in lines if line["key"] == "header")
    if not as_pull and header.get("parentCommit") not in (None, head):
        return refuse(412, "A commit has happened since. Please refresh.")
    files = dict(repo.trees[head])
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = Entry(base64.b64decode(value["content"]))
        if line["key"] == "lfsFile":
            if len(repo.blobs.get(value["oid"], b"")) != value["size"]:
                return refuse(400, f"LFS object {value['oid']} was not uploaded")
            repo.pushed_as[value["oid"]] = value["path"]
            files[value["path"]] = Entry(b"", value["oid"], value["size"])
        if line["key"] == "deletedFile" and files.pop(value["path"], None) is None:
            return refuse(404, "A file with this name doesn't exist", "EntryNotFound")
    oid = repo.add(files, head)
    folder = "datasets/" if repo.kind == "datasets" else ""
    answer = {"commitOid": oid, "commitUrl": f"{server.url}/{folder}{repo.name}/commit/{oid}"}
    if as_pull:
        number = len(repo.pulls) + 1
        repo.pulls[number] = Pull(header["summary"], oid)
        answer["pullRequestUrl"] = f"{server.url}/{folder}{repo.name}/discussions/{number}"
    else:
        repo.branches["main"] = oid
    return reply({"success": True, **answer})


def _refs(repo: Repo) -> Answer:
    def listed(names: dict[str, str], kind: str) -> list[dict]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in names.items()
        ]

    return reply(
        {"branches": listed(repo.branches, "heads"), "converts": [], "tags": listed(repo.tags, "tags")}
    )


def _discussions(repo: Repo, rest: list[str], request: Request) -> Answer:
    if not rest:
        wanted = request.query.get("status", [""])[0]
        found = [
            {
                "num": number, "title": pull.title, "author": {"name": "user"}, "createdAt": DATE,
                "status": pull.status, "isPullRequest": True,
                "repo": {"name": repo.name, "type": repo.kind[:-1]},
            }
            for number, pull in repo.pulls.items()
            if wanted in ("", pull.status)
        ]  # fmt: skip
        return reply({"discussions": found, "count": len(found), "start": 0})
    pull = repo.pulls[int(rest[0])]
    if rest[1] == "merge":
        pull.status, repo.branches["main"] = "merged", pull.head
        return reply({})
    pull.status = request.json["status"]
    event = {"id": "1", "type": "status-change", "createdAt": DATE, "author": {"name": "user"}}
    return reply({"newStatus": {**event, "data": {"status": pull.status}}})


def _lfs_files(repo: Repo, rest: list[str], request: Request) -> Answer:
    if rest != ["batch"]:
        about = {"pushedAt": DATE, "ref": "refs/heads/main"}
        return reply(
            [
                {
                    "fileOid": f"f{oid}",
                    "filename": repo.pushed_as.get(oid, ""),
                    "oid": oid,
                    "size": len(data),
                    **about,
                }
                for oid, data in repo.blobs.items()
            ]
        )
    for name in request.json["deletions"]["sha"]:
        del repo.blobs[name[1:]]
    for files in repo.trees.values():
        for path in [path for path, entry in files.items() if entry.lfs and entry.lfs not in repo.blobs]:
            del files[path]
    return reply({})


def _resolve(repo: Repo, commit: str, entry: Entry | None, request: Request) -> Answer:
    if entry is None or (entry.lfs and entry.lfs not in repo.blobs):
        return refuse(404, "Entry not found", "EntryNotFound")
    data = repo.content(entry)
    headers = {"ETag": f'"{entry.lfs or git_oid(data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
    wanted = request.headers.get("Range")  # type: ignore[attr-defined]
    if wanted and request.method == "GET":
        first, last = wanted.removeprefix("bytes=").split("-")
        end = min(int(last) + 1 if last else len(data), len(data))
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
        return Answer(206, data[int(first) : end], headers)
    if request.method == "HEAD":
        return Answer(200, b"", {**headers, "Content-Length": str(len(data))})
    return Answer(200, data, headers)


def _below(tree: dict[str, Entry], folder: str, is_deep: bool) -> list[dict]:
    """Files and folders below a folder, or only those right in it."""
    start = f"{folder}/" if folder else ""
    files = {path: entry for path, entry in sorted(tree.items()) if path.startswith(start)}
    parents = {str(one) for path in files for one in PurePosixPath(path).parents} - {"."}
    folders = [
        {"type": "directory", "path": path, "size": 0, "oid": git_oid(path.encode())} for path in parents
    ]
    found = [*folders, *(_listed(path, entry) for path, entry in files.items())]
    inside = [item for item in found if item["path"].startswith(start)]
    return [item for item in inside if is_deep or "/" not in item["path"].removeprefix(start)]


def _mode(path: str) -> str:
    return "lfs" if path.endswith(_LFS_ENDINGS) else "regular"


def _listed(path: str, entry: Entry) -> dict:
    size = entry.size if entry.lfs else len(entry.data)
    listed: dict = {"type": "file", "path": path, "size": size, "oid": git_oid(entry.data)}
    if entry.lfs:
        listed["lfs"] = {"oid": entry.lfs, "size": size, "pointerSize": 130}
    return listed
