"""Verdicts on the live release, on the candidate and of a search, without a site."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from releaser.candidate.culprits import Part
from releaser.candidate.tests import TestResult
from releaser.errors import BuildError
from releaser.packages.resolve import Plan
from releaser.pipelines import blame
from releaser.pipelines.blame import Findings
from releaser.releases.release import PackageChange
from releaser.report.outcomes import Blame
from tests.unit.samples import KEY, make_lock

PASSED, FAILED = TestResult(True, "", ""), TestResult(False, "it broke", "")
KILLED, SEARCHED = TestResult(False, "killed", "", is_killed=True), Findings(blame=Blame(("searched",)))
PLAN = Plan(make_lock("a 2, b 2"), "python", "3.11.7", tuple(PackageChange(each, "1", "2", "major") for each in "ab"))


@contextlib.contextmanager
def step(name: str) -> Iterator[Any]:
    """Stand in for the step of a run."""
    yield SimpleNamespace(append=str, has_failed=False)


def make_trial(tests: TestResult | None, **plan: Any) -> Any:
    """Return the trial of a plan, None if it could not be built."""
    settings = SimpleNamespace(tests=SimpleNamespace(culprits=9, test_jobs=1))
    target = SimpleNamespace(moves_code=False, code_key="code")
    key = msgspec.structs.replace(KEY, libraries=(("lib", plan.pop("library", "old")),))
    changed = msgspec.structs.replace(PLAN, **plan)
    site = SimpleNamespace(settings=settings, paths=SimpleNamespace(shadow=Path))
    attempt = SimpleNamespace(site=site, target=target, plan=changed, key=key)
    return SimpleNamespace(attempt=attempt, tests=tests, directory=Path("r"), venv=Path("v")) if tests else None


def make_decision() -> Any:
    """Return the decision to build a candidate."""
    key = msgspec.structs.replace(KEY, libraries=(("lib", "old"),))
    live = SimpleNamespace(manifest=SimpleNamespace(key=key), venv=Path("v"))
    prospect = SimpleNamespace(repository=None, target=SimpleNamespace(head="head"), live=live, python="")
    return SimpleNamespace(prospect=prospect, failed=None)


@pytest.mark.parametrize(
    ("failed", "before", "live", "again", "plan", "expected"),
    [
        (FAILED, "", PASSED, FAILED, {}, SEARCHED),
        (FAILED, "", PASSED, PASSED, {}, "flaky"),
        (FAILED, "", FAILED, None, {}, "was failing"),
        (FAILED, "", KILLED, None, {}, "unfinished"),  # by what may have killed it alone
        (FAILED, "", None, None, {}, "unfinished"),
        (FAILED, "", PASSED, KILLED, {}, "unfinished"),
        (FAILED, "", PASSED, None, {}, "unfinished"),
        (KILLED, "", PASSED, FAILED, {}, "killed"),
        (KILLED, "killed", PASSED, KILLED, {}, SEARCHED),
        (KILLED, "killed", KILLED, None, {}, "was failing"),
        (KILLED, "was failing", KILLED, None, {}, "was failing"),  # not a first time every other night
        (KILLED, "flaky", PASSED, FAILED, {}, "killed"),
        (FAILED, "", PASSED, FAILED, {"library": "new"}, ""),
        (FAILED, "", PASSED, FAILED, {"renewed": frozenset("a")}, ""),
    ],
)
def test_law_22_24_when_a_failure_is_a_verdict(
    monkeypatch: pytest.MonkeyPatch,
    failed: TestResult,
    before: str,
    live: TestResult | None,
    again: TestResult | None,
    plan: dict[str, Any],
    expected: Findings | str,
) -> None:
    answers = iter([[live], [make_trial(again)]])
    monkeypatch.setattr(blame, "call_at_once", lambda calls: next(answers))
    monkeypatch.setattr(blame, "has_its_python", lambda site, live: True)
    monkeypatch.setattr(blame, "delete_release", lambda directory: None)
    monkeypatch.setattr(blame, "_list_owners", lambda venv: {})
    monkeypatch.setattr(blame, "_search", lambda *args: SEARCHED)
    monkeypatch.setattr(blame._Bench, "open_run", lambda bench: None)
    monkeypatch.setattr(blame._Bench, "make_call", lambda bench, attempt: None)
    was_failing = before == "was failing"
    last = SimpleNamespace(no_verdict="" if was_failing else before, was_failing=was_failing)
    releases = [SimpleNamespace(manifest=last)] if before else []  # of other versions, perhaps
    run: Any = SimpleNamespace(id="run", step=step, store=SimpleNamespace(releases=releases))
    site: Any = SimpleNamespace()
    found = blame.find_blame(site, run, make_decision(), site, make_trial(failed, **plan))
    assert expected in (found, "was failing" if found.was_failing else found.no_verdict)


class Bench(blame._Bench):
    """Tests parts of a, b, c and d, of which some break; a part of more than `most` items cannot be resolved."""

    def __init__(self, *broken: str, most: int, runs: int = 9) -> None:
        run: Any = SimpleNamespace(id="run", step=step)
        words: list[Any] = [SimpleNamespace(), run, SimpleNamespace(), make_decision(), make_trial(FAILED)]
        super().__init__(*words)
        self.broken, self.most, self.left, self.series = broken, most, runs, 0

    def list_items(self, suspects: Sequence[str]) -> Part:
        return ("a", "b")

    def make_part(self, part: Part) -> Any:
        if len(part) > self.most:
            raise BuildError("The index is away.", "Wait.")
        lock = make_lock(", ".join(f"{name} {2 if name in part else 1}" for name in "ab"))
        return make_trial(
            PASSED, lock=lock, changes=tuple(each for each in PLAN.changes or () if each.name in part)
        ).attempt

    def try_all(self, attempts: Sequence[Any]) -> list[TestResult | None]:
        results = list[TestResult | None]()
        for attempt in attempts:
            self.left -= 1
            names = {change.name for change in attempt.plan.changes}
            results.append(FAILED if names & {*self.broken} else PASSED)
            if names and not names & {*self.broken}:
                self.passed = make_trial(PASSED, changes=attempt.plan.changes)
        return results


@pytest.mark.parametrize(
    ("broken", "most", "runs", "held", "verdict", "series"),
    [
        ("b", 2, 9, "b 2", "held", 1),
        ("ab", 2, 9, "a 2, b 2", "held", 1),
        ("b", 0, 9, "", "unfinished", 0),  # nothing could be tried
        ("ab", 2, 2, "", "", 0),  # no runs are left
    ],
)
def test_law_22_24_a_search_that_an_outage_has_cut_off_is_no_verdict_and_the_series_holds_nothing(
    monkeypatch: pytest.MonkeyPatch, broken: str, most: int, runs: int, held: str, verdict: str, series: int
) -> None:
    """In the series of the live versions is one that fails, beside one that does not."""
    tried = list[object]()

    def make_attempt(*words: Any) -> tuple[Any]:
        changes = (PackageChange("a", "1", "1.1", "minor"), PackageChange("b", "1", "1.1", "minor"))
        tried.append(words)
        return (make_trial(PASSED, changes=changes).attempt,)

    monkeypatch.setattr(blame, "list_holds", lambda site: ())
    monkeypatch.setattr(blame, "make_attempt", make_attempt)
    found = blame._search(Bench(*broken, most=most, runs=runs), (), Findings())
    assert ", ".join(hold.label for hold in found.holds) == held
    assert (found.no_verdict, len(tried)) == (verdict, series)
    text = " ".join(found.blame.sentences)
    assert ("did not find" in text, "The index is away." in text) == (runs == 2, most == 0)


def test_law_20_23_a_search_that_is_cut_off_names_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "_try_series", lambda bench, findings: findings)
    found = [blame._search(Bench("b", most=2, runs=runs), (), Findings()) for runs in range(1, 6)]
    texts = [" ".join(each.blame.sentences) for each in found if each.passed and not each.holds]
    assert texts
    assert all("b 1 → 2 did not go live" in text and "a 1" not in text for text in texts)


def test_law_22_what_can_be_tried_is_tried_beside_what_cannot() -> None:
    """Two jobs ask for two parts at once; that of both packages cannot be resolved."""
    bench = Bench("b", most=1)
    for part in (("a",), ("a", "b")):
        bench.shrink(part)
    assert (bench([("a",), ("a", "b")]), bench.is_unfinished, bench.trouble) == (
        [True, None],
        True,
        "The index is away.",
    )
