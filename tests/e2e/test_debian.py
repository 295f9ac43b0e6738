"""The Debian package: installed, used and removed by apt-get, in a copy of the system that has no network."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from releaser import __version__
from releaser.launcher.install import PYTHONS
from tests.e2e.test_group_use import base_python
from tests.support import snapshots
from tests.support.commands import Finished, run
from tests.support.debian import DebianCopy, debian_copy
from tests.support.guards import other_file_system
from tests.support.pythons import Installation, RealPython, give_pythons, need_other_python, need_python
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
PROGRAM = "/opt/venv-releaser/bin/releaser"
TIMERS = "/etc/systemd/system/timers.target.wants"


@pytest.fixture(scope="module")
def debian() -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module("debian")
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def package(debian: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the package of what is here, committed or not."""
    dist = tmp_path_factory.mktemp("dist")
    words: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", dist]
    subprocess.run(words, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = dist.iterdir()
    made: Path = debian.make_package(REPOSITORY, wheel, dist, "1")
    return made


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody may enter, inside and outside of the copy of the system."""
    place = Path(tempfile.mkdtemp(prefix="debian-", dir=other_file_system(Path("/"))))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def system(shared: Path) -> Iterator[DebianCopy]:
    with debian_copy(shared) as made:
        made.run("useradd", "--create-home", "deploy")
        made.run("rm", "-f", "/var/lib/man-db/auto-update")  # man-db would look at each page of this system
        yield made


@pytest.fixture
def site(shared: Path, system: DebianCopy, templates: Templates) -> SampleSite:
    """A site of the user deploy."""
    made = SiteFactory(shared, templates)(settings={"python": base_python()})
    system.run("chown", "-R", "deploy:deploy", shared)
    made.env |= {"PATH": "/usr/bin:/bin", "HOME": "/home/deploy", "UV_CACHE_DIR": "/home/deploy/.cache/uv"}
    return made


def package_with_python(python: RealPython, place: Path) -> Path:
    """Make a package that brings another python3, as Debian's python3-minimal does in a newer Debian."""
    root = place / "newer-python"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/python3").symlink_to(python.executable)
    fields = (
        "Package: newer-python\nVersion: 1\nArchitecture: all\nMaintainer: Ada <ada@example.org>\nDescription: newer\n"
    )
    (root / "DEBIAN/control").write_text(fields, encoding="utf-8")
    words: list[str | Path] = ["dpkg-deb", "--root-owner-group", "--build", root, place]
    run(words, cwd=place, env=os.environ, check=0)
    return place / "newer-python_1_all.deb"


@pytest.mark.network
def test_it_is_installed_used_and_removed_and_leaves_nothing_but_sites_and_state(
    system: DebianCopy, package: Path, site: SampleSite, shared: Path, debian: ModuleType
) -> None:
    def by_deploy(*words: str | Path, check: int = 0) -> Finished:
        become = ("setpriv", "--reuid=deploy", "--regid=deploy", "--init-groups")
        return system.run(*become, *words, env=site.env, check=check)

    apt = ("apt-get", "--yes", "--no-install-recommends")
    before = system.changed()
    shutil.copy(package, shared)
    system.run(*apt, "install", shared / package.name)
    assert by_deploy("releaser", "--version").stdout == f"releaser {__version__}\n"
    pages = {
        "man/man1/releaser-update.1.gz",
        "bash-completion/completions/releaser",
        "zsh/vendor-completions/_releaser",
        "fish/vendor_completions.d/releaser.fish",
    }
    assert {f"/usr/share/{name}" for name in pages} < system.changed()
    unit = f"releaser@{system.run('systemd-escape', '--path', site.path).stdout.strip()}"
    verified = system.run("systemd-analyze", "verify", f"{unit}.timer", f"{unit}.service")
    assert "releaser" not in verified.stdout + verified.stderr

    options = ("--yes", "--no-mail", "--schedule", "cron", "--environment", "local", "--admin", "ada@example.org")
    by_deploy("releaser", "setup", "--project", site.path, *options)
    line = by_deploy("crontab", "-l").stdout
    assert f" {PROGRAM} update --project {site.path}\n" in line
    site.publish("alpha", "1.1.0")
    by_deploy("sh", "-c", re.sub(r"^(\S+ ){5}", "", line))
    assert site.live_version("alpha") == "1.1.0"

    # The units become the owner by themselves.
    lines = system.run("cat", f"/{debian.UNITS}/releaser@.service").stdout.splitlines()
    of_unit = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
    names = of_unit["CapabilityBoundingSet"].lower().replace("cap_", "").split()
    words = of_unit["ExecStart"].replace("%f", str(site.path)).split()
    site.publish("alpha", "1.2.0")
    bounds = ("--no-new-privs", "--inh-caps=-all", f"--bounding-set=-all{''.join(f',+{name}' for name in names)}")
    system.run("setpriv", *bounds, *words, env={"PATH": "/usr/bin:/bin"})  # systemd sets no HOME for root
    assert (site.live_version("alpha"), site.link.lstat().st_uid) == ("1.2.0", site.path.stat().st_uid)

    # A plain venv would not stay one with such a timer.
    system.run("mkdir", "-p", TIMERS)
    system.run("ln", "-s", f"/{debian.UNITS}/releaser@.timer", f"{TIMERS}/{unit}.timer")
    refused = by_deploy("releaser", "uninstall", "--dry-run", "--project", site.path, check=3)
    assert f"Run `sudo systemctl disable --now {shlex.quote(f'{unit}.timer')}`" in refused.stderr

    # A trigger of dpkg builds it again for another python3. Without its Python, root builds it, and others get the
    # command.
    other = need_other_python()
    system.run("dpkg", "--force-overwrite", "--install", package_with_python(other, shared))
    assert system.run("/opt/venv-releaser/venv/bin/python", "-V").stdout == f"Python {other.version}\n"
    assert system.run("releaser", "--version").stdout == f"releaser {__version__}\n"
    system.run("rm", "/opt/venv-releaser/venv/bin/python")
    refused = by_deploy("releaser", "--version", check=3)
    assert "Run `sudo /opt/venv-releaser/build`, then the same command again." in refused.stderr
    assert "its environment was rebuilt" in system.run("releaser", "--version").stderr

    kept = snapshots.tree(site.outer)
    removed = system.run(*apt, "remove", "venv-releaser").stdout
    assert "These files still call releaser:\n/var/spool/cron/crontabs/deploy\n" in removed
    assert f"Disabling {unit}.timer\n" in removed
    assert snapshots.tree(site.outer) == kept
    of_others = ("/var/lib/apt/", "/var/lib/dpkg/", "/var/log/", "/var/cache/", "/run/", "/usr/bin/python3")
    left = {path for path in system.changed() - before if not path.startswith(of_others)}
    assert {path for path in left if "/.cache/" not in path} == {"/var/spool/cron/crontabs/deploy"}
    system.run("dpkg", "--status", "venv-releaser", check=1)


@pytest.fixture(scope="module")
def wheels(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of releaser, for each Python."""
    place = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "--extract", package, place], check=True)
    return place / "opt" / "venv-releaser" / "wheels"


def install_as_the_guide_says(place: Path, python: Path, wheels: Path) -> Path:
    """Install releaser from the wheel of a release; pip finds all others on this disk."""
    (own,) = wheels.glob("venv_releaser-*")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(place), "PYTHONPATH": str(own)}
    env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    words: list[str | Path] = [python, "-m", "releaser.launcher", place / "releaser", "--constraints", REPOSITORY]
    run(words, cwd=place, env=env, check=0, timeout=300)
    return place / "releaser" / "bin" / "releaser"


def install_from_a_bundle(place: Path, python: Path, wheels: Path, site: SampleSite) -> Path:
    """Install releaser from a bundle of a releaser that has a launcher, and so wheels for each Python."""
    builder, file = place / "builder", place / "shop.bundle"
    code = "import sys; from releaser.launcher.install import install; install(sys.argv[1], sys.argv[2:])"
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)}
    run([python, "-B", "-c", code, builder, *wheels.iterdir()], cwd=place, env=env, check=0, timeout=300)
    site.releaser("rebuild", check=0)  # which passes its tests
    run([builder / "bin" / "releaser", "bundle", "create", "-o", file], cwd=site.path, env=site.env, check=0)
    shutil.rmtree(builder)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(place)}
    run([python, file, "--only-releaser", place / "bin" / "releaser"], cwd=place, env=env, check=0, timeout=300)
    return place / "bin" / "releaser"


@pytest.mark.network
@pytest.mark.spread(1)
@pytest.mark.parametrize("way", ["guide", "bundle"])
def test_releaser_and_site_survive_an_exchange_of_python(
    way: str, wheels: Path, make_site: SiteFactory, tmp_path: Path
) -> None:
    """As an upgrade of the operating system does it; for the Debian package, the test above has it."""
    old, new = need_python("3.11"), need_python("3.13")
    system = Installation(tmp_path / "system", old)
    site = make_site()
    give_pythons(site, system)
    site.adopt()
    place = tmp_path / "opt"
    place.mkdir()
    if way == "guide":
        program = install_as_the_guide_says(place, system.executable, wheels)
    else:
        program = install_from_a_bundle(place, system.executable, wheels, site)

    def releaser(*words: str, check: int = 0) -> Finished:
        return run([program, *words], cwd=site.path, env=site.env, check=check)

    releaser("update", "--force")
    assert f"{program.resolve()} update" in releaser("schedule", "cron").stdout
    shutil.rmtree(system.prefix / "bin")
    shutil.rmtree(system.prefix / "lib")
    for name in ("bin", "lib"):
        (system.prefix / name).mkdir()
    system.upgrade(new)

    done = releaser("status", "--json")
    assert done.stderr == f"releaser: its environment was rebuilt for Python {new.version}.\n"
    assert any("interpreter" in one for one in json.loads(done.stdout)["problems"]), done.stdout
    releaser("rollback", check=9)
    releaser("update")
    assert site.python("import platform; print(platform.python_version())") == new.version
    site.publish("alpha", "1.1.0")
    releaser("update")
    assert site.live_version("alpha") == "1.1.0"
    releaser("rollback")
    assert site.live_version("alpha") == "1.0.0"


def test_the_guide_names_the_pythons_that_it_has_wheels_for() -> None:
    oldest, *_, newest = PYTHONS
    guide = (REPOSITORY / "docs" / "guides" / "install.md").read_text(encoding="utf-8")
    assert f"The system's Python must be {oldest} to {newest}" in guide
