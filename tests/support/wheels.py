"""Tiny wheels, and a directory of them that serves as the only index of a test."""

import base64
import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_TIMESTAMP = (2020, 1, 1, 0, 0, 0)


def module_name(name: str) -> str:
    """Return the name of a distribution as file names and imports spell it."""
    return re.sub(r"[-_.]+", "_", name).lower()


def build_wheel(
    directory: Path,
    name: str,
    version: str,
    *,
    is_broken: bool = False,
    modules: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
    urls: Mapping[str, str] = {},
) -> Path:
    """Write a wheel with a module that has `__version__`, and BROKEN if it is to fail the tests of a sample site.

    With `urls` its authors write its name with a capital.
    """
    stem = f"{module_name(name)}-{version}"
    info = f"{stem}.dist-info"
    module = f'__version__ = "{version}"\nBROKEN = {is_broken}\n'
    needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    needs += "".join(f"Project-URL: {label}, {url}\n" for label, url in urls.items())
    written = name.capitalize() if urls else name
    files = dict(modules or {f"{module_name(name)}/__init__.py": module}) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {written}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join([*map(_record_line, files, files.values()), f"{info}/RECORD,,\n"])
    wheel = directory / f"{stem}-py3-none-any.whl"
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


def build_sdist(directory: Path, name: str, version: str, backend: str) -> Path:
    """Write a source distribution with static metadata, and the code of its build backend."""
    stem = f"{module_name(name)}-{version}"
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    project = f'[project]\nname = "{name}"\nversion = "{version}"\n'
    files = {
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": project + system,
        "backend.py": backend,
    }
    sdist = directory / f"{stem}.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{stem}/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return sdist
