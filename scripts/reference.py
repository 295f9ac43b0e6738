"""What `make reference` does: writes commands, settings and JSON in docs/reference, and `share/`, from the code."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from findings import list_findings
from made import fill, keep

from releaser.answers import RUN, all_answers
from releaser.commands import cli
from releaser.commands.command import all_commands, sections
from releaser.pipelines.setup import LATER
from releaser.reporting.many_sites import EACH
from releaser.site.schema import comments
from releaser.site.settings import PREFIX, SPECS, AllSettings
from releaser.site.values import Kind, flag
from share import shared_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
_COMMON = {"--project", "--json", "--verbose", "--quiet", "--help"}
_FOUND_OUT = {*LATER, "state_dir", "environment", "group", "test_command", "uv", "restart_file", "passenger_app_root"}
_FOUND_OUT |= {"mail_from", "unix_group"}
_SCHEMAS = """# JSON schemas

What each command [prints with `--json`](exit-codes-and-json.md#json-in-general), as JSON Schema. Every field is always
there, except that `history` leaves out `output`.
"""

_FINDINGS = """# Findings

Each problem that a run, or `releaser check`, finds has a code, which stands among the `codes` of its
[JSON](exit-codes-and-json.md). A code stays the same whatever the sentence says; `…` stands for what differs.

"""


def main() -> int:
    """Write the files, or with `--check` tell whether they are up to date."""
    answers, schemas = _answers()
    is_right = [
        fill(REFERENCE / "commands.md", dict(_commands())),
        fill(REFERENCE / "settings.md", dict(_settings())),
        fill(REFERENCE / "exit-codes-and-json.md", {"answers": answers}),
        keep(REFERENCE / "json-schemas.md", schemas),
        keep(REFERENCE / "findings.md", _findings()),
        *[keep(ROOT / "share" / name, text) for name, text in shared_files()],
    ]
    return int("--check" in sys.argv[1:] and not all(is_right))


def _commands() -> Iterator[tuple[str, str]]:
    rows = [
        (f"[`{one.full_name}`](#{one.full_name.replace(' ', '-')})", one.get_short_help_str(limit=10_000), section)
        for section, commands in sections().items()
        for one in commands
    ]
    yield "commands", _table(("command", "does", "for"), rows)
    everywhere = click.Context(all_commands()["status"], **cli.context_settings)
    yield "options", _table(("option", "meaning"), _options(everywhere, common=True))
    for command in all_commands().values():
        context = click.Context(command, info_name=command.full_name, **cli.context_settings)
        usage = " ".join(["releaser", command.full_name, *command.collect_usage_pieces(context)]).strip()
        own = _options(context, common=False)
        lines = [f"## {command.full_name}", f"`{usage}`", inspect.cleandoc(command.help or "")]
        lines += [_table(("option", "meaning"), own)] if own else []
        lines += [f"```sh\n{(command.epilog or '').removeprefix('Example: ')}\n```"]
        yield f"{command.full_name}", "\n\n".join(lines)


def _options(context: click.Context, *, common: bool) -> list[tuple[str, str]]:
    options = [one for one in context.command.get_params(context) if isinstance(one, click.Option)]
    options = [one for one in options if bool(_COMMON & {*one.opts}) is common]
    records = [record for one in options if (record := one.get_help_record(context))]
    return [(f"`{names}`", meaning.replace("  [", " [")) for names, meaning in records]


def _settings() -> Iterator[tuple[str, str]]:
    said = comments(AllSettings)
    for name, spec in SPECS.items():
        kind = spec.kind.called
        default = "detected" if name in _FOUND_OUT else "none"
        if spec.default not in {None, ()}:
            default = f"`{spec.kind.spell_in_line(spec.default)}`"
        facts = [kind, f"Default: {default}", f"Environment: `{PREFIX}{name.upper()}`"]
        facts += [f"Alias: {', '.join(f'`{alias}`' for alias in spec.aliases)}"] if spec.aliases else []
        example = _example(name, spec.kind, spec.default)
        yield name, f"### `{name}`\n\n{kind[:1].upper()}{'. '.join(facts)[1:]}.\n\n{said[name]}{example}"


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


def _answers() -> tuple[str, str]:
    """Return the table of what commands print, and the page with the schemas of that."""
    answers = {
        **{f"`{command}`": found for command, found in all_answers().items()},
        "all others": RUN,
        "with `--all` or `--sites`": EACH,
    }
    kinds = list(dict.fromkeys(kind for found in answers.values() for kind in found))
    schemas, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    words = [_in_words(schema) for schema in schemas]
    rows = [(command, ", or ".join(words[kinds.index(kind)] for kind in found)) for command, found in answers.items()]
    said = {kind.__name__: comments(kind) for kind in _types(msgspec.inspect.multi_type_info(kinds))}
    definitions = ",\n".join(_definition(name, schema, said[name]) for name, schema in sorted(parts.items()))
    page = f'{_SCHEMAS}\n```json\n{{\n  "$defs": {{\n{definitions}\n  }}\n}}\n```\n'
    return _table(("command", "prints"), rows), page


def _findings() -> str:
    rows = [(f"`{code}`", "; ".join(said)) for code, said in sorted(list_findings().items())]
    return f"{_FINDINGS}{_table(('code', 'says'), rows)}\n"


def _types(found: Any) -> set[type]:
    """Return every type with fields that is in descriptions of types."""
    if isinstance(found, tuple | list):
        return {kind for one in found for kind in _types(one)}
    own = {found.cls} if isinstance(found, msgspec.inspect.DataclassType) else set()
    names = ("fields", "types", "item_type", "item_types", "value_type", "type")
    return own | {kind for name in names for kind in _types(getattr(found, name, ()))}


def _definition(name: str, schema: dict[str, Any], said: dict[str, str]) -> str:
    """Write one type, a line for each field."""
    properties = schema["properties"]
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
