"""Drives systemd: the timer and the service that update a site, of the system or of one user."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError, refuse
from releaser.system.environment import own_path
from releaser.system.files import read_file, read_text, replace_file
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from releaser.system.process import Runner

TEMPLATE = Path(__file__).with_name("releaser@.service")
LINGERING = Path("/var/lib/systemd/linger")  # has a file for each user whose units run without a login
_SYSTEM = Path("/etc/systemd/system")
_TIMEOUT = 60.0  # seconds
# Settings that a user's manager supports for a service without a mount namespace; in one, groups would be lost.
_OF_USER = frozenset(
    {
        "Description", "Type", "ExecStart", "KillMode", "TimeoutStopSec", "NoNewPrivileges", "LockPersonality",
        "RestrictRealtime", "SystemCallArchitectures",
    }
)  # fmt: skip
_TIMER = """\
[Unit]
Description={description}

[Timer]
OnCalendar={when}
Persistent=yes

[Install]
WantedBy=timers.target
"""
_NO_BUS = "(?i)failed to connect to .*bus|XDG_RUNTIME_DIR"
_HEAD = "# Written by `releaser schedule systemd`; change it by `systemctl edit`. "


class Job(Frozen):
    """A service that updates `project` by the command `words`, as `user`, with write access to the `writable` places.

    Without a `user`, the units belong to the systemd of this user. `when` is a calendar event of systemd.
    """

    project: Path
    words: tuple[str, ...]
    user: str
    writable: tuple[str, ...]
    when: str

    @property
    def name(self) -> str:
        """The name of the units: the name of the project, and a digest for projects of the same name."""
        digest = hashlib.sha256(os.fsencode(self.project)).hexdigest()[:6]
        return f"releaser-{re.sub(r'[^A-Za-z0-9_.-]', '_', self.project.name)}-{digest}"

    @property
    def timer(self) -> str:
        """The unit that is enabled."""
        return f"{self.name}.timer"

    def directory(self, environ: Mapping[str, str]) -> Path:
        """Return the directory of the units."""
        if self.user:
            return _SYSTEM
        home = Path(environ.get("HOME", "/"))
        return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user"

    def units(self, environ: Mapping[str, str]) -> dict[Path, str]:
        """Return the text of each unit by its path. Raises PreflightError for names that no unit can contain."""
        if odd := [text for text in (*self.words, *self.writable) if re.search(r"[\x00-\x1f\x7f]", text)]:
            refuse("unit-name", f"a unit of systemd cannot name {odd[0]!r}", "Rename it: without control characters.")
        description = f"Update the Python packages of {self.project.name}".replace("%", "%%")
        values = {
            "Description": description,
            "User": self.user,
            "ExecStart": " ".join(_quote(word) for word in self.words),
            "ReadWritePaths": " ".join(_quote(place) for place in self.writable),
        }
        lines = []
        for line in read_text(TEMPLATE).splitlines():
            key, is_set, value = line.partition("=")
            if self.user or not is_set or key in _OF_USER:
                lines.append(f"{key}={values.get(key, value)}" if is_set and not line.startswith("#") else line)
        service = "\n".join(_without_orphans(lines)) + "\n"
        texts = {f"{self.name}.service": service, self.timer: _TIMER.format(description=description, when=self.when)}
        place = self.directory(environ)
        return {place / name: f"{_HEAD}{_digest(text)}\n{text}" for name, text in texts.items()}


def packaged_timer(project: Path) -> str:
    """Return the timer that is enabled for a project by the template of the Debian package; empty if none is."""
    path = re.sub(rb"[^\w:./]|^\.", lambda found: b"\\x%02x" % found[0][0], os.fsencode(project).strip(b"/"))
    name = f"releaser@{path.decode().replace('/', '-')}.timer"
    return name if os.path.lexists(_SYSTEM / "timers.target.wants" / name) else ""


def _without_orphans(lines: Sequence[str]) -> list[str]:
    """Drop comments whose settings are missing, and repeated blank lines."""
    kept: list[str] = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if not (line.startswith("#") and not after) and (line or (kept and kept[-1])):
            kept.append(line)
    return kept if kept[-1] else kept[:-1]


def _quote(word: str) -> str:
    """Quote a word as systemd.syntax(7) and systemd.service(5) require."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[\w@%+=:,./$-]+", escaped) else f'"{escaped}"'


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_untouched(text: str) -> bool:
    head, _, rest = text.partition("\n")
    return head == f"{_HEAD}{_digest(rest)}"


class Systemd(Frozen):
    """The system's systemd, or this user's."""

    runner: Runner
    of_user: bool

    def would_change(self, job: Job) -> bool:
        """True if `install` has anything to do. Raises PreflightError if a person has edited a unit."""
        units = job.units(self.runner.environ)
        present = {path: _text_of(path) for path in units}
        for path, text in present.items():
            if text is not None and text != units[path] and not _is_untouched(text):
                advice = f"Run `rm {path}` and try again, or keep it. Use `systemctl edit` for changes to a unit."
                refuse("unit-changed", f"{path} was edited, so releaser did not change it", advice)
        if present == units:
            with contextlib.suppress(ToolError):
                self._run("is-enabled", "--quiet", job.timer)
                return False
        return True

    def install(self, job: Job) -> None:
        """Write the units and enable the timer, if that is not done yet. Raises PreflightError."""
        if not self.would_change(job):
            return
        units = job.units(self.runner.environ)
        present = {path: _text_of(path) for path in units}
        try:
            for path, text in units.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, text.encode())
                path.chmod(0o644)
            self._run("daemon-reload")
            self._run("enable", "--now", job.timer)
        except (OSError, ToolError) as error:
            self._restore(present)
            reason = error.reason if isinstance(error, ToolError) else str(error)
            refuse("timer-failed", f"the timer was not installed: {reason}", self._advise(reason))

    def is_there(self, job: Job) -> bool:
        """True if at least one of the units exists."""
        return any(os.path.lexists(path) for path in job.units(self.runner.environ))

    def remove(self, job: Job) -> None:
        """Disable the timer and delete the units, if they exist. Raises PreflightError."""
        if not self.is_there(job):
            return
        try:
            self._run("disable", "--now", job.timer)
        except ToolError as error:
            refuse("timer-failed", f"the timer was not removed: {error.reason}", f"Run `systemctl status {job.timer}`.")
        for path in job.units(self.runner.environ):
            path.unlink(missing_ok=True)
        with contextlib.suppress(ToolError):  # deleted units do no harm until the next reload
            self._run("daemon-reload")

    def _advise(self, reason: str) -> str:
        cron = "run `releaser schedule cron --install` instead"
        if self.of_user and re.search(_NO_BUS, reason):
            return (
                "systemd does not run for this user without a login. Run `sudo loginctl enable-linger $USER`, then"
                f" `export XDG_RUNTIME_DIR=/run/user/$(id -u)`, and this command again; or {cron}."
            )
        return f"Run `systemctl status`, or {cron}."

    def _restore(self, present: Mapping[Path, str | None]) -> None:
        with contextlib.suppress(OSError, ToolError):
            for path, text in present.items():
                path.unlink(missing_ok=True) if text is None else replace_file(path, text.encode())
            self._run("daemon-reload")

    def _run(self, *words: str) -> None:
        options = ["--user"] if self.of_user else []
        env = {**self.runner.neutral, "PATH": own_path(self.runner.environ)}
        self.runner.run(["systemctl", *options, *words], cwd=Path("/"), timeout=_TIMEOUT, env=env)


def _text_of(path: Path) -> str | None:
    try:
        return read_file(path).decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        refuse("unit-unreadable", f"{path} cannot be read: {error.strerror}", f"Run `ls -ld {path}`.")
