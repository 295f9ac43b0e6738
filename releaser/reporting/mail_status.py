"""The mails that wait to be sent, in the status."""

from releaser.core.status import Alarm, Figure, Line, Look, Pending, Shows, StatusSection
from releaser.system.words import plural


class MailStatus(StatusSection):
    """The mails and notices that wait."""

    mails_pending: int = 0

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        from releaser.reporting.outbox import FOR_SMTP, Outbox
        from releaser.reporting.reporters import receivers
        from releaser.site.addresses import MailSettings

        queues = {receiver.queue for receiver in receivers(at.site)}
        # With sendmail = "none" and no server, people read the mails in the outbox.
        if MailSettings.of(at.site).sends:
            queues.add(FOR_SMTP)
        queued = Outbox(path=at.site.project.outbox).list_queued() if queues else ()
        return cls(mails_pending=sum(mail.queue in queues for mail in queued))

    def show(self) -> Shows:
        mails = plural(self.mails_pending, "mail")
        if self.mails_pending:
            yield Line(f"pending: {mails} not sent yet", 56)
            yield Pending(mails, 20)
            yield Alarm(text=f"{mails} waiting to be sent", command="test-mail", rank=25)
        yield Figure("mails_pending", "Mails that wait to be sent", self.mails_pending)
