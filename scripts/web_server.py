"""Real web servers for a demonstration, with files, processes and a port of their own; nothing of the system's runs."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stage import DemoError
from visitors import Address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stage import Stage

SECONDS = 60.0
OLD_GUNICORN = "gunicorn==23.0.0"
# What is shown to administrators there is what runs here.
WEB_SERVERS = Path(__file__).parents[1] / "docs" / "guides" / "web-servers.md"
DOCUMENTED_PROJECT = "/srv/shop_stuff/shop"
APACHE = Path("/usr/sbin/apache2")
MODULES = Path("/usr/lib/apache2/modules")
PASSENGER = Path("/etc/apache2/mods-available")  # where Debian puts how to load it
UWSGI = Path("/usr/bin/uwsgi")
UWSGI_PLUGIN = Path("/usr/lib/uwsgi/plugins/python3_plugin.so")
LOADER = Path("/usr/share/passenger/helper-scripts/wsgi-loader.py")
APACHE_CONF = """\
ServerRoot "{place}"
ServerName localhost
Listen 127.0.0.1:{port}
PidFile "{place}/apache.pid"
DefaultRuntimeDir "{place}"
ErrorLog "{place}/apache.log"
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule mime_module {modules}/mod_mime.so
TypesConfig /dev/null
AddType text/css .css
{user}
Include {passenger}/passenger.load
Include {passenger}/passenger.conf
PassengerInstanceRegistryDir "{place}"
PassengerLogFile "{place}/passenger.log"
PassengerUserSwitching off
PassengerDefaultUser {owner}
PassengerDisableSecurityUpdateCheck on
PassengerDisableAnonymousTelemetry on
"""


@dataclass(frozen=True)
class WebServer(ABC):
    """A web server that runs a site, on a unix socket unless its class says otherwise."""

    stage: Stage
    #: The address at which visitors reach it.
    address: Address

    @property
    def python(self) -> str | None:
        """The version of Python that the site must be on; None for any."""
        return None

    @property
    def pages(self) -> Sequence[str]:
        """The pages that visitors request now and then, in addition to the versions."""
        return ("/",)

    @property
    def pins(self) -> Sequence[str]:
        """The packages of the site that run it, as its lock has them at first."""
        return ()

    @property
    def settings(self) -> Mapping[str, object]:
        """The settings of a site for this server; the time limit is for busy machines."""
        return {
            "health_timeout": "60s",
            "health_check": "http://tea.example.org/health/",
            "health_socket": self.address.path,
        }

    @property
    def settings_without_pin(self) -> Mapping[str, object]:
        """The settings to replace if no process is pinned."""
        return {}

    @abstractmethod
    def prepare(self) -> None:
        """Add to the checkout what the server needs of it."""

    @abstractmethod
    def running(self) -> contextlib.AbstractContextManager[None]:
        """Run the site during the block."""

    @abstractmethod
    def restart(self) -> None:
        """Restart the site by the server's own way, without releaser."""


@dataclass(frozen=True)
class Passenger(WebServer):
    """Apache with mod_passenger, both as Debian has them; the processes run as the user who starts it."""

    @classmethod
    def of(cls, stage: Stage) -> Passenger:
        """Return one on a free port."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            return cls(stage, Address(port=probe.getsockname()[1]))

    @property
    def python(self) -> str | None:
        """3.11, if Passenger's loader needs the module `imp`, which Python 3.12 does not have any more."""
        return "3.11" if re.search(r"^import .*\bimp\b", LOADER.read_text(), re.MULTILINE) else None

    @property
    def pages(self) -> Sequence[str]:
        """The front page, and what Apache serves by itself."""
        return ("/", "/static/teashop/style.css")

    @staticmethod
    def missing() -> list[str]:
        """Return what is not installed."""
        return [str(path) for path in (APACHE, PASSENGER / "passenger.load", LOADER) if not path.exists()]

    @property
    def settings(self) -> Mapping[str, object]:
        """The restart file is found without any; the time limit is for machines that are busy."""
        return {"health_check": f"http://127.0.0.1:{self.address.port}/health/", "health_timeout": "60s"}

    @property
    def _place(self) -> Path:
        return self.stage.server / "apache"

    def prepare(self) -> None:
        """Say where this Passenger is; the site has its passenger_wsgi.py."""
        self.stage.env["PASSENGER_INSTANCE_REGISTRY_DIR"] = str(self._place)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the site during the block."""
        place = self._place
        place.mkdir()
        root = os.geteuid() == 0  # under which Apache does not serve
        general = APACHE_CONF.format(
            place=place,
            port=self.address.port,
            modules=MODULES,
            passenger=PASSENGER,
            owner=pwd.getpwuid(os.geteuid()).pw_name,
            user="User www-data\nGroup www-data" if root else "",
        )
        site = documented("apache").replace("*:80", f"127.0.0.1:{self.address.port}")
        conf = place / "apache.conf"
        conf.write_text(general + site.replace(DOCUMENTED_PROJECT, str(self.stage.site)))
        with started([APACHE, "-f", conf, "-D", "FOREGROUND"], self.stage, place / "output.log"):
            wait_for(self.address)
            with (self.stage.server / ".env").open("a") as settings:  # not before: releaser checks that Passenger runs
                settings.write("RELEASER_RESTART=passenger\n")
            yield

    def restart(self) -> None:
        """Touch the file that Passenger looks at."""
        (self.stage.site / "tmp" / "restart.txt").touch()


# Updates are compared with this restart of gunicorn: a new one in the same process, on the same sockets.
GUNICORN_CONF = '''\
import os
import signal
import sys
import time

bind = "unix:tmp/gunicorn.sock"
pidfile = "tmp/gunicorn.pid"
workers = 2

PYTHON = os.path.abspath(".venv/bin/python")


def on_reload(server):
    """Start again in this very process, on the release that is live now; the sockets are handed over."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # one that comes too early waits
    ends_at = time.monotonic() + 1
    while server.WORKERS and time.monotonic() < ends_at:
        server.kill_workers(signal.SIGTERM)  # they finish what they have; one that is just starting may miss the first
        time.sleep(0.05)
        server.reap_workers()
    sockets = ",".join(str(listener.fileno()) for listener in server.LISTENERS)
    environ = {**server.cfg.env_orig, "GUNICORN_FD": sockets, "GUNICORN_PID": str(os.getpid())}
    os.execve(PYTHON, [PYTHON, "-m", "gunicorn", *sys.argv[1:]], environ)


def when_ready(server):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
'''

OWN_RESTART = "kill -HUP $(cat tmp/gunicorn.pid)"  # by which gunicorn restarts by itself


@dataclass(frozen=True)
class Gunicorn(WebServer):
    """gunicorn from the site's own lock, on a unix socket."""

    @classmethod
    def of(cls, stage: Stage) -> Gunicorn:
        """Return one with the socket that the documentation names."""
        return cls(stage, Address(path=str(stage.site / "tmp" / "gunicorn.sock")))

    @property
    def pins(self) -> Sequence[str]:
        """An old gunicorn."""
        return (OLD_GUNICORN,)

    @staticmethod
    def missing() -> list[str]:
        """Nothing is: it comes with the site."""
        return []

    @property
    def settings(self) -> Mapping[str, object]:
        """gunicorn has its own value of `restart`."""
        return {**super().settings, "restart": "gunicorn"}

    @property
    def settings_without_pin(self) -> Mapping[str, object]:
        """Only a pinned gunicorn can start its successor."""
        return {"restart": ["sh", "-c", OWN_RESTART]}

    def prepare(self) -> None:
        """Put a configuration into the checkout with which gunicorn also restarts by itself, on SIGHUP."""
        (self.stage.site / "gunicorn.conf.py").write_text(GUNICORN_CONF)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the site during the block."""
        words: list[str | Path] = [
            self.stage.link / "bin/python",
            "-m",
            "gunicorn",
            "--config",
            "gunicorn.conf.py",
            "teashop.wsgi",
        ]
        with started(words, self.stage, self.stage.server / "gunicorn.log"):
            wait_for(self.address)
            yield

    def restart(self) -> None:
        """Send the signal, once a gunicorn that has taken over has written its pid file."""
        self.stage.ask("sh", "-c", f"until test -s tmp/gunicorn.pid; do sleep 0.1; done; {OWN_RESTART}")


@dataclass(frozen=True)
class Uwsgi(WebServer):
    """uWSGI as Debian has it, on a unix socket."""

    @classmethod
    def of(cls, stage: Stage) -> Uwsgi:
        """Return one with the socket that the documentation names."""
        return cls(stage, Address(path=str(stage.site / "tmp" / "uwsgi.sock")))

    @property
    def python(self) -> str:
        """That of Debian, for which its plugin is built."""
        return re.sub(r".*python3(\d+)_plugin.so", r"3.\1", os.path.realpath(UWSGI_PLUGIN))

    @staticmethod
    def missing() -> list[str]:
        """Return what is not installed."""
        return [str(path) for path in (UWSGI, UWSGI_PLUGIN) if not path.exists()]

    def prepare(self) -> None:
        """Put uWSGI's configuration into the checkout, as it is documented."""
        text = documented("ini", "[uwsgi]\n").replace(DOCUMENTED_PROJECT, str(self.stage.site))
        (self.stage.site / "uwsgi.ini").write_text(text.replace("shop.wsgi", "teashop.wsgi"))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the site during the block."""
        with started([UWSGI, "--ini", "uwsgi.ini"], self.stage, self.stage.server / "uwsgi.log"):
            wait_for(self.address)
            yield

    def restart(self) -> None:
        """Touch the file that uWSGI looks at."""
        (self.stage.site / "tmp" / "restart.txt").touch()


def names_of(pins: Sequence[str]) -> tuple[str, ...]:
    """Return the packages that are pinned."""
    return tuple(pin.partition("==")[0] for pin in pins)


def documented(language: str, beginning: str = "") -> str:
    """Return the one block in this language, and with this beginning, of what is told about restarting."""
    text = WEB_SERVERS.read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n({re.escape(beginning)}.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if len(blocks) != 1:
        message = f"{WEB_SERVERS} has {len(blocks)} blocks of {language}, not one"
        raise DemoError(message)
    return str(blocks[0])


@contextlib.contextmanager
def started(words: Sequence[str | Path], stage: Stage, log: Path, *, nice: int | None = None) -> Iterator[None]:
    """Run a server in a session of its own, and end it in good order."""
    with log.open("w") as output:
        priority = str(stage.nice if nice is None else nice)
        process = subprocess.Popen(
            ["nice", "-n", priority, *words], cwd=stage.site, env=stage.env, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield
    except BaseException:
        for file in (log, *log.parent.glob("*.log")):
            print(f"--- {file.name}\n{file.read_text(errors='replace')[-4000:]}", flush=True)
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # also a server that has taken its place
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(address: Address, page: str = "/") -> None:
    """Wait until the site answers; DemoError if it never does."""
    ends_at = time.monotonic() + SECONDS
    while True:
        connection = address.connection()
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", page)
            if connection.getresponse().status == 200:
                return
        if time.monotonic() > ends_at:
            message = f"the site did not answer within {SECONDS:g} s"
            raise DemoError(message)
        time.sleep(0.05)
