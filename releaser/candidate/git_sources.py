"""Packages from git: fetched with the keys and passwords of the user, before anything is built without them.

What is built runs code of packages. So each repository that a project takes packages from is fetched beforehand, and
git finds it on this host while something is built (git-config(1), `url.<base>.insteadOf`).
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from releaser.errors import ToolError
from releaser.locks.lock import LockFile
from releaser.system.environment import add_git_settings
from releaser.system.files import read_if_there
from releaser.system.frozen import Frozen
from releaser.system.temporary import temporary_directory
from releaser.tools.git_reader import asks_for_credentials

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from releaser.site.site import Site

# `git = "ssh://…"` in a lock or in `tool.uv.sources`, `git+ssh://…` in a requirement and in older locks.
_SOURCE = re.compile(r"""\bgit(?:\+|["']?\s*=\s*["'](?:git\+)?)((?:ssh|https?)://[^\s"';,\]]+)""")
_LOGIN = re.compile(r"(https?://)[^/@]*@")


class Fetched(Frozen):
    """The repositories that were fetched: where they are, and what git is told of them."""

    places: tuple[Path, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


def find_sources(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Map the URLs of the repositories that lock and project files name to what is wanted of each: commits, references.

    A URL with a login, which a lock leaves out, comes beside the same without it.
    """
    found = dict[str, list[str]]()
    for text in texts:
        for source in _SOURCE.findall(text):
            whole, _, commit = source.partition("#")
            url, _, query = whole.partition("?")
            scheme, _, rest = url.partition("://")
            host, slash, path = rest.partition("/")
            path, _, revision = path.partition("@")
            wanted = [commit, revision, *(value for name, value in parse_qsl(query) if name == "rev")]
            known = found.setdefault(f"{scheme}://{host}{slash}{path}", [])
            known += [one for one in wanted if one and one not in known and "=" not in one]
    return {url: tuple(wanted) for url, wanted in found.items()}


@contextlib.contextmanager
def fetch_sources(site: Site, tree: Path, *, of: Collection[str] | None = None) -> Iterator[Fetched]:
    """Fetch what the project in `tree` takes from git, for as long as something is built of it.

    That may be `of` some packages of its lock alone. Raises ToolError.
    """
    lock = read_if_there(tree / "uv.lock") or b""
    project = read_if_there(tree / "pyproject.toml") or b""
    sources = find_sources(text.decode(errors="replace") for text in (project, lock))
    if of is not None:
        named = (one["source"] for one in LockFile.parse(lock).packages if one["name"] in of)
        wanted = {_without_login(url) for url in find_sources(f'git = "{one["git"]}"' for one in named if "git" in one)}
        sources = {url: refs for url, refs in sources.items() if _without_login(url) in wanted}
    if not sources:
        yield Fetched()
        return
    with contextlib.ExitStack() as stack:
        try:
            place = stack.enter_context(temporary_directory())
        except OSError as error:
            message = f"no temporary directory can be made: {error}"
            raise ToolError(message, advice="Check free space, and TMPDIR.") from error
        yield Fetched(places=(place,), variables=tuple(_fetch_all(site, sources, place).items()))


def _fetch_all(site: Site, sources: Mapping[str, tuple[str, ...]], place: Path) -> dict[str, str]:
    """Fetch each repository once, by its URL with a login if there is one; return what leads git to them."""
    settings = list[tuple[str, str]]()
    for number, plain in enumerate(dict.fromkeys(map(_without_login, sources))):
        urls = sorted((url for url in sources if _without_login(url) == plain), key=len)
        wanted = dict.fromkeys(one for url in urls for one in sources[url])
        try:
            site.git.mirror(urls[-1], place / str(number), tuple(wanted))
        except ToolError as error:
            message = f"{plain}, from which a package comes, cannot be fetched: {error.message}"
            advice = "Check the network, and that this user may read it: `git ls-remote` with that URL shows it."
            if asks_for_credentials(error):
                advice = "Let this user read it: give a key to ssh, or a login to git; then run releaser again."
            raise ToolError(
                message, advice=advice, output=error.output, returncode=error.returncode, timed_out=error.timed_out
            ) from error
        settings += [(f"url.{place / str(number)}.insteadOf", url) for url in dict.fromkeys([plain, *urls])]
    return add_git_settings({}, settings)


def _without_login(url: str) -> str:
    return _LOGIN.sub(r"\1", url)
