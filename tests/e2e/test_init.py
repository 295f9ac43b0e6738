"""Adopting a project: whatever stands at the place of the live environment, and wherever the project lies."""

import itertools
import shutil
from pathlib import Path

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import changed_files, silent, steps, under_umask
from tests.e2e.test_recovery import whole
from tests.live.pair import interpreter
from tests.support import snapshots
from tests.support.commands import git_executable, run
from tests.support.sites import SampleSite, SiteFactory


def startup_files(venv: Path) -> list[str]:
    """The files that releaser adds to a venv that it adopts."""
    (place,) = (path.relative_to(venv) for path in venv.glob("lib/python*/site-packages"))
    names = ("_releaser_pin.py", "_releaser_pin_rare.py", "00_releaser_pin.pth")
    return ["releaser.lease", *[f"{place}/{name}" for name in names]]


def see_adopted(site: SampleSite, report: dict[str, object], before: dict[str, str]) -> None:
    """See that the only release is live, and that its venv is what it was but for the files that releaser adds."""
    (row,) = site.json("list")
    assert (report["result"], report["exit_code"]) == ("updated", 0)
    assert (row["id"], row["state"], row["live"]) == (report["release"], "live", True)
    assert str(site.link.readlink()) == f"../.releaser/site/releases/{report['release']}/venv"
    venv = site.link.resolve()
    after = snapshots.tree(venv)
    assert {name for name in after if after[name] != before.get(name)} == set(startup_files(venv))
    assert {name: after[name] for name in before} == before


def exclusions(repository: Path) -> list[str]:
    return (repository / "info" / "exclude").read_text(encoding="utf-8").splitlines()


def is_clean(site: SampleSite) -> bool:
    return site.git("status", "--porcelain", "--untracked-files=all") == ""


@pytest.mark.story
def test_a_real_directory_becomes_the_first_release_and_a_symlink_to_it(make_site: SiteFactory) -> None:
    """Its files are moved as they are, and nothing else of the site is touched; once more, nothing at all is."""
    site = make_site(venv=True)
    site.push_commit("Ignore", {".gitignore": "__pycache__/\nstatic_out/\n.venv/\n"})  # which matches no symlink
    (site.path / ".git/info/exclude").write_text("*.swp\n/drafts", encoding="utf-8")  # no line end
    site.publish("alpha", "1.1.0")
    files, number = snapshots.tree(site.link), site.link.stat().st_ino
    before, remote = site.snapshot(), site.remote_head()
    report = site.json("init")
    see_adopted(site, report, files)
    assert site.link.resolve().stat().st_ino == number
    assert {name for name, value in site.snapshot().items() if before[name] != value} == {"(link)", "(venv)"}
    assert site.remote_head() == remote
    assert (site.manage_runs(), site.restarted_at()) == ([], None)
    assert steps(report) == ["preflight", "adopt"]
    assert (site.link.resolve().parent / "uv.lock").read_text(encoding="utf-8") == site.lock_text()
    before = site.snapshot()
    silent(site.releaser("init", "-q"))
    assert site.json("init")["result"] == "no-changes"
    assert (site.snapshot(), [row["id"] for row in site.json("list")]) == (before, [report["release"]])
    assert is_clean(site)
    lines = exclusions(site.path / ".git")
    assert lines[:2] == ["*.swp", "/drafts"]
    assert lines.count("/.venv") == 1


def test_the_start_up_module_can_be_read_by_all_and_is_compiled_for_its_python(make_site: SiteFactory) -> None:
    """Whatever the umask is, and which Python the venv has."""
    site = make_site(venv=True)
    (place,) = site.link.glob("lib/python*/site-packages")
    shutil.rmtree(place / "__pycache__", ignore_errors=True)
    under_umask(site, "077", "init", env={})
    venv = site.link.resolve()
    found = [venv / name for name in startup_files(venv)]
    compiled = [*found[1].parent.glob("__pycache__/_releaser_pin*.pyc")]
    assert len(compiled) == 6, "-O and -OO look for others"
    assert {oct(path.stat().st_mode & 0o777) for path in (*found, *compiled)} == {"0o644"}
    assert compiled[0].parent.stat().st_mode & 0o777 == 0o755
    built = make_site(outer="another", settings={"python": str(interpreter("3.12"))})
    built.releaser("init", check=0)
    for one, options in itertools.product((site, built), ([], ["-O"], ["-OO"])):
        words: list[str | Path] = [one.link / "bin" / "python", "-v", *options, "-c", "import _releaser_pin_rare"]
        said = run(words, cwd=one.path, env={**one.env, "PYTHONDONTWRITEBYTECODE": "1"}, check=0).stderr
        lines = [line for line in said.splitlines() if "_releaser_pin" in line and " matches " in line]
        for line, name in zip(lines, ("_releaser_pin", "_releaser_pin_rare"), strict=True):
            assert f"/__pycache__/{name}." in line


def test_without_pins_and_where_nothing_can_be_written_a_venv_stays_as_it_is(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"pin_processes": False})
    before = snapshots.tree(site.link)
    site.releaser("init", check=0)
    assert snapshots.tree(site.link.resolve()) == before
    site.update_to("alpha", "1.1.0")
    assert not list(site.link.glob("lib/*/site-packages/*releaser*"))
    assert not (site.link / "releaser.lease").exists()

    site = make_site(outer="in the way", venv=True)
    (site.link / "releaser.lease").mkdir()  # in the way, also for root
    report = site.json("init")
    assert (report["result"], report["exit_code"]) == ("updated", 0)
    (problem,) = report["problems"]
    assert f"release {site.live_id()} was adopted, but its processes are neither pinned nor counted" in problem
    assert not list(site.link.glob("lib/*/site-packages/*releaser*"))
    assert site.live_version("alpha") == "1.0.0"


@pytest.mark.story
def test_a_directory_that_is_no_environment_is_refused(make_site: SiteFactory) -> None:
    site = make_site()
    site.link.mkdir()
    (site.link / "notes.txt").write_text("mine\n", encoding="utf-8")
    finished = site.releaser("init", check=3)
    assert f"{site.link} is a directory, but not a venv" in finished.stderr
    assert (site.link / "notes.txt").read_text(encoding="utf-8") == "mine\n"


@pytest.mark.story
def test_without_a_venv_a_release_is_built_from_the_lock_and_goes_live_like_any_other(make_site: SiteFactory) -> None:
    site = make_site()
    site.publish("alpha", "1.1.0")
    head, lock = site.head(), site.lock_text()
    report = site.json("init")
    assert (report["result"], site.live_version("alpha")) == ("updated", "1.0.0")
    assert (site.head(), site.remote_head(), site.lock_text()) == (head, head, lock)
    assert is_clean(site)
    assert [one.argv[0] for one in site.manage_runs("test")] == ["test"]
    assert None not in (site.static_versions(), site.restarted_at())
    assert steps(report)[:8] == ["preflight", "stage", "resolve", "build", "test", "migrations", "seal", "flip"]
    assert [row["state"] for row in site.json("list")] == ["live"]


@pytest.fixture
def linked(make_site: SiteFactory) -> SampleSite:
    """A site whose `.venv` leads to a venv beside the checkout, as old recipes tell."""
    site = make_site(link="../venvs/2026-01", venv=True)
    site.link = site.path / ".venv"
    site.link.symlink_to("../venvs/2026-01")
    site.edit(".git/info/exclude", "/.venv\n")
    return site


def test_what_a_symlink_leads_to_becomes_the_first_release_and_stays_as_it_is(linked: SampleSite) -> None:
    place = linked.link.resolve()
    before = snapshots.tree(place)
    see_adopted(linked, linked.json("init"), before)
    assert linked.link.resolve() == place
    adopted = snapshots.tree(place)
    linked.update_to("alpha", "1.1.0")
    assert linked.live_version("alpha") == "1.1.0"
    linked.releaser("rollback", check=0)
    assert (linked.link.resolve(), linked.live_version("alpha")) == (place, "1.0.0")
    assert snapshots.tree(place) == adopted


def test_a_symlink_that_leads_nowhere_is_replaced_if_the_tests_pass(linked: SampleSite) -> None:
    shutil.rmtree(linked.link.resolve())
    linked.break_tests()
    linked.releaser("init", check=5)
    assert str(linked.link.readlink()) == "../venvs/2026-01"
    linked.mend_tests()
    report = linked.json("init")
    assert (report["result"], report["release"]) == ("updated", linked.live_id())
    assert linked.live_version("alpha") == "1.0.0"
    assert not (linked.outer / "venvs" / "2026-01").exists()


def test_a_linked_worktree_uses_the_exclusions_of_its_repository(make_site: SiteFactory) -> None:
    site = make_site()
    main = site.outer / "main"
    site.git("switch", "--quiet", "--create", "other")
    site.path.rename(main)
    env = site.environment()
    run([git_executable(), "worktree", "add", "--quiet", site.path, "main"], cwd=main, env=env, check=0)
    site.adopt()
    assert "/.venv" in exclusions(main / ".git")
    assert is_clean(site)


def test_a_project_that_is_one_directory_of_a_bigger_repository(make_site: SiteFactory) -> None:
    """The top of the repository is its outer directory."""
    site = make_site(outer="mono", venv=True)
    top, elsewhere, env = site.outer, site.outer.parent / "elsewhere", site.environment()

    def git(where: Path, *words: str | Path) -> None:
        run([git_executable(), *words], cwd=where, env=env, check=0)

    (site.path / ".git").rename(top / ".git")
    (top / ".gitignore").write_text("/.env\n/index/\n/remote.git/\n", encoding="utf-8")
    (top / "README").write_text("Two things.\n", encoding="utf-8")
    git(top, "remote", "set-url", "origin", site.remote)
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "Move the site into a directory of its own")
    git(top, "push", "--quiet")
    report = site.json("init")
    assert site.live_id() == report["release"]
    assert is_clean(site)
    assert {"/site/.venv", "/.releaser/site"} <= {*exclusions(top / ".git")}

    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert (report["result"], report["problems"]) == ("updated", []), report
    assert (site.live_version("alpha"), changed_files(site)) == ("1.1.0", {"site/uv.lock"})
    assert site.remote_head() == site.head()
    silent(site.releaser("update"))
    silent(site.releaser("init", "-q"))
    site.releaser("rollback", check=0)
    assert (site.live_version("alpha"), changed_files(site)) == ("1.0.0", {"site/uv.lock"})
    assert is_clean(site)

    tests = len(site.manage_runs("test"))
    git(top.parent, "clone", "--quiet", site.remote, elsewhere)
    (elsewhere / "README").write_text("Three things.\n", encoding="utf-8")
    git(elsewhere, "-c", "user.name=Edsger", "-c", "user.email=e@example.org", "commit", "--quiet", "-am", "Count")
    git(elsewhere, "push", "--quiet")
    assert site.json("update")["result"] == "updated"  # a change elsewhere in the repository is tested, too
    assert (top / "README").read_text(encoding="utf-8") == "Three things.\n"
    assert len(site.manage_runs("test")) == tests + 1

    (top / "README").write_text("Unsure.\n", encoding="utf-8")
    assert "not clean: README" in site.releaser("update", check=3).stderr


@pytest.mark.parametrize("behind_link", [False, True])
def test_an_adoption_that_is_cut_off_between_its_steps_loses_nothing(
    make_site: SiteFactory, *, behind_link: bool
) -> None:
    """Where the file system cannot exchange directory and link, there is nothing at .venv for a moment."""
    site = make_site(venv=True)
    inode = site.link.stat().st_ino
    if behind_link:
        elsewhere = site.link.rename(site.outer / "venv")
        site.link.symlink_to(elsewhere)
    place = "releaser.pipelines.adopt:replace_symlink" if behind_link else "pathlib:Path.rename"
    interrupted(site, "init", at=Point(place=place), exchange=False)
    assert site.link.exists() is behind_link
    assert "was adopting the project; this is now finished or undone" in site.json("init")["recovered"]
    assert site.link.stat().st_ino == inode
    whole(site)
    (adopted,) = site.json("list")
    site.update_to("alpha", "1.1.0")
    assert site.json("rollback")["release"] == adopted["id"]
    whole(site)
