"""The story that `make demo` tells: one site, from its adoption to a refused update and a rollback.

Takes a directory to work in, whose `venv` has releaser installed. Every claim is checked; one that does not hold ends
the demo with exit status 1.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from stage import DemoError, Stage, chapter, expect, publish, say, set_up


def adopt(stage: Stage) -> None:
    """Chapter 1 and 2: the site, and its adoption."""
    chapter(
        1,
        "A Django site on a server",
        "A git checkout with uv.lock and .venv, which nobody has updated for some months. `visit` is a command of the "
        "site that gets its front page.",
    )
    stage.show("ls -A")
    stage.show(".venv/bin/python manage.py visit")
    chapter(2, "Adopt it", "The venv becomes the first release, as it is, and .venv a symlink to it.")
    stage.show("releaser init -v")
    stage.show("readlink .venv")
    expect(stage.link.is_symlink(), ".venv is no symlink after init")
    expect(stage.live_django() == "5.2.8", "init changed the packages")
    expect(stage.ask("git", "status", "--porcelain") == "", "init left the checkout unclean")


def update(stage: Stage) -> None:
    """Chapter 3 to 5: an update, a look at it, and one that finds nothing."""
    before = stage.live_django()
    chapter(
        3,
        "Update it",
        "The newest versions go into a new venv beside the live one. Only when the site's own tests pass on it does "
        "the symlink move. Then uv.lock is committed and pushed.",
    )
    stage.show("releaser update -v")
    stage.show(".venv/bin/python manage.py visit")
    expect(stage.live_django() != before, "the update did not bring a newer Django")
    expect(stage.locked_django() == stage.live_django(), "the remote does not have the new lock")
    expect((stage.site / "static_root/teashop/style.css").exists(), "static files were not collected")
    expect((stage.site / "tmp/restart.txt").exists(), "the web server was not told to restart")
    chapter(4, "Look at it", "Every release is kept with its lock, so that any two can be compared.")
    stage.show("releaser list")
    old, new = (stage.releases()[index]["id"] for index in (-1, 0))
    stage.show(f"releaser diff {old}")
    expect(stage.releases()[0]["live"], f"{new} is not live")
    chapter(
        5,
        "Update it again",
        "There is nothing newer now, so nothing is built and nobody gets a mail. From cron, without -v, this says "
        "nothing at all.",
    )
    stage.show("releaser update -v")
    expect(len(stage.releases()) == 2, "an update without anything new made a release")


def refuse(stage: Stage) -> None:
    """Chapter 6: an update that the site's tests do not pass."""
    target, django, head = stage.link.readlink(), stage.live_django(), stage.ask("git", "rev-parse", "HEAD")
    page = stage.ask(stage.link / "bin" / "python", "manage.py", "visit")
    chapter(
        6,
        "Meet a bad package",
        "pricetag 2.0 is published, and takes cents for euros: tea would cost a hundred times as much. The site's "
        "tests fail on the new venv and pass on the live one, so it is the update that breaks the site. It never "
        "goes live.",
    )
    publish(stage.wheels, "2.0")
    stage.show("releaser update -v", status=5)
    say("\nThe live site has noticed nothing:\n")
    stage.show(".venv/bin/python manage.py visit")
    expect(stage.link.readlink() == target, "the refused update moved the symlink")
    expect(stage.live_django() == django, "the refused update changed the live venv")
    expect(stage.ask("git", "rev-parse", "HEAD") == head, "the refused update made a commit")
    expect(stage.ask("git", "status", "--porcelain") == "", "the refused update left the checkout unclean")
    expect(stage.ask(stage.link / "bin" / "python", "manage.py", "visit") == page, "the page has changed")
    expect(stage.releases()[0]["state"] == "failed", "the candidate is not listed as failed")


def go_back(stage: Stage) -> None:
    """Chapter 7: a rollback."""
    left = stage.live_django()
    chapter(
        7,
        "Go back",
        "Say that the newer Django turned out to be wrong after all. Nothing has to be built: the symlink moves back, "
        "the lock with it, and no later update takes these versions again.",
    )
    stage.show("releaser rollback -v")
    stage.show(".venv/bin/python manage.py visit")
    stage.show("git log --format=%s origin/main")
    stage.show("releaser list")
    expect(stage.live_django() == "5.2.8", "the rollback did not bring back the first release")
    expect(stage.locked_django() == "5.2.8", "the remote does not have the lock of the first release")
    expect(f"django {left}" in stage.ask("releaser", "status"), f"Django {left} is not held back")
    expect(
        [one["state"] for one in stage.releases()] == ["failed", "rolled-back", "live"], "the releases are not as told"
    )


def read_mail(stage: Stage) -> None:
    """Chapter 8: the mails."""
    found = stage.mails()
    chapter(
        8,
        "Read the mail",
        "The admins in .env are told of each change and each failure. No mail server is set here, so the mails are "
        "kept in a Maildir; this is the head of the second.",
    )
    for _, mail in found:
        say(f"  {mail['Subject']}")
    say(f"\n  in {stage.outbox}\n")
    expect(len(found) == 3, f"{len(found)} mails were kept, not 3")
    mail = found[1][1]
    for name in ("From", "To", "Subject"):
        say(f"  | {name}: {mail[name]}")
    say("  |")
    body = mail.get_body(("plain",))
    text = body.get_content() if body is not None else ""
    for line in text.splitlines()[:14]:
        say(f"  | {line}".rstrip())
    expect("pricetag" in text, "the mail about the refused update does not name the package")
    expect(mail["To"] == "Ada <ada@example.org>", f"the mail went to {mail['To']}")


def main(place: Path) -> int:
    """Tell the story."""
    began = time.monotonic()
    stage = Stage(place, os.environ, programs=place / "venv" / "bin")
    try:
        set_up(stage)
        for part in (adopt, update, refuse, go_back, read_mail):
            part(stage)
    except DemoError as error:
        print(f"\nThe demo went wrong: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"\nThat is all of it: {time.monotonic() - began:.0f} seconds, and every claim above was checked.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
