"""Taking releaser away: a plain venv stays, which is what was live, and nothing of releaser's does."""

import csv
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from releaser.pipelines import uninstall
from releaser.pipelines.session import Request
from releaser.pipelines.uninstall import leave_directory
from releaser.releases.contents import hash_of
from releaser.system.files import exchange
from releaser.system.temporary import LIVE_COPY
from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import on_terminal, outer_snapshot
from tests.faults.tracing import hit, recorded, require_strace, spread
from tests.support import snapshots
from tests.support.commands import run
from tests.support.sites import SampleSite, SiteFactory

SCRIPT = "alpha-says"
POINTS = 3  # at which it is killed, and those around the exchange


def with_script(make_site: SiteFactory, outer: str = "outer") -> SampleSite:
    """Make a site whose live release has a program of a package; no copy, as programs name the place of their venv."""
    site = make_site(venv=True, outer=outer)
    site.releaser("init", check=0)
    modules = {
        "alpha/__init__.py": '__version__ = "1.1.0"\ndef main():\n    import alpha.late, sys; print(sys.prefix)\n',
        "alpha/late.py": "",
    }
    site.index.publish("alpha", "1.1.0", modules=modules, scripts={SCRIPT: "alpha:main"})
    site.releaser("update", "--if-due", check=0)
    shutil.rmtree(site.state_dir / "outbox")  # mails that nobody has read would stay
    return site


def script_says(site: SampleSite) -> str:
    return run([site.link / "bin" / SCRIPT], cwd=site.outer, env=site.env, check=0).stdout.strip()


def works(site: SampleSite) -> bool:
    """Whether programs and imports of the site work, whatever stands at the place of its venv."""
    return script_says(site) == site.python("import alpha.late, sys; print(sys.prefix)") != ""


def left(site: SampleSite) -> list[str]:
    """What of releaser's is there still; mails that nobody has read stay, and whose they are."""
    state, outbox = site.state_dir, site.state_dir / "outbox"
    mails = {state.parent, state, outbox, state / "project.json", *outbox.rglob("*")} if outbox.is_dir() else set()
    own = {state.parent, *state.parent.rglob("*"), site.path / ".git" / "releaser.json", site.link / "releaser.lease"}
    found = [*(own - mails), *site.link.glob("lib/python*/site-packages/*releaser*")]
    refs = site.git("for-each-ref", "--format=%(refname)", "refs/worktree/releaser").split()
    return [*(str(one) for one in found if os.path.lexists(one)), *refs]


def crontab_of(site: SampleSite, text: str) -> Path:
    """Give the user of a site a crontab of its own."""
    place = site.outer.parent / "programs"
    place.mkdir()
    kept, program = place / "kept", place / "crontab"
    kept.write_text(text)
    program.write_text(f'#!/bin/sh\ncase "$1" in\n-l) cat {kept};;\n-) cat > {kept};;\n-r) : > {kept};;\nesac\n')
    program.chmod(0o755)
    site.env["PATH"] = f"{place}:{site.env['PATH']}"
    return kept


@pytest.mark.story
def test_a_plain_venv_is_left_and_all_of_releaser_is_gone(make_site: SiteFactory) -> None:
    site = with_script(make_site)
    crontab = crontab_of(site, "# mine\n")
    site.releaser("schedule", "cron", "--install", check=0)
    restarted, before = site.restarted_at(), site.snapshot()
    would = site.json("uninstall", "--dry-run")["would"]
    assert site.snapshot() == before
    assert [one.partition(" ")[2].partition(" ")[0] for one in would] == ["remove", "replace", "delete"]
    report = site.json("uninstall", "--yes")
    assert (report["result"], report["exit_code"]) == ("updated", 0), report
    assert not site.link.is_symlink()
    assert script_says(site) == str(site.link)
    assert left(site) == []
    assert crontab.read_text() == "# mine\n"
    assert site.restarted_at() != restarted
    assert site.git("status", "--porcelain") == ""
    for record in site.link.glob("lib/python*/site-packages/*.dist-info/RECORD"):
        for name, digest, _ in csv.reader(record.read_text().splitlines()):
            assert not digest or hash_of(str(record.parent.parent / name)) == digest, name
    assert not [path for path in (site.link / "bin").iterdir() if b".releaser" in path.read_bytes()]
    site.uv("sync", "--frozen", "--check", "--group", "local")
    site.releaser("init", check=0)
    assert works(site)


def test_a_symlink_of_somebodys_own_is_put_back(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    own = site.link.rename(site.outer / "own")
    site.link.symlink_to(own)
    before = snapshots.tree(own)
    site.releaser("init", check=0)
    assert site.link.resolve() == own
    assert os.readlink(site.link) != str(own)
    site.releaser("uninstall", "--yes", check=0)
    assert os.readlink(site.link) == str(own)
    assert snapshots.tree(own) == before
    assert left(site) == []


def test_a_process_keeps_its_release_until_it_ends_and_then_the_rest_goes(make_site: SiteFactory) -> None:
    site = with_script(make_site)
    words = [str(site.link / "bin" / "python"), "-c", "print(1, flush=True); input(); import alpha.late; print(2)"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=site.env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        finished = site.releaser("uninstall", "--yes", check=7)
        assert "still run on" in finished.stderr
        assert works(site)
        assert site.releaser("update").returncode == 3  # the venv is somebody's own now
        assert process.communicate("go\n")[0] == "2\n"
    site.releaser("uninstall", "--yes", check=0)
    assert left(site) == []
    assert works(site)


def test_what_is_not_releasers_stays_nor_what_nobody_has_read(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    (mail,) = (site.state_dir / "outbox" / "new").iterdir()
    (site.state_dir / "mine").write_text("x")
    (site.state_dir / "releases" / "mine").mkdir()
    (site.state_dir / "bundles" / "files").mkdir(parents=True)
    (site.state_dir / "bundles" / "mine").write_text("x")
    (site.state_dir / LIVE_COPY).mkdir()  # without the mark of releaser
    (site.state_dir / LIVE_COPY / "letter.txt").touch()
    assert str(site.state_dir) in site.json("uninstall", "--yes")["noted"]
    assert {path.name for path in site.state_dir.iterdir()} >= {"mine", "releases", "bundles", "project.json"}
    assert [path.name for path in (site.state_dir / "bundles").iterdir()] == ["mine"]
    assert [path.name for path in (site.state_dir / "releases").iterdir()] == ["mine"]
    assert len([*site.state_dir.rglob("letter.txt")]) == 1
    assert mail.is_file()


def test_what_stands_in_its_way_changes_nothing_and_it_asks_on_a_terminal(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    crontab = crontab_of(site, f"0 5 * * * nice releaser update --project {site.path}\n")
    cp, before = crontab.with_name("cp"), outer_snapshot(site)

    def stopped(*args: str, check: int) -> str:
        kept = crontab.read_text()
        said = site.releaser("uninstall", *args, check=check).stderr
        assert (site.snapshot(), crontab.read_text()) == (seen, kept)
        assert not [*site.state_dir.glob(".*.new")]
        return said

    seen = site.snapshot()
    assert "--yes" in stopped(check=2)
    assert outer_snapshot(site) == before
    assert "crontab -e" in stopped("--yes", check=3)  # a line of somebody's own
    crontab.write_text("# mine\n")
    site.releaser("schedule", "cron", "--install", check=0)
    cp.write_text('#!/bin/sh\nmkdir "$4"; echo "cp: No space left on device" >&2; exit 1\n')
    cp.chmod(0o755)
    assert "No space left" in stopped("--yes", check=4)
    cp.unlink()
    interrupted(site, "update", at=Point(place="releaser.releases.release:flip"))
    assert "was interrupted" in site.releaser("uninstall", "--yes", check=3).stderr
    assert site.link.is_symlink()
    site.releaser("prune", check=0)

    releases = site.releases()
    for answer, stays in (("n", True), ("y", False)):
        status, said = on_terminal(site, "uninstall", "--keep-state", typed=f"{answer}\n")
        assert status == 0, said
        assert "would delete" in said or "would replace" in said
        assert site.link.is_symlink() == stays
    assert (site.releases(), site.live_version("alpha")) == (releases, "1.1.0")  # as was asked for


def test_a_kill_at_any_moment_leaves_a_site_that_works(make_site: SiteFactory, tmp_path: Path) -> None:
    require_strace()
    site, kept = with_script(make_site), tmp_path / "kept"
    shutil.copytree(site.outer, kept, symlinks=True)

    def again() -> SampleSite:
        shutil.rmtree(site.outer)
        shutil.copytree(kept, site.outer, symlinks=True)
        return site

    calls = recorded(again(), "uninstall", "--yes")
    around = next(number for number, call in enumerate(calls) if call.name == "renameat2")
    quiet = [one for one in calls if one.is_found_again and not one.concerns_a_log]
    points = [*spread(quiet, POINTS), *calls[around : around + 2]]
    for number, call in enumerate(points):
        met = hit(again(), "uninstall", "--yes", at=call, fault="signal=KILL")
        assert met.finished.returncode == -signal.SIGKILL, f"{call}: {met.finished}"
        assert works(site), call
        if number % 2:
            assert site.releaser("update").returncode in (0, 3), call
        site.releaser("uninstall", "--yes", check=0)
        assert (works(site), left(site), site.link.is_symlink()) == (True, [], False), call


def cannot_exchange(*places: Path) -> bool:
    """Do as the kernel does where the file system has no such thing: it looks for both names first."""
    for place in places:
        os.lstat(place)
    return False


@pytest.mark.parametrize(("can_exchange", "changed"), [(True, True), (False, True), (False, False)])
def test_a_symlink_that_somebody_changes_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool, changed: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(uninstall, "exchange", cannot_exchange)
    link, new = tmp_path / ".venv", tmp_path / "new"
    link.symlink_to("somewhere" if changed else "release")
    new.mkdir()
    if changed:
        with pytest.raises(OSError, match="it was changed at the same time"):
            leave_directory(link, new, "release")
        assert (os.readlink(link), new.is_dir()) == ("somewhere", True)
    else:
        leave_directory(link, new, "release")
        assert (link.is_symlink(), link.is_dir(), new.exists()) == (False, True, False)
    assert not [*tmp_path.glob(".*.new")]


def test_what_somebody_puts_there_meanwhile_is_kept_and_named_and_the_schedule_is_said_to_be_gone(
    make_site: SiteFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new entry cannot be moved back, either."""
    site = make_site.adopted()
    crontab = crontab_of(site, "# mine\n")
    site.releaser("schedule", "cron", "--install", check=0)
    calls: list[Path] = []

    def only_once(first: Path, second: Path) -> bool:
        calls.append(first)
        return len(calls) == 1 and exchange(first, second)

    def at_work(link: Path, place: Path, text: str) -> None:
        link.unlink()
        link.symlink_to("theirs")
        leave_directory(link, place, text)

    monkeypatch.setattr(uninstall, "exchange", only_once)
    monkeypatch.setattr(uninstall, "leave_directory", at_work)
    report = uninstall.uninstall(Request(path=site.path, environ=site.environment(), command="uninstall"))
    theirs, said = site.state_dir / LIVE_COPY, " ".join(map(str, report.problems))
    assert report.exit_code != 0
    assert f"it was changed at the same time; the new entry could not be moved back, and is now {theirs}" in said
    assert "the schedule was removed, so no updates start now" in said
    assert len(calls) == 2
    assert (os.readlink(theirs), crontab.read_text()) == ("theirs", "# mine\n")
