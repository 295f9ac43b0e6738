"""Make docs/pictures/: commands on a terminal of 80 columns as SVG, mails and pages in a browser as PNG.

All are real runs, but for the earlier nights of the page.

Packages come from an index beside the site; chromium shows the mails, if it is installed and releaser writes HTML.
"""

import email
import email.policy
import getpass
import io
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
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
HIGHEST = 2000  # pixels of a picture
PAGE = ((1280, "light"), (390, "dark"))
_SAID = {
    "no-changes": "Everything is up to date.",
    "updated": "A release is live: django 5.2.6 → 5.2.7.",
    "failed": "A release (pillow 11.3.0 → 12.0.0) failed its tests: 2 tests fail.",
    "rolled-back": "A release failed and was rolled back: the site answered 500.",
    "refused": "Tracked files of the checkout are changed: `shop/settings.py`.",
}


class Studio:
    """A sample site, and the pictures of what happens on it."""

    def __init__(self, place: Path) -> None:
        (place / "templates").mkdir()
        templates = Templates(place / "templates", place / "uv-cache")
        packages = dict(PACKAGES)
        self.make_site = SiteFactory(place / "srv", templates)
        self.site: SampleSite = self.make_site(outer="shop_stuff", name="shop", packages=packages)
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

    def page(self, name: str, site: SampleSite) -> None:
        """Write the pictures of a page of `releaser report`; of many sites if those are listed beside the site."""
        listed = site.base / f"{name}.toml"
        many = ("--all", "--sites", listed) if listed.exists() else ()
        site.releaser("report", *many, "--html", site.base / f"{name}.html", project=None if many else "")
        text = self.tidy((site.base / f"{name}.html").read_text())
        for width, scheme in PAGE:
            photograph(text, width, scheme, PICTURES / f"{name}-{width}-{scheme}.png")


def make_history(site: SampleSite) -> None:
    """Let a site look as if it had been updated for half a year."""
    choose, history, at = random.Random(7), site.state / "history.jsonl", datetime.now(UTC)
    lines = []
    for days in range(170, 0, -1):
        result = choose.choices(["no-changes", "updated", "failed", "rolled-back", "refused"], [80, 14, 3, 1, 2])[0]
        run = {"run": f"{at - timedelta(days=days):%Y%m%dT%H%M%SZ}", "command": "update", "exit_code": 0}
        run |= {"ended_at": f"{(at - timedelta(days=days)).isoformat()}", "result": result, "headline": _SAID[result]}
        lines += [json.dumps(run | {"seconds": choose.uniform(4, 90)})] if choose.random() < 0.97 else []
    history.write_text("\n".join([*lines, history.read_text()]))


def photograph(html: str, width: int, scheme: str, picture: Path) -> None:
    """Write a picture of a page, as high as the page is, but for what is below `HIGHEST`."""
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
        shot = [
            f"--screenshot={picture}",
            f"--window-size={width},{min(int(height[1]), HIGHEST) if height else HIGHEST}",
            frame.as_uri(),
        ]
        subprocess.run([*base, *shot], capture_output=True, check=True)


def photograph_pages(studio: Studio) -> None:
    """Make the pictures of the page of a site, and of five sites."""
    make_history(studio.site)
    studio.page("page", studio.site)
    listed = [studio.site.path]
    for name in ("blog", "forum", "library"):
        site = studio.make_site(outer=f"{name}_stuff", name=name, packages={"django": "5.2.7"})
        site.releaser("init", check=0)
        if name == "blog":
            site.releaser("pause", "--for", "2d", "The blog moves", check=0)
        if name == "forum":
            site.edit("shop.py", "EDITION = 2\n")
        listed.append(site.path)
    listed.append(site.base / "museum_stuff/museum")
    user = getpass.getuser()
    text = "".join(f"[[site]]\npath = '{path}'\nowner = '{user}'\n" for path in listed)
    (site.base / "sites.toml").write_text(text)
    studio.page("sites", site)


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
        photograph_pages(studio)


if __name__ == "__main__":
    main()
