"""Makes a bundle of a release."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from releaser.bundles.bundle import (
    BUILT,
    CODE,
    LOCK,
    MAIN,
    REQUIREMENTS,
    Bundle,
    Manifest,
    hash_member,
    is_bundle,
    name_platform,
    open_bundle,
    write_bundle,
)
from releaser.bundles.signature import sign
from releaser.bundles.wheels import collect_wheels, pack_tools
from releaser.checkout.products import copy_product
from releaser.checkout.repository import NETWORK, Repository, open_repository
from releaser.checkout.tree import make_tree
from releaser.errors import refuse
from releaser.releases.release import Release, list_products
from releaser.releases.store import Store
from releaser.releases.verify import find_damage
from releaser.site.site import Site
from releaser.system.files import measure, replace_file
from releaser.system.space import require_room
from releaser.system.text import join_few, word


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
        manifest, members = _collect(site, release, repository, before, Path(place))
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
    site: Site, release: Release, repository: Repository, base: Bundle | None, place: Path
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
    if base is None:
        members |= pack_tools(place) | {MAIN: Path(__file__).with_name("main.py")}
    facts = {name: hash_member(path) for name, path in members.items()}
    known = base.manifest.members if base else {}
    omitted = [name for name, member in facts.items() if known.get(name) == member]
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
        omitted=tuple(sorted(omitted)),
        packed=wheels.packed,
        override=release.manifest.overrides,
    )
    return manifest, {name: path for name, path in members.items() if name not in omitted}


def _bundle_code(tree: Repository, branch: str, base_commit: str | None, file: Path) -> Path:
    """Write HEAD, the branch and the tags before it into a bundle of git; those commits alone that a base has not."""
    if base_commit and (not tree.resolve(base_commit) or tree.is_ancestor(tree.head(), base_commit)):
        message = f"Commit {base_commit[:12]} of the base is newer than this release, or not in this repository."
        raise refuse("unknown-base", message, "Make a full bundle: without `--base`.")
    tags = tree.read("for-each-ref", "--merged=HEAD", "--format=%(refname)", "refs/tags").splitlines()
    refs = ["HEAD", f"refs/heads/{branch}", *tags, *([f"^{base_commit}"] if base_commit else [])]
    tree.run("-c", "pack.threads=1", "bundle", "create", "--quiet", file, *refs, timeout=NETWORK)
    return file
