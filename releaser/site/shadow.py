"""The shadow repository: a git repository in the state directory for the code of a project without git.

Nothing is written into the project. Each commit replaces the one before, so that deleted code is deleted here, too. The
project has all its content, so it may be lost at any time.
"""

from __future__ import annotations

import contextlib
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from releaser.errors import Finding, ToolError, reason_of, refuse, refuse_any
from releaser.site.project import SHADOW
from releaser.site.staging_settings import StagingSettings
from releaser.system.environment import find_program
from releaser.system.files import clear_name, read_if_there
from releaser.system.frozen import replace
from releaser.system.state_files import StateFile
from releaser.tools.code_files import SMALL, is_code, matches
from releaser.tools.git import Git
from releaser.tools.git_state import CheckoutState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from releaser.site.site import Site

SHADOW_FILE = StateFile(name=SHADOW, delete=partial(clear_name, of_directory=True))
# The whole configuration of a shadow repository: the host's and the user's are not read (`shadow_variables`).
_CONFIGURATION = """\
[core]
\tbare = false
\tautocrlf = false
\tlogAllRefUpdates = false
\tfsyncMethod = batch
[gc]
\tauto = 0
\tpackRefs = false
[user]
\tname = releaser
\temail = releaser@localhost
"""
_AS_IT_LIES = "* -text -ident !eol !filter !working-tree-encoding\n"  # whatever .gitattributes a project has


def shadow_variables(directory: Path | str, root: Path) -> Mapping[str, str]:
    """Return the variables with which git keeps the code at `root` in releaser's own repository in `directory`.

    With these, the settings of users and of the host do not count, and commits need none.
    """
    nothing = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"), os.devnull)
    off = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "0", "GIT_CONFIG_PARAMETERS": ""}
    return {**nothing, **off, "GIT_DIR": str(directory), "GIT_WORK_TREE": str(root)}


def open_shadow(site: Site, *, timeout: float) -> Git:
    """Return the git of a project without git."""
    place, root = site.git_variables.get("GIT_DIR", site.project.shadow), site.project.root
    variables = shadow_variables(place, root)
    return ShadowGit(runner=site.runner, root=root, timeout=timeout, variables=variables, site=site)


class ShadowGit(Git):
    """The git of a project without git: it has the code of the last run, and no commit of a person."""

    site: Site

    def state(self) -> CheckoutState:
        """Return only HEAD: no file is on a branch, and none is committed."""
        return CheckoutState(branch=None, head=self.layout.read("HEAD"), dirty=(), untracked=())

    def find_state(self) -> CheckoutState:
        """Return HEAD with the files that differ from it. Raises ToolError."""
        return replace(self.state(), dirty=tuple(self._list_unrecorded()))

    def branch(self) -> None:
        """Return None: a person has checked out no branch."""

    def head(self) -> str:
        """Return nothing: a run finds no commit here that another could go back to."""
        return ""

    def name_of(self, commit: str | None) -> None:
        """Return None: the ids of these commits mean nothing to people."""

    def data(self, commit: str, path: str, *, likely: bytes = b"") -> None:
        """Return None: a person has committed no file."""

    def file_at(self, commit: str, file: Path) -> bytes | None:  # noqa: ARG002
        """Return a file of the project as it is now."""
        return read_if_there(file)

    def ignores(self, path: str) -> bool:  # noqa: ARG002
        """Return False: releaser commits no file of a person here."""
        return False

    def untracked_files(self) -> list[str]:
        """List none: no file has to be tracked."""
        return []

    def exclude(self, *places: Path) -> None:
        """Do nothing: `git status` does not show this project."""

    def forget_shadow(self, place: Path) -> None:
        """Do nothing: this is that repository."""

    def add_work_tree(self, place: Path, commit: str) -> None:
        """Check out a commit at `place`, where programs find no repository, as in the project."""
        super().add_work_tree(place, commit)
        (place / ".git").unlink()

    def add_empty_work_tree(self, place: Path, commit: str) -> bool:  # noqa: ARG002
        """Return False: a tree without a repository gets all files at once."""
        return False

    def shadow(self, place: Path) -> Git:
        """Make a repository at `place` with the present code of the project."""
        seen = replace(self, variables=shadow_variables(place / ".git", self.root))
        seen._commit(list_code(self.site))
        return seen

    def record_code(self) -> None:
        """Commit the present code of the project. Raises PreflightError.

        A broken shadow repository, such as after a power cut, is replaced.
        """
        refuse_any(missing_git(self.site))
        files, place = list_code(self.site), self.layout.git_directory
        try:
            with contextlib.suppress(ToolError):
                return self._commit(files)
            clear_name(place, of_directory=True)
            self._commit(files)
        except (ToolError, OSError) as error:
            message = f"the code of {self.root} cannot be committed to {place}: {reason_of(error)}"
            advice = f"Check free space, and that this user owns {place}. You may delete that directory: "
            refuse("shadow-failed", message, f"{advice}releaser makes it again.")

    def _commit(self, files: Collection[str]) -> None:
        """Commit exactly these files, in place of the previous commit. Makes the repository. Raises OSError, too."""
        own = self.layout.git_directory
        if not (own / "info" / "attributes").exists():
            shared = own.parent.stat().st_mode & stat.S_IWGRP  # else only this user can read it
            variables = {**self.variables}
            del variables["GIT_WORK_TREE"]  # else the repository would store this path
            sharing = f"--shared={'group' if shared else 'umask'}"
            bare = replace(self, variables=variables)
            bare._change("init", "--template=", "--initial-branch=main", "--bare", sharing, str(own))
            own.chmod(0o2770 if shared else 0o700)
            with (own / "config").open("a", encoding="utf-8") as file:
                file.write(_CONFIGURATION)
            (own / "info").mkdir(exist_ok=True)
            (own / "info" / "attributes").write_text(_AS_IT_LIES, encoding="utf-8")  # last: marks it as complete
        if removed := {*self.tracked_files()}.difference(files):
            self._change("update-index", "-z", "--force-remove", "--stdin", input=os.fsencode("\0".join(removed)))
        paths = os.fsencode("\0".join(files))
        self._change("update-index", "-z", "--add", "--remove", "--replace", "--stdin", input=paths)
        if self._run("diff-index", "--cached", "--quiet", "HEAD", check=False).returncode:
            tree = self._change("write-tree").stdout.strip()
            self._change("update-ref", "HEAD", self._change("commit-tree", tree).stdout.strip())
            with contextlib.suppress(ToolError):  # the next commit tries again
                self._change("gc", "--prune=now")  # deletes the previous commit

    def differs_from(self, key: str, *, since: datetime) -> bool:
        """True if the project has other code than that with this key; False if it is older than this repository."""
        now = self.site.code_key("HEAD")
        if not now or since.timestamp() < (self.site.project.shadow / "config").stat().st_mtime:
            return False
        return now != key or not {*self._list_unrecorded()} <= {*self.site.own_files()}

    def choose_staging_commit(self, commit: str) -> tuple[Mapping[str, str], str]:  # noqa: ARG002
        """Return its own variables, as only they lead to it, and its own commit."""
        return self.variables, self.commit("HEAD")

    def _list_unrecorded(self) -> list[str]:
        """List the code files that differ from the last commit, and those that are only there; none without one."""
        if self.layout.read("HEAD") is None:
            return []
        changed = {*self.tracked_files()}.symmetric_difference(list_code(self.site))
        return sorted(changed.union(self.tracked_files("--modified")))


def missing_git(site: Site) -> Finding | None:
    """Return a finding if the git program is missing, which a project without git needs, too."""
    if find_program("git", site.runner.environ, site.project.root)[0] is not None:
        return None
    message = f"git is not on PATH, but releaser needs it to record the tested code in {site.project.shadow}"
    advice = "Install git, for example with `apt install git`. The project itself need not be under git."
    return Finding("git-missing", message, advice)


def list_code(site: Site) -> list[str]:
    """List the code files of the project, relative to its root, with symlinks that stay inside.

    Skips files that are large, that this user cannot read, or whose name is not UTF-8.
    """
    root, lock = site.project.root, os.path.relpath(site.project.lock, site.project.root)
    found = {name for name, entry in _walk(site, "") if _is_code(name, entry)}
    return sorted(found.union(name for name in ("uv.lock", lock) if (root / name).is_file() and name[:2] != ".."))


def _is_code(name: str, entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError, UnicodeEncodeError):  # for example, it was just deleted
        name.encode()
        is_link = entry.is_symlink()
        target = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(entry.path) if is_link else ""))
        if target.startswith(("/", "..")):  # tests could write through it
            return False
        if entry.is_file():
            return is_code(name) and entry.stat().st_size <= SMALL and os.access(entry.path, os.R_OK)
        return entry.is_dir()
    return False


def _walk(site: Site, directory: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files and symlinks below a directory, by path in the project, except for paths that are not staged."""
    project, settings = site.project, StagingSettings.of(site)
    try:
        entries = list(os.scandir(project.root / directory))
    except OSError:  # it was just deleted, or this user may not read it
        return
    for entry in entries:
        name = f"{directory}{entry.name}"
        place = project.root / name
        is_excluded = matches(name, settings.staging_link) or settings.omits(name, place)
        if is_excluded or place in (project.venv, project.state_dir):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(site, f"{name}/")
        else:
            yield name, entry
