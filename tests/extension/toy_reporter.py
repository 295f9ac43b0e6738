"""A reporter that releaser does not have: it prints each notice into a file beside the project."""

import json
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from pathlib import Path

from releaser.core.reporter import Reporter
from releaser.errors import Finding, MailError
from releaser.report import RunReport
from releaser.reporting import reporters
from releaser.site.site import Site
from releaser.system.frozen import Frozen


class Printer(Frozen):
    """Appends a line to a file, while there is paper."""

    place: Path
    queue = "printer"
    address = "the printer"

    def content(self, site: Site, report: RunReport) -> bytes:
        return json.dumps({"title": site.redactor.line(report.headline)}).encode()

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        if (self.place / "jam").exists():
            jam = "the paper is jammed"
            raise RuntimeError(jam)
        if not (self.place / "paper").exists():
            out = "the printer has no paper"
            raise MailError(out)
        with (self.place / "printed").open("a", encoding="utf-8") as file:
            print(json.loads(message.get_content())["title"], file=file)
        return ()


class Toy(Reporter):
    """Reports to the printer."""

    def receivers(self, site: Site) -> Iterator[Printer]:
        yield Printer(place=site.project.outer)

    def findings(self, site: Site) -> Iterator[Finding]:
        if not (site.project.outer / "printer").exists():
            yield Finding("toy-printer", "there is no printer", advice="Buy one.")


def register() -> None:
    reporters.REPORTERS = (*reporters.REPORTERS, Toy())
