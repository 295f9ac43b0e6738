"""The code of a bundle: a commit as a git-bundle(1) file, and a checkout from that file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.bundles.manifest import CODE, INCLUDED, BundleManifest
from releaser.errors import ToolError, reason_of, refuse
from releaser.system.files import only_files, sync_directory, sync_file_system
from releaser.system.temporary import sweep_temporary, temporary_directory
from releaser.tools.git import Git
from releaser.tools.git_reader import WITHOUT_HOOKS

if TYPE_CHECKING:
    from releaser.bundles.archive import BundleArchive
    from releaser.system.process import Runner

_GIT_SECONDS = 600.0
_NAME = "refs/releaser/bundled"  # of the commit, in the file and in the repository that fetches it
_SHA1 = 40  # hexadecimal digits of a commit
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head")


def make_checkout(archive: BundleArchive, manifest: BundleManifest, place: Path, runner: Runner) -> None:
    """Put the code of a verified bundle at `place`, which must not exist, by one rename. Raises PreflightError."""
    code = manifest.find(CODE)
    if code is None or manifest.base is not None:
        refuse(
            "bundle-needs-base",
            "it is a delta: install it in the project that has its base",
            "Install the full bundle.",
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep_temporary(next_to=place)  # leftovers of a killed run
        with temporary_directory(next_to=place) as scratch:
            archive.extract(code, scratch / code.path)
            fresh = scratch / place.name
            fresh.mkdir()
            git = Git(runner=runner, root=fresh, timeout=_GIT_SECONDS)
            check_out_bundle(git, scratch / CODE, manifest.commit, manifest.branch)
            exclude(git, manifest)
            for file in manifest.below(INCLUDED):
                target = fresh / file.path.removeprefix(INCLUDED)
                if not os.path.lexists(target) and os.path.realpath(target.parent) == str(target.parent):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    archive.extract(file, target)
            sync_file_system(fresh)
            fresh.rename(place)
            sync_directory(place.parent)
    except (OSError, ToolError) as error:
        refuse(
            "bundle-unwritable",
            f"{place} cannot be created: {reason_of(error)}",
            "Check free space and permissions there.",
        )


def write_bundle(git: Git, file: Path, commit: str, *, base: str | None = None) -> None:
    """Write a commit and its ancestors, without those of `base`. Raises ToolError and OSError.

    The same commit gives the same bytes with the same git, which `git bundle` does not promise: no object is reused as
    packed in this repository (gitformat-bundle(5), git-pack-objects(1)).
    """
    wanted = "".join(f"{line}\n" for line in (commit, *([f"^{base}"] if base else [])))
    words = ["pack-objects", "--revs", "--threads=1", "--no-reuse-delta", "--no-reuse-object", "--quiet"]
    kind = "" if len(commit) == _SHA1 else "@object-format=sha256\n"
    first = f"# v{3 if kind else 2} git bundle\n{kind}" + (f"-{base} base\n" if base else "")
    beside = git.layout.common_directory / "bundle"  # git renames packs to this place, so it must be in its file system
    sweep_temporary(beside)
    with temporary_directory(next_to=beside) as scratch:
        new_commit = git._run(*words, str(scratch / "code"), input=wanted.encode()).stdout.strip()
        with open(file, "xb") as stream, open(scratch / f"code-{new_commit}.pack", "rb", opener=only_files) as objects:
            stream.write(f"{first}{commit} {_NAME}\n\n".encode())
            shutil.copyfileobj(objects, stream)


def fetch_bundle(git: Git, file: Path, commit: str) -> None:
    """Fetch a commit from a file of `write_bundle`; the checkout does not move. Raises ToolError."""
    git._change(*_FETCH, str(file), f"+{_NAME}:{_NAME}")
    if git.commit(_NAME) != commit:
        message = f"{file} has another commit than {commit[:12]}"
        raise ToolError(message)


def exclude(git: Git, manifest: BundleManifest) -> None:
    """Make git ignore the files that come with the code, only in this repository. Raises ToolError and OSError."""
    paths = (included.path.removeprefix(INCLUDED) for included in manifest.below(INCLUDED))
    git.exclude(*(git.root / path for path in paths if not git.ignores(path)))


def check_out_bundle(git: Git, file: Path, commit: str, branch: str) -> None:
    """Create a repository in the empty directory of `git`, and check out a commit from a file. Raises ToolError."""
    kind = "sha1" if len(commit) == _SHA1 else "sha256"
    git._change("init", "--quiet", "--template=", f"--object-format={kind}", f"--initial-branch={branch}")
    fetch_bundle(git, file, commit)
    git._change(*WITHOUT_HOOKS, "reset", "--quiet", "--hard", commit)
