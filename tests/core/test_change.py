"""A change goes through its actions in their order, and each end of it through what undoes them."""

from collections.abc import Callable
from typing import Any

import pytest

from releaser.core import change
from releaser.core.action import Action
from releaser.core.change import Change, Deployment, advice_for, do_actions, failure_of, make_live
from releaser.core.run import Run
from releaser.core.target import Target
from releaser.errors import ActivationError, BuildError, IncompleteReturnError, PreflightError, ToolError, refuse
from releaser.pipelines.recovery import recover, restart_service_on_failure
from releaser.releases.journal import Entry, Record, journal_of, make_entry
from releaser.releases.store import store_of
from releaser.report import Step
from releaser.site.site import Site, find_site
from tests.support.logs import a_log
from tests.support.sites import SampleSite, SiteFactory


class Noted(Action):
    """An action that notes its calls, and fails in those that it is told."""

    def __init__(self, name: str, calls: list[str], fails: set[str]) -> None:
        self.name, self.calls, self.fails = name, calls, fails
        self.error: type[Exception] = ToolError
        self.is_step = True

    def _call(self, what: str) -> None:
        call = f"{what} {self.name}"
        self.calls.append(call)
        if call in self.fails:
            self.fails.remove(call)
            raise self.error(call)

    def record(self, change: Change, deployment: Deployment) -> Record:
        return {"name": self.name}

    def prepare(self, change: Change, deployment: Deployment) -> None:
        self._call("prepare")

    def undo(self, change: Change) -> None:
        self._call("undo")

    def do(self, change: Change, step: Step) -> None:
        self._call(f"do for {'previous' if change.is_back else 'new'}:")

    def leave(self, change: Change) -> None:
        self._call("leave")

    def resume(self, change: Change) -> None:
        try:
            self._call("resume")
        except ToolError as error:
            refuse("a", error.message, "")

    def down_since(self, entry: Entry) -> float | None:
        return 0.0 if "is down" in entry.actions.get(self.name, {}) else None


class Scene:
    """A site with two releases, the earlier one live, whose changes consist of two actions that note their calls."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site, self.log = site, a_log()
        self.calls: list[str] = []
        self.fails: set[str] = set()
        self.actions = tuple(Noted(name, self.calls, self.fails) for name in ("one", "two"))
        monkeypatch.setattr(change, "ACTIONS", self.actions)
        live = store_of(site).live()
        assert live is not None
        self.live, self.other = live, next(one for one in store_of(site).all() if one.id != live.id)

    def change(self, **how: Any) -> Change:
        target = Target(head="", commit="")
        link = self.site.project.venv.readlink().as_posix()
        return make_live(self.site, self.log, Deployment(release=self.other, target=target, link=link, **how))

    def live_now(self) -> str | None:
        return store_of(self.site).live_id()

    def entry(self) -> Entry | None:
        return journal_of(self.site).read()

    def recover(self) -> list[str]:
        """Recover as the next run does; return the calls that this takes."""
        self.calls.clear()
        recover(Run(site=self.site, log=a_log()))
        return self.calls


def failing(error: Exception) -> Callable[..., None]:
    """Return a function that raises this, whatever it is given."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


FORWARD = ["prepare two", "prepare one", "do for new: one", "do for new: two"]
RESUMED = ["resume one", "resume two"]
BACK = ["leave two", "leave one", "do for previous: one", "do for previous: two"]


def there_and_back(site: SampleSite) -> None:
    """Leave two releases, of which the earlier one is live."""
    site.update_to("alpha", "1.1.0")
    site.releaser("rollback", check=0)


@pytest.fixture
def scene(make_site: SiteFactory, monkeypatch: pytest.MonkeyPatch) -> Scene:
    site = make_site.adopted(prepare=there_and_back)
    return Scene(find_site(site.path, site.env), monkeypatch)


def test_a_change_that_works_prepares_flips_and_does_the_rest(scene: Scene) -> None:
    made = scene.change()
    assert scene.calls == FORWARD
    assert scene.live_now() == scene.other.id == made.release.id
    assert scene.entry() == made.entry
    assert made.entry.done == ("one", "two")
    assert made.entry.actions == {name: {"name": name} for name in ("one", "two")}


@pytest.mark.parametrize(
    ("fails", "calls"),
    [
        ({"do for new: one"}, [*FORWARD[:3], *BACK]),
        ({"do for new: two"}, [*FORWARD, *BACK]),
        ({"do for new: two", "do for previous: one"}, [*FORWARD, *BACK]),
    ],
)
def test_an_action_that_fails_after_the_flip_takes_the_release_back(
    scene: Scene, fails: set[str], calls: list[str]
) -> None:
    scene.fails |= fails
    with pytest.raises(ActivationError) as error:
        scene.change()
    assert scene.calls == calls
    assert scene.live_now() == scene.live.id
    assert error.value.fails_before is (len(fails) > 1)


def test_without_a_previous_release_only_actions_with_a_record_are_undone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.actions[0], "record", lambda *_: {})
    scene.site.project.venv.unlink()
    scene.fails.add("do for new: two")
    with pytest.raises(ActivationError, match="do for new: two"):
        make_live(scene.site, scene.log, Deployment(release=scene.other, target=Target(head="", commit="")))
    assert scene.calls == [*FORWARD, *BACK[:2], "undo two"]
    assert not scene.site.project.venv.is_symlink()


def test_a_program_that_fails_before_the_flip_stops_the_change(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.actions[0], "prepare", failing(ToolError("no")))
    with pytest.raises(BuildError, match="one could not be prepared: no"):  # which its caller undoes
        scene.change()
    assert scene.live_now() == scene.live.id


@pytest.mark.parametrize(("error", "is_step"), [(ToolError, True), (OSError, True), (OSError, False)])
def test_a_release_that_is_to_stay_stays(scene: Scene, error: type[Exception], *, is_step: bool) -> None:
    scene.fails.add("do for new: one")
    scene.actions[0].error, scene.actions[0].is_step = error, is_step
    scene.change(stays=True)
    assert scene.calls == FORWARD
    assert scene.live_now() == scene.other.id
    assert "because of --force" in scene.log.findings[0].message


@pytest.mark.parametrize(
    ("at", "ends", "calls"),
    [
        ("prepare one", "live", [*RESUMED, "undo one", "undo two"]),
        ("flip", "live", [*RESUMED, "undo one", "undo two"]),
        ("do for new: one", "other", [*RESUMED, *FORWARD[2:]]),
        ("do for new: two", "other", [*RESUMED, *FORWARD[3:]]),
        ("leave one", "live", [*RESUMED, *BACK]),
        ("do for previous: two", "live", [*RESUMED, *BACK]),
    ],
)
def test_a_run_that_is_killed_anywhere_is_ended_by_the_next_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, at: str, ends: str, calls: list[str]
) -> None:
    """Every action is undone, repeated, or done for the previous release, whatever it is."""

    kill, call = failing(RuntimeError("killed")), Noted._call

    def killed(noted: Noted, what: str) -> None:
        call(noted, what)
        if f"{what} {noted.name}" == at:
            kill()

    if "leave" in at or "previous" in at:
        scene.fails.add("do for new: two")
    with monkeypatch.context() as patch:
        patch.setattr(Noted, "_call", killed)
        if at == "flip":
            patch.setattr(change, "flip", kill)
        with pytest.raises(RuntimeError, match="killed"):
            scene.change()
    assert scene.recover() == calls
    assert scene.live_now() == getattr(scene, ends).id
    entry = scene.entry()
    assert entry is None or entry.phase == "reporting"
    assert scene.recover() == []


def test_an_action_may_refuse_to_go_on_with_a_change_that_was_cut_off(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Change, "finish", failing(RuntimeError("cut off")))
        with pytest.raises(RuntimeError):
            scene.change()
    entry = scene.entry()
    scene.fails.add("resume one")
    with pytest.raises(PreflightError, match="resume one"):
        scene.recover()
    assert (scene.calls, scene.live_now(), scene.entry()) == (["resume one"], scene.other.id, entry)
    assert scene.recover() == [*RESUMED, *FORWARD[2:]]


def test_a_run_that_fails_undoes_what_keeps_the_site_down_and_nothing_else(scene: Scene) -> None:
    run = Run(site=scene.site, log=a_log())
    records = {"one": {"name": "one"}, "two": {"is down": True}}
    journal_of(scene.site).write(make_entry(run.log, "committing", release=scene.other.id, actions=records))
    with pytest.raises(RuntimeError), restart_service_on_failure(run):
        raise RuntimeError
    assert scene.calls == ["undo two"]


def test_what_cannot_be_moved_back_is_left_to_the_next_run(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.fails.add("do for new: two")
    with monkeypatch.context() as patch:
        patch.setattr(Change, "_restore_link", failing(OSError("read-only")))
        with pytest.raises(IncompleteReturnError, match="read-only"):
            scene.change()
    entry = scene.entry()
    assert entry is not None
    assert entry.phase == "reverting"
    scene.recover()
    assert scene.live_now() == scene.live.id


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (
            "update",
            "Ask it. Find the cause in the log. `releaser status` shows the versions and commits on hold;"
            " `releaser update --force` tries them again.",
        ),
        ("init", "Ask it. Correct the error, then run the command again."),
        ("rebuild", "Ask it. Correct the error, then run the command again."),
        ("rollback", "Ask it."),
    ],
)
def test_what_to_do_is_said_for_the_command_that_failed(command: str, advice: str) -> None:
    failure = failure_of("health check", ToolError("no answer", advice="Ask it.", output="refused\n"))
    assert (failure.message, failure.step) == ("health check failed: no answer (refused)", "health check")
    assert advice_for(failure, command) == advice


@pytest.mark.parametrize(
    ("due", "fails", "outcome"),
    [
        (["one"], "", {"one": True, "two": True}),
        (["one"], "one", {"one": False}),
        (["one", "two"], "one", {"one": False, "two": True}),
        (["two"], "", {"two": True}),
        (["two"], "two", {"two": False}),
        ([], "", {}),
    ],
)
def test_what_is_due_is_done_again_and_what_follows_it(
    scene: Scene, due: list[str], fails: str, outcome: dict[str, bool]
) -> None:
    scene.fails.add(f"do for new: {fails}")
    assert do_actions(scene.site, scene.log, scene.live, due) == outcome
    assert scene.entry() is None
