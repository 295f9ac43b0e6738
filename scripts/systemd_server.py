"""A site whose server runs twice by turns, `restart = "systemd"`, under a systemd that ends with the block."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from visitors import Address
from web_server import DOCUMENTED_PROJECT, WebServer, documented, wait_for

from tests.support.systemd import running_systemd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stage import Stage

UNIT = "shop@.service"
DOCUMENTED_SOCKETS = "/run/shop/"
NEEDED = ("/lib/systemd/systemd", "/usr/bin/systemctl", "/usr/bin/nsenter", "/usr/bin/unshare")


@dataclass(frozen=True)
class Instances(WebServer):
    """Two instances of uvicorn, with the unit of the documentation."""

    @classmethod
    def of(cls, stage: Stage) -> Instances:
        """Return a pair whose sockets are next to the site."""
        return cls(stage, Address(path=str(stage.server / "run" / "live.sock")))

    @property
    def pins(self) -> Sequence[str]:
        """An old uvicorn."""
        return ("uvicorn==0.34.0",)

    @staticmethod
    def missing() -> list[str]:
        """Return what is not there."""
        return [path for path in NEEDED if not Path(path).exists()] + (["the user root"] if os.geteuid() else [])

    @property
    def _link(self) -> Path:
        return Path(self.address.path)

    def prepare(self) -> None:
        """Put asgi.py into the checkout, and a program `systemctl` into the PATH."""
        package = self.stage.site / "teashop"
        package.mkdir()
        wsgi = (Path(__file__).parent / "demo_site" / "teashop" / "wsgi.py").read_text(encoding="utf-8")
        (package / "asgi.py").write_text(wsgi.replace("wsgi", "asgi"), encoding="utf-8")
        self._link.parent.mkdir()
        self.stage.env["PATH"] = f"{self._link.parent}:{self.stage.env['PATH']}"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the site during the block."""
        sockets = self._link.parent
        unit = documented("ini", "[Service]\nUser=deploy\nGroup=www-data\nUMask=0007\nWorkingDirectory")
        changes = {
            DOCUMENTED_SOCKETS: f"{sockets}/", DOCUMENTED_PROJECT: str(self.stage.site), "User=deploy": "User=root",
            "shop.asgi": "teashop.asgi",
        }  # fmt: skip
        for old, new in changes.items():
            unit = unit.replace(old, new)
        with running_systemd() as systemd:
            systemctl = sockets / "systemctl"
            systemctl.write_text(f'#!/bin/sh\nexec {" ".join(systemd.inside)} /usr/bin/systemctl "$@"\n')
            systemctl.chmod(0o755)
            systemd.add({UNIT: unit})
            self._link.symlink_to("a.sock")
            systemd.run("systemctl", "start", self._serving)
            wait_for(self.address)
            with (self.stage.server / ".env").open("a") as settings:  # not before: releaser checks that the unit exists
                settings.write(f"RELEASER_RESTART=systemd\nRELEASER_RESTART_UNIT={UNIT}\n")
                settings.write(f"RELEASER_RESTART_SOCKET={self._link}\n")
            yield

    @property
    def _serving(self) -> str:
        return UNIT.replace("@", f"@{self._link.readlink().stem}")

    def restart(self) -> None:
        """Restart the instance that serves the site."""
        self.stage.ask("systemctl", "restart", self._serving)
