"""What happens once a release is live: static files, restart, the health check; and the way back if one fails."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import STEPS, answers, body, silent, states, step, steps, web_site
from tests.e2e.test_restart_effect import take_beta
from tests.support.sites import SampleSite, SiteFactory, variables

IMPATIENT = {"health_retries": 0, "health_pause": "0s", "health_timeout": "60s"}


def adopted(make_site: SiteFactory, settings: Mapping[str, Any], **options: Any) -> SampleSite:
    """Make a site that has been updated once, so that it was collected and restarted."""
    return make_site.adopted(prepare=take_beta, dotenv=variables(**{**IMPATIENT, **settings}), **options)


def everything_but_the_restart(site: SampleSite) -> dict[str, str]:
    found = site.snapshot()
    del found["(restarted at)"]
    return found


def see_that_it_is_rolled_back(site: SampleSite) -> Any:
    """Update to a new alpha, which goes live and fails its health check; see that everything is as before."""
    site.publish("alpha", "1.1.0")
    live, before, restarted = site.live_id(), everything_but_the_restart(site), site.restarted_at() or 0
    remote = site.remote_head()
    report = site.json("update", check=6)
    assert (report["result"], report["exit_code"]) == ("rolled-back", 6)
    assert (report["previous"], report["live_changed"]) == (live, False)
    assert step(report, "health check")["status"] == "failed"
    assert report["headline"].startswith("health check failed")
    assert (site.live_id(), everything_but_the_restart(site), site.remote_head()) == (live, before, remote)
    assert (site.static_versions() or {})["alpha"] == "1.0.0"
    assert states(site)[report["release"]] == "rolled-back"
    assert "commit" not in steps(report)
    if "RELEASER_RESTART=" not in (site.outer / ".env").read_text(encoding="utf-8"):
        assert (site.restarted_at() or 0) > restarted
    return report


def test_a_url_that_answers_well(make_site: SiteFactory) -> None:
    with web_site(answers(302)) as web:
        site = adopted(make_site, {"health_check": web.url})
        site.update_to("alpha", "1.1.0")
        assert web.asked == 2  # before the build, and after the flip
        entry = site.json("history")[0]
    assert step(entry, "health check")["detail"].startswith(f"{web.url} answered 302")
    assert [one["good"] for one in entry["answers"]] == [True]
    assert "Answers of the site" not in body(site)


@pytest.mark.story
def test_a_url_that_answers_badly_takes_the_release_back_which_is_mailed(make_site: SiteFactory) -> None:
    """The earlier release is asked, too: if it is no better off, packages are not to blame, and may come in again."""
    with web_site(answers(200, 503)) as web:
        site = adopted(make_site, {"health_check": web.url})
        report = see_that_it_is_rolled_back(site)
        assert step(report, "health check again")["status"] == "warning"
        assert web.asked == 1 + 2
    assert "answered 503" in report["headline"]
    assert "this is answer 503" in report["output"]
    assert "rolled back, PREVIOUS RELEASE FAILS TOO" in site.outbox_mails()[-1]["subject"]
    text = body(site)
    assert "answered 503" in text
    assert "previous release also fails its health check" in " ".join(text.split())
    assert "Package changes that are not live" in text
    assert "update rolled back (exit code 6): " in site.releaser("status", check=0).stdout
    assert site.json("status")["on_hold"] == []
    silent(site.releaser("update"))  # but not the very same candidate, night after night
    site.publish("beta", "1.2.0")
    with web_site(answers(200)) as web:
        site.releaser("update", check=0, env={"RELEASER_HEALTH_CHECK": web.url})
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.1.0", "1.2.0")


def test_a_command_that_hangs_is_ended(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(**{**IMPATIENT, "health_timeout": "1s"}))
    live = site.live_id()
    site.publish("alpha", "1.1.0")
    report = site.json("update", "--force", check=6, env={"RELEASER_HEALTH_CHECK": "sleep 600"})
    assert "was still running after 1 s" in report["headline"]
    assert step(report, "health check")["seconds"] < 10
    assert site.live_id() == live


def test_a_command_that_fails_takes_the_release_back_for_good(make_site: SiteFactory, tmp_path: Path) -> None:
    """The earlier release is restarted, collected and asked again."""
    code = "import alpha, sys; sys.exit('I feel ill' if alpha.__version__ == '1.1.0' else 0)"
    note = tmp_path / "restarts"
    restart = f"import alpha; open({str(note)!r}, 'a').write(alpha.__version__ + ' ')"
    site = adopted(make_site, {"health_check": f'python -c "{code}"', "restart": ["python", "-c", restart]})
    report = see_that_it_is_rolled_back(site)
    assert "I feel ill" in report["output"]
    assert note.read_text(encoding="utf-8").split() == ["1.1.0", "1.0.0"]
    assert steps(report)[steps(report).index("flip back") + 1 :] == [f"{name} again" for name in STEPS]
    runs, mails = len(site.manage_runs()), len(site.outbox_mails())
    for _ in range(2):
        silent(site.releaser("update"))  # as it stays out
    assert (len(site.manage_runs()), len(site.outbox_mails())) == (runs, mails)
    assert [(entry["name"], entry["version"]) for entry in site.json("status")["on_hold"]] == [("alpha", "1.1.0")]
    site.update_to("beta", "1.2.0")
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.0.0", "1.2.0")
    site.update_to("alpha", "1.1.1")
    assert site.live_version("alpha") == "1.1.1"


def test_a_restart_file_that_gets_lost_during_the_tests_is_no_fault_of_the_release(make_site: SiteFactory) -> None:
    loses = "import os, shutil; shutil.rmtree(os.environ['SITE'] + '/wsgi', ignore_errors=True)"
    site = adopted(make_site, {"restart_file": "wsgi/restart.txt"}, files={"wsgi/.gitignore": "*\n"})
    site.publish("alpha", "1.1.0")
    live = site.live_id()
    env = {"RELEASER_TEST_COMMAND": f'python -c "{loses}"', "SITE": str(site.path)}
    report = site.json("update", check=3, env=env)
    assert "restart_file" in report["headline"]
    assert "flip" not in steps(report)
    assert site.live_id() == live
    assert site.json("status")["on_hold"] == []


def test_a_first_release_that_is_ill_leaves_nothing_live(make_site: SiteFactory) -> None:
    site = make_site(settings={**IMPATIENT, "health_check": "false"})
    before = site.snapshot()
    del before["(restarted at)"]
    report = site.json("update", check=6)
    assert report["previous"] is None
    assert not site.link.exists()
    assert not site.link.is_symlink()
    after = everything_but_the_restart(site)
    assert {name for name in after if before.get(name) != after[name]} <= {
        "static_out", "static_out/versions.json", "config/tmp/restart.txt",
    }  # fmt: skip
    assert states(site) == {report["release"]: "rolled-back"}
    silent(site.releaser("update"))
    site.releaser("rollback", check=9)
