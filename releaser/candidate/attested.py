"""The publishers of the packages that a candidate changes: their attestations are verified before the build."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.candidate.attestation_settings import AttestationSettings
from releaser.errors import Finding, ResolutionError, ToolError, error_line
from releaser.locks.origins import Answer, Judgement, OriginFacts, Publisher, judge
from releaser.releases.acceptance import refuse_unaccepted
from releaser.releases.release import lock_of
from releaser.site.conventions import default_groups
from releaser.system.environment import how_to_add
from releaser.system.files import read_file
from releaser.system.temporary import temporary_directory
from releaser.system.words import first_few, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.core.run import Workspace
    from releaser.locks.installed import IndexFile
    from releaser.locks.lock import LockFile
    from releaser.report import Step
    from releaser.site.site import Site

_SECONDS = 120.0  # for all questions of a candidate
_LIBRARIES = ("pypi_attestations", "sigstore")
_NOT_INSTALLED = '`attestations = "require"`: the packages that verify them are not installed with releaser'
_HOLD = "Check the cause. `releaser hold {}` keeps the live version until then."
_INSTALL = f"To install them, {how_to_add('attestations')}; or change `attestations`."
_REINSTALL = f"To repair that, {how_to_add('attestations', again=True)}."


def attestation_findings(site: Site) -> Iterator[Finding]:
    """Yield the problems that prevent the verification of attestations."""
    wanted = AttestationSettings.of(site).attestations
    if wanted == "off" or not _can_verify():
        if wanted == "require":
            yield Finding("attestations-not-installed", _NOT_INSTALLED, _INSTALL)
        return
    if root := _root(site):
        try:
            content = json.loads(read_file(root))
            if "sigstore.trustedroot" not in str(isinstance(content, dict) and content.get("mediaType")):
                message = "its mediaType is not that of a trust root"
                raise ValueError(message)
        except (OSError, ValueError, RecursionError) as error:
            message = f"`attestations_root` {root} cannot be used: {error}"
            yield Finding(
                "attestations-root-invalid",
                message,
                "It must be a trusted_root.json of Sigstore; or remove the setting.",
            )


def verify_attestations(work: Workspace, lock: LockFile) -> Mapping[str, Publisher]:
    """Verify the publishers of the packages that a lock changes; return all known publishers, by package.

    Raises DeviationError if a publisher changed or an attestation does not verify, unless a person accepted that. With
    `attestations = "require"`, a lost attestation does so, too; without the libraries, or without an answer about a
    publisher that was known before, it raises ResolutionError.
    """
    site, live = work.site, lock_of(work.live)
    publishers: Mapping[str, Publisher] = OriginFacts.of(work.live and work.live.manifest).publishers
    known = {name: one for name, one in publishers.items() if name in lock.names}
    wanted = AttestationSettings.of(site).attestations
    is_off = wanted == "off" or not (site.supply.goes_live and site.supply.asks_others)
    if is_off or not (asked := _changed_files(work, live, lock)):
        return known
    if not _can_verify():
        if wanted == "require":
            raise ResolutionError(_NOT_INSTALLED, _INSTALL)
        return known
    with work.log.step("attestations") as step:
        strange = {deviation.name for deviation in asked} - known.keys()
        earlier = [file for file in _files(work, live) if file.name in strange]
        answers = _ask(work, [*asked, *earlier])
        # Attestations of the live packages may not have been verified yet.
        known |= judge({}, [(key, answers[key]) for key in earlier if answers[key].state == "verified"]).publishers
        found = judge(known, [(deviation, answers[deviation]) for deviation in asked])
        accepted = refuse_unaccepted(site.state_dir, found.deviations + (found.lost if wanted == "require" else ()))
        _report(work, step, found, known, {deviation: answers[deviation] for deviation in asked})
        findings = (
            []
            if wanted == "require"
            else [Finding("attestation-lost", str(deviation), _HOLD.format(deviation.name)) for deviation in found.lost]
        )
        # Several candidates of a run may have lost the same attestation.
        work.log.note(*(finding for finding in findings if finding not in work.log.findings))
    gone = {deviation.name for deviation in accepted if deviation.what == "attestation" and not deviation.new}
    return {name: one for name, one in {**known, **found.publishers}.items() if name not in gone}


def _report(
    work: Workspace,
    step: Step,
    found: Judgement,
    known: Mapping[str, Publisher],
    answers: Mapping[IndexFile, Answer],
) -> None:
    """Report the answers. With "require", raises ResolutionError without an answer about a known publisher."""
    attested = {one.name for one, answer in answers.items() if answer.state == "verified"}
    summary = f"{len(attested)} of {plural(len({answer.name for answer in answers}), 'package')} attested"
    if not found.unknown:
        step.says(summary)
        return
    packages = first_few(dict.fromkeys(f"{answer.name} {answer.version}" for answer in found.unknown))
    reason = next(iter(found.unknown.values()))
    step.warns(f"{summary}; unknown: {packages}: {reason}")
    if AttestationSettings.of(work.site).attestations != "require":
        return
    message = f"the publisher of {packages} could not be determined: {reason}"
    if any(answer.name in known for answer in found.unknown):
        from releaser.tools.certificates import certificate_advice

        advice = certificate_advice(reason) or "Check the network and the index; releaser tries again at the next run."
        raise ResolutionError(message, f'{advice} To install it anyway, set `attestations = "warn"`.')
    work.log.note(
        Finding("publisher-unknown", message, "Check the network and the index. No publisher of it was known before.")
    )


def _changed_files(work: Workspace, before: LockFile, after: LockFile) -> list[IndexFile]:
    """Return the installable files of `after` that `before` does not lock; empty if `before` is empty."""
    if not before.data:
        return []
    digests = {entry.get("hash") for _, entry in before.files}
    return [file for file in _files(work, after) if f"sha256:{file.sha256}" not in digests]


def _files(work: Workspace, lock: LockFile) -> tuple[IndexFile, ...]:
    from packaging.utils import canonicalize_name

    from releaser.candidate.build_limits import packages_built_from_source
    from releaser.locks.installed import index_files

    site, facts, others = work.site, work.facts, default_groups(work.site)
    groups = others if others is None else (*others, *site.settings.test_groups)
    built = {canonicalize_name(name) for name in packages_built_from_source(site, lock)}
    return index_files(lock, group=facts.group, default_groups=groups, python=facts.choice.version, built=built)


def _can_verify() -> bool:
    return all(importlib.util.find_spec(name) for name in _LIBRARIES)


def _root(site: Site) -> Path | None:
    named = AttestationSettings.of(site).attestations_root
    return Path(os.path.abspath(site.project.checkout / Path(named).expanduser())) if named else None


def _ask(work: Workspace, files: Iterable[IndexFile]) -> dict[IndexFile, Answer]:
    """Ask the indexes about files, once in a run for each file. Raises nothing: without an answer, it is `unknown`."""
    from msgspec import ValidationError, convert, to_builtins

    wanted, remembered = list(dict.fromkeys(files)), work.site.runner.remembered
    new = [file_key for file_key in wanted if ("attestation", *file_key) not in remembered]
    found = dict.fromkeys(wanted, Answer(state="unknown"))
    try:
        answers = convert(json.loads(_run_probe(work.site, new)) if new else [], list[Answer])
        found |= zip(new, answers, strict=True)
    except (ToolError, OSError, ValueError, ValidationError) as error:
        reason = getattr(error, "message", str(error))
        if isinstance(error, ToolError) and error.timed_out:
            reason = f"no answer within {_SECONDS:g} s"
        elif isinstance(error, ToolError):
            reason = error_line(error.output) or reason
            is_broken = Finding("attestations-unverified", f"attestations are not verified: {reason}", _REINSTALL)
            work.log.note(*({is_broken} - {*work.log.findings}))
        found |= dict.fromkeys(new, Answer(state="unknown", reason=reason))
    for key in new:  # unknown answers, too: another question may wait as long
        remembered["attestation", *key] = json.dumps(to_builtins(found[key]))
    return found | {
        file_key: convert(json.loads(remembered["attestation", *file_key]), Answer)
        for file_key in wanted
        if file_key not in new
    }


def _run_probe(site: Site, files: Iterable[IndexFile]) -> str:
    """Ask and verify in a separate process. Raises ToolError and OSError."""
    from releaser.tools import attestation_probe  # slow to import, and needed only here

    root = _root(site)
    questions = [[file.registry, file.name, file.file, file.sha256] for file in files]
    asked = json.dumps({"root": str(root or ""), "questions": questions}).encode()
    with temporary_directory() as place:
        own = {"XDG_CACHE_HOME": str(place), "XDG_DATA_HOME": str(place)}  # where Sigstore keeps its root
        words, env = [sys.executable, "-P", attestation_probe.__file__], {**site.runner.neutral, **own}
        return site.runner.run(words, cwd=place, timeout=_SECONDS, env=env, input=asked, whole=True).stdout
