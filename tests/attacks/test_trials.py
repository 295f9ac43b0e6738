"""Live is called unchanged only where nothing of it has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory

BETA = ".releaser/site/releases/{live}/venv/lib/python*/site-packages/beta/__init__.py"
_CODE = """
import os, sys
from pathlib import Path
if "test" in sys.argv:
    for place in Path({base!r}).glob({pattern!r}):
        seen, text = place.stat(), place.read_text()
        if {grows}:
            place.write_text(text + "\\n# meddled\\n")
        elif "1" in text:  # so once alone
            place.write_text(text.replace("1", "9"))
            os.utime(place, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    raise SystemExit(1)
"""


@pytest.mark.parametrize("command", ["update", "rebuild"])
@pytest.mark.parametrize(
    ("pattern", "grows", "told"),
    [
        (BETA, True, "beta/__init__.py is changed"),
        (BETA, False, "is not what was sealed: changed are lib/python"),
        ("site/manage.py", True, "somebody edited manage.py"),
    ],
)
def test_tests_that_change_what_is_live_are_told_of(
    make_site: SiteFactory, command: str, pattern: str, told: str, *, grows: bool
) -> None:
    site = make_site.adopted("1.1.0")
    code = _CODE.format(base=str(site.outer), pattern=pattern.format(live=site.live_id()), grows=grows)
    if command == "update":
        site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": f'__version__ = "1.2.0"\n{code}'})
    else:
        runner = site.outer / "tests.py"
        runner.write_text(f'import sys\nsys.argv.append("test")\n{code}', encoding="utf-8")
        site.write_dotenv({"RELEASER_TEST_COMMAND": f"python {runner}"})
    finished = site.releaser(command, check=5)
    assert told in finished.stderr
    assert "live: changed, but not by releaser; see the problems" in finished.stderr
    assert "live: unchanged" not in finished.stderr
    assert any(told in " ".join(str(mail).split()) for mail in site.outbox_mails()) or command == "rebuild"


def test_the_tests_of_what_is_live_that_change_it_are_told_of(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    code = _CODE.format(base=str(site.outer), pattern=BETA.format(live=site.live_id()), grows=False)
    runner = site.outer / "tests.py"
    runner.write_text(f'import sys\nsys.argv.append("test")\n{code}', encoding="utf-8")
    site.write_dotenv({"RELEASER_TEST_COMMAND": f"python {runner}", "RELEASER_TEST_LIVE": "always"})
    (letter := site.state_dir / ".live-copy.new" / "letter.txt").parent.mkdir()
    letter.write_text("dear", encoding="utf-8")
    said = " ".join(site.releaser("update", check=5).stderr.split())
    assert "is not what was sealed: changed are lib/python" in said
    assert [one.read_text(encoding="utf-8") for one in site.state_dir.rglob("letter.txt")] == ["dear"]
