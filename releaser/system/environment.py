"""What a program finds in its environment: nothing that misleads it, and no secret that is for another program."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from releaser.system.files import read_if_there, read_text
from releaser.system.venv_environment import neutral
from releaser.system.words import secrets_in_urls

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

_OF_UV = ("pyproject.toml", "uv.toml", "uv.lock")
_WITH_PASSWORD = re.compile(r"((https?://)([^/?#\s\"'<>:@]*):([^/?#\s\"'<>]+)@([^/?#\s\"'<>@]+/))")
# Secrets, by whom they are for. A name tells, or a password in a URL.
Kind = Literal["own", "index", "agent", "token"]
SECRETS: tuple[Kind, ...] = ("own", "index", "agent", "token")
_KINDS: Mapping[Kind, re.Pattern[str]] = {
    "own": re.compile(r"RELEASER_\w*(SMTP|PASSWORD|SECRET|TOKEN|KEY|NOTIFY|WEBHOOK|PING)\w*|CREDENTIALS_DIRECTORY"),
    "index": re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)|UV_\w*(TOKEN|PASSWORD)|POETRY_HTTP_BASIC_\w+"),
    "agent": re.compile(
        r"SSH_(AUTH_SOCK|AGENT_PID|ASKPASS)|GIT_(ASKPASS|SSH|SSH_COMMAND|CONFIG_(COUNT|PARAMETERS|KEY_\d+|VALUE_\d+))"
    ),
    "token": re.compile(
        r"(\w*_)?(TOKEN|SECRET|CREDENTIALS)(_FILE)?"
        r"|AWS_(\w*ACCESS_KEY\w*|SECRET_KEY|CREDENTIAL_FILE|CONTAINER_\w+)|TWINE_\w+"
    ),
}
_URLS: Mapping[str, Kind] = {"RELEASER_": "own", "UV_": "index", "PIP_": "index"}
# With one of these in its files, uv starts git, or asks a program for passwords, and either may need any of them.
_STARTS_GIT = re.compile(rb"\bgit\+|\bgit[\"']? *= *[\"']")
_ASKS_KEYRING = re.compile(rb"\bkeyring-provider\b")


def without(environ: Mapping[str, str], *kinds: Kind, passes: Collection[str] = ()) -> dict[str, str]:
    """Drop the secrets of these kinds, except for those that `passes` names."""
    return {name: value for name, value in environ.items() if name in passes or kind_of(name, value) not in kinds}


def kind_of(name: str, value: str) -> Kind | None:
    """Say whose secret a variable holds, or leads to; None if it looks like none."""
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
    """Return what uv gets for the project in `tree`, with the passwords of indexes, which it hands on to builds.

    See `for_uv_alone`. Where it `builds` in a sandbox, git has been everywhere already.
    """
    content = b"\n".join(read_if_there(tree / name) or b"" for name in _OF_UV)
    needs_help = "UV_KEYRING_PROVIDER" in environ or _ASKS_KEYRING.search(content)
    if needs_help or (not builds and _STARTS_GIT.search(content)):
        env = neutral(without(environ, "own", passes=passes))
    else:
        env = neutral(without(environ, "own", "agent", "token", passes=passes))
    env.pop("PYTHONIOENCODING", None)  # uv speaks UTF-8 with the Python that it lets compile
    # Build backends that ask git for a version must not refresh the index of the checkout.
    return {**env, "GIT_OPTIONAL_LOCKS": "0"}


def of_git(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what git gets, which starts ssh and credential helpers."""
    return neutral(without(environ, "own", "index"))


def unseen_passwords(configuration: Iterable[str]) -> dict[str, str]:
    """Return the settings with which git hides the passwords in the URLs of its `configuration`.

    Every user of the host can see what a program was called with, and git calls another one with the URL of the remote.
    So it is told to use that URL without the password, and what to send to that host.
    """
    settings = {}
    for url, scheme, user, password, host in _WITH_PASSWORD.findall("\n".join(configuration)):
        login = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode("ascii")
        settings[f"url.{scheme}{host}.insteadOf"] = url
        settings[f"http.{scheme}{host}.extraHeader"] = f"Authorization: Basic {login}"
    return settings


def split_path(environ: Mapping[str, str], *places: Path) -> tuple[str, str]:
    """Return the directories of PATH, and those of them that are in an activated venv, in `places`, or relative.

    Whoever may install a package there chooses its programs; to activate a venv for a site is not to choose its git.
    """
    named = [*map(str, places), *filter(None, [environ.get("VIRTUAL_ENV")])]
    tops = [*named, *map(os.path.realpath, named)]
    theirs, others = list[str](), list[str]()
    for one in filter(None, environ.get("PATH", os.defpath).split(os.pathsep)):
        place = os.path.normpath(one)
        is_theirs = not place.startswith("/") or any(f"{place}/".startswith(f"{top}/") for top in tops)
        (theirs if is_theirs else others).append(one)
    return os.pathsep.join(others), os.pathsep.join(theirs)


def find_program(name: str, environ: Mapping[str, str], project: Path) -> tuple[str | None, bool]:
    """Find a program on PATH, and say whether it is of an activated venv or the project, as there is no other."""
    others, theirs = split_path(environ, project)
    found = shutil.which(name, path=others) if others else None
    last = shutil.which(name, path=theirs) if found is None and theirs else None
    return found or last, last is not None


def own_path(environ: Mapping[str, str], *places: Path) -> str:
    """Return the PATH for what releaser does and decides itself: nothing of any venv, of `places`, or relative.

    A package in a venv may bring programs of any name. Where nothing is left, the system's own directories are.
    """
    others = split_path(environ, *places)[0].split(os.pathsep)
    outside = [one for one in others if not any(map(_is_in_venv, {one, os.path.realpath(one)}))]
    return os.pathsep.join(filter(None, outside)) or os.defpath


def find_own_program(name: str, environ: Mapping[str, str], *places: Path) -> str | None:
    """Find a program by which releaser decides whom and what to trust: on `own_path`, or nowhere."""
    return shutil.which(name, path=own_path(environ, *places))


def _is_in_venv(programs: str) -> bool:
    return os.path.lexists(os.path.join(os.path.dirname(programs), "pyvenv.cfg"))


def add_git_settings(environ: Mapping[str, str], settings: Collection[tuple[str, str]]) -> dict[str, str]:
    """Give git settings that are stronger than those of its files (git-config(1), GIT_CONFIG_COUNT)."""
    given = environ.get("GIT_CONFIG_COUNT", "")
    start = int(given) if given.isdecimal() else 0
    env = {**environ, "GIT_CONFIG_COUNT": str(start + len(settings))}
    for number, (name, value) in enumerate(settings, start):
        env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def builds_in_place(tree: Path, environ: Mapping[str, str]) -> bool:
    """Whether uv is set to build some packages in an environment that is there, and makes none for them."""
    names = ("no-build-isolation", "no-build-isolation-package")
    return bool(environ.get("UV_NO_BUILD_ISOLATION")) or any(
        settings.get(name) or settings.get("pip", {}).get(name)
        for settings in all_settings_of_uv(tree, environ)
        for name in names
    )


def files_of_uv(tree: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where settings of uv may be that apply in `tree`: of the project, of what it lies in, of user and host."""
    files = (place / name for place in (tree, *tree.parents) for name in ("pyproject.toml", "uv.toml"))
    return (*files, *_shared_files(environ))


def _shared_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where settings of uv may be for all projects: of the user, then of the host."""
    own = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    places = (own, *environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep), "/etc")
    return tuple(Path(place, "uv", "uv.toml") for place in places)


def all_settings_of_uv(tree: Path, environ: Mapping[str, str]) -> tuple[Mapping[str, Any], ...]:
    """Return what each file says that uv may go by in `tree`, be it of the project, the user or the host.

    uv itself takes the first that it finds in `tree` and above it. A file that cannot be read is left out: uv refuses
    it, or warns of it.
    """
    return tuple(_read_settings(files_of_uv(tree, environ)))


def settings_of_uv_in_force(tree: Path, environ: Mapping[str, str]) -> tuple[Mapping[str, Any], ...]:
    """Return what uv goes by in `tree`, in which the first counts: of the project, of the user, of the host.

    What cannot be read is left out, as of `all_settings_of_uv`.
    """
    return (nearest_settings_of_uv(tree)[1], *_read_settings(_shared_files(environ)))


def nearest_settings_of_uv(tree: Path) -> tuple[Path, Mapping[str, Any]]:
    """Return the settings that uv takes for those of the project in `tree`, and the directory with them.

    That is the first one, from `tree` upwards, that has any; a `uv.toml` hides the pyproject.toml beside it.
    """
    for place in (tree, *tree.parents):
        for found in _read_settings((place / "uv.toml", place / "pyproject.toml")):
            return place, found
    return tree, {}


def _read_settings(files: Iterable[Path]) -> Iterator[Mapping[str, Any]]:
    for file in filter(os.path.exists, files):  # most are not there
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the last if `tool` is no table
            content = tomllib.loads(read_text(file))
            found = content if file.name == "uv.toml" else content.get("tool", {}).get("uv")
            if isinstance(found, dict):
                yield found


def package_places(tree: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files and directories of this host from which uv may take packages for the project in `tree`.

    These are indexes and `find-links`, be they of the project, the user or the host, and path sources.
    """
    named = list[Any]()
    for settings in all_settings_of_uv(tree, environ):
        for key in ("find-links", "index-url", "extra-index-url", "index"):
            named += _each(settings.get(key), "url")
        sources = settings.get("sources")
        for source in sources.values() if isinstance(sources, dict) else ():
            named += _each(source, "path")
    texts = [one for one in named if isinstance(one, str) and one]
    local = (unquote(urlsplit(one).path) if one.startswith("file:") else one for one in texts)
    return tuple(dict.fromkeys(tree / one for one in local if "://" not in one))


def _each(value: Any, key: str) -> list[Any]:
    """Return the entries of a list, or the one value; of those that are tables, what they have under `key`."""
    entries = value if isinstance(value, list) else [value]
    return [one.get(key) if isinstance(one, dict) else one for one in entries]
