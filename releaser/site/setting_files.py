"""Writes settings into `.env` and pyproject.toml. The rest of these files stays the same, byte for byte."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import shlex
import stat
from typing import TYPE_CHECKING, Any

from releaser.errors import explain_unreadable, refuse, refuse_any
from releaser.site.loading import SECRETS, read_variables
from releaser.site.settings import PREFIX, SPECS
from releaser.system.expression import expression
from releaser.system.files import read_file, replace_file
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SECRET = 0o600  # the mode of a new `.env`
_COMMENT = expression(r"[ \t]+#[^\n]*(?=\n?\Z)")


class Edit(Frozen):
    """A change of a file with settings; `before` is None if the file does not exist."""

    path: Path
    before: str | None
    after: str

    @property
    def diff(self) -> list[str]:
        """The changed lines, without the lines around them, which may have secrets."""
        names = (str(self.path) if self.before is not None else os.devnull, str(self.path))
        lines = ((self.before or "").splitlines(), self.after.splitlines())
        return list(difflib.unified_diff(*lines, *names, n=0, lineterm=""))

    @property
    def added(self) -> tuple[str, ...]:
        """The new lines."""
        return tuple(line[1:] for line in self.diff[2:] if line.startswith("+"))

    def write(self) -> None:
        """Write the file. Raises PreflightError if the file has changed meanwhile, and OSError."""
        if read_text_if_there(self.path) != self.before:
            message = f"{self.path} was changed at the same time, so releaser did not write it"
            refuse("settings-changed", message, "Run the command again.")
        place = self.path.resolve()  # keeps a symlink
        if self.before is None:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRET))
        replace_file(place, self.after.encode())


def read_text_if_there(path: Path) -> str | None:
    """Return the text of a file; None if it does not exist. Raises PreflightError if it is not readable UTF-8 text."""
    try:
        return read_file(path).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        refuse("env-unreadable", *explain_unreadable(path, error))


def set_variables(path: Path, values: Mapping[str, str]) -> Edit:
    """Set variables in a `.env`, each in its place, or at the end. Raises PreflightError."""
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    before = read_text_if_there(path)
    refuse_any(*read_variables(path).findings)
    parts = [[one.key, one.original.string, one.value] for one in parse_stream(io.StringIO(before or ""))]
    for name, value in values.items():
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        line = f"{name}='{quoted}'"
        if name in (known := [key for key, _, _ in parts]):
            part = parts[len(known) - 1 - known[::-1].index(name)]  # the last one counts
            part[1] = _with_value(str(part[1]), line, part[2])
        else:
            separator = "\n" if parts and not str(parts[-1][1]).endswith("\n") else ""
            parts.append([name, f"{separator}{line}\n", value])
    after = "".join(str(text) for _, text, _ in parts)
    read = dotenv_values(stream=io.StringIO(after))
    if wrong := [name for name, value in values.items() if read.get(name) != value]:
        refuse(
            "setting-unwritable",
            f"{path} cannot hold this value of {wrong[0]}",
            "Write the value without ${...}, or set it in pyproject.toml.",
        )
    return Edit(path=path, before=before, after=after)


def _with_value(text: str, line: str, value: str | None) -> str:
    """Replace an assignment, and keep the space before it, `export`, and a comment after it."""
    from dotenv.parser import parse_stream

    start = text[: len(text) - len(text.lstrip())]
    export = "export " if re.match(r"\s*export\s", text) else ""
    comment = _COMMENT.search(text)
    bare = text[: comment.start()] if comment else ""
    is_comment = bool(comment) and [one.value for one in parse_stream(io.StringIO(bare))] == [value]
    end = "\n" if text.endswith("\n") else ""
    return f"{start}{export}{line}{comment[0] if comment and is_comment else ''}{end}"


#: The variables of the settings for mails, each with all names of its setting.
MAIL_VARIABLES = {
    variable: names
    for name, spec in SPECS.items()
    if name in ("mail_from", "sendmail", "admins", "updater_admins") or name.startswith("smtp_")
    for names in [(f"{PREFIX}{name.upper()}", *spec.aliases)]
    for variable in names
}


def find_mail_settings(variables: Mapping[str, str], env_file: Path) -> dict[str, str]:
    """Return the settings for mails among the variables of a crontab that are missing in a `.env`.

    Raises PreflightError if the file has another value, or may not get a password, as others can read the file.
    """
    present = read_variables(env_file).values
    given = {name: value for name, value in variables.items() if name in MAIL_VARIABLES}
    known = {name: [present[one] for one in MAIL_VARIABLES[name] if one in present] for name in given}
    for name, value in given.items():
        if any(one != value for one in known[name]):
            message = f"{name} differs between {env_file} and the crontab, which applies only to runs of cron"
            refuse("crontab-differs", message, "Remove one of the two; `crontab -e` edits the crontab.")
    missing = {name: value for name, value in given.items() if not known[name]}
    if secret := sorted(SECRETS & missing.keys()):
        with contextlib.suppress(FileNotFoundError):
            if (mode := stat.S_IMODE(env_file.stat().st_mode)) & 0o077:
                message = f"{secret[0]} cannot move from the crontab into {env_file}, which others can read ({mode:o})"
                refuse("secret-not-moved", message, f"Run `chmod 600 {shlex.quote(str(env_file))}`, then try again.")
    return missing


def write_mail_settings(values: Mapping[str, str], env_file: Path) -> None:
    """Add variables to a `.env`. Raises PreflightError."""
    try:
        set_variables(env_file, values).write()
    except OSError as error:
        refuse("env-unwritable", f"{env_file} cannot be written: {error}", "Give this user write access.")


def set_in_table(path: Path, values: Mapping[str, Any]) -> Edit:
    """Set values in `[tool.releaser]`; comments and format stay. Raises PreflightError."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    before = read_text_if_there(path)
    try:
        document = tomlkit.parse(before or "")
        tool: Any = document.setdefault("tool", tomlkit.table(is_super_table=True))
        table: Any = tool.setdefault("releaser", tomlkit.table())
        for name, value in values.items():
            table[name] = list(value) if isinstance(value, tuple) else value
        after = tomlkit.dumps(document)
    except (TOMLKitError, TypeError, AttributeError) as error:
        refuse(
            "settings-unwritable",
            f"{path}: [tool.releaser] cannot be written: {error}",
            "Correct the file, or write the settings by hand.",
        )
    return Edit(path=path, before=before, after=after)


def variable_of(name: str, present: Mapping[str, str]) -> str:
    """Return the variable for a setting: the present one, perhaps an alias, else the usual one."""
    own = f"{PREFIX}{name.upper()}"
    usual = "ADMINS_JSON" if name == "admins" else own
    return next((one for one in (own, *SPECS[name].aliases) if one in present), usual)
