"""Installs the start-up module of a release, which pins each process to its release and holds a lease.

The module is `_releaser_pin.py`, with a part in `_releaser_pin_rare.py`. They are copied, not imported: they run under
the Pythons of sites.
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

    from releaser.site.site import Site
    from releaser.system.process import Runner

MODULE = "_releaser_pin.py"
MODULES = ("_releaser_pin_rare.py", MODULE)  # in this order, as the second imports the first
# First in the order in which `site` reads `.pth` files: modules imported before would not be pinned.
HOOK = "00_releaser_pin.pth"
LEASE = "releaser.lease"  # as in the module, and in `lease`
_TIMEOUT = 60.0  # seconds for an interpreter to compile the modules
# Without docstrings, as each start loads the byte code; by time, as a start would hash the source otherwise.
_COMPILE = """\
import py_compile, sys
from importlib.util import cache_from_source

for module in sys.argv[1:]:
    for level in ("", 1, 2):  # of `python`, `python -O` and `python -OO`
        place, mode = cache_from_source(module, optimization=level), py_compile.PycInvalidationMode.TIMESTAMP
        py_compile.compile(module, place, doraise=True, optimize=2, invalidation_mode=mode)
"""
# In most venvs, `site` reads the `.pth` file twice.
_LINE = (
    b'import sys; "_releaser_pin" in sys.modules or '
    b'exec("try:\\n    import _releaser_pin\\nexcept Exception:\\n    pass")\n'
)
_LEASE_TEXT = (
    b"Each Python process of this release holds a shared lock on this file, so that releaser does not delete it.\n"
)


def pin(site: Site, venv: Path) -> None:
    """Pin the processes of a candidate, unless the settings forbid that. Raises OSError."""
    if site.settings.pin_processes:
        install(venv, site.runner)


def install(venv: Path, runner: Runner) -> None:
    """Put the start-up module into a venv, compiled. Raises OSError.

    It is compiled now, as the user of a later process may not be able to write there.
    """
    ours = f"python{sys.version_info[0]}.{sys.version_info[1]}" if sys.implementation.name == "cpython" else ""
    modules = put_into(venv)
    others = [module for module in modules if module.parent.parent.name != ours]  # need another Python's byte code
    if others:
        with contextlib.suppress(ToolError):
            runner.run(  # without site (-S), the module does not run yet
                [venv / "bin" / "python", "-I", "-S", "-c", _COMPILE, *others],
                cwd=venv,
                env=inside(venv, runner.site_environ),
                timeout=_TIMEOUT,
            )
    for module in modules:
        if module not in others:
            import py_compile

            mode = py_compile.PycInvalidationMode.TIMESTAMP
            for infix in ("", ".opt-1", ".opt-2"):  # as in `_COMPILE`
                place = module.parent / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}{infix}.pyc"
                py_compile.compile(str(module), str(place), doraise=True, optimize=2, invalidation_mode=mode)
        for path in (module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"):
            if not path.is_symlink():  # the candidate may have created it
                _open_up(path, 0o600)


def put_into(venv: Path) -> tuple[Path, ...]:
    """Put the start-up module into each site-packages of a venv, and return the paths. Idempotent.

    Raises OSError. Nothing is synced.
    """
    sources = {name: text_of(str(Path(__file__).with_name(name))).encode() for name in MODULES}
    _write(venv / LEASE, _LEASE_TEXT)  # first: without it, the module does nothing
    placed = []
    for place in _site_packages(venv):
        for name, source in sources.items():
            _write(place / name, source)
        if (place / "__pycache__").is_symlink():
            (place / "__pycache__").unlink()
        with contextlib.suppress(FileExistsError):  # before an interpreter creates one for its user alone
            (place / "__pycache__").mkdir()
            _open_up(place / "__pycache__", 0o700)
        _write(place / HOOK, _LINE)
        placed += [place / name for name in MODULES]
    if not placed:
        raise FileNotFoundError(errno.ENOENT, "there is no site-packages", str(venv / "lib"))
    return tuple(placed)


def take_out(venv: Path) -> None:
    """Delete the files that `install` put into a venv. Raises OSError."""
    for place in _site_packages(venv):
        compiled = [path for name in MODULES for path in place.glob(f"__pycache__/{Path(name).stem}.*.pyc")]
        for path in (place / HOOK, *[place / name for name in reversed(MODULES)], *compiled):
            path.unlink(missing_ok=True)
    (venv / LEASE).unlink(missing_ok=True)


def is_in(venv: Path) -> bool:
    """True if the venv has the start-up module, so that its processes are pinned and hold leases."""
    return (venv / LEASE).is_file() and any((place / HOOK).is_file() for place in _site_packages(venv))


def _write(path: Path, content: bytes) -> None:
    """Write a file unless it has this content; users who may read the directory may read it, whatever the umask."""
    try:
        if not path.is_symlink() and read_file(path) == content:
            return
    except IsADirectoryError:  # not a file of releaser
        raise
    except OSError:
        pass
    write_new_file(path, content)
    _open_up(path, 0o600)


def _open_up(path: Path, owners: int) -> None:
    """Open a file to the users of its directory; `owners` is the mode for its owner."""
    directory = path.parent.stat()
    path.chmod(owners | stat.S_IMODE(directory.st_mode) & (owners >> 3 | owners >> 6))
    with contextlib.suppress(OSError):  # not in that group
        os.chown(path, -1, directory.st_gid)


def _site_packages(venv: Path) -> Iterator[Path]:
    yield from sorted((venv / "lib").glob("*/site-packages"))
