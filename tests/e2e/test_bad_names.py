"""Names that are hard to handle: with spaces, with letters beyond ASCII, and with bytes that are no letters at all."""

import json
import os
import subprocess
from typing import Any

from tests.e2e.refusals import refused, seem_no_bug
from tests.support.commands import console_script
from tests.support.sites import SampleSite, SiteFactory

# What a shell, a pattern, an option or an encoding could take for something else.
OUTER = " it's $HOME; `true` простой сайт"
NAME = '-rf 100% "quoted" [a-z]* 日本 のサイト, Käse & Brötchen 🎉 #1 ! '


def whole_life(site: SampleSite) -> None:
    """Adopt, update, refuse, roll back, look at it all, and prune."""
    site.releaser("init", check=0)
    assert site.live_version("alpha") == "1.0.0"
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert report["result"] == "updated"
    assert report["path"] == str(site.path)
    assert report["project"] == site.path.name
    assert site.live_version("alpha") == "1.1.0"
    assert site.static_versions() is not None
    assert site.remote_head() == site.head()
    assert site.git("status", "--porcelain") == ""
    site.publish("beta", "2.0.0", broken=True)
    refused(site, code=5).says_only("this update is the cause")
    assert site.releaser("update", check=0).stderr == ""
    site.releaser("rollback", check=0)
    assert site.live_version("alpha") == "1.0.0"
    assert site.git("status", "--porcelain") == ""
    newest = site.json("list")[0]
    assert newest["path"].startswith(str(site.state_dir))
    for command in (("list",), ("status",), ("history",), ("show", newest["id"]), ("prune",), ("check",)):
        seem_no_bug(site.releaser(*command, check=0))
    words = "import sys; print(sys.prefix)"
    assert site.releaser("run", "--", "python", "-c", words, check=0).stdout.strip() == str(site.link.resolve())


def test_a_whole_life_under_odd_names(make_site: SiteFactory) -> None:
    settings = {
        "venv": "das [lebende] env",
        "state_dir": "../die Zustände/übrig",
        "restart_file": "config/tmp/neu start",
    }
    site = make_site(NAME, outer=OUTER, link="das [lebende] env", settings=settings, venv=True)
    site.state_dir = site.outer / "die Zustände" / "übrig"
    whole_life(site)
    assert (site.path / "config" / "tmp" / "neu start").exists()


LOCALES = ({"LC_ALL": "C", "LANG": "C"}, {"LC_ALL": "nowhere.ISO-8859-1"}, {"PYTHONIOENCODING": "latin-1"})


def test_the_locale_of_cron_and_of_a_terminal_does_not_matter(make_site: SiteFactory) -> None:
    site = make_site("日本", outer="meine Seiten", venv=True)
    env = site.env
    site.publish("alpha", "1.1.0")
    for variables in LOCALES:
        site.env = {**env, **variables}
        assert site.json("update", "-v")["path"] == str(site.path)
        assert site.live_version("alpha") == "1.1.0"
        for command in ("status", "history", "list"):
            seem_no_bug(site.releaser(command, check=0))


def raw(site: SampleSite, project: bytes, *words: str) -> tuple[int, str, str]:
    """Run releaser for a project whose name is no text."""
    argv = [os.fsencode(console_script()), *map(os.fsencode, words), b"--project", project]
    done = subprocess.run(argv, cwd=site.outer, env=site.env, capture_output=True, check=False, timeout=120)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def report_of(text: str) -> Any:
    return json.loads(text)


def test_a_name_that_is_no_text(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.publish("alpha", "1.1.0")
    project = os.fsencode(site.outer) + b"/caf\xe9"
    site.path.rename(os.fsdecode(project))
    for command in ("update", "init", "check", "status"):
        status, stdout, stderr = raw(site, project, command)
        assert (status, stdout) == (3, ""), stderr
        assert "not UTF-8" in stderr
        assert "Rename" in stderr
    status, stdout, _ = raw(site, project, "update", "--json")
    assert (status, report_of(stdout)["live_changed"]) == (3, False)
    assert not os.path.islink(project + b"/.venv")
    assert not site.state_dir.exists()
