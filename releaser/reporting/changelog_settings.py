"""The setting of changelogs in mails."""

from releaser.site.declaring import Part


class ChangelogSettings(Part):
    """Changelogs in mails."""

    #: Show in mails the changelogs of the packages that the project requires.
    mail_changelogs: bool = True

    @property
    def in_mails(self) -> bool:
        """True if mails show changelogs."""
        return self.mail_changelogs
