"""The invariants that hold after every fault, seen from outside: the disk, git, the record of the site's tests, `list`.

- I1: the live release works, is untouched, and has passed the site's tests (or was live before). After the next
  command, the site was restarted on it.
- I2: uv.lock in the checkout is the live release's or HEAD's, and code, products and static files are the live
  release's.
- I3: git shows only uv.lock as changed, and its objects are sound.
- I4: no good release is lost; nothing half-built, no temporary file and no process is left after the next command.
- I5: no commit without news: an update that changes nothing leaves HEAD and the remote alone.
- I6: the next update works by itself, and the right versions are live.
- I7: after the next command, a change has a line in the history, and a mail in the outbox or with the server.
"""

import base64
import csv
import hashlib
import json
import os
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

import pytest

from tests.faults.forked import run_forked
from tests.support import trees
from tests.support.commands import Finished, git_executable, run
from tests.support.sites import SampleSite
from tests.support.smtp import read_mail

Rows = list[dict[str, Any]]  # as `releaser list --json` prints them
GOOD = frozenset({"live", "previous", "good"})
RESERVE = 4 << 20  # bytes
_DYING = 20.0  # seconds in which the children of a killed run may still be dying
_STATE = frozenset(
    {
        "lock",
        "releases",
        "reserve",
        "project",
        "holds.json",
        "decision.json",
        "pending.json",
        "history.jsonl",
        "logs",
        "cache",
        "bundled",
        "news.json",
        "outbox",
    }
)
_RELEASE = frozenset({"venv", "built", "lease", "uv.lock", "manifest.json", "state.json", "tests.log", ".releaser"})
_RELEASE |= {"bundle.json"}


def _ask(site: SampleSite, command: str) -> Any:
    """Return what a command of releaser answers."""
    finished = run_forked(site, command, "--json")
    try:
        return json.loads(finished.stdout)
    except ValueError:
        pytest.fail(f"releaser {command} --json printed no JSON\n{finished}")


@dataclass(frozen=True, kw_only=True)
class Witness:
    """A site before the fault: its live venv, a digest of each good release's venv, and the names beside it."""

    site: SampleSite
    live: Mapping[str, str] | None
    good: Mapping[str, str]
    link: str
    left: frozenset[str]
    beside: frozenset[str]

    @classmethod
    def of(cls, site: SampleSite) -> Self:
        """Look at a site before a fault."""
        rows = _ask(site, "list") if site.state.exists() else []
        good = {row["id"]: trees.digest(Path(row["path"])) for row in rows if row["state"] in GOOD}
        live = _contents(site.link.resolve()) if site.link.exists() else None
        left = frozenset(row["id"] for row in rows if row["state"] == "rolled-back")
        link, beside = site.live() if rows else "", frozenset(os.listdir(site.outer))
        return cls(site=site, live=live, good=good, link=link, left=left, beside=beside)

    def at_once(self) -> list[str]:
        """Name what does not hold right after a fault, before anything else has run."""
        return [*self._live(), *_unsound_objects(self.site), *_processes(self.site)]

    def after_command(self) -> list[str]:
        """Name what does not hold after the next command of releaser that changes anything."""
        site, rows = self.site, _ask(self.site, "list")
        broken = [*self.at_once(), *_other_lock(site, rows), *_changed(site), *self._lost(rows), *self._left_over()]
        broken += [*_other_products(site), *self._untold(rows)]
        served, link = served_release(site), os.readlink(site.link) if site.link.is_symlink() else ""
        return broken + unless(served in ("", link), f"I1: {link} is live, but the site runs on {served}")

    def after_update(self, finished: Finished, *, versions: Mapping[str, str]) -> list[str]:
        """Name what does not hold after the next update, which ended as `finished`; `versions` have to be live."""
        has_gone_back = finished.returncode == 7 and "is live again" in finished.stderr  # in its recovery
        broken = unless(finished.returncode == 0 or has_gone_back, f"I6: the next update failed: {finished}")
        broken += self.after_command()
        reserve = sum(file.stat().st_blocks * 512 for file in (self.site.state / "reserve").glob("*"))
        broken += unless(reserve >= RESERVE, f"I4: the reserve of a rollback has only {reserve} bytes")
        if not broken:
            live = self.site.versions()
            broken = [f"I6: {name} is at {live.get(name)}" for name in versions if live.get(name) != versions[name]]
        return broken

    def after_quiet_update(self) -> list[str]:
        """Update once more, without news, and name what that has changed."""
        site = self.site
        before = (site.head(), site.remote_head(), os.readlink(site.link), site.restarted_at())
        finished = run_forked(site, "update")
        broken = unless(finished.returncode == 0, f"I5: an update without news failed: {finished}")
        after = (site.head(), site.remote_head(), os.readlink(site.link), site.restarted_at())
        return broken + unless(after == before, f"I5: an update without news changed {before} to {after}: {finished}")

    def _live(self) -> list[str]:
        link = self.site.link
        if not link.exists():
            return [f"I1: {link.name} is missing or dangling"] if self.live is not None or link.is_symlink() else []
        venv = link.resolve()
        digest = trees.digest(venv)
        is_untouched = _contents(venv) == self.live or digest in self.good.values()
        broken = unless(is_untouched or _has_passed(self.site, venv), f"I1: {venv} is live, but no tests passed on it")
        broken += unless(self.good.get(venv.parent.name, digest) == digest, f"I1: {venv} is not what it was")
        broken += unless(_starts(self.site, venv), f"I1: the interpreter of {venv} does not start")
        return broken + [f"I1: {name} is not as recorded" for name in _not_as_recorded(venv)]

    def _lost(self, listed: Rows) -> list[str]:
        rows = {row["id"]: row for row in listed}
        empty = [row["id"] for row in listed if row["state"] in GOOD and not Path(row["path"], "bin/python").exists()]
        broken = [f"I4: the good release {name} has no venv" for name in empty]
        for name, digest in self.good.items():
            row = rows.get(name)
            if row is None:
                broken.append(f"I4: the good release {name} is gone")
            elif row["state"] not in {*GOOD, "rolled-back"}:
                broken.append(f"I4: the good release {name} is {row['state']} now")
            elif trees.digest(Path(row["path"])) != digest:
                broken.append(f"I4: the good release {name} has changed")
        releases = self.site.state / "releases"
        on_disk = {entry.name: set(os.listdir(entry)) for entry in releases.iterdir()} if releases.exists() else {}
        broken += [f"I4: {name} is no release, but lies among them" for name in sorted(on_disk.keys() - rows.keys())]
        strange = {f"{name}/{entry}" for name, entries in on_disk.items() for entry in entries - _RELEASE}
        return broken + [f"I4: releases/{name} is left" for name in sorted(strange)]

    def _untold(self, listed: Rows) -> list[str]:
        """Name the changes of which people have not heard; those of `init` they have seen."""
        if not self.link or not self.site.link.is_symlink() or not self.site.link.exists():
            return []
        history = _ask(self.site, "history")
        live, told = self.site.live(), {(record["result"], record["release"]) for record in history}
        broken = unless(live == self.link or {("updated", live), ("updated-not-restarted", live)} & told, live)
        gone_back = {row["id"] for row in listed if row["state"] == "rolled-back"} - self.left
        has_asked = any(record["command"] == "rollback" for record in history)  # for the way back
        broken += [name for name in gone_back if not has_asked and ("rolled-back", name) not in told]
        texts = list(map(read_mail, mails(self.site)))
        unsent = [name for name in {live, *gone_back} - {self.link} if not any(name in text for text in texts)]
        untold = [f"I7: {name} has no line in the history" for name in broken]
        return untold + [f"I7: no mail names {name}" for name in unsent if self.site.mail_server is not None]

    def _left_over(self) -> list[str]:
        site = self.site
        strange = [
            site.outer / name for name in set(os.listdir(site.outer)) - self.beside - {".releaser", "served", "static"}
        ]
        strange += [path for path in site.state.glob("*") if path.name not in _STATE]
        strange += [path for path in site.path.glob("**/.*.new") if ".venv" not in path.parts]
        strange += list((site.path / ".git").rglob("*.lock"))
        temporary = Path(site.env["TMPDIR"])
        if temporary.is_relative_to(site.base):
            strange += [path for path in temporary.iterdir() if not path.match("uv-*.lock")]  # uv never deletes those
        return [f"I4: {path} is left" for path in sorted(strange)]


def mails(site: SampleSite) -> list[EmailMessage]:
    """Return the mails that the server took last, and those in the outbox."""
    taken = [mail for _, mail, _ in site.mail_server.mails[-20:]] if site.mail_server is not None else []
    waiting = [*(site.state / "outbox").glob("new/*"), *(site.state / "outbox").glob("cur/*")]
    return taken + [message_from_bytes(path.read_bytes(), policy=policy.default) for path in waiting]


def _contents(venv: Path) -> dict[str, str]:
    """Return the files of a venv, but for the start-up module, which adoption adds."""
    return {name: content for name, content in trees.contents(venv).items() if "/_releaser." not in name}


def served_release(site: SampleSite) -> str:
    """Return the text of the link at the last restart; empty if there was none."""
    served = site.outer / "served"
    return served.read_text(encoding="utf-8").strip() if served.exists() else ""


def _starts(site: SampleSite, venv: Path) -> bool:
    try:
        return run([venv / "bin" / "python", "-c", "pass"], cwd=site.outer, env=site.env).returncode == 0
    except OSError:
        return False


def _has_passed(site: SampleSite, venv: Path) -> bool:
    """Return True if the site's own record says that its tests passed with this venv and these packages."""
    passed = [(Path(entry["prefix"]).parent.name, entry["versions"]) for entry in site.test_runs("passed")]
    return (venv.parent.name, site.versions(venv)) in passed


def _not_as_recorded(venv: Path) -> Iterator[str]:
    """Name the installed files that are missing, or are not what the RECORD of their package says."""
    packages = next(venv.glob("lib/python*/site-packages"), venv)
    for record in packages.glob("*.dist-info/RECORD"):
        for name, wanted, _ in csv.reader(record.read_text(encoding="utf-8").splitlines()):
            path = packages / name
            if not path.is_file() or (wanted and _record_hash(path) != wanted):
                yield name


def _record_hash(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _other_lock(site: SampleSite, rows: Rows) -> list[str]:
    """Compare uv.lock and the code of the checkout with the live release."""
    if not site.link.is_symlink():
        return []
    try:
        lock, own = site.lock(), (site.release() / "uv.lock").read_text(encoding="utf-8")
        locked = {package["name"]: package.get("version") for package in tomllib.loads(own)["package"]}
    except (OSError, ValueError) as error:
        return [f"I2: a uv.lock cannot be read: {error}"]
    committed = site.git("show", "HEAD:uv.lock") + "\n"
    broken = unless(lock in (own, committed), "I2: uv.lock is neither the live release's nor HEAD's")
    for name, version in site.versions().items():
        broken += unless(locked.get(name) == version, f"I2: {name} {version} is live, but not in the release's lock")
    commit = next((row["commit"] for row in rows if row["live"]), "")
    if not commit:
        return [*broken, "I1: the live release is not listed"]
    differing = site.git("diff", "--name-only", commit, "HEAD", "--", ".", ":!uv.lock")
    return broken + unless(not differing, f"I2: the live release has another version of {differing}")


def _other_products(site: SampleSite) -> list[str]:
    """Compare what the build has made, and the static files, with the live release and its code."""
    made, static = site.path / "made.ignored", site.outer / "static"
    names = sorted(path.name for path in site.path.glob("*.txt"))
    is_made = made.exists() and made.read_text(encoding="utf-8").split() == names
    was_built = (site.link.resolve().parent / "built").exists()
    broken = unless(is_made or not was_built, "I2: the checkout lacks the product of its release")
    broken += unless(was_built or not made.exists(), "I2: the checkout has the product of another release")
    is_other = static.exists() and static.read_text(encoding="utf-8") != site.versions().get("alpha")
    return broken + unless(not is_other, "I2: the static files are those of another release")


def _changed(site: SampleSite) -> list[str]:
    names = {line[2:].strip() for line in site.status().splitlines()}
    return [f"I3: git shows {name} as changed" for name in sorted(names - {"uv.lock"})]


def _unsound_objects(site: SampleSite) -> list[str]:
    broken = []
    for place in (site.path, site.remote):
        finished = run([git_executable(), "fsck", "--no-progress", "--no-dangling"], cwd=place, env=site.env)
        broken += unless(finished.returncode == 0, f"I3: git fsck in {place.name}: {finished}")
    return broken


def _processes(site: SampleSite) -> list[str]:
    """Name the processes that still have to do with the site some time after releaser has ended."""
    ends_at = time.monotonic() + _DYING
    while (running := _running(site)) and time.monotonic() < ends_at:
        time.sleep(0.02)
    return running


def _running(site: SampleSite) -> list[str]:
    place = os.fsencode(site.outer) + b"/"
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = Path(entry.path, "cmdline").read_bytes()
            seen = words + os.fsencode(os.readlink(f"{entry.path}/cwd")) + b"/"
            state = Path(entry.path, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except OSError:
            continue
        if place in seen and state not in "ZX":
            found.append(f"I4: process {entry.name} is left: {words.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def unless(holds: object, sentence: str) -> list[str]:
    """Return the sentence in a list, or an empty list when it holds."""
    return [] if holds else [sentence]
