"""A package index on the loopback: the files of a directory, their upload times, and all ways in which it can fail."""

import base64
import contextlib
import email
import hashlib
import json
import re
import socket
import threading
import weakref
import zipfile
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal

from tests.support.serving import begin_reply, http_server, kept_port, reply

Mood = Literal[
    "is well", "is gone", "fails", "hangs", "hangs at a wheel", "cuts a wheel", "ends a wheel early",
    "falsifies a wheel", "trickles a wheel", "is slow",
]  # fmt: skip
# The simple repository API of the packaging specification.
_PAGE = {"Content-Type": "application/vnd.pypi.simple.v1+json"}
_FILE = {"Content-Type": "application/octet-stream"}


class SimpleIndex:
    """An index that serves the wheels and source releases in `directory` at `url`; a new version is one more file.

    `uploaded` maps name and version to when the wheel was uploaded; what is not in it has no time. `asked` are the
    names that have been asked about, `algorithms` those of the hashes that it tells. `provenance` maps files to what it
    has of their attestations; None stands for an answer with status 503. Its port stays the same, also when it has been
    gone, as locks name it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.uploaded: dict[tuple[str, str], datetime] = {}
        self.asked: list[str] = []
        #: The files that were fetched.
        self.fetched: list[str] = []
        self.algorithms = ["sha256"]
        self.provenance: dict[str, Any] = {}
        #: How long clients may keep an answer; uv would else not ask again for ten minutes.
        self.lifetime = "no-cache"
        #: Who may ask, as `user:password`; empty is everybody.
        self.login = ""
        self._mood: Mood = "is well"
        self._stopped = threading.Event()
        keeper, self._port = kept_port()
        weakref.finalize(self, keeper.close)
        self.url = f"http://127.0.0.1:{self._port}/simple"

    @contextlib.contextmanager
    def serving(self, mood: Mood = "is well") -> Iterator[None]:
        """Serve, in some mood, until the end of the block."""
        if mood == "is gone":
            yield
            return
        self._mood = mood
        self._stopped.clear()
        with http_server(self._serve, port=self._port):
            try:
                yield
            finally:
                self._stopped.set()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        login = base64.b64encode(self.login.encode()).decode()
        if login and request.headers.get("Authorization") != f"Basic {login}":
            reply(request, 401, b"no", {"WWW-Authenticate": "Basic"})
            return
        kind, _, name = request.path.strip("/").partition("/")
        page = kind == "simple"
        if kind == "provenance":
            found = self.provenance[name]
            reply(request, 200 if found else 503, json.dumps(found).encode())
            return
        data = self._project(name) if page else self._content(name)
        is_wheel = name.endswith(".whl")
        if self._mood == "hangs" or (self._mood == "hangs at a wheel" and is_wheel):
            self._stopped.wait()
        elif self._mood == "fails" or data is None:
            reply(request, 503 if self._mood == "fails" else 404, b"no")
        else:
            half = len(data) // 2
            ends_early = is_wheel and self._mood == "ends a wheel early"
            begin_reply(
                request,
                200,
                half if ends_early else len(data),
                {**(_PAGE if page else _FILE), "Cache-Control": self.lifetime},
            )
            self._send(request, data, is_wheel=is_wheel)

    def _project(self, name: str) -> bytes | None:
        """Return what the index says of a package; None if it has none of it."""
        self.asked.append(name)
        found = sorted([*self.directory.glob("*.whl"), *self.directory.glob("*.tar.gz")])
        files = [self._file(file) for file in found if _normalized(file.name.split("-")[0]) == name]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": files}).encode() if files else None

    def _file(self, file: Path) -> dict[str, Any]:
        name, version = file.name.removesuffix(".tar.gz").split("-")[:2]
        found: dict[str, Any] = {
            "filename": file.name,
            "url": f"../../files/{file.name}",
            "hashes": {name: hashlib.new(name, file.read_bytes()).hexdigest() for name in self.algorithms},
            "size": file.stat().st_size,
        }
        if file.name in self.provenance:
            found["provenance"] = f"../../provenance/{file.name}"
        if file.suffix == ".whl":
            found["core-metadata"] = True
            if requires_python := email.message_from_bytes(_metadata(file)).get("Requires-Python"):
                found["requires-python"] = requires_python
        if (time := self.uploaded.get((_normalized(name), version))) is not None:
            found["upload-time"] = time.isoformat()
        return found

    def _content(self, name: str) -> bytes | None:
        self.fetched.append(name)
        wheel = self.directory / name.removesuffix(".metadata")
        if not wheel.is_file():
            return None
        return _metadata(wheel) if name.endswith(".metadata") else wheel.read_bytes()

    def _send(self, request: BaseHTTPRequestHandler, data: bytes, *, is_wheel: bool) -> None:
        if self._mood == "is slow":
            self._send_in_pieces(request, data, size=100, pause=0.02)
        elif is_wheel and self._mood == "trickles a wheel":
            self._send_in_pieces(request, data, size=1, pause=0.5)
        elif is_wheel and self._mood in ("cuts a wheel", "ends a wheel early"):
            request.wfile.write(data[: len(data) // 2])
            request.wfile.flush()
            request.close_connection = True
            if self._mood == "cuts a wheel":
                request.connection.shutdown(socket.SHUT_RDWR)
        else:
            request.wfile.write(data[::-1] if is_wheel and self._mood == "falsifies a wheel" else data)

    def _send_in_pieces(self, request: BaseHTTPRequestHandler, data: bytes, *, size: int, pause: float) -> None:
        for start in range(0, len(data), size):
            if self._stopped.wait(pause):
                return
            request.wfile.write(data[start : start + size])


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _metadata(wheel: Path) -> bytes:
    """Read the metadata out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return archive.read(name)


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[SimpleIndex]:
    """Serve the wheels of a directory for a while."""
    index = SimpleIndex(directory)
    with index.serving():
        yield index
