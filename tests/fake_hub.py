"""A Hugging Face Hub on this machine: enough of one to download models from, or to fail in known ways.

    with FakeHub({"owner/name": Repository({"main": folder})}) as hub:
        subprocess.run([...], env=hub.environment(cache))

The client reads its settings when it is imported, hence the subprocess.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

API = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)(?:/(?P<what>revision|tree)/(?P<revision>[^/]+))?")
FILE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
RANGE = re.compile(r"bytes=(?P<start>\d+)-(?P<end>\d*)")


@dataclass(frozen=True)
class Repository:
    """Branches and the folder each holds, and what goes wrong when a file is asked for."""

    branches: Mapping[str, Path]
    gated: bool = False
    cut_off: str = ""  # connections break in the middle of this file, every time
    unavailable: str = ""  # the server is too busy to send this file


class FakeHub:
    """Serves ``repositories`` on a free port; ``requests`` lists what was asked for, as (method, path)."""

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        self.repositories = repositories
        self.requests: list[tuple[str, str]] = []
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
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        match = API.match(path) or FILE.fullmatch(path)
        repository = self.hub.repositories.get(match["name"]) if match else None
        if match is None or repository is None:
            return self._refuse(401, "RepoNotFound", "Repository not found")  # as to anyone not logged in
        branches = {commit(match["name"], branch): folder for branch, folder in repository.branches.items()}
        asked = match["revision"] or "main"
        revision = asked if asked in branches else commit(match["name"], asked)
        if revision not in branches:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {asked}")
        if match.re is FILE:
            return self._file(repository, branches[revision], match["file"], revision)
        files = sorted(path for path in branches[revision].iterdir() if path.is_file())
        if match["what"] == "tree":
            rows = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": _etag(f)} for f in files]
            return self._send_json(200, rows)
        siblings = [{"rfilename": file.name} for file in files]
        return self._send_json(200, {"id": match["name"], "sha": revision, "siblings": siblings})

    do_HEAD = do_GET  # noqa: N815

    def _file(self, repository: Repository, folder: Path, name: str, revision: str) -> None:
        headers = {"X-Repo-Commit": revision, "Accept-Ranges": "bytes"}
        if repository.gated:
            return self._refuse(401, "GatedRepo", "Access to this model is restricted. Please log in.")
        if not (folder / name).is_file():
            return self._refuse(404, "EntryNotFound", "Entry not found", headers)
        if name == repository.unavailable and self.command == "GET":
            return self._refuse(503, "Busy", "Service unavailable")
        content = (folder / name).read_bytes()
        asked = RANGE.match(self.headers.get("Range", ""))
        start, end = (int(asked["start"]), int(asked["end"] or len(content) - 1)) if asked else (0, len(content) - 1)
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        headers |= {"ETag": f'"{_etag(folder / name)}"', "Content-Type": "application/octet-stream"}
        body = content[start : end + 1]
        sent = body[: len(body) // 2] if name == repository.cut_off else body
        return self._send(206 if asked else 200, sent, headers, announced=len(body))

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
        if self.command == "GET":
            self.wfile.write(body)
            self.close_connection = len(body) < announced


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
