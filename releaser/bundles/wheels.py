"""Selects the wheels of a lock for the targets of a bundle, and packs wheels from installed packages."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import zipfile
from email import message_from_bytes
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from releaser.bundles.manifest import Target
from releaser.errors import UsageError, refuse
from releaser.locks.installed import environment_of, ordered_tags, reach
from releaser.locks.lock import LockFile, Package, is_local
from releaser.locks.versions import normalize_name
from releaser.system.expression import expression
from releaser.system.files import read_file
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_TARGET = expression(r"(?P<python>3\.\d+)-(?P<platform>(?:linux|manylinux_\d+_\d+|musllinux_\d+_\d+)_(?P<machine>\w+))")
_STEP = expression(r"(many|musl)linux_(\d+)_(\d+)_(\w+)")
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}  # by the minor version of glibc (PEP 600)
_NOT_PACKED = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})


class LockedWheel(Frozen):
    """A wheel in a lock, with its place, and its hash, which is empty if the lock has none."""

    package: str
    name: str
    place: str
    sha256: str


class Selection(Frozen):
    """The packages for the targets of a bundle: wheels, and the names of packages that have only sources."""

    wheels: tuple[LockedWheel, ...]
    built: tuple[str, ...]


def parse_target(text: str) -> Target:
    """Parse a value of `--target`, such as `3.12-manylinux_2_28_aarch64`. Raises UsageError."""
    found = _TARGET.fullmatch(text)
    if found is None:
        message = f"--target {text} is not a Python version and a Linux platform"
        raise UsageError(message, "Write it as 3.12-manylinux_2_28_x86_64.")
    return Target(python=found["python"], platform=found["platform"])


def select_wheels(
    lock: LockFile, groups: Collection[str], target: Target | None, *, python: str, tried: Collection[str] = ()
) -> Selection:
    """Choose the wheel that uv would install of each package that is installed with some groups.

    `target` is None for this host, with this version of Python. Packages that are `tried` are built, wherever they come
    from. Raises PreflightError for other packages from directories outside the checkout, and for packages without a
    wheel for another target.
    """
    _refuse_outside(lock, tried)
    tested = python if target is None else f"{target.python}.0"
    minor = ".".join(tested.split(".")[:2])
    platforms = None if target is None else _platforms(target.platform)
    ranks = ordered_tags(tested, platforms=platforms)
    wheels, built = dict[LockedWheel, None](), set[str]()
    for version in (tested, f"{minor}.0", f"{minor}.99"):  # a lock may fork by the patch version, and hosts differ
        environment = environment_of(version)
        if target is not None:
            environment["platform_machine"] = _TARGET.fullmatch(str(target))["machine"]  # type: ignore[index]
        for package in reach(lock, groups, environment):
            is_tried = package["name"] in tried
            found = () if is_tried else _ranked(package, ranks)
            best, is_own = min(found, key=lambda ranked: ranked[0], default=None), is_local(package) and not is_tried
            if best is not None:
                wheels[best[1]] = None
            elif target is not None and not is_own:
                message = f"{package['name']} {package.get('version', '')} has no wheel for {target}"
                refuse("wheel-missing", message, "Remove that target, or create the bundle on a host of that kind.")
            elif version == tested and not is_own:
                built.add(package["name"])
    return Selection(wheels=tuple(wheels), built=tuple(sorted(built)))


def _refuse_outside(lock: LockFile, tried: Collection[str]) -> None:
    for package in (package for package in lock.packages if package["name"] not in tried):
        source = package.get("source", {})
        place = next((str(source[kind]) for kind in ("editable", "directory") if kind in source), ".")
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
            message = f"{package['name']} is installed from outside the checkout ({place}), so it cannot be bundled"
            refuse("package-outside", message, "Install it from an index or from git, or move it into the checkout.")


def _ranked(package: Package, ranks: Mapping[Any, int]) -> Iterator[tuple[int, LockedWheel]]:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    source = package.get("source", {})
    entries: list[dict[str, Any]] = [*package.get("wheels", ())]
    for kind in ("url", "path"):  # a single file
        if str(source.get(kind, "")).endswith(".whl"):
            entries = [{**marker_entry, kind: source[kind]} for marker_entry in entries or [{}]]
    for entry in entries:
        place = str(entry.get("url") or entry.get("path") or entry.get("filename") or "")
        name = unquote(urlsplit(place).path if "://" in place else place).rpartition("/")[2]
        try:
            tags = parse_wheel_filename(name)[3]
        except InvalidWheelFilename:
            continue
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
        if rank is not None:
            base = str(source.get("registry", "")) if "path" in entry and "path" not in source else ""
            where = place if "://" in place or not base else os.path.join(base.removeprefix("file://"), place)
            digest = str(entry.get("hash", "")).removeprefix("sha256:")
            yield rank, LockedWheel(package=package["name"], name=name, place=where, sha256=digest)


def _platforms(platform: str) -> list[str]:
    """Return the platforms whose wheels run on `platform`: also those for older C libraries (PEP 600, PEP 656)."""
    found = _STEP.fullmatch(platform)
    if found is None:
        return [platform]
    kind, major, newest, machine = found[1], int(found[2]), int(found[3]), found[4]
    places = []
    for minor in range(newest, -1, -1):
        places.append(f"{kind}linux_{major}_{minor}_{machine}")
        if kind == "many" and minor in _LEGACY:
            places.append(f"{_LEGACY[minor]}_{machine}")
    return [*places, f"linux_{machine}"]


def lacks(lock: LockFile, groups: Collection[str], python: str, wheels: Collection[str]) -> list[str]:
    """Return the packages that this version of Python would install here, and that none of these wheels provides."""
    from packaging.utils import parse_wheel_filename

    tags, available = ordered_tags(python), set[tuple[str, str]]()
    for name in wheels:
        package, version, _, found = parse_wheel_filename(name)
        if not found.isdisjoint(tags):
            available.add((package, str(version)))
    needed = (one for one in reach(lock, groups, environment_of(python)) if not is_local(one) and "version" in one)
    return sorted({f"{one['name']} {one['version']}" for one in needed if pin_of(one) not in available})


def pin_of(package: Package) -> tuple[str, str]:
    """Return the name and version of a package in a lock, normalized as in the names of wheels."""
    from packaging.utils import canonicalize_name
    from packaging.version import Version

    return canonicalize_name(package["name"]), str(Version(package.get("version", "0")))


# Wheels from installed packages


def find_metadata(venv: Path, name: str) -> Path:
    """Return the `.dist-info` of a package in a venv. Raises PreflightError."""
    wanted = normalize_name(name)
    for info in sorted(venv.glob("lib/python3*/site-packages/*.dist-info")):
        if normalize_name(info.name.partition("-")[0]) == wanted:
            return info
    return refuse("package-not-installed", f"{name} is not installed in {venv}", "Run `releaser verify`.")


def pack_installed(info: Path, directory: Path, code: Path | None = None) -> Path:
    """Pack the installed package with the metadata `info` into a wheel in `directory`, and return its path.

    The wheel has the installed files of RECORD, so it installs the tested files; the same files give the same bytes.
    For an editable package, it has the directory `code` instead of the `.pth` file. Raises PreflightError for
    files that do not match RECORD, and OSError.
    """
    site_packages, name = info.parent, info.name.removesuffix(".dist-info")
    tags = message_from_bytes(read_file(info / "WHEEL")).get_all("Tag", ["py3-none-any"])
    entries: dict[str, bytes] = {}
    for path, digest, _ in csv.reader(io.StringIO(read_file(info / "RECORD").decode())):
        place = Path(os.path.normpath(site_packages / path))
        if path.endswith(".pyc") or (place.parent == info and place.name in _NOT_PACKED):
            continue
        target = _place_in_wheel(place, site_packages, info, name)
        if target is None:
            continue
        data = read_file(place, most=None)
        if digest and digest != _digest(data):
            refuse(
                "package-changed",
                f"{place} has changed since {name} was installed",
                "Run `releaser verify`, and `releaser rebuild`.",
            )
        if code is not None and path.endswith(".pth"):
            continue
        entries[target] = re.sub(rb"\A#!.*/python[0-9.]*\n", b"#!python\n", data) if "/scripts/" in target else data
    for file in code.rglob("*") if code is not None else ():
        if code is not None and file.is_file() and file.suffix != ".pyc":
            entries[file.relative_to(code.parent).as_posix()] = read_file(file, most=None)
    lines = [f"{path},{_digest(data)},{len(data)}" for path, data in sorted(entries.items())]
    record = f"{info.name}/RECORD"
    entries[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    compressed = "-".join(".".join(dict.fromkeys(part)) for part in zip(*(tag.split("-") for tag in tags), strict=True))
    place = directory / f"{name}-{compressed}.whl"  # see PEP 425
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # fast: programs have 60 MB
        for path, data in sorted(entries.items()):
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            mode = 0o755 if "/scripts/" in path else 0o644
            entry.create_system, entry.external_attr, entry.compress_type = 3, (0o100000 | mode) << 16, 8
            archive.writestr(entry, data)
    return place


def _place_in_wheel(place: Path, site_packages: Path, info: Path, name: str) -> str | None:
    if place.is_relative_to(site_packages):
        return place.relative_to(site_packages).as_posix()
    venv = site_packages.parent.parent.parent
    path = place.relative_to(venv).as_posix()
    if path.startswith("bin/"):
        scripts = _entry_points(info)
        return None if place.name in scripts else f"{name}.data/scripts/{place.name}"
    headers = re.match(r"include/site/python[0-9.]+/[^/]+/(.+)", path)
    return f"{name}.data/headers/{headers[1]}" if headers else f"{name}.data/data/{path}"


def _entry_points(info: Path) -> set[str]:
    import configparser

    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    file = info / "entry_points.txt"
    if file.exists():
        parser.read_string(read_file(file).decode())
    return {name for kind in ("console_scripts", "gui_scripts") if parser.has_section(kind) for name in parser[kind]}


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
