"""The questions of `setup` on a terminal: detected answers, and a check of each answer."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
from typing import TYPE_CHECKING, Any

from releaser.core.confinement import confinement
from releaser.errors import PreflightError, ToolError, UsageError
from releaser.pipelines.setup import NONE, choose_scheduler, find_default, make_edits, read_answer
from releaser.serving.health_settings import ask_page, health_findings
from releaser.serving.restarts import program_findings, restart_findings, restart_of, restart_words
from releaser.serving.restarts.command import ask_program
from releaser.serving.servers import (
    Server,
    find_addresses,
    find_servers,
    find_units,
    find_unrestarted,
    restart_units,
    unit_places,
)
from releaser.site.conventions import choose_dependency_group
from releaser.site.loading import read_variables
from releaser.site.ownership import name_of
from releaser.site.settings import PREFIX, SPECS
from releaser.system.expression import expression
from releaser.system.frozen import Frozen, field, replace
from releaser.system.venv_environment import inside
from releaser.system.words import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from releaser.site.site import Site

#: The questions, in this order; a setting that an option gives is not asked for.
QUESTIONS = {
    "branch": "Branch that goes live",
    "environment": "Environment (staging, production or local)",
    "group": "Dependency group to install",
    "test_command": "Command that runs the tests",
    "restart": f"Restart of the site ({', '.join(restart_words())}, or a command)",
    "health_check": "URL that must answer after a restart",
    "admins": "Recipients of mails (addresses, separated by commas)",
    "smtp_host": "Mail server",
}
_OTHER_RESTART = (
    "Answer with the command that restarts it, such as `sudo systemctl restart NAME.service`, or with `none` if no "
    "process needs a restart. The guide on web servers has the command for each server."
)
_SUDO_OPTIONS = ("-n", "--non-interactive")
#: Asked only if something was detected; the default is right for most projects.
ONLY_DETECTED = ("branch",)
_OF_ONE_SETTING = ("env-shared", "set-in-environment", "setting-unwritable")
SCHEDULERS = ("cron", "systemd", NONE)
_ENVIRONMENTS = ("staging", "production", "local")
_ADDRESS = expression(r"(localhost|[\w-]+(\.[\w-]+)+|\[[0-9a-f:]+\])(:\d+)?(/\S*)?", re.IGNORECASE)
_OF_THIS_HOST = expression(r"localhost\b|127\.|\[::1\]", re.IGNORECASE)
_SERVER = expression(r"([^\s:/@]+|\[[0-9a-f:]+\])(?::(\d{1,5}))?", re.IGNORECASE)
_SERVICE_NAME = expression(
    r"(^|_)(DATABASES?|DB|PG|POSTGRES(QL)?|MYSQL|MARIADB|REDIS|VALKEY|MONGO(DB)?|AMQP|RABBITMQ|BROKER|CACHES?|CELERY"
    r"|ELASTICSEARCH|EMAIL|SMTP|AWS|S3|STRIPE|TWILIO)(_|$)"
)
_SERVICE_URL = expression(r"(postgres|postgis|mysql|mariadb|redis|valkey|mongodb|amqp|memcache|smtp|s3|mssql)[\w+]*://")


class Answer(Frozen):
    """An answer as settings, in text; `problem` is empty if the answer is right."""

    settings: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    #: The answer to offer next, if another one was probably meant.
    suggestion: str | None = None
    #: True if the answer counts despite the problem when it is given again.
    may_stay: bool = False


class Proposal(Frozen):
    """A detected answer, which is not a setting yet; `reason` says how it was detected."""

    answer: str
    reason: str
    settings: Mapping[str, str]


def with_answers(site: Site, answers: Mapping[str, str]) -> Site:
    """Return the site as it would be with these settings."""
    values: dict[str, Any] = {
        name: SPECS[name].kind(text) if text else SPECS[name].default for name, text in answers.items()
    }
    sources = {name: source for name, source in site.sources.items() if name not in answers}
    sources |= {name: "your answer" for name, text in answers.items() if text}
    return replace(site, settings=replace(site.settings, **values), sources=sources)


def propose(site: Site, name: str) -> Proposal | None:
    """Return the detected answer to a question that no setting answers yet; None without one."""
    if name in site.sources:
        return None
    find = {"branch": _propose_branch, "restart": _propose_restart, "health_check": _propose_health_check}.get(name)
    return find(site) if find is not None else None


def _propose_branch(site: Site) -> Proposal | None:
    """Propose the branch that is checked out, if it has a remote and is not the default of the setting."""
    branch = site.git.branch()
    if branch is None or branch == site.branch or site.git.remote(branch) is None:
        return None
    return Proposal(answer=branch, reason=f"the checkout is on {branch}", settings={"branch": branch})


def _propose_restart(site: Site) -> Proposal | None:
    project = site.project
    servers = find_servers(project.checkout, project.venv)
    touches = restart_of(site).restarts_processes(site)
    if touches and any(one.watches_file for one in servers):
        return None
    for one in servers:
        if one.restart:
            return _restart_by(one.restart, f"{one} runs the site")
        if file := one.touch_reload if one.kind == "uWSGI" else "":
            settings = {"restart": "auto", "restart_file": file}
            return Proposal(answer="auto", reason=f"{one} restarts when {file} changes", settings=settings)
    for is_user_unit, places in unit_places(site.runner.environ).items():
        if units := find_units(project.checkout, places, must_serve=touches):
            words = restart_units(units, is_user_unit=is_user_unit)
            return _restart_by(words, f"systemd starts {' and '.join(units)} in {project.checkout}")
    if not touches and (reason := _passenger(site, servers)):
        return _restart_by(("passenger",), reason)
    return None


def _restart_by(words: tuple[str, ...], reason: str) -> Proposal:
    words = words[1:] if words[0] == "sudo" and not os.geteuid() else words
    return Proposal(answer=shlex.join(words), reason=reason, settings={"restart": shlex.join(words)})


def _passenger(site: Site, servers: tuple[Server, ...]) -> str:
    """Explain why Passenger seems to run the site; empty if it does not, or its command does not work."""
    if any(restart_findings(with_answers(site, {"restart": "passenger"}))):
        return ""
    if servers:
        return next((f"{one} runs the site" for one in servers if one.kind == "Passenger"), "")
    files = [name for name in ("passenger_wsgi.py", "Passengerfile.json") if (site.project.checkout / name).exists()]
    return f"the project has {files[0]}, for Passenger" if files else ""


def _propose_health_check(site: Site) -> Proposal | None:
    """Propose the page at the first address on which a server of the site listens."""
    addresses = find_addresses(site.project.checkout, site.project.venv)
    if not addresses:
        return None
    first, reason = addresses[0], f"the site listens on {addresses[0]}"
    if first.startswith("/"):
        settings = {"health_check": "http://localhost/", "health_socket": first}
        return Proposal(answer="http://localhost/", reason=reason, settings=settings)
    return Proposal(answer=f"http://{first}/", reason=reason, settings={"health_check": f"http://{first}/"})


def introduce(site: Site, name: str) -> Iterator[str]:
    """Yield what to know before the answer to a question."""
    if name == "test_command":
        yield from _describe_tests(site)


def _describe_tests(site: Site) -> Iterator[str]:
    """Yield lines about what the tests can touch on this host."""
    yield confinement().describe_access(site)
    given = site.runner.site_variables
    files: dict[str, Mapping[str, str]] = {
        str(path): read_variables(path).values for path in (site.project.outer / ".env", site.project.checkout / ".env")
    }
    for place, variables in (*files.items(), (f"{site.settings.environment_file} (`environment_file`)", given)):
        if names := [name for name, value in variables.items() if _is_service(name, value)]:
            yield (
                f"{place} sets {', '.join(names)}. Tests that read these variables use the same services as the "
                "live site. Give the tests separate services."
            )
    if read_answer("test_command", find_default(site, "test_command")).startswith("python manage.py test"):
        yield "`manage.py test` uses separate databases (`test_...`), on the servers that the settings name."


def _is_service(name: str, value: str) -> bool:
    is_own = name.startswith(PREFIX) or any(name in spec.aliases for spec in SPECS.values())
    return not is_own and bool(_SERVICE_NAME.search(name.upper()) or _SERVICE_URL.match(value))


def check_answer(site: Site, name: str, text: str, proposal: Proposal | None = None, *, into: str = "env") -> Answer:
    """Read an answer, and check it as far as that is possible now; `site` has the earlier answers."""
    if name == "health_check" and _ADDRESS.fullmatch(text):
        url = f"http{'' if _OF_THIS_HOST.match(text) else 's'}://{text}"
        return Answer(problem=f"A URL begins with https:// or http://. Did you mean {url}?", suggestion=url)
    if name == "smtp_host":
        return _check_mail_server(site, text)
    try:
        is_proposed = proposal is not None and text == proposal.answer
        settings = proposal.settings if proposal and is_proposed else {name: read_answer(name, text)}
        changed = with_answers(site, settings)
        make_edits(site, settings, into=into)
    except PreflightError as error:
        if error.findings[0].code in _OF_ONE_SETTING:  # any other problem may be gone at the end
            return Answer(problem=str(error))
    except (ValueError, UsageError) as error:
        close = _closest(text, _ENVIRONMENTS if name == "environment" else ())
        problem = str(error).removeprefix("--admin ").rstrip(".")
        hint = " Write it as ada@example.org, or 'Ada <ada@example.org>'." if name == "admins" else _did_you_mean(close)
        return Answer(problem=f"{problem[:1].upper()}{problem[1:]}.{hint}", suggestion=close)
    if not is_proposed and text == find_default(site, name):
        settings = {}
    return replace(_CHECKS.get(name, _accept)(changed, text), settings=settings)


def check_schedule(site: Site, text: str) -> Answer:
    """Check the answer to the last question, the scheduler of updates."""
    if text not in SCHEDULERS:
        close = _closest(text, SCHEDULERS)
        return Answer(problem=f"{text} is not one of {', '.join(SCHEDULERS)}.{_did_you_mean(close)}", suggestion=close)
    try:
        choose_scheduler(site, text, None)
    except (PreflightError, UsageError) as error:
        return Answer(problem=str(error), suggestion=NONE)
    return Answer()


def _accept(site: Site, text: str) -> Answer:  # noqa: ARG001 - one of several checks
    return Answer()


def _closest(text: str, known: tuple[str, ...]) -> str | None:
    import difflib  # slow to import

    found = [one for one in known if text and one.startswith(text)] or difflib.get_close_matches(text, known, n=1)
    return found[0] if found and found[0] != text else None


def _did_you_mean(close: str | None) -> str:
    return f" Did you mean {close}?" if close else ""


def _check_group(site: Site, text: str) -> Answer:
    try:
        choose_dependency_group(site.settings, site.pyproject)
    except PreflightError as error:
        groups = tuple(site.pyproject.groups)
        close = _closest(text, groups) or (NONE if not text else None)
        known = f" The groups are {', '.join(groups)}." if groups else " The project has no groups: answer `none`."
        return Answer(problem=f"{error.message}.{known}", suggestion=close or NONE)
    return Answer()


def _check_tests(site: Site, text: str) -> Answer:
    words = site.settings.test_command
    program = words[0] if words else "python"
    if program not in ("python", "python3") and _find_program(site, program) is None:
        return Answer(problem=f"The program {program!r} does not exist.", may_stay=True)
    script = next(iter(words[1:2]), "") if words else ""
    if script.endswith(".py") and not (site.project.checkout / script).is_file():
        return Answer(problem=f"{site.project.checkout / script} does not exist.", may_stay=True)
    return Answer() if text else Answer(problem="Without tests, releaser cannot check an update.", may_stay=True)


def _find_program(site: Site, program: str) -> str | None:
    path = inside(site.project.venv, site.runner.site_environ)["PATH"]
    return shutil.which(os.path.join(site.project.root, program) if "/" in program else program, path=path)


def _check_restart(site: Site, text: str) -> Answer:
    words = shlex.split(text)
    found = [*restart_findings(site), *_of_program(site, "restart")]
    if found:
        close = _closest(text, restart_words())
        return Answer(problem=f"{found[0]}{_did_you_mean(close)}", suggestion=close, may_stay=True)
    command = [word for word in words[1:] if word not in _SUDO_OPTIONS] if words[0] == "sudo" else words
    if doubt := (words[0] == "sudo" and _find_sudo_problem(site, command)) or _find_unit_problem(site, command):
        return Answer(problem=doubt, may_stay=True)
    servers = find_servers(site.project.checkout, site.project.venv)
    file, watching = restart_of(site).restart_file(site), [one for one in servers if one.watches_file]
    if file is not None and servers and not watching:
        return Answer(problem=f"Touching {file} does not restart {servers[0]}. {_OTHER_RESTART}", may_stay=True)
    if find_unrestarted(site):
        what = f"With `auto`, updates would not restart {servers[0] if servers else 'the site'}."
        how = f"To change that: {watching[0].remedy}." if watching else _OTHER_RESTART
        return Answer(problem=f"{what} {how}", may_stay=True)
    return Answer()


def _find_sudo_problem(site: Site, command: list[str]) -> str:
    """Return the line for sudoers that lets sudo ask for no password; empty if sudo asks for none."""
    try:
        ask_program(site, ["sudo", "-n", "-l", *command])
    except ToolError:
        program = shutil.which(command[0]) or command[0] if command else ""
        rule = f"{name_of(os.geteuid())} ALL=(root) NOPASSWD: {shlex.join((program, *command[1:]))}"
        return (
            "sudo does not permit this command without a password. Run `sudo visudo -f /etc/sudoers.d/releaser`, and "
            f"add this line: {rule}"
        )
    return ""


def _find_unit_problem(site: Site, command: list[str]) -> str:
    """Report a unit that systemd does not know, or that systemd does not work for this user; empty if all exist."""
    if "restart" not in command or os.path.basename(command[0]) != "systemctl":
        return ""
    at = command.index("restart")
    for unit in command[at + 1 :]:
        try:
            state = ask_program(site, [*command[:at], "show", "--property=LoadState", unit])
        except ToolError as error:
            return str(error)
        if "not-found" in state:
            return f"systemd has no unit {unit}. `systemctl list-units --type=service` lists those that run."
    return ""


def _of_program(site: Site, name: str) -> Iterator[Any]:
    return (one for one in program_findings(site, site.project.venv) if one.message.startswith(f"{name}:"))


def _check_health(site: Site, text: str) -> Answer:
    if found := [*health_findings(site), *_of_program(site, "health_check")]:
        return Answer(problem=str(found[0]), may_stay=True)
    if not is_url(text):
        return Answer()
    try:
        ask_page(site, text)
    except ToolError as error:
        hint = (
            " This is Django's answer to hosts that are not in ALLOWED_HOSTS: try the public URL."
            if "400" in str(error)
            else ""
        )
        return Answer(problem=f"The site does not pass: {error}.{hint}", may_stay=True)
    return Answer()


def _check_mail_server(site: Site, text: str) -> Answer:
    if text == find_default(site, "smtp_host"):  # perhaps the path of sendmail
        return Answer()
    if text in (NONE, ""):
        return Answer(settings={"smtp_host": ""})
    found = _SERVER.fullmatch(text)
    if found is None:
        host = re.sub(r"^\w+://|[/?#].*$", "", text).split("@")[-1]
        close = host if _SERVER.fullmatch(host) else None
        return Answer(
            problem=f"A mail server is a host name, such as mail.example.org.{_did_you_mean(close)}", suggestion=close
        )
    host, port = found[1].strip("[]"), found[2]
    settings = {"smtp_host": host} | ({"smtp_port": port} if port else {})
    try:
        SPECS["smtp_port"].kind(port or 0)
    except ValueError as error:
        return Answer(problem=f"The port of the mail server {error}.{_did_you_mean(found[1])}", suggestion=found[1])
    try:
        socket.getaddrinfo(host, int(port or 25), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Answer(settings=settings, problem=f"This host does not know the name {host}.", may_stay=True)
    return Answer(settings=settings)


_CHECKS: Mapping[str, Callable[[Site, str], Answer]] = {
    "group": _check_group,
    "test_command": _check_tests,
    "restart": _check_restart,
    "health_check": _check_health,
}
