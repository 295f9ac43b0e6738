"""The staging tree: the commit that is to go live, checked out beside the checkout that visitors see.

Packages are resolved, built and tested there. The checkout itself stays as it is until the release goes live.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from releaser.errors import BuildError, ToolError
from releaser.site.site import Staged
from releaser.system.files import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.checkout.pull import Target
    from releaser.report import RunLog
    from releaser.site.settings import Settings
    from releaser.site.site import Pulled, Site
    from releaser.system.process import Runner
    from releaser.tools.git import Git


_UPWARDS = re.compile(r"\.\.(?:/\.\.)*")  # on the way out of the project, in paths
SMALL = 1024 * 1024  # bytes; an untracked file that is larger is linked, and not copied
# Never of any use to the tests of another commit, and some would be written to.
_CACHES = (
    "__pycache__", "*.pyc", "*.egg-info", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox", ".nox", ".hypothesis",
    ".coverage", ".coverage.*", ".git",
)  # fmt: skip


Stage = Literal["stage", "stage live", "stage beside"]


def staging_places(top: Path) -> dict[Stage, Path]:
    """Return where staging trees of the checkout at `top` lie.

    One is for what is to go live, one for what is live, one for tests that run beside those in the first. They are
    siblings of the checkout, so that `../.env` and `../lib` are the same files for all.
    """
    name = f".{top.name}.releaser-staging"
    return {
        "stage": top.parent / name,
        "stage live": top.parent / f"{name}-live",
        "stage beside": top.parent / f"{name}-beside",
    }


@contextlib.contextmanager
def staging_tree(
    site: Site, log: RunLog, commit: str, *, stage: Stage = "stage", pulled: Pulled | None = None
) -> Iterator[Site]:
    """Check out `commit` beside the checkout, and yield the site as it is there; the tree is removed at the end.

    `pulled` are the commits that it brings, if these change the code.

    It gets what the checkout has and git does not track, but for virtual environments and caches: files of up to
    1 MiB are copied, larger ones and directories are symlinks to those of the checkout. The settings `staging_copy`,
    `staging_link` and `staging_omit` correct that. Raises BuildError.
    """
    git = site.git
    place = staging_places(git.layout.top)[stage]
    try:
        with log.step(stage) as step:
            try:
                remove_staging_tree(site, place)
                head = git.commit("HEAD")
                git.add_work_tree(place, commit)
                place.chmod(0o700)
                staged = replace(_carry(site, place, commit, head=head, known=git), pulled=pulled)
                git.clone_submodules(commit, place)
            except (ToolError, OSError) as error:
                raise _not_staged(place, error) from error
            step.says(_summary(staged))
        yield _staged_site(site, place, staged, head=head)
    finally:
        with contextlib.suppress(OSError):  # the next run tries again, and says so
            remove_staging_tree(site, place)


def stage_aside(site: Site, log: RunLog, shadow: Git, place: Path, target: Target) -> Site:
    """Check a commit out at `place`, where `shadow` is, and return the site as it is there; it is for a rehearsal.

    It gets what a staging tree gets. What lies around the checkout is seen around the tree, as far as `pyproject.toml`,
    `uv.toml` or the lock lead there. Raises BuildError.
    """
    try:
        with log.step("stage") as step:
            head = site.git.commit("HEAD")
            shadow.fill_shadow(place, target.commit)
            staged = replace(_carry(site, place, target.commit, head=head, known=shadow), pulled=target.pulled)
            step.says(_summary(staged))
        root = place / site.project.checkout.relative_to(site.git.layout.top)
        _surround(place, site.git.layout.top, levels=_levels_above(root, place))
        _keep_lock_inside(root, place)
    except (ToolError, OSError) as error:
        raise _not_staged(place, error) from error
    return _staged_site(site, place, staged, head=head)


def _levels_above(root: Path, top: Path) -> int:
    """Tell how many directories above the tree are named in the files that uv reads; the first, with `.env`, always."""
    texts = [_text(root / name) for name in ("pyproject.toml", "uv.toml", "uv.lock")]
    steps = max((len(found.group().split("..")) - 1 for text in texts for found in _UPWARDS.finditer(text)), default=0)
    return max(1, steps - len(root.relative_to(top).parts))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _surround(place: Path, top: Path, *, levels: int) -> None:
    """Let the directories around `place` look like those around `top`, by symlinks."""
    for _ in range(min(levels, len(top.parts) - 1)):
        with contextlib.suppress(PermissionError):
            for entry in sorted(os.listdir(top.parent)):
                if not os.path.lexists(place.parent / entry):
                    (place.parent / entry).symlink_to(top.parent / entry)
        place, top = place.parent, top.parent


def _keep_lock_inside(root: Path, place: Path) -> None:
    """Replace a uv.lock that is a symlink out of the tree by what it leads to: uv is going to write it."""
    lock = root / "uv.lock"
    if lock.is_symlink() and not lock.resolve().is_relative_to(place.resolve()):
        data = lock.read_bytes()
        lock.unlink()
        lock.write_bytes(data)


def link_venv(site: Site, venv: Path) -> None:
    """Let `.venv` of the staging tree lead to the venv that is tried, for tests that call programs by that path."""
    project = site.project
    if not project.venv.is_relative_to(project.checkout):
        return
    link = project.root / project.venv.relative_to(project.checkout)
    if not link.parent.resolve().is_relative_to(project.root.resolve()):
        return  # a symlink on the way leads out of the staging tree, and the live link must not be touched
    with contextlib.suppress(OSError):  # tests that want it say so
        link.unlink(missing_ok=True)
        link.symlink_to(venv)


def remove_staging_trees(site: Site) -> None:
    """Remove the staging trees that a killed run left. Raises OSError."""
    with contextlib.suppress(ToolError):  # no longer a repository: then nobody can tell where they would be
        for place in staging_places(site.git.layout.top).values():
            remove_staging_tree(site, place)


def remove_staging_tree(site: Site, place: Path) -> None:
    """Remove one staging tree and git's records of it; what its symlinks lead to is not touched. Raises OSError."""
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        remove_tree(place)
    site.git.forget_work_tree(place)


def _not_staged(place: Path, error: ToolError | OSError) -> BuildError:
    reason = error.message if isinstance(error, ToolError) else str(error)
    output = error.output if isinstance(error, ToolError) else ""
    advice = f"Let this user write {place.parent}, and see that there is room."
    return BuildError(
        f"the staging tree {place} could not be made: {reason}",
        advice=(error.advice or "See git's message.") if isinstance(error, ToolError) else advice,
        output=output,
    )


def _summary(staged: Staged) -> str:
    parts = [staged.commit[:12]]
    parts += [f"{len(staged.copied)} untracked copied"] if staged.copied else []
    parts += [f"{len(staged.linked)} untracked linked"] if staged.linked else []
    return ", ".join(parts)


def _staged_site(site: Site, place: Path, carried: Staged, *, head: str) -> Site:
    """Return the site as it is in the staging tree; state directory and symlink stay those of the checkout."""
    checkout = site.project.checkout
    root = place / checkout.relative_to(site.git.layout.top)
    staged = replace(site, project=replace(site.project, root=root, staged_from=checkout))
    staged = staged if carried.commit == head else staged.reread()
    runner = _runner_of_tree(staged.runner, top=site.git.layout.top, place=place)
    return replace(staged, runner=runner, staged=carried, in_checkout=site)


def _runner_of_tree(runner: Runner, *, top: Path, place: Path) -> Runner:
    """Let PYTHONPATH, and what `environment_file` gives, lead into the staging tree where they led into the checkout.

    Else the tests of a commit would import the code that is live.
    """

    def staged(path: str) -> str:
        there = f"{place}{path.removeprefix(str(top))}"
        is_below = path == str(top) or path.startswith(f"{top}/")
        return there if is_below and os.path.lexists(there) else path

    def all_staged(name: str, value: str) -> str:
        """Only a variable that is named so is a list of paths; a URL has colons as well."""
        return os.pathsep.join(map(staged, value.split(os.pathsep))) if name.endswith("PATH") else staged(value)

    paths = {name: all_staged(name, value) for name, value in runner.environ.items() if name == "PYTHONPATH"}
    given = {name: all_staged(name, value) for name, value in runner.site_variables.items()}
    return replace(runner, environ={**runner.environ, **paths}, site_variables=given)


def _carry(site: Site, place: Path, commit: str, *, head: str, known: Git) -> Staged:
    """Bring the untracked files of the checkout, at `head`, into the staging tree, and those whose commit is still due.

    `known` is the repository that has the commit.
    """
    top, project = site.git.layout.top, site.project
    carrier = _Carrier(site.settings, top=top, place=place, kept_out=frozenset({project.venv, project.state_dir}))
    for name in site.git.unknown_files():
        carrier.carry(name.rstrip("/"))
    for file in (project.lock, project.pyproject):
        path = os.path.relpath(file, top)
        blob = site.git.blob(head, path)
        if blob is not None and file.is_file() and known.blob(commit, path) == blob:
            shutil.copyfile(file, place / path)
    return Staged(
        commit=commit,
        subject=known.subject(commit),
        copied=tuple(sorted(carrier.copied)),
        linked=tuple(sorted(carrier.linked)),
    )


class _Carrier:
    """Brings untracked files from the checkout at `top` into the staging tree at `place`."""

    def __init__(self, settings: Settings, *, top: Path, place: Path, kept_out: frozenset[Path]) -> None:
        self.copied: list[str] = []
        self.linked: list[str] = []
        self._settings = settings
        self._top = top
        self._place = place
        self._kept_out = kept_out

    def carry(self, name: str) -> None:
        """Bring one entry; `name` is relative to the top. What the commit has itself stays as it is there.

        A file that goes meanwhile, as those of databases do, is none that the tests need.
        """
        with contextlib.suppress(FileNotFoundError):
            self._carry(name)

    def _carry(self, name: str) -> None:
        source, target = self._top / name, self._place / name
        if source in self._kept_out or self._is_omitted(name, source):
            return
        both = all(one.is_dir() and not one.is_symlink() for one in (source, target))
        if os.path.lexists(target) and not both:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
            return
        copy, link = matches(name, self._settings.staging_copy), matches(name, self._settings.staging_link)
        is_divided = (
            both
            or any(one.is_relative_to(source) for one in self._kept_out)
            or (not (copy or link) and self._has_rules_for_parts_of(name))
        )
        if source.is_dir() and is_divided:
            target.mkdir(exist_ok=True)
            for entry in sorted(os.listdir(source)):
                self.carry(f"{name}/{entry}")
        elif copy or (not link and source.is_file() and source.stat().st_size <= SMALL and os.access(source, os.R_OK)):
            shutil.copytree(source, target, symlinks=True) if source.is_dir() else shutil.copy2(source, target)
            self.copied.append(name)
        elif source.is_dir() or source.is_file():  # and not a socket or a pipe
            target.symlink_to(source)
            self.linked.append(name)

    def _is_omitted(self, name: str, source: Path) -> bool:
        settings = self._settings
        if matches(name, settings.staging_omit):
            return True
        if matches(name, (*settings.staging_copy, *settings.staging_link)):
            return False
        return matches(name, _CACHES) or (source / "pyvenv.cfg").is_file()

    def _has_rules_for_parts_of(self, directory: str) -> bool:
        """Whether a pattern names something below a directory, which then cannot be one symlink."""
        settings = self._settings
        patterns = (*settings.staging_copy, *settings.staging_link, *settings.staging_omit)
        return any(pattern.startswith(f"{directory}/") for pattern in patterns)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of these patterns is for a path: for all of it if the pattern has a slash, else for its last part."""
    last = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name if "/" in one else last, one.rstrip("/")) for one in patterns)
