"""What is pure, or file logic alone: retention, the store, the journal, settings, wrong usage."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from releaser.cli.commands import releaser
from releaser.cli.render import print_list
from releaser.errors import PreflightError, Problem
from releaser.packages.changes import name_bump
from releaser.packages.holds import VersionHold
from releaser.releases.journal import Entry, drop_entry, read_entry, write_entry
from releaser.releases.link import Link, flip, make_link_text, read_link
from releaser.releases.release import Manifest, PackageChange, Release, State, StateName
from releaser.releases.retention import choose_releases_to_delete
from releaser.releases.store import Store, begin_release, mark_good, sweep_releases, write_state
from releaser.report.letter import render_html
from releaser.report.listing import ReleaseRow
from releaser.report.mail import write_letter
from releaser.report.outcomes import Outcome, Payload
from releaser.site.paths import Paths
from releaser.site.project import guess_environment
from releaser.site.settings import KeepSettings, Seconds, load_settings
from releaser.system.run import UPDATE, Command, Run, Step
from tests.faults.mutations import MUTATIONS, Mutation
from tests.support.commands import HOUSE
from tests.unit.samples import KEY, NOW, SHOP, add_release


def make_release(number: int, state: StateName, order: int = 0, days: int = 90, *, pinned: bool = False) -> Release:
    """Return a release that was live `days` ago; the larger its number, the later it was begun."""
    name = f"202611{number:02}T000000Z"
    manifest = Manifest(name, NOW - timedelta(days=days), "built", KEY, "commit", failed_gate="tests" * (not order))
    lived = (NOW - timedelta(days=days),) if order else ()
    return Release(Path("/releases", name), manifest, State(state, order, lived, pinned))


@pytest.mark.parametrize(
    ("releases", "keep", "deleted"),
    [
        ([make_release(1, "good", 1), make_release(2, "good", 2), make_release(3, "good", 3)], 0, [1]),
        ([make_release(1, "good", 1), make_release(2, "good", 2), make_release(3, "good", 3)], 2, []),
        ([make_release(1, "good", 1, pinned=True), make_release(2, "good", 2), make_release(3, "good", 3)], 0, []),
        ([make_release(1, "good", 1, days=3), make_release(2, "good", 2), make_release(3, "good", 3)], 0, []),
        ([make_release(1, "good", 9), make_release(2, "good", 2), make_release(3, "good", 3)], 0, [2]),  # by the record
        ([make_release(1, "failed"), make_release(2, "failed"), make_release(3, "good", 3)], 0, [1]),
        ([make_release(1, "ready"), make_release(2, "rolled-back", 2), make_release(3, "good", 3)], 5, [2]),
        ([make_release(1, "rolled-back", 1, days=3), make_release(2, "ready"), make_release(3, "good", 3)], 0, []),
        ([make_release(1, "outdated", days=3), make_release(2, "failed"), make_release(3, "good", 3)], 5, [1]),
        ([make_release(1, "outdated", pinned=True), make_release(2, "outdated"), make_release(3, "good", 3)], 5, [2]),
    ],
)
def test_law_07_retention_follows_the_record(releases: Sequence[Release], keep: int, deleted: Sequence[int]) -> None:
    """The third release is live; the previous one is the good one that was live last before it."""
    store = Store(SHOP, Link("release", "", releases[2].id), releases)
    chosen = choose_releases_to_delete(store, KeepSettings(keep, Seconds(7 * 86400)), NOW)
    assert [int(release.id[6:8]) for release in chosen] == deleted


def test_the_store_knows_live_and_previous_by_link_and_record(paths: Paths) -> None:
    first, second, third = (add_release(paths) for _ in range(3))
    assert first.id < second.id < third.id  # begun in the same second
    for release, before in ((first, None), (second, first), (third, second)):
        flip(paths, release.id, before=make_link_text(paths, before.id) if before else None)
        mark_good(Store(paths), release, NOW)
    store = Store(paths)
    assert (store.live, store.previous) == (store.get(third.id), store.get(second.id))
    assert [store.name_state(release) for release in store.releases] == ["live", "previous", "good"]
    assert store.find("@1").id == second.id == store.find("previous").id
    with pytest.raises(PreflightError):
        flip(paths, first.id, before="elsewhere")
    assert read_link(paths).release == third.id


def test_sweeping_deletes_what_was_not_sealed_and_nothing_else(paths: Paths) -> None:
    sealed, unsealed = add_release(paths), begin_release(paths)
    (paths.releases / "mine").mkdir()
    write_state(sealed, state="good", order=1)
    sweep_releases(Store(paths), Run("now", Command("prune")))
    assert (unsealed.exists(), (paths.releases / "mine").exists()) == (False, True)
    assert [release.id for release in Store(paths).releases] == [sealed.id]


def test_law_09_a_journal_is_read_as_written_or_set_aside(paths: Paths) -> None:
    run, entry = Run("now", UPDATE), Entry("changing", "update", "now", "a", "b", head="h", commit="c")
    write_entry(paths, entry)
    assert read_entry(paths, run) == entry
    drop_entry(paths)
    assert read_entry(paths, run) is None
    paths.journal.write_text("{", encoding="utf-8")
    assert read_entry(paths, run) is None
    assert (paths.journal.exists(), paths.state.joinpath("journal.json.broken").exists()) == (False, True)


def test_settings_come_from_the_strongest_source_and_all_errors_at_once() -> None:
    table = {"keep": 1, "test_timeout": "2m", "restart": ["a", "b"]}
    dotenv = {"RELEASER_KEEP": "2", "RELEASER_GIT_PUSH": "off"}
    settings, problems = load_settings({"RELEASER_KEEP": "3"}, dotenv, table)
    assert (settings.keep.keep, settings.git.git_push, float(settings.tests.test_timeout)) == (3, False, 120.0)
    assert (settings.live.restart, problems) == (("a", "b"), [])
    assert load_settings({}, {"AUTO_UPDTR__UV_PATH": "/opt/uv"}, {})[0].site.uv == "/opt/uv"
    _, problems = load_settings({"RELEASER_KEEEP": "3"}, {"RELEASER_KEEP": "-1"}, {"upgrade": "al", "test_jobs": 0})
    text = str(problems)
    assert len(problems) == 4
    assert all(word in text for word in ("`RELEASER_KEEP`?", "'-1'", "`all`?", ".env", "pyproject.toml", "1 or more"))


@pytest.mark.parametrize("words", ["updat", "update --frce", "pin", "unhold", "run", "status words", "update --wait x"])
def test_wrong_usage_ends_with_2(words: str) -> None:
    assert CliRunner().invoke(releaser, words.split()).exit_code == 2


def test_the_list_cuts_changes_alone(capsys: pytest.CaptureFixture[str]) -> None:
    changes = (PackageChange("a-package-with-a-long-name", "1.0.0", "2.0.0", "major"),) * 3
    name = "20261120T000000Z"
    row = ReleaseRow(name, "rolled-back", False, False, NOW, "3.11.7", "", changes, 9, 4096, False, (), "", "")
    print_list([row])
    heading, line = capsys.readouterr().out.splitlines()
    assert (heading.split()[3], "rolled-back" in line, "4 KiB" in line, len(line)) == ("size", True, True, 80)


def test_the_environment_follows_from_the_host() -> None:
    assert [*map(guess_environment, ("dev1", "qa", "p7", "x"))] == ["staging", "staging", "production", "local"]


@pytest.mark.parametrize(
    ("old", "new", "bump"),
    [("1.0", "2.0", "major"), ("1.0", "1.1", "minor"), ("1.0", "1.0.1", "patch"), ("1.1", "1.0", "other"),
     (None, "1", "added"), ("1", None, "removed"), ("1!1", "2!1", "major"), ("old", "new", "other"),
     ("1.0", "1.0.post1", "patch"), ("1.0rc1", "1.0", "patch"), ("1.0 (3f2a9c1)", "1.1", "minor"),
     ("1.0 (3f2a9c1)", "2.0 (0000000)", "major"), ("1.0 (3f2a9c1)", "1.0 (0000000)", "other")],
)  # fmt: skip
def test_changes_have_a_size(old: str | None, new: str | None, bump: str) -> None:
    assert name_bump(old, new) == bump


def test_no_text_of_others_becomes_markup_of_a_mail() -> None:
    """Every text of a mail is hostile, once as markup and once as harmless words of the same length."""

    def tags(hostile: str) -> list[str]:
        problem, change = Problem("x", f"y{hostile}", hostile), PackageChange(hostile, hostile, hostile, "minor")
        hold = VersionHold(name=hostile, version=hostile, reason=hostile, by="person")
        facts: dict[str, Any] = {"commits": (hostile,), "problems": (problem,), "notes": (hostile,)}
        facts |= {"on_hold": (hold,), "steps": (Step(hostile, "done", 1, hostile),), "previous": hostile}
        htmls = []
        for payload in (Payload((change,), (hostile,)), Payload((change,), (hostile,), hostile, hostile, hostile)):
            outcome = Outcome("updated", 7, hostile, hostile, payload, **facts)
            run = Run("20261120T041500Z", Command(hostile))
            htmls.append(render_html(write_letter(hostile, f"/{hostile}", run, outcome)))
        html = "".join(htmls)
        assert not set(html) & set("\x1b\r\u202e\u2028"), "control characters"
        return re.findall(r"<[^>]*>", html)

    markup = "<b title=\"'\x1b\r\u202e\u2028>&lt;i>{{ 7 }}</style>"
    assert tags(markup) == tags("x" * len(markup))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.sentence)
def test_each_mutation_finds_its_step(mutation: Mutation) -> None:
    """The faults take the step out; a change of its line is seen here at once."""
    assert (HOUSE / "releaser" / mutation.file).read_text(encoding="utf-8").count(mutation.old) == 1
