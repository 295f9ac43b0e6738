"""The start-up module that a release carries: it pins each process to its release, and holds a lease on it.

`_releaser_pin.py` is that module. It is copied, not imported: it runs under the Pythons of sites.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.system.files import read_file, write_new_file
from releaser.system.own_code import text_of
from releaser.system.venv_environment import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.system.process import Runner

MODULE = "_releaser_pin.py"
# The first in the order in which `site` reads them: what it imports before would not be pinned.
HOOK = "00_releaser_pin.pth"
LEASE = "releaser.lease"  # as the module names it, and `leases`
_LEVELS = ("-o", "0", "-o", "1", "-o", "2")  # as `python`, `python -O` and `python -OO` look for it
_TIMEOUT = 60.0  # seconds for an interpreter to compile one module
# In most venvs, `site` reads it twice.
_LINE = (
    'import sys; "_releaser_pin" in sys.modules or '
    'exec("try:\\n    import _releaser_pin\\nexcept Exception:\\n    pass")\n'
)
_LEASE_TEXT = (
    "Each Python process of this release holds a shared lock on this file, so that releaser does not delete it.\n"
)


def install(venv: Path, runner: Runner) -> None:
    """Put the start-up module into a venv, compiled. Raises OSError.

    It is compiled here because who starts the interpreter later may not be able to write there.
    """
    ours = f"python{sys.version_info[0]}.{sys.version_info[1]}" if sys.implementation.name == "cpython" else ""
    for module in put_into(venv):
        if module.parent.parent.name == ours:  # which understands the byte code of this one
            import py_compile

            for level, infix in enumerate(("", ".opt-1", ".opt-2")):  # of `python`, `python -O` and `python -OO`
                place = module.parent / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}{infix}.pyc"
                py_compile.compile(str(module), cfile=str(place), doraise=True, optimize=level)
        else:
            with contextlib.suppress(ToolError):
                runner.run(  # without site (-S), the module does not run yet
                    [venv / "bin" / "python", "-I", "-S", "-m", "compileall", "-q", *_LEVELS, module],
                    cwd=venv,
                    env=inside(venv, runner.site_environ),
                    timeout=_TIMEOUT,
                )
        for path in (module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"):
            if not path.is_symlink():  # which the candidate may have brought
                _open_up(path, 0o600)


def put_into(venv: Path) -> tuple[Path, ...]:
    """Put the start-up module into a venv; return where it is, for each site-packages. Done twice, it is the same.

    Raises OSError. Nothing is synced.
    """
    source = text_of(str(Path(__file__).with_name(MODULE)))
    _write(venv / LEASE, _LEASE_TEXT)  # first: the module does nothing without
    placed = []
    for place in _site_packages(venv):
        _write(place / MODULE, source)
        if (place / "__pycache__").is_symlink():
            (place / "__pycache__").unlink()
        with contextlib.suppress(FileExistsError):  # before an interpreter makes one that is for its user alone
            (place / "__pycache__").mkdir()
            _open_up(place / "__pycache__", 0o700)
        _write(place / HOOK, _LINE)
        placed.append(place / MODULE)
    if not placed:
        raise FileNotFoundError(errno.ENOENT, "there is no site-packages", str(venv / "lib"))
    return tuple(placed)


def take_out(venv: Path) -> None:
    """Delete from a venv what `install` has put there. Raises OSError."""
    for place in _site_packages(venv):
        for path in (place / HOOK, place / MODULE, *place.glob(f"__pycache__/{Path(MODULE).stem}.*.pyc")):
            path.unlink(missing_ok=True)
    (venv / LEASE).unlink(missing_ok=True)


def is_in(venv: Path) -> bool:
    """Whether processes of this venv are pinned and counted."""
    return (venv / LEASE).is_file() and any((place / HOOK).is_file() for place in _site_packages(venv))


def _write(path: Path, text: str) -> None:
    """Write a file unless it is so already: all who may read the directory may read it, whatever the umask is."""
    try:
        if not path.is_symlink() and read_file(path) == text.encode():
            return
    except IsADirectoryError:  # which is nothing of releaser's
        raise
    except OSError:
        pass
    write_new_file(path, text.encode())
    _open_up(path, 0o600)


def _open_up(path: Path, owners: int) -> None:
    """Give a file to those who may use the directory that it is in; `owners` is the mode for its owner."""
    directory = path.parent.stat()
    path.chmod(owners | stat.S_IMODE(directory.st_mode) & (owners >> 3 | owners >> 6))
    with contextlib.suppress(OSError):  # not in that group
        os.chown(path, -1, directory.st_gid)


def _site_packages(venv: Path) -> Iterator[Path]:
    yield from sorted((venv / "lib").glob("*/site-packages"))
