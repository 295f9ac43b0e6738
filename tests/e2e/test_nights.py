"""Nights of a site, one after the other: what is new, what is known, what happens, and how many test runs it takes.

`nights.txt` has them all: with what a site begins, then a line for each night. In both, `ab 1.1.0` is that version of
`a` and of `b`; with `!` it breaks the tests, with `?` it cannot be built. What else may be new, `act` knows. What the
nights come to, this module writes, after a story was added or changed on purpose:
`python -m pytest tests/e2e/test_nights.py --all-points --write-nights`. Of the stories with `###`, a spread is played.
"""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import from_server
from tests.e2e.test_unbuildable import publish_unbuildable
from tests.support.simple_index import serving
from tests.support.sites import SampleSite, SiteFactory

GOLDEN = Path(__file__).with_name("nights.txt")
HEADER = "what is new | known before | what happens | runs"
LEFT_OUT = re.compile(r"commit (\w+) .* breaks the tests with the live packages.*`releaser unhold \1`", re.DOTALL)
VERSIONS = re.compile(r"([a-z]+) (\d[\d.]*)([!?]?)(?: needs (\S+))?")
SHOP = """\
import pathlib
def test_shop(packages):
    version = {name: one.__version__ for name, one in packages.items()}
"""
NO_REASON = "    assert not any(getattr(one, 'BROKEN', None) for one in packages.values())\n"
TESTS = {
    "green": SHOP,
    "red": "1/0\n",
    "without a reason": SHOP + NO_REASON,
    "for a below 5": SHOP + "    assert int(version['a'].split('.')[0]) < 5, 'no room for ' + version['a']\n",
    "for a 1": SHOP + "    assert version['a'] == '1.0.0', 'too new'\n",
    "for a 2": SHOP + "    assert version['a'] != '1.0.0', 'too old'\n",
    "for newer a and older e": SHOP + "    assert version['a'] != '1.0.0', 'something is missing'\n"
    "    assert version['e'] == '1.0.0', 'something is wrong'\n",
    "by mode": SHOP + "    wanted = {'old': '1.0.0', 'new': '2.0.0'}[open('mode.txt').read().strip()]\n"
    "    assert version['a'] == wanted, 'a ' + version['a']\n",
    "of a site that may be ill": SHOP + NO_REASON + "    assert not pathlib.Path('../../ill').exists(), 'ill'\n",
    "that fail once with a 1.5.0": SHOP + NO_REASON + "    failed = pathlib.Path('../../failed')\n"
    "    if version['a'] == '1.5.0' and not failed.exists():\n"
    "        failed.touch()\n        assert False, 'the network was slow'\n",
}  # fmt: skip


def offer(site: SampleSite, names: str, version: str, flaw: str, needed: str | None) -> None:
    for name in names:
        if flaw == "?":
            publish_unbuildable(site, name, version)
        else:
            site.publish(name, version, broken=flaw == "!", requires=[needed] if needed else [])


def act(site: SampleSite, new: str) -> None:
    """Let one thing be new."""
    what, _, rest = new.partition(" ")
    if match := VERSIONS.fullmatch(new):
        offer(site, *match.groups())
    elif what == "tests":
        name, _, comment = rest.partition(" # ")
        site.push_from_elsewhere({"site_tests.py": f"{TESTS[name]}# {comment}\n"})
    elif what in ("mode", "text"):
        site.push_from_elsewhere({f"{what}.txt": f"{rest}\n"})
    elif new.endswith(" days later"):
        days_later(site, int(what))
    elif what in ("unhold", "rollback"):
        site.releaser(*new.split(), check=0)
    elif what in ("ill", "well"):
        ill = site.outer.parent / "ill"
        ill.touch() if what == "ill" else ill.unlink()
    elif new in LOCKS:
        text = site.lock_text()
        for old, instead in LOCKS[new]:
            text = re.sub(old, instead, text, flags=re.MULTILINE)
        assert text != site.lock_text()
        site.push_from_elsewhere({"uv.lock": text})
    else:
        assert new in ("nothing", "--force"), new


LOCKS = {
    "a lock in other words": [(r"^revision = \d+$", "revision = 9")],
    "a lock without sizes": [(r", size = \d+", "")],
}


def days_later(site: SampleSite, days: int) -> None:
    """Let all that the holds know have happened earlier."""
    file = site.state_dir / "blocks.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    for block in content["entries"]:
        for key in ("since", "until") if block["by"] == "tests" and block["what"] == "package" else ():
            if block[key]:
                block[key] = (datetime.fromisoformat(block[key]) - timedelta(days=days)).isoformat(timespec="seconds")
    file.write_text(json.dumps(content), encoding="utf-8")


def begin(make_site: SiteFactory, words: str) -> SampleSite:
    """Make a site of these versions, with these tests and settings."""
    packages: dict[str, str] = {}
    files, settings = {"mode.txt": "old\n"}, {}
    for word in words.split(", "):
        what, _, rest = word.partition(" ")
        if match := VERSIONS.fullmatch(word):
            packages.update(dict.fromkeys(match[1], match[2]))
        elif what == "tests":
            files["site_tests.py"] = TESTS[rest]
        else:
            settings[what] = int(rest)
    return make_site.adopted(packages=packages, files=files, settings=settings)


def play(site: SampleSite, nights: Sequence[str]) -> Iterator[str]:
    for new in nights:
        for one in new.split(", "):
            act(site, one)
        known, before = said(site.json("status")["on_hold"]), len(site.manage_runs("test"))
        finished = site.releaser("update", *(["--force"] if "--force" in new else []))
        runs = len(site.manage_runs("test")) - before
        yield " | ".join([new, known, what_happened(site, finished.returncode, silent=not finished.stderr), str(runs)])


def what_happened(site: SampleSite, code: int, *, silent: bool) -> str:
    if silent:
        return f"{code}: nothing"
    report = site.json("history")[0]
    live = ", ".join(f"{one['name']} {one['new']}" for one in report["changes"]) or "the code"
    parts = [f"live: {live}" if report["live_changed"] else "live unchanged"]
    parts += [f"held: {said(report['on_hold'])}"] if report["on_hold"] else []
    problems = report["problems"]
    parts += [f"missing: {found}" for one in problems for found in re.findall(r"Add `(.*?)` to pyproject.toml", one)]
    parts += ["the commit is left out"] * any(LEFT_OUT.match(one) for one in problems)
    parts += ["failing before"] * (report["blame"] == "before")
    return f"{code}: {'; '.join(parts)}"


def said(entries: Sequence[dict[str, Any]]) -> str:
    words = {"person": " (person)", "undecided": " (not decided)", "rollback": " (backed out)"}
    found = [
        f"{one['name']} {one['version']}".strip()
        + words.get(one["by"], "")
        + (f" with {', '.join(one['together'])}" if one["together"] else "")
        for one in sorted(entries, key=lambda one: (one["name"], one["version"]))
    ]
    return ", ".join(found) or "-"


def stories() -> dict[str, list[str]]:
    """Return the lines of each story by its heading: with what it begins, the heading of the table, the nights."""
    parts = re.split(r"^(##.*)\n", GOLDEN.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: lines.strip().splitlines() for name, lines in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.spread(1) if "###" in one else []) for one in stories()]
)
def test_each_night_is_as_it_is_written(name: str, make_site: SiteFactory, request: pytest.FixtureRequest) -> None:
    first, header, *nights = stories()[name]
    assert header == HEADER
    site = begin(make_site, first)
    with serving(site.index.path) as index:
        from_server(site, index.url, lock=True)
        site.releaser("update", "--force", check=0)
        rows = list(play(site, [night.partition(" | ")[0] for night in nights]))
    if request.config.getoption("--write-nights"):
        known = {**stories(), name: [first, HEADER, *rows]}
        GOLDEN.write_text("\n\n".join("\n".join([one, *known[one]]) for one in known) + "\n", encoding="utf-8")
    assert rows == stories()[name][2:]
