"""Makes a bundle of a release: its code, and a wheel of each package.

The wheels are those of the lock by their hashes, of the project by a build, and others as they are installed.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from importlib import metadata
from netrc import NetrcParseError
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

import releaser
from releaser.bundles.bundle import (
    BUILT,
    CODE,
    LARGEST,
    LOCK,
    MAIN,
    PATCH,
    REQUIREMENTS,
    TOOLS,
    WHEELS,
    Bundle,
    BundledPackage,
    Manifest,
    hash_member,
    is_bundle,
    make_patch,
    name_platform,
    open_bundle,
    write_bundle,
)
from releaser.bundles.signature import sign
from releaser.checkout.products import copy_product
from releaser.checkout.repository import NETWORK, Repository, open_repository
from releaser.checkout.tree import make_tree
from releaser.errors import BuildError, ToolError, refuse
from releaser.packages.lock import Source, name_file, read_lock
from releaser.packages.lost import name_wheel, pack_installed, read_tags
from releaser.releases.release import Release, list_products
from releaser.releases.store import Store
from releaser.releases.venv import find_info, find_python, list_installed, list_local
from releaser.releases.verify import find_damage
from releaser.site.project import get_table
from releaser.site.site import Site
from releaser.system.files import measure, replace_file
from releaser.system.signals import check_signals
from releaser.system.space import require_room
from releaser.system.text import join_few, normalize_name, word

_OWN = "venv-releaser"
_TIMEOUT = 60.0  # seconds without a byte
_GONE = (404, 410)  # what HTTP answers about a file that was there
_NAMED = re.compile(r"(?:([\w.-]+)=)?(https?://\S+)")
_EPOCH = {"SOURCE_DATE_EPOCH": "315532800"}  # the same bytes for the same sources


def create_bundle(site: Site, output: Path, name: str, base: Path | None, key: Path | None) -> Bundle:
    """Write a release into a file. Raises ReleaserError and OSError; then the file is as it was."""
    output = Path(os.path.abspath(output))
    if os.path.lexists(output) and (output.is_symlink() or not is_bundle(output)):
        raise refuse("not-a-bundle", f"`{output}` exists, and is no bundle.", f"Look at it: `ls -l {word(output)}`.")
    store = Store(site.paths)
    release = store.find(name)
    _require_good(release)
    repository, before = open_repository(site), open_bundle(base, None) if base else None
    if repository.read("rev-parse", "--is-shallow-repository") == "true":
        message = "The checkout is a shallow clone, without the commits that a bundle needs."
        raise refuse("shallow", message, f"Run `git -C {word(site.paths.top)} fetch --unshallow`.")
    with tempfile.TemporaryDirectory(prefix="releaser-") as place:
        require_room(Path(place), measure(release.venv))
        manifest, members = _collect(site, store, release, repository, before, Path(place))
        require_room(output.parent, sum(manifest.members[name].size for name in members))
        bundle = write_bundle(output, manifest, members, key)
        if key is not None:
            with output.open("rb") as file:
                replace_file(output.with_name(f"{output.name}.sig"), sign(file, key), mode=0o644)
    return bundle


def _require_good(release: Release) -> None:
    """Raise PreflightError for a release that was never good, or is not as it was sealed."""
    is_tested = bool(release.manifest.overrides) and not release.manifest.failed_gate
    if not (release.state.state == "good" or is_tested) or release.manifest.sealed is None:
        message = f"Release {release.id} is {release.state.state}: only what was live and good goes into a bundle."
        raise refuse("not-good", message, "Run `releaser list`.")
    if damage := find_damage(release):
        message = f"Release {release.id} is not as it was sealed: {join_few(damage)}."
        raise refuse("damaged", message, f"See `releaser verify {release.id}`; `releaser rebuild` builds it again.")


def _collect(
    site: Site, store: Store, release: Release, repository: Repository, base: Bundle | None, place: Path
) -> tuple[Manifest, dict[str, Path]]:
    """Return the manifest of a bundle, and the files that it has."""
    commit, branch = release.state.commit or release.manifest.commit, site.settings.site.branch
    tree = make_tree(site, repository, place / "tree", commit, mark="")
    scratch = place / "wheels"
    scratch.mkdir()
    built = release.directory / BUILT
    for path in list_products(release.directory):
        copy_product(built, tree.top, path)
    directory = site.paths.project.relative_to(site.paths.top)
    wheels = collect_wheels(site, release, tree.top / directory, scratch)
    members = {f"{BUILT}{path}": built / path for path in list_products(release.directory)} | wheels.paths
    if links := [name for name, path in members.items() if path.is_symlink()]:
        raise refuse("linked-product", f"A build has made a link, which no bundle can have: {join_few(links)}.")
    (place / REQUIREMENTS).write_text(wheels.requirements, encoding="utf-8")
    (place / LOCK).write_bytes(release.lock.read_bytes().replace(b"\r\n", b"\n"))
    members |= {LOCK: place / LOCK, REQUIREMENTS: place / REQUIREMENTS}
    base_commit = base.manifest.commit if base else None
    if commit != base_commit:
        members[CODE] = _bundle_code(tree, branch, base_commit, place / CODE)
    base_lock = _patch_lock(store, base, members, place / PATCH) if base else None
    if base is None:
        members |= pack_tools(place) | {MAIN: Path(__file__).with_name("main.py")}
    facts = {name: hash_member(path) for name, path in members.items()}
    known = base.manifest.members if base else {}
    omitted = [
        name
        for name, member in facts.items()
        if (known.get(name) == member and name != PATCH) or (base_lock and name == LOCK)
    ]
    manifest = Manifest(
        project=site.paths.project.name,
        directory=directory.as_posix(),
        release=release.id,
        commit=commit,
        branch=branch,
        python=release.manifest.key.python,
        tags=name_platform(release.manifest.key.python),
        lock_sha256=release.manifest.key.lock_sha256,
        selection=release.manifest.key.selection,
        members=dict(sorted(facts.items())),
        packages=wheels.packages,
        base=base.sha256 if base else None,
        base_commit=base_commit,
        base_lock=base_lock,
        omitted=tuple(sorted(omitted)),
        packed=wheels.packed,
        override=release.manifest.overrides,
    )
    return manifest, {name: path for name, path in members.items() if name not in omitted}


def _patch_lock(store: Store, base: Bundle, members: dict[str, Path], file: Path) -> str | None:
    """Add the patch that makes the lock from that of the base; None if that is the same, or not here any more."""
    digest = base.manifest.lock_sha256
    before = [release.lock for release in store.releases if release.manifest.key.lock_sha256 == digest]
    if not before or hash_member(members[LOCK]).sha256 == digest:
        return None
    file.write_bytes(make_patch(before[0].read_text(encoding="utf-8"), members[LOCK].read_text(encoding="utf-8")))
    members[PATCH] = file
    return digest


def _bundle_code(tree: Repository, branch: str, base_commit: str | None, file: Path) -> Path:
    """Write HEAD, the branch and the tags before it into a bundle of git; those commits alone that a base has not."""
    if base_commit and (not tree.resolve(base_commit) or tree.is_ancestor(tree.head(), base_commit)):
        message = f"Commit {base_commit[:12]} of the base is newer than this release, or not in this repository."
        raise refuse("unknown-base", message, "Make a full bundle: without `--base`.")
    tags = tree.read("for-each-ref", "--merged=HEAD", "--format=%(refname)", "refs/tags").splitlines()
    refs = ["HEAD", f"refs/heads/{branch}", *tags, *([f"^{base_commit}"] if base_commit else [])]
    tree.run("-c", "pack.threads=1", "bundle", "create", "--quiet", file, *refs, timeout=NETWORK)
    return file


# Its wheels


class Wheels(msgspec.Struct, frozen=True):
    """The wheels of a release by their names in a bundle; `packed` are those that their index has lost."""

    paths: dict[str, Path]
    packages: tuple[BundledPackage, ...]
    packed: tuple[str, ...]
    requirements: str


def collect_wheels(site: Site, release: Release, project: Path, scratch: Path) -> Wheels:
    """Return a wheel of each package of a release; `project` is its code in a tree of its own.

    A package that had no wheel is packed as it was installed and tested. Raises BuildError and OSError.
    """
    text, installed = release.lock.read_text(encoding="utf-8"), list_installed(release.venv)
    entries = {(entry["name"], entry.get("version")): entry for entry in tomllib.loads(text).get("package", ())}
    paths, packages, packed, lines = dict[str, Path](), list[BundledPackage](), list[str](), list[str]()
    for package in read_lock(release.lock).packages:
        info, entry = find_info(release.venv, package.name), entries[package.name, package.version or None]
        is_local = package.name in list_local(release.venv)
        if info is None or (installed[package.name] != package.label and not is_local):
            continue  # another fork, platform or group
        locked = _choose_wheel(entry, info)
        if is_local:
            path = _build(site, release, project, package.source, scratch / package.name)
        else:
            path = scratch / (unquote(name_file(locked)) if locked else name_wheel(info))
            if locked is None or not _fetch(site, package.source, locked, path):
                packed += [f"{WHEELS}{path.name}"] if locked else []
                pack_installed(info, path, _note_commit(package.source, info, path.with_suffix(".json")))
        paths[f"{WHEELS}{path.name}"] = path
        version = path.name.split("-")[1]
        source = " ".join(filter(None, (package.source.place, package.source.commit)))
        packages.append(BundledPackage(package.name, version, source))
        lines.append(f"{package.name}=={version} --hash=sha256:{hash_member(path).sha256}\n")
    return Wheels(paths, tuple(packages), tuple(packed), "".join(lines))


def _note_commit(source: Source, info: Path, file: Path) -> dict[str, Path]:
    """Return what says of which commit a package of git is, as uv and PEP 610 have it: by that the lock knows it."""
    if not source.commit:
        return {}
    facts = {"url": source.place, "vcs_info": {"vcs": "git", "commit_id": source.commit}}
    file.write_bytes(msgspec.json.encode(facts))
    return {f"{info.name}/direct_url.json": file}


def _choose_wheel(entry: Mapping[str, Any], info: Path) -> Mapping[str, Any] | None:
    """Return the wheel of a lock that was installed, by its tags; None if none was."""
    tags = read_tags(info)
    for wheel in entry.get("wheels", ()):
        with contextlib.suppress(InvalidWheelFilename):
            if {str(tag) for tag in parse_wheel_filename(unquote(name_file(wheel)))[3]} == tags:
                return dict(wheel)
    return None


def _build(site: Site, release: Release, project: Path, source: Source, scratch: Path) -> Path:
    """Build a package of the project in the tree, or one that lies beside the repository in a copy."""
    top = Path(os.path.normpath(site.paths.project / source.location))
    place = Path(os.path.normpath(project / source.location))
    if not top.is_relative_to(site.paths.top):
        place = scratch / "copy"
        shutil.copytree(top, place, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv", "node_modules"))
    words = ("build", "--wheel", "--quiet", "--out-dir", scratch / "dist", "--python", find_python(release.venv), place)
    try:
        site.run_uv(*words, cwd=site.paths.project, mark="", variables=_EPOCH)  # whose relative indexes are there
    except ToolError as error:
        raise BuildError(f"`{source.location}` cannot be built: {error.message}", output=error.output) from error
    return next((scratch / "dist").glob("*.whl"))


def _fetch(site: Site, source: Source, wheel: Mapping[str, Any], target: Path) -> bool:
    """Put a wheel of the lock at a path; False if it is not where the lock has it. Raises BuildError and OSError."""
    url = urlsplit(str(wheel.get("url", "")))
    with target.open("wb") as file:
        if url.scheme in ("http", "https"):
            is_there = _download(site, url.geturl(), file)
        else:
            directory = site.paths.project / source.location
            path = Path(unquote(url.path)) if url.path else directory / str(wheel.get("path", ""))
            if is_there := path.is_file():
                file.write(path.read_bytes())
    expected = str(wheel.get("hash", "")).removeprefix("sha256:")
    if is_there and expected not in ("", hash_member(target).sha256):
        raise BuildError(f"`{target.name}` is another file than uv.lock has the hash of.", "See `releaser audit`.")
    return is_there


def _download(site: Site, url: str, file: BinaryIO) -> bool:
    import httpx  # takes 50 ms

    place, netrc = urlsplit(url), Path(os.environ.get("NETRC") or os.path.expanduser("~/.netrc"))
    try:
        auth = _find_credentials(site, place.scheme, place.netloc) or (
            httpx.NetRCAuth(str(netrc)) if netrc.is_file() else None
        )
        with httpx.stream("GET", url, auth=auth, follow_redirects=True, timeout=_TIMEOUT) as response:
            if response.status_code in _GONE:
                return False
            response.raise_for_status()
            for chunk in response.iter_bytes():
                check_signals()
                if file.write(chunk) and file.tell() > LARGEST:
                    raise httpx.TooManyRedirects("it is larger than a bundle")
    except (httpx.HTTPError, httpx.InvalidURL, NetrcParseError, ValueError) as error:
        message = f"A wheel cannot be fetched: {str(error).splitlines()[0] or type(error).__name__}."
        advice = "User and password of an index: `UV_INDEX_NAME_USERNAME` and `UV_INDEX_NAME_PASSWORD`, or ~/.netrc."
        raise BuildError(message, advice) from error
    return True


def _find_credentials(site: Site, scheme: str, host: str) -> tuple[str, str] | None:
    """Return user and password for a host, from the addresses of the indexes that uv is given, or its variables."""
    variables, texts = site.uv_variables, list[tuple[str, str]]()
    for path, keys in ((site.paths.pyproject, ("tool", "uv")), (site.paths.project / "uv.toml", ())):
        with contextlib.suppress(OSError, tomllib.TOMLDecodeError):
            table = get_table(tomllib.loads(path.read_text(encoding="utf-8")), *keys)
            texts += [(str(index.get("name", "")), str(index.get("url"))) for index in table.get("index", ())]
    for name in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL"):
        texts += _NAMED.findall(variables.get(name, ""))
    for name, url in texts:
        parts, prefix = urlsplit(url), "UV_INDEX_" + re.sub(r"\W|_", "_", name).upper()
        user = variables.get(f"{prefix}_USERNAME") or unquote(parts.username or "")
        password = variables.get(f"{prefix}_PASSWORD") or unquote(parts.password or "")
        if (parts.scheme, parts.netloc.rpartition("@")[2]) == (scheme, host) and (user or password):
            return user, password
    return None


def pack_tools(directory: Path) -> dict[str, Path]:
    """Pack releaser, what it needs, and uv, as they are installed here. Raises PreflightError and OSError."""
    paths = {}
    try:
        for name in sorted(_list_needed(_OWN, set())):
            files = metadata.files(name) or ()
            info = next(Path(str(file.locate())).parent for file in files if file.match("*.dist-info/METADATA"))
            top, own = Path(releaser.__file__).parent, dict[str, Path]()
            if name == _OWN:  # also where it is installed as editable
                sources = (path for path in sorted(top.rglob("*")) if path.is_file() and path.suffix != ".pyc")
                own = {str(path.relative_to(top.parent)): path for path in sources}
            path = directory / name_wheel(info)
            pack_installed(info, path, own)
            paths[f"{TOOLS}{path.name}"] = path
    except (metadata.PackageNotFoundError, StopIteration, csv.Error, FileNotFoundError) as error:
        message = f"releaser is not installed as a package, so it cannot go into a bundle: {error}."
        raise refuse("no-tools", message, "Install it: `pipx install venv-releaser`.") from error
    return paths


def _list_needed(name: str, known: set[str]) -> set[str]:
    """Return the names of a package and of all that it needs here; `known` gets them, too."""
    known.add(normalize_name(name))
    for line in metadata.requires(name) or ():
        needed = Requirement(line)
        is_needed = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if is_needed and normalize_name(needed.name) not in known:
            _list_needed(needed.name, known)
    return known
