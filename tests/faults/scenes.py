"""Sites in the states in which faults are made, each made once a session and then copied."""

import pickle
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from filelock import FileLock

from tests.support.signing import make_key
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

T = TypeVar("T")

SETTINGS = {"health_check": "python manage.py check"}
ORIGINAL = {"alpha": "1.0.0", "beta": "1.0.0"}
UPDATED = {"alpha": "1.1.0", "beta": "1.0.0"}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A command on a site in some state, and what is to come of it, faults or not.

    `told` matches the one mail that tells of it, after the next update at the latest; None when nobody is to be told
    but the one who gave the command. `versions` are what is live after the next update.
    """

    make: Callable[[SiteFactory], SampleSite]
    command: str
    code: int = 0
    told: str | None = None
    versions: Mapping[str, str] = field(default_factory=lambda: UPDATED)
    prunes: bool = False


def _fresh(make_site: SiteFactory, *, venv: bool = True, culprits: str = "hold") -> SampleSite:
    site = make_site(settings={**SETTINGS, "culprits": culprits}, venv=venv)
    site.publish("alpha", "1.1.0")
    return site


def _bare(make_site: SiteFactory) -> SampleSite:
    return _fresh(make_site, venv=False)


def _adopted(make_site: SiteFactory, culprits: str = "hold") -> SampleSite:
    site = _fresh(make_site, culprits=culprits)
    site.releaser("init", check=0)
    site.push_from_elsewhere({"notes.txt": "pulled"})
    return site


def _updated(make_site: SiteFactory) -> SampleSite:
    site = _adopted(make_site)
    site.releaser("update", check=0)
    return site


def _prunable(make_site: SiteFactory) -> SampleSite:
    site = _updated(make_site)
    for version in ("1.1.1", "1.1.2", "1.1.3"):
        site.publish("alpha", version)
        site.releaser("update", check=0)
    site.write_dotenv({"RELEASER_KEEP": "1", "RELEASER_KEEP_WITHIN": "0d"})
    return site


def _without_git(make_site: SiteFactory) -> SampleSite:
    site = _fresh(make_site)
    for place in (site.path / ".git", site.remote):
        shutil.rmtree(place)
    site.releaser("init", check=0)
    return site


def _red(make_site: SiteFactory) -> SampleSite:
    site = _adopted(make_site, culprits="off")
    site.publish("alpha", "1.2.0", broken=True)
    return site


def _red_in_part(make_site: SiteFactory) -> SampleSite:
    site = _adopted(make_site)
    site.publish("beta", "1.2.0", broken=True)
    return site


def _ill(make_site: SiteFactory) -> SampleSite:
    """Make a site whose next commit breaks collectstatic; the package that comes with it is good."""
    site = _adopted(make_site)
    text = (site.path / "manage.py").read_text(encoding="utf-8")
    check = '    refuse_broken("collectstatic")\n'
    site.push_from_elsewhere({"manage.py": text.replace(check, check + "    return 1\n")})
    return site


def _ill_package(make_site: SiteFactory) -> SampleSite:
    """Make a site without a new commit, whose newest package breaks collectstatic."""
    site = _fresh(make_site)
    site.releaser("init", check=0)
    site.publish("alpha", "1.2.0", broken="collectstatic")
    return site


def _bundled(make_site: SiteFactory) -> SampleSite:
    """Make a site that follows a channel, to which another host has published what it has updated to."""
    site = _adopted(make_site)
    key, signers = make_key(site.outer)
    line = signers.read_text(encoding="utf-8")
    signers.write_text(line.replace('"releaser-bundle"', '"releaser-bundle,releaser-channel"'), encoding="utf-8")
    site.write_dotenv({"RELEASER_BUNDLE_SIGNERS": "../builder-signers"})
    with tempfile.TemporaryDirectory() as elsewhere:
        builder = site.copy(Path(elsewhere))
        (builder.path / "logo.txt").write_text("a logo", encoding="utf-8")
        (builder.path / ".git" / "info" / "exclude").write_text("logo.txt\n", encoding="utf-8")
        builder.releaser("update", check=0)
        file = builder.outer / "shop.bundle"
        env = {"RELEASER_BUNDLE_INCLUDE": "logo.txt"}
        builder.releaser("bundle create", "--no-installer", "--sign", key, "-o", file, env=env, check=0)
        to = ("--to", site.outer / "channel", "--name", "production")
        builder.releaser("channel publish", file, "--sign", key, *to, check=0)
    return site


SCENES: Mapping[str, Scene] = {
    "init": Scene(make=_fresh, command="init"),
    "init without a venv": Scene(make=_bare, command="init"),
    "update": Scene(make=_adopted, command="update", told=r"alpha\s+1\.0\.0\s+(→\s+)?1\.1\.0"),
    "update without git": Scene(make=_without_git, command="update", told=r"alpha\s+1\.0\.0\s+(→\s+)?1\.1\.0"),
    "update, tests fail": Scene(
        make=_red, command="update", code=5, told=r"failed its tests|tests fail", versions=ORIGINAL
    ),
    "update, one held back": Scene(make=_red_in_part, command="update", told=r"alpha\s+1\.0\.0\s+(→\s+)?1\.1\.0"),
    "update, taken back": Scene(
        make=_ill,
        command="update",
        code=6,
        told=r"site: rolled back|had been (partly )?rolled back|had begun the automatic rollback",
    ),
    "update, package taken back": Scene(
        make=_ill_package,
        command="update",
        code=6,
        told=r"site: rolled back|had been (partly )?rolled back|had begun the automatic rollback",
        versions=ORIGINAL,
    ),
    "rollback": Scene(
        make=_updated,
        command="rollback",
        told=r"\brolled back|switched to|(?s:releaser rollback.{1,80}had\s+made)",
        versions=ORIGINAL,
    ),
    "update from a channel": Scene(
        make=_bundled,
        command="update --from {outer}/channel/production",
        told=r"alpha\s+1\.0\.0\s+(→\s+)?1\.1\.0",
    ),
    "prune": Scene(make=_prunable, command="prune", versions={"alpha": "1.1.3"}, prunes=True),
}


class Scenes:
    """Makes each scene once, and copies it as often as is needed; the workers of pytest-xdist share `directory`."""

    def __init__(self, directory: Path, templates: Templates) -> None:
        self._directory = directory
        self._templates = templates
        self._made: dict[str, Any] = {}

    def copy(self, name: str, base: Path) -> SampleSite:
        """Copy the site of a scene below `base`."""
        return self.once(f"scene {name}", lambda: self._make(name)).copy(base)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """Return what `make` gives to the first worker that asks for it."""
        if what not in self._made:
            file = self._directory / what
            with FileLock(f"{file}.lock"):
                if not file.exists():
                    file.write_bytes(pickle.dumps(make()))
                self._made[what] = pickle.loads(file.read_bytes())  # noqa: S301 - written above
        made: T = self._made[what]
        return made

    def _make(self, name: str) -> SampleSite:
        place = Path(tempfile.mkdtemp(dir=self._directory))
        return SCENES[name].make(SiteFactory(place, self._templates))


@pytest.fixture(scope="session")
def scenes(uv_cache: Path, templates: Templates) -> Scenes:
    """Give the scenes of this session."""
    directory = uv_cache.with_name("scenes")
    directory.mkdir(exist_ok=True)
    return Scenes(directory, templates)
