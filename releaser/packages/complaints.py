"""What uv says about its configuration, a lock and an index: each complaint is an error, where uv itself goes on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from releaser.errors import BuildError, PreflightError, Problem, refuse
from releaser.packages.changes import compare_locks, describe_changes
from releaser.packages.lock import parse_lock
from releaser.site.site import Site
from releaser.system.process import Finished, failure
from releaser.system.text import LONGEST_LINE, clip, word

_UNREAD = re.compile(r"(?:warning|error): Failed to parse:? `?(.+?)`?(?: during settings discovery)?:?$")
_OTHER = re.compile(
    r"(?:warning|error): (Found both a `uv\.toml`.*|Required uv version.*|failed to open file.*|invalid value.*)"
)
_LINE, _SOURCE = re.compile(r"TOML parse error at line (\d+)"), re.compile(r"\s*\d+ \| (.+)")
_REFUSED = re.compile(r"\((https?://[^\s()]+)\)[^\n]*?\b(401|403) (?:Unauthorized|Forbidden)")
_REFUSED_FILE = re.compile(r"\b(401|403) (?:Unauthorized|Forbidden)\)? for url \((https?://[^\s()]+)\)")
_MADE = ("options", "revision", "sdist", "wheels")  # of a lock
_FALSE = ("0", "f", "false", "n", "no", "off")


def find_problems(site: Site, tree: Path, *, mark: str, commit: str = "") -> list[Problem]:
    """Return a problem for each configuration that uv cannot read, or does not use: packages would come from elsewhere.

    In a tree that is not the checkout, `commit` is named. Nothing is written.
    """
    problems = []
    if site.uv_variables.get("UV_NO_CONFIG", "0").lower() not in _FALSE:
        message = "`UV_NO_CONFIG` is set: uv would not read `[tool.uv]` and `uv.toml`, with their indexes."
        problems.append(Problem("uv-settings", message, "Take it out of the environment: `unset UV_NO_CONFIG`."))
    output = site.run_uv("workspace", "dir", cwd=tree, mark=mark, check=False).output
    place = f" of commit {commit[:12]}" if commit else ""
    advice = f"Correct it; a setting of a newer uv needs that one, and this is {word(site.uv)}."
    return [*problems, *(Problem("uv-settings", message, advice) for message in list_complaints(output, place))]


def list_complaints(output: str, place: str = "") -> list[str]:
    """Return a sentence for each complaint of uv about its configuration; `place` follows the name of a file."""
    messages, lines = list[str](), output.splitlines()
    for number, line in enumerate(lines):
        following = [each for each in lines[number + 1 :] if each.strip()]
        if match := _UNREAD.match(line):
            text = "\n".join(following[:8])
            at, source = _LINE.search(text), _SOURCE.search(text)
            key = source[1].partition("=")[0].strip() if source else ""  # the value may be a secret
            reason = next((each.strip() for each in following[1:8] if not re.match(r"\s*(\d+ )?\s*\|", each)), "")
            where = f"line {at[1]}, `{key}`: " if at else ""
            message = f"uv cannot read `{match[1]}`{place}, and would go on without its settings: {where}{reason}"
            messages.append(f"{clip(message, LONGEST_LINE).rstrip('.')}.")
        elif match := _OTHER.match(line):
            fields = [each.removeprefix("- ").strip() for each in following if each.startswith("- ")]
            messages.append(f"uv says{place}: {' '.join([match[1], ', '.join(fields)]).strip().rstrip('.')}.")
    return list(dict.fromkeys(messages))


def explain_refusal(output: str) -> tuple[str, str] | None:
    """Return a sentence about an index that refuses user and password, and the advice; None if none does."""
    if match := _REFUSED.search(output):
        url, status = match[1], match[2]
    elif match := _REFUSED_FILE.search(output):
        url, status = match[2], match[1]
    else:
        return None
    advice = "Correct user and password of the index: `UV_INDEX_NAME_USERNAME` and `UV_INDEX_NAME_PASSWORD`, with its"
    return f"The index {url} refused ({status}).", f"{advice} name in capitals, in `../.env`. The next run tries again."


def require_fitting_lock(site: Site, tree: Path, python: str, *, mark: str) -> None:
    """Raise PreflightError if uv.lock in a tree does not fit its pyproject.toml; BuildError if uv cannot tell.

    `exclude-newer` and the URL of an index may differ on the host on which a lock was made.
    """
    path = tree / "uv.lock"
    checked = site.run_uv("lock", "--check", "--python", python, cwd=tree, mark=mark, check=False)
    if checked.status == 0:
        return
    committed, before = path.read_bytes(), path.read_text(encoding="utf-8")
    try:
        locked = site.run_uv("lock", "--python", python, cwd=tree, mark=mark, check=False)
        if locked.status != 0:
            raise _explain_stale_lock(locked)
        after = path.read_text(encoding="utf-8")
    finally:
        path.write_bytes(committed)
    if _find_facts(tomllib.loads(before)) != _find_facts(tomllib.loads(after)):
        changes = describe_changes(compare_locks(parse_lock(before), parse_lock(after)))
        raise _refuse_lock(f"`uv lock` would change {changes}" if changes else "its requirements are others")


def _explain_stale_lock(locked: Finished) -> PreflightError | BuildError:
    error, refusal = failure(locked), explain_refusal(locked.output)
    if locked.status == 1 and refusal is None:
        return _refuse_lock(error.message.rstrip("."))
    message, advice = refusal or (f"The lock could not be checked: {error.message}", "The next run tries again.")
    return BuildError(message, advice, output=error.output)


def _refuse_lock(reason: str) -> PreflightError:
    message = f"uv.lock does not fit pyproject.toml: {reason}."
    return refuse("stale-lock", message, "Run `uv lock`, and commit it.")


def _find_facts(value: Any) -> Any:
    """Return what a lock says, but for how it was made, its files, and URLs of indexes."""
    if isinstance(value, dict):
        return {name: name == "registry" or _find_facts(entry) for name, entry in value.items() if name not in _MADE}
    return list(map(_find_facts, value)) if isinstance(value, list) else value
