"""How settings are written: a value as pyproject.toml or a variable would have it, and the JSON Schema of all."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

from releaser.site import values
from releaser.site.addresses import Address, addresses, sender
from releaser.site.settings import SPECS, AllSettings
from releaser.site.values import Window

Parser = Callable[[Any], Any]
Schema = dict[str, Any]

_LINE = {"type": "string", "pattern": r"^[^\0\r\n]*\S[^\0\r\n]*$"}
_LENGTH = r"[0-9]+(\.[0-9]+)?[smhdw]"
_STATUS = r"([1-5]xx|[1-5][0-9][0-9](-[1-5][0-9][0-9])?)"
_WINDOW = r"^[A-Za-z,\s-]*[0-2][0-9]:[0-5][0-9]\s*-\s*[0-2][0-9]:[0-5][0-9]\s*$"
_NAME = r"[A-Za-z0-9._*?!\[\]-]*"


def _text(pattern: str) -> Schema:
    return {"type": "string", "pattern": pattern}


def _list(item: str, word: str, *, least: int = 0) -> Schema:
    """Describe a list of strings, or one string with commas; both patterns are of one name in it."""
    in_one = _text(rf"^(?!\[[\"'])\s*{word}\s*(,\s*{word}\s*)*$")
    return {"anyOf": [{"type": "array", "items": _text(f"^{item}$"), "minItems": least}, in_one]}


_NAMES = r"(\S([\s\S]*\S)?)?"
_URL = r"[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#]\S*"
#: By parser, what it takes in pyproject.toml; a value that it takes in no schema's words is left to it.
_SCHEMAS: dict[Parser, Schema] = {
    values.text: _text(r"^[^\0\r\n]*$"),
    values.visible: _LINE,
    values.non_empty: _LINE,
    values.interpreter: {**_LINE, "not": {"const": "latest"}},
    values.flag: {"enum": [True, False, "true", "false"]},
    values.duration: {"anyOf": [{"const": 0}, _text(f"^(0|{_LENGTH})$")]},
    values.jitter: {"anyOf": [{"const": 0}, _text(f"^(0|{_LENGTH})$")]},
    values.interval: _text(f"^(?=.*[1-9]){_LENGTH}$"),
    values.windows: {
        "anyOf": [{"type": "array", "items": _text(_WINDOW)}, _text(rf"{_WINDOW[:-1]}(;{_WINDOW[1:-1]})*$")]
    },
    values.limit: _text(f"^(?=.*[1-9]){_LENGTH}$"),
    values.count: {"anyOf": [{"type": "integer", "minimum": 0}, _text("^[0-9]+$")]},
    values.port: {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 65535}, _text("^[0-9]+$")]},
    values.command: {
        "anyOf": [_text(r"^\s*[^\s\[]"), {"type": "array", "items": {"type": "string"}, "minItems": 1}],
    },
    values.url_or_command: _text(r"^\s*(https?://[^\s/?#]\S*\s*|(?![^\s'\"\\]*://)\S.*)$"),
    values.url_or_none: _text(rf"^\s*(none|{_URL})\s*$"),
    values.host: _text(r"^\s*[^\s/?#@:][^\s/?#@]*\s*$"),
    values.socket_path: _text(r"^\s*/"),
    values.path: _LINE,
    values.file_inside: _text(
        r"^\s*(?!/|\.\./|(\./)*(\.git/|(\.\.?|\.git|uv\.lock|pyproject\.toml)\s*$))[^\0\r\n]*\S[^\0\r\n]*$"
    ),
    values.paths_inside: _list(
        r"\s*(?!/|\.\./|(\./)*(\.git/|(\.\.?|\.git|uv\.lock|pyproject\.toml)\s*$))\S([^\0\r\n]*\S)?",
        r"(?!/|\.\./|(\./)*(\.git/|(\.\.?|\.git|uv\.lock|pyproject\.toml)\s*(,|$)))[^\0\r\n,]*",
    ),
    values.paths: _list(_NAMES, "[^,]*"),
    values.services: _list(r"[A-Za-z][\w+.-]*://\S+", r"[A-Za-z][\w+.-]*://[^\s,]+"),
    values.s3_prefixes: _list(r"s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*/*", r"s3://[a-z0-9][^\s,]+"),
    values.ids: _list(r"[^\s,]*", r"[^\s,]*"),
    values.patterns: _list(rf"(?!/|\.\./|.*/\.\./){_NAMES}", r"(?!/|\.\./|[^,]*/\.\./)[^,]*"),
    values.statuses: _list(rf"\s*{_STATUS}\s*", _STATUS, least=1),
    values.package_patterns: _list(_NAME, _NAME),
    sender: _text("^[^@]*@"),
    addresses: {
        "anyOf": [
            {
                "type": "array",
                "items": {
                    "anyOf": [
                        _text("@"),
                        {
                            "type": "array",
                            "prefixItems": [{"type": "string"}, _text("@")],
                            "minItems": 2,
                            "maxItems": 2,
                        },
                    ]
                },
            },
            _text(r"^\s*\["),
        ]
    },
}


def describe(parse: Parser) -> Schema:
    """Return the JSON Schema of what a parser takes; KeyError for one of an unknown kind."""
    if isinstance(parse, partial) and parse.func is values.one_of:
        return {"enum": list(parse.args[0])}
    if isinstance(parse, partial) and parse.func is values.pairs:
        table = {
            "type": "object",
            "propertyNames": {**_text(f"^{_NAME}$"), "minLength": 1},
            "additionalProperties": describe(parse.args[0]),
        }
        return {"anyOf": [table, _text(r"^\s*([^=,]+=[^,]*(,[^=,]+=[^,]*)*)?$")]}
    return _SCHEMAS[parse]


def json_schema() -> Schema:
    """Return the JSON Schema of `[tool.releaser]` in pyproject.toml."""
    properties, said = {}, comments(AllSettings)
    for name, spec in SPECS.items():
        parse: Parser = spec.parse
        schema = describe(parse)
        if spec.default is not None:
            schema = {"default": spell(spec.default, parse), **schema}
        form = parse.func if isinstance(parse, partial) else parse
        how = "" if "enum" in schema else inspect.cleandoc(form.__doc__ or "").partition("\n\n")[0]
        properties[name] = {"description": f"{said[name]} {how}".strip(), **schema}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "[tool.releaser] in pyproject.toml",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def comments(kind: type) -> dict[str, str]:
    """Return what the comments above the fields of a class, and of those that it is made from, say of them."""
    source = "\n".join(inspect.getsource(one) for one in reversed(kind.__mro__[:-1]))
    found = re.findall(r"((?:^    #: .*\n)+)    (\w+): ", source, re.MULTILINE)
    return {name: " ".join(line.strip().removeprefix("#: ") for line in text.splitlines()) for text, name in found}


def spell(value: Any, parse: Parser) -> Any:
    """Write a value as pyproject.toml has it; what is not set is None."""
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            length, unit = next(((n, u) for n, u in ((86400, "d"), (3600, "h"), (60, "m")) if value % n == 0), (1, "s"))
            return f"{value / length:g}{unit}" if value else 0
        case range():
            last = "" if len(value) == 1 else f"-{value[-1]}"
            is_class = len(value) == 100 and value.start % 100 == 0
            return f"{value.start // 100}xx" if is_class else f"{value.start}{last}"
        case Window():
            return value.text
        case Address():
            return [value.name, value.address]
    if isinstance(parse, partial) and parse.func is values.pairs:
        return {name: spell(one, parse.args[0]) for name, one in value}
    return [spell(one, parse) for one in value]


def spell_in_line(value: Any, parse: Parser) -> str:
    """Write a value as a variable has it."""
    match spell(value, parse):
        case bool(flag):
            return str(flag).lower()
        case dict(table):
            return ",".join(f"{name}={one}" for name, one in table.items())
        case None:
            return ""
        case list(people) if parse is addresses:
            return json.dumps(people, ensure_ascii=False)
        case list(words):
            return (
                shlex.join(words) if parse is values.command else ("; " if parse is values.windows else ",").join(words)
            )
        case other:
            return str(other)
