"""A run reports the live release as unchanged only if none of it has changed."""

import pytest

from tests.support.sites import SiteFactory, variables

BETA = ".releaser/site/releases/{live}/venv/lib/python*/site-packages/beta/__init__.py"
_CODE = """
import sys
from pathlib import Path
if "test" in sys.argv:
    for place in Path({base!r}).glob({pattern!r}):
        place.write_text(place.read_text() + "\\n# meddled\\n")
    raise SystemExit(1)
"""


MANAGE, EDITED = "site/manage.py", "edited during this run, and not tested: manage.py"


@pytest.mark.parametrize(
    ("command", "pattern", "told"),
    [
        ("update", BETA, "beta/__init__.py is changed"),
        ("update", MANAGE, EDITED),
        ("rebuild", MANAGE, EDITED),
        ("update of nothing", BETA, "beta/__init__.py is changed"),  # by the tests of the live release
    ],
)
def test_tests_that_change_the_live_site_are_reported(
    make_site: SiteFactory, command: str, pattern: str, told: str
) -> None:
    site = make_site.adopted("1.1.0")
    code = _CODE.format(base=str(site.outer), pattern=pattern.format(live=site.live_id()))
    command, _, is_idle = command.partition(" ")
    if command == "update" and not is_idle:
        site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": f'__version__ = "1.2.0"\n{code}'})
    else:
        runner = site.outer / "tests.py"
        runner.write_text(f'import sys\nsys.argv.append("test")\n{code}', encoding="utf-8")
        site.write_dotenv(variables(test_command=f"python {runner}", test_live="always"))
    (letter := site.state_dir / ".live-copy.new" / "letter.txt").parent.mkdir()
    letter.write_text("dear", encoding="utf-8")
    finished = site.releaser(command, check=5)
    assert told in finished.stderr
    assert is_idle or "live: changed, but not by releaser; see the problems" in finished.stderr
    assert "live: unchanged" not in finished.stderr
    assert any(told in " ".join(str(mail).split()) for mail in site.outbox_mails()) or command == "rebuild"
    assert [one.read_text(encoding="utf-8") for one in site.state_dir.rglob("letter.txt")] == ["dear"]
