"""The command `setup`: the first settings of a site, in `.env` of the outer directory alone."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import dotenv
import msgspec

from releaser.candidate.tests import choose_command
from releaser.errors import PreflightError, explain_error, refuse, require
from releaser.live.restart import find_setting
from releaser.live.restart.touch import find_restart_file
from releaser.packages.lock import read_lock
from releaser.report.outcomes import Outcome, make_done
from releaser.site.project import guess_environment
from releaser.site.settings import ALIASES, PREFIX, read_value
from releaser.site.site import Site, read_dotenv
from releaser.system.files import private_mode, replace_file
from releaser.system.text import word

NONE = "none"


class Question(msgspec.Struct, frozen=True):
    """A question for a setting. `detected` is the answer without a person, `default` the one of Enter."""

    name: str
    text: str
    detected: str = ""

    @property
    def default(self) -> str:
        """The answer of Enter."""
        return self.detected or NONE

    def read(self, answer: str) -> str:
        """Return an answer as the setting takes it; empty for none. Raises ValueError."""
        if answer == NONE and self.name != "restart":
            return ""
        read_value(self.name, answer)
        return answer


def list_questions(site: Site) -> list[Question]:
    """Return what a person has to say: three questions at most, none about a setting that has a value."""
    found = find_setting(site) or ("auto" if find_restart_file(site) else "")
    ways = "`systemd:UNIT`, `gunicorn:PIDFILE`, `passenger`, `auto` to touch a file, a command, or `none`"
    questions = (
        Question("admins", "Who gets mail? Addresses, with commas between them"),
        Question("restart", f"How is the site restarted? {ways}", found),
        Question("health_check", "How is it seen to be well? A URL that answers, or a command that ends with 0"),
    )
    known = {*site.settings.sources} | ({"admins"} if site.settings.mail.recipients else set())
    return [question for question in questions if question.name not in known]


def describe_site(site: Site) -> dict[str, str]:
    """Return what releaser has detected, by subject."""
    tests: tuple[str, ...] = ()
    with contextlib.suppress(PreflightError):
        tests = choose_command(site, site.paths.project, read_lock(site.paths.lockfile))
    return {
        "project": str(site.paths.project),
        "releases": str(site.paths.releases),
        "host": f"{site.settings.site.environment or guess_environment()}, dependency group {site.group or NONE}",
        "tests": shlex.join(tests) or "no command is known",
        "mail": ", ".join(site.settings.mail.recipients) or "to nobody",
    }


def make_table(answers: Mapping[str, str]) -> str:
    """Return the table for pyproject.toml, with which a commit gives these settings to every host; empty if none."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in answers.items() if value and name != "admins"]
    return "\n".join(["[tool.releaser]", *lines]) if lines else ""


def set_settings(site: Site, values: Mapping[str, str]) -> Outcome:
    """Change settings in `.env`, by names or variables; an empty value removes the line. Raises PreflightError."""
    variables = {name_variable(name): value for name, value in values.items()}
    notes = write_variables(site, variables)
    notes += [f"`{name}` of the environment is stronger." for name in variables if name in site.environ]
    done = [f"`{name}` is {'set' if value else 'not set any more'}" for name, value in variables.items()]
    return msgspec.structs.replace(make_done(f"{', '.join(done)} in {site.paths.dotenv}."), notes=tuple(notes))


def name_variable(name: str) -> str:
    """Return the variable of a setting, given its name or a variable."""
    return name if name in ALIASES else PREFIX + name.upper()


def write_variables(site: Site, variables: Mapping[str, str]) -> list[str]:
    """Write variables into `.env`, for its owner alone; all other lines stay. Return notes. Raises PreflightError."""
    require(site.unread)
    path = Path(os.path.realpath(site.paths.dotenv))
    mode = private_mode(path.parent) if site.is_shared else 0o600
    try:
        before = stat.S_IMODE(path.stat().st_mode) if path.exists() else mode
        with tempfile.TemporaryDirectory(prefix=site.paths.temporary_prefix) as place:
            copy = Path(place, ".env")
            shutil.copyfile(path, copy) if path.exists() else copy.touch()
            old = copy.read_bytes()
            is_dos = b"\r\n" in old and b"\n" not in old.replace(b"\r\n", b"")
            for name, value in variables.items():
                if value:
                    dotenv.set_key(copy, name, value)
                elif name in read_dotenv(copy)[0]:
                    dotenv.unset_key(copy, name)
            values, text = read_dotenv(copy)[0], copy.read_bytes()
            if is_dos:  # python-dotenv 1 writes "\n" alone
                text = text.replace(b"\n", b"\r\n")
            if lost := [name for name, value in variables.items() if values.get(name, "") != value]:
                message = f"`{lost[0]}` cannot be written: `{path}` would not give the same value back."
                raise refuse("odd-value", message, f"Write it by hand: `nano {word(path)}`.")
            replace_file(path, text, mode=mode)
    except OSError as error:
        raise refuse(
            "dotenv", f"`{path}` cannot be written: {explain_error(error)}", f"See `ls -l {word(path)}`."
        ) from error
    if before & ~mode & 0o777:
        return [f"`{path}` had mode {before:o}, and has {mode:o} now: other users read it no more."]
    return []
