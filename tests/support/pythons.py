"""Real interpreters of several versions, and installations of them that a test may upgrade or delete."""

import itertools
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.commands import git_executable, uv_executable
from tests.support.guards import require
from tests.support.sites import SampleSite

SYSTEM = "/usr/bin/python3"

_QUESTION = """\
import json, sys, sysconfig
print(json.dumps(["%d.%d.%d" % sys.version_info[:3], sys.executable, sysconfig.get_path("stdlib"), sys.prefix]))
"""


@dataclass(frozen=True, kw_only=True)
class RealPython:
    """An interpreter that is installed on this machine, and its standard library."""

    version: str
    executable: Path
    library: Path

    @property
    def minor(self) -> str:
        """The version without its patch."""
        return self.version.rpartition(".")[0]


@cache
def real_pythons() -> tuple[RealPython, ...]:
    """Find the interpreters of this machine: on PATH, of pyenv, and of the system; the newest first."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    of_pyenv = (root / "versions").glob("3.*/bin") if os.access(root / "versions", os.R_OK | os.X_OK) else ()
    places = [*of_pyenv, *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    found: dict[str, RealPython] = {}
    for place in dict.fromkeys([*places, Path("/usr/local/bin"), Path("/usr/bin")]):
        for number in range(11, 15):
            python = _asked(place / f"python3.{number}")
            if python is not None:
                found.setdefault(python.version, python)
    return tuple(sorted(found.values(), key=lambda one: [*map(int, one.version.split("."))], reverse=True))


def _asked(path: Path) -> RealPython | None:
    if not os.access(path, os.X_OK) or "shims" in path.parts:
        return None
    try:
        answer = subprocess.run(
            [path, "-I", "-c", _QUESTION], capture_output=True, timeout=60, check=True, text=True, cwd="/"
        )
        version, executable, library, prefix = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if (Path(prefix) / "pyvenv.cfg").exists():
        return None
    return RealPython(version=version, executable=Path(executable).resolve(), library=Path(library))


def need_python(minor: str) -> RealPython:
    """Return the newest real interpreter of a minor version; skip without one, which CI must not be."""
    found = [one for one in real_pythons() if one.minor == minor]
    require(found, f"no Python {minor} is installed")
    return found[0]


def need_other_python() -> RealPython:
    """Return a real interpreter of another minor version than the system's; skip without, which CI must not be."""
    system = _asked(Path(SYSTEM))
    found = [one for one in real_pythons() if system and one.minor != system.minor]
    require(found, "only one minor version of Python is installed")
    return found[0]


def need_two_patches() -> tuple[RealPython, RealPython]:
    """Return two real interpreters of one minor version, the older one first; skip without, which CI must not be."""
    pairs = [(old, new) for new, old in itertools.combinations(real_pythons(), 2) if old.minor == new.minor]
    require(pairs, "no two patch versions of one Python are installed")
    return pairs[0]


class Installation:
    """An installation of Python of its own, as an operating system has one; it can be upgraded, and deleted.

    The interpreter is a copy, which finds its standard library, a link to the real one, by where it lies itself.
    """

    def __init__(self, prefix: Path, python: RealPython) -> None:
        self.prefix = prefix
        (prefix / "bin").mkdir(parents=True)
        (prefix / "lib").mkdir()
        self.upgrade(python)

    @property
    def executable(self) -> Path:
        """The interpreter."""
        return self.prefix / "bin" / f"python{self.python.minor}"

    def delete(self) -> None:
        shutil.rmtree(self.prefix)

    def upgrade(self, python: RealPython) -> None:
        """Put another version in the place of the one that is there, as a package manager does: by renames."""
        staging = self.prefix / "staging"
        self.python = python
        for alias in ("python", "python3"):
            _replace_link(self.prefix / "bin" / alias, self.executable.name, staging)
        _replace_link(self.prefix / "lib" / f"python{python.minor}", str(python.library), staging)
        shutil.copy2(python.executable, staging)
        staging.rename(self.executable)


def _replace_link(link: Path, target: str, staging: Path) -> None:
    staging.symlink_to(target)
    staging.rename(link)


def give_pythons(site: SampleSite, *pythons: Installation | RealPython) -> None:
    """Let these be all interpreters that a site's uv can find, in this order."""
    tools = site.outer.parent / "tools"
    tools.mkdir(exist_ok=True)
    sandbox = shutil.which("bwrap")  # without it, the first run of a site tells that there is none
    for program in (uv_executable(), git_executable(), Path("/bin/sh"), *([Path(sandbox)] if sandbox else [])):
        if not (tools / program.name).exists():
            (tools / program.name).symlink_to(program)
    places = [str(one.executable.parent) for one in pythons]
    site.env["PATH"] = os.pathsep.join([*places, str(tools)])
