"""The real Renovate, with a forge in front of a bare repository that knows just enough of Gitea's interface for it.

Renovate maintains the lock: it runs `uv lock --upgrade`, pushes a branch, and opens a request.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from stage import Stage

NAME = "ada/teashop"
BRANCH = "renovate/lock-file-maintenance"
REPOSITORY = {
    "id": 1,
    "full_name": NAME,
    "default_branch": "main",
    "allow_rebase": True,
    "has_pull_requests": True,
    "permissions": {"admin": False, "pull": True, "push": True},
}
USER = {"id": 1, "username": "renovate", "full_name": "Renovate", "email": "renovate@example.org"}
CONFIG = {
    "platform": "gitea",
    "token": "none",
    "gitUrl": "ssh",  # which is the path of the repository here
    "repositories": [NAME],
    "onboarding": False,
    "requireConfig": "optional",
    "binarySource": "global",
    "customEnvVariables": {"UV_PYTHON_DOWNLOADS": "never"},
    # Change logs, and versions of Python, are at hosts that an update of packages does not need.
    "enabledManagers": ["pep621"],
    "fetchChangeLogs": "off",
    "lockFileMaintenance": {"enabled": True, "schedule": ["at any time"]},
    "packageRules": [
        {"matchDatasources": ["python-version"], "enabled": False},
        {"matchUpdateTypes": ["major"], "enabled": False},
    ],
}


@dataclass(frozen=True, kw_only=True)
class Renovate:
    """Renovate from PATH, for the repository of a site."""

    stage: Stage
    place: Path

    @staticmethod
    def missing() -> str:
        """Return why it cannot run, or nothing."""
        return "" if shutil.which("renovate") else "no `renovate` on PATH: `npm install --global renovate@39`"

    def prepare(self) -> None:
        """Start the forge, and make the command `open-request`."""
        handler = type("TeashopHandler", (Handler,), {"forge": Forge(remote=self.stage.remote)})
        forge = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=forge.serve_forever, daemon=True).start()
        clone = self.place / "repos" / "gitea" / NAME
        clone.parent.mkdir(parents=True)
        (clone.parent / "wheels").symlink_to(self.stage.wheels)
        config = {**CONFIG, "endpoint": f"http://127.0.0.1:{forge.server_port}/", "baseDir": str(self.place)}
        (self.place / "config.json").write_text(json.dumps(config))
        program = self.place / "open-request"
        program.write_text(f"#!/bin/sh\nRENOVATE_CONFIG_FILE={self.place}/config.json exec renovate\n")
        program.chmod(0o755)


@dataclass(kw_only=True)
class Forge:
    """The forge of a bare repository: a request is open as long as its branch exists."""

    remote: Path
    requests: list[dict[str, Any]] = field(default_factory=list)

    def read(self, path: str) -> object:
        """Return what is at a path of the interface; None if nothing is."""
        known = {
            "/version": {"version": "1.23.0"},
            "/user": USER,
            f"/repos/{NAME}": REPOSITORY | {"ssh_url": str(self.remote)},
            f"/repos/{NAME}/pulls": [self.request(one) for one in reversed(self.requests)],
        }
        known |= {f"/repos/{NAME}/pulls/{one['number']}": self.request(one) for one in self.requests}
        inside, _, branch = path.partition("/branches/")
        if branch and inside == f"/repos/{NAME}" and self.head(branch):
            return {"name": branch, "commit": {"id": self.head(branch)}}
        return [] if path.endswith(("/statuses", "/labels", "/issues", "/comments")) else known.get(path)

    def write(self, path: str, content: dict[str, Any]) -> object:
        """Take what Renovate sends: a new request, or words that change nothing."""
        if not path.endswith("/pulls"):
            return content
        times = dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00Z")
        self.requests.append({**content, **times, "number": len(self.requests) + 1, "sha": self.head(content["head"])})
        return self.request(self.requests[-1])

    def request(self, one: dict[str, Any]) -> dict[str, Any]:
        """Return a request as it is now."""
        sha = self.head(one["head"])
        state = {"state": "open" if sha else "closed", "merged": not sha, "mergeable": True, "user": USER}
        head = {"label": one["head"], "sha": sha or one["sha"], "repo": {"full_name": NAME}}
        return {**one, **state, "base": {"ref": one["base"]}, "head": head}

    def head(self, branch: str) -> str:
        """Return the commit of a branch; empty if there is no such branch."""
        words = ["git", "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"]
        return subprocess.run(words, cwd=self.remote, capture_output=True, text=True, check=False).stdout.strip()


class Handler(BaseHTTPRequestHandler):
    """Answers for the forge that a subclass names."""

    forge: Forge

    def do_GET(self) -> None:
        """Answer what Renovate asks."""
        self.answer(self.forge.read(unquote(urlsplit(self.path).path).removeprefix("/api/v1")))

    def do_POST(self) -> None:
        """Take what Renovate sends."""
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(self.forge.write(self.path, content))

    def do_PATCH(self) -> None:
        """Take a change of a request as it is sent."""
        self.do_POST()

    def answer(self, content: object) -> None:
        """Send JSON, or 404 for None."""
        body = json.dumps(content).encode()
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Keep the bench's output to its table."""
