"""`bundle create`: writes a tested release into one file for other hosts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import sysconfig
from datetime import UTC, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import releaser
from releaser.bundles import manifest as names
from releaser.bundles.archive import lock_with_built, open_archive, write_archive
from releaser.bundles.code import write_bundle
from releaser.bundles.installer import INSTALLER_TEXT
from releaser.bundles.manifest import Base, BundleDetails, BundledFile, BundleManifest, Target
from releaser.bundles.pool import KEPT, Pool
from releaser.bundles.trust import sign
from releaser.bundles.wheels import pack_installed
from releaser.capabilities import gather
from releaser.checkout.pull import commit_with_lock
from releaser.errors import NoSuchReleaseError, ToolError, UsageError, os_reason, refuse
from releaser.launcher.install import kept_wheels
from releaser.pipelines.bundle_settings import BundleSettings
from releaser.pipelines.bundle_wheels import collect_wheels
from releaser.pipelines.status import find_release
from releaser.releases.integrity import find_damage
from releaser.releases.release import Release, lock_of
from releaser.releases.store import store_of
from releaser.site.supply import SupplyFacts
from releaser.system.files import only_files, read_file
from releaser.system.frozen import Frozen, replace
from releaser.system.temporary import temporary_directory, write_atomically
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.metadata import Distribution

    from releaser.locks.lock import LockFile
    from releaser.site.site import Site


class BundleRequest(Frozen):
    """The options of `bundle create`; `expires` is in seconds after the build of the release began."""

    output: Path
    release: str | None = None
    base: str | None = None
    targets: tuple[Target, ...] = ()
    key: Path | None = None
    expires: float | None = None
    #: True to include releaser and uv, for hosts that have neither. A delta never has them.
    installer: bool = True
    #: Extras of releaser to include, in addition to those that the settings of the site need.
    extras: tuple[str, ...] = ()
    #: True to refuse a release whose code is not that of the remote head.
    only_remote_head: bool = False


def create_bundle(site: Site, request: BundleRequest) -> BundleDetails:
    """Write a bundle of a tested release, by default the live one. Raises PreflightError and NoSuchReleaseError.

    The same release gives the same bytes, if the key is an Ed25519 key.
    """
    release = find_release(site, request.release)
    sealed = release.manifest
    tries = SupplyFacts.of(sealed).overrides
    if not (sealed.may_go_live or (tries and sealed.tests == "passed")):
        message = f"{release.id} has not passed its tests ({sealed.origin}, tests: {sealed.tests})"
        refuse("release-untested", message, "Choose a good release from `releaser list`, or run `releaser rebuild`.")
    if damage := find_damage(release):
        refuse(
            "release-damaged",
            f"{release.id} is damaged: {damage.reason}",
            "Run `releaser rebuild`, and bundle the new release.",
        )
    base, pool = _read_base(site, request.base), Pool.of(site.state_dir)
    place = Path(os.path.abspath(request.output))
    try:
        with pool.locked(), temporary_directory() as scratch:
            commit = _commit_of(site, release)
            if request.only_remote_head:
                _refuse_other_code(site, release, commit)
            code = {}
            if base is None or base.commit != commit:
                code[names.CODE] = scratch / names.CODE
                _write_code(site, code[names.CODE], commit, base)
            request = replace(request, installer=request.installer and base is None)
            files = code | _collect(site, release, commit, request, pool, scratch)
            manifest = _manifest(site, release, commit, request, files, base)
            signature = sign(site.runner, manifest.data, request.key) if request.key is not None else None
            write_atomically(place, partial(write_archive, manifest=manifest, signature=signature, files=files))
            pool.remember(manifest)
            pool.forget_unused({candidate.id for candidate in store_of(site).all()})
        return BundleDetails.of(manifest, signer=None, path=str(place), size=place.stat().st_size)
    except OSError as error:  # no room, no rights, or a release that is pruned meanwhile
        filename = f": {error.filename}" if error.filename else ""
        return refuse(
            "bundle-unwritable",
            f"{place} cannot be created: {os_reason(error)}{filename}",
            "Free some disk space, or write the bundle elsewhere: -o FILE.",
        )


def _collect(  # noqa: PLR0913 - the contents, and their places
    site: Site, release: Release, commit: str, request: BundleRequest, pool: Pool, scratch: Path
) -> dict[str, Path]:
    wheels = collect_wheels(site, release, commit, request.targets, pool, scratch)
    files = {
        names.LOCK: _lock_in_bundle(release, wheels, scratch),
        **_write_settings(site, commit, scratch),
        **_find_included(site),
        **wheels,
        names.INSTALLER: scratch / names.INSTALLER,  # which also says why a bundle without releaser cannot start
        **(_installer(site, request.extras, pool, scratch) if request.installer else {}),
        names.REQUIREMENTS: scratch / names.REQUIREMENTS,
    }
    files[names.REQUIREMENTS].write_text(_requirements(files, lock_of(release)), encoding="utf-8")
    files[names.INSTALLER].write_text(INSTALLER_TEXT, encoding="utf-8")
    return files


def _lock_in_bundle(release: Release, wheels: Mapping[str, Path], scratch: Path) -> Path:
    """Return the lock of a release; packages that it tries come from their wheels, not from a place on this host."""
    from packaging.utils import parse_wheel_filename

    tried = SupplyFacts.of(release.manifest).tried
    if not tried:
        return release.lock
    packed = {str(parse_wheel_filename(path.removeprefix(names.WHEELS))[0]): place for path, place in wheels.items()}
    place = scratch / names.LOCK
    place.write_bytes(lock_with_built(read_file(release.lock), {name: packed[name] for name in tried & packed.keys()}))
    return place


def _write_settings(site: Site, commit: str, scratch: Path) -> dict[str, Path]:
    """Write the files of a commit by which uv chooses a Python; return those that it has."""
    found = {}
    for name in (names.PYPROJECT, names.PYTHON_VERSION):
        data = site.git.data(commit, os.path.relpath(site.project.root / name, site.git.layout.top))
        if data is not None:
            found[name] = scratch / name
            found[name].write_bytes(data)
    return found


def _read_base(site: Site, name: str | None) -> BundleManifest | None:
    """Return the manifest of a bundle, which is a file or was made of a release here. Raises PreflightError."""
    if name is None:
        return None
    pool, place = Pool.of(site.state_dir), Path(name)
    if (known := pool.manifest_of(name)) is not None:
        return known
    if place.exists():
        with open_archive(place) as archive:
            return archive.manifest()
    with contextlib.suppress(NoSuchReleaseError):
        if (known := pool.manifest_of(find_release(site, name).id)) is not None:
            return known
    message = f"--base {name} is neither a bundle nor a release of the last {KEPT} that were bundled here"
    return refuse("bundle-base-unknown", message, "Name the file of an earlier bundle.")


def _commit_of(site: Site, release: Release) -> str:
    """Return the commit of the release, with its committed lock if there is one. Raises PreflightError."""
    commit = release.manifest.commit
    try:
        if commit is None or not site.git.has_commit(commit):
            message = f"the commit of {release.id} is not in this repository, or the project is not under git"
            refuse(
                "commit-missing",
                message,
                "Bundle a newer release. Without git, first run `git init`, and commit the code.",
            )
        commit = commit_with_lock(site, release, commit)
        lacking = first_few(site.git.submodules(commit))
    except ToolError as error:
        return refuse(
            "code-unreadable", f"the code of {release.id} cannot be read: {error.reason}", "See git's message."
        )
    if lacking:
        refuse(
            "bundle-submodule",
            f"{lacking} is a submodule, and bundles cannot hold submodules",
            "Move its code into the repository.",
        )
    return commit


def describe_commit(site: Site, commit: str | None) -> str:
    """Name a commit for people, by the beginning of its id and its subject."""
    return f"commit {commit[:12]} ({site.git.subject(commit)})" if commit else "no commit"


def _refuse_other_code(site: Site, release: Release, commit: str) -> None:
    """Refuse if the remote head has other code than a commit. Without a remote, nothing is compared.

    Raises PreflightError.
    """
    git, branch = site.git, site.branch
    try:
        remote = git.remote(branch)
        if remote is None:
            return
        head = git.fetch(remote, branch)
        if git.code_key(site.own_files(), commit=head) == git.code_key(site.own_files(), commit=commit):
            return
    except ToolError as error:
        refuse(
            "remote-head-unknown",
            f"the remote head cannot be read: {error.reason}",
            "Check the URL and the network, or create the bundle without --only-remote-head.",
        )
    newer = describe_commit(site, head)
    refuse(
        "not-remote-head",
        f"{release.id} has the code of {describe_commit(site, commit)}, but {branch} on {remote} is at {newer}",
        "Run `releaser update`, which reports why that commit is not live. Or create the bundle without "
        "--only-remote-head.",
    )


def _write_code(site: Site, file: Path, commit: str, base: BundleManifest | None) -> None:
    if (site.git.layout.common_directory / "shallow").is_file():
        refuse(
            "bundle-shallow",
            "this is a shallow clone, which lacks earlier commits, so no host could install the bundle",
            "Run `git fetch --unshallow`. In CI, clone with the whole history.",
        )
    before = base.commit if base is not None else None
    if before is not None and not site.git.is_ancestor(before, commit):
        refuse(
            "bundle-base-unrelated",
            f"commit {commit[:12]} does not descend from that of the base, {before[:12]}",
            "Create a full bundle.",
        )
    try:
        write_bundle(site.git, file, commit, base=before)
    except ToolError as error:
        refuse("code-unreadable", f"the code cannot be bundled: {error.reason}", "See git's message.")


def _find_included(site: Site) -> dict[str, Path]:
    """Return the files that `bundle_include` names, which are not in git."""
    found: dict[str, Path] = {}
    for pattern in BundleSettings.of(site).bundle_include:
        places = sorted(site.project.root.glob(pattern))
        if not places:
            refuse(
                "bundle-include-missing",
                f"bundle_include names {pattern}, but there is no such file",
                "Correct `bundle_include`.",
            )
        for place in places:
            files = [one for one in sorted(place.rglob("*")) if one.is_file()] if place.is_dir() else [place]
            for file in files:
                path = names.INCLUDED + file.relative_to(site.project.root).as_posix()
                if file.is_symlink() or not names.is_path(path):
                    refuse(
                        "bundle-include-unfit",
                        f"{file} cannot be bundled, because it is a symlink, or its name has special characters",
                        "Rename it.",
                    )
                found[path] = file
    return found


def _installer(site: Site, extras: Sequence[str], pool: Pool, scratch: Path) -> dict[str, Path]:
    """Return the wheels of releaser, uv and their requirements, with those of the extras."""
    from packaging.utils import parse_wheel_filename

    kept = dict[str, list[Path]]()  # for all Pythons, where a launcher keeps them
    for place in map(Path, kept_wheels()):
        kept.setdefault(str(parse_wheel_filename(place.name)[0]), []).append(place)
    found = dict[str, list[Path]]()
    for name, one in _list_tools(_extras_of(site, extras)).items():
        if name in kept:
            found[name] = kept[name]
            continue
        info = Path(str(one._path))  # type: ignore[attr-defined]
        code = Path(releaser.__file__).parent if name == "venv-releaser" else None
        if code is not None and code.parent != info.parent:  # editable, so that a host would look for this checkout
            found[name] = [pack_installed(info, scratch, code)]
        else:
            kind = f"{one.name}-{one.version}-{_hash(info / 'RECORD')[:12]}"
            found[name] = pool.packed(kind, partial(pack_installed, info))
    return {names.TOOLS + place.name: place for places in found.values() for place in places}


def _extras_of(site: Site, asked: Sequence[str]) -> frozenset[str]:
    """Return the extras that a person asks for, and those that the settings of the site need."""
    # All settings are bases of one class, in which the extra of one hides those of the others.
    needed = {vars(part)["extra"].fget(part.of(site)) for part in gather("settings") if "extra" in vars(part)}
    return frozenset({*asked, *needed} - {""})


def _list_tools(extras: frozenset[str]) -> dict[str, Distribution]:
    """Return releaser and the packages that it needs with some extras, by name. Raises PreflightError."""
    from importlib.metadata import Distribution, PackageNotFoundError, distribution

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    own = "venv-releaser"
    known = distribution(own).metadata.get_all("Provides-Extra", [])
    if unknown := sorted(extras.difference(known)):
        message = f"releaser has no extra {unknown[0]}"
        raise UsageError(message, f"Its extras are {', '.join(sorted(known))}.")
    waiting, found, done = [(own, extra) for extra in ("", *sorted(extras))], dict[str, Distribution](), set[str]()
    while waiting:
        name, extra = waiting.pop()
        if f"{name}[{extra}]" in done:
            continue
        done.add(f"{name}[{extra}]")
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            wanted = f"{own}[{','.join(sorted(extras))}]" if extras else own
            message = f"the bundle must contain {name}, which is not installed with releaser"
            refuse("releaser-not-packaged", message, f"In {sys.prefix}: `pip install '{wanted}'`.")
        for needed in map(Requirement, found[name].requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(needed.name), one) for one in ("", *sorted(needed.extras))]
    return found


def _requirements(files: Mapping[str, Path], lock: LockFile) -> str:
    """Write the wheels of the lock as a requirements file with hashes, for tools such as pip."""
    from packaging.utils import canonicalize_name, parse_wheel_filename
    from packaging.version import Version

    locked = (
        (package["name"], package["version"], package) for package in lock.content["package"] if "version" in package
    )
    forks = {(canonicalize_name(name), Version(version)): one for name, version, one in locked}
    lines: dict[str, list[str]] = {}
    for path, place in sorted(files.items()):
        key = parse_wheel_filename(path.removeprefix(names.WHEELS))[:2] if path.startswith(names.WHEELS) else None
        if key in forks:  # otherwise it is only for builds
            marker = " or ".join(f"({fork})" for fork in forks[key].get("resolution-markers", ()))
            pin = f"{key[0]}=={key[1]}" + (f" ; {marker}" if marker else "")
            lines.setdefault(pin, []).append(f"--hash=sha256:{_hash(place)}")
    return "".join(f"{' '.join([pin, *hashes])}\n" for pin, hashes in lines.items())


# The manifest


def _manifest(  # noqa: PLR0913 - all that it contains
    site: Site,
    release: Release,
    commit: str,
    request: BundleRequest,
    files: Mapping[str, Path],
    base: BundleManifest | None,
) -> BundleManifest:
    made = release.manifest
    minor = ".".join(made.python.split(".")[:2])
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    own = Target(python=minor, platform=platform)
    known = {file.path: file.sha256 for file in base.files} if base is not None else {}
    hashed = {path: _hash(place) for path, place in files.items()}
    expires = made.created_at + timedelta(seconds=request.expires) if request.expires is not None else None
    created = made.created_at.astimezone(UTC)
    return BundleManifest(
        format=names.FORMAT,
        project=str(site.pyproject.table("project").get("name") or site.project.name),
        release=release.id,
        sequence=int(created.timestamp() * 1000),
        created=created.isoformat(timespec="seconds"),
        expires=expires.astimezone(UTC).isoformat(timespec="seconds") if expires else None,
        commit=commit,
        branch=site.branch,
        lock_sha256=hashed[names.LOCK],
        group=made.group,
        python=made.python,
        abi=own.abi,
        platform=platform,
        libc=os.confstr("CS_GNU_LIBC_VERSION") or "" if "CS_GNU_LIBC_VERSION" in os.confstr_names else "",
        targets=tuple(dict.fromkeys((own, *request.targets))),
        files=tuple(
            BundledFile(
                path=path,
                sha256=hashed[path],
                size=place.stat().st_size,
                in_base=known.get(path) == hashed[path] and path != names.INSTALLER,
            )
            for path, place in sorted(files.items())
        ),
        base=Base(release=base.release, sha256=base.sha256, commit=base.commit) if base is not None else None,
        overrides=SupplyFacts.of(made).overrides,
    )


def _hash(place: Path) -> str:
    with open(place, "rb", opener=only_files) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
