"""How mails are sent and to whom: what a check says of it, a mail to try it, and the footer."""

from itertools import chain
from pathlib import Path

import pytest

from releaser.answers import TestMail
from releaser.errors import PreflightError
from releaser.reporting.mail_setup import (
    admin_findings,
    explain_recipients,
    send_test_mail,
    sendmail_findings,
    warnings,
)
from releaser.site.addresses import Address, MailSettings
from releaser.tools import mail_transport
from tests.reporting.makers import a_sendmail, a_site

ADA = (Address(name="Ada", address="ada@example.org"),)
FOR_ADMINS, FOR_UPDATER_ADMINS = MailSettings(admins=ADA), MailSettings(updater_admins=ADA)
FOR_BOTH = MailSettings(admins=ADA, updater_admins=ADA)
ROOT = Path("/srv/shop_stuff/shop")
SOURCES = {
    "admins": "/srv/shop_stuff/.env: ADMINS_JSON",
    "updater_admins": "/srv/my: site/.env: RELEASER_UPDATER_ADMINS",
}
IN_FILE = "`ADMINS_JSON` in /srv/shop_stuff/.env names"
IN_OTHER_FILE = "`RELEASER_UPDATER_ADMINS` in /srv/my: site/.env names"
ADD_ADMIN, ADD_OTHER = "`releaser setup --admin ADDRESS", "`releaser setup --set updater_admins=ADDRESS"


@pytest.mark.parametrize(
    ("settings", "sources", "own", "place", "command"),
    [
        (FOR_ADMINS, SOURCES, False, IN_FILE, ADD_ADMIN),
        (FOR_ADMINS, SOURCES, True, IN_FILE, ADD_ADMIN),
        (FOR_BOTH, SOURCES, False, IN_FILE, ADD_ADMIN),
        (FOR_BOTH, SOURCES, True, IN_OTHER_FILE, ADD_OTHER),
        (FOR_UPDATER_ADMINS, SOURCES, False, IN_OTHER_FILE, ADD_OTHER),
        (FOR_ADMINS, {}, False, "the setting `admins` names", ADD_ADMIN),
        (FOR_ADMINS, {"admins": "environment: ADMINS_JSON"}, False, "`ADMINS_JSON` in the environment names",
            ADD_ADMIN),
    ],
)  # fmt: skip
def test_the_footer_names_the_setting_its_file_and_the_command(
    settings: MailSettings, sources: dict[str, str], own: bool, place: str, command: str
) -> None:
    why, when = explain_recipients(settings, sources, ROOT, own=own)
    assert f"because {place} you" in why
    assert command in why
    assert str(ROOT) in why
    assert "`releaser setup --set heartbeat=7d`" in when


def test_without_readers_there_is_no_footer() -> None:
    assert explain_recipients(MailSettings(), SOURCES, ROOT, own=False) == ()


TO_ADA = {"admins": "ada@example.org"}


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        ({**TO_ADA, "smtp_host": "localhost"}, []),
        ({**TO_ADA, "sendmail": "none"}, []),
        ({**TO_ADA, "sendmail": "bin/sendmail"}, []),
        ({**TO_ADA, "sendmail": "bin/none"}, ["sendmail-missing", "no-mail-server"]),
        (TO_ADA, ["no-mail-server"]),
        ({"sendmail": "bin/sendmail"}, ["no-recipient"]),
        ({"sendmail": "bin/sendmail", "environment": "production"}, ["no-recipient", "no-recipient"]),
    ],
)
def test_a_check_says_if_mails_reach_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], codes: list[str]
) -> None:
    monkeypatch.setattr(mail_transport, "_PLACES", ())  # whatever this host has
    site = a_site(tmp_path, **settings)
    a_sendmail(site.project.root / "bin")
    found = chain(sendmail_findings(site), warnings(site), admin_findings(site))
    assert [one.code for one in found] == codes


def test_a_mail_to_try_it_goes_to_all_by_the_program_that_is_set(tmp_path: Path) -> None:
    sendmail = a_sendmail(tmp_path / "bin", "msmtp")
    people = {**TO_ADA, "updater_admins": "team@example.org", "mail_from": "releaser@example.org"}
    site = a_site(tmp_path, **people, sendmail="../../bin/msmtp")
    to = ("ada@example.org", "team@example.org")
    assert send_test_mail(site) == TestMail(sent=True, to=to, by=str(sendmail))
    words, mail = ((tmp_path / "bin" / name).read_text() for name in ("sent.words", "sent"))
    assert words.split() == ["-i", "-f", "releaser@example.org", "--", *to]
    assert f"Mails about {site.project.root} on" in mail.replace("=\n", "")
    a_sendmail(tmp_path / "bin", "msmtp", status=75)
    failed = send_test_mail(site)
    assert (failed.sent, "did not accept the mail" in failed.problem) == (False, True)
    assert "said by sendmail" in failed.problem


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({**TO_ADA, "sendmail": "none"}, "mail-off"),
        ({**TO_ADA, "sendmail": "bin/none"}, "sendmail-missing"),
        ({"sendmail": "/bin/true"}, "no-recipient"),
    ],
)
def test_without_a_way_or_a_recipient_there_is_none(tmp_path: Path, settings: dict[str, str], code: str) -> None:
    with pytest.raises(PreflightError) as refused:
        send_test_mail(a_site(tmp_path, **settings))
    assert refused.value.findings[0].code == code
