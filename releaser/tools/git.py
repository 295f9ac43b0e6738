"""Drives git: reads the state of the checkout, moves it fast-forward only, commits and pushes single files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import signal
import socket
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.tools.environment import neutral
from releaser.tools.git_layout import Layout
from releaser.tools.process import write_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from releaser.tools.process import Finished, Runner

# A hook of the site, such as one that runs `uv sync`, would change what is live before anything is tested.
_WITHOUT_HOOKS = ("-c", "core.hooksPath=/dev/null")
# By default a power cut can leave objects and refs that are empty, with which git refuses to work at all.
_DURABLY = ("-c", "core.fsync=all")
# References that no other program uses. Those of one work tree (git-worktree(1), "REFS"): another one of the same
# repository may be a site of its own, on another branch.
_OURS = "refs/worktree/releaser/"
_KEPT = "refs/releaser/left/"
_FETCHED = f"{_OURS}fetched"  # where the remote was when it was last asked
_MOVES_INDEX = frozenset({"add", "checkout", "commit", "merge", "reset"})
_LOCKING = _MOVES_INDEX | {"fetch", "push"}
_ONLY_READ = frozenset(
    {"cat-file", "check-ignore", "config", "diff", "log", "ls-files", "ls-tree", "merge-base", "rev-list", "rev-parse",
     "show", "status"}
)  # fmt: skip
_WITHOUT_DOWNLOADS = {"GIT_LFS_SKIP_SMUDGE": "1"}  # of large files, by git-lfs
_PATHS_AT_ONCE = 200  # a command line has a limit
_ASKS_FOR_CREDENTIALS = (
    "could not read Username", "could not read Password", "Authentication failed", "terminal prompts disabled",
    "Permission denied", "Host key verification failed",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit: its id, the first line of its message, and who wrote it."""

    id: str
    subject: str
    author: str


@dataclass(frozen=True, kw_only=True)
class CheckoutState:
    """What `git status` says.

    `branch` is None on a detached HEAD, `head` None before the first commit; `dirty` holds paths relative to the top
    of the work tree, `untracked` too.
    """

    branch: str | None
    head: str | None
    dirty: tuple[str, ...]
    untracked: tuple[str, ...]


def parse_status(text: str) -> CheckoutState:
    """Parse `git status --porcelain=v2 --branch -z` (git-status(1), "Porcelain Format Version 2")."""
    branch: str | None = None
    head: str | None = None
    dirty: list[str] = []
    untracked: list[str] = []
    fields = iter(text.split("\0"))
    for line in fields:
        if line.startswith("# branch.head "):
            name = line.removeprefix("# branch.head ")
            branch = None if name == "(detached)" else name
        elif line.startswith("# branch.oid "):
            oid = line.removeprefix("# branch.oid ")
            head = None if oid == "(initial)" else oid
        elif line.startswith("? "):
            untracked.append(line[2:])
        elif line.startswith("1 "):
            dirty.append(line.split(" ", 8)[8])
        elif line.startswith("2 "):
            dirty.append(line.split(" ", 9)[9])
            next(fields, None)  # the path it was renamed from
        elif line.startswith("u "):
            dirty.append(line.split(" ", 10)[10])
    return CheckoutState(branch=branch, head=head, dirty=tuple(dirty), untracked=tuple(untracked))


@dataclass(frozen=True, kw_only=True)
class Git:
    """The checkout at `root`; `timeout` bounds each call, in seconds. Every method raises ToolError."""

    runner: Runner
    root: Path
    timeout: float
    #: What leads git to a shadow of the repository; see `shadow`.
    variables: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def layout(self) -> Layout:
        """The work tree and the repository; ToolError when `root` is in none."""
        words = ["rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir", "--git-common-dir"]
        top, own, common = self._lines(*words)
        return Layout(top=Path(top), git_directory=Path(own), common_directory=Path(common))

    def state(self) -> CheckoutState:
        """Read branch, HEAD and everything that is not as committed."""
        return parse_status(self._run("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all").stdout)

    def remote(self, branch: str) -> str | None:
        """Name the remote that `branch` is pulled from and pushed to; None when there is none."""
        settings = self._settings(r"^(remote\..*\.url|branch\..*\.remote)$")
        remotes = [name.split(".", 1)[1].rsplit(".", 1)[0] for name in settings if name.startswith("remote.")]
        configured = settings.get(f"branch.{branch}.remote")
        if configured in remotes:
            return configured
        if "origin" in remotes:
            return "origin"
        return remotes[0] if len(remotes) == 1 else None

    def fetch(self, remote: str, branch: str) -> str:
        """Fetch `branch` and return the commit it is at; nothing in the checkout moves."""
        # FETCH_HEAD is made under the umask, so that another user of the group could not fetch any more.
        words = ["fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head"]
        self._run(*words, remote, f"+refs/heads/{branch}:{_FETCHED}")
        return self.commit(_FETCHED)

    def remote_commit(self, remote: str, branch: str) -> str | None:
        """Ask the remote where `branch` is, without fetching anything; None when it has no such branch."""
        lines = self._lines("ls-remote", remote, f"refs/heads/{branch}")
        return lines[0].split()[0] if lines else None

    def commit(self, name: str) -> str:
        """Return the id of the commit that `name` stands for."""
        return self._lines("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")[0]

    def commits(self, old: str, new: str) -> tuple[Commit, ...]:
        """List the commits that `new` has and `old` has not, newest first."""
        found = self._run("log", "-z", "--format=%H%n%an%n%s", f"{old}..{new}").stdout
        entries = (entry.split("\n", 2) for entry in found.split("\0") if entry)
        return tuple(Commit(id=commit, subject=subject, author=author) for commit, author, subject in entries)

    def newest(self, commit: str, count: int) -> list[str]:
        """List a commit and those before it, `count` at the most, newest first, along first parents."""
        return self._lines("rev-list", "--first-parent", f"--max-count={count}", commit)

    def following(self, old: str, new: str) -> list[str]:
        """List the commits after `old` on the way to `new`, oldest first, along first parents."""
        if not self.is_ancestor(old, new):
            return []
        return self._lines("rev-list", "--first-parent", "--reverse", f"{old}..{new}")

    def subject(self, commit: str) -> str:
        """Return the first line of a commit's message."""
        return "".join(self._lines("show", "--no-patch", "--format=%s", commit)[:1])

    def message(self, commit: str) -> str:
        """Return the whole message of a commit."""
        return self._run("show", "--no-patch", "--format=%B", commit).stdout

    def is_ancestor(self, old: str, new: str) -> bool:
        """Tell whether `new` has everything that `old` has. A commit that is not here has nothing in common."""
        return self._run("merge-base", "--is-ancestor", old, new, check=False).returncode == 0

    def has(self, commit: str) -> bool:
        """Tell whether a commit is in this repository."""
        return self._run("cat-file", "-e", f"{commit}^{{commit}}", check=False).returncode == 0

    def reference(self, name: str) -> str | None:
        """Return the commit that a reference of ours names; None when there is none."""
        found = self._run("rev-parse", "--verify", "--quiet", f"{_OURS}{name}^{{commit}}", check=False)
        return found.stdout.strip() or None

    def tracked(self, remote: str, branch: str) -> str | None:
        """Return where a remote's branch was when somebody last fetched or pushed; None when nobody has."""
        name = f"refs/remotes/{remote}/{branch}^{{commit}}"
        return self._run("rev-parse", "--verify", "--quiet", name, check=False).stdout.strip() or None

    def set_reference(self, name: str, commit: str) -> None:
        """Let a reference of ours name a commit."""
        self._run("update-ref", f"{_OURS}{name}", commit)

    def keep(self, commit: str) -> None:
        """Give a commit that the branch leaves a name of its own, below refs/releaser/left, so that it stays."""
        self._run("update-ref", f"{_KEPT}{commit[:12]}", commit)

    def apart(self, ours: str, theirs: str) -> tuple[int, int]:
        """Count the commits that only `ours` has and those that only `theirs` has."""
        ahead, behind = self._lines("rev-list", "--left-right", "--count", f"{ours}...{theirs}")[0].split()
        return int(ahead), int(behind)

    def changed_since_parting(self, ours: str, theirs: str) -> set[str]:
        """Return the paths that `ours` changed since it and `theirs` parted, relative to the top."""
        found = self._run("diff", "--name-only", "--no-renames", "-z", f"{theirs}...{ours}").stdout.split("\0")
        return {path for path in found if path}

    def fast_forward(self, commit: str) -> None:
        """Move branch and checkout forward to `commit`; ToolError when that is not a fast-forward, or loses a file.

        By default git overwrites files that it ignores, with which the site may be working.
        """
        self._move("merge", "--ff-only", "--no-overwrite-ignore", "--quiet", commit)

    def reset_keep(self, commit: str) -> None:
        """Move branch and checkout to `commit`, refusing to lose uncommitted work, and files that git does not know.

        By itself git overwrites those that it ignores.
        """
        in_the_way = [path for path in self.in_the_way("HEAD", commit) if not self._is_from(commit, path)]
        if in_the_way:
            message = f"{in_the_way[0]} is not known to git here, and commit {commit[:12]} puts its own file there"
            raise ToolError(message, advice=f"Move it out of {self.layout.top}.")
        self._move("reset", "--keep", "--quiet", commit)

    def reset_torn(self, before: str, after: str) -> None:
        """Move from `after` back to `before` where a move between the two was cut off by a power cut.

        Files that it was writing then may be empty, and `reset_keep` takes that for uncommitted work. ToolError if
        there really is some.
        """
        submodules = self.submodules(before).keys() | self.submodules(after).keys()
        for path in {*self._differing(before, after, "ACDMRT")} - submodules:
            if not self._is_from(before, path) and not self._is_from(after, path):
                message = f"{path} has uncommitted changes"
                raise ToolError(message, advice=f"Commit them, or take them away: `git reset --keep {before[:12]}`.")
        self.undo_half_merge(before, after)

    def _move(self, *words: str) -> None:
        """Run what moves the checkout; git syncs its own files alone, so those of the checkout are synced here."""
        before = self.submodules("HEAD")
        umask = self._umask()
        self._run(*_WITHOUT_HOOKS, *words, umask=umask)
        moved = [path for path, commit in self.submodules("HEAD").items() if before.get(path) != commit]
        used = [path for path in moved if (self.layout.top / path / ".git").exists()]
        if used:  # the staging tree has brought their commits here
            top = ("-C", str(self.layout.top))
            self._run(
                *top,
                *_WITHOUT_HOOKS,
                "submodule",
                "update",
                "--recursive",
                "--no-fetch",
                "--quiet",
                "--",
                *used,
                umask=umask,
            )
        write_out(self.root)

    def _umask(self) -> int:
        """Return the umask under which the checkout was made: a web server that reads it must read what comes in."""
        with contextlib.suppress(OSError):
            mode = self.layout.top.stat().st_mode
            readable = (mode | (mode & 0o011) << 2) & 0o044  # who may only pass through the directory reads its files
            return 0o077 & ~readable & ~(readable >> 2) & ~(mode & 0o020)
        return -1

    def add_work_tree(self, place: Path, commit: str) -> None:
        """Check out a commit at `place`, which has the repository in common with the checkout."""
        words = ["worktree", "add", "--quiet", "--force", "--detach", str(place), commit]
        self._run(*_WITHOUT_HOOKS, *words)

    def clone_submodules(self, commit: str, place: Path) -> None:
        """Check out the submodules that the checkout uses below `place`, at the commits that `commit` names.

        They are cloned from those of the checkout, which get the commits if need be, and stay at their own.
        """
        known = self.submodules("HEAD")
        for path, wanted in self.submodules(commit).items():
            if path not in known:
                raise _adds_submodule(commit, path)
            source = self.layout.top / path
            if not (source / ".git").exists():
                continue
            inner = replace(self, root=source)
            if not inner.has(wanted):
                inner._run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
            self._run("clone", "--quiet", "--shared", "--no-checkout", str(source), str(place / path))
            self._run("-C", str(place / path), *_WITHOUT_HOOKS, "checkout", "--quiet", "--detach", wanted)
            inner.clone_submodules(wanted, place / path)

    def shadow(self, place: Path) -> Git:
        """Make a repository at `place` that has all that this one has, and return the checkout as seen from there.

        It takes objects and configuration from this one (gitrepository-layout(5), `objects/info/alternates`). Whatever
        is fetched or named by a reference is kept at `place`: nothing is written into this one.
        """
        layout, own = self.layout, place / ".git"
        kind = self._lines("rev-parse", "--show-object-format")[0]
        self._run("init", "--quiet", "--template=", f"--object-format={kind}", str(place))
        information = own / "objects" / "info"
        information.mkdir(exist_ok=True)
        (information / "alternates").write_text(f"{layout.common_directory / 'objects'}\n", encoding="utf-8")
        for file in (layout.common_directory / "config", layout.git_directory / "config.worktree"):
            if file.is_file():
                self._run("config", "--file", str(own / "config"), "--add", "include.path", str(file))
        # A pack is kept as it is. Objects taken out of one are looked for here, and get another time if they are found.
        self._run("config", "--file", str(own / "config"), "fetch.unpackLimit", "1")
        if (layout.common_directory / "shallow").is_file():
            shutil.copyfile(layout.common_directory / "shallow", own / "shallow")
        seen = replace(self, variables={"GIT_DIR": str(own), "GIT_WORK_TREE": str(layout.top)})
        seen._run("update-ref", "--no-deref", "HEAD", self.commit("HEAD"))
        return seen

    def fill_shadow(self, place: Path, commit: str) -> None:
        """Check out a commit in the shadow at `place`, its submodules included; `self` is the checkout seen from there.

        Of the submodules, the checkout has to use those that the commit has, as for `clone_submodules`.
        """
        known = self.submodules("HEAD")
        tree = replace(self, root=place, variables=_WITHOUT_DOWNLOADS)
        tree._run(*_WITHOUT_HOOKS, "checkout", "--quiet", "--force", "--detach", commit)
        for path, wanted in self.submodules(commit).items():
            if path not in known:
                raise _adds_submodule(commit, path)
            source = self.layout.top / path
            if (source / ".git").exists():
                inner = replace(self, root=source, variables={}).shadow(place / path)
                if not inner.has(wanted):
                    inner._run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
                inner.fill_shadow(place / path, wanted)

    def undo_half_merge(self, before: str, after: str) -> None:
        """Undo what a fast-forward from `before` (where HEAD mostly still is) to `after` did before it was cut off.

        Only files that differ between the two are touched: those of `before` are put back, and those that `after` adds
        are deleted if they are what it would have put there, or a beginning of it.
        """
        for path in self.in_the_way(before, after):
            place = self.layout.top / path
            if self._is_from(after, path):
                place.unlink()
                self._remove_empty(place.parent)
        known = self._differing(before, after, "a")
        for start in range(0, len(known), _PATHS_AT_ONCE):
            paths = known[start : start + _PATHS_AT_ONCE]
            self._run(*_WITHOUT_HOOKS, "checkout", "--quiet", before, "--", *(f":(top){path}" for path in paths))
        self._move("reset", "--quiet", before)

    def in_the_way(self, before: str, after: str) -> list[str]:
        """List the files and symlinks that lie where `after` adds one to what `before` has, relative to the top.

        What is seen through a symlink lies elsewhere, and does not count.
        """
        added = ((path, self.layout.top / path) for path in self._differing(before, after, "A"))
        there = ((path, place) for path, place in added if place.is_symlink() or place.is_file())
        return [path for path, place in there if place.parent.resolve() == place.parent]

    def _is_from(self, commit: str, path: str) -> bool:
        """Tell whether the file at `path` is the one of a commit, as filters write it, a beginning of that, or gone."""
        place = self.layout.top / path
        if not os.path.lexists(place):
            return True
        if self._is_whole(commit, path):
            return True
        whole = self.content(commit, path)
        if whole is None or place.is_symlink():
            return False
        return whole.startswith(place.read_text(errors="replace").rstrip("\0\ufffd"))

    def _is_whole(self, commit: str, path: str) -> bool:
        """Tell whether the file or symlink at `path`, which is there, is the one of a commit, as filters write it."""
        place = self.layout.top / path
        if place.is_symlink():
            return str(place.readlink()) == self.content(commit, path)
        name = os.path.relpath(place, self.root)
        found = self._run("hash-object", f"--path={name}", "--", name, check=False).stdout.strip()
        return bool(found) and found == self._run("rev-parse", f"{commit}:{path}", check=False).stdout.strip()

    def _remove_empty(self, directory: Path) -> None:
        """Remove directories that git made for a file that is gone again."""
        with contextlib.suppress(OSError):
            while directory != self.layout.top:
                directory.rmdir()
                directory = directory.parent

    def edited(self, before: str, after: str) -> list[str]:
        """List the files with edits that are not committed among those that `after` has otherwise than `before`."""
        return sorted({*self.state().dirty} & {*self._differing(before, after, "a")})

    def _differing(self, before: str, after: str, kinds: str) -> list[str]:
        """List the paths that differ, relative to the top; `kinds` as git-diff(1) takes them for --diff-filter."""
        words = ["diff", "--name-only", "--no-renames", f"--diff-filter={kinds}", "-z", before, after]
        return [path for path in self._run(*words).stdout.split("\0") if path]

    def commit_only(self, paths: Sequence[str], message: str) -> bool:
        """Commit these paths as they are in the checkout, and nothing else; False when they are as committed."""
        self._run("add", "--", *paths)
        if not self._lines("status", "--porcelain", "--untracked-files=no", "--", *paths):
            return False
        self._run(*self._identity(), "commit", "--quiet", "-m", message, "--only", "--", *paths)
        return True

    def unstage(self, paths: Sequence[str]) -> None:
        """Let the index have these paths, relative to the top, as HEAD has them; a commit that failed staged them."""
        if paths:
            self._run(*_WITHOUT_HOOKS, "reset", "--quiet", "HEAD", "--", *(f":(top){path}" for path in paths))

    def push(self, remote: str, branch: str, commit: str) -> None:
        """Push `commit` to the remote's `branch`; never forced, so ToolError when the remote moved."""
        self._run("push", "--quiet", remote, f"{commit}:refs/heads/{branch}")

    def code_key(self, without: Iterable[str], *, commit: str = "HEAD", ends: str = "") -> str:
        """Return a digest of everything in a commit but the paths in `without` (relative to the top).

        With `ends`, it is of the files alone whose names end so.
        """
        left_out = set(without)
        digest = hashlib.sha256()
        for line in self._run("ls-tree", "-r", "-z", "--full-tree", commit).stdout.split("\0"):
            name = line.partition("\t")[2]
            if line and name not in left_out and name.endswith(ends):
                digest.update(line.encode() + b"\0")
        return digest.hexdigest()

    def content(self, commit: str, path: str) -> str | None:
        """Return a file as it is in a commit (`path` relative to the top); None when it is not there."""
        finished = self._run("show", f"{commit}:{path}", check=False)
        return finished.stdout if finished.returncode == 0 else None

    def data(self, commit: str, path: str) -> bytes | None:
        """Return a text file as it is in a commit, as bytes; None when it is not there."""
        text = self.content(commit, path)
        return None if text is None else text.encode("utf-8", "surrogateescape")

    def unknown_files(self) -> list[str]:
        """List everything in the work tree that git does not track, ignored or not, relative to the top.

        A directory in which nothing is tracked is one entry, which ends with a slash.
        """
        top = str(self.layout.top)
        found = self._run("-C", top, "ls-files", "--others", "--directory", "-z").stdout
        return [name for name in found.split("\0") if name]

    def submodules(self, commit: str) -> dict[str, str]:
        """Map the paths of submodules in a commit, relative to the top, to the commits they are at."""
        found = self._run("ls-tree", "-r", "-z", "--full-tree", commit).stdout.split("\0")
        entries = (line.partition("\t") for line in found if line.startswith("160000 "))
        return {path: words.split()[2] for words, _, path in entries}

    def hidden_edits(self) -> list[str]:
        """List the tracked files whose edits `git status` does not tell (git-update-index(1)), relative to the top.

        A file that a sparse checkout leaves out is not there, hence not edited.
        """
        top = str(self.layout.top)
        lines = self._run("-C", top, "ls-files", "-v", "-z").stdout.split("\0")
        overlooked = [line[2:] for line in lines if line and (line[0].islower() or line[0] == "S")]
        places = ((path, self.layout.top / path) for path in overlooked)
        there = [path for path, place in places if place.is_symlink() or place.is_file()]  # and not a submodule
        return [path for path in there if not self._is_whole("HEAD", path)]

    def tracked_files(self) -> list[str]:
        """List the tracked files below `root`, relative to it."""
        return [name for name in self._run("ls-files", "-z").stdout.split("\0") if name]

    def ignores(self, path: str) -> bool:
        """Tell whether git ignores `path` (relative to `root`)."""
        return self._run("check-ignore", "--quiet", "--no-index", "--", path, check=False).returncode == 0

    def _identity(self) -> list[str]:
        """Give commits an author where nobody has configured one: a server often has none."""
        if self._run("config", "user.email", check=False).returncode == 0:
            return []
        return ["-c", "user.name=releaser", "-c", f"user.email=releaser@{socket.gethostname()}"]

    def _settings(self, pattern: str) -> dict[str, str]:
        finished = self._run("config", "-z", "--get-regexp", pattern, check=False)
        pairs = (entry.partition("\n") for entry in finished.stdout.split("\0") if entry)
        return {name: value for name, _, value in pairs}

    def _lines(self, *words: str) -> list[str]:
        return self._run(*words).stdout.splitlines()

    def _run(self, *words: str, check: bool = True, umask: int = -1) -> Finished:
        """Run git; lists of files are useless unless they are whole."""
        env = neutral(self.runner.environ)
        # Nobody is there to answer. Without a terminal (a new session has none) ssh does not ask either.
        env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true", "LC_ALL": "C.UTF-8"}
        env |= {"GIT_OPTIONAL_LOCKS": "0"} if words[0] == "status" else {}
        env["UV_NO_SYNC"] = "1"  # a hook must not write through the symlink into the live release
        env |= self.variables
        argv = ["git", "-C", str(self.root), "-c", "advice.diverging=false", *_DURABLY, *words]
        began = time.time()
        # SIGTERM lets git take its lock files away.
        dies = None if words[0] in _ONLY_READ else signal.SIGTERM
        try:
            return self.runner.run(
                argv,
                cwd=self.root,
                env=env,
                timeout=self.timeout,
                check=check,
                death_signal=dies,
                whole=True,
                umask=umask,
            )
        except ToolError as error:
            if error.timed_out or (error.returncode or 0) < 0:
                self._remove_locks(_LOCKING.intersection(words), began, time.time())
            raise

    def _remove_locks(self, moves: frozenset[str], began: float, ended: float) -> None:
        """Take away the lock files that a killed git has left: those made while it ran, as others could make none then.

        Every later git command would refuse to work until somebody deletes them. The index was locked only if the
        command was one that `moves` it; another lock of it is somebody else's.
        """
        if moves:
            with contextlib.suppress(ToolError):
                self.layout.remove_locks(began, ended, index=bool(moves & _MOVES_INDEX))

    def remove_dead_locks(self, since: float) -> bool:
        """Take away the lock files that a git has left which died with all around it: see `Layout`."""
        with contextlib.suppress(ToolError):
            return self.layout.remove_dead_locks(since)
        return False


def _adds_submodule(commit: str, path: str) -> ToolError:
    message = f"commit {commit[:12]} adds the submodule {path}, which releaser cannot try before it is here"
    advice = (
        "Let a commit add just that, which no code uses yet, and bring it in by hand: `git fetch`, `git merge --ff-only"
        " COMMIT`, `git submodule update --init --recursive`. What uses it comes in by the next update, which tests it."
    )
    return ToolError(message, advice=advice)


def asks_for_credentials(error: ToolError) -> str:
    """Return the line that says that the remote wants a password, a key or a trusted host key; empty if none does."""
    lines = (line.strip() for line in error.output.splitlines())
    return next((line for line in lines if any(words in line for words in _ASKS_FOR_CREDENTIALS)), "")
