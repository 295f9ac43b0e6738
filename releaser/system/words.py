"""Text for people: counts, durations, sizes, lists and tables; and foreign text made harmless, without secrets."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from releaser.system.expression import expression

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Mapping, Sequence

# Compiled at the first use; `releaser list` needs none of them.
_ESCAPE = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor movements
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # OSC and similar: titles, links
    r"|\x1b[ -/]*[0-~]?"  # all other escapes
)
_LINE_END = r"\r+\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]"
# The last ones change the direction of text, so that it reads as something else.
_CONTROL = r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
_CLEAN = expression(r"[\t\n -~]*")
_SURROGATE = r"[\ud800-\udfff]"
_MARKER_LENGTH = 80
_NARROW = 24  # characters; in a narrower column a sentence cannot be read
_LONGEST_LINE = 2000  # characters in a report, which may quote file names and programs
_LONGEST_LINK = 300  # characters
# Seconds: the years 1 to 9999, but for a day, so that each time exists in every time zone.
_FIRST, _LAST = -62135510400.0, 253402128000.0
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 package`, `3 packages`, `2 vulnerabilities`."""
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("ity") else f"{noun}{'es' if noun.endswith('s') else 's'}"
    return f"{count} {noun}"


def did_you_mean(word: str, known: Iterable[str], *, most: int = 1) -> str:
    """Ask whether a person meant one of the known words; return an empty text if none is similar."""
    close = _similar(word, known, most)
    return f"Did you mean {' or '.join(f'`{one}`' for one in close)}?" if close else ""


def find_similar(word: str, known: Iterable[str]) -> str:
    """Return the known word that a person may have meant; an empty text if none is similar."""
    return next(iter(_similar(word, known, 1)), "")


def _similar(word: str, known: Iterable[str], most: int) -> list[str]:
    import difflib  # slow to import

    names = {one.lower(): one for one in known}
    return [names[one] for one in difflib.get_close_matches(word.strip().lower(), names, n=most, cutoff=0.7)]


def first_few(names: Iterable[str], most: int = 5) -> str:
    """Return the first few names, and the count of the rest."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def duration(seconds: float, *, exact: bool = False) -> str:
    """Return a rough duration: `5 hours`, `3 days`, `4 months`; `exact`, for settings, gives `90 days`."""
    seconds = max(seconds, 0)
    for noun, length in (("day", _DAY), ("hour", _HOUR), ("minute", _MINUTE), ("second", 1)) if exact else ():
        if seconds >= length and seconds % length == 0:
            return plural(int(seconds // length), noun)
    for noun, length, least in (("year", 365 * _DAY, 2), ("month", 30 * _DAY, 3), ("day", _DAY, 1), ("hour", _HOUR, 1)):
        if seconds >= least * length:
            return plural(int(seconds // length), noun)
    return plural(int(seconds // _MINUTE), "minute") if seconds >= _MINUTE else plural(int(seconds), "second")


def elapsed(seconds: float) -> str:
    """Return how long something took: `12.3 s`, `3 min 05 s`."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    return f"{minutes} min {rest:02d} s"


def age(seconds: float) -> str:
    """Return how long ago something was, for a column: `40 s`, `5 min`, `3 h`, `12 d`."""
    whole = max(0, int(seconds))
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def size(count: object) -> str:
    """Return a number of bytes: `42 MB`; `-` if it is no number."""
    if not isinstance(count, int):
        return "-"
    amount = float(count)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align rows in columns; return a line for each."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def fit(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Align rows in columns of at most `width` characters in all; columns that do not fit go below the others.

    Nothing is cut off. The last column is wrapped next to the others if enough room is left. Otherwise the columns that
    do not fit are below in every row, and so are their headings.
    """
    from textwrap import TextWrapper  # only terminals need it

    wrap = partial(TextWrapper, break_on_hyphens=False, break_long_words=False)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ends = [sum(widths[:count]) + 2 * (count - 1) for count in range(1, len(widths) + 1)]
    beside = max(1, sum(end <= width for end in ends))
    left = ends[beside - 1] + 2  # start of the remaining columns
    is_wrapped = beside == len(widths) - 1 and width - left >= _NARROW
    rests = ["  ".join(filter(None, row[beside:])) for row in rows]
    lines = []
    for head, rest in zip(table([row[:beside] for row in rows]), rests, strict=True):
        if is_wrapped or max(map(len, rests)) <= width - left:
            first, *more = wrap(max(width - left, 1)).wrap(rest) or [""]
            lines += [f"{head:<{left}}{first}".rstrip(), *(" " * left + one for one in more)]
        else:
            indent = "    "
            lines += [head, *wrap(width, initial_indent=indent, subsequent_indent=indent).wrap(rest)]
    return lines


def is_url(text: str) -> bool:
    """True if a text is a URL, not a command."""
    return text.startswith(("http://", "https://"))


def web_link(text: str) -> str | None:
    """Return a link if it is safe for a mail: http or https, with a host, no password, printable ASCII; else None."""
    from urllib.parse import urlsplit  # most commands need not import it

    text = text.strip()
    if len(text) > _LONGEST_LINK or not text.isascii() or not text.isprintable() or set(text) & set(" <>\"'`\\^{|}"):
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    fit = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    return text if fit else None


def strip_control(text: str) -> str:
    """Remove terminal escapes and control characters; line feeds and tabs stay, other line ends become line feeds.

    Undecodable bytes (lone surrogates, which no encoding can write) become the replacement character.
    """
    if _CLEAN.fullmatch(text := text.replace("\0", "")):  # git separates the entries of lists by NUL
        return text
    text = re.sub(_LINE_END, "\n", re.sub(_ESCAPE, "", text))
    return re.sub(_SURROGATE, "\ufffd", re.sub(_CONTROL, "", text))


def one_line(text: str, *, limit: int = 300) -> str:
    """Return text on one line of at most `limit` characters; control characters and blanks become one space."""
    if not text.isprintable():
        text = re.sub(_SURROGATE, "\ufffd", re.sub(_CONTROL, " ", re.sub(_ESCAPE, "", text)))
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def one_lines(texts: Iterable[str]) -> tuple[str, ...]:
    """Return several texts, each on one line."""
    return tuple(map(one_line, texts))


def truncate(text: str, *, head_lines: int = 40, tail_lines: int = 160, max_chars: int = 60_000) -> str:
    """Return the beginning and the end of a long text, with a line between them that says how much was cut.

    The beginning takes at most a quarter of `max_chars`, unless the end leaves room; `max_chars` should be at least
    200. Control characters are removed first. A truncated text is not changed by another call.
    """
    text = strip_control(text).strip("\n")
    # One line more than the sum is kept: the marker would take its place.
    if len(text) <= max_chars and text.count("\n") <= head_lines + tail_lines:
        return text
    lines = text.splitlines(keepends=True)
    head = sum(map(len, lines[:head_lines]))
    tail = sum(map(len, lines[-tail_lines:])) if tail_lines else 0
    if head + tail + _MARKER_LENGTH > max_chars:
        room = max(max_chars - _MARKER_LENGTH, 0)
        head = min(head, max(room // 4, room - tail))
        tail = min(tail, room - head)
    first, cut, last = text[:head], text[head : len(text) - tail], text[len(text) - tail :]
    if first and not first.endswith("\n"):
        first += "\n"
    count = cut.count("\n") - (bool(cut.count("\n")) and head > 0 and text[head - 1] != "\n")
    characters = f"{len(cut):,} characters"
    what = f"{count:,} {'line' if count == 1 else 'lines'} ({characters})" if count else characters
    return f"{first}[... {what} cut ...]\n{last}".rstrip("\n")


def timestamp() -> str:
    """Return the current time as in state files: ISO 8601, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def time_of_file(seconds: float) -> datetime:
    """Return the time of a file; the nearest one that exists for a file system that has earlier or later ones."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC)


def show_time(at: datetime) -> str:
    """Return a time for people, in the time zone of the host: `Thu 2026-11-26 03:00`."""
    return f"{at.astimezone():%a %Y-%m-%d %H:%M}"


MASK = "***"
_USERINFO = r"(?<=://)[^/?#\s\"'<>]+@"  # up to the last @ before the path: some passwords contain one
_CREDENTIALS = r"(\w[\w+.-]*)://([^/?#\s\"'<>:@]*)(?::([^/?#\s\"'<>]*))?@"
_NO_PASSWORDS = {"", "x-oauth-basic"}  # placeholders for a password when the user name is the token
_SECRET_VARIABLE = expression(r"^UV_(INDEX_\w+_PASSWORD|.*_TOKEN)$|^UV_PUBLISH_PASSWORD$")
_SECRET_NAME = expression(
    r"(SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIAL|(^|_|API|ACCESS|SECRET)KEY)S?(?![A-Z])"
    r"|PRIVATE|KEYS?$|(^|_)(PASS|PWD|AUTH|SALT|DSN)$",
    re.IGNORECASE,
)
_NAMES_A_FILE = r"(?i)_(FILE|PATH|DIR)$"
PASSWORD_NAME = expression(r"PASSWORD|SECRET", re.IGNORECASE)
_NO_SECRET_NAME = expression(r"_(HASHER|ALGORITHM|PREFIX|BACKEND)S?$", re.IGNORECASE)
# Fields with releaser's own names: programs look their values up, and only URLs in them can hold a secret.
_OWN_FIELD = (
    "name|old|new|version|locked|latest|id|release|previous|run_id|commit|host|project|path|link|log_file|step|command"
)
SHORTEST = 4  # masking shorter strings would damage ordinary text


class Redactor:
    """Replaces credentials in URLs, and the secrets that it knows, by `***`, however they are quoted."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these secrets from now on, and no others."""
        self.secrets = frozenset(secret for secret in secrets if len(secret) >= SHORTEST)
        forms = sorted(set().union(*map(_forms, self.secrets)), key=lambda one: (-len(one), one))
        self._forms = [one for one in forms if _is_telling(one)]
        self._words = [re.compile(rf"(?<!\w){re.escape(one)}(?!\w)") for one in forms if not _is_telling(one)]

    def clean(self, text: str) -> str:
        """Return `text` without any secret."""
        if "://" in text:
            text = re.sub(_USERINFO, f"{MASK}@", text)
        for secret in self._forms:  # far quicker than one regular expression for all secrets
            if secret in text:
                text = text.replace(secret, MASK)
        for word in self._words:  # the secret may be part of an ordinary word
            text = word.sub(MASK, text)
        return text

    def shown(self, text: str) -> str:
        """Return the output of a program without secrets and control characters."""
        return self.clean(strip_control(text))

    def formatter(self) -> logging.Formatter:
        """Return a log formatter whose records, exceptions included, have no secrets and control characters."""
        import logging  # slow to import

        redactor = self

        class CleanFormatter(logging.Formatter):
            def format(self, record: logging.LogRecord) -> str:
                return redactor.shown(super().format(record))

        return CleanFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def line(self, text: str) -> str:
        """Return text for a report: without secrets, and on one line that no file name can break or colour."""
        return self.clean(one_line(self.clean(text), limit=_LONGEST_LINE))  # colours may have been inside a secret

    def lines(self, texts: Sequence[str]) -> list[str]:
        """Return what `line` does for each text. Most texts are clean already, which one look at all of them shows."""
        joined = "\n".join(texts)
        is_plain = joined.replace("\n", "").isprintable() and joined.count("\n") == len(texts) - 1
        has_blanks = any(blanks in f"\n{joined}\n" for blanks in ("  ", " \n", "\n "))
        is_short = max(map(len, texts), default=0) <= _LONGEST_LINE
        if is_plain and is_short and not has_blanks and self.clean(joined) == joined:
            return [*texts]
        return [self.line(text) for text in texts]

    def clean_all(self, content: Any, field: str = "") -> Any:
        """Return JSON content, the value of `field`, without any secret in its strings.

        In names, versions, paths and the like, which programs look up, only URLs are cleaned.
        """
        if isinstance(content, str):
            return re.sub(_USERINFO, f"{MASK}@", content) if re.fullmatch(_OWN_FIELD, field) else self.clean(content)
        if isinstance(content, dict):
            return {name: self.clean_all(value, name) for name, value in content.items()}
        return [self.clean_all(one) for one in content] if isinstance(content, list | tuple) else content


def _forms(secret: str) -> set[str]:
    """Return the forms of a secret in text, in a URL, in JSON, in Python, in a shell and in HTML."""
    if secret.isascii() and secret.isalnum():
        return {secret}
    import html
    import json
    import shlex
    from urllib.parse import quote, quote_plus

    found = {secret, repr(secret)[1:-1], ascii(secret)[1:-1], shlex.quote(secret), html.escape(secret)}
    found.add(html.escape(secret, quote=False).replace("'", "&#39;").replace('"', "&#34;"))  # as Jinja does
    found |= {json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    return found | {quote_plus(secret), *(quote(secret, safe=safe) for safe in ("", "/", "!$&'()*+,;=:"))}


def secrets_in_variables(variables: Mapping[str, str]) -> set[str]:
    """Return the values of variables with names of secrets, each line of them, and the passwords in URLs.

    A value that may be an ordinary word or number is skipped, because masking it would damage text: one of less than 8
    characters, or 6 if it has letters and digits, or 12 if it has only letters or only digits. Shorter values of
    variables named PASSWORD or SECRET are masked as whole words. A path in a variable that names a file is skipped.
    """
    found: set[str] = set()
    for name, value in variables.items():
        found |= secrets_in_urls(value)
        is_secret = _SECRET_NAME.search(name) and not _NO_SECRET_NAME.search(name)
        if is_secret and not ("/" in value and re.search(_NAMES_A_FILE, name)):
            found.update(part.strip() for part in re.split(r"\\n|[\r\n,]", value))
            found.add(value)
    words = {value for name, value in variables.items() if PASSWORD_NAME.search(name)} - {"true", "True", "None"}
    return {one for one in found if _is_telling(one) or (one in words and len(one) >= SHORTEST)}


def _is_telling(value: str) -> bool:
    if value.startswith("-----"):  # the first or last line of a key
        return "\n" in value
    if value.isalpha() or value.isdigit():
        return len(value) >= 12
    is_mixed = any(map(str.isalpha, value)) and any(map(str.isdigit, value))
    return len(value) >= (6 if is_mixed else 8)


def secrets_in_urls(text: str) -> set[str]:
    """Return the passwords and tokens in all URLs of a text, as written and percent-decoded.

    A user without a password is a token in http, but only a name elsewhere, as in ssh://git@example.org.
    """
    if "://" not in text:
        return set()
    from urllib.parse import unquote  # most commands need not import it

    found = set()
    for scheme, user, password in re.findall(_CREDENTIALS, text):
        if password not in _NO_PASSWORDS:
            found.add(password)
        elif "http" in scheme.lower():
            found.add(user)
    return found | {unquote(secret) for secret in found}


def secrets_in_service(url: str) -> set[str]:
    """Return the secrets in the URL of a service: the whole URL, and its parts that are no ordinary words.

    The host of a web server is no secret, but the first part of another kind of URL may be a token.
    """
    from urllib.parse import unquote

    scheme, _, rest = url.partition("://")
    parts = [one for one in re.split(r"[/?&=#:@,]+", rest) if not ("." in one or one == rest.partition("/")[0])]
    parts += [] if scheme.lower() in ("http", "https") or "." in rest.partition("/")[0] else [rest.partition("/")[0]]
    found = {one for one in parts if _is_telling(one)}
    return {url, *secrets_in_urls(url), *found, *map(unquote, found)}


def secrets_in_environment(environ: Mapping[str, str]) -> set[str]:
    """Return the passwords and tokens in uv's variables, and those in URLs of other UV_* variables."""
    found = {value for name, value in environ.items() if _SECRET_VARIABLE.match(name)}
    for name, value in environ.items():
        if name.startswith("UV_"):
            found |= secrets_in_urls(value)
    return found
