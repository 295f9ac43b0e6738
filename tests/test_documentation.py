"""The documentation against the code: nothing is missing in it, and nothing is made up."""

import contextlib
import importlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest
from dotenv import dotenv_values

import releaser
from releaser import errors
from releaser.answers import all_answers
from releaser.commands.command import all_commands, cli
from releaser.site.loading import Loaded, load
from releaser.site.schema import json_schema
from releaser.site.settings import HOOK_VARIABLES, PREFIX, SPECS, AllSettings
from tests.support.commands import git_executable
from tests.support.markdown import Block, Page, code_words
from tests.support.osv import VulnerabilityService
from tests.support.sites import SiteFactory

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
OF_THE_REPOSITORY = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
PAGES = [Page(path=path) for path in (*OF_THE_REPOSITORY, *sorted(DOCS.rglob("*.md")))]
EXCLUDED = re.search(r"(?m)^exclude_docs: \|\n((?:  /.+\n)+)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
assert EXCLUDED
OFF_THE_SITE = tuple(f"docs{line.strip()}" for line in EXCLUDED[1].splitlines())
ON_THE_SITE = [
    page
    for page in PAGES
    if page.path.is_relative_to(DOCS) and not page.path.relative_to(ROOT).as_posix().startswith(OFF_THE_SITE)
]
COMMANDS = Page(path=DOCS / "reference" / "commands.md")
SETTINGS = Page(path=DOCS / "reference" / "settings.md")
EXIT_CODES = Page(path=DOCS / "reference" / "exit-codes-and-json.md")
TROUBLESHOOTING = Page(path=DOCS / "guides" / "troubleshooting.md")
ARCHITECTURE = Page(path=DOCS / "architecture.md")

# Every other host in an example is one that is reserved for examples, so no package index is ever named.
HOSTS = {"127.0.0.1", "keepachangelog.com", "semver.org"}
SIGNALS = {129, 130, 143}  # 128 and the number of SIGHUP, SIGINT, SIGTERM
SHELLS = {"sh", "crontab", "fish", "ini"}  # languages of blocks in which every line may be a command

by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.path.relative_to(ROOT)))


def test_the_site_has_at_most_its_number_of_words() -> None:
    """If this fails: replace sentences rather than add. The generated reference counts, too."""
    unseen = re.compile(r"(?s)<!--.*?-->|!\[[^]]*\]\([^)]*\)")
    texts = [unseen.sub("", page.path.read_text(encoding="utf-8")) for page in ON_THE_SITE]
    assert sum(len(re.findall(r"\S*\w\S*", text)) for text in texts) <= 28_500


def test_what_an_older_tool_promised_is_shown_by_tests_that_there_are() -> None:
    text = (DOCS / "project" / "moving-from-transmute.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    places = {"tests/e2e/test_exec.py", *re.findall(r"`(tests/[\w/]+|test_\w+\.py)`", text)}
    files = [file for file in (ROOT / "tests").rglob("test_*.py") if any(place in str(file) for place in places)]
    there = {name for file in files for name in re.findall(r"(?m)^def (test_\w+)\(", file.read_text(encoding="utf-8"))}
    for row in rows:
        named = set(re.findall(r"`(test_\w+)`", row))
        assert named, row
        assert named <= there, named - there


# Commands


@pytest.mark.spawns
def test_the_reference_is_made_from_the_code() -> None:
    """If this fails: `make reference`. A place in a page without a part that is made fails too."""
    script = ROOT / "scripts" / "reference.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0


def test_a_new_part_gets_its_place_below_the_part_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    fill, page = importlib.import_module("made").fill, tmp_path / "page.md"
    page.write_text("<!-- a -->\n<!-- end of a -->\n\nOf a.\n\n## Other\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["made", "--check"])
    assert fill(page, {"a": "A"}) is fill(page, {"a": "", "b": ""}) is False
    monkeypatch.setattr(sys, "argv", ["made"])
    fill(page, {"a": "A", "b": "B", "c": "C"})
    a, b, c = (f"<!-- {one} -->\n{one.upper()}\n<!-- end of {one} -->\n\n" for one in "abc")
    assert page.read_text(encoding="utf-8") == f"{a}Of a.\n\n{b}{c}## Other\n"
    with pytest.raises(ValueError, match="no part that is made"):
        fill(page, {"a": "A", "b": "B"})


@pytest.mark.parametrize("width", [60, 80])
def test_the_help_lists_every_command_once_and_cuts_nothing_off(width: int) -> None:
    with click.Context(cli, info_name="releaser", terminal_width=width, **cli.context_settings) as context:
        lines = cli.get_help(context).splitlines()
    listed = [found[1] for line in lines if (found := re.match(r"  ([a-z][a-z -]+?)  +[A-Z]", line))]
    assert sorted(listed) == sorted(all_commands())
    assert not any("..." in line.partition("  ")[2] for line in lines)
    assert max(map(len, lines)) <= width


def test_the_help_of_a_command_ends_with_an_example_of_it_that_click_takes() -> None:
    for command in all_commands().values():
        words = shlex.split((command.epilog or "").removeprefix("Example: releaser "))
        count = len(command.full_name.split())
        assert words[:count] == command.full_name.split()
        with command.make_context(command.full_name, words[count:]):
            pass


# Examples


@by_name
def test_what_a_page_says_of_releaser_is_so(page: Page) -> None:
    """See tests/e2e/test_examples.py for what is typed."""
    typed = re.compile(r"(?:sudo|ssh|cd|uv|python3|pip|(?:~?/\S+/)?releaser) ")
    for block in page.blocks:
        for line in _command_lines(block):
            _parse(line)
        outside_of_tests = [line for line in block.lines if block.language in {"", "text"} and typed.match(line)]
        assert outside_of_tests == [], "a command stands in a block that no test runs"
        if block.language == "json":
            json.loads(block.text)
        if block.language in {"toml", "dotenv"}:
            assert [problem.message for problem in _load_example(block).problems] == []
    for words in code_words(page.prose):
        if words.startswith("releaser ") and not re.search(r"[\[…]|COMMAND", words):
            with contextlib.suppress(click.MissingParameter):  # a command may be spoken of without its arguments
                _parse(shlex.split(words))


@by_name
def test_what_a_page_names_is_there_and_only_hosts_of_examples_are_named(page: Page) -> None:
    text = page.path.read_text(encoding="utf-8")
    for link in page.links:
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), f"{link} does not exist"
        assert not anchor or anchor in _anchors(path), f"{link}: there is no such heading"
    variables = set(re.findall(r"(?<![\w-])(?:RELEASER_[A-Z_]*[A-Z]|AUTO_UPDTR__[A-Z_]+|ADMINS_JSON)\b", text))
    aliases = {alias for spec in SPECS.values() for alias in spec.aliases}
    assert variables <= {f"{PREFIX}{name.upper()}" for name in SPECS} | {*HOOK_VARIABLES} | aliases
    hosts = set(re.findall(r"://(?:[^\s/@`]*@)?([\w.-]+)", text)) - HOSTS
    assert [host for host in hosts if not re.fullmatch(r"(?:[\w-]+\.)*example\.(?:org|com|net)", host)] == []
    lines = [line for block in page.blocks if block.language == "sh" for line in block.lines]
    assert _make_targets([*lines, *code_words(page.prose)]) <= _targets()


@cache
def _anchors(path: Path) -> set[str]:
    return Page(path=path).anchors


@cache
def _targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_a_wrong_command_line_in_an_example_would_be_found() -> None:
    page = Page(path=COMMANDS.path)
    lines = [line for block in page.blocks for line in _command_lines(block)]
    assert len(lines) > 20
    for wrong in (["releaser", "updat"], ["releaser", "update", "--nonsense"], ["releaser", "show"]):
        with pytest.raises(click.UsageError):
            _parse(wrong)


def _command_lines(block: Block) -> Iterator[list[str]]:
    """Find the calls of releaser in an example; in a console only lines behind `$ ` are commands."""
    if block.language not in SHELLS | {"console"}:
        return
    for line in "\n".join(block.lines).replace("\\\n", " ").splitlines():
        if block.language == "console" and not line.startswith("$ "):
            continue
        lexer = shlex.shlex(line.removeprefix("$ ").replace("ExecStart=", ""), posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words = list(lexer)
        for place, word in enumerate(words):
            if word.rpartition("/")[2] == "releaser" and _is_program(words[:place]):
                yield ["releaser", *_up_to_operator(words[place + 1 :])]


def _is_program(before: list[str]) -> bool:
    """Tell a program from an argument: it stands first, behind an operator, a variable, cron's five fields or sudo."""
    if not before or set(before[-1]) <= set("();<>|&") or re.fullmatch(r"\w+=\S*", before[-1]) or before[0] == "sudo":
        return True
    return len(before) == 5 and all(re.fullmatch(r"[\d*/,-]+", field) for field in before)


def _up_to_operator(words: list[str]) -> list[str]:
    end = next((place for place, word in enumerate(words) if set(word) <= set("();<>|&")), len(words))
    return words[:end]


def _parse(words: list[str]) -> None:
    """Let click parse a command line, without doing what it says. Raises UsageError."""
    if len(words) == 1:
        return  # as shell completion calls it
    context = click.Context(cli, info_name="releaser", **cli.context_settings)
    command = cli.get_command(context, words[1])
    if isinstance(command, click.Group):
        context, words = click.Context(command, info_name=words[1], parent=context), words[1:]
        command = command.get_command(context, words[1]) if len(words) > 1 else command
    try:
        if command is None:
            cli.make_context("releaser", words[1:])
            context.fail(f"no such command: {words[1]}")
        else:
            command.make_context(command.name, words[2:], parent=context)
    except click.exceptions.Exit as end:  # --version, --help
        if end.exit_code != 0:
            raise


# Settings


def test_every_setting_has_an_example_that_works() -> None:
    validator = pytest.importorskip("jsonschema").validators.validator_for(json_schema())(json_schema())
    sections = SETTINGS.sections(3)
    for setting in SPECS:
        blocks = sections[setting].blocks
        assert len(blocks) == 1, f"{setting} has {len(blocks)} examples (`make reference` writes that of many kinds)"
        (block,) = blocks
        loaded = _load_example(block)
        assert (loaded.problems, list(loaded.sources)) == ((), [setting])
        value = getattr(loaded.settings, setting)
        assert value != getattr(AllSettings(), setting), setting
        kind = SPECS[setting].kind
        assert kind(kind.spell(value)) == value
        validator.validate(_table_of(block))
        validator.validate({setting: kind.spell(value)})


def test_the_example_for_the_environment_is_read_as_such(tmp_path: Path) -> None:
    blocks = [block for block in SETTINGS.blocks if block.language == "dotenv"]
    for block in blocks:
        (tmp_path / ".env").write_text(block.text, encoding="utf-8")
        loaded = load(table={}, pyproject=tmp_path / "x", env_file=tmp_path / ".env", environ={})
        assert not loaded.problems
        assert loaded.sources


def test_the_older_updaters_names_are_in_the_page_on_moving() -> None:
    page = Page(path=DOCS / "guides" / "moving-from-requirements-auto-updater.md")
    table = page.sections(2)["Old and new names"].table("before", "now")
    named = {word for row in table for word in code_words(row[0])}
    assert {alias for spec in SPECS.values() for alias in spec.aliases} <= named


def _load_example(block: Block) -> Loaded:
    """Read an example as releaser would: TOML with or without the heading of the table, or a `.env`."""
    table = _table_of(block)
    variables = {} if block.language == "toml" else _dotenv(block.text)
    if "smtp_password_file" in table:  # which is read at once
        table |= {"smtp_password_file": str(ROOT / "tests" / "live" / "__init__.py")}
    return load(table=table, pyproject=Path("pyproject.toml"), env_file=ROOT / "no-such-file", environ=variables)


def _table_of(block: Block) -> Any:
    content = tomllib.loads(block.text) if block.language == "toml" else {}
    return content["tool"]["releaser"] if "tool" in content else content


def _dotenv(text: str) -> dict[str, str]:
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(text)).items()}


# Exit codes and JSON


def test_every_exit_code_is_documented_and_no_other() -> None:
    table = EXIT_CODES.sections(2)["Exit codes"].table("code", "meaning", "live release")
    assert {int(row[0]) for row in table} == _exit_codes()


def test_troubleshooting_says_what_to_do_about_every_exit_code() -> None:
    titles = TROUBLESHOOTING.sections(2)
    covered = {int(number) for title in titles if title.startswith("Exit code") for number in re.findall(r"\d+", title)}
    assert covered == _exit_codes() - {0}


def _exit_codes() -> set[int]:
    def subclasses(one: type[errors.ReleaserError]) -> Iterator[type[errors.ReleaserError]]:
        yield one
        for other in one.__subclasses__():
            yield from subclasses(other)

    known = {int(one) for one in errors.ExitCode if one < errors.ExitCode.SIGNALLED}
    assert {one.exit_code for one in subclasses(errors.ReleaserError)} <= known
    return known | SIGNALS


def test_every_field_in_a_json_example_is_one_of_the_answers() -> None:
    texts = [path.read_text("utf-8") for path in (ROOT / "share" / "releaser" / "schemas").glob("*.json")]
    known = {name for text in texts for name in re.findall(r'^        "(\w+)": ', text, re.MULTILINE)}
    named = {key for block in EXIT_CODES.blocks if block.language == "json" for key in _keys(json.loads(block.text))}
    assert named
    assert named <= known
    assert set(code_words(EXIT_CODES.sections(2)["status"].prose)) - set(all_commands()) - {"null"} <= known


def _keys(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        yield from content
    for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _keys(value)


@pytest.mark.spawns
@pytest.mark.slow
def test_the_picture_of_an_update_has_its_steps_in_order(make_site: SiteFactory) -> None:
    """A run may have more steps than the picture, but no other ones than docs/how-it-works.md lists, in that order."""
    with VulnerabilityService().serving() as service:
        asking = {"RELEASER_HEALTH_CHECK": "true", "RELEASER_VULNERABILITY_SERVICE": service.url}
        asking |= dict.fromkeys(("RELEASER_BEFORE_BUILD", "RELEASER_BEFORE_LIVE", "RELEASER_AFTER_LIVE"), "true")
        site = make_site.adopted("1.1.0", dotenv=asking, due="1.2.0")
        site.push_from_elsewhere({"news.txt": "open on Sundays"})
        steps = [step["step"] for step in site.json("update")["steps"]]
    listed = iter([name for names in _steps_of_an_update() for name in names])
    assert [step for step in steps if step not in listed] == []
    done = iter(steps)
    picture = next(block for block in PAGES[0].blocks if block.language == "console")
    found = [one[1] for line in picture.lines if (one := re.match(r"[✓–] (.+?)  +[\d.]+ s", line))]
    assert found
    assert [step for step in found if step not in done] == []


def _steps_of_an_update() -> Iterator[list[str]]:
    """Yield the steps that each item of the list in docs/how-it-works.md names in brackets."""
    for line in Page(path=DOCS / "how-it-works.md").sections(2)["An update, step by step"].prose.splitlines():
        if found := re.match(r"\d+\. \*\*.+?\*\* \((.+?)\)\.", line):
            yield code_words(found[1])


# Mails


def test_each_kind_of_subject_is_on_the_page_about_mails() -> None:
    """The subjects are those of tests/reporting/test_subject.py; one that only names a problem has no kind."""
    text = (ROOT / "tests" / "reporting" / "test_subject.py").read_text(encoding="utf-8")
    found = re.findall(r'"[✓!✗↩] mysite: (?:rebuild |rollback )?([a-zA-Z]+)', text)
    page = Page(path=DOCS / "guides" / "mails.md")
    titles = {re.sub(r"\W*(\w+).*", r"\1", title) for title in page.sections(2)}
    assert {"updated", "refused", "failed", "rolled", "FAILED", "interrupted"} <= titles & {*found}
    documented = titles | {words.split()[0] for words in code_words(page.prose)}
    no_kind = {"a", "adopt", "no", "problem", "The"}  # problems, and `adopt`, a command that sends no mail by itself
    assert {*found} - no_kind <= documented


# Architecture


@pytest.mark.spawns
def test_the_table_of_attacks_is_theirs() -> None:
    """If this fails: `make architecture`."""
    script = ROOT / "scripts" / "architecture.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0


def test_only_commands_have_types_of_answers() -> None:
    assert set(all_answers()) <= set(all_commands())


def test_each_attack_on_the_page_about_security_is_played() -> None:
    named = {word for word in code_words(Page(path=DOCS / "security.md").prose) if re.fullmatch(r"test_\w+\.py", word)}
    assert len(named) > 20
    assert named <= {path.name for path in (ROOT / "tests" / "attacks").iterdir()}


def test_the_summary_of_the_bench_has_the_aims_of_its_figures() -> None:
    figures = (DOCS / "project" / "performance-figures.md").read_text(encoding="utf-8")
    (aims,) = re.findall(r"^(\d+ of \d+ aims are met\.)$", figures, re.MULTILINE)
    assert aims in (DOCS / "performance.md").read_text(encoding="utf-8")


def test_every_file_that_the_architecture_names_is_there() -> None:
    named = {word.split(":")[0] for word in code_words(ARCHITECTURE.prose) if re.fullmatch(r"[\w./-]+\.(py|md)", word)}
    places = [ROOT, ROOT / "releaser", *(path for path in (ROOT / "releaser").iterdir() if path.is_dir())]
    assert named
    assert [name for name in sorted(named) if not any((place / name).is_file() for place in places)] == []


# Pages


def test_every_page_of_the_site_can_be_reached_from_the_index_and_every_other_page_from_a_page() -> None:
    def linked(page: Page) -> set[Path]:
        return {(page.path.parent / link.partition("#")[0]).resolve() for link in page.links}

    index = Page(path=DOCS / "index.md")
    assert {page.path for page in ON_THE_SITE} - {index.path} <= linked(index)
    assert index.path in linked(PAGES[0])
    reached = set[Path]().union(*map(linked, PAGES))
    assert {page.path for page in PAGES} - {PAGES[0].path} <= reached


def test_every_page_is_listed_in_the_site_of_the_documentation() -> None:
    """`make docs` checks this too, and each link and anchor."""
    listed = set(re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert {page.path.relative_to(DOCS).as_posix() for page in ON_THE_SITE} == listed


@pytest.mark.spawns
def test_no_file_names_the_host_of_a_package_registry() -> None:
    # They are put together here, so that this file does not name them either.
    hosts = "|".join("\\.".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("anaconda", "org")))
    words = [str(git_executable()), "grep", "--ignore-case", "--line-number", "--extended-regexp", hosts]
    assert subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout == ""


def _make_targets(texts: Iterable[str]) -> set[str]:
    found = (re.match(r"(?:[A-Z]+=\S+ )?make ([a-z]+)", text) for text in texts)
    return {one[1] for one in found if one}


def test_the_changelog_knows_this_version() -> None:
    versions = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == releaser.__version__
