"""Adoption: the venv that a person has made becomes the first release, if the next update would take nothing away."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import msgspec

from releaser.candidate.identity import hash_libraries
from releaser.checkout.repository import Repository, open_repository
from releaser.errors import explain_error, refuse
from releaser.packages.hand_made import describe_new_packages, describe_patches
from releaser.packages.lock import read_lock
from releaser.packages.resolve import group_arguments
from releaser.releases.journal import Entry, write_entry
from releaser.releases.lease import install_startup_module, remove_startup_module
from releaser.releases.link import exchange_for_directory, exchange_for_link, read_link
from releaser.releases.release import BUILT, Key, Manifest, State, list_files
from releaser.releases.reserve import fill_reserve
from releaser.releases.sealed import take_seal
from releaser.releases.store import SiteRun, begin_release, seal_release
from releaser.releases.venv import ask_python_version, find_python, join_records, read_records
from releaser.report.outcomes import Outcome
from releaser.site.site import Site
from releaser.system.files import replace_file, replace_symlink
from releaser.system.run import now
from releaser.system.text import word


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
    lock, selection = read_lock(directory / "uv.lock"), " ".join(group_arguments(site))
    key = Key(code, lock.sha256, version, selection, libraries=hash_libraries(site, lock))
    for hint in filter(None, [describe_patches(link), describe_new_packages(site, mark=run.id)]):
        run.note(hint)
    manifest = Manifest(directory.name, now(), "adopted", key, head, project=str(site.paths.project))
    state = State("good", order=run.store.next_order, live_at=(now(),), commit=head)
    with run.step("flip") as detail:
        try:
            _copy_linked_files(link)
            _lengthen_links(link)
            install_startup_module(link)
            manifest = msgspec.structs.replace(manifest, sealed=take_seal(link, directory / BUILT, version))
            release = seal_release(directory, manifest, state)
            exchange_for_link(site.paths, release.id, directory / "venv")
            if not ask_python_version(site, find_python(link)):
                exchange_for_directory(site.paths, directory / "venv", before=read_link(site.paths).text)
                message = f"`{link}` cannot be adopted: its Python would not start."
                raise refuse("not-adopted", message, f"See `ls -l {word(link)}/bin`.")
        except OSError as error:
            message = f"`{link}` cannot be adopted: {explain_error(error)}"
            raise refuse("not-adopted", message, f"See `ls -ld {word(link)}`.") from error
        finally:
            if read_link(site.paths).release != directory.name:  # refused or interrupted: the venv stays without it
                with contextlib.suppress(OSError):
                    remove_startup_module(link)
        detail.append(release.id)
    run.store = run.store.having(release).linked(read_link(site.paths))
    fill_reserve(site.paths.reserve)
    headline = f"Release {release.id} is live: `{link}` was adopted as it is. Nothing was restarted."
    return Outcome("updated", 0, headline, release.id, news="new")


def _copy_linked_files(venv: Path) -> None:
    """Replace each link of a package by the file it leads to: with `link-mode = "symlink"`, that is in uv's cache.

    Raises OSError.
    """
    for path in (venv / path for path in join_records(read_records(venv).values())):
        if path.is_symlink():
            replace_file(path, path.read_bytes(), mode=stat.S_IMODE(path.stat().st_mode))


def _lengthen_links(venv: Path) -> None:
    """Let each link that leads out of a venv by a relative path do so by its whole path, as the venv moves.

    Raises OSError.
    """
    for path in (venv / path for path in list_files(venv)):
        if path.is_symlink() and not (text := os.readlink(path)).startswith("/"):
            place, name = os.path.split(os.path.join(path.parent, text))
            target = os.path.normpath(os.path.join(os.path.realpath(place), name))
            if not Path(target).is_relative_to(os.path.realpath(venv)):
                replace_symlink(path, target)


def ignore_link(site: Site, repository: Repository) -> None:
    """Let git ignore the link: a pattern such as `.venv/` matches a directory alone. The state directory, too."""
    repository.exclude(*list_patterns(site))


def list_patterns(site: Site) -> list[str]:
    """Return the lines that `ignore_link` writes."""
    top = site.paths.top
    inside = [path for path in (site.paths.link, site.paths.state) if path.is_relative_to(top) and path != top]
    return [f"/{path.relative_to(top).as_posix()}" for path in inside]
