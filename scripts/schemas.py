"""What `make schemas` does: writes docs/reference/json-schemas.md from the types in releaser/answers.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from releaser.answers import ANSWERS, RUN

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "json-schemas.md"
_HEAD = """# JSON schemas

What each command prints with `--json`, as JSON Schema. [Exit codes and JSON](exit-codes-and-json.md) says what the
fields mean. Every field is always there, except that `history` leaves out `output`.

| command | prints |
|---|---|
"""


def main() -> int:
    """Write the page, or tell whether it is up to date."""
    page = render()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != page)
    PAGE.write_text(page, encoding="utf-8")
    return 0


def render() -> str:
    """Return the page."""
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
    return f'{_HEAD}{table}\n\n```json\n{{\n  "$defs": {{\n{definitions}\n  }}\n}}\n```\n'


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
