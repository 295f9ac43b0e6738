"""Other users can neither delay runs nor mislead them; a long holder of the lock is named."""

import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.people import MEMBER, OWNER, STRANGER, TEAM, People, a_site
from tests.e2e.scenes import eventually
from tests.support.commands import run
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

ALERT = {"RELEASER_LOCK_ALERT": "1s"}


@pytest.fixture(scope="module")
def served(people: People, templates: Templates, everybodys: Path) -> SampleSite:
    """A site whose files a group may read, as the web server's user has to."""
    site = a_site(people, templates, everybodys, "served")
    run(["chgrp", "-hR", TEAM, site.outer], cwd=people.base, env=site.env, check=0)
    return site


def test_a_group_that_may_read_can_change_nothing(people: People, served: SampleSite) -> None:
    env = people.environment(MEMBER, served)
    found = people.run_as(MEMBER, "find", served.state_dir, "!", "-type", "l", "-writable", env=env, check=0)
    assert found.stdout.splitlines() == [str(served.state_dir / "run" / "lock")]
    script = f"cd {served.link} && cat pyvenv.cfg bin/activate lib/python*/site-packages/alpha/__init__.py"
    people.run_as(MEMBER, "sh", "-c", script, env=env, check=0)


def test_a_stranger_reads_nothing_but_the_release(people: People, served: SampleSite) -> None:
    env = people.environment(STRANGER, served)
    script = f"find {served.state_dir} -readable -type f; ls {served.state_dir}; : <{served.state_dir}/run/lock"
    finished = people.run_as(STRANGER, "sh", "-c", script, env=env)
    assert (finished.stdout, finished.returncode != 0) == ("", True), finished
    people.run_as(STRANGER, "cat", served.link / "pyvenv.cfg", env=env, check=0)


@pytest.fixture
def held(people: People, served: SampleSite) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody of the group holds the lock."""
    lock = served.state_dir / "run" / "lock"
    words = ["setpriv", f"--reuid={MEMBER}", f"--regid={TEAM}", "--clear-groups", "flock", lock, "sleep", "300"]
    with subprocess.Popen([str(word) for word in words]) as process:
        eventually(lambda: is_locked(lock), "the lock of the other")
        yield process
        subprocess.run(["pkill", "-P", str(process.pid)], check=False)
        process.kill()


def is_locked(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def alerts(site: SampleSite) -> list[str]:
    """Return the mails about the lock."""
    found = (mail for mail in site.outbox_mails() if "the lock has been held" in str(mail["Subject"]))
    return [str(mail.get_content()) for mail in found]


def test_a_long_holder_of_the_lock_is_mailed_once(
    people: People, served: SampleSite, held: subprocess.Popen[bytes]
) -> None:
    people.by(OWNER, served, "update", check=8, env={"RELEASER_LOCK_ALERT": "0"})
    people.by(OWNER, served, "update", check=8, env=ALERT)
    assert alerts(served) == []
    time.sleep(1.2)
    people.by(OWNER, served, "update", check=8)  # within the two hours that are usual
    assert alerts(served) == []
    for _ in range(2):
        people.by(OWNER, served, "update", check=8, env=ALERT)
        (text,) = alerts(served)
        assert f"{held.pid} ({MEMBER}, flock {served.state_dir / 'run' / 'lock'} sleep 300" in text


_LISTING = """
import os
with open({place!r}, "a") as file:
    for one in os.listdir("/proc/self/fd"):
        if os.path.lexists(f"/proc/self/fd/{{one}}"):
            file.write(os.readlink(f"/proc/self/fd/{{one}}") + "\\n")
"""


def test_no_test_and_no_step_gets_hold_of_the_lock(make_site: SiteFactory, tmp_path: Path) -> None:
    site, place = make_site.adopted(), tmp_path / "open"
    listing = _LISTING.format(place=str(place))
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": f'__version__ = "1.1.0"\n{listing}'})
    script = site.outer / "restart.py"
    script.write_text(listing, encoding="utf-8")
    site.write_dotenv({f"RELEASER_{name}": f"{sys.executable} {script}" for name in ("RESTART", "HEALTH_CHECK")})
    site.releaser("update", check=0)
    found = place.read_text(encoding="utf-8").splitlines()
    assert str(place) in found
    assert [one for one in found if one.startswith(f"{site.state_dir}/run/")] == []
