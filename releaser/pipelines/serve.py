"""The page of `releaser serve`: the states of sites, and buttons that leave requests for the next run of a site.

The page changes nothing by itself: it reads states, and writes files into the directories that owners of sites made
for it. It believes nothing that a browser sends without its key or its proxy, and the token of the form.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sys
import threading
import time
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from releaser.answers import Status
from releaser.core.request import RequestKind, Wanted, find_flaw, request_kinds
from releaser.errors import ReleaserError, refuse
from releaser.fleet.many_sites import ManySites
from releaser.fleet.sites_file import ListedSite, SitesFile, read_sites
from releaser.releases.requests import MOST_WAITING, Requests, decode, find_unsafe, leave
from releaser.reporting.page import Control, Controls, page_of_sites, render
from releaser.reporting.servers import Server, ServerReport, read_servers
from releaser.site.settings import this_host
from releaser.system.environment import how_to_add
from releaser.system.frozen import Frozen
from releaser.system.trusted_files import find_other_writer
from releaser.system.words import is_url, one_line, show_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flask import Flask, Response

_FRESH = 5.0  # seconds for which the states are shown again, so that many visitors start few programs
_MOST_SENT = 8192  # bytes of a form
_THREADS = 4
_LOOPBACK = ("127.0.0.1", "localhost")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # which counts only here; the page has the rest
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Door(Frozen):
    """The people who may open the page: those with the key, or those whom the proxy names in a header."""

    #: Empty behind a proxy.
    key: str = ""
    #: The header; empty without a proxy.
    header: str = ""
    #: The names of the page in the `Host` header.
    hosts: tuple[str, ...] = _LOOPBACK


class States:
    """The states of all sites of a list, as `status` answers."""

    def __init__(self, read: Callable[[], SitesFile], environ: Mapping[str, str]) -> None:
        self._read, self._environ = read, environ
        self._lock = threading.Lock()
        self._at, self._servers = 0.0, list[Server]()

    def servers(self) -> Sequence[Server]:
        """Return the state of each server, some seconds old at most. Raises PreflightError."""
        with self._lock:
            if time.monotonic() - self._at > _FRESH or not self._servers:
                self._servers, self._at = self._ask(), time.monotonic()
            return self._servers

    def _ask(self) -> list[Server]:
        listed = self._read()
        many = ManySites(listed.sites, jobs=listed.jobs, environ=self._environ)
        order = {str(one.path): number for number, one in enumerate(listed.sites)}
        answers = sorted(many.ask(["status"], as_json=True), key=lambda one: order[one.site])
        report = ServerReport(host=this_host(), at=datetime.now(UTC), sites=tuple(answers))
        own = [Server(name=report.host, report=report)] if answers else []
        return own + read_servers(listed.servers, self._environ)


def list_one(project: Path) -> SitesFile:
    """Return the list for the page of one site."""
    return SitesFile(sites=(ListedSite(path=project),))


def list_from(file: Path, environ: Mapping[str, str]) -> SitesFile:
    """Return the list in a file. Raises PreflightError."""
    return read_sites(file, environ)


def is_trusted(server: Server) -> bool:
    """True if the sites of a server are on this host, and only root or this user could have written their states."""
    if not server.place:
        return True
    try:
        is_closed = not is_url(server.place) and find_other_writer(server.place) is None
    except OSError:
        return False
    return is_closed and server.report is not None and server.report.host == this_host()


def controls_of(server: Server, site: str, status: Status, token: str) -> Controls | None:
    """Return the buttons of a site, by its path in the list; None for a site that takes no requests."""
    place: str = getattr(status, "request_dir", "")
    if not place or not is_trusted(server) or not _is_of(site, status):
        return None
    missing = _explain_missing(Path(place))
    buttons = [] if missing else [_control(one, status) for one in request_kinds().values() if one.applies(status)]
    waiting = () if missing else tuple(_list_waiting(Path(place), status.path))
    return Controls(
        token=token,
        path=status.path,
        live=status.live or "",
        buttons=tuple(buttons),
        waiting=waiting,
        missing=missing,
    )


def _is_of(site: str, status: Status) -> bool:
    """True if a status can be that of a listed site: the owner of one could answer with the path of another."""
    return status.path in (site, os.path.realpath(site))


def _explain_missing(directory: Path) -> str:
    """Return why the page cannot leave requests in a directory; empty if it can."""
    try:
        found = find_unsafe(directory, os.lstat(directory).st_uid)
    except OSError as error:
        return f"the page has no buttons: {directory} cannot be used: {error.strerror}"
    if found is not None:
        return f"the page has no buttons: {found.message}"
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return f"the page has no buttons: its user cannot write to {directory}"
    return ""


def _control(kind: RequestKind, status: Status) -> Control:
    return Control(
        action=kind.action,
        label=kind.label,
        effect=kind.effect,
        takes_package=kind.takes_package,
        takes_reason=kind.takes_reason,
        lengths=tuple(kind.lengths.items()),
        choices=None if kind.choices is None else tuple(kind.choices(status)),
    )


def _waiting(directory: Path, project: str) -> list[tuple[Wanted, datetime]]:
    with Requests(directory) as place:
        found = [(decode(one.content, Wanted), one.at) for one in place.waiting() if one.content is not None]
    return [(wanted, at) for wanted, at in found if wanted and wanted.project == project and not find_flaw(wanted)]


def _list_waiting(directory: Path, project: str) -> list[str]:
    try:
        found = _waiting(directory, project)
    except OSError:
        return []
    return [
        f"{request_kinds()[wanted.action].describe(wanted)}{f', by {wanted.by}' if wanted.by else ''}, {show_time(at)}."
        " The next run carries it out."
        for wanted, at in found
    ]


def make_app(states: States, door: Door) -> Flask:
    """Return the page as a WSGI application."""
    from flask import Flask

    app, page = Flask("releaser", static_folder=None, template_folder=None), _Page(states, door)
    app.config.update(
        SECRET_KEY=secrets.token_bytes(32),  # another after each start
        TRUSTED_HOSTS=list(door.hosts),
        MAX_CONTENT_LENGTH=_MOST_SENT,
        MAX_FORM_MEMORY_SIZE=_MOST_SENT,
        SESSION_COOKIE_NAME=f"releaser-{secrets.token_hex(4)}",  # all ports of a host share their cookies
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_SECURE=bool(door.header),
    )
    app.add_url_rule("/", view_func=page.show)
    app.add_url_rule("/requests", view_func=page.take_request, methods=["POST"])
    app.register_error_handler(Exception, _explain)
    app.after_request(_protect)
    return app


class _Page:
    """The answers of the page."""

    def __init__(self, states: States, door: Door) -> None:
        self.states, self.door = states, door

    def show(self) -> Any:
        """Return the page; with the key in the address, first keep that the browser has it."""
        from flask import redirect, request, session

        key = request.args.get("key", "")
        if self.door.key and hmac.compare_digest(key.encode(), self.door.key.encode()):
            session["has_key"] = True
            return redirect("/", 303)
        self._name_person()
        token = session.setdefault("token", secrets.token_urlsafe(16))
        return page_of_sites(
            self.states.servers(),
            datetime.now(UTC),
            lambda server, site, status: controls_of(server, site, status, token),
        )

    def take_request(self) -> Any:
        """Leave the request of a form."""
        from flask import abort, redirect, request

        person = self._name_person()
        _refuse_other_forms()
        form = request.form
        kind = request_kinds().get(form.get("action", ""))
        place = find_place(self.states.servers(), form.get("project", ""))
        if kind is None or place is None:
            abort(400, "No site on this page accepts such a request.")
        wanted = _read_form(form, kind, person)
        if flaw := find_flaw(wanted):
            abort(400, f"The request was not sent: {flaw}.")
        if problem := send(place, wanted):
            abort(503, problem)
        return redirect("/", 303)

    def _name_person(self) -> str:
        """Return the person whom the proxy names; empty with the key. Ends the request of all others."""
        from flask import abort, request, session

        if not self.door.header:
            if not session.get("has_key"):
                abort(403, "Open the address that `releaser serve` printed: it contains the key.")
            return ""
        sent = request.headers.get(self.door.header, "").encode("latin-1", "replace")  # as WSGI has decoded it
        name = one_line(sent.decode(errors="replace"), limit=100).strip()
        if not name:
            abort(403, f"The proxy has named no user in the header {self.door.header}.")
        return name


def _refuse_other_forms() -> None:
    """End the request of a form that another page has sent."""
    from flask import abort, request, session

    origin = request.headers.get("Origin", "null")  # `null` is what this page sends, as it has no referrer
    is_own = request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
    is_own = is_own and (origin == "null" or urlsplit(origin).netloc == request.host)
    token = session.get("token", "")
    if not (is_own and token and hmac.compare_digest(request.form.get("token", "").encode(), token.encode())):
        abort(403, "This form is too old, or comes from another page. Go back, reload the page, and try again.")


def _read_form(form: Mapping[str, str], kind: RequestKind, person: str) -> Wanted:
    has_name = kind.takes_package or kind.choices is not None
    return Wanted(
        project=form["project"],
        action=kind.action,
        name=form.get("name", "").strip() if has_name else "",
        live=form.get("live", "") if kind.takes_live else "",
        reason=" ".join(form.get("reason", "").split()) if kind.takes_reason else "",
        length=form.get("length", "") if kind.lengths else "",
        by=person,
    )


def _explain(error: Exception) -> tuple[str, int]:
    """Return the page about an error."""
    from werkzeug.exceptions import HTTPException

    if isinstance(error, HTTPException):
        title, text, code = error.name, error.description or "", error.code or 500
    else:
        text = error.message if isinstance(error, ReleaserError) else f"{type(error).__name__}: {error}"
        title, code = "The page cannot be shown", 500
        sys.stderr.write(f"releaser: {one_line(text, limit=500)}\n")
    return render("message.html.j2", title=title, text=text, back=code != HTTPStatus.FORBIDDEN), code


def _protect(answer: Response) -> Response:
    answer.headers.update(_HEADERS)
    return answer


def find_place(servers: Sequence[Server], project: str) -> Path | None:
    """Return the directory in which a site of the page takes requests; None without such a site."""
    from msgspec import ValidationError, convert

    for server in servers:
        for answer in server.report.sites if server.report and is_trusted(server) else ():
            try:
                status = convert(answer.answer, Status)
            except (ValidationError, ValueError, TypeError):
                continue
            place: str = getattr(status, "request_dir", "")
            if status.path == project and _is_of(answer.site, status) and place and not _explain_missing(Path(place)):
                return Path(place)
    return None


def send(directory: Path, wanted: Wanted) -> str:
    """Leave a request, unless the newest that waits is the same; return why that failed, or an empty text."""
    try:
        waiting = [one for one, _ in _waiting(directory, wanted.project)]
        if any(_is_same(one, wanted) for one in waiting[-1:]):
            return ""
        if len(waiting) >= MOST_WAITING:
            return f"{MOST_WAITING} requests are already waiting. Wait until a run has carried them out."
        leave(directory, wanted)
    except OSError as error:
        return f"The request was not sent: {directory} cannot be written: {error.strerror}."
    return ""


def _is_same(one: Wanted, other: Wanted) -> bool:
    parts = [(wanted.action, wanted.name, wanted.length, wanted.live) for wanted in (one, other)]
    return parts[0] == parts[1]


def serve(states: States, door: Door, *, port: int, socket: Path | None, ready: Callable[[str], object]) -> None:
    """Show the page until a signal arrives; `ready` gets its address. Raises PreflightError."""
    import signal

    try:
        from waitress import create_server

        app = make_app(states, door)
    except ImportError as error:
        advice = f"To install them, {how_to_add('serve')}."
        refuse("serve-missing", f"the page needs the packages flask and waitress: {error}", advice)
    place: dict[str, Any] = (
        {"unix_socket": str(socket), "unix_socket_perms": "660"} if socket else {"host": _LOOPBACK[0], "port": port}
    )
    try:
        server = create_server(app, **place, threads=_THREADS, ident="", max_request_body_size=_MOST_SENT)
    except (OSError, ValueError) as error:
        where = str(socket) if socket else f"port {port}"
        message = f"the page cannot listen on {where}: {error}"
        refuse("serve-address", message, "Choose another address with `--port` or `--socket`.")
    ready(str(socket) if socket else f"http://{_LOOPBACK[0]}:{server.effective_port}/?key={door.key}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # waitress ends by that
    try:
        server.run()
    finally:
        server.close()
        if socket:
            socket.unlink(missing_ok=True)
