"""Whose word counts on isolation."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from releaser.candidate import testing
from releaser.candidate.trials import Trial, TrialResult
from releaser.checkout import isolating
from releaser.checkout.isolating import is_in_question, isolation_of
from tests.support.logs import a_log

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("is_new", [True, False])
def test_where_live_cannot_run_only_what_is_known_runs_without_isolation(
    monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    ran = []

    def attempt(*_: object, **how: str) -> Any:
        ran.append(how)
        return SimpleNamespace(passed=False)

    ledger = SimpleNamespace(activations=("1",))
    monkeypatch.setattr(testing, "cannot_run", lambda _: True)
    monkeypatch.setattr(testing, "store_of", lambda _: SimpleNamespace(ledger=lambda: ledger))
    monkeypatch.setattr(testing, "_try", attempt)
    site = SimpleNamespace(runner=SimpleNamespace(remembered={}))
    work: Any = SimpleNamespace(site=site, live=object())
    candidate: Any = SimpleNamespace(resolution=SimpleNamespace(diff=["alpha 1.0 -> 1.1"] if is_new else []))
    failed: Any = SimpleNamespace(trial=None)
    result = testing._unless_isolated(work, candidate, failed)
    assert (result is failed, len(ran)) == ((True, 0) if is_new else (False, 1))


TESTS = Trial(step="test", command=("pytest",), name="the tests")


@dataclass
class LiveTests:
    """The tests of a live release, which end in turn as is said: `i` in isolation, `o` without, then how."""

    state_dir: Path
    ends: list[str] = field(default_factory=list)

    def run(self, *ends: str) -> tuple[str, list[str]]:
        """Let a run of releaser ask for the blame; return how the tests ended for it, and what it told."""
        self.ends = list(ends)
        settings = SimpleNamespace(isolate="auto", test_command=None, test_writable=())
        self.site: Any = SimpleNamespace(
            settings=settings, runner=SimpleNamespace(remembered={}), state_dir=self.state_dir
        )
        log, live = a_log(), SimpleNamespace(id="20260101T000000Z")
        result = testing.failure_of_live(self.site, log, live, TESTS)  # type: ignore[arg-type]
        assert self.ends == [], "more was to be tried"
        return result.output if result else "passed", [one.message for one in log.findings]

    def try_once(self, site: Any, *_: object, **_how: str) -> TrialResult:
        place, _space, output = self.ends.pop(0).partition(" ")
        assert place == ("i" if isolation_of(site) is not None else "o")
        return TrialResult(trial=TESTS, reason="exit status 1" if output else "", output=output)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveTests:
    tests = LiveTests(tmp_path)
    monkeypatch.setattr(isolating, "find_isolation", lambda *_: SimpleNamespace(kind="fake", name="a fake"))
    monkeypatch.setattr(testing, "_try_live", tests.try_once)
    return tests


def test_what_fails_twice_in_isolation_alone_goes_without_from_then_on(live: LiveTests) -> None:
    result, (told,) = live.run("i Read-only file system: '../written'", "o", "i Read-only", "o")
    assert result == "passed"
    assert "do not pass in isolation (a fake), so the tests run without it" in told
    assert isolation_of(live.site) is None
    assert live.run("o") == ("passed", [])
    assert isolation_of(live.site) is None


def test_what_is_flaky_does_not_switch_isolation_off(live: LiveTests) -> None:
    assert live.run("i not there yet", "o", "i") == ("not there yet", [])
    assert isolation_of(live.site) is not None
    assert live.run("i") == ("passed", [])
    assert live.run("i it is ill") == ("it is ill", []), "it is known that isolation works"


def test_what_fails_either_way_does_not_show_that_isolation_works(live: LiveTests) -> None:
    assert live.run("i no database 1", "o no database 2") == ("no database 1", [])
    assert is_in_question(live.site)
    assert live.run("i no database 3") == ("no database 3", []), "asked once, whatever the numbers are"
    assert live.run("i worse", "o worse") == ("worse", []), "asked again, as it is something else"
    assert live.run("i Read-only", "o", "i Read-only", "o")[0] == "passed"
    assert isolation_of(live.site) is None
