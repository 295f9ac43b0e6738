"""A package index on the loopback: the wheels of a directory, with the upload times that a test says they have."""

from __future__ import annotations

import contextlib
import email
import hashlib
import http.server
import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

from tests.support.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

_JSON = "application/vnd.pypi.simple.v1+json"  # as the packaging specification of the simple repository API has it


class SimpleIndex:
    """An index that serves the wheels in `directory` at `url`; a new version is one more file.

    `uploaded` maps name and version to when the wheel was uploaded; what is not in it has no time. `asked` are the
    names that have been asked about.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{port}/simple"
        self.uploaded: dict[tuple[str, str], datetime] = {}
        self.asked: list[str] = []

    def project(self, name: str) -> dict[str, Any] | None:
        """Return what the index says of a package; None if it has none of it."""
        self.asked.append(name)
        wheels = sorted(self.directory.glob("*.whl"))
        files = [self._file(wheel) for wheel in wheels if _normalized(wheel.name.split("-")[0]) == name]
        return {"meta": {"api-version": "1.1"}, "name": name, "files": files} if files else None

    def _file(self, wheel: Path) -> dict[str, Any]:
        name, version = wheel.name.split("-")[:2]
        found: dict[str, Any] = {
            "filename": wheel.name,
            "url": f"../../files/{wheel.name}",
            "hashes": {"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()},
            "core-metadata": True,
            "size": wheel.stat().st_size,
        }
        if requires_python := email.message_from_bytes(metadata(wheel)).get("Requires-Python"):
            found["requires-python"] = requires_python
        if (time := self.uploaded.get((_normalized(name), version))) is not None:
            found["upload-time"] = time.isoformat()
        return found


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def metadata(wheel: Path) -> bytes:
    """Read the metadata out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return archive.read(name)


class _Handler(http.server.BaseHTTPRequestHandler):
    index: SimpleIndex

    def do_GET(self) -> None:
        kind, _, name = self.path.strip("/").partition("/")
        if kind == "simple" and (project := self.index.project(name)):
            self._answer(json.dumps(project).encode(), _JSON)
        elif kind == "files" and (wheel := self.index.directory / name.removesuffix(".metadata")).is_file():
            said = metadata(wheel) if name.endswith(".metadata") else wheel.read_bytes()
            self._answer(said, "application/octet-stream")
        else:
            self.send_error(404)

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache")  # else uv would not see a new version for ten minutes
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives it
        """Stay silent."""


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[SimpleIndex]:
    """Serve the wheels of a directory for a while."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    index = SimpleIndex(directory, server.server_address[1])
    server.RequestHandlerClass = type("Handler", (_Handler,), {"index": index})
    with served(server):
        yield index
