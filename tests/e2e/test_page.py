"""`report`: a page about one site or many, in one file that fetches nothing."""

import json
import os
import pwd
import re
import stat
from pathlib import Path

import pytest

from tests.e2e.scenes import no_change, says
from tests.support.commands import HOUSE, releaser_command
from tests.support.pages import find_references
from tests.support.sites import SampleSite, SiteFactory

SECRET = f"s3cret{os.getpid()}"
GREEN = 'class="badge badge-green"'


def write_page(site: SampleSite, *options: str | Path) -> str:
    """Return the page about a site."""
    page = site.base / "page.html"
    with no_change(site):
        finished = site.releaser("report", "--html", page, *options, check=0)
    assert (finished.stdout, finished.stderr) == ("", ""), str(finished)
    return page.read_text()


@pytest.mark.slow
def test_law_20_29_a_page_is_never_greener_than_status_and_has_no_secret(make_site: SiteFactory) -> None:
    """A failed update, what a commit and a package say, a password: the page says what to do, then that all is well."""
    site = make_site.live(due="1.1.0")
    assert GREEN in write_page(site)
    site.publish("alpha", "1.2.0", broken=True)
    env = {"RELEASER_PING_URL": f"http://localhost:1/{SECRET}"}
    site.releaser("update", check=5, env=env)
    history = site.state / "history.jsonl"
    line = json.loads(history.read_text().splitlines()[-1])
    line |= {"run": "20260101T000000Z", "headline": f"<b>http://ada:{SECRET}@localhost/</b> failed"}
    history.write_text(json.dumps(line) + "\n" + history.read_text())
    page = write_page(site)
    assert site.releaser("status").returncode == 10
    assert GREEN not in page
    assert SECRET not in page
    assert "&lt;b&gt;http://***@localhost/&lt;/b&gt; failed" in page
    assert f"<code>releaser update --force --project {site.path}</code>" in page
    assert "is in release" in page, "what is outdated is known from the last decision"
    assert "which failed: " in write_page(site, "--outdated"), "and by the index"
    assert find_references(page) == set()
    assert stat.S_IMODE((site.base / "page.html").stat().st_mode) == 0o600
    (site.base / "page.html").chmod(0o644)
    site.publish("alpha", "1.3.0")
    site.releaser("update", check=0)
    assert GREEN in write_page(site)
    assert stat.S_IMODE((site.base / "page.html").stat().st_mode) == 0o644
    (site.base / "link").symlink_to("page.html")
    says(site.releaser("report", "--html", site.base / "link", check=3), "is no file, or a link")
    says(site.releaser("report", "--html", site.base / "no" / "page.html", check=3), f"mkdir -p {site.base / 'no'}")
    says(site.releaser("report", check=2), "--html FILE")
    assert site.json("report")["status"]["live"] == site.live()


@pytest.mark.slow
def test_law_20_a_page_of_many_sites_has_the_worst_first(make_site: SiteFactory) -> None:
    """One is well, one needs attention, one has gone: the page has all three, and the command says which gave none."""
    well = make_site.live()
    edited = well.copy(well.base, outer="other")
    edited.edit("shop.py", "# edited")
    owner = pwd.getpwuid(os.getuid()).pw_name
    paths = [well.path, edited.path, well.base / "gone"]
    listed = "".join(f"[[site]]\npath = '{path}'\nowner = '{owner}'\n" for path in paths)
    (well.base / "sites.toml").write_text(listed)
    (well.outer / "sites.toml").write_text(listed.rpartition("[[site]]")[0])
    page = well.base / "page.html"
    words = ("--all", "--sites", well.base / "sites.toml", "--jobs", "2", "--html", page)
    finished = well.releaser("report", *words, project=None, check=3)
    text = page.read_text()
    assert re.findall(r'<tr role="row"><td role="cell"><span class="badge badge-(\w+)">', text) == [
        "red",
        "amber",
        "green",
    ]
    assert "gone" in finished.stdout
    names = re.findall(r'<a href="#site-\d+"><b>(.*?)</b></a>', text)
    assert names == ["gone", "other/site", "outer/site"], "projects often have one name"
    assert str(well.path) not in finished.stdout
    assert f"git -C {edited.path} status" in text
    assert find_references(text) == set()
    guide = (HOUSE / "docs/page.md").read_text(encoding="utf-8")
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", guide, re.MULTILINE | re.DOTALL))
    env = f"PATH={releaser_command()[0].rpartition('/')[0]}:{well.env['PATH']}"
    well.run("env", env, "sh", "-eux", "-c", lines)
    assert GREEN in (well.outer / "page.html").read_text()
    assert GREEN in (well.outer / "sites.html").read_text()
