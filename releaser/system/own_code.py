"""Keeps the code of releaser that a run may need later, before anything changes: an upgrade may replace the files."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import releaser
from releaser.errors import refuse
from releaser.system.files import read_file, read_if_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# releaser, and the packages that it needs. An upgrade of releaser does not touch the modules of Python itself.
_KEPT = ("releaser", "dotenv", "jinja2", "packaging", "tomlkit")
_APART = ("releaser.api", "releaser.commands")  # a run needs no command line
_IMPORTED = ("markupsafe", "msgspec", "tomli")  # compiled in part, so they must be imported
# Other interpreters get these as text; templates take less memory as text than compiled.
_TEXTS = (
    "releases/startup/_releaser_pin.py", "releases/startup/_releaser_pin_rare.py",
    "reporting/templates/run.html.j2", "reporting/templates/run.txt.j2",
    "serving/restarts/load_application.py", "tools/django_probe.py", "tools/notice_sender.py",
)  # fmt: skip
_TERMINAL = "releaser.reporting.terminal"


@cache
def text_of(file: str) -> str:
    """Return the text of a file of releaser, as it was at the first call."""
    return read_file(file).decode()


def is_replaced() -> bool:
    """True if another version of releaser is in the place of this one."""
    return f'"{releaser.__version__}"' not in read_file(releaser.__file__).decode()


class _KeptCode:
    """Finds modules in memory. Imported modules take several times the memory, and a run needs few of these."""

    def __init__(self) -> None:
        #: The file of each module, and its code, or its text if there is no byte code of it.
        self._code: dict[str, tuple[str, bool, bytes]] = {}

    def keep(self, package: str, *apart: str) -> None:
        """Keep all modules of a package, but not those that are imported or `apart`. Raises ImportError."""
        import zlib
        from importlib import import_module

        name = package
        try:
            for place in import_module(package).__path__:
                for name, file in _list_modules(package, place):
                    if name not in sys.modules and name not in self._code and not name.startswith(apart):
                        is_code, data = _read(name, file)
                        self._code[name] = file, is_code, zlib.compress(data, 1)
        except OSError as error:  # an upgrade is deleting it
            raise ImportError(str(error), name=name) from error

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        """Return how to import a module that is kept; None for any other."""
        if name not in self._code:
            return None
        from importlib.util import spec_from_file_location

        file = self._code[name][0]
        below = [os.path.dirname(file)] if os.path.basename(file) == "__init__.py" else None
        return spec_from_file_location(name, file, loader=self, submodule_search_locations=below)  # type: ignore[arg-type]

    def create_module(self, _: ModuleSpec) -> None:
        """Leave it to Python to make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the code of a module, which is kept until that has succeeded: a signal may interrupt it."""
        import marshal
        import zlib

        file, is_code, data = self._code[module.__name__]
        data = zlib.decompress(data)
        code = marshal.loads(data) if is_code else compile(data, file, "exec", dont_inherit=True)  # noqa: S302 - as read
        exec(code, vars(module))  # noqa: S102
        del self._code[module.__name__]


def _read(name: str, file: str) -> tuple[bool, bytes]:
    """Return True and the code of a module in the form of `marshal`; False and its text if it has no byte code.

    Byte code is written where that is possible, as by an import: else each update would compile the module again.
    """
    code = _read_byte_code(file)
    if code is None and not sys.dont_write_bytecode and os.access(os.path.dirname(file), os.W_OK):
        from importlib.machinery import SourceFileLoader

        with suppress(EOFError, SyntaxError, ValueError):  # an import raises them, too, if the module is needed
            SourceFileLoader(name, file).get_code(name)
        code = _read_byte_code(file)
    return (False, read_file(file)) if code is None else (True, code)


def _read_byte_code(file: str) -> bytes | None:
    """Return the code of a module in the form of `marshal`; None if no byte code belongs to its file."""
    from importlib.util import MAGIC_NUMBER, cache_from_source

    seen = os.stat(file)
    facts = (0, int(seen.st_mtime), seen.st_size)  # PEP 552: byte code that belongs to a file of this time and size
    head = MAGIC_NUMBER + b"".join((fact & 0xFFFFFFFF).to_bytes(4, "little") for fact in facts)
    code = read_if_there(cache_from_source(file)) or b""
    return code.removeprefix(head) if code.startswith(head) else None


def _list_modules(package: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the file of each module in a directory and those below."""
    with os.scandir(place) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name, _, suffix = entry.name.rpartition(".")
        if entry.name == "__init__.py":
            yield package, entry.path
        elif suffix == "py" and name.isidentifier():
            yield f"{package}.{name}", entry.path
        elif entry.name.isidentifier() and os.path.exists(f"{entry.path}/__init__.py"):
            yield from _list_modules(f"{package}.{entry.name}", entry.path)


_kept = _KeptCode()


def keep_all() -> None:
    """Keep all modules that an update may need. Raises PreflightError if releaser was replaced meanwhile."""
    from importlib import import_module  # quick runs do not need it

    if _kept not in sys.meta_path:
        sys.meta_path.insert(0, _kept)
    for package in _KEPT:
        _kept.keep(package, *_APART)
    for name in (*_IMPORTED, *((_TERMINAL,) if os.isatty(2) else ())):
        import_module(name)
    for name in _TEXTS:
        text_of(os.path.join(os.path.dirname(releaser.__file__), name))
    # Last, because an upgrade may have replaced files before or during all this.
    if is_replaced():
        refuse(
            "releaser-replaced", "releaser was upgraded during this run", "Run the command again: nothing was changed."
        )
