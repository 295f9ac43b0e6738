"""Drives git: moves the checkout, fast-forward only, commits and pushes single files; `GitReader` asks questions."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import RefusedPushError, ToolError
from releaser.system import common
from releaser.system.environment import unseen_passwords
from releaser.system.expression import expression
from releaser.system.files import clear_name, read_file, read_if_there, read_text, replace_file, sync_directory
from releaser.system.frozen import replace
from releaser.system.later import Later
from releaser.system.process import Finished, write_out
from releaser.system.signals import may_be_running
from releaser.system.words import first_few
from releaser.tools.git_reader import FETCHED, LAYOUT, RENEW, WITHOUT_HOOKS, YES, GitReader, asks_for_credentials
from releaser.tools.git_state import OURS

if TYPE_CHECKING:
    import shutil
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    Keep = Callable[[Path], object]
else:
    shutil = Later("shutil")

_KEPT = "refs/releaser/left/"
_WITHOUT_DOWNLOADS = {"GIT_LFS_SKIP_SMUDGE": "1"}  # skip downloads of large files by git-lfs
_HANGS = b"-"  # the answer of a remote that did not: then no site waits for another one
_PATHS_AT_ONCE = 200  # a command line has a limit
_MOVES_INDEX = frozenset({"add", "checkout", "commit", "merge", "reset"})
_SECTION = expression(r"(?m)^(?=\s*\[)")
_OF_ONE_CLONE = ("[branch", "[user")  # sections of a configuration that do not matter to a fetch
# In it, other files or addresses, or objects that are fetched when they are needed.
_READS_MORE = expression(r"(?i)\[include|insteadof|partialclone|promisor|worktreeconfig")
# The line of `git push --porcelain` about a branch that has other commits, also if it got them a moment ago.
_OVERTAKEN = expression(r"(?m)^!\s[^\s]*\s\[(?:rejected\]|remote rejected\] \((?:failed to update|cannot lock) ref)")
_REFUSAL = expression(r"(?m)^!\s[^\s]*\s\[remote rejected\] \((.*)\)$")
_REMARK = expression(r"(?m)^remote: ?(.*)$")
_MIRROR = "releaser-mirror"  # the name of one address of a remote that has several
_CLOCK_TICK = 0.1  # seconds; file times are those of the kernel's last tick
_OF_ONE_WORK_TREE = frozenset({"index.lock", "HEAD.lock", "ORIG_HEAD.lock"})


class Git(GitReader):
    """The checkout at `root`, with methods that change it or its repository. Every method raises ToolError."""

    def fetch(self, remote: str, branch: str, *, into: str = FETCHED, shared: bool = False) -> str:
        """Fetch `branch` into a reference and return its commit; the checkout does not move.

        With `shared`, the answer may be that of another site with the same remote, some minutes old; new commits then
        come from the repository of that site.
        """
        question = self._about_remote(remote, branch)
        if question is None:
            return self._fetch(remote, f"refs/heads/{branch}", into)
        with common.asking(*question) as answer:
            hangs = answer is not None and answer.known == _HANGS
            if shared and answer is not None and answer.known is not None and not hangs:
                commit, place = answer.known.decode(errors="surrogateescape").split(" ", 1)
                if self.layout.read(into) == commit:
                    return commit
                with contextlib.suppress(ToolError):
                    return self._fetch(place, commit, into)
            if not hangs:
                try:
                    commit = self._fetch(remote, f"refs/heads/{branch}", into)
                except ToolError as error:
                    if answer is not None and error.timed_out:
                        answer.keep(_HANGS)
                    raise
                if answer is not None:
                    place = str(self.layout.common_directory)
                    answer.keep(f"{commit} {place}".encode(errors="surrogateescape"))
                return commit
        return self._fetch(remote, f"refs/heads/{branch}", into)

    def _fetch(self, source: str, name: str, into: str) -> str:
        # FETCH_HEAD would be made under the umask, so that another user of the group could no longer fetch.
        words = ["fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head"]
        self._change(*words, source, f"+{name}:{into}")
        return self.commit(into)

    def _about_remote(self, remote: str, branch: str) -> tuple[object, ...] | None:
        """Return the question that sites share if they fetch a branch in the same way; None if that is not certain."""
        common_directory = self.layout.common_directory
        if not common.is_shared() or self.variables:
            return None
        try:
            text = read_file(common_directory / "config").decode(errors="surrogateescape")
        except OSError:
            return None
        has_more = (common_directory / "config.worktree").exists() or _READS_MORE.search(text)
        if has_more or (common_directory / "shallow").exists():
            return None
        ways = [part for part in _SECTION.split(text) if not part.startswith(_OF_ONE_CLONE)]
        address = self._read_config().get(f"remote.{remote}.url", "")
        place = self.layout.top / address
        variables = {name: one for name, one in self._environ.items() if not name.lstrip("_").startswith("RELEASER_")}
        where = os.path.realpath(place) if place.exists() else address
        return "remote head", sorted(ways), sorted(variables.items()), remote, where, branch

    def _forget_head(self, remote: str, branch: str) -> None:
        """Let other sites ask the remote again, after a push or because the branch has moved."""
        if (question := self._about_remote(remote, branch)) is not None:
            with common.asking(*question) as answer:
                if answer is not None:
                    answer.forget()

    def set_reference(self, name: str, commit: str) -> None:
        """Set one of releaser's references to a commit."""
        self._change("update-ref", f"{OURS}{name}", commit)

    def drop_references(self) -> None:
        """Delete releaser's references, except those below refs/releaser/left, which keep commits for people."""
        for name in self._run("for-each-ref", "--format=%(refname)", OURS).stdout.split():
            self._change("update-ref", "-d", name)

    def keep(self, commit: str) -> None:
        """Give a commit that the branch leaves a reference below refs/releaser/left, so that git keeps it."""
        self._change("update-ref", f"{_KEPT}{commit[:12]}", commit)

    def fast_forward(self, commit: str) -> None:
        """Move branch and checkout forward to `commit`; ToolError if that is no fast-forward, or would lose a file."""
        self._refuse_loss("HEAD", commit)
        words = ("--ff-only", "--no-overwrite-ignore", "--no-verify-signatures", "--no-squash", "--quiet")
        self._move("merge", *words, commit, to=commit)

    def reset_keep(self, commit: str) -> None:
        """Move branch and checkout to `commit`; ToolError if that would lose uncommitted work or untracked files."""
        self._refuse_loss("HEAD", commit)
        staged = self._list_staged()
        changed = {*self._list_differing("HEAD", commit, "ACDMRT")} if staged else set()
        self._move("reset", "--keep", "--quiet", commit, to=commit)
        # git keeps the files, but forgets that they were staged (git-reset(1), --keep).
        kept = "".join(f"{entry}\t{path}\0" for path, entry in staged.items() if path not in changed)
        if kept:
            self._change("-C", str(self.layout.top), "update-index", "-z", "--index-info", input=kept.encode())

    def _list_staged(self) -> dict[str, str]:
        """Map staged paths to their entries, `MODE BLOB` as `git update-index --index-info` takes them."""
        words = ("diff-index", "--cached", "-z", "--no-renames", "--no-abbrev", "HEAD")
        found = self._run(*words).stdout.split("\0")
        return {path: " ".join(entry.split()[1:4:2]) for entry, path in zip(found[::2], found[1::2], strict=False)}

    def _list_losses(self, before: str, after: str, *, known: Sequence[str] = ()) -> list[str]:
        """List the untracked files that a move of the checkout would lose, except those equal to the commit's."""
        found = self.in_the_way(before, after, known=known)
        return [path for path in found if path.endswith("/") or not self._is_whole(after, path)]

    def _refuse_loss(self, before: str, after: str) -> None:
        """Raise ToolError if a move of the checkout would overwrite or remove untracked files."""
        if lost := self._list_losses(before, after):
            from releaser.tools.in_the_way import advise_in_the_way, describe_in_the_way

            message = describe_in_the_way(lost, after)
            raise ToolError(message, advise_in_the_way(lost, self.layout.top))

    def reset_torn(self, before: str, after: str, *, power_cut: bool, keep: Keep) -> list[str]:
        """Move back from `after` to `before` after an interrupted move between them; list the files left unchanged.

        A file that is neither as in `before` nor as in `after` may be half-written by git. Then it is replaced, after
        `keep` has saved it. After a power cut, every file with the beginning of its content in `after` may be
        half-written; otherwise at most one, because git writes one file after the other. All other such files are a
        person's edits, and stay. Raises ToolError.
        """
        edits = self._find_edits(before, after, power_cut=power_cut)
        return [*edits, *self.undo_half_merge(before, after, without=edits, keep=keep)]

    def _find_edits(self, before: str, after: str, *, power_cut: bool) -> list[str]:
        """List the files that are neither from `before` nor from `after`, and that git cannot have half-written."""
        submodules = self.submodules(before).keys() | self.submodules(after).keys()
        moved = sorted({*self._list_differing(before, after, "ACDMRT")} - submodules)
        written = [path for path in moved if self.blob(after, path)]
        whole = [number for number, path in enumerate(written) if self._is_whole(after, path)]
        last = max(whole, default=-1)
        # git writes files in the order of the index, which is that of their paths (git-read-tree(1), checkout.workers).
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
        """True if a file is empty, or has the beginning of its content in a commit, as a crash may leave it."""
        place = self.layout.top / path
        if place.is_symlink() or not place.is_file():
            return False
        whole = self.content(commit, path)
        return whole is not None and whole.startswith(read_text(place, errors="replace").rstrip("\0\ufffd"))

    def _move(self, *words: str, to: str) -> None:
        """Move the checkout and its submodules to a commit, and flush its files to disk; git flushes only its own."""
        wanted = self.submodules(to)
        before = self.submodules("HEAD") if wanted else {}
        umask = self._umask()
        self._change(*WITHOUT_HOOKS, *words, umask=umask)
        moved = [path for path, commit in wanted.items() if before.get(path) != commit]
        used = [path for path in moved if (self.layout.top / path / ".git").exists()]
        if used:  # the commits were fetched for the staging tree
            words = ("submodule", "update", "--recursive", "--no-fetch", "--quiet", "--", *used)
            self._change("-C", str(self.layout.top), *WITHOUT_HOOKS, *words, umask=umask)
        write_out(self.root)

    def _umask(self) -> int:
        """Return a umask that fits the mode of the checkout, so that web servers can read new files; -1 if unknown."""
        with contextlib.suppress(OSError):
            mode = self.layout.top.stat().st_mode
            readable = (mode | (mode & 0o011) << 2) & 0o044  # users who may only enter the directory read its files
            return 0o077 & ~readable & ~(readable >> 2) & ~(mode & 0o020)
        return -1

    def add_work_tree(self, place: Path, commit: str) -> None:
        """Check out a commit at `place`, as a work tree of the checkout's repository.

        Its layout is remembered, so that git need not be asked for it. If releaser dies, git goes on: only a filter,
        such as that of git-lfs, may ask another host, and the next run ends git before that deletes the tree.
        """
        words = ["worktree", "add", "--quiet", "--force", "--detach", str(place), commit]
        self._change(*WITHOUT_HOOKS, *words, death_signal=None)
        own = os.path.normpath(place / read_text(place / ".git").removeprefix("gitdir: ").rstrip("\n"))
        self._remember_work_tree(place, own)

    def add_empty_work_tree(self, place: Path, commit: str) -> bool:
        """Record `place` as a work tree of a commit, without its files; False if only git can do that.

        The files are those that `git worktree add --no-checkout` writes (gitrepository-layout(5), `worktrees`), which
        starts three programs. `fill_work_tree` adds the code. Nothing is written if the name is taken or needs another
        spelling, the references are in the format reftable, or the repository has settings for single work trees.
        """
        common, own = self.layout.common_directory, self.layout.git_directory
        record = common / "worktrees" / f"-{place.name.lstrip('.')}"
        # git takes such a name as it is, and replaces most other characters
        is_plain = all(part.replace("-", "").replace("_", "").isalnum() for part in record.name.split("."))
        if not is_plain or not (common / "refs" / "heads").is_dir() or (own / "config.worktree").exists():
            return False
        mode = stat.S_IMODE(common.stat().st_mode)  # other users of the group may have to delete it
        with contextlib.suppress(FileExistsError):
            record.parent.mkdir()
            record.parent.chmod(mode)
        try:
            record.mkdir()
        except FileExistsError:
            return False
        record.chmod(mode)
        texts = {place / ".git": f"gitdir: {record}", record / "gitdir": place / ".git", record / "commondir": "../.."}
        try:
            (record / "locked").touch()  # else a `git worktree prune` would delete the record before it is complete
            for file, text in {**texts, record / "HEAD": commit}.items():
                file.write_text(f"{text}\n", encoding="utf-8", errors="surrogateescape")
            (record / "locked").unlink()
        except OSError:
            shutil.rmtree(record, ignore_errors=True)  # half a path in it would be that of no tree
            raise
        self._remember_work_tree(place, str(record))
        return True

    def fill_work_tree(self, place: Path) -> None:
        """Check out all files of the commit at `place`, which may have some of them already."""
        self._change("-C", str(place), *WITHOUT_HOOKS, "reset", "--hard", "--quiet")

    def _remember_work_tree(self, place: Path, own: str) -> None:
        top, common = self.layout.top, self.layout.common_directory
        self.runner.remembered[(place / self.root.relative_to(top), *LAYOUT)] = f"{place}\n{own}\n{common}"

    def clone_submodules(self, commit: str, place: Path) -> None:
        """Check out, below `place`, the submodules that the checkout uses, at the commits that `commit` names.

        They are cloned from the submodules of the checkout, which fetch missing commits but do not move.
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
            if not inner.has_commit(wanted):
                inner._change("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
            self._change("clone", "--quiet", "--shared", "--no-checkout", str(source), str(place / path))
            self._change("-C", str(place / path), *WITHOUT_HOOKS, "checkout", "--quiet", "--detach", wanted)
            inner.clone_submodules(wanted, place / path)

    def shadow(self, place: Path) -> Git:
        """Make a repository at `place` that has all objects of this one, and return the checkout as seen from there.

        It reads objects and configuration of this one (gitrepository-layout(5), `objects/info/alternates`). New objects
        and references are stored at `place`; nothing is written into this one.
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
        # Keep fetched packs: git would look for each unpacked object in this repository, and change the time of its
        # file.
        self._change("config", "--file", str(own / "config"), "fetch.unpackLimit", "1")
        if (layout.common_directory / "shallow").is_file():
            shutil.copyfile(layout.common_directory / "shallow", own / "shallow")
        seen = replace(self, variables={"GIT_DIR": str(own), "GIT_WORK_TREE": str(layout.top)})
        seen._change("update-ref", "--no-deref", "HEAD", self.commit("HEAD"))
        return seen

    def record_code(self) -> None:
        """Do nothing: people commit the code. `ShadowGit` records that of a project without git."""

    def differs_from(self, key: str, *, since: datetime) -> bool:  # noqa: ARG002 - for `ShadowGit`
        """Return False: it is not known with which code a release was tested that names no commit."""
        return False

    def choose_staging_commit(self, commit: str) -> tuple[Mapping[str, str], str]:
        """Return the variables for git in a staging tree of this shadow, and the commit to check out there."""
        return {}, commit

    def forget_shadow(self, place: Path) -> None:
        """Delete the shadow repository of a project that has come under git. Raises OSError."""
        clear_name(place, of_directory=True)

    def exclude(self, *places: Path) -> None:
        """Hide these paths of the work tree from `git status`, in this clone only. Raises OSError, too.

        `.venv/` or `dist/` in .gitignore does not match a symlink.
        """
        top, file = self.layout.top, self.layout.common_directory / "info" / "exclude"
        wanted = [_ignoring(str(place.relative_to(top))) for place in places if place.is_relative_to(top)]
        present = read_file(file) if file.exists() else b""
        missing = [line for line in wanted if line not in present.splitlines()]
        if missing:
            file.parent.mkdir(exist_ok=True)
            separator = b"" if not present or present.endswith(b"\n") else b"\n"
            added = separator + b"\n".join(missing) + b"\n"
            try:
                with file.open("ab") as stream:
                    stream.write(added)
                    stream.flush()
                    os.fsync(stream.fileno())  # recovery of an adoption after a power cut does not repeat this
                sync_directory(file.parent)
            except PermissionError:  # git lets members of the group replace the file, and not write to it
                replace_file(file, present + added)

    def fill_shadow(self, place: Path, commit: str) -> None:
        """Check out a commit in the shadow at `place`, with its submodules; `self` is the checkout seen from there.

        The checkout must have all submodules of the commit, as for `clone_submodules`.
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
                if not inner.has_commit(wanted):
                    inner._change("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
                inner.fill_shadow(place / path, wanted)

    def undo_half_merge(
        self, before: str, after: str, *, without: Collection[str] = (), keep: Keep = lambda _: None
    ) -> list[str]:
        """Undo an interrupted fast-forward from `before`, where HEAD usually still is, to `after`.

        Only files that differ between the two are touched, except those in `without`: files of `before` are restored,
        and files that `after` adds are deleted. A file that is of neither commit goes to `keep` first. Returns the
        untracked files in the place of files of `before`: these stay, too. Raises ToolError.
        """
        from releaser.tools.in_the_way import are_related

        blocked = [path for path in self._list_losses(after, before, known=[before]) if path not in without]
        for path in self._list_added(before, after):
            place = self.layout.top / path
            if path in without or not (self._is_whole(after, path) or self._is_beginning(after, path)):
                continue
            if not self._is_whole(after, path):
                keep(place)
            place.unlink()
            with contextlib.suppress(OSError):  # not empty
                while (place := place.parent) != self.layout.top:  # delete directories that git made for the file
                    place.rmdir()
        known = [
            path
            for path in self._list_differing(before, after, "a")
            if path not in without and not any(are_related(path, blocked_path) for blocked_path in blocked)
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
        """Commit these paths as they are in the checkout, and nothing else; False if they have not changed."""
        state = self._lines("status", "--porcelain", "--untracked-files=all", "--ignored=matching", "--", *paths)
        if not state:
            return False
        if any(line[:2] in ("??", "!!") for line in state):
            self._change("add", "--", *paths)
        with self._signing():
            self._change(*self._identity(), "commit", "--quiet", "-m", message, "--only", "--", *paths)
        return True

    def stage(self, paths: Sequence[str]) -> str:
        """Stage these paths as they are in the checkout, and return the tree that a commit of the index would have."""
        self._change("add", "--", *paths)
        return self._change("write-tree").stdout.strip()

    def put_on_top(self, commit: str, onto: str, paths: Collection[str]) -> str:
        """Repeat a commit on top of `onto`, with its files at these paths alone; return the new commit.

        Paths are relative to the top. If `onto` has the same files there, it is returned itself. Branch, index and
        checkout stay as they are.
        """
        from releaser.system.temporary import temporary_directory  # only after a push of another site

        entries = {line.partition("\t")[2]: line.split() for line in self._tree(commit) if line}
        gone = (f"0 {'0' * len(commit)}\t{path}\0" for path in paths if path not in entries)
        kept = (f"{entries[path][0]} {entries[path][2]}\t{path}\0" for path in paths if path in entries)
        with temporary_directory() as scratch, self._signing():
            indexed = replace(self, variables={**self.variables, "GIT_INDEX_FILE": str(scratch / "index")})
            indexed._change("read-tree", onto)
            indexed._change("update-index", "-z", "--index-info", input="".join([*gone, *kept]).encode())
            tree = indexed._change("write-tree").stdout.strip()
            if tree == self._lines("rev-parse", f"{onto}^{{tree}}")[0]:
                return onto
            words = ("commit-tree", tree, "-p", onto, "-F", "-")
            signs = ("-S",) if self._read_config().get("commit.gpgsign", "false").lower() in YES else ()
            message = f"{self.message(commit).strip()}\n"
            return indexed._change(*self._identity(), *words, *signs, input=message.encode()).stdout.strip()

    def take_over(self, branch: str, before: str, after: str) -> None:
        """Move the branch from `before` to `after` if both have the same files, so that the checkout stays as it is."""
        if len({*self._lines("rev-parse", f"{before}^{{tree}}", f"{after}^{{tree}}")}) == 1:
            self._change("update-ref", "-m", "releaser: put on top", f"refs/heads/{branch}", after, before)

    def _identity(self) -> tuple[str, ...]:
        """Return the author of commits, if none is configured, as often on a server."""
        author = ("-c", "user.name=releaser", "-c", f"user.email=releaser@{os.uname().nodename}")
        return () if "user.email" in self._read_config() else author

    @contextlib.contextmanager
    def _signing(self) -> Iterator[None]:
        """Describe what to do if a commit cannot be signed."""
        try:
            yield
        except ToolError as error:
            if "failed to sign" not in error.output and "failed to write commit object" not in error.output:
                raise
            advice = (
                "`commit.gpgSign` is on. Give this user a key that signs without asking for a passphrase, or let"
                f" releaser commit unsigned: `git -C {self.root} config --replace-all commit.gpgSign false`."
            )
            message = "the commit cannot be signed"
            raise ToolError(message, advice, output=error.output) from error

    def unstage(self, paths: Sequence[str]) -> None:
        """Reset the index to HEAD for these paths, relative to the top, which a failed commit may have staged."""
        if paths:
            self._change(*WITHOUT_HOOKS, "reset", "--quiet", "HEAD", "--", *(f":(top){path}" for path in paths))

    def push(self, remote: str, branch: str, commit: str) -> None:
        """Push `commit` to the remote's `branch`, never by force: ToolError if the remote has other commits."""
        try:
            self._push(remote, f"{commit}:refs/heads/{branch}")
        finally:
            self._forget_head(remote, branch)

    def _push(self, *words: str, settings: Mapping[str, str] | None = None) -> None:
        """Run `git push`. Raises RefusedPushError if the remote has other commits, and ToolError.

        Only the lines of git itself count, which begin with `!`: a hook of the remote may print anything.
        """
        try:
            self._change("push", "--quiet", "--porcelain", *words, settings=settings)
        except ToolError as error:
            if _OVERTAKEN.search(error.output):
                raise RefusedPushError(error.message, returncode=error.returncode, output=error.output) from error
            raise _explain_push(error) from error

    def push_over(
        self, remote: str, branch: str, commit: str, before: str, *, is_own: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Push `commit` in place of `before`, empty for none; ToolError if the remote has another commit there.

        An empty `commit` deletes the branch. A mirror of the remote may be behind: whatever it has there is replaced if
        `is_own` accepts it.
        """
        place = f"refs/heads/{branch}"
        try:
            for address, settings, old in self._find_targets(remote, place, before, is_own):
                if old != commit or not settings:
                    self._push(f"--force-with-lease={place}:{old}", address, f"{commit}:{place}", settings=settings)
        finally:
            self._forget_head(remote, branch)

    def _find_targets(
        self, remote: str, place: str, before: str, is_own: Callable[[str], bool]
    ) -> Iterator[tuple[str, Mapping[str, str], str]]:
        """Yield each address of a push, with the settings that it needs, and the commit that may be replaced there."""
        if not self.has_mirrors(remote):
            yield remote, {}, before
            return
        for address in self._list_push_addresses(remote):
            settings = {f"remote.{_MIRROR}.url": address}
            old = self._run("ls-remote", _MIRROR, place, settings=settings).stdout.partition("\t")[0]
            if old and old != before:
                if not self.has_commit(old):
                    words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
                    self._change(*words, _MIRROR, place, settings=settings)
                if not is_own(old):
                    branch = place.removeprefix("refs/heads/")
                    message = f"{address} has commit {old[:12]} there, which this site did not make"
                    raise ToolError(
                        message, f"Merge that branch, or delete it: `git push {address} --delete {branch}`."
                    )
            yield _MIRROR, settings, old

    def delete_branch(
        self, remote: str, branch: str, commit: str, *, is_own: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Delete a branch of the remote that has exactly this commit; ToolError if it has another one."""
        self.push_over(remote, branch, "", commit, is_own=is_own)

    def forget_work_tree(self, place: Path) -> None:
        """Delete the repository's record of a work tree that was at `place`, and no other record. Raises OSError.

        `git worktree prune` would also delete the records of people's work trees on a disk that is not mounted.
        """
        common = self.layout.common_directory
        doomed = common / "releaser-work-tree-to-delete"
        if doomed.exists():
            shutil.rmtree(doomed)
        for directory in self._records_of(place):
            # Renamed first: git fsck would complain about the HEAD of a half-deleted record.
            directory.rename(doomed)
            shutil.rmtree(doomed)

    def has_work_tree(self, place: Path) -> bool:
        """True if the repository has a record of a work tree at `place`; git makes it before the work tree."""
        return any(True for _ in self._records_of(place))

    def _records_of(self, place: Path) -> Iterator[Path]:
        for record in self.layout.common_directory.glob("worktrees/*"):
            text = (read_if_there(record / "gitdir") or b"").decode(errors="surrogateescape").strip("\n")
            # A power cut can leave the file empty. If git is killed before it writes the file, or while it cleans up,
            # the file is missing. git names the directory like the tree, with `-` for a first dot, and adds a number if
            # the name is taken.
            name = rf"-?{re.escape(place.name.lstrip('.'))}\d*"
            if Path(text) == place / ".git" or (not text and re.fullmatch(name, record.name)):
                yield record

    def mirror(self, url: str, place: Path, wanted: Collection[str]) -> None:
        """Fetch all of a repository, with the keys and passwords of the user, into a new repository at `place`.

        It can then be fetched from, also by the `wanted` commits and references that are on no branch.
        """
        inner = ("-C", str(place))
        self._change("init", "--quiet", "--bare", str(place))
        self._change(*inner, "config", "uploadpack.allowAnySHA1InWant", "true")
        settings = {"remote.source.url": url, **unseen_passwords([url])}
        words = (*inner, "fetch", "--quiet", "--no-auto-maintenance", "--no-write-fetch-head", "source")
        self._change(*words, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", settings=settings)
        with contextlib.suppress(ToolError):  # it may lead to a missing branch
            self._change(*words, "+HEAD:refs/releaser/head", settings=settings)
            self._change(*inner, "update-ref", "--no-deref", "HEAD", "refs/releaser/head")
        for ref in wanted:
            with contextlib.suppress(ToolError):  # if the commit is missing, uv will report it
                if self._run(*inner, "rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}", check=False).returncode:
                    self._change(
                        *words,
                        f"+{ref}:{ref if ref.startswith('refs/') else f'refs/releaser/{ref}'}",
                        settings=settings,
                    )

    def _change(
        self,
        *words: str,
        umask: int = -1,
        input: bytes = b"",  # noqa: A002 - as of `_run`
        settings: Mapping[str, str] | None = None,
        death_signal: signal.Signals | None = signal.SIGTERM,
    ) -> Finished:
        """Run a git that writes. If releaser dies, git gets SIGTERM and can delete its lock files."""
        began = time.time()
        try:
            return self._run(*words, umask=umask, death_signal=death_signal, input=input, settings=settings)
        except ToolError as error:
            if error.timed_out or (error.returncode or 0) < 0:
                # Only commands that move the index lock it; another lock of it belongs to another program.
                self.remove_dead_locks(began, index=not _MOVES_INDEX.isdisjoint(words))
            raise

    def remove_dead_locks(self, since: float, *, index: bool = True) -> bool:
        """Delete lock files that a killed git of releaser left, which would stop every later git; False if one stays.

        Only lock files count that this user made after `since`, the start of the killed run or command in seconds since
        1970. They stay while a git of this user may be running here. Other lock files are ignored: git's own message
        names them.
        """
        try:
            layout = self.layout
        except ToolError:
            return False
        locks = {*layout.git_directory.glob("*.lock")}
        for directory in {layout.git_directory, layout.common_directory}:  # refs of this work tree, and those of all
            locks |= {*(directory / "refs").rglob("*.lock")}
        locks |= {path for path in layout.common_directory.glob("*.lock") if path.name not in _OF_ONE_WORK_TREE}
        dead = {}
        for lock in locks if index else (lock_file for lock_file in locks if lock_file.name != "index.lock"):
            with contextlib.suppress(OSError):
                status = lock.stat()
                if status.st_uid == os.geteuid() and status.st_mtime >= since - _CLOCK_TICK:
                    dead[lock] = status.st_ino, status.st_mtime_ns
        if dead and may_be_running("git", self._places()):
            return False
        for lock, file in dead.items():
            with contextlib.suppress(OSError):
                now = lock.stat()
                if (now.st_ino, now.st_mtime_ns) == file:  # else another git made it meanwhile
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


def _explain_push(error: ToolError) -> ToolError:
    """Return the error of a push with the reason of the remote, and what a person can do about it."""
    message, advice = error.message, ""
    if asked := asks_for_credentials(error):
        message, advice = f"the remote did not accept the key, password or token: {asked}", f"{RENEW}."
    elif refusal := _REFUSAL.search(error.output):
        remarks = [line[1].strip() for line in _REMARK.finditer(error.output) if line[1].strip()]
        message = f"the remote refuses it: {refusal[1]}" + (f" (it says: {first_few(remarks, 3)})" if remarks else "")
        advice = 'Let this user push to the branch. If only people may: `upgrade = "none"`, and `releaser propose`.'
    return ToolError(message, advice, returncode=error.returncode, timed_out=error.timed_out, output=error.output)


def _adds_submodule(commit: str, path: str) -> ToolError:
    message = f"commit {commit[:12]} adds the submodule {path}, which releaser cannot test before it is in the checkout"
    advice = (
        "First add the submodule in a commit without code that uses it, and merge that commit yourself: `git fetch`,"
        " `git merge --ff-only COMMIT`, `git submodule update --init --recursive`. Then push the code that uses it."
    )
    return ToolError(message, advice)


def _ignoring(path: str) -> bytes:
    """Return a gitignore(5) pattern that matches only this path."""
    literal = re.sub(r"([\\*?\[])", r"\\\1", path)
    text = literal.rstrip(" ")
    return os.fsencode(f"/{text}" + "\\ " * (len(literal) - len(text)))
