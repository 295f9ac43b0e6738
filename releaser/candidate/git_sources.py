"""Packages from git: fetched with the keys and passwords of the user, before builds run without them.

A build runs code of packages. So releaser fetches each repository that a project takes packages from beforehand, and
git finds it on this host during the build (git-config(1), `url.<base>.insteadOf`).
"""

from __future__ import annotations

import contextlib
import itertools
import string
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import tomli

from releaser.errors import ToolError, is_out_of_space
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.system.environment import add_git_settings
from releaser.system.expression import expression
from releaser.system.files import read_if_there
from releaser.system.frozen import Frozen, replace
from releaser.system.temporary import temporary_directory
from releaser.tools.git_reader import asks_for_credentials

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from releaser.site.site import Site

_BY_GIT = expression(r"\bgit\+((?:ssh|https?)://[^\s;,]+)")  # in a requirement
_REMOTE = ("ssh://", "http://", "https://")
_LOGIN = expression(r"(https?://)[^/@]*@")
# Characters that may continue a URL into that of another repository; git applies the longest rule that matches.
_GOING_ON = "-_.~" + string.ascii_letters + string.digits


class Fetched(Frozen):
    """The repositories that were fetched: their directories, and the environment variables that lead git to them."""

    places: tuple[Path, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


def find_sources(project: Mapping[str, Any], lock: LockFile) -> dict[str, tuple[str, ...]]:
    """Map the URL of each repository that a project and its lock name to the commits and references to fetch.

    A lock omits the login of a URL; a URL with a login is a separate key.
    """
    found = dict[str, list[str]]()

    def add(text: str, *wanted: object) -> None:
        whole, _, commit = text.removeprefix("git+").partition("#")
        url, _, query = whole.partition("?")
        if url.startswith(_REMOTE):
            known = found.setdefault(url, [])
            named = (commit, *wanted, *(value for name, value in parse_qsl(query) if name == "rev"))
            known += [
                name for name in named if isinstance(name, str) and name and name not in known and "=" not in name
            ]

    for package in lock.packages:
        add(str(package.get("source", {}).get("git", "")))
    of_uv = _table(_table(project, "tool"), "uv")
    for source in _table(of_uv, "sources").values():
        for entry in source if isinstance(source, list) else [source]:
            if isinstance(entry, dict):
                add(str(entry.get("git", "")), *(entry.get(name) for name in ("rev", "branch", "tag")))
    own = (_table(project, "project"), _table(project, "build-system"), of_uv, _table(project, "dependency-groups"))
    for text in itertools.chain.from_iterable(map(_strings, own)):
        for found_url in _BY_GIT.findall(text):
            url = found_url.partition("#")[0]
            place, at, revision = url.rpartition("@")
            is_revision = at and "/" in place.partition("://")[2] and not place.endswith("/")
            add(place if is_revision else url, revision if is_revision else "")
    return {url: tuple(wanted) for url, wanted in found.items()}


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


@contextlib.contextmanager
def fetch_sources(site: Site, tree: Path, *, of: Collection[str] | None = None) -> Iterator[Fetched]:
    """Fetch the git sources of the project in `tree`, and delete them when the context ends.

    With `of`, only those of these packages in its lock. Raises ToolError.
    """
    project, lock = {}, LockFile.parse(b"version = 1")
    with contextlib.suppress(ValueError):  # uv reports the error
        project = tomli.loads((read_if_there(tree / "pyproject.toml") or b"").decode())
    with contextlib.suppress(InvalidLockError):
        lock = LockFile.parse(read_if_there(tree / "uv.lock") or b"version = 1")
    sources = find_sources(project, lock)
    if of is not None:
        only = replace(lock, packages=tuple(package for package in lock.packages if package["name"] in of))
        wanted = {_without_login(url) for url in find_sources({}, only)}
        sources = {url: refs for url, refs in sources.items() if _without_login(url) in wanted}
    if not sources:
        yield Fetched()
        return
    with contextlib.ExitStack() as stack:
        try:
            place = stack.enter_context(temporary_directory())
        except OSError as error:
            message = f"no temporary directory can be made: {error}"
            raise ToolError(message, "Check free space, and TMPDIR.") from error
        yield Fetched(places=(place,), variables=tuple(_fetch_all(site, sources, place).items()))


def _fetch_all(site: Site, sources: Mapping[str, tuple[str, ...]], place: Path) -> dict[str, str]:
    """Fetch each repository once, with a login if a URL has one; return the variables that lead git to the copies."""
    settings = list[tuple[str, str]]()
    for number, plain in enumerate(dict.fromkeys(map(_without_login, sources))):
        urls = sorted((url for url in sources if _without_login(url) == plain), key=len)
        wanted = dict.fromkeys(source for url in urls for source in sources[url])
        try:
            site.git.mirror(urls[-1], place / str(number), tuple(wanted))
        except ToolError as error:
            message = f"{plain}, from which a package comes, cannot be fetched: {error.message}"
            advice = "Check the network, and this user's access: `git ls-remote` with that URL shows it."
            if is_out_of_space(error.output):
                advice = "Free some space in TMPDIR; then run releaser again."
            elif asks_for_credentials(error):
                advice = "Give this user access, with an ssh key or a git login; then run releaser again."
            raise ToolError(
                message, advice, output=error.output, returncode=error.returncode, timed_out=error.timed_out
            ) from error
        for url in dict.fromkeys([plain, *urls]):
            settings.append((f"url.{place / str(number)}.insteadOf", url))
            settings += [(f"url.{url}{separator}.insteadOf", f"{url}{separator}") for separator in _GOING_ON]
    # In the sandbox, git may also clone a submodule from one of these copies.
    return add_git_settings({}, [*settings, ("protocol.file.allow", "always")])


def _without_login(url: str) -> str:
    return _LOGIN.sub(r"\1", url)
