"""Updates during which releaser itself is installed again, as an administrator does who upgrades it beside cron."""

import contextlib
import shutil
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

import releaser
from tests.e2e.refusals import script
from tests.e2e.scenes import MEETING_TESTS, body, meeting
from tests.support.commands import beside
from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A venv with a copy of releaser; what that needs is that of the tests."""
    place = tmp_path / "installed"
    venv.create(place)
    packages = place / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    shutil.copytree(Path(releaser.__file__).parent, packages / "releaser")
    script(place / "bin" / "releaser", f'exec {place}/bin/python -P -m releaser "$@"')
    return place


@contextlib.contextmanager
def update(site: SampleSite, installed: Path, *, code: int, **env: str) -> Iterator[None]:
    """Update, and be in the block while a program of the site waits; see how the update ends."""
    words: list[str | Path] = [installed / "bin" / "releaser", "update", "--project", site.path]
    with meeting() as met, beside(words, cwd=site.outer, env={**site.env, **met.env, **env}) as running:
        with met.kept_waiting():
            yield
        told = running.communicate(timeout=60)
        assert running.returncode == code, told
        assert code == 0 or "releaser was upgraded during this run" in told[1]


def test_an_update_goes_on_while_another_version_of_releaser_is_installed(
    make_site: SiteFactory, installed: Path
) -> None:
    site = make_site.adopted(files={"run_tests.py": MEETING_TESTS}, due="1.1.0")
    (package,) = installed.glob("lib/*/site-packages/releaser")
    with update(site, installed, code=0):
        for file in package.rglob("*.*"):  # what takes other arguments, has other names, asks other questions
            if file.suffix in (".py", ".j2"):
                file.write_text("raise TypeError('of another version')\n{{ other }}\n", encoding="utf-8")
    assert site.live_version("alpha") == "1.1.0"
    assert site.git("status", "--porcelain") == ""
    assert "alpha" in body(site)


def test_an_update_whose_releaser_is_replaced_before_it_changes_anything_says_so(
    make_site: SiteFactory, installed: Path
) -> None:
    site = make_site.adopted(files={"run_tests.py": MEETING_TESTS}, due="1.1.0")
    before = site.snapshot()
    (init,) = installed.glob("lib/*/site-packages/releaser/__init__.py")
    with update(site, installed, code=3, RELEASER_HEALTH_CHECK=f"{sys.executable} run_tests.py"):
        init.write_text('__version__ = "999.0.0"\n', encoding="utf-8")
    assert site.snapshot() == before
