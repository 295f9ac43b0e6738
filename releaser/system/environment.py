"""The environment variables that the programs releaser starts get."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Of uv's variables only those pass that say how to reach and store things; none that changes what is installed or how
# it is verified, as a site's crontab or a shell may carry any of them.
_PASSING = re.compile(
    r"UV_(CACHE_DIR|PYTHON_DOWNLOADS|PYTHON_INSTALL_DIR|PYTHON_CACHE_DIR|HTTP_\w+|CONCURRENT_\w+|NATIVE_TLS|SYSTEM_CERTS"
    r"|KEYRING_PROVIDER|INDEX_\w+_(USERNAME|PASSWORD)|GITHUB_TOKEN|OFFLINE|LOCK_TIMEOUT|REQUEST_TIMEOUT)"
)
_PYTHON_MISLEADERS = ("PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "CONDA_PREFIX")
_GIT_MISLEADERS = re.compile(r"GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|COMMON_DIR|NAMESPACE|PREFIX)")


def neutral(environ: Mapping[str, str]) -> dict[str, str]:
    """Drop what would lead a program to another venv, another repository or other packages than it is told to use."""
    return {
        name: value
        for name, value in environ.items()
        if not (name.startswith("UV_") and not _PASSING.fullmatch(name))
        and name not in _PYTHON_MISLEADERS
        and not _GIT_MISLEADERS.fullmatch(name)
    }


def inside(venv: Path, environ: Mapping[str, str], *, beside: Path | None = None) -> dict[str, str]:
    """Let programs, `uv run` included, use exactly this venv and leave it as it is.

    They also find the packages and programs of the venv `beside`: behind what PYTHONPATH names, as in a venv that had
    them, and behind the programs of their own.
    """
    env = neutral(environ)
    programs = [str(one / "bin") for one in (venv, beside) if one is not None]
    env["PATH"] = os.pathsep.join(filter(None, (*programs, env.get("PATH", ""))))
    if beside is not None:
        packages = map(str, beside.glob("lib/python*/site-packages"))
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (env.get("PYTHONPATH", ""), *packages)))
    env["VIRTUAL_ENV"] = str(venv)
    env["UV_PROJECT_ENVIRONMENT"] = str(venv)
    env["UV_NO_SYNC"] = "1"
    return env
