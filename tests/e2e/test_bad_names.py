"""Names that are hard to handle: with spaces, with letters beyond ASCII, and with bytes that are no letters at all."""

import json
import os
import subprocess

from tests.e2e.refusals import refused, seem_no_bug
from tests.support.commands import console_script
from tests.support.sites import SiteFactory

# What a shell, a pattern, an option or an encoding could take for something else.
OUTER = " it's $HOME; `true` простой сайт"
NAME = '-rf 100% "quoted" [a-z]* 日本 のサイト, Käse & Brötchen 🎉 #1 ! '


def test_a_whole_life_under_odd_names(make_site: SiteFactory) -> None:
    """Adopt, update, refuse, roll back, look at it all, and prune."""
    settings = {
        "venv": "das [lebende] env",
        "state_dir": "../die Zustände/übrig",
        "restart_file": "config/tmp/neu start",
    }
    site = make_site(NAME, outer=OUTER, link="das [lebende] env", settings=settings, venv=True)
    site.state_dir = site.outer / "die Zustände" / "übrig"
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert (report["result"], report["path"], report["project"]) == ("updated", str(site.path), site.path.name)
    assert site.live_version("alpha") == "1.1.0"
    assert site.static_versions() is not None
    assert (site.path / "config" / "tmp" / "neu start").exists()
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


def test_a_name_that_is_no_text(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    project = os.fsencode(site.outer) + b"/caf\xe9"
    site.path.rename(os.fsdecode(project))
    for command in ("update", "init", "check", "status", "update --json"):
        argv = [os.fsencode(console_script()), *map(os.fsencode, command.split()), b"--project", project]
        done = subprocess.run(argv, cwd=site.outer, env=site.env, capture_output=True, check=False, timeout=120)
        said = done.stderr.decode("utf-8", "replace")
        assert (done.returncode, "not UTF-8" in said, "Rename" in said) == (3, True, True), said
        if command == "update --json":
            assert json.loads(done.stdout)["live_changed"] is False
        else:
            assert done.stdout == b""
    assert not os.path.islink(project + b"/.venv")
    assert not site.state_dir.exists()
