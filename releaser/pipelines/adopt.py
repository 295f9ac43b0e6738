"""Adoption: the venv that a person has made becomes the first release, if the next update would take nothing away."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from releaser.checkout.repository import Repository, open_repository
from releaser.errors import BuildError, PreflightError, Problem, explain_error, refuse
from releaser.packages.lock import read_lock
from releaser.packages.resolve import compare_with_venv, group_arguments
from releaser.releases.journal import Entry, write_entry
from releaser.releases.lease import install_startup_module, remove_startup_module
from releaser.releases.link import exchange_for_link, read_link
from releaser.releases.release import Key, Manifest, State
from releaser.releases.reserve import fill_reserve
from releaser.releases.store import SiteRun, begin_release, seal_release
from releaser.releases.venv import SEEDS, ask_python_version, find_python, list_stray_files
from releaser.report.outcomes import Brought, Outcome
from releaser.site.project import get_table, read_pyproject
from releaser.site.site import Site
from releaser.system.files import replace_file
from releaser.system.run import now
from releaser.system.text import join_few


def adopt(site: Site, run: SiteRun) -> Outcome:
    """Make the venv in the link's place the first release, without a moment in which no venv exists.

    Its scripts name their path through `.venv`, which stays right. It was live already, so it counts as good. Called
    after `find_problems` has found that no update would take packages away. Raises PreflightError.
    """
    link, repository = site.paths.link, open_repository(site, run.id)
    if os.stat(link).st_dev != os.stat(site.paths.releases).st_dev:
        message = f"`{link}` and the state directory `{site.paths.state}` are on different file systems."
        raise refuse("other-file-system", message, "Set `state_dir` to a directory on the file system of the project.")
    ignore_link(site, repository)
    directory = begin_release(site.paths)
    write_entry(site.paths, Entry("building", run.command.name, run.id))
    head = repository.head()
    replace_file(directory / "uv.lock", site.paths.lockfile.read_bytes())
    code = repository.code_key(head, *site.committed_paths)
    version = ask_python_version(site, find_python(link))
    key = Key(code, read_lock(directory / "uv.lock").sha256, version, " ".join(group_arguments(site)))
    manifest = Manifest(directory.name, now(), "adopted", key, head)
    state = State("good", order=run.store.next_order, live_at=(now(),), commit=head)
    with run.step("flip") as detail:
        release = seal_release(directory, manifest, state)
        try:
            install_startup_module(link)
            exchange_for_link(site.paths, release.id, directory / "venv")
        except OSError as error:
            message = f"`{link}` cannot be adopted: {explain_error(error)}"
            raise refuse("not-adopted", message, f"See `ls -ld {link}`.") from error
        finally:
            if read_link(site.paths).release != release.id:  # refused or interrupted: the venv stays without it
                with contextlib.suppress(OSError):
                    remove_startup_module(link)
        detail.append(release.id)
    run.store = run.store.having(release).linked(read_link(site.paths))
    fill_reserve(site.paths.reserve)
    headline = f"Release {release.id} is live: `{link}` was adopted as it is. Nothing was restarted."
    return Outcome("updated", 0, headline, release.id, Brought(), "new")


def ignore_link(site: Site, repository: Repository) -> None:
    """Let git ignore the link: a pattern such as `.venv/` matches a directory alone. The state directory, too."""
    repository.exclude(*list_patterns(site))


def list_patterns(site: Site) -> list[str]:
    """Return the lines that `ignore_link` writes."""
    top = site.paths.top
    inside = [path for path in (site.paths.link, site.paths.state) if path.is_relative_to(top) and path != top]
    return [f"/{path.relative_to(top).as_posix()}" for path in inside]


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
        advice = f"Run `uv add {' '.join(leaving)}` and commit, or remove it: {_uninstall(venv, leaving)}."
        problems.append(Problem("leaves-venv", message, advice))
    for path in list_stray_files(venv):
        message = f"`{path}` was put into the venv by hand; the next release would not have it."
        advice = f"Make it a package that pyproject.toml names, or remove it: `rm -r {shlex.quote(str(path))}`."
        problems.append(Problem("leaves-venv", message, advice))
    return problems


def _list_leaving(site: Site, words: list[str], *, mark: str) -> dict[str, str]:
    lock = read_lock(site.paths.lockfile)
    changes = compare_with_venv(site, site.paths.project, site.paths.link, lock, mark=mark, more=words)
    return {change.name: str(change.old) for change in changes if change.new is None and change.name not in SEEDS}


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
    return f"`uv pip uninstall --python {shlex.quote(str(venv))} {' '.join(sorted(packages))}`"


def find_problems(site: Site) -> list[Problem]:
    """Return what `adopt` would refuse because of the venv; nothing if uv.lock cannot be read."""
    link = site.paths.link
    if not ask_python_version(site, find_python(link)):
        message = f"`{link}` is no virtual environment whose Python starts."
        return [Problem("no-venv", message, f"Move it away: `mv {link} {link}.old`.")]
    try:
        with tempfile.TemporaryDirectory(prefix=site.paths.temporary_prefix) as place:  # a check makes no state
            return find_losses(msgspec.structs.replace(site, uv_cache=Path(place)), mark="check")
    except BuildError as error:
        return list(error.problems)
    except PreflightError:
        return []
