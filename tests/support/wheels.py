"""Tiny wheels, and a directory of them that serves as the only index of a test."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from tests.support import tinybuild

BACKEND = "tinybuild"


class Described(TypedDict, total=False):
    """What a wheel may say of itself; `scripts` are console commands to `module:function`, `urls` labels to URLs."""

    requires: Sequence[str]
    scripts: Mapping[str, str]
    requires_python: str | None
    urls: Mapping[str, str]


class WheelOptions(Described, total=False):
    """What a wheel may have; `modules` maps paths to source text (default: `<name>/__init__.py` with `__version__`)."""

    modules: Mapping[str, str] | None


def build_wheel(
    directory: Path, name: str, version: str, *, modules: Mapping[str, str] | None = None, **options: Unpack[Described]
) -> Path:
    """Write a pure Python wheel into `directory`. Equal arguments give equal bytes."""
    distribution = tinybuild.Distribution(name=name, version=version, **options)
    if modules is None:
        modules = {f"{distribution.module}/__init__.py": f'__version__ = "{version}"\n'}
    return tinybuild.write_wheel(directory, distribution, modules)


# A build backend that tells `{mark}` of each time that it runs, and makes a wheel of nothing but metadata.
TELLING = """\
import pathlib, zipfile
with open({mark!r}, "a") as told:
    told.write("{name} {version}\\n")

def build_wheel(directory, config_settings=None, metadata_directory=None):
    stem = "{name}-{version}"
    with zipfile.ZipFile(pathlib.Path(directory, stem + "-py3-none-any.whl"), "w") as archive:
        archive.writestr("{name}.py", "__version__ = '{version}'\\n")
        archive.writestr(stem + ".dist-info/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        archive.writestr(stem + ".dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(stem + ".dist-info/RECORD", "")
    return stem + "-py3-none-any.whl"
"""
_OWN_BACKEND = '[build-system]\nrequires = []\nbuild-backend = "telling"\nbackend-path = ["."]\n'


def build_sdist(directory: Path, name: str, version: str, *, mark: Path, first: str = "") -> Path:
    """Write a source release into `directory` whose own backend adds a line to `mark` whenever it runs.

    That does `first` before all else.
    """
    code = first + TELLING.format(mark=str(mark), name=name, version=version)
    return write_sdist(directory, name, version, {"pyproject.toml": _OWN_BACKEND, "telling.py": code})


def write_sdist(directory: Path, name: str, version: str, files: Mapping[str, str]) -> Path:
    """Write a source release of these files (path to text) into `directory`."""
    path = directory / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{file}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


class LocalIndex:
    """A directory of wheels for uv's `no-index` and `find-links`; a new version is one more file in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def publish(self, name: str, version: str, **options: Unpack[WheelOptions]) -> Path:
        """Offer a version."""
        return build_wheel(self.path, name, version, **options)

    def publish_backend(self) -> Path:
        """Offer the build backend `tinybuild`, which packaged projects name in `[build-system]`."""
        source = Path(tinybuild.__file__).read_text(encoding="utf-8")
        return self.publish(BACKEND, "1.0.0", modules={f"{BACKEND}.py": source})

    def withdraw(self, name: str, version: str) -> None:
        """Take a version back."""
        module = tinybuild.Distribution(name=name, version=version).module
        (self.path / f"{module}-{version}-py3-none-any.whl").unlink()
