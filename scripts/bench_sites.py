"""The sites that are measured; their packages come from a directory, so that no network is in it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_figures import Program

from releaser.pipelines.bootstrap import Starter, write_starter
from releaser.releases.contents import seal_files
from tests.support.commands import console_script
from tests.support.sites import SiteFactory
from tests.support.templates import Templates

if TYPE_CHECKING:
    from tests.support.sites import SampleSite

PACKAGES = 60
MODULES = 80  # of each package; with their byte code, and the metadata, a venv has 10,000 files
FUNCTIONS = 8  # of a module
SIZE_MB = 186
RELEASES = 5
TESTS = "test_site.py"
# No restart, mail, static files or Django; tests that are next to nothing.
QUIET = {"restart": ["none"], "test_command": ["python", "-m", "unittest", TESTS]}
TRIVIAL = """\
from unittest import TestCase

class Site(TestCase):
    def test_packages(self):
        import package0, package{last}
"""
NAMES = tuple(f"package{number}" for number in range(PACKAGES))


def factory(place: Path) -> SiteFactory:
    """Return what makes sites below a directory, with a cache of uv there."""
    cache = place / "uv-cache"
    cache.mkdir(parents=True, exist_ok=True)
    return SiteFactory(place, Templates(place / "templates", cache))


def make_site(place: Path) -> SampleSite:
    """Make a small site with five releases and nothing to update."""
    site = factory(place)(venv=True)
    site.releaser("init", check=0)
    for number in range(1, RELEASES):
        site.publish("alpha", f"1.{number}.0")
        site.releaser("update", check=0)
    return site


def make_starter(site: SampleSite, *, run: str) -> Program:
    """Return the start of a program by a starter whose environment is the live release of a site."""
    starter = site.outer / "start_it.py"
    text = Starter(name="shop", requirements=["alpha"], state=str(site.outer), run=run, limit="60s").text()
    write_starter(starter, text.replace("NAME = 'shop'", f"NAME = {site.path.name!r}"))
    env = {**site.env, "PATH": f"{console_script().parent}:{site.env['PATH']}"}
    return Program(name="a starter, nothing due", words=[sys.executable, starter], cwd=site.path, env=env)


def make_big_site(
    place: Path, *, functions: int = FUNCTIONS, changed: float = 1.0, packages: int = PACKAGES
) -> SampleSite:
    """Make a site of 60 packages in 10,000 files and 186 MB, or of fewer, adopted, with nothing to update.

    `functions` and `changed` are those of `publish_one`, for all versions.
    """
    names = NAMES[:packages]
    site = factory(place)(
        packages=dict.fromkeys(names, "0.1"), settings={**QUIET}, groups={"local": []},
        files={TESTS: TRIVIAL.format(last=packages - 1)}, dotenv={"ADMINS_JSON": None},
    )  # fmt: skip
    site.git("rm", "--quiet", "manage.py", "site_settings.py")
    for name in names:
        site.withdraw(name, "0.1")
    for name in names:
        publish_one(site, name, "1.0", functions=functions, changed=changed)
    site.uv("lock", "--quiet", "--upgrade")
    site.commit("Take the first versions")
    site.push()
    site.make_venv()
    site.releaser("init", check=0)
    return site


def publish_all(site: SampleSite, version: str, *, megabytes: float = SIZE_MB, functions: int = FUNCTIONS) -> None:
    """Offer a version of all packages."""
    for name in NAMES:
        publish_one(site, name, version, megabytes=megabytes, functions=functions)


def publish_one(
    site: SampleSite,
    name: str,
    version: str,
    *,
    megabytes: float = SIZE_MB,
    functions: int = FUNCTIONS,
    changed: float = 1.0,
) -> None:
    """Offer a version of one package, with its modules and its share of the bytes.

    `changed` is the part of its bytes that its next version changes.
    """
    text = "".join(f"def function{number}(value):\n    return value + {number}\n" for number in range(functions))
    most = changed * (MODULES - 1)
    versions = [version if number < most else "1.0" for number in range(MODULES - 1)]
    modules = {f"{name}/m{number}.py": f"{text}\nVERSION = {one!r}\n" for number, one in enumerate(versions)}
    modules[f"{name}/__init__.py"] = f"__version__ = {version!r}\n"
    size = megabytes * 1e6 / PACKAGES - MODULES * (60 + 140 * functions)  # less what modules and their byte code take
    for part, number in ((changed, "0"), (1 - changed, "1")):
        shown = version if number == "0" else "1.0"
        modules[f"{name}/data{number}.txt"] = f"{name} {shown}\n".ljust(int(size * part), ".")
    site.publish(name, version, modules=modules)


def update(site: SampleSite, version: str) -> None:
    """Bring in a version of all packages."""
    publish_all(site, version)
    site.releaser("update", check=0, timeout=600)


def resize(site: SampleSite, megabytes: float) -> None:
    """Give the releases of a big site another size, and seal them again."""
    for release in (site.state_dir / "releases").iterdir():
        for file in release.glob("venv/lib/*/site-packages/package*/data0.txt"):
            file.write_bytes(b"." * max(1, int((megabytes - 12) * 1e6 / PACKAGES)))
        manifest = json.loads((release / "manifest.json").read_bytes())
        manifest["fingerprint"] = seal_files(str(release))
        (release / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    os.sync()


def size_of(venv: Path) -> tuple[float, int]:
    """Return how many MB and how many files a venv has."""
    files = [Path(place, name) for place, _, names in os.walk(venv) for name in names]
    return sum(file.lstat().st_size for file in files) / 1e6, len(files)
