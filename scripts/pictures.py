"""Make docs/pictures/: commands on a terminal of 80 columns as SVG, mails in a browser as PNG. All are real runs.

Packages come from an index beside the site; chromium shows the mails, if it is installed and releaser writes HTML.
"""

import email
import email.policy
import io
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.commands import HOUSE, releaser_command
from tests.support.sites import SampleSite, SiteFactory, Templates
from tests.support.terminal import read_screen, run_on_terminal

PICTURES = HOUSE / "docs/pictures"
PACKAGES = {"asgiref": "3.10.0", "django": "5.2.7", "pillow": "12.0.0", "sqlparse": "0.5.3"}
ADMINS = {"RELEASER_ADMINS": "ada@example.org", "RELEASER_SMTP_HOST": "localhost:1"}  # so mails stay in the outbox
# The fonts are those of the reader: no picture loads anything.
SVG = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
MAILS = {
    "updated": ((1200, "light"), (1200, "dark"), (390, "light"), (390, "dark")),
    "failed": ((1200, "light"), (390, "dark")),
}


class Studio:
    """A sample site, and the pictures of what happens on it."""

    def __init__(self, place: Path) -> None:
        (place / "templates").mkdir()
        templates = Templates(place / "templates", place / "uv-cache")
        packages = dict(PACKAGES)
        self.site: SampleSite = SiteFactory(place / "srv", templates)(
            outer="shop_stuff", name="shop", packages=packages
        )
        self.env = self.site.environment({"PATH": f"{Path(releaser_command()[0]).parent}:{self.site.env['PATH']}"})

    def tidy(self, text: str) -> str:
        """Return a text with the paths and the host of an ordinary server."""
        text = text.replace(str(self.site.base), "/srv")
        return re.sub(rf"\b{re.escape(socket.gethostname())}\b", "web1", text)

    def show(self, name: str, *commands: str, settings: dict[str, str] | None = None) -> None:
        """Run commands, and write their picture."""
        console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
        for command in commands:
            words = ["sh", "-c", command]
            _, shown = run_on_terminal(words, cwd=self.site.path, env=self.env | (settings or {}))
            console.print(Text(f"$ {command}", style="bold"))
            console.print(Text.from_ansi(self.tidy(read_screen(shown, coloured=True)).rstrip("\n")))
        (PICTURES / f"{name}.svg").write_text(console.export_svg(title="shop", code_format=SVG, unique_id=name))

    def mail(self, name: str) -> None:
        """Update, and write the pictures of the mail about it."""
        self.site.releaser("update", env=ADMINS)
        file = max((self.site.state / "outbox/new").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        part = message.get_body(("html",))
        if part is None or part.get_content_type() != "text/html":
            print(f"The mail `{message['Subject']}` has no HTML.")
            return
        for width, scheme in MAILS[name]:
            photograph(self.tidy(part.get_content()), width, scheme, PICTURES / f"mail-{name}-{width}-{scheme}.png")


def photograph(html: str, width: int, scheme: str, picture: Path) -> None:
    """Write a picture of a page, as high as the page is."""
    with tempfile.TemporaryDirectory() as place:
        page, frame = Path(place, "mail.html"), Path(place, "frame.html")
        page.write_text(html, encoding="utf-8")
        # A frame: a window may not be as narrow as a telephone.
        look = f"<style>body {{ margin: 0 }} iframe {{ border: 0; width: {width}px; height: 4000px }}</style>"
        size = "onload='document.title = this.contentDocument.documentElement.offsetHeight'"
        frame.write_text(f"<!doctype html>{look}<iframe src=mail.html {size}></iframe>", encoding="utf-8")
        base = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
            "--virtual-time-budget=3000",
        ]
        base += [f"--user-data-dir={place}/profile", f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"]
        done = subprocess.run([*base, "--dump-dom", frame.as_uri()], capture_output=True, text=True, check=True)
        height = re.search(r"<title>(\d+)", done.stdout)
        shot = [f"--screenshot={picture}", f"--window-size={width},{height[1] if height else 2000}", frame.as_uri()]
        subprocess.run([*base, *shot], capture_output=True, check=True)


def main() -> None:
    """Make all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-", ignore_cleanup_errors=True) as directory:
        studio = Studio(Path(directory))
        site = studio.site
        studio.show("help", "releaser --help")
        studio.show("check", "releaser check", settings={"RELEASER_RESTRAT": "none", "RELEASER_KEEP": "some"})
        site.releaser("init", check=0)
        for name, version in {"django": "5.2.8", "sqlparse": "0.5.4", "pillow": "12.0.1"}.items():
            site.publish(name, version)
        studio.show("update", "releaser update")
        site.publish("sqlparse", "0.6.0", broken=True)
        studio.show("failed", "releaser update")
        studio.show("status", "releaser status")
        studio.show("rollback", "releaser rollback", "releaser list")
        site.releaser("unhold", "django", check=0)
        site.releaser("hold", "sqlparse", check=0)  # whose newest version fails
        site.publish("asgiref", "3.11.0")
        studio.mail("updated")
        site.publish("pillow", "12.1.0", broken=True)
        studio.mail("failed")


if __name__ == "__main__":
    main()
