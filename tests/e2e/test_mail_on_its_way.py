"""A run that is ended while its mail is being sent: the mail is kept, and the next run sends the very same one."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import SECONDS, in_background

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory
    from tests.support.smtp import MailServer


def mail_settings(port: int) -> dict[str, str]:
    return {"RELEASER_SMTP_HOST": "127.0.0.1", "RELEASER_SMTP_PORT": str(port), "RELEASER_SMTP_TIMEOUT": "60s"}


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP])
def test_a_mail_survives_the_end_of_its_run(make_site: SiteFactory, smtp_server: MailServer, by: int) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(SECONDS)
        site.write_dotenv(mail_settings(mute.getsockname()[1]))
        with in_background(site, "update") as update:
            connection, _ = mute.accept()
            update.send_signal(by)
            _, said = update.communicate(timeout=SECONDS)
            connection.close()
    assert update.returncode == 7, said
    assert "interrupted while mails were being sent" in said
    assert site.live_version("alpha") == "1.1.0"
    (kept,) = site.outbox_mails()
    run = site.json("history")[0]
    assert (run["command"], run["result"], run["exit_code"]) == ("update", "activated", 7)
    site.write_dotenv(mail_settings(smtp_server.port))
    assert site.releaser("update").returncode == 0
    assert [one.message["Message-ID"] for one in smtp_server.messages] == [kept["Message-ID"]]
    assert smtp_server.messages[0].message["subject"] == kept["subject"]
    assert site.outbox_mails() == []


def test_a_mail_survives_a_kill(make_site: SiteFactory, smtp_server: MailServer) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(SECONDS)
        site.write_dotenv(mail_settings(mute.getsockname()[1]))
        with in_background(site, "update") as update:
            connection, _ = mute.accept()
            update.kill()
            update.communicate(timeout=SECONDS)
            connection.close()
    (kept,) = site.outbox_mails()
    site.write_dotenv(mail_settings(smtp_server.port))
    assert site.releaser("update").returncode == 0
    assert [one.message["Message-ID"] for one in smtp_server.messages] == [kept["Message-ID"]]
    assert site.outbox_mails() == []


def test_mails_that_wait_are_not_lost_by_the_end_of_a_run(
    make_site: SiteFactory, dead_port: int, smtp_server: MailServer
) -> None:
    site = make_site.adopted(dotenv=mail_settings(dead_port))
    for version in ("1.1.0", "1.2.0"):
        site.publish("alpha", version)
        site.releaser("update", check=7)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(SECONDS)
        site.write_dotenv(mail_settings(mute.getsockname()[1]))
        with in_background(site, "update") as update:
            connection, _ = mute.accept()
            update.terminate()
            update.communicate(timeout=SECONDS)
            connection.close()
    kept = {mail["Message-ID"] for mail in site.outbox_mails()}
    assert len(kept) == 2
    site.write_dotenv(mail_settings(smtp_server.port))
    site.releaser("update", check=0)
    assert {one.message["Message-ID"] for one in smtp_server.messages} == kept
    assert site.outbox_mails() == []
