"""Every setting and where it comes from: defaults, pyproject.toml, files of variables, the environment."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from releaser.errors import Finding
from releaser.locks.versions import LEVELS, Level
from releaser.site import values
from releaser.system.redaction import secrets_in_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from releaser.site.address import Address


_REMARK = re.compile(r"^[ \t]*;.*$", re.MULTILINE)  # a comment for systemd, but not for python-dotenv
_SECRET_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIAL|PRIVATE|(^|_)(KEY|PASS|PWD|AUTH|SALT|DSN)$", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Variables:
    """The variables of a file, None for a name without `=`, and what is wrong with its other lines."""

    values: Mapping[str, str | None]
    findings: tuple[Finding, ...]


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
            findings.append(Finding(message, advice="Correct or remove the line."))
        else:
            sound += binding.original.string
    values = dotenv_values(stream=io.StringIO(sound), interpolate=interpolate)
    return Variables(values=values, findings=tuple(findings))


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a site gets into its environment by `environment_file`, and what is wrong with that file."""

    variables: Mapping[str, str]
    findings: tuple[Finding, ...] = ()

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
        return Given(variables={}, findings=(Finding(f"environment_file {path} does not exist", advice=advice),))
    except (OSError, UnicodeDecodeError) as error:
        message = f"environment_file {path} cannot be read: {error}"
        return Given(variables={}, findings=(Finding(message, advice="Let this user read it; it is UTF-8 text."),))
    found = parse_variables(_REMARK.sub("", text), path, interpolate=False)
    empty = [
        Finding(f"environment_file {path}: {name} has no value", advice=f"Write {name}=value, or remove the line.")
        for name, value in found.values.items()
        if value is None
    ]
    variables = {name: value for name, value in found.values.items() if value is not None}
    return Given(variables=variables, findings=(*found.findings, *empty))


PREFIX = "RELEASER_"
NO_SERVICE = "none"  # the value of `vulnerability_service` with which nobody is asked
PROJECT_VARIABLE = "RELEASER_PROJECT"
_OTHER_VARIABLES = frozenset({PROJECT_VARIABLE})


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
    min_age: float = _setting(0.0, values.duration)
    min_age_packages: tuple[tuple[str, float], ...] = _setting((), values.by_package(values.duration))
    min_age_unknown: Literal["take", "refuse"] = _setting("refuse", values.choice("take", "refuse"))
    test_command: tuple[str, ...] | None = _setting(None, values.command)
    test_groups: tuple[str, ...] = _setting((), values.ids)
    test_timeout: float = _setting(1800.0, values.limit)
    test_live: Literal["changed", "always"] = _setting("changed", values.choice("changed", "always"))
    culprits: Literal["hold", "report", "off"] = _setting("hold", values.choice("hold", "report", "off"))
    culprit_runs: int = _setting(20, values.count)
    culprit_minutes: int = _setting(120, values.count)
    test_jobs: int = _setting(1, values.jobs)
    django_check: Literal["off", "deploy"] = _setting("off", values.choice("off", "deploy"))
    django_check_level: Literal["error", "warning"] = _setting("error", values.choice("error", "warning"))
    migrations: Literal["report", "refuse", "off"] = _setting("report", values.choice("report", "refuse", "off"))
    collectstatic: str = _setting("auto", values.choice("auto", "on", "off"))
    collectstatic_timeout: float = _setting(600.0, values.limit)
    restart: tuple[str, ...] = _setting(("auto",), values.command)
    restart_file: str | None = _setting(None, values.non_empty)
    passenger_app_root: str | None = _setting(None, values.path)
    restart_timeout: float = _setting(120.0, values.limit)
    health_check: str | None = _setting(None, values.url_or_command)
    health_status: tuple[range, ...] = _setting((range(200, 300), range(300, 400)), values.statuses)
    health_text: str | None = _setting(None, values.words_of_a_page)
    health_socket: str | None = _setting(None, values.socket_path)
    health_host: str | None = _setting(None, values.host)
    health_timeout: float = _setting(10.0, values.limit)
    health_retries: int = _setting(7, values.count)
    health_pause: float = _setting(2.0, values.duration)
    health_seconds: float = _setting(10.0, values.duration)
    git_pull: bool = _setting(True, values.flag)
    git_push: bool = _setting(True, values.flag)
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
    pin: bool = _setting(True, values.flag)
    link_mode: str | None = _setting(None, values.choice("clone", "copy"))
    mail_from: str | None = _setting(None, values.sender, aliases=("AUTO_UPDTR__EMAIL_FROM",))
    smtp_host: str | None = _setting(None, values.text, aliases=("AUTO_UPDTR__EMAIL_HOST",))
    smtp_port: int = _setting(0, values.port, aliases=("AUTO_UPDTR__EMAIL_HOST_PORT",))
    smtp_user: str | None = _setting(None, values.text)
    smtp_password: str | None = _setting(None, values.text, secret=True)
    smtp_security: Literal["none", "starttls", "tls"] = _setting("none", values.choice("none", "starttls", "tls"))
    sendmail: str | None = _setting(None, values.path)
    smtp_timeout: float = _setting(30.0, values.limit)
    admins: tuple[Address, ...] = _setting((), values.addresses, aliases=("ADMINS_JSON",))
    updater_admins: tuple[Address, ...] = _setting(
        (), values.addresses, aliases=("AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON",)
    )
    heartbeat: float = _setting(0.0, values.duration)


SPECS: Mapping[str, Spec] = {item.name: item.metadata["spec"] for item in fields(Settings)}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Settings as far as they could be read, and a finding for each thing that could not.

    `sources` says for every setting that is not at its default where its value stands.
    """

    settings: Settings
    problems: tuple[Finding, ...]
    sources: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """One place that settings come from; `entries` maps a setting to the key as written there and its raw value.

    In a place with `unsets`, an empty value takes back what a weaker place says.
    """

    source: str
    entries: Mapping[str, tuple[str, Any]]
    unsets: bool = False


def load(*, table: Any, pyproject: Path, env_file: Path, environ: Mapping[str, str]) -> Loaded:
    """Merge `[tool.releaser]` (`table`), the `.env` in the outer directory and the environment, weakest first.

    Raises nothing: every unknown key and every wrong value becomes a problem that names file and key.
    """
    problems: list[Finding] = []
    layers = [
        _toml_layer(table, pyproject, problems),
        replace(
            _variables_layer(_read_env_file(env_file, problems) if env_file else {}, str(env_file), problems),
            unsets=True,
        ),
        _variables_layer(environ, "environment", problems),
    ]
    chosen: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        for name, (key, raw) in layer.entries.items():
            if layer.unsets and raw == "":
                chosen.pop(name, None)
                sources.pop(name, None)
                continue
            try:
                chosen[name] = SPECS[name].parse(raw)
            except ValueError as error:
                problems.append(_wrong_value(layer.source, key, raw, str(error), secret=SPECS[name].secret))
            else:
                sources[name] = f"{layer.source}: {key}"
    return Loaded(settings=Settings(**chosen), problems=tuple(problems), sources=sources)


def _toml_layer(table: Any, pyproject: Path, problems: list[Finding]) -> _Layer:
    source = str(pyproject)
    if not isinstance(table, dict):
        problems.append(
            Finding(f"{source}: [tool.releaser] must be a table", advice="Write it as a table, or remove it.")
        )
        return _Layer(source=source, entries={})
    problems += [_unknown(source, f"tool.releaser.{key}", key, SPECS) for key in table if key not in SPECS]
    return _Layer(source=source, entries={key: (f"tool.releaser.{key}", table[key]) for key in SPECS if key in table})


def _variables_layer(variables: Mapping[str, str], source: str, problems: list[Finding]) -> _Layer:
    known = {f"{PREFIX}{name.upper()}": name for name in SPECS}
    entries: dict[str, tuple[str, Any]] = {}
    for name, spec in SPECS.items():
        for alias in spec.aliases:
            if alias in variables:
                entries[name] = (alias, variables[alias])
    for variable, value in variables.items():
        if variable in known:
            entries[known[variable]] = (variable, value)
        elif variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            problems.append(_unknown(source, variable, variable, known))
    return _Layer(source=source, entries=entries)


def _read_env_file(path: Path, problems: list[Finding]) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Finding(f"{path} cannot be read: {error}", advice="Make it readable UTF-8 text."))
        return {}
    found = parse_variables(text, path, interpolate=True)
    problems += found.findings
    problems += [_without_value(path, name) for name, value in found.values.items() if value is None and _is_ours(name)]
    return {name: value for name, value in found.values.items() if value is not None}


def _is_ours(variable: str) -> bool:
    return variable.startswith(PREFIX) or any(variable in spec.aliases for spec in SPECS.values())


def _without_value(path: Path, variable: str) -> Finding:
    return Finding(f"{path}: {variable} has no value", advice=f"Write {variable}=value, or remove the line.")


def _unknown(source: str, key: str, name: str, known: Mapping[str, Any]) -> Finding:
    # Without the prefix, in which all variables are alike.
    prefix, names = PREFIX if name.startswith(PREFIX) else "", [one.removeprefix(PREFIX) for one in known]
    import difflib  # here and below, as they take long to import

    close = difflib.get_close_matches(name.removeprefix(prefix), names, n=1, cutoff=0.7)
    advice = (
        f"Did you mean {prefix}{close[0]}?" if close else "Remove it, or see the list of settings in the documentation."
    )
    return Finding(f"{source}: {key} is not a setting of releaser", advice=advice)


def _wrong_value(source: str, key: str, raw: Any, reason: str, *, secret: bool) -> Finding:
    shown = "" if secret else f" (it is {str(raw)[:80]!r})"
    return Finding(f"{source}: {key} {reason}{shown}", advice=f"Correct {key} in {source}.")


def environment_of(host: str) -> str:
    """Guess the environment from the host name: d… and q… are staging, p… is production, all else is local."""
    return {"d": "staging", "q": "staging", "p": "production"}.get(host[:1].lower(), "local")


def this_host() -> str:
    """Return the short name of this host."""
    import socket

    return socket.gethostname().partition(".")[0]
