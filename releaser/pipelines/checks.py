"""Every check before a run: one list, so that all problems are named at once, by every command that asks."""

from __future__ import annotations

import contextlib
import os
import stat

import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from releaser.candidate import tests
from releaser.candidate.namespace import can_mount_shadow
from releaser.checkout import problems as checkout
from releaser.checkout.own_files import find_hidden_changes, find_stale_export
from releaser.checkout.problems import explain_git_error, read_checkout
from releaser.checkout.repository import CheckoutState, Repository, open_repository
from releaser.checkout.snapshot import Snapshot, take_snapshot
from releaser.errors import PreflightError, Problem, ToolError, require
from releaser.live.actions import find_problems
from releaser.live.programs import find_missing_program
from releaser.live.uv_run import list_uv_runs
from releaser.packages import complaints, hand_made
from releaser.packages.lock import read_lock
from releaser.packages.requirements import loosen
from releaser.packages.sources import find_source_problems
from releaser.releases.store import Store
from releaser.site import django
from releaser.site.project import get_table, read_pyproject, read_text
from releaser.site.site import Site, find_state_problems, find_untrusted_programs, read_dotenv
from releaser.system.text import find_secrets, join_few, normalize_name, word


class Look(msgspec.Struct, frozen=True):
    """A site before anything is asked of the network. `snapshot` is None only where git does not answer: a problem."""

    repository: Repository
    snapshot: Snapshot | None
    problems: tuple[Problem, ...]

    def require_fit(self) -> Snapshot:
        """Return the snapshot. Raises PreflightError with all problems, if there are any."""
        require(self.problems)
        if self.snapshot is None:
            raise PreflightError(*self.problems)
        return self.snapshot


def look(
    site: Site,
    store: Store,
    *,
    mark: str = "",
    is_first: bool = False,
    force: bool = False,
    instead: CheckoutState | None = None,
) -> Look:
    """Return the site with every reason why an update would be refused; `is_first` for one without a release.

    `force` replaces a venv that a person has edited. `instead` is where the checkout will be after an interrupted run.
    """
    repository = open_repository(site, mark)
    state, problems = read_checkout(site, repository)
    state = instead if instead is not None and state is not None else state
    problems = [*site.problems, *_find_lock_problems(site), *problems]
    if state is not None:
        try:
            problems += checkout.find_problems(site, repository, state, store.live)
            problems += _find_tracked_problems(site, repository, store, state.head) if state.head else []
        except ToolError as error:
            problems.append(explain_git_error(site, error))
    if not is_first or (store.link.kind == "foreign" and store.link.is_symlink):
        problems += hand_made.find_link_problems(store, force=force)
    problems += find_problems(site)
    problems += [] if site.problems else complaints.find_problems(site, site.paths.project, mark=mark)
    problems += [*find_state_problems(site), *_find_contradictions(site), *find_source_problems(site)]
    if is_first and not site.problems and store.link.kind == "foreign" and not store.link.is_symlink:
        problems += hand_made.find_problems(site)
    snapshot = None
    if state is not None:
        with contextlib.suppress(OSError):  # an unreadable file, which is a problem already
            snapshot = take_snapshot(site, state, store.link)
    return Look(repository, snapshot, tuple(problems))


def _find_contradictions(site: Site) -> list[Problem]:
    """Return a problem for each setting that something else makes impossible."""
    problems, versions = list[Problem](), site.settings.versions
    if versions.has_fixes_alone and versions.audit == "off":
        message = "`upgrade` is `security`, but `audit` is `off`, so that no service knows the fixes."
        problems.append(Problem("no-audit", message, "Set `audit` to `report`, or `upgrade` to another level."))
    if site.settings.tests.shadow == "required" and not can_mount_shadow(site):
        message = "The setting `shadow` is `required`, but this kernel does not let this user mount anything."
        problems.append(Problem("no-namespaces", message, "Set `shadow` to `auto`, or allow user namespaces."))
    return problems


def _find_lock_problems(site: Site) -> list[Problem]:
    try:
        lock = read_lock(site.paths.lockfile)
    except PreflightError as error:
        return list(error.problems)
    return [*tests.find_problems(site, lock), *(django.find_problems(site) if "django" in lock.versions else ())]


def _find_tracked_problems(site: Site, repository: Repository, store: Store, head: str) -> list[Problem]:
    problems = checkout.explain_submodules(site, repository.find_submodules(head))
    problems += find_hidden_changes(site, repository.find_hidden_changes(site.committed_paths))
    if site.paths.lockfile_in_tree not in repository.list_files(head) and site.paths.lockfile.exists():
        advice = "Run `git add --force uv.lock`, and commit it."
        problems.append(Problem("untracked-lock", "uv.lock is not in git.", advice))
    return [*problems, *checkout.find_other_sites(site, repository, head)]


def _find_missing_tests(site: Site) -> list[Problem]:
    """Return a problem if the program of `test_command` is missing; a package of the next release may bring it."""
    settings = site.settings.tests
    command = settings.test_command if site.paths.link.exists() else ()
    return find_missing_program(site, "test_command", command[0], settings.test_environment) if command else []


def _find_open_secrets(site: Site) -> list[str]:
    """Return a hint about each environment file that has a secret, and that every user of the host may read."""
    hints = []
    for path in dict.fromkeys((site.paths.dotenv, site.environment_file)):
        if path.is_file() and path.stat().st_mode & stat.S_IROTH and find_secrets(read_dotenv(path)[0]):
            hints.append(f"Every user of this host may read the secrets in `{path}`: run `chmod o-r {word(path)}`.")
    return hints


def _find_unused_settings(site: Site) -> list[str]:
    """Return hints about settings of git and uv in the environment, which releaser does not pass on."""
    git = [name for name in ("GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS") if os.environ.get(name)]
    hints = {
        f"The settings of git in `{', '.join(git)}` are not used: set them by `git config --global NAME VALUE`.": git,
        f"Not used: `{', '.join(site.unused_uv_variables)}`. Set it in `[tool.uv]`, or see `default_groups` and "
        "`min_age` of releaser.": site.unused_uv_variables,
    }
    return [hint for hint, names in hints.items() if names]


def _find_unknown_packages(site: Site) -> list[str]:
    """Return hints about packages in `ignore` and `upgrade_packages` that uv.lock does not have."""
    versions = site.settings.versions
    named = {*map(normalize_name, versions.ignore), *versions.upgrade_packages}
    with contextlib.suppress(PreflightError):
        named.difference_update(read_lock(site.paths.lockfile).names if named else ())
        return [f"`ignore` or `upgrade_packages` names {join_few(sorted(named))}: not in uv.lock."] if named else []
    return []


def _find_exact_versions(site: Site) -> list[str]:
    """Return a hint about exact versions in pyproject.toml, as `uv add -r requirements.txt` writes them."""
    content = read_pyproject(read_text(site.paths.pyproject)[0], "")[0]
    exact = []
    for line in get_table(content, "project").get("dependencies", ()):
        with contextlib.suppress(InvalidRequirement):
            requirement = Requirement(line)
            exact += [f"`{loosen(requirement)}`"] if loosen(requirement) != str(requirement) else []
    if not exact or site.settings.versions.upgrade == "none":
        return []
    text = f"Updates leave what pyproject.toml names with `==`. For patch releases, write {join_few(sorted(exact))}"
    return [f"{text}; for all versions, `>=`. Then run `uv lock`, and commit."]


def list_hints(site: Site) -> list[str]:
    """Return what could be better, for `check` and `init`."""
    hints = [find_stale_export(site), *_find_open_secrets(site), *find_untrusted_programs(os.environ)]
    hints += [*_find_unused_settings(site), *_find_unknown_packages(site), *_find_exact_versions(site)]
    hints += [f"{problem.message} {problem.advice}" for problem in (*list_uv_runs(site), *_find_missing_tests(site))]
    with contextlib.suppress(PreflightError):
        hints += django.list_hints(site) if "django" in read_lock(site.paths.lockfile).versions else []
    if site.paths.state.is_relative_to(site.paths.top):
        hint = f"The state directory `{site.paths.state}` lies in the repository: `git clean -fdx` would delete every"
        hints.append(f"{hint} release. Use `git clean -fd`, or set `state_dir` before the first release.")
    return [hint for hint in hints if hint]
