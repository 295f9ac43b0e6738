"""The words that the glossary leaves out are in no help text, setting, key of JSON, finding, mail, or page."""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from releaser.commands.command import all_commands, cli
from releaser.reporting.mail import render_bodies
from releaser.reporting.subject import subject
from releaser.site.schema import json_schema

ROOT = Path(__file__).parent.parent
#: What each word is called instead.
LEFT_OUT = {
    r"what is live|current(?:ly)?(?! directory)|active": "live",
    r"the one before|origin": "previous",
    r"new one|trial|proposals?": "candidate",
    r"red|no good": "failed",
    r"bad|backed out|(?:is|was|are|were) withdrawn": "rolled back",
    r"held(?: |_)back|kept(?: |_)out|left(?: |_)out|quarantined?|rejected|held by hand": "on hold",
    r"kept(?: |_)by": "blocked by",
    r"activat(?:e|ed|ion)|unchanged|nothing to do": "updated, rolled back, no changes, refused, failed",
    r"tak(?:e|en|es|ing) (?:it )?back|took back|(?:goes|went|go) back by itself": "automatic rollback",
    r"(?<!maintenance )windows?": "maintenance window",
    r"theirs": "remote head",
    r"isolat(?:e|ed|ion)": "sandbox",
    r"(?<!staging )(?<!work )(?<!working )trees?": "staging tree",
}
#: Where a word means something else, or is the name of something that scripts rely on.
ALLOWED: dict[tuple[str, str], str] = {
    ("releaser propose --help", "proposals"): "the branch that is pushed for review",
    ("commands.md", "proposals"): "the branch that is pushed for review",
    ("key proposal", "proposal"): "the branch that is pushed for review",
    ("key proposals", "proposals"): "the branches that are pushed for review",
    ("setting propose", "proposal"): "the branch that is pushed for review",
    ("setting propose_limit", "proposals"): "the branches that are pushed for review",
    ("settings.md", "proposal"): "the branch that is pushed for review",
    ("settings.md", "proposals"): "the branches that are pushed for review",
    ("monitoring.md", "proposals"): "the branches that are pushed for review",
    ("staging-and-production.md", "proposal"): "the branch that is pushed for review",
    ("staging-and-production.md", "proposals"): "the branches that are pushed for review",
    ("finding proposal-taken-over", "proposal"): "the branch that is pushed for review",
    ("setting window", "window"): "the name of the setting",
    ("setting packages", "window"): "the name of a key",
    ("key origin", "origin"): "the place from which a setting comes",
    ("reliability.md", "no good"): "no release that is good",
    ("mails.md", "nothing to do"): "the meaning of a mark, not a result",
    ("mail updated", "origin"): "the name of a remote",
    ("mail held-back", "origin"): "the name of a remote",
    ("mail not-restarted", "origin"): "the name of a remote",
    ("mail security", "origin"): "the name of a remote",
    ("mail refused", "unchanged"): "the live release, not a result",
    ("concepts.md", "unchanged"): "the site, not a result",
    ("staging-and-production.md", "unchanged"): "a lock",
    ("static-files-and-migrations.md", "unchanged"): "the live release, not a result",
    ("finding git-hidden-files", "unchanged"): "an option of git",
    ("finding work-tree-other-project", "tree"): "codes stay; it is git's work tree",
}


def texts() -> Iterator[tuple[str, str]]:
    """Yield everything that a reader looks up, each with its place."""
    context = click.Context(cli, info_name="releaser", **cli.context_settings)
    yield "releaser --help", cli.get_help(context)
    for name, command in all_commands().items():
        yield f"releaser {name} --help", command.get_help(click.Context(command, info_name=name, parent=context))
    for name, setting in json_schema()["properties"].items():
        yield f"setting {name}", f"{name} {setting['description']}"
    for path in sorted((ROOT / "share" / "releaser" / "schemas").glob("*.json")):
        for key in _keys(json.loads(path.read_text(encoding="utf-8"))["$defs"]):
            yield f"key {key}", key
    pictures = import_module("pictures")
    for name, report in pictures.MAILS.items():
        yield f"mail {name}", "\n".join((subject(report), render_bodies(report, footer=pictures.FOOTER)[0]))
    # docs/project/ lists names of tests.
    for page in sorted((ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("[!p]*/*.md"))):
        prose = re.sub(r"(?s)```.*?```|`[^`]*`|<!--.*?-->|\]\([^)]*\)", " ", page.read_text(encoding="utf-8"))
        yield page.name, prose
    for found in import_module("findings").list_findings():
        yield from ((f"finding {code}", f"{code} {meaning}") for code, meaning in found.items())


def _keys(definitions: dict[str, Any]) -> set[str]:
    return {key for one in definitions.values() for key in one["properties"]}


def test_no_word_that_the_glossary_leaves_out_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails: use the other word, or say in ALLOWED why it is right there."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    found = {
        (place, match[0].lower()): instead
        for place, text in texts()
        for words, instead in LEFT_OUT.items()
        for match in re.finditer(rf"(?i)(?<![a-z])(?:{words})(?![a-z])", " ".join(text.split()))
    }
    assert {one: instead for one, instead in found.items() if one not in ALLOWED} == {}
    assert {*ALLOWED} <= {*found}
