"""What commands show on a terminal: run in a real one of some width, on a site with a history, and made a page.

The clock of the commands is set by `faketime`, so that the same pictures come out on any day.
"""

from __future__ import annotations

import fcntl
import html
import itertools
import math
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyte

from releaser.reporting.style import DAY, NIGHT
from tests.support.commands import console_script
from tests.support.osv import Flaw, VulnerabilityService
from tests.support.serving import http_server, reply
from tests.support.simple_index import SimpleIndex
from tests.support.sites import SiteFactory
from tests.support.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.chromium import Chromium
    from tests.support.sites import SampleSite

MISSING = "faketime is needed (scripts/install-debian-packages faketime)"
ROWS = 300
GROUND_OF = {80: NIGHT, 160: DAY}  # how wide a terminal is, and its colours, which are those of mails
PAGE = """<!doctype html><meta charset="utf-8"><style>body {{ margin: 0; background: {page}; color: {text} }}
pre {{ font: 13px/18px "DejaVu Sans Mono", monospace; margin: 12px 16px; width: max-content }}
.red {{ color: {red} }} .green {{ color: {green} }} .brown {{ color: {amber} }} .blue {{ color: {blue} }}
.faint {{ color: {muted} }} .bold {{ font-weight: bold }}</style><pre>{lines}</pre>"""

# The site

FORM = {
    "5": "class BaseForm:\n    def __init__(self, *, use_required_attribute=False):\n        pass\n",
    "6": "class BaseForm:\n    def __init__(self):\n        pass\n",
}
TESTS = """\
import time
import unittest

from django import BaseForm


class BasketTest(unittest.TestCase):
    def test_basket(self):
        BaseForm(use_required_attribute=True)


class CatalogueTest(unittest.TestCase):
    pass


def test_price(self):
    time.sleep(0.01)


for number in range(213):
    setattr(CatalogueTest, f"test_price_{number}", test_price)
"""
RUN_TESTS = """\
import sys
import unittest

suite = unittest.defaultTestLoader.loadTestsFromName("shop.tests")
print(f"Found {suite.countTestCases()} test(s).", flush=True)
sys.exit(not unittest.TextTestRunner().run(suite).wasSuccessful())
"""
FILES = {
    ".gitignore": "__pycache__/\nstatic_out/\n/.venv\n",
    "run_tests.py": RUN_TESTS,
    "shop/__init__.py": "",
    "shop/tests.py": TESTS,
}
START = {"django": "5.1.1", "pillow": "10.4.0", "sqlparse": "0.5.0", "asgiref": "3.8.1"}
LINKS = {
    "django": "https://docs.example.org/en/releases/",
    "pillow": "https://pillow.example.org/changes",
}
FLAWS = (
    Flaw(
        id="CVE-2026-53908", package="django", fixed="5.1.4", summary="SQL injection in HasKey(lhs, rhs) on Oracle",
    ),
    Flaw(
        id="GHSA-44wm-f244-xhp3", package="asgiref", fixed="3.9.0", aliases=("CVE-2026-28219",),
        summary="Denial of service by a slow client",
    ),
)  # fmt: skip


class Shop:
    """A site that was adopted some days ago, and the index that it takes its packages from."""

    def __init__(
        self, site: SampleSite, index: SimpleIndex, dotenv: Mapping[str, str | None], real: dict[str, str]
    ) -> None:
        self.site, self.index, self._dotenv = site, index, dotenv
        #: What stands in the pictures for the places of this machine, which have the same lengths.
        self._shown = real

    def publish(self, name: str, version: str, day: str) -> None:
        """Offer a version that was uploaded on some day."""
        urls = {"Changelog": LINKS[name]} if name in LINKS else {}
        code = f'__version__ = "{version}"\n' + (FORM[version[0]] if name == "django" else "")
        requires = ["asgiref", "sqlparse"] if name == "django" else []
        self.index.uploaded[name, version] = datetime.fromisoformat(f"2026-{day}T08:00:00Z")
        self.site.publish(name, version, requires=requires, modules={f"{name}/__init__.py": code}, urls=urls)

    def configure(self, **changes: str | None) -> None:
        """Write `.env` again, with these settings of releaser; None removes one."""
        changed = {f"RELEASER_{name.upper()}": value for name, value in changes.items()}
        self.site.write_dotenv({**self._dotenv, **changed})

    def at(self, moment: str, command: str, width: int, *, until: str = "", place: Path | None = None) -> list[str]:
        """Run a command at some time on a terminal; return the lines of HTML that are shown at the end.

        With `until`, return those that are shown as soon as that is among them. Nothing but the time of day of this
        machine lets a spinner turn, so leave `moment` empty for that.
        """
        clock = ["faketime", "-f", f"@2026-{moment}"] if moment else []
        words = [*clock, str(console_script()), *command.split()[1:]]
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, width, 0, 0))
        env = self.site.environment({"TERM": "xterm-256color", "TZ": "UTC", "NO_FAKE_STAT": "1"})
        process = subprocess.Popen(
            words,
            cwd=place or self.site.path,
            env=env,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        screen = Screen(width, ROWS)
        caught: list[str] = []
        stream = pyte.ByteStream(screen)
        with os.fdopen(controller, "rb", buffering=0) as output:
            for chunk in iter(lambda: read(output), b""):
                stream.feed(self._disguise(chunk))
                if until and not caught and any(re.search(until, line) for line in screen.display):
                    caught = lines_of(screen)
        process.wait()
        return caught if until else lines_of(screen)

    def _disguise(self, chunk: bytes) -> bytes:
        for real, shown in self._shown.items():
            chunk = chunk.replace(real.encode(), shown.encode())
        return chunk


class Screen(pyte.Screen):
    """A screen on which faint letters are told from others: pyte does not know them, so they count as blinking."""

    def select_graphic_rendition(self, *attributes: int, **more: Any) -> None:
        """Set how the letters that follow look."""
        super().select_graphic_rendition(*(5 if one == 2 else one for one in attributes), **more)


def read(output: Any) -> bytes:
    """Read what a program shows; nothing once it has ended."""
    try:
        return bytes(output.read(1 << 16))
    except OSError:
        return b""


def lines_of(screen: pyte.Screen) -> list[str]:
    """Return what is on a screen as lines of HTML."""
    last = max((number for number, line in enumerate(screen.display) if line.strip()), default=0)
    lines = []
    for number in range(last + 1):
        row = [screen.buffer[number][column] for column in range(screen.columns)]
        runs = itertools.groupby(row, key=lambda one: (one.fg, one.bold, one.blink))
        lines.append("".join(span("".join(one.data for one in run), *look) for look, run in runs).rstrip())
    return lines


def span(text: str, colour: str, bold: bool, faint: bool) -> str:
    """Return letters of one look as HTML."""
    looks = " ".join([colour] * (colour != "default") + ["bold"] * bold + ["faint"] * faint)
    return f'<span class="{looks}">{html.escape(text)}</span>' if looks else html.escape(text)


@contextmanager
def shop() -> Iterator[Shop]:
    """Make the site."""
    if shutil.which("faketime") is None:
        raise FileNotFoundError(MISSING)
    with ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix="", dir="/tmp"))
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        other = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mail = base / "mail"  # accepts each, and sends none
        mail.symlink_to("/bin/true")
        make_site = SiteFactory(base, Templates(other / "templates", other / "uv"))
        health = stack.enter_context(http_server(lambda request: reply(request, 200, b"well")))
        service = stack.enter_context(VulnerabilityService(*FLAWS).serving())
        dotenv: dict[str, str | None] = {
            "RELEASER_HEALTH_CHECK": f"{health}/health",
            "RELEASER_SENDMAIL": str(mail),
            "RELEASER_VULNERABILITY_SERVICE": service.url,
        }
        site = make_site(
            "shop", outer="shop_stuff", packages=START, requires={"django": ("asgiref", "sqlparse")},
            dependencies=["django", "pillow"], groups={"local": []},
            settings={"test_command": ["python", "run_tests.py"]}, files=FILES, dotenv=dotenv,
        )  # fmt: skip
        index = SimpleIndex(site.index.path)
        stack.enter_context(index.serving())
        made = Shop(
            site,
            index,
            dotenv,
            {str(mail): "/usr/sbin/sendmail", str(base): "/srv/websites", health: "https://tea.example.eu"},
        )
        for name, version in START.items():
            made.publish(name, version, "08-01")
        pyproject = site.path / "pyproject.toml"
        text = pyproject.read_text().replace('no-index = true\nfind-links = ["../index"]\n', "")
        pyproject.write_text(text + f'\n[[tool.uv.index]]\nurl = "{index.url}"\ndefault = true\n')
        site.uv("lock", "--quiet")
        site.commit("Ask an index")
        site.push()
        site.make_venv()
        yield made


def scenes(shop: Shop, width: int) -> Iterator[tuple[str, list[str]]]:
    """Let the nights of a site go by; give the name of each picture, and the command line with what it shows."""

    def told(moment: str, command: str, until: str = "") -> list[str]:
        return [f"<b>$ {command}</b>", *shop.at(moment, command, width, until=until)]

    told("11-16 09:12:03", "releaser init")
    shop.publish("pillow", "11.0.0", "11-12")
    told("11-18 03:12:01", "releaser update")
    shop.publish("django", "5.1.2", "11-15")
    told("11-20 06:12:01", "releaser update")
    for name, version, day in (
        ("django", "5.1.4", "11-17"),
        ("pillow", "11.1.0", "11-09"),
        ("sqlparse", "0.5.2", "08-09"),
    ):
        shop.publish(name, version, day)
    shop.site.push_from_elsewhere({"shop/tea.py": "PER = 'pound'\n"}, message="Sell tea by the pound")
    shop.site.push_from_elsewhere({"shop/hours.py": "OPEN = 9\n"}, message="Show the opening hours")
    yield "update", told("11-21 03:12:01", "releaser update")
    shop.publish("django", "6.0", "11-18")
    yield "refused", told("11-22 03:12:01", "releaser update")
    for command in (
        "--help", "status", "list", "outdated", "prune --dry-run", "audit", "history", "check",
    ):  # fmt: skip
        yield command.replace(" ", "-").replace("--", ""), told("11-22 08:30:00", f"releaser {command}")
    shop.publish("pillow", "11.2.0", "11-10")
    yield "progress", told("", "releaser update", until=r"test [1-9]\d+ of 214 tests")


def terminals(browser: Chromium) -> Iterator[tuple[str, bytes]]:
    """Show what commands print: on a narrow terminal by night, and on a wide one by day."""
    for width, colours in GROUND_OF.items():
        with shop() as found:
            for name, lines in scenes(found, width):
                page = PAGE.format(lines="\n".join(lines), **colours)
                browser.show(page, width=math.ceil(7.826 * width) + 32)
                yield f"terminal-{name}-{width}.webp", browser.picture("webp")


# Errors, and what they advise

WIDTH = 110


def mistakes(shop: Shop) -> Iterator[tuple[str, list[str]]]:
    """Make one mistake after the other; give the name of each picture, and the command line with what it shows."""
    site = shop.site

    def told(command: str, place: Path | None = None) -> list[str]:
        return [f"<b>$ {command}</b>", *shop.at("11-20 08:30:00", command, WIDTH, place=place)]

    yield "no-project", told("releaser status", site.outer)
    yield "not-adopted", told("releaser rollback")
    shop.at("11-16 09:12:03", "releaser init", WIDTH)
    yield "typo", [*told("releaser udpate"), "", *told("releaser hold djnago")]
    shop.configure(upgrade="minr", keep_within="30 days", git_pull="yes")
    yield "wrong-value", told("releaser update")
    shop.configure(pin="true")
    yield "renamed-setting", told("releaser update")
    shop.configure(sendmail=None)
    yield "no-mail-server", told("releaser test-mail")
    shop.publish("pillow", "11.0.0", "11-12")
    shop.configure(health_check="tea.example.eu/health")
    yield "health-check-without-scheme", told("releaser update")
    shop.configure(health_check="false")
    yield "health-check-fails", told("releaser update")
    shop.configure(vulnerability_service="none")
    yield "audit-off", told("releaser audit")
    yield "locked", while_another_runs(shop, told)
    shop.configure(test_command="python -m unittest discover --pattern nothing.py")
    yield "no-tests", told("releaser update")
    shop.configure()
    shop.at("11-20 08:30:00", "releaser update", WIDTH)
    shop.publish("django", "6.0", "11-10")
    yield "tests-failed", told("releaser update")
    site.push_from_elsewhere({"shop/tea.py": "PER = 'pound'\n"}, message="Sell tea by the pound")
    site.commit("Show the opening hours", {"shop/hours.py": "OPEN = 9\n"})
    yield "diverged", told("releaser update")
    site.link.unlink()
    site.make_venv()
    yield "venv-replaced", told("releaser update")


def while_another_runs(shop: Shop, told: Callable[[str], list[str]]) -> list[str]:
    """Show an update while another one builds."""
    shop.configure(before_build="sleep 60")
    env = shop.site.environment()
    words = ["faketime", "-f", "@2026-11-20 08:12:01", str(console_script()), "update"]
    nowhere = subprocess.DEVNULL
    other = subprocess.Popen(words, cwd=shop.site.path, env=env, stdout=nowhere, stderr=nowhere, start_new_session=True)
    try:
        while shop.site.json("status")["running"] is None:
            time.sleep(0.2)
        return told("releaser update")
    finally:
        os.killpg(other.pid, signal.SIGTERM)  # `faketime` does not pass a signal on
        while shop.site.json("status")["running"] is not None:
            time.sleep(0.2)
        other.wait()
        shop.configure()


def errors(browser: Chromium) -> Iterator[tuple[str, bytes]]:
    """Show what errors say, and what to do."""
    with shop() as found:
        for name, lines in mistakes(found):
            browser.show(PAGE.format(lines="\n".join(lines), **NIGHT), width=math.ceil(7.826 * WIDTH) + 32)
            yield f"error-{name}.webp", browser.picture("webp")
