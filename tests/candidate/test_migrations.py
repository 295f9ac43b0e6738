"""Which migrations are reported, and which keep a release from going live, by what Django answers with each release."""

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.actions.migrations import Migrations as MigrationsAction
from releaser.candidate import migrations
from releaser.core.gate import Case, Wait
from releaser.errors import ToolError
from releaser.gates.migrations import AppliedMigrations
from releaser.locks.lock import EMPTY
from releaser.report import Step
from releaser.site.django_settings import MigrationFacts, MigrationSettings, MigrationsSection
from releaser.tools.django import AppliedElsewhere, Manage, Migrations
from tests.support.logs import a_log

NEW, OLD = "alpha.0002_price", "alpha.0001_begin"
DOWN = "default: there is no file"


class Django(Manage):
    """Answers as the Django of a release would; it does not start if `unapplied` is None."""

    unapplied: tuple[str, ...] | None = ()
    failed: tuple[str, ...] = ()
    databases: int = 1
    on_disk: frozenset[str] = frozenset()
    left: tuple[str, ...] = ()

    def migrations(self) -> Migrations:
        if self.unapplied is None:
            message = "Django does not answer"
            raise ToolError(message, returncode=1)
        return Migrations(
            databases=self.databases, unapplied=self.unapplied, failed=self.failed, on_disk=tuple(self.on_disk)
        )

    def migrations_on_disk(self) -> frozenset[str]:
        self.migrations()
        return self.on_disk

    def migrations_not_on_disk(self, other: Collection[str]) -> AppliedElsewhere:
        self.migrations()
        return AppliedElsewhere(names=(*self.left, *other), failed=self.failed)


class Scene:
    """A site with a live release and a candidate, each in its directory."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (place / "manage.py").touch()
        project = SimpleNamespace(root=place, checkout=place, of_checkout=lambda path: path)
        git = SimpleNamespace(layout=SimpleNamespace(top=place))
        self.site: Any = SimpleNamespace(project=project, git=git, settings=MigrationSettings(), pulled=None)
        self.site.outside = self.site
        self.log, self.works, self.has_other_code = a_log(), True, False
        self.live, self.candidate = (self._release(place / name) for name in ("live", "candidate"))
        self._answers = dict[str, Django]()
        store = SimpleNamespace(live=lambda: self.live, get=lambda _: self.candidate)
        monkeypatch.setattr(migrations, "store_of", lambda _: store)
        monkeypatch.setattr("releaser.gates.migrations.store_of", lambda _: store)
        monkeypatch.setattr(migrations, "has_other_code", lambda *_: self.has_other_code)
        monkeypatch.setattr(migrations, "manage", lambda _site, venv, **_: self._answers[venv.parent.name])

    def _release(self, directory: Path) -> Any:
        directory.mkdir()
        return SimpleNamespace(
            id=directory.name,
            directory=directory,
            venv=directory / "venv",
            manifest=MigrationFacts(migrations=(NEW,)),
            lifecycle=SimpleNamespace(waits=""),
            works=lambda: self.works,
        )

    def answer(self, name: str, unapplied: tuple[str, ...] | None = (), **others: Any) -> None:
        """Let the Django of a release answer so."""
        given: Any = {"runner": None, "project": Path(), "venv": Path(), "timeout": 1.0}
        self._answers[name] = Django(**given, unapplied=unapplied, **others)

    @property
    def step(self) -> tuple[str, str]:
        """How the only step of the run ended."""
        (outcome,) = self.log.outcomes
        return outcome.status, outcome.detail

    @property
    def findings(self) -> list[tuple[str, str]]:
        return [(one.code, f"{one.message} {one.advice}") for one in self.log.findings]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("candidate", "live", "introduced", "step"),
    [
        ({"unapplied": ()}, (), (), ("ok", "all are applied")),
        ({"unapplied": (NEW,)}, (), (NEW,), ("warning", f"new and not applied: {NEW}")),
        ({"unapplied": (NEW,)}, (NEW,), (), ("ok", f"not applied before this update either: {NEW}")),
        (
            {"unapplied": (OLD, NEW)},
            (OLD,),
            (NEW,),
            ("warning", f"new and not applied: {NEW}; not applied before this update either: {OLD}"),
        ),
        ({"unapplied": (NEW,)}, None, (NEW,), ("warning", f"not applied, and perhaps new: {NEW}")),
        ({"databases": 0}, (), (), ("skipped", "no database is set")),
        ({"failed": (DOWN,)}, (), (), ("warning", f"unknown, because a database does not answer: {DOWN}")),
        ({"unapplied": None}, (), (), ("warning", "not known: Django does not answer")),
    ],
)
def test_new_are_those_that_the_candidate_lacks_and_the_live_release_does_not(
    scene: Scene,
    candidate: dict[str, Any],
    live: tuple[str, ...] | None,
    introduced: tuple[str, ...],
    step: tuple[str, str],
) -> None:
    scene.answer("candidate", **candidate)
    scene.answer("live", live)
    work: Any = SimpleNamespace(site=scene.site, log=scene.log)
    assert migrations.find_new(work, scene.candidate.venv) == introduced
    assert scene.step == step
    section = scene.log.sections.get(MigrationsSection)
    assert (section or MigrationsSection()) == MigrationsSection(migrations=introduced)


def test_nothing_is_asked_if_that_is_switched_off_or_there_is_no_django(scene: Scene, tmp_path: Path) -> None:
    work: Any = SimpleNamespace(site=scene.site, log=scene.log)
    scene.site.settings = MigrationSettings(migrations="off")
    assert migrations.find_new(work, scene.candidate.venv) == ()
    scene.site.settings = MigrationSettings()
    (tmp_path / "manage.py").unlink()
    assert migrations.find_new(work, scene.candidate.venv) == ()
    assert scene.log.outcomes == []


@pytest.mark.parametrize("waits", ["", "migrations are not applied"])
@pytest.mark.parametrize("works", [False, True])
@pytest.mark.parametrize("before", [None, ()])
def test_a_release_that_waits_goes_on_waiting_while_the_live_one_does_not_answer(
    scene: Scene, before: tuple[str, ...] | None, *, works: bool, waits: str
) -> None:
    scene.works, scene.candidate.lifecycle.waits = works, waits
    scene.answer("candidate", (NEW,))
    scene.answer("live", before)
    missing = migrations.find_missing(scene.site, scene.log, scene.candidate)
    assert bool(missing) is (works and (before is not None or bool(waits)))


@pytest.mark.parametrize(
    ("setting", "answer", "waits"),
    [
        ("refuse", {"unapplied": (NEW, OLD)}, True),  # but not for the old one
        ("refuse", {"unapplied": (OLD,)}, False),
        ("refuse", {"failed": (DOWN,)}, True),
        ("report", {"unapplied": (NEW,)}, False),
        ("off", {"unapplied": (NEW,)}, False),
    ],
)
def test_a_release_waits_for_its_new_migrations(
    scene: Scene, setting: Any, answer: dict[str, Any], *, waits: bool
) -> None:
    scene.site.settings = MigrationSettings(migrations=setting)
    scene.answer("candidate", **answer)
    scene.answer("live")
    work: Any = SimpleNamespace(site=scene.site, log=scene.log)
    verdict = AppliedMigrations().judge(Case(work=work, lock=EMPTY, venv=scene.candidate.venv))
    assert isinstance(verdict, Wait) is waits
    if isinstance(verdict, Wait):
        assert verdict.reason == f"migrations are not applied: {NEW}"
        assert verdict.error is not None
        assert f"`{scene.candidate.venv}/bin/python manage.py migrate`" in verdict.error.advice
    assert not AppliedMigrations.is_forcible, "`--force` applies none either"
    scene.live = None  # before the first release
    assert AppliedMigrations().judge(Case(work=work, lock=EMPTY, venv=scene.candidate.venv)) is None
    assert migrations.find_new(work, scene.candidate.venv) == (answer.get("unapplied", ()) if setting != "off" else ())


# Once a release is live


def told_by(scene: Scene, *, goes_back: bool = False, left: list[str] | None = None, run_id: str = "a") -> None:
    """Do the action of a change to the candidate."""
    entry, flip = SimpleNamespace(run_id=run_id), SimpleNamespace(goes_back=goes_back)
    record = {} if left is None else {"left": left}
    change: Any = SimpleNamespace(
        site=scene.site, log=scene.log, release=scene.candidate, entry=entry, flip=flip, record=lambda _: record
    )
    MigrationsAction().do(change, Step())


def test_what_is_not_applied_is_told_with_the_command_also_by_the_run_after_one_that_was_killed(scene: Scene) -> None:
    scene.answer("candidate", (NEW, f"{NEW} (database second)"))
    told_by(scene)
    assert scene.log.outcomes == [], "what the tests have asked is known"
    told_by(scene, run_id="b")
    (_, first), (_, second) = scene.findings
    assert [code for code, _ in scene.findings] == ["migrations-pending"] * 2
    assert f"not applied: {NEW} Apply them: `releaser run -- python manage.py migrate` in " in first
    assert "`releaser run -- python manage.py migrate` (with `--database` for each database named)" in second
    scene.site.settings = MigrationSettings(migrations="off")
    told_by(scene, run_id="b")
    assert len(scene.findings) == 2


@pytest.mark.parametrize(
    ("left", "answer", "step", "is_told"),
    [
        ([NEW, OLD], {}, ("ok", "this release has the same migrations as the previous one"), False),
        ([OLD], {"left": (NEW,)}, ("warning", f"applied, but not in this release: {NEW}, {OLD}"), True),
        (None, {}, ("ok", "this release has all applied migrations"), False),
        (None, {"failed": (DOWN,)}, ("warning", f"unknown, because a database does not answer: {DOWN}"), False),
        (None, {"unapplied": None}, ("warning", "not known: Django does not answer"), False),
    ],
)
def test_a_rollback_names_the_migrations_that_it_leaves(
    scene: Scene, left: list[str] | None, answer: dict[str, Any], step: tuple[str, str], *, is_told: bool
) -> None:
    scene.answer("candidate", on_disk=frozenset({NEW, OLD}))
    scene.answer("live")
    migrations.find_new(SimpleNamespace(site=scene.site, log=a_log()), scene.candidate.venv)  # type: ignore[arg-type]
    scene.answer("candidate", **answer)
    told_by(scene, goes_back=True, left=left)
    assert scene.step == step
    assert [code for code, _ in scene.findings] == ["migrations-left"] * is_told


def test_what_the_release_that_is_left_has_was_noted_and_is_asked_only_of_other_code(scene: Scene) -> None:
    scene.live = scene.candidate
    scene.answer("candidate", on_disk=frozenset({OLD}))
    migrations.find_new(SimpleNamespace(site=scene.site, log=a_log()), scene.candidate.venv)  # type: ignore[arg-type]
    scene.answer("candidate", None)
    assert migrations.migrations_of_live(scene.site) == frozenset({OLD}), "also if it does not start any more"
    scene.has_other_code = True
    assert migrations.migrations_of_live(scene.site) is None
    scene.answer("candidate", on_disk=frozenset({NEW}))
    assert migrations.migrations_of_live(scene.site) == frozenset({NEW})
