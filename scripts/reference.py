"""What `make reference` does: writes what docs/reference has from the code. The commands come from click."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from made import fill, keep

from releaser.answers import ANSWERS, RUN
from releaser.cli import cli
from releaser.cli.command import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
_COMMON = {"--project", "--json", "--verbose", "--quiet", "--help"}
_SCHEMAS = """# JSON schemas

What each command prints with `--json`, as JSON Schema. [Exit codes and JSON](exit-codes-and-json.md) says what the
fields mean. Every field is always there, except that `history` leaves out `output`.

| command | prints |
|---|---|
"""


def main() -> int:
    """Write the pages, or with `--check` tell whether they are up to date."""
    is_right = [
        fill(REFERENCE / "commands.md", dict(_commands())),
        keep(REFERENCE / "json-schemas.md", _schemas()),
    ]
    return int("--check" in sys.argv[1:] and not all(is_right))


def _commands() -> Iterator[tuple[str, str]]:
    rows = [
        (f"[`{one.name}`](#{one.name})", one.get_short_help_str(limit=10_000), section)
        for section, commands in SECTIONS.items()
        for one in commands
    ]
    yield "commands", _table(("command", "does", "for"), rows)
    everywhere = click.Context(cli.commands["status"], **cli.context_settings)
    yield "options", _table(("option", "meaning"), _options(everywhere, common=True))
    for command in cli.commands.values():
        context = click.Context(command, info_name=command.name, **cli.context_settings)
        usage = " ".join(["releaser", command.name or "", *command.collect_usage_pieces(context)]).strip()
        own = _options(context, common=False)
        lines = [f"## {command.name}", f"`{usage}`", command.help or ""]
        lines += [_table(("option", "meaning"), own)] if own else []
        lines += [f"```sh\n{(command.epilog or '').removeprefix('Example: ')}\n```"]
        yield f"{command.name}", "\n\n".join(lines)


def _options(context: click.Context, *, common: bool) -> list[tuple[str, str]]:
    options = [one for one in context.command.get_params(context) if isinstance(one, click.Option)]
    options = [one for one in options if bool(_COMMON & {*one.opts}) is common]
    records = [record for one in options if (record := one.get_help_record(context))]
    return [(f"`{names}`", meaning.replace("  [", " [")) for names, meaning in records]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {line} |" for line in lines)])


def _schemas() -> str:
    answers = {**{f"`{command}`": found for command, found in ANSWERS.items()}, "all others": RUN}
    kinds = list(dict.fromkeys(kind for found in answers.values() for kind in found))
    schemas, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    words = [_in_words(schema) for schema in schemas]
    rows = [
        f"| {command} | {', or '.join(words[kinds.index(kind)] for kind in found)} |"
        for command, found in answers.items()
    ]
    definitions = ",\n".join(_definition(name, schema) for name, schema in sorted(parts.items()))
    table = "\n".join(rows)
    return f'{_SCHEMAS}{table}\n\n```json\n{{\n  "$defs": {{\n{definitions}\n  }}\n}}\n```\n'


def _definition(name: str, schema: dict[str, Any]) -> str:
    """Write one type, a line for each field."""
    properties = schema["properties"]
    for one in properties.values():
        one.pop("default", None)
    fields = ",\n".join(f"        {json.dumps(key)}: {json.dumps(one)}" for key, one in properties.items())
    description = schema["description"].partition("\n\n")[0]
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
