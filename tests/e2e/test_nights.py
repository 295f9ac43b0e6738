"""Nights of a site, one after the other: what is new, what is known, what happens, and how many test runs it takes.

`nights.txt` is what they come to. After a story's nights have changed on purpose, this module rewrites it:
`python -m pytest tests/e2e/test_nights.py --all-points --write-nights`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_culprits import adopted, publish
from tests.e2e.test_newest_that_works import BY_MODE, NEEDS_A_WITHOUT_E, NEW_ONLY, OLD_ONLY, RED_FROM_5, days_later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.sites import SampleSite, SiteFactory

GOLDEN = Path(__file__).with_name("nights.txt")
HEADER = ("what is new", "known before", "what happens", "runs")
NO_REASON = "def test_shop(packages):\n    assert not any(getattr(one, 'BROKEN', None) for one in packages.values())\n"
GREEN = "def test_shop(packages):\n    pass\n"


@dataclass(frozen=True, kw_only=True)
class Night:
    """One night: what is new in words, how it comes about, and how `update` is called."""

    new: str
    act: Callable[[SampleSite], object] = lambda _: None
    words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Story:
    """The nights of one site, and how that is made."""

    begin: Callable[[SiteFactory], SampleSite]
    nights: Sequence[Night]


def framework(make_site: SiteFactory) -> SampleSite:
    return make_site.adopted(packages={"a": "4.2.1", "b": "1.0.0"}, files={"site_tests.py": RED_FROM_5})


def offer(name: str, *versions: str, broken: bool = False) -> Callable[[SampleSite], None]:
    def act(site: SampleSite) -> None:
        for version in versions:
            site.publish(name, version, broken=broken)

    return act


def push(**files: str) -> Callable[[SampleSite], object]:
    named = {name.replace("__", "."): text for name, text in files.items()}
    return lambda site: site.push_from_elsewhere(named)


def all_of(*acts: Callable[[SampleSite], object]) -> Callable[[SampleSite], None]:
    def act(site: SampleSite) -> None:
        for one in acts:
            one(site)

    return act


def later(days: float) -> Callable[[SampleSite], None]:
    return lambda site: days_later(site, days)


def run(*words: str) -> Callable[[SampleSite], object]:
    return lambda site: site.releaser(*words, check=0)


def revise_lock(site: SampleSite) -> None:
    """Commit a lock that says the same in other words."""
    lock = site.path / "uv.lock"
    text = re.sub(r"^revision = \d+$", "revision = 9", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    site.push_from_elsewhere({"uv.lock": text})


def move_files(site: SampleSite) -> None:
    """Commit a lock whose files lie elsewhere, and were uploaded at other times."""
    text = re.sub(r'registry = "[^"]*"', 'registry = "../mirror"', site.lock_text())
    text = re.sub(r'(\{ path = "[^"]*")', r'\1, upload-time = "2026-01-01T00:00:00Z"', text)
    site.push_from_elsewhere({"uv.lock": text})


STORIES = {
    "a framework whose new series are red": Story(
        begin=framework,
        nights=(
            Night(new="a 4.2.9, 5.0.7, 5.2.12, 6.0", act=offer("a", "4.2.9", "5.0.7", "5.2.12", "6.0")),
            Night(new="nothing"),
            Night(new="a 4.2.10", act=offer("a", "4.2.10")),
            Night(new="a 5.1.4, below what failed", act=offer("a", "5.1.4")),
            Night(new="a 6.0.1, the first after a failure", act=offer("a", "6.0.1")),
            Night(new="a 6.0.2, and b 1.1.0", act=all_of(offer("a", "6.0.2"), offer("b", "1.1.0"))),
            Night(new="8 days later", act=later(8)),
            Night(new="tests that take any version", act=all_of(later(8), push(site_tests__py=GREEN))),
        ),
    ),
    "one of eight is broken": Story(
        begin=lambda make_site: adopted(make_site, *"abcdefgh"),
        nights=(
            Night(new="1.1.0 of all, c broken", act=lambda site: publish(site, *"abcdefgh", broken=("c",))),
            Night(new="nothing"),
            Night(new="a commit: a blank line in a text", act=push(notes__txt="\n")),
            Night(new="a rollback, then --force", act=run("rollback"), words=("--force",)),
            Night(
                new="c 1.2.0, broken, and d 1.2.0", act=all_of(offer("c", "1.2.0", broken=True), offer("d", "1.2.0"))
            ),
            Night(new="c 1.3.0, and e 1.2.0, in the same week", act=all_of(offer("c", "1.3.0"), offer("e", "1.2.0"))),
            Night(new="8 days later", act=later(8)),
            Night(new="c 1.3.1, broken", act=offer("c", "1.3.1", broken=True)),
            Night(new="`unhold c`", act=run("unhold", "c")),
        ),
    ),
    "new code and new packages": Story(
        begin=lambda make_site: adopted(make_site, *"ab", files={"site_tests.py": OLD_ONLY}),
        nights=(
            Night(new="a 2.0.0, too new for the code", act=offer("a", "2.0.0")),
            Night(new="a commit that needs a 2.0.0", act=push(site_tests__py=NEW_ONLY)),
            Night(
                new="b 1.1.0, and a commit that is red", act=all_of(offer("b", "1.1.0"), push(site_tests__py="1/0\n"))
            ),
            Night(new="nothing"),
            Night(new="a commit that mends that", act=push(site_tests__py=GREEN)),
            Night(new="a commit of nothing but a text", act=push(notes__txt="read me\n")),
            Night(new="a lock in other words", act=revise_lock),
        ),
    ),
    "new code needs what was tried again this week": Story(
        begin=lambda make_site: adopted(make_site, *"ab", files={"site_tests.py": OLD_ONLY}),
        nights=(
            Night(new="a 2.0.0, too new for the code", act=offer("a", "2.0.0")),
            Night(new="a commit that touches the test", act=push(site_tests__py=OLD_ONLY + "# Fixed?\n")),
            Night(new="a commit that needs a 2.0.0", act=push(site_tests__py=NEW_ONLY)),
        ),
    ),
    "new code needs one upgrade and breaks with another": Story(
        begin=lambda make_site: adopted(make_site, *"abcdef", files={"site_tests.py": GREEN}),
        nights=(
            Night(
                new="1.1.0 of all; code that needs a, not e",
                act=all_of(lambda site: publish(site, *"abcdef"), push(site_tests__py=NEEDS_A_WITHOUT_E)),
            ),
            Night(new="nothing"),
        ),
    ),
    "three of eight are broken, and the search may take 6 runs": Story(
        begin=lambda make_site: adopted(
            make_site, *"abcdefgh", files={"site_tests.py": NO_REASON}, settings={"culprit_runs": 6}
        ),
        nights=(
            Night(new="1.1.0 of all, c, f, g broken", act=lambda site: publish(site, *"abcdefgh", broken="cfg")),
            Night(new="nothing"),
            Night(new="nothing"),
            Night(new="nothing"),
        ),
    ),
    "what comes only together": Story(
        begin=lambda make_site: adopted(make_site, *"abc"),
        nights=(
            Night(
                new="b 2.0.0, broken, a 2.0.0 that needs it, c 1.1.0",
                act=all_of(
                    offer("b", "2.0.0", broken=True),
                    lambda site: site.publish("a", "2.0.0", requires=["b>=2"]),
                    offer("c", "1.1.0"),
                ),
            ),
            Night(new="b 1.5.0", act=offer("b", "1.5.0")),
            Night(new="b 2.0.1", act=offer("b", "2.0.1")),
        ),
    ),
    "a culprit among many whose lower version works": Story(
        begin=lambda make_site: adopted(make_site, *"abcdef"),
        nights=(
            Night(
                new="1.1.0 of all, d 3.0.0, broken, and 2.4.0",
                act=all_of(lambda site: publish(site, *"abcef"), offer("d", "2.4.0"), offer("d", "3.0.0", broken=True)),
            ),
            Night(new="nothing"),
            Night(new="a lock with other places and times", act=move_files),
            Night(
                new="d 3.0.1, broken, and a 1.2.0", act=all_of(offer("d", "3.0.1", broken=True), offer("a", "1.2.0"))
            ),
            Night(new="d 3.0.2, and code", act=all_of(offer("d", "3.0.2"), push(notes__txt="read me\n"))),
            Night(new="8 days later, and b 1.2.0", act=all_of(later(8), offer("b", "1.2.0"))),
        ),
    ),
    "code that needs what is held, beside much else": Story(
        begin=lambda make_site: adopted(make_site, *"abcdef", files={"site_tests.py": BY_MODE, "mode.txt": "old"}),
        nights=(
            Night(new="a 2.0.0, too new for the code", act=offer("a", "2.0.0")),
            Night(
                new="1.1.0 of all others; code that needs a 2.0.0",
                act=all_of(lambda site: publish(site, *"bcdef"), push(mode__txt="new\n")),
            ),
        ),
    ),
}


def play(story: Story, make_site: SiteFactory) -> Iterator[tuple[str, ...]]:
    site = story.begin(make_site)
    for night in story.nights:
        night.act(site)
        known, before = said(site.json("status")["held_back"]), len(site.manage_runs("test"))
        finished = site.releaser("update", *night.words)
        runs = len(site.manage_runs("test")) - before
        yield night.new, known, what_happened(site, finished.returncode, silent=not finished.stderr), str(runs)


def what_happened(site: SampleSite, code: int, *, silent: bool) -> str:
    if silent:
        return f"{code}: nothing"
    report = site.json("history")[0]
    live = ", ".join(f"{one['name']} {one['new']}" for one in report["changes"]) if report["live_changed"] else ""
    what = f"live: {live or 'the code'}" if report["live_changed"] else "live unchanged"
    held = said(report["held_back"])
    needed = [found for one in report["problems"] for found in re.findall(r"Add `(.*?)` to pyproject.toml", one)]
    rejected = (
        ["the commit is left out"]
        if any("breaks the tests with the packages" in one for one in report["problems"])
        else []
    )
    parts = [what, *([f"held: {held}"] if held != "-" else []), *(f"missing: {one}" for one in needed), *rejected]
    return f"{code}: {'; '.join(parts)}"


def said(entries: Sequence[dict[str, Any]]) -> str:
    words = {"person": " (person)", "undecided": " (not decided)", "activation": " (backed out)"}
    return (
        ", ".join(
            f"{one['name']} {one['version']}".strip()
            + words.get(one["by"], "")
            + (f" with {', '.join(one['together'])}" if one["together"] else "")
            for one in sorted(entries, key=lambda one: (one["name"], one["version"]))
        )
        or "-"
    )


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [" | ".join(row) for row in rows]


def sections() -> dict[str, list[str]]:
    text = GOLDEN.read_text(encoding="utf-8") if GOLDEN.exists() else ""
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)[1:]
    return {name: lines.strip().splitlines()[1:] for name, lines in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.spread(4)
@pytest.mark.parametrize("name", STORIES)
def test_each_night_is_as_it_is_written(name: str, make_site: SiteFactory, request: pytest.FixtureRequest) -> None:
    rows = table(list(play(STORIES[name], make_site)))
    if request.config.getoption("--write-nights"):
        known = {**sections(), name: rows}
        text = "".join(
            f"## {one}\n{' | '.join(HEADER)}\n" + "\n".join(known[one]) + "\n\n" for one in STORIES if one in known
        )
        GOLDEN.write_text(text.rstrip() + "\n", encoding="utf-8")
    assert rows == sections()[name]


def test_there_are_nights_enough() -> None:
    assert sum(len(rows) for rows in sections().values()) >= 25
    assert list(sections()) == list(STORIES)
