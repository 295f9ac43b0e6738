"""Every setting, declared once: its type, its default and its sentence. From that follow names, readers and errors.

Sources, strongest first: the process environment, `.env` in the outer directory, `[tool.releaser]` in pyproject.toml,
the default. A variable is `RELEASER_` and the name of the setting in capitals.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, NewType, cast, get_args, get_origin, get_type_hints

import msgspec

from releaser.errors import Problem
from releaser.system.text import find_close, hide_secrets, normalize_name

PREFIX = "RELEASER_"
# Variables with the prefix that are no settings: an option's, and those of hooks, which may call releaser.
_OF_HOOKS = {"RELEASER_RESULT", "RELEASER_RELEASE", "RELEASER_PREVIOUS", "RELEASER_EXIT_CODE", "RELEASER_TREE"}
OTHER_VARIABLES = {"RELEASER_PROJECT", *_OF_HOOKS}
# Django's name, and those of the older updater.
ALIASES = {
    "ADMINS_JSON": "admins",
    "AUTO_UPDTR__UV_PATH": "uv",
    "AUTO_UPDTR__EMAIL_FROM": "mail_from",
    "AUTO_UPDTR__EMAIL_HOST": "smtp_host",
    "AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON": "updater_admins",
}
_PORT_ALIAS = "AUTO_UPDTR__EMAIL_HOST_PORT"

Seconds = NewType("Seconds", float)
Count = NewType("Count", int)  # 1 or more
Command = NewType("Command", tuple[str, ...])  # a list of arguments; empty if there is none
Words = NewType("Words", tuple[str, ...])
Level = Literal["all", "minor", "patch", "security", "none"]
Levels = NewType("Levels", dict[str, Level])  # by the names of packages, as uv.lock has them
Table = NewType("Table", dict[str, str])
Sender = NewType("Sender", str)  # `Name <address>`, or an address
Url = NewType("Url", str)  # with a host
Host = NewType("Host", str)  # with `:port`, or without
Addresses = NewType("Addresses", tuple[str, ...])  # each `Name <address>`, or an address alone

_LONGEST = 10 * 365 * 86400.0  # seconds; a longer time means the same
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")
_URL = re.compile(r"https?://[^\s/?#\[\]]+([/?#]\S*)?")
_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?(:\d{1,5})?")
_ADDRESS = re.compile(r"[!-~]+@[A-Za-z0-9.-]+")
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class SiteSettings(msgspec.Struct, frozen=True):
    """The project and its surroundings."""

    state_dir: Annotated[str, "Directory for releases and state, relative to the project."] = ""
    environment: Annotated[
        Literal["", "local", "staging", "production"],
        "Kind of host. Default: by host name, d or q is staging, p is production, all else is local.",
    ] = ""
    group: Annotated[str, "Dependency group to install. Default: that of the environment."] = ""
    branch: Annotated[str, "Branch of the checkout."] = "main"
    venv: Annotated[str, "Path of the symlink to the live release, relative to the project."] = ".venv"
    uv: Annotated[str, "Path of uv. Default: on PATH, else the uv that releaser brings."] = ""
    python: Annotated[str, "Python for new releases, as `uv --python` takes it."] = ""
    unix_group: Annotated[str, "Group of the files of releases. Default: the commonest of the project's files."] = ""
    extras: Annotated[Words, "Extras of the project to install."] = Words(())
    members: Annotated[Words, "Workspace members to install, or `all`. Default: the root."] = Words(())
    default_groups: Annotated[bool, "Install the default dependency groups of uv, such as `dev`."] = True
    django_settings: Annotated[
        str, "Django settings of the service. Default: read from its unit, wsgi.py or asgi.py."
    ] = ""
    manage_py: Annotated[str, "Path of manage.py. Default: in the project, or in one of its directories."] = ""
    environment_file: Annotated[str, "File with the environment of the site's service, relative to the project."] = (
        "../.env"
    )


class VersionSettings(msgspec.Struct, frozen=True):
    """The versions that an update takes."""

    upgrade: Annotated[
        Level,
        "`all` upgrades packages, `minor` within their major version, `patch` within their minor one; "
        "`security` takes the lowest versions without known vulnerabilities; `none` deploys the committed lock.",
    ] = "all"
    upgrade_packages: Annotated[Levels, "Levels of `upgrade` for single packages, which they are stronger for."] = (
        Levels({})
    )
    ignore: Annotated[Words, "Packages that updates leave at their live version."] = Words(())
    min_age: Annotated[Seconds, "Take only versions that were uploaded at least this long ago."] = Seconds(0)
    constraints: Annotated[str, "File with bounds such as `django<6`, one per line, relative to the project."] = ""
    sources: Annotated[
        Words,
        "Directories and `s3://BUCKET/PREFIX` with wheels, which uv gets beside its indexes. "
        "`PACKAGE=PLACE` offers that package alone.",
    ] = Words(())
    audit: Annotated[
        Literal["report", "refuse", "off"],
        "`report` known vulnerabilities of the live release, by `uv audit`; `refuse` a candidate that "
        "brings one, too; `off` sends no package names to the advisory service.",
    ] = "report"
    audit_ignore: Annotated[Words, "Ids of vulnerabilities that do not count."] = Words(())

    @property
    def has_fixes_alone(self) -> bool:
        """True if a level takes fixes of vulnerabilities alone."""
        return "security" in (self.upgrade, *self.upgrade_packages.values())


class TestSettings(msgspec.Struct, frozen=True):
    """The tests of the project."""

    test_command: Annotated[
        Command, "Command. Default: `run_tests.py`, else `manage.py test`, else pytest if locked."
    ] = Command(())
    test_timeout: Annotated[Seconds, "Time limit of the tests."] = Seconds(1800)
    test_environment: Annotated[Table, "Variables for the tests."] = Table({})
    shadow: Annotated[
        Literal["auto", "required", "off"],
        "`auto` mounts the shadow on the site's paths if the kernel allows it; `required` refuses to "
        "update without that; `off` never does.",
    ] = "auto"
    shadow_copy: Annotated[Words, "Patterns of files to copy to the shadow although large."] = Words(())
    tests_get_environment_file: Annotated[bool, "Run the tests with the variables of `environment_file`, too."] = False
    culprits: Annotated[
        int, "Maximum of test runs that find what breaks the tests, so that the rest goes live; 0: none."
    ] = 16
    test_jobs: Annotated[Count, "Candidates that are tested at once in a search for a culprit."] = Count(1)


class LiveSettings(msgspec.Struct, frozen=True):
    """Going live."""

    restart: Annotated[
        Command,
        "`auto` touches `restart_file`; `passenger`, `systemd:UNIT,…`, `gunicorn:PIDFILE`; a command; "
        "`none` restarts nothing.",
    ] = Command(("auto",))
    restart_workers: Annotated[
        Command, "The same ways, for what else runs the site's code, such as Celery. Default: none."
    ] = Command(())
    restart_file: Annotated[str, "File to touch. Default: `config/tmp/restart.txt`, else `tmp/restart.txt`."] = ""
    restart_timeout: Annotated[Seconds, "Time limit of a restart with the start of the server, or of a hook."] = (
        Seconds(120)
    )
    health_check: Annotated[
        Command, "URL that must answer, `unix:SOCKET:[HOST]/PATH`, or a command that must end with 0."
    ] = Command(())
    collectstatic: Annotated[Literal["auto", "on", "off"], "Collect Django's static files after the flip."] = "auto"
    migrations: Annotated[
        Literal["refuse", "run", "ignore"],
        "`refuse` a candidate whose migrations are not applied, `run` them after the flip, or `ignore` "
        "them. A rollback never undoes one.",
    ] = "refuse"
    smoke: Annotated[
        Literal["auto", "off"], "`auto` imports Django's application of a candidate as a part of its tests."
    ] = "auto"
    before_build: Annotated[Command, "Command that runs in the shadow before a build."] = Command(())
    before_live: Annotated[
        Command,
        "Command right before an update goes live, in the live checkout with the candidate's packages; "
        "the candidate's code is in `$RELEASER_TREE`. If it fails, nothing goes live.",
    ] = Command(())
    before_restart: Annotated[
        Command, "Command between static files and restart, also on the way back; a failure goes back."
    ] = Command(())
    after_live: Annotated[Command, "Command once a release is live and healthy."] = Command(())
    on_failure: Annotated[Command, "Command after an update or rollback that failed."] = Command(())
    health_timeout: Annotated[Seconds, "Time in which the health check must succeed."] = Seconds(30)


class GitSettings(msgspec.Struct, frozen=True):
    """The remote repository."""

    git_pull: Annotated[bool, "Fetch the branch, and let its new commits go live."] = True
    git_push: Annotated[bool, "Push the commits of `uv.lock`."] = True
    requirements_export: Annotated[
        str, "A `.txt` file for `uv export`, relative to the project, committed with `uv.lock`."
    ] = ""


class KeepSettings(msgspec.Struct, frozen=True):
    """The releases that stay."""

    keep: Annotated[int, "Number of good releases to keep beside the live one."] = 5
    keep_within: Annotated[Seconds, "Also keep releases that were live within this time."] = Seconds(30 * 86400)


class MailSettings(msgspec.Struct, frozen=True):
    """Telling people."""

    admins: Annotated[Addresses, "Recipients of all mail; usually Django's `ADMINS_JSON`."] = Addresses(())
    updater_admins: Annotated[
        Addresses, "Recipients of mail about a project that cannot be opened, and of all mail without `admins`."
    ] = Addresses(())
    mail_from: Annotated[Sender, "Sender. Default: `releaser@` and the name of the host."] = Sender("")
    smtp_host: Annotated[Host, "Mail server, with `:port` if that is not 25."] = Host("localhost")
    smtp_user: Annotated[str, "User for the mail server."] = ""
    smtp_password: Annotated[str, "Password for the mail server."] = ""
    smtp_security: Annotated[
        Literal["auto", "starttls", "tls", "none"], "`auto` uses STARTTLS if the server offers it."
    ] = "auto"
    ping_url: Annotated[
        Url, "URL of a monitor: an update or rollback asks for it with `/start`, then with its exit code."
    ] = Url("")
    heartbeat: Annotated[Seconds, "Mail that all is well after this time without mail. Default: never."] = Seconds(0)

    @property
    def recipients(self) -> Addresses:
        """The people who get mail about a site."""
        return self.admins or self.updater_admins


class ElsewhereSettings(msgspec.Struct, frozen=True):
    """Releases from other hosts."""

    bundle_signers: Annotated[str, "File of those who may sign bundles, as `ssh-keygen -Y verify` takes it."] = ""


class Settings(msgspec.Struct, frozen=True):
    """All settings by subject. `sources` says where those stand that are not the default.

    `wrong` are the problems of those that have a wrong value, and so are at their default.
    """

    site: SiteSettings = SiteSettings()
    versions: VersionSettings = VersionSettings()
    tests: TestSettings = TestSettings()
    live: LiveSettings = LiveSettings()
    git: GitSettings = GitSettings()
    keep: KeepSettings = KeepSettings()
    mail: MailSettings = MailSettings()
    elsewhere: ElsewhereSettings = ElsewhereSettings()
    sources: dict[str, str] = {}
    wrong: dict[str, Problem] = {}

    def get(self, name: str) -> Any:
        """Return the value of a setting by its name."""
        return getattr(getattr(self, _SUBJECT_OF[name]), name)


class SettingRow(msgspec.Struct, frozen=True):
    """A setting with its value, without secrets, as `releaser config --json` prints it."""

    name: str
    subject: str
    value: Any
    source: str
    default: Any
    variable: str
    description: str


SECRETS = ("smtp_password", "ping_url")
#: Settings whose wrong values are not shown.
_HIDDEN = (*SECRETS, "smtp_host", "test_environment")
# Settings that decide where a site is: a commit cannot change them.
FIXED = ("state_dir", "venv", "branch", "uv", "unix_group", "environment_file", "bundle_signers")


def load_settings(
    environ: Mapping[str, str], dotenv: Mapping[str, str], table: Mapping[str, Any]
) -> tuple[Settings, list[Problem]]:
    """Return the settings, with the default for each wrong value, and every problem with its source.

    `dotenv` is the content of `.env`, `table` is `[tool.releaser]`. Their secrets are shown nowhere from now on.
    """
    hide_secrets([environ, dotenv, table])
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    wrong: dict[str, Problem] = {}
    origins: dict[str, str] = {}
    sources = (
        ("pyproject.toml", ((key, key, value) for key, value in table.items())),
        (".env", _variables(dotenv)),
        ("the environment", _variables(environ)),
    )
    for source, entries in sources:
        for key, name, value in entries:
            if name not in _READERS:
                problems.append(_report_unknown(source, key, is_variable=source != "pyproject.toml"))
                continue
            try:
                values[name] = _READERS[name](value)
                wrong.pop(name, None)
                origins[name] = source.removeprefix("the ") + (f" ({key})" if key in ALIASES else "")
            except ValueError as error:
                shown = "a secret" if name in _HIDDEN else repr(value)
                message = f"{source}: `{key}` is {shown}, but must be {error}."
                advice = " User and password are `smtp_user` and `smtp_password`." if name == "smtp_host" else ""
                wrong[name] = Problem("wrong-setting", message, f"Correct `{key}` in {source}.{advice}")
                problems.append(wrong[name])
    ping_url = str(values.get("ping_url", ""))
    hide_secrets({"secret": [ping_url, ping_url.partition("://")[2].partition("/")[2]]})
    subjects = {
        subject: kind(**{name: values[name] for name in kind.__struct_fields__ if name in values})
        for subject, kind in _SUBJECTS.items()
    }
    return Settings(**subjects, sources=origins, wrong=wrong), problems


def list_settings(settings: Settings, detected: Mapping[str, str]) -> list[SettingRow]:
    """Return every setting, by subject. `detected` are the values that releaser uses for settings that are empty."""
    rows = []
    for name, subject in _SUBJECT_OF.items():
        kind, description = _DECLARED[name]
        value, default = settings.get(name), getattr(_SUBJECTS[subject](), name)
        if kind is Command:
            value, default = shlex.join(value), shlex.join(default)
        elif kind is Seconds:
            value, default = float(value), float(default)
        elif kind is Table:
            value = dict.fromkeys(value, "***")
        elif name in SECRETS and value:
            value = "***"
        value, source = value or detected.get(name, value), settings.sources.get(name, "default")
        rows.append(SettingRow(name, subject, value, source, default, PREFIX + name.upper(), description))
    return rows


def find_setting(name: str) -> str:
    """Return the name of a setting, given that or the name of a variable. Raises ValueError."""
    key = ALIASES.get(name, name.lower().removeprefix(PREFIX.lower()).replace("-", "_"))
    if key in _READERS:
        return key
    close = find_close(key, _READERS)
    raise ValueError(f"`{name}` is no setting. {f'Did you mean `{close}`?' if close else 'See `releaser config`.'}")


def read_value(name: str, text: str) -> object:
    """Return the value of a setting from the text of a variable. Raises ValueError that says what it must be."""
    return _READERS[name](text)


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for variable, value in environ.items():
        if variable in ALIASES and PREFIX + ALIASES[variable].upper() not in environ:
            port = environ.get(_PORT_ALIAS, "") if ALIASES[variable] == "smtp_host" else ""
            yield variable, ALIASES[variable], f"{value}:{port}" if port else value
        elif variable.upper().startswith(PREFIX) and variable not in OTHER_VARIABLES:
            yield variable, variable.removeprefix(PREFIX).lower(), value


def _report_unknown(source: str, key: str, *, is_variable: bool) -> Problem:
    name = key.upper().removeprefix(PREFIX).lower() if is_variable else key.lower().replace("-", "_")
    close = find_close(name, _READERS)
    shown = (PREFIX + close.upper() if is_variable else close) if close else ""
    advice = f"Did you mean `{shown}`?" if close else f"Remove `{key}` from {source}."
    return Problem("unknown-setting", f"{source}: `{key}` is no setting.", advice)


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value.strip()


def _read_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.strip().lower() not in _BOOLEANS:
        raise ValueError("`true` or `false`")
    return _BOOLEANS[value.strip().lower()]


def _read_int(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a whole number, 0 or more")
    return value


def _read_count(value: Any) -> Count:
    with contextlib.suppress(ValueError):
        if number := _read_int(value):
            return Count(number)
    raise ValueError("a whole number, 1 or more")


def read_seconds(value: Any) -> Seconds:
    """Return a time in seconds. Raises ValueError that says what it must be."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Seconds(min(value, _LONGEST))
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a time such as `90s`, `30m`, `12h`, `3d` or `2w`")
    return Seconds(min(float(match[1]) * _UNITS[match[2] or "s"], _LONGEST))


def format_duration(seconds: float) -> str:
    """Return a time as settings take it: `30m`."""
    unit = next((unit for unit in "dhm" if seconds and seconds % _UNITS[unit] == 0), "s")
    return f"{seconds / _UNITS[unit]:g}{unit}"


def _read_command(value: Any) -> Command:
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return Command(tuple(value))
    if not isinstance(value, str):
        raise ValueError('a command: text, or a list such as ["python", "run_tests.py"]')
    try:
        return Command(tuple(shlex.split(value)))
    except ValueError as error:
        raise ValueError(f"a command; {error}") from error


def _read_words(value: Any) -> Words:
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError("a list of names")
    return Words(tuple(value))


def _read_table(value: Any) -> Table:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except ValueError:
            value = None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError('a table of text, in a variable as JSON: {"NAME": "value"}')
    return Table(value)


def _read_levels(value: Any) -> Levels:
    known = get_args(Level)
    try:
        levels = {normalize_name(name): level for name, level in _read_table(value).items()}
    except ValueError:
        levels = {"": ""}
    if not {*levels.values()} <= {*known}:
        raise ValueError(f'a table such as {{"django": "patch"}}, with {", ".join(known[:-1])} or {known[-1]}')
    return Levels({name: cast(Level, level) for name, level in levels.items()})


_ADDRESSES = 'addresses, such as ada@example.org, or a list such as [["Ada", "ada@example.org"]]'


def _read_addresses(value: Any) -> Addresses:
    from email.utils import formataddr  # takes 10 ms

    if isinstance(value, str) and not value.lstrip().startswith("["):
        value = [address for address in value.split(",") if address.strip()]
    elif isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except ValueError as error:
            raise ValueError(f"{_ADDRESSES}; {error}") from error
    entries: list[Any] = value if isinstance(value, list) else [None]
    pairs = [["", entry] if isinstance(entry, str) else entry for entry in entries]
    for pair in pairs:
        is_pair = isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        if not is_pair or not _ADDRESS.fullmatch(pair[1].strip()) or not pair[0].isprintable():
            raise ValueError(_ADDRESSES)
    return Addresses(tuple(formataddr((name.strip(), address.strip())) for name, address in pairs))


def _read_sender(value: Any) -> Sender:
    from email.utils import formataddr, parseaddr

    name, address = parseaddr(value) if isinstance(value, str) else ("", "")
    if not _ADDRESS.fullmatch(address) or not name.isprintable():
        raise ValueError("an address, or `Name <address>`")
    return Sender(formataddr((name, address)))


def _make_text_reader(pattern: re.Pattern[str], words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value.strip()):
            raise ValueError(words)
        return value.strip()

    return read


def _make_choice_reader(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value in choices:
            return str(value)
        close = find_close(str(value), choices)
        names = ", ".join(f"`{choice}`" for choice in choices if choice)
        raise ValueError(f"one of {names}" + (f"; did you mean `{close}`?" if close else ""))

    return read


_BY_TYPE: dict[Any, Callable[[Any], Any]] = {
    str: _read_text,
    bool: _read_bool,
    int: _read_int,
    Count: _read_count,
    Seconds: read_seconds,
    Command: _read_command,
    Words: _read_words,
    Table: _read_table,
    Levels: _read_levels,
    Addresses: _read_addresses,
    Host: _make_text_reader(_HOST, "a host, or `host:port`"),
    Url: _make_text_reader(_URL, "an http or https URL"),
    Sender: _read_sender,
}


_SUBJECTS: dict[str, Any] = {
    name: kind for name, kind in get_type_hints(Settings).items() if hasattr(kind, "__struct_fields__")
}
_SUBJECT_OF = {name: subject for subject, kind in _SUBJECTS.items() for name in kind.__struct_fields__}
#: The type and the sentence of each setting.
_DECLARED: dict[str, tuple[Any, str]] = {
    name: get_args(annotation)
    for subject in _SUBJECTS.values()
    for name, annotation in get_type_hints(subject, include_extras=True).items()
}
_READERS = {
    name: _make_choice_reader(get_args(kind)) if get_origin(kind) is Literal else _BY_TYPE[kind]
    for name, (kind, _) in _DECLARED.items()
}
