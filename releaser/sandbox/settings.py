"""The settings of the sandbox."""

import os
from pathlib import Path
from typing import Any, Literal

from releaser.site.declaring import Part, intersect
from releaser.site.values import FilePaths
from releaser.system.frozen import field

INSTALL = "Install bubblewrap (`apt install bubblewrap`)"
_STRICTER = ("off", "auto", "bwrap")


def _choose_stricter(live: str, own: str, _: Any) -> str:
    return max(live, own, key=_STRICTER.index)


class SandboxSettings(Part):
    """The settings of the sandbox: access of tests and builds."""

    #: The sandbox for tests and builds: `auto` uses bubblewrap where it works, `bwrap` requires it.
    sandbox: Literal["auto", "bwrap", "off"] = field(default="auto", metadata={"in_force": _choose_stricter})
    #: Existing files and directories in which changes by tests and builds are kept.
    test_writable: FilePaths = field(default=(), metadata={"in_force": intersect})
    #: Sockets, or directories with sockets, that tests and builds can use in addition to those of databases.
    test_sockets: FilePaths = field(default=(), metadata={"in_force": intersect})
    #: Let tests use the network. Otherwise, each test run has only a private loopback interface.
    test_network: bool = field(default=True, metadata={"in_force": lambda live, own, _: live and own})

    def writable_places(self, checkout: Path) -> list[Path]:
        """Return the absolute paths of `test_writable`."""
        return [Path(os.path.normpath(checkout / Path(path).expanduser())) for path in self.test_writable]
