"""What a run decides and says: the commit to go live, the lock to commit, the way back, the news, the sentences."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from releaser.candidate.identity import find_failed, make_key, may_try_again
from releaser.candidate.trial import Attempt
from releaser.checkout import publish
from releaser.checkout.pending import Pending
from releaser.checkout.products import IN_THE_WAY, choose_step, is_code
from releaser.checkout.repository import Repository, Upstream, hash_text
from releaser.checkout.target import Target, choose_target
from releaser.errors import PreflightError, Problem
from releaser.live.change import may_go_back
from releaser.packages.holds import Pause
from releaser.packages.resolve import Plan
from releaser.packages.rules import Skipped
from releaser.pipelines import checks
from releaser.releases.journal import Entry
from releaser.releases.release import Key, Manifest, PackageChange, Release, State
from releaser.releases.store import Store
from releaser.releases.venv import About
from releaser.report import decision as kinds
from releaser.report import mail
from releaser.report.outcomes import (
    Blame,
    News,
    Outcome,
    Payload,
    Result,
    add_blame,
    describe_outcome,
    explain_failure,
    make_prepared,
    make_preview,
)
from releaser.site.paths import Paths
from releaser.site.settings import GitSettings, Settings, TestSettings, VersionSettings, load_settings
from releaser.system.run import ROLLBACK, UPDATE, Command, Run
from tests.unit.samples import KEY, NOW, add_release, make_lock, make_site

#: Each commit with its parent: A to D are of the upstream, X is that rewritten, P is a person's, R to U are releaser's.
PARENTS = {"A": "", "B": "A", "C": "B", "D": "C", "X": "A", "P": "B", "R": "B", "S": "R", "T": "P", "U": "C"}


class SmallRepository(Repository):
    """A repository with the commits of PARENTS; those of releaser have the code of their parent."""

    def __init__(self, remote: str | None, others: str) -> None:
        self.remote, self.others = remote, others

    def upstream(self, branch: str) -> Upstream | None:
        return None if self.remote is None else Upstream("origin", f"refs/heads/{branch}")

    def upstream_head(self, branch: str) -> str:
        return self.remote or ""

    def resolve(self, name: str) -> str:
        return PARENTS[name[0]] if name.endswith("^") else name

    def follows_bundles(self, branch: str) -> bool:
        return False

    def is_ancestor(self, first: str, second: str) -> bool:
        return first in self._history(second)

    def commits_between(self, first: str, second: str) -> list[str]:
        return [commit for commit in self._history(second) if commit not in self._history(first)]

    def code_key(self, commit: str, *without: str) -> str:
        return self.code_key(PARENTS[commit]) if commit in "RSTU" else f"code of {commit}"

    def find_submodules(self, commit: str) -> list[str]:
        return []

    def read(self, *arguments: str, variables: Mapping[str, str] = {}) -> str:
        known = [word[1:] for word in arguments if word.startswith("^")] + [*self.others]
        return " ".join(commit for commit in self._history(arguments[1]) if not any(
            commit in self._history(other) for other in known))  # fmt: skip

    def _history(self, commit: str) -> str:
        return commit + self._history(PARENTS[commit]) if commit else ""


@pytest.mark.parametrize(
    ("head", "remote", "pending", "held", "commit", "reason", "facts"),
    [("B", "B", "", "", "B", "", "publishes"), ("B", "C", "", "", "C", "", "publishes"),
     ("P", "B", "", "", "P", "1 unpushed commit; the lock is not committed on top", "problem"),
     ("P", "C", "", "", "diverged", "have diverged: 1 commit only here", ""),
     ("P", "B", ":B", "", "P", "1 unpushed commit;", "problem"),
     ("C", "B", "", "", "C", "1 unpushed commit;", "problem"),
     ("C", "B", ":C", "", "C", "moved back or was rewritten", "problem rewritten"),
     ("C", "X", ":C", "", "C", "moved back or was rewritten", "problem rewritten"),
     ("U", "X", "U:C", "", "U", "moved back or was rewritten", "problem rewritten"),
     ("P", "X", ":B", "", "diverged", "have diverged: 2 commits", ""), ("R", "B", "R:B", "", "R", "", "publishes"),
     ("S", "B", "RS:B", "", "S", "", "publishes"), ("S", "R", "RS:R", "", "S", "", "publishes"),
     ("S", "C", "RS:B", "", "C", "", "publishes"), ("T", "B", "T:B", "", "T", "1 unpushed commit;", "problem"),
     ("T", "C", "T:B", "", "diverged", "have diverged: 1 commit", ""),
     ("B", "C", "", "C", "B", "Commit C of `origin/main` is on hold", ""),
     ("B", "U", "", "C", "B", "Commit U of `origin/main` is on hold", ""),
     ("C", "C", "", "C", "held-head", "HEAD of the checkout, C, is a commit on hold", ""),
     ("U", "C", "U:C", "C", "held-head", "HEAD of the checkout, U, is a commit on hold", ""),
     ("C", "D", "", "C", "D", "", "publishes"), ("C", "B", "!:C", "", "B", "", "publishes"),
     ("C", "X", "!:C", "", "X", "", "publishes"), ("S", "X", "!RS:B", "", "X", "", "publishes"),
     ("P", "C", "!:B", "", "unpushed-commits", "would be lost: P", ""),
     ("T", "C", "!T:B", "", "unpushed-commits", "would be lost: P", ""),
     ("B", "C", "!:B", "C", "B", "is on hold", ""), ("P", "", "", "", "P", "`origin/main` does not exist", "problem"),
     ("P", None, "", "", "P", "", "publishes"),
     # A rollback has gone back to a head that the remote lost by a rewrite that a person followed.
     ("C", "X", ":X:C", "", "X", "", "publishes"), ("B", "X", ":X:C", "", "X", "", "publishes"),
     ("C", "X", ":X:C", "X", "C", "is on hold", ""), ("C", "B", ":B:C", "", "B", "", "publishes"),
     ("C", "X", "!:X:C", "", "X", "", "publishes"), ("D", "X", ":X:C", "", "diverged", "have diverged", ""),
     ("C", "P", ":X:C", "", "C", "moved back or was rewritten", "problem rewritten"),
     ("D", "X", "!:X:C", "", "unpushed-commits", "would be lost: D", "")],
)  # fmt: skip
def test_law_15_16_the_commit_to_go_live(
    head: str, remote: str | None, pending: str, held: str, commit: str, reason: str, facts: str
) -> None:
    """`pending` are releaser's commits, the upstream's head as followed last, and one that it lost; `!` follows it."""
    own, seen, left = [*pending.removeprefix("!").split(":"), "", ""][:3]
    held_code, follow_remote = frozenset({f"code of {held}"} if held else ()), pending.startswith("!")
    repository, before = SmallRepository(remote, remote or ""), Pending(tuple(own), "", seen, tuple(left))
    if "-" in commit or commit == "diverged":
        with pytest.raises(PreflightError, match=reason) as refusal:
            choose_target(make_site(Settings()), repository, head, before, held_code, follow_remote=follow_remote)
        assert refusal.value.problems[0].name == commit
        return
    target = choose_target(make_site(Settings()), repository, head, before, held_code, follow_remote=follow_remote)
    words = {"publishes": target.publishes, "problem": target.problem is not None, "rewritten": target.is_rewritten}
    assert (target.commit, " ".join(word for word, is_so in words.items() if is_so)) == (commit, facts)
    assert (reason in target.reason, bool(reason)) == (True, bool(target.reason))
    assert (target.head, target.code_key) == (head, repository.code_key(commit))


@pytest.mark.parametrize(
    ("pending", "head", "expected"),
    [(":", "B", "B:"), ("B:", "C", "C:"), ("C:", "C", "C:"), ("C:", "X", "X:C"), ("X:C", "C", "C:CX"),
     ("C:BDPRS", "X", "X:DPRSC")],
)  # fmt: skip
def test_law_16_heads_that_the_remote_has_lost_stay_known(pending: str, head: str, expected: str) -> None:
    seen, _, left = pending.partition(":")
    changes = publish._follow_head(SmallRepository("", ""), Pending(remote_head=seen, left_heads=tuple(left)), head)
    assert f"{changes['remote_head']}:{''.join(cast(Any, changes['left_heads']))}" == expected


def test_without_a_pull_head_stays_and_what_another_remote_has_is_not_lost() -> None:
    site = make_site(Settings(git=GitSettings(git_pull=False)))
    assert choose_target(site, SmallRepository("C", ""), "B", Pending()).commit == "B"
    target = choose_target(make_site(Settings()), SmallRepository("C", "P"), "P", Pending(), follow_remote=True)
    assert target.commit == "C"


@pytest.mark.parametrize(
    ("committed", "lock", "is_news"),
    [("a 1.0, b 1.0", "b 1.0, a 1.0", ""),
     ("a 1.0@registry:one", "a 1.0@registry:other", ""),  # each host may have its own mirror
     ("a 1.0", "a 1.1", "yes"), ("a 1.1", "a 1.0", "if it may lower"),
     ("a 1.0, b 1.1", "a 1.1, b 1.0", "if it may lower"), ("a 1.0@git:1111111", "a 1.0@git:2222222", "yes"),
     ("a 1.0", "a 1.0@git:1111111", "yes"), ("a 1.0@url:one", "a 1.0@url:other", "yes"),
     ("a 1.0", "a 1.0, b 1.0", "yes"), ("a 1.0, b 1.0", "a 1.0", "yes"), ("a 1.0, a 2.0", "a 2.0", "yes"),
     ("a 1.0, a 2.0", "a 1.0", "if it may lower"), ("shop 2@virtual:.", "shop 1@virtual:.", "yes")],
)  # fmt: skip
def test_law_17_a_lock_is_news(committed: str, lock: str, is_news: str) -> None:
    for may_lower, answers in ((False, ["yes"]), (True, ["yes", "if it may lower"])):
        assert publish.is_news(make_lock(committed), make_lock(lock), may_lower=may_lower) == (is_news in answers)


def test_law_26_problems_of_a_release_that_is_ready_are_mailed_once() -> None:
    outcome = Outcome("ready", 0, "ready", news="once", problems=(Problem("not-pushed", "refused"),))
    is_mailed, news = mail.judge_news(mail.MailNews(), UPDATE, outcome)
    assert (is_mailed, mail.judge_news(news, UPDATE, outcome)[0]) == (True, False)


def test_law_17_another_commit_of_a_package_on_hold_is_no_news() -> None:
    committed, lock = make_lock("a 1.0@git:3f2a9c1, b 1.0"), make_lock("a 1.0@git:0000000, b 1.1")
    assert publish.is_news(committed, lock)
    assert not publish.is_news(committed, lock, frozenset({"a"}))
    assert publish.is_news(committed, lock, frozenset({"b"}))


def test_a_commit_of_a_lock_names_its_changes() -> None:
    changes = [PackageChange("a", None, "1 (3f2a9c1)", "added"), PackageChange("b", "1", None, "removed")]
    assert publish.describe_commit(changes, "Update") == "Update 2 packages\n\na none -> 1 (3f2a9c1)\nb 1 -> none\n"
    assert publish.describe_commit([], "Roll back") == "Update uv.lock\n"


def test_law_04_an_update_always_goes_back_and_a_rollback_to_what_was_healthy() -> None:
    pairs = [(is_way_back, was_healthy) for is_way_back in (False, True) for was_healthy in (True, False, None)]
    entries = [Entry("changing", "x", "now", is_way_back=back, was_healthy=healthy) for back, healthy in pairs]
    assert [*map(may_go_back, entries)] == [True, True, True, True, False, False]


def make_outcome(words: str) -> Outcome:
    news, code, message = words.split(" ", 2)
    problems = (Problem("x", message),) if message != "well" else ()
    result: Any = {"0": "no-changes", "6": "rolled-back"}.get(code, "failed")
    return Outcome(result, int(code), "headline", news=cast(News, news), problems=problems)


@pytest.mark.parametrize(
    ("before", "command", "outcome", "is_mailed"),
    [("", UPDATE, "new 0 well", True), ("new 5 broken", UPDATE, "new 5 broken", True),
     ("", UPDATE, "once 4 offline", True), ("once 4 offline", UPDATE, "once 4 offline", False),
     ("once 4 4 of 20 at 0d2a9c1d", UPDATE, "once 4 3 of 17 at 3f2a9c1d", False),
     ("once 4 other", UPDATE, "once 4 offline", True),
     ("once 4 offline; quiet 0 well", UPDATE, "once 4 offline", True),
     ("once 4 offline; heard 0 well", UPDATE, "once 4 offline", False),  # a person's command says nothing
     ("once 4 offline; nothing 0 well", UPDATE, "once 4 offline", False),
     ("quiet 5 broken", UPDATE, "once 5 broken", False), ("", UPDATE, "once 0 well", False),
     ("once 4 offline", UPDATE, "once 0 well", True), ("", UPDATE, "quiet 5 broken", False),
     ("", UPDATE, "heard 3 usage", False), ("once 4 offline", UPDATE, "nothing 0 well", False),
     ("", ROLLBACK, "once 4 offline", False), ("", ROLLBACK, "once 6 unhealthy", True),
     ("", Command("pin"), "new 6 unhealthy", False)],
)  # fmt: skip
def test_law_26_27_news_is_one_mail(before: str, command: Command, outcome: str, is_mailed: bool) -> None:
    news = mail.MailNews()
    for words in filter(None, before.split("; ")):
        news = mail.judge_news(news, UPDATE, make_outcome(words))[1]
    assert mail.judge_news(news, command, make_outcome(outcome))[0] == is_mailed


# Decisions and outcomes

CHANGES = (PackageChange("a", "1.0", "1.1", "minor"),)
PAUSE = Pause(by="person", reason="why")
LIVE = Release(Path("/r"), Manifest("20261120T000000Z", NOW, "built", KEY, "x", failure="1 failed"), State("good", 1))
READY = msgspec.structs.replace(LIVE, state=State("ready"))


def prospect(code: str = "code", changes: tuple[PackageChange, ...] = (), *skipped: str) -> kinds.Prospect:
    target = Target("head", "0123456789abcdef", code, publishes=True)
    plan = Plan(make_lock(""), "python", "3.11.7", changes, tuple(Skipped("b", x, "is on hold") for x in skipped))
    return kinds.Prospect(cast(Any, None), cast(Any, None), LIVE, Attempt(target, make_site(Settings()), plan, KEY))


@pytest.mark.parametrize(
    ("decision", "summary", "preview"),
    [(kinds.Refused((Problem("x", "It is broken."),)), "It is broken.", "It is broken."),
     (kinds.Paused(PAUSE), "Updates are paused without an end: why.", "Would change nothing: {}."),
     (kinds.Adopt("/v"), "Adopt `/v` as the first release, then update it.", "Would {}."),
     (kinds.Nothing(prospect()), "Everything is up to date.", "Everything is up to date."),
     (kinds.LockNews(prospect()), "Put back the committed uv.lock.", "Would {}."),
     (kinds.LockNews(prospect(), commits=True, pushes=True), "Commit uv.lock and push the commit of uv.lock.",
      "Would {}."),
     (kinds.LockNews(prospect(), moves=True), "Move the checkout to commit 0123456789ab.", "Would {}."),
     (kinds.StillFailing(prospect(), LIVE), f"Nothing newer than release {LIVE.id}, which failed: 1 failed.",
      "Would change nothing: {}, and is not tried again."),
     (kinds.Ready(prospect("new"), READY), f"commit 0123456789ab; {LIVE.id} is prepared, and not built again.",
      "Would prepare: {}."),
     (kinds.Ready(prospect("new"), LIVE), f"commit 0123456789ab; {LIVE.id} is live, and not built again.",
      "Would prepare: {}."),
     (kinds.Build(prospect("new", CHANGES)), "commit 0123456789ab; a 1.0 → 1.1.", "Would prepare: {}."),
     (kinds.Build(prospect(), ("x is gone",)), "the live release is damaged: x is gone.", "Would prepare: {}."),
     (kinds.Build(prospect()), "the same packages.", "Would prepare: {}."),
     (kinds.Build(msgspec.structs.replace(prospect(), python="it is another Python.")), "it is another Python.",
      "Would prepare: {}.")],
)  # fmt: skip
def test_law_20_a_decision_is_a_sentence(decision: kinds.Decision, summary: str, preview: str) -> None:
    outcome = make_preview(decision, "", does="prepare")
    assert kinds.summarize(decision) == summary
    assert outcome.headline == preview.format(f"{summary[0].lower()}{summary[1:-1]}")
    assert outcome.decision == decision.kind
    after = make_preview(decision, "`x`", does="update").headline
    assert ("first of all, `x`" in after) != isinstance(decision, kinds.Refused)


def test_law_20_a_quiet_night_names_what_holds_keep_back() -> None:
    sentence = "Everything is up to date, but for this: b 1 is on hold; b 2 is on hold; b 3 is on hold"
    assert kinds.explain_nothing(kinds.Nothing(prospect("", (), *"123"))) == f"{sentence}."
    assert kinds.explain_nothing(kinds.LockNews(prospect("", (), *"1234"))) == f"{sentence}; 1 more is skipped."


@pytest.mark.parametrize("payload", [Payload(CHANGES, ("c",)), Payload(CHANGES, ("c",), "r", "tests", "o"), Payload()])
def test_an_outcome_has_all_fields(payload: Payload) -> None:
    fields = describe_outcome(Outcome("failed", 5, "headline", payload=payload))
    words = "result exit_code headline news notes release previous commits steps problems changes new_commits"
    words += " removed_commits failed_gate failed_release output culprits suspects on_hold decision"
    assert " ".join(fields) == words
    assert (fields["changes"], fields["new_commits"]) == (payload.changes, payload.new_commits)
    failure = (payload.failed_gate, payload.failed_release, payload.output)
    assert (fields["failed_gate"], fields["failed_release"], fields["output"]) == failure


# Products


@pytest.mark.parametrize(
    ("old", "new", "disk", "step"),
    [("", "n", "", "place"), ("", "n", "n", "leave"), ("", "n", "site's", "refuse"), ("", "n", IN_THE_WAY, "refuse"),
     ("o", "", "", "leave"), ("o", "", "o", "delete"), ("o", "", "edited", "leave"), ("o", "", IN_THE_WAY, "leave"),
     ("o", "n", "", "place"), ("o", "n", "o", "place"), ("o", "n", "n", "leave"), ("o", "n", "edited", "refuse"),
     ("o", "o", "", "place"), ("o", "o", "o", "leave"), ("o", "o", "edited", "leave"), ("", "", "site's", "leave"),
     ("", "", "", "leave")],
)  # fmt: skip
def test_law_13_a_product_never_replaces_or_deletes_a_file_of_the_site(
    old: str, new: str, disk: str, step: str
) -> None:
    assert choose_step(old, new, disk) == step


@pytest.mark.parametrize(
    ("path", "is_it"),
    [("gen.py", True), ("a/fast.cpython-38-x86_64-linux-gnu.so", True), ("shop.egg-info/PKG-INFO", True),
     ("local.cfg", False), ("python", False), ("static/app.js", False)],
)  # fmt: skip
def test_code_is_what_python_imports_and_metadata(path: str, is_it: bool) -> None:
    assert is_code(Path(path)) == is_it


# Identity


def key_of(**settings: Any) -> Key:
    values, problems = load_settings({}, {}, settings)
    assert problems == []
    return make_key(make_site(values), Plan(make_lock(""), "python", "3.11.7"), "code")


SETTINGS: dict[str, Any] = {"test_command": "pytest", "test_timeout": "5m", "test_environment": {"A": "1"}}
SETTINGS |= {"shadow": "off", "shadow_copy": ["*.db"], "before_build": "make", "migrations": "ignore", "python": "3.12"}


@pytest.mark.parametrize("settings", [{}, SETTINGS], ids=["default", "all"])
def test_law_20_what_failed_stays_known_to_a_newer_version(settings: dict[str, Any]) -> None:
    values = load_settings({}, {}, settings)[0]
    names = "test_command test_timeout test_environment shadow shadow_copy"
    assert " ".join(TestSettings.__struct_fields__) == f"{names} tests_get_environment_file culprits test_jobs"
    tests = {name: getattr(values.tests, name) for name in names.split()}
    hashed = (tests, values.live.before_build, values.live.migrations, values.site.python)
    recipe = hash_text(msgspec.json.encode(hashed).decode())
    assert key_of(**settings) == Key("code", KEY.lock_sha256, "3.11.7", "", recipe)


def test_a_candidate_is_another_by_what_builds_and_tests_it() -> None:
    keys = [key_of(), *(key_of(**{name: value}) for name, value in SETTINGS.items()), key_of(extras=["fast"])]
    assert len(set(keys)) == len(SETTINGS) + 2
    assert key_of(smtp_host="mail", restart_file="x", keep=9) == key_of()


def test_law_22_a_failure_is_known_by_its_key_and_tried_again_if_a_person_may_have_helped(paths: Paths) -> None:
    _, failed, _ = add_release(paths), add_release(paths, failed_gate="tests"), add_release(paths)
    assert find_failed(store := Store(paths), KEY) == store.get(failed.id)
    assert find_failed(store, msgspec.structs.replace(KEY, code_key="other")) is None
    assert find_failed(store.without(failed.id), KEY) is None
    for changes, may in (
        ({}, False),
        ({"was_failing": True}, True),
        ({"no_verdict": "killed"}, True),
        ({"no_verdict": "flaky"}, True),
        ({"no_verdict": "unfinished"}, True),
        ({"no_verdict": "held"}, True),  # only `unhold` makes it a candidate again
        ({"failed_gate": "migrations"}, True),
    ):
        manifest = msgspec.structs.replace(failed.manifest, **changes)
        assert may_try_again(msgspec.structs.replace(failed, manifest=manifest)) == may


@pytest.mark.parametrize(
    ("gate", "reason", "command"),
    [("tests", "tests with bad 2.0", "unhold bad"), ("migrations", "migrations with b 1.1", "update --force")],
)
def test_law_22_the_subject_names_what_broke_the_tests_for_no_other_gate(gate: str, reason: str, command: str) -> None:
    payload = Payload((PackageChange("b", "1.0", "1.1", "minor"),), (), "r", gate, "", ("bad 2.0",), ("c 2",))
    outcome = Outcome("failed", 5, "headline", payload=payload)
    letter = mail.write_letter("site", "/srv/site", Run("r", UPDATE), outcome)
    assert letter.subject.startswith(f"Failed: site, {reason} ["), letter.subject
    (commands,) = (section.lines for section in letter.sections if section.title == "Commands")
    assert f"releaser {command} --project /srv/site" in commands


def test_law_22_a_prepared_release_names_what_it_is_without(paths: Paths) -> None:
    outcome = add_blame(make_prepared(add_release(paths), (), is_known=False), Blame((), ("bad 2.0",)))
    letter = mail.write_letter("site", "/srv/site", Run("r", UPDATE), outcome)
    assert letter.headline.endswith(" On hold by the tests: bad 2.0.")
    assert ", without bad 2.0 [" in letter.subject
    assert describe_outcome(outcome)["culprits"] == ("bad 2.0",)


def test_a_note_of_a_second_attempt_is_said_once() -> None:
    run = Run("r", UPDATE)
    for note in ("Python 3.11.2 was removed.", "Another one.", "Python 3.11.2 was removed."):
        run.note(note)
    assert run.notes == ["Python 3.11.2 was removed.", "Another one."]


MAJOR, FIX = PackageChange("b", "1.0", "2.0", "major"), PackageChange("d", "1", "1.1", "minor", ("CVE-1",))
ADDED, REMOVED = PackageChange("e", None, "1", "added"), PackageChange("f", "1", None, "removed")
#: The command, the result, the news, and the headline of the mail.
HEADLINES = [
    (UPDATE, "updated", Payload((ADDED, MAJOR)), "B 1.0 → 2.0 and 1 more are live."),
    (UPDATE, "updated", Payload((MAJOR, ADDED, FIX)), "1 security fix: d 1 → 1.1 and 2 more are live."),
    (UPDATE, "updated", Payload((ADDED,)), "e 1 (new) is live."),
    (UPDATE, "updated", Payload((), ("abc Widen the door",)), "“Widen the door” is live."),
    (UPDATE, "updated", Payload((MAJOR, ADDED), ("a b", "c d")), "B 1.0 → 2.0, 1 more and 2 new commits are live."),
    (UPDATE, "updated", Payload((), ("a b", "c d")), "2 new commits are live."),
    (UPDATE, "updated", Payload((REMOVED, ADDED)), "e 1 (new) and 1 more are live."),
    (UPDATE, "updated", Payload((REMOVED,)), "The removal of f 1 is live."),
    (UPDATE, "updated", Payload((REMOVED, REMOVED)), "The removal of f 1 and 1 more are live."),
    (UPDATE, "updated", Payload((MAJOR,), python="Python 3.13.1"), "B 1.0 → 2.0 and Python 3.13.1 are live."),
    (UPDATE, "updated", Payload((), python="Python 3.13.1"), "Python 3.13.1 is live."),
    (UPDATE, "updated-not-restarted", Payload((MAJOR,)), "B 1.0 → 2.0 is live, but the site was not restarted."),
    (ROLLBACK, "updated", Payload((MAJOR,)), "Rollback done: B 1.0 → 2.0 is live."),
    (UPDATE, "ready", Payload((MAJOR,)), "B 1.0 → 2.0 is ready to go live."),
    (UPDATE, "rolled-back", Payload((MAJOR,), ("a b",)), "B 1.0 → 2.0 and 1 new commit failed, and were rolled back."),
    (UPDATE, "failed", Payload((MAJOR,), failed_gate="tests"), "B 1.0 → 2.0 is not live: the tests failed."),
    (UPDATE, "failed", Payload((MAJOR,), failed_gate="tests", culprits=("b 2.0",)), "old"),
    (UPDATE, "refused", Payload(), "old"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "result", "payload", "headline"), HEADLINES)
def test_the_headline_of_a_mail(command: Command, result: Result, payload: Payload, headline: str) -> None:
    outcome = Outcome(result, 0, "old", payload=payload)
    for is_urgent in (False, True):
        outcome = msgspec.structs.replace(outcome, is_urgent=is_urgent)
        letter = mail.write_letter("site", "/s", Run("r", command), outcome, {"b": About("B", "")})
        assert letter.headline == ("old" if is_urgent else headline)
        assert "old" in (letter.headline, *letter.paragraphs) or outcome.is_updated


@pytest.mark.parametrize(
    ("versions", "names"),
    [({"upgrade": "security"}, []), ({"upgrade": "security", "audit": "off"}, ["no-audit"]),
     ({"upgrade_packages": {"a": "security"}, "audit": "off"}, ["no-audit"]), ({"audit": "off"}, [])],
)  # fmt: skip
def test_law_25_fixes_are_not_taken_where_no_service_may_be_asked(versions: dict[str, Any], names: list[str]) -> None:
    site = make_site(Settings(versions=VersionSettings(**versions)))
    assert [problem.name for problem in checks._find_contradictions(site)] == names


def test_law_22_what_is_to_blame_is_named_first_or_else_what_is_suspect(paths: Paths) -> None:
    failed = add_release(paths, failed_gate="tests")
    error = explain_failure(failed, "", "", Blame(suspects=("pyotp 2.10.0 → 2.12.1",)))
    assert f"Release {failed.id} (suspect by its traceback: pyotp 2.10.0 → 2.12.1; all: " in error.message
    assert error.advice.startswith("To go without it, run `releaser hold pyotp`.")
    error = explain_failure(failed, "", "", Blame(("a 1.0 → 1.1 is on hold: it broke.",), ("a 1.1",), ("b 1 → 2",)))
    assert error.message == "a 1.0 → 1.1 is on hold: it broke."
    blame = Blame(("It broke.",), ("a 1.1", "commit 0123456789ab"))
    assert "run `releaser unhold a 0123456789ab`" in explain_failure(failed, "", "", blame).advice
    for changes, words in (
        ({"no_verdict": "killed"}, "tries again. The same end"),
        ({"was_failing": True}, "Correct the"),
    ):
        other = msgspec.structs.replace(failed, manifest=msgspec.structs.replace(failed.manifest, **changes))
        assert words in explain_failure(other, "", "").advice
