"""`constraints = FILE` bounds what an update takes, and leaves no trace in what others read."""

from tests.e2e.scenes import outer_snapshot
from tests.support.sites import SiteFactory


def test_a_file_of_constraints_bounds_updates_and_is_named(make_site: SiteFactory) -> None:
    site = make_site(settings={"constraints": "limits.txt"}, files={"limits.txt": "# why\nalpha<2\n"}, venv=True)
    site.releaser("init", check=0)
    for version in ("1.1.0", "2.0.0"):
        site.publish("alpha", version)
    (outdated,) = site.json("outdated")
    assert outdated["blocked_by"] == [{"by": "constraint", "reason": "constrained by limits.txt:2: alpha<2"}]
    report = site.json("update")
    assert site.live_version("alpha") == "1.1.0"
    assert [(one["by"], one["version"]) for one in report["on_hold"]] == [("constraint", "2.0.0")]
    site.uv("lock", "--check")  # which knows nothing of it
    assert site.git("status", "--porcelain") == ""
    site.push_from_elsewhere({"limits.txt": "alpha==1.0.0\n"})
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.0.0"
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    site.push_from_elsewhere({"pyproject.toml": text.replace('"alpha', '"alpha>=1.1', 1)})
    before = outer_snapshot(site)
    said = site.releaser("update", "--dry-run", check=4).stderr
    assert "limits.txt:1: alpha==1.0.0" in said
    assert outer_snapshot(site) == before
    site.push_from_elsewhere({"limits.txt": "alpha\n"})
    assert "limits.txt:1: 'alpha' is not a version constraint" in site.releaser("update", "--dry-run", check=3).stderr
