"""A package index on the loopback, as PEP 691 has it: with upload times, and versions that it has yanked."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_JSON = "application/vnd.pypi.simple.v1+json"


@dataclass
class Index:
    """The wheels of a directory; `yanked` are reasons and `ages` days, by the beginning of a file's name.

    A `refusal` is the status with which it answers everything, or those that are `refused`. Of a `forged` file it has
    another hash.
    """

    url: str
    directory: Path
    yanked: dict[str, str] = field(default_factory=dict)
    ages: dict[str, float] = field(default_factory=dict)
    refusal: int = 0
    refused: set[str] = field(default_factory=set)
    forged: set[str] = field(default_factory=set)

    def describe(self, name: str) -> bytes:
        """Return what the index says about a package."""
        stem = name.replace("-", "_")
        wheels = sorted([*self.directory.glob(f"{stem}-*.whl"), *self.directory.glob(f"{stem}-*.tar.gz")])
        files = [self._describe_file(wheel) for wheel in wheels]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": files}).encode()

    def _describe_file(self, wheel: Path) -> dict[str, object]:
        days = next((days for stem, days in self.ages.items() if wheel.name.startswith(stem)), 100.0)
        uploaded = datetime.now(UTC) - timedelta(days=days)
        content = b"another one" if wheel.name in self.forged else wheel.read_bytes()
        return {
            "filename": wheel.name,
            "url": f"../../files/{wheel.name}",
            "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
            "upload-time": f"{uploaded:%Y-%m-%dT00:00:00Z}",
            "yanked": next((reason for stem, reason in self.yanked.items() if wheel.name.startswith(stem)), False),
        }


@contextlib.contextmanager
def serve_index(directory: Path) -> Iterator[Index]:
    """Serve the wheels of a directory."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, _, name = self.path.strip("/").partition("/")
            file = directory / name
            is_there = kind == "simple" or file.is_file()
            data = index.describe(name) if kind == "simple" else file.read_bytes() if is_there else b""
            names = {name.strip("/"), self.path.strip("/")}
            is_refused = bool(index.refusal) and (not index.refused or not names.isdisjoint(index.refused))
            self.send_response(index.refusal if is_refused else 200 if is_there else 404)
            self.send_header("Content-Type", _JSON if kind == "simple" else "application/octet-stream")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815 - as the library names it

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index = Index(f"http://127.0.0.1:{server.server_port}/simple", directory)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
