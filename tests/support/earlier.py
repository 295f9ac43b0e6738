"""The state of a site as earlier versions of releaser have written it."""

import json
from datetime import datetime, timedelta
from typing import Any

from tests.support.sites import SampleSite


def blocks_as_before(site: SampleSite, *, unfinished: bool = False) -> None:
    """Put the table of blocks into the two files that earlier versions had in its place.

    `unfinished`: the search for what broke the tests of each candidate was cut off.
    """
    path = site.state_dir / "blocks.json"
    quarantine: dict[str, list[Any]] = {"candidates": [], "versions": [], "commits": []}
    holds: list[Any] = []
    for one in json.loads(path.read_text(encoding="utf-8"))["entries"]:
        if one["what"] == "candidate":
            entry = _pick(one, "key", "release", "reason", "sick")
            quarantine["candidates"].append({**entry, "unfinished": unfinished})
        elif one["what"] == "commit":
            quarantine["commits"].append(_pick(one, "commit", "code_key", "subject", "reason", "is_suspect"))
        else:
            names = ("name", "by", "reason", "version", "release", "python", "output", "tests", "together", "commit")
            until = datetime.fromisoformat(one["until"]) - timedelta(days=7) if one["until"] else None
            tried_at = until.isoformat() if until else ""
            hold = {**_pick(one, *names), "code": one["code_key"], "tried_at": tried_at}
            (quarantine["versions"] if one["by"] == "rollback" else holds).append(hold)
    for name, content in (("quarantine.json", quarantine), ("holds.json", {"entries": holds})):
        if any(content.values()):
            text = json.dumps({"version": 2, **content}, indent=1)
            (site.state_dir / name).write_text(f"{text}\n", encoding="utf-8")
    path.unlink()


def _pick(block: dict[str, Any], *names: str) -> dict[str, Any]:
    return {**{name: block[name] for name in names}, "at": block["since"]}
