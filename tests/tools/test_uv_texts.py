"""The messages of a real uv that releaser parses, as it prints them and as an old version wraps them."""

import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from releaser.errors import ToolError, error_line
from releaser.system.process import Runner
from releaser.tools.uv import (
    NoSolution,
    Uv,
    failed_builds,
    packages_to_build,
    unbuildable_packages,
    uninstallable_packages,
)
from tests.support.commands import clean_environment, uv_executable
from tests.support.templates import write_files

NAME = "a-package-whose-name-is-long-enough-for-any-width-of-a-line"
FOUND = ((NAME, "1.0"),)
PROJECT = f"""\
[project]
name = "shop-with-a-long-name"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["{NAME}%s"]
[tool.uv]
no-index = true
find-links = ["index"]
"""
BACKEND = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "%s"
version = "1.0"
"""


def _names_all(text: str) -> bool:
    return NAME in error_line(text) and "unsatisfiable" in error_line(text)


#: The version that the project requires, the words for uv, and what releaser reads in its message.
MESSAGES: dict[str, tuple[str, tuple[str, ...], Callable[[str], object], object]] = {
    "no solution": (">=2", ("lock",), _names_all, True),
    "a build that failed": ("", ("sync", "--no-install-project"), failed_builds, FOUND),
    "the fault of the package": ("", ("sync", "--no-install-project"), unbuildable_packages, FOUND),
    "no build": ("", ("sync", "--no-install-project", "--no-build"), packages_to_build, (NAME,)),
    "nothing to install": (
        "", ("sync", "--no-install-project", "--no-build"), uninstallable_packages, (f"{NAME} 1.0",),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("what", "wraps"),
    [*((what, False) for what in MESSAGES), *((what, True) for what in MESSAGES if what != "no solution")],
)
def test_it_is_read_rightly(tmp_path: Path, what: str, wraps: bool) -> None:
    specifier, words, read, expected = MESSAGES[what]
    write_files(tmp_path, {"pyproject.toml": PROJECT % specifier, "index/x": ""})
    source = tmp_path / f"{NAME.replace('-', '_')}-1.0"
    metadata = f"Metadata-Version: 2.2\nName: {NAME}\nVersion: 1.0\n"
    files = {"pyproject.toml": BACKEND % NAME, "backend.py": "", "PKG-INFO": metadata}
    write_files(source, files)
    with tarfile.open(tmp_path / "index" / f"{source.name}.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    env = clean_environment(tmp_path / "home", tmp_path / "cache")
    driver = Uv(runner=Runner(environ=env), executable=uv_executable(), timeout=60)
    python = ["--python", sys.executable]
    if words[0] == "sync":
        assert not isinstance(driver.lock(tmp_path, ["lock"], python=Path(sys.executable)), NoSolution)
    if wraps:  # uv 0.12.0 does
        argv = [str(uv_executable()), "--color", "never", *words, *python]
        done = subprocess.run(argv, cwd=tmp_path, env=env, check=False, capture_output=True, text=True)
        assert done.returncode
        text = done.stderr
    else:
        with pytest.raises(ToolError) as caught:
            driver.run([*words, *python], tree=tmp_path)
        text = caught.value.output
    assert read(text) == expected, text
