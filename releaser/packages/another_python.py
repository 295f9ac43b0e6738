"""Another Python for a site: the same versions where they have builds for it; the others move up within the rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

from releaser.errors import BuildError, ToolError, refuse
from releaser.packages.changes import compare_versions, find_older, name_bump
from releaser.packages.lock import Lock, parse_lock
from releaser.packages.resolve import LiveVenv, Plan, choose_python, find_unfit, group_arguments, resolve
from releaser.packages.rules import Rules
from releaser.releases.release import PackageChange, Release
from releaser.site.site import Site
from releaser.system.text import join_few

Versions: TypeAlias = Mapping[str, frozenset[str]]
_MOST_QUESTIONS = 10  # to uv, for one plan


def explain_python(live: Release, venv: LiveVenv, plan: Plan) -> str:
    """Return why a plan has another Python than the live release was built on; empty if it has the same one."""
    before, now, after = live.manifest.key.python, venv.python_version, plan.python_version
    if Path(plan.python).is_relative_to(live.venv):
        return f"Python {before} was replaced by {now}; built on {now}." if now != before else ""
    if not now:
        return f"Python {before} was removed; built on {after}."
    where = f" of `{plan.python}`" if now == after else ""
    return f"Python {after}{where} is asked for, in the place of {now}; built on {after}."


def keep_versions(rules: Rules, installed: Mapping[str, str], lock: Lock, moving: Versions) -> Rules:
    """Return the rules by which packages stay as they are in a lock, or live if that is newer.

    But for those that a person names, and those that are `moving`, since these versions of them have no build.
    """
    names = set(lock.names) - rules.alone - moving.keys()
    kept = {name for name in names & installed.keys() if _is_newer(installed[name], lock.versions[name])}
    skipped = {name: rules.skipped.get(name, frozenset()) | versions for name, versions in moving.items()}
    return msgspec.structs.replace(
        rules,
        levels={**rules.levels, **dict.fromkeys(names - kept, "none")},
        kept=rules.kept | kept,
        skipped={**rules.skipped, **skipped},
    )


def _is_newer(version: str, others: Iterable[str]) -> bool:
    return all(name_bump(other, version) in ("major", "minor", "patch") for other in others)


def plan_stages(  # noqa: PLR0913 - all that a resolution needs
    site: Site, tree: Path, live: LiveVenv, rules: Rules, newest: Plan, committed: bytes, *, mark: str
) -> list[Plan]:
    """Return the plans to try on another Python: with the versions of the committed lock, then the `newest` one.

    Raises BuildError if neither can be installed.
    """
    (tree / "uv.lock").write_bytes(committed)
    try:
        same = resolve_same(site, tree, live, rules, {}, mark=mark)
    except BuildError as error:
        (tree / "uv.lock").write_text(newest.lock_text, encoding="utf-8")
        try:
            require_files(site, tree, newest.python, mark=mark)
        except BuildError:
            raise error from None
        return [newest]
    return [same] if same.lock.sha256 == newest.lock.sha256 else [same, newest]


def resolve_same(site: Site, tree: Path, live: LiveVenv, rules: Rules, moving: Versions, *, mark: str) -> Plan:
    """Return a plan for another Python with the versions that the lock of a tree has, or live ones that are newer.

    Those without a build for it, such as those in `moving`, move up within the rules. Raises BuildError if the rules
    have no version of them.
    """
    path = tree / "uv.lock"
    text = path.read_text(encoding="utf-8")
    lock, moving = parse_lock(text), dict(moving)
    while True:
        path.write_text(text, encoding="utf-8")
        narrow = keep_versions(rules, live.installed, lock, moving)
        try:
            if moving or narrow.kept != rules.kept:
                plan = resolve(site, tree, live, narrow, mark=mark)
            else:  # the index is not asked
                plan = Plan(lock, text, *choose_python(site, tree, live, mark=mark))
            require_files(site, tree, plan.python, mark=mark)
            if any(name in moving for name in find_older(lock, plan.lock)):
                raise BuildError("only older versions fit.")
        except BuildError as error:
            unfit = {name: version for name, version, _ in find_unfit(error.output)}
            if (
                all(version in moving.get(name, ()) for name, version in unfit.items())
                or len(moving) >= _MOST_QUESTIONS
            ):
                raise _explain_moving(moving, error) from error
            moving |= {name: moving.get(name, frozenset()) | {version} for name, version in unfit.items()}
        else:
            # What is newer is for the next update.
            return msgspec.structs.replace(plan, changes=_find_moved(live.installed, plan.lock) or None, skipped=())


def _find_moved(installed: Mapping[str, str], lock: Lock) -> tuple[PackageChange, ...]:
    """Return the installed packages that have another version in a lock; uv compares no venv of another Python."""
    names = [name for name in lock.names if name in installed and installed[name] not in lock.versions[name]]
    return compare_versions(installed, {**installed, **{name: max(lock.versions[name]) for name in names}}, lock.local)


def _explain_moving(moving: Versions, error: BuildError) -> BuildError:
    """Return the error of a plan for which some versions cannot stay."""
    if not moving:
        return error
    names = join_few([f"{name} {', '.join(sorted(versions))}" for name, versions in sorted(moving.items())])
    message = f"{names} has no build for this Python, and no newer version is within the rules: {error.message}"
    advice = "Set `python` to one that has builds, or allow a newer version: see `upgrade`, and what is on hold."
    return BuildError(message, advice, output=error.output)


def require_files(site: Site, tree: Path, python: str, *, mark: str) -> None:
    """Raise BuildError, with the answer of uv, if a package of the lock of a tree has no file for an interpreter."""
    words = ["sync", "--frozen", "--dry-run", *group_arguments(site), "--python", python]
    try:
        site.run_uv(*words, cwd=tree, mark=mark, variables={"UV_PROJECT_ENVIRONMENT": str(tree / ".no-venv")})
    except ToolError as error:
        advice = "Set `python` to one that has builds, or commit a lock that fits: `uv lock --upgrade`."
        raise BuildError(f"The lock cannot be installed here: {error.message}", advice, output=error.output) from error


def require_lasting(site: Site, tree: Path, live: LiveVenv, plan: Plan, *, mark: str) -> None:
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
