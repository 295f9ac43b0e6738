"""Locks of sites that run together, by `--all` or `--sites`: the index is asked once about each package.

Sites with the same dependencies, lock, indexes and variables get the answer of the first one. Others use uv's cache for
the packages that an earlier site has asked about, as long as the index lets clients keep its answers; PyPI allows ten
minutes. No answer counts for longer than that, as a night with updates takes hours. All packages must come from indexes
on the web, as uv's cache does not notice changed files.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from releaser.errors import ToolError
from releaser.system import common
from releaser.system.environment import of_uv
from releaser.system.files import read_file, read_if_there
from releaser.tools.uv import Locked, NoSolution

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence, Set
    from pathlib import Path

    from releaser.locks.lock import LockFile
    from releaser.tools.uv import Uv

_LASTS = 600.0  # seconds in which an answer counts
_FAILED = ""  # in place of a package, of an index that did not answer: then no site waits for another one
_UPGRADE = "--upgrade"  # makes uv ask again about every package
_FILES = ("pyproject.toml", "uv.toml")
_ELSEWHERE = ("find-links", "sources", "workspace", "cache-keys")  # keys of [tool.uv] that name files or repositories


def lock_together(uv: Uv, tree: Path, words: Sequence[str], before: LockFile, *, python: Path) -> Locked | NoSolution:
    """Lock in `tree`, whose lock is `before`, as `uv.lock` does. Raises ToolError."""

    def ask(words: Sequence[str]) -> Locked | NoSolution:
        return uv.lock(tree, words, python=python)

    texts = [read_if_there(tree / name) or b"" for name in _FILES]
    if not common.is_shared() or _UPGRADE not in words or not _is_from_web(tree, texts, before):
        return ask(words)
    environ = of_uv(uv.runner.environ, tree, passes=uv.runner.passes)
    variables = {name: value for name, value in environ.items() if not name.lstrip("_").startswith("RELEASER_")}
    where = (sorted(variables.items()), sorted(uv.variables.items()), str(uv.executable))
    with common.asking("lock", where, list(words), str(python), texts, before.data) as answer:
        if answer is None:
            return ask(words)
        known = json.loads(answer.known or b"{}")
        if known.get("at", -_LASTS) > time.monotonic() - _LASTS:
            (tree / "uv.lock").write_text(known["lock"], encoding="utf-8")
            return Locked(output=known["output"])
        with common.asking("asked", where, _indexes(texts)) as names:
            now = time.monotonic()  # the same clock in all processes
            times = json.loads((names and names.known) or b"{}")
            asked = {name: at for name, at in times.items() if at > now - _LASTS}
            if _FAILED not in asked:
                try:
                    found = _lock_by_cache(ask, tree / "uv.lock", words, before, asked.keys())
                except ToolError:
                    if names:
                        names.keep(json.dumps({_FAILED: now}).encode())
                    raise
                if names and isinstance(found, Locked):
                    names_now = before.names | _names_in(tree / "uv.lock")
                    names.keep(json.dumps({**dict.fromkeys(names_now, now), **asked}).encode())
                if isinstance(found, Locked):
                    lock = read_file(tree / "uv.lock").decode()
                    kept = {"at": min([now, *asked.values()]), "output": found.output, "lock": lock}
                    answer.keep(json.dumps(kept).encode())
                return found
    return ask(words)


def _lock_by_cache(
    ask: Callable[[Sequence[str]], Locked | NoSolution],
    lock: Path,
    words: Sequence[str],
    before: LockFile,
    asked: Set[str],
) -> Locked | NoSolution:
    """Lock without asking again about the packages that another site has asked the same indexes about."""
    lock = lock.resolve()  # a symlink stays one
    due = before.names - asked
    plain = [word for word in words if word != _UPGRADE]
    while asked:
        lock.unlink(missing_ok=True)  # without a lock, uv takes the newest versions, and asks about `due` alone
        again = [word for name in sorted(due) for word in ("--refresh-package", name)]
        found = ask([*plain, *again])
        if isinstance(found, NoSolution):
            break
        further = _names_in(lock) - asked - due
        if not further:
            return found
        due |= further
    lock.write_bytes(before.data)
    return ask(words)


def _names_in(lock: Path) -> frozenset[str]:
    from releaser.locks.lock import LockFile

    return LockFile.parse(read_file(lock)).names


def _tables(texts: Sequence[bytes]) -> list[Mapping[str, Any]]:
    import tomli

    pyproject, own = (tomli.loads(text.decode()) for text in texts)
    return [pyproject.get("tool", {}).get("uv", {}), own]


def _indexes(texts: Sequence[bytes]) -> object:
    return [json.dumps(table, sort_keys=True, default=str) for table in _tables(texts)]


def _is_from_web(tree: Path, texts: Sequence[bytes], lock: LockFile) -> bool:
    """True if all packages but the project itself come from indexes on the web, and nothing above the tree counts."""
    try:
        tables = _tables(texts)
        urls = [str(index["url"]) for table in tables for index in table.get("index", ())]
        urls += [str(table[name]) for table in tables for name in ("index-url", "default-index") if name in table]
        urls += [str(url) for table in tables for url in table.get("extra-index-url", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    sources = [package.get("source", {}) for package in lock.packages if package is not lock.root]
    urls += [str(source.get("registry", "")) for source in sources]
    is_static = b"dynamic" not in texts[0] and not any(name in table for table in tables for name in _ELSEWHERE)
    above = (place / name for place in tree.parents for name in _FILES)
    return (
        bool(lock.packages)
        and is_static
        and all(url.startswith(("https://", "http://")) for url in urls)
        and not any(map(os.path.lexists, above))
    )
