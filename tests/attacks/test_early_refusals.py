"""An update that cannot even open its site is mailed, once: cron may discard what it prints."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.attacks.people import OWNER, STRANGER, TEAM, People
from tests.support.commands import run
from tests.support.sites import SampleSite
from tests.support.smtp import MailServer, Received


def chown(who: str, *words: str | Path) -> None:
    run(["chown", "-h", who, *words], cwd=Path("/"), env=os.environ, check=0)


def clone_as_root(site: SampleSite) -> None:
    chown("root:root", "-R", site.path)


def close_to_all_but_root(site: SampleSite) -> None:
    chown("root:root", site.path)
    site.path.chmod(0o700)


def give_away(site: SampleSite) -> None:
    chown(STRANGER, "-R", site.path)


def open_to_all(site: SampleSite) -> None:
    site.path.chmod(0o777)


def open_variables(site: SampleSite) -> None:
    chown(f":{TEAM}", site.outer / ".env")
    (site.outer / ".env").chmod(0o664)


def close_variables(site: SampleSite) -> None:
    chown("root:root", site.outer / ".env")
    (site.outer / ".env").chmod(0o600)


def close_lock(site: SampleSite) -> None:
    chown("root:root", site.path / "uv.lock")
    (site.path / "uv.lock").chmod(0o600)


def lose_recipients(site: SampleSite) -> None:
    lines = (site.outer / ".env").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("ADMINS_JSON", "RELEASER_ENVIRONMENT"))]
    (site.outer / ".env").write_text("\n".join([*kept, "RELEASER_ENVIRONMENT=production", ""]), encoding="utf-8")


def give_away_state(site: SampleSite) -> None:
    chown(STRANGER, site.state_dir)


def move(site: SampleSite) -> None:
    site.path.rename(site.outer / "elsewhere")


#: A part of the mail about each, and how many mails two nights bring: preflight reports its findings each night, and
#: nothing is noted in a state directory of another user.
CAUSES: Mapping[Callable[[SampleSite], None], tuple[str, int]] = {
    clone_as_root: ("If it is a site of this user, run `chown -R ", 1),
    close_to_all_but_root: ("belongs to another user (root, uid 0; this is ", 1),
    give_away: (f"sudo -u {STRANGER} releaser update --project", 1),
    open_to_all: ("users can write to", 1),
    open_variables: (f"group {TEAM} can write to", 1),
    close_variables: (".env cannot be read", 2),
    close_lock: ("uv.lock cannot be read by this user (uid ", 2),
    lose_recipients: ("recipient is set for mails about this project", 2),
    give_away_state: (f"belongs to {STRANGER}", 2),
    move: ("does not exist", 1),
}


@pytest.fixture
def mailing(people: People, owned: SampleSite, smtp_server: MailServer, request: pytest.FixtureRequest) -> SampleSite:
    """A copy of the owner's site, which has mailed."""
    site = owned.copy(people.base / request.node.name.replace("[", "-").strip("]"))
    site.env["PATH"] = owned.env["PATH"]
    with Path(site.env["GIT_CONFIG_GLOBAL"]).open("a", encoding="utf-8") as config:
        config.write("[safe]\n\tdirectory = *\n")
    server = {"RELEASER_SMTP_HOST": smtp_server.host, "RELEASER_SMTP_PORT": str(smtp_server.port)}
    site.write_dotenv({**server, "RELEASER_SMTP_SECURITY": "none"})
    people.give(site, OWNER)
    people.by(OWNER, site, "update", check=0)
    smtp_server.messages.clear()
    return site


def text_of(mail: Received) -> str:
    body = mail.message.get_body(("plain",))
    assert body is not None
    return " ".join(body.get_content().split())


@pytest.mark.spread(5)
@pytest.mark.parametrize("happens", CAUSES, ids=lambda one: one.__name__)
def test_it_is_mailed(
    people: People, mailing: SampleSite, smtp_server: MailServer, happens: Callable[[SampleSite], None]
) -> None:
    said, count = CAUSES[happens]
    happens(mailing)
    for _ in range(2):
        finished = people.by(OWNER, mailing, "update", check=3)
        assert (said in finished.stderr and "live: unchanged" in finished.stderr) or not finished.stderr
    assert [mail.recipients for mail in smtp_server.messages] == [("ada@example.org",)] * count
    assert said in text_of(smtp_server.messages[0])
    assert "not clean" not in text_of(smtp_server.messages[0]), "git takes a file that it cannot read for edited"


def test_it_is_mailed_again_for_another_reason_and_once_solved(
    people: People, mailing: SampleSite, smtp_server: MailServer
) -> None:
    open_to_all(mailing)
    people.by(OWNER, mailing, "update", check=3)
    clone_as_root(mailing)
    people.by(OWNER, mailing, "update", check=3)
    mailing.path.chmod(0o755)
    people.give(mailing, OWNER)
    people.by(OWNER, mailing, "update", check=0)
    people.by(OWNER, mailing, "update", check=0)
    assert len(smtp_server.messages) == 3
    assert "solved" in smtp_server.messages[-1].message["Subject"]


def test_text_that_another_user_wrote_sends_no_mail(
    people: People, mailing: SampleSite, smtp_server: MailServer
) -> None:
    """Neither are recipients, servers and programs of others believed, nor is the state directory."""
    trap, mark = mailing.outer / "trap", people.base / "trapped"
    trap.write_text(f"#!/bin/sh\necho > {mark}\n", encoding="utf-8")
    trap.chmod(0o755)
    with (mailing.outer / ".env").open("a", encoding="utf-8") as file:
        file.write(f"RELEASER_SMTP_HOST=\nRELEASER_SENDMAIL={trap}\n")
    people.by(STRANGER, mailing, "update", check=3)
    assert smtp_server.messages == []
    assert not mark.exists()
