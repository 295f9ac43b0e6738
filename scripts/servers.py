"""The table of docs/servers.md: real servers and runners, restarted by releaser in the right way, and by a reload.

Names of rows may be given. Each has a small site in a temporary directory, with packages from the usual index.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from demo import Story, expect
from server_sites import APACHE, APP, FEED, GUNICORN, MODULES, NEW, OLD, RESTART, SUPERVISOR, TASKS
from traffic import Visitors, ask, wait_for


class Server(NamedTuple):
    """A row: packages, the command that starts it, the setting `restart`, and the reload that is wrong."""

    packages: str
    start: str
    restart: str = "sh ../restart.sh"
    reload: str = "kill -HUP $(cat ../server.pid)"
    kind: str = "socket"  # what the supervisor holds; `itself` is a daemon without one
    stop: str = "TERM"
    restart_file: str = ""
    is_apache: bool = False  # Debian's, as root


_GUNICORN = "--daemon --no-control-socket --workers 2 --pid ../server.pid --log-file ../log --bind 127.0.0.1:{port}"
_APACHE = "/usr/sbin/apache2 -f {outer}/apache.conf -k start"
_HANDOVER = "gunicorn:../server.pid"
SERVERS = {
    "gunicorn": Server("gunicorn", f".venv/bin/gunicorn {_GUNICORN} app", _HANDOVER, kind="itself"),
    "gunicorn --preload": Server("gunicorn", f".venv/bin/gunicorn {_GUNICORN} --preload app", _HANDOVER, kind="itself"),
    "python -m gunicorn": Server("gunicorn", f".venv/bin/python -m gunicorn {_GUNICORN} app", _HANDOVER, kind="itself"),
    "python -m gunicorn --preload": Server(
        "gunicorn", f".venv/bin/python -m gunicorn {_GUNICORN} --preload app", _HANDOVER, kind="itself"
    ),
    "uvicorn": Server("uvicorn", ".venv/bin/uvicorn --fd 3 --workers 2 app:asgi"),
    "hypercorn": Server("hypercorn", ".venv/bin/hypercorn --bind fd://3 --workers 2 app:asgi"),
    "granian": Server(
        "granian", ".venv/bin/granian --port {port} --interface wsgi --workers 2 app:application", kind="none"
    ),
    "uWSGI": Server(
        "uwsgi",
        ".venv/bin/uwsgi --master --http-socket 127.0.0.1:{port} --wsgi-file app.py --processes 2 --lazy-apps "
        "--virtualenv .venv --touch-reload tmp/restart.txt --touch-chain-reload ../chain --need-app",
        "auto",
        "touch ../chain",
        "none",
        "INT",
    ),
    "mod_wsgi": Server("six", _APACHE, "auto", kind="itself", restart_file="app.py", is_apache=True),
    "Passenger": Server("six", _APACHE, "passenger", kind="itself", is_apache=True),
    "Celery": Server("celery", ".venv/bin/celery -A tasks worker --concurrency 2 --loglevel ERROR", kind="none"),
    "rq": Server("rq", ".venv/bin/rq worker --url unix://{queue}.sock", kind="none"),
    "huey": Server("huey", ".venv/bin/python -m huey.bin.huey_consumer tasks.app --workers 2", kind="none", stop="INT"),
}


class Trial(Story):
    """A site under a server, and what its visitors, or the senders of tasks, see."""

    def __init__(self, place: Path, name: str) -> None:
        super().__init__(place)
        self.place, self.outer, self.name, self.server = place, self.site.parent, name, SERVERS[name]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.is_worker = self.server.packages in TASKS
        self.queue, self.done = place / "queue", place / "done"
        self.env |= {"QUEUE": str(self.queue), "DONE": str(self.done), "RELEASER_AUDIT": "off"}
        if self.server.is_apache:  # its user reads the site, and the Python of the system
            place.chmod(0o755)
            self.env |= {"UV_PYTHON": "/usr/bin/python3", "PASSENGER_INSTANCE_REGISTRY_DIR": str(place / "registry")}
        self.children: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> None:
        """Start what lasts until the end, in a session of its own."""
        log = (self.place / "server.log").open("ab")
        process = subprocess.Popen(
            words, cwd=self.site, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self.children.append(process)

    def set_up(self) -> None:
        """Make the site, let releaser adopt it, and start its server."""
        packages = [
            self.server.packages,
            *([] if self.server.is_apache else ["six"]),
            *(["redis"] if self.name == "rq" else []),
        ]
        toml = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'
        toml += f'dependencies = {json.dumps(packages)}\n[tool.releaser]\ntest_command = "python test.py"\n'
        test = "import unittest, six\nclass Test(unittest.TestCase):\n    def test(self):\n        six.u('tea')\n"
        files = {"pyproject.toml": toml, "app.py": APP, "test.py": f"{test}unittest.main()\n", "feed.py": FEED}
        files |= {".gitignore": "/.venv\n__pycache__/\n", "tmp/restart.txt": ""}
        files |= {"gunicorn.conf.py": GUNICORN.format(self.site / ".venv/bin")} if "gunicorn" in self.name else {}
        files |= {"tasks.py": TASKS[self.server.packages]} if self.is_worker else {}
        files |= {"passenger_wsgi.py": "from app import application\n"} if self.server.is_apache else {}
        (self.site / "public").mkdir(parents=True)
        for folder in (self.queue, Path(f"{self.queue}-control")):
            folder.mkdir()
        (self.outer / "restart.sh").write_text(RESTART.format(self.server.stop))
        (self.outer / "reload.sh").write_text(self.server.reload)
        if self.server.is_apache:
            (self.place / "registry").mkdir()
            (self.place / "registry").chmod(0o1777)
            text = APACHE.format(port=self.port, place=self.place, site=self.site, pid=self.outer / "server.pid")
            (self.outer / "apache.conf").write_text(text + MODULES[self.name].format(site=self.site))
        (self.outer / "chain").touch()
        self.make_checkout(files, (f"six=={OLD}",))
        self.set("none")
        self.run("releaser init")
        start = self.server.start.format(port=self.port, queue=self.queue, outer=self.outer)
        if self.name == "rq":
            self.start("redis-server", "--port", "0", "--unixsocket", f"{self.queue}.sock", "--save", "")
        if self.server.kind == "itself":
            self.run(start)
        else:
            self.start(sys.executable, "-c", SUPERVISOR, str(self.port), self.server.kind, start)
        if self.is_worker:
            self.start(str(self.site / ".venv/bin/python"), "feed.py")

    def set(self, restart: str) -> None:
        """Set how releaser restarts the site."""
        lines = [f"RESTART={shlex.quote(restart)}", "ENVIRONMENT=local"]
        if self.is_worker:
            lines[0] = f"RESTART_WORKERS={shlex.quote(restart)}"
            lines.append("RESTART=none")
        else:
            lines += [f"RESTART_FILE={self.server.restart_file}"] if self.server.restart_file else []
            lines += [f"HEALTH_CHECK=http://127.0.0.1:{self.port}/", "HEALTH_TIMEOUT=15s"]
        (self.outer / ".env").write_text("".join(f"RELEASER_{line}\n" for line in lines))

    def find_version(self) -> str:
        """Return the versions of six that answer now, or that did the last tasks."""
        if not self.is_worker:
            return " and ".join(sorted({ask(self.port).page or "nothing" for _ in range(30)}))
        before, deadline = len(self.read(self.done)), time.monotonic() + 60
        while len(self.read(self.done)) < before + 4:
            expect(time.monotonic() < deadline, f"{self.name} does no task:\n{self.log()}")
            time.sleep(0.1)
        return " and ".join(sorted({line.split()[1] for line in self.read(self.done)[before + 1 :]}))

    @staticmethod
    def read(path: Path) -> list[str]:
        """Return the lines of a file."""
        return path.read_text().splitlines() if path.exists() else []

    def act(self, command: str) -> tuple[str, str]:
        """Run a command of releaser; return the version that runs afterwards, and what releaser said."""
        done = subprocess.run(
            shlex.split(f"releaser {command} --json"), cwd=self.site, env=self.env, capture_output=True, check=False
        )
        answer = json.loads(done.stdout)
        said = [f"{problem['message']} {problem['advice']}" for problem in answer["problems"]] + answer["notes"]
        words = re.sub(r"(?:, )?process (\d+) \(.*?, since [^)]*\)", "", " ".join(said)).replace(
            ": .", " (each is named)."
        )
        return self.find_version(), f"exit {done.returncode}, `{answer['result']}`. {words}".strip()

    def make_row(self) -> str:
        """Return the row of the table."""
        self.set_up()
        shown = self.run(f"uv pip show --python .venv/bin/python {self.server.packages}")
        version = "of Debian" if self.server.is_apache else shown.partition("Version: ")[2].split()[0]
        visitors = Visitors(self.port, self.place / "answers")
        with contextlib.nullcontext() if self.is_worker else visitors:
            if not self.is_worker:
                expect(wait_for(self.port) == OLD, f"{self.name} does not start:\n{self.log()}")
            expect(self.find_version() == OLD, "the old release does not run")
            began = time.time()
            self.set(self.server.restart)
            ends = [self.act("update"), self.act("rollback")]
            if self.is_worker:
                failed = f"{self.count_lost()} tasks"
            else:
                answers = visitors.answers(began, time.time())
                failed = f"{sum(not answer.page for answer in answers)} of {len(answers)}"
            self.run("releaser unhold --all")
            self.set("sh ../reload.sh")
            wrong, said = self.act("update")
        names = {OLD: "the old one", NEW: "the new one", f"{OLD} and {NEW}": "both"}
        right = "the right one" if [each[0] for each in ends] == [NEW, OLD] else f"WRONG: {ends}"
        for path in (self.place, self.outer, self.site):
            said = said.replace(str(path), "…")
        cells = (f"{self.name} {version}", f"`{self.server.restart}`", right, failed, names.get(wrong, wrong), said)
        return f"| {' | '.join(cells)} |"

    def count_lost(self) -> int:
        """Return how many of the tasks that were sent by now are never done."""
        sent, deadline = set(self.read(Path(f"{self.done}.sent"))), time.monotonic() + 20
        while (lost := sent - {line.split()[0] for line in self.read(self.done)}) and time.monotonic() < deadline:
            time.sleep(0.2)
        return len(lost)

    def log(self) -> str:
        """Return the end of what the server printed."""
        return "\n".join([*self.read(self.place / "server.log"), *self.read(self.outer / "log")][-20:])

    def end(self) -> None:
        """End what was started."""
        for process in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if self.server.kind == "itself":
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((self.outer / "server.pid").read_text()), signal.SIGTERM)


def main() -> None:
    """Print the table."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    print("| server | `restart` | release after update, rollback | failed | after a reload | what releaser says then |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in sys.argv[1:] or SERVERS:
        place = Path(tempfile.mkdtemp(prefix="releaser-servers-"))
        trial = Trial(place, name)
        try:
            print(trial.make_row(), flush=True)
        except BaseException:
            print(trial.log(), file=sys.stderr)
            raise
        finally:
            trial.end()
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
