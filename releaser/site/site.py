"""A site: the project, its settings and its tools; and the facts that preflight collects."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.capabilities import gather
from releaser.errors import Finding, PreflightError, ToolError, how_to_set, refuse, refuse_any
from releaser.site import values
from releaser.site.export_settings import ExportSettings
from releaser.site.loading import Variables, bare, load, read_variables
from releaser.site.location import DEFAULT_VENV, PYPROJECT, find_project
from releaser.site.ownership import Ownership, foreign_state, readable_by_all, waits
from releaser.site.project import Project, Pyproject, first_lock, read_pyproject
from releaser.site.sealed_python import distrust
from releaser.site.settings import SPECS, Settings
from releaser.site.supply import Supply
from releaser.system.environment import files_of_uv
from releaser.system.files import read_text
from releaser.system.frozen import Frozen, Mutable, field, replace
from releaser.system.process import Runner
from releaser.system.sections import Facts
from releaser.system.words import (
    Redactor,
    plural,
    secrets_in_environment,
    secrets_in_service,
    secrets_in_urls,
    secrets_in_variables,
)
from releaser.tools.git_state import CheckoutState, Layout, files_of_git

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from releaser.locks.lock import LockFile
    from releaser.site.in_force import InForce
    from releaser.site.pythons import Choice
    from releaser.tools.git import Git
    from releaser.tools.uv import Uv


class Pulled(Frozen):
    """Commits that the remote had, and that change the code: `count` of them, from commit `old` to commit `new`."""

    old: str
    new: str
    count: int


class Carried(Mutable):
    """The untracked paths in a staging tree, relative to the top; more may follow later."""

    #: Those of the checkout; None if git has not been asked yet.
    untracked: tuple[str, ...] | None = None
    copied: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    #: Paths that are linked only until other programs than uv run in the tree.
    lent: list[str] = field(default_factory=list)
    #: Paths that may not be linked, and are too large to be copied.
    skipped: list[str] = field(default_factory=list)
    #: True if the tree has all untracked paths.
    is_whole: bool = False
    #: False while the tree has only those files of the commit that uv reads.
    has_code: bool = True
    #: True if links rely on a sandbox that keeps programs in the tree from writing through them.
    needs_sandbox: bool = False

    def replace(self, other: Carried) -> None:
        """Take over the paths of a tree that replaces the first one."""
        vars(self).update(vars(other))

    def describe(self) -> str:
        """Return the numbers of paths, in words; empty without any."""
        counts = {"copied": self.copied, "linked": [*self.linked, *self.lent], "skipped": self.skipped}
        return ", ".join(f"{plural(len(names), 'untracked path')} {done}" for done, names in counts.items() if names)


class StagingFacts(Facts):
    """The staging tree of a release."""

    #: The paths that the staging tree had besides the commit, relative to the top of the checkout.
    staging_copied: tuple[str, ...] = ()
    staging_linked: tuple[str, ...] = ()


class Tree(Frozen):
    """The tree of a site: a staging tree, in which releases are built and tested, or the checkout itself."""

    #: The commit that is checked out there.
    commit: str = "HEAD"
    #: The untracked paths that the tree has.
    carried: Carried = field(default_factory=partial(Carried, is_whole=True))
    #: The new commits in the tree, if they change the code.
    pulled: Pulled | None = None
    #: True for a staging tree, which then has the site in the `checkout`, too.
    is_staged: bool = False
    checkout: Site | None = None

    @property
    def facts(self) -> StagingFacts:
        """The facts for the manifest of a release that is built there."""
        return StagingFacts(staging_copied=self.copied, staging_linked=self.linked)

    @property
    def copied(self) -> tuple[str, ...]:
        """The paths that were copied into the tree."""
        return tuple(sorted(self.carried.copied))

    @property
    def linked(self) -> tuple[str, ...]:
        """The paths in the tree that are links to the checkout."""
        return tuple(sorted({*self.carried.linked, *self.carried.lent}))


class Site(Frozen):
    """One project with its settings and tools; `findings` are the problems of its files and settings.

    `sources` names the file and key of every setting that is not at its default.
    """

    project: Project
    settings: Settings
    pyproject: Pyproject
    findings: tuple[Finding, ...]
    runner: Runner
    #: Findings for secrets that every user of this host can read, or that are too short to be masked.
    exposed: tuple[Finding, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    #: Variables that point git to a shadow of the repository, into which a dry run fetches.
    git_variables: Mapping[str, str] = field(default_factory=dict)
    #: The tree with its code: the checkout, or a staging tree.
    tree: Tree = field(default_factory=Tree)
    #: The supply of the source that a command names; None if the settings decide.
    given: Supply | None = None
    #: The settings in force if the staging tree has a commit that is not live; None if all settings count.
    in_force: InForce | None = None
    #: True if an interpreter that has changed since the seal may be started to ask for its version.
    asks: bool = True

    @functools.cached_property
    def outside(self) -> Site:
        """The site in the checkout that visitors see."""
        return self.tree.checkout or self

    @property
    def pulled(self) -> Pulled | None:
        """The new commits in the staging tree; None if it has the code of the checkout."""
        return self.tree.pulled

    @functools.cached_property
    def supply(self) -> Supply:
        """The supply of its releases: from the command, else from a setting, else the default."""
        return self.given or next(filter(None, (find(self) for find in SUPPLIES)), Supply())

    @functools.cached_property
    def git(self) -> Git:
        """The git of the checkout; one object, as it caches the place of the repository.

        For a project that is not under git, this is the shadow repository of releaser.
        """
        settings, root, limit = self.settings, self.project.root, self.settings.git_timeout
        if not self.project.has_git:
            from releaser.site.shadow import open_shadow  # not needed under git

            return open_shadow(self, timeout=limit)
        from releaser.tools.git import Git  # slow to import, for `releaser list`

        return Git(runner=self.runner, root=root, timeout=limit, variables=self.git_variables, hooks=settings.git_hooks)

    @property
    def branch(self) -> str:
        """The branch that is pulled, checked out and pushed."""
        return self.settings.branch

    @property
    def pulls(self) -> bool:
        """True if new commits are fetched."""
        return self.settings.git_pull and self.supply.asks_others

    @property
    def pushes(self) -> bool:
        """True if releaser's commits are pushed."""
        return self.settings.git_push and self.supply.asks_others

    def require_git(self, finding: Finding) -> Finding | None:
        """Return the finding if the project is not under git."""
        return None if self.project.has_git else finding

    def report_lost_git(self, finding: Finding) -> Finding | None:
        """Return the finding if `.git` is missing, although `git` is not set to false."""
        return finding if self.project.uses_git and not self.project.has_git else None

    @functools.cached_property
    def state_dir(self) -> Path:
        """The state directory of the project."""
        return self.project.state_dir

    def own_files(self) -> tuple[str, ...]:
        """Return the files that releaser itself commits, relative to the top of the work tree."""
        export, top = ExportSettings.of(self).requirements_export, self.git.layout.top
        files = [self.project.lock, *([self.project.root / export] if export else [])]
        return tuple(os.path.relpath(file, top) for file in files)

    def code_key(self, commit: str) -> str:
        """Return the digest of the code of a commit, without the files that releaser commits; empty if unknown."""
        try:
            return self.git.code_key(self.own_files(), commit=commit)
        except ToolError:
            return ""

    @functools.cached_property
    def redactor(self) -> Redactor:
        """The redactor, which masks this site's secrets in all output."""
        return self.runner.redactor

    def mentions(self, *words: str) -> bool:
        """True if a finding about files and settings already mentions one of these words."""
        return any(word in finding.message for finding in self.findings for word in words)

    @functools.cached_property
    def uv(self) -> Uv:
        """The wrapper of uv. Raises PreflightError if uv is missing."""
        from releaser.tools.uv import Uv, find_uv  # slow to import, for a rollback

        setting = self.settings.uv
        executable = find_uv(setting, environ=self.runner.environ, project=self.project.root)
        if executable is None:
            where = f"at {setting} (setting `uv`)" if setting else "on PATH or next to releaser"
            message = f"uv was not found {where}"
            refuse("uv-missing", message, f"Run `pip install uv`, or {how_to_set('uv', '/path/to/uv')}.")
        limit, variables = self.settings.uv_timeout, self.supply.variables
        return Uv(runner=self.runner, executable=executable, timeout=limit, variables=variables)

    def reread(self) -> Site:
        """Read settings and pyproject.toml again, as a pull may change them; the paths stay the same in this run."""
        fresh = open_site(self.project.root, self.runner.environ)
        ours = self.runner
        runner = replace(fresh.runner, marks=ours.marks, remembered=ours.remembered, ended=ours.ended, watch=ours.watch)
        return replace(fresh, project=self.project, runner=runner, given=self.given)

    def of_commit(self) -> Site:
        """Return this live site, moved into a staging tree, with the settings of the commit there that are in force."""
        from releaser.site.in_force import InForce  # not needed on most nights

        fresh, ours = self.reread(), self.runner
        found = InForce.of(self.settings, fresh.settings)
        waits = {setting.name for setting in found.waiting}
        sources = {name: source for name, source in fresh.sources.items() if name not in waits}
        given = ours.site_variables if found.settings.environment_file else {}  # a commit may also change that file
        runner = replace(fresh.runner, passes=found.settings.test_environment, site_variables=given)
        runner.redactor.learn(runner.redactor.secrets | ours.redactor.secrets)
        sources |= {name: source for name, source in self.sources.items() if name in waits}
        return replace(fresh, settings=found.settings, sources=sources, runner=runner, in_force=found)

    @property
    def with_own_settings(self) -> Site:
        """The site with all settings of its commit, only to check those that do not count yet."""
        return self if self.in_force is None else replace(self, settings=self.in_force.own)

    def waits_for(self, setting: str) -> bool:
        """True if a setting of the commit in the staging tree counts only once the commit is live."""
        return self.in_force is not None and any(waiting.name == setting for waiting in self.in_force.waiting)

    def describe_waiting(self) -> str:
        """Name which settings of the commit in the staging tree do not count yet; empty if all do."""
        return self.in_force.describe(self.tree.commit) if self.in_force is not None else ""


#: Functions that return the supply of a site whose settings name their source; the first result counts.
SUPPLIES: tuple[Callable[[Site], Supply | None], ...] = gather("supplies")


def find_site(path: Path, environ: Mapping[str, str]) -> Site:
    """Open the project that contains `path`, as `open_site` does. Raises PreflightError outside any project."""
    root = existing_directory(path)
    found = find_project(str(root))
    if found is None:
        message = f"there is no project here: neither {root} nor a directory above it has pyproject.toml and uv.lock"
        refuse("no-project", message, _advise_on_project(root))
    return open_site(Path(found), environ)


def _advise_on_project(root: Path) -> str:
    """Return the advice for a directory outside any project, perhaps just above one."""
    from releaser.system import temporary

    with contextlib.suppress(OSError):
        below = [path.parent.name for path in root.glob("*/uv.lock") if (path.parent / PYPROJECT).is_file()]
        if len(below) == 1 and not below[0].startswith(temporary.PREFIX):
            place = shlex.quote(below[0])
            return f"Did you mean the project in `{below[0]}`? Run `cd {place}`, or add `--project {place}`."
    advice = "Change to the project with `cd`, or add `--project PATH` to the command."
    has_venv = (root / DEFAULT_VENV / "pyvenv.cfg").is_file() or (root / "requirements.txt").is_file()
    return f"{advice} {first_lock(root)}" if has_venv else advice


def open_site(path: Path, environ: Mapping[str, str]) -> Site:
    """Open the project at `path`. Its problems go into `findings`, so that preflight reports all at once.

    Raises PreflightError if the directory is missing or belongs to another user, before reading any file there.
    """
    root = existing_directory(path)
    project = Ownership.of(root)
    refuse_any(project.doubt())
    of_uv = (file for file in files_of_uv(root, environ) if file.name == "uv.toml")
    refuse_any(waits((*of_uv, *files_of_git(root))))
    pyproject_path = root / "pyproject.toml"
    findings: tuple[Finding, ...] = ()
    try:
        pyproject = read_pyproject(pyproject_path)
    except PreflightError as error:
        findings = error.findings
        pyproject = Pyproject(path=pyproject_path, content={})
    tool = pyproject.table("tool").get("releaser", {})
    loaded = load(table=tool, pyproject=pyproject_path, env_file=root.parent / ".env", environ=environ)
    settings = loaded.settings
    given, name = Variables(values={}), settings.environment_file
    own = root / ".env"  # the site's own; releaser takes no settings from it, but starts programs that read it
    in_checkout = read_variables(own) if os.path.lexists(own) else Variables(values={})
    secrets = {own: secrets_in_variables(in_checkout.values)}
    if name:
        place = Path(os.path.normpath(root / Path(name).expanduser()))
        refuse_any(project.unsafe(place))
        given = read_variables(place, setting="environment_file")
        secrets[place] = secrets_in_variables(given.values)
    paths = Project.at(root, state_dir=settings.state_dir, venv=settings.venv, uses_git=settings.git)
    refuse_any(foreign_state(root, paths.state_dir, group_writable=settings.group_writable))
    if not paths.has_git:
        findings += tuple(_find_needing_git(settings, loaded.sources))
        settings = replace(settings, git_pull=False, git_push=False)
    return Site(
        project=paths,
        settings=settings,
        pyproject=pyproject,
        findings=(*findings, *loaded.problems, *given.findings, *filter(None, (project.unsafe(own), waits([own])))),
        runner=Runner(
            environ=environ,
            site_variables=given.values,
            passes=settings.test_environment,
            distrust=partial(distrust, paths.releases),
            redactor=_redactor(settings, pyproject_path, environ, set(loaded.secrets.union(*secrets.values()))),
        ),
        exposed=(
            *loaded.exposed,
            *filter(None, (bare(own, in_checkout), bare(Path(name or ""), given))),
            *filter(None, (readable_by_all(file) for file in secrets if secrets[file])),
        ),
        sources=loaded.sources,
    )


def _find_needing_git(settings: Settings, sources: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a finding for each setting that needs git, in a project without git."""
    for name in ("git_pull", "git_push", "branch"):
        if name in sources and getattr(settings, name):
            without = f"{sources['git']} is false" if not settings.git else "there is no .git here or above"
            message = f"{sources[name]} needs git, but the project is not under git: {without}"
            yield Finding("needs-git", message, f"Remove {name}, or put the project under git.")


def existing_directory(path: Path) -> Path:
    """Return `path` absolute and resolved. Raises PreflightError if it is not a directory."""
    try:
        root = path.expanduser().resolve()
        if root.is_dir():
            str(root).encode()
            return root
        try:
            root.stat()  # since Python 3.13, is_dir() and exists() hide loops and missing permissions
            message = f"{root} is not a directory"
        except (FileNotFoundError, NotADirectoryError):
            message = f"{root} does not exist"
    except UnicodeEncodeError:
        refuse(
            "path-not-utf8",
            f"project {root}: the path is not UTF-8, but uv and git need UTF-8",
            "Rename the directories whose names are not UTF-8.",
        )
    except (OSError, RuntimeError) as error:  # forbidden, too long a name, a loop of symlinks, an unknown ~user
        message = f"{path} cannot be accessed: {getattr(error, 'strerror', None) or error}"
    advice = "Correct --project or RELEASER_PROJECT. After a move of the site, correct its crontab line or timer."
    return refuse("path-unfit", f"project {message}", advice)


def _redactor(settings: Settings, pyproject: Path, environ: Mapping[str, str], given: set[str]) -> Redactor:
    own = [(spec.kind is values.text, getattr(settings, name)) for name, spec in SPECS.items() if spec.secret]
    urls = (value if isinstance(value, tuple) else (value,) for is_text, value in own if value and not is_text)
    for url in itertools.chain.from_iterable(urls):
        given |= secrets_in_service(url)
    if given:  # public names are no secrets, whatever their variable, and masking them would garble paths
        host = os.uname().nodename
        given.difference_update(pyproject.parts, (host, host.partition(".")[0]), _find_locked(pyproject.parent, given))
    secrets = secrets_in_environment(environ) | given
    secrets |= {value for is_text, value in own if is_text and value}
    if settings.vulnerability_service:
        secrets |= secrets_in_urls(settings.vulnerability_service)
    for file in (pyproject, pyproject.with_name("uv.toml"), pyproject.parent / ".git" / "config"):
        try:
            secrets |= secrets_in_urls(read_text(file, errors="replace"))
        except OSError:
            continue
    return Redactor(secrets)


def _find_locked(root: Path, words: Iterable[str]) -> set[str]:
    """Return the words that are names of packages in the lock."""
    with contextlib.suppress(OSError):
        text = read_text(root / "uv.lock", errors="replace")
        return {word for word in words if f'\nname = "{word}"\n' in text}
    return set()


class Checkout(Frozen):
    """The state of the checkout; `remote` is the remote for pull and push, None without both."""

    layout: Layout
    state: CheckoutState
    remote: str | None


class SiteFacts(Frozen):
    """The facts about a project that passed preflight."""

    uv: Uv
    #: The interpreter to build with, and the reason.
    choice: Choice
    lock: LockFile
    #: The dependency group.
    group: str | None
    test_command: tuple[str, ...]
    #: The id of the unix group of releases.
    unix_group: int
    checkout: Checkout
    #: Why the directory of static files is unknown; empty if it is known.
    unknown: str = ""

    @property
    def python(self) -> Path:
        """The interpreter to build with."""
        return self.choice.python
