"""Collects the static files of a release, unless they are in place, and records which ones are."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.core.follow_up import note_failed_actions
from releaser.errors import ActivationError, ToolError, reason_of
from releaser.releases.integrity import usable
from releaser.releases.journal import journal_of, make_entry
from releaser.releases.store import store_of
from releaser.releases.venv import leads_into
from releaser.site.django_settings import StaticSettings, is_django
from releaser.site.staging_settings import StagingSettings
from releaser.system.files import UnreadableStateError, clear_name, read_state, write_state
from releaser.system.frozen import Frozen
from releaser.system.later import Later
from releaser.system.state_files import StateFile

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterable

    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.site import Site
    from releaser.tools.django import StaticFiles
else:
    hashlib = Later("hashlib")

# The name of two files: in a release, about its static files; in the state directory, about those in place.
COLLECTED = "static.json"


COLLECT = "collectstatic"  # the action, and its record in the journal


class Collected(Frozen):
    """Facts about the static files of a release, recorded when they were collected."""

    #: A digest of the files that their storage made; empty if it makes none.
    made: str
    #: The directory with the files; empty if unknown.
    place: str = ""
    #: A digest of the source files and of their destinations; empty if unknown.
    sources: str = ""

    @classmethod
    def of(cls, venv: Path) -> Collected | None:
        """Return the facts about a release, given its venv; None without any."""
        with contextlib.suppress(UnreadableStateError, OSError):
            return read_state(venv.parent / COLLECTED, cls)
        return None


class InPlace(Frozen):
    """The static files that are in place; several releases may share them."""

    made: str
    sources: str
    #: The files that determine this, and a digest of their inodes, sizes and times.
    files: tuple[str, ...]
    look: str


IN_PLACE_FILE = StateFile(name=COLLECTED, type=InPlace)


def restore_static_files(site: Site, log: RunLog) -> None:
    """Collect the static files of the live release again. A failure is reported, and retried by the next update."""
    live = usable(store_of(site).live())
    if live is None:
        return
    with log.step(f"{COLLECT} again") as step:
        try:
            collectstatic(site, log, live.venv, step)
        except (ToolError, OSError) as error:
            reason = reason_of(error)
            step.warns(reason)
            message = f"the static files of {live.id} could not be collected again: {reason}"
            log.note_failure(ActivationError(message, "Correct the error; the next `releaser update` tries again."))
            with contextlib.suppress(OSError):  # on a full disk this cannot be recorded either
                note_failed_actions(site, live, {COLLECT}, is_down=False)


def are_in_place(site: Site, venv: Path) -> bool:
    """True if the static files of a release are known to be in place, without asking Django.

    They are if this release collected the same files as the last one that collected, and neither the files nor the
    settings in the checkout have changed since. With `after_static` this is unknown: the hook may change the files.
    """
    known = Collected.of(venv)
    if known is None or not known.sources or StaticSettings.of(site).after_static is not None:
        return False
    found = None
    with contextlib.suppress(UnreadableStateError, OSError):
        found = read_state(site.state_dir / COLLECTED, InPlace)
    if found is None or (found.made, found.sources) != (known.made, known.sources):
        return False
    return _look_of(found.files) == found.look


def _look_of(files: Iterable[str]) -> str:
    """Return a digest that changes when a file is replaced, changed, made or deleted."""
    digest = hashlib.sha256()
    for path in files:
        look = ""
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            look = f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        digest.update(f"{look}\n".encode())
    return digest.hexdigest()


def collectstatic(site: Site, log: RunLog, venv: Path, step: Step) -> None:
    """Collect static files, and run `after_static`, if the project has files and a place for them. Raises ToolError.

    Nothing is done if all files are in place, from an earlier collection or because no upgrade changed them.
    """
    from releaser.reporting.hooks import run_hook
    from releaser.serving.manage import manage
    from releaser.tools.django import mark_stale_since

    settings, root = StaticSettings.of(site), site.project.root
    if settings.collectstatic == "off" or (settings.collectstatic == "auto" and not is_django(root)):
        step.skip("switched off" if settings.collectstatic == "off" else "no manage.py")
        return
    if log.finishing is None and are_in_place(site, venv):
        step.says("all are in place")
        return
    django = manage(site, venv, timeout=settings.collectstatic_timeout)
    found: StaticFiles | None = None
    try:
        found = django.static_files(outdates=True)  # so that collectstatic replaces files of other releases
    except ToolError as error:
        if error.returncode is None:  # Django hangs, or cannot be started
            raise
        step.warns(f"static files are not collected: {error.message}")
    if settings.collectstatic == "auto" and (found is None or not found.has_place):
        if found is not None:
            step.skip("staticfiles is not installed, or STATIC_ROOT is not set")
        return
    if found is not None and _are_there(site, log, venv, found):
        step.says("all are in place")
        _note(site, venv, found)
        return
    place = found.place if found is not None else None
    since = log.finishing
    if since is not None and place is not None and not root.is_relative_to(place):
        mark_stale_since(place, since=since.timestamp())
    lines = django.collectstatic(place).stdout.strip().splitlines()[-1:]
    step.says("; ".join(filter(None, [*lines, run_hook(site, log, "after_static", venv)])))
    if found is not None:
        _note(site, venv, found)


def _are_there(site: Site, log: RunLog, venv: Path, found: StaticFiles) -> bool:
    """True if each static file is in place and equal to its source, so that collectstatic would do nothing.

    The files that a storage makes must be those that it made for this release; Django's plain storage makes none.
    """
    if (
        log.finishing is not None or StaticSettings.of(site).after_static is not None
    ):  # a power cut may have emptied files
        return False
    from releaser.tools.django import digest_of_made

    known = Collected.of(venv)
    made = known.made if known is not None else "" if found.plain else None
    return found.current and made is not None and digest_of_made(found) == made


def _note(site: Site, venv: Path, found: StaticFiles) -> None:
    """Record the static files of a release, and that they are in place. After a failure they are collected again."""
    from releaser.tools.django import digest_of_made

    made = digest_of_made(found)
    if made is None:
        return
    place = str(found.place or "")
    with contextlib.suppress(OSError, ValueError):
        write_state(venv.parent / COLLECTED, Collected(made=made, place=place, sources=found.sources))
        if not found.sources:
            return
        names = (".env", "../.env", Path(site.settings.environment_file or ".env").expanduser())
        variables = (os.path.join(site.project.root, name) for name in names)  # the settings may depend on these
        files = (*found.files, *found.list_made(), *variables)
        seen = InPlace(made=made, sources=found.sources, files=files, look=_look_of(files))
        write_state(site.state_dir / COLLECTED, seen)


def _lead_into_checkout(site: Site, place: Path) -> None:
    """Replace a directory for static files in the staging tree by a link into the checkout, unless git tracks it.

    The staging tree has no such link where tests could write through it. Raises ToolError and OSError.
    """
    top = site.git.layout.top
    if not site.tree.is_staged or not place.resolve().is_relative_to(top.resolve()):
        return
    name = os.path.relpath(place, top)
    live = site.outside.git.layout.top / name
    is_apart = StagingSettings.of(site).omits_by_name(name, *map(str, Path(name).parents))
    if name.startswith("..") or is_apart or not live.is_dir() or site.git.find_tracked(site.tree.commit, name):
        return
    clear_name(place, of_directory=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(live)


def collect_ahead(site: Site, log: RunLog, release: Release) -> bool:
    """Collect the static files of new code before the flip, from the staging tree; False if that has to wait.

    After the move of the checkout, collectstatic would delay the restart, and a process on the earlier release that
    imports a module meanwhile would mix new code with old. Collecting waits if the files would not go to the place of
    the live site, if packages lead into the checkout, whose files differ, and if it fails: then it runs after the flip,
    where a failure causes an automatic rollback. It also waits if the live site has tokens that a candidate does not
    get: without them, the files might go elsewhere than, for example, to S3.
    """
    settings, project = StaticSettings.of(site), site.project
    if not settings.asks(project.root) or site.waits_for("after_static"):
        return False
    from releaser.checkout.output import lend_output
    from releaser.serving.manage import manage

    lend_output(site, release.venv)
    if site.runner.live_environ != site.runner.site_environ:
        return False
    if leads_into(release.venv, project.of_checkout(site.git.layout.top)):
        return False
    try:
        django = manage(site, release.venv, timeout=settings.collectstatic_timeout)
        place = django.static_files(compares=(release.directory / COLLECTED).exists()).place
        if place is not None:
            _lead_into_checkout(site, place)
    except (ToolError, OSError):
        return False
    if place is None or place.resolve().is_relative_to(site.git.layout.top.resolve()):
        return False
    with log.step("collectstatic") as step:
        journal_of(site).write(make_entry(log, "building", release=release.id, actions={COLLECT: {"ahead": True}}))
        try:
            collectstatic(site, log, release.venv, step)
        except ToolError as error:
            step.warns(error.message)
        return step.status not in ("warning", "skipped")  # Django may have failed to answer this time
