"""Tiny wheels, and a directory of them that serves as the only index of a test."""

import base64
import hashlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_TIMESTAMP = (2020, 1, 1, 0, 0, 0)
_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"


def module_name(name: str) -> str:
    """Return the name of a distribution as file names and imports spell it."""
    return re.sub(r"[-_.]+", "_", name).lower()


def build_wheel(
    directory: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    modules: Mapping[str, str] | None = None,
    scripts: Mapping[str, str] | None = None,
    requires_python: str = "",
    tag: str = "py3-none-any",
) -> Path:
    """Write a pure Python wheel into `directory`; equal arguments give equal bytes.

    `modules` maps paths to text (by default `NAME/__init__.py` with `__version__`), `scripts` console scripts to
    `module:function`.
    """
    stem = f"{module_name(name)}-{version}"
    info = f"{stem}.dist-info"
    files = dict(modules or {f"{module_name(name)}/__init__.py": f'__version__ = "{version}"\n'})
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    files[f"{info}/METADATA"] = "\n".join(lines) + "\n"
    files[f"{info}/WHEEL"] = _WHEEL.format(tag=tag)
    if scripts:
        entries = [f"{script} = {target}\n" for script, target in scripts.items()]
        files[f"{info}/entry_points.txt"] = "".join(["[console_scripts]\n", *entries])
    files[f"{info}/RECORD"] = "".join([*map(_record_line, files, files.values()), f"{info}/RECORD,,\n"])
    wheel = directory / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            entry = zipfile.ZipInfo(path, date_time=_TIMESTAMP)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, text.encode())
    return wheel


def _record_line(path: str, text: str) -> str:
    data = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"


def broken_module(name: str, version: str, *, at: str = "test") -> dict[str, str]:
    """Return the modules of a wheel that fails the tests of a sample site, or, `at="import"`, its own import."""
    lines = [f'__version__ = "{version}"', "BROKEN = True"]
    if at == "import":
        lines.append(f'raise ImportError("{name} {version} cannot be imported")')
    return {f"{module_name(name)}/__init__.py": "\n".join(lines) + "\n"}
