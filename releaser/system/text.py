"""Small pieces of text: plurals, durations, sizes, and the line that says why a program failed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

_MARKED = re.compile(r"^\s*(?:error|fatal|hint)\s*:\s+(.+)", re.IGNORECASE)
#: Characters of a line that somebody else has written, and of a sentence with several of them.
LONGEST_LINE, LONGEST_SENTENCE = 300, 4000
_NAME = (
    r"(?:passw(?:or)?d|passphrase|secret|token|credentials?|signature|authorization|(?<=[;_-])pwd|(?-i:(?<=[A-Z])_KEY)|"
    r"(?:api|access|account|private|signing|encryption|master)[_-]?key|(?<=[?&])(?:sig|key))[\w-]{0,20}"
)
_SCHEME = r"(?:(?:Basic|Bearer|Digest|Token|ApiKey|Negotiate) )?"
_TOKENS = (
    r"gh[a-z]_\w{16,}|github_pat_\w{16,}|gl[a-z]{2,4}-[\w-]{16,}|pypi-AgE[\w-]{8,}|A(?:KI|SI)A[A-Z0-9]{16}|AIza[\w-]{30,}|"
    r"xox[a-z]-[\w-]{10,}|[rs]k_(?:live|test)_\w{10,}|npm_\w{30,}|SG\.[\w-]{10,}\.[\w-]{10,}|hf_\w{20,}|"
    r"sk-(?:[a-z]{3,5}-)?\w{20,}|eyJ[\w-]{8,300}\.eyJ[\w.-]{4,}"
)
#: The usual forms of secrets; the first group stays.
_FORMS = (
    re.compile(r"(-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----).*?(?=-----END|\Z)", re.DOTALL),
    re.compile(r"(?<=://)()(?:[^/\s\"]+|[^/\s\"@:]{0,64}:(?!\d{1,5}[/?#])[^\s\"@]{1,128})(?=@)"),
    re.compile(rf"({_NAME}[\"'\\]{{0,3}}\s{{0,3}}(?:=>|[=:])\s{{0,3}}\\?([\"'])?{_SCHEME})"
               r"(?(2)(?:\\.|(?!\2)[^\\\n])+|[^\s\"'`&]+)", re.IGNORECASE),
    re.compile(r"(\b(?:Set-)?Cookie[\"']?: {0,3}[\"']?)[^\n\"']+", re.IGNORECASE),
    re.compile(r"(\s--[\w-]{0,20}(?:password|passwd|token|secret|key)\s{1,3}|\s(?:-u|--user)[ =]?[\w.@-]{1,64}:|"
               r"\blogin \S{1,64} password |\bIDENTIFIED BY ['\"]|\bBearer )[^\s'\"`&]+", re.IGNORECASE),
    re.compile(rf"()\b(?:{_TOKENS})"),
)  # fmt: skip
_USERINFO = re.compile(r"(?<=\w://)([^\s/:@]*)(?::([^\s/@]*))?@")
_SECRET_NAME = re.compile(
    r"PASS|(?<!^)(?<!^OLD)PWD|SECRET|TOKEN|CREDENTIAL|(?<!GIT_CONFIG_)KEY(_|$)|DSN|SALT", re.IGNORECASE
)
_SHORTEST_SECRET, _SHORTEST_WORD = 5, 8  # characters: shorter ones are part of many words
_hidden: set[str] = set()


def count(number: int, noun: str, plural: str = "") -> str:
    """Return `1 package`, `2 packages`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def join_few(names: Sequence[str], most: int = 5) -> str:
    """Return the names in one line; the number of the rest stands for more than `most`."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def format_seconds(seconds: float) -> str:
    """Return `0.3 s`, `12 s`, `3 min 5 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def format_bytes(size: float) -> str:
    """Return a size with a unit of 1024 bytes."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def format_time(moment: datetime) -> str:
    """Return an ISO 8601 time in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def normalize_name(name: str) -> str:
    """Return the name of a package, an extra or a group as uv.lock has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def word(value: object) -> str:
    """Return a path or a name as a word of a command that can be pasted into a shell."""
    return shlex.quote(str(value))


def name_project(text: str, directory: str) -> str:
    """Return a text whose commands of releaser name their project, so that they can be pasted anywhere."""
    option = f" --project {shlex.quote(directory)}"

    def complete(match: re.Match[str]) -> str:
        before, mark, after = match[1].partition(" -- ")
        return match[0] if "--project" in match[1] else f"`{before}{option}{mark}{after}`"

    return re.sub(r"`((?:[A-Z_]+=[^\s`]* )?releaser [a-z][^`]*)`", complete, text)


def find_error_line(output: str) -> str:
    """Return why a program failed, in one line of its output.

    git and uv mark that line; for other programs, a Python traceback included, it is the last one. A long one is cut.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [match.group(1) for line in lines if (match := _MARKED.match(line)) and not line.startswith("hint")]
    return clip(marked[0] if marked else lines[-1] if lines else "", LONGEST_LINE)


def clip(text: str, most: int) -> str:
    """Return a text of at most so many characters: its beginning, if it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"


def keep_end(text: str, most: int) -> str:
    """Return the end of a text, at most so many characters, from the beginning of a line on if there is one."""
    return text if len(text) <= most else text[-most:].partition("\n")[2] or text[-most:]


def clip_end(output: str, lines: int = 40, characters: int = 4000) -> str:
    """Return the end of an output, for people."""
    kept = "\n".join(output.strip().splitlines()[-lines:])
    return kept if len(kept) <= characters else "…" + kept[-characters:]


def redact(text: str) -> str:
    """Return the text without secrets: those that `hide_secrets` has seen, then the usual forms of others.

    Bytes that were no UTF-8 are escaped.
    """
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, "***")
    for form in _FORMS:
        text = form.sub(r"\1***", text)
    return text.encode(errors="backslashreplace").decode()


def hide_secrets(variables: Any) -> None:
    """Let `redact` hide the secrets among variables, or in the URLs of a text."""
    for secret in find_secrets(variables):
        _hidden.update((secret, unquote(secret), quote(secret, safe="")))


def find_secrets(variables: Any, name: str = "") -> set[str]:
    """Return each value whose name says that it is a secret, also inside of JSON, and those in URLs.

    Files, and words as other texts have them, are none.
    """
    if isinstance(variables, str) and variables[:1] in ("{", "["):
        with contextlib.suppress(ValueError, RecursionError):
            variables = json.loads(variables)
    if isinstance(variables, Mapping):
        return {secret for key, value in variables.items() for secret in find_secrets(value, key)}
    if isinstance(variables, list):
        return {secret for value in variables for secret in find_secrets(value, name)}
    text = str(variables)
    urls = [match for match in _USERINFO.finditer(text) if not text.endswith("ssh://", 0, match.start())]
    values = {match[1] if match[2] in (None, "", "x-oauth-basic") else match[2] for match in urls}
    if _SECRET_NAME.search(name) and not (text.startswith("/") and os.path.lexists(text)):
        values.add(text)
    return {value for value in values if len(value) >= (_SHORTEST_WORD if value.isalpha() else _SHORTEST_SECRET)}


def escape(text: str) -> str:
    """Return a text in one line, with an escape of JSON for each character that could control a terminal or break it.

    The one place for text from outside: names of files, commits, what packages, servers and tests print.
    """
    if text.replace("\t", "").isprintable():
        return text
    return "".join(
        json.dumps(character)[1:-1]
        if character != "\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character
        for character in text
    )


def escape_lines(text: str) -> str:
    """Return a text of several lines, each as `escape` returns it."""
    return "\n".join(map(escape, text.replace("\r\n", "\n").split("\n")))


def find_close(word: str, words: Iterable[str]) -> str:
    """Return the word of several that a person is likely to mean; empty if none is close."""
    import difflib  # takes 3 ms

    return next(iter(difflib.get_close_matches(word, list(words), 1)), "")
