"""The reference that is made from the code: schemas of answers, help, and the words in all of these."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest

from releaser.answers import all_answers
from releaser.commands.command import all_commands, cli, option_groups
from tests.support.guards import require
from tests.support.sites import SiteFactory

SHARE = Path(__file__).parent.parent / "share"
SCHEMAS = SHARE / "releaser" / "schemas"


def schemas() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(SCHEMAS.glob("*.json"))}


def test_each_answer_has_a_schema_of_its_own_and_no_schema_is_left_over() -> None:
    """If this fails after a command was removed: delete its file."""
    assert {*schemas()} == {*(name.replace(" ", "-") for name in all_answers()), "run", "many-sites", "report"}


def test_each_schema_is_valid_and_refuses_an_answer_of_another_kind() -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    for name, schema in schemas().items():
        validator.check_schema(schema)
        assert not validator(schema).is_valid({"no": "answer"}), name
        assert {part.rpartition("/")[2] for part in _references(schema)} == {*schema["$defs"]}, name


def _references(content: Any) -> set[str]:
    if isinstance(content, dict):
        own = {content["$ref"]} if "$ref" in content else set[str]()
        return own.union(*(_references(one) for one in content.values()))
    return set[str]().union(*(_references(one) for one in content)) if isinstance(content, list) else set()


@pytest.mark.spawns
@pytest.mark.slow
def test_what_commands_print_is_what_their_schemas_say(make_site: SiteFactory) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    site = make_site.adopted("1.1.0", due="1.2.0")
    asking = ("list", "status", "history", "check", "config", "verify", "outdated")
    answers = {"run": site.json("update")} | {name: site.json(name) for name in asking}
    answers |= {"show": site.json("show", "live"), "diff": site.json("diff", "previous"), "prune": site.json("prune")}
    for name, answer in answers.items():
        validator(schemas()[name]).validate(answer)
        assert name in {*all_commands(), "run"}


# Help


def test_the_help_begins_with_the_commands_of_daily_use_and_ends_with_options() -> None:
    with click.Context(cli, info_name="releaser", terminal_width=80, **cli.context_settings) as context:
        text = cli.get_help(context)
    titles = re.findall(r"(?m)^([A-Z][\w ]+):$", text)
    assert (titles[0], titles[-1]) == ("Daily use", "Options")
    daily = re.findall(r"(?m)^  ([a-z][a-z-]*)  ", text.partition("Daily use:")[2].partition("\n\n")[0])
    assert daily == ["update", "status", "list", "rollback", "outdated", "check"]


@pytest.mark.parametrize("name", all_commands())
def test_the_help_of_a_command_has_its_own_options_first(name: str) -> None:
    command = all_commands()[name]
    with click.Context(command, info_name=name, **cli.context_settings) as context:
        groups, text = option_groups(command, context), command.get_help(context)
    assert re.findall(r"(?m)^(Options|Many sites|Common options):$", text) == [*groups]
    assert [*groups] == [one for one in ("Options", "Many sites", "Common options") if one in groups]
    shared = {name for title in [*groups] if title != "Options" for one in groups[title] for name in one.opts}
    many = {"--all", "--sites", "--site-group", "--jobs"}
    common = {"--dry-run", "--wait", "--project", "--json", "--verbose", "-v", "--quiet", "-q", "--help", "-h"}
    assert shared <= many | common
    assert "--project" in shared
    assert sum(map(len, groups.values())) == sum(isinstance(one, click.Option) for one in command.get_params(context))
    assert "--help" in groups["Common options"][-1].opts
    assert text.count("Example: releaser ") == 1


# Man pages


def test_each_command_has_a_man_page_and_no_page_is_left_over() -> None:
    """If this fails after a command was removed: delete its file."""
    names = {f"man1/releaser-{name.replace(' ', '-')}.1" for name in all_commands()}
    found = {str(path.relative_to(SHARE / "man")) for path in SHARE.glob("man/*/*")}
    assert found == {*names, "man1/releaser.1", "man5/releaser-settings.5", "man7/releaser-findings.7"}


@pytest.mark.spawns
def test_man_pages_have_no_mistakes() -> None:
    require(shutil.which("mandoc"), "mandoc is not installed")
    pages = sorted(SHARE.glob("man/*/*"))
    checked = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *pages], capture_output=True, text=True, check=False
    )
    lines = [line for line in checked.stdout.splitlines() if not line.endswith('missing date, using "": TH')]
    assert lines == []  # without a date, the same source gives the same page
    page = subprocess.run(["mandoc", "-T", "ascii", SHARE / "man/man1/releaser-run.1"], capture_output=True, check=True)
    shown = re.sub(".\x08", "", page.stdout.decode())
    assert "releaser run --project /srv/shop_stuff/shop -- celery -A shop worker\n" in shown
    assert "-q, --quiet" in shown
