"""The programs that settings of going live name: whether they exist, and one run of them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence

from releaser.errors import ChangeError, Problem, ToolError
from releaser.site.site import Site
from releaser.system import process
from releaser.system.text import format_seconds, word

#: What makes a command a reload, which keeps the release.
RELOAD = re.compile(r"(?<![\w./-])(reload|reload-or-restart|-?(SIG)?HUP)(?![\w./-])")
NONE = ((), ("none",))  # values of settings by which nothing is restarted


def may_restart(site: Site) -> bool:
    """Return True unless a person has set that the site is not restarted."""
    return site.settings.live.restart not in NONE


def is_at_next_request(site: Site) -> bool:
    """Return True if the site restarts when it is asked, at most once in ten seconds, as Passenger does."""
    return site.settings.live.restart in (("auto",), ("passenger",))


def find_missing_program(site: Site, name: str, program: str, variables: Mapping[str, str] = {}) -> list[Problem]:
    """Return a problem if the program that the setting `name` calls, with these `variables`, cannot be started."""
    env, file = {**site.tool_environment(), **variables}, os.path.normpath(site.paths.project / program)
    path = f"{site.paths.link / 'bin'}:{env['PATH']}"
    if shutil.which(file if "/" in program else program, path=path):
        return []
    if "/" in program and os.path.isfile(file):
        message = f"The setting `{name}` calls `{program}`, which this user may not execute."
        return [Problem("no-program", message, f"Run `chmod +x {word(file)}`, and commit that if it is in git.")]
    message = f"The setting `{name}` calls the program `{program}`, which does not exist."
    return [Problem("no-program", message, f"Install it, or run `releaser setup --set {name}=COMMAND`.")]


def find_forbidden(site: Site) -> list[Problem]:
    """Return a problem for each way to restart that `sudo` does not allow without a password."""
    live, problems, env = site.settings.live, [], site.service_environment(site.paths.link)
    for name, words in (("restart", live.restart), ("restart_workers", live.restart_workers)):
        question = [*words[:1], "-n", "-l", *words[1:]]
        try:
            if question[0].rpartition("/")[2] == "sudo":
                process.run(question, cwd=site.paths.project, env=env, timeout=20, may_have_secrets=True)
        except ToolError as error:
            message = f"The command of `{name}` is not allowed: {error.message}"
            problems.append(Problem("no-restart", message, f"Correct `{name}` or the rules of sudo."))
    return problems


def run_restart(site: Site, words: Sequence[str], env: Mapping[str, str]) -> None:
    """Run a program that restarts something; what it leaves running stays. Raises ChangeError."""
    limit = site.settings.live.restart_timeout
    try:
        process.run(words, cwd=site.paths.project, env=env, timeout=limit, may_leave_service=True)
    except ToolError as error:
        advice = advise_on_limit(site) if error.is_killed else error.advice
        raise ChangeError(error.message, advice, output=error.output) from error


def advise_on_limit(site: Site) -> str:
    """Return what to do about a restart that takes longer than it may."""
    limit = format_seconds(site.settings.live.restart_timeout)
    return f"It may take {limit}: if it needs longer, set `restart_timeout`, such as to `5m`."
