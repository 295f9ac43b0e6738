"""What the other tests stand on, tested with real uv and real git."""

from __future__ import annotations

import json
import os
import smtplib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import clean_environment, run
from tests.support.guards import forbid, require

if TYPE_CHECKING:
    from tests.support.sites import Breakage, SampleSite, SiteFactory

pytestmark = pytest.mark.spawns


def test_a_site_can_be_installed_and_passes_its_tests(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    assert site.python("import sys; print(sys.base_prefix)") == sys.base_prefix
    assert site.live_version("alpha") == "1.0.0"
    assert site.live_version("localtools") == "1.0.0"
    site.uv("lock", "--check")
    assert site.git("rev-parse", "--abbrev-ref", "HEAD@{upstream}") == "origin/main"
    assert site.head() == site.remote_head()
    assert _manage(site, "test").endswith("OK")
    assert site.git("status", "--porcelain") == ""


@pytest.mark.parametrize("breakage", ["test", "check", "collectstatic", "import"])
def test_a_broken_version_breaks_the_command_that_it_names(make_site: SiteFactory, breakage: Breakage) -> None:
    site = make_site(venv=True)
    site.publish("alpha", "2.0.0", broken=breakage)
    site.uv("sync", "--quiet", "--upgrade", "--group", "local")
    for command in ("test", "check", "collectstatic"):
        _manage(site, command, check=1 if breakage in (command, "import") else 0)


def test_manage_py_says_what_it_was_run_with(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    _manage(site, "test", "--noinput")
    _manage(site, "check")
    assert [noted.argv for noted in site.manage_runs()] == [("test", "--noinput"), ("check",)]
    (noted,) = site.manage_runs("test")
    assert noted.versions["alpha"] == "1.0.0"
    assert Path(noted.prefix) == site.link


@pytest.mark.parametrize("staticfiles", [True, False])
def test_staticfiles_can_be_asked_for_as_in_django(make_site: SiteFactory, staticfiles: bool) -> None:
    site = make_site(staticfiles=staticfiles, venv=True)
    code = "from django.apps import apps; print(apps.is_installed('django.contrib.staticfiles'))"
    assert _manage(site, "shell", "-c", code) == str(staticfiles)
    _manage(site, "help", "collectstatic", check=0 if staticfiles else 1)
    _manage(site, "collectstatic", "--noinput", check=0 if staticfiles else 1)


def test_equal_snapshots_mean_that_nothing_changed(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    before = site.snapshot()
    _manage(site, "test")  # writes byte code only
    assert site.snapshot() == before


def test_snapshots_tell_of_every_file(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    for path in ("pyproject.toml", "new.txt", "config/tmp/restart.txt", "static_out/x", ".venv/x"):
        before = site.snapshot()
        site.edit(path, "changed")
        assert site.snapshot() != before, path


def test_snapshots_tell_of_a_commit_and_of_another_link(make_site: SiteFactory) -> None:
    site = make_site()
    site.link.symlink_to("nowhere")
    before = site.snapshot()
    assert before["(link)"] == "-> nowhere"
    site.link.unlink()
    assert site.snapshot()["(link)"] == "absent"
    site.link.symlink_to("nowhere")
    assert site.snapshot() == before
    site.git("commit", "--quiet", "--allow-empty", "--message", "Nothing")
    assert {name for name, value in site.snapshot().items() if before[name] != value} == {"(commit)"}


def test_releaser_is_run_from_elsewhere_with_the_project_named(
    make_site: SiteFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "releaser"
    code = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), os.environ['RELEASER_KEEP']]))"
    script.write_text(f"#!{sys.executable}\n{code}\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr("tests.support.sites.console_script", lambda: script)
    site = make_site()
    finished = site.releaser("update", "--force", env={"RELEASER_KEEP": "3", "LC_ALL": None})
    argv, directory, keep = json.loads(finished.stdout)
    assert argv == ["update", "--project", str(site.path), "--force"]
    assert site.outer not in (Path(directory), *Path(directory).parents)
    assert keep == "3"
    assert '["--version"]' in site.releaser("--version", env={"RELEASER_KEEP": ""}, check=0).stdout


def test_nothing_of_the_developers_environment_leaks_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEASER_KEEP", "7")
    monkeypatch.setenv("AUTO_UPDTR__UV_PATH", "/nowhere")
    monkeypatch.setenv("UV_INDEX_URL", "https://example.org")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COVERAGE_PROCESS_START", "setup.cfg")
    env = clean_environment(tmp_path / "home", tmp_path / "cache")
    assert env.keys().isdisjoint({"RELEASER_KEEP", "AUTO_UPDTR__UV_PATH", "UV_INDEX_URL", "NO_COLOR"})
    assert env["COVERAGE_PROCESS_START"] == "setup.cfg"


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    with pytest.raises(pytest.fail.Exception, match="still running after"):
        run([sys.executable, "-c", script], cwd=tmp_path, env={"PATH": os.defpath}, timeout=0.5)


def test_require_skips_except_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    require(True, "never said")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no loopback"):
        require(False, "no loopback")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no loopback"):
        require(False, "no loopback")


def test_unit_tests_can_neither_start_programs_nor_mail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forbid(monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="mark it `spawns`"):
        subprocess.run(["true"], check=False)
    with pytest.raises(pytest.fail.Exception, match="mark it `spawns`"):
        smtplib.SMTP_SSL("localhost")


def _manage(site: SampleSite, *args: str, check: int = 0) -> str:
    """Run manage.py in the site's environment; return what it printed, stripped."""
    program = site.link / "bin" / "python"
    return run([program, "manage.py", *args], cwd=site.path, env=site.env, check=check).stdout.strip()
