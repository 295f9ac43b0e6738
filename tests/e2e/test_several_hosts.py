"""Several hosts on one remote: none makes the other build, commit or restart night after night."""

import json
from pathlib import Path

from tests.e2e.scenes import silent, step
from tests.support.commands import console_script, run
from tests.support.sites import SampleSite, SiteFactory


def second_host(site: SampleSite, base: Path) -> SampleSite:
    """Return a copy of a site, as another host has it, with the same remote."""
    other = site.copy(base)
    other.git("remote", "set-url", "origin", site.remote)
    other.git("config", "user.name", "Second")  # else, in one second, both would make the same commit
    return other


def test_two_groups_on_one_remote_come_to_rest_after_a_night_each(make_site: SiteFactory, tmp_path: Path) -> None:
    staging = make_site(settings={"requirements_export": "requirements.txt"})
    production = second_host(staging, tmp_path / "production")
    for host, group in ((staging, "staging"), (production, "prod")):
        host.write_dotenv({"RELEASER_GROUP": group})
        host.make_venv(group)
        host.releaser("init", check=0)
        host.publish("alpha", "1.1.0")
    for host in (staging, production):
        host.releaser("update", check=0)
    assert staging.live_version("alpha") == production.live_version("alpha") == "1.1.0"
    remote, lives = staging.remote_head(), (staging.live_id(), production.live_id())
    for host in (staging, production, staging):
        silent(host.releaser("update"))
    assert (staging.remote_head(), (staging.live_id(), production.live_id())) == (remote, lives)
    text = (production.path / "requirements.txt").read_text(encoding="utf-8")
    assert ("prodtools" in text, "stagingtools" in text) == (True, False)


def test_a_pull_of_nothing_but_the_lock_of_what_is_live_does_nothing_else(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    first = make_site.adopted(due="1.1.0")
    second = second_host(first, tmp_path / "second")
    second.git("config", "remote.origin.pushurl", "/nowhere")
    second.releaser("update", check=7)  # it has the same packages before it sees that they are published
    first.releaser("update", check=0)
    live, restarted, mails = second.live_id(), second.restarted_at(), len(second.outbox_mails())
    silent(second.releaser("update"))
    assert (second.live_id(), second.restarted_at(), len(second.outbox_mails())) == (live, restarted, mails)
    assert second.head() == first.head()
    assert second.git("status", "--porcelain") == ""


def test_four_sites_of_one_repository_that_are_updated_at_once_publish_one_lock(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    first = make_site.adopted()
    sites = [first, *(second_host(first, tmp_path / name) for name in ("b", "c", "d"))]
    for site in sites:
        site.git("config", "user.name", str(site.outer))  # else, in one second, all would make the same commit
        site.publish("alpha", "1.1.0")
    file = tmp_path / "sites.toml"
    file.write_text("".join(f'[[site]]\npath = "{site.path}"\n' for site in sites), encoding="utf-8")
    words: list[str | Path] = [console_script(), "update", "--sites", file, "--jobs", "4", "--json"]
    reports = [
        found["answer"]
        for found in json.loads(run(words, cwd=Path("/"), env=first.environment(), check=0, timeout=300).stdout)
    ]
    assert [report["result"] for report in reports] == ["updated"] * 4
    assert [step(report, "push")["status"] for report in reports] == ["ok"] * 4
    heads = {site.git("status", "--porcelain", "--branch") + site.head() for site in sites}
    assert heads == {f"## main...origin/main{first.remote_head()}"}
    assert first.git("log", "--format=%s", "-2") == "Update 1 package\nBegin the site"


def test_a_site_takes_its_turn_after_another_site_of_the_repository_and_follows_the_next_night(
    make_site: SiteFactory,
) -> None:
    """The other site pushes another lock while this one is built."""
    site = make_site.adopted(due="1.1.0")
    clone = site._clone_elsewhere()
    (clone / "blog").mkdir()
    (clone / "blog" / "uv.lock").write_text("version = 1\n", encoding="utf-8")
    script = f"cd {clone} && git add blog && git commit --quiet --message Blog && git push --quiet"
    site.releaser("update", env={"RELEASER_BEFORE_LIVE": f"sh -c '{script}'"}, check=0)
    log = ("log", "--format=%s", "-3", "origin/main")
    assert site.git(*log) == "Update 1 package\nBlog\nBegin the site"
    assert site.git("status", "--porcelain") == ""
    site.releaser("update", check=0)
    assert site.head() == site.remote_head()
    assert site.live_version("alpha") == "1.1.0"
    silent(site.releaser("update"))
    assert site.git(*log) == "Update 1 package\nBlog\nBegin the site"


def test_a_commit_made_on_a_host_is_tested_by_a_rebuild_or_with_what_is_newer(make_site: SiteFactory) -> None:
    """As docs/guides/working-beside.md says."""
    site = make_site.adopted("1.1.0")
    site.commit("Work on the server", {"code.py": "here = True\n"})
    passed = len(site.passed_tests())
    silent(site.releaser("update"))
    assert len(site.passed_tests()) == passed
    site.releaser("rebuild", check=0)
    assert len(site.passed_tests()) == passed + 1
    site.publish("alpha", "1.2.0")
    said = site.releaser("update", check=7).stderr
    assert len(site.passed_tests()) == passed + 2
    assert "1 of your commits is not pushed" in said
