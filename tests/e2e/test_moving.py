"""Moving from the older in-place updater: its layout and its variables, and only the line in the crontab changes.

A host called `p…` runs these sites, which makes them production; the name is the only thing that is pretended.
"""

import shutil
import sys
from pathlib import Path

from tests.e2e.refusals import refused, script
from tests.e2e.scenes import changed_files, silent, states
from tests.support import snapshots
from tests.support.commands import Finished, run, uv_executable
from tests.support.sites import SiteFactory
from tests.support.smtp import MailServer, Received

HOST = "p042"
PRETEND = (
    f"import os; real = os.uname(); os.uname = lambda: os.uname_result((real[0], {HOST!r}, *real[2:])); "
    "from releaser.__main__ import main; main()"
)
# As the older updater's documentation shows it, with `export`.
DOTENV = """\
export ADMINS_JSON='[["Ada","ada@example.org"],["Grace","grace@example.org"]]'
export AUTO_UPDTR__EMAIL_FROM="updater@example.org"
export AUTO_UPDTR__EMAIL_HOST="127.0.0.1"
export AUTO_UPDTR__EMAIL_HOST_PORT="{port}"
export AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON='[["Root","root@example.org"]]'
export AUTO_UPDTR__UV_PATH="{uv}"
"""
GROUPS = {"staging": ["stagingtools"], "prod": ["prodtools"]}
RUN_TESTS = """\
import subprocess, sys
print("the tests of the shop", flush=True)
sys.exit(subprocess.call([sys.executable, "manage.py", "test"]))
"""


def text_of(mail: Received) -> str:
    part = mail.message.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def test_the_first_night(make_site: SiteFactory, smtp_server: MailServer) -> None:
    """The crontab line is changed, a package is newer, and that is all."""
    site = make_site("shop", outer="shop_stuff", files={"run_tests.py": RUN_TESTS}, groups=GROUPS)
    calls = site.outer.parent / "uv-calls"
    uv = script(site.outer.parent / "the-uv", f'echo "$1 $4" >> "{calls}"\nexec "{uv_executable()}" "$@"')
    (site.outer / "logs").mkdir()
    (site.outer / ".env").write_text(DOTENV.format(port=smtp_server.port, uv=uv), encoding="utf-8")
    site.uv("sync", "--quiet", "--frozen", "--group", "prod")

    def update() -> Finished:
        """Run `releaser update --project PATH` from somewhere else, as cron does, on a host of this name."""
        words: list[str | Path] = [sys.executable, "-c", PRETEND, "update", "--project", site.path]
        recording = {"RELEASER_TEST_WRITABLE": str(site.outer.parent)}  # of the tests that were run
        return run(words, cwd=Path("/"), env=site.environment(recording), check=0)

    before, number, first = snapshots.tree(site.link), site.link.stat().st_ino, site.lock_text()
    site.push_from_elsewhere({"page.txt": "new\n"})
    site.publish("alpha", "1.1.0")
    site.publish("beta", "2.0.0")
    update()
    # The environment becomes a release, with its own lock, and the update the next one.
    new, old = (site.state_dir / "releases" / release for release in states(site))
    assert list(states(site).values()) == ["live", "good"]
    after = snapshots.tree(old / "venv")
    assert ((old / "venv").stat().st_ino, {name: after[name] for name in before}) == (number, before)
    assert site.live_version("alpha") == "1.1.0"
    assert (old / "uv.lock").read_text(encoding="utf-8") == first
    assert (new / "uv.lock").read_text(encoding="utf-8") == site.lock_text() != first
    # run_tests.py runs on the candidate; static files and restart follow the flip, whichever package changed.
    (tested,) = site.manage_runs("test")
    assert tested.versions["alpha"] == "1.1.0"
    assert (new / "test-output.txt").read_text(encoding="utf-8").startswith("the tests of the shop\n")
    (collected,) = site.manage_runs("collectstatic")
    assert "--noinput" in collected.argv
    assert Path(collected.prefix) == site.link.resolve()
    assert (site.static_versions() or {})["alpha"] == "1.1.0"
    restarted = site.restarted_at()
    assert restarted is not None
    assert restarted >= site.link.lstat().st_mtime_ns
    # Commits from elsewhere are pulled first; the lock alone is committed and pushed.
    assert (site.path / "page.txt").read_text(encoding="utf-8") == "new\n"
    assert changed_files(site) == {"uv.lock"}
    assert (site.remote_head(), site.git("status", "--porcelain")) == (site.head(), "")
    # The uv of the older variable is the one that runs.
    assert {"lock", "sync"} <= set(calls.read_text(encoding="utf-8").split())
    # The admins of the project hear of it: how large each bump is, and the way back.
    (mail,) = smtp_server.messages
    assert (mail.sender, mail.recipients) == ("updater@example.org", ("ada@example.org", "grace@example.org"))
    assert mail.message["To"] == "Ada <ada@example.org>, Grace <grace@example.org>"
    assert all(word in mail.message["Subject"] for word in (HOST, "shop"))
    lines = [line.split()[:4] for line in text_of(mail).splitlines()]
    assert ["alpha", "1.0.0", "1.1.0", "minor"] in lines
    assert ["beta", "1.0.0", "2.0.0", "major"] in lines
    assert ["releaser", "rollback", "--project", str(site.path)] in lines
    # It says what is otherwise than before, once.
    said = " ".join(text_of(mail).split())
    assert "New commits on the branch `main` go live each night if the tests pass, even without any package" in said
    assert "To stop that, run `releaser setup --set git_pull=false`" in said
    # The next night finds nothing and is silent.
    snapshot = site.snapshot()
    silent(update())
    assert site.snapshot() == snapshot
    assert len(smtp_server.messages) == 1
    # A commit alone goes live, and the mail about it says nothing of what is known.
    site.push_from_elsewhere({"page.txt": "newer\n"})
    update()
    assert (site.path / "page.txt").read_text(encoding="utf-8") == "newer\n"
    assert "git_pull" not in text_of(smtp_server.messages[-1])
    assert len(smtp_server.messages) == 2


# A venv that is not what uv.lock says is not adopted unasked: the first release would be no way back to anything


def test_a_package_that_is_not_installed_is_refused_and_adopted_with_force(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    for entry in site.link.glob("lib/python*/site-packages/alpha*"):
        shutil.rmtree(entry)
    missing = "alpha: it is not installed, but the lock says 1.0.0"
    refusal = refused(site, command="init")
    refusal.says_only(f"{site.link} does not match uv.lock", missing)
    refusal.says_only("`uv sync --frozen --group local`", "`releaser init --force`")
    assert missing in site.releaser("init", "--dry-run", "--force", check=0).stdout
    site.releaser("init", "--dry-run", check=3)
    report = site.json("init", "--force")
    assert report["result"] == "updated"
    assert any(missing in one for one in report["problems"])
    assert site.json("init")["problems"] == [], "what is adopted is adopted"
    site.releaser("check", check=0)


def test_a_project_of_pip_gets_the_same_advice_which_works(make_site: SiteFactory) -> None:
    text = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'
    site = make_site(venv=True)
    site.git("rm", "--quiet", "uv.lock", "pyproject.toml")
    site.edit("pyproject.toml", text + '[tool.uv]\nno-index = true\nfind-links = ["../index"]\n')
    site.git("add", "pyproject.toml")
    site.git("commit", "--quiet", "--message", "There is no lock")
    site.push()
    for command in ("check", "init"):
        said = site.releaser(command, check=3).stderr
        assert "`releaser init --from-venv .venv`" in said
    assert site.json("init", "--from-venv", site.link)["result"] == "updated"
