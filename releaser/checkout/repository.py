"""One function for each question to git. People's hooks, signatures and settings do not change the answers."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from releaser.errors import Problem, ToolError
from releaser.site.owners import find_git_directories
from releaser.site.site import Site, choose_path
from releaser.system import proc, process
from releaser.system.files import replace_file, walk
from releaser.system.text import clip, hide_secrets, join_few, word

QUICK, NETWORK = 120.0, 1800.0  # seconds
_SOON = 5.0  # seconds, after which it is asked what keeps git
_READ_BY_GIT = frozenset((".gitattributes", ".gitignore", "HEAD", "commondir", "config"))
SILENCE = "120"  # seconds after which git gives a web server up that sends nothing; by itself, it waits for ever
LONGEST_SUBJECT = 200  # characters
_DYING, _PAUSE = 1.0, 0.05  # seconds for a git that ends just now
_LOCKS = ("index.lock", "HEAD.lock", "ORIG_HEAD.lock", "packed-refs.lock", "shallow.lock", "next-index-*.lock")
#: Given to each call. `core.fsync` keeps a power cut from corrupting the repository (git 2.36; seen before that).
_SETTINGS = {
    "core.fsync": "all",
    "core.hooksPath": "/dev/null",
    "core.ignoreStat": "false",
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "core.safecrlf": "false",
    "commit.gpgSign": "false",
    "push.gpgSign": "false",
    "push.followTags": "false",
    "push.recurseSubmodules": "no",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "no",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
    "releaser.probe": "true",
}
#: The settings that are asked for at once.
_ASKED = r"^(branch\..*\.(remote|merge)|remote\..*|url\..*|user\.(name|email)|core\.(worktree|bare)|"
_ASKED += r"extensions\.partialclone|releaser\.probe)$"
#: Tools that make a version from tags, as pyproject.toml names them.
_VERSION_OF_TAG = r"(setuptools|pdm|flit)[-_.]scm|hatch-vcs|source *= *.(vcs|scm)|versioningit|dunamai|versioneer|"
_VERSION_OF_TAG += r"dynamic-versioning|git-versioning"
_EXCLUDED = "# by releaser\n{}\n"
_HELPER = '!f() { test "$1" = get && printf \'username=%s\\npassword=%s\\n\' "$_USER_OF_0" "$_PASSWORD_OF_0"; }; f'


_BUNDLES = "bundle"  # what stands for the remote of a branch whose commits come by bundles
#: Commands of git that change nothing.
_QUESTIONS = {"cat-file", "diff", "for-each-ref", "log", "ls-files", "ls-tree", "merge-base", "rev-list", "rev-parse"}
_QUESTIONS |= {"describe", "grep", "hash-object", "status"}
_AT_ONCE = 1000  # paths as arguments
#: Commands of git that need no object, so that a partial clone fetches none.
_LOCAL = {"config", "remote"}
#: The beginnings of lines of `git status` about a changed file, and the number of spaces before its path.
_FIELDS = {"1 ": 8, "u ": 10}


class Upstream(msgspec.Struct, frozen=True):
    """Where a branch is pulled from and pushed to: the name of the remote, and the full name of the branch there."""

    remote: str
    branch: str

    @property
    def name(self) -> str:
        """The short name, such as `origin/main`."""
        return f"{self.remote}/{self.branch.removeprefix('refs/heads/')}"


class CheckoutState(msgspec.Struct, frozen=True):
    """HEAD, its branch (empty if detached), and the tracked files that differ from it, staged or not."""

    head: str
    branch: str
    changed: tuple[str, ...]


class Repository:
    """git in the work tree of the site, or in the shadow of a run; `mark` is that of the run's children."""

    def __init__(self, site: Site, top: Path, *, mark: str) -> None:
        self.top = top
        env = site.tool_environment(mark=mark)
        env |= {"GIT_DIR": f"{top}/.git", "GIT_WORK_TREE": str(top)}  # whatever `core.worktree` says
        env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C.UTF-8"}
        env["GIT_OPTIONAL_LOCKS"] = "0"  # a question leaves no lock, and changes nothing
        env = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": SILENCE, **env}
        self._settings = (*_SETTINGS.items(), ("safe.directory", str(top)))  # its owner was asked for
        self._env = env | _configure(self._settings)
        self._code_keys: dict[tuple[str, tuple[str, ...]], str] = {}
        self._trees: dict[str, list[str]] = {}

    def run(
        self, *arguments: str | Path, check: bool = True, timeout: float = QUICK, variables: Mapping[str, str] = {}
    ) -> process.Finished:
        """Run git in the work tree. Raises ToolError."""
        words = ["git", "--no-pager", *arguments]
        hidden = {} if arguments[0] in _LOCAL else self._hide_promised
        env = {**self._env, **hidden, **variables}
        asks = arguments[0] in _QUESTIONS or "--get-regexp" in arguments
        began = time.time()

        def ask(timeout: float) -> process.Finished:
            return process.run(
                words, cwd=self.top, env=env, timeout=timeout, check=False, is_answer=True, is_question=asks
            )

        finished = ask(_SOON if asks else timeout)
        if asks and finished.timed_out:
            self._refuse_pipes()
            finished = ask(timeout)
        if finished.status < 0 and not asks:
            self.remove_dead_locks(min(began, time.time() - finished.seconds))  # the clock may have been set
        if check and (finished.timed_out or finished.status != 0):
            raise process.failure(finished)
        return finished

    def _refuse_pipes(self) -> None:
        """Raise ToolError if git waits for ever for a pipe in the work tree, where it looks for a file of its own."""
        for place, directories, names in walk(self.top):
            if Path(place) == self.top and ".git" in directories:
                directories.remove(".git")
            for path in (os.path.join(place, name) for name in _READ_BY_GIT.intersection(names)):
                with contextlib.suppress(OSError):
                    if not stat.S_ISREG(os.stat(path).st_mode):
                        message = f"git waits for `{path}`, which is no regular file."
                        raise ToolError(message, f"Somebody put it there: run `rm {word(path)}`.")

    def read(self, *arguments: str, variables: Mapping[str, str] = {}) -> str:
        """Return what git prints, stripped. Raises ToolError."""
        return self.run(*arguments, variables=variables).stdout.strip()

    def ask(self, *arguments: str) -> str:
        """Return what git prints, stripped; empty if it fails."""
        finished = self.run(*arguments, check=False)
        return finished.stdout.strip() if finished.status == 0 else ""

    # Questions

    @functools.cached_property
    def config(self) -> Mapping[str, tuple[str, ...]]:
        """The values of the settings of branches, remotes, URLs and the user; keys as git prints them."""
        values: dict[str, tuple[str, ...]] = {}
        output = self.run("config", "--null", "--get-regexp", _ASKED).stdout
        hide_secrets(output)
        for entry in output.split("\0"):
            key, _, value = entry.partition("\n")
            values[key] = (*values.get(key, ()), value)
        return values

    @functools.cached_property
    def directories(self) -> tuple[Path, Path]:
        """The directory of git for this work tree, and the one that all work trees share."""
        own, common = self.read("rev-parse", "--absolute-git-dir", "--git-common-dir").splitlines()
        return Path(own), self.top / common

    def is_too_old(self) -> bool:
        """Return True for a git before 2.31, which takes no settings from variables."""
        return "releaser.probe" not in self.config

    def state(self) -> CheckoutState:
        """Return where the checkout is. Raises ToolError."""
        options = ("--branch", "--untracked-files=no", "--no-renames", "--no-ahead-behind")
        values, changed = {"branch.oid": "", "branch.head": ""}, []
        for entry in self.run("status", "--porcelain=v2", "-z", *options).stdout.split("\0"):
            if entry.startswith("# "):
                key, _, value = entry[2:].partition(" ")
                values[key] = value
            elif entry[:2] in _FIELDS:
                changed.append(entry.split(" ", _FIELDS[entry[:2]])[-1])
        head, branch = values["branch.oid"], values["branch.head"]
        is_detached, is_new = branch == "(detached)", head == "(initial)"
        return CheckoutState("" if is_new else head, "" if is_detached else branch, tuple(changed))

    def head(self) -> str:
        """Return the commit of HEAD; empty in a repository without commits."""
        return self.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")

    def resolve(self, name: str) -> str:
        """Return the commit of a name; empty if it does not exist."""
        return self.ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")

    def upstream(self, branch: str) -> Upstream | None:
        """Return the upstream of a branch, by `branch.NAME.remote` and `.merge`."""
        remote, merge = (self.config.get(f"branch.{branch}.{key}", ("",))[-1] for key in ("remote", "merge"))
        return Upstream(remote, merge) if remote and merge else None

    def remotes(self) -> frozenset[str]:
        """Return the names of the remotes."""
        keys = [key for key in self.config if key.startswith("remote.") and key.count(".") > 1]
        return frozenset(key.partition(".")[2].rpartition(".")[0] for key in keys)

    def describe_commits(self, before: str, after: str) -> tuple[str, ...]:
        """Return the commits that a move brings, newest first, as `hash subject`; at most 50."""
        options = ("--max-count=50", "--no-show-signature", "--encoding=UTF-8", "--format=%h %s")
        output = self.read("log", *options, f"{before}..{after}") if before != after else ""
        return tuple(clip(line, LONGEST_SUBJECT) for line in output.split("\n") if line)

    def is_tracked(self, path: str) -> bool:
        """Return True if git tracks the path."""
        return self.run("ls-files", "--error-unmatch", "--", path, check=False).status == 0

    def find_hidden_changes(self, even_unchanged: Collection[str] = ()) -> list[str]:
        """Return the paths of changed files that a person has told git to skip, by `git update-index`.

        Those `even_unchanged` are also named as they are committed. A sparse checkout lacks files; that is none.
        """
        entries = self.run("ls-files", "--stage", "-v", "-z").stdout.split("\0")
        skipped = [entry.partition("\t") for entry in entries if entry[:1] == "S" or entry[:1].islower()]
        hashes = {path: facts.split()[2] for facts, _, path in skipped}
        links = [path for path in hashes if os.path.islink(self.top / path)]
        gone = [path for facts, _, path in skipped if facts[0] not in "Ss" and not os.path.lexists(self.top / path)]
        files = [path for path in hashes if os.path.isfile(self.top / path) and path not in links]
        changed = self._find_other_files(self._find_other_files(files, hashes), hashes, "--no-filters")  # as committed
        changed += [path for path in links if _hash_link(self.top / path, hashes[path]) != hashes[path]]
        return sorted({*changed, *gone} | ({*hashes} & {*even_unchanged}))

    def _find_other_files(self, paths: Sequence[str], hashes: Mapping[str, str], *options: str) -> list[str]:
        found = list[str]()
        for start in range(0, len(paths), _AT_ONCE):
            found += self.run("hash-object", *options, "--", *paths[start : start + _AT_ONCE]).stdout.split()
        return [path for path, digest in zip(paths, found, strict=True) if hashes[path] != digest]

    def is_ancestor(self, first: str, second: str) -> bool:
        """Return True if `second` has `first` in its history, or is `first`."""
        return first == second or self.run("merge-base", "--is-ancestor", first, second, check=False).status == 0

    def commits_between(self, first: str, second: str) -> list[str]:
        """Return the commits that `second` has and `first` has not, newest first."""
        return self.read("rev-list", f"{first}..{second}").split() if first != second else []

    def is_on_a_remote(self, commit: str) -> bool:
        """Return True if a branch of a remote, as last fetched, has the commit."""
        return bool(self.ask("for-each-ref", "--count=1", "--format=%(refname)", "--contains", commit, "refs/remotes"))

    def file_at(self, commit: str, path: str) -> str | None:
        """Return the text of a file in a commit; None if it does not have it."""
        finished = self.run("cat-file", "blob", f"{commit}:{path}", check=False)
        return finished.stdout if finished.status == 0 else None

    def added_files(self, first: str, second: str) -> list[str]:
        """Return the paths that `second` has and `first` has not."""
        return self.changed_paths(first, second, "--diff-filter=A")

    def changed_paths(self, first: str, second: str, *options: str) -> list[str]:
        """Return the paths that differ between two commits."""
        words = ("diff", "--no-ext-diff", "--no-renames", "--name-only", "-z", *options, first, second)
        return [path for path in self.run(*words).stdout.split("\0") if path]

    def changed_sizes(self, first: str, second: str) -> list[int]:
        """Return the sizes in bytes of the files that a move from one commit to another writes."""
        changed = {*self.changed_paths(first, second, "--diff-filter=d")}
        listing = self.run("ls-tree", "-r", "-l", "-z", "--full-tree", second).stdout
        entries = (entry.partition("\t") for entry in listing.split("\0") if entry)
        return [
            int(facts.split()[3]) for facts, _, path in entries if path in changed and not facts.startswith("160000")
        ]

    def code_key(self, commit: str, *without: str) -> str:
        """Return a hash of a commit's files but the named ones, and of the tag that makes its version, if one does."""
        if (commit, without) in self._code_keys:
            return self._code_keys[commit, without]
        kept = [entry for entry in self._list_tree(commit) if entry.partition("\t")[2] not in without]
        self._code_keys[commit, without] = hash_text("\0".join([*kept, *self._find_version_tag(commit)]))
        return self._code_keys[commit, without]

    def _find_version_tag(self, commit: str) -> list[str]:
        """Return the tag from which a build makes the version of a commit, if a project in it does that."""
        common = self.directories[1]
        packed = (common / "packed-refs").read_bytes() if (common / "packed-refs").is_file() else b""
        if not (b" refs/tags/" in packed or any((common / "refs/tags").glob("*")) or (common / "reftable").exists()):
            return []
        words = ("grep", "--quiet", "--extended-regexp", _VERSION_OF_TAG, commit, "--", ":(top,glob)**/pyproject.toml")
        tag = ("describe", "--tags", "--abbrev=0", "--match=*[0-9]*", commit)
        return [self.ask(*tag)] if self.run(*words, check=False).status == 0 else []

    def list_files(self, commit: str) -> frozenset[str]:
        """Return the paths of the files of a commit."""
        return frozenset(entry.partition("\t")[2] for entry in self._list_tree(commit))

    def find_submodules(self, commit: str) -> list[str]:
        """Return the paths of a commit's submodules, registered or not, and their registry."""
        entries = (entry.partition("\t") for entry in self._list_tree(commit))
        return [path for facts, _, path in entries if facts.startswith("160000 ") or path == ".gitmodules"]

    def _list_tree(self, commit: str) -> list[str]:
        if commit not in self._trees:
            listing = self.run("ls-tree", "-r", "-z", "--full-tree", commit).stdout
            self._trees[commit] = listing.removesuffix("\0").split("\0") if listing else []
        return self._trees[commit]

    def tracked_files(self) -> frozenset[str]:
        """Return the paths that git tracks."""
        return frozenset(self.run("ls-files", "-z").stdout.split("\0"))

    def untracked_entries(self) -> list[str]:
        """Return the untracked entries, ignored or not; a wholly untracked directory is one entry, with a slash."""
        output = self.run("ls-files", "--others", "--directory", "--no-empty-directory", "-z").stdout
        return [entry for entry in output.split("\0") if entry]

    # Changes

    def remove_dead_locks(self, since: float) -> None:
        """Delete locks that a git has left which was killed after `since`, in seconds; none while a git works here."""
        own, directory = self.directories
        locks = [path for place in {directory, own} for pattern in _LOCKS for path in place.glob(pattern)]
        locks += (directory / "refs").glob("**/*.lock")
        ends_at = time.monotonic() + _DYING
        while locks and self._is_git_working():
            if time.monotonic() > ends_at:
                return
            time.sleep(_PAUSE)
        for lock in locks:
            with contextlib.suppress(OSError):
                if lock.stat().st_mtime >= since - 1:
                    lock.unlink()

    def _is_git_working(self) -> bool:
        workers = (pid for pid in proc.list_processes() if proc.find_directory(pid).is_relative_to(self.top))
        return any(Path(proc.read_words(pid)[0]).name.startswith("git") for pid in workers)

    def find_lock(self, *refs: str) -> list[Problem]:
        """Return a problem for each file by which git holds the index or one of these refs, or held it when killed."""
        own, common = self.directories
        places = [own / "index.lock", *((common if "/" in ref else own) / f"{ref}.lock" for ref in refs)]
        ends_at = time.monotonic() + _DYING
        while (locks := [*filter(os.path.lexists, places)]) and time.monotonic() < ends_at:
            time.sleep(_PAUSE)
        says = "exists: a git works in the checkout, or was killed."
        advice = "If no git works there, run `rm {}`; then run releaser again."
        return [Problem("git-lock", f"`{lock}` {says}", advice.format(word(lock))) for lock in locks]

    def find_unwritable(self) -> list[Problem]:
        """Return a problem if git may not write in its own directory, where a git of another user has worked."""
        own, common = self.directories
        places = [own, own / "FETCH_HEAD", own / "logs" / "HEAD", common, common / "refs" / "heads", common / "objects"]
        places += [*(common / "refs" / "remotes").glob("*/"), *(common / "objects").glob("*/")]
        closed = [f"`{place}`" for place in places if place.exists() and not os.access(place, os.W_OK)]
        message = f"git may not write to {join_few(closed)}: a git of another user has worked here."
        advice = f'Run `sudo chown -R "$(id -un)" {word(common)}`, and each git as this user.'
        return [Problem("git-owner", message, advice)] if closed else []

    def fetch(self, upstream: Upstream, *options: str) -> None:
        """Fetch a branch, with the tags of what is fetched. Raises ToolError, also if the remote has it no more."""
        variables = self._hide_passwords(self._resolve_urls(upstream.remote))
        branch = f"+{upstream.branch}:refs/remotes/{upstream.name}"
        words = ("fetch", "--quiet", "--no-auto-maintenance", *options, upstream.remote, branch)
        self.run(*words, timeout=NETWORK, variables=variables)

    def fetch_bundle(self, bundle: Path, branch: str) -> None:
        """Take over the commits of a file of `git bundle`, with their tags; no branch moves. Raises ToolError."""
        words = ("fetch", "--quiet", "--no-auto-maintenance", "--no-write-fetch-head")
        self.run(*words, bundle, f"+refs/heads/{branch}:refs/releaser/bundle", timeout=NETWORK)

    def keep_bundled(self, branch: str, commit: str) -> None:
        """Note a commit of a bundle as the head of a remote branch, which it stands for. Raises ToolError."""
        self.run("update-ref", "-m", "releaser: from a bundle", f"refs/remotes/{_BUNDLES}/{branch}", commit)

    def follows_bundles(self, branch: str) -> bool:
        """Return True for a branch without an upstream whose commits bundles have brought."""
        return self.upstream(branch) is None and bool(self.resolve(f"refs/remotes/{_BUNDLES}/{branch}"))

    def push(self, commit: str, upstream: Upstream, *, timeout: float) -> None:
        """Push a commit to a branch, never forced. `timeout` is in seconds. Raises ToolError."""
        variables = self._hide_passwords(self._resolve_urls(upstream.remote, "--push"))
        words = ("push", "--quiet", "--no-verify", upstream.remote, f"{commit}:{upstream.branch}")
        self.run(*words, timeout=timeout, variables=variables)

    def _resolve_urls(self, remote: str, *options: str) -> list[tuple[str, SplitResult]]:
        """Return the URLs of a remote as they are set, and as git uses them; none if no URL has a user in it."""
        configured = self.config.get(f"remote.{remote}.pushurl", ()) if options else ()
        configured = configured or self.config.get(f"remote.{remote}.url", ())
        rewritten = [key for key in self.config if key.startswith("url.")]
        if not any("@" in url for url in (*configured, *rewritten)):
            return []
        resolved = self.ask("remote", "get-url", "--all", *options, remote).splitlines()
        with contextlib.suppress(ValueError):  # no URL at all: git says so
            return [(raw, urlsplit(url)) for raw, url in zip(configured, resolved, strict=False)]
        return []

    def exposed_schemes(self, remote: str) -> list[str]:
        """Return the schemes of a remote's URLs with a password or token that each user of the host would see."""
        urls = [parts for options in ((), ("--push",)) for _, parts in self._resolve_urls(remote, *options)]
        others = [parts for parts in urls if parts.scheme not in ("", "http", "https")]
        return [parts.scheme for parts in others if parts.password or (parts.username and "ssh" not in parts.scheme)]

    def _hide_passwords(self, urls: Iterable[tuple[str, SplitResult]]) -> dict[str, str]:
        """Return variables by which git gets users and passwords in URLs, also of promisors, from a helper.

        Else they would be arguments of the program for the protocol, for every user of the host to read. For a user
        alone, which may be a token, helpers of people are asked first.
        """
        settings, secrets = [*self._settings], dict[str, str]()
        for number, (raw, parts) in enumerate([*urls, *self._promised_urls]):
            if parts.scheme in ("http", "https") and parts.username is not None:
                place, user = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", unquote(parts.username)
                settings.append((f"url.{place}{parts.path}.insteadOf", raw))
                settings.append((f"credential.{place}.username", user))
                settings += [(f"credential.{place}.helper", "")] if parts.password is not None else []
                settings.append((f"credential.{place}.helper", _HELPER.replace("_0", f"_{number}")))
                secrets |= {f"_USER_OF_{number}": user, f"_PASSWORD_OF_{number}": unquote(parts.password or "")}
        return _configure(settings) | secrets if secrets else {}

    @functools.cached_property
    def _hide_promised(self) -> Mapping[str, str]:
        """Those for each call in a partial clone, which may fetch what it reads; empty if git does not answer."""
        with contextlib.suppress(ToolError):
            return self._hide_passwords(())
        return {}

    @functools.cached_property
    def _promised_urls(self) -> list[tuple[str, SplitResult]]:
        """The URLs that a partial clone fetches from whenever it reads; no program is started in another clone."""
        packs = (place.glob("objects/pack/*.promisor") for place in find_git_directories(self.top))
        if not any(True for paths in packs for _ in paths):
            return []
        names = [*self.config.get("extensions.partialclone", ())]
        names += [name for name in sorted(self.remotes()) if f"remote.{name}.promisor" in self.config]
        return [url for name in dict.fromkeys(names) for url in self._resolve_urls(name)]

    def upstream_head(self, branch: str) -> str:
        """Return the head of the upstream as last fetched; empty if it has none."""
        upstream = self.upstream(branch)
        return self.resolve(f"refs/remotes/{upstream.name}") if upstream else ""

    def exclude(self, *patterns: str) -> None:
        """Let git ignore paths in this clone alone, by `.git/info/exclude`. Raises OSError."""
        path = self.top / self.read("rev-parse", "--git-path", "info/exclude")
        text = path.read_bytes() if path.exists() else b""
        missing = [pattern for pattern in patterns if pattern.encode() not in text.splitlines()]
        if missing:
            path.parent.mkdir(exist_ok=True)
            begin = "\n" if text and not text.endswith(b"\n") else ""
            with path.open("ab") as file:  # never anew: the file is a person's
                file.write((begin + "".join(map(_EXCLUDED.format, missing))).encode())

    def unexclude(self, *patterns: str) -> None:
        """Take out what `exclude` has written. Raises OSError."""
        path = self.top / self.read("rev-parse", "--git-path", "info/exclude")
        text = before = path.read_bytes() if path.exists() else b""
        for pattern in patterns:
            text = text.replace(_EXCLUDED.format(pattern).encode(), b"")
        if text != before:
            replace_file(Path(os.path.realpath(path)), text, mode=stat.S_IMODE(path.stat().st_mode))


def _configure(settings: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return variables that give settings to git; see git-config(1)."""
    pairs = list(settings)
    variables = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (name, value) in enumerate(pairs):
        variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _hash_link(path: Path, like: str) -> str:
    """Return the hash that git has for a link, in the form of another one: SHA-1 or SHA-256."""
    target = os.fsencode(os.readlink(path))
    return hashlib.new("sha1" if len(like) == 40 else "sha256", b"blob %d\0%s" % (len(target), target)).hexdigest()


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def clone_bundle(bundle: Path, top: Path, branch: str, commit: str, environ: Mapping[str, str]) -> None:
    """Make a checkout of a branch at a commit, in a new directory, from a file of `git bundle`. Raises ToolError."""
    env = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    env |= _configure([*_SETTINGS.items(), ("safe.directory", str(top))]) | {"PATH": choose_path(environ)}
    steps = (
        ("init", "--quiet", "--template=", f"--initial-branch={branch}", top),
        ("-C", top, "fetch", "--quiet", bundle, f"refs/heads/{branch}:refs/remotes/{_BUNDLES}/{branch}"),
        ("-C", top, "update-ref", f"refs/remotes/{_BUNDLES}/{branch}", commit),
        ("-C", top, "reset", "--quiet", "--hard", commit),
    )
    for words in steps:
        process.run(["git", "--no-pager", *words], cwd=bundle.parent, env=env, timeout=NETWORK, is_answer=True)


def open_repository(site: Site, mark: str = "") -> Repository:
    """Return the repository of the site."""
    return Repository(site, site.paths.top, mark=mark)


def find_untracked_in_the_way(repository: Repository, added: Iterable[str]) -> list[str]:
    """Return the untracked paths that a move which adds files would overwrite, ignored ones included."""
    suspects = set()
    for path in added:
        if os.path.lexists(repository.top / path):
            suspects.add(path)
        for parent in list(Path(path).parents)[:-1]:
            place = repository.top / parent
            if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
                suspects.add(parent.as_posix())
    if not suspects:
        return []
    output = repository.run("ls-files", "--others", "-z", "--", *(f":(top,literal){path}" for path in sorted(suspects)))
    return [path for path in output.stdout.split("\0") if path]
