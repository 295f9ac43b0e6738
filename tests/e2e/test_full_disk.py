"""A rollback on a disk without one free byte, which is when somebody needs it most."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.images import mounted
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import MailServer
from tests.support.templates import Templates

SIZE = 200 * 1024 * 1024  # bytes
# The text of the symlink is longer than 59 bytes, so that ext4 has no room for it in the inode.
LONG = "a_site_whose_name_is_as_long_as_many_are"


@contextlib.contextmanager
def full(place: Path) -> Iterator[None]:
    """Take the last byte of a file system; give all back after the block."""
    ballast = place / "ballast"
    ballast.mkdir()
    found = os.statvfs(ballast)
    free, number = found.f_bavail, 0
    while free:
        with (ballast / str(number)).open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, free * found.f_bsize)
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017
                free //= 2
        number += 1
    try:
        yield
    finally:
        shutil.rmtree(ballast)


@pytest.fixture
def site(tmp_path: Path, templates: Templates, smtp_server: MailServer) -> Iterator[SampleSite]:
    """A site with two releases, and a commit between them, on an ext4 of its own."""
    with mounted(tmp_path / "disk", kind="ext4", size=SIZE) as place:
        site = SiteFactory(place, templates)(LONG, venv=True)
        mail = {"RELEASER_SMTP_HOST": smtp_server.host, "RELEASER_SMTP_PORT": str(smtp_server.port)}
        site.write_dotenv({**mail, "RELEASER_KEEP_AT_LEAST": "1h", "RELEASER_CULPRITS": "off"})
        site.releaser("init", check=0)
        site.push_from_elsewhere({f"pages/{number}.txt": "new " * 1000 for number in range(20)})
        site.update_to("alpha", "1.1.0")
        assert len(os.readlink(site.link)) > 59
        yield site


def test_prune_and_rollback_without_a_free_byte(site: SampleSite, smtp_server: MailServer) -> None:
    """Without an inode is one of the faults."""
    site.publish("alpha", "1.2.0", broken=True)
    failed = site.json("update", check=5)["release"]
    site.releaser("prune", check=0)
    assert failed in site.releases()  # what is younger than an hour stays else, as a process may have begun to use it
    left, head = site.live_id(), site.head()
    with full(site.outer.parent):
        assert "the disk is full" in site.releaser("prune", "--dry-run", "-v", check=0).stdout
        site.releaser("prune", check=0)
    assert len(site.releases()) == 2
    assert failed not in site.releases()
    smtp_server.messages.clear()
    with full(site.outer.parent):
        finished = site.releaser("rollback", check=0)
        assert (site.live_id() != left, site.live_version("alpha")) == (True, "1.0.0")
        assert site.head() != head
        assert not (site.path / "pages").exists()
        assert "lost" not in finished.stdout + finished.stderr
        assert "Traceback" not in finished.stderr
        (mail,) = smtp_server.messages
        assert "rolled back" in str(mail)
        assert site.json("verify")["problems"] == []
    assert left in {one["id"] for one in site.json("list")}
    assert site.json("history")[0]["command"] == "rollback"


def test_a_rollback_whose_code_is_larger_than_the_room_that_was_kept(site: SampleSite) -> None:
    """Nothing changes, and a rollback without the code works."""
    large = {f"large/{number}.txt": os.urandom(200_000).hex() for number in range(20)}
    site.push_from_elsewhere(large)
    site.releaser("update", check=0)
    site.push_from_elsewhere(dict.fromkeys(large, ""))
    site.update_to("alpha", "1.2.0")
    left, head = site.live_id(), site.head()
    with full(site.outer.parent):
        assert "--keep-code" in site.releaser("rollback", check=3).stderr
        assert (site.live_id(), site.head()) == (left, head)
        assert site.git("status", "--porcelain", "--untracked-files=no") == ""
        site.releaser("rollback", "--keep-code", check=0)
        assert site.live_version("alpha") == "1.1.0"
