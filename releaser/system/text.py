"""Small pieces of text: plurals, durations, sizes, and the line that says why a program failed."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_MARKED = re.compile(r"^\s*(?:error|fatal|hint)\s*:\s+(.+)", re.IGNORECASE)
_QUERY = r"(?<=[?&])[\w-]*(?:token|password|secret|key|sig|signature|credential)="
_BEFORE = rf"{_QUERY}|\bAuthorization: (?:\w+ )?|\b(?:PRIVATE-TOKEN:|Bearer) "
#: Characters of a line that somebody else has written, and of a sentence with several of them.
LONGEST_LINE, LONGEST_SENTENCE = 300, 4000
_CREDENTIALS = re.compile(rf"(?<=://)[^/\s'\"]+(?=@)|({_BEFORE})[^&\s'\"`]+", re.IGNORECASE)
_SECRET_NAME = re.compile(r"PASS|PWD|SECRET|TOKEN|CREDENTIAL|KEY(_|$)|DSN|SALT", re.IGNORECASE)
_SHORTEST_SECRET = 8  # characters: shorter ones are part of many words
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


def clip_end(output: str, lines: int = 40, characters: int = 4000) -> str:
    """Return the end of an output, for people."""
    kept = "\n".join(output.strip().splitlines()[-lines:])
    return kept if len(kept) <= characters else "…" + kept[-characters:]


def redact(text: str) -> str:
    """Return the text without the user names and passwords of URLs, and with `?` for bytes that were no UTF-8.

    Nor has it a secret that `hide_secrets` has seen.
    """
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _CREDENTIALS.sub(r"\1***", text.encode(errors="replace").decode())


def hide_secrets(variables: Any, name: str = "") -> None:
    """Let `redact` hide each value whose name says that it is a secret, also inside of JSON."""
    if isinstance(variables, str) and variables[:1] in ("{", "["):
        with contextlib.suppress(ValueError, RecursionError):
            variables = json.loads(variables)
    if isinstance(variables, Mapping):
        for key, value in variables.items():
            hide_secrets(value, key)
    elif isinstance(variables, list):
        for value in variables:
            hide_secrets(value, name)
    elif _SECRET_NAME.search(name) and len(str(variables)) >= _SHORTEST_SECRET:
        _hidden.add(str(variables))


def clean_terminal(text: str) -> str:
    """Return the text without characters that could control a terminal, or break a line but for a line feed."""
    return "".join(
        character
        for character in text
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp")
    )


def find_close(word: str, words: Iterable[str]) -> str:
    """Return the word of several that a person is likely to mean; empty if none is close."""
    import difflib  # takes 3 ms

    return next(iter(difflib.get_close_matches(word, list(words), 1)), "")
