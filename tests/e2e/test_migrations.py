"""Migrations that a release brings and nobody has applied, on a site that stands in for Django."""

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
DATABASE = {database!r}
MIGRATIONS = {migrations!r}
"""


class Migrating:
    """A site with a database: a file with the names of the migrations that are applied."""

    def __init__(self, make_site: SiteFactory, tmp_path: Path, *, setting: str | None = None, **options: Any) -> None:
        self.database = tmp_path / "database"
        self.database.touch()
        dotenv = {"RELEASER_MIGRATIONS": setting} if setting else {}
        files = {"site_settings.py": self.settings()}
        self.site: SampleSite = make_site(venv=True, dotenv=dotenv, files=files, **options)
        self.site.releaser("init", check=0)

    def settings(self, *migrations: str) -> str:
        """Return settings under which the site itself has these migrations."""
        return SETTINGS.format(database=str(self.database), migrations=migrations)

    def publish(self, version: str = "1.1.0", *names: str) -> None:
        """Offer a version of alpha with these migrations."""
        code = f'__version__ = "{version}"\nMIGRATIONS = {names or ("0002_price",)!r}\n'
        self.site.publish("alpha", version, modules={"alpha/__init__.py": code})

    def migrate(self, *names: str) -> None:
        """Apply migrations."""
        with self.database.open("a", encoding="utf-8") as file:
            file.write("".join(f"{name}\n" for name in names))


@pytest.fixture
def reporting(make_site: SiteFactory, tmp_path: Path) -> Migrating:
    return Migrating(make_site, tmp_path)


@pytest.fixture
def refusing(make_site: SiteFactory, tmp_path: Path) -> Migrating:
    return Migrating(make_site, tmp_path, setting="refuse")


def refused(site: SampleSite) -> dict[str, Any]:
    """Run an update that has to be refused for its migrations; its release is ready, and waits."""
    before = site.snapshot()
    report: dict[str, Any] = site.json("update", check=5)
    assert site.snapshot() == before
    assert report["result"] == "refused"
    assert report["live_changed"] is False
    assert step(report, "test")["status"] == "ok"
    assert report["steps"][-1]["step"] in ("migrations", "prune")
    assert states(site)[report["release"]] == "candidate"
    return report


def waits(site: SampleSite) -> None:
    """Run an update that finds the release still waiting: nothing is built, and nobody is told again."""
    mails, before, releases = len(site.outbox_mails()), site.snapshot(), states(site)
    silent(site.releaser("update"))
    assert (len(site.outbox_mails()), site.snapshot(), states(site)) == (mails, before, releases)


def test_what_is_not_applied_is_reported_once_and_a_rollback_names_what_it_leaves(reporting: Migrating) -> None:
    site, first = reporting.site, reporting.site.live_id()
    reporting.publish()
    report = site.json("update")
    assert report["result"] == "updated"
    assert report["migrations"] == [NEW]
    assert step(report, "migrations")["status"] == "warning"
    assert step(report, "migrations")["detail"] == f"new and not applied: {NEW}"
    (problem,) = report["problems"]
    assert f"not applied: {NEW}" in problem
    assert "releaser run -- python manage.py migrate" in problem
    assert len(site.outbox_mails()) == 1
    assert NEW in body(site)
    assert reporting.database.read_text(encoding="utf-8") == ""

    site.publish("beta", "1.1.0")
    report = site.json("update", env={"RELEASER_MIGRATIONS": "refuse"})
    assert (report["problems"], report["migrations"]) == ([], [])
    assert step(report, "migrations")["detail"] == f"not applied before this update either: {NEW}"
    before = site.live_id()
    reporting.migrate(NEW)
    site.publish("beta", "1.2.0")
    report = site.json("update", env={"RELEASER_MIGRATIONS": "refuse"})
    assert (report["problems"], report["migrations"]) == ([], [])
    assert step(report, "migrations")["detail"] == "all are applied"
    site.publish("beta", "1.3.0")
    assert "migrations" not in steps(site.json("update", env={"RELEASER_MIGRATIONS": "off"}))

    reporting.migrate("removed.0001_long_ago")
    assert rolled_back(site) == "this release has the same migrations as the previous one"
    asked = len(site.manage_runs("shell"))
    assert rolled_back(site, first) == f"applied, but not in this release: {NEW}"
    assert len(site.manage_runs("shell")) == asked + 3  # what the release that was left has, is noted
    reporting.database.unlink()
    assert rolled_back(site, before).startswith("unknown, because a database does not answer: default: ")


def test_a_run_that_is_killed_behind_the_flip_leaves_the_next_one_to_tell(reporting: Migrating) -> None:
    site = reporting.site
    reporting.publish()
    killed = site.releaser("update", env={"RELEASER_RESTART": "sh -c 'kill -9 $PPID'"})
    assert killed.returncode == -signal.SIGKILL
    report = site.json("update")
    assert site.live_version("alpha") == "1.1.0"
    assert any(f"migrations of this release are not applied: {NEW}" in problem for problem in report["problems"])
    assert reporting.database.read_text(encoding="utf-8") == ""

    reporting.migrate(NEW)
    assert site.releaser("rollback", env={"RELEASER_RESTART": "sh -c 'kill -9 $PPID'"}).returncode == -signal.SIGKILL
    report = site.json("update")
    assert site.live_version("alpha") == "1.0.0"
    assert any(f"they were not undone: {NEW}" in problem for problem in report["problems"])


def test_a_release_whose_migrations_are_not_applied_is_told_once_waits_and_goes_on_by_itself(
    refusing: Migrating,
) -> None:
    site = refusing.site
    refusing.publish()
    report = refused(site)
    assert report["migrations"] == [NEW]
    assert NEW in report["headline"]
    waiting = site.state_dir / "releases" / report["release"] / "venv" / "bin" / "python"
    assert f"`{waiting} manage.py migrate`" in report["advice"]
    assert waiting.exists()
    (mail,) = site.outbox_mails()
    assert "migrations not applied" in mail["Subject"]
    assert NEW in body(site)
    waits(site)
    status = site.json("status")
    assert "migrations are not applied" in status["blocked"]
    assert status["failed_candidates"] == []
    (entry,) = status["waiting"]
    assert (entry["release"], entry["migrations"]) == (report["release"], [NEW])
    assert f"waiting: candidate {entry['release']}: migrations are not applied: {NEW}" in site.releaser("status").stdout

    refusing.publish("1.2.0", "0002_price", "0003_tax")  # another candidate is told of again
    report = refused(site)
    assert report["migrations"] == [NEW, "alpha.0003_tax"]
    assert len(site.outbox_mails()) == 2
    refusing.database.unlink()
    waits(site)  # while the database is away
    refusing.database.write_text(f"{NEW}\nalpha.0003_tax\n", encoding="utf-8")
    went = site.json("update")
    assert (went["result"], went["release"], site.live_version("alpha")) == ("updated", report["release"], "1.2.0")
    assert not {"build", "test"} & {*steps(went)}
    assert (site.json("status")["waiting"], site.json("status")["blocked"]) == ([], "")
    silent(site.releaser("update"))

    refusing.publish("1.3.0", "0002_price", "0003_tax", "0004_name")
    refused(site)
    report = site.json("update", env={"RELEASER_MIGRATIONS": "report"})  # nobody refuses any more
    assert (report["result"], report["migrations"]) == ("updated", ["alpha.0004_name"])

    refusing.publish("1.4.0", "0002_price", "0003_tax", "0004_name", "0005_vat")
    refused(site)
    before = site.snapshot()
    waiting = site.json("update", "--force")  # `--force` applies none either
    assert (waiting["result"], site.snapshot()) == ("no-changes", before)


def do_as_advised(site: SampleSite, report: dict[str, Any]) -> None:
    """Do what an update that was refused says is to be done, and see that nothing goes live by that."""
    before = site.snapshot()
    for command in re.findall("`(.+?)`", report["advice"]):
        run(["sh", "-c", command], cwd=site.path, env=site.env, check=0)
    assert site.snapshot() == before
    assert len(site.git("worktree", "list").splitlines()) == 1


def see_it_go_on(site: SampleSite) -> None:
    """See that an update makes live what has waited."""
    report = site.json("update")
    assert report["result"] == "updated"
    assert site.live_id() == report["release"]
    assert not {"build", "test"} & {*steps(report)}
    silent(site.releaser("update"))


def test_migrations_of_a_package_that_is_part_of_the_project_too(make_site: SiteFactory, tmp_path: Path) -> None:
    """Once live, it is found in the checkout, which has other code of it until then."""
    site = Migrating(make_site, tmp_path, setting="refuse", kind="packaged").site
    code = (site.path / "src/sample_site/__init__.py").read_text(encoding="utf-8")
    site.push_from_elsewhere({"src/sample_site/__init__.py": f'{code}\n\nMIGRATIONS = ("0001_begin",)\n'})
    report = refused(site)
    assert report["migrations"] == ["sample_site.0001_begin"]
    waits(site)
    do_as_advised(site, report)
    see_it_go_on(site)
    assert site.python("import sample_site; print(sample_site.MIGRATIONS)") == "('0001_begin',)"


def test_a_first_release_has_nothing_to_be_refused_for(make_site: SiteFactory, tmp_path: Path) -> None:
    (tmp_path / "database").touch()
    settings = SETTINGS.format(database=str(tmp_path / "database"), migrations=("0001_first",))
    site = make_site(dotenv={"RELEASER_MIGRATIONS": "refuse"}, files={"site_settings.py": settings})
    report = site.json("init")
    assert report["result"] == "updated"
    assert "not applied, and perhaps new: site.0001_first" in step(report, "migrations")["detail"]
    assert report["migrations"] == ["site.0001_first"]


def rolled_back(site: SampleSite, *words: str) -> str:
    """Roll back, and return what is said of migrations."""
    report = site.json("rollback", *words)
    assert report["result"] == "rolled-back"
    detail = str(step(report, "migrations")["detail"])
    assert ("were not undone" in str(report["problems"])) is ("not in this release" in detail)
    return detail


# `manage.py check --deploy` as a part of the tests, on a site that stands in for Django


ON = {"RELEASER_DJANGO_CHECK": "deploy"}


def adopted(make_site: SiteFactory, **options: Any) -> SampleSite:
    site = make_site.adopted(**options)
    site.write_dotenv(ON)
    return site


@pytest.mark.story
def test_it_is_run_before_the_tests_and_passes(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert report["result"] == "updated"
    assert steps(report).index("django check") < steps(report).index("test")
    (checked,) = site.manage_runs("check")
    assert checked.argv == ("check", "--deploy", "--fail-level", "ERROR")
    assert checked.versions["alpha"] == "1.1.0"
    shown = site.json("show", report["release"])["test_output"]
    assert "no issues" in shown
    assert shown.rstrip().endswith("OK")


def test_it_makes_no_sense_without_django(make_site: SiteFactory) -> None:
    site = make_site(venv=True, files={"run_tests.py": ""}, dotenv={**ON, "RELEASER_COLLECTSTATIC": "on"})
    site.git("rm", "--quiet", "manage.py")
    site.git("commit", "--quiet", "--message", "Leave Django")
    site.push()
    finished = site.releaser("update", check=3)
    for setting in ("django_check", "collectstatic"):
        assert f"`{setting}` is on, but {site.path} has no manage.py" in finished.stderr


def test_a_release_that_does_not_start_any_more_leaves_the_apps_that_the_earlier_one_has(reporting: Migrating) -> None:
    site = reporting.site
    sick = site.outer / "sick"
    begin = f"import os\nassert not os.path.exists({str(sick)!r})\n"
    site.push_from_elsewhere({"site_settings.py": begin + reporting.settings("0001_begin")})
    site.json("update")
    reporting.migrate("site.0001_begin")
    sick.touch()
    assert rolled_back(site) == "applied, but not in this release: site.0001_begin"
