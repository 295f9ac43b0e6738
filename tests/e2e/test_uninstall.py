"""The end of a site's life with releaser: a plain venv stays, the site goes on, and nothing of releaser is left."""

import contextlib
import os
import stat
import subprocess
import sys

import pytest

from tests.e2e.scenes import CODE, eventually, is_open, mostly_slow, no_change, says
from tests.e2e.test_going_live import served
from tests.support.servers import WAITING_TESTS, meeting
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server

EXCLUDED = "# Ignored in this clone alone."  # without an end of line
ENTRY = "[console_scripts]\nalpha-version = alpha:main\n"


def offer(site: SampleSite, version: str) -> None:
    """Offer a version of alpha with a script and a console script."""
    modules = {
        "alpha/__init__.py": f"__version__ = '{version}'\nBROKEN = False\ndef main():\n    print(__version__)\n",
        f"alpha-{version}.data/scripts/alpha-prefix": "#!python\nimport sys\nprint(sys.prefix)\n",
        f"alpha-{version}.dist-info/entry_points.txt": ENTRY,
    }
    site.publish("alpha", version, modules=modules)


def shim(site: SampleSite, name: str, script: str) -> dict[str, str]:
    """Put a program before the real one on PATH; return the environment for it."""
    program = site.base / "programs" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{site.env['PATH']}"}


def assert_plain(site: SampleSite, version: str) -> None:
    """Assert that the site has a venv as uv makes one, and nothing of releaser."""
    link, exclude = site.link, (site.path / ".git/info/exclude").read_text("utf-8")
    assert (link.is_symlink(), link.is_dir(), exclude.strip()) == (False, True, EXCLUDED)
    assert not (site.outer / ".releaser").exists()
    files = [path for path in link.rglob("*") if not path.is_symlink() and path.name != ".lock"]
    assert [path for path in files if path.name.startswith("_releaser")] == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} <= {0o755, 0o644}
    assert site.run("grep", "-rIl", r"\.releaser", link, check=1).stdout == ""
    assert sorted(path.name for path in site.path.iterdir() if path.name.startswith("..")) == []
    activated = "source .venv/bin/activate && alpha-version && alpha-prefix && python run_tests.py && which python"
    seen = site.run("bash", "-c", activated).stdout.split()
    assert seen == [version, str(link), str(link / "bin" / "python")]
    says(site.uv("sync", "--frozen", "--group", "local", "--dry-run"), "no changes")
    assert (site.version("alpha"), site.status()) == (version, "")


WAYS = ("built", "adopted", "replaced", "never")


@pytest.mark.parametrize("way", mostly_slow(WAYS, "built", "adopted"))
def test_uninstall_leaves_a_plain_venv_and_nothing_else(make_site: SiteFactory, way: str) -> None:
    site = make_site()
    (site.path / ".git/info/exclude").write_text(EXCLUDED, "utf-8")
    offer(site, "1.1.0")
    site.uv("lock", "--quiet", "--upgrade")
    site.push_commit("Upgrade", {})
    site.make_venv() if way in ("adopted", "never") else None
    site.releaser("init", check=0) if way != "never" else None
    if way in ("built", "replaced"):
        offer(site, "1.2.0")
        site.push_from_elsewhere(CODE)
        site.releaser("update", check=0)
    if way == "replaced":
        site.link.unlink()
        site.make_venv()
    with no_change(site):
        says(site.releaser("uninstall", "--dry-run", check=0), "Would" if way != "never" else "Nothing")
    touched = site.restarted_at()
    answer = site.json("uninstall")
    assert answer["result"] == ("no-changes" if way == "never" else "updated")
    assert (site.restarted_at() == touched) == (way in ("never",))
    assert_plain(site, "1.1.0" if way in ("adopted", "never") else "1.2.0")


@pytest.mark.parametrize("end", mostly_slow(["healthy", "unhealthy"], "unhealthy"))
def test_law_04_the_site_serves_on_the_plain_venv_or_goes_back(make_site: SiteFactory, end: str) -> None:
    site = make_site.live("1.1.0")
    with served(site) as service:
        check = f"{service.url}/alpha" if end == "healthy" else "test -L .venv"
        site.write_dotenv(restart=service.restart, health_check=check, health_timeout="1s")
        if end == "healthy":
            site.releaser("uninstall", check=0)
            assert (site.link.is_symlink(), site.state.exists()) == (False, False)
        else:
            with no_change(site):
                says(site.releaser("uninstall", check=6), "`test` failed", site.live())
            assert site.json("list")[0]["in_use_by"], "the site was restarted on its release"
        assert (service.ask("alpha"), service.ask("beta")) == ("1.1.0", "1.0.0")


def test_law_07_a_release_that_a_process_uses_stays_until_it_ends(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", dotenv={"RELEASER_RESTART": "none"})
    release = site.release()
    words = [str(site.link / "bin/python"), "-c", "print(1, flush=True)\nimport sys; sys.stdin.read()\nimport alpha"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        says(site.releaser("uninstall", check=7), str(process.pid), release.name, "`releaser uninstall` again")
        assert (site.link.is_symlink(), (release / "venv").is_dir()) == (False, True)
        process.communicate()
        assert process.returncode == 0, "it imports from its release to its end"
    assert site.json("uninstall")["result"] == "updated"
    assert (site.state.exists(), site.version("alpha")) == (False, "1.1.0")


KILLS = {"copy": ("cp", "-a"), "restart": ("env", "RESTARTED=1"), "deletion": ("git", "info/exclude")}


@pytest.mark.parametrize("point", mostly_slow(KILLS, "restart"))
def test_law_08_uninstall_finishes_after_a_kill(make_site: SiteFactory, point: str) -> None:
    site = make_site.live("1.1.0", dotenv={"RELEASER_RESTART": "env RESTARTED=1 true"})
    name, word = KILLS[point]
    real = site.run("sh", "-c", f"command -v {name}").stdout.strip()
    meet = site.base / "meet.py"
    meet.write_text(WAITING_TESTS + "\nunittest.main()\n", "utf-8")
    env = shim(site, name, f'{real} "$@"\ncase "$*" in *{word}*) /usr/bin/python3 {meet};; esac')
    with meeting() as met, site.starting("uninstall", env=env | met.env) as process, met.kept_waiting():
        process.kill()
        process.wait(timeout=30)
    assert (site.link.is_symlink(), site.version("alpha")) == (point == "copy", "1.1.0")
    assert site.python("import alpha; print(alpha.__version__)") == "1.1.0"
    if point == "copy":
        site.releaser("update", check=0)
    site.releaser("uninstall", check=0)
    assert (site.link.is_symlink(), site.state.exists(), site.version("alpha")) == (False, False, "1.1.0")
    assert not [path for path in site.path.iterdir() if path.name.startswith("..")]
    says(site.releaser("init", check=0), "adopted")


@pytest.mark.slow
def test_law_26_28_an_update_that_waited_for_an_uninstall_ends_without_a_mail(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    meet = site.base / "meet.py"
    meet.write_text(WAITING_TESTS + "\nunittest.main()\n", "utf-8")
    with mail_server() as server, meeting() as met, contextlib.ExitStack() as stack:
        site.write_dotenv({"ADMINS_JSON": "ada@example.org"}, restart=f"{sys.executable} {meet}", smtp_host=server.host)
        uninstall = stack.enter_context(site.starting("uninstall", env=met.env))
        with met.kept_waiting():
            assert "an interrupted run" not in site.releaser("uninstall", "--dry-run", check=0).stderr
            updates = [stack.enter_context(site.starting(name, "--wait", "60")) for name in ("update", "prune")]
            lock = site.state / "lock"
            eventually(lambda: all(is_open(update.pid, lock) for update in updates), "the wait for the lock")
        assert uninstall.wait(timeout=60) == 0
        assert [update.wait(timeout=60) for update in updates] == [0, 3]
    assert (server.mails, site.state.exists(), site.link.is_symlink()) == ([], False, False)


@pytest.mark.slow
def test_law_26_uninstall_names_mails_that_wait_and_the_crontab_and_keeps_them(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.write_dotenv({"ADMINS_JSON": '["ada@example.org"]'}, smtp_host="127.0.0.1:1")
    site.releaser("update", check=7)
    line = f"5 4 * * * releaser update --project {site.path}"
    env = shim(site, "crontab", f"echo '{line}'")
    (mail,) = (site.state / "outbox").glob("*/*")
    for args, code in ((["--dry-run"], 0), ([], 7)):
        says(site.releaser("uninstall", *args, env=env, check=code), line, "crontab -e", "1 mail", str(site.state))
    assert (mail.exists(), site.link.is_symlink(), sorted(os.listdir(site.state))[-1]) == (True, False, "outbox")


@pytest.mark.slow
def test_uninstall_of_an_ordinary_user_shares_no_file_with_a_release(user_site: SampleSite) -> None:
    user_site.update_to("1.1.0")
    user_site.releaser("uninstall", check=0)
    files = [path.lstat() for path in user_site.link.rglob("*.py")]
    assert ({status.st_nlink for status in files}, {status.st_mode & 0o200 for status in files}) == ({1}, {0o200})
    assert (user_site.version("alpha"), user_site.state.parent.exists()) == ("1.1.0", False)
