"""A site whose Python is gone, or is left on request, keeps its packages; what cannot stay is an upgrade, by its rules.

The lock has alpha 1.0.0 for the Python that the site runs on, and 2.0.0 for newer ones. More of what stays and what
changes is in tests/resolution/test_another_python.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def forked_site(make_site: SiteFactory, place: Path, *, for_pythons: str = "") -> tuple[SampleSite, Installation]:
    """Make a site on Python 3.12 whose lock has another version of alpha for newer ones; return it, and that Python."""
    old = Installation(place / "python", need_python("3.12"))
    site = make_site()
    if for_pythons:
        site.publish("alpha", "1.0.0", requires_python=for_pythons)
    site.publish("alpha", "2.0.0", requires_python=">=3.13")
    give_pythons(site, old)
    site.uv("lock", "--quiet", "--upgrade")
    site.push_commit("Lock for two Pythons")
    assert site.lock_text().count('name = "alpha"\nversion') == 2
    site.adopt()
    assert site.live_version("alpha") == "1.0.0"
    return site, old


def runs_on(site: SampleSite) -> tuple[str, str]:
    """Return the Python that a site runs on, and its version of alpha."""
    return site.python(RUNS_ON), site.live_version("alpha")


def changes(report: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(one["name"], one["old"], one["new"], one["bump"]) for one in report["changes"]]


def test_what_has_a_build_stays_on_request_and_if_python_is_gone(make_site: SiteFactory, tmp_path: Path) -> None:
    new = need_python("3.13")
    site, old = forked_site(make_site, tmp_path)
    site.write_dotenv({"RELEASER_UPGRADE": "patch"})
    give_pythons(site, old, new)
    before = site.live_id(), site.lock_text(), site.remote_head()
    assert site.json("rebuild", "--python", "3.13", "--dry-run")["changes"] == []
    report = site.json("rebuild", "--python", "3.13")
    assert (report["result"], report["changes"]) == ("updated", [])
    assert runs_on(site) == (new.version, "1.0.0")
    site.json("rollback")
    assert runs_on(site) == (need_python("3.12").version, "1.0.0")
    assert (site.live_id(), site.lock_text(), site.remote_head()) == before

    give_pythons(site, new)  # as an upgrade of the operating system does
    old.delete()
    report = site.json("update")
    assert (report["result"], report["exit_code"], report["changes"]) == ("updated", 0, [])
    assert runs_on(site) == (new.version, "1.0.0")
    # The committed lock, which developers and other hosts have, does not go down for that.
    assert (site.remote_head(), site.git("show", "HEAD:uv.lock")) == (before[2], before[1].rstrip("\n"))
    (told,) = [one for one in report["problems"] if "uv.lock is not committed" in one]
    assert "alpha 1.0.0 is live here, 1.0.0, 2.0.0 is committed (kept as it was when the site moved" in told
    assert "To commit these versions, run `uv lock --upgrade-package alpha==1.0.0` on your own machine" in told
    assert "unhold" not in told

    silent(site.releaser("update"))
    site.push_from_elsewhere({"notes.txt": "new code"})  # of which a release is made
    site.json("update")
    assert runs_on(site) == (new.version, "1.0.0"), 'upgrade = "patch" keeps the other one out'
    assert changes(site.json("update", env={"RELEASER_UPGRADE": "all"})) == [("alpha", "1.0.0", "2.0.0", "major")]
    assert (site.lock_text(), site.git("status", "--porcelain")) == (before[1], "")
    site.json("rollback", before[0], check=9)  # its Python is not there
    site.json("rollback")
    assert runs_on(site) == (new.version, "1.0.0")


def test_what_is_not_for_the_other_python_is_an_upgrade(make_site: SiteFactory, tmp_path: Path) -> None:
    new = need_python("3.13")
    site, old = forked_site(make_site, tmp_path, for_pythons=">=3.8,<3.13")
    give_pythons(site, new)
    old.delete()
    report = site.json("update")
    assert (report["result"], report["exit_code"]) == ("updated", 0)
    assert changes(report) == [("alpha", "1.0.0", "2.0.0", "major")]
    change = "alpha 1.0.0 → 2.0.0 (1.0.0 requires Python >=3.8,<3.13)"
    why = f"the move to Python {new.version} changed 1 package: {change}"
    assert any(why in one for one in report["problems"])
    assert "run `releaser rollback`; this needs Python 3.12 installed" in str(report["problems"])
    assert why[:40] in body(site)
    assert runs_on(site) == (new.version, "2.0.0")
    assert site.git("status", "--porcelain") == ""


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
    assert runs_on(site) == (new.version, "1.0.0")
