"""`config` and `setup`: shows every setting with its value and source, and writes those of a new site."""

from __future__ import annotations

import contextlib
import grp
import json
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli

from releaser.answers import SettingValue, SetUp
from releaser.errors import MailError, PreflightError, ReleaserError, UsageError, os_reason, refuse, refuse_any
from releaser.fleet.schedule import scheduler_of
from releaser.reporting.mail_setup import send_test_mail, sender_of
from releaser.serving.restarts import restart_of
from releaser.serving.restarts.passenger import app_root
from releaser.site.addresses import MailSettings, parse_address
from releaser.site.conventions import choose_dependency_group, find_commonest_group, find_conventions
from releaser.site.loading import Loaded, load, read_variables
from releaser.site.location import is_project
from releaser.site.setting_files import read_text_if_there, set_in_table, set_variables, variable_of
from releaser.site.settings import SPECS
from releaser.site.site import find_site
from releaser.system.environment import find_own_program
from releaser.system.frozen import Frozen, replace
from releaser.system.words import MASK, did_you_mean, first_few, secrets_in_urls
from releaser.tools.uv import find_uv

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from releaser.fleet.schedule import Scheduler
    from releaser.site.project import Project
    from releaser.site.setting_files import Edit
    from releaser.site.site import Site


#: The settings of this host.
_OF_HOST = ("environment", "python", "admins", "smtp_host", "mail_from")
NONE = "none"
_CORRECT_MAIL = (
    "Correct the settings, such as `releaser setup --smtp-host mail.example.org --set smtp_port=587 --set "
    "smtp_user=NAME --set smtp_password_file=PATH`, then run `releaser test-mail`."
)
_ALL_SETTINGS = "`releaser config` lists all settings."


def spell_addresses(addresses: Iterable[str]) -> str:
    """Return addresses, with or without names, as the setting spells them. Raises UsageError."""
    try:
        found = [parse_address(one) for one in addresses]
    except ValueError as error:
        message = f"--admin {error}"
        raise UsageError(message, "Write it as ada@example.org, or 'Ada <ada@example.org>'.") from error
    return json.dumps([[one.name, one.address] for one in found]) if found else ""


def find_default(site: Site, name: str) -> str:
    """Return the default answer to a question: the value that is set or detected; empty for none."""
    if name == "admins":
        return ", ".join(
            f"{one.name} <{one.address}>" if one.name else one.address for one in MailSettings.of(site).admins
        )
    if name == "smtp_host" and not MailSettings.of(site).smtp_host:
        carrier = MailSettings.of(site).transport(site.project.root, site.runner)
        return carrier.address if carrier is not None else ""
    return in_line(pick(find_values(site), name))


def read_answer(name: str, text: str) -> str:
    """Return an answer as the setting spells it; empty for none. Raises ValueError and UsageError."""
    if name == "admins":
        text = spell_addresses(filter(None, (one.strip() for one in text.split(",")))) if text != NONE else ""
    if text == NONE and name not in ("restart", "group"):
        return ""
    if text:
        SPECS[name].kind(text)
    return text


def find_neighbors(project: Project) -> tuple[str, ...]:
    """Return the names of the other projects in the outer directory, which read the same `.env`."""
    with contextlib.suppress(OSError):
        own = project.checkout.resolve()  # a symlink may lead to it
        places = (one for one in sorted(project.outer.iterdir()) if one.is_dir() and one.resolve() != own)
        return tuple(one.name for one in places if is_project(str(one)))
    return ()


def find_edits(site: Site, wanted: Mapping[str, str], *, into: str) -> tuple[Edit, ...]:
    """Return the edits that give settings the wanted values, as text; an empty value removes one.

    A setting changes in the file that has it. A new one goes into `.env`, or into pyproject.toml if `into` says so and
    it is not of this host, unless another project reads that `.env`, too. Raises PreflightError and UsageError.
    """
    edits = make_edits(site, wanted, into=into)
    _refuse_new_problems(site, edits)
    return edits


def make_edits(site: Site, wanted: Mapping[str, str], *, into: str) -> tuple[Edit, ...]:
    """Return the edits without a check of the settings together. Raises PreflightError and UsageError."""
    env_file, variables, table = site.project.outer / ".env", dict[str, str](), dict[str, Any]()
    file, others = read_variables(env_file), find_neighbors(site.project)
    refuse_any(*file.findings)
    for name, text in wanted.items():
        value, source = _parse(name, text), site.sources.get(name, "")
        if value == getattr(site.settings, name) or not (text or source):
            continue
        if source.startswith("environment: "):
            refuse(
                "set-in-environment",
                f"{name} is set in the environment, which overrides files",
                f"Remove it from there ({source}).",
            )
        is_there = source.startswith(f"{site.pyproject.path}: ")
        may_go = not source and into == "pyproject" and (others or name not in _OF_HOST) and not SPECS[name].secret
        if text and (is_there or may_go):
            table[name] = SPECS[name].kind.spell(value)
        else:
            variables[variable_of(name, file.values)] = text
    if variables and others:
        refuse(
            "env-shared",
            f"{env_file} is also read by {first_few(others)}, where {first_few(sorted(variables))} would change too",
            "Run `releaser setup --into pyproject`, which writes to the project's file. For a secret, or to change all "
            f"these projects, edit {env_file}. Or move each project into its own parent directory.",
        )
    edits = [set_variables(env_file, variables)] if variables else []
    edits += [set_in_table(site.project.pyproject, table)] if table else []
    return tuple(one for one in edits if one.after != one.before)


def _parse(name: str, text: str) -> Any:
    if name not in SPECS:
        message = f"{name} is not a setting of releaser"
        raise UsageError(message, did_you_mean(name, SPECS) or _ALL_SETTINGS)
    try:
        text.encode()  # for the file
    except UnicodeEncodeError:
        message = f"{name} is not UTF-8 text (it is {text[:80]!r})"
        raise UsageError(message, "Nothing was changed. Correct the value.") from None
    try:
        return SPECS[name].kind(text) if text else None
    except ValueError as error:
        message = f"{name} {error} (it is {text[:80]!r})"
        guess = SPECS[name].kind.correct(text)
        advice = f"Did you mean `--set {name}={guess}`?" if guess else "Correct the value."
        raise UsageError(message, f"Nothing was changed. {advice}") from error


def _refuse_new_problems(site: Site, edits: Iterable[Edit]) -> None:
    """Read the settings as they would be. Raises PreflightError if they have problems that they do not have now."""
    env_file, pyproject = site.project.outer / ".env", site.project.pyproject
    texts = {one: read_text_if_there(one) or "" for one in (env_file, pyproject)}
    with tempfile.TemporaryDirectory(prefix="releaser-") as directory:  # for this user alone
        place = Path(directory, env_file.name)
        before = _load(site, texts, place)
        after = _load(site, texts | {one.path: one.after for one in edits}, place)
    known = {one.message for one in before.problems}
    refuse_any(*(one for one in after.problems if one.message not in known))
    choose_dependency_group(after.settings, site.pyproject)


def _load(site: Site, texts: Mapping[Path, str], place: Path) -> Loaded:
    env_file, pyproject = texts
    place.write_text(texts[env_file], encoding="utf-8")
    table = tomli.loads(texts[pyproject]).get("tool", {}).get("releaser", {})
    return load(table=table, pyproject=pyproject, env_file=place, environ=site.runner.environ)


def usual_schedule(site: Site) -> str:
    """Return the scheduler of this host: `cron`, `systemd`, or `none`."""
    for kind, program in (("cron", "crontab"), ("systemd", "systemctl")):
        if find_own_program(program, site.runner.environ, site.project.root):
            return kind
    return NONE


class Plan(Frozen):
    """The work of `setup`: write files, send a mail, schedule updates, and check the site."""

    edits: tuple[Edit, ...]
    mail: bool
    scheduler: Scheduler | None

    @property
    def by_hand(self) -> tuple[str, ...]:
        """The commands that do the same without `setup`."""
        commands = [f"edit {one.path}" for one in self.edits]
        commands += ["`releaser test-mail`"] if self.mail else []
        commands += [f"`releaser schedule {self.scheduler.kind} --install`"] if self.scheduler else []
        return (*commands, "`releaser check`")

    @property
    def others(self) -> tuple[str, ...]:
        """The work after the files are written."""
        mail = ("send a test mail",) if self.mail else ()
        return (*mail, *(self.scheduler.changes() if self.scheduler else ()), "check the site")

    @property
    def would(self) -> tuple[str, ...]:
        """The lines of a dry run."""
        lines = (f"would write to {one.path}: {line}" for one in self.edits for line in one.added)
        return (*lines, *(f"would {one}" for one in self.others))


def secrets_in(wanted: Mapping[str, str]) -> set[str]:
    """Return the secrets in the values to write."""
    own = {text for name, text in wanted.items() if name in SPECS and SPECS[name].secret}
    return own.union(*map(secrets_in_urls, wanted.values()))


def has_recipient(site: Site, wanted: Mapping[str, str]) -> bool:
    """True if mails will have a recipient."""
    return bool(
        wanted.get("admins")
        or MailSettings.of(site).updater_admins
        or ("admins" not in wanted and MailSettings.of(site).admins)
    )


def choose_scheduler(site: Site, kind: str, at: str | None) -> Scheduler | None:
    """Return the scheduler for updates; None for `none`. Raises UsageError, and PreflightError if it is unusable."""
    if kind == NONE:
        return None
    scheduler = scheduler_of(site, kind, at=at)  # type: ignore[arg-type]
    scheduler.changes()
    return scheduler


def spell_command(wanted: Mapping[str, str]) -> str:
    """Return the command of `setup` that sets these settings without a question for them."""
    return shlex.join(["releaser", "setup", *(f"--set={name}={text}" for name, text in wanted.items())])


def set_up(path: Path, environ: Mapping[str, str], plan: Plan) -> tuple[SetUp, list[ReleaserError]]:
    """Write the files, send a mail, and schedule updates; return the results, and failures after the writing."""
    try:
        for edit in plan.edits:
            edit.write()
    except OSError as error:
        refuse(
            "settings-unwritable",
            f"the settings cannot be written: {os_reason(error)}",
            "Give this user write access to that file.",
        )
    failures: list[ReleaserError] = []
    sent, scheduled = None, None
    if plan.mail:
        try:
            sent = send_test_mail(find_site(path, environ))
            if sent.problem:
                failures.append(MailError(sent.problem, _CORRECT_MAIL))
        except PreflightError as error:
            failures.append(error)
    if plan.scheduler is not None:
        try:
            changed = bool(plan.scheduler.changes())
            plan.scheduler.install()
            scheduled = replace(plan.scheduler.show(), changed=changed)
        except PreflightError as error:
            failures.append(error)
    written = {str(one.path): one.added for one in plan.edits}
    return SetUp(written=written, mail=sent, schedule=scheduled, by_hand=plan.by_hand), failures


# `releaser config`, which changes nothing

PROJECT = "project"  # not set like the others
#: The settings that only a run detects.
LATER = ("python", "vulnerability_service", "link_mode", "smtp_security", "sendmail")
EACH_RUN = "detected by each run"
_GIVEN = {
    "COMMANDLINE": ("command line", "--project"),
    "ENVIRONMENT": ("environment", "environment: RELEASER_PROJECT"),
}


def find_values(site: Site, *, by: str = "") -> list[SettingValue]:
    """Return the project and every setting; `by` is click's name for the source of the project."""
    origin, source = _GIVEN.get(by, ("detected", "the current directory"))
    root = str(site.project.root)
    found_out = {**dict.fromkeys(LATER, (None, EACH_RUN)), **_detect_values(site)}
    found = [SettingValue(name=PROJECT, value=root, origin=origin, source=source)]  # type: ignore[arg-type]
    return found + [_find_value(site, name, found_out) for name in SPECS]


def pick(found: Sequence[SettingValue], name: str) -> SettingValue:
    """Return the setting of this name, in either spelling; UsageError if there is none."""
    wanted = name.lower().removeprefix("releaser_").removeprefix("tool.releaser.")
    for one in found:
        if one.name == wanted:
            return one
    message = f"{name} is not a setting of releaser"
    raise UsageError(message, did_you_mean(wanted, [one.name for one in found]) or _ALL_SETTINGS)


def in_line(one: SettingValue) -> str:
    """Return a value on one line, as in a variable; empty if there is none."""
    spec = SPECS.get(one.name)
    if spec is None or one.value in (None, MASK):
        return str(one.value or "")
    return spec.kind.spell_in_line(spec.kind(one.value))


def _find_value(site: Site, name: str, found_out: dict[str, tuple[Any, str]]) -> SettingValue:
    spec, value, source = SPECS[name], getattr(site.settings, name), site.sources.get(name)
    if source is not None:
        origin = "environment" if source.startswith("environment: ") else ".env"
        origin = "pyproject.toml" if source.startswith(f"{site.pyproject.path}: ") else origin
    elif spec.secret and value:  # of a file that is set, or of systemd's credentials
        origin = source = "file"
    elif name in found_out:
        value, source = found_out[name]
        return SettingValue(name=name, value=value, origin="detected", source=source)
    else:
        origin = source = "default"
    shown = MASK if spec.secret and value else None if value is None else spec.kind.spell(value)
    return SettingValue(name=name, value=shown, origin=origin, source=source)  # type: ignore[arg-type]


def _detect_values(site: Site) -> dict[str, tuple[Any, str]]:
    """Return the detected values of settings that are not set, with their sources."""
    settings, project = site.settings, site.project
    conventions = {one.what: (one.value, one.source) for one in find_conventions(site)}
    words, why = conventions.get("test command", (None, "no tests were found"))
    nothing = (None, "nothing was found")
    found: dict[str, tuple[Any, str]] = {
        "state_dir": (str(project.state_dir), "next to the checkout"),
        "environment": conventions["environment"],
        "group": conventions.get("dependency group", (None, "the group of the environment is missing")),
        "test_command": (shlex.split(words) if words else None, why),
        "uv": nothing,
        "restart_file": nothing,
        "passenger_app_root": (str(app_root(site)), "the directory of the project"),
        "mail_from": (sender_of(MailSettings.of(site)), "the name of this host"),
        "unix_group": (None, "the most common group of the project's files has no name"),
    }
    if executable := find_uv(None, environ=site.runner.environ, project=project.root):
        found["uv"] = (str(executable), "PATH, or the uv installed with releaser")
    if file := restart_of(site).restart_file(site):
        found["restart_file"] = (str(file), "an existing file or directory")
    off = (name for name in ("git_pull", "git_push") if not getattr(settings, name))
    found |= dict.fromkeys(off, (False, "the project is not under git"))  # which counts if no file turns them off
    if not settings.unix_group:
        with contextlib.suppress(KeyError, OSError):
            name = grp.getgrgid(find_commonest_group(project.root)).gr_name
            found["unix_group"] = (name, "the most common group of the project's files")
    return found
