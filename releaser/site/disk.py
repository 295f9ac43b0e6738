"""The state directory: making it, and whose it is; and what preflight looks at on disk, but for free space."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, PreflightError
from releaser.system.files import (
    UnreadableStateError,
    nearest_existing,
    put_aside,
    read_state,
    sync_directory,
    write_state,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.site.project import Project
    from releaser.tools.git_reader import Layout


FICLONE = 0x40049409  # ioctl_ficlone(2)
OWNER = "project.json"  # in the state directory
OWNER_OF_WORK_TREE = "releaser.json"  # in git's directory of the work tree
_SHARED = 0o2770  # the group may write, and what is made inside belongs to it too
_PASSAGE = 0o005  # for everybody, where the project is open to everybody: the web server's user may be anybody


def prepare(project: Project) -> None:
    """Make the directories of the state that are missing, whatever the umask is. Raises OSError.

    Logs and mails are for the group alone. A group that this user may not hand files to is left as it is.
    """
    like = project.root.stat()
    others = _PASSAGE if like.st_mode & stat.S_IXOTH else 0
    for place in [parent for parent in project.state_dir.parents if not parent.exists()][::-1]:
        _make(place, 0o755 if others else 0o750, None)
    for place in (project.state_dir, project.releases):
        _make(place, _SHARED | others, like.st_gid)
    for place in (project.logs, project.outbox):
        _make(place, _SHARED, like.st_gid)


def _make(directory: Path, mode: int, group: int | None) -> None:
    try:
        directory.mkdir()
    except FileExistsError:
        return
    if group is not None:
        with contextlib.suppress(PermissionError):
            os.chown(directory, -1, group)
    directory.chmod(mode)
    sync_directory(directory.parent)


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The project that something belongs to, by the absolute paths of its checkout and of its symlink."""

    root: Path
    link: Path


@dataclass(frozen=True, kw_only=True)
class _Written:
    """The same, relative to the directory of the file, so that all may be moved or mounted elsewhere together."""

    root: str
    link: str


def read_owner(path: Path) -> Owner | None:
    """Return the owner that a file names; None if that is not written down. Raises UnreadableStateError."""
    found = read_state(path, _Written)
    if found is None:
        return None
    base = os.path.realpath(path.parent)
    return Owner(
        root=Path(os.path.normpath(os.path.join(base, found.root))),
        link=Path(os.path.normpath(os.path.join(base, found.link))),
    )


def dispute(project: Project) -> Finding | None:
    """Say that the state directory belongs to another project, if it does."""
    file = project.state_dir / OWNER
    owner = _other(project, file)
    if owner is None:
        return None
    message = f"state_dir {project.state_dir} belongs to the project {_name(owner)}, and not to {_name(project)}"
    advice = f"Set `state_dir` to a directory of its own; if the other project is gone, delete {file}."
    return Finding(message, advice=advice)


def work_tree_dispute(project: Project, layout: Layout) -> Finding | None:
    """Say that the work tree belongs to another project, if it does: going live with one moves the code of both."""
    file = layout.git_directory / OWNER_OF_WORK_TREE
    owner = _other(project, file)
    if owner is None or not owner.link.is_symlink():  # that one is not adopted any more
        return None
    message = f"the work tree {layout.top} belongs to the project {_name(owner)}, and not to {_name(project)}"
    advice = (
        "Give each project a checkout of its own: its commits are tested with this project's tests alone, and"
        f" going live moves the whole work tree. If the other project is gone, delete {file}."
    )
    return Finding(message, advice=advice)


def claim(project: Project) -> str:
    """Write down whose state directory this is; return what there is to say of it, mostly nothing.

    The caller holds the project lock. Raises PreflightError if it belongs to another project.
    """
    return _claim(project, project.state_dir / OWNER, dispute(project))


def claim_work_tree(project: Project, layout: Layout) -> str:
    """Write down whose work tree this is, as `claim` does. Raises PreflightError if it belongs to another project."""
    return _claim(project, layout.git_directory / OWNER_OF_WORK_TREE, work_tree_dispute(project, layout))


def _claim(project: Project, file: Path, disputed: Finding | None) -> str:
    said = ""
    try:
        owner = read_owner(file)
    except UnreadableStateError as error:
        owner = None
        with contextlib.suppress(OSError):  # which must not keep anybody from going back
            said = f"{error.path} could not be read; it is kept as {put_aside(error.path).name}."
    except OSError as error:
        _warn("%s cannot be looked at: %s", file, error)
        return ""
    if owner is not None and _is_of(owner, project):
        return ""
    if disputed is not None:
        raise PreflightError(disputed)
    base = os.path.realpath(file.parent)
    paths = _Written(root=os.path.relpath(project.checkout, base), link=os.path.relpath(project.venv, base))
    try:
        write_state(file, paths)
    except OSError as error:  # a full disk must not keep anybody from going back; the next run writes it
        _warn("%s cannot be written: %s", file, error)
    if owner is not None and file.name == OWNER:
        said = f"The project was moved from {_name(owner)} to {_name(project)}."
    return said


def _other(project: Project, file: Path) -> Owner | None:
    """Return the owner that a file names, if that is another project."""
    try:
        owner = read_owner(file)
    except (UnreadableStateError, OSError):
        return None
    return None if owner is None or _is_of(owner, project) or _has_moved(owner, project) else owner


def _name(one: Owner | Project) -> str:
    root, link = (one.root, one.link) if isinstance(one, Owner) else (one.checkout, one.venv)
    return f"{root} (its link is {link})"


def _is_of(owner: Owner, project: Project) -> bool:
    return _is_same(owner.root, project.checkout) and (
        owner.link.name == project.venv.name and _is_same(owner.link.parent, project.venv.parent)
    )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _has_moved(owner: Owner, project: Project) -> bool:
    """Whether what is written down is not there any more, and this project is the one that it has become."""
    if _is_same(owner.root, project.checkout):
        return _is_gone(owner.link)
    link = project.venv
    leads_into = link.is_symlink() and Path(os.path.realpath(link)).is_relative_to(os.path.realpath(project.releases))
    return leads_into and _is_gone(owner.root)


def _is_gone(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


# What preflight looks at


def find_misplaced_state(project: Project) -> Finding | None:
    """Find a file where the state directory, or a directory above it, is to be."""
    place = nearest_existing(project.state_dir)
    if place.is_dir():
        return None
    return Finding(f"state_dir {project.state_dir}: {place} is not a directory", advice="Correct `state_dir`.")


def state_findings(project: Project) -> Iterator[Finding]:
    """Check that the state directory can be used, and that renames between it and the checkout are possible."""
    if misplaced := find_misplaced_state(project):
        yield misplaced
        return
    place = nearest_existing(project.state_dir)
    for directory in dict.fromkeys((place, nearest_existing(project.releases))):
        if not os.access(directory, os.W_OK | os.X_OK):
            yield Finding(
                f"state_dir {project.state_dir} is not writable for this user",
                advice=f"Let this user write {directory}, or set `state_dir`.",
            )
    if found := dispute(project):
        yield found
    yield from _mount_findings(project, place)
    if project.state_dir.is_relative_to(project.venv):
        yield Finding(f"state_dir {project.state_dir} is inside the venv", advice="Correct `state_dir`.")
    if project.checkout.is_relative_to(project.state_dir):
        yield Finding(f"state_dir {project.state_dir} holds the project itself", advice="Correct `state_dir`.")
    if not os.access(project.checkout, os.W_OK | os.X_OK):
        yield Finding(
            f"{project.checkout} is not writable for this user",
            advice="Run releaser as the owner of the project.",
        )
    if not os.access(project.outer, os.W_OK | os.X_OK):
        yield Finding(
            f"{project.outer} is not writable for this user, so the staging tree cannot lie beside the checkout",
            advice=f"Let this user write {project.outer}.",
        )


def _mount_findings(project: Project, place: Path) -> Iterator[Finding]:
    if len({_mount(one) for one in (project.checkout, place, nearest_existing(project.releases))}) > 1:
        yield Finding(
            f"state_dir {project.state_dir} is on another file system than the project",
            advice="Set `state_dir` to a directory on the project's file system; only there are renames atomic.",
        )
    is_directory = project.venv.is_dir() and not project.venv.is_symlink()
    beside = project.venv if is_directory else project.venv.parent  # one may be mounted there
    if beside.is_dir() and _mount(beside) != _mount(project.checkout):
        yield Finding(
            f"venv {project.venv} is on another file system than the project",
            advice="Set `venv` to a name on the project's file system; only there are renames atomic.",
        )


def stranger_finding(project: Project, command: str) -> Finding | None:
    """Find that this user may not write the project at all, so that nothing else that is found says anything."""
    if os.access(project.checkout, os.W_OK | os.X_OK):
        return None
    owner = project.checkout.stat().st_uid
    return Finding(
        f"{project.checkout} belongs to another user (uid {owner}; this is uid {os.geteuid()})",
        advice=f"Run it as that user: `sudo -u '#{owner}' releaser {command} --project {project.checkout}`.",
    )


def _mount(directory: Path) -> tuple[int, str]:
    """Tell mounts apart: a rename does not even go from one bind mount of a file system to another."""
    descriptor = os.open(directory, os.O_PATH)
    try:
        info = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
        found = re.search(r"^mnt_id:\s*(\d+)$", info, re.MULTILINE)
        return os.fstat(descriptor).st_dev, found.group(1) if found else ""
    except OSError:  # without /proc
        return os.fstat(descriptor).st_dev, ""
    finally:
        os.close(descriptor)


def venv_findings(link: Path) -> Iterator[Finding]:
    """Check that what stands at the place of the symlink may be replaced by this user."""
    try:
        status = os.lstat(link)
    except FileNotFoundError:
        if not link.parent.is_dir():
            yield Finding(f"venv: {link.parent} does not exist", advice="Correct `venv`.")
        return
    except OSError as error:
        yield Finding(f"venv: {link} cannot be looked at: {error.strerror}", advice="Correct `venv`.")
        return
    is_link = stat.S_ISLNK(status.st_mode)
    if not is_link and not stat.S_ISDIR(status.st_mode):
        yield Finding(f"{link} is neither a directory nor a symlink", advice="Move it away, or correct `venv`.")
    elif not is_link and os.access(link, os.X_OK) and not (link / "pyvenv.cfg").is_file():
        yield Finding(f"{link} is a directory, but not a venv", advice="Move it away, or correct `venv`.")
    if not _may_replace(status, is_link=is_link):
        yield Finding(
            f"{link} is owned by another user (uid {status.st_uid}; this is uid {os.geteuid()})",
            advice="Run releaser as that user, or chown it.",
        )


def _may_replace(status: os.stat_result, *, is_link: bool) -> bool:
    """Members of the project's group may move a symlink; root would leave files behind that the owner cannot change."""
    user = os.geteuid()
    if status.st_uid == user:
        return True
    return is_link and user != 0 and status.st_gid in {os.getegid(), *os.getgroups()}


def can_clone(directory: Path) -> bool:
    """Tell whether this file system shares the blocks of copies; OSError when the directory is not writable."""
    import fcntl  # here, as `releaser list` needs neither
    import tempfile

    with tempfile.TemporaryFile(dir=directory) as one, tempfile.TemporaryFile(dir=directory) as two:
        one.write(b"x")
        one.flush()
        with contextlib.suppress(OSError):
            fcntl.ioctl(two.fileno(), FICLONE, one.fileno())
            return True
    return False


def _warn(message: str, *facts: object) -> None:
    import logging  # which takes long to import, for `releaser list`

    logging.getLogger(__name__).warning(message, *facts)
