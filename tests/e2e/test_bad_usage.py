"""Wrong calls: options that make no sense, projects that are not there; and everything wrong at the same time."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.refusals import everything, refused, seem_no_bug
from tests.support.commands import Finished, console_script, run
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import MailServer


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    return make_site()


def call(site: SampleSite, *words: str | Path, env: Mapping[str, str | None] | None = None) -> Finished:
    """Run releaser with just these words, in the checkout."""
    return run([console_script(), *words], cwd=site.path, env=site.environment(env))


WRONG_USAGE: list[tuple[tuple[str, ...], str]] = [
    (("updaet",), "updaet"),
    (("update", "--colour"), "--colour"),
    (("update", "now"), "now"),
    (("update", "--project"), "--project"),
    (("update", "--project", ""), "--project"),
    (("list", "--project="), "--project"),
    (("update", "--wait", "-1"), "--wait"),
    (("update", "--wait", "soon"), "soon"),
    (("update", "--from", ""), "is not a valid channel name"),
    (("update", "--from", "/srv/shop", "alpha"), "NAME cannot be combined with --from"),
    (("update", "-v", "-q"), "--verbose cannot be combined with --quiet"),
    (("show",), "RELEASE"),
    (("diff",), "A"),
    (("pin",), "RELEASE"),
    (("run",), "COMMAND"),
    (("history", "-n", "0"), "-n"),
    (("init", "--with", "alpha==1.0.0"), "--with needs --from-venv or --from-requirements"),
    (("init", "--from-venv", ".venv", "--with", "alpha>=1.0.0"), "names no version"),
    (("init", "--from-venv", "~nobody-of-that-name/venv"), "does not exist"),
    (
        ("init", "--from-venv", ".venv", "--with", "a @ git+https://kitty:s3cret@example.org/a.git"),
        "git would store",
    ),
]


def test_wrong_usage(site: SampleSite) -> None:
    before = everything(site)
    for words, shown in WRONG_USAGE:
        finished = call(site, *words)
        assert (finished.returncode, finished.stdout) == (2, ""), str(finished)
        assert shown in finished.stderr
        assert re.match(r"releaser: [^\n]+\n  what to do: [^\n]+\n\Z", finished.stderr)
        assert "s3cret" not in finished.stderr
        seem_no_bug(finished)
    assert not site.state_dir.exists()
    assert everything(site) == before


def test_a_project_that_is_not_there(site: SampleSite, tmp_path: Path) -> None:
    entries = sorted(tmp_path.rglob("*"))
    missing = [(command, "gone/site") for command in ("update", "check", "list", "status", "init")]
    for command, name in (*missing, ("update", "\x1b[2Jsite")):
        finished = call(site, command, "--project", tmp_path / name)
        assert (finished.returncode, finished.stdout) == (3, ""), str(finished)
        assert "does not exist\n  what to do: Correct --project or RELEASER_PROJECT." in finished.stderr
        assert "\x1b" not in finished.stderr
        seem_no_bug(finished)
    assert sorted(tmp_path.rglob("*")) == entries


def test_a_current_directory_that_is_gone(site: SampleSite) -> None:
    """The whole path of the project is all that is needed then."""
    begin = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); os.execv(sys.argv[1], sys.argv[1:])"
    )

    def call_nowhere(*words: str | Path) -> Finished:
        return run([sys.executable, "-c", begin, console_script(), *words], cwd=site.outer, env=site.environment())

    for words in (["status"], ["list"], ["list", "--json"], ["run", "true"], ["update", "--project", "site"]):
        finished = call_nowhere(*words)
        assert (finished.returncode, finished.stdout) == (3, ""), str(finished)
        assert "the current directory was deleted, so releaser cannot find the project" in finished.stderr
        seem_no_bug(finished)
    assert call_nowhere("list", "--project", site.path).returncode == 0


def mail_settings(server: MailServer) -> dict[str, str]:
    return {
        "AUTO_UPDTR__EMAIL_FROM": "updater@example.org",
        "AUTO_UPDTR__EMAIL_HOST": server.host,
        "AUTO_UPDTR__EMAIL_HOST_PORT": str(server.port),
        "AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON": '[["Root","root@example.org"]]',
    }


@pytest.mark.story
def test_a_missing_project_is_mailed_to_the_admins_of_releaser_unless_its_path_was_typed(
    site: SampleSite, tmp_path: Path, smtp_server: MailServer
) -> None:
    env = mail_settings(smtp_server)
    for command in ("init", "prune"):
        call(site, command, "--project", tmp_path / "gone", env=env)
    assert smtp_server.messages == []
    finished = call(site, "update", "--project", tmp_path / "gone" / "shop", env=env)
    assert finished.returncode == 3, str(finished)
    (mail,) = smtp_server.messages
    assert (mail.recipients, mail.sender) == (("root@example.org",), "updater@example.org")
    assert "shop" in mail.message["Subject"]
    body = mail.message.get_body(("plain",))
    assert body is not None
    assert str(tmp_path / "gone" / "shop") in body.get_content()
    assert "mail: sent to root@example.org" in finished.stderr
    assert not (tmp_path / "gone").exists()


def make_everything_wrong(site: SampleSite) -> None:
    site.git("switch", "--quiet", "--create", "feature/main")
    site.git("remote", "set-url", "origin", "../gone.git")
    site.edit("uv.lock", "garbage\n")
    site.edit("notes.txt", "mine\n")
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    text = text.replace('requires-python = ">=3.11"\n', "").replace('prod = ["prodtools"]', "prod = 3")
    site.edit("pyproject.toml", text + "[tool.releaser]\nkep = 3\nuv = '/nowhere/uv'\n")
    site.write_dotenv({"ADMINS_JSON": "Ada", "RELEASER_ENVIRONMENT": "production"})


@pytest.mark.parametrize("command", ["check", "update"])
@pytest.mark.story
def test_all_problems_are_in_one_report(site: SampleSite, command: str) -> None:
    make_everything_wrong(site)
    refusal = refused(site, command=command, env={"RELEASER_UNIX_GROUP": "nobody-of-that-name"})
    refusal.says(site.path / "pyproject.toml", "tool.releaser.kep")
    refusal.says(site.outer / ".env", "ADMINS_JSON")
    refusal.says(site.path / "pyproject.toml", "requires-python")
    refusal.says(site.path / "uv.lock", "not a valid lock")
    refusal.says("/nowhere/uv", "`uv`")
    refusal.says("`prod`", "is not a list")
    refusal.says("nobody-of-that-name")
    refusal.says("the checkout is on feature/main, not main")
    refusal.says("not clean", "notes.txt", "pyproject.toml", "uv.lock")
    refusal.says("origin", "does not appear to be a git repository")
    assert len(refusal.problems) == 10


def test_a_missing_project_and_nobody_to_be_told(site: SampleSite, tmp_path: Path, dead_port: int) -> None:
    """Neither wrong settings nor a dead mail server change what is wrong first of all; the report is the usual one."""
    dead = {"AUTO_UPDTR__EMAIL_HOST": "127.0.0.1", "AUTO_UPDTR__EMAIL_HOST_PORT": str(dead_port)}
    people = "AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON"
    nobody = {people: "root"}
    for env, said in ((nobody, people), ({**dead, people: '["root@example.org"]'}, str(dead_port))):
        project = {"RELEASER_PROJECT": str(tmp_path / "gone")}
        finished = call(site, "update", "--json", env={**env, **project})
        assert finished.returncode == 3, str(finished)
        assert said in finished.stderr
        seem_no_bug(finished)
        report = json.loads(finished.stdout)
        assert (report["result"], report["exit_code"], report["live_changed"]) == ("refused", 3, False)
        missing = f"project {tmp_path / 'gone'} does not exist. Correct --project or RELEASER_PROJECT."
        assert missing in report["problems"]
        assert (tmp_path / ".releaser").exists() == (env is not nobody), "a mail that could not be sent is kept"
