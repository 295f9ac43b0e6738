"""Known vulnerabilities of packages, by `uv audit`, which is experimental: an answer in another form is no answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from packaging.version import Version

from releaser.errors import Problem, ToolError, explain_error
from releaser.packages.changes import name_bump, parse_version
from releaser.releases.release import PackageChange
from releaser.releases.venv import list_installed, list_local, list_sources
from releaser.site.site import Site
from releaser.system.process import failure
from releaser.system.run import Moment, now
from releaser.system.state import read_state
from releaser.system.text import clip, count, join_few

LIMIT = 10.0  # seconds
_SCHEMA = "preview"  # of uv 0.13
_LONGEST = 120  # characters of a summary
_WORDS = "audit --frozen --no-cache --output-format json --preview-features audit-command,json-output"
_PROJECT = 'name = "audited"\nversion = "0"\n'


class Advisory(msgspec.Struct, frozen=True):
    """A known vulnerability of an installed version. `fixes` are the versions of the package that fix it."""

    name: str
    version: str
    id: str
    aliases: tuple[str, ...] = ()
    summary: str = ""
    link: str = ""
    fixes: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """The package and the vulnerability, whichever version of the package has it."""
        return self.name, self.id

    @property
    def claim(self) -> str:
        """The beginning of the sentence, without the fixes: people who got it know of the vulnerability."""
        return f"{self.name} {self.version} has a known vulnerability, {self.id}:"

    @property
    def sentence(self) -> str:
        """The package, the vulnerability and what fixes it."""
        fixed = f"fixed in {', '.join(self.fixes)}" if self.fixes else "no version fixes it yet"
        summary = clip(" ".join(self.summary.split()), _LONGEST)
        return f"{self.claim} {'; '.join(filter(None, [*self.aliases, summary, self.link, fixed]))}."

    @property
    def label(self) -> str:
        """The name by which people know it: its CVE, or else its id."""
        return next((alias for alias in self.aliases if alias.startswith("CVE-")), self.id)

    @property
    def problem(self) -> Problem:
        """The vulnerability as a problem of a site."""
        advice = "Run `releaser update --only security`" if self.fixes else "Watch for a new version"
        return Problem("vulnerable", self.sentence, f"{advice}, or add {self.id} to `audit_ignore`.")


class Audit(msgspec.Struct, frozen=True):
    """The known vulnerabilities of packages, as the service answered at a time.

    `unknown` is the reason why it gave no complete answer, empty if it did; `unasked` are packages that no index has
    brought, of which it knows nothing.
    """

    at: Moment
    packages: Mapping[str, str]
    advisories: tuple[Advisory, ...] = ()
    unknown: str = ""
    unasked: tuple[str, ...] = ()

    @property
    def problems(self) -> list[Problem]:
        """Each vulnerability as a problem."""
        return [advisory.problem for advisory in self.advisories]

    @property
    def headline(self) -> str:
        """The result, in a sentence."""
        names = sorted({advisory.name for advisory in self.advisories})
        number = count(len(self.advisories), "known vulnerability", "known vulnerabilities")
        words = [f"{number} of {join_few(names)}."] if names else []
        if self.unknown:
            words.append(f"It is unknown whether packages have known vulnerabilities: {self.unknown}")
        elif self.unasked:
            words.append(f"Unknown: {join_few(self.unasked)}, which do not come from an index.")
        return " ".join(words) or f"No known vulnerabilities in {count(len(self.packages), 'package')}."


def audit_venv(site: Site, venv: Path, *, mark: str, versions: Mapping[str, str] = {}) -> Audit:
    """Return the known vulnerabilities of what a venv has, or would have with other versions of some packages."""
    sources = list_sources(venv)
    packages = {name: versions.get(name, version) for name, version in _list_packages(venv).items()}
    asked = {name: version for name, version in packages.items() if name not in sources and " " not in version}
    advisories, unknown = _ask(site, asked, mark=mark) if asked else ([], "")
    unasked = tuple(sorted(packages.keys() - asked.keys()))
    return Audit(now(), packages, _without_ignored(site, advisories), unknown, unasked)


def _list_packages(venv: Path) -> dict[str, str]:
    """Return the packages of a venv that are not the project's own, with their versions."""
    local = list_local(venv)
    return {name: version for name, version in list_installed(venv).items() if name not in local}


def _ask(site: Site, packages: Mapping[str, str], *, mark: str) -> tuple[list[Advisory], str]:
    """Return the vulnerabilities of packages, and the reason if the answer is not complete.

    The lock that uv reads has these packages alone: what is asked is what is installed, and private indexes are not.
    """
    needs = ", ".join(f'{{ name = "{name}" }}' for name in packages)
    lock = f'version = 1\nrequires-python = ">=3"\n[[package]]\n{_PROJECT}source = {{ virtual = "." }}\n'
    lock += f"dependencies = [{needs}]\n"
    for name, version in packages.items():
        lock += f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "." }}\n'
    # With a workspace of its own, uv reads no configuration above.
    pyproject = f'[project]\n{_PROJECT}requires-python = ">=3"\n[tool.uv.workspace]\n'
    words, variables = _WORDS.split(), {"UV_HTTP_RETRIES": "1"}
    try:
        with tempfile.TemporaryDirectory(prefix=site.paths.temporary_prefix) as place:
            Path(place, "pyproject.toml").write_text(pyproject, encoding="utf-8")
            Path(place, "uv.lock").write_text(lock, encoding="utf-8")
            finished = site.run_uv(*words, cwd=Path(place), mark=mark, check=False, variables=variables, timeout=LIMIT)
    except (ToolError, OSError) as error:
        return [], explain_error(error)
    if finished.status not in (0, 1):
        return [], f"{failure(finished).message.rstrip('.')}."
    return read_report(finished.stdout, packages)


def read_report(text: str, packages: Mapping[str, str]) -> tuple[list[Advisory], str]:
    """Return the vulnerabilities in an answer of uv, and the reason if it is not complete."""
    try:
        report = msgspec.json.decode(text)
        advisories = [_read_advisory(each) for each in report["vulnerabilities"]]
        number, version = report["summary"]["audited_packages"], report["schema"]["version"]
    except (msgspec.MsgspecError, AttributeError, KeyError, TypeError) as error:
        return [], f"`uv audit` answered in another form ({error})."
    if version != _SCHEMA:
        return advisories, f"`uv audit` answered in another form (version `{version}`)."
    is_complete = number == len(packages)
    return advisories, "" if is_complete else f"the service answered for {number} of {len(packages)} packages."


def _read_advisory(entry: Any) -> Advisory:
    """Return an entry of an answer of uv. Raises MsgspecError, KeyError and TypeError."""
    texts = {name: entry[name] or "" for name in ("id", "summary", "link")}
    fixes = sorted(filter(parse_version, entry["fix_versions"]), key=Version)
    return msgspec.convert({**entry["dependency"], **texts, "aliases": entry["aliases"], "fixes": fixes}, Advisory)


def read_audit(site: Site, venv: Path) -> Audit | None:
    """Return the last audit of the live release, with what it said of the versions that the venv still has.

    Of a venv with other packages, all else is unknown. None without one that can be read, and where `audit` is off.
    """
    audit = read_state(site.paths.audit, Audit)
    if audit is None or site.settings.versions.audit == "off":
        return None
    installed = _list_packages(venv)
    current = [each for each in audit.advisories if installed.get(each.name) == each.version]
    unknown = audit.unknown if installed == audit.packages else "the last audit was of other packages."
    return msgspec.structs.replace(audit, advisories=_without_ignored(site, current), unknown=unknown)


def _without_ignored(site: Site, advisories: Iterable[Advisory]) -> tuple[Advisory, ...]:
    """Return the vulnerabilities that settings do not ignore, by their id or an alias."""
    ignored = {name.lower() for name in site.settings.versions.audit_ignore}
    return tuple(each for each in advisories if not ignored & {name.lower() for name in (each.id, *each.aliases)})


def choose_fixes(advisories: Iterable[Advisory]) -> dict[str, str]:
    """Return the lowest newer version of each package that fixes all of its vulnerabilities that can be fixed."""
    newer: dict[str, list[list[Version]]] = {}
    for each in advisories:
        if versions := [Version(fix) for fix in each.fixes if name_bump(each.version, fix) != "other"]:
            newer.setdefault(each.name, []).append(versions)
    fixing = {
        name: [version for fixes in lists for version in fixes if all(_is_fixed(version, each) for each in lists)]
        for name, lists in newer.items()
    }
    return {name: str(min(versions)) for name, versions in fixing.items()}


def mark_fixes(changes: Sequence[PackageChange], audit: Audit) -> tuple[PackageChange, ...]:
    """Return changes of packages with the vulnerabilities in an audit of the release before that each fixes."""
    return tuple(msgspec.structs.replace(change, fixes=_list_fixes(change, audit)) for change in changes)


def _list_fixes(change: PackageChange, audit: Audit) -> tuple[str, ...]:
    version = parse_version(change.new or "")
    fixable = [each for each in audit.advisories if each.name == change.name and each.fixes and version is not None]
    fixed = [each.label for each in fixable if version and _is_fixed(version, [*map(Version, each.fixes)])]
    return tuple(dict.fromkeys(fixed))


def _is_fixed(version: Version, fixes: Iterable[Version]) -> bool:
    """Return True if a version is as new as all fixes, or as one of its own series, such as 4.2."""
    own = [fix for fix in fixes if fix.release[:2] == version.release[:2]]
    return version >= max(fixes) or any(version >= fix for fix in own)
