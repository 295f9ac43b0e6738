"""Finds what is to blame if a candidate fails its tests, and what passes without that."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from releaser.candidate.build import LockInstaller
from releaser.candidate.culprits import Part, Search, find_culprits, find_suspects
from releaser.candidate.identity import make_key
from releaser.candidate.shadow import make_shadow
from releaser.candidate.tests import TestResult
from releaser.candidate.trial import Attempt, Trial, run_live_tests, try_candidate
from releaser.checkout.repository import Repository
from releaser.errors import BuildError, PreflightError, ReleaserError
from releaser.packages.changes import describe_changes, name_bump
from releaser.packages.holds import CommitHold, Hold, VersionHold, list_holds, make_version_holds
from releaser.packages.lock import Lock, parse_lock
from releaser.packages.resolve import Plan, read_live_venv, resolve_part
from releaser.packages.rules import list_needed
from releaser.pipelines.decide import UpdateOptions, decide_without_commit, make_attempt
from releaser.releases.release import NoVerdict, PackageChange, Release
from releaser.releases.store import SiteRun, begin_release, delete_release
from releaser.releases.venv import read_records, shorten
from releaser.releases.verify import has_its_python
from releaser.report.decision import Build
from releaser.report.outcomes import Blame
from releaser.site.site import Site
from releaser.system.process import call_at_once
from releaser.system.run import now
from releaser.system.text import normalize_name

logger = logging.getLogger(__name__)

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
    """Builds and tests candidates, several at once, and keeps the one with the most news that passed."""

    def __init__(self, site: Site, run: SiteRun, decision: Build, failed: Trial, *, counts_kills: bool) -> None:
        self.site, self.run, self.failed, self.counts_kills = site, run, failed, counts_kills
        self.prospect, self.repository = decision.prospect, decision.prospect.repository
        tests = failed.attempt.site.settings.tests
        self.left, self.jobs, self.number = tests.culprits, tests.test_jobs, 0
        self.passed: Trial | None = None
        #: The packages through whose files the traceback passes, the innermost first.
        self.suspects = find_suspects(failed.tests.output, _list_owners(failed.venv))
        #: How the tests of a lock with a commit have ended.
        self.results: dict[tuple[str, str], TestResult] = {}

    def open_run(self) -> SiteRun:
        """Return a run that has children, a shadow and steps of its own."""
        self.number += 1
        run = SiteRun(f"{self.run.id}-{self.number:03}", self.run.command)
        run.store = self.run.store
        return run

    def ask_live(self, *, again: bool) -> tuple[bool, bool | None]:
        """Return True if the live release passes its tests, then the verdict on the candidate, tested `again`."""
        words = (self.site, self.open_run(), self.repository, self.prospect.target.head, self.prospect.live)
        attempt, again = self.failed.attempt, again and self.left > 0
        calls: list[functools.partial[Any]] = [functools.partial(run_live_tests, *words)]
        calls += [self.make_call(attempt)] if self.jobs > 1 and again else []
        with self.run.step("test") as detail:
            result, *trials = call_at_once(calls)
            detail.append(f"the live release: {result.reason or 'passed'}")
            detail.has_failed = not result.passed
        verdict = self.judge(attempt, trials[0]) if trials else None
        if again and result.passed and not trials:
            verdict = self.try_all([attempt])[0]
        return result.passed, verdict

    def make_call(self, attempt: Attempt) -> functools.partial[Any]:
        """Return the call that builds and tests a candidate."""
        directory = begin_release(self.site.paths)
        return functools.partial(_try, self.open_run(), self.repository, attempt, self.prospect.live, directory)

    def try_all(self, attempts: Sequence[Attempt]) -> list[bool | None]:
        """Build and test candidates; return for each True if it passes, None if there is no verdict."""
        verdicts: list[bool | None] = []
        for start in range(0, len(attempts), self.jobs):
            batch = attempts[start : start + self.jobs]
            with self.run.step("test") as detail:
                trials = call_at_once([self.make_call(attempt) for attempt in batch])
                for attempt, trial in zip(batch, trials, strict=True):
                    verdicts.append(self.judge(attempt, trial))
                    word = {True: "passed", False: "failed", None: "no verdict"}[verdicts[-1]]
                    detail.append(f"{_name_attempt(attempt)}: {word}")
                detail.has_failed = not all(verdicts[start:])
        return verdicts

    @staticmethod
    def identify(attempt: Attempt) -> tuple[str, str]:
        """Return the commit and the lock of an attempt."""
        return attempt.target.commit, attempt.plan.lock.sha256

    def judge(self, attempt: Attempt, trial: Trial | None) -> bool | None:
        """Return the verdict of a trial; it is deleted unless it may go live."""
        self.left -= 1
        if trial is None:
            return None
        result = self.results[self.identify(attempt)] = trial.tests
        has_news = attempt.target.moves_code or bool(attempt.plan.changes)
        if trial.tests.passed and has_news and (self.passed is None or _rank(trial) >= _rank(self.passed)):
            trial, self.passed = self.passed, trial
        if trial is not None:
            delete_release(trial.directory)
        return None if result.is_killed and not self.counts_kills else result.passed


def _rank(trial: Trial) -> tuple[bool, int]:
    return trial.attempt.target.moves_code, len(trial.attempt.plan.changes or ())


def _name_attempt(attempt: Attempt) -> str:
    commit = f"commit {attempt.target.commit[:12]}" if attempt.target.moves_code else ""
    return " with ".join(filter(None, [commit, describe_changes(attempt.plan.changes or (), 3)])) or "as it is live"


def _try(run: SiteRun, repository: Repository, attempt: Attempt, live: Release, directory: Path) -> Trial | None:
    """Build and test a candidate; return None if that is not possible."""
    try:
        return try_candidate(run, repository, attempt, live, LockInstaller(attempt.plan, live.venv), directory)
    except (ReleaserError, OSError) as error:
        logger.warning("%s could not be tested: %s", _name_attempt(attempt), error)
        return None


class _PartTrials:
    """Tests parts of the changes of an attempt."""

    def __init__(self, bench: _Bench, whole: Attempt) -> None:
        self.bench, self.whole, target = bench, whole, whole.target
        self.live = read_live_venv(bench.site, bench.prospect.live)
        self.changes = {change.name: change for change in whole.plan.changes or () if change.old and change.new}
        lock = bench.repository.file_at(target.commit, bench.site.paths.lockfile_in_tree) if target.moves_code else None
        self.before = _list_before([*self.changes.values()], parse_lock(lock) if lock else None)
        names = [name for name, label in self.before.items() if label != self.changes[name].new]
        self.asked: set[Part] = {()}
        self.made: dict[frozenset[str], Attempt] = {}
        self.suspects = [name for name in bench.suspects if name in names]
        ordered = [name for name in list_needed(whole.plan.lock, sorted(names), names) if name not in self.suspects]
        self.items: Part = (*ordered, *reversed(self.suspects))

    def make_part(self, part: Sequence[str]) -> Attempt:
        """Return the attempt with a part of the changes. Raises BuildError."""
        bench, whole, names = self.bench, self.whole, frozenset(part)
        if names in self.made:
            return self.made[names]
        run = bench.open_run()
        with make_shadow(
            whole.site, bench.repository, bench.site.paths.shadow(run.id), whole.target.commit, mark=run.id
        ) as shadow:
            if not whole.target.moves_code:  # a commit may have locked what is not live yet
                (shadow.project / "uv.lock").write_bytes(bench.prospect.live.lock.read_bytes())
            plan: Plan = resolve_part(whole.site, shadow.project, self.live, whole.plan, self.before, part, mark=run.id)
        key = make_key(whole.site, plan, whole.target.code_key)
        attempt = self.made[names] = msgspec.structs.replace(whole, plan=plan, key=key)
        return attempt

    def search(self) -> Search:
        """Return what is to blame among the changes, which have failed twice while the base has passed."""
        self.asked.add(self.items)
        if not self.items:
            return Search(is_cut_off=True)
        return find_culprits(self, self.items, suspects=len(self.suspects), runs=self.bench.left, jobs=self.bench.jobs)

    def __call__(self, parts: Sequence[Part]) -> list[bool | None]:
        """Test parts; one with the same lock as an earlier one is not tested unless it is asked for again."""
        try:
            attempts = {part: self.make_part(part) for part in parts}
        except (BuildError, PreflightError) as error:
            logger.warning("a part could not be resolved: %s", error)
            return [None] * len(parts)
        verdicts: dict[Part, bool | None] = {}
        for part, attempt in attempts.items():
            known = self.bench.results.get(self.bench.identify(attempt))
            if part not in self.asked and known is not None:
                verdicts[part] = known.passed
        unknown = [part for part in parts if part not in verdicts]
        if unknown:
            verdicts |= zip(unknown, self.bench.try_all([attempts[part] for part in unknown]), strict=True)
        self.asked.update(parts)
        return [verdicts[part] for part in parts]

    def explain(self, part: Sequence[str]) -> str:
        """Return why a part has failed, in words; that of the whole if it was not tested alone."""
        attempt = self.made.get(frozenset(part), self.whole)
        result = self.bench.results.get(self.bench.identify(attempt))
        return (result if result is not None and not result.passed else self.bench.failed.tests).reason


def _list_before(changes: Sequence[PackageChange], committed: Lock | None) -> dict[str, str]:
    """Return the version of each changed package without its change: the live one, or a newer one of the commit."""
    before = {}
    for change in changes:
        locked = sorted(committed.versions.get(change.name, ())) if committed else []
        is_newer = len(locked) == 1 and name_bump(change.old, locked[0]) != "other"
        before[change.name] = locked[0] if is_newer else str(change.old)
    return before


def _list_owners(venv: Path) -> dict[str, str]:
    """Return the package of each file in a venv, and of each module, by paths in site-packages."""
    owners: dict[str, str] = {}
    for record, files in read_records(venv).items():
        name = normalize_name(Path(record).parent.name.removesuffix(".dist-info").rpartition("-")[0])
        for path in map(shorten, files):
            owners[path] = name
            owners.setdefault(path.partition("/")[0].removesuffix(".py"), name)
    return owners


def find_blame(site: Site, run: SiteRun, decision: Build, options: UpdateOptions, failed: Trial) -> Findings:
    """Return what came of a candidate that failed its tests; `site` has the settings of the live code.

    The live release is asked first, then the candidate again, then packages without the commit and the commit without
    packages, and then parts of the packages. Raises ToolError and OSError.
    """
    live, releases = decision.prospect.live, run.store.releases
    was_killed = any(each.manifest.no_verdict == "killed" and each.age_key > live.age_key for each in releases)
    if failed.tests.is_killed and not was_killed:
        return Findings(no_verdict="killed")
    bench = _Bench(site, run, decision, failed, counts_kills=failed.tests.is_killed)
    changes = {change.name: describe_changes([change]) for change in failed.attempt.plan.changes or ()}
    suspects = tuple(changes[name] for name in bench.suspects if name in changes)
    if not has_its_python(site, live):  # which no test of the live release could start
        return Findings(blame=Blame(suspects=suspects))
    passes, again = bench.ask_live(again=not decision.prospect.python)  # packages are not to blame for another Python
    if passes and again:
        return _find_flaky(bench)
    findings = Findings(blame=Blame(suspects=suspects if passes else ()), was_failing=not passes)
    if not passes or again is None or failed.attempt.plan.changes is None:
        return findings
    if failed.attempt.target.moves_code:
        return _split_from_commit(bench, options, findings)
    return _search(bench, options, findings, _PartTrials(bench, failed.attempt))


def _find_flaky(bench: _Bench) -> Findings:
    return Findings(bench.passed, blame=Blame((_FLAKY,)), no_verdict="flaky")


def _split_from_commit(bench: _Bench, options: UpdateOptions, findings: Findings) -> Findings:
    """Try the packages without the commit, and the commit without the packages."""
    whole, target = bench.failed.attempt, bench.failed.attempt.target
    try:
        packages = decide_without_commit(bench.site, bench.run, options, bench.prospect)
        parts = _PartTrials(bench, whole)
        code = parts.make_part(())
    except (BuildError, PreflightError) as error:
        logger.warning("the commit could not be tried alone: %s", error)
        return findings
    attempts = [packages] if packages.plan.changes else []
    attempts += [code] if code.plan.lock.sha256 != whole.plan.lock.sha256 else []
    found = bench.try_all(attempts) if bench.left >= len(attempts) else [None]
    if None in found:
        return msgspec.structs.replace(findings, passed=bench.passed)
    verdicts = {attempt.target.commit: verdict for attempt, verdict in zip(attempts, found, strict=True)}
    packages_pass, code_passes = verdicts.get(target.head, True), verdicts.get(target.commit, False)
    commit = f"commit {target.commit[:12]}"
    if code_passes:
        return _search(bench, options, findings, parts, commit if packages_pass else "")
    if packages not in attempts and not bench.ask_live(again=False)[0]:
        return _find_flaky(bench)
    reason = (bench.results[bench.identify(code)] if code in attempts else bench.failed.tests).reason
    hold = CommitHold(commit=target.commit[:12], code_key=target.code_key, by="tests", reason=reason, since=now())
    blame = Blame((f"C{commit[1:]} is on hold: {reason}.",), (commit,), findings.blame.suspects)
    findings = Findings(bench.passed, (hold,), blame)
    return findings if packages_pass else _search(bench, options, findings, _PartTrials(bench, packages))


def _search(
    bench: _Bench, options: UpdateOptions, findings: Findings, parts: _PartTrials, commit: str = ""
) -> Findings:
    """Find what is to blame among packages; with a `commit`, they break the tests together with it."""
    found = parts.search()
    if found.is_flaky:
        return _find_flaky(bench)
    blame = findings.blame
    if found.is_cut_off and not found.culprits and bench.passed is None:
        return Findings(blame=Blame(suspects=blame.suspects))  # nor has the commit been proven
    holds, sentences, culprits = [*findings.holds], [*blame.sentences], [*blame.culprits]
    for culprit in found.culprits:
        change = parts.changes[culprit.item]
        partner = describe_changes([parts.changes[culprit.partner]]) if culprit.partner else commit
        words = f"together with {partner}, " if partner else ""
        reason = words + parts.explain([name for name in (culprit.partner, culprit.item) if name])
        holds += make_version_holds([change], reason, "tests")
        sentences.append(f"{describe_changes([change])} is on hold: {reason}.")
        culprits.append(f"{change.name} {change.new}")
    if found.is_cut_off:
        sentences.append("More may be wrong: the next update goes on.")
    findings = Findings(bench.passed, tuple(holds), Blame(tuple(sentences), tuple(culprits), blame.suspects))
    return _try_series(bench, options, findings, parts.whole) if found.culprits and bench.left > 0 else findings


def _try_series(bench: _Bench, options: UpdateOptions, findings: Findings, whole: Attempt) -> Findings:
    """Try, once, the newest versions of culprits that are in the series of the live ones: 5.2.9 if 6.0 fails."""
    site, run = whole.site, bench.run
    holds = [*list_holds(site), *findings.holds]
    names = {hold.name for hold in findings.holds if isinstance(hold, VersionHold)}
    directory = site.paths.shadow(f"{run.id}-lock")
    try:
        words = (site, run, options, bench.repository, whole.target, bench.prospect.live, holds, directory)
        attempt = make_attempt(*words)[0]
    except (BuildError, PreflightError) as error:
        logger.warning("no other versions were found: %s", error)
        return findings
    changes = [change for change in attempt.plan.changes or () if change.name in names]
    if changes and bench.try_all([attempt])[0] is False:
        reason = f"tried in the place of a newer one, {bench.results[bench.identify(attempt)].reason}"
        holds = [*findings.holds, *make_version_holds(changes, reason, "tests")]
        return msgspec.structs.replace(findings, holds=tuple(holds))
    return msgspec.structs.replace(findings, passed=bench.passed)
