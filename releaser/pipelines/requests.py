"""Carries out the requests from the page of `releaser serve`: each is a run, as if the person had typed the command."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from releaser.core.due import find_delay
from releaser.core.request import RequestedSection, RequestKind, Wanted, find_flaw, request_kinds
from releaser.errors import ExitCode, ReleaserError, os_reason, reason_of, refuse, refuse_any
from releaser.pipelines.session import Request
from releaser.releases.requests import (
    OLDEST,
    REQUESTS,
    Requests,
    TakenRequest,
    TakenRequests,
    Waiting,
    decode,
    find_unsafe,
    read_taken,
)
from releaser.report import Plan
from releaser.site import run_lock
from releaser.site.ownership import Ownership, name_of
from releaser.site.request_settings import request_directory
from releaser.site.site import find_site
from releaser.system.file_lock import LockTimeoutError, locked
from releaser.system.files import write_state
from releaser.system.frozen import Frozen, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.report import RunReport
    from releaser.site.site import Site

logger = logging.getLogger(__name__)

_AT_ONCE = 20  # requests of one run; the others wait for the next
_SOON = 0.5  # seconds until the next look whether another run has ended
_WAIT = 7200.0  # seconds for the project lock: a request that was taken is gone


class Taken(Frozen):
    """A request that was taken, and the report of its run; None if no run began."""

    request: TakenRequest
    report: RunReport | None = None


def carry_out_requests(request: Request) -> tuple[Taken, ...]:
    """Carry out the requests that wait for a site, oldest first, and return them with their reports.

    Takes none while another run is in progress, whose end it awaits as long as `request` says. Raises PreflightError if
    the directory is unsafe, or for another user than the owner, and OSError.
    """
    site = find_site(request.path, request.environ)
    directory = request_directory(site)
    if directory is None or not site.project.releases.is_dir():
        return ()
    owner = Ownership.of(site.project.checkout).owner
    if owner != os.geteuid():
        name = name_of(owner) or f"uid {owner}"
        message = f"only {name}, the owner of {site.project.checkout}, carries out requests"
        refuse("requests-of-owner", message, f"Run `sudo -u {name} releaser run-requests`.")
    refuse_any(find_unsafe(directory, owner))
    found: list[Taken] = []
    with _alone(site, request.wait) as is_alone, Requests(directory) as place:
        for one, wanted in _each_readable(place, site, found) if is_alone else ():
            if not _take(place, one):
                continue
            taken = _carry_out(request, site, one, wanted, found[-1].request.what if found else "")
            found.append(taken)
            is_interrupted = taken.report is not None and taken.report.exit_code >= ExitCode.SIGNALLED
            if is_interrupted or len(found) == _AT_ONCE:
                break
    return tuple(found)


def _each_readable(place: Requests, site: Site, found: list[Taken]) -> Iterator[tuple[Waiting, Wanted | None]]:
    """Yield as `_each` does. An error after the first request keeps only the others waiting, and drops no report."""
    try:
        yield from _each(place, site, found)
    except OSError as error:
        if not found:
            raise
        logger.warning("the other requests cannot be read, so they wait: %s", os_reason(error))


def _each(place: Requests, site: Site, found: list[Taken]) -> Iterator[tuple[Waiting, Wanted | None]]:
    """Yield the waiting requests for a site, oldest first; if one was taken, look again until no new one waits.

    Perhaps no other run would start for the newer ones. Each look follows a request in `found`: files for other sites
    could arrive without an end.
    """
    seen, looked_after = set[str](), -1
    while len(found) > looked_after:
        looked_after = len(found)
        for one in place.waiting():
            wanted = decode(one.content, Wanted) if one.content is not None else None
            is_of_other = wanted is not None and wanted.project != str(site.project.checkout)
            if one.id not in seen and not is_of_other:  # another site of this owner takes that
                seen.add(one.id)
                yield one, wanted


def plan_requests(site: Site) -> Plan:
    """Describe what `carry_out_requests` would do. Raises PreflightError and OSError."""
    directory = request_directory(site)
    if directory is None:
        return Plan(would=("request_dir is not set, so this site accepts no requests",))
    refuse_any(find_unsafe(directory, Ownership.of(site.project.checkout).owner))
    would: list[str] = []
    with Requests(directory) as place:
        for one in place.waiting():
            wanted = decode(one.content, Wanted) if one.content is not None else None
            if wanted is None or wanted.project == str(site.project.checkout):
                flaw = _find_flaw(site, one, wanted)
                would.append(f"would refuse the request {one.id}: {flaw}" if flaw else _describe_planned(one, wanted))
    return Plan(would=tuple(would) or ("no request waits",))


def _describe_planned(one: Waiting, wanted: Wanted | None) -> str:
    return f"would carry out: {_describe(wanted)}, for {_name_person(one, wanted)}"


@contextlib.contextmanager
def _alone(site: Site, wait: float) -> Iterator[bool]:
    """Yield whether, after `wait` seconds at most, no run is in progress and no other process takes requests.

    Keeps others from taking requests of this site meanwhile. The lock is in the state directory: users of the
    directory for requests could hold one there, as could the run of another site.
    """
    ends_at = time.monotonic() + wait
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(site.state_dir / run_lock.REQUESTS, mode=0o660, wait=wait, every=_SOON))
        except LockTimeoutError:
            yield False
            return
        except OSError:  # such as a full disk, which must not prevent a rollback; the project lock protects each run
            pass
        while is_running := run_lock.find_running(site.state_dir) is not None:
            if time.monotonic() >= ends_at:
                break
            time.sleep(_SOON)
        yield not is_running


def _take(place: Requests, one: Waiting) -> bool:
    try:
        return place.take(one)
    except OSError as error:  # a directory of that name
        logger.warning("the request %s cannot be taken: %s", one.id, os_reason(error))
        return False


def _carry_out(request: Request, site: Site, one: Waiting, wanted: Wanted | None, last: str) -> Taken:
    """Run what a request asks for. `last` is the request before it, in words: the same one twice is one click."""
    what, by = _describe(wanted), _name_person(one, wanted)
    taken = TakenRequest(id=one.id, what=what, by=by, at=one.at.isoformat(timespec="seconds"))
    flaw = _find_flaw(site, one, wanted) or ("the same was just requested" if what == last else "")
    if flaw or wanted is None:
        refused = replace(taken, result="refused", headline=flaw)
        _note(site, refused)
        return Taken(request=refused)
    _note(site, taken)
    own = replace(request, command=wanted.action, wait=_WAIT, mails=False, asked=(RequestedSection(requested_by=by),))
    try:
        report = request_kinds()[wanted.action].perform(own, wanted, one.at)
    except (ReleaserError, OSError) as error:  # the next request may be a rollback
        code = error.exit_code if isinstance(error, ReleaserError) else ExitCode.BUILD
        refused = replace(taken, result="refused", exit_code=int(code), headline=reason_of(error))
        _note(site, refused)
        return Taken(request=refused)
    ended = replace(taken, result=report.result, exit_code=report.exit_code, headline=report.headline)
    _note(site, ended)
    return Taken(request=ended, report=report)


def _find_flaw(site: Site, one: Waiting, wanted: Wanted | None) -> str:
    if one.flaw or wanted is None:
        return one.flaw or "this version of releaser does not know this request"
    if datetime.now(UTC) - one.at > OLDEST:
        return f"it is older than {OLDEST.total_seconds() / 3600:.0f} hours"
    if any(earlier.id == one.id for earlier in _known(site).requests):
        return "it was already carried out"
    return find_flaw(wanted) or _find_newer_delay(site, one, request_kinds()[wanted.action])


def _find_newer_delay(site: Site, one: Waiting, kind: RequestKind) -> str:
    """Return the delay that a person has ordered since a request that yields to it; empty without one."""
    delay = find_delay(site) if kind.yields else None
    is_newer = delay is not None and delay.since is not None and delay.since > one.at
    return f"a later decision by a person overrules the request: {delay.reason}" if delay and is_newer else ""


def _known(site: Site) -> TakenRequests:
    """Return the record; an empty one if it cannot be read, which must stop no request."""
    with contextlib.suppress(OSError):
        return read_taken(site.state_dir)
    return TakenRequests()


def _describe(wanted: Wanted | None) -> str:
    kind = request_kinds().get(wanted.action) if wanted is not None else None
    return kind.describe(wanted) if wanted is not None and kind is not None and not find_flaw(wanted) else "a request"


def _name_person(one: Waiting, wanted: Wanted | None) -> str:
    page = f"the page of {name_of(one.user) or f'uid {one.user}'}"
    return f"{wanted.by} on {page}" if wanted is not None and wanted.by and not find_flaw(wanted) else page


def _note(site: Site, taken: TakenRequest) -> None:
    with contextlib.suppress(OSError):  # a full disk must not prevent a rollback
        write_state(site.state_dir / REQUESTS, _known(site).with_request(taken))


def remark(site: Site) -> str:
    """Return why this site takes no requests, though it is set to; empty if it does. No update waits for that."""
    directory = request_directory(site)
    found = directory and find_unsafe(directory, Ownership.of(site.project.checkout).owner)
    return f"requests are ignored: {found}" if found else ""


# The requests of the core: those of capabilities are in their own modules


def _update(request: Request, wanted: Wanted, _: datetime) -> RunReport:
    from releaser.pipelines.due import Timing, find_selected, update_in_window
    from releaser.pipelines.update import update_site

    names = [wanted.name] if wanted.name else []
    only = find_selected(request.path, request.environ, names, if_locked=False)
    pipeline = partial(update_site, force=False, follow=False, only=only)
    timing = Timing(now=True, by_rules=not names)  # a package that needs a review needs it here, too
    return update_in_window(replace(request, command="update", mails=True), timing, pipeline)


def _roll_back(request: Request, wanted: Wanted, _: datetime) -> RunReport:
    from releaser.pipelines.rollback import rollback

    return rollback(replace(request, command="rollback", mails=True), leaves=wanted.live)


UPDATE = RequestKind(action="update", label="Update now", yields=True, perform=_update)
UPDATE_PACKAGE = RequestKind(
    action="update-package", label="Update this package now", takes_package=True, yields=True, perform=_update
)
ROLLBACK = RequestKind(
    action="rollback",
    label="Roll back",
    takes_live=True,
    applies=lambda status: status.live is not None,
    effect="The previous release goes live, with its code. Updates then skip the versions that are live now.",
    perform=_roll_back,
)
