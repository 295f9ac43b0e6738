"""`restart = "systemd"`: two instances of a service take turns, and a symlink leads to the socket of one of them.

Each instance listens on its own socket, so a release answers the health check before any visitor reaches it.
"""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.core.restart import Restart
from releaser.errors import Finding, ToolError, how_to_set
from releaser.serving.health_settings import HealthSettings
from releaser.serving.restarts.command import ask_program
from releaser.site.restart_settings import RestartSettings
from releaser.system.expression import expression
from releaser.system.files import link_text, replace_symlink
from releaser.system.frozen import Frozen
from releaser.tools.web import Check, ask_until_good, ask_url, listens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from releaser.report import Step
    from releaser.site.site import Site

INSTANCES = ("a", "b")
_UNIT = expression(r"[A-Za-z0-9:_.\\-]+@\.service")
_SOCKET = ".sock"
_POLL = 0.05  # seconds
# For so long, requests that reached the earlier instance may still wait. It ends those that it has begun, in any case.
_DRAIN = 3.0
_LISTENS = "00010000"  # a flag in /proc/net/unix
_LINES = "30"  # of the output of a service that does not start


class Systemd(Restart):
    """Starts the idle instance, asks it, moves the symlink, and stops the other one once its requests are answered.

    The symlink alone says which instance serves the site. The other one is nothing but a leftover: an interrupted
    restart begins again by stopping it.
    """

    word = "systemd"

    def findings(self, site: Site) -> Iterator[Finding]:
        """Check the settings, the symlink, the unit, and that this user may start and stop both instances."""
        missing = [*_setting_findings(site)]
        yield from missing
        if missing:
            return
        pair = Pair.of(site)
        yield from pair.link_findings()
        yield from pair.unit_findings()

    def restart(self, site: Site, venv: Path, step: Step) -> None:
        """Let the other instance serve the site. Raises ToolError if it does not; then the first still serves it."""
        for missing in _setting_findings(site):
            raise ToolError(missing.message, missing.advice)
        pair = Pair.of(site)
        from releaser.serving.restarts.control_sockets import hold_sockets, list_sockets, listener_of  # slow to import

        serving = pair.serving()
        begun = next(name for name in INSTANCES if name != serving)
        pair.stop(begun)
        with hold_sockets(listener_of(str(pair.socket(serving)))):  # the other one may delete their paths at its end
            try:
                pair.start(begun)
                answer = pair.ask(begun)
                pair.lead_to(begun)
            except (ToolError, OSError):
                if pair.serving() != begun:
                    pair.stop(begun)
                raise
        step.says(f"{answer}; {pair.unit(begun)} serves the site")
        for name in INSTANCES:
            if name != begun:
                pair.drain(name)
                own, earlier = (str(pair.socket(one)) for one in (begun, name))
                with hold_sockets(listener_of(own), list_sockets(listener_of(earlier)) - {earlier}):
                    self._end(pair, name, step)

    @staticmethod
    def _end(pair: Pair, name: str, step: Step) -> None:
        """Stop the earlier instance; visitors do not reach it, so a failure does not count against the release."""
        try:
            pair.stop(name)
        except ToolError as error:
            step.warns(f"{step.detail}, but {error.message}")


def _setting_findings(site: Site) -> Iterator[Finding]:
    """Find a setting that is missing, or names no template."""
    settings = RestartSettings.of(site)
    unit = settings.restart_unit or ""
    if not _UNIT.fullmatch(unit):
        found = f"restart_unit {unit} is not the template of a service" if unit else "restart_unit is not set"
        advice = f"Set the name of the template, with @: {how_to_set('restart_unit', 'NAME@.service')}."
        yield Finding("restart-unit", f"restart is `systemd`, but {found}", advice)
    if settings.restart_socket is None:
        advice = f"Set the path of the symlink: {how_to_set('restart_socket', '/run/NAME/live.sock')}."
        yield Finding("restart-socket", "restart is `systemd`, but restart_socket is not set", advice)


class Pair(Frozen):
    """The two instances of a template, and the symlink to the socket of the one that serves the site."""

    site: Site
    template: str
    link: Path
    is_user_unit: bool

    @classmethod
    def of(cls, site: Site) -> Pair:
        """Return the pair that the settings name."""
        from releaser.serving.servers import unit_places  # which imports the restart methods

        settings = RestartSettings.of(site)
        template, places = settings.restart_unit or "", unit_places(site.runner.environ)[True]
        is_user_unit = any((place / template).exists() for place in places)
        return cls(site=site, template=template, link=Path(settings.restart_socket or ""), is_user_unit=is_user_unit)

    def unit(self, name: str) -> str:
        """Return the unit of an instance."""
        return self.template.replace("@.", f"@{name}.")

    def socket(self, name: str) -> Path:
        """Return the socket of an instance."""
        return self.link.with_name(f"{name}{_SOCKET}")

    def serving(self) -> str:
        """Return the instance that the symlink leads to; empty without a symlink. Raises ToolError for another one."""
        text = link_text(self.link)
        if text is None and not os.path.lexists(self.link):
            return ""
        for name in INSTANCES:
            if text in (self.socket(name).name, str(self.socket(name))):
                return name
        found = f"it leads to {text}" if text is not None else "it is another file"
        sockets = " or ".join(self.socket(name).name for name in INSTANCES)
        message = f"restart_socket {self.link} is not a symlink to {sockets}: {found}"
        advice = f"If instance `a` serves the site, run `ln -sfn {self.socket('a').name} {self.link}`."
        raise ToolError(message, f"{advice} For `b`, point it to {self.socket('b').name}.")

    def start(self, name: str) -> None:
        """Start an instance. Raises ToolError, with its output.

        Daphne and Granian do not start if the socket of one that was killed is still there.
        """
        if (socket := self.socket(name)).is_socket() and not listens(socket):
            with contextlib.suppress(OSError):
                socket.unlink()
        try:
            self._control("start", name)
        except ToolError as error:
            message = f"{self.unit(name)} did not start: {error.reason}"
            raise ToolError(message, error.advice, output=f"{error.output}\n{self._status(name)}".strip()) from error

    def stop(self, name: str) -> None:
        """Stop an instance, if it runs. Raises ToolError."""
        if self._show(name)["ActiveState"] not in ("inactive", "failed"):
            try:
                self._control("stop", name)
            except ToolError as error:
                message = f"{self.unit(name)} did not stop: {error.reason}"
                advice = error.advice or "Make `restart_timeout` longer than `TimeoutStopSec` of the unit."
                raise ToolError(message, advice, output=error.output) from error

    def ask(self, name: str) -> str:
        """Ask an instance on its own socket until it is well, and return that in words. Raises ToolError."""
        settings = HealthSettings.of(self.site)
        ends_at = time.monotonic() + RestartSettings.of(self.site).restart_timeout
        started = self._show(name)["InvocationID"]
        while not listens(self.socket(name)):
            self._refuse_ended(name, started)
            if time.monotonic() > ends_at:
                message = f"{self.unit(name)} does not listen on {self.socket(name)}"
                raise ToolError(message, "Correct the socket in the unit, or `restart_socket`.", timed_out=True)
            time.sleep(_POLL)

        def pause(seconds: float) -> None:
            self._refuse_ended(name, started)
            time.sleep(seconds)

        socket = str(self.socket(name))
        try:
            answer = ask_until_good(_question(settings, socket), settings.patience(), sleep=pause).answer
            self._refuse_ended(name, started)
        except ToolError as error:
            self._refuse_ended(name, started)
            message = f"{self.unit(name)}: {error.message}"
            output = f"{error.output}\n{self._status(name)}".strip()
            raise ToolError(message, error.advice, output=output) from error
        return answer

    def _refuse_ended(self, name: str, started: str) -> None:
        """Raise ToolError, with its output, if an instance has ended, even if systemd has started it again.

        A person may restart it: then systemd begins to count again.
        """
        shown = self._show(name)
        is_another = shown["InvocationID"] != started and shown["NRestarts"] != "0"
        if shown["ActiveState"] in ("inactive", "failed") or is_another:
            message = f"{self.unit(name)} ended before it answered"
            advice = f"Run `{' '.join(self._words('status', name))}`, and correct the unit or the release."
            raise ToolError(message, advice, output=self._status(name))

    def lead_to(self, name: str) -> None:
        """Lead new connections to an instance, by one rename. Raises ToolError."""
        try:
            replace_symlink(self.link, self.socket(name).name, staging=self.link.parent)
        except OSError as error:
            message = f"{self.link} cannot be moved to {self.socket(name).name}: {error.strerror}"
            raise ToolError(message, f"Give this user write access to {self.link.parent}.") from error

    def drain(self, name: str) -> None:
        """Wait until an instance has no connections, for some seconds at most: a web server may keep idle ones."""
        ends_at = time.monotonic() + _DRAIN
        while _has_connections(self.socket(name)) and time.monotonic() < ends_at:
            time.sleep(_POLL)

    def link_findings(self) -> Iterator[Finding]:
        """Check that the symlink leads to an instance, and may be moved."""
        try:
            self.serving()
        except ToolError as error:
            yield Finding("restart-socket-link", error.message, error.advice)
        if not os.access(self.link.parent, os.W_OK | os.X_OK):
            message = f"restart_socket {self.link}: this user cannot create files in {self.link.parent}"
            advice = "Create the directory for this user; below /run, use tmpfiles.d."
            yield Finding("restart-socket-directory", message, advice)

    def unit_findings(self) -> Iterator[Finding]:
        """Check that systemd has the template, and that sudo permits the commands."""
        try:
            states = {name: self._show(name)["LoadState"] for name in INSTANCES}
        except ToolError as error:
            yield Finding("restart-unit-missing", f"restart is `systemd`, but {error.message}", error.advice)
            return
        masked = next((self.unit(name) for name, state in states.items() if state == "masked"), "")
        if masked:
            yield Finding("restart-unit-missing", f"{masked} is masked", f"Run `systemctl unmask {masked}`.")
            return
        if {*states.values()} != {"loaded"}:
            message = f"restart_unit {self.template}: systemd has no such template, or cannot read it"
            yield Finding("restart-unit-missing", message, "Install it, then run `systemctl daemon-reload`.")
            return
        needed = [self._words(verb, name) for name in INSTANCES for verb in ("start", "stop")]
        if denied := [words for words in needed if not self._permits(words)]:
            rule = ", ".join(" ".join(words[2:]) for words in needed)
            message = f"sudo does not permit `{' '.join(denied[0])}` without a password"
            advice = f"Run `sudo visudo -f /etc/sudoers.d/releaser`, and write: USER ALL=(root) NOPASSWD: {rule}"
            yield Finding("restart-unit-denied", message, advice)

    def _permits(self, words: tuple[str, ...]) -> bool:
        if words[0] != "sudo":
            return True
        try:
            ask_program(self.site, [*words[:2], "-l", *words[2:]])
        except ToolError:
            return False
        return True

    def _words(self, verb: str, name: str) -> tuple[str, ...]:
        """Return the command that does something with an instance."""
        needs_sudo = os.geteuid() != 0 and not self.is_user_unit
        program = ("sudo", "-n", "/usr/bin/systemctl") if needs_sudo else self._systemctl
        return (*program, verb, self.unit(name))

    @property
    def _systemctl(self) -> tuple[str, ...]:
        """The program that asks the systemd of the unit; cron does not set the variable by which it finds a user's."""
        if not self.is_user_unit:
            return ("systemctl",)
        given = self.site.runner.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
        return ("env", f"XDG_RUNTIME_DIR={given}", "systemctl", "--user")

    def _control(self, verb: str, name: str) -> None:
        ask_program(self.site, list(self._words(verb, name)))

    def _show(self, name: str) -> dict[str, str]:
        """Return the properties of an instance that systemd shows to every user. Raises ToolError."""
        wanted = ("ActiveState", "InvocationID", "LoadState", "NRestarts")
        words = [*self._systemctl, "show", f"--property={','.join(wanted)}", self.unit(name)]
        found = dict(line.split("=", 1) for line in ask_program(self.site, words).splitlines() if "=" in line)
        return {**dict.fromkeys(wanted, ""), **found}

    def _status(self, name: str) -> str:
        """Return the state of an instance and the end of its output, as far as this user may read it."""
        words = [*self._systemctl, "status", "--no-pager", "--full", f"--lines={_LINES}", self.unit(name)]
        try:
            return ask_program(self.site, words)
        except ToolError as error:  # its exit status is that of the service
            return error.output


def _question(settings: HealthSettings, socket: str) -> Callable[[], str]:
    """Return a function that asks the health check on a socket; without a URL, any page but an error of the server."""
    if settings.checked_url:
        return settings.asks_url(settings.checked_url, socket)
    check = Check(url="http://localhost/", statuses=(range(200, 500),), socket=socket)
    return partial(ask_url, check, timeout=settings.health_timeout)


def _has_connections(path: Path) -> bool:
    """True if a server has connections on a unix socket, accepted or waiting, or if its socket cannot be seen.

    That is so in another network namespace, and where the server has a relative path.
    """
    found = [*_flags_of(path)]
    return any(flags != _LISTENS for flags in found) or (not found and listens(path))


def _flags_of(path: Path) -> Iterator[str]:
    """Yield the flags of all sockets with this path, which a server may spell in another way (proc(5))."""
    own = os.path.realpath(path)
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        found = [words for words in (line.split(maxsplit=7) for line in file) if len(words) == 8]
    for *_, flags, _, _, _, place in found:
        # Links cost a look at the disk, so they are followed for sockets of that name alone.
        if place.rstrip("\n").endswith(f"/{path.name}") and os.path.realpath(place.rstrip("\n")) == own:
            yield flags
