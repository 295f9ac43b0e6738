"""The checks of preflight on disk, except for free space."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, how_to_set
from releaser.site.ownership import name_of
from releaser.site.state_dir import dispute, foreign
from releaser.system.files import nearest_existing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.site.project import Project

FICLONE = 0x40049409  # ioctl_ficlone(2)


def find_misplaced_state(project: Project) -> Finding | None:
    """Return a finding if a file is in the place of the state directory, or of a directory above it."""
    place = nearest_existing(project.state_dir)
    if place.is_dir():
        return None
    message = f"state_dir {project.state_dir}: {place} is not a directory"
    return Finding("state-dir-invalid", message, f"Correct `state_dir`. If it is not set, move {place} away.")


#: Directories that no site should own.
_OF_SYSTEM = tuple(map(Path, ("/", "/srv", "/opt", "/home", "/var", "/var/www", "/var/lib", "/usr/local")))


def state_findings(project: Project) -> Iterator[Finding]:
    """Check that the state directory can be used, and that renames between it and the checkout are possible."""
    if misplaced := find_misplaced_state(project):
        yield misplaced
        return
    place = nearest_existing(project.state_dir)
    for directory in dict.fromkeys((place, nearest_existing(project.releases))):
        if not os.access(directory, os.W_OK | os.X_OK):
            message = f"state_dir {project.state_dir} is not writable by this user"
            yield Finding(
                "state-dir-unwritable",
                message,
                f"{_let_write(directory, project)}, or {how_to_set('state_dir', 'PATH')}.",
            )
    yield from filter(None, (dispute(project), foreign(project)))
    yield from _mount_findings(project, place)
    if project.state_dir.is_relative_to(project.venv):
        yield Finding("state-dir-in-venv", f"state_dir {project.state_dir} is inside the venv", "Correct `state_dir`.")
    if project.checkout.is_relative_to(project.state_dir):
        yield Finding(
            "state-dir-holds-project",
            f"state_dir {project.state_dir} contains the project itself",
            "Correct `state_dir`.",
        )
    if not os.access(project.checkout, os.W_OK | os.X_OK):
        message = f"{project.checkout} is not writable by this user"
        yield Finding("project-unwritable", message, "Run releaser as the owner of the project.")
    yield from filter(None, [find_unwritable_outer(project)])


def find_unwritable_outer(project: Project) -> Finding | None:
    """Return a finding if this user cannot create files in the outer directory, as releaser must."""
    outer, name = project.outer, project.checkout.name
    if os.access(outer, os.W_OK | os.X_OK):
        return None
    message = f"{outer} is not writable by this user, so it cannot hold the staging tree"
    user = shlex.quote(name_of(os.geteuid()) or str(os.geteuid()))
    try:
        has_others = bool({*os.listdir(outer)} - {name, ".env", ".releaser"})
    except OSError:
        has_others = True
    if not has_others and outer not in _OF_SYSTEM:
        return Finding("staging-unwritable", message, f"Run `sudo chown {user} {shlex.quote(str(outer))}`.")
    place = shlex.quote(str(outer / f"{name}_stuff"))
    move = f"sudo install -d -o {user} {place} && sudo mv {shlex.quote(str(project.checkout))} {place}/"
    advice = f"Move the project into a separate directory: `{move}`. Then correct the path in the web server."
    return Finding("staging-unwritable", message, advice)


def _let_write(directory: Path, project: Project) -> str:
    if directory.stat().st_uid or directory not in (project.state_dir, project.releases):
        return f"Give this user write access to {directory}"
    return f"releaser ran here as root: run `chown -hR {os.geteuid()} {project.state_dir}` as root"


def _mount_findings(project: Project, place: Path) -> Iterator[Finding]:
    if len({_mount(path) for path in (project.checkout, place, nearest_existing(project.releases))}) > 1:
        yield Finding(
            "state-dir-other-disk",
            f"state_dir {project.state_dir} is not on the project's file system",
            f"For a path on the project's file system, {how_to_set('state_dir', 'PATH')}: renames to another one are "
            "not atomic.",
        )
    is_directory = project.venv.is_dir() and not project.venv.is_symlink()
    beside = project.venv if is_directory else project.venv.parent  # another file system may be mounted there
    if beside.is_dir() and _mount(beside) != _mount(project.checkout):
        yield Finding(
            "venv-other-disk",
            f"venv {project.venv} is not on the project's file system",
            "Set `venv` to a path on the project's file system: renames to another file system are not atomic.",
        )


def _mount(directory: Path) -> tuple[int, str]:
    """Return the identity of a mount: a rename fails even between two bind mounts of one file system."""
    descriptor = os.open(directory, os.O_PATH)
    try:
        info = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="utf-8")
        found = re.search(r"^mnt_id:\s*(\d+)$", info, re.MULTILINE)
        return os.fstat(descriptor).st_dev, found.group(1) if found else ""
    except OSError:  # without /proc
        return os.fstat(descriptor).st_dev, ""
    finally:
        os.close(descriptor)


def venv_findings(link: Path) -> Iterator[Finding]:
    """Check that this user may replace the file at the path of the symlink."""
    try:
        status = os.lstat(link)
    except FileNotFoundError:
        if not link.parent.is_dir():
            yield Finding("venv-missing", f"venv: {link.parent} does not exist", "Correct `venv`.")
        return
    except OSError as error:
        yield Finding("venv-unreadable", f"venv: {link} cannot be accessed: {error.strerror}", "Correct `venv`.")
        return
    is_link = stat.S_ISLNK(status.st_mode)
    if not is_link and not stat.S_ISDIR(status.st_mode):
        yield Finding(
            "venv-in-the-way",
            f"{link} is neither a directory nor a symlink",
            f"Run `mv {link} {link}.old`, or correct `venv`.",
        )
    elif not is_link and os.access(link, os.X_OK) and not (link / "pyvenv.cfg").is_file():
        yield Finding(
            "not-a-venv", f"{link} is a directory, but not a venv", f"Run `mv {link} {link}.old`, or correct `venv`."
        )
    # Members of the project's group may move a symlink; root would leave files behind that the owner cannot change.
    may_move = is_link and os.geteuid() != 0 and status.st_gid in {os.getegid(), *os.getgroups()}
    if status.st_uid != os.geteuid() and not may_move:
        message = f"{link} is owned by another user (uid {status.st_uid}; this is uid {os.geteuid()})"
        advice = f"Run releaser as that user, or run `chown -hR {os.geteuid()} {link}` as root."
        yield Finding("venv-foreign", message, advice)


def can_clone(directory: Path) -> bool:
    """True if this file system can share the blocks of copies. Raises OSError if the directory is not writable."""
    import fcntl  # here, as `releaser list` does not need them
    import tempfile

    with tempfile.TemporaryFile(dir=directory) as one, tempfile.TemporaryFile(dir=directory) as two:
        one.write(b"x")
        one.flush()
        with contextlib.suppress(OSError):
            fcntl.ioctl(two.fileno(), FICLONE, one.fileno())
            return True
    return False
