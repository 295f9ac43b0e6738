"""Programs in a shadow: mounted on the site's own paths where the kernel allows it, else at the shadow's own path.

Every program that belongs to a candidate starts here: builds, tests, questions to Django. The mounts are seen by that
program alone; it and all it starts, daemons included, end with it. See namespaces(7), unshare(1).
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from releaser.candidate.shadow import Shadow, find_original, list_missing_entries
from releaser.errors import ToolError
from releaser.site.site import Site
from releaser.system import process
from releaser.system.text import LONGEST_LINE, clip

_PROBE_TIMEOUT = 20.0  # seconds
_NOT_MOUNTED, _MARK = 125, "releaser could not mount\n"
_BEGIN = f"set -e; trap 'echo {_MARK.strip()} >&2; exit {_NOT_MOUNTED}' EXIT"
_SIGNALLED = 128  # a shell reports a program that a signal ended by the sum of both
_IS_ROOT = os.geteuid() == 0
_ESCAPED = re.compile(rb"\\([0-7]{3})")  # a character of a path, in /proc/self/mountinfo
_USER = [] if _IS_ROOT else ["--user", "--map-root-user"]
_UNSHARE = ["unshare", *_USER, "--mount", "--pid", "--fork", "--kill-child", "sh", "-s", "--"]
_DROP = "" if _IS_ROOT else f"unshare --user --map-user={os.geteuid()} --map-group={os.getegid()} -- "
#: In a user namespace root's files belong to nobody, and ssh refuses what it includes: this user gets copies of that.
_SSH = "/etc/ssh/ssh_config.d"
_COPY_SSH = f"if cd {_SSH} && mount -t tmpfs -o mode=755 tmpfs {_SSH}; then cp -rL --preserve=mode . {_SSH} || true; fi"
_RUN = f'trap - EXIT; {_DROP}"$@" </dev/null && exit 0 || exit $?'  # the shell stays, as process 1


def run_in_shadow(  # noqa: PLR0913 - as many as a program can be run with
    site: Site,
    shadow: Shadow,
    words: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    timeout: float,
    writable: Path | None = None,
    check: bool = True,
    directory: str = ".",
) -> process.Finished:
    """Run a program in the project of a shadow, or in a `directory` of it.

    Where the shadow is mounted, `writable` alone can be changed in the state directory. `timeout` is in seconds.
    Raises ToolError like `process.run`.
    """
    if not shadow.is_mounted:
        with process.end_orphans():
            place = shadow.project / directory
            return process.run(words, cwd=place, env=env, timeout=timeout, check=check, gives_way=True)
    script = _write_script(shadow, site.paths.state, writable, site.paths.project / directory)
    finished = _run_script(script, words, env=env, timeout=timeout)
    if finished.status == _NOT_MOUNTED and finished.stderr.endswith(_MARK):
        reason = clip(finished.stderr.removesuffix(_MARK).strip(), LONGEST_LINE)
        message = f"The shadow could not be mounted: {reason}"
        raise ToolError(message, "Set `shadow` to `off`.", output=finished.stderr)
    status = _SIGNALLED - finished.status if finished.status > _SIGNALLED else finished.status
    finished = msgspec.structs.replace(finished, status=status, arguments=tuple(map(str, words)))
    if check and finished.status != 0:
        raise process.failure(finished)
    return finished


def _run_script(
    script: str, words: Sequence[str | Path], *, env: Mapping[str, str], timeout: float
) -> process.Finished:
    """Run a script in namespaces of its own, with `words` as its arguments. Raises ToolError."""
    with os.fdopen(os.memfd_create("script"), "w+b") as file:  # as an argument, one of many mounts is too long
        file.write(os.fsencode(script))
        file.seek(0)
        command = [*_UNSHARE, *words]
        stdin = file.fileno()
        return process.run(command, cwd=Path("/"), env=env, timeout=timeout, check=False, gives_way=True, stdin=stdin)


def _write_script(shadow: Shadow, state: Path, writable: Path | None, directory: Path) -> str:
    """Return the shell script that mounts a shadow on the site's paths, and runs its arguments in a directory.

    Everything is prepared below the shadow, and comes into its place by the last mount; but a state directory elsewhere
    is closed after it, since the shadow lies in it, and a mount of what is read-only is read-only.
    """
    lines = [_BEGIN, *([] if _IS_ROOT else [f"{{ {_COPY_SSH}; }} 2>/dev/null"])]
    is_inside, closed = state.is_relative_to(shadow.original), list[str]()
    if state.is_dir():
        closed += _bind(writable, writable) if writable not in (None, state) else []  # which comes along
        closed += _bind(state, shadow.map_path(state) if is_inside else state, is_read_only=writable != state)
    lines += closed if is_inside else []
    for entry in shadow.bound:
        lines += _bind(entry, shadow.map_path(entry), is_read_only=not entry.is_socket())
    lines += [shlex.join(["mount", "--rbind", str(shadow.root), str(shadow.original)])]
    lines += [] if is_inside else closed
    lines += ["mount -t proc proc /proc 2>/dev/null || true", shlex.join(["cd", str(directory)])]
    return "\n".join([*lines, _RUN])


def _bind(source: Path, target: Path, *, is_read_only: bool = False) -> list[str]:
    """Return the commands that mount a file or directory at another place; what is mounted below it comes along."""
    lines = [shlex.join(["mount", "--rbind", str(source), str(target)])]
    if is_read_only:  # takes a second call, for each mount
        lines_of_mounts = Path("/proc/self/mountinfo").read_bytes().split(b"\n")[:-1]  # names may have any byte
        names = [_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), line.split(b" ")[4]) for line in lines_of_mounts]
        mounts = {Path(os.fsdecode(name)) for name in names} - {source}
        for mount in (source, *sorted(mount for mount in mounts if mount.is_relative_to(source))):
            lines.append(shlex.join(["mount", "-o", "remount,bind,ro", str(target / mount.relative_to(source))]))
    return lines


def can_mount(site: Site, directory: Path, target: Path) -> bool:
    """Return True if the kernel lets this user mount a directory on another one, as tried out."""
    if site.settings.tests.shadow == "off":
        return False
    script = "\n".join([_BEGIN, *_bind(directory, target, is_read_only=True), _RUN])
    try:
        finished = _run_script(script, ["true"], env=site.tool_environment(), timeout=_PROBE_TIMEOUT)
    except ToolError:
        return False
    return finished.status == 0


def can_mount_shadow(site: Site) -> bool:
    """Return True if tests run at the site's own paths."""
    with tempfile.TemporaryDirectory(prefix="releaser-") as place:
        return can_mount(site, Path(place), find_original(site))


def describe_shadow(site: Site) -> str:
    """Say where the tests run, and which files of the site they see read-only or not at all."""
    is_mounted = can_mount_shadow(site)
    large, strange = (list(map(str, paths)) for paths in list_missing_entries(site))
    where = "at the site's own paths" if is_mounted else "at a path of their own"
    how = "see read-only" if is_mounted else "do not see"
    words = f"{where}; they {how}: {', '.join(large)}." if large else f"{where}."
    return f"{words} Empty for them, since other users may write there: {', '.join(strange)}." if strange else words
