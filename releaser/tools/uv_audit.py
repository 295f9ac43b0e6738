"""Drives `uv audit`, which asks a vulnerability service about the packages of a lock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from releaser.errors import ToolError, error_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from releaser.system.process import Finished, Runner


FOUND = 1  # exit status of `uv audit`; see `run_audit`
_NAME = "releaser-stands-in"
# How to reach the service, and what the project has said of vulnerabilities to uv itself.
_SETTINGS = ("system-certs", "native-tls", "allow-insecure-host", "http-proxy", "https-proxy", "no-proxy")
_AUDIT_SETTINGS = ("ignore", "ignore-until-fixed")


def audit_arguments(*, service: str | None) -> list[str]:
    """Arguments of the `uv audit` that prints JSON; `service` is a URL, None what uv asks by default."""
    words = ["audit", "--frozen", "--preview-features", "audit-command,json-output", "--output-format", "json"]
    return words + (["--service-url", service] if service else [])


def write_stand_in(tree: Path, packages: Iterable[tuple[str, str]], uv_table: Mapping[str, Any]) -> None:
    """Write a project into the empty directory `tree` that depends on exactly these packages (name and version).

    `uv audit` asks about all groups, extras and platforms of a lock, also about local packages, and asks the index
    about each (uv 0.13.8, seen); in the lock written here nothing stands but what is to be asked about, and the index
    is an empty directory. Of the project's own `[tool.uv]` (`uv_table`) only what concerns the question comes along.
    Raises OSError.
    """
    lines = ["[project]", f'name = "{_NAME}"', 'version = "0"', 'requires-python = ">=3.8"', "", "[tool.uv]"]
    lines += _plain(uv_table, _SETTINGS)
    lines += ["", "[tool.uv.workspace]", "members = []"]  # else a project in a directory above might be looked at
    audit = uv_table.get("audit")
    ignored = _plain(audit, _AUDIT_SETTINGS) if isinstance(audit, dict) else []
    lines += ["", "[tool.uv.audit]", *ignored] if ignored else []  # of which an older uv would know nothing
    (tree / "pyproject.toml").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (tree / "uv.lock").write_text(_lock_text(packages), encoding="utf-8")


def _lock_text(packages: Iterable[tuple[str, str]]) -> str:
    lines, names = ["version = 1", 'requires-python = ">=3.8"'], []
    for name, version in packages:
        pin = f"name = {json.dumps(name)}, version = {json.dumps(version)}"
        lines += ["", "[[package]]", *pin.split(", "), 'source = { registry = "." }']
        names.append(f'    {{ {pin}, source = {{ registry = "." }} }},')
    root = ["", "[[package]]", f'name = "{_NAME}"', 'version = "0"', 'source = { virtual = "." }']
    return "\n".join([*lines, *root, "dependencies = [", *names, "]", ""])


def _plain(table: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """Write settings as TOML, which takes what JSON has for strings, truth values and lists of strings."""
    return [f"{key} = {json.dumps(table[key])}" for key in keys if _is_plain(table.get(key))]


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) and item.isascii() for item in value)
    return isinstance(value, bool) or (isinstance(value, str) and value.isascii())


def run_audit(runner: Runner, executable: Path, tree: Path, *, service: str | None, timeout: float) -> Finished:
    """Run `uv audit` on the project in `tree`, within `timeout` seconds.

    Its exit status (uv 0.13.8, measured): 0 nothing is known of any package; 1 vulnerabilities were found; 2 it could
    not find out, as the service cannot be reached, answers with a bad status or with what is not the OSV form, or as
    this uv cannot audit. Raises ToolError for any but 0 and 1, and when it takes too long.
    """
    env = runner.neutral
    # uv would wait 30 s for each answer, and ask three times more when there is none (uv 0.13.8: 11 s if refused).
    env |= {"UV_HTTP_TIMEOUT": str(max(1, int(timeout))), "UV_HTTP_RETRIES": "1"}
    words: list[str | Path] = [executable, "--no-progress", "--color", "never", *audit_arguments(service=service)]
    finished = runner.run(words, cwd=tree, env=env, timeout=timeout, check=False)
    if finished.returncode not in (0, FOUND):
        raise _failure(finished)
    return finished


def _failure(finished: Finished) -> ToolError:
    if "unrecognized subcommand 'audit'" in finished.stderr or "unexpected argument '--" in finished.stderr:
        return ToolError("this uv is too old for it", advice="Upgrade uv.", returncode=finished.returncode)
    reason = error_line(finished.output) or f"uv audit ended with status {finished.returncode}"
    return ToolError(reason, output=finished.output, returncode=finished.returncode)
