"""The figures of `make demo-passenger`: requests to a Django site under Apache with Passenger while releaser works.

For a Debian host, as root: it installs apache2 and libapache2-mod-passenger. Apache runs from a directory of its own.
Passenger restarts an application at most once in ten seconds, at a request; `passenger-config` does so at once.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from server_sites import APACHE, MODULES
from serving import Serving, find_processes, run_demo


class Passenger(Serving):
    """The site under Apache and Passenger, with two processes of the application."""

    server = "Passenger"
    restart = "passenger"
    health_timeout = "30s"
    picture = ""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        place.chmod(0o755)
        # Apache's user reads the Python of the system, not that of another user's home.
        self.env |= {"UV_PYTHON": "/usr/bin/python3", "PASSENGER_INSTANCE_REGISTRY_DIR": str(place / "registry")}

    def files(self) -> dict[str, str]:
        """Return what Passenger looks for."""
        start = "import os\nos.environ['SERVED'] = '1'\nfrom teashop.wsgi import application\n"
        return {"passenger_wsgi.py": start, "public/.gitignore": "", "tmp/.gitignore": "restart.txt\n"}

    def start(self) -> None:
        """Start Apache."""
        (self.place / "registry").mkdir()
        (self.place / "registry").chmod(0o1777)  # without user switching, the watchdog is not root
        configuration = self.place / "apache.conf"
        text = APACHE.format(port=self.port, place=self.place, site=self.site, pid=self.place / "apache.pid")
        configuration.write_text(text + MODULES["Passenger"].format(site=self.site))
        self.run(f"/usr/sbin/apache2 -f {configuration} -k start")

    def list_processes(self) -> set[int]:
        """Return the processes of the application."""
        return find_processes(f"{self.site}/.venv/bin/python\0/usr/share/passenger/")

    def restart_itself(self) -> None:
        """Ask Passenger for a restart."""
        self.run(f"passenger-config restart-app --name '{os.path.realpath(self.site)} (production)'")

    def end(self) -> None:
        """End Apache, and Passenger with it."""
        with contextlib.suppress(SystemExit):
            self.run(f"/usr/sbin/apache2 -f {self.place}/apache.conf -k stop", self.place)
            while self.list_processes():
                time.sleep(0.1)


def install() -> None:
    """Install Apache and Passenger where they are missing."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit("This demo needs root on Debian: it installs apache2 and libapache2-mod-passenger.")
    if not Path("/usr/lib/apache2/modules/mod_passenger.so").exists():
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        words = ["install", "-y", "-qq", "--no-install-recommends", "apache2", "libapache2-mod-passenger"]
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", *words], env=env, check=True)


if __name__ == "__main__":
    install()
    run_demo(Passenger)
