"""The figures of `make demo-gunicorn`: requests to a Django site under gunicorn while releaser works on it.

`restart = "gunicorn:PIDFILE"` starts a second master on the new release; the first ends when that one is well.
"""

import contextlib
import os
import signal
import time

from server_sites import GUNICORN
from serving import Serving, find_processes, run_demo


class Gunicorn(Serving):
    """The site under gunicorn, with two workers."""

    server = "gunicorn"
    dependency = "gunicorn"
    restart = "gunicorn:../gunicorn.pid"
    picture = "docs/pictures/latency.svg"

    def files(self) -> dict[str, str]:
        """Return the configuration of gunicorn."""
        return {"gunicorn.conf.py": GUNICORN.format(self.site / ".venv/bin")}

    def start(self) -> None:
        """Start gunicorn as a daemon."""
        words = f"--workers 2 --bind 127.0.0.1:{self.port} --pid {self.outer}/gunicorn.pid --log-file {self.outer}/log"
        self.run(f".venv/bin/gunicorn --daemon --no-control-socket --env SERVED=1 {words} teashop.wsgi")

    def list_processes(self) -> set[int]:
        """Return the masters and workers."""
        return find_processes(f"--pid\0{self.outer}/gunicorn.pid")

    def restart_itself(self) -> None:
        """Hand over to a second master, as gunicorn's documentation says."""
        file = self.outer / "gunicorn.pid"
        first = int(file.read_text())
        os.kill(first, signal.SIGUSR2)
        while len(self.list_processes()) < 6:  # two masters, with two workers each
            time.sleep(0.05)
        os.kill(first, signal.SIGTERM)
        while not file.exists() or int(file.read_text() or first) == first:
            time.sleep(0.05)

    def end(self) -> None:
        """End gunicorn."""
        for pid in self.list_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    run_demo(Gunicorn)
