"""A daemon that the tests of a site leave behind keeps no later run out, even if the run itself is killed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory

TESTS = """\
import os, signal, subprocess
def test_shop(packages):
    if os.path.exists("../daemons"):
        return
    daemon = subprocess.Popen(
        ["/bin/sleep", "1000"], start_new_session=True, close_fds=False, env={},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    with open("../daemons", "w") as file:
        print(daemon.pid, file=file)
    os.kill(os.getppid(), signal.SIGKILL)
"""


def test_the_next_update_is_not_locked_out(make_site: SiteFactory) -> None:
    site = make_site.adopted(files={"site_tests.py": TESTS})
    site.publish("alpha", "1.1.0")
    try:
        site.releaser("update", check=-signal.SIGKILL)
        site.releaser("update", check=0)
        assert site.live_version("alpha") == "1.1.0"
    finally:
        for pid in (site.outer / "daemons").read_text(encoding="utf-8").split():
            os.kill(int(pid), signal.SIGKILL)
