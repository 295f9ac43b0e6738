"""The settings of each kind of notice."""

from releaser.site.declaring import Part, secret
from releaser.site.values import Line, Services, UrlOrNone


class WebhookSettings(Part):
    """The webhook."""

    AFTER = "heartbeat"
    #: A URL that gets the report by POST whenever a mail is due, as `update --json` prints it.
    webhook: UrlOrNone | None = secret(default=None)
    #: The secret that reports to the webhook are signed with.
    webhook_secret: Line | None = secret(default=None)


class PingSettings(Part):
    """Pings, as services that monitor cron jobs expect."""

    AFTER = "webhook_secret"
    #: A URL that is told when an update begins and how it ends, as services that monitor cron jobs expect.
    ping_url: UrlOrNone | None = secret(default=None)


class ServiceSettings(Part):
    """Services that Apprise knows."""

    AFTER = "ping_url"
    #: Apprise URLs of services that get a few lines whenever a mail is due.
    notify: Services = secret(default=())
