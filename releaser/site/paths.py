"""Every path of a site, once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

#: What lies in the state directory, by the name of its field.
_STATE = {
    "releases": "releases",
    "journal": "journal.json",
    "holds": "holds.json",
    "pause": "pause.json",
    "decision": "decision.json",
    "audit": "audit.json",
    "pending": "pending.json",
    "history": "history.jsonl",
    "logs": "logs",
    "cache": "cache",
    "sources": "sources",
    "bundled": "bundled",
    "reserve": "reserve",
    "outbox": "outbox",
    "news": "news.json",
    "replaced": "replaced",
    "marker": "project",
    "run_lock": "lock",
}


class Paths(msgspec.Struct, frozen=True):
    """The paths of a site.

    `project` is the directory of pyproject.toml, `outer` its parent, `top` the top of its repository, `link` the link
    to the live release, and `state` the state directory, with everything that follows.
    """

    project: Path
    outer: Path
    top: Path
    dotenv: Path
    pyproject: Path
    lockfile: Path
    link: Path
    state: Path
    releases: Path
    run_lock: Path
    #: A file that names the project whose state this is, by its path from here.
    marker: Path
    journal: Path
    holds: Path
    #: The pause of an earlier version.
    pause: Path
    decision: Path
    #: The known vulnerabilities of the live release, as they were last asked for.
    audit: Path
    pending: Path
    history: Path
    logs: Path
    cache: Path
    #: The wheels of `sources`.
    sources: Path
    #: The files of bundles that kept releases were installed from, each named by its SHA-256.
    bundled: Path
    reserve: Path
    #: A Maildir with the mails that no server has taken yet.
    outbox: Path
    #: The trouble that was mailed last, so that each news is one mail.
    news: Path
    #: Directories that stood in the place of the link, kept for their owner.
    replaced: Path

    @property
    def lockfile_in_tree(self) -> str:
        """The path of uv.lock as git has it."""
        return self.lockfile.relative_to(self.top).as_posix()

    @property
    def temporary_prefix(self) -> str:
        """How the names of this site's directories for temporary files begin, so that the next run can find them."""
        return f"releaser-{hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]}-"

    @property
    def state_entries(self) -> tuple[Path, ...]:
        """Everything that releaser keeps in the state directory, the lock last."""
        return tuple(self.state / name for name in _STATE.values())

    def shadow(self, run: str) -> Path:
        """Return the directory of the shadow of a run."""
        return self.state / f"shadow-{run}"


def make_paths(project: Path, top: Path, link: Path, state: Path) -> Paths:
    """Return the paths of a site."""
    return Paths(
        project=project,
        outer=project.parent,
        top=top,
        dotenv=project.parent / ".env",
        pyproject=project / "pyproject.toml",
        lockfile=project / "uv.lock",
        link=link,
        state=state,
        **{field: state / name for field, name in _STATE.items()},
    )
