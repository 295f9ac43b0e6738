"""What a site keeps on another Python, and what goes up there by which rule; real locks, made by uv from an index."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from releaser.core.run import Workspace, new_log
from releaser.errors import ReleaserError
from releaser.locks.installed import versions_for
from releaser.locks.lock import LockFile
from releaser.releases.blocks import StoredBlock, change_blocks
from releaser.releases.release import Release
from releaser.resolution.kept_versions import keep_installed
from releaser.site.pythons import Choice
from releaser.site.site import Checkout, SiteFacts, open_site
from tests.releases.makers import a_manifest
from tests.support.commands import clean_environment, uv_executable
from tests.support.simple_index import SimpleIndex
from tests.support.wheels import build_sdist, build_wheel

pytestmark = pytest.mark.spawns  # uv makes the locks

AT = "2026-01-01T00:00:00+00:00"
BEFORE, AFTER = "3.12.1", "3.13.0"
FOR_NEW, NOT_FOR_NEW = ">=3.13", ">=3.8,<3.13"
PYPROJECT = """\
[project]
name = "shop"
version = "0"
requires-python = ">=3.11"
dependencies = {dependencies}
[[tool.uv.index]]
url = "{url}"
default = true
"""


@dataclass(frozen=True)
class File:
    """A version that the index has: for which Pythons, with which tag, what it needs, and how many days old it is."""

    pythons: str = ">=3.8"
    tag: str = "py3"
    requires: tuple[str, ...] = ()
    days: float = 100


@dataclass(frozen=True)
class Case:
    """What the index had when the lock was made, and has now; and what becomes of it, or is said."""

    offered: Mapping[str, File]
    now: Mapping[str, File] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ("alpha", "beta")
    settings: Mapping[str, str] = field(default_factory=dict)
    #: The packages that a person holds, and the versions that were rolled back.
    held: tuple[str, ...] = ()
    source: str = ""
    #: What a group asks for that nobody installs.
    documentation: tuple[str, ...] = ()
    #: The changes, and why; all else stays.
    told: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


UNFORKED = {"alpha 1.0.0": File(), "beta 1.0.0": File()}
FORKED = {"alpha 1.0.0": File(), "alpha 2.0.0": File(FOR_NEW), "beta 1.0.0": File()}
STAY = {"alpha": "1.0.0", "beta": "1.0.0"}
CAPPED = {**FORKED, "alpha 1.0.0": File(NOT_FOR_NEW)}
NATIVE = {"alpha 1.0.0": File(tag="cp312"), "beta 1.0.0": File()}
NEWER = {"alpha 1.0.1": File(), "alpha 1.1.0": File(), "alpha 2.0.0": File(), "beta 1.1.0": File()}
NO_BUILD, CAP = "(1.0.0 has no build for Python 3.13)", "(1.0.0 requires Python >=3.8,<3.13)"

CASES = {
    "a fork that has a build stays": Case(FORKED, now=NEWER),
    "so it does whatever the rules are": Case(FORKED, settings={"upgrade": "patch"}, held=("alpha",)),
    "a lock without forks stays as it is": Case(UNFORKED, now=NEWER),
    "a source release is a build": Case(NATIVE, source="alpha 1.0.0", now=NEWER),
    "what is not for it goes to what is": Case(CAPPED, told=(f"alpha 1.0.0 → 2.0.0 {CAP}",)),
    "by a patch version, if that does": Case(NATIVE, now=NEWER, told=(f"alpha 1.0.0 → 1.0.1 {NO_BUILD}",)),
    "to the one before, if the newest has none": Case(
        NATIVE, now={"alpha 1.0.1": File(), "alpha 1.0.2": File(tag="cp312")}, told=(f"alpha 1.0.0 → 1.0.1 {NO_BUILD}",)
    ),
    "each as little as it can": Case(
        {**NATIVE, "beta 1.0.0": File(tag="cp312")},
        now={**NEWER, "beta 1.1.0": File(tag="cp312"), "beta 2.0.0": File()},
        told=(f"alpha 1.0.0 → 1.0.1 {NO_BUILD}", f"beta 1.0.0 → 2.0.0 {NO_BUILD}"),
    ),
    "with what it needs": Case(
        NATIVE,
        now={"alpha 1.0.1": File(requires=("beta>=1.1",)), "beta 1.1.0": File()},
        told=(f"alpha 1.0.0 → 1.0.1 {NO_BUILD}", "beta 1.0.0 → 1.1.0 (the lock or another package requires it)"),
    ),
    "to one that is old enough": Case(
        NATIVE, now={"alpha 1.0.1": File(), "alpha 1.0.2": File(days=1)}, told=(f"alpha 1.0.0 → 1.0.1 {NO_BUILD}",)
    ),
    "to none that was rolled back": Case(
        NATIVE,
        now={"alpha 1.0.1": File(), "alpha 1.1.0": File()},
        held=("alpha 1.0.1",),
        told=(f"alpha 1.0.0 → 1.1.0 {NO_BUILD}",),
    ),
    "without anything to go to, the lock is left as it is": Case(NATIVE),
    "what the project asks for is told": Case(
        {**FORKED, "beta 2.0.0": File(FOR_NEW)},
        dependencies=("alpha", "alpha>=2 ; python_version >= '3.13'", "beta"),
        told=("alpha 1.0.0 → 2.0.0 (the project requires another version there)",),
    ),
    "a hold refuses": Case(
        CAPPED,
        held=("alpha",),
        refused=(
            f"alpha would go from 1.0.0 to 2.0.0 {CAP}, but alpha is on hold by you: wait",
            "releaser unhold alpha",
        ),
    ),
    "a level refuses": Case(
        CAPPED,
        settings={"upgrade": "minor"},
        refused=('`upgrade = "minor"` excludes it', 'add `alpha = "all"` to the table'),
    ),
    "a hold on what it needs refuses": Case(
        NATIVE,
        now={"alpha 1.0.1": File(requires=("beta>=1.1",)), "beta 1.1.0": File()},
        held=("beta",),
        refused=(
            "beta would go from 1.0.0 to 1.1.0 (the lock or another package requires it), but beta is on hold by you",
        ),
    ),
    "`ignore` refuses": Case(CAPPED, settings={"ignore": "alph*"}, refused=("`ignore` names it", "from `ignore`")),
    "an age refuses": Case({**CAPPED, "alpha 2.0.0": File(FOR_NEW, days=1)}, refused=("`min_age_packages`",)),
    "a constraint refuses": Case(
        CAPPED, settings={"constraints": "limits.txt"}, refused=("constrained by limits.txt:1: alpha<2",)
    ),
    "a rollback refuses": Case(
        CAPPED, held=("alpha 2.0.0",), refused=("but 2.0.0 was rolled back: wait", "unhold alpha")
    ),
    "all that a level keeps out is named in one piece of advice": Case(
        {**CAPPED, "beta 1.0.0": File(NOT_FOR_NEW), "beta 2.0.0": File(FOR_NEW)},
        settings={"upgrade": "minor"},
        refused=('add `alpha = "all"` and `beta = "all"` to the table `upgrade_packages`',),
    ),
    "a group that is not installed refuses nothing": Case(
        {**UNFORKED, "gamma 1.0.0": File(NOT_FOR_NEW), "gamma 2.0.0": File(FOR_NEW)},
        documentation=("gamma",),
        settings={"upgrade": "none"},
    ),
    "what another system alone installs there changes nothing": Case(
        {**NATIVE, "gamma 1.0.0": File(), "gamma 2.0.0": File()},
        now={"alpha 1.0.1": File()},
        dependencies=(
            "alpha",
            "beta",
            "gamma==1.0.0 ; python_version < '3.13'",
            "gamma==2.0.0 ; python_version >= '3.13' and sys_platform == 'win32'",
        ),
        settings={"upgrade": "patch"},
        told=(f"alpha 1.0.0 → 1.0.1 {NO_BUILD}",),
    ),
    "a site that follows is told what to lock": Case(
        FORKED,
        settings={"upgrade": "none"},
        refused=("uv.lock has alpha 2.0.0, and 1.0.0 is live", "uv lock --upgrade-package alpha==1.0.0"),
    ),
}


class Shop:
    """A project with an index of its own."""

    def __init__(self, place: Path, case: Case) -> None:
        self.case, self.root = case, place / "shop"
        self.index = SimpleIndex(place / "index")
        self.index.directory.mkdir()
        self.root.mkdir()
        self.publish(case.offered)
        if case.source:
            name, version = case.source.split()
            build_sdist(self.index.directory, name, version, mark=place / "builds")
        text = PYPROJECT.format(dependencies=[*case.dependencies], url=self.index.url)
        text += f"[dependency-groups]\ndocs = {[*case.documentation]}\n" if case.documentation else ""
        (self.root / "pyproject.toml").write_text(text, encoding="utf-8")
        (self.root / "limits.txt").write_text("alpha<2\n", encoding="utf-8")
        settings = {f"RELEASER_{name.upper()}": value for name, value in case.settings.items()}
        environ = {
            **clean_environment(place / "home", place / "cache"),
            **settings,
            "RELEASER_UV": str(uv_executable()),
        }
        self.site = open_site(self.root, environ)

    def publish(self, files: Mapping[str, File]) -> None:
        for key, file in files.items():
            name, version = key.split()
            requires_python = file.pythons
            wheel = build_wheel(
                self.index.directory, name, version, requires=file.requires, requires_python=requires_python
            )
            wheel.rename(wheel.with_name(wheel.name.replace("-py3-", f"-{file.tag}-")))
            self.index.uploaded[name, version] = datetime.now(UTC) - timedelta(days=file.days)

    def live(self, lock: LockFile) -> Release:
        """Return a release of the lock; its packages say for which Pythons they are."""
        manifest = a_manifest(1, python=BEFORE, group=None)
        release = Release(place=str(self.root.parent / "live"), manifest=manifest, state="live")
        packages = release.venv / "lib" / "python3.12" / "site-packages"
        for name, version in versions_for(lock, BEFORE).items():
            if file := self.case.offered.get(f"{name} {version}"):
                info = packages / f"{name}-{version}.dist-info"
                info.mkdir(parents=True)
                said = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {file.pythons}\n"
                (info / "METADATA").write_text(said, encoding="utf-8")
        release.lock.write_bytes(lock.data)
        return release

    def hold(self) -> None:
        """Hold what the case says."""
        pairs = (one.partition(" ")[::2] for one in self.case.held)
        holds = [
            StoredBlock(name=name, by="rollback" if version else "person", reason="wait", since=AT, version=version)
            for name, version in pairs
        ]
        change_blocks(self.site.state_dir, lambda known: known.with_new(*holds))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_stays_and_what_changes(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    shop = Shop(tmp_path, case)
    with shop.index.serving():
        shop.site.uv.lock(shop.root, ["lock"], python=Path(sys.executable))
        lock = LockFile.read(shop.site.project.lock)
        assert versions_for(lock, BEFORE)["alpha"] == "1.0.0"
        shop.publish(case.now)
        shop.site.state_dir.mkdir(parents=True)
        shop.hold()
        facts = SiteFacts(
            uv=shop.site.uv,
            choice=Choice(python=Path(sys.executable), version=AFTER),
            lock=lock,
            group=None,
            test_command=(),
            unix_group=0,
            checkout=cast("Checkout", None),
        )
        live, log = shop.live(lock), new_log("update")
        work = Workspace(site=shop.site, log=log, facts=facts, before=facts, live=live, examine_lock=lambda *_: {})
        if case.refused:
            with pytest.raises(ReleaserError) as caught:
                keep_installed(work, lock)
            said = f"{caught.value.message}. {caught.value.advice}"
            assert [part for part in case.refused if part not in said] == [], said
            assert "Or go back to Python 3.12." in said
            return
        kept = keep_installed(work, lock)
    found = versions_for(kept.lock, AFTER)
    expected = STAY | {name: new for name, _, _, new, *_ in map(str.split, case.told)}
    assert {name: found[name] for name in expected} == expected
    said = " ".join(one.message for one in kept.findings)
    assert [part for part in case.told if part not in said] == [], said
    assert bool(case.told) == bool(kept.findings)
    assert kept.lock.data == shop.site.project.lock.read_bytes(), "it lies in the tree"
