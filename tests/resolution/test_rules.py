"""Whether what failed is worth another try."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.releases.quarantine import Hold, Holds
from releaser.resolution.rules import code_digest, select_holds
from releaser.site.site import open_site

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory


CHANGED = {"shop/till.py": True, "shop/templates/till.html": True, "notes.txt": False, "uv.lock": False}


def test_what_failed_is_tried_again_when_the_code_changes(make_site: SiteFactory) -> None:
    site = make_site(files={"shop/till.py": "", "notes.txt": "news\n"})
    found, now = open_site(site.path, site.env), datetime.now(UTC)
    hold = Hold(name="a", by="tests", version="2.0", reason="", at="", python="3.11.1", code=code_digest(found))
    holds = Holds(entries=(hold,))
    assert select_holds(found, holds, python="3.11.7", now=now) == holds
    assert select_holds(found, holds, python="3.12.0", now=now) == Holds()
    for number, (name, is_tried) in enumerate(CHANGED.items()):
        site.commit("Change", {name: f"{number}\n"})
        found = open_site(site.path, site.env)
        assert select_holds(found, holds, python="3.11.7", now=now) == (Holds() if is_tried else holds), name
        hold = replace(hold, code=code_digest(found))
        holds = Holds(entries=(hold,))
    rests = Holds(entries=(Hold(name="a", by="tests", version="2.0", reason="", at="", tried_at=now.isoformat()),))
    assert select_holds(found, rests, python="3.11.7", now=now) == rests
