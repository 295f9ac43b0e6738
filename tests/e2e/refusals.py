"""What the tests of bad input share: a run that must be refused, and a world in which things go wrong."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import PreflightError
from releaser.pipelines.preflight import Scope, check
from releaser.site.site import open_site
from tests.e2e.scenes import on_terminal
from tests.support import snapshots
from tests.support.commands import Finished, console_script, run
from tests.support.guards import require
from tests.support.serving import http_server, reply
from tests.support.sites import SampleSite

EVERYTHING = Scope(asks=("remote", "django"))
BUG_SIGN = re.compile(r'File ".*/releaser/(\w+/)*\w+\.py"|should not: |Logging error')


@dataclass(frozen=True, kw_only=True)
class Unfit:
    """What is wrong with a site: each problem with the advice on it."""

    problems: Sequence[str]

    def says(self, *words: str | Path) -> None:
        """See that one of the problems has all these words."""
        found = [problem for problem in self.problems if all(str(word) in problem for word in words)]
        assert found, f"no problem has {words}\n{self}"

    def says_only(self, *words: str | Path) -> None:
        """See that this is the one and only problem."""
        self.says(*words)
        assert len(self.problems) == 1, str(self)


@dataclass(frozen=True, kw_only=True)
class Refusal(Unfit):
    """A run that changed nothing: how it ended, and what it reported as JSON."""

    finished: Finished
    report: Mapping[str, Any]

    def says(self, *words: str | Path) -> None:
        """See that one of the problems has all these words, and that people get to read them too."""
        super().says(*words)
        missing = [word for word in words if str(word) not in self.finished.stderr]
        assert not missing, f"{missing} should be on standard error\n{self.finished}"


def unfit(site: SampleSite, *, env: Mapping[str, str | None] | None = None) -> Unfit:
    """Check the site in this process, with the real git and uv, which must find something wrong.

    That is what `check` reports, and `update` and the others unless they find it too late to be asked here: one test
    for each way of showing it is enough, see `refused`.
    """
    with pytest.raises(PreflightError) as caught:
        check(open_site(site.path, site.environment(env)), None, EVERYTHING)
    return Unfit(problems=[f"{found.message} {found.advice}" for found in caught.value.findings])


def fit(site: SampleSite) -> None:
    """Check the site in this process, which must find nothing wrong."""
    check(open_site(site.path, site.env), None, EVERYTHING)


def refused(
    site: SampleSite,
    *,
    command: str = "update",
    code: int = 3,
    env: Mapping[str, str | None] | None = None,
    before: Sequence[str | Path] = (),
    timeout: float = 120,
) -> Refusal:
    """Run releaser, which must end with `code`, say so, and leave the site byte for byte as it is.

    `before` are words to put before the command, such as a program that takes a privilege away.
    """
    earlier = everything(site)
    words = [*before, console_script(), command, "--project", site.path, "--json"]
    finished = run(words, cwd=site.outer.parent, env=site.environment(env), timeout=timeout)
    assert finished.returncode == code, str(finished)
    assert everything(site) == earlier, str(finished)
    seem_no_bug(finished)
    report = json.loads(finished.stdout)
    if command != "check":
        assert report["exit_code"] == code, str(finished)
        assert report["result"] == ("refused" if code in (3, 5) else "failed"), str(finished)
        assert report["live_changed"] is False, str(finished)
    assert ("live: unchanged" in finished.stderr) == (command != "check"), str(finished)
    assert "what to do:" in finished.stderr, str(finished)
    return Refusal(finished=finished, report=report, problems=report["problems"])


def seem_no_bug(finished: Finished) -> None:
    """See that nothing looks like a bug in releaser."""
    assert BUG_SIGN.search(finished.stdout + finished.stderr) is None, str(finished)


def everything(site: SampleSite) -> dict[str, str]:
    """Fingerprint the site, git's own settings, the remote, and what lies beside the checkout (not what is in it)."""
    found = site.snapshot()
    found["(beside)"] = " ".join(sorted({entry.name for entry in site.outer.iterdir()} - {".releaser"}))
    for name in ("info/exclude", "config"):
        found[f"(git {name})"] = snapshots.fingerprint(site.path / ".git" / name)
    if site.remote.exists():
        found["(remote)"] = snapshots.digest(site.remote / "refs")
    return found


def without_override() -> tuple[str, ...]:
    """Return words to put before a command that shall respect permissions, which root's programs do not."""
    if os.geteuid() != 0:
        return ()
    require(shutil.which("setpriv"), "setpriv (util-linux) takes root's privileges away")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


@contextlib.contextmanager
def small_file_system(place: Path, **options: object) -> Iterator[Path]:
    """Mount a tmpfs with these options (`size`, `nr_inodes`, ...) at `place`, which is made."""
    require(os.geteuid() == 0 and shutil.which("mount"), "only root can mount a small file system")
    place.mkdir()
    words = ",".join(f"{name}={value}" for name, value in options.items())
    subprocess.run(["mount", "-t", "tmpfs", "-o", words, "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def locked_remote(status: int = 401) -> Iterator[tuple[str, list[str]]]:
    """Serve a git remote that always wants a password; yield its URL and the requests that came."""
    requests: list[str] = []

    def refuse(request: BaseHTTPRequestHandler) -> None:
        requests.append(request.path)
        reply(request, status, headers={"WWW-Authenticate": 'Basic realm="members only"'})

    with http_server(refuse) as url:
        yield f"{url}/site.git", requests


def on_controlling_terminal(site: SampleSite, command: str) -> Finished:
    """Run releaser as somebody at a keyboard does, and type nothing; everything it shows is in `stdout`."""
    require(shutil.which("setsid"), "setsid (util-linux) gives a program a terminal of its own")
    status, shown = on_terminal(site, command, before=("setsid", "--ctty", "--wait"))
    return Finished(returncode=status, stdout=shown, stderr="")


def script(path: Path, text: str) -> Path:
    """Write an executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def is_running(pid: int) -> bool:
    """Tell whether a process is there and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
