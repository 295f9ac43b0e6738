"""Locks with a part of the upgrades, made by a resolver that knows a table of packages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from releaser.candidate.partial_locks import PartialLocks
from releaser.errors import ResolutionError, ToolError
from releaser.locks.bisect import SearchResult
from releaser.locks.changes import changes_between
from releaser.locks.lock import LockFile
from releaser.tools.uv import Locked, NoSolution

# For each version of a package the least versions of others that it needs.
Index = dict[str, dict[str, dict[str, str]]]


def lock_text(versions: Mapping[str, str], index: Index) -> bytes:
    packages = [
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "index" }}\ndependencies = ['
        + ", ".join(f'{{ name = "{needed}" }}' for needed in index[name][version])
        + "]\n"
        for name, version in sorted(versions.items())
    ]
    return "\n".join(["version = 1\n", *packages]).encode()


@dataclass
class FakeUv:
    """Locks what `index` has: what is committed, except for the pins and for what these need."""

    index: Index
    committed: dict[str, str]
    unreachable: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)

    def lock(self, tree: Path, words: Sequence[str], *, python: Path) -> Locked | NoSolution:
        del python
        pins = dict(word.split("==") for word in words if "==" in word)
        self.asked.append(pins)
        if self.unreachable:
            message = "the index does not answer"
            raise ToolError(message, returncode=2)
        versions = self.committed | pins
        waiting = sorted(versions)
        while waiting:
            name = waiting.pop()
            for needed, least in self.index[name][versions[name]].items():
                if versions.get(needed, "") < least:
                    if needed in pins:
                        return NoSolution(output="no solution")
                    versions[needed] = max(self.index[needed])
                    waiting.append(needed)
        (tree / "uv.lock").write_bytes(lock_text(versions, self.index))
        return Locked(output="")


def make_locks(tree: Path, index: Index, **options: Any) -> PartialLocks:
    """Make locks between the oldest versions of packages, and the newest."""
    committed = {name: min(versions) for name, versions in index.items() if name != "extra"}
    return PartialLocks(
        uv=FakeUv(index=index, committed=committed, unreachable=options.pop("unreachable", False)),  # type: ignore[arg-type]
        python=tree / "python",
        tree=tree,
        committed=LockFile.parse(lock_text(committed, index)),
        full=LockFile.parse(lock_text({name: max(versions) for name, versions in index.items()}, index)),
        **options,
    )


PLAIN: Index = {name: {"1.0": {}, "1.1": {}} for name in "abc"}
A_NEEDS_B: Index = {**PLAIN, "a": {"1.0": {}, "1.1": {"b": "1.1"}}}
A_NEEDS_EXTRA: Index = {**PLAIN, "a": {"1.0": {}, "1.1": {"extra": "1.0"}}, "extra": {"1.0": {}}}


def test_each_upgrade_comes_in_its_full_version_and_the_others_stay(tmp_path: Path) -> None:
    locks = make_locks(tmp_path, PLAIN)
    assert locks.upgrades() == ("a", "b", "c")
    assert make_locks(tmp_path, PLAIN, live={"b": "1.1"}).upgrades() == ("a", "c")  # b leads back to what is live
    assert locks.with_upgrades(("a", "c"), without=()).versions == {"a": "1.1", "b": "1.0", "c": "1.1"}
    assert locks.with_upgrades((), without=()).versions == locks.base.versions == dict.fromkeys("abc", "1.0")


def test_what_others_need_stands_before_these_also_if_they_need_each_other(tmp_path: Path) -> None:
    assert make_locks(tmp_path, A_NEEDS_B).upgrades() == ("b", "c", "a")
    index = {**A_NEEDS_B, "b": {"1.0": {}, "1.1": {"a": "1.1"}}}
    assert make_locks(tmp_path, index).upgrades() == ("c", "a", "b")


def test_what_an_upgrade_needs_comes_with_it_unless_it_is_left_out(tmp_path: Path) -> None:
    locks = make_locks(tmp_path, A_NEEDS_B)
    assert locks.with_upgrades(("a",), without=()).versions == {"a": "1.1", "b": "1.1", "c": "1.0"}
    assert locks.with_upgrades(("a", "c"), without=("b",)).versions == {"a": "1.0", "b": "1.0", "c": "1.1"}


def test_no_lock_is_made_twice(tmp_path: Path) -> None:
    locks = make_locks(tmp_path, PLAIN)
    for _ in range(2):
        locks.with_upgrades(("a", "c"), without=())
        locks.with_upgrades(("c", "a"), without=())
    asked = locks.uv.asked  # type: ignore[attr-defined]
    assert asked == [{"a": "1.1", "c": "1.1"}, {}]  # the base is only made to compare with


@pytest.mark.parametrize(("items", "culprits"), [("bac", "b"), ("bac", "a")])
def test_what_comes_only_together_with_a_culprit_is_named_with_it(tmp_path: Path, items: str, culprits: str) -> None:
    result = SearchResult(kind="found", items=tuple(items), culprits=tuple(culprits))
    together = make_locks(tmp_path, A_NEEDS_B).find_together(result)
    assert together == ({"b": ("a 1.1",)} if culprits == "b" else {})


def test_what_nobody_asked_for_is_said_to_come_with_what_needs_it(tmp_path: Path) -> None:
    locks = make_locks(tmp_path, A_NEEDS_EXTRA)
    diff = changes_between(locks.base.versions, locks.with_upgrades(("a",), without=()).versions)
    assert {one.name: one.dragged_by for one in locks.record_dependents(diff, ("a",))} == {"a": (), "extra": ("a",)}


def test_what_failed_before_does_not_come_in_by_a_lock_that_somebody_commits(tmp_path: Path) -> None:
    locks = make_locks(tmp_path, PLAIN, bad={"b": frozenset({"1.0"})})
    assert locks.base.versions == {"a": "1.0", "b": "1.1", "c": "1.0"}
    assert locks.upgrades() == ("a", "c")


def test_an_index_that_does_not_answer_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(ResolutionError, match="could not be locked"):
        make_locks(tmp_path, PLAIN, unreachable=True).upgrades()
