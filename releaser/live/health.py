"""Asks whether the site is healthy, by a URL or a command, and which processes can have given the answer."""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec

from releaser.errors import ChangeError, Problem, ToolError
from releaser.live.programs import NONE, RELOAD, find_missing_program, is_at_next_request, may_restart
from releaser.releases.journal import Entry
from releaser.releases.lease import HIDDEN, Process, list_holders, list_processes, list_sentences
from releaser.releases.release import ID
from releaser.site.site import Site
from releaser.system import proc, process, signals
from releaser.system.text import LONGEST_LINE, clip, end_sentence, format_seconds, join_few, redact

_POLL_INTERVAL = 0.5  # seconds between two attempts
_THROTTLE = 15.0  # seconds: Passenger looks at its file at most once in ten
_SETTLE = 2.0  # seconds in which a server that cannot start ends
_WAITING = re.compile("assenger|[(]wsgi:")  # servers that restart at the next request: Passenger, mod_wsgi
_TIMER = re.compile(r"\.timer\b")
_SOCKET = "unix:"
_FRESH = {"Cache-Control": "no-cache"}  # a cache would answer for a site that does not
_SCHEMES = ("http://", "https://", _SOCKET)


def find_problems(site: Site) -> list[Problem]:
    """Return a problem if the health check is neither a URL nor a command."""
    command = site.settings.live.health_check
    if command and "://" not in command[0] and not command[0].startswith(_SOCKET):
        return find_missing_program(site, "health_check", command[0])
    if command and (len(command) > 1 or not command[0].startswith(_SCHEMES)):
        text = " ".join(command)
        message = f"The setting `health_check` is `{text}`, but must be one http, https or unix URL, or a command."
        return [Problem("wrong-health-check", message, "Set a URL such as `https://example.org/`, or a command.")]
    return []


class Users(msgspec.Struct, frozen=True):
    """The processes on a release since its change, and those that stayed on what was live before it."""

    new: tuple[int, ...]
    stayed: tuple[int, ...]

    def listen(self) -> bool:
        """Return True if any of them listens."""
        return bool(_list_addresses(self.new + self.stayed))

    def may_mislead(self) -> bool:
        """Return True if one that stayed may have given an answer: it does not listen elsewhere than the new ones."""
        new, stayed = _list_addresses(self.new), _list_addresses(self.stayed)
        return bool(stayed) and ("" in new | stayed or not new or bool(new & stayed))

    def wait_for_visitor(self, site: Site) -> bool:
        """Return True if one that stayed ends at the next request, as under Passenger."""
        return is_at_next_request(site) and any(_WAITING.search(proc.describe_command(pid)) for pid in self.stayed)

    def are_old(self, site: Site) -> bool:
        """Return True if the site runs, but not on the release, and does not wait for its next visitor."""
        have_stayed = bool(_list_addresses(self.stayed) - {""}) and not _list_addresses(self.new)
        is_over = have_stayed and may_restart(site) and not self.wait_for_visitor(site)
        return is_over or self.have_all_stayed(site) or (is_url_asked(site) and (have_stayed or not self.new))

    def have_all_stayed(self, site: Site) -> bool:
        """Return True if nothing uses the release, where what stayed should: workers alone, or what others run."""
        is_of_others = HIDDEN in self.stayed and may_restart(site) and not is_at_next_request(site)
        return bool(self.stayed) and not self.new and (_is_of_workers(site) or is_of_others)


def _is_of_workers(site: Site) -> bool:
    """Return True for a site of workers alone that stay: what a timer starts comes and goes."""
    words = site.settings.live.restart_workers
    return words not in NONE and not may_restart(site) and not _TIMER.search(" ".join(words))


def is_serving(site: Site, release: Path) -> bool:
    """Return True if a process on a release listens, or, of a site of workers alone, runs."""
    holders = list_holders(release)
    return bool(holders if _is_of_workers(site) else _list_addresses(holders) - {""})


def _list_addresses(pids: tuple[int, ...]) -> set[str]:
    return set[str]().union(*({""} if pid == HIDDEN else proc.list_addresses(pid) for pid in pids))


def find_users(site: Site, entry: Entry) -> Users:
    """Return the processes that run after a change."""
    holders = list_holders(site.paths.releases / str(entry.release))
    new = tuple(pid for pid in holders if pid not in entry.held_by)
    if entry.earlier == entry.release:
        return Users(new, tuple(pid for pid in holders if pid in entry.held_by))
    return Users(new, list_holders(site.paths.releases / entry.earlier) if entry.earlier else ())


@signals.hurry_on_signals()
def check_health(site: Site, entry: Entry | None = None) -> str:
    """Ask until the site is healthy, and return the answer in words; empty without a health check.

    After the change of an `entry`, an answer counts once no process of the earlier release can have given it, or when
    `health_timeout` is over, or a longer time that such processes may take. Raises ChangeError with the last answer.
    """
    began, least, limit = time.monotonic(), 1.0, float(site.settings.live.health_timeout)  # least: for an answer
    longest = began + (max(limit, _THROTTLE) if is_at_next_request(site) else limit)
    deadline = began + limit
    while site.settings.live.health_check:
        users = find_users(site, entry) if entry is not None else Users((), ())
        may_mislead, is_unused = users.may_mislead(), not users.new and entry is not None and bool(entry.release)
        end = longest if may_mislead else deadline
        is_healthy, answer = _ask(site, max(least, end - time.monotonic()))
        if may_mislead and is_at_next_request(site):  # the release has its time from when it may answer
            deadline = time.monotonic() + limit
        if is_healthy and is_unused:  # a process of before the earlier release has answered
            end = longest
        if is_healthy:  # who has answered well is not ill for want of time
            least = end - began
        if is_healthy and not may_mislead and not (is_unused and is_url_asked(site)):
            return answer
        if time.monotonic() + _POLL_INTERVAL >= signals.limit(end):
            waited = format_seconds(min(end, time.monotonic()) - began)
            if is_healthy:
                return answer
            raise ChangeError(f"The health check failed for {waited}: {answer}.")
        signals.wait(_POLL_INTERVAL)
    return ""


def wait_for_start(site: Site, entry: Entry) -> None:
    """Wait until the processes of a release have taken over, as far as this user may see them.

    Raises ChangeError if none listens any more.
    """
    live, began = site.settings.live, time.monotonic()
    must_listen = entry.was_serving and not is_at_next_request(site)
    while (users := find_users(site, entry)).may_mislead() or (must_listen and not users.listen()):
        if users.wait_for_visitor(site):
            return
        may_start = users.new and not users.listen() and not live.restart_workers  # else it may be a worker
        limit = live.restart_timeout if may_start else live.health_timeout
        if HIDDEN in users.stayed or time.monotonic() + _POLL_INTERVAL >= signals.limit(began + limit):
            break
        signals.wait(_POLL_INTERVAL)
    if must_listen:
        signals.wait(_SETTLE)
        if not (users := find_users(site, entry)).listen():
            advice = " If its start takes longer, set `restart_timeout`, such as to `5m`." if users.new else ""
            message = "The restart failed: nothing of the site listens any more."
            raise ChangeError(message, f"See the log of the site.{advice}")


def wait_for_first(site: Site, entry: Entry) -> None:
    """Wait until a process uses the release, or none the earlier one, where no other sign can be waited for.

    Raises ChangeError if no worker of a site of workers alone stays, such as if it is started again and again.
    """
    deadline = time.monotonic() + site.settings.live.health_timeout
    while (users := find_users(site, entry)).have_all_stayed(site) and time.monotonic() < signals.limit(deadline):
        signals.wait(_POLL_INTERVAL)
    while entry.was_serving and _is_of_workers(site) and not users.stayed:
        is_last = time.monotonic() >= signals.limit(deadline)
        signals.wait(_SETTLE)
        earlier, users = users, find_users(site, entry)
        if {*earlier.new} & {*users.new}:
            return
        if is_last:
            error = ChangeError("The restart failed: no worker of the site keeps running.", "See the workers' log.")
            error.is_of_workers = True
            raise error


def is_healthy_now(site: Site) -> bool | None:
    """Return True if the site passes its health check, asked once; None if it has none."""
    return not find_illness(site) if site.settings.live.health_check else None


def find_illness(site: Site) -> str:
    """Return why the site fails its health check, asked once, as a sentence; empty if it passes, or has none."""
    if not site.settings.live.health_check:
        return ""
    is_healthy, answer = _ask(site, max(1.0, site.settings.live.health_timeout))
    return "" if is_healthy else end_sentence(f"The site fails its health check: {redact(answer)}")


def find_unused_release(site: Site, entry: Entry, began: float) -> Problem | None:
    """Return a problem if nothing that may answer has started on a release since its change, although the site runs.

    `began` is when that change began, in seconds since the epoch.
    """
    users, live = find_users(site, entry), site.settings.live
    new_workers = [
        pid for pid in users.stayed if proc.find_parent(pid) in users.stayed and proc.find_start(pid) > began
    ]
    are_reloaded = RELOAD.search(" ".join(live.restart)) and _list_addresses(tuple(new_workers))
    if not users.are_old(site) and not (are_reloaded and are_reloaded - _list_addresses(users.new)):
        return None
    message = f"No process {'that listens ' if users.new else ''}uses release {entry.release}"
    message += f", although {live.health_check[0]} answered." if is_url_asked(site) else "."
    earlier = list_processes(site.paths.releases / str(entry.earlier))
    stayed = list_sentences([each for each in earlier if each.pid in users.stayed])
    message += f" On the earlier release: {join_few(stayed)}." if stayed else ""
    setting = "restart" if may_restart(site) else "restart_workers"
    advice = f"Restart the site by hand, with `{site.paths.link}/bin/python`, and correct `{setting}`."
    if new_workers:
        advice = f"A reload keeps the release. {advice} `releaser check` names a way that starts the process anew."
    return Problem("not-restarted", message, advice)


def list_old_processes(site: Site, live: str | None) -> tuple[Process, ...]:
    """Return the processes on any other release than the live one."""
    paths = [path for path in sorted(site.paths.releases.glob("*")) if ID.fullmatch(path.name) and path.name != live]
    return list_processes(*paths)


def is_url_asked(site: Site) -> bool:
    """Return True if a URL is asked after a restart: Passenger starts the application at the next visitor alone."""
    live = site.settings.live
    return may_restart(site) and bool(live.health_check) and live.health_check[0].startswith(_SCHEMES)


def _ask(site: Site, timeout: float) -> tuple[bool, str]:
    command = site.settings.live.health_check
    if command[0].startswith(_SCHEMES):
        return _ask_url(site, command[0], timeout)
    try:
        env = site.service_environment(site.paths.link)
        process.run(command, cwd=site.paths.project, env=env, timeout=timeout, may_have_secrets=True)
    except ToolError as error:
        return False, error.message.rstrip(".")
    return True, f"`{command[0]}` ended with 0"


def _name_site(host: str) -> str:
    """Return a host's name as it is the same for a site with and without `www`."""
    return host.rstrip(".").removeprefix("www.")


def _ask_url(site: Site, url: str, timeout: float) -> tuple[bool, str]:
    import httpx  # takes 50 ms

    def ask() -> tuple[bool, str]:
        transport, address = None, url
        if url.startswith(_SOCKET):  # of `SOCKET:/PATH`, or `SOCKET:HOST/PATH`
            socket, _, place = url.removeprefix(_SOCKET).partition(":")
            transport = httpx.HTTPTransport(uds=str(site.paths.project / socket))
            address = f"http://localhost{place}" if place[:1] in ("", "/") else f"http://{place}"
        try:
            with (
                httpx.Client(transport=transport, timeout=timeout, follow_redirects=True) as client,
                client.stream("GET", address, headers=_FRESH) as response,
            ):
                host = response.url.host
                if not transport and _name_site(host) != _name_site(httpx.URL(address).host):
                    return False, f"{url} leads to another host, {host}, which may answer for a site that does not"
                return response.is_success, f"{url} answered {response.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError) as error:
            reason = clip(str(error) or type(error).__name__, LONGEST_LINE)
            return False, f"{url} does not answer ({reason})"

    # httpx has a limit for each read alone.
    answer = process.call_in_child(ask, timeout)
    return answer or (False, f"{url} does not answer in {format_seconds(timeout)}")
