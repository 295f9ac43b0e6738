"""Hands mails to the sendmail program of this host, as every mail server for Linux has one (sendmail(8))."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from email.policy import SMTP
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import MailError, ToolError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

    from releaser.system.process import Runner

NO_SENDMAIL = "none"  # the value of `sendmail` with which there is none
_PLACES = ("/usr/sbin/sendmail", "/usr/lib/sendmail")  # which are not on the PATH of cron
_POLICY = SMTP.clone(refold_source="none", linesep="\n")


def find_sendmail(setting: str | None, *, path: str | None, project: Path) -> Path | None:
    """Find sendmail: the setting, which is relative to the project or a name on PATH, else PATH and the usual places.

    None when there is none.
    """
    if setting == NO_SENDMAIL:
        return None
    if setting is not None and "/" in setting:
        names = [str(project / Path(setting).expanduser())]
    else:
        names = [setting or "sendmail", *(() if setting else _PLACES)]
    found = (shutil.which(name, path=path) for name in names)
    return next((Path(os.path.abspath(one)) for one in found if one), None)


@dataclass(frozen=True, kw_only=True)
class Sendmail:
    """The program, and how long it may take for a mail, in seconds."""

    runner: Runner
    program: Path
    timeout: float

    @property
    def address(self) -> str:
        """The program for people."""
        return str(self.program)

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        """Hand a mail over for all recipients, of whom none is refused here. Raises MailError.

        It may leave a process that delivers the mail.
        """
        words: list[str | Path] = [self.program, "-i", "-f", sender, "--", *dict.fromkeys(recipients)]
        text = message.as_bytes(policy=_POLICY)
        try:
            self.runner.run(words, cwd=Path("/"), timeout=self.timeout, stays=True, input=text)
        except ToolError as error:
            reason = f"{self.program} did not take the mail: {error.reason}"
            advice = "Check the mail server of this host, or set `smtp_host` or `sendmail`."
            raise MailError(reason, advice=advice) from error
        return ()
