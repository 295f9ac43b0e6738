"""Which lock is worth a commit, and the message of that commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from releaser.checkout.repository import Repository, find_export_problems
from releaser.errors import require
from releaser.packages.changes import compare_versions, find_older
from releaser.packages.lock import Lock, parse_lock, read_lock
from releaser.packages.resolve import group_arguments
from releaser.releases.release import EXPORT, Change
from releaser.site.site import Site
from releaser.system.files import replace_file
from releaser.system.text import count


def is_worth_commit(repository: Repository, commit: str, path: str, lock: Lock, *, may_lower: bool) -> bool:
    """Return True if a lock is worth a commit on top of `commit`.

    It has other packages than the committed one, and, unless it may lower them, none that is older there: a host that
    merely holds a version keeps its lock to itself.
    """
    text = repository.file_at(commit, path)
    if text is None:
        return True
    committed = parse_lock(text, f"uv.lock of {commit[:12]}")
    if committed.versions == lock.versions:
        return False
    return may_lower or not find_older(committed, lock)


def compare_locks(before: Lock | None, after: Lock) -> tuple[Change, ...]:
    """Return the packages that differ between two locks; several versions of one are joined."""
    old, new = (
        {name: ", ".join(sorted(versions)) for name, versions in lock.versions.items()} if lock else {}
        for lock in (before, after)
    )
    return compare_versions(old, new, after.local)


def prepare_commit(site: Site, repository: Repository, lockfile: Path, command: str, *, mark: str) -> str:
    """Return the message of the commit that puts the lock of a release on HEAD; its export is made if it has none.

    Raises PreflightError if either is no lock, and ToolError.
    """
    if not (lockfile.parent / EXPORT).exists():
        make_export(site, site.paths.project, lockfile.parent, mark=mark)
    before = repository.file_at("HEAD", site.paths.lockfile_in_tree)
    return describe_commit(compare_locks(parse_lock(before) if before else None, read_lock(lockfile)), command)


def make_export(site: Site, tree: Path, release: Path, *, mark: str) -> None:
    """Put the export of the lock in a tree into a release, if the site wants one. Raises PreflightError and ToolError.

    uv names no URL of an index there, unless it is asked to.
    """
    require(find_export_problems(site, tree))
    if site.export is not None:
        words = ["export", "--quiet", "--frozen", "--format", "requirements.txt", *group_arguments(site)]
        text = site.run_uv(*words, cwd=tree, mark=mark).stdout.replace("uv --color never ", "uv ", 1)
        replace_file(release / EXPORT, text.encode(errors="surrogateescape"))


def describe_commit(changes: Sequence[Change], command: str) -> str:
    """Return a message for these changes."""
    verb = "Roll back" if command == "rollback" else "Update"
    lines = [f"{verb} {count(len(changes), 'package')}", ""] if changes else ["Update uv.lock", ""]
    lines += [f"{change.name} {change.old or 'none'} -> {change.new or 'none'}" for change in changes]
    return "\n".join(lines).rstrip() + "\n"
