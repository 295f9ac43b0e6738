"""The package as people install it: into an empty venv, away from the checkout."""

import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from releaser import __version__
from tests.support.commands import uv_executable
from tests.support.sites import SiteFactory

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = ("releaser", "README.md", "LICENSE", "CHANGELOG.md", "docs", "pyproject.toml", "share")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the project into an empty venv, forget the copy, and return the command."""
    source = tmp_path_factory.mktemp("source")
    for name in SHIPPED:
        origin = REPOSITORY / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (source / name).parent.mkdir(exist_ok=True)
            shutil.copy2(origin, source / name)
    place = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(place)
    words: list[str | Path] = [uv_executable(), "pip", "install", "--quiet", "--python", place, source]
    subprocess.run(words, check=True, timeout=300, cwd=place)
    shutil.rmtree(source)
    return place / "bin" / "releaser"


@pytest.mark.network
def test_an_installed_releaser_works_from_any_directory_without_the_checkout(
    installed: Path, make_site: SiteFactory, tmp_path: Path
) -> None:
    site = make_site(venv=True)
    site.publish("alpha", "1.1.0")
    env = {name: value for name, value in site.environment().items() if not name.startswith(("COV", "PYTHONPATH"))}

    def releaser(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [installed, *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
        )

    assert releaser("--version").stdout == f"releaser {__version__}\n"
    updated = releaser("update", "--project", str(site.path))
    assert updated.returncode == 0, updated.stderr
    assert site.live_version("alpha") == "1.1.0"
    assert str(site.live_id()) in releaser("list", "--project", str(site.path)).stdout
    assert len(site.outbox_mails()) == 1, "the templates of the mails are part of the package"
