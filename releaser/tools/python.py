"""Asks an interpreter what it is: its version, its ABI, its build."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.tools.environment import neutral

if TYPE_CHECKING:
    from releaser.tools.process import Runner

_TIMEOUT = 60.0  # seconds to start, also on a server that has other things to do
# It runs under the Pythons of sites. What an executable of a few kilobytes runs may all be in a shared library.
_QUESTION = """\
import json, os, sys, sysconfig
with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
    mapped = {line.split(None, 5)[5].strip() for line in file if "/libpython" in line}
print(json.dumps({
    "version": ".".join(map(str, sys.version_info[:3])),
    "implementation": sys.implementation.name,
    "abi": sysconfig.get_config_var("SOABI") or "",
    "build": " ".join(sys.version.split()[1:]),
    "landmarks": [*sorted(mapped), getattr(os, "__file__", "")],
}))
"""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What an interpreter says of itself; `landmarks` are files that change when it is exchanged.

    `build` tells two builds of one version apart: when it was made, by which compiler. `abi` is what its extension
    modules are built for.
    """

    version: str
    implementation: str
    abi: str
    build: str
    landmarks: tuple[str, ...]


def question(python: Path) -> list[str | Path]:
    """Return the words that ask an interpreter: nothing that a site has put into its venv runs, nothing is written."""
    return [python, "-I", "-S", "-B", "-c", _QUESTION]


def identify(runner: Runner, python: Path) -> Identity:
    """Ask an interpreter what it is. Raises ToolError when it does not start, or answers something else."""
    finished = runner.run(question(python), cwd=Path("/"), env=neutral(runner.environ), timeout=_TIMEOUT)
    try:
        said = json.loads(finished.stdout)
        texts = {name: str(said[name]) for name in ("version", "implementation", "abi", "build")}
        landmarks = tuple(str(one) for one in said["landmarks"] if one)
    except (ValueError, KeyError, TypeError) as error:
        message = f"{python} printed {finished.stdout.strip()[:60]!r}, which is not Python's answer"
        raise ToolError(message, output=finished.output) from error
    return Identity(**texts, landmarks=landmarks)
