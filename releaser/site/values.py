"""Turns the text or TOML value of a setting into a Python value; ValueError says what would be right.

Each kind of value has one spelling in pyproject.toml, and one in a variable, which is always text.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from releaser.locks.versions import normalize_name
from releaser.site.address import Address, parse_address, parse_addresses

if TYPE_CHECKING:
    from collections.abc import Callable


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw])", re.ASCII)


def refuse(what: str) -> NoReturn:
    """Say what is wrong with a value."""
    raise ValueError(what)


def text(value: Any) -> str:
    """A string without line breaks or NUL."""
    if not isinstance(value, str):
        refuse("must be a string")
    if any(character in value for character in "\0\r\n"):
        refuse("must be one line")
    return value


def non_empty(value: Any) -> str:
    """A string that is not empty."""
    result = text(value).strip()
    if not result:
        refuse("must not be empty")
    return result


def interpreter(value: Any) -> str:
    """What `uv --python` takes."""
    result = non_empty(value)
    if result == "latest":
        message = (
            "must name a Python such as 3.13, or be removed: `releaser status` tells of a newer Python, and"
            " `releaser rebuild --python VERSION` moves the site to it"
        )
        raise ValueError(message)
    return result


def flag(value: Any) -> bool:
    """On or off: `true` or `false`."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    refuse("must be true or false")


def duration(value: Any) -> float:
    """A length of time in seconds: `90s`, `30m`, `2h`, `7d`, `1w`, or 0."""
    if value in ("0", 0) and not isinstance(value, bool):
        return 0.0
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        refuse("must be a length of time such as 90s, 30m, 2h or 7d")
    return _at_most(float(found[1]) * _UNITS[found[2]], days=3650)


def _at_most(seconds: float, *, days: int) -> float:
    """Refuse what the clocks of operating systems and libraries cannot count, infinity included."""
    if seconds > days * 86400:
        refuse(f"must be at most {days}d")
    return seconds


def limit(value: Any) -> float:
    """A time limit in seconds; a limit of nothing would end everything at once."""
    seconds = duration(value)
    if seconds <= 0:
        refuse("must be longer than 0")
    return _at_most(seconds, days=7)


def count(value: Any) -> int:
    """A whole number of things, 0 or more."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    refuse("must be a whole number, 0 or more")


def jobs(value: Any) -> int:
    """How many test runs may be under way at once."""
    if value not in (1, 2, "1", "2") or isinstance(value, bool):
        refuse("must be 1 or 2")
    return int(value)


def port(value: Any) -> int:
    """A TCP port; 0 stands for the usual one."""
    number = count(value)
    if number > 65535:
        refuse("must be a port, 0 to 65535")
    return number


def command(value: Any) -> tuple[str, ...]:
    """A command: a list of words, or one string that is split as a shell splits it (no shell runs it)."""
    message = "must be a command: a string or a list of strings"
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            refuse("must be a command in words, not a list as JSON")
        try:
            words = shlex.split(value)
        except ValueError as error:
            message = f"must be a command: {error}"
            raise ValueError(message) from error
    elif isinstance(value, list) and all(isinstance(word, str) for word in value):
        words = value
    else:
        refuse(message)
    if not words:
        refuse("must not be empty")
    return tuple(words)


def url_or_command(value: Any) -> str:
    """A URL, or one line with a command."""
    line = non_empty(value)
    message = "must be a URL or a command"
    try:
        if not line.startswith(("http://", "https://")):
            if "+unix://" in line:
                message = "must be a URL that begins with http://; the path of the socket goes into health_socket"
            if "://" in command(line)[0]:
                refuse(message)
            return line
        host, _ = urlsplit(line).hostname, urlsplit(line).port
    except ValueError as error:
        message = f"{message}: {error}"
        raise ValueError(message) from error
    if not host:
        refuse(message)
    return line


def url_or_none(value: Any) -> str:
    """A URL, or `none`."""
    line = non_empty(value)
    if line == "none":
        return line
    message = "must be a URL that begins with https:// or http://, or none"
    try:
        parts = urlsplit(line)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        message = f"{message}: {error}"
        raise ValueError(message) from error
    if not is_url or any(character.isspace() for character in line):
        refuse(message)
    return line


def names(value: Any) -> tuple[str, ...]:
    """Names: a list, or in a variable one string with commas between them."""
    if isinstance(value, str) and not value.startswith(('["', "['")):  # as for other kinds of value, no JSON
        value = [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, list) or not all(isinstance(word, str) and word == word.strip() for word in value):
        refuse("must be a list of names; in a variable, names with commas between them")
    return tuple(filter(None, value))


def ids(value: Any) -> tuple[str, ...]:
    """Names in which there is no space."""
    found = names(value)
    for word in found:
        if re.search(r"\s|,", word):
            refuse(f"must be names with commas between them, which {word!r} is not")
    return found


def patterns(value: Any) -> tuple[str, ...]:
    """Patterns of paths, relative to the top of the checkout, as names are written, and without a leading slash."""
    found = names(value)
    for one in found:
        if one.startswith(("/", "../")) or "/../" in one:
            refuse(f"must be patterns of paths below the top of the checkout, which {one!r} is not")
    return found


def statuses(value: Any) -> tuple[range, ...]:
    """HTTP statuses, as names are written: `200`, a class such as `2xx`, or a range such as `200-299`."""
    message = "must be one or more HTTP statuses, such as 200, 2xx or 200-299"
    found = []
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        refuse(message)
    for word in map(str.strip, words):
        match = re.fullmatch(r"([1-5])xx|([1-5]\d\d)(?:-([1-5]\d\d))?", word, re.ASCII)
        if match is None:
            refuse(message)
        first = 100 * int(match[1]) if match[1] else int(match[2])
        last = first + 99 if match[1] else int(match[3] or match[2])
        if first > last:
            refuse(message)
        found.append(range(first, last + 1))
    if not found:
        refuse(message)
    return tuple(found)


def words_of_a_page(value: Any) -> str:
    """A text to look for in a page."""
    result = text(value)
    if not result.strip():
        refuse("must not be empty")
    return result


def host(value: Any) -> str:
    """The name of a host, as in a URL, with a port if it is not the usual one."""
    name = non_empty(value)
    message = "must be the name of a host, such as www.example.org or www.example.org:8000"
    try:
        parts = urlsplit(f"//{name}")
        is_host = bool(parts.hostname) and parts.netloc == name and parts.username is None and parts.port != 0
    except ValueError as error:
        raise ValueError(message) from error
    if not is_host or not name.isascii() or any(character.isspace() for character in name):
        refuse(message)
    return name


def socket_path(value: Any) -> str:
    """The absolute path of a unix socket, of which the kernel takes no more than 107 bytes (unix(7))."""
    name = non_empty(value)
    if not name.startswith("/"):
        refuse("must be the absolute path of a unix socket")
    if len(os.fsencode(name)) > 107:
        refuse("must be the path of a unix socket, of at most 107 bytes")
    return name


def path(value: Any) -> str:
    """A path, which may begin with the home directory of somebody (`~`, `~name`)."""
    name = non_empty(value)
    try:
        Path(name).expanduser()
    except RuntimeError as error:
        message = f"must be a path: {error}"
        raise ValueError(message) from error
    return name


def file_inside(value: Any) -> str:
    """The name of a file inside the project, other than those that everything hangs on."""
    name = os.path.normpath(non_empty(value))
    first = name.partition("/")[0]
    if first in ("", ".."):
        message = "must name a file inside the project"
    elif first == "." or name in ("uv.lock", "pyproject.toml") or first == ".git":
        message = f"must name a file of its own, which {name} is not"
    else:
        return name
    refuse(message)


def package_patterns(value: Any) -> tuple[str, ...]:
    """Names of packages, as names are written, in which `*` and `?` may stand for any others."""
    return tuple(map(_pattern, names(value)))


def by_package(parse: Callable[[Any], Any]) -> Callable[[Any], tuple[tuple[str, Any], ...]]:
    """Something for each of some packages: a table, or in a variable `django=patch,celery=minor`, in that order."""

    def parse_all(value: Any) -> tuple[tuple[str, Any], ...]:
        if isinstance(value, str):
            value = dict(_pair(word) for word in names(value))
        if not isinstance(value, dict):
            refuse("must be a table of packages, such as {django = ...}")
        return tuple((_pattern(name), _of_package(parse, name, one)) for name, one in value.items())

    return parse_all


def _pattern(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._*?!\[\]-]+", value):
        refuse(f"must name packages, which {value!r} does not; `*` may stand for any part of a name")
    return normalize_name(value)


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        refuse(f"must be pairs such as django=...,celery=...; {word!r} is not one")
    return name, value


def _of_package(parse: Callable[[Any], Any], name: str, value: Any) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        message = f"{error}; this is wrong for {name}"
        raise ValueError(message) from error


def choice(*allowed: str) -> Callable[[Any], str]:
    """One of the words in `allowed`."""

    def parse(value: Any) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        refuse(f"must be one of: {', '.join(allowed)}")

    return parse


def sender(value: Any) -> str:
    """An address, or `Name <address>`."""
    parse_address(non_empty(value))
    return non_empty(value)


def addresses(value: Any) -> tuple[Address, ...]:
    """A JSON list of `[name, address]` pairs, or the same as a TOML array."""
    return parse_addresses(value if isinstance(value, str) else json.dumps(value))
