"""The sample sites are what the other tests take them for."""

from tests.support.sites import SampleSite, SiteFactory


def test_a_fresh_site_is_clean_pushed_and_passes_its_own_tests(fresh: SampleSite) -> None:
    assert (fresh.status(), fresh.head()) == ("", fresh.remote_head())
    assert fresh.git("rev-parse", "--abbrev-ref", "main@{upstream}") == "origin/main"
    fresh.make_venv()
    assert fresh.versions() == {"alpha": "1.0.0", "beta": "1.0.0", "localtools": "1.0.0"}
    fresh.run(".venv/bin/python", "run_tests.py")
    (passed,) = fresh.test_runs("passed")
    assert passed["versions"] == fresh.versions()
    assert fresh.status() == ""


def test_a_broken_version_fails_the_tests(fresh: SampleSite) -> None:
    fresh.publish("alpha", "1.1.0", broken=True)
    fresh.uv("sync", "--quiet", "--upgrade", "--group", "local")
    finished = fresh.run(".venv/bin/python", "run_tests.py", check=1)
    assert "alpha 1.1.0" in finished.stderr
    assert fresh.test_runs("passed") == []


def test_a_commit_from_elsewhere_reaches_the_remote_alone(fresh: SampleSite) -> None:
    fresh.publish("gamma", "1.0.0")
    earlier = fresh.head()
    commit = fresh.push_from_elsewhere({"shop.py": "EDITION = 2\nBROKEN = False\n"}, lock=True)
    assert (fresh.remote_head(), fresh.head()) == (commit, earlier)
    assert fresh.push_from_elsewhere({"a/b.txt": "b"}, remove="shop.py") == fresh.remote_head()


def test_sites_are_independent_copies(make_site: SiteFactory) -> None:
    site = make_site(outer="höhe über", name="my site")
    assert site.path.name == "my site"
    site.push_commit("Work", {"shop.py": "BROKEN = True\n"})
    assert site.copy(site.base / "copy").remote_head() == site.remote_head()
    assert make_site(outer="other").remote_head() != site.remote_head()
