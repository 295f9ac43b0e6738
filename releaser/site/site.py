"""One site: its project, paths, settings and environment, as a run sees them."""

from __future__ import annotations

import contextlib
import functools
import grp
import logging
import os
import pwd
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import dotenv
import msgspec
from dotenv.parser import parse_stream
from uv import find_uv_bin

from releaser.errors import Problem, ToolError, explain_error, refuse, require
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
from releaser.system import process
from releaser.system.files import LARGEST_STATE, make_private_directory, remove_path
from releaser.system.text import hide_secrets, redact

LOWEST_UV = (0, 13)
UV_TIMEOUT = 1800.0  # seconds, for each call
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
# Variables that say where packages come from. All others that begin with UV_ could change what is installed.
_KEPT_UV = re.compile(
    r"UV_(INDEX|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|KEYRING_PROVIDER|HTTP_|OFFLINE|NATIVE_TLS|SYSTEM_CERTS|"
    r"INSECURE_HOST|PYTHON_DOWNLOADS|PYTHON_INSTALL|PYTHON_PREFERENCE|PYTHON$|CONFIG_FILE|NO_CONFIG|CONCURRENT|"
    r"REQUEST_TIMEOUT|SSL)"
)
# Variables that mislead Python, or git, as in its hooks; but for those by which git reaches servers, and signs commits.
_MISLEADING = re.compile(
    r"(VIRTUAL_ENV|PYTHONHOME|PYTHONPATH|PYTHONSTARTUP|PYTHONDONTWRITEBYTECODE|__PYVENV_LAUNCHER__)$|"
    r"GIT_(?!SSH|SSL_|HTTP_|PROXY_|ALLOW_PROTOCOL$|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)$|AUTHOR_|COMMITTER_)"
)
# Variables of the environment file that releaser sets itself, that are its settings, or that no program can get.
_NOT_OF_SERVICE = re.compile(r"_?RELEASER_|AUTO_UPDTR__|UV_|(PATH|VIRTUAL_ENV|PYTHONHOME|__PYVENV_LAUNCHER__)$|.*[=\0]")
BROKEN_LINE = "broken-line"  # the name of the problem
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?[\w.-]+\s*=")
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
    #: The variables that the site's service gets from `environment_file`.
    service: Mapping[str, str] = {}

    @property
    def is_shared(self) -> bool:
        """True if a group shares the project: its directory is writable for the group."""
        return bool(self.paths.project.stat().st_mode & 0o020)

    @property
    def environment_file(self) -> Path:
        """The path of the file with the environment of the service; without the setting, that of the project."""
        return Path(os.path.normpath(self.paths.project / os.path.expanduser(self.settings.site.environment_file)))

    @property
    def rollback_problems(self) -> list[Problem]:
        """Those of `problems` that refuse a rollback, too: it would restart, collect or push in another way."""
        needed = ("restart", "restart_file", "collectstatic", "git_push")
        return [*self.unread, *(self.settings.wrong[name] for name in needed if name in self.settings.wrong)]

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
    def public_uv_variables(self) -> dict[str, str]:
        """The variables of uv that say where packages come from, for tests: without a Python, and without secrets."""
        secret = re.compile(r"UV_(INDEX_\w+_(USERNAME|PASSWORD)|PYTHON)$")
        return {
            name: value
            for name, value in self.environ.items()
            if _KEPT_UV.match(name) and not secret.match(name) and redact(value) == value
        }

    def service_environment(self, venv: Path, mark: str = "") -> dict[str, str]:
        """Return the environment for programs of the site in a release: what its service gets is stronger."""
        return self.tool_environment(venv, mark) | dict(self.service)

    def run_uv(
        self, *arguments: str | Path, cwd: Path, mark: str, check: bool = True, variables: Mapping[str, str] = {}
    ) -> process.Finished:
        """Run uv with these arguments and variables. Raises ToolError."""
        words, env = self.uv_command(*arguments, mark=mark, variables=variables)
        asks = arguments[:2] == ("python", "find") or "--dry-run" in arguments
        return process.run(words, cwd=cwd, env=env, timeout=UV_TIMEOUT, check=check, is_answer=True, is_question=asks)

    def uv_command(
        self, *arguments: str | Path, mark: str, variables: Mapping[str, str] = {}
    ) -> tuple[list[str | Path], dict[str, str]]:
        """Return the command and the environment with which uv runs."""
        sources = {name: value for name, value in self.environ.items() if _KEPT_UV.match(name)}
        env = self.tool_environment(mark=mark) | sources | dict(variables)
        env.pop("UV_NO_SYNC")
        return [self.uv, "--color", "never", *arguments], env


def open_site(start: Path, environ: Mapping[str, str]) -> Site:
    """Return the site of the project at or above `start`, with all problems of its settings in it.

    Raises PreflightError outside of a project, and if a stranger could have written its settings: nothing runs then.
    """
    project, top = find_project(start)
    require(find_intrusions((project.parent, project, project.parent / ".env", project / "pyproject.toml"), project))
    text, problems = read_text(project / "pyproject.toml")
    dotenv_values, more = read_dotenv(project.parent / ".env")
    if os.geteuid() == 0:  # before a program of that user runs
        _require_owner(project)
    site = _make_site(project, top, text, environ, dotenv_values)
    _require_owner(site.paths.run_lock)
    require(find_intrusions((site.environment_file.parent, site.environment_file), project))
    unread = (*problems, *(problem for problem in more if problem.name != BROKEN_LINE), *site.unread)
    everything = tuple(dict.fromkeys((*problems, *more, *site.problems)))
    return msgspec.structs.replace(site, problems=everything, unread=unread)


def _require_owner(place: Path) -> None:
    """Raise PreflightError for root where a path is of another user, and for a user who may not read it."""
    owner = place.stat().st_uid if place.exists() else os.geteuid()
    if owner != os.geteuid() and not (os.geteuid() and os.access(place, os.R_OK)):
        message = f"`{place}` belongs to user {owner}."
        raise refuse("other-user", message, f"Run releaser as that user: `sudo -u '#{owner}' releaser …`.")


def site_at(site: Site, pyproject: str, commit: str) -> Site:
    """Return the site with the settings of a commit, by its pyproject.toml.

    Raises PreflightError if they are wrong, or if the commit changes where the site is.
    """
    changed = _make_site(site.paths.project, site.paths.top, pyproject, site.environ, site.dotenv)
    problems = list(changed.problems)
    for name in FIXED:
        before, after = site.settings.get(name), changed.settings.get(name)
        if before != after:
            message = f"Commit {commit[:12]} changes the setting `{name}` from {before!r} to {after!r}."
            advice = f"Set `{PREFIX}{name.upper()}` in {site.paths.dotenv}, or revert the change."
            problems.append(Problem("fixed-setting", message, advice))
    require(problems)
    return msgspec.structs.replace(changed, uv_cache=site.uv_cache)


def _make_site(
    project: Path, top: Path, text: str, environ: Mapping[str, str], dotenv_values: Mapping[str, str]
) -> Site:
    content, problems = read_pyproject(text, str(project / "pyproject.toml")) if text else ({}, [])
    table: Any = get_table(content, "tool", "releaser")
    settings, wrong = load_settings(environ, dotenv_values, table if isinstance(table, dict) else {})
    group, missing = choose_group(content, settings.site.environment, settings.site.group)
    missing += find_unknown_extras(content, settings.site.extras)
    unix_group, unknown = _find_unix_group(project, settings.site.unix_group)
    uv, no_uv = _find_uv(settings.site.uv, project, environ)
    site = Site(
        paths=_make_paths(project, top, settings),
        settings=settings,
        environ=environ,
        dotenv=dotenv_values,
        group=group,
        unix_group=unix_group,
        uv=uv,
        problems=(*problems, *wrong, *missing, *unknown, *no_uv),
        unread=tuple(problems),
    )
    service, unread = read_service(site)
    return msgspec.structs.replace(site, service=service, problems=(*site.problems, *unread))


def _make_paths(project: Path, top: Path, settings: Settings) -> Paths:
    state = settings.site.state_dir or os.path.join("..", ".releaser", project.name)
    link = os.path.normpath(project / settings.site.venv)
    return make_paths(project, top, Path(link), Path(os.path.normpath(project / os.path.expanduser(state))))


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
        if binding.error and _ASSIGNMENT.match(binding.original.string):  # lines for a shell are not ours
            message = f"Line {binding.original.line} of `{path}` cannot be read: is a quote not closed?"
            problems.append(Problem(BROKEN_LINE, message, f"Correct or remove it: `nano {path}`."))
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
    values = dict(site.environ)

    def find_value(match: re.Match[str]) -> str:
        return values.get(match[1], match[0] if match[2] is None else match[2])

    for variable, value in variables.items():
        values[variable] = _REFERENCE.sub(find_value, value)
    service = {name: values[name] for name in variables if not _NOT_OF_SERVICE.match(name) and "\0" not in values[name]}
    return service, problems


def _find_unix_group(project: Path, name: str) -> tuple[int, list[Problem]]:
    if not name:
        return guess_unix_group(project), []
    try:
        return grp.getgrnam(name).gr_gid, []
    except KeyError:
        message = f"The setting `unix_group` is `{name}`, but this host has no such group."
        return os.getgid(), [Problem("no-unix-group", message, "Run `getent group` to list the groups.")]


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


def find_intrusions(paths: Sequence[Path], project: Path) -> list[Problem]:
    """Return a problem for each file or directory that decides what runs, and that a stranger could have written.

    Trusted are root, this user, and the owners of the project and of its parent; and the group that shares the project.
    """
    trusted = {0, os.geteuid(), project.stat().st_uid, project.parent.stat().st_uid}
    is_shared = bool(project.stat().st_mode & stat.S_IWGRP)
    problems = []
    for path in filter(os.path.lexists, paths):
        status, target = path.lstat(), path.stat() if path.exists() else path.lstat()
        has_no_mode = stat.S_ISLNK(target.st_mode) or target.st_mode & stat.S_ISVTX  # a sticky directory's is no matter
        by_group = target.st_mode & stat.S_IWGRP and not is_shared and not _is_private_group(target.st_gid)
        if (target.st_mode & stat.S_IWOTH or by_group) and not has_no_mode:
            message = f"Other users of this host may write `{path}`, which decides what runs here."
            problems.append(Problem("writable-by-others", message, f"Look at it, then run `chmod go-w {path}`."))
        elif not {status.st_uid, target.st_uid} <= trusted and not is_shared:
            message = f"`{path}` belongs to another user, but decides what runs here."
            problems.append(Problem("of-another-user", message, f"Look at `ls -ld {path}`, then move it away."))
    return problems


def _is_private_group(gid: int) -> bool:
    """Return True for the group that a user has alone, as Debian makes one for each."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def find_state_intrusions(site: Site) -> list[Problem]:
    """Return what stands in the place of the state directory or of a part of it, and who could write it."""
    paths = site.paths
    state = (paths.state.parent, paths.state, paths.releases, paths.journal, paths.holds, paths.pause, paths.pending)
    problems = find_intrusions(state, paths.project)
    for path in (paths.releases, paths.cache, paths.logs, paths.reserve, paths.replaced):
        if os.path.lexists(path) and not path.is_dir():
            problems.append(Problem("no-directory", f"`{path}` is no directory.", f"Run `mv {path} {path}.broken`."))
    return problems


def find_state_problems(site: Site) -> list[Problem]:
    """Return why the state directory, or the place of the link, cannot be used."""
    link, state, problems = site.paths.link, site.paths.state, find_state_intrusions(site)
    if not link.parent.is_dir():
        message = f"The setting `venv` is `{site.settings.site.venv}`, but `{link.parent}` does not exist."
        problems.append(Problem("wrong-venv", message, f"Run `mkdir -p {link.parent}`, or correct `venv`."))
    place = next(path for path in (state, *state.parents) if os.path.lexists(path))
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        message = f"The state directory cannot be written: {place}."
        advice = f"Run `sudo chown $(id -un) {place}`, or set `state_dir`."
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
    require(find_state_intrusions(site))
    mode = stat.S_IMODE(paths.project.stat().st_mode) & 0o2775
    try:
        for directory in (paths.state.parent, paths.state, paths.releases):
            if not directory.is_dir():
                directory.mkdir(parents=directory == paths.state.parent)
                os.chown(directory, -1, site.unix_group)
                directory.chmod(mode)
        make_private_directory(paths.cache)
    except OSError as error:
        message = f"The state directory cannot be made: {explain_error(error)}"
        command = f"sudo install -d -o {os.geteuid()} -g {site.unix_group} -m {mode:o} {paths.state}"
        raise refuse("no-state-directory", message, f"Run `{command}`, or set `state_dir`.") from error
