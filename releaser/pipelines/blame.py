"""Finds what is to blame if a candidate fails its tests, and what passes without that."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from releaser.candidate.build import LockInstaller
from releaser.candidate.culprits import Part, find_culprits, find_suspects
from releaser.candidate.identity import make_key
from releaser.candidate.shadow import make_shadow
from releaser.candidate.tests import TestResult
from releaser.candidate.trial import Attempt, Trial, run_live_tests, try_candidate
from releaser.errors import BuildError, PreflightError, ReleaserError, explain_error
from releaser.packages.changes import describe_changes, name_bump
from releaser.packages.holds import CommitHold, Hold, VersionHold, list_holds, make_version_holds
from releaser.packages.lock import parse_lock
from releaser.packages.resolve import resolve_part
from releaser.packages.rules import sort_by_needs
from releaser.pipelines.decide import UpdateOptions, decide_without_commit, make_attempt
from releaser.releases.release import NoVerdict
from releaser.releases.store import SiteRun, begin_release, delete_release
from releaser.releases.venv import read_records, shorten, split_info
from releaser.releases.verify import has_its_python
from releaser.report.decision import Build
from releaser.report.outcomes import Blame
from releaser.site.site import Site
from releaser.system.process import NoAnswer, call_at_once
from releaser.system.run import now

T = TypeVar("T")

logger = logging.getLogger(__name__)

_UNFINISHED = "What is to blame is not known yet: not all test runs came to their end."
_FLAKY = "The tests fail now and then: with the same code and packages, they have both failed and passed."


class Findings(msgspec.Struct, frozen=True):
    """What came of a candidate that failed its tests: what `passed` in its place, and what goes on hold.

    `was_failing` says that the live release fails its tests, too.
    """

    passed: Trial | None = None
    holds: tuple[Hold, ...] = ()
    blame: Blame = Blame()
    was_failing: bool = False
    no_verdict: NoVerdict = ""


class _Bench:
    """Builds and tests candidates, several at once, and keeps the one with the most news that passed.

    As the trials of a search it is called with parts of the changes: names of packages, and the commit, if it is new.
    """

    def __init__(self, site: Site, run: SiteRun, options: UpdateOptions, decision: Build, failed: Trial) -> None:
        self.site, self.run, self.options, self.failed = site, run, options, failed
        self.prospect, self.repository, self.whole = decision.prospect, decision.prospect.repository, failed.attempt
        tests = failed.attempt.site.settings.tests
        self.left, self.jobs, self.number = tests.culprits, tests.test_jobs, 0
        self.commit = f"commit {self.whole.target.commit[:12]}" if self.whole.target.moves_code else ""
        self.sides = {True: self.whole, False: self.whole}  # with the commit, and without
        self.passed: Trial | None = None
        self.is_unfinished = False
        self.trouble = ""  # why the first trial that did not come to its end did not
        self.attempts: dict[Part, Attempt | None] = {}  # None cannot be resolved
        #: Why parts have failed.
        self.reasons: dict[Part, str] = {}

    def open_run(self) -> SiteRun:
        """Return a run that has children, a shadow and steps of its own."""
        self.number += 1
        run = SiteRun(f"{self.run.id}-{self.number:03}", self.run.command)
        run.store = self.run.store
        return run

    def ask_live(self, *, again: bool) -> tuple[TestResult | None, TestResult | None]:
        """Return the verdict on the live release, then that on the candidate, tested `again`; None is no verdict."""
        words = (self.site, self.open_run(), self.repository, self.prospect.target.head, self.prospect.live)
        calls: list[functools.partial[Any]] = [functools.partial(run_live_tests, *words)]
        calls += [self.make_call(self.whole)] if self.jobs > 1 and again else []
        with self.run.step("test") as detail:
            answer, *trials = call_at_once(calls)
            result = self.weigh(self.listen(answer))
            detail.append(f"the live release: {'no verdict' if result is None else result.reason or 'passed'}")
            detail.has_failed = result is None or not result.passed
        verdict = self.judge(self.whole, self.listen(trials[0])) if trials else None
        if again and result is not None and result.passed and not trials:
            verdict = self.try_all([self.whole])[0]
        return result, verdict

    def listen(self, answer: T | NoAnswer) -> T | None:
        """Return an answer, None if there is none; why is kept."""
        if not isinstance(answer, NoAnswer):
            return answer
        self.trouble = self.trouble or answer.reason
        return None

    def give_up(self, suspicion: Findings) -> Findings:
        """Return what is found if test runs did not come to their end, with the reason of the first."""
        sentence = " ".join(filter(None, [_UNFINISHED, self.trouble]))
        return Findings(blame=Blame((sentence,), (), suspicion.blame.suspects), no_verdict="unfinished")

    def weigh(self, result: TestResult | None) -> TestResult | None:
        """Return how tests ended, None if that is no verdict: something outside of them may have ended them."""
        return None if result and result.is_killed and not self.failed.tests.is_killed else result

    def make_call(self, attempt: Attempt) -> functools.partial[Trial]:
        """Return the call that builds and tests a candidate."""
        live, directory = self.prospect.live, begin_release(self.site.paths)
        install = LockInstaller(attempt.plan, live.venv)
        return functools.partial(try_candidate, self.open_run(), self.repository, attempt, live, install, directory)

    def try_all(self, attempts: Sequence[Attempt]) -> list[TestResult | None]:
        """Build and test candidates; return how their tests ended, None if there is no verdict."""
        results: list[TestResult | None] = []
        for start in range(0, len(attempts), self.jobs):
            batch = attempts[start : start + self.jobs]
            with self.run.step("test") as detail:
                trials = call_at_once([self.make_call(attempt) for attempt in batch])
                for attempt, trial in zip(batch, trials, strict=True):
                    result = self.judge(attempt, self.listen(trial))
                    word = "no verdict" if result is None else "passed" if result.passed else "failed"
                    detail.append(f"{_name_attempt(attempt)}: {word}")
                    detail.has_failed |= word != "passed"
                    results.append(result)
        return results

    def judge(self, attempt: Attempt, trial: Trial | None) -> TestResult | None:
        """Return how the tests of a trial ended, None if that is no verdict; it is deleted unless it may go live."""
        self.left -= 1
        if trial is None:
            return None
        result, has_news = trial.tests, attempt.target.moves_code or bool(attempt.plan.changes)
        if result.passed and has_news and (self.passed is None or _rank(trial) >= _rank(self.passed)):
            trial, self.passed = self.passed, trial
        if trial is not None:
            delete_release(trial.directory)
        return self.weigh(result)

    def __call__(self, parts: Sequence[Part]) -> list[bool | None]:
        """Test parts of the changes."""
        attempts = {part: attempt for part in parts if (attempt := self.attempts[part])}
        results = dict(zip(attempts, self.try_all([*attempts.values()]), strict=True))
        self.reasons |= {part: result.reason for part, result in results.items() if result}
        verdicts = [result.passed if (result := results.get(part)) else None for part in parts]
        self.is_unfinished |= None in verdicts
        return verdicts

    def shrink(self, part: Part) -> Part:
        """Return what of a part can be locked without the rest: packages may move together alone."""
        try:
            attempt = self.attempts[part] if part in self.attempts else self.make_part(part)
        except (ReleaserError, OSError) as error:
            logger.warning("a part could not be resolved: %s", error)
            self.trouble = self.trouble or explain_error(error)
            attempt = None
        self.attempts[part] = attempt
        if attempt is None:
            return part
        whole, locked = self.sides[self.commit in part].plan.lock.versions, attempt.plan.lock.versions
        left = tuple(item for item in part if locked.get(item) == whole.get(item))
        return left if self.attempts.setdefault(left, attempt) else part

    def make_part(self, part: Part) -> Attempt:
        """Return the attempt with a part of the changes. Raises BuildError."""
        side, run, live = self.sides[self.commit in part], self.open_run(), self.prospect.live
        directory, before = self.site.paths.shadow(run.id), self.list_before(side)
        with make_shadow(side.site, self.repository, directory, side.target.commit, mark=run.id) as shadow:
            if not side.target.moves_code:  # a commit may have locked what is not live yet
                (shadow.project / "uv.lock").write_bytes(live.lock.read_bytes())
            plan = resolve_part(side.site, shadow.project, live.venv, side.plan, before, part, mark=run.id)
        key = make_key(side.site, plan, side.target.code_key)
        return msgspec.structs.replace(side, plan=plan, key=key)

    def list_before(self, side: Attempt) -> dict[str, str]:
        """Return the version of each changed package without its change: the live one, or a newer one of the commit."""
        path = self.site.paths.lockfile_in_tree
        text = self.repository.file_at(side.target.commit, path) if side.target.moves_code else None
        committed, before = parse_lock(text).versions if text else {}, {}
        for change in side.plan.changes or ():
            locked = sorted(committed.get(change.name, ()))
            is_newer = len(locked) == 1 and name_bump(change.old, locked[0]) != "other"
            if change.old and change.new:
                before[change.name] = locked[0] if is_newer else change.old
        return before

    def list_items(self, suspects: Sequence[str]) -> Part:
        """Return what a search may blame: the commit, packages after those that they need, at last the suspects."""
        items: dict[str, None] = {}
        for side in self.sides.values():
            before = self.list_before(side)
            news = [
                change.name for change in side.plan.changes or () if before.get(change.name, change.new) != change.new
            ]
            items |= dict.fromkeys(sort_by_needs(side.plan.lock, news))
        others = [name for name in items if name not in suspects]
        return (*filter(None, [self.commit]), *others, *(name for name in reversed(suspects) if name in items))


def _rank(trial: Trial) -> tuple[bool, int]:
    return trial.attempt.target.moves_code, len(trial.attempt.plan.changes or ())


def _name_attempt(attempt: Attempt) -> str:
    commit = f"commit {attempt.target.commit[:12]}" if attempt.target.moves_code else ""
    return " with ".join(filter(None, [commit, describe_changes(attempt.plan.changes or (), 3)])) or "as it is live"


def _list_owners(venv: Path) -> dict[str, str]:
    """Return the package of each file in a venv, and of each module, by paths in site-packages."""
    owners: dict[str, str] = {}
    for record, files in read_records(venv).items():
        name, _ = split_info(Path(record).parent)
        for path in map(shorten, files):
            owners[path] = name
            owners.setdefault(path.partition("/")[0].removesuffix(".py"), name)
    return owners


def find_blame(site: Site, run: SiteRun, decision: Build, options: UpdateOptions, failed: Trial) -> Findings:
    """Return what came of a candidate that failed its tests; `site` has the settings of the live code.

    The live release is asked first, then the candidate again, and then parts of its changes, unless files differ that
    no part has. Raises ToolError and OSError.
    """
    prospect, plan, key = decision.prospect, failed.attempt.plan, failed.attempt.key
    last = next((release.manifest for release in run.store.releases), None)  # of whichever candidate
    if failed.tests.is_killed and not (last and (last.was_failing or last.no_verdict == "killed")):
        return Findings(no_verdict="killed")
    changes = {change.name: describe_changes([change]) for change in plan.changes or ()}
    owners = _list_owners(failed.directory / "venv")
    suspects = [name for name in find_suspects(failed.tests.output, owners) if name in changes]
    suspicion = Findings(blame=Blame(suspects=tuple(changes[name] for name in suspects)))
    if not has_its_python(site, prospect.live):  # which no test of the live release could start
        return suspicion
    bench = _Bench(site, run, options, decision, failed)
    # Packages are not to blame for another Python.
    may_search = not prospect.python and bench.left > 0
    live, again = bench.ask_live(again=may_search)
    if live is not None and not live.passed:
        return Findings(was_failing=True)
    if live is None or (may_search and again is None):
        return bench.give_up(suspicion)
    if again is not None and again.passed:
        return _find_flaky(bench)
    if again is None or plan.renewed or key.find_changed_libraries(prospect.live.manifest.key):
        return suspicion
    return _search(bench, suspects, suspicion)


def _find_flaky(bench: _Bench) -> Findings:
    return Findings(bench.passed, blame=Blame((_FLAKY,)), no_verdict="flaky")


def _search(bench: _Bench, suspects: Sequence[str], suspicion: Findings) -> Findings:
    """Find what is to blame among the packages and the commit, and what passes without that."""
    try:
        if bench.commit:
            bench.sides[False] = decide_without_commit(bench.site, bench.run, bench.options, bench.prospect)
    except (BuildError, PreflightError) as error:
        logger.warning("the packages could not be tried alone: %s", error)
        bench.trouble = bench.trouble or error.message
        return bench.give_up(suspicion) if isinstance(error, BuildError) else suspicion
    items = bench.list_items(suspects)
    if not items:
        return suspicion
    tail = sum(name in suspects for name in items)
    head, runs, jobs = bool(bench.commit), bench.left, bench.jobs
    found = find_culprits(bench, items, head=head, tail=tail, runs=runs, jobs=jobs, shrink=bench.shrink)
    if found.is_flaky:
        return _find_flaky(bench)
    holds, sentences, culprits = list[Hold](), list[str](), list[str]()
    for part in found.culprits:
        item, sides = part[-1], [bench.sides[bench.commit not in part], bench.sides[bench.commit in part]]
        changes = {change.name: change for side in sides for change in side.plan.changes or ()}
        names = {bench.commit: bench.commit} | {name: describe_changes([change]) for name, change in changes.items()}
        reason = bench.reasons.get(part) or bench.failed.tests.reason
        reason = f"together with {names[part[0]]}, {reason}" if len(part) == 2 else reason
        if item == bench.commit:
            code, commit = bench.whole.target.code_key, bench.whole.target.commit[:12]
            holds.append(CommitHold(commit=commit, code_key=code, by="tests", reason=reason, since=now()))
        else:
            holds += make_version_holds([changes[item]], reason, "tests")
        culprits.append(item if item == bench.commit else f"{item} {changes[item].new}")
        sentences.append(f"On hold: {names[item]}, since {reason}.")
    if found.is_cut_off and (holds or bench.passed):
        taken = {change.name for change in bench.passed.attempt.plan.changes or ()} if bench.passed else set[str]()
        taken |= {hold.name for hold in holds if isinstance(hold, VersionHold)}
        left = [change for change in bench.whole.plan.changes or () if change.name not in taken]
        reason = f" {describe_changes(left)} did not go live, since {bench.failed.tests.reason}." if left else ""
        sentences.append(f"More may be wrong: the next update goes on.{reason}")
    elif found.is_cut_off and bench.is_unfinished:
        return bench.give_up(suspicion)
    elif found.is_cut_off:
        sentences.append("The test runs that `culprits` allows did not find what is to blame.")
    blame = Blame(tuple(sentences), tuple(culprits), suspicion.blame.suspects)
    verdict: NoVerdict = "held" if holds else "unfinished" if bench.is_unfinished else ""
    findings = Findings(bench.passed, tuple(holds), blame, no_verdict=verdict)
    return findings if found.is_cut_off else _try_series(bench, findings)


def _try_series(bench: _Bench, findings: Findings) -> Findings:
    """Try, once, the newest versions of culprits that are in the series of the live ones: 5.2.9 if 6.0 fails.

    If they fail, too, nothing is on hold: the next update finds out which.
    """
    names = {hold.name for hold in findings.holds if isinstance(hold, VersionHold)}
    if not names or bench.left < 1:
        return findings
    side = bench.sides[bench.commit not in findings.blame.culprits]
    holds, directory = [*list_holds(side.site), *findings.holds], side.site.paths.shadow(f"{bench.run.id}-lock")
    words = (bench.repository, side.target, bench.prospect.live, holds, directory)
    try:
        attempt = make_attempt(side.site, bench.run, bench.options, *words)[0]
    except (BuildError, PreflightError) as error:
        logger.warning("no other versions were found: %s", error)
        return findings
    if any(change.name in names for change in attempt.plan.changes or ()):
        bench.try_all([attempt])
    return msgspec.structs.replace(findings, passed=bench.passed)
