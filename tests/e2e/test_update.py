"""Updates that go well, that find nothing, and whose tests fail: by the installed command, with real uv and git."""

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import body, changed_files, silent, states, step, steps, under_umask
from tests.support import snapshots
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import build_sdist

pytestmark = pytest.mark.story

# What a night without anything new starts: each takes its time on all hosts, every night.
PROGRAMS = ["git config", "git status", "git ls-files", "git fetch", "git ls-tree", "uv lock"]

# A test that notes what it sees of the live site.
WITNESS = """\
import json, os, pathlib, subprocess, sys
def test_witness(packages):
    here = os.getcwd()
    os.chdir(os.environ["SITE"])
    notes = {
        "link": os.readlink(".venv"),
        "lock": pathlib.Path("uv.lock").read_text(),
        "head": subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip(),
        "status": subprocess.check_output(["git", "status", "--porcelain"], text=True),
        "prefix": sys.prefix,
        "restarted": os.path.exists("config/tmp/restart.txt"),
        "collected": os.path.exists("static_out"),
        "environment": dict(os.environ),
    }
    pathlib.Path(os.environ["WITNESS"]).write_text(json.dumps(notes))
    os.chdir(here)
    open("notes.txt", "w").close()
    os.system("git add notes.txt")  # which goes astray
"""


def release_of(site: SampleSite, release: str | None = None) -> Path:
    return site.state_dir / "releases" / (release or site.live_id())


def below(directory: Path) -> Iterator[Path]:
    for place, directories, files in os.walk(directory):
        for name in [*directories, *files]:
            yield Path(place, name)


@dataclass(frozen=True)
class Green:
    """A site before and after an update of two packages, to be looked at, and the report of that."""

    site: SampleSite
    before: dict[str, str]
    live: str
    lock: str
    report: dict[str, Any]
    seen: dict[str, Any]


@pytest.fixture(scope="module")
def green(make_scene: SiteFactory) -> Green:
    site = make_scene.adopted(files={"site_tests.py": WITNESS})
    notes = site.outer.parent / "notes"
    before, live, lock = site.snapshot(), site.live_id(), site.lock_text()
    site.publish("alpha", "1.1.0")
    site.publish("beta", "2.0.0")
    leading_astray = {"UV_PROJECT_ENVIRONMENT": str(site.link), "VIRTUAL_ENV": "/nowhere", "UV_NO_SYNC": "0"}
    told = {"WITNESS": str(notes), "SITE": str(site.path), "UV_INDEX": "x=/y"}
    report = site.json("update", env={**told, **leading_astray})
    return Green(site, before, live, lock, report, json.loads(notes.read_text(encoding="utf-8")))


def test_a_green_update_costs_one_test_run_on_the_candidate(green: Green) -> None:
    site, report = green.site, green.report
    (tested,) = site.manage_runs("test")
    assert tested.versions["alpha"] == site.live_version("alpha") == "1.1.0"
    assert 'name = "alpha"\nversion = "1.1.0"' in site.lock_text()
    assert Path(tested.prefix) == release_of(site, report["release"]) / "venv"
    assert Path(tested.cwd) == site.outer / f".{site.path.name}.releaser-staging"
    (collected,) = site.manage_runs("collectstatic")
    assert Path(collected.prefix) == release_of(site) / "venv"
    assert (site.static_versions() or {})["alpha"] == "1.1.0"
    assert steps(report).index("flip") < steps(report).index("collectstatic") < steps(report).index("restart")
    entry = site.json("history")[0]
    names = ("run_id", "command", "result", "exit_code", "release", "changes", "steps")
    assert {name: entry[name] for name in names} == {name: report[name] for name in names}


def test_the_mail_tells_what_changed_and_how_to_go_back(green: Green) -> None:
    site, report = green.site, green.report
    (mail,) = site.outbox_mails()
    assert mail["subject"].startswith("✓ site: updated alpha 1.0.0 → 1.1.0 and 1 more")
    assert (mail["to"], mail["from"]) == ("Ada <ada@example.org>", "releaser@example.org")
    text = body(site)
    assert "beta     1.0.0  2.0.0  major" in text
    assert "1.0.0 → 2.0.0" in body(site, kind="html")
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "uv.lock.diff"
    assert f"releaser rollback --project {site.path}" in text
    assert str(mail["x-releaser-run"]) == report["run_id"]


def test_nothing_of_the_live_site_is_touched_before_the_tests_have_passed(green: Green) -> None:
    site, seen, head = green.site, green.seen, green.before["(commit)"]
    assert seen["link"].endswith(f"/{green.live}/venv")
    assert (seen["lock"], seen["head"], seen["status"]) == (green.lock, head, "")
    assert (seen["restarted"], seen["collected"]) == (False, False)
    # The release that was live is left as it was, and nothing else in the checkout changes but the lock.
    assert snapshots.digest(release_of(site, green.live) / "venv") == green.before["(venv)"]
    changed = {name for name, value in site.snapshot().items() if green.before.get(name) != value}
    ours = {"(commit)", "(link)", "(venv)", "(restarted at)", "uv.lock"}
    assert changed == ours | {"config/tmp/restart.txt", "static_out", "static_out/versions.json"}
    # Only the lock is committed, and pushed.
    assert site.git("log", "-1", "--format=%B") == "Update 2 packages\n\nalpha: 1.0.0 -> 1.1.0\nbeta: 1.0.0 -> 2.0.0"
    assert changed_files(site) == {"uv.lock"}
    assert (site.git("rev-parse", "HEAD^"), site.git("status", "--porcelain")) == (head, "")
    assert site.remote_head() == site.head()
    assert site.git("show", "HEAD:uv.lock") == site.lock_text().rstrip("\n")
    # The tests cannot reach another environment.
    there, venv = seen["environment"], str(release_of(site, green.report["release"]) / "venv")
    assert seen["prefix"] == venv
    assert (there["UV_PROJECT_ENVIRONMENT"], there["VIRTUAL_ENV"], there["UV_NO_SYNC"]) == (venv, venv, "1")
    assert there["PATH"].split(os.pathsep)[0] == f"{venv}/bin"
    assert "UV_INDEX" not in there


@pytest.mark.slow
def test_every_module_is_compiled_and_no_file_has_another_name(make_site: SiteFactory) -> None:
    """Compiled are also those that the tests do not import, and where something is built from source."""
    site = make_site.adopted(kind="path", editable=False)
    build_sdist(site.index.path, "beta", "1.1.0", mark=Path(os.devnull))
    modules = {"alpha/__init__.py": '__version__ = "1.1.0"\n', "alpha/rarely/used.py": "", "alpha/later.py": "def ("}
    site.publish("alpha", "1.1.0", modules=modules)
    site.releaser("update", check=0, env={"UV_LINK_MODE": "hardlink"})
    (packages,) = (release_of(site) / "venv" / "lib").glob("python*/site-packages")
    sources = [path for path in below(packages) if path.suffix == ".py"]
    assert "beta.py" in {path.name for path in sources}
    assert {"alpha", "rarely", "common_lib"} <= {path.parent.name for path in sources}
    tag = site.python("import sys; print(sys.implementation.cache_tag)")
    missing = [path for path in sources if not (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").exists()]
    assert [path.name for path in missing] == ["later.py"]  # for a newer Python, which does not matter
    files = [path for path in below(release_of(site)) if path.is_file() and not path.is_symlink()]
    assert {path.name for path in files} >= {"pyvenv.cfg", "METADATA", "uv.lock"}
    assert [path for path in files if path.stat().st_nlink != 1] == []


@pytest.mark.slow
def test_a_release_is_of_the_commonest_group_under_any_umask(make_site: SiteFactory, tmp_path: Path) -> None:
    """Neither what uv's cache gets under that umask nor what releaser makes itself may be closed to others."""
    site = make_site(venv=True, settings={"group_writable": True})
    group = 54321 if os.geteuid() == 0 else next(iter({*os.getgroups()} - {os.getegid()}), None)
    if group is None:
        require(False, "it takes root, or a user who is in two groups")
        return
    for name in site.git("ls-files").splitlines():
        os.chown(site.path / name, -1, group)
    os.chown(site.path / "manage.py", -1, os.getegid())  # not every file has to have it
    site.link.rename(site.outer / "unused")
    cache = {"UV_CACHE_DIR": str(tmp_path / "strict-cache")}
    for command in ("init", "update"):
        finished = under_umask(site, "077", command, env=cache)
        assert finished.returncode == 0, str(finished)
        site.publish("alpha", "1.1.0")
    for path in [release_of(site), *below(release_of(site) / "venv")]:
        status = path.lstat()
        assert status.st_gid == group, path
        if not stat.S_ISLNK(status.st_mode):
            assert status.st_mode & 0o066 == 0o064, path
            assert stat.S_ISREG(status.st_mode) or status.st_mode & 0o011 == 0o011, path
    for path in (site.state_dir.parent, site.state_dir, site.state_dir / "releases"):
        assert path.stat().st_mode & 0o011 == 0o011, "the way is there to pass"
    assert (release_of(site) / "uv.lock").stat().st_gid == (site.path / "uv.lock").stat().st_gid == group
    assert (site.path / "uv.lock").stat().st_mode & 0o044 == 0o044


def test_nothing_new_means_nothing_at_all(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    silent(site.releaser("update"))  # which remembers what uv answers
    before, releases, mails = site.snapshot(), states(site), len(site.outbox_mails())
    silent(site.releaser("update"))
    assert site.snapshot() == before  # nor was it restarted
    assert states(site) == releases
    assert site.manage_runs() == []
    assert len(site.outbox_mails()) == mails
    assert [run["result"] for run in site.json("history")] == ["no-changes", "no-changes", "updated", "updated"]
    log = max((site.state_dir / "logs").glob("*.log")).read_text(encoding="utf-8")
    lines = re.findall(r"process: run \S*/(\S+ .*) in ", log)
    started = [re.sub(r" -[cC] \S+| --no-progress --color never", "", line).split()[:2] for line in lines]
    assert [" ".join(words) for words in started] == PROGRAMS


def test_the_first_update_adopts_the_project(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    finished = site.releaser("update", check=0)
    assert "the project is adopted; everything is up to date" in finished.stderr
    assert states(site) == {site.live_id(): "live"}
    assert site.git("status", "--porcelain") == ""
    assert site.manage_runs() == []
    silent(site.releaser("update"))


# Tests that fail: the update is refused, blamed on the right one, and not tried again until something is different


def versions_tested(site: SampleSite) -> list[str]:
    return [run.versions["alpha"] for run in site.manage_runs("test")]


def test_an_update_that_breaks_the_tests_is_refused_and_blamed(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    live = site.live_id()
    site.publish("alpha", "2.0.0", broken=True)
    before = site.snapshot()
    finished = site.releaser("update", "--json", check=5)
    assert site.snapshot() == before
    assert site.remote_head() == site.head()
    for words in ("this update is the cause", "live: unchanged"):
        assert words in finished.stderr
    # Without the update, with it once more, and without it once more: a single failure blames nobody.
    assert versions_tested(site) == ["2.0.0", "1.0.0", "2.0.0", "1.0.0"]
    assert site.manage_runs("collectstatic") == []
    report = json.loads(finished.stdout)
    assert (report["result"], report["exit_code"], report["blame"]) == ("refused", 5, "update")
    assert (report["previous"], report["live_changed"]) == (live, False)
    assert "alpha 2.0.0 breaks the site" in report["output"]
    assert [change["new"] for change in report["changes"]] == ["2.0.0"]
    assert step(report, "test")["status"] == "failed"
    assert step(report, "test live release")["status"] == "ok"
    assert "flip" not in steps(report)
    assert states(site) == {report["release"]: "failed", live: "live"}
    (mail,) = site.outbox_mails()
    assert mail["subject"].startswith("✗ site: refused, alpha 2.0.0 breaks test_")
    text = body(site)
    assert text.count("this update is the cause") == 1
    for command in (f"releaser show {report['release']}", "releaser hold alpha", "releaser update --force"):
        assert f"\n    {command}\n" in text
    (test,) = report["failed_tests"]
    assert text.startswith(f"Alpha 2.0.0 breaks `{test}`\n")
    assert "alpha 2.0.0 breaks the site" in site.releaser("show", report["release"], check=0).stdout
    # The second night with the same candidate is silent; by force it is tried again.
    releases, runs = states(site), len(site.manage_runs())
    silent(site.releaser("update"))
    assert (len(site.manage_runs()), len(site.outbox_mails()), states(site)) == (runs, 1, releases)
    assert site.snapshot() == before
    site.git("commit", "--quiet", "--allow-empty", "--message", "Nothing but a new commit")
    site.push()
    silent(site.releaser("update"))
    site.releaser("update", "--force", check=5)
    assert len(site.manage_runs("test")) == 4 + 4


def test_tests_that_failed_before_are_not_blamed_on_the_update(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.break_tests()
    site.publish("alpha", "1.1.0")
    before = site.snapshot()
    report = site.json("update", check=5)
    assert site.snapshot() == before
    assert report["blame"] == "before"
    assert step(report, "test live release")["status"] == "failed"
    assert versions_tested(site) == ["1.1.0", "1.0.0"]
    assert "it was failing before" in body(site)


@pytest.mark.slow
def test_without_an_earlier_release_nobody_is_blamed(make_site: SiteFactory) -> None:
    site = make_site()
    site.break_tests()
    report = site.json("update", check=5)
    assert report["blame"] == "unknown"
    assert len(site.manage_runs("test")) == 1
    assert not site.link.exists()
