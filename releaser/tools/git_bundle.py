"""A commit in one file, as git-bundle(1) makes it: writing it, and taking the commit out of it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.system.files import only_files, read_if_there, write_new_file
from releaser.system.temporary import sweep_temporary, temporary_directory
from releaser.tools.git_reader import WITHOUT_HOOKS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from releaser.tools.git import Git

_NAME = "refs/releaser/bundled"  # of the commit, in the file and where it is taken out
_SHA1 = 40  # hexadecimal digits of a commit
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head")


def write_bundle(git: Git, file: Path, commit: str, *, base: str | None = None) -> None:
    """Write a commit and all before it, without those that `base` has. Raises ToolError and OSError.

    The same gives the same bytes with the same git, which `git bundle` does not promise: nothing is taken as it is
    packed here (gitformat-bundle(5), git-pack-objects(1)).
    """
    wanted = "".join(f"{line}\n" for line in (commit, *([f"^{base}"] if base else [])))
    words = ["pack-objects", "--revs", "--threads=1", "--no-reuse-delta", "--no-reuse-object", "--quiet"]
    kind = "" if len(commit) == _SHA1 else "@object-format=sha256\n"
    first = f"# v{3 if kind else 2} git bundle\n{kind}" + (f"-{base} base\n" if base else "")
    beside = git.layout.common_directory / "bundle"  # git renames packs to there, so within its file system
    sweep_temporary(beside)
    with temporary_directory(beside=beside) as scratch:
        made = git._run(*words, str(scratch / "code"), input=wanted.encode()).stdout.strip()
        with open(file, "xb") as stream, open(scratch / f"code-{made}.pack", "rb", opener=only_files) as objects:
            stream.write(f"{first}{commit} {_NAME}\n\n".encode())
            shutil.copyfileobj(objects, stream)


def fetch_bundle(git: Git, file: Path, commit: str) -> None:
    """Take a commit out of a file that `write_bundle` has made; nothing in the checkout moves. Raises ToolError."""
    git._change(*_FETCH, str(file), f"+{_NAME}:{_NAME}")
    if git.commit(_NAME) != commit:
        message = f"{file} has another commit than {commit[:12]}"
        raise ToolError(message)


def exclude(git: Git, paths: Iterable[str]) -> None:
    """Let git take no notice of files below the root of `git`, in this repository alone. Raises ToolError, OSError."""
    missing = [path for path in paths if not git.ignores(path)]
    if missing:
        file = git.layout.common_directory / "info" / "exclude"
        file.parent.mkdir(exist_ok=True)
        above = os.path.relpath(git.root, git.layout.top)
        lines = ("/" + os.path.normpath(os.path.join(above, path)) for path in missing)
        write_new_file(file, (read_if_there(file) or b"") + "".join(f"{line}\n" for line in lines).encode())


def check_out(git: Git, url: str, ref: str) -> None:
    """Make a repository in the empty directory of `git`, with a branch or tag of another one on `main`.

    Raises ToolError.
    """
    git._change("init", "--quiet", "--template=", "--initial-branch=main")
    git._change(*_FETCH, "--", url, f"+{ref}:{_NAME}")
    git._change(*WITHOUT_HOOKS, "reset", "--quiet", "--hard", f"{_NAME}^{{commit}}")


def check_out_bundle(git: Git, file: Path, commit: str, branch: str) -> None:
    """Make a repository in the empty directory of `git`, with a commit of a file on a branch. Raises ToolError."""
    kind = "sha1" if len(commit) == _SHA1 else "sha256"
    git._change("init", "--quiet", "--template=", f"--object-format={kind}", f"--initial-branch={branch}")
    fetch_bundle(git, file, commit)
    git._change(*WITHOUT_HOOKS, "reset", "--quiet", "--hard", commit)
