"""The staging tree: a work tree of the commit that may go live, next to the checkout.

Packages are resolved, built and tested there. The checkout itself does not change until the release goes live.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Literal

from releaser.checkout.files import overlay_included
from releaser.checkout.lock_files import files_to_lock
from releaser.checkout.publish import SEEN
from releaser.errors import BuildError, Finding, ToolError, reason_of, refuse
from releaser.reporting.hooks import forget_tree, is_due, run_before_build
from releaser.site.site import Carried, Tree
from releaser.site.staging_settings import StagingSettings
from releaser.system.files import clear_name, put_aside, read_file, read_if_there, remove_tree, write_new_file
from releaser.system.frozen import Frozen, replace
from releaser.system.state_files import StateFile
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from releaser.core.target import Target
    from releaser.report import RunLog
    from releaser.site.site import Pulled, Site
    from releaser.system.process import Runner
    from releaser.tools.git import Git


Stage = Literal["stage", "stage live", "stage aside"]
_SUFFIXES: Mapping[Stage, str] = {"stage": "", "stage live": "-live", "stage aside": "-beside"}
_TREE, _MARK = ".releaser-staging", "staging-tree"
#: The state files that mark a staging tree as releaser's: git may not know a tree that a killed run left.
MARKS = tuple(StateFile(name=f"{_MARK}{suffix}") for suffix in _SUFFIXES.values())
#: The staging trees of earlier versions for projects without git.
EARLIER_TREES = tuple(StateFile(name=name) for name in ("staging", "staging-live", "staging-beside"))


def _staging_places(top: Path) -> dict[Stage, Path]:
    """Return the paths of the staging trees of the checkout at `top`.

    One is for candidates, one for the live code, one for tests that run at the same time as those in the first. They
    are siblings of the checkout, so that `../.env` and `../lib` are the same files for all.
    """
    return {stage: top.parent / f".{top.name}{_TREE}{suffix}" for stage, suffix in _SUFFIXES.items()}


def _mark_of(site: Site, place: Path) -> Path:
    return site.state_dir / f"{_MARK}{place.name.rpartition(_TREE)[2]}"


@contextlib.contextmanager
def staging_tree(  # noqa: PLR0913 - which tree, and its content
    site: Site,
    log: RunLog,
    commit: str,
    *,
    stage: Stage = "stage",
    pulled: Pulled | None = None,
    whole: bool = True,
) -> Iterator[Site]:
    """Check out `commit` in a staging tree, and yield the site in it; the tree is removed at the end.

    `pulled` are its new commits, if these change the code. Unless `whole`, the tree gets only the files that resolving
    needs, until `complete_tree` adds the rest. Raises BuildError, and PreflightError without room for copies.
    """
    place = _staging_places(site.git.layout.top)[stage]
    forget_tree(site, place)
    try:
        tree = _Tree(site=site, place=place, commit=commit, stage=stage, pulled=pulled, whole=whole, found=log)
        try:
            staged_site = _stage(site, log, tree)
        except BuildError:
            with contextlib.suppress(OSError):  # it may be the cause; the next run makes it again
                clear_name(site.project.shadow, of_directory=True)
            raise
        if stage != "stage":  # a tree for candidates is prepared only before a build
            prepare_tree(staged_site, log, goes_live=False)
        yield staged_site
    finally:
        with contextlib.suppress(OSError):  # the next run tries again, and reports it
            _remove_staging_tree(site, place)


def stage_aside(seen: Site, log: RunLog, target: Target, *, whole: bool = True) -> Site:
    """Check out a commit in the repository of `see_aside`, and return the site in it, such as for a dry run.

    Files around the checkout also appear around the tree, if `pyproject.toml`, `uv.toml` or the lock refer to them.
    `whole` is as in `staging_tree`. Raises BuildError and PreflightError.
    """
    shadow, pulled = seen.git, target.pulled
    variables, commit = shadow.choose_staging_commit(target.commit)
    site, place = replace(seen, git_variables=variables), shadow.layout.git_directory.parent
    tree = _Aside(site=site, place=place, commit=commit, pulled=pulled, shadow=shadow, whole=whole)
    return _stage(site, log, tree)


def see_aside(site: Site, base: Path, known: str | None = None) -> Site:
    """Return the site as seen from a new repository below `base`, which knows this remote head. Raises BuildError.

    It reads the objects of the site's own repository, or has the present code of a project without git. Fetched commits
    are stored there, so a fetch needs no lock and collides with no run.
    """
    place = base.joinpath(*site.git.layout.top.parts[1:])
    try:
        place.mkdir(parents=True)
        shadow = site.git.shadow(place)
        if known is not None:
            shadow.set_reference(SEEN, known)
    except (ToolError, OSError) as error:
        message = f"the commit cannot be checked out in {place}: {getattr(error, 'message', error)}"
        advice = "Free some space in the temporary directory, or set TMPDIR to another one."
        raise BuildError(message, advice, output=getattr(error, "output", "")) from error
    return replace(site, git_variables=shadow.variables)


class _Tree(Frozen):
    """A plan of a staging tree, which is a work tree of the site's repository."""

    site: Site
    place: Path
    commit: str
    stage: Stage = "stage"
    pulled: Pulled | None = None
    #: The untracked files of the checkout; None if git has not been asked yet.
    untracked: tuple[str, ...] | None = None
    #: True if it gets all files, not only those that resolving needs.
    whole: bool = True
    #: The site with the settings of the code in the tree, if these are known.
    there: Site | None = None
    #: The log of a run that may find the tree of an earlier one.
    found: RunLog | None = None

    @property
    def root(self) -> Path:
        """The project in the tree."""
        return self.place / self.site.project.checkout.relative_to(self.site.git.layout.top)

    @property
    def git(self) -> Git:
        """The repository that has the commit."""
        return self.site.git

    def files_to_lock(self, head: str) -> Mapping[str, bytes] | None:
        """Return the files of the commit, if the tree needs no others for now. Raises ToolError and OSError."""
        return None if self.whole or self.commit != head else files_to_lock(self.site, head)

    def check_out(self, files: Mapping[str, bytes] | None = None) -> bool:
        """Check out the commit at an empty place, or only these files of it if possible; True if the tree has all.

        Raises ToolError and OSError.
        """
        _remove_staging_tree(self.site, self.place, found=self.found)
        with contextlib.suppress(FileNotFoundError):  # no state directory exists before a project is adopted
            _mark_of(self.site, self.place).touch()
        self.place.mkdir(mode=0o700)  # files in it may be private to this user
        if files is None or not self.git.add_empty_work_tree(self.place, self.commit):
            self.git.add_work_tree(self.place, self.commit)
            return True
        for name, data in files.items():
            write_new_file(self.place / name, data)
        return False

    def complete(self) -> None:
        """Add what a work tree lacks. Raises ToolError and OSError."""
        self.git.clone_submodules(self.commit, self.place)


class _Aside(_Tree):
    """A plan of a staging tree in the temporary directory, with a separate repository."""

    shadow: Git

    @property
    def git(self) -> Git:
        """The temporary repository."""
        return self.shadow

    def files_to_lock(self, head: str) -> None:
        """Return None: the repository of the tree is new, and has no index."""

    def check_out(self, files: Mapping[str, bytes] | None = None) -> bool:  # noqa: ARG002
        """Check out the commit, with its submodules. Raises ToolError and OSError."""
        self.git.fill_shadow(self.place, self.commit)
        return True

    def complete(self) -> None:
        """Add symlinks to the files around the checkout. Raises OSError."""
        from releaser.resolution.aside import surround

        surround(self.place, self.site.git.layout.top, self.root)


def _stage(site: Site, log: RunLog, tree: _Tree) -> Site:
    """Check out a commit, and return the site in the tree.

    The tree also gets the untracked files of the checkout, except virtual environments and caches. The settings
    `staging_copy`, `staging_link` and `staging_omit` correct that.
    """
    place, commit, root = tree.place, tree.commit, tree.root
    with log.step(tree.stage) as step:
        try:
            head = site.git.commit("HEAD")
            staged = _fill(tree, head=head)
        except (ToolError, OSError) as error:
            raise _tree_error(place, error) from error
        step.says(", ".join(filter(None, [(site.git.name_of(commit) or "")[:12], staged.carried.describe()])))
    # State directory and symlink stay those of the checkout.
    staged_site = replace(site, project=replace(site.project, root=root, staged_from=site.project.checkout))
    if commit != head:
        if site.settings.python is None:  # else uv gets the Python of the setting
            from releaser.site.pythons import refuse_named_program  # slow to import

            refuse_named_program(root, place, site.project.checkout)
        staged_site = staged_site.of_commit()
    runner = _runner_of_tree(staged_site.runner, tree)
    return replace(staged_site, runner=runner, tree=replace(staged, is_staged=True, checkout=site))


def _tree_error(place: Path, error: ToolError | OSError) -> BuildError:
    message = f"the staging tree {place} could not be made: {reason_of(error)}"
    if isinstance(error, ToolError):
        return BuildError(message, error.advice or "See git's message.", output=error.output)
    return BuildError(message, f"Give this user write access to {place.parent}, and check its free space.")


def remake_tree(site: Site, staged: Tree) -> None:
    """Delete the staging tree of a site, and make it again. Raises ToolError and OSError."""
    outside, place, carried = site.outside, site.git.layout.top, staged.carried
    untracked, whole = carried.untracked, carried.is_whole
    tree = _Tree(site=outside, place=place, commit=staged.commit, untracked=untracked, whole=whole, there=site)
    carried.replace(_fill(tree, head=outside.git.commit("HEAD")).carried)


def _fill(tree: _Tree, *, head: str) -> Tree:
    """Check out the commit, and bring untracked files into the tree. Raises ToolError and OSError."""
    site, place, root = tree.site, tree.place, tree.root
    if not tree.check_out(tree.files_to_lock(head)):
        overlay_included(site, root)
        return Tree(commit=tree.commit, carried=Carried(has_code=False), pulled=tree.pulled)
    staged = _carry(tree, head=head)
    overlay_included(site, root)
    tree.complete()
    _refuse_lock_outside(root / "uv.lock", place, site.git.layout.top)
    for file in (root / "uv.lock", root / "pyproject.toml", root / "uv.toml"):
        # uv would write through a symlink that leads out of the tree, perhaps into the checkout.
        if file.is_symlink() and not file.resolve().is_relative_to(place.resolve()):
            write_new_file(file, read_file(file))
    return staged


def _refuse_lock_outside(lock: Path, place: Path, top: Path) -> None:
    """Refuse a commit whose lock is a symlink to a file outside of the repository. Raises PreflightError.

    The lock of the checkout may already be such a symlink: then it is accepted.
    """
    real, own = lock.resolve(), top / lock.relative_to(place)
    if own.is_symlink() and own.resolve() == real:
        return
    if lock.is_symlink() and not any(real.is_relative_to(path.resolve()) for path in (place, top)):
        message = f"uv.lock in the new commit is a symlink to {real}, which is outside the repository"
        refuse("lock-outside", message, "Commit a file instead, or a symlink to a file in the repository.")


def prepare_tree(site: Site, log: RunLog, *, goes_live: bool = True) -> None:
    """Prepare a staging tree for builds and tests: add all untracked files, and run `before_build`.

    If the code `goes_live`, `before_build` may not make files that would not. Raises BuildError, and PreflightError
    without room for copies.
    """
    log.has_tried_code = True
    complete_tree(site, log)
    if not is_due(site):
        return
    from releaser.checkout.output import list_build_output, refuse_undeclared

    try:
        before = list_build_output(site) if goes_live else None
    except ToolError as error:
        raise _tree_error(site.git.layout.top, error) from error
    with log.step("before_build") as step:
        try:
            step.says(run_before_build(site, log))
        except BuildError as error:
            raise _with_skipped(site, error) from error
        if before is not None:
            refuse_undeclared(site, before)


def _with_skipped(site: Site, error: BuildError) -> BuildError:
    """Return the error of `before_build`, with a hint at files that the staging tree lacks."""
    skipped = site.tree.carried.skipped
    if not skipped:
        return error
    listed = ", ".join(f'"{path}"' for path in skipped[:3])
    missed = (
        f"The staging tree lacks {first_few(skipped)}: if the command needs that, let it install it (as `npm "
        f"ci` does),"
        f" or set `staging_copy = [{listed}]`."
    )
    return BuildError(error.message, f"{error.advice} {missed}".strip(), output=error.output)


def link_venv(site: Site, venv: Path) -> None:
    """Point `.venv` of the staging tree to the tested venv, for tests that call programs by that path."""
    project = site.project
    if not project.venv.is_relative_to(project.checkout):
        return
    link = project.root / project.venv.relative_to(project.checkout)
    if not link.parent.resolve().is_relative_to(project.root.resolve()):
        return  # a symlink on the way leads out of the staging tree, and the live link must not be touched
    with contextlib.suppress(OSError):  # tests that need the symlink fail
        link.unlink(missing_ok=True)
        link.symlink_to(venv)


def remove_staging_trees(site: Site, log: RunLog) -> list[str]:
    """Remove the staging trees that a killed run left, and return their names. Raises OSError."""
    with contextlib.suppress(ToolError):  # no longer a repository, so the paths of the trees are unknown
        places = _staging_places(site.git.layout.top).values()
        return [place.name for place in places if _remove_staging_tree(site, place, found=log)]
    return []


def _remove_staging_tree(site: Site, place: Path, *, found: RunLog | None = None) -> bool:
    """Remove one staging tree and git's records of it; return whether it existed. Raises OSError.

    Targets of its symlinks are not touched. With the log `found`, this run did not make the tree: if neither git nor a
    mark knows it, it is not releaser's, and is renamed and reported.
    """
    is_there, mark = os.path.lexists(place), _mark_of(site, place)
    is_directory = place.is_dir() and not place.is_symlink()
    is_ours = found is None or mark.exists() or site.git.has_work_tree(place)
    if is_directory and (is_ours or not os.listdir(place)):
        remove_tree(place)
    elif is_there and found is None:
        place.unlink()
    elif is_there and found is not None:
        found.say(f"{place} was not made by releaser; it is now {put_aside(place).name}.")
        is_there = False
    site.git.forget_work_tree(place)
    mark.unlink(missing_ok=True)
    return is_there


def _runner_of_tree(runner: Runner, tree: _Tree) -> Runner:
    """Replace paths in the checkout by those in the staging tree, in PYTHONPATH and in variables of `environment_file`.

    Else the tests of a commit would import the live code. The tree may get the files of the commit later.
    """
    top = tree.site.git.layout.top

    def staged(path: str) -> str:
        moved = f"{tree.place}{path.removeprefix(str(top))}"
        if path != str(top) and not path.startswith(f"{top}/"):
            return path
        name = os.path.normpath(os.path.relpath(path, top))
        return moved if os.path.lexists(moved) or tree.git.has_tracked(tree.commit, name) else path

    def all_staged(name: str, value: str) -> str:
        """Only a variable named `...PATH` is a list of paths; other values, such as URLs, may have colons, too."""
        return os.pathsep.join(map(staged, value.split(os.pathsep))) if name.endswith("PATH") else staged(value)

    paths = {name: all_staged(name, value) for name, value in runner.environ.items() if name == "PYTHONPATH"}
    given = {name: all_staged(name, value) for name, value in runner.site_variables.items()}
    return replace(runner, environ={**runner.environ, **paths}, site_variables=given)


def _carry(tree: _Tree, *, head: str) -> Tree:
    """Bring untracked files of the checkout, at `head`, into the staging tree, and files whose commit is due.

    Unless the tree is `whole`, only those that resolving needs. Raises ToolError, OSError, and PreflightError without
    room for copies.
    """
    from releaser.checkout.untracked import carrier_to, check_room, find_needed, untracked_in, way_into_tree

    site, place, commit = tree.site, tree.place, tree.commit
    top, project = site.git.layout.top, site.project
    untracked = tree.untracked if tree.untracked is not None else untracked_in(site)
    staged = Tree(commit=commit, carried=Carried(untracked=untracked), pulled=tree.pulled)
    for file in (project.lock, project.pyproject):
        path = os.path.relpath(file, top)
        blob = site.git.blob(head, path)
        if blob is not None and file.is_file() and (commit == head or tree.git.blob(commit, path) == blob):
            shutil.copyfile(file, place / path)
    if tree.whole:
        _bring_rest(site, place, staged, staged_site=tree.there)
    elif needed := find_needed(site, tree.root, untracked):
        carrier = carrier_to(site, place, way_into_tree(site))
        entries = carrier.plan_needed(needed)
        check_room(place.parent, entries)
        carrier.carry(entries, staged.carried)
    return staged


def complete_tree(site: Site, log: RunLog) -> None:
    """Add the files that only builds and tests need to a staging tree, unless it has them.

    Raises BuildError, and PreflightError without room for copies.
    """
    carried, place = site.tree.carried, site.git.layout.top
    if carried.is_whole:
        return
    from releaser.checkout.untracked import untracked_in  # slow to import, for a night without news

    try:
        if not carried.has_code:
            with log.step("stage") as step, keep_uv_files(site):
                site.outside.git.fill_work_tree(place)
                overlay_included(site.outside, site.project.root)
                step.says("all files of the commit")
            carried.has_code, carried.untracked = True, untracked_in(site.outside)
        if not carried.untracked:
            carried.is_whole = True
            return
        with log.step("untracked files") as step:
            _bring_rest(site.outside, place, site.tree, staged_site=site)
            step.says(carried.describe())
    except (ToolError, OSError) as error:
        raise _tree_error(place, error) from error


@contextlib.contextmanager
def keep_uv_files(site: Site) -> Iterator[None]:
    """Give `pyproject.toml` and the lock of a staging tree their present content after the block. Raises OSError."""
    kept = {path: read_if_there(path) for path in (site.project.pyproject, site.project.lock)}
    yield
    for path, data in kept.items():
        if data is not None and read_if_there(path) != data:
            write_new_file(path, data)


def _bring_rest(site: Site, place: Path, staged: Tree, *, staged_site: Site | None = None) -> None:
    """Bring all untracked files of the checkout that are not in the tree. Raises ToolError, OSError, PreflightError.

    Files are linked only if both the live settings and those of the code in the tree (`there`) provide a sandbox.
    """
    from releaser.checkout.untracked import carrier_to, check_room, way_into_tree

    carried = staged.carried
    if carried.untracked:
        way = way_into_tree(site)
        if way.links and staged_site is not None:
            way = way_into_tree(staged_site)
        carrier = carrier_to(site, place, way)
        entries = [*carrier.plan_instead(carried.lent), *carrier.plan(carried.untracked)]
        check_room(place.parent, entries)
        carrier.carry(entries, carried)
        carried.needs_sandbox = way.links
    carried.is_whole = True


def staging_link_findings(site: Site) -> Iterator[Finding]:
    """Yield a finding for paths of `staging_link` that cannot be linked, as tests could write to them."""
    patterns = StagingSettings.of(site).staging_link
    if not patterns or site.tree.is_staged:
        return
    from releaser.checkout.untracked import way_into_tree
    from releaser.tools.code_files import matches

    if (way := way_into_tree(site)).links:
        return
    top = site.git.layout.top
    found = list[str]()
    with contextlib.suppress(ToolError):  # the shadow repository may not exist yet
        found = [
            unknown for unknown in (name.rstrip("/") for name in site.git.unknown_files()) if matches(unknown, patterns)
        ]
    found += [pattern for pattern in patterns if pattern not in found and os.path.lexists(top / pattern)]
    open_ones = [name for name in found if os.access(top / name, os.W_OK)]
    if open_ones:
        key = site.sources.get("staging_link", "staging_link")
        message = f"{key} links {first_few(open_ones)} of the live site into the staging tree, where tests could change"
        advice = f"{way.remedy}; or move the path to `staging_copy` or `staging_omit`."
        yield Finding("untracked-not-copied", f"{message} it: {way.reason}", advice)
