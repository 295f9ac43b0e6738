"""Drives a Django project's manage.py with the interpreter of a release."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import convert

from releaser.errors import ToolError, error_line
from releaser.system.files import read_file
from releaser.system.frozen import Frozen
from releaser.system.own_code import text_of
from releaser.system.process import Finished, Runner, describe_status, write_out
from releaser.system.venv_environment import inside
from releaser.tools.django_probe import MARK

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_PROBE = Path(__file__).with_name("django_probe.py")  # it tells which questions there are
_LONGEST_REASON = 300


class StaticFiles(Frozen):
    """Where the static files of a site go.

    `setting` is STATIC_ROOT, empty when it is not set; `place` is where the storage really puts files, None when that
    is not on this computer (it is not `local` then) or is not known, for a `reason`. `blocked` are a few of the places
    below it that this user cannot write.
    """

    installed: bool
    setting: str = ""
    local: bool = True
    place: Path | None = None
    reason: str = ""
    blocked: tuple[str, ...] = ()
    #: Whether each file is there, and like its source; False as well if that was not asked.
    current: bool = False
    #: A digest of the sources, and of where they go; empty if that was not asked, or is not known.
    sources: str = ""
    #: What that depends on: the files that are collected, their sources and the settings, as far as in the checkout.
    files: tuple[str, ...] = ()
    #: Where the storage notes what it has made of each file; empty if it makes nothing, None if that is not known.
    manifest: str | None = None
    #: Whether it is Django's own that makes nothing.
    plain: bool = False

    @property
    def has_a_place(self) -> bool:
        """Whether a place for the files is set, so that collecting them is meant."""
        return self.installed and (self.place is not None or bool(self.setting))

    def list_made(self) -> tuple[str, ...]:
        """List what the storage has made, and where it notes that. Raises OSError and ValueError."""
        if not self.manifest or self.place is None:
            return ()
        names = sorted({*json.loads(read_file(self.manifest))["paths"].values()})
        return (self.manifest, *(os.path.join(self.place, name) for name in names))


class Migrations(Frozen):
    """What so many `databases` lack: `unapplied` migrations, in order. `failed` says which cannot be asked, and why.

    `on_disk` are the ids of those that the code has, None if that is not known.
    """

    databases: int
    unapplied: tuple[str, ...]
    failed: tuple[str, ...]
    on_disk: tuple[str, ...] | None = None


class AppliedElsewhere(Frozen):
    """The `names` of migrations that are applied and not in the code. `failed` is as in `Migrations`."""

    names: tuple[str, ...]
    failed: tuple[str, ...]


def digest_of_made(found: StaticFiles) -> str | None:
    """Return a digest of what a storage has made of the static files, empty if it makes nothing; None if unknown."""
    if not found.manifest or found.place is None:
        return found.manifest
    try:
        paths = json.loads(read_file(found.manifest))["paths"]
        digest = hashlib.sha256(json.dumps(paths, sort_keys=True).encode())
        for name in sorted({*paths.values()}):
            digest.update(read_file(found.place / name, most=None))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return digest.hexdigest()


def is_django(project: Path) -> bool:
    """Tell whether this project has a manage.py."""
    return (project / "manage.py").is_file()


def outdate_since(static_root: Path, *, since: float) -> None:
    """Let collectstatic copy again what was written after `since`, in seconds since 1970.

    A power cut may have emptied it, or worse, and collectstatic passes over whatever is newer than its source. Nothing
    is deleted: some sites keep files of their own there.
    """
    for place, _, names in os.walk(static_root):
        for path in (os.path.join(place, name) for name in names):
            with contextlib.suppress(OSError):  # somebody else's file, which is somebody else's to write
                if os.lstat(path).st_mtime >= since:
                    os.utime(path, (0, 0), follow_symlinks=False)


class Manage(Frozen):
    """manage.py of the project, run by the interpreter of `venv`; `timeout` bounds each call, in seconds."""

    runner: Runner
    project: Path
    venv: Path
    timeout: float
    #: Where modules are looked for first.
    sources: tuple[Path, ...] = ()

    def static_files(self, *, live: bool = True, outdates: bool = False, compares: bool = False) -> StaticFiles:
        """Ask where static files go, and with `compares` whether each is there, and like its source.

        `outdates` also lets the next collectstatic replace whatever is not. What is not `live`, nor was, finds no
        tokens of the site. Raises ToolError when Django does not answer, as when the settings cannot be imported.
        """
        answer = json.loads(self.runner.remembered.get(self._static, "{}"))
        if not answer or (outdates and not answer.get("current")) or (compares and "current" not in answer):
            answer = self._ask("outdate" if outdates else "compare" if compares else "static", live=live)[0]
            if compares:
                self.runner.remembered[self._static] = json.dumps(answer)
        place = answer.pop("place", "")
        return replace(convert(answer, StaticFiles), place=self.project / place if place else None)

    def migrations(self) -> Migrations:
        """Ask which migrations are not applied, without writing anything. Raises ToolError as `static_files` does.

        As Django takes long to start, it is asked in the same breath what the code has, and where static files go,
        which is remembered.
        """
        answer, *others = self._ask("migrations", "static", "on disk")
        if others:
            self.runner.remembered[self._static] = json.dumps(others[0])
        return convert({**answer, "on_disk": others[1]["ids"] if others[1:] else None}, Migrations)

    def migrations_on_disk(self) -> frozenset[str]:
        """Return the ids of the migrations that the code has; no database is asked. Raises ToolError."""
        return frozenset(self._ask("on disk")[0]["ids"])

    def migrations_not_on_disk(self, other: Collection[str]) -> AppliedElsewhere:
        """Ask which migrations are applied that the code does not have. Raises ToolError.

        Of apps that the code does not have either, only those that `other` code has.
        """
        answer = self._ask("not on disk")[0]
        names = tuple(one["name"] for one in answer["found"] if one["has_app"] or one["id"] in other)
        return AppliedElsewhere(names=names, failed=tuple(answer["failed"]))

    @property
    def _static(self) -> tuple[str, Path, Path]:
        """Under what it is remembered where the static files of this code and these packages go."""
        return ("static", self.project, self.venv)

    def _ask(self, *questions: str, live: bool = False) -> list[dict[str, Any]]:
        # In some versions of Django `shell -c` is within a function, where definitions would not find each other.
        code = f"probe = {{}}\nexec({text_of(str(_PROBE))!r}, probe)\nprobe['main'](*{questions!r})"
        finished = self._run("shell", "-c", code, check=False, live=live, env={"PYTHONDONTWRITEBYTECODE": "1"})
        lines = [line.removeprefix(MARK) for line in finished.stdout.splitlines() if line.startswith(MARK)]
        if not lines:
            reason = error_line(finished.output)[:_LONGEST_REASON] or describe_status(finished.returncode)
            message = f"Django does not answer: {reason}"
            raise ToolError(message, returncode=finished.returncode, output=finished.output)
        return [json.loads(line) for line in lines]

    def collectstatic(self, place: Path | None) -> Finished:
        """Collect the static files; nothing is cleared, as pages of older processes still name the old files.

        A power cut must not leave them empty: collectstatic takes whatever is newer than its source for finished.
        """
        self.runner.remembered.pop(self._static, None)
        finished = self._run("collectstatic", "--noinput", live=True)
        write_out(self.project)
        if place is not None and place.is_dir():  # it may lie on another file system
            write_out(place)
        return finished

    def _run(
        self, *words: str, check: bool = True, live: bool = False, env: Mapping[str, str] | None = None
    ) -> Finished:
        given = self.runner.live_environ if live else self.runner.site_environ
        if self.sources:
            paths = [*map(str, self.sources), given.get("PYTHONPATH", "")]
            given = {**given, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        return self.runner.run(
            [self.venv / "bin" / "python", "manage.py", *words],
            cwd=self.project,
            env={**inside(self.venv, given), **(env or {})},
            timeout=self.timeout,
            check=check,
        )
