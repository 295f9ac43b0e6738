"""The story that `make demo-fleet` tells: a release on eight hosts, which OpenSSH on the loopback lets in.

One site builds; `scripts/ansible` rolls its bundle out. A canary fails, a batch fails, all get the release, and all go
back. Every claim is checked; one that does not hold ends the demo with exit status 1. Needs root, `.venv-fleet`, and
the Debian packages openssh-server and cron.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stage import DemoError, chapter, expect, say

from tests.support.fleet import Fleet, made
from tests.support.hosts import recap
from tests.support.sites import SiteFactory
from tests.support.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNT = 8
BATCHES = {"the first host": (1,), "40 %": (2, 3, 4), "all others": (5, 6, 7, 8)}


@dataclass
class Story:
    """The fleet, and the seconds that each part took."""

    fleet: Fleet
    figures: list[tuple[str, float]] = field(default_factory=list)

    def run(self, title: str, playbook: str, *, succeeds: bool = True, force: bool = False) -> str:
        """Run a playbook, and note how long it took, and after how long each batch was live."""
        say(f"$ ansible-playbook -i fleet.ini {playbook}{' -e releaser_force=true' if force else ''}")
        flipped, began = self._flips(), time.time()
        printed = self.fleet.run(playbook, check=0 if succeeds else 2, force=force).stdout
        self.figures.append((title, time.time() - began))
        say("\n".join(f"    {line}" for line in printed[printed.find("PLAY RECAP") :].strip().splitlines()))
        news = {number: at for number, at in self._flips().items() if at != flipped.get(number)}
        if playbook == "roll_out.yml" and succeeds:
            for batch, numbers in BATCHES.items():
                last = max((news[number] for number in numbers if number in news), default=None)
                if last is not None:
                    self.figures.append((f"- {batch}: live after", last - began))
        return printed

    def show(self, expected: str) -> None:
        """Print the version on each host, which must be 1.N.0 for each digit."""
        found = self.fleet.versions()
        say("    " + ", ".join(f"h{number} 1.{digit}.0" for number, digit in enumerate(found, 1)))
        expect(found == expected, f"the hosts run {found}, not {expected}")

    def mark(self, number: int, *, sick: bool) -> None:
        """Let the site of a host fail its health check on newer versions, or be well again."""
        file = self.fleet[number].outer / "sick"
        if sick:
            file.touch()
        else:
            file.unlink()

    def records(self, *numbers: int) -> list[Mapping[str, bytes]]:
        """Return what changes if anything happens on these hosts."""
        return [self.fleet[number].records() for number in numbers]

    def _flips(self) -> dict[int, float]:
        links = {number: one.site / ".venv" for number, one in enumerate(self.fleet.hosts.all, 1)}
        return {number: link.lstat().st_mtime for number, link in links.items() if link.is_symlink()}


def tell(story: Story) -> None:
    """Tell the story."""
    fleet = story.fleet
    chapter(1, "Eight hosts get their first release", "Seven are empty; the eighth has a site, and may not push.")
    story.run("build.yml, with nothing newer", "build.yml")
    story.run("roll_out.yml, to seven empty hosts and one with a site", "roll_out.yml")
    story.show("0" * COUNT)
    chapter(2, "A canary fails", "alpha 1.1.0 passes the tests, but the site of h1 is not well with it.")
    fleet.builder.publish("alpha", "1.1.0")
    story.run("build.yml, with one newer package", "build.yml")
    story.mark(1, sick=True)
    before = story.records(*range(2, COUNT + 1))
    printed = story.run("roll_out.yml, the first host fails", "roll_out.yml", succeeds=False)
    touched = {host for host, counts in recap(printed).items() if counts["changed"]}
    expect(touched == {"h1"}, f"the roll-out changed {touched}")
    expect(story.records(*range(2, COUNT + 1)) == before, "another host was changed")
    story.show("0" * COUNT)
    chapter(3, "A batch fails", "h1 is well again. Now h3 is not: its batch ends, the next one does not begin.")
    story.mark(1, sick=False)
    story.mark(3, sick=True)
    before = story.records(*BATCHES["all others"])
    story.run("roll_out.yml, a host of the second batch fails", "roll_out.yml", succeeds=False, force=True)
    expect(story.records(*BATCHES["all others"]) == before, "a host of a later batch was changed")
    story.show("11010000")
    chapter(4, "All get it", "h3 is well again.")
    story.mark(3, sick=False)
    story.run("roll_out.yml, to all that lack it", "roll_out.yml", force=True)
    story.show("1" * COUNT)
    expect(len(fleet.digests()) == 1, "the hosts do not have the same files")
    chapter(5, "All go back", "In the channel, and on all hosts at once. The host that may not push does not try to.")
    story.run("rollback.yml", "rollback.yml")
    story.show("0" * COUNT)


def main() -> int:
    """Tell the story, and print its figures."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the hosts are removed
    with tempfile.TemporaryDirectory(prefix="releaser-demo-") as name:
        place = Path(name)
        (place / "cache").mkdir()
        (place / "fleet").mkdir()
        try:
            say(f"Making {COUNT} hosts ...")
            factory = SiteFactory(place, Templates(place / "templates", place / "cache"))
            with made(factory, place / "fleet", COUNT) as fleet:
                story = Story(fleet)
                tell(story)
        except (AssertionError, DemoError) as error:
            sys.stderr.write(f"\nThe demo went wrong: {error}\n")
            return 1
        except KeyboardInterrupt:
            return 130
    say("\nFigures\n")
    for title, seconds in story.figures:
        say(f"{title:60} {seconds:6.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
