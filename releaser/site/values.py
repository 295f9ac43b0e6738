"""The kinds of values of settings: the parser, the JSON Schema and the spelling of each.

Each kind has one spelling in pyproject.toml, and one in a variable, which is always text. A parser returns the Python
value; its docstring is the description in the schema, and its ValueError says which values are right.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Generic, NoReturn, TypeVar
from urllib.parse import SplitResult, urlsplit

from releaser.locks.versions import normalize_name
from releaser.system.durations import seconds_of
from releaser.system.expression import expression
from releaser.system.frozen import Frozen, field
from releaser.system.words import find_similar

T = TypeVar("T")
Schema = dict[str, Any]

_STATUSES = expression(r"([1-5])xx|([1-5]\d\d)(?:-([1-5]\d\d))?", re.ASCII)
S3 = "s3://"  # begins a source in S3
_S3 = expression(S3 + r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_][A-Za-z0-9_.-]*)*", re.ASCII)
_SERVICE = r"[A-Za-z][\w+.-]*://\S+"
_LENGTH = r"[0-9]+(\.[0-9]+)?[smhdw]"
_STATUS = r"([1-5]xx|[1-5][0-9][0-9](-[1-5][0-9][0-9])?)"
_WORDS = r"(\S([\s\S]*\S)?)?"
_BELOW = rf"(?!/|\.\./|.*/\.\./){_WORDS}"
_PACKAGE = r"[A-Za-z0-9._*?!\[\]-]*"


def refuse(what: str) -> NoReturn:
    """Raise ValueError with this message."""
    raise ValueError(what)


def _spell(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _in_line(spelled: Any) -> str:
    match spelled:
        case list(words):
            return ",".join(words)
        case bool(flag):
            return str(flag).lower()
    return str(spelled)


class Kind(Frozen, Generic[T]):
    """A kind of value. Calling it with a value from pyproject.toml or a variable returns the Python value."""

    #: Raises ValueError.
    read: Callable[[Any], T]
    #: Its name in the documentation.
    called: str
    #: The JSON Schema of the value in pyproject.toml; `read` checks the rest.
    schema: Schema = field(compare=False)
    #: Returns the spelling of a value in pyproject.toml.
    spell: Callable[[Any], Any] = _spell
    #: Returns a spelled value on one line, as in a variable.
    in_line: Callable[[Any], str] = _in_line
    #: Returns the value that a person may have meant by a wrong one; empty if it has no guess.
    guess: Callable[[str], str] = field(default=lambda _: "", compare=False)

    def __call__(self, value: Any) -> T:
        """Read a value. Raises ValueError."""
        return self.read(value)

    def correct(self, value: Any) -> str:
        """Return the right value that a person may have meant by a wrong one; empty without a guess."""
        guess = self.guess(value) if isinstance(value, str) else ""
        try:
            return guess if guess and self.read(guess) is not None else ""
        except ValueError:
            return ""

    def describe(self) -> str:
        """Return the first paragraph of the parser's docstring, which says how values are written."""
        import inspect  # slow to import

        return inspect.cleandoc(self.read.__doc__ or "").partition("\n\n")[0]

    def spell_in_line(self, value: Any) -> str:
        """Return the spelling of a value in a variable; empty for None."""
        return "" if value is None else self.in_line(self.spell(value))


def kind(called: str, schema: Schema, **ways: Any) -> Callable[[Callable[[Any], T]], Kind[T]]:
    """Return a decorator that makes a kind of a parser."""
    return lambda read: Kind(read=read, called=called, schema=schema, **ways)


def pattern(regex: str) -> Schema:
    """Return the schema of a string that matches `regex`."""
    return {"type": "string", "pattern": regex}


def either(*schemas: Schema) -> Schema:
    """Return the schema of a value that matches any of these schemas."""
    return {"anyOf": [*schemas]}


def listed(item: str, word: str, *, least: int = 0) -> Schema:
    """Return the schema of a list of strings, or of one string with commas; `item` and `word` match a name in each."""
    in_one = pattern(rf"^(?!\[[\"'])\s*{word}\s*(,\s*{word}\s*)*$")
    return either({"type": "array", "items": pattern(f"^{item}$"), "minItems": least}, in_one)


LINE = pattern(r"^[^\0\r\n]*\S[^\0\r\n]*$")
_FROM_NOTHING = either({"const": 0}, pattern(f"^(0|{_LENGTH})$"))
_LONGER = pattern(f"^(?=.*[1-9]){_LENGTH}$")


def _spell_length(seconds: float) -> str | int:
    length, unit = next(((n, u) for n, u in ((86400, "d"), (3600, "h"), (60, "m")) if seconds % n == 0), (1, "s"))
    return f"{seconds / length:g}{unit}" if seconds else 0


@kind("text", pattern(r"^[^\0\r\n]*$"))
def text(value: Any) -> str:
    """A string without line breaks or NUL."""
    if not isinstance(value, str):
        refuse("must be a string")
    return value if not any(one in value for one in "\0\r\n") else refuse("must be one line")


@kind("text", LINE)
def visible(value: Any) -> str:
    """A string that is not empty, such as the text to look for in a page."""
    return text(value) if text(value).strip() else refuse("must not be empty")


@kind("text", LINE)
def non_empty(value: Any) -> str:
    """A string that is not empty; space around it is ignored."""
    return visible(value).strip()


@kind("text", {**LINE, "not": {"const": "latest"}})
def interpreter(value: Any) -> str:
    """A Python, as for `uv --python`."""
    if non_empty(value) == "latest":  # `status` reports a newer Python
        refuse("must name a Python such as 3.13, or be removed; `releaser rebuild --python VERSION` moves the site")
    return non_empty(value)


def one_of(*allowed: str) -> Kind[str]:
    """Return the kind of value that is one of these words."""

    def read(value: Any) -> str:
        return value if isinstance(value, str) and value in allowed else refuse(f"must be one of: {', '.join(allowed)}")

    *first, last = (f"`{word}`" for word in allowed)
    guess = partial(find_similar, known=allowed)
    return Kind(read=read, called=f"{', '.join(first)} or {last}", schema={"enum": [*allowed]}, guess=guess)


_FLAGS = {**dict.fromkeys(("1", "on", "y", "yes"), "true"), **dict.fromkeys(("0", "off", "n", "no"), "false")}


def _guess_flag(text: str) -> str:
    return _FLAGS.get(text.strip().lower(), text.strip().lower())


_LENGTHS = expression(
    r"(\d+)\s*(?:(s)(?:ecs?|econds?)?|(m)(?:ins?|inutes?)?|(h)(?:ours?)?|(d)(?:ays?)?|(w)(?:eeks?)?)", re.I
)


def _guess_length(text: str) -> str:
    found = _LENGTHS.fullmatch(text.strip())
    return "".join(filter(None, found.groups())).lower() if found else ""


def _guess_url(text: str) -> str:
    return f"https://{text.strip()}" if "://" not in text and "." in text.partition("/")[0] else ""


@kind("on or off", {"enum": [True, False, "true", "false"]}, guess=_guess_flag)
def flag(value: Any) -> bool:
    """On or off: `true` or `false`."""
    known = isinstance(value, bool) or value in ("true", "false")
    return value in (True, "true") if known else refuse("must be true or false")


@kind("duration", _FROM_NOTHING, spell=_spell_length, guess=_guess_length)
def duration(value: Any) -> float:
    """A length of time in seconds: `90s`, `30m`, `2h`, `7d`, `1w`, or 0."""
    return seconds_of(value)


@kind("duration", _LONGER, spell=_spell_length, guess=_guess_length)
def limit(value: Any) -> float:
    """A time limit in seconds, more than 0."""
    return seconds_of(value, days=7) or refuse("must be longer than 0")


@kind("duration", _LONGER, spell=_spell_length, guess=_guess_length)
def interval(value: Any) -> float:
    """An interval in seconds, more than 0."""
    return duration(value) or refuse("must be longer than 0")


_NEVER = "never"


@kind(
    "duration, or `never`",
    either({"const": _NEVER}, _LONGER),
    spell=lambda value: _NEVER if value == math.inf else _spell_length(value),
    guess=_guess_length,
)
def interval_or_never(value: Any) -> float:
    """An interval in seconds, more than 0; infinite for `never`."""
    return math.inf if value == _NEVER else interval(value)


@kind("whole number", either({"type": "integer", "minimum": 0}, pattern("^[0-9]+$")))
def count(value: Any) -> int:
    """A whole number of things, 0 or more."""
    value = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    known = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return int(value) if known else refuse("must be a whole number, 0 or more")


@kind("whole number", either({"type": "integer", "minimum": 0, "maximum": 65535}, pattern("^[0-9]+$")))
def port(value: Any) -> int:
    """A TCP port; 0 stands for the usual port."""
    return number if (number := count(value)) <= 65535 else refuse("must be a port, 0 to 65535")


@kind(
    "command",
    either(pattern(r"^\s*[^\s\[]"), {"type": "array", "items": {"type": "string"}, "minItems": 1}),
    in_line=shlex.join,
)
def command(value: Any) -> tuple[str, ...]:
    """A command: a list of words, or one string that is split as a shell splits it (no shell runs it)."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            refuse("must be a command in words, not a JSON list")
        try:
            value = shlex.split(value)
        except ValueError as error:
            refuse(f"must be a command: {error}")
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        refuse("must be a command: a string or a list of strings")
    return tuple(value) or refuse("must not be empty")


@kind("URL or command", pattern(r"^\s*(https?://[^\s/?#]\S*\s*|(?![^\s'\"\\]*://)\S.*)$"))
def url_or_command(value: Any) -> str:
    """A URL, or one line with a command."""
    line = non_empty(value)
    message = "must be a URL or a command"
    if line.startswith(("http://", "https://")):
        _split_url(line, message)
    elif "+unix://" in line:
        refuse("must be a URL that begins with http://; the path of the socket goes into health_socket")
    else:
        try:
            words = command(line)
        except ValueError as error:
            refuse(f"{message}: {error}")
        if "://" in words[0]:
            refuse(message)
    return line


@kind("URL, or `none`", pattern(r"^\s*(none|[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#]\S*)\s*$"), guess=_guess_url)
def url_or_none(value: Any) -> str:
    """A URL, or `none`."""
    line = non_empty(value)
    message = "must be a URL that begins with https:// or http://, or none"
    return line if line == "none" or _split_url(line, message).scheme in ("http", "https") else refuse(message)


@kind("text", pattern(r"^\s*[^\s/?#@:][^\s/?#@]*\s*$"))
def host(value: Any) -> str:
    """The name of a host, as in a URL, with a port if it is not the usual one."""
    name = non_empty(value)
    message = "must be the name of a host, such as www.example.org or www.example.org:8000"
    parts = _split_url(f"//{name}", message)
    return name if parts.netloc == name and parts.username is None and name.isascii() else refuse(message)


def _split_url(url: str, message: str) -> SplitResult:
    """Return the parts of a URL, which must have a host and no invalid port. Raises ValueError with this message."""
    try:
        parts = urlsplit(url)
        is_right = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        refuse(f"{message}: {error}")
    return parts if is_right and not any(map(str.isspace, url)) else refuse(message)


@kind("path", pattern(r"^\s*/"))
def socket_path(value: Any) -> str:
    """The absolute path of a unix socket, of which the kernel takes no more than 107 bytes (unix(7))."""
    name = non_empty(value)
    if not name.startswith("/"):
        refuse("must be the absolute path of a unix socket")
    return name if len(os.fsencode(name)) <= 107 else refuse("must be the path of a unix socket, of at most 107 bytes")


@kind("path", LINE)
def path(value: Any) -> str:
    """A path, which may start with a home directory (`~`, `~name`)."""
    try:
        Path(non_empty(value)).expanduser()
    except RuntimeError as error:
        refuse(f"must be a path: {error}")
    return non_empty(value)


@kind("list of paths", listed(_WORDS, "[^,]*"))
def paths(value: Any) -> tuple[str, ...]:
    """Paths: a list, or in a variable one string separated by commas."""
    return tuple(map(path, names(value)))


@kind(
    "path",
    pattern(r"^\s*(?!/|\.\./|(\./)*(\.git/|(\.\.?|\.git|uv\.lock|pyproject\.toml)\s*$))[^\0\r\n]*\S[^\0\r\n]*$"),
)
def file_inside(value: Any) -> str:
    """A file inside the project, other than `uv.lock`, `pyproject.toml` and `.git`."""
    name = os.path.normpath(non_empty(value))
    first = name.partition("/")[0]
    if first in ("", ".."):
        refuse("must name a file inside the project")
    if first in (".", ".git") or name in ("uv.lock", "pyproject.toml"):
        refuse(f"must name another file than {name}")
    return name


@kind(
    "list of paths",
    listed(
        r"\s*(?!/|\.\./|(\./)*(\.git/|(\.\.?|\.git|uv\.lock|pyproject\.toml)\s*$))\S([^\0\r\n]*\S)?",
        r"(?!/|\.\./|(\./)*(\.git/|(\.\.?|\.git|uv\.lock|pyproject\.toml)\s*(,|$)))[^\0\r\n,]*",
    ),
)
def paths_inside(value: Any) -> tuple[str, ...]:
    """Paths inside the project, none inside another: a list, or in a variable one string separated by commas."""
    found = tuple(map(file_inside, names(value)))
    for path in found:
        if any(path == other or path.startswith(f"{other}/") for other in found if other is not path):
            refuse(f"must be paths, none inside another, but {path} is")
    return found


def names(value: Any) -> tuple[str, ...]:
    """Names: a list, or in a variable one string separated by commas."""
    if isinstance(value, str) and not value.startswith(('["', "['")):  # no JSON, as for other kinds of value
        value = [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, list) or not all(isinstance(word, str) and word == word.strip() for word in value):
        refuse("must be a list of names; in a variable, names separated by commas")
    return tuple(filter(None, value))


def _checked(value: Any, regex: str, message: str) -> tuple[str, ...]:
    """Return names that all match `regex`; `message` has a place for a name that does not. Raises ValueError."""
    for one in names(value):
        if not re.fullmatch(regex, one, re.DOTALL):
            refuse(message.format(one))
    return names(value)


@kind("list", listed(r"[^\s,]*", r"[^\s,]*"))
def ids(value: Any) -> tuple[str, ...]:
    """Names without spaces: a list, or in a variable one string separated by commas."""
    return _checked(value, r"[^\s,]*", "must be names separated by commas; {!r} is not a name")


@kind("list", listed(_SERVICE, r"[A-Za-z][\w+.-]*://[^\s,]+"))
def services(value: Any) -> tuple[str, ...]:
    """URLs of services: a list, or in a variable one string separated by commas; a comma in a URL is `%2C`."""
    return _checked(value, _SERVICE, "must be URLs of services, such as ntfy://ntfy.example.org/topic")


@kind("list", listed(r"s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*/*", r"s3://[a-z0-9][^\s,]+"))
def s3_prefixes(value: Any) -> tuple[str, ...]:
    """Buckets in S3 with a prefix: a list, or in a variable one string separated by commas."""
    found = tuple(one.rstrip("/") for one in names(value))
    known = all(_S3.fullmatch(one) and ".." not in one for one in found) and len({*found}) == len(found)
    return found if known else refuse("must be places in S3 such as s3://bucket/prefix, each only once")


@kind("list of patterns", listed(_BELOW, r"(?!/|\.\./|[^,]*/\.\./)[^,]*"))
def patterns(value: Any) -> tuple[str, ...]:
    """Patterns of paths, relative to the top of the checkout: a list, or one string separated by commas."""
    message = "must be patterns of paths below the top of the checkout; {!r} is not one"
    return _checked(value, _BELOW, message)


def _spell_status(value: range) -> str:
    last = "" if len(value) == 1 else f"-{value[-1]}"
    is_class = len(value) == 100 and value.start % 100 == 0
    return f"{value.start // 100}xx" if is_class else f"{value.start}{last}"


@kind(
    "list",
    listed(rf"\s*{_STATUS}\s*", _STATUS, least=1),
    spell=lambda value: [_spell_status(one) for one in value],
)
def statuses(value: Any) -> tuple[range, ...]:
    """A list of HTTP statuses: `200`, a class such as `2xx`, or a range such as `200-299`."""
    words = value.split(",") if isinstance(value, str) else value
    found = []
    for word in words if isinstance(words, list) else ():
        match = _STATUSES.fullmatch(word.strip()) if isinstance(word, str) else None
        first = int(match[2] or match[1] + "00") if match else 0
        found.append(range(first, (first + 99 if match[1] else int(match[3] or first)) + 1) if match else range(0))
    if not found or not all(found):
        refuse("must be one or more HTTP statuses, such as 200, 2xx or 200-299")
    return tuple(found)


@kind("list of packages", listed(_PACKAGE, _PACKAGE))
def package_patterns(value: Any) -> tuple[str, ...]:
    """Names of packages, a list or one string with commas, in which `*` and `?` may stand for any characters."""
    message = "must be names of packages, in which `*` may stand for any part; {!r} is not one"
    return tuple(map(normalize_name, _checked(value, _PACKAGE, message)))


def by_package(schema: Schema) -> Schema:
    """Return the schema of a table by names of packages, in which `*` may stand for any part."""
    names_packages = {"propertyNames": {**pattern(f"^{_PACKAGE}$"), "minLength": 1}}
    return {"type": "object", **names_packages, "additionalProperties": schema}


def pairs(kind: Kind[T]) -> Kind[tuple[tuple[str, T], ...]]:
    """Return the kind of value that has one of another kind for each of some packages."""

    def read(value: Any) -> tuple[tuple[str, T], ...]:
        """A value for each package: a table, or in a variable `django=patch,celery=minor`, in order of precedence."""
        if isinstance(value, str):
            for word in names(value):
                if "=" not in word:
                    refuse(f"must be pairs such as django=...,celery=...; {word!r} is not one")
            value = dict(word.split("=", 1) for word in names(value))
        if not isinstance(value, dict):
            refuse("must be a table of packages, such as {django = ...}")
        found = []
        for name, one in value.items():
            try:
                (package,) = package_patterns([name]) or refuse("must be names of packages; '' is not one")
                found.append((package, kind(one)))
            except ValueError as error:
                refuse(f"{error} (for {name or repr(name)})")
        return tuple(found)

    return Kind(
        read=read,
        called="table by package",
        schema=either(by_package(kind.schema), pattern(r"^\s*([^=,]+=[^,]*(,[^=,]+=[^,]*)*)?$")),
        spell=lambda value: {name: kind.spell(one) for name, one in value},
        in_line=lambda table: ",".join(f"{name}={one}" for name, one in table.items()),
    )


# The types of settings, each with the kind of its values

Strings = tuple[str, ...]
FilePath = Annotated[str, path]
Name = Annotated[str, non_empty]
Limit = Annotated[float, limit]
Interpreter = Annotated[str, interpreter]
Packages = Annotated[Strings, package_patterns]
S3Prefixes = Annotated[Strings, s3_prefixes]
Duration = Annotated[float, duration]
Patterns = Annotated[Strings, patterns]
Interval = Annotated[float, interval]
IntervalOrNever = Annotated[float, interval_or_never]
Command = Annotated[Strings, command]
Ids = Annotated[Strings, ids]
FilePaths = Annotated[Strings, paths]
UrlOrCommand = Annotated[str, url_or_command]
Statuses = Annotated[tuple[range, ...], statuses]
Visible = Annotated[str, visible]
SocketPath = Annotated[str, socket_path]
Host = Annotated[str, host]
PathsInside = Annotated[Strings, paths_inside]
FileInside = Annotated[str, file_inside]
UrlOrNone = Annotated[str, url_or_none]
Line = Annotated[str, text]
Port = Annotated[int, port]
Services = Annotated[Strings, services]
