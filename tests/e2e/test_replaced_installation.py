"""Updates during which releaser itself is installed again, as an administrator does who upgrades it beside cron."""

import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sites import SampleSite, SiteFactory

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 60
# The tests of the site wait until releaser has been replaced.
WAITS = "touch ../at-tests; while [ ! -e ../go ]; do sleep 0.05; done"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of releaser as it is here."""
    place = tmp_path_factory.mktemp("wheel")
    build = "import sys, hatchling.build as backend; backend.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, place], cwd=REPOSITORY, check=True, capture_output=True)
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """A venv that releaser is installed in; what it needs is that of the tests."""
    place = tmp_path / "installed"
    venv.create(place)
    needed = place / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages" / "needed.pth"
    needed.write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    install(wheel, place)
    return place


def install(wheel: Path, place: Path) -> None:
    options = ("--quiet", "--no-deps", "--no-index", "--force-reinstall", "--disable-pip-version-check")
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        place / "bin" / "python",
        "install",
        *options,
        wheel,
    ]
    subprocess.run(words, check=True, capture_output=True)


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    ends_at = time.monotonic() + SECONDS
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends_at, f"no {file}"
        time.sleep(0.05)


@pytest.fixture
def site(make_site: SiteFactory) -> Iterator[SampleSite]:
    """A site with something newer, whose tests wait."""
    site = make_site.adopted(settings={"test_command": ["sh", "-c", WAITS]}, due="1.1.0")
    yield site
    (site.outer / "go").touch()


def update(site: SampleSite, installed: Path, **env: str) -> subprocess.Popen[str]:
    words: list[str | Path] = [installed / "bin" / "releaser", "update", "--project", site.path]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd="/", env={**site.env, **env}, text=True, stdout=pipe, stderr=pipe)


def test_an_update_goes_on_while_another_version_of_releaser_is_installed(site: SampleSite, installed: Path) -> None:
    (package,) = installed.glob("lib/*/site-packages/releaser")
    with update(site, installed) as running:
        wait_for(site.outer / "at-tests", running)
        for file in package.rglob("*.*"):  # what takes other arguments, has other names, asks other questions
            if file.suffix in (".py", ".j2"):
                file.write_text("raise TypeError('of another version')\n{{ other }}\n", encoding="utf-8")
        (site.outer / "go").touch()
        told = running.communicate(timeout=SECONDS)
    assert running.returncode == 0, told
    assert site.live_version("alpha") == "1.1.0"
    assert site.git("status", "--porcelain") == ""
    mail = site.outbox_mails()[-1].get_body(("plain",))
    assert mail is not None
    assert "alpha" in mail.get_content()


def test_an_update_whose_releaser_is_replaced_before_it_changes_anything_says_so(
    make_site: SiteFactory, installed: Path
) -> None:
    site = make_site.adopted(due="1.1.0")
    before = site.snapshot()
    (init,) = installed.glob("lib/*/site-packages/releaser/__init__.py")
    with update(site, installed, RELEASER_HEALTH_CHECK=f"sh -c '{WAITS}'") as running:
        wait_for(site.outer / "at-tests", running)
        init.write_text('__version__ = "999.0.0"\n', encoding="utf-8")
        (site.outer / "go").touch()
        _, said = running.communicate(timeout=SECONDS)
    assert running.returncode == 3, said
    assert "releaser was upgraded during this run" in said
    assert site.snapshot() == before
