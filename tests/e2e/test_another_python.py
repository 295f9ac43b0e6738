"""A site whose Python is gone, or is left on request, keeps its packages; what cannot stay is an upgrade, by its rules.

The lock has alpha 1.0.0 for the Python that the site runs on, and 2.0.0 for newer ones.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import body, silent
from tests.support.lockless import UV_TABLE, fill, make_lockless
from tests.support.pythons import Installation, give_pythons, need_python
from tests.support.sites import SampleSite, SiteFactory

NO_DJANGO = f"""{UV_TABLE}
[tool.releaser]
collectstatic = "off"
migrations = "off"
test_command = ["python", "-c", "import alpha"]
"""
RUNS_ON = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


class ForkedSite:
    """A site on Python 3.12 whose lock has another version of alpha for newer ones."""

    def __init__(self, make_site: SiteFactory, place: Path, *, for_pythons: str = "", **settings: Any) -> None:
        self.old, self.new = need_python("3.12"), need_python("3.13")
        self.installation = Installation(place / "python", self.old)
        self.site: SampleSite = make_site(settings=settings)
        if for_pythons:
            self.site.publish("alpha", "1.0.0", requires_python=for_pythons)
        self.site.publish("alpha", "2.0.0", requires_python=">=3.13")
        give_pythons(self.site, self.installation)
        self.site.uv("lock", "--quiet", "--upgrade")
        self.site.push_commit("Lock for two Pythons")
        self.committed = self.site.lock_text()
        assert self.committed.count('name = "alpha"\nversion') == 2
        self.site.adopt()
        assert self.site.live_version("alpha") == "1.0.0"

    def replace_python(self) -> None:
        """Let an upgrade of the operating system put a newer Python in the place of the one that the site runs on."""
        give_pythons(self.site, self.new)
        self.installation.delete()

    def add_python(self) -> None:
        """Let there be a newer Python as well."""
        give_pythons(self.site, self.installation, self.new)

    def runs(self) -> tuple[str, str]:
        """Return the Python that the site runs on, and its version of alpha."""
        return self.site.python(RUNS_ON), self.site.live_version("alpha")


def test_what_has_a_build_stays_and_the_rest_comes_by_the_rules(make_site: SiteFactory, tmp_path: Path) -> None:
    forked = ForkedSite(make_site, tmp_path, upgrade="patch")
    site = forked.site
    first, head = site.live_id(), site.remote_head()
    forked.replace_python()
    report = site.json("update")
    assert (report["result"], report["exit_code"], report["changes"]) == ("updated", 0, [])
    assert forked.runs() == (forked.new.version, "1.0.0")
    # The committed lock, which developers and other hosts have, does not go down for that.
    assert (site.remote_head(), site.git("show", "HEAD:uv.lock")) == (head, forked.committed.rstrip("\n"))
    (told,) = [one for one in report["problems"] if "uv.lock is not committed" in one]
    assert "alpha 1.0.0 is live here, 1.0.0, 2.0.0 is committed (kept as it was when the site moved" in told
    assert "To commit these versions, run `uv lock --upgrade-package alpha==1.0.0` where you develop" in told
    assert "unhold" not in told

    silent(site.releaser("update"))
    site.push_from_elsewhere({"notes.txt": "new code"})  # of which a release is made
    site.json("update")
    assert forked.runs() == (forked.new.version, "1.0.0"), 'upgrade = "patch" keeps the other one out'
    env = {"RELEASER_UPGRADE": "all"}
    report = site.json("update", env=env)
    assert [(one["name"], one["old"], one["new"], one["bump"]) for one in report["changes"]] == [
        ("alpha", "1.0.0", "2.0.0", "major")
    ]
    assert (site.lock_text(), site.git("status", "--porcelain")) == (forked.committed, "")
    site.json("rollback", first, check=9)  # its Python is not there
    site.json("rollback")
    assert forked.runs() == (forked.new.version, "1.0.0")


def test_what_is_not_for_the_other_python_is_an_upgrade(make_site: SiteFactory, tmp_path: Path) -> None:
    forked = ForkedSite(make_site, tmp_path, for_pythons=">=3.8,<3.13")
    site = forked.site
    forked.replace_python()
    report = site.json("update")
    assert (report["result"], report["exit_code"]) == ("updated", 0)
    assert [(one["name"], one["old"], one["new"], one["bump"]) for one in report["changes"]] == [
        ("alpha", "1.0.0", "2.0.0", "major")
    ]
    change = "alpha 1.0.0 → 2.0.0 (1.0.0 requires Python >=3.8,<3.13)"
    why = f"the move to Python {forked.new.version} changed 1 package: {change}"
    assert any(why in one for one in report["problems"])
    assert "run `releaser rollback`; this needs Python 3.12 installed" in str(report["problems"])
    assert why[:40] in body(site)
    assert forked.runs() == (forked.new.version, "2.0.0")
    assert site.git("status", "--porcelain") == ""


@pytest.mark.story
def test_a_rebuild_on_request_keeps_them(make_site: SiteFactory, tmp_path: Path) -> None:
    forked = ForkedSite(make_site, tmp_path)
    site = forked.site
    forked.add_python()
    planned = site.json("rebuild", "--python", "3.13", "--dry-run")
    assert planned["changes"] == []
    report = site.json("rebuild", "--python", "3.13")
    assert (report["result"], report["changes"]) == ("updated", [])
    assert forked.runs() == (forked.new.version, "1.0.0")
    site.json("rollback")
    assert forked.runs() == (forked.old.version, "1.0.0")
    assert (site.lock_text(), site.git("status", "--porcelain")) == (forked.committed, "")


def test_a_first_lock_is_for_the_python_of_the_site_alone(make_site: SiteFactory, tmp_path: Path) -> None:
    """Where that is gone, nothing happens until a person raises the range; what is installed stays then, too."""
    old, new = need_python("3.12"), need_python("3.13")
    site, installation = make_lockless(make_site, pyproject=NO_DJANGO), Installation(tmp_path / "python", old)
    give_pythons(site, installation)
    site.publish("alpha", "2.0.0", requires_python=">=3.13")
    site.uv("venv", "--quiet", "--python", installation.executable, site.link)
    fill(site, site.link, "alpha==1.0.0")
    site.releaser("init", "--from-venv", site.link, check=0)
    pyproject = site.path / "pyproject.toml"
    assert 'requires-python = ">=3.12,<3.13"' in pyproject.read_text(encoding="utf-8")
    assert site.lock_text().count('name = "alpha"\nversion') == 1

    give_pythons(site, new)
    installation.delete()
    for command in ("check", "update", "rebuild"):
        said = site.releaser(command, check=3).stderr
        assert "Python 3.12, on which the live release ran, is gone" in said
        assert 'set requires-python to ">=3.13,<3.14", run `uv lock`, commit and push that' in said
        assert "`releaser rebuild --python 3.13`" in said
    text = pyproject.read_text(encoding="utf-8").replace(">=3.12,<3.13", ">=3.13,<3.14")
    site.edit("pyproject.toml", text)
    site.push_commit("Move to Python 3.13", lock=True)
    report = site.json("rebuild", "--python", "3.13")
    assert (report["result"], report["changes"]) == ("updated", [])
    assert (site.python(RUNS_ON), site.live_version("alpha")) == (new.version, "1.0.0")
