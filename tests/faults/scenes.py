"""Sites in the states in which faults are made. Each is made once a session, from another one, and copied."""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from tests.faults.forked import run_forked
from tests.faults.invariants import Witness
from tests.support.bundles import make_bundle
from tests.support.sites import SampleSite, SiteOptions, Templates
from tests.support.smtp import MailServer

ORIGINAL = {"alpha": "1.0.0", "beta": "1.0.0"}
UPDATED = {"alpha": "1.1.0", "beta": "1.0.0"}
FILES = {
    "health.py": "import alpha, sys\n\nsys.exit(getattr(alpha, 'IS_ILL', False))\n",
    "restart.sh": "readlink .venv > ../served\n",
    "build.sh": "ls | grep txt > made.ignored; true\n",
    "manage.py": "import alpha\n\nopen('../static', 'w').write(alpha.__version__)\n",
}
SETTINGS = {"health_check": ["python", "health.py"], "restart": ["sh", "restart.sh"], "health_timeout": "0s"}
SETTINGS |= {"before_build": ["sh", "build.sh"], "collectstatic": "on"}
OPTIONS = SiteOptions(settings=SETTINGS, files=FILES)
ILL = {"alpha/__init__.py": '__version__ = "1.2.0"\nIS_ILL = True\n'}


@dataclass(frozen=True)
class Scene:
    """A command on a site in some state, and what comes of it, with or without faults.

    The site is that of the scene `base`, or a new one, after `prepare`. `versions` are live after the next update.
    `{outer}` in the command is the outer directory.
    """

    base: str
    prepare: Callable[[SampleSite], object]
    command: str
    code: int = 0
    versions: Mapping[str, str] = field(default_factory=lambda: UPDATED)


def _adoptable(site: SampleSite) -> None:
    site.make_venv()


def _due(site: SampleSite) -> None:
    site.releaser("init", check=0)
    site.push_from_elsewhere({"notes.txt": "pulled"})


def _updated(site: SampleSite) -> None:
    site.releaser("update", check=0)


def _ill(site: SampleSite) -> None:
    site.releaser("update", check=0)
    site.push_from_elsewhere({"more.txt": "pulled"})
    site.publish("alpha", "1.2.0", modules=ILL)


def _apart(site: SampleSite) -> None:
    site.releaser("update", check=0)
    site.releaser("rollback", "--keep-code", check=0)
    site.push_from_elsewhere({}, remove="notes.txt", message="Revert")


def _bundled(site: SampleSite) -> None:
    """Give the site a delta to the next release, made on another host with the same remote."""
    site.releaser("init", check=0)
    with tempfile.TemporaryDirectory() as directory:
        maker = site.copy(Path(directory))
        base = make_bundle(maker, Path(directory) / "base.rb")
        maker.push_from_elsewhere({"notes.txt": "pulled"})
        maker.releaser("update", check=0)
        make_bundle(maker, site.outer / "next.rb", base=base)
        maker.git("push", "--quiet", site.remote, "main")


SCENES: Mapping[str, Scene] = {
    "init, fresh": Scene("", lambda site: site.publish("alpha", "1.1.0"), "init"),
    "init, adopt": Scene("init, fresh", _adoptable, "init"),
    "update": Scene("init, fresh", _due, "update"),
    "update, adopted": Scene("init, adopt", _due, "update"),
    "update, ill": Scene("update", _ill, "update", 6),
    "update, apart": Scene("update", _apart, "update", versions=ORIGINAL),
    "install": Scene("init, fresh", _bundled, "bundle install {outer}/next.rb --unsigned"),
    "rollback": Scene("update", _updated, "rollback", versions=ORIGINAL),
}
DONE = frozenset({0, 6, 7})  # how a command may end that comes upon an interrupted run
NO_RELEASE = 9  # a killed `init` may leave no release, so prune has nothing to do


class Scenes:
    """Makes each scene once, and copies it as often as needed."""

    def __init__(self, directory: Path, templates: Templates, server: MailServer) -> None:
        self._directory = directory
        self._server = server
        self._templates = templates
        self._made: dict[str, SampleSite] = {}

    def copy(self, name: str, base: Path) -> SampleSite:
        """Copy the site of a scene below `base`; its programs have a directory for temporary files there, too."""
        if name not in self._made:
            self._made[name] = self._make(SCENES[name])
        site = self._made[name].copy(base)
        site.env |= {"TMPDIR": str(base / "tmp"), "ADMINS_JSON": "ada@example.org"}
        site.env["RELEASER_SMTP_HOST"], site.mail_server = self._server.host, self._server
        (base / "tmp").mkdir()
        return site

    def _make(self, scene: Scene) -> SampleSite:
        base = Path(tempfile.mkdtemp(dir=self._directory))
        site = self.copy(scene.base, base) if scene.base else self._templates.fresh(OPTIONS).copy(base)
        scene.prepare(site)
        return site


@dataclass(frozen=True, kw_only=True)
class Eyewitness:
    """The site of a scene before the fault, and the judge of what comes after it."""

    site: SampleSite
    scene: Scene
    witness: Witness
    link: str
    snapshot: Mapping[str, str]

    @classmethod
    def of(cls, site: SampleSite, name: str) -> Self:
        """Look at the site before the fault."""
        witness, snapshot = Witness.of(site), site.snapshot()
        return cls(site=site, scene=SCENES[name], witness=witness, link=_link(site), snapshot=snapshot)

    def changed(self) -> list[str]:
        """Name what people and the web server see changed."""
        now = self.site.snapshot()
        names = sorted(name for name in {*now, *self.snapshot} if now.get(name) != self.snapshot.get(name))
        return [f"{name} changed from {self.snapshot.get(name)} to {now.get(name)}" for name in names]

    def aftermath(
        self, number: int = 1, *, is_cleaned: bool = False, versions: Mapping[str, str] | None = None
    ) -> list[str]:
        """Name what does not hold right after a fault, after the next command, and after the next update.

        By its number, the next command is an update or `prune`, with an update after that or, each third time, without.
        `is_cleaned` says that releaser has had the chance to clean up by itself. `versions`, by default those of the
        scene, are live in the end.
        """
        try:
            return self._aftermath(number, versions, is_cleaned=is_cleaned)
        except pytest.fail.Exception as error:  # a program by which one looks at the site does not work any more
            return [str(error)]

    def _aftermath(self, number: int, versions: Mapping[str, str] | None, *, is_cleaned: bool) -> list[str]:
        witness = self.witness
        broken = witness.after_command() if is_cleaned else witness.at_once()
        has_gone_back = self.scene.command != "rollback" or _link(self.site) != self.link
        if versions is None:
            versions = self.scene.versions if has_gone_back else UPDATED
        if number % 3 != 1:
            finished = run_forked(self.site, "prune")
            codes = {*DONE, NO_RELEASE} if self.scene.command == "init" else DONE
            broken += [f"I6: prune failed: {finished}"] if finished.returncode not in codes else []
            broken += witness.after_command()
        if number % 3 == 0:
            return broken
        if self.scene.command == "init":  # it may have been cut off before it began, and no other command is for that
            finished = run_forked(self.site, "init")
            broken += [f"I6: init failed: {finished}"] if finished.returncode != 0 else witness.after_command()
        finished = run_forked(self.site, "update")
        for _ in range(2):  # the fault came before the verdict on the commit, or on the versions without it
            if self.scene.code and finished.returncode == self.scene.code:
                finished = run_forked(self.site, "update")
        broken += witness.after_update(finished, versions=versions)
        return broken + (witness.after_quiet_update() if number % 12 in (1, 5) and not broken else [])


def _link(site: SampleSite) -> str:
    return os.readlink(site.link) if site.link.is_symlink() else ""
