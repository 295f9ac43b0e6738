"""The search for the upgrades that break the tests: it tests parts of the upgrades, and puts the culprits on hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from releaser.candidate.build import Unbuildable, describe_changes_of, try_to_build
from releaser.candidate.culprit_settings import CulpritSettings
from releaser.candidate.partial_locks import TrialInstall, find_all_needs
from releaser.candidate.results import Fault, make_commit_block, put_on_hold
from releaser.candidate.testing import block_candidate_of, first_failure
from releaser.checkout.leftovers import renew_tree
from releaser.errors import BuildError, Finding, ReleaserError, ResolutionError
from releaser.locks.bisect import (
    SearchResult,
    find_culprits,
    find_culprits_and_needed,
    find_needed,
    find_pairs,
)
from releaser.locks.blocks import Block, CulpritsSection
from releaser.locks.changes import changes_between
from releaser.locks.installed import installed_key
from releaser.locks.lock import Graph
from releaser.locks.versions import normalize_name
from releaser.releases.blocks import change_blocks, read_blocks
from releaser.releases.contents import INFO, list_installed
from releaser.resolution.resolve import diff_to
from releaser.system.files import write_new_file
from releaser.system.frozen import Mutable, field, replace
from releaser.system.words import first_few, plural

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from releaser.candidate.build import Candidate
    from releaser.candidate.build_and_test import Builder
    from releaser.candidate.partial_locks import PartialLocks
    from releaser.candidate.testing import Failed
    from releaser.locks.bisect import Part
    from releaser.locks.lock import LockFile

_IN_A_RELEASE = r"/(?:site|dist)-packages/([^/\\\s\"']+)"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_AGAIN = "See the end of the output; the next update searches for the cause again."


class CulpritSearch(Mutable):
    """One search among the upgrades of a candidate that failed, while the live release passes.

    It also implements `Trials` for `find_culprits`.
    """

    builder: Builder
    failure: Failed
    locks: PartialLocks
    #: A candidate that passed all its tests, and may go live.
    _passing: Candidate | None = None
    #: The error that prevents further trials; None without one, also when the budget is used up.
    _trouble: ReleaserError | None = None
    #: The fault of each tested lock, by its versions; None if the tests passed.
    _verdicts: dict[frozenset[tuple[str, str]], Fault | None] = field(default_factory=dict)
    #: The fault of each part that failed.
    _faults: dict[Part, Fault] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work, self.budget = self.builder.work, self.builder.budget
        self.site, self.log = self.work.site, self.work.log
        self.install = TrialInstall(
            site=self.site, facts=self.work.facts, locks=self.locks, reusable=self.work.reusable
        )
        self.full, self.fault = self.failure.candidate, Fault.of(self.failure.result)
        self.versions = self.full.resolution.lock.versions
        self._verdicts[frozenset(self.versions.items())] = self.fault

    def search(self) -> Candidate | Failed:
        """Put culprits on hold, or report them; return a candidate without them that passes, else the failure."""
        base_passes = self.passes(())
        if base_passes is False and self.builder.ships and (everything := self._try_everything()):
            block_candidate_of(self.work, self.failure)
            return everything
        result = SearchResult(kind="cut_off") if base_passes is None else self._find(base_passes=base_passes)
        if self._trouble is not None and result.kind == "cut_off":  # for example, the index does not answer
            self.log.note_failure(self._trouble, follow_up=False)
            self.builder.discard(self._passing)
            return replace(self.failure, advice=_AGAIN)
        if result.kind == "flaky":
            self._report(
                "the search for the cause was stopped: the tests both fail and pass with the same packages",
                "Make the tests reliable; see `releaser history`.",
            )
            self.builder.discard(self._passing)
            block_candidate_of(self.work, self.failure)
            return self.failure
        found = self._build_what_passes(result)
        if result.kind == "cut_off" and found is None:
            result = replace(result, passing=())
        is_whole = bool(base_passes) and result.kind != "cut_off"
        self._hold(result, pairs=find_pairs(self, result) if is_whole else {})
        found = self.builder.discard_if_live(found)
        if result.kind == "cut_off":
            advances = self.builder.ships and (found is not None or bool(result.culprits))
            self._report_cut_off(result, advances=advances)
            if advances:  # the next update has fewer upgrades to search
                return found or replace(self.failure, advice=_AGAIN)
        block_candidate_of(self.work, self.failure)  # only now: without holds, it would block all upgrades
        if base_passes is False and result.kind != "cut_off":
            self._report_failing_base(result, found)
        return found or self.failure

    def _find(self, *, base_passes: bool) -> SearchResult:
        upgrades = self.locks.upgrades()
        if not upgrades or CulpritSettings.of(self.site).culprits == "off":
            return SearchResult(kind="no_culprit")
        named = suspects(self.failure.result.output, self.full.venv, upgrades)
        if not base_passes:
            return find_culprits_and_needed(self, upgrades, named if len(named) < len(upgrades) else ())
        hints = {*named, *(hold.name for hold in read_blocks(self.site.state_dir).by("tests") if hold.name in upgrades)}
        hints = hints if len(hints) < len(upgrades) else set()
        # A package that requires a suspect brings it along: tried before the suspect, it would look like the culprit.
        needs = Graph.of(self.full.resolution.lock).needs
        late = [name for name in upgrades if not hints.isdisjoint(find_all_needs(name, needs))]
        items = (*(name for name in upgrades if name not in late), *late)
        if self.passes(items):  # the cause is not an upgrade, but came with them
            return SearchResult(kind="found", items=items, passing=items)
        return find_culprits(self, items, suspects=len(late))

    # Trials

    def passes(self, part: Part, *, without: Part = ()) -> bool | None:
        """Try a part in a temporary venv; None if no further trial is possible."""
        try:
            lock = self.locks.with_upgrades(part, without=without)
            verdict = self._recall_result(part, lock)
            if verdict is None and self.budget.allows(2):  # one run is reserved for the candidate that goes live
                self.budget.spent += 1
                fault = self._try(part, lock, f"run {self.budget.spent}")
                verdict = self._note(part, lock, fault)
        except (ResolutionError, BuildError) as error:
            self._trouble = error
            return None
        return verdict

    def passes_whole(self, part: Part, *, without: Part) -> bool | None:
        """Try the upgrades without the culprits: as a candidate, if it may go live."""
        if not self.builder.ships:
            return self.passes(part, without=without)
        try:
            lock = self.locks.with_upgrades(part, without=without)
        except ResolutionError as error:
            self._trouble = error
            return None
        if self._is_live(lock):
            return True
        if self._recall_result(part, lock) is False:
            return False
        return self._build(part, lock) is not None if self.budget.allows() else None

    def passes_again(self, part: Part, *, without: Part) -> bool | None:
        """Try a part again in a temporary venv; `culprit_runs` does not limit these runs."""
        try:
            lock = self.locks.with_upgrades(part, without=without)
            if lock.versions == self.versions:
                return False  # the full candidate was repeated before the search
            if not self.budget.in_time:
                return None
            return self._try(part, lock, "repeated") is None
        except (ResolutionError, BuildError) as error:
            self._trouble = error
            return None

    def _recall_result(self, part: Part, lock: LockFile) -> bool | None:
        versions = frozenset(lock.versions.items())
        if self._is_live(lock):
            return True
        return self._note(part, lock, self._verdicts[versions]) if versions in self._verdicts else None

    def _is_live(self, lock: LockFile) -> bool:
        is_like_live = self.site.pulled is None and self._surroundings_are_live
        return is_like_live and self._key(lock) == self._key(self.builder.live_lock)

    def _key(self, lock: LockFile) -> str:
        return installed_key(lock, python=self.full.key.python)

    @property
    def _surroundings_are_live(self) -> bool:
        live, key = self.work.live, self.full.key
        return live is not None and (live.manifest.python, live.manifest.group) == (key.python, key.group)

    def _try(self, part: Part, lock: LockFile, which: str) -> Fault | None:
        with self.log.step("culprit search") as step:
            fault = self.install.find_fault(lock)
            total = plural(len(self.locks.upgrades()), "upgrade")
            part_name = f"{len(part)} of {total}" if part else "without any upgrade:"
            step.says(f"{which}: {part_name} {'failed' if fault else 'passed'}")
        return fault

    def _note(self, part: Part, lock: LockFile, fault: Fault | None) -> bool:
        """Record how the tests ended with a part; return whether they passed."""
        self._verdicts[frozenset(lock.versions.items())] = fault
        if fault is not None:
            self._faults[part] = fault
        return fault is None

    # Candidates

    def _build(self, part: Part, lock: LockFile) -> Candidate | None:
        """Build a candidate with a part of the upgrades, and test it; None if it fails. Raises BuildError."""
        self.builder.discard(self._passing)
        self._passing = None
        self.budget.spent += 1
        renew_tree(self.site)
        write_new_file(self.site.project.lock, lock.data)
        diff = self.locks.record_dependents(diff_to(self.work.live, lock, python=self.full.key.python), part)
        built = try_to_build(self.work, replace(self.full.resolution, lock=lock, diff=diff))
        if isinstance(built, Unbuildable):
            raise built.error()
        candidate = describe_changes_of(self.work, built)
        failed = first_failure(self.work, candidate)
        if not self._note(part, lock, None if failed is None else Fault.of(failed)):
            self.builder.discard(candidate)
            return None
        self._passing = candidate
        return candidate

    def _build_what_passes(self, result: SearchResult) -> Candidate | None:
        """Return a candidate with the upgrades that pass, if it passes, too, and is not live. Ignores the budget."""
        part = result.passing if result.kind == "cut_off" else result.kept
        if not self.builder.ships or not result.items or (result.kind == "cut_off" and not part):
            return None
        try:
            lock = self.locks.with_upgrades(part, without=result.culprits)
            if self._passing is not None and self._passing.key.lock_sha256 == self._key(lock):
                return self._passing
            return None if self._is_live(lock) else self._build(part, lock)
        except (BuildError, ResolutionError) as error:
            self.log.note_failure(error, follow_up=False)
            return None

    def _try_everything(self) -> Candidate | None:
        """Try all upgrades, with the versions that the tests put on hold; None if none is new, or if they fail, too.

        New code may need exactly those versions.
        """
        resolution = self.builder.resolve_again("in")
        if resolution is None or not self.budget.allows():
            return None
        changes = changes_between(self.full.resolution.lock.versions, resolution.lock.versions)
        news = [change.name for change in changes if change.new]
        if not news:
            return None
        self.budget.spent += 1
        candidate = self.builder.build(resolution)
        if isinstance(candidate, Unbuildable):
            return None
        if first_failure(self.work, candidate) is not None:
            self.builder.discard(candidate)
            return None
        self._report_requirement(candidate, suspects(self.fault.output, candidate.venv, news) or news)
        return candidate

    # Results

    def _hold(self, result: SearchResult, *, pairs: Mapping[str, str]) -> None:
        """Put the culprits on hold, or report them; note the undecided upgrades of a search that was cut off.

        `pairs` maps each culprit that breaks the tests only together with another upgrade to that upgrade.
        """
        if not result.items:
            return
        versions, culprits = self.versions, sorted(result.culprits)
        partners = {name: f"{other} {versions[other]}" for name, other in pairs.items()}
        culprits_found = [
            f"{name} {versions[name]}" + (f" with {partners[name]}" if name in partners else "") for name in culprits
        ]
        self.log.add(CulpritsSection(culprits=(*CulpritsSection.of(self.log).culprits, *culprits_found)))
        faults = {name: self._faults.get(result.failing[name], self.fault) for name in culprits}
        for name, partner in partners.items():
            words = f"together with {partner}, and not alone, {faults[name].words}"
            faults[name] = replace(faults[name], words=words)
        if not self.builder.ships:
            for name, fault in faults.items():
                advice = f'Hold it with `releaser hold {name}`, or let releaser do that: `culprits = "hold"`.'
                self._report(f"{name} {versions[name]} breaks the update: {fault.words}", advice)
            return
        together = self.locks.find_together(result)
        faults = {name: replace(fault, together=together.get(name, ())) for name, fault in faults.items()}
        put_on_hold(self.work, self.full.resolution.lock, faults, release=self.full.id)
        reason = f"undecided: the search stopped after {self.budget.spent} test runs"
        self.builder.undecided = tuple(
            Block(name=name, version=versions[name], by="undecided", reason=reason)
            for name in (result.undecided if result.kind == "cut_off" else ())
        )

    def _report(self, message: str, advice: str) -> None:
        self.log.note(Finding("culprits", message, advice))

    def _report_cut_off(self, result: SearchResult, *, advances: bool) -> None:
        names = result.undecided
        message = (
            f"the search did not find the upgrade that breaks the tests within {self.budget.spent} test runs"
            f" ({CulpritSettings.of(self.site).limits})"
        )
        if names:
            message += f"; undecided, and not live: {first_few(names, 10)}"
        raised = "The next update tries these again, without these culprits. If that is too slow, raise these settings."
        self._report(message, raised if advances else "Raise these settings, and run `releaser update --force`.")

    def _report_failing_base(self, result: SearchResult, found: Candidate | None) -> None:
        """Report why the tests fail without upgrades: the new code needs a newer package, or no package is the cause.

        A commit that is the cause is put on hold; later updates upgrade packages without it.
        """
        if found is not None:
            self._report_requirement(found, find_needed(self, result))
        if found is not None or result.passing:
            return
        pulled = self.site.pulled
        if pulled is None:
            message = (
                f"the tests fail with {self._change_in_words} and the earlier packages as well: no package is the cause"
            )
            self._report(message, "Check what else has changed, such as data, services or the system.")
            return
        entry = make_commit_block(self.site, pulled.new, self.full.key.code_key, "breaks the tests")
        change_blocks(self.site.state_dir, lambda blocks: blocks.with_new(entry))
        commit, live = entry.commit[:12], "with the live packages, too"
        self._report(
            f"commit {commit} ({entry.subject}) breaks the tests {live}: {self.fault.words}",
            "The commit is on hold until the remote has a newer one; the next run updates packages without it."
            f" `releaser unhold {commit}` tries it again.",
        )

    def _report_requirement(self, candidate: Candidate, names: Sequence[str]) -> None:
        """Report a missing requirement: the tests fail with the live versions of `names`, and pass with a candidate."""
        before, after = self.builder.live_lock.versions, candidate.resolution.lock.versions
        found = [name for name in names if name in after and before.get(name) != after[name]]
        if not found:
            return
        shown = first_few(f"{name} {after[name]} ({before.get(name, 'none')} was live)" for name in found)
        one_of, asked = (
            ("", f"`{found[0]}>={after[found[0]]}`") if len(found) == 1 else ("one of ", "the missing requirement")
        )
        self._report(
            f"{self._change_in_words} need {one_of}{shown}, which pyproject.toml does not list",
            f"The tests fail without it: {self.fault.words}. Add {asked} to pyproject.toml.",
        )

    @property
    def _change_in_words(self) -> str:
        """Describe the change that is not a package."""
        if self.site.pulled is not None:
            return "the new commits"
        return "the edited checkout" if self._surroundings_are_live else "another Python or group"


def suspects(output: str, venv: Path, names: Collection[str]) -> tuple[str, ...]:
    """Return those of `names` that the output of a failed test mentions; none if it mentions more than half of them.

    A framework is in every traceback, so many suspects are no hint.
    """
    words = {match[0].rstrip(".").lower() for match in re.finditer(_WORD, output)}
    modules = {match[1].lower() for match in re.finditer(_IN_A_RELEASE, output)}
    known = _modules(venv, names)
    found = [name for name in names if name in words or known.get(name, frozenset()) & (modules | words)]
    return tuple(found) if len(found) * 2 <= len(names) else ()


def _modules(venv: Path, names: Collection[str]) -> dict[str, frozenset[str]]:
    """Map packages to their top-level names in site-packages, in lower case, with and without `.py`."""
    found: dict[str, frozenset[str]] = {}
    for path, info in list_installed(str(venv)).items():
        name = normalize_name(info.removesuffix(INFO).rpartition("-")[0])
        top = path.partition("/site-packages/")[2].partition("/")[0].lower()
        if name in names and top not in ("", "__pycache__") and not top.endswith((".dist-info", ".data", ".pth")):
            found[name] = found.get(name, frozenset()) | {top, top.removesuffix(".py")}
    return found
