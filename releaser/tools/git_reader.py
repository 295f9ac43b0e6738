"""Asks git about the checkout and its repository; `git.py` changes them."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.system.digests import blob_id
from releaser.system.environment import (
    add_git_settings,
    find_program,
    keep_stored_passwords,
    of_git,
    own_path,
    unseen_passwords,
)
from releaser.system.expression import expression
from releaser.system.files import read_text
from releaser.system.frozen import Frozen, field, replace
from releaser.system.later import Later
from releaser.tools.git_state import OURS, WHOLE_ID, CheckoutState, Commit, Layout, Listing, parse_status

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Collection, Iterable, Mapping

    from releaser.system.process import Finished, Runner
    from releaser.tools.in_the_way import Move
else:
    hashlib = Later("hashlib")

# A hook of the site, such as one that runs `uv sync`, would change the live release before tests.
WITHOUT_HOOKS = ("-c", "core.hooksPath=/dev/null")
# Questions would wait forever; without a terminal (a new session has none) ssh does not ask either. And a hook must not
# write through the symlink into the live release.
_VARIABLES = {
    "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true", "LC_ALL": "C.UTF-8", "UV_NO_SYNC": "1",
}  # fmt: skip
# By default a power cut can leave empty objects and refs, with which git refuses to work.
_DURABLY = ("-c", "core.fsync=all")
# Settings that people make for their own work. They would change answers that are parsed, move more than requested, or
# refuse a tested commit. `lacks_signature` checks signatures before a build.
_NEUTRALLY = tuple(
    word
    for setting in (
        "advice.diverging=false", "diff.ignoreSubmodules=none", "diff.relative=false", "i18n.commitEncoding=UTF-8",
        "i18n.logOutputEncoding=UTF-8", "log.follow=false", "log.mailmap=false", "log.showSignature=false",
        "merge.autoStash=false", "push.followTags=false", "push.gpgSign=if-asked", "submodule.recurse=false",
    )
    for word in ("-c", setting)
)  # fmt: skip
LAYOUT = ("rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir", "--git-common-dir")
FETCHED = f"{OURS}fetched"  # the remote head at the last fetch
_READ = "^(" + "|".join((
    r"remote\..*\.(push)?url", r"branch\..*\.(remote|mergeoptions)", r"user\.email", r"hook\..*",
    r"commit\.gpgsign", r"core\.(alternaterefscommand|attributesfile|bare|worktree)", r"submodule\..*\.update",
    r"filter\..*\.(clean|smudge|process|required)", r"credential\.(.*\.)?helper", r"merge\.verifysignatures",
    r"gpg\.mintrustlevel",
)) + ")$"  # fmt: skip
YES = ("", "true", "yes", "on", "1")  # a boolean setting of git that is on
_USES_FILTER = expression(r"\sfilter=(\S+)")  # in .gitattributes
_ASKS_FOR_CREDENTIALS = (
    "could not read Username", "could not read Password", "Authentication failed", "terminal prompts disabled",
    "Permission denied", "Host key verification failed",
)  # fmt: skip
#: The advice if a remote does not let this user in.
RENEW = (
    "If the password or token expired or was withdrawn, store a new one for this user: `git ls-remote` asks for it on a"
    " terminal. Otherwise give this user an ssh key, or a credential helper that works unattended"
)


class GitReader(Frozen):
    """Questions about the checkout at `root`; `timeout` limits each call, in seconds. Every method raises ToolError."""

    runner: Runner
    root: Path
    timeout: float
    #: Variables that make git use a shadow of the repository; see `shadow`.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: True if git may start programs of the configuration: filters, hooks, a file system monitor.
    hooks: bool = False

    @functools.cached_property
    def _program(self) -> str:
        """The path of git; just its name, for the error message, if it is not found."""
        return find_program("git", self.runner.environ, self.root)[0] or "git"

    @functools.cached_property
    def layout(self) -> Layout:
        """The work tree and the repository; ToolError if `root` is in none."""
        if "GIT_DIR" in self.variables:
            place = Path(self.variables["GIT_DIR"])
            return Layout(top=Path(self.variables["GIT_WORK_TREE"]), git_directory=place, common_directory=place)
        question = (self.root, *LAYOUT)
        if question not in self.runner.remembered and (usual := Layout.usual(self.root)) is not None:
            settings = self._read_config()  # only they can name another work tree, or say that there is none
            if "core.worktree" not in settings and settings.get("core.bare", "false") == "false":
                return usual
        top, own, common = self._ask_once(*LAYOUT, place=(self.root,)).splitlines()
        return Layout(top=Path(top), git_directory=Path(own), common_directory=Path(common))

    def state(self) -> CheckoutState:
        """Return branch, HEAD and all files that are not as committed."""
        return parse_status(self._run("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all").stdout)

    def find_state(self) -> CheckoutState | None:
        """Return the same; None if git does not work. `ShadowGit` adds the files that differ from its record."""
        try:
            return self.state()
        except ToolError:
            return None

    def branch(self) -> str | None:
        """Return the branch that is checked out; None without one. In a large checkout this is faster than `state`."""
        return self.layout.branch() or self.state().branch

    def remote(self, branch: str) -> str | None:
        """Return the remote that `branch` is pulled from and pushed to; None without one."""
        settings = self._read_config()
        remotes = [name.split(".", 1)[1].rsplit(".", 1)[0] for name in settings if name.startswith("remote.")]
        add_git_settings = settings.get(f"branch.{branch}.remote")
        if add_git_settings in remotes:
            return add_git_settings
        if "origin" in remotes:
            return "origin"
        return remotes[0] if len(remotes) == 1 else None

    def push_address(self, remote: str) -> str:
        """Return the address that is pushed to; that of a local repository as a path without symlinks."""
        settings = self._read_config()
        address = settings.get(f"remote.{remote}.pushurl") or settings.get(f"remote.{remote}.url", "")
        place = self.layout.top / address
        return os.path.realpath(place) if place.is_dir() else address

    def has_mirrors(self, remote: str) -> bool:
        """True if a push to a remote goes to several addresses (`git remote set-url --add`)."""
        return len(self._list_push_addresses(remote)) > 1

    def _list_push_addresses(self, remote: str) -> list[str]:
        settings = self._list_config()
        kinds = ([value for key, value in settings if key == f"remote.{remote}.{name}"] for name in ("pushurl", "url"))
        return next(filter(None, kinds), [])

    def _read_config(self) -> dict[str, str]:
        """Return the settings about remotes, the author, and programs that git would start; the last of equal names."""
        return dict(self._list_config())

    def _list_config(self) -> list[tuple[str, str]]:
        """Return these settings with all values of each name. They are read once in a run."""
        words = ("config", "-z", "--get-regexp", _READ)
        found = self._ask_once(*words, place=(self.root, *self.variables.items()), check=False)
        entries = (entry.partition("\n") for entry in found.split("\0") if entry)
        return [(name, value) for name, _, value in entries]

    def filters_of(self, commit: str) -> list[str]:
        """Return the filters that apply to files of a commit, but that git is not allowed to start."""
        drivers = {
            name.split(".", 1)[1].rsplit(".", 1)[0] for name in self._read_config() if name.startswith("filter.")
        }
        if self.hooks or not drivers:
            return []
        places = [line.partition("\t")[2] for line in self._tree(commit)]
        texts = [self.content(commit, place) for place in places if place.rpartition("/")[2] == ".gitattributes"]
        given = self._read_config().get("core.attributesfile")
        for file in (self.layout.common_directory / "info" / "attributes", given and Path(given).expanduser()):
            with contextlib.suppress(OSError, RuntimeError):
                texts.append(read_text(file, errors="replace") if file else "")
        return sorted(drivers & {name for text in texts for name in _USES_FILTER.findall(text or "")})

    @functools.cached_property
    def _environ(self) -> dict[str, str]:
        return {**of_git(self.runner.environ), **_VARIABLES, **self.variables}

    @functools.cached_property
    def _stopping_environ(self) -> dict[str, str]:
        """The environment in which git starts no other program, whatever a commit or the site's code has set."""
        stopped = {"core.hooksPath": "/dev/null", "core.fsmonitor": "false"}
        for name, value in self._read_config().items():
            kind, key = name.partition(".")[0], name.rpartition(".")[2]
            if kind == "filter":
                stopped[name] = "false" if key == "required" else ""
            elif kind == "hook":  # since git 2.54
                stopped[f"{name.rpartition('.')[0]}.enabled"] = "false"
            elif kind == "submodule" and value.startswith("!"):
                stopped[name] = "checkout"
            elif key == "alternaterefscommand":
                stopped[name] = "true"  # it prints no references of another repository
        # ssh and gpg do not come from a venv either; gpg decides whose commits are trusted.
        own = {**self._environ, "PATH": own_path(self.runner.environ, self.root)}
        return add_git_settings(own, stopped.items())

    def remote_commit(self, remote: str, branch: str) -> str | None:
        """Ask the remote for the commit of `branch`, without fetching; None if it has no such branch."""
        return self.remote_commits(remote, [branch]).get(branch)

    def remote_commits(self, remote: str, branches: Iterable[str]) -> dict[str, str]:
        """Ask the remote for the commits of these branches, without fetching; the dict lacks missing ones."""
        words = [f"refs/heads/{branch}" for branch in branches]
        found = self._run("ls-remote", remote, *words, death_signal=signal.SIGTERM).stdout if words else ""
        entries = (line.partition("\t") for line in found.splitlines())
        return {name.removeprefix("refs/heads/"): commit for commit, _, name in entries}

    def commit(self, name: str) -> str:
        """Return the id of the commit that `name` stands for."""
        return self.layout.read(name) or self._lines("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")[0]

    def head(self) -> str:
        """Return the commit that is checked out; empty in a project without git."""
        return self.commit("HEAD")

    def name_of(self, commit: str | None) -> str | None:
        """Return the id of a commit for people; None in a shadow repository."""
        return commit or None

    def commits(self, old: str, new: str) -> tuple[Commit, ...]:
        """List the commits that `new` has and `old` lacks, newest first."""
        return tuple(commit for _, commit in self._log(f"{old}..{new}")) if self.layout.read(new) != old else ()

    def newest(self, commit: str, count: int) -> tuple[Commit, ...]:
        """List a commit and its ancestors along first parents, newest first, at most `count`."""
        return tuple(found for _, found in self._log("--first-parent", f"--max-count={count}", commit))

    def following(self, old: str, new: str, path: str = "") -> list[str]:
        """List the commits after `old` up to `new`, oldest first, along first parents.

        With a `path`, relative to the top, only commits that change it. Without one, the list is empty unless `old` is
        an ancestor of `new`.
        """
        words = ("rev-list", "--first-parent", "--reverse", f"{old}..{new}")
        if path:
            return self._lines(*words, "--", f":(top){path}")
        return self._lines(*words) if self.is_ancestor(old, new) else []

    def lacks_signature(self, commit: str, branch: str) -> bool:
        """True if git must merge only signed commits into `branch`, and this commit has no trusted signature.

        As in git-merge(1), --verify-signatures: a good signature counts; by a key of unknown trust, only if
        `gpg.minTrustLevel` allows it.
        """
        settings = self._read_config()
        wanted = settings.get("merge.verifysignatures", "false").lower() in YES
        if not wanted and "--verify-signatures" not in settings.get(f"branch.{branch}.mergeoptions", "").split():
            return False
        found = self._run("show", "--no-patch", "--format=%G?", commit).stdout.strip()
        if found == "U" and "gpg.mintrustlevel" in settings:
            return self._run("verify-commit", commit, check=False).returncode != 0
        return found != "G"

    def subject(self, commit: str) -> str:
        """Return the first line of a commit's message."""
        return self.runner.redactor.line(self._ask_about(commit, "show", "--no-patch", "--format=%s", commit))

    def message(self, commit: str) -> str:
        """Return the whole message of a commit."""
        return self._run("show", "--no-patch", "--format=%B", commit).stdout

    def tree_and_parents(self, commit: str) -> list[str]:
        """Return the ids of the tree of a commit, and of its parents."""
        return self._run("show", "--no-patch", "--format=%T %P", commit).stdout.split()

    def is_ancestor(self, old: str, new: str) -> bool:
        """True if `new` contains all commits of `old`; False if one is missing here."""
        return self._run("merge-base", "--is-ancestor", old, new, check=False).returncode == 0

    def has_commit(self, commit: str) -> bool:
        """True if a commit is in this repository."""
        return self._run("cat-file", "-e", f"{commit}^{{commit}}", check=False).returncode == 0

    def reference(self, name: str) -> str | None:
        """Return the commit of one of releaser's references; None without one."""
        return self._find_commit(f"{OURS}{name}")

    def tracked(self, remote: str, branch: str) -> str | None:
        """Return the commit of a remote's branch at the last fetch or push; None before the first."""
        return self._find_commit(f"refs/remotes/{remote}/{branch}")

    def _find_commit(self, name: str) -> str | None:
        words = ("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return self.layout.read(name) or self._run(*words, check=False).stdout.strip() or None

    def list_diverged(self, head: str, other: str) -> tuple[tuple[Commit, ...], tuple[Commit, ...]]:
        """List the commits that only `head` has and those that only `other` has, newest first."""
        found = self._log("--left-right", f"{head}...{other}")
        ahead = tuple(commit for side, commit in found if side == "<")
        return ahead, tuple(commit for side, commit in found if side == ">")

    def _log(self, *words: str) -> list[tuple[str, Commit]]:
        """Return commits, each with its side of a symmetric difference."""
        found = self._run("log", "-z", "--format=%m%n%H%n%an%n%s", *words).stdout
        entries, clean = (entry.split("\n", 3) for entry in found.split("\0") if entry), self.runner.redactor.line
        return [(side, Commit(id=one, subject=clean(subject), author=clean(by))) for side, one, by, subject in entries]

    def changed_since_parting(self, head: str, other: str) -> set[str]:
        """Return the paths that `head` changed since its merge base with `other`, relative to the top."""
        found = self._run("diff", "--name-only", "--no-renames", "-z", f"{other}...{head}").stdout.split("\0")
        return {path for path in found if path}

    def in_the_way(self, before: str, after: str, *, known: Iterable[str] = ()) -> list[str]:
        """List the untracked files that a move of the checkout from `before` to `after` would overwrite or remove.

        Paths are relative to the top. The files of the commits in `known` count as tracked, too.
        """
        from releaser.tools.in_the_way import find_in_the_way, parse_moves

        raw = self._run("diff-tree", "-r", "-z", "--no-renames", "--no-abbrev", before, after).stdout
        moves = parse_moves(raw)
        tracked = {line.partition("\t")[2] for commit in (before, *known) for line in self._tree(commit)}
        # An interrupted move leaves an index of either commit, and a shadow of the repository has none.
        if moves and not known and not self.variables:
            words = ("diff-index", "--cached", "--name-only", "-z", "--no-renames", "--diff-filter=D", before)
            tracked -= {*self._run(*words).stdout.split("\0")}  # untracked, such as by `git rm --cached`
        found = find_in_the_way(self.layout.top, moves, tracked)
        for move in moves:
            if move.is_of_submodule and (self.layout.top / move.path / ".git").exists():
                found += self._in_the_way_below(move)
        return found

    def _in_the_way_below(self, move: Move) -> list[str]:
        """List the files in the way in a submodule, which moves with the checkout to the commit that is named there."""
        inner = replace(self, root=self.layout.top / move.path, variables={})
        if inner.layout.top != inner.root:
            return []
        if inner.has_commit(move.new_id):
            return [f"{move.path}/{path}" for path in inner.in_the_way("HEAD", move.new_id)]
        # A submodule that stays gets its commits before the move. One that comes back to its old directory is in the
        # way.
        return [] if move.stays_submodule else [f"{move.path}/"]

    def _list_added(self, before: str, after: str) -> list[str]:
        """List the existing files and symlinks at paths that `after` adds to `before`, relative to the top.

        A file behind a symlink is elsewhere, and does not count.
        """
        added = ((path, self.layout.top / path) for path in self._list_differing(before, after, "A"))
        existing = ((path, place) for path, place in added if place.is_symlink() or place.is_file())
        return [path for path, place in existing if place.parent.resolve() == place.parent]

    def _is_whole(self, commit: str, path: str) -> bool:
        """True if the existing file or symlink at `path` equals the file of a commit, as filters write it."""
        place = self.layout.top / path
        if place.is_symlink():
            return str(place.readlink()) == self.content(commit, path)
        if not place.is_file():  # git would wait for a named pipe
            return False
        name = os.path.relpath(place, self.root)
        found = self._run("hash-object", f"--path={name}", "--", name, check=False).stdout.strip()
        return bool(found) and found == self._run("rev-parse", f"{commit}:{path}", check=False).stdout.strip()

    def edited(self, before: str, after: str) -> list[str]:
        """List the files with uncommitted edits among those that differ between `before` and `after`."""
        return sorted({*self.state().dirty} & {*self._list_differing(before, after, "a")})

    def _list_differing(self, before: str, after: str, kinds: str) -> list[str]:
        """List the paths that differ, relative to the top; `kinds` are those of --diff-filter in git-diff(1)."""
        words = ["diff", "--name-only", "--no-renames", f"--diff-filter={kinds}", "-z", before, after]
        return [path for path in self._run(*words).stdout.split("\0") if path]

    def bytes_to_write(self, before: str, after: str) -> int:
        """Return the bytes that a move of the checkout from `before` to `after` writes, in whole blocks of 4 KiB."""
        raw = self._run("diff-tree", "-r", "-z", "--no-renames", "--diff-filter=d", before, after).stdout
        blobs = [entry.split()[3] for entry in raw.split("\0") if entry.startswith(":")]
        if not blobs:
            return 0
        sizes = self._run("cat-file", "--batch-check=%(objectsize)", input="\n".join([*blobs, ""]).encode()).stdout
        return sum(-(-int(size) // 4096) * 4096 for size in sizes.split() if size.isdecimal())

    def code_key(self, without: Iterable[str], *, commit: str = "HEAD", ends: tuple[str, ...] = ("",)) -> str:
        """Return a digest of all files in a commit, except the paths in `without` (relative to the top).

        With `ends`, only files whose names end with one of them count.
        """
        excluded = set(without)
        digest = hashlib.sha256()
        for line in self._tree(commit):
            name = line.partition("\t")[2]
            if line and name not in excluded and name.endswith(ends):
                digest.update(line.encode() + b"\0")
        return digest.hexdigest()

    def content(self, commit: str, path: str) -> str | None:
        """Return the text of a file in a commit (`path` relative to the top); None if it does not exist.

        The text is that of a checkout, behind the filters that git may start: git-lfs commits a pointer to it.
        """
        kind = "--filters" if self.hooks else "blob"
        try:
            return self._ask_about(commit, "cat-file", kind, f"{commit}:{path}")
        except ToolError as error:
            if error.returncode is None or error.returncode < 0:
                raise
            return None

    def data(self, commit: str, path: str, *, likely: bytes = b"") -> bytes | None:
        """Return a text file of a commit as bytes; None if it does not exist.

        If it equals `likely`, git need not be asked for it.
        """
        if likely and WHOLE_ID.fullmatch(commit) and self.blob(commit, path) == blob_id(likely):
            return likely
        text = self.content(commit, path)
        return None if text is None else text.encode("utf-8", "surrogateescape")

    def file_at(self, commit: str, file: Path) -> bytes | None:
        """Return a file of the work tree as in a commit; as it is now in a project without git."""
        return self.data(commit, os.path.relpath(file, self.layout.top))

    def listing(self) -> Listing:
        """Return the untracked and the overlooked files of the work tree."""
        words = ("ls-files", "-v", "--cached", "--others", "--directory", "-z")
        return Listing.parse(self._run("-C", str(self.layout.top), *words).stdout)

    def unknown_files(self) -> list[str]:
        """List all untracked files and directories in the work tree."""
        return [*self.listing().unknown]

    def untracked_files(self) -> list[str]:
        """List each untracked file, relative to the top; no directory stands for its files."""
        return replace(self, root=self.layout.top).tracked_files("--others")

    def submodules(self, commit: str) -> dict[str, str]:
        """Map the paths of submodules in a commit, relative to the top, to their commits."""
        entries = (line.partition("\t") for line in self._tree(commit) if line.startswith("160000 "))
        return {path: words.split()[2] for words, _, path in entries}

    def hidden_edits(self, listing: Listing | None = None) -> list[str]:
        """List the tracked files with edits that `git status` does not show, relative to the top.

        A sparse checkout lacks some files; these are not edited.
        """
        places = ((path, self.layout.top / path) for path in (listing or self.listing()).overlooked)
        existing = [path for path, place in places if place.is_symlink() or place.is_file()]  # no submodule
        return [path for path in existing if not self._is_whole("HEAD", path)]

    def tracked_files(self, *which: str) -> list[str]:
        """List the tracked files below `root`, relative to it; `which` are options of git-ls-files(1)."""
        return [name for name in self._run("ls-files", "-z", *which).stdout.split("\0") if name]

    def ignores(self, path: str) -> bool:
        """True if git ignores `path` (relative to `root`)."""
        return self._run("check-ignore", "--quiet", "--no-index", "--", path, check=False).returncode == 0

    def blob(self, commit: str, path: str) -> str | None:
        """Return the id of a file's content in a commit (`path` relative to the top); None if it does not exist."""
        found = (line.partition("\t") for line in self._tree(commit))
        return next((words.split()[2] for words, _, name in found if name == path), None)

    def entries(self, commit: str, paths: Collection[str]) -> dict[str, tuple[str, str]]:
        """Map those of the paths (relative to the top) that a commit has to their modes and ids of content."""
        found = (line.partition("\t") for line in self._tree(commit))
        listed = {name: words.split() for words, _, name in found if name in paths}
        return {name: (mode, identifier) for name, (mode, _, identifier) in listed.items()}

    def find_tracked(self, commit: str, path: str) -> str | None:
        """Return the first path in a commit at or below `path`, relative to the top; None without one."""
        found = (line.partition("\t")[2] for line in self._tree(commit))
        return next((name for name in found if name == path or name.startswith(f"{path}/")), None)

    def has_tracked(self, commit: str, path: str) -> bool:
        """True if a commit, which is checked out, has `path`, perhaps below one of its symlinks."""
        if self.find_tracked(commit, path):
            return True
        real = os.path.relpath(os.path.realpath(self.layout.top / path), self.layout.top)
        is_behind = any(self.find_tracked(commit, str(up)) == str(up) for up in Path(path).parents)
        return is_behind and self.find_tracked(commit, real) is not None

    def _tree(self, commit: str) -> list[str]:
        """List the entries of a commit, as `MODE TYPE ID<tab>PATH`."""
        return self._ask_about(commit, "ls-tree", "-r", "-z", "--full-tree", commit).split("\0")

    def _ask_about(self, commit: str, *words: str) -> str:
        """Ask git about a commit; the answer is remembered if the commit is given by its whole id."""
        return self._ask_once(*words) if WHOLE_ID.fullmatch(commit) else self._run(*words).stdout

    def _ask_once(self, *words: str, place: tuple[object, ...] = (), check: bool = True) -> str:
        """Return an answer of git that is the same throughout this run, or throughout it for one `place`."""
        remembered, question = self.runner.remembered, (*place, *words)
        if question not in remembered:
            remembered[question] = self._run(*words, check=check).stdout
        return remembered[question]

    def _lines(self, *words: str) -> list[str]:
        return self._run(*words).stdout.splitlines()

    def _run(
        self,
        *words: str,
        check: bool = True,
        umask: int = -1,
        death_signal: signal.Signals | None = None,
        input: bytes = b"",  # noqa: A002 - the name that subprocess gives it
        settings: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run git, with additional `settings` of git; all of its output is kept, as a part of a list is useless."""
        env = self._environ if self.hooks or words[0] == "config" else self._stopping_environ
        if words[0] == "status":
            env = {**env, "GIT_OPTIONAL_LOCKS": "0"}
        if words[0] in ("fetch", "push", "ls-remote"):
            kept = keep_stored_passwords(self._list_config())
            env = add_git_settings(env, [*unseen_passwords(value for _, value in self._list_config()).items(), *kept])
        if settings:
            env = add_git_settings(env, settings.items())
        return self.runner.run(
            [self._program, "-C", str(self.root), *_NEUTRALLY, *_DURABLY, *words],
            cwd=self.root,
            env=env,
            timeout=self.timeout,
            check=check,
            death_signal=death_signal,
            daemons=True,  # such as a credential cache
            whole=True,
            umask=umask,
            input=input,
        )


def asks_for_credentials(error: ToolError) -> str:
    """Return the line in which the remote asks for a password, a key or a trusted host key; empty without one."""
    lines = (line.strip() for line in error.output.splitlines())
    return next((line for line in lines if any(words in line for words in _ASKS_FOR_CREDENTIALS)), "")
