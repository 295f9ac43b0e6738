"""A releaser that every user may start: the tests themselves may run in a directory that is closed to others.

A pytest plugin.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import releaser
from tests.support.commands import console_script, run


@pytest.fixture(scope="session")
def everybodys() -> Iterator[Path]:
    """Copy releaser, with what it needs to run, to a place of its own, laid out as by `pip install --target`."""
    place = Path(tempfile.mkdtemp(prefix="everybodys-"))
    try:
        place.chmod(0o755)
        shutil.copytree(Path(releaser.__file__).parent, place / "releaser", ignore=shutil.ignore_patterns("*.pyc"))
        (place / "bin").mkdir()
        shutil.copy(console_script(), place / "bin")
        for name in _needed("venv-releaser", "serve") - {"venv-releaser"}:
            for file in metadata.files(name) or ():
                target = place / ("bin" if ".." in file.parts else file.parent) / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
        run(["chmod", "-R", "go+rX", place], cwd=place, env=os.environ, check=0)
        yield place
    finally:
        shutil.rmtree(place)


def _needed(name: str, extra: str = "") -> set[str]:
    """Name what is installed of what a distribution needs to run, itself included."""
    wanted = [Requirement(line) for line in metadata.requires(name) or ()]
    return {name}.union(
        *(_needed(one.name) for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra}))
    )
