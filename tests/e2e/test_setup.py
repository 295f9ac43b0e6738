"""Setting a site up, by answers on a terminal or by options; what is wrong changes nothing, nor does a second time."""

import re
import stat
from pathlib import Path

import pytest

from tests.e2e.scenes import on_terminal, outer_snapshot
from tests.e2e.test_uninstall import crontab_of
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import MailServer

OPTIONS = ("--yes", "--admin", "Ada <ada@example.org>", "--set", "keep=3", "--environment", "local", "--at", "4:05")


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site that nobody has set up yet."""
    site = make_site(venv=True)
    for line in (site.outer / ".env").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name.startswith("RELEASER_") and name not in ("RELEASER_ENVIRONMENT", "RELEASER_MAIL_FROM"):
            site.env[name] = value.strip("'")
    (site.outer / ".env").unlink()
    return site


@pytest.fixture
def crontab(site: SampleSite) -> Path:
    return crontab_of(site, "# mine\n")


def by_mail_server(site: SampleSite, server: MailServer) -> None:
    site.env |= {"RELEASER_SMTP_PORT": str(server.port), "RELEASER_SMTP_SECURITY": "none"}


@pytest.mark.story
def test_all_is_done_by_options_and_a_second_time_nothing_is(
    site: SampleSite, crontab: Path, smtp_server: MailServer
) -> None:
    by_mail_server(site, smtp_server)
    words = (*OPTIONS, "--smtp-host", "127.0.0.1", "--mail-from", "releaser@example.org")
    before = outer_snapshot(site)
    secret = "hunter2-hunter2"
    planned = site.releaser("setup", *words[1:], "--set", f"smtp_password={secret}", "--dry-run", check=0)
    assert "would write" in planned.stdout
    assert "SMTP_PASSWORD" in planned.stdout
    assert secret not in planned.stdout
    assert outer_snapshot(site) == before
    assert not smtp_server.messages
    done = site.json("setup", *words)
    env = site.outer / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert done["written"] == {str(env): env.read_text(encoding="utf-8").splitlines()}
    assert done["mail"]["sent"]
    assert [one.recipients for one in smtp_server.messages] == [("ada@example.org",)]
    assert crontab.read_text().splitlines() == ["# mine", done["schedule"]["line"]]
    assert "5 4 * * * " in done["schedule"]["line"]
    settings = {one["name"]: one["value"] for one in site.json("config")}
    assert (settings["keep"], settings["environment"], settings["smtp_host"]) == (3, "local", "127.0.0.1")
    before = outer_snapshot(site) | {"crontab": crontab.read_text()}
    assert site.json("setup", *words)["written"] == {}
    assert outer_snapshot(site) | {"crontab": crontab.read_text()} == before
    assert "next: `releaser init` adopts the site" in site.releaser("setup", *words, "--no-mail", check=0).stderr
    site.releaser("init", check=0)
    assert "next: `releaser update`" in site.releaser("setup", *words, "--no-mail", check=0).stderr
    site.update_to("alpha", "1.1.0")


def test_it_asks_on_a_terminal_and_offers_what_is_found(
    site: SampleSite, crontab: Path, smtp_server: MailServer
) -> None:
    by_mail_server(site, smtp_server)
    answers = ["nonsense", "local", "", "", "", "none", "ada@example.org, bob@example.org", "127.0.0.1", "cron", "y"]
    status, said = on_terminal(site, "setup", typed="".join(f"{one}\n" for one in answers))
    assert status == 0, said
    assert "Next: send a test mail; add to the crontab: " in said
    assert "sent to ada@example.org, bob@example.org by 127.0.0.1" in said
    assert "must be one of" in said
    assert "python manage.py test --noinput" in said
    assert (site.outer / ".env").read_text(encoding="utf-8").splitlines() == [
        """ADMINS_JSON='[["", "ada@example.org"], ["", "bob@example.org"]]'""",
        "RELEASER_SMTP_HOST='127.0.0.1'",
    ]
    assert len(smtp_server.messages) == 1
    assert str(site.path) in crontab.read_text()
    assert "everything is ready for an update" in said
    status, said = on_terminal(site, "setup", typed="\n" * 9)
    assert status == 0, said
    assert "+ADMINS" not in said


def test_no_secret_is_shown_neither_the_old_one_nor_the_new_one(site: SampleSite, crontab: Path) -> None:
    old, new = "hunter2-hunter2", "hunter3-hunter3"
    (site.outer / ".env").write_text(f"RELEASER_SMTP_PASSWORD='{old}'\n", encoding="utf-8")
    (site.outer / ".env").chmod(0o600)
    finished = site.releaser("setup", "--yes", "--no-mail", "--set", f"smtp_password={new}", check=0)
    assert "-RELEASER_SMTP_PASSWORD" in finished.stdout
    assert not {old, new} & set(re.split(r"[^\w-]", finished.stdout + finished.stderr))
    assert new in (site.outer / ".env").read_text(encoding="utf-8")


WRONG: dict[tuple[str, ...], tuple[int, str]] = {
    ("--yes", "--admin", "nobody"): (2, "has no @"),
    ("--yes", "--set", "keep=many"): (2, "keep must be"),
    ("--yes", "--set", "kep=1"): (2, "not a setting"),
    ("--yes", "--set", "keep"): (2, "NAME=VALUE"),
    ("--yes", "--group", "nothing"): (3, "has no group"),
    ("--yes", "--at", "25:00"): (2, "not a time of day"),
    ("--yes", "--set", "sendmail=/x"): (3, "is set in the environment"),
    (): (2, "--yes"),
}


def test_what_is_wrong_changes_nothing_and_who_does_not_agree_gets_nothing(site: SampleSite, crontab: Path) -> None:
    before = outer_snapshot(site)
    for words, (code, why) in WRONG.items():
        said = site.releaser("setup", "--admin", "ada@example.org", *words, check=code).stderr
        assert why in said
        assert "live: " not in said  # which nothing of this could have changed
    for typed, code in (("local\n\n\n\nnone\nada@example.org\nnone\nnone\nn\n", 0), ("local\n\x04", 130)):
        status, said = on_terminal(site, "setup", typed=typed)
        assert status == code, said
    assert (outer_snapshot(site), crontab.read_text()) == (before, "# mine\n")


def test_what_is_not_ready_is_told_and_what_is_written_stays(site: SampleSite, crontab: Path) -> None:
    site.edit("mine.txt", "x")
    finished = site.releaser("setup", *OPTIONS, "--no-mail", "--schedule", "none", check=3)
    assert "working tree is not clean" in finished.stderr
    assert "ada@example.org" in (site.outer / ".env").read_text(encoding="utf-8")
    assert crontab.read_text() == "# mine\n"
