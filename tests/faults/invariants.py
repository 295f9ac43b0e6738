"""What must hold after every fault, told by somebody who knows nothing of how releaser works.

Only what anybody can see is looked at: the file system, git, the site's own records of its tests, the mails, and
releaser's public commands.

- I1: what is live works, is untouched, and has passed the site's tests (or is what was live before).
- I2: uv.lock in the checkout is the lock of what is live.
- I3: git shows nothing but uv.lock as changed, and its objects are sound.
- I4: no good release is lost; nothing half-built, no temporary file, no process is left.
- I5: the administrators are told once.
- I6: the next update works without anybody's help.
"""

import base64
import csv
import hashlib
import os
import re
import time
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.e2e.scenes import unfolded
from tests.support import snapshots
from tests.support.commands import Finished, git_executable, run
from tests.support.sites import SampleSite

_GOOD = frozenset({"live", "previous", "good"})
_DYING = 20.0  # seconds in which what was orphaned by a kill may still be dying
_LEFT_OVERS = re.compile(r"^\..*\.new$|staging|doomed|^journal")
_MAY_BE_CHANGED = frozenset({"uv.lock"})
_ADDED = frozenset({"releaser.lease", "_releaser_pin.py", "_releaser_pin_rare.py", "00_releaser_pin.pth"})


@dataclass(frozen=True, kw_only=True)
class Witness:
    """What was seen of a site before the fault.

    `good` maps the venvs of good releases, by their names, to a digest of all that is in them; `live` is the digest of
    what was live. `may_go` names releases that pruning may delete meanwhile.
    """

    site: SampleSite
    live: str | None
    good: Mapping[str, str]
    mails: Collection[str]
    beside: Collection[str]
    may_go: Collection[str] = ()

    @classmethod
    def of(cls, site: SampleSite, *, may_go: Collection[str] = ()) -> Self:
        """Look at a site before a fault."""
        rows = site.json("list") if site.state_dir.exists() else []
        good = {row["id"]: snapshots.digest(Path(row["path"])) for row in rows if row["state"] in _GOOD}
        return cls(
            site=site,
            live=as_adopted(site.link.resolve()) if site.link.exists() else None,
            good=good,
            mails=frozenset(_mails(site)),
            beside=frozenset(os.listdir(site.outer)),
            may_go=may_go,
        )

    def at_once(self) -> list[str]:
        """Name what does not hold right after a fault, before anything else has run."""
        return [*self._live(), *_unsound_objects(self.site), *_processes(self.site)]

    def after_command(self) -> list[str]:
        """Name what does not hold after the next command of releaser that changes anything."""
        return [*self.at_once(), *_other_lock(self.site), *_changed(self.site), *self._lost(), *self._left_over()]

    def after_update(
        self,
        finished: Finished,
        *,
        told: str | None = None,
        versions: Mapping[str, str] | None = None,
        several: bool = False,
    ) -> list[str]:
        """Name what does not hold after the next update, which ended as `finished`.

        `told` matches a single mail since the fault, or, if `several` may tell of different things, at least one;
        `versions` is what is to be live of some packages.
        """
        broken = unless(finished.returncode == 0, f"I6: the next update failed: {finished}")
        found = self.after_command()
        if not found and versions:
            live = _installed(self.site.link)
            found = [f"I6: {name} is at {live.get(name)}" for name in versions if live.get(name) != versions[name]]
        return [*broken, *found, *self._told(told, several=several)]

    def _live(self) -> list[str]:
        link = self.site.link
        if not link.exists():
            return [f"I1: {link.name} is missing or dangling"] if self.live is not None or link.is_symlink() else []
        venv = link.resolve()
        digest = snapshots.digest(venv)
        untouched = as_adopted(venv) == self.live or digest in self.good.values()
        broken = unless(untouched or _passed(self.site, venv), f"I1: {venv} is live, but no tests passed on it")
        broken += unless(self.good.get(venv.parent.name, digest) == digest, f"I1: {venv} is not what it was")
        broken += unless(_starts(self.site, venv), f"I1: the interpreter of {venv} does not start")
        return broken + [f"I1: {name} is not as recorded" for name in _not_as_recorded(venv)]

    def _lost(self) -> list[str]:
        rows = {row["id"]: row for row in self.site.json("list")}
        there = set(os.listdir(self.site.state_dir / "releases")) if rows else set()
        broken = [f"I4: {name} is no release, but lies among them" for name in sorted(there - rows.keys())]
        for name, digest in self.good.items():
            if name in self.may_go and name not in rows:
                continue
            row = rows.get(name)
            if row is None:
                broken.append(f"I4: the good release {name} is gone")
            elif row["state"] not in {*_GOOD, "rolled-back"}:
                broken.append(f"I4: the good release {name} is {row['state']} now")
            elif snapshots.digest(Path(row["path"])) != digest:
                broken.append(f"I4: the good release {name} has changed")
        return broken

    def _left_over(self) -> list[str]:
        site = self.site
        there = {name for name in os.listdir(site.outer) if ".releaser-staging.unreadable-" not in name}
        strange = there - {*self.beside, ".releaser"}
        broken = [f"I4: {name} is left beside the checkout" for name in sorted(strange)]
        places = [site.path, site.state_dir, site.state_dir / "releases"]
        names = [(place, name) for place in places if place.exists() for name in os.listdir(place)]
        return broken + [f"I4: {place / name} is left" for place, name in names if _LEFT_OVERS.search(name)]

    def _told(self, told: str | None, *, several: bool = False) -> list[str]:
        fresh = {key: text for key, text in _mails(self.site).items() if key not in self.mails}
        copies = len(fresh) - len(set(fresh.values()))
        broken = unless(not copies, f"I5: {copies} mails tell what another one has told")
        if told is not None:
            count = sum(re.search(told, text) is not None for text in fresh.values())
            heads = "; ".join(text.partition("\n")[0] for text in fresh.values())
            is_right = count == 1 or (several and count)
            broken += unless(is_right, f"I5: {count} mails, not one, match {told!r}, of: {heads}")
        return broken


def as_adopted(venv: Path) -> str:
    """Describe the whole of a venv, except for what an adoption adds to it."""
    found = snapshots.tree(venv).items()
    return repr(sorted((name, entry) for name, entry in found if name.rpartition("/")[2] not in _ADDED))


def _starts(site: SampleSite, venv: Path) -> bool:
    try:
        return run([venv / "bin" / "python", "-c", "pass"], cwd=site.outer, env=site.env).returncode == 0
    except OSError:
        return False


def _mails(site: SampleSite) -> dict[str, str]:
    """Return subject and text of each mail by its Message-ID."""
    found = {}
    for mail in site.outbox_mails():
        part = mail.get_body(preferencelist=("plain",))
        found[str(mail["Message-ID"])] = f"{mail['Subject']}\n{unfolded(part.get_content()) if part else ''}"
    return found


def _passed(site: SampleSite, venv: Path) -> bool:
    """Whether the site's own record tells that all its tests have passed with this venv, and just these packages."""
    return {"release": venv.parent.name, "versions": _installed(venv)} in site.passed_tests()


def _installed(venv: Path) -> dict[str, str]:
    """Return the version of each installed package."""
    names = [path.name.removesuffix(".dist-info") for path in _site_packages(venv).glob("*.dist-info")]
    return {name.replace("_", "-"): version for name, _, version in (name.rpartition("-") for name in sorted(names))}


def _site_packages(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"), venv)


def _not_as_recorded(venv: Path) -> Iterator[str]:
    """Name the installed files that are missing, or are not what the RECORD of their package says."""
    places = _site_packages(venv)
    for record in places.glob("*.dist-info/RECORD"):
        for name, wanted, _ in csv.reader(record.read_text(encoding="utf-8").splitlines()):
            path = places / name
            if not path.is_file() or (wanted and _record_hash(path) != wanted):
                yield name


def _record_hash(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _other_lock(site: SampleSite) -> list[str]:
    """Compare what uv.lock says with what is installed."""
    if not site.link.exists():
        return []
    try:
        lock = tomllib.loads(site.lock_text())
    except (OSError, ValueError) as error:
        return [f"I2: uv.lock cannot be read: {error}"]
    locked = {package["name"]: package.get("version") for package in lock.get("package", ())}
    return [
        f"I2: {name} {version} is live, but {locked.get(name)} is in uv.lock"
        for name, version in _installed(site.link).items()
        if locked.get(name) != version
    ]


def _changed(site: SampleSite) -> list[str]:
    if not (site.path / ".git").exists():
        return []
    names = {line[2:].strip() for line in site.git("status", "--porcelain").splitlines()}
    return [f"I3: git shows {name} as changed" for name in sorted(names - _MAY_BE_CHANGED)]


def _unsound_objects(site: SampleSite) -> list[str]:
    broken = []
    for place in (site.path, site.remote) if (site.path / ".git").exists() else ():
        finished = run([git_executable(), "fsck", "--no-progress", "--no-dangling"], cwd=place, env=site.env)
        broken += unless(finished.returncode == 0, f"I3: git fsck in {place.name}: {finished}")
    return broken


def _processes(site: SampleSite) -> list[str]:
    """Name the processes that still have to do with the site, some time after releaser has ended."""
    ends_at = time.monotonic() + _DYING
    while (found := _running(site)) and time.monotonic() < ends_at:
        time.sleep(0.02)
    return found


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
