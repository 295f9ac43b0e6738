"""Several hosts on one remote: none makes the other build, commit or restart night after night."""

import shutil
from pathlib import Path

from tests.e2e.scenes import silent
from tests.support.commands import git_executable, run
from tests.support.sites import SampleSite, SiteFactory

EXPORT = {"requirements_export": "requirements.txt"}


def second_host(site: SampleSite, base: Path, group: str) -> SampleSite:
    """Return another host's checkout of the same remote, with another dependency group."""
    other = site.copy(base)
    shutil.rmtree(other.state_dir, ignore_errors=True)
    run([git_executable(), "remote", "set-url", "origin", site.remote], cwd=other.path, env=site.env, check=0)
    other.write_dotenv({"RELEASER_GROUP": group})
    other.make_venv(group)
    return other


def test_two_groups_on_one_remote_come_to_rest_after_a_night_each(make_site: SiteFactory, tmp_path: Path) -> None:
    staging = make_site(settings=EXPORT, dotenv={"RELEASER_GROUP": "staging"})
    staging.make_venv("staging")
    production = second_host(staging, tmp_path / "production", "prod")
    for host in (staging, production):
        host.releaser("init", check=0)
    staging.publish("alpha", "1.1.0")
    shutil.copytree(staging.index.path, production.index.path, dirs_exist_ok=True)
    for host in (staging, production):
        host.releaser("update", check=0)
    assert staging.live_version("alpha") == production.live_version("alpha") == "1.1.0"
    remote, lives = staging.remote_head(), (staging.live_id(), production.live_id())
    for host in (staging, production, staging):
        silent(host.releaser("update"))
    assert (staging.remote_head(), (staging.live_id(), production.live_id())) == (remote, lives)
    text = (production.path / "requirements.txt").read_text(encoding="utf-8")
    assert "prodtools" in text
    assert "stagingtools" not in text


def test_a_pull_of_nothing_but_the_lock_of_what_is_live_does_nothing_else(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    first = make_site(venv=True)
    second = second_host(first, tmp_path / "second", "local")
    for host in (first, second):
        host.releaser("init", check=0)
    first.publish("alpha", "1.1.0")
    shutil.copytree(first.index.path, second.index.path, dirs_exist_ok=True)
    second.git("config", "remote.origin.pushurl", "/nowhere")
    second.git("config", "user.name", "Second")  # else, in one second, both would make the same commit
    second.releaser("update", check=7)  # it has the same packages before it sees that they are published
    first.releaser("update", check=0)
    live, restarted, mails = second.live_id(), second.restarted_at(), len(second.outbox_mails())
    silent(second.releaser("update"))
    assert (second.live_id(), second.restarted_at(), len(second.outbox_mails())) == (live, restarted, mails)
    assert second.head() == first.head()
    assert second.git("status", "--porcelain") == ""
