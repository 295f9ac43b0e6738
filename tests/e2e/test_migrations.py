"""Migrations that a release brings and nobody has applied, and Django's checks, on a site that stands in for Django."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import body, silent, states, step, steps
from tests.support.commands import run
from tests.support.sites import SampleSite, SiteFactory

NEW = "alpha.0002_price"
SETTINGS = """\
INSTALLED_APPS = ["django.contrib.staticfiles"]
STATIC_ROOT = "static_out"
DATABASE = {!r}
MIGRATIONS = ()
"""


def with_database(make_site: SiteFactory, database: Path, **options: Any) -> SampleSite:
    """Make an adopted site with a database: a file with the names of the migrations that are applied."""
    database.touch()
    site = make_site(venv=True, files={"site_settings.py": SETTINGS.format(str(database))}, **options)
    site.releaser("init", check=0)
    return site


def test_what_is_not_applied_is_told_after_a_kill_and_a_rollback(make_site: SiteFactory, tmp_path: Path) -> None:
    database = tmp_path / "database"
    site = with_database(make_site, database)
    code = '__version__ = "1.1.0"\nMIGRATIONS = ("0002_price",)\n'
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": code})
    killed = site.releaser("update", env={"RELEASER_RESTART": "sh -c 'kill -9 $PPID'"})
    assert killed.returncode == -signal.SIGKILL
    told = site.json("update")
    assert site.live_version("alpha") == "1.1.0"
    assert any(f"migrations of this release are not applied: {NEW}" in problem for problem in told["problems"])
    assert NEW in body(site)
    assert database.read_text(encoding="utf-8") == ""
    database.write_text(f"{NEW}\n", encoding="utf-8")
    (site.state_dir / "releases" / site.live_id() / "migrations.json").unlink()  # so that the release is asked
    report = site.json("rollback")
    assert step(report, "migrations")["detail"] == f"applied, but not in this release: {NEW}"
    assert "were not undone" in str(report["problems"])


def test_a_release_that_waits_is_told_once_and_goes_on_by_itself(make_site: SiteFactory, tmp_path: Path) -> None:
    """They are of a package in the checkout, which has other code of it until it is live."""
    database = tmp_path / "database"
    site = with_database(make_site, database, kind="packaged", dotenv={"RELEASER_MIGRATIONS": "refuse"})
    code = (site.path / "src/sample_site/__init__.py").read_text(encoding="utf-8")
    site.push_from_elsewhere({"src/sample_site/__init__.py": f'{code}\n\nMIGRATIONS = ("0001_begin",)\n'})
    before = site.snapshot()
    report = site.json("update", check=5)
    assert (report["result"], report["migrations"]) == ("refused", ["sample_site.0001_begin"])
    assert (step(report, "test")["status"], states(site)[report["release"]]) == ("ok", "candidate")
    (mail,) = site.outbox_mails()
    assert "migrations not applied" in mail["Subject"]
    status = site.json("status")
    assert "migrations are not applied" in status["blocked"]
    assert [entry["migrations"] for entry in status["waiting"]] == [report["migrations"]]
    database.rename(away := tmp_path / "away")  # while it does not answer, the release waits, too
    silent(site.releaser("update"))
    assert len(site.outbox_mails()) == 1
    away.rename(database)
    for command in re.findall("`(.+?)`", report["advice"]):
        run(["sh", "-c", command], cwd=site.path, env=site.env, check=0)
    assert len(site.git("worktree", "list").splitlines()) == 1
    assert site.snapshot() == before
    went = site.json("update")
    assert (went["result"], went["release"], site.live_id()) == ("updated", report["release"], report["release"])
    assert not {"build", "test"} & {*steps(went)}
    assert site.python("import sample_site; print(sample_site.MIGRATIONS)") == "('0001_begin',)"
    assert (site.json("status")["waiting"], site.json("status")["blocked"]) == ([], "")
    silent(site.releaser("update"))


@pytest.mark.story
def test_the_checks_of_django_run_before_the_tests(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv={"RELEASER_DJANGO_CHECK": "deploy"}, due="1.1.0")
    report = site.json("update")
    assert report["result"] == "updated"
    assert steps(report).index("django check") < steps(report).index("test")
    (checked,) = site.manage_runs("check")
    assert checked.argv == ("check", "--deploy", "--fail-level", "ERROR")
    assert checked.versions["alpha"] == "1.1.0"
    shown = site.json("show", report["release"])["test_output"]
    assert "no issues" in shown
    assert shown.rstrip().endswith("OK")
