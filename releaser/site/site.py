"""One site: its project, paths, settings and environment, as a run sees them."""

from __future__ import annotations

import contextlib
import functools
import grp
import logging
import os
import re
import shutil
import stat
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import dotenv
import msgspec
from dotenv.parser import parse_stream
from uv import find_uv_bin

from releaser.errors import Problem, ToolError, explain_error, refuse, require
from releaser.site.owners import (
    Trust,
    find_intruders,
    find_strangers,
    find_trust,
    list_pythons,
    list_sources,
    list_user_places,
    shares_with_group,
)
from releaser.site.paths import Paths, make_paths
from releaser.site.project import (
    choose_group,
    find_project,
    find_unknown_extras,
    get_table,
    guess_unix_group,
    read_pyproject,
    read_text,
)
from releaser.site.settings import FIXED, PREFIX, Settings, load_settings
from releaser.site.state import find_foreign_state, name_project_in_state
from releaser.system import process
from releaser.system.files import LARGEST_STATE, make_private_directory, remove_path
from releaser.system.text import hide_secrets, redact, word

LOWEST_UV = (0, 13)
SOURCES = ".releaser-sources"  # the link in each tree to the wheels of `sources`, by which uv.lock names them
UV_TIMEOUT = 1800.0  # seconds, for each call
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
# Variables that say where packages come from. All others that begin with UV_ could change what is installed.
_KEPT_UV = re.compile(
    r"UV_(INDEX|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|KEYRING_PROVIDER|HTTP_|OFFLINE|NATIVE_TLS|SYSTEM_CERTS|"
    r"INSECURE_HOST|PYTHON_DOWNLOADS|PYTHON_INSTALL|PYTHON_PREFERENCE|PYTHON$|CONFIG_FILE|NO_CONFIG|CONCURRENT|"
    r"REQUEST_TIMEOUT|SSL)"
)
# Those of the others that people set for what is installed.
_UNUSED_UV = re.compile(
    r"UV_(EXCLUDE|NO_(DEV|GROUP|DEFAULT_GROUPS|BINARY|BUILD|SOURCES|EDITABLE|INSTALL_)|DEV|GROUP|RESOLUTION|PRERELEASE|"
    r"FORK_STRATEGY|(BUILD_)?CONSTRAINT|OVERRIDE|TORCH_BACKEND|FROZEN|LOCKED)"
)
# Variables that mislead Python, or git, as in its hooks; but for those by which git reaches servers, and signs commits.
_MISLEADING = re.compile(
    r"(VIRTUAL_ENV|PYTHONHOME|PYTHONPATH|PYTHONSTARTUP|PYTHONDONTWRITEBYTECODE|__PYVENV_LAUNCHER__)$|"
    r"GIT_(?!SSH|SSL_|HTTP_|PROXY_|ALLOW_PROTOCOL$|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)$|AUTHOR_|COMMITTER_)"
)
# Variables of the environment file that releaser sets itself, that are its settings, or that no program can get.
_NOT_OF_SERVICE = re.compile(r"_?RELEASER_|AUTO_UPDTR__|UV_|(PATH|VIRTUAL_ENV|PYTHONHOME|__PYVENV_LAUNCHER__)$|.*[=\0]")
_PROGRAMS = ("git", "uv", "ssh", "unshare", "setpriv", "python3", "systemctl", "passenger-config")
BROKEN_LINE, OUTSIDE = "broken-line", "restart-file-outside"  # names of problems
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?[\w.-]+\s*=")
_OWN_NAME = re.compile(r"\W*(?:\w+\s+)?(?:RELEASER_|AUTO_UPDTR__|ADMINS_JSON|UV_)")
_REFERENCE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class Site(msgspec.Struct, frozen=True):
    """A site as a run sees it. `group` and `unix_group` are chosen; `problems` are those of settings and project."""

    paths: Paths
    settings: Settings
    environ: Mapping[str, str]
    dotenv: Mapping[str, str]
    group: str
    unix_group: int
    uv: Path
    problems: tuple[Problem, ...] = ()
    #: Those of `problems` that are files which cannot be read: no setting in them is known.
    unread: tuple[Problem, ...] = ()
    #: Where uv keeps its cache; by default in the state directory.
    uv_cache: Path | None = None
    #: Where the wheels of `sources` are, in a dry run; else in the state directory.
    dry_sources: Path | None = None
    #: The variables that the site's service gets from `environment_file`.
    service: Mapping[str, str] = {}

    def with_settings(self, subject: str, **values: object) -> Site:
        """Return the site with other values of some settings of a subject."""
        changed = msgspec.structs.replace(getattr(self.settings, subject), **values)
        return msgspec.structs.replace(self, settings=msgspec.structs.replace(self.settings, **{subject: changed}))

    @property
    def is_shared(self) -> bool:
        """True if a group shares the project: its directory is writable for a group with other members."""
        return shares_with_group(self.paths.project)

    @property
    def trust(self) -> Trust:
        """Whom a run of this user trusts here."""
        return find_trust(self.paths.project, self.unix_group if self.settings.site.unix_group else None)

    @property
    def environment_file(self) -> Path:
        """The path of the file with the environment of the service; without the setting, that of the project."""
        return Path(os.path.normpath(self.paths.project / os.path.expanduser(self.settings.site.environment_file)))

    @property
    def rollback_problems(self) -> list[Problem]:
        """Those of `problems` that refuse a rollback, too: it would restart, collect or push in another way."""
        needed = ("restart", "restart_workers", "restart_file", "collectstatic", "git_push")
        wrong = [self.settings.wrong[name] for name in needed if name in self.settings.wrong]
        return [*self.unread, *wrong, *(problem for problem in self.problems if problem.name == OUTSIDE)]

    @property
    def export(self) -> Path | None:
        """The file of the setting `requirements_export`; None without one, or outside of the project."""
        name = self.settings.git.requirements_export
        path = Path(os.path.normpath(self.paths.project / name))
        is_inside = path.is_relative_to(self.paths.project) and ".git" not in path.parts
        return path if name.endswith(".txt") and is_inside else None

    @property
    def committed_paths(self) -> tuple[str, ...]:
        """The paths, as git has them, that releaser's commits may change: uv.lock and the export."""
        export = (self.export.relative_to(self.paths.top).as_posix(),) if self.export else ()
        return (self.paths.lockfile_in_tree, *export)

    def tool_environment(self, venv: Path | None = None, mark: str = "") -> dict[str, str]:
        """Return the environment for programs: no settings of releaser or uv, which may have passwords in them.

        With `venv`, the program works in that release. `mark` is the variable that a later run ends children by.
        """
        env = {
            name: value
            for name, value in self.environ.items()
            if not name.startswith(PREFIX) and not _MISLEADING.match(name) and not name.startswith("UV_")
        }
        env.setdefault("PATH", _DEFAULT_PATH)
        if (home := os.path.expanduser("~")) != "~":
            env.setdefault("HOME", home)  # cron may have none: git and uv look there for names and passwords
        env["UV_CACHE_DIR"] = str(self.uv_cache or self.paths.cache)
        env["UV_NO_SYNC"] = "1"
        env["UV_NO_PROGRESS"] = "1"
        env["GIT_OPTIONAL_LOCKS"] = "0"
        if venv is not None:
            env |= {"VIRTUAL_ENV": str(venv), "UV_PROJECT_ENVIRONMENT": str(venv)}
            env["PATH"] = f"{venv / 'bin'}:{env['PATH']}"
        if mark:
            env[process.MARK] = f"{self.paths.state}/{mark}"
        return env

    @property
    def uv_variables(self) -> dict[str, str]:
        """The variables of uv that say where packages come from: those of `.env`, and stronger ones of the process."""
        variables = {**_expand(self.dotenv, self.environ), **self.environ}
        return {name: value for name, value in variables.items() if _KEPT_UV.match(name)}

    def find_links(self, tree: Path) -> list[str]:
        """Return where uv finds wheels in a tree: in the link to those of `sources`, and what UV_FIND_LINKS says."""
        links = self.uv_variables.get("UV_FIND_LINKS", "").split(",")
        return [*([SOURCES] if (tree / SOURCES).is_dir() else []), *filter(None, links)]

    @property
    def sources(self) -> Path:
        """The directory with the wheels of the setting `sources`."""
        return self.dry_sources or self.paths.sources

    @property
    def public_uv_variables(self) -> dict[str, str]:
        """Those of `uv_variables` that tests get: without a Python, and without secrets."""
        secret = re.compile(r"UV_(INDEX_\w+_(USERNAME|PASSWORD)|PYTHON)$")
        return {
            name: value
            for name, value in self.uv_variables.items()
            if not secret.match(name) and redact(value) == value
        }

    @property
    def unused_uv_variables(self) -> list[str]:
        """The variables of uv that would change what is installed, and so are not used."""
        return sorted(filter(_UNUSED_UV.match, {**self.dotenv, **self.environ}))

    def service_environment(self, venv: Path, mark: str = "") -> dict[str, str]:
        """Return the environment for programs of the site in a release: what its service gets is stronger."""
        return self.tool_environment(venv, mark) | dict(self.service)

    def run_uv(
        self,
        *arguments: str | Path,
        cwd: Path,
        mark: str,
        check: bool = True,
        variables: Mapping[str, str] = {},
        timeout: float = UV_TIMEOUT,
    ) -> process.Finished:
        """Run uv with these arguments and variables. Raises ToolError."""
        links = self.find_links(cwd)
        variables = {**({"UV_FIND_LINKS": ",".join(links)} if links else {}), **variables}
        words, env = self.uv_command(*arguments, mark=mark, variables=variables)
        asks = arguments[:2] in (("python", "find"), ("workspace", "dir")) or "--dry-run" in arguments
        return process.run(
            words, cwd=cwd, env=env, timeout=timeout, check=check, is_answer=True, is_question=asks, gives_way=not asks
        )

    def uv_command(
        self, *arguments: str | Path, mark: str, variables: Mapping[str, str] = {}
    ) -> tuple[list[str | Path], dict[str, str]]:
        """Return the command and the environment with which uv runs."""
        env = self.tool_environment(mark=mark) | self.uv_variables | dict(variables)
        env.pop("UV_NO_SYNC")
        return [self.uv, "--color", "never", *arguments], env


def open_site(start: Path, environ: Mapping[str, str], *, makes_project: bool = False) -> Site:
    """Return the site of the project at or above `start`, with all problems of its settings in it.

    Raises PreflightError outside of a project, and if somebody else could have written what decides what runs: nothing
    is started then.
    """
    project, top = find_project(start, makes_project=makes_project)
    environ = {**environ, "PATH": choose_path(environ)}
    own = (project, project.parent, top, project / "pyproject.toml", project.parent / ".env")
    require(find_strangers(find_trust(project), own))
    require(_find_strange_home(find_trust(project), environ))
    path = project / "pyproject.toml"
    text, problems = ("", list[Problem]()) if makes_project and not path.exists() else read_text(path)
    dotenv_values, more = read_dotenv(project.parent / ".env")
    site = _make_site(project, top, text, environ, dotenv_values)
    unread = (*problems, *(problem for problem in more if problem.name != BROKEN_LINE), *site.unread)
    everything = tuple(dict.fromkeys((*problems, *more, *site.problems)))
    return msgspec.structs.replace(site, problems=everything, unread=unread)


def require_own_place(directory: Path, environ: Mapping[str, str]) -> None:
    """Raise PreflightError if somebody else could change what is made in a directory, or the settings of git and uv."""
    above = next(place for place in (directory, *directory.parents) if place.is_dir())
    require(find_strangers(find_trust(above), [directory]))
    require(_find_strange_home(find_trust(above), environ))


def _find_strange_home(trust: Trust, environ: Mapping[str, str]) -> list[Problem]:
    """Return a problem if another user could write the files in which git and uv look for what to run."""
    problems = find_strangers(trust, list_user_places(environ))
    command = f"`sudo -H -u '#{trust.user}' releaser …`"
    advice = f"Run releaser with the HOME of its user: {command}; or correct who may write that."
    return [Problem("home", f"{problem.message} git and uv read settings there.", advice) for problem in problems[:1]]


def choose_path(environ: Mapping[str, str]) -> str:
    """Return PATH without relative directories, and those whose programs another user could replace."""
    trust, names = Trust(os.geteuid(), os.geteuid()), environ.get("PATH", _DEFAULT_PATH).split(os.pathsep)
    kept = [*map(os.path.realpath, _DEFAULT_PATH.split(os.pathsep))]

    def is_safe(name: str) -> bool:
        return os.path.realpath(name) in kept or not find_strangers(trust, [name])

    return os.pathsep.join(name for name in names if name.startswith("/") and is_safe(name))


def find_untrusted_programs(environ: Mapping[str, str]) -> list[str]:
    """Return a hint about the directories of PATH that are not used."""
    names = [name for name in environ.get("PATH", "").split(os.pathsep) if os.path.isdir(name)]
    left_out = [f"`{name}`" for name in names if name not in choose_path(environ).split(os.pathsep)]
    return [f"PATH is used without {', '.join(left_out)}: other users could put programs there."] if left_out else []


def site_at(site: Site, pyproject: str, commit: str) -> Site:
    """Return the site with the settings of a commit, by its pyproject.toml.

    Raises PreflightError if they are wrong, or if the commit changes where the site is.
    """
    place = f"pyproject.toml of commit {commit[:12]}"
    changed = _make_site(site.paths.project, site.paths.top, pyproject, site.environ, site.dotenv, place)
    problems = list(changed.problems)
    for name in FIXED:
        before, after = site.settings.get(name), changed.settings.get(name)
        if before != after:
            message = f"Commit {commit[:12]} changes the setting `{name}` from {before!r} to {after!r}."
            advice = f"Set `{PREFIX}{name.upper()}` in {site.paths.dotenv}, or revert the change."
            problems.append(Problem("fixed-setting", message, advice))
    require(problems)
    return msgspec.structs.replace(changed, uv_cache=site.uv_cache, dry_sources=site.dry_sources)


def _make_site(
    project: Path, top: Path, text: str, environ: Mapping[str, str], dotenv_values: Mapping[str, str], place: str = ""
) -> Site:
    """Return the site; messages call the file of `text` by its path, or by `place`."""
    hide_secrets(text)
    content, problems = read_pyproject(text, place or str(project / "pyproject.toml")) if text else ({}, [])
    table: Any = get_table(content, "tool", "releaser")
    settings, wrong = load_settings(environ, dotenv_values, table if isinstance(table, dict) else {})
    group, missing = choose_group(content, settings.site.environment, settings.site.group)
    missing += find_unknown_extras(content, settings.site.extras)
    unix_group, unknown = _find_unix_group(project, settings.site.unix_group)
    paths = _make_paths(project, top, settings)
    site = Site(paths, settings, environ, dotenv_values, group, unix_group, Path("uv"), unread=tuple(problems))
    pythons = list_pythons(paths, settings.site.python, site.uv_variables.get("UV_PYTHON", ""))
    named = (*_list_programs(settings, project, environ), *pythons, *list_sources(paths, content, site.uv_variables))
    named = (_name_state(project, settings), *named)  # and any link on the way to it
    require(find_intruders(site.trust, paths, site.environment_file, *named))
    uv, no_uv = _find_uv(settings.site.uv, project, environ)  # the first program that is started
    service, unread = read_service(site)
    everything = (*problems, *wrong, *missing, *unknown, *no_uv, *_find_outside_file(site), *unread)
    return msgspec.structs.replace(site, uv=uv, service=service, problems=everything)


def _find_outside_file(site: Site) -> list[Problem]:
    """Return a problem if a commit, not a person on this host, lets a restart touch a file outside of the project."""
    name, paths = site.settings.live.restart_file, site.paths
    path = Path(os.path.normpath(paths.project / os.path.expanduser(name)))
    is_inside = path.is_relative_to(paths.project) and ".git" not in path.parts and not path.is_relative_to(paths.state)
    if not name or site.settings.sources["restart_file"] != "pyproject.toml" or is_inside:
        return []
    message = f"pyproject.toml sets `restart_file` to `{path}`, outside of the project."
    return [Problem(OUTSIDE, message, f"Set `{PREFIX}RESTART_FILE` in {paths.dotenv} instead.")]


def _make_paths(project: Path, top: Path, settings: Settings) -> Paths:
    """Return the paths; that of the state has no links, so that it is the same where a shadow is mounted."""
    link = os.path.normpath(project / settings.site.venv)
    return make_paths(project, top, Path(link), Path(os.path.realpath(_name_state(project, settings))))


def _name_state(project: Path, settings: Settings) -> Path:
    """Return the path of the state directory as it is set."""
    state = settings.site.state_dir or os.path.join("..", ".releaser", project.name)
    return Path(os.path.normpath(project / os.path.expanduser(state)))


def read_dotenv(path: Path) -> tuple[dict[str, str], list[Problem]]:
    """Return the variables of `.env`; with a problem if it cannot be read, or is not UTF-8."""
    if not os.path.lexists(path):
        return {}, []
    text, problems = read_text(path)
    is_readable = os.access(path, os.R_OK) and path.is_file() and path.stat().st_size <= LARGEST_STATE
    if problems and is_readable:  # the people who get mail can be read
        text = path.read_text(encoding="utf-8", errors="replace")
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    for binding in parse_stream(StringIO(text)):
        line = binding.original.string
        is_assignment, is_lost = _ASSIGNMENT.match(line), bool(binding.key) and binding.value is None
        # Other lines may be for a shell.
        if "\0" in (binding.value or ""):
            message = f"Line {binding.original.line} of `{path}` has a character that no variable may have, NUL."
            problems.append(Problem(BROKEN_LINE, message, f"Correct or remove it: `nano {word(path)}`."))
        elif (binding.error and is_assignment) or ((binding.error or is_lost) and _OWN_NAME.match(line)):
            reason = "is a quote not closed?" if is_assignment else "a line must be NAME=value."
            message = f"Line {binding.original.line} of `{path}` cannot be read: {reason}"
            problems.append(Problem(BROKEN_LINE, message, f"Correct or remove it: `nano {word(path)}`."))
    values = dotenv.dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}, problems


def read_service(site: Site) -> tuple[dict[str, str], list[Problem]]:
    """Return the variables that the environment file gives to the service; with a problem if it cannot be read.

    As for python-dotenv, `${NAME}` is an earlier variable of the file or the environment; without one, it is left as it
    is, as systemd does: it may be part of a password.
    """
    name, path = site.settings.site.environment_file, site.environment_file
    if not name:
        return {}, []
    if name != Settings().site.environment_file and not path.exists():
        message = f"The setting `environment_file` is `{name}`, but `{path}` does not exist."
        return {}, [Problem("no-environment-file", message, "Correct or remove `environment_file`.")]
    variables, problems = read_dotenv(path)
    hide_secrets(variables)
    values = _expand(variables, site.environ)
    service = {name: value for name, value in values.items() if not _NOT_OF_SERVICE.match(name) and "\0" not in value}
    return service, problems


def _expand(variables: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a file, with the values of those that they name."""
    values = dict(environ)

    def find_value(match: re.Match[str]) -> str:
        return values.get(match[1], match[0] if match[2] is None else match[2])

    for variable, value in variables.items():
        values[variable] = _REFERENCE.sub(find_value, value)
    hide_secrets(values)
    return {name: values[name] for name in variables}


def _find_unix_group(project: Path, name: str) -> tuple[int, list[Problem]]:
    if not name:
        return guess_unix_group(project), []
    try:
        return grp.getgrnam(name).gr_gid, []
    except KeyError:
        message = f"The setting `unix_group` is `{name}`, but this host has no such group."
        return os.getgid(), [Problem("no-unix-group", message, "Run `getent group` to list the groups.")]


def _list_programs(settings: Settings, project: Path, environ: Mapping[str, str]) -> list[Path]:
    """Return the programs that exist: those of the settings, and each on PATH that a run starts by its name."""
    live, path = settings.live, environ.get("PATH", _DEFAULT_PATH)
    hooks = (live.before_build, live.before_live, live.before_restart, live.after_live, live.on_failure)
    commands = (live.restart, live.restart_workers, live.health_check, *hooks)
    names = [settings.site.uv, *(command[0] for command in (*commands, settings.tests.test_command) if command)]
    places = [project / os.path.expanduser(name) if "/" in name else name for name in (*names, *_PROGRAMS) if name]
    return [Path(program) for place in places if (program := shutil.which(place, path=path))]


def _find_uv(setting: str, project: Path, environ: Mapping[str, str]) -> tuple[Path, list[Problem]]:
    """Return the uv of the setting, that on PATH, or the one that releaser brings: the first that is new enough."""
    path = environ.get("PATH", _DEFAULT_PATH)
    named = project / os.path.expanduser(setting) if "/" in setting else setting
    found = [shutil.which(name, path=path) for name in (named, "uv") if name]
    if setting and found[0] is None:
        message = f"The setting `uv` is `{setting}`, but no such program exists."
        return Path(setting), [Problem("no-uv", message, "Correct or remove `uv`: releaser brings its own.")]
    for program in filter(None, found):
        if _uv_version(Path(program)) >= LOWEST_UV:
            return Path(os.path.abspath(program)), []
    try:
        return Path(find_uv_bin()), []
    except FileNotFoundError:
        message = "uv was not found: not on PATH, not with releaser."
        return Path("uv"), [Problem("no-uv", message, "Install it: `pip install uv`.")]


@functools.lru_cache(maxsize=8)
def _uv_version(uv: Path) -> tuple[int, ...]:
    with contextlib.suppress(FileNotFoundError):
        if os.path.samefile(uv, find_uv_bin()):
            return LOWEST_UV  # releaser depends on one that is new enough
    try:
        finished = process.run(
            [uv, "--version"], cwd=Path("/"), env={"PATH": _DEFAULT_PATH}, timeout=20, is_question=True
        )
    except ToolError:
        return ()
    match = re.match(r"uv (\d+)\.(\d+)", finished.stdout)
    return (int(match[1]), int(match[2])) if match else ()


def find_state_problems(site: Site) -> list[Problem]:
    """Return why the state directory, or the place of the link, cannot be used."""
    link, state, problems = site.paths.link, site.paths.state, find_foreign_state(site.paths)
    if not link.parent.is_dir():
        message = f"The setting `venv` is `{site.settings.site.venv}`, but `{link.parent}` does not exist."
        problems.append(Problem("wrong-venv", message, f"Run `mkdir -p {word(link.parent)}`, or correct `venv`."))
    place = next(path for path in (state, *state.parents) if os.path.lexists(path))
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        message = f"The state directory cannot be written: {place}."
        advice = f"Run `sudo chown $(id -un) {word(place)}`, or set `state_dir`."
        problems.append(Problem("no-state-directory", message, advice))
    return problems


def empty_cache(site: Site) -> None:
    """Delete what uv has in the cache of the site. Raises OSError."""
    for path in site.paths.cache.iterdir():
        remove_path(path)


def prepare_state(site: Site) -> None:
    """Make the state directory with the mode of the project's directory, without write for others.

    Raises PreflightError, also if another user could have written its content.
    """
    paths = site.paths
    require(find_foreign_state(paths))
    mode = stat.S_IMODE(paths.project.stat().st_mode) & (0o2775 if site.is_shared else 0o2755)
    try:
        for directory in (paths.state.parent, paths.state, paths.releases):
            if not directory.is_dir():
                directory.mkdir(parents=directory == paths.state.parent)
                os.chown(directory, -1, site.unix_group)
                directory.chmod(mode)
        make_private_directory(paths.cache)
        with contextlib.suppress(OSError):  # on a full disk, it is written later
            name_project_in_state(paths)
    except OSError as error:
        message = f"The state directory cannot be made: {explain_error(error)}"
        command = f"sudo install -d -o {os.geteuid()} -g {site.unix_group} -m {mode:o} {word(paths.state)}"
        raise refuse("no-state-directory", message, f"Run `{command}`, or set `state_dir`.") from error
