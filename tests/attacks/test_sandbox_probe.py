"""`releaser check --sandbox` tries what code in the sandbox can reach, and says so also where no sandbox works."""

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from releaser.sandbox.landlock import can_forbid_abstract_sockets
from tests.support.guards import require
from tests.support.sites import SiteFactory


@pytest.mark.parametrize("sandbox", ["bwrap", "off"])
def test_what_was_tried_and_what_was_stopped(make_site: SiteFactory, sandbox: str) -> None:
    require(shutil.which("bwrap"), "bubblewrap is needed")
    site = make_site.adopted()
    home = Path(site.env["HOME"])
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id").write_text("secret", encoding="utf-8")
    env = {"RELEASER_SANDBOX": sandbox, "RELEASER_TEST_WRITABLE": ""}
    before = site.snapshot()
    with tempfile.TemporaryDirectory(dir="/tmp") as place, socket.socket(socket.AF_UNIX) as agent:
        agent.bind(f"{place}/agent.1")
        agent.listen()
        tried = site.json("check", "--sandbox", env=env)["tried"]
        off = {
            one["what"]: one["reached"]
            for one in site.json("check", "--sandbox", env={**env, "RELEASER_TEST_NETWORK": "false"})["tried"]
        }
        text = site.releaser("check", "--sandbox", env=env, check=0).stdout
    found = {one["what"]: one["reached"] for one in tried}
    apart = sandbox == "bwrap"
    stopped = [
        f"{place}/agent.1",
        "a socket of this user in /tmp",
        f"read {home / '.ssh'}",
        f"write in {site.path}, to stay",
        f"write in {site.state_dir}, to stay",
        "a process of this user",
        "shared memory of another process",
    ]
    assert [one for one in stopped if found[one] == apart] == []
    assert found["an abstract socket"] == (not (apart and can_forbid_abstract_sockets()))
    assert (found["a service on this host"], off["a service on this host"]) == (True, not apart)
    assert {one["kind"] for one in tried} >= {"network", "sockets", "files", "processes", "memory", "terminals"}
    assert [one["what"] for one in tried if one["kind"] == "terminals" and one["reached"] == apart] == []
    assert ("stopped" in text) == apart
    assert "processes" in text
    assert site.snapshot() == before
    assert [name for name in os.listdir(home) if name.startswith(".releaser-")] == []
