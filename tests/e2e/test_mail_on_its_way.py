"""A run that is ended while its mail is being sent: the mail is kept, and the next run sends the very same one."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import SECONDS, in_background

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory
    from tests.support.smtp import MailServer


def mail_settings(port: int) -> dict[str, str]:
    return {"RELEASER_SMTP_HOST": "127.0.0.1", "RELEASER_SMTP_PORT": str(port), "RELEASER_SMTP_TIMEOUT": "60s"}


def end_while_mailing(site: SampleSite, by: signal.Signals) -> tuple[int, str]:
    """Let an update that is sending its mail end by a signal; return its status, and what it said."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(SECONDS)
        site.write_dotenv(mail_settings(mute.getsockname()[1]))
        with in_background(site, "update") as update:
            connection, _ = mute.accept()
            update.send_signal(by)
            _, said = update.communicate(timeout=3 * SECONDS)  # or SMTP comes to its limit, which is told otherwise
            connection.close()
    return update.returncode, said


def see_them_sent(site: SampleSite, server: MailServer, *, count: int) -> None:
    """See that so many mails were kept, and that the next update sends these very ones."""
    kept = {mail["Message-ID"]: mail["subject"] for mail in site.outbox_mails()}
    assert len(kept) == count
    site.write_dotenv(mail_settings(server.port))
    assert site.releaser("update").returncode == 0
    assert {one.message["Message-ID"]: one.message["subject"] for one in server.messages} == kept
    assert site.outbox_mails() == []


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_mail_survives_the_end_of_its_run(
    make_site: SiteFactory, smtp_server: MailServer, by: signal.Signals
) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0")
    status, said = end_while_mailing(site, by)
    assert site.live_version("alpha") == "1.1.0"
    if by != signal.SIGKILL:
        assert status == 7, said
        assert "interrupted while mails were being sent" in said
        run = site.json("history")[0]
        assert (run["command"], run["result"], run["exit_code"]) == ("update", "activated", 7)
    see_them_sent(site, smtp_server, count=1)


def test_mails_that_wait_are_not_lost_by_the_end_of_a_run(
    make_site: SiteFactory, dead_port: int, smtp_server: MailServer
) -> None:
    site = make_site.adopted(dotenv=mail_settings(dead_port))
    for version in ("1.1.0", "1.2.0"):
        site.publish("alpha", version)
        site.releaser("update", check=7)
    end_while_mailing(site, signal.SIGTERM)
    see_them_sent(site, smtp_server, count=2)
