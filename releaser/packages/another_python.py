"""Another Python for a site: the same versions where they have builds for it; the others move up within the rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from releaser.errors import refuse
from releaser.packages.changes import compare_locks, find_newest
from releaser.packages.lock import Lock, read_lock
from releaser.packages.resolve import LiveVenv, Plan, choose_python, resolve
from releaser.packages.rules import Rules
from releaser.releases.release import Release
from releaser.site.site import Site


def explain_python(live: Release, venv: LiveVenv, plan: Plan) -> str:
    """Return why a plan has another Python than the live release was built on; empty if it has the same one."""
    before, now, after = live.manifest.key.python, venv.python_version, plan.python_version
    if Path(plan.python).is_relative_to(live.venv):
        return f"Python {before} was replaced by {now}; built on {now}." if now != before else ""
    if not now:
        return f"Python {before} was removed; built on {after}."
    where = f" of `{plan.python}`" if now == after else ""
    return f"Python {after}{where} is asked for, in the place of {now}; built on {after}."


def choose_kept_versions(rules: Rules, installed: Mapping[str, str], lock: Lock) -> dict[str, str]:
    """Return the versions at which packages stay: those of a lock, or live if that is newer."""
    names = set(lock.names) - rules.alone - rules.kept
    free = {name: lock.versions[name] - rules.skipped.get(name, frozenset()) for name in names}
    return {name: rules.lowered.get(name) or find_newest(free[name], installed.get(name, "0")) for name in names}


def resolve_same_versions(site: Site, tree: Path, live: LiveVenv, rules: Rules, *, mark: str) -> Plan:
    """Return a plan for another Python with the versions that the lock of a tree has, or live ones that are newer.

    Those without a build for it move up within the rules; what else is newer is for the next update. Raises BuildError
    if the rules have no version of them.
    """
    stays = choose_kept_versions(rules, live.installed, read_lock(tree / "uv.lock"))
    plan = resolve(site, tree, live, msgspec.structs.replace(rules, stays=stays), mark=mark)
    changes = compare_locks(read_lock(live.lock), plan.lock)  # uv compares no venv of another Python
    return msgspec.structs.replace(plan, changes=changes or None, skipped=(), holds=())


def require_lasting_python(site: Site, tree: Path, live: LiveVenv, plan: Plan, *, mark: str) -> None:
    """Raise PreflightError if the next update would leave the Python of a plan for one that the project asks for.

    A venv of it is made in the tree, and uv asked as for an update. Raises BuildError.
    """
    venv = tree / ".asked-venv"
    site.run_uv("venv", "--no-project", "--python", plan.python, venv, cwd=tree, mark=mark)
    asked = msgspec.structs.replace(live, venv=venv, python_version=plan.python_version)
    python, version = choose_python(site, tree, asked, mark=mark)
    if not Path(python).is_relative_to(venv):
        message = f"The next update would go back to Python {version}: the project or the setting `python` asks for it."
        raise refuse("asked-python", message, "Change that, such as `.python-version`; then run `releaser update`.")
