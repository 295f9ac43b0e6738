"""Which releases are kept, and why the others go: each case of policy_cases.txt, from the disk to the verdict."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from releaser.releases.lifecycle import Lifecycle, read_lifecycle
from releaser.releases.release import Ledger, write_manifest
from releaser.releases.retention import Present, RetentionDecision, judge
from releaser.releases.retention_settings import RetentionSettings
from releaser.releases.store import ReleaseStore
from releaser.site.values import count, duration
from tests.releases.makers import NOW, a_manifest, built

CASES = Path(__file__).with_name("policy_cases.txt")
READERS: dict[str, Callable[[str], Any]] = {
    "keep": count,
    "keep_within": duration,
    "keep_failed": count,
    "keep_at_least": duration,
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One release of a case, and what is to become of it."""

    name: str
    words: tuple[str, ...]
    action: str
    reasons: tuple[str, ...]

    @property
    def age(self) -> timedelta:
        text = next(word for word in self.words if re.fullmatch(r"-?(\d+[dhms])+", word))
        seconds = sum(duration(part) for part in re.findall(r"\d+[dhms]", text))
        return timedelta(seconds=-seconds if text.startswith("-") else seconds)

    @property
    def verdict(self) -> RetentionDecision:
        return RetentionDecision(id=self.name, kept=self.action == "keep", reasons=self.reasons)


@dataclass(kw_only=True)
class Case:
    """One case of the file."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    live: str | None = None
    is_full: bool = False
    went_live: list[str] | None = None
    lines: list[Line] = field(default_factory=list)

    @property
    def is_live(self) -> str | None:
        return self.live or next((line.name for line in self.lines if "live" in line.words), None)

    @property
    def activations(self) -> list[str]:
        if self.went_live is not None:
            return self.went_live
        once = [line.name for line in reversed(self.lines) if {"good", "bad"} & set(line.words)]
        return [*once, *([self.is_live] if self.is_live else [])]


def cases() -> list[Case]:
    """Read the file."""
    found: list[Case] = []
    for text in CASES.read_text(encoding="utf-8").splitlines():
        if text.startswith("== "):
            found.append(Case(name=text.removeprefix("== ")))
        elif found and text and not text.startswith("#"):
            _take(found[-1], text)
    return found


def _take(case: Case, text: str) -> None:
    if "|" in text:
        name, words, action, reasons = (part.strip() for part in text.split("|"))
        line = Line(name=name, words=tuple(words.split()), action=action, reasons=tuple(reasons.split("; ")))
        case.lines.append(line)
    elif text == "the disk is full":
        case.is_full = True
    elif text.startswith("live "):
        case.live = text.split()[1]
    elif text.startswith("went live "):
        case.went_live = text.split()[2:]
    else:
        for setting in text.split(", "):
            name, value = setting.split()
            case.settings[name] = READERS[name](value)


def _record(store: ReleaseStore, case: Case, marks: Mapping[str, str]) -> None:
    for name in case.activations:
        if name in marks:
            store.record_live(store.find(name))
        else:
            store.record(partial(Ledger.with_flip_to, release=name))  # its manifest tells nothing
    for name, mark in marks.items():
        if mark == "bad":
            store.record_withdrawn(store.find(name))
    for line in case.lines:
        if "pinned" in line.words:
            found = read_lifecycle(str(store.path(line.name))) or Lifecycle(stage="ready", since="")
            replace(found, pinned=True).write(store.path(line.name))


def made(case: Case, directory: Path) -> ReleaseStore:
    """Make the releases of a case on disk."""
    store = ReleaseStore(state_dir=directory / "state", link=directory / ".venv")
    store.directory.mkdir(parents=True)
    marks: dict[str, str] = {}
    for number, line in enumerate(reversed(case.lines), start=1):
        if "damaged" in line.words:
            built(store, number, id=line.name)
            (store.path(line.name) / "manifest.json").write_text("[]", encoding="utf-8")
        elif "copy" in line.words:
            store.path(line.name).mkdir()
            write_manifest(store.path(line.name), a_manifest(number, id=line.words[-1]))
        else:
            _build(store, number, line)
            if {"good", "live", "bad"} & set(line.words):
                marks[line.name] = "bad" if "bad" in line.words else "good"
    _record(store, case, marks)
    if case.is_live not in (None, "none"):
        store.link.symlink_to(store.path(str(case.is_live)) / "venv")
    return store


def _build(store: ReleaseStore, number: int, line: Line) -> None:
    built(
        store,
        number,
        works="unsound" not in line.words,
        id=line.name,
        created_at=NOW - line.age,
        origin=next((word for word in line.words if word in ("adopted", "override")), "built"),
        tests="failed" if "failed" in line.words else "passed",
    )


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_policy_decides_as_the_case_says(case: Case, tmp_path: Path) -> None:
    snapshot = made(case, tmp_path).snapshot()
    target = snapshot.rollback_target()
    present = Present(
        now=NOW,
        rollback_target=target.id if target else None,
        in_use={line.name: "in use by process 12" for line in case.lines if "used" in line.words},
        is_full=case.is_full,
    )
    decided = judge(snapshot, RetentionSettings(**case.settings), present)
    assert list(decided) == [line.verdict for line in case.lines]


def test_the_cases_begin_with_the_defaults_that_releaser_has() -> None:
    (text,) = re.findall(r"^Defaults: (.*)\.$", CASES.read_text(encoding="utf-8"), re.MULTILINE)
    case = Case(name="defaults")
    _take(case, text)
    assert RetentionSettings(**case.settings) == RetentionSettings()
