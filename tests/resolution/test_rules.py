"""Whether what failed is worth another try."""

from dataclasses import replace
from datetime import UTC, datetime

from releaser.releases.blocks import PAUSE, Blocks, StoredBlock
from releaser.resolution.rules import code_digest, select_blocks
from releaser.site.site import open_site
from tests.support.sites import SiteFactory

CHANGED = {"shop/till.py": True, "shop/templates/till.html": True, "notes.txt": False, "uv.lock": False}


def test_what_failed_is_tried_again_when_the_code_changes(make_site: SiteFactory) -> None:
    site = make_site(files={"shop/till.py": "", "notes.txt": "news\n"})
    found, now = open_site(site.path, site.env), datetime.now(UTC)
    hold = StoredBlock(name="a", by="tests", version="2.0", reason="", python="3.11.1", code_key=code_digest(found))
    holds = Blocks(entries=(hold,))
    assert select_blocks(found, holds, python="3.11.7", now=now) == holds
    assert select_blocks(found, holds, python="3.12.0", now=now) == Blocks()
    for number, (name, is_tried) in enumerate(CHANGED.items()):
        site.commit("Change", {name: f"{number}\n"})
        found = open_site(site.path, site.env)
        assert select_blocks(found, holds, python="3.11.7", now=now) == (Blocks() if is_tried else holds), name
        hold = replace(hold, code_key=code_digest(found))
        holds = Blocks(entries=(hold,))
    rests = Blocks(entries=(replace(hold, code_key="other", until=now + PAUSE),))
    assert select_blocks(found, rests, python="3.11.7", now=now) == rests
    assert select_blocks(found, rests, python="3.11.7", now=now + 2 * PAUSE) == Blocks()
    assert select_blocks(found, rests, "in", python="3.11.7", now=now) == Blocks()
    assert select_blocks(found, rests, "out", python="3.12.0", now=now + 2 * PAUSE) == rests
