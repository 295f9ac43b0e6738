"""Sites in the states in which faults are made, each made once a session, of another one, and then copied."""

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

ORIGINAL = {"alpha": "1.0.0", "beta": "1.0.0"}
UPDATED = {"alpha": "1.1.0", "beta": "1.0.0"}


@dataclass(frozen=True)
class Scene:
    """A command on a site in some state, and what is to come of it, faults or not.

    The site is that of the scene `base`, or a new one, after `prepare`. `told` matches the one mail that tells of it,
    after the next update at the latest; None when nobody is to be told but the one who gave the command. `versions` are
    what is live after the next update.
    """

    base: str
    prepare: Callable[[SampleSite], object]
    command: str
    code: int = 0
    told: str | None = None
    versions: Mapping[str, str] = field(default_factory=lambda: UPDATED)
    prunes: bool = False


def _new_package(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0")


def _with_venv(site: SampleSite) -> None:
    site.make_venv()


def _adopted(site: SampleSite) -> None:
    site.releaser("init", check=0)
    site.push_from_elsewhere({"notes.txt": "pulled"})


def _updated(site: SampleSite) -> None:
    site.releaser("update", check=0)


def _prunable(site: SampleSite) -> None:
    for version in ("1.1.1", "1.1.2", "1.1.3"):
        site.update_to("alpha", version)
    site.write_dotenv({"RELEASER_KEEP": "1", "RELEASER_KEEP_WITHIN": "0d"})


def _without_git(site: SampleSite) -> None:
    for place in (site.path / ".git", site.remote):
        shutil.rmtree(place)
    site.releaser("init", check=0)


def _red(site: SampleSite) -> None:
    site.write_dotenv({"RELEASER_CULPRITS": "off"})
    site.publish("alpha", "1.2.0", broken=True)


def _red_in_part(site: SampleSite) -> None:
    site.publish("beta", "1.2.0", broken=True)


def _ill(site: SampleSite) -> None:
    """Let the next commit break collectstatic; the package that comes with it is good."""
    text = (site.path / "manage.py").read_text(encoding="utf-8")
    check = '    refuse_broken("collectstatic")\n'
    site.push_from_elsewhere({"manage.py": text.replace(check, check + "    return 1\n")})


def _ill_package(site: SampleSite) -> None:
    """Let the newest package break collectstatic; there is no new commit."""
    site.releaser("init", check=0)
    site.publish("alpha", "1.2.0", broken="collectstatic")


def _bundled(site: SampleSite) -> None:
    """Let the site follow a channel, to which another host has published what it has updated to."""
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


def _sharing(site: SampleSite) -> None:
    """Offer a package to a release that shares its other files."""
    site.write_dotenv({"RELEASER_SHARE_FILES": "always"})
    site.update_to("alpha", "1.2.0")
    site.publish("alpha", "1.3.0")


_NEWER = r"alpha\s+1\.0\.0\s+(→\s+)?1\.1\.0"
_TAKEN_BACK = r"site: rolled back|had been (partly )?rolled back|had begun the automatic rollback"
_GONE_BACK = r"\brolled back|switched to|(?s:releaser rollback.{1,80}had\s+made)"
SCENES: Mapping[str, Scene] = {
    "init without a venv": Scene("", _new_package, "init"),
    "init": Scene("init without a venv", _with_venv, "init"),
    "update": Scene("init", _adopted, "update", told=_NEWER),
    "update without git": Scene("init", _without_git, "update", told=_NEWER),
    "update, tests fail": Scene("update", _red, "update", 5, r"failed its tests|tests fail", ORIGINAL),
    "update, one held back": Scene("update", _red_in_part, "update", told=_NEWER),
    "update, taken back": Scene("update", _ill, "update", 6, _TAKEN_BACK),
    "update, package taken back": Scene("init", _ill_package, "update", 6, _TAKEN_BACK, ORIGINAL),
    "rollback": Scene("update", _updated, "rollback", told=_GONE_BACK, versions=ORIGINAL),
    "update, files shared": Scene(
        "rollback", _sharing, "update", told=r"alpha\s+1\.2\.0\s+(→\s+)?1\.3\.0", versions={**UPDATED, "alpha": "1.3.0"}
    ),
    "update from a channel": Scene("update", _bundled, "update --from {outer}/channel/production", told=_NEWER),
    "prune": Scene("rollback", _prunable, "prune", versions={"alpha": "1.1.3"}, prunes=True),
}


class Scenes:
    """Makes each scene once, and copies it as often as is needed; the workers of pytest-xdist share `directory`."""

    def __init__(self, directory: Path, templates: Templates) -> None:
        self._directory = directory
        self._templates = templates
        self._made: dict[str, Any] = {}

    def copy(self, name: str, base: Path) -> SampleSite:
        """Copy the site of a scene below `base`."""
        return self.once(f"scene {name}", lambda: self._make(SCENES[name])).copy(base)

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

    def _make(self, scene: Scene) -> SampleSite:
        place = Path(tempfile.mkdtemp(dir=self._directory))
        settings = {"health_check": "python manage.py check"}
        site = self.copy(scene.base, place) if scene.base else SiteFactory(place, self._templates)(settings=settings)
        scene.prepare(site)
        return site


@pytest.fixture(scope="session")
def scenes(uv_cache: Path, templates: Templates) -> Scenes:
    """Give the scenes of this session."""
    directory = uv_cache.with_name("scenes")
    directory.mkdir(exist_ok=True)
    return Scenes(directory, templates)
