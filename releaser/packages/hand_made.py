"""Hand-made changes of a venv: edits of the live release, and packages that an update would remove."""

from __future__ import annotations

import contextlib
import re
import shlex
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import msgspec
from packaging.requirements import Requirement

from releaser.errors import BuildError, PreflightError, Problem
from releaser.packages.changes import find_edits
from releaser.packages.requirements import loosen
from releaser.packages.resolve import compare_with_venv
from releaser.releases.journal import read_entry
from releaser.releases.release import PackageChange, Release
from releaser.releases.sealed import Difference
from releaser.releases.store import Store
from releaser.releases.venv import (
    SEEDS,
    ask_python_version,
    find_python,
    is_in_package,
    list_editable,
    list_installed,
    list_sources,
    list_stray_files,
    list_unrecorded,
    shorten,
)
from releaser.releases.verify import add_edits, list_damage, list_edits, list_patched
from releaser.site.project import get_table, read_pyproject
from releaser.site.site import Site
from releaser.system.text import join_few, redact, word

_EXPORT = re.compile(r"^\s*export\s+(\w+)", re.MULTILINE)
_OF_VENV = re.compile(r"PATH|PS1|PYTHONHOME|VIRTUAL_ENV\w*|SCRIPT_PATH|PKG_CONFIG_PATH|TCL_LIBRARY|TK_LIBRARY")

EDITED = "edited-venv"  # the name of the problem


def find_problems(site: Site) -> list[Problem]:
    """Return what `adopt` would refuse because of the venv; nothing if uv.lock cannot be read."""
    link = site.paths.link
    if not ask_python_version(site, find_python(link)):
        message = f"`{link}` is no virtual environment whose Python starts."
        return [Problem("no-venv", message, f"Move it away: `mv {word(link)} {word(link)}.old`.")]
    try:
        with _without_state(site) as site:
            return find_losses(site, mark="check")
    except BuildError as error:
        return list(error.problems)
    except PreflightError:
        return []


@contextlib.contextmanager
def _without_state(site: Site) -> Iterator[Site]:
    """Yield a site whose uv keeps its cache elsewhere: a check makes no state."""
    with tempfile.TemporaryDirectory(prefix=site.paths.temporary_prefix) as place:
        yield msgspec.structs.replace(site, uv_cache=Path(place))


def find_losses(site: Site, *, mark: str) -> list[Problem]:
    """Return a problem for what the venv in the link's place has, and the next release would not.

    Each names the setting or the command for it. Raises BuildError if uv cannot compare them.
    """
    venv = site.paths.link
    leaving = _list_leaving(site, [], mark=mark)
    problems = []
    for origin, advice, words in _list_choices(site) if leaving else []:
        try:
            kept = {name: leaving[name] for name in leaving.keys() - _list_leaving(site, words, mark=mark).keys()}
        except BuildError:
            continue  # uv refuses that choice beside the others
        if kept:
            message = f"An update would remove {_join(kept)} from the venv ({origin})."
            problems.append(Problem("leaves-venv", message, f"{advice}, or remove them: {_uninstall(venv, kept)}."))
        leaving = {name: version for name, version in leaving.items() if name not in kept}
    if leaving:
        message = f"An update would remove {_join(leaving)} from the venv, installed by hand: uv.lock does not have it."
        advice = f"Run `{_name_addition(venv, leaving)}` and commit, or remove it: {_uninstall(venv, leaving)}."
        problems.append(Problem("leaves-venv", message, advice))
    unrecorded = list_unrecorded(venv)
    if unrecorded:
        message = f"Which files belong to {join_few(unrecorded)} is not known: its RECORD in the venv cannot be read."
        command = f"uv pip install --python {word(venv)} --reinstall {shlex.join(unrecorded)}"
        advice = f"Install it again, as it was: `{command}`."
        problems.append(Problem("no-record", message, advice))
    for path in (venv / path for path in list_stray_files(venv) if not is_in_package(path) and not unrecorded):
        message = f"`{path}` was put into the venv by hand; the next release would not have it."
        advice = "Make it a package that pyproject.toml names, move it out of the venv,"
        advice += f" or remove it: `rm -r {word(path)}`."
        problems.append(Problem("leaves-venv", message, advice))
    if exported := _find_exports(venv / "bin" / "activate"):
        message = f"`{venv}/bin/activate` sets {join_few(exported)}; that of the next release would not."
        advice = f"Set it in the environment of the service, and take it out: `nano {word(venv)}/bin/activate`."
        problems.append(Problem("leaves-venv", message, advice))
    return problems


def _name_addition(venv: Path, packages: dict[str, str]) -> str:
    """Return the command that adds packages from where they were installed, in their versions.

    A name alone would be the newest of an index, and uv would install it into the running site at once.
    """
    sources, editable, installed = list_sources(venv), list_editable(venv), list_installed(venv)
    addition = ["uv", "add", "--no-sync"]
    words, commands = [], list[list[str]]()
    for name, version in packages.items():
        source = f"git+{sources[name]}" if " (" in installed.get(name, "") else sources.get(name, "")
        if name in editable:
            commands.append([*addition, "--editable", str(editable[name])])
        else:
            exact = Requirement(f"{name}=={version.split()[0]}")
            words.append(f"{name} @ {source}" if source == redact(source) != "" else loosen(exact))
    return " && ".join(map(shlex.join, [*([[*addition, *words]] if words else []), *commands]))


def _find_exports(script: Path) -> list[str]:
    """Return the variables that a person has added to a script that uv, venv or virtualenv has made."""
    with contextlib.suppress(OSError):
        text = script.read_text(encoding="utf-8", errors="replace")
        return [name for name in dict.fromkeys(_EXPORT.findall(text)) if not _OF_VENV.fullmatch(name)]
    return []


def describe_patches(venv: Path) -> str:
    """Return a sentence that names the files of packages that a person has changed; empty if there are none."""
    added = (f"{shorten(path)} was added" for path in list_stray_files(venv) if is_in_package(path))
    if not (patches := [*(patch.sentence for patch in list_patched(venv)), *added]):
        return ""
    words = "The adopted release keeps them, and `releaser rollback` goes back to it; the first update is without them."
    return f"Packages were changed by hand: {join_few(patches)}. {words}"


def describe_new_packages(site: Site, *, mark: str) -> str:
    """Return a sentence on what uv's default groups would add to the venv; empty if nothing. Raises BuildError."""
    if not site.settings.site.default_groups:
        return ""
    with _without_state(site) as site:
        choices = (_compare(site, words, mark=mark) for words in ([], ["--no-default-groups"]))
        coming, without = ({each.name: str(each.new) for each in choice if each.old is None} for choice in choices)
    if not (added := {name: version for name, version in coming.items() if name not in without}):
        return ""
    message = f"The first update adds {_join(added)} to the venv, from dependency groups that are defaults of uv."
    return f"{message} `default_groups = false` in `[tool.releaser]` leaves them out."


def _list_leaving(site: Site, words: list[str], *, mark: str) -> dict[str, str]:
    changes = _compare(site, words, mark=mark)
    return {change.name: str(change.old) for change in changes if change.new is None and change.name not in SEEDS}


def _compare(site: Site, words: list[str], *, mark: str) -> tuple[PackageChange, ...]:
    """Return what an update would change in the venv in the link's place, if its lock stayed."""
    return compare_with_venv(site, site.paths.project, site.paths.link, mark=mark, more=words)


def _list_choices(site: Site) -> Iterator[tuple[str, str, list[str]]]:
    """Yield everything else of the project that could be installed: where it is from, what to do, uv's arguments."""
    content, _ = read_pyproject(site.paths.pyproject.read_text(encoding="utf-8"), "pyproject.toml")
    extras = [*site.settings.site.extras]
    for name in get_table(content, "project", "optional-dependencies"):
        setting = ", ".join(f'"{extra}"' for extra in [*extras, name])
        yield f"the extra `{name}`", _set(f"extras = [{setting}]"), ["--extra", name]
    for name in get_table(content, "dependency-groups"):
        both = f" (or to a group that includes it and `{site.group}`)" if site.group else ""
        yield f"the dependency group `{name}`", _set(f'group = "{name}"') + both, ["--group", name]
    if get_table(content, "tool", "uv", "workspace"):
        yield "a member of the workspace", _set('members = "all"'), ["--all-packages"]


def _set(setting: str) -> str:
    return f"Set `{setting}` in `[tool.releaser]`"


def _join(packages: dict[str, str]) -> str:
    return join_few([f"{name} {version}" for name, version in sorted(packages.items())])


def _uninstall(venv: Path, packages: dict[str, str]) -> str:
    return f"`uv pip uninstall --python {word(venv)} {' '.join(sorted(packages))}`"


def find_link_problems(store: Store, *, force: bool) -> list[Problem]:
    """Return why the link is not fit for an update; `force` replaces a venv that a person has edited."""
    link, path = store.link, store.paths.link
    if link.kind == "release" and store.live is not None:
        entry = read_entry(store.paths)  # a change that is not over has moved the link, but not the record
        if store.is_moved_by_hand and (entry is None or entry.phase == "building"):
            return [explain_moved_link(store)]
        return [] if force else find_edited_venv(store.live, list_edits(store.live))
    newest = store.newest_good
    back = f"`releaser rollback {newest.id}` makes the last good release live again" if newest else ""
    if link.kind == "missing" and newest is None:
        return [Problem("no-release", f"`{path}` does not exist.", "Run `releaser init` to build the first release.")]
    if link.kind == "foreign":
        kind = f"a link to `{link.text}`" if link.is_symlink else "a directory"
        message = f"`{path}` is {kind}, which releaser did not make."
        building = f"`rm {word(path)}` and `releaser init` build a release"
        adoption = building if link.is_symlink else "`releaser init` adopts it"
        advice = f"{back}; {adoption}." if back else f"{adoption}."
        return [Problem("foreign-venv", message, advice)]
    message = f"`{path}` does not lead to a release that exists."
    if link.release is not None and (store.paths.releases / link.release).is_dir():
        message = f"The live release {link.release} has a broken manifest, or another uv.lock than it says."
    return [Problem("no-live-release", message, f"{back}." if back else "Run `releaser init`.")]


def explain_moved_link(store: Store) -> Problem:
    """Return the problem of a link that a person has let lead to another release, with the command for either way."""
    live, recorded = store.find("live"), store.recorded
    message = f"`{store.paths.link}` was changed by hand: it leads to release {live.id}"
    message += f", and {recorded.id} went live last." if recorded else "."
    ways = [f"`releaser rollback {live.id}` makes that release the live one"] if live.may_return else []
    ways += [f"`releaser rollback {recorded.id}` goes back to the other"] if recorded else []
    return Problem("moved-link", message, f"{'; '.join(ways)}.")


def list_work(live: Release, faults: Iterable[Difference]) -> list[str]:
    """Return a sentence for each package or file that a person has put into the live venv, and for each hotfix."""
    edits = find_edits(live)
    names = {edit.split()[0] for edit in edits}
    work = [fault.sentence for fault in add_edits(live, faults) if fault.kind in ("edit", "hotfix")]
    return [*edits, *(sentence for sentence in work if sentence.split()[0] not in names)]


def find_new_work(live: Release, known: Collection[str]) -> list[Problem]:
    """Return a problem that names what a person has changed in the live venv beside what is known."""
    edits = [edit for edit in list_work(live, list_damage(live)) if edit not in known]
    message = f"The live release was edited during this run: {join_few(edits, 3)}. Nothing went live."
    advice = "`releaser update --force` builds without that."
    return [Problem("changed-meanwhile", message, advice)] if edits else []


def find_edited_venv(live: Release, faults: Iterable[Difference]) -> list[Problem]:
    """Return a problem that names what a person has put into the live venv, and changed in it."""
    if not (edits := list_work(live, faults)):
        return []
    message = f"The live release was edited: {join_few(edits, 3)}."
    advice = "Add what you need to pyproject.toml; `releaser update --force` builds from the lock, without the rest."
    return [Problem(EDITED, message, advice)]
