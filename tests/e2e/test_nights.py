"""Thirty nights of cron: how many mails people get, what cron prints, and what `status` says until trouble is over."""

import contextlib
import os
import shutil
from collections.abc import Callable

import pytest

from tests.e2e.scenes import hook, mostly_slow, says, small_disk
from tests.faults import filling
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server

BALLAST = "ballast"
Act = Callable[[SampleSite], object]
#: What has happened before a night, and what is expected: exit code, mails, if it prints, and if `status` is well.
Night = tuple[str, Act, int, int, bool, bool]


def same(site: SampleSite) -> None:
    """Let everything be as it was the night before."""


def offer(version: str, *, broken: bool = False) -> Act:
    """Return the act of offering a version of alpha."""
    return lambda site: site.publish("alpha", version, broken=broken)


def mail_to(host: str = "") -> Act:
    """Return the act of naming a dead mail server; without a host, the one that works again."""

    def act(site: SampleSite) -> None:
        dotenv = {"ADMINS_JSON": '[["Ada", "ada@example.org"]]', "RELEASER_SMTP_HOST": host or site.env["MAIL_SERVER"]}
        site.write_dotenv(dotenv)

    return act


def both(*acts: Act) -> Act:
    """Return several acts as one."""
    return lambda site: [act(site) for act in acts]


def fill(leave: int) -> Act:
    """Return the act of filling the disk, but for some pages."""
    return lambda site: filling.fill(str(site.outer), BALLAST, "bytes", leave)


#: People at work, then servers that do not answer, then a full disk.
PERSON: list[Night] = [
    ("a quiet night", same, 0, 0, False, True),
    ("an update", offer("1.1.0"), 0, 1, True, True),
    ("failing tests", offer("1.2.0", broken=True), 5, 1, True, False),
    ("fails like it", offer("1.2.1", broken=True), 5, 1, True, False),
    ("the same", same, 5, 0, False, False),
    ("the same", same, 5, 0, False, False),
    ("a person at work", lambda site: site.edit("shop.py", "mine"), 3, 1, True, False),
    ("the same", same, 3, 0, True, False),
    ("work is done", lambda site: site.git("checkout", "--quiet", "shop.py"), 5, 0, False, False),
]
OTHERS: list[Night] = [
    ("dead remote", lambda site: site.remote.rename(site.base / "away"), 4, 1, True, False),
    ("the same", same, 4, 0, True, False),
    ("it answers", lambda site: (site.base / "away").rename(site.remote), 5, 0, False, False),
    ("dead once more", lambda site: site.remote.rename(site.base / "away"), 4, 1, True, False),
    ("it answers", lambda site: (site.base / "away").rename(site.remote), 5, 0, False, False),
    ("an update", offer("1.3.0"), 0, 1, True, True),
    ("dead index", lambda site: site.index.rename(site.outer / "away"), 4, 1, True, False),
    ("the same", same, 4, 0, True, False),
    ("it answers", lambda site: (site.outer / "away").rename(site.index), 0, 0, False, True),
    ("dead SMTP, update", both(mail_to("localhost:1"), offer("1.4.0")), 7, 0, True, False),
    ("dead SMTP, quiet", same, 0, 0, False, False),
    ("dead SMTP, person", lambda site: site.edit("shop.py", "mine"), 3, 0, True, False),
    ("SMTP answers", mail_to(), 3, 2, True, False),
    ("work is done", lambda site: site.git("checkout", "--quiet", "shop.py"), 0, 0, False, True),
    ("refused push", both(lambda site: hook(site.remote, "pre-receive"), offer("1.5.0")), 7, 1, True, False),
    ("the same", same, 7, 0, True, False),
    ("it is taken", lambda site: (site.remote / "hooks" / "pre-receive").unlink(), 0, 0, False, True),
]
DISK: list[Night] = [
    ("full disk", fill(100), 4, 1, True, False),
    ("the same", same, 4, 0, True, False),
    ("room again", lambda site: filling.empty(str(site.outer), BALLAST), 0, 0, False, True),
    ("not a byte left", both(offer("1.6.0"), fill(0)), 4, 1, True, False),
    ("the same", same, 4, 0, True, False),
    ("room again", lambda site: filling.empty(str(site.outer), BALLAST), 0, 1, True, True),
]
STORIES = {"a week": PERSON, "thirty nights": [*PERSON, *OTHERS, *DISK]}


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(STORIES, "a week"))
def test_law_20_26_27_nights(make_site: SiteFactory, name: str) -> None:
    site, nights = make_site.live(), STORIES[name]
    lines, has_failed = ["night, [exit code, mails, prints, well]"], False
    needs_disk = DISK[0] in nights
    if needs_disk and not (os.geteuid() == 0 and shutil.which("mount")):
        nights, needs_disk = nights[: -len(DISK)], False
        lines.append("without a full disk: only root mounts a small file system")
    with mail_server() as server, small_disk(site.outer) if needs_disk else contextlib.nullcontext():
        site.env["MAIL_SERVER"] = server.host
        mail_to()(site)
        for number, (what, act, *expected) in enumerate(nights, 1):
            mails = len(server.mails)
            act(site)
            night, status = site.releaser("update"), site.releaser("status")
            says(night)
            seen = [night.returncode, len(server.mails) - mails, bool(night.stdout + night.stderr),
                    status.returncode == 0]  # fmt: skip
            has_failed |= seen != expected
            lines.append(f"{number:2} {what:18} {seen} {'' if seen == expected else f'but expected {expected}'}")
    print("", *lines, sep="\n")
    assert not has_failed, "\n".join(lines)
