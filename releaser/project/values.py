"""Turns the text or TOML value of a setting into a Python value; ValueError says what would be right."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from releaser.address import Address, parse_address, parse_addresses
from releaser.locking.policy import normalized

if TYPE_CHECKING:
    from collections.abc import Callable

_UNITS = {
    "": 1, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600,
    "d": 86400, "day": 86400, "w": 604800, "week": 604800,
}  # fmt: skip
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*?)s?\s*", re.IGNORECASE)
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def text(value: Any) -> str:
    """A string without line breaks or NUL."""
    if not isinstance(value, str):
        message = "must be a string"
        raise ValueError(message)
    if any(character in value for character in "\0\r\n"):
        message = "must be one line"
        raise ValueError(message)
    return value


def non_empty(value: Any) -> str:
    """A string that is not empty."""
    result = text(value).strip()
    if not result:
        message = "must not be empty"
        raise ValueError(message)
    return result


def flag(value: Any) -> bool:
    """On or off."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    message = "must be true or false"
    raise ValueError(message)


def duration(value: Any) -> float:
    """A length of time in seconds: a number of them, or `90s`, `30m`, `2h`, `7d`, `1w`."""
    seconds = _seconds(value)
    if seconds is None:
        message = "must be a length of time such as 90s, 30m, 2h or 7d"
        raise ValueError(message)
    return _at_most(seconds, days=3650)


def _seconds(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    unit = _UNITS.get(found.group(2).lower()) if found else None
    return None if found is None or unit is None else float(found.group(1)) * unit


def _at_most(seconds: float, *, days: int) -> float:
    """Refuse what the clocks of operating systems and libraries cannot count, infinity included."""
    if seconds > days * 86400:
        message = f"must be at most {days}d"
        raise ValueError(message)
    return seconds


def limit(value: Any) -> float:
    """A time limit in seconds; a limit of nothing would end everything at once."""
    seconds = duration(value)
    if seconds <= 0:
        message = "must be longer than nothing"
        raise ValueError(message)
    return _at_most(seconds, days=7)


def count(value: Any) -> int:
    """A whole number of things, 0 or more."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    message = "must be a whole number, 0 or more"
    raise ValueError(message)


def jobs(value: Any) -> int:
    """How many runs of the tests may be under way at once."""
    with contextlib.suppress(ValueError):
        if count(value) in (1, 2):
            return count(value)
    message = "must be 1 or 2"
    raise ValueError(message)


def port(value: Any) -> int:
    """A TCP port; 0 stands for the usual one."""
    number = count(value)
    if number > 65535:
        message = "must be a port, 0 to 65535"
        raise ValueError(message)
    return number


def command(value: Any) -> tuple[str, ...]:
    """A command: a list of words, or one string that is split as a shell splits it (no shell runs it)."""
    if isinstance(value, str):
        words = _listed(value) if value.lstrip().startswith("[") else _split(value)
    elif isinstance(value, list) and all(isinstance(word, str) for word in value):
        words = value
    else:
        message = "must be a command: a string or a list of strings"
        raise ValueError(message)
    if not words:
        message = "must not be empty"
        raise ValueError(message)
    return tuple(words)


def _listed(text: str) -> list[str]:
    """Read the words of a command that is written as a JSON list, as the environment has no lists."""
    import json

    try:
        words = json.loads(text)
    except ValueError as error:
        message = f"must be a command: it begins like a JSON list, but is none ({error})"
        raise ValueError(message) from error
    if not all(isinstance(word, str) for word in words):
        message = "must be a command: a list of strings"
        raise ValueError(message)
    return list(words)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        message = f"must be a command: {error}"
        raise ValueError(message) from error


def url_or_command(value: Any) -> str:
    """A URL, or one line with a command."""
    line = non_empty(value)
    message = "must be a URL or a command"
    try:
        if not line.startswith(("http://", "https://")):
            if "+unix://" in line:
                message = "must be a URL that begins with http://; the path of the socket goes into health_socket"
            if "://" in command(line)[0]:
                raise ValueError(message)
            return line
        host, _ = urlsplit(line).hostname, urlsplit(line).port
    except ValueError as error:
        message = f"{message}: {error}"
        raise ValueError(message) from error
    if not host:
        raise ValueError(message)
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
        raise ValueError(message)
    return line


def names(value: Any) -> tuple[str, ...]:
    """Names without spaces: a list, which may be written as JSON, or one string with spaces or commas between them."""
    items = _items(value)
    return tuple(name for item in items for name in _separated(item))


def patterns(value: Any) -> tuple[str, ...]:
    """Patterns of paths, relative to the top of the checkout: as names are written, and without a leading slash.

    Each item of a list is one pattern, which may have spaces and commas.
    """
    items = _items(value)
    is_text = isinstance(value, str) and items == [value]
    found = tuple(_separated(value) if is_text else filter(None, (item.strip() for item in items)))
    for one in found:
        if one.startswith(("/", "../")) or "/../" in one:
            message = f"must be patterns of paths below the top of the checkout, which {one!r} is not"
            raise ValueError(message)
    return found


def _items(value: Any) -> list[str]:
    """Return the items of a list, which may be written as JSON; any other string is the only one."""
    items = [value] if isinstance(value, str) else value
    if isinstance(value, str) and value.lstrip().startswith("["):
        import json

        try:
            items = json.loads(value)
        except ValueError as error:
            message = f"must be a list of names: it begins like a JSON list, but is none ({error})"
            raise ValueError(message) from error
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        message = "must be a list of names"
        raise ValueError(message)
    return items


def _separated(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def statuses(value: Any) -> tuple[range, ...]:
    """HTTP statuses, one or more: `200`, a class such as `2xx`, or a range such as `200-299`."""
    items = value if isinstance(value, list) else [value]
    words = [word for item in items for word in re.split(r"[\s,]+", str(item).strip())]
    if not words or any(isinstance(item, bool) or not isinstance(item, str | int) for item in items):
        raise ValueError(_NO_STATUSES)
    return tuple(map(_statuses, words))


_NO_STATUSES = "must be one or more HTTP statuses, such as 200, 2xx or 200-299"


def _statuses(word: str) -> range:
    found = re.fullmatch(r"([1-5])xx|([1-5]\d\d)(?:-([1-5]\d\d))?", word, re.IGNORECASE | re.ASCII)
    if found is None:
        raise ValueError(_NO_STATUSES)
    if found.group(1):
        first = 100 * int(found.group(1))
        return range(first, first + 100)
    first, last = int(found.group(2)), int(found.group(3) or found.group(2))
    if first > last:
        raise ValueError(_NO_STATUSES)
    return range(first, last + 1)


def words_of_a_page(value: Any) -> str:
    """A text to look for in a page."""
    result = text(value)
    if not result.strip():
        message = "must not be empty"
        raise ValueError(message)
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
        raise ValueError(message)
    return name


def socket_path(value: Any) -> str:
    """The absolute path of a unix socket, of which the kernel takes no more than 107 bytes (unix(7))."""
    name = non_empty(value)
    if not name.startswith("/"):
        message = "must be the absolute path of a unix socket"
        raise ValueError(message)
    if len(os.fsencode(name)) > 107:
        message = "must be the path of a unix socket, of at most 107 bytes"
        raise ValueError(message)
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
    raise ValueError(message)


def package_patterns(value: Any) -> tuple[str, ...]:
    """Names of packages, in which `*` and `?` may stand for any others: a list, or a text with commas or spaces."""
    found = _json(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    if isinstance(found, str):
        found = [word for word in re.split(r"[\s,]+", found) if word]
    if not isinstance(found, list):
        message = 'must be a list of names of packages, such as ["django", "django-*"]'
        raise ValueError(message)
    return tuple(map(_pattern, found))


def by_package(parse: Callable[[Any], Any]) -> Callable[[Any], tuple[tuple[str, Any], ...]]:
    """Something for each of some packages: a table, or text such as `django=patch,celery=minor`, in the order given."""

    def parse_all(value: Any) -> tuple[tuple[str, Any], ...]:
        found = _json(value) if isinstance(value, str) and value.lstrip().startswith("{") else value
        if isinstance(found, str):
            found = dict(_pair(word) for word in re.split(r"[\s,]+", found) if word)
        if not isinstance(found, dict):
            message = "must be a table of packages, such as {django = ...}"
            raise ValueError(message)
        return tuple((_pattern(name), _of_package(parse, name, one)) for name, one in found.items())

    return parse_all


def _pattern(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._*?!\[\]-]+", value):
        message = f"must name packages, which {value!r} does not; `*` may stand for any part of a name"
        raise ValueError(message)
    return normalized(value)


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        message = f"must be pairs such as django=...,celery=...; {word!r} is none"
        raise ValueError(message)
    return name, value


def _of_package(parse: Callable[[Any], Any], name: str, value: Any) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        message = f"{error}; this is wrong for {name}"
        raise ValueError(message) from error


def _json(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        message = f"begins like JSON, but is none ({error})"
        raise ValueError(message) from error


def choice(*allowed: str) -> Callable[[Any], str]:
    """One of the words in `allowed`."""

    def parse(value: Any) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        message = f"must be one of: {', '.join(allowed)}"
        raise ValueError(message)

    return parse


def auto_or_flag(value: Any) -> str:
    """`auto`, or on or off as `on` and `off`."""
    if value == "auto":
        return "auto"
    try:
        return "on" if flag(value) else "off"
    except ValueError:
        message = "must be auto, on or off"
        raise ValueError(message) from None


def sender(value: Any) -> str:
    """An address, or `Name <address>`."""
    parse_address(non_empty(value))
    return non_empty(value)


def addresses(value: Any) -> tuple[Address, ...]:
    """A JSON list of `[name, address]` pairs, or the same as a TOML array."""
    if isinstance(value, str):
        return parse_addresses(value)
    import json

    return parse_addresses(json.dumps(value))
