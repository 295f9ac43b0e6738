"""The footer of a mail: why its readers get it, and how to change that."""

from pathlib import Path

import pytest

from releaser.reporting.mail_setup import explain_recipients
from releaser.site.addresses import Address, MailSettings

ADA = (Address(name="Ada", address="ada@example.org"),)
ROOT = Path("/srv/shop_stuff/shop")
SOURCES = {
    "admins": "/srv/shop_stuff/.env: ADMINS_JSON",
    "updater_admins": "/srv/my: site/.env: RELEASER_UPDATER_ADMINS",
}


@pytest.mark.parametrize(
    ("settings", "own", "place", "command"),
    [
        (MailSettings(admins=ADA), False, "`ADMINS_JSON` in /srv/shop_stuff/.env names", "--admin ADDRESS"),
        (MailSettings(admins=ADA, updater_admins=ADA), False, "`ADMINS_JSON` in", "--admin ADDRESS"),
        (MailSettings(admins=ADA), True, "`ADMINS_JSON` in", "--admin ADDRESS"),
        (
            MailSettings(updater_admins=ADA),
            False,
            "`RELEASER_UPDATER_ADMINS` in /srv/my: site/.env names",
            "--set updater_admins=ADDRESS",
        ),
        (MailSettings(admins=ADA, updater_admins=ADA), True, "`RELEASER_UPDATER_ADMINS` in", "--set updater_admins="),
    ],
)
def test_the_footer_names_the_setting_its_file_and_the_command(
    settings: MailSettings, own: bool, place: str, command: str
) -> None:
    why, when = explain_recipients(settings, SOURCES, ROOT, own=own)
    assert place in why
    assert f"`releaser setup {command}" in why
    assert str(ROOT) in why
    assert "`releaser setup --set heartbeat=7d`" in when


def test_without_a_known_file_the_footer_names_the_setting_and_without_readers_there_is_none() -> None:
    why, _ = explain_recipients(MailSettings(admins=ADA), {}, ROOT, own=False)
    assert "because the setting `admins` names you" in why
    why, _ = explain_recipients(MailSettings(admins=ADA), {"admins": "environment: ADMINS_JSON"}, ROOT, own=False)
    assert "because `ADMINS_JSON` in the environment names you" in why
    assert explain_recipients(MailSettings(), SOURCES, ROOT, own=False) == ()
