"""Adopting a project: whatever stands at the place of the live environment, and wherever the project lies."""

import itertools
import shutil
from pathlib import Path

import pytest

from tests.e2e.scenes import changed_files, silent, steps, under_umask
from tests.live.pair import interpreter
from tests.support import snapshots
from tests.support.commands import git_executable, run
from tests.support.sites import SampleSite, SiteFactory


def release_of(site: SampleSite, release: str) -> Path:
    return site.state_dir / "releases" / release


def startup_files(venv: Path) -> list[str]:
    """The files that releaser adds to a venv that it adopts."""
    (place,) = (path.relative_to(venv) for path in venv.glob("lib/python*/site-packages"))
    return ["releaser.lease", f"{place}/_releaser_pin.py", f"{place}/00_releaser_pin.pth"]


def only_release(site: SampleSite) -> dict[str, object]:
    (row,) = site.json("list")
    return dict(row)


def exclusions(repository: Path) -> list[str]:
    return (repository / "info" / "exclude").read_text(encoding="utf-8").splitlines()


def is_clean(site: SampleSite) -> bool:
    return site.git("status", "--porcelain", "--untracked-files=all") == ""


class TestRealDirectory:
    """`.venv` is what uv or `python -m venv` made."""

    @pytest.mark.story
    def test_it_becomes_the_first_release_and_a_symlink_to_it(self, make_site: SiteFactory) -> None:
        """Its files are moved as they are, and nothing else of the site is touched."""
        site = make_site(venv=True)
        site.publish("alpha", "1.1.0")
        files, number = snapshots.tree(site.link), site.link.stat().st_ino
        before, remote = site.snapshot(), site.remote_head()
        report = site.json("init")
        row = only_release(site)
        assert (report["result"], report["exit_code"]) == ("updated", 0)
        assert (row["id"], row["state"], row["live"]) == (report["release"], "live", True)
        assert site.live_id() == report["release"]
        assert str(site.link.readlink()) == f"../.releaser/site/releases/{report['release']}/venv"
        venv = release_of(site, site.live_id()) / "venv"
        assert not venv.is_symlink()
        assert venv.stat().st_ino == number
        after = snapshots.tree(venv)
        assert {name for name in after if after[name] != files.get(name)} == set(startup_files(venv))
        assert {name: after[name] for name in files} == files
        assert {name for name, value in site.snapshot().items() if before[name] != value} == {"(link)", "(venv)"}
        assert is_clean(site)
        assert site.remote_head() == remote
        assert site.manage_runs() == []
        assert site.restarted_at() is None
        assert steps(report) == ["preflight", "adopt"]
        assert (release_of(site, site.live_id()) / "uv.lock").read_text(encoding="utf-8") == site.lock_text()

    def test_the_start_up_module_can_be_read_by_all_and_is_compiled_for_its_python(
        self, make_site: SiteFactory
    ) -> None:
        """Whatever the umask is, and which Python the venv has."""
        site = make_site(venv=True)
        (place,) = site.link.glob("lib/python*/site-packages")
        shutil.rmtree(place / "__pycache__", ignore_errors=True)
        under_umask(site, "077", "init", env={})
        venv = site.link.resolve()
        found = [venv / name for name in startup_files(venv)]
        byte_code, *others = found[1].parent.glob("__pycache__/_releaser_pin.*.pyc")
        assert len(others) == 2, "-O and -OO look for others"
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (*found, byte_code, *others)}
        assert set(modes.values()) == {"0o644"}
        assert byte_code.parent.stat().st_mode & 0o777 == 0o755
        built = make_site(outer="another", settings={"python": str(interpreter("3.12"))})
        built.releaser("init", check=0)
        for one, options in itertools.product((site, built), ([], ["-O"], ["-OO"])):
            words: list[str | Path] = [one.link / "bin" / "python", "-v", *options, "-c", "pass"]
            said = run(words, cwd=one.path, env={**one.env, "PYTHONDONTWRITEBYTECODE": "1"}, check=0).stderr
            (line,) = [line for line in said.splitlines() if "_releaser_pin" in line and " matches " in line]
            assert "/__pycache__/_releaser_pin." in line

    def test_one_that_cannot_be_written_is_adopted_as_it_is(self, make_site: SiteFactory) -> None:
        site = make_site(venv=True)
        (site.link / "releaser.lease").mkdir()  # in the way, also for root
        report = site.json("init")
        assert (report["result"], report["exit_code"]) == ("updated", 0)
        (problem,) = report["problems"]
        assert f"release {site.live_id()} was adopted, but its processes are neither pinned nor counted" in problem
        assert not list(site.link.glob("lib/*/site-packages/*releaser*"))
        assert site.live_version("alpha") == "1.0.0"

    def test_without_pins_nothing_is_added(self, make_site: SiteFactory) -> None:
        site = make_site(venv=True, settings={"pin_processes": False})
        before = snapshots.tree(site.link)
        site.releaser("init", check=0)
        assert snapshots.tree(site.link.resolve()) == before
        site.update_to("alpha", "1.1.0")
        assert not list(site.link.glob("lib/*/site-packages/*releaser*"))
        assert not (site.link / "releaser.lease").exists()

    @pytest.mark.story
    def test_one_that_is_no_environment_is_refused(self, make_site: SiteFactory) -> None:
        site = make_site()
        site.link.mkdir()
        (site.link / "notes.txt").write_text("mine\n", encoding="utf-8")
        finished = site.releaser("init", check=3)
        assert f"{site.link} is a directory, but not a venv" in finished.stderr
        assert (site.link / "notes.txt").read_text(encoding="utf-8") == "mine\n"


class TestNothing:
    """There is no `.venv`."""

    @pytest.mark.story
    def test_a_release_is_built_from_the_lock_as_it_is_and_goes_live_like_any_other(
        self, make_site: SiteFactory
    ) -> None:
        site = make_site()
        site.publish("alpha", "1.1.0")
        head, lock = site.head(), site.lock_text()
        report = site.json("init")
        assert report["result"] == "updated"
        assert site.live_version("alpha") == "1.0.0"
        assert (site.head(), site.lock_text()) == (head, lock)
        assert is_clean(site)
        assert site.remote_head() == head
        assert [one.argv[0] for one in site.manage_runs("test")] == ["test"]
        assert site.static_versions() is not None
        assert site.restarted_at() is not None
        assert steps(report)[:8] == ["preflight", "stage", "resolve", "build", "test", "migrations", "seal", "flip"]
        assert only_release(site)["state"] == "live"


class TestSymlink:
    """Somebody has made a symlink by hand, as old recipes tell."""

    @pytest.fixture
    def site(self, make_site: SiteFactory) -> SampleSite:
        """A site whose `.venv` leads to a venv beside the checkout."""
        site = make_site(link="../venvs/2026-01", venv=True)
        by_hand = site.link
        site.link = site.path / ".venv"
        site.link.symlink_to("../venvs/2026-01")
        site.edit(".git/info/exclude", "/.venv\n")
        assert by_hand.is_dir()
        return site

    def test_what_it_leads_to_becomes_the_first_release_and_stays_as_it_is(self, site: SampleSite) -> None:
        place = site.link.resolve()
        before = snapshots.tree(place)
        report = site.json("init")
        row = only_release(site)
        assert (row["id"], row["state"]) == (report["release"], "live")
        assert str(site.link.readlink()) == f"../.releaser/site/releases/{report['release']}/venv"
        assert site.link.resolve() == place
        adopted = snapshots.tree(place)
        assert {name for name in adopted if adopted[name] != before.get(name)} == set(startup_files(place))
        assert {name: adopted[name] for name in before} == before
        site.publish("alpha", "1.1.0")
        report = site.json("update")
        assert (site.live_id(), site.live_version("alpha")) == (report["release"], "1.1.0")
        site.releaser("rollback", check=0)
        assert (site.link.resolve(), site.live_version("alpha")) == (place, "1.0.0")
        assert snapshots.tree(place) == adopted

    def test_one_that_leads_nowhere_is_replaced_if_the_tests_pass(self, site: SampleSite) -> None:
        shutil.rmtree(site.link.resolve())
        site.break_tests()
        site.releaser("init", check=5)
        assert str(site.link.readlink()) == "../venvs/2026-01"
        site.mend_tests()
        report = site.json("init")
        assert report["result"] == "updated"
        assert site.live_id() == report["release"]
        assert site.live_version("alpha") == "1.0.0"
        assert not (site.outer / "venvs" / "2026-01").exists()


def test_again_it_changes_nothing_and_says_nothing(make_site: SiteFactory) -> None:
    """As in cron, or by a careful administrator."""
    site = make_site.adopted()
    before, releases = site.snapshot(), site.json("list")
    silent(site.releaser("init", "-q"))
    assert site.snapshot() == before
    assert [row["id"] for row in site.json("list")] == [row["id"] for row in releases]
    assert site.json("init")["result"] == "no-changes"


class TestExclusion:
    """`.venv/` in .gitignore does not match a symlink."""

    def test_the_symlink_is_excluded_once_and_below_what_was_there(self, make_site: SiteFactory) -> None:
        site = make_site(venv=True)
        site.push_commit("Ignore", {".gitignore": "__pycache__/\nstatic_out/\n.venv/\n"})
        (site.path / ".git/info/exclude").write_text("*.swp\n/drafts", encoding="utf-8")  # no line end
        for _ in range(2):
            site.releaser("init", check=0)
        assert site.link.is_symlink()
        assert is_clean(site)
        lines = exclusions(site.path / ".git")
        assert lines[:2] == ["*.swp", "/drafts"]
        assert lines.count("/.venv") == 1

    def test_a_linked_worktree_uses_the_file_of_its_repository(self, make_site: SiteFactory) -> None:
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
    top, env = site.outer, site.environment()
    (site.path / ".git").rename(top / ".git")
    (top / ".gitignore").write_text("/.env\n/index/\n/remote.git/\n", encoding="utf-8")
    (top / "README").write_text("Two things.\n", encoding="utf-8")
    for words in (
        ["remote", "set-url", "origin", site.remote],
        ["add", "--all"],
        ["commit", "--quiet", "--message", "Move the site into a directory of its own"],
        ["push", "--quiet"],
    ):
        run([git_executable(), *words], cwd=top, env=env, check=0)
    assert is_clean(site)
    report = site.json("init")
    assert site.live_id() == report["release"]
    assert is_clean(site)
    assert {"/site/.venv", "/.releaser/site"} <= {*exclusions(top / ".git")}

    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert (report["result"], report["problems"]) == ("updated", []), report
    assert site.live_version("alpha") == "1.1.0"
    assert changed_files(site) == {"site/uv.lock"}
    assert site.remote_head() == site.head()
    assert is_clean(site)
    silent(site.releaser("update"))
    silent(site.releaser("init", "-q"))
    site.releaser("rollback", check=0)
    assert site.live_version("alpha") == "1.0.0"
    assert changed_files(site) == {"site/uv.lock"}
    assert is_clean(site)

    elsewhere, tests = top.parent / "elsewhere", len(site.manage_runs("test"))
    run([git_executable(), "clone", "--quiet", site.remote, elsewhere], cwd=top.parent, env=env, check=0)
    (elsewhere / "README").write_text("Three things.\n", encoding="utf-8")
    commit = ["-c", "user.name=Edsger", "-c", "user.email=e@example.org", "commit", "--quiet", "-am", "Count"]
    for words in (commit, ["push", "--quiet"]):
        run([git_executable(), *words], cwd=elsewhere, env=env, check=0)
    assert site.json("update")["result"] == "updated"  # a change elsewhere in the repository is tested, too
    assert (top / "README").read_text(encoding="utf-8") == "Three things.\n"
    assert len(site.manage_runs("test")) == tests + 1

    (top / "README").write_text("Unsure.\n", encoding="utf-8")
    assert "not clean: README" in site.releaser("update", check=3).stderr
