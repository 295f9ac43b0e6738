"""The upgraded lock of a candidate: uv resolves, uv compares it with the live venv."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from releaser.errors import BuildError, ToolError, refuse
from releaser.packages.changes import compare_locks, compare_versions, find_newest
from releaser.packages.complaints import (
    NOT_FOUND,
    advise_on_lock,
    explain_refusal,
    is_conflict,
    require_fitting_lock,
    require_kept_bounds,
)
from releaser.packages.holds import VersionHold
from releaser.packages.lock import Lock, Package, parse_lock, read_cutoff, read_lock, read_options
from releaser.packages.lost import pack_wheel, put_back
from releaser.packages.rules import (
    AS_LOCKED,
    Baseline,
    Bound,
    Rules,
    Skipped,
    explain_skipped,
    find_between,
    find_floors,
    find_lowered,
    find_lowered_forks,
    is_pinnable,
    keep,
    lock_arguments,
    make_bounds,
    mark_fork,
    read_time,
)
from releaser.releases.release import PackageChange, Release
from releaser.releases.venv import ask_python_version, find_python, is_same_installation, list_installed
from releaser.site.site import Site
from releaser.system.process import Finished, failure
from releaser.system.run import now
from releaser.system.text import join_few, normalize_name, word

_RETRY = "The next run tries again."
DOES_NOT_BUILD = "does not build here"
NOT_GIVEN = "has a file that its index does not give"
_QUESTIONS = 30  # to uv, for one update
_MANY = 3  # packages that one index lacks or refuses at once: then it has moved, and lost nothing
_NO_FILE = re.compile(r"Distribution `([\w.-]+)==([^`\s]+)[^`]*` can't be installed")
_NO_BUILD = re.compile(r"Failed to (?:(?:download and )?build|download|install:)[^`(\n]*[`(]([\w.-]+)==([^`)\s]+)[`)]")
_NO_COMMIT = re.compile(r"Failed to (?:download and )?build `([\w.-]+) @ git\+")
#: An upper bound of the project, as uv explains a conflict.
_BOUND = re.compile(r"\byour\s+project\s+depends\s+on\s+([\w.\[\]-]+[^\s<]*(?:<|==)\S*?),?\s")
_EXACTLY = re.compile(r"={2,3}([^,*]+)")  # as a bound
_YANKED = re.compile(r"`([\w.-]+)==([^`\s]+)` is yanked")
#: A build failed for a reason that the next try has, too; a download may succeed then.
_LASTING = re.compile(
    r"build backend returned an error|No solution found when resolving: |Failed to extract archive|Hash mismatch for|"
    r"The wheel is invalid|which indicates a malformed wheel|/RECORD`: No such file"
)
_NOT_GIVEN = re.compile(r"HTTP status client error \((40[34]) .*?\) for url \([^)\s]*?/([^/)\s?#]+\.(?:whl|tar\.gz))\b")


class Plan(msgspec.Struct, frozen=True):
    """A resolved candidate: its lock, and what it would change in the live venv. `python` is the interpreter.

    `python_version` is its version; `changes` are None where no live venv can be compared. `skipped` are the newer
    versions that holds keep back.
    """

    lock: Lock
    python: str
    python_version: str
    changes: tuple[PackageChange, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    #: The packages on hold that stay as they are.
    held: frozenset[str] = frozenset()
    #: Holds on versions that cannot be installed here, and on those that a commit of a person has left.
    holds: tuple[VersionHold, ...] = ()
    #: The packages that the index has lost, with their versions: they are installed from the live venv.
    lost: Mapping[str, str] = {}
    #: True if nothing of the live venv is taken over.
    is_rebuild: bool = False
    #: Sentences about packages that come from elsewhere than before.
    notes: tuple[str, ...] = ()
    #: The packages that are installed again in the same version, as uv would leave their files.
    renewed: frozenset[str] = frozenset()


class LiveVenv(msgspec.Struct, frozen=True):
    """The live venv as it is compared with a lock, with its own; `python_version` is empty if Python does not start."""

    venv: Path
    lock: Lock
    python_version: str
    installed: Mapping[str, str]


def read_live_venv(site: Site, live: Release) -> LiveVenv:
    """Return the facts about the live release that a resolution needs."""
    version = ask_python_version(site, find_python(live.venv))
    return LiveVenv(live.venv, read_lock(live.lock), version, list_installed(live.venv))


class _SyncChange(msgspec.Struct):
    name: str
    action: str
    version: str | None = None


class _Sync(msgspec.Struct):
    action: str = ""
    changes: list[_SyncChange] = []


class _SyncReport(msgspec.Struct):
    sync: _Sync


def group_arguments(site: Site) -> list[str]:
    """Return the arguments of uv that say what is installed beside the project's own dependencies."""
    settings, words = site.settings.site, list[str]()
    if not settings.default_groups:
        words += ["--no-default-groups"]
    if site.group:
        words += ["--group", site.group]
    for extra in settings.extras:
        words += ["--all-extras"] if extra == "all" else ["--extra", extra]
    for member in settings.members:
        words += ["--all-packages"] if member == "all" else ["--package", member]
    return words


def choose_python(site: Site, tree: Path, live: LiveVenv | None, *, mark: str) -> tuple[str, str]:
    """Return path and version of the interpreter for a release: that of the live venv if it fits. Raises BuildError."""
    request = [site.settings.site.python] if site.settings.site.python else []
    words = ["python", "find", "--no-python-downloads", *request]
    variables = {"UV_PROJECT_ENVIRONMENT": str(tree / ".no-venv")}
    if live is not None and live.python_version:
        variables["VIRTUAL_ENV"] = str(live.venv)
    else:
        words.append("--system")
    advice = "Install a Python that `requires-python` allows, or correct the setting `python`."
    try:
        path = site.run_uv(*words, cwd=tree, mark=mark, variables=variables).stdout.strip()
    except ToolError as error:
        raise BuildError(f"No Python fits: {error.message}", advice, output=error.output) from error
    in_site = os.path.normpath(site.paths.project / os.path.relpath(path, tree))
    if os.path.exists(in_site) and os.path.samefile(in_site, path):
        path = in_site  # of a relative path, the tree is gone once a venv has it
    is_live = live is not None and Path(path).is_relative_to(live.venv)
    if live is not None and live.python_version and not is_live:  # uv answers with a path that `python` names as it is
        is_live = is_same_installation(site, Path(path), find_python(live.venv))
        path = str(find_python(live.venv)) if is_live else path
    version = live.python_version if live is not None and is_live else ask_python_version(site, Path(path))
    if not version:
        raise BuildError(f"No Python fits: `{path}` does not start.", advice)
    return path, version


def read_constraints(site: Site, project: Path) -> dict[str, str]:
    """Return the bounds of `constraints`, by package; of a file in git, those here. Raises PreflightError."""
    name = site.settings.versions.constraints
    if not name:
        return {}
    path = Path(os.path.normpath(site.paths.project / os.path.expanduser(name)))
    if path.is_relative_to(site.paths.top):
        path = project / os.path.relpath(path, site.paths.project)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        message = f"`constraints` is `{name}`, which cannot be read: {reason}."
        raise refuse("no-constraints", message, "Correct or remove `constraints`.") from error
    bounds = dict[str, str]()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        try:
            requirement = Requirement(text) if text else None
        except InvalidRequirement:
            requirement = Requirement("x; extra == 'x'")
        if requirement and (requirement.marker or requirement.url or not requirement.specifier):
            message = f"Line {number} of `{name}` is `{text}`, but must be a package with bounds, such as `django<6`."
            raise refuse("wrong-constraint", message, f"Correct it, or remove `constraints`: `nano {word(name)}`.")
        if requirement:
            key = normalize_name(requirement.name)
            bounds[key] = ",".join(filter(None, [bounds.get(key), str(requirement.specifier)]))
    return bounds


class _Task(msgspec.Struct, frozen=True):
    """A resolution: where uv works, with which interpreter, and from what. `asked` are its questions to uv so far."""

    site: Site
    tree: Path
    live: LiveVenv
    python: str
    mark: str
    before: Baseline
    asked: list[str] = []
    #: The packages that the index has lost, with their versions.
    lost: dict[str, str] = {}
    #: The packages that stay since their indexes offer nothing that may be taken, with their versions.
    stays: dict[str, str] = {}
    #: The packages from git that stay since their newest commit cannot be had.
    stuck: dict[str, Skipped] = {}

    @property
    def path(self) -> Path:
        """The lock in the tree."""
        return self.tree / "uv.lock"

    def ask(self, *words: str, index: Path | None = None) -> Finished:
        """Run uv, also with an index of what its own has lost. Raises BuildError after too many questions."""
        self.asked.append(words[0])
        if len(self.asked) > _QUESTIONS:
            message = f"In {_QUESTIONS} calls, uv has found no lock that can be installed here."
            lacking = f" The indexes lack versions of {join_few(sorted(self.stays))}." if self.stays else ""
            raise BuildError(f"{message}{lacking}", "Run `uv lock --upgrade`, correct what it chooses, and commit.")
        lost, variables = [*index.iterdir()] if index else [], dict[str, str]()
        if index and lost:
            known = self.site.uv_variables  # an option would take their place
            variables["UV_INDEX"] = " ".join([index.as_uri(), *known.get("UV_INDEX", "").split()])
            links = self.site.find_links(self.tree)
            variables["UV_FIND_LINKS"] = ",".join([*map(str, lost), *links])  # of a project without an index
            variables["UV_NO_SOURCES_PACKAGE"] = " ".join(path.name for path in lost)  # they may name an index
        more = ("--python", self.python)
        return self.site.run_uv(*words, *more, cwd=self.tree, mark=self.mark, check=False, variables=variables)


def resolve(site: Site, tree: Path, live: LiveVenv, rules: Rules, *, mark: str) -> Plan:
    """Upgrade uv.lock in a tree, within the rules, and compare it with the live venv. Raises BuildError."""
    python, version = choose_python(site, tree, live, mark=mark)
    before = Baseline(live.installed, live.lock, read_lock(tree / "uv.lock"))
    task = _Task(site, tree, live, python, mark, before)
    is_deployed = rules.choose(before.committed.names) == frozenset()
    if is_deployed:
        require_fitting_lock(site, tree, python, mark=mark)
    else:
        require_kept_bounds(before.committed.text, may_rise=True)
    if is_deployed and rules.level == "none" and not rules.holders and not rules.stays:
        changes, skipped = _compare(task), tuple[Skipped, ...]()
    else:
        rules, changes = _upgrade(task, rules)
        skipped = _explain(task, rules)
    unfit = ((name, label, why) for name, reasons in rules.unfit.items() for label, why in reasons.items())
    return Plan(
        read_lock(task.path),
        python,
        version,
        changes,
        skipped,
        frozenset(rules.holders) - {change.name for change in changes or ()},
        tuple(VersionHold(name=name, version=label, by="index", reason=why, since=now()) for name, label, why in unfit),
        task.lost,
    )


def _upgrade(task: _Task, rules: Rules) -> tuple[Rules, tuple[PackageChange, ...] | None]:
    """Upgrade uv.lock in a tree; return the rules that were needed for that, and what changes in the live venv.

    No package is lowered, and a version that cannot be installed here is left out: uv is asked again. Raises
    BuildError.
    """
    rules = msgspec.structs.replace(rules, cutoff=_find_cutoff(task, rules))
    while True:
        try:
            _lock_within(task, rules)
            lowered = find_lowered(find_floors(rules, task.before), read_lock(task.path))
            changes = None if lowered else _compare(task)
            lowered = lowered or find_lowered_forks(rules, task.before, changes or ())
            if not lowered:
                return rules, changes
        except BuildError as error:
            unfit = find_unfit(error.output)
            required = {} if unfit or not rules.floors else _find_required(task, rules)
            if required:
                rules = msgspec.structs.replace(rules, lowered={**rules.lowered, **required}, floors={})
            elif unfit and any(version not in rules.unfit.get(name, {}) for name, version, _ in unfit):
                rules = rules.without(unfit)
                if sum(NOT_GIVEN in " ".join(reasons.values()) for reasons in rules.unfit.values()) >= _MANY:
                    raise  # the index is at fault, and no version
            elif pinning := {name for name in rules.stays if _needs(task.before.committed, name, rules.unfit)}:
                stays = {name: version for name, version in rules.stays.items() if name not in pinning}
                rules = msgspec.structs.replace(rules, stays=stays)  # they may need exactly what cannot be installed
            elif rules.unfit:
                raise _explain_unfit(rules, error) from error
            else:
                raise
        else:
            rules = msgspec.structs.replace(rules, floors={**rules.floors, **lowered})


def _needs(lock: Lock, name: str, others: Collection[str]) -> bool:
    return any(package.needs.intersection(others) for package in lock.find(name))


def _explain_unfit(rules: Rules, error: BuildError) -> BuildError:
    """Return the error of a resolution without the versions that cannot be installed here."""
    names = [f"{name} {version} {why}" for name, found in rules.unfit.items() for version, why in found.items()]
    bounds = [f"`{bound.removesuffix('.dev0')}`" for bound in dict.fromkeys(_BOUND.findall(error.output))]
    advice = f"Allow another version: see `upgrade` and `releaser status`. {error.advice}"
    # uv takes such rules for bounds of the project, too; alone, it does not know what cannot be installed here
    is_limited = rules.levels or rules.level in ("minor", "patch") or rules.constraints
    if bounds and not is_limited:
        advice = f"Raise {join_few(bounds)} in pyproject.toml, commit and push; then run `releaser update`."
    return BuildError(f"No other version fits: {join_few(names)}. {error.message}", advice, output=error.output)


def _find_required(task: _Task, rules: Rules) -> dict[str, str]:
    """Return the packages that the project itself wants at an older version than its lock has, with that version."""
    task.path.write_text(task.before.committed.text, encoding="utf-8")
    if task.ask("lock").status != 0:
        return {}
    lock = read_lock(task.path)
    return {name: next(iter(lock.versions[name])) for name in find_lowered(find_floors(rules, task.before), lock)}


def _compare(task: _Task) -> tuple[PackageChange, ...] | None:
    """Return what changes in the live venv; None with another Python. Raises BuildError if uv lacks a file for it."""
    is_same_python = bool(task.live.python_version) and Path(task.python).is_relative_to(task.live.venv)
    venv = task.live.venv if is_same_python else task.tree / ".no-venv"
    task.asked.append("sync")
    python = "" if is_same_python else task.python
    changes = compare_with_venv(task.site, task.tree, venv, mark=task.mark, python=python)
    return changes if is_same_python else None


def _lock_within(task: _Task, rules: Rules) -> None:
    """Upgrade the lock in a tree within the rules.

    uv leaves a package from git as the lock has it, so one on hold is taken from the lock of the live release. Raises
    BuildError, which names the holds that have no solution.
    """
    bounds, committed = make_bounds(rules, task.before), task.before.committed
    may_start_again = any(package.source.commit for name in rules.holders for package in committed.find(name))
    try:
        bounds, between = _lock_from(task, committed, bounds, rules)
    except BuildError:
        if not may_start_again:
            require_free_of_holds(task, rules)
            raise
        between = sorted(rules.holders)  # the lock of the live release may have a solution
    if between and may_start_again:
        bounds, between = _lock_from(task, task.live.lock, bounds, rules)
    if between:
        raise _explain_holds(between, rules)


def _lock_from(task: _Task, lock: Lock, bounds: dict[str, Bound], rules: Rules) -> tuple[dict[str, Bound], list[str]]:
    """Upgrade a lock within bounds; return the bounds that were needed, and the packages that do not keep to them.

    A package on hold stays as it is until a version newer than those on hold appears. uv first skips those versions; a
    package for which it then chooses one between stays at the live version.
    """
    between = list[str]()
    for _ in range(1 + len(rules.skipped)):
        _lock(task, lock, bounds, rules)
        between = find_between(rules, read_lock(task.path), task.before)
        if not between:
            break
        stays = {name: keep(task.before, name, rules.lowered.get(name, "")) for name in between}
        bounds = bounds | stays
    return bounds, between


def _lock(task: _Task, lock: Lock, bounds: dict[str, Bound], rules: Rules) -> None:
    """Upgrade a lock within bounds. Raises BuildError.

    A package that must stay is given to uv by an index of releaser if its own has lost that version; the entry of the
    lock stays as it was.
    """
    task.path.write_text(lock.text, encoding="utf-8")
    bounds, age = _bound_by_age(task, bounds | dict.fromkeys(task.stuck, AS_LOCKED), rules)
    names, only, done, missing = lock.names, rules.choose(lock.names), set[str](), set[str]()
    with tempfile.TemporaryDirectory(prefix=task.site.paths.temporary_prefix) as place:
        index = Path(place)
        finished = task.ask(*lock_arguments(names, bounds, only), *age)
        while stuck := _find_stuck(task, finished.output, bounds):
            task.stuck.update(stuck)
            bounds |= dict.fromkeys(stuck, AS_LOCKED)
            finished = task.ask(*lock_arguments(names, bounds, only), *age)
        while lost := _find_unavailable(task, bounds, rules, age, finished, done):
            done |= lost.keys()
            missing |= {*NOT_FOUND.findall(finished.output)}
            _require_indexes(task, missing, finished)
            task.stays.update(lost)
            for name, version in lost.items():
                bounds[name] = _pin(task, name, version)
                is_lost = task.ask("lock", "--dry-run", *_pin_arguments(task, name, version), *age).status != 0
                is_fork = len(bounds[name] or ()) > 1  # an index with that version alone would hide the other ones
                if is_lost and not is_fork and pack_wheel(task.live.venv, name, version, index):
                    task.lost[name] = version
                    age.append(f"--exclude-newer-package={name}=false")
            finished = task.ask(*lock_arguments(names, bounds, only), *age, index=index)
        if finished.status != 0:
            raise explain_resolution(finished, rules)
        task.stays.update(_YANKED.findall(finished.output))  # by a hold, or by `==` in pyproject.toml
        if age:
            text, before = task.path.read_text(encoding="utf-8"), [lock.text, task.live.lock.text]
            task.path.write_text(put_back(text, before, index.name), encoding="utf-8")
            finished = task.ask("lock")  # it takes the lock as it is, or says why not
            options = read_options(task.path.read_text(encoding="utf-8"))
            if finished.status == 0 and options != read_options(lock.text):
                # `exclude-newer` is not that of the lock: uv would resolve from scratch, and lower versions.
                task.path.write_text(put_back(text, before, index.name, options), encoding="utf-8")
                finished = task.ask("lock")
            if finished.status != 0:
                raise explain_resolution(finished, rules)


def _find_stuck(task: _Task, output: str, bounds: Mapping[str, Bound]) -> dict[str, Skipped]:
    """Return the live packages from git of which uv can neither fetch nor build the newest commit, with the reason."""
    reason = f"its newest commit {DOES_NOT_BUILD}" if _LASTING.search(output) else "its repository cannot be fetched"
    live, locked = task.before.installed, task.before.committed.versions
    names = [name for name in _NO_COMMIT.findall(output) if live.get(name) in locked.get(name, ())]
    stuck = [name for name in names if bounds.get(name, ("",)) is not AS_LOCKED]
    return {name: Skipped(name, live[name], f"stays: {reason}", is_live=True) for name in stuck}


def _find_cutoff(task: _Task, rules: Rules) -> datetime | None:
    """Return the age limit: `min_age`, or `exclude-newer` of the project where that is stricter; uv takes one alone."""
    committed = task.before.committed.text
    project = (task.tree / "pyproject.toml").read_text(encoding="utf-8")
    if rules.cutoff is None or "exclude-newer" not in committed + project:
        return rules.cutoff
    task.path.write_text(committed, encoding="utf-8")
    is_known = task.ask("lock").status == 0  # it writes the limit into the lock, wherever that is set
    own = read_cutoff(read_options(task.path.read_text(encoding="utf-8")), now()) if is_known else None
    return min(rules.cutoff, own or rules.cutoff)


def _bound_by_age(task: _Task, bounds: dict[str, Bound], rules: Rules) -> tuple[dict[str, Bound], list[str]]:
    """Return bounds and arguments of uv for the age limit. Live and committed versions stay, however new they are."""
    if rules.cutoff is None:
        return dict(bounds), []
    floors, packages = find_floors(rules, task.before), (*task.before.live.packages, *task.before.committed.packages)
    uploaded = {(package.name, package.version): read_time(package.upload_time) for package in packages}
    times = {name: uploaded.get((name, version)) for name, version in floors.items()}
    wanted = {name: rules.bound_fix(name) for name in rules.fixes}
    fixes = {name for name, fix in wanted.items() if fix and fix in ",".join(bounds.get(name) or ())}
    timeless = {name for name, time in times.items() if time is None}  # its index names no times
    young = {name for name, time in times.items() if time is not None and time >= rules.cutoff} - fixes
    age = ["--exclude-newer", rules.cutoff.isoformat()]
    age += [f"--exclude-newer-package={name}=false" for name in sorted({*timeless, *young, *fixes})]
    return {**bounds, **{name: (f"=={floors[name]}",) for name in young}}, age


def _find_unavailable(
    task: _Task,
    bounds: Mapping[str, Bound],
    rules: Rules,
    age: Sequence[str],
    finished: Finished,
    done: Collection[str],
) -> dict[str, str]:
    """Return the packages that must stay, of which uv says that it has no such version, without those that are done.

    uv takes a yanked version only if no other one is allowed.
    """
    if finished.status != 1:
        return {}
    alone = {name: _EXACTLY.fullmatch(bound[0]) for name, bound in bounds.items() if bound and len(bound) == 1}
    stays = {name: match[1] for name, match in alone.items() if match}
    floors = {name: floor for name, floor in find_floors(rules, task.before).items() if name not in stays}
    named = {*re.findall(r"[\w.-]*\w", finished.output)} - {*done}
    lost = {name: version for name, version in stays.items() if name in named}
    forks = {name: _find_live_fork(task, name) for name in named.intersection(task.before.committed.names)}
    live = {name: fork.version for name, fork in forks.items() if fork}
    floors |= {name: version for name, version in live.items() if version not in rules.find_refused(name)}
    for name, version in floors.items():
        bound, fork = bounds.get(name) or (), forks.get(name)  # several are for several forks
        limits = bound[0].split(",") if len(bound) == 1 else []  # a newer version may be on hold
        wanted = rules.bound_fix(name).split(",")  # no more than that
        words = ",".join([f"{name}>={version}", *(limit for limit in limits if limit and limit not in wanted)])
        words += mark_fork(fork) if fork else ""
        if name in named and task.ask("lock", "--dry-run", "-P", words, *age).status != 0:
            lost[name] = version
    return lost


def _find_live_fork(task: _Task, name: str) -> Package | None:
    """Return the entry of a live version that both locks have beside others; None for all other packages."""
    live, version = task.before.live.find(name), task.before.installed.get(name, "")
    committed = task.before.committed.find(name)
    are_forks = len(live) > 1 and len(committed) > 1 and any(fork.label == version for fork in live)
    return next((fork for fork in committed if are_forks and fork.label == fork.version == version), None)


def _pin(task: _Task, name: str, version: str) -> Bound:
    """Return the bound for a version alone; of each fork, if it is live beside others."""
    fork = _find_live_fork(task, name)
    return keep(task.before, name, version) if fork and fork.version == version else (f"=={version}",)


def _pin_arguments(task: _Task, name: str, version: str) -> list[str]:
    return [word for bound in _pin(task, name, version) or () for word in ("-P", f"{name}{bound}")]


def _require_indexes(task: _Task, missing: Collection[str], finished: Finished) -> None:
    """Raise BuildError if one index lacks several packages, in all versions: it has moved, or refuses this host.

    A single package may be gone; with user and password refused, it is the index if that has no other one.
    """
    packages = [package for package in task.before.committed.packages if package.source.kind == "registry"]
    refusal = explain_refusal(finished.output)
    for place in sorted({package.source.place for package in packages if package.name in missing}):
        names = {package.name for package in packages if package.source.place == place}
        lacking = sorted(names & {*missing})
        if len(lacking) < max(1 if refusal else 2, min(_MANY, len(names))):
            continue
        message = f"The index {place} does not have {join_few(lacking)} any more."
        advice = f"If it has moved, correct its address in pyproject.toml or `.env`. {_RETRY}"
        raise BuildError(*(refusal or (message, advice)), output=finished.output)


def _explain(task: _Task, rules: Rules) -> tuple[Skipped, ...]:
    """Return what is newer and not taken, and what stays although the index lacks it, each with the reason."""
    has_rules = rules.holders or rules.cutoff or rules.choose([]) is not None or make_bounds(rules, task.before)
    if not (has_rules or task.stays):
        return tuple(task.stuck.values())
    lock, names = read_lock(task.path), task.before.committed.names
    task.path.write_text(task.before.committed.text, encoding="utf-8")
    # Only to explain what is skipped: no code of a package that is on hold runs for that.
    words = [*lock_arguments(names, dict.fromkeys(task.stuck, AS_LOCKED)), "--no-build", "--python", task.python]
    newest = task.site.run_uv(*words, cwd=task.tree, mark=task.mark, check=False)
    text = task.path.read_text(encoding="utf-8")
    task.path.write_text(lock.text, encoding="utf-8")
    skipped = explain_skipped(rules, lock, parse_lock(text)) if newest.status == 0 else ()
    stays = {**rules.floors, **task.stays}
    explained = (each for name in sorted(stays) for each in _explain_stay(task, lock, name, stays[name]))
    return (*task.stuck.values(), *explained, *skipped)


def _explain_stay(task: _Task, lock: Lock, name: str, floor: str) -> list[Skipped]:
    """Return why a package stays at a version that the index has yanked, or has not any more."""
    fork = _find_live_fork(task, name)
    if floor not in lock.versions.get(name, ()) or (len(lock.find(name)) > 1 and not (fork and fork.version == floor)):
        return []
    words = ("lock", "--dry-run", *_pin_arguments(task, name, floor), "--python", task.python)
    finished = task.site.run_uv(*words, cwd=task.tree, mark=task.mark, check=False)
    pattern = rf"`{re.escape(name)}=={re.escape(floor)}` is yanked(?: \(reason: (.*)\))?$"
    found = re.search(pattern, finished.output, re.MULTILINE)
    if found:
        text = (found[1] or "").strip('"')
        reason = f"was yanked{f': {text}' if text else ''}"
    elif explain_refusal(finished.output) is not None:
        reason = "is refused by its index"
    elif finished.status == 1:
        any_age = (*words, f"--exclude-newer-package={name}=false")
        is_young = task.site.run_uv(*any_age, cwd=task.tree, mark=task.mark, check=False).status == 0
        reason = "is too new for `min_age` or `exclude-newer`" if is_young else "is not in the index any more"
    else:
        return []
    return [Skipped(name, floor, f"{reason}, and stays until a newer version may be taken", is_live=True)]


def find_unfit(output: str) -> list[tuple[str, str, str]]:
    """Return name, version and reason for each package that uv could not install here, from what it wrote (uv 0.13)."""
    only = re.search(r"only has wheels \w+ the following [\w ]+: (.+?)(?:;|$)", output, re.MULTILINE)
    reason = f"has no file for this host{f', only for {only[1]}' if only else ''}"
    unfit = [(name, version, reason) for name, version in _NO_FILE.findall(output)]
    unfit += [(*_parse_file_name(file), f"{NOT_GIVEN} ({status})") for status, file in {*_NOT_GIVEN.findall(output)}]
    unbuilt = dict.fromkeys(_NO_BUILD.findall(output)) if _LASTING.search(output) else {}
    return unfit + [(name, version, DOES_NOT_BUILD) for name, version in unbuilt]


def _parse_file_name(name: str) -> tuple[str, str]:
    """Return the package and the version of a wheel or sdist."""
    try:
        package, version = (parse_wheel_filename if name.endswith(".whl") else parse_sdist_filename)(name)[:2]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return name, ""
    return package, str(version)


def find_unbuilt(changes: Sequence[PackageChange], output: str) -> list[tuple[str, str]]:
    """Return those of the new versions that do not build here, from what uv wrote. A commit of git is one, too."""
    unbuilt = {(name, version) for name, version, _ in find_unfit(output)}
    names = _NO_COMMIT.findall(output) if _LASTING.search(output) else []
    news = [(change.name, change.new) for change in changes if change.new]
    return [(name, new) for name, new in news if (name, new) in unbuilt or (name in names and " " in new)]


def require_free_of_holds(task: _Task, rules: Rules) -> None:
    """Raise BuildError that names the holds without which there is a solution, if there are any."""
    held = [name for name in rules.holders if name in rules.skipped or name in rules.kept]
    free = msgspec.structs.replace(rules, skipped={}, kept=frozenset(), holders={})
    if not held:
        return
    try:
        _lock(task, task.before.committed, make_bounds(free, task.before), free)
    except BuildError:
        return
    lock, installed = read_lock(task.path), task.before.installed
    moved = [name for name in rules.kept if installed.get(name) not in {None, *lock.versions.get(name, ())}]
    raise _explain_holds(find_between(rules, lock, task.before) or moved or held, rules)


def _explain_holds(names: Sequence[str], rules: Rules) -> BuildError:
    message = f"No versions fit together without what is on hold: {join_few(names)}."
    by_person = [name for name in names if rules.holders.get(name) != "by the setting `ignore`"]
    free = f"Run `releaser unhold {' '.join(by_person)}`" if by_person else "Take it out of `ignore`"
    return BuildError(message, f"{free}, or revert the commit that needs it.")


def resolve_part(  # noqa: PLR0913 - all that a resolution needs
    site: Site, tree: Path, venv: Path, whole: Plan, before: Mapping[str, str], part: Collection[str], *, mark: str
) -> Plan:
    """Lock a part of the changes of a plan; the other changed packages stay at the versions `before`.

    Packages that do not fit these are left out of the part. uv cannot name the version of some packages, such as one
    from git: those go back to the lock in the tree. Each package has its version of the plan or its live one. Raises
    BuildError.
    """
    path, text, versions = tree / "uv.lock", (tree / "uv.lock").read_text(encoding="utf-8"), whole.lock.versions
    plain = {name for name, version in before.items() if is_pinnable(whole.lock, name, version)}
    if before.keys() - part <= plain:
        text = whole.lock.text
    known, missing = {*parse_lock(text).names, *before}, list[str]()
    for change in whole.changes or ():
        version = change.old or change.new or ""
        if change.name not in known and " " not in version and len(versions.get(change.name, "-")) == 1:
            missing += ["-P", f"{change.name}=={version}"]
    for is_exact in (True, False, True):
        words = ["lock", "--python", whole.python, *missing]
        for name, version in before.items():
            label = version if name not in part else next(iter(versions[name])) if is_exact else ""
            if name in part or name in plain:
                words += ["-P", f"{name}=={label}" if label and name in plain else name]
        path.write_text(text, encoding="utf-8")
        finished = site.run_uv(*words, cwd=tree, mark=mark, check=False)
        lock = read_lock(path)
        if is_exact and finished.status == 0:
            break
        part = [name for name in before if name in part and lock.versions.get(name) == versions[name]]
    else:
        raise explain_resolution(finished, Rules())
    changes = compare_with_venv(site, tree, venv, mark=mark)
    held = (whole.held | before.keys()) - {change.name for change in changes}
    return msgspec.structs.replace(whole, lock=lock, changes=changes, held=held)


def explain_python(live: Release, venv: LiveVenv, plan: Plan) -> str:
    """Return why a plan has another Python than the live release was built on; empty if it has the same one."""
    before, current, after = live.manifest.key.python, venv.python_version, plan.python_version
    if Path(plan.python).is_relative_to(live.venv):
        return f"Python {before} was replaced by {current}; built on {current}." if current != before else ""
    if not current:
        return f"Python {before} was removed; built on {after}."
    where = f" of `{plan.python}`" if current == after else ""
    return f"Python {after}{where} is asked for, in the place of {current}; built on {after}."


def choose_kept_versions(rules: Rules, installed: Mapping[str, str], lock: Lock) -> dict[str, str]:
    """Return the versions at which packages stay: those of a lock, or live if that is newer."""
    names = set(lock.names) - rules.alone - rules.kept
    free = {name: lock.versions[name] - rules.skipped.get(name, frozenset()) for name in names}
    return {name: rules.lowered.get(name) or find_newest(free[name], installed.get(name, "0")) for name in names}


def resolve_same_versions(site: Site, tree: Path, live: LiveVenv, rules: Rules, *, mark: str) -> Plan:
    """Return a plan for another Python with the versions that the lock of a tree has, or live ones that are newer.

    Those without a build for it move up within the rules; what else is newer is for the next update. Raises BuildError
    if the rules have no version of them.
    """
    stays = choose_kept_versions(rules, live.installed, read_lock(tree / "uv.lock"))
    plan = resolve(site, tree, live, msgspec.structs.replace(rules, stays=stays), mark=mark)
    changes = compare_locks(live.lock, plan.lock)  # uv compares no venv of another Python
    return msgspec.structs.replace(plan, changes=changes or None, skipped=(), holds=())


def require_lasting_python(site: Site, tree: Path, live: LiveVenv, plan: Plan, *, mark: str) -> None:
    """Raise PreflightError if the next update would leave the Python of a plan for one that the project asks for.

    A venv of it is made in the tree, and uv asked as for an update. Raises BuildError.
    """
    venv = tree / ".asked-venv"
    site.run_uv("venv", "--no-project", "--python", plan.python, venv, cwd=tree, mark=mark)
    asked = msgspec.structs.replace(live, venv=venv, python_version=plan.python_version)
    python, version = choose_python(site, tree, asked, mark=mark)
    if not Path(python).is_relative_to(venv):
        message = f"The next update would go back to Python {version}: the project or the setting `python` asks for it."
        raise refuse("asked-python", message, "Change that, such as `.python-version`; then run `releaser update`.")


def explain_resolution(finished: Finished, rules: Rules) -> BuildError:
    """Return the error for a lock that uv could not make."""
    error = failure(finished)
    if refusal := explain_refusal(finished.output):
        message, advice = refusal
    elif is_conflict(finished):
        message, advice = f"No versions fit together: {error.message}", "Run `uv lock --upgrade` to see why."
        if rules.levels or rules.level in ("minor", "patch"):
            advice += (
                " `upgrade` and `upgrade_packages` limit how far packages move from uv.lock: commit a lock that fits."
            )
    else:
        message = f"The lock could not be upgraded: {error.message}"
        advice = f"Run `uv lock --upgrade` to see whether the project, an index or a repository is at fault. {_RETRY}"
    return BuildError(message, advice, output=error.output)


def compare_with_venv(
    site: Site, tree: Path, venv: Path, *, mark: str, more: Sequence[str] = (), python: str = ""
) -> tuple[PackageChange, ...]:
    """Return what the lock of a tree would change in a venv, by `uv sync --dry-run`, but for changes of local packages.

    `more` are arguments that say what else is installed, `python` is an interpreter if the venv does not exist. Raises
    BuildError.
    """
    try:  # without `--python`, a `.python-version` would be compared with a new venv
        sync = _preview_sync(site, tree, venv, python or str(venv), more, mark=mark)
    except ToolError as error:
        message = f"The lock cannot be installed here: {error.message}"
        raise BuildError(message, advise_on_lock(error.message), output=error.output) from error
    lock, changes, installed = read_lock(tree / "uv.lock"), sync.changes, list_installed(venv)
    gone = {change.name: change.version or "" for change in changes if change.action == "uninstalled"}
    before = {name: installed.get(name, version) for name, version in gone.items()}
    if sync.action == "replace":  # the Python was upgraded in place: uv would install everything again
        before = installed
    after = dict[str, str]()
    coming = (change for change in changes if change.action == "installed")
    for change in coming:  # uv names no version of one to be built
        labels = [each.label for each in lock.find(change.name) if change.version in (None, each.version)]
        after[change.name] = labels[0] if labels else change.version or ""
    return compare_versions(before, after, lock.local & after.keys(), lock.direct)  # installed again each time: no news


def list_synced(site: Site, tree: Path, python: str, *, mark: str) -> dict[str, str]:
    """Return what a lock installs into a new venv, with versions; empty for one to be built.

    Raises ToolError and BuildError.
    """
    changes = _preview_sync(site, tree, tree / ".no-venv", python, mark=mark).changes
    return {change.name: change.version or "" for change in changes}


def _preview_sync(site: Site, tree: Path, venv: Path, python: str, more: Sequence[str] = (), *, mark: str) -> _Sync:
    """Return what uv would do to a venv. Raises ToolError, and BuildError if uv does not say it."""
    words = ["sync", "--frozen", "--dry-run", "--output-format", "json", *group_arguments(site), *more]
    variables = {"UV_PROJECT_ENVIRONMENT": str(venv)}
    finished = site.run_uv(*words, "--python", python, cwd=tree, mark=mark, variables=variables)
    try:
        return msgspec.json.decode(finished.stdout, type=_SyncReport).sync
    except msgspec.MsgspecError as error:
        message = f"uv did not say what the lock changes ({error})."
        raise BuildError(message, f"Check `{site.uv} --version`: releaser needs 0.13 or newer.") from error
