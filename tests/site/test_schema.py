"""That settings can be written as they were read, and that the JSON Schema takes and refuses what releaser does."""

import functools
from pathlib import Path
from typing import Any

import pytest

from releaser.site import values
from releaser.site.loading import load
from releaser.site.package_windows import tables_by_package
from releaser.site.schema import json_schema
from releaser.site.settings import SPECS, AllSettings
from releaser.site.windows import jitter
from tests.site.test_values import BY_PACKAGE, RIGHT, WRONG, form

jsonschema = pytest.importorskip("jsonschema")  # which not every environment of development has

#: By parser, what the schema leaves to releaser: limits that no pattern can hold, and what only the host knows.
LEFT: dict[Any, list[Any]] = {
    values.duration: ["9" * 400 + "d"],
    values.limit: ["8d"],
    jitter: ["2d"],
    values.command: ["echo 'a"],
    values.count: [1.0],
    values.url_or_command: ["http://[::1", "http://example.org:port/", "curl 'x"],
    BY_PACKAGE: ["a=all"],
    values.url_or_none: ["https://x:0/", "https://x:y/"],
    values.statuses: ["299-200"],
    tables_by_package: [{"a-b": {"window": "Sat"}, "A_b": {"publish": "branch"}}],
    values.host: ["shop:port", "shop:99999", "größe", "[::1"],
    values.socket_path: ["/" + 107 * "x", "/" + 54 * "ü"],
    values.path: ["~nobody-of-this-name/x"],
    values.paths: ["~nobody-of-this-name/x"],
    values.s3_prefixes: ["s3://b/../c"],
    values.file_inside: ["a/../.."],
    values.paths_inside: [["dist", "dist/js"], "dist, dist/"],
}
KNOWN = {form(spec.kind) for spec in SPECS.values()}


@functools.cache
def validator() -> Any:
    return jsonschema.Draft202012Validator(json_schema())


def takes(parse: Any, value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(parse.schema).is_valid(value))


def in_address(value: Any) -> bool:
    """Whether what is wrong stands within an address, or in JSON, which is left to releaser."""
    return "@" in str(value) or (isinstance(value, str) and value.startswith("["))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert list(json_schema()["properties"]) == list(SPECS)


def test_what_releaser_takes_the_schema_takes() -> None:
    right = [(parse, value) for parse, found in RIGHT for value, _ in found if form(parse) in KNOWN]
    assert [(parse, value) for parse, value in right if not takes(parse, value)] == []


def test_what_releaser_refuses_the_schema_refuses() -> None:
    refused = [(parse, value) for parse, _, found in WRONG for value in found if form(parse) in KNOWN]
    wrong = [(parse, value) for parse, value in refused if not in_address(value)]
    left = [(parse, value) for parse, value in wrong if repr(value) in map(repr, LEFT.get(parse, []))]
    assert [(parse, value) for parse, value in wrong if takes(parse, value)] == left


def test_values_and_defaults_are_spelled_as_they_are_read() -> None:
    for name, spec in SPECS.items():
        default = getattr(AllSettings(), name)
        if default is not None:
            assert spec.kind(spec.kind.spell(default)) == default
            assert validator().is_valid({name: spec.kind.spell(default)}), name
    for parse, found in ((one, found) for one, found in RIGHT if isinstance(one, values.Kind)):
        for _, expected in found:
            assert parse(parse.spell(expected)) == expected
            if expected != ("my media", "a,b", "[ab]*"):  # which no variable can hold
                assert parse(parse.spell_in_line(expected)) == expected


@pytest.mark.parametrize(
    "table",
    [{"kepe": 5}, {"keep": -1}, {"git_pull": "yes"}, {"upgrade": "major"}, {"test_timeout": 30}, {"ignore": ["a b"]}],
    ids=str,
)
def test_a_wrong_table_is_refused_by_both(table: dict[str, Any]) -> None:
    assert not validator().is_valid(table)
    assert load(table=table, pyproject=Path("pyproject.toml"), env_file=None, environ={}).problems
