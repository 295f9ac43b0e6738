"""Small pieces of text: plurals, durations, sizes, and the line that says why a program failed."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, quote_plus, unquote

_OF_COMPILER = re.compile(r"\S+:\d+: (?:fatal )?error: ")  # a path, line and column; an excerpt follows
_VAGUE = ("the remote end hung up", "Could not read from remote repository")
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
#: A user name that is a token, in a URL without a password.
_TOKEN_USER = re.compile(rf"{_TOKENS}|(?=\D*\d)\S{{16,}}")
#: The words of a name, also of `apiKey`; those that say that the value is a secret, and those that may come after them.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORD = re.compile(
    r"(?:\w*(?:password|passwd|passphrase|passcode|secret|token|credential|dsn)|"
    r"(?!(?:ask|by|com|encom|over|sur|tres|under)pass)\w*pass|(?!old)\w*pwd|salt|creds?|auth|"
    r"(?:api|access|account|auth|deploy|encryption|licen[cs]e|master|private|secret|signing|ssh)?key)s?"
)
_SUFFIX = re.compile(
    r"\d+|[a-z]|base|hex|json|pem|raw|string|value|ids?|old|new|current|previous|next|primary|secondary|default|backup|"
    r"fallbacks?|live|prod|production|test|testing|staging|stage|dev|development|demo|local|sandbox|eu|us|uk|"
    r"phrase|word|code"
)
_NO_SECRETS = re.compile(r"PWD|GIT_CONFIG_KEY_\d+")
_SHORTEST_SECRET, _SHORTEST_WORD = 5, 8  # characters: shorter ones are part of many words
_SHORTEST_CODE = 8  # characters of base64
#: A secret of letters alone may be a part of other words. Before it may come an escape, or the option of `mysql -p`.
_WHOLE_WORD = r"(?:\b|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{{2}})|(?<=\s-p)){}\b"
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
_HALVES = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")  # of a character, as JSON may have them; no bytes
#: The known secrets and their other forms, longest first; with a pattern where only a whole word is one.
_hidden: dict[str, re.Pattern[str] | None] = {}


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

    git, uv and compilers mark that line, uv its causes, too; for other programs, a Python traceback included, it is the
    last one.
    A long one is cut.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [match.group(1) for line in lines if (match := _MARKED.match(line)) and not line.startswith("hint")]
    marked = marked or [line for line in lines if _OF_COMPILER.match(line)]
    causes = [line.removeprefix("cause: ") for line in lines if line.startswith("cause: ")]
    if marked and marked[0].startswith(_VAGUE):  # ssh, or a filter, has said why in the line before
        before = [line for line, after in itertools.pairwise(lines) if after.endswith(marked[0])]
        marked = [line.rstrip(".") for line in before[:1]] or marked
    return clip(": ".join([marked[0], *causes[-1:]]) if marked else lines[-1] if lines else "", LONGEST_LINE)


def end_sentence(text: str) -> str:
    """Return a text that ends with one full stop, and has no doubled one, as where a program's own was quoted."""
    text = re.sub(r"(?<=[\w)\]'\"`])\.\.(?=\s|$)", ".", text.rstrip())
    return f"{text}." if text and (text[-1].isalnum() or text[-1] in ")]'\"`") else text


def wrap(text: str, width: int, *, indent: int = 0) -> str:
    """Return a text in lines of `width` characters, further ones indented; commands, paths and URLs stay whole."""
    import textwrap  # takes 2 ms

    whole = re.sub(r"`[^`]+`", lambda command: command[0].replace(" ", "\xa0"), text)
    lines = textwrap.wrap(whole, max(20, width - indent), break_long_words=False, break_on_hyphens=False, tabsize=4)
    return f"\n{'':{indent}}".join(lines).replace("\xa0", " ")


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
    """Return the text without known secrets and usual forms of others; bytes that were no UTF-8 are escaped."""
    for secret, pattern in _hidden.items():
        if secret in text:
            text = pattern.sub("***", text) if pattern else text.replace(secret, "***")
    for form in _FORMS:
        text = form.sub(r"\1***", text)
    return text.encode(errors="backslashreplace").decode()


def redact_all(value: Any) -> Any:
    """Return a value as JSON has it, without the secrets in its texts."""
    if isinstance(value, dict):
        return {key: redact_all(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(entry) for entry in value]
    return redact(value) if isinstance(value, str) else value


def hide_secrets(variables: Any) -> None:
    """Let `redact` hide the secrets among variables, or in the URLs of a text."""
    if new := find_secrets(variables) - _hidden.keys():
        for secret in new:
            _hidden.update(_list_forms(secret))
        entries = sorted(_hidden.items(), key=lambda entry: len(entry[0]), reverse=True)
        _hidden.clear()
        _hidden.update(entries)


def _list_forms(secret: str) -> dict[str, re.Pattern[str] | None]:
    """Return the forms in which programs print a secret, each with the pattern by which it is found, if it needs one.

    Plain, in a URL, JSON, Python, a shell or HTML, and in base64, where other bytes come before and after it.
    """
    forms, codes = {secret}, set[str]()
    for plain in {secret, unquote(secret)}:
        data = _HALVES.sub("?", plain).encode(errors="surrogateescape")
        urls = [quote(data, safe=""), quote(data), quote_plus(data)]
        urls += [re.sub("%..", lambda match: match[0].lower(), url) for url in urls]
        texts = [json.dumps(plain), json.dumps(plain, ensure_ascii=False), repr(plain), ascii(plain), repr(data)[1:]]
        texts += [json.dumps(json.dumps(plain))[2:-2]]
        others = [plain.replace("'", "'\\''"), plain.replace("'", "'\"'\"'"), plain.translate(_HTML)]
        forms.update((plain, data.decode(errors="replace"), *urls, *(text[1:-1] for text in texts), *others))
        for before in range(3):
            code = base64.b64encode(bytes(before) + data).decode()
            whole = code[(0, 2, 3)[before] : (before + len(data)) * 8 // 6]  # without the bits of its neighbours
            codes.update((whole, whole.translate(str.maketrans("+/", "-_"))))
    known: dict[str, re.Pattern[str] | None] = {code: None for code in codes if len(code) >= _SHORTEST_CODE}
    for form in forms:
        if len(form) >= _SHORTEST_SECRET:
            known[form] = re.compile(_WHOLE_WORD.format(form)) if form.isalpha() else None
    return known


def find_secrets(variables: Any, name: str = "") -> set[str]:
    """Return values whose name says that they are secret, also in JSON, and those in URLs; no files, no words."""
    if isinstance(variables, str) and variables[:1] in ("{", "["):
        with contextlib.suppress(ValueError, RecursionError):
            variables = json.loads(variables)
    if isinstance(variables, Mapping):
        return {secret for key, value in variables.items() for secret in find_secrets(value, key)}
    if isinstance(variables, list):
        return {secret for value in variables for secret in find_secrets(value, name)}
    text = str(variables)
    urls = [match for match in _USERINFO.finditer(text) if not text.endswith("ssh://", 0, match.start())]
    values = {match[2] for match in urls if match[2] not in (None, "", "x-oauth-basic")}
    values |= {match[1] for match in urls if match[2] == "x-oauth-basic"}
    values |= {match[1] for match in urls if not match[2] and _TOKEN_USER.fullmatch(match[1])}
    if _is_secret_name(name) and not (text.startswith("/") and os.path.lexists(text)):
        values |= {
            text,
            *(part for part in text.split(",") if len(part) >= _SHORTEST_WORD),
        }  # of a list, such as old keys
    return {value for value in values if len(value) >= (_SHORTEST_WORD if value.isalpha() else _SHORTEST_SECRET)}


def _is_secret_name(name: str) -> bool:
    """Return True for the name of a variable whose last word, but for usual suffixes, is that of a secret."""
    words = [word.lower() for word in _WORDS.findall(name)]
    while len(words) > 1 and _SUFFIX.fullmatch(words[-1]) and not _SECRET_WORD.fullmatch(words[-1]):
        words.pop()
    return bool(words and _SECRET_WORD.fullmatch(words[-1])) and not _NO_SECRETS.fullmatch(name)


#: Characters that join letters, in Persian and in families of emoji, beside the tab.
_ORDINARY = "\t\u200c\u200d"


def escape(text: str) -> str:
    """Return a text in one line, with an escape of JSON for each character that could control a terminal or break it.

    The one place for text from outside: names of files, commits, what packages, servers and tests print.
    """
    if text.replace("\t", "").isprintable():
        return text
    return "".join(
        json.dumps(character)[1:-1]
        if character not in _ORDINARY and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
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
