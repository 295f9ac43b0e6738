"""Finds unexpected changes of the indexes, hashes and publishers (PEP 740) of packages. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from releaser.system.frozen import Frozen, field
from releaser.system.sections import Facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from releaser.locks.installed import IndexFile
    from releaser.locks.lock import LockFile, Package


class Deviation(Frozen):
    """A package from another index than before, or a file with another hash, attestation or publisher."""

    name: str
    #: The version; for an index, all versions from there; for a file at a URL empty.
    version: str
    what: Literal["index", "hash", "attestation", "publisher"]
    old: str
    #: Empty if a file no longer has a hash, or an attestation.
    new: str
    #: The file that differs, or its URL if that is the source; empty if the index differs.
    file: str = ""
    #: Why an attestation does not count.
    why: str = field(default="", compare=False)
    #: Since when it waits for `releaser accept`, as ISO 8601; empty before that.
    since: str = field(default="", compare=False)

    def __str__(self) -> str:
        """Describe it for people."""
        if self.what == "index":
            return f"{self.name} {self.version} now comes from {self.new} (before: {self.old})"
        if self.what == "publisher":
            return f"{self.name} {self.version} is now published by {self.new} (before: {self.old})"
        shown = " ".join(filter(None, (self.file, "of", self.name, self.version)))
        if self.what == "attestation":
            lost = f"no longer has an attestation; it was published by {self.old} before"
            return f"{shown} {f'has an attestation that does not verify: {self.why}' if self.new else lost}"
        if not self.new:
            return f"{shown} no longer has a hash, so it may be a different file; it had {self.old}"
        return f"{shown} is a different file now: {self.new} instead of {self.old}"


def find_deviations(
    before: LockFile, after: LockFile, *, files_before: Mapping[str, str], files: Mapping[str, str]
) -> tuple[Deviation, ...]:
    """Return the deviations of a lock from the lock before, by name.

    `files` are the hashes of files for which the locks have none, by the keys of `unhashed_files`.
    """
    unhashed, is_same, hashes = unhashed_files(after).keys() - files.keys(), before.data == after.data, hashes_in(after)
    found = {key: value for key, value in {**hashes, **files}.items() if key not in unhashed}
    indexes = () if is_same else _other_indexes(before, after)
    known = hashes if is_same else hashes_in(before)
    return (*sorted(indexes, key=lambda index: index.name), *_other_hashes({**known, **files_before}, found))


def _other_indexes(before: LockFile, after: LockFile) -> Iterator[Deviation]:
    known: dict[str, set[str]] = {}
    for package in before.packages:
        known.setdefault(package["name"], set()).add(_origin(package))
    mirrored = _mirrors(before, after)
    indexed = {old_package["name"] for old_package in before.packages if "registry" in old_package.get("source", {})}
    for package in after.packages:
        old, new = known.get(package["name"], set()), _origin(package)
        is_of_index = "registry" in package["source"] or package["name"] in indexed
        if new and old and "" not in old and new not in old and is_of_index and not old <= mirrored.get(new, set()):
            shown, old_indexes = package.get("version", ""), ", ".join(sorted(old))
            yield Deviation(name=package["name"], version=shown, what="index", old=old_indexes, new=new)


def _mirrors(before: LockFile, after: LockFile) -> dict[str, set[str]]:
    """Return the configured mirrors: each new index, with the indexes that it has replaced.

    No package came from the new index before, none comes from the replaced indexes now, and files of the same versions
    have the same hashes.
    """
    places = [{_origin(package) for package in lock.packages} for lock in (before, after)]
    before_files, after_files = (
        {(package["name"], package.get("version")): package for package in lock.packages} for lock in (before, after)
    )
    known, found = hashes_in(before), hashes_in(after)
    mirrors: dict[str, set[str]] = {}
    for key in before_files.keys() & after_files.keys():
        old, new = _origin(before_files[key]), _origin(after_files[key])
        if old == new or old in places[1] or new in places[0]:
            continue
        of_both = (file_key for file_key in known.keys() & found.keys() if file_key.startswith("{} {} ".format(*key)))
        if any(known[file_key] == found[file_key] != "" for file_key in of_both):
            mirrors.setdefault(new, set()).add(old)
    return mirrors


def _origin(package: Package) -> str:
    """Return the source of a package, without credentials; empty for a part of the checkout."""
    source = package.get("source", {})
    place = str(next((source[key] for key in ("registry", "url", "git", "path") if key in source), ""))
    if "://" not in place:
        return place
    parts = urlsplit(place)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")


def _other_hashes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Deviation]:
    for key in sorted(before.keys() & after.keys()):
        old, new = before[key], after[key]
        if old and old != new:  # also for another algorithm, or none: the server of the file chooses it
            name, version, file = key.split(" ", 2)
            yield Deviation(name=name, version=version, what="hash", old=old, new=new, file=file)


def hashes_in(lock: LockFile) -> dict[str, str]:
    """Return the hashes of the files from indexes and URLs, by name, version and file; empty for a file without one.

    A URL stands for one file, whatever its version.
    """
    return {
        _key(package, entry): str(entry.get("hash") or "")
        for package, entry in lock.files
        if not {"registry", "url"}.isdisjoint(package.get("source", ()))
    }


def unhashed_files(lock: LockFile) -> dict[str, str]:
    """Return the files in directories that serve as an index, for which a lock has no hashes.

    The paths are relative to the project or absolute, by name, version and file.
    """
    return {
        _key(package, entry): f"{registry}/{entry['path']}"
        for package, entry in lock.files
        if "://" not in (registry := str(package.get("source", {}).get("registry", "://")))
        and isinstance(entry.get("path"), str)
        and "hash" not in entry
    }


def _key(package: Package, entry: Mapping[str, Any]) -> str:
    if "url" in package["source"]:
        return f"{package['name']}  {_origin(package)}"
    place = str(next((entry[key] for key in ("filename", "url", "path") if key in entry), ""))
    file = unquote(place.partition("#")[0].partition("?")[0].rpartition("/")[2])
    return f"{package['name']} {package.get('version', '')} {file}"


def without_wheels_now(before: LockFile, after: LockFile) -> tuple[tuple[str, str, str], ...]:
    """Return the packages that had wheels and now have only a source, with the versions before and now."""
    with_wheels = {package["name"] for package in before.packages if package.get("wheels")}
    return tuple(
        (package["name"], before.versions[package["name"]], package.get("version", ""))
        for package in after.packages
        if package["name"] in with_wheels and "sdist" in package and not package.get("wheels")
    )


class Publisher(Frozen):
    """The publisher of a file, such as a workflow of a repository on GitHub."""

    #: The kind, such as `GitHub` or `GitLab`.
    kind: str
    #: The repository or, for publishers without one, an email address or the id of a project.
    repository: str
    workflow: str

    def __str__(self) -> str:
        """Describe it for people."""
        return f"{self.repository} ({', '.join(filter(None, (self.kind, self.workflow)))})"

    def is_same(self, other: Publisher) -> bool:
        """True if the repository is the same; workflows are often renamed."""
        return (self.kind, self.repository.casefold()) == (other.kind, other.repository.casefold())


class OriginFacts(Facts):
    """The origins of the packages of a release."""

    #: The hashes of files from directories, which its lock does not have, and a quick look that shows changes.
    files: Mapping[str, str] = field(default_factory=dict)
    #: Who published packages, by name, as attestations that were verified say.
    publishers: Mapping[str, Publisher] = field(default_factory=dict)


class Answer(Frozen):
    """The answer about a file: `none` without an attestation, `invalid` if none of its attestations verifies."""

    state: Literal["verified", "none", "invalid", "unknown"]
    publisher: Publisher | None = None
    reason: str = ""


class Judgement(Frozen):
    """The result of the questions about some files."""

    #: The known publishers, by package.
    publishers: Mapping[str, Publisher]
    #: Deviations that a person must accept: attestations that do not verify, and other publishers than before.
    deviations: tuple[Deviation, ...]
    #: Files without an attestation, of packages that had one.
    lost: tuple[Deviation, ...]
    #: The files without an answer, each with the reason.
    unknown: Mapping[IndexFile, str]


def judge(known: Mapping[str, Publisher], answers: Iterable[tuple[IndexFile, Answer]]) -> Judgement:
    """Compare the answers of indexes about files with the `known` publishers of their packages."""
    found = dict(known)
    unknown: dict[IndexFile, str] = {}
    deviations, lost = list[Deviation](), list[Deviation]()
    ordered = sorted(answers, key=lambda pair: (pair[1].state != "verified", pair[0]))
    for one, answer in ordered:
        before, now = found.get(one.name), answer.publisher
        # Another attested file of the release does not show that this file ever was.
        old, by = str(known.get(one.name, "")), answer.reason
        if now is not None and before is not None and not now.is_same(before):
            is_by = Deviation(name=one.name, version=one.version, what="publisher", old=str(before), new=str(now))
            deviations.append(is_by)
        if now is not None:
            found[one.name] = now
        elif answer.state == "unknown":
            unknown[one] = answer.reason
        elif answer.state == "invalid" or old:
            new = f"sha256:{one.sha256}" if answer.state == "invalid" else ""
            (deviations if new else lost).append(
                Deviation(
                    name=one.name, version=one.version, what="attestation", old=old, new=new, file=one.file, why=by
                )
            )
    return Judgement(
        publishers={name: found[name] for name in {one.name for one, _ in ordered} if name in found},
        deviations=tuple(dict.fromkeys(deviations)),
        lost=tuple(lost),
        unknown=unknown,
    )
