"""Continues as another user: root starts releaser again as the owner of a site, and does no work in the site."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

from releaser.system.expression import expression
from releaser.system.files import remove_tree
from releaser.system.process import PR_SET_PDEATHSIG
from releaser.system.temporary import temporary_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import FrameType

# Variables that are passed on: those of releaser, of the terminal and of the network. Credentials, keys and caches of
# root are not.
_PASSING = expression(
    r"PATH|LANG|LANGUAGE|LC_\w+|TZ|TERM|COLORTERM|NO_COLOR|FORCE_COLOR|COLUMNS|LINES|PYTHONPATH|SSL_CERT_(FILE|DIR)"
    r"|RELEASER_\w+|AUTO_UPDTR__\w+|ADMINS_JSON|UV_(PYTHON_DOWNLOADS|OFFLINE|NATIVE_TLS|SYSTEM_CERTS)"
)
_PROXY = expression(r"(?i:(https?|all|no)_proxy)")
_FORWARDED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH,
)  # fmt: skip
_REFUSED = 3  # the exit code of a failed preflight
_AGAIN = f"""\
import sys
sys.argv[0] = "releaser"
try:
    from releaser.__main__ import main
except (ImportError, OSError) as error:
    print(f"releaser: this user cannot read releaser: {{error}}\\nlive: unchanged", file=sys.stderr)
    sys.exit({_REFUSED})
main()
"""


def environment_for(user: int, environ: Mapping[str, str], cache: str = "") -> dict[str, str]:
    """Return the environment of a user: the variables of root's that may pass, and those of the user.

    This process already runs as that user. A user without an entry in the database of users, as in a container, has no
    home for uv's cache: `cache` is its place.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if _PASSING.fullmatch(name) or (_PROXY.fullmatch(name) and "@" not in value)  # a password may come before the @
    }
    kept.setdefault("PATH", os.defpath)
    for name in ("UV_CACHE_DIR", "TMPDIR"):
        if os.access(environ.get(name, ""), os.W_OK | os.X_OK):
            kept[name] = environ[name]
    try:
        known = pwd.getpwuid(user)
    except KeyError:
        return {"UV_CACHE_DIR": cache, **kept, "HOME": "/", "USER": str(user), "LOGNAME": str(user)}
    return {**kept, "HOME": known.pw_dir, "USER": known.pw_name, "LOGNAME": known.pw_name, "SHELL": known.pw_shell}


def run_again_as(
    user: int, group: int, arguments: Sequence[str], environ: Mapping[str, str], *, code: str = _AGAIN
) -> int:
    """Run releaser with these arguments as another user, to its end, and return its exit code.

    The new Python runs `code`. `group` is the only group of a user who has no name. The program runs in a new session,
    so that it cannot type on root's terminal, has no descriptors but the standard ones, receives the signals sent to
    this process, and ends with it. Raises OSError if it cannot be started.
    """
    with contextlib.ExitStack() as stack:
        cache = ""
        try:
            pwd.getpwuid(user)
        except KeyError:
            cache = str(stack.enter_context(temporary_directory(partial(_remove_as, user, group))))
            os.chown(cache, user, group)
        return _run_again_as(user, group, [code, *arguments], environ, cache)


def _run_again_as(user: int, group: int, words: Sequence[str], environ: Mapping[str, str], cache: str) -> int:
    child = 0

    def forward(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    argv = [sys.executable, "-P", "-c", *words]
    prctl = ctypes.CDLL(None).prctl
    reading, writing = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    parent, child = os.getpid(), os.fork()
    if not child:
        try:
            os.setsid()
            _become(user, group)
            prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))  # after the change of user, which clears it
            close_all_but(writing)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
            if os.getppid() == parent:
                os.execve(sys.executable, argv, environment_for(user, environ, cache))  # noqa: S606 - releaser itself
        except Exception as error:  # noqa: BLE001 - the parent reports it: this process may be half the other user's
            number, reason = getattr(error, "errno", None), getattr(error, "strerror", None)
            os.write(writing, f"{number or 0} {reason or repr(error)}".encode())
        finally:
            os._exit(_REFUSED)
    os.close(writing)
    for number in _FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup(1), by the child as well
            signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    with open(reading, "rb") as pipe:
        failed = pipe.read(1 << 16)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if failed:
        number, _, reason = failed.decode(errors="replace").partition(" ")
        raise OSError(int(number), reason, sys.executable)
    return status if status >= 0 else 128 - status


def _remove_as(user: int, group: int, place: Path) -> None:
    """Delete a directory as its user, who could replace entries in it meanwhile."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    try:
        _become(user, group)
        remove_tree(place)
    finally:
        os._exit(0)


def _become(user: int, group: int) -> None:
    try:
        known = pwd.getpwuid(user)
    except KeyError:
        os.setgroups([])
    else:
        group = known.pw_gid
        os.initgroups(known.pw_name, group)
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


def close_all_but(*kept: int) -> None:
    """Close every descriptor except the standard ones and these."""
    for name in os.listdir("/proc/self/fd"):
        if (number := int(name)) > 2 and number not in kept:
            with contextlib.suppress(OSError):
                os.close(number)
