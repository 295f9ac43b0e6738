"""What uv is called with: the arguments of each of its commands that releaser gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Specifiers = Mapping[str, str | None]
    #: By package, `*` for those that are not named; None is no limit.
    ExcludeNewer = Mapping[str, datetime | None]

# `lock --check` tells whether the lock fits pyproject.toml; uv says 1 if not, as of NoSolution.
LOCK_CHECK = ("lock", "--check")
COMPILED, NOT_LOCAL = "--compile-bytecode", "--no-install-local"


def lock_arguments(
    *, specifiers: Specifiers, packages: Iterable[str], exclude_newer: ExcludeNewer, no_build: Iterable[str] = ()
) -> list[str]:
    """Arguments of the `uv lock` that upgrades everything, and takes no source releases of the packages in `no_build`.

    `specifiers` maps a package to what its version must satisfy, such as `>=1.0,!=2.0`, which leaves no trace in the
    lock; None leaves a package as it is locked. With any, all of `packages`, those of the lock, are named one by one:
    `--upgrade` beside `--upgrade-package` lets uv 0.10 forget them (seen), and naming them all means the same.

    `exclude_newer` maps a package to the time before which its versions must have been uploaded. uv writes it into the
    lock; a plain `uv lock`, which is one with None for every package, takes it out again and keeps the versions (seen).
    Directories pass it, and what comes from an index that tells no times does not (seen).
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
    """Arguments with which uv takes nothing that was uploaded later, neither for a lock nor to build something with."""
    words = []
    for name, limit in sorted(exclude_newer.items()):
        time = f"{limit.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if limit is not None else "false"
        words += ["--exclude-newer", time] if name == "*" else ["--exclude-newer-package", f"{name}={time}"]
    return words


def newest_arguments(*, answer: str, python: Path, python_version: str) -> list[str]:
    """Arguments of the `uv pip compile` that finds the newest versions for a Python, whatever goes together."""
    return [
        "--no-deps", "--universal", "--no-header", "--no-annotate", "--python", str(python), "--python-version",
        python_version, "--output-file", answer, "pyproject.toml",
    ]  # fmt: skip


def pinned_lock_arguments(pins: Mapping[str, str]) -> list[str]:
    """Arguments of the `uv lock` that moves some packages to exact versions, and others only as far as these need it.

    A pin leaves no trace in the lock. An empty one stands for the newest version, as a commit cannot be asked for.
    Without pins, what is locked stays, as far as pyproject.toml admits it.
    """
    wanted = [f"{name}=={pins[name]}" if pins[name] else name for name in sorted(pins)]
    return ["lock", *(word for one in wanted for word in ("--upgrade-package", one))]


def sync_arguments(
    *, group: str | None, link_mode: str, compiled: bool = True, without: Iterable[str] = ()
) -> list[str]:
    """Arguments of the `uv sync` that installs everything but local packages, exactly as locked.

    `without` are default groups that are left out; uv refuses one that the lock does not have.
    """
    more = [COMPILED] if compiled else []
    return ["sync", "--frozen", NOT_LOCAL, *more, "--link-mode", link_mode, *_group(group, without)]


def reinstall_arguments(names: Iterable[str]) -> list[str]:
    """Arguments with which a `uv sync` installs packages again; it builds those that are local again."""
    return [word for name in sorted(names) for word in ("--reinstall-package", name)]


def left_out_arguments(names: Iterable[str]) -> list[str]:
    """Arguments with which a `uv sync` leaves out packages; uv takes names that the lock does not have."""
    return [word for name in sorted(names) for word in ("--no-install-package", name)]


def only_groups_arguments(
    groups: Iterable[str], *, present: Iterable[str], local: Iterable[str], link_mode: str
) -> list[str]:
    """Arguments of the `uv sync` that installs what these groups need, except for the packages that are `present`.

    The `local` packages of the lock are built again, for the reason that `local_install_arguments` tells, and none is
    editable: what is found by way of PYTHONPATH may not need `.pth` files.
    """
    return [
        "sync", "--frozen", "--no-editable", "--link-mode", link_mode,
        *(word for name in groups for word in ("--only-group", name)),
        *left_out_arguments(present),
        *reinstall_arguments(local),
    ]  # fmt: skip


def local_install_arguments(*, python: Path, requirements: Path, link_mode: str, compiled: bool = True) -> list[str]:
    """Arguments of the `uv pip install` that puts local packages, and nothing else, into an environment.

    `--reinstall` makes uv build them again: its cache does not see that a source file changed.
    """
    return [
        "pip", "install", "--python", str(python), "--no-deps", "--reinstall",
        *([COMPILED] if compiled else []), "--link-mode", link_mode, "--requirements", str(requirements),
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

    pip takes one with hashes for a constraints file only where all that is installed has one.
    """
    words = ["export", "--frozen", "--no-emit-local", "--no-annotate", "--no-header", *_group(group, without)]
    words += ["--format", "pylock.toml"] if pylock else []
    return words if hashes else [*words, "--no-hashes"]


def _group(group: str | None, without: Iterable[str]) -> list[str]:
    left_out = [word for name in without if name != group for word in ("--no-group", name)]
    return [*left_out, *(["--group", group] if group else [])]
