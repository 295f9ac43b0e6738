"""Disks, owners and permissions that are not as they should be; nothing is lost on any of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.refusals import refused, small_file_system, unfit, without_override
from tests.e2e.scenes import body, states
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import LocalIndex


def test_a_state_directory_that_is_a_file_or_a_link_that_leads_nowhere(make_site: SiteFactory, tmp_path: Path) -> None:
    """A question says so too, and no more than that."""
    site = make_site(venv=True)
    file = site.path / "manage.py"
    for command in ("check", "status", "list", "history", "verify"):
        finished = site.releaser(command, check=3, env={"RELEASER_STATE_DIR": str(file)})
        assert f"{file} is not a directory" in finished.stderr
        assert "Correct `state_dir`." in finished.stderr
        assert "Traceback" not in finished.stderr
    site.state_dir.parent.symlink_to(tmp_path / "gone" / "state")
    refused(site).says("state_dir", site.state_dir, "cannot be used")
    assert not (tmp_path / "gone").exists()


def test_a_file_that_may_not_be_read(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    place = site.path / "uv.lock"
    place.chmod(0)
    refusal = refused(site, env={"RELEASER_ENVIRONMENT": "local"}, before=without_override())
    place.chmod(0o644)
    refusal.says(place, "Permission denied")


def test_a_state_directory_on_another_mount_of_the_same_file_system(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    require(os.geteuid() == 0 and shutil.which("mount"), "only root can mount")
    subprocess.run(["mount", "--bind", site.path, site.path], check=True)
    try:
        unfit(site).says_only("state_dir", site.state_dir, "not on the project's file system", "renames")
        assert "not on the project's file system" in site.releaser("rollback", "--dry-run", check=3).stderr
    finally:
        subprocess.run(["umount", "--lazy", site.path], check=True)


# No space


def test_too_few_free_bytes_and_space_that_runs_out_while_a_release_is_built(
    tmp_path: Path, make_site: SiteFactory
) -> None:
    with small_file_system(tmp_path / "small", size="90m", nr_inodes=20_000) as place:
        site = make_site(outer=f"{place.name}/outer", venv=True)
        site.env["TMPDIR"] = str(tmp_path)
        site.releaser("init", check=0)
        site.publish("alpha", "1.1.0")
        ballast, free = place / "ballast", os.statvfs(place)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - 20_000_000)
        words = ("no space", "20 MB free", site.state_dir, "50 MB", "releaser prune")
        for command in ("update", "check"):
            refused(site, command=command).says_only(*words)
        ballast.unlink()
        big = {"alpha/__init__.py": "", "alpha/big.txt": "x" * 120_000_000}
        wheel = LocalIndex(tmp_path / "index").publish("alpha", "1.2.0", modules=big)
        (site.index.path / wheel.name).symlink_to(wheel)
        before = site.live_id()
        refused(site, code=4).says_only("could not be built", "alpha", "No space left", "Make room")
        assert (site.live_id(), site.releases()) == (before, [before])
        site.withdraw("alpha", "1.2.0")
        site.releaser("update", check=0)


# A disk that fills up after the flip


RESTARTED = {"(restarted at)", "config/tmp/restart.txt"}
# A health check of a site whose new release fills the disk with its log.
FILL = """\
import os, sys
if "SPARE" in os.environ:
    os.unlink(os.environ["SPARE"])
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
for size in (1 << 20, 4096, 1):
    try:
        while True:
            os.write(file, bytes(size))
    except OSError:
        pass
sys.exit(os.environ.get("SAID", "the log has filled the disk") or 0)
"""


def make_room(site: SampleSite) -> None:
    (site.outer.parent / "log").unlink()
    (site.outer.parent / "sick").unlink()
    del site.env["RELEASER_TEST_COMMAND"]


def test_a_new_release_that_fills_the_disk_stays_live_only_if_it_is_well(
    tmp_path: Path, make_site: SiteFactory
) -> None:
    """What could not be committed, pushed and mailed is, by the next run."""
    filler = tmp_path / "fill.py"
    filler.write_text(FILL, encoding="utf-8")
    with small_file_system(tmp_path / "small", size="120m") as place:
        check = f"sh -c 'test ! -e {place}/sick || {sys.executable} {filler} {place}/log'"
        site = make_site(outer=f"{place.name}/outer", venv=True, settings={"health_check": check, "health_retries": 0})
        site.env["TMPDIR"] = str(tmp_path)
        site.releaser("init", check=0)
        site.publish("alpha", "1.1.0")
        sick_from_the_tests_on = {"RELEASER_TEST_COMMAND": f"touch {place}/sick"}  # the check is made before them, too
        before, live = site.snapshot(), site.live_id()
        site.env.update(sick_from_the_tests_on)
        assert "health check failed" in site.releaser("update", check=6).stderr
        assert (site.live_id(), site.live_version("alpha")) == (live, "1.0.0")
        make_room(site)
        site.releaser("prune", check=0)
        after = site.snapshot()
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        assert {name for name in changed if not name.startswith("static_out")} <= RESTARTED
        assert not (site.state_dir / "journal.json").exists()

        site.publish("alpha", "1.1.1")
        mails = len(site.outbox_mails())
        site.env.update(sick_from_the_tests_on)
        site.releaser("update", env={"SAID": "", "SPARE": str(site.state_dir / "reserve")}, check=7)
        new = site.live_id()
        assert (site.live_version("alpha"), len(site.outbox_mails())) == ("1.1.1", mails)
        make_room(site)
        report = site.json("update")
        assert (report["result"], site.live_id()) == ("no-changes", new)
        assert len(site.outbox_mails()) == mails + 1
        assert "alpha 1.0.0 → 1.1.1" in body(site)
        assert site.remote_head() == site.head()
        assert states(site)[new] == "live"
