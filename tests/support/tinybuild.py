"""A build backend (PEP 517 and PEP 660) of one module, and the writer of the tests' own wheels.

It is published on a `LocalIndex` as the wheel `tinybuild`, so that packaged projects are built without a
network. It therefore uses the standard library only. Of pyproject.toml it reads name, version, dependencies,
requires-python and scripts of `[project]`; the code lies in `src/`, or else in a package or module of the
project's name.
"""

import base64
import hashlib
import re
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_TIMESTAMP = (2020, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644
_WHEEL = "Wheel-Version: 1.0\nGenerator: tinybuild\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """What a wheel says of itself."""

    name: str
    version: str
    requires: Sequence[str] = ()
    scripts: Mapping[str, str] = field(default_factory=dict)
    requires_python: str | None = None
    urls: Mapping[str, str] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The name as file names and imports spell it."""
        return re.sub(r"[-_.]+", "_", self.name).lower()


def write_wheel(directory: Path, distribution: Distribution, files: Mapping[str, str]) -> Path:
    """Write a wheel of `files` (path in the wheel to text); equal input gives equal bytes."""
    stem = f"{distribution.module}-{distribution.version}"
    contents = {**files, **_dist_info(f"{stem}.dist-info", distribution)}
    record = f"{stem}.dist-info/RECORD"
    lines = [_record_line(path, text) for path, text in contents.items()]
    contents[record] = "".join([*lines, f"{record},,\n"])
    wheel = directory / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            archive.writestr(_entry(path), text.encode())
    return wheel


def _dist_info(directory: str, distribution: Distribution) -> dict[str, str]:
    files = {f"{directory}/METADATA": _metadata_text(distribution), f"{directory}/WHEEL": _WHEEL}
    if distribution.scripts:
        lines = (f"{name} = {target}\n" for name, target in distribution.scripts.items())
        files[f"{directory}/entry_points.txt"] = "".join(["[console_scripts]\n", *lines])
    return files


def _metadata_text(distribution: Distribution) -> str:
    """Return the core metadata, version 2.1."""
    lines = ["Metadata-Version: 2.1", f"Name: {distribution.name}", f"Version: {distribution.version}"]
    if distribution.requires_python:
        lines.append(f"Requires-Python: {distribution.requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in distribution.requires]
    extras = {match[1] for one in distribution.requires for match in re.finditer(r"extra == '([^']+)'", one)}
    lines += [f"Provides-Extra: {extra}" for extra in sorted(extras)]
    lines += [f"Project-URL: {label}, {url}" for label, url in distribution.urls.items()]
    return "\n".join(lines) + "\n"


def _record_line(path: str, text: str) -> str:
    data = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, date_time=_TIMESTAMP)
    entry.external_attr = _FILE_MODE << 16
    return entry


def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
    """Hook of PEP 517: nothing else is needed."""
    return []


def get_requires_for_build_editable(config_settings: object = None) -> list[str]:
    """Hook of PEP 660: what `[tool.tinybuild]` asks for is needed."""
    return list(_settings().get("requires", ()))


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    """Hook of PEP 517: a wheel with a copy of the code."""
    project = Path.cwd()
    distribution = _read_project(project)
    return write_wheel(Path(wheel_directory), distribution, dict(_sources(project, distribution))).name


def build_editable(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    """Hook of PEP 660: a wheel whose .pth leads to the code where it lies. Files that `writes` names are made there."""
    project = Path.cwd()
    for name in _settings().get("writes", ()):
        (project / name).touch()
    distribution = _read_project(project)
    files = {f"__editable__.{distribution.module}.pth": f"{_source_root(project)}\n"}
    return write_wheel(Path(wheel_directory), distribution, files).name


def _settings() -> dict[str, list[str]]:
    table = tomllib.loads(_read(Path("pyproject.toml")))
    found: dict[str, list[str]] = table.get("tool", {}).get("tinybuild", {})
    return found


def _read_project(project: Path) -> Distribution:
    """Read what pyproject.toml says of the project."""
    table = tomllib.loads(_read(project / "pyproject.toml"))["project"]
    return Distribution(
        name=table["name"],
        version=table["version"],
        requires=table.get("dependencies", ()),
        scripts=table.get("scripts", {}),
        requires_python=table.get("requires-python"),
    )


def _source_root(project: Path) -> Path:
    source = project / "src"
    return source if source.is_dir() else project


def _sources(project: Path, distribution: Distribution) -> Iterator[tuple[str, str]]:
    root = _source_root(project)
    module = distribution.module
    patterns = [f"{module}.py", f"{module}/**/*.py"] if root == project else ["**/*.py"]
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            yield path.relative_to(root).as_posix(), _read(path)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
