"""A package index on the loopback, as PEP 691 has it: with upload times, and versions that it has yanked."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.servers import Handler, serve

_JSON = "application/vnd.pypi.simple.v1+json"


@dataclass
class Index:
    """The wheels of a directory, and of those in it; `yanked` are reasons and `ages` days, by how a file's name begins.

    `server` is its address. A `refusal` is the status with which it answers everything, or those that are `refused`.
    Of a `forged` file it has another hash.
    """

    server: str
    directory: Path
    yanked: dict[str, str] = field(default_factory=dict)
    ages: dict[str, float] = field(default_factory=dict)
    refusal: int = 0
    refused: set[str] = field(default_factory=set)
    forged: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The address of the index of the directory itself."""
        return f"{self.server}/simple"

    def list_files(self, name: str, place: str) -> list[Path]:
        """Return the files of a package."""
        stem, directory = name.replace("-", "_"), self.directory / place
        return sorted([*directory.glob(f"{stem}-*.whl"), *directory.glob(f"{stem}-*.tar.gz")])

    def describe(self, name: str, wheels: list[Path]) -> bytes:
        """Return what the index says about a package."""
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
def serve_index(directory: Path, is_open: Callable[[str], bool] = lambda authorization: True) -> Iterator[Index]:
    """Serve the wheels of a directory, and, as `SERVER/NAME/simple`, those of each in it, to whom `is_open` lets in."""

    class Simple(Handler):
        def do_GET(self) -> None:  # noqa: N802 - as the library names it
            match = re.fullmatch(r"/(?:(\w+)/)?(simple|files)/([^/]*)/?", self.path)
            place, kind, name = match.groups("") if match else ("", "", "")
            if not is_open(self.headers["Authorization"] or ""):
                self.answer(401, WWW_Authenticate='Basic realm="index"')
            elif index.refusal and (not index.refused or not index.refused.isdisjoint((name, f"{kind}/{name}"))):
                self.answer(index.refusal)
            elif kind == "simple" and ((files := index.list_files(name, place)) or not place):
                self.answer(200, index.describe(name, files), Content_Type=_JSON, Cache_Control="no-store")
            elif kind == "files" and (file := directory / place / name).is_file():
                self.answer(200, file.read_bytes(), Content_Type="application/octet-stream", Cache_Control="no-store")
            else:
                self.answer(404)

        do_HEAD = do_GET  # noqa: N815

    with serve(Simple) as server:
        index = Index(server, directory)
        yield index
