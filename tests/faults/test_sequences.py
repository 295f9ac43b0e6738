"""Sequences that nobody thought of: random orders of what happens to a site, against a model of what must hold."""

import datetime
import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.e2e.interrupting import Point, interrupted
from tests.faults.clock import at_another_time
from tests.faults.invariants import Witness
from tests.faults.scenes import Scenes
from tests.faults.tally import Tallies, Tally
from tests.support.commands import Finished
from tests.support.sites import RED_TESTS, TESTS, SampleSite

KEPT = 5  # the default of `keep`
PRUNED = 1  # what `prune` is told to keep
KINDS = ("good", "test", "collectstatic")
BEFORE = (
    "releases.journal:Journal.write",
    "releases.journal:Journal.drop",
    "releases.store:ReleaseStore.complete",
    "releases.store:ReleaseStore.record",
    "releases.store:ReleaseStore.remove",
    "releases.store:delete_directory",
    "releases.release:replace_symlink",
    "system.files:sync_directory",
    "actions.checkout:place_files",
    "reporting.outbox:Outbox.put",
)
AFTER = (
    "releases.journal:Journal.write",
    "releases.store:ReleaseStore.begin",
    "releases.store:ReleaseStore.complete",
    "releases.release:replace_symlink",
    "core.change:Change.roll_back",
    "candidate.testing:run_trial",
    "tools.git:Git.commit_only",
    "reporting.outbox:Outbox.put",
)
PLACES = (*((place, "before") for place in BEFORE), *((place, "after") for place in AFTER))


class Sequence(RuleBasedStateMachine):
    """A site, and what must be true of it.

    `kinds` are the versions of alpha that are published, `bad` those that were backed out, `hurt` the releases that
    somebody has damaged, `red` tells that the site's own tests fail, `crashed` that a run was cut off.
    """

    make: Callable[[], SampleSite]
    points: Tally

    def __init__(self) -> None:
        super().__init__()
        self.site = type(self).make()
        self.kinds: dict[int, str] = {0: "good", 1: "good"}
        self.bad: set[int] = set()
        self.hurt: set[str] = set()
        self.tests = (self.site.path / TESTS).read_text(encoding="utf-8")
        self.red = False
        self.crashed = False
        self.seen = Witness.of(self.site)
        self.rows: list[dict[str, Any]] = self.site.json("list")
        self.version_before = 0

    def teardown(self) -> None:
        """Make room."""
        shutil.rmtree(self.site.outer.parent)

    # What the world does

    @rule(kind=st.sampled_from(KINDS))
    def publish(self, kind: str) -> None:
        version = max(self.kinds) + 1
        self.site.publish("alpha", f"1.{version}.0", broken=False if kind == "good" else kind)  # type: ignore[arg-type]
        self.kinds[version] = kind

    @rule()
    def break_or_mend_tests(self) -> None:
        self.red = not self.red
        self.site.push_from_elsewhere({TESTS: RED_TESTS if self.red else self.tests})

    @precondition(lambda self: not self.crashed)
    @rule(how=st.sampled_from(["edited", "file gone", "emptied", "link gone"]))
    def damage(self, how: str) -> None:
        live = self.site.link.resolve()
        module = next(live.glob("lib/*/site-packages/beta/__init__.py"), None)
        if how == "link gone":
            self.site.link.unlink(missing_ok=True)
            return
        if module is None:
            return
        self.hurt.add(live.parent.name)
        if how == "edited":
            module.write_text(module.read_text(encoding="utf-8") + "#\n", encoding="utf-8")
        elif how == "file gone":
            module.unlink()
        else:
            shutil.rmtree(live / "bin", ignore_errors=True)
        self.look()

    # What administrators and cron do

    @rule(days=st.sampled_from([0, 0, 0, -400, 4000]))
    def update(self, days: int) -> None:
        mails = len(self.site.outbox_mails())
        finished = at_another_time(self.site, datetime.timedelta(days=days), "update", "--json")
        self.after("update", finished)
        assert finished.returncode in (0, 5, 6), finished
        fresh = len(self.site.outbox_mails()) - mails
        assert fresh <= 2, [str(mail["Subject"]) for mail in self.site.outbox_mails()]

    @precondition(lambda self: not self.crashed)
    @rule()
    def settle(self) -> None:
        """Update until nothing is left to do: that must end, in silence, on the newest version that is any good."""
        for _ in range(5):  # a damaged release, a version that fails when live, and new commits take a run each
            finished = self.site.releaser("update")
            self.after("update", finished)
            if not finished.stdout and not finished.stderr:
                break
        else:
            pytest.fail(f"update does not come to rest: {finished}")
        newest = max(self.kinds)
        if self.kinds[newest] == "good" and newest not in self.bad and not self.red:
            assert self.live() == newest
        assert self.site.link.resolve().parent.name not in self.hurt or self.red

    @rule()
    def rollback(self) -> None:
        finished = self.site.releaser("rollback", "--json")
        assert finished.returncode in (0, 7, 9), finished  # 7: the remote has commits that this checkout lacks
        self.after("rollback", finished)

    @rule(on=st.booleans(), number=st.integers(0, 3))
    def pin(self, on: bool, number: int) -> None:
        rows = self.site.json("list")
        name = rows[number % len(rows)]["id"]
        finished = self.site.releaser("pin" if on else "unpin", name)
        assert finished.returncode in (0, 9), finished
        self.after("pin", finished)
        if finished.returncode == 0:
            (row,) = (row for row in self.site.json("list") if row["id"] == name)
            assert row["pinned"] == on

    @rule()
    def prune(self) -> None:
        env = {"RELEASER_KEEP": str(PRUNED), "RELEASER_KEEP_WITHIN": "0d"}
        self.after("prune", self.site.releaser("prune", env=env))

    @rule(
        place=st.sampled_from(PLACES),
        number=st.integers(1, 4),
        command=st.sampled_from(["update", "update", "rollback", "prune"]),
    )
    def kill(self, place: tuple[str, Any], number: int, command: str) -> None:
        self.look()
        interrupted(self.site, command, at=Point(place=f"releaser.{place[0]}", when=place[1], number=number))
        self.crashed = True
        broken = [one for one in self.seen.at_once() if not self.excused(one)]
        self.points.add(command, str(place), broken)
        assert broken == []

    # What must hold

    def live(self) -> int:
        return int(self.site.live_version("alpha").split(".")[1])

    def excused(self, sentence: str) -> bool:
        """Whether something does not hold because of damage that was made here, and that is not healed yet."""
        live_is_hurt = self.site.link.resolve().parent.name in self.hurt
        return any(name in sentence for name in self.hurt) or (live_is_hurt and sentence.startswith("I1"))

    def look(self) -> None:
        """Look at the site before something happens."""
        seen = Witness.of(self.site) if self.site.link.exists() and not self.unlisted() else self.seen
        good = {name: digest for name, digest in seen.good.items() if name not in self.hurt}
        self.rows = self.site.json("list")
        self.seen = replace(seen, good=good, beside=frozenset(os.listdir(self.site.outer)))

    def may_go(self, command: str) -> set[str]:
        """Name the releases that the policy does not keep, once what is live now may have become an earlier one."""
        keep = PRUNED if command == "prune" else KEPT
        there = [row for row in self.rows if row["state"] in ("live", "previous", "good")]
        if command in ("prune", "pin") and not self.crashed:
            there = [row for row in there if not row["live"]]
        return {row["id"] for row in there[keep:] if not row["pinned"] and not row["live"]}

    def unlisted(self) -> bool:
        return any(not Path(row["path"]).exists() for row in self.site.json("list"))

    def after(self, command: str, finished: Finished) -> None:
        """See that all holds after a command, and learn from it."""
        seen = replace(self.seen, may_go=self.may_go(command))
        broken = [one for one in seen.after_command() if not self.excused(one)]
        self.points.add(command, "-", broken)
        assert broken == [], f"{broken}\n{finished}"
        assert finished.returncode != 1, finished
        self.crashed = False
        now = self.live()
        self.learn(now)
        self.look()

    def learn(self, now: int) -> None:
        """Compare with the model, and bring it up to date."""
        assert self.kinds[now] == "good", f"1.{now} is live, and {self.kinds[now]} fails with it"
        if now < self.version_before and not self.hurt:
            self.bad.add(self.version_before)
        if now > self.version_before:
            assert now not in self.bad, f"1.{now} was backed out, and came back"
        self.bad.discard(now)
        self.version_before = now


def test_any_order_of_events_leaves_a_site_that_works(
    scenes: Scenes, tmp_path: Path, tally: Tallies, all_points: bool
) -> None:
    points, numbers = tally("sequences"), itertools.count()

    def copy() -> SampleSite:
        return scenes.copy("update", tmp_path / str(next(numbers)))

    machine = type("Machine", (Sequence,), {"make": staticmethod(copy), "points": points})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30 if all_points else 2,
            stateful_step_count=25 if all_points else 12,
            derandomize=True,
            database=None,
            deadline=None,
            print_blob=False,
            verbosity=Verbosity.normal,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
    points.check()
