"""Why an update does not take a version, and how to allow it. All is pure: uv is asked elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from packaging.specifiers import SpecifierSet

from releaser.packages.changes import name_bump
from releaser.packages.holds import Hold, PackageHold, VersionHold
from releaser.packages.lock import Lock
from releaser.packages.rules import By, Rules, Skipped
from releaser.site.settings import Level

_ALLOW: Mapping[By, str] = {
    "age": "Wait, or set a shorter `min_age`.",
    "constraint": "Change that file.",
    "file": "It needs a file for this host: each update looks for one.",
    "python": "`requires-python` and the site's Python must allow that.",
    "yanked": "uv takes it only where pyproject.toml names it: `==`.",
}
_LAST = r"(?= and | , |,? we can| \(|$)"
#: The words of uv 0.13 about versions that cannot be installed, by the kind of thing.
_UNFIT: Mapping[By, str] = {
    "yanked": rf"((?:was|were) yanked(?: \(.*?\))?){_LAST}",
    "file": rf"((?:has|have) no (?:wheels|usable wheels|source)[^,]*?){_LAST}",
    "python": r"(depends? on Python[^\s,]+)",
}


class Blocked(msgspec.Struct, frozen=True):
    """A version that the next update does not take: by what kind of thing, the reason, and how to allow it."""

    version: str
    by: By
    reason: str
    allow: str = ""


class Facts(msgspec.Struct, frozen=True):
    """The rules and holds of an update, and its lock."""

    rules: Rules
    holds: Sequence[Hold]
    lock: Lock


def explain(facts: Facts, skipped: Skipped) -> Blocked:
    """Return a version that a rule keeps back, with the way to allow it."""
    allow = _ALLOW.get(skipped.by, "")
    if skipped.holder:
        allow = _allow_holder(facts.holds, skipped.holder)
    elif skipped.by == "level":
        allow = _allow_level(facts, skipped.name, skipped.version)
    return Blocked(skipped.version, skipped.by, skipped.reason, allow)


def _allow_holder(holds: Sequence[Hold], name: str) -> str:
    """Return how a package on hold is freed; empty if it is not on hold."""
    holders = {hold.by for hold in holds if isinstance(hold, PackageHold | VersionHold) and hold.name == name}
    if holders == {"setting"}:
        return f"Take `{name}` out of `ignore`."
    return f"`releaser unhold {name}`" if holders else ""


def _allow_level(facts: Facts, name: str, version: str) -> str:
    """Return the line of pyproject.toml that lets a package move so far."""
    bumps = {name_bump(before, version) for before in facts.lock.versions[name]}
    level: Level = "all" if bumps & {"major", "other"} else "minor" if "minor" in bumps else "patch"
    levels = {**facts.rules.levels, name: level}
    table = ", ".join(f'"{package}" = "{chosen}"' for package, chosen in sorted(levels.items()))
    return f"`upgrade_packages = {{ {table} }}` in `[tool.releaser]`"


def read_answer(facts: Facts, name: str, version: str, output: str) -> Blocked:
    """Return what blocks a version by the words of uv that has no solution with it."""
    text, me = " ".join(output.split()), re.escape(name)
    for who, words in re.findall(rf"(\S+) depends? on {me}(?:\{{.*?\}})?([=<>!~]\S*)", text):
        other, specifier = re.split(r"[=<>!~\[{{:]", who, maxsplit=1)[0], words.rstrip(",")
        if SpecifierSet(specifier).contains(version, prereleases=True):
            continue
        label, allow = "pyproject.toml", "Change that requirement, run `uv lock`, and commit."
        if other in facts.lock.names:
            label, allow = f"{other} {min(facts.lock.versions[other])}", f"See `releaser outdated {other}`."
        return Blocked(version, "requirement", f"is not what {label} requires: `{name}{specifier}`", allow)
    for blocked in read_unfit(name, output):
        if blocked.by == "python" or blocked.version == version:
            return msgspec.structs.replace(blocked, version=version)
    if match := re.search(rf"{me}=={re.escape(version)} depends on ([\w.-]+)(\S*)", text):
        hold = _allow_holder(facts.holds, match[1])
        reason = f"needs {match[1]}{match[2].rstrip(',')}{', which is on hold' if hold else ''}"
        allow = hold or f"See `releaser outdated {match[1]}`."
        return Blocked(version, "hold" if hold else "requirement", reason, allow)
    return Blocked(version, "uv", f"has no solution: {(text.partition('cause: ')[2] or text)[:300]}")


def read_unfit(name: str, output: str) -> list[Blocked]:
    """Return the versions, or ranges of them, that cannot be installed here, by the words of uv that rejects all."""
    text, blocked = " ".join(output.split()), dict[str, Blocked]()
    for by, words in _UNFIT.items():
        for versions, reason in re.findall(rf"((?:{re.escape(name)}[=<>][^\s]* )+){words}", text):
            for label in (each.removeprefix(name).removeprefix("==").rstrip(",") for each in versions.split()):
                blocked.setdefault(label, Blocked(label, by, reason, _ALLOW[by]))
    return list(blocked.values())
