"""The arguments of each uv command that releaser runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Specifiers = Mapping[str, str | None]
    #: By package, `*` for all other packages; None is no limit.
    ExcludeNewer = Mapping[str, datetime | None]

# `lock --check` checks that the lock fits pyproject.toml; if not, the exit status is that of NoSolution, 1.
LOCK_CHECK = ("lock", "--check")
NOT_LOCAL = "--no-install-local"


def lock_arguments(
    *, specifiers: Specifiers, packages: Iterable[str], exclude_newer: ExcludeNewer, no_build: Iterable[str] = ()
) -> list[str]:
    """Arguments of the `uv lock` that upgrades everything, and takes no source releases of the packages in `no_build`.

    `specifiers` maps a package to the versions that it may have, such as `>=1.0,!=2.0`, which leaves no trace in the
    lock; None keeps the locked version. With any specifier, all of `packages`, those of the lock, are named one by one:
    with `--upgrade`, uv 0.10 forgets each `--upgrade-package` (seen), and naming all packages has the same effect.

    `exclude_newer` maps a package to the time before which its versions must have been uploaded. uv writes it into the
    lock; a plain `uv lock`, which is one with None for every package, removes it again and keeps the versions (seen).
    Directories pass the limit, and packages of an index without upload times do not (seen).
    """
    words = ["lock"]
    if not specifiers:
        words.append("--upgrade")
    else:
        for name in sorted({*packages, *specifiers}):
            specifier = specifiers.get(name, "")
            if specifier is not None:
                words += ["--upgrade-package", f"{name}{specifier}"]
    words += limit_arguments(exclude_newer)
    return [*words, *(word for name in sorted(no_build) for word in ("--no-build-package", name))]


def limit_arguments(exclude_newer: ExcludeNewer) -> list[str]:
    """Arguments with which uv ignores later uploads, both for a lock and for the packages that a build needs."""
    words = []
    for name, limit in sorted(exclude_newer.items()):
        time = f"{limit.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if limit is not None else "false"
        words += ["--exclude-newer", time] if name == "*" else ["--exclude-newer-package", f"{name}={time}"]
    return words


def newest_arguments(*, answer: str, python: Path, python_version: str) -> list[str]:
    """Arguments of the `uv pip compile` that finds the newest version of each package, whether compatible or not."""
    return [
        "--no-deps", "--universal", "--no-header", "--no-annotate", "--python", str(python), "--python-version",
        python_version, "--output-file", answer, "pyproject.toml",
    ]  # fmt: skip


def pinned_lock_arguments(pins: Mapping[str, str]) -> list[str]:
    """Arguments of the `uv lock` that moves some packages to exact versions, and others only if these need it.

    A pin leaves no trace in the lock. An empty pin stands for the newest version, as uv cannot be asked for a commit.
    Without pins, all locked versions stay, as far as pyproject.toml allows them.
    """
    wanted = [f"{name}=={pins[name]}" if pins[name] else name for name in sorted(pins)]
    return ["lock", *(word for name in wanted for word in ("--upgrade-package", name))]


def sync_arguments(*, group: str | None, link_mode: str, without: Iterable[str] = ()) -> list[str]:
    """Arguments of the `uv sync` that installs everything but local packages, exactly as locked.

    `without` are default groups to exclude; uv refuses a group that the lock does not have.
    """
    return ["sync", "--frozen", NOT_LOCAL, "--link-mode", link_mode, *_group(group, without)]


def reinstall_arguments(names: Iterable[str]) -> list[str]:
    """Arguments with which `uv sync` installs packages again; it builds local ones again."""
    return [word for name in sorted(names) for word in ("--reinstall-package", name)]


def exclude_arguments(names: Iterable[str]) -> list[str]:
    """Arguments with which `uv sync` skips packages; uv accepts names that the lock does not have."""
    return [word for name in sorted(names) for word in ("--no-install-package", name)]


def only_groups_arguments(
    groups: Iterable[str], *, present: Iterable[str], local: Iterable[str], link_mode: str
) -> list[str]:
    """Arguments of the `uv sync` that installs the packages that these groups need, except those that are `present`.

    The `local` packages of the lock are built again, for the reason in `local_install_arguments`. None is editable:
    `.pth` files do not work in a directory on PYTHONPATH.
    """
    return [
        "sync", "--frozen", "--no-editable", "--link-mode", link_mode,
        *(word for name in groups for word in ("--only-group", name)),
        *exclude_arguments(present),
        *reinstall_arguments(local),
    ]  # fmt: skip


def local_install_arguments(*, python: Path, requirements: Path, link_mode: str) -> list[str]:
    """Arguments of the `uv pip install` that installs only local packages into an environment.

    `--reinstall` makes uv build them again: its cache does not notice a changed source file.
    """
    return [
        "pip", "install", "--python", str(python), "--no-deps", "--reinstall",
        "--link-mode", link_mode, "--requirements", str(requirements),
    ]  # fmt: skip


def local_export_arguments(*, group: str | None, without: Iterable[str] = ()) -> list[str]:
    """Arguments of the `uv export` that lists the local packages of the lock that this group needs."""
    return [
        "export", "--frozen", "--only-emit-local", "--no-hashes", "--no-header", "--no-annotate",
        *_group(group, without),
    ]  # fmt: skip


def requirements_arguments(
    *, group: str | None, hashes: bool = True, without: Iterable[str] = (), pylock: bool = False
) -> list[str]:
    """Arguments of the `uv export` that writes a requirements file, or a pylock.toml, for people and tools without uv.

    pip accepts a file with hashes as constraints only if all installed packages have one.
    """
    words = ["export", "--frozen", "--no-emit-local", "--no-annotate", "--no-header", *_group(group, without)]
    words += ["--format", "pylock.toml"] if pylock else []
    return words if hashes else [*words, "--no-hashes"]


def _group(group: str | None, without: Iterable[str]) -> list[str]:
    excluded = [word for name in without if name != group for word in ("--no-group", name)]
    return [*excluded, *(["--group", group] if group else [])]
