"""The rows of `releaser list`, read straight from the manifests.

This command is what people type most, so it must start at once: nothing here imports dataclasses, click or tomllib.
"""

from __future__ import annotations

import errno
import json
import os
import time
from datetime import datetime

from releaser.releases import files, leases

TYPE_CHECKING = False  # importing `typing` would take a while
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Row = dict[str, object]

# What must be in a manifest and in a ledger, lest the store leave them out.
_TEXT = (str, type(None))
_MANIFEST: dict[str, type | tuple[type, ...]] = {
    "id": str, "sequence": int, "created_at": str, "origin": str, "python": str, "group": _TEXT, "lock_sha256": str,
    "dependencies_key": str, "code_key": str, "commit": _TEXT, "previous": _TEXT, "tests": str, "changes": list,
    "size_bytes": int, "fingerprint": str, "overrides": list, "interpreter": (dict, type(None)), "replaces": _TEXT,
    "link_mode": str, "subject": str, "staging_copied": list, "staging_linked": list, "tests_run": (int, type(None)),
}  # fmt: skip
# What earlier releasers did not write.
_LATER: dict[str, object] = {"fingerprint": "", "overrides": [], "interpreter": None, "replaces": None, "link_mode": ""}
_INTERPRETER: dict[str, type | tuple[type, ...]] = {"executable": str, "seen": dict}
_COST: dict[str, type | tuple[type, ...]] = {
    "own_bytes": int, "shared_bytes": int, "inodes": int, "peak_bytes": int, "among": list,
}  # fmt: skip
_LEDGER: dict[str, type | tuple[type, ...]] = {"marks": dict, "activations": list, "pins": list, "last_sequence": int}


def rows(state_dir: str, link: str) -> list[Row]:
    """Return one object a release as `list --json` prints it, newest first by the record."""
    directory = os.path.join(state_dir, "releases")
    ledger = _ledger(os.path.join(state_dir, "ledger.json"))
    live = _live(link, directory)
    locks = leases.once()
    found = [row for name in _names(directory) if (row := _row(directory, name, ledger, live, locks))]
    _add_costs(found, _noted(state_dir))
    found.sort(key=_sequence, reverse=True)
    for row in found:
        del row["sequence"]
    return found


def is_in_order(state_dir: str, root: str, link: str) -> bool:
    """Whether the state is this project's own, and the link leads where releaser has let it; else, people are told."""
    ledger = _ledger(os.path.join(state_dir, "ledger.json"))
    owner = _json(os.path.join(state_dir, "project.json"))
    expected = {"version": 1, "root": os.path.relpath(root, state_dir), "link": os.path.relpath(link, state_dir)}
    activations = _collection(ledger.get("activations"))
    return owner == expected and activations[-1:] == [_live(link, os.path.join(state_dir, "releases"))]


def _sequence(row: Row) -> int:
    number = row["sequence"]
    return number if isinstance(number, int) else 0


def _names(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if not name.startswith(".")]
    except FileNotFoundError:
        return []


def _row(
    directory: str, name: str, ledger: dict[str, object], live: str | None, locks: Callable[[], leases.Locks]
) -> Row | None:
    place = os.path.join(directory, name)
    manifest = _json(os.path.join(place, "manifest.json"))
    if manifest is None:
        return _unfinished(place, name) if os.path.isdir(os.path.join(place, "venv")) else None
    if manifest.get("id") != name or not _is_whole({**_LATER, **manifest}, _MANIFEST):
        return None
    users, damage = leases.users(place, locks), _damage(place, manifest)
    return {
        "id": name,
        "state": _state(name, manifest, ledger, live),
        "live": name == live,
        "pinned": name in _collection(ledger.get("pins")),
        "created_at": manifest.get("created_at"),
        "python": manifest.get("python"),
        "commit": manifest.get("commit"),
        "subject": manifest.get("subject", ""),
        "lock_sha256": manifest.get("lock_sha256"),
        "changes": manifest.get("changes"),
        "size_bytes": manifest.get("size_bytes"),
        "own_bytes": None,
        "in_use_by": [process.pid for process in users],
        "processes": [process.as_json() for process in users],
        "path": os.path.join(place, "venv"),
        "broken": damage is not None,
        "damage": damage,
        "sequence": manifest.get("sequence"),
    }


def _damage(place: str, manifest: dict[str, object]) -> str | None:
    """Say what of a release is not as it was sealed; what it takes to tell is imported only if it looks different."""
    interpreter = manifest.get("interpreter")
    known: dict[str, Any] = interpreter if isinstance(interpreter, dict) else {"executable": "", "seen": {}}
    if _is_whole(known, _INTERPRETER) and files.is_as_sealed(
        place,
        fingerprint=str(manifest.get("fingerprint", "")),
        lock_sha256=str(manifest["lock_sha256"]),
        executable=str(known["executable"]),
        seen=known["seen"],
    ):
        return None
    from releaser.releases.soundness import damage_in

    return damage_in(place)


def _noted(state_dir: str) -> dict[object, object]:
    """Return what is noted of what releases take."""
    noted = (_json(os.path.join(state_dir, "disk-use.json")) or {}).get("releases")
    return noted if isinstance(noted, dict) else {}


def _add_costs(found: list[Row], noted: dict[object, object]) -> None:
    """Say of each complete release what it takes on its own, as `disk_use` does."""
    complete = [row for row in found if row["size_bytes"] is not None]
    present = {row["id"] for row in complete}
    for row in complete:
        cost = noted.get(row["id"])
        if (
            isinstance(cost, dict)
            and _is_whole(cost, _COST)
            and (not cost["shared_bytes"] or present >= {*map(str, cost["among"])})
        ):
            row["own_bytes"] = cost["own_bytes"]
        else:
            row["own_bytes"] = _own_bytes(os.path.dirname(str(row["path"])))


def _own_bytes(directory: str) -> int:
    """Look at all the files, as what is noted does not hold any more: which is seldom so."""
    from pathlib import Path

    from releaser.releases.cost import measure

    return measure(Path(directory)).own_bytes


def _unfinished(place: str, name: str) -> Row:
    """A candidate that is being built at this moment, or that a crash left."""
    return {
        "id": name, "state": "candidate", "live": False, "pinned": False, "created_at": _time_in(name),
        "python": None, "commit": None, "subject": "",
        "lock_sha256": None, "changes": [], "size_bytes": None, "own_bytes": None, "in_use_by": [],
        "processes": [], "path": os.path.join(place, "venv"), "broken": False, "damage": None, "sequence": 1 << 60,
    }  # fmt: skip


def _time_in(name: str) -> str:
    """Turn the id `20261120T061200Z` into an ISO time."""
    return f"{name[:4]}-{name[4:6]}-{name[6:8]}T{name[9:11]}:{name[11:13]}:{name[13:15]}+00:00"


def _state(name: str, manifest: dict[str, object], ledger: dict[str, object], live: str | None) -> str:
    if name == live:
        return "live"
    if manifest.get("tests") == "failed":
        return "failed"
    marks = ledger.get("marks")
    if manifest.get("origin") == "override" and not isinstance(marks, dict):
        return "candidate"
    return str(marks.get(name, "candidate")) if isinstance(marks, dict) else "good"


def _collection(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _live(link: str, directory: str) -> str | None:
    try:
        target = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
    except OSError:
        return None
    release, venv = os.path.split(target)
    return os.path.basename(release) if venv == "venv" and os.path.dirname(release) == directory else None


def _ledger(path: str) -> dict[str, object]:
    """Return the ledger; an empty one where the store would make one from the manifests. Raises PermissionError."""
    if os.path.exists(path) and not os.access(path, os.R_OK):  # what is good and what is bad would be a guess
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    ledger = _json(path) or {}
    return ledger if _is_whole(ledger, _LEDGER) and any(ledger[key] for key in _LEDGER) else {}


def _is_whole(content: dict[str, object], kinds: dict[str, type | tuple[type, ...]]) -> bool:
    return all(isinstance(content.get(key, ...), kind) for key, kind in kinds.items())


def _json(path: str) -> dict[str, object] | None:
    """Return what a state file holds; nothing at all if it is not one of this version, None if it is not there."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get("version") == 1 else {}


_SUBJECT = 40  # characters of the first line of a commit's message
COLUMNS = ("", "RELEASE", "STATE", "AGE", "PYTHON", "CHANGES", "SIZE", "OWN", "IN USE BY", "COMMIT")


def cells(row: Row, now: float) -> list[str]:
    """Turn a row into the words of a table, in the order of `COLUMNS`."""
    changes = row["changes"]
    users = row["in_use_by"]
    state = str(row["state"]) + (", pinned" if row["pinned"] else "") + (", broken" if row["broken"] else "")
    return [
        "*" if row["live"] else "",
        str(row["id"]),
        state,
        age(str(row["created_at"]), now),
        str(row["python"] or "-"),
        str(len(changes)) if isinstance(changes, list) else "-",
        size(row["size_bytes"]),
        size(row["own_bytes"]),
        " ".join(map(str, users)) if isinstance(users, list) and users else "-",
        f"{str(row['commit'])[:7]} {str(row['subject'])[:_SUBJECT]}".rstrip() if row["commit"] else "-",
    ]


def notes(found: list[Row]) -> list[str]:
    """Say what is broken of releases, and of each process that uses one of them what it is, a line each."""
    lines = [f"{row['id']} is broken: {row['damage']}" for row in found if row["broken"]]
    for row in found:
        for process in _collection(row["processes"]):
            if isinstance(process, dict):
                who = f"{process['pid']} of {process['user']}"
                lines.append(f"{row['id']} is used by {who} since {process['since']}: {process['command']}")
    return lines


def as_text(found: list[Row], now: float | None = None) -> str:
    """Return the table for people, without any drawing: aligned columns."""
    moment = time.time() if now is None else now
    lines = [list(COLUMNS), *(cells(row, moment) for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*table, *notes(found)])


def age(created_at: str, now: float) -> str:
    """Say how long ago an ISO time was: `40 s`, `5 min`, `3 h`, `12 d`."""
    try:
        began = datetime.fromisoformat(created_at).timestamp()
    except ValueError:
        return "-"
    seconds = max(0, int(now - began))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def size(value: object) -> str:
    """Write a number of bytes for people."""
    if not isinstance(value, int):
        return "-"
    amount = float(value)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def as_json(found: list[Row]) -> str:
    """Return the rows as `list --json` prints them."""
    return json.dumps(found, indent=2)
