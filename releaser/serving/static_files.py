"""Collecting the static files of a release, unless they are in place already; and what is noted for that."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.checkout.output import lend_output
from releaser.checkout.staging_settings import StagingSettings
from releaser.core.follow_up import note_failed_actions
from releaser.errors import ActivationError, ToolError, reason_of
from releaser.releases.integrity import cannot_run
from releaser.releases.journal import journal_of, make_entry
from releaser.releases.store import store_of
from releaser.releases.venv import leads_into
from releaser.reporting.hooks import run_hook
from releaser.serving.checks import manage
from releaser.site.django_settings import StaticSettings
from releaser.system.files import UnreadableStateError, clear_name, read_state, write_state
from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile
from releaser.tools.django import digest_of_made, is_django, outdate_since

if TYPE_CHECKING:
    from collections.abc import Iterable

    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.site import Site
    from releaser.tools.django import StaticFiles

# In the directory of a release whose static files have been collected; and in the state directory, of what is in place.
COLLECTED = "static.json"


COLLECT = "collectstatic"  # the action, and its record in the journal


class Collected(Frozen):
    """What is known of the static files of a release once they have been collected."""

    #: A digest of what their storage had made of them; empty if it makes nothing.
    made: str
    #: The directory that they are in; empty if it is not known.
    place: str = ""
    #: A digest of the files themselves, and of where they go; empty if it is not known.
    sources: str = ""

    @classmethod
    def of(cls, venv: Path) -> Collected | None:
        """Return what is known of a release by its venv; None if nothing is."""
        with contextlib.suppress(UnreadableStateError, OSError):
            return read_state(venv.parent / COLLECTED, cls)
        return None


class InPlace(Frozen):
    """The static files that are in place, whichever release has collected them: two may have the same."""

    made: str
    sources: str
    #: Each file on which that depends, and a digest of how all of them looked then, without their content.
    files: tuple[str, ...]
    look: str


IN_PLACE_FILE = StateFile(name=COLLECTED, type=InPlace)


def restore_static_files(site: Site, log: RunLog) -> None:
    """Collect the static files of the live release again. A failure is reported, and due at the next update."""
    live = store_of(site).live()
    if live is None or cannot_run(live):
        return
    with log.step(f"{COLLECT} again") as step:
        try:
            collectstatic(site, log, live.venv, step)
        except (ToolError, OSError) as error:
            reason = reason_of(error)
            step.warns(reason)
            message = f"the static files of {live.id} could not be collected again: {reason}"
            log.note_failure(ActivationError(message, "Fix that; the next `releaser update` tries again."))
            with contextlib.suppress(OSError):  # the disk that is full may take no note of it either
                note_failed_actions(site, live, {COLLECT})


def are_in_place(site: Site, venv: Path) -> bool:
    """Whether the static files of a release are known to be in place, without asking Django.

    That is so if it had collected the very same ones as whichever release has done so last, and nobody has touched
    them, or what settings there are in the checkout, since. What `after_static` makes of them is not known.
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
    """Return a digest that is another once a file has been replaced, changed, made or deleted."""
    digest = hashlib.sha256()
    for path in files:
        look = ""
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            look = f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        digest.update(f"{look}\n".encode())
    return digest.hexdigest()


def collectstatic(site: Site, log: RunLog, venv: Path, step: Step) -> None:
    """Collect static files, and run `after_static`, if the project has any to collect and a place. Raises ToolError.

    They may all be there: those of a release that had been collected before, or those that no upgrade has changed.
    """
    settings, root = StaticSettings.of(site), site.project.root
    if settings.collectstatic == "off" or (settings.collectstatic == "auto" and not is_django(root)):
        step.skip("switched off" if settings.collectstatic == "off" else "no manage.py")
        return
    if log.finishing is None and are_in_place(site, venv):
        step.says("all are there still")
        return
    django = manage(site, venv, timeout=settings.collectstatic_timeout)
    found: StaticFiles | None = None
    try:
        found = django.static_files(outdates=True)  # collectstatic is to replace what is not of this release
    except ToolError as error:
        if error.returncode is None:  # it hangs, or cannot be started
            raise
        step.warns(f"no static files are collected: {error.message}")
    if settings.collectstatic == "auto" and (found is None or not found.has_a_place):
        if found is not None:
            step.skip("staticfiles is not installed, or STATIC_ROOT is not set")
        return
    if found is not None and _are_there(site, log, venv, found):
        step.says("all are there still")
        _note(site, venv, found)
        return
    place = found.place if found is not None else None
    since = log.finishing
    if since is not None and place is not None and not root.is_relative_to(place):
        outdate_since(place, since=since.timestamp())
    lines = django.collectstatic(place).stdout.strip().splitlines()[-1:]
    step.says("; ".join(filter(None, [*lines, run_hook(site, log, "after_static", venv)])))
    if found is not None:
        _note(site, venv, found)


def _are_there(site: Site, log: RunLog, venv: Path, found: StaticFiles) -> bool:
    """Whether each static file is in place and the same as its source, so that collectstatic would do nothing.

    What a storage makes of them must be what it had made for this release; Django's plain one makes nothing.
    """
    if (
        log.finishing is not None or StaticSettings.of(site).after_static is not None
    ):  # a power cut may have emptied some
        return False
    known = Collected.of(venv)
    made = known.made if known is not None else "" if found.plain else None
    return found.current and made is not None and digest_of_made(found) == made


def _note(site: Site, venv: Path, found: StaticFiles) -> None:
    """Note which static files a release has, and that these are in place. If that fails, they are collected again."""
    made = digest_of_made(found)
    if made is None:
        return
    place = str(found.place or "")
    with contextlib.suppress(OSError, ValueError):
        write_state(venv.parent / COLLECTED, Collected(made=made, place=place, sources=found.sources))
        if not found.sources:
            return
        names = (".env", "../.env", Path(site.settings.environment_file or ".env").expanduser())
        variables = (os.path.join(site.project.root, name) for name in names)  # on which the settings may depend
        files = (*found.files, *found.list_made(), *variables)
        seen = InPlace(made=made, sources=found.sources, files=files, look=_look_of(files))
        write_state(site.state_dir / COLLECTED, seen)


def _lead_into_checkout(site: Site, place: Path) -> None:
    """Let a directory of the staging tree for static files be that of the checkout, unless a commit has it.

    Tests get no such link where they could write there. This is what is to be written now. Raises ToolError, OSError.
    """
    top = site.git.layout.top
    if not site.tree.is_staged or not place.resolve().is_relative_to(top.resolve()):
        return
    name = os.path.relpath(place, top)
    live = site.outside.git.layout.top / name
    is_apart = StagingSettings.of(site).leaves_out(name, *map(str, Path(name).parents))
    if name.startswith("..") or is_apart or not live.is_dir() or site.git.find_tracked(site.tree.commit, name):
        return
    clear_name(place, of_directory=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(live)


def collect_ahead(site: Site, log: RunLog, release: Release) -> bool:
    """Collect the static files of code that is about to go live, from the staging tree; False if that has to wait.

    Else collectstatic would lie between the move of the checkout and the restart, and a process on the earlier release
    that first imports a module in between would have new code beside old. It waits where the files would not go to the
    place of the live site, where packages lead into the checkout, which has other files of theirs, and where it fails:
    then it is tried with the release live, which is taken back. It also waits where the live site has tokens that a
    candidate does not get: without them, files might go elsewhere, as where they go to S3.
    """
    settings, project = StaticSettings.of(site), site.project
    if not settings.asks(project.root) or site.waits_for("after_static"):
        return False
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
        return step.status not in ("warning", "skipped")  # Django may not have answered this time
