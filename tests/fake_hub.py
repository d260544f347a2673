"""A Hugging Face Hub on this machine: enough of one to read models and data sets from, or to fail in known ways.

    with FakeHub({"owner/name": Repository({"main": folder})}, datasets={...}) as hub:
        subprocess.run([...], env=hub.environment(cache))

The client reads its settings when it is imported, hence the subprocess.
"""

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

ALWAYS = 10**9
API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info)/(?P<revision>[^/]+)(?P<folder>/.+)?)?"
)
FILE = re.compile(r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
RANGE = re.compile(r"bytes=(?P<start>\d+)-(?P<end>\d*)")


@dataclass(frozen=True)
class Repository:
    """Branches and the folder each holds, and what goes wrong when the content of a file is asked for."""

    branches: Mapping[str, Path]
    gated: bool = False
    cut_off: str = ""  # connections break in the middle of this file
    silent: str = ""  # nothing more is sent from the middle of this file on, and the connection stays open
    unavailable: str = ""  # the server is too busy to send this file
    status: int = 503  # what it says then: 429 for too many requests
    retry_after: str = ""  # the header of that name
    times: int = ALWAYS  # how often that goes wrong before it goes well


class FakeHub:
    """Serves models and data sets on a free port; ``requests`` lists what was asked for, as (method, path)."""

    def __init__(self, models: Mapping[str, Repository], datasets: Mapping[str, Repository] | None = None) -> None:
        self.repositories = {"models": models, "datasets": datasets or {}}
        self.requests: list[tuple[str, str]] = []
        self.went_wrong: Counter[str] = Counter()  # by repository
        hub = self

        class Handler(_Handler):
            def setup(self) -> None:
                self.hub = hub
                super().setup()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "FakeHub":
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def environment(self, cache: Path, **extra: str) -> dict[str, str]:
        """Environment of a process that sees this Hub, an empty cache and nothing of the user's own settings."""
        private = ("HF_", "HUGGING", "TRANSFORMERS_")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(private) and not name.lower().endswith("_proxy")
        }
        switches = {f"HF_HUB_DISABLE_{name}": "1" for name in ("TELEMETRY", "XET", "PROGRESS_BARS")}
        return {**kept, **switches, "HF_ENDPOINT": self.url, "HF_HOME": str(cache), "NO_PROXY": "127.0.0.1", **extra}


def commit(name: str, branch: str) -> str:
    """The commit id that a branch points at."""
    return hashlib.sha1(f"{name}@{branch}".encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        match = API.match(path) or FILE.fullmatch(path)
        kind = (match["kind"] or "models").strip("/") if match else ""
        repository = self.hub.repositories[kind].get(match["name"]) if match else None
        if match is None or repository is None:
            return self._refuse(401, "RepoNotFound", "Repository not found")  # as to anyone not logged in
        branches = {commit(match["name"], branch): folder for branch, folder in repository.branches.items()}
        asked = match["revision"] or "main"
        revision = asked if asked in branches else commit(match["name"], asked)
        if revision not in branches:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {asked}")
        if match.re is FILE:
            return self._file(match["name"], repository, branches[revision] / match["file"], revision)
        folder = branches[revision]
        files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        if match["what"] == "tree":
            inside = (match["folder"] or "").removeprefix("/")
            rows = [_row(name, path) for name, path in files.items() if path.is_relative_to(folder / inside)]
            return self._send_json(200, rows) if rows else self._refuse(404, "EntryNotFound", "Entry not found")
        if match["what"] == "paths-info":
            wanted = json.loads(sent)["paths"]
            return self._send_json(200, [_row(name, files[name]) for name in wanted if name in files])
        siblings = [{"rfilename": name} for name in files]
        return self._send_json(200, {"id": match["name"], "sha": revision, "siblings": siblings})

    do_HEAD = do_POST = do_GET  # noqa: N815

    def _file(self, name: str, repository: Repository, path: Path, revision: str) -> None:
        headers = {"X-Repo-Commit": revision, "Accept-Ranges": "bytes"}
        if repository.gated:
            return self._refuse(401, "GatedRepo", "Access to this model is restricted. Please log in.")
        if not path.is_file():
            return self._refuse(404, "EntryNotFound", "Entry not found", headers)
        failing = {repository.unavailable, repository.cut_off, repository.silent} - {""}
        goes_wrong = self.command == "GET" and path.name in failing and self.hub.went_wrong[name] < repository.times
        self.hub.went_wrong[name] += goes_wrong
        if goes_wrong and path.name == repository.unavailable:
            wait = {"Retry-After": repository.retry_after} if repository.retry_after else {}
            return self._refuse(repository.status, "Busy", "Service unavailable", wait)
        content = path.read_bytes()
        asked = RANGE.match(self.headers.get("Range", ""))
        start, end = (int(asked["start"]), int(asked["end"] or len(content) - 1)) if asked else (0, len(content) - 1)
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        headers |= {"ETag": f'"{_etag(path)}"', "Content-Type": "application/octet-stream"}
        body = content[start : end + 1]
        sent = body[: len(body) // 2] if goes_wrong else body
        self._send(206 if asked else 200, sent, headers, announced=len(body))
        if goes_wrong and path.name == repository.silent:
            self.wfile.flush()
            time.sleep(30)

    def _refuse(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        self._send_json(
            status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        )

    def _send_json(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], announced: int | None = None) -> None:
        """Send ``body`` as if it were ``announced`` bytes long; a shorter one ends in a broken connection."""
        announced = len(body) if announced is None else announced
        self.send_response(status)
        for name, value in {"Content-Length": str(announced), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.close_connection = len(body) < announced


def _row(name: str, path: Path) -> dict[str, object]:
    """A file as the Hub lists it."""
    return {"type": "file", "path": name, "size": path.stat().st_size, "oid": _etag(path)}


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
