"""One function for each question to git. People's hooks, signatures and settings do not change the answers."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from releaser.errors import Problem, ToolError
from releaser.releases.link import read_link
from releaser.releases.release import EXPORT
from releaser.site.site import Site
from releaser.system import process
from releaser.system.files import BrokenFileError, lies_behind_link, read_regular_file, replace_file
from releaser.system.text import redact

QUICK, NETWORK, ROLLBACK_PUSH = 120.0, 1800.0, 60.0  # seconds
LOWEST_GIT = (2, 31)
#: Given to each call. `core.fsync` keeps a power cut from corrupting the repository (git 2.36; seen before that).
_SETTINGS = {
    "core.fsync": "all",
    "core.hooksPath": "/dev/null",
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
    "safe.directory": "*",
    "advice.detachedHead": "false",
}
#: Files in the directory of git while a command waits for a person.
_UNDER_WAY = {
    "MERGE_HEAD": "merge", "rebase-merge": "rebase", "CHERRY_PICK_HEAD": "cherry-pick", "REVERT_HEAD": "revert",
}  # fmt: skip
_EXCLUDED = "# by releaser\n{}\n"
_HELPER = '!f() { test "$1" = get && printf \'username=%s\\npassword=%s\\n\' "$_USER_OF" "$_PASSWORD_OF"; }; f'
_MISLEADING = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_PREFIX",
    "GIT_EDITOR", "GIT_LITERAL_PATHSPECS", "GIT_CEILING_DIRECTORIES",
)  # fmt: skip


class Upstream(msgspec.Struct, frozen=True):
    """Where a branch is pulled from and pushed to: the name of the remote, and the full name of the branch there."""

    remote: str
    branch: str

    @property
    def name(self) -> str:
        """The short name, such as `origin/main`."""
        return f"{self.remote}/{self.branch.removeprefix('refs/heads/')}"


class Repository:
    """git in one work tree: that of the site, or the shadow of a run. `mark` is that of the run's children."""

    def __init__(self, site: Site, top: Path, *, mark: str) -> None:
        self.top = top
        env = site.tool_environment(mark=mark)
        for name in _MISLEADING:
            env.pop(name, None)
        env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C.UTF-8"}
        self._env = env | _configure(_SETTINGS.items())

    def run(
        self, *arguments: str | Path, check: bool = True, timeout: float = QUICK, variables: Mapping[str, str] = {}
    ) -> process.Finished:
        """Run git in the work tree. Raises ToolError."""
        words = ["git", "--no-pager", *arguments]
        env = self._env | dict(variables)
        return process.run(words, cwd=self.top, env=env, timeout=timeout, check=check, is_answer=True)

    def read(self, *arguments: str, variables: Mapping[str, str] = {}) -> str:
        """Return what git prints, stripped. Raises ToolError."""
        return self.run(*arguments, variables=variables).stdout.strip()

    def ask(self, *arguments: str) -> str:
        """Return what git prints, stripped; empty if it fails."""
        finished = self.run(*arguments, check=False)
        return finished.stdout.strip() if finished.status == 0 else ""

    # Questions

    def head(self) -> str:
        """Return the commit of HEAD; empty in a repository without commits."""
        return self.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")

    def head_ref(self) -> str:
        """Return the full name of the branch of HEAD; empty if HEAD is detached."""
        return self.ask("symbolic-ref", "--quiet", "HEAD")

    def resolve(self, name: str) -> str:
        """Return the commit of a name; empty if it does not exist."""
        return self.ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")

    def upstream(self, branch: str) -> Upstream | None:
        """Return the upstream of a branch, by `branch.NAME.remote` and `.merge`."""
        lines = self.ask("config", "--get-regexp", rf"^branch\.{re.escape(branch)}\.(remote|merge)$").splitlines()
        keys = [(key.rpartition(".")[2], value) for key, _, value in (line.partition(" ") for line in lines)]
        values = dict(keys)
        return Upstream(values["remote"], values["merge"]) if len(values) == 2 else None

    def describe_commits(self, before: str, after: str) -> tuple[str, ...]:
        """Return the commits that a move brings, newest first, as `hash subject`; at most 50."""
        options = ("--max-count=50", "--no-show-signature", "--encoding=UTF-8", "--format=%h %s")
        output = self.read("log", *options, f"{before}..{after}") if before != after else ""
        return tuple(filter(None, output.split("\n")))

    def changed_tracked_files(self) -> list[str]:
        """Return the tracked files that differ from HEAD, in the index or the work tree."""
        output = self.run("status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames").stdout
        return [entry[3:] for entry in output.split("\0") if len(entry) > 3]

    def is_tracked(self, path: str) -> bool:
        """Return True if git tracks the path."""
        return self.run("ls-files", "--error-unmatch", "--", path, check=False).status == 0

    def is_ancestor(self, first: str, second: str) -> bool:
        """Return True if `second` has `first` in its history, or is `first`."""
        return self.run("merge-base", "--is-ancestor", first, second, check=False).status == 0

    def commits_between(self, first: str, second: str) -> list[str]:
        """Return the commits that `second` has and `first` has not, newest first."""
        return self.read("rev-list", f"{first}..{second}").split()

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

    def code_key(self, commit: str, *without: str) -> str:
        """Return a hash of all files of a commit but the named ones: the same code has the same key."""
        listing = self.run("ls-tree", "-r", "-z", "--full-tree", commit).stdout
        kept = [entry for entry in listing.split("\0") if entry and entry.partition("\t")[2] not in without]
        return hash_text("\0".join(kept))

    def tracked_files(self) -> frozenset[str]:
        """Return the paths that git tracks."""
        return frozenset(self.run("ls-files", "-z").stdout.split("\0"))

    def untracked_entries(self) -> list[str]:
        """Return the untracked entries, ignored or not; a wholly untracked directory is one entry, with a slash."""
        output = self.run("ls-files", "--others", "--directory", "--no-empty-directory", "-z").stdout
        return [entry for entry in output.split("\0") if entry]

    # Changes

    def fetch(self, upstream: Upstream) -> None:
        """Fetch a branch, with the tags of what is fetched. Raises ToolError, also if the remote has it no more."""
        variables = self._hide_password(upstream.remote)
        branch = f"+{upstream.branch}:refs/remotes/{upstream.name}"
        words = ("fetch", "--quiet", "--no-auto-maintenance", upstream.remote, branch)
        self.run(*words, timeout=NETWORK, variables=variables)

    def push(self, commit: str, upstream: Upstream, *, timeout: float) -> None:
        """Push a commit to a branch, never forced. `timeout` is in seconds. Raises ToolError."""
        variables = self._hide_password(upstream.remote, "--push")
        words = ("push", "--quiet", "--no-verify", upstream.remote, f"{commit}:{upstream.branch}")
        self.run(*words, timeout=timeout, variables=variables)

    def _hide_password(self, remote: str, *options: str) -> dict[str, str]:
        """Return variables by which git gets the password in the URL of a remote from a helper.

        Else it would be an argument of the program for the protocol, for every user of the host to read.
        """
        settings, secrets = [*_SETTINGS.items()], dict[str, str]()
        configured = options and self.ask("config", "--get-all", f"remote.{remote}.pushurl")
        configured = configured or self.ask("config", "--get-all", f"remote.{remote}.url")
        resolved = self.ask("remote", "get-url", "--all", *options, remote)
        for raw, url in zip(configured.splitlines(), resolved.splitlines(), strict=False):
            parts = urlsplit(url)
            if parts.scheme in ("http", "https") and parts.password is not None:
                place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
                settings.append((f"url.{place}{parts.path}.insteadOf", raw))
                settings += [(f"credential.{place}.helper", ""), (f"credential.{place}.helper", _HELPER)]
                secrets = {"_USER_OF": unquote(parts.username or ""), "_PASSWORD_OF": unquote(parts.password)}
        return _configure(settings) | secrets

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


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def open_repository(site: Site, mark: str = "") -> Repository:
    """Return the repository of the site."""
    return Repository(site, site.paths.top, mark=mark)


def find_problems(site: Site) -> list[Problem]:
    """Return why the checkout is not fit for an update: its git, branch, upstream or changed files."""
    repository, branch = open_repository(site), site.settings.site.branch
    try:
        version = repository.read("version").split()[2]
        if tuple(int(part) for part in version.split(".")[:2]) < LOWEST_GIT:
            lowest = ".".join(map(str, LOWEST_GIT))
            return [Problem("old-git", f"git is {version}.", f"Install git {lowest} or newer.")]
        ref, head = repository.head_ref(), repository.head()
        directory = Path(repository.read("rev-parse", "--absolute-git-dir"))
    except ToolError as error:
        return [Problem("git", error.message, error.advice or f"Run `git -C {site.paths.top} status` to see why.")]
    if not head:
        return [Problem("no-commit", "The checkout has no commit.", "Commit the project with its uv.lock.")]
    for name, command in _UNDER_WAY.items():
        if os.path.lexists(directory / name):
            message = f"A `git {command}` is under way in the checkout."
            advice = f"Finish it, or run `git -C {repository.top} {command} --abort`."
            return [Problem("under-way", message, advice)]
    switch = f"Run `git switch {branch}`, then run releaser again."
    if not repository.resolve(f"refs/heads/{branch}"):
        switch = f"Correct the setting `branch`: no branch `{branch}` exists."
    if not ref:
        return [Problem("detached-head", f"HEAD is detached, not on the branch `{branch}`.", switch)]
    if ref != f"refs/heads/{branch}":
        name = ref.removeprefix("refs/heads/")
        return [Problem("other-branch", f"The checkout is on `{name}`, not on `{branch}`.", switch)]
    if os.path.lexists(site.paths.top / ".gitmodules"):
        message = "The repository has submodules, which releaser does not move."
        return [Problem("submodules", message, "Turn them into path or git dependencies.")]
    return [*_find_upstream_problems(site, repository), *find_dirty_files(site, repository),
            *find_export_problems(site, site.paths.project)]  # fmt: skip


def _find_upstream_problems(site: Site, repository: Repository) -> list[Problem]:
    branch, upstream = site.settings.site.branch, repository.upstream(site.settings.site.branch)
    if upstream is None:
        if not (site.settings.git.git_pull or site.settings.git.git_push):
            return []
        message = f"The branch `{branch}` has no upstream."
        advice = f"Run `git branch -u REMOTE/{branch}`, or set `git_pull` and `git_push` to `false`."
        return [Problem("no-upstream", message, advice)]
    if upstream.remote not in repository.read("remote").splitlines():
        message = f"The branch `{branch}` follows `{redact(upstream.remote)}`, which is no remote with a name."
        return [Problem("other-upstream", message, f"Run `git remote add NAME URL` and `git branch -u NAME/{branch}`.")]
    if upstream.branch != f"refs/heads/{branch}":
        message = f"The branch `{branch}` follows `{upstream.name}`, which has another name."
        advice = f"Run `git branch -u {upstream.remote}/{branch}`, or rename the local branch and set `branch`."
        return [Problem("other-upstream", message, advice)]
    return []


def find_dirty_files(site: Site, repository: Repository) -> list[Problem]:
    """Return a problem that names the changed tracked files, but for what releaser has written."""
    changed = repository.changed_tracked_files()
    own = {site.committed_paths[-1]: has_own_export, site.paths.lockfile_in_tree: has_live_lock}
    changed = [path for path in changed if path not in own or not own[path](site)]
    if not changed:
        return []
    names = ", ".join(f"`{path}`" for path in changed[:5]) + (f" and {len(changed) - 5} more" if changed[5:] else "")
    message = f"Tracked files of the checkout are changed: {names}."
    return [Problem("changed-files", message, f"Commit or stash them: `git -C {site.paths.top} status`.")]


def has_live_lock(site: Site) -> bool:
    """Return True if uv.lock in the checkout is the lock of the live release."""
    live = read_link(site.paths).release
    lock = site.paths.releases / str(live) / "uv.lock"
    try:
        return live is not None and read_regular_file(site.paths.lockfile) == lock.read_bytes()
    except (OSError, BrokenFileError):
        return False


def has_own_export(site: Site) -> bool:
    """Return True if the export in the checkout is that of a release: only releaser has written it."""
    try:
        content = read_regular_file(site.export) if site.export else None
        return content in [path.read_bytes() for path in site.paths.releases.glob(f"*/{EXPORT}")]
    except (OSError, BrokenFileError):
        return False


def find_export_problems(site: Site, project: Path) -> list[Problem]:
    """Return why the export cannot be written in `project`, the site's or that of a shadow."""
    name = site.settings.git.requirements_export
    if not name:
        return []
    message, path = f"The setting `requirements_export` is `{name}`", project / name
    if site.export is None or path.is_symlink() or lies_behind_link(project, name) or path.is_dir():
        advice = f"Name another file, or look at `ls -ld {path}`."
        return [Problem("wrong-export", f"{message}, but must be a .txt file in the project, and no link.", advice)]
    repository, own = open_repository(site), site.committed_paths[1]
    is_mine = repository.is_tracked(str(site.export)) and own not in repository.changed_tracked_files()
    if project == site.paths.project and path.exists() and not is_mine and not has_own_export(site):
        advice = f"Move it away, or commit it: `git -C {site.paths.top} add {own}`."
        return [Problem("wrong-export", f"{message}, but the file that exists is not committed.", advice)]
    return []


def find_untracked_in_the_way(repository: Repository, before: str, after: str) -> list[str]:
    """Return the untracked paths that a move from one commit to another would overwrite, ignored ones included."""
    suspects = set()
    for path in repository.added_files(before, after):
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
