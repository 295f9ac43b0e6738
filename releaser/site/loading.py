"""Reads the settings from pyproject.toml, files of variables and the environment, with a finding for each mistake."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from releaser.errors import Finding, explain_unreadable
from releaser.site import values
from releaser.site.ownership import readable_by_all
from releaser.site.settings import (
    FIRST_FAILED_VARIABLE,
    HOOK_VARIABLES,
    PREFIX,
    REMOVED,
    RENAMED,
    SPECS,
    AllSettings,
    Settings,
)
from releaser.system.expression import expression
from releaser.system.files import read_text
from releaser.system.frozen import Frozen, field
from releaser.system.words import PASSWORD_NAME, SHORTEST, find_similar, first_few, secrets_in_variables

_TABLE = "tool.releaser."
SECRETS = {f"{PREFIX}{name.upper()}" for name, spec in SPECS.items() if spec.secret}
#: The setting of each key; of two keys in the same source, the later one counts.
_NAMES = {
    key: name for name, spec in SPECS.items() for key in (*spec.aliases, f"{PREFIX}{name.upper()}", f"{_TABLE}{name}")
}
# Lines whose value python-dotenv and systemd read as it is written: bare, or in single quotes.
_LINE = r"[A-Za-z_][A-Za-z0-9_]*=(?:'[^'\\$\r\n]*'|[A-Za-z0-9_./:,@%+-]*)"
_PLAIN = expression(rf"(?:(?:{_LINE}|\#.*)?\n)*(?:{_LINE})?")
_PLAIN_LINE = expression(r"^(\w+)=(?:'(.*)'|(.*))$", re.MULTILINE | re.ASCII)
_REMARK = expression(r"^[ \t]*;.*$", re.MULTILINE)  # a comment for systemd, but not for python-dotenv


class Variables(Frozen):
    """The variables of a file, and the problems in it."""

    values: Mapping[str, str]
    findings: tuple[Finding, ...] = ()


def read_variables(path: Path, *, setting: str = "") -> Variables:
    """Read the `.env` of a project, in which `${NAME}` stands for another variable; the file need not exist.

    A file that a `setting` names is read much as systemd reads an EnvironmentFile: without interpolation.
    """
    place, findings, sound = f"{setting} {path}".lstrip(), [], ""
    try:
        text = read_text(path).removeprefix("\ufeff")  # the codec `utf-8-sig` takes longer to import
    except FileNotFoundError:
        missing = Finding("file-missing", f"{place} does not exist", f"Create the file, or correct `{setting}`.")
        return Variables(values={}, findings=(missing,) if setting else ())
    except (OSError, UnicodeDecodeError) as error:
        message, advice = explain_unreadable(path, error)
        return Variables(values={}, findings=(Finding("file-unreadable", f"{setting} {message}".lstrip(), advice),))
    if (plain := read_plain(text)) is not None:
        return Variables(values=plain)
    from dotenv import dotenv_values  # slow to import: a tenth of a `releaser list`
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(_REMARK.sub("", text) if setting else text)):
        if binding.error:
            blank = binding.original.string[: -len(binding.original.string.lstrip()) or None]  # part of the binding
            number = binding.original.line + blank.count("\n")
            message = f"{path}, line {number}: not of the form NAME=value"
            findings.append(Finding("env-line-invalid", message, "Correct or remove the line."))
        else:
            sound += binding.original.string
    values = dotenv_values(stream=io.StringIO(sound), interpolate=not setting)
    findings += [
        Finding("env-no-value", f"{place}: {name} has no value", f"Write {name}=value, or remove the line.")
        for name, value in values.items()
        if value is None and (setting or _is_ours(name))
    ]
    given = {name: value for name, value in values.items() if value is not None}
    return Variables(values=given, findings=tuple(findings))


def read_plain(text: str) -> dict[str, str] | None:
    """Return the variables of a text whose lines need no parser; None for any other text."""
    if not _PLAIN.fullmatch(text):
        return None
    return {name: quoted or bare for name, quoted, bare in _PLAIN_LINE.findall(text)}


class Loaded(Frozen):
    """The settings that could be read, and a finding for each that could not.

    `sources` names the file and key of every setting that is not at its default.
    """

    settings: Settings
    problems: tuple[Finding, ...]
    sources: Mapping[str, str]
    #: The secrets in the `.env`, and the password of the mail server.
    secrets: frozenset[str] = field(repr=False)
    #: Findings for secrets that every user of this host can read, or that are too short to be masked.
    exposed: tuple[Finding, ...]


def load(*, table: Any, pyproject: Path, env_file: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Merge `[tool.releaser]` (`table`), the `.env` in the outer directory and the environment, weakest first.

    Raises nothing: every unknown key and every wrong value becomes a finding that names file and key.
    """
    problems: list[Finding] = []
    if not isinstance(table, dict):
        message, table = f"{pyproject}: [tool.releaser] must be a table", {}
        problems.append(Finding("pyproject-table", message, "Write [tool.releaser] as a table, or remove it."))
    file = read_variables(env_file) if env_file else Variables(values={})
    problems += file.findings
    chosen: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, given in (
        (str(pyproject), {f"{_TABLE}{key}": value for key, value in table.items()}),
        (str(env_file), file.values),
        ("environment", environ),
    ):
        for name, (key, raw) in _find_settings(source, given, problems).items():
            if raw == "" and given is file.values:  # it unsets the value of pyproject.toml
                chosen.pop(name, None)
                sources.pop(name, None)
                continue
            try:
                chosen[name] = SPECS[name].kind(raw)
            except ValueError as error:
                spec = SPECS[name]
                shown = "" if spec.secret else f" (it is {str(raw)[:80]!r})"
                guess = spec.kind.correct(raw) if not spec.secret else ""
                advice = f"Did you mean `{guess}`? " if guess else ""
                advice += (
                    f"Correct {key} in {source}{f', or run `releaser setup --set {name}={guess}`' if guess else ''}."
                )
                problems.append(Finding("setting-invalid", f"{source}: {key} {error}{shown}", advice))
            else:
                sources[name] = f"{source}: {key}"
    own = {value for name, value in file.values.items() if name in SECRETS}
    secrets = frozenset(secrets_in_variables(file.values) | own - {""})
    password_file = _password_file(chosen, pyproject.parent, environ)
    if password_file is not None:
        try:
            chosen["smtp_password"] = values.text(read_text(password_file).rstrip("\n")) or None
        except (OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError, and quotes the contents
            why = "it is not UTF-8 text" if isinstance(error, UnicodeError) else getattr(error, "strerror", error)
            advice = "Write only the password into it, on one line that this user can read."
            problems.append(
                Finding("password-file-invalid", f"smtp_password_file {password_file} cannot be used: {why}", advice)
            )
        if "smtp_password" in sources:
            message = f"the password is in {sources['smtp_password']}, and in smtp_password_file {password_file}"
            problems.append(Finding("password-twice", message, "Remove one of the two."))
    exposing = ((env_file, secrets), (password_file, chosen.get("smtp_password")))
    return Loaded(
        settings=AllSettings(**chosen),
        problems=tuple(problems),
        sources=sources,
        secrets=secrets | frozenset(filter(None, [chosen.get("smtp_password")])),
        exposed=tuple(
            filter(None, (bare(env_file, file), *(readable_by_all(path) for path, one in exposing if path and one)))
        ),
    )


def bare(path: Path | None, variables: Variables) -> Finding | None:
    """Return a finding for the passwords in a file that are too short to be masked; None without any."""
    short = [name for name, value in variables.values.items() if 0 < len(value) < SHORTEST]
    names = first_few([name for name in short if PASSWORD_NAME.search(name)], 3)
    advice = f"Use at least {SHORTEST} characters, so that releaser can mask the secret."
    return (
        Finding("secret-too-short", f"{path}: {names}: too short to be masked in the output of releaser", advice)
        if names
        else None
    )


def _password_file(chosen: Mapping[str, Any], root: Path, environ: Mapping[str, str]) -> Path | None:
    """Return the file with the password for mails: as set, else the credential from systemd; None without either."""
    if named := chosen.get("smtp_password_file"):
        return Path(os.path.normpath(root / Path(named).expanduser()))
    passed = Path(environ.get("CREDENTIALS_DIRECTORY", ""), "smtp_password")
    has_one = passed.is_absolute() and "smtp_password" not in chosen and os.path.lexists(passed)
    return passed if has_one else None


def _find_settings(source: str, given: Mapping[str, Any], problems: list[Finding]) -> dict[str, tuple[str, Any]]:
    """Return the settings in one source, each with its key and value; the name of the setting wins over an alias."""
    present = {*given}
    found = {name: (key, given[key]) for key, name in _NAMES.items() if key in present}
    known = {FIRST_FAILED_VARIABLE, *HOOK_VARIABLES, *(key for key, _ in found.values())}
    ours = (key for key in given if key.startswith((PREFIX, _TABLE)))
    problems += [_describe_unknown(source, key, given[key]) for key in ours if key not in known]
    return found


def _is_ours(variable: str) -> bool:
    return variable.startswith(PREFIX) or any(variable in spec.aliases for spec in SPECS.values())


def _describe_unknown(source: str, key: str, value: Any) -> Finding:
    prefix = PREFIX if key.startswith(PREFIX) else ""
    name = key.removeprefix(prefix or _TABLE)
    name = name.lower() if prefix else name
    if new := RENAMED.get(name):
        advice = f"Write `{prefix}{new.upper() if prefix else new}` in its place, with the same value."
        return Finding(
            "setting-renamed", f"{source}: {key} is {value!r}, but the setting is called `{new}` now", advice
        )
    if instead := REMOVED.get(name):
        return Finding(
            "setting-removed", f"{source}: {key} is {value!r}, but releaser no longer has this setting", instead
        )
    close = find_similar(name, SPECS)
    meant = f"Did you mean `{prefix}{close.upper() if prefix else close}`?" if close else ""
    advice = meant or "Remove it. `releaser config` lists all settings."
    return Finding("setting-unknown", f"{source}: {key} is not a setting of releaser", advice)
