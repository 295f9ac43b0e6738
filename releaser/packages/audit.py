"""Known vulnerabilities of packages, by `uv audit`, which is experimental: an answer in another form is no answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from packaging.version import Version

from releaser.errors import Problem, ToolError, explain_error
from releaser.packages.changes import parse_version
from releaser.releases.venv import list_installed, list_sources
from releaser.site.site import Site
from releaser.system.process import failure
from releaser.system.run import Moment, now
from releaser.system.state import read_state
from releaser.system.text import clip, count, escape, join_few

LIMIT = 10.0  # seconds
_SCHEMA = "preview"  # of uv 0.13
_LONGEST = 120  # characters of a summary


class Advisory(msgspec.Struct, frozen=True):
    """A known vulnerability of an installed version. `fixes` are the versions of the package that fix it.

    uv 0.13 tells no severity: it is empty then.
    """

    name: str
    version: str
    id: str
    aliases: tuple[str, ...] = ()
    severity: str = ""
    summary: str = ""
    link: str = ""
    fixes: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """The package and the vulnerability, whichever version of the package has it."""
        return self.name, self.id

    @property
    def ids(self) -> frozenset[str]:
        """The names of the vulnerability, in lower case."""
        return frozenset(name.lower() for name in (self.id, *self.aliases))

    @property
    def claims(self) -> tuple[str, ...]:
        """How the sentence begins, by which people have heard of it, whatever is known beside."""
        return tuple(f"{self.name} {self.version} has a known vulnerability, {self.id}{end}" for end in ",:.")

    @property
    def sentence(self) -> str:
        """The package, the vulnerability and what fixes it."""
        severity = [f"severity {self.severity.lower()}"] if self.severity else []
        names = ", ".join([self.id, *self.aliases, *severity])
        summary = f": {clip(' '.join(self.summary.split()), _LONGEST).rstrip('.')}" if self.summary else ""
        link = f", see {self.link}" if self.link else ""
        fixed = f"Fixed in {', '.join(self.fixes)}." if self.fixes else "No version fixes it yet."
        return f"{self.name} {self.version} has a known vulnerability, {names}{summary}{link}. {fixed}"

    @property
    def problem(self) -> Problem:
        """The vulnerability as a problem of a site."""
        advice = (
            "Run `releaser update --only security`"
            if self.fixes
            else f"Watch for a new version: `releaser outdated {self.name}`"
        )
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
            words.append(f"Unknown: {join_few(self.unasked)}, which no index has brought.")
        return " ".join(words) or f"No known vulnerabilities in {count(len(self.packages), 'package')}."


class _Dependency(msgspec.Struct):
    name: str
    version: str


class _Vulnerability(msgspec.Struct):
    dependency: _Dependency
    id: str
    aliases: list[str] = []
    severity: str | None = None
    summary: str | None = None
    link: str | None = None
    fix_versions: list[str] = []


class _Schema(msgspec.Struct):
    version: str


class _Summary(msgspec.Struct):
    audited_packages: int
    vulnerabilities: int


class _Report(msgspec.Struct):
    schema: _Schema
    summary: _Summary
    vulnerabilities: list[_Vulnerability]


def audit_venv(site: Site, venv: Path, *, mark: str, versions: Mapping[str, str] = {}) -> Audit:
    """Return the known vulnerabilities of what a venv has, or would have with other versions of some packages."""
    sources, installed = list_sources(venv), list_installed(venv)
    local = {name for name, url in sources.items() if url.startswith("file:")}
    packages = {name: versions.get(name, version) for name, version in installed.items() if name not in local}
    asked = {name: version for name, version in packages.items() if name not in sources and " " not in version}
    advisories, unknown = _ask(site, asked, mark=mark) if asked else ([], "")
    counted = (each for each in advisories if not _list_ignored(site) & each.ids)
    return Audit(now(), packages, tuple(counted), unknown, tuple(sorted(packages.keys() - asked.keys())))


def _ask(site: Site, packages: Mapping[str, str], *, mark: str) -> tuple[list[Advisory], str]:
    """Return the vulnerabilities of packages, and the reason if the answer is not complete.

    The lock that uv reads has these packages alone: what is asked is what is installed, and private indexes are not.
    """
    names = ", ".join(f'{{ name = "{name}" }}' for name in packages)
    head = 'name = "audited"\nversion = "0"\n'
    lock = f'version = 1\nrequires-python = ">=3"\n[[package]]\n{head}'
    lock += f'source = {{ virtual = "." }}\ndependencies = [{names}]\n'
    for name, version in packages.items():
        lock += f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "." }}\n'
    words = ("audit", "--frozen", "--output-format", "json", "--preview-features", "audit-command,json-output")
    # With a workspace of its own, uv reads no configuration above.
    pyproject = f'[project]\n{head}requires-python = ">=3"\n[tool.uv.workspace]\n'
    variables = {"UV_HTTP_RETRIES": "1"}
    try:
        with tempfile.TemporaryDirectory(prefix=site.paths.temporary_prefix) as place:
            Path(place, "pyproject.toml").write_text(pyproject, encoding="utf-8")
            Path(place, "uv.lock").write_text(lock, encoding="utf-8")
            fresh = msgspec.structs.replace(site, uv_cache=Path(place, "cache"))  # uv would keep what was withdrawn
            finished = fresh.run_uv(*words, cwd=Path(place), mark=mark, check=False, variables=variables, timeout=LIMIT)
    except (ToolError, OSError) as error:
        return [], explain_error(error)
    if finished.status < 0:
        return [], f"no answer came within {LIMIT:g} s."
    if finished.status > 1:
        return [], f"the service of advisories did not answer ({failure(finished).message})."
    return read_report(finished.stdout, packages)


def read_report(text: str, packages: Mapping[str, str]) -> tuple[list[Advisory], str]:
    """Return the vulnerabilities in an answer of uv, and the reason if it is not complete."""
    try:
        report = msgspec.json.decode(text, type=_Report)
    except msgspec.MsgspecError as error:
        return [], f"`uv audit` answered in another form ({error})."
    advisories = [
        Advisory(
            each.dependency.name,
            each.dependency.version,
            escape(each.id),
            tuple(each.aliases),
            each.severity or "",
            each.summary or "",
            each.link or "",
            tuple(sorted(filter(parse_version, each.fix_versions), key=Version)),
        )
        for each in report.vulnerabilities
    ]
    if report.schema.version != _SCHEMA or report.summary.vulnerabilities != len(advisories):
        return advisories, f"`uv audit` answered in another form (version `{report.schema.version}`)."
    if any(packages.get(each.name) != each.version for each in advisories):
        return advisories, "`uv audit` answered for other packages."
    if report.summary.audited_packages != len(packages):
        number = f"{report.summary.audited_packages} of {count(len(packages), 'package')}"
        return advisories, f"the service answered for {number}."
    return advisories, ""


def read_audit(site: Site) -> Audit | None:
    """Return the last audit of the live release; None without one that can be read."""
    return read_state(site.paths.audit, Audit)


def list_current(site: Site, venv: Path, audit: Audit | None) -> list[Advisory]:
    """Return what an earlier audit has said of the versions that a venv still has, but for what settings ignore."""
    installed, ignored = list_installed(venv), _list_ignored(site)
    advisories = audit.advisories if audit and site.settings.versions.audit != "off" else ()
    return [each for each in advisories if installed.get(each.name) == each.version and not ignored & each.ids]


def _list_ignored(site: Site) -> frozenset[str]:
    return frozenset(name.lower() for name in site.settings.versions.audit_ignore)


def choose_fixes(advisories: Iterable[Advisory]) -> dict[str, str]:
    """Return the lowest newer version of each package that fixes all of its vulnerabilities that can be fixed."""
    fixes: dict[str, str] = {}
    by_name: dict[str, list[Sequence[Version]]] = {}
    for each in advisories:
        live = parse_version(each.version)
        newer = [version for label in each.fixes if (version := parse_version(label)) and live and version > live]
        by_name.setdefault(each.name, []).extend([newer] if newer else [])
    for name, lists in by_name.items():
        candidates = sorted({version for newer in lists for version in newer})
        fixing = (version for version in candidates if all(_is_fixed(version, newer) for newer in lists))
        if (lowest := next(fixing, None)) is not None:
            fixes[name] = str(lowest)
    return fixes


def _is_fixed(version: Version, fixes: Sequence[Version]) -> bool:
    """Return True if a version is fixed: it is as new as all fixes, or as one of its own series, such as 4.2."""
    own = [fix for fix in fixes if fix.release[:2] == version.release[:2]]
    return version >= max(fixes) or any(version >= fix for fix in own)
