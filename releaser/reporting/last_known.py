"""The recipients of the last mail and the way to them, for a run that cannot read all settings of its site."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from releaser.releases.journal import read_notes
from releaser.site.addresses import MailSettings
from releaser.site.settings import SPECS
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.site.site import Site

_ROUTE = ("admins", "updater_admins", "mail_from", "smtp_host", "smtp_port", "smtp_security", "sendmail")
_LOGIN = ("smtp_user", "smtp_password_file")  # the password itself is kept nowhere else


def describe_route(site: Site) -> dict[str, str]:
    """Return the settings that bring mails to people, without the password, as a variable has them."""
    settings = MailSettings.of(site)
    names = (*_ROUTE, *(_LOGIN if _LOGIN[-1] in site.sources else ()))
    return {name: SPECS[name].kind.spell_in_line(getattr(settings, name)) for name in names if name in site.sources}


def settings_of(site: Site) -> MailSettings:
    """Return the settings for mails; with those of the last mail if settings are unreadable, or name no recipient."""
    settings = MailSettings.of(site)
    if settings.recipients and not site.findings:
        return settings
    return with_last_known(settings, site.sources, read_notes(site.state_dir).route)


def with_last_known(settings: MailSettings, sources: Mapping[str, str], route: Mapping[str, str]) -> MailSettings:
    """Return the settings, with those of the last mail for each that is not set; `sources` names those that are."""
    found = {}
    for name in SPECS.keys() & route.keys() - sources.keys():
        with contextlib.suppress(ValueError):
            found[name] = SPECS[name].kind(route[name])
    return replace(settings, **found)
