"""The settings of each kind of notice."""

from releaser.site.declaring import Part, secret
from releaser.site.values import Line, Services, UrlOrNone


class WebhookSettings(Part):
    """The webhook."""

    #: A URL to which releaser POSTs the report, as `update --json` prints it, whenever a mail is due.
    webhook: UrlOrNone | None = secret(default=None)
    #: The secret with which releaser signs reports to the webhook.
    webhook_secret: Line | None = secret(default=None)


class PingSettings(Part):
    """Pings, as services that monitor cron jobs expect."""

    #: A URL that gets a request when an update begins and when it ends, as services that monitor cron jobs expect.
    ping_url: UrlOrNone | None = secret(default=None)

    @property
    def url(self) -> str:
        """The URL, or nothing."""
        return self.ping_url if self.ping_url and self.ping_url != "none" else ""


class ServiceSettings(Part):
    """Services that Apprise knows."""

    #: Apprise URLs of services that get a short notice whenever a mail is due.
    notify: Services = secret(default=())

    @property
    def extra(self) -> str:
        """The extra with the library that sends notices."""
        return "notify" if self.notify else ""
