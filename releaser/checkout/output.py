"""The output of `before_build`: it belongs to the release, and goes live with it.

A path that `build_output` names, such as `dist`, is in the venv of each release. In the checkout it is a symlink
through `.venv`, so that a flip or a rollback changes packages and files at once.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.checkout.files import find_escaping_path, is_free_of_symlinks
from releaser.errors import BuildError, Finding, PreflightError, ToolError, refuse_any
from releaser.releases.contents import BUILT
from releaser.releases.store import store_of
from releaser.reporting.hook_settings import BuildSettings
from releaser.site.staging_settings import StagingSettings
from releaser.system.files import (
    clear_name,
    exchange,
    link_text,
    read_if_there,
    replace_file,
    replace_symlink,
    sync_directory,
)
from releaser.system.state_files import StateFile, remove_if_empty
from releaser.system.words import first_few
from releaser.tools.code_files import CACHES, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site


KEPT = "output"  # in the state directory: files that the symlinks in the checkout replaced, for earlier releases
OUTPUT_FILE = StateFile(name=KEPT, delete=remove_if_empty)
_PATHS = "share/releaser/build_output"  # in a venv: its output paths, one a line
# Caches of build programs, which no site needs.
_CACHES = (*CACHES, "node_modules", ".cache", ".parcel-cache", ".turbo", ".sass-cache", ".eslintcache", ".npm", ".venv")


def output_findings(site: Site) -> Iterator[Finding]:
    """Yield the problems with `build_output`, and with files in its place in the checkout."""
    site = site.with_own_settings
    paths, project = BuildSettings.of(site).build_output, site.project
    if not paths:
        return
    key = site.sources.get("build_output", "build_output")
    message = f"{key} needs git, but the project is not under git"
    if lacking := site.require_git(Finding("output-needs-git", message, "Remove the setting, or run `git init`.")):
        yield lacking
        return
    if BuildSettings.of(site).before_build is None:
        advice = "Set `before_build` to the command that builds it, or remove `build_output`."
        yield Finding(
            "output-needs-hook",
            f"{key} names {', '.join(paths)}, but `before_build` is not set, so no command builds it",
            advice,
        )
    with contextlib.suppress(ToolError):  # other checks report it
        commit, top = site.git.commit("HEAD"), site.git.layout.top
        for path in paths:
            if found := site.git.find_tracked(commit, os.path.relpath(project.root / path, top)):
                command = f"git rm -r --cached {shlex.quote(path)} && echo /{path} >> .gitignore"
                yield Finding(
                    "output-tracked",
                    f"{key} names {path}, but git tracks {found}",
                    f"Run `{command}`, then `git commit`.",
                )
    yield from filter(None, (find_escaping_path(site, "build_output", path) for path in paths))
    for path in paths:
        place = project.checkout / path
        if project.venv.is_relative_to(place) or place.is_relative_to(project.venv):
            yield Finding(
                "output-is-link",
                f"{key} names {path}, which is the place of the symlink to the live release",
                "Name another path.",
            )
        elif place.is_symlink() and not _is_ours(site, path):
            yield _in_the_way(site, path, f"a symlink to {os.readlink(place)}")


def _in_the_way(site: Site, path: str, what: str) -> Finding:
    place = site.project.checkout / path
    command = f"mv {shlex.quote(str(place))} {shlex.quote(f'{place}.before')}"
    message = f"{place} is {what}, in the place of the symlink to the `build_output` of the live release"
    return Finding("output-in-the-way", message, f"Run `{command}`. The next update makes the symlink.")


def _text_of(site: Site, path: str) -> str:
    """Return the target of the symlink at `path`: a path through the symlink `.venv`."""
    project = site.project
    return os.path.relpath(project.venv / BUILT / path, (project.checkout / path).parent)


def _is_ours(site: Site, path: str) -> bool:
    return link_text(site.project.checkout / path) == _text_of(site, path)


# The files that `before_build` made in a staging tree


def list_build_output(site: Site) -> tuple[Mapping[str, tuple[int, ...]], frozenset[str]]:
    """Return the mode, size, time and inode of each untracked file of a staging tree, and the edited tracked files.

    Raises ToolError.
    """
    git, found = site.git, dict[str, tuple[int, ...]]()
    for name in git.untracked_files():
        with contextlib.suppress(OSError):
            seen = os.lstat(git.layout.top / name)
            found[name] = seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ino
    return found, frozenset(git.state().dirty)


def refuse_undeclared(site: Site, before: tuple[Mapping[str, tuple[int, ...]], frozenset[str]]) -> None:
    """Raise BuildError if `before_build` made or edited files in a staging tree that would not go live."""
    try:
        now, before_files = list_build_output(site), before[0]
        names = [name for name, seen in now[0].items() if before_files.get(name) != seen]
        undeclared = _collapse(site, sorted(name for name in names if not _is_expected_output(site, name)))
    except ToolError as error:
        message = f"releaser cannot list the files that before_build made: {error.message}"
        raise BuildError(message, error.advice or "See git's message.", output=error.output) from error
    edited = sorted(now[1] - before[1] - {*site.own_files()})
    if undeclared:
        listed = ", ".join(f'"{name}"' for name in undeclared[:5])
        message = f"before_build made files that git does not track, so they would not go live: {first_few(undeclared)}"
        advice = (
            f"Declare them in [tool.releaser]: `build_output = [{listed}]`; or, if only the build needs them:"
            f" `staging_omit = [{listed}]`."
        )
        raise BuildError(message, advice)
    if edited:
        message = f"before_build changed files that git tracks, and the changes would not go live: {first_few(edited)}"
        advice = (
            "Run the command on your own machine, and commit its changes; or correct it so that it does not "
            "edit these files."
        )
        raise BuildError(message, advice)
    for path in BuildSettings.of(site).build_output:
        _check_output(site, path)


def _is_expected_output(site: Site, name: str) -> bool:
    """True if a file that `before_build` made is declared, or a cache."""
    parts = name.split("/")
    above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    if any(fnmatch.fnmatchcase(part, pattern) for part in parts for pattern in _CACHES if "/" not in pattern):
        return True
    base = os.path.relpath(site.project.root, site.git.layout.top)
    declared = {os.path.normpath(os.path.join(base, output)) for output in BuildSettings.of(site).build_output}
    return any(parent in declared or matches(parent, StagingSettings.of(site).staging_omit) for parent in above)


def _collapse(site: Site, names: list[str]) -> list[str]:
    """Return paths relative to the project; a directory without tracked files stands for the files in it."""
    if not names:
        return []
    wholes = [file.rstrip("/") for file in site.git.unknown_files() if file.endswith("/")]
    found = (next((whole for whole in wholes if name.startswith(f"{whole}/")), name) for name in names)
    base = os.path.relpath(site.project.root, site.git.layout.top)
    return [*dict.fromkeys(os.path.relpath(path, base) for path in found)]


def _check_output(site: Site, path: str) -> None:
    """Raise BuildError if a declared path was not made, or has symlinks that lead out of it."""
    if found := find_escaping_path(site, "build_output", path):  # `before_build` may have made such a symlink
        raise BuildError(found.message, found.advice)
    place = site.project.root / path
    if place.is_symlink() or not place.exists():
        kind = "a symlink" if place.is_symlink() else "nothing"
        message = f"before_build made {kind} at {path}, which `build_output` names"
        raise BuildError(
            message, "Correct `before_build` or `build_output`: the command must make a file or a directory there."
        )
    for file in place.rglob("*") if place.is_dir() else ():
        if file.is_symlink() and not Path(os.path.normpath(file.parent / file.readlink())).is_relative_to(place):
            name = file.relative_to(site.project.root)
            message = f"before_build made the symlink {name}, which leads out of {path}"
            raise BuildError(message, "Let the command copy the target instead, for example with `cp -L`.")


# The output of a release


def take_output(site: Site, venv: Path) -> None:
    """Copy the output of `before_build` from the staging tree into the venv of a candidate.

    Raises BuildError and OSError.
    """
    paths = BuildSettings.of(site).build_output
    for path in paths:
        _check_output(site, path)
        source, target = site.project.root / path, venv / BUILT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target, symlinks=True) if source.is_dir() else shutil.copy2(source, target)
    if paths:
        (venv / _PATHS).write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")


def list_output(venv: Path) -> tuple[str, ...]:
    """Return the output paths of the release with this venv."""
    with contextlib.suppress(OSError):
        return tuple((read_if_there(venv / _PATHS) or b"").decode(errors="replace").splitlines())
    return ()


def lend_output(site: Site, venv: Path) -> None:
    """Replace the output of `before_build` in the staging tree by symlinks to that of a release. Raises OSError."""
    if not site.tree.is_staged:
        return
    for path in list_output(venv):
        if not is_free_of_symlinks(
            site.project.root, path
        ):  # a symlink of this commit: delete nothing outside of the tree
            continue
        place = site.project.root / path
        clear_name(place, of_directory=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.realpath(venv / BUILT / path))


# The symlinks in the checkout


def place_links(site: Site, log: RunLog, release: Release) -> None:
    """Make the symlinks in the checkout for the output paths of a release, before the flip to it.

    One atomic exchange moves files in their place to the state directory, and earlier releases get symlinks to these,
    so that visitors see no difference. May be repeated. Raises PreflightError and OSError.
    """
    for path in list_output(release.venv):
        link, text = site.project.checkout / path, _text_of(site, path)
        if link_text(link) == text:
            continue
        refuse_any(find_escaping_path(site, "build_output", path, root=site.project.checkout))
        if link.is_symlink():
            raise PreflightError(_in_the_way(site, path, f"a symlink to {os.readlink(link)}"))
        site.git.exclude(link)
        if os.path.lexists(link):
            _keep_existing(site, log, path)
        else:
            link.parent.mkdir(parents=True, exist_ok=True)
            replace_symlink(link, text, staging=site.state_dir)


def _keep_existing(site: Site, log: RunLog, path: str) -> None:
    link, text = site.project.checkout / path, _text_of(site, path)
    kept, number = site.state_dir / KEPT / path, 1
    while os.path.lexists(kept) and link_text(kept) != text:  # such a symlink is of a run that was killed
        number += 1
        kept = site.state_dir / KEPT / f"{path}-{number}"
    _make_directories(site, kept.parent)
    for earlier in store_of(site).all():
        _link_to_kept(earlier.venv, path, kept)
    if not os.path.lexists(kept):
        kept.symlink_to(text)
    try:
        is_done = exchange(link, kept)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        is_done = False
    if not is_done:
        kept.unlink()
        raise PreflightError(
            _in_the_way(site, path, "no symlink, and this file system cannot exchange it for a symlink")
        )
    sync_directory(link.parent)
    sync_directory(kept.parent)
    log.say(f"{link} is now a symlink to the files of the live release; the earlier files are in {kept}.")


def _make_directories(site: Site, directory: Path) -> None:
    """Make directories in the state directory, with the mode of the releases directory."""
    for place in [parent for parent in (*directory.parents, directory) if parent.is_relative_to(site.state_dir / KEPT)]:
        if not place.exists():
            place.mkdir()
            shutil.copymode(site.project.releases, place)


def _link_to_kept(venv: Path, path: str, kept: Path) -> None:
    place = venv / BUILT / path
    if not os.path.lexists(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(kept, place.parent))
        known = list_output(venv)
        replace_file(venv / _PATHS, "".join(f"{output}\n" for output in (*known, path)).encode())


def leave_output(site: Site, venv: Path) -> list[str]:
    """Replace each symlink by a copy of the output of the release with this venv; return the paths.

    Raises OSError; the path then keeps its symlink.
    """
    copied = []
    for path in list_output(venv):
        link, source = site.project.checkout / path, Path(os.path.realpath(venv / BUILT / path))
        if not _is_ours(site, path) or not source.exists():
            continue
        beside = link.with_name(f".{link.name}.releaser-new")
        clear_name(beside, of_directory=True)
        shutil.copytree(source, beside, symlinks=True) if source.is_dir() else shutil.copy2(source, beside)
        if exchange(link, beside):
            beside.unlink()
        else:
            link.unlink()
            beside.rename(link)
        sync_directory(link.parent)
        copied.append(path)
    return copied


def declared_places(site: Site) -> Iterable[Path]:
    """Return the output paths in the checkout, which staging trees do not get: each build makes its own."""
    return (site.project.checkout / path for path in BuildSettings.of(site).build_output)
