"""The outcome of a run, as every command that changes a site prints, mails and records it; and how each is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from releaser.errors import GateError, Interrupted, PreflightError, Problem, ReleaserError
from releaser.live.change import ChangeResult
from releaser.packages.audit import Audit, mark_fixes
from releaser.packages.changes import describe_changes, describe_news
from releaser.packages.holds import Hold, describe_hold, list_holds
from releaser.releases.release import PackageChange, Release
from releaser.releases.store import Store
from releaser.report.decision import (
    Adopt,
    Build,
    Decision,
    First,
    LockNews,
    Nothing,
    Paused,
    Ready,
    Refused,
    StillFailing,
    describe_decision,
    explain_nothing,
    summarize,
)
from releaser.site.site import Site
from releaser.system.run import Run, Step
from releaser.system.text import LONGEST_SENTENCE, clip, clip_end, end_sentence, escape, join_few, redact

Result = Literal["no-changes", "updated", "updated-not-restarted", "ready", "done", "refused", "failed", "rolled-back"]
#: `new` is mailed in any case, `once` unless the same was mailed last; of `heard` the person at the terminal knows;
#: `quiet` says nothing without a terminal; `nothing` is not even recorded.
News = Literal["new", "once", "heard", "quiet", "nothing"]


class Blame(msgspec.Struct, frozen=True):
    """The culprits of a candidate that failed its tests, in sentences, and by name.

    The packages of `suspects` are in the traceback of the failure.
    """

    sentences: tuple[str, ...] = ()
    culprits: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()


NO_BLAME = Blame()
#: What programs get of an outcome.
_FIELDS = (
    *("result", "exit_code", "headline", "news", "notes", "release", "previous", "commits", "steps", "problems"),
    *("changes", "new_commits", "removed_commits", "failed_gate", "failed_release", "output", "culprits", "suspects"),
    *("on_hold", "decision"),
)


class Payload(msgspec.Struct, frozen=True):
    """The news of a release, or of a candidate that failed: packages, and commits of people as `hash subject`.

    Of a failure also the release and the gate that it failed, if one was built, and the end of its output.
    """

    changes: tuple[PackageChange, ...] = ()
    new_commits: tuple[str, ...] = ()
    failed_release: str = ""
    failed_gate: str = ""
    output: str = ""
    #: What breaks the tests, and so is on hold; and the changes of packages through which a traceback passes.
    culprits: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    #: The Python of the release; empty if the earlier one had the same.
    python: str = ""
    #: The commits that a person's rollback took back.
    removed_commits: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended. `headline` is for people, `news` says who must hear of it.

    `release` is the live one at the end, `previous` the one before it.
    """

    result: Result
    exit_code: int
    headline: str
    release: str | None = None
    payload: Payload = Payload()
    news: News = "once"
    commits: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    decision: str = ""
    previous: str | None = None
    on_hold: tuple[Hold, ...] = ()
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    #: True if the run made a release live, whatever came of it.
    has_flipped: bool = False
    #: True if the headline says what is wrong at the site now, which no other news may hide.
    is_urgent: bool = False

    @property
    def is_updated(self) -> bool:
        """True if another release is live."""
        return self.result in ("updated", "updated-not-restarted")

    @property
    def is_change(self) -> bool:
        """True if another release is live, or was for a moment."""
        return self.is_updated or self.result == "rolled-back"

    @property
    def is_signalled(self) -> bool:
        """True if a signal ended the run."""
        return self.exit_code > 128

    @property
    def is_failure_on_unchanged_site(self) -> bool:
        """True if the run failed, and the live release is the same as before."""
        is_other = self.exit_code in (1, 2) or self.is_signalled or self.has_flipped
        return self.result in ("refused", "failed") and not is_other


def describe_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome for programs."""
    fields = msgspec.structs.asdict(outcome) | msgspec.structs.asdict(outcome.payload)
    fields["on_hold"] = list(map(describe_hold, outcome.on_hold))
    return {name: fields[name] for name in _FIELDS}


def make_done(headline: str, release: str | None = None) -> Outcome:
    """Return the outcome of a command that did what was asked, and left the live release alone."""
    return Outcome("done", 0, headline, release, news="heard")


def make_unchanged(headline: str, release: str | None = None) -> Outcome:
    """Return the outcome of a command that had nothing to do."""
    return Outcome("no-changes", 0, headline, release, news="heard")


def make_error(error: ReleaserError) -> Outcome:
    """Return the outcome for an error."""
    results: dict[int, Result] = {4: "failed", 5: "failed", 6: "rolled-back"}
    result, payload = results.get(error.exit_code, "refused"), Payload(output=clip_end(error.output, 20, 2000))
    news: News = "once" if error.is_news else "heard"
    return Outcome(result, error.exit_code, error.message, payload=payload, news=news, problems=error.problems)


def make_interrupted(error: Interrupted, command: str, changes: tuple[PackageChange, ...] | None, end: str) -> Outcome:
    """Return the outcome of a run that a signal ended; `changes` are those of the release that it had made live."""
    headline, is_live = f"`releaser {command}` was {error}. {end}", changes is not None
    news: News = "new" if is_live else "once"
    payload = Payload(changes or ())
    return Outcome("updated" if is_live else "refused", error.exit_code, headline, payload=payload, news=news)


def complete(outcome: Outcome, run: Run) -> Outcome:
    """Add what the run has recorded; problems of a run that went well make it exit 7, and news.

    A release that is ready is what was asked for, and ends with 0 in any case.
    """
    has_problems, has_remarks = bool(run.problems), bool(run.problems or run.notes)
    code = 7 if outcome.exit_code == 0 and has_problems and outcome.result != "ready" else outcome.exit_code
    news = outcome.news
    if news in ("quiet", "nothing") and has_remarks:
        is_trouble = any(problem.message not in run.told for problem in run.problems)
        is_new = any(note not in run.told for note in run.notes)
        news = "once" if is_trouble else "new" if is_new else "heard"
    payload = msgspec.structs.replace(
        outcome.payload,
        new_commits=tuple(map(_tidy, outcome.payload.new_commits)),
        removed_commits=tuple(map(_tidy, outcome.payload.removed_commits)),
        output=redact(outcome.payload.output),
    )
    problems = tuple(
        msgspec.structs.replace(problem, message=_tidy_sentence(problem.message), advice=_tidy(problem.advice))
        for problem in (*outcome.problems, *run.problems)
    )
    return msgspec.structs.replace(
        outcome,
        headline=_tidy_sentence(outcome.headline),
        payload=payload,
        exit_code=code,
        news=news,
        problems=problems,
        steps=tuple(run.steps),
        notes=tuple(map(_tidy_sentence, run.notes)),
    )


def _tidy(text: str) -> str:
    return clip(escape(redact(text)), LONGEST_SENTENCE)


def _tidy_sentence(text: str) -> str:
    return end_sentence(_tidy(text))


def locate(outcome: Outcome, site: Site, store: Store, *, has_flipped: bool) -> Outcome:
    """Add what is live and on hold."""
    return msgspec.structs.replace(
        outcome,
        release=outcome.release or store.link.release,
        previous=outcome.previous or (store.previous.id if store.previous else None),
        on_hold=list_holds(site),
        has_flipped=has_flipped,
    )


# Of an update


def name_new_python(before: Release | None, release: Release) -> str:
    """Return the Python of a release, such as `Python 3.13.1`; empty if the one before has the same."""
    python = release.manifest.key.python
    return "" if before is None or before.manifest.key.python == python else f"Python {python}"


def make_quiet(
    decision: Paused | Nothing | LockNews | StillFailing, commit: str = "", *, is_known: bool = True
) -> Outcome:
    """Return the outcome of a night in which nothing goes live; `is_known` says that people have heard of a failure."""
    match decision:
        case Paused(pause=pause):
            headline = f"{pause.sentence} `releaser resume` ends the pause."
            return Outcome("no-changes", 0, headline, news="nothing", decision=decision.kind)
        case StillFailing(failed=failed):
            reason = f"{failed.id}, which failed its tests: {failed.manifest.failure}"
            advice = "`releaser update --force` tries again, `releaser hold NAME` goes without."
            advice = f"See {failed.tests_log}. {advice}"
            error = GateError(f"Nothing newer than release {reason}.", advice)
            outcome = make_error(error)
            payload, news = Payload(failed_release=failed.id), "quiet" if is_known else "once"
            return msgspec.structs.replace(outcome, payload=payload, decision=decision.kind, news=news)
    commits = (commit,) if commit else ()
    return Outcome("no-changes", 0, explain_nothing(decision), news="quiet", commits=commits, decision=decision.kind)


def make_prepared(release: Release, new_commits: Sequence[str], *, is_known: bool) -> Outcome:
    """Return the outcome of `update --prepare`: quiet if people have heard of this release."""
    changes = release.manifest.changes
    headline = f"Release {release.id} is ready: {describe_news(changes, new_commits)}."
    headline += " The live release is unchanged; `releaser update` makes this one live."
    news: News = "quiet" if is_known else "new"
    return Outcome("ready", 0, headline, release.id, Payload(changes, tuple(new_commits)), news)


def make_failed(
    error: GateError,
    release: Release,
    new_commits: Sequence[str],
    gate: str = "",
    blame: Blame = NO_BLAME,
    *,
    is_known: bool,
) -> Outcome:
    """Return the outcome for a candidate that failed a gate; quiet if people know of it."""
    manifest = release.manifest
    output = clip_end(error.output, 20, 2000)
    gate, culprits = manifest.failed_gate or gate, blame.culprits
    payload = Payload(manifest.changes, tuple(new_commits), release.id, gate, output, culprits, blame.suspects)
    is_to_blame = manifest.failed_gate == "tests" and not manifest.was_failing
    news: News = "quiet" if is_known else "new" if is_to_blame else "once"
    return Outcome("failed", 5, error.message, payload=payload, news=news, problems=error.problems)


def explain_failure(
    release: Release, output: str, advice: str, blame: Blame = NO_BLAME, before: Release | None = None
) -> GateError:
    """Return the error for a candidate that failed, with true blame; `before` is the live release.

    What is to blame is named first, or else what is suspect. `advice` is that of the shadow, if it has one.
    """
    manifest = release.manifest
    if manifest.failed_gate == "migrations":
        message = f"Release {release.id} passed its tests, but {manifest.failure}."
        return GateError(message, advice)
    end = " ".join(["", *blame.sentences])
    remedy = f"See {release.tests_log}. The next commit or version is tried; `releaser update --force` tries again."
    if manifest.was_failing:
        end = " The live release fails its tests, too: the site was already failing."
        remedy = f"Correct the site or its tests; see {release.tests_log}."
    elif manifest.no_verdict:
        remedy = f"See {release.tests_log}. The next update tries again."
        remedy += " The same end twice is a verdict." if manifest.no_verdict == "killed" else ""
    elif blame.suspects and not blame.culprits:
        name = blame.suspects[0].partition(" ")[0]
        remedy = f"To go without it, run `releaser hold {name}`. {remedy}"
    changes = " on ".join(filter(None, [describe_changes(manifest.changes), name_new_python(before, release)]))
    changes = changes or "new code"
    if blame.suspects:
        changes = f"suspect by its traceback: {join_few(blame.suspects, 3)}; all: {changes}"
    message = f"Release {release.id} ({changes}) failed its tests: {manifest.failure}.{end}"
    if blame.culprits:
        message = " ".join(blame.sentences)
        remedy = f"See {release.tests_log}. The next commit or version is tried."
        remedy += f" Once the site is corrected, run `releaser unhold {name_culprits(blame.culprits)}`."
    return GateError(message, advice or remedy, output=clip_end(output))


def name_culprits(culprits: Sequence[str]) -> str:
    """Return the words by which `unhold` frees culprits."""
    return " ".join(culprit.removeprefix("commit ").partition(" ")[0] for culprit in culprits)


def make_rolled_back(release: Release, result: ChangeResult, new_commits: Sequence[str] = ()) -> Outcome:
    """Return the outcome of an automatic rollback."""
    entry = result.entry
    name = f"Release {release.id}" if release.id != entry.earlier else f"Commit {entry.commit[:12]}"
    reason = f"{result.reason.rstrip('.')}."
    headline = f"{name} failed and was rolled back: {reason} {entry.earlier} is live."
    if entry.was_healthy is False:
        headline += " The site was already failing its health check."
    if result.may_be_down and result.problem is not None:  # which is more urgent
        headline = f"The site may not answer. {result.problem.advice} {headline}"
    problem = Problem("rolled-back", result.reason, result.advice or "Run `releaser status`.")
    payload, is_urgent = Payload(release.manifest.changes, tuple(new_commits), release.id), result.may_be_down
    return Outcome("rolled-back", 6, headline, entry.earlier, payload, "new", problems=(problem,), is_urgent=is_urgent)


def make_failed_rollback(release: Release, result: ChangeResult) -> Outcome:
    """Return the outcome of a person's rollback that failed, so that the release that it left is live again."""
    headline = f"The rollback to {release.id} failed: {result.reason} {result.entry.earlier} is live again."
    problem = Problem("rolled-back", result.reason, result.advice or "Run `releaser status`.")
    return Outcome("rolled-back", 6, headline, result.entry.earlier, news="new", problems=(problem,))


def make_updated(
    release: Release,
    result: ChangeResult,
    commit: str,
    changes: tuple[PackageChange, ...] | None = None,
    new_commits: Sequence[str] = (),
    before: Release | None = None,
) -> Outcome:
    """Return the outcome of a release that is live after another one.

    `changes` are those of its manifest unless they are given; a way back took `new_commits` back.
    """
    new_commits, removed = ((), new_commits) if result.entry.is_way_back else (new_commits, ())
    changes = release.manifest.changes if changes is None else changes
    python = name_new_python(before, release)
    words = " on ".join(filter(None, [describe_news(changes, new_commits), python]))
    headline = f"Release {release.id} is live: {words}."
    headline = result.problem.message if result.has_failed and result.problem else headline
    commits = (commit,) if commit else ()
    word: Result = "updated" if result.is_restarted else "updated-not-restarted"
    payload = Payload(changes, tuple(new_commits), python=python, removed_commits=tuple(removed))
    return Outcome(word, 0, headline, release.id, payload, "new", commits, is_urgent=result.has_failed)


def add_blame(outcome: Outcome, blame: Blame) -> Outcome:
    """Return the outcome of a release that has passed its tests, with the culprits that it is without."""
    words = f" On hold by the tests: {join_few(blame.culprits)}." if blame.culprits else ""
    payload = msgspec.structs.replace(outcome.payload, culprits=blame.culprits, suspects=blame.suspects)
    return msgspec.structs.replace(outcome, headline=outcome.headline + words, payload=payload)


def mark_fixes_of(outcome: Outcome, audit: Audit) -> Outcome:
    """Return an outcome whose changes have the vulnerabilities that they fix, by an audit of the release before."""
    changes = mark_fixes(outcome.payload.changes, audit)
    return msgspec.structs.replace(outcome, payload=msgspec.structs.replace(outcome.payload, changes=changes))


def make_refused(decision: Refused) -> Outcome:
    """Return the outcome of an update that is refused."""
    return msgspec.structs.replace(make_error(PreflightError(*decision.problems)), decision=decision.kind)


def make_preview(decision: Decision, recovery: str, *, does: str) -> Outcome:
    """Return what a dry run prints; `recovery` says what recovery does first.

    `does` is the verb for what takes a release live, or prepares it.
    """
    if isinstance(decision, Refused):
        return make_refused(decision)
    prospect = None if isinstance(decision, Paused | Adopt | First) else decision.prospect
    changes = prospect.changes if isinstance(decision, Ready | Build) and prospect else ()
    words = [f"first of all, {recovery}"] if recovery else []
    match decision:
        case Ready() | Build():
            verb = does
            words.append(describe_decision(decision))
        case Adopt() | First() | LockNews():
            verb = describe_decision(decision)
        case Nothing():
            verb = "only recover"
        case Paused() | StillFailing():
            verb, reason = "change nothing", summarize(decision).rstrip(".")
            end = ", and is not tried again" if isinstance(decision, StillFailing) else ""
            words.append(f"{reason[0].lower()}{reason[1:]}{end}")
    is_idle = isinstance(decision, Nothing) and not recovery
    sentence = summarize(decision) if is_idle else f"Would {verb}{': ' if words else ''}{'; '.join(words)}."
    return Outcome(
        "no-changes",
        0,
        sentence,
        prospect.live.id if prospect else None,
        Payload(changes),
        "heard",
        problems=prospect.problems if prospect else (),
        decision=decision.kind,
        notes=prospect.notes if prospect and isinstance(decision, Ready | Build) else (),
    )
