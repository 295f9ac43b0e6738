"""`changelog` and the mail show what changed upstream, and ask nobody but the index."""

import pytest

from tests.e2e.scenes import body, from_server
from tests.support.simple_index import SimpleIndex, serving
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import write_sdist

CHANGES = "1.1.0 (2026-11-01)\n==================\n\n- Prices are <b>rounded</b>.\n\n1.0.0\n=====\n\n- First.\n"
SHOWN = [
    "alpha 1.0.0 → 1.1.0 (CHANGES.rst)",
    "    1.1.0 (2026-11-01)",
    "    - Prices are <b>rounded</b>.",
    "    https://alpha.example/changes",
    "beta 1.0.0 → 1.1.0",
    "    https://github.com/shop/beta/releases",
]
SDIST = "alpha-1.1.0.tar.gz"


def offer(site: SampleSite) -> None:
    """Offer a version of alpha with a changelog, and one of beta without."""
    site.publish("alpha", "1.1.0", urls={"Changelog": "https://alpha.example/changes"})
    write_sdist(site.index.path, "alpha", "1.1.0", {"CHANGES.rst": CHANGES, "setup.py": "raise SystemExit\n"})
    site.publish("beta", "1.1.0", urls={"Source": "https://github.com/shop/beta"})


@pytest.mark.story
def test_the_changelog_of_each_upgrade_is_in_the_mail_and_can_be_read_later(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    offer(site)
    assert "What changed upstream" not in site.releaser("update", "--dry-run", check=0).stdout
    site.releaser("update", check=0)
    text = body(site)
    assert "What changed upstream\n---------------------\n* alpha 1.0.0 → 1.1.0 (CHANGES.rst)\n" in text
    assert "    - Prices are <b>rounded</b>.\n" in text
    assert "- First." not in text
    assert "- Prices are &lt;b&gt;rounded&lt;/b&gt;." in body(site, kind="html")
    assert site.releaser("changelog", check=0).stdout.splitlines() == SHOWN
    alpha, beta = site.json("changelog", "live")
    assert (alpha["name"], alpha["old"], alpha["new"]) == ("alpha", "1.0.0", "1.1.0")
    assert (alpha["source"], alpha["more_lines"], beta["text"]) == ("CHANGES.rst", 0, "")
    assert site.json("changelog", "previous") == []
    assert "upgraded no package" in site.releaser("changelog", "previous", check=0).stderr
    assert site.releaser("changelog", "2019", check=9).stdout == ""


def fetched(index: SimpleIndex) -> int:
    return index.fetched.count(SDIST)


def test_only_the_index_is_asked_and_only_if_the_settings_say_so(make_site: SiteFactory) -> None:
    site = make_site()
    with serving(site.index.path) as index:
        from_server(site, index.url, lock=True)
        site.adopt()
        offer(site)
        site.releaser("update", "--dry-run", check=0)
        assert fetched(index) == 0
        site.releaser("update", check=0, env={"RELEASER_MAIL_CHANGELOGS": "false"})
        assert (fetched(index), "What changed upstream" in body(site)) == (0, False)
        without = ["alpha 1.0.0 → 1.1.0", *SHOWN[3:]]
        assert site.releaser("changelog", check=0, env={"UV_OFFLINE": "1"}).stdout.splitlines() == without
        site.edit("uv.toml", f'offline = true\nindex-url = "{index.url}"\n')
        assert site.releaser("changelog", check=0).stdout.splitlines() == without
        (site.path / "uv.toml").unlink()
        assert fetched(index) == 0
        assert site.releaser("changelog", check=0).stdout.splitlines() == SHOWN
        assert fetched(index) == 1
        write_sdist(site.index.path, "alpha", "1.1.0", {"CHANGES.rst": CHANGES.replace("rounded", "falsified")})
        assert "falsified" not in site.releaser("changelog", check=0).stdout
        assert fetched(index) == 2, "it does not have the hash in the lock"
    assert site.releaser("changelog", check=0).stdout.splitlines() == without
