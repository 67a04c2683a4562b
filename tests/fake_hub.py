"""Serve data sets and networks on the loopback interface as the Hugging Face Hub does, with faults on demand."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Fault:
    """What happens to requests whose method and path match a pattern."""

    pattern: str
    status: int = 0  # answer with this status
    code: str = ""  # X-Error-Code
    body: bytes | None = None  # answer with this content and status 200
    delay: float = 0  # seconds before the answer
    cut: bool = False  # break the connection in the middle of a file


@dataclass
class FakeHub:
    """The data sets and networks below a folder, as OWNER/NAME, with the faults of the Hub and the requests it got."""

    folder: Path
    endpoint: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def revision(self, name: str) -> str:
        """Return the commit of a data set."""
        return hashlib.sha1(name.encode()).hexdigest()

    @contextmanager
    def serving(self) -> Iterator["FakeHub"]:
        """Serve inside the block."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing."""

    def answer(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        fault = next((one for one in self.hub.faults if re.search(one.pattern, self.hub.requests[-1])), Fault(""))
        time.sleep(fault.delay)
        if fault.status:
            self.send(b"{}", fault.status, {"X-Error-Code": fault.code} if fault.code else {})
        elif fault.body is not None:
            self.send(fault.body)
        elif api := re.fullmatch(
            r"/api/(?:datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/[^/]+)?(?:/(.*))?", path
        ):
            self.about(api[1], api[2], api[3], asked)
        elif file := re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/[^/]+/(.*)", path):
            self.file(file[1], file[2], fault.cut)
        else:
            self.send(b"", 404)

    do_GET = do_HEAD = do_POST = answer  # noqa: N815

    def about(self, name: str, kind: str | None, below: str | None, asked: bytes) -> None:
        folder = self.hub.folder / name
        if not folder.is_dir():
            self.send(b"", 404, {"X-Error-Code": "RepoNotFound"})
        elif kind == "tree" and not (folder / (below or "")).is_dir():
            self.send(b"", 404, {"X-Error-Code": "EntryNotFound"})
        elif kind == "tree":
            start = folder / (below or "")
            found = start.rglob("*") if "recursive=true" in self.path.lower() else start.iterdir()
            self.send(json.dumps([self.entry(folder, one) for one in sorted(found)]).encode())
        elif kind == "paths-info":
            text = asked.decode()
            paths = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
            known = [folder / path for path in paths if (folder / path).exists()]
            self.send(json.dumps([self.entry(folder, one) for one in known]).encode())
        else:
            files = [{"rfilename": str(file.relative_to(folder))} for file in folder.rglob("*") if file.is_file()]
            about = {"_id": "1", "id": name, "sha": self.hub.revision(name), "siblings": files, "tags": []}
            self.send(json.dumps(about).encode())

    @staticmethod
    def entry(folder: Path, path: Path) -> dict[str, Any]:
        name = str(path.relative_to(folder))
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "0", "size": 0}
        return {"type": "file", "path": name, "oid": _tag(path), "size": path.stat().st_size}

    def file(self, name: str, below: str, cut: bool) -> None:
        path = self.hub.folder / name / below
        if not (self.hub.folder / name).is_dir():
            self.send(b"", 404, {"X-Error-Code": "RepoNotFound"})
            return
        if not path.is_file():
            self.send(b"", 404, {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"ETag": f'"{_tag(path)}"', "X-Repo-Commit": self.hub.revision(name)}
        self.send(path.read_bytes(), 200, headers, cut)

    def send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None, cut: bool = False) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True


def _tag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
