"""Builds the venv of a candidate: a clone of the live one, or from nothing; and closes it."""

from __future__ import annotations

import contextlib
import csv
import os
import stat
import tempfile
from pathlib import Path
from typing import Protocol

import msgspec

from releaser.candidate.namespace import run_in_shadow
from releaser.candidate.shadow import Shadow
from releaser.checkout.products import copy_product
from releaser.errors import BuildError, ToolError
from releaser.packages.complaints import advise_on_lock, explain_refusal
from releaser.packages.lost import pack_wheel
from releaser.packages.resolve import Plan, group_arguments
from releaser.releases.lease import install_startup_module, remove_startup_module
from releaser.releases.release import BUILT, EXPORT, Release, list_files
from releaser.releases.sealed import Sealed, take_seal
from releaser.releases.venv import (
    find_python,
    find_site_packages,
    is_relocatable,
    join_records,
    read_config,
    read_records,
)
from releaser.releases.verify import find_live_damage, list_damage
from releaser.site.site import UV_TIMEOUT, Site
from releaser.system import process
from releaser.system.files import FULL, remove_path, sync_file_system
from releaser.system.space import explain_full_disk, require_space

_COPY_TIMEOUT = 1800.0  # seconds
_OFFLINE = ["--offline", "--no-index", "--no-config"]
_ONLY_OTHERS = ["--no-install-project", "--no-install-workspace"]


class Place(msgspec.Struct, frozen=True):
    """The site, shadow and venv of a build; `mark` is that of the run's children.

    `deployed` is the release whose code and products the checkout has.
    """

    site: Site
    shadow: Shadow
    venv: Path
    mark: str
    deployed: Release | None = None

    @property
    def shares_files(self) -> bool:
        """True if files are hard links to those of other releases and of uv's cache, since no program can write them.

        Root can; tests can where nothing is mounted read-only, by a chmod; and `before_build` may write into packages.
        """
        return os.geteuid() != 0 and self.shadow.is_mounted and not self.site.settings.live.before_build


class Installer(Protocol):
    """Puts packages into a candidate's venv; without `has_project`, those that the project needs. Raises ToolError."""

    def __call__(self, place: Place, *, has_project: bool = True) -> None:
        """Install. May be repeated."""


class LockInstaller(msgspec.Struct, frozen=True):
    """Installs the lock in the shadow, by `uv sync`; from the venv `live` what the index has lost."""

    plan: Plan
    live: Path | None = None

    def __call__(self, place: Place, *, has_project: bool = True) -> None:
        """Install. uv does not notice changed sources of a local package whose pyproject.toml is older: again, then.

        Without `UV_PYTHON`, uv would replace a venv whose Python is not that of `.python-version`. Raises ToolError.
        """
        words = ["sync", "--frozen", "--compile-bytecode", *group_arguments(place.site)]
        words += [] if has_project else _ONLY_OTHERS
        try:
            self._sync(place, words)
        except ToolError:
            if self.live is None or not self.plan.lost:
                raise
            self._sync(place, [*words, *(f"--no-install-package={name}" for name in self.plan.lost)])
            self._install_lost(place, self.live)

    def _install_lost(self, place: Place, live: Path) -> None:
        """Install from the live venv what the index has lost."""
        with tempfile.TemporaryDirectory(prefix=place.site.paths.temporary_prefix) as index:
            wanted = [f"{name}=={version}" for name, version in self.plan.lost.items()]
            for name, version in self.plan.lost.items():
                pack_wheel(live, name, version, Path(index))
            links = [word for name in self.plan.lost for word in ("--find-links", f"{index}/{name}")]
            words = ["pip", "install", "--no-deps", "--no-index", *links, *wanted]
            words += ["--python", str(find_python(place.venv)), "--no-config", "--compile-bytecode"]
            place.site.run_uv(*words, cwd=place.shadow.project, mark=place.mark, variables={"UV_LINK_MODE": "copy"})

    def _sync(self, place: Place, words: list[str]) -> None:
        site, venv = place.site, place.venv
        again = sorted(self.plan.lock.local | self.plan.renewed)
        words = [*words, *(f"--reinstall-package={name}" for name in again)]
        variables = {"UV_PROJECT_ENVIRONMENT": str(venv), "UV_PYTHON": str(find_python(venv))}
        variables["UV_PYTHON_PREFERENCE"] = "system"  # `only-managed` would replace the venv of a system Python
        variables["UV_LINK_MODE"] = "hardlink" if place.shares_files else "copy"  # never links into a cache
        command, env = site.uv_command(*words, mark=place.mark, variables=variables)
        run_in_shadow(site, place.shadow, command, env=env, timeout=UV_TIMEOUT, writable=site.paths.state)


class BundleInstaller(msgspec.Struct, frozen=True):
    """Installs the wheels of a bundle, without a network, and puts its products into the shadow.

    `directory` has `requirements.txt`, `wheels` and `built`. The packages `again` are installed anew, although the
    clone has that version: they come from another commit or build. A clone needs no wheel of what it has.
    """

    directory: Path
    again: frozenset[str] = frozenset()

    def __call__(self, place: Place, *, has_project: bool = True) -> None:
        """Install, by links to files of a cache; one that other releases must not share ends with `directory`."""
        cache, products = self.directory / "cache", self.directory / BUILT
        words = ["pip", "sync", *_OFFLINE, "--require-hashes", "--allow-empty-requirements", "--compile-bytecode"]
        words += ["--find-links", str(self.directory / "wheels"), "--python", str(find_python(place.venv))]
        words += [f"--reinstall-package={name}" for name in sorted(self.again)]
        variables = {"UV_LINK_MODE": "hardlink"} | ({} if place.shares_files else {"UV_CACHE_DIR": str(cache)})
        requirements = self.directory / EXPORT
        place.site.run_uv(*words, requirements, cwd=self.directory, mark=place.mark, variables=variables)
        for path in list_files(products):
            copy_product(products, place.shadow.map_path(place.site.paths.top), path)


def build_venv(place: Place, plan: Plan, base: Release | None, install: Installer) -> None:
    """Build a venv in a shadow; `base` is the live release, whose files a clone shares. Raises BuildError."""
    shadow, venv = place.shadow, place.venv
    ways = (True, False) if base is not None and may_clone(place, base, plan) else (False,)
    try:
        for clones in ways:
            remove_path(venv)
            _begin_venv(place, plan, base, clones=clones)
            install_startup_module(venv)
            _run_before_build(place, install)
            install(place)
            files = join_records(read_records(venv).values()) if clones else ()
            # uv deletes a file with a package, although another one owns it, too.
            if is_relocatable(venv) and all(os.path.lexists(f"{venv}/{path}") for path in files):
                break
        else:
            raise ToolError("uv has replaced the environment of the candidate by another one.")
        install_startup_module(venv)
    except ToolError as error:
        message, advice = explain_refusal(error.output) or (error.message, advise_on_lock(error.message))
        raise explain_full_disk(venv.parent, error) or BuildError(
            f"The candidate could not be built: {message}",
            shadow.advise_on_read_only(error.output) or advice,
            output=error.output,
        ) from error
    except OSError as error:
        if error.errno in FULL and (full := explain_full_disk(venv.parent, error)):
            raise full from error
        raise


def _begin_venv(place: Place, plan: Plan, base: Release | None, *, clones: bool) -> None:
    """Make the venv that packages are installed into: a clone of the live one, or an empty one. Raises ToolError."""
    site, venv = place.site, place.venv
    if base is not None and clones:
        copy_venv(site, base.venv, venv, mark=place.mark, shares_files=place.shares_files)
        return
    require_space(venv.parent, base.venv if base else None, clones=False)
    words = ["venv", "--relocatable", "--no-project", "--python", plan.python]
    sees_system = base is not None and "include-system-site-packages = true" in read_config(base.venv).lower()
    words += ["--system-site-packages"] if sees_system else []
    site.run_uv(*words, venv, cwd=place.shadow.project, mark=place.mark)


def may_clone(place: Place, base: Release, plan: Plan) -> bool:
    """Return True if a clone of this release is a base for the plan.

    An adopted venv has absolute paths; another Python, also one upgraded in place, needs its own venv; damage must not
    be carried on; and `before_build` must not find what it has written into packages before.
    """
    is_clonable = base.manifest.kind == "built" and not plan.is_rebuild and not explain_rebuild(base, plan)
    is_same_python = Path(plan.python).is_relative_to(base.venv)
    is_sound = not find_live_damage(base, list_damage(base), is_lost=True)
    return is_clonable and is_same_python and is_sound and not place.site.settings.live.before_build


def explain_rebuild(base: Release | None, plan: Plan) -> str:
    """Return why nothing of the live release may be taken over; empty if there is nothing to say."""
    if base is not None and base.manifest.key.python != plan.python_version:
        return f"Python {base.manifest.key.python} became {plan.python_version}"
    if base is not None and base.manifest.kind == "built" and not is_relocatable(base.venv):
        return "another program has replaced the live venv"
    return ""


def copy_venv(site: Site, base: Path, venv: Path, *, mark: str, shares_files: bool = False) -> None:
    """Copy a venv; as hard links if both may share their files, read-only then. Raises BuildError and ToolError."""
    require_space(venv.parent, base, clones=shares_files)
    env = site.tool_environment(mark=mark)
    words = ["cp", "-al" if shares_files else "-a", "--", base, venv]
    try:
        process.run(words, cwd=venv.parent, env=env, timeout=_COPY_TIMEOUT, gives_way=True)
    except ToolError:
        remove_path(venv)
        if not shares_files:
            raise
        copy_venv(site, base, venv, mark=mark)  # linking may be refused
    (venv / ".lock").unlink(missing_ok=True)  # uv writes to it, and an empty one in each release costs nothing


def _run_before_build(place: Place, install: Installer) -> None:
    """Run the command with the packages of the release; without the project's own, if these need what it makes."""
    site, venv = place.site, place.venv
    command = site.settings.live.before_build
    if command:
        try:
            install(place)
        except ToolError:
            install(place, has_project=False)
        _make_writable(venv, 0o200)  # copies have the modes of the cache, whose files may be those of sealed releases
        env = site.tool_environment(venv, place.mark) | place.shadow.map_values(site.service)
        run_in_shadow(site, place.shadow, command, env=env, timeout=UV_TIMEOUT, writable=venv.parent)


def close_venv(place: Place, plan: Plan) -> Sealed:
    """Make the files of a venv read-only and of the site's group; return its seal. Raises OSError."""
    venv, group = place.venv, place.site.unix_group
    for directory, directories, files in os.walk(venv):
        for name in (*directories, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if status.st_gid != group:
                with contextlib.suppress(PermissionError):
                    os.chown(path, -1, group, follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode)
            is_lock = directory == os.fspath(venv) and name == ".lock"
            if stat.S_ISREG(status.st_mode) and mode & 0o222 and not is_lock:
                os.chmod(path, mode & ~0o222 | 0o444)
    return take_seal(venv, venv.parent / BUILT, plan.python_version)


def replace_shadow_paths(shadow: Shadow, venv: Path) -> None:
    """Correct the paths in text files of packages that were installed from the shadow, and the hashes of those files.

    Called after the tests, which import from the shadow. A binary file may keep the paths: a compiler writes them there
    for debuggers. Raises OSError.
    """
    site_packages = find_site_packages(venv)
    for url in sorted(site_packages.glob("*.dist-info/direct_url.json")):
        if shadow.root.as_uri() in url.read_text(encoding="utf-8"):
            record = url.with_name("RECORD")
            lines = record.read_text(encoding="utf-8").splitlines()
            names = [row[0] for row in csv.reader(lines) if not row[0].endswith(".pyc")]
            changed = [name for name in names if shadow.replace_paths(site_packages / name)]
            for path in (site_packages / name for name in changed):
                for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                    cached.unlink()
            # PEP 376 allows a file without a hash.
            lines = [next((f"{name},," for name in changed if line.startswith(f"{name},")), line) for line in lines]
            remove_path(record)
            record.write_text("\n".join(lines) + "\n", encoding="utf-8")


def copy_plain_venv(site: Site, copy: Path, *, mark: str) -> None:
    """Copy the live venv, with writable files and without the start-up module. Raises BuildError and ToolError.

    Console scripts of a release find their Python beside them; those of an adopted venv name the path of the link.
    """
    copy_venv(site, Path(os.path.realpath(site.paths.link)), copy, mark=mark)
    remove_startup_module(copy)
    _make_writable(copy, 0o220 if site.is_shared else 0o200)
    sync_file_system(copy)


def _make_writable(venv: Path, bits: int) -> None:
    """Make the files of a venv writable, which it must not share with a release."""
    for place, _, files in os.walk(venv):
        for path in (Path(place, name) for name in files):
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) | bits)
