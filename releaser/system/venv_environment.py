"""The environment that makes a program use one venv, without variables that lead it elsewhere."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing `typing` takes long, and starting a program needs this module
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Of uv's variables, only those pass that say how to reach and store things. A site's crontab or a shell may set others,
# which change what uv installs or how it verifies it.
_PASSING = (
    r"UV_(CACHE_DIR|CREDENTIALS_DIR|PYTHON_DOWNLOADS|PYTHON_INSTALL_DIR|PYTHON_CACHE_DIR|HTTP_\w+|CONCURRENT_\w+|NATIVE_TLS"
    r"|SYSTEM_CERTS|KEYRING_PROVIDER|INDEX_\w+_(USERNAME|PASSWORD)|GITHUB_TOKEN|OFFLINE|LOCK_TIMEOUT|REQUEST_TIMEOUT)"
)
_PYTHON_MISLEADERS = ("PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "CONDA_PREFIX")
_OF_REPOSITORY = ("DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "COMMON_DIR", "NAMESPACE", "PREFIX")
_MISLEADERS = {*_PYTHON_MISLEADERS, *(f"GIT_{name}" for name in _OF_REPOSITORY)}


def neutral(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without variables that lead a program to another venv, repository or package."""
    return {
        name: value
        for name, value in environ.items()
        if name not in _MISLEADERS and (not name.startswith("UV_") or _passes(name))
    }


def _passes(name: str) -> bool:
    import re  # slow to import

    return re.fullmatch(_PASSING, name) is not None


def inside(venv: Path | str, environ: Mapping[str, str], *, extra_venv: Path | None = None) -> dict[str, str]:
    """Return an environment in which programs, including `uv run`, use exactly this venv and do not change it.

    They also find the packages and programs of `extra_venv`: its packages after those of PYTHONPATH, its programs after
    those of `venv`.
    """
    env = neutral(environ)
    programs = [f"{path}/bin" for path in (venv, extra_venv) if path is not None]
    env["PATH"] = os.pathsep.join(filter(None, (*programs, env.get("PATH", ""))))
    if extra_venv is not None:
        packages = map(str, extra_venv.glob("lib/python*/site-packages"))
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (env.get("PYTHONPATH", ""), *packages)))
    env["VIRTUAL_ENV"] = str(venv)
    env["UV_PROJECT_ENVIRONMENT"] = str(venv)
    env["UV_NO_SYNC"] = "1"
    return env
