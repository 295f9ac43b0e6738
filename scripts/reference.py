"""What `make reference` does: writes commands, settings and JSON in docs/reference, and `share/`, from the code."""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from findings import list_findings
from made import fill, keep

from releaser.answers import RUN, all_answers
from releaser.commands.command import all_commands, cli, option_groups, sections
from releaser.pipelines.setup import LATER
from releaser.reporting.many_sites import EACH
from releaser.reporting.servers import PUBLISHED
from releaser.site.schema import comments
from releaser.site.settings import SPECS, AllSettings
from releaser.site.values import Kind, flag
from share import option_records, shared_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
_OMITTED = {"history": {"RunAnswer": {"output"}}}  # fields that one command leaves out
SCHEMAS = ROOT / "share" / "releaser" / "schemas"
_FOUND_OUT = {*LATER, "state_dir", "environment", "group", "test_command", "uv", "restart_file", "passenger_app_root"}
_FOUND_OUT |= {"mail_from", "unix_group"}
_FINDINGS = """# Findings

The codes of the problems that a run or `releaser check` reports, as in the `codes` of its
[JSON](exit-codes-and-json.md). Codes stay the same in all versions. Each message says what to do;
`man releaser-findings` has more.

"""


def main() -> int:
    """Write the files, or with `--check` report whether they are up to date."""
    answers, schemas = _answers()
    is_right = [
        fill(REFERENCE / "commands.md", dict(_commands())),
        fill(REFERENCE / "settings.md", dict(_settings())),
        fill(REFERENCE / "exit-codes-and-json.md", {"answers": answers}),
        keep(REFERENCE / "findings.md", _findings()),
        *[keep(SCHEMAS / f"{name}.json", text) for name, text in schemas.items()],
        *[keep(ROOT / "share" / name, text) for name, text in shared_files()],
    ]
    return int("--check" in sys.argv[1:] and not all(is_right))


def _commands() -> Iterator[tuple[str, str]]:
    lines = [
        f"- **{section}**: " + ", ".join(f"[`{one.full_name}`](#{_slug(one.full_name)})" for one in commands)
        for section, commands in sections().items()
    ]
    yield "commands", "\n".join(lines)
    update = all_commands()["update"]
    groups = option_groups(update, click.Context(update, **cli.context_settings))
    yield "options", _table(("option", "meaning"), _options(groups["Common options"], update))
    yield "many sites", _table(("option", "meaning"), _options(groups["Many sites"], update))
    for command in all_commands().values():
        context = click.Context(command, info_name=command.full_name, **cli.context_settings)
        usage = " ".join(["releaser", command.full_name, *command.collect_usage_pieces(context)]).strip()
        groups = option_groups(command, context)
        own = _options(groups.get("Options", ()), command)
        also = [
            f"`--{name}`"
            for name in ("dry-run", "wait")
            if any(name.replace("-", "_") == one.name for one in groups["Common options"])
        ]
        also += ["[many sites](#many-sites)"] if "Many sites" in groups else []
        lines = [
            f"## {command.full_name}",
            f"`{usage if own else usage.replace(' [OPTIONS]', '')}`",
            inspect.cleandoc(command.help or ""),
        ]
        lines += ["\n".join(f"- {names}: {meaning}" for names, meaning in own)] if own else []
        lines += [f"Also: {', '.join(also)}."] if also else []
        lines += [f"```sh\n{(command.epilog or '').removeprefix('Example: ')}\n```"]
        yield f"{command.full_name}", "\n\n".join(lines)


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _options(options: Iterable[click.Option], command: click.Command) -> list[tuple[str, str]]:
    context = click.Context(command, **cli.context_settings)
    return [(f"`{names}`", meaning) for names, meaning in option_records(options, context)]


def _settings() -> Iterator[tuple[str, str]]:
    said = comments(AllSettings)
    for name, spec in SPECS.items():
        words = [str(word) for word in spec.kind.schema.get("enum", ()) if spec.kind is not flag]
        default = "detected" if name in _FOUND_OUT else "none"
        if spec.default not in {None, ()}:
            default = f"`{spec.kind.spell_in_line(spec.default)}`"
        is_listed = all(f"`{word}`" in said[name] for word in words)
        facts = [] if is_listed else [f"One of {spec.kind.called}"]
        facts += [f"Default: {default}"] if default != "none" and "Default:" not in said[name] else []
        facts += [f"Alias: {', '.join(f'`{alias}`' for alias in spec.aliases)}"] if spec.aliases else []
        text = " ".join([said[name], *(f"{fact}." for fact in facts)])
        yield name, f"### `{name}`\n\n{text}{_example(name, spec.kind, spec.default)}"


def _example(name: str, kind: Kind[Any], default: Any) -> str:
    """Return an example of a setting whose values all look alike: another value than the default."""
    value: bool | str | float | None = None
    if kind is flag:
        value = not default
    elif words := kind.schema.get("enum"):
        value = words[(words.index(default) if default else 0) + 1]
    elif isinstance(default, int | float) and default:
        value = default * 2
    return "" if value is None else f"\n\n```toml\n{name} = {json.dumps(kind.spell(value))}\n```"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {line} |" for line in lines)])


def _answers() -> tuple[str, dict[str, str]]:
    """Return the table of what commands print, and the schema of each answer by the name of its file."""
    answers = {**all_answers(), "run": RUN, "many-sites": EACH, "report": PUBLISHED}
    called = {
        "run": "all others",
        "many-sites": "with `--all` or `--sites`",
        "report": "`report --publish`",
    }
    rows: list[tuple[str, str]] = []
    schemas: dict[str, str] = {}
    for command, kinds in answers.items():
        found, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
        file = _slug(command)
        rows.append((called.get(command, f"`{command}`"), ", or ".join(map(_in_words, found))))
        said = {kind.__name__: comments(kind) for kind in _types(msgspec.inspect.multi_type_info(kinds))}
        omitted = _OMITTED.get(command, {})
        definitions = ",\n".join(
            _definition(name, schema, said[name], omitted.get(name, set())) for name, schema in sorted(parts.items())
        )
        title = f"releaser {command} --json" if command not in called else f"releaser --json: {command}"
        schemas[file] = (
            f'{{\n  "$schema": "https://json-schema.org/draft/2020-12/schema",\n  "title": {json.dumps(title)},\n'
            f'  "anyOf": {json.dumps(list(found))},\n  "$defs": {{\n{definitions}\n  }}\n}}\n'
        )
    return _table(("command", "prints"), rows), schemas


def _findings() -> str:
    explained, others = list_findings()
    table = _table(("code", "meaning"), ((f"`{code}`", meaning) for code, meaning in explained.items()))
    names = textwrap.fill(", ".join(f"`{code}`" for code in others), 120, break_on_hyphens=False)
    return f"{_FINDINGS}{table}\n\nThese codes need no explanation:\n\n{names}.\n"


def _types(found: Any) -> set[type]:
    """Return every type with fields that is in descriptions of types."""
    if isinstance(found, tuple | list):
        return {kind for one in found for kind in _types(one)}
    own = {found.cls} if isinstance(found, msgspec.inspect.DataclassType) else set()
    names = ("fields", "types", "item_type", "item_types", "value_type", "type")
    return own | {kind for name in names for kind in _types(getattr(found, name, ()))}


def _definition(name: str, schema: dict[str, Any], said: dict[str, str], omitted: set[str]) -> str:
    """Write one type, a line for each field."""
    properties = {key: one for key, one in schema["properties"].items() if key not in omitted}
    for key, one in properties.items():
        one.pop("default", None)
        one |= {"description": re.sub(r"\bNone\b", "null", said[key])} if key in said else {}
    fields = ",\n".join(f"        {json.dumps(key)}: {json.dumps(one)}" for key, one in properties.items())
    description = " ".join(schema["description"].split())
    return (
        f'    "{name}": {{\n      "type": "object",\n      "description": {json.dumps(description)},\n'
        f'      "properties": {{\n{fields}\n      }},\n      "required": {json.dumps(list(properties))}\n    }}'
    )


def _in_words(schema: dict[str, Any]) -> str:
    """Say what a schema describes: one object, or a list of them."""
    name = str(schema.get("$ref") or schema["items"]["$ref"]).rpartition("/")[2]
    return f"a list of `{name}`" if schema.get("type") == "array" else f"`{name}`"


if __name__ == "__main__":
    raise SystemExit(main())
