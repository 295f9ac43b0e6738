"""Several hosts on one remote: none makes the other build, commit or restart night after night."""

from pathlib import Path

from tests.e2e.scenes import silent
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
