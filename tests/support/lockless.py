"""Sites that have no lock yet: what they run on, pip has put into a venv."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.commands import run, uv_executable
from tests.support.sites import SampleSite, SiteFactory

UV_TABLE = '[tool.uv]\nno-index = true\nfind-links = ["../index"]\n'
_INSTALLED = """
import importlib.metadata, json
print(json.dumps(sorted(f"{one.name}=={one.version}" for one in importlib.metadata.distributions())))
"""


def make_lockless(make_site: SiteFactory, *, pyproject: str | None = UV_TABLE, name: str = "shop") -> SampleSite:
    """Make a site without uv.lock, and with this pyproject.toml, or none at all.

    `gamma` needs beta, and `delta` needs epsilon in its extra `fast`; each is on the index in 1.0.0, beta in 2.0.0 too.
    """
    site = make_site(
        name,
        packages={"alpha": "1.0.0", "beta": "1.0.0", "gamma": "1.0.0", "delta": "1.0.0", "epsilon": "1.0.0"},
        requires={"gamma": ["beta"], "delta": ["epsilon; extra == 'fast'"]},
        dependencies=[],
        groups={},
    )
    site.publish("beta", "2.0.0")
    site.publish("alpha", "1.1.0")
    site.git("rm", "--quiet", "uv.lock")
    if pyproject is None:
        site.git("rm", "--quiet", "pyproject.toml")
    else:
        site.edit("pyproject.toml", pyproject)
    site.git("commit", "--quiet", "--all", "--message", "Have no lock")
    site.push()
    return site


def fill(site: SampleSite, venv: Path, *requirements: str | Path, pip: bool = False) -> None:
    """Make a venv, if it is not there, and install into it from the site's index, by uv's `pip install` or by `pip`."""
    if not venv.exists():
        run([uv_executable(), "venv", "--quiet", venv], cwd=site.outer, env=site.env, check=0)
    python = venv / "bin" / "python"
    program: Sequence[str | Path] = [uv_executable(), "pip", "install", "--python", python]
    if pip:
        program = [sys.executable, "-m", "pip", "--python", python, "install"]
    words = [*program, "--quiet", "--no-index", "--find-links", site.index.path, *requirements]
    run(words, cwd=site.outer, env=site.env, check=0)


def installed(python: Path) -> list[str]:
    """Return what an interpreter finds installed, as `pip freeze --all` would list it."""
    finished = run([python, "-I", "-c", _INSTALLED], cwd=python.parent, env={}, check=0)
    return list(json.loads(finished.stdout))
