"""`schedule cron`: the line that updates a site at night, and the crontab that it is put into."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scenes import mostly_slow, no_change, refused, says
from tests.support.commands import Identity, releaser_command, require, run
from tests.support.sites import SampleSite, SiteFactory

INSTALL = ("schedule cron", "--install")
OTHERS = b"MAILTO=ada@example.org\n# 5 4 * * * releaser update\n\n@daily \t echo '\xff' % x  \r\n5 4 * * * ls\n"
NAMES = ['100%/it\'s a "$HOME" site', "Grüße/a\\b%c %%"]


def read_crontab() -> bytes:
    """Return the crontab of this user; empty without one."""
    return subprocess.run(["crontab", "-l"], capture_output=True, check=False).stdout


def write_crontab(content: bytes) -> None:
    """Replace the crontab of this user."""
    subprocess.run(["crontab", "-"], input=content, check=True)


@pytest.fixture
def crontab() -> Iterator[bytes]:
    """The crontab of this user, with lines of other programs in addition; the test must keep them."""
    require(shutil.which("crontab"), "crontab is needed")
    earlier = read_crontab()
    write_crontab(earlier + OTHERS)
    yield read_crontab()
    write_crontab(earlier) if earlier else subprocess.run(["crontab", "-r"], check=False)


def test_the_line_is_installed_once_and_all_others_stay(site: SampleSite, crontab: bytes) -> None:
    line = site.releaser("schedule cron", check=0).stdout
    assert read_crontab() == crontab, "printing the line wrote it"
    with no_change(site):
        for result in ("added", "unchanged"):
            finished = site.releaser(*INSTALL, check=0)
            assert (result in finished.stderr, finished.stdout) == (True, line)
            assert read_crontab() == crontab + line.encode()
    program = str(releaser_command()[0])
    earlier = f"07 5 * * 1-5\t{line.split('* * * ')[1]}".replace(program, "/old/releaser")
    write_crontab(crontab.replace(b"\n\n", f"\n{earlier}\n".encode()))
    answer = site.json(*INSTALL)
    assert (answer["result"], answer["line"][:13]) == ("replaced", "07 5 * * 1-5 ")
    assert read_crontab() == crontab.replace(b"\n\n", f"\n{answer['line']}\n\n".encode())
    for mine in (f"{program} update --project={site.path} >/tmp/log 2>&1", f"A=1 {line.strip().split('* * * ')[1]}"):
        write_crontab(content := crontab + f"@daily {mine}\n".encode())
        says(refused(site, *INSTALL), mine, "crontab -e")
        assert read_crontab() == content


@pytest.mark.slow
@pytest.mark.parametrize("names", mostly_slow(NAMES, NAMES[0]))
def test_law_35_the_line_updates_the_site_in_the_environment_of_cron(make_site: SiteFactory, names: str) -> None:
    outer, name = names.split("/")
    site = make_site(outer=outer, name=name)
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    line = site.releaser("schedule cron", check=0).stdout.rstrip("\n")
    minute, hour, *days, command = line.split(" ", 5)
    assert (0 <= int(minute) < 60, 1 <= int(hour) < 5, days) == (True, True, ["*", "*", "*"])
    assert "%" not in command.replace("\\%", ""), "a bare % ends the command"
    env = {"HOME": site.env["HOME"], "PATH": "/usr/bin:/bin", "LOGNAME": "x", "SHELL": "/bin/sh"}
    finished = run(["/bin/sh", "-c", command.replace("\\%", "%")], cwd=Path(env["HOME"]), env=env, check=0)
    assert site.version("alpha") == "1.1.0", str(finished)


@pytest.mark.slow
def test_sites_start_at_different_times_and_an_impossible_path_is_refused(site: SampleSite) -> None:
    times = set()
    for name in ("a", "b", "c", "d", "odd\\%", "odd\nname"):
        place = site.base / name
        (place / ".git").mkdir(parents=True)
        shutil.copy(site.path / "pyproject.toml", place)
        finished = site.releaser("schedule cron", project=place)
        assert finished.returncode == (3 if "odd" in name else 0), str(finished)
        times.add(finished.stdout[:5])
    assert len(times) > 2


@pytest.mark.slow
def test_without_a_crontab_that_can_be_written_the_line_is_named(site: SampleSite) -> None:
    shim = site.edit("../shim/crontab", "#!/bin/sh\necho 'You (x) are not allowed' >&2\nexit 1\n")
    shim.chmod(0o755)
    for path, word in (("/nowhere", "apt install cron"), (f"{shim.parent}:/usr/bin:/bin", "not allowed")):
        line = site.releaser("schedule cron", check=0, env={"PATH": path}).stdout
        says(refused(site, *INSTALL, env={"PATH": path}), word, line.strip())


@pytest.mark.slow
def test_law_31_root_leaves_the_crontab_of_another_user_alone(
    user_site: SampleSite, ordinary_user: Identity | None
) -> None:
    require(os.geteuid() == 0 and ordinary_user, "only root can be another user")
    words = [*releaser_command(), "schedule", "cron", "--install", "--project", str(user_site.path)]
    says(run(words, cwd=Path("/"), env=user_site.env, check=3), "sudo -u")
    assert str(user_site.path).encode() not in read_crontab()


def test_uninstall_removes_the_line_of_schedule_and_names_others(site: SampleSite, crontab: bytes) -> None:
    site.releaser(*INSTALL, check=0)
    says(site.releaser("uninstall", "--dry-run", check=0), "remove what `releaser schedule` has installed.")
    mine = f"@daily {releaser_command()[0]} update --project={site.path} >/tmp/log 2>&1"
    write_crontab(read_crontab() + f"{mine}\n".encode())
    finished = site.releaser("uninstall", check=0)
    says(finished, "Removed from the crontab", "would adopt the venv again", mine, "crontab -e")
    assert read_crontab() == crontab + f"{mine}\n".encode()
