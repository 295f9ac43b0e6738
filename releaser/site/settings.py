"""Every setting and where it comes from: defaults, pyproject.toml, files of variables, the environment."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from releaser.errors import Finding
from releaser.locks.versions import LEVELS, Level
from releaser.site import values
from releaser.site.addresses import Address, addresses, sender
from releaser.site.ownership import readable_by_all
from releaser.system.files import read_text
from releaser.system.words import secrets_in_variables

if TYPE_CHECKING:
    from releaser.site.windows import Window


_REMARK = re.compile(r"^[ \t]*;.*$", re.MULTILINE)  # a comment for systemd, but not for python-dotenv


@dataclass(frozen=True, kw_only=True)
class Variables:
    """The variables of a file, and what is wrong with it."""

    values: Mapping[str, str]
    findings: tuple[Finding, ...] = ()


def read_variables(path: Path, *, setting: str = "") -> Variables:
    """Read the `.env` of a project, in which `${NAME}` stands for another variable; it need not be there.

    A file that a `setting` names is read much as systemd reads an EnvironmentFile: nothing is interpolated.
    """
    said, findings, sound = f"{setting} {path}".lstrip(), [], ""
    try:
        text = read_text(path, encoding="utf-8-sig")
    except FileNotFoundError:
        missing = Finding(f"{said} does not exist", advice=f"Make the file, or correct `{setting}`.")
        return Variables(values={}, findings=(missing,) if setting else ())
    except (OSError, UnicodeDecodeError) as error:
        advice = "Let this user read it; it must be UTF-8 text."
        return Variables(values={}, findings=(Finding(f"{said} cannot be read: {error}", advice=advice),))
    from dotenv import dotenv_values  # which takes long to import, and most sites have no such file
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(_REMARK.sub("", text) if setting else text)):
        if binding.error:
            blank = binding.original.string[: -len(binding.original.string.lstrip()) or None]  # is counted with it
            number = binding.original.line + blank.count("\n")
            message = f"{path}, line {number}: not of the form NAME=value"
            findings.append(Finding(message, advice="Correct or remove the line."))
        else:
            sound += binding.original.string
    values = dotenv_values(stream=io.StringIO(sound), interpolate=not setting)
    findings += [
        Finding(f"{said}: {name} has no value", advice=f"Write {name}=value, or remove the line.")
        for name, value in values.items()
        if value is None and (setting or _is_ours(name))
    ]
    given = {name: value for name, value in values.items() if value is not None}
    return Variables(values=given, findings=tuple(findings))


PREFIX = "RELEASER_"
NO_SERVICE = "none"  # the value of `vulnerability_service` with which nobody is asked
NO_SENDMAIL = "none"  # the value of `sendmail` with which there is none
PROJECT_VARIABLE = "RELEASER_PROJECT"
Hook = Literal["before_build", "before_live", "after_static", "after_live", "on_failure", "on_rollback"]
HOOKS: tuple[Hook, ...] = get_args(Hook)
#: What hooks find in their environment, and releaser itself takes no setting from.
HOOK_VARIABLES = ("RELEASER_HOOK", "RELEASER_RELEASE", PROJECT_VARIABLE)
_TABLE = "tool.releaser."


@dataclass(frozen=True, kw_only=True)
class Spec:
    """How one setting is read: `parse` raises ValueError; `aliases` are further environment variables for it."""

    parse: Callable[[Any], Any]
    aliases: tuple[str, ...] = ()
    secret: bool = False


def _setting(default: Any, parse: Callable[[Any], Any], *, aliases: tuple[str, ...] = (), secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"spec": Spec(parse=parse, aliases=aliases, secret=secret)})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting with its default; lengths of time are in seconds, None means that releaser finds out by itself."""

    state_dir: str | None = _setting(None, values.path)
    environment: str | None = _setting(None, values.choice("staging", "production", "local"))
    group: str | None = _setting(None, values.non_empty)
    branch: str = _setting("main", values.non_empty)
    venv: str = _setting(".venv", values.non_empty)
    environment_file: str | None = _setting(None, values.path)
    uv: str | None = _setting(None, values.path, aliases=("AUTO_UPDTR__UV_PATH",))
    uv_timeout: float = _setting(1800.0, values.limit)
    python: str | None = _setting(None, values.interpreter)
    upgrade: Literal["all", "minor", "patch"] = _setting("all", values.choice(*LEVELS))
    upgrade_packages: tuple[tuple[str, Level], ...] = _setting((), values.by_package(values.choice(*LEVELS)))
    ignore: tuple[str, ...] = _setting((), values.package_patterns)
    min_age: float = _setting(3 * 86400.0, values.duration)
    min_age_fixes: float = _setting(86400.0, values.duration)
    min_age_packages: tuple[tuple[str, float], ...] = _setting((), values.by_package(values.duration))
    min_age_unknown: Literal["take", "refuse"] = _setting("take", values.choice("take", "refuse"))
    attestations: Literal["off", "warn", "require"] = _setting("warn", values.choice("off", "warn", "require"))
    attestations_root: str | None = _setting(None, values.path)
    every: float | None = _setting(None, values.interval)
    window: tuple[Window, ...] = _setting((), values.windows)
    jitter: float = _setting(0.0, values.jitter)
    test_command: tuple[str, ...] | None = _setting(None, values.command)
    test_environment: tuple[str, ...] = _setting((), values.ids)
    test_groups: tuple[str, ...] = _setting((), values.ids)
    test_timeout: float = _setting(1800.0, values.limit)
    test_live: Literal["changed", "always"] = _setting("changed", values.choice("changed", "always"))
    culprits: Literal["hold", "report", "off"] = _setting("hold", values.choice("hold", "report", "off"))
    culprit_runs: int = _setting(20, values.count)
    culprit_minutes: int = _setting(120, values.count)
    isolate: Literal["auto", "bwrap", "landlock", "off"] = _setting(
        "auto", values.choice("auto", "bwrap", "landlock", "off")
    )
    test_writable: tuple[str, ...] = _setting((), values.paths)
    test_jobs: int = _setting(1, values.jobs)
    django_check: Literal["off", "deploy"] = _setting("off", values.choice("off", "deploy"))
    django_check_level: Literal["error", "warning"] = _setting("error", values.choice("error", "warning"))
    migrations: Literal["report", "refuse", "off"] = _setting("report", values.choice("report", "refuse", "off"))
    collectstatic: str = _setting("auto", values.choice("auto", "on", "off"))
    collectstatic_timeout: float = _setting(600.0, values.limit)
    restart: tuple[str, ...] = _setting(("auto",), values.command)
    restart_file: str | None = _setting(None, values.non_empty)
    passenger_app_root: str | None = _setting(None, values.path)
    restart_leaves_service: bool = _setting(True, values.flag)
    restart_timeout: float = _setting(120.0, values.limit)
    health_check: str | None = _setting(None, values.url_or_command)
    health_status: tuple[range, ...] = _setting((range(200, 300), range(300, 400)), values.statuses)
    health_text: str | None = _setting(None, values.visible)
    health_socket: str | None = _setting(None, values.socket_path)
    health_host: str | None = _setting(None, values.host)
    health_timeout: float = _setting(10.0, values.limit)
    health_retries: int = _setting(7, values.count)
    health_pause: float = _setting(2.0, values.duration)
    health_seconds: float = _setting(10.0, values.duration)
    before_build: tuple[str, ...] | None = _setting(None, values.command)
    before_live: tuple[str, ...] | None = _setting(None, values.command)
    after_static: tuple[str, ...] | None = _setting(None, values.command)
    after_live: tuple[str, ...] | None = _setting(None, values.command)
    on_failure: tuple[str, ...] | None = _setting(None, values.command)
    on_rollback: tuple[str, ...] | None = _setting(None, values.command)
    hook_timeout: float = _setting(300.0, values.limit)
    git_pull: bool = _setting(True, values.flag)
    git_push: bool = _setting(True, values.flag)
    git_hooks: bool = _setting(False, values.flag)
    git_timeout: float = _setting(300.0, values.limit)
    requirements_export: str | None = _setting(None, values.file_inside)
    requirements_export_group: str | None = _setting(None, values.non_empty)
    requirements_export_hashes: bool = _setting(True, values.flag)
    staging_copy: tuple[str, ...] = _setting((), values.patterns)
    staging_link: tuple[str, ...] = _setting((), values.patterns)
    staging_omit: tuple[str, ...] = _setting((), values.patterns)
    keep: int = _setting(5, values.count)
    keep_within: float = _setting(30 * 86400.0, values.duration)
    keep_failed: int = _setting(2, values.count)
    keep_at_least: float = _setting(3600.0, values.duration)
    vulnerability_service: str | None = _setting(None, values.url_or_none)
    audit_timeout: float = _setting(20.0, values.limit)
    audit_ignore: tuple[str, ...] = _setting((), values.ids)
    security_fixes: Literal["early", "normal"] = _setting("early", values.choice("early", "normal"))
    unix_group: str | None = _setting(None, values.non_empty)
    group_writable: bool = _setting(False, values.flag)
    pin: bool = _setting(True, values.flag)
    link_mode: str | None = _setting(None, values.choice("clone", "copy"))
    mail_from: str | None = _setting(None, sender, aliases=("AUTO_UPDTR__EMAIL_FROM",))
    smtp_host: str | None = _setting(None, values.text, aliases=("AUTO_UPDTR__EMAIL_HOST",))
    smtp_port: int = _setting(0, values.port, aliases=("AUTO_UPDTR__EMAIL_HOST_PORT",))
    smtp_user: str | None = _setting(None, values.text)
    smtp_password: str | None = _setting(None, values.text, secret=True)
    smtp_password_file: str | None = _setting(None, values.path)
    smtp_security: Literal["none", "starttls", "tls"] | None = _setting(None, values.choice("none", "starttls", "tls"))
    sendmail: str | None = _setting(None, values.path)
    smtp_timeout: float = _setting(30.0, values.limit)
    admins: tuple[Address, ...] = _setting((), addresses, aliases=("ADMINS_JSON",))
    updater_admins: tuple[Address, ...] = _setting((), addresses, aliases=("AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON",))
    heartbeat: float = _setting(0.0, values.duration)
    webhook: str | None = _setting(None, values.url_or_none, secret=True)
    webhook_secret: str | None = _setting(None, values.text, secret=True)
    ping_url: str | None = _setting(None, values.url_or_none, secret=True)
    notify: tuple[str, ...] = _setting((), values.services, secret=True)
    lock_alert: float = _setting(7200.0, values.duration)


SPECS: Mapping[str, Spec] = {item.name: item.metadata["spec"] for item in fields(Settings)}
_SECRETS = {f"{PREFIX}{name.upper()}" for name, spec in SPECS.items() if spec.secret}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Settings as far as they could be read, and a finding for each thing that could not.

    `sources` says for every setting that is not at its default where its value stands.
    """

    settings: Settings
    problems: tuple[Finding, ...]
    sources: Mapping[str, str]
    #: Those in the `.env`.
    secrets: frozenset[str] = field(repr=False)
    #: The files with secrets that every user of this host can read.
    exposed: tuple[Finding, ...]


def load(*, table: Any, pyproject: Path, env_file: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Merge `[tool.releaser]` (`table`), the `.env` in the outer directory and the environment, weakest first.

    Raises nothing: every unknown key and every wrong value becomes a problem that names file and key.
    """
    problems: list[Finding] = []
    if not isinstance(table, dict):
        message, table = f"{pyproject}: [tool.releaser] must be a table", {}
        problems.append(Finding(message, advice="Write it as a table, or remove it."))
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
            if raw == "" and given is file.values:  # it takes back what pyproject.toml says
                chosen.pop(name, None)
                sources.pop(name, None)
                continue
            try:
                chosen[name] = SPECS[name].parse(raw)
            except ValueError as error:
                shown = "" if SPECS[name].secret else f" (it is {str(raw)[:80]!r})"
                problems.append(Finding(f"{source}: {key} {error}{shown}", advice=f"Correct {key} in {source}."))
            else:
                sources[name] = f"{source}: {key}"
    own = {value for name, value in file.values.items() if name in _SECRETS}
    secrets = frozenset(secrets_in_variables(file.values) | own - {""})
    password_file = _password_file(chosen, pyproject.parent, environ)
    if password_file is not None:
        try:
            chosen["smtp_password"] = values.text(read_text(password_file).rstrip("\n")) or None
        except (OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError, and says what stands there
            why = "it is not UTF-8 text" if isinstance(error, UnicodeError) else getattr(error, "strerror", error)
            advice = "It must hold the password on one line, readable for this user; or correct `smtp_password_file`."
            problems.append(Finding(f"smtp_password_file {password_file} cannot be used: {why}", advice=advice))
        if "smtp_password" in sources:
            message = f"the password is in {sources['smtp_password']}, and in smtp_password_file {password_file}"
            problems.append(Finding(message, advice="Remove one of them."))
    exposing = ((env_file, secrets), (password_file, chosen.get("smtp_password")))
    return Loaded(
        settings=Settings(**chosen),
        problems=tuple(problems),
        sources=sources,
        secrets=secrets,
        exposed=tuple(filter(None, (readable_by_all(path) for path, secret in exposing if path and secret))),
    )


def _password_file(chosen: Mapping[str, Any], root: Path, environ: Mapping[str, str]) -> Path | None:
    """Return the file that holds the password for mails: the one that is set, else what systemd has passed on."""
    if named := chosen.get("smtp_password_file"):
        return Path(os.path.normpath(root / Path(named).expanduser()))
    passed = Path(environ.get("CREDENTIALS_DIRECTORY", ""), "smtp_password")
    has_one = passed.is_absolute() and "smtp_password" not in chosen and os.path.lexists(passed)
    return passed if has_one else None


def _find_settings(source: str, given: Mapping[str, Any], problems: list[Finding]) -> dict[str, tuple[str, Any]]:
    """Return the settings in one source, each with its key and value; a name of its own wins over an alias."""
    found = {
        name: (key, given[key])
        for name, spec in SPECS.items()
        for key in (*spec.aliases, f"{PREFIX}{name.upper()}", f"{_TABLE}{name}")
        if key in given
    }
    known = {*HOOK_VARIABLES, *(key for key, _ in found.values())}
    ours = (key for key in given if key.startswith((PREFIX, _TABLE)))
    problems += [_unknown(source, key) for key in ours if key not in known]
    return found


def _is_ours(variable: str) -> bool:
    return variable.startswith(PREFIX) or any(variable in spec.aliases for spec in SPECS.values())


def _unknown(source: str, key: str) -> Finding:
    import difflib  # which takes long to import

    prefix = PREFIX if key.startswith(PREFIX) else ""
    name = key.removeprefix(prefix or _TABLE)
    close = difflib.get_close_matches(name.lower() if prefix else name, SPECS, n=1, cutoff=0.7)
    meant = f"Did you mean {prefix}{close[0].upper() if prefix else close[0]}?" if close else ""
    advice = meant or "Remove it, or see the list of settings in the documentation."
    return Finding(f"{source}: {key} is not a setting of releaser", advice=advice)


def environment_of(host: str) -> str:
    """Guess the environment from the host name: d… and q… are staging, p… is production, all else is local."""
    return {"d": "staging", "q": "staging", "p": "production"}.get(host[:1].lower(), "local")


def this_host() -> str:
    """Return the short name of this host."""
    import socket

    return socket.gethostname().partition(".")[0]
