"""Gives passwords of package indexes to uv, but not to the builds of source releases, which inherit its environment.

uv gets them in its configuration, which is a pipe: uv reads that once, before it starts anything (0.12 and 0.13,
measured), and leaves nothing in it for builds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import tomli

from releaser.errors import ToolError
from releaser.system.environment import all_settings_of_uv, without
from releaser.system.expression import expression
from releaser.system.files import read_if_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.system.process import Sandbox

    Login = tuple[str, str]

_OF_INDEX = expression(r"UV_INDEX_(\w+)_PASSWORD")
_SITE = expression(r"https?://[^/?#\s\"'<>@]+")


@contextlib.contextmanager
def for_uv_alone(env: Mapping[str, str], tree: Path, sandbox: Sandbox) -> Iterator[tuple[dict[str, str], bytes]]:
    """Yield the environment of uv without passwords of indexes, and the content of its standard input, which has them.

    A sandbox hides files with passwords from builds; then the passwords in these files take the same way.
    """
    logins = _of_variables(env, tree)
    kept = without(env, "index")
    if sandbox.outside:
        logins = {**_of_files(env, tree), **logins}
        kept |= {"NETRC": os.devnull, "UV_CREDENTIALS_DIR": os.path.join(kept["TMPDIR"], "uv-credentials")}
    if not logins:
        yield kept, b""
        return
    own = Path(env.get("XDG_CONFIG_HOME") or os.path.join(env.get("HOME", "/"), ".config"))
    with contextlib.ExitStack() as stack:
        try:
            place, seen = stack.enter_context(sandbox.shared_directory())
            (place / "uv").mkdir()
            (place / "uv" / "uv.toml").symlink_to("/proc/self/fd/0")
            for name in os.listdir(own) if os.access(own, os.R_OK) else ():
                if name != "uv":  # git and build tools have their configuration there
                    (place / name).symlink_to(own / name)
        except OSError as error:
            message = f"no temporary directory can be made: {error}"
            raise ToolError(message, "Check free space, and TMPDIR.") from error
        yield kept | {"XDG_CONFIG_HOME": seen}, _configuration(own / "uv" / "uv.toml", logins)


def _configuration(own: Path, logins: Mapping[str, Login]) -> bytes:
    """Return the user's configuration of uv with the logins added, as indexes that are used for no package.

    uv uses the login of an index for all URLs on the same server.
    """
    text = (read_if_there(own) or b"").decode(errors="replace")
    for number, (url, (user, password)) in enumerate(sorted(logins.items())):
        with_login = url.replace("://", f"://{quote(user, safe='')}:{quote(password, safe='')}@", 1)
        text += f'\n[[index]]\nname = "releaser-{number}"\nexplicit = true\nurl = {json.dumps(with_login)}\n'
    return text.encode()


def _of_variables(env: Mapping[str, str], tree: Path) -> dict[str, Login]:
    """Return the logins in variables, by the URLs of the indexes with these names in uv's settings."""
    passwords = {found.group(1): value for name, value in env.items() if (found := _OF_INDEX.fullmatch(name))}
    if not passwords:
        return {}
    urls: dict[str, str] = {}
    for settings in reversed(all_settings_of_uv(tree, env)):  # the first counts
        with contextlib.suppress(AttributeError, TypeError):  # uv reports the error
            for index in settings.get("index", ()):
                urls[re.sub(r"[^A-Z0-9]", "_", str(index.get("name", "")).upper())] = str(index.get("url", ""))
    return {
        re.sub("//[^/@]*@", "//", urls[name]): (env.get(f"UV_INDEX_{name}_USERNAME", ""), password)
        for name, password in passwords.items()
        if "://" in urls.get(name, "")
    }


def _of_files(env: Mapping[str, str], tree: Path) -> dict[str, Login]:
    """Return the logins that uv would find in a netrc file or in its own store, by their URLs."""
    import netrc  # slow to import

    found: dict[str, Login] = {}
    home = env.get("HOME", "/")
    own = env.get("NETRC") or os.path.join(home, ".netrc")
    with contextlib.suppress(OSError, UnicodeError, netrc.NetrcParseError):
        known = netrc.netrc(own if Path(own).is_file() else os.devnull)  # reading a pipe would block
        texts = (read_if_there(tree / name) or b"" for name in ("uv.lock", "uv.toml", "pyproject.toml"))
        sites = {url for text in texts for url in _SITE.findall(text.decode(errors="replace"))}
        for url in sites | {f"https://{host}" for host in known.hosts}:
            with contextlib.suppress(ValueError):
                if (login := known.hosts.get(urlsplit(url).hostname or "")) and login[2]:
                    found[url] = (login[0], login[2])
    store = env.get("UV_CREDENTIALS_DIR") or os.path.join(
        env.get("XDG_DATA_HOME") or os.path.join(home, ".local/share"), "uv/credentials"
    )
    with contextlib.suppress(ValueError, AttributeError, KeyError, TypeError):
        content = tomli.loads((read_if_there(Path(store, "credentials.toml")) or b"").decode())
        entries: list[dict[str, Any]] = content.get("credential", [])
        for entry in entries:
            if entry.get("password"):
                found[entry["service"]] = (entry.get("username") or "", entry["password"])
    return found
