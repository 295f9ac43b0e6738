"""Right after the flip the site's Python is started through the symlink; a release that fails there is taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import body, silent, states, step, steps

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

# What the site's tests do to the candidate stands for all that nobody has thought of: they pass, and it is sealed so.
LOOP = 'ln -sfn "$SITE_LINK/bin/python" "$VIRTUAL_ENV/bin/python"'
OTHER_PREFIX = (
    'cd "$VIRTUAL_ENV/bin" && rm python && printf "%s" "#!/bin/sh\nexec /usr/bin/python3 \\"\\$@\\"" > python'
    " && chmod +x python"
)
PASSES = "true"


def make_tiny(make_site: SiteFactory, **settings: Any) -> SampleSite:
    """Make an adopted site whose test command is what the variable SPOIL says."""
    tiny = {"collectstatic": "off", "migrations": "off", "test_command": ["sh", "-c", 'eval "$SPOIL"']}
    site = make_site(venv=True, packages={"alpha": "1.0.0"}, groups={"local": ["alpha"]}, settings=tiny | settings)
    site.env |= {"SITE_LINK": str(site.link), "SPOIL": PASSES}
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    return site


@pytest.mark.parametrize(
    ("spoil", "reason", "pin"),
    [
        pytest.param(LOOP, "Too many levels of symbolic links", True, id="leads to itself"),
        pytest.param(OTHER_PREFIX, "reports /usr as its venv", False, id="is of another prefix"),
    ],
)
def test_a_release_whose_python_does_not_run_there_is_taken_back(
    make_site: SiteFactory, spoil: str, reason: str, pin: bool
) -> None:
    site = make_tiny(make_site, pin=pin)
    first, lock = site.live_id(), site.lock_text()
    report = site.json("update", env={"SPOIL": spoil}, check=6)
    assert (report["result"], report["live_changed"]) == ("rolled_back", False)
    assert step(report, "python start")["status"] == "failed"
    assert "restart" not in steps(report)  # nothing of the site has been told of it
    assert reason in str(report["problems"])
    assert reason in body(site)
    assert site.live_id() == first
    assert site.lock_text() == lock
    assert site.live_version("alpha") == "1.0.0"
    assert states(site)[report["release"]] == "bad"
    silent(site.releaser("update"))  # it is not tried each night
    assert site.json("update", "--force")["result"] == "activated"
    assert site.live_version("alpha") == "1.1.0"


def test_a_release_whose_python_runs_there_stays(make_site: SiteFactory) -> None:
    site = make_tiny(make_site, pin=False)
    names = steps(site.json("update"))
    assert names.index("python start") == names.index("flip") + 1
    assert "python start" in steps(site.json("rollback"))


def test_a_run_that_dies_before_it_leaves_it_to_the_next(make_site: SiteFactory) -> None:
    site = make_tiny(make_site)
    first = site.live_id()
    site.env["SPOIL"] = LOOP
    interrupted(site, "update", at=Point(place="releaser.deployment.activate:place_files"))
    assert site.live_id() != first
    site.env["SPOIL"] = PASSES
    site.releaser("update")
    assert site.live_version("alpha") == "1.0.0"
    assert site.live_id() == first
