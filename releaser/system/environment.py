"""The environment of programs: no variable that misleads a program, and no secret for another program."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from releaser.system.expression import expression
from releaser.system.files import read_if_there, read_text
from releaser.system.later import Later
from releaser.system.venv_environment import neutral
from releaser.system.words import secrets_in_urls

if TYPE_CHECKING:
    import base64
    import shutil
    from collections.abc import Collection, Iterable, Iterator, Mapping

    import tomli
else:
    base64, shutil, tomli = map(Later, ("base64", "shutil", "tomli"))

_OF_UV = ("pyproject.toml", "uv.toml", "uv.lock")
_HELPER = expression(r"(?i)credential\.(.*\.)?helper")
_STORE = expression(r"(/\S*/git-credential-)?store(\s|$)")
_WITH_PASSWORD = expression(r"((https?://)([^/?#\s\"'<>:@]*):([^/?#\s\"'<>]+)@([^/?#\s\"'<>@]+/))")
# The kinds of secrets, by the program that needs them; recognized by the name of a variable, or a password in a URL.
Kind = Literal["own", "index", "agent", "token"]
SECRETS: tuple[Kind, ...] = ("own", "index", "agent", "token")
_KINDS: Mapping[Kind, re.Pattern[str]] = {
    "own": expression(r"RELEASER_\w*(SMTP|PASSWORD|SECRET|TOKEN|KEY|NOTIFY|WEBHOOK|PING)\w*|CREDENTIALS_DIRECTORY"),
    "index": expression(r"UV_INDEX_\w+_(USERNAME|PASSWORD)|UV_\w*(TOKEN|PASSWORD)|POETRY_HTTP_BASIC_\w+"),
    "agent": expression(
        r"SSH_(AUTH_SOCK|AGENT_PID|ASKPASS)|GIT_(ASKPASS|SSH|SSH_COMMAND|CONFIG_(COUNT|PARAMETERS|KEY_\d+|VALUE_\d+))"
    ),
    "token": expression(
        r"(\w*_)?(TOKEN|SECRET|CREDENTIALS)(_FILE)?"
        r"|AWS_(\w*ACCESS_KEY\w*|SECRET_KEY|CREDENTIAL_FILE|CONTAINER_\w+)|TWINE_\w+"
    ),
}
_URLS: Mapping[str, Kind] = {"RELEASER_": "own", "UV_": "index", "PIP_": "index"}
# With one of these in its files, uv starts git or asks a program for passwords; either may need any secret.
# Python searches a long lock for these twenty times as fast as for expressions that begin with `\b`.
_STARTS_GIT = expression(rb"git(?<!\wgit)(\+|[\"']? *= *[\"'])")
_ASKS_KEYRING = expression(rb"keyring-provider(?<!\wkeyring-provider)\b")


def without(environ: Mapping[str, str], *kinds: Kind, passes: Collection[str] = ()) -> dict[str, str]:
    """Return the environment without the secrets of these kinds, except those that `passes` names."""
    return {name: value for name, value in environ.items() if name in passes or kind_of(name, value) not in kinds}


def kind_of(name: str, value: str) -> Kind | None:
    """Return the kind of secret that a variable holds or points to; None if it looks like none."""
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(name):
            return kind
    kinds = (
        kind for prefix, kind in _URLS.items() if name.startswith(prefix) and "://" in value and secrets_in_urls(value)
    )
    return next(kinds, None)


def of_uv(
    environ: Mapping[str, str], tree: Path, *, passes: Collection[str] = (), builds: bool = False
) -> dict[str, str]:
    """Return the environment of uv for the project in `tree`, with passwords of indexes; `for_uv_alone` hides these.

    It has the secrets of git only if uv may start git or a keyring. `builds` says that uv builds in a sandbox: git has
    fetched everything by then.
    """
    content = b"\n".join(read_if_there(tree / name) or b"" for name in _OF_UV)
    needs_help = "UV_KEYRING_PROVIDER" in environ or _ASKS_KEYRING.search(content)
    if needs_help or (not builds and _STARTS_GIT.search(content)):
        env = neutral(without(environ, "own", passes=passes))
    else:
        env = neutral(without(environ, "own", "agent", "token", passes=passes))
    env.pop("PYTHONIOENCODING", None)  # uv speaks UTF-8 with the Python that compiles for it
    # Build backends that ask git for a version must not refresh the index of the checkout. uv 0.12.0 wraps its messages
    # after 80 columns, between words that releaser looks for.
    return {**env, "GIT_OPTIONAL_LOCKS": "0", "UV_NO_WRAP": "1"}


def of_git(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of git, which starts ssh and credential helpers."""
    return neutral(without(environ, "own", "index"))


def unseen_passwords(configuration: Iterable[str]) -> dict[str, str]:
    """Return git settings that hide the passwords in URLs of its `configuration` from other users of the host.

    Every user can see the arguments of a program, and git starts other programs with the URL of the remote. With these
    settings git uses the URL without its password, and sends the password in a header to that host.
    """
    settings = {}
    for url, scheme, user, password, host in _WITH_PASSWORD.findall("\n".join(configuration)):
        login = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode("ascii")
        settings[f"url.{scheme}{host}.insteadOf"] = url
        settings[f"http.{scheme}{host}.extraHeader"] = f"Authorization: Basic {login}"
    return settings


def keep_stored_passwords(configuration: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return git settings with which `git credential-store` deletes no password; empty if git does not use it.

    git deletes a stored password that a server has refused once, also by mistake, and no later run would have it.
    Other programs, which may fetch a new token after that, work as before: `configuration` has them, in their order.
    """
    helpers = [(name, value) for name, value in configuration if _HELPER.fullmatch(name)]
    if not any(_STORE.match(value) for _, value in helpers):
        return []
    return [("credential.helper", ""), *((name, _without_erase(value)) for name, value in helpers)]


def _without_erase(helper: str) -> str:
    if not _STORE.match(helper):
        return helper
    words = helper if helper.startswith("/") else f"git credential-{helper}"
    return f'!f() {{ [ "$1" = erase ] || {words} "$@"; }}; f'


def split_path(environ: Mapping[str, str], *places: Path) -> tuple[str, str]:
    """Return the directories of PATH that are safe, and those in an activated venv, in `places`, or relative.

    Whoever may install a package there chooses its programs. Activating a venv for a site must not choose its git.
    """
    named = [*map(str, places), *filter(None, [environ.get("VIRTUAL_ENV")])]
    tops = [*named, *map(os.path.realpath, named)]
    of_project, others = list[str](), list[str]()
    for word in filter(None, environ.get("PATH", os.defpath).split(os.pathsep)):
        place = os.path.normpath(word)
        is_of_project = not place.startswith("/") or any(f"{place}/".startswith(f"{top}/") for top in tops)
        (of_project if is_of_project else others).append(word)
    return os.pathsep.join(others), os.pathsep.join(of_project)


def find_program(name: str, environ: Mapping[str, str], project: Path) -> tuple[str | None, bool]:
    """Find a program on PATH; the second value says that it was found only in an activated venv or the project."""
    others, of_project = split_path(environ, project)
    found = shutil.which(name, path=others) if others else None
    last = shutil.which(name, path=of_project) if found is None and of_project else None
    return found or last, last is not None


def own_path(environ: Mapping[str, str], *places: Path) -> str:
    """Return the PATH for releaser's own work and decisions: no venv, nothing in `places`, and nothing relative.

    A package in a venv may bring programs of any name. If no directory is left, the PATH is the system's default.
    """
    others = split_path(environ, *places)[0].split(os.pathsep)
    outside = [other for other in others if not any(map(_is_in_venv, {other, os.path.realpath(other)}))]
    return os.pathsep.join(filter(None, outside)) or os.defpath


def find_own_program(name: str, environ: Mapping[str, str], *places: Path) -> str | None:
    """Find, on `own_path` only, a program that releaser relies on for decisions about trust."""
    return shutil.which(name, path=own_path(environ, *places))


def _is_in_venv(programs: str) -> bool:
    return os.path.lexists(os.path.join(os.path.dirname(programs), "pyvenv.cfg"))


def add_git_settings(environ: Mapping[str, str], settings: Collection[tuple[str, str]]) -> dict[str, str]:
    """Return the environment with git settings that override git's files (git-config(1), GIT_CONFIG_COUNT)."""
    given = environ.get("GIT_CONFIG_COUNT", "")
    start = int(given) if given.isdecimal() else 0
    env = {**environ, "GIT_CONFIG_COUNT": str(start + len(settings))}
    for number, (name, value) in enumerate(settings, start):
        env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def builds_in_place(tree: Path, environ: Mapping[str, str]) -> bool:
    """True if uv builds some packages in an existing environment, without making one for each build."""
    names = ("no-build-isolation", "no-build-isolation-package")
    return bool(environ.get("UV_NO_BUILD_ISOLATION")) or any(
        settings.get(name) or settings.get("pip", {}).get(name)
        for settings in all_settings_of_uv(tree, environ)
        for name in names
    )


def files_of_uv(tree: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where uv looks for settings in `tree`: in the project, its parents, and those of the user and the host."""
    files = (place / name for place in (tree, *tree.parents) for name in ("pyproject.toml", "uv.toml"))
    return (*files, *_shared_files(environ))


def _shared_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the paths of uv's settings for all projects: of the user, then of the host."""
    own = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    places = (own, *environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep), "/etc")
    return tuple(Path(place, "uv", "uv.toml") for place in places)


def all_settings_of_uv(tree: Path, environ: Mapping[str, str]) -> tuple[Mapping[str, Any], ...]:
    """Return the settings in each file that may apply in `tree`: of the project, the user or the host.

    uv itself takes only the nearest file of the project. Unreadable files are skipped: uv refuses them, or warns.
    """
    return tuple(_read_settings(files_of_uv(tree, environ)))


def settings_of_uv_in_force(tree: Path, environ: Mapping[str, str]) -> tuple[Mapping[str, Any], ...]:
    """Return the settings that uv uses in `tree`, the first of which wins: of the project, the user, the host.

    Unreadable files are skipped, as by `all_settings_of_uv`.
    """
    return (nearest_settings_of_uv(tree)[1], *_read_settings(_shared_files(environ)))


def nearest_settings_of_uv(tree: Path) -> tuple[Path, Mapping[str, Any]]:
    """Return the directory and content of the settings that uv takes as those of the project in `tree`.

    These are the first ones from `tree` upwards; a `uv.toml` hides the pyproject.toml in the same directory.
    """
    for place in (tree, *tree.parents):
        for found in _read_settings((place / "uv.toml", place / "pyproject.toml")):
            return place, found
    return tree, {}


def _read_settings(files: Iterable[Path]) -> Iterator[Mapping[str, Any]]:
    for file in filter(os.path.exists, files):  # most do not exist
        with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):  # or `tool` is no table
            content = tomli.loads(read_text(file))
            found = content if file.name == "uv.toml" else content.get("tool", {}).get("uv")
            if isinstance(found, dict):
                yield found


def package_places(tree: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files and directories of this host from which uv may take packages for the project in `tree`.

    These are path sources, and the indexes and `find-links` of the project, the user and the host.
    """
    named = list[Any]()
    for settings in all_settings_of_uv(tree, environ):
        for key in ("find-links", "index-url", "extra-index-url", "index"):
            named += _each(settings.get(key), "url")
        sources = settings.get("sources")
        for source in sources.values() if isinstance(sources, dict) else ():
            named += _each(source, "path")
    texts = [path for path in named if isinstance(path, str) and path]
    local = (unquote(urlsplit(text).path) if text.startswith("file:") else text for text in texts)
    return tuple(dict.fromkeys(tree / path for path in local if "://" not in path))


def _each(value: Any, key: str) -> list[Any]:
    """Return the entries of a list, or the single value; an entry that is a table counts as its value of `key`."""
    entries = value if isinstance(value, list) else [value]
    return [entry.get(key) if isinstance(entry, dict) else entry for entry in entries]


def how_to_add(extra: str, *, again: bool = False) -> str:
    """Return the advice that adds an extra to this installation of releaser, or installs it `again`."""
    home = os.path.dirname(sys.prefix)
    if os.path.exists(f"{home}/build.py"):  # the launcher would build the environment again without it
        return f"install releaser again in {home} with `--extra {extra}`"
    return f"in {sys.prefix}, run `pip install {'--force-reinstall ' if again else ''}'venv-releaser[{extra}]'`"
