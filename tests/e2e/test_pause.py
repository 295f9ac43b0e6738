"""`pause` and `resume`."""

import json
from datetime import timedelta
from pathlib import Path

from tests.e2e.scenes import body, silent
from tests.faults.clock import at_another_time
from tests.support.commands import Finished, console_script, run
from tests.support.sites import SampleSite, SiteFactory

NIGHT = timedelta(days=1)


def test_updates_wait_for_the_end_of_a_pause(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    live, before = site.live_id(), site.snapshot()
    dry = site.releaser("pause", "--for", "60h", "the sale", "--dry-run", check=0).stdout
    assert dry.startswith("dry run: updates would be paused until ")
    assert not (site.state_dir / "pause.json").exists()
    said = site.releaser("pause", "--for", "60h", "the sale", "-v", check=0).stderr
    assert "updates are paused until" in said
    silent(site.releaser("update"))
    silent(at_another_time(site, 2 * NIGHT, "update"))
    silent(at_another_time(site, 2 * NIGHT, "update", "--if-due"))
    assert site.json("update", "--tests-only")["due_at"]
    held = site.json("update", "alpha")
    assert (held["result"], held["exit_code"], bool(held["due_at"])) == ("no-changes", 0, True)
    assert held["headline"].endswith(": the sale")
    assert held["headline"].startswith("updates are paused until ")
    assert "`releaser resume`" in site.releaser("update", "-v", check=0).stderr
    assert held["headline"] in site.releaser("status", check=0).stdout
    assert held["headline"] in site.releaser("update", "--dry-run", check=0).stdout
    assert (site.live_id(), site.snapshot()) == (live, before)
    assert at_another_time(site, 3 * NIGHT, "update").returncode == 0
    assert site.live_version("alpha") == "1.1.0"
    mails = len(site.outbox_mails())
    site.releaser("rollback", check=0)  # by the real clock, in the pause: a person may
    assert len(site.outbox_mails()) == mails + 1
    assert "Updates are paused until" in body(site)
    assert json.loads((site.state_dir / "pause.json").read_text())["reason"] == "the sale"


def paused(site: SampleSite) -> str:
    """Return what the status says about a pause."""
    return str(site.json("status")["waits"])


def test_a_pause_ends_by_resume_or_for_one_update(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    assert "updates are not paused" in site.releaser("resume", "-v", check=0).stderr
    site.releaser("pause", "--until", "never", check=2)
    site.releaser("pause", "--until", "monday", "--for", "1d", check=2)
    assert paused(site) == ""
    site.releaser("pause", "the sale", check=0)
    assert paused(site) == "updates are paused until `releaser resume`: the sale"
    assert site.json("update")["due_at"]
    assert site.json("status")["last_success"] is None
    site.releaser("pause", "--until", "monday", check=0)  # in place of the first
    assert "the sale" not in paused(site)
    report = site.json("update", "--now")
    assert (report["result"], report["noted"][:28]) == ("updated", "Updates are paused until Mon")
    site.releaser("resume", "--dry-run", check=0)
    assert paused(site)
    site.releaser("resume", check=0)
    assert paused(site) == ""
    assert site.json("update")["due_at"] is None
    (site.state_dir / "pause.json").write_text("{", encoding="utf-8")
    assert "pause.json cannot be read" in site.releaser("status").stdout
    report = site.json("update")
    assert report["headline"].startswith("updates are paused until `releaser resume`")
    assert "updates are paused from now on" in report["noted"]
    site.releaser("resume", check=0)
    assert site.json("update")["due_at"] is None


def test_many_sites_are_paused_at_once_and_a_damaged_release_waits(make_site: SiteFactory) -> None:
    sites = [make_site.adopted(name=name, outer=name) for name in ("one", "two")]
    file = sites[0].outer.parent / "sites.toml"
    file.write_text("".join(f'[[site]]\npath = "{site.path}"\n' for site in sites))

    def everywhere(*words: str) -> Finished:
        command: list[str | Path] = [console_script(), *words, "--sites", str(file)]
        return run(command, cwd=Path("/"), env=sites[0].environment(), timeout=300, check=0)

    everywhere("pause", "--for", "2h", "the sale of the year")
    assert [paused(site).endswith(": the sale of the year") for site in sites] == [True, True]
    module = next(sites[0].link.resolve().glob("lib/*/site-packages/alpha/__init__.py"))
    module.unlink()
    live = sites[0].live_id()
    everywhere("update")
    assert sites[0].live_id() == live
    everywhere("resume")
    assert {paused(site) for site in sites} == {""}
    everywhere("update")
    assert sites[0].live_id() != live
