"""`restart = "auto"`: touches the restart file that Passenger, uWSGI and other servers watch."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.core.restart import Restart
from releaser.errors import Finding, ToolError, how_to_set
from releaser.site.restart_settings import RestartSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from releaser.report import Step
    from releaser.site.site import Site


class Touch(Restart):
    """Touches `restart_file`; by default `restart.txt` in `config/tmp/` or `tmp/` of the project."""

    word = "auto"
    yields_to_start = True

    def restarts_processes(self, site: Site) -> bool:
        """True if a file to touch was found."""
        return self.restart_file(site) is not None

    def restart_file(self, site: Site) -> Path | None:
        """Return the file to touch; None if the directory is missing, or the setting `start` has a value."""
        settings, root = RestartSettings.of(site), site.project.checkout
        if settings.start:
            return None
        return root / settings.restart_file if settings.restart_file else restart_file_in(root)

    def findings(self, site: Site) -> Iterator[Finding]:
        """Check that this user may touch or create the file."""
        if (file := self.restart_file(site)) is not None:
            yield from _touch_findings(file, site.project.outer)

    def restart(self, site: Site, venv: Path, step: Step) -> None:
        """Touch the file. Raises ToolError."""
        file, root = self.restart_file(site), site.project.root
        if file is None:
            step.skip("no config/tmp/ or tmp/ with a restart.txt")
            return
        touch(file, site.project.outer)
        step.says(f"touched {file.relative_to(root) if file.is_relative_to(root) else file}")


def _touch_findings(file: Path, outer: Path) -> Iterator[Finding]:
    """Check that this user may touch or create a file, without doing so.

    A user with write access to its directory may have replaced the file by a symlink to a file outside the site.
    """
    target = touched_by(file, outer)
    if target is None:
        message = f"restart_file {file} is a symlink that leads out of {outer}, to {os.path.realpath(file)}"
        yield Finding(
            "restart-file-outside",
            message,
            "Replace the symlink with a file, or correct `restart_file`. Check who made the symlink: it may be "
            "an attack.",
        )
    elif not target.parent.is_dir():
        message = f"restart_file {file}: the directory {target.parent} does not exist"
        yield Finding(
            "restart-file-missing", message, f"Run `mkdir {target.parent}`, or {how_to_set('restart_file', 'PATH')}."
        )
    elif not _may_touch(target):
        yield Finding(
            "restart-file-unwritable",
            f"this user cannot touch restart_file {file}",
            f"Give this user write access to {target if target.exists() else target.parent}, or "
            f"{how_to_set('restart_file', 'PATH')}.",
        )


def _may_touch(target: Path) -> bool:
    """True if this user may touch a file.

    The owner may set the time of a file that is not writable (utimensat(2)), unless the mount is read-only.
    """
    try:
        status = target.stat()
    except FileNotFoundError:
        return os.access(target.parent, os.W_OK | os.X_OK)
    except OSError:
        return False
    if os.access(target, os.W_OK):
        return True
    return status.st_uid == os.geteuid() and not os.statvfs(target).f_flag & os.ST_RDONLY


def touch(path: Path, outer: Path) -> None:
    """Set the time of a restart file; make the file, writable for its group, if it is missing. Raises ToolError.

    The new time is in another second than the old one, because servers compare seconds: an immediate rollback must
    restart the site, too. A symlink that leads out of `outer` is not followed: another user may have put it there since
    the check.
    """
    try:
        if (target := touched_by(path, outer)) is None:
            message = f"{path} is a symlink that leads out of {outer}"
            raise ToolError(
                message,
                "Replace the symlink with a file, and restart the site. Check who made the "
                "symlink: it may be an attack.",
            )
        try:
            at = max(time.time(), os.lstat(target).st_mtime // 1 + 1)
            os.utime(target, (at, at), follow_symlinks=False)
        except PermissionError:  # a file of another user: only the current time can be set
            os.utime(target, follow_symlinks=False)
        except FileNotFoundError:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.fchmod(descriptor, 0o664)  # whatever the umask is: another member of the group may touch it next
            os.close(descriptor)
    except OSError as error:
        message = f"{path} cannot be touched: {error.strerror}"
        raise ToolError(
            message, f"Give this user write access to {path}, or {how_to_set('restart_file', 'PATH')}."
        ) from error


def touched_by(file: Path, outer: Path) -> Path | None:
    """Return the file that is touched for a restart file; None if that is a symlink that leads out of `outer`."""
    target = Path(os.path.realpath(file))
    is_itself = target == Path(os.path.realpath(file.parent), file.name)
    return target if is_itself or target.is_relative_to(os.path.realpath(outer)) else None


def restart_file_in(project: Path, candidates: Sequence[str] = ("config/tmp", "tmp")) -> Path | None:
    """Return the restart file in the first candidate directory that exists."""
    return next((project / name / "restart.txt" for name in candidates if (project / name).is_dir()), None)
