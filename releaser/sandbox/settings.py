"""The settings of the sandbox."""

from typing import Literal

from releaser.site.declaring import Part
from releaser.site.values import FilePaths


class SandboxSettings(Part):
    """The settings of the sandbox: access of tests and builds."""

    #: The sandbox for tests and builds: `auto` uses bubblewrap where it works, `bwrap` requires it.
    sandbox: Literal["auto", "bwrap", "off"] = "auto"
    #: Files and directories in which changes by tests and builds stay; they must exist.
    test_writable: FilePaths = ()
    #: Sockets, or directories with sockets, that tests and builds can use in addition to those of databases.
    test_sockets: FilePaths = ()
    #: Let tests use the network. Otherwise, each test run has only a private loopback interface.
    test_network: bool = True
