"""A vulnerability service on the loopback that speaks the OSV form, as `uv audit` asks for it, and fails in many ways.

The form: https://google.github.io/osv.dev/api/ (`POST /v1/querybatch`, `GET /v1/vulns/ID`).
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal, Self

from packaging.version import Version

from tests.support.serving import http_server, reply

# What it does; "half" answers the first question, and then fails.
Mood = Literal["is well", "fails", "hangs", "talks nonsense", "half"]


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """A vulnerability of a package: of all versions below `fixed`, or, without that, of all versions."""

    id: str
    package: str
    fixed: str | None = None
    aliases: tuple[str, ...] = ()
    summary: str | None = None
    withdrawn: bool = False

    def hits(self, package: str, version: str) -> bool:
        """Whether this version of this package has it."""
        return package == self.package and (self.fixed is None or Version(version) < Version(self.fixed))

    def record(self) -> dict[str, Any]:
        """Return it as OSV describes it."""
        events = [{"introduced": "0"}, *([{"fixed": self.fixed}] if self.fixed else [])]
        affected = {
            "package": {"name": self.package, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        record = {
            "id": self.id,
            "modified": "2026-03-02T00:00:00Z",
            "published": "2026-03-01T00:00:00Z",
            "aliases": list(self.aliases),
            "affected": [affected],
            "references": [{"type": "ADVISORY", "url": f"https://example.org/{self.id}"}],
            "schema_version": "1.7.0",
        }
        if self.summary is not None:
            record |= {"summary": self.summary, "details": f"At length: {self.summary}"}
        return record | ({"withdrawn": "2026-03-03T00:00:00Z"} if self.withdrawn else {})


class VulnerabilityService:
    """Answers by HTTP what is wrong with versions; `questions` are the paths that it was asked for.

    After so many questions about packages as `fails_after` says, if it does, it fails. `audit` asks two: uv's own, and
    one that counts the answers.
    """

    def __init__(self, *flaws: Flaw) -> None:
        self.flaws = list(flaws)
        self.mood: Mood = "is well"
        self.fails_after: int | None = None
        self.most_results: int | None = None  # of those that it has for one question
        self.most_results_first: int | None = None  # for the first question alone
        self.questions: list[str] = []
        self.asked_about: set[tuple[str, str]] = set()
        self._stopped = threading.Event()
        self.url = ""  # while it serves

    @contextlib.contextmanager
    def serving(self) -> Iterator[Self]:
        """Serve until the end of the block."""
        with http_server(self._serve) as url:
            self.url = f"{url}/"
            try:
                yield self
            finally:
                self._stopped.set()

    def answer(self, path: str, body: bytes) -> Any:
        """Return what there is to say; None when there is nothing of that name."""
        if path.endswith("/v1/querybatch"):
            first = sum(one.endswith("querybatch") for one in self.questions) == 1
            most = self.most_results_first if first and self.most_results_first is not None else self.most_results
            return {"results": [self._result(query) for query in json.loads(body)["queries"]][:most]}
        name = path.rpartition("/v1/vulns/")[2]
        return next((flaw.record() for flaw in self.flaws if flaw.id == name), None)

    def _result(self, query: dict[str, Any]) -> dict[str, Any]:
        package, version = query["package"]["name"], query["version"]
        self.asked_about.add((package, version))
        found = [flaw for flaw in self.flaws if flaw.hits(package, version)]
        return {"vulns": [{"id": flaw.id, "modified": "2026-03-02T00:00:00Z"} for flaw in found]} if found else {}

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        self.questions.append(request.path)
        if self.mood == "hangs":
            self._stopped.wait()
            return
        asked = sum(path.endswith("querybatch") for path in self.questions)
        dies = self.fails_after is not None and asked > self.fails_after
        fails = dies or self.mood == "fails" or (self.mood == "half" and not request.path.endswith("querybatch"))
        found = None if fails else self.answer(request.path, body)
        data = b"<html>no" if self.mood == "talks nonsense" else json.dumps(found).encode()
        status = 500 if fails else 404 if found is None else 200
        reply(request, status, data, {"Content-Type": "application/json"})
