"""An update that goes well, and one that finds nothing: by the installed command, with real uv and git."""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import body, changed_files, silent, states, steps, under_umask
from tests.support import snapshots
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates
from tests.support.wheels import build_sdist

pytestmark = pytest.mark.story

# What a night without anything new starts: each takes its time on all hosts, every night.
PROGRAMS = [
    "git config", "git rev-parse", "git status", "git ls-files", "uv --version", "uv python", "git fetch",
    "git worktree", "git ls-files", "git ls-tree", "uv lock",
]  # fmt: skip

# A test command that notes what it sees of the live site.
WITNESS = """\
import json, os, pathlib, subprocess, sys
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
os.chdir(pathlib.Path(__file__).parent)
open("notes.txt", "w").close()
os.system("git add notes.txt")  # which goes astray
"""


def release_of(site: SampleSite, release: str | None = None) -> Path:
    return site.state_dir / "releases" / (release or site.live_id())


def below(directory: Path) -> Iterator[Path]:
    for place, directories, files in os.walk(directory):
        for name in [*directories, *files]:
            yield Path(place, name)


@pytest.fixture(scope="module")
def green(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> tuple[SampleSite, dict[str, Any]]:
    """A site after an update of two packages, to be looked at, and the report of that."""
    site = SiteFactory(tmp_path_factory.mktemp("green"), templates).adopted()
    site.publish("alpha", "1.1.0")
    site.publish("beta", "2.0.0")
    return site, site.json("update")


def test_a_green_update_costs_one_test_run_on_the_candidate(green: tuple[SampleSite, dict[str, Any]]) -> None:
    site, report = green
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
    message = site.git("log", "-1", "--format=%B")
    assert message == "Update 2 packages\n\nalpha: 1.0.0 -> 1.1.0\nbeta: 1.0.0 -> 2.0.0"


def test_the_mail_tells_what_changed_and_how_to_go_back(green: tuple[SampleSite, dict[str, Any]]) -> None:
    site, report = green
    (mail,) = site.outbox_mails()
    assert mail["subject"].startswith("✓ site: updated alpha 1.0.0 → 1.1.0 and 1 more")
    assert mail["to"] == "Ada <ada@example.org>"
    assert mail["from"] == "releaser@example.org"
    text, html = body(site), body(site, kind="html")
    for words in ("alpha    1.0.0  1.1.0  minor", "beta     1.0.0  2.0.0  major"):
        assert words in text
        name, old, new, bump = words.split()
        assert all(found in html for found in (f">{name}<", f"{old} → {new}", f">{bump}<"))
    for name in steps(report):
        assert f"\n{name} " in text
        assert f">{name} <" in html
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "uv.lock.diff"
    for line in (f"--- a/uv.lock\t{report['previous']}", '-version = "1.0.0"', '+version = "2.0.0"'):
        assert f"{line}\n" in attached.get_content()
    assert f"releaser rollback --project {site.path}" in text
    assert str(mail["x-releaser-run"]) == report["run_id"]
    assert text.startswith("Alpha 1.0.0 → 1.1.0 and 1 more\n")
    env_file = site.outer / ".env"
    assert f"You get this mail because `ADMINS_JSON` in {env_file} names you." in " ".join(text.split())


def test_nothing_of_the_live_site_is_touched_before_the_tests_have_passed(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    site = make_site(files={"run_tests.py": WITNESS}, venv=True)
    site.releaser("init", check=0)
    before = site.snapshot()
    live, link, lock, head = site.live_id(), site.link.readlink(), site.lock_text(), site.head()
    site.publish("alpha", "1.1.0")
    leading_astray = {"UV_PROJECT_ENVIRONMENT": str(site.link), "VIRTUAL_ENV": "/nowhere", "UV_NO_SYNC": "0"}
    told = {"WITNESS": str(tmp_path / "notes"), "SITE": str(site.path), "UV_INDEX": "x=/y"}
    report = site.json("update", env={**told, **leading_astray})
    seen = json.loads((tmp_path / "notes").read_text(encoding="utf-8"))
    assert seen["link"] == str(link)
    assert (seen["lock"], seen["head"], seen["status"]) == (lock, head, "")
    assert not seen["restarted"]
    assert not seen["collected"]
    assert Path(seen["prefix"]) == release_of(site, report["release"]) / "venv"
    # The release that was live is left as it was, and nothing else in the checkout changes but the lock.
    assert snapshots.digest(release_of(site, live) / "venv") == before["(venv)"]
    changed = {name for name, value in site.snapshot().items() if before.get(name) != value}
    ours = {"(commit)", "(link)", "(venv)", "(restarted at)", "uv.lock"}
    assert changed == ours | {"config/tmp/restart.txt", "static_out", "static_out/versions.json"}
    # Only the lock is committed, and pushed.
    assert changed_files(site) == {"uv.lock"}
    assert (site.git("rev-parse", "HEAD^"), site.git("status", "--porcelain")) == (head, "")
    assert site.remote_head() == site.head()
    assert site.git("show", "HEAD:uv.lock") == site.lock_text().rstrip("\n")
    # The tests cannot reach another environment.
    there, venv = seen["environment"], str(release_of(site, report["release"]) / "venv")
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


def another_group() -> int:
    """A group that this user may give files to and that new files do not get by themselves."""
    if os.geteuid() == 0:
        return 54321
    others = sorted(set(os.getgroups()) - {os.getegid()})
    require(others, "it takes root, or a user who is in two groups")
    return others[0]


@pytest.mark.slow
def test_a_release_belongs_to_the_commonest_group_which_writes_it_if_that_is_set(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"group_writable": True})
    group = another_group()
    for name in site.git("ls-files").splitlines():
        os.chown(site.path / name, -1, group)
    os.chown(site.path / "manage.py", -1, os.getegid())  # not every file has to have it
    site.update_to("alpha", "1.1.0")
    for path in [release_of(site), release_of(site) / "uv.lock", *below(release_of(site) / "venv")]:
        status = path.lstat()
        assert status.st_gid == group, path
        if stat.S_ISLNK(status.st_mode):
            continue
        assert stat.S_IMODE(status.st_mode) & 0o060 == 0o060, path
        assert not stat.S_IMODE(status.st_mode) & 0o002, path
        assert stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o010, path
    assert (site.path / "uv.lock").stat().st_gid == group


@pytest.mark.slow
def test_a_strict_umask_does_not_shut_the_web_server_out(make_site: SiteFactory, tmp_path: Path) -> None:
    """Neither what uv's cache gets under that umask nor what releaser makes itself may be closed to others."""
    site = make_site(venv=True)
    site.link.rename(site.outer / "unused")
    cache = {"UV_CACHE_DIR": str(tmp_path / "strict-cache")}
    assert under_umask(site, "077", "init", env=cache).returncode == 0
    site.publish("alpha", "1.1.0")
    finished = under_umask(site, "077", "update", env=cache)
    assert finished.returncode == 0, str(finished)
    way = [site.state_dir.parent, site.state_dir, site.state_dir / "releases"]
    for path in [*way, release_of(site), *below(release_of(site) / "venv")]:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            continue
        assert path in way or mode & 0o044 == 0o044, path  # the way is there to pass, not to look around
        assert not stat.S_ISDIR(mode) or mode & 0o011 == 0o011, path
    assert (site.path / "uv.lock").stat().st_mode & 0o044 == 0o044


def test_nothing_new_means_nothing_at_all(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    before, releases, mails = site.snapshot(), states(site), len(site.outbox_mails())
    silent(site.releaser("update"))
    assert site.snapshot() == before  # nor was it restarted
    assert states(site) == releases
    assert site.manage_runs() == []
    assert len(site.outbox_mails()) == mails
    assert [run["result"] for run in site.json("history")] == ["no-changes", "updated", "updated"]
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
