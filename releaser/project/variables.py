"""Files with one NAME=value a line: `.env`, and what `environment_file` names."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.errors import Unfit
from releaser.redaction import secrets_in_urls

if TYPE_CHECKING:
    from pathlib import Path

_REMARK = re.compile(r"^[ \t]*;.*$", re.MULTILINE)  # a comment for systemd, but not for python-dotenv
_SECRET_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIAL|PRIVATE|(^|_)(KEY|PASS|PWD|AUTH|SALT|DSN)$", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Variables:
    """The variables of a file, None for a name without `=`, and what is wrong with its other lines."""

    values: Mapping[str, str | None]
    findings: tuple[Unfit, ...]


def parse_variables(text: str, path: Path, *, interpolate: bool) -> Variables:
    """Parse the text of the file `path`; with `interpolate`, `${NAME}` stands for the value of another variable."""
    from dotenv import dotenv_values  # which takes long to import, and most sites have no such file
    from dotenv.parser import parse_stream

    findings, sound = [], ""
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            blank = binding.original.string[: -len(binding.original.string.lstrip()) or None]  # is counted with it
            number = binding.original.line + blank.count("\n")
            message = f"{path}, line {number}: not of the form NAME=value"
            findings.append(Unfit(message, advice="Correct or remove the line."))
        else:
            sound += binding.original.string
    values = dotenv_values(stream=io.StringIO(sound), interpolate=interpolate)
    return Variables(values=values, findings=tuple(findings))


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a site gets into its environment by `environment_file`, and what is wrong with that file."""

    variables: Mapping[str, str]
    findings: tuple[Unfit, ...] = ()

    @property
    def secrets(self) -> set[str]:
        """The values that go by names of secrets, and the passwords in URLs."""
        found = {value for name, value in self.variables.items() if _SECRET_NAME.search(name)}
        return found.union(*map(secrets_in_urls, self.variables.values()))


def read_given(path: Path) -> Given:
    """Read what `environment_file` names, much as systemd reads an EnvironmentFile; nothing is interpolated."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        advice = "Make the file, or correct `environment_file`."
        return Given(variables={}, findings=(Unfit(f"environment_file {path} does not exist", advice=advice),))
    except (OSError, UnicodeDecodeError) as error:
        message = f"environment_file {path} cannot be read: {error}"
        return Given(variables={}, findings=(Unfit(message, advice="Let this user read it; it is UTF-8 text."),))
    found = parse_variables(_REMARK.sub("", text), path, interpolate=False)
    empty = [
        Unfit(f"environment_file {path}: {name} has no value", advice=f"Write {name}=value, or remove the line.")
        for name, value in found.values.items()
        if value is None
    ]
    variables = {name: value for name, value in found.values.items() if value is not None}
    return Given(variables=variables, findings=(*found.findings, *empty))
