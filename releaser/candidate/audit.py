"""Known vulnerabilities of the live release and of candidates, from `uv audit`, and the blocks against their fixes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from releaser.candidate.audit_settings import OFF, AuditSettings
from releaser.errors import Finding, ToolError, error_line
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.locks.versions import is_older
from releaser.locks.vulnerabilities import Audit, AuditsSoFar, Vulnerability, fixed_by, parse_audit, unknown
from releaser.releases.journal import note, read_notes
from releaser.site.conventions import default_groups
from releaser.site.settings import NO_SERVICE
from releaser.system.environment import of_uv, settings_of_uv_in_force
from releaser.system.frozen import replace
from releaser.system.temporary import NETRC, temporary_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.core.gate import Case
    from releaser.core.run import Workspace
    from releaser.locks.blocks import Block
    from releaser.locks.changes import Change
    from releaser.releases.release import Release
    from releaser.report import Step
    from releaser.site.site import Site
    from releaser.system.process import Finished, Runner


#: The blocks that apply even to early fixes: for each, the reason in words, and the advice.
_STRONGER = {
    "person": ("it is on hold by you: {reason}", "Lift the hold: `releaser unhold {name}`; or {accept}."),
    "ignore": ("the setting `ignore` has it: {reason}", "Remove it from `ignore`; or {accept}."),
    "constraint": ("it is {reason}", "Change that line; or {accept}."),
    "tests": (
        "{reason}",
        "Fix the site or its tests for the newer version; releaser tries it again when the code changes.",
    ),
    "rollback": (
        "it was rolled back: {reason}",
        "See why it was rolled back in `releaser history`; `releaser update --force` includes it again.",
    ),
}
_STUCK = (
    "it cannot be installed, even as an early fix: it is too young, or a package it depends on is on hold or would"
    " have to be downgraded",
    "Run `uv lock --upgrade-package '{name}=={fix}'` in a development checkout, and commit the change if it is right;"
    " or {accept}.",
)
_ACCEPT = "accept the vulnerability: add its id to `audit_ignore`"


# The question; an error in it never fails a run


def audit(site: Site, uv: Path, lock: LockFile, *, group: str | None, python: str) -> Audit:
    """Audit the third-party packages of a lock that are installed for `group` and `python`, a version.

    `uv` is the executable. Raises nothing: after an error, the answer is unknown.
    """
    from msgspec import convert  # slow to import

    from releaser.locks.installed import list_installed
    from releaser.tools.osv import Service

    settings = AuditSettings.of(site)
    if not is_asked(site):
        return unknown(OFF if site.settings.vulnerability_service == NO_SERVICE else "this site asks no other service")
    service, limit, began = site.settings.vulnerability_service, settings.audit_timeout, time.monotonic()
    try:
        pins = list_installed(lock, group=group, default_groups=default_groups(site), python=python)
        if not pins:
            return Audit(known=True)
        with temporary_tree() as tree:
            write_stand_in(tree, pins, site.pyproject.table("tool", "uv"))
            with _hidden_credentials(service, site.state_dir, tree) as url:
                finished = run_audit(site.runner, uv, tree, service=url, timeout=limit)
            found = parse_audit(finished.stdout, packages=len(pins))
            if found.known:
                environ = site.runner.environ
                in_force = settings_of_uv_in_force(tree, environ)
                of_uv_itself = {name: value for setting in reversed(in_force) for name, value in setting.items()}
                left = max(1.0, limit - (time.monotonic() - began))
                reported = {vulnerability.name for vulnerability in found.vulnerabilities}
                ignored = {*settings.audit_ignore, *_ignored_by(site.pyproject.table("tool", "uv").get("audit"))}
                ignored |= {*_ignored_by(of_uv_itself.get("audit"))}
                asked = Service(url=service, environ=environ, settings=of_uv_itself, timeout=left)
                unreported = asked.find_unreported(pins, reported, ignored=ignored)
                more = convert(unreported, list[Vulnerability], from_attributes=True)
                found = replace(found, vulnerabilities=(*found.vulnerabilities, *more))
    except ToolError as error:
        late = f"no answer within {limit:g} s"
        return unknown(late if error.timed_out else site.redactor.clean(error.message))
    except OSError as error:
        return unknown(str(error))
    return found.without(settings.audit_ignore)


def audit_release(site: Site, uv: Path, release: Release) -> Audit:
    """Audit the packages of a release. Raises nothing."""
    try:
        lock = LockFile.read(release.lock)
    except (OSError, InvalidLockError) as error:
        return unknown(f"the lock of {release.id} cannot be read: {error}")
    return audit(site, uv, lock, group=release.manifest.group, python=release.manifest.python)


# `uv audit`, which asks a vulnerability service about the packages of a lock

FOUND = 1  # exit status of `uv audit`; see `run_audit`
_NAME, _NETRC = "releaser-stands-in", "netrc"
# uv's settings for the connection to the service, and for vulnerabilities.
_SETTINGS = ("system-certs", "native-tls", "allow-insecure-host", "http-proxy", "https-proxy", "no-proxy")
_AUDIT_SETTINGS = ("ignore", "ignore-until-fixed")


def audit_arguments(*, service: str | None) -> list[str]:
    """Return the arguments of a `uv audit` that prints JSON; `service` is a URL, or None for uv's default."""
    words = ["audit", "--frozen", "--preview-features", "audit-command,json-output", "--output-format", "json"]
    return words + (["--service-url", service] if service else [])


def _ignored_by(audit: object) -> Iterator[str]:
    """Yield the ids that uv's `[tool.uv.audit]` settings ignore."""
    lists = [audit.get(key) for key in _AUDIT_SETTINGS] if isinstance(audit, dict) else []
    yield from (str(argument) for found in lists if isinstance(found, list) for argument in found)


def write_stand_in(tree: Path, packages: Iterable[tuple[str, str]], uv_table: Mapping[str, Any]) -> None:
    """Write a project into the empty directory `tree` that depends on exactly these packages (name and version).

    `uv audit` would ask about all groups, extras and platforms of a lock, and about local packages, and would ask the
    index about each package (uv 0.13.8, seen). So this lock has only the packages in question, and its index is an
    empty directory. From `uv_table`, the project's `[tool.uv]`, only settings that affect the audit are copied. Raises
    OSError.
    """
    lines = ["[project]", f'name = "{_NAME}"', 'version = "0"', 'requires-python = ">=3.8"', "", "[tool.uv]"]
    lines += _plain(uv_table, _SETTINGS)
    lines += ["", "[tool.uv.workspace]", "members = []"]  # else uv may look at a project in a directory above
    audit = uv_table.get("audit")
    ignored = _plain(audit, _AUDIT_SETTINGS) if isinstance(audit, dict) else []
    lines += ["", "[tool.uv.audit]", *ignored] if ignored else []  # an older uv does not know this table
    (tree / "pyproject.toml").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (tree / "uv.lock").write_text(_lock_text(packages), encoding="utf-8")


def _lock_text(packages: Iterable[tuple[str, str]]) -> str:
    lines, names = ["version = 1", 'requires-python = ">=3.8"'], []
    for name, version in packages:
        pin = f"name = {json.dumps(name)}, version = {json.dumps(version)}"
        lines += ["", "[[package]]", *pin.split(", "), 'source = { registry = "." }']
        names.append(f'    {{ {pin}, source = {{ registry = "." }} }},')
    root = ["", "[[package]]", f'name = "{_NAME}"', 'version = "0"', 'source = { virtual = "." }']
    return "\n".join([*lines, *root, "dependencies = [", *names, "]", ""])


def _plain(table: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """Return settings as TOML lines: strings, booleans and lists of strings are written as in JSON."""
    return [f"{key} = {json.dumps(table[key])}" for key in keys if _is_plain(table.get(key))]


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) and item.isascii() for item in value)
    return isinstance(value, bool) or (isinstance(value, str) and value.isascii())


def run_audit(runner: Runner, executable: Path, tree: Path, *, service: str | None, timeout: float) -> Finished:
    """Run `uv audit` on the project in `tree`, within `timeout` seconds; credentials are in `tree / "netrc"`.

    Its exit status (uv 0.13.8, measured): 0 for no known vulnerabilities; 1 for some; 2 for no answer, because the
    service cannot be reached, returns a bad status or something else than OSV, or because this uv cannot audit. Raises
    ToolError for any status but 0 and 1, and on a timeout.
    """
    env = of_uv(runner.environ, tree)
    # uv would wait 30 s for each answer, and retry three times without one (uv 0.13.8: 11 s if refused).
    env |= {"UV_HTTP_TIMEOUT": str(max(1, int(timeout))), "UV_HTTP_RETRIES": "1"}
    env |= {"NETRC": str(tree / _NETRC)} if (tree / _NETRC).exists() else {}
    words: list[str | Path] = [executable, "--no-progress", "--color", "never", *audit_arguments(service=service)]
    finished = runner.run(words, cwd=tree, env=env, timeout=timeout, check=False, whole=True)
    if finished.returncode in (0, FOUND):
        return finished
    if "unrecognized subcommand 'audit'" in finished.stderr or "unexpected argument '--" in finished.stderr:
        message = "this uv is too old for it"
        raise ToolError(message, "Upgrade uv.", returncode=finished.returncode)
    reason = error_line(finished.output) or f"uv audit ended with status {finished.returncode}"
    raise ToolError(reason, output=finished.output, returncode=finished.returncode)


@contextlib.contextmanager
def _hidden_credentials(service: str | None, state_dir: Path, tree: Path) -> Iterator[str | None]:
    """Yield the URL without its credentials, and put these into a netrc file in `tree` meanwhile.

    Every user of the host can see the arguments of a program. uv reads the netrc file as soon as the service asks for
    credentials (uv 0.13.8, measured). It is a symlink to a file in the state directory, if that is writable: after a
    killed run, the next run deletes it. Raises OSError.
    """
    parts = urlsplit(service or "")
    userinfo, at, place = parts.netloc.rpartition("@")
    if not at:
        yield service
        return
    user, _, password = userinfo.partition(":")
    host = urlsplit(f"//{place}").hostname or ""
    login, secret = ('"' + re.sub(r'(["\\])', r"\\\1", unquote(text)) + '"' for text in (user, password))
    number, file = tempfile.mkstemp(*NETRC, state_dir if os.access(state_dir, os.W_OK | os.X_OK) else tree)
    try:
        with open(number, "w", encoding="utf-8") as netrc:
            netrc.write(f"machine {f'[{host}]' if ':' in host else host} login {login} password {secret}\n")
        (tree / _NETRC).symlink_to(file)
        yield parts._replace(netloc=place).geturl()
    finally:
        with contextlib.suppress(OSError):
            os.unlink(file)


# In an update


def audit_live(work: Workspace) -> Audit | None:
    """Audit the live release, once in a run; None without a live release, or without a service."""
    if work.live is None or not is_asked(work.site):
        return None
    if (known := AuditsSoFar.of(work.log).before) is not None:
        return known
    with work.log.step("audit") as step:
        found = audit_release(work.site, work.facts.uv.executable, work.live)
        work.log.add(replace(AuditsSoFar.of(work.log), before=found))
        _report(step, found)
    return found


def find_fixes(
    work: Workspace, lock: LockFile, changes: tuple[Change, ...], before: Audit | None
) -> tuple[Change, ...]:
    """Return the changes of a candidate, each with the vulnerabilities that it fixes, and report the audit.

    `before` is the audit of the live release.
    """
    if not is_asked(work.site):
        return changes
    if before is not None and not before.known:  # a service that does not answer need not be asked twice
        work.log.add(replace(AuditsSoFar.of(work.log), after=before))
        return changes
    after = audit_lock(work, lock)
    note_unfixed(work, work.log.learned.on_hold, before, after)
    if before is None:
        return changes
    fixed = fixed_by(before, after)
    changes = tuple(
        replace(each, fixes=tuple(vulnerability.id for vulnerability in fixed if vulnerability.name == each.name))
        for each in changes
    )
    work.log.learn(changes=changes)
    return changes


def audit_lock(work: Workspace, lock: LockFile) -> Audit:
    """Audit a lock that may go live, and report the answer."""
    facts = work.facts
    with work.log.step("audit candidate") as step:
        found = audit(work.site, facts.uv.executable, lock, group=facts.group, python=facts.choice.version)
        work.log.add(replace(AuditsSoFar.of(work.log), after=found))
        _report(step, found)
    return found


def is_asked(site: Site) -> bool:
    return site.settings.vulnerability_service != NO_SERVICE and site.supply.asks_others


def _report(step: Step, found: Audit) -> None:
    if not found.known:
        step.warns(f"unknown: {found.reason}")
        return
    count = len(found.vulnerabilities)
    step.says(f"{count or 'no'} known {'vulnerability' if count == 1 else 'vulnerabilities'}")


def look_for_fixes(case: Case) -> None:
    """Report, for a live release that stays, the fixes that are skipped; without skipped versions, nothing is asked."""
    if case.asks_others and (on_hold := case.log.learned.on_hold):
        note_unfixed(case.work, on_hold, audit_live(case.work))


def note_unfixed(work: Workspace, on_hold: Iterable[Block], before: Audit | None, after: Audit | None = None) -> None:
    """Report the vulnerabilities whose fixes are blocked by a rule that applies to fixes, too.

    `before` is the audit of the live release, `after` that of the candidate; without `after`, vulnerabilities that were
    reported earlier are skipped. A rule that exempts early fixes counts if such a fix could not be installed anyway.
    """
    site, found, only_new = work.site, after or before, after is None
    if found is None or not found.known:
        return
    is_early = AuditSettings.of(site).security_fixes == "early"
    held = {hold.name: hold for hold in on_hold if hold.by in _STRONGER or (is_early and hold.by in ("policy", "age"))}
    stuck = [
        vulnerability
        for vulnerability in found.vulnerabilities
        if vulnerability.name in held and _blocks_fix(held[vulnerability.name], vulnerability, before)
    ]
    known, keys = read_notes(site.state_dir).vulnerabilities, frozenset(map(_key, stuck))
    work.log.note(
        *[
            _problem(vulnerability, held[vulnerability.name])
            for vulnerability in stuck
            if not only_new or _key(vulnerability) not in known
        ]
    )
    note(site.state_dir, vulnerabilities=keys)


def _blocks_fix(held: Block, vulnerability: Vulnerability, before: Audit | None) -> bool:
    """True if a fix exists and is blocked; a rule that exempts fixes counts if the fix was known and available."""
    if vulnerability.fix is None or held.by in _STRONGER:
        return vulnerability.fix is not None
    return (
        before is not None
        and vulnerability.is_in(before.vulnerabilities)
        and not is_older(held.version, vulnerability.fix)
    )


def _problem(vulnerability: Vulnerability, held: Block) -> Finding:
    why, advice = _STRONGER.get(held.by, _STUCK)
    message = (
        f"{vulnerability.name} {vulnerability.version} has the known vulnerability {vulnerability.id};"
        f" {vulnerability.fix} fixes it, but {why.format(reason=held.reason)}"
    )
    return Finding(
        "vulnerable",
        message=message,
        advice=advice.format(name=vulnerability.name, fix=vulnerability.fix, accept=_ACCEPT),
    )


def _key(vulnerability: Vulnerability) -> str:
    return f"{vulnerability.name} {vulnerability.version} {vulnerability.id}"
