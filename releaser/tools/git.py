"""Drives git: moves the checkout fast-forward only, commits and pushes single files; `GitReader` has the questions."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.system.environment import unseen_passwords
from releaser.system.files import read_if_there, read_text
from releaser.system.process import Finished, write_out
from releaser.system.signals import may_be_running
from releaser.tools.git_reader import FETCHED, LAYOUT, WITHOUT_HOOKS, GitReader
from releaser.tools.git_state import OURS
from releaser.tools.in_the_way import advise_in_the_way, are_related, describe_in_the_way

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    Keep = Callable[[Path], object]

_KEPT = "refs/releaser/left/"
_WITHOUT_DOWNLOADS = {"GIT_LFS_SKIP_SMUDGE": "1"}  # of large files, by git-lfs
_PATHS_AT_ONCE = 200  # a command line has a limit
_MOVES_INDEX = frozenset({"add", "checkout", "commit", "merge", "reset"})
_CLOCK_TICK = 0.1  # seconds; file times are those of the last tick of the kernel
_OF_ONE_WORK_TREE = frozenset({"index.lock", "HEAD.lock", "ORIG_HEAD.lock"})


# The configuration of a shadow repository. Nothing of the host's or of a person's is read for it (`shadow_variables`).
_OF_SHADOW = """\
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
_AS_IT_LIES = "* -text -ident !eol !filter !working-tree-encoding\n"  # whatever the .gitattributes of a project say


def shadow_variables(directory: Path, root: Path) -> Mapping[str, str]:
    """Return the variables with which git keeps the code at `root` in a repository of releaser's own in `directory`.

    No settings of people and of the host count, and no commit needs them.
    """
    nothing = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"), os.devnull)
    off = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "0", "GIT_CONFIG_PARAMETERS": ""}
    return {**nothing, **off, "GIT_DIR": str(directory), "GIT_WORK_TREE": str(root)}


class Git(GitReader):
    """The checkout at `root`, to work on. Every method raises ToolError."""

    def fetch(self, remote: str, branch: str) -> str:
        """Fetch `branch` and return the commit it is at; nothing in the checkout moves."""
        # FETCH_HEAD is made under the umask, so that another user of the group could no longer fetch.
        words = ["fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head"]
        self._change(*words, remote, f"+refs/heads/{branch}:{FETCHED}")
        return self.commit(FETCHED)

    def set_reference(self, name: str, commit: str) -> None:
        """Let a reference of ours name a commit."""
        self._change("update-ref", f"{OURS}{name}", commit)

    def drop_references(self) -> None:
        """Delete the references of ours, except for those that keep what somebody may look for."""
        for name in self._run("for-each-ref", "--format=%(refname)", OURS).stdout.split():
            self._change("update-ref", "-d", name)

    def keep(self, commit: str) -> None:
        """Give a commit that the branch leaves a name of its own, below refs/releaser/left, so that it stays."""
        self._change("update-ref", f"{_KEPT}{commit[:12]}", commit)

    def fast_forward(self, commit: str) -> None:
        """Move branch and checkout forward to `commit`; ToolError when that is not a fast-forward, or loses a file."""
        self._refuse_loss("HEAD", commit)
        words = ("--ff-only", "--no-overwrite-ignore", "--no-verify-signatures", "--no-squash", "--quiet")
        self._move("merge", *words, commit, to=commit)

    def reset_keep(self, commit: str) -> None:
        """Move branch and checkout to `commit`, refusing to lose uncommitted work, and what git does not track."""
        self._refuse_loss("HEAD", commit)
        staged = self._list_staged()
        changed = {*self._list_differing("HEAD", commit, "ACDMRT")} if staged else set()
        self._move("reset", "--keep", "--quiet", commit, to=commit)
        # git leaves the files alone, and forgets what was staged of them (git-reset(1), --keep).
        kept = "".join(f"{entry}\t{path}\0" for path, entry in staged.items() if path not in changed)
        if kept:
            self._change("-C", str(self.layout.top), "update-index", "-z", "--index-info", input=kept.encode())

    def _list_staged(self) -> dict[str, str]:
        """Map the paths that are staged to their entries, `MODE BLOB` as `git update-index --index-info` takes them."""
        words = ("diff-index", "--cached", "-z", "--no-renames", "--no-abbrev", "HEAD")
        found = self._run(*words).stdout.split("\0")
        return {path: " ".join(entry.split()[1:4:2]) for entry, path in zip(found[::2], found[1::2], strict=False)}

    def _list_losses(self, before: str, after: str, *, known: Sequence[str] = ()) -> list[str]:
        """List what a move of the checkout would lose: a file that is what the commit has there is no loss."""
        found = self.in_the_way(before, after, known=known)
        return [path for path in found if path.endswith("/") or not self._is_whole(after, path)]

    def _refuse_loss(self, before: str, after: str) -> None:
        """See that a move of the checkout overwrites and removes nothing that git does not track."""
        if lost := self._list_losses(before, after):
            message = describe_in_the_way(lost, after)
            raise ToolError(message, advise_in_the_way(lost, self.layout.top))

    def reset_torn(self, before: str, after: str, *, power_cut: bool, keep: Keep) -> list[str]:
        """Move from `after` back to `before` where a move between the two was cut off; list what stayed as it was.

        A file that is neither as in `before` nor as in `after` may be what git had begun to write, and is replaced,
        once `keep` has it. After a power cut that is each file with the beginning of what `after` has there; else at
        most one, as git writes one after the other. All others are a person's edits, and stay. Raises ToolError.
        """
        edits = self._find_edits(before, after, power_cut=power_cut)
        return [*edits, *self.undo_half_merge(before, after, without=edits, keep=keep)]

    def _find_edits(self, before: str, after: str, *, power_cut: bool) -> list[str]:
        """List the files that are neither from `before` nor from `after`, nor what git can have left half-written."""
        submodules = self.submodules(before).keys() | self.submodules(after).keys()
        moved = sorted({*self._list_differing(before, after, "ACDMRT")} - submodules)
        written = [path for path in moved if self.blob(after, path)]
        whole = [number for number, path in enumerate(written) if self._is_whole(after, path)]
        last = max(whole, default=-1)
        # The index is in the order of its paths, in which git writes them (git-read-tree(1), checkout.workers).
        halves = {*written} if power_cut else {*written[last + 1 : last + 2]}
        return [
            path
            for path in moved
            if os.path.lexists(self.layout.top / path)
            and not self._is_whole(before, path)
            and not self._is_whole(after, path)
            and not (path in halves and self._is_beginning(after, path))
        ]

    def _is_beginning(self, commit: str, path: str) -> bool:
        """Tell whether a file is empty, or has the beginning of what a commit has there, as a crash may leave it."""
        place = self.layout.top / path
        if place.is_symlink() or not place.is_file():
            return False
        whole = self.content(commit, path)
        return whole is not None and whole.startswith(read_text(place, errors="replace").rstrip("\0\ufffd"))

    def _move(self, *words: str, to: str) -> None:
        """Run what moves the checkout to a commit; git syncs its own files alone, so those of the checkout are here."""
        wanted = self.submodules(to)
        before = self.submodules("HEAD") if wanted else {}
        umask = self._umask()
        self._change(*WITHOUT_HOOKS, *words, umask=umask)
        moved = [path for path, commit in wanted.items() if before.get(path) != commit]
        used = [path for path in moved if (self.layout.top / path / ".git").exists()]
        if used:  # the staging tree has brought their commits here
            words = ("submodule", "update", "--recursive", "--no-fetch", "--quiet", "--", *used)
            self._change("-C", str(self.layout.top), *WITHOUT_HOOKS, *words, umask=umask)
        write_out(self.root)

    def _umask(self) -> int:
        """Return the umask under which the checkout was made: a web server that reads it must read what comes in."""
        with contextlib.suppress(OSError):
            mode = self.layout.top.stat().st_mode
            readable = (mode | (mode & 0o011) << 2) & 0o044  # who may only pass through the directory reads its files
            return 0o077 & ~readable & ~(readable >> 2) & ~(mode & 0o020)
        return -1

    def add_work_tree(self, place: Path, commit: str) -> None:
        """Check out a commit at `place`, which has the repository in common with the checkout.

        Its layout is remembered, so that git need not be asked for it.
        """
        words = ["worktree", "add", "--quiet", "--force", "--detach", str(place), commit]
        self._change(*WITHOUT_HOOKS, *words)
        top, common = self.layout.top, self.layout.common_directory
        if self.variables:  # of a shadow: nothing that runs there is to find a repository, as in the project
            (place / ".git").unlink()
            return
        own = os.path.normpath(place / read_text(place / ".git").removeprefix("gitdir: ").rstrip("\n"))
        self.runner.remembered[(place / self.root.relative_to(top), *LAYOUT)] = f"{place}\n{own}\n{common}"

    def clone_submodules(self, commit: str, place: Path) -> None:
        """Check out the submodules that the checkout uses below `place`, at the commits that `commit` names.

        They are cloned from those of the checkout, which get the commits if need be, and stay at their own.
        """
        submodules = self.submodules(commit)
        known = self.submodules("HEAD") if submodules else {}
        for path, wanted in submodules.items():
            if path not in known:
                raise _adds_submodule(commit, path)
            source = self.layout.top / path
            if not (source / ".git").exists():
                continue
            inner = replace(self, root=source)
            if not inner.has(wanted):
                inner._change("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
            self._change("clone", "--quiet", "--shared", "--no-checkout", str(source), str(place / path))
            self._change("-C", str(place / path), *WITHOUT_HOOKS, "checkout", "--quiet", "--detach", wanted)
            inner.clone_submodules(wanted, place / path)

    def shadow(self, place: Path) -> Git:
        """Make a repository at `place` that has all that this one has, and return the checkout as seen from there.

        It takes objects and configuration from this one (gitrepository-layout(5), `objects/info/alternates`). Whatever
        is fetched or named by a reference is kept at `place`: nothing is written into this one.
        """
        layout, own = self.layout, place / ".git"
        kind = self._lines("rev-parse", "--show-object-format")[0]
        self._change("init", "--quiet", "--template=", f"--object-format={kind}", str(place))
        information = own / "objects" / "info"
        information.mkdir(exist_ok=True)
        (information / "alternates").write_text(f"{layout.common_directory / 'objects'}\n", encoding="utf-8")
        for file in (layout.common_directory / "config", layout.git_directory / "config.worktree"):
            if file.is_file():
                self._change("config", "--file", str(own / "config"), "--add", "include.path", str(file))
        # A pack is kept as it is. Objects taken out of one are looked for here, and get another time if they are found.
        self._change("config", "--file", str(own / "config"), "fetch.unpackLimit", "1")
        if (layout.common_directory / "shallow").is_file():
            shutil.copyfile(layout.common_directory / "shallow", own / "shallow")
        seen = replace(self, variables={"GIT_DIR": str(own), "GIT_WORK_TREE": str(layout.top)})
        seen._change("update-ref", "--no-deref", "HEAD", self.commit("HEAD"))
        return seen

    def record(self, files: Collection[str]) -> None:
        """Commit these files of the work tree and no others to a shadow, in the place of what was committed before.

        It is made if it is not there. Raises OSError, too.
        """
        own = self.layout.git_directory
        if not (own / "info" / "attributes").exists():
            shared = own.parent.stat().st_mode & stat.S_IWGRP  # else it is for this user alone
            variables = {**self.variables}
            del variables["GIT_WORK_TREE"]  # else the repository would name it, wherever it is used
            how = f"--shared={'group' if shared else 'umask'}"
            words = ("--template=", "--initial-branch=main", "--bare", how, str(own))
            replace(self, variables=variables)._change("init", *words)
            own.chmod(0o2770 if shared else 0o700)
            with (own / "config").open("a", encoding="utf-8") as file:
                file.write(_OF_SHADOW)
            (own / "info").mkdir(exist_ok=True)
            (own / "info" / "attributes").write_text(_AS_IT_LIES, encoding="utf-8")  # last: it tells that all is done
        if gone := {*self.tracked_files()}.difference(files):
            self._change("update-index", "-z", "--force-remove", "--stdin", input=os.fsencode("\0".join(gone)))
        paths = os.fsencode("\0".join(files))
        self._change("update-index", "-z", "--add", "--remove", "--replace", "--stdin", input=paths)
        if self._run("diff-index", "--cached", "--quiet", "HEAD", check=False).returncode:
            tree = self._change("write-tree").stdout.strip()
            self._change("update-ref", "HEAD", self._change("commit-tree", tree).stdout.strip())
            with contextlib.suppress(ToolError):  # else the next commit does it
                self._change("gc", "--prune=now")  # of what was committed before

    def list_unrecorded(self, files: Collection[str]) -> list[str]:
        """List which of these files of the work tree are not as in a shadow, and what that has besides."""
        return sorted({*self.tracked_files()}.symmetric_difference(files).union(self.tracked_files("--modified")))

    def fill_shadow(self, place: Path, commit: str) -> None:
        """Check out a commit in the shadow at `place`, its submodules included; `self` is the checkout seen from there.

        Of the submodules, the checkout has to use those that the commit has, as for `clone_submodules`.
        """
        known = self.submodules("HEAD")
        tree = replace(
            self, root=place, variables={**self.variables, "GIT_WORK_TREE": str(place), **_WITHOUT_DOWNLOADS}
        )
        tree._change(*WITHOUT_HOOKS, "checkout", "--quiet", "--force", "--detach", commit)
        for path, wanted in self.submodules(commit).items():
            if path not in known:
                raise _adds_submodule(commit, path)
            source = self.layout.top / path
            if (source / ".git").exists():
                inner = replace(self, root=source, variables={}).shadow(place / path)
                if not inner.has(wanted):
                    inner._change("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
                inner.fill_shadow(place / path, wanted)

    def undo_half_merge(
        self, before: str, after: str, *, without: Collection[str] = (), keep: Keep = lambda _: None
    ) -> list[str]:
        """Undo what a fast-forward from `before` (where HEAD mostly still is) to `after` did before it was cut off.

        Only files that differ between the two are touched, and of these none in `without`: those of `before` are put
        back, and those that `after` adds are deleted. What is of neither commit goes to `keep` first. Returns what git
        does not track and lies where a file of `before` was: that stays, too. Raises ToolError.
        """
        blocked = [path for path in self._list_losses(after, before, known=[before]) if path not in without]
        for path in self._list_added(before, after):
            place = self.layout.top / path
            if path in without or not (self._is_whole(after, path) or self._is_beginning(after, path)):
                continue
            if not self._is_whole(after, path):
                keep(place)
            place.unlink()
            with contextlib.suppress(OSError):  # it is not empty
                while (place := place.parent) != self.layout.top:  # directories that git made for the file
                    place.rmdir()
        known = [
            path
            for path in self._list_differing(before, after, "a")
            if path not in without and not any(are_related(path, one) for one in blocked)
        ]
        for path in known:
            place = self.layout.top / path
            is_file = place.is_file() and not place.is_symlink()
            if is_file and not (self._is_whole(before, path) or self._is_whole(after, path)):
                keep(place)
        for start in range(0, len(known), _PATHS_AT_ONCE):
            paths = known[start : start + _PATHS_AT_ONCE]
            self._change(*WITHOUT_HOOKS, "checkout", "--quiet", before, "--", *(f":(top){path}" for path in paths))
        self._move("reset", "--quiet", before, to=before)
        return blocked

    def commit_only(self, paths: Sequence[str], message: str) -> bool:
        """Commit these paths as they are in the checkout, and nothing else; False when they are as committed."""
        state = self._lines("status", "--porcelain", "--untracked-files=all", "--ignored=matching", "--", *paths)
        if not state:
            return False
        if any(line[:2] in ("??", "!!") for line in state):
            self._change("add", "--", *paths)
        author = ("-c", "user.name=releaser", "-c", f"user.email=releaser@{os.uname().nodename}")
        # A server often has nobody configured as the author of commits.
        identity = () if "user.email" in self._read_config() else author
        try:
            self._change(*identity, "commit", "--quiet", "-m", message, "--only", "--", *paths)
        except ToolError as error:
            if "failed to sign" not in error.output and "failed to write commit object" not in error.output:
                raise
            advice = (
                "`commit.gpgSign` is on. Give this user a key that signs without a question, or let releaser commit"
                f" unsigned: `git -C {self.root} config --replace-all commit.gpgSign false`."
            )
            message = "the commit cannot be signed"
            raise ToolError(message, advice, output=error.output) from error
        return True

    def unstage(self, paths: Sequence[str]) -> None:
        """Let the index have these paths, relative to the top, as HEAD has them; a commit that failed staged them."""
        if paths:
            self._change(*WITHOUT_HOOKS, "reset", "--quiet", "HEAD", "--", *(f":(top){path}" for path in paths))

    def push(self, remote: str, branch: str, commit: str) -> None:
        """Push `commit` to the remote's `branch`; never forced, so ToolError when the remote moved."""
        self._change("push", "--quiet", remote, f"{commit}:refs/heads/{branch}")

    def push_over(self, remote: str, branch: str, commit: str, before: str) -> None:
        """Push `commit` in the place of `before`, empty for none; ToolError when the remote has anything else there."""
        place = f"refs/heads/{branch}"
        self._change("push", "--quiet", f"--force-with-lease={place}:{before}", remote, f"{commit}:{place}")

    def forget_work_tree(self, place: Path) -> None:
        """Delete what the repository knows of a work tree that was at `place`, and of no other. Raises OSError.

        `git worktree prune` would also forget those of people whose disk is not mounted at the moment.
        """
        common = self.layout.common_directory
        doomed = common / "releaser-work-tree-to-delete"
        if doomed.exists():
            shutil.rmtree(doomed)
        for directory in self._records_of(place):
            # Renamed first: of a half-deleted one, git fsck would say that its HEAD points at nothing.
            directory.rename(doomed)
            shutil.rmtree(doomed)

    def has_work_tree(self, place: Path) -> bool:
        """Whether the repository knows of a work tree at `place`, as it does before git makes anything there."""
        return any(True for _ in self._records_of(place))

    def _records_of(self, place: Path) -> Iterator[Path]:
        for record in self.layout.common_directory.glob("worktrees/*"):
            text = (read_if_there(record / "gitdir") or b"").decode(errors="surrogateescape").strip("\n")
            # A power cut can leave the file empty; and a kill, before git writes it or while it takes away what it
            # began, leaves none. git names the directory as the tree, with `-` for a first dot, and with a number
            # if there is one of that name.
            named = re.fullmatch(rf"-?{re.escape(place.name.lstrip('.'))}\d*", record.name)
            if Path(text) == place / ".git" or (not text and named):
                yield record

    def mirror(self, url: str, place: Path, wanted: Collection[str]) -> None:
        """Fetch all of a repository that is read with the keys and passwords of the user, into a new one at `place`.

        It can be fetched from afterwards, also by the commits and references that are `wanted` and on no branch.
        """
        inner = ("-C", str(place))
        self._change("init", "--quiet", "--bare", str(place))
        self._change(*inner, "config", "uploadpack.allowAnySHA1InWant", "true")
        settings = {"remote.source.url": url, **unseen_passwords([url])}
        words = (*inner, "fetch", "--quiet", "--no-auto-maintenance", "--no-write-fetch-head", "source")
        self._change(*words, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", settings=settings)
        with contextlib.suppress(ToolError):  # it may lead to a branch that is not there
            self._change(*words, "+HEAD:refs/releaser/head", settings=settings)
            self._change(*inner, "update-ref", "--no-deref", "HEAD", "refs/releaser/head")
        for one in wanted:
            with contextlib.suppress(ToolError):  # then it is not there, as uv will say
                if self._run(*inner, "rev-parse", "--quiet", "--verify", f"{one}^{{commit}}", check=False).returncode:
                    self._change(
                        *words,
                        f"+{one}:{one if one.startswith('refs/') else f'refs/releaser/{one}'}",
                        settings=settings,
                    )

    def _change(
        self,
        *words: str,
        umask: int = -1,
        input: bytes = b"",  # noqa: A002 - as of `_run`
        settings: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run a git that writes. SIGTERM, if releaser dies, lets it delete its lock files."""
        began = time.time()
        try:
            return self._run(*words, umask=umask, death_signal=signal.SIGTERM, input=input, settings=settings)
        except ToolError as error:
            if error.timed_out or (error.returncode or 0) < 0:
                # The index was locked only by a command that moves it; another lock of it is somebody else's.
                self.remove_dead_locks(began, index=not _MOVES_INDEX.isdisjoint(words))
            raise

    def remove_dead_locks(self, since: float, *, index: bool = True) -> bool:
        """Delete the lock files that a killed git of ours has left, as every later git would refuse to work.

        They were made by this user after `since` (seconds since 1970), when the run or the command began that was cut
        off, and no git of this user is at work here that may have made them. git names any other one. False if one
        stays that this user made.
        """
        try:
            layout = self.layout
        except ToolError:
            return False
        locks = {*layout.git_directory.glob("*.lock")}
        for directory in {layout.git_directory, layout.common_directory}:  # refs of one work tree, and those of all
            locks |= {*(directory / "refs").rglob("*.lock")}
        locks |= {one for one in layout.common_directory.glob("*.lock") if one.name not in _OF_ONE_WORK_TREE}
        dead = {}
        for lock in locks if index else (one for one in locks if one.name != "index.lock"):
            with contextlib.suppress(OSError):
                made = lock.stat()
                if made.st_uid == os.geteuid() and made.st_mtime >= since - _CLOCK_TICK:
                    dead[lock] = made.st_ino, made.st_mtime_ns
        if dead and may_be_running("git", self._places()):
            return False
        for lock, file in dead.items():
            with contextlib.suppress(OSError):
                now = lock.stat()
                if (now.st_ino, now.st_mtime_ns) == file:  # else another git has made it meanwhile
                    lock.unlink()
        return not any(map(os.path.lexists, dead))

    def _places(self) -> set[Path]:
        """List the directories of the repository and of its work trees (gitrepository-layout(5), `worktrees`)."""
        common = self.layout.common_directory
        found = {self.layout.top, self.layout.git_directory, common}
        if common.name == ".git":
            found.add(common.parent)
        for file in common.glob("worktrees/*/gitdir"):
            with contextlib.suppress(OSError):
                found.add((file.parent / read_text(file).strip()).parent.resolve())
        return found


def _adds_submodule(commit: str, path: str) -> ToolError:
    message = f"commit {commit[:12]} adds the submodule {path}, which releaser cannot try before it is here"
    advice = (
        "Let a commit add just that, which no code uses yet, and bring it in by hand: `git fetch`, `git merge --ff-only"
        " COMMIT`, `git submodule update --init --recursive`. What uses it comes in by the next update, which tests it."
    )
    return ToolError(message, advice)
