"""The JSON Schema of all settings."""

from __future__ import annotations

import inspect
import re
from typing import Any

from releaser.site.settings import SPECS, AllSettings


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `[tool.releaser]` in pyproject.toml."""
    properties, texts = {}, comments(AllSettings)
    for name, spec in SPECS.items():
        schema = spec.kind.schema
        kind = "" if "enum" in schema else spec.kind.describe()
        if spec.default is not None:
            schema = {"default": spec.kind.spell(spec.default), **schema}
        properties[name] = {"description": f"{texts[name]} {kind}".strip(), **schema}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "[tool.releaser] in pyproject.toml",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def comments(kind: type) -> dict[str, str]:
    """Return the comments above the fields of a class and its bases, by the name of the field."""
    source = "\n".join(inspect.getsource(base) for base in reversed(kind.__mro__[:-1]))
    found = re.findall(r"((?:^    #: .*\n)+)    (\w+): ", source, re.MULTILINE)
    return {name: " ".join(line.strip().removeprefix("#: ") for line in text.splitlines()) for text, name in found}
