"""Drives a Django project's manage.py with the interpreter of a release."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.errors import ToolError, error_line
from releaser.system.files import read_file
from releaser.system.frozen import Frozen, replace
from releaser.system.later import Later
from releaser.system.own_code import text_of
from releaser.system.process import Finished, Runner, describe_status, write_out
from releaser.system.venv_environment import inside
from releaser.tools.django_probe import MARK

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Collection, Mapping
else:
    hashlib = Later("hashlib")

_PROBE = Path(__file__).with_name("django_probe.py")  # it defines the questions
_LONGEST_REASON = 300


class StaticFiles(Frozen):
    """The place of a site's static files.

    `setting` is STATIC_ROOT, empty if unset. `place` is the directory to which the storage really writes; None if that
    is not on this host (then `local` is false) or unknown, for a `reason`. `blocked` are a few of the places below it
    that this user cannot write.
    """

    installed: bool
    setting: str = ""
    local: bool = True
    place: Path | None = None
    reason: str = ""
    blocked: tuple[str, ...] = ()
    #: True if each file exists and equals its source; also False if that was not asked.
    current: bool = False
    #: A digest of the sources and their destinations; empty if not asked or unknown.
    sources: str = ""
    #: The files that determine `current` and `sources`: the collected files, and sources and settings in the checkout.
    files: tuple[str, ...] = ()
    #: The file in which the storage records the files that it makes; empty if it makes none, None if unknown.
    manifest: str | None = None
    #: True if this is Django's plain storage, which makes no files.
    plain: bool = False

    @property
    def has_place(self) -> bool:
        """True if a place for the files is configured, which shows that they should be collected."""
        return self.installed and (self.place is not None or bool(self.setting))

    def list_made(self) -> tuple[str, ...]:
        """List the files that the storage made, and its record of them. Raises OSError and ValueError."""
        if not self.manifest or self.place is None:
            return ()
        names = sorted({*json.loads(read_file(self.manifest))["paths"].values()})
        return (self.manifest, *(os.path.join(self.place, name) for name in names))


class Migrations(Frozen):
    """The `unapplied` migrations of all `databases`, in order.

    `failed` has the databases that cannot be asked, and why. `on_disk` are the ids of the migrations in the code; None
    if unknown.
    """

    databases: int
    unapplied: tuple[str, ...]
    failed: tuple[str, ...]
    on_disk: tuple[str, ...] | None = None


class AppliedElsewhere(Frozen):
    """The `names` of migrations that are applied but not in the code. `failed` is as in `Migrations`."""

    names: tuple[str, ...]
    failed: tuple[str, ...]


def digest_of_made(found: StaticFiles) -> str | None:
    """Return a digest of the files that a storage made of the static files; empty if it makes none, None if unknown."""
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


def mark_stale_since(static_root: Path, *, since: float) -> None:
    """Make collectstatic copy the files again that were written after `since`, in seconds since 1970.

    A power cut may have emptied or damaged them, and collectstatic skips files that are newer than their source.
    Nothing is deleted: some sites keep other files there.
    """
    for place, _, names in os.walk(static_root):
        for path in (os.path.join(place, name) for name in names):
            with contextlib.suppress(OSError):  # a file of another user, which only that user can write
                if os.lstat(path).st_mtime >= since:
                    os.utime(path, (0, 0), follow_symlinks=False)


class Manage(Frozen):
    """The project's manage.py, run by the interpreter of `venv`; `timeout` limits each call, in seconds."""

    runner: Runner
    project: Path
    venv: Path
    timeout: float
    #: Directories that are searched first for modules.
    sources: tuple[Path, ...] = ()

    def static_files(self, *, live: bool = True, outdates: bool = False, compares: bool = False) -> StaticFiles:
        """Ask where static files go, and with `compares` whether each file exists and equals its source.

        With `outdates`, the next collectstatic replaces each file that differs. With `live`, for code that is or was
        live, Django gets the tokens of the site. Raises ToolError if Django does not answer, for example because the
        settings cannot be imported.
        """
        answer = json.loads(self.runner.remembered.get(self._static, "{}"))
        if not answer or (outdates and not answer.get("current")) or (compares and "current" not in answer):
            answer = self._ask("outdate" if outdates else "compare" if compares else "static", live=live)[0]
            if compares:
                self.runner.remembered[self._static] = json.dumps(answer)
        place = answer.pop("place", "")
        from msgspec import convert  # slow to import

        return replace(convert(answer, StaticFiles), place=self.project / place if place else None)

    def migrations(self) -> Migrations:
        """Ask which migrations are not applied, without writing anything. Raises ToolError as `static_files` does.

        As Django takes long to start, the same call asks for the migrations in the code, and for the place of the
        static files, which is remembered.
        """
        answer, *others = self._ask("migrations", "static", "on disk")
        if others:
            self.runner.remembered[self._static] = json.dumps(others[0])
        from msgspec import convert

        return convert({**answer, "on_disk": others[1]["ids"] if others[1:] else None}, Migrations)

    def migrations_on_disk(self) -> frozenset[str]:
        """Return the ids of the migrations in the code, without asking a database. Raises ToolError."""
        return frozenset(self._ask("on disk")[0]["ids"])

    def migrations_not_on_disk(self, other: Collection[str]) -> AppliedElsewhere:
        """Ask which applied migrations are not in the code. Raises ToolError.

        Of apps that the code lacks altogether, only the migrations in `other`, the ids of other code, count.
        """
        answer = self._ask("not on disk")[0]
        names = tuple(
            migration["name"] for migration in answer["found"] if migration["has_app"] or migration["id"] in other
        )
        return AppliedElsewhere(names=names, failed=tuple(answer["failed"]))

    @property
    def _static(self) -> tuple[str, Path, Path]:
        """The key under which the answer about static files of this code and these packages is remembered."""
        return ("static", self.project, self.venv)

    def _ask(self, *questions: str, live: bool = False) -> list[dict[str, Any]]:
        # In some versions of Django, `shell -c` runs in a function, where definitions would not find each other.
        code = f"probe = {{}}\nexec({text_of(str(_PROBE))!r}, probe)\nprobe['main'](*{questions!r})"
        finished = self._run("shell", "-c", code, check=False, live=live, env={"PYTHONDONTWRITEBYTECODE": "1"})
        lines = [line.removeprefix(MARK) for line in finished.stdout.splitlines() if line.startswith(MARK)]
        if not lines:
            reason = error_line(finished.output)[:_LONGEST_REASON] or describe_status(finished.returncode)
            message = f"Django does not answer: {reason}"
            raise ToolError(message, returncode=finished.returncode, output=finished.output)
        return [json.loads(line) for line in lines]

    def collectstatic(self, place: Path | None) -> Finished:
        """Collect the static files, deleting none, as pages of older processes still refer to the old files.

        The files are flushed to disk: a power cut could empty them, and collectstatic skips files newer than their
        source.
        """
        self.runner.remembered.pop(self._static, None)
        finished = self._run("collectstatic", "--noinput", live=True)
        write_out(self.project)
        if place is not None and place.is_dir():  # it may be on another file system
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
