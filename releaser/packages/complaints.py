"""Complaints of uv about its configuration, a lock or an index: each is an error, though uv itself continues."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

from packaging.specifiers import Specifier, SpecifierSet

from releaser.errors import BuildError, Problem, refuse
from releaser.packages.changes import compare_locks, describe_changes
from releaser.packages.lock import parse_lock
from releaser.site.site import Site
from releaser.system.process import Finished, failure
from releaser.system.text import LONGEST_LINE, clip, word

_COMPLAINT = re.compile(
    r"(?:warning|error): ((?:Failed to parse|Found both a `uv\.toml`|Required uv version|failed to open file|"
    r"invalid value).*)"
)
#: Lines of a file, which may have a secret; a key or the name of a table at the beginning has none.
_EXCERPT = re.compile(r"\s*(?:\d+ )?\s*\|(?:\s*([\w-]+(?=\s*=)|\[+[\w.-]+\]+))?")
#: A package that uv did not find in an index at all, in whichever version.
NOT_FOUND = re.compile(r"([\w.-]+) was not found in the (?:package registry|provided package locations)")
_REFUSED, _URL = re.compile(r"\b(401|403) (?:Unauthorized|Forbidden)"), re.compile(r"https?://[^\s()]+")
#: Advice by a part of uv's message about a lock that it cannot install on this host, or with these groups.
_UNFIT = {
    "enabled by default": "Leave that group out: `default_groups = false` in `[tool.releaser]`.",
    "supported environments": "Add this platform to `environments` in `[tool.uv]`, run `uv lock`, and commit both.",
    "wheel for the current platform": "Lock a version with a file for this host, or give the package a marker, such as "
    "`; sys_platform == 'win32'`. Then run `uv lock`, and commit both.",
    "Python requirement": "Make the venv with a Python that `requires-python` allows, or correct that.",
}
_MADE = ("options", "revision", "sdist", "wheels")  # of a lock


def find_problems(site: Site, tree: Path, *, mark: str, commit: str = "") -> list[Problem]:
    """Return a problem for each configuration that uv cannot read, or does not use: packages would come from elsewhere.

    In a tree that is not the checkout, `commit` is named. Nothing is written.
    """
    problems = []
    if site.uv_variables.get("UV_NO_CONFIG", "0").lower() not in ("0", "false"):
        message = "`UV_NO_CONFIG` is set: uv would not read `[tool.uv]` and `uv.toml`, with their indexes."
        problems.append(Problem("uv-settings", message, "Take it out of the environment: `unset UV_NO_CONFIG`."))
    output = site.run_uv("workspace", "dir", cwd=tree, mark=mark, check=False).output
    place = f" of commit {commit[:12]}" if commit else ""
    advice = f"Correct it; a setting of a newer uv needs that one, and this is {word(site.uv)}."
    return [*problems, *(Problem("uv-settings", message, advice) for message in list_complaints(output, place))]


def list_complaints(output: str, place: str = "") -> list[str]:
    """Return a sentence for each complaint of uv about its configuration, which `place` follows."""
    messages, lines = list[str](), output.splitlines()
    for number, line in enumerate(lines):
        if match := _COMPLAINT.match(line):
            details = itertools.takewhile(lambda each: each.startswith((" ", "- ")), lines[number + 1 :])
            words = [_read_detail(each) for each in details]
            message = f"uv complains about its configuration{place}: {' '.join(filter(None, [match[1], *words]))}"
            messages.append(f"{clip(message, LONGEST_LINE).rstrip('.')}.")
    return list(dict.fromkeys(messages))


def _read_detail(line: str) -> str:
    """Return a detail of a complaint; of an excerpt its key alone, if it begins with one."""
    if excerpt := _EXCERPT.match(line):
        return f"(`{excerpt[1]}`)" if excerpt[1] else ""
    return line.strip().removeprefix("- ")


def explain_refusal(output: str) -> tuple[str, str] | None:
    """Return a sentence about an index that refuses user and password, or is not trusted, and the advice; else None."""
    advice = "Correct user and password of the index: `UV_INDEX_NAME_USERNAME` and `UV_INDEX_NAME_PASSWORD`, with its"
    advice += " name in capitals, in `../.env`. The next run tries again."
    if "invalid peer certificate: UnknownIssuer" in output:
        own = "Name the file of its authority in `SSL_CERT_FILE`, also in the crontab, or set `system-certs = true` in"
        place = _URL.search(output)
        return f"uv does not trust the certificate of {place[0] if place else 'an index'}.", f"{own} `[tool.uv]`."
    for line in output.splitlines():
        status, url = _REFUSED.search(line), _URL.search(line)
        if status and url:
            name = NOT_FOUND.search(output)
            return f"The index {url[0]} refused ({status[1]}){f' to give {name[1]}' if name else ''}.", advice
    return None


def advise_on_lock(message: str) -> str:
    """Return what to do if uv cannot install a lock, by its message; another run, if nothing better is known."""
    return next((advice for words, advice in _UNFIT.items() if words in message), "The next run tries again.")


def is_conflict(finished: Finished) -> bool:
    """Return True if uv has found no versions that fit together; else a file, an index or a repository is at fault."""
    return finished.status == 1 and "No solution found when resolving dependencies" in finished.output


def require_fitting_lock(site: Site, tree: Path, python: str, *, mark: str) -> None:
    """Raise PreflightError if uv.lock in a tree does not fit its pyproject.toml; BuildError if uv does not answer.

    `exclude-newer` and the URL of an index may differ on the host on which a lock was made.
    """
    path = tree / "uv.lock"
    before = path.read_bytes()
    require_kept_bounds(before.decode())
    try:
        locked = site.run_uv("lock", "--python", python, cwd=tree, mark=mark, check=False)
        after = path.read_bytes()
    finally:
        path.write_bytes(before)
    if locked.status != 0:
        error, refusal = failure(locked), explain_refusal(locked.output)
        if not is_conflict(locked) or refusal is not None:
            refusal = refusal or (f"The lock could not be checked: {error.message}", "The next run tries again.")
            raise BuildError(*refusal, output=error.output)
        reason = error.message.rstrip(".")
    else:
        old, new = before.decode(), after.decode()
        if _find_facts(tomllib.loads(old)) == _find_facts(tomllib.loads(new)):
            return
        changes = describe_changes(compare_locks(parse_lock(old), parse_lock(new)))
        reason = f"`uv lock` would change {changes}" if changes else "its requirements differ"
    message = f"uv.lock does not fit pyproject.toml: {reason}."
    raise refuse("stale-lock", message, "Run `uv lock`, and commit it.")


def require_kept_bounds(text: str, *, may_rise: bool = False) -> None:
    """Raise PreflightError if a lock has a version that its own requirements exclude, which uv takes as it is.

    Two branches that merge without a conflict bring that. With `may_rise`, a version that is too low is none: an
    upgrade cures it. Bounds for some environments alone are passed over.
    """
    lock, content = parse_lock(text), tomllib.loads(text)
    try:
        for bound in _list_bounds(content):
            versions = lock.versions.get(bound["name"], ()) if {*bound} - {"extras"} == {"name", "specifier"} else ()
            version = next(iter(versions)) if len(versions) == 1 else ""  # several are for several environments
            broken = [] if not version or " " in version else _find_broken(bound["specifier"], version)
            if broken and not (may_rise and all(each.operator in (">=", ">") for each in broken)):
                message = f"uv.lock has {bound['name']} {version}, but pyproject.toml wants {bound['specifier']}."
                raise refuse("stale-lock", message, f"Run `uv lock -P {bound['name']}`, and commit it.")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"The requirements in uv.lock cannot be read: {type(error).__name__}: {error}."
        raise refuse("stale-lock", message, "Run `uv lock`, and commit it.") from error


def _list_bounds(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the constraints and overrides of a lock, and what its projects require, but for what is overridden."""
    manifest = content.get("manifest", {})
    overrides = manifest.get("overrides", [])
    overridden = {bound["name"] for bound in overrides}
    wanted = list[dict[str, Any]]()
    for package in content.get("package", ()):  # its metadata is there for local packages alone
        metadata = package.get("metadata", {})
        for bounds in (metadata.get("requires-dist", ()), *metadata.get("requires-dev", {}).values()):
            wanted += [bound for bound in bounds if bound["name"] not in overridden]
    return [*manifest.get("constraints", ()), *overrides, *wanted]


def _find_broken(specifier: str, version: str) -> list[Specifier]:
    return [each for each in SpecifierSet(specifier) if not each.contains(version, prereleases=True)]


def _find_facts(value: Any) -> Any:
    """Return what a lock says, but for how it was made, its files, and URLs of indexes."""
    if isinstance(value, dict):
        return {name: name == "registry" or _find_facts(entry) for name, entry in value.items() if name not in _MADE}
    return list(map(_find_facts, value)) if isinstance(value, list) else value
