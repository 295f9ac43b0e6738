"""Builds the venv of a candidate: a clone of the live one, or from nothing; and closes it."""

from __future__ import annotations

import contextlib
import csv
import os
import stat
from pathlib import Path
from typing import Protocol

import msgspec

from releaser.candidate.namespace import run_in_shadow
from releaser.candidate.shadow import Shadow
from releaser.errors import BuildError, ToolError
from releaser.packages.resolve import Plan, group_arguments
from releaser.releases.lease import install_startup_module, remove_startup_module
from releaser.releases.release import Release
from releaser.releases.venv import find_python, find_site_packages, list_stray_files
from releaser.releases.verify import find_damage
from releaser.site.site import UV_TIMEOUT, Site
from releaser.system import process
from releaser.system.files import FULL, remove_path, sync_file_system
from releaser.system.space import explain_full_disk, require_space

_COPY_TIMEOUT = 1800.0  # seconds
_ONLY_OTHERS = ["--no-install-project", "--no-install-workspace"]


class Place(msgspec.Struct, frozen=True):
    """The site, shadow and venv of a build; `mark` is that of the run's children."""

    site: Site
    shadow: Shadow
    venv: Path
    mark: str


class Installer(Protocol):
    """Puts packages into the venv of a candidate; without `has_project`, those alone that the project needs.

    Raises ToolError.
    """

    def __call__(self, place: Place, *, has_project: bool = True) -> None:
        """Install. May be repeated."""


class LockInstaller(msgspec.Struct, frozen=True):
    """Installs the lock in the shadow, by `uv sync`."""

    plan: Plan

    def __call__(self, place: Place, *, has_project: bool = True) -> None:
        """Install. uv does not notice changed sources of a local package whose pyproject.toml is older: again, then.

        Without `UV_PYTHON`, uv would replace a venv whose Python is not that of `.python-version`. Raises ToolError.
        """
        site, venv = place.site, place.venv
        words = ["sync", "--frozen", "--compile-bytecode", *group_arguments(site)]
        words += [] if has_project else _ONLY_OTHERS
        for name in sorted(self.plan.lock.local):
            words += ["--reinstall-package", name]
        variables = {"UV_PROJECT_ENVIRONMENT": str(venv), "UV_PYTHON": str(find_python(venv))}
        variables |= {"UV_LINK_MODE": "copy"} if os.geteuid() == 0 else {}
        command, env = site.uv_command(*words, mark=place.mark, variables=variables)
        run_in_shadow(site, place.shadow, command, env=env, timeout=UV_TIMEOUT, writable=site.paths.state)


def build_venv(place: Place, plan: Plan, base: Release | None, install: Installer) -> None:
    """Build a venv in a shadow; `base` is the live release, whose files a clone shares. Raises BuildError."""
    site, shadow, venv, mark = place.site, place.shadow, place.venv, place.mark
    try:
        if base is not None and may_clone(base, plan):
            require_space(venv.parent, base.venv, clones=os.geteuid() != 0)
            clone_venv(site, base.venv, venv, mark=mark)
        else:
            require_space(venv.parent, base.venv if base else None, clones=False)
            words = ["venv", "--relocatable", "--no-project", "--python", plan.python]
            words += ["--system-site-packages"] if base and _sees_system_packages(base.venv) else []
            site.run_uv(*words, venv, cwd=shadow.project, mark=mark)
        install_startup_module(venv)
        _run_before_build(place, install)
        install(place)
    except ToolError as error:
        raise explain_full_disk(venv.parent, error) or BuildError(
            f"The candidate could not be built: {error.message}",
            shadow.advise_on_read_only(error.output) or "The next run tries again.",
            output=error.output,
        ) from error
    except OSError as error:
        if error.errno in FULL and (full := explain_full_disk(venv.parent, error)):
            raise full from error
        raise


def _sees_system_packages(venv: Path) -> bool:
    config = (venv / "pyvenv.cfg").read_text(encoding="utf-8") if (venv / "pyvenv.cfg").exists() else ""
    return "include-system-site-packages = true" in config.lower()


def may_clone(base: Release, plan: Plan) -> bool:
    """Return True if a clone of this release is a base for the plan.

    An adopted venv has absolute paths; another Python needs its own venv; damage must not be carried on.
    """
    is_same_python = Path(plan.python).is_relative_to(base.venv)
    is_sound = not find_damage(base.venv, most=1) and not list_stray_files(base.venv)
    return base.manifest.kind == "built" and is_same_python and is_sound


def clone_venv(site: Site, base: Path, venv: Path, *, mark: str) -> None:
    """Copy a venv: as hard links, since its sealed files are read-only; as copies for root, whom that does not stop.

    Raises ToolError.
    """
    env = site.tool_environment(mark=mark)
    modes = (["-a"],) if os.geteuid() == 0 else (["-al"], ["-a"])
    for number, mode in enumerate(modes, 1):
        try:
            process.run(["cp", *mode, "--", base, venv], cwd=venv.parent, env=env, timeout=_COPY_TIMEOUT)
        except ToolError:
            remove_path(venv)
            if number == len(modes):
                raise
        else:
            break
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
        env = site.tool_environment(venv, place.mark)
        run_in_shadow(site, place.shadow, command, env=env, timeout=UV_TIMEOUT, writable=venv.parent)


def close_venv(site: Site, shadow: Shadow, venv: Path) -> None:
    """Make the files of a venv read-only and of the site's group, with the site's paths in place of the shadow's.

    Raises OSError.
    """
    if not shadow.is_mounted:
        replace_shadow_paths(shadow, venv)
    group = site.unix_group
    for place, directories, files in os.walk(venv):
        for name in (*directories, *files):
            path = os.path.join(place, name)
            status = os.lstat(path)
            if status.st_gid != group:
                with contextlib.suppress(PermissionError):
                    os.chown(path, -1, group, follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISREG(status.st_mode) and mode & 0o222 and not (place == os.fspath(venv) and name == ".lock"):
                os.chmod(path, mode & ~0o222 | 0o444)


def replace_shadow_paths(shadow: Shadow, venv: Path) -> None:
    """Correct the paths in text files of packages that were installed from the shadow, and the hashes of those files.

    A binary file may keep them: a compiler writes them there for debuggers. Raises OSError.
    """
    site_packages = find_site_packages(venv)
    for url in sorted(site_packages.glob("*.dist-info/direct_url.json")):
        if shadow.root.as_uri() in url.read_text(encoding="utf-8"):
            record = url.with_name("RECORD")
            for line in csv.reader(record.read_text(encoding="utf-8").splitlines()):
                path = site_packages / line[0]
                if path.suffix != ".pyc" and shadow.replace_paths(path):
                    _forget_bytecode(path)
                    _correct_record(record, line[0])


def _forget_bytecode(path: Path) -> None:
    for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        cached.unlink()


def _correct_record(record: Path, name: str) -> None:
    """Leave out the hash of a corrected file from its RECORD, as PEP 376 allows."""
    lines = record.read_text(encoding="utf-8").splitlines()
    kept = [f"{name},," if line.startswith(f"{name},") else line for line in lines]
    remove_path(record)
    record.write_text("\n".join(kept) + "\n", encoding="utf-8")


def copy_plain_venv(site: Site, copy: Path, *, mark: str) -> None:
    """Copy the live venv, with writable files and without the start-up module. Raises BuildError and ToolError.

    Console scripts of a release find their Python beside them; those of an adopted venv name the path of the link.
    """
    venv, env = Path(os.path.realpath(site.paths.link)), site.tool_environment(mark=mark)
    require_space(site.paths.link.parent, venv, clones=False)
    process.run(["cp", "-a", "--", str(venv), str(copy)], cwd=copy.parent, env=env, timeout=_COPY_TIMEOUT)
    remove_startup_module(copy)
    writable = 0o220 if site.is_shared else 0o200
    for place, _, files in os.walk(copy):
        for path in (Path(place, name) for name in files):
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) | writable)
    sync_file_system(copy)
